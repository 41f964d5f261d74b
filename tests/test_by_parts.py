"""More observations at draws than memory holds: figures in parts of observations, files in parts of draws."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Any

import autograd.numpy as anp
import numpy as np
import pytest
import xarray as xr

import bbvi
from bbvi.result.by_parts import by_observations, draw_parts
from bbvi.stats import norm, poisson
from bbvi.target.apart import separable, tied

RNG = np.random.default_rng(2)
X = RNG.normal(size=401)
Y = 1 + 2 * X + RNG.normal(size=401)
C = RNG.poisson(np.exp(0.3 * X))
TINY = 2e5


def model() -> bbvi.Model:
    def log_likelihood(z: Any, x: Any, y: Any, c: Any) -> Any:
        return {"y": norm.logpdf(y, z.a + z.b * x, 1), "c": poisson.logpmf(c, anp.exp(0.3 * z.b * x / 2))}

    def predict(z: Any, rng: Any, x: Any) -> Any:
        return {"y": rng.normal(z.a + z.b * x, 1)}

    return bbvi.Model(
        log_prior=lambda z: norm.logpdf(z.a, 0, 5) + norm.logpdf(z.b, 0, 5),
        log_likelihood=log_likelihood,
        predict=predict,
        latents={"a": bbvi.Real(), "b": bbvi.Real()},
        data={"x": X, "y": Y, "c": C},
    )


@pytest.fixture(scope="module")
def fit() -> bbvi.Fit:
    return bbvi.fit(model(), seed=1)


@pytest.fixture
def tight(fit: bbvi.Fit, monkeypatch: pytest.MonkeyPatch) -> bbvi.Fit:
    """The same fit, with little memory left."""
    monkeypatch.setattr(fit.target, "max_memory", TINY)
    return fit


def figures(loo: Any) -> np.ndarray:
    return np.asarray(loo.elpd_i if hasattr(loo, "elpd_i") else loo.loo_i)


def test_observations_in_parts_give_the_same_figures(fit: bbvi.Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    loo, sensitivity = fit.loo(), fit.sensitivity()
    monkeypatch.setattr(fit.target, "max_memory", TINY)
    parts = list(by_observations(fit.target, np.zeros((1000, 2))))
    assert len(parts) == 193 and sum(part["y"].shape[1] for part in parts) == 401
    np.testing.assert_allclose(figures(fit.loo()), figures(loo), rtol=1e-10)
    assert str(fit.loo()) == str(loo)
    columns = ["prior", "likelihood", "khat"]
    np.testing.assert_allclose(fit.sensitivity()[columns], sensitivity[columns], rtol=1e-6, atol=1e-9)


def centred(z: Any, x: Any, y: Any) -> Any:
    return norm.logpdf(y, z.a + z.b * (x - anp.mean(x)), 1)


def lagged(z: Any, x: Any, y: Any) -> Any:
    return norm.logpdf(y[1:], z.a + z.b * y[:-1], 1)


def by_item(z: Any, x: Any, y: Any) -> Any:
    return norm.logpdf(y[:, None] + np.zeros(3), z.rows[:, None] + z.b, 1)


TIED = {
    "a mean over the data": (centred, {"a": bbvi.Real(prior=norm()), "b": bbvi.Real(prior=norm())}),
    "the value before": (lagged, {"a": bbvi.Real(prior=norm()), "b": bbvi.Real(prior=norm())}),
    "a latent for each row": (by_item, {"rows": bbvi.Real(shape=401, prior=norm()), "b": bbvi.Real(prior=norm())}),
}


@pytest.mark.parametrize("name", TIED)
def test_observations_that_depend_on_each_other_are_not_torn_apart(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    function, latents = TIED[name]
    tied = bbvi.Model(log_likelihood=function, latents=latents, data={"x": X, "y": Y})
    fit = bbvi.fit(tied, seed=1)
    loo, sensitivity = fit.loo(), fit.sensitivity()
    monkeypatch.setattr(fit.target, "max_memory", TINY)
    np.testing.assert_allclose(figures(fit.loo()), figures(loo), rtol=1e-10)
    columns = ["prior", "likelihood", "khat"]
    np.testing.assert_allclose(fit.sensitivity()[columns], sensitivity[columns], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", TIED)
def test_mini_batches_of_observations_that_depend_on_each_other_are_refused(name: str) -> None:
    function, latents = TIED[name]
    tied = bbvi.Model(log_likelihood=function, latents=latents, data={"x": X, "y": Y})
    with pytest.raises(ValueError, match="mini-batches: expected a log_likelihood whose value for an observation"):
        bbvi.fit(tied, solver=bbvi.Stochastic(batch_size=50), seed=1)


def test_what_does_not_fit_is_left_out_and_told(tight: bbvi.Fit) -> None:
    with pytest.warns(RuntimeWarning, match=r"left out: 1000 draws of 401 observations do not fit into memory"):
        tree = tight.to_arviz()
    groups = tree.groups() if callable(tree.groups) else tree.groups
    names = {name.strip("/") for name in groups}
    assert "posterior" in names and not {"log_likelihood", "posterior_predictive"} & names


@pytest.mark.parametrize("draws", [1000, 333])
def test_a_file_in_parts_holds_what_one_at_once_holds(fit: bbvi.Fit, tmp_path: Path, draws: int) -> None:
    from bbvi.output.storage import save

    whole, parts = tmp_path / "whole.nc", tmp_path / "parts.nc"
    save(fit, whole, draws)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit.target, "max_memory", TINY)
        assert len(draw_parts(fit.target, draws)) > 20
        save(fit, parts, draws)
    for group in ("posterior", "log_likelihood", "posterior_predictive", "observed_data", "fit"):
        with xr.open_dataset(whole, group=group, engine="h5netcdf") as one:
            with xr.open_dataset(parts, group=group, engine="h5netcdf") as other:
                xr.testing.assert_allclose(one.drop_attrs(), other.drop_attrs())
    np.testing.assert_array_equal(bbvi.load(parts).summary()["mean"], fit.summary()["mean"])
    # ArviZ takes it for its own.
    import arviz as az

    assert az.from_netcdf(str(parts)) is not None


def test_chains_are_written_chain_by_chain(tmp_path: Path) -> None:
    from bbvi.output.netcdf import write
    from bbvi.output.storage import _stored

    fit = bbvi.fit(model(), seed=1)
    drawn = fit.draw(1000, chains=4)
    write(fit, drawn, _stored(fit), tmp_path / "whole.nc")
    fit.target.max_memory = TINY
    write(fit, drawn, _stored(fit), tmp_path / "parts.nc")
    read = [
        xr.open_dataset(tmp_path / f"{name}.nc", group="log_likelihood", engine="h5netcdf").load()
        for name in ("whole", "parts")
    ]
    assert dict(read[1].sizes) == {"chain": 4, "draw": 250, "y_dim_0": 401, "c_dim_0": 401}
    np.testing.assert_allclose(read[0].y.values, read[1].y.values, rtol=1e-12)


def test_a_damaged_file_in_parts_is_told(tight: bbvi.Fit, tmp_path: Path) -> None:
    path = tmp_path / "fit.nc"
    tight.save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="its checksum is not that of its content"):
        bbvi.load(path)
    path.write_bytes(content[:-3])
    with pytest.raises(ValueError, match="it is truncated"):
        bbvi.load(path)


def test_a_disk_without_room_is_told_before(
    tight: bbvi.Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "fit.nc"
    path.write_bytes(b"the old one")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage._replace(free=1000))
    with pytest.raises(OSError, match=r"would take 0.00642 GB, and its disk has 1e-06 GB left"):
        tight.save(path)
    assert path.read_bytes() == b"the old one"


def test_a_write_that_fails_leaves_the_old_file(
    tight: bbvi.Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "fit.nc"
    path.write_bytes(b"the old one")

    def full(*given: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("bbvi.output.netcdf._place", full)
    with pytest.raises(OSError, match="No space left"):
        tight.save(path)
    assert path.read_bytes() == b"the old one"
    assert [item.name for item in tmp_path.iterdir()] == ["fit.nc"]


def test_a_likelihood_that_leaves_missing_rows_out_is_a_sum_of_parts() -> None:
    """Its shape is not that of the data, which a sum does not mind; where figures are by observation, it does."""
    holes = np.where(np.arange(401) % 5 == 0, np.nan, Y)

    def log_likelihood(z: Any, x: Any, y: Any) -> Any:
        there = np.isfinite(y)
        return norm.logpdf(y[there], z.a + z.b * x[there], 1)

    latents = {"a": bbvi.Real(prior=norm()), "b": bbvi.Real(prior=norm())}
    masked = bbvi.Model(log_likelihood=log_likelihood, latents=latents, data={"x": X, "y": holes})
    separable(masked, "mini-batches")
    assert "has the shape (320,)" in tied(masked)
    assert tied(model()) == ""
