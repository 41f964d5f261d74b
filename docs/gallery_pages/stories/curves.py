"""Pictures of nonlinear curves, differential equations and simulators."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from bbvi import Fit
from bbvi.models.black_box_simulator import flight
from bbvi.models.boarding_school import infected
from bbvi.models.dugongs import curve
from bbvi.models.lotka_volterra import solve
from bbvi.models.michaelis_menten import mean_rate

from .draw import CORRECTED, MEAN_FIELD, REFERENCE, band, evaluate, intervals


def dugongs(fit: Fit, figure: Figure) -> None:
    """Length against age, with the fitted curve and where 89 % of further animals would lie (grey)."""
    ax = figure.subplots()
    age = np.linspace(0.5, 40, 100)
    values = evaluate(fit, lambda z: curve(z, age), draws=500)
    noise = evaluate(fit, lambda z: z.sigma, draws=500)[:, None] * np.random.default_rng(1).normal(size=values.shape)
    ax.fill_between(age, *np.quantile(values + noise, [0.055, 0.945], axis=0), color="0.92", lw=0)
    band(ax, age, values, label="expected length")
    ax.plot(fit.model.data["age"], fit.model.data["length"], "o", color=REFERENCE, markersize=4, label="dugongs")
    ax.set(xlabel="age (years)", ylabel="length (m)")
    ax.legend(fontsize=8)


def michaelis_menten(fit: Fit, figure: Figure) -> None:
    """Velocity of the reaction against concentration, with and without puromycin."""
    ax = figure.subplots()
    data = fit.model.data
    grid = np.linspace(0.005, 1.15, 100)
    for group, color, label in ((0, CORRECTED, "treated"), (1, MEAN_FIELD, "untreated")):
        band(ax, grid, evaluate(fit, lambda z, g=group: mean_rate(z, grid, g)), color, label)
        chosen = data["group"] == group
        ax.plot(data["concentration"][chosen], data["rate"][chosen], "o", color=color, markersize=4)
    ax.set(xlabel="concentration (ppm)", ylabel="velocity (counts / min²)")
    ax.legend(fontsize=8)


def lotka_volterra(fit: Fit, figure: Figure) -> None:
    """Pelts of hare and lynx, and the fitted solution of the equations."""
    ax = figure.subplots()
    pelts, years = fit.model.data["pelts"], np.array(fit.model.coords["year"])
    path = evaluate(fit, lambda z: solve(z, len(years)), draws=150)
    for i, color in enumerate((CORRECTED, MEAN_FIELD)):
        band(ax, years, path[:, :, i], color, fit.model.coords["species"][i])
        ax.plot(years, pelts[:, i], "o", color=color, markersize=4)
    ax.set(xlabel="year", ylabel="pelts (thousands)", xticks=years[::5])
    ax.legend(fontsize=8)


def boarding_school(fit: Fit, figure: Figure) -> None:
    """Boys in bed: observed, the fitted number of infected, and where 89 % of new counts would lie."""
    ax = figure.subplots()
    day = np.arange(1, 15)
    intervals(ax, day, fit.predict(400, seed=1)["in_bed"], "0.75", "new counts")
    band(ax, day, evaluate(fit, lambda z: infected(z, 14), draws=200), label="infected")
    ax.plot(day, fit.model.data["in_bed"], "o", color=REFERENCE, markersize=4, label="in bed")
    ax.set(xlabel="day", ylabel="boys")
    ax.legend(fontsize=8)


def black_box_simulator(fit: Fit, figure: Figure) -> None:
    """Distances measured, and the simulator's at draws of the posterior, for angles between and beyond."""
    ax = figure.subplots()
    angle = np.arange(5, 80, 3.0)
    distance = evaluate(fit, lambda z: [flight(float(z.speed), float(z.drag), a) for a in angle], draws=100)
    band(ax, angle, distance, label="simulated")
    ax.plot(fit.model.data["angle"], fit.model.data["distance"], "o", color=REFERENCE, label="measured")
    ax.set(xlabel="angle (degrees)", ylabel="distance (m)")
    ax.legend(fontsize=8)
