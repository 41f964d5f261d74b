"""Posteriors from few values of a log joint, side by side with PyVBMC (Acerbi 2018, 2020), each by its defaults.

``python tests/benchmarks/from_values.py --pyvbmc PYTHON [--out FILE]``, where PYTHON has pyvbmc.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SEEDS = (1, 2, 3)
# Draws by which references are weighed, and their degrees of freedom.
REFERENCE, DEGREES = 400_000, 6


class Case(NamedTuple):
    """A log joint density of D unconstrained latents, and the sds of its prior, about 0."""

    log_joint: Callable[[Any], float]
    prior: np.ndarray


def _normal(x: Any, sd: Any) -> Any:
    return -0.5 * (x / sd) ** 2 - np.log(sd) - 0.5 * np.log(2 * np.pi)


def level_and_noise() -> Case:
    """The mean and the log sd of twelve values."""
    y = np.random.default_rng(1).normal(2.0, 1.5, 12)

    def log_joint(z: Any) -> float:
        return float(np.sum(_normal(z, 2.0)) + np.sum(_normal(y - z[0], np.exp(z[1]))))

    return Case(log_joint, np.full(2, 2.0))


def counts() -> Case:
    """A Poisson regression: an intercept and two slopes."""
    rng = np.random.default_rng(2)
    x = np.column_stack([np.ones(30), rng.standard_normal((30, 2))])
    y = rng.poisson(np.exp(x @ [1.0, 0.5, -0.4]))

    def log_joint(z: Any) -> float:
        return float(np.sum(_normal(z, 2.0)) + np.sum(y * (x @ z) - np.exp(x @ z)))

    return Case(log_joint, np.full(3, 2.0))


def growth() -> Case:
    """A logistic curve of growth: capacity, rate, middle and noise, logarithmic but for the middle."""
    rng, t = np.random.default_rng(3), np.linspace(0, 10, 20)
    y = 8.0 / (1 + np.exp(-1.1 * (t - 4.5))) + rng.normal(0, 0.5, 20)
    prior = np.array([2.0, 1.0, 5.0, 1.5])

    def log_joint(z: Any) -> float:
        with np.errstate(over="ignore"):
            curve = np.exp(z[0]) / (1 + np.exp(-np.exp(z[1]) * (t - z[2])))
        return float(np.sum(_normal(z, prior)) + np.sum(_normal(y - curve, np.exp(z[3]))))

    return Case(log_joint, prior)


def regression() -> Case:
    """A linear regression of four predictors, correlated, with unknown noise."""
    rng = np.random.default_rng(4)
    x = rng.standard_normal((40, 4)) @ (np.eye(4) + 0.5)
    y = x @ [1.0, -1.0, 0.5, 0.0] + rng.normal(0, 0.8, 40)

    def log_joint(z: Any) -> float:
        return float(np.sum(_normal(z, 2.0)) + np.sum(_normal(y - x @ z[:4], np.exp(z[4]))))

    return Case(log_joint, np.full(5, 2.0))


CASES: dict[str, Callable[[], Case]] = {
    "level and noise, 2 latents": level_and_noise,
    "counts, 3 latents": counts,
    "growth curve, 4 latents": growth,
    "regression, 5 latents": regression,
}


def reference(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Means and sds by weighted draws of a t distribution about the mode, of which hundreds of thousands count."""
    from scipy.optimize import minimize
    from scipy.stats import multivariate_t

    dim = len(case.prior)
    best = minimize(lambda z: -case.log_joint(z), np.zeros(dim), method="BFGS", options={"gtol": 1e-6})
    proposal = multivariate_t(best.x, 1.3 * best.hess_inv, df=DEGREES)
    u = proposal.rvs(REFERENCE, random_state=np.random.default_rng(0))
    log_weights = np.array([case.log_joint(z) for z in u]) - proposal.logpdf(u)
    weights = np.exp(log_weights - log_weights.max())
    weights /= weights.sum()
    assert 1 / np.sum(weights**2) > 0.2 * REFERENCE
    mean = weights @ u
    return mean, np.sqrt(weights @ (u - mean) ** 2)


class Counted:
    """The log joint, with its calls and what they took."""

    def __init__(self, log_joint: Callable[[Any], float]) -> None:
        self.log_joint, self.calls, self.seconds = log_joint, 0, 0.0

    def __call__(self, z: Any) -> float:
        began = time.perf_counter()
        value = self.log_joint(np.ravel(np.asarray(z, dtype=float)))
        self.calls, self.seconds = self.calls + 1, self.seconds + time.perf_counter() - began
        return value


class Found(NamedTuple):
    """Means, sds, what the package says of them, and the evaluations of what they were made from."""

    mean: np.ndarray
    sd: np.ndarray
    said: str
    calls: int


def by_bbvi(case: Case, counted: Counted, seed: int) -> Found:
    """Until its surrogate is done, and with the looks for other modes and fresh evaluations that check it."""
    import bbvi

    fit = bbvi.fit(counted, len(case.prior), estimator="score", seed=seed)
    table = fit.summary()
    return Found(table["mean"].to_numpy(), table["sd"].to_numpy(), fit.verdict, fit.trace.evaluations[-1])


def by_pyvbmc(case: Case, counted: Counted, seed: int) -> Found:
    """Its plausible box is that of the prior's sds."""
    from pyvbmc import VBMC

    np.random.seed(seed)  # noqa: NPY002
    wide = case.prior[None]
    found, result = VBMC(
        counted, np.zeros_like(wide), plausible_lower_bounds=-wide, plausible_upper_bounds=wide,
        options={"display": "off", "plot": False},
    ).optimize()  # fmt: skip
    mean, covariance = found.moments(cov_flag=True)
    said = "stable" if result["success_flag"] else "not stable"
    return Found(np.ravel(mean), np.sqrt(np.diag(covariance)), said, counted.calls)


def one(package: str, name: str, seed: int) -> None:
    """A fit, in a process of its own, which prints what it found."""
    case = CASES[name]()
    counted = Counted(case.log_joint)
    began = time.perf_counter()
    found = {"bbvi": by_bbvi, "pyvbmc": by_pyvbmc}[package](case, counted, seed)
    seconds = time.perf_counter() - began - counted.seconds
    print("\n" + json.dumps([found.mean.tolist(), found.sd.tolist(), found.said, found.calls, counted.calls, seconds]))


def table(python: str) -> str:
    """Medians over seeds, and the worst error of any seed."""
    lines = [
        "| posterior | package | evaluations | with checks | seconds of its own | worst mean, sds | worst sd | says |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for name, make in CASES.items():
        mean, sd = reference(make())
        for package, run in (("bbvi", sys.executable), ("pyvbmc", python)):
            found = []
            for seed in SEEDS:
                out = subprocess.run(
                    [run, __file__, "--one", package, name, str(seed)], check=True, capture_output=True, text=True
                ).stdout
                found.append(json.loads(out.splitlines()[-1]))
            means = max(float(np.max(np.abs(np.array(row[0]) - mean) / sd)) for row in found)
            sds = max(float(np.max(np.abs(np.array(row[1]) / sd - 1))) for row in found)
            calls, checked, seconds = (np.median([row[i] for row in found]) for i in (3, 4, 5))
            words = [row[2] for row in found]
            said = ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))
            cost = f"{calls:.0f} | {checked:.0f} | {seconds:.2g}"
            lines.append(f"| {name} | {package} | {cost} | {means:.2f} | {sds:.0%} | {said} |")
            print(lines[-1], flush=True)
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pyvbmc", default="")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", nargs=3)
    given = parser.parse_args()
    if given.one:
        one(given.one[0], given.one[1], int(given.one[2]))
        return
    found = table(given.pyvbmc)
    if given.out is not None:
        given.out.write_text(f"{found}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
