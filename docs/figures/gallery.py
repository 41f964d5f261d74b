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
    known = models.reference(name)
    summary = fit.summary().reindex(known.rows)
    error = np.abs(summary["mean"] - known.mean) / known.sd
    ratio = np.abs(summary["sd"] / known.sd - 1)
    return (
        f"`{name}`",
        story,
        str(model.dim),
        fit.verdict,
        f"{error.max():.2f} sd",
        f"{100 * ratio.max():.0f} %",
        f"{fit.seconds:.2f} s",
    )


def make(out: Path) -> None:
    """Write ``gallery.md``."""
    header = ("model", "what it is", "latents", "verdict", "worst mean", "worst sd", "time")
    table(out / "gallery.md", header, [row(name) for name in models.names()])
