"""A simulator on the workers of a Dask cluster: what more workers bring, a worker that dies, and a job that is cut off.

A metal bar is heated at one end, and five sensors along it are read four times. How well does the metal conduct, and
how fast does it lose heat to the air? The simulator takes some milliseconds and has no gradient: it stands for one
that takes seconds. The cluster has its workers on this machine. For a real one, a single line changes: in place of
``LocalCluster(...)`` comes another cluster, such as ``SLURMCluster(...)`` of dask_jobqueue.
"""

import logging
import os
import signal
import tempfile
import time
from pathlib import Path

import numpy as np
from distributed import Client, LocalCluster

import bbvi
from bbvi.stats import lognorm, norm

CELLS, STEPS, SENSORS, READINGS = 40, 2000, [4, 12, 20, 28, 36], [200, 500, 1000, 1999]


def temperatures(conduction, loss):
    """Degrees above the room's at each reading (rows) and sensor, by implicit steps."""
    outflow = -(2 * conduction + loss) * np.eye(CELLS)
    outflow[0, 0] = outflow[-1, -1] = -(conduction + loss)
    neighbours = conduction * (np.eye(CELLS, k=1) + np.eye(CELLS, k=-1))
    advance = np.linalg.inv(np.eye(CELLS) - outflow - neighbours)
    state, heating, seen = np.zeros(CELLS), np.zeros(CELLS), []
    heating[0] = 1.0
    for step in range(STEPS):
        state = advance @ (state + heating)
        if step in READINGS:
            seen.append(state[SENSORS])
    return np.array(seen)


def log_joint(z, measured):
    conduction, loss = float(z.conduction), float(z.loss)
    return (
        lognorm.logpdf(conduction, 1.0, scale=1.0)
        + lognorm.logpdf(loss, 1.0, scale=0.01)
        + np.sum(norm.logpdf(measured, temperatures(conduction, loss), 0.5))
    )


def ready():
    """Have a worker import what it needs before the clock runs."""
    import bbvi  # noqa: F401


def main():
    measured = temperatures(0.6, 0.004) + np.random.default_rng(5).normal(0, 0.5, (len(READINGS), len(SENSORS)))
    latents = {"conduction": bbvi.Positive(), "loss": bbvi.Positive()}
    model = bbvi.Model(log_joint, latents, {"measured": measured})

    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.ERROR,
        ) as cluster,
        Client(cluster) as client,
    ):
        executor = client.get_executor()

        def timed(**options):
            client.run(ready)
            began = time.perf_counter()
            fit = bbvi.fit(model, estimator="score", seed=1, executor=executor, **options)
            return fit, time.perf_counter() - began

        fit, alone = timed()
        print(fit)
        print(f"\n1 worker:  {alone:.1f} s, {1000 * alone / fit.evaluations:.1f} ms an evaluation")

        cluster.scale(2)
        client.wait_for_workers(2, timeout=120)
        same, together = timed()
        print(f"2 workers: {together:.1f} s, {alone / together:.2f} times as fast, on {os.cpu_count()} cores")

        def apart(other):
            sds = np.abs(other.approximation.mean - fit.approximation.mean) / fit.approximation.sd
            return f"its means are {sds.max():.1g} sds from those of one worker"

        print(f"The fit is the same: {apart(same)}.")

        # Dask gives the tasks of a dead worker to another, and starts a new one in its place. Then the job's time is
        # up, and the next job runs the same line again.
        def bad_day(progress):
            if progress.step == 2:
                os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)
            return progress.step == 10

        with tempfile.TemporaryDirectory() as folder:
            checkpoint = Path(folder) / "bar.npz"
            cut_off, _ = timed(checkpoint=checkpoint, callback=bad_day)
            resumed, _ = timed(checkpoint=checkpoint)
        steps = f"{len(cut_off.trace)} of {len(resumed.trace)} steps"
        print(f"A worker was killed after 2 steps, and the fit cut off after {steps}.")
        print(f"Resumed, it has {resumed.status}: {apart(resumed)}.")


if __name__ == "__main__":
    main()
