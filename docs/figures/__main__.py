"""Compute every picture and table of the documentation: ``python docs/figures [name ...]``."""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path

import matplotlib.pyplot as plt

HERE = Path(__file__).resolve().parent
OUT = HERE.parent / "_static" / "figures"

plt.rcParams |= {
    "figure.figsize": (6.4, 3.6),
    "figure.constrained_layout.use": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    # The same picture gives the same file.
    "svg.hashsalt": "bbvi",
}


def main(names: list[str]) -> None:
    """Each module here has a function ``make(out)`` that writes into a folder."""
    OUT.mkdir(parents=True, exist_ok=True)
    for name in names or sorted(path.stem for path in HERE.glob("[!_]*.py")):
        began = time.perf_counter()
        importlib.import_module(name).make(OUT)
        plt.close("all")
        print(f"{name}: {time.perf_counter() - began:.1f} s")


main(sys.argv[1:])
