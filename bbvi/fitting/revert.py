"""The stage that goes back: where a gradient turns out to be no number on the way, the fit goes on from values."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bbvi.correction.verdict import Finding, Verdict
from bbvi.fitting.arguments import from_values
from bbvi.fitting.job import Job
from bbvi.fitting.optimise import optimise
from bbvi.fitting.records import Optimum, Start
from bbvi.notices import warn
from bbvi.status import Status
from bbvi.target.lint import first_nan

Array = np.ndarray


def revert(optimum: Optimum) -> Optimum:
    """The optimum, or that of a fit from values from there on, if steps ended where the gradient is no number.

    The gradient is looked at before a fit around its start, which is not where the posterior is. Where the user asked
    for a gradient estimator, nothing else is done than what was asked for.
    """
    job = optimum.job
    draw = _without_gradient(optimum) if job.free and optimum.status is Status.DIVERGED else None
    if draw is None:
        return optimum
    why = first_nan(job.target, draw)
    told = (
        "The gradient of the log joint is no number at draws where its value is one, so the score function is used "
        f"from there on{f': {why}' if why else ''}."
    )
    warn(told)
    method = from_values(replace(job.method, estimator=None))
    mean, log_sd = _place(optimum.start, optimum)
    start = replace(
        optimum.start,
        job=replace(job, method=method),
        points=mean[None],
        log_sd=log_sd[None],
        modes=(),
        findings=(*optimum.findings, Finding(Verdict.RELIABLE, told)),
    )
    return optimise(start)


def _place(start: Start, optimum: Optimum) -> tuple[Array, Array]:
    """Where to go on: where the steps ended, if that is as good a place as a start."""
    q = optimum.approximation
    return (q.mean, np.log(q.sd)) if np.isfinite(q.mean).all() and (q.sd > 0).all() else start.best


def _without_gradient(optimum: Optimum) -> Array | None:
    """A draw (D,) of the solver at which the value is a number and the gradient is not; None where there is none."""
    job, draws, q = optimum.job, optimum.knowledge.draws, optimum.approximation
    if draws is None or not _affordable(job, len(draws)):
        return None
    u = q.mean + q.sd * draws
    values, gradients = job.target.gradients(u)
    broken = np.flatnonzero(np.isfinite(values) & ~np.isfinite(gradients).all(axis=1))
    return u[broken[0]] if len(broken) else None


def _affordable(job: Job, draws: int) -> bool:
    return not job.late() and job.left > draws
