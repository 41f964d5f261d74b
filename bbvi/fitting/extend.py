"""More draws for a fit: longer chains, or more weighted draws; the only way on that calls the log joint again."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from bbvi.correction import chains, importance
from bbvi.correction.chains import Chains, Density
from bbvi.correction.importance import ImportanceResult
from bbvi.correction.pool import Kind
from bbvi.fitting import arguments
from bbvi.fitting.judge import judge
from bbvi.fitting.mix import examined
from bbvi.fitting.pipeline import concluded
from bbvi.fitting.records import Corrected
from bbvi.model.validation import positive_int
from bbvi.result import posterior
from bbvi.result.fit import Fit
from bbvi.threads import single_threaded

Array = np.ndarray


@single_threaded
def extend(
    fit: Fit, draws: int | None = None, *, max_evaluations: int | None = None, max_seconds: float | None = None
) -> Fit:
    """A fit with more draws, judged anew; the one given stays as it is.

    Parameters
    ----------
    fit : Fit
    draws : int, optional
        How many more draws: of each chain where chains are what the fit relies on, or of the weighted draws. By default
        as many as there are.
    max_evaluations, max_seconds : optional
        What the further draws may cost.

    Returns
    -------
    Fit

    Raises
    ------
    ValueError
        If the fit has neither chains nor weighted draws, or was loaded from a file.
    """
    origin = fit.origin
    if not isinstance(origin, Corrected):
        raise ValueError("extend: needs the fit as it was made; one that was loaded is fitted again with init=fit")
    limits = arguments.as_limits(max_evaluations, max_seconds, None, None, None)
    if draws is not None:
        draws = positive_int("draws", draws)
    target = fit.target
    target.evaluations, target.gradient_evaluations = fit.evaluations, fit.gradient_evaluations
    begun = time.perf_counter()
    job = replace(
        origin.job,
        started=begun,
        limits=replace(limits, max_evaluations=fit.evaluations + limits.max_evaluations),
    )
    job.say("extending")
    longest = _to_extend(fit)
    rng = np.random.default_rng([fit.seed, 4, fit.evaluations])

    measure = posterior.Reported(target)
    if isinstance(longest, Chains):
        count = longest.draws.shape[1] if draws is None else int(draws)
        policy = job.policy.chains
        more = chains.extended(
            longest,
            Density(target.gradients, target.slopes, target.values),
            measure,
            rng,
            count,
            remaining=lambda: job.left,
            late=job.late,
            policy=policy,
        )
        known = origin.with_kind(examined(origin, more, job))
    elif isinstance(longest, ImportanceResult):
        count = len(longest.draws) if draws is None else int(draws)
        known = origin.with_kind(
            importance.extended(longest, target.values, measure, rng, count, remaining=lambda: job.left)
        )
    else:
        raise ValueError("extend: this fit has neither chains nor weighted draws; see fit.reasons")
    optimum = known.optimum
    start = replace(optimum.start, job=replace(job, started=begun - fit.seconds, limits=origin.job.limits))
    return concluded(judge(replace(known, optimum=replace(optimum, start=start))))


def _to_extend(fit: Fit) -> Kind | None:
    """The draws in use, or those that were tried before a Gaussian was used instead."""
    used = fit.kinds[fit.kind]
    if isinstance(used, (Chains, ImportanceResult)):
        return used
    return fit.kinds.get("chains") or fit.kinds.get("importance")
