"""Logistic regression: does a deep breath narrow the blood vessels of the fingers?

In 39 trials on three people, vasoconstriction in the skin of the fingers did or did not follow a single
breath, of a measured volume (litres) drawn at a measured rate (litres per second). Data: Finney (1947),
Biometrika 34, 320-334, in the form of Pregibon (1981), Annals of Statistics 9, 705-724, whose maximum
likelihood estimates (-2.875, 5.179, 4.562) this table reproduces.

Model, for trial i::

    alpha ~ Normal(0, 10)
    beta_k ~ Normal(0, 10)          k = log volume, log rate
    response_i ~ Bernoulli(logit^-1(alpha + x_i . beta))

What to look for: few binary observations leave a skewed posterior with strongly correlated coefficients. Its
means lie further from zero than the maximum likelihood estimates, by a quarter of an sd and more.
"""

import autograd.numpy as np

import bbvi
from bbvi.stats import bernoulli, norm

RESPONSE = [
    1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 0, 1, 0, 0, 0, 0, 1, 0, 1, 0, 1, 0, 1, 0, 0, 1, 1,
    1, 0, 0, 1,
]  # fmt: skip
VOLUME = [
    3.70, 3.50, 1.25, 0.75, 0.80, 0.70, 0.60, 1.10, 0.90, 0.90, 0.80, 0.55, 0.60, 1.40, 0.75, 2.30, 3.20,
    0.85, 1.70, 1.80, 0.40, 0.95, 1.35, 1.50, 1.60, 0.60, 1.80, 0.95, 1.90, 1.60, 2.70, 2.35, 1.10, 1.10,
    1.20, 0.80, 0.95, 0.75, 1.30,
]  # fmt: skip
RATE = [
    0.825, 1.09, 2.50, 1.50, 3.20, 3.50, 0.75, 1.70, 0.75, 0.45, 0.57, 2.75, 3.00, 2.33, 3.75, 1.64, 1.60,
    1.415, 1.06, 1.80, 2.00, 1.36, 1.35, 1.36, 1.78, 1.50, 1.50, 1.90, 0.95, 0.40, 0.75, 0.03, 1.83, 2.20,
    2.00, 3.33, 1.90, 1.90, 1.625,
]  # fmt: skip


def log_prior(z):
    return norm.logpdf(z.alpha, 0, 10) + np.sum(norm.logpdf(z.beta, 0, 10))


def log_likelihood(z, response, x):
    return bernoulli.logpmf_logits(response, z.alpha + x @ z.beta)


def predict(z, rng, x):
    return {"response": rng.binomial(1, 1 / (1 + np.exp(-(z.alpha + x @ z.beta))))}


def model() -> bbvi.Model:
    """Logistic regression on log volume and log rate; 3 latents."""
    return bbvi.Model(
        log_prior=log_prior,
        log_likelihood=log_likelihood,
        latents={"alpha": bbvi.Real(), "beta": bbvi.Real(dims="predictor")},
        data={"response": RESPONSE, "x": np.log(np.column_stack([VOLUME, RATE]))},
        coords={"predictor": ["log_volume", "log_rate"]},
        predict=predict,
    )
