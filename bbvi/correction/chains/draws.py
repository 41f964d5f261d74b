"""`Chains`: their draws, taken until they are accurate enough, with what they show of their own accuracy."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from bbvi.correction.chains.adaptation import adapted
from bbvi.correction.chains.agreement import (
    doubts_of,
    enlarged,
    infinite,
    of_trajectories,
    problems_of,
)
from bbvi.correction.chains.controls import Controls
from bbvi.correction.chains.history import moments, moments_of, unbounded
from bbvi.correction.chains.metric import Metric
from bbvi.correction.chains.policy import ChainPolicy
from bbvi.correction.chains.record import Measure, Record
from bbvi.correction.chains.trajectories import (
    Density,
    Stand,
    begun,
    steps_of,
    trajectory,
)
from bbvi.correction.evidence import log_evidence_of
from bbvi.correction.pool import Pool

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class ChainErrors:
    """Standard errors from the means of chains, which are independent of each other.

    Attributes
    ----------
    chains : int
    of_rows : (R,)
        Of what is reported, in its own units, where control variates made draws more accurate than they look.
    """

    chains: int
    of_rows: Array

    def standard_errors(self, weights: Array, centred: Array) -> Array:
        """Standard errors (R,) of the means of centred columns (S, R), chain after chain."""
        means = centred.reshape(self.chains, -1, centred.shape[1]).mean(axis=1)
        return np.asarray(means.std(axis=0, ddof=1) / np.sqrt(self.chains))


@dataclass(frozen=True, eq=False)
class Chains:
    """Draws of many chains, with what they show of their own accuracy.

    Attributes
    ----------
    draws : (C, T, D), unconstrained
        With the moments that control variates leave, where these were to be had.
    log_density : (C, T), of the target
    superchains : int
        C is a multiple of it; chains of a superchain are neighbours, and began at one point.
    mean, sd : (R,)
        Of the reported quantities.
    rhat, apart, mean_error, sd_error, drift : (R,)
        Of the reported quantities: nested R-hat, the same beyond chance, standard errors in sds and relative, and drift
        in sds beyond chance.
    divergent : float
        Share of trajectories that diverged.
    acceptance, step_size, length : float
        Mean acceptance, step size and length of trajectories, in whitened coordinates.
    gradients : int
        Gradients that the chains took, per draw.
    problems : tuple of str
        The checks that failed, a clause each.
    stand : Stand
        From where more draws can be taken.
    controls : Controls, optional
        What control variates say of the draws as they came; None where an interrupt left nobody to know.
    adjusted : bool
        Whether the draws were moved and stretched to that.
    interrupted : bool
    cut : str
        What ended them before they were accurate enough: ``"seconds"``, ``"evaluations"`` or ``"memory"``; else empty.
    shared, doubts : tuple of str
        Those of the problems that concern all rows; and the checks that failed of each row (R).
    """

    draws: Array
    log_density: Array
    superchains: int
    mean: Array
    sd: Array
    rhat: Array
    apart: Array
    mean_error: Array
    sd_error: Array
    drift: Array
    divergent: float
    acceptance: float
    step_size: float
    length: float
    gradients: int
    problems: tuple[str, ...]
    stand: Stand
    controls: Controls | None
    adjusted: bool
    interrupted: bool = False
    cut: str = ""
    name: str = "chains"
    shared: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    @property
    def khat(self) -> float:
        """Chains have no weights; of equal ones k-hat is zero."""
        return 0.0

    @property
    def independent(self) -> bool:
        """Chains leave the place where they began."""
        return True

    @property
    def checked(self) -> bool:
        """They are draws of the posterior itself."""
        return True

    @property
    def count(self) -> int:
        """Chains."""
        return len(self.draws)

    @property
    def as_drawn(self) -> Array:
        """The draws (C, T, D) as they came, before control variates moved them."""
        if not self.adjusted or self.controls is None:
            return self.draws
        adjustment, stand = self.controls.adjustment(), self.stand
        rows = [stand.of_frame(adjustment.undone(stand.to_frame(u))) for u in np.moveaxis(self.draws, 1, 0)]
        return np.stack(rows, axis=1)

    @cached_property
    def log_evidence(self) -> tuple[float, float]:
        """Log evidence in nats, and its standard error; NaN and infinity where no Gaussian shows it."""
        flat = self.draws.reshape(-1, self.draws.shape[-1])
        e, log_volume = self.stand.whitened(flat)
        equal = np.full(len(flat), 1.0 / len(flat))
        return log_evidence_of(e, equal, self.log_density.ravel() + log_volume, self.count)

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draws (n, D), at random."""
        flat = self.draws.reshape(-1, self.draws.shape[-1])
        return np.asarray(flat[rng.choice(len(flat), n, replace=n > len(flat))])

    def pool(self, seed: int) -> Pool:
        """All draws, chain after chain, equally weighted."""
        flat = self.draws.reshape(-1, self.draws.shape[-1])
        log_density = self.log_density.ravel()
        equal = np.full(len(flat), -np.log(len(flat)))
        errors = ChainErrors(self.count, self.mean_error * self.sd)
        return Pool(flat, equal, errors, log_density, log_density, chains=self.count)


def run(
    density: Density,
    measure: Measure,
    starts: Array,
    metric: Metric,
    rng: np.random.Generator,
    *,
    remaining: Callable[[], float] = lambda: math.inf,
    late: Callable[[], bool] = lambda: False,
    policy: ChainPolicy = ChainPolicy(),  # noqa: B008
) -> Chains | None:
    """Run chains from superchains' starting points (K, D) until they are accurate enough, or the limits end them.

    Parameters
    ----------
    density : Density
        Rows may not be finite.
    measure : callable, (S, D) -> labels (R), columns (S, R)
        The quantities that are reported, on which accuracy is judged.
    starts : ndarray, shape (K, D)
    metric : Metric
        To begin with.
    rng : numpy.random.Generator
    remaining : callable
        Gradients that are left.
    late : callable
        Whether time is up.

    Returns
    -------
    Chains or None
        None where the limits left no draw.

    Notes
    -----
    An interrupt (Ctrl-C) ends with the draws up to then; before the first, it is raised.
    """
    stand = begun(density, np.repeat(starts, policy.size, axis=0), metric, policy.acceptance)
    spent = len(stand.u)
    settled = adapted(density, stand, rng, remaining, late, policy)
    if settled is None:
        return None
    stand, more = settled
    return _drawn(density, measure, stand, rng, remaining, late, policy, spent + more)


def extended(
    chains: Chains,
    density: Density,
    measure: Measure,
    rng: np.random.Generator,
    draws: int,
    *,
    remaining: Callable[[], float] = lambda: math.inf,
    late: Callable[[], bool] = lambda: False,
    policy: ChainPolicy = ChainPolicy(),  # noqa: B008
) -> Chains:
    """The same chains, so many draws of each longer."""
    longer = replace(policy, fewest=draws, draws=draws, superchains=chains.superchains)
    return _drawn(density, measure, chains.stand, rng, remaining, late, longer, chains.gradients, chains) or chains


def _drawn(
    density: Density,
    measure: Measure,
    stand: Stand,
    rng: np.random.Generator,
    remaining: Callable[[], float],
    late: Callable[[], bool],
    policy: ChainPolicy,
    spent: int,
    earlier: Chains | None = None,
) -> Chains | None:
    """Draws with settled moves, until they are accurate enough."""
    chains, dim = stand.u.shape
    most = max(policy.fewest, min(policy.draws, policy.numbers // (chains * dim)))
    record = Record(density, measure, stand, policy, most, earlier)
    interrupted, look = False, policy.fewest
    cut = "memory" if most < policy.draws else ""
    try:
        for k in range(1, most + 1):
            short = remaining() < chains * steps_of(stand, policy)
            if short or late():
                cut = "evaluations" if short else "seconds"
                break
            moved = trajectory(density, stand, rng, policy, rate=0.0)
            record.add(moved)
            stand, spent = moved.stand, spent + moved.steps * chains
            if k == look:
                found = record.errors()
                if k >= policy.hopeless and policy.off(found, most / k) > policy.passing:
                    break
                if policy.off(found) < policy.missed:
                    # Many draws are sorted for it.
                    found = enlarged(found, record.columns.rows, policy)
                    if policy.off(found) < policy.missed:
                        cut = ""
                        break
                look = policy.next_look(found, k)
    except KeyboardInterrupt:
        interrupted = True
        record.mend()
    if record.new < 2:
        if interrupted:
            raise KeyboardInterrupt
        return None
    return _chains(record, density, spent, interrupted, cut, remaining())


def _chains(record: Record, density: Density, spent: int, interrupted: bool, cut: str, remaining: float) -> Chains:
    """What was drawn, with what it shows of its own accuracy."""
    policy, labels, stand, drawn = record.policy, record.labels, record.stand, record.columns.rows
    found, bad = record.last_look(), unbounded(drawn)
    draws, values, errors = record.draws.rows, record.values.rows, found.errors
    # Chains that disagree are not stationary, of which Stein's identity says nothing; limits leave no evaluations.
    known = cut in ("", "memory") and values.size <= remaining and policy.agree(found)
    better = _adjusted(record, record.controls, density) if known and record.controls is not None else None
    if better is not None:
        draws, values = better
        errors = record.errors()
    errors = enlarged(errors, drawn, policy)
    found = found._replace(mean_error=errors.mean, sd_error=errors.sd)
    mean, sd = moments(drawn) if better is None else moments_of(record.measure(u)[1] for u in draws)
    share, rates = float(np.mean(record.divergent)), np.mean(record.accepted, axis=0)
    return Chains(
        draws=np.moveaxis(draws, 0, 1),
        log_density=values.T,
        superchains=policy.superchains,
        mean=mean,
        sd=sd,
        rhat=found.rhat,
        apart=np.sqrt(1.0 + found.excess),
        # Chains that end as soon as their errors look small enough have larger ones.
        mean_error=policy.chosen * found.mean_error,
        sd_error=policy.chosen * found.sd_error,
        drift=found.drift,
        divergent=share,
        acceptance=float(rates.mean()),
        step_size=math.exp(stand.log_step),
        length=math.exp(stand.log_length),
        gradients=spent,
        problems=(*problems_of(found, drawn, labels, share, rates, policy), *infinite(bad, labels)),
        stand=stand,
        controls=record.controls,
        adjusted=better is not None,
        interrupted=interrupted,
        cut=cut,
        shared=tuple(of_trajectories(share, rates, policy)),
        doubts=doubts_of(found, drawn, bad, policy),
    )


def _adjusted(record: Record, controls: Controls, density: Density) -> tuple[Array, Array] | None:
    """Draws (T, C, D) with the moments that control variates leave, and their log densities (T, C).

    None where a log density is infinite.
    """
    adjustment, stand, drawn = controls.adjustment(), record.stand, record.draws.rows
    # One iteration after the other, since of many latents all draws are most of the memory there is.
    draws, values = np.empty_like(drawn), np.empty(drawn.shape[:2])
    for k, u in enumerate(drawn):
        draws[k] = stand.of_frame(adjustment(stand.to_frame(u)))
        values[k] = density.values(draws[k])
    return (draws, values) if np.isfinite(values).all() else None
