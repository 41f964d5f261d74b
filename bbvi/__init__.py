"""Black-box variational inference: from a log joint density, a plain Python function, to a posterior for ArviZ."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from types import ModuleType

import bbvi.output  # noqa: F401  (hangs its ways out on Fit)
from bbvi import families, numpy, stats
from bbvi.checking.calibration import coverage, simulation_based_calibration
from bbvi.checking.check_model import check_model
from bbvi.checking.prior import prior_predictive
from bbvi.estimators import Pathwise, ScoreFunction, compare_estimators, estimate_gradient
from bbvi.families import FullRankGaussian, LowRankGaussian, MeanFieldGaussian
from bbvi.fitting.fit import fit
from bbvi.model.draw import Draw
from bbvi.model.latents import CholeskyCorrelation, Interval, Ordered, Positive, Real, Simplex, Support
from bbvi.model.model import Model
from bbvi.result.fit import Fit, load
from bbvi.solvers.fixed_draws import FixedDraws
from bbvi.solvers.from_values.active import Surrogate
from bbvi.solvers.from_values.natural_gradient import NaturalGradient
from bbvi.solvers.loop import Progress
from bbvi.solvers.state import State, Trace
from bbvi.solvers.stochastic import Stochastic
from bbvi.solvers.wider import FullRank, LowRank
from bbvi.status import Status

# What takes a second to import, or what not every program wants, is there when it is asked for.
_LATER = {"bridges": "bbvi.bridges", "plots": "bbvi.output.plots", "models": "bbvi.models"}


def __getattr__(name: str) -> ModuleType:
    if name in _LATER:
        return import_module(_LATER[name])
    near = get_close_matches(name, __all__, cutoff=0.6)
    hint = f"; did you mean {' or '.join(near)}?" if near and not name.startswith("_") else ""
    raise AttributeError(f"module 'bbvi' has no attribute {name!r}{hint}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


__version__ = "0.2.0"

__all__ = [
    "CholeskyCorrelation",
    "Draw",
    "Fit",
    "FixedDraws",
    "FullRank",
    "FullRankGaussian",
    "Interval",
    "LowRank",
    "LowRankGaussian",
    "MeanFieldGaussian",
    "Model",
    "NaturalGradient",
    "Ordered",
    "Pathwise",
    "Positive",
    "Progress",
    "Real",
    "ScoreFunction",
    "Simplex",
    "State",
    "Status",
    "Stochastic",
    "Support",
    "Surrogate",
    "Trace",
    "bridges",
    "check_model",
    "compare_estimators",
    "coverage",
    "estimate_gradient",
    "families",
    "fit",
    "load",
    "models",
    "numpy",
    "plots",
    "prior_predictive",
    "simulation_based_calibration",
    "stats",
]
