"""The tables of the calibration: verdicts against errors by family, and errors against what the checks look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from measure import Outcome

Rows = list[list[str]]

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


# Ratios of widths, from and below.
WIDTHS = [(1.0, 1.5), (1.5, 4.0), (4.0, 7.0), (7.0, 15.0), (15.0, 100.0)]
BY_WIDTH = ["latents", "1", "2 to 3", "5", "10", "20 and more"]


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
    """Each case of which a fit says reliable and is wrong, or raised: how many, and the worst of them."""
    rows = []
    for name in dict.fromkeys(one.name for one in outcomes if one.failure or _wrong(one)):
        fits = [one for one in outcomes if one.name == name]
        wrong = [one for one in fits if _wrong(one)]
        worst = max(wrong, key=lambda one: one.error, default=fits[0])
        rows.append(
            [
                name,
                worst.family,
                worst.row,
                next((one.failure for one in fits if one.failure), ""),
                f"{len(wrong)} of {len(fits)}",
                f"{worst.mean_error:.2f}" if wrong else "",
                f"{worst.sd_error:.0%}" if wrong else "",
            ]
        )
    return rows


def by_statistic(outcomes: Sequence[Outcome]) -> Rows:
    """For each interval of each statistic: how many fits that are no traps, the shares right, and the errors.

    A mode that nothing has met shows in no statistic.
    """
    rows = []
    for name, (statistic, edges) in STATISTICS.items():
        known = [one for one in outcomes if one.easy and np.isfinite(statistic(one)) and np.isfinite(one.error)]
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


def by_width(outcomes: Sequence[Outcome]) -> Rows:
    """Of two modes of unequal width: fits that were reliable and wrong, by latents and by the ratio of the widths."""
    traps = [one for one in outcomes if one.ratio > 0]
    dims = sorted({one.dim for one in traps})
    return [
        [
            str(dim),
            *(_missed([one for one in traps if one.dim == dim and low <= one.ratio < high]) for low, high in WIDTHS),
        ]
        for dim in dims
    ]


def _missed(chosen: Sequence[Outcome]) -> str:
    return f"{sum(_wrong(one) for one in chosen)} of {len(chosen)}" if chosen else ""


def _wrong(one: Outcome) -> bool:
    return one.verdict == "reliable" and not one.right


def totals(outcomes: Sequence[Outcome]) -> str:
    """The sentences above the tables."""
    easy, traps = [one for one in outcomes if one.easy], [one for one in outcomes if not one.easy]
    trusted = [one for one in easy if one.verdict == "reliable"]
    kept = sum(one.right for one in trusted)
    # Long runs of another sampler, which are the answers of one family, have errors of their own.
    exact = [one for one in trusted if one.family != "large"]
    rows, covered = sum(one.rows for one in exact), sum(one.covered for one in exact)
    raised = sum(bool(one.failure) for one in outcomes)
    return (
        f"{_cases(easy)} posteriors that are no traps, {len(easy)} fits: {kept} reliable and right "
        f"({kept / max(len(easy), 1):.0%}), {len(trusted) - kept} reliable and wrong. {_cases(traps)} traps, "
        f"{len(traps)} fits: {sum(map(_wrong, traps))} reliable and wrong ({_share(traps)}). {raised} fits raised. "
        f"Where reliable fits are no traps and the answer is exact, {covered / max(rows, 1):.1%} of their means are "
        "within two of the Monte Carlo errors that they report."
    )


def _cases(outcomes: Sequence[Outcome]) -> int:
    return len({one.name for one in outcomes})


def _share(traps: Sequence[Outcome]) -> str:
    return f"{sum(map(_wrong, traps)) / max(len(traps), 1):.0%}"
