"""Gradients that are no numbers where values are, likelihoods that saturate, and starts where nothing can be learnt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from bbvi.target.lint.finding import POLICY, Finding, LintPolicy, listed
from bbvi.target.lint.look import UNTRACEABLE, Look, Step, Value, look
from bbvi.target.target import Target

Array = np.ndarray

_INDEFINITE = frozenset(
    {"log", "sqrt", "power", "divide", "true_divide", "log1p", "arcsin", "arccos", "arctanh", "norm"}
)


# ---- gradients that are no numbers ----------------------------------------------------------------------------------


def first_nan(target: Target, u: Array) -> str:
    """Which operation at draw `u` (D,) has a derivative that is no number; "" if none is found."""
    seen = look(target, u, data_too=False)
    step = broken_step(seen)[1]
    return "" if step is None else _sentence(seen, *step)


def broken_step(seen: Look, policy: LintPolicy = POLICY) -> tuple[dict[int, Any], tuple[Step, int] | None]:
    """Adjoints of the log joint, and the first operation whose derivative is no number though its value is."""
    if seen.end is None or len(seen.steps) > policy.most_steps:
        return {}, None
    try:
        return seen.pulled_back({seen.end: 1.0})
    except UNTRACEABLE:
        # Autograd has no derivative here, which `Target.has_gradient` says.
        return {}, None


def not_numbers(seen: Look, step: tuple[Step, int] | None) -> Iterator[Finding]:
    """The finding on the first operation whose derivative is no number."""
    if step is not None and np.isfinite(seen.value):
        message = f"the gradient is no number where the log joint is: {_sentence(seen, *step)}"
        yield Finding("nan-gradient", "caution", message)


def _sentence(seen: Look, step: Step, position: int) -> str:
    argument = step.arguments[position]
    bad = _where_infinite(step, position)
    at = f" at {bad:.6g}" if bad is not None else ""
    names = seen.describe(argument)
    hint = "write it so that its argument stays away from there"
    if step.name in _INDEFINITE:
        hint = (
            "if that is the branch that np.where does not take, its infinite slope is multiplied by zero all the same: "
            f"give the function a harmless argument there, as in np.{step.name}(np.where(ok, x, 1.0)) inside np.where; "
            "if it is a distance or a probability of zero, keep it away from zero"
        )
    elif step.name == "exp":
        hint = "exp overflows there: work on the log scale (logsumexp, log_expit, softplus)"
    return f"{step.name} of {names}{at} has no finite derivative; {hint}"


def _where_infinite(step: Step, position: int) -> float | None:
    """An element of the argument at which the derivative of a usual function is infinite, or it is no number itself."""
    plain = np.asarray(step.arguments[position].plain, dtype=float)
    edges = plain[(plain <= 0) | ~np.isfinite(plain)] if step.name in _INDEFINITE else plain[~np.isfinite(plain)]
    return float(edges.ravel()[0]) if edges.size else None


# ---- saturation -----------------------------------------------------------------------------------------------------


def saturation(looks: Sequence[Look], policy: LintPolicy = POLICY) -> Iterator[Finding]:
    """Logarithms of probabilities written out, which lose their digits, and then their slope, far from the middle."""
    found: dict[str, tuple[Finding, float]] = {}
    for seen in looks:
        for step in seen.steps.values():
            pattern = _pattern(seen, step)
            if pattern is None:
                continue
            written, better, argument, always = pattern
            reach = float(np.max(np.abs(np.asarray(argument.plain, dtype=float)), initial=0.0))
            if written in found and found[written][1] >= reach:
                continue
            far = reach > policy.saturated
            if always or far:
                reached = f", and reached {reach:.3g} near the start" if far else ""
                message = (
                    f"{written} of {seen.describe(argument)} loses all digits, and its gradient, where its argument is "
                    f"beyond {policy.saturated:g}{reached}: write {better}, which is accurate everywhere"
                )
                found[written] = Finding("saturates", "caution" if far else "note", message), reach
    for finding, _ in found.values():
        yield finding


def _pattern(seen: Look, step: Step) -> tuple[str, str, Value, bool] | None:
    """What is written, what is better, the argument, and whether the better way is so whatever the argument."""
    if step.name in ("bernoulli.logpmf", "binom.logpmf"):
        inner = made_by(seen, step.arguments[-1], "expit")
        if inner is not None:
            name = step.name.partition(".")[0]
            better = f"{name}.logpmf_logits with the argument of expit"
            return f"{step.name} with p = expit", better, inner.arguments[0], False
    if step.name != "log":
        return None
    inside = step.arguments[0]
    for name, better in (("expit", "log_expit(x)"), ("ndtr", "log_ndtr(x)")):
        inner = made_by(seen, inside, name)
        if inner is not None and name == "ndtr":
            return f"np.log({name}(x))", better, inner.arguments[0], True
        inner = _one_minus(seen, inside, name)
        if inner is not None:
            return f"np.log(1 - {name}(x))", better.replace("(x)", "(-x)"), inner.arguments[0], True
    inner = _one_minus(seen, inside, "exp")
    if inner is not None:
        return "np.log(1 - np.exp(x))", "log1mexp(x)", inner.arguments[0], True
    return None


def made_by(seen: Look, value: Value, name: str) -> Step | None:
    """The operation of that name which a value came from, a sigmoid by hand for expit; or None."""
    step = seen.steps.get(-1 if value.slot is None else value.slot)
    if step is None or step.name != name:
        return _sigmoid(seen, step) if step is not None and name == "expit" else None
    return step


def _sigmoid(seen: Look, step: Step) -> Step | None:
    """The step exp in 1 / (1 + exp(-x))."""
    if step.name not in ("divide", "true_divide") or not _is_one(step.arguments[0]):
        return None
    below = seen.steps.get(-1 if step.arguments[1].slot is None else step.arguments[1].slot)
    if below is None or below.name != "add" or not any(map(_is_one, below.arguments)):
        return None
    for argument in below.arguments:
        if argument.slot is not None and (inner := seen.steps.get(argument.slot)) is not None and inner.name == "exp":
            return inner
    return None


def _one_minus(seen: Look, value: Value, name: str) -> Step | None:
    step = seen.steps.get(-1 if value.slot is None else value.slot)
    if step is None or step.name != "subtract" or not _is_one(step.arguments[0]):
        return None
    return made_by(seen, step.arguments[1], name)


def _is_one(value: Value) -> bool:
    return value.slot is None and np.size(value.plain) == 1 and bool(np.all(np.asarray(value.plain) == 1))


# ---- starts where nothing can be learnt -----------------------------------------------------------------------------


def flat_starts(
    target: Target, point: Array, flat: Array, policy: LintPolicy = POLICY
) -> Iterator[Finding]:
    """Latents, among coordinates `flat` (K,) without a slope at `point`, that the log joint answers to only far off."""
    flat = flat[: policy.most_flat]
    if not len(flat):
        return
    moves = np.array([*policy.flat_near, *policy.flat_far])
    moved = np.repeat(np.tile(point, (len(flat), 1)), len(moves), axis=0)
    moved[np.arange(len(moved)), np.repeat(flat, len(moves))] += np.tile(moves, len(flat))
    values = target.values(np.concatenate([point[None], moved]))
    with np.errstate(all="ignore"):
        jacobians = np.broadcast_to(target.constrain(np.concatenate([point[None], moved]))[1], values.shape)
        plain = values - jacobians
        same = np.abs(plain[1:] - plain[0]) <= 1e-12 * (1 + np.abs(values[1:]) + np.abs(jacobians[1:]))
    same = same.reshape(len(flat), len(moves))
    near = len(policy.flat_near)
    stuck = flat[same[:, :near].all(axis=1) & ~same[:, near:].all(axis=1)]
    if len(stuck):
        labels = target.model.unconstrained_labels
        yield Finding(
            "flat-start",
            "caution",
            f"the log joint is constant in {listed([labels[i] for i in stuck])} around the start and changes only far "
            "off, so that no step knows where to go: np.clip, np.maximum, rounding, or a sigmoid of large numbers does "
            "that; scale the predictors, write it smoothly, or give init= where it has a slope",
        )
