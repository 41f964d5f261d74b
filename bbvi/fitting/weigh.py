"""The stage of importance weights: they carry the best Gaussian at hand to the posterior, at a cost like the fit's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from bbvi.correction import importance
from bbvi.correction.emulation import SurrogateKind
from bbvi.correction.importance import ImportanceResult
from bbvi.correction.importance.proposals import Mixture
from bbvi.correction.importance.slices import conditional_mixture, most_evaluations
from bbvi.correction.pool import Evaluated
from bbvi.correction.psis import psis
from bbvi.correction.verdict import Finding, Verdict
from bbvi.fitting.job import Job
from bbvi.fitting.prove import posterior_calls
from bbvi.fitting.records import Corrected
from bbvi.result import posterior
from bbvi.search.modes import near_modes
from bbvi.status import Status
from bbvi.target.target import Target

Array = np.ndarray


def weigh(corrected: Corrected) -> Corrected:
    """Weighted draws as a kind of posterior, where they can be had and are worth their cost."""
    job, optimum = corrected.job, corrected.optimum
    surrogate = corrected.kind("surrogate")
    if not corrected.worth_checking or (surrogate is not None and not surrogate.problems):
        return corrected
    in_time = job.affordable
    if _many(job):
        return _tried(corrected)
    if job.target.dear and corrected.response.covariance is not None:
        corrected = _tried(corrected)
        if corrected.widest.checked:
            return corrected
    result = _weighted(corrected) if job.target.dim <= job.policy.most_weighted else None
    if result is not None and not np.isfinite(result.log_evidence):
        # Not one draw has a finite density: there is nothing to weigh.
        result = None
    if (result is None and in_time < job.policy.fewest_weights) or job.late():
        corrected = replace(corrected, message=_out_of_time(corrected.message, result))
    if result is None:
        return corrected
    if result.interrupted:
        message = "The fit was interrupted while its weights were drawn: these are the draws up to then."
        corrected = replace(corrected, status=Status.INTERRUPTED, message=message)
    own = corrected.widest
    if own.name == "linear-response":
        corrected = corrected.with_kind(own.with_weights(result.start, result.initial_khat))
    elif optimum.widened is not None or optimum.knowledge.surrogate_covariance is None:
        if own.evaluated is not None:
            more = Evaluated(
                np.concatenate([own.evaluated.u, result.start.u]),
                np.concatenate([own.evaluated.log_density, result.start.log_density]),
            )
            corrected = corrected.with_kind(own.with_weights(more, own.khat))
    return corrected.with_kind(result)


def _many(job: Job) -> bool:
    """Whether there are so many latents that weights do not end well, and chains can take their place."""
    return job.target.dim > job.policy.surely_weighted and job.method.gradients


def _tried(corrected: Corrected) -> Corrected:
    """A few weights of the best Gaussian at hand, to see how far it is from the posterior."""
    job, policy = corrected.job, corrected.job.policy
    known = corrected.widest
    if job.left < 2 * policy.trial:
        return corrected
    u = known.sample(policy.trial, job.rng("trial"))
    log_density = job.target.values(u)
    log_ratio = log_density - known.normal.log_density(u)
    khat = float(psis(log_ratio)[1])
    spread = float(np.std(log_ratio)) if np.isfinite(log_ratio).all() else np.inf
    known = known.with_weights(Evaluated(u, log_density), khat)
    if spread < policy.exact:
        # What equal weights leave out, which is `spread` in all directions together, as an error of each.
        left = spread * known.normal.sd / np.sqrt(len(known.mean_se))
        known = replace(known, mean_se=np.hypot(known.mean_se, left), exact=True)
    return corrected.with_kind(known)


def _out_of_time(message: str, result: ImportanceResult | None) -> str:
    """The message with what came of the weights when the time was up."""
    if "max_seconds" in message:
        return message
    what = "before weights could be drawn" if result is None else "while weights were drawn"
    return f"{message} max_seconds was reached {what}."


def _weighted(corrected: Corrected) -> ImportanceResult | None:
    job, optimum, q = corrected.job, corrected.optimum, corrected.optimum.approximation
    target, policy = job.target, job.policy
    surrogate = corrected.optimum.knowledge.surrogate_covariance
    known = corrected.response.covariance if corrected.response.covariance is not None else surrogate
    mean, emulation = optimum.fitted.mean, corrected.kind("surrogate")
    if isinstance(emulation, SurrogateKind):
        mean, known = emulation.covariance
    budget = int(min(max(_budget(corrected), policy.fewest_weights), min(job.left - _kept(job), job.affordable)))
    if budget < policy.fewest_weights:
        return None
    begun = target.evaluations

    def remaining() -> float:
        """What the limits leave; time is up only once there are draws to go by."""
        return 0 if job.late() and target.evaluations > begun else job.left - _kept(job)

    gradients = job.method.gradients
    limited = np.isfinite(job.limits.max_evaluations)
    return importance.correct(
        target.values,
        posterior.Reported(target),
        mean,
        np.diag(q.sd**2) if known is None else known,
        job.rng("weights"),
        max_evaluations=budget,
        remaining=remaining,
        max_rounds=policy.limited_rounds if limited else policy.rounds,
        worth=policy.worth if gradients and target.width <= policy.narrow else 0,
        # Rounds grow, so that the first can be small where every draw is dear.
        first=None if gradients else int(np.clip(budget // 20, 264, 1000 + 50 * target.dim)),
        conditionals=_conditionals(job, target) if gradients else None,
        alternatives=[
            *((mode.mean, np.exp(mode.log_sd)) for mode in near_modes(corrected.modes)),
            *((place, q.sd) for place in corrected.optimum.places[: job.policy.places]),
        ],
    )


def _kept(job: Job) -> int:
    """Evaluations to keep back for the proofs at the end."""
    return job.policy.again + (posterior_calls(job) if job.target.recorded else 0)


def _budget(corrected: Corrected) -> int:
    """Draws that weights may take: as many as the user's limits allow, or in keeping with what the fit has cost."""
    job, policy = corrected.job, corrected.job.policy
    target, limited = job.target, np.isfinite(job.limits.max_evaluations)
    if not job.method.gradients:
        spent = target.evaluations
        if corrected.status is Status.INTERRUPTED:
            return spent // 4
        total = job.limits.max_evaluations if limited else max(policy.values, 1.25 * spent)
        return int(np.clip(min(total - spent - _kept(job), job.affordable), 0, policy.most_values))
    easy = target.dim <= policy.easily_weighted
    if limited and easy:
        return policy.most_limited
    least = policy.cheap_draws if target.width <= policy.narrow and easy else policy.fewest_draws
    most = policy.most_draws if easy else policy.fewest_draws
    return int(np.clip(policy.draws_per_gradient * target.gradient_evaluations, least, most))


def _conditionals(job: Job, target: Target) -> Callable[[Array, Array, int], Mixture | None] | None:
    """Slices along a latent, where a grid of Hessians is within reason."""
    policy = job.policy
    if target.dim > policy.slices_latents or target.dim * target.width > policy.slices_numbers:
        return None

    def along(mean: Array, covariance: Array, index: int) -> Mixture | None:
        if job.left - _kept(job) < policy.fewest_weights + most_evaluations(target.dim):
            return None
        return conditional_mixture(target, mean, covariance, index)

    return along


def unweighted(corrected: Corrected) -> Finding:
    """Why there are no weights, and what helps."""
    job = corrected.job
    if job.target.dim > job.policy.surely_weighted:
        chains = (
            "Chains need gradients: write the log joint in autograd.numpy, or give gradient="
            if not job.method.gradients
            else f"Give chains room: a larger {job.limited}"
            if job.limited
            else "Chains could not be run either: reparameterize"
        )
        return Finding(
            Verdict.CAUTION,
            f"With {job.target.dim} latents importance weights degenerate whatever their number, so that none were "
            f"drawn, and the approximation was not checked against the posterior. {chains}; or compare with MCMC from "
            "fit.starts and fit.inverse_metric.",
        )
    return Finding(
        Verdict.CAUTION,
        "No importance weights were drawn to check the approximation against the posterior"
        + (f": fit again with a larger {job.limited}." if job.limited else ", since no optimum was found to begin at."),
    )
