"""The target: derivatives by any route agree, costs are counted per draw, and what is not finite is survived."""

from __future__ import annotations

import threading
import tracemalloc
from typing import Any

import autograd.numpy as anp
import numpy as np
import pytest

import bbvi
from bbvi import memory
from bbvi.fitting import arguments
from bbvi.stats import halfcauchy, norm
from bbvi.target.target import Target

Y = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
SIGMA = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])


def log_joint(z, y, sigma):
    theta = z.mu + z.tau * z.eta
    return (
        norm.logpdf(z.mu, 0, 5)
        + halfcauchy.logpdf(z.tau, 0, 5)
        + anp.sum(norm.logpdf(z.eta))
        + anp.sum(norm.logpdf(y, theta, sigma))
    )


def vectorized(z, y, sigma):
    theta = z.mu[:, None] + z.tau[:, None] * z.eta
    return (
        norm.logpdf(z.mu, 0, 5)
        + halfcauchy.logpdf(z.tau, 0, 5)
        + anp.sum(norm.logpdf(z.eta), axis=1)
        + anp.sum(norm.logpdf(y, theta, sigma), axis=1)
    )


def gradient(z, y, sigma):
    theta = z.mu + z.tau * z.eta
    slope = (y - theta) / sigma**2
    tau = float(z.tau)
    return log_joint(z, y, sigma), {
        "mu": -z.mu / 25 + np.sum(slope),
        "tau": -2 * tau / (25 + tau**2) + np.sum(slope * z.eta),
        "eta": -z.eta + slope * z.tau,
    }


LATENTS = {"mu": bbvi.Real(), "tau": bbvi.Positive(), "eta": 8}
DATA = {"y": Y, "sigma": SIGMA}


def model(function=log_joint, **kwargs):
    return bbvi.Model(function, LATENTS, DATA, **kwargs)


TARGETS = {
    "replayed": lambda: Target(model()),
    "looped": lambda: Target(model(), replay=False),
    "vectorized": lambda: Target(model(vectorized, vectorized=True)),
    "user's gradient": lambda: Target(model(gradient=gradient)),
}


@pytest.fixture
def u(rng):
    return 0.7 * rng.normal(size=(6, 10))


@pytest.mark.parametrize("name", TARGETS)
def test_every_route_gives_the_same_derivatives(name, u, rng):
    target, reference = TARGETS[name](), Target(model(), replay=False)
    v = rng.normal(size=u.shape)
    np.testing.assert_allclose(target.values(u), reference.values(u), rtol=1e-10)
    np.testing.assert_allclose(target.gradients(u)[1], reference.gradients(u)[1], rtol=1e-8, atol=1e-9)
    found, expected = target.linearize(u), reference.linearize(u)
    np.testing.assert_allclose(found.gradients, expected.gradients, rtol=1e-8, atol=1e-9)
    loose = 1e-5 if name == "user's gradient" else 1e-8
    np.testing.assert_allclose(found.hessian_product(v), expected.hessian_product(v), rtol=loose, atol=loose)


def test_derivatives_agree_with_finite_differences(u):
    target, step = Target(model()), 1e-5
    values, gradients = target.gradients(u)
    hessian_product = target.linearize(u).hessian_product
    for i in range(10):
        e = np.zeros_like(u)
        e[:, i] = step
        slope = (target.values(u + e) - target.values(u - e)) / (2 * step)
        np.testing.assert_allclose(gradients[:, i], slope, rtol=1e-6, atol=1e-6)
        bend = (target.gradients(u + e)[1] - target.gradients(u - e)[1]) / (2 * step)
        np.testing.assert_allclose(hessian_product(e / step), bend, rtol=1e-6, atol=1e-6)
    assert np.all(np.isfinite(values))


def test_chunks_change_nothing(u, monkeypatch):
    target = Target(model())
    whole = target.gradients(u)[1], target.linearize(u).hessian_product(u)
    monkeypatch.setattr("bbvi.target.evaluator._CHUNK_ELEMENTS", 20)
    np.testing.assert_allclose(target.gradients(u)[1], whole[0], rtol=1e-12)
    np.testing.assert_allclose(target.linearize(u).hessian_product(u), whole[1], rtol=1e-12)


def test_costs_are_counted_per_draw(u):
    target = Target(model(vectorized, vectorized=True))
    target.values(u)
    assert (target.evaluations, target.gradient_evaluations) == (6, 0)
    target.gradients(u)
    assert (target.evaluations, target.gradient_evaluations) == (12, 6)
    target.linearize(u).hessian_product(u)
    assert (target.evaluations, target.gradient_evaluations) == (18, 18)


def test_every_call_of_the_users_function_is_counted(u):
    calls = []

    def counted(z, y, sigma):
        calls.append(1)
        return float(np.sum(norm.logpdf(y, float(z.mu) + float(z.tau) * np.asarray(z.eta), sigma)))

    target = Target(model(counted))
    target.values(u)
    target.values(u[:2])
    assert target.evaluations == len(calls)


def test_values_outside_the_support_come_back_as_minus_infinity(u):
    target = Target(bbvi.Model(lambda z: anp.log(z.mu) - z.mu, {"mu": 1}))
    values = target.values(np.array([[-1.0], [1.0], [2.0]]))
    assert values[0] == -np.inf
    assert np.isfinite(values[1:]).all()
    assert target.nonfinite is not None
    assert target.nonfinite.times == 1
    assert "mu = [-1.]" in str(target.nonfinite)


def test_an_arithmetic_error_of_one_draw_is_not_that_of_the_others():
    def picky(z):
        if float(z.mu[0]) > 0:
            raise ZeroDivisionError
        return -0.5 * float(z.mu[0]) ** 2

    target = Target(bbvi.Model(picky, {"mu": 1}))
    np.testing.assert_array_equal(target.values(np.array([[1.0], [-1.0]])), [-np.inf, -0.5])


def test_a_matrix_that_cannot_be_factorised_spoils_its_own_draw_only():
    def covariance(z):
        chol = anp.linalg.cholesky(anp.array([[1.0, z.r], [z.r, 1.0]]))
        return -0.5 * z.r**2 + anp.log(chol[1, 1])

    target = Target(bbvi.Model(covariance, {"r": bbvi.Real()}))
    u = np.array([[0.2], [1.5], [-0.5]])
    values, gradients = target.gradients(u)
    assert np.isfinite(values[[0, 2]]).all()
    assert values[1] == -np.inf
    assert np.isfinite(gradients[[0, 2]]).all()


def test_users_arrays_are_left_alone(u):
    y = Y.copy()

    def scribbles(z, y):
        z.eta[...] = 0.0
        return -0.5 * float(z.mu) ** 2

    before = u.copy()
    target = Target(bbvi.Model(scribbles, {"mu": bbvi.Real(), "eta": 9}, {"y": y}))
    target.values(u)
    np.testing.assert_array_equal(u, before)
    np.testing.assert_array_equal(y, Y)


def test_a_function_that_changes_its_mind_is_found_out(u):
    state = {"sign": 1.0}
    target = Target(bbvi.Model(lambda z: -0.5 * anp.sum(z**2) * state["sign"], 10))
    target.values(u)
    assert target.recorded
    assert target.verify(u)
    state["sign"] = 2.0
    assert not target.verify(u)


def test_a_branch_on_values_is_evaluated_draw_by_draw(u):
    def bent(z):
        return -0.5 * anp.sum(z**2) if z[0] > 0 else -anp.sum(z**2)

    target = Target(bbvi.Model(bent, 10))
    expected = -np.where(u[:, 0] > 0, 0.5, 1.0) * np.sum(u**2, axis=1)
    np.testing.assert_allclose(target.values(u), expected)
    np.testing.assert_allclose(target.gradients(u)[1], np.where(u[:, :1] > 0, -1.0, -2.0) * u)
    assert not target.recorded


def test_terms_sum_to_the_density(u):
    target = Target(model())
    np.testing.assert_allclose(target.terms(u).sum(axis=1), target.values(u), rtol=1e-12)


def test_minibatches_are_unbiased(rng):
    y = rng.normal(size=200)
    full = bbvi.Model(
        None,
        {"mu": bbvi.Real()},
        {"y": y},
        log_prior=lambda z: norm.logpdf(z.mu),
        log_likelihood=lambda z, y: norm.logpdf(y, z.mu),
    )
    target = Target(full)
    u = np.array([[0.3], [-0.4]])
    draws = np.array([target.minibatch(20, rng).values(u) for _ in range(400)])
    # Four standard errors: a false alarm in 1 of 8,000 runs of each of two figures.
    error = draws.std(axis=0) / np.sqrt(len(draws))
    assert np.all(np.abs(draws.mean(axis=0) - target.values(u)) < 4 * error)
    assert np.all(draws.std(axis=0) > 0.1)


BATCH_DATA = {
    "y": np.random.default_rng(3).normal(0.5, 1.0, size=60),
    "X": np.random.default_rng(4).normal(size=(60, 2)),
    "group": np.random.default_rng(5).integers(0, 3, size=60),
    "count": np.random.default_rng(6).integers(0, 3, size=60),
}


def observed(likelihood):
    return bbvi.Model(
        log_prior=lambda z: norm.logpdf(z.mu) + anp.sum(norm.logpdf(z.b)),
        log_likelihood=likelihood,
        latents={"mu": bbvi.Real(), "b": 3},
        data=BATCH_DATA,
    )


def regression(z, y, X, group, count):
    return norm.logpdf(y, z.mu + z.b[group] + anp.dot(X, z.b[:2]), 1 + anp.sqrt(count))


def scaled_by_data(z, y, X, group, count):
    centred = (y - anp.mean(y)) / anp.std(y)
    return anp.where(centred > 0, norm.logpdf(y, z.mu), norm.logpdf(y, z.b[0] + X[:, 0] * z.b[1])) * (group + count)


def branching_on_data(z, y, X, group, count):
    return norm.logpdf(y, z.mu if y.sum() > 0.5 * len(y) else z.b[0]) + 0 * (group + count + X[:, 0])


def masked_by_data(z, y, X, group, count):
    return anp.concatenate([norm.logpdf(y[y > 0.5], z.mu), norm.logpdf(X[:, 0], z.b[0]) + 0.0 * (group + count)])


def masking_latents(z, y, X, group, count):
    predicted = z.mu + X[:, 0] * z.b[0]
    return norm.logpdf(anp.sum(predicted[y > 0.5]), 0, 1 + 0.0 * (group + count))


def repeating_latents(z, y, X, group, count):
    return norm.logpdf(anp.sum(anp.repeat(z.mu * X[:, 1], count)), z.b[0], 1 + 0.0 * (group + y))


def counting_values(z, y, X, group, count):
    return norm.logpdf(y + X[:, 0], z.mu + z.b[0], 1.0 + len(set(group + 0 * count)))


def indexing_in_a_tuple(z, y, X, group, count):
    return norm.logpdf(y + X[:, 0] + count, anp.stack([z.b, z.b**2])[1, group] + z.mu)


def masking_in_a_tuple(z, y, X, group, count):
    return norm.logpdf(anp.sum(anp.stack([z.mu * X[:, 0], y])[0, y > 0.5]), z.b[0], 1.0 + 0.0 * (group + count))


BATCHED = {
    regression: True,
    scaled_by_data: True,
    branching_on_data: False,
    masked_by_data: False,
    masking_latents: False,
    counting_values: False,
    indexing_in_a_tuple: True,
    masking_in_a_tuple: False,
}


@pytest.mark.parametrize("likelihood", BATCHED, ids=lambda function: function.__name__)
def test_minibatches_are_what_a_loop_makes_of_them(likelihood):
    """Also where data decide what is computed, or how much: such batches have recordings of their own."""
    target, u = Target(observed(likelihood)), np.random.default_rng(7).normal(size=(5, 4))
    one, other = np.random.default_rng(8), np.random.default_rng(8)
    looped = Target(observed(likelihood), replay=False)
    for size in (20, 20, 20, 7, 20, 20, 20):
        part, expected = target.minibatch(size, one), looped.minibatch(size, other)
        np.testing.assert_allclose(part.gradients(u)[0], expected.values(u), rtol=1e-9)
        np.testing.assert_allclose(part.gradients(u)[1], expected.gradients(u)[1], rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(part.values(u), expected.values(u), rtol=1e-9)
    assert (target._templates["gradient", 20] is not None) == BATCHED[likelihood]


def test_minibatches_that_repeat_latents_as_data_say():
    """Autograd has no gradient of it."""
    target, looped = Target(observed(repeating_latents)), Target(observed(repeating_latents), replay=False)
    one, other, u = np.random.default_rng(8), np.random.default_rng(8), np.ones((2, 4))
    for _ in range(4):
        part, expected = target.minibatch(20, one), looped.minibatch(20, other)
        np.testing.assert_allclose(part.values(u), expected.values(u), rtol=1e-9)
    assert target._templates["density", 20] is None


def test_a_likelihood_that_changes_its_mind_between_batches_is_found_out():
    """The recording made on the first batch is compared with the function on batches 2, 4, 8, ..."""
    state = {"scale": 1.0}

    def fickle(z, y, X, group, count):
        return norm.logpdf(y, z.mu, state["scale"]) + 0.0 * (X[:, 0] + group + count)

    target, rng = Target(observed(fickle)), np.random.default_rng(9)
    u = rng.normal(size=(2, 4))
    assert target.has_gradient
    for _ in range(5):
        target.minibatch(10, rng).values(u)
    assert target._templates["density", 10] is not None
    state["scale"] = 2.0
    for _ in range(3):
        part = target.minibatch(10, rng)
    found = part.values(u)
    assert target._templates["density", 10] is None
    np.testing.assert_allclose(found, [part._log_density_of_one(row) for row in u])


def test_evaluations_of_a_minibatch_count_for_the_whole():
    target, rng = Target(observed(regression)), np.random.default_rng(10)
    assert target.has_gradient
    for _ in range(2):
        target.minibatch(10, rng).gradients(np.zeros((3, 4)))
    before = target.evaluations, target.gradient_evaluations
    target.minibatch(10, rng).gradients(np.zeros((3, 4)))
    assert (target.evaluations, target.gradient_evaluations) == (before[0] + 3, before[1] + 3)


# ---- threads --------------------------------------------------------------------------------------------------------


def wide_model() -> bbvi.Model:
    """A row of data for each of 50,000 observations, so that a few draws are a chunk."""
    x = np.random.default_rng(0).normal(size=50_000)
    return bbvi.Model(
        lambda z, x: -0.5 * anp.sum((x - z.m) ** 2) * anp.exp(-z.s) - 50_000 * z.s / 2 + anp.sum(anp.sqrt(z.s - 3.0)),
        {"m": bbvi.Real(), "s": bbvi.Real()},
        {"x": x},
    )


@pytest.mark.filterwarnings("error")
def test_threads_change_nothing_and_warn_of_nothing():
    # Below 3 the square root is no number, for which NumPy would warn.
    u = np.random.default_rng(1).normal([0.0, 3.5], 0.5, size=(40, 2))
    one, several = Target(wide_model()), Target(wide_model(), threads=3)
    for _ in range(2):
        np.testing.assert_array_equal(one.values(u), several.values(u))
        for first, second in zip(one.gradients(u), several.gradients(u), strict=True):
            np.testing.assert_array_equal(first, second)
        products = [target.linearize(u).hessian_product(np.ones((40, 2))) for target in (one, several)]
        np.testing.assert_array_equal(*products)
    assert len(one._chunks(u)) > 3


def test_what_python_does_draw_by_draw_stays_on_one_thread():
    seen = set()

    def log_joint(z):
        seen.add(threading.get_ident())
        return -0.5 * float(z.x) ** 2

    target = Target(bbvi.Model(log_joint, {"x": bbvi.Real()}), threads=4)
    target.values(np.ones((100, 1)))
    assert seen == {threading.get_ident()}


@pytest.mark.parametrize(("threads", "error"), [(0, ValueError), (2.0, TypeError), (True, TypeError)])
def test_threads_are_a_number_of_one_or_more(threads, error):
    with pytest.raises(error, match="threads: expected"):
        bbvi.fit(wide_model(), threads=threads)


def test_hessian_products_that_find_no_room_are_computed_anew() -> None:
    """The same to the last digit, whatever is held."""
    x = np.random.default_rng(1).normal(size=(4000, 3))

    def log_joint(z: Any) -> Any:
        return anp.sum(norm.logpdf(anp.tanh(anp.dot(x, z)), 0.1, 0.5)) - anp.sum(z**4)

    u = np.random.default_rng(2).normal(size=(300, 3))
    wide, narrow = Target(bbvi.Model(log_joint, 3)), Target(bbvi.Model(log_joint, 3), max_memory=1e6)
    found, right = (target.linearize(u) for target in (narrow, wide))
    v = np.random.default_rng(3).normal(size=u.shape)
    for one, other in zip((*found[:2], found[2](v)), (*right[:2], right[2](v)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_is_held_keeps_to_the_memory() -> None:
    """By the allocations of Python and NumPy: within the limit, where everything held would take ten times as much."""
    x = np.random.default_rng(1).normal(size=(20_000, 3))

    def log_joint(z: Any) -> Any:
        return anp.sum(norm.logpdf(anp.tanh(anp.dot(x, z)), 0.1, 0.5)) - anp.sum(z**4)

    u, peaks = np.random.default_rng(2).normal(size=(200, 3)), {}
    for room in (float("inf"), 3e7):
        target = Target(bbvi.Model(log_joint, 3), max_memory=room)
        target.linearize(u[:2])[2](u[:2])
        tracemalloc.start()
        target.linearize(u)[2](u)
        peaks[room] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peaks[3e7] < 3e7 and peaks[float("inf")] > 10 * 3e7 / 3, peaks


@pytest.mark.parametrize(("given", "expected"), [(5e6, 5e6), ("2GB", 2e9), ("1.5 MB", 1.5e6), ("10kB", 1e4)])
def test_memory_is_bytes_or_text(given: Any, expected: float) -> None:
    assert arguments.as_memory(given) == expected


@pytest.mark.parametrize("given", [0, -1, "2 gigs", "x", "1.2.3GB", True, [1]])
def test_what_is_no_memory_is_refused(given: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="max_memory"):
        arguments.as_memory(given)
    with pytest.raises((TypeError, ValueError), match="max_memory"):
        bbvi.fit(lambda z: -(z[0] ** 2), 1, max_memory=given)


def test_free_memory_is_that_of_this_machine() -> None:
    assert 1e8 < memory.free() < 1e14 and arguments.as_memory(None) < memory.free()
