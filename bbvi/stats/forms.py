"""Densities made of others: zero-inflated and hurdle masses, truncated and censored densities."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.tracer import getval

from bbvi.stats import special as sp
from bbvi.stats.continuous import expon, logistic, norm, weibull_min
from bbvi.stats.discrete import betabinom, binom, nbinom, poisson
from bbvi.stats.frozen import Density
from bbvi.stats.primitives import Function, composed, public, unwatched

# Where a probability is evaluated instead of at 0 and at 1.
_EDGE, _BELOW_ONE = 1e-100, 1 - 2.0**-53
# A difference of logarithms for which the smaller counts for nothing.
_NOTHING = -800.0


def _probability(pi: Any) -> tuple[Any, Any, Any]:
    """Logarithms of pi and of 1 - pi, and where that is a probability; elsewhere they are those of one."""
    plain = getval(pi)
    valid = (plain >= 0) & (plain <= 1)
    inside = valid & (plain >= _EDGE) & (plain <= _BELOW_ONE)
    p = anp.where(inside, pi, np.clip(np.where(valid, plain, 0.5), _EDGE, _BELOW_ONE))
    return anp.log(p), anp.log1p(-p), valid


def _zero_inflated(base: Function) -> Function:
    def formula(k: Any, pi: Any, *parameters: Any) -> Any:
        log_pi, log_rest, valid = _probability(pi)
        at_zero = anp.logaddexp(log_pi, log_rest + base(0.0 * k, *parameters))
        return anp.where(valid, anp.where(k == 0, at_zero, log_rest + base(k, *parameters)), np.nan)

    return formula


def _hurdle(base: Function) -> Function:
    def formula(k: Any, pi: Any, *parameters: Any) -> Any:
        log_pi, log_rest, valid = _probability(pi)
        some = sp.log1mexp_(anp.minimum(base(0.0 * k, *parameters), -_EDGE))
        return anp.where(valid, anp.where(k == 0, log_pi, log_rest + base(k, *parameters) - some), np.nan)

    return formula


def _between(density: Density, lower: Any, upper: Any, parameters: tuple[Any, ...]) -> Any:
    """Log probability between two ends, by the tail in which it loses no digits."""
    below, above = np.isfinite(lower), np.isfinite(upper)
    low, high = np.where(below, lower, 0.0), np.where(above, upper, 0.0)
    far = anp.where(below, density.logsf(low, *parameters), 0.0)
    by_survival = far + sp.log1mexp_(
        anp.where(above, anp.minimum(density.logsf(high, *parameters) - far, -_EDGE), _NOTHING)
    )
    near = anp.where(above, density.logcdf(high, *parameters), 0.0)
    by_distribution = near + sp.log1mexp_(
        anp.where(below, anp.minimum(density.logcdf(low, *parameters) - near, -_EDGE), _NOTHING)
    )
    return anp.where(getval(far) < -np.log(2), by_survival, by_distribution)


def _truncated(density: Density) -> Function:
    def formula(x: Any, lower: Any, upper: Any, *parameters: Any) -> Any:
        plain = getval(x)
        inside = (plain >= lower) & (plain <= upper)
        out = density.logpdf(anp.where(inside, x, np.clip(plain, lower, upper)), *parameters)
        return anp.where(inside, out - _between(density, lower, upper, parameters), -np.inf)

    return formula


def _censored(density: Density) -> Function:
    def formula(x: Any, lower: Any, upper: Any, *parameters: Any) -> Any:
        plain = getval(x)
        below, above = plain <= lower, plain >= upper
        low, high = np.where(np.isfinite(lower), lower, 0.0), np.where(np.isfinite(upper), upper, 0.0)
        ends = anp.where(below, density.logcdf(low, *parameters), density.logsf(high, *parameters))
        return anp.where(below | above, ends, density.logpdf(x, *parameters))

    return formula


def _quiet(formula: Function) -> Function:
    """The formula, whose calls of other densities are its own affair, and whose branches may overflow."""

    def quiet(*args: Any) -> Any:
        with unwatched(), np.errstate(all="ignore"):
            return formula(*args)

    return quiet


def _made(form: str, density: Density, word: str, formula: Function, extra: str, fixed: int, doc: str) -> Function:
    """The public function of a form: the density's arguments with `extra` after the first, `fixed` without slope."""
    name = f"{form}({density.name}).{word}"
    first, *rest = inspect.signature(getattr(density, word)).parameters.values()
    others = [p.name if p.default is p.empty else f"{p.name}={p.default}" for p in rest]
    varying = [word == "logpdf", *[True] * (len(extra.split(", ")) + len(rest))]
    varying[1 : 1 + fixed] = [False] * fixed
    for i, parameter in enumerate(rest):
        # Counts and shifts of counts have no derivative.
        count = word != "logpdf" and (parameter.name == "loc" or (parameter.name == "n" and density.name != "nbinom"))
        varying[1 + len(extra.split(", ")) + i] = not count
    primitive = composed(name, _quiet(formula), varying)
    return public(primitive, word, ", ".join([first.name, extra, *others]), doc)


_INFLATED = """Log mass of a count that is zero with probability ``pi`` whatever {0} says, and else from {0}.

-inf outside the support, nan where a parameter is outside its domain."""
_HURDLED = """Log mass of a count that is zero with probability ``pi``, and else from {0} above zero.

-inf outside the support, nan where a parameter is outside its domain."""
_CUT = """Log density of {0} between ``lower`` and ``upper`` (either may be infinite), -inf outside."""
_SEEN = """Log density of {0} of which no more is known than that they are ``lower`` or less, or ``upper`` or more.

What is known of such a value is its probability: the log distribution function at ``lower``, or the log survival
function at ``upper``; either may be infinite."""

_COUNTS = (poisson, binom, nbinom, betabinom)
_CONTINUOUS = (norm, logistic, expon, weibull_min)


def _of_counts(form: str, made: Callable[[Function], Function], doc: str, density: Density) -> Density:
    words = {
        word: _made(form, density, word, made(function), "pi", 0, doc.format(density.name))
        for word, function in vars(density).items()
    }
    return Density(f"{form}({density.name})", 0, **words)


def _of_continuous(form: str, made: Callable[[Density], Function], doc: str, density: Density) -> Density:
    logpdf = _made(form, density, "logpdf", made(density), "lower, upper", 2, doc.format(density.name))
    return Density(f"{form}({density.name})", logpdf=logpdf)


FORMS: dict[str, dict[str, Density]] = {
    "zero_inflated": {d.name: _of_counts("zero_inflated", _zero_inflated, _INFLATED, d) for d in _COUNTS},
    "hurdle": {d.name: _of_counts("hurdle", _hurdle, _HURDLED, d) for d in _COUNTS},
    "truncated": {d.name: _of_continuous("truncated", _truncated, _CUT, d) for d in _CONTINUOUS},
    "censored": {d.name: _of_continuous("censored", _censored, _SEEN, d) for d in _CONTINUOUS},
}


def _form(form: str, density: Any) -> Density:
    made = FORMS[form].get(getattr(density, "name", ""))
    if made is None:
        raise TypeError(f"{form}: expected one of {', '.join(FORMS[form])} of bbvi.stats, got {density!r}")
    return made


def zero_inflated(density: Density) -> Density:
    """Counts with more zeros than `density` has: ``zero_inflated(poisson).logpmf(k, pi, mu)``.

    Parameters
    ----------
    density : Density
        ``poisson``, ``binom``, ``nbinom`` or ``betabinom``; every function of it takes ``pi``, the share of zeros that
        are of another kind, after the count.
    """
    return _form("zero_inflated", density)


def hurdle(density: Density) -> Density:
    """Counts whose zeros are of another kind altogether: ``hurdle(poisson).logpmf(k, pi, mu)``.

    Parameters
    ----------
    density : Density
        ``poisson``, ``binom``, ``nbinom`` or ``betabinom``, of which only counts above zero are used; every function of
        it takes ``pi``, the probability of zero, after the count.
    """
    return _form("hurdle", density)


def truncated(density: Density) -> Density:
    """A density between two ends: ``truncated(norm).logpdf(x, lower, upper, loc, scale)``.

    Parameters
    ----------
    density : Density
        ``norm``, ``logistic``, ``expon`` or ``weibull_min``. The ends are in units of x, and may be infinite.
    """
    return _form("truncated", density)


def censored(density: Density) -> Density:
    """A density of values that are known up to two ends: ``censored(norm).logpdf(x, lower, upper, loc, scale)``.

    Parameters
    ----------
    density : Density
        ``norm``, ``logistic``, ``expon`` or ``weibull_min``. The ends are in units of x, one for each value or one for
        all, and may be infinite.
    """
    return _form("censored", density)
