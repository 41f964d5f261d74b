"""What a stochastic step maximises: a mini-batch corrected by the whole, and a density with draws that failed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bbvi.estimators.cost import TargetCost
from bbvi.families import MeanFieldGaussian
from bbvi.target.protocol import LogDensity

Array = np.ndarray


class Anchor(NamedTuple):
    """A point (D,) with the whole target's value and gradient (D,) there."""

    point: Array
    value: float
    gradient: Array


class Anchored(TargetCost):
    """A mini-batch whose error is corrected by what it is at the anchor, to first order.

    There the batch and the whole are both known. Near it, where q is, their difference changes little (Johnson and
    Zhang 2013, eq. 2): f_B(z) - f_B(a) - g_B(a)'(z - a) + f(a) + g(a)'(z - a) is unbiased, and its variance falls with
    the distance of z from a.
    """

    def __init__(self, part: LogDensity, anchor: Anchor) -> None:
        super().__init__(part)
        self.anchor = anchor

    def gradients(self, z: Array) -> tuple[Array, Array]:
        """Values (S,) and gradients (S, D)."""
        point, value, gradient = self.anchor
        values, gradients = super().gradients(np.concatenate([z, point[None]]))
        if not (np.isfinite(values[-1]) and np.all(np.isfinite(gradients[-1]))):
            return values[:-1], gradients[:-1]
        error = gradients[-1] - gradient
        return values[:-1] - (values[-1] - value) - (z - point) @ error, gradients[:-1] - error


class Surviving:
    """A cost in which a minority of draws without a finite value stand for a density that falls off there.

    Their gradient is that of log q, made as steep as the steepest of the others, which moves q away from them
    and narrows it; their value is below the lowest of the others by the range of those. Where they are the
    majority nothing is replaced.
    """

    entropy = True

    def __init__(self, cost: TargetCost, q: MeanFieldGaussian) -> None:
        self.cost, self.q = cost, q
        self.replaced = 0

    def values(self, z: Array) -> Array:
        """Values (S,)."""
        return self._repaired(self.cost.values(z)[:, None])[:, 0]

    def terms(self, z: Array) -> Array:
        """Terms (S, T)."""
        return self._repaired(self.cost.terms(z))

    def gradients(self, z: Array) -> tuple[Array, Array]:
        """Values (S,) and gradients (S, D)."""
        values, gradients = self.cost.gradients(z)
        bad = ~(np.isfinite(values) & np.all(np.isfinite(gradients), axis=1))
        if self._hopeless(bad):
            return values, gradients
        eps = self.q.standardize(z)
        with np.errstate(over="ignore"):
            slopes = np.linalg.norm(gradients * self.q.sd, axis=1) / np.linalg.norm(eps, axis=1)
        values = self._repaired(np.where(bad, np.nan, values)[:, None])[:, 0]
        return values, np.where(bad[:, None], -max(np.max(slopes[~bad]), 2.0) * eps / self.q.sd, gradients)

    def _repaired(self, terms: Array) -> Array:
        bad = ~np.all(np.isfinite(terms), axis=1)
        if self._hopeless(bad):
            return terms
        self.replaced += int(np.sum(bad))
        lowest, highest = np.min(terms[~bad], axis=0), np.max(terms[~bad], axis=0)
        return np.where(bad[:, None], 2.0 * lowest - highest, terms)

    @staticmethod
    def _hopeless(bad: Array) -> bool:
        return not np.any(bad) or 2 * np.sum(bad) > bad.size
