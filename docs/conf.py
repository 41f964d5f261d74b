"""Configuration of the documentation (Sphinx)."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

import bbvi

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
exclude_patterns = ["_build", "_static"]
suppress_warnings: list[str] = []

# Markdown: mathematics between dollars, definition lists, and links to headings.
myst_enable_extensions = ["dollarmath", "amsmath", "deflist", "colon_fence"]
myst_heading_anchors = 3

# Single backticks in docstrings name Python objects, linked where they are known.
default_role = "py:obj"
napoleon_google_docstring = False
napoleon_use_rtype = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autosummary_generate = False

html_theme = "furo"
html_title = "bbvi"
html_static_path = ["_static"]
html_css_files = ["bbvi.css"]
html_show_sourcelink = False
pygments_style = "friendly"
pygments_dark_style = "github-dark"
copybutton_prompt_text = r"\$ |>>> "
copybutton_prompt_is_regexp = True


def _mathml(latex: str, block: bool, node: nodes.Element) -> str:
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


def setup(app: Sphinx) -> None:
    """Render mathematics as MathML, which browsers show without scripts from another site."""
    app.add_html_math_renderer("mathml", (_inline, None), (_display, None))


html_math_renderer = "mathml"
