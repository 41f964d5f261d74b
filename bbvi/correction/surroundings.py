"""How much of a posterior lies around its draws, where none of them went."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import lgamma
from typing import NamedTuple

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class SurroundingsPolicy:
    """How widely it is looked around.

    A halo around the bulk of a posterior has no valley between, so that no climb leads there, and no draw goes there:
    among twenty latents a part that is five times as wide lies five times as far away.

    Attributes
    ----------
    fewest, fewest_dear, most : int
        Looks at a block of latents; the second where arithmetic is what an evaluation costs.
    again : int
        Looks at a block where the first ones leave it open.
    blocks : int
        Blocks at most, beside all latents together: the latents by name, the largest first.
    smallest : int
        Latents of a block; of fewer, draws find what is wide.
    evaluations : float
        Share of the evaluations so far that they may come to, between these.
    margin : float
        Sds beyond the typical radius sqrt(D) at which the surroundings begin: a Gaussian has 1e-5 of its mass there.
    times : float
        Typical radii at which they end.
    share : float
        Share of the posterior in the surroundings from which they matter.
    draws : float
        Shares of the draws there that a share of the surroundings must exceed: a tail that draws go to is no halo.
    surely : float
        Standard errors by which it must.
    known : float
        Error of the log evidence, in nats, up to which shares are known.
    """

    fewest: int = 256
    fewest_dear: int = 32
    most: int = 512
    again: int = 4096
    blocks: int = 3
    smallest: int = 4
    evaluations: float = 0.05
    margin: float = 3.0
    times: float = 8.0
    share: float = 0.01
    draws: float = 3.0
    surely: float = 3.0
    known: float = 0.3

    def parts(self, latents: Iterable[slice], dim: int) -> list[Array]:
        """All latents, and the blocks of them."""
        sizes = sorted(latents, key=lambda part: part.start - part.stop)
        chosen = [part for part in sizes if self.smallest <= part.stop - part.start < dim][: self.blocks]
        return [np.arange(dim), *(np.arange(part.start, part.stop) for part in chosen)]

    def looks(self, evaluations: int, dear: bool, blocks: int) -> int:
        """How many looks at each block a fit is worth that took so many evaluations."""
        fewest = self.fewest_dear if dear else self.fewest
        return int(np.clip(self.evaluations * evaluations / blocks, fewest, self.most))


class Surroundings(NamedTuple):
    """Share of the posterior that looks found far around, its standard error, and the share of the draws there.

    `radius` is how far away most of it lies, in typical radii of the draws.
    """

    share: float
    error: float
    drawn: float
    radius: float

    def missed(self, policy: SurroundingsPolicy, surely: float | None = None) -> bool:
        """Whether more of the posterior is there than draws say, beyond chance."""
        least = self.share - (policy.surely if surely is None else surely) * self.error
        return least > policy.share and least > policy.draws * self.drawn

    def uncertain(self, policy: SurroundingsPolicy) -> bool:
        """Whether it seems so, and more looks would tell."""
        return self.missed(policy, 0.0) and not self.missed(policy)


def standardized(u: Array, weights: Array) -> tuple[Array, float]:
    """Coordinates (S, D) in which the draws have mean 0 and covariance I, and the log volume of their unit cube."""
    factor, centred = _factor(u, weights), u - weights @ u
    return np.linalg.solve(factor, centred.T).T, float(np.log(np.diag(factor)).sum())


def _factor(u: Array, weights: Array) -> Array:
    centred = u - weights @ u
    return np.linalg.cholesky((centred * weights[:, None]).T @ centred)


def surroundings(
    values: Callable[[Array], Array],
    u: Array,
    weights: Array,
    log_evidence: float,
    block: Array,
    rng: np.random.Generator,
    count: int,
    policy: SurroundingsPolicy,
) -> Surroundings:
    """Weigh looks around weighted draws u (S, D) of a density of known evidence, far in the latents of a block (B,).

    In coordinates e in which the draws have mean 0 and covariance I, and the block's come first, those of the block go
    in all directions alike, to radii r from ``r0 = sqrt(B) + margin`` to ``r1 = times r0``, even in log r, and the
    others are Gaussian. The former have density ``q(e) = Gamma(B/2) / (2 pi^(B/2) r^B log(r1 / r0))``; the mean of
    p / q is the mass of p between r0 and r1.
    """
    size, dim = len(block), u.shape[1]
    order = np.concatenate([block, np.setdiff1d(np.arange(dim), block)])
    u = u[:, order]
    mean, factor = weights @ u, _factor(u, weights)
    own, log_scale = standardized(u, weights)
    nearest = np.sqrt(size) + policy.margin
    log_radius = np.log(nearest) + rng.uniform(0.0, np.log(policy.times), count)
    e = rng.standard_normal((count, dim))
    rest = 0.5 * np.sum(e[:, size:] ** 2, axis=1) + 0.5 * (dim - size) * np.log(2 * np.pi)
    e[:, :size] *= (np.exp(log_radius) / np.linalg.norm(e[:, :size], axis=1))[:, None]
    sphere = np.log(2.0) + size / 2 * np.log(np.pi) - lgamma(size / 2)
    volume = sphere + size * log_radius + np.log(np.log(policy.times)) + rest + log_scale
    points = np.empty_like(e)
    points[:, order] = mean + e @ factor.T
    found = values(points)
    with np.errstate(over="ignore", invalid="ignore"):
        ratio = np.exp(np.where(np.isfinite(found), found + volume - log_evidence, -np.inf))
    drawn = float(weights @ (np.linalg.norm(own[:, :size], axis=1) > nearest))
    total = float(ratio.sum())
    radius = float(np.exp(ratio @ log_radius / total) / np.sqrt(size)) if 0 < total < np.inf else np.nan
    return Surroundings(float(ratio.mean()), float(ratio.std(ddof=1) / np.sqrt(count)), drawn, radius)
