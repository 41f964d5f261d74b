"""The quickstart: its printed summary and the effects of the eight schools."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from _write import picture

import bbvi
from bbvi import models


def make(out: Path) -> None:
    """Write ``quickstart.txt`` and ``eight_schools.svg``."""
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
    axes.legend(frameon=False, loc="upper right")
    picture(out / "eight_schools.svg", figure)
