"""Weighted Hermite regression of a log density: unbiased natural gradients, curvature and their Monte Carlo error.

With z = m + s * u and u ~ N(0, I), write log p(z) = sum_a c_a he_a(u), where he_a are products of orthonormal Hermite
polynomials. The coefficients of low order are, by Stein's identity, what variational inference needs:

    c_0 = E[log p],    c_i = s_i E[d log p / dz_i],    sqrt(2) c_ii = s_i^2 E[d2 log p / dz_i^2],
    c_ij = s_i s_j E[d2 log p / dz_i dz_j].

Regression is thus the score function estimator with every other feature as a control variate: it has no variance
left within the span of its features (Salimans and Knowles 2013, section 4), and orders three and four give the
coupling of means and scales in the Hessian of the ELBO. Draws from earlier approximations count with importance
weights against their mixture (the balance heuristic, Veach and Guibas 1995).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations_with_replacement
from math import comb, factorial, prod, sqrt

import numpy as np

Array = np.ndarray

MAX_DEGREE = 6  # beyond it, double precision and the tails of the draws decide the coefficients
MAX_FEATURES = 600  # a regression costs draws * features^2; this keeps one below a second
DRAWS_PER_FEATURE = 4  # fewer, and the features cost more variance than they remove
ENTROPY_CONSTANT = 0.5 * np.log(2 * np.pi * np.e)  # entropy of a standard normal, per dimension


@dataclass(frozen=True)
class Regression:
    """What one weighted regression says about q = N(mean, diag(sd^2)); every array is in units of q's sds.

    Attributes
    ----------
    degree : int
        Total degree of the basis; 0 and 1 mean the separable quadratic and quartic with a column of known coupling.
    expected_value, expected_value_se : float
        E[log p] and its standard error.
    gradient : ndarray, shape (2 D,)
        Gradient of the ELBO with respect to mean / sd and log sd.
    covariance : ndarray, shape (2 D, 2 D)
        Monte Carlo covariance of ``gradient``.
    precision : ndarray, shape (D, D)
        -E[Hessian of log p]; not necessarily positive definite.
    hessian : ndarray, shape (2 D, 2 D)
        Negative Hessian of the ELBO with respect to the same parameters as ``gradient``.
    residual_sd : float
        Leave-one-out residual of the regression, in nats.
    effective_draws : float
        Kish's effective number of draws behind the weights.
    """

    degree: int
    expected_value: float
    expected_value_se: float
    gradient: Array
    covariance: Array
    precision: Array
    hessian: Array
    residual_sd: float
    effective_draws: float


def antithetic_draws(pairs: int, dim: int, rng: np.random.Generator) -> Array:
    """Standard normal draws (2 * pairs, dim) in adjacent antithetic pairs, orthogonal within blocks of ``dim`` pairs.

    Within a block the directions are orthogonal and their lengths chi distributed, so that each draw is exactly
    standard normal, and linear functions of different pairs do not share error.
    """
    blocks = []
    for start in range(0, pairs, dim):
        rows = min(dim, pairs - start)
        rotation, triangle = np.linalg.qr(rng.standard_normal((dim, dim)))
        rotation = rotation * np.sign(np.diag(triangle))  # Haar distributed
        length = np.sqrt(rng.chisquare(dim, size=rows))
        blocks.append(rotation[:rows] * length[:, None])
    half = np.concatenate(blocks)
    return np.stack([half, -half], axis=1).reshape(2 * pairs, dim)


SEPARABLE_QUADRATIC, SEPARABLE_QUARTIC = 0, 1  # "degrees" without products of latents, beside total degrees 2, 3, ...


@lru_cache(maxsize=64)
def _basis(dim: int, degree: int) -> tuple[Array, Array, Array]:
    """Multi-indices of the features as (coordinates, orders), each (features, width), and sqrt(index!).

    Every basis but the smallest holds the powers of each u_i up to four, which couple a latent's mean and scale.
    """
    total = degree if degree >= 2 else 0
    indices = [index for k in range(total + 1) for index in combinations_with_replacement(range(dim), k)]
    for order in range(max(total, 0) + 1, 3 if degree == SEPARABLE_QUADRATIC else 5):
        indices += [(i,) * order for i in range(dim)]
    width = max(total, 1)
    coordinates, orders, roots = [], [], []
    for index in indices:
        counts = sorted(Counter(index).items())
        padding = width - len(counts)
        coordinates.append([c for c, _ in counts] + [0] * padding)
        orders.append([k for _, k in counts] + [0] * padding)
        roots.append(sqrt(prod(factorial(k) for _, k in counts)))
    return np.array(coordinates), np.array(orders), np.array(roots)


def degrees(dim: int, effective_draws: float) -> list[int]:
    """Bases that so many draws can support, the separable quadratic first."""
    largest = min(MAX_FEATURES, effective_draws / DRAWS_PER_FEATURE)
    separable = [SEPARABLE_QUADRATIC] + [SEPARABLE_QUARTIC] * (4 * dim + 2 <= largest)
    pure = [4 * dim, 4 * dim, 2 * dim, dim, 0, 0, 0]
    return separable + [k for k in range(2, MAX_DEGREE + 1) if comb(dim + k, k) + pure[k] <= largest]


def _hermite(u: Array, degree: int) -> Array:
    """Orthonormal probabilists' Hermite polynomials of orders 0..degree, shape (S, D, degree + 1)."""
    values = np.empty((*u.shape, degree + 1))
    values[..., 0] = 1.0
    values[..., 1] = u
    for k in range(1, degree):  # he_{k+1} = (u he_k - sqrt(k) he_{k-1}) / sqrt(k + 1)
        values[..., k + 1] = (u * values[..., k] - sqrt(k) * values[..., k - 1]) / sqrt(k + 1)
    return values


def _features(u: Array, degree: int, coupling: Array) -> Array:
    """Design matrix (S, p); a separable basis ends with the known coupling, where there is one."""
    coordinates, orders, _ = _basis(u.shape[1], degree)
    hermite = _hermite(u, int(orders.max()))
    features = np.ones((len(u), len(coordinates)))
    for c, k in zip(coordinates.T, orders.T, strict=True):
        features *= hermite[:, c, k]
    if degree <= SEPARABLE_QUARTIC and np.any(coupling):
        features = np.column_stack([features, -0.5 * np.einsum("si,si->s", u @ coupling, u)])
    return features


def regress(u: Array, values: Array, weights: Array, coupling: Array, degree: int | None = None) -> Regression:
    """Regress log density values on Hermite features, by default of the degree that predicts left-out draws best.

    Parameters
    ----------
    u : ndarray, shape (S, D)
        Draws in units of q; rows 2k and 2k + 1 are an antithetic pair.
    values, weights : ndarray, shape (S,)
        Log density and importance weight of each draw.
    coupling : ndarray, shape (D, D)
        Off-diagonal of -E[Hessian] as far as it is known, used where the draws are too few to estimate it.
    """
    weights = weights / weights.mean()
    effective = float(weights.sum() ** 2 / (weights**2).sum())
    tried = degrees(u.shape[1], effective) if degree is None else [degree]
    candidates = [_regress_at(u, values, weights, effective, coupling, k) for k in tried]
    return min(candidates, key=lambda candidate: candidate.residual_sd)


def _regress_at(
    u: Array, values: Array, weights: Array, effective: float, coupling: Array, degree: int
) -> Regression:
    draws, dim = u.shape
    features = _features(u, degree, coupling)
    weighted = features * weights[:, None]
    gram = weighted.T @ features
    gram[np.diag_indices_from(gram)] += 1e-10 * draws  # features are orthonormal under q: this is relative
    inverse = np.linalg.inv(gram)
    offset = np.average(values, weights=weights)
    coefficients = inverse @ (weighted.T @ (values - offset))
    leverage = np.einsum("sp,pq,sq->s", weighted, inverse, features, optimize=True)
    # Leave-one-out residuals: in-sample ones are too small by the leverage, and so would the error be.
    residual = (values - offset - features @ coefficients) / np.maximum(1 - leverage, 0.05)
    linear, square = _score_columns(dim, degree)
    rows = np.concatenate([[0], linear, square])
    influence = (weighted * residual[:, None]) @ inverse[:, rows]
    influence = influence[0::2] + influence[1::2]  # the two draws of an antithetic pair are one observation
    covariance = influence.T @ influence * (len(influence) / max(len(influence) - 1, 1))
    scale = np.concatenate([np.ones(dim), np.full(dim, sqrt(2))])
    gradient = scale * coefficients[rows[1:]]
    gradient[dim:] += 1  # the entropy
    precision, hessian = _curvature(coefficients, degree, coupling, dim)
    return Regression(
        degree=degree,
        expected_value=float(coefficients[0] + offset),
        expected_value_se=float(np.sqrt(covariance[0, 0])),
        gradient=gradient,
        covariance=covariance[1:, 1:] * np.outer(scale, scale),
        precision=precision,
        hessian=hessian,
        residual_sd=float(np.sqrt(np.average(residual**2, weights=weights))),
        effective_draws=effective,
    )


@lru_cache(maxsize=64)
def _score_columns(dim: int, degree: int) -> tuple[Array, Array]:
    """Columns of u_i and of he_2(u_i)."""
    _, orders, _ = _basis(dim, degree)
    total = orders.sum(axis=1)
    return np.flatnonzero(total == 1), np.flatnonzero((total == 2) & (orders[:, 0] == 2))


def _curvature(coefficients: Array, degree: int, coupling: Array, dim: int) -> tuple[Array, Array]:
    """-E[Hessian] and the negative Hessian of the ELBO from the coefficients of orders two to four.

    With moments E[log p He_a] = sqrt(a!) c_a, the second derivatives of the ELBO are
    (m_i, m_j): He_1 He_1, He_2 for i = j;  (m_i, r_j): He_1(u_i) He_2(u_j), He_3 for i = j;
    (r_i, r_j): He_2 He_2, He_4 + 2 He_2 for i = j.
    """
    coordinates, orders, roots = _basis(dim, degree)
    moments = roots * coefficients[: len(roots)]

    def table(*order: int) -> Array:
        """-E[log p He_order] as a matrix over the coordinates that the order names."""
        matrix = np.zeros((dim, dim))
        if len(order) <= orders.shape[1]:
            named = np.all(orders[:, : len(order)] == order, axis=1) & (orders.sum(axis=1) == sum(order))
            matrix[coordinates[named, 0], coordinates[named, len(order) - 1]] = -moments[named]
        return matrix

    second, pairs, squares = table(2), table(1, 1), table(2, 2)
    precision = second + pairs + pairs.T
    if len(coefficients) > len(roots):
        precision = precision + coefficients[-1] * (coupling - np.diag(np.diag(coupling)))
    hessian = _block_hessian(precision)
    cross = table(1, 2) + table(2, 1).T + table(3)
    hessian[:dim, dim:], hessian[dim:, :dim] = cross, cross.T
    hessian[dim:, dim:] += squares + squares.T + table(4)
    return precision, hessian


def _block_hessian(precision: Array) -> Array:
    """Negative Hessian of the ELBO of a quadratic: the precision, and twice its diagonal for the log sds."""
    dim = len(precision)
    hessian = np.zeros((2 * dim, 2 * dim))
    hessian[:dim, :dim] = precision
    hessian[dim:, dim:] = np.diag(2 * np.diag(precision))
    return hessian
