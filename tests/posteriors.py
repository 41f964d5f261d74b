"""Small models with their exact posteriors, shared by the tests of what is done with a fit."""

from __future__ import annotations

import autograd.numpy as anp
import numpy as np

import bbvi
from bbvi.stats import halfcauchy, norm

SLOPES = ["weight", "length", "age"]
PRIOR_SD = 2.0
NOISE_SD = 0.7


def regression_data(n: int = 40) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(n, 3)) @ np.array([[1.0, 0.8, 0.0], [0.0, 0.6, 0.0], [0.0, 0.0, 1.0]])
    return {"y": x @ [1.0, -0.5, 0.2] + NOISE_SD * rng.normal(size=n), "x": x}


def regression(n: int = 40) -> bbvi.Model:
    """Linear regression with known noise: the posterior is Gaussian."""
    return bbvi.Model(
        log_prior=lambda z: anp.sum(norm.logpdf(z.beta, 0, PRIOR_SD)),
        log_likelihood=lambda z, y, x: norm.logpdf(y, x @ z.beta, NOISE_SD),
        latents={"beta": bbvi.Real(dims="predictor")},
        data=regression_data(n),
        coords={"predictor": SLOPES},
        predict=lambda z, rng, x: {"y": rng.normal(x @ z.beta, NOISE_SD)},
        sample_prior=lambda rng: {"beta": rng.normal(0, PRIOR_SD, 3)},
    )


def exact_regression(y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Posterior mean and covariance of the slopes."""
    covariance = np.linalg.inv(np.eye(x.shape[1]) / PRIOR_SD**2 + x.T @ x / NOISE_SD**2)
    return covariance @ x.T @ y / NOISE_SD**2, covariance


def exact_loo(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Log predictive density of each observation given all others."""
    elpd = []
    for i in range(len(y)):
        rest = np.arange(len(y)) != i
        mean, covariance = exact_regression(y[rest], x[rest])
        variance = x[i] @ covariance @ x[i] + NOISE_SD**2
        elpd.append(-0.5 * np.log(2 * np.pi * variance) - 0.5 * (y[i] - x[i] @ mean) ** 2 / variance)
    return np.array(elpd)


def schools() -> bbvi.Model:
    """Eight schools with everything that a model can have."""
    return bbvi.Model(
        log_prior=lambda z: (
            norm.logpdf(z.mu, 0, 5) + halfcauchy.logpdf(z.tau, 0, 5) + anp.sum(norm.logpdf(z.eta))
        ),
        log_likelihood=lambda z, y, sigma: norm.logpdf(y, z.mu + z.tau * z.eta, sigma),
        latents={"mu": bbvi.Real(), "tau": bbvi.Positive(), "eta": bbvi.Real(dims="school")},
        data={"y": [28, 8, -3, 7, -1, 1, 18, 12], "sigma": [15, 10, 16, 11, 9, 11, 10, 18]},
        coords={"school": list("ABCDEFGH")},
        dims={"theta": "school", "y": "school"},
        derived=lambda z: {"theta": z.mu + z.tau * z.eta},
        predict=lambda z, rng, sigma: {"y": rng.normal(z.mu + z.tau * z.eta, sigma)},
        sample_prior=lambda rng: {
            "mu": rng.normal(0, 5), "tau": abs(rng.normal(0, 5)), "eta": rng.normal(size=8)
        },
    )  # fmt: skip


def supports() -> bbvi.Model:
    """A latent of every support, with standard densities; only a log joint."""

    def log_joint(z):
        return (
            norm.logpdf(z.real) - z.positive - 0.5 * anp.sum(z.ordered**2) + 3 * anp.sum(anp.log(z.shares))
            + 2 * anp.log(z.unit) + anp.log(1 - z.unit) - anp.sum(z.above - 2.0)
            + 2 * anp.log(z.chol[1, 1])
        )  # fmt: skip

    return bbvi.Model(
        log_joint,
        latents={
            "real": bbvi.Real(),
            "positive": bbvi.Positive(),
            "ordered": bbvi.Ordered(shape=3),
            "unit": bbvi.Interval(0, 1),
            "above": bbvi.Interval([2.0, 2.0], np.inf, shape=2),
            "shares": bbvi.Simplex(dims="part"),
            "chol": bbvi.CholeskyCorrelation(dims="part"),
        },
        coords={"part": ["a", "b"]},
    )
