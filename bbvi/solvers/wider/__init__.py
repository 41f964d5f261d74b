"""Gaussians with correlations: from a mean-field optimum to that of a wider family."""

from bbvi.solvers.wider.base import Family, Task, Widened
from bbvi.solvers.wider.full_rank import FullRank
from bbvi.solvers.wider.low_rank import LowRank

__all__ = ["FAMILIES", "Family", "FullRank", "LowRank", "Task", "Widened"]

# By the names that `fit` knows them by.
FAMILIES: dict[str, Family] = {"full-rank": FullRank(), "low-rank": LowRank()}
