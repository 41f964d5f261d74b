"""What the stochastic solver carries from step to step."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from bbvi.solvers.state import State

Array = np.ndarray


@dataclass
class StochasticState(State):
    """`State` with the current iterate, the moments of its gradients and the history of its stage.

    Attributes
    ----------
    iterate, sound : ndarray, shape (2D,)
        Mean and log sd now, and the last that had a finite gradient. `mean` and `log_sd` are averages.
    velocity, square : ndarray, shape (2D,)
        Running moments of the natural gradient.
    blocks : ndarray, shape (B, 2D)
        Averages of `width` iterates each, of this stage.
    partial : ndarray, shape (2D,)
        Sum of the `pending` iterates that wait for their block to be full.
    caution : float
        Share of the step that is taken, below 1 for a while after values that were not finite.
    replaced : int
        Draws without a finite log density so far, of estimates that went on without them.
    previous, previous_error : ndarray, shape (2D,)
        Average of the stage before and its error; NaN in the first stage.
    structure : ndarray of bool, shape (D, T)
        Which terms each latent was seen to touch; empty if that was not asked for.
    """

    iterate: Array = field(default_factory=lambda: np.empty(0))
    sound: Array = field(default_factory=lambda: np.empty(0))
    velocity: Array = field(default_factory=lambda: np.empty(0))
    square: Array = field(default_factory=lambda: np.empty(0))
    blocks: Array = field(default_factory=lambda: np.empty((0, 0)))
    partial: Array = field(default_factory=lambda: np.empty(0))
    previous: Array = field(default_factory=lambda: np.empty(0))
    previous_error: Array = field(default_factory=lambda: np.empty(0))
    structure: Array = field(default_factory=lambda: np.empty((0, 0), dtype=bool))
    width: int = 1
    pending: int = 0
    steps: int = 0
    stage: int = 0
    stage_iterations: int = 0
    previous_iterations: int = 0
    iterations: int = 0
    failures: int = 0
    caution: float = 1.0
    replaced: int = 0
