"""Curvature from a few draws, by differences of gradients: it preconditions what all draws are then solved for."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_solve

from bbvi.solvers.sparsity import Pattern, pattern_of, probe_of
from bbvi.solvers.trust_region import to_boundary

Array = np.ndarray

_ROOT2 = np.sqrt(2.0)
# Step of the differences, in sds: rounding leaves 1e-12 of a gradient, and so 1e-8 of its difference.
_STEP = 1e-4
# Draws that tell enough of the curvature to precondition by it; half of them where each takes more gradients than this.
FEW, _MANY = 16, 500
# Latents up to which it is formed.
MOST = 2000
_SMALLEST = 0.1


def few_of(dim: int) -> int:
    """How many draws show the curvature of so many latents well enough."""
    return FEW if dim <= _MANY else FEW // 2


def mean_curvature(gradients: Callable[[Array], Array], points: Array, slopes: Array, scale: Array) -> Array:
    """Minus the mean Hessian of a log density at points (K, D), in units of scales (D,): (D, D), symmetric.

    Parameters
    ----------
    gradients : callable, (S, D) -> (S, D)
        Called with D points at a time.
    points, slopes : ndarray, shape (K, D)
        Where, and the gradients there.
    scale : ndarray, shape (D,)
    """
    return np.asarray(curvatures(gradients, points, slopes, scale).mean(axis=0))


def curvatures(gradients: Callable[[Array], Array], points: Array, slopes: Array, scale: Array) -> Array:
    """Minus the Hessian at each of the points, (K, D, D); otherwise as `mean_curvature`."""
    return _curvatures(gradients, points, slopes, scale, None)[0]


def _curvatures(
    gradients: Callable[[Array], Array], points: Array, slopes: Array, scale: Array, pattern: Pattern | None
) -> tuple[Array, Pattern | None]:
    """Minus the Hessian at each of the points, and where it is not zero, as was known before or is by now."""
    sought, dim = pattern is None, len(scale)
    found = np.empty((len(points), dim, dim))
    for k, (point, slope) in enumerate(zip(points, slopes, strict=True)):
        curvature = None if pattern is None else _by_pattern(gradients, point, slope, scale, pattern)
        if curvature is None:
            curvature = _differences(gradients, point, slope, np.diag(scale)) * scale
            if sought:
                sought, pattern = False, pattern_of(curvature)
        np.add(curvature, curvature.T, out=found[k])
        found[k] /= 2.0
    return found, pattern


def _differences(gradients: Callable[[Array], Array], point: Array, slope: Array, moves: Array) -> Array:
    """Minus the Hessian at a point (D,) times moves (K, D)."""
    products: Array = (slope - gradients(point + _STEP * moves)) / _STEP
    return products


def _by_pattern(
    gradients: Callable[[Array], Array], point: Array, slope: Array, scale: Array, pattern: Pattern
) -> Array | None:
    """Minus the Hessian in units of the scales, from few products; None if one more shows that it has other zeros."""
    probe = probe_of(len(scale))
    moves = np.concatenate([pattern.directions, probe[None]]) * scale
    products = _differences(gradients, point, slope, moves) * scale
    return pattern.whole(products[:-1]) if pattern.shows(products[:-1], probe, products[-1]) else None


class Coarse(NamedTuple):
    """An approximate Hessian of F in natural coordinates: a Cholesky factor of the means' block, a diagonal for the
    scales'; the log sds of q that it is in units of; and where second derivatives are not zero, if few are not.
    """

    factor: Array
    diagonal: Array
    log_sd: Array
    pattern: Pattern | None = None

    def at(self, log_sd: Array) -> Coarse:
        """The same curvature in units of other sds, whose share of the scales' block is one half at any optimum."""
        ratio = np.exp(log_sd - self.log_sd)
        diagonal = np.maximum(ratio**2 * (self.diagonal - 0.5) + 0.5, _SMALLEST)
        return self._replace(factor=ratio[:, None] * self.factor, diagonal=diagonal, log_sd=log_sd)

    def solve(self, rhs: Array) -> Array:
        """``H^-1 rhs`` for rows (K, 2D), roughly."""
        dim = len(self.diagonal)
        return np.concatenate([cho_solve((self.factor, True), rhs[:, :dim].T).T, rhs[:, dim:] / self.diagonal], axis=1)

    @property
    def variances(self) -> Array:
        """Variances (D,) of the latents in units of q's, as linear response has them."""
        inverse = cho_solve((self.factor, True), np.eye(len(self.factor)))
        return np.asarray(np.diag(inverse))


def cost(dim: int, pattern: Pattern | None) -> int:
    """Gradients that `coarse` takes."""
    return few_of(dim) * (dim if pattern is None else 1 + len(pattern.directions))


def coarse(
    gradients: Callable[[Array], Array], mean: Array, log_sd: Array, eps: Array, pattern: Pattern | None = None
) -> Coarse | None:
    """Of F at mean and log sds (D,), from a few of its mirrored draws eps (S, D); None where it is no number."""
    half, few = len(eps) // 2, few_of(eps.shape[1])
    some = eps[np.concatenate([np.arange(few // 2), half + np.arange(few // 2)]) if len(eps) > few else slice(None)]
    sd = np.exp(log_sd)
    points = mean + sd * some
    with np.errstate(all="ignore"):
        slopes = gradients(points)
        each, pattern = _curvatures(gradients, points, slopes, sd, pattern)
        curvature = each.mean(axis=0)
    if not np.isfinite(curvature).all():
        return None
    diagonal = np.maximum((np.diag(curvature) - (some * sd * slopes).mean(axis=0)) / 2.0, _SMALLEST)
    try:
        factor = np.linalg.cholesky(curvature)
    except np.linalg.LinAlgError:
        try:
            values, vectors = np.linalg.eigh(curvature)
            values = np.maximum(np.abs(values), 1e-6 * np.abs(values).max())
            factor = np.linalg.cholesky((vectors * values) @ vectors.T)
        except np.linalg.LinAlgError:
            # Numbers so large that nothing is left of the small ones.
            return None
    return Coarse(factor, diagonal, log_sd, pattern)


def preconditioned(
    product: Callable[[Array], Array],
    rhs: Array,
    x: Array,
    hx: Array,
    by: Coarse,
    tolerance: float,
    iterations: int,
    radius: float = np.inf,
) -> tuple[Array, Array, bool]:
    """Go on with conjugate gradients for ``H x = rhs`` (1, P), now preconditioned; whether it got there.

    Where curvature is not positive, or x (1, P) grows beyond the radius, it ends there.
    """
    residual = rhs - hx
    z = by.solve(residual)
    direction, squared = z, float(np.sum(residual * z))
    for _ in range(iterations):
        if np.linalg.norm(residual) <= tolerance:
            return x, hx, True
        h = product(direction)
        curved = float(np.sum(direction * h))
        reach = float(to_boundary(x, direction, np.array([radius]))[0])
        alpha = squared / curved if curved > 0 else np.inf
        if not alpha < reach:
            return (x + reach * direction, hx + reach * h, False) if np.isfinite(reach * curved) else (x, hx, False)
        x, hx, residual = x + alpha * direction, hx + alpha * h, residual - alpha * h
        z = by.solve(residual)
        fresh = float(np.sum(residual * z))
        direction, squared = z + fresh / squared * direction, fresh
    return x, hx, bool(np.linalg.norm(residual) <= tolerance)
