"""What natural gradients from values carry from step to step."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from bbvi.solvers.state import Knowledge, State

Array = np.ndarray


@dataclass
class NaturalGradientState(State):
    """State of `NaturalGradient`.

    Attributes
    ----------
    phase : str
        ``"scale"``, ``"couple"``, ``"climb"`` or ``"refine"``.
    noise_sd : float
        Standard deviation of evaluations right beside each other, in nats; 0 for a smooth log density.
    surrogate_covariance : ndarray, shape (D, D) or (0, 0)
        (-E_q[Hessian of log p])^-1, positive definite, or empty where it is not known.
    residual_sd : float
        What the quadratic or higher regression leaves of log p, in nats; NaN before the first draws.
    nonfinite : float
        Share of the last draws whose log density was not finite.
    points, values, batch, batch_mean, batch_log_sd : ndarray
        The `Archive` of draws.
    proposal_mean, proposal_log_sd : ndarray, shape (D,)
        Where the next draws come from; ``mean`` and ``log_sd`` are the best that is established.
    """

    phase: str = "scale"
    noise_sd: float = 0.0
    noise_squares: float = 0.0
    noise_count: int = 0
    start_log_sd: Array = field(default_factory=lambda: np.empty(0))
    nonfinite: float = 0.0
    centre: float = -np.inf
    slope: Array = field(default_factory=lambda: np.empty(0))
    curvature: Array = field(default_factory=lambda: np.empty(0))
    coupling: Array = field(default_factory=lambda: np.empty((0, 0)))
    coupling_next: int = 0
    coupling_age: int = -1
    climbs: int = 0
    failures: int = 0
    points: Array = field(default_factory=lambda: np.empty((0, 0)))
    values: Array = field(default_factory=lambda: np.empty(0))
    batch: Array = field(default_factory=lambda: np.empty(0, dtype=int))
    batch_mean: Array = field(default_factory=lambda: np.empty((0, 0)))
    batch_log_sd: Array = field(default_factory=lambda: np.empty((0, 0)))
    proposal_mean: Array = field(default_factory=lambda: np.empty(0))
    proposal_log_sd: Array = field(default_factory=lambda: np.empty(0))
    batch_size: int = 0
    accepted: int = 0
    elbo_se: float = np.nan
    surrogate_covariance: Array = field(default_factory=lambda: np.empty((0, 0)))
    residual_sd: float = np.nan

    @property
    def approaching(self) -> bool:
        """Whether it is still on its way, before the first draws of q."""
        return self.phase != "refine"

    @property
    def knowledge(self) -> Knowledge:
        """The surrogate's covariance, where it is known, and the noise."""
        covariance = self.surrogate_covariance
        return Knowledge(surrogate_covariance=covariance if covariance.size else None, noise_sd=float(self.noise_sd))
