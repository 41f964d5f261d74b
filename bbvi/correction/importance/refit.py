"""Proposals for the next round, fitted to the weighted draws of those before it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bbvi.correction.importance.assessment import Assessment, evenly
from bbvi.correction.importance.pool import WeightedPool
from bbvi.correction.importance.proposals import (
    Bent,
    Mixture,
    Proposal,
    Stretched,
    StudentT,
    fit_mixture,
    log_sum_exp,
)
from bbvi.correction.psis import effective_sample_size, pareto_shape

Array = np.ndarray


def heaviest(pool: WeightedPool, found: Assessment) -> list[int]:
    """The latent whose square has the heaviest-tailed weights, where these are too heavy to be averaged."""
    centred = pool.u - found.weights @ pool.u
    shape = np.asarray(pareto_shape(found.weights[:, None] * centred**2))
    worst = int(np.argmax(shape))
    return [worst] if shape[worst] > pool.policy.checks.khat_enough else []


def rough_moments(pool: WeightedPool, found: Assessment) -> tuple[Array, Array]:
    """Mean and covariance of the weighted draws, flattened where few of them carry the weight."""
    log_w, _ = tempered(found.log_weights, _wanted(pool))
    w = np.exp(log_w)
    mean = w @ pool.u
    centred = pool.u - mean
    return mean, (centred * w[:, None]).T @ centred


def refitted(pool: WeightedPool, found: Assessment, along: Sequence[Proposal]) -> Mixture:
    """A mixture fitted to the weighted draws: Gaussians along their bends, a Student-t, stretched draws, and slices."""
    log_w, ess = tempered(found.log_weights, _wanted(pool))
    w = np.exp(log_w)
    x = pool.u[evenly(w, pool.policy.fitted_to)]
    mean = w @ pool.u
    centred = pool.u - mean
    covariance = (centred * w[:, None]).T @ centred
    share = (pool.dim + 2.0) / (ess + pool.dim + 2.0)
    covariance = (1 - share) * covariance + share * np.diag(np.diag(covariance))
    factor = np.linalg.cholesky(covariance)
    count = int(np.clip(ess / (10.0 * pool.dim + 50.0), 1, pool.policy.components))
    parts, shares = fit_mixture(x, count, mean, factor, ess)
    tails = (StudentT(mean, factor, 5.0), Stretched.along_axes(mean, factor))
    policy = pool.policy
    body = policy.body_with_slices if along else policy.body
    each = policy.slices / max(len(along), 1)
    weights = [*(body * shares / shares.sum()), policy.tail, policy.tail, *([each] * len(along))]
    return Mixture((*parts, *tails, *along), np.array(weights))


def bent(pool: WeightedPool, found: Assessment) -> list[Bent]:
    """Proposals that bend and widen along the one or two latents that lead the most."""
    if not 1 < pool.dim <= pool.policy.most_bent:
        return []
    log_w, ess = tempered(found.log_weights, _wanted(pool))
    fitted = [Bent.fitted(pool.u, np.exp(log_w), ess, index) for index in range(pool.dim)]
    fitted.sort(key=lambda one: -one.strength)
    return [one for one in fitted[:2] if one.strength > pool.policy.bends]


def tempered(log_weights: Array, wanted: float) -> tuple[Array, float]:
    """The weights to the power of b <= 1 at which their effective size is what is wanted; normalised."""
    ess = float(effective_sample_size(log_weights))
    low, high = 0.0, 1.0
    if ess >= wanted:
        return log_weights, ess
    finite = np.where(np.isfinite(log_weights), log_weights, -1e300)
    for _ in range(16):
        power = (low + high) / 2
        if float(effective_sample_size(power * finite)) < wanted:
            high = power
        else:
            low = power
    flat = low * finite
    flat = flat - log_sum_exp(flat[None])[0]
    return flat, float(effective_sample_size(flat))


def _wanted(pool: WeightedPool) -> float:
    """Effective draws that moments are taken from."""
    return pool.policy.kept + pool.policy.kept_per_latent * pool.dim
