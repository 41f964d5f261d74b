"""The table of batching rules: how each recorded operation is carried out for all draws at once.

A rule is *compiled* once, when the operation has been recorded on one draw. It gets the `Operation` and returns a
function of the batched operands, arrays whose first axis runs over draws. An operation without a rule is looped over
draws, that operation alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import autograd.numpy as anp
import numpy as np
import scipy.special
from autograd.builtins import container_take, container_untake
from autograd.core import VSpace, sparse_add
from autograd.numpy import numpy_vjps, numpy_wrapper
from autograd.numpy.numpy_boxes import ArrayBox
from autograd.tracer import getval

from . import autodiff, stats, transforms

Batched = Any
Rule = Callable[["Operation"], Callable[..., Batched]]


class NoRule(Exception):
    """Raised by a rule that does not cover this use of its operation, which is then looped over draws."""


@dataclass(frozen=True)
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

    def ndim(self, position: int) -> int:
        return int(np.ndim(self.args[position]))

    def call(self, operands: Sequence[Any]) -> Any:
        """The operation with its varying arguments replaced."""
        args = list(self.args)
        for position, operand in zip(self.positions, operands, strict=True):
            args[position] = operand
        fun = getattr(self.fun, "fun", self.fun) if self.plain else self.fun
        return fun(*args, **self.kwargs)

    def only(self, *allowed: int) -> None:
        """Raise `NoRule` unless just these arguments vary."""
        if not set(self.positions) <= set(allowed):
            raise NoRule

    def argument(self, name: str, position: int, default: Any) -> Any:
        if name in self.kwargs:
            return self.kwargs[name]
        return self.args[position] if len(self.args) > position else default


def compile_operation(operation: Operation, *, loop: bool = True) -> Callable[..., Batched]:
    """The batched form of an operation: by its rule, else by a loop over draws; `NoRule` where loops are not wanted."""
    rule = _rule_of(operation.fun)
    if rule is not None:
        try:
            return rule(operation)
        except NoRule:
            pass
    if not loop:
        raise NoRule(f"no batching rule for {getattr(operation.fun, '__name__', operation.fun)}")
    return _loop(operation)


def _rule_of(fun: Callable[..., Any]) -> Rule | None:
    if fun in RULES:
        return RULES[fun]
    raw = getattr(fun, "fun", None)
    if isinstance(raw, np.ufunc) and raw.signature is None:
        return _elementwise
    return _reduction if raw is scipy.special.logsumexp else None


def _loop(operation: Operation) -> Callable[..., Batched]:
    if operation.shape is None:
        raise TypeError(f"{getattr(operation.fun, '__name__', operation.fun)} has several results and no batching rule")

    def apply(*operands: Batched) -> Batched:
        rows = [operation.call([operand[s] for operand in operands]) for s in range(len(operands[0]))]
        return anp.stack(rows)

    return apply


# ---- elementwise operations and those with core dimensions ----------------------------------------------------------


def _pad(x: Batched, count: int) -> Batched:
    """Insert `count` axes behind the draws axis, so that operands of different rank align from the right."""
    return anp.reshape(x, (x.shape[0], *(1,) * count, *x.shape[1:])) if count else x


def _aligned(operation: Operation, core: Sequence[int]) -> Callable[..., Batched]:
    """Call the operation itself, with the operands' leading axes aligned; `core` counts trailing axes that it owns."""
    ndims = [np.ndim(arg) - c for arg, c in zip(operation.args, core, strict=True)]
    if min(ndims) < 0:
        raise NoRule
    pads = [max(ndims) - ndims[position] for position in operation.positions]
    if not any(pads):
        return lambda *operands: operation.call(operands)
    return lambda *operands: operation.call([_pad(x, pad) for x, pad in zip(operands, pads, strict=True)])


def _elementwise(operation: Operation) -> Callable[..., Batched]:
    if any(np.ndim(value) for value in operation.kwargs.values()):
        raise NoRule
    return _aligned(operation, [0] * len(operation.args))


def _where(operation: Operation) -> Callable[..., Batched]:
    if len(operation.args) != 3:
        raise NoRule("one-argument where")
    return _elementwise(operation)


def _core(dims: Sequence[int]) -> Rule:
    return lambda operation: _aligned(operation, list(dims)[: len(operation.args)])


def _solve(operation: Operation) -> Callable[..., Batched]:
    if operation.ndim(1) != 1:
        return _aligned(operation, (2, 2))
    column = Operation(
        operation.fun,
        (operation.args[0], np.asarray(operation.args[1])[:, None]),
        operation.kwargs,
        operation.positions,
        operation.shape,
    )
    inner = _aligned(column, (2, 2))
    is_rhs = [position == 1 for position in operation.positions]

    def apply(*operands: Batched) -> Batched:
        columns = [x[..., None] if rhs else x for x, rhs in zip(operands, is_rhs, strict=True)]
        return inner(*columns)[..., 0]

    return apply


# ---- reductions, and operations along an axis -----------------------------------------------------------------------


def _shift_axis(axis: Any, ndim: int) -> Any:
    """An axis of one draw's array as an axis of the batched array."""
    if axis is None:
        return tuple(range(1, ndim + 1))
    if isinstance(axis, (tuple, list)):
        return tuple(_shift_axis(a, ndim) for a in axis)
    return int(axis) % ndim + 1


def _with_axis(operation: Operation, axis: Any, position: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
    args, kwargs = list(operation.args), dict(operation.kwargs)
    if len(args) > position:
        args[position] = axis
    else:
        kwargs["axis"] = axis
    return tuple(args[1:]), kwargs


def _reduction(operation: Operation) -> Callable[..., Batched]:
    operation.only(0)
    ndim = operation.ndim(0)
    if ndim == 0:
        if getattr(operation.fun, "__name__", "") not in _IDENTITY_ON_SCALARS:
            raise NoRule
        return lambda x: x
    axis = _shift_axis(operation.argument("axis", 1, None), ndim)
    rest, kwargs = _with_axis(operation, axis[0] if isinstance(axis, tuple) and len(axis) == 1 else axis, 1)
    fun = operation.fun
    return lambda x: fun(x, *rest, **kwargs)


def _arg_reduction(operation: Operation) -> Callable[..., Batched]:
    if operation.argument("axis", 1, None) is None and operation.ndim(0) != 1:
        raise NoRule
    return _reduction(operation)


def _along(position: int, default: int | None) -> Rule:
    """A rule for operations that keep the rank and work along one axis."""

    def rule(operation: Operation) -> Callable[..., Batched]:
        operation.only(0)
        ndim = operation.ndim(0)
        axis = operation.argument("axis", position, default)
        if ndim == 0 or (axis is None and ndim != 1) or isinstance(axis, (tuple, list)):
            raise NoRule
        rest, kwargs = _with_axis(operation, 1 if axis is None else _shift_axis(axis, ndim), position)
        fun = operation.fun
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
    return lambda x: anp.reshape(x, (x.shape[0], *shape))


def _permutation(operation: Operation) -> Callable[..., Batched]:
    operation.only(0)
    sizes = tuple(range(2, 2 + operation.ndim(0)))
    permuted = operation.fun(np.empty(sizes), *operation.args[1:], **operation.kwargs).shape
    axes = (0, *(size - 1 for size in permuted))
    return lambda x: anp.transpose(x, axes)


def _broadcast_to(operation: Operation) -> Callable[..., Batched]:
    operation.only(0)
    shape = operation.shape or ()
    pad = len(shape) - operation.ndim(0)
    return lambda x: anp.broadcast_to(_pad(x, pad), (x.shape[0], *shape))


def _tile(operation: Operation) -> Callable[..., Batched]:
    operation.only(0)
    reps = operation.argument("reps", 1, 1)
    reps = (reps,) if np.ndim(reps) == 0 else tuple(reps)
    ndim = operation.ndim(0)
    reps = (1,) * (ndim - len(reps)) + reps
    return lambda x: anp.tile(_pad(x, len(reps) - ndim), (1, *reps))


def _getitem(operation: Operation) -> Callable[..., Batched]:
    operation.only(0)
    index = operation.args[1]
    index = index if isinstance(index, tuple) else (index,)
    full = _batched_index(index)
    return lambda x: x[full]


def _batched_index(index: tuple[Any, ...]) -> tuple[Any, ...]:
    """The index with a draws axis before it."""
    # With advanced indices apart from each other NumPy moves their axes to the front, before the draws.
    advanced = [i for i, part in enumerate(index) if not (isinstance(part, slice) or part is None or part is Ellipsis)]
    arrays = [i for i in advanced if np.ndim(index[i]) > 0]
    if arrays and advanced[-1] - advanced[0] + 1 != len(advanced):
        raise NoRule
    return (slice(None), *index)


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
    axis = _shift_axis(operation.args[0], operation.ndim(1))
    return lambda *operands: numpy_wrapper.concatenate_args(axis, *collect(*operands))


def _array_from_args(operation: Operation) -> Callable[..., Batched]:
    if operation.args[0] or operation.args[1]:
        raise NoRule
    collect = _items(operation, 2)

    def apply(*operands: Batched) -> Batched:
        items = [anp.reshape(x, (x.shape[0], 1, *x.shape[1:])) for x in collect(*operands)]
        return numpy_wrapper.concatenate_args(1, *items)

    return apply


def _array_from_array(operation: Operation) -> Callable[..., Batched]:
    operation.only(2)
    if operation.args[0] or set(operation.args[1]) - {"ndmin", "copy"}:
        raise NoRule
    shape = operation.shape or ()
    return lambda x: anp.reshape(x, (x.shape[0], *shape))


def _take_from_container(operation: Operation) -> Callable[..., Batched]:
    index = operation.args[1]
    return lambda container: container[index]


# ---- products -------------------------------------------------------------------------------------------------------


def _dot(operation: Operation) -> Callable[..., Batched]:
    """For dot and matmul of vectors and matrices, as matrix products that BLAS does in one call where there is one."""
    a, b = operation.args[:2]
    ranks = (np.ndim(a), np.ndim(b))
    if 0 in ranks:
        scalar = Operation(anp.multiply, (a, b), {}, operation.positions, operation.shape)
        return _elementwise(scalar)
    if max(ranks) > 2:
        if min(ranks) < 2 or operation.fun is anp.dot:
            raise NoRule
        return _aligned(operation, (2, 2))
    if operation.positions == (0,):
        return _left_product(b, ranks)
    if operation.positions == (1,):
        return _right_product(np.asarray(a), ranks)
    return {
        (1, 1): lambda x, y: anp.sum(x * y, axis=-1),
        (2, 1): lambda x, y: anp.matmul(x, y[:, :, None])[:, :, 0],
        (1, 2): lambda x, y: anp.matmul(x[:, None, :], y)[:, 0],
        (2, 2): anp.matmul,
    }[ranks]


def _left_product(b: Any, ranks: tuple[int, int]) -> Callable[..., Batched]:
    b = np.asarray(b)
    if ranks[0] == 1:
        return lambda x: anp.dot(x, b)
    return lambda x: anp.matmul(x, b)


def _right_product(a: np.ndarray, ranks: tuple[int, int]) -> Callable[..., Batched]:
    transposed = a.T
    if ranks[1] == 1:
        return lambda y: anp.dot(y, transposed)
    if ranks[0] == 1:
        return lambda y: anp.matmul(a[None, None, :], y)[:, 0]
    return lambda y: anp.matmul(a, y)


def _outer(operation: Operation) -> Callable[..., Batched]:
    a, b = operation.args[:2]
    if np.ndim(a) > 1 or np.ndim(b) > 1:
        raise NoRule
    a, b = np.reshape(a, (-1, 1)), np.reshape(b, (1, -1))
    shapes = {0: a.shape, 1: b.shape}
    product = Operation(anp.multiply, (a, b), {}, operation.positions, operation.shape)
    inner = _elementwise(product)

    def apply(*operands: Batched) -> Batched:
        pairs = zip(operation.positions, operands, strict=True)
        return inner(*(anp.reshape(x, (x.shape[0], *shapes[position])) for position, x in pairs))

    return apply


def _einsum(operation: Operation) -> Callable[..., Batched]:
    subscripts = operation.args[0]
    if not isinstance(subscripts, str):
        raise NoRule
    operation.only(*range(1, len(operation.args)))
    if "..." in subscripts:
        return _einsum_with_ellipsis(operation)
    subscripts = subscripts.replace(" ", "")
    inputs, arrow, output = subscripts.partition("->")
    if not arrow:
        letters = inputs.replace(",", "")
        output = "".join(sorted(letter for letter in set(letters) if letters.count(letter) == 1))
    draw = next(letter for letter in "ZYXWVUTS" + "zyxwvuts" if letter not in subscripts)
    terms = inputs.split(",")
    for position in operation.positions:
        terms[position - 1] = draw + terms[position - 1]
    args = (",".join(terms) + "->" + draw + output, *operation.args[1:])
    batched = Operation(operation.fun, args, operation.kwargs, operation.positions, operation.shape)
    return lambda *operands: batched.call(operands)


def _einsum_with_ellipsis(operation: Operation) -> Callable[..., Batched]:
    """The ellipsis takes the draws axis in, where every operand that varies has one."""
    inputs, _, output = operation.args[0].replace(" ", "").partition("->")
    terms = inputs.split(",")
    if "..." not in output or any("..." not in terms[position - 1] for position in operation.positions):
        raise NoRule
    core = [len(term.replace("...", "")) for term in terms]
    ranks = [
        np.ndim(arg) - c if "..." in term else 0 for arg, c, term in zip(operation.args[1:], core, terms, strict=True)
    ]
    pads = [max(ranks) - ranks[position - 1] for position in operation.positions]
    return lambda *operands: operation.call([_pad(x, pad) for x, pad in zip(operands, pads, strict=True)])


def _tensordot(operation: Operation) -> Callable[..., Batched]:
    """By way of einsum, which knows how to keep the draws apart."""
    a, b = operation.args[:2]
    axes = operation.argument("axes", 2, 2)
    rank_a, rank_b = np.ndim(a), np.ndim(b)
    if isinstance(axes, (int, np.integer)):
        left, right = list(range(rank_a - int(axes), rank_a)), list(range(int(axes)))
    else:
        left, right = ([int(i) for i in np.atleast_1d(part)] for part in axes)
    letters_a = [chr(ord("a") + i) for i in range(rank_a)]
    letters_b = [chr(ord("a") + rank_a + i) for i in range(rank_b)]
    for i, j in zip(left, right, strict=True):
        letters_b[j] = letters_a[i]
    contracted = {letters_a[i] for i in left}
    output = [letter for letter in letters_a + letters_b if letter not in contracted]
    subscripts = f"{''.join(letters_a)},{''.join(letters_b)}->{''.join(output)}"
    positions = tuple(position + 1 for position in operation.positions)
    return _einsum(Operation(anp.einsum, (subscripts, a, b), {}, positions, operation.shape))


def _norm(operation: Operation) -> Callable[..., Batched]:
    operation.only(0)
    if len(operation.args) > 1 or set(operation.kwargs) - {"axis"}:
        raise NoRule
    if operation.ndim(0) == 0:
        return anp.abs
    axis = operation.kwargs.get("axis")
    if axis is not None and not isinstance(axis, (int, np.integer)):
        raise NoRule
    axis = _shift_axis(axis, operation.ndim(0))
    return lambda x: anp.sqrt(anp.sum(x * x, axis=axis))


def _dot_adjoint(first: bool) -> Rule:
    """The adjoints of dot in its first or second operand: products of the other one with the incoming gradient g."""

    def rule(operation: Operation) -> Callable[..., Batched]:
        operation.only(0, 1)
        ranks = (operation.args[2][1], operation.args[3][1])
        formula = _ADJOINTS.get((first, *ranks))
        if formula is None:
            raise NoRule
        fixed = operation.args[:2]

        def apply(*operands: Batched) -> Batched:
            pair = list(fixed)
            for position, operand in zip(operation.positions, operands, strict=True):
                pair[position] = operand
            return formula(*pair)

        return apply

    return rule


def _times_vector(matrix: Any, vector: Any) -> Any:
    """Matrix (S, N, K) or (N, K) times vectors (S, K); with one matrix for all draws it is a single product."""
    if np.ndim(matrix) == 2:
        return np.matmul(vector, np.asarray(matrix).T)
    return np.matmul(matrix, np.asarray(vector)[..., None])[..., 0]


def _outer_product(x: Any, y: Any) -> Any:
    return np.asarray(x)[..., :, None] * np.asarray(y)[..., None, :]


def _swapped(x: Any) -> Any:
    return np.swapaxes(x, -1, -2)


_ADJOINTS: dict[tuple[bool, int, int], Callable[[Any, Any], Any]] = {
    (True, 1, 1): lambda b, g: b * np.asarray(g)[..., None],
    (False, 1, 1): lambda a, g: a * np.asarray(g)[..., None],
    (True, 2, 1): lambda b, g: _outer_product(g, b),
    (False, 2, 1): lambda a, g: _times_vector(_swapped(a), g),
    (True, 1, 2): _times_vector,
    (False, 1, 2): _outer_product,
    (True, 2, 2): lambda b, g: np.matmul(g, _swapped(b)),
    (False, 2, 2): lambda a, g: np.matmul(_swapped(a), g),
}


# ---- what backward passes are made of: sums of gradients, some of them known in a few places only -------------------


class Scattered(NamedTuple):
    """The gradient of an indexing operation, (S, ...): `values` at `where` (draws axis included), zero elsewhere."""

    values: Batched
    where: tuple[Any, ...]
    repeats: bool


def _untake(operation: Operation) -> Callable[..., Any]:
    operation.only(0)
    index = operation.args[1]
    index = index if isinstance(index, tuple) else (index,)
    full = _batched_index(index)
    arrays = [np.asarray(part) for part in index if np.ndim(part) > 0]
    # Boolean masks and distinct positions can be assigned to; repeated ones have to be accumulated.
    repeats = any(a.dtype != bool and np.unique(a % (1 << 62)).size < a.size for a in arrays)
    return lambda x: Scattered(x, full, repeats)


def _sparse_add(operation: Operation) -> Callable[..., Batched]:
    operation.only(1, 2)
    if 2 not in operation.positions:
        raise NoRule
    space, before = operation.args[:2]
    if any(isinstance(part, VSpace) for part in space.shape):
        return _container_sum(operation)
    has_before = 1 in operation.positions

    def apply(*operands: Any) -> Batched:
        scattered = operands[-1]
        if has_before:
            total = operands[0]
        else:
            total = np.zeros((len(scattered.values), *space.shape))
            if before is not None:
                total += before
        if scattered.repeats:
            np.add.at(total, scattered.where, scattered.values)
        else:
            total[scattered.where] += scattered.values
        return total

    return apply


def _container_sum(operation: Operation) -> Callable[..., Any]:
    """As `_sparse_add`, where what was indexed is a tuple of results."""
    spaces = operation.args[0].shape
    if operation.args[1] is not None or operation.positions != (2,):
        raise NoRule

    def apply(scattered: Scattered) -> list[Batched]:
        count = len(scattered.values)
        return [
            scattered.values if i == scattered.where[0] else np.zeros((count, *space.shape))
            for i, space in enumerate(spaces)
        ]

    return apply


def _untake_container(operation: Operation) -> Callable[..., Any]:
    operation.only(0)
    index = operation.args[1]
    if not isinstance(index, int):
        raise NoRule
    return lambda x: Scattered(x, (index,), False)


def _vector_sum(operation: Operation) -> Callable[..., Batched]:
    operation.only(1, 2)
    before, new = operation.args[1:3]
    if before is None:
        return lambda x: np.array(x)
    positions = tuple(position - 1 for position in operation.positions)
    return _elementwise(Operation(anp.add, (before, new), {}, positions, operation.shape))


def _as_it_is(operation: Operation) -> Callable[..., Batched]:
    """For operations that are written for any leading axes."""
    operation.only(0)
    return lambda x: operation.call((x,))


# Adds into its first operand, which the backward pass owns.
ACCUMULATING = frozenset({sparse_add})

_IDENTITY_ON_SCALARS = _IDENTITY_ON_SCALARS = frozenset(
    {"sum", "mean", "prod", "max", "min", "amax", "amin", "logsumexp"}
)


def _table() -> dict[Callable[..., Any], Rule]:
    rules: dict[Callable[..., Any], Rule] = {}
    names: list[tuple[Rule, str]] = [
        (_elementwise, "clip real imag conj conjugate angle sinc nan_to_num round around fix isclose _astype astype"),
        (_where, "where"),
        (_reduction, "sum mean prod var std max amax min amin any all nansum count_nonzero"),
        (_arg_reduction, "argmax argmin"),
        (_sort, "sort"),
        (_along(1, -1), "argsort"),
        (_along(1, None), "cumsum cumprod flip"),
        (_along(2, None), "repeat take roll"),
        (_along(2, -1), "diff"),
        (_reshape, "reshape ravel squeeze expand_dims atleast_1d atleast_2d"),
        (_permutation, "transpose swapaxes moveaxis rollaxis"),
        (_broadcast_to, "broadcast_to"),
        (_tile, "tile"),
        (_dot, "dot matmul"),
        (_outer, "outer"),
        (_einsum, "einsum"),
        (_tensordot, "tensordot"),
        (_diagonal(total=False), "diagonal"),
        (_diagonal(total=True), "trace"),
        (_diag, "diag"),
        (_core((2,)), "tril triu"),
    ]
    for rule, words in names:
        for word in words.split():
            if hasattr(anp, word):
                rules[getattr(anp, word)] = rule
    # Some of these wrap a primitive of another name, and the primitive is what a recording holds.
    for word in ("mean", "var", "std"):
        rules[getattr(numpy_wrapper, f"_primitive_{word}", getattr(anp, word))] = _reduction
    # Some versions of autograd put a function of their own before the primitive.
    rules[getattr(anp, "_original_where", anp.where)] = _where
    linalg = anp.linalg
    rules[ArrayBox.__getitem__] = _getitem
    rules[numpy_wrapper.concatenate_args] = _concatenate
    rules[numpy_wrapper.array_from_args] = _array_from_args
    rules[numpy_wrapper._array_from_scalar_or_array] = _array_from_array
    rules[container_take] = _take_from_container
    rules[getattr(linalg, "_primitive_norm", linalg.norm)] = _norm
    rules[linalg.solve] = _solve
    for word in ("inv", "det", "slogdet", "cholesky", "eigh"):
        rules[getattr(linalg, word)] = _core((2,))
    rules[numpy_vjps.dot_adjoint_0] = _dot_adjoint(first=True)
    rules[numpy_vjps.dot_adjoint_1] = _dot_adjoint(first=False)
    rules[numpy_vjps.untake] = _untake
    rules[container_untake] = _untake_container
    rules[sparse_add] = _sparse_add
    rules[VSpace.add] = _vector_sum
    rules[VSpace.mut_add] = _vector_sum
    rules[autodiff.columns] = _as_it_is
    rules[autodiff.padded] = _as_it_is
    for primitive in (*stats.ELEMENTWISE, *transforms.ELEMENTWISE):
        rules[primitive] = _elementwise
    for primitive, (inputs, _) in stats.CORE_DIMS.items():
        rules[primitive] = _core(inputs)
    for primitive in stats.REDUCTIONS:
        rules[primitive] = _reduction
    for primitive in stats.AXISWISE:
        rules[primitive] = _along(1, -1)
    return rules


RULES: dict[Callable[..., Any], Rule] = _table()
