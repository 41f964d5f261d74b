"""Weighted draws as a result: every check made, and told in a clause each, for all rows and by row."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bbvi.correction.importance.assessment import (
    Assessment,
    few,
    heavy_tailed,
    heavy_tails,
    steered,
    unsettled,
    valleys,
)
from bbvi.correction.importance.pool import WeightedPool
from bbvi.correction.importance.result import ImportanceResult
from bbvi.correction.pool import Evaluated

Array = np.ndarray


def judged(
    pool: WeightedPool,
    found: Assessment,
    moves: Array,
    initial_khat: float,
    rounds: int,
    start: Evaluated,
    interrupted: bool,
    spent: int,
) -> ImportanceResult:
    """The draws with every check made of them; `moves` (R,) is what the last round of draws changed."""
    told = _told(pool, found, moves)
    return ImportanceResult(
        draws=pool.u,
        log_weights=found.controls.adjusted(found.log_weights),
        log_density=pool.log_p,
        proposal=pool.mixture,
        khat=found.khat,
        initial_khat=initial_khat,
        interrupted=interrupted,
        ess=found.ess,
        log_evidence=found.log_evidence,
        log_evidence_se=found.log_evidence_se,
        mean_error=found.mean_error,
        sd_error=found.sd_error,
        tail_khat=found.tail_khat,
        rounds=rounds,
        evaluations=spent + len(pool.u),
        start=start,
        problems=told.problems,
        shared=told.shared,
        doubts=told.doubts,
    )


class _Told(NamedTuple):
    """The checks that failed: a clause each, those that concern all rows, and by row."""

    problems: tuple[str, ...]
    shared: tuple[str, ...]
    doubts: tuple[str, ...]


def _told(pool: WeightedPool, found: Assessment, moves: Array) -> _Told:
    heavy = heavy_tailed(found, pool.columns)
    own = found.problems(pool.labels)
    shared = (*few(found), *steered(found, pool.columns, pool.labels), *valleys(found))
    of_rows = (*unsettled(found, float(moves.max())), *heavy_tails(heavy, pool.labels))
    khat = own[: found.khat >= found.policy.khat_passing]
    return _Told((*own, *shared, *of_rows), (*khat, *shared), found.doubts(heavy, moves))
