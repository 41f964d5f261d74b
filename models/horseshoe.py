"""Sparse regression with a horseshoe prior: which of ten measurements predict the course of diabetes?

Progression of the disease over a year in 442 patients, against age, sex, body mass index, blood pressure and
six blood serum measurements. Data: Efron, Hastie, Johnstone and Tibshirani (2004), Annals of Statistics 32,
407-499, shipped with scikit-learn under the BSD licence (``data/diabetes.csv``).

Model (Carvalho, Polson and Scott 2010, Biometrika 97, 465-480), all columns standardized::

    tau ~ HalfCauchy(0, 0.1)                global shrinkage
    lambda_k ~ HalfCauchy(0, 1)             local shrinkage; ``local``
    eta_k ~ Normal(0, 1)
    beta_k = tau * lambda_k * eta_k
    sigma ~ HalfNormal(0, 1)
    progression_i ~ Normal(x_i . beta, sigma)

What to look for: half-Cauchy tails and products of three latents make this posterior as far from Gaussian as
they come, and s1 and s2 are nearly collinear. The fit must not call itself reliable for the scales ``local``;
``beta`` is what the model is for.
"""

import autograd.numpy as np

import bbvi
from bbvi.models._tables import read_table
from bbvi.stats import halfcauchy, halfnorm, norm


def coefficients(z):
    return z.tau * z.local * z.eta


def log_prior(z):
    return (
        halfcauchy.logpdf(z.tau, 0, 0.1)
        + np.sum(halfcauchy.logpdf(z.local))
        + np.sum(norm.logpdf(z.eta))
        + halfnorm.logpdf(z.sigma)
    )


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
            "tau": bbvi.Positive(),
            "local": bbvi.Positive(dims="predictor"),
            "eta": bbvi.Real(dims="predictor"),
            "sigma": bbvi.Positive(),
        },
        data={"progression": progression, "x": np.column_stack(list(table.values()))},
        coords={"predictor": list(table)},
        dims={"beta": "predictor"},
        derived=derived,
    )
