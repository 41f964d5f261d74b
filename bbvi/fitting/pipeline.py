"""The stages of a fit, in their order: from a job to a fit with a verdict."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from bbvi.correction.verdict import Finding, Verdict
from bbvi.fitting.begin import begin
from bbvi.fitting.beyond import look_beyond
from bbvi.fitting.emulate import emulate
from bbvi.fitting.job import Job
from bbvi.fitting.judge import judge
from bbvi.fitting.look import look
from bbvi.fitting.measure import measure
from bbvi.fitting.mirror import mirror
from bbvi.fitting.mix import mix
from bbvi.fitting.optimise import optimise
from bbvi.fitting.outskirts import outskirts
from bbvi.fitting.prove import Refuted, prove_optimum, prove_posterior
from bbvi.fitting.records import Corrected, Judged, Optimum
from bbvi.fitting.respond import respond
from bbvi.fitting.revert import revert
from bbvi.fitting.search import search
from bbvi.fitting.surround import surround
from bbvi.fitting.weigh import weigh
from bbvi.fitting.widen import widen
from bbvi.result.fit import Fit
from bbvi.status import Status
from bbvi.target.allowance import Exhausted, allowing

# What lies between an optimum and its verdict. Each stage decides for itself whether it is worth its cost.
CORRECTIONS: dict[Callable[[Corrected], Corrected], str] = {
    measure: "measuring the ELBO",
    respond: "linear response",
    emulate: "drawing from the surrogate",
    mirror: "looking for symmetries",
    weigh: "weighting draws",
    mix: "running chains",
    surround: "looking around the draws",
    outskirts: "trying the outermost draws",
    look_beyond: "looking beyond the draws",
    prove_posterior: "checking the recording",
}


def run(job: Job) -> Fit:
    """All stages, one after the other.

    Where the recording of the log joint turns out not to be the function, all that came of it is void, and the fit is
    made again draw by draw.
    """
    try:
        return _shown(job)
    except Refuted as refuted:
        told = (
            f"The log joint is not what it was when it was recorded ({refuted}): it depends on more than its "
            "arguments, or on their types, or catches errors. It was evaluated draw by draw instead, which takes "
            "longer; write it as a function of its arguments alone."
        )
        again = replace(job, target=job.target.unrecorded(str(refuted)))
        return _shown(again, (Finding(Verdict.CAUTION, told),))


def _shown(job: Job, findings: tuple[Finding, ...] = ()) -> Fit:
    try:
        return staged(job, findings)
    finally:
        job.limits.bar.close()


def staged(job: Job, findings: tuple[Finding, ...] = ()) -> Fit:
    """The stages in their order, with what was found before them."""
    with allowing(job.target, job.limits.max_evaluations):
        job.say("looking for starts")
        start = begin(job)
        job.say("looking for modes")
        start = search(replace(start, findings=(*findings, *start.findings)))
        job.say("maximising the ELBO")
        return concluded(judge(corrected(widen(look(prove_optimum(revert(optimise(start))))))))


def corrected(optimum: Optimum) -> Corrected:
    """The optimum, taken through every correction; an interrupt, or the limits, leave what is known by then."""
    known = Corrected(optimum, optimum.status, optimum.message, modes=optimum.modes, findings=optimum.findings)
    try:
        for stage, doing in CORRECTIONS.items():
            # Whoever interrupts a fit does not wait for more than a measure of what there is.
            if known.status is Status.INTERRUPTED and known.kinds:
                break
            optimum.job.say(doing)
            known = stage(known)
    except Exhausted:
        message = f"{known.message} max_evaluations was reached before all checks were made."
        known = replace(known, message=message)
    except KeyboardInterrupt:
        if not known.kinds:
            known = measure(replace(known, optimum=replace(optimum, status=Status.INTERRUPTED)))
        message = "The fit was interrupted before its quality was known."
        known = replace(known, status=Status.INTERRUPTED, message=message)
    return known


def concluded(judged: Judged) -> Fit:
    """The fit that a user gets."""
    known = judged.corrected
    job, optimum = known.job, known.optimum
    ended = optimum.widened or optimum
    target = job.target
    target.log = None
    return Fit(
        model=target.model,
        status=known.status,
        message=f"{known.message} {optimum.start.limited}".strip(),
        verdict=str(judged.verdict),
        reasons=judged.reasons,
        approximation=optimum.fitted,
        covariance=known.response.covariance,
        elbo=known.elbo,
        elbo_se=known.elbo_se,
        kind=judged.kind,
        trace=optimum.trace,
        seconds=time.perf_counter() - job.started,
        mean_se=ended.mean_se,
        log_sd_se=ended.log_sd_se,
        estimator=job.method.name,
        solver=job.solver_name,
        seed=job.seed,
        evaluations=target.evaluations,
        gradient_evaluations=target.gradient_evaluations,
        target=target,
        kinds={kind.name: kind for kind in known.kinds},
        surrogate_covariance=optimum.knowledge.surrogate_covariance,
        modes=list(known.modes),
        noise_sd=optimum.knowledge.noise_sd,
        eps=optimum.knowledge.draws,
        looped=target.looped.get("density", ""),
        evaluated=target.evaluated if target.kept is not None else None,
        origin=known,
        stages=job.shares,
        row_verdicts=[str(verdict) for verdict, _ in judged.rows],
        row_checks=[check for _, check in judged.rows],
    )
