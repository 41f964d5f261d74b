"""Weighted Hermite regression of a log density: natural gradients, curvature and their Monte Carlo error.

With z = m + s * u and u ~ N(0, I), write log p(z) = sum_a c_a he_a(u), where he_a are products of orthonormal
Hermite polynomials. The coefficients of low order are, by Stein's identity, what variational inference needs:

    c_0 = E[log p],    c_i = s_i E[d log p / dz_i],    sqrt(2) c_ii = s_i^2 E[d2 log p / dz_i^2],
    c_ij = s_i s_j E[d2 log p / dz_i dz_j].

Regression is thus the score function estimator with every other feature as a control variate: it has no
variance left within the span of its features (Salimans and Knowles 2013, section 4), and orders three and
four give the coupling of means and scales in the Hessian of the ELBO. Draws from earlier approximations count
with importance weights against their mixture (the balance heuristic, Veach and Guibas 1995).
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
WEAK_COUPLING = 0.02  # partial correlations below this are not worth a feature of their own
SIGNIFICANT = 4.0  # standard errors; with D^2 coefficients looked at, less would be chance
DRAWS_PER_FEATURE = 4  # fewer, and the features cost more variance than they remove
ENTROPY_CONSTANT = 0.5 * np.log(2 * np.pi * np.e)  # entropy of a standard normal, per dimension


@dataclass(frozen=True)
class Regression:
    """What one weighted regression says about q = N(mean, diag(sd^2)); every array is in units of q's sds.

    Attributes
    ----------
    basis : Basis
        The features.
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

    basis: Basis
    expected_value: float
    expected_value_se: float
    gradient: Array
    covariance: Array
    precision: Array
    hessian: Array
    residual_sd: float
    effective_draws: float


def antithetic_draws(pairs: int, dim: int, rng: np.random.Generator) -> Array:
    """Standard normal draws (2 * pairs, dim) in adjacent antithetic pairs, orthogonal by blocks of ``dim``.

    Within a block the directions are orthogonal and their lengths chi distributed, so that each draw is
    exactly standard normal, and linear functions of different pairs do not share error.
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


@dataclass(frozen=True)
class Basis:
    """Products of Hermite polynomials, and one column for couplings that are known but not among them.

    Attributes
    ----------
    degree : int
        Total degree, or 1 for powers of single latents with the strongest couplings.
    coordinates, orders : ndarray, shape (features, width)
        Multi-indices: feature k is the product over j of he_orders[k, j](u[coordinates[k, j]]).
    roots : ndarray, shape (features,)
        Square root of the factorial of each multi-index.
    known : ndarray, shape (D, D)
        Couplings of the extra column -u' known u / 2, which is left out where all are zero.
    """

    degree: int
    coordinates: Array
    orders: Array
    roots: Array
    known: Array

    def features(self, u: Array) -> Array:
        """Design matrix (S, p), the extra column last."""
        hermite = _hermite(u, int(self.orders.max()))
        # One row for each feature while they are built, so that what is multiplied lies side by side.
        rows = hermite[self.orders[:, 0], self.coordinates[:, 0]]
        for c, k in zip(self.coordinates.T[1:], self.orders.T[1:], strict=True):
            more = np.flatnonzero(k)
            rows[more] *= hermite[k[more], c[more]]
        features = rows.T
        if np.any(self.known):
            features = np.column_stack([features, -0.5 * np.einsum("si,si->s", u @ self.known, u)])
        return np.asarray(features)

    def rows(self, *order: int) -> Array:
        """Features with exactly these orders, in the order of their coordinates."""
        if len(order) > self.orders.shape[1]:
            return np.empty(0, dtype=int)
        same = np.all(self.orders[:, : len(order)] == order, axis=1)
        return np.flatnonzero(same & (self.orders.sum(axis=1) == sum(order)))


@lru_cache(maxsize=64)
def _indices(dim: int, degree: int, highest_power: int) -> tuple[tuple[int, ...], ...]:
    """Latents of each feature up to a total degree, and powers of single latents above it."""
    indices = [index for k in range(degree + 1) for index in combinations_with_replacement(range(dim), k)]
    powers = [(i,) * k for k in range(degree + 1, highest_power + 1) for i in range(dim)]
    return tuple(indices + powers)


def _basis(degree: int, indices: tuple[tuple[int, ...], ...], known: Array) -> Basis:
    width = max(1, *(len(set(index)) for index in indices))
    coordinates, orders, roots = [], [], []
    for index in indices:
        counts = sorted(Counter(index).items())
        padding = [0] * (width - len(counts))
        coordinates.append([c for c, _ in counts] + padding)
        orders.append([k for _, k in counts] + padding)
        roots.append(sqrt(prod(factorial(k) for _, k in counts)))
    return Basis(degree, np.array(coordinates), np.array(orders), np.array(roots), known)


def bases(effective_draws: float, coupling: Array) -> list[Basis]:
    """Bases that so many draws can support, the separable quadratic first.

    All but that hold the powers of each u_i up to four, which couple a latent's mean with its scale. Between
    it and the complete quadratic stands one with the strongest couplings only.
    """
    dim = len(coupling)
    room = int(min(MAX_FEATURES, effective_draws / DRAWS_PER_FEATURE))
    found = [_basis(0, _indices(dim, 0, 2), coupling)]
    powers = _indices(dim, 0, 4)
    if len(powers) < room:
        first, second = np.triu_indices(dim, 1)
        strength = np.abs(coupling[first, second])
        strongest = np.argsort(-strength, kind="stable")[: room - len(powers)]
        strongest = strongest[strength[strongest] > WEAK_COUPLING]
        pairs = tuple((int(first[k]), int(second[k])) for k in strongest)
        known = coupling.copy()
        known[first[strongest], second[strongest]] = known[second[strongest], first[strongest]] = 0.0
        found.append(_basis(1, powers + pairs, known))
    for degree in range(2, MAX_DEGREE + 1):
        if comb(dim + degree, degree) + max(4 - degree, 0) * dim <= room:
            found.append(_basis(degree, _indices(dim, degree, 4), np.zeros((dim, dim))))
    return found


def _hermite(u: Array, degree: int) -> Array:
    """Orthonormal probabilists' Hermite polynomials of orders 0..degree, shape (degree + 1, D, S)."""
    values = np.empty((degree + 1, u.shape[1], len(u)))
    values[0] = 1.0
    values[1] = u.T
    for k in range(1, degree):  # he_{k+1} = (u he_k - sqrt(k) he_{k-1}) / sqrt(k + 1)
        values[k + 1] = (values[1] * values[k] - sqrt(k) * values[k - 1]) / sqrt(k + 1)
    return values


def regress(
    u: Array, values: Array, weights: Array, coupling: Array, basis: Basis | None = None
) -> Regression:
    """Regress log density values on Hermite features, by default on those that predict left-out draws best.

    Parameters
    ----------
    u : ndarray, shape (S, D)
        Draws in units of q; rows 2k and 2k + 1 are an antithetic pair.
    values, weights : ndarray, shape (S,)
        Log density and importance weight of each draw.
    coupling : ndarray, shape (D, D)
        Off-diagonal of -E[Hessian] as far as it is known, used where the draws are too few to estimate it.
    basis : Basis, optional
        The features to use.
    """
    weights = weights / weights.mean()
    effective = float(weights.sum() ** 2 / (weights**2).sum())
    tried = bases(effective, coupling) if basis is None else [basis]
    candidates = [_regress_on(candidate, u, values, weights, effective) for candidate in tried]
    return min(candidates, key=lambda candidate: candidate.residual_sd)


def _regress_on(basis: Basis, u: Array, values: Array, weights: Array, effective: float) -> Regression:
    draws, dim = u.shape
    features = basis.features(u)
    # Rows scaled by the roots of their weights, so that the Gram matrix is one of a matrix with itself.
    root = np.sqrt(weights)
    scaled = features * root[:, None]
    gram = scaled.T @ scaled
    gram[np.diag_indices_from(gram)] += 1e-10 * draws  # features are orthonormal under q: this is relative
    inverse = np.linalg.inv(gram)
    offset = np.average(values, weights=weights)
    projected = scaled @ inverse
    coefficients = projected.T @ (root * (values - offset))
    leverage = np.einsum("sp,sp->s", projected, scaled)
    # Leave-one-out residuals: in-sample ones are too small by the leverage, and so would the error be.
    residual = (values - offset - features @ coefficients) / np.maximum(1 - leverage, 0.05)
    rows = np.concatenate([[0], basis.rows(1), basis.rows(2)])
    influence = projected[:, rows] * (root * residual)[:, None]
    influence = influence[0::2] + influence[1::2]  # the two draws of an antithetic pair are one observation
    covariance = influence.T @ influence * (len(influence) / max(len(influence) - 1, 1))
    scale = np.concatenate([np.ones(dim), np.full(dim, sqrt(2))])
    gradient = scale * coefficients[rows[1:]]
    gradient[dim:] += 1  # the entropy
    precision, hessian = _curvature(coefficients, basis)
    if basis.degree < 4:
        hessian += _projected_curvature(u, weights * residual / weights.sum(), basis)
    return Regression(
        basis=basis,
        expected_value=float(coefficients[0] + offset),
        expected_value_se=float(np.sqrt(covariance[0, 0])),
        gradient=gradient,
        covariance=covariance[1:, 1:] * np.outer(scale, scale),
        precision=precision,
        hessian=hessian,
        residual_sd=float(np.sqrt(np.average(residual**2, weights=weights))),
        effective_draws=effective,
    )


def _curvature(coefficients: Array, basis: Basis) -> tuple[Array, Array]:
    """-E[Hessian] and the negative Hessian of the ELBO from the coefficients of orders two to four.

    With moments E[log p He_a] = sqrt(a!) c_a, the second derivatives of the ELBO are
    (m_i, m_j): He_1 He_1, He_2 for i = j;  (m_i, r_j): He_1(u_i) He_2(u_j), He_3 for i = j;
    (r_i, r_j): He_2 He_2, He_4 + 2 He_2 for i = j.
    """
    dim = len(basis.known)
    moments = basis.roots * coefficients[: len(basis.roots)]

    def table(*order: int) -> Array:
        """-E[log p He_order] as a matrix over the coordinates that the order names."""
        matrix = np.zeros((dim, dim))
        rows = basis.rows(*order)
        if len(rows):
            matrix[basis.coordinates[rows, 0], basis.coordinates[rows, len(order) - 1]] = -moments[rows]
        return matrix

    second, pairs, squares = table(2), table(1, 1), table(2, 2)
    precision = second + pairs + pairs.T
    if len(coefficients) > len(moments):
        precision = precision + coefficients[-1] * basis.known
    hessian = _block_hessian(precision)
    cross = table(1, 2) + table(2, 1).T + table(3)
    hessian[:dim, dim:], hessian[dim:, :dim] = cross, cross.T
    hessian[dim:, dim:] += squares + squares.T + table(4)
    return precision, hessian


def _projected_curvature(u: Array, weighted_residual: Array, basis: Basis) -> Array:
    """What the residual holds of the third and fourth orders that the basis lacks, to add to the Hessian.

    He_a is orthogonal to the basis under q, so E[log p He_a] = E[residual He_a]. Only what stands out of
    its noise counts; it changes the Newton matrix, never the gradient.
    """
    dim = u.shape[1]
    first, second = u, u**2 - 1
    added = np.zeros((2 * dim, 2 * dim))

    def significant(left: Array, right: Array) -> Array:
        moments = (left * weighted_residual[:, None]).T @ right
        noise = np.sqrt((left**2 * weighted_residual[:, None] ** 2).T @ right**2)
        np.fill_diagonal(moments, 0.0)
        return np.where(np.abs(moments) > SIGNIFICANT * noise, -moments, 0.0)

    if basis.degree < 3:
        cross = significant(first, second)
        added[:dim, dim:], added[dim:, :dim] = cross, cross.T
    added[dim:, dim:] = significant(second, second)
    return added


def _block_hessian(precision: Array) -> Array:
    """Negative Hessian of the ELBO of a quadratic: the precision, and twice its diagonal for the log sds."""
    dim = len(precision)
    hessian = np.zeros((2 * dim, 2 * dim))
    hessian[:dim, :dim] = precision
    hessian[dim:, dim:] = np.diag(2 * np.diag(precision))
    return hessian
