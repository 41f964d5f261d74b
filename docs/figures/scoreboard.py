"""The scoreboard: every model of the gallery fitted with one seed, against its reference posterior."""

from __future__ import annotations

import platform
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _write import into_readme, table

import bbvi
from bbvi import models

SEED = 1
# Values alone are tried on models of at most so many latents, with so many evaluations.
SCORE_DIM, SCORE_EVALUATIONS = 12, 20_000
# What a fit of a model may raise; here that is a result like any other.
FAILURES = (ArithmeticError, ValueError, TypeError, RuntimeError, np.linalg.LinAlgError)


@dataclass(frozen=True)
class Score:
    """How one fit went: the worst error of a mean in posterior sds and of an sd, relative; cost and time."""

    fit: bbvi.Fit
    mean_error: float
    sd_error: float
    evaluations: int
    gradients: int


def score(name: str, **options: object) -> Score:
    """Fit a model of the gallery and compare every row with its reference."""
    model, known = models.load(name), models.reference(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = bbvi.fit(model, seed=SEED, **options)
        # Counted before the summary, which may evaluate more.
        cost = fit.evaluations, fit.gradient_evaluations
        summary = fit.summary().loc[known.rows]
    return Score(
        fit,
        float(np.max(np.abs(summary["mean"] - known.mean) / known.sd)),
        float(np.max(np.abs(summary["sd"] / known.sd - 1))),
        *cost,
    )


def attempt(name: str, **options: object) -> Score | str:
    """A score, or the first words of the error where there is none."""
    try:
        return score(name, **options)
    except FAILURES as error:
        return f"{type(error).__name__}: {str(error).split(';')[0]}"


def shown(error: float, percent: bool = False) -> str:
    """An error in sds with two decimals, or in whole percent."""
    if not np.isfinite(error):
        return "not finite"
    return f"{100 * error:.0f} %" if percent else f"{error:.2f}"


def khat(result: Score, kind: str) -> str:
    """k-hat of one kind of draws, or a dash."""
    value = result.fit.khats.get(kind, np.nan)
    return "-" if np.isnan(value) else f"{value:.2f}"


def row(name: str, result: Score | str) -> tuple[str, ...]:
    """A line of the table of fits with the standard options."""
    dim = str(models.load(name).dim)
    if isinstance(result, str):
        return (f"`{name}`", "failed", "", dim, *[""] * 8)
    return (
        f"`{name}`",
        result.fit.verdict,
        result.fit.kind,
        dim,
        shown(result.mean_error),
        shown(result.sd_error, percent=True),
        khat(result, "mean-field"),
        khat(result, "linear-response"),
        khat(result, "importance"),
        f"{result.evaluations:,}",
        f"{result.gradients:,}",
        f"{result.fit.seconds:.1f}",
    )


def kind_row(name: str, result: Score) -> tuple[str, ...]:
    """A line of the table of kinds: the worst error of a mean and an sd by mean field, linear response, importance."""
    known = models.reference(name)
    cells = [f"`{name}`", result.fit.verdict]
    for kind in ("mean-field", "linear-response", "importance"):
        try:
            summary = result.fit.summary(kind).loc[known.rows]
        except ValueError:
            # This fit has no such kind.
            cells += ["-", "-"]
            continue
        cells.append(shown(float(np.max(np.abs(summary["mean"] - known.mean) / known.sd))))
        cells.append(shown(float(np.max(np.abs(summary["sd"] / known.sd - 1))), percent=True))
    return tuple(cells)


def score_row(name: str, result: Score | str) -> tuple[str, ...]:
    """A line of the table of fits from values alone."""
    dim = str(models.load(name).dim)
    if isinstance(result, str):
        return (f"`{name}`", "failed", "", dim, *[""] * 4)
    return (
        f"`{name}`",
        result.fit.verdict,
        str(result.fit.status),
        dim,
        shown(result.mean_error),
        shown(result.sd_error, percent=True),
        f"{result.evaluations:,}",
        f"{result.fit.seconds:.1f}",
    )


def totals(results: dict[str, Score | str]) -> str:
    """The sentence under a table: how many of each verdict, and the worst of those that say they are reliable."""
    scores = [result for result in results.values() if isinstance(result, Score)]
    verdicts = [result.fit.verdict for result in scores]
    counts = [f"{verdicts.count(verdict)} {verdict}" for verdict in ("reliable", "caution", "unreliable")]
    failures = {name: result for name, result in results.items() if isinstance(result, str)}
    if failures:
        counts.append(f"{len(failures)} failed")
    text = f"{len(results)} models: {', '.join(counts)}."
    trusted = [result for result in scores if result.fit.verdict == "reliable"]
    if trusted:
        means, sds = [s.mean_error for s in trusted], [s.sd_error for s in trusted]
        wrong = sum(m > 0.1 or s > 0.1 for m, s in zip(means, sds, strict=True))
        text += (
            f" Where the verdict is reliable, the worst mean of a model is off by {np.median(means):.2f} sd in the"
            f" median and by {max(means):.2f} sd at most, the worst sd by {100 * np.median(sds):.0f} % and"
            f" {100 * max(sds):.0f} %; {wrong or 'none'} of them off by more than 0.1 sd or 10 %."
        )
    return text + "".join(f"\n\n`{name}` failed with {error}." for name, error in failures.items())


def make(out: Path) -> None:
    """Write ``scoreboard.md`` and ``scoreboard_score.md``, their totals, and the README."""
    names = models.names()
    fits = {name: attempt(name) for name in names}
    header = ("model", "verdict", "kind", "D", "worst mean, sd", "worst sd", "k-hat mean field")
    header = (*header, "linear response", "weights", "evaluations", "gradients", "seconds")
    table(out / "scoreboard.md", header, [row(*item) for item in fits.items()], text=3)

    kinds = ("model", "verdict", "mean field: mean", "sd", "linear response: mean", "sd", "importance: mean", "sd")
    rows = [kind_row(name, result) for name, result in fits.items() if isinstance(result, Score)]
    table(out / "scoreboard_kinds.md", kinds, rows, text=2)

    small = [name for name in names if models.load(name).dim <= SCORE_DIM]
    values = {name: attempt(name, estimator="score", max_evaluations=SCORE_EVALUATIONS) for name in small}
    header = ("model", "verdict", "status", "D", "worst mean, sd", "worst sd", "evaluations", "seconds")
    table(out / "scoreboard_score.md", header, [score_row(*item) for item in values.items()], text=3)

    where = f"bbvi {bbvi.__version__}, Python {platform.python_version()}, NumPy {np.__version__}, seed {SEED}."
    (out / "scoreboard_totals.md").write_text(f"{totals(fits)}\n\n{where}\n", encoding="utf-8")
    into_readme("scoreboard", totals(fits))
    (out / "scoreboard_score_totals.md").write_text(f"{totals(values)}\n", encoding="utf-8")
