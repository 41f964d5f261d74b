"""Ascents of the log density from a start, by gradients alone: whether it leads to a mode that is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bbvi.search.looks import Expansion
from bbvi.target.target import Target

Array = np.ndarray


@dataclass(frozen=True)
class AscentPolicy:
    """When an ascent is at home, and when it is given up.

    Attributes
    ----------
    home : float
        Distance from the mode, in sds of its expansion, within which an ascent has come to it.
    gradients : int
        Gradients that an ascent may take; one by Newton steps takes some hundred.
    """

    home: float = 1.0
    gradients: int = 40


def leads_home(
    target: Target,
    expansion: Expansion,
    point: Array,
    policy: AscentPolicy = AscentPolicy(),  # noqa: B008
) -> bool:
    """Whether an ascent from a point (D,) comes to the mode of the expansion (L-BFGS: Liu, Nocedal 1989).

    In the mode's own standardized coordinates, in which it is nearly a sphere, that takes few gradients. A valley on
    the way, or a shape that these coordinates do not suit, ends elsewhere.
    """
    # Few fits need it, and it takes long to import.
    from scipy import optimize

    factor = expansion.factor
    start = point - expansion.mean
    e = start / factor if factor.ndim == 1 else np.linalg.solve(factor, start)
    spent, home = 0, False

    def downwards(e: Array) -> tuple[float, Array]:
        nonlocal spent
        spent += 1
        values, gradients = target.gradients(expansion.at(e[None]))
        gradient = gradients[0] * factor if factor.ndim == 1 else gradients[0] @ factor
        if not (np.isfinite(values[0]) and np.isfinite(gradient).all()):
            return np.inf, np.zeros_like(e)
        return -float(values[0]), -gradient

    def arrived(e: Array) -> None:
        nonlocal home
        home = bool(np.linalg.norm(e) < policy.home)
        if home or spent >= policy.gradients:
            raise StopIteration

    with np.errstate(over="ignore", invalid="ignore"):
        optimize.minimize(
            downwards, e, jac=True, method="L-BFGS-B", callback=arrived, options={"maxfun": policy.gradients}
        )
    return home
