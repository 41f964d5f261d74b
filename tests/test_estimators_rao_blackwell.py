"""Rao-Blackwellization: the structure is found, helps, and is given up where it is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from bbvi.estimators import ScoreFunction, as_cost
from bbvi.estimators.rao_blackwell import changed_terms, guarded, noticeable, probe_structure
from bbvi.families import Bernoulli, MeanFieldGaussian


def hierarchical(z):
    """Terms of a small hierarchy: a root, leaves that depend on it, and an observation of each leaf."""
    root, leaves = z[0], z[1:]
    return np.concatenate([[-0.5 * root**2], -0.5 * (leaves - root) ** 2, -np.cosh(leaves - 1.0)])


def batched(function):
    return lambda z: np.array([function(draw) for draw in z])


def test_structure_is_found():
    found = probe_structure(batched(hierarchical), np.zeros(4), np.ones(4), np.random.default_rng(0))
    none, own = np.zeros((3, 3), dtype=bool), np.eye(3, dtype=bool)
    expected = np.block([[np.array([[True, True, True, True]]), none[:1]], [none[:, :1], own, own]])
    np.testing.assert_array_equal(found, expected)


def test_structure_is_probed_at_the_scale_of_q():
    # Seen only where the latent is large: not from N(0, 1), nearly always from N(0, 1000).
    terms = batched(lambda z: np.array([max(z[0] - 50.0, 0.0) + max(-50.0 - z[0], 0.0), z[1]]))
    for sd, expected in ((1.0, False), (1000.0, True)):
        found = probe_structure(terms, np.zeros(2), np.array([sd, 1.0]), np.random.default_rng(1))
        assert found[0, 0] == expected


def test_rounding_is_no_dependence_and_nonfinite_terms_are():
    terms = batched(lambda z: np.array([1.0 + 1e-17 * z[0], np.nan, np.inf, 2.0]))
    found = changed_terms(terms, np.zeros((1, 1)), np.ones((1, 1)))
    np.testing.assert_array_equal(found, [[False, True, True, False]])


@pytest.mark.parametrize("control_variate", ["regression", "leave-one-out", "optimal", "none"])
def test_it_is_unbiased_and_has_less_variance(control_variate):
    q = MeanFieldGaussian(np.linspace(-0.5, 0.5, 8), 0.7)
    cost = as_cost(hierarchical)
    sample = {}
    for reduce in (True, False):
        rng, estimator = np.random.default_rng(2), ScoreFunction(control_variate, rao_blackwell=reduce)
        structure = estimator.structure(cost, q, rng)
        sample[reduce] = np.array([estimator.estimate(cost, q, 20, rng, structure).gradient for _ in range(600)])
    # Of 64 coordinates at 4.5 standard errors, one fails in 2,000 seeds.
    difference = sample[True].mean(axis=0) - sample[False].mean(axis=0)
    error = np.sqrt((sample[True].var(axis=0) + sample[False].var(axis=0)) / 600)
    assert np.all(np.abs(difference) < 4.5 * error)
    leaves = np.r_[1:8, 9:16]
    assert sample[True].var(axis=0)[leaves].mean() < 0.6 * sample[False].var(axis=0)[leaves].mean()


@pytest.mark.parametrize("control_variate", ["regression", "leave-one-out", "optimal", "none"])
def test_a_wrong_structure_is_given_up(control_variate):
    # The structure says that nothing touches z[1]; without the check its gradient would be 0.
    q, cost = MeanFieldGaussian([1.0, 2.0], 1.0), as_cost(lambda z: z**2)
    wrong = np.array([[True, False], [False, False]])
    estimator, rng = ScoreFunction(control_variate), np.random.default_rng(3)
    sample = np.array([estimator.estimate(cost, q, 30, rng, wrong).gradient for _ in range(400)])
    # Four coordinates at 4.5 standard errors.
    error = sample.std(axis=0) / np.sqrt(len(sample))
    assert np.all(np.abs(sample.mean(axis=0) - [2.0, 4.0, 2.0, 2.0]) < 4.5 * error + 1e-9)


def test_the_guard_judges_each_half_by_the_other():
    full, reduced = np.ones((20, 2)), np.zeros((20, 2))
    noise = np.random.default_rng(4).normal(size=(20, 2))
    np.testing.assert_array_equal(noticeable(noise, np.ones(2)), [False, False])
    np.testing.assert_array_equal(noticeable(noise + [0.0, 10.0], np.ones(2)), [False, True])
    np.testing.assert_array_equal(guarded(full, reduced, noise + [0.0, 10.0]), full * [0.0, 1.0])
    # What shows in the second half alone decides for the first.
    late = noise + np.where(np.arange(20)[:, None] < 10, 0.0, 10.0)
    np.testing.assert_array_equal(guarded(full, reduced, late)[:, 0], np.repeat([1.0, 0.0], 10))
    np.testing.assert_array_equal(guarded(full[:6], reduced[:6], noise[:6]), full[:6])


def test_scalar_costs_and_one_latent_are_not_probed():
    q, calls = MeanFieldGaussian([0.0, 0.0], 1.0), []
    cost = as_cost(lambda z: calls.append(1) or z @ z)
    ScoreFunction().estimate(cost, q, 10, np.random.default_rng(5))
    assert len(calls) == 10
    assert np.all(
        ScoreFunction().structure(as_cost(lambda z: z), MeanFieldGaussian(0.0, 1.0), np.random.default_rng(6))
    )


def test_discrete_families_are_moved_to_another_value():
    q = Bernoulli([0.01, 0.5, 0.99])
    estimator = ScoreFunction()
    found = estimator.structure(as_cost(lambda z: z * [1.0, 2.0, 3.0]), q, np.random.default_rng(7))
    np.testing.assert_array_equal(found, np.eye(3, dtype=bool))
    cost = as_cost(lambda z: z * [1.0, 2.0, 3.0])
    rng = np.random.default_rng(8)
    sample = np.array([estimator.estimate(cost, q, 30, rng, found).gradient for _ in range(800)])
    error = sample.std(axis=0) / np.sqrt(len(sample))
    # Three coordinates at 5 standard errors; long tails from the rare values allow no sharper statement.
    assert np.all(np.abs(sample.mean(axis=0) - [1.0, 2.0, 3.0]) < 5 * error + 1e-9)
