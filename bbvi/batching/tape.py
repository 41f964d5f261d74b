"""The operations that a function carries out on one draw, in their order."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import autograd
import autograd.numpy as anp
import numpy as np
from autograd.numpy import numpy_wrapper
from autograd.numpy.numpy_boxes import ArrayBox
from autograd.tracer import Box, Node, getval, isbox, new_box, trace_stack

from bbvi.batching import in_place
from bbvi.batching.autodiff import taken_at
from bbvi.batching.operations import Operation
from bbvi.threads import forks_wait_for


class NotRecordable(BaseException):
    """The function depends on the values of its latents in a way that no recording of one draw can show.

    It is no `Exception`, so that a function's own ``except Exception`` does not take the refusal for one of its errors;
    and the tape remembers it, whoever swallows it.
    """


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
    memory : Memory
        Whose memory the values have.
    errors : dict
        What was to be done about errors of arithmetic when the recording began.
    refused : str
        Why the function cannot be recorded, and where it was when that showed; empty as long as it can.
    """

    def __init__(self) -> None:
        self.operations: list[tuple[Operation, tuple[int, ...], int]] = []
        self.values: list[Any] = []
        self.memory = in_place.Memory()
        self.errors = np.geterr()
        self.trace = -1
        self.refused = ""
        self._known: dict[Any, int] = {}

    def refuse(self, why: str) -> NoReturn:
        """Give the recording up, and remember it.

        Raises
        ------
        NotRecordable
            Always.
        """
        self.refused = self.refused or f"{why}{_place()}"
        raise NotRecordable(self.refused)

    def root(self, value: Any) -> Any:
        """A box for an input."""
        self.values.append(value)
        self.memory.note(value)
        node = RecordNode.new_root(self, len(self.values) - 1)
        return new_box(value, self.trace, node)

    def box(self, slot: int) -> Any:
        """The value of a slot, to go on computing with under the same recording."""
        return new_box(self.values[slot], self.trace, RecordNode.new_root(self, slot))

    def add(self, operation: Operation, parents: tuple[int, ...], value: Any) -> int:
        """The slot of an operation's result: that of an earlier one where it is the same operation."""
        if operation.fun in _COPIES and _is_copy(operation):
            return parents[0]
        key = identity_of(operation, parents)
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
        self.tape: Tape = parents[0].tape
        for i, arg in enumerate(args):
            if i not in parent_argnums and type(arg) not in _PLAIN and _holds_box(arg):
                self.tape.refuse(f"{_name(fun)} hides a latent inside one of its arguments")
        if kwargs and any(map(_holds_box, kwargs.values())):
            self.tape.refuse(f"{_name(fun)} hides a latent inside one of its arguments")
        if kwargs.get("out") is not None:
            self.tape.refuse(f"{_name(fun)} writes what depends on a latent into an array of the function's own")
        if fun in _VALUE_TYPED:
            self.tape.refuse(f"the type of what {_name(fun)} gives depends on the values of a latent")
        if _shape_depends_on_values(fun, args, parent_argnums):
            self.tape.refuse(f"the shape of what {_name(fun)} gives depends on the values of a latent")
        errors = np.geterr()
        if errors != self.tape.errors and not {"raise", "call"}.isdisjoint(errors.values()):
            self.tape.refuse("the function makes exceptions, or calls, of errors of arithmetic")
        self.tape.memory.note(value)
        shape = None if isinstance(value, tuple) else getattr(value, "shape", ())
        operation = Operation(fun, tuple(args), kwargs, tuple(parent_argnums), shape)
        self.slot: int = self.tape.add(operation, tuple([parent.slot for parent in parents]), value)

    def initialize_root(self, tape: Tape, slot: int) -> None:
        self.tape, self.slot = tape, slot


_GETVAL = getval.__code__
_PACKAGE = str(Path(__file__).parents[1]) + os.sep
_GALLERY = _PACKAGE + "models" + os.sep
_AUTOGRAD = str(Path(autograd.__file__).parent) + os.sep
# What has as many elements, or as many axes, as the values say.
_VALUE_SHAPED = frozenset(
    getattr(anp, name, None)
    for name in (
        "argwhere", "compress", "extract", "flatnonzero", "intersect1d", "nonzero", "setdiff1d", "setxor1d",
        "trim_zeros", "union1d", "unique",
    )
) - {None}  # fmt: skip


# What is complex for some values and real for others.
_VALUE_TYPED = frozenset(getattr(anp.linalg, name, None) for name in ("eig", "eigvals")) - {None}


def _outside(frame: FrameType) -> bool:
    """Whether code runs that is neither this package's nor autograd's: the user's, or a library's that it calls."""
    file = frame.f_code.co_filename
    return not file.startswith((_PACKAGE, _AUTOGRAD)) or file.startswith(_GALLERY)


def is_users(frame: FrameType) -> bool:
    """Whether code runs that the user wrote."""
    return _outside(frame) and "site-packages" not in frame.f_code.co_filename


def _place() -> str:
    """The user's line that is being carried out, in brackets."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and not is_users(frame):
        frame = frame.f_back
    return "" if frame is None else f" ({Path(frame.f_code.co_filename).name}, line {frame.f_lineno})"


def _name(fun: Callable[..., Any]) -> str:
    return str(getattr(fun, "__name__", fun))


def _shape_depends_on_values(fun: Callable[..., Any], args: tuple[Any, ...], varying: tuple[int, ...]) -> bool:
    if fun in _VALUE_SHAPED:
        return True
    if fun is ArrayBox.__getitem__ or fun is taken_at:
        return any(i > 0 and np.asarray(args[i]).dtype == bool for i in varying)
    if fun is _WHERE:
        return len(args) == 1
    return fun is anp.repeat and any(i > 0 for i in varying)


def may_raise(operation: Operation) -> bool:
    """Whether there are values of its arguments at which an operation raises an error.

    That is how it matters to a function which makes nothing of its result: a matrix without a Cholesky factor is
    outside the support, whatever the factor is for.
    """
    module = getattr(getattr(operation.fun, "fun", operation.fun), "__module__", None) or ""
    if ".linalg" in module:
        return True
    takes = operation.fun is ArrayBox.__getitem__ or operation.fun is taken_at
    return takes and any(position > 0 for position in operation.positions)


_WHERE = getattr(anp, "_original_where", anp.where)
_PLAIN = frozenset({np.ndarray, float, int, np.float64, np.int64, bool, slice, str, type(None)})
_COPIES = frozenset({numpy_wrapper._array_from_scalar_or_array})


def _holds_box(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return any(_holds_box(item) for item in value)
    return bool(isbox(value))


def _is_copy(operation: Operation) -> bool:
    """Whether ``np.array`` was given nothing to do."""
    return not operation.args[0] and not operation.args[1] and np.shape(operation.args[2]) == operation.shape


def identity_of(operation: Operation, parents: tuple[int, ...]) -> Any:
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
    """A value under recording, which takes part in operations but is not to be looked at.

    What a function learns of it in any other way (its truth, a number made of it, its hash, the value in the box) would
    be frozen at the draw that was recorded, so that is refused. Its type is that of its value, as far as a function can
    ask for it.
    """

    __slots__ = ["_held"]

    @property
    def _value(self) -> Any:
        # Autograd reads it at every operation; a function that reads it takes the value out.
        frame = sys._getframe(1)
        if frame.f_code is _GETVAL and frame.f_back is not None:
            frame = frame.f_back
        if _outside(frame):
            self._node.tape.refuse("the function takes the value of a latent out of autograd's box")
        return self._held

    @_value.setter
    def _value(self, value: Any) -> None:
        self._held = value

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return type(self._held) if _outside(sys._getframe(1)) else RecordBox

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_") and hasattr(self._held, name):
            self._node.tape.refuse(f"the function asks for .{name} of a latent, which autograd does not know")
        raise AttributeError(f"{type(self._held).__name__} has no attribute {name!r}")

    def __bool__(self) -> bool:
        return bool(self._node.tape.refuse("the function branches on the value of a latent"))

    def __float__(self) -> float:
        return float(self._node.tape.refuse("the function makes a plain number of a latent"))

    __int__ = __index__ = __complex__ = __float__

    def __hash__(self) -> int:
        if _outside(sys._getframe(1)):
            self._node.tape.refuse("the function looks a latent up in a table or a cache")
        return id(self)

    def __getitem__(self, index: Any) -> Any:
        # Inside a tuple data would be hidden from the recording.
        if isinstance(index, tuple) and any(map(isbox, index)):
            return taken_at(self, *index)
        return ArrayBox.__getitem__(self, index)

    def __invert__(self) -> Any:
        return anp.invert(self)

    def __and__(self, other: Any) -> Any:
        return anp.bitwise_and(self, other)

    def __or__(self, other: Any) -> Any:
        return anp.bitwise_or(self, other)

    __rand__ = __and__
    __ror__ = __or__
    __iand__, __ior__ = in_place.in_place(__and__), in_place.in_place(__or__)

    def __setitem__(self, index: Any, value: Any) -> None:
        self._node.tape.refuse("the function writes into a latent, or into what depends on one")

    def __delitem__(self, index: Any) -> None:
        self._node.tape.refuse("the function deletes a part of a latent")

    def __str__(self) -> str:
        if _outside(sys._getframe(1)):
            self._node.tape.refuse("the function makes a text of a latent")
        return str(ArrayBox.__str__(self))


for _operator, _change in in_place.OPERATORS.items():
    setattr(RecordBox, _operator, _change)


_RECORDED_TYPES = (np.ndarray, float, int, np.float64, np.float32, np.bool_, np.int64, np.int32, np.intp)
_lock = forks_wait_for(threading.RLock())
# Errors that only a fault in the code that raises them explains.
_FAULTS = (AssertionError, AttributeError, KeyError, NameError)


def is_own_fault(error: Exception) -> bool:
    """Whether an error that left a function under recording is a fault of the tracer, and not of what it met there."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None or trace.tb_frame.f_code is RecordBox.__getattr__.__code__:
        return False
    return isinstance(error, _FAULTS) and trace.tb_frame.f_code.co_filename.startswith(f"{_PACKAGE}batching{os.sep}")


def told(error: Exception) -> str:
    """An error of a function under recording in one line, with the user's line where it arose."""
    place, trace = "", error.__traceback__
    while trace is not None:
        if is_users(trace.tb_frame):
            place = f" ({Path(trace.tb_frame.f_code.co_filename).name}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return f"autograd's boxes met {type(error).__name__}: {error}{place}"


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
