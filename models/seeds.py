"""Seeds: logistic regression with random effects for plates.

Seeds of two species of broomrape (Orobanche) germinated on 21 plates brushed with an extract of bean or
cucumber root. Data: Crowder (1978), Applied Statistics 27, 34-37, table 3; model after Breslow and Clayton
(1993) and the BUGS examples, volume I.

Model, for plate i, with ``seed_i`` 1 for O. aegyptiaca 73 and ``root_i`` 1 for cucumber::

    alpha_k ~ Normal(0, 10)
    sigma ~ HalfNormal(0, 1)
    eta_i ~ Normal(0, 1)
    logit p_i = alpha_0 + alpha_1 seed_i + alpha_2 root_i + alpha_3 seed_i root_i + sigma eta_i
    germinated_i ~ Binomial(total_i, p_i)

What to look for: the plates vary little beyond binomial noise, so that ``sigma`` piles up near zero and has a
long left tail on the log scale. The coefficients are hardly touched by that.
"""

import autograd.numpy as np

import bbvi
from bbvi.stats import binom, halfnorm, norm

GERMINATED = [10, 23, 23, 26, 17, 5, 53, 55, 32, 46, 10, 8, 10, 8, 23, 0, 3, 22, 15, 32, 3]
TOTAL = [39, 62, 81, 51, 39, 6, 74, 72, 51, 79, 13, 16, 30, 28, 45, 4, 12, 41, 30, 51, 7]
SEED = np.array([0] * 11 + [1] * 10)
ROOT = np.array([0] * 5 + [1] * 6 + [0] * 5 + [1] * 5)


def logit(z, x):
    return x @ z.alpha + z.sigma * z.eta


def log_prior(z):
    return np.sum(norm.logpdf(z.alpha, 0, 10)) + halfnorm.logpdf(z.sigma) + np.sum(norm.logpdf(z.eta))


def log_likelihood(z, germinated, total, x):
    return binom.logpmf_logits(germinated, total, logit(z, x))


def predict(z, rng, total, x):
    return {"germinated": rng.binomial(total, 1 / (1 + np.exp(-logit(z, x))))}


def model() -> bbvi.Model:
    """Random effects logistic regression, non-centred; 26 latents."""
    return bbvi.Model(
        log_prior=log_prior,
        log_likelihood=log_likelihood,
        latents={"alpha": bbvi.Real(dims="effect"), "sigma": bbvi.Positive(), "eta": bbvi.Real(dims="plate")},
        data={
            "germinated": GERMINATED,
            "total": TOTAL,
            "x": np.column_stack([np.ones(21), SEED, ROOT, SEED * ROOT]),
        },
        coords={"effect": ["intercept", "seed", "root", "seed_root"], "plate": list(range(1, 22))},
        dims={"germinated": "plate"},
        predict=predict,
    )
