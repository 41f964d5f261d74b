"""Notebooks to take home: of the pages of the gallery, and of the scripts in examples/."""

from __future__ import annotations

import ast
import json
from pathlib import Path

Cell = tuple[str, str]


def notebook(cells: list[Cell]) -> str:
    """A notebook of cells, each ``("markdown" or "code", its text)``, without outputs."""
    made = []
    for number, (kind, text) in enumerate(cells):
        cell = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}, "source": text.strip()}
        made.append(cell if kind == "markdown" else {**cell, "execution_count": None, "outputs": []})
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return json.dumps({"cells": made, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}, indent=1)


def of_model(name: str, title: str, story: str, source: str) -> list[Cell]:
    """The cells of a page of the gallery: its story, its code, and a fit of it in pictures."""
    code = f"## The code\n\nThis is the whole of `bbvi.models.{name}`.\n\n```python\n{source}\n```"
    return [
        ("markdown", f"# {title}\n\n{story}"),
        ("markdown", code),
        ("code", f'import bbvi\nfrom bbvi import models\n\nfit = bbvi.fit(models.load("{name}"), seed=1)\nfit'),
        ("code", f'fit.plot(models.reference("{name}"));'),
        ("code", "fit.to_arviz(chains=4)"),
    ]


def of_script(path: Path) -> list[Cell]:
    """The cells of a script: its docstring, and its parts, where empty lines and definitions divide it."""
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    lines, title = source.splitlines(), (ast.get_docstring(tree) or path.stem)
    body = tree.body[1:] if ast.get_docstring(tree) else tree.body
    starts = [_first_line(node, lines) for node in body]
    cells: list[Cell] = [("markdown", f"# {path.stem}\n\n{title}")]
    begun = starts[0] if starts else 0
    for node, start in zip(body[:-1], starts[1:], strict=True):
        # Two empty lines part what belongs together from the rest.
        if start - (node.end_lineno or start) > 2 and not isinstance(node, (ast.Import, ast.ImportFrom)):
            cells.append(("code", "\n".join(lines[begun - 1 : start - 1])))
            begun = start
    cells.append(("code", "\n".join(lines[begun - 1 :])))
    return cells


def write_scripts(folder: Path, out: Path) -> None:
    """A notebook for each script of a folder."""
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.glob("*.py")):
        (out / f"{path.stem}.ipynb").write_text(notebook(of_script(path)), encoding="utf-8")


def _first_line(node: ast.stmt, lines: list[str]) -> int:
    """Where a statement begins, its decorators and the comments above it included, from 1."""
    line = min([node.lineno, *(item.lineno for item in getattr(node, "decorator_list", []))])
    while line > 1 and lines[line - 2].startswith("#"):
        line -= 1
    return line
