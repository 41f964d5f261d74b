"""Checks of a model that its author can call: in a test, at a prompt, or as ``bbvi check``."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any, NamedTuple

import numpy as np

from bbvi.fitting.arguments import as_model
from bbvi.model import predictive
from bbvi.model.model import Model
from bbvi.model.validation import seed_or_none
from bbvi.result.standin import available
from bbvi.search import starts
from bbvi.target import checks
from bbvi.target.lint import lint, unidentified
from bbvi.target.target import Target

Array = np.ndarray

_OF_THE_USER = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
_STEP = np.finfo(float).eps ** 0.2


class GradientComparison(NamedTuple):
    """A gradient and differences of the values, each (D,), unconstrained; `agrees` says where they do."""

    labels: list[str]
    gradient: Array
    differences: Array
    agrees: Array


class Finding(NamedTuple):
    """One result of a check: `grade` is ``"ok"``, ``"note"`` or ``"problem"``."""

    grade: str
    check: str
    message: str


@dataclass(repr=False)
class Report:
    """What `check_model` found."""

    model: Model
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether there is no problem; notes are none."""
        return not self.problems

    @property
    def problems(self) -> list[str]:
        """Messages of the problems."""
        return [finding.message for finding in self.findings if finding.grade == "problem"]

    def raise_problems(self) -> None:
        """Raise a ValueError with all problems, if there are any: the last line of a test."""
        if self.problems:
            raise ValueError("the model has problems: " + " | ".join(self.problems))

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        colours = {"ok": "#2e7d32", "note": "#b26a00", "problem": "#c62828"}
        rows = "".join(
            f"<tr><td style='color:{colours[grade]}'><b>{grade}</b></td>"
            + "".join(f"<td style='text-align:left'>{escape(cell)}</td>" for cell in (check, message))
            + "</tr>"
            for grade, check, message in self.findings
        )
        return f"<code>{escape(repr(self.model))}</code><table>{rows}</table><p>{self._conclusion}</p>"

    @property
    def _conclusion(self) -> str:
        count = len(self.problems)
        return "No problems found." if not count else f"{count} problem{'s' if count > 1 else ''} found."

    def __str__(self) -> str:
        lines = [repr(self.model)]
        marks = {"ok": "ok      ", "note": "note    ", "problem": "PROBLEM "}
        for grade, check, message in self.findings:
            lines += textwrap.wrap(
                f"{check}: {message}", 100, initial_indent=f"  {marks[grade]}", subsequent_indent=" " * 12
            )
        lines.append(self._conclusion)
        return "\n".join(lines)


def check_model(
    model: Model | Callable[..., Any], latents: Mapping[str, Any] | int | None = None, seed: int = 0
) -> Report:
    """Try a model out: supports, finiteness, shapes, gradients, batching, proper priors, and its optional functions.

    Parameters
    ----------
    model : Model or callable
        As for `bbvi.fit`: a log joint alone comes with its `latents`.
    latents : dict or int, optional
    seed : int
        Of the points at which it is tried.

    Returns
    -------
    Report
        Print it, let a notebook show it, or call its ``raise_problems()`` in a test. It cannot prove a model right: it
        says what is wrong with its mechanics, not with its statistics.
    """
    if not isinstance(model, Model) and latents is None:
        raise TypeError(f"model: expected a bbvi.Model, or a log joint with its latents, got {model!r}")
    model = as_model(model, latents).held()
    report = Report(model)
    target = Target(model)
    rng = np.random.default_rng(seed_or_none(seed))
    _run(report, "data", lambda: _data(model))
    _run(report, "supports", lambda: _supports(target, rng))
    if not _run(report, "log density", lambda: _finite(target, rng)):
        # Nothing else can be learnt where there is no finite value to be had.
        return report
    point = starts.candidates(target, rng)[0][0]
    _run(report, "repeatable", lambda: _repeatable(target, point))
    _run(report, "one draw and many", lambda: _batching(target, point, rng))
    _run(report, "lint", lambda: _lint(target, point, rng))
    _run(report, "gradient", lambda: _gradient(target, point, rng))
    _run(report, "every latent matters", lambda: _dependence(target, point, rng))
    _run(report, "proper", lambda: _proper(target, point, rng))
    for name, check in (
        ("log_likelihood", _log_likelihood),
        ("derived", _derived),
        ("sample_prior", _sample_prior),
        ("predict", _predict),
    ):
        if name in model.functions:
            _run(report, name, lambda check=check: check(target, point, rng))  # type: ignore[misc]
    return report


def compare_gradient(model: Model | Target, u: Any = None, seed: int = 0) -> GradientComparison:
    """Compare the gradient (autograd's, or the model's own) with extrapolated differences at one point.

    Parameters
    ----------
    model : Model
    u : array_like, shape (D,), optional
        Unconstrained; without it a point drawn from N(0, 1 / 4).
    seed : int
        Of that point.

    Raises
    ------
    ValueError
        If autograd cannot trace the log joint, or `u` has another shape.
    """
    target = model if isinstance(model, Target) else Target(model)
    if u is None:
        point = 0.5 * np.random.default_rng(seed).standard_normal(target.dim)
    else:
        point = np.array(u, dtype=float)
    if point.shape != (target.dim,):
        raise ValueError(f"u: expected a flat unconstrained array of shape ({target.dim},), got {point.shape}")
    if not target.has_gradient:
        raise ValueError("gradient: autograd cannot trace this log joint, and the model has no gradient of its own")
    values, gradients = target.gradients(point[None])
    step = _STEP * np.maximum(np.abs(point), 1.0)
    moves = np.diag(step)
    ends = target.values(np.concatenate([point + k * moves for k in (1.0, -1.0, 0.5, -0.5)])).reshape(4, -1)
    with np.errstate(invalid="ignore"):
        coarse, fine = (ends[0] - ends[1]) / (2 * step), (ends[2] - ends[3]) / step
        differences = (4 * fine - coarse) / 3
        rounding = np.finfo(float).eps * (1 + np.abs(values[0])) / step
        allowed = np.abs(fine - coarse) + 1e-5 * (np.abs(differences) + np.abs(gradients[0])) + 50 * rounding
        agrees = np.abs(gradients[0] - differences) <= allowed
    return GradientComparison(target.model.unconstrained_labels, gradients[0], differences, agrees)


# ---- the checks: each yields findings, or raises -----------------------------------------------------------

Results = Iterator[tuple[str, str]]


def _run(report: Report, name: str, check: Callable[[], Results]) -> bool:
    """Add what a check finds; whether it found no problem."""
    before = len(report.problems)
    try:
        report.findings += [Finding(grade, name, message) for grade, message in check()]
    except Exception as error:
        notes = "; ".join(getattr(error, "__notes__", []))
        # What has notes was raised by one of the model's functions; all else is a defect of the package's own.
        if not notes and not isinstance(error, _OF_THE_USER):
            raise
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        report.findings.append(Finding("problem", name, f"{kind}{error}" + (f" ({notes})" if notes else "")))
    return len(report.problems) == before


def _data(model: Model) -> Results:
    for name, x in model.data.items():
        if isinstance(x, np.ndarray) and x.dtype.kind == "f" and not np.isfinite(x).all():
            yield "note", f"{name!r} has {np.count_nonzero(~np.isfinite(x))} values that are not finite"


def _supports(target: Target, rng: np.random.Generator) -> Results:
    u = rng.uniform(-3.0, 3.0, size=(8, target.dim))
    draws = {name: np.asarray(x) for name, x in target.constrain(u)[0].items()}
    again = target.unconstrain(draws)
    wrong = np.flatnonzero(~np.isclose(again, u, rtol=1e-5, atol=1e-5).all(axis=0))
    if len(wrong):
        yield "problem", f"the transform of {target.model.unconstrained_labels[wrong[0]]!r} does not invert"
    else:
        yield "ok", f"{target.dim} unconstrained coordinates, there and back"


def _finite(target: Target, rng: np.random.Generator) -> Results:
    starts.candidates(target, rng)
    for width, where in ((2.0, "near the origin"), (8.0, "far out")):
        target.nonfinite = None
        u = rng.uniform(-width, width, size=(64, target.dim))
        share = float(np.mean(~np.isfinite(target.values(u))))
        if share > 0:
            yield "note", f"not finite at {share:.0%} of points {where}; {target.nonfinite}"
    yield "ok", "finite where a fit begins"


def _repeatable(target: Target, point: Array) -> Results:
    plain = Target(target.model, replay=False)
    first, second = plain.values(point[None])[0], plain.values(point[None])[0]
    if first != second:
        yield (
            "problem",
            (
                f"the same latents gave {first:.6g} and then {second:.6g}: the log joint draws random numbers or "
                "keeps a state. Only the score function copes with noise: fit with estimator='score'."
            ),
        )
    else:
        yield "ok", "the same latents give the same value"


def _batching(target: Target, point: Array, rng: np.random.Generator) -> Results:
    u = point + 0.3 * rng.standard_normal((6, target.dim))
    checks.check_batching(target, u)
    together, alone = target.values(u), Target(target.model, replay=False).values(u)
    if not np.allclose(together, alone, rtol=1e-7, atol=1e-7):
        yield (
            "problem",
            "the recorded log joint and the function itself differ: it branches on values or keeps a state",
        )
    elif target.model.vectorized:
        yield "ok", "vectorized, and the value of a draw does not depend on the others"
    elif target.recorded:
        yield "ok", "evaluated for all draws in one pass"
    else:
        yield (
            "note",
            (
                "evaluated draw by draw, which is slower: it does something that cannot be recorded (a branch on "
                "values, NumPy instead of autograd.numpy, foreign code)"
            ),
        )


def _lint(target: Target, point: Array, rng: np.random.Generator) -> Results:
    findings = lint(target, point, rng)
    for finding in findings:
        yield "problem" if finding.severity == "caution" else "note", f"{finding.code}: {finding.message}"
    if not findings:
        yield "ok", "shapes, sums, supports, slopes, and what data reach"


def _gradient(target: Target, point: Array, rng: np.random.Generator) -> Results:
    if not target.has_gradient:
        yield (
            "note",
            (
                "autograd cannot trace the log joint, so fits use the score function, which needs values alone. "
                "For gradients write it with autograd.numpy and bbvi.stats, or give gradient="
            ),
        )
        return
    # Beside the point, which may be an optimum, where all gradients are alike.
    beside = point + 0.3 * rng.standard_normal(target.dim)
    found = compare_gradient(target, beside if np.isfinite(target.values(beside[None])[0]) else point)
    wrong = np.flatnonzero(~found.agrees)
    if len(wrong):
        i = int(wrong[np.argmax(np.abs(found.gradient - found.differences)[wrong])])
        yield (
            "problem",
            (
                f"along {found.labels[i]} the gradient is {found.gradient[i]:.6g}, but differences of the values "
                f"give {found.differences[i]:.6g}"
            ),
        )
        return
    sd = np.exp(starts.initial_log_sd(target, point[None])[0])
    at_scale = checks.check_gradient(target, point, sd, rng)
    if not at_scale.ok:
        yield "problem", f"{at_scale}: rounding, a step or a jump, where the gradient says nothing"
    else:
        yield "ok", "it is the derivative of the values"


def _dependence(target: Target, point: Array, rng: np.random.Generator) -> Results:
    checks.check_dependence(target, point, rng)
    yield "ok", "moving any of them changes the log joint, or its support is bounded"


def _proper(target: Target, point: Array, rng: np.random.Generator) -> Results:
    checks.check_proper(target, point)
    endless = [finding.message for finding in unidentified(target, point, rng)]
    yield from (("problem", message) for message in endless)
    if target.recorded and not endless:
        yield "ok", "the density falls off along every latent"
    elif not target.recorded:
        yield "note", "not checked, since the function may not bear values far out"


def _log_likelihood(target: Target, point: Array, rng: np.random.Generator) -> Results:
    for name, x in target.quantities("pointwise", point[None]).items():
        observed = np.shape(target.model.data.get(name, 0.0))
        if not x.shape[1:] and np.prod(observed, dtype=int) > 1:
            yield (
                "problem",
                (
                    f"{name!r}: one number for data of shape {observed}; one for each observation, without the sum, "
                    "would bring LOO and mini-batches"
                ),
            )
        elif observed and x.shape[1] != observed[0]:
            yield "note", f"{name!r}: {x.shape[1]} terms for {observed[0]} observations"
        else:
            yield "ok", f"{name!r}: pointwise, shape {x.shape[1:]}"


def _derived(target: Target, point: Array, rng: np.random.Generator) -> Results:
    found = target.quantities("derived", point + 0.3 * rng.standard_normal((3, target.dim)))
    model = target.model
    for name, x in found.items():
        lengths = tuple(len(model.coords[dim]) for dim in model.dims.get(name, ()))
        if name in model.dims and x.shape[1:] != lengths:
            yield "problem", f"{name!r}: shape {x.shape[1:]}, but its dims have coords of lengths {lengths}"
    bad = [name for name, x in found.items() if not np.isfinite(x).all()]
    yield ("note", f"not finite: {', '.join(bad)}") if bad else ("ok", ", ".join(found))


def _sample_prior(target: Target, point: Array, rng: np.random.Generator) -> Results:
    draws = predictive.sample_prior(target.model, 50, rng)
    values = target.values(target.unconstrain(draws))
    if not np.isfinite(values).any():
        yield (
            "problem",
            "the log joint is finite at none of 50 draws: the prior and log_joint contradict each other",
        )
    else:
        yield "ok", f"the log joint is finite at {np.mean(np.isfinite(values)):.0%} of its draws"
    if available(target.model, "predict"):
        try:
            with np.errstate(all="ignore"):
                predictive.predict(target.model, draws, rng)
        except _OF_THE_USER as error:
            yield "note", f"predict failed at one of its draws ({error}), so that there is no prior predictive"


def _predict(target: Target, point: Array, rng: np.random.Generator) -> Results:
    draws = {name: np.asarray(x) for name, x in target.constrain(np.tile(point, (3, 1)))[0].items()}
    for name, x in predictive.predict(target.model, draws, rng).items():
        data = target.model.data.get(name)
        if data is not None and np.shape(data) != x.shape[1:]:
            yield (
                "problem",
                f"{name!r}: predictions of shape {x.shape[1:]} for data of shape {np.shape(data)}",
            )
        else:
            yield "ok", f"{name!r}, shape {x.shape[1:]}"
        observed = target.model.observed
        if data is not None and observed and name not in observed:
            yield (
                "note",
                f"{name!r} is predicted, but {', '.join(map(repr, observed))} is taken for what is observed: the first "
                "data that log_likelihood asks for. Put the response first, or return a dict of its name",
            )
