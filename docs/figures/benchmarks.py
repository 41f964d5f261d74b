"""The benchmarks as a table."""

from __future__ import annotations

import runpy
from pathlib import Path

from _write import table

BENCHMARKS = Path(__file__).resolve().parents[2] / "tests" / "benchmarks" / "__main__.py"


def make(out: Path) -> None:
    """Write ``benchmarks.md``."""
    measured = runpy.run_path(str(BENCHMARKS), run_name="benchmarks")["BENCHMARKS"].values()
    rows = [row for benchmark in measured for row in benchmark()]
    table(out / "benchmarks.md", ("what", "cost", "compared"), rows, text=3)
