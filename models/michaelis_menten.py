"""Michaelis-Menten kinetics: what does puromycin do to an enzyme?

Initial velocity of a reaction (counts per square minute) at six concentrations of substrate (ppm), for enzyme
with and without puromycin. Data: Treloar (1974), as in Bates and Watts (1988), Nonlinear Regression Analysis,
table A1.3.

Model, for run i of group g (0 treated, 1 untreated)::

    velocity_g ~ LogNormal(log 200, 0.5)        at saturation
    half_g ~ LogNormal(log 0.05, 1)             concentration at half that velocity
    sigma ~ HalfNormal(0, 20)
    rate_i ~ Normal(velocity_g c_i / (half_g + c_i), sigma)

What to look for: a well-behaved nonlinear regression. ``ratio`` says that puromycin raises the final velocity
by about a third.
"""

import autograd.numpy as np

import bbvi
from bbvi.stats import halfnorm, lognorm, norm

CONCENTRATION = [
    0.02, 0.02, 0.06, 0.06, 0.11, 0.11, 0.22, 0.22, 0.56, 0.56, 1.10, 1.10, 0.02, 0.02, 0.06, 0.06, 0.11,
    0.11, 0.22, 0.22, 0.56, 0.56, 1.10,
]  # fmt: skip
RATE = [
    76, 47, 97, 107, 123, 139, 159, 152, 191, 201, 207, 200, 67, 51, 84, 86, 98, 115, 131, 124, 144, 158, 160,
]  # fmt: skip
GROUP = np.repeat([0, 1], [12, 11])


def mean_rate(z, concentration, group):
    return z.velocity[group] * concentration / (z.half[group] + concentration)


def log_prior(z):
    return (
        np.sum(lognorm.logpdf(z.velocity, 0.5, scale=200))
        + np.sum(lognorm.logpdf(z.half, 1, scale=0.05))
        + halfnorm.logpdf(z.sigma, 0, 20)
    )


def log_likelihood(z, rate, concentration, group):
    return norm.logpdf(rate, mean_rate(z, concentration, group), z.sigma)


def derived(z):
    return {"ratio": z.velocity[0] / z.velocity[1]}


def predict(z, rng, concentration, group):
    return {"rate": rng.normal(mean_rate(z, concentration, group), z.sigma)}


def model() -> bbvi.Model:
    """Nonlinear regression in two groups; 5 latents."""
    return bbvi.Model(
        log_prior=log_prior,
        log_likelihood=log_likelihood,
        latents={
            "velocity": bbvi.Positive(dims="enzyme"),
            "half": bbvi.Positive(dims="enzyme"),
            "sigma": bbvi.Positive(),
        },
        data={"rate": RATE, "concentration": CONCENTRATION, "group": GROUP},
        coords={"enzyme": ["treated", "untreated"]},
        derived=derived,
        predict=predict,
    )
