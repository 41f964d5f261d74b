"""Looks around a mode: places of higher density than the mode accounts for, climbed to see whether they are others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bbvi.search.modes import Mode
from bbvi.solvers.trust_region import solve_dense
from bbvi.target.target import Target

Array = np.ndarray


@dataclass(frozen=True)
class LookPolicy:
    """How widely a search looks around a mode, and what it follows up.

    Attributes
    ----------
    numbers, coordinates : int
        Looks times elements per draw, and looks times latents: so many that they take some per cent of the time of a
        fit. Among many latents a narrow mode is a needle in a haystack, so that looks pay where there are few.
    fewest, line : int
        Looks whatever they cost, and looks that one latent is worth; another makes them four times as many.
    share : float
        Of a limit of evaluations, for looks.
    inside : float
        Share of the looks that are drawn from the mode itself, for narrow modes within it; the others go beyond.
    reach : float
        Sds of the mode beyond its typical radius up to which looks go: distances up to 10 are in the calibration.
    along : tuple of float
        Sds at which a look goes along each latent, both ways.
    squared : int
        Latents gone along times latents, at the most: of more than its root, only some are gone along.
    excess : float
        Nats above the quadratic expansion of the mode from which a look is followed up. At the border between two
        modes it is log 2.
    deep : float
        Nats below the mode from which a look leads nowhere: e^-50 of the mass, at any width that a search could find.
    followed : int
        Looks that are followed, the highest above the expansion in each of `shells` shells of distance.
    shells : int
    way : tuple of float
        Parts of the way back to the mode at which a valley is looked for.
    rise : float
        Nats by which a look must rise from the valley.
    climbed : int
        Looks that are climbed.
    steps, settled : int, float
        Newton steps of a climb, and the length of a step, in sds of the peak, at which it is one.
    dense : int
        Latents up to which Hessians are formed.
    """

    numbers: int = 2**18
    coordinates: int = 2**15
    fewest: int = 512
    line: int = 2048
    share: float = 0.1
    inside: float = 0.5
    reach: float = 10.0
    along: tuple[float, ...] = (3.0, 6.0, 12.0, 24.0, 48.0, 96.0, 192.0)
    squared: int = 10**6
    excess: float = 0.5
    deep: float = 60.0
    followed: int = 128
    shells: int = 4
    way: tuple[float, ...] = (0.03, 0.08, 0.2, 0.4, 0.7)
    rise: float = 0.5
    climbed: int = 8
    steps: int = 40
    settled: float = 0.03
    dense: int = 60

    def looks(self, target: Target, max_evaluations: float) -> int:
        """How many looks this target is worth."""
        # A line and a plane are soon looked over.
        most = self.line * 4.0 ** min(target.dim - 1, 8)
        wanted = min(most, self.numbers / max(target.width, 1), self.coordinates / target.dim)
        return int(min(max(wanted, self.fewest), self.share * max_evaluations))


class Expansion(NamedTuple):
    """The log density around a mode: its place (D,), value, gradient (D,), and covariance as a factor (D, D) or (D,).

    The covariance is the inverse of the negative Hessian, its eigenvalues kept within reason; the factor's columns are
    principal axes, and one dimension of it is a diagonal.
    """

    mean: Array
    value: float
    gradient: Array
    factor: Array

    def at(self, e: Array) -> Array:
        """Points (K, D) that standardized ones stand for."""
        return np.asarray(self.mean + (e * self.factor if self.factor.ndim == 1 else e @ self.factor.T))

    def predicted(self, u: Array, e: Array) -> Array:
        """The quadratic expansion (K,) at points (K, D), which are standardized `e`."""
        return np.asarray(self.value + (u - self.mean) @ self.gradient - 0.5 * np.einsum("kd,kd->k", e, e))


def expanded(target: Target, mean: Array, log_sd: Array, policy: LookPolicy) -> Expansion:
    """The expansion of the log density where q is; q's own sds stand for its curvature above `policy.dense` latents."""
    sd, dim = np.exp(log_sd), target.dim
    if dim > policy.dense:
        values, gradients = target.gradients(mean[None])
        return Expansion(mean, float(values[0]), np.nan_to_num(gradients[0]), sd)
    values, gradients, hessian = _second_order(target, mean[None], sd[None])
    curvature = np.where(np.isfinite(hessian[0]), -hessian[0], np.eye(dim))
    roots, axes = np.linalg.eigh(curvature)
    # No flatter than ten of q's sds: the expansion of a funnel has directions without any curvature.
    scale = 1.0 / np.sqrt(np.clip(roots, 1e-2, None))
    return Expansion(mean, float(values[0]), np.nan_to_num(gradients[0]) / sd, sd[:, None] * axes * scale)


def elsewhere(
    target: Target, expansion: Expansion, rng: np.random.Generator, policy: LookPolicy, max_evaluations: float = np.inf
) -> Array:
    """Points (K, D), few, that are higher than the expansion and than what lies on the way from the mode to them."""
    dim, count = target.dim, policy.looks(target, max_evaluations)
    e = _standardized(dim, count, rng, policy)
    u = expansion.at(e)
    values = target.values(u)
    with np.errstate(invalid="ignore"):
        excess = np.where(np.isfinite(values), values - expansion.predicted(u, e), -np.inf)
    worth = np.flatnonzero((excess > policy.excess) & (values > expansion.value - policy.deep))
    kept = _by_shell(np.linalg.norm(e, axis=1), excess, worth, policy.followed, policy.shells)
    if not len(kept):
        return u[:0]
    way = u[kept] + np.array(policy.way)[:, None, None] * (expansion.mean - u[kept])
    lowest = _lowest(target.values(way.reshape(-1, dim)).reshape(len(policy.way), -1))
    beyond = kept[values[kept] > lowest + policy.rise]
    chosen = _by_shell(np.linalg.norm(e, axis=1), excess, beyond, policy.climbed, policy.shells)
    return np.asarray(u[chosen])


@np.errstate(over="ignore", invalid="ignore")
def climbed(target: Target, points: Array, expansion: Expansion, policy: LookPolicy) -> list[Mode]:
    """Modes of the log density to which Newton steps within a trust region lead from points (K, D), one for each.

    Their scales are the conditional sds, and their evidence, which stands for the ELBO as well, is Laplace's.
    """
    if not len(points):
        return []
    scale = np.linalg.norm(expansion.factor, axis=1) if expansion.factor.ndim > 1 else expansion.factor
    at = points.copy()
    scales = np.tile(scale, (len(at), 1))
    radius = np.ones(len(at))
    values, gradients, hessians = _second_order(target, at, scales)
    settled = np.zeros(len(at), dtype=bool)
    for _ in range(policy.steps):
        usable = np.isfinite(values) & np.isfinite(gradients).all(axis=1) & np.isfinite(hessians).all(axis=(1, 2))
        rows = np.flatnonzero(usable & ~settled & (radius > 1e-8))
        if not len(rows):
            break
        step, _, full = solve_dense(-hessians[rows], -gradients[rows], radius[rows])
        # In sds of the peak, which may be much narrower than the mode that it is measured by.
        length = np.sqrt(np.maximum(np.einsum("kp,kpq,kq->k", step, -hessians[rows], step), 0.0))
        gain = np.sum(step * (gradients[rows] + np.einsum("kpq,kq->kp", hessians[rows], step) / 2), axis=1)
        there = at[rows] + scale * step
        found = _second_order(target, there, scales[rows])
        with np.errstate(invalid="ignore"):
            ratio = (found[0] - values[rows] + 1e-9) / (gain + 1e-9)
            taken = np.isfinite(found[0]) & (ratio > 1e-4)
        moved = np.linalg.norm(step, axis=1)
        radius[rows] = np.where(
            ~taken | (ratio < 0.25), np.minimum(radius[rows], moved) / 4, radius[rows] * np.where(full, 1.0, 3.0)
        )
        settled[rows[taken & full & (length < policy.settled)]] = True
        rows, taken_rows = rows[taken], np.flatnonzero(taken)
        at[rows], values[rows] = there[taken_rows], found[0][taken_rows]
        gradients[rows], hessians[rows] = found[1][taken_rows], found[2][taken_rows]
    peaks = []
    for k in np.flatnonzero(settled):
        sign, log_det = np.linalg.slogdet(-hessians[k])
        diagonal = -np.diag(hessians[k])
        if sign > 0 and (diagonal > 0).all():
            half = 0.5 * (log_det - 2 * np.log(scale).sum())
            evidence = float(values[k] + 0.5 * target.dim * np.log(2 * np.pi) - half)
            peaks.append(Mode(at[k], np.log(scale) - 0.5 * np.log(diagonal), evidence, 1, evidence=evidence))
    return peaks


def _standardized(dim: int, count: int, rng: np.random.Generator, policy: LookPolicy) -> Array:
    """Looks in the mode's own sds: within it, beyond it at even distances, and along the axes."""
    within = int(policy.inside * count)
    e = rng.standard_normal((count, dim))
    e[:within] *= rng.uniform(0.5, 1.5, (within, 1))
    beyond = e[within:]
    distance = rng.uniform(1.0, np.sqrt(dim) + policy.reach, len(beyond))
    beyond *= (distance / np.sqrt(np.einsum("kd,kd->k", beyond, beyond)))[:, None]
    most = policy.squared // dim
    gone = np.arange(dim) if dim <= most else np.sort(rng.choice(dim, most, replace=False))
    along = np.array([sign * distance for distance in policy.along for sign in (1.0, -1.0)])
    axes = np.zeros((len(along), len(gone), dim))
    axes[:, np.arange(len(gone)), gone] = along[:, None]
    return np.concatenate([e, axes.reshape(-1, dim)])


def _by_shell(distance: Array, height: Array, among: Array, most: int, shells: int) -> Array:
    """At most so many of some looks, the highest of each shell of distances: a far tail must not hide what is near."""
    if len(among) <= most:
        return among
    order = among[np.argsort(distance[among], kind="stable")]
    parts = np.array_split(order, shells)
    return np.concatenate([part[np.argsort(-height[part], kind="stable")][: most // shells] for part in parts])


def _lowest(values: Array) -> Array:
    """The least of each column; what is not finite is as low as can be."""
    return np.asarray(np.where(np.isfinite(values), values, -np.inf).min(axis=0))


def _second_order(target: Target, u: Array, sd: Array) -> tuple[Array, Array, Array]:
    """Values (K,), gradients (K, D) and Hessians (K, D, D) at points (K, D), the last two in units of `sd` (K, D)."""
    k, d = u.shape
    directions = sd[:, :, None] * np.eye(d)
    linear = target.linearize(np.repeat(u, d, axis=0), sd.mean(axis=0))
    products = linear.hessian_product(directions.reshape(k * d, d)).reshape(k, d, d)
    hessian = products * sd[:, None, :]
    return linear.values[::d], linear.gradients[::d] * sd, (hessian + hessian.transpose(0, 2, 1)) / 2
