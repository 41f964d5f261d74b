"""The code in the README and in the documentation runs, page by page, as a reader would run it."""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path

import pytest

from bbvi import models

ROOT = Path(__file__).resolve().parent.parent
# What the build makes is tried in test_gallery_pages.py.
MADE = (ROOT / "docs" / "gallery" / "models", ROOT / "docs" / "_build")
WRITTEN = [page for page in sorted((ROOT / "docs").rglob("*.md")) if not set(MADE) & set(page.parents)]
PAGES = [ROOT / "README.md", *WRITTEN]
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
        exec(compile("\n" * line + code, str(page), "exec", dont_inherit=True), names)


def test_there_is_code_to_run():
    assert {page.name for page in CASES} >= {"README.md", "quickstart.md", "log-joint.md", "extending.md"}


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
            file = (page.parent / target).resolve()
            made = set(MADE) & set(file.parents) and file.stem in models.names()
            assert made or file.exists(), f"{page.relative_to(ROOT)}: {target}"


def test_scoreboard_has_every_model_of_the_gallery():
    text = (ROOT / "docs" / "_static" / "figures" / "scoreboard.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", text, re.M) == models.names()


def test_readme_shows_what_its_first_program_prints():
    text = PAGES[0].read_text(encoding="utf-8")
    assert "```text\nbbvi fit: converged, reliable\n" in text


def test_readme_has_the_totals_of_the_scoreboard():
    totals = (ROOT / "docs" / "_static" / "figures" / "scoreboard_totals.md").read_text(encoding="utf-8")
    between = re.search(r"<!-- scoreboard -->\n(.*?)\n<!-- end of scoreboard -->", PAGES[0].read_text("utf-8"), re.S)
    assert between is not None and totals.startswith(between[1])


def test_included_files_exist():
    for page in PAGES:
        for target in re.findall(r"```\{(?:literal)?include\} (\S+)", page.read_text(encoding="utf-8")):
            file = (page.parent / target).resolve()
            assert file.exists() or set(MADE) & set(file.parents), f"{page.relative_to(ROOT)}: {target}"


def test_broken_links_of_a_site_are_found(tmp_path):
    sys.path.insert(0, str(ROOT / "docs"))
    from local_links import broken

    (tmp_path / "a.html").write_text('<a href="b.html#here">b</a><a href="https://example.org/c">c</a><p id="top">')
    (tmp_path / "b.html").write_text('<h1 id="here">b</h1><a href="a.html#top">a</a><a href="#here">up</a>')
    assert broken(tmp_path) == []
    (tmp_path / "c.html").write_text('<a href="gone.html">d</a><a href="b.html#gone">e</a><img src="a.html">')
    assert broken(tmp_path) == ["c.html: gone.html", "c.html: b.html#gone"]
