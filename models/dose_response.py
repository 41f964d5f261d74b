"""A dose-response curve on a raw scale: beetles and carbon disulphide.

Beetles that died after five hours in gaseous carbon disulphide of eight concentrations (log10 mg/l). Data:
Bliss (1935), Annals of Applied Biology 22, 134-167; as in Dobson and Barnett (2018), table 7.2.

Model, for group i::

    alpha ~ Normal(0, 100)
    beta ~ Normal(0, 100)
    died_i ~ Binomial(total_i, logit^-1(alpha + beta log_dose_i))

What to look for: log doses lie between 1.69 and 1.88, so that intercept and slope are correlated to 0.9997.
Mean field's sds are 40 times too small; linear response is right. ``ld50`` is the log dose that kills half of
the beetles.
"""

import bbvi
from bbvi.stats import binom, norm

LOG_DOSE = [1.6907, 1.7242, 1.7552, 1.7842, 1.8113, 1.8369, 1.8610, 1.8839]
TOTAL = [59, 60, 62, 56, 63, 59, 62, 60]
DIED = [6, 13, 18, 28, 52, 53, 61, 60]


def log_prior(z):
    return norm.logpdf(z.alpha, 0, 100) + norm.logpdf(z.beta, 0, 100)


def log_likelihood(z, died, total, log_dose):
    return binom.logpmf_logits(died, total, z.alpha + z.beta * log_dose)


def derived(z):
    return {"ld50": -z.alpha / z.beta}


def model() -> bbvi.Model:
    """Logistic dose-response curve; 2 latents."""
    return bbvi.Model(
        log_prior=log_prior,
        log_likelihood=log_likelihood,
        latents={"alpha": bbvi.Real(), "beta": bbvi.Real()},
        data={"died": DIED, "total": TOTAL, "log_dose": LOG_DOSE},
        derived=derived,
    )
