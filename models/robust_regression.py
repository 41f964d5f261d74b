"""Robust regression with Student errors: the stack loss of an ammonia plant.

On 21 days, the ammonia that escaped a plant that oxidizes it to nitric acid (per mille), against air flow,
cooling water temperature and acid concentration. Data: Brownlee (1965), Statistical Theory and Methodology in
Science and Engineering, 2nd edition, p. 454.

Model, for day i::

    alpha ~ Normal(0, 100)
    beta_k ~ Normal(0, 10)          k = air flow, water temperature, acid concentration
    sigma ~ HalfCauchy(0, 5)
    nu ~ Gamma(2, rate 0.1)
    loss_i ~ StudentT(nu, alpha + x_i . beta, sigma)

What to look for: four of the days are outliers by most accounts, and the Student errors give them less
weight. ``nu`` is hardly informed by 21 days, and trades off with ``sigma``.
"""

import autograd.numpy as np

import bbvi
from bbvi.stats import gamma, halfcauchy, norm, t

LOSS = [42, 37, 37, 28, 18, 18, 19, 20, 15, 14, 14, 13, 11, 12, 8, 7, 8, 8, 9, 15, 15]
AIR_FLOW = [80, 80, 75, 62, 62, 62, 62, 62, 58, 58, 58, 58, 58, 58, 50, 50, 50, 50, 50, 56, 70]
WATER_TEMPERATURE = [27, 27, 25, 24, 22, 23, 24, 24, 23, 18, 18, 17, 18, 19, 18, 18, 19, 19, 20, 20, 20]
ACID_CONCENTRATION = [89, 88, 90, 87, 87, 87, 93, 93, 87, 80, 89, 88, 82, 93, 89, 86, 72, 79, 80, 82, 91]


def log_prior(z):
    return (
        norm.logpdf(z.alpha, 0, 100)
        + np.sum(norm.logpdf(z.beta, 0, 10))
        + halfcauchy.logpdf(z.sigma, 0, 5)
        + gamma.logpdf(z.nu, 2, scale=10)
    )


def log_likelihood(z, loss, x):
    return t.logpdf(loss, z.nu, z.alpha + x @ z.beta, z.sigma)


def predict(z, rng, x):
    return {"loss": z.alpha + x @ z.beta + z.sigma * rng.standard_t(z.nu, size=len(x))}


def model() -> bbvi.Model:
    """Linear regression with Student errors; 6 latents."""
    return bbvi.Model(
        log_prior=log_prior,
        log_likelihood=log_likelihood,
        latents={
            "alpha": bbvi.Real(),
            "beta": bbvi.Real(dims="predictor"),
            "sigma": bbvi.Positive(),
            "nu": bbvi.Positive(),
        },
        data={"loss": LOSS, "x": np.column_stack([AIR_FLOW, WATER_TEMPERATURE, ACID_CONCENTRATION])},
        coords={"predictor": ["air_flow", "water_temperature", "acid_concentration"]},
        predict=predict,
    )
