"""`check_model` finds what is wrong, says so in plain words, and finds nothing where nothing is."""

from __future__ import annotations

import re

import autograd.numpy as anp
import numpy as np
import pytest
from posteriors import regression, schools, supports

import bbvi
from bbvi.checking.check_model import check_model, compare_gradient
from bbvi.stats import norm
from bbvi.target.checks import repeated_terms
from bbvi.target.target import Target


def model(log_joint, **options) -> bbvi.Model:
    return bbvi.Model(log_joint, options.pop("latents", {"a": bbvi.Real(), "b": bbvi.Positive()}), **options)


def grades(report) -> dict[str, str]:
    return {finding.check: finding.grade for finding in report.findings}


def normal(z):
    return -0.5 * z.a**2 - z.b


@pytest.mark.parametrize("make", [regression, schools, supports, lambda: model(normal)])
def test_sound_models_have_no_problems(make):
    report = check_model(make())
    assert report.ok, str(report)
    report.raise_problems()
    assert "No problems found." in str(report)


def _stateful():
    calls = []

    def log_joint(z):
        calls.append(1)
        return normal(z) - 1e-3 * len(calls)

    return model(log_joint)


WRONG = {
    "gradient": lambda: model(lambda z: -0.5 * np.round(z.a, 1) ** 2 - z.b),
    "every latent matters": lambda: model(lambda z: -0.5 * z.a**2 + 0.0 * z.b),
    "proper": lambda: model(lambda z: -0.5 * z.a**2 + 1 / (1 + z.b)),
    "log density": lambda: model(lambda z: np.nan * z.a),
    "repeatable": _stateful,
    "one draw and many": lambda: model(
        lambda z: np.full(len(z.a), np.sum(-0.5 * z.a**2 - z.b)), vectorized=True, latents={"a": 1, "b": 1}
    ),
    "log_likelihood": lambda: bbvi.Model(
        log_prior=lambda z: -0.5 * z.a**2,
        log_likelihood=lambda z, y: -0.5 * anp.sum((y - z.a) ** 2),
        latents={"a": bbvi.Real()},
        data={"y": np.zeros(4)},
    ),
    "sample_prior": lambda: model(normal, sample_prior=lambda rng: {"a": 0.0, "b": -1.0}),
    "predict": lambda: bbvi.Model(
        lambda z, y: -0.5 * z.a**2 + 0 * anp.sum(y),
        latents={"a": bbvi.Real()},
        data={"y": np.zeros(4)},
        predict=lambda z, rng, y: {"y": rng.normal(z.a)},
    ),
    "derived": lambda: model(normal, derived=lambda z: {"c": z.missing}),
}


@pytest.mark.parametrize("check", WRONG)
def test_what_is_wrong_is_found(check):
    report = check_model(WRONG[check]())
    assert grades(report)[check] == "problem", str(report)
    assert not report.ok
    assert "PROBLEM" in str(report)
    with pytest.raises(ValueError, match="the model has problems"):
        report.raise_problems()


def test_an_error_of_the_function_is_reported_with_the_latents():
    report = check_model(model(lambda z: z.a.nothing))
    assert "AttributeError" in report.problems[0]
    assert "a = " in report.problems[0]


def test_notes_are_no_problems():
    report = check_model(model(lambda z: -0.5 * float(z.a) ** 2 - float(z.b)))
    assert report.ok
    assert grades(report)["gradient"] == "note"
    assert "score function" in str(report)


def test_values_far_out_that_are_not_finite_are_named():
    report = check_model(model(lambda z: anp.log(1.0 - z.b / 50) - 0.5 * z.a**2 - z.b))
    assert any(
        "not finite at" in finding.message and "b = " in finding.message for finding in report.findings
    )


def test_gradient_comparison():
    found = compare_gradient(schools())
    assert found.agrees.all()
    assert found.labels == schools().unconstrained_labels
    np.testing.assert_allclose(found.gradient, found.differences, rtol=1e-4, atol=1e-6)


def test_a_wrong_gradient_of_the_users_is_found_by_coordinate():
    wrong = bbvi.Model(
        lambda z: -0.5 * np.sum(z.a**2),
        latents={"a": bbvi.Real(shape=3)},
        gradient=lambda z: (-0.5 * np.sum(z.a**2), -z.a * [1, 1, 1.01]),
    )
    assert compare_gradient(wrong).agrees.tolist() == [True, True, False]
    assert any("along a[2]" in problem for problem in check_model(wrong).problems)


def test_arguments():
    with pytest.raises(TypeError, match="model"):
        check_model(lambda z: 0.0)
    with pytest.raises(ValueError, match=r"u: expected .* \(2,\)"):
        compare_gradient(model(normal), [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="autograd"):
        compare_gradient(model(lambda z: -(float(z.a) ** 2) - float(z.b)))


def _schools(log_joint):
    data = {"y": [28.0, 8.0, -3.0, 7.0], "sigma": [15.0, 10.0, 16.0, 11.0]}
    return bbvi.Model(log_joint, {"mu": bbvi.Real(), "eta": bbvi.Real(shape=4)}, data=data)


def _forgotten(z, y, sigma):
    return norm.logpdf(z.mu, 0, 5) + anp.sum(norm.logpdf(z.eta)) + norm.logpdf(y, z.mu + z.eta, sigma)


def _subtracted(z, y, sigma):
    return -(-norm.logpdf(y, z.mu + z.eta, sigma) + 0.5 * z.mu**2) + norm.logpdf(z.eta)


def _split(log_prior):
    return bbvi.Model(
        latents={"mu": bbvi.Real(), "s": bbvi.Positive()},
        log_prior=log_prior,
        # A scalar in every term, as it must be.
        log_likelihood=lambda z, y: -anp.log(z.s) - 0.5 * ((y - z.mu) / z.s) ** 2,
        data={"y": [1.0, 2.0, 3.0, 4.0]},
    )


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: _schools(_forgotten), "log_joint"),
        (lambda: _schools(_subtracted), "log_joint"),
        (lambda: _split(lambda z: norm.logpdf(z.mu) - z.s + norm.logpdf(z.mu, anp.zeros(4), 3.0)), "log_prior"),
    ],
)
def test_a_scalar_that_counts_once_for_each_term_is_found(make, name):
    message = f"{name} returned 4 terms, and a scalar .* counts 4 times"
    (problem,) = check_model(make()).problems
    assert re.search(message, problem)
    with pytest.warns(RuntimeWarning, match=message):
        bbvi.fit(make(), seed=1)


@pytest.mark.parametrize(
    "make",
    [
        lambda: _schools(
            lambda z, y, sigma: (
                norm.logpdf(z.mu, 0, 5) + anp.sum(norm.logpdf(z.eta)) + anp.sum(norm.logpdf(y, z.mu + z.eta, sigma))
            )
        ),
        # Terms of their own, and a constant in each.
        lambda: _schools(
            lambda z, y, sigma: anp.concatenate(
                [
                    anp.reshape(norm.logpdf(z.mu, 0, 5), (1,)),
                    norm.logpdf(z.eta) + norm.logpdf(y, z.mu + z.eta, sigma) - 2.0,
                ]
            )
        ),
        lambda: _split(lambda z: norm.logpdf(z.mu) - z.s),
    ],
)
def test_terms_and_sums_that_are_right_are_left_alone(make):
    assert check_model(make()).ok, str(check_model(make()))
    bbvi.fit(make(), seed=1)


def test_derived_quantities_that_do_not_fit_their_dims_are_found():
    found = model(normal, derived=lambda z: {"c": z.a + anp.zeros(3)}, coords={"o": ["w", "x"]}, dims={"c": "o"})
    (problem,) = check_model(found).problems
    assert problem == "'c': shape (3,), but its dims have coords of lengths (2,)"


def test_terms_are_not_looked_at_where_the_function_fails():
    def log_joint(z):
        inverse = anp.linalg.solve(anp.reshape(z.a, (1, 1)), np.ones(1))[0]
        return norm.logpdf(inverse) + norm.logpdf(z.b, anp.zeros(3), 1.0)

    target = Target(model(log_joint, latents={"a": bbvi.Real(), "b": bbvi.Real()}))
    assert np.isfinite(target.values(np.ones((1, 2)))).all() and target.recorded
    assert "returned 3 terms" in repeated_terms(target, np.ones(2))
    assert repeated_terms(target, np.zeros(2)) == ""


def test_a_report_and_a_log_joint_alone() -> None:
    report = check_model(lambda z: -0.5 * np.sum(z**2), 2)
    assert report.ok and repr(report) == str(report)
    assert "<table>" in report._repr_html_() and "No problems found." in report._repr_html_()


def test_a_response_that_is_not_the_first_data_is_told():
    """``log_likelihood(z, x, y)`` takes x for what is observed, as its author did not mean."""
    data = {"x": np.arange(5.0), "y": np.arange(5.0)}

    def model(likelihood):
        return bbvi.Model(
            latents={"a": bbvi.Real()}, log_prior=lambda z: norm.logpdf(z.a), log_likelihood=likelihood, data=data,
            predict=lambda z, rng, x: {"y": rng.normal(z.a * x)},
        )  # fmt: skip

    told = "Put the response first"
    assert told in str(bbvi.check_model(model(lambda z, x, y: norm.logpdf(y, z.a * x, 1))))
    assert told not in str(bbvi.check_model(model(lambda z, y, x: norm.logpdf(y, z.a * x, 1))))
