"""Configuration of the documentation (Sphinx)."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

import bbvi
from bbvi import stats

sys.path.insert(0, str(Path(__file__).resolve().parent))
import attributes  # noqa: E402  (these lie beside this file)
import gallery_pages  # noqa: E402
import local_links  # noqa: E402
import printed  # noqa: E402
from gallery_pages import notebooks  # noqa: E402

project = "bbvi"
author = "the bbvi developers"
copyright = f"2026, {author}"
version = release = bbvi.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "_static", "gallery_pages", "gallery/models/grid.md"]
suppress_warnings: list[str] = []

# Markdown: mathematics between dollars, definition lists, and links to headings.
myst_enable_extensions = ["dollarmath", "amsmath", "deflist", "colon_fence"]
myst_heading_anchors = 3

# Single backticks in docstrings name Python objects, linked where they are known.
default_role = "py:obj"
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autosummary_generate = False

html_theme = "furo"
html_title = f"bbvi {release}"
html_static_path = ["_static"]
html_css_files = ["bbvi.css"]
# Each page has a link to its source; and one to edit it, once the package says where that is (Source in setup.cfg).
html_show_sourcelink = True
_homes = dict(entry.split(", ", 1) for entry in metadata("bbvi").get_all("Project-URL") or [])
html_theme_options: dict[str, Any] = {"top_of_page_buttons": ["view", "edit"] if "Source" in _homes else ["view"]}
if "Source" in _homes:
    html_theme_options |= {"source_repository": _homes["Source"], "source_branch": "main", "source_directory": "docs/"}
pygments_style = "friendly"
pygments_dark_style = "github-dark"
copybutton_prompt_text = r"\$ |>>> "
copybutton_prompt_is_regexp = True


def _mathml(latex: str, block: bool, node: nodes.Element) -> str:
    # The converter sets no space between the logarithm and its argument.
    latex = re.sub(r"\\log (?=[a-z0-9\\])(?!\\left)", r"\\log\\, ", latex)
    try:
        return tex2mathml(latex, as_block=block)
    except MathError as error:
        raise ExtensionError(f"{node.source}:{node.line}: {error} in {latex!r}") from error


def _inline(writer: Any, node: nodes.math) -> None:
    writer.body.append(_mathml(node.astext(), False, node))
    raise nodes.SkipNode


def _display(writer: Any, node: nodes.math_block) -> None:
    writer.body.append(writer.starttag(node, "div", CLASS="math notranslate nohighlight"))
    writer.body.append(_mathml(node.astext(), True, node) + "</div>\n")
    raise nodes.SkipNode


class StatsTable(SphinxDirective):
    """``stats-table`` with ``densities`` or ``functions``: what bbvi.stats has, from the module itself."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        rows = _densities() if self.arguments[0] == "densities" else _functions()
        lines = [".. list-table::", "   :widths: 55 45", ""]
        for signature, sentence in rows:
            lines += [f"   * - ``{signature}``", f"     - {sentence}"]
        return self.parse_text_to_nodes("\n".join(["```{eval-rst}", *lines, "```"]))


def _densities() -> Iterator[tuple[str, str]]:
    for name in stats.__all__:
        methods = vars(getattr(stats, name)) if isinstance(getattr(stats, name), stats.Density) else {}
        for method, function in sorted(methods.items()):
            signature, sentence = _described(method, function)
            yield f"{name}.{signature}", sentence


def _functions() -> Iterator[tuple[str, str]]:
    for name in stats.__all__:
        if inspect.isroutine(getattr(stats, name)):
            yield _described(name, getattr(stats, name))


def _described(name: str, function: Any) -> tuple[str, str]:
    """Signature and first sentence; a docstring may begin with the signature, where Python shows none."""
    paragraphs = (inspect.getdoc(function) or "").split("\n\n")
    named = paragraphs[0].startswith(f"{name}(")
    signature = paragraphs.pop(0) if named else f"{name}{inspect.signature(function)}"
    return signature, " ".join("".join(paragraphs[:1]).split())


def _plain_shapes(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """The star of a shape such as (S, *shape) begins no emphasis."""
    lines[:] = [re.sub(r"^( +)\*shape", r"\1\\*shape", line) for line in lines]


def _each_attribute(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = attributes.apart(lines)


def _printed(app: Sphinx, pages: list[Path]) -> list[str]:
    """Run the guide, and have those pages read anew of which something changed."""
    sources = [*Path(bbvi.__file__).parent.rglob("*.py"), Path(printed.__file__)]
    stale = printed.make(pages, _kept(app), sources)
    return [f"guide/{page.stem}" for page in stale]


def _with_prints(app: Sphinx, docname: str, source: list[str]) -> None:
    page = Path(app.srcdir, f"{docname}.md")
    if page.parent.name == "guide":
        source[0] = printed.filled(page, source[0], _kept(app))


def _kept(app: Sphinx) -> Path:
    return Path(app.srcdir, "_build", "printed")


def _bare_fields(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Fields of a named tuple are told by its docstring; by themselves they only say that they are fields."""
    return True if type(obj).__name__ == "_tuplegetter" and obj.__doc__.startswith("Alias for field") else None


def _links_back(app: Sphinx, pagename: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """From a source to the reference: viewcode takes all names of a module to be in bbvi if one of them is."""
    if not pagename.startswith("_modules/bbvi/"):
        return
    module = pagename.removeprefix("_modules/").replace("/", ".")
    # A name is documented where it is defined, in the package around it, or at the top.
    homes = [module, module.rpartition(".")[0], "bbvi"]
    known = {name for name, entry in app.env.get_domain("py").objects.items() if not entry.aliased}  # type: ignore[attr-defined]

    def named(match: re.Match[str]) -> str:
        path = match[1].removeprefix(module.removeprefix("bbvi.") + ".")
        return next((f'#{home}.{path}"' for home in homes if f"{home}.{path}" in known), match[0])

    context["body"] = re.sub(r'#bbvi\.([\w.]+)"', named, context["body"])


def _no_broken_link(app: Sphinx, error: Exception | None) -> None:
    """Fail the build of a site with a link that leads nowhere."""
    links = local_links.broken(Path(app.outdir)) if error is None and app.builder.format == "html" else []
    if links:
        raise ExtensionError("links that lead nowhere:\n  " + "\n  ".join(links))


def setup(app: Sphinx) -> None:
    """Render mathematics as MathML, which browsers show without scripts from another site; make the gallery."""
    app.add_html_math_renderer("mathml", (_inline, None), (_display, None))
    app.add_directive("stats-table", StatsTable)
    app.connect("builder-inited", lambda app: gallery_pages.make())
    docs = Path(__file__).resolve().parent
    app.connect("builder-inited", lambda app: notebooks.write_scripts(docs.parent / "examples", docs / "notebooks"))
    guide = sorted((docs / "guide").glob("*.md"))
    app.connect("env-get-outdated", lambda app, *_: _printed(app, guide))
    app.connect("source-read", _with_prints)
    app.connect("html-page-context", _links_back)
    app.connect("build-finished", _no_broken_link)
    app.connect("autodoc-skip-member", _bare_fields)
    app.connect("autodoc-process-docstring", _plain_shapes)
    # After napoleon, which makes the fields.
    app.connect("autodoc-process-docstring", _each_attribute, priority=900)


html_math_renderer = "mathml"
