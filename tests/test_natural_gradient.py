"""The values-only solver: its optimum, its cost, its honesty about error, and what it survives."""

import dataclasses
import tracemalloc
from collections.abc import Callable
from functools import lru_cache

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import elementwise_grad
from scipy.optimize import minimize

import bbvi
from bbvi.solvers.from_values.archive import Archive, fitted
from bbvi.solvers.from_values.differences import BLOCK, Axes, measure
from bbvi.solvers.from_values.natural_gradient import NaturalGradient
from bbvi.solvers.from_values.natural_gradient_state import NaturalGradientState
from bbvi.solvers.from_values.surrogate import antithetic_draws, regress
from bbvi.status import Status

Array = np.ndarray


class Target:
    """Values of a log density, counted, with optional noise. Anything but a plain float array is refused."""

    has_gradient = False

    def __init__(self, log_density: Callable[[Array], Array], dim: int, noise_sd: float = 0.0) -> None:
        self.log_density, self.dim, self.noise_sd = log_density, dim, noise_sd
        self.evaluations = self.gradient_evaluations = 0
        self.noise = np.random.default_rng(987)

    def values(self, u: Array) -> Array:
        if type(u) is not np.ndarray or u.dtype != float or u.shape[1:] != (self.dim,):
            raise TypeError(f"expected a plain array (S, {self.dim}), got {type(u)}")
        self.evaluations += len(u)
        with np.errstate(all="ignore"):
            values = self.log_density(u.copy()) + self.noise_sd * self.noise.standard_normal(len(u))
        return np.where(values < np.inf, values, -np.inf)


def run(
    target: Target, seed: int, budget: int, tolerance: float = 0.05, start: Array | None = None
) -> NaturalGradientState:
    rng, solver = np.random.default_rng(seed), NaturalGradient()
    mean = np.zeros(target.dim) if start is None else start
    state = solver.init(target, mean, np.zeros(target.dim), rng, tolerance)
    while state.status is None and target.evaluations < budget:
        state = solver.step(target, state, rng, tolerance)
    return state


def worst(state: NaturalGradientState, mean: Array, log_sd: Array) -> float:
    """Largest error of a mean, in its own sd, or of a log sd."""
    errors = np.concatenate([(state.mean - mean) / np.exp(log_sd), state.log_sd - log_sd])
    return float(np.max(np.abs(errors)))


# --- targets ------------------------------------------------------------------------------------------------


RNG = np.random.default_rng(1)
LOGISTIC_X = np.column_stack([np.ones(3000), RNG.normal(size=(3000, 2))])
LOGISTIC_Y = RNG.random(3000) < 1 / (1 + np.exp(-LOGISTIC_X @ [-1.0, 1.0, 0.5]))


def logistic(u: Array) -> Array:
    eta = anp.dot(u, LOGISTIC_X.T)
    return anp.sum(LOGISTIC_Y * eta - anp.logaddexp(0, eta), axis=1) - 0.02 * anp.sum(u**2, axis=1)


def eight_schools(u: Array) -> Array:
    y = np.array([28.0, 8, -3, 7, -1, 1, 18, 12])
    sigma = np.array([15.0, 10, 16, 11, 9, 11, 10, 18])
    mu, log_tau, eta = u[:, 0], u[:, 1], u[:, 2:]
    theta = mu[:, None] + anp.exp(log_tau)[:, None] * eta
    prior = -0.02 * mu**2 - anp.log1p(anp.exp(2 * log_tau) / 25) + log_tau
    return prior - 0.5 * anp.sum(eta**2, axis=1) - 0.5 * anp.sum(((y - theta) / sigma) ** 2, axis=1)


def raw_regression(u: Array) -> Array:
    """Raw predictors: the optimum is many sds away, the latents correlate at 0.99."""
    rng = np.random.default_rng(2)
    x = np.column_stack([np.ones(434), rng.random(434) < 0.78, rng.normal(100, 15, 434)])
    y = x @ [26.0, 6.0, 0.56] + 18 * rng.normal(size=434)
    log_sigma = u[:, 3]
    squares = anp.sum((y - anp.dot(u[:, :3], x.T)) ** 2, axis=1)
    prior = log_sigma - anp.log1p(anp.exp(2 * log_sigma) / 6.25)
    return -0.5 * squares * anp.exp(-2 * log_sigma) - 434 * log_sigma + prior


def hierarchical(u: Array, groups: int = 20) -> Array:
    """Varying intercepts, non-centred."""
    rng = np.random.default_rng(3)
    group = np.arange(10 * groups) % groups
    y = 1.5 + 0.4 * rng.normal(size=groups)[group] + 0.8 * rng.normal(size=10 * groups)
    mu, log_tau, log_sigma, eta = u[:, 0], u[:, 1], u[:, 2], u[:, 3:]
    intercept = mu[:, None] + anp.exp(log_tau)[:, None] * eta
    squares = anp.sum((y - intercept[:, group]) ** 2, axis=1)
    prior = -0.5 * anp.exp(2 * log_tau) + log_tau - 0.5 * anp.sum(eta**2, axis=1) - 0.05 * mu**2
    return prior - 0.5 * squares * anp.exp(-2 * log_sigma) - len(y) * log_sigma - log_sigma**2


CASES = {
    # log density, dim, a point near the optimum, evaluations allowed, error allowed; the tolerance is half of
    # that
    "logistic": (logistic, 3, [-1.0, 1.0, 0.5], 500, 0.1),
    "eight schools": (eight_schools, 10, [4.0, 0.5] + 8 * [0.0], 4200, 0.15),
    "raw regression": (raw_regression, 4, [26.0, 6.0, 0.56, 2.9], 4200, 0.15),
    "hierarchical": (hierarchical, 23, [1.5, -0.9, -0.2] + 20 * [0.0], 12_000, 0.3),
}


@lru_cache
def optimum(name: str) -> tuple[Array, Array]:
    """Mean-field optimum from gradients on many fixed antithetic draws: error below 0.02 sd."""
    log_density, dim, near, _, _ = CASES[name]
    gradient = elementwise_grad(log_density)
    # The logistic regression is close to quadratic: few draws serve, and each costs 3,000 rows.
    eps = antithetic_draws(100 if name == "logistic" else 1500, dim, np.random.default_rng(0))
    mean, step = np.array(near), 1e-4
    bend = [
        (gradient(mean[None] + step * e) - gradient(mean[None] - step * e))[0] @ e / (2 * step)
        for e in np.eye(dim)
    ]
    log_sd = -0.5 * np.log(np.maximum(-np.array(bend), 0.5))
    for _ in range(3):
        centre, scale = mean, np.exp(log_sd)

        def loss(t: Array, centre: Array = centre, scale: Array = scale) -> tuple[float, Array]:
            sd = scale * np.exp(t[dim:])
            z = centre + scale * t[:dim] + sd * eps
            g = gradient(z)
            value = log_density(z).mean() + t[dim:].sum()
            return -value, -np.concatenate([scale * g.mean(0), (g * eps * sd).mean(0) + 1])

        bounds = [(-20, 20)] * dim + [(-1, 1)] * dim
        found = minimize(loss, np.zeros(2 * dim), jac=True, method="L-BFGS-B", bounds=bounds)
        mean, log_sd = centre + scale * found.x[:dim], log_sd + found.x[dim:]
    return mean, log_sd


# --- cost and accuracy --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", CASES)
def test_reaches_the_optimum_within_its_budget(name: str, seed: int) -> None:
    log_density, dim, _, budget, allowed = CASES[name]
    target = Target(log_density, dim)
    state = run(target, seed, budget, tolerance=allowed / 2)
    assert state.status is Status.CONVERGED
    assert target.evaluations <= budget
    assert worst(state, *optimum(name)) < allowed


def test_a_wrong_optimum_is_seen() -> None:
    mean, log_sd = optimum("logistic")
    state = run(Target(lambda u: logistic(u + [0.02, 0.0, 0.0]), 3), 0, 500)
    assert worst(state, mean, log_sd) > 0.1  # moved by half an sd


def gaussian(
    scales: Array, correlation: float, shift: float
) -> tuple[Callable[[Array], Array], Array, Array]:
    dim = len(scales)
    corr = correlation * np.ones((dim, dim)) + (1 - correlation) * np.eye(dim)
    precision = np.linalg.inv(corr) / np.outer(scales, scales)
    mean = shift * scales * (-1.0) ** np.arange(dim)
    return lambda u: -0.5 * np.sum(((u - mean) @ precision) * (u - mean), axis=1), mean, precision


@pytest.mark.parametrize("dim", [1, 2, 5, 40])
@pytest.mark.parametrize("exponent", [-6, 0, 6])
@pytest.mark.parametrize("shift", [0.0, 100.0])
def test_exact_for_gaussians_on_any_scale(dim: int, exponent: int, shift: float) -> None:
    scales = 10.0 ** np.linspace(0, exponent, dim) if dim > 1 else np.array([10.0**exponent])
    log_density, mean, precision = gaussian(scales, 0.9, shift)
    state = run(Target(log_density, dim), 1, 4000)
    assert state.status is Status.CONVERGED
    assert worst(state, mean, -0.5 * np.log(np.diag(precision))) < 0.01
    correlation = state.surrogate_covariance / np.outer(scales, scales)
    np.testing.assert_allclose(correlation, 0.9 + 0.1 * np.eye(dim), atol=0.03)


# --- honesty ------------------------------------------------------------------------------------------------


def test_the_error_it_states_is_the_error_it_makes() -> None:
    """Root mean square of error over stated error; 10 fits of 10 figures, about 40 independent ones.

    Outside of [0.6, 1.5] with probability below 1e-3 if the true ratio is one; the seeds are fixed.
    """

    def skewed(u: Array) -> Array:  # independent, with optimum m = -s^2 / 2 and s^2 = 1 / 20
        return np.sum(20 * (u - np.exp(u)), axis=1)

    ratios = []
    for seed in range(10):
        state = run(Target(skewed, 5, noise_sd=0.5), seed, 10_000)
        assert state.status is Status.CONVERGED
        sd = np.sqrt(1 / 20)
        ratios.append((state.mean + sd**2 / 2) / state.mean_se)
        ratios.append((state.log_sd - np.log(sd)) / state.log_sd_se)
    assert 0.6 < np.sqrt(np.mean(np.square(ratios))) < 1.5


def test_a_tighter_tolerance_costs_more_and_is_kept() -> None:
    used = []
    for tolerance in (0.1, 0.03):
        target = Target(logistic, 3, noise_sd=1.0)
        state = run(target, 0, 20_000, tolerance)
        assert state.status is Status.CONVERGED
        assert max(np.max(state.mean_se / np.exp(state.log_sd)), np.max(state.log_sd_se)) <= tolerance
        used.append(target.evaluations)
    assert used[1] > 3 * used[0]


# --- hard values --------------------------------------------------------------------------------------------


def test_noise_is_detected_and_averaged() -> None:
    state = run(Target(eight_schools, 10, noise_sd=1.0), 3, 8000, tolerance=0.1)
    assert 0.3 < state.noise_sd < 3
    # The worst of 20 figures, each with a standard error of at most 0.1.
    assert worst(state, *optimum("eight schools")) < 0.35
    assert run(Target(logistic, 3), 0, 500).noise_sd == 0


def test_steps_in_the_log_density() -> None:
    state = run(Target(lambda u: np.round(logistic(u)), 3), 0, 4000)
    assert state.status is Status.CONVERGED
    assert worst(state, *optimum("logistic")) < 0.2


def test_minus_infinity_at_the_start_and_at_some_draws() -> None:
    def half_space(u: Array) -> Array:
        return np.where(u[:, 0] < 0.2, -np.inf, -0.5 * np.sum((u - 5) ** 2, axis=1))

    for seed in range(3):
        state = run(Target(half_space, 2), seed, 2000)
        assert state.status is Status.CONVERGED
        assert worst(state, np.full(2, 5.0), np.zeros(2)) < 0.1

    def truncated(u: Array) -> Array:
        return np.where(u[:, 0] < -2, -np.inf, -0.5 * np.sum(u**2, axis=1))

    state = run(Target(truncated, 2), 0, 2000)
    assert worst(state, np.zeros(2), np.zeros(2)) < 0.5


def test_never_finite_diverges_with_a_sentence() -> None:
    state = run(Target(lambda u: np.full(len(u), -np.inf), 2), 0, 1000)
    assert state.status is Status.DIVERGED
    assert "not finite" in state.message


def test_an_improper_posterior_diverges() -> None:
    state = run(Target(lambda u: -0.5 * u[:, 0] ** 2, 2), 0, 20_000)
    assert state.status is Status.DIVERGED
    assert "latent 1" in state.message


def test_differences_of_many_latents_hold_few_numbers() -> None:
    """Two points a latent were 2 D^2 numbers, and as many again in what was made of them."""
    dim = 3000
    axes = Axes(np.zeros(dim), np.zeros(dim), 0.0, np.zeros(dim), np.ones(dim))
    tracemalloc.start()
    try:
        measured = measure(Target(lambda u: u.sum(axis=1), dim), axes, np.arange(dim), 1.0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Four blocks in the target, and what it makes of them.
    assert peak < 6 * 8 * BLOCK < 0.8 * 4 * 8 * dim**2
    np.testing.assert_array_equal(measured.slope, 1.0)
    np.testing.assert_array_equal(measured.curvature, 0.0)


# --- contract -----------------------------------------------------------------------------------------------


def test_step_is_pure_and_reproducible() -> None:
    solver = NaturalGradient()
    states = []
    for _ in range(2):
        target, rng = Target(logistic, 3), np.random.default_rng(5)
        state = solver.init(target, np.zeros(3), np.zeros(3), rng, 1e-6)
        history = [state]
        for _ in range(14):
            before = dataclasses.replace(
                state,
                **{k: v.copy() for k, v in vars(state).items() if isinstance(v, np.ndarray)},
            )
            after = solver.step(target, state, rng, 1e-6)
            for name, value in vars(before).items():
                np.testing.assert_array_equal(getattr(state, name), value)
            state = after
            history.append(state)
        states.append(history[-1])
    for name, value in vars(states[0]).items():
        np.testing.assert_array_equal(getattr(states[1], name), value)
        assert value is None or isinstance(value, (np.ndarray, float, int, bool, str)), name


def test_a_step_is_bounded_work() -> None:
    log_density, _, _ = gaussian(np.ones(100), 0.5, 1.0)
    target, rng, solver = Target(log_density, 100), np.random.default_rng(0), NaturalGradient()
    state = solver.init(target, np.zeros(100), np.zeros(100), rng, 0.05)
    while state.status is None:
        before = target.evaluations
        state = solver.step(target, state, rng, 0.05)
        assert target.evaluations - before <= 2400
    assert state.status is Status.CONVERGED


def test_the_start_is_not_modified() -> None:
    start, log_sd = np.zeros(3), np.zeros(3)
    solver, rng, target = NaturalGradient(), np.random.default_rng(0), Target(logistic, 3)
    state = solver.init(target, start, log_sd, rng, 0.05)
    solver.step(target, state, rng, 0.05)
    assert not start.any() and not log_sd.any()


def test_options_are_checked() -> None:
    with pytest.raises(ValueError, match="max_batch"):
        NaturalGradient(max_batch=1)


# --- the regression -----------------------------------------------------------------------------------------


def test_regression_recovers_the_hessian_of_the_elbo() -> None:
    """A polynomial of degree four, f = u0^2 u1 - u1^4 / 12 + u0 u1 / 2 - u0^2 - u1^2: no error is left."""
    u = antithetic_draws(200, 2, np.random.default_rng(0))
    x, y = u.T
    found = regress(u, x**2 * y - y**4 / 12 + x * y / 2 - x**2 - y**2, np.ones(400), np.zeros((2, 2)))
    assert found.residual_sd < 1e-6
    np.testing.assert_allclose(found.expected_value, -2.25, atol=1e-6)
    # E[f'] = (0, 1); s^2 E[f''] + 1 = (-1, -3 + 1)
    np.testing.assert_allclose(found.gradient, [0, 1, -1, -2], atol=1e-6)
    np.testing.assert_allclose(found.precision, [[2, -0.5], [-0.5, 3]], atol=1e-6)
    # (m1, r0): E[f_001] = 2; (r1, r1): E[f_1111] + 2 E[f_11] = -2 - 6
    expected = [[2, -0.5, 0, 0], [-0.5, 3, -2, 0], [0, -2, 4, 0], [0, 0, 0, 8]]
    np.testing.assert_allclose(found.hessian, expected, atol=1e-6)


def test_weights_make_draws_of_other_gaussians_count_as_own() -> None:
    """E[u^2] and E[u] under N(0.3, 0.8^2) from draws of two others; false alarm below 1e-4, seed fixed."""
    rng = np.random.default_rng(0)
    archive = Archive(
        np.empty((0, 1)),
        np.empty(0),
        np.empty(0, dtype=int),
        np.empty((0, 1)),
        np.empty((0, 1)),
        np.zeros((1, 1)),
    )
    for mean, log_sd in ((np.zeros(1), np.zeros(1)), (np.ones(1), np.full(1, -0.3))):
        points = mean + np.exp(log_sd) * antithetic_draws(2000, 1, rng)
        archive = archive.extended(mean, log_sd, points, np.abs(points[:, 0]))
    here = fitted(archive, np.array([0.3]), np.log([0.8]))
    _, weights = archive.weights(np.array([0.3]), np.log([0.8]))
    average = np.average(archive.points[:, 0], weights=weights)
    assert abs(average - 0.3) < 0.06
    # E|z| for z ~ N(m, s^2): s sqrt(2 / pi) exp(-m^2 / 2 s^2) + m (1 - 2 Phi(-m / s))
    assert abs(here.regression.expected_value - 0.682) < 4 * here.regression.expected_value_se + 1e-3


def test_antithetic_draws_are_standard_normal() -> None:
    u = antithetic_draws(30_000, 3, np.random.default_rng(0))
    np.testing.assert_array_equal(u[0::2], -u[1::2])
    # Standard errors: 0.008 for the squares, 0.006 for the products, 0.06 for the fourth powers; six of them.
    np.testing.assert_allclose(u.T @ u / len(u), np.eye(3), atol=0.05)
    np.testing.assert_allclose(np.mean(u**4, axis=0), 3, atol=0.36)


def test_a_quadratic_ends_where_rounding_begins():
    """Nearly collinear predictors: the regression knows a quadratic without error, and no step is below that."""
    rng = np.random.default_rng(21)
    x = rng.normal(size=400)
    predictors = np.c_[np.ones(400), 50 + x, 50 + x + 0.02 * rng.normal(size=400)]
    y = predictors @ [1, 1, -1] + rng.normal(size=400)
    precision = predictors.T @ predictors + np.eye(3) / 100
    exact = np.linalg.solve(precision, predictors.T @ y)

    def log_joint(z):
        return -0.5 * anp.sum((y - anp.dot(predictors, z.b)) ** 2) - 0.005 * anp.sum(z.b**2)

    fit = bbvi.fit(log_joint, {"b": 3}, estimator="score", solver=bbvi.NaturalGradient(), seed=1)
    assert fit.status == "budget" and "too strongly correlated" in fit.message and fit.evaluations < 60_000
    off = np.max(np.abs(fit.summary()["mean"] - exact) / np.sqrt(np.diag(np.linalg.inv(precision))))
    assert fit.verdict != "reliable" or off < 0.1
