"""Modes: which ends of the search are one, how near they are, and whether they matter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

Array = np.ndarray

# Share of a mode in the variance of a latent from which it matters.
_INFLUENCE = 0.01


class Mode(NamedTuple):
    """A local optimum of the coarse ELBO: mean, log_sd (D,), its ELBO in nats, how many starts ended in it.

    One that no start found is known by a symmetry of the log joint, which `symmetry` names.
    """

    mean: Array
    log_sd: Array
    elbo: float
    starts: int
    symmetry: str = ""


def found_once(modes: Sequence[Mode]) -> bool:
    """Whether one start alone ended in the best mode."""
    return len(modes) > 0 and modes[0].starts == 1


def merged(found: Sequence[Mode]) -> list[Mode]:
    """One mode for all whose means agree to half a conditional sd in every latent; the best first."""
    modes: list[Mode] = []
    for mode in sorted(found, key=lambda mode: -mode.elbo):
        for i, other in enumerate(modes):
            if np.max(np.abs(mode.mean - other.mean) / np.exp(np.maximum(mode.log_sd, other.log_sd))) < 0.5:
                modes[i] = other._replace(starts=other.starts + mode.starts)
                break
        else:
            modes.append(mode)
    return modes


def near_modes(modes: Sequence[Mode]) -> list[Mode]:
    """The modes beside the best that matter to the sd of some latent.

    A mode that holds a small share of the posterior adds that share times its squared distance, in sds, to a variance.
    """
    return [mode for mode in modes[1:] if _influence(modes[0], mode) > np.log(_INFLUENCE)]


def _influence(best: Mode, other: Mode) -> float:
    """Logarithm of the share of the other mode in the largest relative variance, by the modes' ELBOs."""
    distance = np.max(np.abs(other.mean - best.mean) / np.exp(best.log_sd))
    # Images of a mode have its ELBO, also where that is minus infinity.
    ahead = 0.0 if other.elbo == best.elbo else other.elbo - best.elbo
    return float(ahead + np.log1p(distance**2))
