"""Log distribution and survival functions, for censored and truncated data: a table of standard forms."""

from __future__ import annotations

from typing import Any

import autograd.numpy as anp
import numpy as np
import scipy.special as sc

from bbvi.stats import special as sp
from bbvi.stats.location_scale import Standard, positive
from bbvi.stats.primitives import Function


def _tail(
    value: Function,
    first: Function,
    second: Function,
    outside: tuple[float, float] = (0.0, 0.0),
    lower: float = -np.inf,
) -> Standard:
    """A log distribution or survival function without shapes."""
    return Standard(
        value, lambda: 0.0, {"z": first}, {"zz": second}, lower=lower, outside=outside, density=False
    )


_CDF = (-np.inf, 0.0)
_SURVIVAL = (0.0, -np.inf)


def _weibull_hazard(z: Any, c: Any) -> Any:
    """The cumulative hazard z^c and its derivatives in z and c, z z, z c and c c."""
    h, log = z**c, anp.log(z)
    return h, c * h / z, h * log, c * (c - 1) * h / (z * z), h * (1 + c * log) / z, h * log * log


def _log_failure(hazard: Any) -> Any:
    """log(1 - exp(-hazard)), its slope and its curvature in the hazard."""
    slope = -sp.inverse_expm1(hazard)
    return sp.log1mexp_(-hazard), slope, -slope * (1 + slope)


def _failure_first(index: int) -> Function:
    def derivative(z: Any, c: Any) -> Any:
        parts = _weibull_hazard(z, c)
        return _log_failure(parts[0])[1] * parts[index]

    return derivative


def _failure_second(i: int, j: int, mixed: int) -> Function:
    def derivative(z: Any, c: Any) -> Any:
        parts = _weibull_hazard(z, c)
        _, slope, curvature = _log_failure(parts[0])
        return curvature * parts[i] * parts[j] + slope * parts[mixed]

    return derivative


TAILS: dict[tuple[str, str], tuple[str, Standard]] = {
    ("norm", "logcdf"): ("", _tail(sc.log_ndtr, sp.inverse_mills, sp.inverse_mills_slope)),
    ("norm", "logsf"): (
        "",
        _tail(
            lambda z: sc.log_ndtr(-z), lambda z: -sp.inverse_mills(-z), lambda z: sp.inverse_mills_slope(-z)
        ),
    ),
    ("logistic", "logcdf"): (
        "",
        _tail(lambda z: sp.log_expit_(z), lambda z: sp.expit_(-z), lambda z: -sp.expit_(z) * sp.expit_(-z)),
    ),
    ("logistic", "logsf"): (
        "",
        _tail(lambda z: sp.log_expit_(-z), lambda z: -sp.expit_(z), lambda z: -sp.expit_(z) * sp.expit_(-z)),
    ),
    ("expon", "logcdf"): (
        "",
        _tail(
            lambda z: sp.log1mexp_(-z),
            lambda z: -sp.inverse_expm1(z),
            lambda z: sp.inverse_expm1(z) * (1 - sp.inverse_expm1(z)),
            _CDF,
            0.0,
        ),
    ),
    ("expon", "logsf"): ("", _tail(np.negative, lambda z: -1.0 + 0.0 * z, lambda z: 0.0, _SURVIVAL, 0.0)),
    ("weibull_min", "logsf"): (
        "c",
        Standard(
            lambda z, c: -np.power(z, c),
            lambda c: 0.0,
            {"z": lambda z, c: -_weibull_hazard(z, c)[1], "a": lambda z, c: -_weibull_hazard(z, c)[2]},
            {
                "zz": lambda z, c: -_weibull_hazard(z, c)[3],
                "za": lambda z, c: -_weibull_hazard(z, c)[4],
                "aa": lambda z, c: -_weibull_hazard(z, c)[5],
            },
            lower=0,
            outside=_SURVIVAL,
            density=False,
            domains=(positive,),
        ),
    ),
    ("weibull_min", "logcdf"): (
        "c",
        Standard(
            lambda z, c: sp.log1mexp_(-np.power(z, c)),
            lambda c: 0.0,
            {"z": _failure_first(1), "a": _failure_first(2)},
            {
                "zz": _failure_second(1, 1, 3),
                "za": _failure_second(1, 2, 4),
                "aa": _failure_second(2, 2, 5),
            },
            lower=0,
            outside=_CDF,
            density=False,
            domains=(positive,),
        ),
    ),
}
