"""Gaussian process regression: how smoothly did the climate of New Haven change?

Mean yearly temperature (degrees Fahrenheit) in New Haven, Connecticut, 1912 to 1971. Data: Vaux and Brinker
(1972), Cycles 23, 117-121, as distributed with R (``nhtemp``).

Model, with the latent curve integrated out and time in decades::

    mean ~ Normal(51, 2)
    amplitude ~ HalfNormal(0, 2)
    length ~ InverseGamma(3, 3)                  decades
    noise ~ HalfNormal(0, 2)
    y ~ MultivariateNormal(mean, K + noise^2 I)
    K_st = amplitude^2 exp(-(time_s - time_t)^2 / (2 length^2))

What to look for: ``amplitude`` and ``length`` trade off against each other and are skewed on the log scale,
because 60 years hold only a few stretches of one length scale.
"""

import autograd.numpy as np

import bbvi
from bbvi.stats import halfnorm, invgamma, norm

TEMPERATURE = [
    49.9, 52.3, 49.4, 51.1, 49.4, 47.9, 49.8, 50.9, 49.3, 51.9, 50.8, 49.6, 49.3, 50.6, 48.4, 50.7, 50.9,
    50.6, 51.5, 52.8, 51.8, 51.1, 49.8, 50.2, 50.4, 51.6, 51.8, 50.9, 48.8, 51.7, 51.0, 50.6, 51.7, 51.5,
    52.1, 51.3, 51.0, 54.0, 51.4, 52.7, 53.1, 54.6, 52.0, 52.0, 50.9, 52.6, 50.2, 52.6, 51.6, 51.9, 50.5,
    50.9, 51.7, 51.4, 51.7, 50.8, 51.9, 51.8, 51.9, 53.0,
]  # fmt: skip


def log_joint(z, y, time):
    log_prior = (
        norm.logpdf(z.mean, 51, 2)
        + halfnorm.logpdf(z.amplitude, 0, 2)
        + invgamma.logpdf(z.length, 3, scale=3)
        + halfnorm.logpdf(z.noise, 0, 2)
    )
    distance = (time[:, None] - time) / z.length
    covariance = z.amplitude**2 * np.exp(-0.5 * distance**2) + z.noise**2 * np.eye(len(y))
    cholesky = np.linalg.cholesky(covariance)
    whitened = np.linalg.solve(cholesky, y - z.mean)
    return log_prior + np.sum(norm.logpdf(whitened)) - np.sum(np.log(np.diag(cholesky)))


def model() -> bbvi.Model:
    """Marginal Gaussian process regression on 60 years; 4 latents."""
    return bbvi.Model(
        log_joint,
        latents={
            "mean": bbvi.Real(),
            "amplitude": bbvi.Positive(),
            "length": bbvi.Positive(),
            "noise": bbvi.Positive(),
        },
        data={"y": TEMPERATURE, "time": np.arange(60) / 10},
    )
