"""Designs of standard-normal draws: exact moments, even spread, what a wrong design fails, messages."""

import math

import numpy as np
import pytest
from scipy.special import ndtr

from bbvi import draws

DESIGNS = {name: getattr(draws, name) for name in ("iid", "antithetic", "orthogonal", "quasi_random")}
each_design = pytest.mark.parametrize("design", DESIGNS.values(), ids=DESIGNS)
MIRRORED = [draws.antithetic, draws.orthogonal, draws.quasi_random]
EXACT = [draws.orthogonal, draws.quasi_random]


def second_moment_error(points):
    """Largest departure of the second-moment matrix from the identity."""
    return np.max(np.abs(points.T @ points / len(points) - np.eye(points.shape[1])))


@each_design
@pytest.mark.parametrize(("n", "dim"), [(64, 1), (64, 5), (128, 80)])
def test_shape_finiteness_and_reproducibility(design, n, dim):
    points = design(n, dim, np.random.default_rng(1))
    assert points.shape == (n, dim)
    assert np.all(np.isfinite(points))
    np.testing.assert_array_equal(points, design(n, dim, np.random.default_rng(1)))
    assert not np.array_equal(points, design(n, dim, np.random.default_rng(2)))


@pytest.mark.parametrize("design", MIRRORED)
@pytest.mark.parametrize(("n", "dim"), [(64, 40), (1024, 3)])
def test_rows_come_in_mirrored_pairs(design, n, dim, rng):
    points = design(n, dim, rng)
    np.testing.assert_array_equal(points[n // 2 :], -points[: n // 2])


SMALL = [(draws.orthogonal, n) for n in (2, 4, 8, 32)]
LARGER = [(design, n) for design in EXACT for n in (64, 128)]


@pytest.mark.parametrize(("design", "n"), SMALL + LARGER)
@pytest.mark.parametrize("share", [0.5, 1.0])
def test_second_moments_are_exact_where_rows_suffice(design, n, share):
    dim = max(1, int(share * n / 2))
    for seed in range(20):
        assert second_moment_error(design(n, dim, np.random.default_rng(seed))) < 1e-10


@pytest.mark.parametrize(("design", "n"), SMALL + LARGER)
@pytest.mark.parametrize("extra", [1, 100])
def test_variances_are_exact_where_rows_are_few(design, n, extra):
    for seed in range(20):
        points = design(n, n // 2 + extra, np.random.default_rng(seed))
        np.testing.assert_allclose(np.mean(points**2, axis=0), 1.0, atol=1e-10)


def test_few_rows_are_nearly_orthogonal(rng):
    half = draws.orthogonal(32, 200, rng)[:16]
    norms = np.linalg.norm(half, axis=1)
    cosines = half @ half.T / np.outer(norms, norms) - np.eye(16)
    independent = rng.normal(size=(16, 200))
    assert np.max(np.abs(cosines)) < 0.05
    assert np.max(np.abs(np.corrcoef(independent) - np.eye(16))) > 0.1
    np.testing.assert_allclose(norms, math.sqrt(200), rtol=0.05)


@pytest.mark.parametrize(("n", "dim", "tolerance"), [(32, 10, 0.3), (128, 10, 0.1), (32, 40, 0.6)])
def test_fourth_moments_are_close_to_three(n, dim, tolerance):
    fourth = np.mean(draws.orthogonal(n, dim, np.random.default_rng(0)) ** 4, axis=0)
    assert np.max(np.abs(fourth - 3)) < tolerance
    # What orthogonal draws without the sweeps leave.
    plain = draws._orthogonalized(np.random.default_rng(0).normal(size=(n // 2, dim)))
    assert np.max(np.abs(np.mean(plain**4, axis=0) - 3)) > 1.2 * tolerance


def test_designs_other_than_exact_ones_fail_the_exactness_test(rng):
    assert second_moment_error(draws.iid(64, 5, rng)) > 0.01
    assert second_moment_error(draws.antithetic(64, 5, rng)) > 0.01


@pytest.mark.parametrize("n", [*range(1, 70), 255, 256, 2048, 32768])
def test_half_normal_scores_have_normal_moments(n):
    scores = draws._half_normal_scores(n)
    orders = [2, 4, 6, 8][: 1 + (n >= 4) + (n >= 16) + (n >= 256)]
    moments = [np.mean(scores**k) for k in orders]
    np.testing.assert_allclose(moments, [1, 3, 15, 105][: len(orders)], rtol=1e-10)
    assert scores[0] > 0
    assert np.all(np.diff(scores) > 0)


def test_iid_and_antithetic_draws_are_standard_normal(rng):
    """The mean square of 20,000 draws has an sd of 0.01: five sds are a false-alarm rate of 6e-7 each."""
    for points in (draws.iid(20000, 1, rng), draws.antithetic(40000, 1, rng)[:20000]):
        assert abs(np.mean(points**2) - 1) < 0.05
        assert abs(np.mean(points)) < 5 / math.sqrt(20000)
        assert abs(np.mean((1.1 * points) ** 2) - 1) > 0.05


@pytest.mark.parametrize("dim", [1, 5, 60, 100])
def test_quasi_random_marginals_are_even(dim, rng):
    """Each of 16 cells of equal probability holds its 64 of 1024 points, give or take a few."""
    cells = np.floor(16 * ndtr(draws.quasi_random(1024, dim, rng)))
    counts = np.array([np.bincount(column.astype(int), minlength=16) for column in cells.T])
    assert np.max(np.abs(counts - 64)) <= 8
    independent = np.floor(16 * ndtr(draws.iid(1024, 1, rng)[:, 0]))
    assert np.max(np.abs(np.bincount(independent.astype(int)) - 64)) > 8


SMOOTH = (lambda z: np.exp(0.5 * z), np.tanh, lambda z: np.exp(-(z**2)))


def _pair_errors(points):
    """Means of the products of three smooth functions of each pair of coordinates, times sqrt(n).

    The functions are exp(z / 2), tanh(z) and exp(-z^2), centred and scaled: independent points give N(0, 1).
    """
    values = np.stack([f(points.T) for f in SMOOTH])
    functions = (values - np.mean(values, axis=-1, keepdims=True)) / np.std(values, axis=-1, keepdims=True)
    later = np.triu_indices(points.shape[1], 1)
    return np.array([(f @ g.T)[later] / math.sqrt(len(points)) for f in functions for g in functions])


@pytest.mark.parametrize("n", [1024, 4096, 16384])
def test_quasi_random_pairs_are_even(n, rng, monkeypatch):
    errors = _pair_errors(draws.quasi_random(n, 19, rng))
    assert np.sqrt(np.mean(errors**2)) < 0.25
    assert np.sqrt(np.mean(_pair_errors(draws.iid(n, 19, rng)) ** 2)) > 0.7
    # A generator three times another leaves stripes in their pair.
    monkeypatch.setattr(draws, "_LATTICE", np.array([1, 3]))
    striped = [_pair_errors(draws.quasi_random(n, 2, rng)) for _ in range(5)]
    assert np.sqrt(np.mean(np.square(striped))) > 0.7


# Functions of the draws, each with its mean and sd.
def _half_lognormal(e):
    return np.exp(0.5 * e), math.exp(0.125), math.exp(0.125) * math.sqrt(math.exp(0.25) - 1)


def _smooth_cases(points):
    leading = 0.6 ** np.arange(points.shape[1])
    yield _half_lognormal(points[:, 0])
    yield _half_lognormal(points[:, -1])
    yield _half_lognormal(points @ leading / np.linalg.norm(leading))
    yield np.exp(0.5 * points[:, 0]) * points[:, -1], 0.0, math.exp(0.25)
    first, last = np.exp(points[:, 0]), np.exp(points[:, -1])
    yield first, math.exp(0.5), math.sqrt(math.e * (math.e - 1))
    yield last, math.exp(0.5), math.sqrt(math.e * (math.e - 1))


@pytest.mark.parametrize("dim", [2, 10, 30])
def test_quasi_random_expectations(dim):
    """Root mean square error over ten designs: means within 0.5 % of an sd, and sds within 1.5 %."""
    errors = []
    for seed in range(10):
        points = draws.quasi_random(4096, dim, np.random.default_rng(seed))
        errors.append(
            [((np.mean(f) - mean) / sd, np.std(f) / sd - 1) for f, mean, sd in _smooth_cases(points)]
        )
    mean_error, sd_error = np.moveaxis(np.sqrt(np.mean(np.square(errors), axis=0)), -1, 0)
    assert np.max(mean_error) < 0.005
    assert np.max(sd_error) < 0.015


def _correlations(products, kernel):
    """Sum over k of products[k] kernel[k z modulo n] for each z = 5^i, i < n / 4.

    Odd numbers modulo n are powers of 5 up to sign, so that the sum is a circular correlation for each power
    of two in k (Nuyens and Cools 2006).
    """
    n = kernel.size
    sums = np.full(n // 4, products[0] * kernel[0] + products[n // 2] * kernel[n // 2])
    for shift in range(int(math.log2(n)) - 1):
        level = n >> shift
        odd = np.array([pow(5, i, level) for i in range(level // 4)])
        paired = products[odd << shift] + products[(level - odd) << shift]
        spectrum = np.conj(np.fft.fft(paired)) * np.fft.fft(kernel[odd << shift])
        sums += np.tile(np.fft.ifft(spectrum).real, n // level)
    return sums


def _component_by_component(weight=0.05, small=9, large=15):
    """The generating vector, rebuilt with the kernel 2 pi^2 B_2 until no component may be added."""
    biggest = 2**large
    powers = np.array([pow(5, i, biggest) for i in range(biggest // 4)])
    grids = [np.arange(2**m) / 2**m for m in range(small, large + 1)]
    kernels = [2 * np.pi**2 * (x * (x - 1) + 1 / 6) for x in grids]

    def worst_over_sizes(values):
        return np.max([np.tile(value, powers.size // value.size) for value in values], axis=0)

    # Independent points have a mean square error of kernel[0]^2 / n in a pair. Indexed by log_5 of the ratio.
    good_pair = worst_over_sizes([_correlations(w, w) / w[0] ** 2 for w in kernels]) <= 0.5
    vector, exponent = [1], 0
    allowed = np.ones(powers.size, dtype=bool)
    products = [1 + weight * w for w in kernels]
    while True:
        allowed &= np.roll(good_pair, exponent) & np.roll(good_pair[::-1], exponent + 1)
        if not np.any(allowed):
            return vector
        sized = list(zip(products, kernels, strict=True))
        errors = [np.mean(p) - 1 + weight * _correlations(p, w) / len(w) for p, w in sized]
        worst = worst_over_sizes([error / np.min(error) for error in errors])
        # Mirrored generators tie but for rounding: the first of those that are equal to nine digits.
        exponent = int(np.argmin(np.where(allowed, np.round(worst, 9), np.inf)))
        z = min(powers[exponent], biggest - powers[exponent])
        vector.append(int(z))
        products = [p * (1 + weight * w[np.arange(w.size) * z % w.size]) for p, w in sized]


def test_generating_vector_is_the_one_described():
    np.testing.assert_array_equal(draws._LATTICE, _component_by_component())


@pytest.mark.parametrize("size", [2, 16, 512, 32768])
def test_generators_of_a_size_differ(size):
    generators = draws._distinct_generators(size)
    classes = np.minimum(generators % size, -generators % size)
    assert np.unique(classes).size == generators.size
    assert generators.size == 19 or size < 512


@each_design
def test_bad_sizes(design, rng):
    for n, dim, name in ((0, 1, "n"), (-2, 1, "n"), (64, 0, "dim")):
        with pytest.raises(ValueError, match=f"{name}: expected 1 or more"):
            design(n, dim, rng)
    for n, dim, name in ((4.0, 1, "n"), (True, 1, "n"), (4, "2", "dim")):
        with pytest.raises(TypeError, match=f"{name}: expected an int"):
            design(n, dim, rng)


def test_bad_counts(rng):
    for design in (draws.antithetic, draws.orthogonal):
        with pytest.raises(ValueError, match="n: expected an even number.*got 5"):
            design(5, 2, rng)
    for n in (2, 32, 96, 1000):
        with pytest.raises(ValueError, match=f"n: expected a power of two, 64 or more, got {n}"):
            draws.quasi_random(n, 2, rng)


def test_many_coordinates_have_exact_moments_each_and_take_no_time_for_more():
    z = draws.quasi_random(1024, 700, np.random.default_rng(0))
    np.testing.assert_allclose(z.mean(axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose((z**2).mean(axis=0), 1.0, rtol=1e-10)
    np.testing.assert_allclose((z**4).mean(axis=0), 3.0, rtol=1e-6)
    correlation = z[:512].T @ z[:512] / 512 - np.eye(700)
    # The largest of 244,650 independent correlations of 512 draws: 6 standard errors have probability 5e-4.
    assert np.abs(correlation).max() < 6 / np.sqrt(512)
