"""What the package adds to autograd: products with Jacobians of any function, and cheap slices of the last axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.core import VJPNode, backward_pass, primitive_vjps
from autograd.extend import defvjp, primitive
from autograd.tracer import getval, isbox, new_box, trace_stack

from .stats.primitives import unbroadcast

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


def vjp(function: Callable[[Any], Any], x: Any) -> tuple[Callable[[Any], Any], Any]:
    """The product ``g -> g' J`` at `x`, and the value there.

    Unlike autograd's own it says nothing where the value does not depend on `x` (the product is zero then), and leaves
    autograd's stack of traces in order when the function raises.
    """
    top, autograds_own = trace_stack.top, primitive_vjps[_where]
    root = VJPNode.new_root()
    try:
        primitive_vjps[_where] = _where_vjps
        with trace_stack.new_trace() as trace:
            end = function(new_box(x, trace, root))
    finally:
        trace_stack.top = top
        primitive_vjps[_where] = autograds_own
    if not (isbox(end) and end._trace == trace):
        return lambda g: np.zeros(np.shape(getval(x))), end
    node = end._node
    return lambda g: backward_pass(g, node), end._value


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
