"""The importance correction: carries a Gaussian approximation to the target, and measures how well that went.

Draws come in rounds, each from a mixture that is fitted to the weighted draws of all rounds before it; every draw is
weighted against the mixture of all proposals so far (adaptive multiple importance sampling; Cornuet, Marin, Mira and
Robert 2012). A part of each mixture is stretched along the latents and the principal axes, to see what a Gaussian
would miss. Near-Gaussian targets pass after the first round. Of many latents, proposals follow the noise of the draws
that they were fitted to, and those would flatter them: there the answer comes from fresh draws alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from bbvi.correction.importance.judged import judged
from bbvi.correction.importance.policy import POLICY, ImportancePolicy
from bbvi.correction.importance.pool import WeightedPool
from bbvi.correction.importance.proposals import Gaussian, Mixture, Proposal, Stretched
from bbvi.correction.importance.refit import bent, heaviest, refitted, rough_moments
from bbvi.correction.importance.result import ImportanceResult
from bbvi.correction.importance.slices import leaders
from bbvi.correction.pool import Evaluated
from bbvi.correction.psis import psis

Array = np.ndarray
Values = Callable[[Array], Array]
Measure = Callable[[Array], tuple[Sequence[str], Array]]
Conditionals = Callable[[Array, Array, int], Mixture | None]


def correct(
    values: Values,
    measure: Measure,
    mean: Array,
    covariance: Array,
    rng: np.random.Generator,
    *,
    max_evaluations: int,
    remaining: Callable[[], float] = lambda: math.inf,
    max_rounds: int = 7,
    worth: int = 0,
    first: int | None = None,
    alternatives: Sequence[tuple[Array, Array]] = (),
    conditionals: Conditionals | None = None,
    policy: ImportancePolicy = POLICY,
) -> ImportanceResult:
    """Carry N(mean, covariance) to the target.

    Parameters
    ----------
    values : callable, (S, D) -> (S,)
        Log density of the target up to a constant; ``-inf`` where it is zero or no number.
    measure : callable, (S, D) -> labels (R), columns (S, R)
        The quantities that are reported, on which accuracy is judged.
    mean, covariance : (D,), (D, D)
        Of the Gaussian to start from.
    rng : numpy.random.Generator
    max_evaluations : int
        Evaluations of `values`, counted per draw; near-Gaussian targets need about 1000 + 50 D of them.
    remaining : callable
        Evaluations that are left in all: what `conditionals` costs is no draw, but counts.
    max_rounds : int
        Rounds of draws, each 1.4 times as large as the last.
    worth : int
        Effective size that the draws shall have where they are good: what a user may ask for without repetitions.
    first : int, optional
        Draws of the first round, 1000 + 50 D unless given: few where each is dear. Every round is larger than the last.
    alternatives : sequence of (mean, sd), both (D,)
        Where other modes are.
    conditionals : callable, optional
        ``(mean, covariance, index)`` gives a mixture of conditional Gaussians along a latent that steers others.
        Without it, proposals that bend and widen along such a latent are fitted to the draws.
    policy : ImportancePolicy

    Notes
    -----
    An interrupt (Ctrl-C) after the first round ends with the draws up to then; ``interrupted`` says so.

    Raises
    ------
    numpy.linalg.LinAlgError
        If the covariance is not positive definite.
    """
    held_back = len(mean) > policy.followed
    budget = max_evaluations // 2 if held_back else max_evaluations
    pool = WeightedPool(values, measure, len(mean), budget, remaining, policy)
    gaussian = Gaussian(np.array(mean, dtype=float), np.linalg.cholesky(covariance))
    if first is None:
        wanted = policy.first + policy.first_per_latent * pool.dim
        first = int(min(wanted, max_evaluations * (0.8 if max_evaluations < 2000 else 0.5)))
    size = min(first if max_evaluations - first >= policy.smallest else max_evaluations, pool.budget)
    rounds = _Rounds(pool, gaussian, size, alternatives, conditionals, rng)
    interrupted = False
    try:
        rounds.until_enough(max_rounds)
        rounds.enlarge(worth)
        if held_back and rounds.count > 1:
            rounds.afresh()
    except KeyboardInterrupt:
        interrupted = True
        rounds.found = rounds.pool.assess()
    return rounds.result(interrupted)


class _Rounds:
    """Rounds of draws: the pool, what is known of it, and the slices that have been laid out.

    Begins with draws of the Gaussian, of the same stretched along its axes, and of other modes.
    """

    def __init__(
        self,
        pool: WeightedPool,
        gaussian: Gaussian,
        size: int,
        alternatives: Sequence[tuple[Array, Array]],
        conditionals: Conditionals | None,
        rng: np.random.Generator,
    ) -> None:
        self.pool, self.size, self.conditionals, self.rng = pool, size, conditionals, rng
        self.policy = pool.policy
        pool.add(gaussian, int((1 - self.policy.stretched) * size), rng)
        self.initial_khat = float(psis(pool.log_p - gaussian.log_density(pool.u))[1])
        self.start = Evaluated(pool.u, pool.log_p)
        pool.add(Stretched.along_axes(gaussian.mean, gaussian.factor), size - len(pool.u), rng)
        for where, sd in alternatives:
            pool.add(Gaussian(where, np.diag(1.2 * sd)), size // 4, rng)
        self.found = pool.assess()
        self.moves = np.zeros(len(self.found.mean))
        self.count, self.spent = 1, 0
        self.along: dict[int, Mixture] = {}

    def until_enough(self, most: int) -> None:
        """Rounds until the draws are accurate enough and a further one moves nothing, or there are no more."""
        while self.count < most and self.pool.left >= self.policy.smallest:
            if self._sliced():
                self.found = self.pool.assess()
            elif self.moves.max() < self.policy.still and self.found.enough:
                break
            before = self.found
            self._add(self.size * self.policy.growth**self.count)
            self.moves = self.found.moves(before)
            self.count += 1

    def enlarge(self, worth: int) -> None:
        """As many draws more as make the effective size what is wanted, where they are good."""
        if self.found.enough and self.found.ess < worth and self.pool.left >= self.policy.smallest:
            share = max(self.found.ess / len(self.pool.u), 0.1)
            self._add((worth - self.found.ess) / share)

    def afresh(self) -> None:
        """As many draws as there are, of a proposal fitted to these, in their place: none was fitted to them."""
        pool = self.pool
        fresh = WeightedPool(pool.values, pool.measure, pool.dim, len(pool.u), pool.remaining, pool.policy)
        fresh.add(refitted(pool, self.found, [*self.along.values()]), len(pool.u), self.rng)
        if len(fresh.u) >= self.policy.smallest:
            before, self.spent, self.pool = self.found, len(pool.u), fresh
            self.found = fresh.assess()
            self.moves = self.found.moves(before)

    def result(self, interrupted: bool) -> ImportanceResult:
        """What was found."""
        of_all = (self.initial_khat, self.count, self.start)
        return judged(self.pool, self.found, self.moves, *of_all, interrupted, self.spent)

    def _add(self, count: float) -> None:
        if self.conditionals is None:
            extra: list[Proposal] = [*bent(self.pool, self.found)]
        else:
            extra = [*self.along.values()]
        self.pool.add(refitted(self.pool, self.found, extra), int(min(count, self.pool.left)), self.rng, fitted=True)
        self.found = self.pool.assess()

    def _sliced(self) -> bool:
        """Whether slices were added along latents that had none."""
        if self.conditionals is None or self.count > self.policy.sliced:
            return False
        mean, covariance = rough_moments(self.pool, self.found)
        before = len(self.along)
        for index in [*leaders(*self.found.steering), *(heaviest(self.pool, self.found) if self.count > 1 else [])]:
            mixture = None if index in self.along else self.conditionals(mean, covariance, index)
            if mixture is not None:
                self.along[index] = mixture
                self.pool.add(mixture, self.size // 2, self.rng)
        return len(self.along) > before


def extended(
    result: ImportanceResult,
    values: Values,
    measure: Measure,
    rng: np.random.Generator,
    draws: int,
    *,
    remaining: Callable[[], float] = lambda: math.inf,
) -> ImportanceResult:
    """The same with so many more draws of its proposal, to which that was not fitted, and judged anew.

    Parameters
    ----------
    result : ImportanceResult
    values, measure, remaining
        As for `correct`.
    rng : numpy.random.Generator
    draws : int
    """
    pool = WeightedPool(values, measure, result.draws.shape[1], len(result.draws) + draws, remaining)
    pool.restore(result)
    before = pool.assess()
    pool.add(result.proposal, draws, rng, fitted=True)
    found = pool.assess()
    earlier = result.evaluations - len(result.draws)
    moves, rounds = found.moves(before), result.rounds + 1
    longer = judged(pool, found, moves, result.initial_khat, rounds, result.start, False, earlier)
    # The further draws are independent of those that the evidence was known from.
    log_evidence, error = _together((result, longer))
    return replace(longer, log_evidence=log_evidence, log_evidence_se=error)


def _together(results: Sequence[ImportanceResult]) -> tuple[float, float]:
    """Log evidence and its standard error, of independent estimates weighted by their precisions."""
    known = [(one.log_evidence, one.log_evidence_se) for one in results if one.log_evidence_se > 0]
    if not known:
        return results[-1].log_evidence, results[-1].log_evidence_se
    precisions = np.array([error**-2 for _, error in known])
    total = float(precisions.sum())
    return float(precisions @ np.array([value for value, _ in known])) / total, total**-0.5
