"""The warp that curvature shows: which latents steer, whether coordinates are straight, and what chains gain by it."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import bbvi
from bbvi.correction import chains
from bbvi.correction.chains import ChainPolicy, Density
from bbvi.correction.chains.conditional import Curvature, conditional, steering
from bbvi.correction.chains.metric import Metric, MetricPolicy
from bbvi.correction.chains.trajectories import Stand, trajectory
from bbvi.correction.chains.warp import Warp, WarpPolicy
from bbvi.stats import norm
from bbvi.target.target import Target

Slopes = Callable[[np.ndarray], np.ndarray]


def walk(dim: int, spread: float) -> tuple[Callable[[int, np.random.Generator], np.ndarray], Slopes]:
    """Draws and gradients of t ~ N(0, 1), x | t ~ N(m(t), Q(t)^-1), Q(t) = exp(-2 spread t) D'D + I."""
    differences = np.eye(dim) - np.eye(dim, k=-1)
    stiff = differences.T @ differences
    values, vectors = np.linalg.eigh(stiff)
    pull = np.sin(np.arange(dim))

    def precisions(t: np.ndarray) -> np.ndarray:
        return np.exp(-2.0 * spread * t)[:, None] * values + 1.0

    def draws(n: int, rng: np.random.Generator) -> np.ndarray:
        t = rng.standard_normal(n)
        x = rng.standard_normal((n, dim)) / np.sqrt(precisions(t)) @ vectors.T
        return np.column_stack([t, x + 3.0 * np.exp(-spread * t)[:, None] * pull])

    def slopes(u: np.ndarray) -> np.ndarray:
        t, scale = u[:, 0], np.exp(-spread * u[:, 0])
        z = (u[:, 1:] - 3.0 * scale[:, None] * pull) @ vectors
        of_z = -z * precisions(t)
        of_precision = -2.0 * spread * scale[:, None] ** 2 * values
        own = -t + 0.5 * np.sum(of_precision * (1.0 / precisions(t) - z**2), axis=1)
        own += np.sum(of_z @ vectors.T * 3.0 * spread * scale[:, None] * pull, axis=1)
        return np.column_stack([own, of_z @ vectors.T])

    return draws, slopes


def measured(x: np.ndarray, slopes: Slopes, seed: int = 0) -> tuple[Warp | None, Curvature]:
    rng, g = np.random.default_rng(seed), slopes(x)
    curvature = Curvature.at_draws(slopes, x, g, rng, MetricPolicy())
    assert curvature is not None
    return conditional(slopes, curvature, x, g, rng, WarpPolicy()), curvature


def fisher(stand: Stand, x: np.ndarray, g: np.ndarray) -> np.ndarray:
    """sd of each coordinate times that of its gradient: one for a standard normal, and more otherwise."""
    e, slope = stand.coordinates(x, g)
    return np.asarray(e.std(axis=0) * slope.std(axis=0))


def test_gradients_of_the_example_are_those_of_its_density():
    """Stein's identity over exact draws; the false-alarm rate at five errors of 31 sums is 2e-5."""
    draws, slopes = walk(30, 0.4)
    g = slopes(draws(20_000, np.random.default_rng(0)))
    assert np.all(np.abs(g.mean(axis=0)) < 5.0 * g.std(axis=0) / np.sqrt(len(g)))


@pytest.mark.parametrize("dim", [30, 120])
def test_a_scale_that_steers_a_walk_is_found_and_the_walk_straight(dim):
    draws, slopes = walk(dim, 0.4)
    x = draws(400, np.random.default_rng(1))
    warp, curvature = measured(x, slopes)
    assert warp is not None and warp.turn is not None and warp.measured
    assert warp.steering.tolist() == [0]
    # On draws that it was not fitted to: a standard normal, where no covariance makes one.
    fresh = draws(4000, np.random.default_rng(2))
    g = slopes(fresh)
    straight = fisher(Stand(fresh, g[:, 0], g, Metric.diagonal(np.ones(dim + 1)), 0.0, 0.0, 0.8, warp=warp), fresh, g)
    e = warp.coordinates(fresh)
    assert np.max(np.abs(e.std(axis=0) - 1.0)) < 0.25
    assert np.max(straight[1:]) < 1.25
    whitened = fresh @ curvature.base.inverse.T, g @ curvature.base.factor
    bent = whitened[0].std(axis=0) * whitened[1].std(axis=0)
    assert np.max(bent) > 2.0



def test_groups_that_meet_only_by_their_hubs_are_not_turned():
    """A non-centred hierarchy: its Hessian is an arrow, and coordinates stay the latents' own."""
    rng = np.random.default_rng(3)
    group = np.repeat(np.arange(80), 4)
    y = rng.poisson(np.exp(1.0 + 0.6 * rng.standard_normal(80))[group])

    def log_joint(z, y):
        eta = z.mu + bbvi.numpy.exp(z.log_tau) * z.e[group]
        terms = y * eta - bbvi.numpy.exp(eta)
        return norm.logpdf(z.mu) + norm.logpdf(z.log_tau) + bbvi.numpy.sum(norm.logpdf(z.e)) + bbvi.numpy.sum(terms)

    target = Target(bbvi.Model(log_joint, {"mu": bbvi.Real(), "log_tau": bbvi.Real(), "e": 80}, {"y": y}))
    x = np.column_stack([1.0 + 0.1 * rng.standard_normal(300), -0.5 + 0.1 * rng.standard_normal(300)])
    x = np.column_stack([x, 0.7 * rng.standard_normal((300, 80))])
    warp, curvature = measured(x, target.slopes)
    assert warp is not None and warp.turn is None
    assert sorted(warp.steering.tolist()) == [0, 1]


@pytest.mark.parametrize("dim", [20, 150])
def test_no_latent_of_a_gaussian_steers(dim):
    rng = np.random.default_rng(dim)
    factor = np.linalg.qr(rng.normal(size=(dim, dim)))[0] * np.exp(rng.normal(size=dim))
    precision = np.linalg.inv(factor @ factor.T)
    x = rng.normal(size=(300, dim)) @ factor.T
    assert measured(x, lambda u: -u @ precision)[0] is None


def test_a_latent_that_bends_one_other_steers_nothing():
    """x_1 has a scale that x_0 sets, of 60 latents that are otherwise normal and correlated."""
    dim = 60
    rng = np.random.default_rng(5)
    mix = 0.9 ** np.abs(np.subtract.outer(np.arange(dim), np.arange(dim)))
    precision = np.linalg.inv(mix)

    def slopes(u: np.ndarray) -> np.ndarray:
        rough = np.exp(-u[:, 0])
        g = -u @ precision
        g[:, 1] -= rough * u[:, 1]
        g[:, 0] += 0.5 * rough * u[:, 1] ** 2 - 0.5
        return g

    x = rng.multivariate_normal(np.zeros(dim), mix, 300)
    assert measured(x, slopes)[0] is None


def test_the_latents_that_steer_come_strongest_first():
    """Of x_j ~ N(0, exp(a t_0 + b t_1)), by second differences alone: their strengths are a and b times root J."""
    rng, dim = np.random.default_rng(6), 102
    strengths = np.array([0.1, 0.3])

    def slopes(u: np.ndarray) -> np.ndarray:
        precision = np.exp(-2.0 * u[:, :2] @ strengths)[:, None]
        own = -u[:, :2] + strengths * np.sum(u[:, 2:] ** 2 * precision - 1.0, axis=1)[:, None]
        return np.column_stack([own, -u[:, 2:] * precision])

    t = rng.standard_normal((64, 2))
    x = np.column_stack([t, np.exp(t @ strengths)[:, None] * rng.standard_normal((64, dim - 2))])
    assert steering(slopes, x, np.eye(dim), rng, WarpPolicy()) == [1, 0]


def test_control_variates_of_turned_coordinates_have_mean_zero():
    """E[h] and E[(y - o) h + S] vanish for any warp with a turn; false alarms at five errors of 62 sums: 4e-5."""
    draws, slopes = walk(30, 0.4)
    warp, _ = measured(draws(400, np.random.default_rng(1)), slopes)
    assert warp is not None and warp.turn is not None
    u = draws(20_000, np.random.default_rng(7))
    g = slopes(u)
    stand = Stand(u, g[:, 0], g, Metric.diagonal(np.ones(31)), 0.0, 0.0, 0.8, warp=warp)
    y, h, variances = stand.controls()
    np.testing.assert_allclose(stand.of_frame(y), u, atol=1e-9)
    for total in (h, (y - 0.3) * h + variances):
        assert np.all(np.abs(total.mean(axis=0)) < 5.0 * total.std(axis=0) / np.sqrt(len(u)))
    # What they are for: sums that vary as the coordinates do, up to the sign.
    assert np.median([np.corrcoef(y[:, j], h[:, j])[0, 1] for j in range(1, 31)]) < -0.95


def test_coordinates_are_kept_from_one_trajectory_to_the_next():
    """What a trajectory leaves of coordinates and gradients in them is what is computed anew from the latents."""
    draws, slopes = walk(30, 0.4)
    warp, _ = measured(draws(400, np.random.default_rng(1)), slopes)
    assert warp is not None
    u = draws(32, np.random.default_rng(9))

    def gradients(at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros(len(at)), slopes(at)

    density = Density.of(gradients)
    stand = Stand(u, np.zeros(32), slopes(u), Metric.diagonal(np.ones(31)), -1.0, 0.5, 0.8, warp=warp)
    rng = np.random.default_rng(3)
    for _ in range(3):
        stand = trajectory(density, stand, rng, ChainPolicy(), rate=0.0).stand
    assert stand.known is not None
    for kept, anew in zip(stand.here, stand.coordinates(stand.u, stand.gradient), strict=True):
        np.testing.assert_allclose(kept, anew, atol=1e-7)
    # Another warp knows nothing of them.
    moved = replace(stand, warp=replace(warp, shift=warp.shift + 1.0))
    assert np.all(np.abs(moved.here[0] - stand.here[0]).max(axis=0) > 0.0)


def test_chains_of_a_walk_with_a_scale_are_exact():
    """Moments of a walk of 120 against 400,000 exact draws, to the errors that chains state."""
    draws, slopes = walk(120, 0.2)
    x = draws(400_000, np.random.default_rng(8))
    mean, sd = x.mean(axis=0), x.std(axis=0)

    def gradients(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        t, scale = u[:, 0], np.exp(-0.2 * u[:, 0])
        differences = np.eye(120) - np.eye(120, k=-1)
        values, vectors = np.linalg.eigh(differences.T @ differences)
        z = (u[:, 1:] - 3.0 * scale[:, None] * np.sin(np.arange(120))) @ vectors
        precision = scale[:, None] ** 2 * values + 1.0
        return -0.5 * t**2 + 0.5 * np.sum(np.log(precision) - precision * z**2, axis=1), slopes(u)

    starts = draws(16, np.random.default_rng(9))
    labels = [f"u[{j}]" for j in range(121)]
    metric = Metric.diagonal(sd)
    found = chains.run(Density.of(gradients), lambda u: (labels, u), starts, metric, np.random.default_rng(10))
    assert found is not None and not found.problems
    assert found.stand.warp is not None and found.stand.warp.turn is not None
    off = np.abs(found.mean - mean) / (found.mean_error * sd + 0.01 * sd)
    # Neighbours of a walk are off together.
    assert np.mean(off < 3.0) > 0.9 and off.max() < 6.0
    assert np.max(np.abs(found.sd / sd - 1.0)) < 0.08


def test_a_fit_in_turned_coordinates_is_stored_and_goes_on(tmp_path):
    rng = np.random.default_rng(11)
    y = np.cumsum(rng.normal(0, 0.3, 100)) + rng.normal(0, 0.5, 100)

    def log_joint(z, y):
        steps = bbvi.numpy.sum(norm.logpdf(z.x[1:], z.x[:-1], z.step)) + norm.logpdf(z.x[0])
        scales = -z.step - z.noise
        return scales + steps + bbvi.numpy.sum(norm.logpdf(y, z.x, z.noise))

    model = bbvi.Model(log_joint, {"step": bbvi.Positive(), "noise": bbvi.Positive(), "x": 100}, {"y": y})
    fit = bbvi.fit(model, seed=1)
    assert fit.kind == "chains"
    turn = fit.chains.stand.warp.turn
    assert turn is not None
    fit.save(tmp_path / "fit.npz")
    loaded = bbvi.load(tmp_path / "fit.npz")
    np.testing.assert_array_equal(loaded.chains.stand.warp.turn.basis.factor, turn.basis.factor)
    longer = fit.extend(8)
    assert longer.chains.draws.shape[1] == fit.chains.draws.shape[1] + 8
    np.testing.assert_allclose(longer.chains.as_drawn[:, :-8], fit.chains.as_drawn, atol=1e-10)
