"""The stage that looks at the model as its author may not have meant it: findings that count in the verdict."""

from __future__ import annotations

from dataclasses import replace

from bbvi.correction.verdict import Finding, Verdict
from bbvi.fitting.records import Optimum
from bbvi.notices import warn
from bbvi.status import Status
from bbvi.target.allowance import Exhausted
from bbvi.target.lint import lint

# What the log joint does at some places, which a fit got past if its weights or chains agree: told, and no more.
_OF_A_PLACE = frozenset({"saturates", "flat-start"})
# Evaluations that a look takes as a rule.
_COST = 4


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
        seen = lint(job.target, point, job.rng("lint"))
    except Exhausted:
        return optimum
    for found in seen:
        if found.code == "nan-gradient" and not job.method.gradients:
            # That is why the fit works from values, and was said.
            continue
        if found.code == "forgotten-sum":
            warn(found.message)
        grave = found.severity == "caution" and found.code not in _OF_A_PLACE
        verdict = Verdict.CAUTION if grave else Verdict.RELIABLE
        findings.append(Finding(verdict, _sentence(found.message)))
    return replace(optimum, findings=(*optimum.findings, *findings))


def _sentence(message: str) -> str:
    """A message with a capital and a full stop; names of Python, as np.log, stay as one writes them."""
    word = message.partition(" ")[0]
    start = message[0].upper() if word.isalpha() else message[0]
    return f"{start}{message[1:]}".rstrip(".") + "."
