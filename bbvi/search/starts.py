"""Where a fit begins: dispersed starts, each pulled into its mode, compared by ELBO."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bbvi.draws import orthogonal
from bbvi.search.modes import Mode, found_once, merged
from bbvi.solvers import newton
from bbvi.target.lint import explain
from bbvi.target.target import Target

Array = np.ndarray

_CANDIDATES = 32
# Factors of the candidates' spread, tried until the log density is finite somewhere.
_WIDTHS = (1.0, 0.1, 5.0)
_STARTS = 8
# Elements per draw from which arithmetic, not overhead, is what starts cost; half as many are tried then.
_WIDE = 1000
_COARSE_DRAWS = 8
_COARSE_STEPS = 40
_SETTLED = 0.03
# Further steps that stragglers get once some starts have settled.
_PATIENCE = 6
# Where to look for what lies far from the best mode.
_FAR_DISTANCES = np.array([6.0, 12.0, 24.0])
_FAR_DIRECTIONS = 64
# Nats below the best mode from which a place is too far down to lead anywhere.
_FAR_DEEP = 50.0
# Parts of the way at which to look for a valley, and by how many nats the far end must rise from it.
_BETWEEN = np.array([0.2, 0.4, 0.6, 0.8])
_RISE = 0.5
_FAR_STARTS = 4
# Further rounds of starts while the best mode has been found only once.
_ROUNDS = 2


def candidates(
    target: Target, rng: np.random.Generator, count: int = _CANDIDATES, late: Callable[[], bool] | None = None
) -> tuple[Array, Array]:
    """Finite candidates and their log densities, best first: the origin and pairs from U(-2, 2), narrower if need be.

    With `late`, they are evaluated three by three until it says that time is up.

    Raises
    ------
    ValueError
        If the log joint is finite at none of them; the message names the latents' values at one. What the function
        raised there is the cause.
    """
    points, values = _finite(target, np.zeros((1, target.dim)), count, rng, late)
    if not len(points):
        tried = len(_WIDTHS) * (1 + 2 * ((count - 1) // 2))
        error = target.error_at(np.zeros(target.dim))
        raised = "" if error is None else f" The function raised {type(error).__name__}: {error}."
        raise ValueError(
            f"log_joint: expected a finite value near the start, got none at {tried} points; for example "
            f"{target.nonfinite}.{raised} {_reason(target)}"
        ) from error
    return points, values


def _finite(
    target: Target, given: Array, count: int, rng: np.random.Generator, late: Callable[[], bool] | None = None
) -> tuple[Array, Array]:
    """Those of given points (K, D) and of random pairs where the log density is finite, and its values, best first."""
    half = rng.uniform(-2.0, 2.0, size=((count - 1) // 2, target.dim))
    for width in _WIDTHS:
        u = np.concatenate([given, width * half, -width * half])
        values = target.values(u if late is None else u[:3])
        while late is not None and len(values) < len(u) and not late():
            values = np.concatenate([values, target.values(u[len(values) : len(values) + 3])])
        u = u[: len(values)]
        finite = np.isfinite(values)
        if finite.any():
            break
    order = np.argsort(-values[finite], kind="stable")
    return u[finite][order], values[finite][order]


def chosen(target: Target, points: Array) -> Array:
    """The starts worth a pull, from candidates that are sorted best first: half the best, half spread over the rest."""
    half = (_STARTS if target.width <= _WIDE else _STARTS // 2) // 2
    if len(points) <= 2 * half:
        return points
    rest = np.linspace(half, len(points) - 1, half).astype(int)
    return points[np.concatenate([np.arange(half), rest])]


def find_modes(
    target: Target,
    points: Array,
    log_sd: Array,
    rng: np.random.Generator,
    max_evaluations: float = np.inf,
    late: Callable[[], bool] = lambda: False,
) -> list[Mode]:
    """Modes into which starting points (K, D), with log scales (K, D), are pulled; the best comes first.

    Starts that end in one place are one mode. All modes' ELBOs are of the same few draws, so that they are compared
    alike. While the best mode has been found by one start only, a better one may well be left (Good 1953), and
    fresh starts are tried, within half of `max_evaluations`. Nothing more is begun once `late` says so.
    """
    eps = orthogonal(_COARSE_DRAWS, target.dim, rng)
    # How far the search goes must not change what is drawn after it.
    rng = np.random.default_rng(rng.integers(2**63))
    modes = _pulled(target, points, log_sd, eps, late)
    if modes and not late() and target.evaluations < max_evaluations / 2:
        far = _far(target, modes[0], rng)
        if len(far):
            modes = merged([*modes, *_pulled(target, far, initial_log_sd(target, far), eps, late)])
    for _ in range(_ROUNDS):
        if not found_once(modes) or late() or target.evaluations > max_evaluations / 2:
            break
        # Without the origin: from where a start has been, another finds the same mode, which proves nothing.
        fresh = chosen(target, _finite(target, np.empty((0, target.dim)), _CANDIDATES, rng)[0])
        if not len(fresh):
            break
        modes = merged([*modes, *_pulled(target, fresh, initial_log_sd(target, fresh), eps, late)])
    return modes


def _far(target: Target, mode: Mode, rng: np.random.Generator) -> Array:
    """Points (K, D) far from a mode that are higher than what lies between, as where there is another mode.

    The looks go along each latent and in random directions, at several distances in q's sds.
    """
    axes = np.eye(target.dim)
    # Of one latent there are two directions; the same point twice would be one start that counts as two.
    random = rng.standard_normal((_FAR_DIRECTIONS if target.dim > 1 else 0, target.dim))
    random /= np.linalg.norm(random, axis=1, keepdims=True)
    directions = np.concatenate([axes, -axes, random])
    distance = np.repeat(_FAR_DISTANCES, len(directions))
    points = mode.mean + np.exp(mode.log_sd) * distance[:, None] * np.tile(directions, (len(_FAR_DISTANCES), 1))
    values = target.values(np.concatenate([mode.mean[None], points]))
    high = np.flatnonzero(values[1:] > values[0] - _FAR_DEEP)
    if not len(high):
        return points[:0]
    way = mode.mean + _BETWEEN[:, None, None] * (points[high] - mode.mean)
    lowest = target.values(way.reshape(-1, target.dim)).reshape(len(_BETWEEN), -1).min(axis=0)
    high = high[values[1:][high] > lowest + _RISE]
    return points[high[np.argsort(-values[1:][high], kind="stable")][:_FAR_STARTS]]


def _pulled(
    target: Target, points: Array, log_sd: Array, eps: Array, late: Callable[[], bool] = lambda: False
) -> list[Mode]:
    """Newton steps from each of K starts, on shared draws eps (S, D), until most have settled or time is up."""
    k, d = points.shape
    mean, log_sd = points.copy(), log_sd.copy()
    eps = np.broadcast_to(eps, (k, *eps.shape))
    radius = np.full(k, np.sqrt(d))
    value = newton.objective(target, mean, log_sd, eps)
    for _ in range(20):
        if np.isfinite(value).all():
            break
        log_sd = np.where(np.isfinite(value)[:, None], log_sd, log_sd - 1.0)
        value = newton.objective(target, mean, log_sd, eps)
    active = np.isfinite(value)
    settled = np.zeros(k, dtype=bool)
    patience = _PATIENCE
    for _ in range(_COARSE_STEPS):
        rows = np.flatnonzero(active)
        if not len(rows):
            break
        step = newton.iterate(target, mean[rows], log_sd[rows], eps[rows], radius[rows], precision=0.1)
        mean[rows], log_sd[rows], value[rows], radius[rows] = step.mean, step.log_sd, step.value, step.radius
        done = step.accepted & step.newton & (step.length < _SETTLED)
        lost = ~np.isfinite(step.gradient_norm) | (step.radius < 1e-8) | (step.log_sd.max(axis=1) > 60)
        settled[rows[done]] = True
        active[rows[done | lost]] = False
        if settled.sum() >= min(3, k):
            patience -= 1
        if patience == 0 or late():
            break
    finite = np.isfinite(value)
    # A straggler counts if it is already better than any start that has settled.
    least = np.min(value[settled], initial=np.inf)
    keep = np.flatnonzero(finite & (settled | (value < least)))
    if late() and not settled.any():
        # Cut off on their way, two starts that stand apart are not two modes.
        keep = keep[np.argsort(value[keep])[:1]]
    elbo = -value + 0.5 * d * (1 + np.log(2 * np.pi))
    return merged([Mode(mean[i], log_sd[i], float(elbo[i]), 1) for i in keep])


def initial_log_sd(target: Target, points: Array) -> Array:
    """Log scales (K, D) from the curvature of the log density at points (K, D), one where there is none.

    Up to 100 latents the diagonal of the Hessian is exact; beyond, it is estimated from random signs (Bekas,
    Kokiopoulou, Saad 2007).
    """
    k, d = points.shape
    if d <= 100:
        linear = target.linearize(np.repeat(points, d, axis=0))
        products = linear.hessian_product(np.tile(np.eye(d), (k, 1))).reshape(k, d, d)
        diagonal = products[:, np.arange(d), np.arange(d)]
    else:
        linear = target.linearize(points)
        signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(24, k, d))
        diagonal = np.mean([s * linear.hessian_product(s) for s in signs], axis=0)
    curvature = np.abs(np.where(np.isfinite(diagonal), diagonal, 1.0))
    return -0.5 * np.log(np.clip(np.where(curvature > 0, curvature, 1.0), 1e-16, 1e16))


def _reason(target: Target) -> str:
    """Which data or parameters are outside the support of their density; general advice where that is not known."""
    found = explain(target, np.zeros(target.dim))
    if found:
        return f"What is wrong: {found}."
    return f"Check the data and the supports of the latents, or give init= inside the support.{_nan_data(target)}"


def _nan_data(target: Target) -> str:
    bad = [
        name
        for name, value in target.model.data.items()
        if isinstance(value, np.ndarray) and value.dtype.kind == "f" and not np.isfinite(value).all()
    ]
    return f" The data {', '.join(map(repr, bad))} are not finite everywhere." if bad else ""
