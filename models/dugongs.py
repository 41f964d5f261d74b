"""Dugongs: a growth curve that levels off.

Ages (years) and lengths (m) of 27 dugongs caught off Townsville. Data: Marsh, reported by Ratkowsky (1983),
Nonlinear Regression Modeling; as in Carlin and Gelfand (1991) and the BUGS examples, volume II.

Model, for animal i::

    alpha, beta ~ HalfNormal(0, 10)
    gamma ~ Uniform(0.5, 1)
    sigma ~ HalfNormal(0, 1)
    length_i ~ Normal(alpha - beta * gamma^age_i, sigma)

What to look for: the final length ``alpha`` and the growth constant ``gamma`` are correlated and skewed,
because few animals are old.
"""

import bbvi
from bbvi.stats import halfnorm, norm, uniform

AGE = [
    1.0, 1.5, 1.5, 1.5, 2.5, 4.0, 5.0, 5.0, 7.0, 8.0, 8.5, 9.0, 9.5, 9.5, 10.0, 12.0, 12.0, 13.0, 13.0, 14.5,
    15.5, 15.5, 16.5, 17.0, 22.5, 29.0, 31.5,
]  # fmt: skip
LENGTH = [
    1.80, 1.85, 1.87, 1.77, 2.02, 2.27, 2.15, 2.26, 2.47, 2.19, 2.26, 2.40, 2.39, 2.41, 2.50, 2.32, 2.32,
    2.43, 2.47, 2.56, 2.65, 2.47, 2.64, 2.56, 2.70, 2.72, 2.57,
]  # fmt: skip


def curve(z, age):
    return z.alpha - z.beta * z.gamma**age


def log_prior(z):
    return (
        halfnorm.logpdf(z.alpha, 0, 10)
        + halfnorm.logpdf(z.beta, 0, 10)
        + uniform.logpdf(z.gamma, 0.5, 0.5)
        + halfnorm.logpdf(z.sigma)
    )


def log_likelihood(z, length, age):
    return norm.logpdf(length, curve(z, age), z.sigma)


def predict(z, rng, age):
    return {"length": rng.normal(curve(z, age), z.sigma)}


def model() -> bbvi.Model:
    """Nonlinear growth curve; 4 latents."""
    return bbvi.Model(
        log_prior=log_prior,
        log_likelihood=log_likelihood,
        latents={
            "alpha": bbvi.Positive(),
            "beta": bbvi.Positive(),
            "gamma": bbvi.Interval(0.5, 1),
            "sigma": bbvi.Positive(),
        },
        data={"length": LENGTH, "age": AGE},
        predict=predict,
    )
