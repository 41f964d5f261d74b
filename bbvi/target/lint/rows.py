"""Rows of data that never reach the log joint, and indices that count from the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from bbvi.target.lint.finding import POLICY, Finding, LintPolicy, listed
from bbvi.target.lint.look import Look, Step

_INDEXING = ("__getitem__", "taken_at", "getitem")


def left_out(look: Look, policy: LintPolicy = POLICY) -> Iterator[Finding]:
    """Data of which only a row or two reach the log joint: a loop that keeps its last turn, or returns in its first."""
    reached = _reached(look)
    few: dict[str, int] = {}
    for name, root in look.data.items():
        shape = np.shape(look.model.data[name])
        users = [step for step in look.steps.values() if step.slot in reached and root in step.parents]
        if not users or not shape or shape[0] < policy.least_rows:
            continue
        used = np.zeros(shape, dtype=bool)
        for step in users:
            used[_index(step) if step.name in _INDEXING and step.arguments[0].slot == root else ...] = True
        few[name] = int(used.reshape(shape[0], -1).any(axis=1).sum())
    # Where more is used of other data, a first value may be all that was wanted.
    if few and max(few.values()) <= policy.few_rows:
        yield Finding(
            "rows-left-out",
            "caution",
            f"of all the rows of the data {listed(list(few))} the log joint has {max(few.values())} in it; in a loop, "
            "add to what was there before, and return after it",
        )


def from_the_end(look: Look, adjoints: Mapping[int, Any]) -> Iterator[Finding]:
    """Indices made of data, negative in places, where what is fetched from the end counts (`adjoints` by slot)."""
    latents = look.model.latents
    for step in look.steps.values():
        if step.name not in _INDEXING or step.slot not in adjoints:
            continue
        fetched = step.arguments[0]
        # Who puts a value for -1 at the end of an array makes it longer than the latent.
        shapes = [latents[name].shape for name in look.source(fetched) if name in latents]
        if np.shape(fetched.plain) not in shapes:
            continue
        for axis, index in enumerate(step.arguments[1:]):
            plain = index.plain
            if not isinstance(plain, np.ndarray) or plain.dtype.kind != "i" or not look.source(index):
                continue
            below = plain < 0
            # Who goes round a ring of neighbours fetches each once; all from the end is meant as well.
            ring = len(np.unique(plain % np.shape(fetched.plain)[axis])) == plain.size
            lead = np.shape(step.value)[: plain.ndim] == plain.shape
            if ring or below.all() or not lead or not np.any(np.asarray(adjoints[step.slot])[below] != 0):
                continue
            yield Finding(
                "index-from-end",
                "caution",
                f"{look.describe(fetched)} is indexed by {look.describe(index)}, which is {plain[below][0]} in "
                f"{np.count_nonzero(below)} of {plain.size} places, and that counts from the end; let indices begin "
                "at 0, and give what has none a value of its own",
            )
            return


def _reached(look: Look) -> set[int]:
    """Slots on some way to the log joint."""
    found: set[int] = set()
    pending = [] if look.end is None else [look.end]
    while pending:
        slot = pending.pop()
        if slot not in found:
            found.add(slot)
            pending += look.steps[slot].parents if slot in look.steps else []
    return found


def _index(step: Step) -> Any:
    index = tuple([a.plain for a in step.arguments[1:]])
    return index[0] if step.name != "taken_at" and len(index) == 1 else index
