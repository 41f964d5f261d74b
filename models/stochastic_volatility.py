"""Stochastic volatility: a hidden log variance for every day.

100 daily returns, simulated with log variance of mean -0.5, persistence 0.95 and sd of its steps 0.3
(``data/stochastic_volatility.csv``, made by ``data/make.py``).

Model (Kim, Shephard and Chib 1998, Review of Economic Studies 65, 361-393), for day t::

    mu ~ Normal(0, 2)
    (phi + 1) / 2 ~ Beta(20, 1.5)
    sigma ~ HalfNormal(0, 0.5)
    x_1 ~ Normal(0, 1 / sqrt(1 - phi^2)),   x_t ~ Normal(phi x_(t-1), 1)
    return_t ~ Normal(0, exp((mu + sigma x_t) / 2))

What to look for: 103 latents, of which 100 form a chain whose neighbours are correlated. ``sigma`` and
``phi`` multiply and steer all of them, which no Gaussian can follow; look at the verdict before at anything
else.
"""

import autograd.numpy as np

import bbvi
from bbvi.models._tables import read_table
from bbvi.stats import beta, halfnorm, norm


def log_prior(z):
    start = norm.logpdf(z.x[0], 0, 1 / np.sqrt(1 - z.phi**2))
    return (
        norm.logpdf(z.mu, 0, 2)
        + beta.logpdf((z.phi + 1) / 2, 20, 1.5)
        + halfnorm.logpdf(z.sigma, 0, 0.5)
        + start
        + np.sum(norm.logpdf(z.x[1:], z.phi * z.x[:-1], 1))
    )


def log_likelihood(z, returns):
    return norm.logpdf(returns, 0, np.exp((z.mu + z.sigma * z.x) / 2))


def predict(z, rng):
    return {"returns": rng.normal(0, np.exp((z.mu + z.sigma * z.x) / 2))}


def model() -> bbvi.Model:
    """Stochastic volatility of 100 returns; 103 latents."""
    return bbvi.Model(
        log_prior=log_prior,
        log_likelihood=log_likelihood,
        latents={
            "mu": bbvi.Real(),
            "phi": bbvi.Interval(-1, 1),
            "sigma": bbvi.Positive(),
            "x": bbvi.Real(shape=100),
        },
        data=read_table("stochastic_volatility"),
        predict=predict,
    )
