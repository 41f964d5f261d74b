"""A mixture of three normals with ordered means: do galaxies cluster?

Velocities (1000 km/s) at which 82 galaxies of the Corona Borealis region recede; clumps in velocity are
clusters in space. Data: Postman, Huchra and Geller (1986), Astronomical Journal 92, 1238-1247, in the form of
Roeder (1990), JASA 85, 617-624, table 1.

Model, with the component of each galaxy summed out::

    mu_1 < mu_2 < mu_3,  mu ~ Normal((10, 21, 33), 2)
    sigma_k ~ LogNormal(log 1.5, 0.5)
    weight ~ Dirichlet(2, 2, 2)
    y_i ~ sum_k weight_k Normal(mu_k, sigma_k)

What to look for: ordering the means removes the six-fold symmetry of the labels, the prior of ``sigma`` keeps
a component from collapsing on one galaxy, and that of ``mu`` says where the three clumps are; with Normal(20,
10), splitting the large clump in two is only five nats worse. It still is a local optimum, and a trap for a
bad start. The outer components rest on seven and three galaxies, so that their scales stay uncertain and
skewed.
"""

import autograd.numpy as np

import bbvi
from bbvi.stats import dirichlet, lognorm, logsumexp, norm

VELOCITY = [
    9.172, 9.350, 9.483, 9.558, 9.775, 10.227, 10.406, 16.084, 16.170, 18.419, 18.552, 18.600, 18.927, 19.052,
    19.070, 19.330, 19.343, 19.349, 19.440, 19.473, 19.529, 19.541, 19.547, 19.663, 19.846, 19.856, 19.863,
    19.914, 19.918, 19.973, 19.989, 20.166, 20.175, 20.179, 20.196, 20.215, 20.221, 20.415, 20.629, 20.795,
    20.821, 20.846, 20.875, 20.986, 21.137, 21.492, 21.701, 21.814, 21.921, 21.960, 22.185, 22.209, 22.242,
    22.249, 22.314, 22.374, 22.495, 22.746, 22.747, 22.888, 22.914, 23.206, 23.241, 23.263, 23.484, 23.538,
    23.542, 23.666, 23.706, 23.711, 24.129, 24.285, 24.289, 24.366, 24.717, 24.990, 25.633, 26.960, 26.995,
    32.065, 32.789, 34.279,
]  # fmt: skip


def log_prior(z):
    return (
        np.sum(norm.logpdf(z.mu, np.array([10, 21, 33]), 2))
        + np.sum(lognorm.logpdf(z.sigma, 0.5, scale=1.5))
        + dirichlet.logpdf(z.weight, np.full(3, 2.0))
    )


def log_likelihood(z, y):
    return logsumexp(np.log(z.weight) + norm.logpdf(y[:, None], z.mu, z.sigma), axis=1)


def predict(z, rng, y):
    component = rng.choice(3, size=len(y), p=z.weight)
    return {"y": rng.normal(z.mu[component], z.sigma[component])}


def model() -> bbvi.Model:
    """Mixture of three normals; 8 latents."""
    return bbvi.Model(
        log_prior=log_prior,
        log_likelihood=log_likelihood,
        latents={
            "mu": bbvi.Ordered(dims="component"),
            "sigma": bbvi.Positive(dims="component"),
            "weight": bbvi.Simplex(dims="component"),
        },
        data={"y": VELOCITY},
        coords={"component": ["slow", "middle", "fast"]},
        predict=predict,
    )
