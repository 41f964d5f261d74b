"""The tables of the calibration: verdicts against errors by family, and errors against what the checks look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from measure import Outcome

Rows = list[list[str]]

VERDICTS = ("reliable", "caution", "unreliable")
BY_FAMILY = [
    "family",
    "fits",
    "reliable, right",
    "reliable, wrong",
    "caution, right",
    "caution, within 0.5",
    "caution, beyond",
    "unreliable, wrong",
    "unreliable, right",
    "raised",
    "evaluations",
    "gradients",
]
# What decides a verdict, with the edges between which fits are counted.
STATISTICS: dict[str, tuple[Callable[[Outcome], float], Sequence[float]]] = {
    "k-hat of the weights": (lambda one: one.khat, (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)),
    "k-hat of the Gaussian": (lambda one: one.gaussian_khat, (0.3, 0.5, 0.7, 1.0, 1.5, 2.5)),
    "k-hat of squared deviations": (lambda one: one.tail_khat, (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)),
    "reported standard error of a mean": (lambda one: one.mean_se, (0.01, 0.02, 0.03, 0.05, 0.1)),
    "reported standard error of an sd": (lambda one: one.sd_se, (0.01, 0.02, 0.03, 0.05, 0.1)),
}


def by_family(outcomes: Sequence[Outcome]) -> Rows:
    """A row for each family, and one for all that is no trap, all traps, and all."""
    families = list(dict.fromkeys(one.family for one in outcomes))
    rows = [_counted(family, [one for one in outcomes if one.family == family]) for family in families]
    rows.append(_counted("**without traps**", [one for one in outcomes if one.easy]))
    rows.append(_counted("**traps**", [one for one in outcomes if not one.easy]))
    rows.append(_counted("**all**", outcomes))
    return rows


def _counted(label: str, chosen: Sequence[Outcome]) -> list[str]:
    def count(verdict: str, holds: Callable[[Outcome], bool]) -> str:
        number = sum(one.verdict == verdict and holds(one) for one in chosen)
        return str(number) if number else ""

    def cost(name: str) -> str:
        return f"{np.median([getattr(one, name) for one in chosen]):,.0f}" if chosen else ""

    raised = sum(bool(one.failure) for one in chosen)
    return [
        label,
        str(len(chosen)),
        count("reliable", lambda one: one.right),
        count("reliable", lambda one: not one.right),
        count("caution", lambda one: one.right),
        count("caution", lambda one: one.fair and not one.right),
        count("caution", lambda one: not one.fair),
        count("unreliable", lambda one: not one.right),
        count("unreliable", lambda one: one.right),
        str(raised) if raised else "",
        cost("evaluations"),
        cost("gradients"),
    ]


def named(outcomes: Sequence[Outcome]) -> Rows:
    """Each fit that says reliable and is wrong, and each that raised."""
    return [
        [one.name, one.family, str(one.seed), f"{one.mean_error:.2f}", f"{one.sd_error:.0%}", one.row, one.failure]
        for one in outcomes
        if one.failure or (one.verdict == "reliable" and not one.right)
    ]


def by_statistic(outcomes: Sequence[Outcome]) -> Rows:
    """For each interval of each statistic: how many fits, the shares right, and the errors."""
    rows = []
    for name, (statistic, edges) in STATISTICS.items():
        known = [one for one in outcomes if np.isfinite(statistic(one)) and np.isfinite(one.error)]
        for low, high in zip((-np.inf, *edges), (*edges, np.inf), strict=True):
            chosen = [one for one in known if low <= statistic(one) < high]
            if chosen:
                errors = [one.error for one in chosen]
                rows.append(
                    [
                        name,
                        f"below {high:g}" if low == -np.inf else f"from {low:g}",
                        str(len(chosen)),
                        f"{np.mean([one.right for one in chosen]):.0%}",
                        f"{np.mean([one.fair for one in chosen]):.0%}",
                        f"{np.median(errors):.3f}",
                        f"{np.quantile(errors, 0.9):.3f}",
                    ]
                )
    return rows


def totals(outcomes: Sequence[Outcome]) -> str:
    """The sentences above the tables."""
    fits = len(outcomes)
    cases = len({one.name for one in outcomes})
    counts = {verdict: [one for one in outcomes if one.verdict == verdict] for verdict in VERDICTS}
    trusted = counts["reliable"]
    wrong = sum(not one.right for one in trusted)
    rows, covered = sum(one.rows for one in trusted), sum(one.covered for one in trusted)
    easy = [one for one in outcomes if one.easy]
    kept = sum(one.verdict == "reliable" and one.right for one in easy)
    return (
        f"{cases} posteriors, {fits} fits: {len(trusted)} reliable, {len(counts['caution'])} caution, "
        f"{len(counts['unreliable'])} unreliable, {sum(bool(one.failure) for one in outcomes)} raised. "
        f"Reliable and wrong: {wrong}. Of the {len(easy)} fits of posteriors that are no traps, {kept} are reliable "
        f"and right ({kept / max(len(easy), 1):.0%}). Of the means of reliable fits, {covered / max(rows, 1):.1%} are "
        "within two of their Monte Carlo errors."
    )
