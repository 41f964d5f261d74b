"""What the snippets of the guide print: run page by page when the site is built, and shown below each."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import io
import json
import os
import re
import sys
import tempfile
import textwrap
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd

# A block is left out where a comment above it says so: <!-- not run: the reason -->
BLOCK = re.compile(
    r"(?P<skip><!-- not run: [^>]+ -->\n)?^(?P<indent> *)```python\n(?P<code>.*?)^ *```\n?", re.M | re.S
)
# Lines that are shown, and characters of a line of a table.
MOST, WIDTH = 40, 120


class Block(NamedTuple):
    """A block that is run: the line before its code, the code, where it ends in the text, and its indentation."""

    line: int
    code: str
    end: int
    indent: str


def blocks(text: str) -> list[Block]:
    """The blocks of a page that are run, in their order."""
    return [
        Block(text.count("\n", 0, match.start("code")), textwrap.dedent(match["code"]), match.end(), match["indent"])
        for match in BLOCK.finditer(text)
        if not match["skip"]
    ]


def make(pages: Iterable[Path], kept: Path, sources: Iterable[Path]) -> list[Path]:
    """Run the pages that changed since they were last run, two at a time; which these are."""
    kept.mkdir(parents=True, exist_ok=True)
    package = _digest(sources)
    keys = {page: _digest([page], package) for page in pages}
    stale = [page for page in keys if _known(page, kept).get("key") != keys[page]]
    spawn = get_context("spawn")
    with ProcessPoolExecutor(min(2, os.cpu_count() or 1), mp_context=spawn, max_tasks_per_child=1) as pool:
        for page, shown in zip(stale, pool.map(run, stale), strict=True):
            record = json.dumps({"key": keys[page], "shown": shown}, indent=1)
            (kept / f"{page.stem}.json").write_text(record, encoding="utf-8")
    return stale


def filled(page: Path, text: str, kept: Path) -> str:
    """The text of a page with what its blocks print below each."""
    shown, parts, begun = _known(page, kept).get("shown", []), [], 0
    for block, output in zip(blocks(text), shown, strict=True):
        parts.append(text[begun : block.end])
        begun = block.end
        if output:
            parts.append(textwrap.indent(f"\n```{{code-block}} none\n:class: printed\n\n{output}\n```\n", block.indent))
    return "".join([*parts, text[begun:]])


def run(page: Path) -> list[str]:
    """What each block of a page prints, and the values of its expressions, as in an interactive session."""
    matplotlib.use("Agg")
    names: dict[str, Any] = {"__name__": "__page__"}
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        return [_output(block, page, names) for block in blocks(page.read_text(encoding="utf-8"))]


def _output(block: Block, page: Path, names: dict[str, Any]) -> str:
    # Empty lines in front make a traceback name the line of the page.
    tree = ast.parse("\n" * block.line + block.code, str(page))
    out, before = io.StringIO(), sys.displayhook
    sys.displayhook = _display
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()), _wide():
            for statement in tree.body:
                exec(compile(ast.Interactive([statement]), str(page), "single", dont_inherit=True), names)
    finally:
        sys.displayhook = before
    return _cut(re.sub(r" at 0x[0-9a-f]+", "", out.getvalue()).rstrip())


def _display(value: Any) -> None:
    if value is not None and not _is_picture(value):
        print(repr(value))


def _is_picture(value: Any) -> bool:
    first = value.flat[0] if isinstance(value, np.ndarray) and value.dtype == object and value.size else value
    return any(kind.__module__.startswith("matplotlib") for kind in type(first).__mro__)


@contextlib.contextmanager
def _wide() -> Iterator[None]:
    """Tables with all their columns beside each other."""
    with pd.option_context("display.width", WIDTH, "display.max_columns", 20, "display.precision", 4):
        yield


def _cut(text: str) -> str:
    lines = text.splitlines()
    return "\n".join(lines if len(lines) <= MOST else [*lines[: MOST - 1], "..."])


def _known(page: Path, kept: Path) -> dict[str, Any]:
    path = kept / f"{page.stem}.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def _digest(paths: Iterable[Path], begun: str = "") -> str:
    digest = hashlib.sha256(begun.encode())
    for path in sorted(paths):
        digest.update(path.read_bytes())
    return digest.hexdigest()
