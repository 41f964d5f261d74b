"""Quantities of few values, such as indicators, counts and ranks: all their moments exist, and an sd says little."""

from __future__ import annotations

import numpy as np

Array = np.ndarray

# Draws that a quantity is looked at in, first and where it repeats itself.
_FIRST, _ALL = 64, 2048
# Values that are few whatever they are, and the share of the draws up to which those of a count are: such a quantity
# takes at least a third of the numbers in its range, which one with a heavy tail does not.
_FEW, _SHARE, _FILLED = 20, 0.05, 1.0 / 3.0


def few_valued(columns: Array) -> Array:
    """Which columns (S, R) take few values, (R,); one alone, which is a constant, counts."""
    few = np.asarray(_repeats(columns[:: max(len(columns) // _FIRST, 1)]))
    some = columns[:: max(len(columns) // _ALL, 1)]
    for column in np.flatnonzero(few):
        few[column] = _few(some[:, column])
    return few


def _repeats(x: Array) -> Array:
    """Whether a quarter of the draws (S, R) or more are the same as another, (R,)."""
    x = np.sort(x, axis=0)
    return np.asarray(np.count_nonzero(x[1:] == x[:-1], axis=0) >= len(x) // 4)


def _few(x: Array) -> bool:
    values = np.unique(x)
    if len(values) <= _FEW:
        return True
    with np.errstate(all="ignore"):
        filled = (len(values) - 1) * np.diff(values).min() >= _FILLED * (values[-1] - values[0])
    return bool(len(values) <= _SHARE * len(x) and filled)
