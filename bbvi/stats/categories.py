"""Unordered and ordered categories."""

from __future__ import annotations

from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.extend import defvjp

from bbvi.stats import special as sp
from bbvi.stats.frozen import Density
from bbvi.stats.primitives import public
from bbvi.stats.special import select
from bbvi.stats.vectors import column, no_vjp, vector_primitive, vector_test, vjp_by


def _one_hot(k: Any, size: int) -> Any:
    """(..., size) of zeros with a one at k, all zeros where k is not a category."""
    return 1.0 * anp.equal(column(k), np.arange(size))


def categories(k: Any, size: int) -> Any:
    """Whether k is one of so many categories, 0, 1, ..."""
    return np.greater_equal(k, 0) & np.less(k, size) & np.equal(k, np.floor(k))


def ordered_categories(k: Any, cutpoints: int) -> Any:
    """Whether k is one of the categories that so many cutpoints make."""
    return categories(k, cutpoints + 1)


def _pick(k: Any, values: Any) -> Any:
    """values[..., k], and whether k is a category."""
    k = np.asarray(k)
    size = values.shape[-1]
    inside = categories(k, size)
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
    hot = _one_hot(k, anp.shape(logits)[-1])
    inside = anp.sum(hot, axis=-1, keepdims=True)
    return column(g) * (hot - inside * sp.softmax_(logits, axis=-1))


categorical_ = vector_primitive("categorical.logpmf_logits", _categorical, (0, 1))
defvjp(categorical_, no_vjp(0), vjp_by(1, _categorical_by_logits))


def _ends(k: Any, cutpoints: Any) -> tuple[Any, Any]:
    """The cutpoints above and below category k; infinite at the ends."""
    padded = np.pad(cutpoints, [(0, 0)] * (cutpoints.ndim - 1) + [(1, 1)])
    padded[..., 0], padded[..., -1] = -np.inf, np.inf
    lower, _ = _pick(k, padded[..., :-1])
    upper, _ = _pick(k, padded[..., 1:])
    return upper, lower


def _ordered_logistic(k: Any, eta: Any, cutpoints: Any) -> Any:
    """sigma(u) - sigma(l) = sigma(u) sigma(-l) (1 - exp(l - u))."""
    with np.errstate(all="ignore"):
        k = np.asarray(k)
        upper, lower = _ends(k, cutpoints)
        out = sp._log_expit(upper - eta) + sp._log_expit(eta - lower) + sp._log1mexp(lower - upper)
        inside = ordered_categories(k, cutpoints.shape[-1])
        out = np.where(inside, out, np.where(np.isnan(k), np.nan, -np.inf))
        return np.where((np.diff(cutpoints, axis=-1) > 0).all(axis=-1), out, np.nan)[()]


_increasing = vector_test("increasing", lambda c: 1.0 * (np.diff(c, axis=-1) > 0).all(axis=-1), (1,))


def _ordered_parts(k: Any, eta: Any, cutpoints: Any) -> tuple[Any, Any, Any, Any, Any]:
    """The derivatives of the two ends, that of their difference, and one-hot codes of the ends."""
    size = anp.shape(cutpoints)[-1]
    above, below = _one_hot(k, size), _one_hot(k - 1, size)
    ordered = _increasing(cutpoints)
    has_upper, has_lower = anp.sum(above, axis=-1) * ordered, anp.sum(below, axis=-1) * ordered
    upper = anp.sum(above * cutpoints, axis=-1)
    lower = anp.sum(below * cutpoints, axis=-1)
    tail = sp.inverse_expm1(select(has_upper * has_lower, upper - lower, np.inf))
    by_upper = select(has_upper, sp.expit_(eta - upper), 0.0)
    by_lower = select(has_lower, -sp.expit_(lower - eta), 0.0)
    return by_upper, by_lower, tail, above, below


def _ordered_by_eta(g: Any, k: Any, eta: Any, cutpoints: Any) -> Any:
    by_upper, by_lower, _, _, _ = _ordered_parts(k, eta, cutpoints)
    return -g * (by_upper + by_lower)


def _ordered_by_cutpoints(g: Any, k: Any, eta: Any, cutpoints: Any) -> Any:
    by_upper, by_lower, tail, above, below = _ordered_parts(k, eta, cutpoints)
    return column(g * (by_upper - tail)) * above + column(g * (by_lower + tail)) * below


ordered_logistic_ = vector_primitive("ordered_logistic.logpmf", _ordered_logistic, (0, 0, 1))
defvjp(ordered_logistic_, no_vjp(0), vjp_by(1, _ordered_by_eta), vjp_by(2, _ordered_by_cutpoints))


categorical = Density(
    "categorical",
    logpmf_logits=public(
        categorical_,
        "logpmf_logits",
        "k, logits",
        "Log mass of category k (...), from 0 to K - 1, with probabilities softmax(``logits``), (..., K).",
    )
)
ordered_logistic = Density(
    "ordered_logistic",
    logpmf=public(
        ordered_logistic_,
        "logpmf",
        "k, eta, cutpoints",
        "Log mass of ordered category k, 0 to K: P(k <= j) = expit(cutpoints[j] - eta), cutpoints (..., K).",
    )
)
