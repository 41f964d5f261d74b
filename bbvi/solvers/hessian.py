"""Whole Hessians of mean-field problems on fixed draws, in the metric of q: dense, sparse, or from a few draws."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from bbvi.solvers.sparsity import FEWEST, pattern_of, probe_of
from bbvi.target.protocol import LogDensity, hints_of

Array = np.ndarray

# Numbers per array up to which Hessians are formed at once: below, Python's overhead costs more than the arithmetic.
ROWS = 2**19
_ROOT2 = np.sqrt(2.0)


@np.errstate(all="ignore")
def hessian(target: LogDensity, mean: Array, log_sd: Array, eps: Array) -> tuple[Array, Array, Array]:
    """F (K,), gradient (K, 2D) and Hessian (K, 2D, 2D) of K problems in natural coordinates.

    With G = sd H_s sd the blocks are -mean G, -mean G eps / sqrt 2, and -(mean eps G eps + diag(mean eps g)) / 2. Small
    problems lay out every draw D times, so that one Hessian product of the target gives whole Hessians H_s; large ones
    ask for column after column, or for many at once where no two of them share a row.
    """
    k, s, d = eps.shape
    sd = np.exp(log_sd)[:, None]
    u = (mean[:, None] + sd * eps).reshape(k * s, d)
    directions = np.eye(d) * sd[:, :, None, :]
    if k * s * d * hints_of(target).width <= ROWS:
        linear = target.linearize(np.repeat(u, d, axis=0), sd.mean(axis=(0, 1)))
        values, gradients = linear.values[::d], linear.gradients[::d]
        v = np.broadcast_to(directions, (k, s, d, d)).reshape(k * s * d, d)
        blocks = _of_matrices(linear.hessian_product(v).reshape(k, s, d, d) * sd[:, :, None], eps)
    else:
        linear = target.linearize(u, sd.mean(axis=(0, 1)))
        values, gradients = linear.values, linear.gradients

        def column(direction: Array) -> Array:
            return np.asarray(sd * linear.hessian_product(np.repeat(direction, s, axis=0)).reshape(k, s, d))

        found = None if k > 1 else _sparse(target, column, u, sd[0, 0], eps[0])
        blocks = _by_columns(column, directions[:, 0], eps) if found is None else found
    g = sd * gradients.reshape(k, s, d)
    weight = (eps * g).mean(axis=1)
    full = np.empty((k, 2 * d, 2 * d))
    full[:, :d, :d], full[:, :d, d:], full[:, d:, d:] = (-one for one in blocks)
    full[:, :d, d:] /= _ROOT2
    full[:, d:, d:] /= 2.0
    full[:, np.arange(d, 2 * d), np.arange(d, 2 * d)] -= weight / 2
    full[:, d:, :d] = full[:, :d, d:].transpose(0, 2, 1)
    gradient = np.concatenate([-g.mean(axis=1), (-weight - 1) / _ROOT2], axis=1)
    value = -values.reshape(k, s).mean(axis=1) - log_sd.sum(axis=1)
    return value, gradient, (full + full.transpose(0, 2, 1)) / 2


class _Blocks(NamedTuple):
    """Means over draws of G, of G eps, of which the second index counts, and of eps G eps, (K, D, D) each."""

    plain: Array
    tilted: Array
    twice: Array


def _of_matrices(curved: Array, eps: Array) -> _Blocks:
    """From G of each draw, (K, S, D, D), which is overwritten."""
    s = eps.shape[1]
    plain = np.add.reduce(curved, axis=1) / s
    curved *= eps[:, :, None]
    tilted = np.add.reduce(curved, axis=1) / s
    curved *= eps[:, :, :, None]
    return _Blocks(plain, tilted, np.add.reduce(curved, axis=1) / s)


def few_draws(target: LogDensity, mean: Array, log_sd: Array, eps: Array) -> tuple[Array, float]:
    """The Hessian (2D, 2D) of F at its optimum, as of a design with exact second moments, from a few draws; its error.

    G = sd H_s sd is taken apart into its mean over the draws, whose part in each block is known, and deviations, which
    are averaged as they are: of a Gaussian nothing is left to average. At the optimum mean eps g is -1. The error is
    relative: that of the mean of G in its least known direction, by the spread of the draws (S, D).
    """
    s, d = eps.shape
    sd = np.exp(log_sd)
    linear = target.linearize(mean + sd * eps, sd)
    curved = np.stack([sd * linear.hessian_product(np.tile(row, (s, 1))) for row in np.diag(sd)], axis=1)
    if not np.isfinite(curved).all():
        return np.full((2 * d, 2 * d), np.nan), np.inf
    curved = (curved + curved.transpose(0, 2, 1)) / 2
    plain = curved.mean(axis=0)
    roots, axes = np.linalg.eigh(-plain)
    if not roots[0] > 0:
        return np.full((2 * d, 2 * d), np.nan), np.inf
    apart = curved - plain
    whitened = (axes / np.sqrt(roots)).T @ apart @ (axes / np.sqrt(roots))
    error = np.sqrt(np.linalg.norm(np.mean(whitened @ whitened, axis=0), 2) / s)
    tilted = np.mean(apart * eps[:, None, :], axis=0)
    twice = np.diag(np.diag(plain)) + np.mean(apart * eps[:, None, :] * eps[:, :, None], axis=0)
    full = -np.block([[plain, tilted / _ROOT2], [tilted.T / _ROOT2, (twice - np.eye(d)) / 2]])
    return (full + full.T) / 2, float(error)


def _by_columns(column: Callable[[Array], Array], directions: Array, eps: Array) -> _Blocks:
    """From one column of G, of all draws (K, S, D), after the other."""
    k, s, d = eps.shape
    plain, tilted, twice = (np.empty((k, d, d)) for _ in range(3))
    for j in range(d):
        one = column(directions[:, j])
        turned = one * eps
        plain[:, j] = np.add.reduce(one, axis=1) / s
        tilted[:, j] = np.add.reduce(turned, axis=1) / s
        twice[:, j] = np.matmul(eps[:, None, :, j], turned)[:, 0] / s
    return _Blocks(plain, tilted, twice)


def _sparse(
    target: LogDensity, column: Callable[[Array], Array], u: Array, sd: Array, eps: Array
) -> _Blocks | None:
    """From a few products where most of G is zero, as one draw shows and a probe at all draws confirms; else None."""
    s, d = eps.shape
    if d < FEWEST:
        return None
    at_one = target.linearize(np.repeat(u[:1], d, axis=0), sd).hessian_product(np.diag(sd))
    if not np.isfinite(at_one).all():
        return None
    pattern = pattern_of(at_one)
    if pattern is None:
        return None
    products = np.stack([column((direction * sd)[None])[0] for direction in pattern.directions])
    probe = probe_of(d)
    probed = column((probe * sd)[None])[0]
    blocks = _Blocks(*np.zeros((3, 1, d, d)))
    for i in range(s):
        if not pattern.shows(products[:, i], probe, probed[i]):
            return None
        curved = pattern.whole(products[:, i]) / s
        blocks.plain[0] += curved
        blocks.tilted[0] += curved * eps[i]
        blocks.twice[0] += curved * eps[i] * eps[i][:, None]
    return blocks
