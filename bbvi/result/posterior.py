"""Weighted draws of one kind of approximation, and every figure that is reported from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtri

from bbvi.correction.chains.agreement import beyond_chance
from bbvi.correction.chains.draws import ChainErrors
from bbvi.correction.chains.policy import ChainPolicy
from bbvi.correction.few_valued import few_valued
from bbvi.correction.gaussian import GaussianKind, MeanErrors
from bbvi.correction.importance.weights import moments
from bbvi.correction.pool import Pool
from bbvi.correction.psis import UNUSABLE, effective_sample_size, pareto_shape, psis
from bbvi.model.model import Model, labels_of
from bbvi.notices import warn
from bbvi.target.target import Target

Array = np.ndarray

# Numbers of a block of rows: figures take several copies of it.
_BLOCK = 2**22
# Into so many chains draws of chains are laid out for ArviZ, which takes each for one.
_GROUPS = 4
_NODES, _NODE_WEIGHTS = np.polynomial.hermite_e.hermegauss(100)
_NODE_WEIGHTS = _NODE_WEIGHTS / _NODE_WEIGHTS.sum()


class Row(NamedTuple):
    """One row of the summary; `verdict` is that of the row alone, and `check` names what is in doubt."""

    label: str
    mean: float
    sd: float
    eti_lb: float
    eti_ub: float
    mcse_mean: float
    sd_mean_field: float
    verdict: str = ""
    check: str = ""


def compared(row: Row, best: Row) -> tuple[str, str]:
    """The verdict of a row if another's figures are right, with what differs: 0.1 sd and 10 %, or 0.5 sd and 50 %."""
    if not best.sd > 0:
        return "reliable", ""
    mean, sd = abs(row.mean - best.mean) / best.sd, abs(row.sd / best.sd - 1)
    for verdict, most in (("reliable", 0.1), ("caution", 0.5)):
        if mean <= most and sd <= most:
            return verdict, "" if verdict == "reliable" else "differs from the best"
    return "unreliable", "differs from the best"


class Closed(NamedTuple):
    """What is known in closed form of rows (R,), NaN elsewhere.

    `error` is what the error that the fit left in the Gaussian's mean leaves in the row's.
    """

    mean: Array
    variance: Array
    low: Array
    high: Array
    error: Array

    @property
    def known(self) -> Array:
        """Of which rows anything is known, (R,)."""
        return np.asarray(np.isfinite(self.mean) & np.isfinite(self.variance))


class Expectation(NamedTuple):
    """An expectation under the posterior and its standard error, in the units of the function."""

    value: Any
    se: Any


@dataclass(frozen=True)
class ExpectationPolicy:
    """When an expectation is told to be one that may not exist.

    Attributes
    ----------
    heavy : float
        Pareto shape of a tail of the function from which its variance does not exist; its mean does not from 1 on
        (Vehtari et al. 2024, section 2). Of 1,000 draws of Student's t with 1, 1.5, 2 and 3 degrees of freedom 100, 96,
        60 and 7 % are told, of exponentials of normals with sd 1 and 2, whose variances exist, 4 and 87 %.
    of_chains : float
        The same for draws of chains, which do not go as far out: as for the rows of a summary.
    """

    heavy: float = 0.5
    of_chains: float = ChainPolicy().heavy


@dataclass(frozen=True, eq=False)
class Posterior:
    """The draws of one kind of posterior (its `pool`), with the latents and derived quantities at them."""

    kind: str
    target: Target
    pool: Pool

    @property
    def u(self) -> Array:
        """Draws (S, D) on the unconstrained scale."""
        return self.pool.u

    @property
    def log_weights(self) -> Array:
        """Normalised log weights (S,)."""
        return self.pool.log_weights

    @cached_property
    def weights(self) -> Array:
        return np.asarray(np.exp(self.log_weights))

    @cached_property
    def latents(self) -> dict[str, Array]:
        """Draws by latent, constrained, (S, *shape)."""
        with np.errstate(all="ignore"):
            return {name: np.asarray(x) for name, x in self.target.constrain(self.u)[0].items()}

    @cached_property
    def derived(self) -> dict[str, Array]:
        """Draws of the derived quantities, (S, *shape)."""
        if "derived" not in self.target.model.functions:
            return {}
        return self.target.quantities("derived", self.u, weights=self.weights)

    def moments(self, x: Array) -> tuple[Array, Array, Array]:
        """Weighted mean, sd and standard error of the mean of columns x, (S, R) -> three times (R,)."""
        mean, sd, centred = moments(x, self.weights)
        # One column that is not finite would spoil the errors of all.
        usable = np.isfinite(sd)
        # In sds, so that squares do not overflow.
        scale = np.where(usable & (sd > 0), sd, 1.0)
        error = scale * self.pool.errors.standard_errors(self.weights, np.where(usable, centred, 0.0) / scale)
        return mean, sd, np.where(usable, error, np.nan)

    def rows(self, ci_prob: float, mean_field: Posterior | None = None) -> list[Row]:
        """Summary rows: latents in declaration order, C order within, then derived quantities."""
        tail = (1 - ci_prob) / 2
        exact = self._closed(tail)
        reference = self if mean_field is None else mean_field
        plain = np.sqrt(np.maximum(reference._variances(), 0.0))
        figures = np.stack([exact.mean, np.sqrt(exact.variance), exact.low, exact.high, exact.error])
        for rows, x in self._sampled(~exact.known):
            mean, sd, error = self.moments(x)
            low, high = weighted_quantiles(x, self.weights, np.array([tail, 1 - tail]))
            still = sd == 0
            figures[:, rows] = mean, *np.where(still, [0 * sd, mean, mean, 0 * sd], [sd, low, high, error])
            plain[rows] = np.where(still, 0.0, plain[rows])
        if isinstance(self.pool.errors, ChainErrors):
            figures[-1] = np.where(figures[1] == 0, 0.0, self.pool.errors.of_rows)
        table = np.concatenate([figures, plain[None]]).T.tolist()
        return [Row(label, *row) for label, row in zip(self.labels, table, strict=True)]

    @property
    def labels(self) -> list[str]:
        """Names of all rows (R)."""
        return _labels(self.target.model, self.derived)

    @property
    def columns(self) -> tuple[list[str], Array]:
        """Labels (R) and draws (S, R) of all rows."""
        return self.labels, _values(self.latents, self.derived)

    def _variances(self) -> Array:
        """Variances (R,), closed or sampled."""
        exact = self._closed(0.05)
        variance = exact.variance
        for rows, x in self._sampled(~exact.known):
            with np.errstate(over="ignore"):
                variance[rows] = self.moments(x)[1] ** 2
        return variance

    def _sampled(self, wanted: Array) -> Iterator[tuple[Array, Array]]:
        """The rows that are wanted (R,), a few at a time: their numbers, and the draws (S, r) of them."""
        start, width = 0, max(_BLOCK // len(self.u), 1)
        for part in (*self.latents.values(), *self.derived.values()):
            flat = np.asarray(part, dtype=float).reshape(len(part), -1)
            own = np.flatnonzero(wanted[start : start + flat.shape[1]])
            for first in range(0, len(own), width):
                some = own[first : first + width]
                yield start + some, flat[:, some]
            start += flat.shape[1]

    def _closed(self, tail: float) -> Closed:
        """What is known of latents whose transform acts on each coordinate, by Gauss-Hermite quadrature."""
        figures = Closed(*np.full((5, len(self.labels)), np.nan))
        normal, errors = self.pool.normal, self.pool.errors
        if normal is None:
            return figures
        mean_se = errors.mean_se if isinstance(errors, MeanErrors) else np.full(len(normal.mean), np.nan)
        start, sd = 0, normal.sd
        for name, latent in self.target.model.latents.items():
            size = int(np.prod(latent.shape))
            part, rows = self.target.model.slices[name], slice(start, start + size)
            if latent.transform.elementwise:
                m, s = normal.mean[part], sd[part]
                with np.errstate(all="ignore"):
                    grid = latent.transform.constrain(m + s * _NODES[:, None])[0].reshape(len(_NODES), -1)
                    ends = latent.transform.constrain(m + s * ndtri([[tail], [1 - tail]]))[0].reshape(2, -1)
                    mean = _NODE_WEIGHTS @ grid
                    figures.mean[rows], figures.variance[rows] = mean, _NODE_WEIGHTS @ (grid - mean) ** 2
                    figures.low[rows], figures.high[rows] = ends
                    # Stein's identity: the derivative of E f by m is E f (u - m) / s^2.
                    figures.error[rows] = np.abs((_NODE_WEIGHTS * _NODES) @ grid) / s * mean_se[part]
            start += size
        return figures

    def expect(self, values: Array) -> Expectation:
        """Expectation of a function from its values at the draws, (S, ...)."""
        x = np.asarray(values, dtype=float).reshape(len(self.u), -1)
        self._warn_of_tails(x)
        mean, sd, error = self.moments(x)
        if self.pool.normal is not None:
            # Quasi-random draws do better than this bound, but by how much is not known for this function.
            error = np.sqrt(error**2 + sd**2 / len(self.u))
        # What all draws say alike may be otherwise in one of so many.
        indicator = ((x == 0) | (x == 1)).all(axis=0)
        error = np.where(indicator, np.maximum(error, 1.0 / effective_sample_size(self.log_weights)), error)
        shape = np.shape(values)[1:]
        if not shape:
            return Expectation(float(mean[0]), float(error[0]))
        return Expectation(mean.reshape(shape), error.reshape(shape))


    def _warn_of_tails(self, x: Array, policy: ExpectationPolicy = ExpectationPolicy()) -> None:  # noqa: B008
        """Say so where columns (S, R) have tails so heavy that what their draws average to may be no mean."""
        width = max(_BLOCK // len(x), 1)
        blocks = [x[:, start : start + width] for start in range(0, x.shape[1], width)]
        shape = np.concatenate([self._tail_shapes(block) for block in blocks] or [np.empty(0)])
        most = policy.of_chains if self.pool.chains > 1 else policy.heavy
        heavy = int(np.sum(beyond_chance(shape, len(x)) > most)) if len(shape) else 0
        if heavy:
            which = "the function" if x.shape[1] == 1 else f"{heavy} of the {x.shape[1]} values of the function"
            warn(
                f"expect: the draws of {which} have tails so heavy (k-hat {shape.max():.2f}) that the sd, or even the "
                "mean, may not exist, and neither figure can be relied on; ask for a median, or for a probability"
            )

    def _tail_shapes(self, x: Array) -> Array:
        """Pareto shapes of the heavier tail of columns (S, R), -1 where there is no tail to judge by."""
        judged = np.isfinite(x).all(axis=0) & ~few_valued(x)
        shape = np.full(x.shape[1], -1.0)
        if judged.any():
            x = x[:, judged]
            centred = x - weighted_quantiles(x, self.weights, np.array([0.5]))
            sides = np.maximum(np.concatenate([centred, -centred], axis=1), 0.0) * self.weights[:, None]
            found = np.reshape(np.asarray(pareto_shape(sides)), (2, -1))
            shape[judged] = np.where(found < UNUSABLE, found, -1.0).max(axis=0)
        return shape


class Reported:
    """What a summary reports, as a function of draws; the labels are written once.

    It is not `thorough` where figures are not reported yet; see `bbvi.target.of_draws`.
    """

    def __init__(self, target: Target, *, thorough: bool = False) -> None:
        self.target, self.thorough = target, thorough
        self._labels: list[str] = []

    def __call__(self, u: Array) -> tuple[list[str], Array]:
        """Labels (R) and values (S, R) at draws u (S, D)."""
        target = self.target
        with np.errstate(all="ignore"):
            latents = {name: np.asarray(x) for name, x in target.constrain(u)[0].items()}
        if "derived" in target.model.functions:
            derived = target.quantities("derived", u, thorough=self.thorough)
        else:
            derived = {}
        self._labels = self._labels or _labels(target.model, derived)
        return self._labels, _values(latents, derived)


def _values(latents: Mapping[str, Array], derived: Mapping[str, Array]) -> Array:
    parts = [np.asarray(x, dtype=float).reshape(len(x), -1) for x in (*latents.values(), *derived.values())]
    return np.concatenate(parts, axis=1)


def _labels(model: Model, derived: Mapping[str, Array]) -> list[str]:
    """Names of all rows (R)."""
    return [*model.labels, *(label for name, x in derived.items() for label in labels_of(model, name, x.shape[1:]))]


class DrawSet(NamedTuple):
    """Draws u (n, D) with log density of the target and of where they came from, and the log weight still to apply.

    They are laid out in so many chains of one length, one after the other.
    """

    kind: str
    u: Array
    lp: Array
    log_q: Array
    log_weight: Array
    chains: int = 1


def resample(
    kind: str, pool: Pool, n: int, rng: np.random.Generator, chains: int | None = None
) -> tuple[DrawSet, float]:
    """`n` equally weighted draws by importance resampling, and the effective size of the pool they were taken from.

    Systematic resampling keeps the counts as near to the weights as whole numbers can be. Of a pool of chains the draws
    come in four groups of chains that know nothing of each other, where so many can be divided by four. Of other pools
    each of `chains` groups is taken from draws of its own.
    """
    if pool.chains > 1:
        return _of_chains(kind, pool, n, rng, chains)
    size, groups = float(effective_sample_size(pool.log_weights)), 1 if chains is None else chains
    index = np.concatenate([_systematic(pool.log_weights, np.arange(len(pool.u))[g::groups], n // groups, rng)
                            for g in range(groups)])  # fmt: skip
    drawn = DrawSet(kind, pool.u[index], pool.log_density[index], pool.log_q[index], np.zeros(n), groups)
    return drawn, size


def _systematic(log_weights: Array, among: Array, n: int, rng: np.random.Generator) -> Array:
    """`n` of some draws by their weights, in random order."""
    cumulative = np.cumsum(np.exp(log_weights[among]))
    positions = (np.arange(n) + rng.random()) / n * (cumulative[-1] if len(among) < len(log_weights) else 1.0)
    return np.asarray(rng.permutation(among[np.minimum(np.searchsorted(cumulative, positions), len(among) - 1)]))


def _of_chains(
    kind: str, pool: Pool, n: int, rng: np.random.Generator, chains: int | None = None
) -> tuple[DrawSet, float]:
    groups = chains or (_GROUPS if n % _GROUPS == 0 else 1)
    size = len(pool.u)
    if n <= size:
        positions = np.floor((np.arange(n) + rng.random()) / n * size).astype(int)
    else:
        positions = np.sort(rng.permutation(np.arange(n) % size))
    index = positions if groups > 1 else rng.permutation(positions)
    drawn = DrawSet(kind, pool.u[index], pool.log_density[index], pool.log_q[index], np.zeros(n), groups)
    return drawn, float(size)


def gaussian_draws(kind: GaussianKind, n: int, rng: np.random.Generator, *, known: bool) -> DrawSet:
    """`n` draws of a Gaussian kind.

    If the log density is to be `known`, they are taken from those at which it was evaluated, as long as there are
    enough, with the smoothed weights still to apply; else it is NaN, and so are the weights.
    """
    evaluated = kind.evaluated
    if known and evaluated is not None and len(evaluated.u) >= n:
        index = rng.permutation(len(evaluated.u))[:n]
        return weighed(kind, evaluated.u[index], evaluated.log_density[index])
    u = kind.normal.sample(n, rng)
    unknown = np.full(n, np.nan)
    return DrawSet(kind.name, u, unknown, kind.normal.log_density(u), unknown.copy())


def weighed(kind: GaussianKind, u: Array, log_density: Array) -> DrawSet:
    """Draws u (S, D) of a Gaussian kind where the target's log density (S,) is known, with their smoothed weights."""
    log_q = kind.normal.log_density(u)
    return DrawSet(kind.name, u, log_density, log_q, np.asarray(psis(log_density - log_q)[0]))


def weighted_quantiles(x: Array, weights: Array, levels: Array) -> Array:
    """Quantiles (L, R) of weighted columns (S, R), by interpolation of the weighted distribution function."""
    if len(weights) and np.ptp(weights) == 0:
        # The same, from the few that a partition finds.
        return np.asarray(np.quantile(x, levels, axis=0, method="hazen"))
    order = np.argsort(x, axis=0, kind="stable")
    ordered = np.take_along_axis(x, order, axis=0)
    cumulative = np.cumsum(weights[order], axis=0) - 0.5 * weights[order]
    return np.array([[np.interp(q, cumulative[:, j], ordered[:, j]) for j in range(x.shape[1])] for q in levels])
