"""Importance sampling: carries a Gaussian approximation to the target, and says how far the result can be trusted."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.special import gammaln

from .psis import effective_sample_size, pareto_shape, psis

Array = np.ndarray
Values = Callable[[Array], Array]

LOG_2PI = math.log(2.0 * math.pi)

# What a result must satisfy to be called reliable. Errors are one standard error; the promise is 0.1 sd and 10 %.
LARGEST_KHAT = 0.55
LARGEST_TAIL_KHAT = 0.6
LARGEST_ERROR = 0.03
LARGEST_GAP = 0.2  # between the draws and the walked profile: mean in sds, sd relative
LARGEST_REMAINDER = 0.05  # share of a variance that lies beyond the walked profile
LARGEST_WALKED_DIM = 50  # the walk costs about 100 (20 + D) evaluations

# Distances that the profile is walked to, in sds of the latent.
_STEPS = np.array([0.0, 0.4, 0.8, 1.3, 1.8, 2.4, 3.0, 3.7, 4.5, 5.4, 6.5, 8.0, 10.0])
_CELLS = 400
LEAST = 8.0
_RAY = np.concatenate([[0.0], np.arange(1.5, 6.6, 1.0), [7.7, 9.0, 10.5], np.arange(12.0, 22.1, 2.0), [24.5, 27.0, 30.0, 34.0, 38.0, 42.0]])


# ---------------------------------------------------------------------------------------------------- proposals


class Proposal(Protocol):
    """A distribution on R^D that can be sampled and evaluated."""

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draws (n, D)."""

    def log_density(self, u: Array) -> Array:
        """Normalised log density (n,) at u (n, D)."""


@dataclass(frozen=True, eq=False)
class Gaussian:
    """N(mean, factor factor'), with ``factor`` (D, D) lower triangular."""

    mean: Array
    factor: Array

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Antithetic draws (n, D) whose sample covariance is exact where n allows."""
        return self.mean + balanced_normal(n, len(self.mean), rng) @ self.factor.T

    def log_density(self, u: Array) -> Array:
        """Log density (n,) at u (n, D)."""
        return _log_normal(whiten(u, self.mean, self.factor)) - _log_det(self.factor)


@dataclass(frozen=True, eq=False)
class StudentT:
    """Multivariate Student-t with location ``mean``, scale matrix ``factor factor'`` and ``df`` degrees of freedom."""

    mean: Array
    factor: Array
    df: float

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draws (n, D)."""
        radius = np.sqrt(self.df / rng.chisquare(self.df, size=(n, 1)))
        return self.mean + (radius * balanced_normal(n, len(self.mean), rng)) @ self.factor.T

    def log_density(self, u: Array) -> Array:
        """Log density (n,) at u (n, D)."""
        dim, df = len(self.mean), self.df
        square = np.square(whiten(u, self.mean, self.factor)).sum(axis=1)
        constant = gammaln(0.5 * (df + dim)) - gammaln(0.5 * df) - 0.5 * dim * math.log(df * math.pi)
        return constant - _log_det(self.factor) - 0.5 * (df + dim) * np.log1p(square / df)


@dataclass(frozen=True, eq=False)
class Stretched:
    """A Gaussian that is stretched along one direction per draw, to look for what lies beyond it.

    In whitened coordinates e ~ N(0, I) a direction v is picked at random from ``directions`` (J, D; unit rows), and
    the coordinate of e along v is replaced by a draw of ``scale * t(df)``. Unlike a multivariate t, whose
    radius moves all coordinates at once, it keeps good density in high dimension where one latent alone has a long
    tail.
    """

    mean: Array
    factor: Array
    directions: Array
    df: float = 4.0
    scale: float = 1.7

    @classmethod
    def along_axes(cls, mean: Array, factor: Array) -> Stretched:
        """Along each latent (with the others' regressions on it) and each principal axis."""
        axes = np.linalg.svd(factor)[2][: len(mean) if len(mean) > 1 else 0]
        return cls(mean, factor, np.concatenate([_unit_rows(factor), axes]))

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draws (n, D); the directions take turns."""
        base = balanced_normal(n, len(self.mean), rng)
        chosen = self.directions[rng.permutation(n) % len(self.directions)]
        length = self.scale * rng.standard_t(self.df, size=n)
        base += (length - (base * chosen).sum(axis=1))[:, None] * chosen
        return self.mean + base @ self.factor.T

    def log_density(self, u: Array) -> Array:
        """Log density (n,) at u (n, D)."""
        e = whiten(u, self.mean, self.factor)
        along = e @ self.directions.T
        df, scale = self.df, self.scale
        constant = gammaln(0.5 * (df + 1.0)) - gammaln(0.5 * df) - 0.5 * math.log(df * math.pi) - math.log(scale)
        stretched = constant - 0.5 * (df + 1.0) * np.log1p(np.square(along / scale) / df)
        ratio = stretched + 0.5 * np.square(along) + 0.5 * LOG_2PI
        return _log_normal(e) - _log_det(self.factor) + log_sum_exp(ratio) - math.log(len(self.directions))


@dataclass(frozen=True, eq=False)
class Sliced:
    """A tabulated marginal for one direction t, and for the rest a Gaussian that changes from slice to slice.

    ``u = mean + factor [t, r]``: t has a density that is constant on the cells between ``edges``; given t, r is
    normal with a mean that is interpolated between the ``knots`` and the covariance of the nearest knot. It follows
    the funnels and bends that hierarchical scales make.
    """

    mean: Array
    factor: Array  # (D, D), not triangular
    knots: Array  # (M,) increasing
    centres: Array  # (M, D - 1)
    factors: Array  # (M, D - 1, D - 1)
    edges: Array  # (C + 1,) evenly spaced
    log_marginal: Array  # (C,) normalised

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draws (n, D), stratified in t."""
        width = self.edges[1] - self.edges[0]
        reached = np.cumsum(np.exp(self.log_marginal)) * width
        cell = np.searchsorted(reached / reached[-1], (rng.permutation(n) + rng.random(n)) / n)
        t = self.edges[np.minimum(cell, len(reached) - 1)] + width * rng.random(n)
        z = rng.standard_normal((n, len(self.mean) - 1))
        nearest = self._nearest(t)
        for k in np.unique(nearest):
            z[nearest == k] = z[nearest == k] @ self.factors[k].T
        return self.mean + np.column_stack([t, self._centre(t) + z]) @ self.factor.T

    def log_density(self, u: Array) -> Array:
        """Log density (n,) at u (n, D); ``-inf`` beyond the table."""
        e = whiten(u, self.mean, self.factor)
        t = e[:, 0]
        cell = np.floor((t - self.edges[0]) / (self.edges[1] - self.edges[0]))
        inside = (cell >= 0) & (cell < len(self.log_marginal))
        out = np.full(len(u), -np.inf)
        out[inside] = self.log_marginal[cell[inside].astype(int)] - float(np.linalg.slogdet(self.factor)[1])
        r = e[:, 1:] - self._centre(t)
        nearest = np.where(inside, self._nearest(t), -1)
        for k in range(len(self.knots)):
            here = nearest == k
            if here.any():
                out[here] += _log_normal(r[here] @ np.linalg.inv(self.factors[k]).T) - _log_det(self.factors[k])
        return out

    def _nearest(self, t: Array) -> Array:
        return np.searchsorted(0.5 * (self.knots[1:] + self.knots[:-1]), t)

    def _centre(self, t: Array) -> Array:
        left = np.clip(np.searchsorted(self.knots, t) - 1, 0, len(self.knots) - 2)
        share = np.clip((t - self.knots[left]) / (self.knots[left + 1] - self.knots[left]), 0.0, 1.0)[:, None]
        return (1.0 - share) * self.centres[left] + share * self.centres[left + 1]


@dataclass(frozen=True, eq=False)
class Mixture:
    """A mixture of proposals; its draws take each component in its share, in random order (Owen and Zhou 2000)."""

    components: tuple[Proposal, ...]
    weights: Array

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draws (n, D)."""
        ends = np.floor(np.cumsum(self.weights) / np.sum(self.weights) * n + rng.random()).astype(int)
        ends[-1] = n
        counts = np.diff(np.minimum(ends, n), prepend=0)
        parts = [c.sample(int(k), rng) for c, k in zip(self.components, counts, strict=True) if k > 0]
        return rng.permutation(np.concatenate(parts))

    def log_density(self, u: Array) -> Array:
        """Log density (n,) at u (n, D)."""
        parts = np.stack([c.log_density(u) for c in self.components], axis=1)
        return log_sum_exp(parts + np.log(self.weights / np.sum(self.weights)))


# ------------------------------------------------------------------------------------------------------- result


@dataclass(frozen=True, eq=False)
class ImportanceResult:
    """Weighted draws from the target, with what is known of their accuracy.

    ``draws`` (S, D) and ``log_weights`` (S,; smoothed, normalised) are the pool. ``mean`` and ``sd`` (D,) are its
    moments; ``mean_error`` (in posterior sds) and ``sd_error`` (relative) are one standard error of each.
    ``khat`` belongs to the weights, ``initial_khat`` to the Gaussian that was corrected, ``tail_khat`` (D,) to the
    weights times the squared deviation of each latent. ``heavy_tails`` (D,) marks latents whose variance is not to be
    had from these draws. ``profile_gap`` holds, for each latent whose marginal was walked, its index, and the
    difference of the walked mean (in sds) and sd (relative). ``problems`` are the checks that failed, a clause each.
    """

    draws: Array
    log_weights: Array
    khat: float
    initial_khat: float
    ess: float
    log_evidence: float
    log_evidence_se: float
    mean: Array
    sd: Array
    mean_error: Array
    sd_error: Array
    tail_khat: Array
    heavy_tails: Array
    tail_mass: float
    profile_gap: tuple[tuple[int, float, float], ...]
    multimodal: bool
    rounds: int
    evaluations: int
    proposal: Mixture
    problems: tuple[str, ...]

    @property
    def reliable(self) -> bool:
        """Whether every check passed: then all means are within 0.1 sd and all sds within 10 % of the target's."""
        return not self.problems


def correct(
    values: Values,
    mean: Array,
    covariance: Array,
    rng: np.random.Generator,
    *,
    effective_size: float = 4000.0,
    max_evaluations: int | None = None,
    alternatives: Sequence[Array] = (),
) -> ImportanceResult:
    """Carry N(mean, covariance) to the target by adaptive importance sampling.

    Draws from the Gaussian give its own k-hat. Then rounds of draws from a mixture that is fitted to the weighted
    draws of all rounds before (adaptive multiple importance sampling, Cornuet et al. 2012), with components that look
    for what the draws may have missed: stretched along each latent; along the walked profiles of the latents that
    steer the others (a hierarchical scale, say); around other modes. A last, fresh round is the result.

    Parameters
    ----------
    values : callable, (S, D) -> (S,)
        Log density of the target up to a constant; ``-inf`` where it is zero or not a number.
    mean, covariance : (D,), (D, D)
        The Gaussian to start from. The covariance must be positive definite.
    rng : numpy.random.Generator
    effective_size : float
        Effective sample size to reach.
    max_evaluations : int, optional
        Evaluations of ``values``, counted per draw, that may be used; 50,000 + 5,000 D by default, of which well
        behaved targets need a quarter. At least 500.
    alternatives : sequence of (D,)
        Points where another mode may be, such as the ends of other starts of the optimiser.

    Returns
    -------
    ImportanceResult

    Raises
    ------
    ValueError
        If shapes disagree, the covariance is not positive definite, or the budget is below 500.
    """
    start = _start(mean, covariance)
    dim = len(start.mean)
    budget = 50_000 + 5_000 * dim if max_evaluations is None else int(max_evaluations)
    if budget < 500:
        raise ValueError(f"max_evaluations must be at least 500; got {budget}")
    pool = _Pool(values, dim, budget)
    pilot = min(1000 + 50 * dim, budget // 5)
    initial_khat = float(psis(pool.draw(start, pilot, rng))[1])
    pool.draw(Stretched.along_axes(start.mean, start.factor), pilot // 4, rng)
    modes = _other_modes(pool, start, alternatives, rng)
    for mode in modes:
        pool.draw(mode, min(pilot // 4, pool.left), rng)
    profiles: list[_Profile] = []
    rounds, efficiency, settled = 1, 0.0, False
    while not settled and rounds < 8 and pool.left > 2 * pilot:
        rounds += 1
        if rounds in (2, 4):
            profiles = _walk(pool, rng)
        ratios = pool.draw(_refit(pool, profiles, modes, rng), min(pilot, int(0.4 * pool.left)), rng)
        before, efficiency = efficiency, float(effective_sample_size(ratios)) / len(ratios)
        enough = 1.2 * effective_size < 0.7 * efficiency * pool.left
        settled = efficiency > 0.5 or (enough and efficiency < 1.25 * before)
        pilot = min(int(1.5 * pilot), 5000)
    return _finish(pool, profiles, modes, rng, initial_khat, rounds, efficiency, effective_size)


def _start(mean: Array, covariance: Array) -> Gaussian:
    mean, covariance = np.array(mean, dtype=float), np.array(covariance, dtype=float)
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
        raise ValueError(f"expected mean (D,) and covariance (D, D); got {mean.shape} and {covariance.shape}")
    try:
        return Gaussian(mean, np.linalg.cholesky(covariance))
    except np.linalg.LinAlgError as error:
        raise ValueError("covariance must be positive definite") from error


def _finish(
    pool: _Pool, profiles: list[_Profile], modes: list[Gaussian], rng: np.random.Generator, initial_khat: float,
    rounds: int, efficiency: float, wanted: float,
) -> ImportanceResult:
    """Up to three fresh rounds, each from a proposal fitted to all before, until one passes the checks."""
    for attempt in range(3):
        if rounds > 2 or attempt > 0 or not profiles:
            profiles = _walk(pool, rng) or profiles
        proposal = _refit(pool, profiles, modes, rng)
        size = int(min(max(1.2 * wanted / max(efficiency, 1e-9), 1000.0), max(pool.left, 1)))
        ratios = pool.draw(proposal, size, rng)
        rounds += 1
        result = _result(pool, ratios, proposal, profiles, initial_khat, rounds, wanted)
        efficiency = result.ess / size
        if result.reliable or result.multimodal or pool.left < 0.6 * size:
            break
    return result


# ------------------------------------------------------------------------------------------------- draws so far


class _Pool:
    """All draws so far, weighted against the mixture of all the proposals that they came from."""

    def __init__(self, values: Values, dim: int, budget: int) -> None:
        self._values = values
        self.left = budget
        self.evaluations = 0
        self.u = np.empty((0, dim))
        self.log_p = np.empty(0)
        self._proposals: list[Proposal] = []
        self._counts: list[int] = []
        self._log_q: list[Array] = []

    def evaluate(self, u: Array) -> Array:
        """Values (n,), counted; what is not a number or ``+inf`` has no mass."""
        self.left -= len(u)
        self.evaluations += len(u)
        values = np.asarray(self._values(u), dtype=float)
        return np.where(np.isnan(values) | (values == np.inf), -np.inf, values)

    def draw(self, proposal: Proposal, n: int, rng: np.random.Generator) -> Array:
        """Add n draws; return their log ratios (n,) against this proposal alone."""
        u = proposal.sample(n, rng)
        log_p = self.evaluate(u)
        self._log_q = [np.concatenate([q, p.log_density(u)]) for q, p in zip(self._log_q, self._proposals, strict=True)]
        self.u = np.concatenate([self.u, u])
        self.log_p = np.concatenate([self.log_p, log_p])
        self._log_q.append(proposal.log_density(self.u))
        self._proposals.append(proposal)
        self._counts.append(n)
        return log_p - self._log_q[-1][-n:]

    def log_ratios(self) -> Array:
        """Log weights of all draws (deterministic mixture weights, Owen and Zhou 2000)."""
        return self.log_p - log_sum_exp(np.stack(self._log_q, axis=1) + self._log_shares())

    def log_density(self, u: Array) -> Array:
        """Of the mixture of all proposals so far."""
        return log_sum_exp(np.stack([p.log_density(u) for p in self._proposals], axis=1) + self._log_shares())

    def weights(self) -> tuple[Array, float]:
        """Smoothed weights, flattened where few draws carry them, and their effective size."""
        log_weights, ess = _temper(psis(self.log_ratios())[0], 5.0 * self.u.shape[1] + 50.0)
        return np.exp(log_weights), ess

    def _log_shares(self) -> Array:
        return np.log(np.array(self._counts) / np.sum(self._counts))


# --------------------------------------------------------------------------------------------------- other modes


def _other_modes(
    pool: _Pool, start: Gaussian, alternatives: Sequence[Array], rng: np.random.Generator
) -> list[Gaussian]:
    """Gaussians around other modes that hold a part of the mass, from the alternatives and from rays."""
    points = [np.array(point, dtype=float) for point in alternatives]
    if pool.left > 4 * len(_RAY) * (4 * len(start.mean) + 3):
        points += _beyond_dips(pool, start)
    modes: list[Gaussian] = []
    for point in points:
        if any(np.square(whiten(point[None], m.mean, m.factor)).sum() < 9.0 * len(point) for m in modes):
            continue
        mode = _climb(pool, point, start.factor, rng)
        if mode is not None:
            modes.append(mode)
    return modes


def _beyond_dips(pool: _Pool, start: Gaussian) -> list[Array]:
    """Up to four points where the density rises again along a ray from the centre.

    The rays follow each latent, each principal axis, the diagonal, and the line to the mirror image through the
    origin, the commonest symmetry.
    """
    dim = len(start.mean)
    diagonal = _unit_rows(start.factor).sum(axis=0, keepdims=True)
    directions = np.concatenate([Stretched.along_axes(start.mean, start.factor).directions, diagonal / dim**0.5])
    offsets = _RAY[:, None, None] * (np.concatenate([directions, -directions]) @ start.factor.T)
    mirror = -2.5 * np.linspace(0.0, 1.0, len(_RAY))[:, None] * start.mean
    u = start.mean + np.concatenate([offsets, mirror[:, None]], axis=1)
    log_p = pool.evaluate(u.reshape(-1, dim)).reshape(u.shape[:2])
    lowest = np.minimum.accumulate(log_p, axis=0)
    rise = np.where(log_p > -np.inf, log_p - np.where(lowest > -np.inf, lowest, -1e300), 0.0)
    best = [ray for ray in np.argsort(-rise.max(axis=0))[:4] if rise[:, ray].max() > 2.0]
    return [u[np.argmax(np.where(rise[:, ray] > 1.0, log_p[:, ray], -np.inf)), ray] for ray in best]


def _climb(pool: _Pool, point: Array, factor: Array, rng: np.random.Generator) -> Gaussian | None:
    """Move a Gaussian from a point to where the target holds it; None unless mass is there that no draw has seen."""
    dim = len(point)
    n = 40 + 4 * dim
    for _ in range(12):
        if pool.left < 10 * n:
            return None
        here = Gaussian(point, factor)
        u = here.sample(n, rng)
        log_ratios = pool.evaluate(u) - here.log_density(u)
        if not (log_ratios > -np.inf).any():
            return None
        moved = np.exp(_temper(log_ratios, 0.15 * n)[0]) @ u
        step = float(np.linalg.norm(whiten(moved[None], point, factor)))
        point = moved
        if step < 0.3 * math.sqrt(dim):
            break
    mode = Gaussian(point, 1.2 * factor)
    u = mode.sample(4 * n, rng)
    log_p = pool.evaluate(u)
    log_evidence = _log_mean(pool.log_ratios())
    unseen = log_p - pool.log_density(u) > log_evidence + 4.0
    missing = _log_mean(np.where(unseen, log_p - mode.log_density(u), -np.inf)) - log_evidence
    return mode if missing > math.log(0.003) else None


# ------------------------------------------------------------------------------------------------------ profiles


@dataclass(frozen=True, eq=False)
class _Profile:
    """The marginal of a latent at knots, walked outwards, and the proposal that follows it."""

    axis: int
    centre: float
    unit: float  # sd of the latent that the knots are in units of
    log_marginal: Array  # (M,) at the knots, its largest 0
    lost: bool  # the walk came to where its draws no longer fit, while there may be mass
    proposal: Sliced

    def moments(self) -> tuple[float, float, float]:
        """Mean, sd, and the share of the variance that lies beyond the last knots if the log density goes on straight."""
        knots, log_f = self.proposal.knots, self.log_marginal
        t = np.linspace(knots[0], knots[-1], 2001)
        straight = np.interp(t, knots, log_f)
        # relative to a normal, straight lines are exact for Gaussian bodies
        curved = np.interp(t, knots, log_f + 0.5 * np.square(knots)) - 0.5 * np.square(t)
        f = np.exp(np.where(np.abs(t) < 2.5, curved, 0.5 * (straight + curved)))
        f /= f.sum()
        mean = float(f @ t)
        variance = float(f @ np.square(t - mean))
        beyond = 0.0
        for end, inner in ((0, 2), (-1, -3)):
            slope = max((log_f[inner] - log_f[end]) / abs(knots[inner] - knots[end]), 0.05)
            far = abs(knots[end])
            density = f[end] / (t[1] - t[0])
            beyond += density * (far**2 / slope + 2.0 * far / slope**2 + 2.0 / slope**3) / variance
        return self.centre + mean * self.unit, math.sqrt(variance) * self.unit, float(beyond)


def _walk(pool: _Pool, rng: np.random.Generator, most: int = 3) -> list[_Profile]:
    """Walk outwards along the latents that steer the others most, both ways, to where draws would never come.

    At each step the rest of the latents has a Gaussian given t, predicted from the last two steps and fitted by a few
    passes of importance sampling; the mean ratio is the marginal density there. This finds the necks and mouths of
    funnels and tails of scales near zero, which weights of draws cannot show before a draw has been there.
    """
    dim = pool.u.shape[1]
    if dim > LARGEST_WALKED_DIM:
        return []
    mean, frames = _leaders(pool, min(most, dim))
    walkers = [_Walker(mean, frame, side) for _, frame in frames for side in (1.0, -1.0)]
    size = 2 * (40 + 2 * dim) if dim > 1 else 2
    for t in _STEPS:
        for walker in walkers:
            walker.predict(t)
        active = walkers
        for _ in range(6):
            if not active or size * len(active) > pool.left - 1000:
                break
            points = [walker.propose(size, rng) for walker in active]
            log_p = pool.evaluate(np.concatenate(points)).reshape(len(active), size)
            active = [w for w, row in zip(active, log_p, strict=True) if not w.learn(row)]
        for walker in walkers:
            walker.settle()
    profiles = [
        _profile(axis, frame, mean, *walkers[2 * i : 2 * i + 2]) for i, (axis, frame) in enumerate(frames)
    ]
    return [p for p in profiles if p is not None]


def _leaders(pool: _Pool, most: int) -> tuple[Array, list[tuple[int, Array]]]:
    """The mean, and for the latents with the most third-order sway over the rest: index and frame F (D, D).

    ``u = mean + F [t, r]`` with t the standardised latent, r uncorrelated with it, in the basis in which the
    covariance of r changes along t.
    """
    weights, _ = pool.weights()
    dim = pool.u.shape[1]
    mean = weights @ pool.u
    centred = pool.u - mean
    factor = np.linalg.cholesky((centred * weights[:, None]).T @ centred)
    e = whiten(pool.u, mean, factor)
    rows = _unit_rows(factor)
    t = e @ rows.T
    third = (t * weights[:, None]).T @ np.square(e)
    score = np.square(third).sum(axis=1) + np.square(weights @ t**3) + np.square(weights @ t**4 - 3.0) / 8.0
    frames = []
    for axis in np.argsort(-score)[:most]:
        basis = np.linalg.qr(np.column_stack([rows[axis], np.eye(dim)]))[0]
        basis[:, 0] = rows[axis]
        r = e @ basis[:, 1:]
        basis[:, 1:] = basis[:, 1:] @ np.linalg.eigh((r * (weights * t[:, axis])[:, None]).T @ r)[1]
        frames.append((int(axis), factor @ basis))
    return mean, frames


class _Walker:
    """One way along one latent: the conditional moments of the rest at the steps so far."""

    def __init__(self, mean: Array, frame: Array, side: float) -> None:
        rest = len(mean) - 1
        self.mean, self.frame, self.side = mean, frame, side
        self.steps: list[float] = []
        self.centres: list[Array] = []
        self.covariances: list[Array] = []
        self.log_marginal: list[float] = []
        self.centre, self.covariance = np.zeros(rest), np.eye(rest)
        self.sizes: list[float] = []
        self._value = -math.inf
        self._ess = 0.0

    def predict(self, t: float) -> None:
        """Carry on the mean and the log variances of the last two steps."""
        if len(self.steps) > 1:
            ratio = (t - self.steps[-1]) / (self.steps[-1] - self.steps[-2])
            change = np.log(np.diag(self.covariances[-1]) / np.diag(self.covariances[-2]))
            scale = np.exp(0.5 * np.clip(ratio * change, -4.0, 1.0))
            self.centre = self.centres[-1] + ratio * (self.centres[-1] - self.centres[-2])
            self.covariance = self.covariances[-1] * np.outer(scale, scale)
        self.steps.append(t)
        self._value = -math.inf

    def propose(self, n: int, rng: np.random.Generator) -> Array:
        """Draws (n, D) with t at this step."""
        half = rng.standard_normal((n // 2, len(self.centre)))
        self._z = np.concatenate([half, -half])
        self._factor = 1.05 * np.linalg.cholesky(self.covariance)
        self._r = self.centre + self._z @ self._factor.T
        t = np.full((n, 1), self.side * self.steps[-1])
        return self.mean + np.concatenate([t, self._r], axis=1) @ self.frame.T

    def learn(self, log_p: Array) -> bool:
        """Take the marginal density from the ratios and the moments from the weights; True if that was enough."""
        log_ratios = log_p - _log_normal(self._z) + _log_det(self._factor)
        self._value = _log_mean(log_ratios)
        n, rest = self._r.shape
        if self._value == -math.inf or rest == 0:
            return True
        ess = float(effective_sample_size(log_ratios))
        self._ess = ess
        log_weights, size = _temper(log_ratios, max(15.0, float(rest)))
        if size >= 5.0:
            weights = np.exp(log_weights)
            shift = weights @ self._r - self.centre
            spread = self._r - self.centre - shift
            scatter = (spread * weights[:, None]).T @ spread
            self.centre = self.centre + size / (size + 4.0) * shift
            self.covariance = _pooled(scatter, size, self.covariance)
        fallen = len(self.log_marginal) > 0 and self._value < max(self.log_marginal) - 15.0
        return ess > 0.2 * n or fallen

    def settle(self) -> None:
        """Keep what this step has come to."""
        self.log_marginal.append(self._value)
        self.sizes.append(self._ess if len(self.centre) else math.inf)
        self.centres.append(self.centre)
        self.covariances.append(self.covariance)


def _pooled(scatter: Array, size: float, prior: Array) -> Array:
    """A covariance from few draws: variances pooled with the prior's lightly, correlations strongly."""
    rest = len(scatter)
    before, seen = np.sqrt(np.diag(prior)), np.sqrt(np.diag(scatter))
    sd = np.sqrt((size * np.square(seen) + 6.0 * np.square(before)) / (size + 6.0))
    weight = 2.0 * rest + 10.0
    correlation = size * scatter / np.outer(seen, seen) + weight * prior / np.outer(before, before)
    return correlation / (size + weight) * np.outer(sd, sd)


def _profile(axis: int, frame: Array, mean: Array, up: _Walker, down: _Walker) -> _Profile | None:
    """Join both ways into one table and one proposal."""
    knots = np.concatenate([-_STEPS[:0:-1], _STEPS])
    first = float(np.logaddexp(up.log_marginal[0], down.log_marginal[0])) - math.log(2.0)
    log_f = np.array([*down.log_marginal[:0:-1], first, *up.log_marginal[1:]])
    if not np.isfinite(first):
        return None
    log_f = np.maximum(log_f - log_f.max(), -60.0)
    centres = np.stack([*down.centres[:0:-1], 0.5 * (up.centres[0] + down.centres[0]), *up.centres[1:]])
    middle = 0.5 * (up.covariances[0] + down.covariances[0])
    covariances = np.stack([*down.covariances[:0:-1], middle, *up.covariances[1:]])
    edges = np.linspace(knots[0], knots[-1], _CELLS + 1)
    # a power of 0.8 keeps the proposal wider than the marginal
    marginal = 0.8 * np.interp(0.5 * (edges[1:] + edges[:-1]), knots, log_f)
    marginal -= log_sum_exp(marginal[None])[0] + math.log(edges[1] - edges[0])
    factors = 1.05 * np.linalg.cholesky(covariances)
    proposal = Sliced(mean, frame, knots, centres, factors, edges, marginal)
    lost = any(_lost(np.array(w.log_marginal), np.array(w.sizes)) for w in (up, down))
    return _Profile(axis, float(mean[axis]), abs(float(frame[axis, 0])), log_f, lost, proposal)


def _lost(log_f: Array, sizes: Array) -> bool:
    """Whether a step that may matter for the variance was left with fewer than ten effective draws."""
    log_f = np.maximum(log_f - log_f.max(), -60.0)
    carried_on = np.concatenate([log_f[:2], 2.0 * log_f[1:-1] - log_f[:-2]])
    matters = np.maximum(log_f, carried_on) + 2.0 * np.log(np.maximum(_STEPS, 1.0)) > -4.0
    return bool((matters & (sizes < LEAST)).any())


# ------------------------------------------------------------------------------------------- fitting the mixture


def _refit(
    pool: _Pool, profiles: list[_Profile], modes: list[Gaussian], rng: np.random.Generator, draws: int = 3000
) -> Mixture:
    """Gaussian components fitted to the weighted draws, and a share of 0.3 for those that look further."""
    dim = pool.u.shape[1]
    weights, ess = pool.weights()
    if ess > 20.0 * dim:
        weights = _flattened(pool.u, weights)
        ess = min(ess, 1.0 / float(weights @ weights))
    chosen = np.searchsorted(np.cumsum(weights), (np.arange(draws) + rng.random()) / draws)
    x = pool.u[np.minimum(chosen, len(weights) - 1)]
    mean = x.mean(axis=0)
    scatter = (x - mean).T @ (x - mean) / draws
    share = (dim + 2.0) / (ess + dim + 2.0)
    factor = np.linalg.cholesky((1.0 - share) * scatter + share * np.diag(np.diag(scatter)))
    parts, shares = fit_mixture(x, int(np.clip(ess // (5 * dim + 50), 1, 8)), mean, factor, ess)
    far: list[Proposal] = [Stretched.along_axes(mean, factor), StudentT(mean, factor, 5.0)]
    far += [p.proposal for p in profiles]
    far_shares = np.array([0.1, 0.05] + [0.15 / len(profiles) for _ in profiles])
    far_shares *= 0.3 / far_shares.sum()
    near_shares = np.concatenate([shares, np.full(len(modes), 0.1)])
    weights = np.concatenate([0.7 * near_shares / near_shares.sum(), far_shares])
    return Mixture((*parts, *modes, *far), weights)


def _flattened(u: Array, weights: Array, power: float = 0.25, most: int = 3) -> Array:
    """Weights of a target that is flatter along the latents with the longest tails, so that these are explored."""
    mean = weights @ u
    z = (u - mean) / np.sqrt(weights @ np.square(u - mean))
    length = np.square(weights @ z**3) + np.abs(weights @ z**4 - 3.0) / 4.0
    seen = weights > 1e-9
    flat = weights
    for axis in np.argsort(-length)[:most]:
        if length[axis] < 0.1:
            break
        t = z[:, axis]
        edges = np.linspace(t[seen].min(), t[seen].max(), 61)
        density = np.histogram(t, edges, weights=weights)[0]
        kernel = np.array([1.0, 2.0, 3.0, 4.0, 3.0, 2.0, 1.0]) / 16.0
        density = np.convolve(np.pad(density, 3, mode="edge"), kernel, mode="valid")
        relative = np.interp(t, 0.5 * (edges[1:] + edges[:-1]), density) / density.max()
        flat = flat * np.maximum(relative, 1e-8) ** -power
    return flat / flat.sum()


def fit_mixture(
    x: Array, count: int, mean: Array, factor: Array, ess: float, steps: int = 15
) -> tuple[list[Proposal], Array]:
    """Gaussian components and shares by expectation maximisation, from slices across the most skewed direction.

    Covariances (n, D, D) are shrunk towards half of the overall one with the weight of D + 2 draws out of ``ess``, and
    widened by 1.07, since a proposal should be wider than its target.
    """
    n, dim = x.shape
    if count == 1:
        return [Gaussian(mean, 1.1 * factor)], np.ones(1)
    e = whiten(x, mean, factor)
    level = np.empty(n)
    level[np.argsort(e @ _skewed_direction(e))] = (np.arange(n) + 0.5) / n
    log_r = -0.5 * np.square((level - (np.arange(count)[:, None] + 0.5) / count) * count / 0.7)  # (K, n)
    prior = dim + 2.0
    for _ in range(steps):
        r = np.exp(log_r - log_sum_exp(log_r.T)) / n
        shares = r.sum(axis=1) + 1e-12
        means = (r @ e) / shares[:, None]
        centred = e - means[:, None]
        scatter = np.matmul((centred * r[:, :, None]).transpose(0, 2, 1), centred)
        scatter = (ess * scatter + 0.5 * prior * np.eye(dim)) / (ess * shares[:, None, None] + prior)
        factors = np.linalg.cholesky(scatter)
        y = np.matmul(centred, np.linalg.inv(factors).transpose(0, 2, 1))
        scale = np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(axis=1)
        log_r = -0.5 * np.einsum("knd,knd->kn", y, y) + (np.log(shares) - scale)[:, None]
    return [Gaussian(mean + factor @ m, 1.07 * factor @ f) for m, f in zip(means, factors, strict=True)], shares


def _skewed_direction(e: Array) -> Array:
    """Unit direction (D,) of the most third-order structure of whitened draws: skewness, funnels, bends."""
    dim = e.shape[1]
    if dim > LARGEST_WALKED_DIM:
        third = e.T @ np.square(e)
    else:
        third = e.T @ (e[:, :, None] * e[:, None, :]).reshape(len(e), dim * dim)
    return np.linalg.svd(third, full_matrices=False)[0][:, 0]


# -------------------------------------------------------------------------------------------------------- checks


def _result(
    pool: _Pool, log_ratios: Array, proposal: Mixture, profiles: list[_Profile], initial_khat: float, rounds: int,
    wanted: float,
) -> ImportanceResult:
    """Moments of the last round with their errors, and the checks."""
    u = pool.u[-len(log_ratios) :]
    log_weights, khat = psis(log_ratios)
    weights = np.exp(log_weights)
    ess = float(effective_sample_size(log_weights))
    if ess == 0.0:
        weights = np.full(len(u), 1.0 / len(u))
    mean = weights @ u
    sd = np.sqrt(weights @ np.square(u - mean))
    square = np.square((u - mean) / sd)
    mean_error = np.sqrt(np.square(weights) @ square)
    sd_error = 0.5 * np.sqrt(np.square(weights) @ np.square(square - 1.0))
    tail_khat = np.asarray(pareto_shape(weights[:, None] * square))
    heavy = tail_khat > LARGEST_TAIL_KHAT
    gaps = []
    lost = False
    for profile in profiles:
        walked_mean, walked_sd, beyond = profile.moments()
        i = profile.axis
        heavy[i] |= beyond > LARGEST_REMAINDER
        lost = lost or profile.lost
        gaps.append((i, float((walked_mean - mean[i]) / sd[i]), float(walked_sd / sd[i] - 1.0)))
    ratios = np.exp(log_ratios - max(float(log_ratios.max()), -1e300))
    spread = float(ratios.std() / ratios.mean()) if ratios.any() else math.inf
    multimodal = _lumps(u, weights, proposal)
    problems = _problems(float(khat), ess, wanted, mean_error, sd_error, heavy, gaps, multimodal)
    if lost:
        problems.append("lost")
    if u.shape[1] > LARGEST_WALKED_DIM:
        problems.append(f"more than {LARGEST_WALKED_DIM} latents: their tails were not walked")
    far = [isinstance(c, Stretched) for c in proposal.components]
    return ImportanceResult(
        draws=u,
        log_weights=log_weights,
        khat=float(khat),
        initial_khat=initial_khat,
        ess=ess,
        log_evidence=_log_mean(log_ratios),
        log_evidence_se=spread / math.sqrt(len(u)),
        mean=mean,
        sd=sd,
        mean_error=mean_error,
        sd_error=sd_error,
        tail_khat=tail_khat,
        heavy_tails=heavy,
        tail_mass=_share(u, weights, proposal, far),
        profile_gap=tuple(gaps),
        multimodal=multimodal,
        rounds=rounds,
        evaluations=pool.evaluations,
        proposal=proposal,
        problems=tuple(problems),
    )


def _problems(
    khat: float, ess: float, wanted: float, mean_error: Array, sd_error: Array, heavy: Array,
    gaps: list[tuple[int, float, float]], multimodal: bool,
) -> list[str]:
    """The checks that fail, a clause each."""
    found = []
    if khat > LARGEST_KHAT:
        found.append(f"k-hat is {khat:.2f}")
    if ess < 0.5 * wanted:
        found.append(f"the effective sample size is {ess:.0f} of {wanted:.0f}")
    for what, error in (("mean", mean_error), ("sd", sd_error)):
        if not error.max() <= LARGEST_ERROR:
            found.append(f"the standard error of a {what} is {error.max():.3f} (latent {int(error.argmax())})")
    if heavy.any():
        found.append(f"tails too heavy to measure the sd (latent {', '.join(map(str, np.flatnonzero(heavy)))})")
    for axis, shift, change in gaps:
        if not max(abs(shift), abs(change)) <= LARGEST_GAP:
            found.append(f"the walked marginal differs by {shift:.2f} sd and {change:.0%} in sd (latent {axis})")
    if multimodal:
        found.append("there is more than one mode")
    return found


def _share(u: Array, weights: Array, proposal: Mixture, chosen: list[bool]) -> float:
    """Share of the mass that some components of the proposal account for."""
    log_q = proposal.log_density(u)
    total = proposal.weights.sum()
    picked = [(c, w) for c, w, yes in zip(proposal.components, proposal.weights, chosen, strict=True) if yes]
    return float(sum(weights @ np.exp(c.log_density(u) - log_q) * w / total for c, w in picked))


def _lumps(u: Array, weights: Array, proposal: Mixture) -> bool:
    """Whether the weighted draws fall into two lumps with a valley between, along the line of two components."""
    parts = [c for c in proposal.components if isinstance(c, Gaussian)]
    for i, one in enumerate(parts):
        for other in parts[:i]:
            apart = one.mean - other.mean
            direction = np.linalg.solve(one.factor @ one.factor.T + other.factor @ other.factor.T, apart)
            if direction @ apart < 4.0:
                continue
            t = (u - other.mean) @ direction / (apart @ direction)
            height = np.histogram(t, np.linspace(-0.5, 1.5, 41), weights=weights)[0]
            height = np.convolve(height, np.ones(3) / 3.0, mode="same")
            left, right = int(height[:20].argmax()), 20 + int(height[20:].argmax())
            lower = min(height[left], height[right])
            if lower > 0.002 and height[left : right + 1].min() < 0.4 * lower:
                return True
    return False


# -------------------------------------------------------------------------------------------------- small helpers


def balanced_normal(n: int, dim: int, rng: np.random.Generator) -> Array:
    """Standard normal draws (n, D) in antithetic pairs, whitened where there are enough of them."""
    half = rng.standard_normal(((n + 1) // 2, dim))
    if len(half) >= 4 * dim:
        half = half @ np.linalg.inv(np.linalg.cholesky(half.T @ half / len(half))).T
    return np.concatenate([half, -half])[:n]


def whiten(u: Array, mean: Array, factor: Array) -> Array:
    """Coordinates e (n, D) with ``u = mean + factor e``."""
    return (u - mean) @ np.linalg.inv(factor).T


def log_sum_exp(a: Array) -> Array:
    """Log of the sum of exp(a) over the last axis; rows of ``-inf`` stay ``-inf``."""
    top = a.max(axis=-1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return np.log(np.exp(a - top).sum(axis=-1)) + top[..., 0]


def _log_mean(log_values: Array) -> float:
    return float(log_sum_exp(log_values[None])[0]) - math.log(len(log_values))


def _temper(log_weights: Array, wanted: float) -> tuple[Array, float]:
    """Raise the weights to the power b <= 1 at which their effective size reaches what is wanted; normalised."""
    ess = float(effective_sample_size(log_weights))
    if ess < wanted:
        low, high = 0.0, 1.0
        finite = np.where(log_weights > -np.inf, log_weights, 0.0)
        for _ in range(12):
            middle = 0.5 * (low + high)
            tried = np.where(log_weights > -np.inf, middle * finite, -np.inf)
            low, high = (low, middle) if effective_sample_size(tried) < wanted else (middle, high)
        log_weights = np.where(log_weights > -np.inf, low * finite, -np.inf)
    total = float(log_sum_exp(log_weights[None])[0])
    if total == -math.inf:
        return np.full(len(log_weights), -math.log(len(log_weights))), 0.0
    return log_weights - total, float(effective_sample_size(log_weights))


def _unit_rows(factor: Array) -> Array:
    return factor / np.linalg.norm(factor, axis=1, keepdims=True)


def _log_normal(e: Array) -> Array:
    return -0.5 * np.square(e).sum(axis=1) - 0.5 * e.shape[1] * LOG_2PI


def _log_det(factor: Array) -> float:
    """Log determinant of a triangular factor."""
    return float(np.log(np.diag(factor)).sum())
