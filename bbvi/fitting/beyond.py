"""The stage that looks beyond the outermost draws, where heavy tails hold what no draw shows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bbvi.correction.beyond import BeyondPolicy, beyond
from bbvi.correction.chains import Chains
from bbvi.correction.importance import ImportanceResult
from bbvi.correction.verdict import FEW_IN_TAIL
from bbvi.fitting.records import Corrected
from bbvi.result.posterior import Reported
from bbvi.status import Status
from bbvi.target.protocol import hints_of


def look_beyond(corrected: Corrected, policy: BeyondPolicy = BeyondPolicy()) -> Corrected:  # noqa: B008
    """The same, with a doubt about each quantity of whose variance the draws miss a part."""
    job, target = corrected.job, corrected.job.target
    kind = next((kind for kind in corrected.kinds if kind.checked and not kind.problems), None)
    if not isinstance(kind, (ImportanceResult, Chains)) or corrected.status is Status.INTERRUPTED or job.late():
        return corrected
    if target.dim > policy.latents:
        return corrected
    room = min(job.left, policy.dear * target.evaluations if hints_of(target).dear else np.inf)
    most = int(min(policy.quantities, room // policy.points))
    pool, report = kind.pool(job.seed), Reported(target)
    weights = np.exp(pool.log_weights - pool.log_weights.max())
    missing = beyond(target.values, lambda u: report(u)[1], pool.u, weights / weights.sum(), most, policy)
    far = missing > policy.missing
    if not far.any():
        return corrected
    labels = report(pool.u[:1])[0]
    names = ", ".join(labels[i] for i in np.argsort(-missing)[: min(4, int(far.sum()))])
    told = (
        f"beyond the outermost draws of {names} the density falls off so slowly that an sd is too small by "
        f"{missing.max():.0%} or more, or may not exist"
    )
    # Where nothing failed before, no row has a doubt of its own.
    doubts = tuple(FEW_IN_TAIL if bad else "" for bad in far)
    return corrected.with_kind(replace(kind, problems=(*kind.problems, told), doubts=doubts))
