"""Variational families: distributions with samples, log density, score and path."""

from bbvi.families.correlated import Correlated, FullRankGaussian, LowRankGaussian
from bbvi.families.independent import (
    Bernoulli,
    Beta,
    Gamma,
    Gaussian,
    Independent,
    MeanFieldGaussian,
    StudentT,
    VonMises,
)

__all__ = [
    "Bernoulli",
    "Beta",
    "Correlated",
    "FullRankGaussian",
    "Gamma",
    "Gaussian",
    "Independent",
    "LowRankGaussian",
    "MeanFieldGaussian",
    "StudentT",
    "VonMises",
]
