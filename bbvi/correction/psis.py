"""Pareto-smoothed importance sampling: stabilised log weights and the k-hat diagnostic."""

from __future__ import annotations

import math

import numpy as np

Array = np.ndarray

NO_TAIL = 0.0  # k-hat of weights whose upper tail is flat or too short to have a shape, yet harmless
# Numbers of an array that caches hold.
_AT_HAND = 2**18
UNUSABLE = 10.0  # k-hat where nothing can be estimated; beyond any value that a fit of the tail returns
_SHORTEST_TAIL = 5
_PRIOR_DRAWS, _PRIOR_SHAPE = 10.0, 0.5  # weight and centre of the prior on k (Vehtari et al. 2024, appendix G)
# Spread of log ratios that is rounding error, or makes no difference to any weight.
_FLAT = 1e-5
_BLOCK = 2_000_000  # entries of the (grid, tail, columns) array that are held at a time


def psis(log_ratios: Array) -> tuple[Array, float | Array]:
    """Smooth the largest importance ratios by the quantiles of a fitted generalized Pareto distribution.

    The ratios are p/q for draws from q, so that the weights are proportional to ``exp(log_ratios)``. (ArviZ 1.x
    expects the negative.) The tail has ``ceil(min(0.2 S, 3 sqrt(S)))`` draws, and no smoothed weight exceeds the
    largest raw one. (Vehtari, Simpson, Gelman, Yao and Gabry 2024, algorithm 1.)

    Parameters
    ----------
    log_ratios : (S,) or (S, N)
        Draws along the first axis; each further column is smoothed on its own. ``-inf`` is a weight of zero.

    Returns
    -------
    log_weights : same shape
        Normalised: ``exp(log_weights)`` sums to one over the draws. Where every ratio is zero, all are ``-inf``.
    khat : float, or (N,)
        Shape of the tail, never NaN or infinite: 0 where the largest ratios are all equal (bounded weights), and
        10 where there is nothing to judge by (fewer than 21 draws, or a quarter of the tail tied at its cutoff, as
        where most ratios are zero).

    Raises
    ------
    ValueError
        If a ratio is NaN or ``+inf``, or there are no draws.
    """
    ratios = np.array(log_ratios, dtype=float)
    if ratios.ndim not in (1, 2) or ratios.shape[0] == 0:
        raise ValueError(f"log_ratios must have shape (S,) or (S, N) with S > 0; got {ratios.shape}")
    if np.isnan(ratios).any() or (ratios == np.inf).any():
        raise ValueError("log_ratios must be finite or -inf; got NaN or +inf")
    columns = ratios.reshape(len(ratios), -1)
    largest = columns.max(axis=0)
    columns -= np.where(np.isfinite(largest), largest, 0.0)
    khat = np.full(columns.shape[1], UNUSABLE)
    tail = tail_length(len(columns))
    if tail >= _SHORTEST_TAIL:
        grid = _grid_size(tail)
        width = max(1, _BLOCK // (tail * grid))
        for start in range(0, columns.shape[1], width):
            block = slice(start, start + width)
            khat[block] = _smooth(columns[:, block], tail)
    total = _log_sum_exp(columns)
    columns -= np.where(np.isfinite(total), total, 0.0)
    if ratios.ndim == 1:
        return columns[:, 0], float(khat[0])
    return columns, khat


def tail_length(draws: int) -> int:
    """Number of the largest ratios that make up the tail, ``ceil(min(0.2 S, 3 sqrt(S)))``."""
    return math.ceil(min(0.2 * draws, 3.0 * math.sqrt(draws)))


def pareto_khat_threshold(draws: int) -> float:
    """Largest k-hat at which estimates from S draws can be trusted, ``min(1 - 1/log10(S), 0.7)``.

    Vehtari et al. (2024), eq. 13: the draws that are needed grow as ``10^(1/(1 - k))``.
    """
    return min(1.0 - 1.0 / math.log10(draws), 0.7) if draws > 1 else -math.inf


def effective_sample_size(log_weights: Array) -> float | Array:
    """Kish's effective sample size, ``(sum w)^2 / sum w^2``, over the first axis; 0 where all weights are zero."""
    weights = np.asarray(log_weights, dtype=float)
    largest = weights.max(axis=0)
    scaled = np.exp(weights - np.where(np.isfinite(largest), largest, 0.0))
    squares = np.square(scaled).sum(axis=0)
    size = np.square(scaled.sum(axis=0)) / np.where(squares > 0.0, squares, 1.0)
    return float(size) if weights.ndim == 1 else size


def pareto_shape(values: Array) -> float | Array:
    """k-hat of the upper tail of non-negative values: ``values**r`` has a finite mean for ``r < 1/k``.

    With ``values = w |h|`` it tells whether the importance sampling estimate of E[h] can be trusted (Vehtari et al.
    2024, section 2.4). Shapes ``(S,)`` and ``(S, N)`` as for :func:`psis`; the same conventions.

    Raises
    ------
    ValueError
        If a value is negative or not finite.
    """
    x = np.asarray(values, dtype=float)
    columns = x.reshape(len(x), -1)
    tail = tail_length(len(columns))
    khat = np.full(columns.shape[1], UNUSABLE)
    if tail >= _SHORTEST_TAIL:
        largest = columns.max(axis=0)
        if not (np.isfinite(largest) & (columns.min(axis=0) >= 0)).all():
            raise ValueError("values must be finite and not negative")
        ordered = np.sort(np.partition(columns.T, len(columns) - tail - 1, axis=1)[:, -tail - 1 :], axis=1).T
        with np.errstate(divide="ignore"):
            khat = _tail_shape(np.log(ordered / np.where(largest > 0, largest, 1.0)))[0]
    return float(khat[0]) if x.ndim == 1 else khat


def _smooth(columns: Array, tail: int) -> Array:
    """Replace the tail of each column of log ratios, of which the largest is 0, in place; return k-hat (N,)."""
    order = np.argpartition(columns, -tail - 1, axis=0)[-tail - 1 :]
    order = np.take_along_axis(order, np.argsort(np.take_along_axis(columns, order, 0), axis=0), 0)
    ordered = np.take_along_axis(columns, order, 0)
    khat, fittable, scale, cutoff = _tail_shape(ordered)
    if not fittable.any():
        return khat
    levels = (np.arange(tail) + 0.5) / tail
    smoothed = np.log(pareto_quantile(levels, khat[fittable], scale) + cutoff[fittable])
    chosen = np.ix_(np.arange(tail), np.flatnonzero(fittable))
    ordered[1:][chosen] = np.minimum(smoothed, 0.0)
    np.put_along_axis(columns, order[1:], ordered[1:], 0)
    return khat


def _tail_shape(ordered: Array) -> tuple[Array, Array, Array, Array]:
    """Shapes (N,) of tails of log ratios (1 + M, N), sorted, of which the first are the cutoffs and the largest 0.

    Returns k-hat (N,), where the tail could be fitted (N,), the scales where it could, and the cutoffs (N,).
    """
    # ratios below the smallest normal number are zero relative to the largest
    cutoff = np.exp(np.maximum(ordered[0], math.log(np.finfo(float).tiny)))
    excess = np.exp(ordered[1:]) - cutoff
    alive = ordered[-1] > -np.inf
    flat = alive & (ordered[0] > -_FLAT)
    # the fit needs a first quartile above the cutoff: a tail of ties says nothing about its shape
    fittable = alive & ~flat & (excess[_quartile(len(excess))] > 0.0)
    khat = np.where(flat, NO_TAIL, UNUSABLE)
    scale = np.empty(0)
    if fittable.any():
        khat[fittable], scale = fit_generalized_pareto(excess[:, fittable])
    return khat, fittable, scale, cutoff


def fit_generalized_pareto(excess: Array) -> tuple[Array, Array]:
    """Shape k and scale of the generalized Pareto distribution for sorted positive values (M, N), by column.

    The posterior mean of Zhang and Stephens (2009) for ``b = k / scale`` (here with the sign that k > 0 is a heavy
    tail) on a grid from their prior; k is then shrunk towards 0.5 with the weight of ten draws (Vehtari et al. 2024).
    """
    size = len(excess)
    grid = _grid_size(size)
    steps = 1.0 - np.sqrt(grid / (np.arange(grid) + 0.5))
    b = 1.0 / excess[-1] + steps[:, None] / (3.0 * excess[_quartile(size)])  # (grid, N)
    if grid * excess.size <= _AT_HAND:
        shapes = np.log1p(-b[:, None] * excess).mean(axis=1)
    else:
        # One point of the grid after the other: all at once would be more memory than the processor keeps at hand.
        room = np.empty_like(excess)
        shapes = np.array([np.log1p(np.multiply(-one, excess, out=room), out=room).mean(axis=0) for one in b])
    profile = size * (np.log(-b / shapes) - shapes - 1.0)
    posterior = np.exp(profile - profile.max(axis=0))
    posterior /= posterior.sum(axis=0)
    b_mean = (b * posterior).sum(axis=0)
    shape = np.log1p(-b_mean * excess).mean(axis=0)
    scale = -shape / b_mean
    return (size * shape + _PRIOR_DRAWS * _PRIOR_SHAPE) / (size + _PRIOR_DRAWS), scale


def pareto_quantile(levels: Array, shape: Array, scale: Array) -> Array:
    """Quantiles (M, N) of the generalized Pareto distribution at levels (M,), for shapes and scales (N,)."""
    exponential = -np.log1p(-levels)[:, None]
    safe = np.where(np.abs(shape) < 1e-12, 1.0, shape)
    # Of the heaviest tails they are beyond all numbers.
    with np.errstate(over="ignore"):
        return np.asarray(scale * np.where(np.abs(shape) < 1e-12, exponential, np.expm1(safe * exponential) / safe))


def _grid_size(size: int) -> int:
    return 30 + int(math.sqrt(size))


def _quartile(size: int) -> int:
    return int(size / 4 + 0.5) - 1


def _log_sum_exp(columns: Array) -> Array:
    """Column sums on the log scale, of log ratios whose largest is at most 0; ``-inf`` for columns of zeros."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.exp(columns).sum(axis=0)))
