"""What recordings leave out changes no value: nothing that differs is taken for the same."""

from __future__ import annotations

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import elementwise_grad, grad

import bbvi
from bbvi.batching.derivatives import record_derivative
from bbvi.batching.replay import Recording
from bbvi.stats import norm
from bbvi.target.target import Target

ONES = np.ones(4)


def recorded(function, size=4):
    draw = {"u": np.linspace(0.3, 1.2, size)}
    return Recording(lambda d: function(d["u"]), draw)


def operations(recording):
    return [entry.operation.fun for entry in recording._first]


@pytest.mark.parametrize(
    ("function", "kept"),
    [
        (lambda u: anp.exp(u * ONES), 1),
        (lambda u: anp.exp(1.0 * u), 1),
        (lambda u: anp.exp(anp.reshape(u, (4,))), 1),
        (lambda u: anp.exp(anp.sum(u[0])), 2),
        (lambda u: anp.exp(u) + anp.sin(anp.exp(u)), 3),
        (lambda u: anp.sum(u * anp.exp(u)), 2),
        (lambda u: anp.sum(anp.exp(u) * np.arange(4.0)), 2),
        # Other numbers, other shapes, other constants, other axes: nothing of these is the same.
        (lambda u: anp.exp(u * 2.0), 2),
        (lambda u: anp.exp(u[0] * ONES), 3),
        (lambda u: anp.exp(anp.reshape(u, (2, 2))), 2),
        (lambda u: (u + 1.0) * (u + 2.0), 3),
        (lambda u: anp.sum(anp.outer(u, u), axis=0) * anp.sum(anp.outer(u, u), axis=1), 4),
        (lambda u: u[0:2] * u[1:3], 3),
        (lambda u: (lambda p: anp.sum(p) + p)(u * anp.exp(u)), 4),
        (lambda u: (u - np.arange(4.0)) * (u - np.arange(1.0, 5.0)), 3),
    ],
)
def test_what_is_left_out_and_what_is_not(function, kept):
    recording = recorded(function)
    assert len(operations(recording)) == kept
    draws = np.random.default_rng(0).normal(size=(7, 4))
    np.testing.assert_allclose(recording({"u": draws}), [function(u) for u in draws], rtol=1e-14)


def test_a_mask_times_ones_is_a_number():
    recording = recorded(lambda u: (u > 0.5) * ONES)
    out = recording({"u": np.array([[0.0, 1.0, 2.0, 0.4]])})
    assert out.dtype == float
    np.testing.assert_array_equal(out, [[0.0, 1.0, 1.0, 0.0]])


def test_what_comes_out_is_not_what_went_in():
    draws = np.ones((3, 4))
    for function in (lambda u: u * ONES, lambda u: anp.reshape(u, (4,)), lambda u: u * 1.0):
        assert recorded(function)({"u": draws}) is not draws


def test_large_constants_are_the_same_only_where_they_are_one_array():
    x = np.arange(40.0)
    y = x.copy()
    y[-1] = 7.0
    recording = recorded(lambda u: (u + x) * (u + y), 40)
    draws = np.random.default_rng(1).normal(size=(3, 40))
    np.testing.assert_array_equal(recording({"u": draws}), (draws + x) * (draws + y))


def hierarchy(u):
    """Shares a normal's partial derivatives among data, means and scales."""
    y = np.linspace(-1, 2, 6)
    effects, mean, log_scale = u[:3], u[3], u[4]
    prior = anp.sum(norm.logpdf(effects, mean, anp.exp(log_scale))) + norm.logpdf(mean, 0, 2) + norm.logpdf(log_scale)
    return prior + anp.sum(norm.logpdf(y, effects[np.arange(6) % 3], anp.exp(0.5 * log_scale)))


def test_derivatives_of_densities_that_share_are_those_of_autograd():
    draws = np.random.default_rng(2).normal(size=(5, 5))
    v = np.random.default_rng(3).normal(size=(5, 5))
    first = record_derivative("gradient", hierarchy, draws[0], None)
    np.testing.assert_allclose(first({"u": draws})["gradient"], [grad(hierarchy)(u) for u in draws], rtol=1e-12)
    second = record_derivative("curvature", hierarchy, draws[0], None)
    product = [grad(lambda u, w=w: anp.sum(grad(hierarchy)(u) * w))(u) for u, w in zip(draws, v, strict=True)]
    np.testing.assert_allclose(second({"u": draws, "v": v})["product"], product, rtol=1e-11)
    # Traced through, where autograd's boxes come instead of plain arrays.
    traced = elementwise_grad(lambda u: Recording(lambda d: hierarchy(d["u"]), {"u": draws[0]})({"u": u}))(draws)
    np.testing.assert_allclose(traced, [grad(hierarchy)(u) for u in draws], rtol=1e-12)


def test_gradients_of_several_latents_are_laid_out_in_their_order():
    def log_joint(z):
        return -0.5 * anp.sum(z.a**2) - anp.sum((z.b - z.a[0]) ** 2) - 2.0 * z.c**2 + anp.sum(z.b[1:] * z.b[:-1])

    target = Target(bbvi.Model(log_joint, {"a": 3, "b": 4, "c": bbvi.Positive()}))
    u = np.random.default_rng(4).normal(size=(6, 8))
    a, b, c = u[:, :3], u[:, 3:7], np.exp(u[:, 7])
    expected = np.zeros_like(u)
    expected[:, :3] = -a
    expected[:, 0] += 2 * np.sum(b - a[:, :1], axis=1)
    expected[:, 3:7] = -2 * (b - a[:, :1])
    expected[:, 4:7] += b[:, :-1]
    expected[:, 3:6] += b[:, 1:]
    expected[:, 7] = -4 * c**2 + 1
    np.testing.assert_allclose(target.gradients(u)[1], expected, rtol=1e-12)


def test_gradients_alone_are_those_with_values():
    target = Target(bbvi.Model(lambda z: hierarchy(z), 5))
    u = np.random.default_rng(5).normal(size=(9, 5))
    _, gradients = target.gradients(u)
    evaluations, gradient_evaluations = target.evaluations, target.gradient_evaluations
    np.testing.assert_array_equal(target.slopes(u), gradients)
    assert target.evaluations - evaluations == 9
    assert target.gradient_evaluations - gradient_evaluations == 9
    assert len(target._recordings["slopes"]._first) < len(target._recordings["gradient"]._first)


def test_gradients_alone_of_a_user_s_own_and_beyond_the_support():
    given = Target(bbvi.Model(lambda z: -0.5 * np.sum(z**2), 2, gradient=lambda z: (-0.5 * np.sum(z**2), -z)))
    u = np.random.default_rng(6).normal(size=(3, 2))
    np.testing.assert_allclose(given.slopes(u), -u)
    edged = Target(bbvi.Model(lambda z: anp.log(z[0]) - z[0], 1))
    edged.gradients(np.ones((2, 1)))
    assert not np.isfinite(edged.slopes(np.array([[0.0]]))).all()
