"""The stage of the surrogate: all that was paid for as one posterior, and fresh evaluations to check it by."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from bbvi.correction.border import with_border
from bbvi.correction.compared import Compared, usable
from bbvi.correction.emulation import SurrogateKind, emulated
from bbvi.correction.pool import Evaluated
from bbvi.correction.tails import beyond, outermost, pushed, with_tails
from bbvi.fitting.job import Job
from bbvi.fitting.records import Corrected
from bbvi.result import posterior
from bbvi.solvers.from_values import draws
from bbvi.solvers.from_values.differences import bounded
from bbvi.solvers.from_values.process import Process, given, learnt
from bbvi.status import Status

Array = np.ndarray


def emulate(corrected: Corrected) -> Corrected:
    """The surrogate as a kind of posterior, where the solver made one that can be sampled."""
    optimum, job = corrected.optimum, corrected.job
    process = optimum.knowledge.surrogate
    if process is None or not optimum.begun or corrected.status is Status.DIVERGED:
        return corrected
    rng, target, measure = job.rng("surrogate"), job.target, _measure(job)
    nothing = Evaluated(np.empty((0, target.dim)), np.empty(0))
    fresh, outer, kind = nothing, nothing, None
    try:
        for share in (job.policy.fresh_share, job.policy.more_fresh_share):
            count = _count(job, share, len(fresh.u))
            if kind is not None and (not kind.problems or count < job.policy.fresh):
                break
            fresh = _with_fresh(fresh, count, corrected, process, rng)
            tried = _candidates(process, fresh, outer, optimum.knowledge.noise_sd, rng)
            best = min(tried, key=lambda one: one.plain)
            kind = emulated(best, fresh, process, measure, optimum.places, rng)
            if not kind.problems:
                kind, outer = _tails(job, kind, best.process, measure, optimum.knowledge.noise_sd)
                kind = with_border(kind, job.target.evaluated, best.process.frame.whiten)
    except np.linalg.LinAlgError:
        return corrected
    return corrected if kind is None else corrected.with_kind(kind)


def _tails(
    job: Job,
    kind: SurrogateKind,
    process: Process,
    measure: Callable[[Array], tuple[list[str], Array]],
    noise_sd: float,
) -> tuple[SurrogateKind, Evaluated]:
    """The kind with what a few evaluations far out say of it, and these; where there is room and no noise."""
    rows = outermost(kind, measure(kind.draws)[1])
    if noise_sd > 0 or job.left - job.policy.again < 2 * len(rows) or job.late():
        return kind, Evaluated(kind.draws[:0], kind.log_density[:0])
    further = bounded(job.target, kind.covariance[0], pushed(kind, rows))
    outer = Evaluated(
        np.concatenate([kind.draws[rows], further]),
        job.target.values(np.concatenate([kind.draws[rows], further])),
    )
    expected = np.concatenate([kind.log_density[rows], beyond(kind, rows, process, further)])
    return with_tails(kind, outer.log_density - expected), outer


def _measure(job: Job) -> Callable[[Array], tuple[list[str], Array]]:
    return posterior.Reported(job.target)


def _count(job: Job, share: float, taken: int) -> int:
    """Fresh evaluations that so large a share of all is, as far as the limits allow."""
    wanted = int(np.clip(share * job.target.evaluations, job.policy.fresh, job.policy.most_fresh)) - taken
    return int(max(min(wanted, job.left - job.policy.again, job.affordable), 0))


def _with_fresh(
    fresh: Evaluated, count: int, corrected: Corrected, process: Process, rng: np.random.Generator
) -> Evaluated:
    """With so many more evaluations at draws of the surrogate's posterior, to which it was not fitted."""
    weighted = draws.drawn(process, np.zeros(corrected.job.target.dim), rng)
    rows = rng.permutation(draws.chosen_rows(weighted.weights, max(count, 1), rng))[:count]
    u = process.frame.restore(weighted.e[rows])
    values = corrected.job.target.values(u) if count else np.empty(0)
    u, values = np.concatenate([fresh.u, u]), np.concatenate([fresh.log_density, values])
    # Those that failed last, since no surrogate is given them.
    order = np.argsort(~usable(values), kind="stable")
    return Evaluated(u[order], values[order])


def _candidates(
    before: Process, fresh: Evaluated, outer: Evaluated, noise_sd: float, rng: np.random.Generator
) -> Iterator[Compared]:
    """The solver's surrogate, and those that were given the fresh values, too, and those far out.

    What the fresh values say of the first is plain; of the others, what each says that was left out.
    """
    finite, further = usable(fresh.log_density), usable(outer.log_density)
    if not further.any():
        yield Compared.of_others(before, fresh)
    u = np.concatenate([before.frame.restore(before.points), fresh.u[finite], outer.u[further]])
    values = np.concatenate([before.values, fresh.log_density[finite], outer.log_density[further]])
    rows = len(before.values) + np.arange(finite.sum())
    if not len(rows):
        return
    try:
        yield Compared.of_own(given(before.frame, u, values, before.logs), rows, len(fresh.u))
        logs = learnt(before.frame, u, values, before.logs, noise_sd, rng)
        yield Compared.of_own(given(before.frame, u, values, logs), rows, len(fresh.u))
    except np.linalg.LinAlgError:
        return
