"""An epidemic: influenza in a boarding school.

Boys confined to bed on each of 14 days, out of 763, after one boy came back ill. Data: Anonymous (1978),
British Medical Journal 1, 587; the model follows Grinsztajn, Semenova, Margossian and Riou (2021), Statistics
in Medicine 40, 6209-6234.

Model, with S susceptible and I infected, integrated by the classical Runge-Kutta method from (762, 1) on day
0::

    dS/dt = -beta S I / 763,  dI/dt = beta S I / 763 - gamma I
    beta ~ Normal(2, 1), positive               contacts a day
    gamma ~ Normal(0.4, 0.5), positive          recoveries a day
    dispersion ~ Exponential(mean 0.2)
    in_bed_t ~ NegativeBinomial(mean I(t), variance I + dispersion I^2)

What to look for: ``r0`` = beta / gamma is the number of boys that the first one infects while all are
susceptible. ``dispersion`` is skewed even on the log scale, since 14 counts say little about noise.
"""

import autograd.numpy as np

import bbvi
from bbvi.stats import expon, nbinom, norm

IN_BED = [3, 8, 26, 76, 225, 298, 258, 233, 189, 128, 68, 29, 14, 4]
BOYS = 763
STEPS_PER_DAY = 3  # enough for 0.05 % accuracy at the posterior mean


def infected(z, days):
    """Infected boys at the end of each day, (days,), by Runge-Kutta steps of fixed size."""
    step = 1 / STEPS_PER_DAY

    rate = z.beta / BOYS

    def change(susceptible, ill):
        infections = rate * susceptible * ill
        return -infections, infections - z.gamma * ill

    s, i = BOYS - 1.0, 1.0
    path = []
    for _ in range(days):
        for _ in range(STEPS_PER_DAY):
            s1, i1 = change(s, i)
            s2, i2 = change(s + step / 2 * s1, i + step / 2 * i1)
            s3, i3 = change(s + step / 2 * s2, i + step / 2 * i2)
            s4, i4 = change(s + step * s3, i + step * i3)
            s = s + step / 6 * (s1 + 2 * s2 + 2 * s3 + s4)
            i = i + step / 6 * (i1 + 2 * i2 + 2 * i3 + i4)
        path.append(i)
    return np.array(path)


def log_prior(z):
    return norm.logpdf(z.beta, 2, 1) + norm.logpdf(z.gamma, 0.4, 0.5) + expon.logpdf(z.dispersion, scale=0.2)


def log_likelihood(z, in_bed):
    return nbinom.logpmf_log_rate(in_bed, np.log(infected(z, len(in_bed))), 1 / z.dispersion)


def derived(z):
    return {"r0": z.beta / z.gamma}


def predict(z, rng, in_bed):
    rate = infected(z, len(in_bed)) * rng.gamma(1 / z.dispersion, z.dispersion, size=len(in_bed))
    return {"in_bed": rng.poisson(rate)}


def model() -> bbvi.Model:
    """SIR epidemic; 3 latents."""
    return bbvi.Model(
        log_prior=log_prior,
        log_likelihood=log_likelihood,
        latents={"beta": bbvi.Positive(), "gamma": bbvi.Positive(), "dispersion": bbvi.Positive()},
        data={"in_bed": IN_BED},
        derived=derived,
        predict=predict,
    )
