"""Recordings of a log density's derivatives, and the proof that a recording agrees with what it was made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.builtins import container_take
from autograd.core import VJPNode
from autograd.numpy.numpy_boxes import ArrayBox
from autograd.tracer import getval, notrace_primitives

from bbvi.batching.autodiff import bundled, columns, scattered, summed, vjp, vjp_maker
from bbvi.batching.replay import Recording
from bbvi.batching.tape import Tape, slot_of

Array = np.ndarray
Density = Callable[..., Any]

_AGREEMENT = 1e-8
# Differences of small programs are cheaper than to trace the function again; they are compared to so many digits.
_SMALL = 1000
_STEPS, _DIFFERENCES = (1e-4, 1e-6, 1e-2), 1e-4
_DIRECTIONS = 4
_ALL = object()
# So many gradients of one value are added in one operation.
_MANY = 4
_TAKING = frozenset({ArrayBox.__getitem__, container_take})


def record_derivative(name: str, density: Density, u: Array, data: Mapping[str, Array] | None) -> Recording:
    """The ``"gradient"`` or ``"curvature"`` (with Hessian products) of one draw, recorded with its values.

    What a backward pass does for one draw is itself a function that can be recorded; replayed it needs no tracing.

    Parameters
    ----------
    name : {"gradient", "curvature"}
    density : callable
        Of one draw (D,), and of the data if these are given.
    u : ndarray, shape (D,)
        Where to record.
    data : mapping, optional
        As for `Recording`.
    """

    def gradient(draw: dict[str, Any], *data: Any) -> dict[str, Any]:
        value = density(draw["u"], *data)
        return {"value": value, "gradient": backward(value, draw["u"])}

    def curvature(draw: dict[str, Any], *data: Any) -> dict[str, Any]:
        both = gradient(draw, *data)
        return {**both, "product": backward(anp.sum(both["gradient"] * draw["v"]), draw["u"])}

    if name == "gradient":
        return Recording(gradient, {"u": u}, loop=False, data=data)
    return Recording(curvature, {"u": u, "v": direction(u.size)}, loop=False, late="v", data=data)


def direction(dim: int) -> Array:
    """The vector of the Hessian product that is recorded."""
    return np.linspace(0.5, 1.5, dim)


def is_derivative(recording: Recording, density: Density, u: Array) -> bool:
    """Whether a recorded derivative is that of the log density, at draws `u` (S, D), on the first of which it was made.

    Its values must be those of `density`, a function of all draws. At the first draw it must give what was computed
    while recording. At the others, which show whether something of the first draw was frozen, differences of its own
    values and gradients decide; where programs are wide, or differences too inexact to tell, a trace through `density`.
    """
    rows = u[[*range(1, len(u)), 0]]
    v = np.broadcast_to(direction(u.shape[1]), rows.shape)
    second = "v" in recording.inputs
    found = recording({"u": rows, "v": v} if second else {"u": rows})
    if not equal(np.asarray(density(rows)), found["value"]):
        return False
    if recording.recorded is not None:
        if not equal(recording.recorded, {key: x[-1] for key, x in found.items()}):
            return False
        if recording.largest <= _SMALL and _differences_agree(recording, rows, found, v[:1] if second else None):
            return True
    values, slopes, hessian_product = linearize(density, rows, np.ones(len(rows)))
    expected = {"value": values, "gradient": slopes}
    if second:
        expected["product"] = hessian_product(v)
    return equal(expected, found)


def _differences_agree(recording: Recording, rows: Array, found: Mapping[str, Array], v: Array | None) -> bool:
    dim = rows.shape[1]
    if dim <= _DIRECTIONS:
        directions = np.eye(dim)
    else:
        directions = np.random.default_rng(0).choice([-1.0, 1.0], size=(_DIRECTIONS, dim))
    if not _close(recording, rows, directions, "value", found["gradient"] @ directions.T):
        return False
    return v is None or _close(recording, rows, v, "gradient", found["product"][:, None, :])


def _close(recording: Recording, rows: Array, directions: Array, name: str, expected: Array) -> bool:
    """Whether differences of an output along directions (K, D) are as expected, (S, K, ...), with one of the steps."""
    size = np.max(np.abs(expected), axis=tuple(range(1, expected.ndim)), keepdims=True)
    agrees = np.zeros(expected.shape, dtype=bool)
    for step in _STEPS:
        moves = step * np.concatenate([directions, -directions])
        points = (rows[:, None, :] + moves).reshape(-1, rows.shape[1])
        out = recording({"u": points} if "v" not in recording.inputs else {"u": points, "v": np.zeros_like(points)})
        there = np.asarray(out[name]).reshape(len(rows), 2, len(directions), *expected.shape[2:])
        difference = (there[:, 0] - there[:, 1]) / (2 * step)
        agrees |= np.abs(difference - expected) <= _DIFFERENCES * (np.abs(expected) + 1e-2 * size)
        if agrees.all():
            return True
    return False


def linearize(function: Callable[[Any], Any], u: Array, seed: Any) -> tuple[Array, Array, Callable[[Array], Array]]:
    """Values, gradients and Hessian product; since the Hessian is symmetric, its product is a VJP of the gradient."""
    values: list[Any] = []

    def gradient(v: Any) -> Any:
        product, value = vjp(function, v)
        values.append(getval(value))
        return product(seed)

    product, gradients = vjp(gradient, u)
    return np.asarray(values[0]), np.asarray(gradients), product


def stack(results: list[Any]) -> Any:
    """Results of single draws with a leading draws axis; dicts key by key."""
    if isinstance(results[0], Mapping):
        return {key: stack([result[key] for result in results]) for key in results[0]}
    return anp.stack([anp.array(result) for result in results])


def equal(expected: Any, replayed: Any) -> bool:
    """Whether results agree to eight digits, shapes included; dicts key by key."""
    if isinstance(expected, Mapping):
        return all(equal(value, replayed[key]) for key, value in expected.items())
    if np.shape(expected) != np.shape(replayed):
        return False
    return bool(np.allclose(replayed, expected, rtol=_AGREEMENT, atol=_AGREEMENT, equal_nan=True))


def backward(output: Any, root: Any) -> Any:
    """The gradient of a recorded scalar with respect to an input of the recording, recorded in its turn.

    Autograd's own backward pass would need a trace of its own around the function, and one more for each further
    derivative; here the adjoint of each operation that is on the tape is taken, and goes on the tape.

    Parameters
    ----------
    output : box or float
        A scalar, computed under the recording.
    root : box
        One of its inputs.

    Returns
    -------
    box or array, of the shape of `root`
    """
    tape: Tape = root._node.tape
    start, end = root._node.slot, slot_of(output, tape)
    depends = {start}
    flat = notrace_primitives[VJPNode]
    for operation, parents, slot in tape.operations:
        # Comparisons, rounding and the like are constant almost everywhere.
        if not depends.isdisjoint(parents) and operation.fun not in flat:
            depends.add(slot)
    pending: dict[int, list[tuple[Any, Any]]] = {}
    if end is not None and end in depends:
        pending[end] = [(_ALL, 1.0)]
    for operation, parents, slot in reversed(tape.operations[:]):
        if slot not in pending:
            continue
        gradient = _total(pending.pop(slot), tape.values[slot])
        args = list(operation.args)
        for position, parent in zip(operation.positions, parents, strict=True):
            args[position] = tape.box(parent)
        wanted = [(p, parent) for p, parent in zip(operation.positions, parents, strict=True) if parent in depends]
        if operation.fun is columns:
            pending.setdefault(wanted[0][1], []).append((slice(*args[1:]), gradient))
            continue
        if operation.fun in _TAKING:
            pending.setdefault(wanted[0][1], []).append((args[1], gradient))
            continue
        product = vjp_maker(operation.fun)(tuple([p for p, _ in wanted]), tape.box(slot), tuple(args), operation.kwargs)
        for (_, parent), part in zip(wanted, product(gradient), strict=True):
            pending.setdefault(parent, []).append((_ALL, part))
    shape = np.shape(tape.values[start])
    parts = pending.get(start)
    return np.zeros(shape) if parts is None else _total(parts, tape.values[start])


def _total(parts: list[tuple[Any, Any]], value: Any) -> Any:
    """The sum of what the uses of a value have to say: of all of it, or of some elements (an index, the gradient)."""
    taken = [(index, part) for index, part in parts if index is not _ALL]
    whole = [part for index, part in parts if index is _ALL]
    if taken:
        pairs = [item for pair in taken for item in pair]
        if isinstance(value, tuple):
            whole.append(bundled(tuple([np.shape(item) for item in value]), *pairs))
        else:
            whole.append(scattered(np.shape(value), *pairs))
    if len(whole) >= _MANY:
        return summed(*whole)
    total = whole[0]
    for part in whole[1:]:
        total = anp.add(total, part)
    return total
