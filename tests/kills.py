"""Kill a fit at random moments and go on with it: ``python kills.py CASE KILLS SEED`` says what held, as JSON.

Each kill is of a process of its own, forked from this one, which has no threads: at a random call of the log joint by
``os._exit`` or an exception, or at a random time by SIGKILL or SIGTERM; every third is killed again while it goes on.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
import tempfile
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import autograd.numpy as anp
import numpy as np

import bbvi
from bbvi.output import storage
from bbvi.stats import norm

rng = np.random.default_rng(0)
X = rng.normal(size=(40, 2))
Y = X @ [1.0, -1.0] + 0.3 + 0.5 * rng.normal(size=40)
calls, last, way = 0, 0, ""


def counted() -> None:
    """Note a call, and end with the one that was chosen."""
    global calls
    calls += 1
    if calls == last:
        if way == "raise":
            raise LookupError("the simulator has gone")
        os._exit(9)


def log_prior(z):
    counted()
    return norm.logpdf(z.mu, 0, 2) + anp.sum(norm.logpdf(z.b, 0, 1))


def log_likelihood(z, x, y):
    return norm.logpdf(y, z.mu + anp.dot(x, z.b), 0.5)


def prior_of_numbers(z):
    """One that takes plain arrays alone."""
    if type(z["mu"]) is not np.ndarray:
        raise TypeError("plain arrays only")
    counted()
    return float(-(z["mu"] ** 2) / 8 - np.sum(z["b"] ** 2) / 2)


def likelihood_of_numbers(z, x, y):
    return -2.0 * (y - z["mu"] - x @ z["b"]) ** 2


def gradient(z, x, y):
    """Of a user's own."""
    counted()
    error = y - z["mu"] - x @ z["b"]
    value = float(-(z["mu"] ** 2) / 8 - np.sum(z["b"] ** 2) / 2 - 2.0 * np.sum(error**2))
    return value, {"mu": -z["mu"] / 4 + 4 * np.sum(error), "b": -z["b"] + 4 * x.T @ error}


def funnel(z):
    """One that weights cannot carry, so that chains do."""
    counted()
    return norm.logpdf(z.mu, 0, 2) + anp.sum(norm.logpdf(z.b, 0, anp.exp(z.mu)))


RECORDED = {"log_prior": log_prior, "log_likelihood": log_likelihood}
NUMBERS = {"log_prior": prior_of_numbers, "log_likelihood": likelihood_of_numbers}
CASES = {
    "fixed": (RECORDED, {}),
    "gradient": ({"gradient": gradient}, {"max_evaluations": 4000}),
    "stochastic": (RECORDED, {"solver": bbvi.Stochastic(), "max_evaluations": 2000}),
    "batches": (RECORDED, {"solver": bbvi.Stochastic(batch_size=10), "max_evaluations": 2000}),
    "natural": (NUMBERS, {"estimator": "score", "solver": bbvi.NaturalGradient()}),
    "surrogate": (NUMBERS, {"estimator": "score"}),
    "score": (NUMBERS, {"estimator": "score", "solver": bbvi.Stochastic(), "max_evaluations": 3000}),
    "score-batches": (
        NUMBERS,
        {"estimator": "score", "solver": bbvi.Stochastic(batch_size=10), "max_evaluations": 3000},
    ),
    "threads": (NUMBERS, {"estimator": "score", "solver": bbvi.NaturalGradient()}),
    "chains": ({"log_joint": funnel}, {}),
}


def fit(case: str, path: Path | None) -> bbvi.Fit:
    functions, options = CASES[case]
    data = {} if case == "chains" else {"x": X, "y": Y}
    model = bbvi.Model(**functions, latents={"mu": bbvi.Real(), "b": bbvi.Real(shape=2)}, data=data)
    with ThreadPoolExecutor(2) if case == "threads" else nullcontext() as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return bbvi.fit(model, seed=3, checkpoint=path, executor=pool, **options)


def content(found: bbvi.Fit) -> bytes:
    """Everything in it but seconds."""
    timeless = dataclasses.replace(found, seconds=0.0, trace=dataclasses.replace(found.trace, seconds=[]))
    return storage.packed(timeless)


def killed(case: str, path: Path, how: str, at: int, after: float) -> None:
    """Run the fit in a process of its own and end that."""
    global last, calls, way
    child = os.fork()
    if child == 0:
        last, calls, way = at, 0, how
        try:
            fit(case, path)
        finally:
            os._exit(0)
    if how in ("kill", "term"):
        time.sleep(after)
        os.kill(child, signal.SIGKILL if how == "kill" else signal.SIGTERM)
    os.waitpid(child, 0)


def main(case: str, kills: int, seed: int) -> dict[str, int]:
    global calls
    random = np.random.default_rng(seed)
    fit(case, None)
    started, calls = time.perf_counter(), 0
    whole = content(fit(case, None))
    seconds, needed = time.perf_counter() - started, calls
    found = {"kills": kills, "calls": needed, "identical": 0, "finished": 0, "again": 0, "finished_again": 0}
    for i in range(kills):
        with tempfile.TemporaryDirectory() as folder:
            path, how = Path(folder) / "fit.log", ["exit", "kill", "raise", "term"][i % 4]
            at = int(random.integers(1, needed + 1))
            killed(case, path, how, at, random.uniform(0, seconds))
            if i % 3 == 2:
                killed(case, path, "exit", int(random.integers(1, needed + 1)), 0.0)
            calls = 0
            found["identical"] += content(fit(case, path)) == whole
            if how == "exit" and i % 3 != 2:
                found["again"] = max(found["again"], calls + at - 1 - needed)
            calls = 0
            found["finished"] += content(fit(case, path)) == whole
            found["finished_again"] = max(found["finished_again"], calls)
    return found


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
