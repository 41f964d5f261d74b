"""Tests of the gallery: its models, the integrity of its data, and its reference posteriors."""

import json
import re
import subprocess
import sys
from importlib import resources

import numpy as np
import pytest
from scipy import stats

import bbvi
from bbvi import models
from bbvi.model.model import labels_of

NAMES = models.names()
RNG_SEED = 0


def draw_of(model, rng):
    """Latents near the origin of the unconstrained space."""
    return {
        name: np.asarray(latent.transform.constrain(rng.normal(0, 0.2, latent.size))[0])
        for name, latent in model.latents.items()
    }


def rows_of(model, rng):
    """Row labels of latents and derived quantities, without entries of Cholesky factors that do not vary."""
    labels = list(model.labels)
    if "derived" in model.functions:
        for name, value in model.named("derived", draw_of(model, rng)).items():
            labels += labels_of(model, name, np.shape(value))
    return labels


def test_there_are_models_enough_and_each_has_a_reference():
    references = {
        path.name.removesuffix(".json")
        for path in (resources.files(models) / "references").iterdir()
        if path.name.endswith(".json")
    }
    assert len(NAMES) >= 24
    assert references == set(NAMES)


def test_unknown_names_are_refused():
    near = r"\(did you mean eight_schools or .*\)"
    with pytest.raises(ValueError, match=f"name: expected one of .*eight_schools.*; got 'nine_schools' {near}"):
        models.load("nine_schools")
    with pytest.raises(ValueError, match="'nine_schools'"):
        models.reference("nine_schools")


def test_importing_the_gallery_imports_no_model():
    code = "import sys, bbvi.models; print([m for m in sys.modules if m.startswith('bbvi.models.') and '._' not in m])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", NAMES)
def test_model_is_finite_and_its_functions_agree_in_shape(name):
    rng = np.random.default_rng(RNG_SEED)
    model = models.load(name)
    z = draw_of(model, rng)
    assert np.isfinite(model.log_joint(z))
    if "predict" in model.functions:
        for key, value in model.named("predict", z, rng).items():
            assert np.shape(value) == np.shape(model.data[key])
    if "log_likelihood" in model.functions:
        for key, value in model.pointwise(z).items():
            assert np.shape(value) == np.shape(model.data[key])
    if "sample_prior" in model.functions:
        prior = model.named("sample_prior", None, rng)
        assert {key: np.shape(value) for key, value in prior.items()} == {
            key: latent.shape for key, latent in model.latents.items()
        }


@pytest.mark.parametrize("name", NAMES)
def test_docstring_tells_the_story(name):
    assert len(models.summary(name)) < 110
    text = sys.modules[f"bbvi.models.{name}"].__doc__
    assert re.search(r"^Model.*?::\n", text, re.DOTALL | re.MULTILINE)
    assert "What to look for:" in text
    assert re.search(r"Data:\s", text) or "imulated" in text or "Question and data as in" in text


@pytest.mark.parametrize("name", NAMES)
def test_reference_has_the_rows_of_the_model_in_order(name):
    rows = rows_of(models.load(name), np.random.default_rng(RNG_SEED))
    reference = models.reference(name)
    constant = {"sleepstudy": {"L[intercept, intercept]", "L[intercept, slope]"}}.get(name, set())
    assert reference.rows == [row for row in rows if row not in constant]


@pytest.mark.parametrize("name", NAMES)
def test_reference_is_accurate_and_coherent(name):
    reference = models.reference(name)
    assert np.all(reference.sd > 0)
    assert np.all(np.diff(reference.quantiles, axis=1) > 0)
    # No distribution has its median further than one sd from its mean.
    assert np.all(np.abs(reference.quantiles[:, 1] - reference.mean) <= reference.sd)
    assert np.all(reference.mcse_mean < 0.01 * reference.sd)
    assert np.all(reference.mcse_sd <= 0.02 * reference.sd)
    assert reference.provenance.get("rhat_max", 1.0) < 1.005
    assert reference.provenance.get("divergences", 0) <= 0.01 * reference.provenance.get("draws", 1)


@pytest.mark.parametrize("name", NAMES)
def test_reference_files_are_strict_json(name):
    text = (resources.files(models) / "references" / f"{name}.json").read_text(encoding="utf-8")

    def refuse(token):
        raise AssertionError(f"not JSON: {token}")

    assert json.loads(text, parse_constant=refuse)["model"] == name


def test_closed_form_reference():
    reference = models.reference("placenta_previa")
    exact = stats.beta(438, 544)
    np.testing.assert_allclose(reference.mean[0], exact.mean(), rtol=1e-7)
    np.testing.assert_allclose(reference.quantiles[0], exact.ppf([0.05, 0.5, 0.95]), rtol=1e-7)
    assert np.all(np.isinf(reference.ess))


def test_references_of_both_eight_schools_agree():
    # Largest of ten differences of independent runs: 5 standard errors have a false-alarm rate below 1e-4.
    a, b = models.reference("eight_schools"), models.reference("eight_schools_centered")
    shared = [row for row in b.rows if row in a.rows]
    assert len(shared) == 10
    i, j = [a.rows.index(row) for row in shared], [b.rows.index(row) for row in shared]
    assert np.all(np.abs(a.mean[i] - b.mean[j]) < 5 * np.hypot(a.mcse_mean[i], b.mcse_mean[j]))
    assert np.all(np.abs(a.sd[i] - b.sd[j]) < 5 * np.hypot(a.mcse_sd[i], b.mcse_sd[j]))


class TestPublishedTables:
    """Typed-in tables reproduce figures that were published for them."""

    def test_cars(self):
        from bbvi.models import linear_regression as m

        x = np.column_stack([np.ones(32), m.WEIGHT, m.HORSEPOWER, m.QUARTER_MILE])
        coefficients = np.linalg.lstsq(x, np.array(m.MPG))[0]
        np.testing.assert_allclose(coefficients, [27.61053, -4.35880, -0.01782, 0.51083], atol=6e-6)

    def test_stack_loss(self):
        from bbvi.models import robust_regression as m

        x = np.column_stack([np.ones(21), m.AIR_FLOW, m.WATER_TEMPERATURE, m.ACID_CONCENTRATION])
        coefficients = np.linalg.lstsq(x, np.array(m.LOSS, float))[0]
        np.testing.assert_allclose(coefficients, [-39.9197, 0.7156, 1.2953, -0.1521], atol=6e-5)

    def test_vasoconstriction(self):
        from bbvi.models import logistic_regression as m

        x = np.column_stack([np.ones(39), np.log(m.VOLUME), np.log(m.RATE)])
        estimate = np.array([-2.875, 5.179, 4.562])
        score = x.T @ (np.array(m.RESPONSE) - 1 / (1 + np.exp(-x @ estimate)))
        np.testing.assert_allclose(score, 0, atol=4e-3)

    def test_counts_and_sums(self):
        from bbvi.models import (
            coal_mining,
            galaxies,
            hidden_markov,
            item_response,
            local_level,
            ordinal_regression,
        )

        assert (len(coal_mining.COUNT), sum(coal_mining.COUNT)) == (112, 191)
        assert len(galaxies.VELOCITY) == 82
        assert len(hidden_markov.COUNT) == 107
        assert sum(item_response.PEOPLE) == 1000
        # Proportions of right answers published with the LSAT data.
        right = np.array(item_response.PEOPLE) @ item_response.ANSWERS
        np.testing.assert_array_equal(right, [924, 709, 553, 763, 870])
        assert (len(local_level.FLOW), np.mean(local_level.FLOW)) == (100, 919.35)
        np.testing.assert_array_equal(ordinal_regression.COUNTS.sum(axis=1), 52)

    def test_sleepstudy(self):
        from bbvi.models import sleepstudy as m

        # Balanced data: the fixed effects are the averages of the lines of least squares.
        lines = np.polynomial.polynomial.polyfit(np.arange(10), np.array(m.REACTION).T, 1)
        np.testing.assert_allclose(lines.mean(axis=1), [251.405, 10.467], atol=5e-4)


def test_the_simulator_is_right_from_values_alone():
    """Six throws leave heavy tails, which need more draws than a near-Gaussian posterior; the seed is fixed."""
    fit = bbvi.fit(models.load("black_box_simulator"), estimator="score", seed=1)
    reference = models.reference("black_box_simulator")
    summary = fit.summary().loc[reference.rows]
    assert np.abs((summary["mean"].to_numpy() - reference.mean) / reference.sd).max() < 0.1
    np.testing.assert_allclose(summary["sd"], reference.sd, rtol=0.1)
    assert fit.evaluations <= 5000
