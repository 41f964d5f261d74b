"""The page of one model: its story and mathematics from its docstring, its code, and a fit of it in pictures."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import textwrap
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import bbvi
from bbvi import models
from bbvi.output.drawing import STYLE
from bbvi.output.plots import plot_marginals

from . import notebooks, published
from .equations import latex
from .stories import story

SEED = 1
# More rows than these are left to the model's own picture.
MARGINALS = 12
SOURCES = Path(models.__file__).parent
PAGE = """\
# {title}

{lede}

{{download}}`This page as a notebook <{name}.ipynb>`

```{{figure}} {name}.svg
:alt: {caption}

{caption}
```

{story}

## The code

This is the whole of `bbvi.models.{name}`, with {dim}; copy it and put your own data in.

```{{literalinclude}} {source}
:language: python
:lines: {first_line}-
```

## The fit

```python
import bbvi
from bbvi import models

fit = bbvi.fit(models.load("{name}"), seed={seed})
print(fit)
```

```{{literalinclude}} {name}.txt
:language: none
```

```{{figure}} {name}_marginals.svg
:alt: Marginal posteriors of {name}

{marginals_caption}
```

{agreement}
{published}"""


def write(name: str, out: Path) -> None:
    """Fit a model and write its page, its pictures and a small one for the index into a folder."""
    model = models.load(name)
    fit = bbvi.fit(model, seed=SEED)
    known = models.reference(name) if _has_reference(name) else None
    own, rows = story(name), marginal_rows(fit)
    with plt.rc_context(STYLE | {"svg.hashsalt": "bbvi"}):
        figure = plt.figure(figsize=(7, 3.8), layout="constrained")
        own(fit, figure)
        figure.savefig(out / f"{name}.svg", metadata={"Date": None})
        # Smaller, so that letters can be read on the card.
        figure.set_size_inches(4.6, 2.7)
        figure.savefig(out / f"{name}.png", dpi=130)
        plot_marginals(fit, rows, known).savefig(out / f"{name}_marginals.svg", metadata={"Date": None})
        plt.close("all")
    (out / f"{name}.txt").write_text(f"{fit}\n", encoding="utf-8")
    source = SOURCES / f"{name}.py"
    text = PAGE.format(
        name=name,
        title=title(name),
        lede=subtitle(name),
        caption=" ".join((inspect.getdoc(own) or "").split()),
        story=in_markdown(inspect.getdoc(importlib.import_module(f"bbvi.models.{name}")) or ""),
        dim="one unconstrained latent" if model.dim == 1 else f"{model.dim} unconstrained latents",
        source=Path("..", "..", "..", "models", source.name).as_posix(),
        first_line=_first_statement(source),
        seed=SEED,
        marginals_caption=_marginals_caption(fit, rows, known),
        agreement="" if known is None else agreement(fit, known),
        published=published.section(fit, name),
    )
    (out / f"{name}.md").write_text(text, encoding="utf-8")
    told = f"{subtitle(name)}\n\n{in_markdown(inspect.getdoc(importlib.import_module(f'bbvi.models.{name}')) or '')}"
    code = "\n".join(source.read_text(encoding="utf-8").splitlines()[_first_statement(source) - 1 :])
    cells = notebooks.of_model(name, title(name), re.sub(r"\[(`\w+`)\]\(\w+\.md\)", r"\1", told), code)
    (out / f"{name}.ipynb").write_text(notebooks.notebook(cells), encoding="utf-8")


def title(name: str) -> str:
    """The first line of the docstring up to its colon."""
    return models.summary(name).partition(":")[0].rstrip(".")


def subtitle(name: str) -> str:
    """What the first line of the docstring says after its colon, or nothing."""
    rest = models.summary(name).partition(":")[2].strip()
    return rest[:1].upper() + rest[1:]


def in_markdown(docstring: str) -> str:
    """The docstring below its first line: headings where its parts begin, its equations as mathematics."""
    body = docstring.partition("\n")[2].strip()
    body = re.sub(r"::\n\n((?: {4}.*\n|\n)+)", _equations, body + "\n")
    body = re.sub(r"^Model\b", "## The model\n\nThe model", body, flags=re.M).replace("The model:\n", "")
    body = re.sub(r"^What to look for: (.)", lambda m: f"## What to look for\n\n{m[1].upper()}", body, flags=re.M)
    return re.sub(r"``(\w+)``", lambda m: f"[`{m[1]}`]({m[1]}.md)" if m[1] in models.names() else m[0], body)


def marginal_rows(fit: bbvi.Fit) -> list[str]:
    """Labels of the rows to draw: whole latents and derived quantities, as many as there is room for."""
    blocks: dict[str, list[str]] = {}
    for row in fit.rows():
        # Entries that do not vary, such as the corner of a Cholesky factor, have no density.
        if row.sd > 1e-9 * abs(row.mean):
            blocks.setdefault(row.label.partition("[")[0], []).append(row.label)
    chosen: list[str] = []
    for block in blocks.values():
        if len(chosen) + len(block) <= MARGINALS:
            chosen += block
    return chosen or next(iter(blocks.values()))[:MARGINALS]


def agreement(fit: bbvi.Fit, known: models.Reference) -> str:
    """How far the fit is from the reference posterior, in a sentence."""
    summary = fit.summary().loc[known.rows]
    mean = np.abs(summary["mean"].to_numpy(dtype=float) - known.mean) / known.sd
    sd = np.abs(summary["sd"].to_numpy(dtype=float) / known.sd - 1)
    worst = known.rows[int(mean.argmax())], known.rows[int(sd.argmax())]
    return (
        f"Against the reference posterior ({_provenance(known.provenance)}), the worst of {len(mean)} means is off by"
        f" {mean.max():.2f} sd (`{worst[0]}`) and the worst sd by {100 * sd.max():.0f} % (`{worst[1]}`)."
        " The [scoreboard](../../scoreboard.md) has all models.\n"
    )


def _provenance(made: dict[str, object]) -> str:
    if "draws" not in made:
        return str(made["method"])
    return f"{made['method']} by {made['package']} {made['version']}, {made['draws']:,} draws"


def _marginals_caption(fit: bbvi.Fit, rows: list[str], known: models.Reference | None) -> str:
    of = "Marginal posteriors" if len(rows) == len(fit.rows()) else f"Marginal posteriors of {len(rows)} quantities"
    compared = "mean field alone and the corrected fit"
    return f"{of}: {compared}{'' if known is None else ', and the mean and 90 % interval of the reference'}."


def _has_reference(name: str) -> bool:
    return (SOURCES / "references" / f"{name}.json").exists()


def _equations(match: re.Match[str]) -> str:
    return f":\n\n```{{math}}\n{latex(textwrap.dedent(match[1]).strip())}\n```\n\n"


def _first_statement(source: Path) -> int:
    """The line on which the code begins, after the docstring."""
    return ast.parse(source.read_text(encoding="utf-8")).body[1].lineno
