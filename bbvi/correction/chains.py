"""Many short Hamiltonian chains in lockstep: from a rough approximation to draws of the posterior itself.

All chains take the same number of leapfrog steps, so that each step is one batched gradient. Trajectories are long or
short by the ChEES criterion, step sizes by the chains' mean acceptance, and moves are preconditioned by a metric that
draws and gradients ask for; all of that is settled in windows that are thrown away.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri

from bbvi.correction.metric import Base, Metric, MetricPolicy, curved, fitted
from bbvi.correction.pool import Pool
from bbvi.correction.psis import pareto_shape
from bbvi.correction.rhat import Mixing, mixing
from bbvi.correction.warp import Warp, WarpPolicy
from bbvi.correction.warp import found as warp_of

Array = np.ndarray
Gradients = Callable[[Array], tuple[Array, Array]]
Measure = Callable[[Array], tuple[Sequence[str], Array]]

_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0
_HUGE = 1e150
# A longer trajectory must gain by more than this power of its length: between the most that squares can change (0) and
# the most of that per gradient (1), measured on hierarchies, walks and the horseshoe.
_ELASTICITY = 0.5


@dataclass(frozen=True)
class ChainPolicy:
    """How chains are run, and what they must show to be relied on.

    Attributes
    ----------
    superchains, size : int
        Starting points, and chains from each of them (Margossian et al. 2024, section 4: many of either serve).
    windows : tuple of int
        Iterations of the windows of adaptation.
    looks : tuple of int
        Windows after which funnels and curvature are looked for.
    still : float
        Move of a mean from window to window, in sds, below which adaptation ends; beyond the last window it goes on
        with further ones of that length, as many as `more_windows`.
    acceptance, highest, careful : float
        Mean acceptance that step sizes aim at: 0.8, above the optimum of 0.651 (Beskos et al. 2013) so that chains in
        narrow places move, too; higher, up to the second, while more than a share of the trajectories diverges.
    longest : int
        Leapfrog steps of a trajectory at the most.
    draws : int
        Iterations at the most, after adaptation; at least `fewest`.
    hopeless : int
        Iterations after which chains end that will not pass with the most.
    check : int
        Iterations from one look at the chains to the next.
    mean_off, sd_off : float
        What the worst of all means may be off by, in sds, and the worst of all sds, relative: 0.1 and 10 %, which is
        what a verdict of reliable says.
    missed, passing : float
        How many of them are expected to be off by more, by their Monte Carlo errors, when chains end; and with how many
        they pass.
    rhat : float
        Excess of nested R-hat over one, beyond Monte Carlo error, that passes: 0.01 (Margossian et al. 2024).
    drift : float
        Drift beyond chance, in sds, that passes; calibrated.
    divergent : float
        Share of trajectories that may diverge: their energy off by over `diverged` nats (Betancourt 2017).
    diverged : float
    stuck : float
        Mean acceptance below which a chain counts as stuck, of which none may be.
    heavy : float
        Pareto shape of a quantity from which its variance may not exist: 1/2, less what samples hide.
    light, hidden : float
        Pareto shape of squared deviations from which the error of an sd is larger than draws show, and by how much for
        each unit of it; as for weights.
    for_tails : int
        Draws, spread over the chains, by which that is judged.
    numbers : int
        Draws times latents that are held.
    """

    superchains: int = 16
    size: int = 8
    windows: tuple[int, ...] = (5, 6, 8, 10, 12)
    looks: tuple[int, ...] = (1, 3)
    still: float = 0.15
    more_windows: int = 6
    acceptance: float = 0.8
    highest: float = 0.95
    careful: float = 0.005
    longest: int = 96
    draws: int = 320
    hopeless: int = 48
    fewest: int = 12
    check: int = 4
    mean_off: float = 0.1
    sd_off: float = 0.1
    missed: float = 0.005
    passing: float = 0.02
    rhat: float = 0.01
    drift: float = 0.04
    divergent: float = 0.02
    diverged: float = 1000.0
    stuck: float = 0.1
    heavy: float = 0.35
    light: float = 0.35
    hidden: float = 10.0
    for_tails: int = 2000
    numbers: int = 2**25
    metric: MetricPolicy = field(default_factory=MetricPolicy)
    warp: WarpPolicy = field(default_factory=WarpPolicy)

    @property
    def chains(self) -> int:
        """Chains in all."""
        return self.superchains * self.size

    def off(self, found: Mixing, longer: float = 1.0) -> float:
        """How many figures are expected to be off by more, if chains were so many times as long."""
        errors = np.concatenate([found.mean_error / self.mean_off, found.sd_error / self.sd_off]) / math.sqrt(longer)
        return float(np.sum(2.0 * ndtr(-1.0 / np.maximum(errors, 1e-9))))


@dataclass(frozen=True, eq=False)
class Stand:
    """Where chains stand: positions (C, D) with log density and gradient, and what their moves are made with."""

    u: Array
    log_density: Array
    gradient: Array
    metric: Metric
    log_step: float
    log_length: float
    aim: float
    turn: float = 0.5
    lean: float = 0.0
    warp: Warp | None = None

    def coordinates(self, u: Array, g: Array) -> tuple[Array, Array]:
        """Positions, and gradients at them, in the coordinates in which chains move."""
        e = u if self.warp is None else self.warp.coordinates(u)
        return e, self.pulled(e, g)

    def position(self, e: Array) -> Array:
        """Latents at such coordinates."""
        return e if self.warp is None else self.warp.position(e)

    def pulled(self, e: Array, g: Array) -> Array:
        """Gradients there, from those in the latents."""
        return g if self.warp is None else self.warp.pull(e, g)

    def log_jacobian(self, e: Array) -> Array | float:
        """Of the latents in the coordinates, up to a constant."""
        return 0.0 if self.warp is None else self.warp.log_jacobian(e)


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
    name: str = "chains"

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


class _Trajectory(NamedTuple):
    stand: Stand
    acceptance: Array
    divergent: Array
    steps: int


def run(
    gradients: Gradients,
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

    Returns
    -------
    Chains or None
        None where the limits left no draw.

    Notes
    -----
    An interrupt (Ctrl-C) ends with the draws up to then; before the first, it is raised.
    """
    stand = _begun(gradients, np.repeat(starts, policy.size, axis=0), metric, policy.acceptance)
    spent = len(stand.u)
    adapted = _adapted(gradients, stand, rng, remaining, late, policy)
    if adapted is None:
        return None
    stand, more = adapted
    return _drawn(gradients, measure, stand, rng, remaining, late, policy, spent + more)


def extended(
    chains: Chains,
    gradients: Gradients,
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
    return _drawn(gradients, measure, chains.stand, rng, remaining, late, longer, chains.gradients, chains) or chains


def _begun(gradients: Gradients, u: Array, metric: Metric, aim: float) -> Stand:
    """Chains at their starts; those where the density is not finite are moved to where others are."""
    values, slopes = gradients(u)
    good = np.isfinite(values) & np.isfinite(slopes).all(axis=1)
    if not good.any():
        raise ArithmeticError("no chain begins where the log joint and its gradient are finite")
    if not good.all():
        other = np.flatnonzero(good)[np.arange((~good).sum()) % good.sum()]
        u = u.copy()
        u[~good], values[~good], slopes[~good] = u[other], values[other], slopes[other]
    step = math.log(1.0 / u.shape[1] ** 0.25)
    return Stand(u, values, slopes, metric, step, math.log(math.pi / 2), aim)


def _adapted(
    gradients: Gradients,
    stand: Stand,
    rng: np.random.Generator,
    remaining: Callable[[], float],
    late: Callable[[], bool],
    policy: ChainPolicy,
) -> tuple[Stand, int] | None:
    """Windows of adaptation, until means stand still; None where the limits end them."""
    spent, before = 0, None
    lengths: list[float] = []
    windows = [*policy.windows, *[policy.windows[-1]] * policy.more_windows]
    for number, length in enumerate(windows):
        draws, slopes, divergent = [], [], 0.0
        for k in range(1, length + 1):
            if late() or remaining() < len(stand.u) * _steps(stand, policy):
                return None
            moved = _trajectory(gradients, stand, rng, policy, rate=1.0 / math.sqrt(k))
            stand, spent = moved.stand, spent + moved.steps * len(stand.u)
            lengths.append(stand.log_length)
            if k > length // 2:
                draws.append(stand.u)
                slopes.append(stand.gradient)
                divergent += float(moved.divergent.mean()) / (length - length // 2)
        x, g = np.concatenate(draws), np.concatenate(slopes)
        mean, sd = x.mean(axis=0), x.std(axis=0)
        drift = math.inf if before is None else float(np.max(np.abs(mean - before) / np.maximum(sd, 1e-300)))
        before = mean
        # Where steps are too long for narrow places, shorter ones are called for, until a better metric is found.
        careful = divergent > policy.careful
        aim = min((stand.aim + 1.0) / 2, policy.highest) if careful else (stand.aim + policy.acceptance) / 2
        stand = replace(stand, aim=aim)
        if number in policy.looks or stand.metric.base is None:
            stand = replace(stand, warp=warp_of(x, g, policy.warp))
            base = None
            if number in policy.looks and remaining() > 2 * policy.metric.points * x.shape[1]:
                base = _curved(gradients, stand, x, g, rng, policy.metric)
                spent += policy.metric.points * x.shape[1] if base is not None else 0
        else:
            base = stand.metric.base
        stand = replace(stand, metric=fitted(*stand.coordinates(x, g), policy.metric, base))
        # What drifts less than chance would bring is still.
        if number + 1 >= len(policy.windows) and drift < policy.still + _chance(len(stand.u), x.shape[1]):
            break
    # The last metric wants a step size of its own.
    for k in range(1, policy.windows[0] + 1):
        if late() or remaining() < len(stand.u) * _steps(stand, policy):
            return None
        moved = _trajectory(gradients, stand, rng, policy, rate=1.0 / math.sqrt(k))
        stand, spent = moved.stand, spent + moved.steps * len(stand.u)
    # The length follows signs, which are noisy: what it was in the last window tells more than where it ended.
    settled = float(np.mean(lengths[-policy.windows[-1] :]))
    return replace(stand, log_length=max(settled, stand.log_step)), spent


def _curved(
    gradients: Gradients, stand: Stand, x: Array, g: Array, rng: np.random.Generator, policy: MetricPolicy
) -> Base | None:
    """The inverse of the mean curvature at some of the draws (N, D), in the coordinates in which chains move."""
    if x.shape[1] > policy.curved:
        return None
    e, slopes = stand.coordinates(x, g)
    scale = np.sqrt(np.maximum(e.std(axis=0), 1e-300) / np.maximum(slopes.std(axis=0), 1e-300))
    some = rng.choice(len(e), policy.points, replace=False)
    return curved(lambda at: stand.pulled(at, gradients(stand.position(at))[1]), e[some], slopes[some], scale, policy)


def _chance(chains: int, count: int) -> float:
    """What the worst of so many means of so many independent draws moves by chance, in sds."""
    return float(-ndtri(0.05 / count)) * math.sqrt(2.0 / chains)


def _drawn(
    gradients: Gradients,
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
    draws: list[Array] = [] if earlier is None else list(np.moveaxis(earlier.draws, 1, 0))
    values: list[Array] = [] if earlier is None else list(earlier.log_density.T)
    columns: list[Array] = [measure(one)[1] for one in draws]
    labels: Sequence[str] = ()
    begun = len(draws)
    accepted, divergent = [], []
    interrupted = False
    found: Mixing | None = None
    try:
        for k in range(1, most + 1):
            short = late() or remaining() < chains * _steps(stand, policy)
            if short:
                break
            moved = _trajectory(gradients, stand, rng, policy, rate=0.0)
            named, column = measure(moved.stand.u)
            # All that takes time is done: an interrupt finds the lists as they were before, or as they are after.
            labels, stand, spent = named, moved.stand, spent + moved.steps * chains
            columns.append(column)
            draws.append(stand.u)
            values.append(stand.log_density)
            accepted.append(moved.acceptance)
            divergent.append(moved.divergent)
            if k >= policy.fewest and k % policy.check == 0:
                found = mixing(_columns(columns), policy.superchains)
                if k >= policy.hopeless and policy.off(found, most / k) > policy.passing:
                    break
                if policy.off(found) < policy.missed:
                    found = _enlarged(found, _columns(columns), policy)
                    if policy.off(found) < policy.missed:
                        break
    except KeyboardInterrupt:
        interrupted = True
    if len(draws) - begun < 2:
        if interrupted:
            raise KeyboardInterrupt
        return None
    x = _columns(columns)
    found = _enlarged(mixing(x, policy.superchains), x, policy)
    squares = mixing(np.abs(x - np.median(x, axis=(0, 1))), policy.superchains)
    found = found._replace(
        rhat=np.maximum(found.rhat, squares.rhat),
        excess=np.maximum(found.excess, squares.excess),
        drift=np.maximum(found.drift, squares.drift),
    )
    share, rates = float(np.mean(divergent)), np.mean(accepted, axis=0)
    return Chains(
        draws=np.moveaxis(np.array(draws), 0, 1),
        log_density=np.array(values).T,
        superchains=policy.superchains,
        mean=x.mean(axis=(0, 1)),
        sd=_sd(x),
        rhat=found.rhat,
        mean_error=found.mean_error,
        sd_error=found.sd_error,
        drift=found.drift,
        divergent=share,
        acceptance=float(rates.mean()),
        step_size=math.exp(stand.log_step),
        length=math.exp(stand.log_length),
        gradients=spent,
        problems=(*_problems(found, x, labels, share, rates, policy), *_infinite(columns, labels)),
        stand=stand,
        interrupted=interrupted,
    )


def _sd(x: Array) -> Array:
    """Sds (R,) of quantities (T, C, R), whose squares may overflow."""
    largest = np.max(np.abs(x), axis=(0, 1))
    scale = np.where(largest > 0, largest, 1.0)
    return np.asarray(scale * np.std(x / scale, axis=(0, 1)))


def _columns(columns: list[Array]) -> Array:
    """Quantities (T, C, R); what is too large for its square to be a number is told elsewhere, and counts as zero."""
    x = np.array(columns, dtype=float)
    return np.where(np.abs(x) < _HUGE, x, 0.0)


def _steps(stand: Stand, policy: ChainPolicy) -> int:
    """Leapfrog steps of the next trajectory: around the length, by the golden section."""
    steps = math.exp(stand.log_length - stand.log_step) * (0.3 + 1.4 * ((stand.turn + _GOLDEN) % 1.0))
    return int(np.clip(math.ceil(steps), 1, policy.longest))


def _trajectory(
    gradients: Gradients, stand: Stand, rng: np.random.Generator, policy: ChainPolicy, rate: float
) -> _Trajectory:
    """One Hamiltonian trajectory of every chain; a positive `rate` adapts the step size and the length.

    The number of steps follows a quasi-random sequence around the length, the same for all chains; each chain has its
    own step size, in part shorter, so that some get through narrow places.
    """
    chains, dim = stand.u.shape
    metric, steps = stand.metric, _steps(stand, policy)
    size = math.exp(stand.log_step) * np.exp(rng.uniform(-0.7, 0.2, (chains, 1)))
    start = rng.standard_normal((chains, dim))
    before, slope = stand.coordinates(stand.u, stand.gradient)
    e, u, g = before, stand.u, stand.gradient
    p = metric.momentum(start) + 0.5 * size * slope
    values, gain = stand.log_density, -stand.log_jacobian(before)
    with np.errstate(all="ignore"):
        for step in range(steps):
            e = e + size * metric.velocity(p)
            u = stand.position(e)
            values, g = gradients(u)
            slope = stand.pulled(e, g)
            # Where there is no gradient a trajectory goes straight on, and is not accepted.
            slope = np.where(np.isfinite(slope), slope, 0.0)
            p = p + (size if step < steps - 1 else 0.5 * size) * slope
        p = metric.to_whitened(p)
        gain = gain + stand.log_jacobian(e) + values - stand.log_density - 0.5 * np.sum(p**2 - start**2, axis=1)
        gain = np.where(np.isfinite(gain), gain, -np.inf)
        acceptance = np.exp(np.minimum(gain, 0.0))
    moved = replace(stand, turn=(stand.turn + _GOLDEN) % 1.0)
    if rate > 0:
        moved = _tuned(moved, before, e, p, acceptance, rate, steps * math.exp(stand.log_step))
    taken = rng.random(chains) < acceptance
    moved = replace(
        moved,
        u=np.where(taken[:, None], u, stand.u),
        log_density=np.where(taken, values, stand.log_density),
        gradient=np.where(taken[:, None], g, stand.gradient),
    )
    return _Trajectory(moved, acceptance, gain < -policy.diverged, steps)


def _tuned(
    stand: Stand, before: Array, after: Array, p: Array, acceptance: Array, rate: float, length: float
) -> Stand:
    """Step size by the mean acceptance, length by the sign of the ChEES gradient (Hoffman, Radul, Sountsov 2021)."""
    log_step = stand.log_step + 1.2 * rate * (float(acceptance.mean()) - stand.aim)
    good = np.isfinite(after).all(axis=1) & (acceptance > 0)
    lean = stand.lean
    if good.sum() > 1:
        old, new, weight = stand.metric.whiten(before[good]), stand.metric.whiten(after[good]), acceptance[good]
        old, new = old - old.mean(axis=0), new - np.average(new, axis=0, weights=weight)
        growth = np.sum(new**2, axis=1) - np.sum(old**2, axis=1)
        slope = float(np.mean(weight * growth * np.sum(new * p[good], axis=1)))
        gained = float(np.mean(weight * growth**2)) / 4.0
        lean = 0.6 * lean + 0.4 * np.sign(length * slope - _ELASTICITY * gained)
    log_length = float(np.clip(stand.log_length + 0.12 * lean, log_step, math.log(8.0)))
    return replace(stand, log_step=log_step, log_length=log_length, lean=lean)


def _problems(
    found: Mixing, x: Array, labels: Sequence[str], divergent: float, rates: Array, policy: ChainPolicy
) -> Sequence[str]:
    """What keeps chains from being relied on."""
    problems = []
    apart = np.sqrt(1.0 + found.excess) - 1.0
    if apart.max() > policy.rhat:
        worst = int(np.argmax(apart))
        problems.append(f"chains from different starts disagree about {labels[worst]} (R-hat {found.rhat[worst]:.2f})")
    if found.drift.max() > policy.drift:
        worst = int(np.argmax(found.drift))
        problems.append(f"the mean of {labels[worst]} was still moving (by {found.drift[worst]:.2f} sds)")
    if policy.off(found) > policy.passing:
        mean, sd = int(np.argmax(found.mean_error)), int(np.argmax(found.sd_error))
        problems.append(
            f"the standard errors of the mean of {labels[mean]} ({found.mean_error[mean]:.1%} of its sd) and of the sd "
            f"of {labels[sd]} ({found.sd_error[sd]:.1%}) are too large"
        )
    if divergent > policy.divergent:
        problems.append(f"{divergent:.1%} of the trajectories diverged, as in the neck of a funnel")
    stuck = int(np.sum(rates < policy.stuck))
    if stuck:
        problems.append(f"{stuck} of {len(rates)} chains are stuck")
    chance = max(float(-ndtri(0.01 / x.shape[-1])) - 2.3, 0.0)
    heavy = np.flatnonzero(_tails(x, policy) > policy.heavy + 0.08 * chance)
    if len(heavy):
        names = ", ".join(labels[i] for i in heavy[:4])
        problems.append(f"the posterior of {names} has tails so heavy that its sd, or even its mean, may not exist")
    return problems


def _infinite(columns: list[Array], labels: Sequence[str]) -> tuple[str, ...]:
    with np.errstate(invalid="ignore"):
        bad = np.flatnonzero(~np.all([np.all(np.abs(one) < _HUGE, axis=0) for one in columns], axis=0))
    if not len(bad):
        return ()
    return (f"{', '.join(labels[i] for i in bad[:4])}: infinite or not a number at some draws",)


def _enlarged(found: Mixing, x: Array, policy: ChainPolicy) -> Mixing:
    """The errors of sds with what draws hide of heavy tails: of the terms, which are squares, and so of their error."""
    hidden = np.maximum(2.0 * _tails(x, policy) - policy.light, 0.0)
    return found._replace(sd_error=found.sd_error * (1.0 + policy.hidden * hidden))


def _tails(x: Array, policy: ChainPolicy) -> Array:
    """Pareto shape (R,) of the heavier side of quantities (T, C, R), as draws spread over the chains show it."""
    flat = x.reshape(-1, x.shape[-1])
    flat = flat[:: max(len(flat) // policy.for_tails, 1)]
    centred = flat - np.median(flat, axis=0)
    sides = np.maximum(np.concatenate([centred, -centred], axis=1), 0.0)
    shape = np.max(np.reshape(np.asarray(pareto_shape(sides)), (2, -1)), axis=0)
    return np.where((np.ptp(flat, axis=0) > 0) & np.isfinite(shape), shape, -1.0)
