"""Elementwise densities, masses and special functions: values, derivatives, supports, broadcasting."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import autograd.numpy as anp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from autograd import grad, make_hvp
from autograd.test_util import check_grads
from hypothesis import given, settings
from hypothesis import strategies as st

from bbvi import stats
from bbvi.stats import special as special_functions
from bbvi.stats.primitives import elementwise

# Two values of each shape parameter.
CONTINUOUS: dict[str, list[tuple[float, float]]] = {
    "norm": [],
    "halfnorm": [],
    "cauchy": [],
    "halfcauchy": [],
    "laplace": [],
    "logistic": [],
    "expon": [],
    "uniform": [],
    "t": [(3.3, 80.0)],
    "gamma": [(2.5, 0.7)],
    "invgamma": [(2.5, 0.7)],
    "chi2": [(5.0, 1.3)],
    "beta": [(2.0, 0.6), (3.0, 0.8)],
    "lognorm": [(0.7, 1.4)],
    "weibull_min": [(1.7, 0.8)],
    "vonmises": [(2.0, 40.0)],
    "skewnorm": [(-2.0, 3.0)],
}
DISCRETE: dict[str, list[tuple[float, float]]] = {
    "bernoulli": [(0.3, 0.9)],
    "binom": [(7, 4), (0.3, 0.9)],
    "betabinom": [(7, 4), (1.2, 30.0), (2.3, 0.4)],
    "poisson": [(2.4, 30.0)],
    "nbinom": [(3.3, 200.0), (0.4, 0.8)],
    "geom": [(0.3, 0.9)],
}
TAILS = [(name, word) for name in ("norm", "logistic", "expon", "weibull_min") for word in ("logcdf", "logsf")]
# Inside every support at loc = 0.1 and scale = 1.3.
POINTS = np.array([0.16, 0.31, 0.62, 0.87])
COUNTS = np.array([-1.0, 0, 1, 2, 3, 4, 7, 8, 150, 0.5, np.nan])


def assert_derivatives(fun: Callable[..., Any], *args: Any, rtol: float = 2e-6) -> None:
    """Gradient and Hessian product of a weighted sum of fun against five-point finite differences."""
    arrays = [np.asarray(arg, dtype=float) for arg in args]
    cuts = np.cumsum([array.size for array in arrays])[:-1]
    rng = np.random.default_rng(0)
    weights = rng.normal(size=np.shape(fun(*arrays)))

    def total(flat: Any) -> Any:
        starts = [0, *cuts]
        parts = [
            anp.reshape(flat[start : start + array.size], array.shape)
            for start, array in zip(starts, arrays, strict=True)
        ]
        return anp.sum(weights * fun(*parts))

    def along(f: Callable[[Any], Any], flat: np.ndarray, v: np.ndarray) -> Any:
        h = 2e-4
        return (8 * (f(flat + h * v) - f(flat - h * v)) - (f(flat + 2 * h * v) - f(flat - 2 * h * v))) / (12 * h)

    flat = np.concatenate([array.ravel() for array in arrays])
    gradient = grad(total)
    value = gradient(flat)
    numeric = np.array([along(total, flat, v) for v in np.eye(flat.size)])
    np.testing.assert_allclose(value, numeric, rtol=rtol, atol=rtol * max(1, abs(numeric).max()))
    v = rng.normal(size=flat.size)
    numeric = along(gradient, flat, v)
    product = make_hvp(total)(flat)[0](v)
    np.testing.assert_allclose(product, numeric, rtol=rtol, atol=rtol * max(1, abs(numeric).max()))


def scipy_value(name: str, word: str, *args: Any, **kwargs: Any) -> Any:
    with np.errstate(all="ignore"):
        return getattr(getattr(scipy.stats, name), word)(*args, **kwargs)


@contextmanager
def global_seed() -> Iterator[None]:
    """autograd's checker draws from NumPy's global state, which is put back."""
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


# ---------------------------------------------------------------------- values


@pytest.mark.parametrize("name", CONTINUOUS)
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("loc, scale", [(0.1, 1.3), (0, 1), (-2, 5), (3.0, 1e-3), (0, 1e4)])
def test_log_density_is_scipys(name: str, which: int, loc: float, scale: float) -> None:
    shapes = [pair[which] for pair in CONTINUOUS[name]]
    z = np.array([-300, -30, -1.0, 0, 1e-12, 1e-3, 0.3, 0.7, 1, 1.5, 20, 600, np.nan])
    x = loc + scale * z
    expected = scipy_value(name, "logpdf", x, *shapes, loc=loc, scale=scale)
    if name == "invgamma":
        expected[z == 0] = -np.inf  # SciPy has nan at 0, where the density is 0.
    actual = getattr(stats, name).logpdf(x, *shapes, loc, scale)
    np.testing.assert_allclose(actual, expected, rtol=2e-10, atol=1e-11)
    keywords = getattr(stats, name).logpdf(x, *shapes, scale=scale, loc=loc)
    np.testing.assert_array_equal(actual, keywords)


@pytest.mark.parametrize("name", DISCRETE)
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("loc", [0, 2])
def test_log_mass_is_scipys(name: str, which: int, loc: int) -> None:
    parameters = [pair[which] for pair in DISCRETE[name]]
    expected = scipy_value(name, "logpmf", COUNTS + loc, *parameters, loc=loc)
    np.testing.assert_allclose(
        getattr(stats, name).logpmf(COUNTS + loc, *parameters, loc=loc), expected, rtol=1e-10, atol=1e-12
    )


@pytest.mark.parametrize("name, word", TAILS)
def test_log_tail_is_scipys(name: str, word: str) -> None:
    shapes = [pair[0] for pair in CONTINUOUS[name]]
    x = np.array([-30, -1.0, 0.1, 0.1001, 0.3, 2.0, 25.0, np.nan])
    expected = scipy_value(name, word, x, *shapes, loc=0.1, scale=1.3)
    actual = getattr(getattr(stats, name), word)(x, *shapes, 0.1, 1.3)
    np.testing.assert_allclose(actual, expected, rtol=1e-9)


def test_masses_by_logits_and_log_rates() -> None:
    k = np.array([0.0, 1, 2, 5, 12])[:, None]
    logits = np.array([-30.0, -2, 0, 1.5, 8])
    p, rate = scipy.special.expit(logits), np.exp(logits)
    np.testing.assert_allclose(
        stats.bernoulli.logpmf_logits(k[:2], logits), scipy_value("bernoulli", "logpmf", k[:2], p), rtol=1e-9
    )
    np.testing.assert_allclose(
        stats.binom.logpmf_logits(k, 12, logits), scipy_value("binom", "logpmf", k, 12, p), rtol=1e-9
    )
    np.testing.assert_allclose(
        stats.poisson.logpmf_log_rate(k, logits), scipy_value("poisson", "logpmf", k, rate), rtol=1e-9
    )
    for r in (0.4, 5.0, 29.9, 31.0, 3000.0):
        # SciPy's p is rounded to 1 at low rates, which is why the lowest is left out.
        expected = scipy_value("nbinom", "logpmf", k, r, r / (r + rate[1:]))
        actual = stats.nbinom.logpmf_log_rate(k, logits[1:], r)
        np.testing.assert_allclose(actual, expected, rtol=2e-8, atol=1e-9)


def test_extreme_parameters_keep_their_limits() -> None:
    x = np.array([-40.0, -1.0, 0.0, 3.0])
    for df in (1e9, 1e15, np.inf):
        limit = -(x**4 - 2 * x**2 - 1) / (-4 * df)  # first term of the expansion in 1 / df
        np.testing.assert_allclose(stats.t.logpdf(x, df), stats.norm.logpdf(x) + limit, rtol=1e-12, atol=1e-10)
    k = np.array([0.0, 3.0, 40.0])
    poisson = stats.poisson.logpmf_log_rate(k, 1.0)
    np.testing.assert_allclose(stats.nbinom.logpmf_log_rate(k, 1.0, 1e13), poisson, rtol=1e-10)
    kappa = 1e8
    expected = stats.norm.logpdf(1e-4, 0, kappa**-0.5)
    np.testing.assert_allclose(stats.vonmises.logpdf(1e-4, kappa), expected, rtol=1e-6)
    assert stats.bernoulli.logpmf_logits(1, np.inf) == 0.0
    assert stats.bernoulli.logpmf_logits(0, 800.0) == -800.0
    assert stats.binom.logpmf_logits(5, 5, 1e6) == pytest.approx(0, abs=1e-300)
    slope = grad(stats.skewnorm.logpdf, 0)(-50.0, 20.0)
    # log Phi(-y) falls as -y^2 / 2 - log y.
    np.testing.assert_allclose(slope, 50 + 20**2 * 50 + 1 / 50, rtol=1e-6)


@pytest.mark.parametrize("name", ["gammaln", "digamma", "erf", "erfc", "ndtr", "log_ndtr", "expit", "log_expit"])
def test_special_functions_are_scipys(name: str) -> None:
    x = np.array([1e-9, 0.3, 2.0, 40.0, 700.0])
    fun = {"digamma": scipy.special.psi}.get(name) or getattr(scipy.special, name)
    np.testing.assert_allclose(getattr(stats, name)(x), fun(x), rtol=1e-13, atol=1e-300)
    if name not in ("gammaln", "digamma"):
        np.testing.assert_allclose(getattr(stats, name)(-x), fun(-x), rtol=1e-12, atol=1e-300)


def test_special_functions_of_several_arguments() -> None:
    x, y = np.array([0.0, 0.3, 2.0]), np.array([0.0, 0.4, 1.7])
    np.testing.assert_allclose(stats.betaln(x + 1, y + 1), scipy.special.betaln(x + 1, y + 1))
    np.testing.assert_allclose(stats.xlogy(x, y), scipy.special.xlogy(x, y))
    np.testing.assert_allclose(stats.xlog1py(x, y), scipy.special.xlog1py(x, y))
    np.testing.assert_allclose(stats.polygamma(2, x + 1), scipy.special.polygamma(2, x + 1))
    np.testing.assert_allclose(stats.ndtri(x[1:2]), scipy.special.ndtri(x[1:2]))
    np.testing.assert_allclose(stats.logit(x[1:2]), scipy.special.logit(x[1:2]))
    np.testing.assert_allclose(stats.softplus([-50.0, 0.0, 50.0]), [np.exp(-50), np.log(2), 50], rtol=1e-12)
    np.testing.assert_allclose(
        stats.log1mexp([-1e-20, -1.0, -50.0]), [np.log(1e-20), np.log1p(-np.exp(-1)), -np.exp(-50)]
    )
    assert stats.log1mexp(0.0) == -np.inf
    assert grad(stats.xlogy, 0)(0.0, 0.0) == 0.0


# ---------------------------------------------------------------------- derivatives


@pytest.mark.parametrize("name", CONTINUOUS)
@pytest.mark.parametrize("which", [0, 1])
def test_density_derivatives(name: str, which: int) -> None:
    shapes = [pair[which] for pair in CONTINUOUS[name]]
    density = getattr(stats, name).logpdf
    assert_derivatives(density, POINTS, *shapes, 0.1, 1.3)
    assert_derivatives(lambda x, *s: density(x, *s), POINTS, *shapes)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_density_derivatives_by_autograds_own_checker(name: str) -> None:
    shapes = [np.array(pair) for pair in CONTINUOUS[name]]
    density = getattr(stats, name).logpdf
    with global_seed():
        check_grads(density, modes=["rev"], order=2)(POINTS[:, None], *shapes, np.array([0.1, -0.1]), np.array([[1.3]]))


@pytest.mark.parametrize("name, word", TAILS)
def test_tail_derivatives(name: str, word: str) -> None:
    shapes = [pair[0] for pair in CONTINUOUS[name]]
    assert_derivatives(getattr(getattr(stats, name), word), POINTS, *shapes, 0.1, 1.3)


@pytest.mark.parametrize("name", DISCRETE)
def test_mass_derivatives(name: str) -> None:
    k = np.array([[1.0], [4.0]])
    counts = [np.array(pair) for pair in DISCRETE[name] if isinstance(pair[0], int)]
    reals = [np.array(pair) for pair in DISCRETE[name] if not isinstance(pair[0], int)]
    k = np.minimum(k, 1) if name == "bernoulli" else k
    mass = getattr(stats, name).logpmf
    assert_derivatives(lambda *p: mass(k, *counts, *p), *reals)
    with global_seed():
        check_grads(lambda *p: mass(k, *counts, *p), modes=["rev"], order=2)(*reals)


def test_derivatives_of_masses_by_logits_and_log_rates() -> None:
    k, logits = np.array([0.0, 1.0, 1.0, 0.0]), np.array([-3.0, -0.2, 0.5, 4.0])
    assert_derivatives(lambda v: stats.bernoulli.logpmf_logits(k, v), logits)
    assert_derivatives(lambda v: stats.binom.logpmf_logits(3 * k, 7, v), logits)
    assert_derivatives(lambda v: stats.poisson.logpmf_log_rate(3 * k, v), logits)
    for r in (0.4, 5.0, 200.0):
        assert_derivatives(lambda v, r: stats.nbinom.logpmf_log_rate(3 * k, v, r), logits, r)


@pytest.mark.parametrize(
    "name", ["gammaln", "digamma", "erf", "erfc", "ndtr", "log_ndtr", "expit", "log_expit", "softplus"]
)
def test_special_derivatives(name: str) -> None:
    assert_derivatives(getattr(stats, name), np.array([0.3, 1.1, 4.0]))
    if name not in ("gammaln", "digamma"):
        assert_derivatives(getattr(stats, name), np.array([-0.3, -1.1, -4.0]))


def test_special_derivatives_in_several_arguments() -> None:
    p, q = np.array([0.2, 0.5, 0.93]), np.array([0.7, 1.4, 3.0])
    assert_derivatives(stats.logit, p)
    assert_derivatives(stats.ndtri, p)
    assert_derivatives(stats.log1mexp, -p)
    assert_derivatives(stats.betaln, p, q)
    assert_derivatives(stats.xlogy, p, q)
    assert_derivatives(stats.xlog1py, p, q)
    assert_derivatives(lambda x: stats.polygamma(1, x), q)


def test_third_derivatives_exist() -> None:
    third = grad(grad(grad(lambda s: stats.norm.logpdf(0.7, 0.2, s))))
    s, d = 1.3, 0.5
    np.testing.assert_allclose(third(s), -2 / s**3 + 12 * d**2 / s**5)


def test_a_wrong_partial_is_caught() -> None:
    right = elementwise("right", lambda x, s: x * s, (lambda x, s: s, lambda x, s: x))
    wrong_first = elementwise("wrong", lambda x, s: x * s, (lambda x, s: 1.001 * s, lambda x, s: x))
    slope = elementwise("slope", lambda x, s: 1.0 * s, (None, None))
    wrong_second = elementwise("wrong", lambda x, s: x * s, (slope, lambda x, s: x))
    x, s = np.array([0.3, 2.0]), np.array([1.5, 0.4])
    assert_derivatives(right, x, s)
    for wrong in (wrong_first, wrong_second):
        with pytest.raises(AssertionError):
            assert_derivatives(wrong, x, s)


# ---------------------------------------------------------------------- support and domain


@pytest.mark.parametrize("name", CONTINUOUS)
def test_outside_the_support_the_gradient_is_zero(name: str) -> None:
    shapes = [pair[0] for pair in CONTINUOUS[name]]
    density = getattr(stats, name).logpdf
    x = np.array([-5.0, 0.1, 0.4, 0.8, 9.0])
    values = density(x, *shapes, 0.1, 1.3)
    outside = np.isneginf(values) & (x != 0.1)
    for argnum in range(1, len(shapes) + 3):
        args = [x, *shapes, 0.1, 1.3]
        args[argnum] = np.full(x.shape, args[argnum])

        def total(*a: Any, position: int = argnum) -> Any:
            return anp.sum(grad(lambda *b: anp.sum(density(*b)), position)(*a))

        for derivative in (grad(lambda *a: anp.sum(density(*a)), argnum), grad(total, argnum)):
            slopes = derivative(*args)
            assert np.isfinite(slopes).all()
            assert (slopes[outside] == 0).all()


@pytest.mark.parametrize("name", CONTINUOUS)
def test_bad_parameters_give_nan_and_a_zero_gradient(name: str) -> None:
    shapes = [pair[0] for pair in CONTINUOUS[name]]
    density = getattr(stats, name).logpdf
    scale = np.array([1.3, 0.0, -1.0, np.nan, 1.3])
    values = density(0.5, *shapes, 0.1, scale)
    np.testing.assert_array_equal(np.isnan(values), [False, True, True, True, False])
    for argnum in (0, len(shapes) + 2):
        slopes = grad(lambda *a: anp.sum(density(*a)), argnum)(0.5 + 0 * scale, *shapes, 0.1, scale)
        assert (slopes[1:4] == 0).all() and np.isfinite(slopes).all()
    for i in range(len(shapes)):
        if name != "skewnorm":
            bad = [*shapes]
            bad[i] = -1.0
            assert np.isnan(density(0.5, *bad))
            assert grad(density, 1 + i)(0.5, *bad) == 0


@pytest.mark.parametrize("name", DISCRETE)
def test_discrete_support_and_domain(name: str) -> None:
    parameters = [pair[0] for pair in DISCRETE[name]]
    mass = getattr(stats, name).logpmf
    last = len(parameters)
    outside = np.isneginf(mass(COUNTS, *parameters)) | np.isnan(COUNTS)
    args = [COUNTS, *parameters]
    args[last] = np.full(COUNTS.shape, parameters[-1])
    slopes = grad(lambda *a: anp.sum(mass(*a)), last)(*args)
    assert np.isfinite(slopes).all()
    assert (slopes[outside] == 0).all() and (slopes[~outside] != 0).all()
    bad = np.array([parameters[-1], -0.5, np.nan])
    values = mass(1, *parameters[:-1], bad)
    np.testing.assert_array_equal(np.isnan(values), [False, True, True])
    slopes = grad(lambda p: anp.sum(mass(1, *parameters[:-1], p)))(bad)
    assert slopes[0] != 0 and (slopes[1:] == 0).all()


def test_edges_of_the_parameter_space() -> None:
    k = np.array([0.0, 1.0])
    np.testing.assert_array_equal(stats.bernoulli.logpmf(k, 0.0), [0, -np.inf])
    np.testing.assert_array_equal(stats.bernoulli.logpmf(k, 1.0), [-np.inf, 0])
    assert grad(stats.bernoulli.logpmf, 1)(0, 0.0) == -1
    assert grad(stats.binom.logpmf, 2)(0, 5, 0.0) == -5
    assert stats.poisson.logpmf(0, 0.0) == 0
    assert grad(stats.poisson.logpmf, 1)(0, 0.0) == -1
    assert stats.gamma.logpdf(0.0, 1.0) == 0
    np.testing.assert_allclose(grad(stats.gamma.logpdf, 3)(0.0, 1.0, 0.0, 2.0), -0.5)
    assert np.isnan(stats.binom.logpmf(1, 2.5, 0.5))
    np.testing.assert_allclose(grad(stats.vonmises.logpdf, 1)(0.3, 0.0), np.cos(0.3))
    np.testing.assert_allclose(grad(grad(stats.vonmises.logpdf, 1), 1)(0.3, 0.0), -0.5)


# ---------------------------------------------------------------------- what users pass


@pytest.mark.parametrize("shapes", [((), (3,)), ((3,), ()), ((2, 1), (3,)), ((4, 2, 1), (2, 3)), ((0,), ())])
def test_broadcasting(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    rng = np.random.default_rng(1)
    x, a, scale = rng.uniform(0.5, 2, shapes[0]), rng.uniform(1, 2, shapes[1]), rng.uniform(1, 2, shapes[0])
    actual = stats.gamma.logpdf(x, a, 0.1, scale)
    expected = scipy.stats.gamma.logpdf(x, a, 0.1, scale)
    assert np.shape(actual) == np.shape(expected)
    np.testing.assert_allclose(actual, expected)
    gradients = [grad(lambda *args: anp.sum(stats.gamma.logpdf(*args)), i)(x, a, 0.1, scale) for i in range(4)]
    assert [np.shape(g) for g in gradients] == [x.shape, a.shape, (), scale.shape]
    if x.size:
        assert_derivatives(stats.gamma.logpdf, x, a, 0.1, scale)


@pytest.mark.parametrize(
    "x", [1, True, 1.0, np.float64(1), np.float32(1), np.int64(1), np.array(1), np.array(1.0), np.True_]
)
def test_scalars(x: Any) -> None:
    value = stats.norm.logpdf(x, 0, 5)
    assert np.shape(value) == ()
    np.testing.assert_allclose(value, scipy.stats.norm.logpdf(1, 0, 5), rtol=1e-6)
    np.testing.assert_allclose(stats.poisson.logpmf(x, 3), scipy.stats.poisson.logpmf(1, 3), rtol=1e-6)
    np.testing.assert_allclose(stats.bernoulli.logpmf_logits(x, 0), -np.log(2), rtol=1e-6)


def test_lists_integers_and_lists_of_boxes() -> None:
    expected = scipy.stats.norm.logpdf([1, 2], [0, 1], 3)
    np.testing.assert_allclose(stats.norm.logpdf([1, 2], (0, 1), 3), expected)
    counts = np.array([0, 1, 200], dtype=np.uint8)
    np.testing.assert_allclose(stats.binom.logpmf(counts, 255, 0.5), scipy.stats.binom.logpmf(counts, 255, 0.5))
    outcomes = np.array([True, False])
    np.testing.assert_allclose(stats.bernoulli.logpmf(outcomes, 0.3), np.log([0.3, 0.7]))

    def log_joint(z: Any) -> Any:
        return anp.sum(stats.norm.logpdf([1.0, 2.0], [z[0], z[0] * z[1]], 3)) + stats.norm.logpdf(z[1])

    assert_derivatives(log_joint, np.array([0.3, -0.6]))


def test_arguments_are_not_modified() -> None:
    for dtype in (float, np.float32, int):
        x = np.arange(1, 5).astype(dtype)
        before = x.copy()
        stats.norm.logpdf(x)
        stats.gamma.logpdf(x, x, 0, x)
        stats.bernoulli.logpmf_logits(x, x)
        stats.log_expit(x)
        stats.expit(x)
        np.testing.assert_array_equal(x, before)
        assert x.dtype == dtype


def test_calls_that_make_no_sense_are_type_errors() -> None:
    for call, word in [
        (lambda: stats.norm.logpdf(), "misses x"),
        (lambda: stats.gamma.logpdf(1.0), "misses a"),
        (lambda: stats.norm.logpdf(1.0, 0, 1, 2), "at most 3 arguments"),
        (lambda: stats.norm.logpdf(1.0, sigma=1), "no argument 'sigma'"),
        (lambda: stats.norm.logpdf(1.0, 0, loc=1), "got 'loc' twice"),
    ]:
        with pytest.raises(TypeError, match=word):
            call()


@pytest.mark.parametrize("name", [*CONTINUOUS, *DISCRETE])
def test_signatures_are_scipys(name: str) -> None:
    word = "logpdf" if name in CONTINUOUS else "logpmf"
    ours = inspect.signature(getattr(getattr(stats, name), word)).parameters
    theirs = getattr(scipy.stats, name)
    shapes = (theirs.shapes or "").replace(" ", "").split(",") if theirs.shapes else []
    first = "x" if name in CONTINUOUS else "k"
    assert list(ours) == [first, *shapes, "loc", *(["scale"] if name in CONTINUOUS else [])]
    assert ours["loc"].default == 0


def test_constant_data_cost_no_derivative() -> None:
    asked = []

    def by_x(x: Any, s: Any) -> Any:
        asked.append("x")
        return s

    fun = elementwise("product", lambda x, s: x * s, (by_x, lambda x, s: x))
    grad(lambda s: anp.sum(fun(np.ones(3), s)))(2.0)
    assert asked == []


def test_registries() -> None:
    sets = [stats.ELEMENTWISE, frozenset(stats.CORE_DIMS), stats.REDUCTIONS, stats.AXISWISE]
    assert len(frozenset().union(*sets)) == sum(map(len, sets))
    names = {fun.__name__ for fun in stats.ELEMENTWISE}
    assert {f"{name}.logpdf" for name in CONTINUOUS} | {f"{name}.logpmf" for name in DISCRETE} <= names
    assert set(stats.__all__) <= set(dir(stats))


# ---------------------------------------------------------------------- properties


finite = st.floats(-1e6, 1e6)
positive = st.floats(1e-3, 1e3)


@settings(max_examples=60, deadline=None)
@given(x=finite, loc=finite, scale=positive, shape=positive, name=st.sampled_from(sorted(CONTINUOUS)))
def test_any_input_gives_scipys_value_and_a_finite_gradient(
    x: float, loc: float, scale: float, shape: float, name: str
) -> None:
    shapes = [shape] * len(CONTINUOUS[name])
    density = getattr(stats, name).logpdf
    value = density(x, *shapes, loc, scale)
    expected = scipy_value(name, "logpdf", x, *shapes, loc, scale)
    if np.isfinite(expected) and np.isfinite(value):
        np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-6)
    slopes = [grad(density, i)(x, *shapes, loc, scale) for i in range(len(shapes) + 3)]
    assert not np.isnan(slopes).any()
    if np.isneginf(value) and np.isneginf(expected) and not np.isneginf(density(0.5 * scale, *shapes, 0, scale)):
        assert np.isfinite(slopes).all()


@settings(max_examples=60, deadline=None)
@given(k=st.integers(0, 1000), log_rate=st.floats(-20, 20), r=st.floats(1e-2, 1e12))
def test_negative_binomial_stays_below_zero_and_smooth_where_formulas_change(k: int, log_rate: float, r: float) -> None:
    value = stats.nbinom.logpmf_log_rate(k, log_rate, r)
    assert np.isfinite(value) and value <= 1e-9
    above = stats.nbinom.logpmf_log_rate(k, 1.0, 30.0)
    below = stats.nbinom.logpmf_log_rate(k, 1.0, np.nextafter(30.0, 0))
    np.testing.assert_allclose(above, below, rtol=1e-11, atol=1e-11)


def test_pickle_finds_functions_by_name() -> None:
    public = [(name, getattr(stats, name)) for name in stats.__all__ if name.islower()]
    functions = []
    for _, one in public:
        functions += list(vars(one).values()) if isinstance(one, stats.Density) else [one]
    assert len(functions) > len(public) > 30
    for function in functions:
        assert pickle.loads(pickle.dumps(function)) is function


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("normal", "the nearest are norm, uniform, lognorm; __all__ lists what there is"),
        ("ordered_probit", "the nearest are ordered_logistic; __all__ lists what there is"),
        ("zzz", "__all__ lists what there is"),
    ],
)
def test_a_missing_name_is_answered_with_the_nearest(name: str, answer: str) -> None:
    with pytest.raises(AttributeError, match=f"no attribute '{name}': {answer}"):
        getattr(stats, name)
    with pytest.raises(ImportError, match=f"cannot import name '{name}'"):
        exec(f"from bbvi.stats import {name}")


def test_trigamma_is_scipys():
    """Over the support, at its ends, and in any shape."""
    x = np.concatenate([np.geomspace(1e-300, 1e300, 2001), np.linspace(0.01, 40, 4001)])
    np.testing.assert_allclose(special_functions.trigamma(x), scipy.special.polygamma(1, x), rtol=4e-15)
    at_the_ends = special_functions.trigamma(np.array([[0.0, np.inf, -1.5, np.nan]]))
    np.testing.assert_array_equal(at_the_ends, [[np.inf, 0, np.nan, np.nan]])
    two = special_functions.trigamma(2)
    assert isinstance(two, float) and two == pytest.approx(np.pi**2 / 6 - 1)


@pytest.mark.parametrize("x", [["1", "2"], np.array(["a"]), [1 + 2j], np.array(["2024-01-01"], "M8[D]")])
def test_what_is_no_real_number_is_refused_by_the_density_that_got_it(x):
    """Text that looks like numbers passed, and of complex numbers the imaginary part was dropped."""
    with pytest.raises(TypeError, match=r"norm.logpdf: expected real numbers, got (text|complex|datetime64)"):
        stats.norm.logpdf(x, 0.0, 1.0)
