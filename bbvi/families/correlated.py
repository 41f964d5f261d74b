"""Gaussian families with correlations: full rank, and independent coordinates with a few common factors."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from scipy.linalg import solve_triangular

Array = np.ndarray


class Correlated:
    """What Gaussians with correlations share: a mean, marginal sds, and ways from and to standardized coordinates."""

    _arguments: ClassVar[tuple[str, ...]]
    # Whether the family has every covariance, so that linear response at its optimum has nothing to add.
    whole: ClassVar[bool] = False
    mean: Array
    sd: Array
    dim: int

    def at(self, e: Array) -> Array:
        """The points (..., D) that standardized ones stand for."""
        raise NotImplementedError

    def standardize(self, z: Any) -> Array:
        """Points (..., D) in standardized coordinates, in which q is N(0, I)."""
        raise NotImplementedError

    def pulled(self, z: Array) -> Array:
        """``Sigma^-1 (z - mean)`` at draws (n, D)."""
        raise NotImplementedError

    @property
    def covariance(self) -> Array:
        """(D, D)."""
        return self.block(np.arange(self.dim))

    def block(self, index: Array) -> Array:
        """The covariance of some of the coordinates, (K, K)."""
        raise NotImplementedError

    @property
    def log_scale(self) -> float:
        """Half the log determinant of the covariance."""
        raise NotImplementedError

    def sample(self, n: int, rng: np.random.Generator | int | None = None) -> Array:
        """Draws, shape (n, D)."""
        return self.at(np.random.default_rng(rng).standard_normal((n, self.dim)))

    def log_density(self, z: Any) -> Array:
        """Log density in nats at z, shape (..., D) to (...)."""
        e = self.standardize(z)
        return np.asarray(-0.5 * np.sum(e * e, axis=-1) - self.log_scale - 0.5 * self.dim * np.log(2 * np.pi))

    def entropy(self) -> float:
        """Entropy in nats."""
        return float(self.log_scale + 0.5 * self.dim * (1.0 + np.log(2 * np.pi)))

    def _centred(self, z: Any) -> Array:
        z = np.asarray(z, dtype=float)
        if z.ndim == 0 or z.shape[-1] != self.dim:
            raise ValueError(f"z: expected shape (..., {self.dim}), got {z.shape}")
        return np.asarray(z - self.mean)

    def __repr__(self) -> str:
        shown = (f"{name}={np.array2string(getattr(self, name), precision=4, threshold=6)}" for name in ("mean", "sd"))
        return f"{type(self).__name__}({', '.join(shown)})"


class FullRankGaussian(Correlated):
    """Gaussian with any covariance ``L L'``; its parameters are the means, then L row by row up to the diagonal.

    Parameters
    ----------
    mean : array_like, shape (D,)
    factor : array_like, shape (D, D)
        L, lower triangular with a positive diagonal.

    Attributes
    ----------
    mean, sd : ndarray, shape (D,), read-only
        Marginal means and sds.
    factor : ndarray, shape (D, D), read-only
    covariance : ndarray, shape (D, D)
    dim : int
        D.

    Raises
    ------
    ValueError
        If the shapes disagree, or the factor is not lower triangular with a positive diagonal.

    Examples
    --------
    >>> q = FullRankGaussian([0.0, 1.0], [[1.0, 0.0], [0.9, 0.5]])
    >>> q.sample(5, 1).shape
    (5, 2)
    """

    _arguments = ("mean", "factor")
    whole = True

    def __init__(self, mean: Any, factor: Any) -> None:
        self.mean, self.factor = _frozen("mean", mean, 1), _frozen("factor", factor, 2)
        self.dim = len(self.mean)
        if self.factor.shape != (self.dim, self.dim):
            raise ValueError(f"factor: expected shape ({self.dim}, {self.dim}), got {self.factor.shape}")
        if np.any(np.triu(self.factor, 1)) or not np.all(np.diag(self.factor) > 0):
            raise ValueError("factor: expected a lower triangular matrix with a positive diagonal")
        self.sd = _frozen("sd", np.sqrt(np.sum(self.factor**2, axis=1)), 1)

    def block(self, index: Array) -> Array:
        return np.asarray(self.factor[index] @ self.factor[index].T)

    @property
    def parameters(self) -> list[str]:
        """Names of the D + D (D + 1) / 2 parameters: ``mean[0]``, ..., ``factor[0, 0]``, ``factor[1, 0]``, ..."""
        rows, columns = self._lower
        return [
            *(f"mean[{i}]" for i in range(self.dim)),
            *(f"factor[{i}, {j}]" for i, j in zip(rows, columns, strict=True)),
        ]

    @property
    def _lower(self) -> tuple[Array, Array]:
        return np.tril_indices(self.dim)

    @property
    def log_scale(self) -> float:
        return float(np.log(np.diag(self.factor)).sum())

    def at(self, e: Array) -> Array:
        return np.asarray(self.mean + e @ self.factor.T)

    def standardize(self, z: Any) -> Array:
        centred = self._centred(z)
        flat = centred.reshape(-1, self.dim)
        return np.asarray(solve_triangular(self.factor, flat.T, lower=True).T.reshape(centred.shape))

    def pulled(self, z: Array) -> Array:
        return np.asarray(solve_triangular(self.factor, self.standardize(z).T, lower=True, trans="T").T)

    def score(self, z: Any) -> Array:
        """Derivative of the log density with respect to (mean, factor), shape (n, P).

        With e = L^-1 (z - mean): L^-T e for the mean, and the lower triangle of L^-T e e' - diag(1 / L_ii) for L.
        """
        e, pulled = self.standardize(z), self.pulled(z)
        rows, columns = self._lower
        by_factor = pulled[:, rows] * e[:, columns]
        by_factor[:, rows == columns] -= 1.0 / np.diag(self.factor)
        return np.concatenate([pulled, by_factor], axis=1)

    def path(self, z: Any, gradient: Any) -> Array:
        """Chain rule through ``z = mean + L e``: `gradient` (n, D) of a cost at z to shape (n, P)."""
        gradient = np.asarray(gradient, dtype=float)
        rows, columns = self._lower
        return np.concatenate([gradient, gradient[:, rows] * self.standardize(z)[:, columns]], axis=1)

    def entropy_gradient(self) -> Array:
        """Derivative of the entropy with respect to (mean, factor), shape (P,)."""
        rows, columns = self._lower
        return np.concatenate([np.zeros(self.dim), np.where(rows == columns, 1.0 / self.factor[rows, columns], 0.0)])


class LowRankGaussian(Correlated):
    """Gaussian with covariance ``diag(scale^2) + U U'``: coordinates of their own, and R common factors.

    Its parameters are the means, the logs of the scales, then U row by row.

    Parameters
    ----------
    mean, scale : array_like, shape (D,)
    factors : array_like, shape (D, R)
        U.

    Attributes
    ----------
    mean, sd, scale : ndarray, shape (D,), read-only
        Marginal means and sds, and what is left of these without the factors.
    factors : ndarray, shape (D, R), read-only
    dim : int
        D.

    Raises
    ------
    ValueError
        If the shapes disagree, or a scale is not positive.

    Examples
    --------
    >>> q = LowRankGaussian([0.0, 1.0], [0.5, 0.5], [[1.0], [2.0]])
    >>> q.covariance
    array([[1.25, 2.  ],
           [2.  , 4.25]])
    """

    _arguments = ("mean", "scale", "factors")

    def __init__(self, mean: Any, scale: Any, factors: Any) -> None:
        self.mean, self.scale = _frozen("mean", mean, 1), _frozen("scale", scale, 1)
        self.factors = _frozen("factors", factors, 2)
        self.dim = len(self.mean)
        if self.scale.shape != (self.dim,) or self.factors.shape[0] != self.dim:
            raise ValueError(
                f"scale, factors: expected shapes ({self.dim},) and ({self.dim}, R), got {self.scale.shape} and "
                f"{self.factors.shape}"
            )
        if not np.all(self.scale > 0):
            raise ValueError(f"scale: expected positive values, got {self.scale.min()}")
        self.sd = _frozen("sd", np.sqrt(self.scale**2 + np.sum(self.factors**2, axis=1)), 1)
        # In units of the scales the covariance is I + A A', whose root stretches along the left singular vectors of A.
        vectors, values, _ = np.linalg.svd(self.factors / self.scale[:, None], full_matrices=False)
        self._directions, self._stretch = vectors, np.sqrt(1.0 + values**2)

    def block(self, index: Array) -> Array:
        return np.asarray(np.diag(self.scale[index] ** 2) + self.factors[index] @ self.factors[index].T)

    @property
    def parameters(self) -> list[str]:
        """Names of the D (2 + R) parameters: ``mean[0]``, ..., ``log_scale[0]``, ..., ``factors[0, 0]``, ..."""
        single = [f"{name}[{i}]" for name in ("mean", "log_scale") for i in range(self.dim)]
        rank = self.factors.shape[1]
        return [*single, *(f"factors[{i}, {j}]" for i in range(self.dim) for j in range(rank))]

    @property
    def log_scale(self) -> float:
        return float(np.log(self.scale).sum() + np.log(self._stretch).sum())

    def at(self, e: Array) -> Array:
        return np.asarray(self.mean + self.scale * self._stretched(e, self._stretch))

    def standardize(self, z: Any) -> Array:
        return self._stretched(self._centred(z) / self.scale, 1.0 / self._stretch)

    def pulled(self, z: Array) -> Array:
        return np.asarray(self._stretched(self._centred(z) / self.scale, self._stretch**-2.0) / self.scale)

    def _stretched(self, e: Array, by: Array) -> Array:
        return np.asarray(e + (e @ self._directions * (by - 1.0)) @ self._directions.T)

    def score(self, z: Any) -> Array:
        """Derivative of the log density with respect to (mean, log_scale, factors), shape (n, P).

        With p = Sigma^-1 (z - mean) and M = p p' - Sigma^-1, half of which is the derivative by Sigma: p for the mean,
        scale^2 diag(M) for the log scales, M U for the factors.
        """
        p = self.pulled(z)
        inner = np.asarray(self._stretched(np.eye(self.dim) / self.scale, self._stretch**-2.0)) / self.scale
        by_scale = self.scale**2 * (p**2 - np.diag(inner))
        by_factors = p[:, :, None] * (p @ self.factors)[:, None] - inner @ self.factors
        return np.concatenate([p, by_scale, by_factors.reshape(len(p), -1)], axis=1)

    def path(self, z: Any, gradient: Any) -> Array:
        """Chain rule, `gradient` (n, D) of a cost at z to shape (n, P).

        In ``z = mean + scale eps + U eta`` there are more variables than coordinates; what z leaves open of them is
        averaged out: E[eps | z] = scale p and E[eta | z] = U' p, with p = Sigma^-1 (z - mean).
        """
        gradient, p = np.asarray(gradient, dtype=float), self.pulled(z)
        by_factors = gradient[:, :, None] * (p @ self.factors)[:, None]
        by_scale = gradient * self.scale**2 * p
        return np.concatenate([gradient, by_scale, by_factors.reshape(len(p), -1)], axis=1)

    def entropy_gradient(self) -> Array:
        """Derivative of the entropy with respect to (mean, log_scale, factors), shape (P,)."""
        inner = self._stretched(np.eye(self.dim) / self.scale, self._stretch**-2.0) / self.scale
        return np.concatenate(
            [np.zeros(self.dim), self.scale**2 * np.diag(inner), (inner @ self.factors).reshape(-1)]
        )


def _frozen(name: str, value: Any, ndim: int) -> Array:
    array = np.array(value, dtype=float)
    if array.ndim != ndim or not np.isfinite(array).all():
        raise ValueError(f"{name}: expected finite numbers in {ndim} dimension{'s' * (ndim > 1)}, got {value!r}")
    array.flags.writeable = False
    return array
