"""What lies beyond the outermost draws: along rays through them the density shows how much of an sd they miss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class BeyondPolicy:
    """How rays are followed.

    Attributes
    ----------
    far : float
        Sds from the mean at which an outermost draw is worth a look: of five thousand draws of a normal none is so far.
    quantities : int
        The most that are looked at, those with the furthest draws.
    outer, fewest : float, int
        Share of the weight on each side that counts as outermost, and draws at least.
    within, further, reach : int, int, float
        Points of a ray up to the outermost draws, and beyond them, up to so many times their distance.
    missing : float
        By how much an sd may be too small by that. On simulated posteriors (Student-t of 3 to 7 degrees of freedom,
        separated logistic regressions with such priors, inverse gamma, lognormal) it is within 0.03 of what is missing;
        where sds are right it is below 0.04, but for chains of Student-t 4 and 5 (0.06, where they are 4 % small).
    lower : float
        Nats by which the density must be lower at the outermost draws than in the middle.
    latents : int
        The most: a mean of outermost draws is far from none of them among few latents only.
    dear : float
        Of the evaluations so far, which rays may take where each counts.
    """

    far: float = 5.0
    quantities: int = 8
    outer: float = 0.005
    fewest: int = 5
    within: int = 40
    further: int = 40
    reach: float = 64.0
    missing: float = 0.07
    lower: float = 2.0
    latents: int = 50
    dear: float = 0.05

    @property
    def points(self) -> int:
        """Evaluations for one quantity."""
        return 2 * (self.within + self.further)


def beyond(
    values: Callable[[Array], Array],
    reported: Callable[[Array], Array],
    u: Array,
    weights: Array,
    most: int,
    policy: BeyondPolicy,
) -> Array:
    """By how much the sds (R,) of reported quantities are too small, relatively, by what no draw has seen.

    On each side of the mean m a ray ``u(r) = m + r (v - m)`` leads through the mean v of the outermost draws. Along it
    the ratio of the integrals of ``(c(r) - c)^2 p(u(r))`` beyond r = 1 and up to it, by the trapezoidal rule, says what
    the draws up to there leave to be found further out. Where a density falls off as a power that is a large part of a
    variance, of which few draws show little, and their weights or chains do not show that they do.

    Parameters
    ----------
    values : callable, (S, D) -> (S,)
        The log density.
    reported : callable, (S, D) -> (S, R)
        What is reported.
    u, weights : ndarray, shapes (S, D) and (S,)
        Draws, and weights that sum to one.
    most : int
        Quantities that may be looked at.
    """
    # Draws without weight may lie where a quantity is no number.
    u, weights = u[weights > 0], weights[weights > 0]
    columns = reported(u)
    with np.errstate(all="ignore"):
        mean = weights @ columns
        variances = weights @ (columns - mean) ** 2
        furthest = np.abs(columns - mean).max(axis=0) / np.sqrt(variances)
    furthest = np.where(np.isfinite(furthest), furthest, 0.0)
    found = np.zeros(len(mean))
    rows = [int(row) for row in np.argsort(-furthest, kind="stable")[:most] if furthest[row] > policy.far]
    if not rows:
        return found
    inner, outer = np.linspace(0.0, 1.0, policy.within) ** 2, np.geomspace(1.0, policy.reach, policy.further + 1)
    r = np.concatenate([inner, outer[1:]])
    middle = weights @ u
    sides = [(row, sign) for row in rows for sign in (1.0, -1.0)]
    ends = np.array([_outermost(sign * columns[:, row], u, weights, policy) for row, sign in sides])
    points = (middle + r[:, None] * (ends - middle)[:, None]).reshape(-1, u.shape[1])
    densities, reached = values(points).reshape(len(sides), -1), reported(points).reshape(len(sides), len(r), -1)
    for (row, sign), density, at in zip(sides, densities, reached, strict=True):
        x = np.maximum(sign * (columns[:, row] - mean[row]), 0.0)
        with np.errstate(all="ignore"):
            along = np.nan_to_num(np.maximum(sign * (at[:, row] - mean[row]), 0.0), posinf=0.0)
        found[row] += _second_moment(x, weights, r, density, along, policy)
    found[rows] = np.sqrt(found[rows] / variances[rows]) - 1.0
    return found


def _outermost(x: Array, u: Array, weights: Array, policy: BeyondPolicy) -> Array:
    """The mean (D,) of the draws u (S, D) at which x (S,) is largest."""
    order = np.argsort(-x)
    count = max(int(np.searchsorted(np.cumsum(weights[order]), policy.outer)) + 1, policy.fewest)
    chosen = order[:count]
    return np.asarray(weights[chosen] @ u[chosen] / weights[chosen].sum())


def _second_moment(x: Array, weights: Array, r: Array, density: Array, along: Array, policy: BeyondPolicy) -> float:
    """The second moment on one side: of draws x (S,) up to the outermost, and beyond by a ray's values `along` r."""
    last = policy.within - 1
    # Where a density is as high among the outermost draws as in the middle, it is their room that is small, as in the
    # neck of a funnel, and a line tells nothing of it.
    if not density[last] < density[0] - policy.lower:
        return float(weights @ x**2)
    with np.errstate(all="ignore"):
        terms = np.exp(density - density[np.isfinite(density)].max(initial=-np.inf)) * along**2
        pieces = np.nan_to_num(0.5 * (terms[1:] + terms[:-1]) * np.diff(r), posinf=0.0)
        ratio = pieces[last:].sum() / pieces[:last].sum()
    if not np.isfinite(ratio):
        return float(weights @ x**2)
    within = x <= along[last]
    return float(weights[within] @ x[within] ** 2 * (1.0 + ratio))
