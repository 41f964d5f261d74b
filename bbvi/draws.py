"""Standard-normal designs: draws that stand for N(0, I), from independent to evenly spread."""

from __future__ import annotations

from functools import lru_cache
from numbers import Integral

import numpy as np
from scipy.special import ndtri

_SWEEPS = 3

# Generating vector of an embedded rank-1 lattice for 2^9 to 2^15 points, built component by component
# (Cools, Kuo and Nuyens 2006): Korobov space of order 2, product weights 1 / j^2, worst ratio over the sizes to
# the best generator of each size, and no two components equal or opposite modulo 2^9. The tests rebuild it.
_LATTICE = np.array(
    """
    1 9921 11891 2697 2577 7457 5657 7635 6643 15761 7907 7381 8543 2085 3207 1677
    13755 5577 4157 11039 11705 12143 5591 4709 2309 15145 14217 1895 11067 15057 13913 6535
    1925 4643 15433 12779 11485 343 6325 435 677 6985 6887 2195 7253 16083 669 10111
    8945 11005 14453 8145 9405 16107 5321 8795 10283 14715 295 757 13743 13007 10259 15699
    """.split(),
    dtype=np.int64,
)


def iid(n: int, dim: int, rng: np.random.Generator) -> np.ndarray:
    """Independent draws, (n, dim)."""
    _check(n, dim)
    return rng.standard_normal((n, dim))


def antithetic(n: int, dim: int, rng: np.random.Generator) -> np.ndarray:
    """Independent draws and their mirror images, (n, dim), n even: row i + n / 2 is minus row i."""
    _check(n, dim, even=True)
    return _mirrored(rng.standard_normal((n // 2, dim)))


def orthogonal(n: int, dim: int, rng: np.random.Generator) -> np.ndarray:
    """Mirrored draws with exact second moments and nearly exact fourth moments, for small n.

    The mean is exactly zero. Where n / 2 >= dim the second-moment matrix is exactly the identity, so that a fixed-draw
    fit of any Gaussian is exact; where not, each coordinate has unit second moment and the rows of a half are
    orthogonal up to the last scaling. Second moments leave the error of a non-Gaussian fit to the fourth: sweeps that
    give each coordinate the ranks of its draws but the values of a fixed half-normal sample, then orthogonalise
    again, bring every coordinate's fourth moment close to 3.

    Parameters
    ----------
    n : int
        Number of draws, even.
    dim : int
    rng : numpy.random.Generator

    Returns
    -------
    ndarray, (n, dim)
        Row i + n / 2 is minus row i.

    Raises
    ------
    ValueError, TypeError
        If ``n`` or ``dim`` is not a positive integer, or ``n`` is odd.
    """
    _check(n, dim, even=True)
    half = _orthogonalized(rng.standard_normal((n // 2, dim)))
    for _ in range(_SWEEPS):
        half = _orthogonalized(_with_half_normal_scores(half))
    return _mirrored(half)


def quasi_random(n: int, dim: int, rng: np.random.Generator) -> np.ndarray:
    """Evenly spread mirrored draws for expectations of smooth functions, (n, dim), n a power of two.

    Half are a randomly shifted rank-1 lattice in the first coordinates, up to 64 of them, and a Latin hypercube in the
    rest, mapped to a half-normal sample with exact even moments, 2 to 8 for n >= 512. Mean and, where n / 2 >= dim,
    second moments are exact. Put the coordinates that matter most first.

    Parameters
    ----------
    n : int
        Number of draws, a power of two of 4 or more; 2^10 to 2^16 are what the lattice was built for.
    dim : int
    rng : numpy.random.Generator

    Returns
    -------
    ndarray, (n, dim)
        Row i + n / 2 is minus row i.

    Raises
    ------
    ValueError, TypeError
        If ``n`` is not a power of two of 4 or more, or ``dim`` not a positive integer.
    """
    _check(n, dim)
    if n < 4 or n & (n - 1):
        raise ValueError(f"n: expected a power of two, 4 or more, got {n}")
    half = n // 2
    generators = _distinct_generators(half)[:dim]
    lattice = np.arange(half)[:, None] * generators + rng.integers(half, size=generators.size)
    shuffled = rng.permuted(np.tile(np.arange(half)[:, None], (1, dim - generators.size)), axis=0)
    positions = np.concatenate((lattice % half, shuffled), axis=1)
    # Every other one of n symmetric points: with its mirror image each coordinate takes all n points once. The random
    # sign decides which of the two halves comes first.
    scores = _half_normal_scores(half)
    points = np.concatenate((-scores[::-1], scores))
    design = points[2 * positions] * rng.choice([-1.0, 1.0], size=dim)
    return _mirrored(_orthogonalized(_with_half_normal_scores(_orthogonalized(design))))


def _distinct_generators(size: int) -> np.ndarray:
    """The longest start of the lattice's vector without components that are equal or opposite modulo ``size``."""
    classes = np.minimum(_LATTICE % size, -_LATTICE % size)
    first = np.unique(classes, return_index=True)[1]
    repeats = np.setdiff1d(np.arange(classes.size), first)
    return _LATTICE[: repeats[0]] if repeats.size else _LATTICE


def _mirrored(half: np.ndarray) -> np.ndarray:
    return np.concatenate((half, -half))


def _orthogonalized(half: np.ndarray) -> np.ndarray:
    """The nearest array whose columns are orthonormal times sqrt(rows), or unit columns of orthogonal rows."""
    rows, dim = half.shape
    if rows >= dim:
        values, vectors = np.linalg.eigh(half.T @ half / rows)
        return half @ ((vectors / np.sqrt(values)) @ vectors.T)
    values, vectors = np.linalg.eigh(half @ half.T)
    half = ((vectors / np.sqrt(values)) @ vectors.T) @ half
    return half / np.sqrt(np.mean(half**2, axis=0))


def _with_half_normal_scores(half: np.ndarray) -> np.ndarray:
    """The same signs and, in each column, the same order of magnitudes, with a half-normal sample as the magnitudes."""
    scores = np.broadcast_to(_half_normal_scores(len(half))[:, None], half.shape)
    mapped = np.empty_like(half)
    np.put_along_axis(mapped, np.argsort(np.abs(half), axis=0), scores, axis=0)
    return np.copysign(mapped, half)


@lru_cache(maxsize=32)
def _half_normal_scores(n: int) -> np.ndarray:
    """n increasing points whose moments of order 2, 4, ... are those of N(0, 1), as many as n points bear.

    Midpoint quantiles a, stretched to a exp(c_0 + c_1 t + ...) with t = (a / max a)^2; Newton's method finds c.
    """
    points = -ndtri((np.arange(n)[::-1] + 0.5) / (2 * n))
    orders = 2 * np.arange(1, 1 + sum(n >= least for least in (1, 4, 16, 256)))
    moments = np.cumprod(orders - 1.0)
    powers = (points / points[-1])[:, None] ** (orders - 2)
    c = np.zeros(orders.size)
    for _ in range(30):
        terms = (points * np.exp(powers @ c))[:, None] ** orders / moments
        step = np.linalg.solve(orders[:, None] * (terms.T @ powers) / n, np.mean(terms, axis=0) - 1)
        c -= step
        if np.max(np.abs(step)) < 1e-14:
            break
    scores = points * np.exp(powers @ c)
    scores.flags.writeable = False
    return scores


def _check(n: int, dim: int, even: bool = False) -> None:
    for name, value in (("n", n), ("dim", dim)):
        if not isinstance(value, Integral) or isinstance(value, bool):
            raise TypeError(f"{name}: expected an int, got {value!r}")
        if value < 1:
            raise ValueError(f"{name}: expected 1 or more, got {value}")
    if even and n % 2:
        raise ValueError(f"n: expected an even number, since the draws come in mirrored pairs, got {n}")
