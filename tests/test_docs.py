"""The code in the README and in the documentation runs, page by page, as a reader would run it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from bbvi import models

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "docs"))

import attributes  # noqa: E402
import phone_width  # noqa: E402
import printed  # noqa: E402
from local_links import broken  # noqa: E402

# What the build makes is tried in test_gallery_pages.py.
MADE = (ROOT / "docs" / "gallery" / "models", ROOT / "docs" / "_build")
WRITTEN = [page for page in sorted((ROOT / "docs").rglob("*.md")) if not set(MADE) & set(page.parents)]
PAGES = [ROOT / "README.md", *WRITTEN]


def _blocks(page: Path) -> list[printed.Block]:
    return printed.blocks(page.read_text(encoding="utf-8"))


CASES = [page for page in PAGES if _blocks(page)]


@pytest.mark.parametrize("page", CASES, ids=lambda page: str(page.relative_to(ROOT)))
def test_code_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__page__"}
    for block in _blocks(page):
        # Empty lines in front make a traceback name the line of the page.
        exec(compile("\n" * block.line + block.code, str(page), "exec", dont_inherit=True), names)


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


def test_pages_lead_to_their_source_and_names_have_an_index():
    conf = (ROOT / "docs" / "conf.py").read_text(encoding="utf-8")
    assert "html_show_sourcelink = True" in conf and '"top_of_page_buttons": ["view", "edit"] if' in conf
    assert re.search(r"^Index of names <genindex>$", (ROOT / "docs" / "index.md").read_text(encoding="utf-8"), re.M)


def test_included_files_exist():
    for page in PAGES:
        for target in re.findall(r"```\{(?:literal)?include\} (\S+)", page.read_text(encoding="utf-8")):
            file = (page.parent / target).resolve()
            assert file.exists() or set(MADE) & set(file.parents), f"{page.relative_to(ROOT)}: {target}"


def test_broken_links_of_a_site_are_found(tmp_path):
    (tmp_path / "a.html").write_text('<a href="b.html#here">b</a><a href="https://example.org/c">c</a><p id="top">')
    (tmp_path / "b.html").write_text('<h1 id="here">b</h1><a href="a.html#top">a</a><a href="#here">up</a>')
    assert broken(tmp_path) == []
    (tmp_path / "c.html").write_text('<a href="gone.html">d</a><a href="b.html#gone">e</a><img src="a.html">')
    assert broken(tmp_path) == ["c.html: gone.html", "c.html: b.html#gone"]


@pytest.mark.skipif(phone_width.browser() is None, reason="needs a Chromium")
def test_pages_wider_than_a_phone_are_found(tmp_path, capsys):
    site, wide = tmp_path / "site", '<pre style="width: 900px">x</pre>'
    site.mkdir()
    (site / "own_box.html").write_text(f'<!doctype html><div style="overflow-x: auto">{wide}</div>')
    assert phone_width.main(site) == 0
    (site / "wide.html").write_text(f"<!doctype html>{wide}")
    assert phone_width.main(site) == 1
    assert "wide.html: 9" in capsys.readouterr().err and len(phone_width.too_wide(site)) == 1


def test_what_is_wide_scrolls_in_a_box_of_its_own():
    """Tables and code do by the theme; formulas and pictures by these rules."""
    css = (ROOT / "docs" / "_static" / "bbvi.css").read_text(encoding="utf-8")
    assert re.search(r"div\.math \{[^}]*overflow-x: auto", css)
    assert re.search(r"article img \{[^}]*max-width: 100%", css)


PAGE = """\
# A page

```python
x = 3
print("three", x)
x + 1
_ = x
x + 2; None
```

```python
import bbvi
bbvi.fit(lambda z: -0.5 * z[0]**2, 1, seed=1).plot()
```

- In a list:

  ```python
  x * "long "
  object()
  ```

<!-- not run: it needs what is not there -->
```python
missing()
```

The end.
"""


def test_what_snippets_print_is_shown_below_them(tmp_path):
    page, kept = tmp_path / "page.md", tmp_path / "kept"
    page.write_text(PAGE, encoding="utf-8")
    assert printed.make([page], kept, []) == [page] and printed.make([page], kept, []) == []
    text = printed.filled(page, PAGE, kept)
    assert "```\n\n```{code-block} none\n:class: printed\n\nthree 3\n4\n5\n```\n" in text
    assert "  :class: printed\n\n  'long long long '\n  <object object>\n  ```\n" in text
    assert text.count(":class: printed") == 2 and text.endswith("The end.\n")
    page.write_text(PAGE.replace("x = 3", "x = 4"), encoding="utf-8")
    assert printed.make([page], kept, []) == [page] and "three 4" in printed.filled(page, PAGE, kept)



def test_attributes_that_share_an_entry_get_one_each():
    shared = [":ivar lower, upper: Ends", "    of it.", ":vartype lower, upper: float"]
    lines = ["Text, a: b.", "", *shared, ":ivar x: Else.", ""]
    assert attributes.apart(lines) == [
        "Text, a: b.", "", ":ivar lower: Ends", "    of it.", ":ivar upper: Ends", "    of it.",
        ":vartype lower: float", ":vartype upper: float", ":ivar x: Else.", "",
    ]  # fmt: skip
