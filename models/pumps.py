"""Failures of ten power plant pumps: a hierarchical model of rates.

Numbers of failures and operating times (thousands of hours) of ten pumps. Data: Gaver and O'Muircheartaigh
(1987), Technometrics 29, 1-15; the model is that of the BUGS examples, volume I (George, Makov and Smith
1993).

Model, for pump i::

    alpha ~ Exponential(1)
    beta ~ Gamma(0.1, rate 1)
    theta_i ~ Gamma(alpha, rate beta)       failures per 1000 hours
    failures_i ~ Poisson(theta_i * time_i)

What to look for: pumps that ran for a short time borrow strength from the others. ``alpha`` and ``beta`` are
strongly correlated and skewed even on the log scale.
"""

import autograd.numpy as np

import bbvi
from bbvi.stats import expon, gamma, poisson

FAILURES = [5, 1, 5, 14, 3, 19, 1, 1, 4, 22]
TIME = [94.3, 15.7, 62.9, 126, 5.24, 31.4, 1.05, 1.05, 2.1, 10.5]


def log_prior(z):
    hyperprior = expon.logpdf(z.alpha) + gamma.logpdf(z.beta, 0.1)
    return hyperprior + np.sum(gamma.logpdf(z.theta, z.alpha, scale=1 / z.beta))


def log_likelihood(z, failures, time):
    return poisson.logpmf(failures, z.theta * time)


def predict(z, rng, time):
    return {"failures": rng.poisson(z.theta * time)}


def model() -> bbvi.Model:
    """Gamma-Poisson hierarchy; 12 latents."""
    return bbvi.Model(
        log_prior=log_prior,
        log_likelihood=log_likelihood,
        latents={"alpha": bbvi.Positive(), "beta": bbvi.Positive(), "theta": bbvi.Positive(dims="pump")},
        data={"failures": FAILURES, "time": TIME},
        coords={"pump": list(range(1, 11))},
        dims={"failures": "pump"},
        predict=predict,
    )
