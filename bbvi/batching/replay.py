"""A function of one draw, recorded once through autograd's tracer and then evaluated for all draws at once."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from autograd.tracer import isbox

from bbvi.batching.operations import Batched, Entry, NoRule
from bbvi.batching.rules import depends_on_values
from bbvi.batching.simplify import simplified
from bbvi.batching.steps import Step, compiled, mortal, renewed, share, step_of, take_together
from bbvi.batching.tape import NotRecordable, Tape, is_own_fault, may_raise, recording, slot_of, told

__all__ = ["NotRecordable", "Recording"]

# Elements that could be computed in the time that a call of NumPy takes for none.
_OVERHEAD = 1000


class Recording:
    """A function of one draw in the form that evaluates many draws in one call.

    Parameters
    ----------
    function : callable
        Takes a dict of arrays, one draw, and returns an array, a number, or a dict of those. With `data` it takes a
        dict of these as its second argument.
    draw : mapping of str to ndarray
        The draw to record on; only its shapes matter later.
    loop : bool
        Whether operations without a batching rule may be looped over draws. If not, the recording is for plain
        arrays only.
    late : str, optional
        An argument that will be given last, and many times for the same values of the others; see `bind`.
    data : mapping of str to ndarray, optional
        Arrays that are the same for all draws, and may later be others of the same shapes; see `with_data`.

    Attributes
    ----------
    recorded : value, or dict of values
        What the function returned at the draw that was recorded; None after `with_data`.
    inputs : list of str
        Names of what makes a draw.
    largest : int
        Elements of the largest result of an operation, for one draw.
    work : int
        Elements of all results, for one draw, and what it takes to carry the operations out at all.

    Raises
    ------
    NotRecordable
        If the function's course depends on the values of its latents or of `data`, or an operation has no rule.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        draw: Mapping[str, np.ndarray],
        *,
        loop: bool = True,
        late: str | None = None,
        data: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        with recording() as tape:
            boxes = {name: tape.root(np.asarray(value, dtype=float)) for name, value in draw.items()}
            given = {name: tape.root(value) for name, value in (data or {}).items()}
            try:
                result = function(boxes) if data is None else function(boxes, given)
            # What a function does with boxes instead of arrays is its own affair, and shows only that it wants arrays.
            except Exception as error:
                if is_own_fault(error):
                    raise
                raise NotRecordable(tape.refused or told(error)) from error
            if tape.refused:
                raise NotRecordable(tape.refused)
        named = result if isinstance(result, dict) else {"": result}
        self._is_dict = isinstance(result, dict)
        self._roots = {name: slot for slot, name in enumerate(draw)}
        self._data_roots = {name: len(draw) + i for i, name in enumerate(given)}
        self._size = len(tape.values)
        self._loop = loop
        self._outputs: dict[str, int | np.ndarray] = {}
        for name, value in named.items():
            slot = slot_of(value, tape)
            self._outputs[name] = _constant(value) if slot is None else slot
        values = {name: tape.values[slot] if isinstance(slot, int) else slot for name, slot in self._outputs.items()}
        self.recorded: Any = values if self._is_dict else values[""]
        self._sort(tape, late)
        shapes = [entry.operation.shape for entry in (*self._first, *self._second) if entry.operation.shape is not None]
        sizes = [math.prod(shape) for shape in shapes]
        self.largest, self.work = max([1, *sizes]), sum(sizes) + _OVERHEAD * max(len(sizes), 1)
        try:
            self._plain = self._steps(plain=True)
        except NoRule as error:
            raise NotRecordable(str(error)) from None
        self._traced: tuple[list[Step], list[Step]] | None = None

    def _sort(self, tape: Tape, late: str | None) -> None:
        """What is of the data alone, what then does not wait for the late argument, and what does."""
        wanted = {slot for slot in self._outputs.values() if isinstance(slot, int)}
        needed, entries = set(wanted), []
        # Backwards, so that what no output needs is never carried out, but where it may raise an error.
        for operation, parents, slot in reversed(tape.operations):
            if slot in needed or may_raise(operation):
                needed.update(parents)
                entries.append(Entry(operation, parents, slot))
        entries = simplified(reversed(entries), wanted)
        varies = set(self._roots.values())
        waits = set() if late is None else {self._roots[late]}
        of_data = set(self._data_roots.values())
        self._of_data: list[Entry] = []
        first: list[Entry] = []
        second: list[Entry] = []
        for entry in entries:
            if varies.isdisjoint(entry.parents):
                of_data.add(entry.slot)
                self._of_data.append(entry)
                continue
            varies.add(entry.slot)
            if waits.isdisjoint(entry.parents):
                first.append(entry)
            else:
                waits.add(entry.slot)
                second.append(entry)
        self._known = {slot: tape.values[slot] for slot in of_data}
        crossing = {parent for entry in second for parent in entry.parents}
        self._first = mortal(first, wanted | crossing)
        self._second = mortal(second, wanted | {entry.slot for entry in first})
        if any(depends_on_values(entry.operation, entry.parents, of_data) for entry in (*first, *second)):
            raise NotRecordable("the shape of a result depends on the values of the data")

    @property
    def inputs(self) -> list[str]:
        return list(self._roots)

    # ---- evaluation -------------------------------------------------------------------------------------------------

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
        for steps in self._program(draws):
            for step in steps:
                step(values)
        return self._end(values, len(next(iter(draws.values()))))

    def bind(self, draws: Mapping[str, Batched]) -> tuple[dict[str, Any], Callable[[Batched], dict[str, Any]], int]:
        """Carry out all that does not depend on the late argument.

        Returns the outputs that are known already, the function of the late argument that gives the others, and how
        many bytes that function holds for it.
        """
        count = len(next(iter(draws.values())))
        values = self._begin(draws)
        first, second = self._program(draws)
        for step in first:
            step(values)
        (late,) = set(self._roots) - set(draws)

        def rest(argument: Batched) -> dict[str, Any]:
            again = list(values)
            again[self._roots[late]] = argument
            for step in second:
                step(again)
            outputs: dict[str, Any] = self._end(again, count)
            return outputs

        known = {
            name: slot
            for name, slot in self._outputs.items()
            if not isinstance(slot, int) or slot in self._known or values[slot] is not None
        }
        ends = self._end(values, count, known)
        held = {parent for entry in self._second for parent in entry.parents}
        held.update(slot for slot in self._outputs.values() if isinstance(slot, int))
        values[:] = [value if slot in held else None for slot, value in enumerate(values)]
        return ends, rest, sum(getattr(value, "nbytes", 0) for value in values)

    def with_data(self, data: Mapping[str, np.ndarray]) -> Recording:
        """The recording of the same function with other data.

        Raises
        ------
        NotRecordable
            If a shape is not that of the data that it was recorded with.
        """
        known: dict[int, Any] = {}
        for name, slot in self._data_roots.items():
            known[slot] = data[name]
            if np.shape(data[name]) != np.shape(self._known[slot]):
                raise NotRecordable(f"{name} has shape {np.shape(data[name])}, not {np.shape(self._known[slot])}")
        for operation, parents, slot, _ in self._of_data:
            known[slot] = operation.call([known[parent] for parent in parents])
            if not isinstance(known[slot], tuple) and np.shape(known[slot]) != operation.shape:
                raise NotRecordable("the shape of a result depends on the values of the data")
        other = copy.copy(self)
        other._known, other.recorded = known, None
        other._traced = None
        other._plain = tuple(
            renewed(steps, entries, known, self._loop)
            for steps, entries in zip(self._plain, (self._first, self._second), strict=True)
        )  # type: ignore[assignment]
        return other

    def only(self, *names: str) -> Recording:
        """The part of the recording that these outputs need, which do not depend on the late argument."""
        other = copy.copy(self)
        other._outputs = {name: self._outputs[name] for name in names}
        wanted = {slot for slot in other._outputs.values() if isinstance(slot, int)}
        needed, kept = set(wanted), []
        for entry in reversed(self._first):
            if entry.slot in needed or may_raise(entry.operation):
                needed.update(entry.parents)
                kept.append(entry)
        other._roots = {name: slot for name, slot in self._roots.items() if slot in needed}
        other._first, other._second = mortal(kept[::-1], wanted), []
        other._traced = None
        other._plain = other._steps(plain=True)
        return other

    # ---- programs ---------------------------------------------------------------------------------------------------

    def _program(self, draws: Mapping[str, Batched]) -> tuple[list[Step], list[Step]]:
        if not any(isbox(draw) for draw in draws.values()):
            return self._plain
        if self._traced is None:
            self._traced = self._steps(plain=False)
        return self._traced

    def _steps(self, *, plain: bool) -> tuple[list[Step], list[Step]]:
        first, second = (
            [step_of(entry, compiled(entry, self._known, plain, self._loop)) for entry in entries]
            for entries in (self._first, self._second)
        )
        if plain:
            share(first, self._first, self._known)
            share(second, self._second, self._known)
            take_together(first, self._first, self._known)
            take_together(second, self._second, self._known)
        return first, second

    def _begin(self, draws: Mapping[str, Batched]) -> list[Any]:
        values: list[Any] = [None] * self._size
        for name, draw in draws.items():
            values[self._roots[name]] = draw
        return values

    def _end(self, values: list[Any], count: int, chosen: Mapping[str, int | np.ndarray] | None = None) -> Any:
        outputs = {}
        for name, slot in (self._outputs if chosen is None else chosen).items():
            if isinstance(slot, int) and slot not in self._known:
                outputs[name] = values[slot]
            else:
                constant = np.asarray(self._known[slot] if isinstance(slot, int) else slot)
                outputs[name] = np.broadcast_to(constant, (count, *constant.shape))
        return outputs if self._is_dict else outputs[""]


def _constant(value: Any) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype == object:
        raise NotRecordable("the function returned an array of objects")
    return array
