"""Linear regression on raw predictors: what makes a car thirsty?

Fuel economy (miles per US gallon) of 32 cars against weight (1000 lb), gross horsepower and quarter-mile time
(s). Data: Motor Trend 1974, as published by Henderson and Velleman (1981), Biometrics 37, 391-411.

Model, for car i::

    alpha ~ Normal(0, 50)
    beta_k ~ Normal(0, 10)          k = weight, horsepower, quarter mile
    sigma ~ HalfCauchy(0, 5)
    mpg_i ~ Normal(alpha + x_i . beta, sigma)

What to look for: the predictors are left as they come, neither centred nor scaled. The coefficients differ in
scale by a factor of 100 and the intercept is almost a linear function of them, so that mean field alone
reports an sd of the intercept that is nearly twenty times too small; linear response corrects it.
"""

import autograd.numpy as np

import bbvi
from bbvi.stats import halfcauchy, norm

MPG = [
    21.0, 21.0, 22.8, 21.4, 18.7, 18.1, 14.3, 24.4, 22.8, 19.2, 17.8, 16.4, 17.3, 15.2, 10.4, 10.4, 14.7,
    32.4, 30.4, 33.9, 21.5, 15.5, 15.2, 13.3, 19.2, 27.3, 26.0, 30.4, 15.8, 19.7, 15.0, 21.4,
]  # fmt: skip
WEIGHT = [
    2.620, 2.875, 2.320, 3.215, 3.440, 3.460, 3.570, 3.190, 3.150, 3.440, 3.440, 4.070, 3.730, 3.780, 5.250,
    5.424, 5.345, 2.200, 1.615, 1.835, 2.465, 3.520, 3.435, 3.840, 3.845, 1.935, 2.140, 1.513, 3.170, 2.770,
    3.570, 2.780,
]  # fmt: skip
HORSEPOWER = [
    110, 110, 93, 110, 175, 105, 245, 62, 95, 123, 123, 180, 180, 180, 205, 215, 230, 66, 52, 65, 97, 150,
    150, 245, 175, 66, 91, 113, 264, 175, 335, 109,
]  # fmt: skip
QUARTER_MILE = [
    16.46, 17.02, 18.61, 19.44, 17.02, 20.22, 15.84, 20.00, 22.90, 18.30, 18.90, 17.40, 17.60, 18.00, 17.98,
    17.82, 17.42, 19.47, 18.52, 19.90, 20.01, 16.87, 17.30, 15.41, 17.05, 18.90, 16.70, 16.90, 14.50, 15.50,
    14.60, 18.60,
]  # fmt: skip


def log_prior(z):
    return norm.logpdf(z.alpha, 0, 50) + np.sum(norm.logpdf(z.beta, 0, 10)) + halfcauchy.logpdf(z.sigma, 0, 5)


def log_likelihood(z, mpg, x):
    return norm.logpdf(mpg, z.alpha + x @ z.beta, z.sigma)


def predict(z, rng, x):
    return {"mpg": rng.normal(z.alpha + x @ z.beta, z.sigma)}


def sample_prior(rng):
    return {"alpha": rng.normal(0, 50), "beta": rng.normal(0, 10, 3), "sigma": 5 * abs(rng.standard_cauchy())}


def model() -> bbvi.Model:
    """Linear regression with unknown residual scale; 5 latents."""
    return bbvi.Model(
        log_prior=log_prior,
        log_likelihood=log_likelihood,
        latents={"alpha": bbvi.Real(), "beta": bbvi.Real(dims="predictor"), "sigma": bbvi.Positive()},
        data={"mpg": MPG, "x": np.column_stack([WEIGHT, HORSEPOWER, QUARTER_MILE])},
        coords={"predictor": ["weight", "horsepower", "quarter_mile"]},
        predict=predict,
        sample_prior=sample_prior,
    )
