"""Families of independent coordinates: Gaussian, and others to measure gradient estimators on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from scipy import special

Array = np.ndarray


class Independent:
    """Independent coordinates of one kind, each with parameters of its own.

    A subclass names its parameters, in order, and says which of them are positive. Every parameter is a
    scalar or a vector of D values; scalars stand for all coordinates. Parameters are copied and read-only.

    Attributes
    ----------
    dim : int
        D, the number of coordinates.

    Raises
    ------
    ValueError
        If a parameter is not a finite scalar or vector in its range, or the lengths disagree.
    """

    _arguments: ClassVar[tuple[str, ...]]
    _positive: ClassVar[tuple[str, ...]] = ()

    def __init__(self, *values: Any) -> None:
        arrays = [_vector(name, value) for name, value in zip(self._arguments, values, strict=True)]
        self.dim = max(array.size for array in arrays)
        for name, array in zip(self._arguments, arrays, strict=True):
            if array.size not in (1, self.dim):
                raise ValueError(f"{name}: expected 1 or {self.dim} values like the others, got {array.size}")
            if name in self._positive and not np.all(array > 0):
                raise ValueError(f"{name}: expected positive values, got {array[~(array > 0)][0]}")
            array = np.array(np.broadcast_to(array, (self.dim,)))
            array.flags.writeable = False
            setattr(self, name, array)

    @property
    def parameters(self) -> list[str]:
        """Names of the P parameters, in the order of `score` and `path`: ``concentration[0]``, ..."""
        return [f"{name}[{i}]" for name in self._arguments for i in range(self.dim)]

    def sample(self, n: int, rng: np.random.Generator | int | None = None) -> Array:
        """Draws, shape (n, D)."""
        raise NotImplementedError

    def score(self, z: Any) -> Array:
        """Derivative of the log density with respect to the parameters, shape (n, P)."""
        raise NotImplementedError

    def __repr__(self) -> str:
        values = ", ".join(
            f"{name}={np.array2string(getattr(self, name), precision=4, threshold=6, separator=', ')}"
            for name in self._arguments
        )
        return f"{type(self).__name__}({values})"

    def _draws(self, z: Any) -> Array:
        z = np.asarray(z, dtype=float)
        if z.ndim == 0 or z.shape[-1] != self.dim:
            raise ValueError(f"z: expected shape (..., {self.dim}), got {z.shape}")
        return np.asarray(z)


class MeanFieldGaussian(Independent):
    """Gaussian with independent coordinates; its parameters are the means, then the logs of the sds.

    Parameters
    ----------
    mean, sd : float or array_like, shape (D,)
        Means and standard deviations; scalars mean D = 1, or stand for all coordinates.

    Attributes
    ----------
    mean, sd, log_sd : ndarray, shape (D,), read-only

    Examples
    --------
    >>> import numpy as np
    >>> q = MeanFieldGaussian(mean=[0.0, 1.0], sd=[1.0, 2.0])
    >>> q.parameters
    ['mean[0]', 'mean[1]', 'log_sd[0]', 'log_sd[1]']
    >>> q.sample(5, np.random.default_rng(1)).shape
    (5, 2)
    """

    _arguments = ("mean", "sd")
    _positive = ("sd",)
    mean: Array
    sd: Array

    def __init__(self, mean: Any, sd: Any) -> None:
        super().__init__(mean, sd)
        self.log_sd = np.log(self.sd)
        self.log_sd.flags.writeable = False

    @property
    def parameters(self) -> list[str]:
        """Names of the 2D parameters: ``mean[0]``, ..., ``log_sd[0]``, ..."""
        return [f"{name}[{i}]" for name in ("mean", "log_sd") for i in range(self.dim)]

    @property
    def covariance(self) -> Array:
        """(D, D), diagonal."""
        return np.diag(self.sd**2)

    def sample(self, n: int, rng: np.random.Generator | int | None = None) -> Array:
        """Draws, shape (n, D)."""
        return self.mean + self.sd * np.random.default_rng(rng).standard_normal((n, self.dim))

    def standardize(self, z: Any) -> Array:
        """Draws in units of q, ``(z - mean) / sd``."""
        return np.asarray((self._draws(z) - self.mean) / self.sd)

    def log_density(self, z: Any) -> Array:
        """Log density in nats at z, shape (..., D) to (...)."""
        eps = self.standardize(z)
        return np.asarray(-0.5 * np.sum(eps * eps, axis=-1) - np.sum(self.log_sd) - 0.5 * self.dim * np.log(2 * np.pi))

    def score(self, z: Any) -> Array:
        """Derivative of the log density with respect to (mean, log_sd), shape (n, 2D)."""
        eps = self.standardize(z)
        return np.concatenate([eps / self.sd, eps * eps - 1.0], axis=-1)

    def path(self, z: Any, gradient: Any) -> Array:
        """Chain rule through ``z = mean + sd * eps``: `gradient` (n, D) of a cost at z to shape (n, 2D)."""
        gradient = np.asarray(gradient, dtype=float)
        return np.concatenate([gradient, gradient * (self._draws(z) - self.mean)], axis=-1)

    def entropy(self) -> float:
        """Entropy in nats."""
        return float(np.sum(self.log_sd) + 0.5 * self.dim * (1.0 + np.log(2 * np.pi)))

    def entropy_gradient(self) -> Array:
        """Derivative of the entropy with respect to (mean, log_sd), shape (2D,)."""
        return np.repeat([0.0, 1.0], self.dim)


Gaussian = MeanFieldGaussian


class StudentT(Independent):
    """Student's t with parameters ``df``, ``loc`` and ``scale``; the path of ``df`` is implicit."""

    _arguments = ("df", "loc", "scale")
    _positive = ("df", "scale")
    df: Array
    loc: Array
    scale: Array

    def __init__(self, df: Any, loc: Any = 0.0, scale: Any = 1.0) -> None:
        super().__init__(df, loc, scale)

    def sample(self, n: int, rng: np.random.Generator | int | None = None) -> Array:
        """Draws, shape (n, D)."""
        return self.loc + self.scale * np.random.default_rng(rng).standard_t(self.df, (n, self.dim))

    def log_density(self, z: Any) -> Array:
        """Log density at z, shape (..., D) to (...)."""
        return np.asarray(np.sum(_student_log_density(self.df, self._standardize(z)) - np.log(self.scale), axis=-1))

    def score(self, z: Any) -> Array:
        """Derivative of the log density with respect to (df, loc, scale), shape (n, 3D)."""
        x, df = self._standardize(z), self.df
        pull = (df + 1) * x / (df + x * x)
        by_df = 0.5 * (special.digamma((df + 1) / 2) - special.digamma(df / 2) - np.log1p(x * x / df))
        by_df += 0.5 * (x * pull - 1) / df
        return np.concatenate([by_df, pull / self.scale, (x * pull - 1) / self.scale], axis=-1)

    def path(self, z: Any, gradient: Any) -> Array:
        """Chain rule, `gradient` (n, D) of a cost at z to shape (n, 3D)."""
        x = self._standardize(z)
        # By symmetry only the tail beyond |x| is needed; it keeps its relative accuracy.
        tail = _derivative(lambda df: special.stdtr(df, -np.abs(x)), self.df, 5e-3 * self.df)
        by_df = np.sign(x) * tail / np.exp(_student_log_density(self.df, x)) * self.scale
        return np.concatenate([gradient * by_df, gradient * np.ones_like(x), gradient * x], axis=-1)

    def _standardize(self, z: Any) -> Array:
        return np.asarray((self._draws(z) - self.loc) / self.scale)


class Gamma(Independent):
    """Gamma with parameters ``concentration`` and ``rate``; the path of the concentration is implicit."""

    _arguments = ("concentration", "rate")
    _positive = ("concentration", "rate")
    concentration: Array
    rate: Array

    def __init__(self, concentration: Any, rate: Any = 1.0) -> None:
        super().__init__(concentration, rate)

    def sample(self, n: int, rng: np.random.Generator | int | None = None) -> Array:
        """Draws, shape (n, D); a draw that underflows becomes the smallest normal number."""
        draws = np.random.default_rng(rng).standard_gamma(self.concentration, (n, self.dim))
        return np.asarray(np.maximum(draws, np.finfo(float).tiny) / self.rate)

    def log_density(self, z: Any) -> Array:
        """Log density at z, shape (..., D) to (...)."""
        x = self._draws(z) * self.rate
        return np.asarray(np.sum(_gamma_log_density(self.concentration, x) + np.log(self.rate), axis=-1))

    def score(self, z: Any) -> Array:
        """Derivative of the log density with respect to (concentration, rate), shape (n, 2D)."""
        z = self._draws(z)
        by_concentration = np.log(z * self.rate) - special.digamma(self.concentration)
        return np.concatenate([by_concentration, self.concentration / self.rate - z], axis=-1)

    def path(self, z: Any, gradient: Any) -> Array:
        """Chain rule, `gradient` (n, D) of a cost at z to shape (n, 2D)."""
        z, a = self._draws(z), self.concentration
        x = z * self.rate
        by_concentration = _implicit(
            lambda a: special.gammainc(a, x), lambda a: special.gammaincc(a, x), a, _gamma_log_density(a, x)
        )
        return np.concatenate([gradient * by_concentration / self.rate, -gradient * z / self.rate], axis=-1)


class Beta(Independent):
    """Beta with parameters ``alpha`` and ``beta``; both paths are implicit."""

    _arguments = ("alpha", "beta")
    _positive = ("alpha", "beta")
    alpha: Array
    beta: Array

    def __init__(self, alpha: Any, beta: Any) -> None:
        super().__init__(alpha, beta)

    def sample(self, n: int, rng: np.random.Generator | int | None = None) -> Array:
        """Draws, shape (n, D), strictly between 0 and 1."""
        draws = np.random.default_rng(rng).beta(self.alpha, self.beta, (n, self.dim))
        return np.clip(draws, np.finfo(float).tiny, 1.0 - np.finfo(float).epsneg)

    def log_density(self, z: Any) -> Array:
        """Log density at z, shape (..., D) to (...)."""
        return np.asarray(np.sum(self._log_density(self._draws(z)), axis=-1))

    def score(self, z: Any) -> Array:
        """Derivative of the log density with respect to (alpha, beta), shape (n, 2D)."""
        z = self._draws(z)
        total = special.digamma(self.alpha + self.beta)
        by_alpha = np.log(z) - special.digamma(self.alpha) + total
        by_beta = np.log1p(-z) - special.digamma(self.beta) + total
        return np.concatenate([by_alpha, by_beta], axis=-1)

    def path(self, z: Any, gradient: Any) -> Array:
        """Chain rule, `gradient` (n, D) of a cost at z to shape (n, 2D)."""
        z, a, b = self._draws(z), self.alpha, self.beta
        log_density = self._log_density(z)
        by_alpha = _implicit(
            lambda a: special.betainc(a, b, z), lambda a: special.betainc(b, a, 1.0 - z), a, log_density
        )
        by_beta = _implicit(
            lambda b: special.betainc(a, b, z), lambda b: special.betainc(b, a, 1.0 - z), b, log_density
        )
        return np.concatenate([gradient * by_alpha, gradient * by_beta], axis=-1)

    def _log_density(self, z: Array) -> Array:
        a, b = self.alpha, self.beta
        return np.asarray(special.xlogy(a - 1, z) + special.xlog1py(b - 1, -z) - special.betaln(a, b))


class VonMises(Independent):
    """Von Mises with parameters ``loc`` and ``concentration``, for costs of period 2 pi.

    Draws are angles in [-pi, pi); the path would miss what a cost gains by jumping there.
    """

    _arguments = ("loc", "concentration")
    _positive = ("concentration",)
    loc: Array
    concentration: Array

    def __init__(self, loc: Any, concentration: Any) -> None:
        super().__init__(loc, concentration)

    def sample(self, n: int, rng: np.random.Generator | int | None = None) -> Array:
        """Draws, shape (n, D), in [-pi, pi)."""
        return _wrap(np.random.default_rng(rng).vonmises(0.0, self.concentration, (n, self.dim)) + self.loc)

    def log_density(self, z: Any) -> Array:
        """Log density at z, shape (..., D) to (...)."""
        k = self.concentration
        below_mode = k * (np.cos(self._draws(z) - self.loc) - 1)
        # i0e is exp(-k) I0(k), which does not overflow.
        return np.asarray(np.sum(below_mode - np.log(2 * np.pi * special.i0e(k)), axis=-1))

    def score(self, z: Any) -> Array:
        """Derivative of the log density with respect to (loc, concentration), shape (n, 2D)."""
        k, x = self.concentration, self._draws(z) - self.loc
        return np.concatenate([k * np.sin(x), np.cos(x) - special.i1e(k) / special.i0e(k)], axis=-1)

    def path(self, z: Any, gradient: Any) -> Array:
        """Chain rule, `gradient` (n, D) of a cost at z to shape (n, 2D)."""
        x = _wrap(self._draws(z) - self.loc)
        return np.concatenate([gradient * np.ones_like(x), gradient * self._by_concentration(x)], axis=-1)

    def _by_concentration(self, x: Array) -> Array:
        # With A = I1(k) / I0(k), -dF/dk / q(x) is the integral of (A - cos t) exp(k (cos t - cos x)) over
        # (0, x), or of its negative over (x, pi), since the whole integral vanishes. The side where the
        # integrand keeps its sign is taken, cut where it has fallen below exp(-40).
        k, side, x = self.concentration, np.sign(x), np.abs(x)
        mean_cosine = special.i1e(k) / special.i0e(k)
        outer = np.cos(x) < mean_cosine
        end = np.where(outer, np.arccos(np.clip(np.cos(x) - 40.0 / k, -1.0, 1.0)), 0.0)
        nodes, weights = np.polynomial.legendre.leggauss(48)
        width = 0.5 * (end - x)
        t = (x + width)[..., None] + width[..., None] * nodes
        growth = np.exp(k[:, None] * (np.cos(t) - np.cos(x)[..., None]))
        return np.asarray(side * width * (((np.cos(t) - mean_cosine[:, None]) * growth) @ weights))


class Bernoulli(Independent):
    """Bernoulli with parameter ``probability``; it has a score and no path."""

    _arguments = ("probability",)
    _positive = ("probability",)
    probability: Array

    def __init__(self, probability: Any) -> None:
        super().__init__(probability)
        if not np.all(self.probability < 1):
            raise ValueError(f"probability: expected values below 1, got {np.max(self.probability)}")

    def sample(self, n: int, rng: np.random.Generator | int | None = None) -> Array:
        """Draws, shape (n, D), each 0.0 or 1.0."""
        return (np.random.default_rng(rng).random((n, self.dim)) < self.probability).astype(float)

    def log_density(self, z: Any) -> Array:
        """Log probability of z, shape (..., D) to (...)."""
        z, p = self._draws(z), self.probability
        return np.asarray(np.sum(np.where(z > 0.5, np.log(p), np.log1p(-p)), axis=-1))

    def score(self, z: Any) -> Array:
        """Derivative of the log probability with respect to the probability, shape (n, D)."""
        p = self.probability
        return np.asarray((self._draws(z) - p) / (p * (1 - p)))


def _vector(name: str, value: Any) -> Array:
    try:
        array = np.array(value, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: expected a number or a vector of numbers, got {value!r}") from None
    if array.ndim > 1 or array.size == 0:
        raise ValueError(f"{name}: expected a scalar or a vector, got shape {array.shape}")
    if not np.all(np.isfinite(array)):
        raise ValueError(f"{name}: expected finite values, got {array[~np.isfinite(array)].flat[0]}")
    return array.reshape(-1)


def _wrap(angle: Array) -> Array:
    return np.mod(angle + np.pi, 2 * np.pi) - np.pi


def _student_log_density(df: Array, x: Array) -> Array:
    normalizer = special.gammaln((df + 1) / 2) - special.gammaln(df / 2) - 0.5 * np.log(np.pi * df)
    return np.asarray(normalizer - 0.5 * (df + 1) * np.log1p(x * x / df))


def _gamma_log_density(concentration: Array, x: Array) -> Array:
    return np.asarray(special.xlogy(concentration - 1, x) - x - special.gammaln(concentration))


def _derivative(function: Callable[[Array], Array], at: Array, step: Array) -> Array:
    """Central difference of fourth order."""
    near = function(at + step) - function(at - step)
    far = function(at + 2 * step) - function(at - 2 * step)
    return np.asarray((8 * near - far) / (12 * step))


def _implicit(
    cdf: Callable[[Array], Array], survival: Callable[[Array], Array], shape: Array, log_density: Array
) -> Array:
    """Derivative of a draw with respect to a shape parameter, ``-dF / q(z)``.

    Figurnov, Mohamed and Mnih (2018), eq. 5. The smaller of the two tails is differentiated: it has full
    relative accuracy, so that the quotient has too. The step follows the scale on which F changes, the shape
    when that is small and its square root when it is large.
    """
    step = 5e-3 * shape / (1.0 + np.sqrt(shape))
    by_shape = np.where(cdf(shape) < 0.5, -_derivative(cdf, shape, step), _derivative(survival, shape, step))
    return np.asarray(by_shape / np.exp(log_density))
