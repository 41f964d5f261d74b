"""Continuous univariate densities: one table of standard forms; ``location_scale`` adds loc and scale."""

from __future__ import annotations

from typing import Any

import autograd.numpy as anp
import numpy as np
import scipy.special as sc

from bbvi.stats import special as sp
from bbvi.stats.frozen import Density
from bbvi.stats.location_scale import Standard, finite, location_scale, nonnegative, positive
from bbvi.stats.primitives import Function, composed, elementwise, public
from bbvi.stats.tails import TAILS

_HALF_LOG_2PI = 0.5 * np.log(2 * np.pi)


def _log_kernel(exponent: Any, z: Any) -> Any:
    """exponent * log(z), 0 where exponent is; NumPy's log is several times faster than SciPy's xlogy."""
    out = np.multiply(np.log(z), exponent)
    return out if np.isfinite(out).all() else sc.xlogy(exponent, z)


# ---------------------------------------------------------------------- no shapes


def _square(z: Any) -> Any:
    out = z * z
    out *= -0.5
    return out


_NORMAL: dict[str, Any] = dict(first={"z": np.negative}, second={"zz": lambda z: -1.0})
_CAUCHY: dict[str, Any] = dict(
    value=lambda z: -np.log1p(z * z),
    first={"z": lambda z: -2 * z / (1 + z * z)},
    second={"zz": lambda z: _cauchy_curvature(1 / (1 + z * z))},
)


def _cauchy_curvature(q: Any) -> Any:
    return 2 * q * (1 - 2 * q)


def _logistic(z: Any) -> Any:
    out = np.abs(z)
    return -out - 2 * np.log1p(np.exp(-out))


# ---------------------------------------------------------------------- Student's t


def _delta(x: Any) -> Any:
    """log Gamma(x + 1/2) - log Gamma(x) - log(x) / 2; above 30 its asymptotic series."""
    r = 1.0 / np.asarray(x, dtype=float)
    r2 = r * r
    series = -r * (1 / 8 - r2 * (1 / 192 - r2 * (1 / 640 - r2 * (17 / 14336))))
    exact = sc.gammaln(np.add(x, 0.5)) - sc.gammaln(x) - 0.5 * np.log(x)
    return np.where(np.asarray(x) > 30, series, exact)[()]


def _delta_slope(x: Any) -> Any:
    r = 1.0 / np.asarray(x, dtype=float)
    r2 = r * r
    series = r2 * (1 / 8 - r2 * (1 / 64 - r2 * (1 / 128 - r2 * (17 / 2048))))
    exact = sc.psi(np.add(x, 0.5)) - sc.psi(x) - 0.5 * r
    return np.where(np.asarray(x) > 30, series, exact)[()]


_delta_curvature = elementwise(
    "t_curvature",
    lambda x: np.where(
        np.asarray(x) > 1e4,
        -0.25 / np.asarray(x, dtype=float) ** 3,
        sp.trigamma(np.add(x, 0.5)) - sp.trigamma(x) + 0.5 / np.square(x),
    )[()],
    (lambda x: sp.polygamma_(2, x + 0.5) - sp.polygamma_(2, x) - 1 / x**3,),
)


def _bounded(formula: Function) -> Function:
    """The formula with infinite degrees of freedom, the normal, as very many."""
    return lambda z, df: formula(z, anp.minimum(df, 1e100))


def _t_df(z: Any, df: Any) -> Any:
    w = z * z
    u = w / df
    w = w / (df + w)
    return -0.5 * np.log1p(u) + (0.5 + 0.5 / df) * w + 0.5 * _delta_slope(0.5 * df)


def _t_df_df(z: Any, df: Any) -> Any:
    d = df + z * z
    w = z * z / d
    return 0.5 * w * (1 / df - 1 / df**2 - (1 + 1 / df) / d) + 0.25 * _delta_curvature(0.5 * df)


def _t_z_df(z: Any, df: Any) -> Any:
    q = 1 / (df + z * z)
    return (z * q) * ((1 - z * z) * q)


def _t_z_z(z: Any, df: Any) -> Any:
    q = 1 / (df + z * z)
    return -(df + 1) * q * (2 * df * q - 1)


# ---------------------------------------------------------------------- the table


STANDARDS: dict[str, tuple[str, Standard]] = {
    "norm": ("", Standard(_square, lambda: _HALF_LOG_2PI, **_NORMAL)),
    "halfnorm": ("", Standard(_square, lambda: 0.5 * np.log(np.pi / 2), **_NORMAL, lower=0)),
    "cauchy": ("", Standard(constant=lambda: np.log(np.pi), **_CAUCHY)),
    "halfcauchy": ("", Standard(constant=lambda: np.log(np.pi / 2), **_CAUCHY, lower=0)),
    "laplace": (
        "",
        Standard(lambda z: -np.abs(z), lambda: np.log(2), first={"z": lambda z: -np.sign(z)}, second={}),
    ),
    "logistic": (
        "",
        Standard(
            _logistic,
            lambda: 0.0,
            first={"z": lambda z: -np.tanh(0.5 * z)},
            second={"zz": lambda z: -2 * sp.expit_(z) * sp.expit_(-z)},
        ),
    ),
    "expon": (
        "",
        Standard(np.negative, lambda: 0.0, first={"z": lambda z: -1.0 + 0.0 * z}, second={}, lower=0),
    ),
    "uniform": (
        "",
        Standard(lambda z: 0.0 * z, lambda: 0.0, first={"z": lambda z: 0.0 * z}, second={}, lower=0, upper=1),
    ),
    "t": (
        "df",
        Standard(
            _bounded(lambda z, df: (-0.5 * (df + 1)) * np.log1p(z * z / df)),
            lambda df: _HALF_LOG_2PI - _delta(0.5 * df),
            first={"z": _bounded(lambda z, df: -(df + 1) * z / (df + z * z)), "a": _bounded(_t_df)},
            second={"zz": _bounded(_t_z_z), "za": _bounded(_t_z_df), "aa": _bounded(_t_df_df)},
            domains=(positive,),
        ),
    ),
    "gamma": (
        "a",
        Standard(
            lambda z, a: _log_kernel(a - 1, z) - z,
            sc.gammaln,
            first={"z": lambda z, a: (a - 1) / z - 1, "a": lambda z, a: np.log(z) - sc.psi(a)},
            second={
                "zz": lambda z, a: (1 - a) / (z * z),
                "za": lambda z, a: 1 / z,
                "aa": lambda z, a: -sp.polygamma_(1, a),
            },
            lower=0,
            domains=(positive,),
        ),
    ),
    "invgamma": (
        "a",
        Standard(
            lambda z, a: -(a + 1) * np.log(z) - 1 / z,
            sc.gammaln,
            first={"z": lambda z, a: (1 / z - (a + 1)) / z, "a": lambda z, a: -np.log(z) - sc.psi(a)},
            second={
                "zz": lambda z, a: (a + 1 - 2 / z) / (z * z),
                "za": lambda z, a: -1 / z,
                "aa": lambda z, a: -sp.polygamma_(1, a),
            },
            lower=0,
            closed=False,
            domains=(positive,),
        ),
    ),
    "chi2": (
        "df",
        Standard(
            lambda z, df: _log_kernel(0.5 * df - 1, z) - 0.5 * z,
            lambda df: (0.5 * np.log(2)) * df + sc.gammaln(0.5 * df),
            first={
                "z": lambda z, df: (0.5 * df - 1) / z - 0.5,
                "a": lambda z, df: 0.5 * (np.log(0.5 * z) - sc.psi(0.5 * df)),
            },
            second={
                "zz": lambda z, df: (1 - 0.5 * df) / (z * z),
                "za": lambda z, df: 0.5 / z,
                "aa": lambda z, df: -0.25 * sp.polygamma_(1, 0.5 * df),
            },
            lower=0,
            domains=(positive,),
        ),
    ),
    "beta": (
        "a, b",
        Standard(
            lambda z, a, b: sc.xlogy(a - 1, z) + sc.xlog1py(b - 1, -z),
            sc.betaln,
            first={
                "z": lambda z, a, b: (a - 1) / z - (b - 1) / (1 - z),
                "a": lambda z, a, b: np.log(z) - (sc.psi(a) - sc.psi(a + b)),
                "b": lambda z, a, b: np.log1p(-z) - (sc.psi(b) - sc.psi(a + b)),
            },
            second={
                "zz": lambda z, a, b: (1 - a) / (z * z) + (1 - b) / ((1 - z) * (1 - z)),
                "za": lambda z, a, b: 1 / z,
                "zb": lambda z, a, b: -1 / (1 - z),
                "aa": lambda z, a, b: sp.polygamma_(1, a + b) - sp.polygamma_(1, a),
                "ab": lambda z, a, b: sp.polygamma_(1, a + b),
                "bb": lambda z, a, b: sp.polygamma_(1, a + b) - sp.polygamma_(1, b),
            },
            lower=0,
            upper=1,
            domains=(positive, positive),
        ),
    ),
    "lognorm": (
        "s",
        Standard(
            lambda z, s: -(log := np.log(z)) - 0.5 * np.square(log / s),
            lambda s: np.log(s) + _HALF_LOG_2PI,
            first={
                "z": lambda z, s: -(1 + np.log(z) / (s * s)) / z,
                "a": lambda z, s: (np.square(np.log(z) / s) - 1) / s,
            },
            second={
                "zz": lambda z, s: (1 + (anp.log(z) - 1) / (s * s)) / (z * z),
                "za": lambda z, s: 2 * anp.log(z) / (s * s * s * z),
                "aa": lambda z, s: (1 - 3 * (anp.log(z) / s) ** 2) / (s * s),
            },
            lower=0,
            closed=False,
            domains=(positive,),
        ),
    ),
    "weibull_min": (
        "c",
        Standard(
            lambda z, c: _log_kernel(c - 1, z) - np.power(z, c),
            lambda c: -np.log(c),
            first={
                "z": lambda z, c: (c - 1 - c * np.power(z, c)) / z,
                "a": lambda z, c: 1 / c + np.log(z) * (1 - np.power(z, c)),
            },
            second={
                "zz": lambda z, c: (1 - c) * (1 + c * z**c) / (z * z),
                "za": lambda z, c: (1 - z**c * (1 + c * anp.log(z))) / z,
                "aa": lambda z, c: -(z**c) * anp.log(z) ** 2 - 1 / (c * c),
            },
            lower=0,
            domains=(positive,),
        ),
    ),
    "vonmises": (
        "kappa",
        Standard(
            lambda z, kappa: kappa * sc.cosm1(z),
            lambda kappa: np.log(2 * np.pi * sc.i0e(kappa)),
            first={
                "z": lambda z, kappa: -kappa * np.sin(z),
                "a": lambda z, kappa: sc.cosm1(z) + (1 - sc.i1e(kappa) / sc.i0e(kappa)),
            },
            second={
                "zz": lambda z, kappa: -kappa * anp.cos(z),
                "za": lambda z, kappa: -anp.sin(z),
                "aa": lambda z, kappa: -sp.bessel_ratio_slope(kappa),
            },
            domains=(nonnegative,),
        ),
    ),
    "skewnorm": (
        "a",
        Standard(
            lambda z, a: _square(z) + sc.log_ndtr(a * z),
            lambda a: _HALF_LOG_2PI - np.log(2),
            first={
                "z": lambda z, a: a * sp.inverse_mills(a * z) - z,
                "a": lambda z, a: z * sp.inverse_mills(a * z),
            },
            second={
                "zz": lambda z, a: a * a * sp.inverse_mills_slope(a * z) - 1,
                "za": lambda z, a: sp.inverse_mills(a * z) + a * z * sp.inverse_mills_slope(a * z),
                "aa": lambda z, a: z * z * sp.inverse_mills_slope(a * z),
            },
            domains=(finite,),
        ),
    ),
}


_DOC = """Log density of {name}; parameters and support are those of ``scipy.stats.{name}``.

-inf outside the support, nan where a parameter is outside its domain; the gradient is zero in both."""
_BY_MEAN = """Log density of beta by its mean, between 0 and 1, and its precision a + b, as in beta regression.

-inf outside the support, nan where a parameter is outside its domain; the gradient is zero in both."""
_WORDS = {"logcdf": "distribution", "logsf": "survival"}
_TAIL_DOC = "Log {word} function of {name}, with the parameters of ``scipy.stats.{name}``."


def _arguments(shapes: str) -> str:
    return ", ".join(part for part in ("x", shapes, "loc=0, scale=1") if part)


def _make(name: str) -> Density:
    shapes, standard = STANDARDS[name]
    density = location_scale(f"{name}.logpdf", standard)
    functions = {"logpdf": public(density, "logpdf", _arguments(shapes), _DOC.format(name=name))}
    for word in _WORDS:
        if (name, word) in TAILS:
            shapes, standard = TAILS[name, word]
            tail = location_scale(f"{name}.{word}", standard)
            doc = _TAIL_DOC.format(word=_WORDS[word], name=name)
            functions[word] = public(tail, word, _arguments(shapes), doc)
    if name == "beta":
        functions["logpdf_mean"] = public(_by_mean(density), "logpdf_mean", "x, mean, precision", _BY_MEAN)
    return Density(name, 0, **functions)


def _by_mean(beta_: Function) -> Function:
    def formula(x: Any, mean: Any, precision: Any) -> Any:
        return beta_(x, mean * precision, (1 - mean) * precision, 0, 1)

    return composed("beta.logpdf_mean", formula, [True, True, True])


norm = _make("norm")
halfnorm = _make("halfnorm")
cauchy = _make("cauchy")
halfcauchy = _make("halfcauchy")
laplace = _make("laplace")
logistic = _make("logistic")
expon = _make("expon")
uniform = _make("uniform")
t = _make("t")
gamma = _make("gamma")
invgamma = _make("invgamma")
chi2 = _make("chi2")
beta = _make("beta")
lognorm = _make("lognorm")
weibull_min = _make("weibull_min")
vonmises = _make("vonmises")
skewnorm = _make("skewnorm")
