"""Pictures of Gaussian processes and networks."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from bbvi import Fit
from bbvi.models import gp_classification as launches
from bbvi.models.bayesian_neural_network import network

from .draw import CORRECTED, FAINT, REFERENCE, band, evaluate


def gp_regression(fit: Fit, figure: Figure) -> None:
    """Temperature in New Haven, and the latent curve, drawn given the data and carried on for ten years."""
    ax = figure.subplots()
    y, time = fit.model.data["y"], fit.model.data["time"]
    grid = np.linspace(0, 7, 71)
    rng = np.random.default_rng(1)

    def curve(z):
        def covariance(s, t):
            return z.amplitude**2 * np.exp(-0.5 * ((s[:, None] - t) / z.length) ** 2)

        weights = np.linalg.solve(covariance(time, time) + z.noise**2 * np.eye(len(y)), covariance(time, grid)).T
        left = covariance(grid, grid) - weights @ covariance(time, grid)
        root = np.linalg.cholesky(left + 1e-6 * z.amplitude**2 * np.eye(len(grid)))
        return z.mean + weights @ (y - z.mean) + root @ rng.normal(size=len(grid))

    band(ax, 1912 + 10 * grid, evaluate(fit, curve), label="latent curve")
    ax.plot(1912 + 10 * time, y, "o", color=REFERENCE, markersize=3, label="observed")
    ax.set(xlabel="year", ylabel="temperature (°F)")
    ax.legend(fontsize=8)


def gp_classification(fit: Fit, figure: Figure) -> None:
    """Probability of damage by temperature; the dotted line is the last launch, at 31 degrees."""
    ax = figure.subplots()
    degrees = np.linspace(31, 82, 103)

    def probability(z):
        jitter = launches.JITTER * np.eye(len(launches.GRID))
        weights = np.linalg.solve(launches.correlation(z, launches.GRID) + jitter, launches.curve(z) - z.mean)
        return 1 / (1 + np.exp(-(z.mean + launches.correlation(z, degrees) @ weights)))

    band(ax, degrees, evaluate(fit, probability), label="probability of damage")
    damage = fit.model.data["damage"]
    near = np.random.default_rng(1).uniform(-0.02, 0.02, len(damage))
    ax.plot(launches.TEMPERATURE, damage + near, "o", color=REFERENCE, markersize=4, label="launches")
    ax.axvline(31, color=FAINT, ls=":")
    ax.set(xlabel="temperature (°F)", ylabel="damage")
    ax.legend(fontsize=8)


def bayesian_neural_network(fit: Fit, figure: Figure) -> None:
    """The data, the curve they were made from (dashed), and the network's."""
    ax = figure.subplots()
    x, y = fit.model.data["x"], fit.model.data["y"]
    grid = np.linspace(-3.4, 3.4, 120)
    band(ax, grid, evaluate(fit, lambda z: network(z, grid)), CORRECTED, f"network ({fit.verdict})")
    ax.plot(grid, np.sin(1.5 * grid), color=FAINT, ls="--", label="sin(1.5 x)")
    ax.plot(x, y, "o", color=REFERENCE, markersize=3, label="observed")
    ax.set(xlabel="x", ylabel="y")
    ax.legend(fontsize=8)
