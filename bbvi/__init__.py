"""Black-box variational inference: from a log joint density, a plain Python function, to a posterior for ArviZ."""

from __future__ import annotations

from . import families, stats
from .calibration import coverage, simulation_based_calibration
from .estimators import Pathwise, ScoreFunction, compare_estimators, estimate_gradient
from .families import MeanFieldGaussian
from .fit import fit
from .latents import CholeskyCorrelation, Interval, Ordered, Positive, Real, Simplex
from .model import Model
from .results import Fit, load
from .solvers.fixed_draws import FixedDraws
from .solvers.loop import Progress, Trace
from .solvers.natural_gradient import NaturalGradient
from .solvers.stochastic import Stochastic
from .status import Status
from .testing import check_model

__version__ = "0.1.0"

__all__ = [
    "CholeskyCorrelation",
    "Fit",
    "FixedDraws",
    "Interval",
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
    "Status",
    "Stochastic",
    "Trace",
    "check_model",
    "compare_estimators",
    "coverage",
    "estimate_gradient",
    "families",
    "fit",
    "load",
    "simulation_based_calibration",
    "stats",
]
