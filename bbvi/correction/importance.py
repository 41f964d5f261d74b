"""The importance correction: carries a Gaussian approximation to the target, and measures how well that went.

Draws come in rounds, each from a mixture that is fitted to the weighted draws of all rounds before it; every draw is
weighted against the mixture of all proposals so far (adaptive multiple importance sampling; Cornuet, Marin, Mira and
Robert 2012). A part of each mixture is stretched along the latents and the principal axes, to see what a Gaussian
would miss. Near-Gaussian targets pass after the first round. Of many latents, proposals follow the noise of the draws
that they were fitted to, and those would flatter them: there the answer comes from fresh draws alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bbvi.correction.assessment import (
    KHAT_ENOUGH,
    KHAT_PASSING,
    Assessment,
    evenly,
    few,
    heavy_tailed,
    heavy_tails,
    steered,
    unsettled,
    valleys,
)
from bbvi.correction.pool import Evaluated, Pool
from bbvi.correction.proposals import (
    Bent,
    Gaussian,
    Mixture,
    Proposal,
    Stretched,
    StudentT,
    components_of,
    fit_mixture,
    log_sum_exp,
)
from bbvi.correction.psis import effective_sample_size, pareto_shape, psis
from bbvi.correction.slices import leaders
from bbvi.correction.weights import ControlFunctions, moments

Array = np.ndarray

# Rounds up to which slices are added.
_SLICED = 5
# What a further round of draws may move, for it to be the last: standard errors do not see a region that no draw has
# reached.
_STILL = 0.03
_STRETCHED = 0.2
_SMALLEST_ROUND = 200
# Columns that vary by less, relative to their size, are constants with rounding errors.
_ROUNDING = 1e-9
_MOST_COMPONENTS = 6
# Latents above which a result comes from draws that no proposal was fitted to: their covariance has D (D + 1) / 2
# entries, and what is fitted to the noise of the draws makes sds too small (by 10 % at 60 latents and 5,000 draws).
_FOLLOWED = 20
# Bends and widths that matter, and the latents up to which they are looked for.
_BENDS, _MOST_BENT = 0.15, 30


@dataclass(frozen=True, eq=False)
class ImportanceResult:
    """Weighted draws from the target, with what is known of their accuracy.

    Attributes
    ----------
    draws : (S, D), unconstrained
    log_weights : (S,), smoothed, adjusted by control variates, normalised
    log_density : (S,), of the target
    proposal : Mixture
        That all draws come from.
    khat, initial_khat : float
        Of these weights, and of the Gaussian that was corrected.
    ess : float
    log_evidence, log_evidence_se : float
        In nats.
    mean_error, sd_error : (R,)
        One standard error of the reported quantities' means, in sds, and of their sds, relative; the latter enlarged
        where draws hide a part of a heavy tail.
    tail_khat : (R,)
        k-hat of the weights times the squared deviation: above 0.6 the sd is not to be had from these draws.
    rounds, evaluations : int
    start : Evaluated
        Draws of the Gaussian that was corrected.
    problems : tuple of str
        The checks that failed, a clause each.
    interrupted : bool
        Whether an interrupt ended the rounds.
    shared, doubts : tuple of str
        Those of the problems that concern all rows; and the checks that failed of each row (R).
    """

    draws: Array
    log_weights: Array
    log_density: Array
    proposal: Mixture
    khat: float
    initial_khat: float
    ess: float
    log_evidence: float
    log_evidence_se: float
    mean_error: Array
    sd_error: Array
    tail_khat: Array
    rounds: int
    evaluations: int
    start: Evaluated
    problems: tuple[str, ...]
    interrupted: bool = False
    name: str = "importance"
    shared: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    @property
    def independent(self) -> bool:
        """Its proposals begin at the optimum."""
        return False

    @property
    def checked(self) -> bool:
        """Its draws are weighted by the posterior itself."""
        return True

    @property
    def reliable(self) -> bool:
        """Whether every check passed."""
        return not self.problems

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draws (n, D), by importance resampling."""
        weights = np.exp(self.log_weights)
        return np.asarray(self.draws[rng.choice(len(weights), n, p=weights / weights.sum())])

    def pool(self, seed: int) -> Pool:
        """The weighted draws as they are."""
        log_q = self.proposal.log_density(self.draws)
        errors = ControlFunctions.at(self.draws, self.log_weights, log_q, self.proposal.components[0])
        return Pool(self.draws, self.log_weights, errors, self.log_density, log_q)


def correct(
    values: Callable[[Array], Array],
    measure: Callable[[Array], tuple[Sequence[str], Array]],
    mean: Array,
    covariance: Array,
    rng: np.random.Generator,
    *,
    max_evaluations: int,
    remaining: Callable[[], float] = lambda: math.inf,
    max_rounds: int = 7,
    worth: int = 0,
    first: int | None = None,
    alternatives: Sequence[tuple[Array, Array]] = (),
    conditionals: Callable[[Array, Array, int], Mixture | None] | None = None,
) -> ImportanceResult:
    """Carry N(mean, covariance) to the target.

    Parameters
    ----------
    values : callable, (S, D) -> (S,)
        Log density of the target up to a constant; ``-inf`` where it is zero or no number.
    measure : callable, (S, D) -> labels (R), columns (S, R)
        The quantities that are reported, on which accuracy is judged.
    mean, covariance : (D,), (D, D)
        Of the Gaussian to start from.
    rng : numpy.random.Generator
    max_evaluations : int
        Evaluations of `values`, counted per draw; near-Gaussian targets need about 1000 + 50 D of them.
    remaining : callable
        Evaluations that are left in all: what `conditionals` costs is no draw, but counts.
    max_rounds : int
        Rounds of draws, each 1.4 times as large as the last.
    worth : int
        Effective size that the draws shall have where they are good: what a user may ask for without repetitions.
    first : int, optional
        Draws of the first round, 1000 + 50 D unless given: few where each is dear. Every round is larger than the last.
    alternatives : sequence of (mean, sd), both (D,)
        Where other modes are.
    conditionals : callable, optional
        ``(mean, covariance, index)`` gives a mixture of conditional Gaussians along a latent that steers others.
        Without it, proposals that bend and widen along such a latent are fitted to the draws.

    Notes
    -----
    An interrupt (Ctrl-C) after the first round ends with the draws up to then; ``interrupted`` says so.

    Raises
    ------
    numpy.linalg.LinAlgError
        If the covariance is not positive definite.
    """
    fresh_ones = len(mean) > _FOLLOWED
    pool = _Pool(values, measure, len(mean), max_evaluations // 2 if fresh_ones else max_evaluations, remaining)
    start = Gaussian(np.array(mean, dtype=float), np.linalg.cholesky(covariance))
    if first is None:
        first = int(min(1000 + 50 * pool.dim, max_evaluations * (0.8 if max_evaluations < 2000 else 0.5)))
    size = first if max_evaluations - first >= _SMALLEST_ROUND else max_evaluations
    size = min(size, pool.budget)
    pool.add(start, int((1 - _STRETCHED) * size), rng)
    initial_khat = float(psis(pool.log_p - start.log_density(pool.u))[1])
    seen = Evaluated(pool.u, pool.log_p)
    pool.add(Stretched.along_axes(start.mean, start.factor), size - len(pool.u), rng)
    for where, sd in alternatives:
        pool.add(Gaussian(where, np.diag(1.2 * sd)), size // 4, rng)
    found = pool.assess()
    rounds, moves, interrupted, spent = 1, np.zeros(len(found.mean)), False, 0
    along: dict[int, Mixture] = {}
    try:
        while rounds < max_rounds and pool.left >= _SMALLEST_ROUND:
            fresh = 0
            if conditionals is not None and rounds <= _SLICED:
                moments = _moments(pool, found)
                for index in [*leaders(*found.steering), *(_heaviest(pool, found) if rounds > 1 else [])]:
                    mixture = None if index in along else conditionals(*moments, index)
                    if mixture is not None:
                        along[index] = mixture
                        pool.add(mixture, size // 2, rng)
                        fresh += 1
            if fresh:
                found = pool.assess()
            elif moves.max() < _STILL and found.enough:
                break
            before = found
            extra = [*along.values()] if conditionals is not None else _bent(pool, found)
            pool.add(_refitted(pool, found, extra), int(min(size * 1.4**rounds, pool.left)), rng)
            found = pool.assess()
            moves = found.moves(before)
            rounds += 1
        if found.enough and found.ess < worth and pool.left >= _SMALLEST_ROUND:
            share = max(found.ess / len(pool.u), 0.1)
            extra = [*along.values()] if conditionals is not None else _bent(pool, found)
            pool.add(_refitted(pool, found, extra), int(min((worth - found.ess) / share, pool.left)), rng)
            found = pool.assess()
        if fresh_ones and rounds > 1:
            extra = [*along.values()] if conditionals is not None else []
            afresh = _Pool(values, measure, pool.dim, len(pool.u), remaining)
            afresh.add(_refitted(pool, found, extra), len(pool.u), rng)
            if len(afresh.u) >= _SMALLEST_ROUND:
                before, spent, pool = found, len(pool.u), afresh
                found = pool.assess()
                moves = found.moves(before)
    except KeyboardInterrupt:
        interrupted = True
        found = pool.assess()
    told = _told(pool, found, moves)
    return _result(pool, found, initial_khat, rounds, seen, told, interrupted, spent)


def extended(
    result: ImportanceResult,
    values: Callable[[Array], Array],
    measure: Callable[[Array], tuple[Sequence[str], Array]],
    rng: np.random.Generator,
    draws: int,
    *,
    remaining: Callable[[], float] = lambda: math.inf,
) -> ImportanceResult:
    """The same with so many more draws of its proposal, to which that was not fitted, and judged anew.

    Parameters
    ----------
    result : ImportanceResult
    values, measure, remaining
        As for `correct`.
    rng : numpy.random.Generator
    draws : int
    """
    pool = _Pool(values, measure, result.draws.shape[1], len(result.draws) + draws, remaining)
    pool.restore(result)
    before = pool.assess()
    pool.add(result.proposal, draws, rng)
    found = pool.assess()
    told = _told(pool, found, found.moves(before))
    earlier = result.evaluations - len(result.draws)
    return _result(pool, found, result.initial_khat, result.rounds + 1, result.start, told, False, earlier)


class _Told(NamedTuple):
    """The checks that failed: a clause each, those that concern all rows, and by row."""

    problems: tuple[str, ...]
    shared: tuple[str, ...]
    doubts: tuple[str, ...]


def _told(pool: _Pool, found: Assessment, moves: Array) -> _Told:
    heavy = heavy_tailed(found, pool.columns)
    own = found.problems(pool.labels)
    shared = (*few(len(pool.u)), *steered(found), *valleys(found))
    of_rows = (*unsettled(float(moves.max())), *heavy_tails(heavy, pool.labels))
    khat = own[: found.khat >= KHAT_PASSING]
    return _Told((*own, *shared, *of_rows), (*khat, *shared), found.doubts(heavy, moves))


def _result(
    pool: _Pool,
    found: Assessment,
    initial_khat: float,
    rounds: int,
    start: Evaluated,
    told: _Told,
    interrupted: bool,
    spent: int,
) -> ImportanceResult:
    return ImportanceResult(
        draws=pool.u,
        log_weights=found.controls.adjusted(found.log_weights),
        log_density=pool.log_p,
        proposal=pool.mixture,
        khat=found.khat,
        initial_khat=initial_khat,
        interrupted=interrupted,
        ess=found.ess,
        log_evidence=found.log_evidence,
        log_evidence_se=found.log_evidence_se,
        mean_error=found.mean_error,
        sd_error=found.sd_error,
        tail_khat=found.tail_khat,
        rounds=rounds,
        evaluations=spent + len(pool.u),
        start=start,
        problems=told.problems,
        shared=told.shared,
        doubts=told.doubts,
    )


class _Pool:
    """All draws so far, weighted against the mixture of all proposals that they came from."""

    def __init__(
        self,
        values: Callable[[Array], Array],
        measure: Callable[[Array], tuple[Sequence[str], Array]],
        dim: int,
        budget: int,
        remaining: Callable[[], float],
    ) -> None:
        self.values, self.measure, self.dim, self.budget, self.remaining = values, measure, dim, budget, remaining
        self.u = np.empty((0, dim))
        self.log_p = np.empty(0)
        self.columns = np.empty((0, 0))
        self.labels: Sequence[str] = ()
        # Of all mixtures, each once, with the number of draws that it stands for.
        self.components: list[Proposal] = []
        self.counts: list[float] = []
        # Log density of each component (K) at each draw (S), so that no pair is computed twice; there is room for more
        # of both.
        self.table = np.empty((32, budget))

    @property
    def left(self) -> int:
        return int(min(self.budget - len(self.u), self.remaining()))

    @property
    def mixture(self) -> Mixture:
        return Mixture(tuple(self.components), np.array(self.counts))

    def add(self, proposal: Proposal, count: int, rng: np.random.Generator) -> None:
        count = min(count, self.left)
        if count < 1:
            return
        fresh = proposal.sample(count, rng)
        log_p = self.values(fresh)
        labels, columns = self.measure(fresh)
        for row, component in enumerate(self.components):
            self.table[row, len(self.u) : len(self.u) + count] = component.log_density(fresh)
        u = np.concatenate([self.u, fresh])
        known, shares = list(self.components), list(self.counts)
        for component, share in components_of(proposal):
            if component in known:
                shares[known.index(component)] += share * count
                continue
            row = len(known)
            if row == len(self.table):
                larger = np.empty((2 * row, self.budget))
                larger[:row, : len(u)] = self.table[:, : len(u)]
                self.table = larger
            self.table[row, : len(u)] = component.log_density(u)
            known.append(component)
            shares.append(share * count)
        # All that takes time is done: an interrupt finds the pool as it was before, or as it is after.
        columns = np.concatenate([self.columns.reshape(len(self.u), columns.shape[1]), columns])
        self.log_p = np.concatenate([self.log_p, log_p])
        self.labels, self.columns, self.u, self.components, self.counts = labels, columns, u, known, shares

    def restore(self, result: ImportanceResult) -> None:
        """Take over the draws and proposals of an earlier result."""
        self.u, self.log_p = result.draws, result.log_density
        self.labels, self.columns = self.measure(result.draws)
        self.components = list(result.proposal.components)
        self.counts = [float(count) for count in result.proposal.weights]
        self.table = np.empty((max(32, len(self.components)), self.budget))
        for row, component in enumerate(self.components):
            self.table[row, : len(self.u)] = component.log_density(self.u)

    def assess(self) -> Assessment:
        shares = np.array(self.counts) / np.sum(self.counts)
        log_q = log_sum_exp((self.table[: len(shares), : len(self.u)] + np.log(shares)[:, None]).T)
        with np.errstate(invalid="ignore"):
            ratios = np.where(np.isfinite(self.log_p), self.log_p - log_q, -np.inf)
        smoothed, khat = psis(ratios)
        w = np.exp(smoothed)
        mean, sd, centred = moments(self.columns, w)
        infinite = ~np.isfinite(mean)
        # What is not finite cannot be judged, and must not keep the rest from being so.
        usable = np.isfinite(mean) & np.isfinite(sd)
        mean, sd, centred = np.where(usable, mean, 0.0), np.where(usable, sd, 0.0), np.where(usable, centred, 0.0)
        with np.errstate(all="ignore"):
            sd = np.where(sd > _ROUNDING * (1.0 + np.abs(mean)), sd, 0.0)
            standard = np.where(sd > 0, centred / np.where(sd > 0, sd, 1.0), 0.0)
        top = max(ratios.max(), -1e300)
        raw = np.exp(ratios - top)
        return Assessment(
            log_weights=smoothed,
            khat=float(khat),
            ess=float(effective_sample_size(smoothed)),
            log_evidence=float(top + np.log(raw.mean())),
            log_evidence_se=float(raw.std() / raw.mean() / np.sqrt(len(raw))),
            mean=mean,
            sd=sd,
            infinite=infinite,
            u=self.u,
            log_q=log_q,
            standard=standard,
            first=self.components[0],
        )


def _heaviest(pool: _Pool, found: Assessment) -> list[int]:
    """The latent whose square has the heaviest-tailed weights, where these are too heavy to be averaged."""
    centred = pool.u - found.weights @ pool.u
    shape = np.asarray(pareto_shape(found.weights[:, None] * centred**2))
    worst = int(np.argmax(shape))
    return [worst] if shape[worst] > KHAT_ENOUGH else []


def _moments(pool: _Pool, found: Assessment) -> tuple[Array, Array]:
    """Mean and covariance of the weighted draws, flattened where few of them carry the weight."""
    log_w, _ = tempered(found.log_weights, 100.0 + 8 * pool.dim)
    w = np.exp(log_w)
    mean = w @ pool.u
    centred = pool.u - mean
    return mean, (centred * w[:, None]).T @ centred


def _refitted(pool: _Pool, found: Assessment, along: Sequence[Proposal]) -> Mixture:
    """A mixture fitted to the weighted draws: Gaussians along their bends, a Student-t, stretched draws, and slices."""
    log_w, ess = tempered(found.log_weights, 100.0 + 8 * pool.dim)
    w = np.exp(log_w)
    x = pool.u[evenly(w, 1500)]
    mean = w @ pool.u
    centred = pool.u - mean
    covariance = (centred * w[:, None]).T @ centred
    share = (pool.dim + 2.0) / (ess + pool.dim + 2.0)
    covariance = (1 - share) * covariance + share * np.diag(np.diag(covariance))
    factor = np.linalg.cholesky(covariance)
    count = int(np.clip(ess / (10.0 * pool.dim + 50.0), 1, _MOST_COMPONENTS))
    parts, shares = fit_mixture(x, count, mean, factor, ess)
    tails = (StudentT(mean, factor, 5.0), Stretched.along_axes(mean, factor))
    body = 0.4 if along else 0.7
    weights = [*(body * shares / shares.sum()), 0.15, 0.15, *([0.3 / max(len(along), 1)] * len(along))]
    return Mixture((*parts, *tails, *along), np.array(weights))


def _bent(pool: _Pool, found: Assessment) -> list[Bent]:
    """Proposals that bend and widen along the one or two latents that lead the most."""
    if not 1 < pool.dim <= _MOST_BENT:
        return []
    log_w, ess = tempered(found.log_weights, 100.0 + 8 * pool.dim)
    bent = [Bent.fitted(pool.u, np.exp(log_w), ess, index) for index in range(pool.dim)]
    bent.sort(key=lambda one: -one.strength)
    return [one for one in bent[:2] if one.strength > _BENDS]


def tempered(log_weights: Array, wanted: float) -> tuple[Array, float]:
    """The weights to the power of b <= 1 at which their effective size is what is wanted; normalised."""
    ess = float(effective_sample_size(log_weights))
    low, high = 0.0, 1.0
    if ess >= wanted:
        return log_weights, ess
    finite = np.where(np.isfinite(log_weights), log_weights, -1e300)
    for _ in range(16):
        power = (low + high) / 2
        if float(effective_sample_size(power * finite)) < wanted:
            high = power
        else:
            low = power
    flat = low * finite
    flat = flat - log_sum_exp(flat[None])[0]
    return flat, float(effective_sample_size(flat))
