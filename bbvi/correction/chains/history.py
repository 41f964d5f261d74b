"""What chains went through, held once, and looked at a few quantities at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

Array = np.ndarray

# Numbers of a block: looks take several copies of it, and none of the whole.
_BLOCK = 2**21
# What is larger has no square that is a number.
HUGE = 1e150


class History:
    """Rows of all chains (C, R), one for each iteration, in one array of at most so many; it is filled as they come."""

    def __init__(self, most: int, earlier: Iterable[Array] = ()) -> None:
        self.most = most
        self.length = 0
        self._rows: Array | None = None
        for row in earlier:
            self.append(row)

    def append(self, row: Array) -> None:
        """One iteration more."""
        if self._rows is None:
            # Memory that is not written to is not taken.
            self._rows = np.empty((self.most, *row.shape))
        self._rows[self.length] = row
        self.length += 1

    @property
    def rows(self) -> Array:
        """(T, C, R)."""
        return np.empty((0, 0, 0)) if self._rows is None else self._rows[: self.length]


def blocks(x: Array) -> Iterator[Array]:
    """Quantities (T, C, R), a few at a time.

    What is too large for its square to be a number is told elsewhere, and counts as zero.
    """
    steps, chains, count = x.shape
    width = max(_BLOCK // (steps * chains), 1)
    for first in range(0, count, width):
        part = x[:, :, first : first + width]
        with np.errstate(invalid="ignore"):
            yield np.where(np.abs(part) < HUGE, part, 0.0)


def by_block(look: Callable[[Array], Array], x: Array) -> Array:
    """What a look finds of each quantity (R,), of all of them."""
    return np.concatenate([look(part) for part in blocks(x)])


def flattened(x: Array) -> Array:
    """Of all iterations (T, C, R), one below the other."""
    return x.reshape(-1, x.shape[-1])


class Moments(NamedTuple):
    """Means and sds (R,)."""

    mean: Array
    sd: Array


def moments(x: Array) -> Moments:
    """Of quantities (T, C, R), whose squares may overflow."""
    found = [(part.mean(axis=(0, 1)), _sd(part)) for part in blocks(x)]
    return Moments(*(np.concatenate(each) for each in zip(*found, strict=True)))


def moments_of(rows: Iterable[Array]) -> Moments:
    """Of quantities that come one iteration (C, R) after the other, and are not kept (Chan, Golub and LeVeque 1983)."""
    count, mean, squares = 0, np.zeros(0), np.zeros(0)
    for row in rows:
        with np.errstate(invalid="ignore"):
            x = np.where(np.abs(row) < HUGE, row, 0.0)
        if not count:
            mean, squares = np.zeros(x.shape[1]), np.zeros(x.shape[1])
        both, step = count + len(x), x.mean(axis=0) - mean
        squares += x.var(axis=0) * len(x) + step**2 * (count * len(x) / both)
        mean, count = mean + step * (len(x) / both), both
    return Moments(mean, np.sqrt(squares / max(count, 1)))


def unbounded(x: Array) -> Array:
    """Which quantities (R,) are infinite, or no number, at some iteration."""
    with np.errstate(invalid="ignore"):
        return np.asarray(~np.all([np.all(np.abs(row) < HUGE, axis=0) for row in x], axis=0))


def _sd(x: Array) -> Array:
    largest = np.max(np.abs(x), axis=(0, 1))
    scale = np.where(largest > 0, largest, 1.0)
    return np.asarray(scale * np.std(x / scale, axis=(0, 1)))
