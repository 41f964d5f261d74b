"""Links of the built site that lead nowhere: Sphinx checks its own references, this checks all that was written."""

from __future__ import annotations

import html
import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote


def broken(site: Path) -> list[str]:
    """Each link between files of a folder of HTML whose file, or whose place in it, does not exist."""
    found = []
    for page in sorted(site.rglob("*.html")):
        if "_static" in page.relative_to(site).parts:
            continue
        for link in re.findall(r'(?:href|src)="([^"]*)"', page.read_text(encoding="utf-8")):
            link = html.unescape(link)
            if re.match(r"[a-z]+:", link):
                continue
            path, _, place = link.partition("#")
            file = (page.parent / unquote(path.partition("?")[0])).resolve() if path else page
            if not file.is_file() or (place and file.suffix == ".html" and unquote(place) not in _places(file)):
                found.append(f"{page.relative_to(site)}: {link}")
    return found


@cache
def _places(file: Path) -> frozenset[str]:
    """What a link into a page may name."""
    return frozenset(map(html.unescape, re.findall(r'(?:id|name)="([^"]+)"', file.read_text(encoding="utf-8"))))
