"""A hidden Markov model: quiet and restless years of the earth.

Earthquakes of magnitude 7 or more in the world, each year from 1900 to 2006. Data: US Geological Survey, as
in Zucchini and MacDonald (2009), Hidden Markov Models for Time Series, table 1.1.

Model, with the sequence of hidden states summed out by the forward algorithm::

    log_rate_1 < log_rate_2,  log_rate_k ~ Normal(3, 1)
    transition_k ~ Dirichlet(2 + 4 on the diagonal)
    state_1 uniform;  state_t ~ transition[state_(t-1)]
    count_t ~ Poisson(exp(log_rate[state_t]))

What to look for: the years around 1950 were restless, and both states persist. The forward algorithm is an
ordinary loop over the years; the latents are a rate for each state, in order, and the rows of a transition
matrix, each on a simplex.
"""

import autograd.numpy as np

import bbvi
from bbvi.stats import dirichlet, logsumexp, norm, poisson

COUNT = [
    13, 14, 8, 10, 16, 26, 32, 27, 18, 32, 36, 24, 22, 23, 22, 18, 25, 21, 21, 14, 8, 11, 14, 23, 18, 17, 19,
    20, 22, 19, 13, 26, 13, 14, 22, 24, 21, 22, 26, 21, 23, 24, 27, 41, 31, 27, 35, 26, 28, 36, 39, 21, 17,
    22, 17, 19, 15, 34, 10, 15, 22, 18, 15, 20, 15, 22, 19, 16, 30, 27, 29, 23, 20, 16, 21, 21, 25, 16, 18,
    15, 18, 14, 10, 15, 8, 15, 6, 11, 8, 7, 18, 16, 13, 12, 13, 20, 15, 16, 12, 18, 15, 16, 13, 15, 16, 11,
    11,
]  # fmt: skip


def log_joint(z, count):
    log_prior = np.sum(norm.logpdf(z.log_rate, 3, 1)) + np.sum(dirichlet.logpdf(z.transition, np.eye(2) * 4 + 2))
    log_emission = poisson.logpmf_log_rate(count[:, None], z.log_rate)
    log_transition = np.log(z.transition)
    log_forward = np.log(0.5) + log_emission[0]
    for t in range(1, len(count)):
        log_forward = logsumexp(log_forward[:, None] + log_transition, axis=0) + log_emission[t]
    return log_prior + logsumexp(log_forward)


def derived(z):
    return {"rate": np.exp(z.log_rate)}


def model() -> bbvi.Model:
    """Poisson hidden Markov model with two states; 4 latents."""
    return bbvi.Model(
        log_joint,
        latents={"log_rate": bbvi.Ordered(dims="state"), "transition": bbvi.Simplex(dims=("state", "next"))},
        data={"count": COUNT},
        coords={"state": ["quiet", "restless"], "next": ["quiet", "restless"]},
        dims={"rate": "state"},
        derived=derived,
    )
