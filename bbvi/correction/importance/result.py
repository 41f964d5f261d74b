"""What the importance correction found: weighted draws from the target, with what is known of their accuracy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bbvi.correction.importance.proposals import Mixture
from bbvi.correction.importance.weights import ControlFunctions
from bbvi.correction.pool import Evaluated, Pool

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class ImportanceResult:
    """Weighted draws from the target, with what is known of their accuracy.

    Attributes
    ----------
    draws : (S, D), unconstrained
    log_weights : (S,), smoothed, adjusted by control variates, normalised
    log_density : (S,), of the target
    proposal : Mixture
        That all draws come from.
    khat, initial_khat : float
        Of these weights, and of the Gaussian that was corrected.
    ess : float
    log_evidence, log_evidence_se : float
        In nats.
    mean_error, sd_error : (R,)
        One standard error of the reported quantities' means, in sds, and of their sds, relative; the latter enlarged
        where draws hide a part of a heavy tail.
    tail_khat : (R,)
        k-hat of the weights times the squared deviation: above 0.6 the sd is not to be had from these draws.
    rounds, evaluations : int
    start : Evaluated
        Draws of the Gaussian that was corrected.
    problems : tuple of str
        The checks that failed, a clause each.
    interrupted : bool
        Whether an interrupt ended the rounds.
    shared, doubts : tuple of str
        Those of the problems that concern all rows; and the checks that failed of each row (R).
    """

    draws: Array
    log_weights: Array
    log_density: Array
    proposal: Mixture
    khat: float
    initial_khat: float
    ess: float
    log_evidence: float
    log_evidence_se: float
    mean_error: Array
    sd_error: Array
    tail_khat: Array
    rounds: int
    evaluations: int
    start: Evaluated
    problems: tuple[str, ...]
    interrupted: bool = False
    name: str = "importance"
    shared: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    @property
    def independent(self) -> bool:
        """Its proposals begin at the optimum."""
        return False

    @property
    def checked(self) -> bool:
        """Its draws are weighted by the posterior itself."""
        return True

    @property
    def reliable(self) -> bool:
        """Whether every check passed."""
        return not self.problems

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draws (n, D), by importance resampling."""
        weights = np.exp(self.log_weights)
        return np.asarray(self.draws[rng.choice(len(weights), n, p=weights / weights.sum())])

    def pool(self, seed: int) -> Pool:
        """The weighted draws as they are."""
        log_q = self.proposal.log_density(self.draws)
        errors = ControlFunctions.at(self.draws, self.log_weights, log_q, self.proposal.components[0])
        return Pool(self.draws, self.log_weights, errors, self.log_density, log_q)
