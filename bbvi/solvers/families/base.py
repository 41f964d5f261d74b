"""What a fit asks of a family wider than mean field."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from bbvi.families import MeanFieldGaussian
from bbvi.gaussians import Correlated
from bbvi.status import Status
from bbvi.target.protocol import LogDensity

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


class Family(Protocol):
    """A family of Gaussians: its options are a frozen dataclass.

    Attributes
    ----------
    name : str
        What ``kind=`` calls it.
    gradients : bool
        Whether it needs gradients of the target.
    """

    @property
    def name(self) -> str: ...

    @property
    def gradients(self) -> bool: ...

    def refusal(self, dim: int, gradients: bool) -> str:
        """Why so many latents cannot be fitted, with gradients or by values alone; "" where they can."""

    def widen(
        self,
        target: LogDensity,
        start: MeanFieldGaussian,
        rng: np.random.Generator,
        tolerance: float,
        *,
        gradients: bool,
        over: Callable[[int], bool],
        told: Callable[[float, float], None],
    ) -> Widened:
        """Maximise the ELBO over the family from a mean-field optimum.

        Parameters
        ----------
        target : LogDensity
        start : MeanFieldGaussian
        rng : numpy.random.Generator
        tolerance : float
            Monte Carlo error that may be left in a mean, in posterior sds.
        gradients : bool
            Whether gradients of the target may be used.
        over : callable
            Whether the limits have no room for so many evaluations more.
        told : callable
            Called with the ELBO and the norm of the natural gradient after each step.
        """
