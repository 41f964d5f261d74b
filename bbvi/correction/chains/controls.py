"""Control variates for chains: by what gradients say, where their draws are off by chance.

For a density p of coordinates e, a covariance S and h = S grad log p(e), Stein's identity says that

    E[f(e_j) h_j + f'(e_j) S_jj] = 0,    so    E[h_j] = 0,    E[(e_j - o_j) h_j + S_jj] = 0,

where p is continuous (Stein 1981, lemma 2; as control variates for chains: Assaraf and Caffarel 1999,
Mira, Solgi and Imparato 2013). Where p is near to a normal of that covariance, means and variances of draws vary with
these sums, whose expectations are known; so draws are moved and stretched to the moments that regression on them
leaves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from bbvi.correction.chains.history import HUGE
from bbvi.correction.chains.rhat import ALARM, Errors, Sums, standard_errors

Array = np.ndarray

# Units beyond which a coordinate counts as so far.
_FAR = 3.0
# Draws at which derivatives of the reported quantities are taken, how far they are moved for it, as a share of what a
# chain would move them by, and numbers that are held for it.
POINTS, _SHARE, _HELD = 32, 0.05, 2**21


class Influence(NamedTuple):
    """By how much each chain moves the mean and the variance of coordinates, (C, D) each."""

    mean: Array
    variance: Array


@dataclass(frozen=True, eq=False)
class Adjustment:
    """A move and a stretch of coordinates: ``mean + stretch (e - centre)``.

    Attributes
    ----------
    centre, mean, sd, stretch : (D,)
        The sd is that of what comes out.
    drawn, left : Influence
        Of chains on the moments that draws have, and on those that the regression leaves.
    """

    centre: Array
    mean: Array
    sd: Array
    stretch: Array
    drawn: Influence
    left: Influence

    def __call__(self, e: Array) -> Array:
        """Coordinates (..., D) with the moments that the regression leaves."""
        return np.asarray(self.mean + self.stretch * (e - self.centre))

    def undone(self, e: Array) -> Array:
        """Coordinates (..., D) as they were drawn."""
        return np.asarray(self.centre + (e - self.mean) / self.stretch)

    def moves(self, e: Array, chains: slice) -> Array:
        """How coordinates e (P, D) that came out would be moved if a chain counted more: per unit, (C, P, D)."""
        centred = (e - self.mean) / np.where(self.sd > 0, 2.0 * self.sd**2, 1.0)
        of_mean = (self.left.mean - self.stretch * self.drawn.mean)[chains]
        of_variance = (self.left.variance - self.stretch**2 * self.drawn.variance)[chains]
        return np.asarray(of_mean[:, None] + of_variance[:, None] * centred)


@dataclass(eq=False)
class Controls:
    """Sums of coordinates and of their control variates, by chain, kept as draws come.

    Attributes
    ----------
    origin, unit : (D,)
        By which coordinates are standardised; what is further than three units counts as three, so that far tails,
        which no stretch of all draws makes up for, move none.
    powers, controls : (2, C, D)
        Sums of coordinates and of their squares, and of the controls.
    steps : int
    """

    origin: Array
    unit: Array
    powers: Array
    controls: Array
    steps: int = 0

    @classmethod
    def begun(cls, e: Array, variances: Array) -> Controls:
        """None yet; chains stand at `e` (C, D), and the covariance has these `variances`, (D,) or (C, D)."""
        sd = e.std(axis=0)
        unit = np.where(sd > 0, sd, np.sqrt(variances).mean(axis=0) if variances.ndim > 1 else np.sqrt(variances))
        return cls(e.mean(axis=0), unit, np.zeros((2, *e.shape)), np.zeros((2, *e.shape)))

    def append(self, e: Array, h: Array, variances: Array) -> None:
        """One iteration more: coordinates (C, D), the covariance times the gradients there, and its diagonal."""
        far, h = (e - self.origin) / self.unit, h / self.unit
        z = np.clip(far, -_FAR, _FAR)
        second = z * h + np.where(z == far, variances / self.unit**2, 0.0)
        for total, one in zip((*self.powers, *self.controls), (z, z * z, h, second), strict=True):
            total += one
        self.steps += 1

    def adjustment(self) -> Adjustment:
        """What the sums say; coordinates that refute Stein's identity, beyond chance, stay as they are."""
        powers, controls = self.powers / self.steps, self.controls / self.steps
        slopes = _slopes(powers, controls)
        drawn = _moments(powers)
        left = _moments(powers - np.einsum("kcd,dki->icd", controls, slopes))
        # Of a few draws, or heavy tails, a regression may leave less than nothing.
        kept = (left.variance > 0.25 * drawn.variance) & (left.variance < 4.0 * drawn.variance)
        left = _Moments(*(np.where(kept, new, old) for new, old in zip(left, drawn, strict=True)))
        unit = self.unit
        # What does not move is not stretched.
        moving = drawn.variance > 0
        stretch = np.sqrt(np.where(moving, left.variance / np.where(moving, drawn.variance, 1.0), 1.0))
        return Adjustment(
            centre=self.origin + unit * drawn.mean,
            mean=self.origin + unit * left.mean,
            sd=unit * np.sqrt(np.maximum(left.variance, 0.0)),
            stretch=stretch,
            drawn=Influence(unit * drawn.of_mean, unit**2 * drawn.of_variance),
            left=Influence(unit * left.of_mean, unit**2 * left.of_variance),
        )


def _slopes(powers: Array, controls: Array) -> Array:
    """Of coordinates and their squares on the controls, (D, 2, 2), by the means of chains (2, C, D).

    Zero where controls have another mean than zero, beyond chance. Means of chains tell what draws do not: slow
    directions, in which what chains have in common with their controls is less.
    """
    _, chains, dim = powers.shape
    centred, about = (one - one.mean(axis=1, keepdims=True) for one in (powers, controls))
    gram, cross = np.einsum("icd,jcd->dij", about, about), np.einsum("icd,jcd->dij", about, centred)
    error = controls.std(axis=1, ddof=1) / np.sqrt(chains)
    beyond = -float(stdtrit(chains - 1, ALARM / (4.0 * dim)))
    usable = np.isfinite(gram).all(axis=(1, 2)) & np.isfinite(cross).all(axis=(1, 2)) & (error > 0).all(axis=0)
    usable &= (np.abs(controls.mean(axis=1)) <= beyond * error).all(axis=0)
    # Two controls of which one follows from the other are one.
    ridge = 1e-9 * np.trace(gram, axis1=1, axis2=2)[:, None, None] * np.eye(2)
    slopes = np.zeros((dim, 2, 2))
    slopes[usable] = np.linalg.solve((gram + ridge)[usable], cross[usable])
    return slopes


class _Moments(NamedTuple):
    """Mean and variance (D,), and by how much each chain moves them (C, D)."""

    mean: Array
    variance: Array
    of_mean: Array
    of_variance: Array


def _moments(powers: Array) -> _Moments:
    """Of the means of coordinates and of their squares, of each chain, (2, C, D)."""
    first, second = powers
    mean = first.mean(axis=0)
    # About the mean: what a chain adds to it changes the sum of squares to second order only.
    squares = second - 2.0 * mean * first + mean**2
    variance = squares.mean(axis=0)
    return _Moments(mean, variance, first - mean, squares - variance)


def errors_of(sums: Sums, adjustment: Adjustment, points: Array, measure: Callable[[Array], Array]) -> Errors:
    """Standard errors of reported quantities, once draws are adjusted.

    A chain moves the mean of a quantity by what it says itself, and by how it moves the adjustment, through which all
    draws move: the derivatives of that are taken at a few draws.

    Parameters
    ----------
    sums : Sums
        Of the quantities (R) at the draws as they came.
    adjustment : Adjustment
    points : ndarray, shape (P, D)
        Some of the draws, in the coordinates.
    measure : callable, (S, D) -> (S, R)
        The quantities at coordinates.
    """
    centred = points - points.mean(axis=0)
    points = adjustment.mean + adjustment.sd * centred / np.maximum(centred.std(axis=0), 1e-300)
    of_mean, of_variance, variance = sums.influence()
    with np.errstate(all="ignore"):
        base = measure(points)
        about = (base - base.mean(axis=0)) / sums.unit
        width = max(_HELD // max(points.size, base.size), 1)
        for first in range(0, len(of_mean), width):
            chains = slice(first, first + width)
            moved = points + _SHARE * adjustment.moves(points, chains)
            there = measure(moved.reshape(-1, points.shape[1])).reshape(-1, *base.shape)
            slope = (there - base) / (_SHARE * sums.unit)
            by_mean, by_variance = slope.mean(axis=1), 2.0 * np.mean(about * slope, axis=1)
            # Where a quantity is infinite nearby, or nearly so, nothing is known but what chains say themselves.
            of_mean[chains] += np.where(np.abs(by_mean) < HUGE, by_mean, 0.0)
            of_variance[chains] += np.where(np.abs(by_variance) < HUGE, by_variance, 0.0)
    scale = np.where(variance > 0, variance, 1.0)
    moves = variance > 0
    mean, squares = (standard_errors(one, sums.superchains) for one in (of_mean, of_variance))
    return Errors(np.where(moves, mean / np.sqrt(scale), 0.0), np.where(moves, 0.5 * squares / scale, 0.0))
