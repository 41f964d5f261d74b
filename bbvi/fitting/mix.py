"""The stage of chains: where weights cannot carry the approximation to the posterior, many short chains can."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.special import ndtri

from bbvi.correction import chains
from bbvi.correction.chains import ChainPolicy, Chains, Density
from bbvi.correction.chains.metric import Metric
from bbvi.correction.importance import ImportanceResult
from bbvi.correction.importance.assessment import funnel, is_funnel
from bbvi.correction.importance.refit import tempered
from bbvi.correction.importance.slices import steering
from bbvi.correction.importance.weights import moments
from bbvi.correction.verdict import FEW_IN_TAIL, HEAVY_TAIL, Finding, Verdict, gravest
from bbvi.fitting.job import Job
from bbvi.fitting.policy import BudgetPolicy
from bbvi.fitting.records import Corrected
from bbvi.fitting.trust import of_kind
from bbvi.result import posterior
from bbvi.search.modes import near_modes
from bbvi.status import Status

Array = np.ndarray


def mix(corrected: Corrected) -> Corrected:
    """Draws of chains as a kind of posterior, where no cheaper kind may be relied on and gradients can be had."""
    job = corrected.job
    if not (job.method.gradients and corrected.worth_checking) or _settled(corrected):
        return corrected
    if min(job.left, job.affordable) < job.policy.fewest_chain_gradients:
        return corrected
    rng, target = job.rng("chains"), job.target
    allowed, policy = _allowed(job), _policy(corrected)
    try:
        found = chains.run(
            Density(target.gradients, target.slopes, target.values),
            posterior.Reported(target),
            _starts(corrected, policy.superchains, rng),
            _metric(corrected),
            rng,
            remaining=lambda: min(job.left, allowed - target.gradient_evaluations),
            late=job.late,
            policy=policy,
        )
    except ArithmeticError:
        return corrected
    if found is None:
        return corrected
    if found.interrupted:
        message = "The fit was interrupted while its chains ran: these are the draws up to then."
        corrected = replace(corrected, status=Status.INTERRUPTED, message=message)
    widest = float(np.max(found.draws.std(axis=(0, 1)) / corrected.optimum.approximation.sd))
    if widest > job.policy.wandered and corrected.status is not Status.CONVERGED:
        told = (
            f"Chains wandered {widest:.0f} times as far as the approximation is wide, which found no optimum: the "
            "posterior looks improper, or nearly so. Use tighter priors."
        )
        return replace(corrected, findings=(*corrected.findings, Finding(Verdict.UNRELIABLE, told)))
    return corrected.with_kind(examined(corrected, found, job))


def examined(corrected: Corrected, found: Chains, job: Job) -> Chains:
    """The chains with what else is known against them: by weights, of a funnel, and which limits ended them."""
    found = _compared(corrected, found)
    squeezed = _squeezed(found, job.target.labels, job.policy)
    # What a neck hides, all rows miss.
    found = replace(found, problems=(*found.problems, *squeezed), shared=(*found.shared, *squeezed))
    return _cut_short(found, job)


def _cut_short(found: Chains, job: Job) -> Chains:
    """The chains with the limit that ended them among their problems, where they have any."""
    if not (found.cut and found.problems):
        return found
    limited = np.isfinite(job.limits.max_evaluations)
    by = {
        "seconds": "max_seconds",
        "evaluations": "max_evaluations" if limited else "the most gradients that a fit gives its chains",
        "memory": "max_memory",
    }
    return replace(found, problems=(*found.problems, f"{by[found.cut]} ended the chains"))


def _squeezed(found: Chains, labels: Sequence[str], policy: BudgetPolicy) -> tuple[str, ...]:
    """Whether there is a funnel whose neck ejects the chains, which all of them then miss alike.

    One trajectory of thousands is ejected by chance anywhere; where coordinates straighten the funnel, none is. A few
    say little of their share, so that it counts with its standard error. The widths may follow one latent so closely
    that chains turn back before the neck, and none is ejected.
    """
    u = found.draws.reshape(-1, found.draws.shape[-1])
    equal = np.full(len(u), 1.0 / len(u))
    strength = steering(u, equal)[0]
    latent, steers = int(np.argmax(strength)), float(np.max(strength))
    ejected = found.divergent + np.sqrt(found.divergent / len(u)) > policy.chains.careful
    closely = steers >= (policy.neck if u.shape[1] >= policy.chains.warp.fewest else policy.neck_of_few)
    if not closely and not (ejected and is_funnel(steers, u.shape[1])):
        return ()
    return (funnel(labels[latent], steers),)


def _compared(corrected: Corrected, found: Chains) -> Chains:
    """The chains with what good weights say against them: far tails are where chains seldom go, and weights do."""
    weighed, job = corrected.kind("importance"), corrected.job
    if not isinstance(weighed, ImportanceResult) or weighed.khat > job.policy.good_khat:
        return found
    labels, columns = posterior.Reported(job.target)(weighed.draws)
    sd = moments(columns, np.exp(weighed.log_weights))[1]
    with np.errstate(all="ignore"):
        wider = np.where((found.sd > 0) & np.isfinite(sd), sd / found.sd - 1.0, 0.0)
    change = np.abs(wider)
    # So far apart is the worst of so many rows by chance.
    apart = -ndtri(job.policy.by_chance / len(change)) * np.hypot(weighed.sd_error, found.sd_error)
    differs = change > np.maximum(apart, job.policy.contradicted)
    # Chains that did not go far out are too narrow together, which their errors do not know: where weights are wider
    # or see a heavy tail, it counts what they leave possible.
    heavy = np.array([HEAVY_TAIL in doubt or FEW_IN_TAIL in doubt for doubt in weighed.doubts], dtype=bool)
    short = wider + weighed.sd_error > job.policy.chains.sd_off
    differs |= short & (wider > job.policy.contradicted)
    heavy &= short
    told = []
    if differs.any():
        worst = int(np.argmax(np.where(differs, change, 0.0)))
        told.append(f"weights say that the sd of {labels[worst]} is {sd[worst]:.3g} and not {found.sd[worst]:.3g}")
    if heavy.any():
        names = ", ".join(labels[i] for i in np.flatnonzero(heavy)[:4])
        told.append(f"weights say that the tails of {names} are too heavy for an sd to be measured")
    doubts = tuple(
        doubt or (HEAVY_TAIL if tail else "weights differ" if other else "")
        for doubt, other, tail in zip(found.doubts, differs, heavy, strict=True)
    )
    return replace(found, problems=(*found.problems, *told), doubts=doubts)


def _settled(corrected: Corrected) -> bool:
    """Whether a cheaper kind may be relied on already."""
    return any(kind.checked and gravest(of_kind(kind)) is Verdict.RELIABLE for kind in corrected.kinds)


def _policy(corrected: Corrected) -> ChainPolicy:
    """What memory, the number of latents and other modes ask for."""
    job = corrected.job
    policy = job.policy.chains
    if near_modes(corrected.modes):
        policy = replace(policy, fewest=max(policy.fewest, job.policy.draws_between_modes))
    # Draws are held three times: as they came, as the quantities that are reported, and adjusted.
    policy = replace(policy, numbers=int(min(policy.numbers, job.target.max_memory / 24)))
    return replace(policy, kick=job.policy.kick_of_many) if job.target.dim >= job.policy.many else policy


def _allowed(job: Job) -> float:
    """The count of gradients at which chains end, if nobody set a limit."""
    spent = job.target.gradient_evaluations
    if np.isfinite(job.limits.max_evaluations):
        return np.inf
    policy = job.policy
    most = policy.chain_gradients if job.target.recorded else policy.chain_gradients_looped
    return spent + max(most, policy.chain_gradients_share * spent)


def _starts(corrected: Corrected, count: int, rng: np.random.Generator) -> Array:
    """Starting points (K, D): draws that weigh something, some of them at other modes that matter.

    Draws of a Gaussian itself lie in part in necks and far tails, where chains would stay; weights are tempered until
    enough of them count.
    """
    job = corrected.job
    weighed = corrected.kind("importance")
    if isinstance(weighed, ImportanceResult) and len(weighed.draws) >= 4 * count:
        points, log_weights = weighed.draws, weighed.log_weights
    else:
        kind = corrected.widest
        points = kind.sample(job.policy.chain_candidates * count, rng)
        values = job.target.values(points)
        log_weights = np.where(np.isfinite(values), values - kind.normal.log_density(points), -np.inf)
    weights = _weights(log_weights, 2.0 * count)
    chosen = points[rng.choice(len(points), count, replace=False, p=weights)]
    others = near_modes(corrected.modes)
    if others:
        # Chains that never meet those from another mode say so.
        share = max(count // 4, 1)
        for i in range(share):
            mode = others[i % len(others)]
            chosen[i] = mode.mean + 0.5 * np.exp(mode.log_sd) * rng.standard_normal(len(mode.mean))
    return np.asarray(chosen)


def _weights(log_weights: Array, wanted: float) -> Array:
    """Weights that are flat enough for so many to count; all the same where the density is finite nowhere."""
    finite = np.isfinite(log_weights)
    if finite.sum() < wanted:
        return np.full(len(log_weights), 1.0 / len(log_weights))
    log_weights = np.where(finite, log_weights - log_weights[finite].max(), -np.inf)
    log_weights = log_weights - np.log(np.exp(log_weights).sum())
    weights = np.exp(tempered(log_weights, wanted)[0])
    return np.asarray(weights / weights.sum())


def _metric(corrected: Corrected) -> Metric:
    covariance = corrected.response.covariance
    if covariance is not None:
        return Metric.of_covariance(covariance, corrected.job.policy.chains.metric)
    return Metric.diagonal(corrected.optimum.approximation.sd)
