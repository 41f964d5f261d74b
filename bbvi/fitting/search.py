"""The stage that looks for modes: the log density must fall off, and dispersed starts are pulled where they lead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from bbvi.fitting.begin import unsearched
from bbvi.fitting.job import Job
from bbvi.fitting.records import Start
from bbvi.search import starts
from bbvi.target import checks
from bbvi.target.allowance import Exhausted

# Values a latent that the check for improper densities takes, and its share of a limit at the most.
_PROPER, _SHARE = 20, 8


def search(start: Start) -> Start:
    """The start with the modes that its points lead to, for a solver whose optimum is looked for that way."""
    job = start.job
    target, policy, limit = job.target, job.policy, job.limits.max_evaluations
    if start.interrupted or job.method.solver.traits.search != "modes":
        return start
    try:
        if _SHARE * _PROPER * target.dim < limit and not job.late(policy.checks_until):
            checks.check_proper(target, start.points[0])
        if job.given is not None:
            return start
        modes = []
        if job.searchable and not job.late(policy.checks_until):
            late = _over(job)
            modes = starts.find_modes(target, start.points, start.log_sd, job.rng("search"), limit, late)
        if job.late(policy.search_until if modes else policy.checks_until):
            start = replace(start, limited=unsearched("max_seconds", job.limits.max_seconds))
        return replace(start, modes=tuple(modes))
    except KeyboardInterrupt:
        return replace(start, interrupted=True)
    except Exhausted:
        return replace(start, limited=unsearched("max_evaluations", limit))


def _over(job: Job) -> Callable[[], bool]:
    """Whether the search has had its share of the limits."""
    policy = job.policy
    most = policy.searched_until * job.limits.max_evaluations
    return lambda: job.late(policy.search_until) or job.target.evaluations > most
