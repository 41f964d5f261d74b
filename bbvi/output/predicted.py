"""The picture of posterior predictive draws beside the data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bbvi.model import predictive
from bbvi.model.model import labels_of
from bbvi.output.density import density
from bbvi.output.drawing import (
    CORRECTED,
    REFERENCE,
    new_axes,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from bbvi.result.record import FitRecord

Array = np.ndarray


@styled
def plot_predictive(
    fit: FitRecord, name: str | None = None, ax: Axes | None = None, seed: int | None = None
) -> Axes:
    """Posterior predictive against observed data: intervals by observation up to 60 of them, else densities.

    Parameters
    ----------
    name : str, optional
        Of the predicted quantity; by default the first.

    Raises
    ------
    ValueError
        If the model has no ``predict``, or predicts nothing of that name.
    """
    draws = fit.sampled(400, seed=seed)
    predicted = predictive.predict(fit.model, draws, np.random.default_rng([fit.seed, 4]))
    name = next(iter(predicted)) if name is None else name
    if name not in predicted:
        raise ValueError(f"name: expected one of {', '.join(predicted)}, got {name!r}")
    shape = predicted[name].shape[1:]
    x = predicted[name].reshape(len(predicted[name]), -1).astype(float)
    observed = fit.model.data.get(name)
    data = None if observed is None or np.shape(observed) != shape else np.ravel(observed).astype(float)
    ax = new_axes(ax, width=7.5)
    if x.shape[1] <= 60:
        _predicted_intervals(ax, x, data, labels_of(fit.model, name, shape))
    else:
        _predicted_densities(ax, x, data, name)
    ax.set_title(f"Posterior predictive of {name}")
    ax.legend(fontsize=8)
    return ax


def _predicted_intervals(ax: Axes, x: Array, data: Array | None, labels: Sequence[str]) -> None:
    place = np.arange(x.shape[1])
    for tail, width in ((0.055, 1.2), (0.25, 4.0)):
        low, high = np.quantile(x, [tail, 1 - tail], axis=0)
        label = f"{1 - 2 * tail:.0%} interval"
        ax.vlines(place, low, high, color=CORRECTED, lw=width, alpha=0.6, label=label)
    if data is not None:
        ax.plot(place, data, "o", color=REFERENCE, markersize=4, label="observed")
    step = -(-len(labels) // 15)
    short = [label.partition("[")[2].rstrip("]") or label for label in labels]
    longest = max(len(label) for label in short)
    ax.set_xticks(place[::step], short[::step], rotation=45 if longest * len(short[::step]) > 70 else 0)


def _predicted_densities(ax: Axes, x: Array, data: Array | None, name: str) -> None:
    uniform = np.full(x.shape[1], 1 / x.shape[1])
    for s in range(0, len(x), max(1, len(x) // 40)):
        ax.plot(
            *density(x[s], uniform),
            color=CORRECTED,
            alpha=0.25,
            lw=0.8,
            label=None if s else "predicted data sets",
        )
    if data is not None:
        ax.plot(*density(data, uniform), color=REFERENCE, lw=1.8, label="observed")
    ax.set(xlabel=name, yticks=[])
    ax.spines["left"].set_visible(False)
