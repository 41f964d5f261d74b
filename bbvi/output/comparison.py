"""The plot of gradient estimators compared: variance against draws."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bbvi.output.drawing import new_axes

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def plot_comparison(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Variance against draws on log-log axes: a colour per estimator, a thin line per coordinate.

    An estimator whose variance is zero throughout has no place on a log axis; the legend says so.

    Parameters
    ----------
    table : DataFrame
        From `compare_estimators`.
    ax : matplotlib Axes, optional
        Where to draw; a new figure without it.

    Returns
    -------
    matplotlib Axes
    """
    if ax is None:
        ax = new_axes(None, 6.4, 4.8)
    largest = float(table["variance"].max())
    for index, (label, rows) in enumerate(table.groupby("estimator", sort=False)):
        shown = rows[rows["variance"] > 1e-24 * largest]
        lines = list(shown.groupby("coordinate", sort=False))
        colour = f"C{index % 10}"
        if not lines:
            ax.plot([], [], color=colour, label=f"{label}: variance 0")
        for place, (_, line) in enumerate(lines):
            line = line.sort_values("draws")
            ax.plot(
                line["draws"], line["variance"], marker="o", markersize=3, linewidth=1, color=colour,
                alpha=max(0.3, len(lines) ** -0.5), label=None if place else str(label),
            )  # fmt: skip
    ax.set(xscale="log", yscale="log", xlabel="draws", ylabel="variance of the estimate")
    ax.legend()
    return ax
