"""A local level model: the flow of the Nile, by the Kalman filter.

Annual flow of the Nile at Aswan (10^8 cubic metres), 1871 to 1970. Data: Cobb (1978), Biometrika 65, 243-251;
also shipped with statsmodels, in the public domain.

Model (Durbin and Koopman 2012, Time Series Analysis by State Space Methods, chapter 2), for year t::

    sd_flow ~ HalfNormal(0, 200)
    sd_level ~ HalfNormal(0, 100)
    level_1 ~ Normal(1000, 200),  level_t ~ Normal(level_(t-1), sd_level)
    flow_t ~ Normal(level_t, sd_flow)

The 100 levels are integrated out by the Kalman filter.

What to look for: ``sd_level`` is skewed on the log scale, since a level that hardly moves is possible, too.
``level`` is the expected flow after the last year.
"""

import autograd.numpy as np

import bbvi
from bbvi.stats import halfnorm, norm

FLOW = [
    1120, 1160, 963, 1210, 1160, 1160, 813, 1230, 1370, 1140, 995, 935, 1110, 994, 1020, 960, 1180, 799, 958,
    1140, 1100, 1210, 1150, 1250, 1260, 1220, 1030, 1100, 774, 840, 874, 694, 940, 833, 701, 916, 692, 1020,
    1050, 969, 831, 726, 456, 824, 702, 1120, 1100, 832, 764, 821, 768, 845, 864, 862, 698, 845, 744, 796,
    1040, 759, 781, 865, 845, 944, 984, 897, 822, 1010, 771, 676, 649, 846, 812, 742, 801, 1040, 860, 874,
    848, 890, 744, 749, 838, 1050, 918, 986, 797, 923, 975, 815, 1020, 906, 901, 1170, 912, 746, 919, 718,
    714, 740,
]  # fmt: skip


def kalman_filter(z, flow):
    """Means and variances of each year's flow given those before, and the level expected after the last."""
    noise, drift = z.sd_flow**2, z.sd_level**2
    level, variance = 1000.0, 200.0**2
    means, variances = [], []
    for value in flow:
        total = variance + noise
        means.append(level)
        variances.append(total)
        gain = variance / total
        level = level + gain * (value - level)
        variance = gain * noise + drift
    return means, variances, level


def log_joint(z, flow):
    means, variances, _ = kalman_filter(z, flow)
    log_prior = halfnorm.logpdf(z.sd_flow, 0, 200) + halfnorm.logpdf(z.sd_level, 0, 100)
    return log_prior + np.sum(norm.logpdf(flow, np.array(means), np.sqrt(np.array(variances))))


def derived(z, flow):
    return {"level": kalman_filter(z, flow)[2]}


def model() -> bbvi.Model:
    """Local level model with the levels integrated out; 2 latents."""
    return bbvi.Model(
        log_joint,
        latents={"sd_flow": bbvi.Positive(), "sd_level": bbvi.Positive()},
        data={"flow": FLOW},
        derived=derived,
    )
