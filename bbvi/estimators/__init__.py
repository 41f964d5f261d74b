"""Gradient estimators for any cost: score function, pathwise, and their comparison."""

from __future__ import annotations

from .base import Estimate, Estimator
from .compare import compare_estimators, plot_comparison
from .cost import as_cost
from .gradient import as_estimator, estimate_gradient
from .pathwise import Pathwise
from .score_function import ScoreFunction

__all__ = [
    "Estimate",
    "Estimator",
    "Pathwise",
    "ScoreFunction",
    "as_cost",
    "as_estimator",
    "compare_estimators",
    "estimate_gradient",
    "plot_comparison",
]
