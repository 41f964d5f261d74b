"""Gaussians with correlations: from a mean-field optimum to that of a wider family."""

from bbvi.solvers.families.base import Family, Widened
from bbvi.solvers.families.full_rank import FullRank
from bbvi.solvers.families.low_rank import LowRank

__all__ = ["FAMILIES", "Family", "FullRank", "LowRank", "Widened"]

# By the names that `fit` knows them by.
FAMILIES: dict[str, Family] = {"full-rank": FullRank(), "low-rank": LowRank()}
