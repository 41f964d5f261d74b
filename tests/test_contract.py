"""The contract of design.md, section 1: every public name and rule, as a user meets them."""

from __future__ import annotations

import warnings
from functools import partial

import arviz as az
import autograd.numpy as np
import numpy as onp
import pandas as pd
import pytest
from scipy import stats as sps

import bbvi
from bbvi.stats import halfcauchy, norm

SCHOOLS = {"y": [28, 8, -3, 7, -1, 1, 18, 12], "sigma": [15, 10, 16, 11, 9, 11, 10, 18]}
COLUMNS = ["mean", "sd", "eti_lb", "eti_ub", "mcse_mean", "sd_mean_field", "verdict", "check"]
PAIR = {"a": bbvi.Real(), "b": bbvi.Positive()}


def schools_log_joint(z, y, sigma):
    theta = z.mu + z.tau * z.eta
    return (
        norm.logpdf(z.mu, 0, 5) + halfcauchy.logpdf(z.tau, 0, 5)
        + np.sum(norm.logpdf(z.eta)) + np.sum(norm.logpdf(y, theta, sigma))
    )  # fmt: skip


def schools_split(**options) -> bbvi.Model:
    def log_prior(z):
        return norm.logpdf(z.mu, 0, 5) + halfcauchy.logpdf(z.tau, 0, 5) + np.sum(norm.logpdf(z.eta))

    def log_likelihood(z, y, sigma):
        return norm.logpdf(y, z.mu + z.tau * z.eta, sigma)

    arguments = {
        "log_prior": log_prior,
        "log_likelihood": log_likelihood,
        "latents": {"mu": bbvi.Real(), "tau": bbvi.Positive(), "eta": bbvi.Real(dims="school")},
        "data": SCHOOLS,
        "coords": {"school": list("ABCDEFGH")},
        "dims": {"theta": "school", "y": "school"},
        "derived": lambda z: {"theta": z.mu + z.tau * z.eta},
        "predict": lambda z, rng, sigma: {"y": rng.normal(z.mu + z.tau * z.eta, sigma)},
        "sample_prior": lambda rng: {
            "mu": rng.normal(0, 5), "tau": abs(5 * rng.standard_cauchy()), "eta": rng.standard_normal(8),
        },
    }  # fmt: skip
    return bbvi.Model(**(arguments | options))


@pytest.fixture(scope="module")
def schools() -> bbvi.Fit:
    return bbvi.fit(schools_split(), seed=1)


def groups(idata) -> set[str]:
    return {name.strip("/") for name in (idata.groups() if callable(idata.groups) else idata.groups)} - {""}


def pair_log_joint(z):
    return norm.logpdf(z.a, 1, 2) + norm.logpdf(np.log(z.b), 0, 0.5) - np.log(z.b)


# ---- the examples ---------------------------------------------------------------------------------------------------


def test_the_example_prints_nothing_until_asked(capsys):
    model = bbvi.Model(
        schools_log_joint,
        latents={"mu": bbvi.Real(), "tau": bbvi.Positive(), "eta": bbvi.Real(dims="school")},
        data=SCHOOLS,
        coords={"school": list("ABCDEFGH")},
    )
    fit = bbvi.fit(model, seed=1)
    idata = fit.to_arviz()
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")
    text = str(fit)
    for part in (fit.status, fit.verdict, "ELBO", "k-hat", "mu", "eta[A]"):
        assert part in text
    assert {"posterior", "sample_stats", "fit"} <= groups(idata)
    assert "mu" in az.summary(idata).index
    # Long NUTS runs: mu 4.4 +- 3.3, tau 3.6 +- 3.2.
    summary = fit.summary()
    assert summary.loc["mu", "mean"] == pytest.approx(4.4, abs=0.33)
    assert summary.loc["tau", "mean"] == pytest.approx(3.6, abs=0.32)


def test_the_smallest_thing():
    fit = bbvi.fit(lambda z: -0.5 * np.sum((z - 3) ** 2), 10)
    summary = fit.summary()
    assert list(summary.index) == [f"z[{i}]" for i in range(10)]
    assert onp.allclose(summary["mean"], 3, atol=0.02)
    assert onp.allclose(summary["sd"], 1, atol=0.02)
    assert fit.sample(5)["z"].shape == (5, 10)


# ---- the log joint --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["scalar", "terms", "list", "vectorized", "vectorized terms", "split", "split dict"])
def test_forms_of_the_log_joint_agree(form):
    y = onp.array([0.5, 1.5, 1.0])

    def prior(z):
        return norm.logpdf(z.m, 0, 3)

    def like(z, y):
        return norm.logpdf(y, z.m, 1)

    def batch(z, y):
        return np.concatenate([norm.logpdf(z.m, 0, 3)[:, None], norm.logpdf(y, z.m[:, None], 1)], axis=1)

    options = {
        "scalar": {"log_joint": lambda z, y: prior(z) + np.sum(like(z, y))},
        "terms": {"log_joint": lambda z, y: np.append(like(z, y), prior(z))},
        "list": {"log_joint": lambda z, y: [prior(z), np.sum(like(z, y))]},
        "vectorized": {"log_joint": lambda z, y: np.sum(batch(z, y), axis=1), "vectorized": True},
        "vectorized terms": {"log_joint": batch, "vectorized": True},
        "split": {"log_prior": prior, "log_likelihood": like},
        "split dict": {"log_prior": prior, "log_likelihood": lambda z, y: {"y": like(z, y)}},
    }[form]
    fit = bbvi.fit(bbvi.Model(latents={"m": bbvi.Real()}, data={"y": y}, **options), seed=1)
    variance = 1 / (3 + 1 / 9)
    assert fit.verdict == "reliable"
    assert fit.summary().loc["m", "mean"] == pytest.approx(3 * variance, abs=0.01)
    assert fit.summary().loc["m", "sd"] == pytest.approx(variance**0.5, rel=0.01)
    evidence = sps.multivariate_normal(onp.zeros(3), onp.eye(3) + 9).logpdf(y)
    assert fit.elbo == pytest.approx(evidence, abs=0.01)


def test_data_by_signature_with_types_kept():
    seen = {}

    def by_name(z, *, n, flag, name, y, w, **everything):
        seen.update(n=n, flag=flag, name=name, y=y, w=w, **everything)
        return norm.logpdf(z.m)

    data = {
        "n": 3, "flag": True, "name": "x", "y": [1, 2], "w": onp.float32([1, 2]), "mask": onp.array([True, False]),
        "words": ["a", "b"], "x": 2.5,
    }  # fmt: skip
    bbvi.fit(bbvi.Model(by_name, {"m": bbvi.Real()}, data=data), seed=1)
    assert type(seen["n"]) is int and type(seen["flag"]) is bool and type(seen["x"]) is float and seen["name"] == "x"
    assert isinstance(seen["y"], onp.ndarray) and seen["y"].dtype.kind == "i"
    assert seen["w"].dtype == onp.float32 and seen["mask"].dtype == bool and seen["words"].dtype.kind == "U"


def test_unused_and_missing_data_are_errors():
    with pytest.raises(ValueError, match="'w'"):
        bbvi.Model(lambda z, y: norm.logpdf(z.m), {"m": bbvi.Real()}, data={"y": 1, "w": 2})
    with pytest.raises(ValueError, match="'y'"):
        bbvi.Model(lambda z, y: norm.logpdf(z.m), {"m": bbvi.Real()}, data={})


def test_z_by_key_and_attribute_on_the_constrained_scale():
    def log_joint(z):
        assert np.ndim(z["b"]) == 0 and np.shape(z.c) == (2, 3)
        return norm.logpdf(z["a"], 1, 2) + norm.logpdf(np.log(z.b), 0, 0.5) - np.log(z.b) + np.sum(norm.logpdf(z["c"]))

    fit = bbvi.fit(log_joint, {"a": bbvi.Real(), "b": bbvi.Positive(), "c": (2, 3)}, seed=1)
    summary = fit.summary()
    assert list(summary.index)[:3] == ["a", "b", "c[0, 0]"]
    assert summary.loc["b", "mean"] == pytest.approx(onp.exp(0.125), rel=0.02)


def test_log_likelihood_names():
    bare = bbvi.Model(
        log_prior=lambda z: norm.logpdf(z.m), log_likelihood=lambda z, t, s: norm.logpdf(t, z.m, s),
        latents={"m": bbvi.Real()}, data={"s": 1.0, "t": [1.0, 2.0]},
    )  # fmt: skip
    assert bare.observed == ("t",)
    two = bbvi.Model(
        log_prior=lambda z: norm.logpdf(z.m),
        log_likelihood=lambda z, t, u: {"t": norm.logpdf(t, z.m, 1), "u": norm.logpdf(u, z.m, 1)},
        latents={"m": bbvi.Real()}, data={"t": [1.0, 2.0], "u": [0.0, 1.0, 2.0]},
    )  # fmt: skip
    fit = bbvi.fit(two, seed=1)
    idata = fit.to_arviz(draws=50)
    assert set(idata["log_likelihood"].data_vars) == {"t", "u"} == set(idata["observed_data"].data_vars)
    assert fit.summary().loc["m", "mean"] == pytest.approx(1.0, abs=0.01)


def test_with_data():
    model = bbvi.Model(
        lambda z, y: norm.logpdf(z.m, 0, 10) + np.sum(norm.logpdf(y, z.m, 1)), {"m": bbvi.Real()}, data={"y": [0.0, 1]}
    )
    other = model.with_data(y=[10.0, 12, 14])
    assert bbvi.fit(other, seed=1).summary().loc["m", "mean"] == pytest.approx(36 / 3.01, abs=0.01)
    assert len(model.data["y"]) == 2
    with pytest.raises(ValueError, match="nope"):
        model.with_data(nope=1)


@pytest.mark.parametrize("form", ["dict", "flat", "alone", "vectorized"])
def test_own_gradient(form):
    def value(z):
        return float(-0.5 * ((z.a - 1) / 2) ** 2 - 0.5 * (onp.log(z.b) / 0.5) ** 2 - onp.log(z.b))

    def gradient(z):
        return -(z.a - 1) / 4, -onp.log(z.b) / 0.25 / z.b - 1 / z.b

    options = {
        "dict": {"log_joint": value, "gradient": lambda z: (value(z), dict(zip("ab", gradient(z), strict=True)))},
        "flat": {"log_joint": value, "gradient": lambda z: (value(z), onp.array(gradient(z)))},
        "alone": {"gradient": lambda z: (value(z), onp.array(gradient(z)))},
        "vectorized": {
            "gradient": lambda z: (
                -0.5 * ((z.a - 1) / 2) ** 2 - 0.5 * (onp.log(z.b) / 0.5) ** 2 - onp.log(z.b),
                onp.stack(gradient(z), axis=1),
            ),
            "vectorized": True,
        },
    }[form]
    fit = bbvi.fit(bbvi.Model(latents=PAIR, **options), seed=1)
    assert fit.estimator.startswith("pathwise") and fit.gradient_evaluations > 0
    assert fit.summary().loc["a", "sd"] == pytest.approx(2, rel=0.03)
    assert fit.summary().loc["b", "mean"] == pytest.approx(onp.exp(0.125), rel=0.03)


def test_values_alone_are_enough():
    fit = bbvi.fit(lambda z: float(sps.norm.logpdf(z["a"], 1, 2) + sps.gamma.logpdf(float(z.b), 3)), PAIR, seed=1)
    # One, where autograd was tried.
    assert fit.gradient_evaluations <= 1 and fit.covariance is None
    assert fit.summary().loc["a", "mean"] == pytest.approx(1, abs=0.2)
    assert fit.summary().loc["b", "mean"] == pytest.approx(3, abs=0.2)


def test_a_step_is_noticed():
    with pytest.warns(RuntimeWarning, match="score function"):
        fit = bbvi.fit(lambda z: -0.5 * np.sum(np.round(3 * z) ** 2) / 9 - 0.01 * np.sum(z**2), 1, seed=1)
    assert "score" in fit.estimator


# ---- latents --------------------------------------------------------------------------------------------------------


def test_every_latent_with_shape_and_dims():
    inf = float("inf")
    latents = {
        "r": bbvi.Real(shape=(2, 2)), "p": bbvi.Positive(dims="k"), "i": bbvi.Interval(-1, 2, shape=2),
        "lo": bbvi.Interval(3, inf), "hi": bbvi.Interval(-inf, -3), "free": bbvi.Interval(-inf, inf),
        "s": bbvi.Simplex(dims=("g", "k")), "o": bbvi.Ordered(shape=3), "c": bbvi.CholeskyCorrelation(shape=3),
        "cd": bbvi.CholeskyCorrelation(dims="k"), "bare": 2,
    }  # fmt: skip

    def log_joint(z):
        corr = sum(bbvi.stats.lkj_cholesky.logpdf(x, 2.0) for x in (z.c, z.cd))
        return (
            np.sum(norm.logpdf(z.r)) + np.sum(bbvi.stats.gamma.logpdf(z.p, 4)) + np.sum(norm.logpdf(z.i))
            + bbvi.stats.expon.logpdf(z.lo - 3) + bbvi.stats.expon.logpdf(-3 - z.hi) + norm.logpdf(z.free)
            + np.sum(bbvi.stats.dirichlet.logpdf(z.s, 2 * np.ones(3))) + np.sum(norm.logpdf(z.o)) + corr
            + np.sum(norm.logpdf(z.bare))
        )  # fmt: skip

    coords = {"k": ["x", "y", "z"], "g": [10, 20]}
    fit = bbvi.fit(log_joint_model := bbvi.Model(log_joint, latents, coords=coords), seed=1)
    shapes = {
        "r": (2, 2), "p": (3,), "i": (2,), "lo": (), "hi": (), "free": (), "s": (2, 3), "o": (3,), "c": (3, 3),
        "cd": (3, 3), "bare": (2,),
    }  # fmt: skip
    draws = fit.sample(7)
    assert {name: x.shape[1:] for name, x in draws.items()} == shapes and list(draws) == list(latents)
    assert onp.all(draws["p"] > 0) and onp.all((draws["i"] > -1) & (draws["i"] < 2))
    assert onp.all(draws["lo"] > 3) and onp.all(draws["hi"] < -3)
    assert onp.allclose(draws["s"].sum(-1), 1) and onp.all(onp.diff(draws["o"]) > 0)
    assert onp.allclose(onp.diagonal(draws["c"] @ draws["c"].transpose(0, 2, 1), axis1=1, axis2=2), 1)
    index = list(fit.summary().index)
    for row in ("p[x]", "s[10, z]", "o[2]", "bare[1]", "r[1, 0]"):
        assert row in index
    assert len(index) == sum(int(onp.prod(shape)) for shape in shapes.values())
    assert fit.approximation.mean.shape == (4 + 3 + 2 + 3 + 4 + 3 + 3 + 3 + 2,) == (log_joint_model.dim,)


@pytest.mark.parametrize("name", ["1x", "a b", "class"])
def test_names_are_identifiers(name):
    with pytest.raises((ValueError, TypeError), match="identifier"):
        bbvi.Model(lambda z: 0.0, {name: bbvi.Real()})


# ---- fit: arguments -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("estimator", "solver"),
    [
        ("auto", "auto"), ("pathwise", "auto"), ("score", "auto"), (bbvi.Pathwise(), bbvi.FixedDraws()),
        (bbvi.ScoreFunction(control_variate="regression", rao_blackwell=True), bbvi.NaturalGradient()),
        ("auto", bbvi.NaturalGradient()), (bbvi.Pathwise(stick_the_landing=True), bbvi.Stochastic()),
        (bbvi.ScoreFunction(control_variate="leave-one-out"), bbvi.Stochastic()),
    ],
)  # fmt: skip
def test_estimators_and_solvers(estimator, solver):
    fit = bbvi.fit(pair_log_joint, PAIR, estimator=estimator, solver=solver, seed=1)
    assert fit.summary("mean-field").loc["a", "mean"] == pytest.approx(1, abs=0.25)
    assert len(fit.trace) > 0


@pytest.mark.parametrize("control_variate", ["regression", "leave-one-out", "optimal", "none"])
def test_control_variates(control_variate):
    bbvi.ScoreFunction(control_variate=control_variate, rao_blackwell=False)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"estimator": "score", "solver": bbvi.FixedDraws()}, "goes? with"),
        ({"estimator": "nope"}, "estimator"), ({"solver": "nope"}, "solver"), ({"tolerance": -1}, "tolerance"),
        ({"max_evaluations": 0}, "max_evaluations"), ({"max_seconds": -1.0}, "max_seconds"), ({"seed": "x"}, "seed"),
        ({"init": {"a": 0.0}}, "init"), ({"init": {"a": 0.0, "b": -1.0}}, "'b'"), ({"init": onp.zeros(5)}, "init"),
        ({"callback": 3}, "callback"), ({"executor": 3}, "executor"), ({"tolerance": float("nan")}, "tolerance"),
        ({"init": {"a": onp.nan, "b": 1.0}}, "init"), ({"progress": "yes"}, "progress"),
        ({"checkpoint": 3}, "checkpoint"),
    ],
)  # fmt: skip
def test_bad_arguments_are_named(options, words):
    with pytest.raises((ValueError, TypeError), match=words):
        bbvi.fit(pair_log_joint, PAIR, **options)


@pytest.mark.parametrize("init", [{"a": 1, "b": 2}, [0.0, 0.5], onp.zeros(2)])
def test_init_forms(init):
    assert bbvi.fit(pair_log_joint, PAIR, init=init, seed=1).verdict == "reliable"


def test_budgets_callbacks_and_interrupts():
    few = bbvi.fit(schools_split(), seed=1, max_evaluations=60)
    assert few.status == "budget" and not few.converged and few.message
    short = bbvi.fit(schools_split(), seed=1, max_seconds=1e-6)
    assert short.status == "budget"
    calls = []
    fit = bbvi.fit(schools_split(), seed=1, callback=calls.append)
    assert calls and fit.converged

    def interrupt(progress):
        raise KeyboardInterrupt

    stopped = bbvi.fit(schools_split(), seed=1, callback=interrupt)
    assert stopped.status == "interrupted" and not stopped.converged and len(stopped.summary()) > 0


def test_ctrl_c_in_the_log_joint():
    calls = [0]

    def log_joint(z):
        calls[0] += 1
        if calls[0] == 600:
            raise KeyboardInterrupt
        return float(-0.5 * onp.sum(onp.asarray(z) ** 2))

    fit = bbvi.fit(log_joint, 3, seed=1, solver=bbvi.Stochastic(), estimator="score")
    assert fit.status == "interrupted" and onp.all(onp.isfinite(fit.approximation.mean))


# ---- Fit ------------------------------------------------------------------------------------------------------------


def test_members(schools):
    assert schools.status == "converged" and schools.converged is True and isinstance(schools.message, str)
    assert schools.verdict in ("reliable", "caution", "unreliable")
    assert isinstance(schools.reasons, list) and all(isinstance(reason, str) for reason in schools.reasons)
    for name in ("elbo", "elbo_se", "khat", "seconds"):
        assert isinstance(getattr(schools, name), float), name
    assert isinstance(schools.evaluations, int) and isinstance(schools.gradient_evaluations, int)
    q = schools.approximation
    assert isinstance(q, bbvi.MeanFieldGaussian) and q.mean.shape == q.sd.shape == (10,)
    assert schools.covariance.shape == (10, 10) and onp.allclose(schools.covariance, schools.covariance.T)


def test_mean_field_gaussian():
    q = bbvi.MeanFieldGaussian(mean=[0.0, 1.0], sd=[1.0, 2.0])
    z = q.sample(4, onp.random.default_rng(1))
    assert z.shape == (4, 2)
    assert onp.allclose(q.log_density(z), sps.norm([0, 1], [1, 2]).logpdf(z).sum(1))
    assert q.score(z).shape == (4, 4)
    entropy = q.entropy() if callable(q.entropy) else q.entropy
    assert entropy == pytest.approx(sps.norm([0, 1], [1, 2]).entropy().sum())
    with pytest.raises((ValueError, TypeError), match="sd"):
        bbvi.MeanFieldGaussian(mean=0.0, sd=-1.0)


@pytest.mark.parametrize("kind", ["mean-field", "linear-response", "importance", "best"])
def test_kinds(schools, kind):
    draws = schools.sample(11, kind=kind, seed=3)
    assert {name: x.shape for name, x in draws.items()} == {"mu": (11,), "tau": (11,), "eta": (11, 8)}
    assert onp.array_equal(draws["mu"], schools.sample(11, kind=kind, seed=3)["mu"])
    summary = schools.summary(kind=kind, ci_prob=0.5)
    assert isinstance(summary, pd.DataFrame) and list(summary.columns) == COLUMNS
    names = ["mu", "tau"] + [f"eta[{x}]" for x in "ABCDEFGH"] + [f"theta[{x}]" for x in "ABCDEFGH"]
    assert list(summary.index) == names
    assert onp.all(summary["eti_lb"] < summary["eti_ub"])
    idata = schools.to_arviz(draws=20, kind=kind, seed=1)
    assert idata["posterior"].sizes["draw"] == 20 and idata["posterior"].sizes["chain"] == 1


def test_bad_kinds(schools):
    for call in (partial(schools.sample, 5), schools.summary, schools.to_arviz):
        with pytest.raises(ValueError, match="kind"):
            call(kind="x")
    for n in (0, -1, 2.5):
        with pytest.raises((ValueError, TypeError), match="n"):
            schools.sample(n)
    with pytest.raises((ValueError, TypeError), match="ci_prob"):
        schools.summary(ci_prob=2)


def test_summary_adds_no_noise(schools):
    assert schools.summary().equals(schools.summary())
    mean_field = schools.summary("mean-field")
    q = schools.approximation
    assert mean_field.loc["mu", "mean"] == pytest.approx(q.mean[0], abs=0.005 * q.sd[0])
    assert mean_field.loc["tau", "mean"] == pytest.approx(onp.exp(q.mean[1] + q.sd[1] ** 2 / 2), rel=0.01)


def test_expect(schools):
    result = schools.expect(lambda z: z.mu)
    value, se = result
    assert value == pytest.approx(schools.summary().loc["mu", "mean"], abs=0.05) and se >= 0
    # 0.9048 by integration over tau of the conditional normal distribution of theta; four standard errors.
    probability, probability_se = schools.expect(lambda z: z["theta"][0] > 0)
    assert 0 < probability_se < 0.01 and probability == pytest.approx(0.9048, abs=4 * probability_se)
    vector, errors = schools.expect(lambda z: z.theta - z.mu)
    assert vector.shape == errors.shape == (8,)


def test_loo(schools):
    loo = schools.loo()
    elpd = loo.elpd_loo if hasattr(loo, "elpd_loo") else loo.elpd
    assert float(elpd) == pytest.approx(-30.7, abs=0.6)


def test_to_arviz_groups(schools):
    idata = schools.to_arviz(draws=100)
    found = groups(idata)
    assert {
        "posterior", "sample_stats", "log_likelihood", "posterior_predictive", "prior", "observed_data",
        "constant_data", "fit", "unconstrained_posterior",
    } <= found, found  # fmt: skip
    assert {"lp", "log_q", "log_weight"} <= set(idata["sample_stats"].data_vars)
    assert {"mean", "sd", "elbo_trace", "elbo", "elbo_se", "khat"} <= set(idata["fit"].data_vars)
    assert list(idata["posterior"]["theta"].coords["school"].values) == list("ABCDEFGH")
    assert idata["posterior_predictive"]["y"].dims == ("chain", "draw", "school")
    if schools.kind == "importance":
        assert onp.all(idata["sample_stats"]["log_weight"].values == 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        az.loo(idata)


@pytest.mark.parametrize("suffix", [".nc", ".npz"])
def test_save_and_load(schools, tmp_path, suffix):
    path = tmp_path / f"fit{suffix}"
    schools.save(path)
    again = bbvi.load(path)
    pd.testing.assert_frame_equal(again.summary(), schools.summary(), rtol=1e-9)
    assert (again.status, again.verdict, again.khat, again.elbo) == (
        schools.status, schools.verdict, schools.khat, schools.elbo,
    )  # fmt: skip
    assert onp.array_equal(again.sample(5, seed=1)["eta"], schools.sample(5, seed=1)["eta"])
    if suffix == ".npz":
        onp.load(path, allow_pickle=False).close()
    assert "posterior" in groups(again.to_arviz(draws=10))


def test_evaluations_are_counted_per_draw():
    calls = [0]

    def log_joint(z):
        calls[0] += 1
        return float(-0.5 * onp.sum(onp.asarray(z) ** 2))

    fit = bbvi.fit(log_joint, 2, seed=1)
    assert abs(calls[0] - fit.evaluations) <= 3


# ---- gradient estimators --------------------------------------------------------------------------------------------


def test_estimate_gradient_of_any_cost():
    q = bbvi.MeanFieldGaussian(mean=[0.5, -1.0], sd=[1.0, 2.0])
    exact = onp.array([1.0, -2.0, 2.0, 8.0])
    for estimator, slack in (("pathwise", 0.15), ("score", 0.6), (bbvi.Pathwise(), 0.15), (bbvi.ScoreFunction(), 0.6)):
        gradient = bbvi.estimate_gradient(lambda z: np.sum(z**2), q, estimator, 20_000, onp.random.default_rng(1))
        assert onp.allclose(onp.asarray(gradient), exact, atol=slack), estimator


def test_compare_estimators():
    q = bbvi.MeanFieldGaussian(mean=[0.5, -1.0], sd=[1.0, 2.0])
    twice = [bbvi.ScoreFunction(control_variate="none"), "pathwise", bbvi.ScoreFunction(control_variate="none")]
    table = bbvi.compare_estimators(lambda z: np.sum(z**2), q, twice, draws=(10, 20), repeats=30)
    assert {"estimator", "draws", "coordinate", "bias", "variance", "evaluations"} <= set(table.columns)
    assert len(table) == 3 * 2 * 4 and table["estimator"].nunique() == 3
    assert list(dict.fromkeys(table["estimator"]))[1].lower().startswith("pathwise")
    assert table["bias"].notna().all()
    model = bbvi.compare_estimators(bbvi.Model(pair_log_joint, PAIR), q, ["pathwise"], draws=10, repeats=5)
    assert len(model) == 4


# ---- errors ---------------------------------------------------------------------------------------------------------


def test_user_exceptions_keep_their_type_and_get_a_note():
    def log_joint(z):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as caught:
        bbvi.fit(log_joint, PAIR)
    note = "\n".join(caught.value.__notes__)
    assert "a" in note and "b" in note and "log_joint" in note


def test_late_user_exceptions_get_a_note():
    calls = [0]

    def log_joint(z):
        calls[0] += 1
        if calls[0] > 100:
            raise RuntimeError("late")
        return float(-0.5 * z.a**2 - z.b)

    with pytest.raises(RuntimeError, match="late") as caught:
        bbvi.fit(log_joint, PAIR, seed=1)
    assert any("a =" in note for note in caught.value.__notes__)


def test_arithmetic_errors_count_as_non_finite():
    def log_joint(z):
        a = float(z.a)
        if a > 2.5:
            raise ZeroDivisionError
        if a < -2.5:
            raise onp.linalg.LinAlgError("singular")
        return -0.5 * a**2 - float(z.b)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = bbvi.fit(log_joint, PAIR, seed=1)
    assert abs(fit.summary().loc["a", "mean"]) < 0.2


def test_users_data_are_not_modified():
    y = onp.arange(4.0)
    before = y.copy()

    def log_joint(z, y):
        return norm.logpdf(z.m, 0, 3) + np.sum(norm.logpdf(y, z.m, 1))

    init = {"m": onp.array(0.3)}
    bbvi.fit(bbvi.Model(log_joint, {"m": bbvi.Real()}, data={"y": y}), init=init, seed=1)
    assert onp.array_equal(y, before) and y.flags.writeable and init["m"] == 0.3


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: bbvi.Model(3, {"a": bbvi.Real()}), "log_joint"), (lambda: bbvi.Model(pair_log_joint), "latents"),
        (lambda: bbvi.Model(pair_log_joint, {}), "latents"), (lambda: bbvi.Model(pair_log_joint, 0), "latents"),
        (lambda: bbvi.Model(pair_log_joint, {"a": "x"}), "'a'"), (lambda: bbvi.Interval(2, 1), "upper|lower"),
        (lambda: bbvi.Model(pair_log_joint, {"a": bbvi.Real(dims="no")}), "'no'"),
        (lambda: bbvi.Model(pair_log_joint, PAIR, data=[1]), "data"),
        (lambda: bbvi.Model(lambda z, y: 0.0, PAIR, data={"y": [[1], [1, 2]]}), "'y'"),
        (lambda: bbvi.Real(shape=-1), "shape"), (lambda: bbvi.ScoreFunction(control_variate="x"), "control_variate"),
        (lambda: bbvi.Model(pair_log_joint, PAIR, log_prior=pair_log_joint), "log_prior"),
        (lambda: bbvi.fit(3), "model"), (lambda: bbvi.fit(lambda z: None, 2), "log_joint"),
        (lambda: bbvi.fit(lambda z: "a", 2), "log_joint"), (lambda: bbvi.fit(lambda z: 1j, 2), "log_joint"),
        (lambda: bbvi.fit(lambda z: float("nan"), 2), "log_joint|finite"),
        (lambda: bbvi.fit(pair_log_joint, 2.5), "latents"),
    ],
)  # fmt: skip
def test_bad_models_are_named(build, words):
    with pytest.raises((ValueError, TypeError), match=words):
        build()


# Found by review: the diagonal of a correlation matrix does not vary, which is no sign of heavy tails.
def test_constant_derived_quantities():
    model = bbvi.Model(
        lambda z: bbvi.stats.lkj_cholesky.logpdf(z.L, 1.0), {"L": bbvi.CholeskyCorrelation(shape=3)},
        derived=lambda z: {"R": z.L @ z.L.T},
    )  # fmt: skip
    assert bbvi.fit(model, seed=1).verdict == "reliable"


@pytest.mark.parametrize("at", [3, 40, 70])
def test_an_interrupt_at_any_time_returns_a_fit(at):
    """During the starts, the steps, and the checks after convergence."""
    calls = [0]

    def log_joint(z):
        calls[0] += 1
        if calls[0] == at:
            raise KeyboardInterrupt
        return float(-0.5 * onp.sum(onp.asarray(z) ** 2))

    if at == 3:
        # Nothing is fitted yet: either is fair.
        try:
            fit = bbvi.fit(log_joint, 3, seed=1)
        except KeyboardInterrupt:
            return
        assert fit.status == "interrupted"
        return
    assert bbvi.fit(log_joint, 3, seed=1).status == "interrupted"


def test_python_branches_outside_the_support():
    """Zero is outside, where the function happens to be traceable."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = bbvi.fit(lambda z: -0.5 * (float(z[0]) - 5) ** 2 if z[0] > 0 else -float("inf"), 1, seed=1)
    assert fit.summary().loc["z[0]", "mean"] == pytest.approx(5, abs=0.1)


def test_sort_in_a_log_joint():
    fit = bbvi.fit(lambda z: -0.5 * np.sum(np.sort(z) ** 2), 3, seed=1)
    assert fit.summary().loc["z[0]", "sd"] == pytest.approx(1, rel=0.1)


def test_functions_that_change_their_data_do_not_change_the_model():
    def log_joint(z, y):
        y -= float(z.m)
        return -0.5 * float(onp.sum(y**2))

    model = bbvi.Model(log_joint, {"m": bbvi.Real()}, data={"y": onp.arange(4.0)})
    try:
        fit = bbvi.fit(model, seed=1, max_evaluations=2000)
    except ValueError as error:
        assert "read-only" in str(error)
    else:
        assert fit.summary().loc["m", "mean"] == pytest.approx(1.5, abs=0.1)
    assert onp.array_equal(model.data["y"], onp.arange(4.0))


def test_memory_maps_stay_on_disk_and_are_not_written_into(tmp_path):
    rows = onp.memmap(tmp_path / "rows", dtype=float, mode="w+", shape=(50,))
    rows[:] = onp.linspace(-1, 1, 50)
    model = bbvi.Model(
        lambda z, y: np.sum(norm.logpdf(y, z.m, 1)) + norm.logpdf(z.m), {"m": bbvi.Real()}, {"y": rows}
    )
    assert onp.shares_memory(model.data["y"], rows)
    with pytest.raises(ValueError, match="read-only"):
        model.data["y"][0] = 3.0
    fit = bbvi.fit(model, seed=1)
    assert rows.flags.writeable and abs(fit.summary().loc["m", "mean"]) < 1e-3


def test_a_generator_among_the_data_is_refused_by_name():
    def log_joint(z, y):
        return np.sum(norm.logpdf(y, z.m, 1)) + norm.logpdf(z.m)

    with pytest.raises(TypeError, match=r"data\['y'\]: expected an array, got a generator, which one look uses up"):
        bbvi.Model(log_joint, {"m": bbvi.Real()}, {"y": (x for x in range(3))})
