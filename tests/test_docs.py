"""The code in the README and in the documentation runs, page by page, as a reader would run it."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from bbvi import models

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# A block is left out where a comment above it says so: <!-- not run: the reason -->
BLOCK = re.compile(r"(?P<skip><!-- not run: [^>]+ -->\n)?^ *```python\n(?P<code>.*?)^ *```", re.M | re.S)


def _blocks(page: Path) -> list[tuple[int, str]]:
    """Line number and code of each block that is to be run."""
    text = page.read_text(encoding="utf-8")
    return [
        (text.count("\n", 0, match.start("code")), textwrap.dedent(match["code"]))
        for match in BLOCK.finditer(text)
        if not match["skip"]
    ]


CASES = [page for page in PAGES if _blocks(page)]


@pytest.mark.parametrize("page", CASES, ids=lambda page: str(page.relative_to(ROOT)))
def test_code_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__page__"}
    for line, code in _blocks(page):
        # Empty lines in front make a traceback name the line of the page.
        exec(compile("\n" * line + code, str(page), "exec"), names)


def test_there_is_code_to_run():
    assert {page.name for page in CASES} >= {"README.md", "quickstart.md", "log-joint.md", "extending.md"}


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)}: {target}"


@pytest.mark.parametrize("table", ["gallery.md", "scoreboard.md"])
def test_tables_have_every_model_of_the_gallery(table):
    text = (ROOT / "docs" / "_static" / "figures" / table).read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", text, re.M) == models.names()


def test_readme_shows_what_its_first_program_prints():
    text = PAGES[0].read_text(encoding="utf-8")
    assert "```text\nbbvi fit: converged, reliable\n" in text


def test_included_files_exist():
    for page in PAGES:
        for target in re.findall(r"```\{(?:literal)?include\} (\S+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)}: {target}"
