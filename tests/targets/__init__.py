"""Posteriors with known answers, once, for all tests and for the calibration: 270 in twenty-one families."""

from __future__ import annotations

from functools import cache
from itertools import chain

from . import conjugate, gaussians, hierarchies, large, regressions, shapes, traps
from .known import Case, Moments

__all__ = ["Case", "Moments", "case", "cases", "families"]


@cache
def cases() -> tuple[Case, ...]:
    """All of them, in a fixed order."""
    modules = (gaussians, conjugate, regressions, hierarchies, large, shapes, traps)
    return tuple(chain.from_iterable(module.cases() for module in modules))


def case(name: str) -> Case:
    """The one of that name.

    Raises
    ------
    KeyError
        If there is none.
    """
    found = {one.name: one for one in cases()}
    if len(found) < len(cases()):
        raise KeyError("two cases of one name")
    return found[name]


def families() -> dict[str, list[Case]]:
    """The cases by family, in the order of the families' first ones."""
    found: dict[str, list[Case]] = {}
    for one in cases():
        found.setdefault(one.family, []).append(one)
    return found
