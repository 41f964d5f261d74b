"""Surgical mortality in twelve hospitals: which one is better, and which was lucky?

Deaths among infants operated on the heart in twelve hospitals. Data: the ``surgical`` example of the BUGS
examples, volume I (Spiegelhalter et al. 1996), after Marshall and Spiegelhalter.

Model, for hospital i::

    mu ~ Normal(0, 3)
    sigma ~ HalfNormal(0, 1)
    theta_i ~ Normal(mu, sigma)             log odds of death
    deaths_i ~ Binomial(operations_i, rate_i),  rate_i = logit^-1(theta_i)

What to look for: hospital A, with no death in 47 operations, is pulled strongly to the mean; its rank is
uncertain. The questions that matter, such as P(rate of H > rate of J), are asked with ``fit.expect``.
"""

import autograd.numpy as np

import bbvi
from bbvi.stats import binom, halfnorm, norm

DEATHS = [0, 18, 8, 46, 8, 13, 9, 31, 14, 8, 29, 24]
OPERATIONS = [47, 148, 119, 810, 211, 196, 148, 215, 207, 97, 256, 360]


def log_prior(z):
    return norm.logpdf(z.mu, 0, 3) + halfnorm.logpdf(z.sigma) + np.sum(norm.logpdf(z.theta, z.mu, z.sigma))


def log_likelihood(z, deaths, operations):
    return binom.logpmf_logits(deaths, operations, z.theta)


def derived(z):
    return {"rate": 1 / (1 + np.exp(-z.theta))}


def predict(z, rng, operations):
    return {"deaths": rng.binomial(operations, 1 / (1 + np.exp(-z.theta)))}


def model() -> bbvi.Model:
    """Hierarchical binomial model; 14 latents."""
    return bbvi.Model(
        log_prior=log_prior,
        log_likelihood=log_likelihood,
        latents={"mu": bbvi.Real(), "sigma": bbvi.Positive(), "theta": bbvi.Real(dims="hospital")},
        data={"deaths": DEATHS, "operations": OPERATIONS},
        coords={"hospital": list("ABCDEFGHIJKL")},
        dims={"rate": "hospital", "deaths": "hospital"},
        derived=derived,
        predict=predict,
    )
