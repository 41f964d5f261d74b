"""`Case`: a model whose posterior is known, and the quadrature by which it is known where there is no closed form."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

import bbvi
from bbvi.result import posterior
from bbvi.target.target import Target

Array = np.ndarray
# Exact mean and sd of each row of a summary.
Moments = dict[str, tuple[float, float]]

# Nats below its top from which a density is left out of a grid: it holds less than 1e-12 of the mass.
_DEEP = 32.0


@dataclass(frozen=True)
class Case:
    """A posterior with a known answer.

    Attributes
    ----------
    name, family : str
    model : callable
        Makes the model, written as a user would.
    exact : callable
        Mean and sd of every row of the summary.
    method : str
        Where the answer comes from: ``"closed form"`` or ``"quadrature"``.
    easy : bool
        False where the posterior is made to mislead, so that caution is what is wanted.
    ratio : float
        Of two modes of unequal width, that of the widths; NaN elsewhere.
    """

    name: str
    family: str
    model: Callable[[], bbvi.Model]
    exact: Callable[[], Moments]
    method: str = "closed form"
    easy: bool = True
    ratio: float = np.nan


def moments_of(name: str, mean: Iterable[float] | float, sd: Iterable[float] | float) -> Moments:
    """The rows of one latent: a scalar's own name, or ``name[0]`` and so on; of a matrix ``name[0, 0]``."""
    mean, sd = np.asarray(mean, dtype=float), np.asarray(sd, dtype=float)
    mean, sd = np.broadcast_arrays(mean, sd)
    if mean.ndim == 0:
        return {name: (float(mean), float(sd))}
    return {
        f"{name}[{', '.join(map(str, index))}]": (float(mean[index]), float(sd[index]))
        for index in np.ndindex(mean.shape)
    }


def quadrature(model: bbvi.Model) -> Moments:
    """Means and sds of all rows of a model of one or two latents, on a grid of the unconstrained scale.

    The grid covers all that lies within 32 nats of the top. Its log densities are those of the recording, which is
    compared with the function itself first.

    Raises
    ------
    ArithmeticError
        If the recording disagrees with the function, or if half as many points give something else.
    """
    target = Target(model)
    start = _top(target)
    if not target.verify(start + 0.3 * np.random.default_rng(0).standard_normal((5, target.dim))):
        raise ArithmeticError("the recording is not the function")
    low, high = _support(target, start)
    size = 6001 if target.dim == 1 else 501
    (labels, fine), (_, coarse) = (_on_grid(target, low, high, n) for n in (size, size // 2 + 1))
    if not np.allclose(fine, coarse, rtol=2e-3, atol=1e-3 * fine[1].max()):
        raise ArithmeticError(f"the grid is too coarse: {fine} against {coarse}")
    return {label: (float(m), float(s)) for label, m, s in zip(labels, *fine, strict=True)}


def _top(target: Target) -> Array:
    """The highest point that Nelder-Mead finds from the best of some candidates."""
    points = np.concatenate([np.zeros((1, target.dim)), np.random.default_rng(1).uniform(-3, 3, (200, target.dim))])
    values = target.values(points)
    begin = points[np.argmax(np.where(np.isfinite(values), values, -np.inf))]

    def descent(u: Array) -> float:
        value = float(target.values(u[None])[0])
        return -value if np.isfinite(value) else 1e300

    return np.asarray(minimize(descent, begin, method="Nelder-Mead", options={"maxiter": 2000, "xatol": 1e-6}).x)


def _support(target: Target, start: Array) -> tuple[Array, Array]:
    """The box outside of which the density is more than 32 nats down: doubled until it holds all, then trimmed."""
    low, high = start - 1e-3, start + 1e-3
    for _ in range(60):
        u, _ = _grid(low, high, 61)
        values = _finite(target.values(u)).reshape((61,) * target.dim)
        top = values.max()
        grown = False
        for axis in range(target.dim):
            width = high[axis] - low[axis]
            if np.take(values, 0, axis).max() > top - _DEEP:
                low[axis], grown = low[axis] - width / 2, True
            if np.take(values, -1, axis).max() > top - _DEEP:
                high[axis], grown = high[axis] + width / 2, True
        if not grown:
            break
    for _ in range(8):
        u, _ = _grid(low, high, 61)
        values = _finite(target.values(u))
        inside = u[values > values.max() - _DEEP]
        step = (high - low) / 60
        low, high = inside.min(axis=0) - step, inside.max(axis=0) + step
    return low, high


def _grid(low: Array, high: Array, size: int) -> tuple[Array, Array]:
    """Points (N, D) of a grid, and its steps (D,)."""
    axes = [np.linspace(a, b, size) for a, b in zip(low, high, strict=True)]
    u = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(low))
    return u, (high - low) / (size - 1)


def _on_grid(target: Target, low: Array, high: Array, size: int) -> tuple[list[str], Array]:
    u, _ = _grid(low, high, size)
    values = _finite(np.concatenate([target.values(part) for part in np.array_split(u, max(len(u) // 20_000, 1))]))
    u, values = u[values > values.max() - _DEEP], values[values > values.max() - _DEEP]
    labels, columns = posterior.Reported(target)(u)
    return list(labels), np.array(weighted(columns, values))


def weighted(columns: Array, log_weights: Array) -> tuple[Array, Array]:
    """Means and sds of columns (N, R) under weights that are known up to a factor."""
    w = np.exp(log_weights - log_weights.max())
    w /= w.sum()
    mean = w @ columns
    return mean, np.sqrt(w @ (columns - mean) ** 2)


def mixed(log_weights: Array, means: Mapping[str, Array], variances: Mapping[str, Array]) -> Moments:
    """Moments of rows that, given each point of a grid (N,), have known means and variances, (N,) or (N, J)."""
    w = np.exp(log_weights - log_weights.max())
    w /= w.sum()
    found: Moments = {}
    for name, conditional in means.items():
        mean = np.tensordot(w, conditional, 1)
        variance = np.tensordot(w, variances[name] + (conditional - mean) ** 2, 1)
        found |= moments_of(name, mean, np.sqrt(variance))
    return found


def _finite(values: Array) -> Array:
    return np.where(np.isfinite(values), values, -1e300)
