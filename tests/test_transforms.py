"""Transforms: round trips, log-Jacobians against determinants, derivatives, boundaries, messages."""

import math

import autograd.numpy as np
import pytest
from autograd import grad, jacobian
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from bbvi.model import transforms

INF = np.inf
TRANSFORMS = {
    "real scalar": transforms.Real(()),
    "real matrix": transforms.Real((2, 3)),
    "positive scalar": transforms.Positive(()),
    "positive matrix": transforms.Positive((2, 2)),
    "bounded scalar": transforms.interval((), -1.0, 3.0),
    "bounded array": transforms.interval((3,), -1.0, [2.0, 3.0, 4.0]),
    "above": transforms.interval((2,), 2.0, INF),
    "below": transforms.interval((), -INF, 2.0),
    "mixed": transforms.interval((2, 3), [-INF, 0.0, -1.0], [[1.0], [INF]]),
    "simplex 2": transforms.Simplex((2,)),
    "simplex batch": transforms.Simplex((2, 4)),
    "ordered 1": transforms.Ordered((1,)),
    "ordered": transforms.Ordered((4,)),
    "ordered batch": transforms.Ordered((2, 3)),
    "cholesky 2": transforms.CholeskyCorrelation((2, 2)),
    "cholesky batch": transforms.CholeskyCorrelation((2, 4, 4)),
    "cholesky 10": transforms.CholeskyCorrelation((10, 10)),
}
each_transform = pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)


def points(transform, *lead, seed=0):
    return np.random.default_rng(seed).normal(size=(*lead, transform.size))


def free_part(transform, x):
    """The coordinates of x that the log-Jacobian refers to, flat."""
    if isinstance(transform, transforms.Simplex):
        x = x[..., :-1]
    if isinstance(transform, transforms.CholeskyCorrelation):
        rows, columns = np.tril_indices(transform.shape[-1], -1)
        x = x[..., rows, columns]
    return np.reshape(x, (-1,))


@each_transform
@pytest.mark.parametrize("lead", [(), (5,), (2, 3)])
def test_round_trip_and_shapes(transform, lead):
    u = points(transform, *lead)
    x, log_jacobian = transform.constrain(u)
    assert np.shape(x) == lead + transform.shape
    assert np.shape(log_jacobian) == lead or log_jacobian == 0.0
    assert math.prod(transform.unconstrained_shape) == transform.size
    assert_allclose(transform.unconstrain(x), u, rtol=1e-9, atol=1e-9)


@each_transform
def test_log_jacobian_is_the_log_determinant(transform):
    for u in points(transform, 3):
        matrix = jacobian(lambda v: free_part(transform, transform.constrain(v)[0]))(u)
        expected = np.linalg.slogdet(matrix)[1]
        assert_allclose(transform.constrain(u)[1], expected, rtol=1e-10, atol=1e-10)


@each_transform
def test_batch_equals_loop(transform):
    u = points(transform, 4)
    x, log_jacobian = transform.constrain(u)
    for row, x_row, expected in zip(u, x, np.broadcast_to(log_jacobian, 4), strict=True):
        assert_allclose(transform.constrain(row)[0], x_row, rtol=1e-14)
        assert_allclose(transform.constrain(row)[1], expected, rtol=1e-14)


@each_transform
def test_first_and_second_derivatives(transform, rng):
    """Against central differences along a random direction, which need no global random state."""
    weights = rng.normal(size=(2, *transform.shape))
    u, direction, other = (rng.normal(size=(2, transform.size)) for _ in range(3))
    step = 1e-5

    def scalar(v):
        x, log_jacobian = transform.constrain(v)
        return np.sum(weights * x) + np.sum(np.sin(log_jacobian)) + np.sum(v**2)

    def slope(v):
        return np.sum(grad(scalar)(v) * other)

    for function in (scalar, slope):
        numerical = (function(u + step * direction) - function(u - step * direction)) / (2 * step)
        assert_allclose(np.sum(grad(function)(u) * direction), numerical, rtol=1e-6, atol=1e-6)


@each_transform
@pytest.mark.parametrize("size", [40.0, 700.0, -700.0])
def test_far_out_is_finite_and_silent(transform, size):
    """Warnings are errors: neither values nor the first two derivatives of the log-Jacobian overflow."""
    u = np.full((2, transform.size), size)
    x, log_jacobian = transform.constrain(u)
    assert np.all(np.isfinite(x))
    assert np.all(np.isfinite(log_jacobian))

    def total(v):
        return np.sum(transform.constrain(v)[1]) + np.sum(transform.constrain(v)[0]) * 1e-300 + np.sum(v**2)

    assert np.all(np.isfinite(grad(total)(u)))
    assert np.all(np.isfinite(grad(lambda v: np.sum(grad(total)(v)))(u)))


@each_transform
def test_interior_is_the_image_of_the_origin(transform):
    assert transform.interior.shape == transform.shape
    assert_allclose(transform.unconstrain(transform.interior), 0.0, atol=1e-12)


@each_transform
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_support_and_round_trip_of_any_input(transform, data):
    coordinate = st.floats(-12, 12)
    u = np.array(data.draw(st.lists(coordinate, min_size=transform.size, max_size=transform.size)))
    x, _ = transform.constrain(u)
    again, _ = transform.constrain(transform.unconstrain(x))
    assert_allclose(again, x, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ["positive scalar", "bounded scalar", "below"])
def test_elementwise_transforms_increase(name):
    transform = TRANSFORMS[name]
    x, _ = transform.constrain(np.linspace(-5, 5, 50)[:, None])
    assert transform.elementwise
    assert np.all(np.diff(x) > 0)
    assert not transforms.Simplex((2,)).elementwise


def test_interval_chooses_the_simplest_transform():
    assert isinstance(transforms.interval((2,), -INF, INF), transforms.Real)
    assert isinstance(transforms.interval((2,), 0.0, INF), transforms.Positive)
    x, _ = TRANSFORMS["mixed"].constrain(points(TRANSFORMS["mixed"], 100))
    assert np.all(x[:, :, 1:] > [0.0, -1.0])
    assert np.all(x[:, 0] < 1.0)


def test_simplex_and_cholesky_satisfy_their_constraints():
    simplex, factor = TRANSFORMS["simplex batch"], TRANSFORMS["cholesky batch"]
    x = simplex.constrain(points(simplex, 50))[0]
    assert_allclose(np.sum(x, axis=-1), 1.0, rtol=1e-14)
    cholesky = factor.constrain(points(factor, 50))[0]
    correlation = cholesky @ np.swapaxes(cholesky, -1, -2)
    assert_allclose(np.diagonal(correlation, axis1=-2, axis2=-1), 1.0, rtol=1e-14)
    assert_array_equal(np.triu(cholesky, 1), 0.0)
    assert np.all(np.diagonal(cholesky, axis1=-2, axis2=-1) > 0)


def test_cholesky_follows_the_row_recursion():
    u = points(transforms.CholeskyCorrelation((4, 4)), seed=3)
    partial = np.zeros((4, 4))
    partial[np.tril_indices(4, -1)] = np.tanh(u)
    expected = np.eye(4)
    for i in range(1, 4):
        left = 1.0
        for j in range(i):
            expected[i, j] = partial[i, j] * math.sqrt(left)
            left -= expected[i, j] ** 2
        expected[i, i] = math.sqrt(left)
    assert_allclose(transforms.CholeskyCorrelation((4, 4)).constrain(u)[0], expected, rtol=1e-12)


# The volume of the support, integrated over the unconstrained space by the trapezoid rule.
@pytest.mark.parametrize(
    ("transform", "volume"),
    [
        (transforms.Simplex((2,)), 1.0),
        (transforms.Simplex((3,)), 0.5),
        (transforms.interval((), -1.0, 3.0), 4.0),
        (transforms.CholeskyCorrelation((2, 2)), 2.0),
    ],
    ids=["simplex 2", "simplex 3", "interval", "correlation"],
)
def test_jacobian_integrates_to_the_volume(transform, volume):
    axis, step = np.linspace(-60, 60, 481, retstep=True)
    grid = np.stack(np.meshgrid(*[axis] * transform.size), axis=-1).reshape(-1, transform.size)
    total = np.sum(np.exp(transform.constrain(grid)[1])) * step**transform.size
    assert_allclose(total, volume, rtol=1e-6)


def test_ordered_jacobian_preserves_a_density():
    """The density of two sorted standard normals, 2 phi(x_1) phi(x_2), integrates to one."""
    axis, step = np.linspace(-25, 8, 661, retstep=True)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    with np.errstate(over="ignore", under="ignore"):
        x, log_jacobian = transforms.Ordered((2,)).constrain(grid)
        total = np.sum(np.exp(log_jacobian - 0.5 * np.sum(x**2, axis=-1)) / math.pi) * step**2
    assert_allclose(total, 1.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("transform", "value", "message"),
    [
        (transforms.Real((2,)), [1.0, np.nan], "finite values, got nan"),
        (transforms.Real((2,)), [1.0, 2.0, 3.0], r"shape \(..., 2\), got \(3,\)"),
        (transforms.Positive(()), 0.0, "values > 0, got 0"),
        (transforms.Positive((2,)), [1.0, -2.0], "values > 0, got -2"),
        (transforms.Positive(()), INF, "finite values, got inf"),
        (transforms.interval((), 0.0, 1.0), 1.0, r"strictly between the bounds \(0, 1\), got 1"),
        (transforms.interval((), 2.0, INF), 2.0, r"lower or below the upper bound \(2\), got 2"),
        (transforms.interval((2,), [0.0, -INF], [1.0, INF]), [2.0, 0.0], "between the bounds"),
        (transforms.Simplex((2,)), [0.0, 1.0], "values > 0, got 0"),
        (transforms.Simplex((2,)), [0.5, 0.6], "sum to 1 along the last axis, got 1.1"),
        (transforms.Ordered((2,)), [1.0, 1.0], "increase along the last axis"),
        (transforms.CholeskyCorrelation((2, 2)), [[1.0, 0.1], [0.0, 1.0]], "lower triangular"),
        (transforms.CholeskyCorrelation((2, 2)), [[1.0, 0.0], [0.6, -0.8]], "a diagonal > 0, got -0.8"),
        (transforms.CholeskyCorrelation((2, 2)), [[1.0, 0.0], [0.6, 0.7]], "squares sum to 1, got 0.85"),
    ],
)
def test_values_outside_the_support_are_named(transform, value, message):
    with pytest.raises(ValueError, match=message):
        transform.unconstrain(value)


def test_inputs_are_not_modified():
    for transform in TRANSFORMS.values():
        u = points(transform, 2)
        before = u.copy()
        x = np.array(transform.constrain(u)[0])
        kept = x.copy()
        transform.unconstrain(x)
        assert_array_equal(u, before)
        assert_array_equal(x, kept)
