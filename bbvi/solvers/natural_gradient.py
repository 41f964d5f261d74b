"""Trust-region natural gradient from values of the log density alone.

Four phases, each a pure function from state to state:

``scale``    finds, along each axis, the scale on which log p bends by about one nat;
``couple``   measures the off-diagonal of the Hessian, one value for each pair of latents;
``climb``    takes Newton steps on the axial approximation of the ELBO, with a parallel line search;
``refine``   draws from q, regresses log p on Hermite features over all draws that are still worth something, and
             takes Newton steps on the ELBO until the Monte Carlo error that is left is below the tolerance.

The first three only bring q near its optimum at low cost, from any distance and on any scale. What is reported comes
from the last one, which assumes no smoothness: it is the score function estimator with control variates.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import comb

import numpy as np

from ..status import Status
from . import differences
from .differences import Axes, Values
from .state import State
from .surrogate import DRAWS_PER_FEATURE, ENTROPY_CONSTANT, Regression, antithetic_draws, regress

Array = np.ndarray

REPLICATES = 4  # of the start, to see noise
RESCUE_DRAWS = 32  # when the start is not finite
SCALE_ROUNDS = 10  # each covers two orders of magnitude
COUPLING_CHUNK = 1000  # pairs measured in one step
COUPLING_MAX_DIM = 300  # above, a matrix of couplings costs more than it saves
LENGTHS = np.array([2.0, 1.0, 0.5, 0.25, 0.1, 0.03, 0.01, 0.001])  # of the Newton step, tried in one batch
SMALL_GAIN = 0.2  # nats: the axial approximation is hardly better than that
MAX_CLIMBS = 60
MAX_FAILURES = 3
LARGEST_SHRINKAGE, LARGEST_GROWTH = 0.7, 0.25  # of a log sd, in one step
SMALLEST_BATCH, LARGEST_BATCH = 16, 1024
LARGEST_RADIUS = 2.0  # plus sqrt(D): the length of a typical draw
SETTLED = 0.2  # a step below this part of its own standard error is noise
WILD = 0.5  # an error of half an sd: the regression says little about q
WINSOR_SPREADS = 4.0  # of the middle 80 % of the values, below their median
INNER_STEPS = 20  # Newton steps between batches, on draws already paid for
ARCHIVE_SIZE = 2_000_000  # numbers kept, 16 MB
RUNAWAY = 30.0  # growth of a log sd since the start that only an improper posterior shows


@dataclass
class NaturalGradientState(State):
    """State of `NaturalGradient`.

    Attributes
    ----------
    phase : str
        ``"scale"``, ``"couple"``, ``"climb"`` or ``"refine"``.
    noise_sd : float
        Standard deviation of repeated evaluations at one point, in nats; 0 for a deterministic log density.
    surrogate_covariance : ndarray, shape (D, D) or (0, 0)
        (-E_q[Hessian of log p])^-1, positive definite, or empty where it is not known.
    residual_sd : float
        What the quadratic or higher regression leaves of log p, in nats; NaN before the first draws.
    points, values, batch : ndarray, shapes (N, D), (N,), (N,)
        Draws that are kept, their log density, and which of the approximations ``batch_mean``, ``batch_log_sd``
        (K, D) each was drawn from.
    proposal_mean, proposal_log_sd : ndarray, shape (D,)
        Where the next draws come from; ``mean`` and ``log_sd`` are the best that is established.
    """

    phase: str = "scale"
    noise_sd: float = 0.0
    noise_squares: float = 0.0
    noise_count: int = 0
    start_log_sd: Array = field(default_factory=lambda: np.empty(0))
    centre: float = -np.inf
    slope: Array = field(default_factory=lambda: np.empty(0))
    curvature: Array = field(default_factory=lambda: np.empty(0))
    coupling: Array = field(default_factory=lambda: np.empty((0, 0)))
    coupling_next: int = 0
    coupling_age: int = -1
    climbs: int = 0
    failures: int = 0
    points: Array = field(default_factory=lambda: np.empty((0, 0)))
    values: Array = field(default_factory=lambda: np.empty(0))
    batch: Array = field(default_factory=lambda: np.empty(0, dtype=int))
    batch_mean: Array = field(default_factory=lambda: np.empty((0, 0)))
    batch_log_sd: Array = field(default_factory=lambda: np.empty((0, 0)))
    proposal_mean: Array = field(default_factory=lambda: np.empty(0))
    proposal_log_sd: Array = field(default_factory=lambda: np.empty(0))
    batch_size: int = 0
    accepted: int = 0
    elbo_se: float = np.nan
    surrogate_covariance: Array = field(default_factory=lambda: np.empty((0, 0)))
    residual_sd: float = np.nan


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
    entries the regression estimates. Convergence: with the Newton step at the noise level, the Monte Carlo error of
    every mean, in sds of q, and of every log sd is at most ``tolerance``.
    """

    max_batch: int = LARGEST_BATCH

    def init(
        self, target: Values, start_mean: Array, start_log_sd: Array, rng: np.random.Generator, tolerance: float
    ) -> NaturalGradientState:
        """Evaluate the start a few times; where it is not finite, move to the best of some draws around it."""
        dim = target.dim
        mean, log_sd = np.array(start_mean, dtype=float), np.array(start_log_sd, dtype=float)
        nan = np.full(dim, np.nan)
        state = NaturalGradientState(
            mean=mean, log_sd=log_sd, elbo=-np.inf, gradient_norm=np.inf, step_size=1.0, mean_se=nan, log_sd_se=nan,
            start_log_sd=log_sd.copy(), slope=np.zeros(dim), curvature=np.ones(dim), coupling=np.zeros((dim, dim)),
            points=np.empty((0, dim)), batch_mean=np.empty((0, dim)), batch_log_sd=np.empty((0, dim)),
        )  # fmt: skip
        values = target.values(np.tile(mean, (REPLICATES, 1)))
        for shrink in (1.0, 0.1, 0.01):
            if np.all(np.isfinite(values)):
                break
            draws = mean + shrink * np.exp(log_sd) * rng.standard_normal((RESCUE_DRAWS, dim))
            found = target.values(draws)
            if np.any(np.isfinite(found)):
                state = replace(state, mean=draws[np.argmax(found)])
                values = target.values(np.tile(state.mean, (REPLICATES, 1)))
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


# --- approach -------------------------------------------------------------------------------------------------------


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
    dim = target.dim
    # For few latents the couplings cost no more than a few climbs: measure them at once.
    phase = "couple" if 1 < dim <= 16 else "climb"
    return replace(_with_axes(state, axes), phase=phase)


def _couple(target: Values, state: NaturalGradientState) -> NaturalGradientState:
    """Measure the next chunk of couplings at the present centre."""
    first, second = differences.coupling_pairs(target.dim)
    chosen = slice(state.coupling_next, state.coupling_next + COUPLING_CHUNK)
    i, j = first[chosen], second[chosen]
    coupling = state.coupling.copy()
    coupling[i, j] = differences.measure_coupling(target, _axes(state), differences.reach(state.noise_sd), i, j)
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
    values = target.values(state.mean + lengths[:, None] * direction * sd)
    spent = len(lengths)
    best = int(np.argmax(values))
    if not values[best] > state.centre:
        return _after_climb(target, _failed(state, state.step_size * 0.1), spent, gain=0.0)
    mean = state.mean + lengths[best] * direction * sd
    again = target.values(np.stack([mean, mean]))
    state = _note_noise(state, again)
    log_sd = state.log_sd - 0.5 * np.log(np.clip(state.curvature, 0.25, 100.0))
    axes = replace(_axes(state), mean=mean, log_sd=log_sd, centre=_finite_mean(again))
    before = getattr(target, "evaluations", 0)
    axes = differences.rescale(target, axes, h, 3)
    spent += 2 + getattr(target, "evaluations", before + 2 * target.dim) - before
    gain = axes.elbo - _axes(state).elbo
    if not gain > 0:
        return _after_climb(target, _failed(state, lengths[best] * 0.25), spent, gain=0.0)
    norm = float(np.sqrt(axes.slope @ np.linalg.solve(metric, axes.slope)))
    size = float(np.clip(2 * lengths[best], state.step_size, 1.0))
    state = replace(_with_axes(state, axes), step_size=size, gradient_norm=norm, failures=0, climbs=state.climbs + 1)
    return _after_climb(target, state, spent, gain)


def _failed(state: NaturalGradientState, step_size: float) -> NaturalGradientState:
    return replace(state, step_size=step_size, failures=state.failures + 1, climbs=state.climbs + 1)


def _after_climb(target: Values, state: NaturalGradientState, spent: int, gain: float) -> NaturalGradientState:
    """Choose what comes next: couplings when they are worth their cost, draws when climbing has done its work."""
    dim = target.dim
    cost = dim * (dim - 1) // 2
    never = state.coupling_age < 0
    age = (0 if never else state.coupling_age) + spent
    state = replace(state, coupling_age=-1 if never else age)
    worthwhile = 1 < dim <= COUPLING_MAX_DIM
    done = gain < SMALL_GAIN + 3 * state.noise_sd and (state.failures == 0 or state.failures >= MAX_FAILURES)
    done = done or state.climbs >= MAX_CLIMBS
    if worthwhile and ((never and (done or state.climbs * 2 * dim >= cost)) or (not never and age >= cost and not done)):
        return replace(state, phase="couple", failures=0, step_size=1.0)
    if done:
        return replace(
            state,
            phase="refine",
            failures=0,
            step_size=1.0,
            proposal_mean=state.mean,
            proposal_log_sd=state.log_sd,
        )
    return state


# --- refinement -----------------------------------------------------------------------------------------------------


def _refine(
    target: Values, state: NaturalGradientState, rng: np.random.Generator, tolerance: float, max_batch: int
) -> NaturalGradientState:
    """Draw, regress, and take Newton steps for as long as the draws at hand can tell where they lead."""
    dim = target.dim
    size = state.batch_size or _smallest_batch(dim)
    u = antithetic_draws(size // 2, dim, rng)
    points = state.proposal_mean + np.exp(state.proposal_log_sd) * u
    values = target.values(points)
    if np.mean(np.isfinite(values)) < 0.5:
        return _retreat(state)
    state = _archive(state, points, values)
    kept = state.values
    here = _regress_at(state, state.proposal_mean, state.proposal_log_sd)
    if float(np.max(_parameter_error(here))) > WILD:
        # A few values far below the others decide everything: bound them until q is where they are rare.
        state = replace(state, values=_winsorised(kept), accepted=0)
        here = _regress_at(state, state.proposal_mean, state.proposal_log_sd)
    gradient_norm = float(np.linalg.norm(here.gradient))
    radius = state.step_size
    if state.accepted and _worse(here, state):
        # Back to the best that is established; the draws that were spent stay in the archive.
        mean, log_sd, radius = state.mean, state.log_sd, radius / 3
        here = _regress_at(state, mean, log_sd)
        state = replace(state, step_size=radius, failures=state.failures + 1)
    else:
        mean, log_sd = state.proposal_mean, state.proposal_log_sd
        radius = min(2 * radius, LARGEST_RADIUS + np.sqrt(dim))
        state = replace(state, step_size=radius, failures=0, accepted=state.accepted + 1)

    mean, log_sd, here, proposal, radius = _climb_archive(state, mean, log_sd, here, radius)
    settled = proposal is None
    next_mean, next_log_sd = (mean, log_sd) if proposal is None else proposal
    error = _parameter_error(here)
    weak = _weakest(here)
    known = weak > 0
    state = replace(
        state,
        values=kept,
        mean=mean,
        log_sd=log_sd,
        elbo=_elbo(here, log_sd),
        elbo_se=here.expected_value_se,
        gradient_norm=gradient_norm,
        mean_se=error[:dim] * np.exp(log_sd),
        log_sd_se=error[dim:],
        proposal_mean=next_mean,
        proposal_log_sd=next_log_sd,
        residual_sd=here.residual_sd,
        coupling=_partial(here.precision) if here.degree >= 2 else state.coupling,
        surrogate_covariance=_covariance(here.precision, log_sd) if known else np.empty((0, 0)),
    )
    worst = float(np.max(error))
    if settled and known and state.accepted >= 2 and worst <= tolerance:
        message = f"The Monte Carlo error left is {worst:.3g} sd, from {len(state.values)} draws."
        return replace(state, status=Status.CONVERGED, message=message)
    return replace(_prune(state, here), batch_size=_next_batch(state, here, worst / tolerance, settled, max_batch))


def _winsorised(values: Array) -> Array:
    low, middle, high = np.quantile(values, [0.1, 0.5, 0.9])
    return np.maximum(values, middle - WINSOR_SPREADS * (high - low))


def _climb_archive(
    state: NaturalGradientState, mean: Array, log_sd: Array, here: Regression, radius: float
) -> tuple[Array, Array, Regression, tuple[Array, Array] | None, float]:
    """Newton steps on the ELBO as the draws at hand estimate it; common draws make its values comparable.

    Returns the parameters, the regression there, and where to draw next: None where the step left is noise.
    """
    dim = len(mean)
    for _ in range(INNER_STEPS):
        delta = _newton_step(here, radius)
        if np.all(np.abs(delta) < SETTLED * _parameter_error(here)):
            return mean, log_sd, here, None, radius
        next_mean, next_log_sd = mean + np.exp(log_sd) * delta[:dim], log_sd + delta[dim:]
        there = _regress_at(state, next_mean, next_log_sd, here.degree)
        if there.effective_draws < 0.5 * here.effective_draws:
            return mean, log_sd, here, (next_mean, next_log_sd), radius
        gain = _elbo(there, next_log_sd) - _elbo(here, log_sd)
        calmer = _newton_norm(there) < 0.7 * _newton_norm(here)
        if gain > 0 or (calmer and gain > -here.expected_value_se):
            mean, log_sd, here = next_mean, next_log_sd, there
        else:
            radius = 0.3 * min(radius, _length(here, delta))
    return mean, log_sd, here, (mean, log_sd), radius


def _worse(here: Regression, state: NaturalGradientState) -> bool:
    """Whether the ELBO fell by more than its noise. A noise that itself grew is no excuse beyond one nat."""
    elbo = _elbo(here, state.proposal_log_sd)
    margin = min(2 * state.elbo_se, 1.0) + min(2 * here.expected_value_se, 1.0)
    return elbo < state.elbo - margin


def _smallest_batch(dim: int) -> int:
    """Enough for a full quadratic where that is affordable, else for slopes and curvatures."""
    return max(SMALLEST_BATCH + 6 * dim, min(2 * DRAWS_PER_FEATURE * comb(dim + 2, 2) // 2, 512))


def _next_batch(state: NaturalGradientState, here: Regression, ratio: float, settled: bool, largest: int) -> int:
    """As many draws as the error asks for if all is settled, else enough for a direction."""
    dim = len(state.mean)
    smallest = _smallest_batch(dim)
    if not settled:
        return smallest
    # At most double the draws: with more of them, higher orders may enter and the error fall faster than by chance.
    wanted = here.effective_draws * min(ratio**2 * 1.1 - 1, 1.0)
    return 2 * int(np.clip(wanted, smallest, max(smallest, largest)) // 2)


def _retreat(state: NaturalGradientState) -> NaturalGradientState:
    """Most draws were not finite: halve the way, and the scales."""
    if state.failures > 10:
        return replace(state, status=Status.DIVERGED, message="Most draws have a log joint that is not finite.")
    back = 0.5 * (state.proposal_mean + state.mean)
    smaller = np.minimum(state.proposal_log_sd, state.log_sd) - np.log(2)
    return replace(state, proposal_mean=back, proposal_log_sd=smaller, failures=state.failures + 1)


def _archive(state: NaturalGradientState, points: Array, values: Array) -> NaturalGradientState:
    """Add a batch. Values that are not finite count as the lowest finite one: a push away, but a bounded one."""
    finite = np.isfinite(values)
    values = np.where(finite, values, np.min(values[finite]))
    k = len(state.batch_mean)
    return replace(
        state,
        points=np.concatenate([state.points, points]),
        values=np.concatenate([state.values, values]),
        batch=np.concatenate([state.batch, np.full(len(points), k)]),
        batch_mean=np.concatenate([state.batch_mean, state.proposal_mean[None]]),
        batch_log_sd=np.concatenate([state.batch_log_sd, state.proposal_log_sd[None]]),
    )


def _log_mixture(state: NaturalGradientState, mean: Array) -> Array:
    """Log density of the mixture that the kept draws come from, without the normal's constant."""
    counts = np.bincount(state.batch, minlength=len(state.batch_mean))
    total = np.full(len(state.points), -np.inf)
    for k, count in enumerate(counts):
        log_sd = state.batch_log_sd[k]
        u = (state.points - state.batch_mean[k]) * np.exp(-log_sd)
        density = -0.5 * np.einsum("sd,sd->s", u, u) - log_sd.sum() + np.log(count / len(state.points))
        total = np.logaddexp(total, density)
    return total


def _weights(state: NaturalGradientState, mean: Array, log_sd: Array) -> tuple[Array, Array]:
    """The kept draws in units of q, and their importance weights."""
    u = (state.points - mean) * np.exp(-log_sd)
    log_weight = -0.5 * np.einsum("sd,sd->s", u, u) - log_sd.sum() - _log_mixture(state, mean)
    return u, np.exp(log_weight - log_weight.max())


def _regress_at(
    state: NaturalGradientState, mean: Array, log_sd: Array, degree: int | None = None
) -> Regression:
    u, weights = _weights(state, mean, log_sd)
    return regress(u, state.values, weights, state.coupling, degree)


def _elbo(here: Regression, log_sd: Array) -> float:
    return here.expected_value + float(log_sd.sum()) + ENTROPY_CONSTANT * len(log_sd)


def _weakest(here: Regression) -> float:
    """Smallest eigenvalue of the precision; what noise can explain counts as none."""
    return float(np.linalg.eigvalsh(here.precision)[0])


def _floor(here: Regression) -> float:
    """Eigenvalues of the precision below this are not told from zero by the draws."""
    return max(1e-6, 0.5 * here.residual_sd / np.sqrt(here.effective_draws))


def _newton_matrix(here: Regression) -> Array:
    """Negative Hessian of the ELBO, made positive definite by giving up as little as possible of its uncertain parts.

    Those are the orders three and four: without them it is the Hessian of a quadratic.
    """
    dim = len(here.precision)
    block = np.zeros_like(here.hessian)
    block[:dim, :dim] = differences.positive_definite(here.precision, _floor(here))
    block[dim:, dim:] = np.diag(np.maximum(2 * np.diag(here.precision), 0.2))
    for part in (1.0, 0.75, 0.5, 0.25):
        matrix = block + part * (here.hessian - block)
        if np.linalg.eigvalsh(matrix)[0] > _floor(here):
            return matrix
    return block


def _newton_step(here: Regression, radius: float) -> Array:
    """Newton step for (mean / sd, log sd) within a radius in the metric of the Newton matrix.

    Scales grow more slowly than they shrink: draws say nothing of what lies outside of them.
    """
    dim = len(here.precision)
    step = np.linalg.solve(_newton_matrix(here), here.gradient)
    length = _length(here, step)
    step *= min(1.0, radius / length) if length > 0 else 1.0
    step[dim:] = np.clip(step[dim:], -LARGEST_SHRINKAGE, LARGEST_GROWTH)
    return step


def _length(here: Regression, step: Array) -> float:
    """Length of a step in the metric of the Newton matrix."""
    return float(np.sqrt(max(step @ _newton_matrix(here) @ step, 0.0)))


def _newton_norm(here: Regression) -> float:
    """Norm of the gradient in the dual metric: the square root of twice the gain that a quadratic promises."""
    return float(np.sqrt(max(here.gradient @ np.linalg.solve(_newton_matrix(here), here.gradient), 0.0)))


def _parameter_error(here: Regression) -> Array:
    """Standard error of (mean / sd, log sd): the gradient's, through the Newton matrix."""
    inverse = np.linalg.inv(_newton_matrix(here))
    return np.sqrt(np.maximum(np.diag(inverse @ here.covariance @ inverse.T), 0.0)) + 1e-12


def _partial(precision: Array) -> Array:
    """Off-diagonal of a precision as partial correlations."""
    root = np.sqrt(np.maximum(np.abs(np.diag(precision)), 0.1))
    partial = precision / np.outer(root, root)
    np.fill_diagonal(partial, 0.0)
    return np.clip(partial, -1.0, 1.0)


def _covariance(precision: Array, log_sd: Array) -> Array:
    sd = np.exp(log_sd)
    return np.linalg.inv(precision) * np.outer(sd, sd)


def _prune(state: NaturalGradientState, here: Regression) -> NaturalGradientState:
    """Drop batches that weigh next to nothing at q, and the oldest where there are too many numbers to keep."""
    _, weights = _weights(state, state.mean, state.log_sd)
    weights = weights / weights.mean()
    count = len(state.batch_mean)
    share = np.bincount(state.batch, weights=weights, minlength=count) / np.bincount(state.batch, minlength=count)
    keep = share > 0.05
    keep[-1] = True
    rows = np.cumsum(np.bincount(state.batch, minlength=count)[::-1])[::-1]
    keep &= rows * state.points.shape[1] <= ARCHIVE_SIZE
    chosen = keep[state.batch]
    renumbered = np.cumsum(keep) - 1
    return replace(
        state,
        points=state.points[chosen],
        values=state.values[chosen],
        batch=renumbered[state.batch[chosen]],
        batch_mean=state.batch_mean[keep],
        batch_log_sd=state.batch_log_sd[keep],
    )


def _note_noise(state: NaturalGradientState, repeated: Array) -> NaturalGradientState:
    """Pool the spread of values at one point into the estimate of the noise."""
    finite = repeated[np.isfinite(repeated)]
    if len(finite) < 2:
        return state
    squares = state.noise_squares + float(np.sum((finite - finite.mean()) ** 2))
    count = state.noise_count + len(finite) - 1
    return replace(state, noise_squares=squares, noise_count=count, noise_sd=float(np.sqrt(squares / count)))


def _finite_mean(values: Array) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else -np.inf
