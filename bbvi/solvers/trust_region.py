"""Steps within a trust region, of several quadratic problems at once: by eigenvalues, or by conjugate gradients."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Array = np.ndarray

# Relative residual below which conjugate gradients are not run: one step more costs less than the last digits of one.
FINEST = 3e-3
# Newton steps for the multiplier of a trust region; four or five are the rule.
_SHIFTS = 50


def solve_dense(matrix: Array, gradient: Array, radius: Array) -> tuple[Array, Array, Array]:
    """Exact trust-region steps of K dense problems (Moré and Sorensen 1983): minimise g'x + x'Hx / 2 with |x| <=
    radius.

    Returns x and Hx, (K, P), and whether the step is the full Newton step, (K,).
    """
    values, vectors = np.linalg.eigh(matrix)
    g = np.einsum("kpq,kp->kq", vectors, gradient)
    lowest = values[:, 0]
    floor = np.maximum(-lowest, 0.0)
    definite = lowest > 1e-12 * np.abs(values[:, -1])
    with np.errstate(all="ignore"):
        full = np.linalg.norm(g / values, axis=1)
    newton = definite & (full <= radius)
    # The shift that puts the step on the boundary: Newton's method on 1 / |x| - 1 / radius goes up to it from below.
    shift = np.where(newton, 0.0, floor * (1 + 1e-12) + 1e-16 * np.abs(values[:, -1]) + 1e-300)
    for _ in range(_SHIFTS):
        with np.errstate(all="ignore"):
            shifted = values + shift[:, None]
            squares = np.square(g / shifted)
            squared = np.add.reduce(squares, axis=1)
            excess = np.sqrt(squared) / radius - 1
            step = squared / np.add.reduce(squares / shifted, axis=1) * excess
        going = ~newton & (excess > 1e-6) & np.isfinite(step)
        if not going.any():
            break
        shift = np.where(going, shift + step, shift)
    x = -g / (values + shift[:, None])
    # The hard case: the gradient has no part along the negative curvature, which then takes what is left of the radius.
    left = np.sqrt(np.maximum(radius**2 - np.sum(x**2, axis=1), 0.0))
    hard = ~newton & (lowest < 0) & (left > 1e-3 * radius)
    x[:, 0] += np.where(hard, np.where(g[:, 0] > 0, -left, left), 0.0)
    return (
        np.einsum("kpq,kq->kp", vectors, x),
        np.einsum("kpq,kq->kp", vectors, values * x),
        newton,
    )


def conjugate_gradient(
    product: Callable[[Array], Array], rhs: Array, *, radius: Array, tolerance: Array, iterations: int
) -> tuple[Array, Array, Array]:
    """Steihaug's truncated conjugate gradients for K systems ``H x = rhs`` at once.

    Parameters
    ----------
    product : callable
        (K, P) -> (K, P).
    rhs : (K, P)
    radius, tolerance : (K,)
        Length that x may have, and norm that the residual may keep.
    iterations : int

    Returns
    -------
    x : (K, P)
    Hx : (K, P)
    interior : (K,) of bool
        False where negative curvature or the radius ended the iteration on the boundary.
    """
    x, hx = np.zeros_like(rhs), np.zeros_like(rhs)
    residual = rhs.copy()
    direction = residual.copy()
    squared = np.sum(residual**2, axis=1)
    interior = np.ones(len(rhs), dtype=bool)
    active = np.sqrt(squared) > tolerance
    for _ in range(iterations):
        if not active.any():
            break
        h = product(direction)
        curvature = np.sum(direction * h, axis=1)
        with np.errstate(all="ignore"):
            alpha = np.where(curvature > 0, squared / curvature, np.inf)
            reach = to_boundary(x, direction, radius)
            # A NaN in the product ends that system where it is.
            broken = active & ~np.isfinite(curvature)
            ends = active & ((alpha >= reach) | broken)
            alpha = np.where(ends, np.where(broken, 0.0, reach), alpha)
        alpha = np.where(active, alpha, 0.0)[:, None]
        x = x + alpha * direction
        hx = hx + np.where(alpha == 0, 0.0, alpha * h)
        interior &= ~ends
        active = active & ~ends
        residual = np.where(active[:, None], residual - np.where(active[:, None], alpha * h, 0.0), residual)
        fresh = np.sum(residual**2, axis=1)
        active &= np.sqrt(fresh) > tolerance
        with np.errstate(all="ignore"):
            beta = np.where(active, fresh / squared, 0.0)
        direction = np.where(active[:, None], residual + beta[:, None] * direction, direction)
        squared = np.where(active, fresh, squared)
    return x, hx, interior & ~active


def to_boundary(x: Array, direction: Array, radius: Array) -> Array:
    """The positive t with |x + t direction| = radius, (K,)."""
    a = np.sum(direction**2, axis=1)
    b = np.sum(x * direction, axis=1)
    c = np.minimum(np.sum(x**2, axis=1) - radius**2, 0.0)
    return np.asarray((-b + np.sqrt(b**2 - a * c)) / a)
