"""Batching rules of reductions, of operations along an axis, and of changes of shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.builtins import container_take
from autograd.numpy import numpy_wrapper
from autograd.numpy.numpy_boxes import ArrayBox
from autograd.tracer import getval

from bbvi.batching.operations import (
    Batched,
    NoRule,
    Operation,
    Rule,
    batched_index,
    elementwise,
    pad,
    shift_axis,
    with_core,
)

_IDENTITY_ON_SCALARS = frozenset({"sum", "mean", "prod", "max", "min", "amax", "amin", "logsumexp"})


def _where(operation: Operation) -> Callable[..., Batched]:
    if len(operation.args) != 3:
        raise NoRule("one-argument where")
    return elementwise(operation)


# ---- reductions, and operations along an axis -----------------------------------------------------------------------


def _with_axis(operation: Operation, axis: Any, position: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
    args, kwargs = list(operation.args), dict(operation.kwargs)
    if len(args) > position:
        args[position] = axis
    else:
        kwargs["axis"] = axis
    return tuple(args[1:]), kwargs


def reduction(operation: Operation) -> Callable[..., Batched]:
    """A reduction over axes that follow the draws; one over all of a draw's elements leaves the draws axis."""
    operation.only(0)
    ndim = operation.ndim(0)
    if ndim == 0:
        if getattr(operation.fun, "__name__", "") not in _IDENTITY_ON_SCALARS:
            raise NoRule
        return lambda x: x
    axis = shift_axis(operation.argument("axis", 1, None), ndim)
    rest, kwargs = _with_axis(operation, axis[0] if isinstance(axis, tuple) and len(axis) == 1 else axis, 1)
    fun = operation.carry_out
    return lambda x: fun(x, *rest, **kwargs)


def _arg_reduction(operation: Operation) -> Callable[..., Batched]:
    if operation.argument("axis", 1, None) is None and operation.ndim(0) != 1:
        raise NoRule
    return reduction(operation)


def along(position: int, default: int | None) -> Rule:
    """A rule for operations that keep the rank and work along one axis."""

    def rule(operation: Operation) -> Callable[..., Batched]:
        operation.only(0)
        ndim = operation.ndim(0)
        axis = operation.argument("axis", position, default)
        if ndim == 0 or (axis is None and ndim != 1) or isinstance(axis, (tuple, list)):
            raise NoRule
        rest, kwargs = _with_axis(operation, 1 if axis is None else shift_axis(axis, ndim), position)
        fun = operation.carry_out
        return lambda x: fun(x, *rest, **kwargs)

    return rule


def _diagonal(total: bool) -> Rule:
    """Diagonals of matrices, by indexing: autograd's own are not for batches."""

    def rule(operation: Operation) -> Callable[..., Batched]:
        operation.only(0)
        if operation.ndim(0) != 2 or len(operation.args) > 2 or set(operation.kwargs) - {"offset", "k"}:
            raise NoRule
        offset = operation.kwargs.get("k", operation.argument("offset", 1, 0))
        rows, columns = (np.diagonal(index, offset) for index in np.indices(operation.args[0].shape))
        if total:
            return lambda x: anp.sum(x[:, rows, columns], axis=1)
        return lambda x: x[:, rows, columns]

    return rule


def _diag(operation: Operation) -> Callable[..., Batched]:
    if operation.ndim(0) == 2:
        return _diagonal(total=False)(operation)
    operation.only(0)
    if operation.ndim(0) != 1 or operation.argument("k", 1, 0) != 0:
        raise NoRule
    eye = np.eye(operation.args[0].shape[0])
    return lambda x: x[:, :, None] * eye


def _sort(operation: Operation) -> Callable[..., Batched]:
    """Vectors by their own order, which autograd can differentiate for a batch too."""
    operation.only(0)
    if operation.ndim(0) != 1 or len(operation.args) > 1 or operation.kwargs:
        raise NoRule
    return lambda x: x[np.arange(x.shape[0])[:, None], np.argsort(getval(x), axis=1)]


# ---- shapes ---------------------------------------------------------------------------------------------------------


def _reshape(operation: Operation) -> Callable[..., Batched]:
    """For everything whose result is its operand in another shape, C order: reshape, ravel, squeeze, expand_dims."""
    operation.only(0)
    if operation.kwargs.get("order") not in (None, "C") or operation.shape is None:
        raise NoRule
    shape = operation.shape
    return lambda x: x.reshape((x.shape[0], *shape))


def _permutation(operation: Operation) -> Callable[..., Batched]:
    operation.only(0)
    sizes = tuple(range(2, 2 + operation.ndim(0)))
    permuted = operation.fun(np.empty(sizes), *operation.args[1:], **operation.kwargs).shape
    axes = (0, *(size - 1 for size in permuted))
    return lambda x: anp.transpose(x, axes)


def _broadcast_to(operation: Operation) -> Callable[..., Batched]:
    operation.only(0)
    shape = operation.shape or ()
    count = len(shape) - operation.ndim(0)
    return lambda x: anp.broadcast_to(pad(x, count), (x.shape[0], *shape))


def _tile(operation: Operation) -> Callable[..., Batched]:
    operation.only(0)
    reps = operation.argument("reps", 1, 1)
    reps = (reps,) if np.ndim(reps) == 0 else tuple(reps)
    ndim = operation.ndim(0)
    reps = (1,) * (ndim - len(reps)) + reps
    return lambda x: anp.tile(pad(x, len(reps) - ndim), (1, *reps))


def _getitem(operation: Operation) -> Callable[..., Batched]:
    operation.only(0)
    full = batched_index(operation.args[1])
    return lambda x: x[full]


def _items(operation: Operation, first: int) -> Callable[..., list[Batched]]:
    """Arguments from `first` on, each with a draws axis, also those that do not vary."""
    varying = {position: i for i, position in enumerate(operation.positions)}
    operation.only(*range(first, len(operation.args)))

    def collect(*operands: Batched) -> list[Batched]:
        count = operands[0].shape[0]
        return [
            operands[varying[position]] if position in varying else np.broadcast_to(arg, (count, *np.shape(arg)))
            for position, arg in enumerate(operation.args)
            if position >= first
        ]

    return collect


def _concatenate(operation: Operation) -> Callable[..., Batched]:
    if operation.args[0] is None:
        raise NoRule
    collect = _items(operation, 1)
    axis = shift_axis(operation.args[0], operation.ndim(1))
    return lambda *operands: numpy_wrapper.concatenate_args(axis, *collect(*operands))


def _array_from_args(operation: Operation) -> Callable[..., Batched]:
    if operation.args[0] or operation.args[1]:
        raise NoRule
    collect = _items(operation, 2)
    if operation.plain:
        return lambda *operands: np.ascontiguousarray(np.moveaxis(np.array(collect(*operands)), 0, 1))

    def apply(*operands: Batched) -> Batched:
        items = [anp.reshape(x, (x.shape[0], 1, *x.shape[1:])) for x in collect(*operands)]
        return numpy_wrapper.concatenate_args(1, *items)

    return apply


def _array_from_array(operation: Operation) -> Callable[..., Batched]:
    operation.only(2)
    if operation.args[0] or set(operation.args[1]) - {"ndmin", "copy"}:
        raise NoRule
    shape = operation.shape or ()
    return lambda x: x.reshape((x.shape[0], *shape))


def _take_from_container(operation: Operation) -> Callable[..., Batched]:
    index = operation.args[1]
    return lambda container: container[index]


def _table() -> dict[Callable[..., Any], Rule]:
    rules: dict[Callable[..., Any], Rule] = {}
    names: list[tuple[Rule, str]] = [
        (elementwise, "clip real imag conj conjugate angle sinc nan_to_num round around fix isclose _astype astype"),
        (_where, "where"),
        (reduction, "sum mean prod var std max amax min amin any all nansum count_nonzero"),
        (_arg_reduction, "argmax argmin"),
        (_sort, "sort"),
        (along(1, -1), "argsort"),
        (along(1, None), "cumsum cumprod flip"),
        (along(2, None), "repeat take roll"),
        (along(2, -1), "diff"),
        (_reshape, "reshape ravel squeeze expand_dims atleast_1d atleast_2d"),
        (_permutation, "transpose swapaxes moveaxis rollaxis"),
        (_broadcast_to, "broadcast_to"),
        (_tile, "tile"),
        (_diagonal(total=False), "diagonal"),
        (_diagonal(total=True), "trace"),
        (_diag, "diag"),
        (with_core((2,)), "tril triu"),
    ]
    for rule, words in names:
        for word in words.split():
            if hasattr(anp, word):
                rules[getattr(anp, word)] = rule
    # Some of these wrap a primitive of another name, and the primitive is what a recording holds.
    for word in ("mean", "var", "std"):
        rules[getattr(numpy_wrapper, f"_primitive_{word}", getattr(anp, word))] = reduction
    # Some versions of autograd put a function of their own before the primitive.
    rules[getattr(anp, "_original_where", anp.where)] = _where
    rules[ArrayBox.__getitem__] = _getitem
    rules[numpy_wrapper.concatenate_args] = _concatenate
    rules[numpy_wrapper.array_from_args] = _array_from_args
    rules[numpy_wrapper._array_from_scalar_or_array] = _array_from_array
    rules[container_take] = _take_from_container
    return rules


RULES = _table()
