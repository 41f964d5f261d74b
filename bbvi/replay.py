"""A function of one draw, recorded once through autograd's tracer and then evaluated for all draws at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.numpy.numpy_boxes import ArrayBox
from autograd.tracer import Box, Node, isbox, new_box, trace_stack

from .batching import ACCUMULATING, Batched, NoRule, Operation, compile_operation


class NotRecordable(Exception):
    """The function depends on the values of its latents in a way that no recording of one draw can show."""


class _Tape:
    """The operations of one recording, in the order in which they were carried out."""

    def __init__(self) -> None:
        self.operations: list[tuple[Operation, tuple[int, ...]]] = []
        self.size = 0

    def add(self) -> int:
        self.size += 1
        return self.size - 1


class _RecordNode(Node):
    __slots__ = ["tape", "slot"]

    def __init__(
        self,
        value: Any,
        fun: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        parent_argnums: tuple[int, ...],
        parents: tuple[_RecordNode, ...],
    ) -> None:
        fixed = [arg for i, arg in enumerate(args) if i not in parent_argnums]
        if any(_holds_box(arg) for arg in [*fixed, *kwargs.values()]):
            raise NotRecordable(f"{getattr(fun, '__name__', fun)} hides a latent inside one of its arguments")
        self.tape: _Tape = parents[0].tape
        shape = None if isinstance(value, tuple) else np.shape(value)
        operation = Operation(fun, tuple(args), dict(kwargs), tuple(parent_argnums), shape)
        self.tape.operations.append((operation, tuple(parent.slot for parent in parents)))
        self.slot: int = self.tape.add()

    def initialize_root(self, tape: _Tape) -> None:
        self.tape = tape
        self.slot = tape.add()


def _holds_box(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return any(_holds_box(item) for item in value)
    return bool(isbox(value))


class _RecordBox(ArrayBox):
    """A value under recording. Asking for its truth would freeze one draw's answer, so that is refused."""

    __slots__ = []

    def __bool__(self) -> bool:
        raise NotRecordable("the function branches on the value of a latent")

    __hash__ = ArrayBox.__hash__

    def __invert__(self) -> Any:
        return anp.invert(self)

    def __and__(self, other: Any) -> Any:
        return anp.bitwise_and(self, other)

    def __or__(self, other: Any) -> Any:
        return anp.bitwise_or(self, other)

    __rand__ = __and__
    __ror__ = __or__


_RECORDED_TYPES = (np.ndarray, float, np.float64, np.float32, np.bool_, np.int64, np.intp)
_lock = threading.RLock()


@contextmanager
def _recording_boxes() -> Iterator[None]:
    """For the time of a recording, autograd boxes arrays, numbers and also comparisons in `_RecordBox`."""
    with _lock:
        before, top = dict(Box.type_mappings), trace_stack.top
        try:
            Box.types.add(_RecordBox)
            Box.type_mappings.update(dict.fromkeys((*_RECORDED_TYPES, _RecordBox), _RecordBox))
            yield
        finally:
            Box.type_mappings.clear()
            Box.type_mappings.update(before)
            # A trace that an exception ends would otherwise stay on autograd's stack.
            trace_stack.top = top


Step = tuple[int, tuple[int, ...], Callable[..., Any], tuple[int, ...]]


class Recording:
    """A function of one draw in the form that evaluates many draws in one call.

    Parameters
    ----------
    function : callable
        Takes a dict of arrays, one draw, and returns an array, a number, or a dict of those.
    draw : mapping of str to ndarray
        The draw to record on; only its shapes matter later.
    loop : bool
        Whether operations without a batching rule may be looped over draws. If not, the recording is for plain
        arrays only.
    late : str, optional
        An argument that will be given last, and many times for the same values of the others; see `bind`.

    Raises
    ------
    NotRecordable
        If the function's course depends on the values of its latents, or an operation has no rule.
    """

    def __init__(
        self,
        function: Callable[[dict[str, Any]], Any],
        draw: Mapping[str, np.ndarray],
        *,
        loop: bool = True,
        late: str | None = None,
    ) -> None:
        tape = _Tape()
        with _recording_boxes(), trace_stack.new_trace() as trace:
            boxes = {
                name: new_box(np.asarray(value, dtype=float), trace, _RecordNode.new_root(tape))
                for name, value in draw.items()
            }
            result = function(boxes)
            named = result if isinstance(result, dict) else {"": result}
            self._outputs: dict[str, int | np.ndarray] = {
                name: value._node.slot if isbox(value) and value._trace == trace else _constant(value)
                for name, value in named.items()
            }
        self._is_dict = isinstance(result, dict)
        self._roots = {name: slot for slot, name in enumerate(draw)}
        self._size = tape.size
        wanted = {slot for slot in self._outputs.values() if isinstance(slot, int)}
        last: list[tuple[int, Operation, tuple[int, ...]]] = []
        needed = set(wanted)
        # Backwards, so that what no output needs is never carried out.
        for index in range(len(tape.operations) - 1, -1, -1):
            operation, parents = tape.operations[index]
            if len(draw) + index in needed:
                needed.update(parents)
                last.append((len(draw) + index, operation, parents))
        kept = last[::-1]
        depends = {self._roots[late]} if late is not None else set()
        for slot, _, parents in kept:
            if depends.intersection(parents):
                depends.add(slot)
        first = [entry for entry in kept if entry[0] not in depends]
        second = [entry for entry in kept if entry[0] in depends]
        crossing = {parent for _, _, parents in second for parent in parents}
        try:
            self._first = _program(first, wanted | crossing, owned=None, loop=loop)
            self._second = _program(second, wanted | {slot for slot, _, _ in first}, owned=depends, loop=loop)
        except NoRule as error:
            raise NotRecordable(str(error)) from None
        shapes = [operation.shape for _, operation, _ in kept if operation.shape is not None]
        self.largest = max([1, *(int(np.prod(shape)) for shape in shapes)])

    def __call__(self, draws: Mapping[str, Batched]) -> Any:
        """Evaluate all draws.

        Parameters
        ----------
        draws : mapping of str to array, shape (S, ...)
            Plain arrays, or autograd boxes where a derivative is wanted.

        Returns
        -------
        array, shape (S, ...), or a dict of those
        """
        values = self._begin(draws)
        _carry_out(self._first, values)
        _carry_out(self._second, values)
        return self._end(values, len(next(iter(draws.values()))))

    def bind(self, draws: Mapping[str, Batched]) -> tuple[dict[str, Any], Callable[[Batched], dict[str, Any]]]:
        """Carry out all that does not depend on the late argument.

        Returns the outputs that are known already, and the function of the late argument that gives the others.
        """
        count = len(next(iter(draws.values())))
        values = self._begin(draws)
        _carry_out(self._first, values)
        (late,) = set(self._roots) - set(draws)

        def rest(argument: Batched) -> dict[str, Any]:
            again = list(values)
            again[self._roots[late]] = argument
            _carry_out(self._second, again)
            return self._end(again, count)

        known = {
            name: slot
            for name, slot in self._outputs.items()
            if not isinstance(slot, int) or values[slot] is not None
        }
        return self._end(values, count, known), rest

    def _begin(self, draws: Mapping[str, Batched]) -> list[Any]:
        values: list[Any] = [None] * self._size
        for name, draw in draws.items():
            values[self._roots[name]] = draw
        return values

    def _end(self, values: list[Any], count: int, chosen: Mapping[str, int | np.ndarray] | None = None) -> Any:
        outputs = {
            name: values[slot] if isinstance(slot, int) else np.broadcast_to(slot, (count, *slot.shape))
            for name, slot in (self._outputs if chosen is None else chosen).items()
        }
        return outputs if self._is_dict else outputs[""]


def _program(
    entries: list[tuple[int, Operation, tuple[int, ...]]], keep: set[int], *, owned: set[int] | None, loop: bool
) -> list[Step]:
    """Compiled steps; each says which slots nobody needs after it, so that memory is used again while it is warm."""
    steps: list[Step] = []
    seen = set(keep)
    for slot, operation, parents in reversed(entries):
        dead = tuple(set(parents) - seen)
        seen.update(parents)
        # Only derivatives are recorded without loops, and nobody differentiates those again.
        apply = compile_operation(operation if loop else replace(operation, plain=True), loop=loop)
        if operation.fun in ACCUMULATING and owned is not None and len(parents) == 2 and parents[0] not in owned:
            # What was computed before is used again for the next value of the late argument.
            apply = _copying(apply)
        steps.append((slot, parents, apply, dead))
    return steps[::-1]


def _copying(apply: Callable[..., Any]) -> Callable[..., Any]:
    return lambda first, *rest: apply(np.array(first), *rest)


def _carry_out(steps: list[Step], values: list[Any]) -> None:
    for slot, parents, apply, dead in steps:
        values[slot] = apply(*[values[parent] for parent in parents])
        for gone in dead:
            values[gone] = None


def _constant(value: Any) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype == object:
        raise NotRecordable("the function returned an array of objects")
    return array
