"""Variance of the gradient of an ELBO against the number of draws, for every estimator."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
from _write import picture

import bbvi
from bbvi import models

CONTROL_VARIATES = ("none", "leave-one-out", "optimal", "regression")


def make(out: Path) -> None:
    """Write ``estimators.svg``."""
    model = models.load("eight_schools")
    q = bbvi.fit(model, seed=1).approximation
    score = [bbvi.ScoreFunction(control_variate=name) for name in CONTROL_VARIATES]
    table = bbvi.compare_estimators(
        model, q, [*score, bbvi.Pathwise()], draws=(10, 30, 100, 300, 1000), repeats=50, seed=1
    )
    total = table.groupby(["draws", "estimator"], sort=False)["variance"].sum().unstack()
    names = [f"score, {name}" for name in CONTROL_VARIATES] + ["pathwise"]
    figure, axes = plt.subplots()
    for name, values, marker in zip(names, total.to_numpy().T, "ovs^D", strict=True):
        axes.loglog(total.index, values, marker=marker, label=name)
    axes.set(xlabel="draws", ylabel="total variance", title="gradient of the ELBO of eight schools")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    picture(out / "estimators.svg", figure)
