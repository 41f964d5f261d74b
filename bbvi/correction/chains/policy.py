"""`ChainPolicy`: how chains are run, and what they must show."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from scipy.special import ndtr

from bbvi.correction.chains.metric import MetricPolicy
from bbvi.correction.chains.rhat import Errors, Mixing
from bbvi.correction.chains.warp import WarpPolicy


@dataclass(frozen=True)
class ChainPolicy:
    """How chains are run, and what they must show to be relied on.

    Attributes
    ----------
    superchains, size : int
        Starting points, and chains from each of them (Margossian et al. 2024, section 4: many of either serve).
    windows : tuple of int
        Iterations of the windows of adaptation.
    looks : tuple of int
        Windows after which curvature is looked at, and the latents that change it.
    still : float
        Move of a mean from window to window, in sds, below which adaptation ends; beyond the last window it goes on
        with further ones of that length, as many as `more_windows`.
    acceptance, highest, careful : float
        Mean acceptance that step sizes aim at: 0.8, above the optimum of 0.651 (Beskos et al. 2013) so that chains in
        narrow places move, too; higher, up to the second, while more than a share of the trajectories diverges.
    even, odd : float
        Product of the sds of a coordinate and of its gradient, which of a normal is one and of others more (the
        Cramer-Rao bound): where it is at most the first for nine coordinates of ten, and the second for all, lengths
        of trajectories vary little.
    kick : float
        The first kick of a step of two stages, as a share of it: 0.1932 has the smallest error for short steps
        (McLachlan 1995), 0.2118 for long ones (Blanes, Casas and Sanz-Serna 2014), 1/4 is the leapfrog.
    longest : int
        Gradients of a trajectory at the most.
    draws : int
        Iterations at the most, after adaptation; at least `fewest`.
    hopeless : int
        Iterations after which chains end that will not pass with the most.
    patience : float
        Factor by which chains grow, at the most, from one look at them to the next.
    mean_off, sd_off : float
        What the worst of all means may be off by, in sds, and the worst of all sds, relative: 0.1 and 10 %, which is
        what a verdict of reliable says.
    missed, passing : float
        How many of them are expected to be off by more, by their Monte Carlo errors, when chains end; and with how many
        they pass.
    chosen : float
        By how much errors are larger than chains show that end as soon as these look small enough; measured over seeds.
    rhat : float
        Excess of nested R-hat over one, beyond Monte Carlo error, that passes: 0.01 (Margossian et al. 2024).
    drift : float
        Drift beyond chance, in sds, that passes; calibrated.
    divergent : float
        Share of trajectories that may diverge: their energy off by over `diverged` nats (Betancourt 2017).
    diverged : float
    stuck : float
        Mean acceptance below which a chain counts as stuck, of which none may be.
    heavy : float
        Pareto shape of a quantity from which its variance may not exist: 1/2, less what samples hide.
    light, hidden : float
        Pareto shape of squared deviations from which the error of an sd is larger than draws show, and by how much for
        each unit of it; as for weights.
    for_tails, again_for_tails : int
        Draws, spread over the chains, by which that is judged, and how many times as many for quantities in doubt.
    numbers : int
        Draws times latents that are held.
    """

    superchains: int = 16
    size: int = 4
    windows: tuple[int, ...] = (5, 6, 8, 10, 12)
    looks: tuple[int, ...] = (1, 4)
    still: float = 0.15
    more_windows: int = 6
    acceptance: float = 0.8
    highest: float = 0.95
    even: float = 1.3
    odd: float = 3.0
    careful: float = 0.001
    kick: float = 0.25
    longest: int = 96
    draws: int = 640
    hopeless: int = 150
    fewest: int = 12
    patience: float = 1.4
    mean_off: float = 0.1
    sd_off: float = 0.1
    missed: float = 0.005
    chosen: float = 1.25
    passing: float = 0.02
    rhat: float = 0.01
    drift: float = 0.04
    divergent: float = 0.02
    diverged: float = 1000.0
    stuck: float = 0.1
    heavy: float = 0.35
    light: float = 0.35
    hidden: float = 10.0
    for_tails: int = 2000
    again_for_tails: int = 4
    numbers: int = 2**27
    metric: MetricPolicy = field(default_factory=MetricPolicy)
    warp: WarpPolicy = field(default_factory=WarpPolicy)

    @property
    def stages(self) -> int:
        """Gradients of a step of the integrator: of the leapfrog's two halves each is a step of its own."""
        return 1 if self.kick == 0.25 else 2

    @property
    def chains(self) -> int:
        """Chains in all."""
        return self.superchains * self.size

    def off(self, found: Errors, longer: float = 1.0) -> float:
        """How many figures are expected to be off by more, if chains were so many times as long."""
        errors = np.concatenate([found.mean / self.mean_off, found.sd / self.sd_off])
        errors *= self.chosen / math.sqrt(longer)
        return float(np.sum(2.0 * ndtr(-1.0 / np.maximum(errors, 1e-9))))

    def agree(self, found: Mixing) -> bool:
        """Whether chains from different starts agree, and are where they stay."""
        apart = float(np.max(np.sqrt(1.0 + found.excess) - 1.0))
        return apart <= self.rhat and float(found.drift.max()) <= self.drift

    def next_look(self, found: Errors, done: int) -> int:
        """The iteration at which chains are looked at again: when they should have become accurate enough."""
        soon, late = done + 2, max(math.ceil(self.patience * done), done + 2)
        return next((k for k in range(soon, late) if self.off(found, k / done) < self.missed), late)
