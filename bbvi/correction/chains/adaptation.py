"""Windows in which step size, length, metric and warp of the trajectories are settled, and which are thrown away."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

from bbvi.correction.chains.metric import Base, MetricPolicy, curved, fitted
from bbvi.correction.chains.policy import ChainPolicy
from bbvi.correction.chains.trajectories import Density, Stand, steps_of, trajectory
from bbvi.correction.chains.warp import found as warp_of

Array = np.ndarray


def adapted(
    density: Density,
    stand: Stand,
    rng: np.random.Generator,
    remaining: Callable[[], float],
    late: Callable[[], bool],
    policy: ChainPolicy,
) -> tuple[Stand, int] | None:
    """Windows of adaptation, until means stand still; None where the limits end them."""
    spent, before, settled = 0, None, stand.log_length
    for number, length in enumerate([*policy.windows, *[policy.windows[-1]] * policy.more_windows]):
        window = _run(density, stand, rng, remaining, late, policy, length)
        if window is None:
            return None
        x, g = window.draws, window.gradients
        mean = x.mean(axis=0)
        drift = math.inf if before is None else float(np.max(np.abs(mean - before) / _positive(x.std(axis=0))))
        before, settled = mean, window.log_length
        # Where steps are too long for narrow places, shorter ones are called for, until a better metric is found.
        aim = window.stand.aim
        careful = window.divergent > policy.careful
        aim = min((aim + 1.0) / 2, policy.highest) if careful else (aim + policy.acceptance) / 2
        look = number in policy.looks and remaining() > 2 * policy.metric.looks(x.shape[1]) * x.shape[1]
        stand, more = _preconditioned(density, replace(window.stand, aim=aim), x, g, rng, policy, look)
        spent += window.spent + more
        # What drifts less than chance would bring is still.
        if number + 1 >= len(policy.windows) and drift < policy.still + _chance(len(stand.u), x.shape[1]):
            break
    # The last metric wants a step size of its own.
    last = _run(density, stand, rng, remaining, late, policy, policy.windows[0])
    if last is None:
        return None
    # The length follows signs, which are noisy: what it was in the last window tells more than where it ended.
    return replace(last.stand, log_length=max(settled, last.stand.log_step)), spent + last.spent


class _Window(NamedTuple):
    """Where chains stand after it, their draws and gradients (N, D) in its second half, and its mean log length."""

    stand: Stand
    draws: Array
    gradients: Array
    divergent: float
    log_length: float
    spent: int


def _run(
    density: Density,
    stand: Stand,
    rng: np.random.Generator,
    remaining: Callable[[], float],
    late: Callable[[], bool],
    policy: ChainPolicy,
    length: int,
) -> _Window | None:
    """So many trajectories, while step size and length are tuned; None where the limits end them."""
    draws, slopes, divergent, lengths, spent = [], [], [], [], 0
    for k in range(1, length + 1):
        if late() or remaining() < len(stand.u) * steps_of(stand, policy):
            return None
        moved = trajectory(density, stand, rng, policy, rate=1.0 / math.sqrt(k))
        stand, spent = moved.stand, spent + moved.steps * len(stand.u)
        lengths.append(stand.log_length)
        if k > length // 2:
            draws.append(stand.u)
            slopes.append(stand.gradient)
            divergent.append(float(moved.divergent.mean()))
    return _Window(
        stand, np.concatenate(draws), np.concatenate(slopes), float(np.mean(divergent)), float(np.mean(lengths)), spent
    )


def _preconditioned(
    density: Density, stand: Stand, x: Array, g: Array, rng: np.random.Generator, policy: ChainPolicy, look: bool
) -> tuple[Stand, int]:
    """The stand with the metric that draws and gradients (N, D) ask for, and the gradients that it took.

    With a `look` funnels and curvature are sought anew; otherwise what was found before is kept.
    """
    base, spent = stand.metric.base, 0
    if look or base is None:
        stand, base = replace(stand, warp=warp_of(x, g, policy.warp)), None
    if look:
        base, spent = _curved(density, stand, x, g, rng, policy.metric)
    return replace(stand, metric=fitted(*stand.coordinates(x, g), policy.metric, base)), spent


def _positive(sd: Array) -> Array:
    return np.asarray(np.maximum(sd, 1e-300))


def _curved(
    density: Density, stand: Stand, x: Array, g: Array, rng: np.random.Generator, policy: MetricPolicy
) -> tuple[Base | None, int]:
    """The inverse of the mean curvature at some of the draws (N, D), in the coordinates in which chains move.

    Also the gradients that it took.
    """
    if x.shape[1] > policy.curved:
        return None, 0
    spent = 0
    e, slopes = stand.coordinates(x, g)
    scale = np.sqrt(_positive(e.std(axis=0)) / _positive(slopes.std(axis=0)))
    some = rng.choice(len(e), policy.looks(e.shape[1]), replace=False)

    def gradients(at: Array) -> Array:
        nonlocal spent
        spent += len(at)
        u, pull = stand.at(at)
        return pull(density.slopes(u))

    return curved(gradients, e[some], slopes[some], scale, policy), spent


def _chance(chains: int, count: int) -> float:
    """What the worst of so many means of so many independent draws moves by chance, in sds."""
    return float(-ndtri(0.05 / count)) * math.sqrt(2.0 / chains)
