"""The warp that curvature at draws asks for: Gaussians of the latents given a few that steer them, between draws.

Where the others are nearly Gaussian given a few scales and correlations (hierarchies, walks, Gaussian processes), the
posterior is straight in coordinates that standardise each of these Gaussians, which Laplace's approximation gives for
each value t of the few (Kristensen et al. 2016),

    x | t ~ N(a(t), H(t)^-1),    H(t) = -d^2 log p / dx^2.

H is measured at some draws, its diagonal D(t)^-2 and what W diagonalises of D H D interpolated; a(t) is where one step
of Newton's method leads to from each draw. Hamiltonian chains then move as in a standard normal, which rescales them
as those of Kleppe (2019) are rescaled at each point.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from bbvi.correction.chains.metric import Base, MetricPolicy
from bbvi.correction.chains.warp import Turn, Warp, WarpPolicy, features
from bbvi.solvers.curvature import curvatures

Array = np.ndarray
Slopes = Callable[[Array], Array]

# Step of second differences of gradients, in sds: rounding leaves 1e-12 of a gradient, and so 1e-8 of these.
_STEP = 1e-2
# Draws at which they are taken.
_DRAWS = 64
# Curvature between latents, in units of their own, below which they do not meet.
_MEET = 1e-6
# Curvatures along a direction are believed up to so many times their median, and down to as small a share of it.
_CHANGE = 50.0
# Weight of no slope, as a share of the draws; by how many times its variance a squared slope is shrunk; and how many
# draws of chains, one after the other, tell as much as an independent one.
_RIDGE, _SHRUNK, _ALIKE = 0.03, 4.0, 2.0


@dataclass(frozen=True, eq=False)
class Curvature:
    """Minus the Hessians (K, D, D) of the log density at draws (K, D), in units of scales (D,)."""

    at: Array
    hessians: Array
    scale: Array
    policy: MetricPolicy

    @classmethod
    def at_draws(
        cls,
        slopes: Slopes,
        x: Array,
        g: Array,
        rng: np.random.Generator,
        policy: MetricPolicy,
        steering: Sequence[int] = (),
    ) -> Curvature | None:
        """At some of the draws x (N, D) with gradients g (N, D); None where it is no number.

        Half of these draws are the outermost ones of latents that are known to steer, so that little is extrapolated.
        """
        scale = np.sqrt(np.maximum(x.std(axis=0), 1e-300) / np.maximum(g.std(axis=0), 1e-300))
        some = rng.choice(len(x), min(policy.looks(x.shape[1]), len(x)), replace=False)
        each = len(some) // (4 * max(len(steering), 1))
        ends = [np.argsort(x[:, latent])[[*range(each), *range(-each, 0)]] for latent in steering]
        some = np.unique(np.concatenate([*ends, some])[: len(some)])
        with np.errstate(all="ignore"):
            hessians = curvatures(slopes, x[some], g[some], scale)
        return cls(x[some], hessians, scale, policy) if np.isfinite(hessians).all() else None

    @cached_property
    def mean(self) -> Array:
        """Over the draws, (D, D)."""
        return np.asarray(self.hessians.mean(axis=0))

    @property
    def usable(self) -> bool:
        """Whether there is a base: not of numbers so large that nothing is left of the small ones."""
        try:
            return bool(np.isfinite(self.base.factor).all() and np.isfinite(self.base.inverse).all())
        except np.linalg.LinAlgError:
            return False

    @cached_property
    def base(self) -> Base:
        """Of the covariance that is the inverse of the mean."""
        return Base.of_curvature(self.mean, self.scale, self.policy)


def conditional(
    slopes: Slopes,
    curvature: Curvature,
    x: Array,
    g: Array,
    rng: np.random.Generator,
    policy: WarpPolicy,
) -> Warp | None:
    """The warp by the latents that steer the others' curvature; None where none does.

    Parameters
    ----------
    slopes : callable, (S, D) -> (S, D)
        Gradients of the log density.
    curvature : Curvature
    x, g : ndarray, shape (N, D)
        Draws, and gradients there.
    """
    hubs = _hubs(curvature.mean, policy.most)
    if hubs is not None:
        return _given(np.array(hubs), curvature, x, g, policy) if hubs else None
    if not curvature.usable:
        return None
    some = rng.choice(len(x), min(_DRAWS, len(x)), replace=False)
    chosen = np.array(steering(slopes, x[some], curvature.base.factor, rng, policy), dtype=int)
    while len(chosen):
        warp = _given(chosen, curvature, x, g, policy)
        # What changes curvature here and there only, no warp follows.
        followed = _followed(warp) >= policy.followed
        if followed.all():
            return warp
        chosen = chosen[followed]
    return None


def _followed(warp: Warp) -> Array:
    """How much each steering latent changes log scales: root of the summed squares, (K,)."""
    slopes = warp.stretch[1:] if warp.turn is None else warp.stretch[1:] + warp.turn.stretch[1:]
    of_others = np.delete(slopes, warp.steering, axis=1)
    return np.asarray(np.sqrt(np.sum(of_others.reshape(2, len(warp.steering), -1) ** 2, axis=(0, 2))))


def _hubs(curvature: Array, most: int) -> list[int] | None:
    """The few latents without which no others meet, as in a hierarchy of groups; None where more are needed."""
    own = np.sqrt(np.maximum(np.abs(np.diag(curvature)), 1e-300))
    meets = np.abs(curvature) > _MEET * np.outer(own, own)
    np.fill_diagonal(meets, False)
    chosen: list[int] = []
    while meets.any():
        if len(chosen) == most:
            return None
        best = int(np.argmax(meets.sum(axis=0)))
        chosen.append(best)
        meets[best], meets[:, best] = False, False
    return chosen if 2 * len(chosen) < len(own) else None


def steering(slopes: Slopes, points: Array, factor: Array, rng: np.random.Generator, policy: WarpPolicy) -> list[int]:
    """The latents that steer the curvature of the others, the strongest first.

    A move along latent i by one sd, with which the others go as they do on average, changes the Hessian in whitened
    coordinates by some matrix M_i. Of normal directions v the variance of v' M_i v is twice the squared Frobenius norm
    of M_i; and the v' M_i v of all i are second differences of the gradient along v.

    Parameters
    ----------
    slopes : callable, (S, D) -> (S, D)
    points : ndarray, shape (S, D)
        Draws.
    factor : ndarray, shape (D, D)
        Of an approximate covariance.
    """
    change = _bent(slopes, points, factor, rng) @ factor
    chosen: list[int] = []
    # Rows are moves in whitened coordinates; what the chosen ones move along is taken out of the others.
    rows, total = factor, np.sum(factor**2, axis=1)
    while len(change) and len(chosen) < policy.most:
        left = np.sum(rows**2, axis=1)
        along = change @ rows.T / np.sqrt(np.maximum(left, 1e-300))
        steers = np.where(left > 0.01 * total, np.sqrt(np.mean(along**2, axis=0) / 8.0), 0.0)
        best = int(np.argmax(steers))
        if steers[best] < max(policy.bends, policy.crowd * float(np.median(steers))):
            break
        chosen.append(best)
        unit = rows[best] / np.linalg.norm(rows[best])
        rows = rows - np.outer(rows @ unit, unit)
    return chosen


def _bent(slopes: Slopes, points: Array, factor: Array, rng: np.random.Generator) -> Array:
    """Second derivatives of the gradient along two directions at each point (S, D), as a difference of unit variance.

    The mean over directions is another at each point, and drops out of the difference.
    """
    here, found = slopes(points), np.zeros_like(points)
    for sign in (1.0, -1.0):
        v = rng.standard_normal(points.shape) @ factor.T
        bent = slopes(points + _STEP * v) + slopes(points - _STEP * v) - 2.0 * here
        found += sign * bent / (_STEP**2 * np.sqrt(2.0))
    return np.asarray(found[np.isfinite(found).all(axis=1)])


def _given(chosen: Array, curvature: Curvature, x: Array, g: Array, policy: WarpPolicy) -> Warp:
    """The warp given the steering latents."""
    dim, size = x.shape[1], 2 * len(chosen) + 1
    others = np.setdiff1d(np.arange(dim), chosen)
    centre, sd = x[:, chosen].mean(axis=0), np.maximum(x[:, chosen].std(axis=0), 1e-300)
    of_points, f = (features((one[:, chosen] - centre) / sd)[0] for one in (curvature.at, x))
    of_points, few = of_points[:, :size], f[:, :size]
    shift, stretch = np.zeros((f.shape[1], dim)), np.zeros((size, dim))
    shift[0, chosen], stretch[0, chosen] = centre, np.log(sd)
    # Of each latent by itself, and of the directions in which they then depend on each other.
    own = _log_scales(of_points, np.diagonal(curvature.hessians, axis1=1, axis2=2)[:, others], policy)
    stretch[:, others] = own
    stretch[0, others] += np.log(curvature.scale[others])
    scales, turn = np.exp(few @ stretch[:, others]), None
    newton = g[:, others] * scales
    if _meet(curvature.mean[np.ix_(others, others)]):
        along = np.exp(of_points @ own)
        hessians = curvature.hessians[:, others[:, None], others]
        hessians *= along[:, :, None]
        hessians *= along[:, None, :]
        inner = _diagonalising(hessians, of_points[:, 1 : len(chosen) + 1], curvature.policy)
        before = _log_scales(of_points, np.stack([_along(h, inner.factor) for h in hessians]), policy)
        newton = ((newton @ inner.factor) * np.exp(2.0 * (few @ before))) @ inner.factor.T
        whole, back, inside = np.eye(dim), np.eye(dim), np.zeros((size, dim))
        whole[np.ix_(others, others)], back[np.ix_(others, others)] = inner.factor, inner.inverse
        inside[:, others] = before
        turn = Turn(Base(whole, back), inside)
    unit = np.exp(stretch[0, others])
    shift[:, others] = _means(f, (x[:, others] + scales * newton) / unit) * unit
    return Warp(chosen, shift, stretch, turn, measured=True)


def _along(hessian: Array, directions: Array) -> Array:
    """Curvature along each of the directions (J, J), columns: (J,)."""
    return np.asarray(np.einsum("ij,ij->j", directions, hessian @ directions))


def _meet(curvature: Array) -> bool:
    """Whether any latents meet in a mean Hessian (J, J)."""
    own = np.sqrt(np.maximum(np.abs(np.diag(curvature)), 1e-300))
    return bool(np.any(np.abs(curvature - np.diag(np.diag(curvature))) > _MEET * np.outer(own, own)))


def _diagonalising(hessians: Array, t: Array, policy: MetricPolicy) -> Base:
    """W with its inverse: W' H W is the identity for the mean of H, and diagonal for what t (K, C) changes of it.

    Two symmetric matrices have such a W. Of more changes than one a mixture is taken, which does for all of them where
    they commute, as of walks and of smooth processes they nearly do.
    """
    white = Base.of_curvature(hessians.mean(axis=0), np.ones(hessians.shape[1]), policy)
    slopes = np.linalg.pinv(t - t.mean(axis=0), rcond=0.1)
    mixture = (1.0 + 0.1 * np.sqrt(np.arange(len(slopes)))) @ slopes
    change = white.factor.T @ np.tensordot(mixture, hessians, axes=1) @ white.factor
    turn = np.linalg.eigh(change)[1]
    return replace(white, factor=white.factor @ turn, inverse=turn.T @ white.inverse)


def _log_scales(f: Array, along: Array, policy: WarpPolicy) -> Array:
    """Coefficients (F, J) on f (K, F) of log scales, of which curvatures (K, J) are the inverse squares.

    Each slope is shrunk by what chance explains of it.
    """
    middle = np.maximum(np.median(np.abs(along), axis=0), 1e-300)
    y = -0.5 * np.log(np.clip(np.abs(along) / middle, 1.0 / _CHANGE, _CHANGE) * middle)
    count, size = f.shape
    inverse = np.linalg.inv(f.T @ f + _RIDGE * count * np.diag(np.arange(size) > 0))
    found = np.asarray(inverse @ (f.T @ y))
    spread = np.sum((y - f @ found) ** 2, axis=0) / max(count - size, 1)
    chance = np.diag(inverse)[1:, None] * spread
    found[1:] *= np.maximum(1.0 - _SHRUNK * chance / np.maximum(found[1:] ** 2, 1e-300), 0.0)
    found[1:] = np.clip(found[1:], -policy.steepest, policy.steepest)
    return found


def _means(f: Array, y: Array) -> Array:
    """Coefficients (F, J) of means y (N, J) on f (N, F), shrunk by what chance explains of them.

    Of features made orthogonal, one after the other, coefficients are normal about the true ones, whose spread over the
    J is estimated (Efron and Morris 1973); those that stand out are shrunk by no more than they alone would be.
    """
    count, size = f.shape
    q, r = np.linalg.qr(f)
    found = q.T @ y
    chance = np.maximum(_ALIKE * np.sum((y - q @ found) ** 2, axis=0) / max(count - size, 1), 1e-300)
    squares, weights = np.maximum(found[1:] ** 2, 1e-300), 1.0 / (np.median(chance) + chance) ** 2
    spread = np.maximum((squares - chance) @ weights / weights.sum(), 0.0)[:, None]
    found[1:] *= np.maximum(spread / (spread + chance), 1.0 - _SHRUNK * chance / squares)
    return np.asarray(np.linalg.solve(r, found))
