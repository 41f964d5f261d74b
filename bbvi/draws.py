"""Standard-normal designs: draws that stand for N(0, I), from independent to evenly spread."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from scipy.special import ndtri

_SWEEPS = 3

# Generating vector of an embedded rank-1 lattice for 2^9 to 2^15 points, built component by component
# (Cools, Kuo and Nuyens 2006): Korobov space of order 2, product weights 0.05, the least worst ratio over the
# sizes to the best component of each size, among those whose pair with any earlier component has at most half
# the mean square error of independent points at every size. There is no 20th. The tests rebuild it.
_LATTICE = np.array(
    [1, 9921, 8853, 5577, 7229, 13921, 2873, 799, 14691, 13443]
    + [12917, 7313, 15645, 8307, 10905, 10643, 4877, 10523, 4943]
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

    The mean is exactly zero. Where n / 2 >= dim the second-moment matrix is exactly the identity, so that a
    fixed-draw fit of any Gaussian is exact; where not, each coordinate has unit second moment and the rows of
    a half are orthogonal up to the last scaling. Second moments leave the error of a non-Gaussian fit to the
    fourth. Sweeps that keep the ranks of each coordinate but give it the values of a fixed half-normal
    sample, then orthogonalise again, bring every coordinate's fourth moment close to 3.

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


# Coordinates from which one design in other orders is as good as others, and costs less.
_MANY = 200


def several(count: int, n: int, dim: int, rng: np.random.Generator) -> list[np.ndarray]:
    """As many `orthogonal` designs; of many coordinates the same one with these in other orders, and other signs.

    No coordinate of a design is like another, so that what coordinates are to each other is drawn afresh by their
    order, which is all that tells designs of many coordinates apart.
    """
    if dim < _MANY:
        return [orthogonal(n, dim, rng) for _ in range(count)]
    design = orthogonal(n, dim, rng)
    return [design[:, rng.permutation(dim)] * rng.choice([-1.0, 1.0], size=dim) for _ in range(count)]


# Coordinates beyond which orthogonal ones cost more than the draws are used for.
_MOST_ORTHOGONAL = 500


def quasi_random(n: int, dim: int, rng: np.random.Generator) -> np.ndarray:
    """Evenly spread mirrored draws for expectations of smooth functions, (n, dim), n a power of two.

    Half are a randomly shifted rank-1 lattice in the first coordinates, up to 19 of them, and a Latin
    hypercube in the rest, mapped to a half-normal sample with the even moments of N(0, 1), orders 2 to 8 for
    n >= 512. Mean and, where n / 2 >= dim and dim <= 500, second moments are exact; beyond, those of each coordinate
    are. Put the coordinates that matter most first.

    Parameters
    ----------
    n : int
        Number of draws, a power of two of 64 or more; 2^10 to 2^16 are what the lattice was built for.
    dim : int
    rng : numpy.random.Generator

    Returns
    -------
    ndarray, (n, dim)
        Row i + n / 2 is minus row i.

    Raises
    ------
    ValueError, TypeError
        If ``n`` is not a power of two of 64 or more, or ``dim`` not a positive integer.
    """
    _check(n, dim)
    if n < 64 or n & (n - 1):
        raise ValueError(f"n: expected a power of two, 64 or more, got {n}")
    half = n // 2
    generators = _distinct_generators(half)[:dim]
    lattice = np.arange(half)[:, None] * generators + rng.integers(half, size=generators.size)
    shuffled = rng.permuted(np.tile(np.arange(half)[:, None], (1, dim - generators.size)), axis=0)
    positions = np.concatenate((lattice % half, shuffled), axis=1)
    # Every other one of n symmetric points: with its mirror image each coordinate takes all n points once.
    # The random sign decides which half comes first.
    scores = _half_normal_scores(half)
    points = np.concatenate((-scores[::-1], scores))
    design = points[2 * positions] * rng.choice([-1.0, 1.0], size=dim)
    if dim > _MOST_ORTHOGONAL:
        return _mirrored(_with_half_normal_scores(design))
    return _mirrored(_orthogonalized(_with_half_normal_scores(_orthogonalized(design))))


def _distinct_generators(size: int) -> np.ndarray:
    """The longest start of the lattice's vector whose components differ, up to sign, modulo ``size``."""
    classes = np.minimum(_LATTICE % size, -_LATTICE % size)
    first = np.unique(classes, return_index=True)[1]
    repeats = np.setdiff1d(np.arange(classes.size), first)
    return _LATTICE[: repeats[0]] if repeats.size else _LATTICE


def _mirrored(half: np.ndarray) -> np.ndarray:
    return np.concatenate((half, -half))


def _orthogonalized(half: np.ndarray) -> np.ndarray:
    """The nearest orthogonal columns of unit mean square; where rows are fewer, orthogonal rows first."""
    rows, dim = half.shape
    if rows >= dim:
        values, vectors = np.linalg.eigh(half.T @ half / rows)
        return np.asarray(half @ ((vectors / np.sqrt(values)) @ vectors.T))
    values, vectors = np.linalg.eigh(half @ half.T)
    half = ((vectors / np.sqrt(values)) @ vectors.T) @ half
    return np.asarray(half / np.sqrt(np.mean(half**2, axis=0)))


def _with_half_normal_scores(half: np.ndarray) -> np.ndarray:
    """Keep each column's signs and order of magnitudes, with a half-normal sample as the magnitudes."""
    magnitudes = np.empty_like(half)
    scores = _half_normal_scores(len(half))[:, None]
    np.put_along_axis(magnitudes, np.argsort(np.abs(half), axis=0), scores, axis=0)
    return np.asarray(np.copysign(magnitudes, half))


@lru_cache(maxsize=32)
def _half_normal_scores(n: int) -> np.ndarray:
    """n increasing points whose moments of order 2, 4, ... are those of N(0, 1), as many as n points bear.

    Midpoint quantiles a are stretched to a exp(c_0 + c_1 t + ...), t = (a / max a)^2; c by Newton's method.
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
    return np.asarray(scores)


def _check(n: Any, dim: Any, even: bool = False) -> None:
    for name, value in (("n", n), ("dim", dim)):
        if not isinstance(value, int | np.integer) or isinstance(value, bool):
            raise TypeError(f"{name}: expected an int, got {value!r}")
        if value < 1:
            raise ValueError(f"{name}: expected 1 or more, got {value}")
    if even and n % 2:
        raise ValueError(f"n: expected an even number, since the draws come in mirrored pairs, got {n}")
