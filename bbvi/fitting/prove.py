"""The stages that prove the recording: that the log joint still is what it was when it was recorded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bbvi.correction.verdict import Finding, Verdict
from bbvi.fitting.job import Job
from bbvi.fitting.records import Corrected, Optimum
from bbvi.status import Status
from bbvi.target.proof import ProofPolicy, prove

Array = np.ndarray


class Refuted(Exception):
    """The recording is not the function; the message says where it differs."""


def prove_optimum(optimum: Optimum) -> Optimum:
    """The optimum as it is, if the recording holds at draws of the approximation.

    Raises
    ------
    Refuted
        If it does not.
    """
    if optimum.begun and optimum.status is not Status.INTERRUPTED:
        job = optimum.job
        _prove(job, optimum.approximation.sample(ProofPolicy().calls(job.target.evaluations), job.rng("proof")))
    return optimum


def prove_posterior(corrected: Corrected) -> Corrected:
    """What is known, if the recording holds at draws of the posterior, and the function gives again what it gave.

    Raises
    ------
    Refuted
        If the recording does not hold.
    """
    if not corrected.optimum.begun or corrected.status is Status.INTERRUPTED or corrected.job.late():
        return corrected
    job, best = corrected.job, corrected.kinds[-1]
    _prove(job, best.sample(posterior_calls(job), job.rng("posterior proof")))
    return _repeated(corrected)


def posterior_calls(job: Job) -> int:
    """Calls of the last proof: all that there may be where its recording is doubtful."""
    return ProofPolicy().calls(job.target.evaluations, wary=job.target.doubtful)


def _prove(job: Job, u: Array) -> None:
    # Of a limit that leaves less, all that it leaves.
    u = u[: int(min(max(job.left, 0), len(u)))]
    if job.target.recorded and not job.target.model.vectorized and len(u):
        proof = prove(job.target, u)
        if proof.difference:
            raise Refuted(proof.difference)


def _repeated(corrected: Corrected) -> Corrected:
    """A log joint that gives other values than before keeps a state, or is random beyond what was noticed as noise."""
    job, known = corrected.job, corrected.evaluated
    if known is None or corrected.optimum.knowledge.noise_sd > 0 or job.left < job.policy.again:
        return corrected
    u, before = known.u[:job.policy.again], known.log_density[:job.policy.again]
    after = job.target.values(u)
    if np.allclose(after, before, rtol=1e-8, atol=1e-8, equal_nan=True):
        return corrected
    told = (
        "The log joint gave other values at the same draws than before: it keeps a state that changed, or draws random "
        "numbers, and the fit is of no one function. Make it a function of its arguments alone."
    )
    return replace(corrected, findings=(*corrected.findings, Finding(Verdict.UNRELIABLE, told)))

