"""Which second derivatives are zero: seen at one draw, so that few products show the Hessian at the others.

In hierarchies and walks few latents meet. Columns of the Hessian that share no row can be had from one product with the
sum of their unit vectors (Curtis, Powell and Reid 1974); columns that meet all others, as those of scales, are asked
for one by one, and their rows follow by symmetry (Gebremedhin, Manne and Pothen 2005, section 4, treat both at once).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

Array = np.ndarray

# Latents from which fewer products are worth looking for, and the share of all that they may be.
FEWEST = 100
_WORTH = 0.5
# Differences of products that are the same, as a share of the largest: steps of differences leave as much.
_SAME = 1e-3


def probe_of(dim: int) -> Array:
    """A direction (D,) with no zeros and no pattern, which shows what was taken for zero and is not."""
    return np.asarray(np.cos(np.arange(dim) ** 2))


class Pattern(NamedTuple):
    """Columns that are asked for together.

    Attributes
    ----------
    directions : (K, D)
        Sums of unit vectors.
    alone : (G,)
        Columns asked for one by one, which the first G directions are.
    owners : (K - G, D)
        Which column of a group the row belongs to; -1 where none.
    """

    directions: Array
    alone: Array
    owners: Array

    def whole(self, products: Array) -> Array:
        """The matrix (D, D) from its products (K, D) with the directions."""
        count, dim = len(self.alone), self.directions.shape[1]
        matrix = np.zeros((dim, dim))
        for owner, product in zip(self.owners, products[count:], strict=True):
            rows = np.flatnonzero(owner >= 0)
            matrix[rows, owner[rows]] = product[rows]
        matrix[self.alone] = products[:count]
        matrix[:, self.alone] = products[:count].T
        return matrix

    def shows(self, products: Array, probe: Array, product: Array) -> bool:
        """Whether the matrix from its products (K, D) takes a probe (D,) to the product (D,) that was asked for."""
        off = np.abs(self.whole(products) @ probe - product)
        return bool(np.max(off, initial=0.0) <= _SAME * np.max(np.abs(product), initial=0.0))


def pattern_of(matrix: Array) -> Pattern | None:
    """Directions that show a symmetric matrix (D, D) with the zeros of this one; None where they are not much fewer."""
    dim = len(matrix)
    if dim < FEWEST:
        return None
    filled = (matrix != 0) | (matrix.T != 0)
    order = np.argsort(-filled.sum(axis=0), kind="stable")
    best: tuple[int, Array, Array] | None = None
    for count in [*range(8), *(2**k for k in range(3, int(np.log2(dim * _WORTH)) + 1))]:
        if best is not None and count >= best[0]:
            break
        alone = np.sort(order[:count])
        colours = _coloured(filled, alone)
        cost = count + int(colours.max()) + 1
        if cost < (dim * _WORTH if best is None else best[0]):
            best = cost, alone, colours
    return None if best is None else _pattern(filled, *best[1:])


def _coloured(filled: Array, alone: Array) -> Array:
    """A colour for each column (D,), -1 for those that stand alone; columns of one colour share no other row."""
    others = np.ones(len(filled), dtype=bool)
    others[alone] = False
    inner = (filled & np.outer(others, others)).astype(np.float32)
    meet, before = np.nonzero(np.tril(inner.T @ inner, -1))
    firsts = np.searchsorted(meet, np.arange(len(filled) + 1)).tolist()
    neighbours = before.tolist()
    colours = [-1] * len(filled)
    for column in np.flatnonzero(others).tolist():
        taken = 0
        for neighbour in neighbours[firsts[column] : firsts[column + 1]]:
            taken |= 1 << colours[neighbour]
        # The lowest bit that is not set.
        colours[column] = (~taken & (taken + 1)).bit_length() - 1
    return np.array(colours)


def _pattern(filled: Array, alone: Array, colours: Array) -> Pattern:
    dim, count = len(filled), int(colours.max()) + 1
    directions = np.zeros((len(alone) + count, dim))
    directions[np.arange(len(alone)), alone] = 1.0
    owners = np.full((count, dim), -1)
    rows_alone = np.zeros(dim, dtype=bool)
    rows_alone[alone] = True
    for column in np.flatnonzero(colours >= 0):
        directions[len(alone) + colours[column], column] = 1.0
        owners[colours[column], filled[:, column] & ~rows_alone] = column
    return Pattern(directions, alone, owners)
