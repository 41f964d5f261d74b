"""Densities and masses of vectors and matrices, which broadcast over the leading axes of every argument."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import autograd.numpy as anp
import numpy as np
import scipy.special as sc
from autograd.core import vspace
from autograd.extend import defvjp, primitive
from autograd.tracer import getval

from . import special as sp
from .discrete import _log_factorial
from .primitives import Function, public, unbroadcast
from .special import select

_LOG_2PI = np.log(2 * np.pi)
# How far a sum of probabilities may be from one: wide enough for finite differences.
_SUM_TOLERANCE = 1e-5

CORE_DIMS: dict[Function, tuple[tuple[int, ...], int]] = {}


def _primitive(name: str, value: Function, inputs: tuple[int, ...], output: int = 0) -> Function:
    fun = primitive(value)
    fun.__name__ = name
    CORE_DIMS[fun] = (inputs, output)
    return fun


def _constant(argnum: int) -> Function:
    """The vjp of an argument that has no derivative."""
    return lambda ans, *args: lambda g: vspace(args[argnum]).zeros()


def _column(g: Any) -> Any:
    """g with an axis behind, to multiply vectors."""
    return anp.reshape(g, (*anp.shape(g), 1))


def _matrix(g: Any) -> Any:
    return anp.reshape(g, (*anp.shape(g), 1, 1))


def _vjp(argnum: int, formula: Function) -> Function:
    """The vjp for one argument from ``formula(g, *args)``, the product before the sum over broadcast axes."""

    def make(ans: Any, *args: Any) -> Function:
        shape = anp.shape(args[argnum])
        return lambda g: unbroadcast(formula(g, *args), shape)

    return make


# ---------------------------------------------------------------------------------------------------- normal


def _over_batch(fun: Function, a: Any) -> Any:
    """fun of each matrix; nan for those on which it fails, so that one bad draw does not take the others along."""
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


_inverse_ = _primitive("inverse", _inverse, (2,), 2)
defvjp(
    _inverse_,
    lambda ans, a: lambda g: -anp.matmul(_transpose(ans), anp.matmul(g, _transpose(ans))),
)


def _shared(matrix: Any) -> bool:
    """Whether one matrix serves the whole last axis of vectors, which then are rows of one matrix product."""
    return anp.ndim(matrix) == 2 or anp.shape(matrix)[-3] == 1


def _apply(matrix: Any, vectors: Any) -> Any:
    """matrix @ vector for matrices (..., K, K) and vectors (..., K)."""
    if anp.ndim(matrix) == 2:
        return anp.matmul(vectors, _transpose(matrix))
    if _shared(matrix) and anp.ndim(vectors) >= 2:
        return anp.matmul(vectors, _transpose(matrix[..., 0, :, :]))
    return anp.matmul(matrix, _column(vectors))[..., 0]


def _outer(g: Any, u: Any, v: Any, like: Any) -> Any:
    """g * outer(u, v) for vectors (..., K), already summed over the vectors that share a matrix of ``like``."""
    weighted = _column(g) * u
    if anp.ndim(like) == 2 or anp.ndim(v) == 1:
        size = anp.shape(v)[-1]
        if anp.ndim(v) == 1 and anp.ndim(like) > 2:
            return anp.matmul(_column(weighted), anp.reshape(v, (1, size)))
        return anp.matmul(_transpose(anp.reshape(weighted, (-1, size))), anp.reshape(v, (-1, size)))
    if _shared(like):
        inner = anp.matmul(_transpose(weighted), v)
        return anp.reshape(inner, (*anp.shape(inner)[:-2], 1, *anp.shape(inner)[-2:]))
    return anp.matmul(_column(weighted), anp.reshape(v, (*anp.shape(v)[:-1], 1, anp.shape(v)[-1])))


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
        weight = unbroadcast(_matrix(g), (*anp.shape(cov)[:-2], 1, 1))
        return 0.5 * (outer - weight * precision)

    return vjp


def _normal_by_cholesky(ans: Any, x: Any, mean: Any, chol: Any) -> Function:
    def vjp(g: Any) -> Any:
        inverse = _inverse_(anp.tril(chol))
        y = _apply(inverse, x - mean)
        alpha = _apply(_transpose(inverse), y)
        outer = unbroadcast(_outer(g, alpha, y, chol), anp.shape(chol))
        weight = unbroadcast(_matrix(g), (*anp.shape(chol)[:-2], 1, 1))
        return anp.tril(outer) - weight * inverse * np.eye(anp.shape(chol)[-1])

    return vjp


def _residual_cholesky(x: Any, mean: Any, chol: Any) -> Any:
    inverse = _inverse_(anp.tril(chol))
    return _apply(_transpose(inverse), _apply(inverse, x - mean))


normal_ = _primitive("multivariate_normal.logpdf", _normal, (1, 1, 2))
defvjp(
    normal_,
    _vjp(0, lambda g, *args: -_column(g) * _residual(*args)),
    _vjp(1, lambda g, *args: _column(g) * _residual(*args)),
    _normal_by_cov,
)
normal_cholesky_ = _primitive("multivariate_normal.logpdf_cholesky", _normal_cholesky, (1, 1, 2))
defvjp(
    normal_cholesky_,
    _vjp(0, lambda g, *args: -_column(g) * _residual_cholesky(*args)),
    _vjp(1, lambda g, *args: _column(g) * _residual_cholesky(*args)),
    _normal_by_cholesky,
)


# ---------------------------------------------------------------------------------------------------- simplex


def _on_simplex(x: Any) -> Any:
    return (x >= 0).all(axis=-1) & (np.abs(x.sum(axis=-1) - 1) < _SUM_TOLERANCE)


def _dirichlet(x: Any, alpha: Any) -> Any:
    with np.errstate(all="ignore"):
        constant = sc.gammaln(alpha).sum(axis=-1) - sc.gammaln(alpha.sum(axis=-1))
        out = sc.xlogy(alpha - 1, x).sum(axis=-1) - constant
        out = np.where(_on_simplex(x), out, -np.inf)
        return np.where((alpha > 0).all(axis=-1), out, np.nan)[()]


def _dirichlet_mask(x: Any, alpha: Any) -> Any:
    """Where a derivative counts, component by component."""
    x, alpha = getval(x), getval(alpha)
    return (x > 0) & (_on_simplex(x) & (alpha > 0).all(axis=-1))[..., None]


def _masked(mask: Any, formula: Function, *args: Any) -> Any:
    """formula(*args) where the mask is true, 0 elsewhere; the arguments are replaced by 1/2 there."""
    if mask.all():
        return formula(*args)
    return select(mask, formula(*[select(mask, arg, 0.5) for arg in args]), 0.0)


def _dirichlet_by_alpha(g: Any, x: Any, alpha: Any) -> Any:
    total = anp.sum(alpha, axis=-1, keepdims=True)
    mask = _dirichlet_mask(x, alpha)
    slope = _masked(mask, lambda x, alpha, total: anp.log(x) - sp.digamma_(alpha) + sp.digamma_(total), x, alpha, total)
    return _column(g) * slope


dirichlet_ = _primitive("dirichlet.logpdf", _dirichlet, (1, 1))
defvjp(
    dirichlet_,
    _vjp(
        0,
        lambda g, x, alpha: (
            _column(g) * _masked(_dirichlet_mask(x, alpha), lambda x, alpha: (alpha - 1) / x, x, alpha)
        ),
    ),
    _vjp(1, _dirichlet_by_alpha),
)


def _counts(x: Any, n: Any) -> Any:
    return ((x >= 0) & (x == np.floor(x))).all(axis=-1) & (x.sum(axis=-1) == n)


def _probabilities(n: Any, p: Any) -> Any:
    return _on_simplex(p) & np.greater_equal(n, 0) & np.equal(n, np.floor(n))


def _multinomial(x: Any, n: Any, p: Any) -> Any:
    with np.errstate(all="ignore"):
        inside = _counts(x, n)
        counts = np.where(inside[..., None], x, 0.0)
        out = sc.xlogy(counts, p).sum(axis=-1) + sc.gammaln(np.add(n, 1.0)) - _log_factorial(counts).sum(axis=-1)
        out = np.where(inside, out, -np.inf)
        return np.where(_probabilities(n, p), out, np.nan)[()]


def _multinomial_by_p(g: Any, x: Any, n: Any, p: Any) -> Any:
    x, plain = getval(x), getval(p)
    mask = (plain > 0) & (_counts(x, n) & _probabilities(n, plain))[..., None]
    return _column(g) * _masked(mask, lambda x, p: x / p, x, p)


multinomial_ = _primitive("multinomial.logpmf", _multinomial, (1, 0, 1))
defvjp(multinomial_, _constant(0), _constant(1), _vjp(2, _multinomial_by_p))


# ---------------------------------------------------------------------------------------------------- categories


def _one_hot(k: Any, size: int) -> Any:
    """(..., size) of zeros with a one at k, all zeros where k is not a category."""
    return np.equal(np.asarray(k)[..., None], np.arange(size)) * 1.0


def _pick(k: Any, values: Any) -> Any:
    """values[..., k], and whether k is a category."""
    k = np.asarray(k)
    size = values.shape[-1]
    inside = (k >= 0) & (k < size) & (k == np.floor(k))
    index = np.where(inside, k, 0).astype(np.intp)
    if values.ndim == 1:
        return values[index], inside
    shape = np.broadcast_shapes(index.shape, values.shape[:-1])
    index, values = np.broadcast_to(index, shape), np.broadcast_to(values, (*shape, size))
    return np.take_along_axis(values, index[..., None], axis=-1)[..., 0], inside


def _categorical(k: Any, logits: Any) -> Any:
    with np.errstate(all="ignore"):
        picked, inside = _pick(k, logits)
        out = picked - sp._logsumexp(logits, -1)
        return np.where(inside, out, np.where(np.isnan(k), np.nan, -np.inf))[()]


def _categorical_by_logits(g: Any, k: Any, logits: Any) -> Any:
    hot = _one_hot(getval(k), anp.shape(logits)[-1])
    inside = hot.sum(axis=-1, keepdims=True)
    return _column(g) * (hot - inside * sp.softmax_(logits, axis=-1))


categorical_ = _primitive("categorical.logpmf_logits", _categorical, (0, 1))
defvjp(categorical_, _constant(0), _vjp(1, _categorical_by_logits))


def _ends(k: Any, eta: Any, cutpoints: Any) -> tuple[Any, Any]:
    """The cutpoints above and below category k, less eta; infinite at the ends."""
    padded = np.pad(cutpoints, [(0, 0)] * (cutpoints.ndim - 1) + [(1, 1)])
    padded[..., 0], padded[..., -1] = -np.inf, np.inf
    lower, _ = _pick(k, padded[..., :-1])
    upper, _ = _pick(k, padded[..., 1:])
    return upper - eta, lower - eta


def _ordered_logistic(k: Any, eta: Any, cutpoints: Any) -> Any:
    """sigma(u) - sigma(l) = sigma(u) sigma(-l) (1 - exp(l - u))."""
    with np.errstate(all="ignore"):
        k = np.asarray(k)
        upper, lower = _ends(k, eta, cutpoints)
        out = sp._log_expit(upper) + sp._log_expit(-lower) + sp._log1mexp(lower - upper)
        inside = (k >= 0) & (k <= cutpoints.shape[-1]) & (k == np.floor(k))
        out = np.where(inside, out, np.where(np.isnan(k), np.nan, -np.inf))
        return np.where((np.diff(cutpoints, axis=-1) > 0).all(axis=-1), out, np.nan)[()]


def _ordered_parts(k: Any, eta: Any, cutpoints: Any) -> tuple[Any, Any, Any, Any, Any]:
    """Derivatives in the upper and the lower end, and in eta, where they count; one-hot codes of the two ends."""
    size = anp.shape(cutpoints)[-1]
    k = np.asarray(getval(k))
    above, below = _one_hot(k, size), _one_hot(k - 1, size)
    ordered = (np.diff(getval(cutpoints), axis=-1) > 0).all(axis=-1)
    has_upper, has_lower = above.any(axis=-1) & ordered, below.any(axis=-1) & ordered
    upper = anp.sum(above * cutpoints, axis=-1) - eta
    lower = anp.sum(below * cutpoints, axis=-1) - eta
    tail = sp.inverse_expm1(select(has_upper & has_lower, upper - lower, np.inf))
    by_upper = select(has_upper, sp.expit_(-upper) - tail, 0.0)
    by_lower = select(has_lower, tail - sp.expit_(lower), 0.0)
    return by_upper, by_lower, above, below


def _ordered_by_eta(g: Any, k: Any, eta: Any, cutpoints: Any) -> Any:
    by_upper, by_lower, _, _ = _ordered_parts(k, eta, cutpoints)
    return -g * (by_upper + by_lower)


def _ordered_by_cutpoints(g: Any, k: Any, eta: Any, cutpoints: Any) -> Any:
    by_upper, by_lower, above, below = _ordered_parts(k, eta, cutpoints)
    return _column(g * by_upper) * above + _column(g * by_lower) * below


ordered_logistic_ = _primitive("ordered_logistic.logpmf", _ordered_logistic, (0, 0, 1))
defvjp(ordered_logistic_, _constant(0), _vjp(1, _ordered_by_eta), _vjp(2, _ordered_by_cutpoints))


# ---------------------------------------------------------------------------------------------------- correlations


def _correlation_factor(chol: Any) -> Any:
    """Whether each matrix has a positive diagonal and rows of length one, its upper triangle left aside."""
    lengths = np.square(np.tril(chol)).sum(axis=-1)
    positive = (np.diagonal(chol, axis1=-2, axis2=-1) > 0).all(axis=-1)
    return positive & (np.abs(lengths - 1) < _SUM_TOLERANCE).all(axis=-1)


def _exponents(size: int, eta: Any) -> Any:
    """K - i + 2 eta - 2 for the rows i = 2, ..., K, which are those whose diagonal is not one."""
    return np.arange(size - 2.0, -1.0, -1.0) + _column(2.0 * eta - 2.0)


def _lkj_normaliser(size: int, eta: Any, gammaln: Function) -> Any:
    """The volume of the density's base measure: Lewandowski, Kurowicka, Joe (2009), in logarithm."""
    k = np.arange(1.0, size)
    total = gammaln(_column(1.0 * eta) + 0.5 * (size - 1 - k)) - gammaln(_column(1.0 * eta) + 0.5 * (size - 1) + 0.0 * k)
    return anp.sum(total, axis=-1) + 0.25 * size * (size - 1) * np.log(np.pi)


def _lkj(chol: Any, eta: Any) -> Any:
    with np.errstate(all="ignore"):
        diagonal = np.diagonal(chol, axis1=-2, axis2=-1)[..., 1:]
        size = chol.shape[-1]
        out = (_exponents(size, eta) * np.log(diagonal)).sum(axis=-1) - _lkj_normaliser(size, eta, sc.gammaln)
        out = np.where(_correlation_factor(chol), out, -np.inf)
        return np.where(np.greater(eta, 0), out, np.nan)[()]


def _lkj_mask(chol: Any, eta: Any) -> Any:
    return _correlation_factor(getval(chol)) & np.greater(getval(eta), 0)


def _lkj_by_factor(g: Any, chol: Any, eta: Any) -> Any:
    size = anp.shape(chol)[-1]
    rows = np.eye(size)[1:]
    diagonal = anp.sum(chol[..., 1:, :] * rows, axis=-1)
    mask = _lkj_mask(chol, eta)[..., None]
    slope = _masked(mask, lambda d, e: e / d, diagonal, _exponents(size, eta))
    return _matrix(g) * anp.matmul(np.eye(size)[:, 1:], _column(slope) * rows)


def _lkj_by_eta(g: Any, chol: Any, eta: Any) -> Any:
    size = anp.shape(chol)[-1]
    rows = np.eye(size)[1:]
    mask = _lkj_mask(chol, eta)
    logs = select(mask[..., None], anp.sum(chol[..., 1:, :] * rows, axis=-1), 1.0)
    concentration = select(mask, eta, 1.0)
    k = np.arange(1.0, size)
    steps = sp.digamma_(_column(concentration) + 0.5 * (size - 1 - k)) - sp.digamma_(
        _column(concentration) + 0.5 * (size - 1) + 0.0 * k
    )
    return g * select(mask, anp.sum(2 * anp.log(logs) - steps, axis=-1), 0.0)


lkj_cholesky_ = _primitive("lkj_cholesky.logpdf", _lkj, (2, 0))
defvjp(lkj_cholesky_, _vjp(0, _lkj_by_factor), _vjp(1, _lkj_by_eta))


multivariate_normal = SimpleNamespace(
    logpdf=public(
        normal_,
        "logpdf",
        "x, mean, cov",
        "Log density at x (..., K) with mean (..., K) and covariance (..., K, K); nan where that is not positive definite.",
    ),
    logpdf_cholesky=public(
        normal_cholesky_,
        "logpdf_cholesky",
        "x, mean, chol",
        "Log density at x (..., K) with mean (..., K) and covariance L L', L = ``chol`` lower triangular (..., K, K).",
    ),
)
dirichlet = SimpleNamespace(
    logpdf=public(
        dirichlet_,
        "logpdf",
        "x, alpha",
        "Log density at x (..., K) on the simplex with concentrations alpha (..., K). Components are the last axis.",
    )
)
multinomial = SimpleNamespace(
    logpmf=public(
        multinomial_, "logpmf", "x, n, p", "Log mass of counts x (..., K) of n (...) with probabilities p (..., K)."
    )
)
categorical = SimpleNamespace(
    logpmf_logits=public(
        categorical_,
        "logpmf_logits",
        "k, logits",
        "Log mass of category k (...), from 0 to K - 1, with probabilities softmax(``logits``), (..., K).",
    )
)
ordered_logistic = SimpleNamespace(
    logpmf=public(
        ordered_logistic_,
        "logpmf",
        "k, eta, cutpoints",
        "Log mass of ordered category k (...), from 0 to K, P(k <= j) = expit(cutpoints[j] - eta), cutpoints (..., K).",
    )
)
lkj_cholesky = SimpleNamespace(
    logpdf=public(
        lkj_cholesky_,
        "logpdf",
        "L, eta",
        "Log density of the Cholesky factor L (..., K, K) of a correlation matrix with density proportional to\n"
        "det(R)^(eta - 1), eta (...), with respect to the entries of L below its diagonal (Lewandowski et al. 2009).",
    )
)
