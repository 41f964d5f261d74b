"""The stage that maximises the ELBO: the solver in its loop, and rivals from other starts where it asks for them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from bbvi.correction.verdict import Finding, Verdict
from bbvi.fitting.job import Job
from bbvi.fitting.records import Optimum, Start
from bbvi.search import around, rivals
from bbvi.search.modes import Mode
from bbvi.solvers.base import Continued, Solver
from bbvi.solvers.from_values.active import informed
from bbvi.solvers.from_values.surrogate_state import SurrogateState
from bbvi.solvers.loop import Limits, run, unstarted
from bbvi.solvers.state import State, Trace
from bbvi.status import Status

Array = np.ndarray

_NOT_AROUND = (
    "The limits left no room to look for other modes from values: that there are none was not checked. Fit again with "
    "a larger max_evaluations and init=fit."
)
_MORE = (
    "A look around found a part of the posterior that the fit did not know, and the limits left no room to go on with "
    "it. Fit again with a larger max_evaluations and init=fit."
)
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
    if solver.traits.search == "around" and (job.given is None or job.given.log_sd is not None):
        return _looked_around(start, state, trace)
    return _ended(start, state, trace, modes)


def _looked_around(start: Start, state: State, trace: Trace) -> Optimum:
    """The optimum with the modes around it; where more of the posterior is found, the fit goes on with that."""
    job = start.job
    solver, rng = job.method.solver, job.rng("around")
    modes: list[Mode] = []
    places = np.empty((0, job.target.dim))
    try:
        for _ in range(job.policy.looks):
            process = state.knowledge.surrogate
            if process is None or state.status in (Status.DIVERGED, Status.INTERRUPTED):
                break
            if _left(job) < around.POLICY.cost(job.target.dim) or job.late(job.policy.around_until):
                return _ended(dataclasses.replace(start, limited=start.limited or _NOT_AROUND), state, trace, [])
            found = around.look_around(job.target, process, state.knowledge.noise_sd, rng, lambda: _left(job))
            modes = [around.home(state, process, found.looked), *found.modes]
            places = np.concatenate([places, found.places])
            if not (found.higher or found.joined):
                break
            if _left(job) < job.policy.further * job.target.evaluations:
                return _ended(dataclasses.replace(start, limited=start.limited or _MORE), state, trace, modes, places)
            further: Solver[Any] = solver
            if isinstance(state, SurrogateState) and not found.higher:
                further = Continued(solver, informed(job.target, state))
            best = max(modes, key=lambda mode: mode.elbo)
            state, more = run(
                further, job.target, (best.mean, best.log_sd), rng, job.tolerance, _further(job), job.started
            )
            for name, values in vars(more).items():
                getattr(trace, name).extend(values)
            if not found.higher:
                break
    except KeyboardInterrupt:
        message = "The fit was interrupted while other modes were looked for; this is the best so far."
        state = dataclasses.replace(state, status=Status.INTERRUPTED, message=message)
    return _ended(start, state, trace, modes, places)


def _further(job: Job) -> Limits:
    """The limits of a fit that goes on with what a look around found."""
    inner, spent = _limits(job), job.target.evaluations
    own = inner.max_evaluations if np.isinf(job.limits.max_evaluations) else spent + _left(job)
    most = min(own, spent + max(job.policy.further_evaluations, spent))
    return dataclasses.replace(inner, max_evaluations=most, checkpoint=None)


def _left(job: Job) -> float:
    """Evaluations that a look around may take, so that the checks at the end still have theirs."""
    return min(job.left, job.affordable) - job.policy.again - 2 * job.policy.fresh


def _limits(job: Job) -> Limits:
    """The limits of the solver: its share of the fit's, and its own."""
    traits = job.method.solver.traits
    own = traits.evaluations + traits.evaluations_per_latent * job.target.dim
    return dataclasses.replace(
        job.limits,
        max_evaluations=min(traits.share * job.limits.max_evaluations, own),
        max_seconds=traits.share * job.limits.max_seconds,
    )


def _ended(
    start: Start, state: State, trace: Trace, modes: list[Mode], places: Array | None = None
) -> Optimum:
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
        places=np.empty((0, start.job.target.dim)) if places is None else places,
    )
    if not optimum.begun:
        findings = (*findings, Finding(Verdict.UNRELIABLE, _UNBEGUN))
    if start.limited:
        findings = (*findings, Finding(Verdict.CAUTION, start.limited))
    return dataclasses.replace(optimum, findings=findings)
