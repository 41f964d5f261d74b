"""Pictures of models whose discrete states are summed out."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import norm, poisson

from bbvi import Fit
from bbvi.models.coal_mining import FIRST_YEAR, log_weight_of_year

from .draw import CORRECTED, FAINT, MEAN_FIELD, REFERENCE, band, evaluate


def galaxies(fit: Fit, figure: Figure) -> None:
    """Velocities of the galaxies, and the fitted density with its three components."""
    ax = figure.subplots()
    grid = np.linspace(5, 38, 250)
    parts = evaluate(fit, lambda z: z.weight * norm.pdf(grid[:, None], z.mu, z.sigma))
    ax.hist(fit.model.data["y"], bins=40, density=True, color="0.85", label="galaxies")
    band(ax, grid, parts.sum(axis=2), label="mixture")
    for k, color in enumerate((MEAN_FIELD, FAINT, "#2e7d32")):
        label = fit.model.coords["component"][k]
        ax.plot(grid, np.median(parts[:, :, k], axis=0), color=color, lw=1, ls="--", label=label)
    ax.set(xlabel="velocity (1000 km/s)", yticks=[])
    ax.legend(fontsize=8)


def hidden_markov(fit: Fit, figure: Figure) -> None:
    """Earthquakes a year, their expected number, and the probability that the year was restless (below)."""
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2.2, 1])
    count = np.asarray(fit.model.data["count"])
    year = 1900 + np.arange(len(count))

    def restless(z):
        """Smoothed probability of the second state, by the forward-backward recursions."""
        emission = poisson.pmf(count[:, None], np.exp(z.log_rate))
        forward, backward = [0.5 * emission[0]], [np.ones(2)]
        for e in emission[1:]:
            step = (forward[-1] / forward[-1].sum()) @ z.transition * e
            forward.append(step)
        for e in emission[:0:-1]:
            step = z.transition @ (e * backward[-1])
            backward.append(step / step.sum())
        joint = np.array(forward) * np.array(backward[::-1])
        return joint[:, 1] / joint.sum(axis=1)

    share = evaluate(fit, restless)
    rate = evaluate(fit, lambda z: np.exp(z.log_rate))
    band(above, year, rate[:, :1] * (1 - share) + rate[:, 1:] * share, label="expected")
    above.plot(year, count, ".", color=REFERENCE, markersize=4, label="observed")
    above.set(ylabel="earthquakes")
    above.legend(fontsize=8)
    band(below, year, share, MEAN_FIELD)
    below.set(xlabel="year", ylabel="restless", ylim=(0, 1))


def coal_mining(fit: Fit, figure: Figure) -> None:
    """Disasters a year, the expected number, and the probability of each year of change (below)."""
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2.2, 1])
    count = np.asarray(fit.model.data["count"])
    year = FIRST_YEAR + np.arange(len(count))

    def change(z):
        log_weight = log_weight_of_year(z, count)
        weight = np.exp(log_weight - log_weight.max())
        return weight / weight.sum()

    probability = evaluate(fit, change)
    changed = np.cumsum(probability, axis=1)
    early, late = (evaluate(fit, lambda z, n=name: getattr(z, n))[:, None] for name in ("early", "late"))
    above.bar(year, count, color="0.8", label="observed")
    band(above, year, early * (1 - changed) + late * changed, CORRECTED, "expected")
    above.set(ylabel="disasters")
    above.legend(fontsize=8)
    below.bar(year, probability.mean(axis=0), color=MEAN_FIELD)
    below.set(xlabel="year", ylabel="P(change)")
