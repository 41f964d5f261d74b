"""The multivariate normal and Student's t, by covariance and by Cholesky factor."""

from __future__ import annotations

from typing import Any

import autograd.numpy as anp
import numpy as np
import scipy.special as sc
from autograd.extend import defvjp

from bbvi.stats import special as sp
from bbvi.stats.frozen import Density
from bbvi.stats.primitives import Function, public, unbroadcast
from bbvi.stats.vectors import column, matrix, vector_primitive, vjp_by

_LOG_2PI = np.log(2 * np.pi)


def _over_batch(fun: Function, a: Any) -> Any:
    """fun of each matrix; nan where it fails, so that one bad draw does not take the others along."""
    try:
        return fun(a)
    except np.linalg.LinAlgError:
        if a.ndim == 2:
            return np.full(a.shape, np.nan)
        return np.stack([_over_batch(fun, part) for part in a])


def _inverse(a: Any) -> Any:
    return _over_batch(np.linalg.inv, a)


def _transpose(a: Any) -> Any:
    return anp.swapaxes(a, -1, -2)


_inverse_ = vector_primitive("inverse", _inverse, (2,), 2)
defvjp(
    _inverse_,
    lambda ans, a: lambda g: -anp.matmul(_transpose(ans), anp.matmul(g, _transpose(ans))),
)


def _shared(matrix: Any) -> bool:
    """Whether one matrix serves the whole last axis of vectors, which then are rows of one matrix product."""
    return bool(anp.ndim(matrix) == 2 or anp.shape(matrix)[-3] == 1)


def _apply(matrix: Any, vectors: Any) -> Any:
    """matrix @ vector for matrices (..., K, K) and vectors (..., K)."""
    if anp.ndim(matrix) == 2:
        return anp.matmul(vectors, _transpose(matrix))
    if _shared(matrix) and anp.ndim(vectors) >= 2:
        return anp.matmul(vectors, _transpose(matrix[..., 0, :, :]))
    return anp.matmul(matrix, column(vectors))[..., 0]


def _outer(g: Any, u: Any, v: Any, like: Any) -> Any:
    """g * outer(u, v) for vectors (..., K), summed over those that share a matrix of ``like``."""
    weighted = column(g) * u
    if anp.ndim(like) == 2 or anp.ndim(v) == 1:
        size = anp.shape(v)[-1]
        if anp.ndim(v) == 1 and anp.ndim(like) > 2:
            return anp.matmul(column(weighted), anp.reshape(v, (1, size)))
        return anp.matmul(_transpose(anp.reshape(weighted, (-1, size))), anp.reshape(v, (-1, size)))
    if _shared(like):
        inner = anp.matmul(_transpose(weighted), v)
        return anp.reshape(inner, (*anp.shape(inner)[:-2], 1, *anp.shape(inner)[-2:]))
    return anp.matmul(column(weighted), anp.reshape(v, (*anp.shape(v)[:-1], 1, anp.shape(v)[-1])))


def _normal_cholesky(x: Any, mean: Any, chol: Any) -> Any:
    with np.errstate(all="ignore"):
        diagonal = np.diagonal(chol, axis1=-2, axis2=-1)
        y = _apply(_inverse(np.tril(chol)), np.subtract(x, mean))
        constant = np.log(diagonal).sum(axis=-1) + 0.5 * _LOG_2PI * diagonal.shape[-1]
        return -0.5 * np.einsum("...i,...i", y, y) - constant


def _normal(x: Any, mean: Any, cov: Any) -> Any:
    return _normal_cholesky(x, mean, _over_batch(np.linalg.cholesky, cov))


def _residual(x: Any, mean: Any, cov: Any) -> Any:
    """cov^-1 (x - mean)."""
    return _apply(_inverse_(cov), x - mean)


def _normal_by_cov(ans: Any, x: Any, mean: Any, cov: Any) -> Function:
    def vjp(g: Any) -> Any:
        precision = _inverse_(cov)
        alpha = _apply(precision, x - mean)
        outer = unbroadcast(_outer(g, alpha, alpha, cov), anp.shape(cov))
        weight = unbroadcast(matrix(g), (*anp.shape(cov)[:-2], 1, 1))
        return 0.5 * (outer - weight * precision)

    return vjp


def _normal_by_cholesky(ans: Any, x: Any, mean: Any, chol: Any) -> Function:
    def vjp(g: Any) -> Any:
        inverse = _inverse_(anp.tril(chol))
        y = _apply(inverse, x - mean)
        alpha = _apply(_transpose(inverse), y)
        outer = unbroadcast(_outer(g, alpha, y, chol), anp.shape(chol))
        weight = unbroadcast(matrix(g), (*anp.shape(chol)[:-2], 1, 1))
        return anp.tril(outer) - weight * inverse * np.eye(anp.shape(chol)[-1])

    return vjp


def _residual_cholesky(x: Any, mean: Any, chol: Any) -> Any:
    inverse = _inverse_(anp.tril(chol))
    return _apply(_transpose(inverse), _apply(inverse, x - mean))


normal_ = vector_primitive("multivariate_normal.logpdf", _normal, (1, 1, 2))
defvjp(
    normal_,
    vjp_by(0, lambda g, *args: -column(g) * _residual(*args)),
    vjp_by(1, lambda g, *args: column(g) * _residual(*args)),
    _normal_by_cov,
)
normal_cholesky_ = vector_primitive("multivariate_normal.logpdf_cholesky", _normal_cholesky, (1, 1, 2))
defvjp(
    normal_cholesky_,
    vjp_by(0, lambda g, *args: -column(g) * _residual_cholesky(*args)),
    vjp_by(1, lambda g, *args: column(g) * _residual_cholesky(*args)),
    _normal_by_cholesky,
)


multivariate_normal = Density(
    "multivariate_normal",
    axes=1,
    logpdf=public(
        normal_,
        "logpdf",
        "x, mean, cov",
        "Log density at x (..., K), mean (..., K), covariance (..., K, K); nan if not positive definite.",
    ),
    logpdf_cholesky=public(
        normal_cholesky_,
        "logpdf_cholesky",
        "x, mean, chol",
        "Log density at x (..., K), mean (..., K), covariance L L'; L = ``chol``, lower triangular.",
    ),
)


# ---- Student's t -------------------------------------------------------------------------------------------------


def _t_of(squares: Any, log_det: Any, size: int, df: Any) -> Any:
    """Log density of squared distances, given log det of the factor."""
    constant = sc.gammaln(0.5 * (df + size)) - sc.gammaln(0.5 * df) - 0.5 * size * np.log(np.pi * df) - log_det
    return np.where(np.asarray(df) > 0, constant - 0.5 * (df + size) * np.log1p(squares / df), np.nan)[()]


def _t_cholesky(x: Any, loc: Any, chol: Any, df: Any) -> Any:
    with np.errstate(all="ignore"):
        diagonal = np.diagonal(chol, axis1=-2, axis2=-1)
        y = _apply(_inverse(np.tril(chol)), np.subtract(x, loc))
        return _t_of(np.einsum("...i,...i", y, y), np.log(diagonal).sum(axis=-1), diagonal.shape[-1], df)


def _t(x: Any, loc: Any, shape: Any, df: Any) -> Any:
    return _t_cholesky(x, loc, _over_batch(np.linalg.cholesky, shape), df)


def _squares(x: Any, loc: Any, alpha: Any) -> Any:
    """Squared distances, where ``alpha`` is shape^-1 (x - loc)."""
    return anp.sum((x - loc) * alpha, axis=-1)


def _pull(x: Any, df: Any, squares: Any) -> Any:
    """How much an observation counts, against one of a normal."""
    return (df + anp.shape(x)[-1]) / (df + squares)


def _by_df(g: Any, size: int, squares: Any, df: Any) -> Any:
    u = squares / df
    slope = sp.digamma_(0.5 * (df + size)) - sp.digamma_(0.5 * df) - size / df - anp.log1p(u)
    return 0.5 * g * (slope + (df + size) * u / (df * (1 + u)))


def _t_vjps(residual: Function, by_scale: Function) -> tuple[Function, ...]:
    """The vjps by x, loc, the scale matrix and df, from shape^-1 (x - loc) and the vjp of a normal by its matrix."""

    def towards(g: Any, x: Any, loc: Any, scale: Any, df: Any) -> Any:
        alpha = residual(x, loc, scale)
        return column(g * _pull(alpha, df, _squares(x, loc, alpha))) * alpha

    def by_matrix(ans: Any, x: Any, loc: Any, scale: Any, df: Any) -> Function:
        return lambda g: by_scale(g, x, loc, scale, df)

    def by_df(g: Any, x: Any, loc: Any, scale: Any, df: Any) -> Any:
        alpha = residual(x, loc, scale)
        return _by_df(g, anp.shape(alpha)[-1], _squares(x, loc, alpha), df)

    return vjp_by(0, lambda g, *args: -towards(g, *args)), vjp_by(1, towards), by_matrix, vjp_by(3, by_df)


def _t_by_shape(g: Any, x: Any, loc: Any, shape: Any, df: Any) -> Any:
    precision = _inverse_(shape)
    alpha = _apply(precision, x - loc)
    pulled = g * _pull(alpha, df, _squares(x, loc, alpha))
    outer = unbroadcast(_outer(pulled, alpha, alpha, shape), anp.shape(shape))
    weight = unbroadcast(matrix(g + 0.0 * pulled), (*anp.shape(shape)[:-2], 1, 1))
    return 0.5 * (outer - weight * precision)


def _t_by_cholesky(g: Any, x: Any, loc: Any, chol: Any, df: Any) -> Any:
    inverse = _inverse_(anp.tril(chol))
    y = _apply(inverse, x - loc)
    alpha = _apply(_transpose(inverse), y)
    pulled = g * _pull(alpha, df, _squares(x, loc, alpha))
    outer = unbroadcast(_outer(pulled, alpha, y, chol), anp.shape(chol))
    weight = unbroadcast(matrix(g + 0.0 * pulled), (*anp.shape(chol)[:-2], 1, 1))
    return anp.tril(outer) - weight * inverse * np.eye(anp.shape(chol)[-1])


t_ = vector_primitive("multivariate_t.logpdf", _t, (1, 1, 2, 0))
defvjp(t_, *_t_vjps(_residual, _t_by_shape))
t_cholesky_ = vector_primitive("multivariate_t.logpdf_cholesky", _t_cholesky, (1, 1, 2, 0))
defvjp(t_cholesky_, *_t_vjps(_residual_cholesky, _t_by_cholesky))

multivariate_t = Density(
    "multivariate_t",
    axes=1,
    logpdf=public(
        t_,
        "logpdf",
        "x, loc, shape, df=1",
        "Log density at x (..., K), loc (..., K), scale matrix ``shape`` (..., K, K), which is no covariance, and df.",
    ),
    logpdf_cholesky=public(
        t_cholesky_,
        "logpdf_cholesky",
        "x, loc, chol, df=1",
        "Log density at x (..., K), loc (..., K), scale matrix L L', L = ``chol``, lower triangular, and df.",
    ),
)
