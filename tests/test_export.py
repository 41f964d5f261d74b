"""What ArviZ gets: groups, dimensions, coordinates, attributes, and that its own functions take them."""

from __future__ import annotations

import datetime

import arviz as az
import autograd.numpy as anp
import numpy as np
import pandas as pd
import pytest
from posteriors import SLOPES, regression, schools, supports

import bbvi
from bbvi.output.arviz import to_datatree

GROUPS = {
    "posterior", "unconstrained_posterior", "sample_stats", "log_likelihood", "log_prior",
    "posterior_predictive", "prior", "prior_predictive", "observed_data", "constant_data", "fit",
}  # fmt: skip


@pytest.fixture(scope="module")
def fit():
    return bbvi.fit(schools(), seed=1)


@pytest.fixture(scope="module")
def regression_fit():
    return bbvi.fit(regression(), seed=1)


def groups(data) -> set[str]:
    return set(data.children) if hasattr(data, "children") else set(data.groups())


def test_groups_dims_and_coords(fit):
    data = fit.to_arviz(draws=50)
    assert groups(data) == GROUPS
    posterior = data["posterior"]
    assert posterior["theta"].dims == ("chain", "draw", "school")
    assert posterior["tau"].shape == (1, 50)
    assert list(posterior["school"].values) == list("ABCDEFGH")
    assert data["log_likelihood"]["y"].dims == ("chain", "draw", "school")
    assert data["observed_data"]["y"].dims == ("school",)
    assert list(data["constant_data"].data_vars) == ["sigma"]
    assert data["posterior_predictive"]["y"].shape == (1, 50, 8)


def test_posterior_is_what_sample_gives(fit):
    data, draws = fit.to_arviz(draws=40, seed=7), fit.sample(40, seed=7)
    for name, x in draws.items():
        np.testing.assert_array_equal(data["posterior"][name].values[0], x)
    np.testing.assert_allclose(data["unconstrained_posterior"]["tau"].values[0], np.log(draws["tau"]))
    theta = draws["mu"][:, None] + draws["tau"][:, None] * draws["eta"]
    np.testing.assert_allclose(data["posterior"]["theta"].values[0], theta)


def test_same_seed_same_draws(fit):
    first, second = fit.to_arviz(draws=30), fit.to_arviz(draws=30)
    for group in ("posterior", "posterior_predictive", "prior", "prior_predictive"):
        for name in first[group].data_vars:
            np.testing.assert_array_equal(first[group][name].values, second[group][name].values)


@pytest.mark.parametrize("kind", ["mean-field", "linear-response", "importance"])
def test_sample_stats_carry_the_weights(regression_fit, kind):
    fit = regression_fit
    stats = fit.to_arviz(draws=60, kind=kind)["sample_stats"]
    u = fit.to_arviz(draws=60, kind=kind)["posterior"]["beta"].values[0]
    np.testing.assert_allclose(stats["lp"].values[0], fit.target.values(u))
    if kind == "importance":
        assert not stats["log_weight"].values.any()
    else:
        assert np.exp(stats["log_weight"].values).sum() == pytest.approx(1.0)
    if kind == "mean-field":
        np.testing.assert_allclose(stats["log_q"].values[0], fit.approximation.log_density(u))


def test_fit_group(fit):
    group = fit.to_arviz(draws=20)["fit"]
    np.testing.assert_array_equal(group["mean"].values, fit.approximation.mean)
    np.testing.assert_array_equal(group["covariance"].values, fit.covariance)
    assert list(group["unconstrained"].values) == fit.model.unconstrained_labels
    assert float(group["elbo"]) == group.attrs["elbo"] == fit.elbo
    assert str(group["verdict"].values) == group.attrs["verdict"] == fit.verdict
    assert group.attrs["status"] == "converged"
    assert list(group["reasons"].values) == fit.reasons
    assert list(group["elbo_trace"].values) == fit.trace.elbo


def test_attributes_name_library_kind_and_seed(fit):
    data = fit.to_arviz(draws=20, kind="mean-field", seed=5)
    for attributes in (data.attrs, data["posterior"].attrs, data["fit"].attrs):
        assert attributes["inference_library"] == "bbvi"
        assert attributes["inference_library_version"] == bbvi.__version__
        assert attributes["kind"] == "mean-field"
        assert attributes["seed"] == 5


def test_predictive_moments(regression_fit):
    """Posterior predictive means and prior sds; 6 standard errors: false alarms below 1e-6."""
    fit = regression_fit
    data = fit.to_arviz(draws=2000)
    predicted = data["posterior_predictive"]["y"].values[0]
    expected = fit.model.data["x"] @ fit.approximation.mean
    assert np.all(np.abs(predicted.mean(axis=0) - expected) < 6 * predicted.std(axis=0) / np.sqrt(2000))
    prior = data["prior"]["beta"].values[0]
    assert np.all(np.abs(prior.std(axis=0) - 2.0) < 6 * 2.0 / np.sqrt(2 * len(prior)))


def test_log_prior_is_the_models(fit):
    data = fit.to_arviz(draws=10)
    draws = {name: data["posterior"][name].values[0] for name in fit.model.latents}
    for s in range(10):
        values = {name: x[s] for name, x in draws.items()}
        assert data["log_prior"]["log_prior"].values[0, s] == pytest.approx(
            float(fit.model.call("log_prior", values))
        )


def test_summary_rows_are_those_of_the_fit(fit):
    table = az.summary(fit.to_arviz(draws=200))
    assert list(table.index) == list(fit.summary().index)


def test_arviz_functions_take_it(regression_fit):
    data = regression_fit.to_arviz(draws=500)
    az.plot_forest(data)
    loo = az.loo(data, pointwise=True)
    assert np.isfinite(np.asarray(loo["pareto_k"])).all()


def test_netcdf_round_trip_keeps_everything(fit, tmp_path):
    data = fit.to_arviz(draws=30)
    data.to_netcdf(str(tmp_path / "fit.nc"), engine="h5netcdf")
    again = az.from_netcdf(str(tmp_path / "fit.nc"))
    assert groups(again) == groups(data)
    for group in sorted(GROUPS):
        first, second = data[group], again[group]
        assert set(first.variables) == set(second.variables)
        assert dict(first.attrs) == dict(second.attrs)
        for name in first.variables:
            assert first[name].dims == second[name].dims
            np.testing.assert_array_equal(first[name].values, second[name].values)
    assert dict(again.attrs) == dict(data.attrs)
    (again.close if hasattr(again, "close") else lambda: None)()


def test_every_support():
    fit = bbvi.fit(supports(), seed=1)
    data = fit.to_arviz(draws=25)
    posterior, free = data["posterior"], data["unconstrained_posterior"]
    assert posterior["chol"].dims == ("chain", "draw", "part", "part_bis")
    assert list(posterior["part_bis"].values) == ["a", "b"]
    assert posterior["shares"].dims == ("chain", "draw", "part")
    assert free["shares"].shape == (1, 25, 1)
    assert free["chol"].shape == (1, 25, 1)
    assert "log_likelihood" not in groups(data)


def test_no_unconstrained_group_where_it_is_the_same(regression_fit):
    data = regression_fit.to_arviz(draws=10)
    assert "unconstrained_posterior" not in groups(data)
    assert list(data["posterior"]["predictor"].values) == SLOPES


def test_predicted_data_count_as_observed_without_a_log_likelihood():
    model = bbvi.Model(
        lambda z, y: -0.5 * z.mu**2 - 0.5 * np.sum((y - z.mu) ** 2),
        latents={"mu": bbvi.Real()},
        data={"y": [0.5, 1.0, -0.2]},
        predict=lambda z, rng, y: {"y": rng.normal(z.mu, 1.0, size=len(y))},
    )
    data = bbvi.fit(model, seed=1).to_arviz(draws=10)
    assert list(data["observed_data"].data_vars) == ["y"]
    assert "constant_data" not in groups(data)


def test_vectorized_model():
    model = bbvi.Model(
        lambda z: -0.5 * np.sum((z.x - 1.0) ** 2, axis=1),
        latents={"x": bbvi.Real(shape=2)},
        derived=lambda z: {"total": z.x.sum(axis=1)},
        predict=lambda z, rng: {"new": z.x + rng.normal(size=z.x.shape)},
        gradient=lambda z: (-0.5 * np.sum((z.x - 1.0) ** 2, axis=1), -(z.x - 1.0)),
        vectorized=True,
    )
    data = bbvi.fit(model, seed=1).to_arviz(draws=12)
    np.testing.assert_allclose(data["posterior"]["total"].values, data["posterior"]["x"].values.sum(axis=-1))
    assert data["posterior_predictive"]["new"].shape == (1, 12, 2)


def test_variable_that_is_called_like_a_dimension():
    model = bbvi.Model(
        lambda z, year: -0.5 * np.sum(z.rate**2) + 0.0 * np.sum(year),
        latents={"rate": bbvi.Real(dims="year")},
        data={"year": np.array([1900.0, 1901.0])},
        coords={"year": [1900, 1901]},
        dims={"year": "year"},
    )
    data = bbvi.fit(model, seed=1).to_arviz(draws=5)
    assert data["posterior"]["rate"].dims == ("chain", "draw", "year")
    assert list(data["constant_data"].data_vars) == ["year"]


def test_prior_predictive_is_left_out_where_predict_cannot_bear_the_prior():
    model = bbvi.Model(
        lambda z: -0.5 * z.a**2,
        latents={"a": bbvi.Real()},
        predict=lambda z, rng: {"n": rng.poisson(np.exp(z.a))},
        sample_prior=lambda rng: {"a": rng.normal(0, 1000)},
    )
    with pytest.warns(RuntimeWarning, match="no prior_predictive"):
        data = bbvi.fit(model, seed=1).to_arviz(draws=20)
    assert {"prior", "posterior_predictive"} <= groups(data)
    assert "prior_predictive" not in groups(data)


@pytest.mark.parametrize("bad", [{"draws": 0}, {"draws": 2.5}, {"kind": "laplace"}])
def test_bad_arguments_are_named(regression_fit, bad):
    with pytest.raises((TypeError, ValueError), match="draws|kind|n:"):
        regression_fit.to_arviz(**bad)


def test_the_tree_is_the_same_in_every_version(fit):
    tree = to_datatree(fit, 10)
    assert set(tree.children) == GROUPS


@pytest.mark.parametrize("ending", [".nc", ".npz"])
def test_dates_truth_values_and_tuples_as_coordinates(ending, tmp_path):
    """They became text in ArviZ, and dates could not be saved."""
    coords = {
        "t": pd.date_range("2024-01-01", periods=2), "day": [datetime.date(2024, 1, 1), datetime.date(2024, 1, 2)],
        "flag": [False, True], "pair": [("a", 1), ("a", 2)],
    }  # fmt: skip
    latents = {f"of_{dim}": bbvi.Real(dims=dim) for dim in coords}
    model = bbvi.Model(lambda z: -sum(anp.sum(z[name] ** 2) for name in latents), latents, coords=coords)
    fit = bbvi.fit(model, seed=1)
    fit.save(tmp_path / f"fit{ending}")
    for each in (fit, bbvi.load(tmp_path / f"fit{ending}")):
        data = each.to_arviz(draws=10)
        own = {dim: data["posterior"].coords[dim].values for dim in coords}
        assert [own[dim].dtype.kind for dim in coords] == ["M", "M", "b", "U"]
        assert (own["t"] == coords["t"].values).all() and (own["flag"] == coords["flag"]).all()
        assert list(own["pair"]) == ["a,1", "a,2"]
        assert list(each.summary().index[-4:]) == ["of_flag[False]", "of_flag[True]", "of_pair[a,1]", "of_pair[a,2]"]
    if ending == ".nc":
        data = az.from_netcdf(str(tmp_path / "fit.nc"))
        assert data["posterior"].coords["t"].dtype.kind == "M" and data["posterior"].coords["flag"].dtype.kind == "b"
        (data.close if hasattr(data, "close") else lambda: None)()


@pytest.mark.parametrize("latents", [2, 40])
def test_draws_in_chains_that_know_nothing_of_each_other(latents):
    """R-hat and rank plots of ArviZ 1.x need chains; of weighted draws they are parts of the pool, of its own each."""
    fit = bbvi.fit(lambda z: -0.5 * anp.sum(z**2) - 0.1 * anp.sum(z**4), latents, seed=1)
    data = fit.to_arviz(draws=1000, chains=4, seed=2)
    x = np.asarray(data["posterior"]["z"])
    assert x.shape == (4, 250, latents)
    apart = [{row.tobytes() for row in chain} for chain in x]
    assert not any(apart[i] & apart[j] for i in range(4) for j in range(i))
    rhat = np.asarray((az.rhat(data)["posterior"] if "posterior" in az.rhat(data) else az.rhat(data))["z"])
    assert np.all(rhat < 1.05)
    with pytest.raises(ValueError, match="chains: expected a divisor of the number of draws, 1000, got 7"):
        fit.to_arviz(draws=1000, chains=7)
