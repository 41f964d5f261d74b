"""Bias of the regression control variate when a draw takes part in its own coefficients."""

from __future__ import annotations

from pathlib import Path

import autograd.numpy as np
from _write import table

import bbvi

DRAWS, REPEATS = 10, 20_000
EXACT = np.exp(0.5)


def same_draws(rng: np.random.Generator) -> float:
    """The estimate with coefficients of ordinary least squares on all draws, of d/dm E[exp(u)]."""
    eps = rng.standard_normal(DRAWS)
    features = np.stack([np.ones(DRAWS), eps, eps**2 - 1], axis=1)
    coefficients = np.linalg.lstsq(features, np.exp(eps), rcond=None)[0]
    return np.mean((np.exp(eps) - features @ coefficients) * eps) + coefficients[1]


def make(out: Path) -> None:
    """Write ``bias.md``."""
    rng = np.random.default_rng(1)
    q = bbvi.MeanFieldGaussian(mean=0.0, sd=1.0)
    regression = bbvi.ScoreFunction()

    def other_draws() -> float:
        return bbvi.estimate_gradient(lambda z: np.sum(np.exp(z)), q, regression, DRAWS, rng)[0]

    rows = []
    for label, estimates in (
        ("all draws, its own included", [same_draws(rng) for _ in range(REPEATS)]),
        ("the other draws (bbvi)", [other_draws() for _ in range(REPEATS)]),
    ):
        rows.append((label, f"{np.mean(estimates) - EXACT:+.3f}", f"{np.std(estimates) / REPEATS**0.5:.3f}"))
    table(out / "bias.md", (f"coefficients from, at N = {DRAWS}", "bias", "standard error of the bias"), rows)
