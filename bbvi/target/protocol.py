"""What the wings above ask of a target: a counted, unconstrained log density of all draws at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np

Array = np.ndarray


class Linearization(NamedTuple):
    """Values (S,), gradients (S, D) and the Hessian product ``V (S, D) -> (S, D)``, one product per draw."""

    values: Array
    gradients: Array
    hessian_product: Callable[[Array], Array]


class Evaluated(NamedTuple):
    """Draws (S, D) at which the target's log density (S,) is known."""

    u: Array
    log_density: Array


class Hints(NamedTuple):
    """What a target may say of itself beside what each has; `hints_of` has what is supposed where it does not.

    Attributes
    ----------
    width : int
        Elements that one draw takes in its largest operation.
    dear : bool
        Whether arithmetic, not overhead, is what a draw costs, so that each must be worth it.
    rounding : float
        Relative rounding of its values.
    largest_log_sd : Array, (D,)
        How wide to look for a latent's scale from values alone.
    """

    width: int
    dear: bool
    rounding: float
    largest_log_sd: Array


def hints_of(target: Values) -> Hints:
    """What `target` says of itself."""
    return Hints(
        width=int(getattr(target, "width", 1)),
        dear=bool(getattr(target, "dear", False)),
        rounding=float(getattr(target, "rounding", 0.0)),
        largest_log_sd=np.asarray(getattr(target, "largest_log_sd", np.full(target.dim, np.inf))),
    )


class Values(Protocol):
    """A log density of which values alone are known.

    Attributes
    ----------
    evaluations : int
        Cost so far, per draw.
    """

    evaluations: int

    @property
    def dim(self) -> int:
        """D, the number of unconstrained coordinates."""

    def values(self, u: Array) -> Array:
        """Log density at draws `u`, (S, D) -> (S,); ``-inf`` where it is not finite."""


class Smooth(Protocol):
    """A log density of which values and two derivatives are known."""

    def values(self, u: Array, /) -> Array:
        """Log density at draws `u`, (S, D) -> (S,); ``-inf`` where it is not finite."""

    def linearize(self, u: Array, /) -> Linearization:
        """Values, gradients and a Hessian product at draws `u`, (S, D)."""


class LogDensity(Values, Protocol):
    """A log density with gradients, where it has them, and with mini-batches, where its model has them.

    Attributes
    ----------
    gradient_evaluations : int
        Gradients and Hessian products so far, per draw.
    """

    gradient_evaluations: int

    @property
    def has_gradient(self) -> bool:
        """Whether gradients exist."""

    @property
    def labels(self) -> list[str]:
        """Names of the unconstrained coordinates."""

    def gradients(self, u: Array) -> tuple[Array, Array]:
        """Log density (S,) and its gradients (S, D); rows of draws without a finite gradient hold NaN."""

    def linearize(self, u: Array, scale: Array | None = None) -> Linearization:
        """Values, gradients and a Hessian product at draws `u`, (S, D)."""

    @property
    def evaluated(self) -> Evaluated:
        """All values so far, where they are kept."""

    @property
    def workers(self) -> int:
        """How many draws are evaluated at a time."""

    def recall(self, u: Array, log_density: Array, *, instead: bool = False) -> None:
        """Keep values that are known already before those that are kept, or instead of them."""

    def own_scale(self, u: Array) -> Array:
        """The latents on their own scale, (S, R), at draws `u`, (S, D)."""

    def terms(self, u: Array) -> Array:
        """Terms (S, T) whose sum is the log density."""

    def separable(self) -> None:
        """Raise a ValueError where the log likelihood is not the sum of those of parts of the observations."""

    def minibatch(self, size: int, rng: np.random.Generator) -> LogDensity:
        """An unbiased target of `size` random observations."""
