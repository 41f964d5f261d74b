"""Curvature from a few draws: exact for Gaussians, and what conjugate gradients gain from it."""

import autograd.numpy as anp
import numpy as np
import pytest

import bbvi
from bbvi.batching.operations import _log_add_exp
from bbvi.correction.chains.conditional import Curvature
from bbvi.correction.chains.metric import MetricPolicy, fitted
from bbvi.draws import orthogonal
from bbvi.solvers import newton
from bbvi.solvers.curvature import coarse, mean_curvature, preconditioned
from bbvi.solvers.trust_region import conjugate_gradient
from bbvi.stats import nbinom, norm
from bbvi.target.target import Target


def precision(dim: int, rng: np.random.Generator) -> np.ndarray:
    """Of a walk with noise, on scales from 0.01 to 100."""
    walk = 2.2 * np.eye(dim) - np.eye(dim, k=1) - np.eye(dim, k=-1)
    scale = 10.0 ** rng.uniform(-2, 2, dim)
    return walk / np.outer(scale, scale)


def gaussian(dim: int, seed: int = 0) -> tuple[Target, np.ndarray]:
    matrix = precision(dim, np.random.default_rng(seed))
    model = bbvi.Model(lambda z, a: -0.5 * (z.x @ a @ z.x), {"x": dim}, {"a": matrix})
    return Target(model), matrix


def test_the_curvature_of_a_gaussian_is_its_precision():
    target, matrix = gaussian(30)
    sd = np.sqrt(np.diag(np.linalg.inv(matrix)))
    points = sd * np.random.default_rng(1).standard_normal((3, 30))
    found = mean_curvature(lambda u: target.gradients(u)[1], points, target.gradients(points)[1], sd)
    np.testing.assert_allclose(found, matrix * np.outer(sd, sd), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dim", [3, 40])
def test_a_metric_with_curvature_whitens(dim):
    target, matrix = gaussian(dim)
    covariance = np.linalg.inv(matrix)
    x = np.random.default_rng(2).multivariate_normal(np.zeros(dim), covariance, 200)
    g = target.gradients(x)[1]
    policy = MetricPolicy(points=2)
    measured = Curvature.at_draws(lambda u: target.gradients(u)[1], x, g, np.random.default_rng(9), policy)
    assert measured is not None
    base = measured.base
    np.testing.assert_allclose(base.factor @ base.inverse, np.eye(dim), atol=1e-6)
    metric = fitted(x, g, MetricPolicy(), base)
    whitened = metric.whiten(np.linalg.cholesky(covariance).T)
    np.testing.assert_allclose(np.linalg.svd(whitened)[1], 1.0, rtol=0.35)
    e = np.random.default_rng(3).standard_normal((4, dim))
    np.testing.assert_allclose(metric.whiten(metric.to_position(e)), e, rtol=1e-6, atol=1e-6)
    # Momenta: their whitened form comes back, and velocities are positions of it.
    np.testing.assert_allclose(metric.to_whitened(metric.momentum(e)), e, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(metric.velocity(metric.momentum(e)), metric.to_position(e), rtol=1e-6)


def test_preconditioned_steps_are_those_without_and_few():
    dim = 120
    target, matrix = gaussian(dim)
    log_sd = -0.5 * np.log(np.diag(matrix))
    eps = orthogonal(64, dim, np.random.default_rng(4))
    local = newton.localize(target, np.zeros((1, dim)), log_sd[None], eps[None])
    rhs = np.random.default_rng(5).standard_normal((1, 2 * dim))
    products = [0]

    def counted(x):
        products[0] += 1
        return local.product(x)

    by = coarse(lambda u: target.gradients(u)[1], np.zeros(dim), log_sd, eps)
    assert by is not None
    x, hx, there = preconditioned(counted, rhs, np.zeros_like(rhs), np.zeros_like(rhs), by, 1e-8, 200)
    assert there
    assert products[0] < 60
    np.testing.assert_allclose(hx, rhs, atol=1e-7)
    plain, _, interior = conjugate_gradient(
        local.product, rhs, radius=np.array([np.inf]), tolerance=np.array([1e-8]), iterations=2000
    )
    assert interior.all()
    np.testing.assert_allclose(x, plain, atol=1e-5)
    exact = np.linalg.inv(matrix * np.exp(np.add.outer(log_sd, log_sd)))
    np.testing.assert_allclose(by.variances, np.diag(exact), rtol=1e-4)


def test_preconditioned_steps_end_at_the_radius():
    dim = 120
    target, matrix = gaussian(dim)
    log_sd = -0.5 * np.log(np.diag(matrix))
    eps = orthogonal(64, dim, np.random.default_rng(4))
    local = newton.localize(target, np.zeros((1, dim)), log_sd[None], eps[None])
    rhs = np.random.default_rng(5).standard_normal((1, 2 * dim))
    by = coarse(lambda u: target.gradients(u)[1], np.zeros(dim), log_sd, eps)
    assert by is not None
    zero = np.zeros_like(rhs)
    x, hx, there = preconditioned(local.product, rhs, zero, zero, by, 1e-8, 200, radius=0.5)
    assert not there
    assert abs(np.linalg.norm(x) - 0.5) < 1e-9
    np.testing.assert_allclose(hx, local.product(x), atol=1e-8)


def test_curvature_in_units_of_other_sds_is_that_measured_there():
    dim = 110
    target, matrix = gaussian(dim)
    log_sd = -0.5 * np.log(np.diag(matrix))
    rng = np.random.default_rng(7)
    eps, other = orthogonal(64, dim, rng), log_sd + 0.3 * rng.standard_normal(dim)
    known, fresh = (coarse(lambda u: target.gradients(u)[1], np.zeros(dim), at, eps) for at in (log_sd, other))
    assert known is not None and fresh is not None
    np.testing.assert_allclose(known.at(other).factor, fresh.factor, atol=1e-6)


@pytest.mark.parametrize("sparse", [False, True])
def test_steps_that_know_the_curvature_of_the_step_before_lead_to_the_same_optimum(sparse):
    dim = 130
    scale = np.linspace(0.5, 2.0, dim)

    def log_joint(z):
        meets = anp.sum(norm.logpdf(z[1:], 0.8 * z[:-1] if sparse else 0.1 * anp.sum(z), 1.0))
        return meets - anp.sum(anp.cosh(z / scale))

    target = Target(bbvi.Model(log_joint, dim))
    eps = orthogonal(320, dim, np.random.default_rng(8))
    found = []
    for remembers in (False, True):
        mean, log_sd, radius, by = np.full((1, dim), 0.7), np.zeros((1, dim)), np.array([dim**0.5]), None
        for _ in range(12):
            step = newton.iterate(target, mean, log_sd, eps[None], radius, by=by)
            mean, log_sd, radius = step.mean, step.log_sd, step.radius
            by = step.by if remembers else None
        assert step.gradient_norm[0] < 1e-6
        assert (by is not None) == remembers
        found.append(np.concatenate([mean[0], log_sd[0]]))
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)


def test_preconditioning_ends_where_curvature_is_negative():
    by = coarse(lambda u: -u, np.zeros(2), np.zeros(2), orthogonal(16, 2, np.random.default_rng(0)))
    assert by is not None
    _, _, there = preconditioned(lambda x: -x, np.ones((1, 4)), np.zeros((1, 4)), np.zeros((1, 4)), by, 1e-8, 10)
    assert not there


def test_log_add_exp_is_numpys():
    rng = np.random.default_rng(6)
    x, y = 30 * rng.standard_normal((2, 500))
    for a, b in [(x, y), (0.0, x), (x, x), (800 + x, y)]:
        np.testing.assert_allclose(_log_add_exp(a, b), np.logaddexp(a, b), rtol=1e-15, atol=1e-300)
    edges = np.array([-np.inf, np.inf, np.nan, 0.0])
    for a in edges:
        with np.errstate(invalid="ignore"):
            expected = np.logaddexp(np.full(4, a), edges)
        np.testing.assert_array_equal(_log_add_exp(np.full(4, a), edges), expected)


@pytest.mark.parametrize("largest", [3, 30, 5000])
def test_counts_that_repeat_have_the_mass_of_each_alone(largest):
    k = np.random.default_rng(7).integers(0, largest, 400)
    p = np.random.default_rng(8).uniform(0.1, 0.9, (3, 400))
    n = np.array([[0.7], [12.0], [300.0]])
    together = nbinom.logpmf(k, n, p)
    alone = np.reshape([nbinom.logpmf(int(k[j]), n[i, 0], p[i, j]) for i, j in np.ndindex(p.shape)], p.shape)
    np.testing.assert_allclose(together, alone, rtol=1e-12)
