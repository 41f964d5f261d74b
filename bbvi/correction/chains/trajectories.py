"""Hamiltonian trajectories of all chains in lockstep: each step is one batched gradient."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from bbvi.correction.chains.metric import Metric
from bbvi.correction.chains.policy import ChainPolicy
from bbvi.correction.chains.warp import Warp

Array = np.ndarray
Gradients = Callable[[Array], tuple[Array, Array]]
Slopes = Callable[[Array], Array]
Values = Callable[[Array], Array]

_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0
# A longer trajectory must gain by more than this power of its length: between the most that squares can change (0) and
# the most of that per gradient (1), measured on hierarchies, walks and the horseshoe.
_ELASTICITY = 0.5
# Between which shares of the length trajectories end: wide where directions are of several widths, narrow where the
# coordinates have made them even, and one length serves all, which is up to so much of a turn, in radians: around a
# whole turn, or half of one, coordinates would come back to where they were.
_WIDE, _NARROW, _SHORT = (0.3, 1.7), (0.7, 1.3), 2.2
# Between which log step sizes of chains lie, in part shorter, so that some get through narrow places.
_STEPS = (-0.7, 0.2)


class Density(NamedTuple):
    """Of draws (S, D): log density (S,) with its gradients (S, D), and each of them alone, which costs less."""

    gradients: Gradients
    slopes: Slopes
    values: Values

    @classmethod
    def of(cls, gradients: Gradients) -> Density:
        """Where nothing is to be had but all at once."""
        return cls(gradients, lambda u: gradients(u)[1], lambda u: gradients(u)[0])


class Known(NamedTuple):
    """Positions and gradients (C, D) in the coordinates of a warp, as the last trajectory left them."""

    warp: Warp
    e: Array
    slope: Array


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
    even: bool = False
    known: Known | None = None

    @property
    def here(self) -> tuple[Array, Array]:
        """Where chains stand, and the gradients there, in the coordinates in which they move."""
        if self.warp is not None and self.known is not None and self.known.warp is self.warp:
            return self.known.e, self.known.slope
        return self.coordinates(self.u, self.gradient)

    def coordinates(self, u: Array, g: Array) -> tuple[Array, Array]:
        """Positions, and gradients at them, in the coordinates in which chains move."""
        if self.warp is None:
            return u, g
        e = self.warp.coordinates(u)
        return e, self.warp.at(e)[1](g)

    def at(self, e: Array) -> tuple[Array, Callable[[Array], Array]]:
        """Latents at such coordinates, and what makes gradients there from those in the latents."""
        return (e, lambda g: g) if self.warp is None else self.warp.at(e)

    def whitened(self, u: Array) -> tuple[Array, Array]:
        """Coordinates e (S, D) of latents in which the density is as near to a standard normal as the chains found it.

        And log |du / de| (S,).
        """
        if self.warp is None:
            return self.metric.whiten(u), np.full(len(u), self.metric.log_volume)
        inner = self.warp.coordinates(u)
        return self.metric.whiten(inner), self.warp.log_jacobian(inner) + self.warp.log_volume + self.metric.log_volume

    @property
    def frame(self) -> Warp | None:
        """Of the coordinates in which control variates are taken and draws adjusted: one for each latent."""
        return None if self.warp is None else replace(self.warp, turn=None)

    def to_frame(self, u: Array) -> Array:
        """Latents (S, D) in these."""
        return u if self.frame is None else self.frame.coordinates(u)

    def of_frame(self, y: Array) -> Array:
        """Latents at such coordinates (S, D)."""
        return y if self.frame is None else self.frame.position(y)

    def controls(self) -> tuple[Array, Array, Array]:
        """Of where chains stand: coordinates y (C, D), S grad log p there, and the diagonal of S, (D,) or (C, D).

        S is the metric's covariance. Where coordinates are turned it is that of the turn, given the latents that steer,
        under whose Gaussians E[(S grad log p)_j] and E[(y_j - o_j) (S grad log p)_j + S_jj] are zero as well.
        """
        e, slope = self.here
        h, variances, warp = self.metric.velocity(slope), self.metric.variances, self.warp
        if warp is None or warp.turn is None:
            return e, h, variances
        scales, steering = warp.turn.scales(e[:, warp.steering]), warp.steering
        turned, spread = (scales * slope) @ warp.turn.basis.factor.T, scales**2 @ warp.turn.basis.squares.T
        turned[:, steering], spread[:, steering] = h[:, steering], variances[steering]
        return self.to_frame(self.u), turned, spread

    def log_jacobian(self, e: Array) -> Array | float:
        """Of the latents in the coordinates, up to a constant."""
        return 0.0 if self.warp is None else self.warp.log_jacobian(e)


class Trajectory(NamedTuple):
    """Where chains stand after it, how likely it was accepted (C,), which diverged (C,), and its gradients."""

    stand: Stand
    acceptance: Array
    divergent: Array
    steps: int


def begun(density: Density, u: Array, metric: Metric, aim: float) -> Stand:
    """Chains at their starts; those where the density is not finite are moved to where others are."""
    values, slopes = density.gradients(u)
    good = np.isfinite(values) & np.isfinite(slopes).all(axis=1)
    if not good.any():
        raise ArithmeticError("no chain begins where the log joint and its gradient are finite")
    if not good.all():
        other = np.flatnonzero(good)[np.arange((~good).sum()) % good.sum()]
        u = u.copy()
        u[~good], values[~good], slopes[~good] = u[other], values[other], slopes[other]
    step = math.log(1.0 / u.shape[1] ** 0.25)
    return Stand(u, values, slopes, metric, step, math.log(math.pi / 2), aim)


def steps_of(stand: Stand, policy: ChainPolicy) -> int:
    """Gradients of the next trajectory, whole steps of the integrator: around the length, by the golden section."""
    low, high = _NARROW if stand.even and stand.log_length < math.log(_SHORT) else _WIDE
    steps = math.exp(stand.log_length - stand.log_step) * (low + (high - low) * ((stand.turn + _GOLDEN) % 1.0))
    return policy.stages * int(np.clip(math.ceil(steps / policy.stages), 1, policy.longest // policy.stages))


def trajectory(
    density: Density, stand: Stand, rng: np.random.Generator, policy: ChainPolicy, rate: float
) -> Trajectory:
    """One Hamiltonian trajectory of every chain; a positive `rate` adapts the step size and the length.

    The number of steps follows a quasi-random sequence around the length, the same for all chains; each chain has its
    own step size, in part shorter, so that some get through narrow places. Two gradients make a step of a splitting
    integrator of two stages (Blanes, Casas and Sanz-Serna 2014), of which the leapfrog is the one with kicks of a
    quarter.
    """
    chains, dim = stand.u.shape
    metric, steps = stand.metric, steps_of(stand, policy)
    size = np.exp(stand.log_step + rng.uniform(*_STEPS, (chains, 1)))
    start = rng.standard_normal((chains, dim))
    before, first = stand.here
    e, u, g, slope = before, stand.u, stand.gradient, first
    outer = 2.0 * policy.kick
    p = metric.momentum(start) + outer * size * slope
    gain = -stand.log_jacobian(before)
    with np.errstate(all="ignore"):
        for step in range(steps):
            e = e + size * metric.velocity(p)
            u, pull = stand.at(e)
            # What the log density is, only the end asks.
            if step < steps - 1:
                g = density.slopes(u)
            else:
                values, g = density.gradients(u)
            slope = pull(g)
            # Where there is no gradient a trajectory goes straight on, and is not accepted.
            if not np.isfinite(slope.sum()):
                slope = np.where(np.isfinite(slope), slope, 0.0)
            kick = outer if step == steps - 1 else 2.0 * outer if step % 2 else 2.0 - 2.0 * outer
            p += (kick * size) * slope
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
    if stand.warp is not None:
        there = (np.where(taken[:, None], new, old) for new, old in ((e, before), (slope, first)))
        moved = replace(moved, known=Known(stand.warp, *there))
    return Trajectory(moved, acceptance, gain < -policy.diverged, steps)


def _tuned(stand: Stand, before: Array, after: Array, p: Array, acceptance: Array, rate: float, length: float) -> Stand:
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
    # Of a standard normal a quarter of a turn leaves nothing of where it began.
    least = math.log(math.pi / 2) if stand.even else log_step
    log_length = float(np.clip(stand.log_length + 0.12 * lean, least, math.log(8.0)))
    return replace(stand, log_step=log_step, log_length=log_length, lean=lean)
