"""What the pictures share: quantities of every draw, bands, intervals beside the data, and their colours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from matplotlib.axes import Axes

import bbvi
from bbvi.output.drawing import CORRECTED, FAINT, MEAN_FIELD, REFERENCE

__all__ = ["CORRECTED", "FAINT", "MEAN_FIELD", "REFERENCE", "band", "evaluate", "intervals", "rows", "shrinkage"]

DRAWS = 300
# The widths of the dark and of the light part of a band, as probabilities.
WIDTHS = (0.5, 0.89)


def evaluate(fit: bbvi.Fit, function: Callable[[Any], Any], draws: int = DRAWS) -> np.ndarray:
    """A function of the latents at draws of the posterior, (draws, ...)."""
    sample = fit.sample(draws, seed=1)
    return np.array([function(SimpleNamespace(**{name: x[s] for name, x in sample.items()})) for s in range(draws)])


def band(ax: Axes, x: Any, values: np.ndarray, color: str = CORRECTED, label: str | None = None) -> None:
    """The median of `values` (draws, X) and two bands around it."""
    for width in WIDTHS:
        low, high = np.quantile(values, [(1 - width) / 2, (1 + width) / 2], axis=0)
        ax.fill_between(x, low, high, color=color, alpha=0.2, lw=0)
    ax.plot(x, np.median(values, axis=0), color=color, lw=1.5, label=label)


def intervals(ax: Axes, place: Any, values: np.ndarray, color: str = CORRECTED, label: str | None = None) -> None:
    """The same for points that no line joins: bars at each place."""
    for width, thick in zip(WIDTHS, (3.5, 1.2), strict=True):
        low, high = np.quantile(values, [(1 - width) / 2, (1 + width) / 2], axis=0)
        ax.vlines(place, low, high, color=color, lw=thick, alpha=0.75)
    ax.plot(place, np.median(values, axis=0), "o", color=color, markersize=4, label=label)


def rows(fit: bbvi.Fit, name: str, kind: str = "best") -> np.ndarray:
    """Mean and the ends of the 89 % interval of every row of a latent or derived quantity, (3, rows)."""
    summary = fit.summary(kind)
    chosen = summary[[label == name or label.startswith(f"{name}[") for label in summary.index]]
    return chosen[["mean", "eti_lb", "eti_ub"]].to_numpy(dtype=float).T


def shrinkage(ax: Axes, fit: bbvi.Fit, name: str, raw: Any, labels: Sequence[Any], what: str) -> None:
    """What each unit shows by itself, and its posterior, which has borrowed from the others."""
    mean, low, high = rows(fit, name)
    place = np.arange(len(mean))
    ax.vlines(place, low, high, color=CORRECTED, lw=2)
    ax.plot(place, mean, "o", color=CORRECTED, label="posterior mean, 89 % interval")
    ax.plot(place, raw, "o", markerfacecolor="white", color=REFERENCE, label=what)
    ax.axhline(float(np.mean(mean)), color=FAINT, lw=0.8, ls=":")
    ax.set_xticks(place, labels)
    ax.legend(fontsize=8)
