"""The warp that straightens funnels: its algebra, what it finds, and where it stays away."""

import numpy as np
import pytest

from bbvi.correction.chains.metric import Base
from bbvi.correction.chains.warp import KNOTS, Turn, Warp, found


def funnel(n: int, dim: int, slope: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draws and gradients of t ~ N(0, 1), x_j ~ N(0, exp(slope t))."""
    t = rng.normal(size=n)
    x = np.exp(slope * t)[:, None] * rng.normal(size=(n, dim - 1))
    precision = np.exp(-2.0 * slope * t)[:, None]
    own = -t - slope * (dim - 1) + slope * np.sum(x**2 * precision, axis=1)
    return np.column_stack([t, x]), np.column_stack([own, -x * precision])


def log_density(u: np.ndarray, slope: float) -> np.ndarray:
    t, x = u[:, 0], u[:, 1:]
    return -0.5 * t**2 - slope * x.shape[1] * t - 0.5 * np.sum(x**2, axis=1) * np.exp(-2.0 * slope * t)


def test_a_funnel_is_found_and_straightened():
    x, g = funnel(800, 20, 1.2, np.random.default_rng(0))
    warp = found(x, g)
    assert warp is not None
    assert warp.steering.tolist() == [0]
    e = warp.coordinates(x)
    # Of what was ten times as wide in the mouth as in the neck, the widths differ by the errors of 200 draws only.
    neck, mouth = x[:, 0] < np.quantile(x[:, 0], 0.25), x[:, 0] > np.quantile(x[:, 0], 0.75)
    assert np.all(x[mouth, 1:].std(axis=0) > 8 * x[neck, 1:].std(axis=0))
    ratio = e[mouth, 1:].std(axis=0) / e[neck, 1:].std(axis=0)
    assert np.all((ratio > 0.7) & (ratio < 1.4))


def test_coordinates_and_positions_are_inverses_of_each_other():
    x, g = funnel(400, 12, 0.8, np.random.default_rng(1))
    warp = found(x, g)
    assert warp is not None
    np.testing.assert_allclose(warp.position(warp.coordinates(x)), x, rtol=1e-12, atol=1e-12)


def turned(dim: int, steering: list[int], stretch: np.ndarray, rng: np.random.Generator) -> Turn:
    """Some turn that leaves the steering latents alone."""
    factor, others = np.eye(dim), np.setdiff1d(np.arange(dim), steering)
    factor[np.ix_(others, others)] = rng.normal(size=(len(others), len(others)))
    inside = np.where(np.isin(np.arange(dim), steering), 0.0, 0.3 * rng.normal(size=stretch.shape))
    return Turn(Base(factor, np.linalg.inv(factor)), inside)


@pytest.mark.parametrize("bends", [False, True])
@pytest.mark.parametrize("turn", [False, True])
@pytest.mark.parametrize("steering", [[0], [2, 0]])
def test_gradients_are_those_of_the_density_in_the_coordinates(steering, turn, bends):
    rng = np.random.default_rng(2)
    x, g = funnel(6, 5, 0.9, rng)
    count = 2 * len(steering) + 1
    more = (1 + len(KNOTS)) * len(steering) + 1 if bends else count
    shift, stretch = 0.3 * rng.normal(size=(more, 5)), 0.3 * rng.normal(size=(count, 5))
    centre, scale = rng.normal(size=len(steering)), np.exp(0.2 * rng.normal(size=len(steering)))
    shift[:, steering] = stretch[:, steering] = 0.0
    shift[0, steering], stretch[0, steering] = centre, np.log(scale)
    warp = Warp(np.array(steering), shift, stretch, turned(5, steering, stretch, rng) if turn else None)
    e = warp.coordinates(x)
    np.testing.assert_allclose(warp.position(e), x, rtol=1e-10)

    def density(at):
        return log_density(warp.position(at), 0.9) + warp.log_jacobian(at)

    pulled = warp.at(e)[1](g)
    for j in range(5):
        step = np.zeros(5)
        step[j] = 1e-5
        np.testing.assert_allclose(pulled[:, j], (density(e + step) - density(e - step)) / 2e-5, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("narrowest", "single"), [(1.0, True), (1e-2, True), (1e-6, False)])
def test_products_are_in_single_precision_where_no_direction_is_too_narrow_for_it(narrowest, single):
    """Seven digits of positions are many of sds, unless one direction is a millionth of the others."""
    rng = np.random.default_rng(6)
    axes = np.linalg.qr(rng.normal(size=(300, 300)))[0]
    sds = np.geomspace(narrowest, 1.0, 300)
    base = Base(axes * sds, (axes / sds).T)
    assert (base.quick.dtype == np.float32) == single
    e = rng.normal(size=(50, 300))
    assert np.max(np.abs(base.outward(e) @ base.inverse.T - e)) < 1e-3
    np.testing.assert_allclose(base.inward(e), e @ base.factor, atol=1e-4)
    assert base.outward(e).dtype == base.inward(e).dtype == float


def test_the_jacobian_is_that_of_the_positions():
    x, g = funnel(300, 4, 0.9, np.random.default_rng(3))
    warp = found(x, g)
    assert warp is not None
    e = warp.coordinates(x[:5])
    jacobians = []
    for row in e:
        steps = 1e-6 * np.eye(4)
        columns = (warp.position(row + steps) - warp.position(row - steps)) / 2e-6
        jacobians.append(np.linalg.slogdet(columns)[1])
    np.testing.assert_allclose(np.diff(warp.log_jacobian(e)), np.diff(jacobians), atol=1e-6)


@pytest.mark.parametrize("dim", [5, 50, 300])
def test_independent_and_correlated_normals_have_no_steering_latents(dim):
    rng = np.random.default_rng(dim)
    factor = np.linalg.qr(rng.normal(size=(dim, dim)))[0] * np.exp(rng.normal(size=dim))
    x = rng.normal(size=(500, dim)) @ factor.T
    g = -np.linalg.solve(factor @ factor.T, x.T).T
    assert found(x, g) is None
