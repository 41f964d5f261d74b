"""The importance correction: carries a Gaussian approximation to the target, and measures how well that went.

Draws come in rounds, each from a mixture that is fitted to the weighted draws of all rounds before it; every draw is
weighted against the mixture of all proposals so far (adaptive multiple importance sampling; Cornuet, Marin, Mira and
Robert 2012). A part of each mixture is stretched along the latents and the principal axes, to see what a Gaussian
would miss. Near-Gaussian targets pass after the first round.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .proposals import (
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
from .psis import effective_sample_size, pareto_shape, psis
from .slices import leaders, steering
from .weights import ControlFunctions, moments

Array = np.ndarray

# Standard errors at which to stop, and up to which the result passes: three of them are still within 0.1 sd and 10 %.
_ENOUGH = 0.02
_PASSING = 0.03
_KHAT_ENOUGH = 0.5
_KHAT_PASSING = 0.6
# k-hat of its terms from which the standard error of an sd is too small, and by how much per unit.
_LIGHT, _HIDDEN = 0.35, 10.0
# Rounds up to which slices are added.
_SLICED = 5
_HEAVY_TAIL = 0.35
# What a further round of draws may move: standard errors do not see a region that no draw has reached.
_STILL = 0.03
_MOVING = 0.05
_STRETCHED = 0.2
_FEWEST, _FEWEST_FOR_TAILS, _SMALLEST_ROUND, _MANY_DRAWS = 250, 1000, 200, 4000
# Correlation of a latent with the others' squared length from which a target counts as a funnel; of many latents, the
# necks of weaker ones are already out of reach.
_FUNNEL, _FUNNEL_OF_MANY, _MANY = 0.7, 0.6, 20
# Columns that vary by less, relative to their size, are constants with rounding errors.
_ROUNDING = 1e-9
# A valley is deeper than this share of the lower peak, and has this share of the mass on either side.
_VALLEY, _LUMP = 0.4, 0.04
_MOST_COMPONENTS = 6
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
        One standard error of the reported quantities' means, in sds, and of their sds, relative.
    tail_khat : (R,)
        k-hat of the weights times the squared deviation: above 0.7 the sd cannot be had from these draws.
    rounds, evaluations : int
    problems : tuple of str
        The checks that failed, a clause each.
    interrupted : bool
        Whether an interrupt ended the rounds.
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
    problems: tuple[str, ...]
    interrupted: bool = False

    @property
    def reliable(self) -> bool:
        """Whether every check passed."""
        return not self.problems


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
    pool = _Pool(values, measure, len(mean), max_evaluations, remaining)
    start = Gaussian(np.array(mean, dtype=float), np.linalg.cholesky(covariance))
    if first is None:
        first = int(min(1000 + 50 * pool.dim, max_evaluations * (0.8 if max_evaluations < 2000 else 0.5)))
    size = first if max_evaluations - first >= _SMALLEST_ROUND else max_evaluations
    pool.add(start, int((1 - _STRETCHED) * size), rng)
    initial_khat = float(psis(pool.log_p - start.log_density(pool.u))[1])
    pool.add(Stretched.along_axes(start.mean, start.factor), size - len(pool.u), rng)
    for where, sd in alternatives:
        pool.add(Gaussian(where, np.diag(1.2 * sd)), size // 4, rng)
    found = pool.assess()
    rounds, moved, interrupted = 1, 0.0, False
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
            elif moved < _STILL and found.enough:
                break
            before = found
            extra = [*along.values()] if conditionals is not None else _bent(pool, found)
            pool.add(_refitted(pool, found, extra), int(min(size * 1.4**rounds, pool.left)), rng)
            found = pool.assess()
            moved = found.moved(before)
            rounds += 1
    except KeyboardInterrupt:
        interrupted = True
        found = pool.assess()
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
        evaluations=len(pool.u),
        problems=(
            *found.problems(pool.labels),
            *_few(len(pool.u)),
            *_steered(pool, found),
            *_unsettled(moved),
            *_heavy_tails(pool, found),
            *_valleys(pool, found),
        ),
    )


@dataclass(frozen=True, eq=False)
class _Assessment:
    """The state of a pool: its weights and how accurate what they say is."""

    log_weights: Array
    khat: float
    ess: float
    log_evidence: float
    log_evidence_se: float
    mean: Array
    sd: Array
    # Columns (R,) of which draws that carry weight are infinite.
    infinite: Array
    # What the rest is worked out from, if asked for: draws (S, D), log proposal density (S,), columns in sds (S, R).
    u: Array
    log_q: Array
    standard: Array
    first: Proposal

    @cached_property
    def weights(self) -> Array:
        return np.exp(self.log_weights)

    @cached_property
    def controls(self) -> ControlFunctions:
        return ControlFunctions.at(self.u, self.log_weights, self.log_q, self.first)

    @cached_property
    def mean_error(self) -> Array:
        return _or_infinite(self.controls.standard_errors(self.weights, self.standard))

    @cached_property
    def seen_sd_error(self) -> Array:
        """Relative standard error (R,) of the sds, as the draws show it."""
        squares = self.standard**2 - (self.sd > 0)
        return _or_infinite(self.controls.standard_errors(self.weights, squares) / 2)

    @cached_property
    def sd_error(self) -> Array:
        """The same, enlarged by what draws hide of heavy tails: of the variance of the terms, and so of the error."""
        errors = self.seen_sd_error * (1.0 + _HIDDEN * np.maximum(self.tail_khat - _LIGHT, 0.0))
        if len(self.u) >= _MANY_DRAWS:
            return errors
        # Of a heavy tail, few draws miss a part, in the sd and in its standard error alike.
        kurtosis = np.exp(self.log_weights) @ self.standard**4
        return errors * np.sqrt(np.maximum(kurtosis / 3.0, 1.0))

    @cached_property
    def tail_khat(self) -> Array:
        shape = pareto_shape(self.weights[:, None] * self.standard**2)
        return np.where(self.sd > 0, np.asarray(shape), -np.inf)

    @cached_property
    def steering(self) -> tuple[Array, Array]:
        return steering(self.u, self.weights)

    def moved(self, before: _Assessment) -> float:
        """By how much means (in sds) and sds (relative) differ from those of an earlier pool: the largest."""
        sd = np.where(self.sd > 0, self.sd, 1.0)
        change = np.maximum(np.abs(self.mean - before.mean), np.abs(self.sd - before.sd)) / sd
        # What is no number does not settle; it is a problem of its own.
        return float(np.max(np.where(np.isfinite(change), change, 0.0)))

    @property
    def enough(self) -> bool:
        return bool(
            self.khat < _KHAT_ENOUGH
            and self.tail_khat.max() < _KHAT_PASSING
            and self.mean_error.max() < _ENOUGH
            and self.seen_sd_error.max() < _ENOUGH
            and self.sd_error.max() < _PASSING
        )

    def problems(self, labels: Sequence[str]) -> tuple[str, ...]:
        """What keeps the result from being relied on."""
        found = []
        if self.khat >= _KHAT_PASSING:
            found.append(f"k-hat of the weights is {self.khat:.2f}")
        for what, errors in (("mean", self.mean_error), ("sd", self.sd_error)):
            worst = int(np.argmax(errors))
            if errors[worst] >= _PASSING:
                found.append(f"the standard error of the {what} of {labels[worst]} is {errors[worst]:.1%}")
        heavy = np.flatnonzero(self.tail_khat >= _KHAT_PASSING)
        if len(heavy):
            names = ", ".join(labels[i] for i in heavy[np.argsort(-self.tail_khat[heavy])][:4])
            found.append(f"the tails of {names} are too heavy for an sd to be measured")
        if self.infinite.any():
            names = ", ".join(labels[i] for i in np.flatnonzero(self.infinite)[:4])
            found.append(f"{names}: infinite or not a number at draws that carry weight")
        return tuple(found)


def _heaviest(pool: _Pool, found: _Assessment) -> list[int]:
    """The latent whose square has the heaviest-tailed weights, where these are too heavy to be averaged."""
    centred = pool.u - found.weights @ pool.u
    shape = np.asarray(pareto_shape(found.weights[:, None] * centred**2))
    worst = int(np.argmax(shape))
    return [worst] if shape[worst] > _KHAT_ENOUGH else []


def _steered(pool: _Pool, found: _Assessment) -> tuple[str, ...]:
    """Whether one latent sets the widths of many others so strongly that the neck of the funnel may be out of reach."""
    strongest = float(np.max(found.steering[0]))
    if strongest < (_FUNNEL if pool.dim <= _MANY else _FUNNEL_OF_MANY):
        return ()
    return (f"one latent steers the widths of the others (correlation {strongest:.2f}), as in a funnel: non-centre it",)


def _few(draws: int) -> tuple[str, ...]:
    return (f"there are only {draws} weighted draws, too few to see the tails",) if draws < _FEWEST else ()


def _unsettled(moved: float) -> tuple[str, ...]:
    return (f"the last round of draws still moved a mean or sd by {moved:.1%} of an sd",) if moved > _MOVING else ()


def _heavy_tails(pool: _Pool, found: _Assessment) -> tuple[str, ...]:
    """Quantities with tails so heavy that their variance may not exist: Pareto shape 1/2, less what samples hide."""
    if len(pool.u) < _FEWEST_FOR_TAILS:
        return ()
    index = _evenly(found.weights, 2000)
    varying = np.flatnonzero(found.sd > 0)
    # A draw that was picked has weight, so that no quantity is infinite here.
    x = pool.columns[index][:, varying]
    centred = x - np.median(x, axis=0)
    sides = np.maximum(np.concatenate([centred, -centred], axis=1), 0.0)
    shape = np.max(np.reshape(pareto_shape(sides), (2, -1)), axis=0)
    heavy = varying[shape > _HEAVY_TAIL]
    if not len(heavy):
        return ()
    names = ", ".join(pool.labels[i] for i in heavy[:4])
    return (f"the posterior of {names} has tails so heavy that its sd, or even its mean, may not exist",)


def _valleys(pool: _Pool, found: _Assessment) -> tuple[str, ...]:
    """Whether the weighted draws fall into two lumps along a latent or the longest axis, with a valley in between."""
    w = found.weights
    mean = w @ pool.u
    centred = pool.u - mean
    scale = np.sqrt(w @ centred**2)
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        return ()
    x = centred / scale
    longest = np.linalg.eigh((x * w[:, None]).T @ x)[1][:, -1]
    columns = np.column_stack([x, x @ longest / np.sqrt(w @ (x @ longest) ** 2)])
    # Smoothed histograms on -4 to 4 sds, all columns at once; what lies outside goes into a bin that is dropped.
    bins, count = 40, columns.shape[1]
    cell = np.floor((np.clip(columns, -4.1, 4.1) + 4.0) * (bins / 8.0)).astype(int)
    cell = np.where((cell >= 0) & (cell < bins), cell, bins) + (bins + 1) * np.arange(count)
    histogram = np.bincount(cell.ravel(), np.repeat(w, count), (bins + 1) * count).reshape(count, -1)[:, :bins]
    kernel = np.exp(-0.5 * (np.subtract.outer(np.arange(bins), np.arange(bins)) / 1.5) ** 2)
    density = histogram @ np.where(kernel > np.exp(-0.5 * (4.5 / 1.5) ** 2), kernel, 0.0)
    left = np.maximum.accumulate(density, axis=1)
    right = np.maximum.accumulate(density[:, ::-1], axis=1)[:, ::-1]
    mass = np.cumsum(density, axis=1) / np.maximum(density.sum(axis=1, keepdims=True), 1e-300)
    valley = (density < _VALLEY * np.minimum(left, right)) & (mass > _LUMP) & (mass < 1 - _LUMP)
    if valley.any():
        return ("the draws fall into two lumps with a valley between them: there is more than one mode",)
    return ()


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

    def assess(self) -> _Assessment:
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
        return _Assessment(
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


def _or_infinite(errors: Array) -> Array:
    return np.where(np.isfinite(errors), errors, np.inf)


def _moments(pool: _Pool, found: _Assessment) -> tuple[Array, Array]:
    """Mean and covariance of the weighted draws, flattened where few of them carry the weight."""
    log_w, _ = _tempered(found.log_weights, 100.0 + 8 * pool.dim)
    w = np.exp(log_w)
    mean = w @ pool.u
    centred = pool.u - mean
    return mean, (centred * w[:, None]).T @ centred


def _refitted(pool: _Pool, found: _Assessment, along: Sequence[Proposal]) -> Mixture:
    """A mixture fitted to the weighted draws: Gaussians along their bends, a Student-t, stretched draws, and slices."""
    log_w, ess = _tempered(found.log_weights, 100.0 + 8 * pool.dim)
    w = np.exp(log_w)
    x = pool.u[_evenly(w, 1500)]
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


def _evenly(weights: Array, most: int) -> Array:
    """Indices of at most so many draws, taken at even steps of the cumulative weight."""
    size = min(len(weights), most)
    return np.minimum(np.searchsorted(np.cumsum(weights), (np.arange(size) + 0.5) / size), len(weights) - 1)


def _bent(pool: _Pool, found: _Assessment) -> list[Bent]:
    """Proposals that bend and widen along the one or two latents that lead the most."""
    if not 1 < pool.dim <= _MOST_BENT:
        return []
    log_w, ess = _tempered(found.log_weights, 100.0 + 8 * pool.dim)
    bent = [Bent.fitted(pool.u, np.exp(log_w), ess, index) for index in range(pool.dim)]
    bent.sort(key=lambda one: -one.strength)
    return [one for one in bent[:2] if one.strength > _BENDS]


def _tempered(log_weights: Array, wanted: float) -> tuple[Array, float]:
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
