"""`Chains`: their draws, taken until they are accurate enough, with what they show of their own accuracy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bbvi.correction.chains.adaptation import adapted
from bbvi.correction.chains.agreement import (
    doubts_of,
    enlarged,
    infinite,
    of_trajectories,
    problems_of,
)
from bbvi.correction.chains.history import History, moments, unbounded
from bbvi.correction.chains.metric import Metric
from bbvi.correction.chains.policy import ChainPolicy
from bbvi.correction.chains.rhat import ALARM, Mixing, Sums, mixing
from bbvi.correction.chains.trajectories import (
    Density,
    Gradients,
    Slopes,
    Stand,
    Trajectory,
    begun,
    steps_of,
    trajectory,
)
from bbvi.correction.pool import Pool

Array = np.ndarray
Measure = Callable[[Array], tuple[Sequence[str], Array]]


@dataclass(frozen=True, eq=False)
class ChainErrors:
    """Standard errors from the means of chains, which are independent of each other."""

    chains: int

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
    log_density : (C, T), of the target
    superchains : int
        C is a multiple of it; chains of a superchain are neighbours, and began at one point.
    mean, sd : (R,)
        Of the reported quantities.
    rhat, mean_error, sd_error, drift : (R,)
        Of the reported quantities: nested R-hat, standard errors in sds and relative, and drift in sds beyond chance.
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

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draws (n, D), at random."""
        flat = self.draws.reshape(-1, self.draws.shape[-1])
        return np.asarray(flat[rng.choice(len(flat), n, replace=n > len(flat))])

    def pool(self, seed: int) -> Pool:
        """All draws, chain after chain, equally weighted."""
        flat = self.draws.reshape(-1, self.draws.shape[-1])
        log_density = self.log_density.ravel()
        equal = np.full(len(flat), -np.log(len(flat)))
        return Pool(flat, equal, ChainErrors(self.count), log_density, log_density, chains=self.count)


def run(
    gradients: Gradients,
    measure: Measure,
    starts: Array,
    metric: Metric,
    rng: np.random.Generator,
    *,
    remaining: Callable[[], float] = lambda: math.inf,
    late: Callable[[], bool] = lambda: False,
    slopes: Slopes | None = None,
    policy: ChainPolicy = ChainPolicy(),  # noqa: B008
) -> Chains | None:
    """Run chains from superchains' starting points (K, D) until they are accurate enough, or the limits end them.

    Parameters
    ----------
    gradients : callable, (S, D) -> (S,), (S, D)
        Log density and its gradient; rows may not be finite.
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
    slopes : callable, (S, D) -> (S, D), optional
        The gradients alone, where these cost less.

    Returns
    -------
    Chains or None
        None where the limits left no draw.

    Notes
    -----
    An interrupt (Ctrl-C) ends with the draws up to then; before the first, it is raised.
    """
    density = _density(gradients, slopes)
    stand = begun(density, np.repeat(starts, policy.size, axis=0), metric, policy.acceptance)
    spent = len(stand.u)
    settled = adapted(density, stand, rng, remaining, late, policy)
    if settled is None:
        return None
    stand, more = settled
    return _drawn(density, measure, stand, rng, remaining, late, policy, spent + more)


def extended(
    chains: Chains,
    gradients: Gradients,
    measure: Measure,
    rng: np.random.Generator,
    draws: int,
    *,
    remaining: Callable[[], float] = lambda: math.inf,
    late: Callable[[], bool] = lambda: False,
    slopes: Slopes | None = None,
    policy: ChainPolicy = ChainPolicy(),  # noqa: B008
) -> Chains:
    """The same chains, so many draws of each longer."""
    longer = replace(policy, fewest=draws, draws=draws, superchains=chains.superchains)
    density = _density(gradients, slopes)
    return _drawn(density, measure, chains.stand, rng, remaining, late, longer, chains.gradients, chains) or chains


def _density(gradients: Gradients, slopes: Slopes | None) -> Density:
    return Density(gradients, (lambda u: gradients(u)[1]) if slopes is None else slopes)


class _Record:
    """Draws as they come, with their log densities, the quantities that are reported, and how trajectories went."""

    def __init__(self, measure: Measure, policy: ChainPolicy, most: int, earlier: Chains | None) -> None:
        self.measure, self.policy = measure, policy
        self.before = 0 if earlier is None else earlier.draws.shape[1]
        self.draws, self.values, self.columns = (History(most + self.before) for _ in range(3))
        self.sums = Sums(policy.superchains, most + self.before)
        self.labels: Sequence[str] = ()
        self.accepted: list[Array] = []
        self.divergent: list[Array] = []
        if earlier is not None:
            for row, values in zip(np.moveaxis(earlier.draws, 1, 0), earlier.log_density.T, strict=True):
                self._append(row, values, *measure(row))

    def add(self, moved: Trajectory) -> None:
        """Where chains stand after a trajectory."""
        stand = moved.stand
        labels, column = self.measure(stand.u)
        self._append(stand.u, stand.log_density, labels, column)
        self.accepted.append(moved.acceptance)
        self.divergent.append(moved.divergent)

    @property
    def new(self) -> int:
        """Draws of each chain that were taken here."""
        return self.draws.length - self.before

    def mend(self) -> None:
        """Leave out an iteration that an interrupt cut short."""
        whole = min(self.draws.length, self.values.length, self.columns.length)
        for history in (self.draws, self.values, self.columns):
            history.length = whole
        self.sums = Sums.of(self.columns.rows, self.policy.superchains)

    def _append(self, u: Array, values: Array, labels: Sequence[str], column: Array) -> None:
        self.labels = labels
        self.columns.append(column)
        self.sums.append(column)
        self.draws.append(u)
        self.values.append(values)

    def look(self) -> Mixing:
        """What chains say of their accuracy, but for heavy tails."""
        return self.sums.mixing(ALARM / self.sums.first.shape[1])

    def with_tails(self, found: Mixing) -> Mixing:
        """The same with heavy tails, for which many draws are sorted."""
        return enlarged(found, self.columns.rows, self.policy)

    def last_look(self) -> Mixing:
        """With heavy tails, and with widths, about which chains may disagree though their means are the same."""
        x, superchains = self.columns.rows, self.policy.superchains
        found = self.with_tails(self.look())
        squares = mixing(x, superchains, folded=True)
        return found._replace(
            rhat=np.maximum(found.rhat, squares.rhat),
            excess=np.maximum(found.excess, squares.excess),
            drift=np.maximum(found.drift, squares.drift),
        )


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
    record = _Record(measure, policy, most, earlier)
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
                found = record.look()
                if policy.off(found) < policy.missed:
                    found = record.with_tails(found)
                    if policy.off(found) < policy.missed:
                        cut = ""
                        break
                if k >= policy.hopeless and policy.off(record.look(), most / k) > policy.passing:
                    break
                look = policy.next_look(found, k)
    except KeyboardInterrupt:
        interrupted = True
        record.mend()
    if record.new < 2:
        if interrupted:
            raise KeyboardInterrupt
        return None
    return _chains(record, stand, spent, interrupted, cut)


def _chains(record: _Record, stand: Stand, spent: int, interrupted: bool, cut: str) -> Chains:
    """What was drawn, with what it shows of its own accuracy."""
    policy, labels, x = record.policy, record.labels, record.columns.rows
    found, bad = record.last_look(), unbounded(x)
    mean, sd = moments(x)
    share, rates = float(np.mean(record.divergent)), np.mean(record.accepted, axis=0)
    return Chains(
        draws=np.moveaxis(record.draws.rows, 0, 1),
        log_density=record.values.rows.T,
        superchains=policy.superchains,
        mean=mean,
        sd=sd,
        rhat=found.rhat,
        mean_error=found.mean_error,
        sd_error=found.sd_error,
        drift=found.drift,
        divergent=share,
        acceptance=float(rates.mean()),
        step_size=math.exp(stand.log_step),
        length=math.exp(stand.log_length),
        gradients=spent,
        problems=(*problems_of(found, x, labels, share, rates, policy), *infinite(bad, labels)),
        stand=stand,
        interrupted=interrupted,
        cut=cut,
        shared=tuple(of_trajectories(share, rates, policy)),
        doubts=doubts_of(found, x, bad, policy),
    )
