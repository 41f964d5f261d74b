"""Data on a cluster: the same posterior as in one process, whoever dies or joins meanwhile."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import autograd.numpy as anp
import numpy as np
import pytest

import bbvi
from bbvi.stats import bernoulli, norm
from bbvi.target.target import Target

distributed = pytest.importorskip("distributed")
from bbvi.target.cluster import Sharded, Shards  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
RNG = np.random.default_rng(1)
X = RNG.normal(size=(2001, 3))
Y = (RNG.random(2001) < 1 / (1 + np.exp(-X @ [1.0, -0.5, 0.3]))).astype(float)

# Begun at one place, there are fewer calls, of which each has its way over the network.
START = {"beta": np.zeros(3), "scale": 1.0}


def log_prior(z: Any) -> Any:
    return anp.sum(norm.logpdf(z.beta, 0, 2)) + norm.logpdf(anp.log(z.scale), 0, 1)


def log_likelihood(z: Any, x: Any, y: Any) -> Any:
    return {"y": bernoulli.logpmf_logits(y, anp.dot(x, z.beta) / z.scale)}


def regression() -> bbvi.Model:
    return bbvi.Model(
        log_prior=log_prior,
        log_likelihood=log_likelihood,
        latents={"beta": 3, "scale": bbvi.Positive()},
        data={"x": X, "y": Y},
    )


@pytest.fixture
def client(two_workers: Any) -> Iterator[Any]:
    with distributed.Client(two_workers) as client:
        client.wait_for_workers(2, timeout=120)
        yield client


def test_parts_sum_to_the_whole(client: Any) -> None:
    whole, sharded = Target(regression()), Sharded(regression(), client, max_memory=1e9)
    u, v = RNG.normal(size=(2, 7, 4))
    np.testing.assert_allclose(sharded.values(u), whole.values(u), rtol=1e-12)
    for found, right in zip(sharded.gradients(u), whole.gradients(u), strict=True):
        np.testing.assert_allclose(found, right, rtol=1e-10, atol=1e-9)
    np.testing.assert_allclose(sharded.linearize(u)[2](v), whole.linearize(u)[2](v), rtol=1e-10, atol=1e-9)
    assert sharded.evaluations == sharded.gradient_evaluations == whole.gradient_evaluations == 21


def assert_same(fit: bbvi.Fit, alone: bbvi.Fit) -> None:
    assert fit.verdict == alone.verdict == "reliable"
    np.testing.assert_allclose(fit.approximation.mean, alone.approximation.mean, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(fit.approximation.sd, alone.approximation.sd, rtol=1e-8)
    columns = ["mean", "sd", "eti_lb", "eti_ub"]
    np.testing.assert_allclose(fit.summary()[columns], alone.summary()[columns], rtol=1e-6, atol=1e-7)


@pytest.fixture(scope="module")
def alone() -> bbvi.Fit:
    return bbvi.fit(regression(), seed=1, init=START)


def test_the_same_posterior_as_in_one_process(client: Any, alone: bbvi.Fit) -> None:
    fit = bbvi.fit(regression(), seed=1, init=START, cluster=client)
    assert_same(fit, alone)


def test_a_worker_that_is_killed_costs_time_only(client: Any, alone: bbvi.Fit) -> None:
    killed: list[int] = []

    def kill_one(progress: Any) -> None:
        if not killed:
            pid = next(iter(client.run(os.getpid).values()))
            killed.append(pid)
            os.kill(pid, signal.SIGKILL)

    with pytest.warns(RuntimeWarning, match="a worker was lost"):
        fit = bbvi.fit(regression(), seed=1, init=START, cluster=client, callback=kill_one)
    assert killed
    assert_same(fit, alone)


@pytest.mark.parametrize("error", [KeyError("tcp://127.0.0.1:9"), OSError("Stream is closed")])
def test_a_worker_that_dies_while_it_is_sent_its_rows(client: Any, monkeypatch: pytest.MonkeyPatch, error: Any) -> None:
    sharded, scatter, sent = Sharded(regression(), client, max_memory=1e9), client.scatter, []

    def scattered(*given: Any, **named: Any) -> Any:
        sent.append(given)
        if len(sent) == 2:
            raise error
        return scatter(*given, **named)

    monkeypatch.setattr(client, "scatter", scattered)
    u = RNG.normal(size=(2, 4))
    with pytest.warns(RuntimeWarning, match="a worker was lost"):
        found = sharded.values(u)
    np.testing.assert_allclose(found, Target(regression()).values(u), rtol=1e-12)


def closed(*given: Any, **named: Any) -> Any:
    raise OSError("Stream is closed")


def test_workers_that_are_lost_again_and_again_end_the_fit(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sharded = Sharded(regression(), client, max_memory=1e9)
    monkeypatch.setattr(client, "scatter", closed)
    with pytest.warns(RuntimeWarning), pytest.raises(RuntimeError, match="cluster: its workers were lost"):
        sharded.values(np.zeros((1, 4)))


def test_a_worker_that_joins_takes_its_share(two_workers: Any, client: Any) -> None:
    shards = Shards(regression(), client, replay=True)
    u = RNG.normal(size=(3, 4))
    before = shards.total("_raw_values", u)
    count = len(client.nthreads())
    two_workers.scale(count + 1)
    client.wait_for_workers(count + 1, timeout=120)
    shards.looked = -np.inf
    np.testing.assert_allclose(shards.total("_raw_values", u), before, rtol=1e-12)
    loads = [sum(at == address for at, _ in shards.held.values()) for address in client.nthreads()]
    assert min(loads) >= 1 and max(loads) - min(loads) <= 1
    two_workers.scale(count)


def test_an_error_of_the_model_is_the_users_own(client: Any) -> None:
    def fails(z: Any, y: Any) -> Any:
        if len(y) < 15:
            raise RuntimeError("too few rows for me")
        return {"y": norm.logpdf(y, z.m, 1)}

    model = bbvi.Model(
        log_prior=lambda z: norm.logpdf(z.m), log_likelihood=fails, latents={"m": bbvi.Real()}, data={"y": Y[:40]}
    )
    with pytest.raises(RuntimeError, match="too few rows"):
        bbvi.fit(model, seed=1, cluster=client)


def test_what_is_no_cluster_is_refused_by_name(client: Any) -> None:
    with pytest.raises(TypeError, match="cluster: expected a distributed.Client, got str"):
        bbvi.fit(regression(), cluster="tcp://127.0.0.1:8786")
    with pytest.raises(ValueError, match="cluster: expected a model with log_prior and log_likelihood"):
        bbvi.fit(lambda z: -0.5 * anp.sum(z**2), 2, cluster=client)
    with pytest.raises(ValueError, match="expected one of them"):
        bbvi.fit(regression(), cluster=client, executor=client.get_executor())
