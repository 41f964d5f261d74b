"""The most that evaluations of a target may come to: whatever a stage plans, the next ones are not begun beyond it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Exhausted(Exception):
    """The evaluations that were asked for are more than are allowed; none of them was made, nor counted."""


@contextmanager
def allowing(target: Any, evaluations: float) -> Iterator[None]:
    """While it lasts, `target` raises `Exhausted` rather than come to more evaluations in all.

    Allowances nest: an inner one is never wider than the outer.
    """
    before = getattr(target, "allowance", float("inf"))
    target.allowance = min(before, evaluations)
    try:
        yield
    finally:
        target.allowance = before
