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
    least_rows : int
        Of data, from which it is looked whether most of them reach the log joint.
    few_rows : int
        So few of them are a slip; who leaves out rows on purpose, as in sparse observations, keeps more.
    far : float
        Sds of a normal prior beyond which a latent is at odds with it: the chance is one in two million.
    flat_near, flat_far : tuple of float
        Unconstrained moves that a latent must not, and must, answer to for a start to count as flat.
    most_flat : int
        Latents that are tried for flatness.
    coupled : float
        Relative difference of two Hessian products from which a latent counts as coupled to others (rounding).
    most_directions, spare_points : int
        Latents up to which directions without a slope are looked for, and gradients for it beyond one a latent.
    widths : tuple of float
        Of the box, around the start, of which that has the gradients: the first where the log joint falls by no more
        than `deep` nats.
    deep : float
    still : float
        Share of the steepest slope up to which a direction has none (rounding); far moves then prove it.
    """

    most_steps: int = 500
    saturated: float = 30.0
    least_rows: int = 10
    few_rows: int = 2
    far: float = 5.0
    flat_near: tuple[float, ...] = (-0.2, 0.2)
    flat_far: tuple[float, ...] = (-4.0, -2.5, 2.5, 4.0)
    most_flat: int = 20
    coupled: float = 1e-7
    most_directions: int = 50
    spare_points: int = 4
    widths: tuple[float, ...] = (1.0, 1e-2, 1e-4, 1e-6)
    deep: float = 1e4
    still: float = 1e-9


POLICY = LintPolicy()


def listed(names: list[str], most: int = 5) -> str:
    """Names in quotes, the first few of many."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more
