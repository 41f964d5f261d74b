"""Conditional Gaussians along a latent that steers the others: proposals that follow funnels and long tails.

The posterior of a hierarchical scale is seldom Gaussian, and what the other latents do depends on it. Given its value t
they usually are near Gaussian, with a mode and a curvature that Newton's method finds; the Laplace approximation

    log p(t)  ~  log p(t, r(t)) - log det(-H_rr(t)) / 2

gives the marginal (Tierney and Kadane 1986; the grid of Rue, Martino, Chopin 2009, section 3.1). A mixture of such
Gaussians reaches necks and mouths of funnels which neither one Gaussian nor rounds of adaptation see.
"""

from __future__ import annotations

import numpy as np

from bbvi.correction.importance.policy import SLICES, SlicePolicy
from bbvi.correction.importance.proposals import Gaussian, Mixture, whiten
from bbvi.target.protocol import Smooth

Array = np.ndarray

_GRID = np.arange(-8.0, 8.5, 1.0)
_LINE = np.array([1.0, 0.4, 0.1, 0.02])


def steering(u: Array, weights: Array, policy: SlicePolicy = SLICES) -> tuple[Array, Array]:
    """How much each latent steers the others, and its skewness, both (D,) and not negative, by weighted draws (S, D).

    Under a Gaussian neither the correlation of u_j with the squared Mahalanobis length of the others given it nor the
    skewness of u_j differs from zero.
    """
    dim = u.shape[1]
    if len(u) > policy.screened:
        # Every so many of them, for a mere screening.
        u, weights = u[:: len(u) // policy.screened], weights[:: len(u) // policy.screened]
        if not weights.sum() > 0:
            return np.zeros(dim), np.zeros(dim)
        weights = weights / weights.sum()
    mean = weights @ u
    centred = u - mean
    covariance = (centred * weights[:, None]).T @ centred
    try:
        factor = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        return np.zeros(dim), np.zeros(dim)
    x = centred / np.sqrt(np.diag(covariance))
    squares = x * x
    skewed = np.abs(weights @ (squares * x))
    if dim == 1:
        return np.zeros(1), skewed
    e = whiten(u, mean, factor)
    rest = np.einsum("nd,nd->n", e, e)[:, None] - squares
    rest = rest - weights @ rest
    with np.errstate(all="ignore"):
        steers = np.abs(weights @ (x * rest)) / np.sqrt(weights @ (rest * rest))
    return np.nan_to_num(steers), skewed


def leaders(steers: Array, skewed: Array, policy: SlicePolicy = SLICES) -> list[int]:
    """Latents along which slices are worth their cost: those that steer the others or are skewed, strongest first."""
    score = np.maximum(steers / policy.steers, skewed / policy.skewed)
    return [int(j) for j in np.argsort(-score)[: policy.leaders] if score[j] > 1]


def most_evaluations(dim: int, policy: SlicePolicy = SLICES) -> int:
    """The most that the slices along one of so many latents take."""
    return len(_GRID) * policy.steps * (dim + len(_LINE))


def conditional_mixture(
    target: Smooth, mean: Array, covariance: Array, index: int, policy: SlicePolicy = SLICES
) -> Mixture | None:
    """Mixture of Gaussians at values of latent `index` from 8 sds below to 8 above its mean; None where none is found.

    `mean` and `covariance` (D, D) describe the posterior roughly: they give the grid and where Newton's method starts.
    """
    dim = len(mean)
    scale = float(np.sqrt(covariance[index, index]))
    slope = covariance[index] / covariance[index, index]
    points = mean + np.outer(_GRID * scale, slope)
    others = np.delete(np.arange(dim), index)
    values, precision, coupling = np.full(len(points), -np.inf), None, None
    for _ in range(policy.steps):
        values, gradients, hessians = _second_order(target, points)
        good = np.isfinite(values) & np.isfinite(hessians).all(axis=(1, 2)) & np.isfinite(gradients).all(axis=1)
        precision = np.where(good[:, None, None], -hessians[:, others[:, None], others], np.eye(dim - 1))
        coupling = hessians[:, others, index]
        if dim == 1:
            break
        eigenvalues, vectors = np.linalg.eigh(precision)
        safe = np.maximum(np.abs(eigenvalues), 1e-8 * np.abs(eigenvalues).max(axis=1, keepdims=True) + 1e-300)
        g = np.where(good[:, None], gradients[:, others], 0.0)
        step = np.einsum("kij,kj->ki", vectors, np.einsum("kji,kj->ki", vectors, g) / safe)
        if np.max(np.sum(step * g, axis=1)) < 1e-3:
            break
        trials = np.repeat(points[:, None], len(_LINE), axis=1)
        trials[:, :, others] += _LINE[:, None] * step[:, None]
        tried = target.values(trials.reshape(-1, dim)).reshape(len(points), -1)
        best = np.argmax(tried, axis=1)
        better = tried[np.arange(len(points)), best] > values
        points = np.where(better[:, None], trials[np.arange(len(points)), best], points)
    if precision is None or coupling is None:
        return None
    return _mixture(points, values, precision, coupling, index, scale, policy)


def _mixture(
    points: Array,
    values: Array,
    precision: Array,
    coupling: Array,
    index: int,
    scale: float,
    policy: SlicePolicy,
) -> Mixture | None:
    dim = points.shape[1]
    others = np.delete(np.arange(dim), index)
    parts: list[Gaussian] = []
    heights = []
    for point, value, a, c in zip(points, values, precision, coupling, strict=True):
        try:
            inverse = np.linalg.inv(a) if dim > 1 else np.empty((0, 0))
            log_det = float(np.linalg.slogdet(a)[1]) if dim > 1 else 0.0
            width = (0.8 * scale) ** 2
            slope = inverse @ c
            covariance = np.empty((dim, dim))
            covariance[index, index] = width
            covariance[others, index] = covariance[index, others] = width * slope
            covariance[np.ix_(others, others)] = 1.1 * inverse + width * np.outer(slope, slope)
            factor = np.linalg.cholesky(covariance)
        except np.linalg.LinAlgError:
            # A slice without a mode of its own has no Gaussian.
            continue
        if np.isfinite(value) and np.isfinite(factor).all():
            parts.append(Gaussian(point, factor))
            heights.append(value - 0.5 * log_det)
    if not parts:
        return None
    height = np.array(heights) - max(heights)
    kept = np.flatnonzero(height > -policy.deep)
    shares = np.exp(policy.flattened * height[kept])
    shares /= shares.sum()
    kept, shares = kept[shares > policy.least_share], shares[shares > policy.least_share]
    return Mixture(tuple(parts[i] for i in kept), shares / shares.sum())


def _second_order(target: Smooth, points: Array) -> tuple[Array, Array, Array]:
    """Values (K,), gradients (K, D) and Hessians (K, D, D) of the log density."""
    k, dim = points.shape
    linear = target.linearize(np.repeat(points, dim, axis=0))
    products = linear.hessian_product(np.tile(np.eye(dim), (k, 1))).reshape(k, dim, dim)
    return linear.values[::dim], linear.gradients[::dim], (products + products.transpose(0, 2, 1)) / 2
