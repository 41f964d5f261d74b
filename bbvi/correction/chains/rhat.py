"""What many short chains say of themselves: nested R-hat, Monte Carlo errors, drift, for many quantities at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import fdtri, stdtrit

from bbvi.correction.chains.history import blocks

Array = np.ndarray


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


def mixing(x: Array, superchains: int, alarm: float = 1e-3, *, folded: bool = False) -> Mixing:
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
    found = [_mixing(_folded(part) if folded else part, superchains, level) for part in blocks(x)]
    return Mixing(*(np.concatenate(each) for each in zip(*found, strict=True)))


def _folded(x: Array) -> Array:
    return np.asarray(np.abs(x - np.median(x, axis=(0, 1))))


def _mixing(x: Array, superchains: int, level: float) -> Mixing:
    steps, chains, count = x.shape
    size = chains // superchains
    centred = x - x.mean(axis=(0, 1))
    # Squares of large quantities would overflow.
    largest = np.max(np.abs(centred), axis=(0, 1))
    centred = centred / np.where((largest > 0) & np.isfinite(largest), largest, 1.0)
    variance = np.mean(centred**2, axis=(0, 1))
    scale = np.where(variance > 0, variance, 1.0)
    of_chains = centred.mean(axis=0)
    between = of_chains.reshape(superchains, size, count)
    of_superchains = between.mean(axis=1)
    b = of_superchains.var(axis=0, ddof=1)
    within = (between - of_superchains[:, None]).reshape(-1, count)
    spread = np.sum(within**2, axis=0) / max(chains - superchains, 1)
    # Chains that do not move at all, each elsewhere, have a ratio that is large but a number.
    w = np.maximum(variance - b, 1e-6 * scale)
    # Under stationarity b is spread / size, and their ratio follows an F distribution.
    bound = fdtri(superchains - 1, max(chains - superchains, 1), 1.0 - level)
    excess = np.maximum(b - spread / size * bound, 0.0) / w
    half = steps // 2
    moved = centred[steps - half :].mean(axis=0) - centred[:half].mean(axis=0)
    # Of superchains, since chains of one share their start.
    moves = moved.reshape(superchains, size, count).mean(axis=1)
    chance = -stdtrit(superchains - 1, level / 2) * moves.std(axis=0, ddof=1) / np.sqrt(superchains)
    drift = np.maximum(np.abs(moves.mean(axis=0)) - chance, 0.0)
    squares = (centred**2).mean(axis=0)
    constant = variance <= 0
    return Mixing(
        rhat=np.where(constant, 1.0, np.sqrt(1.0 + b / w)),
        excess=np.where(constant, 0.0, excess),
        mean_error=_errors(of_chains) / np.sqrt(scale),
        sd_error=np.where(constant, 0.0, 0.5 * _errors(squares) / scale),
        drift=np.where(constant, 0.0, drift / np.sqrt(scale)),
    )


def _errors(of_chains: Array) -> Array:
    """Standard errors (R,) of the mean of chain means (C, R)."""
    return np.asarray(of_chains.std(axis=0, ddof=1) / np.sqrt(len(of_chains)))
