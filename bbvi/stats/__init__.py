"""Log densities and masses under SciPy's names, each one autograd primitive with closed-form derivatives."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NoReturn

from bbvi.stats.categories import categorical, ordered_logistic
from bbvi.stats.continuous import (
    beta,
    cauchy,
    chi2,
    expon,
    gamma,
    halfcauchy,
    halfnorm,
    invgamma,
    laplace,
    logistic,
    lognorm,
    norm,
    skewnorm,
    t,
    uniform,
    vonmises,
    weibull_min,
)
from bbvi.stats.correlations import lkj_cholesky
from bbvi.stats.discrete import bernoulli, betabinom, binom, geom, nbinom, poisson
from bbvi.stats.forms import censored, hurdle, truncated, zero_inflated
from bbvi.stats.frozen import Density, Frozen
from bbvi.stats.multivariate import multivariate_normal, multivariate_t
from bbvi.stats.primitives import elementwise_primitives
from bbvi.stats.simplex import dirichlet, multinomial
from bbvi.stats.special import (
    AXISWISE,
    REDUCTIONS,
    betaln,
    digamma,
    erf,
    erfc,
    expit,
    gammaln,
    log1mexp,
    log_expit,
    log_ndtr,
    log_softmax,
    logit,
    logsumexp,
    ndtr,
    ndtri,
    polygamma,
    softmax,
    softplus,
    xlog1py,
    xlogy,
)
from bbvi.stats.vectors import CORE_DIMS

ELEMENTWISE = frozenset(elementwise_primitives)

__all__ = [
    "AXISWISE",
    "CORE_DIMS",
    "Density",
    "ELEMENTWISE",
    "Frozen",
    "REDUCTIONS",
    "bernoulli",
    "beta",
    "betabinom",
    "betaln",
    "binom",
    "categorical",
    "censored",
    "cauchy",
    "chi2",
    "digamma",
    "dirichlet",
    "erf",
    "erfc",
    "expit",
    "expon",
    "gamma",
    "gammaln",
    "geom",
    "halfcauchy",
    "halfnorm",
    "hurdle",
    "invgamma",
    "laplace",
    "lkj_cholesky",
    "log1mexp",
    "log_expit",
    "log_ndtr",
    "log_softmax",
    "logistic",
    "logit",
    "lognorm",
    "logsumexp",
    "multinomial",
    "multivariate_normal",
    "multivariate_t",
    "nbinom",
    "ndtr",
    "ndtri",
    "norm",
    "ordered_logistic",
    "poisson",
    "polygamma",
    "skewnorm",
    "softmax",
    "softplus",
    "t",
    "truncated",
    "uniform",
    "vonmises",
    "weibull_min",
    "xlog1py",
    "xlogy",
    "zero_inflated",
]


def _find_by_name(path: str, given: Any) -> None:
    """Let pickle find functions by their public names: copies, in an executor's workers, would have no derivatives."""
    if not isinstance(given, Density):
        given.__module__, given.__qualname__ = __name__, path
    else:
        for key, function in vars(given).items():
            _find_by_name(f"{path}.{key}", function)


for _name in filter(str.islower, __all__):
    _find_by_name(_name, globals()[_name])

def __dir__() -> list[str]:
    return list(__all__)


# Hidden from type checkers, to which it would say that every name exists.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> NoReturn:
        near = get_close_matches(name, filter(str.islower, __all__), cutoff=0.5)
        hint = f"the nearest are {', '.join(near)}; " if near else ""
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}: {hint}__all__ lists what there is")
