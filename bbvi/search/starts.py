"""Where a fit begins: dispersed starts, each pulled into its mode, compared by ELBO, and a look at what is around."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bbvi.draws import orthogonal
from bbvi.search import looks
from bbvi.search.ascent import leads_home
from bbvi.search.looks import LookPolicy
from bbvi.search.modes import Mode, found_once, merged, near_modes
from bbvi.solvers import newton
from bbvi.target.lint import explain
from bbvi.target.target import Target

Array = np.ndarray


@dataclass(frozen=True)
class SearchPolicy:
    """Where starts come from, and how far they are pulled.

    Attributes
    ----------
    candidates : int
        Points that are looked at for a start.
    widths : tuple of float
        Factors of the candidates' spread, tried until the log density is finite somewhere.
    starts, wide : int
        Starts that are pulled; half as many where a draw takes more than `wide` elements, so that arithmetic, not
        overhead, is what they cost.
    draws, steps : int
        Draws of the coarse ELBO, and its Newton steps at most.
    settled, gain : float
        Length of a step in natural units, and nats that it gains, below which a start has settled. Down an exponential,
        steps are short long before the end.
    enough, patience : int
        Starts that have to settle, and the further steps that stragglers get then; those that are already higher than
        any that settled go on.
    shrunk, recoverable : int, float
        Halvings of the way to the best place that a start may be taken back by, if too few have settled, and the nats
        below it at which it is within reach: Newton's method goes down an exponential by one a step.
    rounds : int
        Further rounds of starts while the best mode has been found only once (Good 1953).
    looks : LookPolicy
    """

    candidates: int = 32
    widths: tuple[float, ...] = (1.0, 0.1, 5.0)
    starts: int = 8
    wide: int = 1000
    draws: int = 8
    steps: int = 40
    settled: float = 0.03
    gain: float = 0.1
    enough: int = 3
    patience: int = 6
    shrunk: int = 12
    recoverable: float = 1000.0
    rounds: int = 2
    looks: LookPolicy = LookPolicy()


POLICY = SearchPolicy()


def candidates(
    target: Target, rng: np.random.Generator, count: int = POLICY.candidates, late: Callable[[], bool] | None = None
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
        tried = len(POLICY.widths) * (1 + 2 * ((count - 1) // 2))
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
    for width in POLICY.widths:
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
    half = (POLICY.starts if target.width <= POLICY.wide else POLICY.starts // 2) // 2
    if len(points) <= 2 * half:
        return points
    rest = np.linspace(half, len(points) - 1, half).astype(int)
    return np.asarray(points[np.concatenate([np.arange(half), rest])])


def find_modes(
    target: Target,
    points: Array,
    log_sd: Array,
    rng: np.random.Generator,
    max_evaluations: float = np.inf,
    late: Callable[[], bool] = lambda: False,
    policy: SearchPolicy = POLICY,
) -> list[Mode]:
    """Modes into which starting points (K, D), with log scales (K, D), are pulled; the best comes first.

    Starts that end in one place are one mode. All modes' ELBOs are of the same few draws, so that they are compared
    alike. Around the best, places are looked for that are higher than it accounts for, and lead elsewhere. While the
    best mode has been found by one start only, a better one may well be left (Good 1953), and fresh starts are tried,
    within half of `max_evaluations`. Nothing more is begun once `late` says so.
    """
    eps = orthogonal(policy.draws, target.dim, rng)
    # How far the search goes must not change what is drawn after it.
    rng = np.random.default_rng(rng.integers(2**63))

    def over() -> bool:
        return late() or target.evaluations > max_evaluations / 2

    if target.dear and len(points) > 1:
        modes = _one_by_one(target, points, log_sd, eps, late, policy)
    else:
        modes = _pulled(target, points, log_sd, eps, late, policy)
    if sum(mode.starts for mode in modes) < policy.enough <= len(points) and not over():
        nearer = _recovered(target, points, modes, policy)
        modes = merged([*modes, *_pulled(target, nearer, initial_log_sd(target, nearer), eps, late, policy)])
    if modes and not over():
        modes = _with_others(target, modes, eps, rng, max_evaluations, late, policy)
    for _ in range(policy.rounds):
        if not found_once(modes) or over():
            break
        # Without the origin: from where a start has been, another finds the same mode, which proves nothing.
        fresh = chosen(target, _finite(target, np.empty((0, target.dim)), policy.candidates, rng)[0])
        if not len(fresh):
            break
        modes = merged([*modes, *_pulled(target, fresh, initial_log_sd(target, fresh), eps, late, policy)])
    return _without_stragglers(modes)


def _one_by_one(
    target: Target, points: Array, log_sd: Array, eps: Array, late: Callable[[], bool], policy: SearchPolicy
) -> list[Mode]:
    """The same where every draw counts: the best start is pulled, and others only if they do not go up to its mode."""
    modes = _pulled(target, points[:1], log_sd[:1], eps, late, policy)
    left = np.arange(1, len(points))
    if modes and modes[0].starts and not late():
        expansion = looks.expanded(target, modes[0].mean, modes[0].log_sd, policy.looks)
        there = np.array([leads_home(target, expansion, points[i]) for i in left])
        modes[0] = modes[0]._replace(starts=1 + int(there.sum()))
        left = left[~there]
    return merged([*modes, *_pulled(target, points[left], log_sd[left], eps, late, policy)]) if len(left) else modes


def _recovered(target: Target, points: Array, modes: Sequence[Mode], policy: SearchPolicy) -> Array:
    """The starts, each taken back towards the best place until it is within reach."""
    best = modes[0].mean if modes else points[0]
    parts = 0.5 ** np.arange(1, policy.shrunk + 1)
    ways = best + parts[:, None, None] * (points - best)
    values = target.values(np.concatenate([best[None], ways.reshape(-1, target.dim)]))
    near = values[1:].reshape(len(parts), -1) > values[0] - policy.recoverable
    return np.asarray(ways[np.where(near.any(axis=0), np.argmax(near, axis=0), len(parts) - 1), np.arange(len(points))])


def _with_others(
    target: Target,
    modes: list[Mode],
    eps: Array,
    rng: np.random.Generator,
    max_evaluations: float,
    late: Callable[[], bool],
    policy: SearchPolicy,
) -> list[Mode]:
    """The modes with those that looks around the best lead to: climbed first, and pulled if they may matter."""
    best, look = modes[0], policy.looks
    expansion = looks.expanded(target, best.mean, best.log_sd, look)
    points = looks.elsewhere(target, expansion, rng, look, max_evaluations)
    doubtful = near_modes(modes)
    if not len(points) and not doubtful:
        return modes
    if target.dim > look.dense:
        found = _pulled(target, points, initial_log_sd(target, points), eps, late, policy) if len(points) else []
        return merged([*modes, *found])
    own = looks.climbed(target, best.mean[None], expansion, look)
    if own:
        modes = [best._replace(evidence=own[0].evidence), *modes[1:]]
        for mode in doubtful:
            modes = _checked(modes, mode, own[0], looks.climbed(target, mode.mean[None], expansion, look))
    peaks = _that_matter(own, looks.climbed(target, points, expansion, look))
    if not peaks:
        return modes
    found = _pulled(target, np.array([p.mean for p in peaks]), np.array([p.log_sd for p in peaks]), eps, late, policy)
    return merged([*modes, *(_counted(mode, peaks) for mode in found)])


def _checked(modes: list[Mode], mode: Mode, own: Mode, climbed: Sequence[Mode]) -> list[Mode]:
    """The modes with one of them joined to the best if the density's peak is the same, else with its own evidence.

    A coarse ELBO has optima that are no modes of the density: wide ones around the tails, or around several modes.
    """
    if not climbed:
        return modes
    kept = [one for one in modes[1:] if one.mean is not mode.mean]
    if len(merged([own, climbed[0]])) == 1:
        return [modes[0]._replace(starts=modes[0].starts + mode.starts), *kept]
    return [modes[0], *sorted([*kept, mode._replace(evidence=climbed[0].evidence)], key=lambda one: -one.elbo)]


def _that_matter(own: Sequence[Mode], peaks: Sequence[Mode]) -> list[Mode]:
    """The peaks, each once, that are not the best mode's own, if that has one, and may matter beside it."""
    if not own:
        return merged(peaks)
    others = [peak for peak in merged(peaks) if len(merged([own[0], peak])) == 2]
    return near_modes([own[0], *others])


def _counted(mode: Mode, peaks: Sequence[Mode]) -> Mode:
    """A mode that peaks were pulled into, with the evidence of the highest and the looks that led there."""
    own = [peak for peak in peaks if np.max(np.abs(peak.mean - mode.mean) / np.exp(mode.log_sd)) < 1.0]
    if not own or not mode.starts:
        return mode
    return mode._replace(starts=sum(peak.starts for peak in own), evidence=max(peak.evidence for peak in own))


def _without_stragglers(modes: Sequence[Mode]) -> list[Mode]:
    """The modes, and ahead of them a place that none settled in only if it is the best."""
    return [mode for i, mode in enumerate(modes) if i == 0 or mode.starts]


# Far out, gradients overflow; what is not finite is not stepped on.
@np.errstate(over="ignore", invalid="ignore")
def _pulled(
    target: Target,
    points: Array,
    log_sd: Array,
    eps: Array,
    late: Callable[[], bool] = lambda: False,
    policy: SearchPolicy = POLICY,
) -> list[Mode]:
    """Newton steps from each of K starts, on shared draws eps (S, D), until most have settled or time is up.

    Starts that ran out of steps are no modes; the best of them is kept as a place to begin from where it is better than
    any mode.
    """
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
    patience = policy.patience
    for _ in range(policy.steps):
        rows = np.flatnonzero(active)
        if not len(rows):
            break
        step = newton.iterate(target, mean[rows], log_sd[rows], eps[rows], radius[rows], precision=0.1)
        gained = value[rows] - step.value
        mean[rows], log_sd[rows], value[rows], radius[rows] = step.mean, step.log_sd, step.value, step.radius
        done = step.accepted & step.newton & (step.length < policy.settled) & (gained < policy.gain)
        lost = ~np.isfinite(step.gradient_norm) | (step.radius < 1e-8) | (step.log_sd.max(axis=1) > 60)
        settled[rows[done]] = True
        active[rows[done | lost]] = False
        if settled.sum() >= min(policy.enough, k):
            patience -= 1
        if patience <= 0:
            active &= value < np.min(value[settled])
        if late():
            break
    elbo = -value + 0.5 * d * (1 + np.log(2 * np.pi))
    modes = [Mode(mean[i], log_sd[i], float(elbo[i]), 1) for i in np.flatnonzero(settled)]
    finite = np.flatnonzero(np.isfinite(value) & ~settled)
    if len(finite):
        i = finite[np.argmin(value[finite])]
        if not modes or value[i] < np.min(value[settled]):
            modes.append(Mode(mean[i], log_sd[i], float(elbo[i]), 0))
    return merged(modes)


def initial_log_sd(target: Target, points: Array, most: float = np.inf) -> Array:
    """Log scales (K, D) from the curvature of the log density at points (K, D), one where there is none.

    Up to 100 latents, and `most` evaluations, the diagonal of the Hessian is exact; beyond, it is estimated from random
    signs (Bekas, Kokiopoulou, Saad 2007).
    """
    k, d = points.shape
    if d <= 100 and k * d <= most:
        linear = target.linearize(np.repeat(points, d, axis=0))
        products = linear.hessian_product(np.tile(np.eye(d), (k, 1))).reshape(k, d, d)
        diagonal = products[:, np.arange(d), np.arange(d)]
    else:
        linear = target.linearize(points)
        signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(24, k, d))
        diagonal = np.mean([s * linear.hessian_product(s) for s in signs], axis=0)
    curvature = np.abs(np.where(np.isfinite(diagonal), diagonal, 1.0))
    return np.asarray(-0.5 * np.log(np.clip(np.where(curvature > 0, curvature, 1.0), 1e-16, 1e16)))


def _reason(target: Target) -> str:
    """Which data or parameters are outside the support of their density; general advice where that is not known."""
    found = explain(target, np.zeros(target.dim))
    if found:
        return f"What is wrong: {found}."
    return _nan_data(target) or "Check the data and the supports of the latents, or give init= inside the support."


def _nan_data(target: Target) -> str:
    bad = []
    for name, value in target.model.data.items():
        if isinstance(value, np.ndarray) and value.dtype.kind == "f" and not np.isfinite(value).all():
            place = tuple(int(i) for i in np.argwhere(~np.isfinite(value))[0])
            bad.append(f"{name!r} ({value[place]}{_at(place)})")
    if not bad:
        return ""
    return f"Not all data are finite: {', '.join(bad)}; leave missing values out, or make latents of them."


def _at(place: tuple[int, ...]) -> str:
    return f" at [{', '.join(map(str, place))}]" if place else ""
