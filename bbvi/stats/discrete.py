"""Masses of counts and outcomes: one table of formulas; no derivative in the counts themselves."""

from __future__ import annotations

from typing import Any

import autograd.numpy as anp
import numpy as np
import scipy.special as sc
from autograd.tracer import getval

from bbvi.stats import special as sp
from bbvi.stats.frozen import Density
from bbvi.stats.mass import COUNT, POSITIVE, POSITIVE_PROBABILITY, PROBABILITY, RATE, REAL, Mass, mass_function
from bbvi.stats.primitives import Function, composed, inplace, public

# ---------------------------------------------------------------------- formulas


def _whole(k: Any) -> Any:
    return np.greater_equal(k, 0) & np.equal(k, np.floor(k))


def _up_to(k: Any, n: Any) -> Any:
    return _whole(k) & np.less_equal(k, n)


def _binary(k: Any, *parameters: Any) -> Any:
    return np.equal(k, 0) | np.equal(k, 1)


def _any_count(k: Any, *parameters: Any) -> Any:
    return _whole(k)


def log_factorial(k: Any) -> Any:
    """log k!, from a table where that is cheaper than a log gamma for each."""
    k = np.asarray(k)
    if k.size > 32:
        top = k.max()
        if top < k.size:
            return sc.gammaln(np.arange(1.0, top + 2)).take(k.astype(np.intp))
    return sc.gammaln(k + 1)


# Counts from which a table of those that occur pays.
_REPEATED = 64


def _log_choose(n: Any, k: Any) -> Any:
    if np.max(n, initial=0.0) < 1e4:
        return log_factorial(n) - log_factorial(k) - log_factorial(np.maximum(np.subtract(n, k), 0))
    return -np.log1p(n) - sc.betaln(np.subtract(n, k) + 1, np.add(k, 1.0))


def _times_log(k: Any, x: Any) -> Any:
    """k * log(x), 0 where k is."""
    out = np.multiply(np.log(x), k)
    return out if np.isfinite(np.sum(out)) else sc.xlogy(k, x)


def _times_log1m(k: Any, p: Any) -> Any:
    """k * log(1 - p), 0 where k is."""
    out = np.negative(p)
    out = inplace(np.multiply, np.log1p(out, out=out) if isinstance(out, np.ndarray) else np.log1p(out), k)
    return out if np.isfinite(np.sum(out)) else sc.xlog1py(k, np.negative(p))


def _by_n(large: Function, small: Function) -> Function:
    """A function of (n, k) by Stirling's series where n >= 30, directly elsewhere."""

    def fun(n: Any, k: Any) -> Any:
        above = np.greater_equal(n, 30)
        if above.all():
            return large(n, k)
        return small(n, k) if not above.any() else np.where(above, large(n, k), small(n, k))

    return fun


def _by_count(fun: Function) -> Function:
    """A function of (n, k), worked out once for each count where one n stands for many counts that repeat."""

    def looked_up(n: Any, k: Any) -> Any:
        single = np.ndim(n) == 0 or np.shape(n)[-1] == 1
        if isinstance(k, np.ndarray) and k.ndim == 1 and k.size >= _REPEATED and single:
            top = k.max()
            whole = k.astype(np.intp)
            if 0 <= top < k.size / 4 and k.min() >= 0 and (whole == k).all():
                return np.take(fun(n, np.arange(top + 1.0)), whole, axis=-1)
        return fun(n, k)

    return looked_up


def _stirling(x: Any) -> Any:
    r2 = 1.0 / (x * x)
    return (1 / 12 - r2 * (1 / 360 - r2 * (1 / 1260 - r2 * (1 / 1680)))) / x


def _stirling_slope(x: Any) -> Any:
    r2 = 1.0 / (x * x)
    return -r2 * (1 / 12 - r2 * (1 / 120 - r2 * (1 / 252 - r2 * (1 / 240))))


# log Gamma(n + k) - log Gamma(n) - k log(n), which vanishes for large n, and its derivatives in n.
_rising = _by_count(
    _by_n(
        lambda n, k: (n + k - 0.5) * np.log1p(k / n) - k + (_stirling(n + k) - _stirling(n)),
        lambda n, k: sc.gammaln(n + k) - sc.gammaln(n) - k * np.log(n),
    )
)
_rising_slope = _by_count(
    _by_n(
        lambda n, k: (
            np.log1p(k / n) - (n + k - 0.5) * k / (n * (n + k)) + (_stirling_slope(n + k) - _stirling_slope(n))
        ),
        lambda n, k: sc.psi(n + k) - sc.psi(n) - k / n,
    )
)


# What the log mass has of counts and n alone.
_of_counts = _by_count(lambda n, k: _rising(n, k) + k * np.log(n) - log_factorial(k))


def _rising_curvature(n: Any, k: Any) -> Any:
    return sp.polygamma_(1, n + k) - sp.polygamma_(1, n) + k / (n * n)


def _bernoulli_logits(k: Any, logits: Any) -> Any:
    return sp._log_expit((2.0 * k - 1.0) * logits)


def _binom_logits(k: Any, n: Any, logits: Any) -> Any:
    loss = n * np.log1p(np.exp(-np.abs(logits)))
    loss = loss + np.where(np.greater(logits, 0), np.subtract(n, k), np.negative(k)) * logits
    return _log_choose(n, k) - loss


def _poisson_log_rate(k: Any, log_rate: Any) -> Any:
    out = inplace(np.subtract, k * log_rate, np.exp(log_rate))
    return inplace(np.subtract, out, log_factorial(k))


def _nbinom_value(k: Any, n: Any, p: Any) -> Any:
    out = inplace(np.add, inplace(np.multiply, np.log(p), n), _of_counts(n, k))
    return inplace(np.add, out, _times_log1m(k, p))


def _overdispersed(k: Any, log_rate: Any, r: Any) -> Any:
    """log1p(rate / r) is softplus(log_rate - log r), which does not overflow."""
    excess = -sp._log_expit(np.log(r) - log_rate)
    return k * log_rate - (k + r) * excess + (_rising(r, k) - log_factorial(k))


def _share(log_rate: Any, r: Any) -> Any:
    """rate / (r + rate)."""
    return sp.expit_(log_rate - anp.log(r))


def _overdispersed_slope(k: Any, log_rate: Any, r: Any) -> Any:
    shift = np.log(r) - log_rate
    return _rising_slope(r, k) + sp._log_expit(shift) + (k + r) * sp._expit(-shift) / r


def _overdispersed_curvature(k: Any, log_rate: Any, r: Any) -> Any:
    m = _share(log_rate, r)
    return _rising_curvature(r, k) + m * (2 - (k + r) * (2 - m) / r) / r


def _overdispersed_mixed(k: Any, log_rate: Any, r: Any) -> Any:
    m = _share(log_rate, r)
    return -m + (k + r) * m * (1 - m) / r


def _overdispersed_log_rate2(k: Any, log_rate: Any, r: Any) -> Any:
    m = _share(log_rate, r)
    return -(k + r) * m * (1 - m)


def _betabinom_value(k: Any, n: Any, a: Any, b: Any) -> Any:
    return _log_choose(n, k) + sc.betaln(k + a, n - k + b) - sc.betaln(a, b)


def _trigamma(x: Any) -> Any:
    return sp.polygamma_(1, x)


# ---------------------------------------------------------------------- the table


_BERNOULLI = Mass(
    lambda k, p: _times_log(k, p) + _times_log1m(1.0 - k, p),
    [lambda k, p: k / p - (1 - k) / (1 - p)],
    {(0, 0): lambda k, p: -k / (p * p) - (1 - k) / ((1 - p) * (1 - p))},
    [PROBABILITY],
    _binary,
    words="0 or 1",
)
_BERNOULLI_LOGITS = Mass(
    _bernoulli_logits,
    [lambda k, logits: k - sp._expit(logits)],
    {(0, 0): lambda k, logits: -sp.expit_(logits) * sp.expit_(-logits)},
    [REAL],
    _binary,
    words="0 or 1",
)
_BINOM = Mass(
    lambda k, n, p: _log_choose(n, k) + _times_log(k, p) + _times_log1m(n - k, p),
    [None, lambda k, n, p: k / p - (n - k) / (1 - p)],
    {(1, 1): lambda k, n, p: -k / (p * p) - (n - k) / ((1 - p) * (1 - p))},
    [COUNT, PROBABILITY],
    lambda k, n, p: _up_to(k, n),
    words="whole numbers from 0 to n",
)
_BINOM_LOGITS = Mass(
    _binom_logits,
    [None, lambda k, n, logits: k - n * sp._expit(logits)],
    {(1, 1): lambda k, n, logits: -n * sp.expit_(logits) * sp.expit_(-logits)},
    [COUNT, REAL],
    lambda k, n, logits: _up_to(k, n),
    words="whole numbers from 0 to n",
)
_BETABINOM = Mass(
    _betabinom_value,
    [
        None,
        lambda k, n, a, b: sc.psi(k + a) - sc.psi(a) - (sc.psi(n + a + b) - sc.psi(a + b)),
        lambda k, n, a, b: sc.psi(n - k + b) - sc.psi(b) - (sc.psi(n + a + b) - sc.psi(a + b)),
    ],
    {
        (1, 1): lambda k, n, a, b: _trigamma(k + a) - _trigamma(a) - _trigamma(n + a + b) + _trigamma(a + b),
        (1, 2): lambda k, n, a, b: _trigamma(a + b) - _trigamma(n + a + b),
        (2, 2): lambda k, n, a, b: (
            _trigamma(n - k + b) - _trigamma(b) - _trigamma(n + a + b) + _trigamma(a + b)
        ),
    },
    [COUNT, POSITIVE, POSITIVE],
    lambda k, n, a, b: _up_to(k, n),
    words="whole numbers from 0 to n",
)
_POISSON = Mass(
    lambda k, mu: _times_log(k, mu) - mu - log_factorial(k),
    [lambda k, mu: k / mu - 1],
    {(0, 0): lambda k, mu: -k / (mu * mu)},
    [RATE],
    _any_count,
)
_POISSON_LOG_RATE = Mass(
    _poisson_log_rate,
    [lambda k, log_rate: k - np.exp(log_rate)],
    {(0, 0): lambda k, log_rate: -anp.exp(log_rate)},
    [REAL],
    _any_count,
)
_NBINOM = Mass(
    _nbinom_value,
    [
        lambda k, n, p: _rising_slope(n, k) + k / n + np.log(p),
        lambda k, n, p: n / p - k / (1 - p),
    ],
    {
        (0, 0): lambda k, n, p: _trigamma(n + k) - _trigamma(n),
        (0, 1): lambda k, n, p: 1 / p,
        (1, 1): lambda k, n, p: -n / (p * p) - k / ((1 - p) * (1 - p)),
    },
    [POSITIVE, POSITIVE_PROBABILITY],
    _any_count,
)
_NBINOM_LOG_RATE = Mass(
    _overdispersed,
    [
        lambda k, log_rate, r: k - (k + r) * sp._expit(log_rate - np.log(r)),
        _overdispersed_slope,
    ],
    {
        (0, 0): _overdispersed_log_rate2,
        (0, 1): _overdispersed_mixed,
        (1, 1): _overdispersed_curvature,
    },
    [REAL, POSITIVE],
    _any_count,
)
_GEOM = Mass(
    lambda k, p: np.log(p) + _times_log1m(k - 1.0, p),
    [lambda k, p: 1 / p - (k - 1) / (1 - p)],
    {(0, 0): lambda k, p: -1 / (p * p) - (k - 1) / ((1 - p) * (1 - p))},
    [POSITIVE_PROBABILITY],
    lambda k, p: np.greater_equal(k, 1) & np.equal(k, np.floor(k)),
    1.0,
    words="whole numbers of 1 or more",
)


MASSES: dict[str, tuple[str, Mass]] = {
    "bernoulli.logpmf": ("p, loc", _BERNOULLI),
    "bernoulli.logpmf_logits": ("logits", _BERNOULLI_LOGITS),
    "binom.logpmf": ("n, p, loc", _BINOM),
    "binom.logpmf_logits": ("n, logits", _BINOM_LOGITS),
    "betabinom.logpmf": ("n, a, b, loc", _BETABINOM),
    "poisson.logpmf": ("mu, loc", _POISSON),
    "poisson.logpmf_log_rate": ("log_rate", _POISSON_LOG_RATE),
    "nbinom.logpmf": ("n, p, loc", _NBINOM),
    "nbinom.logpmf_log_rate": ("log_rate, concentration", _NBINOM_LOG_RATE),
    "geom.logpmf": ("p, loc", _GEOM),
}


def _make(name: str) -> Density:
    """``logpmf`` with the shift ``loc=0`` that SciPy's has."""
    parameters, mass = MASSES[f"{name}.logpmf"]
    fun = mass_function(f"{name}.logpmf", mass)

    def shifted(k: Any, *args: Any) -> Any:
        *rest, loc = args
        return fun(k if isinstance(loc, int) and loc == 0 else k - loc, *rest)

    shifted.__name__ = f"{name}.logpmf"
    doc = (
        f"Log mass of {name}; parameters and support are those of ``scipy.stats.{name}``.\n\n"
        "-inf outside the support, nan where a parameter is outside its domain; the gradient is zero in both."
    )
    return Density(name, logpmf=public(shifted, "logpmf", f"k, {parameters}=0", doc))


def _by(name: str, word: str, doc: str) -> Function:
    """``logpmf`` by another parameter, under a word of its own."""
    parameters, mass = MASSES[f"{name}.{word}"]
    return public(mass_function(f"{name}.{word}", mass), word, f"k, {parameters}", doc)


def _nbinom_mean(k: Any, mean: Any, concentration: Any) -> Any:
    plain = getval(mean)
    valid = plain >= 0
    with np.errstate(all="ignore"):
        safe = anp.where(valid & (plain > _LEAST_MEAN), mean, np.where(valid, _LEAST_MEAN, 1.0))
        out = _nbinom_log_rate(k, anp.log(safe), concentration)
        return anp.where(valid, out, np.nan)


_LEAST_MEAN = 1e-100
_nbinom_log_rate = mass_function("nbinom.logpmf_log_rate", _NBINOM_LOG_RATE)


bernoulli = _make("bernoulli")
bernoulli.logpmf_logits = _by("bernoulli", "logpmf_logits", "Log mass of a Bernoulli outcome with log odds ``logits``.")
binom = _make("binom")
binom.logpmf_logits = _by("binom", "logpmf_logits", "Log mass of k successes of n with log odds ``logits``.")
betabinom = _make("betabinom")
poisson = _make("poisson")
poisson.logpmf_log_rate = _by("poisson", "logpmf_log_rate", "Log mass of a Poisson count with mean exp(``log_rate``).")
nbinom = _make("nbinom")
nbinom.logpmf_log_rate = _by(
    "nbinom",
    "logpmf_log_rate",
    "Log mass of a negative binomial: mean m = exp(``log_rate``), variance m + m^2 / concentration.",
)
nbinom.logpmf_mean = public(
    composed("nbinom.logpmf_mean", _nbinom_mean, [False, True, True]),
    "logpmf_mean",
    "k, mean, concentration",
    "Log mass of a negative binomial by its mean m, of 0 or more, with variance m + m^2 / concentration.",
)
geom = _make("geom")
