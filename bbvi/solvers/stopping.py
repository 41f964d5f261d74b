"""When the iterates of a stochastic solver have settled, and how well their average is known.

Pure functions on iterates in natural units, (n, P): the rules of FASO and RAABBVI (Welandawe et al. 2022).
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray

RHAT = 1.1
_LEAST_BLOCKS = 16
_WINDOWS = (0.0, 0.2, 0.4, 0.6, 0.8)


def split_rhat(x: Array, ignore: float = 0.0) -> Array:
    """Split R-hat of each column of `x` (n, P): the two halves as two chains (Gelman et al. 2013, section
    11.4).

    `ignore` is a standard deviation that does not matter. It is added to the spread within the halves, so
    that a drift far below it does not count; without it, iterates that converge geometrically would never
    settle.
    """
    half = len(x) // 2
    halves = np.stack([x[:half], x[-half:]])
    within = np.mean(np.var(halves, axis=1, ddof=1), axis=0) + ignore**2
    between = np.var(np.mean(halves, axis=1), axis=0, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        rhat = np.sqrt((half - 1) / half + between / within)
    return np.where(between + within > 0, rhat, 1.0)


def settled_window(x: Array, ignore: float) -> tuple[int, Array | None]:
    """Which iterates at the end of `x` (n, P) to average: the first, and the standard error of the average.

    The windows are the last 100, 80, 60, 40 and 20 per cent (Welandawe et al. 2022, section 4.1). Of those
    that have settled, the one whose average is known best is taken: a long window has more iterates, and may
    have more of the way to the optimum in it than R-hat minds. Where none has settled, the last fifth is
    taken, and the error is None.
    """
    best, lowest = len(x) - max(1, len(x) // 5), None
    for fraction in _WINDOWS:
        start = int(fraction * len(x))
        if len(x) - start < _LEAST_BLOCKS:
            break
        if np.max(split_rhat(x[start:], ignore)) <= RHAT:
            error = average_error(x[start:])
            if lowest is None or np.max(error) < np.max(lowest):
                best, lowest = start, error
    return best, lowest


def average_error(x: Array) -> Array:
    """Monte Carlo standard error of the mean of each column of `x` (n, P), by Geyer's initial positive
    sequence."""
    n = len(x)
    spectrum = np.fft.rfft(x - np.mean(x, axis=0), n=2 * n, axis=0)
    covariance = np.fft.irfft(np.abs(spectrum) ** 2, n=2 * n, axis=0)[: n - n % 2] / n
    pairs = covariance[0::2] + covariance[1::2]
    positive = np.cumprod(pairs > 0, axis=0)
    variance = 2.0 * np.sum(pairs * positive, axis=0) - covariance[0]
    return np.asarray(np.sqrt(np.maximum(variance, covariance[0]) / n))


def worth_continuing(moved: Array, error: Array, spent: float, following: float, tolerance: float) -> bool:
    """Whether another stage of half the step would gain more than it costs.

    The bias of an average of iterates is proportional to the step, so that between two stages the average
    moves by the bias that is left, and the next stage removes half of it. What the move owes to Monte Carlo
    error is no gain. The gain is weighed by its cost, the stage's iterations over those spent so far, within
    a factor of two.

    Parameters
    ----------
    moved, error : ndarray, shape (P,)
        Distance of the averages of the last two stages, and its standard error, in natural units.
    spent, following : float
        Iterations so far, and those that the next stage is expected to take.
    """
    gain = 0.5 * float(np.max(np.abs(moved) - 2.0 * error))
    return gain > 0.5 * tolerance * float(np.clip(following / spent, 0.5, 2.0))
