"""The first stage: checks of the log joint, the points to begin at, and the estimator that its gradients allow."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bbvi.correction.verdict import Finding, Verdict
from bbvi.estimators.pathwise import Pathwise
from bbvi.fitting.arguments import from_values, settled, sized
from bbvi.fitting.job import Job, Method
from bbvi.fitting.records import Start
from bbvi.notices import warn
from bbvi.search import starts
from bbvi.target import checks
from bbvi.target.allowance import Exhausted

Array = np.ndarray

_COARSE = (
    "gradient: it returns float32, seven digits of the log joint. The fit allows for that, but where the log joint is "
    "large they are too few: return float64. In JAX say jax.config.update('jax_enable_x64', True) before anything "
    "else; in PyTorch make the tensors torch.float64"
)
# Relative rounding above which gradients are not those of float64.
_ROUNDED = 1e-10


def begin(job: Job) -> Start:
    """Look at the log joint near its start, and choose the points and the method to go on with.

    An interrupt ends with the best start so far, and so do limits that leave no room for all checks.
    """
    given, dim = job.given, job.target.dim
    points = np.zeros((1, dim)) if given is None else given.mean[None]
    log_sd = np.zeros((1, dim)) if given is None or given.log_sd is None else given.log_sd[None]
    start = Start(job, points, log_sd)
    try:
        if given is None:
            points, limited = _candidates(job)
            start = replace(start, points=points, limited=limited)
        return _checked(start)
    except KeyboardInterrupt:
        return replace(start, log_sd=np.zeros(start.points.shape), interrupted=True)
    except Exhausted:
        limited = unsearched("max_evaluations", job.limits.max_evaluations)
        return replace(start, log_sd=np.zeros(start.points.shape), limited=limited)


def _checked(start: Start) -> Start:
    job, points = start.job, start.points
    target, policy = job.target, job.policy
    if job.method.gradients:
        target.note_rounding(points[0])
        if target.rounding > _ROUNDED:
            warn(_COARSE)
    checks.check_batching(target, points)
    if not job.late(policy.checks_until) and target.dim < policy.checks_share * job.left:
        checks.check_dependence(target, points[0], job.rng("dependence"))
    log_sd = np.zeros(points.shape) if job.given is None else start.log_sd
    if job.method.gradients:
        if job.given is None:
            unsearched = not job.searchable or job.late(policy.checks_until)
            points = points[:1] if unsearched else starts.chosen(target, points)
        if job.given is None or job.given.log_sd is None:
            first = points[:1] if target.dear else points
            log_sd = starts.initial_log_sd(target, first, policy.checks_share * job.left)
            log_sd = np.broadcast_to(log_sd, points.shape).copy()
        method, findings = _with_true_gradient(job, points[0], log_sd[0])
        start = replace(start, job=replace(job, method=method), findings=(*start.findings, *findings))
    return replace(start, points=points, log_sd=log_sd)


def _candidates(job: Job) -> tuple[Array, str]:
    """Candidates for a start, best first, as many as the limits allow, and what was left out."""
    limits, policy = job.limits, job.policy
    count = policy.candidates if job.method.gradients else policy.candidates_from_values
    fewer = int(np.clip(limits.max_evaluations / 8, 3, count))
    rng, timed = job.rng("candidates"), np.isfinite(limits.max_seconds)
    late = {"late": lambda: job.late(policy.candidates_until)} if timed else {}
    points = starts.candidates(job.target, rng, fewer, **late)[0]
    if job.late(policy.candidates_until):
        return points, unsearched("max_seconds", limits.max_seconds)
    if fewer < count or (not job.searchable and job.method.gradients):
        return points, unsearched("max_evaluations", limits.max_evaluations)
    return points, ""


def unsearched(name: str, limit: float) -> str:
    """What a limit that was too small for the search for modes left out."""
    return (
        f"{name} ({limit:g}) is too small to look for other modes in full: the fit began at one of few points. Fit "
        f"again with a larger {name}, or with init= at values that make sense."
    )


def _with_true_gradient(job: Job, point: Array, log_sd: Array) -> tuple[Method, tuple[Finding, ...]]:
    """The method settled on the gradient, or on the score function where it is not the derivative of the values."""
    target, method = job.target, job.method
    # A line takes 27 gradients, and the limits may have room for few.
    most = job.policy.dear_lines if target.dear else job.policy.lines
    lines = 1 if job.late(job.policy.checks_until) else int(np.clip(job.limits.max_evaluations / 200, 1, most))
    found = checks.check_gradient(target, point, np.exp(log_sd), job.rng("gradient"), lines)
    if found.ok:
        return (settled(Pathwise(), method.solver, method.family) if method.estimator is None else method), ()
    if "gradient" in target.model.functions:
        why = "" if target.rounding < _ROUNDED else "; float32 may be all that is wrong with it: return float64"
        raise ValueError(f"gradient: it contradicts finite differences of log_joint: {found}{why}")
    told = f"the log joint is not differentiable as autograd sees it, so the score function is used: {found}"
    warn(told)
    target.kept, target.tolerant = [], True
    return sized(from_values(method), target.dim), (Finding(Verdict.RELIABLE, f"{told[0].upper()}{told[1:]}."),)
