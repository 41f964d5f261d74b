"""The stage of the family: from the optimum of mean field to that of a wider one, where one was asked for."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from bbvi.fitting.job import Job
from bbvi.fitting.records import Optimum
from bbvi.solvers.families import Widened
from bbvi.solvers.from_values.process import Process
from bbvi.solvers.state import State
from bbvi.status import Status
from bbvi.target.allowance import Exhausted

Array = np.ndarray


class Emulated:
    """A surrogate of the log joint in place of the log joint itself: its values cost nothing."""

    def __init__(self, process: Process) -> None:
        self.process = process

    def values(self, u: Array) -> Array:
        """Log densities (S,) as the surrogate has them at draws (S, D)."""
        return np.asarray(self.process.log_density(u))


def widen(optimum: Optimum) -> Optimum:
    """The optimum with that of the wider family; an interrupt, or the limits, leave mean field."""
    family, job = optimum.job.method.family, optimum.job
    if family is None or not optimum.begun or optimum.status in (Status.DIVERGED, Status.INTERRUPTED):
        return optimum
    job.say(f"fitting the {family.name} Gaussian")
    process = optimum.knowledge.surrogate
    target = job.target if process is None else Emulated(process)
    try:
        found = family.widen(
            target,  # type: ignore[arg-type]
            optimum.approximation,
            job.rng("widen"),
            job.tolerance,
            gradients=job.method.gradients,
            over=lambda count: job.late() or job.left < (count if process is None else 0),
            told=lambda elbo, norm: _told(job, optimum, elbo, norm),
        )
    except Exhausted:
        return replace(optimum, status=Status.BUDGET, message="The limits left no room for the wider family.")
    except KeyboardInterrupt:
        message = f"The fit was interrupted before its {family.name} optimum."
        return replace(optimum, status=Status.INTERRUPTED, message=message)
    return replace(
        optimum,
        wide=found.approximation,
        status=_worse(optimum, found),
        message=f"{optimum.message} {found.message}" if optimum.status is Status.CONVERGED else optimum.message,
        mean_se=found.mean_se,
        log_sd_se=found.log_sd_se,
    )


def _worse(optimum: Optimum, found: Widened) -> Status:
    return found.status if optimum.status is Status.CONVERGED else optimum.status


def _told(job: Job, optimum: Optimum, elbo: float, norm: float) -> None:
    """A step of the family, in the same trace."""
    unknown = optimum.mean_se
    state = State(optimum.approximation.mean, np.log(optimum.approximation.sd), elbo, norm, np.nan, unknown, unknown)
    optimum.trace.add(state, job.target, time.perf_counter() - job.started)
