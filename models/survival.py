"""Survival with censoring: does 6-mercaptopurine keep leukaemia in remission?

Weeks of remission of 42 children, half of them given 6-mercaptopurine and half a placebo; 12 remissions were
still going on when the trial ended. Data: Freireich et al. (1963), Blood 21, 699-716, as in Gehan (1965),
Biometrika 52, 203-223.

Model, for child i::

    alpha ~ Normal(3, 2)
    beta ~ Normal(0, 2)
    shape ~ Gamma(2, rate 1)
    weeks_i ~ Weibull(shape, scale exp(alpha + beta treated_i));  survival function where censored

What to look for: a censored time contributes the probability of lasting longer. ``ratio`` is the factor by
which treatment prolongs remission.
"""

import autograd.numpy as np

import bbvi
from bbvi.stats import gamma, norm, weibull_min

TREATED_WEEKS = [6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35]
TREATED_ENDED = [1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0]
PLACEBO_WEEKS = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]


def log_prior(z):
    return norm.logpdf(z.alpha, 3, 2) + norm.logpdf(z.beta, 0, 2) + gamma.logpdf(z.shape, 2)


def log_likelihood(z, weeks, ended, treated):
    scale = np.exp(z.alpha + z.beta * treated)
    log_density = weibull_min.logpdf(weeks, z.shape, scale=scale)
    log_survival = -((weeks / scale) ** z.shape)
    return np.where(ended, log_density, log_survival)


def derived(z):
    return {"ratio": np.exp(z.beta)}


def model() -> bbvi.Model:
    """Weibull regression with censoring; 3 latents."""
    return bbvi.Model(
        log_prior=log_prior,
        log_likelihood=log_likelihood,
        latents={"alpha": bbvi.Real(), "beta": bbvi.Real(), "shape": bbvi.Positive()},
        data={
            "weeks": TREATED_WEEKS + PLACEBO_WEEKS,
            "ended": np.array(TREATED_ENDED + [1] * 21, dtype=bool),
            "treated": np.repeat([1, 0], 21),
        },
        derived=derived,
    )
