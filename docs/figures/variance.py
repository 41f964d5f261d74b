"""Variance of the estimators: for E[u^2] under N(2, 1), worked out by hand too; where each wins; and by dimension."""

from __future__ import annotations

from pathlib import Path

import autograd.numpy as np
from _write import table

import bbvi

DRAWS, REPEATS = 20, 5_000


def cost(z):
    """u^2."""
    return np.sum(z**2)


# Under N(0.3, 1): a smooth cost, where the gradient says more, and two with gradients far larger than their values.
COSTS = {
    "$u^2$": lambda z: np.sum(z**2),
    "$\\sin 20 u$": lambda z: np.sum(np.sin(20 * z)),
    "$\\tanh 50 (u - 0.3)$": lambda z: np.sum(np.tanh(50 * (z - 0.3))),
}
DIMENSIONS = (4, 16, 64)


def spread(function, q, estimator, rng, repeats=2_000):
    """Variance of one coordinate of the mean's gradient, per draw."""
    gradients = [bbvi.estimate_gradient(function, q, estimator, DRAWS, rng)[0] for _ in range(repeats)]
    return f"{DRAWS * np.var(gradients):.2g}"


def make(out: Path) -> None:
    """Write ``variance.md``, ``variance_costs.md`` and ``variance_dimension.md``."""
    rng = np.random.default_rng(2)
    plain, pathwise = bbvi.ScoreFunction(control_variate="none"), bbvi.Pathwise()
    q = bbvi.MeanFieldGaussian(mean=0.3, sd=1.0)
    rows = [(name, spread(f, q, plain, rng), spread(f, q, pathwise, rng)) for name, f in COSTS.items()]
    table(out / "variance_costs.md", ("cost", "score, no control variate", "pathwise"), rows)
    rows = []
    for dim in DIMENSIONS:
        q = bbvi.MeanFieldGaussian(mean=np.zeros(dim), sd=np.ones(dim))
        rows.append((dim, *(spread(lambda z: np.sum(1 + z), q, e, rng, 500) for e in (plain, pathwise))))
    table(out / "variance_dimension.md", ("D", "score, no control variate", "pathwise"), rows)
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
