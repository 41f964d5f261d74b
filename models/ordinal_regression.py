"""Ordinal regression: which additive do cheese tasters prefer?

Each of four additives (A to D) was tasted 52 times and rated from 1 (strong dislike) to 9 (excellent taste).
Data: McCullagh and Nelder (1989), Generalized Linear Models, 2nd edition, table 5.1; the maximum likelihood
contrasts with A are -3.352, -1.710 and 1.613.

Model, for tasting i of an additive with effect e, which is 0 for A::

    cutpoint_1 < ... < cutpoint_8,  cutpoint_k ~ Normal(0, 5)
    beta ~ Normal(0, 3)                             effects of B, C and D against A
    rating_i ~ OrderedLogistic(e, cutpoint)         logit P(rating <= k) = cutpoint_k - e

What to look for: the cutpoints move together with the effects, since both are measured against additive A, so
that mean field's sds of the effects are about two thirds of what they should be, before correction.
"""

import autograd.numpy as np

import bbvi
from bbvi.stats import norm, ordered_logistic

COUNTS = np.array([
    [0, 0, 1, 7, 8, 8, 19, 8, 1],
    [6, 9, 12, 11, 7, 6, 1, 0, 0],
    [1, 1, 6, 8, 23, 7, 5, 1, 0],
    [0, 0, 0, 1, 3, 7, 14, 16, 11],
])  # fmt: skip
RATING = np.concatenate([np.repeat(np.arange(9), row) for row in COUNTS])  # 0 to 8
ADDITIVE = np.repeat(np.arange(4), 52)


def log_prior(z):
    return np.sum(norm.logpdf(z.cutpoint, 0, 5)) + np.sum(norm.logpdf(z.beta, 0, 3))


def log_likelihood(z, rating, x):
    return ordered_logistic.logpmf(rating, x @ z.beta, z.cutpoint)


def predict(z, rng, x):
    return {"rating": np.sum(rng.logistic(x @ z.beta)[:, None] > z.cutpoint, axis=1)}


def model() -> bbvi.Model:
    """Proportional odds model; 11 latents."""
    return bbvi.Model(
        log_prior=log_prior,
        log_likelihood=log_likelihood,
        latents={"cutpoint": bbvi.Ordered(shape=8), "beta": bbvi.Real(dims="additive")},
        data={"rating": RATING, "x": np.eye(4)[ADDITIVE][:, 1:]},
        coords={"additive": ["B", "C", "D"]},
        predict=predict,
    )
