"""The proof of a recording: it is compared with the function itself at draws from where a fit is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bbvi.model.draw import describe_draw

if TYPE_CHECKING:
    from bbvi.target.target import Target

Array = np.ndarray


@dataclass(frozen=True)
class ProofPolicy:
    """How often the function is called to be compared with its recording.

    What a function learns of the values of its latents is refused while it is recorded, whichever way it takes; what is
    left to the proof is a state that changes between calls, and code that asks for the type of a value or catches
    errors. Where code is seen that may do any of these, the proof is as strong as it gets. It finds a difference over a
    share p of the posterior with probability 1 - (1 - p)^n.

    Attributes
    ----------
    fewest, most : int
        Calls of one proof: 8 miss a difference over two thirds of the posterior with probability 1e-4; 688 find one
        over 1 % of it with probability 0.999.
    share : float
        Calls for each evaluation that the fit has taken, between these two.
    some : int
        Calls of a function of draws (the derived quantities, the pointwise log likelihood, what an expectation is asked
        of) where it is dear: `most` are made wherever its figures are reported, unless they would take more than `work`
        in all and its code keeps no state. 32 miss a difference over a fifth of the posterior with probability 1e-3.
    work : float
        Elements that all these calls may compute, an operation's overhead taken for a thousand: half a second or so.
    """

    fewest: int = 8
    most: int = 688
    share: float = 0.0015
    some: int = 32
    work: float = 5e8

    def __post_init__(self) -> None:
        if not 1 <= self.fewest <= self.most:
            raise ValueError(f"ProofPolicy: expected 1 <= fewest <= most, got {self.fewest} and {self.most}")

    def calls(self, evaluations: int, wary: bool = False) -> int:
        """Calls of one proof in a fit that has taken so many evaluations; all of them for a function to be wary of."""
        return self.most if wary else int(np.clip(self.share * evaluations, self.fewest, self.most))

    def of_draws(self, work: float, *, wary: bool, thorough: bool) -> int:
        """Calls of a function of draws each of which computes so many elements, `thorough` where it is reported."""
        if not thorough:
            return self.fewest
        return self.most if wary else int(np.clip(self.work / work, self.some, self.most))


class Proof(NamedTuple):
    """What a proof found: the draws compared, and the first difference in words, empty where there is none."""

    compared: int
    difference: str

    @property
    def power(self) -> float:
        """Probability of finding a difference over 1 % of the draws' distribution."""
        return 1.0 - 0.99**self.compared


def prove(target: Target, u: Array) -> Proof:
    """Compare the recording of the log joint with the function, one by one, at draws `u` (S, D)."""
    if target.verify(u):
        return Proof(len(u), "")
    k = next((k for k, row in enumerate(u) if not target.verify(row[None])), 0)
    worst, line = u[k], target.parting(u[k], u[0] if k else u[-1])
    draw = {name: x[0] for name, x in target.constrain(worst[None])[0].items()}
    return Proof(len(u), f"at {describe_draw(draw)}" + (f", from {line} on" if line else ""))
