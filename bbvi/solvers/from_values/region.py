"""Steps of a trust region towards the posterior, on a surrogate of few values.

From afar the surrogate is followed to its highest point within a radius in its own metric, where it is evaluated, with
a few points around that tell it most. The radius grows where it promised what came, and shrinks where it did not (Conn,
Scheinberg and Vicente 2009, chapter 10, with a Gaussian process in the place of the quadratic).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bbvi.solvers.from_values.process import POLICY as PROCESS
from bbvi.solvers.from_values.process import Frame, Process, full_radius

Array = np.ndarray


@dataclass(frozen=True)
class RegionPolicy:
    """How far a surrogate is followed.

    Attributes
    ----------
    radius : float
        At the start, in sds of the first scales.
    smallest, largest : float
        Radii; the largest in those of a whole posterior.
    good, bad : float
        Shares of the promised gain from which the radius grows, and below which it shrinks.
    grow, shrink : float
        Its factors.
    near : float
        Nats that are left to gain when the region has arrived.
    flattest, steepest : float
        Curvatures, in the old metric, that the new one may follow.
    farthest : float
        Radii from which on values are of no use, whatever there is.
    values : int
        The most that the surrogate is given: those nearby, and high.
    steps : int
        Of the ascent.
    """

    radius: float = 3.0
    smallest: float = 0.05
    largest: float = 4.0
    good: float = 0.7
    bad: float = 0.2
    grow: float = 2.0
    shrink: float = 0.4
    near: float = 1.0
    flattest: float = 0.1
    steepest: float = 30.0
    farthest: float = 50.0
    values: int = 150
    steps: int = 30


POLICY = RegionPolicy()
# Newton's lengths that are tried at once.
_LENGTHS = np.array([2.0, 1.0, 0.5, 0.2, 0.05])


def nearby(frame: Frame, u: Array, values: Array, radius: float, policy: RegionPolicy = POLICY) -> Array:
    """Rows of the values that a surrogate of the region is given."""
    dim = len(frame.centre)
    far = np.linalg.norm(frame.whiten(u), axis=1)
    # Depth counts for more the further away it is.
    depth = values.max() - values + PROCESS.deep(dim)
    rank = np.argsort(np.maximum(far / (2 * radius), 1.0) * depth, kind="stable")
    rank = rank[far[rank] < policy.farthest * max(radius, 1.0)]
    return np.asarray(rank[: max((dim + 1) * (dim + 2), policy.values)])


def highest(process: Process, start: Array, radius: float, policy: RegionPolicy = POLICY) -> tuple[Array, float]:
    """Where the mean is highest within a radius of the frame's centre, from `start` (D,), and its value there."""
    e, value = start, float(process.mean(start[None])[0])
    for _ in range(policy.steps):
        gradient, hessian = process.derivatives(e)
        curvature, axes = np.linalg.eigh(-hessian)
        step = axes @ ((axes.T @ gradient) / np.maximum(np.abs(curvature), 0.05))
        tried = e + _LENGTHS[:, None] * step
        length = np.linalg.norm(tried, axis=1, keepdims=True)
        tried = tried * np.minimum(1.0, radius / np.maximum(length, 1e-300))
        found = process.mean(tried)
        best = int(np.argmax(found))
        if not found[best] > value + 1e-3:
            break
        e, value = tried[best], float(found[best])
    return e, value


def metric(process: Process, e: Array, policy: RegionPolicy = POLICY) -> Frame:
    """The frame around e (D,) in which the surrogate bends by about one in every direction."""
    curvature, axes = np.linalg.eigh(-process.derivatives(e)[1])
    curvature = np.clip(np.abs(curvature), policy.flattest, policy.steepest)
    return process.frame.moved(e, (axes / curvature) @ axes.T)


def radius_after(radius: float, promised: float, gained: float, dim: int, policy: RegionPolicy = POLICY) -> float:
    """The radius after a step that was promised to gain so many nats."""
    ratio = gained / max(promised, 1e-9)
    if promised <= policy.near:
        # Small promises say little, unless what came is far below.
        factor = 0.5 if gained < -policy.near else 1.5
    else:
        factor = policy.grow if ratio > policy.good else policy.shrink if ratio < policy.bad else 1.0
    return float(np.clip(factor * radius, policy.smallest, policy.largest * full_radius(dim)))
