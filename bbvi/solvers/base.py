"""What the loop asks of a solver, and what a solver says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar

import numpy as np

from bbvi.estimators.base import Estimator
from bbvi.solvers.state import State
from bbvi.target.protocol import LogDensity

Array = np.ndarray
S = TypeVar("S", bound=State)


@dataclass(frozen=True)
class Traits:
    """What a solver says of itself, so that nobody has to know it by name.

    Attributes
    ----------
    estimators : tuple of type, optional
        The kinds of gradient estimators that it can work with; None for any.
    gradients : bool, optional
        Whether it uses gradients of the target; None where that is up to its estimator.
    search : {"modes", "rivals", "around", "none"}
        How its optimum is looked for: in modes into which dispersed starts were pulled by gradients, among rivals from
        other starts that the solver itself follows, far out around what it found, or where the best start leads.
    share : float
        Of the limits, what it may take itself; the rest is for the checks of what it found.
    evaluations, evaluations_per_latent : float
        The most that it may take when nobody set a limit: ``evaluations + evaluations_per_latent * D``.
    """

    estimators: tuple[type, ...] | None = None
    gradients: bool | None = None
    search: Literal["modes", "rivals", "around", "none"] = "none"
    share: float = 0.8
    evaluations: float = np.inf
    evaluations_per_latent: float = 0.0


class Solver(Protocol[S]):
    """What the loop asks of a solver; its options are a frozen dataclass, and `state_type` is what it steps."""

    @property
    def traits(self) -> Traits:
        """What it says of itself."""

    @property
    def state_type(self) -> type[S]:
        """The record that it steps."""

    def init(
        self, target: LogDensity, start_mean: Array, start_log_sd: Array, rng: np.random.Generator, tolerance: float
    ) -> S:
        """The state before the first step."""

    def step(self, target: LogDensity, state: S, rng: np.random.Generator, tolerance: float) -> S:
        """The next state; the one given is not changed."""


class Estimating(Solver[S], Protocol[S]):
    """A solver that follows the gradients of any estimator, its own option or the one that `fit` was given."""

    @property
    def estimator(self) -> Estimator | None:
        """The estimator, or None where nobody chose one."""

    def with_estimator(self, estimator: Estimator) -> Estimating[S]:
        """The same solver with this estimator."""


@dataclass(frozen=True)
class Guest(Generic[S]):
    """A solver of a user's own, by its methods `init` and `step` alone; what it does not say is said for it."""

    solver: Any
    traits: Traits = Traits()
    state_type: type[S] = State  # type: ignore[assignment]

    @classmethod
    def of(cls, solver: Any) -> Guest[State]:
        """With the traits and the type of state that it names, if it does."""
        named = {name: getattr(solver, name) for name in ("traits", "state_type") if hasattr(solver, name)}
        return Guest(solver, **named)

    def init(
        self, target: LogDensity, start_mean: Array, start_log_sd: Array, rng: np.random.Generator, tolerance: float
    ) -> S:
        state: S = self.solver.init(target, start_mean, start_log_sd, rng, tolerance)
        return state

    def step(self, target: LogDensity, state: S, rng: np.random.Generator, tolerance: float) -> S:
        following: S = self.solver.step(target, state, rng, tolerance)
        return following


@dataclass(frozen=True)
class Continued(Generic[S]):
    """A solver that goes on from a state."""

    solver: Solver[S]
    state: S

    @property
    def traits(self) -> Traits:
        """The solver's own."""
        return self.solver.traits

    @property
    def state_type(self) -> type[S]:
        """The solver's own."""
        return self.solver.state_type

    def init(
        self, target: LogDensity, start_mean: Array, start_log_sd: Array, rng: np.random.Generator, tolerance: float
    ) -> S:
        """The state to go on from."""
        return self.state

    def step(self, target: LogDensity, state: S, rng: np.random.Generator, tolerance: float) -> S:
        """The solver's own."""
        return self.solver.step(target, state, rng, tolerance)


def as_solver(solver: Any) -> Solver[Any]:
    """The solver itself, with what it says of itself.

    Raises
    ------
    TypeError
        If it has no methods ``init`` and ``step``.
    """
    if isinstance(solver, type) or not all(callable(getattr(solver, name, None)) for name in ("init", "step")):
        raise TypeError(
            "solver: expected 'auto', a solver such as bbvi.FixedDraws(), bbvi.NaturalGradient() or bbvi.Stochastic(), "
            f"or an object with methods init and step, got {solver!r}"
        )
    said: Solver[Any] = solver if hasattr(solver, "traits") and hasattr(solver, "state_type") else Guest.of(solver)
    return said
