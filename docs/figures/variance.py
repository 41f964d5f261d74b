"""Variance of each estimator for E[u^2] under N(2, 1), where it can be worked out by hand."""

from __future__ import annotations

from pathlib import Path

import autograd.numpy as np
from _write import table

import bbvi

DRAWS, REPEATS = 20, 5_000


def cost(z):
    """u^2."""
    return np.sum(z**2)


def make(out: Path) -> None:
    """Write ``variance.md``."""
    rng = np.random.default_rng(1)
    q = bbvi.MeanFieldGaussian(mean=2.0, sd=1.0)
    named = {
        "score, no control variate": bbvi.ScoreFunction(control_variate="none"),
        "score, leave-one-out": bbvi.ScoreFunction(control_variate="leave-one-out"),
        "score, optimal": bbvi.ScoreFunction(control_variate="optimal"),
        "score, regression": bbvi.ScoreFunction(),
        "pathwise": bbvi.Pathwise(),
    }
    rows = []
    for label, estimator in named.items():
        gradients = [bbvi.estimate_gradient(cost, q, estimator, DRAWS, rng)[0] for _ in range(REPEATS)]
        rows.append((label, f"{np.mean(gradients):.2f}", f"{DRAWS * np.var(gradients):.2g}"))
    header = ("estimator", "mean (exact: 4)", f"variance per draw, at N = {DRAWS}")
    table(out / "variance.md", header, rows)
