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

from bbvi.correction.importance import ImportanceResult, correct
from bbvi.correction.pool import Evaluated, Pool
from bbvi.correction.weights import moments
from bbvi.solvers.from_values import draws
from bbvi.solvers.from_values.process import Process

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
    fewest : int
        Such evaluations below which nothing has confirmed it.
    fair : float
        Errors of means and sds up to which caution is enough.
    draws, draws_per_latent : int
        Draws of the surrogate.
    judged : int
        Draws by which errors are judged.
    rank : int
        Directions in which the surrogate's covariance at these is kept.
    compared : int
        Draws by which two surrogates are compared.
    """

    mean: float = 0.1
    sd: float = 0.1
    errors: float = 2.0
    surprise: float = 4.0
    fewest: int = 8
    fair: float = 0.5
    draws: int = 6000
    draws_per_latent: int = 400
    judged: int = 600
    rank: int = 120
    compared: int = 2000


POLICY = EmulationPolicy()
# Nats by which two surrogates are taken to differ at the most.
_MOST = 20.0


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
        """Whether its errors are within what caution promises."""
        return bool(max(self.mean_error, self.sd_error) * POLICY.errors <= POLICY.fair)

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
    process: Process,
    fresh: Evaluated,
    before: Process,
    surprise: float,
    measure: Measure,
    rng: np.random.Generator,
    policy: EmulationPolicy = POLICY,
) -> SurrogateKind:
    """The kind that a surrogate stands for.

    Parameters
    ----------
    process : Process
        Given every evaluation.
    fresh : Evaluated
        Evaluations at draws of it.
    before : Process
        The one that was not given these.
    surprise : float
        What the solver found of its batches.
    measure : callable, (S, D) -> labels (R), columns (S, R)
        What is reported.
    rng : numpy.random.Generator

    Raises
    ------
    numpy.linalg.LinAlgError
        If the surrogate cannot be sampled.
    """
    frame = process.frame
    dim = len(frame.centre)
    size = policy.draws + policy.draws_per_latent * dim
    # In the frame's coordinates, where the surrogate is about standard normal.
    found = correct(
        lambda e: _bounded(process, e),
        lambda e: measure(frame.restore(e)),
        np.zeros(dim),
        np.eye(dim),
        rng,
        max_evaluations=size,
        max_rounds=6,
    )
    labels, columns = measure(frame.restore(found.draws))
    weights = np.exp(found.log_weights)
    rows = draws.chosen_rows(weights, policy.judged, rng)
    standard = draws.standardized(columns, weights)
    of_draws = weights**2 @ standard**2
    own = draws.errors(process, found.draws[rows], standard[rows])
    residual, standardized, khat = _compared(before, fresh)
    enlarged = np.nanmax([1.0, surprise if np.isfinite(surprise) else 1.0, standardized, _left_out(process)])
    moved = _moved(process, before, found, columns, policy)
    errors = draws.Errors(
        np.maximum(np.sqrt((enlarged * own.mean) ** 2 + of_draws), moved.mean / policy.errors),
        np.maximum(np.sqrt((enlarged * own.sd) ** 2 + found.sd_error**2), moved.sd / policy.errors),
    )
    return SurrogateKind(
        draws=frame.restore(found.draws),
        log_weights=found.log_weights,
        log_density=found.log_density,
        log_q=found.proposal.log_density(found.draws) - np.log(np.abs(np.diag(frame.factor))).sum(),
        errors=EmulationErrors(rows, enlarged * _factor(process.covariance(found.draws[rows]), policy.rank)),
        mean_error=float(errors.mean.max(initial=0.0)),
        sd_error=float(errors.sd.max(initial=0.0)),
        surprise=standardized,
        residual=residual,
        fresh=len(fresh.u),
        fitted=len(process.values),
        khat=khat,
        problems=_problems(errors, labels, residual, standardized, len(fresh.u), found, policy),
    )


def _bounded(process: Process, e: Array) -> Array:
    """The surrogate's log density, nowhere where it knows nothing."""
    inside = np.einsum("sd,sd->s", e, e) < (draws.POLICY.reach * draws.full_radius(e.shape[1])) ** 2
    return np.where(inside, process.mean(e), -np.inf)


def _compared(before: Process, fresh: Evaluated) -> tuple[float, float, float]:
    """Root mean square of the residuals, plain and standardized, and the k-hat of the weights that they are."""
    finite = np.isfinite(fresh.log_density)
    if not finite.any():
        return float("nan"), float("inf") if len(finite) else float("nan"), float("nan")
    e = before.frame.whiten(fresh.u)
    residual = np.where(finite, fresh.log_density - before.mean(e), -10.0)
    standardized = residual**2 / (before.variance(e) + before.noise_sd**2)
    return float(np.sqrt(np.mean(residual**2))), float(np.sqrt(np.mean(np.minimum(standardized, 1e4)))), float("nan")


def _left_out(process: Process) -> float:
    """Root mean square of the standardized residuals of values where the posterior is, each to all the others."""
    residual, variance = process.left_out()
    counting = process.shaped == 0
    return float(np.sqrt(np.mean(np.minimum(residual**2 / variance, 1e4)[counting]))) if counting.any() else np.inf


def _moved(
    process: Process, before: Process, found: ImportanceResult, columns: Array, policy: EmulationPolicy
) -> draws.Errors:
    """How far means and sds of columns (S, R) are from those of the surrogate that fresh evaluations confirmed."""
    weights, rows = np.exp(found.log_weights), slice(0, None, max(1, len(columns) // policy.compared))
    some, columns = weights[rows] / weights[rows].sum(), columns[rows]
    u = process.frame.restore(found.draws[rows])
    change = np.clip(before.log_density(u) - found.log_density[rows], -_MOST, _MOST)
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
    residual: float,
    surprise: float,
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
    elif not (surprise <= policy.surprise or residual <= policy.mean):
        problems.append(
            f"{fresh} evaluations at its draws were off by {residual:.2g} nats, {surprise:.1f} times what it expected"
        )
    return (*problems, *found.problems)


