"""Pareto-smoothed importance sampling: known tails, agreement with ArviZ, and inputs at the edge."""

import math

import numpy as np
import pytest

from bbvi.correction.psis import (
    NO_TAIL,
    UNUSABLE,
    effective_sample_size,
    fit_generalized_pareto,
    pareto_khat_threshold,
    pareto_quantile,
    pareto_shape,
    psis,
    tail_length,
)


def pareto_ratios(shape, size, seed=0):
    """Log of generalized Pareto draws, shifted to be positive."""
    levels = np.random.default_rng(seed).random(size)
    return np.log(pareto_quantile(levels, np.array([shape]), np.array([1.0]))[:, 0] + 1e-3)


def arviz_psis(log_ratios):
    """ArviZ's answer; version 1 expects the ratios of leave-one-out, so with the other sign."""
    try:
        from arviz_stats.base import array_stats
    except ImportError:
        import arviz

        return arviz.psislw(log_ratios.copy())
    return array_stats.psislw(-log_ratios)


# 3 sqrt(S) is whole for these sizes: ArviZ 0.23 rounds the tail length up, and 1.x down
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("size", [100, 400, 2500, 10_000])
@pytest.mark.parametrize("shape", [-0.5, 0.01, 0.3, 0.7, 1.5, 4.0])
def test_agrees_with_arviz(shape, size):
    log_ratios = pareto_ratios(shape, size)
    log_weights, khat = psis(log_ratios)
    expected_weights, expected_khat = arviz_psis(log_ratios)
    assert khat == pytest.approx(float(expected_khat), abs=1e-3)
    np.testing.assert_allclose(log_weights, expected_weights, atol=1e-3)


@pytest.mark.parametrize("shape", [0.1, 0.4, 0.7, 1.0, 2.0])
def test_finds_the_shape_of_a_known_tail(shape):
    # the standard error at 10,000 draws (a tail of 300) is about (1 + k) / sqrt(300); 4 of them: 1 in 16,000
    # of a false alarm, and seeds are fixed
    khats = [psis(pareto_ratios(shape, 10_000, seed))[1] for seed in range(4)]
    assert np.mean(khats) == pytest.approx(shape, abs=4 * (1 + shape) / math.sqrt(300 * 4) + 0.03)


def test_a_wrong_shape_fails():
    assert abs(psis(pareto_ratios(1.0, 10_000))[1] - 0.5) > 0.3


@pytest.mark.parametrize("shape", [-0.4, 0.3, 1.2])
def test_generalized_pareto_fit_is_close_to_exact_quantiles(shape):
    levels = (np.arange(2000) + 0.5) / 2000
    sample = pareto_quantile(levels, np.array([shape]), np.array([2.5]))
    k, scale = fit_generalized_pareto(sample)
    assert k[0] == pytest.approx(shape, abs=0.05)
    assert scale[0] == pytest.approx(2.5, rel=0.05)


def test_columns_are_independent_and_shapes_are_kept():
    columns = np.random.default_rng(1).standard_normal((500, 7)) * np.linspace(0.1, 3.0, 7)
    log_weights, khat = psis(columns)
    assert log_weights.shape == (500, 7) and khat.shape == (7,)
    for j in range(7):
        one, k = psis(columns[:, j])
        np.testing.assert_allclose(log_weights[:, j], one, rtol=0, atol=1e-12)
        assert khat[j] == pytest.approx(k, abs=1e-12)
    assert isinstance(psis(columns[:, 0])[1], float)


def test_many_columns_go_through_blocks():
    columns = np.random.default_rng(2).standard_normal((4000, 300))
    log_weights, khat = psis(columns)
    np.testing.assert_allclose(np.exp(log_weights).sum(axis=0), 1.0, rtol=1e-12)
    np.testing.assert_allclose(khat[[0, 299]], [psis(columns[:, 0])[1], psis(columns[:, 299])[1]], atol=1e-12)


def test_a_constant_changes_nothing():
    log_ratios = np.random.default_rng(3).standard_normal(1000)
    for shift in (-1e5, 1e5):
        log_weights, khat = psis(log_ratios + shift)
        np.testing.assert_allclose(log_weights, psis(log_ratios)[0], atol=1e-9)
        assert khat == pytest.approx(psis(log_ratios)[1], abs=1e-6)


def test_smoothed_weights_keep_the_order_and_the_largest_raw_weight():
    log_ratios = pareto_ratios(1.5, 2000)
    log_weights, _ = psis(log_ratios)
    assert (np.diff(log_weights[np.argsort(log_ratios)]) >= -1e-9).all()
    # without the constant of the normalisation, no weight exceeds the largest raw ratio
    smallest = np.argmin(log_ratios)
    assert (log_weights - log_weights[smallest] + log_ratios[smallest]).max() <= log_ratios.max() + 1e-9


def test_the_input_is_not_changed():
    log_ratios = np.random.default_rng(4).standard_normal((100, 3))
    copy = log_ratios.copy()
    log_ratios.flags.writeable = False
    psis(log_ratios)
    np.testing.assert_array_equal(log_ratios, copy)


@pytest.mark.parametrize(
    ("log_ratios", "khat"),
    [
        (np.zeros(1000), NO_TAIL),
        (np.full(1000, 1e-13) * np.arange(1000) / 1000, NO_TAIL),
        (np.r_[np.full(500, -np.inf), np.zeros(500)], NO_TAIL),
        (np.full(1000, -np.inf), UNUSABLE),
        (np.r_[np.full(997, -np.inf), [0.1, 0.5, 0.2]], UNUSABLE),
        (np.arange(10.0), UNUSABLE),
        (np.zeros(1), UNUSABLE),
        (np.r_[np.zeros(999), 800.0], UNUSABLE),
    ],
    ids=["constant", "rounding", "half zero", "all zero", "three alive", "ten draws", "one draw", "one rules"],
)
def test_khat_is_always_a_number(log_ratios, khat):
    assert psis(log_ratios)[1] == khat


def test_zero_weights_stay_zero():
    log_ratios = np.r_[np.full(300, -np.inf), np.random.default_rng(5).standard_normal(700)]
    log_weights, khat = psis(log_ratios)
    assert (log_weights[:300] == -np.inf).all() and np.isfinite(log_weights[300:]).all()
    assert np.exp(log_weights).sum() == pytest.approx(1.0)
    assert 0.0 < khat < 0.7


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_ratios_that_are_not_numbers_are_an_error(bad):
    with pytest.raises(ValueError, match="finite or -inf"):
        psis(np.r_[np.zeros(99), bad])


@pytest.mark.parametrize("shape", [(0,), (), (5, 2, 2)])
def test_wrong_shapes_are_an_error(shape):
    with pytest.raises(ValueError, match="shape"):
        psis(np.zeros(shape))


def test_effective_sample_size():
    assert effective_sample_size(np.zeros(10)) == pytest.approx(10.0)
    assert effective_sample_size(np.r_[0.0, np.full(9, -np.inf)]) == pytest.approx(1.0)
    assert effective_sample_size(np.full(4, -np.inf)) == 0.0
    assert effective_sample_size(np.log([0.5, 0.25, 0.25])) == pytest.approx(1.0 / 0.375)
    np.testing.assert_allclose(effective_sample_size(np.zeros((6, 2)) - 1e6), [6.0, 6.0])


def test_threshold_and_tail_length():
    assert pareto_khat_threshold(100) == pytest.approx(0.5)
    assert pareto_khat_threshold(10_000) == 0.7
    assert pareto_khat_threshold(1) == -math.inf
    assert [tail_length(n) for n in (10, 100, 225, 4000)] == [2, 20, 45, 190]


@pytest.mark.parametrize(("df", "heavy"), [(3.0, True), (30.0, False)])
def test_shape_of_squares_tells_whether_a_variance_is_known(df, heavy):
    # squares of t(df) have tail shape 2 / df: 0.67 and 0.07
    draws = np.random.default_rng(6).standard_t(df, size=(20_000, 2))
    assert ((pareto_shape(np.square(draws)) > 0.5) == heavy).all()
