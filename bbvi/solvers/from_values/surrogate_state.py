"""Where a fit from few values stands, and the surrogate that its values make."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from bbvi.families import MeanFieldGaussian
from bbvi.solvers.from_values import region
from bbvi.solvers.from_values.mean_field import mean_field
from bbvi.solvers.from_values.process import POLICY as PROCESS
from bbvi.solvers.from_values.process import Frame, Process, given, that_count
from bbvi.solvers.state import Knowledge, State

Array = np.ndarray


@dataclass
class SurrogateState(State):
    """State of `Surrogate`.

    Attributes
    ----------
    phase : str
        ``"scale"``, ``"approach"`` or ``"refine"``.
    points, values : ndarray, shapes (N, D), (N,)
        All evaluations so far; ``-inf`` where the log joint is not finite.
    centre, factor : ndarray, shapes (D,), (D, D)
        The frame in which the posterior is about standard normal.
    radius : float
        Of the trust region, in that frame.
    logs : ndarray, shape (4 + D,)
        Hyperparameters of the process, learnt from ``learnt_from`` values.
    noise_sd : float
        Of repeated values at one point, in nats; 0 for a deterministic log joint.
    error, sd_error : float
        Largest standard error of a mean, in sds, and of an sd, relative, as the surrogate knows them.
    surprises : ndarray, shape (B,)
        Root mean squares of the standardized residuals of the batches of ``refine``.
    residual : float
        Root mean square of the last batch's residuals, in nats.
    """

    phase: str = "scale"
    points: Array = field(default_factory=lambda: np.empty((0, 0)))
    values: Array = field(default_factory=lambda: np.empty(0))
    centre: Array = field(default_factory=lambda: np.empty(0))
    factor: Array = field(default_factory=lambda: np.empty((0, 0)))
    radius: float = region.POLICY.radius
    logs: Array = field(default_factory=lambda: np.empty(0))
    learnt_from: int = 0
    noise_sd: float = 0.0
    error: float = np.nan
    sd_error: float = np.nan
    surprises: Array = field(default_factory=lambda: np.empty(0))
    residual: float = np.nan
    returns: int = 0

    @property
    def approaching(self) -> bool:
        """Whether it is still on its way to where the posterior is."""
        return self.phase != "refine"

    @property
    def frame(self) -> Frame:
        """The coordinates in which the posterior is about standard normal."""
        return Frame(self.centre, self.factor)

    @property
    def approximation(self) -> MeanFieldGaussian:
        """The mean-field Gaussian of the surrogate, which costs no evaluation."""
        if self.phase == "scale":
            return MeanFieldGaussian(self.mean, np.exp(self.log_sd))
        mean, sd = mean_field(process_of(self), self.mean, np.exp(self.log_sd))
        return MeanFieldGaussian(mean, sd)

    @property
    def knowledge(self) -> Knowledge:
        """The surrogate, its covariance and the noise."""
        if self.phase == "scale":
            return Knowledge(noise_sd=self.noise_sd)
        covariance = self.factor @ self.factor.T
        return Knowledge(
            surrogate_covariance=covariance, noise_sd=self.noise_sd, surrogate=process_of(self),
            surprise=calibration(self),
        )  # fmt: skip


def usable(state: SurrogateState) -> tuple[Array, Array]:
    """Points and values; outside of the support they count as deep down."""
    dim = len(state.mean)
    finite = np.isfinite(state.values)
    floor = state.values[finite].max() - 0.99 * PROCESS.kept * PROCESS.deep(dim)
    return state.points, np.where(finite, state.values, min(floor, state.values[finite].min()))


def given_rows(state: SurrogateState, values: Array) -> Array:
    """Rows of the values that the surrogate is given: near to where it climbs, or those that count."""
    if state.phase == "approach":
        return region.nearby(state.frame, state.points, values, state.radius)
    return that_count(state.frame, state.points, values)


def process_of(state: SurrogateState) -> Process:
    """The surrogate that a state stands for."""
    points, values = usable(state)
    rows = given_rows(state, values)
    logs = state.logs
    for _ in range(20):
        try:
            return given(state.frame, points[rows], values[rows], logs)
        except np.linalg.LinAlgError:
            # Values that lie close together, on long lengths.
            logs = logs + np.concatenate([[0.0, 0.7, 0.0, 0.0], np.full(len(logs) - 4, -0.1)])
    raise np.linalg.LinAlgError("the surrogate's covariance is not positive definite")


def calibration(state: SurrogateState) -> float:
    """Factor by which the surrogate's errors are to be enlarged: what the last batches showed, and at least one."""
    return float(max(1.0, np.sqrt(np.mean(state.surprises[-3:] ** 2)))) if len(state.surprises) else np.inf
