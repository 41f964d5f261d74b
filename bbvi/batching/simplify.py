"""What a recording does for nothing: products with ones, reshapes to the same shape, products that are only summed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.extend import defvjp, primitive

from bbvi.batching.operations import Entry, Operation

# Operations that may give back what they are given.
_MAY_KEEP = (anp.reshape, anp.sum, anp.multiply)


@primitive
def summed_product(x: Any, y: Any) -> Any:
    """The sum over the last axis of a product, without the product."""
    return np.vecdot(x, y)


defvjp(
    summed_product,
    lambda ans, x, y: lambda g: anp.expand_dims(g, -1) * y,
    lambda ans, x, y: lambda g: anp.expand_dims(g, -1) * x,
)


def simplified(entries: Iterable[Entry], outputs: set[int]) -> list[Entry]:
    """The operations without those that give back what they are given, and with products and their sums in one.

    Adjoints are recorded as autograd has them: each begins with a product with ones, reshapes what has its shape
    already, and adds up what it multiplied. A recording is replayed some thousand times, so that what is left out here
    is left out as often.

    Parameters
    ----------
    entries : iterable of Entry
        In their order.
    outputs : set of int
        Slots that are asked for.
    """
    alias: dict[int, int] = {}
    kept: list[Entry] = []
    for entry in entries:
        parents = tuple([alias.get(parent, parent) for parent in entry.parents])
        # What goes out is an array of its own.
        if entry.slot not in outputs and _is_identity(entry.operation):
            alias[entry.slot] = parents[0]
        else:
            kept.append(entry._replace(parents=parents))
    return _products_summed(kept, outputs)


def _is_identity(operation: Operation) -> bool:
    """Whether the result is the one argument that varies, for any values of it."""
    fun, args, positions = operation.fun, operation.args, operation.positions
    if fun not in _MAY_KEEP or len(positions) != 1:
        return False
    varying = args[positions[0]]
    if np.shape(varying) != operation.shape or np.asarray(varying).dtype != float:
        return False
    if fun is anp.sum:
        return operation.shape == ()
    if fun is anp.multiply:
        other = args[1 - positions[0]]
        return isinstance(other, (float, np.ndarray)) and bool(np.all(np.equal(other, 1.0))) and not operation.kwargs
    return True


def _products_summed(entries: list[Entry], outputs: set[int]) -> list[Entry]:
    """Sums of products that nothing else needs, in one operation."""
    gone: set[int] = set()
    uses: dict[int, int] = dict.fromkeys(outputs, 2)
    for entry in entries:
        for parent in entry.parents:
            uses[parent] = uses.get(parent, 0) + 1
    products = {entry.slot: entry for entry in entries if uses.get(entry.slot) == 1 and _is_product(entry.operation)}
    joined: dict[int, Entry] = {}
    for entry in entries:
        if entry.parents and entry.parents[0] in products and _sums_all(entry.operation):
            product = products.pop(entry.parents[0])
            operation = replace(product.operation, fun=summed_product, shape=())
            joined[entry.slot] = Entry(operation, product.parents, entry.slot)
            gone.add(product.slot)
    return [joined.get(entry.slot, entry) for entry in entries if entry.slot not in gone]


def _is_product(operation: Operation) -> bool:
    """Of two vectors of one length."""
    if operation.fun is not anp.multiply or operation.kwargs or len(operation.shape or ()) != 1:
        return False
    return all(np.shape(arg) == operation.shape and np.asarray(arg).dtype == float for arg in operation.args)


def _sums_all(operation: Operation) -> bool:
    if operation.fun is not anp.sum or operation.shape != () or len(operation.args) > 2:
        return False
    axis = operation.argument("axis", 1, None)
    return set(operation.kwargs) <= {"axis"} and axis in (None, 0, -1, (0,), (-1,))
