"""Densities of vectors and matrices, and reductions: values, normalisation, derivatives, batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import autograd.numpy as anp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from autograd import grad
from hypothesis import given, settings
from hypothesis import strategies as st
from test_stats import assert_derivatives

from bbvi import stats

K = 3


def covariances(rng: np.random.Generator, *batch: int) -> np.ndarray:
    a = rng.normal(size=(*batch, K, K))
    return a @ np.swapaxes(a, -1, -2) + np.eye(K)


def correlation_factor(rng: np.random.Generator, *batch: int) -> np.ndarray:
    cov = covariances(rng, *batch)
    sd = np.sqrt(np.diagonal(cov, axis1=-2, axis2=-1))
    return np.linalg.cholesky(cov / (sd[..., :, None] * sd[..., None, :]))


def symmetric(cov: Any) -> Any:
    return 0.5 * (cov + anp.swapaxes(cov, -1, -2))


def constrained(name: str, position: int, arg: Any) -> Any:
    """Brings what finite differences moved back into the support."""
    if (name, position) == ("multivariate_normal.logpdf", 2):
        return symmetric(arg)
    if (name, position) in (("dirichlet.logpdf", 0), ("multinomial.logpmf", 2)):
        return arg / anp.sum(arg, axis=-1, keepdims=True)
    if (name, position) == ("lkj_cholesky.logpdf", 0):
        lower = arg * np.tri(K)
        return lower / anp.sqrt(anp.sum(lower**2, axis=-1, keepdims=True))
    return arg


def draw(name: str, rng: np.random.Generator, batches: tuple[tuple[int, ...], ...]) -> list[np.ndarray]:
    """Arguments of a function by name, each with its batch axes."""
    first, *rest = batches
    if name.startswith("multivariate_normal"):
        scale = covariances(rng, *rest[1])
        if name.endswith("cholesky"):
            scale = np.linalg.cholesky(scale)
        return [rng.normal(size=(*first, K)), rng.normal(size=(*rest[0], K)), scale]
    if name == "dirichlet.logpdf":
        return [rng.dirichlet(np.full(K, 9.0), size=first), rng.gamma(3.0, size=(*rest[0], K))]
    if name == "multinomial.logpmf":
        return [
            rng.multinomial(7, np.ones(K) / K, size=first) * 1.0,
            np.full(rest[0], 7.0),
            rng.dirichlet(np.full(K, 9.0), size=rest[1]),
        ]
    if name == "categorical.logpmf_logits":
        return [rng.integers(0, K, size=first) * 1.0, rng.normal(size=(*rest[0], K))]
    if name == "ordered_logistic.logpmf":
        cut = np.cumsum(rng.uniform(0.3, 1, size=(*rest[1], K)), axis=-1)
        return [rng.integers(0, K + 1, size=first) * 1.0, rng.normal(size=rest[0]), cut]
    return [correlation_factor(rng, *first), rng.uniform(0.5, 3, size=rest[0])]


FUNCTIONS: dict[str, tuple[Callable[..., Any], tuple[int, ...], tuple[int, ...]]] = {
    # name: function, core dims, the arguments that have a derivative
    "multivariate_normal.logpdf": (stats.multivariate_normal.logpdf, (1, 1, 2), (0, 1, 2)),
    "multivariate_normal.logpdf_cholesky": (stats.multivariate_normal.logpdf_cholesky, (1, 1, 2), (0, 1, 2)),
    "dirichlet.logpdf": (stats.dirichlet.logpdf, (1, 1), (0, 1)),
    "multinomial.logpmf": (stats.multinomial.logpmf, (1, 0, 1), (2,)),
    "categorical.logpmf_logits": (stats.categorical.logpmf_logits, (0, 1), (1,)),
    "ordered_logistic.logpmf": (stats.ordered_logistic.logpmf, (0, 0, 1), (1, 2)),
    "lkj_cholesky.logpdf": (stats.lkj_cholesky.logpdf, (2, 0), (0, 1)),
}
BATCHES = [
    ((), (), ()),
    ((5,), (), ()),
    ((5,), (4, 1), (4, 1)),
    ((), (4,), ()),
    ((), (), (4,)),
    ((4, 5), (5,), (4, 5)),
    ((5,), (), (4, 1)),
    ((1,), (5,), (1,)),
]


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("batches", BATCHES)
def test_batches_are_loops(name: str, batches: tuple[tuple[int, ...], ...]) -> None:
    fun, cores, differentiable = FUNCTIONS[name]
    batches = batches[: len(cores)]
    args = draw(name, np.random.default_rng(0), batches)
    shape = np.broadcast_shapes(*batches)
    whole = [
        np.broadcast_to(arg, (*shape, *arg.shape[arg.ndim - core :]))
        for arg, core in zip(args, cores, strict=True)
    ]
    values = fun(*args)
    assert np.shape(values) == shape
    loop = np.array([fun(*[w[index] for w in whole]) for index in np.ndindex(*shape)]).reshape(shape)
    np.testing.assert_allclose(values, loop, rtol=1e-10, atol=1e-12)

    def free(*some: Any) -> Any:
        every = list(args)
        for i, arg in zip(differentiable, some, strict=True):
            every[i] = constrained(name, i, arg)
        return fun(*every)

    assert_derivatives(free, *[args[i] for i in differentiable])


def test_derivatives_across_the_support() -> None:
    # The tests above move along the simplex and the sphere only.
    x, alpha = np.array([0.2, 0.3, 0.5]), np.array([2.0, 3.0, 4.0])
    np.testing.assert_allclose(grad(stats.dirichlet.logpdf)(x, alpha), (alpha - 1) / x)
    np.testing.assert_allclose(grad(stats.multinomial.logpmf, 2)([1, 2, 3], 6, x), [1, 2, 3] / x)
    factor = correlation_factor(np.random.default_rng(2))
    expected = np.diag([0, 1 + 2 * 1.5 - 2, 2 * 1.5 - 2] / np.diag(factor))
    np.testing.assert_allclose(grad(stats.lkj_cholesky.logpdf)(factor, 1.5), expected)


def test_core_dims_are_published() -> None:
    published = {fun.__name__: dims for fun, dims in stats.CORE_DIMS.items()}
    for name, (_, cores, _) in FUNCTIONS.items():
        assert published[name] == (cores, 0)


# ---------------------------------------------------------------------- values


def test_vector_densities_are_scipys() -> None:
    rng = np.random.default_rng(3)
    for name, reference in [
        ("multivariate_normal.logpdf", scipy.stats.multivariate_normal.logpdf),
        ("dirichlet.logpdf", scipy.stats.dirichlet.logpdf),
        ("multinomial.logpmf", scipy.stats.multinomial.logpmf),
    ]:
        args = draw(name, rng, ((), (), ()))
        np.testing.assert_allclose(FUNCTIONS[name][0](*args), reference(*args), rtol=1e-10)
    cov = covariances(rng)
    x, mean = rng.normal(size=(2, K))
    np.testing.assert_allclose(
        stats.multivariate_normal.logpdf_cholesky(x=x, mean=mean, chol=np.linalg.cholesky(cov)),
        scipy.stats.multivariate_normal.logpdf(x, mean, cov),
    )


def test_masses_sum_to_one() -> None:
    rng = np.random.default_rng(4)
    logits, eta = 3 * rng.normal(size=(6, K)), 3 * rng.normal(size=6)
    cut = np.cumsum(rng.uniform(0.1, 2, size=(6, K)), axis=-1) - 2
    categories = np.stack([stats.categorical.logpmf_logits(k, logits) for k in range(K)])
    np.testing.assert_allclose(np.exp(categories), scipy.special.softmax(logits, axis=-1).T)
    ordered = np.exp([stats.ordered_logistic.logpmf(k, eta, cut) for k in range(K + 1)])
    np.testing.assert_allclose(np.cumsum(ordered, axis=0)[:-1], scipy.special.expit(cut - eta[:, None]).T)
    np.testing.assert_allclose(ordered.sum(axis=0), 1)


@pytest.mark.parametrize("eta", [0.7, 1.0, 2.5])
def test_lkj_of_two_rows_integrates_to_one(eta: float) -> None:
    # With K = 2 the one free entry is the correlation r; r = sin(phi) takes the ends' singularity away.
    nodes, weights = np.polynomial.legendre.leggauss(200)
    phi = 0.5 * np.pi * nodes
    r, diagonal = np.sin(phi), np.cos(phi)
    factor = np.zeros((200, 2, 2))
    factor[:, 0, 0], factor[:, 1, 0], factor[:, 1, 1] = 1, r, diagonal
    mass = np.sum(weights * 0.5 * np.pi * diagonal * np.exp(stats.lkj_cholesky.logpdf(factor, eta)))
    np.testing.assert_allclose(mass, 1, rtol=1e-3)


@pytest.mark.parametrize("eta", [1.0, 2.0, 3.5])
def test_lkj_of_three_rows_integrates_to_one(eta: float) -> None:
    # Row 2 is (r, .), row 3 is (a, b, .) on the half sphere: polar coordinates a = s cos t, b = s sin t.
    nodes, weights = np.polynomial.legendre.leggauss(60)
    r, s = np.sin(0.5 * np.pi * nodes), np.sin(0.25 * np.pi * (nodes + 1))
    jacobian_r, jacobian_s = 0.5 * np.pi * np.sqrt(1 - r**2), 0.25 * np.pi * np.sqrt(1 - s**2)
    factor = np.zeros((60, 60, 3, 3))
    factor[..., 0, 0] = 1
    factor[..., 1, 0], factor[..., 1, 1] = r[:, None], np.sqrt(1 - r**2)[:, None]
    factor[..., 2, 0], factor[..., 2, 2] = s, np.sqrt(1 - s**2)
    density = np.exp(stats.lkj_cholesky.logpdf(factor, eta))
    outer = (weights * jacobian_r)[:, None] * (weights * jacobian_s * 2 * np.pi * s)
    np.testing.assert_allclose(np.sum(outer * density), 1, rtol=1e-6)


def test_lkj_gives_the_volume_of_correlation_matrices() -> None:
    # At eta = 1 the density of R is one over the volume, which is pi^2 / 2 for K = 3.
    value = stats.lkj_cholesky.logpdf(np.eye(3), 1.0)
    np.testing.assert_allclose(value, -np.log(np.pi**2 / 2))
    assert stats.lkj_cholesky.logpdf(np.eye(1), 1.0) == 0


# ---------------------------------------------------------------------- support and domain


def test_outside_the_support_and_the_domain() -> None:
    x = np.array([[0.2, 0.3, 0.5], [-0.2, 0.7, 0.5], [0.2, 0.2, 0.2]])
    alpha = np.array([2.0, 3.0, 4.0])
    values = stats.dirichlet.logpdf(x, alpha)
    np.testing.assert_array_equal(np.isneginf(values), [False, True, True])
    slopes = grad(lambda a: anp.sum(stats.dirichlet.logpdf(x, a)))(np.tile(alpha, (3, 1)))
    assert (slopes[1:] == 0).all() and (slopes[0] != 0).all()
    assert np.isnan(stats.dirichlet.logpdf(x[0], -alpha))

    k = np.array([-1, 0, 2, 3, 0.5, np.nan])
    logits = np.tile([0.1, 0.2, -np.inf], (6, 1))
    values = stats.categorical.logpmf_logits(k, logits)
    np.testing.assert_array_equal(np.isneginf(values), [True, False, True, True, True, False])
    assert np.isnan(values[-1])
    slopes = grad(lambda v: anp.sum(stats.categorical.logpmf_logits(k[:-1], v)))(logits[:-1])
    assert np.isfinite(slopes).all() and (slopes[[0, 3, 4]] == 0).all()

    cut = np.array([[-1.0, 0, 2], [0.0, -1, 2]])[:, None]
    values = stats.ordered_logistic.logpmf(np.array([-1, 0, 3, 4, 1.5]), 0.3, cut)
    np.testing.assert_array_equal(np.isneginf(values[0]), [True, False, False, True, True])
    assert np.isnan(values[1]).all()
    slopes = grad(lambda c: anp.sum(stats.ordered_logistic.logpmf(np.array([-1, 0, 3, 4]), 0.3, c)))(cut)
    assert np.isfinite(slopes).all() and (slopes[1] == 0).all()

    assert stats.multinomial.logpmf([1, 2, 3], 7, [0.2, 0.3, 0.5]) == -np.inf
    assert np.isnan(stats.multinomial.logpmf([1, 2, 3], 6, [0.2, 0.3, 0.6]))
    assert stats.multinomial.logpmf([0, 2, 3], 5, [0.0, 0.5, 0.5]) > -np.inf
    np.testing.assert_allclose(
        grad(lambda p: stats.multinomial.logpmf([0, 2, 3], 5, p))(np.array([0.0, 0.5, 0.5])), [0, 4, 6]
    )

    factor = np.stack([np.eye(3), -np.eye(3), 2 * np.eye(3)])
    np.testing.assert_array_equal(np.isneginf(stats.lkj_cholesky.logpdf(factor, 2.0)), [False, True, True])
    assert np.isnan(stats.lkj_cholesky.logpdf(np.eye(3), -1.0))
    slopes = grad(lambda e: anp.sum(stats.lkj_cholesky.logpdf(factor, e)))(np.array([2.0, 2.0, 2.0]))
    assert slopes[0] != 0 and (slopes[1:] == 0).all()


def test_one_bad_covariance_leaves_the_others() -> None:
    cov = np.stack([np.eye(2), np.array([[1.0, 2.0], [2.0, 1.0]]), 2 * np.eye(2), np.zeros((2, 2))])
    values = stats.multivariate_normal.logpdf(np.zeros(2), np.zeros(2), cov)
    np.testing.assert_array_equal(np.isnan(values), [False, True, False, True])
    np.testing.assert_allclose(values[[0, 2]], [-np.log(2 * np.pi), -np.log(4 * np.pi)])
    slopes = grad(lambda c: anp.sum(stats.multivariate_normal.logpdf(np.zeros(2), np.zeros(2), c)))(cov)
    np.testing.assert_allclose(slopes[[0, 2]], [-0.5 * np.eye(2), -0.25 * np.eye(2)])


def test_ordered_logistic_is_accurate_in_the_tails() -> None:
    value = stats.ordered_logistic.logpmf([0, 1, 2], 60.0, [-1.0, 1.0])
    expected = [-61 - np.log1p(np.exp(-61)), -59 + np.log1p(-np.exp(-2)), 0]
    np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-20)


# ---------------------------------------------------------------------- reductions


@pytest.mark.parametrize("axis", [None, 0, -1, (0, 2)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_logsumexp(axis: Any, keepdims: bool) -> None:
    a = np.random.default_rng(5).normal(size=(2, 3, 4))
    actual = stats.logsumexp(a, axis=axis, keepdims=keepdims)
    np.testing.assert_allclose(actual, scipy.special.logsumexp(a, axis=axis, keepdims=keepdims))
    assert_derivatives(lambda a: stats.logsumexp(a, axis=axis, keepdims=keepdims), a)


@pytest.mark.parametrize("axis", [None, 0, -1, (0, 2)])
def test_softmax(axis: Any) -> None:
    a = np.random.default_rng(6).normal(size=(2, 3, 4))
    np.testing.assert_allclose(stats.softmax(a, axis=axis), scipy.special.softmax(a, axis=axis))
    np.testing.assert_allclose(stats.log_softmax(a, axis=axis), scipy.special.log_softmax(a, axis=axis))
    assert_derivatives(lambda a: stats.softmax(a, axis=axis), a)
    assert_derivatives(lambda a: stats.log_softmax(a, axis=axis), a)


def test_logsumexp_of_infinities() -> None:
    a = np.array([[-np.inf, -np.inf], [-np.inf, 1.0], [1e4, 1e4 - 1]])
    values = stats.logsumexp(a, axis=-1)
    np.testing.assert_allclose(values, [-np.inf, 1, 1e4 + np.log1p(np.exp(-1))])
    slopes = grad(lambda a: anp.sum(stats.logsumexp(a, axis=-1)))(a)
    np.testing.assert_allclose(slopes, [[0, 0], [0, 1], scipy.special.softmax([1, 0])])
    assert stats.logsumexp([1.0, 2.0]) == pytest.approx(np.logaddexp(1, 2))


@settings(max_examples=40, deadline=None)
@given(
    eta=st.floats(-700, 700),
    cut=st.lists(st.integers(-3000, 3000), min_size=1, max_size=5, unique=True),
    k=st.integers(0, 5),
)
def test_ordered_logistic_is_finite_and_smooth(eta: float, cut: list[int], k: int) -> None:
    cutpoints = np.sort(cut) / 10
    k = min(k, len(cut))
    assert not np.isnan(stats.ordered_logistic.logpmf(k, eta, cutpoints))
    assert not np.isnan(grad(stats.ordered_logistic.logpmf, 1)(k, eta, cutpoints))
    assert not np.isnan(grad(stats.ordered_logistic.logpmf, 2)(k, eta, cutpoints)).any()
