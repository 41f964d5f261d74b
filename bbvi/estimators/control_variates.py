"""Control variates for the score function estimator, each unbiased by construction.

Every function takes costs F (N, G), one column per coordinate of a group, and returns per-draw contributions
whose mean over the draws is the estimate. The coefficients that go with a draw come from the *other* draws:
coefficients from all of them would depend on the draw they correct, and bias the estimate.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from bbvi.families import MeanFieldGaussian
from bbvi.families.protocol import Scored

Array = np.ndarray

DRAWS_PER_FEATURE = 2
_FRESH_DRAWS = 2000


class Features(NamedTuple):
    """Functions of a draw whose expected product with the score is known.

    Attributes
    ----------
    values : ndarray, shape (N, K)
        The features at the draws; the first is the constant.
    moments : ndarray, shape (K, P)
        E[feature score].
    """

    values: Array
    moments: Array


def plain(costs: Array, score: Array) -> Array:
    """No control variate: ``f h``, for costs and score of shape (N, P)."""
    return np.asarray(costs * score)


def optimal_scalar(costs: Array, score: Array) -> Array:
    """One coefficient per parameter, Cov(f h, h) / Var(h) (Ranganath, Gerrish and Blei 2014, eq. 8).

    Since E[h] = 0, it is E[f h^2] / E[h^2]; each draw takes both sums over the other draws.

    Parameters
    ----------
    costs, score : ndarray, shape (N, P)
    """
    if len(costs) == 1:
        return plain(costs, score)
    square = score * score
    # Sums over the others, taken from the costs' mean to lose no digits to a large constant.
    center = np.mean(costs, axis=0)
    products = (costs - center) * square
    others = np.sum(square, axis=0) - square
    usable = others > 1e-12 * np.max(square, axis=0)
    coefficient = center + (np.sum(products, axis=0) - products) / np.where(usable, others, 1.0)
    return np.asarray(np.where(usable, costs - coefficient, costs) * score)


def regression(costs: Array, score: Array, coordinate: Array, features: Features) -> Array:
    """Regression of the cost on features, each draw predicted from the others.

    For draw n with prediction x_n' b_n the contribution is ``(f_n - x_n' b_n) h_n + E[x h]' b_n``, and b_n
    comes from the other draws by the leverages of one QR decomposition. It is zero-variance for costs in the
    span of the features. With the constant alone this is the leave-one-out mean. Where the other draws do not
    determine the coefficients, the draw falls back to the mean of the others; that too depends on the others
    only.

    Parameters
    ----------
    costs : ndarray, shape (N, G)
    score : ndarray, shape (N, P)
    coordinate : ndarray of int, shape (P,)
        Which column of `costs` each parameter uses.
    features : Features
        K features, with moments (K, P).

    References
    ----------
    Salimans and Knowles (2013), section 5: the regression. The leave-one-out form is the usual one of PRESS.
    """
    n = len(costs)
    if n == 1:
        return plain(costs[:, coordinate], score)
    center = np.mean(costs, axis=0)
    residual = (costs - center) * (n / (n - 1.0))
    mean_only = residual[:, coordinate] * score
    if features.values.shape[1] == 1:
        return np.asarray(mean_only)
    scale = np.sqrt(np.mean(features.values**2, axis=0))
    if not np.all(scale > 0):
        return np.asarray(mean_only)
    basis, triangle = np.linalg.qr(features.values / scale)
    diagonal = np.abs(np.diag(triangle))
    if np.min(diagonal) <= 1e-10 * np.max(diagonal):
        return np.asarray(mean_only)
    moments = np.linalg.solve(triangle.T, features.moments / scale[:, None])
    projected = basis.T @ (costs - center)
    slack = 1.0 - np.sum(basis * basis, axis=1)
    determined = slack > 1e-9
    residual = (costs - center - basis @ projected) / np.where(determined, slack, 1.0)[:, None]
    fitted = np.sum(moments * projected[:, coordinate], axis=0)
    contributions = residual[:, coordinate] * (score - basis @ moments) + fitted
    return np.asarray(np.where(determined[:, None], contributions, mean_only))


def gaussian_features(q: MeanFieldGaussian, z: Array, members: Array) -> Features:
    """Hermite polynomials of the standardized draw: 1, eps_i, (eps_i^2 - 1) / sqrt 2, and eps_i eps_j.

    There are at least two draws per feature: the cross terms go first, then the squares, then all but the
    constant.

    Parameters
    ----------
    q : MeanFieldGaussian
    z : ndarray, shape (N, D)
    members : ndarray of int, shape (M,)
        The coordinates that the features are made of.
    """
    n, m, d = len(z), len(members), q.dim
    eps = q.standardize(z)[:, members]
    values, rows = [np.ones((n, 1))], [np.zeros((1, 2 * d))]
    if affordable(1 + m, n):
        values.append(eps)
        block = np.zeros((m, 2 * d))
        block[np.arange(m), members] = 1.0 / q.sd[members]
        rows.append(block)
    if affordable(1 + 2 * m, n):
        values.append((eps * eps - 1.0) / np.sqrt(2.0))
        block = np.zeros((m, 2 * d))
        block[np.arange(m), d + members] = np.sqrt(2.0)
        rows.append(block)
    if m > 1 and affordable(1 + 2 * m + m * (m - 1) // 2, n):
        first, second = np.triu_indices(m, 1)
        values.append(eps[:, first] * eps[:, second])
        rows.append(np.zeros((first.size, 2 * d)))
    return Features(np.concatenate(values, axis=1), np.concatenate(rows))


def score_features(q: Scored, score: Array, columns: Array, rng: np.random.Generator) -> Features:
    """The constant and the score itself, for any q.

    E[h h'] comes from fresh draws of q, which cost no evaluation of f and, being independent of those the
    estimate is made of, leave it unbiased.

    Parameters
    ----------
    q : object with ``sample`` and ``score``
    score : ndarray, shape (N, P)
    columns : ndarray of int
        The parameters whose scores are features.
    """
    n, parameters = score.shape
    ones = np.ones((n, 1))
    if not affordable(1 + columns.size, n):
        return Features(ones, np.zeros((1, parameters)))
    fresh = q.score(q.sample(_FRESH_DRAWS, rng))
    moments = fresh[:, columns].T @ fresh / len(fresh)
    values = np.concatenate([ones, score[:, columns]], axis=1)
    return Features(values, np.concatenate([np.zeros((1, parameters)), moments]))


def affordable(features: int, draws: int) -> bool:
    """Whether so many coefficients can be told from so many draws."""
    return draws >= DRAWS_PER_FEATURE * features


def groups(neighbours: Array) -> Iterator[tuple[Array, Array]]:
    """Coordinates that have the same neighbours, as (coordinates, neighbours), from a bool matrix (D, D)."""
    patterns, which = np.unique(neighbours, axis=0, return_inverse=True)
    for index, pattern in enumerate(patterns):
        yield np.flatnonzero(which.reshape(-1) == index), np.flatnonzero(pattern)
