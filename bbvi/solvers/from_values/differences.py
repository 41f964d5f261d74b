"""Structured differences of a log density at the scale of q: slopes, curvatures, couplings.

Along each axis, two values at m +- h s_i and the centre give slope and curvature in units of s_i. With
h = sqrt(3) these are the three nodes of Gauss-Hermite quadrature: they equal s_i E[d log p / dz_i] and
-s_i^2 E[d2 log p / dz_i^2] over N(m_i, s_i^2), exactly for log densities of degree four and three in that
coordinate, and E[log p] for degree five. So climbing with them climbs the ELBO, not the density: one
without a mode (a funnel) is as good as any.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bbvi.target.protocol import Values, hints_of

Array = np.ndarray

QUADRATURE = np.sqrt(3.0)  # outer node of three-point Gauss-Hermite quadrature
NOISE_RATIO = 12.0  # with noise, step out until log p is expected to change by so many times the noise
ON_SCALE = (0.25, 4.0)  # a curvature within these counts as s_i = 1 / sqrt(curvature)
_HAIR = 1e-9  # of a latent, or of one
FURTHEST = 5.0  # of a step, on a logarithmic or another bounded scale
LARGEST_RESCALE = 100.0  # in one round: further than that, a curvature says little
BLOCK = 2**22  # numbers in one block of points


@dataclass(frozen=True)
class Axes:
    """Centre and axial measurements; slope and curvature in units of exp(log_sd)."""

    mean: Array
    log_sd: Array
    centre: float
    slope: Array
    curvature: Array

    @property
    def elbo(self) -> float:
        """Additive approximation of the ELBO, without the entropy's constant."""
        return float(self.centre - 0.5 * self.curvature.sum() + self.log_sd.sum())


def reach(noise_sd: float) -> float:
    """Distance of the axial points from the centre, in units of s."""
    return float(max(QUADRATURE, np.sqrt(NOISE_RATIO * noise_sd)))


def beside(mean: Array, count: int) -> Array:
    """Points (count, D) around a mean, so near to each other, at equal distances, that what is smooth is linear there.

    A simulator that begins its random numbers anew at each call, or with a number made of its parameters, gives the
    same at one point each time, and shows its noise only next to it.
    """
    signs = np.where(np.arange(len(mean)) % 2, -1.0, 1.0)
    return np.asarray(mean + _HAIR * _places(count)[:, None] * np.maximum(np.abs(mean), 1.0) * signs)


def roughness(values: Array) -> tuple[float, int]:
    """Sum of squares of what a line leaves of values (count,) at those points, and its degrees of freedom.

    Nothing, where it is no more than rounding; no degrees of freedom where a value is not finite.
    """
    if not np.isfinite(values).all():
        return 0.0, 0
    place = _places(len(values))
    left = values - values.mean()
    left = left - place * (place @ left) / (place @ place)
    size = float(np.sqrt(np.mean(left**2)))
    rounding = 1e-6 * max(1.0, 1e-3 * float(np.max(np.abs(values))))
    return (float(np.sum(left**2)) if size > rounding else 0.0), len(values) - 2


def _places(count: int) -> Array:
    return np.arange(count) - (count - 1) / 2.0


def bounded(target: Values, origin: Array, u: Array) -> Array:
    """Points u (S, D), those that are orders of magnitude away from `origin` (D,) taken back towards it.

    A simulator may take for ever where a logarithm is beyond all sense.
    """
    far = np.isfinite(hints_of(target).largest_log_sd)
    moves = u - origin
    length = np.max(np.abs(moves) * far, axis=1, keepdims=True) / FURTHEST
    return np.asarray(origin + moves / np.maximum(length, 1.0))


def measure(target: Values, axes: Axes, which: Array, h: float) -> Axes:
    """Slope and curvature along the axes ``which``; the curvature is infinite where a point is not finite."""
    values = _beside(target, axes, np.tile(which, 2), np.repeat([h, -h], len(which))) - axes.centre
    up, down = np.split(values, 2)
    finite = np.isfinite(up) & np.isfinite(down)
    up, down = np.where(finite, up, 0.0), np.where(finite, down, 0.0)
    slope, curvature = axes.slope.copy(), axes.curvature.copy()
    # At the edge of the support the one finite side shows the way: one s inwards.
    inwards = np.isfinite(values[: len(which)]).astype(float) - np.isfinite(values[len(which) :])
    slope[which] = np.where(finite, (up - down) / (2 * h), inwards)
    curvature[which] = np.where(finite, -(up + down) / h**2, np.inf)
    return replace(axes, slope=slope, curvature=curvature)


def _beside(target: Values, axes: Axes, which: Array, steps: Array) -> Array:
    """Log density beside the centre: ``steps[k]``, in units of s, along axis ``which[k]``, in blocks that fit."""
    values = []
    for block in np.array_split(np.arange(len(which)), max(1, len(which) * target.dim // BLOCK)):
        points = np.tile(axes.mean, (len(block), 1))
        points[np.arange(len(block)), which[block]] += steps[block] * np.exp(axes.log_sd[which[block]])
        values.append(target.values(points))
    return np.concatenate(values)


def rescale(target: Values, axes: Axes, h: float, rounds: int) -> Axes:
    """Measure all axes, then change each s_i until its curvature is near one, at most ``rounds`` times.

    Where log p is convex along an axis there is no such scale: there log p is to change by about one.
    """
    before = axes.log_sd
    axes = measure(target, axes, np.arange(target.dim), h)
    largest = hints_of(target).largest_log_sd
    for _ in range(rounds):
        factor = _scale_factor(axes)
        factor = np.where(factor > 1, np.minimum(factor, np.exp(np.maximum(largest - axes.log_sd, 0.0))), factor)
        which = np.flatnonzero(factor != 1)
        if len(which) == 0:
            break
        axes = measure(target, replace(axes, log_sd=axes.log_sd + np.log(factor)), which, h)
    edge = ~np.isfinite(axes.curvature)
    return replace(
        axes, log_sd=np.where(edge, before, axes.log_sd), curvature=np.where(edge, 1.0, axes.curvature)
    )


def _scale_factor(axes: Axes) -> Array:
    slope, curvature = np.abs(axes.slope), axes.curvature
    factor = np.ones(len(slope))
    # Differences of values of this size are rounding error.
    rounding = 1e-13 * max(1.0, abs(axes.centre))
    concave = curvature > rounding
    off = concave & ((curvature < ON_SCALE[0]) | (curvature > ON_SCALE[1]))
    factor[off] = 1 / np.sqrt(curvature[off])
    steep, flat = ~concave & (slope > 4), ~concave & (slope < 0.25)
    factor[steep] = 1 / slope[steep]
    factor[flat] = 4.0
    factor[~np.isfinite(curvature)] = 0.25
    return np.clip(factor, 1 / LARGEST_RESCALE, LARGEST_RESCALE)


def coupling_pairs(dim: int) -> tuple[Array, Array]:
    """All pairs i < j, in the order in which their coupling is measured."""
    return np.triu_indices(dim, 1)


def measure_coupling(target: Values, axes: Axes, h: float, first: Array, second: Array) -> Array:
    """-s_i s_j d2 log p / dz_i dz_j, scaled to a partial correlation, from one value for each pair.

    The corner lies uphill, where the log density is most likely to be finite and smooth.
    """
    sd = np.exp(axes.log_sd)
    sign = np.where(axes.slope >= 0, 1.0, -1.0)
    corners = np.tile(axes.mean, (len(first), 1))
    rows = np.arange(len(first))
    corners[rows, first] += sign[first] * h * sd[first]
    corners[rows, second] += sign[second] * h * sd[second]
    # Log p at the axial points uphill, from the centre.
    along = h * np.abs(axes.slope) - 0.5 * h**2 * axes.curvature
    mixed = target.values(corners) - axes.centre - along[first] - along[second]
    mixed = np.where(np.isfinite(mixed), mixed, 0.0)
    size = np.maximum(np.abs(axes.curvature), 0.1)
    partial = -sign[first] * sign[second] * mixed / h**2 / np.sqrt(size[first] * size[second])
    return np.asarray(np.clip(partial, -1.0, 1.0))


def positive_definite(matrix: Array, floor: float) -> Array:
    """The symmetric matrix with every eigenvalue replaced by its absolute value, at least ``floor``."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.maximum(np.abs(values), floor)) @ vectors.T)


def precision(curvature: Array, coupling: Array, floor: float) -> Array:
    """Positive definite precision, in units of s, from curvatures and partial correlations."""
    root = np.sqrt(np.maximum(np.abs(curvature), 0.1))
    matrix = positive_definite(coupling + np.eye(len(root)), floor)
    return matrix * np.outer(root, root)
