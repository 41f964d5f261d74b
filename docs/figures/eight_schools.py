"""Eight schools: what the README and the quickstart print, and a picture of the effects."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from _write import picture

import bbvi
from bbvi import models

README = Path(__file__).resolve().parents[2] / "README.md"
# The first program of the README, and what it prints, which stands in the block after it.
FIRST_FIT = re.compile(r"```python\n(?P<code>.*?)```\n+```text\n(?P<printed>.*?)```", re.DOTALL)


def printed_by_readme() -> None:
    """Run the first program of the README and write what it prints into the block after it."""
    text = README.read_text(encoding="utf-8")
    found = FIRST_FIT.search(text)
    if found is None:
        raise ValueError(f"{README}: expected a program and a block of what it prints")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(found["code"], str(README), "exec"), {})
    start, end = found.span("printed")
    README.write_text(text[:start] + printed.getvalue() + text[end:], encoding="utf-8")


def make(out: Path) -> None:
    """Write ``quickstart.txt``, ``eight_schools.svg``, ``fit.svg`` and the output in the README."""
    printed_by_readme()
    model = models.load("eight_schools")
    fit = bbvi.fit(model, seed=1)
    (out / "quickstart.txt").write_text(f"{fit}\n", encoding="utf-8")

    schools = model.coords["school"]
    summary = fit.summary().loc[[f"theta[{school}]" for school in schools]]
    place = np.arange(len(schools))
    figure, axes = plt.subplots()
    axes.plot(model.data["y"], place, "o", markerfacecolor="white", color="0.5", label="reported effect")
    axes.hlines(place, summary["eti_lb"], summary["eti_ub"], color="C0", linewidth=2)
    axes.plot(summary["mean"], place, "o", color="C0", label="posterior mean, 89 % interval")
    axes.set(yticks=place, yticklabels=schools, xlabel="effect of coaching (points)", ylabel="school")
    axes.invert_yaxis()
    axes.legend(frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    picture(out / "eight_schools.svg", figure)
    picture(out / "fit.svg", fit.plot())
