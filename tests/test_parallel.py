"""Draws spread over an executor: the same fit as in one process, also when a worker dies."""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

import bbvi
from bbvi.stats import norm
from bbvi.target.target import Target

Y = np.array([1.0, 2.5, 0.5, 3.0, 2.0])
# Forking a process that has threads, as those of a cluster, is a warning.
SPAWN = get_context("spawn")


def simulator(z, y):
    """Values only, and no faster than it says."""
    mu, log_sigma = float(z["z"][0] if not isinstance(z, np.ndarray) else z[0]), float(z[1])
    return float(np.sum(-0.5 * ((y - mu) / np.exp(log_sigma)) ** 2 - log_sigma) - 0.5 * (mu**2 + log_sigma**2) / 4)


def slow_simulator(z, y):
    time.sleep(0.01)
    return simulator(z, y)


def smooth(z, y):
    import autograd.numpy as anp

    return norm.logpdf(z[0], 0, 2) + norm.logpdf(z[1], 0, 2) + anp.sum(norm.logpdf(y, z[0], anp.exp(z[1])))


def same(one, other, rtol=1e-8):
    np.testing.assert_allclose(one.approximation.mean, other.approximation.mean, rtol=rtol, atol=1e-8)
    np.testing.assert_allclose(one.approximation.sd, other.approximation.sd, rtol=rtol)


@pytest.mark.parametrize(("function", "estimator"), [(simulator, "score"), (smooth, "pathwise")])
def test_a_process_pool_changes_nothing(function, estimator):
    model = bbvi.Model(function, 2, {"y": Y})
    alone = bbvi.fit(model, seed=1, estimator=estimator)
    with ProcessPoolExecutor(2, mp_context=SPAWN) as pool:
        together = bbvi.fit(model, seed=1, estimator=estimator, executor=pool)
    same(alone, together)
    assert together.evaluations == pytest.approx(alone.evaluations, abs=20)


def changing(z, y):
    """Its own data, which a pickle would let it."""
    y -= float(z[0])
    return float(-0.5 * np.sum(y**2) - 0.5 * np.sum(np.asarray(z, dtype=float) ** 2))


def test_data_cannot_be_changed_in_another_process_either():
    with ProcessPoolExecutor(1, mp_context=SPAWN) as pool, pytest.raises(ValueError, match="read-only"):
        bbvi.fit(bbvi.Model(changing, 2, {"y": Y}), seed=1, estimator="score", executor=pool)


def test_threads_do_as_well():
    model = bbvi.Model(simulator, 2, {"y": Y})
    with ThreadPoolExecutor(2) as pool:
        same(bbvi.fit(model, seed=1, estimator="score"), bbvi.fit(model, seed=1, estimator="score", executor=pool))


class Counting(ThreadPoolExecutor):
    """Remembers what is sent with each task."""

    def __init__(self, workers):
        super().__init__(workers)
        self.sent = []

    def submit(self, function, *args):
        self.sent.append(args)
        return super().submit(function, *args)


def test_functions_without_a_module_keep_their_derivatives():
    # Sent by value, as what a user writes in a script or a notebook is, with the densities that it names.
    model = bbvi.Model(lambda z: norm.logpdf(z.x) + norm.logpdf(z.y, z.x), {"x": bbvi.Real(), "y": bbvi.Real()})
    with ThreadPoolExecutor(2) as pool:
        same(bbvi.fit(model, seed=1), bbvi.fit(model, seed=1, executor=pool))


def test_data_are_sent_to_a_worker_once():
    model = bbvi.Model(simulator, 2, {"y": np.linspace(0, 3, 200_000)})
    u = np.random.default_rng(1).normal(size=(8, 2))
    with Counting(1) as pool:
        target = Target(model, pool)
        np.testing.assert_array_equal(target.values(u), Target(model).values(u))
        target.values(u)
    heavy = [args for args in pool.sent if args[1] is not None]
    assert len(pool.sent) > 2
    assert len(heavy) == 1 and len(heavy[0][1]) > 1_600_000


def dies(z, y):
    if os.environ.get("BBVI_PARENT") != str(os.getpid()):
        os.kill(os.getpid(), signal.SIGKILL)
    return simulator(z, y)


def test_a_broken_pool_is_told_and_survived(monkeypatch):
    monkeypatch.setenv("BBVI_PARENT", str(os.getpid()))
    model = bbvi.Model(dies, 2, {"y": Y})
    with ProcessPoolExecutor(1, mp_context=SPAWN) as pool, pytest.warns(RuntimeWarning, match="its workers died"):
        fit = bbvi.fit(model, seed=1, estimator="score", executor=pool)
    same(fit, bbvi.fit(bbvi.Model(simulator, 2, {"y": Y}), seed=1, estimator="score"))


def test_an_error_in_a_worker_is_the_users_own():
    def fails(z):
        raise RuntimeError("no licence for the simulator")

    with ThreadPoolExecutor(1) as pool, pytest.raises(RuntimeError, match="no licence"):
        bbvi.fit(fails, 2, executor=pool)


@pytest.mark.filterwarnings("ignore")
def test_a_dask_cluster_with_a_worker_that_is_killed():
    distributed = pytest.importorskip("distributed")
    import dask

    model = bbvi.Model(slow_simulator, 2, {"y": Y})
    alone = bbvi.fit(bbvi.Model(simulator, 2, {"y": Y}), seed=1, estimator="score")
    killed = []

    def kill_one(progress):
        if not killed:
            pid = next(iter(client.run(os.getpid).values()))
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    settings = {"distributed.comm.timeouts.connect": "10s", "distributed.scheduler.allowed-failures": 10}
    with (
        warnings.catch_warnings(),
        dask.config.set(settings),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0", host="127.0.0.1"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        warnings.simplefilter("ignore")
        fit = bbvi.fit(model, seed=1, estimator="score", executor=client.get_executor(), callback=kill_one)
    assert killed
    same(fit, alone)


class Odd(Executor):
    """An executor that fails in a way of its own."""

    def __init__(self, way):
        self.way, self.tasks = way, 0

    def submit(self, task, *args):
        future, self.tasks = Future(), self.tasks + 1
        if self.tasks > 40:
            if self.way == "raises":
                raise OSError("no route to host")
            if self.way == "cancels":
                future.cancel()
                future.set_running_or_notify_cancel()
                return future
            if self.way == "fails":
                future.set_exception(TimeoutError("lost a node"))
                return future
            if self.way == "returns nonsense":
                future.set_result(np.zeros(1))
                return future
            if self.way == "returns no future":
                return 3
        future.set_result(task(*args))
        return future


@pytest.mark.parametrize(
    ("way", "told"),
    [
        ("raises", "it failed, and not the log joint .OSError: no route to host"),
        ("cancels", "it failed, and not the log joint .CancelledError"),
        ("fails", "it failed, and not the log joint .TimeoutError: lost a node"),
        ("returns nonsense", "it returned"),
        ("returns no future", "it failed, and not the log joint .AttributeError"),
    ],
)
def test_an_executor_that_fails_is_one_clear_error(way, told):
    with pytest.raises(RuntimeError, match=f"^executor: {told}"):
        bbvi.fit(bbvi.Model(simulator, 2, {"y": Y}), seed=1, estimator="score", executor=Odd(way))


def test_an_executor_that_was_shut_down_is_one_clear_error():
    for kind in (ThreadPoolExecutor(1), ProcessPoolExecutor(1, mp_context=SPAWN)):
        kind.shutdown()
        with pytest.raises(RuntimeError, match="^executor: it failed, .*RuntimeError: cannot schedule"):
            bbvi.fit(bbvi.Model(simulator, 2, {"y": Y}), seed=1, estimator="score", executor=kind)


def test_threads_need_no_pickles():
    lock = threading.Lock()

    def locked(z):
        with lock:
            return -0.5 * float(np.sum(np.asarray(z, float) ** 2))

    with ThreadPoolExecutor(2) as pool:
        assert bbvi.fit(locked, 2, seed=1, estimator="score", executor=pool).converged


def test_threads_that_record_change_nothing():
    """Each has a recording of its own, since two that make one at the same time would disturb each other."""
    model = bbvi.Model(smooth, 2, {"y": Y})
    alone = bbvi.fit(model, seed=1)
    for _ in range(3):
        with ThreadPoolExecutor(4) as pool:
            same(bbvi.fit(model, seed=1, executor=pool), alone)
