"""A fit that was saved and loaded is the fit that was saved, with its model and without."""

from __future__ import annotations

import dataclasses
import zipfile

import arviz as az
import autograd.numpy as anp
import numpy as np
import pytest
from posteriors import regression, schools, supports

import bbvi
from bbvi.output.storage import save
from bbvi.result.fit import load

KINDS = ["best", "mean-field", "linear-response", "importance"]


@pytest.fixture(scope="module")
def fits():
    return {"schools": bbvi.fit(schools(), seed=1), "supports": bbvi.fit(supports(), seed=1)}


@pytest.fixture(params=[".npz", ".nc"])
def path(request, tmp_path):
    return tmp_path / f"fit{request.param}"


@pytest.mark.parametrize("name", ["schools", "supports"])
def test_without_the_model_the_posterior_is_the_same(fits, name, path):
    fit = fits[name]
    save(fit, path)
    again = load(path)
    assert str(again) == str(fit)
    for item in dataclasses.fields(fit):
        if item.name not in ("model", "target", "kinds", "approximation", "trace", "modes", "origin"):
            np.testing.assert_array_equal(getattr(again, item.name), getattr(fit, item.name))
    np.testing.assert_array_equal(again.approximation.sd, fit.approximation.sd)
    assert list(again.kinds) == list(fit.kinds)
    for name, kind in fit.kinds.items():
        for field in ("u", "log_weights", "log_density", "log_q"):
            found, expected = getattr(again.kinds[name].pool(1), field), getattr(kind.pool(1), field)
            np.testing.assert_array_equal(found, expected)
    assert again.trace == fit.trace
    assert (again.evaluations, again.gradient_evaluations) == (fit.evaluations, fit.gradient_evaluations)
    for kind in KINDS:
        expected = fit.sample(50, kind)
        for key, x in again.sample(50, kind).items():
            np.testing.assert_array_equal(x, expected[key])
    assert again.summary("mean-field").equals(fit.summary("mean-field"))
    assert again.covariance_of().equals(fit.covariance_of())


def test_expectations_and_arviz_without_the_model(fits, path):
    fit = fits["schools"]
    save(fit, path)
    again = load(path)
    assert again.expect(lambda z: z.mu > 4) == fit.expect(lambda z: z.mu > 4)
    assert again.expect(lambda z: z.theta[0] - z.theta[1]).value == pytest.approx(
        fit.expect(lambda z: z.theta[0] - z.theta[1]).value
    )
    first, second = fit.to_arviz(draws=30), again.to_arviz(draws=30)
    for group in ("posterior", "unconstrained_posterior", "sample_stats", "observed_data", "constant_data"):
        for variable in first[group].data_vars:
            np.testing.assert_allclose(second[group][variable].values, first[group][variable].values)


def test_unknown_densities_are_nan_in_arviz(fits, path):
    save(fits["supports"], path)
    known = fits["supports"].kinds["linear-response"].evaluated
    stats = load(path).to_arviz(draws=20, kind="linear-response")["sample_stats"]
    assert set(stats["lp"].values.ravel()) <= set(known.log_density)
    stats = load(path).to_arviz(draws=len(known.u) + 1, kind="linear-response")["sample_stats"]
    assert np.isnan(stats["lp"].values).all()
    assert np.isfinite(stats["log_q"].values).all()


def test_what_needs_functions_asks_for_the_model(fits, path):
    save(fits["schools"], path)
    again = load(path)
    for work in (again.loo, again.predict, lambda: bbvi.fit(again.model), lambda: again.summary("linear-response")):
        with pytest.raises(ValueError, match=r"bbvi\.load\(path, model\)") as caught:
            work()
        assert caught.value.__notes__ == ["this fit was read without its model"]


def test_with_the_model_everything_works(fits, path):
    fit = fits["schools"]
    save(fit, path)
    again = load(path, schools())
    assert str(again.loo()) == str(fit.loo())
    assert again.summary("linear-response").equals(fit.summary("linear-response"))
    first, second = fit.to_arviz(draws=20), again.to_arviz(draws=20)
    np.testing.assert_array_equal(
        first["posterior_predictive"]["y"].values, second["posterior_predictive"]["y"].values
    )
    assert bbvi.fit(again.model, seed=1, init=again).converged


def test_a_loaded_fit_can_be_saved_again(fits, path, tmp_path):
    save(fits["schools"], path)
    save(load(path), tmp_path / "again.npz")
    assert str(load(tmp_path / "again.npz")) == str(fits["schools"])


def test_netcdf_is_also_a_file_of_arviz(fits, tmp_path):
    save(fits["schools"], tmp_path / "fit.nc")
    data = az.from_netcdf(str(tmp_path / "fit.nc"))
    assert data["posterior"]["theta"].shape == (1, 1000, 8)
    (data.close if hasattr(data, "close") else lambda: None)()


def test_saving_costs_nothing_and_leaves_no_trace(fits, path):
    before = fits["schools"].evaluations
    save(fits["schools"], path)
    assert fits["schools"].evaluations == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_no_pickles(fits, tmp_path):
    save(fits["schools"], tmp_path / "fit.npz")
    with np.load(tmp_path / "fit.npz", allow_pickle=False) as file:
        assert all(file[name].dtype.kind in "biufU" for name in file.files)


def test_data_of_every_dtype_come_back(path):
    data = {
        "y": np.array([1.0, np.nan]),
        "count": np.array([3, 4], dtype=np.int32),
        "seen": np.array([True, False]),
        "label": np.array(["a", "bcd"]),
        "day": np.array(["2024-01-01", "2024-02-01"], dtype="datetime64[D]"),
        "scale": 2.5,
        "empty": np.empty((0, 2)),
    }
    model = bbvi.Model(lambda z, **data: -0.5 * z.a**2, latents={"a": bbvi.Real()}, data=data)
    save(bbvi.fit(model, seed=1), path)
    again = load(path).model.data
    assert list(again) == list(data)
    for name, x in data.items():
        np.testing.assert_array_equal(again[name], x)
        assert np.asarray(again[name]).dtype == np.asarray(x).dtype


def test_flat_and_gradient_free_fits(path):
    save(bbvi.fit(lambda z: -0.5 * anp.sum((z - 3) ** 2), 3, seed=1), path)
    again = load(path)
    assert again.sample(4)["z"].shape == (4, 3)
    assert again.expect(lambda z: z[0] ** 2).value == pytest.approx(10.0, abs=0.4)
    save(bbvi.fit(lambda z: -0.5 * float(z @ z), 2, estimator="score", seed=1, max_evaluations=3000), path)
    assert load(path).estimator == "score"


def test_other_latents_are_an_error_that_names_them(fits, path):
    save(fits["supports"], path)
    declared = {
        "real": bbvi.Real(), "positive": bbvi.Positive(), "ordered": bbvi.Ordered(shape=3),
        "unit": bbvi.Interval(0, 1), "above": bbvi.Interval([2.0, 2.0], np.inf, shape=2),
        "shares": bbvi.Simplex(shape=2), "chol": bbvi.CholeskyCorrelation(shape=2),
    }  # fmt: skip

    def model(**changed):
        return bbvi.Model(lambda z: 0.0, latents=declared | changed)

    for changed in (
        {"positive": bbvi.Real()},
        {"unit": bbvi.Interval(0, 2)},
        {"above": bbvi.Interval([2.0, 3.0], np.inf, shape=2)},
        {"ordered": bbvi.Ordered(shape=4)},
    ):
        with pytest.raises(ValueError, match=next(iter(changed))):
            load(path, model(**changed))
    with pytest.raises(ValueError, match="expected the latents real, positive"):
        load(path, regression())


def test_another_log_joint_is_noticed(fits, path):
    save(fits["schools"], path)
    with pytest.warns(RuntimeWarning, match="other functions, or other data"):
        load(path, schools().with_data(y=np.zeros(8)))


def test_wrong_files(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none.nc")
    with pytest.raises(ValueError, match=r"\.nc or \.npz"):
        load(tmp_path / "fit.pkl")
    for name in ("text.nc", "text.npz"):
        (tmp_path / name).write_text("not a fit")
        with pytest.raises(ValueError, match="not a fit that was saved by bbvi"):
            load(tmp_path / name)
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with zipfile.ZipFile(tmp_path / "broken.npz", "w") as archive:
        archive.writestr("header.npy", b"nothing")
    for name in ("other.npz", "broken.npz"):
        with pytest.raises(ValueError, match="not a fit that was saved by bbvi"):
            load(tmp_path / name)


def test_bad_arguments(fits, tmp_path):
    with pytest.raises(TypeError, match="path"):
        save(fits["schools"], 3)
    with pytest.raises(ValueError, match="path"):
        save(fits["schools"], tmp_path / "fit")
    save(fits["schools"], tmp_path / "fit.npz")
    with pytest.raises(TypeError, match="model"):
        load(tmp_path / "fit.npz", lambda z: 0.0)


def test_all_data_that_files_can_hold_are_kept(path):
    data = {
        "y": np.array([1.0, 2.0, 4.0]),
        "label": "a name",
        "nothing": None,
        "flag": True,
        "count": 3,
        "half": np.float32(0.5),
        "names": np.array(["a", "bc", "d"], dtype=object),
        "options": {"scale": 2.0, "a/b": np.arange(3, dtype=np.int16), 7: [np.ones(2), "x", (1, None)]},
    }

    def log_joint(z, **data):
        return -0.5 * anp.sum((data["y"] - z.mu) ** 2) / data["options"]["scale"] ** 2

    fit = bbvi.fit(bbvi.Model(log_joint, {"mu": bbvi.Real()}, data), seed=1)
    save(fit, path)
    again = load(path).model.data
    assert list(again) == list(data)
    assert [again[name] for name in ("label", "nothing", "flag", "count", "half")] == ["a name", None, True, 3, 0.5]
    assert again["half"].dtype == np.float32 and type(again["count"]) is int
    np.testing.assert_array_equal(again["names"], ["a", "bc", "d"])
    options = again["options"]
    assert list(options) == ["scale", "a/b", 7] and options["scale"] == 2.0
    assert options["a/b"].dtype == np.int16 and options["a/b"].tolist() == [0, 1, 2]
    np.testing.assert_array_equal(options[7][0], np.ones(2))
    assert options[7][1:] == ["x", (1, None)]


def test_data_that_cannot_be_saved_are_named(path):
    def log_joint(z, table, y):
        return -0.5 * anp.sum((y - z.mu) ** 2) + table.offset

    class Table:
        offset = 1.0

    data = {"table": Table(), "y": np.ones(3)}
    fit = bbvi.fit(bbvi.Model(log_joint, {"mu": bbvi.Real()}, data), seed=1)
    with pytest.warns(RuntimeWarning, match=r"data: 'table' \(Table\) cannot be saved without pickles"):
        save(fit, path)
    assert list(load(path).model.data) == ["y"]
    assert load(path, fit.model).model.data["table"] is data["table"]
