"""The surrogate of a fit from values as a kind of posterior, and what is known of its errors.

Its draws are weighted draws of the surrogate, which cost no evaluation. How far they are from the posterior is known
from three sides: the surrogate's own covariance says what it does not know (to first order, the change of E[f] is the
covariance of f and the error of the log density); evaluations that it was not fitted to say how much that is to be
enlarged; and their residuals, as weights, say how far each mean and sd would move.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bbvi.correction.compared import MOST, Compared, left_out
from bbvi.correction.importance import ImportanceResult, correct
from bbvi.correction.importance.slices import conditional_mixture
from bbvi.correction.importance.weights import moments
from bbvi.correction.pool import Evaluated, Pool
from bbvi.solvers.from_values import draws
from bbvi.solvers.from_values.process import Process
from bbvi.target.protocol import Linearization

Array = np.ndarray
Measure = Callable[[Array], tuple[Sequence[str], Array]]


@dataclass(frozen=True)
class EmulationPolicy:
    """When a surrogate may be relied on.

    Attributes
    ----------
    mean, sd : float
        What a reliable posterior promises of means, in sds, and of sds, relative.
    errors : float
        Standard errors that have to be within that.
    surprise : float
        Standardized residual of evaluations that the surrogate was not fitted to, root mean square, above which its
        own word on its errors is worth little; unless they are so small, in nats, that no mean can be that far off.
    off : float
        Nats by which such evaluations may be off, whatever was expected: those that are reliable and right in the
        calibration are off by 0.25 at most.
    fewest : int
        Such evaluations below which nothing has confirmed it.
    fair : float
        Errors of means and sds up to which caution is enough.
    direct : int
        Fresh evaluations from which on their residuals alone say what the errors are.
    hidden : float
        Relative error of an sd for the share of the variance that lies beyond them.
    most : float
        Nats by which the log density may exceed the surrogate, in their weights.
    fewest_draws, most_draws : int
        Draws of the surrogate.
    work : float
        Draws times values that it may be fitted to, between these.
    rounds : int
        In which they are drawn.
    probes : int
        Evaluations far out, of the quantities with the heaviest tails.
    pushed, drop : float
        Factor by which some go further out than the outermost draws, and the nats by which a tail between a normal and
        an exponential one is lower there; calibrated.
    outermost : float
        Share of the variance that lies further out than these.
    steepest : float
        Nats by which the log density there may exceed the surrogate, in what that would make of the share.
    unknown : float
        Sd of the surrogate, in nats, from which on it is taken to know nothing, far out.
    judged : int
        Draws by which errors are judged.
    rank : int
        Directions in which the surrogate's covariance at these is kept.
    compared : int
        Draws by which two surrogates are compared.
    """

    mean: float = 0.1
    sd: float = 0.1
    errors: float = 2.5
    surprise: float = 4.0
    off: float = 1.0
    fewest: int = 8
    fair: float = 0.5
    direct: int = 30
    hidden: float = 0.5
    most: float = 3.0
    fewest_draws: int = 8000
    most_draws: int = 20_000
    work: float = 6e6
    rounds: int = 8
    unknown: float = 2.0
    probes: int = 6
    pushed: float = 1.4
    drop: float = 4.0
    outermost: float = 0.02
    steepest: float = 5.0
    judged: int = 600
    rank: int = 120
    compared: int = 2000


POLICY = EmulationPolicy()


@dataclass(frozen=True, eq=False)
class EmulationErrors:
    """Standard errors of means: of the draws that stand for the surrogate, and of what the surrogate does not know.

    Attributes
    ----------
    rows : (M,)
        Equally weighted draws among all, by their rows.
    factor : (M, K)
        Of the covariance of the surrogate's errors at these, enlarged as evaluations ask for.
    """

    rows: Array
    factor: Array

    def standard_errors(self, weights: Array, centred: Array) -> Array:
        """Standard errors (R,) of the weighted means of centred columns (S, R)."""
        some = centred[self.rows]
        unknown = np.sum((self.factor.T @ (some - some.mean(axis=0)) / len(some)) ** 2, axis=0)
        return np.asarray(np.sqrt(unknown + weights**2 @ centred**2))


@dataclass(frozen=True, eq=False)
class SurrogateKind:
    """The posterior as a surrogate of the log joint describes it.

    Attributes
    ----------
    draws : (S, D), unconstrained
    log_weights : (S,), normalised
    log_density : (S,), of the surrogate
    log_q : (S,), of what the draws came from
    errors : EmulationErrors
    mean_error, sd_error : float
        The largest standard error of a reported mean, in sds, and of a reported sd, relative.
    surprise : float
        Root mean square of the standardized residuals of `fresh` evaluations that it was not fitted to.
    residual : float
        The same in nats.
    khat : float
        Of the weights that these evaluations would have; NaN where they are too few.
    problems : tuple of str
    fitted : int
        Evaluations that it was fitted to.
    """

    draws: Array
    log_weights: Array
    log_density: Array
    log_q: Array
    errors: EmulationErrors
    mean_error: float
    sd_error: float
    surprise: float
    residual: float
    fresh: int
    fitted: int
    khat: float = float("nan")
    problems: tuple[str, ...] = ()
    name: str = "surrogate"

    @property
    def independent(self) -> bool:
        """It is no approximation around an optimum."""
        return True

    @property
    def checked(self) -> bool:
        """Evaluations that it was not fitted to were compared with it."""
        return True

    @property
    def fair(self) -> bool:
        """Whether its errors are within what caution promises, and evaluations agree with it."""
        within = max(self.mean_error, self.sd_error) * POLICY.errors <= POLICY.fair
        return bool(within and not self.residual > POLICY.off)

    @property
    def covariance(self) -> tuple[Array, Array]:
        """Mean (D,) and covariance (D, D) of the draws."""
        weights = np.exp(self.log_weights)
        mean = weights @ self.draws
        centred = self.draws - mean
        return mean, (centred * weights[:, None]).T @ centred

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draws (n, D), by resampling."""
        return np.asarray(self.draws[draws.chosen_rows(np.exp(self.log_weights), n, rng)])

    def pool(self, seed: int) -> Pool:
        """The weighted draws as they are."""
        return Pool(self.draws, self.log_weights, self.errors, self.log_density, self.log_q)


def emulated(
    seen: Compared,
    fresh: Evaluated,
    before: Process,
    measure: Measure,
    places: Array,
    rng: np.random.Generator,
    policy: EmulationPolicy = POLICY,
) -> SurrogateKind:
    """The kind that a surrogate stands for.

    Parameters
    ----------
    seen : Compared
        The surrogate.
    fresh : Evaluated
        Evaluations at draws of it.
    before : Process
        The one that they were drawn of.
    measure : callable, (S, D) -> labels (R), columns (S, R)
        What is reported.
    places : (K, D)
        That draws are to reach besides.
    rng : numpy.random.Generator

    Raises
    ------
    numpy.linalg.LinAlgError
        If the surrogate cannot be sampled.
    """
    process = seen.process
    frame = process.frame
    dim = len(frame.centre)
    size = int(np.clip(policy.work / len(process.values), policy.fewest_draws, policy.most_draws))
    # In the frame's coordinates, where the surrogate is about standard normal.
    found = correct(
        lambda e: draws.where_known(process, e, policy.unknown),
        lambda e: measure(frame.restore(e)),
        np.zeros(dim),
        np.eye(dim),
        rng,
        max_evaluations=size,
        max_rounds=policy.rounds,
        alternatives=[(place, np.full(dim, draws.POLICY.aside)) for place in _apart(process, frame.whiten(places))],
        conditionals=lambda mean, covariance, index: conditional_mixture(_Smooth(process), mean, covariance, index),
    )
    labels, columns = measure(frame.restore(found.draws))
    weights = np.exp(found.log_weights)
    rows = draws.chosen_rows(weights, policy.judged, rng)
    standard = draws.standardized(columns, weights)
    of_draws = weights**2 @ standard**2
    own = draws.errors(process, found.draws[rows], standard[rows])
    enlarged = max(1.0, seen.standardized, left_out(process))
    direct = _direct(seen, measure(fresh.u)[1] if len(fresh.u) else columns[:0], columns, weights, policy)
    moved = _moved(process, before, found, columns, policy)
    hidden = policy.hidden * draws.beyond(measure(frame.restore(process.points))[1], columns, weights)
    errors = draws.Errors(
        *(
            np.maximum(np.hypot(np.minimum(np.hypot(enlarged * a, h), b), c), d / policy.errors)
            for a, h, b, c, d in zip(
                own, (0.0 * hidden, hidden), direct, (np.sqrt(of_draws), found.sd_error), moved, strict=True
            )
        )
    )
    return SurrogateKind(
        draws=frame.restore(found.draws),
        log_weights=found.log_weights,
        log_density=found.log_density,
        log_q=found.proposal.log_density(found.draws) - np.log(np.abs(np.diag(frame.factor))).sum(),
        errors=EmulationErrors(rows, enlarged * _factor(process.covariance(found.draws[rows]), policy.rank)),
        mean_error=float(errors.mean.max(initial=0.0)),
        sd_error=float(errors.sd.max(initial=0.0)),
        surprise=seen.standardized,
        residual=seen.plain,
        fresh=len(fresh.u),
        fitted=len(process.values),
        problems=_problems(errors, labels, seen, len(fresh.u), found, policy),
    )


def _apart(process: Process, places: Array) -> list[Array]:
    """Lumps of the surrogate and other places (K, D) in its frame, each once."""
    kept: list[Array] = []
    for place in [*draws.lumps(process), *places]:
        if all(np.linalg.norm(place - other) > 2.0 for other in kept) and len(kept) < 2 * draws.POLICY.lumps:
            kept.append(place)
    return kept


class _Smooth:
    """A surrogate with its derivatives, in its frame's coordinates."""

    def __init__(self, process: Process) -> None:
        self.process = process

    def values(self, e: Array) -> Array:
        """Log density (S,) at e (S, D)."""
        return draws.where_known(self.process, e, POLICY.unknown)

    def linearize(self, e: Array) -> Linearization:
        """Values (S,), gradients (S, D) and Hessian products at e (S, D), in which rows may repeat."""
        distinct, rows = np.unique(e, axis=0, return_inverse=True)
        gradients, hessians = map(np.array, zip(*map(self.process.derivatives, distinct), strict=True))
        rows = rows.ravel()
        return Linearization(
            self.values(distinct)[rows],
            gradients[rows],
            lambda v: np.einsum("sij,sj->si", hessians[rows], v),
        )


def _direct(
    seen: Compared, fresh: Array, columns: Array, weights: Array, policy: EmulationPolicy
) -> tuple[Array, Array]:
    """Errors of means, and of sds, that fresh evaluations show, whatever the surrogate says of itself.

    Weights exp(residual) carry the surrogate to the posterior: by how much they move a mean is known up to the standard
    error of that. Of an sd they say nothing beyond where the furthest of them lies; what is out there counts by its
    share of the variance.
    """
    count = len(seen.residual)
    if count < policy.direct:
        return np.full(columns.shape[1], np.inf), np.full(columns.shape[1], np.inf)
    mean, sd, _ = moments(columns, weights)
    with np.errstate(all="ignore"):
        usable = np.isfinite(sd) & (sd > 0)
        standard = np.where(usable, (fresh - mean) / sd, 0.0)
    ratio = np.exp(np.clip(seen.residual - np.median(seen.residual), -MOST, policy.most))
    change = (ratio / ratio.mean() - 1.0)[:, None]
    hidden = draws.beyond(fresh, columns, weights)
    of_mean, of_sd = (
        np.hypot((f * change).mean(axis=0), (f * change).std(axis=0) / np.sqrt(count))
        for f in (standard, 0.5 * (standard**2 - 1.0))
    )
    return of_mean, np.hypot(of_sd, policy.hidden * hidden)


def _moved(
    process: Process, before: Process, found: ImportanceResult, columns: Array, policy: EmulationPolicy
) -> draws.Errors:
    """How far means and sds of columns (S, R) are from those of the surrogate that fresh evaluations confirmed."""
    weights, rows = np.exp(found.log_weights), slice(0, None, max(1, len(columns) // policy.compared))
    some, columns = weights[rows] / weights[rows].sum(), columns[rows]
    u = process.frame.restore(found.draws[rows])
    change = np.clip(before.log_density(u) - found.log_density[rows], -MOST, MOST)
    other = some * np.exp(change - np.average(change, weights=some))
    other = other / other.sum()
    (mean, sd, _), (former_mean, former_sd, _) = moments(columns, some), moments(columns, other)
    with np.errstate(all="ignore"):
        shift, factor = np.abs(mean - former_mean) / sd, np.abs(former_sd / sd - 1.0)
    return draws.Errors(np.where(sd > 0, shift, 0.0), np.where(sd > 0, factor, 0.0))


def _factor(covariance: Array, rank: int) -> Array:
    """Factor (M, K) of a covariance (M, M), by its largest directions."""
    sizes, directions = np.linalg.eigh(covariance)
    return np.asarray(directions[:, -rank:] * np.sqrt(np.maximum(sizes[-rank:], 0.0)))


def _problems(
    errors: draws.Errors,
    labels: Sequence[str],
    seen: Compared,
    fresh: int,
    found: ImportanceResult,
    policy: EmulationPolicy,
) -> tuple[str, ...]:
    problems = []
    for what, error, unit, most in [
        ("mean", errors.mean, "{:.2g} sd", policy.mean),
        ("sd", errors.sd, "{:.0%}", policy.sd),
    ]:
        worst = int(np.argmax(error))
        if not policy.errors * error[worst] <= most:
            problems.append(f"the standard error of the {what} of {labels[worst]} is {unit.format(error[worst])}")
    if fresh < policy.fewest:
        problems.append(f"only {fresh} evaluations were left to check it by")
    elif not ((seen.standardized <= policy.surprise and seen.plain <= policy.off) or seen.plain <= policy.mean):
        problems.append(
            f"{fresh} evaluations at its draws were off by {seen.plain:.2g} nats, {seen.standardized:.1f} times what "
            "it expected"
        )
    return (*problems, *found.problems)


