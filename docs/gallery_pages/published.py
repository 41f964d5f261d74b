"""Figures that others have published for the gallery's models, beside those of a fit."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np

import bbvi

FILE = Path(__file__).with_name("published.toml")
SECTION = """
## Published figures

{source}. {note}

| quantity | published {centre} | {spread} | bbvi mean | sd |
| --- | ---: | ---: | ---: | ---: |
{rows}
"""


def figures() -> dict[str, dict[str, Any]]:
    """What ``published.toml`` says, by model: source, note, and rows; `ours` is an expression in a draw ``z``."""
    return tomllib.loads(FILE.read_text(encoding="utf-8"))


def ours(fit: bbvi.Fit, expression: str) -> tuple[float, float]:
    """Posterior mean and sd of an expression in a draw ``z``."""
    function = eval(f"lambda z: {expression}", {"np": np})
    mean = float(fit.expect(function).value)
    return mean, float(fit.expect(lambda z: (function(z) - mean) ** 2).value) ** 0.5


def section(fit: bbvi.Fit, name: str) -> str:
    """The table of a model in Markdown, or nothing where nothing is published that compares."""
    if name not in figures():
        return ""
    entry = figures()[name]
    return SECTION.format(
        source=entry["source"],
        note=entry["note"],
        centre=entry.get("centre", "mean"),
        spread=entry.get("spread", "sd"),
        rows="\n".join(_row(fit, row) for row in entry["rows"]),
    )


def _row(fit: bbvi.Fit, row: dict[str, str]) -> str:
    """Ours in as many decimals as were published."""
    mean, sd = ours(fit, row["ours"])
    cells = [row["quantity"], row["mean"], row.get("sd", ""), f"{mean:.{_decimals(row['mean'])}f}"]
    cells.append(f"{sd:.{max(_decimals(row.get('sd', row['mean'])), 2)}f}")
    return "| " + " | ".join(cells) + " |"


def _decimals(published: str) -> int:
    return len(published.partition(".")[2])
