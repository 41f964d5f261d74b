"""The stage that looks far around the draws of a posterior, for a halo of it where none of them went."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from bbvi.correction.chains import Chains
from bbvi.correction.evidence import log_evidence_of
from bbvi.correction.gaussian import GaussianKind
from bbvi.correction.importance import ImportanceResult
from bbvi.correction.pool import Kind, Pool
from bbvi.correction.surroundings import SurroundingsPolicy, standardized, surroundings
from bbvi.correction.verdict import Finding, Verdict
from bbvi.fitting.records import Corrected
from bbvi.status import Status

Array = np.ndarray


def surround(corrected: Corrected, policy: SurroundingsPolicy = SurroundingsPolicy()) -> Corrected:  # noqa: B008
    """The same, with a finding where more of the posterior lies around than draws say; of kinds of known evidence."""
    job = corrected.job
    kind = next((kind for kind in corrected.kinds if kind.checked and not kind.problems), None)
    if kind is None or not job.method.gradients or corrected.status is Status.INTERRUPTED or job.late():
        return corrected
    pool = kind.pool(job.seed)
    weights = np.exp(pool.log_weights)
    blocks = policy.parts(job.target.model.slices.values(), job.target.dim)
    count = policy.looks(job.target.evaluations, job.target.dear, len(blocks))
    if count * len(blocks) > job.left or np.sum(weights > 0) <= 2 * job.target.dim:
        return corrected
    log_evidence, error = _evidence(kind, pool, weights)
    if not error < policy.known:
        return corrected
    rng = job.rng("surroundings")
    look = partial(surroundings, job.target.values, pool.u, weights, log_evidence)
    seen = []
    for block in blocks:
        found = look(block, rng, count, policy)
        if found.uncertain(policy) and not job.target.dear and policy.again <= job.left:
            found = look(block, rng, policy.again, policy)
        if found.missed(policy):
            seen.append(found)
    if not seen:
        return corrected
    found = max(seen, key=lambda one: one.share)
    finding = Finding(
        Verdict.UNRELIABLE,
        f"Some {min(found.share / (1 + found.share), 0.99):.0%} of the posterior lie around all draws, where none of "
        f"them is: at {found.radius:.1f} times their distance from the mean. Its scale differs from place to place: "
        "write what makes it wide as a latent (a scale, or the weight of a component), and scale by it.",
    )
    return replace(corrected, findings=(*corrected.findings, finding))


def _evidence(kind: Kind, pool: Pool, weights: Array) -> tuple[float, float]:
    """The kind's log evidence, and its error: from the draws themselves where it has none."""
    if isinstance(kind, ImportanceResult):
        return kind.log_evidence, kind.log_evidence_se
    if isinstance(kind, (GaussianKind, Chains)):
        return kind.log_evidence
    e, log_volume = standardized(pool.u, weights)
    return log_evidence_of(e, weights, pool.log_density + log_volume)
