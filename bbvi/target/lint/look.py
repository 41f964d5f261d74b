"""One look at a model: its log joint carried out once, with its operations and its calls of densities."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.core import VJPNode, add_outgrads
from autograd.tracer import getval, notrace_primitives

from bbvi.batching.autodiff import vjp_maker
from bbvi.batching.tape import NotRecordable, Tape, recording, slot_of
from bbvi.model.model import Model
from bbvi.stats.primitives import watching
from bbvi.target.evaluator import NUMERICAL
from bbvi.target.target import Target

Array = np.ndarray
logger = logging.getLogger("bbvi")

# What a function that wants plain arrays may do with autograd's boxes, and autograd where it has no derivative.
UNTRACEABLE = (
    NotRecordable,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
# What a sum of terms is made of.
_SUMS = frozenset({"add", "subtract", "negative", "sum", "reshape", "ravel", "concatenate_args", "array_from_args"})
SCALINGS = frozenset({"multiply", "divide", "true_divide"})
# Stands for arrays that are no data of the model, such as those of a function's surroundings.
ELSEWHERE = ""


@dataclass(frozen=True)
class Value:
    """An argument of an operation: its value, and its slot where it depends on latents or data."""

    plain: Any
    slot: int | None

    @property
    def size(self) -> int:
        return int(np.size(self.plain))


@dataclass(frozen=True)
class Call:
    """A call of a density or of another function of ``bbvi.stats``."""

    name: str
    arguments: tuple[Value, ...]
    value: Any


@dataclass(frozen=True)
class Step:
    """An operation of the log joint, with its result and the slot of that."""

    fun: Callable[..., Any]
    arguments: tuple[Value, ...]
    kwargs: Mapping[str, Any]
    value: Any
    slot: int

    @property
    def name(self) -> str:
        return str(getattr(self.fun, "__name__", self.fun))

    @property
    def parents(self) -> list[int]:
        return [argument.slot for argument in self.arguments if argument.slot is not None]


@dataclass(frozen=True)
class Look:
    """The log joint at one draw.

    Attributes
    ----------
    latents, data : dict of str to int
        Slots of the latents and of those data that were recorded; none where the function wants plain arrays.
    steps : dict of int to Step
        By slot, in their order.
    origins : dict of int to frozenset of str
        By slot, the latents and data that it is computed from; `ELSEWHERE` for arrays of the surroundings.
    calls : list of Call
    returned : int or None
        Slot of what ``log_joint`` (or ``log_prior``) returned.
    end : int or None
        Slot of the log joint.
    value : float
    """

    model: Model
    latents: dict[str, int] = field(default_factory=dict)
    data: dict[str, int] = field(default_factory=dict)
    steps: dict[int, Step] = field(default_factory=dict)
    origins: dict[int, frozenset[str]] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    returned: int | None = None
    end: int | None = None
    value: float = np.nan

    # ---- names ------------------------------------------------------------------------------------------------------

    def source(self, value: Value) -> frozenset[str]:
        """The latents and data that a value is computed from."""
        if value.slot is not None:
            return self.origins[value.slot]
        name = self._data_that_equals(value.plain)
        return frozenset() if name is None else frozenset({name})

    def latent_free(self, value: Value) -> bool:
        """Whether a value is the same at all draws, as far as can be seen."""
        if value.slot is not None:
            return self.origins[value.slot].isdisjoint(self.model.latents)
        # Without a recording only what equals data is known to be none of the latents'; integers are defaults.
        return bool(self.latents) or isinstance(value.plain, int) or self._data_that_equals(value.plain) is not None

    def describe(self, value: Value) -> str:
        """Where a value comes from, in words."""
        names = sorted(self.source(value) - {ELSEWHERE})
        roots = {**self.latents, **self.data}
        if len(names) == 1 and (value.slot is None or value.slot == roots.get(names[0])):
            return self.kind(names[0])
        return f"what is computed from {', '.join(map(self.kind, names))}" if names else "an array"

    def kind(self, name: str) -> str:
        return f"the {'latent' if name in self.model.latents else 'data'} {name!r}"

    def _data_that_equals(self, x: Any) -> str | None:
        if not isinstance(x, np.ndarray) or not x.size:
            return None
        for name, data in self.model.data.items():
            if isinstance(data, np.ndarray) and data.shape == x.shape and data.dtype.kind in "fiub":
                if x is data or np.array_equal(data, x, equal_nan=data.dtype.kind == "f"):
                    return name
        return None

    # ---- the sum that the log joint is ------------------------------------------------------------------------------

    def summed(self, end: int | None) -> list[int]:
        """Slots of all that is only added up, and scaled by constants, on its way to `end`, itself first."""
        if end is None:
            return []
        found, pending = [], [end]
        seen = {end}
        while pending:
            slot = pending.pop()
            found.append(slot)
            step = self.steps.get(slot)
            if step is None or not self.adds(step):
                continue
            for parent in step.parents:
                if parent not in seen:
                    seen.add(parent)
                    pending.append(parent)
        return found

    def adds(self, step: Step) -> bool:
        """Whether a step only adds, rearranges, or scales by a number that is neither a latent nor data."""
        if step.name in SCALINGS:
            # What is multiplied by data is a term that has data in it.
            free = [self.latent_free(a) and a.size == 1 and not self.source(a) for a in step.arguments]
            return free in ([False, True], [True, False]) if step.name == "multiply" else free == [False, True]
        return step.name in _SUMS

    def leaves(self) -> list[int]:
        """Slots of the terms of the log joint."""
        found = self.summed(self.end)
        return [slot for slot in found if slot not in self.steps or not self.adds(self.steps[slot])]

    # ---- derivatives ------------------------------------------------------------------------------------------------

    def pulled_back(self, seeds: Mapping[int, Any]) -> tuple[dict[int, Any], tuple[Step, int] | None]:
        """Adjoints of all slots that depend on latents, and the first step that makes one that is no number.

        With the step comes the position of the argument whose adjoint is none. Adjoints stop there.
        """
        flat = notrace_primitives[VJPNode]
        varies = {slot for slot, names in self.origins.items() if not names.isdisjoint(self.model.latents)}
        totals: dict[int, Any] = {slot: (seed, False) for slot, seed in seeds.items()}
        with np.errstate(all="ignore"):
            for slot, step in reversed(self.steps.items()):
                if slot not in totals or step.fun in flat or slot not in varies:
                    continue
                gradient = totals[slot][0]
                pairs = [(i, a.slot) for i, a in enumerate(step.arguments) if a.slot is not None and a.slot in varies]
                wanted = [i for i, _ in pairs]
                plain = tuple([a.plain for a in step.arguments])
                parts = vjp_maker(step.fun)(tuple(wanted), step.value, plain, dict(step.kwargs))(gradient)
                for (position, parent), part in zip(pairs, parts, strict=True):
                    totals[parent] = add_outgrads(totals.get(parent), part)
                    if not _finite(part):
                        return {key: total[0] for key, total in totals.items()}, (step, position)
        return {key: total[0] for key, total in totals.items()}, None


def _finite(x: Any) -> bool:
    if isinstance(x, (tuple, list)):
        return all(map(_finite, x))
    return not isinstance(x, (np.ndarray, float, int)) or bool(np.isfinite(x).all())


def look(target: Target, u: Array, data_too: bool = True) -> Look:
    """Carry out the log joint at draw `u` (D,), recorded with the latents and the data where it bears that.

    Each try counts as an evaluation.
    """
    model = target.near
    with np.errstate(all="ignore"):
        draws = target.constrain(np.asarray(u, dtype=float)[None])[0]
    draw = {name: np.array(x[0]) for name, x in draws.items()}
    if not model.vectorized and {"log_joint", "log_prior"} & set(model.functions) and target.recorded:
        arrays = {name: x for name, x in model.data.items() if isinstance(x, np.ndarray) and x.dtype.kind in "fiub"}
        for given in ([arrays] if data_too and arrays else []) + [{}]:
            target.evaluations += 1
            try:
                return _recorded(model, draw, given)
            except UNTRACEABLE as error:
                logger.info("the operations of the log joint are not looked at: %s", error)
    target.evaluations += 1
    notes: list[tuple[str, Sequence[Any], Any]] = []
    values = {name: x[None] for name, x in draw.items()} if model.vectorized else draw
    try:
        with np.errstate(all="ignore"), watching(lambda *note: notes.append(note)):
            value = float(np.sum(getval(model.density(values))))
    except NUMERICAL as error:
        logger.info("the log joint is not looked at: %s", error)
        return Look(model)
    calls = [Call(name, tuple([Value(a, None) for a in args]), out) for name, args, out in notes]
    return Look(model, calls=calls, value=value)


def _recorded(model: Model, draw: Mapping[str, Array], data: Mapping[str, Array]) -> Look:
    notes: list[tuple[str, Sequence[Any], Any]] = []
    with np.errstate(all="ignore"), recording() as tape, watching(lambda *note: notes.append(note)):
        boxes = {name: tape.root(x) for name, x in draw.items()}
        given = {name: tape.root(x) for name, x in data.items()}
        boxed = model.with_data(**given) if given else model
        returned = boxed.call("log_joint" if "log_joint" in model.functions else "log_prior", boxes)
        total = anp.sum(anp.array(returned))
        if "log_likelihood" in model.functions:
            for part in boxed.pointwise(boxes).values():
                total = total + anp.sum(part)
        if not np.isscalar(getval(total)) and np.shape(getval(total)):
            raise NotRecordable("the log joint is no number")

        def value(x: Any) -> Value:
            return Value(_plain(x, tape), slot_of(x, tape))

        calls = [Call(name, tuple(map(value, args)), _plain(out, tape)) for name, args, out in notes]
        latents = {name: box._node.slot for name, box in boxes.items()}
        roots = {name: box._node.slot for name, box in given.items()}
        end, returned = slot_of(total, tape), slot_of(returned, tape)
    steps = _steps(tape)
    return Look(
        model, latents, roots, steps, _origins(steps, {**latents, **roots}), calls, returned, end, float(getval(total))
    )


def _plain(x: Any, tape: Tape) -> Any:
    slot = slot_of(x, tape)
    return x if slot is None else tape.values[slot]


def _steps(tape: Tape) -> dict[int, Step]:
    """The operations of a tape; all that is asked of its internals is here."""
    steps = {}
    for operation, parents, slot in tape.operations:
        slots = dict(zip(operation.positions, parents, strict=True))
        arguments = tuple(
            [Value(tape.values[slots[i]] if i in slots else a, slots.get(i)) for i, a in enumerate(operation.args)]
        )
        steps[slot] = Step(operation.fun, arguments, operation.kwargs, tape.values[slot], slot)
    return steps


def _origins(steps: Mapping[int, Step], roots: Mapping[str, int]) -> dict[int, frozenset[str]]:
    origins = {slot: frozenset({name}) for name, slot in roots.items()}
    for slot, step in steps.items():
        own = frozenset().union(*(origins[parent] for parent in step.parents))
        if any(a.slot is None and isinstance(a.plain, np.ndarray) and a.plain.size > 1 for a in step.arguments):
            own |= {ELSEWHERE}
        origins[slot] = own
    return origins
