"""The one call that estimates a gradient, and the estimator that its argument means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bbvi.estimators.base import Estimator, positive_int
from bbvi.estimators.cost import as_cost
from bbvi.estimators.pathwise import Pathwise
from bbvi.estimators.score_function import ScoreFunction
from bbvi.families.protocol import Distribution

Array = np.ndarray


# What an estimator is called in arguments, beside the object itself.
ESTIMATORS: dict[str, Callable[[], Estimator]] = {"pathwise": Pathwise, "score": ScoreFunction}


def name_of(piece: Any) -> str:
    """How an estimator or a solver is called: by its name in arguments, by its label, or by its class."""
    inner = getattr(piece, "solver", piece)
    for name, made in ESTIMATORS.items():
        if type(inner) is made:
            return name
    return str(getattr(inner, "label", type(inner).__name__))


def uses_gradients(estimator: Estimator) -> bool:
    """Whether an estimator may use gradients of the cost: it says so by its attribute `gradients`, or may."""
    return bool(getattr(estimator, "gradients", True))


def as_estimator(estimator: Any) -> Estimator:
    """The estimator of that name, or the object itself.

    Raises
    ------
    ValueError, TypeError
        If there is no such estimator, or the object has no method ``estimate``.
    """
    if isinstance(estimator, str):
        if estimator in ESTIMATORS:
            return ESTIMATORS[estimator]()
        raise ValueError(f"estimator: expected {', '.join(map(repr, ESTIMATORS))} or an object, got {estimator!r}")
    if isinstance(estimator, type) or not isinstance(estimator, Estimator):
        raise TypeError(
            f"estimator: expected 'pathwise', 'score' or an object with a method estimate, got {estimator!r}"
        )
    return estimator


def estimate_gradient(
    cost: Any, q: Distribution, estimator: str | Estimator, draws: int, rng: np.random.Generator | int | None
) -> Array:
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
