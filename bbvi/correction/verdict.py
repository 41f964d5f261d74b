"""Verdicts and findings: what is known of a posterior's quality, each finding with the next step to take."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

# What a row is said to have whose sd may not exist.
HEAVY_TAIL = "heavy tail"
# And one whose sd hangs on a few weighted draws, though it may well exist.
FEW_IN_TAIL = "few draws in the tail"
# What is said of a latent that steers the widths of others, which more draws do not mend.
FUNNEL = "as in a funnel"


class Verdict(IntEnum):
    """Ordered, so that the gravest finding decides."""

    RELIABLE = 0
    CAUTION = 1
    UNRELIABLE = 2

    def __str__(self) -> str:
        return self.name.lower()


class Finding(NamedTuple):
    """What a check found: the best verdict that it leaves, and a sentence that says what to do.

    A finding that leaves ``RELIABLE`` only explains.
    """

    verdict: Verdict
    reason: str


def gravest(findings: Iterable[Finding]) -> Verdict:
    """The verdict that a number of findings leaves."""
    return max((finding.verdict for finding in findings), default=Verdict.RELIABLE)
