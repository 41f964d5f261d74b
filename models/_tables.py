"""Reads the gallery's data files."""

from importlib import resources

import numpy as np


def read_table(name: str) -> dict[str, np.ndarray]:
    """Columns by name of ``data/<name>.csv``, whose first lines, after ``#``, tell the source."""
    text = (resources.files("bbvi.models") / "data" / f"{name}.csv").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    header, rows = lines[0].split(","), lines[1:]
    values = np.array([row.split(",") for row in rows], dtype=float)
    return dict(zip(header, values.T.copy(), strict=True))


def read_arrays(name: str) -> dict[str, np.ndarray]:
    """Arrays by name of ``data/<name>.npz``; where data come from is told by its array ``source``."""
    with (resources.files("bbvi.models") / "data" / f"{name}.npz").open("rb") as file:
        return dict(np.load(file, allow_pickle=False))
