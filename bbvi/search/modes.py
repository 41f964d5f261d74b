"""Modes: which ends of the search are one, how near they are, and whether they matter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class ModePolicy:
    """When two places are one mode, and when a mode matters.

    Attributes
    ----------
    together : float
        Distance of two means, in the smaller of their conditional sds, up to which they are one mode; pulls settle
        within a tenth of it.
    alike : float
        Difference of log sds up to which they are: a narrow mode within a broad one is another.
    influence : float
        Share of a mode in the largest relative variance from which it matters: half a per cent of an sd.
    """

    together: float = 0.5
    alike: float = 0.7
    influence: float = 0.01


class Mode(NamedTuple):
    """A local optimum of the coarse ELBO: mean, log_sd (D,), its ELBO in nats, how many starts ended in it.

    One that no start found is known by a symmetry of the log joint, which `symmetry` names. Of none that settled, a
    place that is better than every mode is kept to begin from; no start counts for it. `evidence` is Laplace's at the
    peak of the density, in nats, where the search climbed it; NaN elsewhere.
    """

    mean: Array
    log_sd: Array
    elbo: float
    starts: int
    symmetry: str = ""
    evidence: float = float("nan")


def found_once(modes: Sequence[Mode]) -> bool:
    """Whether one start alone ended in the best mode."""
    return len(modes) > 0 and modes[0].starts == 1


def merged(found: Sequence[Mode], policy: ModePolicy = ModePolicy()) -> list[Mode]:  # noqa: B008
    """One mode for all that are the same place; the best first."""
    modes: list[Mode] = []
    for mode in sorted(found, key=lambda mode: -mode.elbo):
        for i, other in enumerate(modes):
            if _one(mode, other, policy):
                evidence = other.evidence if np.isfinite(other.evidence) else mode.evidence
                modes[i] = other._replace(starts=other.starts + mode.starts, evidence=evidence)
                break
        else:
            modes.append(mode)
    return modes


def _one(mode: Mode, other: Mode, policy: ModePolicy) -> bool:
    distance = np.max(np.abs(mode.mean - other.mean) / np.exp(np.minimum(mode.log_sd, other.log_sd)))
    return bool(distance < policy.together and np.max(np.abs(mode.log_sd - other.log_sd)) < policy.alike)


def near_modes(modes: Sequence[Mode], policy: ModePolicy = ModePolicy()) -> list[Mode]:  # noqa: B008
    """The modes beside the best that matter to the sd of some latent.

    A mode that holds a small share of the posterior adds that share times its squared distance, in sds, to a variance,
    and its own variance in the place of the other.
    """
    return [mode for mode in modes[1:] if log_influence(modes[0], mode) > np.log(policy.influence)]


def log_influence(best: Mode, other: Mode) -> float:
    """Logarithm of the share of the other mode in the largest relative variance.

    The share is that of the evidences where both are known, else that of the ELBOs.
    """
    distance = (other.mean - best.mean) / np.exp(best.log_sd)
    width = np.exp(2 * np.minimum(other.log_sd - best.log_sd, 50.0))
    return float(ahead(best, other) + np.log1p(np.max(distance**2 + width)))


def ahead(best: Mode, other: Mode) -> float:
    """Nats by which the other mode is ahead of the best, by evidences where both are known, else by ELBOs."""
    if np.isfinite(best.evidence) and np.isfinite(other.evidence):
        return other.evidence - best.evidence
    # Images of a mode have its ELBO, also where that is minus infinity.
    return 0.0 if other.elbo == best.elbo else other.elbo - best.elbo
