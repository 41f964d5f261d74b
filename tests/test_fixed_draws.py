"""Fixed draws: exact for Gaussian targets on any scale, right for skewed ones, and honest when there is no optimum."""

from __future__ import annotations

import autograd.numpy as anp
import numpy as np
import pytest
from scipy import integrate, optimize

import bbvi
from bbvi.search.starts import candidates, find_modes, initial_log_sd
from bbvi.solvers import newton
from bbvi.solvers.fixed_draws import FixedDraws
from bbvi.solvers.hessian import hessian as hessian_of
from bbvi.solvers.trust_region import conjugate_gradient, solve_dense
from bbvi.target.target import Target


def gaussian(dim, spread, seed=0):
    """A Gaussian log joint with scales from 1e-6 to 1e6 and eigenvalues of its correlation over `spread` decades."""
    rng = np.random.default_rng(seed)
    scale = 10 ** np.linspace(-6, 6, dim) if dim > 1 else np.array([1e3])
    basis = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    correlation = basis @ np.diag(10 ** -rng.uniform(0, spread, size=dim)) @ basis.T
    root = np.sqrt(np.diag(correlation))
    correlation /= np.outer(root, root)
    precision = np.linalg.inv(correlation)
    mean = 5 * scale * rng.normal(size=dim)

    def log_joint(z):
        e = (z - mean) / scale
        return -0.5 * anp.dot(e, anp.dot(precision, e))

    return log_joint, mean, scale, precision, correlation


@pytest.mark.parametrize(("dim", "spread"), [(1, 0), (2, 3), (5, 0), (10, 4), (50, 2)])
def test_gaussians_are_exact_on_any_scale(dim, spread):
    log_joint, mean, scale, precision, correlation = gaussian(dim, spread)
    fit = bbvi.fit(log_joint, dim, seed=1)
    assert fit.converged
    assert fit.verdict == "reliable"
    assert np.max(np.abs(fit.approximation.mean - mean) / scale) < 1e-6
    np.testing.assert_allclose(fit.approximation.sd, scale / np.sqrt(np.diag(precision)), rtol=1e-6)
    np.testing.assert_allclose(fit.covariance / np.outer(scale, scale), correlation, atol=1e-6)


@pytest.mark.slow
def test_two_hundred_latents():
    log_joint, mean, scale, precision, _ = gaussian(200, 2)
    fit = bbvi.fit(log_joint, 200, seed=1)
    assert np.max(np.abs(fit.approximation.mean - mean) / scale) < 1e-6
    np.testing.assert_allclose(fit.approximation.sd, scale / np.sqrt(np.diag(precision)), rtol=1e-2)


def test_a_wrong_target_fails():
    """The check above can tell: a scale that is off by a thousandth is not within it."""
    log_joint, mean, scale, precision, _ = gaussian(5, 0)
    fit = bbvi.fit(lambda z: log_joint(mean + (z - mean) * 1.001), 5, seed=1)
    assert np.max(np.abs(fit.approximation.sd * np.sqrt(np.diag(precision)) / scale - 1)) > 5e-4


def test_a_skewed_target_agrees_with_quadrature():
    """log of a Gamma(3) variable: E[log p] under q = N(m, s^2) in closed form, maximised by SciPy."""

    def negative_elbo(parameters):
        m, r = parameters
        return -(3 * m - np.exp(m + 0.5 * np.exp(2 * r)) + r)

    best = optimize.minimize(negative_elbo, [1.0, -0.5], tol=1e-12)
    fit = bbvi.fit(lambda z: 3 * z.x - anp.exp(z.x), {"x": bbvi.Real()}, seed=2, tolerance=0.005)
    assert fit.approximation.mean[0] == pytest.approx(best.x[0], abs=0.01)
    assert np.log(fit.approximation.sd[0]) == pytest.approx(best.x[1], abs=0.02)


def test_the_corrected_summary_agrees_with_numerical_integration():
    """A Positive latent with a Gamma(3) density; the log-Jacobian is the package's business."""
    fit = bbvi.fit(lambda z: 2 * anp.log(z.x) - z.x, {"x": bbvi.Positive()}, seed=2)
    row = fit.summary().loc["x"]
    assert row["mean"] == pytest.approx(3.0, abs=0.1 * 3**0.5)
    assert row["sd"] == pytest.approx(3**0.5, rel=0.1)
    evidence = np.log(integrate.quad(lambda x: x**2 * np.exp(-x), 0, np.inf)[0])
    assert fit.log_evidence == pytest.approx(evidence, abs=5 * fit.log_evidence_se + 0.01)
    assert fit.elbo < evidence


def test_the_hessian_is_the_derivative_of_the_gradient(rng):
    target = Target(bbvi.Model(lambda z: -anp.sum(anp.cosh(z)) - 0.3 * anp.sum(z) ** 2 + z[0] * z[1] * z[2], 3))
    mean, log_sd, eps = rng.normal(size=(1, 3)), 0.3 * rng.normal(size=(1, 3)), rng.normal(size=(1, 8, 3))
    _, gradient, hessian = hessian_of(target, mean, log_sd, eps)
    local = newton.localize(target, mean, log_sd, eps)
    np.testing.assert_allclose(local.gradient, gradient, rtol=1e-10)
    sd, step = np.exp(log_sd), 1e-5
    for i in range(6):
        e = np.zeros((1, 6))
        e[0, i] = 1.0
        np.testing.assert_allclose(local.product(e)[0], hessian[0, i], rtol=1e-8, atol=1e-9)
        ends = []
        for sign in (1, -1):
            moved = newton.localize(
                target, mean + sign * step * sd * e[:, :3], log_sd + sign * step * e[:, 3:] / np.sqrt(2), eps
            )
            # Gradients at the ends are in their own natural units; back to those of the middle.
            grow = np.exp(sign * step * e[0, 3:] / np.sqrt(2))
            ends.append(moved.gradient[0] / np.concatenate([grow, np.ones(3)]))
        np.testing.assert_allclose((ends[0] - ends[1]) / (2 * step), hessian[0, i], rtol=1e-4, atol=1e-5)


def test_conjugate_gradients_and_dense_steps_agree(rng):
    a = rng.normal(size=(3, 6, 6))
    matrix = a @ a.transpose(0, 2, 1) + np.eye(6)
    gradient = rng.normal(size=(3, 6))
    wide = np.full(3, 1e6)
    dense, _, newton_step = solve_dense(matrix, gradient, wide)
    product = lambda x: np.einsum("kpq,kq->kp", matrix, x)  # noqa: E731
    cg, _, interior = conjugate_gradient(
        product, -gradient, radius=wide, tolerance=np.full(3, 1e-10), iterations=50
    )
    np.testing.assert_allclose(dense, cg, rtol=1e-6)
    assert newton_step.all()
    assert interior.all()


def test_dense_steps_stay_in_the_region_and_follow_negative_curvature():
    matrix = np.diag([2.0, -1.0])[None]
    x, hx, newton_step = solve_dense(matrix, np.array([[1.0, 0.0]]), np.array([0.5]))
    assert np.linalg.norm(x) == pytest.approx(0.5, rel=1e-3)
    assert abs(x[0, 1]) > 0.3
    assert not newton_step[0]
    np.testing.assert_allclose(hx[0], matrix[0] @ x[0])


def test_a_saddle_point_is_left():
    """Started at the saddle between two modes, where the gradient is zero."""

    def log_joint(z):
        return -0.5 * anp.sum(z**2) + 3 * z[0] * z[1] - 0.1 * anp.sum(z**4)

    fit = bbvi.fit(log_joint, 2, seed=1, init=np.zeros(2))
    assert abs(fit.approximation.mean[0]) > 1.5
    assert fit.approximation.mean[0] == pytest.approx(fit.approximation.mean[1], abs=0.1)


def test_two_modes_are_told():
    def bimodal(z):
        return anp.logaddexp(-0.5 * anp.sum((z - 5) ** 2), -0.5 * anp.sum((z + 5) ** 2))

    fit = bbvi.fit(bimodal, 3, seed=1)
    assert fit.verdict == "unreliable"
    assert any("second mode" in reason for reason in fit.reasons)


def test_the_monte_carlo_error_is_that_of_repeated_fits():
    """Fits with other draws scatter as mean_se says: within a factor of two, from 40 fits (false alarm below 1e-4)."""

    def log_joint(z):
        return -anp.sum(anp.exp(z) - 2 * z) - 0.2 * anp.sum(z) ** 2

    fits = [bbvi.fit(log_joint, 3, seed=seed, solver=FixedDraws(draws=16), tolerance=0.5) for seed in range(40)]
    means = np.array([fit.approximation.mean for fit in fits])
    claimed = np.sqrt(np.mean([fit.mean_se**2 for fit in fits], axis=0))
    ratio = means.std(axis=0) / claimed
    assert np.all((ratio > 0.5) & (ratio < 2.0)), ratio


def test_more_draws_are_taken_until_the_tolerance_is_met():
    def log_joint(z):
        return -anp.sum(anp.exp(z) - 2 * z) - 0.2 * anp.sum(z) ** 2

    loose = bbvi.fit(log_joint, 3, seed=1, solver=FixedDraws(draws=8), tolerance=0.5)
    tight = bbvi.fit(log_joint, 3, seed=1, solver=FixedDraws(draws=8), tolerance=0.002)
    assert len(tight.eps) > len(loose.eps)
    assert np.max(tight.mean_se / tight.approximation.sd) < np.max(loose.mean_se / loose.approximation.sd)


def test_an_unbounded_scale_is_reported_with_its_name():
    """Proper along each axis, and yet flat along a diagonal: only the fit can find that out."""
    fit = bbvi.fit(lambda z: -0.5 * (z.a - z.b) ** 2, {"a": bbvi.Real(), "b": bbvi.Real()}, seed=1)
    assert fit.verdict == "unreliable"


def test_starts_see_the_scale_and_the_mode():
    log_joint, mean, scale, precision, _ = gaussian(6, 1)
    target = Target(bbvi.Model(log_joint, 6))
    rng = np.random.default_rng(0)
    points = candidates(target, rng)[0][:4]
    log_sd = initial_log_sd(target, points)
    np.testing.assert_allclose(np.exp(log_sd), np.tile(scale / np.sqrt(np.diag(precision)), (4, 1)), rtol=1e-6)
    modes = find_modes(target, points, log_sd, rng)
    assert len(modes) == 1
    assert modes[0].starts == 4
    assert np.max(np.abs(modes[0].mean - mean) / scale) < 0.05
