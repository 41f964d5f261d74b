"""The stage that measures the optimum: ELBO and k-hat of fresh draws, not of those it was fitted on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from bbvi.correction.gaussian import GaussianKind
from bbvi.correction.pool import Evaluated, Normal
from bbvi.correction.psis import psis
from bbvi.correction.verdict import Finding, Verdict
from bbvi.fitting.job import Job
from bbvi.fitting.records import Corrected
from bbvi.solvers.from_values.process import Process
from bbvi.status import Status
from bbvi.target.lint import explain

Array = np.ndarray

# Draws below which there is no ELBO to be had.
_FEWEST = 4


def measure(corrected: Corrected) -> Corrected:
    """The approximation as the first kind of posterior, with its ELBO, its k-hat, and what it met.

    A fit that was interrupted before its first step is not worth an evaluation more.
    """
    optimum, job = corrected.optimum, corrected.job
    q, family = optimum.fitted, job.method.family
    kind = GaussianKind("mean-field", Normal(optimum.approximation.mean, optimum.approximation.sd), optimum.mean_se)
    corrected = corrected.with_kind(kind)
    if optimum.widened is not None and family is not None:
        kind = GaussianKind(family.name, optimum.widened.approximation, optimum.widened.mean_se)
        corrected = corrected.with_kind(kind)
    if not optimum.begun:
        return corrected
    process = optimum.knowledge.surrogate
    if process is not None:
        return _by_surrogate(corrected, kind, process)
    wanted = job.policy.elbo(job.method.gradients, job.target.evaluations)
    draws = int(min(wanted, job.left, max(0.5 * job.affordable, job.policy.kept)))
    if optimum.status is Status.INTERRUPTED:
        draws = min(draws, int(job.within(job.policy.patience)))
    if draws < _FEWEST:
        return corrected
    u = q.sample(draws, job.rng("elbo"))
    evaluated = _evaluated(job, u, q.log_density(u))
    log_ratio = evaluated.log_density - q.log_density(evaluated.u)
    finite = np.isfinite(log_ratio)
    khat, nonfinite = float(psis(log_ratio)[1]), float(1 - finite.mean())
    elbo, elbo_se = -np.inf, np.inf
    if finite.all():
        elbo, elbo_se = float(log_ratio.mean()), float(log_ratio.std(ddof=1) / np.sqrt(len(log_ratio)))
    corrected = corrected.with_kind(kind.with_weights(evaluated, khat))
    corrected = replace(corrected, findings=(*corrected.findings, *_rounded(job, evaluated)))
    if nonfinite:
        why = explain(job.target, evaluated.u[int(np.argmin(finite))])
        told = (
            f"The log joint is not finite at {nonfinite:.1%} of the approximation's draws, so that its ELBO is minus "
            f"infinity: {why or 'declare the supports of latents (Positive, Interval) instead of returning -inf'}."
        )
        corrected = replace(corrected, findings=(*corrected.findings, Finding(Verdict.CAUTION, told)))
    return replace(corrected, elbo=elbo, elbo_se=elbo_se, evaluated=evaluated, nonfinite=nonfinite)


def _evaluated(job: Job, u: Array, log_q: Array) -> Evaluated:
    """The log density at draws (S, D); where each counts, at twice as many until the ELBO's error is small."""
    count = job.policy.few_dear_draws if job.target.dear else len(u)
    values = job.target.values(u[:count])
    while len(values) < len(u):
        # No number where a value is infinite, and then all draws are wanted: they tell how often it is.
        with np.errstate(invalid="ignore"):
            spread = float(np.std(values - log_q[: len(values)], ddof=1))
        if spread < job.policy.elbo_error * np.sqrt(len(values)):
            break
        values = np.concatenate([values, job.target.values(u[len(values) : 2 * len(values)])])
    return Evaluated(u[: len(values)], values)


def _rounded(job: Job, evaluated: Evaluated) -> Iterator[Finding]:
    """What rounding leaves of differences of the log joint, where that is little.

    Values have so many digits only; terms of their size cancel in sums, so that the last few digits go as well.
    """
    known = evaluated.log_density[np.isfinite(evaluated.log_density)]
    lost = job.policy.digits * np.finfo(float).eps * float(np.median(np.abs(known))) if len(known) else 0.0
    if lost > job.policy.rounded:
        verdict = Verdict.UNRELIABLE if lost > job.policy.swamped else Verdict.CAUTION
        yield Finding(
            verdict,
            f"The log joint is about {np.median(known):.2g}, where rounding may change it by {lost:.2g} nats, and the "
            "posterior by as much: leave out constants, or sum the large terms apart from the others.",
        )


def _by_surrogate(corrected: Corrected, kind: GaussianKind, process: Process) -> Corrected:
    """The same with a surrogate as control variate: what fresh draws find is its error only, so that few will do."""
    job, q = corrected.job, corrected.optimum.fitted
    u = q.sample(int(np.clip(min(job.left, job.affordable) / 4, 2, job.policy.few_elbo_draws)), job.rng("elbo"))
    evaluated = Evaluated(u, job.target.values(u))
    free = q.sample(job.policy.free_elbo_draws, job.rng("free elbo"))
    log_ratio = process.log_density(free) - q.log_density(free)
    residual = evaluated.log_density - process.log_density(u)
    elbo, elbo_se = -np.inf, np.inf
    if np.isfinite(residual).all():
        elbo = float(log_ratio.mean() + residual.mean())
        elbo_se = float(np.hypot(log_ratio.std() / np.sqrt(len(free)), residual.std(ddof=1) / np.sqrt(len(u))))
    corrected = corrected.with_kind(kind.with_weights(evaluated, float(psis(log_ratio)[1])))
    corrected = replace(corrected, findings=(*corrected.findings, *_rounded(job, evaluated)))
    return replace(corrected, elbo=elbo, elbo_se=elbo_se, evaluated=evaluated)
