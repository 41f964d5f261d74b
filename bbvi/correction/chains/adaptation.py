"""Windows in which step size, length, metric and warp of the trajectories are settled, and which are thrown away."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

from bbvi.correction.chains.conditional import Curvature, conditional
from bbvi.correction.chains.metric import Base, fitted
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
    """Where chains stand after it, their draws and gradients (N, D) after its first third, and mean log length."""

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
        if k > length // 3:
            draws.append(stand.u)
            slopes.append(stand.gradient)
            divergent.append(float(moved.divergent.mean()))
    return _Window(
        stand, np.concatenate(draws), np.concatenate(slopes), float(np.mean(divergent)), float(np.mean(lengths)), spent
    )


def _preconditioned(
    density: Density, stand: Stand, x: Array, g: Array, rng: np.random.Generator, policy: ChainPolicy, look: bool
) -> tuple[Stand, int]:
    """The stand with the coordinates and the metric that draws and gradients (N, D) ask for, and the gradients it took.

    With a `look` funnels and curvature are sought anew; otherwise what curvature showed before is kept.
    """
    base, spent = stand.metric.base, 0
    held = base is not None or (stand.warp is not None and stand.warp.measured)
    many = x.shape[1] >= policy.warp.fewest
    tried = [(stand, base)] if held and (many or not look) else []
    if look:
        found, base, spent = _looked(density, stand, x, g, rng, policy)
        tried.append((found, base))
    elif not held:
        tried.append((replace(stand, warp=warp_of(x, g, policy.warp)), None))
    # What is found anew may be worse, where draws or curvatures are odd.
    made = [_measured(one, x, g, by, policy) for one, by in tried]
    best = min(made, key=lambda pair: float(np.log(pair[1]).sum()))
    return replace(best[0], even=many and _even(best[1], policy)), spent


def _measured(stand: Stand, x: Array, g: Array, base: Base | None, policy: ChainPolicy) -> tuple[Stand, Array]:
    """The stand with the metric that draws and gradients (N, D) ask for in its coordinates, and how straight these are.

    That is, the product (D,) of the sds of each coordinate and of its gradient, whitened: one for a standard normal,
    and more for any other density (the Cramer-Rao bound).
    """
    e, slopes = stand.coordinates(x, g)
    # A few that steer are correlated more than so many draws of so many others show.
    together = None if stand.warp is None else stand.warp.steering
    metric = fitted(e, slopes, policy.metric, base, together)
    with np.errstate(all="ignore"):
        product = metric.whiten(e).std(axis=0) * metric.to_whitened(slopes).std(axis=0)
    return replace(stand, metric=metric), np.where(np.isfinite(product) & (product > 0), product, np.inf)


def _even(product: Array, policy: ChainPolicy) -> bool:
    """Whether all directions look like those of a standard normal."""
    return bool(np.quantile(product, 0.9) <= policy.even and product.max() <= policy.odd)


def _looked(
    density: Density, stand: Stand, x: Array, g: Array, rng: np.random.Generator, policy: ChainPolicy
) -> tuple[Stand, Base | None, int]:
    """The stand in coordinates that curvature shows, or draws and gradients (N, D), with a base for its metric.

    Also the gradients that it took. The base is None where the coordinates leave none to be sought.
    """
    spent = 0

    def slopes(at: Array) -> Array:
        nonlocal spent
        spent += len(at)
        return density.slopes(at)

    if x.shape[1] > policy.metric.curved:
        return replace(stand, warp=warp_of(x, g, policy.warp)), None, spent
    known = [] if stand.warp is None else stand.warp.steering.tolist()
    curvature = Curvature.at_draws(slopes, x, g, rng, policy.metric, known)
    if curvature is not None and x.shape[1] >= policy.warp.fewest:
        warp = conditional(slopes, curvature, x, g, rng, policy.warp)
        if warp is not None:
            return replace(stand, warp=warp), None, spent
    stand = replace(stand, warp=warp_of(x, g, policy.warp))
    if stand.warp is None:
        return stand, _base_of(curvature), spent

    def warped(at: Array) -> Array:
        u, pull = stand.at(at)
        return pull(slopes(u))

    curvature = Curvature.at_draws(warped, *stand.coordinates(x, g), rng, policy.metric)
    return stand, _base_of(curvature), spent


def _base_of(curvature: Curvature | None) -> Base | None:
    return curvature.base if curvature is not None and curvature.usable else None


def _positive(sd: Array) -> Array:
    return np.asarray(np.maximum(sd, 1e-300))


def _chance(chains: int, count: int) -> float:
    """What the worst of so many means of so many independent draws moves by chance, in sds."""
    return float(-ndtri(0.05 / count)) * math.sqrt(2.0 / chains)
