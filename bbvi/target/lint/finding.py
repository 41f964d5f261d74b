"""What the linter of models says: findings, and the thresholds by which it decides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["note", "caution"]


@dataclass(frozen=True)
class Finding:
    """Something in a model that its author may not have meant.

    Attributes
    ----------
    code : str
        The kind of fault, such as ``"broadcast"``; `lint` lists them.
    severity : {"note", "caution"}
        Whether results are as they should be and something is worth knowing, or whether they may not be what was meant.
    message : str
        What is wrong, where, and how to mend it.
    """

    code: str
    severity: Severity
    message: str

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True)
class LintPolicy:
    """Thresholds of the linter; none of them changes a fit.

    Attributes
    ----------
    most_steps : int
        Operations of a log joint beyond which there is one look and no derivative (calibrated: so many take some
        0.05 s).
    saturated : float
        Size of a linear predictor from which ``1 - expit`` has lost all digits but a few: log(1 / eps) is 36.
    flat_near, flat_far : tuple of float
        Unconstrained moves that a latent must not, and must, answer to for a start to count as flat.
    most_flat : int
        Latents that are tried for flatness.
    coupled : float
        Relative difference of two Hessian products from which a latent counts as coupled to others (rounding).
    """

    most_steps: int = 500
    saturated: float = 30.0
    flat_near: tuple[float, ...] = (-0.2, 0.2)
    flat_far: tuple[float, ...] = (-4.0, -2.5, 2.5, 4.0)
    most_flat: int = 20
    coupled: float = 1e-7


POLICY = LintPolicy()


def listed(names: list[str], most: int = 5) -> str:
    """Names in quotes, the first few of many."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more
