"""The zeros of Hessians: found at one draw, used at others, and given up where others have none."""

import autograd.numpy as anp
import numpy as np
import pytest

import bbvi
from bbvi.draws import orthogonal
from bbvi.solvers.curvature import mean_curvature
from bbvi.solvers.hessian import hessian as hessian_of
from bbvi.solvers.sparsity import pattern_of
from bbvi.target.target import Target


def arrow(dim: int, rng: np.random.Generator) -> np.ndarray:
    """Independent latents below three that steer all."""
    matrix = np.diag(rng.uniform(1, 2, dim))
    matrix[:3] = rng.normal(size=(3, dim))
    matrix[:3, :3] += matrix[:3, :3].T
    matrix[3:, :3] = matrix[:3, 3:].T
    return matrix


def walk(dim: int, rng: np.random.Generator) -> np.ndarray:
    return np.diag(rng.uniform(2, 3, dim)) + np.eye(dim, k=1) + np.eye(dim, k=-1)


def grid(dim: int, rng: np.random.Generator) -> np.ndarray:
    side = int(np.sqrt(dim))
    matrix = np.zeros((dim, dim))
    for i in range(dim):
        for j in (i + 1 if (i + 1) % side else -1, i + side):
            if 0 <= j < dim:
                matrix[i, j] = matrix[j, i] = rng.normal()
    return matrix + np.diag(rng.uniform(4, 5, dim))


def crossed(dim: int, rng: np.random.Generator) -> np.ndarray:
    """Two sets of effects, each of one meeting all of the other."""
    few = dim // 6
    matrix = np.diag(rng.uniform(1, 2, dim))
    matrix[:few, few:] = rng.normal(size=(few, dim - few))
    matrix[few:, :few] = matrix[:few, few:].T
    return matrix


@pytest.mark.parametrize(("kind", "most"), [(arrow, 4), (walk, 3), (grid, 9), (crossed, 30)])
@pytest.mark.parametrize("dim", [144, 400])
def test_few_products_show_the_whole_matrix(kind, most, dim):
    rng = np.random.default_rng(dim)
    matrix = kind(dim, rng)
    pattern = pattern_of(matrix)
    assert pattern is not None
    assert len(pattern.directions) <= (most if kind is not crossed else dim // 6 + dim // 3)
    other = matrix * (1.0 + np.abs(np.add.outer(np.arange(dim), np.arange(dim)) % 7))
    np.testing.assert_allclose(pattern.whole(pattern.directions @ other), other, rtol=1e-12)


def test_full_and_small_matrices_have_no_pattern():
    rng = np.random.default_rng(0)
    assert pattern_of(rng.normal(size=(150, 150))) is None
    assert pattern_of(np.eye(20)) is None


def test_the_curvature_of_a_hierarchy_takes_few_gradients_beyond_the_first_draw():
    """log p = -(a^2 + e^(2 a) sum z_i^2) / 2: the whole Hessian of each draw is known."""
    dim, spent = 200, []

    def gradients(u):
        spent.append(len(u))
        a, z = u[:, :1], u[:, 1:]
        grown = np.exp(2 * a)
        return np.concatenate([-a - grown * np.sum(z**2, axis=1, keepdims=True), -grown * z], axis=1)

    points = 0.3 * np.random.default_rng(1).standard_normal((4, dim))
    exact = np.zeros((dim, dim))
    for u in points:
        grown = np.exp(2 * u[0])
        h = np.diag(np.r_[1 + 2 * grown * np.sum(u[1:] ** 2), np.full(dim - 1, grown)])
        h[0, 1:] = h[1:, 0] = 2 * grown * u[1:]
        exact += h / 4
    found = mean_curvature(gradients, points, gradients(points), np.ones(dim))
    np.testing.assert_allclose(found, exact, rtol=1e-3, atol=1e-3)
    assert sum(spent) < 4 + dim + 3 * 5


def test_zeros_of_the_first_draw_alone_are_not_believed():
    """Neighbours meet only where the first latent is positive, and at the first draw it is not."""
    dim = 150
    chain = np.eye(dim, k=1) + np.eye(dim, k=-1)
    chain[0], chain[:, 0] = 0.0, 0.0

    def gradients(u):
        return -3.0 * u - (u[:, :1] > 0) * (u @ chain)

    points = np.random.default_rng(2).standard_normal((2, dim))
    points[:, 0] = [-1.0, 1.0]
    found = mean_curvature(gradients, points, gradients(points), np.ones(dim))
    np.testing.assert_allclose(found, 3.0 * np.eye(dim) + 0.5 * chain, atol=1e-6)


def hierarchy(z):
    """A hundred and fifty latents below two that steer them."""
    return -0.5 * anp.sum(z[:2] ** 2) - anp.sum(anp.exp(z[0]) * (z[2:] - z[1]) ** 2 + 0.1 * z[2:] ** 4)


def neighbours_now_and_then(z):
    """Neighbours meet only where the first latent is positive."""
    return -0.5 * anp.sum(z**2) - 0.1 * anp.where(z[0] > 0.0, anp.sum(z[1:-1] * z[2:]), 0.0)


@pytest.mark.parametrize(("log_joint", "fewer"), [(hierarchy, True), (neighbours_now_and_then, False)])
def test_the_hessian_of_the_elbo_by_few_products_is_that_by_columns(log_joint, fewer, monkeypatch):
    """Where zeros are not the same at all draws, as a probe shows, columns are asked for one by one."""
    dim, rng = 152, np.random.default_rng(3)
    eps = orthogonal(64, dim, rng)
    eps[0, 0] = -abs(eps[0, 0])
    mean, log_sd = 0.1 * rng.standard_normal((1, dim)), -1.0 + 0.1 * rng.standard_normal((1, dim))
    found, spent = [], []
    for pattern in (pattern_of, lambda matrix: None):
        monkeypatch.setattr("bbvi.solvers.hessian.pattern_of", pattern)
        target = Target(bbvi.Model(log_joint, dim))
        target.values(mean)
        before = target.gradient_evaluations
        found.append(hessian_of(target, mean, log_sd, eps[None]))
        spent.append(target.gradient_evaluations - before)
    for by_few, by_columns in zip(*found, strict=True):
        np.testing.assert_allclose(by_few, by_columns, rtol=1e-9, atol=1e-9)
    assert (spent[0] < spent[1] / 5) if fewer else (spent[0] >= spent[1])
