"""Importance sampling: carries a Gaussian approximation to the target, and says how far the result can be trusted."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from scipy.special import gammaln

from .psis import effective_sample_size, pareto_shape, psis

Array = np.ndarray
Values = Callable[[Array], Array]

LOG_2PI = math.log(2.0 * math.pi)


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
    df: float
    scale: float

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
        constant = gammaln(0.5 * (df + 1)) - gammaln(0.5 * df) - 0.5 * math.log(df * math.pi) - math.log(scale)
        stretched = constant - 0.5 * (df + 1) * np.log1p(np.square(along / scale) / df)
        ratio = stretched + 0.5 * np.square(along) + 0.5 * LOG_2PI
        return _log_normal(e) - _log_det(self.factor) + log_sum_exp(ratio) - math.log(len(self.directions))


@dataclass(frozen=True, eq=False)
class Mixture:
    """A mixture of proposals; its draws take each component in its exact share, in random order."""

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


@dataclass(frozen=True, eq=False)
class ImportanceResult:
    """Weighted draws from the target with what is known of their accuracy; errors are one standard error."""

    draws: Array  # (S, D)
    log_weights: Array  # (S,) smoothed and normalised
    khat: float  # of these weights
    initial_khat: float  # of the Gaussian that was to be corrected
    ess: float
    log_evidence: float
    log_evidence_se: float
    mean: Array  # (D,)
    sd: Array  # (D,)
    mean_error: Array  # (D,) in posterior sds
    sd_error: Array  # (D,) relative
    heavy_tails: Array  # (D,) bool: the second moment's estimate has no finite variance
    tail_mass: float  # share of the weight far outside the Gaussian
    multimodal: bool
    rounds: int
    evaluations: int
    proposal: Proposal
    problems: tuple[str, ...] = field(default=())

    @property
    def reliable(self) -> bool:
        """Whether every check passed."""
        return not self.problems


def correct(
    values: Values,
    mean: Array,
    covariance: Array,
    rng: np.random.Generator,
    *,
    effective_size: float = 2000.0,
    max_evaluations: int = 40_000,
) -> ImportanceResult:
    """Carry N(mean, covariance) to the target by adaptive importance sampling.

    Rounds of draws from a mixture proposal, each fitted to the weighted draws so far (adaptive multiple importance
    sampling, Cornuet et al. 2012), until the proposal is good enough for the last, fresh round to reach
    ``effective_size``; that last round alone is the result.

    Parameters
    ----------
    values : callable (S, D) -> (S,)
        Log density of the target up to a constant; ``-inf`` where it is zero or not a number.
    mean, covariance : (D,), (D, D)
        The Gaussian to start from.
    rng : Generator
    effective_size : float
        Effective sample size to reach.
    max_evaluations : int
        Evaluations of ``values``, counted per draw, that may be used.
    """
    mean = np.array(mean, dtype=float)
    covariance = np.array(covariance, dtype=float)
    dim = len(mean)
    pilot = int(min(1000 + 50 * dim, max_evaluations / 4))
    pool = _Pool(dim)
    factor = np.linalg.cholesky(covariance)
    proposal: Proposal = _defended([Gaussian(mean, factor)], np.ones(1), mean, factor, 0.2)
    initial_khat = math.inf
    efficiency, best = 0.0, proposal
    rounds = 0
    for rounds in range(1, 9):
        u = proposal.sample(pilot, rng)
        log_p = values(u)
        log_q = proposal.log_density(u)
        if rounds == 1:
            plain = Gaussian(mean, factor)
            initial_khat = _gaussian_khat(u, log_p, log_q, plain)
        pool.add(u, log_p, proposal)
        fresh = effective_sample_size(log_p - log_q) / pilot
        if fresh > efficiency:
            efficiency, best = fresh, proposal
        elif rounds > 3 and fresh < 1.1 * efficiency:
            break
        if efficiency > 0.6:
            break
        proposal = _refit(pool, mean, factor)
    left = max_evaluations - pool.size
    size = int(min(max(1.2 * effective_size / max(efficiency, 1e-3), 2000), left))
    u = best.sample(size, rng)
    log_p = values(u)
    return _summarise(u, log_p, best, initial_khat, rounds, pool.size + size, effective_size)


def _summarise(
    u: Array, log_p: Array, proposal: Proposal, initial_khat: float, rounds: int, evaluations: int, wanted: float
) -> ImportanceResult:
    """Moments, their errors, and the checks."""
    log_ratios = log_p - proposal.log_density(u)
    log_weights, khat = psis(log_ratios)
    ess = float(effective_sample_size(log_weights))
    w = np.exp(log_weights)
    mu = w @ u
    centred = u - mu
    var = w @ np.square(centred)
    sd = np.sqrt(var)
    standard = centred / sd
    mean_error = np.sqrt(np.square(w) @ np.square(standard))
    sd_error = 0.5 * np.sqrt(np.square(w) @ np.square(np.square(standard) - 1.0))
    shape = np.asarray(pareto_shape(w[:, None] * np.square(standard)))
    heavy = shape > 0.5
    size = len(u)
    shift = log_ratios.max()
    raw = np.exp(log_ratios - shift)
    log_evidence = float(shift + np.log(raw.mean()))
    evidence_se = float(raw.std() / raw.mean() / math.sqrt(size))
    problems = []
    if khat > 0.5:
        problems.append("khat")
    if ess < 0.5 * wanted:
        problems.append("ess")
    if mean_error.max() > 0.04:
        problems.append("mean error")
    if sd_error.max() > 0.04:
        problems.append("sd error")
    if heavy.any():
        problems.append("heavy tails")
    return ImportanceResult(
        u, log_weights, float(khat), initial_khat, ess, log_evidence, evidence_se, mu, sd, mean_error, sd_error,
        heavy, float("nan"), False, rounds, evaluations, proposal, tuple(problems),
    )


class _Pool:
    """All draws so far, weighted against the mixture of all proposals that they came from."""

    def __init__(self, dim: int) -> None:
        self.u = np.empty((0, dim))
        self.log_p = np.empty(0)
        self.proposals: list[Proposal] = []
        self.counts: list[int] = []

    @property
    def size(self) -> int:
        return len(self.log_p)

    def add(self, u: Array, log_p: Array, proposal: Proposal) -> None:
        self.u = np.concatenate([self.u, u])
        self.log_p = np.concatenate([self.log_p, log_p])
        self.proposals.append(proposal)
        self.counts.append(len(u))

    def log_ratios(self) -> Array:
        return self.log_p - Mixture(tuple(self.proposals), np.array(self.counts, dtype=float)).log_density(self.u)


def _refit(pool: _Pool, mean: Array, factor: Array) -> Proposal:
    """A mixture proposal fitted to the weighted draws, tempered where few of them carry the weight."""
    dim = pool.u.shape[1]
    log_w = psis(pool.log_ratios())[0]
    log_w, ess = _temper(log_w, 8.0 * dim + 100.0)
    w = np.exp(log_w)
    mu, cov = _moments(pool.u, w)
    overall = np.linalg.cholesky(_shrunk(cov, ess, dim, np.diag(np.diag(cov))))
    count = int(min(4, ess // (4 * dim + 50)))
    if count < 2:
        return _defended([Gaussian(mu, overall), StudentT(mu, overall, 5.0)], np.array([0.6, 0.4]), mu, overall, 0.25)
    parts, shares = fit_mixture(pool.u, w, count, mu, overall, ess)
    return _defended(parts, shares, mu, overall, 0.2)


def fit_mixture(
    u: Array, w: Array, count: int, mean: Array, factor: Array, ess: float
) -> tuple[list[Proposal], Array]:
    """Gaussian components by expectation maximisation from slices across the most skewed direction."""
    dim = u.shape[1]
    e = whiten(u, mean, factor)
    axis = e @ skewed_direction(e, w)
    order = np.argsort(axis)
    level = np.empty(len(axis))
    level[order] = np.cumsum(w[order])
    centres = (np.arange(count) + 0.5) / count
    log_r = -0.5 * np.square((level[:, None] - centres) * count / 0.7)
    prior = dim + 2.0
    for _ in range(8):
        r = np.exp(log_r - log_sum_exp(log_r)[:, None]) * w[:, None]
        shares = r.sum(axis=0)
        factors, means = [], []
        for k in range(count):
            m, c = _moments(e, r[:, k] / shares[k])
            n = ess * shares[k]
            c = (n * c + prior * np.eye(dim) * 0.5) / (n + prior)
            means.append(m)
            factors.append(np.linalg.cholesky(c))
        log_r = np.stack([Gaussian(m, f).log_density(e) for m, f in zip(means, factors, strict=True)], axis=1)
        log_r += np.log(shares)
    parts: list[Proposal] = [
        Gaussian(mean + factor @ m, factor @ (1.1 * f)) for m, f in zip(means, factors, strict=True)
    ]
    return parts, shares


def skewed_direction(e: Array, w: Array) -> Array:
    """Unit direction (D,) of the most third-order structure of whitened weighted draws (skewness, funnels, bends)."""
    dim = e.shape[1]
    pairs = (e[:, :, None] * e[:, None, :]).reshape(len(e), dim * dim)
    third = (e * w[:, None]).T @ pairs
    return np.linalg.svd(third, full_matrices=False)[0][:, 0]


def _defended(parts: Sequence[Proposal], shares: Array, mean: Array, factor: Array, share: float) -> Mixture:
    rows = factor / np.linalg.norm(factor, axis=1, keepdims=True)
    directions = np.concatenate([rows, np.linalg.svd(factor)[2]]) if len(mean) > 1 else rows
    probe = Stretched(mean, factor, directions, 4.0, 1.7)
    return Mixture((*parts, probe), np.append((1.0 - share) * shares / np.sum(shares), share))


def _gaussian_khat(u: Array, log_p: Array, log_q: Array, plain: Gaussian) -> float:
    """k-hat of the plain Gaussian from draws of the mixture that holds it, thinned to its own density."""
    return float(psis(log_p - plain.log_density(u))[1])


def _temper(log_w: Array, wanted: float) -> tuple[Array, float]:
    """Flatten the weights to the power b <= 1 at which their effective size reaches what is wanted."""
    ess = float(effective_sample_size(log_w))
    low, high = 0.0, 1.0
    if ess < wanted:
        for _ in range(20):
            middle = 0.5 * (low + high)
            if effective_sample_size(middle * log_w) < wanted:
                high = middle
            else:
                low = middle
        log_w = low * log_w
    log_w = log_w - log_sum_exp(log_w[None, :])[0]
    return log_w, float(effective_sample_size(log_w))


def _moments(u: Array, w: Array) -> tuple[Array, Array]:
    mu = w @ u
    c = u - mu
    return mu, (c * w[:, None]).T @ c


def _shrunk(cov: Array, ess: float, dim: int, towards: Array) -> Array:
    share = (dim + 2.0) / (ess + dim + 2.0)
    return (1.0 - share) * cov + share * towards


def balanced_normal(n: int, dim: int, rng: np.random.Generator) -> Array:
    """Standard normal draws (n, D) in antithetic pairs, whitened where there are enough, in random order."""
    half = rng.standard_normal(((n + 1) // 2, dim))
    if len(half) >= 4 * dim:
        half = np.linalg.solve(np.linalg.cholesky(half.T @ half / len(half)), half.T).T
    return np.concatenate([half, -half])[:n]


def whiten(u: Array, mean: Array, factor: Array) -> Array:
    """Coordinates e (n, D) with u = mean + factor e."""
    return (u - mean) @ np.linalg.inv(factor).T


def log_sum_exp(a: Array) -> Array:
    """log(sum(exp(a))) over the last axis; -inf rows stay -inf."""
    top = a.max(axis=-1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return np.log(np.exp(a - top).sum(axis=-1)) + top[..., 0]


def _log_normal(e: Array) -> Array:
    return -0.5 * np.square(e).sum(axis=1) - 0.5 * e.shape[1] * LOG_2PI


def _log_det(factor: Array) -> float:
    return float(np.log(np.abs(np.diag(factor))).sum())
