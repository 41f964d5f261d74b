"""Time and cost, against code by hand where there is any: ``python tests/benchmarks [name ...]``."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import autograd.numpy as np

import bbvi
from bbvi import models
from bbvi.stats import bernoulli, norm

ROWS, COLUMNS = 10_000, 10
Result = tuple[str, str, str]


def median_seconds(function: Callable[[], object], repeats: int) -> float:
    """Median wall-clock time of a call, after one that is not counted."""
    function()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def overhead() -> Iterator[Result]:
    """A whole fit of a large logistic regression against as many gradients and values by hand.

    A Hessian product counts as a gradient.
    """
    rng = np.random.default_rng(1)
    x = rng.standard_normal((ROWS, COLUMNS))
    y = (rng.random(ROWS) < 1 / (1 + np.exp(-x @ rng.standard_normal(COLUMNS)))).astype(float)

    def log_joint(z, x, y):
        return np.sum(norm.logpdf(z.beta, 0, 2)) + np.sum(bernoulli.logpmf_logits(y, np.dot(x, z.beta)))

    def value(beta: np.ndarray) -> np.ndarray:
        logits = beta @ x.T
        return logits @ y - np.logaddexp(0, logits).sum(axis=1) - (beta**2).sum(axis=1) / 8

    def value_and_gradient(beta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        probability = 1 / (1 + np.exp(-beta @ x.T))
        return value(beta), (y - probability) @ x - beta / 4

    model = bbvi.Model(log_joint, latents={"beta": COLUMNS}, data={"x": x, "y": y})
    draws = rng.standard_normal((32, COLUMNS)) / 30
    per_value = median_seconds(lambda: value(draws), 10) / len(draws)
    per_gradient = median_seconds(lambda: value_and_gradient(draws), 10) / len(draws)
    seconds = median_seconds(lambda: bbvi.fit(model, seed=1), 3)
    fit = bbvi.fit(model, seed=1)
    gradients, values = fit.gradient_evaluations, max(fit.evaluations - fit.gradient_evaluations, 0)
    ratio = seconds / (gradients * per_gradient + values * per_value)
    cost = f"{seconds:.2f} s, {gradients} + {values}"
    yield f"logistic regression, {ROWS} x {COLUMNS}", cost, f"{ratio:.2f} x by hand"


def small_model() -> Iterator[Result]:
    """A warm fit of eight schools."""
    model = models.load("eight_schools")
    seconds = median_seconds(lambda: bbvi.fit(model, seed=1), 10)
    fit = bbvi.fit(model, seed=1)
    yield "eight schools, warm", f"{1000 * seconds:.0f} ms", f"{fit.gradient_evaluations} gradients"


def whole_process() -> Iterator[Result]:
    """From `python` to the printed summary, and what importing takes of that."""
    script = "import bbvi; from bbvi import models; print(bbvi.fit(models.load('eight_schools'), seed=1))"
    for name, code in (("import bbvi", "import bbvi"), ("eight schools, whole process", script)):
        bare = median_seconds(lambda: _python("pass"), 3)
        seconds = median_seconds(lambda code=code: _python(code), 3)
        yield name, f"{seconds:.2f} s", f"{seconds / bare:.0f} x an empty process"


def values_only() -> Iterator[Result]:
    """The error that 5,000 evaluations leave without gradients."""
    model, known = models.load("eight_schools"), models.reference("eight_schools")
    fit = bbvi.fit(model, estimator="score", max_evaluations=5000, seed=1)
    summary = fit.summary().reindex(known.rows)
    error = np.max(np.abs(summary["mean"] - known.mean) / known.sd)
    yield "eight schools, values only", f"{fit.evaluations} evaluations", f"worst mean off by {error:.2f} sd"


def _python(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


BENCHMARKS = {function.__name__: function for function in (overhead, small_model, whole_process, values_only)}


def main(names: list[str]) -> None:
    """Run the benchmarks of these names, or all."""
    for name in names or BENCHMARKS:
        for row in BENCHMARKS[name]():
            print("{:<36}{:<32}{}".format(*row), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
