"""Bad input gets one clear error at the boundary, which names its cause."""

from __future__ import annotations

import autograd.numpy as anp
import numpy as np
import pytest

import bbvi
from bbvi.stats import halfcauchy, norm


def normal(z, y):
    return norm.logpdf(z.mu, 0, 10) + anp.sum(norm.logpdf(y, z.mu, 1.0))


LATENTS = {"mu": bbvi.Real()}
DATA = {"y": [1.0, 2.0, 3.0]}


def fit(log_joint, latents=None, **kwargs):
    return bbvi.fit(bbvi.Model(log_joint, LATENTS if latents is None else latents, kwargs.pop("data", None)), **kwargs)


def gaussian(z):
    return -0.5 * anp.sum(z.mu**2)


def nan_at_start(z):
    return z.mu * np.nan


def saturated(z):
    return anp.where(anp.abs(z.mu) > 50.0, 0.0, -0.5 * z.mu**2)


def wrong_gradient(z):
    return -0.5 * float(z.mu) ** 2, {"mu": +z.mu}


def summed_over_draws(z):
    return -0.5 * anp.sum(z.mu**2)


def mixes_draws(z):
    return -0.5 * (z.mu - anp.mean(z.mu)) ** 2 - 0.5 * z.mu**2


MODELS = {
    "no log joint": (lambda: bbvi.Model(None, LATENTS), ValueError, "log_joint: expected a function"),
    "log joint no function": (lambda: bbvi.Model(3.0, LATENTS), TypeError, "log_joint: expected a function"),
    "no latents": (lambda: bbvi.Model(gaussian), ValueError, "latents: expected a dict"),
    "empty latents": (lambda: bbvi.Model(gaussian, {}), ValueError, "latents: expected at least one"),
    "zero latents": (lambda: bbvi.Model(gaussian, 0), ValueError, "latents: expected 1 or more"),
    "latents a list": (lambda: bbvi.Model(gaussian, ["mu"]), TypeError, "latents: expected a dict"),
    "latent name": (lambda: bbvi.Model(gaussian, {"my mu": 1}), ValueError, "identifiers.*'my mu'"),
    "latent spec": (lambda: bbvi.Model(gaussian, {"mu": "real"}), TypeError, "latent 'mu': expected a declaration"),
    "latent of a model": (
        lambda: bbvi.Model(gaussian, bbvi.Model(gaussian, {"mu": bbvi.Real()}).latents),
        TypeError,
        "same dict of declarations",
    ),
    "latent class": (lambda: bbvi.Model(gaussian, {"mu": bbvi.Real}), TypeError, r"write Real\(...\)"),
    "latent shape": (lambda: bbvi.Model(gaussian, {"mu": bbvi.Real(shape=-1)}), ValueError, "sizes of 1 or more"),
    "interval": (lambda: bbvi.Interval(2.0, 1.0), ValueError, "lower < upper"),
    "dims without coords": (
        lambda: bbvi.Model(gaussian, {"mu": bbvi.Real(dims="school")}), ValueError, "'mu'.*'school'"
    ),
    "shape against dims": (
        lambda: bbvi.Model(gaussian, {"mu": bbvi.Real(shape=3, dims="s")}, coords={"s": [1, 2]}),
            ValueError, "'mu'.*shape",
    ),
    "coords a string": (
        lambda: bbvi.Model(gaussian, LATENTS, coords={"s": "ABC"}), TypeError, r"coords\['s'\]: expected a sequence"
    ),
    "coords repeat": (lambda: bbvi.Model(gaussian, LATENTS, coords={"s": [1, 1]}),
        ValueError, "differ from each other"),
    "dims of nothing": (lambda: bbvi.Model(gaussian, LATENTS, dims={"theta": "s"}),
        ValueError, r"dims\['theta'\].*'s'"),
    "unused data": (lambda: bbvi.Model(gaussian, LATENTS, DATA), ValueError, "data: 'y' is an argument of none"),
    "missing data": (lambda: bbvi.Model(normal, LATENTS),
        ValueError, "log_joint: its argument 'y' is not among the data"),
    "ragged data": (
        lambda: bbvi.Model(normal, LATENTS, {"y": [[1.0], [1.0, 2.0]]}), ValueError, r"data\['y'\]: expected a regular"
    ),
    "data a list": (lambda: bbvi.Model(normal, LATENTS, [1, 2]), TypeError, "data: expected a dict"),
    "no argument": (lambda: bbvi.Model(lambda: 0.0, LATENTS), TypeError, r"log_joint: expected a function of \(z"),
    "joint and prior": (
        lambda: bbvi.Model(gaussian, LATENTS, log_prior=gaussian), ValueError, "log_joint and log_prior"
    ),
    "prior alone": (lambda: bbvi.Model(None, LATENTS, log_prior=gaussian),
        ValueError, "log_likelihood: expected beside"),
    "with_data": (lambda: bbvi.Model(normal, LATENTS, DATA).with_data(x=1), ValueError, "with_data: 'x'"),
}  # fmt: skip

FITS = {
    "model": (lambda: bbvi.fit(3.0), TypeError, "model: expected"),
    "latents beside model": (
        lambda: bbvi.fit(bbvi.Model(normal, LATENTS, DATA), LATENTS), ValueError, "latents: expected none beside"
    ),
    "estimator": (lambda: fit(gaussian, estimator="magic"), ValueError, "estimator: expected 'auto'"),
    "solver": (lambda: fit(gaussian, solver="newton"), TypeError, "solver: expected 'auto'"),
    "solver class": (lambda: fit(gaussian, solver=bbvi.FixedDraws), TypeError, "solver: expected"),
    "pair": (lambda: fit(gaussian, estimator="score", solver=bbvi.FixedDraws()), ValueError, "does not go with"),
    "other pair": (
        lambda: fit(gaussian, estimator="pathwise", solver=bbvi.NaturalGradient()), ValueError, "does not go with"
    ),
    "odd draws": (lambda: bbvi.FixedDraws(draws=7), ValueError, "draws to be an even integer"),
    "seed": (lambda: fit(gaussian, seed=-1), ValueError, "seed: expected"),
    "tolerance": (lambda: fit(gaussian, tolerance=0), ValueError, "tolerance: expected a positive"),
    "budget": (lambda: fit(gaussian, max_evaluations=0), ValueError, "max_evaluations: expected a positive"),
    "callback": (lambda: fit(gaussian, callback=3), TypeError, "callback: expected"),
    "progress": (lambda: fit(gaussian, progress="yes"), TypeError, "progress: expected"),
    "checkpoint": (lambda: fit(gaussian, checkpoint=3), TypeError, "checkpoint: expected a path"),
    "executor": (lambda: fit(gaussian, executor=4), TypeError, "executor: expected"),
    "init names": (lambda: fit(gaussian, init={"tau": 1.0}), ValueError, "init: expected a value for each of mu"),
    "init shape": (lambda: fit(gaussian, init=[1.0, 2.0]), ValueError, r"init: expected a flat .* shape \(1,\)"),
    "init shape of a latent": (lambda: fit(gaussian, init={"mu": [1.0, 2.0]}),
        ValueError, r"init: latent 'mu': .*\(2,\)"),
    "init shape with an axis": (lambda: fit(gaussian, {"mu": 3}, init={"mu": [[1.0, 2.0, 3.0]]}),
        ValueError, r"init: latent 'mu': expected shape \(3,\), got \(1, 3\)"),
    "init support": (
        lambda: fit(gaussian, {"mu": bbvi.Positive()}, init={"mu": -1.0}), ValueError, "init: latent 'mu'.*> 0"
    ),
    "init not finite": (lambda: fit(lambda z: anp.log(z.mu) - z.mu, init={"mu": -1.0}),
        ValueError, "init: the log joint"),
    "unknown latent": (lambda: fit(lambda z: z.nu), AttributeError, "no latent 'nu'; its latents are mu"),
    "returns none": (lambda: fit(lambda z: None), TypeError, "log_joint: expected a real number.*None"),
    "returns complex": (lambda: fit(lambda z: 1j * z.mu), TypeError, "log_joint: expected a real number"),
    "returns text": (lambda: fit(lambda z: "-1"), TypeError, "log_joint: expected a real number"),
    "nan at the start": (lambda: fit(nan_at_start), ValueError, "log_joint: expected a finite value.*mu = "),
    "nan in the data": (
        lambda: fit(normal, data={"y": [1.0, np.nan]}), ValueError, "not all values of the data 'y' are finite: nan at"
    ),
    "constant in a latent": (
        lambda: fit(gaussian, {"mu": bbvi.Real(), "nu": bbvi.Real()}), ValueError, "constant in 'nu'"
    ),
    "constant in a scale": (
        lambda: fit(gaussian, {"mu": bbvi.Real(), "tau": bbvi.Positive()}), ValueError, "constant in 'tau'"
    ),
    "improper": (lambda: fit(lambda z: anp.sum(z.mu)), ValueError, "expected a proper density.*'mu'"),
    "improper far out": (lambda: fit(saturated), ValueError, "expected a proper density.*'mu'"),
    "improper scale": (
        lambda: fit(lambda z: 0.001 * z.mu, {"mu": bbvi.Positive()}), ValueError, "expected a proper density.*'mu'"
    ),
    "sign": (lambda: fit(lambda z: 0.5 * z.mu**2), ValueError, "expected a proper density.*'mu'"),
    "gradient": (
        lambda: bbvi.fit(bbvi.Model(gaussian, LATENTS, gradient=wrong_gradient)), ValueError, "gradient: it contradicts"
    ),
    "gradient's form": (
        lambda: bbvi.fit(bbvi.Model(gaussian, LATENTS, gradient=lambda z: 1.0)), TypeError, "gradient: expected a pair"
    ),
    "gradient's shape": (
        lambda: bbvi.fit(bbvi.Model(gaussian, LATENTS, gradient=lambda z: (1.0, [1.0, 2.0]))),
        ValueError, r"gradient: expected shape \(1,\)",
    ),
    "a scalar for a batch": (
        lambda: bbvi.fit(bbvi.Model(summed_over_draws, LATENTS, vectorized=True)),
        ValueError, r"one row per draw.*got shape \(\)",
    ),
    "draws that meet": (
        lambda: bbvi.fit(bbvi.Model(mixes_draws, LATENTS, vectorized=True)),
            ValueError, "must not depend on the other draws"
    ),
    "pathwise without gradient": (
        lambda: fit(lambda z: -0.5 * float(z.mu) ** 2, estimator="pathwise"), ValueError, "autograd cannot trace"
    ),
    "sample size": (lambda: fit(gaussian, seed=1).sample(0), ValueError, "n: expected"),
    "kind": (lambda: fit(gaussian, seed=1).sample(5, kind="exact"), ValueError, "kind: expected 'best' or one"),
    "ci_prob": (lambda: fit(gaussian, seed=1).summary(ci_prob=1.5), ValueError, "ci_prob: expected"),
    "expect": (lambda: fit(gaussian, seed=1).expect(3.0), TypeError, "fn: expected a function"),
    "covariance of": (lambda: fit(gaussian, seed=1).covariance_of("nu"),
        ValueError, "latents: expected names among mu"),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_a_bad_model_is_refused_when_it_is_made(name):
    make, kind, message = MODELS[name]
    with pytest.raises(kind, match=message):
        make()


@pytest.mark.parametrize("name", FITS)
def test_a_bad_fit_is_refused_before_any_work(name):
    make, kind, message = FITS[name]
    with pytest.raises(kind, match=message):
        make()


ODD = [1.5, True, np.nan, -1, 0, "x", [], {}, {"a": 1}, np.array([1, 2]), 2 + 3j, b"x", [None], object()]
# Argument by argument, with those of the odd values that it takes.
ARGUMENTS = {
    "max_evaluations": (lambda fitted, x: fit(gaussian, max_evaluations=x), []),
    "max_seconds": (lambda fitted, x: fit(gaussian, max_seconds=x), [1.5]),
    "tolerance": (lambda fitted, x: fit(gaussian, tolerance=x), [1.5]),
    "seed": (lambda fitted, x: fit(gaussian, seed=x), [0]),
    "init": (lambda fitted, x: fit(gaussian, init={"mu": x}), [1.5, -1, 0, True]),
    "threads": (lambda fitted, x: fit(gaussian, threads=x), []),
    "dims": (lambda fitted, x: bbvi.Model(gaussian, LATENTS, coords={"s": [1]}, dims={"t": x}), [[]]),
    "control_variate": (lambda fitted, x: bbvi.ScoreFunction(control_variate=x), []),
    "n": (lambda fitted, x: fitted.sample(x), []),
    "seed of draws": (lambda fitted, x: fitted.sample(3, seed=x), [0]),
    "seed of predictions": (lambda fitted, x: fitted.predict(3, seed=x), [0]),
    "seed of a check": (lambda fitted, x: bbvi.check_model(fitted.model, seed=x), [0]),
    "kind": (lambda fitted, x: fitted.sample(3, kind=x), []),
    "n of predictions": (lambda fitted, x: fitted.predict(x), []),
    "draws": (lambda fitted, x: fitted.extend(x), []),
    "latents": (lambda fitted, x: fitted.covariance_of(x), []),
}


@pytest.fixture(scope="module")
def fitted():
    return bbvi.fit(bbvi.Model(gaussian, LATENTS, predict=lambda z, rng: {"y": z.mu}), seed=1)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_whatever_an_argument_is_given_its_error_names_it(name, fitted):
    call, taken = ARGUMENTS[name]
    for x in ODD:
        if not any(type(x) is type(one) and x == one for one in taken):
            with pytest.raises((TypeError, ValueError), match=rf"^{name.split()[0]}\b.*: .*expected"):
                call(fitted, x)


def test_large_and_whole_numbers_are_budgets():
    assert fit(gaussian, seed=1, max_evaluations=3e3).evaluations <= 3000
    assert fit(gaussian, seed=1, max_evaluations=np.float32(3e3), max_seconds=np.int8(100)).evaluations <= 3000
    for endless in (10**400, float("inf"), np.float32("inf"), None):
        assert fit(gaussian, seed=1, max_evaluations=endless, max_seconds=endless).verdict == "reliable"


def test_data_that_are_no_numbers_are_named_where_arithmetic_fails():
    with pytest.raises(TypeError, match="not 'dict'") as caught:
        fit(normal, data={"y": {"a": [1.0]}})
    assert "log_joint" in caught.value.__notes__[0] and "'y' of its data is a dict" in caught.value.__notes__[0]
    # What a function knows to read is its own affair.
    model = bbvi.Model(lambda z, y: -0.5 * anp.sum((z.mu - y["a"][0]) ** 2), LATENTS, {"y": {"a": [1.0]}})
    assert bbvi.fit(model, seed=1).verdict == "reliable"


def test_an_exception_of_the_users_is_raised_again_with_the_latents_it_saw():
    def fails(z):
        raise RuntimeError("the instrument is off")

    with pytest.raises(RuntimeError, match="the instrument is off") as caught:
        fit(fails)
    assert "log_joint" in caught.value.__notes__[0]
    assert "mu = " in caught.value.__notes__[0]


def test_a_latent_of_bounded_support_may_be_uniform():
    found = fit(gaussian, {"mu": bbvi.Real(), "p": bbvi.Interval(0.0, 2.0)}, seed=1)
    assert found.summary().loc["p", "mean"] == pytest.approx(1.0, abs=0.02)


def test_a_good_model_with_the_same_parts_is_not_refused():
    """The checks above can pass, so that they are not merely always on."""
    found = fit(
        lambda z, y: normal(z, y) + halfcauchy.logpdf(z.tau, 0, 1),
        {"mu": bbvi.Real(), "tau": bbvi.Positive()},
        data=DATA,
        seed=1,
    )
    assert found.converged


def _column(**options):
    return bbvi.Model(
        latents={"theta": bbvi.Real(shape=4)},
        log_prior=lambda z: norm.logpdf(z.theta),
        data={"y": np.arange(4.0)[:, None]},
        **options,
    )


@pytest.mark.parametrize(
    "model",
    [
        _column(log_likelihood=lambda z, y: norm.logpdf(y, z.theta, 1.0)),
        _column(log_likelihood=lambda z, y: {"y": norm.logpdf(y, z.theta, 1.0)}),
        _column(log_likelihood=lambda z, y: norm.logpdf(y, z.theta[:, None, :], 1.0), vectorized=True),
    ],
    ids=["array", "dict", "vectorized"],
)
def test_data_that_a_likelihood_broadcasts_are_refused(model):
    message = r"log_likelihood\['y'\].*'y' of shape \(4, 1\) were broadcast to terms of shape \(4, 4\)"
    with pytest.raises(ValueError, match=message):
        bbvi.fit(model)


@pytest.mark.parametrize("cut", [lambda y, theta: (y, theta[:, None]), lambda y, theta: (y[:, 0], theta)])
def test_columns_that_match_are_not_refused(cut):
    model = _column(log_likelihood=lambda z, y: norm.logpdf(*cut(y, z.theta), 1.0))
    np.testing.assert_allclose(bbvi.fit(model, seed=1).approximation.mean, np.arange(4.0) / 2, atol=1e-3)


def test_coords_must_fit_the_data_that_dims_name():
    def model(count):
        return bbvi.Model(normal, LATENTS, {"y": np.zeros(20)}, coords={"o": range(count)}, dims={"y": "o"})

    message = r"dims\['y'\]: expected data of shape \(19,\), .* coords of 'o', got data of shape \(20,\)"
    with pytest.raises(ValueError, match=message):
        model(19)
    # New data of another length are without labels, as predictions at new points need them.
    assert model(20).with_data(y=np.zeros(3)).data["y"].shape == (3,)


def divides(z):
    return -0.5 * z.mu**2 + 1 / 0


def singular(z):
    return -0.5 * z.mu**2 + anp.linalg.solve(np.zeros((2, 2)), np.ones(2))[0]


@pytest.mark.parametrize("vectorized", [False, True])
@pytest.mark.parametrize(
    ("log_joint", "kind", "text"),
    [
        (divides, ZeroDivisionError, "ZeroDivisionError: division by zero"),
        (singular, np.linalg.LinAlgError, "LinAlgError: Singular matrix"),
    ],
)
def test_what_the_function_raised_at_every_start_is_the_cause(log_joint, kind, text, vectorized):
    with pytest.raises(ValueError, match=f"expected a finite value.*raised {text}") as caught:
        bbvi.fit(bbvi.Model(log_joint, LATENTS, vectorized=vectorized))
    assert isinstance(caught.value.__cause__, kind)
    assert "log_joint, at mu = " in caught.value.__cause__.__notes__[0]


def test_a_value_that_is_not_finite_has_no_cause():
    with pytest.raises(ValueError, match="was nan at mu = 0.*[^.]*\\. Check the data") as caught:
        fit(nan_at_start)
    assert caught.value.__cause__ is None


def test_data_that_do_not_fit_each_other_are_told_by_shape():
    """As after with_data(x=...) without the response that belongs to it."""
    model = bbvi.Model(lambda z, x, y: -np.sum((y - z[0] * x) ** 2), 1, data={"x": np.ones(8), "y": np.ones(8)})
    with pytest.raises(ValueError) as raised:
        bbvi.fit(model.with_data(x=np.ones(3)), seed=1)
    assert "its data have shapes x (3,), y (8,)" in " ".join(raised.value.__notes__)


def test_a_missing_predictor_is_named_and_not_the_response() -> None:
    spend, age = np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.1, 0.2, np.nan, 0.3])
    model = bbvi.Model(
        log_likelihood=lambda z, spend, age: norm.logpdf(spend, z.a + z.b * age, 1.0),
        latents={"a": bbvi.Real(prior=norm(0, 5)), "b": bbvi.Real(prior=norm(0, 5))},
        data={"spend": spend, "age": age},
    )
    with pytest.raises(ValueError, match=r"Not all data are finite: 'age' \(nan at \[2\]\)") as raised:
        bbvi.fit(model, seed=1)
    assert "spend" not in str(raised.value)


@pytest.mark.parametrize(
    ("density", "said"), [("bernoulli", "take bernoulli.logpmf_logits"), ("poisson", "a transform such as np.exp")]
)
def test_logits_and_log_rates_in_the_place_of_probabilities_and_rates_are_named(density: str, said: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=50)
    y = (1 + 2 * x + rng.normal(size=50) > 1) * 1
    model = bbvi.Model(
        log_likelihood=lambda z, y, x: getattr(bbvi.stats, density).logpmf(y, z.a + z.b * x),
        latents={"a": bbvi.Real(prior=norm(0, 5)), "b": bbvi.Real(prior=norm(0, 5))},
        data={"y": y, "x": x},
    )
    fit = bbvi.fit(model, seed=1)
    assert fit.verdict == "unreliable"
    assert any(f"{density}.logpmf: expected" in reason and said in reason for reason in fit.reasons)
