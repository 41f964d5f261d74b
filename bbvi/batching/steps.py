"""The steps of a replay: operations compiled for all draws, each of which reads its operands and puts its result."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from operator import itemgetter
from typing import Any

import numpy as np
from autograd.numpy.numpy_boxes import ArrayBox

from bbvi.batching.operations import Entry, elementwise
from bbvi.batching.rules import compile_operation
from bbvi.batching.tape import identity_of
from bbvi.stats.primitives import joint_partials

Array = np.ndarray

Step = Callable[[list[Any]], None]
# Results of fewer elements a draw are not worth the time that giving their memory back early would take.
_LARGE = 16
# As many elements taken from one array are taken all at once.
_MANY = 4


def mortal(entries: list[Entry], keep: set[int]) -> list[Entry]:
    """The entries with the slots that nobody needs after each, so that memory is used again while it is warm."""
    sizes = {entry.slot: entry.operation.shape for entry in entries}
    mortal, seen = [], set(keep)
    for entry in reversed(entries):
        gone = set(entry.parents) - seen
        seen |= gone
        small = {slot for slot in gone if math.prod(sizes.get(slot) or ()) < _LARGE}
        mortal.append(entry._replace(dead=tuple(gone - small)))
    return mortal[::-1]


def compiled(entry: Entry, known: Mapping[int, Any], plain: bool, loop: bool) -> tuple[Callable[..., Any], list[int]]:
    """The batched operation and the slots of its operands, with what is known of the data put in."""
    operation, parents = entry.operation, entry.parents
    if not known.keys().isdisjoint(parents):
        args, positions, varying = list(operation.args), [], []
        for position, parent in zip(operation.positions, parents, strict=True):
            if parent in known:
                args[position] = known[parent]
            else:
                positions.append(position)
                varying.append(parent)
        operation = replace(operation, args=tuple(args), positions=tuple(positions))
        parents = tuple(varying)
    operation.plain = plain
    return compile_operation(operation, loop=loop), list(parents)


def step_of(entry: Entry, compiled: tuple[Callable[..., Any], list[int]]) -> Step:
    """Reads its operands among the values and puts its result there."""
    apply, parents = compiled
    slot, dead = entry.slot, entry.dead
    if len(parents) == 1:
        (only,) = parents

        def step(values: list[Any]) -> None:
            values[slot] = apply(values[only])

    elif len(parents) == 2:
        one, other = parents

        def step(values: list[Any]) -> None:
            values[slot] = apply(values[one], values[other])

    else:
        operands = itemgetter(*parents)

        def step(values: list[Any]) -> None:
            values[slot] = apply(*operands(values))

    if not dead:
        return step

    def last(values: list[Any]) -> None:
        step(values)
        for gone in dead:
            values[gone] = None

    return last


def renewed(steps: list[Step], entries: list[Entry], known: Mapping[int, Any], loop: bool) -> list[Step]:
    """The steps with those compiled again that have data in them."""
    renewed = list(steps)
    for i, entry in enumerate(entries):
        if not known.keys().isdisjoint(entry.parents):
            renewed[i] = step_of(entry, compiled(entry, known, True, loop))
    return renewed


def share(steps: list[Step], entries: list[Entry], known: Mapping[int, Any]) -> None:
    """Work out the partial derivatives of one density at the same arguments together: they have much in common."""
    groups: dict[Any, list[int]] = {}
    for i, entry in enumerate(entries):
        if entry.operation.fun in joint_partials and known.keys().isdisjoint(entry.parents):
            joint, _ = joint_partials[entry.operation.fun]
            same = identity_of(replace(entry.operation, fun=joint), entry.parents)
            groups.setdefault(i if same is None else same, []).append(i)
    for places in filter(lambda group: len(group) > 1, groups.values()):
        operation = entries[places[0]].operation
        joint, _ = joint_partials[operation.fun]
        prepare = elementwise(replace(operation, fun=joint))
        wanted = [(entries[i].slot, joint_partials[entries[i].operation.fun][1]) for i in places]
        for i in places:
            steps[i] = _freeing(entries[i].dead)
        steps[places[0]] = _all_partials(prepare, entries[places[0]], wanted)


def _all_partials(prepare: Callable[..., Any], entry: Entry, wanted: list[tuple[int, int]]) -> Step:
    parents, dead = entry.parents, entry.dead

    def step(values: list[Any]) -> None:
        partial = prepare(*[values[parent] for parent in parents])
        for slot, position in wanted:
            values[slot] = partial(position)
        for gone in dead:
            values[gone] = None

    return step


def _freeing(dead: tuple[int, ...]) -> Step:
    def step(values: list[Any]) -> None:
        for gone in dead:
            values[gone] = None

    return step if dead else _nothing


def take_together(steps: list[Step], entries: list[Entry], known: Mapping[int, Any]) -> None:
    """Replace steps that take one element each from the same array by one step that takes them all."""
    taken: dict[int, list[int]] = {}
    for i, entry in enumerate(entries):
        operation = entry.operation
        if operation.fun is ArrayBox.__getitem__ and type(operation.args[1]) is int and not entry.dead:
            taken.setdefault(entry.parents[0], []).append(i)
    for parent, places in taken.items():
        if len(places) >= _MANY and parent not in known:
            pairs = [(entries[i].slot, entries[i].operation.args[1]) for i in places]
            steps[places[0]] = _take_all(parent, pairs)
            for i in places[1:]:
                steps[i] = _nothing


def _take_all(parent: int, pairs: list[tuple[int, int]]) -> Step:
    def step(values: list[Any]) -> None:
        rows = np.ascontiguousarray(np.moveaxis(values[parent], 1, 0))
        for slot, index in pairs:
            values[slot] = rows[index]

    return step


def _nothing(values: list[Any]) -> None:
    pass
