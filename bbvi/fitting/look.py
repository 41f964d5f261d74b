"""The stage that looks at the model as its author may not have meant it: findings that count in the verdict."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bbvi.correction.verdict import Finding, Verdict
from bbvi.fitting.job import Job
from bbvi.fitting.records import Optimum
from bbvi.notices import warn
from bbvi.status import Status
from bbvi.target.allowance import Exhausted
from bbvi.target.lint import lint, unidentified
from bbvi.target.lint.finding import POLICY
from bbvi.target.uncounted import FAILURES

Array = np.ndarray

# What the log joint does at some places, which a fit got past if its weights or chains agree: told, and no more.
_OF_A_PLACE = frozenset({"saturates", "flat-start"})
# Evaluations that a look takes as a rule.
_COST = 4
# How many times as many a fit must have left.
_SMALL_PART = 20


def look(optimum: Optimum) -> Optimum:
    """The optimum with what the linter finds there, or at the start where there is no optimum.

    What a likelihood does far from where the posterior is (saturate, be flat) does not matter to a fit that left it.
    """
    job = optimum.job
    if not optimum.begun or optimum.status is Status.INTERRUPTED or job.late() or job.left < _COST:
        return optimum
    point = optimum.start.points[0] if optimum.status is Status.DIVERGED else optimum.approximation.mean
    findings = []
    try:
        seen = lint(job.target, point, job.rng("lint"), fitted=optimum.status is Status.CONVERGED)
    except Exhausted:
        return optimum
    except FAILURES:
        if not job.target.tolerant:
            raise
        # A simulator may fail at any values, and there is nothing to see of it where it does.
        seen = ()
    for found in seen:
        if found.code == "nan-gradient" and not job.method.gradients:
            # That is why the fit works from values, and was said.
            continue
        if found.code == "forgotten-sum":
            warn(found.message)
        grave = found.severity == "caution" and found.code not in _OF_A_PLACE
        verdict = Verdict.CAUTION if grave else Verdict.RELIABLE
        findings.append(Finding(verdict, _sentence(found.message)))
    endless = _endless(job, optimum.start.points[0])
    if endless:
        optimum = replace(optimum, status=Status.DIVERGED, message=endless)
    return replace(optimum, findings=(*optimum.findings, *findings))


def _endless(job: Job, point: Array) -> str:
    """Directions along which the posterior has no end, so that no optimum is one; "" if there are none.

    They are looked for from the start, since a fit may have wandered far along them.
    """
    if not job.method.gradients or job.left < _SMALL_PART * (job.target.dim + POLICY.spare_points):
        return ""
    found = unidentified(job.target, point, job.rng("directions"))
    return " ".join(_sentence(finding.message) for finding in found)


def _sentence(message: str) -> str:
    """A message with a capital and a full stop; names of Python, as np.log, stay as one writes them."""
    word = message.partition(" ")[0]
    start = message[0].upper() if word.isalpha() else message[0]
    return f"{start}{message[1:]}".rstrip(".") + "."
