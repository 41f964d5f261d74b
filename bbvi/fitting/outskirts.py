"""The stage that tries short moves from the outermost weighted draws, which may end before the posterior does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bbvi.correction.importance import ImportanceResult
from bbvi.correction.outskirts import OutskirtsPolicy, acceptance
from bbvi.correction.verdict import Finding, Verdict
from bbvi.fitting.records import Corrected
from bbvi.status import Status


def outskirts(corrected: Corrected, policy: OutskirtsPolicy = OutskirtsPolicy()) -> Corrected:  # noqa: B008
    """The same, with a finding where weights that look good are of draws whose outermost ones are in thin arms."""
    job = corrected.job
    kind = next((kind for kind in corrected.kinds if kind.checked and not kind.problems), None)
    if not isinstance(kind, ImportanceResult) or not job.method.gradients:
        return corrected
    if corrected.status is Status.INTERRUPTED or job.late() or (policy.steps + 1) * policy.draws > job.left:
        return corrected
    pool = kind.pool(job.seed)
    try:
        rate = acceptance(
            job.target.gradients, pool.u, np.exp(pool.log_weights), job.rng("outskirts"), policy
        )
    except np.linalg.LinAlgError:
        return corrected
    if rate >= policy.acceptance:
        return corrected
    told = (
        f"Short moves from the outermost draws leave the posterior ({rate:.0%} are accepted): it is bent, or far "
        "narrower there than in its middle, so that weighted draws may end before it does, and their sds be too small. "
        "Write the latent that follows another as a deviation from it."
    )
    return replace(corrected, findings=(*corrected.findings, Finding(Verdict.CAUTION, told)))
