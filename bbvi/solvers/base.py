"""What the loop asks of a solver."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import numpy as np

from bbvi.solvers.state import State

Array = np.ndarray


class Solver(Protocol):
    """What the loop asks of a solver; its options are a frozen dataclass, and `state_type` is what it steps."""

    state_type: ClassVar[type[State]]

    def init(
        self, target: Any, start_mean: Array, start_log_sd: Array, rng: np.random.Generator, tolerance: float
    ) -> State:
        """The state before the first step."""

    def step(self, target: Any, state: Any, rng: np.random.Generator, tolerance: float) -> State:
        """The next state; the one given is not changed."""
