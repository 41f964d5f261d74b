"""The operations that a function carries out on one draw, in their order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.numpy import numpy_wrapper
from autograd.numpy.numpy_boxes import ArrayBox
from autograd.tracer import Box, Node, isbox, new_box, trace_stack

from bbvi.batching.autodiff import taken_at
from bbvi.batching.operations import Operation


class NotRecordable(Exception):
    """The function depends on the values of its latents in a way that no recording of one draw can show."""


class Tape:
    """The operations of one recording.

    Slots count everything that has a value: first the roots, then one for each operation that is not a repetition of
    an earlier one.

    Attributes
    ----------
    operations : list of (Operation, tuple of int, int)
        Each with the slots of its varying arguments, and its own.
    values : list
        By slot, at the draw that was recorded.
    """

    def __init__(self) -> None:
        self.operations: list[tuple[Operation, tuple[int, ...], int]] = []
        self.values: list[Any] = []
        self.trace = -1
        self._known: dict[Any, int] = {}

    def root(self, value: Any) -> Any:
        """A box for an input."""
        self.values.append(value)
        node = RecordNode.new_root(self, len(self.values) - 1)
        return new_box(value, self.trace, node)

    def box(self, slot: int) -> Any:
        """The value of a slot, to go on computing with under the same recording."""
        return new_box(self.values[slot], self.trace, RecordNode.new_root(self, slot))

    def add(self, operation: Operation, parents: tuple[int, ...], value: Any) -> int:
        """The slot of an operation's result: that of an earlier one where it is the same operation."""
        if operation.fun in _COPIES and _is_copy(operation):
            return parents[0]
        key = _identity(operation, parents)
        known = self._known.get(key)
        if known is not None and key is not None:
            return known
        slot = len(self.values)
        self.values.append(value)
        self.operations.append((operation, parents, slot))
        if key is not None:
            self._known[key] = slot
        return slot


class RecordNode(Node):
    """Autograd's node of a recording: where on the tape a value is."""

    __slots__ = ["tape", "slot"]

    def __init__(
        self,
        value: Any,
        fun: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        parent_argnums: tuple[int, ...],
        parents: tuple[RecordNode, ...],
    ) -> None:
        for i, arg in enumerate(args):
            if i not in parent_argnums and type(arg) not in _PLAIN and _holds_box(arg):
                raise NotRecordable(f"{getattr(fun, '__name__', fun)} hides a latent inside one of its arguments")
        if kwargs and any(map(_holds_box, kwargs.values())):
            raise NotRecordable(f"{getattr(fun, '__name__', fun)} hides a latent inside one of its arguments")
        self.tape: Tape = parents[0].tape
        shape = None if isinstance(value, tuple) else getattr(value, "shape", ())
        operation = Operation(fun, tuple(args), kwargs, tuple(parent_argnums), shape)
        self.slot: int = self.tape.add(operation, tuple([parent.slot for parent in parents]), value)

    def initialize_root(self, tape: Tape, slot: int) -> None:
        self.tape, self.slot = tape, slot


_PLAIN = frozenset({np.ndarray, float, int, np.float64, np.int64, bool, slice, str, type(None)})
_COPIES = frozenset({numpy_wrapper._array_from_scalar_or_array})


def _holds_box(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return any(_holds_box(item) for item in value)
    return bool(isbox(value))


def _is_copy(operation: Operation) -> bool:
    """Whether ``np.array`` was given nothing to do."""
    return not operation.args[0] and not operation.args[1] and np.shape(operation.args[2]) == operation.shape


def _identity(operation: Operation, parents: tuple[int, ...]) -> Any:
    """What two operations have in common only if their results are equal; None where that is not known.

    Arrays are compared by identity: the tape keeps those that it knows alive.
    """
    if operation.kwargs:
        return None
    constants: list[Any] = []
    for position, arg in enumerate(operation.args):
        if position in operation.positions:
            continue
        if isinstance(arg, np.ndarray):
            constants.append((position, id(arg)))
        elif isinstance(arg, (int, float, np.generic)):
            constants.append((position, type(arg), arg))
        else:
            return None
    return operation.fun, operation.positions, parents, tuple(constants)


class RecordBox(ArrayBox):
    """A value under recording. Asking for its truth would freeze one draw's answer, so that is refused."""

    __slots__ = []

    def __bool__(self) -> bool:
        raise NotRecordable("the function branches on the value of a latent")

    def __getitem__(self, index: Any) -> Any:
        # Inside a tuple data would be hidden from the recording.
        if isinstance(index, tuple) and any(map(isbox, index)):
            return taken_at(self, *index)
        return ArrayBox.__getitem__(self, index)

    __hash__ = ArrayBox.__hash__

    def __invert__(self) -> Any:
        return anp.invert(self)

    def __and__(self, other: Any) -> Any:
        return anp.bitwise_and(self, other)

    def __or__(self, other: Any) -> Any:
        return anp.bitwise_or(self, other)

    __rand__ = __and__
    __ror__ = __or__


_RECORDED_TYPES = (np.ndarray, float, int, np.float64, np.float32, np.bool_, np.int64, np.int32, np.intp)
_lock = threading.RLock()


@contextmanager
def recording() -> Iterator[Tape]:
    """For the time of a recording, autograd boxes arrays, numbers and also comparisons in `RecordBox`."""
    with _lock:
        before, top = dict(Box.type_mappings), trace_stack.top
        try:
            Box.types.add(RecordBox)
            Box.type_mappings.update(dict.fromkeys((*_RECORDED_TYPES, RecordBox), RecordBox))
            tape = Tape()
            with trace_stack.new_trace() as trace:
                tape.trace = trace
                yield tape
        finally:
            Box.type_mappings.clear()
            Box.type_mappings.update(before)
            # A trace that an exception ends would otherwise stay on autograd's stack.
            trace_stack.top = top


def slot_of(value: Any, tape: Tape) -> int | None:
    """Where on the tape a value is; None for what does not depend on the recording's inputs."""
    return value._node.slot if isbox(value) and value._trace == tape.trace else None
