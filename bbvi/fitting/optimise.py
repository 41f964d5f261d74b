"""The stage that maximises the ELBO: the solver in its loop, and rivals from other starts where it asks for them."""

from __future__ import annotations

import dataclasses

from bbvi.correction.verdict import Finding, Verdict
from bbvi.fitting.job import Job
from bbvi.fitting.records import Optimum, Start
from bbvi.search import rivals
from bbvi.search.modes import Mode
from bbvi.solvers.loop import Limits, run, unstarted
from bbvi.solvers.state import State, Trace
from bbvi.status import Status

_UNBEGUN = "The fit made no step: its means are where it started, and its sds say nothing. Fit again."


def optimise(start: Start) -> Optimum:
    """Run the solver from the best start to its end, or to that of the limits."""
    job, best = start.job, start.best
    if start.interrupted:
        return _ended(start, unstarted(best), Trace(), [])
    solver, inner, rng = job.method.solver, _limits(job), job.rng("optimise")
    state: State
    state, trace = run(solver, job.target, best, rng, job.tolerance, inner, job.started)
    modes = list(start.modes)
    if solver.traits.search == "rivals" and job.given is None and state.status is Status.CONVERGED:
        state, modes = rivals.challenged(
            job.target, solver, state, trace, start.points, job.rng("rivals"), job.tolerance, inner, job.started
        )
    return _ended(start, state, trace, modes)


def _limits(job: Job) -> Limits:
    """The limits of the solver: its share of the fit's, and its own."""
    traits = job.method.solver.traits
    own = traits.evaluations + traits.evaluations_per_latent * job.target.dim
    most = job.limits.max_evaluations
    return dataclasses.replace(
        job.limits,
        max_evaluations=min(traits.share * most, most - job.policy.kept, own),
        max_seconds=traits.share * job.limits.max_seconds,
        own=own < traits.share * most,
    )


def _ended(start: Start, state: State, trace: Trace, modes: list[Mode]) -> Optimum:
    findings = start.findings
    optimum = Optimum(
        start=start,
        approximation=state.approximation,
        status=state.status or Status.BUDGET,
        message=state.message,
        mean_se=state.mean_se,
        log_sd_se=state.log_sd_se,
        trace=trace,
        knowledge=state.knowledge,
        modes=tuple(modes),
    )
    if not optimum.begun:
        findings = (*findings, Finding(Verdict.UNRELIABLE, _UNBEGUN))
    if start.limited:
        findings = (*findings, Finding(Verdict.CAUTION, start.limited))
    return dataclasses.replace(optimum, findings=findings)
