"""Pages of the built site that a phone would have to scroll sideways, measured by a Chromium where there is one."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

WIDTH = 390
_NO_PAGES = ("_static", "_modules")
# Each page in a frame as wide as a phone; what scrolls inside a box of its own does not widen the page.
DRIVER = """\
<!doctype html><body><script>
const found = {}, width = %d;
async function measure(page) {
  const frame = document.createElement("iframe");
  frame.style.cssText = `width: ${width}px; height: 800px; border: 0`;
  const loaded = new Promise((done) => { frame.onload = done; });
  frame.src = page;
  document.body.append(frame);
  await loaded;
  found[page] = frame.contentDocument.documentElement.scrollWidth;
  frame.remove();
}
(async () => {
  for (const page of %s) await measure(page);
  const said = document.createElement("pre");
  said.id = "found";
  said.textContent = JSON.stringify(found);
  document.body.append(said);
})();
</script></body>
"""
# A page may look at its neighbours on disk, and the browser at nothing else.
FLAGS = (
    "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync --allow-file-access-from-files --virtual-time-budget=600000 --window-size=1200,900 --dump-dom"
).split()


def browser() -> str | None:
    """The path of a Chromium, or None."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def too_wide(site: Path, width: int = WIDTH) -> list[str]:
    """Pages of a folder of HTML that are wider than that many pixels on a screen of that width; needs a browser."""
    pages = [page for page in sorted(site.rglob("*.html")) if page.relative_to(site).parts[0] not in _NO_PAGES]
    addresses = [page.resolve().as_uri() for page in pages]
    with tempfile.TemporaryDirectory(dir=site.parent) as folder:
        driver = Path(folder, "driver.html").resolve()
        driver.write_text(DRIVER % (width, json.dumps(addresses)), encoding="utf-8")
        command = [str(browser()), *FLAGS, f"--user-data-dir={folder}/profile", driver.as_uri()]
        shown = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    said = re.search(r'<pre id="found">(.*?)</pre>', shown.stdout, re.S)
    if said is None:
        raise RuntimeError(f"the browser did not come to the end of the pages: {shown.stderr[-500:]}")
    found = json.loads(html.unescape(said[1]))
    return [
        f"{page.relative_to(site)}: {found[address]} pixels"
        for page, address in zip(pages, addresses, strict=True)
        if found[address] > width
    ]


def main(site: Path) -> int:
    """Say which pages are too wide; 1 if any is."""
    if browser() is None:
        print("No Chromium here: whether pages fit a phone is not checked")
        return 0
    wide = too_wide(site)
    for page in wide:
        print(f"wider than a phone of {WIDTH}: {page}", file=sys.stderr)
    return int(bool(wide))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
