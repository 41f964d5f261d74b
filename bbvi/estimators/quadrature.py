"""Gradients of Gaussian expectations by quadrature, the reference for an estimator's bias."""

from __future__ import annotations

import itertools

import numpy as np

from bbvi.estimators.cost import Cost
from bbvi.families import MeanFieldGaussian
from bbvi.families.protocol import Distribution

Array = np.ndarray

# Nodes per coordinate of the coarser and the finer rule, by dimension.
_ORDERS = {1: (64, 96), 2: (24, 32), 3: (14, 18)}
_GRID = 20_000
_NEGLIGIBLE = 1e-20


def exact_gradient(cost: Cost, q: Distribution) -> Array | None:
    """Gradient of the objective by Gauss-Hermite quadrature of f times the score; values of f only.

    Two orders must agree to 1e-6 of the gradient's size. In one dimension, a cost too steep for that (a step,
    a narrow bump) goes to a fine grid. None where q is not a Gaussian of at most three coordinates, or
    nothing agrees.
    """
    if not isinstance(q, MeanFieldGaussian) or q.dim not in _ORDERS:
        return None
    coarse, fine = (_integrate(cost, q, *_hermite(order)) for order in _ORDERS[q.dim])
    if q.dim == 1 and not _agree(coarse, fine, 1e-6):
        coarse, fine = (_integrate(cost, q, *_uniform(count)) for count in (_GRID // 2, _GRID))
        # A jump between two nodes is located to half their distance.
        return fine if _agree(coarse, fine, 1e-3) else None
    return fine if _agree(coarse, fine, 1e-6) else None


def _integrate(cost: Cost, q: MeanFieldGaussian, nodes: Array, weights: Array) -> Array:
    weight = np.prod(np.array(list(itertools.product(weights, repeat=q.dim))), axis=1)
    eps = np.array(list(itertools.product(nodes, repeat=q.dim)))[weight > _NEGLIGIBLE]
    weight = weight[weight > _NEGLIGIBLE]
    z = q.mean + q.sd * eps
    values = cost.values(z)
    if not np.all(np.isfinite(values)):
        return np.full(2 * q.dim, np.nan)
    # Any constant may be taken from the cost; the mean leaves the least to cancel.
    gradient = (weight * (values - weight @ values)) @ q.score(z)
    return np.asarray(gradient + q.entropy_gradient() if cost.entropy else gradient)


def _hermite(order: int) -> tuple[Array, Array]:
    nodes, weights = np.polynomial.hermite_e.hermegauss(order)
    return nodes, weights / np.sum(weights)


def _uniform(count: int) -> tuple[Array, Array]:
    nodes = np.linspace(-9.0, 9.0, count)
    weights = np.exp(-0.5 * nodes**2)
    return nodes, weights / np.sum(weights)


def _agree(first: Array, second: Array, tolerance: float) -> bool:
    scale = max(float(np.max(np.abs(second))), 1e-6)
    return bool(np.all(np.abs(first - second) <= tolerance * scale))
