"""What the estimators ask of a distribution q, whoever wrote it."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

Array = np.ndarray


class Distribution(Protocol):
    """Draws can be had of it."""

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draws (n, D)."""


@runtime_checkable
class Scored(Distribution, Protocol):
    """A distribution whose log density has a gradient in its P parameters, which the score function needs."""

    def score(self, z: Array) -> Array:
        """That gradient at draws z (S, D), (S, P)."""


@runtime_checkable
class Reparameterized(Distribution, Protocol):
    """A distribution whose draws move with its P parameters, which the pathwise estimator needs."""

    def path(self, z: Array, gradient: Array) -> Array:
        """What gradients (S, D) at draws z (S, D) are in the parameters, along the draws' way, (S, P)."""


@runtime_checkable
class Entropic(Protocol):
    """A distribution of known entropy, which the ELBO of a model needs."""

    def entropy(self) -> float:
        """In nats."""

    def entropy_gradient(self) -> Array:
        """Its gradient in the parameters, (P,)."""
