"""Time and peak memory by rows and by latents, with exponents: ``python tests/benchmarks/scaling.py [--out FILE]``."""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import autograd.numpy as anp
import numpy as np

import bbvi
from bbvi.stats import bernoulli, halfnorm, norm

PREDICTORS = 20
ROWS = (10_000, 100_000, 1_000_000, 10_000_000)
LATENTS = (12, 102, 1_002, 3_002, 10_002)


def by_rows(rows: int) -> bbvi.Model:
    """A logistic regression."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((rows, PREDICTORS))
    y = (rng.random(rows) < 1 / (1 + np.exp(-x @ rng.standard_normal(PREDICTORS) / 2))).astype(float)

    def log_joint(z, x, y):
        return anp.sum(norm.logpdf(z.beta)) + anp.sum(bernoulli.logpmf_logits(y, anp.dot(x, z.beta)))

    return bbvi.Model(log_joint, {"beta": PREDICTORS}, {"x": x, "y": y})


def by_latents(latents: int) -> bbvi.Model:
    """Groups of four values, non-centred."""
    rng, groups = np.random.default_rng(2), latents - 2
    group = np.repeat(np.arange(groups), 4)
    y = 1.0 + 0.7 * rng.standard_normal(groups)[group] + rng.standard_normal(4 * groups)

    def log_joint(z, y):
        prior = norm.logpdf(z.mu, 0, 5) + halfnorm.logpdf(z.tau) + anp.sum(norm.logpdf(z.e))
        return prior + anp.sum(norm.logpdf(y, (z.mu + z.tau * z.e)[group], 1))

    return bbvi.Model(log_joint, {"mu": bbvi.Real(), "tau": bbvi.Positive(), "e": groups}, {"y": y})


WAYS = {"rows": (by_rows, ROWS), "latents": (by_latents, LATENTS)}


def measured(way: str, size: int) -> dict[str, object]:
    """A fit in a process of its own: seconds, cost, and peak megabytes beyond those before it."""
    command = [sys.executable, __file__, "--one", way, str(size)]
    out = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(out.stdout)


def one(way: str, size: int) -> None:
    """The fit itself, which prints what it took."""
    model = WAYS[way][0](size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    fit = bbvi.fit(model, seed=1)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({
        "seconds": seconds, "memory": (peak - before) / 1024, "gradients": fit.gradient_evaluations,
        "evaluations": fit.evaluations, "verdict": fit.verdict, "kind": fit.kind,
    }))  # fmt: skip


def exponent(sizes: tuple[int, ...], figures: list[float]) -> float:
    """Slope of the logarithm of a figure in that of the size, from the second size on: the first is overhead."""
    return float(np.polyfit(np.log(sizes[1:]), np.log(figures[1:]), 1)[0])


def table() -> str:
    lines = ["| | seconds | MB | gradients | evaluations | verdict |", "| --- | ---: | ---: | ---: | ---: | --- |"]
    for way, (_, sizes) in WAYS.items():
        found = [measured(way, size) for size in sizes]
        for size, row in zip(sizes, found, strict=True):
            lines.append(
                f"| {size:,} {way} | {row['seconds']:.2g} | {row['memory']:.0f} | {row['gradients']:,} | "
                f"{row['evaluations']:,} | {row['verdict']} ({row['kind']}) |"
            )
        of = [exponent(sizes, [float(row[what]) for row in found]) for what in ("seconds", "memory")]  # type: ignore[arg-type]
        lines.append(f"| **exponent in {way}** | {of[0]:.2f} | {of[1]:.2f} | | | |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", nargs=2)
    given = parser.parse_args()
    if given.one:
        one(given.one[0], int(given.one[1]))
        return
    found = table()
    print(found)
    if given.out is not None:
        given.out.write_text(f"{found}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
