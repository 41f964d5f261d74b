"""How a fit shows itself in a terminal and in a notebook."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from bbvi.correction.verdict import HEAVY_TAIL
from bbvi.output.room import shown
from bbvi.result.posterior import weighted_quantiles

if TYPE_CHECKING:
    from bbvi.result.posterior import Row
    from bbvi.result.record import FitRecord

# Shares of the cost that are worth a word.
_SHOWN = 0.02
_LEVELS = (0.055, 0.25, 0.5, 0.75, 0.945)


def text(fit: FitRecord) -> str:
    """Status, verdict, ELBO, k-hat, cost, and the summary table."""
    lines = [
        f"bbvi fit: {fit.status}, {fit.verdict}",
        *(f"  {name:<10} {value}" for name, value in _facts(fit)),
    ]
    for reason in fit.reasons:
        lines += textwrap.wrap(reason, 100, initial_indent="  - ", subsequent_indent="    ")
    rows = fit.table()
    some = [rows[i] for i in shown([row.label for row in rows])]
    header, cells = _table(some)
    table = [("", *header), *cells]
    widths = [max(len(row[j]) for row in table) for j in range(len(header) + 1)]
    lines.append("")
    for row in table:
        line = f"  {row[0]:<{widths[0]}}"
        for name, cell, width in zip(header, row[1:], widths[1:], strict=True):
            line += f"  {cell:<{width}}" if name in _WORDS else f"  {cell:>{width}}"
        lines.append(line.rstrip())
    if len(rows) > len(some):
        lines.append(f"  ... {len(rows) - len(some)} more rows: fit.summary()")
    lines += [f"  {line}" for line in _quantiles(fit, some)]
    return "\n".join(lines)


def html(fit: FitRecord) -> str:
    """The same as an HTML fragment."""
    colour = {"reliable": "#2e7d32", "caution": "#b26a00", "unreliable": "#c62828"}[fit.verdict]
    facts = "".join(f"<tr><th style='text-align:left'>{k}</th><td>{escape(v)}</td></tr>" for k, v in _facts(fit))
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in fit.reasons)
    rows = fit.table()
    some = [rows[i] for i in shown([row.label for row in rows])]
    header, cells = _table(some)
    head = "".join(f"<th>{name}</th>" for name in ("", *header))
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in cells)
    return (
        f"<b>bbvi fit</b>: {fit.status}, <b style='color:{colour}'>{fit.verdict}</b>"
        f"<table>{facts}</table><ul>{reasons}</ul><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        + (f"<p>{len(rows) - len(some)} more rows in <code>fit.summary()</code></p>" if len(rows) > len(some) else "")
        + "".join(f"<p>{escape(line)}</p>" for line in _quantiles(fit, some))
    )


def _facts(fit: FitRecord) -> Iterator[tuple[str, str]]:
    yield "ELBO", f"{fit.elbo:z.2f} ± {fit.elbo_se:.2f} nats"
    if np.isfinite(fit.log_evidence):
        yield "evidence", f"{fit.log_evidence:z.2f} ± {fit.log_evidence_se:.2f} nats"
    if fit.kind == "chains":
        yield "R-hat", f"{fit.rhat:.3f} (chains)"
    else:
        yield "k-hat", f"{fit.khat:z.2f} ({fit.kind})" if np.isfinite(fit.khat) else f"not known ({fit.kind})"
    yield (
        "cost",
        f"{fit.evaluations} evaluations, {fit.gradient_evaluations} gradients, {fit.seconds:.3f} s "
        f"({fit.estimator}, {fit.solver}, seed {fit.seed})",
    )
    large = {name: share for name, share in fit.stages.items() if share >= _SHOWN}
    if large:
        yield "of which", ", ".join(f"{name} {share:.0%}" for name, share in large.items())
    if fit.looped:
        yield "draw by draw", fit.looped
    yield "message", fit.message


_WORDS = ("verdict", "check")


def _table(rows: Sequence[Row]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The names of the columns, which are those of the summary, and the cells of rows; `check` where any failed."""
    header = tuple(name for name in rows[0]._fields[1:] if name != "check" or any(row.check for row in rows))
    return header, [_cells(row, "check" in header) for row in rows]


def _cells(row: Row, check: bool) -> tuple[str, ...]:
    # An interval, where the sd may not exist; 3.2 sds are that of 89 % of a normal.
    heavy = HEAVY_TAIL in row.check
    scale = (row.eti_ub - row.eti_lb) / 3.2 if heavy else row.sd
    figures = (
        *("-" if heavy else _figure(x, scale) for x in (row.mean, row.sd)),
        *(_figure(x, scale) for x in (row.eti_lb, row.eti_ub)),
        "-" if heavy else f"{row.mcse_mean:.1g}",
        "-" if heavy else _figure(row.sd_mean_field, scale),
    )
    return (row.label, *figures, row.verdict, *((row.check,) if check else ()))


def _quantiles(fit: FitRecord, rows: Sequence[Row]) -> Iterator[str]:
    """Of rows whose sd may not exist, what does."""
    heavy = [row.label for row in rows if HEAVY_TAIL in row.check]
    if not heavy:
        return
    posterior = fit.posterior()
    labels, x = posterior.columns
    found = weighted_quantiles(x[:, [labels.index(label) for label in heavy]], posterior.weights, np.array(_LEVELS))
    levels = ", ".join(f"{level:.1%}".replace(".0%", "%") for level in _LEVELS)
    for label, quantiles in zip(heavy, found.T, strict=True):
        scale = (quantiles[-1] - quantiles[0]) / 3.2
        shown = ", ".join(_figure(float(x), scale) for x in quantiles)
        yield f"{label}: its mean and sd may not exist; quantiles ({levels}): {shown}"


def _figure(x: float, sd: float) -> str:
    """Two digits beyond the leading one of the sd: more would be noise."""
    if not np.isfinite(x) or not np.isfinite(sd) or sd <= 0:
        shown = f"{x:.4g}"
    else:
        digits = int(np.clip(2 - np.floor(np.log10(sd)), 0, 12))
        shown = f"{x:.{digits}f}" if abs(x) < 1e7 else f"{x:.4g}"
    return shown.lstrip("-") if float(shown) == 0 else shown
