"""Rao-Blackwellization from terms: which terms a latent touches, found by moving it.

In a mean-field q a term that does not depend on z_i adds noise to the score estimate of coordinate i and
nothing to its expectation, so that it can be left out (Ranganath, Gerrish and Blei 2014, section 3.1).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Array = np.ndarray

_BLOCK = 1_000_000
_NOTICEABLE = 4.0


def probe_structure(
    terms_fn: Callable[[Array], Array], mean: Array, sd: Array, rng: np.random.Generator, points: int = 3
) -> Array:
    """Which terms change when one latent moves, at several draws from N(mean, sd) and by draws of that size.

    Parameters
    ----------
    terms_fn : callable
        Draws (S, D) to terms (S, T).
    mean, sd : ndarray, shape (D,)
        Where to probe, and how far to move.
    rng : numpy.random.Generator
    points : int
        How many places to probe at; each costs D + 1 evaluations.

    Returns
    -------
    ndarray of bool, shape (D, T)
        A true entry is proven; a false one means that no change was seen, which proves nothing.
    """
    base, moved = (mean + sd * rng.standard_normal((points, mean.size)) for _ in range(2))
    return changed_terms(terms_fn, base, moved)


def changed_terms(terms_fn: Callable[[Array], Array], base: Array, moved: Array) -> Array:
    """Which terms change when a coordinate of `base` (R, D) is replaced by that of `moved`, in any of the R
    rows.

    A difference within rounding is none; a term that is not finite counts as changed. Returns bool (D, T).
    """
    dim = base.shape[1]
    block = max(1, _BLOCK // dim)
    touched: Array | bool = False
    for origin, other in zip(base, moved, strict=True):
        at_origin = terms_fn(origin[None, :])
        rows = []
        for start in range(0, dim, block):
            coordinates = np.arange(start, min(dim, start + block))
            z = np.repeat(origin[None, :], coordinates.size, axis=0)
            z[np.arange(coordinates.size), coordinates] = other[coordinates]
            rows.append(_differ(terms_fn(z), at_origin))
        touched = touched | np.concatenate(rows)
    return np.asarray(touched)


def noticeable(left_out: Array, size: Array) -> Array:
    """Parameters (P,) whose left-out contributions (N, P) have a mean that is not 0 by more than chance.

    Terms that a coordinate does not touch contribute nothing to its gradient on average; a mean beyond four
    standard errors says that it touches them. `size` (P,) is the size of contributions, for rounding.
    """
    mean = np.mean(left_out, axis=0)
    error = np.std(left_out, axis=0, ddof=1) / np.sqrt(len(left_out))
    return np.asarray(np.abs(mean) > _NOTICEABLE * error + 1e-9 * size)


def guarded(full: Array, reduced: Array, left_out: Array) -> Array:
    """Reduced contributions (N, P), or the full ones where what was left out turns out to matter.

    Each half of the draws is judged by the other half: a choice that looked at the draws it is made for would
    be a biased one. Below eight draws there is nothing to judge by, and the full contributions are used.
    """
    half = len(full) // 2
    if half < 4:
        return full
    size = np.max(np.abs(full), axis=0)
    first = np.where(noticeable(left_out[half:], size), full[:half], reduced[:half])
    second = np.where(noticeable(left_out[:half], size), full[half:], reduced[half:])
    return np.concatenate([first, second])


def _differ(terms: Array, reference: Array) -> Array:
    comparable = np.isfinite(terms) & np.isfinite(reference)
    size = np.where(comparable, np.maximum(np.abs(terms), np.abs(reference)), 0.0)
    change = np.abs(np.where(comparable, terms, 0.0) - np.where(comparable, reference, 0.0))
    return np.asarray(~comparable | (change > 64 * np.finfo(float).eps * size))
