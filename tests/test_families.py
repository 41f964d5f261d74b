"""Families: densities against SciPy, scores against differences, paths against quantiles, bad parameters."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from bbvi.families import Bernoulli, Beta, Gamma, Gaussian, MeanFieldGaussian, StudentT, VonMises

FAMILIES = {
    "gaussian": (MeanFieldGaussian, ([0.5, -2.0, 100.0], [1.0, 1e-3, 50.0])),
    "student": (StudentT, ([0.7, 3.0, 80.0, 1e4], [0.0, 1.0, -4.0, 2.0], [1.0, 2.0, 0.1, 1.0])),
    "gamma": (Gamma, ([0.05, 0.7, 3.0, 200.0, 1e5], [1.0, 2.0, 0.1, 1.0, 3.0])),
    "beta": (Beta, ([0.3, 2.0, 50.0, 2000.0], [0.5, 7.0, 4.0, 1000.0])),
    "von-mises": (VonMises, ([0.0, 3.0, -1.0, 0.5], [0.1, 2.0, 30.0, 1e4])),
    "bernoulli": (Bernoulli, ([0.02, 0.5, 0.9],)),
}
CONTINUOUS = [name for name in FAMILIES if name != "bernoulli"]
IMPLICIT = {
    "student": ("df", lambda p: stats.t(p[0], p[1], p[2])),
    "gamma": ("concentration", lambda p: stats.gamma(p[0], scale=1 / p[1])),
    "beta": ("alpha", lambda p: stats.beta(p[0], p[1])),
}


def make(name):
    family, arguments = FAMILIES[name]
    return family(*arguments)


def parameters_of(q):
    return np.array([getattr(q, name) for name in q._arguments])


@pytest.mark.parametrize("name", FAMILIES)
def test_sample_and_score_have_their_shapes(name):
    q = make(name)
    z = q.sample(7, np.random.default_rng(0))
    assert z.shape == (7, q.dim)
    assert q.score(z).shape == (7, len(q.parameters))
    assert q.log_density(z).shape == (7,)
    assert q.log_density(z[0]).shape == ()
    assert np.all(np.isfinite(q.log_density(z)))
    assert np.array_equal(z, q.sample(7, 0))


@pytest.mark.parametrize("name", FAMILIES)
def test_score_is_the_derivative_of_the_log_density(name):
    q = make(name)
    z = q.sample(20, np.random.default_rng(1))
    arguments = parameters_of(q)
    numeric = []
    for row in range(len(arguments)):
        for i in range(q.dim):
            step = 1e-6 * max(abs(arguments[row, i]), 1e-2)
            if isinstance(q, MeanFieldGaussian) and row == 1:
                factors = np.exp(1e-6), np.exp(-1e-6)
                moved = [np.where(np.arange(q.dim) == i, arguments * f, arguments)[row] for f in factors]
                plus, minus = (type(q)(q.mean, sd) for sd in moved)
                step = 1e-6
            else:
                up, down = arguments.copy(), arguments.copy()
                up[row, i] += step
                down[row, i] -= step
                plus, minus = type(q)(*up), type(q)(*down)
            numeric.append((plus.log_density(z) - minus.log_density(z)) / (2 * step))
    scale = 1e-4 * (1 + np.abs(np.transpose(numeric)).max(axis=0))
    assert np.all(np.abs(q.score(z) - np.transpose(numeric)) < scale)


@pytest.mark.parametrize("name", FAMILIES)
def test_scores_have_mean_zero(name):
    # 40 scores at 5 standard errors: a false alarm in 40,000 seeds.
    score = make(name).score(make(name).sample(20_000, np.random.default_rng(2)))
    assert np.all(np.abs(score.mean(axis=0)) < 5 * score.std(axis=0) / np.sqrt(len(score)))


@pytest.mark.parametrize("name", IMPLICIT)
def test_implicit_path_follows_the_quantile(name):
    q = make(name)
    z = q.sample(40, np.random.default_rng(3))
    argument, frozen = IMPLICIT[name]
    path = q.path(z, np.ones_like(z)).reshape(40, -1, q.dim)[:, q._arguments.index(argument)]
    for i in range(q.dim):
        # The reference loses digits where the quantile function does, so that it is not asked for extremes.
        if name == "student" and q.df[i] > 1000 or name == "gamma" and q.concentration[i] < 0.1:
            continue
        p = parameters_of(q)[:, i]
        step = 1e-4 * p[0] / (1 + np.sqrt(p[0]))
        up, down = (frozen(np.r_[p[0] + s * step, p[1:]]) for s in (1, -1))
        level, tail = frozen(p).cdf(z[:, i]), frozen(p).sf(z[:, i])
        lower = (up.ppf(level) - down.ppf(level)) / (2 * step)
        upper = (up.isf(tail) - down.isf(tail)) / (2 * step)
        expected = np.where(level < 0.5, lower, upper)
        np.testing.assert_allclose(path[:, i], expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("concentration", [0.1, 2.0, 30.0, 1e4])
def test_von_mises_path_is_minus_the_derivative_of_the_cdf_over_the_density(concentration):
    q = VonMises(0.0, concentration)
    width = min(np.pi, 8 / np.sqrt(concentration))
    for z in width * np.array([-0.9, -0.3, 1e-3, 0.1, 0.5, 0.95]):
        # full_output also keeps quad from warning about the last digit.
        rate = integrate.quad(
            lambda t: q.score([[t]])[0, 1] * np.exp(q.log_density([t])),
            0,
            z,
            epsabs=0,
            limit=200,
            full_output=1,
        )[0]
        expected = -rate / np.exp(q.log_density([z]))
        # Far out, the halves of the reference's integral cancel; the path's do not.
        lost = 1e-13 * np.exp(concentration * (1 - np.cos(z))) / concentration
        assert q.path([[z]], [[1.0]])[0, 1] == pytest.approx(expected, rel=1e-6, abs=lost)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_score_and_path_agree_on_a_smooth_cost(name):
    # Two unbiased estimates; 40 coordinates at 5 standard errors: one false alarm in 40,000 seeds.
    q = make(name)
    if name == "student":
        q = StudentT([3.0, 80.0], [1.0, -4.0], [2.0, 0.1])
    z = q.sample(40_000, np.random.default_rng(4))
    value, slope = np.sin(z), np.cos(z)
    dims = np.arange(q.score(z).shape[1]) % q.dim
    by_score = (value[:, dims] - value.mean(axis=0)[dims]) * q.score(z)
    difference = by_score - q.path(z, slope)
    error = difference.std(axis=0) / np.sqrt(len(z))
    assert np.all(np.abs(difference.mean(axis=0)) < 5 * error)


@pytest.mark.parametrize("name", ["student", "gamma", "beta", "von-mises"])
def test_log_density_is_scipys(name):
    q = make(name)
    z = q.sample(10, np.random.default_rng(5))
    p = parameters_of(q)
    density = {
        "student": lambda: stats.t.logpdf(z, *p),
        "gamma": lambda: stats.gamma.logpdf(z, p[0], scale=1 / p[1]),
        "beta": lambda: stats.beta.logpdf(z, *p),
        "von-mises": lambda: stats.vonmises.logpdf(z, p[1], loc=p[0]),
    }[name]
    np.testing.assert_allclose(q.log_density(z), density().sum(axis=1), rtol=1e-9)


def test_extreme_gamma_draws_stay_finite():
    q = Gamma([1e-3, 1e-2], 1.0)
    z = q.sample(2000, np.random.default_rng(6))
    assert np.all(z > 0)
    assert np.all(np.isfinite(q.score(z)))
    assert np.all(np.isfinite(q.path(z, np.ones_like(z))))


def test_bernoulli_has_no_path():
    assert not hasattr(Bernoulli(0.3), "path")
    with pytest.raises(ValueError, match=r"probability: expected values below 1, got 1\.0"):
        Bernoulli(1.0)


def test_gaussian_closed_forms():
    q = MeanFieldGaussian([1.0, -1.0], [0.5, 2.0])
    z = q.sample(3, np.random.default_rng(7))
    expected = stats.norm.logpdf(z, q.mean, q.sd).sum(axis=1)
    np.testing.assert_allclose(q.log_density(z), expected)
    assert q.log_density(z[None]).shape == (1, 3)
    assert q.entropy() == pytest.approx(sum(stats.norm(scale=s).entropy() for s in q.sd))
    assert q.parameters == ["mean[0]", "mean[1]", "log_sd[0]", "log_sd[1]"]
    np.testing.assert_array_equal(q.covariance, [[0.25, 0.0], [0.0, 4.0]])
    np.testing.assert_allclose(q.path(z, 2 * np.ones_like(z)), np.c_[np.full((3, 2), 2.0), 2 * (z - q.mean)])
    assert Gaussian is MeanFieldGaussian


def test_scalars_mean_one_coordinate_or_stand_for_all():
    assert MeanFieldGaussian(0.0, 1.0).dim == 1
    np.testing.assert_array_equal(MeanFieldGaussian([1.0, 2.0], 3.0).sd, [3.0, 3.0])


def test_parameters_are_copied_and_read_only():
    mean = np.zeros(2)
    q = MeanFieldGaussian(mean, np.ones(2))
    mean[0] = 5.0
    assert q.mean[0] == 0.0
    for array in (q.mean, q.sd, q.log_sd):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1.0
    assert repr(q) == "MeanFieldGaussian(mean=[0., 0.], sd=[1., 1.])"


@pytest.mark.parametrize(
    ("mean", "sd", "message"),
    [
        ([0, 1], [1, 2, 3], "mean: expected 1 or 3 values"),
        (0, 0, "sd: expected positive values, got 0.0"),
        (0, -1, "sd: expected positive values, got -1.0"),
        (np.nan, 1, "mean: expected finite values, got nan"),
        ([[0]], 1, r"mean: expected a scalar or a vector, got shape \(1, 1\)"),
        ("a", 1, "mean: expected a number or a vector of numbers, got 'a'"),
        ([], 1, "mean: expected a scalar or a vector"),
    ],
)
def test_bad_parameters_are_named(mean, sd, message):
    with pytest.raises(ValueError, match=message):
        MeanFieldGaussian(mean, sd)


def test_draws_of_another_dimension_are_refused():
    with pytest.raises(ValueError, match=r"z: expected shape \(\.\.\., 2\), got \(3,\)"):
        MeanFieldGaussian([0.0, 0.0], 1.0).log_density(np.zeros(3))
