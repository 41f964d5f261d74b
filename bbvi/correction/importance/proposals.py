"""Proposals for importance sampling: Gaussians, heavier tails, and mixtures of them fitted to weighted draws."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.special import gammaln

Array = np.ndarray

LOG_2PI = math.log(2.0 * math.pi)
# Above, moments of all pairs of latents cost more than they are worth, and draws are too few for several covariances.
_PAIRED_DIM = 60


class Proposal(Protocol):
    """A distribution on R^D that can be sampled and evaluated."""

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draws (n, D)."""

    def log_density(self, u: Array) -> Array:
        """Normalised log density (n,) at u (n, D)."""


@dataclass(frozen=True, eq=False)
class Gaussian:
    """N(mean, factor factor'), with ``factor`` (D, D) lower triangular."""

    mean: Array
    factor: Array

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Antithetic draws (n, D) whose sample covariance is exact where n allows."""
        return np.asarray(self.mean + balanced_normal(n, len(self.mean), rng) @ self.factor.T)

    def log_density(self, u: Array) -> Array:
        """Log density (n,) at u (n, D)."""
        return _log_normal(whiten(u, self.mean, self.factor)) - _log_det(self.factor)


@dataclass(frozen=True, eq=False)
class StudentT:
    """Multivariate Student-t with location ``mean``, scale matrix ``factor factor'`` and ``df`` degrees of freedom."""

    mean: Array
    factor: Array
    df: float

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draws (n, D)."""
        radius = np.sqrt(self.df / rng.chisquare(self.df, size=(n, 1)))
        return np.asarray(self.mean + (radius * balanced_normal(n, len(self.mean), rng)) @ self.factor.T)

    def log_density(self, u: Array) -> Array:
        """Log density (n,) at u (n, D)."""
        dim, df = len(self.mean), self.df
        square = _square_norms(whiten(u, self.mean, self.factor))
        constant = gammaln(0.5 * (df + dim)) - gammaln(0.5 * df) - 0.5 * dim * math.log(df * math.pi)
        return np.asarray(constant - _log_det(self.factor) - 0.5 * (df + dim) * np.log1p(square / df))


@dataclass(frozen=True, eq=False)
class Stretched:
    """A Gaussian that is stretched along one direction per draw, to look for what lies beyond it.

    In whitened coordinates e ~ N(0, I) a direction v is picked at random from ``directions`` (J, D; unit rows), and
    the coordinate of e along v is replaced by a draw of ``scale * t(df)``. Unlike a multivariate t, whose
    radius moves all coordinates at once, it keeps good density in high dimension where one latent alone has a long
    tail.
    """

    mean: Array
    factor: Array
    directions: Array
    df: float = 4.0
    scale: float = 1.7

    @classmethod
    def along_axes(cls, mean: Array, factor: Array) -> Stretched:
        """Along each latent (with the others' regressions on it) and each principal axis."""
        axes = np.linalg.svd(factor)[2][: len(mean) if len(mean) > 1 else 0]
        return cls(mean, factor, np.concatenate([_unit_rows(factor), axes]))

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draws (n, D); the directions take turns."""
        base = balanced_normal(n, len(self.mean), rng)
        chosen = self.directions[rng.permutation(n) % len(self.directions)]
        length = self.scale * rng.standard_t(self.df, size=n)
        base += (length - (base * chosen).sum(axis=1))[:, None] * chosen
        return np.asarray(self.mean + base @ self.factor.T)

    def log_density(self, u: Array) -> Array:
        """Log density (n,) at u (n, D)."""
        e = whiten(u, self.mean, self.factor)
        along = self.directions @ e.T
        df, scale = self.df, self.scale
        constant = gammaln(0.5 * (df + 1.0)) - gammaln(0.5 * df) - 0.5 * math.log(df * math.pi) - math.log(scale)
        stretched = constant - 0.5 * (df + 1.0) * np.log1p(np.square(along / scale) / df)
        ratio = stretched + 0.5 * np.square(along) + 0.5 * LOG_2PI
        mixed = log_sum_exp(ratio.T) - math.log(len(self.directions))
        return np.asarray(_log_normal(e) - _log_det(self.factor) + mixed)


@dataclass(frozen=True, eq=False)
class Bent:
    """A Gaussian whose other latents bend and widen along one that leads: ridges, valleys and funnels.

    With the leader u_i and t = (u_i - mean_i) / scale in its own sds, the others are

        r = mean_r + slope t + factor (bend (t^2 - 1) + exp(rate t) * e),    e ~ N(0, I),

    and t is ``spread`` times a Student-t with ``df`` degrees of freedom. ``slope``, ``bend`` and ``rate`` have shape
    (D - 1,), ``factor`` (D - 1, D - 1) is lower triangular.
    """

    mean: Array
    index: int
    scale: float
    slope: Array
    factor: Array
    bend: Array
    rate: Array
    df: float = 4.0
    spread: float = 1.2

    @classmethod
    def fitted(cls, u: Array, weights: Array, ess: float, index: int) -> Bent:
        """To weighted draws (S, D) with an effective size; bends and rates that may be noise are zero.

        Raises
        ------
        numpy.linalg.LinAlgError
            If the draws have no positive definite covariance.
        """
        mean = weights @ u
        others = np.delete(np.arange(len(mean)), index)
        centred = u - mean
        scale = float(np.sqrt(weights @ centred[:, index] ** 2))
        t, r = centred[:, index] / scale, centred[:, others]
        slope = (weights * t) @ r
        rest = r - np.outer(t, slope)
        factor = np.linalg.cholesky((rest * weights[:, None]).T @ rest)
        e = rest @ np.linalg.inv(factor).T
        bend = _significant(e, t**2 - 1.0, weights, ess)
        e = e - np.outer(t**2 - 1.0, bend)
        with np.errstate(divide="ignore"):
            length = np.maximum(np.log(np.abs(e)), -10.0)
        rate = np.clip(_significant(length - weights @ length, t, weights, ess), -1.0, 1.0)
        # What is left is narrower than before: bends and rates explain a part of the spread.
        left = np.sqrt(weights @ (e * np.exp(-_bounded(np.outer(t, rate)))) ** 2)
        return cls(mean, index, scale, slope, factor * (1.1 * left), bend / (1.1 * left), rate)

    @property
    def strength(self) -> float:
        """How far from a Gaussian: the root of the sum of squares of all bends and rates."""
        return float(np.sqrt(2 * np.sum(self.bend**2) + np.sum(self.rate**2)))

    def _centre(self, t: Array) -> Array:
        return np.asarray(np.outer(t, self.slope) + np.outer(t**2 - 1.0, self.bend) @ self.factor.T)

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draws (n, D)."""
        t = self.spread * rng.standard_t(self.df, size=n)
        e = balanced_normal(n, len(self.slope), rng) * np.exp(_bounded(np.outer(t, self.rate)))
        r = self._centre(t) + e @ self.factor.T
        return np.asarray(self.mean + np.insert(r, self.index, self.scale * t, axis=1))

    def log_density(self, u: Array) -> Array:
        """Log density (n,) at u (n, D)."""
        centred, df = u - self.mean, self.df
        t = centred[:, self.index] / self.scale
        log_width = _bounded(np.outer(t, self.rate))
        e = (np.delete(centred, self.index, axis=1) - self._centre(t)) @ np.linalg.inv(self.factor).T
        constant = gammaln(0.5 * (df + 1.0)) - gammaln(0.5 * df) - 0.5 * math.log(df * math.pi)
        square = np.square(t / self.spread)
        leader = constant - math.log(self.spread * self.scale) - 0.5 * (df + 1.0) * np.log1p(square / df)
        return np.asarray(leader + _log_normal(e * np.exp(-log_width)) - log_width.sum(axis=1) - _log_det(self.factor))


@dataclass(frozen=True, eq=False)
class Mixture:
    """A mixture of proposals; its draws take each component in its share, in random order (Owen and Zhou 2000)."""

    components: tuple[Proposal, ...]
    weights: Array

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draws (n, D)."""
        ends = np.floor(np.cumsum(self.weights) / np.sum(self.weights) * n + rng.random()).astype(int)
        ends[-1] = n
        counts = np.diff(np.minimum(ends, n), prepend=0)
        parts = [c.sample(int(k), rng) for c, k in zip(self.components, counts, strict=True) if k > 0]
        return rng.permutation(np.concatenate(parts))

    def log_density(self, u: Array) -> Array:
        """Log density (n,) at u (n, D)."""
        parts = np.stack([c.log_density(u) for c in self.components])
        return log_sum_exp((parts + np.log(self.weights / np.sum(self.weights))[:, None]).T)


def components_of(proposal: Proposal) -> list[tuple[Proposal, float]]:
    """What a proposal is a mixture of, however nested, with shares that sum to one; itself if it is none."""
    if not isinstance(proposal, Mixture):
        return [(proposal, 1.0)]
    total = float(np.sum(proposal.weights))
    return [
        (part, share * float(weight) / total)
        for component, weight in zip(proposal.components, proposal.weights, strict=True)
        for part, share in components_of(component)
    ]


def fit_mixture(
    x: Array, count: int, mean: Array, factor: Array, ess: float, steps: int = 8
) -> tuple[list[Proposal], Array]:
    """Gaussian components and shares by expectation maximisation, from slices across the most skewed direction.

    Covariances (n, D, D) are shrunk towards half of the overall one with the weight of D + 2 draws out of ``ess``, and
    widened by 1.07, since a proposal should be wider than its target. Of more than 60 latents it is one Gaussian.
    """
    n, dim = x.shape
    if count == 1 or dim > _PAIRED_DIM:
        return [Gaussian(mean, 1.1 * factor)], np.ones(1)
    e = whiten(x, mean, factor)
    rows, columns = np.tril_indices(dim)
    pairs = np.ascontiguousarray(e.T)[rows] * e.T[columns]
    twice = np.where(rows == columns, 1.0, 2.0)
    # The direction of the most third-order structure: skewness, funnels, bends.
    third = (pairs * np.sqrt(twice)[:, None]) @ e
    skewed = np.linalg.eigh(third.T @ third)[1][:, -1]
    level = np.empty(n)
    level[np.argsort(e @ skewed)] = (np.arange(n) + 0.5) / n
    log_r = -0.5 * np.square((level - (np.arange(count)[:, None] + 0.5) / count) * count / 0.7)  # (K, n)
    prior = dim + 2.0
    # Moments and quadratic forms of all components are matrix products with the pairs.
    second = np.empty((count, dim, dim))
    for _ in range(steps):
        r = np.exp(log_r - log_sum_exp(log_r.T)) / n
        shares = r.sum(axis=1) + 1e-12
        means = (r @ e) / shares[:, None]
        second[:, rows, columns] = second[:, columns, rows] = r @ pairs.T
        scatter = second - shares[:, None, None] * means[:, :, None] * means[:, None]
        scatter = (ess * scatter + 0.5 * prior * np.eye(dim)) / (ess * shares[:, None, None] + prior)
        factors = np.linalg.cholesky(scatter)
        inverse = np.linalg.inv(factors)
        precision = np.matmul(inverse.transpose(0, 2, 1), inverse)
        centre = np.matmul(precision, means[:, :, None])[:, :, 0]
        height = np.log(shares) - np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(axis=1)
        height -= 0.5 * np.sum(centre * means, axis=1)
        log_r = centre @ e.T - 0.5 * (twice * precision[:, rows, columns]) @ pairs + height[:, None]
    return [Gaussian(mean + factor @ m, 1.07 * factor @ f) for m, f in zip(means, factors, strict=True)], shares


def balanced_normal(n: int, dim: int, rng: np.random.Generator) -> Array:
    """Standard normal draws (n, D) in antithetic pairs, whitened where there are enough of them."""
    half = rng.standard_normal(((n + 1) // 2, dim))
    if len(half) >= 4 * dim:
        half = half @ np.linalg.inv(np.linalg.cholesky(half.T @ half / len(half))).T
    return np.concatenate([half, -half])[:n]


def whiten(u: Array, mean: Array, factor: Array) -> Array:
    """Coordinates e (n, D) with ``u = mean + factor e``."""
    return np.asarray((u - mean) @ np.linalg.inv(factor).T)


def log_sum_exp(a: Array) -> Array:
    """Log of the sum of exp(a) over the last axis; rows of ``-inf`` stay ``-inf``. Fastest for a transposed array."""
    top = a.max(axis=-1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.exp(a - top).sum(axis=-1)) + top[..., 0])


def _unit_rows(factor: Array) -> Array:
    return np.asarray(factor / np.linalg.norm(factor, axis=1, keepdims=True))


def _log_normal(e: Array) -> Array:
    return np.asarray(-0.5 * _square_norms(e) - 0.5 * e.shape[1] * LOG_2PI)


def _square_norms(e: Array) -> Array:
    return np.asarray(np.einsum("nd,nd->n", e, e))


def _log_det(factor: Array) -> float:
    """Log determinant of a triangular factor."""
    return float(np.log(np.diag(factor)).sum())


def _bounded(log_width: Array) -> Array:
    return np.asarray(np.clip(log_width, -4.0, 4.0))


def _significant(y: Array, x: Array, weights: Array, ess: float) -> Array:
    """Weighted regression coefficients (R,) of columns y (S, R) on x (S,) that exceed three standard errors, else 0."""
    square = weights @ x**2
    coefficient = (weights * x) @ y / square
    residual = y - np.outer(x, coefficient)
    error = np.sqrt((weights * x**2) @ residual**2 / max(ess, 1.0)) / square
    return np.where(np.abs(coefficient) > 3.0 * error, coefficient, 0.0)
