"""Negative binomial regression: how often does yarn break on a loom?

Breaks per fixed length of yarn for two kinds of wool at three tensions, nine looms each. Data: Tippett
(1950), Technological Applications of Statistics, p. 106, as distributed with R (``warpbreaks``).

Model, for loom i::

    alpha ~ Normal(3, 2)
    beta_k ~ Normal(0, 1)           wool B, medium and high tension, and wool B at these tensions
    concentration ~ Gamma(2, rate 0.1)
    breaks_i ~ NegativeBinomial(mean exp(alpha + x_i . beta), variance mean + mean^2 / concentration)

What to look for: a Poisson model would be overconfident, since the counts vary about four times as much; the
concentration is well above zero but far from infinite.
"""

import autograd.numpy as np

import bbvi
from bbvi.stats import gamma, nbinom, norm

BREAKS = [
    [26, 30, 54, 25, 70, 52, 51, 26, 67],
    [18, 21, 29, 17, 12, 18, 35, 30, 36],
    [36, 21, 24, 18, 10, 43, 28, 15, 26],
    [27, 14, 29, 19, 29, 31, 41, 20, 44],
    [42, 26, 19, 16, 39, 28, 21, 39, 29],
    [20, 21, 24, 17, 13, 15, 15, 16, 28],
]
# Wool B, medium and high tension, and the products of both with wool B; one row for each nine looms.
DESIGN = [
    [0, 0, 0, 0, 0],
    [0, 1, 0, 0, 0],
    [0, 0, 1, 0, 0],
    [1, 0, 0, 0, 0],
    [1, 1, 0, 1, 0],
    [1, 0, 1, 0, 1],
]


def log_prior(z):
    return norm.logpdf(z.alpha, 3, 2) + np.sum(norm.logpdf(z.beta)) + gamma.logpdf(z.concentration, 2, scale=10)


def log_likelihood(z, breaks, x):
    return nbinom.logpmf_log_rate(breaks, z.alpha + x @ z.beta, z.concentration)


def predict(z, rng, x):
    rate = np.exp(z.alpha + x @ z.beta)
    return {"breaks": rng.poisson(rate * rng.gamma(z.concentration, 1 / z.concentration, size=len(x)))}


def model() -> bbvi.Model:
    """Negative binomial regression; 7 latents."""
    return bbvi.Model(
        log_prior=log_prior,
        log_likelihood=log_likelihood,
        latents={"alpha": bbvi.Real(), "beta": bbvi.Real(dims="effect"), "concentration": bbvi.Positive()},
        data={"breaks": np.ravel(BREAKS), "x": np.repeat(DESIGN, 9, axis=0)},
        coords={"effect": ["wool_B", "medium", "high", "wool_B_medium", "wool_B_high"]},
        predict=predict,
    )
