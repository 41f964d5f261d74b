"""What a step costs on a cluster, by rows and workers, and what crosses the network."""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path
from typing import Any

import autograd.numpy as anp
import dask
import numpy as np
import psutil
from distributed import Client, LocalCluster

import bbvi
from bbvi.stats import bernoulli, norm
from bbvi.target.cluster import Sharded
from bbvi.target.target import Target

PREDICTORS, DRAWS, STEPS = 20, 8, 5
ROWS = (10_000, 100_000, 1_000_000)
WORKERS = (1, 2)
KEEP_MEMORY = {
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": str(2**30),
    "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": str(2**25),
}


def log_prior(z: Any) -> Any:
    return anp.sum(norm.logpdf(z.beta))


def log_likelihood(z: Any, x: Any, y: Any) -> Any:
    return {"y": bernoulli.logpmf_logits(y, anp.dot(x, z.beta))}


def regression(rows: int) -> bbvi.Model:
    """A logistic regression."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((rows, PREDICTORS))
    y = (rng.random(rows) < 1 / (1 + np.exp(-x @ rng.standard_normal(PREDICTORS) / 2))).astype(float)
    return bbvi.Model(
        log_prior=log_prior, log_likelihood=log_likelihood, latents={"beta": PREDICTORS}, data={"x": x, "y": y}
    )


def sent() -> int:
    """Bytes that went over loopback so far."""
    return psutil.net_io_counters(pernic=True)["lo"].bytes_sent


def step(target: Target) -> tuple[float, float]:
    """Milliseconds and kilobytes of one gradient at all draws: the quickest of some."""
    u = 0.1 * np.random.default_rng(2).standard_normal((DRAWS, PREDICTORS))
    target.gradients(u)
    times, bytes_before = [], sent()
    for _ in range(STEPS):
        began = time.perf_counter()
        target.gradients(u)
        times.append(time.perf_counter() - began)
    return 1e3 * min(times), (sent() - bytes_before) / STEPS / 1e3


def measured() -> list[tuple[int, float, list[tuple[float, float]]]]:
    """By rows: milliseconds in this process, and of each number of workers what a step takes."""
    found = []
    for rows in ROWS:
        model = regression(rows)
        here = step(Target(model))[0]
        there = []
        for count in WORKERS:
            with (
                dask.config.set(KEEP_MEMORY),
                LocalCluster(
                    n_workers=count, threads_per_worker=1, host="127.0.0.1", dashboard_address=None,
                    silence_logs=logging.ERROR,
                ) as cluster,
                Client(cluster) as client,
            ):  # fmt: skip
                there.append(step(Sharded(model, client, max_memory=1e9)))
        found.append((rows, here, there))
    return found


def table() -> str:
    found = measured()
    heads = " | ".join(f"{count} worker{'s' * (count > 1)}: ms | kB sent" for count in WORKERS)
    lines = [f"| rows | here: ms | {heads} |", f"| ---: | ---: {'| ---: | ---: ' * len(WORKERS)}|"]
    for rows, here, there in found:
        lines.append(
            f"| {rows:,} | {here:.1f} | " + " | ".join(f"{ms:.1f} | {kilobytes:.0f}" for ms, kilobytes in there) + " |"
        )
    design = [(1.0, rows / 1e6 / count) for rows, _, _ in found for count in WORKERS]
    times = [ms for _, _, there in found for ms, _ in there]
    # Relative errors count, so that small data say what a call costs and large ones what a row does.
    weights = 1.0 / np.array(times)
    way, million = np.linalg.lstsq(np.array(design) * weights[:, None], np.ones(len(times)), rcond=None)[0]
    lines += [
        "",
        f"A gradient at {DRAWS} draws of {PREDICTORS} latents. Fitted to the workers' times: {way:.0f} ms, and "
        f"{million:.0f} ms for each million rows that a worker holds.",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    found = table()
    print(found)
    if given.out is not None:
        given.out.write_text(f"{found}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
