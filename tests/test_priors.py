"""Densities with their parameters, and priors that are declared with the latents."""

from __future__ import annotations

import pickle
from typing import Any

import autograd.numpy as anp
import numpy as np
import pytest
import scipy.stats

import bbvi
from bbvi import stats
from bbvi.stats import dirichlet, gamma, halfcauchy, norm

Y = np.array([28.0, 8, -3, 7, -1, 1, 18, 12])
SIGMA = np.array([15.0, 10, 16, 11, 9, 11, 10, 18])


# ---- frozen densities ----------------------------------------------------------------------------------------------

FROZEN = {
    "norm": (0.5, 2.0), "t": (3.0, 0.5, 2.0), "gamma": (2.0, 0.0, 3.0), "beta": (2.0, 3.0), "halfcauchy": (0, 5),
    "poisson": (3.0,), "binom": (7, 0.3), "nbinom": (3.0, 0.4), "multivariate_normal": (np.zeros(2), np.eye(2)),
    "dirichlet": (np.array([1.0, 2.0, 3.0]),),
}  # fmt: skip


@pytest.mark.parametrize("name", FROZEN)
def test_a_frozen_density_is_scipys(name: str) -> None:
    frozen, theirs = getattr(stats, name)(*FROZEN[name]), getattr(scipy.stats, name)(*FROZEN[name])
    x = frozen.rvs(size=5, random_state=np.random.default_rng(0))
    np.testing.assert_array_equal(x, theirs.rvs(size=5, random_state=np.random.default_rng(0)))
    word = "logpdf" if hasattr(frozen.density, "logpdf") else "logpmf"
    expected = [getattr(theirs, word)(one) for one in x]
    np.testing.assert_allclose(getattr(frozen, word)(x), expected, rtol=1e-9)
    np.testing.assert_array_equal(frozen.log_density(x), getattr(frozen, word)(x))
    again = pickle.loads(pickle.dumps(frozen))
    assert repr(again) == repr(frozen) and again.density is frozen.density


def test_parameters_are_checked_when_they_are_given() -> None:
    assert repr(norm(scale=2)) == "norm(scale=2)" and norm(scale=2).logpdf(0.0) == norm.logpdf(0.0, 0, 2)
    with pytest.raises(TypeError, match=r"norm\(1, 2, 3\): too many"):
        norm(1, 2, 3)
    with pytest.raises(TypeError, match="missing a required argument: 'a'"):
        gamma()
    with pytest.raises(AttributeError, match="gamma has no function 'logcdf'"):
        gamma(2).logcdf(1.0)
    with pytest.raises(ValueError, match="whole shape"):
        stats.lkj_cholesky(2.0).rvs()
    with pytest.raises(NotImplementedError, match="SciPy has no"):
        stats.ordered_logistic(0.2, np.array([0.0, 1.0])).rvs()


# ---- declared priors -----------------------------------------------------------------------------------------------

LATENTS: dict[str, Any] = {
    "mu": bbvi.Real(prior=norm(0, 5)),
    "tau": bbvi.Positive(prior=halfcauchy(0, 5)),
    "eta": bbvi.Real(shape=8, prior=norm()),
}


def likelihood(z: Any, y: Any, sigma: Any) -> Any:
    return norm.logpdf(y, z.mu + z.tau * z.eta, sigma)


def by_hand(z: Any, y: Any, sigma: Any) -> Any:
    prior = norm.logpdf(z.mu, 0, 5) + halfcauchy.logpdf(z.tau, 0, 5) + anp.sum(norm.logpdf(z.eta))
    return prior + anp.sum(likelihood(z, y, sigma))


@pytest.mark.parametrize("way", ["log_joint", "summed", "log_likelihood"])
def test_declared_priors_are_those_written_by_hand(way: str) -> None:
    functions: dict[str, Any] = {
        "log_joint": {"log_joint": likelihood},
        "summed": {"log_joint": lambda z, y, sigma: anp.sum(likelihood(z, y, sigma))},
        "log_likelihood": {"log_likelihood": likelihood},
    }[way]
    data = {"y": Y, "sigma": SIGMA}
    declared = bbvi.Model(latents=LATENTS, data=data, **functions)
    plain = bbvi.Model(
        by_hand, {"mu": bbvi.Real(), "tau": bbvi.Positive(), "eta": bbvi.Real(shape=8)}, data
    )
    z = {"mu": 1.3, "tau": 2.0, "eta": np.linspace(-1, 1, 8)}
    assert abs(declared.log_joint(z) - plain.log_joint(z)) < 1e-12
    assert bbvi.check_model(declared).ok
    fit, other = bbvi.fit(declared, seed=1), bbvi.fit(plain, seed=1)
    assert fit.verdict == "reliable" and not any("forgotten" in reason for reason in fit.reasons)
    np.testing.assert_allclose(fit.summary()["mean"], other.summary()["mean"], atol=0.1)
    # For free: prior draws, and how much prior and likelihood matter.
    idata = fit.to_arviz(draws=200)
    assert np.asarray(idata["prior"]["eta"]).shape == (1, 200, 8)
    table = fit.sensitivity()
    split = bbvi.Model(
        latents={"mu": bbvi.Real(), "tau": bbvi.Positive(), "eta": bbvi.Real(shape=8)}, data=data,
        log_prior=lambda z: by_hand(z, Y, SIGMA) - anp.sum(likelihood(z, Y, SIGMA)), log_likelihood=likelihood,
    )  # fmt: skip
    expected = bbvi.fit(split, seed=1).sensitivity()
    np.testing.assert_allclose(table[["prior", "likelihood"]], expected[["prior", "likelihood"]], atol=0.02)
    assert (way == "log_likelihood") == bool(declared.observed)


def test_priors_beside_a_log_prior_and_in_batches() -> None:
    y = np.array([0.3, 1.2, -0.4])
    model = bbvi.Model(
        latents={"a": bbvi.Real(prior=norm(0, 2)), "b": bbvi.Real()},
        data={"y": y},
        log_prior=lambda z: norm.logpdf(z.b, z.a, 1)[:, None],
        log_likelihood=lambda z, y: norm.logpdf(y, z.b[:, None], 1),
        vectorized=True,
    )
    right = norm.logpdf(0.5, 0, 2) + norm.logpdf(1.0, 0.5, 1) + np.sum(norm.logpdf(y, 1.0, 1))
    assert abs(model.log_joint({"a": 0.5, "b": 1.0}) - right) < 1e-12
    assert "sample_prior" not in model.functions
    precision = np.array([[1 / 4 + 1, -1], [-1, 1 + 3]])
    exact = np.linalg.solve(precision, [0, y.sum()])
    np.testing.assert_allclose(bbvi.fit(model, seed=1).summary()["mean"], exact, atol=0.02)


def test_draws_from_priors_are_inside_the_supports() -> None:
    model = bbvi.Model(
        lambda z: 0.0 * z.p,
        {
            "p": bbvi.Positive(prior=norm(0, 5)), "i": bbvi.Interval(-1, 2, prior=norm(1, 3), shape=4),
            "s": bbvi.Simplex(shape=(2, 3), prior=dirichlet(np.ones(3))),
            "r": bbvi.Real(prior=norm([0, 10], 1), shape=2),
        },
    )  # fmt: skip
    draw = model.functions["sample_prior"](np.random.default_rng(0))
    assert draw["p"] > 0 and ((draw["i"] > -1) & (draw["i"] < 2)).all() and draw["i"].shape == (4,)
    assert draw["s"].shape == (2, 3) and np.allclose(draw["s"].sum(axis=-1), 1)
    assert draw["r"].shape == (2,) and abs(draw["r"][1] - 10) < 5
    hopeless = bbvi.Model(lambda z: 0.0 * z.p, {"p": bbvi.Positive(prior=norm(-100, 1))})
    with pytest.raises(ValueError, match=r"norm\(-100, 1\) of latent 'p' is hardly ever inside"):
        hopeless.functions["sample_prior"](np.random.default_rng(0))


def test_a_prior_is_checked_and_data_that_nobody_takes_still_is_an_error() -> None:
    with pytest.raises(TypeError, match=r"Real: expected prior to be a density with its parameters, .* got <function"):
        bbvi.Real(prior=norm.logpdf)
    with pytest.raises(ValueError, match="'x' is an argument of none"):
        bbvi.Model(
            latents={"a": bbvi.Real(prior=norm())}, data={"y": [1.0], "x": [2.0]},
            log_likelihood=lambda z, y: norm.logpdf(y, z.a),
        )  # fmt: skip
    with pytest.raises(ValueError, match="prior=: goes with log_joint"):
        bbvi.Model(latents={"a": bbvi.Real(prior=norm())}, gradient=lambda z: (0.0, np.zeros(1)))


def test_a_model_with_priors_is_saved_and_read(tmp_path: Any) -> None:
    model = bbvi.Model(latents=LATENTS, data={"y": Y, "sigma": SIGMA}, log_likelihood=likelihood)
    fit = bbvi.fit(model, seed=1)
    fit.save(tmp_path / "fit.npz")
    assert bbvi.load(tmp_path / "fit.npz").summary().equals(fit.summary())
    assert bbvi.load(tmp_path / "fit.npz", model).sensitivity().equals(fit.sensitivity())


@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_prior_draws_of_ordered_latents_are_those_of_the_cut_density(spread: float) -> None:
    """Against rejection by hand; a Kolmogorov-Smirnov test of each element at 1e-4, seed fixed."""
    loc = spread * np.array([0.5, 0.0, -0.5])
    model = bbvi.Model(
        latents={"c": bbvi.Ordered(shape=3, prior=norm(loc if spread else 0.0, 2))},
        log_likelihood=lambda z, y: norm.logpdf(y, z.c[1], 1), data={"y": np.zeros(2)},
    )  # fmt: skip
    rng = np.random.default_rng(1)
    drawn = np.array([model.functions["sample_prior"](rng)["c"] for _ in range(2000)])
    assert (np.diff(drawn, axis=1) > 0).all()
    x = rng.normal(loc, 2, (60_000, 3))
    x = x[(np.diff(x, axis=1) > 0).all(axis=1)]
    assert min(scipy.stats.ks_2samp(drawn[:, i], x[:, i]).pvalue for i in range(3)) > 1e-4
    assert bbvi.check_model(model).ok


@pytest.mark.parametrize(("size", "eta"), [(2, 1.0), (3, 2.5), (5, 0.7)])
def test_draws_of_lkj_factors(size: int, eta: float) -> None:
    """Each correlation is 2 Beta(b, b) - 1 with b = eta + K / 2 - 1 (Lewandowski, Kurowicka, Joe 2009), at 1e-4."""
    chol = stats.lkj_cholesky(eta).rvs(size=(4000, size, size), random_state=3)
    assert np.isfinite(stats.lkj_cholesky.logpdf(chol, eta)).all()
    corr = chol @ chol.transpose(0, 2, 1)
    b = eta + size / 2 - 1
    for i in range(size):
        for j in range(i):
            assert scipy.stats.kstest((corr[:, i, j] + 1) / 2, scipy.stats.beta(b, b).cdf).pvalue > 1e-4


def test_a_prior_too_wide_for_predictions_is_told() -> None:
    """A rate that overflows: no prior predictive, and a word about it, before the fit and after."""
    model = bbvi.Model(
        latents={"a": bbvi.Real(prior=norm(0, 400))},
        log_likelihood=lambda z, c: stats.poisson.logpmf_log_rate(c, z.a),
        predict=lambda z, rng, c: {"c": rng.poisson(np.exp(z.a), size=3)}, data={"c": np.array([2.0, 3.0, 1.0])},
    )  # fmt: skip
    assert "no prior predictive" in str(bbvi.check_model(model))
    with pytest.warns(RuntimeWarning, match="no prior_predictive: predict failed"):
        idata = bbvi.fit(model, seed=1).to_arviz(draws=100)
    names = list(idata.groups()) if callable(idata.groups) else list(idata.groups)
    assert not any("prior_predictive" in name for name in names) and any("posterior_pred" in name for name in names)


def test_what_priors_predict_before_a_fit() -> None:
    def predict(z: Any, rng: np.random.Generator, x: Any) -> dict[str, Any]:
        return {"y": rng.normal(z.a * x, 0.1)}

    def log_likelihood(z: Any, x: Any, y: Any) -> Any:
        return norm.logpdf(y, z.a * x, 0.1)

    latents = {"a": bbvi.Real(prior=norm(2, 3))}
    data = {"x": [0.0, 10.0], "y": [0.0, 1.0]}
    model = bbvi.Model(log_likelihood=log_likelihood, latents=latents, data=data, predict=predict)
    drawn = bbvi.prior_predictive(model, 2000, seed=1)
    assert list(drawn) == ["a", "y"] and drawn["a"].shape == (2000,) and drawn["y"].shape == (2000, 2)
    # Five standard errors: a failure in two million.
    assert (np.abs(drawn["y"].mean(axis=0) - [0, 20]) < 5 * np.array([0.1, 30]) / np.sqrt(2000)).all()
    np.testing.assert_allclose(drawn["y"][:, 1], 10 * drawn["a"], atol=0.6)
    np.testing.assert_array_equal(bbvi.prior_predictive(model, 5, seed=1)["y"], bbvi.prior_predictive(model, 5, 1)["y"])
    with pytest.raises(ValueError, match="predict: this model has none"):
        bbvi.prior_predictive(bbvi.Model(log_likelihood=log_likelihood, latents=latents, data=data))
    with pytest.raises(ValueError, match="sample_prior: this model has none"):
        bbvi.prior_predictive(bbvi.Model(lambda z: -(z.a**2), {"a": bbvi.Real()}))
    with pytest.raises(ValueError, match="draws: expected an integer of 1 or more, got 0"):
        bbvi.prior_predictive(model, 0)


def test_sensitivity_to_some_of_the_priors() -> None:
    """Eight schools: the distribution of the effects is the model; with it, all looks sensitive to "the prior"."""
    model = bbvi.Model(latents=LATENTS, data={"y": Y, "sigma": SIGMA}, log_likelihood=likelihood)
    fit = bbvi.fit(model, seed=1)
    every, some = fit.sensitivity(), fit.sensitivity(priors=["mu", "tau"])
    np.testing.assert_array_equal(every["likelihood"], some["likelihood"])
    effects = [label for label in some.index if label.startswith("eta")]
    assert (some.loc[effects, "prior"] < 0.5 * every.loc[effects, "prior"]).all() and some.loc["tau", "prior"] > 0.02
    whole = fit.sensitivity(priors=["mu", "tau", "eta"])
    np.testing.assert_allclose(whole["prior"], every["prior"], atol=1e-6)
    for bad in (["nu"], "mu", []):
        with pytest.raises(ValueError, match="expected names of latents with prior=, which are 'mu', 'tau', 'eta'"):
            fit.sensitivity(priors=bad)
