"""Dirichlet and multinomial; their components are the last axis."""

from __future__ import annotations

from typing import Any

import autograd.numpy as anp
import numpy as np
import scipy.special as sc
from autograd.extend import defvjp

from bbvi.stats import special as sp
from bbvi.stats.discrete import log_factorial
from bbvi.stats.frozen import Density
from bbvi.stats.primitives import public
from bbvi.stats.vectors import SUM_TOLERANCE, column, masked, no_vjp, vector_primitive, vector_test, vjp_by


def on_simplex(x: Any) -> Any:
    """Whether each vector has entries of 0 or more that add up to one."""
    return (x >= 0).all(axis=-1) & (np.abs(x.sum(axis=-1) - 1) < SUM_TOLERANCE)


def _dirichlet(x: Any, alpha: Any) -> Any:
    with np.errstate(all="ignore"):
        constant = sc.gammaln(alpha).sum(axis=-1) - sc.gammaln(alpha.sum(axis=-1))
        out = sc.xlogy(alpha - 1, x).sum(axis=-1) - constant
        out = np.where(on_simplex(x), out, -np.inf)
        return np.where((alpha > 0).all(axis=-1), out, np.nan)[()]


def _inside(x: Any, alpha: Any) -> Any:
    return (x > 0) & (on_simplex(x) & (alpha > 0).all(axis=-1))[..., None]


# Where a derivative counts, component by component.
_dirichlet_mask = vector_test("dirichlet_support", _inside, (1, 1), 1)


def _dirichlet_by_alpha(g: Any, x: Any, alpha: Any) -> Any:
    total = anp.sum(alpha, axis=-1, keepdims=True)
    mask = _dirichlet_mask(x, alpha)

    def slope(x: Any, alpha: Any, total: Any) -> Any:
        return anp.log(x) - sp.digamma_(alpha) + sp.digamma_(total)

    return column(g) * masked(mask, slope, x, alpha, total)


dirichlet_ = vector_primitive("dirichlet.logpdf", _dirichlet, (1, 1))
defvjp(
    dirichlet_,
    vjp_by(
        0,
        lambda g, x, alpha: (
            column(g) * masked(_dirichlet_mask(x, alpha), lambda x, alpha: (alpha - 1) / x, x, alpha)
        ),
    ),
    vjp_by(1, _dirichlet_by_alpha),
)


def whole_and_adding_up(x: Any, n: Any) -> Any:
    """Whether each vector has whole entries of 0 or more that add up to n."""
    return ((x >= 0) & (x == np.floor(x))).all(axis=-1) & (x.sum(axis=-1) == n)


def _probabilities(n: Any, p: Any) -> Any:
    return on_simplex(p) & np.greater_equal(n, 0) & np.equal(n, np.floor(n))


def _multinomial(x: Any, n: Any, p: Any) -> Any:
    with np.errstate(all="ignore"):
        inside = whole_and_adding_up(x, n)
        counts = np.where(inside[..., None], x, 0.0)
        coefficient = sc.gammaln(np.add(n, 1.0)) - log_factorial(counts).sum(axis=-1)
        out = sc.xlogy(counts, p).sum(axis=-1) + coefficient
        out = np.where(inside, out, -np.inf)
        return np.where(_probabilities(n, p), out, np.nan)[()]


_multinomial_mask = vector_test(
    "multinomial_support",
    lambda x, n, p: (p > 0) & (whole_and_adding_up(x, n) & _probabilities(n, p))[..., None],
    (1, 0, 1),
    1,
)


def _multinomial_by_p(g: Any, x: Any, n: Any, p: Any) -> Any:
    return column(g) * masked(_multinomial_mask(x, n, p), lambda x, p: x / p, x, p)


multinomial_ = vector_primitive("multinomial.logpmf", _multinomial, (1, 0, 1))
defvjp(multinomial_, no_vjp(0), no_vjp(1), vjp_by(2, _multinomial_by_p))


dirichlet = Density(
    "dirichlet",
    axes=1,
    logpdf=public(
        dirichlet_,
        "logpdf",
        "x, alpha",
        "Log density at x (..., K) on the simplex, concentrations alpha (..., K); the last axis is K.",
    )
)
multinomial = Density(
    "multinomial",
    axes=1,
    logpmf=public(
        multinomial_,
        "logpmf",
        "x, n, p",
        "Log mass of counts x (..., K) of n (...), probabilities p (..., K).",
    )
)
