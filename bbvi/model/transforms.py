"""Bijections between flat unconstrained vectors and constrained latents, with their log-Jacobians."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, ClassVar

import autograd.numpy as np
from autograd.extend import defjvp, defvjp, primitive

from bbvi.model.cholesky_layout import _frozen, cholesky_layout
from bbvi.stats import logsumexp

Shape = tuple[int, ...]
# Values that autograd traces are boxes and not ndarrays, hence no narrower type.
Traced = Any

_LOG2 = math.log(2.0)
_SUM_TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class Transform:
    """A bijection from ``R^size`` onto the support of a latent of shape ``shape``.

    Every method works on any number of leading batch axes.

    Attributes
    ----------
    shape : tuple of int
    elementwise : bool
        Whether each coordinate is mapped by itself and increasing, so that quantiles are carried to quantiles.
    whole_line : bool
        Whether the support is the whole line, on which values have no scale that is known beforehand.
    bounded : bool
        Whether the support is bounded, so that a constant is a proper density on it.
    ordered_axes : int
        How many of the last axes have an order of their own, so that their entries cannot be exchanged.
    increasing : bool
        Whether a latent is increasing along its last axis.
    """

    shape: Shape
    elementwise: ClassVar[bool] = True
    whole_line: ClassVar[bool] = False
    bounded: ClassVar[bool] = False
    ordered_axes: ClassVar[int] = 0
    increasing: ClassVar[bool] = False

    @property
    def unconstrained_shape(self) -> Shape:
        """Shape on the unconstrained scale: the constrained shape, or smaller in its last axes."""
        return self.shape

    @cached_property
    def size(self) -> int:
        """Number of unconstrained coordinates."""
        return math.prod(self.unconstrained_shape)

    @property
    def interior(self) -> np.ndarray:
        """A valid value of the latent: the image of the unconstrained origin."""
        return self.constrain(np.zeros(self.size))[0]

    def constrain(self, u: Traced) -> tuple[Traced, Traced]:
        """Map unconstrained coordinates to the latent; differentiable twice by autograd.

        Parameters
        ----------
        u : (..., size)

        Returns
        -------
        x : (..., *shape)
        log_jacobian : (...,), or the float 0.0 where the map preserves volume everywhere
        """
        raise NotImplementedError

    def unconstrain(self, x: Any) -> np.ndarray:
        """Map values of the latent, (..., *shape), to unconstrained coordinates, (..., size).

        Raises
        ------
        ValueError
            Where ``x`` has another shape or lies outside the open support.
        """
        x = np.asarray(x, dtype=float)
        lead = x.ndim - len(self.shape)
        if lead < 0 or x.shape[lead:] != self.shape:
            raise ValueError(f"expected shape {_shape_text(self.shape)}, got {x.shape}")
        _require(np.isfinite(x), x, "finite values")
        return np.reshape(self._inverse(x), x.shape[:lead] + (self.size,))

    def _inverse(self, x: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _shaped(self, u: Traced) -> Traced:
        if len(self.unconstrained_shape) == 1:
            return u
        return np.reshape(u, np.shape(u)[:-1] + self.unconstrained_shape)

    def _total(self, terms: Traced, axes: int) -> Traced:
        return np.sum(terms, axis=tuple(range(-axes, 0))) if axes else terms


class Real(Transform):
    """The identity, reshaped. Its log-Jacobian is the float 0.0."""

    whole_line: ClassVar[bool] = True

    def constrain(self, u: Traced) -> tuple[Traced, Traced]:
        return self._shaped(u), 0.0

    def _inverse(self, x: np.ndarray) -> np.ndarray:
        return x


class Positive(Transform):
    """x = exp(u), with log-Jacobian sum(u)."""

    def constrain(self, u: Traced) -> tuple[Traced, Traced]:
        v = self._shaped(u)
        return np.exp(v), self._total(v, len(self.shape))

    def _inverse(self, x: np.ndarray) -> np.ndarray:
        _require(x > 0, x, "values > 0")
        return np.log(x)


@dataclass(frozen=True, eq=False)
class HalfBounded(Transform):
    """x = bound + sign exp(sign u): above ``bound`` where ``sign`` is 1, below it where ``sign`` is -1.

    The log-Jacobian is sum(sign u). Both fields broadcast to ``shape``.
    """

    bound: np.ndarray
    sign: np.ndarray

    def constrain(self, u: Traced) -> tuple[Traced, Traced]:
        v = self.sign * self._shaped(u)
        return self.bound + self.sign * np.exp(v), self._total(v, len(self.shape))

    def _inverse(self, x: np.ndarray) -> np.ndarray:
        distance = self.sign * (x - self.bound)
        _require(distance > 0, x, "values above the lower or below the upper bound", self.bound)
        return self.sign * np.log(distance)


@dataclass(frozen=True, eq=False)
class Bounded(Transform):
    """x = lower + (upper - lower) p with p = 1 / (1 + exp(-u)).

    The log-Jacobian is sum(log((upper - lower) p (1 - p))).
    """

    bounded: ClassVar[bool] = True

    lower: np.ndarray
    upper: np.ndarray

    @cached_property
    def _log_width(self) -> np.ndarray:
        return np.log(self.upper - self.lower)

    def constrain(self, u: Traced) -> tuple[Traced, Traced]:
        v = self._shaped(u)
        # log p is -softplus and log(1 - p) is -softplus - u: exact in the tails, where p (1 - p) underflows.
        softplus = np.logaddexp(0.0, -v)
        x = self.lower + np.exp(self._log_width - softplus)
        return x, self._total(self._log_width - v - 2.0 * softplus, len(self.shape))

    def _inverse(self, x: np.ndarray) -> np.ndarray:
        inside = (x > self.lower) & (x < self.upper)
        _require(inside, x, "values strictly between the bounds", self.lower, self.upper)
        return np.log(x - self.lower) - np.log(self.upper - x)


@dataclass(frozen=True, eq=False)
class MixedInterval(Transform):
    """Elements with bounds of several kinds: each kind of element has a transform of its own.

    ``parts`` pairs flat positions (C order) with the transform of their elements; together they cover all.
    """

    parts: tuple[tuple[np.ndarray, Transform], ...]

    def constrain(self, u: Traced) -> tuple[Traced, Traced]:
        pieces = [part.constrain(u[..., where]) for where, part in self.parts]
        back = np.argsort(np.concatenate([where for where, _ in self.parts]))
        x = np.concatenate([piece for piece, _ in pieces], axis=-1)[..., back]
        return np.reshape(x, np.shape(u)[:-1] + self.shape), sum(log_jacobian for _, log_jacobian in pieces)

    def _inverse(self, x: np.ndarray) -> np.ndarray:
        flat = np.reshape(x, x.shape[: x.ndim - len(self.shape)] + (self.size,))
        u = np.empty_like(flat)
        for where, part in self.parts:
            u[..., where] = part.unconstrain(flat[..., where])
        return u


def interval(shape: Shape, lower: Any, upper: Any) -> Transform:
    """The elementwise transform onto (lower, upper), which broadcast to ``shape`` and may be infinite."""
    low = np.broadcast_to(np.asarray(lower, dtype=float), shape)
    high = np.broadcast_to(np.asarray(upper, dtype=float), shape)
    kinds = np.isfinite(low) + 2 * np.isfinite(high)
    present = np.unique(kinds)
    if present.size == 1:
        return _interval_of_one_kind(int(present[0]), shape, low, high)
    parts = []
    for kind in present:
        where = np.flatnonzero(kinds == kind)
        inner = _interval_of_one_kind(int(kind), (where.size,), low.ravel()[where], high.ravel()[where])
        parts.append((where, inner))
    return MixedInterval(shape, tuple(parts))


def _interval_of_one_kind(kind: int, shape: Shape, low: np.ndarray, high: np.ndarray) -> Transform:
    if kind == 0:
        return Real(shape)
    if kind == 3:
        return Bounded(shape, low, high)
    if kind == 1 and not np.any(low):
        return Positive(shape)
    return HalfBounded(shape, low, np.ones(())) if kind == 1 else HalfBounded(shape, high, -np.ones(()))


class Simplex(Transform):
    """Points of the open simplex along the last axis: the inverse isometric log-ratio, x = softmax(V u).

    The columns of V are an orthonormal basis of the vectors that sum to zero (Egozcue et al. 2003), so that
    u = 0 is the uniform point and no component is special. With K components, K - 1 are unconstrained. The
    log-Jacobian, with respect to the first K - 1 components, is sum(log x) + log(K) / 2 for each point: the
    additive log-ratios have the Jacobian prod(x), and their map from u has the determinant sqrt(K).
    """

    bounded: ClassVar[bool] = True

    elementwise: ClassVar[bool] = False

    @property
    def unconstrained_shape(self) -> Shape:
        return self.shape[:-1] + (self.shape[-1] - 1,)

    def constrain(self, u: Traced) -> tuple[Traced, Traced]:
        k = self.shape[-1]
        logits = np.matmul(self._shaped(u), _contrasts(k).T)
        log_norm = logsumexp(logits, axis=-1, keepdims=True)
        # The logits sum to zero: sum(log x) is -K log_norm.
        log_jacobian = 0.5 * math.log(k) - k * log_norm
        return np.exp(logits - log_norm), self._total(log_jacobian, len(self.shape))

    def _inverse(self, x: np.ndarray) -> np.ndarray:
        total = np.sum(x, axis=-1)
        _require(x > 0, x, "values > 0")
        _require(np.abs(total - 1) <= _SUM_TOLERANCE, total, "values that sum to 1 along the last axis")
        return np.matmul(np.log(x), _contrasts(self.shape[-1]))


@lru_cache(maxsize=64)
def _contrasts(k: int) -> np.ndarray:
    """Orthonormal basis, (k, k - 1), of vectors that sum to zero: each element against those before it."""
    basis = np.triu(np.ones((k, k - 1)))
    order = np.arange(1, k)
    basis[order, order - 1] = -order
    return _frozen(basis / np.sqrt(order * (order + 1.0)))


class Ordered(Transform):
    """Increasing along the last axis: x_1 = u_1 and x_k = x_(k-1) + exp(u_k).

    The log-Jacobian is sum(u_2, ..., u_K).
    """

    ordered_axes: ClassVar[int] = 1
    increasing: ClassVar[bool] = True

    elementwise: ClassVar[bool] = False

    def constrain(self, u: Traced) -> tuple[Traced, Traced]:
        v = self._shaped(u)
        log_steps = v[..., 1:]
        x = np.cumsum(np.concatenate((v[..., :1], np.exp(log_steps)), axis=-1), axis=-1)
        return x, self._total(log_steps, len(self.shape))

    def _inverse(self, x: np.ndarray) -> np.ndarray:
        steps = np.diff(x, axis=-1)
        _require(steps > 0, steps, "values that increase along the last axis (differences > 0)")
        return np.concatenate((x[..., :1], np.log(steps)), axis=-1)


class CholeskyCorrelation(Transform):
    """Cholesky factors L (lower triangular, positive diagonal, rows of norm 1) of correlation matrices.

    The K (K - 1) / 2 unconstrained coordinates, row by row, give canonical partial correlations tanh(u)
    (Lewandowski, Kurowicka and Joe 2009):

        L_ij = tanh(u_ij) prod_{k<j} sech(u_ik),   L_ii = prod_{k<i} sech(u_ik).

    Each row's Jacobian is triangular, so that the log-Jacobian, with respect to the strictly lower triangle
    of L, is sum_{i>j} (i - j + 1) log sech(u_ij).
    """

    bounded: ClassVar[bool] = True
    ordered_axes: ClassVar[int] = 2

    elementwise: ClassVar[bool] = False

    @property
    def unconstrained_shape(self) -> Shape:
        k = self.shape[-1]
        return self.shape[:-2] + (k * (k - 1) // 2,)

    def constrain(self, u: Traced) -> tuple[Traced, Traced]:
        v = self._shaped(u)
        place, product, diagonal, weights = cholesky_layout(self.shape[-1])
        log_sech = _log_sech(v)
        flat = (np.matmul(_tanh(v), place) + diagonal) * np.exp(np.matmul(log_sech, product))
        log_jacobian = np.matmul(log_sech, weights)
        return np.reshape(flat, np.shape(u)[:-1] + self.shape), self._total(log_jacobian, len(self.shape) - 2)

    def _inverse(self, x: np.ndarray) -> np.ndarray:
        k = self.shape[-1]
        squares = x**2
        norms = np.sum(squares, axis=-1)
        diagonal = np.diagonal(x, axis1=-2, axis2=-1)
        _require(x[..., ~np.tri(k, dtype=bool)] == 0, x, "a lower triangular matrix")
        _require(diagonal > 0, diagonal, "a diagonal > 0")
        _require(np.abs(norms - 1) <= _SUM_TOLERANCE, norms, "rows whose squares sum to 1")
        # sum_{k>j} L_ik^2 is what L_ij leaves of its row: L_ij over its root is sinh(u_ij).
        left = np.cumsum(squares[..., ::-1], axis=-1)[..., ::-1] - squares
        rows, columns = np.tril_indices(k, -1)
        return np.arcsinh(x[..., rows, columns] / np.sqrt(left[..., rows, columns]))


# autograd's own derivative of tanh divides by cosh(v)^2, which overflows from |v| = 355 on.
@primitive
def _tanh(v: Traced) -> Traced:
    return np.tanh(v)


@primitive
def _log_sech(v: Traced) -> Traced:
    return _LOG2 - np.logaddexp(v, -v)


defvjp(_tanh, lambda ans, v: lambda g: g * (1.0 - ans**2))
defjvp(_tanh, lambda g, ans, v: g * (1.0 - ans**2))
defvjp(_log_sech, lambda ans, v: lambda g: -g * _tanh(v))
defjvp(_log_sech, lambda g, ans, v: -g * _tanh(v))


def _shape_text(shape: Shape) -> str:
    return f"(..., {', '.join(map(str, shape))})"


def _require(ok: np.ndarray, values: np.ndarray, expected: str, *bounds: np.ndarray) -> None:
    """Raise ValueError that says what was expected and shows the first value that is not."""
    if np.all(ok):
        return
    limits = f" ({', '.join(_short(bound) for bound in bounds)})" if bounds else ""
    offending = values[~ok].flat[0] if np.shape(ok) == np.shape(values) else values
    raise ValueError(f"expected {expected}{limits}, got {_short(offending)}")


def _short(array: Any) -> str:
    flat = np.ravel(array)
    if np.all(flat == flat[0]):
        return f"{flat[0]:.6g}"
    return str(np.array2string(np.asarray(array), precision=4, threshold=6))


# The primitives of this file that act on each element by itself, for whoever evaluates many draws at once.
ELEMENTWISE = frozenset({_tanh, _log_sech})


