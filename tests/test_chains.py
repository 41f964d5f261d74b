"""Many short chains: right where they say so, on targets with known answers, and never believed where wrong."""

from __future__ import annotations

import autograd.numpy as anp
import numpy as np
import pytest
from scipy import integrate, special

import bbvi
from bbvi.correction import chains
from bbvi.correction.chains import ChainPolicy, Density, history, rhat
from bbvi.correction.chains.agreement import _heavy
from bbvi.correction.chains.controls import Controls
from bbvi.correction.chains.metric import Metric, fitted
from bbvi.stats import halfnorm, norm, poisson


def gaussian(mean, covariance):
    """Log density and gradient of a Gaussian, batched."""
    precision = np.linalg.inv(covariance)

    def gradients(u):
        g = -(u - mean) @ precision
        return 0.5 * np.sum((u - mean) * g, axis=1), g

    return gradients


def correlated(dim, seed=0):
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    return rng.normal(size=dim), (axes * np.exp(np.linspace(-3, 3, dim))) @ axes.T


def plain(u):
    return [f"u[{i}]" for i in range(u.shape[1])], u


def ran(gradients, dim, seed=1, starts=None, sd=None, **options):
    rng = np.random.default_rng(seed)
    starts = rng.standard_normal((16, dim)) if starts is None else starts
    metric = Metric.diagonal(np.ones(dim) if sd is None else sd)
    found = chains.run(Density.of(gradients), plain, starts, metric, rng, **options)
    assert found is not None
    return found


@pytest.mark.parametrize("dim", [1, 5, 40, 120])
def test_gaussians_are_right_within_the_stated_errors(dim):
    """Means and sds within five of the worst stated errors: false alarms below 1e-4 for all of them together."""
    mean, covariance = correlated(dim)
    sd = np.sqrt(np.diag(covariance))
    found = ran(gaussian(mean, covariance), dim)
    assert found.problems == ()
    flat = found.draws.reshape(-1, dim)
    assert np.max(np.abs(flat.mean(axis=0) - mean) / sd) < 5 * found.mean_error.max() < 0.2
    assert np.max(np.abs(flat.std(axis=0) / sd - 1)) < 5 * found.sd_error.max() < 0.2


def log_gammas(u):
    """Log density and gradient of independent logarithms of gamma variables of shapes 1.5 to 6, skewed to the left."""
    shapes = np.linspace(1.5, 6.0, u.shape[1])
    return np.sum(shapes * u - np.exp(u), axis=1), shapes - np.exp(u)


def test_errors_are_what_they_say():
    """Over 40 runs the errors of ten means and sds have the size that is stated, to a third: eight standard errors."""
    shapes = np.linspace(1.5, 6.0, 10)
    mean, sd = special.digamma(shapes), np.sqrt(special.polygamma(1, shapes))
    off, raw = [], []
    for seed in range(40):
        found = ran(log_gammas, 10, seed, policy=ChainPolicy(windows=(4, 4), more_windows=0))
        flat, drawn = (x.reshape(-1, 10) for x in (found.draws, found.as_drawn))
        off.append(np.stack([(flat.mean(axis=0) - mean) / sd / found.mean_error,
                             (flat.std(axis=0) / sd - 1) / found.sd_error]))  # fmt: skip
        raw.append(np.stack([flat.mean(axis=0) - mean, drawn.mean(axis=0) - mean]) / sd)
    size = np.sqrt(np.mean(np.square(off), axis=(0, 2)))
    assert np.all((size > 0.67) & (size < 1.4)), size
    adjusted, drawn = np.sqrt(np.mean(np.square(raw), axis=(0, 2)))
    assert adjusted < 0.6 * drawn


def test_draws_of_a_gaussian_are_moved_to_its_moments():
    """Its controls vary as its draws do: a few draws of each chain have its means and, far tails aside, its sds."""
    mean, covariance = correlated(8)
    found = ran(gaussian(mean, covariance), 8)
    sd, flat = np.sqrt(np.diag(covariance)), found.draws.reshape(-1, 8)
    assert found.draws.shape[1] == ChainPolicy().fewest
    assert np.max(np.abs(flat.mean(axis=0) - mean) / sd) < 0.01
    assert np.max(np.abs(flat.std(axis=0) / sd - 1)) < 0.02


def test_where_the_density_jumps_draws_stay_as_they_are():
    """Stein's identity does not hold there, which its sums show; the half normal has no gradient at its end."""

    def gradients(u):
        inside = (u >= 0).all(axis=1)
        return np.where(inside, -0.5 * np.sum(u**2, axis=1), -np.inf), -u

    found = ran(gradients, 3, starts=np.abs(np.random.default_rng(0).standard_normal((16, 3))) + 0.1)
    np.testing.assert_allclose(found.draws, found.as_drawn, atol=1e-12)
    assert np.max(np.abs(found.draws.mean(axis=(0, 1)) - np.sqrt(2 / np.pi))) < 0.12


def test_a_latent_that_does_not_move_is_neither_stretched_nor_lost():
    rng = np.random.default_rng(0)
    controls = Controls.begun(np.ones((64, 2)), np.ones(2))
    rows = [np.column_stack([np.ones(64), rng.standard_normal(64)]) for _ in range(8)]
    for e in rows:
        controls.append(e, -e, np.ones(2))
    adjustment = controls.adjustment()
    np.testing.assert_allclose(adjustment(rows[0])[:, 0], 1.0)
    np.testing.assert_allclose(adjustment.undone(adjustment(rows[0])), rows[0], atol=1e-12)


def test_chains_from_one_start_count_as_fewer_while_they_are_alike():
    """64 chains that forgot nothing of their 16 starts have larger errors than if they were 64 draws."""
    rng = np.random.default_rng(0)
    apart = np.repeat(rng.standard_normal((16, 30)), 4, axis=0) + 1e-3 * rng.standard_normal((64, 30))
    free = rng.standard_normal((64, 30))
    assert np.median(rhat.standard_errors(free, 16)) == pytest.approx(1 / 8, rel=0.1)
    assert np.all(rhat.standard_errors(apart, 16) > 1.0)


def test_the_metric_of_draws_and_gradients_is_the_covariance():
    mean, covariance = correlated(30)
    rng = np.random.default_rng(1)
    x = rng.multivariate_normal(mean, covariance, 4000)
    metric = fitted(x, gaussian(mean, covariance)(x)[1])
    whitened = metric.whiten(rng.multivariate_normal(np.zeros(30), covariance, 20_000))
    eigenvalues = np.linalg.eigvalsh(np.cov(whitened.T))
    # Correlations are shrunk a little, and eigenvalues within 1.3 of one are left alone.
    assert 0.6 < eigenvalues.min() and eigenvalues.max() < 1.7
    e = rng.standard_normal((3, 30))
    np.testing.assert_allclose(metric.whiten(metric.to_position(e)), e, atol=1e-9)
    # F' acts on gradients as the adjoint of F on moves.
    moved, pulled = np.sum(metric.to_position(e) * x[:3], axis=1), np.sum(e * metric.to_whitened(x[:3]), axis=1)
    np.testing.assert_allclose(moved, pulled)


def test_two_modes_that_chains_cannot_leave_are_told():
    def gradients(u):
        left, right = -0.5 * np.sum((u + 6) ** 2, axis=1), -0.5 * np.sum((u - 6) ** 2, axis=1)
        share = 1 / (1 + np.exp(np.clip(right - left, -500, 500)))
        return np.logaddexp(left, right), -(u + 6) * share[:, None] - (u - 6) * (1 - share[:, None])

    starts = np.where(np.arange(16)[:, None] < 8, -6.0, 6.0) * np.ones((16, 3))
    found = ran(gradients, 3, starts=starts)
    assert any("chains from different starts disagree" in problem for problem in found.problems)
    assert found.rhat.max() > 1.1


def test_a_cauchy_has_no_sd_and_is_told():
    found = ran(lambda u: (-np.log1p(u**2).sum(axis=1), -2 * u / (1 + u**2)), 2)
    assert any("tails so heavy" in problem or "standard error" in problem for problem in found.problems)


def test_a_funnel_without_data_is_never_reliable():
    """Nine latents of scale exp(v / 2), v ~ N(0, 3): Neal's funnel, whose neck fixed steps do not reach."""

    def gradients(u):
        v, x = u[:, :1], u[:, 1:]
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = x**2 * np.exp(-v)
            value = -(v[:, 0] ** 2) / 18 - 0.5 * scaled.sum(axis=1) - 4.5 * v[:, 0]
            slope = np.concatenate([-v / 9 + 0.5 * scaled.sum(axis=1, keepdims=True) - 4.5, -x * np.exp(-v)], axis=1)
        return value, slope

    for seed in (1, 2, 3):
        found = ran(gradients, 10, seed)
        v = found.draws[..., 0]
        right = abs(v.mean()) < 0.3 and abs(v.std() / 3 - 1) < 0.1
        assert found.problems or right


def test_places_without_a_density_are_survived():
    """A half normal by its density alone: chains that leave the support are not accepted."""

    def gradients(u):
        inside = (u > 0).all(axis=1)
        return np.where(inside, -0.5 * np.sum(u**2, axis=1), -np.inf), np.where(inside[:, None], -u, np.nan)

    found = ran(gradients, 1, starts=np.abs(np.random.default_rng(0).standard_normal((16, 1))) + 0.1)
    assert found.draws.min() > 0
    assert abs(found.draws.mean() - np.sqrt(2 / np.pi)) < 0.06


def test_limits_hold():
    mean, covariance = correlated(20)
    spent = [0]

    def gradients(u):
        spent[0] += len(u)
        return gaussian(mean, covariance)(u)

    rng = np.random.default_rng(1)
    starts, metric = rng.standard_normal((16, 20)), Metric.diagonal(np.ones(20))
    density = Density(gradients, lambda u: gradients(u)[1], lambda u: gaussian(mean, covariance)(u)[0])
    found = chains.run(density, plain, starts, metric, rng, remaining=lambda: 60_000 - spent[0])
    assert spent[0] <= 60_000 and (found is None or found.gradients == spent[0])
    assert chains.run(density, plain, starts, metric, rng, late=lambda: True) is None


def test_chains_are_reproducible_and_go_on():
    mean, covariance = correlated(5)
    gradients = gaussian(mean, covariance)
    one, other = ran(gradients, 5, seed=3), ran(gradients, 5, seed=3)
    np.testing.assert_array_equal(one.draws, other.draws)
    longer = chains.extended(one, Density.of(gradients), plain, np.random.default_rng(7), 30)
    assert longer.draws.shape[1] == one.draws.shape[1] + 30
    np.testing.assert_allclose(longer.as_drawn[:, : one.draws.shape[1]], one.as_drawn, atol=1e-12)
    assert longer.mean_error.max() < one.mean_error.max()


def test_rhat_of_stationary_chains_is_no_alarm_and_of_others_is():
    """Of 200 sets of stationary chains with 50 quantities each, one in a thousand may show an excess: at most 3."""
    rng, alarms = np.random.default_rng(0), 0
    for _ in range(200):
        alarms += rhat.mixing(rng.standard_normal((12, 64, 50)), 16).excess.max() > 0
    assert alarms <= 3
    apart = rng.standard_normal((12, 64, 50))
    apart[:, :32, 7] += 1.0
    found = rhat.mixing(apart, 16)
    assert found.excess[7] > 0.02 and np.argmax(found.rhat) == 7
    moving = rng.standard_normal((12, 64, 50)) + np.linspace(0, 2, 12)[:, None, None]
    assert rhat.mixing(moving, 16).drift.min() > 0.2


def hierarchical(groups, between, seed, centred):
    """Groups of five values with unit noise, mu ~ N(0, 10), tau ~ halfnorm(1), and the exact mean and sd of tau."""
    rng = np.random.default_rng(seed)
    index = np.repeat(np.arange(groups), 5)
    y = (2 + rng.normal(0, between, groups))[index] + rng.normal(size=5 * groups)

    def log_joint(z, y):
        theta = z.e if centred else z.mu + z.tau * z.e
        of_groups = norm.logpdf(z.e, z.mu, z.tau) if centred else norm.logpdf(z.e)
        return (
            norm.logpdf(z.mu, 0, 10) + halfnorm.logpdf(z.tau, 0, 1)
            + anp.sum(of_groups) + anp.sum(norm.logpdf(y, theta[index], 1.0))
        )  # fmt: skip

    means = y.reshape(-1, 5).mean(axis=1)

    def density(tau):
        variance = tau**2 + 0.2
        precision = groups / variance + 0.01
        centre = means.sum() / variance / precision
        misfit = ((means - centre) ** 2).sum() / variance + centre**2 / 100
        return -0.5 * (groups * np.log(variance) + misfit + np.log(precision) + tau**2)

    grid = np.linspace(1e-3, 4 * between + 1, 2001)
    log_density = np.array([density(tau) for tau in grid])
    weights = np.exp(log_density - log_density.max())
    total = integrate.simpson(weights, x=grid)
    mean = integrate.simpson(weights * grid, x=grid) / total
    sd = np.sqrt(integrate.simpson(weights * (grid - mean) ** 2, x=grid) / total)
    latents = {"mu": bbvi.Real(), "tau": bbvi.Positive(), "e": groups}
    return bbvi.Model(log_joint, latents, {"y": y}), mean, sd


@pytest.mark.parametrize(("groups", "between", "centred"), [(60, 2.0, False), (100, 0.8, False), (100, 0.8, True)])
def test_hierarchies_beyond_weights_are_reliable_and_right(groups, between, centred):
    """Importance weights left tau's sd 11 to 13 % too small here, and were believed."""
    model, mean, sd = hierarchical(groups, between, 1, centred)
    fit = bbvi.fit(model, seed=1)
    row = fit.summary().loc["tau"]
    assert fit.verdict == "reliable" and (fit.chains is None or fit.chains.apart.max() <= 1.01)
    assert abs(row["mean"] - mean) < 0.1 * sd and abs(row["sd"] / sd - 1) < 0.1


@pytest.mark.parametrize("dim", [100, 300])
def test_gaussians_of_many_latents_are_exact(dim):
    mean, covariance = correlated(dim)
    precision = np.linalg.inv(covariance)
    fit = bbvi.fit(lambda z: -0.5 * anp.dot(z - mean, anp.dot(precision, z - mean)), dim, seed=1)
    table, sd = fit.summary(), np.sqrt(np.diag(covariance))
    assert fit.verdict == "reliable" and fit.kind == "linear-response"
    np.testing.assert_allclose((table["mean"] - mean) / sd, 0.0, atol=1e-5)
    np.testing.assert_allclose(table["sd"], sd, rtol=1e-5)
    exact = 0.5 * dim * np.log(2 * np.pi) + 0.5 * np.linalg.slogdet(covariance)[1]
    assert abs(fit.log_evidence - exact) < 1e-5


def test_a_fit_with_chains_extends_saves_and_goes_to_arviz(tmp_path):
    model, _, _ = hierarchical(60, 0.8, 2, centred=False)
    fit = bbvi.fit(model, seed=1)
    assert fit.kind == "chains"
    longer = fit.extend(20)
    assert longer.chains.draws.shape[1] == fit.chains.draws.shape[1] + 20
    assert longer.evaluations > fit.evaluations and longer.summary()["mcse_mean"].max() < 0.1
    np.testing.assert_allclose(fit.summary()["mcse_mean"], fit.chains.mean_error * fit.chains.sd)
    tree = fit.to_arviz(draws=400)
    assert dict(tree["posterior"].sizes)["chain"] == 4
    assert (tree["sample_stats"]["log_weight"].values == 0).all()
    for name in ("fit.nc", "fit.npz"):
        fit.save(tmp_path / name)
        again = bbvi.load(tmp_path / name)
        assert again.rhat == fit.rhat and again.summary().equals(fit.summary())
        with pytest.raises(ValueError, match="extend: needs the fit as it was made"):
            again.extend()


def test_an_interrupt_leaves_the_draws_up_to_then():
    mean, covariance = correlated(4)
    calls = [0]

    def measure(u):
        calls[0] += 1
        if calls[0] == 9:
            raise KeyboardInterrupt
        return plain(u)

    rng = np.random.default_rng(1)
    found = chains.run(
        Density.of(gaussian(mean, covariance)), measure, rng.standard_normal((16, 4)), Metric.diagonal(np.ones(4)), rng
    )
    assert found is not None and found.interrupted and found.draws.shape[1] == 8


# Where a fit gets to with so many evaluations hangs on rounding: one of these ends chains that have begun.
@pytest.mark.parametrize(
    ("name", "limits"), [("max_memory", [2_000_000]), ("max_evaluations", [36_000 + 2_000 * k for k in range(8)])]
)
def test_a_limit_that_ends_chains_is_named(name, limits):
    rng = np.random.default_rng(0)
    y = rng.poisson(np.exp(0.2 + rng.normal(0, 0.2, 120)))

    def log_joint(z, y):
        prior = norm.logpdf(z.mu, 0, 2) + halfnorm.logpdf(z.tau, 0, 1) + anp.sum(norm.logpdf(z.e))
        return prior + anp.sum(poisson.logpmf(y, anp.exp(z.mu + z.tau * z.e)))

    model = bbvi.Model(log_joint, {"mu": bbvi.Real(), "tau": bbvi.Positive(), "e": 120}, {"y": y})
    fits = (bbvi.fit(model, seed=1, **{name: limit}) for limit in limits)
    fit = next(fit for fit in fits if "chains" in fit.kinds and fit.kinds["chains"].cut)
    assert fit.verdict != "reliable"
    assert any(f"{name} ended the chains" in reason for reason in fit.reasons)
    free = bbvi.fit(model, seed=1)
    assert free.kinds["chains"].cut == ""
    assert not any("ended the chains" in reason for reason in free.reasons)


def test_moments_of_iterations_are_those_of_all_draws() -> None:
    x = np.random.default_rng(1).standard_normal((7, 5, 3)) * [1.0, 1e-8, 1e100] + [1e6, 3.0, 0.0]
    one, all_at_once = history.moments_of(x), history.moments(x)
    np.testing.assert_allclose(one.mean, all_at_once.mean, rtol=1e-12)
    np.testing.assert_allclose(one.sd, all_at_once.sd, rtol=1e-6)


def test_what_is_zero_nearly_always_has_no_heavy_tail():
    """Of an excess over three sds a draw in a thousand is not zero: ties, of which no shape can be had."""
    x = np.maximum(np.random.default_rng(0).standard_normal((500, 64, 2)) - np.array([3.0, 30.0]), 0.0)
    assert not _heavy(x, ChainPolicy()).any()
    cauchy = np.random.default_rng(0).standard_cauchy((500, 64, 1))
    assert _heavy(cauchy, ChainPolicy()).all()
