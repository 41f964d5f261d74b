"""The gallery of the documentation: a page for each model of ``bbvi.models``, made when the site is built.

Every model is fitted and drawn, two at a time, into ``docs/gallery/models``. What has been made is kept until bbvi, the
model or these pages change.
"""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import matplotlib

from bbvi import models

from . import page
from .stories import groups

DOCS = Path(__file__).resolve().parent.parent
OUT = DOCS / "gallery" / "models"
CARD = """\
:::{{container}} card
[![{title}](models/{name}.png)](models/{name}.md)

**[{title}](models/{name}.md)** {subtitle}
:::
"""


def make(out: Path = OUT) -> None:
    """Write the pages that are missing or out of date, remove those of models that are gone, and the index's grid."""
    out.mkdir(parents=True, exist_ok=True)
    names = models.names()
    for path in out.iterdir():
        if path.stem.removesuffix("_marginals") not in [*names, "grid"]:
            path.unlink()
    keys = {name: key(name) for name in names}
    stale = [name for name in names if _kept(out / f"{name}.key") != keys[name]]
    workers = min(2, os.cpu_count() or 1)
    spawn = get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=matplotlib.use, initargs=("Agg",)) as pool:
        for name, _ in zip(stale, pool.map(page.write, stale, [out] * len(stale)), strict=True):
            (out / f"{name}.key").write_text(keys[name], encoding="utf-8")
    (out / "grid.md").write_text(grid(), encoding="utf-8")


def grid() -> str:
    """The index: a heading for each group, and a card with a picture for each model."""
    parts = []
    for group, names in groups().items():
        cards = "".join(CARD.format(name=name, title=page.title(name), subtitle=page.subtitle(name)) for name in names)
        parts.append(f"## {group}\n\n::::{{container}} cards models\n{cards}::::\n")
    listed = "\n".join(f"models/{name}" for names in groups().values() for name in names)
    return "\n".join(parts) + f"\n```{{toctree}}\n:hidden:\n\n{listed}\n```\n"


def key(name: str) -> str:
    """A digest of everything that a page is made from."""
    package = Path(page.bbvi.__file__).parent
    sources = [*package.rglob("*.py"), *Path(__file__).parent.rglob("*.py"), *Path(__file__).parent.glob("*.toml")]
    sources += [page.SOURCES / f"{name}.py", page.SOURCES / "references" / f"{name}.json"]
    sources += page.SOURCES.glob("data/*.*")
    digest = hashlib.sha256()
    for path in sorted(sources):
        if path.exists():
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _kept(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""
