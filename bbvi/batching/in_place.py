"""Changes in place under recording: one box for all names of an array, as NumPy has one array for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from autograd.numpy.numpy_boxes import ArrayBox
from autograd.tracer import isbox


class Memory:
    """Which arrays of a recording share their memory, so that a change of one would be a change of others."""

    def __init__(self) -> None:
        # Owners are kept alive, so that no other array gets the number of one.
        self._owners: dict[int, Any] = {}
        self._shared: set[int] = set()

    def note(self, value: Any) -> None:
        """Take down that a box holds this value."""
        if isinstance(value, np.ndarray):
            owner = _owner(value)
            if id(owner) in self._owners:
                self._shared.add(id(owner))
            self._owners[id(owner)] = owner

    def shares(self, value: np.ndarray) -> bool:
        """Whether another box holds this array, a view of it, or what it is a view of."""
        return id(_owner(value)) in self._shared


def _owner(array: np.ndarray) -> Any:
    return array if array.base is None else array.base


def in_place(operator: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """The operator of a box that changes it: ``x += y`` for all names of ``x``, where autograd makes a new box for one.

    Numbers cannot be changed, so that Python makes new ones of them here as well.
    """

    def change(box: Any, other: Any) -> Any:
        within = _innermost(box)
        value = within._held
        if not isinstance(value, np.ndarray):
            return NotImplemented
        if within._node.tape.memory.shares(value):
            within._node.tape.refuse("the function changes in place what shares its memory with another array")
        result = operator(box, other)
        changed = _innermost(result)._held
        if np.shape(changed) != value.shape or np.asarray(changed).dtype != value.dtype:
            within._node.tape.refuse("a change in place would change the shape or the type of a latent")
        box._held, box._node, box._trace = result._held, result._node, result._trace
        return box

    return change


def _innermost(box: Any) -> Any:
    """The box that holds an array: where a derivative is recorded, there are boxes in boxes."""
    while isbox(box._held):
        box = box._held
    return box


OPERATORS = {
    f"__i{name}__": in_place(getattr(ArrayBox, f"__{name}__"))
    for name in ("add", "sub", "mul", "truediv", "pow", "mod", "matmul")
}
