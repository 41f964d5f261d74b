"""What an estimator differentiates: a function of one draw, or a target whose ELBO is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import autograd
import autograd.numpy as anp
import numpy as np

from bbvi.families.protocol import Distribution
from bbvi.model.model import Model
from bbvi.target.protocol import LogDensity
from bbvi.target.target import Target

Array = np.ndarray


class Cost(Protocol):
    """A cost f, evaluated for many draws at once.

    With ``entropy`` the objective is E_q[f] plus the entropy of q (the ELBO of a log joint f), else E_q[f].
    """

    @property
    def entropy(self) -> bool:
        """Whether the entropy of q belongs to the objective."""

    def values(self, z: Array) -> Array:
        """Values (S,) of f at draws (S, D)."""

    def terms(self, z: Array) -> Array:
        """Terms (S, T) whose sum over the last axis is f."""

    def gradients(self, z: Array) -> tuple[Array, Array]:
        """Values (S,) and gradients (S, D)."""


class FunctionCost:
    """A function of one draw, called draw by draw with a plain NumPy array that it may do anything to.

    Parameters
    ----------
    function : callable
        Takes one draw and returns a number, or an array of terms whose sum is the cost.

    Attributes
    ----------
    evaluations : int
        Calls so far; a gradient counts as one.
    """

    entropy = False

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function
        self.evaluations = 0
        self._target: Target | None = None

    def values(self, z: Array) -> Array:
        """Values (S,) of the cost."""
        return np.asarray(np.sum(self.terms(z), axis=1))

    def terms(self, z: Array) -> Array:
        """Terms (S, T) of the cost."""
        self.evaluations += len(z)
        rows = [_as_terms(self.function(np.array(draw))) for draw in z]
        sizes = {row.size for row in rows}
        if len(sizes) > 1:
            raise ValueError(f"cost: expected one number of terms for all draws, got {sorted(sizes)}")
        return np.array(rows)

    def gradients(self, z: Array) -> tuple[Array, Array]:
        """Values (S,) and gradients by autograd, of the shape of z."""
        self.evaluations += len(z)
        if z.ndim == 2 and self._batched(z.shape[1]).has_gradient:
            pair: tuple[Array, Array] = self._batched(z.shape[1]).gradients(z)
            return pair
        value_and_gradient = autograd.value_and_grad(self._sum)
        try:
            pairs = [value_and_gradient(np.array(draw)) for draw in z]
        except (TypeError, AttributeError) as error:
            error.add_note(
                "The pathwise estimator differentiates the cost with autograd: write it with autograd.numpy, "
                "or use the score function estimator, which needs values only."
            )
            raise
        values, gradients = zip(*pairs, strict=True)
        return np.array(values, dtype=float), np.array(gradients, dtype=float)

    def _batched(self, dim: int) -> Target:
        # A target evaluates all draws in one call where that provably is the same function, else one by one.
        if self._target is None:
            self._target = Target(Model(self._sum, dim))
        return self._target

    def _sum(self, z: Any) -> Any:
        return anp.sum(self.function(z))


class TargetCost:
    """The ELBO of a target: its log density, with the entropy of q."""

    entropy = True

    def __init__(self, target: LogDensity) -> None:
        self.target = target
        self.values = target.values
        self.terms = target.terms

    @property
    def evaluations(self) -> int:
        """Evaluations of the target so far, per draw; a gradient counts as one."""
        return int(self.target.evaluations)

    def gradients(self, z: Array) -> tuple[Array, Array]:
        """Values (S,) and gradients (S, D)."""
        if not self.target.has_gradient:
            raise ValueError("estimator: pathwise needs a gradient, which this model has not; use score")
        pair: tuple[Array, Array] = self.target.gradients(z)
        return pair


def as_cost(cost: Any, q: Distribution | None = None) -> FunctionCost | TargetCost:
    """Wrap a function of one draw, a model or a target.

    Raises
    ------
    TypeError
        If `cost` is none of these.
    ValueError
        If a model's dimension differs from that of `q`.
    """
    if isinstance(cost, FunctionCost | TargetCost):
        return cost
    if hasattr(cost, "values") and hasattr(cost, "terms"):
        target = cost
    elif callable(cost):
        return FunctionCost(cost)
    else:
        if not isinstance(cost, Model):
            raise TypeError(f"cost: expected a function of one draw or a Model, got {type(cost).__name__}")
        target = Target(cost)
    dim = getattr(q, "dim", target.dim)
    if dim != target.dim:
        raise ValueError(f"q: expected {target.dim} coordinates, as the model has, got {dim}")
    return TargetCost(target)


def _as_terms(result: Any) -> Array:
    if result is None:
        raise TypeError("cost: expected a number or an array of terms, got None")
    return np.asarray(result, dtype=float).reshape(-1)
