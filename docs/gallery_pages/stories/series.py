"""Pictures of time series."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from bbvi import Fit, models
from bbvi.models.autoregression import LYNX, ORDER
from bbvi.models.garch import variances
from bbvi.models.local_level import kalman_filter

from .draw import CORRECTED, MEAN_FIELD, REFERENCE, band, evaluate, rows


def autoregression(fit: Fit, figure: Figure) -> None:
    """Lynx trapped each year, and 25 years foretold by simulating on from the last four."""
    ax = figure.subplots()
    series, ahead = np.log10(LYNX), 25
    rng = np.random.default_rng(1)

    def future(z):
        path = list(series[-ORDER:])
        for _ in range(ahead):
            path.append(z.alpha + z.beta @ np.array(path[: -ORDER - 1 : -1]) + z.sigma * rng.normal())
        return path[ORDER:]

    years = 1821 + np.arange(len(series) + ahead)
    ax.plot(years[: len(series)], series, color=REFERENCE, lw=1, label="trapped")
    band(ax, years[len(series) :], evaluate(fit, future, draws=500), label="foretold")
    ax.set(xlabel="year", ylabel="log10 of lynx trapped")
    ax.legend(fontsize=8, loc="lower left")


def local_level(fit: Fit, figure: Figure) -> None:
    """Flow of the Nile, and what the filter expects of each year from those before it."""
    ax = figure.subplots()
    flow = fit.model.data["flow"]
    year = 1871 + np.arange(len(flow))
    band(ax, year, evaluate(fit, lambda z: kalman_filter(z, flow)[0], draws=200), label="expected")
    ax.plot(year, flow, ".-", color=REFERENCE, lw=0.5, markersize=4, label="observed")
    ax.set(xlabel="year", ylabel="flow (10⁸ m³)")
    ax.legend(fontsize=8)


def garch(fit: Fit, figure: Figure) -> None:
    """Returns, and plus and minus two standard deviations of the day as fitted."""
    ax = figure.subplots()
    returns = fit.model.data["returns"]
    sd = np.sqrt(evaluate(fit, lambda z: variances(z, returns), draws=150))
    mean = evaluate(fit, lambda z: z.mu, draws=150)[:, None]
    day = np.arange(1, len(returns) + 1)
    for sign, label in ((2, "two sds"), (-2, None)):
        band(ax, day, mean + sign * sd, label=label)
    ax.plot(day, returns, ".", color=REFERENCE, markersize=3, label="return")
    ax.set(xlabel="day", ylabel="return")
    ax.legend(fontsize=8)


def stochastic_volatility(fit: Fit, figure: Figure) -> None:
    """The hidden chain by this fit, which says itself that it is not reliable, and by long runs of MCMC (dashed)."""
    ax = figure.subplots()
    known = models.reference("stochastic_volatility")
    chosen = [i for i, label in enumerate(known.rows) if label.startswith("x[")]
    day = np.arange(1, len(chosen) + 1)
    for kind, color in (("mean-field", MEAN_FIELD), (fit.kind, CORRECTED)):
        mean, low, high = rows(fit, "x", kind)
        ax.fill_between(day, low, high, color=color, alpha=0.2, lw=0)
        ax.plot(day, mean, color=color, label=f"{kind}, 89 %")
    for values in known.quantiles[chosen].T:
        ax.plot(day, values, color=REFERENCE, lw=0.8, ls="--")
    ax.plot([], [], color=REFERENCE, lw=0.8, ls="--", label="MCMC, median and 90 %")
    ax.set(xlabel="day", ylabel="x")
    ax.legend(fontsize=8)
