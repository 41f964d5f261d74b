"""Batching rules of products: dot, matmul, outer, einsum, tensordot, solve, and the adjoints of dot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.numpy import numpy_vjps

from bbvi.batching.operations import Batched, NoRule, Operation, Rule, aligned, elementwise, pad, shift_axis, with_core
from bbvi.batching.simplify import summed_product

# ---- products -------------------------------------------------------------------------------------------------------


def _dot(operation: Operation) -> Callable[..., Batched]:
    """For dot and matmul of vectors and matrices, as matrix products that BLAS does in one call where there is one."""
    a, b = operation.args[:2]
    ranks = (np.ndim(a), np.ndim(b))
    if 0 in ranks:
        scalar = Operation(anp.multiply, (a, b), {}, operation.positions, operation.shape, operation.plain)
        return elementwise(scalar)
    if max(ranks) > 2:
        if min(ranks) < 2 or operation.fun is anp.dot:
            raise NoRule
        return aligned(operation, (2, 2))
    if operation.positions == (0,):
        return _left_product(b, ranks)
    if operation.positions == (1,):
        return _right_product(np.asarray(a), ranks)
    products: dict[tuple[int, ...], Callable[..., Batched]] = {
        (1, 1): lambda x, y: anp.sum(x * y, axis=-1),
        (2, 1): lambda x, y: anp.matmul(x, y[:, :, None])[:, :, 0],
        (1, 2): lambda x, y: anp.matmul(x[:, None, :], y)[:, 0],
        (2, 2): anp.matmul,
    }
    return products[ranks]


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


def _summed_product(operation: Operation) -> Callable[..., Batched]:
    """With a vector that is the same for all draws it is a product with a matrix."""
    operation.only(0, 1)
    if len(operation.positions) == 1:
        fixed = np.asarray(operation.args[1 - operation.positions[0]])
        return lambda x: anp.dot(x, fixed)
    return operation.caller()


def _outer(operation: Operation) -> Callable[..., Batched]:
    a, b = operation.args[:2]
    if np.ndim(a) > 1 or np.ndim(b) > 1:
        raise NoRule
    a, b = np.reshape(a, (-1, 1)), np.reshape(b, (1, -1))
    shapes = {0: a.shape, 1: b.shape}
    product = Operation(anp.multiply, (a, b), {}, operation.positions, operation.shape, operation.plain)
    inner = elementwise(product)

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
    return replace(operation, args=args).caller()


def _einsum_with_ellipsis(operation: Operation) -> Callable[..., Batched]:
    """The ellipsis takes the draws axis in, where every operand that varies has one."""
    inputs, _, output = operation.args[0].replace(" ", "").partition("->")
    terms = inputs.split(",")
    if "..." not in output or any("..." not in terms[position - 1] for position in operation.positions):
        raise NoRule
    core = [len(term.replace("...", "")) for term in terms]
    if operation.args[0].replace(" ", "") == "...ij,...jk->...ik" and not operation.kwargs:
        product = replace(operation, fun=anp.matmul, args=operation.args[1:], positions=_earlier(operation.positions))
        return aligned(product, core)
    ranks = [
        np.ndim(arg) - c if "..." in term else 0 for arg, c, term in zip(operation.args[1:], core, terms, strict=True)
    ]
    pads = [max(ranks) - ranks[position - 1] for position in operation.positions]
    call = operation.caller()
    return lambda *operands: call(*[pad(x, count) for x, count in zip(operands, pads, strict=True)])


def _earlier(positions: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(position - 1 for position in positions)


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
    return _einsum(Operation(anp.einsum, (subscripts, a, b), {}, positions, operation.shape, operation.plain))


def _norm(operation: Operation) -> Callable[..., Batched]:
    operation.only(0)
    if len(operation.args) > 1 or set(operation.kwargs) - {"axis"}:
        raise NoRule
    if operation.ndim(0) == 0:
        absolute: Callable[..., Any] = anp.abs
        return absolute
    axis = operation.kwargs.get("axis")
    if axis is not None and not isinstance(axis, (int, np.integer)):
        raise NoRule
    axis = shift_axis(axis, operation.ndim(0))
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


def _solve(operation: Operation) -> Callable[..., Batched]:
    if operation.ndim(1) != 1:
        return aligned(operation, (2, 2))
    column = replace(operation, args=(operation.args[0], np.asarray(operation.args[1])[:, None]))
    inner = aligned(column, (2, 2))
    is_rhs = [position == 1 for position in operation.positions]

    def apply(*operands: Batched) -> Batched:
        columns = [x[..., None] if rhs else x for x, rhs in zip(operands, is_rhs, strict=True)]
        return inner(*columns)[..., 0]

    return apply


RULES: dict[Callable[..., Any], Rule] = {
    anp.dot: _dot,
    anp.matmul: _dot,
    anp.outer: _outer,
    summed_product: _summed_product,
    anp.einsum: _einsum,
    anp.tensordot: _tensordot,
    getattr(anp.linalg, "_primitive_norm", anp.linalg.norm): _norm,
    anp.linalg.solve: _solve,
    numpy_vjps.dot_adjoint_0: _dot_adjoint(first=True),
    numpy_vjps.dot_adjoint_1: _dot_adjoint(first=False),
} | {getattr(anp.linalg, word): with_core((2,)) for word in ("inv", "det", "slogdet", "cholesky", "eigh")}
