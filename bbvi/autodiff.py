"""Vector-Jacobian products through autograd, also of functions that do not depend on their argument."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from autograd.core import VJPNode, backward_pass
from autograd.tracer import getval, isbox, new_box, trace_stack


def vjp(function: Callable[[Any], Any], x: Any) -> tuple[Callable[[Any], Any], Any]:
    """The product ``g -> g' J`` at `x`, and the value there.

    Unlike autograd's own it says nothing where the value does not depend on `x` (the product is zero then), and leaves
    autograd's stack of traces in order when the function raises.
    """
    top = trace_stack.top
    root = VJPNode.new_root()
    try:
        with trace_stack.new_trace() as trace:
            end = function(new_box(x, trace, root))
    finally:
        trace_stack.top = top
    if not (isbox(end) and end._trace == trace):
        return lambda g: np.zeros(np.shape(getval(x))), end
    node = end._node
    return lambda g: backward_pass(g, node), end._value
