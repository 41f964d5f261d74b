"""The mean-field Gaussian that maximises the ELBO of a surrogate: its values cost nothing."""

from __future__ import annotations

import numpy as np

from bbvi.solvers.from_values.natural_gradient import NaturalGradient
from bbvi.solvers.from_values.natural_gradient_state import NaturalGradientState
from bbvi.solvers.from_values.process import Process
from bbvi.solvers.from_values.surrogate import ENTROPY_CONSTANT
from bbvi.status import Status

Array = np.ndarray

# Steps of the natural gradient, and the error at which it ends, in sds.
_STEPS, _TOLERANCE = 15, 0.03


class _Free:
    """The surrogate as a target, in coordinates in which the start is standard normal."""

    def __init__(self, process: Process, mean: Array, sd: Array) -> None:
        self.process, self.mean, self.sd = process, mean, sd
        self.evaluations = 0
        self.dim = len(mean)

    def values(self, u: Array) -> Array:
        """Log density at draws (S, D)."""
        self.evaluations += len(u)
        return self.process.log_density(self.mean + self.sd * u)


def mean_field(process: Process, mean: Array, sd: Array) -> tuple[Array, Array]:
    """Mean and sds (D,), from a start near them; the start itself where the steps do not settle."""
    dim, rng = len(mean), np.random.default_rng(0)
    target, solver = _Free(process, mean, sd), NaturalGradient(256)
    zero, nan = np.zeros(dim), np.full(dim, np.nan)
    state = NaturalGradientState(
        mean=zero, log_sd=zero, elbo=-ENTROPY_CONSTANT, gradient_norm=np.inf, step_size=1.0, mean_se=nan, log_sd_se=nan,
        phase="refine", start_log_sd=zero, coupling=np.zeros((dim, dim)), points=np.empty((0, dim)),
        batch_mean=np.empty((0, dim)), batch_log_sd=np.empty((0, dim)), proposal_mean=zero, proposal_log_sd=zero,
        slope=zero, curvature=np.ones(dim),
    )  # fmt: skip
    for _ in range(_STEPS):
        if state.status is not None:
            break
        state = solver.step(target, state, rng, _TOLERANCE)
    if state.status is not Status.CONVERGED:
        return mean, sd
    return mean + sd * state.mean, sd * np.exp(state.log_sd)
