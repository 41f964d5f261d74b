"""All draws so far, weighted against the mixture of all proposals that they came from (Cornuet et al. 2012)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from bbvi.correction.few_valued import few_valued
from bbvi.correction.importance.assessment import Assessment
from bbvi.correction.importance.policy import POLICY, ImportancePolicy
from bbvi.correction.importance.proposals import Mixture, Proposal, components_of, log_sum_exp
from bbvi.correction.importance.result import ImportanceResult
from bbvi.correction.importance.weights import moments
from bbvi.correction.psis import effective_sample_size, psis

Array = np.ndarray


class WeightedPool:
    """All draws so far, weighted against the mixture of all proposals that they came from."""

    def __init__(
        self,
        values: Callable[[Array], Array],
        measure: Callable[[Array], tuple[Sequence[str], Array]],
        dim: int,
        budget: int,
        remaining: Callable[[], float],
        policy: ImportancePolicy = POLICY,
    ) -> None:
        self.values, self.measure, self.dim, self.budget, self.remaining = values, measure, dim, budget, remaining
        self.policy = policy
        self.u = np.empty((0, dim))
        self.log_p = np.empty(0)
        self.columns = np.empty((0, 0))
        self.labels: Sequence[str] = ()
        # Of all mixtures, each once, with the number of draws that it stands for.
        self.components: list[Proposal] = []
        self.counts: list[float] = []
        # Log density of each component (K) at each draw (S), so that no pair is computed twice; there is room for more
        # of both.
        self.table = np.empty((32, budget))
        # Of the largest round that a proposal fitted to earlier draws gave: its draws, and the components of that
        # proposal with their shares. Empty where nothing was fitted.
        self.fresh: tuple[slice, list[tuple[int, float]]] = (slice(0, 0), [])

    @property
    def left(self) -> int:
        """Draws that the budget and the limits leave."""
        return int(min(self.budget - len(self.u), self.remaining()))

    @property
    def mixture(self) -> Mixture:
        """What all draws come from."""
        return Mixture(tuple(self.components), np.array(self.counts))

    def add(self, proposal: Proposal, count: int, rng: np.random.Generator, *, fitted: bool = False) -> None:
        """Draw so many of a proposal, or as many as are left; `fitted` says that it was fitted to the draws so far."""
        count = min(count, self.left)
        if count < 1:
            return
        fresh = proposal.sample(count, rng)
        log_p = self.values(fresh)
        labels, columns = self.measure(fresh)
        for row, component in enumerate(self.components):
            self.table[row, len(self.u) : len(self.u) + count] = component.log_density(fresh)
        u = np.concatenate([self.u, fresh])
        known, shares = list(self.components), list(self.counts)
        parts = []
        for component, share in components_of(proposal):
            if component in known:
                shares[known.index(component)] += share * count
                parts.append((known.index(component), share))
                continue
            row = len(known)
            parts.append((row, share))
            if row == len(self.table):
                larger = np.empty((2 * row, self.budget))
                larger[:row, : len(u)] = self.table[:, : len(u)]
                self.table = larger
            self.table[row, : len(u)] = component.log_density(u)
            known.append(component)
            shares.append(share * count)
        # All that takes time is done: an interrupt finds the pool as it was before, or as it is after.
        columns = np.concatenate([self.columns.reshape(len(self.u), columns.shape[1]), columns])
        if fitted and count >= self.fresh[0].stop - self.fresh[0].start:
            self.fresh = slice(len(self.u), len(u)), parts
        self.log_p = np.concatenate([self.log_p, log_p])
        self.labels, self.columns, self.u, self.components, self.counts = labels, columns, u, known, shares

    def restore(self, result: ImportanceResult) -> None:
        """Take over the draws and proposals of an earlier result."""
        self.u, self.log_p = result.draws, result.log_density
        self.labels, self.columns = self.measure(result.draws)
        self.components = list(result.proposal.components)
        self.counts = [float(count) for count in result.proposal.weights]
        self.table = np.empty((max(32, len(self.components)), self.budget))
        for row, component in enumerate(self.components):
            self.table[row, : len(self.u)] = component.log_density(self.u)

    def assess(self) -> Assessment:
        """The weights of all draws, and how accurate what they say is."""
        shares = np.array(self.counts) / np.sum(self.counts)
        log_q = log_sum_exp((self.table[: len(shares), : len(self.u)] + np.log(shares)[:, None]).T)
        with np.errstate(invalid="ignore"):
            ratios = np.where(np.isfinite(self.log_p), self.log_p - log_q, -np.inf)
        smoothed, khat = psis(ratios)
        w = np.exp(smoothed)
        mean, sd, centred = moments(self.columns, w)
        infinite = ~np.isfinite(mean)
        # What is not finite cannot be judged, and must not keep the rest from being so.
        usable = np.isfinite(mean) & np.isfinite(sd)
        mean, sd, centred = np.where(usable, mean, 0.0), np.where(usable, sd, 0.0), np.where(usable, centred, 0.0)
        with np.errstate(all="ignore"):
            sd = np.where(sd > self.policy.rounding * (1.0 + np.abs(mean)), sd, 0.0)
            standard = np.where(sd > 0, centred / np.where(sd > 0, sd, 1.0), 0.0)
        evidence, evidence_se = _evidence(self._fresh_ratios() if self.fresh[1] else ratios)
        return Assessment(
            policy=self.policy.checks,
            log_weights=smoothed,
            khat=float(khat),
            ess=float(effective_sample_size(smoothed)),
            log_evidence=evidence,
            log_evidence_se=evidence_se,
            mean=mean,
            sd=sd,
            infinite=infinite,
            few_valued=few_valued(self.columns),
            u=self.u,
            log_q=log_q,
            standard=standard,
            first=self.components[0],
        )

    def _fresh_ratios(self) -> Array:
        """Log weights of the draws of one round against the proposal that they came from alone.

        Weights against the mixture of all rounds are flattered by components that were fitted to the very draws that
        they weigh, so that their mean, which is the evidence, is too small: by 0.2 nats for 20 skewed latents.
        """
        draws, parts = self.fresh
        rows = [row for row, _ in parts]
        log_share = np.log([share for _, share in parts])
        log_q = log_sum_exp((self.table[rows, draws] + log_share[:, None]).T)
        log_p = self.log_p[draws]
        return np.where(np.isfinite(log_p), log_p - log_q, -np.inf)


def _evidence(ratios: Array) -> tuple[float, float]:
    """Log of the mean weight, and its standard error; minus infinity and NaN where none is finite."""
    top = float(ratios.max())
    if not np.isfinite(top):
        return -np.inf, np.nan
    raw = np.exp(ratios - top)
    return float(top + np.log(raw.mean())), float(raw.std() / raw.mean() / np.sqrt(len(raw)))
