"""A Bayesian neural network: a curve whose weights mean little.

60 noisy values of sin(1.5 x) at random places in (-3, 3), simulated (``data/noisy_sine.csv``, made by
``data/make.py``).

Model, one layer of three hidden units::

    slope_h ~ HalfNormal(0, 2)
    center_1 < center_2 < center_3,  center_h ~ Normal(0, 2)
    weight_h ~ Normal(0, 2)
    bias ~ Normal(0, 1)
    sigma ~ HalfNormal(0, 0.5)
    f(x) = bias + sum_h weight_h tanh(slope_h (x - center_h))
    y_i ~ Normal(f(x_i), sigma)

What to look for: positive slopes and ordered centers remove the symmetries of sign and permutation, and still
the weights are known by their joint effect rather than one by one. Judge the curve ``f``, reported at seven
places. There are local optima tens of nats below the best, where a unit is wasted; a bad start ends there.
"""

import autograd.numpy as np

import bbvi
from bbvi.models._tables import read_table
from bbvi.stats import halfnorm, norm

PLACES = np.array([-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0])


def network(z, x):
    return z.bias + np.tanh(z.slope * (x[:, None] - z.center)) @ z.weight


def log_prior(z):
    return (
        np.sum(halfnorm.logpdf(z.slope, 0, 2))
        + np.sum(norm.logpdf(z.center, 0, 2))
        + np.sum(norm.logpdf(z.weight, 0, 2))
        + norm.logpdf(z.bias)
        + halfnorm.logpdf(z.sigma, 0, 0.5)
    )


def log_likelihood(z, y, x):
    return norm.logpdf(y, network(z, x), z.sigma)


def derived(z):
    return {"f": network(z, PLACES)}


def predict(z, rng, x):
    return {"y": rng.normal(network(z, x), z.sigma)}


def model() -> bbvi.Model:
    """A network of three hidden units; 11 latents."""
    return bbvi.Model(
        log_prior=log_prior,
        log_likelihood=log_likelihood,
        latents={
            "slope": bbvi.Positive(shape=3),
            "center": bbvi.Ordered(shape=3),
            "weight": bbvi.Real(shape=3),
            "bias": bbvi.Real(),
            "sigma": bbvi.Positive(),
        },
        data=read_table("noisy_sine"),
        coords={"x": PLACES.tolist()},
        dims={"f": "x"},
        derived=derived,
        predict=predict,
    )
