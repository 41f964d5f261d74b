"""What many short chains say of themselves: nested R-hat, Monte Carlo errors, drift, for many quantities at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import fdtri, stdtrit

from bbvi.correction.chains.history import HUGE, History, blocks

Array = np.ndarray

# Probability that chains which are stationary are thought not to be.
ALARM = 1e-3
# Share of the quantities for which chains from one start look alike, though they have forgotten it.
_ALIKE = 0.1


class Errors(NamedTuple):
    """Standard errors by quantity (R,): of means, in sds, and of sds, relative."""

    mean: Array
    sd: Array


class Mixing(NamedTuple):
    """How chains agree, by quantity (R,).

    Attributes
    ----------
    rhat : nested R-hat, sqrt(1 + B / W)
    excess : the part of B / W that chains started elsewhere explain, beyond what Monte Carlo error would bring
    mean_error : standard error of the mean, in sds
    sd_error : standard error of the sd, relative
    drift : change of the mean between the halves of the chains, in sds, less what chance would bring
    """

    rhat: Array
    excess: Array
    mean_error: Array
    sd_error: Array
    drift: Array

    @property
    def errors(self) -> Errors:
        """Standard errors."""
        return Errors(self.mean_error, self.sd_error)


class Sums:
    """Sums that the agreement of chains is judged by, kept as they come: a look at chains costs no pass over them.

    Quantities count from where the chains stood at first, in units of how far apart they were, so that sums of squares
    neither overflow nor cancel.

    Parameters
    ----------
    superchains : int
        K, a divisor of the number of chains C; chains of a superchain are neighbours.
    most : int
        Iterations at the most.
    """

    def __init__(self, superchains: int, most: int) -> None:
        self.superchains = superchains
        self.steps = 0
        self.first: Array = np.empty((0, 0))
        self.second: Array = np.empty((0, 0))
        self._means = History(most)

    @classmethod
    def of(cls, x: Array, superchains: int) -> Sums:
        """Those of quantities (T, C, R)."""
        sums = cls(superchains, len(x))
        for row in x:
            sums.append(row)
        return sums

    def append(self, row: Array) -> None:
        """One iteration more: quantities (C, R). What is too large for its square to be a number counts as zero."""
        with np.errstate(all="ignore"):
            row = np.where(np.abs(row) < HUGE, row, 0.0)
        if self.steps == 0:
            self.origin = row.mean(axis=0)
            apart = np.max(np.abs(row - self.origin), axis=0)
            self.unit = np.where(apart > 0, apart, np.maximum(np.abs(self.origin), 1.0))
            self.first, self.second = np.zeros_like(row), np.zeros_like(row)
        row = (row - self.origin) / self.unit
        self.first += row
        self.second += row**2
        self._means.append(row.reshape(self.superchains, -1, row.shape[1]).mean(axis=1))
        self.steps += 1

    @property
    def moves(self) -> Array:
        """How far the means of superchains are in their second half from where they were in the first, (K, R)."""
        means, half = self._means.rows, self.steps // 2
        moved: Array = means[self.steps - half :].mean(axis=0) - means[:half].mean(axis=0)
        return moved

    def influence(self) -> tuple[Array, Array, Array]:
        """What each chain says of the mean and of the variance, (C, R), beyond all, and the variance (R,), in units."""
        of_chains = self.first / self.steps
        mean = of_chains.mean(axis=0)
        squares = self.second / self.steps - 2.0 * mean * of_chains + mean**2
        variance = squares.mean(axis=0)
        return of_chains - mean, squares - variance, variance

    def mixing(self, level: float) -> Mixing:
        """How chains agree; `level` is the probability that chains which are stationary show an excess, or a drift."""
        steps, superchains = self.steps, self.superchains
        chains, count = self.first.shape
        size = chains // superchains
        of_chains = self.first / steps
        mean = of_chains.mean(axis=0)
        squares = self.second / steps - 2.0 * mean * of_chains + mean**2
        variance = squares.mean(axis=0)
        # Below the rounding of the sums there is nothing but rounding.
        constant = variance <= 1e-13 * np.maximum(self.second.mean(axis=0) / steps, 1e-300)
        scale = np.where(constant, 1.0, variance)
        between = (of_chains - mean).reshape(superchains, size, count)
        of_superchains = between.mean(axis=1)
        b = of_superchains.var(axis=0, ddof=1)
        within = (between - of_superchains[:, None]).reshape(-1, count)
        spread = np.sum(within**2, axis=0) / max(chains - superchains, 1)
        # Chains that do not move at all, each elsewhere, have a ratio that is large but a number.
        w = np.maximum(variance - b, 1e-6 * scale)
        # Under stationarity b is spread / size, and their ratio follows an F distribution.
        bound = fdtri(superchains - 1, max(chains - superchains, 1), 1.0 - level)
        excess = np.maximum(b - spread / size * bound, 0.0) / w
        # Of superchains, since chains of one share their start.
        moves = self.moves
        chance = -stdtrit(superchains - 1, level / 2) * moves.std(axis=0, ddof=1) / np.sqrt(superchains)
        drift = np.maximum(np.abs(moves.mean(axis=0)) - chance, 0.0)
        return Mixing(
            rhat=np.where(constant, 1.0, np.sqrt(1.0 + b / w)),
            excess=np.where(constant, 0.0, excess),
            mean_error=np.where(constant, 0.0, standard_errors(of_chains, superchains) / np.sqrt(scale)),
            sd_error=np.where(constant, 0.0, 0.5 * standard_errors(squares, superchains) / scale),
            drift=np.where(constant, 0.0, drift / np.sqrt(scale)),
        )


def mixing(x: Array, superchains: int, alarm: float = ALARM, *, folded: bool = False) -> Mixing:
    """Compare chains with each other and with themselves.

    Nested R-hat (Margossian, Hoffman, Sountsov, Riou-Durand, Vehtari and Gelman 2024): chains of a superchain began at
    one point, so that the variance B of the superchains' means shows what is left of their starts. What of it is no
    Monte Carlo error is judged by an F test, and the drift by a t test, both as the worst of so many quantities.

    Parameters
    ----------
    x : ndarray, shape (T, C, R)
        Quantities along C chains of T draws; chains of a superchain are neighbours.
    superchains : int
        K, a divisor of C.
    alarm : float
        Probability that chains which are stationary show any excess or drift at all, over all quantities.
    folded : bool
        Of the distances from the medians instead, which show whether chains agree about widths.
    """
    level = alarm / x.shape[-1]
    found = [Sums.of(_folded(part) if folded else part, superchains).mixing(level) for part in blocks(x)]
    return Mixing(*(np.concatenate(each) for each in zip(*found, strict=True)))


def _folded(x: Array) -> Array:
    return np.asarray(np.abs(x - np.median(x, axis=(0, 1))))


def standard_errors(of_chains: Array, superchains: int) -> Array:
    """Standard errors (R,) of the mean of what chains say (C, R), neighbours of which began at one point.

    Chains that are still alike because of it, beyond chance, count as fewer: the ratio of the variances between and
    within superchains follows an F distribution where they are not.
    """
    chains = len(of_chains)
    centred = (of_chains - of_chains.mean(axis=0)).reshape(superchains, -1, of_chains.shape[1])
    means = centred.mean(axis=1)
    within = np.sum((centred - means[:, None]) ** 2, axis=(0, 1)) / max(chains - superchains, 1)
    between = np.sum(means**2, axis=0) / (superchains - 1) * (chains // superchains)
    bound = fdtri(superchains - 1, max(chains - superchains, 1), 1.0 - _ALIKE)
    of_all = np.sum(centred**2, axis=(0, 1)) / (chains - 1)
    return np.asarray(np.sqrt(of_all * np.maximum(1.0, between / np.maximum(bound * within, 1e-300)) / chains))
