"""One recorded operation, and what all batching rules share: which arguments vary, how axes shift, how ranks align."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

Batched = Any
Rule = Callable[["Operation"], Callable[..., Batched]]


class NoRule(Exception):
    """Raised by a rule that does not cover this use of its operation, which is then looped over draws."""


@dataclass(slots=True)
class Operation:
    """One recorded operation.

    Attributes
    ----------
    fun : callable
        The autograd primitive.
    args, kwargs
        What it was called with; at `positions`, the values of the one draw that was recorded.
    positions : tuple of int
        Which positional arguments vary from draw to draw.
    shape : tuple of int or None
        Shape of the result for one draw; None where the result is a tuple.
    plain : bool
        Whether it will only ever meet plain arrays, so that autograd's wrapper can be left out.
    """

    fun: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    positions: tuple[int, ...]
    shape: tuple[int, ...] | None
    plain: bool = False

    @property
    def carry_out(self) -> Callable[..., Any]:
        """The primitive, or what it wraps where only plain arrays will come."""
        if not self.plain:
            return self.fun
        wrapped = getattr(self.fun, "fun", self.fun)
        return _log_add_exp if wrapped is np.logaddexp else wrapped

    def ndim(self, position: int) -> int:
        return rank(self.args[position])

    def call(self, operands: Sequence[Any]) -> Any:
        """The operation with its varying arguments replaced."""
        return self.caller()(*operands)

    def caller(self) -> Callable[..., Any]:
        """The operation as a function of its varying arguments."""
        fun, args, kwargs, positions = self.carry_out, self.args, self.kwargs, self.positions
        if not kwargs:
            if len(positions) == len(args):
                return fun
            if len(args) == 2:
                fixed = args[1 - positions[0]]
                if self.plain and isinstance(fun, np.ufunc) and isinstance(fixed, (int, float)):
                    # A number is made an array once, and not at every call.
                    fixed = np.asarray(fixed)
                if positions == (0,):
                    return lambda x: fun(x, fixed)
                return lambda x: fun(fixed, x)
        places = list(positions)

        def call(*operands: Any) -> Any:
            filled = list(args)
            for position, operand in zip(places, operands, strict=True):
                filled[position] = operand
            return fun(*filled, **kwargs)

        return call

    def only(self, *allowed: int) -> None:
        """Raise `NoRule` unless just these arguments vary."""
        if not set(self.positions) <= set(allowed):
            raise NoRule

    def argument(self, name: str, position: int, default: Any) -> Any:
        if name in self.kwargs:
            return self.kwargs[name]
        return self.args[position] if len(self.args) > position else default


class Entry(NamedTuple):
    """An operation of the recording: the slots of its arguments, its own, and those that nobody needs after it."""

    operation: Operation
    parents: tuple[int, ...]
    slot: int
    dead: tuple[int, ...] = ()


def _log_add_exp(x: Any, y: Any) -> Any:
    """``np.logaddexp`` by functions that NumPy vectorises, four times as fast."""
    with np.errstate(all="ignore"):
        out = np.subtract(x, y)
        if not isinstance(out, np.ndarray):
            return np.logaddexp(x, y)
        np.abs(out, out=out)
        np.negative(out, out=out)
        np.exp(out, out=out)
        np.log1p(out, out=out)
        out += np.maximum(x, y)
        # The difference of two infinities is no number, though their sum is one.
        return out if not np.isnan(out.sum()) else np.logaddexp(x, y)


def rank(x: Any) -> int:
    """Number of axes; faster than NumPy's for numbers, of which recordings are full."""
    return 0 if isinstance(x, (int, float)) else int(np.ndim(x))


def pad(x: Batched, count: int) -> Batched:
    """Insert `count` axes behind the draws axis, so that operands of different rank align from the right."""
    return x.reshape((x.shape[0], *(1,) * count, *x.shape[1:])) if count else x


def aligned(operation: Operation, core: Sequence[int]) -> Callable[..., Batched]:
    """Call the operation itself, with the operands' leading axes aligned; `core` counts trailing axes that it owns."""
    ndims = [rank(arg) - c for arg, c in zip(operation.args, core, strict=True)]
    if min(ndims) < 0:
        raise NoRule
    pads = [max(ndims) - ndims[position] for position in operation.positions]
    call = operation.caller()
    if not any(pads):
        return call
    return lambda *operands: call(*[pad(x, count) for x, count in zip(operands, pads, strict=True)])


def elementwise(operation: Operation) -> Callable[..., Batched]:
    """The rule of functions that act on each element by itself."""
    if any(np.ndim(value) for value in operation.kwargs.values()):
        raise NoRule
    return aligned(operation, [0] * len(operation.args))


def with_core(dims: Sequence[int]) -> Rule:
    """The rule of functions that own so many trailing axes of each argument."""
    return lambda operation: aligned(operation, list(dims)[: len(operation.args)])


def shift_axis(axis: Any, ndim: int) -> Any:
    """An axis of one draw's array as an axis of the batched array."""
    if axis is None:
        return tuple(range(1, ndim + 1))
    if isinstance(axis, (tuple, list)):
        return tuple(shift_axis(a, ndim) for a in axis)
    return int(axis) % ndim + 1


def batched_index(index: Any) -> tuple[Any, ...]:
    """The index with a draws axis before it."""
    index = index if isinstance(index, tuple) else (index,)
    # With advanced indices apart from each other NumPy moves their axes to the front, before the draws.
    advanced = [i for i, part in enumerate(index) if not (isinstance(part, slice) or part is None or part is Ellipsis)]
    arrays = [i for i in advanced if np.ndim(index[i]) > 0]
    if arrays and advanced[-1] - advanced[0] + 1 != len(advanced):
        raise NoRule
    return (slice(None), *index)
