"""Pointwise log likelihoods of more draws and observations than memory holds: part by part."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np

from bbvi.target.apart import tied
from bbvi.target.target import Target

Array = np.ndarray

# Arrays of draws x observations that are held at a time, those of smoothing and of replaying included.
_HELD = 12


def by_observations(target: Target, u: Array) -> Iterator[dict[str, Array]]:
    """Pointwise log likelihoods at all draws u (S, D), of consecutive observations: by variable (S, n, ...).

    As few at a time as fit into `max_memory`. Where the log likelihood of an observation is the same without the
    others, these are left out; else all are evaluated at some of the draws after the others, and kept in a temporary
    file.
    """
    model, most = target.model, target.max_memory / (len(u) * _HELD * 8.0)
    if elements(target) <= most:
        yield target.quantities("pointwise", u)
        return
    lengths = {np.shape(model.data[name])[:1] for name in model.observed if name in model.data}
    if len(lengths) == 1 and all(lengths) and not tied(model):
        count = model.observations()
        for rows in _spans(count, elements(target) / most):
            yield Target(model.subset(rows), threads=target.threads, max_memory=target.max_memory).quantities(
                "pointwise", u
            )
        return
    with ExitStack() as files:
        held: dict[str, Array] = {}
        for part in draw_parts(target, len(u)):
            for name, x in target.quantities("pointwise", u[part]).items():
                if name not in held:
                    file = files.enter_context(tempfile.TemporaryFile())
                    held[name] = np.memmap(file, x.dtype, "w+", shape=(len(u), *x.shape[1:]))
                held[name][part] = x
        for name, x in held.items():
            for rows in _spans(x.shape[1], x[0].size / most) if x.ndim > 1 else [slice(None)]:
                yield {name: np.array(x[:, rows] if x.ndim > 1 else x)}


def _spans(count: int, parts: float) -> list[slice]:
    """So many consecutive parts of `count`, or each by itself."""
    ends = np.linspace(0, count, min(int(np.ceil(parts)), count) + 1).astype(int)
    return [slice(a, b) for a, b in zip(ends, ends[1:], strict=False)]


def draw_parts(target: Target, draws: int) -> list[slice]:
    """Consecutive draws, few enough that all observations at them fit into `max_memory`."""
    count = int(np.clip(target.max_memory / (elements(target) * _HELD * 8.0), 1, max(draws, 1)))
    return [slice(start, start + count) for start in range(0, draws, count)]


def elements(target: Target) -> int:
    """Numbers that one draw of what is observed, or predicted, may come to: those of the largest such data."""
    model = target.model
    names = model.observed or tuple(model.data)
    return max([1, *(int(np.prod(np.shape(model.data[name]))) for name in names if name in model.data)])
