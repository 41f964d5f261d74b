"""Verdicts against known answers: ``python tests/calibration [--quick] [--seeds 1] [--traps 5] [--values] [name]``."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from dataclasses import asdict
from pathlib import Path

# Workers are processes, so that each has one thread; what is imported below reads this.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "docs" / "figures")]

import numpy as np  # noqa: E402
from _write import table  # noqa: E402
from measure import measured  # noqa: E402
from tables import BY_FAMILY, BY_WIDTH, by_family, by_statistic, by_width, named, totals  # noqa: E402
from targets import Case, families  # noqa: E402

import bbvi  # noqa: E402

OUT = ROOT / "docs" / "_static" / "figures"
# Of each family, so many are tried with --quick.
QUICK = 3
# Evaluations of fits from values alone, up to so many latents.
LIMITS = {3: 150, 6: 500, 10: 2000}
WRONG = ["case", "family", "row", "raised", "reliable, wrong", "worst mean, sd", "worst sd"]
STATISTIC = ["statistic", "interval", "fits", "right", "within 0.5", "median error", "nine in ten below"]


def chosen(words: list[str], quick: bool) -> list[Case]:
    """The cases whose family or name has one of the words, all without any; evenly spread ones of each if `quick`."""
    found = []
    for family, members in families().items():
        wanted = [one for one in members if not words or any(word in (family, one.name) for word in words)]
        step = max(len(wanted) // QUICK, 1) if quick else 1
        found += wanted[::step][:QUICK] if quick else wanted
    return found


def limit_of(dim: int) -> int:
    """Evaluations of a fit from values of so many latents; 0 where that is none."""
    return next((limit for most, limit in LIMITS.items() if dim <= most), 0)


def main() -> None:
    """Fit, print the tables, and write them for the documentation if everything was fitted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*", help="families or names of cases; all without any")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} cases of each family")
    parser.add_argument("--seeds", type=int, default=1, help="fits of each case, with seeds from 1 on")
    parser.add_argument("--traps", type=int, help="fits of each trap; five times as many unless given")
    parser.add_argument("--values", action="store_true", help="values alone, and few of them: up to ten latents")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path, help="a file for every single outcome")
    given = parser.parse_args()
    traps = given.traps or (given.seeds if given.quick else 5 * given.seeds)
    picked = chosen(given.words, given.quick)
    fits: list[tuple[object, ...]] = [
        (one.name, 1 + i) for one in picked for i in range(given.seeds if one.easy else traps)
    ]
    if given.values:
        limits = {one.name: limit_of(one.model().dim) for one in picked}
        fits = [(name, seed, limits[name]) for name, seed in fits if limits[name]]
    began = time.perf_counter()
    outcomes = []
    for one in measured(fits, given.workers):
        outcomes.append(one)
        said = one.failure or f"{one.verdict:10} {one.mean_error:8.3f} {one.sd_error:7.0%} {one.seconds:7.2f} s"
        print(f"{len(outcomes):4} {one.family[:22]:22} {one.name[:44]:44} {one.seed:3} {said}", flush=True)
    if given.json:
        given.json.write_text(json.dumps([asdict(one) for one in outcomes], indent=1), encoding="utf-8")
    tables = {
        "calibration": (BY_FAMILY, by_family(outcomes), 1),
        "calibration_widths": (BY_WIDTH, by_width(outcomes), 1),
        "calibration_wrong": (WRONG, named(outcomes), 4),
        "calibration_statistics": (STATISTIC, by_statistic(outcomes), 2),
    }
    for header, rows, _ in tables.values():
        print("", *("  ".join(row) for row in (header, *rows)), sep="\n")
    print(f"\n{totals(outcomes)}\n{time.perf_counter() - began:.0f} s")
    if given.words or given.quick:
        return
    if given.values:
        table(OUT / "calibration_values.md", BY_FAMILY, by_family(outcomes), text=1)
        (OUT / "calibration_values_totals.md").write_text(f"{totals(outcomes)}\n", encoding="utf-8")
        return
    for name, (header, rows, text) in tables.items():
        table(OUT / f"{name}.md", header, rows, text=text)
    where = f"bbvi {bbvi.__version__}, Python {platform.python_version()}, NumPy {np.__version__}."
    (OUT / "calibration_totals.md").write_text(f"{totals(outcomes)}\n\n{where}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
