"""What an estimator is, and what all of them need."""

from __future__ import annotations

import operator
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from bbvi.estimators.cost import Cost
from bbvi.families.protocol import Distribution, Entropic

Array = np.ndarray


class Estimate(NamedTuple):
    """Unbiased estimate from one set of draws.

    Attributes
    ----------
    gradient : ndarray, shape (P,)
        Gradient of the objective in the parameters of q.
    value : float
        The objective itself, in the units of the cost.
    """

    gradient: Array
    value: float


@runtime_checkable
class Estimator(Protocol):
    """Anything that estimates the gradient of E_q[f]."""

    def estimate(self, cost: Cost, q: Distribution, draws: int, rng: np.random.Generator) -> Estimate:
        """Estimate from `draws` draws of q."""


def positive_int(name: str, value: Any, least: int = 1) -> int:
    """The integer, or one clear exception."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected an integer, got {value!r}") from None
    if isinstance(value, bool) or number < least:
        raise ValueError(f"{name}: expected an integer of at least {least}, got {value!r}")
    return number


def entropic(q: Distribution) -> Entropic:
    """The distribution itself, if its entropy is known, for the ELBO of a model."""
    if not isinstance(q, Entropic):
        raise TypeError(
            "q: the ELBO of a model needs a MeanFieldGaussian, or another q with entropy and entropy_gradient; "
            f"got {type(q).__name__}"
        )
    return q
