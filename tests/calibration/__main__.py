"""Verdicts against known answers: ``python tests/calibration [--quick] [--seeds 1,2] [family or name ...]``."""

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
from tables import BY_FAMILY, by_family, by_statistic, named, totals  # noqa: E402
from targets import Case, families  # noqa: E402

import bbvi  # noqa: E402

OUT = ROOT / "docs" / "_static" / "figures"
# Of each family, so many are tried with --quick.
QUICK = 3


def chosen(words: list[str], quick: bool) -> list[Case]:
    """The cases whose family or name has one of the words, all without any; evenly spread ones of each if `quick`."""
    found = []
    for family, members in families().items():
        wanted = [one for one in members if not words or any(word in (family, one.name) for word in words)]
        step = max(len(wanted) // QUICK, 1) if quick else 1
        found += wanted[::step][:QUICK] if quick else wanted
    return found


def main() -> None:
    """Fit, print the tables, and write them for the documentation if everything was fitted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*", help="families or names of cases; all without any")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} cases of each family")
    parser.add_argument("--seeds", default="1", help="seeds of the fits, with commas between them")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path, help="a file for every single outcome")
    given = parser.parse_args()
    seeds = [int(seed) for seed in given.seeds.split(",")]
    picked = chosen(given.words, given.quick)
    began = time.perf_counter()
    outcomes = []
    for one in measured([case.name for case in picked], seeds, given.workers):
        outcomes.append(one)
        said = one.failure or f"{one.verdict:10} {one.mean_error:8.3f} {one.sd_error:7.0%} {one.seconds:7.2f} s"
        print(f"{len(outcomes):4} {one.family[:22]:22} {one.name[:44]:44} {one.seed:3} {said}", flush=True)
    if given.json:
        given.json.write_text(json.dumps([asdict(one) for one in outcomes], indent=1), encoding="utf-8")
    whole = not (given.words or given.quick)
    out = OUT if whole else Path(os.devnull)
    columns = ["case", "family", "seed", "worst mean, sd", "worst sd", "row", "raised"]
    statistics = ["statistic", "interval", "fits", "right", "within 0.5", "median error", "of nine in ten"]
    said = f"bbvi {bbvi.__version__}, Python {platform.python_version()}, NumPy {np.__version__}, seeds {given.seeds}."
    if whole:
        table(out / "calibration.md", BY_FAMILY, by_family(outcomes))
        table(out / "calibration_wrong.md", columns, named(outcomes), text=2)
        table(out / "calibration_statistics.md", statistics, by_statistic(outcomes), text=2)
        (out / "calibration_totals.md").write_text(f"{totals(outcomes)}\n\n{said}\n", encoding="utf-8")
    for rows in (by_family(outcomes), named(outcomes), by_statistic(outcomes)):
        print(*("  ".join(row) for row in rows), sep="\n")
    print(totals(outcomes), f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
