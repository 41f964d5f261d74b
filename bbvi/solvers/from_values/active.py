"""The posterior from few values: a surrogate of the log joint, evaluated where that tells most.

Three phases, each a pure function from state to state:

- ``scale`` finds, along each axis, the scale on which log p bends by about one nat;
- ``approach`` follows the surrogate within a trust region to where the posterior is;
- ``refine`` draws from the surrogate's posterior, evaluates those draws at which it knows least, and goes on until
  what it does not know moves no mean and no sd by more than the tolerance (Acerbi 2018, 2020; Järvenpää, Gutmann,
  Vehtari and Marttinen 2021).

Every value that was ever paid for counts in every surrogate.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from scipy.linalg import solve_triangular

from bbvi.estimators.score_function import ScoreFunction
from bbvi.solvers.base import Traits
from bbvi.solvers.from_values import differences, draws, region
from bbvi.solvers.from_values.differences import Axes
from bbvi.solvers.from_values.draws import Errors, Weighted
from bbvi.solvers.from_values.process import POLICY as PROCESS
from bbvi.solvers.from_values.process import Frame, Process, first_logs, full_radius, learnt
from bbvi.solvers.from_values.surrogate_state import SurrogateState, calibration, given_rows, process_of, usable
from bbvi.status import Status
from bbvi.target.protocol import Evaluated, LogDensity

Array = np.ndarray

# Values right beside each other that show how much noise there is, where there is any.
_MORE = 8
# Sds of the noise by which a value may fall short of what was promised.
_DOUBTS = 2.0


@dataclass(frozen=True)
class ActivePolicy:
    """How a fit from few values goes about it, and when it is done.

    Attributes
    ----------
    scale_rounds : int
        Rounds of the search for scales, each of which covers two orders of magnitude.
    relearnt : float
        Growth of the values from which hyperparameters are learnt anew.
    fewest : int
        The smallest batch.
    share : float
        Of the tolerance, which is an error of one standard error, that a fit has to reach: what it does not know of
        itself comes on top.
    batches : int
        Batches of the posterior that the surrogate has to have predicted before it is believed.
    hidden : float
        Share of a variance that may lie further out than any value.
    surprise : float
        Root mean square of the standardized residuals of a batch above which it has not.
    higher : float
        Nats by which a value may top the surrogate's best before the posterior is looked for anew.
    lower : float
        Nats by which the median of a batch may fall below what was promised.
    returns : int
        How often.
    rough : float
        Nats that a surrogate may leave unexplained when its own limit ends it, and still be worth weighting.
    """

    scale_rounds: int = 10
    relearnt: float = 1.2
    fewest: int = 4
    share: float = 0.4
    batches: int = 2
    hidden: float = 0.03
    surprise: float = 3.0
    higher: float = 2.0
    lower: float = 20.0
    returns: int = 6
    rough: float = 1.0


POLICY = ActivePolicy()


@dataclass(frozen=True)
class Surrogate:
    """A Gaussian-process surrogate of the log joint, from as few of its values as means and sds need.

    Notes
    -----
    It has converged when what the surrogate does not know moves no mean (in sds) and no sd (relative) by more than the
    tolerance, as the errors of the last batches confirm. The cost of a step grows with the cube of the values: it is
    for log joints of up to about a dozen latents.
    """

    state_type: ClassVar[type[SurrogateState]] = SurrogateState
    traits: ClassVar[Traits] = Traits(
        estimators=(ScoreFunction,), gradients=False, search="around", share=0.66, evaluations=500,
        evaluations_per_latent=130,
    )  # fmt: skip

    def init(
        self, target: LogDensity, start_mean: Array, start_log_sd: Array, rng: np.random.Generator, tolerance: float
    ) -> SurrogateState:
        """Take what the target has kept, and evaluate the log joint right beside the start, to see noise."""
        dim = target.dim
        mean, log_sd = np.array(start_mean, dtype=float), np.array(start_log_sd, dtype=float)
        nan = np.full(dim, np.nan)
        known = target.evaluated
        points, values, noise_sd = _with_noise(target, mean, known)
        state = SurrogateState(
            mean=mean, log_sd=log_sd, elbo=-np.inf, gradient_norm=np.inf, step_size=1.0, mean_se=nan, log_sd_se=nan,
            points=points, values=values, centre=mean, factor=np.diag(np.exp(log_sd)), logs=first_logs(dim, noise_sd),
            noise_sd=noise_sd,
        )  # fmt: skip
        if not np.isfinite(values).any():
            message = "The log joint is not finite at the start, nor where it was looked for."
            return replace(state, status=Status.DIVERGED, message=message)
        best = int(np.argmax(values))
        enough = (dim + 1) * (dim + 2)
        if np.sum(values > values[best] - PROCESS.deep(dim)) >= enough:
            # An earlier fit has been here.
            return _arrived(replace(state, phase="approach", radius=full_radius(dim)), points[best])
        return state

    def step(
        self, target: LogDensity, state: SurrogateState, rng: np.random.Generator, tolerance: float
    ) -> SurrogateState:
        """One bounded piece of work in the phase that the state is in."""
        if len(target.evaluated.u) < len(state.values):
            # The state comes from a file.
            target.recall(state.points, state.values, instead=True)
        if state.phase == "scale":
            return _scale(target, state)
        state, process = _fitted(state, rng)
        if state.phase == "approach":
            return _approach(target, state, process, rng)
        return _refine(target, state, process, rng, tolerance)


# --- what is known --------------------------------------------------------------------------------------------------


def _with_noise(target: LogDensity, mean: Array, known: Evaluated) -> tuple[Array, Array, float]:
    """What is known with values on both sides of the start, and the sd of the noise."""
    near = differences.beside(mean, 3)
    here = np.flatnonzero((known.u == mean).all(axis=1))
    new = near[[0, 2]] if len(here) else near
    found = target.values(new)
    line = np.array([found[0], known.log_density[here[0]], found[1]]) if len(here) else found
    rough = differences.roughness(line)
    if rough[0] > 0:
        # Three values show that there is noise, and more of them how much.
        more = differences.beside(mean, _MORE)
        new, found = np.concatenate([new, more]), np.concatenate([found, target.values(more)])
        of_more = differences.roughness(found[-_MORE:])
        rough = rough[0] + of_more[0], rough[1] + of_more[1]
    noise_sd = _noise(known.u, known.log_density, rough)
    return np.concatenate([known.u, new]), np.concatenate([known.log_density, found]), noise_sd


def _noise(points: Array, values: Array, rough: tuple[float, int]) -> float:
    """Sd of values at the same point, and right beside it, pooled; rounding is no noise."""
    _, group = np.unique(points, axis=0, return_inverse=True)
    squares, count = rough
    for k in np.flatnonzero(np.bincount(group.ravel()) > 1):
        same = values[group.ravel() == k]
        same = same[np.isfinite(same)]
        if len(same) > 1:
            squares += float(np.sum((same - same.mean()) ** 2))
            count += len(same) - 1
    sd = float(np.sqrt(squares / count)) if count else 0.0
    return sd if sd > 1e-6 * max(1.0, float(np.max(np.abs(values[np.isfinite(values)]), initial=0.0)) * 1e-3) else 0.0


def _fitted(state: SurrogateState, rng: np.random.Generator) -> tuple[SurrogateState, Process]:
    points, values = usable(state)
    rows = given_rows(state, values)
    if len(values) > POLICY.relearnt * state.learnt_from:
        logs = learnt(state.frame, points[rows], values[rows], state.logs, state.noise_sd, rng)
        state = replace(state, logs=logs, learnt_from=len(values))
    return state, process_of(state)


def _with_values(state: SurrogateState, u: Array, values: Array) -> SurrogateState:
    return replace(state, points=np.concatenate([state.points, u]), values=np.concatenate([state.values, values]))


# --- the way to the posterior ---------------------------------------------------------------------------------------


def _scale(target: LogDensity, state: SurrogateState) -> SurrogateState:
    """Steps along each axis until the log density bends by about one nat."""
    best = int(np.argmax(state.values))
    mean, dim = state.points[best], target.dim
    before = len(target.evaluated.u)
    axes = Axes(mean, state.log_sd, float(state.values[best]), np.zeros(dim), np.ones(dim))
    axes = differences.rescale(target, axes, differences.reach(state.noise_sd), POLICY.scale_rounds)
    known = target.evaluated
    state = _with_values(state, known.u[before:], known.log_density[before:])
    log_sd = axes.log_sd - 0.5 * np.log(np.clip(axes.curvature, *differences.ON_SCALE))
    state = replace(state, log_sd=log_sd, factor=np.diag(np.exp(log_sd)), phase="approach")
    return _arrived(state, state.points[int(np.argmax(state.values))])


def _arrived(state: SurrogateState, centre: Array) -> SurrogateState:
    return replace(state, centre=centre, mean=centre, learnt_from=0)


def _approach(
    target: LogDensity, state: SurrogateState, process: Process, rng: np.random.Generator
) -> SurrogateState:
    """The highest point of the surrogate within the radius, and a few around it."""
    # The highest of noisy values is a lucky one, so what the surrogate makes of them counts; and no step is blamed for
    # the noise.
    noise = process.noise_sd if state.noise_sd > 0 else 0.0
    known = process.mean(process.points) if noise else process.values
    dim, before = target.dim, float(np.max(known))
    inside = np.linalg.norm(process.points, axis=1) <= state.radius
    start = process.points[np.argmax(np.where(inside, known, -np.inf))] if inside.any() else np.zeros(dim)
    best, value = region.highest(process, start, state.radius)
    promised = value - before
    within = np.linalg.norm(best) < 0.95 * state.radius
    near = promised < region.POLICY.near + 2 * process.noise_sd
    if near and within and state.radius >= 0.5 * full_radius(dim):
        frame = region.metric(process, best)
        log_sd = np.log(np.linalg.norm(frame.factor, axis=1))
        return replace(
            state, phase="refine", centre=frame.centre, factor=frame.factor, mean=frame.centre, log_sd=log_sd,
            learnt_from=0, step_size=state.radius, elbo=before, gradient_norm=float(np.sqrt(2 * max(promised, 0.0))),
        )  # fmt: skip
    spread = min(1.0, state.radius / full_radius(dim))
    tried = np.concatenate([best[None], best + spread * rng.standard_normal((64, dim))])
    count = max(1 + (dim + 1) // 2, target.workers)
    u = state.frame.restore(tried[draws.most_telling(process, tried, count, 1)])
    u = differences.bounded(target, state.centre, u)
    values = target.values(u)
    state = _with_values(state, u, values)
    gained = values[0] - before if np.isfinite(values[0]) else -np.inf
    if not noise:
        centre = state.points[int(np.argmax(state.values))]
    elif promised > 0 and gained > -_DOUBTS * noise:
        centre = u[0]
    else:
        centre = process.frame.restore(process.points[[int(np.argmax(known))]])[0]
    slack = _DOUBTS * noise
    radius = region.radius_after(state.radius, promised + slack, gained + slack, dim)
    frame = region.metric(process, process.frame.whiten(centre[None])[0])
    return replace(
        state, centre=centre, mean=centre, factor=frame.factor, log_sd=np.log(np.linalg.norm(frame.factor, axis=1)),
        radius=radius, step_size=state.radius, elbo=before,
        gradient_norm=float(np.sqrt(2 * max(promised, 0.0))),
    )  # fmt: skip


# --- the posterior --------------------------------------------------------------------------------------------------


def _refine(
    target: LogDensity, state: SurrogateState, process: Process, rng: np.random.Generator, tolerance: float
) -> SurrogateState:
    """Draws of the surrogate, what they leave open, and evaluations where that is most."""
    best = process.points[np.argmax(process.values)]
    weighted = draws.drawn(process, best if np.linalg.norm(best) < full_radius(target.dim) else 0 * best, rng)
    columns, seen = (
        np.column_stack([e, target.own_scale(process.frame.restore(e))]) for e in (weighted.e, process.points)
    )
    if weighted.endless(state.factor):
        message = "The scale of a direction grows without bound: the posterior looks improper."
        return replace(state, status=Status.DIVERGED, message=message)
    found = _errors(process, weighted, columns, rng)
    state = _described(state, process, weighted, found)
    factor = calibration(state)
    hidden = float(draws.beyond(seen, columns, weighted.weights).max())
    known = weighted.enough and hidden <= POLICY.hidden and factor * found.worst <= POLICY.share * tolerance
    if known and len(state.surprises) >= POLICY.batches and factor <= POLICY.surprise:
        message = (
            f"What the surrogate of {len(process.values)} values does not know would move no mean by more than "
            f"{factor * found.mean.max():.2g} sd and no sd by more than {factor * found.sd.max():.1%}."
        )
        return replace(state, status=Status.CONVERGED, message=message)
    tried = draws.candidates(weighted, columns, rng)
    count = max(POLICY.fewest, (target.dim + 1) // 2, int(draws.POLICY.growth * len(process.values)))
    count = max(min(count, draws.POLICY.largest), target.workers)
    # Some by chance, so that what the surrogate wrongly believes to know shows, too.
    outer = draws.outer_rows(
        seen, columns, weighted.weights, rng, draws.POLICY.outer, draws.POLICY.outer_share
    )
    tried = np.concatenate([weighted.e[outer], rng.permutation(tried)])
    chosen = tried[draws.most_telling(process, tried, count, len(outer) + int(draws.POLICY.by_chance * count))]
    u = process.frame.restore(chosen)
    values = target.values(u)
    return _after(_with_values(state, u, values), process, chosen, values, weighted)


def _errors(process: Process, weighted: Weighted, columns: Array, rng: np.random.Generator) -> Errors:
    rows = draws.chosen_rows(weighted.weights, draws.POLICY.judged, rng)
    standard = draws.standardized(columns, weighted.weights)
    return draws.errors(process, weighted.e[rows], standard[rows])


def _described(state: SurrogateState, process: Process, weighted: Weighted, found: Errors) -> SurrogateState:
    """The state with the moments of the surrogate's posterior, and the mean-field scales that these imply."""
    mean, covariance = weighted.moments()
    factor = state.factor @ np.linalg.cholesky(covariance + 1e-6 * np.eye(len(mean)))
    sd = np.linalg.norm(factor, axis=1)
    # Roots of the diagonal of the precision, which is the square of the factor's inverse.
    log_sd = -np.log(np.linalg.norm(solve_triangular(factor, np.eye(len(mean)), lower=True), axis=0))
    return replace(
        state,
        mean=state.frame.restore(mean[None])[0],
        log_sd=log_sd,
        mean_se=float(found.mean.max()) * sd,
        log_sd_se=np.full(len(mean), float(found.sd.max())),
        error=float(found.mean.max()),
        sd_error=float(found.sd.max()),
        elbo=float(weighted.weights @ np.where(weighted.weights > 0, weighted.log_density, 0.0)),
        gradient_norm=found.worst,
        step_size=1.0,
    )


def _after(
    state: SurrogateState, process: Process, e: Array, values: Array, weighted: Weighted
) -> SurrogateState:
    """What a batch says of the surrogate that asked for it: how far it was off, and whether to look elsewhere."""
    mean, variance = process.mean(e), process.variance(e) + process.noise_sd**2
    residual = np.where(np.isfinite(values), values - mean, -PROCESS.deep(len(state.mean)))
    high = np.max(values) > process.top + POLICY.higher + 3 * process.noise_sd
    low = np.median(residual) < -POLICY.lower
    if (high or low) and state.returns < POLICY.returns:
        centre = state.points[int(np.argmax(state.values))]
        state = replace(state, phase="approach", radius=full_radius(len(centre)), returns=state.returns + 1)
        return _arrived(replace(state, surprises=np.empty(0)), centre)
    # What lies deep down was given a noise of its own.
    with np.errstate(over="ignore"):
        shaped = np.square(PROCESS.slope_of_noise * np.maximum(process.top - mean - PROCESS.deep(len(state.mean)), 0.0))
        surprise = float(np.sqrt(np.mean(np.minimum(residual**2 / (variance + shaped), 1e4))))
        off = float(np.sqrt(np.mean(residual**2)))
    frame = state.frame.moved(*_regular(weighted))
    return replace(
        state,
        centre=frame.centre,
        factor=frame.factor,
        surprises=np.concatenate([state.surprises, [surprise]]),
        residual=off,
    )


def _regular(weighted: Weighted) -> tuple[Array, Array]:
    mean, covariance = weighted.moments()
    return mean, covariance + 1e-3 * np.eye(len(mean))


# --- other places ---------------------------------------------------------------------------------------------------


def informed(target: LogDensity, state: SurrogateState) -> SurrogateState:
    """The state to go on from with all values that are known by now."""
    known = target.evaluated
    return replace(
        state, points=known.u, values=known.log_density, status=None, message="", surprises=np.empty(0), learnt_from=0
    )


def climbed(
    target: LogDensity, start: Array, frame: Frame, noise_sd: float, rng: np.random.Generator, allowed: float
) -> SurrogateState:
    """Where the approach leads from another place (D,), in the metric of a posterior that is known elsewhere.

    What was evaluated nearer to that posterior is left out, so that only what is around the place leads on.
    """
    dim, known = target.dim, target.evaluated
    own = Frame(start, frame.factor)
    away = np.linalg.norm(own.whiten(known.u), axis=1)
    near = (away < 2 * full_radius(dim)) & (away < np.linalg.norm(frame.whiten(known.u), axis=1))
    until = target.evaluations + allowed
    nan = np.full(dim, np.nan)
    state = SurrogateState(
        mean=start, log_sd=np.log(np.linalg.norm(frame.factor, axis=1)), elbo=-np.inf, gradient_norm=np.inf,
        step_size=1.0, mean_se=nan, log_sd_se=nan, phase="approach", points=known.u[near],
        values=known.log_density[near], centre=start, factor=frame.factor, logs=first_logs(dim, noise_sd),
        noise_sd=noise_sd,
    )  # fmt: skip
    while state.phase == "approach" and target.evaluations < until:
        state, process = _fitted(state, rng)
        state = _approach(target, state, process, rng)
    return state
