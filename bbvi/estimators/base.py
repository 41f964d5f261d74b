"""What an estimator is, and the one call that uses it."""

from __future__ import annotations

import operator
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from .cost import Cost, as_cost

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

    def estimate(self, cost: Cost, q: Any, draws: int, rng: np.random.Generator) -> Estimate:
        """Estimate from `draws` draws of q."""


def as_estimator(estimator: Any) -> Estimator:
    """The estimator of that name, or the object itself.

    Raises
    ------
    ValueError, TypeError
        If there is no such estimator, or the object has no method ``estimate``.
    """
    from .pathwise import Pathwise
    from .score_function import ScoreFunction

    if isinstance(estimator, str):
        if estimator == "pathwise":
            return Pathwise()
        if estimator == "score":
            return ScoreFunction()
        raise ValueError(f"estimator: expected 'pathwise', 'score' or an object, got {estimator!r}")
    if isinstance(estimator, type) or not isinstance(estimator, Estimator):
        raise TypeError(
            f"estimator: expected 'pathwise', 'score' or an object with a method estimate, got {estimator!r}"
        )
    return estimator


def estimate_gradient(cost: Any, q: Any, estimator: Any, draws: int, rng: np.random.Generator | int | None) -> Array:
    """Monte Carlo estimate of the gradient of an expectation in the parameters of q.

    Parameters
    ----------
    cost : callable or Model
        A function f of one draw, shape (D,): the gradient is that of E_q[f]. It returns a number or an array
        of terms, which are summed. A Model: the gradient is that of its ELBO.
    q : MeanFieldGaussian or any object with ``sample`` and ``score``, or ``path`` for pathwise
        The distribution of the draws. For the ELBO of a model it also needs ``entropy`` and ``entropy_gradient``.
    estimator : str or Estimator
        ``"pathwise"``, ``"score"`` or an object such as ``ScoreFunction(control_variate="none")``.
    draws : int
        Number of draws, at least 1.
    rng : numpy.random.Generator or seed
        Where the draws come from.

    Returns
    -------
    ndarray, shape (P,)
        In the order of ``q.parameters``: for a Gaussian the means, then the log sds.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of these kinds.

    Examples
    --------
    >>> import autograd.numpy as np
    >>> from bbvi.families import MeanFieldGaussian
    >>> q = MeanFieldGaussian(mean=2.0, sd=1.0)
    >>> gradient = estimate_gradient(lambda z: np.sum(z**2), q, "score", draws=10, rng=1)
    >>> gradient.round(6)  # of E[z^2] = mean^2 + sd^2
    array([4., 2.])
    """
    estimate = as_estimator(estimator).estimate(
        as_cost(cost, q), q, positive_int("draws", draws), np.random.default_rng(rng)
    )
    return estimate.gradient


def positive_int(name: str, value: Any, least: int = 1) -> int:
    """The integer, or one clear exception."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected an integer, got {value!r}") from None
    if isinstance(value, bool) or number < least:
        raise ValueError(f"{name}: expected an integer of at least {least}, got {value!r}")
    return number


def entropy_gradient(q: Any) -> Array:
    """Gradient of the entropy of q, for the ELBO of a model."""
    if not (hasattr(q, "entropy") and hasattr(q, "entropy_gradient")):
        raise TypeError(
            "q: the ELBO of a model needs a MeanFieldGaussian, or another q with entropy and entropy_gradient; "
            f"got {type(q).__name__}"
        )
    return q.entropy_gradient()
