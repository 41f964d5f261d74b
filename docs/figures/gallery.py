"""Every model of the gallery against its reference posterior."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from _write import table

import bbvi
from bbvi import models


def row(name: str) -> tuple[str, ...]:
    """Name, story, latents, verdict, and the worst error of a mean and of a sd."""
    model = models.load(name)
    fit = bbvi.fit(model, seed=1)
    story = models.summary(name).partition(": ")[0].rstrip(".")
    try:
        known = models.reference(name)
    except ValueError:
        return f"`{name}`", story, str(model.dim), fit.verdict, "no reference", ""
    summary = fit.summary().loc[known.rows]
    error = np.max(np.abs(summary["mean"] - known.mean) / known.sd)
    ratio = np.max(np.abs(summary["sd"] / known.sd - 1))
    return f"`{name}`", story, str(model.dim), fit.verdict, f"{error:.2f} sd", f"{100 * ratio:.0f} %"


def make(out: Path) -> None:
    """Write ``gallery.md``."""
    header = ("model", "what it is", "latents", "verdict", "worst mean", "worst sd")
    table(out / "gallery.md", header, [row(name) for name in models.names()], text=2)
