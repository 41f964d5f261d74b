"""Pictures of Gaussian processes and networks."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from bbvi import Fit
from bbvi.models import gp_classification as launches
from bbvi.models import variational_autoencoder as autoencoder
from bbvi.models.bayesian_neural_network import network

from .draw import CORRECTED, FAINT, MEAN_FIELD, REFERENCE, band, evaluate


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


def variational_autoencoder(fit: Fit, figure: Figure) -> None:
    """Left, what the decoder makes of each place of the map; right, where ten images lie on it: draws of the posterior
    and the encoder's guesses, with two sds."""
    pictures, codes = figure.subplots(1, 2)
    data = fit.model.data
    ends, tiles = 2.6, 11
    places = np.linspace(-ends, ends, tiles)
    x, y = np.meshgrid(places, places[::-1])
    ink = 1 / (1 + np.exp(-autoencoder.decode(data["theta"], np.stack([x, y], axis=-1))))
    mosaic = ink.reshape(tiles, tiles, 8, 8).transpose(0, 2, 1, 3).reshape(8 * tiles, 8 * tiles)
    pictures.imshow(mosaic, cmap="gray_r", extent=(-ends, ends, -ends, ends))
    draws = evaluate(fit, lambda z: autoencoder.code_of(z, data["images"], data["phi"]))
    mean, log_sd = autoencoder.encode(data["phi"], data["images"])
    angle = np.linspace(0, 2 * np.pi, 60)
    for i, digit in enumerate(fit.model.coords["image"]):
        codes.plot(*draws[:, i].T, ".", color=CORRECTED, markersize=1.5, alpha=0.6)
        guess = mean[i][:, None] + 2 * np.exp(log_sd[i])[:, None] * np.stack([np.cos(angle), np.sin(angle)])
        codes.plot(*guess, color=MEAN_FIELD, lw=1)
        codes.annotate(str(digit), draws[:, i].mean(axis=0), fontsize=9, fontweight="bold", color=REFERENCE)
    for ax in (pictures, codes):
        ax.set(xlabel="x", ylabel="y", aspect="equal")
