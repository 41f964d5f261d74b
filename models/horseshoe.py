"""Sparse regression with a horseshoe prior: which of ten measurements predict the course of diabetes?

Progression of the disease over a year in 442 patients, against age, sex, body mass index, blood pressure and
six blood serum measurements. Data: Efron, Hastie, Johnstone and Tibshirani (2004), Annals of Statistics 32,
407-499, shipped with scikit-learn under the BSD licence (``data/diabetes.csv``).

Model (Carvalho, Polson and Scott 2010, Biometrika 97, 465-480), all columns standardized::

    tau = 0.1 tan(pi v / 2),  v ~ Uniform(0, 1)             global shrinkage: tau ~ HalfCauchy(0, 0.1)
    lambda_k = tan(pi u_k / 2),  u_k ~ Uniform(0, 1)        local shrinkage: lambda_k ~ HalfCauchy(0, 1)
    eta_k ~ Normal(0, 1)
    beta_k = tau * lambda_k * eta_k
    sigma ~ HalfNormal(0, 1)
    progression_i ~ Normal(x_i . beta, sigma)

What to look for: the scales are written by their probabilities, ``u`` and ``v``, since the posteriors of
half-Cauchy scales themselves have no mean. Products of three latents make this posterior as far from Gaussian
as they come, and s1 and s2 are nearly collinear. ``beta`` is what the model is for; look at the verdict
before at anything else.
"""

import autograd.numpy as np

import bbvi
from bbvi.models._tables import read_table
from bbvi.stats import halfnorm, norm


def half_cauchy(probability):
    """The quantile function of the standard half-Cauchy distribution."""
    return np.tan(np.pi / 2 * probability)


def coefficients(z):
    return 0.1 * half_cauchy(z.v) * half_cauchy(z.u) * z.eta


def log_prior(z):
    return np.sum(norm.logpdf(z.eta)) + halfnorm.logpdf(z.sigma)


def log_likelihood(z, progression, x):
    return norm.logpdf(progression, x @ coefficients(z), z.sigma)


def derived(z):
    return {"beta": coefficients(z)}


def model() -> bbvi.Model:
    """Regression with a horseshoe prior; 22 latents."""
    table = {name: (column - column.mean()) / column.std() for name, column in read_table("diabetes").items()}
    progression = table.pop("progression")
    return bbvi.Model(
        log_prior=log_prior,
        log_likelihood=log_likelihood,
        latents={
            "u": bbvi.Interval(0, 1, dims="predictor"),
            "v": bbvi.Interval(0, 1),
            "eta": bbvi.Real(dims="predictor"),
            "sigma": bbvi.Positive(),
        },
        data={"progression": progression, "x": np.column_stack(list(table.values()))},
        coords={"predictor": list(table)},
        dims={"beta": "predictor"},
        derived=derived,
    )
