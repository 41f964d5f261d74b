"""Lotka-Volterra equations: hares and lynx around Hudson Bay.

Thousands of pelts of snowshoe hare and Canadian lynx collected by the Hudson's Bay Company, 1900 to 1920.
Data: Howard (2009), Modeling basics, table after Elton and Nicholson (1942); model of Carpenter (2018),
Predator-prey population dynamics, a Stan case study.

Model, with u hares and v lynx (thousands), integrated by the classical Runge-Kutta method::

    du/dt = (alpha - beta v) u                  alpha, gamma ~ Normal(1, 0.5), positive
    dv/dt = (-gamma + delta u) v                beta, delta ~ Normal(0.05, 0.05), positive
    u(1900), v(1900) ~ LogNormal(log 10, 1)     ``initial``
    log pelts ~ Normal(log (u, v), sigma)       sigma ~ LogNormal(-1, 1), one for each species

What to look for: from a bad start the solution runs out of phase with the data and a fit may end in a local
optimum tens of nats below the best. At the best one the posterior is nearly Gaussian, with correlated
parameters.
"""

import autograd.numpy as np

import bbvi
from bbvi.stats import lognorm, norm

HARE = [
    30.0, 47.2, 70.2, 77.4, 36.3, 20.6, 18.1, 21.4, 22.0, 25.4, 27.1, 40.3, 57.0, 76.6, 52.3, 19.5, 11.2, 7.6,
    14.6, 16.2, 24.7,
]  # fmt: skip
LYNX = [
    4.0, 6.1, 9.8, 35.2, 59.4, 41.7, 19.0, 13.0, 8.3, 9.1, 7.4, 8.0, 12.3, 19.5, 45.7, 51.1, 29.7, 15.8,
    9.7, 10.1, 8.6,
]  # fmt: skip
STEPS_PER_YEAR = 3  # enough for 0.02 % accuracy at the posterior mean


def solve(z, years):
    """Populations at the turn of each year, (years, 2), by Runge-Kutta steps of fixed size."""
    step = 1 / STEPS_PER_YEAR
    growth, contact = np.array([z.alpha, -z.gamma]), np.array([-z.beta, z.delta])

    def change(state):
        return state * (growth + contact * state[::-1])

    state = z.initial
    path = [state]
    for _ in range(years - 1):
        for _ in range(STEPS_PER_YEAR):
            k1 = change(state)
            k2 = change(state + step / 2 * k1)
            k3 = change(state + step / 2 * k2)
            k4 = change(state + step * k3)
            state = state + step / 6 * (k1 + 2 * (k2 + k3) + k4)
        path.append(state)
    return np.array(path)


def log_prior(z):
    return (
        norm.logpdf(z.alpha, 1, 0.5)
        + norm.logpdf(z.gamma, 1, 0.5)
        + norm.logpdf(z.beta, 0.05, 0.05)
        + norm.logpdf(z.delta, 0.05, 0.05)
        + np.sum(lognorm.logpdf(z.initial, 1, scale=10))
        + np.sum(lognorm.logpdf(z.sigma, 1, scale=np.exp(-1)))
    )


def log_likelihood(z, pelts):
    return lognorm.logpdf(pelts, z.sigma, scale=solve(z, len(pelts)))


def predict(z, rng, pelts):
    return {"pelts": np.exp(rng.normal(np.log(solve(z, len(pelts))), z.sigma))}


def model() -> bbvi.Model:
    """Predator and prey; 8 latents."""
    return bbvi.Model(
        log_prior=log_prior,
        log_likelihood=log_likelihood,
        latents={
            "alpha": bbvi.Positive(),
            "beta": bbvi.Positive(),
            "gamma": bbvi.Positive(),
            "delta": bbvi.Positive(),
            "initial": bbvi.Positive(dims="species"),
            "sigma": bbvi.Positive(dims="species"),
        },
        data={"pelts": np.column_stack([HARE, LYNX])},
        coords={"species": ["hare", "lynx"], "year": list(range(1900, 1921))},
        dims={"pelts": ("year", "species")},
        predict=predict,
    )
