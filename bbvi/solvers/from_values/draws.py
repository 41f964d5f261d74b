"""Weighted draws of a surrogate, the errors of what follows from them, and where to evaluate next.

None of this calls the log joint. Draws are those of adaptive importance sampling (Cornuet, Marin, Mira and Robert 2012)
from Student-t distributions that are fitted to the draws before. The error of an expectation follows from the
covariance of the surrogate between the draws, to first order: with s = log p + d, the change of E[f] is Cov(f, d).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import gammaln

from bbvi.solvers.from_values.process import Process, full_radius

Array = np.ndarray


@dataclass(frozen=True)
class DrawPolicy:
    """How a surrogate is sampled, and what is asked for next.

    Attributes
    ----------
    size, size_per_latent, rounds : int
        Draws of a round, and rounds.
    wider : float
        Factor by which proposals are wider than the draws that they are fitted to.
    lumps, excess, high, aside : int, float, float, float
        Places that get draws of their own, the most; the nats by which a value there exceeds a standard normal's; the
        nats that it may be below the best; and the width of these draws.
    reach, inner, apart : float
        In radii that all but the last draws of a standard normal are within: where the surrogate is not asked anymore,
        where it is asked at any rate, and how near a value has to be in between.
    outer, outer_share : int, float
        Draws of a batch that are taken from beyond all values in what is reported, where so much of a variance is.
    candidates : int
        Draws among which the next batch is chosen.
    flatter : float
        Power of the weights with which candidates are taken: wider than the posterior, since its tails decide its sds.
    in_tails : float
        Share of the candidates that are taken by their influence on means and sds of what is reported.
    by_chance : float
        Share of a batch that is taken from the candidates as they come.
    growth : float
        Size of a batch, as a share of the values that there are.
    largest : int
        Of a batch.
    judged : int
        Draws by which the errors are judged.
    effective, effective_per_latent : float
        Effective draws below which they are too few.
    endless : float
        Times that a latent's sd is that given all others, or what it was before, beyond which a posterior counts as
        improper: squared, it is most of the digits that a covariance has.
    """

    size: int = 384
    size_per_latent: int = 64
    rounds: int = 3
    wider: float = 1.1
    lumps: int = 3
    excess: float = 3.0
    high: float = 8.0
    aside: float = 0.8
    reach: float = 2.0
    inner: float = 0.8
    apart: float = 0.7
    outer: int = 2
    outer_share: float = 0.01
    candidates: int = 300
    flatter: float = 0.7
    in_tails: float = 0.4
    by_chance: float = 0.5
    growth: float = 0.1
    largest: int = 100
    judged: int = 400
    effective: float = 30.0
    effective_per_latent: float = 5.0
    endless: float = 1e6


POLICY = DrawPolicy()


class Weighted(NamedTuple):
    """Draws e (S, D) in a frame's coordinates, normalised weights (S,), and the surrogate's log density (S,)."""

    e: Array
    weights: Array
    log_density: Array

    @property
    def effective(self) -> float:
        """Kish's effective number of draws."""
        return float(1.0 / np.sum(self.weights**2))

    @property
    def enough(self) -> bool:
        """Whether so many count that their moments mean something."""
        return bool(self.effective > POLICY.effective + POLICY.effective_per_latent * self.e.shape[1])

    def moments(self) -> tuple[Array, Array]:
        """Mean (D,) and covariance (D, D); of a flatter distribution where too few draws count."""
        weights = _flattened(self.weights, POLICY.effective + POLICY.effective_per_latent * self.e.shape[1])
        mean = weights @ self.e
        centred = self.e - mean
        return mean, (centred * weights[:, None]).T @ centred

    def endless(self, factor: Array) -> bool:
        """Whether a direction is so much wider than another, of a frame with this factor, that it has no end.

        No covariance holds both then.
        """
        widest = np.sqrt(np.diag(self.moments()[1]).max())
        conditional = 1 / np.linalg.norm(solve_triangular(factor, np.eye(len(factor)), lower=True), axis=0)
        return bool(widest * max(1.0, np.max(np.linalg.norm(factor, axis=1) / conditional)) > POLICY.endless)


def drawn(process: Process, start: Array, rng: np.random.Generator, policy: DrawPolicy = POLICY) -> Weighted:
    """Weighted draws of exp(surrogate), begun around `start` (D,) and wherever values are higher than that explains."""
    dim = len(start)
    size, df = policy.size + policy.size_per_latent * dim, 5.0 + 2.0 * dim
    asides = [(place, policy.aside * np.eye(dim)) for place in lumps(process, policy)]
    proposals = [(start, policy.wider * np.eye(dim)), *asides]
    counts = [size, *len(asides) * [size // 4]]
    e = np.concatenate([_student(*one, df, count, rng) for one, count in zip(proposals, counts, strict=True)])
    log_p = where_known(process, e, policy=policy)
    for left in reversed(range(policy.rounds)):
        shares = np.log(np.array(counts) / np.sum(counts))
        log_q = np.logaddexp.reduce(
            [share + _log_student(e, *one, df) for share, one in zip(shares, proposals, strict=True)], axis=0
        )
        weighted = Weighted(e, _normalised(log_p - log_q), log_p)
        if not left:
            break
        mean, covariance = weighted.moments()
        try:
            factor = np.linalg.cholesky(covariance + 1e-6 * np.trace(covariance) / dim * np.eye(dim))
        except np.linalg.LinAlgError:
            # All weight is on one draw, or they lie further out than numbers go: no proposal follows from them.
            break
        proposals.append((mean, policy.wider * factor))
        counts.append(size)
        fresh = _student(*proposals[-1], df, size, rng)
        e, log_p = np.concatenate([e, fresh]), np.concatenate([log_p, where_known(process, fresh, policy=policy)])
    return weighted


def lumps(process: Process, policy: DrawPolicy = POLICY) -> list[Array]:
    """Places (D,) of values that are far higher than they were if the posterior were the frame's standard normal."""
    excess = process.values - process.top + 0.5 * np.einsum("nd,nd->n", process.points, process.points)
    excess = np.where(process.values < process.top - policy.high, 0.0, excess)
    found: list[Array] = []
    while len(found) < policy.lumps and excess.max(initial=0.0) > policy.excess:
        found.append(process.points[np.argmax(excess)])
        excess = np.where(np.linalg.norm(process.points - found[-1], axis=1) < full_radius(len(found[-1])), 0.0, excess)
    return found


def where_known(process: Process, e: Array, most: float = np.inf, policy: DrawPolicy = POLICY) -> Array:
    """The surrogate's log density (S,) at e (S, D), and minus infinity where it knows nothing.

    That is where no value is near, or, far out, where its own sd is above `most` nats.
    """
    full = full_radius(e.shape[1])
    length = np.linalg.norm(e, axis=1)
    known = length < policy.reach * full
    doubtful = np.flatnonzero(known & (length > policy.inner * full))
    square = length[doubtful, None] ** 2 + np.sum(process.points**2, axis=1) - 2 * e[doubtful] @ process.points.T
    known[doubtful] = square.min(axis=1, initial=np.inf) < (policy.apart * full) ** 2
    if np.isfinite(most):
        doubtful = doubtful[known[doubtful]]
        known[doubtful] = process.variance(e[doubtful]) < most**2
    found = np.full(len(e), -np.inf)
    found[known] = process.mean(e[known])
    return found


def beyond(seen: Array, columns: Array, weights: Array) -> Array:
    """Shares (R,) of the variances of columns (S, R) that lie further out than anything that was seen (M, R)."""
    standard, outside = standardized(columns, weights), _outside(seen, columns, weights)
    return np.asarray(weights @ np.where(outside, standard**2, 0.0))


def outer_rows(seen: Array, columns: Array, weights: Array, rng: np.random.Generator, most: int, least: float) -> Array:
    """Rows of draws further out than anything that was seen, of the column in which most of the variance is there.

    None where that is less than the `least` share.
    """
    share = beyond(seen, columns, weights)
    worst = int(np.argmax(share))
    if not share[worst] > least:
        return np.empty(0, dtype=int)
    outside, standard = _outside(seen, columns, weights)[:, worst], standardized(columns, weights)[:, worst]
    pull = weights * np.where(outside, standard**2, 0.0)
    return np.unique(chosen_rows(pull, most, rng))


def _outside(seen: Array, columns: Array, weights: Array) -> Array:
    with np.errstate(all="ignore"):
        mean = weights @ np.where((weights > 0)[:, None], columns, 0.0)
        seen = np.where(np.isfinite(seen), seen, mean)
        return np.asarray((columns > seen.max(axis=0)) | (columns < seen.min(axis=0)))


def chosen_rows(weights: Array, count: int, rng: np.random.Generator) -> Array:
    """Rows by systematic resampling."""
    positions = (np.arange(count) + rng.random()) / count * weights.sum()
    return np.asarray(np.minimum(np.searchsorted(np.cumsum(weights), positions), len(weights) - 1))


def candidates(weighted: Weighted, columns: Array, rng: np.random.Generator, policy: DrawPolicy = POLICY) -> Array:
    """Draws (C, D) at which an evaluation may tell most: of a wider posterior, and by their influence on `columns`."""
    flat = weighted.weights**policy.flatter
    standard = standardized(columns, weighted.weights)
    pull = weighted.weights * np.max(np.abs(standard**2 - 1.0), axis=1, initial=0.0)
    shares = (1 - policy.in_tails) * flat / flat.sum() + policy.in_tails * pull / max(pull.sum(), 1e-300)
    return np.asarray(weighted.e[np.unique(chosen_rows(shares, policy.candidates, rng))])


def most_telling(process: Process, e: Array, count: int, first: int = 0) -> Array:
    """Rows of candidates e (C, D) that leave the least variance at the others, one after the other.

    Each is where the surrogate knows least given those before it (a pivoted Cholesky factorisation of its covariance);
    the `first` rows are taken in any case.
    """
    covariance = process.covariance(e)
    variance = np.diag(covariance).copy()
    noise, count = process.noise_sd**2, min(count, len(e))
    columns, rows = np.zeros((len(e), count)), np.zeros(count, dtype=int)
    for j in range(count):
        left = variance.copy()
        left[rows[:j]] = -1.0
        rows[j] = i = j if j < first else int(np.argmax(left))
        column = covariance[:, i] - columns[:, :j] @ columns[i, :j]
        columns[:, j] = column / np.sqrt(max(variance[i], 0.0) + noise)
        variance = np.maximum(variance - columns[:, j] ** 2, 0.0)
    return rows


def standardized(columns: Array, weights: Array) -> Array:
    """Columns (S, R) in their own sds from their means; zeros where they vary by rounding alone or are not finite."""
    with np.errstate(all="ignore"):
        columns = np.where((weights > 0)[:, None], columns, 0.0)
        mean = weights @ columns
        centred = columns - mean
        sd = np.sqrt(weights @ centred**2)
        return np.where(np.isfinite(sd) & (sd > 1e-13 * np.abs(mean)), centred / sd, 0.0)


class Errors(NamedTuple):
    """One standard error (R,) of means, in sds, and of sds, relative."""

    mean: Array
    sd: Array

    @property
    def worst(self) -> float:
        """The largest."""
        return float(max(self.mean.max(initial=0.0), self.sd.max(initial=0.0)))


def errors(process: Process, e: Array, standard: Array) -> Errors:
    """What the surrogate does not know of means and sds of standardized columns (M, R) at equally weighted e (M, D)."""
    covariance = process.covariance(e)
    influences = (standard, 0.5 * (standard**2 - np.mean(standard**2, axis=0)))
    of_mean, of_sd = (
        np.sqrt(np.maximum(np.einsum("mr,mr->r", f, covariance @ f), 0.0)) / len(e) for f in influences
    )
    return Errors(of_mean, of_sd)


def _student(mean: Array, factor: Array, df: float, count: int, rng: np.random.Generator) -> Array:
    """Draws (count, D), count even, in antithetic pairs."""
    half = rng.standard_normal((count // 2, len(mean))) * np.sqrt(df / rng.chisquare(df, size=(count // 2, 1)))
    return np.asarray(mean + np.concatenate([half, -half]) @ factor.T)


def _log_student(x: Array, mean: Array, factor: Array, df: float) -> Array:
    dim = len(mean)
    z = solve_triangular(factor, (x - mean).T, lower=True, check_finite=False)
    constant = gammaln(0.5 * (df + dim)) - gammaln(0.5 * df) - 0.5 * dim * np.log(df * np.pi)
    square = np.einsum("ds,ds->s", z, z)
    return np.asarray(constant - np.log(np.diag(factor)).sum() - 0.5 * (df + dim) * np.log1p(square / df))


def _normalised(log_weights: Array) -> Array:
    weights = np.exp(log_weights - log_weights.max())
    return np.asarray(weights / weights.sum())


def _flattened(weights: Array, wanted: float) -> Array:
    """Weights to a power at which so many of them count."""
    flat = weights
    for power in 0.8 ** np.arange(1, 14):
        if 1.0 / np.sum(flat**2) >= min(wanted, len(weights) / 3):
            break
        flat = weights**power
        flat = flat / flat.sum()
    return flat
