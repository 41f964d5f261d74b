"""Weighted draws of one kind of approximation, and every figure that is reported from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtri

from bbvi.correction.importance import ImportanceResult
from bbvi.correction.psis import effective_sample_size, psis
from bbvi.correction.weights import ControlFunctions, moments
from bbvi.draws import quasi_random
from bbvi.families import MeanFieldGaussian
from bbvi.model.model import Model, labels_of
from bbvi.target.target import Target

Array = np.ndarray

KINDS = ("mean-field", "linear-response", "importance")
_NODES, _NODE_WEIGHTS = np.polynomial.hermite_e.hermegauss(100)
_NODE_WEIGHTS = _NODE_WEIGHTS / _NODE_WEIGHTS.sum()


class Row(NamedTuple):
    """One row of the summary."""

    label: str
    mean: float
    sd: float
    eti_lb: float
    eti_ub: float
    mcse_mean: float
    sd_mean_field: float


class Expectation(NamedTuple):
    """An expectation under the posterior and its standard error, in the units of the function."""

    value: Any
    se: Any


@dataclass(frozen=True, eq=False)
class Posterior:
    """Draws ``u`` (S, D) on the unconstrained scale with normalised log weights (S,), of one kind.

    `controls` are the control functions that importance weights were adjusted by. For the Gaussian kinds the draws
    are quasi-random and equally weighted; `mean` and `factor` are the Gaussian's, and
    `mean_se` (D,) the Monte Carlo error that the fit left in its mean.
    """

    kind: str
    target: Target
    u: Array
    log_weights: Array
    mean_se: Array
    mean: Array | None = None
    factor: Array | None = None
    controls: ControlFunctions | None = None

    @cached_property
    def weights(self) -> Array:
        return np.exp(self.log_weights)

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
        return self.target.quantities("derived", self.u)

    def moments(self, x: Array) -> tuple[Array, Array, Array]:
        """Weighted mean, sd and standard error of the mean of columns x, (S, R) -> three times (R,)."""
        mean, sd, centred = moments(x, self.weights)
        # One column that is not finite would spoil the errors of all.
        usable = np.isfinite(sd)
        # In sds, so that squares do not overflow.
        scale = np.where(usable & (sd > 0), sd, 1.0)
        error = scale * self._errors(np.where(usable, centred, 0.0) / scale)
        return mean, sd, np.where(usable, error, np.nan)

    def _errors(self, centred: Array) -> Array:
        """Standard errors (R,) of the means of centred columns (S, R)."""
        if self.controls is not None:
            return self.controls.standard_errors(self.weights, centred)
        # How the mean of x moves with that of u (Stein's identity), times the error in that of u.
        scatter = self.u - self.weights @ self.u
        slopes = np.linalg.lstsq(scatter, centred, rcond=None)[0]
        return np.sqrt(np.nan_to_num(self.mean_se) ** 2 @ slopes**2)

    def rows(self, ci_prob: float, mean_field: Posterior | None = None) -> list[Row]:
        """Summary rows: latents in declaration order, C order within, then derived quantities."""
        labels, x = self.columns
        tail = (1 - ci_prob) / 2
        means, sds, errors = self.moments(x)
        low, high = weighted_quantiles(x, self.weights, np.array([tail, 1 - tail]))
        reference = self if mean_field is None else mean_field
        plain = np.sqrt(np.maximum(reference._closed_or_sampled()[1], 0.0))
        if self.kind != "importance":
            exact = self._closed(tail)
            known = np.isfinite(exact[0])
            means[known], sds[known] = exact[0][known], np.sqrt(exact[1][known])
            low[known], high[known] = exact[2][known], exact[3][known]
        table = zip(labels, means, sds, low, high, errors, plain, strict=True)
        return [Row(label, *map(float, figures)) for label, *figures in table]

    @cached_property
    def columns(self) -> tuple[list[str], Array]:
        """Labels (R) and draws (S, R) of all rows."""
        return _columns(self.target.model, self.latents, self.derived)

    def _closed_or_sampled(self) -> tuple[Array, Array]:
        mean, sd, _ = self.moments(self.columns[1])
        with np.errstate(over="ignore"):
            variance = sd**2
        exact = self._closed(0.05)
        known = np.isfinite(exact[0])
        return np.where(known, exact[0], mean), np.where(known, exact[1], variance)

    def _closed(self, tail: float) -> Array:
        """Mean, variance and quantiles (4, R) of latents whose transform acts on each coordinate; NaN elsewhere."""
        rows = np.full((4, len(self.columns[0])), np.nan)
        if self.mean is None or self.factor is None:
            return rows
        start, sd = 0, _row_norms(self.factor)
        for name, latent in self.target.model.latents.items():
            size = int(np.prod(latent.shape))
            part = self.target.model.slices[name]
            if latent.transform.elementwise:
                m, s = self.mean[part], sd[part]
                with np.errstate(all="ignore"):
                    grid = latent.transform.constrain(m + s * _NODES[:, None])[0].reshape(len(_NODES), -1)
                    ends = latent.transform.constrain(m + s * ndtri([[tail], [1 - tail]]))[0].reshape(2, -1)
                    mean = _NODE_WEIGHTS @ grid
                    block = np.stack([mean, _NODE_WEIGHTS @ (grid - mean) ** 2, *ends])
                rows[:, start : start + size] = block
            start += size
        return rows

    def expect(self, values: Array) -> Expectation:
        """Expectation of a function from its values at the draws, (S, ...)."""
        x = np.asarray(values, dtype=float).reshape(len(self.u), -1)
        mean, sd, error = self.moments(x)
        if self.kind != "importance":
            # Quasi-random draws do better than this bound, but by how much is not known for this function.
            error = np.sqrt(error**2 + sd**2 / len(self.u))
        shape = np.shape(values)[1:]
        if not shape:
            return Expectation(float(mean[0]), float(error[0]))
        return Expectation(mean.reshape(shape), error.reshape(shape))


def reported(target: Target, u: Array) -> tuple[list[str], Array]:
    """Labels (R) and values (S, R) of what a summary reports, at draws u (S, D)."""
    with np.errstate(all="ignore"):
        latents = {name: np.asarray(x) for name, x in target.constrain(u)[0].items()}
    derived = target.quantities("derived", u) if "derived" in target.model.functions else {}
    return _columns(target.model, latents, derived)


def _columns(model: Model, latents: Mapping[str, Array], derived: Mapping[str, Array]) -> tuple[list[str], Array]:
    labels = list(model.labels)
    parts = [x.reshape(len(x), -1) for x in latents.values()]
    for name, x in derived.items():
        labels += labels_of(model, name, x.shape[1:])[1]
        parts.append(np.asarray(x, dtype=float).reshape(len(x), -1))
    return labels, np.concatenate(parts, axis=1)


def gaussian(kind: str, target: Target, mean: Array, factor: Array, mean_se: Array, seed: int) -> Posterior:
    """The posterior draws of N(mean, factor factor'); `factor` is (D,) where the covariance is diagonal."""
    dim = len(mean)
    size = int(2 ** np.clip(np.floor(np.log2(2**19 / dim)), 10, 13))
    e = quasi_random(size, dim, np.random.default_rng(seed))
    u = mean + (e * factor if factor.ndim == 1 else e @ factor.T)
    return Posterior(kind, target, u, np.full(size, -np.log(size)), mean_se, mean, factor)


def weighted(target: Target, result: ImportanceResult) -> Posterior:
    """The posterior draws of importance sampling."""
    q = result.proposal
    controls = ControlFunctions.at(result.draws, result.log_weights, q.log_density(result.draws), q.components[0])
    return Posterior("importance", target, result.draws, result.log_weights, np.zeros(target.dim), controls=controls)


class DrawSet(NamedTuple):
    """Draws u (n, D) with log density of the target and of where they came from, and the log weight still to apply."""

    kind: str
    u: Array
    lp: Array
    log_q: Array
    log_weight: Array


def resample(
    target: Target, result: ImportanceResult, n: int, rng: np.random.Generator, limit: int = 200_000
) -> tuple[DrawSet, float]:
    """`n` equally weighted draws by importance resampling, from a pool enlarged until its effective size reaches `n`.

    Returns the draws and the effective size of the pool that they were taken from.
    """
    u, lp, log_w, proposal = result.draws, result.log_density, result.log_weights, result.proposal
    ess = float(effective_sample_size(log_w))
    if ess < n and len(u) < limit:
        extra = int(min(limit - len(u), 1.2 * (n - ess) * len(u) / max(ess, 1.0)))
        fresh = proposal.sample(max(extra, 16), rng)
        u, lp = np.concatenate([u, fresh]), np.concatenate([lp, target.values(fresh)])
        log_w = np.asarray(psis(lp - proposal.log_density(u))[0])
        ess = float(effective_sample_size(log_w))
    # Systematic resampling keeps the counts as near to the weights as whole numbers can be.
    positions = (np.arange(n) + rng.random()) / n
    index = np.minimum(np.searchsorted(np.cumsum(np.exp(log_w)), positions), len(u) - 1)
    index = rng.permutation(index)
    return DrawSet("importance", u[index], lp[index], proposal.log_density(u[index]), np.zeros(n)), ess


def gaussian_draws(
    kind: str, target: Target, mean: Array, factor: Array, n: int, rng: np.random.Generator, *, weigh: bool
) -> DrawSet:
    """`n` draws of N(mean, factor factor'); with `weigh` also the smoothed importance weights still to apply."""
    e = rng.standard_normal((n, len(mean)))
    u = mean + (e * factor if factor.ndim == 1 else e @ factor.T)
    log_q = gaussian_log_density(u, mean, factor)
    if not weigh:
        return DrawSet(kind, u, np.full(n, np.nan), log_q, np.full(n, np.nan))
    lp = target.values(u)
    return DrawSet(kind, u, lp, log_q, np.asarray(psis(lp - log_q)[0]))


def gaussian_log_density(u: Array, mean: Array, factor: Array) -> Array:
    """Log density (S,) of N(mean, factor factor'), factor lower triangular (D, D), or (D,) where diagonal."""
    if factor.ndim == 1:
        return np.asarray(MeanFieldGaussian(mean, factor).log_density(u))
    e = np.linalg.solve(factor, (u - mean).T).T
    return np.asarray(-0.5 * np.sum(e**2, axis=1) - np.log(np.diag(factor)).sum() - 0.5 * len(mean) * np.log(2 * np.pi))


def weighted_quantiles(x: Array, weights: Array, levels: Array) -> Array:
    """Quantiles (L, R) of weighted columns (S, R), by interpolation of the weighted distribution function."""
    order = np.argsort(x, axis=0, kind="stable")
    ordered = np.take_along_axis(x, order, axis=0)
    cumulative = np.cumsum(weights[order], axis=0) - 0.5 * weights[order]
    return np.array([[np.interp(q, cumulative[:, j], ordered[:, j]) for j in range(x.shape[1])] for q in levels])


def _row_norms(factor: Array) -> Array:
    return factor if factor.ndim == 1 else np.sqrt(np.sum(factor**2, axis=1))
