"""Shapes that do not go together, terms that are added too often, and integers that overflow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import autograd.numpy as anp
import numpy as np

from bbvi import stats
from bbvi.stats.supports import SUPPORTS
from bbvi.target.lint.finding import Finding
from bbvi.target.lint.look import Look, Step, Value

# What makes a column on purpose.
_EXPLICIT = frozenset(
    {"reshape", "expand_dims", "transpose", "swapaxes", "moveaxis", "broadcast_to", "atleast_2d", "atleast_3d", "outer"}
)
_LOGARITHMS = frozenset({"log", "log1p", "log2", "log10", "gammaln", "betaln", "logdet"})
_ADDITIONS = frozenset({"add", "subtract"})
_INTEGER = frozenset({"add", "subtract", "multiply", "power", "square", "negative", "sum", "prod", "cumsum", "cumprod"})


def shapes(look: Look) -> Iterator[Finding]:
    """Findings about the shapes of data, latents and terms."""
    joined = list(_joined(look))
    yield from joined[:1]
    if not joined:
        yield from _counted_often(look)
    yield from _repeated(look)
    yield from _overflow(look)


# ---- (n,) and (n, 1) ------------------------------------------------------------------------------------------------


def _joined(look: Look) -> Iterator[Finding]:
    """Operations that join what is of shape (n, 1) by its own nature with what is of shape (n,)."""
    chosen = _chosen_columns(look)
    for step in look.steps.values():
        if not _elementwise(step):
            continue
        for column in step.arguments:
            shape = np.shape(column.plain)
            if len(shape) < 2 or shape[-1] != 1 or shape[-2] < 2 or column.slot in chosen or not look.source(column):
                continue
            if column.slot is None and look.source(column) == frozenset():
                continue
            count = shape[-2]
            for other in step.arguments:
                facing = np.shape(other.plain)
                if len(facing) == 1 and facing[-1] == count and np.shape(step.value)[-2:] == (count, count):
                    yield Finding(
                        "broadcast",
                        "caution",
                        f"{step.name} joins {look.describe(column)} of shape {shape} with {look.describe(other)} of "
                        f"shape {facing} into shape {np.shape(step.value)}, so that every row meets every other; if "
                        f"one row belongs to one, {_flattened(look, column)}",
                    )


def _flattened(look: Look, column: Value) -> str:
    names = sorted(look.source(column))
    for name in names:
        if name in look.model.latents and look.model.latents[name].shape[-1:] == (1,):
            return f"declare the latent {name!r} with shape {look.model.latents[name].shape[:-1]}"
        data = np.shape(look.model.data.get(name, 0.0))
        if len(data) >= 2 and data[-1] == 1:
            return f"give {name!r} the shape {data[:-1]}, as by {name}.ravel(); of a data frame take y, not [y]"
    return "take away the last axis of one, as by [:, 0]"


def _chosen_columns(look: Look) -> set[int]:
    """Slots whose axes of length one somebody wrote down, as by ``[:, None]`` or ``keepdims=True``."""
    chosen: set[int] = set()
    for slot, step in look.steps.items():
        inherited = _elementwise(step) and any(a.slot in chosen and np.ndim(a.plain) > 1 for a in step.arguments)
        if inherited or step.name in _EXPLICIT or step.kwargs.get("keepdims") or _new_axis(step):
            chosen.add(slot)
    return chosen


def _new_axis(step: Step) -> bool:
    """Whether an indexing operation adds an axis, or cuts one to length one by a slice."""
    if step.name not in ("__getitem__", "taken_at", "getitem"):
        return False
    before, after = np.shape(step.arguments[0].plain), np.shape(step.value)
    return len(after) > len(before) or (len(after) == len(before) and after[-1:] == (1,) and before[-1:] != (1,))


def _elementwise(step: Step) -> bool:
    raw = getattr(step.fun, "fun", step.fun)
    is_ufunc = isinstance(raw, np.ufunc) and raw.signature is None
    return is_ufunc or step.fun in stats.ELEMENTWISE or step.name == "where"


# ---- terms that count more than once --------------------------------------------------------------------------------


def _counted_often(look: Look) -> Iterator[Finding]:
    """Densities of an array that was broadcast against something larger, and then summed."""
    for slot in look.leaves():
        step = look.steps.get(slot)
        if step is None or step.name not in SUPPORTS or not _elementwise(step):
            continue
        first, size = step.arguments[0], int(np.size(step.value))
        # What is repeated by hand, an axis of one for each parameter, shows in the shapes.
        if 1 < first.size < size and look.source(first) - {""}:
            yield Finding(
                "counted-often",
                "caution",
                f"{step.name} of {look.describe(first)}, {first.size} elements of shape {np.shape(first.plain)}, was "
                f"broadcast to {size} terms of shape {np.shape(step.value)} that are all added up, so each element "
                f"counts {size // first.size} times; give the parameters the shape of the first argument",
            )
            return


def _repeated(look: Look) -> Iterator[Finding]:
    """A scalar added to each of the terms that are summed: what a forgotten sum looks like."""
    sentence = repeated_terms(look)
    if sentence:
        yield Finding("forgotten-sum", "caution", sentence)
        return
    for slot in look.summed(look.end):
        step = look.steps.get(slot)
        if step is None or step.name not in _ADDITIONS or np.size(step.value) < 2:
            continue
        for scalar in step.arguments:
            if scalar.size == 1 and scalar.slot is not None and _holds_prior(look, scalar.slot):
                yield Finding(
                    "forgotten-sum",
                    "caution",
                    f"the density of {_prior_of(look, scalar.slot)} is added to each of {np.size(step.value)} terms "
                    f"before they are summed, so it counts {np.size(step.value)} times; np.sum() the array first",
                )
                return


def repeated_terms(look: Look) -> str:
    """Whether a scalar is added to each of the terms that the log joint (or log prior) returned; a sentence, or "".

    Scalars that are logarithms, such as the ``-log(sigma)`` of a density written by hand, belong to every term.
    """
    if look.returned is None:
        return ""
    pending, repeated = [look.returned], 0
    while pending:
        step = look.steps.get(pending.pop())
        if step is None or np.size(step.value) == 1 or step.name not in (*_ADDITIONS, "negative"):
            continue
        if any(a.size == 1 and not look.latent_free(a) and not _is_logarithm(look, a.slot) for a in step.arguments):
            repeated = max(repeated, int(np.size(step.value)))
        pending.extend(step.parents)
    if not repeated:
        return ""
    name = "log_joint" if "log_joint" in look.model.functions else "log_prior"
    return (
        f"{name} returned {repeated} terms, and a scalar that depends on the latents was added to each of them, so it "
        f"counts {repeated} times in their sum; if that is not meant, np.sum() the array before the scalar is added"
    )


def _is_logarithm(look: Look, slot: int | None) -> bool:
    """Whether a value is a logarithm, scaled or with a sign."""
    step = look.steps.get(-1 if slot is None else slot)
    if step is None:
        return False
    if step.name in _LOGARITHMS:
        return True
    varying = [a.slot for a in step.arguments if not look.latent_free(a)]
    return step.name in ("negative", "multiply", "divide", "true_divide", *_ADDITIONS) and all(
        _is_logarithm(look, slot) for slot in varying
    )


def _holds_prior(look: Look, slot: int) -> bool:
    return bool(_prior_of(look, slot))


def _prior_of(look: Look, slot: int) -> str:
    """Which latents have a density of their own, without data, among what a scalar adds up; "" for none."""
    for part in look.summed(slot):
        step = look.steps.get(part)
        if step is not None and step.name in SUPPORTS and step.arguments[0].slot is not None:
            names = look.source(step.arguments[0])
            if names <= set(look.model.latents):
                return ", ".join(map(repr, sorted(names)))
    return ""


# ---- integers -------------------------------------------------------------------------------------------------------


def _overflow(look: Look) -> Iterator[Finding]:
    """Integer results that differ from those of floating-point numbers."""
    for step in look.steps.values():
        if step.name not in _INTEGER or np.asarray(step.value).dtype.kind not in "iu":
            continue
        right = _in_floats(step)
        value = np.asarray(step.value, dtype=float)
        if right is None or np.shape(right) != value.shape:
            continue
        wrong = np.flatnonzero(np.abs(right - value) > 1e-6 * (1 + np.abs(right)))
        if len(wrong):
            names = sorted(look.origins[step.slot] - {""})
            yield Finding(
                "integer-overflow",
                "caution",
                f"{step.name} of integers ({np.asarray(step.value).dtype}) computed from {', '.join(map(repr, names))} "
                f"overflows: {np.ravel(value)[wrong[0]]:.6g} instead of {np.ravel(right)[wrong[0]]:.6g}; give the data "
                "as floats, as by .astype(float)",
            )
            return


def _in_floats(step: Step) -> Any:
    function = getattr(step.fun, "fun", getattr(anp, step.name, None))
    if not callable(function):
        return None
    arguments = [_as_float(a.plain) for a in step.arguments]
    if step.name in ("sum", "prod", "cumsum", "cumprod"):
        arguments[1:] = [a.plain for a in step.arguments[1:]]
    with np.errstate(all="ignore"):
        return np.asarray(function(*arguments, **step.kwargs), dtype=float)


def _as_float(x: Any) -> Any:
    return np.asarray(x, dtype=float) if isinstance(x, (np.ndarray, np.generic, int)) else x
