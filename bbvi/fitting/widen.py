"""The stage of the family: from the optimum of mean field to that of a wider one, where one was asked for."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from bbvi.correction.verdict import Finding, Verdict
from bbvi.fitting.records import Optimum
from bbvi.solvers.from_values.process import Process
from bbvi.solvers.state import State
from bbvi.solvers.wider import Task
from bbvi.status import Status
from bbvi.target.allowance import Exhausted

Array = np.ndarray


class Emulated:
    """A surrogate of the log joint in place of the log joint itself: its values cost nothing."""

    def __init__(self, process: Process, dim: int) -> None:
        self.process, self.dim, self.evaluations = process, dim, 0

    def values(self, u: Array) -> Array:
        """Log densities (S,) as the surrogate has them at draws (S, D)."""
        return np.asarray(self.process.log_density(u))


def widen(optimum: Optimum) -> Optimum:
    """The optimum with that of the wider family; an interrupt, or the limits, leave mean field."""
    family, job = optimum.job.method.family, optimum.job
    if family is None or not optimum.begun or optimum.status in (Status.DIVERGED, Status.INTERRUPTED):
        return optimum
    # The fit may have gone over to values since it was asked for.
    refused = family.refusal(job.target.dim, job.method.gradients)
    if refused:
        told = f"The family is mean field, since only values were used: {refused}."
        return replace(optimum, findings=(*optimum.findings, Finding(Verdict.CAUTION, told)))
    job.say(f"fitting the {family.name} Gaussian")
    try:
        found = family.widen(_task(optimum))
    except Exhausted:
        return replace(optimum, status=Status.BUDGET, message="The limits left no room for the wider family.")
    except KeyboardInterrupt:
        message = f"The fit was interrupted before its {family.name} optimum."
        return replace(optimum, status=Status.INTERRUPTED, message=message)
    if optimum.status is not Status.CONVERGED:
        return replace(optimum, widened=found)
    return replace(optimum, widened=found, status=found.status, message=f"{optimum.message} {found.message}")


def _task(optimum: Optimum) -> Task:
    job, process = optimum.job, optimum.knowledge.surrogate
    free = process is not None and not job.method.gradients
    return Task(
        target=Emulated(process, job.target.dim) if process is not None and free else job.target,
        start=optimum.approximation,
        rng=job.rng("widen"),
        tolerance=job.tolerance,
        gradients=job.method.gradients,
        over=lambda count: job.late() or (not free and job.left < count),
        told=lambda elbo, norm: _told(optimum, elbo, norm),
    )


def _told(optimum: Optimum, elbo: float, norm: float) -> None:
    """A step of the family, in the same trace."""
    unknown, job = np.full(optimum.approximation.dim, np.nan), optimum.job
    state = State(optimum.approximation.mean, np.log(optimum.approximation.sd), elbo, norm, np.nan, unknown, unknown)
    optimum.trace.add(state, job.target, time.perf_counter() - job.started)
