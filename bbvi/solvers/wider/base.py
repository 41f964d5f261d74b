"""What a fit asks of a family wider than mean field."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np

from bbvi.families import Correlated, MeanFieldGaussian
from bbvi.status import Status
from bbvi.target.protocol import LogDensity, Values

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Widened:
    """Where the search for the optimum of a wider family ended.

    Attributes
    ----------
    approximation : Correlated
    status : Status
    message : str
        The reason for the status.
    mean_se, log_sd_se : ndarray, shape (D,)
        Monte Carlo standard errors that are left in the means and in the logs of the marginal sds.
    """

    approximation: Correlated
    status: Status
    message: str
    mean_se: Array
    log_sd_se: Array


@dataclass(frozen=True, eq=False)
class Task:
    """What a family is asked for: the highest ELBO that it has, from a mean-field optimum.

    Attributes
    ----------
    target : LogDensity, or Values
        With gradients where these may be used.
    start : MeanFieldGaussian
    rng : numpy.random.Generator
    tolerance : float
        Monte Carlo error that may be left in a mean, in posterior sds.
    gradients : bool
        Whether gradients of the target may be used.
    over : callable
        Whether the limits have no room for so many evaluations more.
    told : callable
        To be called with the ELBO and the norm of the natural gradient after each step.
    """

    target: LogDensity | Values
    start: MeanFieldGaussian
    rng: np.random.Generator
    tolerance: float
    gradients: bool
    over: Callable[[int], bool]
    told: Callable[[float, float], None]

    @property
    def dim(self) -> int:
        """D, the number of latents."""
        return self.start.dim

    @property
    def differentiable(self) -> LogDensity:
        """The target, where it has gradients."""
        return cast(LogDensity, self.target)


class Family(Protocol):
    """A family of Gaussians: its options are a frozen dataclass.

    Attributes
    ----------
    name : str
        What ``kind=`` calls it.
    """

    @property
    def name(self) -> str: ...

    def refusal(self, dim: int, gradients: bool) -> str:
        """Why so many latents cannot be fitted, with gradients or by values alone; "" where they can."""

    def widen(self, task: Task) -> Widened:
        """Maximise the ELBO over the family."""
