"""Metrics for Hamiltonian chains: curvature at a few draws, then a diagonal and a few directions from all of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import eigh

Array = np.ndarray

# Draws that show the leading directions.
_ROWS = 1024
# Errors of positions, in sds of the narrowest directions, that no acceptance notices.
_LITTLE = 1e-4
# Latents from which products of matrices are most of what turned coordinates cost.
_LARGE = 100


@dataclass(frozen=True)
class MetricPolicy:
    """How a metric is fitted.

    Attributes
    ----------
    dense : int
        Latents up to which all directions are considered; above, those in which draws or gradients vary most.
    directions : int
        The most directions above that.
    kept : float
        Eigenvalues between its inverse and this are as good as one, and kept as such.
    curved : int
        Latents up to which curvature is measured, which takes as many gradients at each of some draws, ...
    points, numbers : int
        ... so many, fewer (but two at least) where that is more gradients than the second.
    flattest : float
        Curvature, in units of the inverse variances that draws and gradients show, that flat directions are taken to
        have.
    """

    dense: int = 400
    directions: int = 40
    kept: float = 1.3
    curved: int = 1500
    points: int = 24
    numbers: int = 12000
    flattest: float = 1e-3

    def looks(self, dim: int) -> int:
        """At how many draws the curvature of so many latents is measured."""
        return int(np.clip(self.numbers // dim, 2, self.points))


@dataclass(frozen=True, eq=False)
class Metric:
    """An approximate posterior covariance ``F F'``, F = B diag(scale) (I + U diag(stretch - 1) U').

    Attributes
    ----------
    scale : (D,)
    directions : (D, K), orthonormal columns U
    stretch : (K,)
        Standard deviations along them, relative to the scale.
    base : Base, optional
        B; the identity if None.
    """

    scale: Array
    directions: Array
    stretch: Array
    base: Base | None = None

    @classmethod
    def diagonal(cls, sd: Array) -> Metric:
        """Of independent latents."""
        return cls(np.array(sd), np.empty((len(sd), 0)), np.empty(0))

    @classmethod
    def of_covariance(cls, covariance: Array, policy: MetricPolicy = MetricPolicy()) -> Metric:  # noqa: B008
        """Of a covariance (D, D)."""
        scale = np.sqrt(np.diag(covariance))
        values, vectors = np.linalg.eigh(covariance / np.outer(scale, scale))
        return cls(scale, *_kept(values, vectors, policy))

    def to_position(self, e: Array) -> Array:
        """``e F'``: from whitened moves (S, D) to moves of the latents."""
        inner = e @ self.directions
        moved = self.scale * (e + (inner * (self.stretch - 1.0)) @ self.directions.T)
        return np.asarray(moved if self.base is None else moved @ self.base.factor.T)

    def velocity(self, p: Array) -> Array:
        """``p F F'``: the moves of the latents that momenta (S, D) bring."""
        return self.to_position(self.to_whitened(p)) if self.base is None else p @ self._covariance

    def momentum(self, e: Array) -> Array:
        """``e F^-1``: momenta from whitened ones (S, D)."""
        inner = e @ self.directions
        p = (e + (inner * (1.0 / self.stretch - 1.0)) @ self.directions.T) / self.scale
        return np.asarray(p if self.base is None else p @ self.base.inverse)

    @cached_property
    def log_volume(self) -> float:
        """log |F|."""
        own = 0.0 if self.base is None else float(np.linalg.slogdet(self.base.factor)[1])
        return float(np.log(self.scale).sum() + np.log(self.stretch).sum() + own)

    @cached_property
    def variances(self) -> Array:
        """The diagonal (D,) of the covariance."""
        if self.base is not None:
            return np.asarray(np.diag(self._covariance))
        return np.asarray(self.scale**2 * (1.0 + self.directions**2 @ (self.stretch**2 - 1.0)))

    @cached_property
    def _covariance(self) -> Array:
        rows = self.to_position(np.eye(len(self.scale)))
        return np.asarray(rows.T @ rows)

    def to_whitened(self, g: Array) -> Array:
        """``g F``: from gradients (S, D) in the latents to those in whitened coordinates."""
        scaled = (g if self.base is None else g @ self.base.factor) * self.scale
        inner = scaled @ self.directions
        return np.asarray(scaled + (inner * (self.stretch - 1.0)) @ self.directions.T)

    def whiten(self, u: Array) -> Array:
        """``u F^-T``: positions (S, D) in whitened coordinates."""
        scaled = (u if self.base is None else u @ self.base.inverse.T) / self.scale
        inner = scaled @ self.directions
        return np.asarray(scaled + (inner * (1.0 / self.stretch - 1.0)) @ self.directions.T)


@dataclass(frozen=True, eq=False)
class Base:
    """A factor (D, D) of a covariance, and its inverse."""

    factor: Array
    inverse: Array

    @cached_property
    def squares(self) -> Array:
        """Of the factor, (D, D)."""
        return np.asarray(self.factor**2)

    @cached_property
    def quick(self) -> Array:
        """The factor in single precision, with which products of many latents take half as long, or itself.

        Itself where errors of positions, in units of the narrowest directions, would be more than a little.
        """
        if len(self.factor) < _LARGE:
            return self.factor
        single = self.factor.astype(np.float32)
        e = np.cos(np.arange(8.0 * len(single)) ** 2).reshape(8, -1)
        off = (e.astype(np.float32) @ single.T - e @ self.factor.T) @ self.inverse.T
        return single if np.max(np.abs(off), initial=0.0) < _LITTLE else self.factor

    def outward(self, e: Array) -> Array:
        """``e F'``, (S, D), to such a precision."""
        return np.asarray(e.astype(self.quick.dtype) @ self.quick.T, dtype=float)

    def inward(self, g: Array) -> Array:
        """``g F``, (S, D), to the same."""
        return np.asarray(g.astype(self.quick.dtype) @ self.quick, dtype=float)

    @classmethod
    def of_curvature(cls, curvature: Array, scale: Array, policy: MetricPolicy) -> Base:
        """The inverse of minus a mean Hessian (D, D), which is given in units of scales (D,).

        Curvature at draws of the target has the covariance of the gradients as its mean, and where the target is near
        to a Gaussian hardly any variance, so that a few draws tell more of it than thousands of gradients.
        """
        values, vectors = np.linalg.eigh(curvature)
        sds = 1.0 / np.sqrt(np.maximum(np.abs(values), policy.flattest))
        return cls(scale[:, None] * vectors * sds, (vectors / sds).T / scale)


def fitted(
    x: Array,
    g: Array,
    policy: MetricPolicy = MetricPolicy(),  # noqa: B008
    base: Base | None = None,
    together: Array | None = None,
) -> Metric:
    """The metric that draws x (S, D) and the gradients g (S, D) of the log density there ask for.

    The matrix M that minimises the Fisher divergence of N(mean, M) solves ``M Cov(g) M = Cov(x)``: the geometric mean
    of the draws' covariance and of the inverse of the gradients' (Seyboldt, Carlson and Carpenter 2026). On the
    diagonal that is sd(x) / sd(g); the coordinates `together` are among those whose correlations count.
    Correlations are shrunk by as much as so many draws of so many latents leave unknown.
    """
    if base is not None:
        x, g = x @ base.inverse.T, g @ base.factor
    sx, sg = x.std(axis=0), g.std(axis=0)
    scale = np.sqrt(np.maximum(sx, 1e-300) / np.maximum(sg, 1e-300))
    x, g = (x - x.mean(axis=0)) / scale, (g - g.mean(axis=0)) * scale
    count, dim = x.shape
    basis = np.eye(dim) if dim <= policy.dense else _leading(x, g, policy.directions, together)
    x, g = x @ basis, g @ basis
    shrink = min(0.9, basis.shape[1] / (basis.shape[1] + 0.5 * count))
    of_x, of_g = (_shrunk(one.T @ one / count, shrink) for one in (x, g))
    values, vectors = np.linalg.eigh(_geometric_mean(of_x, of_g))
    directions, stretch = _kept(values, vectors, policy)
    return Metric(scale, basis @ directions, stretch, base)


def _kept(values: Array, vectors: Array, policy: MetricPolicy) -> tuple[Array, Array]:
    """Directions whose variances (eigenvalues) are not as good as one, and the sds along them."""
    values = np.maximum(values, 1e-12)
    kept = (values > policy.kept) | (values < 1.0 / policy.kept)
    return vectors[:, kept], np.sqrt(values[kept])


def _leading(x: Array, g: Array, count: int, together: Array | None) -> Array:
    """An orthonormal basis (D, <= 2 count + C) of the directions in which draws, and gradients, vary most.

    The coordinates `together` (C,) are in it.
    """
    parts = [] if together is None else [np.eye(x.shape[1])[:, together]]
    for one in (x, g):
        some = one[np.linspace(0, len(one) - 1, min(len(one), _ROWS)).astype(int)]
        parts.append(_principal(some, count))
    return np.asarray(np.linalg.qr(np.concatenate(parts, axis=1))[0])


def _principal(rows: Array, count: int) -> Array:
    """The leading right singular vectors of rows (N, D), as columns (D, <= count), from the smaller square."""
    wide = rows.shape[0] < rows.shape[1]
    square = rows @ rows.T if wide else rows.T @ rows
    first = max(len(square) - count, 0)
    values, vectors = eigh(square, subset_by_index=[first, len(square) - 1])
    # Of what is nothing but rounding there is no direction.
    vectors = vectors[:, values > 1e-12 * values[-1]]
    found = rows.T @ vectors if wide else vectors
    return np.asarray(found / np.linalg.norm(found, axis=0))


def _shrunk(covariance: Array, shrink: float) -> Array:
    return (1.0 - shrink) * covariance + shrink * np.diag(np.diag(covariance))


def _geometric_mean(of_x: Array, of_g: Array) -> Array:
    """The symmetric M with M of_g M = of_x."""
    values, vectors = np.linalg.eigh(of_g)
    values = np.maximum(values, 1e-12 * max(values[-1], 1e-300))
    root, inverse = (vectors * np.sqrt(values)) @ vectors.T, (vectors / np.sqrt(values)) @ vectors.T
    inner, turned = np.linalg.eigh(root @ of_x @ root)
    middle = (turned * np.sqrt(np.maximum(inner, 0.0))) @ turned.T
    mean = inverse @ middle @ inverse
    return np.asarray((mean + mean.T) / 2)
