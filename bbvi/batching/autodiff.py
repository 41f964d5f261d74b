"""What the package adds to autograd: products with Jacobians of any function, and adjoints of taking parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.builtins import container_take
from autograd.core import VJPNode, backward_pass, primitive_vjps
from autograd.extend import defvjp, defvjp_argnum, primitive
from autograd.tracer import getval, isbox, new_box, trace_stack

from bbvi.stats.primitives import unbroadcast
from bbvi.stats.special import expit_

# Some versions of autograd put a function of their own before the primitive.
_where = getattr(anp, "_original_where", anp.where)


def _where_vjps(argnums: tuple[int, ...], ans: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The adjoint of where. Autograd's own forgets to sum over the axes along which an operand was broadcast."""
    chosen = args[0]
    shapes = [np.shape(getval(arg)) for arg in args]

    def product(g: Any) -> Any:
        parts = {1: anp.where(chosen, g, 0.0), 2: anp.where(chosen, 0.0, g)} if argnums != (0,) else {}
        return tuple(unbroadcast(parts[i], shapes[i]) if i else np.zeros(shapes[0]) for i in argnums)

    return product


# Once and for all: to put it there for the time of a trace would leave it there when two threads trace at once.
primitive_vjps[_where] = _where_vjps


def vjp_maker(fun: Callable[..., Any]) -> Callable[..., Any]:
    """What makes the adjoint of a primitive: ``maker(argnums, ans, args, kwargs)(g)``, one gradient per argument.

    It is for one draw under recording, where what two adjoints have in common is computed once.

    Raises
    ------
    NotImplementedError
        If autograd has none.
    """
    if fun in _VJPS:
        return _VJPS[fun]
    try:
        known: Callable[..., Any] = primitive_vjps[fun]
        return known
    except KeyError:
        raise NotImplementedError(f"autograd has no derivative of {getattr(fun, '__name__', fun)}") from None


def vjp(function: Callable[[Any], Any], x: Any) -> tuple[Callable[[Any], Any], Any]:
    """The product ``g -> g' J`` at `x`, and the value there.

    Unlike autograd's own it says nothing where the value does not depend on `x` (the product is zero then), and leaves
    autograd's stack of traces in order when the function raises.
    """
    top, root = trace_stack.top, VJPNode.new_root()
    try:
        with trace_stack.new_trace() as trace:
            end = function(new_box(x, trace, root))
    finally:
        trace_stack.top = top
    if not (isbox(end) and end._trace == trace):
        return lambda g: np.zeros(np.shape(getval(x))), end
    node = end._node
    return lambda g: backward_pass(g, node), end._value


# ---- matrices: every adjoint multiplies by the same inverse, where autograd's would solve each time anew ------------


def _transposed(x: Any) -> Any:
    return anp.swapaxes(x, -1, -2)


def _solve_vjps(argnums: tuple[int, ...], ans: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The adjoint of solve, with one right-hand side or several."""
    if np.ndim(args[0]) != 2:
        return primitive_vjps[anp.linalg.solve](argnums, ans, args, kwargs)
    inverse, shape = anp.linalg.inv(args[0]), np.shape(args[1])
    solution = anp.reshape(ans, (shape[0], -1))

    def product(g: Any) -> Any:
        right = anp.matmul(_transposed(inverse), anp.reshape(g, (shape[0], -1)))
        parts = {0: lambda: -anp.matmul(right, _transposed(solution)), 1: lambda: anp.reshape(right, shape)}
        return tuple(parts[i]() for i in argnums)

    return product


def _cholesky_vjps(argnums: tuple[int, ...], ans: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The adjoint of the lower Cholesky factor L (Murray 2016, eq. 10)."""
    inverse = anp.linalg.inv(ans)
    half = np.tril(np.ones(np.shape(ans)[-2:]), -1) + 0.5 * np.eye(np.shape(ans)[-1])

    def product(g: Any) -> Any:
        inner = anp.matmul(_transposed(inverse), half * anp.matmul(_transposed(ans), g))
        whole = anp.matmul(inner, inverse)
        return (0.5 * (whole + _transposed(whole)),)

    return product


def _logaddexp_vjps(argnums: tuple[int, ...], ans: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The adjoint of log(e^x + e^y), from x - y alone: where only gradients are asked for it need not be worked out."""
    shapes = [np.shape(getval(arg)) for arg in args]

    def share(i: int) -> Any:
        one, other = args[i], args[1 - i]
        return expit_(one if isinstance(other, (int, float)) and other == 0 else one - other)

    return lambda g: tuple(unbroadcast(g * share(i), shapes[i]) for i in argnums)


_VJPS = {anp.linalg.solve: _solve_vjps, anp.linalg.cholesky: _cholesky_vjps, anp.logaddexp: _logaddexp_vjps}


# ---- slices of the last axis ----------------------------------------------------------------------------------------


@primitive
def columns(u: Any, start: int, stop: int) -> Any:
    """``u[..., start:stop]``; its gradient is one copy into zeros, where that of indexing is a scattered addition."""
    return u[..., start:stop]


@primitive
def padded(g: Any, start: int, stop: int, width: int) -> Any:
    """The adjoint of `columns`."""
    out = np.zeros((*np.shape(g)[:-1], width))
    out[..., start:stop] = g
    return out


defvjp(columns, lambda ans, u, start, stop: lambda g: padded(g, start, stop, np.shape(getval(u))[-1]), argnums=(0,))
defvjp(padded, lambda ans, g, start, stop, width: lambda h: columns(h, start, stop), argnums=(0,))


# ---- all that was taken from one value, put back together -----------------------------------------------------------


@primitive
def scattered(shape: tuple[int, ...], *pairs: Any) -> Any:
    """Zeros to which gradients are added where they belong: the adjoint of any number of indexing operations.

    `pairs` are an index and what to add there, in turns.
    """
    total = np.zeros(shape)
    for index, part in zip(pairs[::2], pairs[1::2], strict=True):
        if isinstance(index, int):
            total[index] += part
        else:
            np.add.at(total, index, part)
    return total


@primitive
def bundled(shapes: tuple[tuple[int, ...], ...], *pairs: Any) -> Any:
    """A tuple of zeros to which gradients are added: as `scattered`, for operations with several results."""
    totals = [np.zeros(shape) for shape in shapes]
    for index, part in zip(pairs[::2], pairs[1::2], strict=True):
        totals[index] = totals[index] + part
    return tuple(totals)


@primitive
def taken_at(x: Any, *index: Any) -> Any:
    """``x[index]``, each part of the index an argument of its own, so that it may be an input of a recording."""
    return x[index]


@primitive
def put_at(g: Any, shape: tuple[int, ...], *index: Any) -> Any:
    """The adjoint of `taken_at`."""
    total = np.zeros(shape)
    np.add.at(total, index, g)
    return total


@primitive
def summed(*parts: Any) -> Any:
    """The sum of many gradients of one shape."""
    return np.add.reduce(parts)


defvjp_argnum(taken_at, lambda argnum, ans, args, kwargs: lambda g: put_at(g, np.shape(args[0]), *args[1:]))
defvjp_argnum(put_at, lambda argnum, ans, args, kwargs: lambda h: taken_at(h, *args[2:]))
defvjp_argnum(summed, lambda argnum, ans, args, kwargs: lambda g: g)
defvjp_argnum(scattered, lambda argnum, ans, args, kwargs: lambda g: g[args[argnum - 1]])
defvjp_argnum(bundled, lambda argnum, ans, args, kwargs: lambda g: container_take(g, args[argnum - 1]))
