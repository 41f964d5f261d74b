"""What is in the gallery: a line for each model."""

from __future__ import annotations

from pathlib import Path

from _write import table

from bbvi import models


def row(name: str) -> tuple[str, ...]:
    """Name, story, and number of unconstrained latents."""
    return f"`{name}`", models.summary(name).rstrip("."), str(models.load(name).dim)


def make(out: Path) -> None:
    """Write ``gallery.md``."""
    table(out / "gallery.md", ("model", "what it is", "latents"), map(row, models.names()), text=2)
