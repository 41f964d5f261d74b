"""Rows in Parquet on the workers of a Dask cluster: each reads its own, and none passes through here.

A logistic regression with 20 predictors. ``ROWS=10_000_000 python examples/rows_on_a_cluster.py`` makes ten million
rows of it, 1.7 GB, and takes some minutes. The cluster has its workers on this machine. For a real one, a single line
changes: in place of ``LocalCluster(...)`` comes another cluster, such as ``SLURMCluster(...)`` of dask_jobqueue.
"""

import logging
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import autograd.numpy as np
import dask
import dask.dataframe
import pandas as pd
from distributed import Client, LocalCluster

import bbvi
from bbvi.stats import bernoulli, norm

ROWS, FILES = int(os.environ.get("ROWS", 200_000)), 20
PREDICTORS = [f"x{i}" for i in range(20)]
# Dask has its workers give memory back at once, and every array larger than 128 kB is then asked for anew: that makes
# arithmetic of many rows several times slower.
KEEP_MEMORY = {
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": str(2**30),
    "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": str(2**25),
}


def log_prior(z):
    return np.sum(norm.logpdf(z.beta, 0, 2))


def log_likelihood(z, x, y):
    return {"y": bernoulli.logpmf_logits(y, np.dot(x, z.beta))}


def write(folder):
    """The rows, in files of which each fits into memory."""
    rng = np.random.default_rng(1)
    truth = 0.3 * rng.standard_normal(len(PREDICTORS))
    for k in range(FILES):
        x = rng.standard_normal((ROWS // FILES, len(PREDICTORS)))
        y = (rng.random(len(x)) < 1 / (1 + np.exp(-x @ truth))).astype(float)
        columns = dict(zip(PREDICTORS, x.T, strict=True))
        pd.DataFrame({**columns, "y": y}).to_parquet(folder / f"rows{k:02d}.parquet")
    return truth


def peak():
    """Megabytes that a process took at most."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**20 if sys.platform == "darwin" else 2**10)


def main():
    with tempfile.TemporaryDirectory() as name:
        truth = write(Path(name))
        with (
            dask.config.set(KEEP_MEMORY),
            LocalCluster(
                n_workers=2,
                threads_per_worker=1,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                silence_logs=logging.ERROR,
            ) as cluster,
            Client(cluster) as client,
        ):
            frame = dask.dataframe.read_parquet(name)
            model = bbvi.Model(
                log_prior=log_prior,
                log_likelihood=log_likelihood,
                latents={"beta": len(PREDICTORS)},
                data={"x": frame[PREDICTORS], "y": frame["y"]},
            )
            began = time.perf_counter()
            fit = bbvi.fit(model, cluster=client, seed=1)
            seconds = time.perf_counter() - began
            print(fit)
            workers = ", ".join(f"{most:.0f}" for most in client.run(peak).values())
            print(f"\n{ROWS:,} rows: {seconds:.0f} s, {1000 * seconds / fit.evaluations:.1f} ms an evaluation")
            print(f"Megabytes at most: workers {workers}; this process, which wrote the files, {peak():.0f}")
    table = fit.summary()
    off = np.abs(table["mean"] - truth) / table["sd"]
    print(f"The coefficients that the rows were made with are {np.sqrt(np.mean(off**2)):.1f} sds off (1 is expected).")


if __name__ == "__main__":
    main()
