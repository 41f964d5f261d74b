"""The record that every solver hands from step to step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..status import Status


@dataclass
class State:
    """Where a solver stands: the approximation, how good it is, and whether to go on.

    Attributes
    ----------
    mean, log_sd : ndarray, shape (D,)
        Parameters of the mean-field Gaussian.
    elbo : float
        ELBO in nats, of the draws that the solver used.
    gradient_norm : float
        Norm of the natural gradient in q's metric, free of scale.
    step_size : float
        Length of the step just taken, or its radius, in q's metric.
    mean_se, log_sd_se : ndarray, shape (D,)
        Monte Carlo standard error that is left in the parameters; NaN where unknown.
    status : Status or None
        None as long as there is something left to do.
    message : str
        The reason for the status.
    """

    mean: np.ndarray
    log_sd: np.ndarray
    elbo: float
    gradient_norm: float
    step_size: float
    mean_se: np.ndarray
    log_sd_se: np.ndarray
    status: Status | None = None
    message: str = ""

    @property
    def reserve(self) -> int:
        """Evaluations to keep back for what the next step may do beyond what the last one did."""
        return 0
