"""Pictures of a fit: its course, weights, marginals against mean field, correlations and predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bbvi.correction.chains import Chains
from bbvi.correction.gaussian import GaussianKind
from bbvi.correction.psis import psis
from bbvi.output.comparison import plot_comparison
from bbvi.output.density import density
from bbvi.output.drawing import (
    CI_PROB,
    CORRECTED,
    FAINT,
    GRID_ROWS,
    MEAN_FIELD,
    REFERENCE,
    VERDICTS,
    Known,
    chosen_rows,
    handles_of,
    in_figures,
    known_rows,
    most_correlated,
    new_axes,
    new_figure,
    short,
    styled,
    support_of,
)
from bbvi.output.predicted import plot_predictive
from bbvi.output.room import MOST, shown
from bbvi.result.loo import weighted_draws
from bbvi.result.posterior import weighted_quantiles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bbvi.result.record import FitRecord

__all__ = [
    "plot",
    "plot_comparison",
    "plot_forest",
    "plot_marginals",
    "plot_pairs",
    "plot_predictive",
    "plot_trace",
    "plot_weights",
]

Array = np.ndarray

# ---- the overview ------------------------------------------------------------------------------------------


@styled
def plot(fit: FitRecord, reference: Any = None) -> Figure:
    """The fit at a glance: course, weights, the most correlated pair, and the marginals against mean field.

    Parameters
    ----------
    fit : Fit
    reference : optional
        As for `plot_forest`.

    Returns
    -------
    matplotlib Figure
    """
    figure: Figure = new_figure(10.5, max(7.5, 1.6 + 0.21 * min(len(fit.rows()), MOST)))
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=[1, 1.25])[0]
    axes = left.subplots(3, 1)
    plot_trace(fit, axes[0])
    plot_weights(fit, axes[1])
    pair = most_correlated(fit, 2)
    if len(pair) == 2:
        _pair(axes[2], fit, pair[1], pair[0])
        axes[2].set_title("The most correlated pair")
        axes[2].legend(handles=handles_of(CORRECTED, MEAN_FIELD, kind=fit.kind), fontsize=8)
    else:
        _marginal(axes[2], fit, 0, known_rows(fit, reference))
    plot_forest(fit, reference=reference, ax=right.subplots())
    agreement = f"R-hat {fit.rhat:.3f}" if fit.kind == "chains" else f"k-hat {fit.khat:z.2f}"
    figure.suptitle(
        f"{fit.status}, {fit.verdict}    ELBO {fit.elbo:z.2f} ± {fit.elbo_se:.2f}    {agreement}",
        color=VERDICTS.get(fit.verdict), fontsize=12, x=0.01, ha="left",
    )  # fmt: skip
    return figure


# ---- the course and the weights ----------------------------------------------------------------------------


@styled
def plot_trace(fit: FitRecord, ax: Axes | None = None) -> Axes:
    """ELBO against evaluations: of the solver's draws as a line, of fresh draws as a band (2 standard errors).

    The axis shows the part of the course that can be told apart from the end; earlier values lie below it.
    """
    ax = new_axes(ax)
    x, y = np.array(fit.trace.evaluations), np.array(fit.trace.elbo)
    known = np.isfinite(y)
    ax.plot(
        x[known],
        y[known],
        color=CORRECTED,
        marker="o" if known.sum() < 40 else None,
        markersize=3,
        label="solver's draws",
    )
    if np.isfinite(fit.elbo):
        ax.axhspan(fit.elbo - 2 * fit.elbo_se, fit.elbo + 2 * fit.elbo_se, color=MEAN_FIELD, alpha=0.25, lw=0)
        ax.axhline(fit.elbo, color=MEAN_FIELD, lw=1, label="fresh draws ± 2 s.e.")
        seen = np.append(y[known], [fit.elbo - 2 * fit.elbo_se, fit.elbo + 2 * fit.elbo_se])
        late = np.append(y[known][known.sum() // 4 :], seen[-2:])
        bottom, top = late.min(), seen.max()
        # A first step may be thousands of nats below the rest.
        bottom = min(bottom, seen.min()) if seen.min() > top - 4 * (top - bottom) else bottom
        margin = 0.08 * max(top - bottom, 1e-6 * abs(top), 1e-9)
        ax.set_ylim(bottom - margin, top + margin)
    ax.set(xlabel="evaluations of the log joint", ylabel="ELBO (nats)", title="Course of the fit")
    ax.ticklabel_format(axis="y", useOffset=False)
    ax.legend(fontsize=8)
    return ax


@styled
def plot_weights(fit: FitRecord, ax: Axes | None = None) -> Axes:
    """The largest importance weights, on log-log axes: a Pareto tail is a straight line, as steep as -1 / k.

    Drawn for mean field and for the kind in use, if its draws are weighted. Flat is good; the dotted line is k = 0.7,
    beyond which estimates from the weights are not to be trusted.
    """
    ax = new_axes(ax)
    kinds = {"mean-field": MEAN_FIELD, fit.kind: CORRECTED}
    for kind, colour in kinds.items():
        chosen = fit.kinds[kind]
        # Draws of chains have no weights.
        if isinstance(chosen, Chains) or (isinstance(chosen, GaussianKind) and chosen.evaluated is None):
            continue
        log_weights, found = psis(weighted_draws(fit, kind).log_weights)
        known = fit.kinds[kind].khat
        khat = known if np.isfinite(known) else found
        weights = np.sort(np.exp(log_weights))[::-1] * len(log_weights)
        share = np.arange(1, len(weights) + 1) / len(weights)
        tail = weights > 1e-2
        ax.plot(
            weights[tail], share[tail], color=colour, label=f"{kind}, k-hat {khat:.2f}"
        )
    ax.set(xscale="log", yscale="log", xlabel="weight, relative to the mean", ylabel="share of draws above")
    ax.set_title("Importance weights")
    top = ax.get_xlim()[1]
    line = np.geomspace(1.0, max(top, 3.0), 10)
    ax.plot(line, 0.2 * line ** (-1 / 0.7), color=FAINT, ls=":", lw=1, label="k = 0.7")
    ax.set_ylim(bottom=0.3 / 8192, top=1.5)
    ax.legend(fontsize=8, loc="lower left")
    return ax


# ---- marginals ---------------------------------------------------------------------------------------------


@styled
def plot_forest(
    fit: FitRecord,
    kind: str = "best",
    reference: Any = None,
    rows: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Means and 89 % intervals of all rows, against mean field, in units of each row's own posterior sd.

    Latents of all scales share one axis, and the figures stand beside it.

    Parameters
    ----------
    fit : Fit
    kind : str
        As for `Fit.summary`.
    reference : dict or object, optional
        What is known: by row label a value or a pair (mean, sd), by latent its value or an array of draws
        ``(S, *shape)``, or a reference of the gallery, ``bbvi.models.reference(name)`` (its intervals are 90 %).
    rows : sequence of str, optional
        Labels of rows or names of latents; by default 40 of them, and of more the short arrays before the long ones.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
    """
    known = known_rows(fit, reference)
    everything = chosen_rows(fit, rows)
    chosen = everything if rows is not None else _with_room(fit, everything)
    table, plain = fit.rows(kind, CI_PROB), fit.rows("mean-field", CI_PROB)
    ax = new_axes(ax, height=1.3 + 0.24 * len(chosen))
    shift = 0.17 if known else 0.11
    reach = 2.0
    for place, i in enumerate(chosen):
        row = table[i]
        scale = row.sd if row.sd > 0 else 1.0
        lines: list[tuple[float, Any, str, str]] = [
            (-shift, (row.mean, row.eti_lb, row.eti_ub), CORRECTED, "o"),
            (shift, (plain[i].mean, plain[i].eti_lb, plain[i].eti_ub), MEAN_FIELD, "o"),
        ]
        if row.label in known:
            other = known[row.label]
            lines.append((0.0, (other.mean, other.low, other.high), REFERENCE, "|"))
        for offset, figures, colour, marker in lines:
            mean, low, high = (np.array(figures) - row.mean) / scale
            ax.plot([low, high], [place + offset] * 2, color=colour, lw=1.6, solid_capstyle="butt")
            ax.plot(mean, place + offset, marker=marker, markersize=4, color=colour)
            reach = max(reach, -low, high)
    reach = min(reach, 6.0)
    ax.set_xlim(-1.08 * reach, 1.08 * reach)
    ax.set_ylim(len(chosen) - 0.5, -0.5)
    ax.set_yticks(range(len(chosen)), [short(table[i].label) for i in chosen])
    ax.tick_params(axis="y", length=0)
    beside = ax.secondary_yaxis("right")
    beside.set_yticks(range(len(chosen)), [in_figures(table[i].mean, table[i].sd) for i in chosen])
    beside.tick_params(axis="y", length=0, labelcolor=FAINT)
    beside.spines["right"].set_visible(False)
    ax.axvline(0, color=FAINT, lw=0.6, zorder=0)
    more = len(everything) - len(chosen)
    ax.set_xlabel("posterior sds from the mean" + (f"; {more} more rows are not shown" if more > 0 else ""))
    colours = (CORRECTED, MEAN_FIELD, REFERENCE) if known else (CORRECTED, MEAN_FIELD)
    handles = handles_of(*colours, kind=fit.kind if kind == "best" else kind)
    handles[0].set_label(f"{handles[0].get_label()}, mean and 89 % interval")
    # Above the axes, where no row can be.
    ax.legend(
        handles=handles, fontsize=8, ncols=3, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2,
        handlelength=1.2, columnspacing=1.0,
    )  # fmt: skip
    return ax


def _with_room(fit: FitRecord, rows: Sequence[int]) -> list[int]:
    """Those of the rows, by index, that there is room for."""
    labels = fit.posterior().columns[0]
    return [rows[i] for i in shown([labels[i] for i in rows])]


@styled
def plot_marginals(
    fit: FitRecord, rows: Sequence[str] | None = None, reference: Any = None, kind: str = "best"
) -> Figure:
    """Marginal densities against mean field; a `plot_forest` where there are more than 12 rows.

    Parameters
    ----------
    rows, reference, kind
        As for `plot_forest`.
    """
    chosen = chosen_rows(fit, rows)
    known = known_rows(fit, reference)
    if len(chosen) > GRID_ROWS:
        shown_there = chosen if rows is not None else _with_room(fit, chosen)
        figure: Figure = new_figure(7, 1.3 + 0.24 * len(shown_there))
        plot_forest(fit, kind, reference, rows, figure.subplots())
        return figure
    columns = min(len(chosen), 4 if len(chosen) > 6 else 3)
    lines = -(-len(chosen) // columns)
    figure = new_figure(2.7 * columns + 0.3, 2.1 * lines + 0.5)
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for ax, i in zip(axes, chosen, strict=False):
        _marginal(ax, fit, i, known, kind)
    for ax in axes[len(chosen) :]:
        ax.set_visible(False)
    colours = (CORRECTED, MEAN_FIELD, REFERENCE) if known else (CORRECTED, MEAN_FIELD)
    figure.legend(
        handles=handles_of(*colours, kind=fit.kind if kind == "best" else kind),
        loc="outside lower center",
        ncols=3,
    )
    return figure


def _marginal(ax: Axes, fit: FitRecord, i: int, known: Mapping[str, Known], kind: str = "best") -> None:
    chosen = fit.posterior(kind)
    label = chosen.columns[0][i]
    peak = 0.0
    for posterior, colour in ((fit.posterior("mean-field"), MEAN_FIELD), (chosen, CORRECTED)):
        x, y = density(posterior.columns[1][:, i], posterior.weights, *support_of(posterior, i))
        ax.plot(x, y, color=colour)
        if colour == CORRECTED:
            ax.fill_between(x, y, color=colour, alpha=0.12, lw=0)
            # Mean field may be many times too narrow, and then leaves the picture at the top.
            peak = min(peak, 2.5 * y.max()) if peak > y.max() else y.max()
        else:
            peak = y.max()
    if label in known:
        other = known[label]
        ax.axvline(other.mean, color=REFERENCE, lw=1, ls="--")
        height = 0.04 * peak
        ax.plot([other.low, other.high], [height, height], color=REFERENCE, lw=2, solid_capstyle="butt")
    ax.set_title(short(label))
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ax.set_ylim(0, 1.05 * peak)
    ax.locator_params(axis="x", nbins=4)


# ---- correlations ------------------------------------------------------------------------------------------


@styled
def plot_pairs(fit: FitRecord, rows: Sequence[str] | int = 4, kind: str = "best") -> Figure:
    """Draws of pairs of rows, with mean field's draws behind them.

    Parameters
    ----------
    rows : int or sequence of str
        The labels, or how many of the most correlated latents.
    """
    if isinstance(rows, int):
        chosen = most_correlated(fit, rows, kind)
    else:
        chosen = chosen_rows(fit, rows)
    if len(chosen) < 2:
        raise ValueError(f"rows: expected two rows or more, got {len(chosen)}")
    count = len(chosen)
    figure: Figure = new_figure(2.1 * count + 0.4, 2.0 * count + 0.5)
    axes = figure.subplots(count, count, squeeze=False)
    for a in range(count):
        for b in range(count):
            ax = axes[a, b]
            if a < b:
                ax.set_visible(False)
            elif a == b:
                _marginal(ax, fit, chosen[a], {}, kind)
            else:
                _pair(ax, fit, chosen[b], chosen[a], kind)
                ax.label_outer()
    figure.legend(
        handles=handles_of(CORRECTED, MEAN_FIELD, kind=fit.kind if kind == "best" else kind),
        loc="upper right",
    )
    return figure


def _pair(ax: Axes, fit: FitRecord, i: int, j: int, kind: str = "best") -> None:
    chosen = fit.posterior(kind)
    rng = np.random.default_rng(0)
    for posterior, colour, alpha in (
        (fit.posterior("mean-field"), MEAN_FIELD, 0.35),
        (chosen, CORRECTED, 0.45),
    ):
        picked = rng.choice(len(posterior.u), size=600, p=posterior.weights / posterior.weights.sum())
        x, y = posterior.columns[1][picked][:, [i, j]].T
        ax.plot(x, y, ".", color=colour, alpha=alpha, markersize=3, markeredgewidth=0, rasterized=True)
    for set_limits, k in ((ax.set_xlim, i), (ax.set_ylim, j)):
        ends = weighted_quantiles(chosen.columns[1][:, [k]], chosen.weights, np.array([0.002, 0.998]))[:, 0]
        margin = 0.08 * (ends[1] - ends[0])
        set_limits(ends[0] - margin, ends[1] + margin)
    ax.set(xlabel=short(chosen.columns[0][i]), ylabel=short(chosen.columns[0][j]))
    ax.locator_params(nbins=4)


# ---- predictions -------------------------------------------------------------------------------------------


