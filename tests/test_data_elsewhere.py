"""Data that are elsewhere: arrays of Dask and Zarr, Parquet, and iterators of batches give what arrays give."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import autograd.numpy as anp
import numpy as np
import pandas as pd
import pytest

import bbvi
from bbvi.model.rows import Rows
from bbvi.model.spool import Spool, gathered
from bbvi.stats import bernoulli, norm

da = pytest.importorskip("dask.array")
dd = pytest.importorskip("dask.dataframe")
distributed = pytest.importorskip("distributed")

pytestmark = pytest.mark.filterwarnings("ignore")
RNG = np.random.default_rng(1)
N = 3001
X = RNG.normal(size=(N, 3))
Y = (RNG.random(N) < 1 / (1 + np.exp(-X @ [1.0, -0.5, 0.3]))).astype(float)
START = {"beta": np.zeros(3)}
NAMES = ["x0", "x1", "x2"]
COLUMNS = ["mean", "sd", "eti_lb", "eti_ub"]


def log_prior(z: Any) -> Any:
    return anp.sum(norm.logpdf(z.beta, 0, 2))


def log_likelihood(z: Any, X: Any, y: Any) -> Any:
    return {"y": bernoulli.logpmf_logits(y, anp.dot(X, z.beta))}


def model(data: Any, **more: Any) -> bbvi.Model:
    return bbvi.Model(log_prior=log_prior, log_likelihood=log_likelihood, latents={"beta": 3}, data=data, **more)


def of_dask() -> dict[str, Any]:
    # Chunks of columns, and others for one than for the other.
    return {"X": da.from_array(X, chunks=(700, 2)), "y": da.from_array(Y, chunks=901)}


def of_zarr(folder: Path) -> dict[str, Any]:
    zarr = pytest.importorskip("zarr")
    return {"X": zarr.create_array(store=str(folder / "x.zarr"), data=X, chunks=(1000, 3)), "y": Y}


def of_parquet(folder: Path) -> dict[str, Any]:
    frame = pd.DataFrame({**dict(zip(NAMES, X.T, strict=True)), "y": Y})
    frame.to_parquet(folder / "rows.parquet", row_group_size=400)
    read = dd.read_parquet(folder, split_row_groups=True)
    return {"X": read[NAMES], "y": read["y"]}


def batches() -> Iterator[dict[str, Any]]:
    for k in range(0, N, 450):
        yield {"X": X[k : k + 450], "y": Y[k : k + 450]}


@pytest.fixture(scope="module")
def alone() -> bbvi.Fit:
    return bbvi.fit(model({"X": X, "y": Y}), seed=1, init=START)


@pytest.mark.parametrize("source", ["dask", "zarr", "parquet", "batches"])
def test_the_same_fit_as_of_arrays(source: str, tmp_path: Path, alone: bbvi.Fit) -> None:
    data = {
        "dask": of_dask,
        "zarr": lambda: of_zarr(tmp_path),
        "parquet": lambda: of_parquet(tmp_path),
        "batches": batches,
    }[source]()
    fit = bbvi.fit(model(data), seed=1, init=START)
    pd.testing.assert_frame_equal(fit.summary(), alone.summary())
    np.testing.assert_array_equal(fit.model.data["X"], X)
    assert fit.evaluations == alone.evaluations


def test_frames_in_batches_bring_the_columns_that_functions_name() -> None:
    frames = (pd.DataFrame({"y": Y[k : k + 500], "unused": "a"}) for k in range(0, N, 500))
    made = bbvi.Model(lambda z, y: norm.logpdf(y, z.m, 1), {"m": bbvi.Real()}, data=frames)
    np.testing.assert_array_equal(made.data["y"], Y)


def test_rows_beyond_the_room_go_to_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bbvi.memory.free", lambda: 1000.0)
    held = model(of_dask()).held()
    assert isinstance(held.data["X"].base, np.memmap) or isinstance(held.data["X"], np.memmap)
    np.testing.assert_array_equal(held.data["X"], X)
    fit = bbvi.fit(model(of_dask()), seed=1, init=START, solver=bbvi.Stochastic(batch_size=100), max_evaluations=3000)
    assert isinstance(fit.model.data["X"], np.memmap)


def test_a_checkpoint_is_of_these_rows(tmp_path: Path) -> None:
    """Of what is read here, one number of 9,003 tells; a fit goes on from rows that come by another way."""
    path = tmp_path / "fit.part"
    fit = bbvi.fit(model(of_dask()), seed=1, init=START, checkpoint=path)
    again = bbvi.fit(model({"X": X, "y": Y}), seed=1, init=START, checkpoint=path)
    assert again.evaluations == fit.evaluations
    changed = X.copy()
    changed[7, 1] += 0.1
    other = {"X": da.from_array(changed, chunks=(700, 2)), "y": da.from_array(Y, chunks=901)}
    with pytest.raises(ValueError, match=r"checkpoint: .*data\['X'\]"):
        bbvi.fit(model(other), seed=1, init=START, checkpoint=path)


def test_mini_batches_of_lazy_rows_are_those_of_arrays() -> None:
    solver = bbvi.Stochastic(batch_size=200)
    fits = [
        bbvi.fit(model(data), seed=3, solver=solver, tolerance=0.1)
        for data in ({"X": X, "y": Y}, of_dask())
    ]
    pd.testing.assert_frame_equal(fits[0].summary(), fits[1].summary())


def test_blocks_become_one_array() -> None:
    np.testing.assert_array_equal(gathered("x", [np.arange(3), np.array([0.5])]), [0, 1, 2, 0.5])
    on_disk = gathered("x", [np.arange(4.0).reshape(2, 2), np.ones((1, 2))], room=8)
    assert isinstance(on_disk, np.memmap)
    np.testing.assert_array_equal(on_disk, [[0, 1], [2, 3], [1, 1]])
    with pytest.raises(ValueError, match="read-only"):
        on_disk[0] = 1


def test_batches_that_do_not_go_together_are_refused_by_name() -> None:
    spool = Spool("x", room=8)
    with pytest.raises(ValueError, match=r"data\['x'\]: expected batches of rows, got none"):
        spool.array()
    spool.add(np.ones((2, 2)))
    with pytest.raises(ValueError, match=r"data\['x'\]: expected batches of rows of shape \(2,\)"):
        spool.add(np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"data\['x'\]: expected batches of one type, float64"):
        spool.add(np.ones((2, 2), dtype=complex))
    with pytest.raises(ValueError, match="got a scalar"):
        Spool("x").add(np.float64(1.0))
    with pytest.raises(ValueError, match="expected batches of X, y, as the first is, got X"):
        model(iter([{"X": X, "y": Y}, {"X": X}]))
    with pytest.raises(TypeError, match="expected batches that are dicts or data frames, got ndarray"):
        model(iter([X]))
    with pytest.raises(ValueError, match="an iterator that has none left"):
        model(iter([]))
    with pytest.raises(TypeError, match=r"data\['y'\]: categories differ from batch to batch"):
        model(iter([{"X": X[:2], "y": pd.Categorical(["a", "b"])}]))
    with pytest.raises(TypeError, match="goes in as data= itself"):
        model({"X": X, "y": (y for y in Y)})


def test_a_full_temporary_folder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no device that is full")
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda: open("/dev/full", "wb", buffering=0))
    with pytest.raises(OSError, match=r"data\['x'\]: 8e-05 GB of rows do not fit into the temporary folder"):
        gathered("x", [np.ones(10_000)], room=8)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (da.from_array(np.array(["a", "b"]), chunks=1), r"data\['y'\]: expected numbers, got <U1"),
        (da.from_array(np.ones(3), chunks=1).sum(), r"data\['y'\]: expected an array with rows, got a scalar"),
        (dd.from_pandas(pd.DataFrame({"a": ["u", "v"]}), npartitions=1)["a"], r"data\['y'\]: expected numbers, got"),
        (dd.from_pandas(pd.DataFrame({"a": pd.Categorical(["u"])}), npartitions=1)["a"], "give categories and dates"),
        (da.from_array(np.ones(3), chunks=1).to_delayed()[0], r"data\['y'\]: expected an array, a column or a frame"),
        (da.from_array(np.ones(3), chunks=1), "as many rows in one array of Dask or Zarr as in another"),
    ],
)
def test_what_holds_no_rows_of_numbers_is_refused_by_name(value: Any, error: str) -> None:
    with pytest.raises((TypeError, ValueError), match=error):
        model({"X": da.from_array(X, chunks=1000), "y": value})


def test_rows_are_read_when_somebody_asks() -> None:
    made = model(of_dask())
    assert made.observations() == N and made.observed == ("y",)
    assert repr(made).endswith("data: X[3001, 3], y[3001]>")
    assert not any("array" in rows.__dict__ for rows in made.lazy.values())
    more = made.with_data(X=da.from_array(-X, chunks=1000))
    np.testing.assert_array_equal(more.subset(slice(0, 5)).data["X"], -X[:5])
    rows = Rows("x", da.from_array(X, chunks=1000))
    assert (len(rows), rows.ndim, rows.size) == (N, 2, 3 * N)
    np.testing.assert_array_equal(rows[[5, 2]], X[[5, 2]])


def test_a_check_of_the_model_reads_all_rows() -> None:
    assert bbvi.check_model(model(of_dask())).ok


# ---- read by the workers ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client(two_workers: Any) -> Iterator[Any]:
    with distributed.Client(two_workers) as client:
        yield client


def test_a_checkpoint_on_a_cluster_tells_rows_apart_and_reads_none_here(client: Any, tmp_path: Path) -> None:
    path, made = tmp_path / "fit.part", model(of_dask())
    fit = bbvi.fit(made, seed=1, init=START, cluster=client, checkpoint=path)
    assert all("array" not in value.__dict__ for value in made.lazy.values())
    again = bbvi.fit(model(of_dask()), seed=1, init=START, cluster=client, checkpoint=path)
    assert again.evaluations == fit.evaluations
    other = {"X": da.from_array(X + 0.1, chunks=(700, 2)), "y": da.from_array(Y, chunks=901)}
    with pytest.raises(ValueError, match=r"checkpoint: .*data\['X'\]"):
        bbvi.fit(model(other), seed=1, init=START, cluster=client, checkpoint=path)


def assert_same(fit: bbvi.Fit, alone: bbvi.Fit) -> None:
    assert fit.verdict == alone.verdict == "reliable" and fit.evaluations == alone.evaluations
    np.testing.assert_allclose(fit.summary()[COLUMNS], alone.summary()[COLUMNS], rtol=1e-8, atol=1e-8)


def elpd(fit: bbvi.Fit) -> float:
    loo = fit.loo()
    return float(loo.elpd if hasattr(loo, "elpd") else loo.elpd_loo)


def test_rows_of_parquet_never_pass_through_here(client: Any, tmp_path: Path, alone: bbvi.Fit) -> None:
    made = model(of_parquet(tmp_path))
    fit = bbvi.fit(made, seed=1, init=START, cluster=client)
    assert_same(fit, alone)
    assert not any("array" in rows.__dict__ for rows in made.lazy.values())
    # Asked for by name, they are read.
    np.testing.assert_allclose(elpd(fit), elpd(alone), rtol=1e-6)


def test_a_worker_that_is_killed_reads_no_more_and_another_does(client: Any, tmp_path: Path, alone: bbvi.Fit) -> None:
    killed: list[int] = []

    def kill_one(progress: Any) -> None:
        if not killed:
            killed.append(next(iter(client.run(os.getpid).values())))
            os.kill(killed[0], signal.SIGKILL)

    fit = bbvi.fit(model(of_parquet(tmp_path)), seed=1, init=START, cluster=client, callback=kill_one)
    assert killed
    assert_same(fit, alone)
    client.wait_for_workers(2, timeout=120)


def test_some_rows_are_here_and_some_elsewhere(client: Any, alone: bbvi.Fit) -> None:
    fit = bbvi.fit(model({"X": of_dask()["X"], "y": Y}), seed=1, init=START, cluster=client)
    assert_same(fit, alone)


def groups(data: Any) -> bbvi.Model:
    """Rows in the order of their groups, so that the first rows show few of these; and a sum over all rows."""
    return bbvi.Model(
        log_prior=lambda z: anp.sum(norm.logpdf(z.a, 0, 1)),
        log_likelihood=lambda z, y, g: norm.logpdf(y, z.a[g], 1.0),
        latents={"a": 3},
        data=data,
        derived=lambda z, y: {"residual": anp.mean(y) - anp.mean(z.a)},
    )


def test_latents_of_rows_far_behind_are_fitted_and_derived_quantities_see_all_rows(client: Any) -> None:
    g = np.repeat(np.arange(3), 1500)
    y = RNG.normal(size=4500) + g
    here = bbvi.fit(groups({"y": y, "g": g}), seed=1)
    lazy = {"y": da.from_array(y, chunks=900), "g": da.from_array(g, chunks=900)}
    there = bbvi.fit(groups(lazy), seed=1, cluster=client)
    # The posterior is a Gaussian, at which weights are fitted to rounding alone.
    sd = here.summary()["sd"].to_numpy()[:, None]
    assert (np.abs(there.summary()[COLUMNS] - here.summary()[COLUMNS]) < 0.03 * sd).all(axis=None)
    assert there.verdict == "reliable"
    assert not any("no data" in reason or "prior" in reason for reason in there.reasons)


def test_values_alone_come_from_the_workers(client: Any, tmp_path: Path) -> None:
    fits = [
        bbvi.fit(made, seed=1, init=START, estimator="score", max_evaluations=600, cluster=where)
        for made, where in ((model({"X": X, "y": Y}), None), (model(of_parquet(tmp_path)), client))
    ]
    np.testing.assert_allclose(fits[1].summary()[COLUMNS], fits[0].summary()[COLUMNS], rtol=1e-6, atol=1e-6)
