"""Cholesky factors of correlation matrices."""

from __future__ import annotations

from typing import Any

import autograd.numpy as anp
import numpy as np
import scipy.special as sc
from autograd.extend import defvjp

from bbvi.stats import special as sp
from bbvi.stats.frozen import Density
from bbvi.stats.primitives import Function, public
from bbvi.stats.special import select
from bbvi.stats.vectors import SUM_TOLERANCE, column, masked, matrix, vector_primitive, vector_test, vjp_by

Array = np.ndarray


def correlation_factor(chol: Any) -> Any:
    """Whether each matrix has a positive diagonal and rows of length one, its upper triangle left aside."""
    lengths = np.square(np.tril(chol)).sum(axis=-1)
    positive = (np.diagonal(chol, axis1=-2, axis2=-1) > 0).all(axis=-1)
    return positive & (np.abs(lengths - 1) < SUM_TOLERANCE).all(axis=-1)


def _exponents(size: int, eta: Any) -> Any:
    """K - i + 2 eta - 2 for the rows i = 2, ..., K, which are those whose diagonal is not one."""
    return np.arange(size - 2.0, -1.0, -1.0) + column(2.0 * eta - 2.0)


def _lkj_sum(size: int, eta: Any, function: Function) -> Any:
    """The sum over k < K of function(eta + (K - 1 - k) / 2) - function(eta + (K - 1) / 2)."""
    k = np.arange(1.0, size)
    e = column(1.0 * eta)
    return anp.sum(function(e + 0.5 * (size - 1 - k)) - function(e + 0.5 * (size - 1)), axis=-1)


def _lkj(chol: Any, eta: Any) -> Any:
    with np.errstate(all="ignore"):
        diagonal = np.diagonal(chol, axis1=-2, axis2=-1)[..., 1:]
        size = chol.shape[-1]
        # The normaliser of Lewandowski, Kurowicka, Joe (2009), and the Jacobian from R to its factor.
        constant = _lkj_sum(size, eta, sc.gammaln) + 0.25 * size * (size - 1) * np.log(np.pi)
        out = (_exponents(size, eta) * np.log(diagonal)).sum(axis=-1) - constant
        out = np.where(correlation_factor(chol), out, -np.inf)
        return np.where(np.greater(eta, 0), out, np.nan)[()]


_lkj_mask = vector_test("lkj_support", lambda chol, eta: correlation_factor(chol) & np.greater(eta, 0), (2, 0))


def _lkj_by_factor(g: Any, chol: Any, eta: Any) -> Any:
    size = anp.shape(chol)[-1]
    rows = np.eye(size)[1:]
    diagonal = anp.sum(chol[..., 1:, :] * rows, axis=-1)
    mask = _lkj_mask(chol, eta)
    slope = masked(column(mask), lambda d, e: e / d, diagonal, _exponents(size, eta))
    return matrix(g) * anp.matmul(np.eye(size)[:, 1:], column(slope) * rows)


def _lkj_by_eta(g: Any, chol: Any, eta: Any) -> Any:
    size = anp.shape(chol)[-1]
    rows = np.eye(size)[1:]
    mask = _lkj_mask(chol, eta)
    logs = select(column(mask), anp.sum(chol[..., 1:, :] * rows, axis=-1), 1.0)
    steps = _lkj_sum(size, select(mask, eta, 1.0), sp.digamma_)
    return g * select(mask, anp.sum(2 * anp.log(logs), axis=-1) - steps, 0.0)


lkj_cholesky_ = vector_primitive("lkj_cholesky.logpdf", _lkj, (2, 0))
defvjp(lkj_cholesky_, vjp_by(0, _lkj_by_factor), vjp_by(1, _lkj_by_eta))


def _lkj_draws(shape: Any, rng: np.random.Generator, eta: Any) -> Array:
    """Draws (..., K, K) by canonical partial correlations, which are independent, 2 Beta(b, b) - 1 each.

    Those of column k have b = eta + (K - 1 - k) / 2, k from 1 (Lewandowski, Kurowicka, Joe 2009, section 2.4).
    """
    if np.ndim(shape) != 1 or len(shape) < 2 or shape[-1] != shape[-2]:
        raise ValueError(f"lkj_cholesky: expected size to be the whole shape (..., K, K), got {shape!r}")
    size = shape[-1]
    b = np.broadcast_to(np.asarray(eta, dtype=float), shape[:-2])[..., None] + (size - 2 - np.arange(size)) / 2.0
    partial = np.zeros(shape)
    for k in range(size - 1):
        own = np.broadcast_to(b[..., k, None], (*shape[:-2], size - 1 - k))
        partial[..., k + 1 :, k] = 2.0 * rng.beta(own, own) - 1.0
    # What the columns before leave of a row of norm one.
    left = np.cumprod(np.sqrt(1.0 - partial**2), axis=-1)
    left = np.concatenate([np.ones((*shape[:-1], 1)), left[..., :-1]], axis=-1)
    return np.asarray(np.tril((partial + np.eye(size)) * left))


lkj_cholesky = Density(
    "lkj_cholesky",
    sampler=_lkj_draws,
    logpdf=public(
        lkj_cholesky_,
        "logpdf",
        "L, eta",
        "Log density of the Cholesky factor L (..., K, K) of a correlation matrix R with density\n"
        "proportional to det(R)^(eta - 1), eta (...), with respect to the entries of L below its\n"
        "diagonal (Lewandowski, Kurowicka, Joe 2009).",
    )
)
