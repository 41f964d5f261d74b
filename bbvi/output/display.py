"""How a fit shows itself in a terminal and in a notebook."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from bbvi.result.posterior import Row
    from bbvi.result.record import FitRecord

_MOST_ROWS = 40
_HEADER = ("", "mean", "sd", "eti89_lb", "eti89_ub", "mcse_mean", "sd_mean_field")


def text(fit: FitRecord) -> str:
    """Status, verdict, ELBO, k-hat, cost, and the summary table."""
    lines = [
        f"bbvi fit: {fit.status}, {fit.verdict}",
        *(f"  {name:<10} {value}" for name, value in _facts(fit)),
    ]
    for reason in fit.reasons:
        lines += textwrap.wrap(reason, 100, initial_indent="  - ", subsequent_indent="    ")
    rows = fit.rows()
    cells = [_HEADER, *(_cells(row) for row in rows[:_MOST_ROWS])]
    widths = [max(len(row[j]) for row in cells) for j in range(len(_HEADER))]
    lines.append("")
    for row in cells:
        head = f"  {row[0]:<{widths[0]}}"
        lines.append(head + "".join(f"  {cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True)))
    if len(rows) > _MOST_ROWS:
        lines.append(f"  ... {len(rows) - _MOST_ROWS} more rows: fit.summary()")
    return "\n".join(lines)


def html(fit: FitRecord) -> str:
    """The same as an HTML fragment."""
    colour = {"reliable": "#2e7d32", "caution": "#b26a00", "unreliable": "#c62828"}[fit.verdict]
    facts = "".join(f"<tr><th style='text-align:left'>{k}</th><td>{escape(v)}</td></tr>" for k, v in _facts(fit))
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in fit.reasons)
    rows = fit.rows()
    head = "".join(f"<th>{name}</th>" for name in _HEADER)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in _cells(row)) + "</tr>" for row in rows[:_MOST_ROWS]
    )
    return (
        f"<b>bbvi fit</b>: {fit.status}, <b style='color:{colour}'>{fit.verdict}</b>"
        f"<table>{facts}</table><ul>{reasons}</ul><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        + (f"<p>{len(rows) - _MOST_ROWS} more rows in <code>fit.summary()</code></p>" if len(rows) > _MOST_ROWS else "")
    )


def _facts(fit: FitRecord) -> Iterator[tuple[str, str]]:
    yield "ELBO", f"{fit.elbo:.2f} ± {fit.elbo_se:.2f} nats"
    if np.isfinite(fit.log_evidence):
        yield "evidence", f"{fit.log_evidence:.2f} ± {fit.log_evidence_se:.2f} nats"
    if np.isfinite(fit.rhat):
        yield "R-hat", f"{fit.rhat:.3f} (chains)"
    if fit.kind != "chains":
        yield "k-hat", f"{fit.khat:.2f} ({fit.kind})" if np.isfinite(fit.khat) else f"not known ({fit.kind})"
    yield (
        "cost",
        f"{fit.evaluations} evaluations, {fit.gradient_evaluations} gradients, {fit.seconds:.3f} s "
        f"({fit.estimator}, {fit.solver})",
    )
    if fit.looped:
        yield "draw by draw", fit.looped
    yield "message", fit.message


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.label,
        *(_figure(x, row.sd) for x in row[1:5]),
        f"{row.mcse_mean:.1g}",
        _figure(row.sd_mean_field, row.sd),
    )


def _figure(x: float, sd: float) -> str:
    """Two digits beyond the leading one of the sd: more would be noise."""
    if not np.isfinite(x) or not np.isfinite(sd) or sd <= 0:
        return f"{x:.4g}"
    digits = int(np.clip(2 - np.floor(np.log10(sd)), 0, 12))
    return f"{x:.{digits}f}" if abs(x) < 1e7 else f"{x:.4g}"
