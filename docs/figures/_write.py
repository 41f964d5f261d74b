"""Markdown tables, pictures and measured sentences, written the same way everywhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

README = Path(__file__).resolve().parents[2] / "README.md"


def table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]], text: int = 1) -> None:
    """A Markdown table; the first columns, as many as `text`, are words, the others right-aligned figures."""
    rule = ["---"] * text + ["---:"] * (len(header) - text)
    lines = [_row(header), _row(rule), *map(_row, rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def picture(path: Path, figure: Figure) -> None:
    """An SVG without a date, so that it changes only when the picture does."""
    figure.savefig(path, metadata={"Date": None})


def into_readme(name: str, text: str, readme: Path = README) -> None:
    """Put measured text between the comments ``<!-- name -->`` and ``<!-- end of name -->`` of the README."""
    before, start, rest = readme.read_text(encoding="utf-8").partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition(f"<!-- end of {name} -->")
    if not end:
        raise ValueError(f"{readme}: expected the comments around {name}")
    readme.write_text(f"{before}{start}{text.strip()}\n{end}{after}", encoding="utf-8")


def _row(cells: Iterable[Any]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"
