"""A surrogate beside evaluations that it was not fitted to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bbvi.correction.pool import Evaluated
from bbvi.solvers.from_values.process import Process

Array = np.ndarray

# Nats by which a surrogate is taken to be off at the most.
MOST = 20.0
# What is lower has no square that is a number, and is nothing to a surrogate.
_ABYSS = -1e100
# What the errors of a surrogate are enlarged by that no evaluation has confirmed.
UNSEEN = 3.0


@dataclass(frozen=True, eq=False)
class Compared:
    """A surrogate, and its residuals (M,) at fresh evaluations, in nats, plain and standardized."""

    process: Process
    residual: Array
    standard: Array

    @classmethod
    def of_others(cls, process: Process, fresh: Evaluated) -> Compared:
        """Compared with evaluations that it was not given."""
        if not len(fresh.u):
            return cls(process, np.empty(0), np.empty(0))
        e = process.frame.whiten(fresh.u)
        residual = np.where(usable(fresh.log_density), fresh.log_density - process.mean(e), -MOST)
        return cls(process, residual, residual / np.sqrt(process.variance(e) + process.noise_sd**2))

    @classmethod
    def of_own(cls, process: Process, rows: Array, count: int) -> Compared:
        """Compared with `count` evaluations that it was given in these rows, if they were finite, each left out."""
        residual, variance = process.left_out()
        lost = np.full(count - len(rows), -MOST)
        return cls(
            process,
            np.concatenate([residual[rows], lost]),
            np.concatenate([residual[rows] / np.sqrt(variance[rows]), lost]),
        )

    @property
    def plain(self) -> float:
        """Root mean square of the residuals, in nats."""
        return float(np.sqrt(np.mean(self.residual**2))) if len(self.residual) else float("nan")

    @property
    def standardized(self) -> float:
        """Root mean square of the standardized ones; what is taken for it where there are none."""
        return float(np.sqrt(np.mean(np.minimum(self.standard**2, 1e4)))) if len(self.standard) else UNSEEN


def usable(log_density: Array) -> Array:
    """Which log densities a surrogate may be compared with, and given."""
    return np.asarray(np.isfinite(log_density) & (log_density > _ABYSS))


def left_out(process: Process) -> float:
    """Root mean square of the standardized residuals of values where the posterior is, each to all the others."""
    residual, variance = process.left_out()
    counting = process.shaped == 0
    return float(np.sqrt(np.mean(np.minimum(residual**2 / variance, 1e4)[counting]))) if counting.any() else UNSEEN
