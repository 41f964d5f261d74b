"""Pointwise log likelihoods of more draws and observations than memory holds: part by part."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bbvi.target.target import Target

Array = np.ndarray

# Arrays of draws x observations that are held at a time, those of smoothing and of replaying included.
_HELD = 12


def row_parts(target: Target, draws: int) -> Iterator[Target]:
    """Targets of consecutive observations, few enough that so many draws of them fit into `max_memory`.

    The target itself where they all do, or where observations have no common length.
    """
    model = target.model
    lengths = {np.shape(model.data[name])[:1] for name in model.observed if name in model.data}
    if elements(target) * draws * _HELD * 8.0 <= target.max_memory or len(lengths) != 1 or not all(lengths):
        yield target
        return
    count = model.observations()
    parts = int(np.ceil(elements(target) * draws * _HELD * 8.0 / target.max_memory))
    ends = np.linspace(0, count, min(parts, count) + 1).astype(int)
    for start, stop in zip(ends, ends[1:], strict=False):
        yield Target(model.subset(slice(start, stop)), threads=target.threads, max_memory=target.max_memory)


def draw_parts(target: Target, draws: int) -> list[slice]:
    """Consecutive draws, few enough that all observations at them fit into `max_memory`."""
    count = int(np.clip(target.max_memory / (elements(target) * _HELD * 8.0), 1, max(draws, 1)))
    return [slice(start, start + count) for start in range(0, draws, count)]


def elements(target: Target) -> int:
    """Numbers that one draw of what is observed, or predicted, may come to: those of the largest such data."""
    model = target.model
    names = model.observed or tuple(model.data)
    return max([1, *(int(np.prod(np.shape(model.data[name]))) for name in names if name in model.data)])
