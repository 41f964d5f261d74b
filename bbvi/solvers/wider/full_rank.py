"""`FullRank`: the best Gaussian of any covariance, by natural gradients in its own coordinates.

In standardized coordinates ``u = mean + L e`` the ELBO of N(mean, L L') has its optimum where E[g] = 0 and
E[-H] = I, with g and H gradient and Hessian of the log density in e (Opper and Archambeau 2009). Both
expectations come from gradients at draws, E[H] = E[g e'] (Stein's identity), or from values, as the regression of
these on 1, e and e e': the coefficients are then those of the score function with control variates that are perfect
for quadratic log joints. The step ``precision <- (1 - rho) I + rho E[-H]`` is a natural gradient (Khan and Rue
2023), and with rho = 1 exact for Gaussian targets; as rho = 1/k it averages what Monte Carlo error is left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bbvi.draws import iid, orthogonal
from bbvi.families import FullRankGaussian
from bbvi.solvers.wider.base import Task, Widened
from bbvi.status import Status
from bbvi.target.protocol import LogDensity, Values

Array = np.ndarray

_NOT_FINITE = "The log joint is not finite at draws of the full-rank Gaussian."


class Expected(NamedTuple):
    """At draws of q: log densities (S,), and E[g] (D,) and E[-H] (D, D) in standardized coordinates."""

    values: Array
    slope: Array
    curvature: Array

    @property
    def finite(self) -> bool:
        """Whether all of them are numbers."""
        return all(bool(np.isfinite(part).all()) for part in self)


class _Ended(Exception):
    """The search ended early; where, and why."""

    def __init__(self, q: FullRankGaussian, why: str) -> None:
        super().__init__(why)
        self.q = q


class Search(NamedTuple):
    """How a Gaussian is looked at: at so many fresh draws."""

    task: Task
    draws: int

    def look(self, q: FullRankGaussian) -> tuple[Array, Expected]:
        """Fresh standardized draws (S, D), and the expectations that they show."""
        task = self.task
        if task.over(2 * self.draws):
            raise _Ended(q, "The limits ended the search for the full-rank optimum.")
        # Balanced draws make Stein's identity exact for quadratics, and regression is so with any draws.
        e = (orthogonal if task.gradients else iid)(self.draws, q.dim, task.rng)
        found = by_gradients(task.differentiable, q, e) if task.gradients else by_values(task.target, q, e)
        if found.finite:
            bent = np.linalg.norm(found.curvature - np.eye(q.dim)) / np.sqrt(2.0)
            task.told(float(found.values.mean() + q.entropy()), float(np.hypot(np.linalg.norm(found.slope), bent)))
        return e, found

    def gain(self, q: FullRankGaussian, following: FullRankGaussian, e: Array, seen: Expected) -> float:
        """By how much the ELBO of draws at which the following one was looked at is higher than q's."""
        values = self.task.target.values(q.at(e))
        gained = seen.values.mean() - values.mean() + following.log_scale - q.log_scale
        return float(gained) if np.isfinite(gained) else np.inf


@dataclass(frozen=True)
class FullRank:
    """Gaussians of any covariance.

    Parameters
    ----------
    draws : int, optional
        Draws for a step; by default ``2 (D + 1)`` with gradients, 64 at least, and with values twice as many as a
        quadratic has coefficients.
    steps : int
        Steps at the most.
    most_latents, most_from_values : int
        Latents above which the covariance takes too many numbers, and too many values.
    reach : float
        By how much one step may change a sd at the most, as a factor.
    settled : float
        Nats; a step that gains less is followed by averaging.
    averaged : int
        Steps that are averaged at the least.
    sure : float
        Standard errors beyond which moves have a direction.
    """

    draws: int | None = None
    steps: int = 200
    most_latents: int = 2000
    most_from_values: int = 40
    reach: float = 2.0
    settled: float = 0.01
    averaged: int = 8
    sure: float = 4.0

    name = "full-rank"

    def __post_init__(self) -> None:
        if self.draws is not None and (not isinstance(self.draws, int | np.integer) or self.draws < 2):
            raise ValueError(f"FullRank: expected draws to be an integer of 2 or more, got {self.draws!r}")

    def refusal(self, dim: int, gradients: bool) -> str:
        """Why so many latents cannot be fitted, with gradients or by values alone; "" where they can."""
        if dim > self.most_latents:
            return f"a covariance of {dim} latents has too many numbers; use family='low-rank'"
        if not gradients and dim > self.most_from_values:
            return f"a covariance of {dim} latents takes too many values where there are no gradients"
        return ""

    def widen(self, task: Task) -> Widened:
        """Maximise the ELBO over the family; see `Family.widen`."""
        search = Search(task, self._count(task.dim, task.gradients))
        q, unknown = FullRankGaussian(task.start.mean, np.diag(task.start.sd)), np.full(task.dim, np.nan)
        try:
            q, taken = self._climbed(search, q)
            return self._averaged(search, q, task.tolerance, taken)
        except _Ended as ended:
            return Widened(ended.q, Status.BUDGET, str(ended), unknown, unknown)

    def _climbed(self, search: Search, q: FullRankGaussian) -> tuple[FullRankGaussian, int]:
        """The Gaussian from which steps gain next to nothing, on draws that they were not made from; their number."""
        rate = 1.0
        _, found = search.look(q)
        if not found.finite:
            raise _Ended(q, _NOT_FINITE)
        for taken in range(1, self.steps):
            following = self._moved(q, found, rate, self._newton(q, found))
            other, seen = search.look(following)
            gain = search.gain(q, following, other, seen) if seen.finite else -np.inf
            if gain < -self.settled:
                rate /= 2.0
                continue
            q, found, rate = following, seen, min(1.0, 2.0 * rate)
            if gain < self.settled:
                return q, taken
        raise _Ended(q, f"No full-rank optimum after {self.steps} steps.")

    def _averaged(self, search: Search, q: FullRankGaussian, tolerance: float, taken: int) -> Widened:
        """The average over fresh draws, until the error that these leave in the means is below the tolerance."""
        moves: list[Array] = []
        widths: list[Array] = []
        for k in range(1, max(self.steps - taken, self.averaged) + 1):
            _, found = search.look(q)
            if not found.finite:
                raise _Ended(q, _NOT_FINITE)
            # In coordinates in which q is standard the Newton step is the slope: the curvature of few draws is noise.
            moves.append(q.factor @ found.slope)
            bent = q.factor @ (np.eye(q.dim) - found.curvature)
            widths.append(np.sum(bent * q.factor, axis=1) / (2.0 * q.sd**2))
            q = self._moved(q, found, 1.0 / (k + 1), moves[-1])
            if k < self.averaged:
                continue
            se, log_sd_se = (np.std(each, axis=0, ddof=1) / np.sqrt(k) for each in (moves, widths))
            # What moves of the later half have in common is no Monte Carlo error but a way still to go.
            left = np.abs(np.mean(moves[k // 2 :], axis=0)) > self.sure * se + tolerance * q.sd
            worst = max(float(np.max(se / q.sd)), float(np.max(log_sd_se)))
            if worst < tolerance and not left.any():
                text = f"The full-rank ELBO is at its maximum; other draws move no mean or sd by over {worst:.2g} sds."
                return Widened(q, Status.CONVERGED, text, se, log_sd_se)
        raise _Ended(q, f"No full-rank optimum after {self.steps} steps.")

    def _count(self, dim: int, gradients: bool) -> int:
        if self.draws is not None:
            return int(self.draws) + int(self.draws) % 2
        return max(64, 2 * (dim + 1) if gradients else (dim + 1) * (dim + 2))

    def _newton(self, q: FullRankGaussian, found: Expected) -> Array:
        """The Newton step (D,) of the mean, no longer than is within reach."""
        values, vectors = np.linalg.eigh(found.curvature)
        step = vectors @ ((vectors.T @ found.slope) / np.clip(values, self.reach**-2.0, self.reach**2.0))
        length = np.linalg.norm(step) / (self.reach * np.sqrt(q.dim))
        return np.asarray(q.factor @ (step / max(length, 1.0)))

    def _moved(self, q: FullRankGaussian, found: Expected, rate: float, move: Array) -> FullRankGaussian:
        """The next Gaussian: so much of a move of the mean, and of the step of the precision."""
        values, vectors = np.linalg.eigh(found.curvature)
        precision = np.clip((1.0 - rate) + rate * values, self.reach**-2.0, self.reach**2.0)
        root = q.factor @ (vectors / np.sqrt(precision))
        # The triangular factor of root root': the transposed R of root', its signs made positive.
        triangle = np.asarray(np.linalg.qr(root.T, mode="r")).T
        factor = np.tril(triangle * np.sign(np.diag(triangle)))
        return FullRankGaussian(q.mean + rate * move, factor)


def by_gradients(target: LogDensity, q: FullRankGaussian, e: Array) -> Expected:
    """Expectations from gradients at the points that e (S, D) stand for: E[g] = mean g, E[H] = mean g e'."""
    values, gradients = target.gradients(q.at(e))
    g = gradients @ q.factor
    curvature = -(g.T @ e) / len(e)
    return Expected(values, g.mean(axis=0), (curvature + curvature.T) / 2.0)


def by_values(target: Values, q: FullRankGaussian, e: Array) -> Expected:
    """Expectations from values at the points that e (S, D) stand for, regressed on 1, e and e e'."""
    values = target.values(q.at(e))
    dim = e.shape[1]
    rows, columns = np.tril_indices(dim)
    # E[H] is what multiplies e e' / 2; off the diagonal each product stands once, for two entries.
    quadratic = e[:, rows] * e[:, columns] - (rows == columns)
    features = np.concatenate([np.ones((len(e), 1)), e, quadratic], axis=1)
    if not np.isfinite(values).all():
        return Expected(values, np.full(dim, np.nan), np.full((dim, dim), np.nan))
    coefficients = np.linalg.lstsq(features, values, rcond=None)[0]
    curvature = np.zeros((dim, dim))
    curvature[rows, columns] = -coefficients[1 + dim :]
    return Expected(values, coefficients[1 : 1 + dim], curvature + curvature.T)
