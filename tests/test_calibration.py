"""Calibration by simulation: right posteriors pass, wrong ones fail."""

from __future__ import annotations

import autograd.numpy as anp
import numpy as np
import pytest
from posteriors import regression, schools

import bbvi
from bbvi.checking.calibration import coverage, simulate, simulation_based_calibration
from bbvi.stats import norm


def location(believed_sd: float = 1.0, offset: float = 0.0) -> bbvi.Model:
    """Normal mean; data have sd 1 whatever the model believes, so that other beliefs are miscalibrated."""
    return bbvi.Model(
        log_prior=lambda z: norm.logpdf(z.mu, offset, 2),
        log_likelihood=lambda z, y: norm.logpdf(y, z.mu, believed_sd),
        latents={"mu": bbvi.Real()},
        data={"y": np.zeros(5)},
        predict=lambda z, rng: {"y": rng.normal(z.mu, 1.0, size=5)},
        sample_prior=lambda rng: {"mu": rng.normal(0, 2)},
    )


def test_an_exact_posterior_is_calibrated():
    """Each p-value is uniform: the false-alarm rate for three rows is 3e-3; bias within 4 sd, 2e-4."""
    result = simulation_based_calibration(regression(), 40, seed=3, start_at_truth=True)
    table = result.summary()
    assert (table["p_uniform"] > 1e-3).all()
    assert (table["bias"].abs() < 4 / np.sqrt(40)).all()
    assert table["spread"].between(0.6, 1.45).all()
    assert result.probability.shape == result.truth.shape == result.z.shape == (40, 3)
    assert list(table.index) == regression().labels
    assert result.failures == []
    assert set(result.verdicts) == {"reliable"}


def test_too_narrow_a_posterior_fails():
    table = simulation_based_calibration(location(believed_sd=0.3), 40, seed=1, start_at_truth=True).summary()
    assert table["p_uniform"].item() < 1e-3
    assert table["spread"].item() > 2
    assert table["cover_0.89"].item() < 0.7


def test_a_biased_posterior_fails():
    table = simulation_based_calibration(location(offset=30.0), 15, seed=1).summary()
    assert table["bias"].item() > 1


def test_mean_field_alone_is_too_narrow_where_latents_are_correlated():
    """Two regressors with correlation 0.995: mean field's sds are 0.1 of the truth."""
    rng = np.random.default_rng(0)
    shared = rng.normal(size=30)
    x = np.stack([shared, shared + 0.1 * rng.normal(size=30)], axis=1)
    model = bbvi.Model(
        log_prior=lambda z: anp.sum(norm.logpdf(z.b, 0, 2)),
        log_likelihood=lambda z, y, x: norm.logpdf(y, x @ z.b, 1.0),
        latents={"b": bbvi.Real(shape=2)},
        data={"y": np.zeros(30), "x": x},
        predict=lambda z, rng, x: {"y": rng.normal(x @ z.b, 1.0)},
        sample_prior=lambda rng: {"b": rng.normal(0, 2, 2)},
    )
    assert (coverage(model, 25, [0.89], seed=1, kind="mean-field") < 0.6).all(axis=None)
    # Standard error 0.063: 4 of them, a false-alarm rate of 1e-3 at worst.
    assert (coverage(model, 25, [0.89], seed=1) > 0.64).all(axis=None)


def test_coverage_of_exact_intervals():
    """50 fits: standard error 0.071 at 0.5 and 0.044 at 0.89; 4 of them: false alarms 1e-3."""
    table = coverage(location(), 50, seed=5, start_at_truth=True)
    assert table[0.5].item() == pytest.approx(0.5, abs=0.283)
    assert table[0.89].item() == pytest.approx(0.89, abs=0.177)


def test_same_seed_same_result():
    first, second = (simulation_based_calibration(location(), 5, seed=7) for _ in range(2))
    np.testing.assert_array_equal(first.probability, second.probability)


def test_derived_quantities_and_simulated_data():
    model, values = simulate(schools(), np.random.default_rng(0))
    assert not np.array_equal(model.data["y"], schools().data["y"])
    np.testing.assert_array_equal(model.data["sigma"], schools().data["sigma"])
    result = simulation_based_calibration(schools(), 3, seed=0)
    theta = [label.startswith("theta") for label in result.labels]
    mu, tau, eta = result.truth[:, 0], result.truth[:, 1], result.truth[:, 2:10]
    np.testing.assert_allclose(result.truth[:, theta], mu[:, None] + tau[:, None] * eta)
    assert set(values) == {"mu", "tau", "eta"}


def test_data_sets_that_cannot_be_fitted_are_counted():
    def log_likelihood(z, y):
        if y[0] > 0.5:
            raise ValueError("no such data")
        return norm.logpdf(y, z.mu, 1)

    model = bbvi.Model(
        log_prior=lambda z: norm.logpdf(z.mu),
        log_likelihood=log_likelihood,
        latents={"mu": bbvi.Real()},
        data={"y": np.zeros(2)},
        predict=lambda z, rng: {"y": rng.normal(z.mu, 1, size=2)},
        sample_prior=lambda rng: {"mu": rng.normal()},
    )
    result = simulation_based_calibration(model, 12, seed=1)
    assert 0 < len(result.failures) < 12
    assert len(result.failures) + len(result.truth) == 12
    assert "no such data" in result.failures[0]


def test_what_is_missing_is_named():
    plain = bbvi.Model(lambda z: -0.5 * z.a**2, latents={"a": bbvi.Real()})
    with pytest.raises(ValueError, match="sample_prior and predict"):
        simulation_based_calibration(plain)
    other = bbvi.Model(
        log_prior=lambda z: norm.logpdf(z.a),
        log_likelihood=lambda z, y: norm.logpdf(y, z.a, 1),
        latents={"a": bbvi.Real()},
        data={"y": np.zeros(2)},
        predict=lambda z, rng: {"x": rng.normal(z.a)},
        sample_prior=lambda rng: {"a": rng.normal()},
    )
    with pytest.raises(ValueError, match="expected the observed data y, got x"):
        simulation_based_calibration(other)
    with pytest.raises(ValueError, match="repeats"):
        simulation_based_calibration(location(), 1)
    with pytest.raises(ValueError, match="probs"):
        coverage(location(), 5, [1.5])
    with pytest.raises(TypeError, match="model"):
        simulation_based_calibration(lambda z: 0.0)
