"""The proof of a recording: it is compared with the function itself at draws from where a fit is."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bbvi.model.draw import describe_draw
from bbvi.target.target import Target

Array = np.ndarray


@dataclass(frozen=True)
class ProofPolicy:
    """How often the function is called to be compared with its recording.

    What a function learns of the values of its latents is refused while it is recorded, whichever way it takes; what is
    left to the proof is a state that changes between calls, which shows at every draw, and code that asks for the type
    of a value. The proof finds a difference over a share p of the posterior with probability 1 - (1 - p)^n.

    Attributes
    ----------
    fewest, most : int
        Calls of one proof: 8 miss a difference over two thirds of the posterior with probability 1e-4; 688 find one
        over 1 % of it with probability 0.999.
    share : float
        Of the time that the fit has taken, what one proof may take beyond the fewest calls.
    """

    fewest: int = 8
    most: int = 688
    share: float = 0.02

    def __post_init__(self) -> None:
        if not 1 <= self.fewest <= self.most:
            raise ValueError(f"ProofPolicy: expected 1 <= fewest <= most, got {self.fewest} and {self.most}")


class Proof(NamedTuple):
    """What a proof found: the draws compared, and the first difference in words, empty where there is none."""

    compared: int
    difference: str

    @property
    def power(self) -> float:
        """Probability of finding a difference over 1 % of the draws' distribution."""
        return 1.0 - 0.99**self.compared


def prove(target: Target, u: Array, seconds: float, policy: ProofPolicy = ProofPolicy()) -> Proof:  # noqa: B008
    """Compare the recording of the log joint with the function, one by one, at draws `u` (S, D).

    At the first `fewest` of them, and at more as long as that takes no longer than `seconds`.
    """
    began, compared, size = time.perf_counter(), 0, policy.fewest
    rows = u[: policy.most]
    while compared < len(rows):
        chunk = rows[compared : compared + size]
        if not target.verify(chunk):
            worst = next((row for row in chunk if not target.verify(row[None])), chunk[0])
            draw = {name: x[0] for name, x in target.constrain(worst[None])[0].items()}
            return Proof(compared + len(chunk), f"at {describe_draw(draw)}")
        compared += len(chunk)
        spent = time.perf_counter() - began
        if spent >= seconds:
            break
        size = int(np.clip(compared * (seconds - spent) / max(spent, 1e-9), 1, len(rows)))
    return Proof(compared, "")
