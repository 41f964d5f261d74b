"""A Gaussian process with a quadratic mean: what few values of a log density say of it everywhere else.

In coordinates e in which the posterior is about standard normal, log p = -|e|^2 / 2 + g(e) + noise, where g has mean
zero and the covariance

    k(e, f) = c0^2 + c1^2 e'f + c2^2 (e'f)^2 / 2 + (a^2 + b^2 e'f + c^2 (e'f)^2 / 2) exp(-|(e - f) / l|^2 / 2):

level, slopes and curvatures with weak priors, so that of quadratics few values are enough, and a rest whose own level,
slopes and curvatures change smoothly from place to place, as the widths of a hierarchy do. Its sizes a, b, c and its
lengths l are those that make the values most likely (Rasmussen and Williams 2006, sections 2.7 and 5.4). Values
far below the best are given a noise that grows with their depth: what the density does there matters little, and a
stationary process cannot follow it (Acerbi 2020, section 3.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_solve, solve_triangular
from scipy.special import chdtri

Array = np.ndarray


@dataclass(frozen=True)
class ProcessPolicy:
    """Priors of the process, in nats and in sds of the posterior, and which values it is fitted to.

    Attributes
    ----------
    level, slope, curvature : float
        The sds c0, c1, c2. A whitening that is wrong by a factor of two is two of them off.
    sizes, slopes, curvatures, lengths : tuple of float
        Median and log sd of the log-normal priors of a, b, c and of each l.
    noises : tuple of float
        Median and log sd of the prior of the noise's sd, where none was seen.
    noise_spread : float
        Log sd of it around the noise that was seen.
    depth, slope_of_noise : float
        Nats below the best value, beyond those that 0.1 % of a Gaussian's draws exceed, from which values count for
        less, and the sd that each further nat adds.
    kept : float
        Multiple of that depth from which values are left out, as long as enough for a quadratic are left.
    near : float
        Radius, in that of a whole posterior, beyond which they are.
    subset : int
        Values to which a and l are fitted: likelihoods cost their cube.
    iterations : int
        Of the optimiser, which starts at what was found before.
    """

    level: float = 20.0
    slope: float = 4.0
    curvature: float = 1.5
    sizes: tuple[float, float] = (2.0, 1.5)
    slopes: tuple[float, float] = (0.3, 1.0)
    curvatures: tuple[float, float] = (0.1, 1.0)
    lengths: tuple[float, float] = (3.0, 0.8)
    noises: tuple[float, float] = (0.01, 0.7)
    noise_spread: float = 1.0
    depth: float = 3.0
    slope_of_noise: float = 0.25
    kept: float = 2.5
    near: float = 1.4
    subset: int = 300
    iterations: int = 12

    def deep(self, dim: int) -> float:
        """Nats below the best value from which values count for less."""
        return 0.5 * float(chdtri(dim, 1e-3)) + self.depth


POLICY = ProcessPolicy()
# Elements of a block of the kernel.
_BLOCK = 2**15
# Of hyperparameters at which the covariance is not positive definite.
_UNLIKELY = 1e100
# Of the logarithms of a, noise, b, c and l, so that no matrix is singular.
_LOWEST, _HIGHEST = np.log([1e-2, 1e-3, 1e-3, 1e-3, 0.3]), np.log([100.0, 100.0, 30.0, 10.0, 30.0])


class Frame(NamedTuple):
    """Coordinates e in which the posterior is about standard normal: ``u = centre + factor e``, factor triangular."""

    centre: Array
    factor: Array

    def whiten(self, u: Array) -> Array:
        """Coordinates (S, D) of draws u (S, D)."""
        return np.asarray(solve_triangular(self.factor, (u - self.centre).T, lower=True, check_finite=False).T)

    def restore(self, e: Array) -> Array:
        """Draws u (S, D) at coordinates (S, D)."""
        return np.asarray(self.centre + e @ self.factor.T)

    def moved(self, mean: Array, covariance: Array) -> Frame:
        """The frame in which draws with these moments, in the coordinates of this one, are standard."""
        # A product of lower triangular factors is one; by its square, half of the digits would be lost.
        return Frame(self.restore(mean), self.factor @ np.linalg.cholesky(covariance))


@dataclass(frozen=True, eq=False)
class Process:
    """The process given N values.

    Attributes
    ----------
    frame : Frame
    points : (N, D), in the frame's coordinates
    values : (N,)
    shaped : (N,)
        Variances beyond the noise's own, of values far down.
    logs : (4 + D,)
        Logarithms of a, of the noise's sd, of b, c and l.
    cholesky : (N, N)
        Factor of the covariance of the values.
    weights : (N,)
        What each value contributes to the mean elsewhere.
    """

    frame: Frame
    points: Array
    values: Array
    shaped: Array
    logs: Array
    cholesky: Array
    weights: Array
    policy: ProcessPolicy = POLICY

    @property
    def top(self) -> float:
        """The highest value."""
        return float(self.values.max())

    @property
    def noise_sd(self) -> float:
        """Sd of the noise, or of what the kernel cannot follow, in nats."""
        return float(np.exp(self.logs[1]))

    def log_density(self, u: Array) -> Array:
        """The mean of the log density at draws u (S, D)."""
        return self.mean(self.frame.whiten(u))

    def mean(self, e: Array) -> Array:
        """The same in the frame's coordinates (S, D)."""
        k = _kernel(e, self.points, self.logs, self.policy)
        return np.asarray(k @ self.weights - 0.5 * np.einsum("sd,sd->s", e, e) + self.top)

    def variance(self, e: Array) -> Array:
        """Variances (S,) of the log density, without the noise."""
        square, policy = np.einsum("sd,sd->s", e, e), self.policy
        a, _, b, c = np.exp(2 * self.logs[:4])
        prior = a + policy.level**2 + (b + policy.slope**2) * square + 0.5 * (c + policy.curvature**2) * square**2
        projected = self._projected(e)
        return np.asarray(np.maximum(prior - np.einsum("ns,ns->s", projected, projected), 1e-12))

    def covariance(self, e: Array) -> Array:
        """Covariance (S, S) of the log densities, without the noise."""
        projected = self._projected(e)
        return np.asarray(_kernel(e, e, self.logs, self.policy) - projected.T @ projected)

    def left_out(self) -> tuple[Array, Array]:
        """Residual (N,) of each value to the process given the others, and its variance (N,).

        Both follow from the inverse of the covariance (Rasmussen and Williams 2006, equation 5.12).
        """
        inverse = solve_triangular(self.cholesky, np.eye(len(self.values)), lower=True, check_finite=False)
        diagonal = np.einsum("ij,ij->j", inverse, inverse)
        return self.weights / diagonal, 1.0 / diagonal

    def derivatives(self, e: Array) -> tuple[Array, Array]:
        """Gradient (D,) and Hessian (D, D) of the mean at e (D,)."""
        policy, lengths, points = self.policy, np.exp(self.logs[4:]), self.points
        a, _, b, c = np.exp(2 * self.logs[:4])
        away = (e - points) / lengths**2
        near = np.exp(-0.5 * np.sum(((e - points) / lengths) ** 2, axis=1)) * self.weights
        inner = points @ e
        # The polynomial beside the exponential, its first and its second derivative along e'f.
        level, slope, bend = (a + (b + 0.5 * c * inner) * inner) * near, (b + c * inner) * near, c * near
        slope_of_all = slope + (policy.slope**2 + policy.curvature**2 * inner) * self.weights
        gradient = -e - level @ away + slope_of_all @ points
        hessian = (away * level[:, None]).T @ away - np.diag(np.full(len(e), level.sum()) / lengths**2)
        crossed = (away * slope[:, None]).T @ points
        hessian += (points * (bend + policy.curvature**2 * self.weights)[:, None]).T @ points - crossed - crossed.T
        return gradient, hessian - np.eye(len(e))

    def _projected(self, e: Array) -> Array:
        k = _kernel(self.points, e, self.logs, self.policy)
        return np.asarray(solve_triangular(self.cholesky, k, lower=True, check_finite=False))


def given(frame: Frame, u: Array, values: Array, logs: Array, policy: ProcessPolicy = POLICY) -> Process:
    """The process given values (N,) at u (N, D), with hyperparameters as they are.

    Raises
    ------
    numpy.linalg.LinAlgError
        If the values' covariance is not positive definite.
    """
    points = frame.whiten(u)
    shaped = shaping(values, len(frame.centre), policy)
    k = _kernel(points, points, logs, policy)
    k[np.diag_indices_from(k)] += np.exp(2 * logs[1]) + shaped
    cholesky = np.linalg.cholesky(k)
    residual = values - values.max() + 0.5 * np.einsum("nd,nd->n", points, points)
    weights = cho_solve((cholesky, True), residual, check_finite=False)
    return Process(frame, points, values, shaped, logs, cholesky, weights, policy)


def learnt(
    frame: Frame,
    u: Array,
    values: Array,
    logs: Array,
    noise_sd: float,
    rng: np.random.Generator,
    policy: ProcessPolicy = POLICY,
) -> Array:
    """Hyperparameters at which the values, or some of them, are most likely, from `logs` on; `noise_sd` if it is known.

    Where the optimiser fails they stay as they were.
    """
    # Only fits from values need it, and it takes as long to import as all of bbvi.
    from scipy.optimize import minimize

    chosen = np.arange(len(values))
    if len(values) > policy.subset:
        chosen = rng.choice(len(values), policy.subset, replace=False)
    dim = len(frame.centre)
    points = frame.whiten(u[chosen])
    residual = values[chosen] - values.max() + 0.5 * np.einsum("nd,nd->n", points, points)
    shaped = shaping(values, dim, policy)[chosen]
    noises = (noise_sd, policy.noise_spread) if noise_sd > 0 else policy.noises
    priors = np.array([policy.sizes, noises, policy.slopes, policy.curvatures, *dim * [policy.lengths]])
    low = np.concatenate([_LOWEST[:4], np.full(dim, _LOWEST[4])])
    high = np.concatenate([_HIGHEST[:4], np.full(dim, _HIGHEST[4])])
    found = minimize(
        _unlikeliness,
        np.clip(logs, low, high),
        (points, residual, shaped, np.log(priors[:, 0]), priors[:, 1], policy),
        jac=True,
        method="L-BFGS-B",
        bounds=np.column_stack([low, high]),
        options={"maxiter": policy.iterations},
    )
    return np.asarray(found.x if found.fun < _UNLIKELY else logs)


def first_logs(dim: int, noise_sd: float, policy: ProcessPolicy = POLICY) -> Array:
    """Hyperparameters before anything was learnt: the medians of their priors."""
    noise = noise_sd if noise_sd > 0 else policy.noises[0]
    return np.log([policy.sizes[0], noise, policy.slopes[0], policy.curvatures[0], *dim * [policy.lengths[0]]])


def shaping(values: Array, dim: int, policy: ProcessPolicy = POLICY) -> Array:
    """Variances (N,) that values far below the best get beyond the noise."""
    depth = values.max() - values - policy.deep(dim)
    return np.asarray(np.square(policy.slope_of_noise * np.maximum(depth, 0.0)))


def that_count(frame: Frame, u: Array, values: Array, policy: ProcessPolicy = POLICY) -> Array:
    """Rows of the values (N,) at u (N, D) that the process is given: high and near, and enough for a quadratic."""
    dim = len(frame.centre)
    depth = values.max() - values
    far = np.linalg.norm(frame.whiten(u), axis=1) > policy.near * full_radius(dim)
    rank = np.argsort(depth + np.where(far, policy.kept * policy.deep(dim), 0.0), kind="stable")
    count = int(np.sum((depth < policy.kept * policy.deep(dim)) & ~far))
    return rank[: max(count, min(len(values), (dim + 1) * (dim + 2)))]


def full_radius(dim: int) -> float:
    """Radius that all but the very last draws of a standard normal are within."""
    return 3.0 + float(np.sqrt(dim))


def _kernel(e: Array, f: Array, logs: Array, policy: ProcessPolicy) -> Array:
    k = np.empty((len(e), len(f)))
    scaled_e, scaled_f = e * np.exp(-logs[4:]), f * np.exp(-logs[4:])
    half_e, half_f = (0.5 * np.einsum("sd,sd->s", x, x) for x in (scaled_e, scaled_f))
    a, _, b, c = np.exp(2 * logs[:4])
    # In blocks that caches hold, and in place: this is where the time goes.
    rows = max(1, _BLOCK // max(len(f), 1))
    for start in range(0, len(e), rows):
        part = slice(start, start + rows)
        near, inner = k[part], e[part] @ f.T
        np.matmul(scaled_e[part], scaled_f.T, out=near)
        near -= half_e[part, None]
        near -= half_f
        np.exp(near, out=near)
        polynomial = inner * (0.5 * c)
        polynomial += b
        polynomial *= inner
        polynomial += a
        near *= polynomial
        np.multiply(inner, 0.5 * policy.curvature**2, out=polynomial)
        polynomial += policy.slope**2
        polynomial *= inner
        near += polynomial
        near += policy.level**2
    return k


def _unlikeliness(
    logs: Array, points: Array, residual: Array, shaped: Array, medians: Array, spreads: Array, policy: ProcessPolicy
) -> tuple[float, Array]:
    """Negative log posterior of the hyperparameters, and its gradient."""
    lengths, (a, _, b, c) = np.exp(logs[4:]), np.exp(2 * logs[:4])
    scaled = points / lengths
    square = np.einsum("nd,nd->n", scaled, scaled)
    near = np.exp(-0.5 * np.maximum(square[:, None] + square - 2 * scaled @ scaled.T, 0.0))
    inner = points @ points.T
    smooth = near * (a + (b + 0.5 * c * inner) * inner)
    k = smooth + policy.level**2 + (policy.slope**2 + 0.5 * policy.curvature**2 * inner) * inner
    k[np.diag_indices_from(k)] += np.exp(2 * logs[1]) + shaped
    try:
        cholesky = np.linalg.cholesky(k)
    except np.linalg.LinAlgError:
        return _UNLIKELY, np.zeros_like(logs)
    inverse = solve_triangular(cholesky, np.eye(len(k)), lower=True, check_finite=False)
    inverse = inverse.T @ inverse
    weights = inverse @ residual
    change = np.outer(weights, weights) - inverse
    moved = change * smooth
    rows, of_slope = moved.sum(axis=1), change * near * inner
    along = 2 * (rows @ scaled**2 - np.einsum("nd,nd->d", scaled, moved @ scaled))
    of_size, of_noise = 2 * a * np.sum(change * near), 2 * np.exp(2 * logs[1]) * np.trace(change)
    slopes, curvatures = 2 * b * of_slope.sum(), c * np.sum(of_slope * inner)
    gradient = -0.5 * np.array([of_size, of_noise, slopes, curvatures, *along])
    away = (logs - medians) / spreads
    value = 0.5 * residual @ weights + np.log(np.diag(cholesky)).sum() + 0.5 * away @ away
    return float(value), gradient + away / spreads
