"""Gradient estimators for any cost: score function, pathwise, and their comparison."""

from __future__ import annotations

from bbvi.estimators.base import Estimate, Estimator
from bbvi.estimators.compare import compare_estimators
from bbvi.estimators.cost import as_cost
from bbvi.estimators.gradient import as_estimator, estimate_gradient
from bbvi.estimators.pathwise import Pathwise
from bbvi.estimators.score_function import ScoreFunction

__all__ = [
    "Estimate",
    "Estimator",
    "Pathwise",
    "ScoreFunction",
    "as_cost",
    "as_estimator",
    "compare_estimators",
    "estimate_gradient",
]
