"""What keeps chains from being relied on: where they disagree, drift, diverge, are stuck, or have heavy tails."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.special import ndtr, ndtri

from bbvi.correction.chains.history import by_block
from bbvi.correction.chains.policy import ChainPolicy
from bbvi.correction.chains.rhat import Errors, Mixing
from bbvi.correction.few_valued import few_valued
from bbvi.correction.psis import UNUSABLE, pareto_shape
from bbvi.correction.verdict import HEAVY_TAIL

Array = np.ndarray


def doubts_of(found: Mixing, x: Array, bad: Array, policy: ChainPolicy) -> tuple[str, ...]:
    """The checks that failed of each row (R), empty where none did; `bad` (R,) says which are infinite somewhere."""
    off = np.maximum(found.mean_error / policy.mean_off, found.sd_error / policy.sd_off)
    checks = {
        "infinite": bad,
        HEAVY_TAIL: _heavy(x, policy),
        "R-hat": np.sqrt(1.0 + found.excess) - 1.0 > policy.rhat,
        "drift": found.drift > policy.drift,
        "error": 2.0 * ndtr(-1.0 / np.maximum(off, 1e-9)) > policy.passing,
    }
    return tuple(", ".join(name for name, failed in checks.items() if failed[i]) for i in range(len(off)))


def problems_of(
    found: Mixing, x: Array, labels: Sequence[str], divergent: float, rates: Array, policy: ChainPolicy
) -> Sequence[str]:
    """What keeps chains from being relied on."""
    problems = []
    apart = np.sqrt(1.0 + found.excess) - 1.0
    if apart.max() > policy.rhat:
        worst = int(np.argmax(apart))
        problems.append(f"chains from different starts disagree about {labels[worst]} (R-hat {found.rhat[worst]:.2f})")
    if found.drift.max() > policy.drift:
        worst = int(np.argmax(found.drift))
        problems.append(f"the mean of {labels[worst]} was still moving (by {found.drift[worst]:.2f} sds)")
    if policy.off(found.errors) > policy.passing:
        mean, sd = int(np.argmax(found.mean_error)), int(np.argmax(found.sd_error))
        problems.append(
            f"the standard errors of the mean of {labels[mean]} ({found.mean_error[mean]:.1%} of its sd) and of the sd "
            f"of {labels[sd]} ({found.sd_error[sd]:.1%}) are too large"
        )
    problems += of_trajectories(divergent, rates, policy)
    heavy = np.flatnonzero(_heavy(x, policy))
    if len(heavy):
        names = ", ".join(labels[i] for i in heavy[:4])
        problems.append(f"the posterior of {names} has tails so heavy that its sd, or even its mean, may not exist")
    return problems


def of_trajectories(divergent: float, rates: Array, policy: ChainPolicy) -> Iterator[str]:
    """What concerns all rows: trajectories that diverged, and chains that are stuck."""
    if divergent > policy.divergent:
        yield f"{divergent:.1%} of the trajectories diverged, as in the neck of a funnel"
    stuck = int(np.sum(rates < policy.stuck))
    if stuck:
        yield f"{stuck} of {len(rates)} chains are stuck"


def _heavy(x: Array, policy: ChainPolicy) -> Array:
    """Which quantities (R,) have heavy tails, by fewer draws: far tails are seldom where more of them show one."""
    flat = x.reshape(-1, x.shape[-1])
    shape = np.where(few_valued(flat), -1.0, _shapes_of(flat, policy.for_tails))
    return np.asarray(beyond_chance(shape, min(policy.for_tails, len(flat))) > policy.heavy)


def infinite(bad: Array, labels: Sequence[str]) -> tuple[str, ...]:
    """Which quantities (R,) are infinite, in words."""
    named = ", ".join(labels[i] for i in np.flatnonzero(bad)[:4])
    return (f"{named}: infinite or not a number at some draws",) if named else ()


def of_sds(errors: Errors, x: Array) -> Errors:
    """The errors without those of the sds of quantities (T, C, R) of few values, which nobody asks for."""
    return errors._replace(sd=np.where(few_valued(x.reshape(-1, x.shape[-1])), 0.0, errors.sd))


def enlarged(errors: Errors, x: Array, policy: ChainPolicy) -> Errors:
    """The errors of sds with what draws hide of heavy tails: of the terms, which are squares, and so of their error."""
    hidden = np.maximum(2.0 * _tails(x, policy) - policy.light, 0.0)
    return of_sds(errors._replace(sd=errors.sd * (1.0 + policy.hidden * hidden)), x)


def _tails(x: Array, policy: ChainPolicy) -> Array:
    """Pareto shape (R,) of the heavier side of quantities (T, C, R), as draws spread over the chains show it.

    Those that look heavy are looked at again with more draws. What is heavier than by chance counts.
    """
    flat = x.reshape(-1, x.shape[-1])
    shape, draws = _shapes_of(flat, policy.for_tails), policy.for_tails
    again = np.flatnonzero(shape > policy.light / 2)
    if len(again) and len(flat) >= 2 * draws:
        draws *= policy.again_for_tails
        shape[again] = _shapes_of(flat[:, again], draws)
    return beyond_chance(shape, min(draws, len(flat)))


def beyond_chance(shape: Array, draws: int) -> Array:
    """Pareto shapes (R,) less what the worst of so many shows by chance.

    The error of a shape is that of one over the root of the draws in the tail, which are three roots of all.
    """
    error = 1.0 / math.sqrt(3.0 * math.sqrt(draws))
    return shape - error * float(ndtri(0.01) - ndtri(0.01 / len(shape)))


def _shapes_of(flat: Array, most: int) -> Array:
    some = flat[:: max(len(flat) // most, 1)]
    return by_block(lambda part: _shapes(part[:, 0]), some[:, None])


def _shapes(flat: Array) -> Array:
    centred = flat - np.median(flat, axis=0)
    sides = np.maximum(np.concatenate([centred, -centred], axis=1), 0.0)
    shape = np.max(np.reshape(np.asarray(pareto_shape(sides)), (2, -1)), axis=0)
    # Of ties, as of what is zero nearly always, there is no tail to be seen.
    return np.where((np.ptp(flat, axis=0) > 0) & (shape < UNUSABLE), shape, -1.0)
