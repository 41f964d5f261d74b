"""Trust-region natural gradient from values of the log density alone.

Four phases, each a pure function from state to state:

- ``scale`` finds, along each axis, the scale on which log p bends by about one nat;
- ``couple`` measures the off-diagonal of the Hessian, one value for each pair of latents;
- ``climb`` takes Newton steps on the axial approximation of the ELBO, with a parallel line search;
- ``refine`` draws from q, regresses log p on Hermite features over all draws that are still worth something,
  and takes Newton steps on the ELBO until the Monte Carlo error that is left is below the tolerance.

The first three only bring q near its optimum at low cost, from any distance and on any scale. What is
reported comes from the last one, which assumes no smoothness: it is the score function estimator with control
variates.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import comb
from typing import ClassVar

import numpy as np

from bbvi.estimators.score_function import ScoreFunction
from bbvi.solvers.base import Traits
from bbvi.solvers.from_values import differences
from bbvi.solvers.from_values.archive import Archive, Fitted, ascend, bounded_if_wild, fitted, weakest_known
from bbvi.solvers.from_values.differences import Axes
from bbvi.solvers.from_values.natural_gradient_state import NaturalGradientState
from bbvi.solvers.from_values.surrogate import DRAWS_PER_FEATURE, ENTROPY_CONSTANT, antithetic_draws
from bbvi.status import Status
from bbvi.target.protocol import Values

Array = np.ndarray

REPLICATES = 4  # right beside the start, to see noise
RESCUE_DRAWS = 32  # when the start is not finite
SCALE_ROUNDS = 10  # each covers two orders of magnitude
COUPLING_CHUNK = 1000  # pairs measured in one step
COUPLING_AT_ONCE = 16  # latents: up to here, couplings cost no more than a few climbs
COUPLING_MAX_DIM = 300  # above, a matrix of couplings costs more than it saves
LENGTHS = np.array([2.0, 1.0, 0.5, 0.25, 0.1, 0.03, 0.01, 0.001])  # of the Newton step, tried in one batch
SMALL_GAIN = 0.2  # nats: the axial approximation is hardly better than that
MAX_CLIMBS = 60
MAX_FAILURES = 3
MAX_RETREATS = 10
SMALLEST_BATCH, LARGEST_QUADRATIC_BATCH, LARGEST_BATCH = 16, 512, 1024
LARGEST_RADIUS = 2.0  # plus sqrt(D): the length of a typical draw
EXACT = 1e-3  # of the tolerance: an error below that is none, and more draws show nothing else
RUNAWAY = 30.0  # growth of a log sd since the start that only an improper posterior shows


@dataclass(frozen=True)
class NaturalGradient:
    """Natural-gradient ascent of the ELBO from values of the log density.

    Parameters
    ----------
    max_batch : int
        Largest number of draws in one refining step.

    Notes
    -----
    The regression is that of Salimans and Knowles (2013, section 4); a step solves the Newton system of the ELBO whose
    entries the regression estimates. It has converged when the Newton step that is left is noise and the Monte Carlo
    error of every mean, in sds of q, and of every log sd is at most ``tolerance``.

    The regression is this solver's own, with every feature that pays as a control variate: the options of
    `ScoreFunction` say nothing here. They are for `Stochastic`.
    """

    state_type: ClassVar[type[NaturalGradientState]] = NaturalGradientState
    # Ten times what it has ever needed: beyond, the target has no optimum to be found.
    traits: ClassVar[Traits] = Traits(
        estimators=(ScoreFunction,), gradients=False, search="rivals", evaluations=40_000, evaluations_per_latent=4000
    )

    max_batch: int = LARGEST_BATCH

    def __post_init__(self) -> None:
        if not (isinstance(self.max_batch, int) and self.max_batch >= 2):
            raise ValueError(f"max_batch: expected an integer of at least 2, got {self.max_batch!r}")

    def init(
        self,
        target: Values,
        start_mean: Array,
        start_log_sd: Array,
        rng: np.random.Generator,
        tolerance: float,
    ) -> NaturalGradientState:
        """Evaluate the start a few times; where it is not finite, move to the best of draws around it."""
        dim = target.dim
        mean, log_sd = np.array(start_mean, dtype=float), np.array(start_log_sd, dtype=float)
        nan = np.full(dim, np.nan)
        state = NaturalGradientState(
            mean=mean, log_sd=log_sd, elbo=-np.inf, gradient_norm=np.inf, step_size=1.0, mean_se=nan,
            log_sd_se=nan, start_log_sd=log_sd.copy(), slope=np.zeros(dim), curvature=np.ones(dim),
            coupling=np.zeros((dim, dim)), points=np.empty((0, dim)), batch_mean=np.empty((0, dim)),
            batch_log_sd=np.empty((0, dim)),
        )  # fmt: skip
        values = target.values(differences.beside(mean, REPLICATES))
        for shrink in (1.0, 0.1, 0.01):
            if np.all(np.isfinite(values)):
                break
            draws = mean + shrink * np.exp(log_sd) * rng.standard_normal((RESCUE_DRAWS, dim))
            found = target.values(draws)
            if np.any(np.isfinite(found)):
                state = replace(state, mean=draws[np.argmax(found)])
                values = target.values(differences.beside(state.mean, REPLICATES))
        if not np.any(np.isfinite(values)):
            return replace(
                state,
                status=Status.DIVERGED,
                message="The log joint is not finite at the start, nor at draws around it.",
            )
        return _note_noise(replace(state, centre=_finite_mean(values)), values)

    def step(
        self, target: Values, state: NaturalGradientState, rng: np.random.Generator, tolerance: float
    ) -> NaturalGradientState:
        """One bounded piece of work in the phase that the state is in."""
        if state.phase == "scale":
            state = _scale(target, state)
        elif state.phase == "couple":
            state = _couple(target, state)
        elif state.phase == "climb":
            state = _climb(target, state)
        else:
            state = _refine(target, state, rng, tolerance, self.max_batch)
        if state.status is None and np.any(state.log_sd - state.start_log_sd > RUNAWAY):
            axis = int(np.argmax(state.log_sd - state.start_log_sd))
            message = f"The scale of latent {axis} grows without bound: the posterior looks improper."
            state = replace(state, status=Status.DIVERGED, message=message)
        return state


# --- approach -----------------------------------------------------------------------------------------------


def _axes(state: NaturalGradientState) -> Axes:
    return Axes(state.mean, state.log_sd, state.centre, state.slope, state.curvature)


def _with_axes(state: NaturalGradientState, axes: Axes) -> NaturalGradientState:
    return replace(
        state,
        mean=axes.mean,
        log_sd=axes.log_sd,
        centre=axes.centre,
        slope=axes.slope,
        curvature=axes.curvature,
        elbo=axes.elbo + ENTROPY_CONSTANT * len(axes.mean),
    )


def _scale(target: Values, state: NaturalGradientState) -> NaturalGradientState:
    axes = differences.rescale(target, _axes(state), differences.reach(state.noise_sd), SCALE_ROUNDS)
    phase = "couple" if 1 < target.dim <= COUPLING_AT_ONCE else "climb"
    return replace(_with_axes(state, axes), phase=phase)


def _couple(target: Values, state: NaturalGradientState) -> NaturalGradientState:
    """Measure the next chunk of couplings at the present centre."""
    first, second = differences.coupling_pairs(target.dim)
    chosen = slice(state.coupling_next, state.coupling_next + COUPLING_CHUNK)
    i, j = first[chosen], second[chosen]
    coupling, h = state.coupling.copy(), differences.reach(state.noise_sd)
    coupling[i, j] = differences.measure_coupling(target, _axes(state), h, i, j)
    coupling[j, i] = coupling[i, j]
    if chosen.stop < len(first):
        return replace(state, coupling=coupling, coupling_next=chosen.stop)
    return replace(state, coupling=coupling, coupling_next=0, coupling_age=0, phase="climb")


def _climb(target: Values, state: NaturalGradientState) -> NaturalGradientState:
    """Newton step on the axial approximation of the ELBO, its length the best of eight tried at once."""
    h = differences.reach(state.noise_sd)
    sd = np.exp(state.log_sd)
    # The error of a measured coupling bounds how weak a direction can be told from none.
    floor = max(1e-6, 2 * state.noise_sd / h**2)
    metric = differences.precision(state.curvature, state.coupling, floor)
    direction = np.linalg.solve(metric, state.slope)
    lengths = state.step_size * LENGTHS
    before = target.evaluations
    tried = differences.bounded(target, state.mean, state.mean + lengths[:, None] * direction * sd)
    values = target.values(tried)
    best = int(np.argmax(values))
    if not values[best] > state.centre:
        return _after_climb(_failed(state, state.step_size * 0.1), len(lengths), gain=0.0)
    mean = tried[best]
    again = target.values(differences.beside(mean, REPLICATES))
    state = _note_noise(state, again)
    log_sd = state.log_sd - 0.5 * np.log(np.clip(state.curvature, 0.25, 100.0))
    axes = replace(_axes(state), mean=mean, log_sd=log_sd, centre=_finite_mean(again))
    axes = differences.rescale(target, axes, h, 3)
    spent = target.evaluations - before
    gain = axes.elbo - _axes(state).elbo
    if not gain > 0:
        return _after_climb(_failed(state, lengths[best] * 0.25), spent, gain=0.0)
    norm = float(np.sqrt(axes.slope @ np.linalg.solve(metric, axes.slope)))
    state = replace(
        _with_axes(state, axes),
        step_size=float(np.clip(2 * lengths[best], state.step_size, 1.0)),
        gradient_norm=norm,
        failures=0,
        climbs=state.climbs + 1,
    )
    return _after_climb(state, spent, gain)


def _failed(state: NaturalGradientState, step_size: float) -> NaturalGradientState:
    return replace(state, step_size=step_size, failures=state.failures + 1, climbs=state.climbs + 1)


def _after_climb(state: NaturalGradientState, spent: int, gain: float) -> NaturalGradientState:
    """What comes next: couplings where they are worth their cost, draws where climbing has done its work."""
    dim = len(state.mean)
    cost = dim * (dim - 1) // 2
    known = state.coupling_age >= 0
    # Where nothing moved, couplings are as good as they were.
    age = state.coupling_age + (spent if state.failures == 0 else 0) if known else -1
    state = replace(state, coupling_age=age)
    small = gain < SMALL_GAIN + 3 * state.noise_sd and state.failures == 0
    done = small or state.failures >= MAX_FAILURES or state.climbs >= MAX_CLIMBS
    if known:
        measure = age >= cost and not done and state.failures == 0
    else:
        measure = done or 2 * dim * state.climbs >= cost
    if measure and 1 < dim <= COUPLING_MAX_DIM:
        return replace(state, phase="couple", failures=0, step_size=1.0)
    if not done:
        return state
    return replace(
        state,
        phase="refine",
        failures=0,
        step_size=1.0,
        proposal_mean=state.mean,
        proposal_log_sd=state.log_sd - 0.5 * np.log(np.clip(state.curvature, 0.25, 4.0)),
    )


# --- refinement ---------------------------------------------------------------------------------------------


def _refine(
    target: Values, state: NaturalGradientState, rng: np.random.Generator, tolerance: float, max_batch: int
) -> NaturalGradientState:
    """Draw, regress, and take Newton steps for as long as the draws at hand can tell where they lead."""
    dim = target.dim
    u = antithetic_draws((state.batch_size or _smallest_batch(dim)) // 2, dim, rng)
    points = state.proposal_mean + np.exp(state.proposal_log_sd) * u
    values = target.values(points)
    nonfinite = float(np.mean(~np.isfinite(values)))
    if nonfinite > 0.5:
        return _retreat(replace(state, nonfinite=nonfinite))
    archive = _archive(state).extended(state.proposal_mean, state.proposal_log_sd, points, values)
    here = fitted(archive, state.proposal_mean, state.proposal_log_sd)
    gradient_norm = float(np.linalg.norm(here.regression.gradient))
    wild = bounded_if_wild(archive, here)
    used, radius, accepted, failures = archive, state.step_size, state.accepted, 0
    if state.accepted and (wild is not None or _worse(here, state)):
        # Back to the best that is established; the draws that were spent stay in the archive.
        here, radius, failures = fitted(archive, state.mean, state.log_sd), radius / 3, state.failures + 1
    elif wild is not None:
        used, here = wild
    else:
        radius, accepted = min(2 * radius, LARGEST_RADIUS + np.sqrt(dim)), accepted + 1
    before = state
    here, proposal = ascend(used, here, radius)
    archive = archive.pruned(here.mean, here.log_sd)
    state = replace(
        _with_fitted(state, here, archive),
        gradient_norm=gradient_norm,
        step_size=float(radius),
        accepted=accepted,
        failures=failures,
        nonfinite=nonfinite,
        proposal_mean=here.mean if proposal is None else proposal[0],
        proposal_log_sd=here.log_sd if proposal is None else proposal[1],
    )
    worst = float(np.max(here.error))
    # The last batch must not have moved the answer by more than the stated error explains.
    steady = _moved(before, state) <= max(tolerance, 2 * worst)
    known = state.surrogate_covariance.size > 0
    if proposal is None and steady and known and accepted >= 2 and worst <= tolerance:
        message = f"The Monte Carlo error left is {worst:.3g} sd, from {len(archive.values)} draws."
        return replace(state, status=Status.CONVERGED, message=message)
    if proposal is None and not known and worst <= EXACT * tolerance:
        message = (
            "Values do not tell the posterior's width in some direction from an infinite one, and more of them would "
            "not: latents are too strongly correlated. Centre the predictors, or reparameterize."
        )
        return replace(state, status=Status.BUDGET, message=message)
    settled = proposal is None
    size = _next_batch(here, dim, worst / tolerance, max_batch) if settled else _smallest_batch(dim)
    return replace(state, batch_size=size)


def _archive(state: NaturalGradientState) -> Archive:
    return Archive(
        state.points, state.values, state.batch, state.batch_mean, state.batch_log_sd, state.coupling
    )


def _with_fitted(state: NaturalGradientState, here: Fitted, archive: Archive) -> NaturalGradientState:
    regression, error, sd, dim = here.regression, here.error, np.exp(here.log_sd), len(here.mean)
    known = np.linalg.eigvalsh(regression.precision)[0] > weakest_known(regression)
    covariance = np.linalg.inv(regression.precision) * np.outer(sd, sd) if known else np.empty((0, 0))
    return replace(
        state,
        mean=here.mean,
        log_sd=here.log_sd,
        elbo=here.elbo,
        elbo_se=regression.expected_value_se,
        mean_se=error[:dim] * sd,
        log_sd_se=error[dim:],
        residual_sd=regression.residual_sd,
        surrogate_covariance=0.5 * (covariance + covariance.T),
        coupling=_partial(regression.precision) if regression.basis.degree > 0 else state.coupling,
        points=archive.points,
        values=archive.values,
        batch=archive.batch,
        batch_mean=archive.batch_mean,
        batch_log_sd=archive.batch_log_sd,
    )


def _partial(precision: Array) -> Array:
    """Off-diagonal of a precision as partial correlations."""
    root = np.sqrt(np.maximum(np.abs(np.diag(precision)), 0.1))
    partial = np.clip(precision / np.outer(root, root), -1.0, 1.0)
    np.fill_diagonal(partial, 0.0)
    return np.asarray(partial)


def _moved(before: NaturalGradientState, after: NaturalGradientState) -> float:
    """Largest change of a mean, in sds, or of a log sd."""
    means = np.abs(after.mean - before.mean) / np.exp(after.log_sd)
    return float(max(np.max(means), np.max(np.abs(after.log_sd - before.log_sd))))


def _worse(here: Fitted, state: NaturalGradientState) -> bool:
    """Whether the ELBO fell by more than its noise. A noise that itself grew is no excuse beyond one nat."""
    margin = min(2 * state.elbo_se, 1.0) + min(2 * here.regression.expected_value_se, 1.0)
    return here.elbo < state.elbo - margin


def _smallest_batch(dim: int) -> int:
    """Enough for a full quadratic where that is affordable, else for slopes and curvatures."""
    quadratic = DRAWS_PER_FEATURE * comb(dim + 2, 2)
    return 2 * (max(SMALLEST_BATCH + 6 * dim, min(quadratic, LARGEST_QUADRATIC_BATCH)) // 2)


def _next_batch(here: Fitted, dim: int, ratio: float, largest: int) -> int:
    """As many draws as the error, ``ratio`` times what it may be, asks for."""
    # At most double the draws: with more of them, higher orders may enter and the error fall faster than by
    # chance.
    wanted = here.regression.effective_draws * min(1.1 * ratio**2 - 1, 1.0)
    smallest = _smallest_batch(dim)
    return 2 * int(np.clip(wanted, smallest, max(smallest, largest)) // 2)


def _retreat(state: NaturalGradientState) -> NaturalGradientState:
    """Most draws were not finite: go half the way back, and halve the scales."""
    if state.failures >= MAX_RETREATS:
        message = "Most draws have a log joint that is not finite, at any scale that was tried."
        return replace(state, status=Status.DIVERGED, message=message)
    back = 0.5 * (state.proposal_mean + state.mean)
    smaller = np.minimum(state.proposal_log_sd, state.log_sd) - np.log(2)
    return replace(state, proposal_mean=back, proposal_log_sd=smaller, failures=state.failures + 1)


# --- noise --------------------------------------------------------------------------------------------------


def _note_noise(state: NaturalGradientState, repeated: Array) -> NaturalGradientState:
    """Pool what is rough of values right beside each other into the estimate of the noise."""
    rough, more = differences.roughness(repeated)
    if not more:
        return state
    squares, count = state.noise_squares + rough, state.noise_count + more
    return replace(state, noise_squares=squares, noise_count=count, noise_sd=float(np.sqrt(squares / count)))


def _finite_mean(values: Array) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else -np.inf
