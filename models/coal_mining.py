"""A change point, summed out: when did coal mining become safer?

Disasters with ten deaths or more in British coal mines, each year from 1851 to 1962. Data: Jarrett (1979),
Biometrika 66, 191-193 (191 disasters).

Model, with the first year s of the new rate uniform over the 112 years and summed out::

    early, late ~ Exponential(mean 2)       disasters a year
    count_t ~ Poisson(early) before year s, Poisson(late) from then on

What to look for: a discrete parameter needs no special treatment when it can be summed out. ``change`` is the
expected year of change given the rates; its average is the posterior mean of the year, 1891.
"""

import autograd.numpy as np

import bbvi
from bbvi.stats import expon, logsumexp, poisson

COUNT = [
    4, 5, 4, 1, 0, 4, 3, 4, 0, 6, 3, 3, 4, 0, 2, 6, 3, 3, 5, 4, 5, 3, 1, 4, 4, 1, 5, 5, 3, 4, 2, 5, 2, 2, 3,
    4, 2, 1, 3, 2, 2, 1, 1, 1, 1, 3, 0, 0, 1, 0, 1, 1, 0, 0, 3, 1, 0, 3, 2, 2, 0, 1, 1, 1, 0, 1, 0, 1, 0, 0,
    0, 2, 1, 0, 0, 0, 1, 1, 0, 2, 3, 3, 1, 1, 2, 1, 1, 1, 1, 2, 4, 2, 0, 0, 0, 1, 4, 0, 0, 0, 1, 0, 0, 0, 0,
    0, 1, 0, 0, 1, 0, 1,
]  # fmt: skip
FIRST_YEAR = 1851


def log_weight_of_year(z, count):
    """Log probability of the counts and of a change in each of the years, (T,)."""
    early, late = poisson.logpmf(count, z.early), poisson.logpmf(count, z.late)
    # Years before the change were early; the year of change and all later ones were late.
    change = np.cumsum(early - late) - (early - late)
    return change + np.sum(late) - np.log(len(count))


def log_joint(z, count):
    log_prior = expon.logpdf(z.early, scale=2) + expon.logpdf(z.late, scale=2)
    return log_prior + logsumexp(log_weight_of_year(z, count))


def derived(z, count):
    log_weight = log_weight_of_year(z, count)
    probability = np.exp(log_weight - logsumexp(log_weight))
    return {"change": FIRST_YEAR + np.sum(probability * np.arange(len(count)))}


def model() -> bbvi.Model:
    """Change point between two Poisson rates; 2 latents."""
    return bbvi.Model(
        log_joint,
        latents={"early": bbvi.Positive(), "late": bbvi.Positive()},
        data={"count": COUNT},
        derived=derived,
    )
