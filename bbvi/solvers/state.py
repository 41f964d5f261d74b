"""The records of every solver: where it stands after a step, and the course of its steps."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from bbvi.families import MeanFieldGaussian
from bbvi.solvers.from_values.process import Process
from bbvi.status import Status
from bbvi.target.protocol import LogDensity


@dataclass(frozen=True, eq=False)
class Knowledge:
    """What a solver can say of its optimum beyond the approximation itself; None for what it does not know.

    Attributes
    ----------
    draws : ndarray, shape (S, D), optional
        The standardized draws on which the ELBO was maximised.
    hessian : ndarray, shape (2D, 2D), optional
        Of the negative ELBO of those draws at its minimum, in natural coordinates.
    surrogate_covariance : ndarray, shape (D, D), optional
        Inverse of the expected negative Hessian of a surrogate.
    noise_sd : float
        Noise of the log joint in nats; 0 where none was noticed.
    surrogate : Process, optional
        Of the log joint, wherever the posterior is.
    surprise : float
        Factor by which the errors that the surrogate knows of are to be enlarged.
    """

    draws: np.ndarray | None = None
    hessian: np.ndarray | None = None
    surrogate_covariance: np.ndarray | None = None
    noise_sd: float = 0.0
    surrogate: Process | None = None
    surprise: float = 1.0


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

    @property
    def approaching(self) -> bool:
        """Whether it is still on its way to where the optimum is."""
        return False

    @property
    def approximation(self) -> MeanFieldGaussian:
        """The Gaussian that the state stands for."""
        return MeanFieldGaussian(self.mean, np.exp(self.log_sd))

    @property
    def knowledge(self) -> Knowledge:
        """What the solver can say beyond it."""
        return Knowledge()


@dataclass
class Trace:
    """The course of a fit, one entry per step.

    Attributes
    ----------
    elbo : list of float
        Of the draws that the solver used, in nats.
    gradient_norm : list of float
        In q's metric.
    step_size : list of float
        In q's metric.
    evaluations, gradient_evaluations : list of int
        Cost so far, per draw.
    seconds : list of float
        Since the start.
    """

    elbo: list[float] = field(default_factory=list)
    gradient_norm: list[float] = field(default_factory=list)
    step_size: list[float] = field(default_factory=list)
    evaluations: list[int] = field(default_factory=list)
    gradient_evaluations: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.elbo)

    def add(self, state: State, target: LogDensity, seconds: float) -> None:
        self.elbo.append(float(state.elbo))
        self.gradient_norm.append(float(state.gradient_norm))
        self.step_size.append(float(state.step_size))
        self.evaluations.append(int(target.evaluations))
        self.gradient_evaluations.append(int(target.gradient_evaluations))
        self.seconds.append(seconds)
