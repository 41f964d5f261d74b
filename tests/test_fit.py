"""`bbvi.fit` end to end: known posteriors, budgets, observers, reproducibility, and fall-backs that are told."""

from __future__ import annotations

import contextlib
import time

import autograd.numpy as anp
import numpy as np
import pytest

import bbvi
from bbvi.correction import importance as correction
from bbvi.fitting import pipeline
from bbvi.search import rivals, starts
from bbvi.stats import halfcauchy, norm

Y = [28, 8, -3, 7, -1, 1, 18, 12]
SIGMA = [15, 10, 16, 11, 9, 11, 10, 18]


def eight_schools(z, y, sigma):
    theta = z.mu + z.tau * z.eta
    return (
        norm.logpdf(z.mu, 0, 5)
        + halfcauchy.logpdf(z.tau, 0, 5)
        + anp.sum(norm.logpdf(z.eta))
        + anp.sum(norm.logpdf(y, theta, sigma))
    )


@pytest.fixture(scope="module")
def schools():
    model = bbvi.Model(
        eight_schools,
        latents={"mu": bbvi.Real(), "tau": bbvi.Positive(), "eta": bbvi.Real(dims="school")},
        data={"y": Y, "sigma": SIGMA},
        coords={"school": list("ABCDEFGH")},
        dims={"theta": "school"},
        derived=lambda z: {"theta": z.mu + z.tau * z.eta},
    )
    return bbvi.fit(model, seed=1)


def test_the_smallest_thing_that_works():
    fit = bbvi.fit(lambda z: -0.5 * anp.sum((z - 3) ** 2), 10)
    np.testing.assert_allclose(fit.approximation.mean, 3.0, atol=1e-8)
    np.testing.assert_allclose(fit.approximation.sd, 1.0, atol=1e-8)
    assert list(fit.summary().index) == [f"z[{i}]" for i in range(10)]


def test_a_normal_mean_with_many_observations():
    """Posterior N(8.0, 0.447): 5 observations of mean 8 and sd 1, and a flat-ish prior."""
    y = np.array([6.0, 7.0, 8.0, 9.0, 10.0])
    fit = bbvi.fit(
        bbvi.Model(
            lambda z, y: norm.logpdf(z.mu, 0, 1e4) + anp.sum(norm.logpdf(y, z.mu, 1)), {"mu": bbvi.Real()}, {"y": y}
        ),
        seed=1,
    )
    row = fit.summary().loc["mu"]
    assert row["mean"] == pytest.approx(8.0, rel=0.01)
    assert row["sd"] == pytest.approx(0.447, rel=0.01)


def test_a_conjugate_normal():
    """Prior N(0, 1) and 10 observations of sd 1: posterior sd 1 / sqrt(11)."""
    y = np.random.default_rng(3).normal(1.0, 1.0, size=10)
    fit = bbvi.fit(
        bbvi.Model(lambda z, y: norm.logpdf(z.mu) + anp.sum(norm.logpdf(y, z.mu)), {"mu": bbvi.Real()}, {"y": y}),
        seed=1,
    )
    row = fit.summary().loc["mu"]
    assert row["sd"] == pytest.approx(1 / np.sqrt(11), rel=0.01)
    assert row["mean"] == pytest.approx(y.sum() / 11, abs=0.01 / np.sqrt(11))
    # The ELBO is exact here; of the evidence five standard errors.
    assert fit.log_evidence_se < 0.02 and fit.elbo == pytest.approx(fit.log_evidence, abs=5 * fit.log_evidence_se)


def test_eight_schools(schools):
    """Against 80,000 NUTS draws: mu 4.40 (3.33), tau 3.61 (3.17)."""
    table = schools.summary()
    assert schools.converged
    assert list(table.columns) == ["mean", "sd", "eti_lb", "eti_ub", "mcse_mean", "sd_mean_field", "verdict", "check"]
    assert list(table.index) == (
        ["mu", "tau"] + [f"eta[{s}]" for s in "ABCDEFGH"] + [f"theta[{s}]" for s in "ABCDEFGH"]
    )
    assert table.loc["mu", "mean"] == pytest.approx(4.40, abs=0.33)
    assert table.loc["mu", "sd"] == pytest.approx(3.33, rel=0.1)
    assert table.loc["tau", "mean"] == pytest.approx(3.61, abs=0.32)
    assert table.loc["tau", "sd"] == pytest.approx(3.17, rel=0.15)


def test_every_figure_of_one_fit_agrees(schools):
    table = schools.summary()
    for label, function in {"mu": lambda z: z.mu, "theta[A]": lambda z: z.theta[0]}.items():
        assert schools.expect(function).value == pytest.approx(
            table.loc[label, "mean"], abs=0.02 * table.loc[label, "sd"]
        )
    probability = schools.expect(lambda z: z.theta[0] > z.theta[2])
    assert 0.5 < probability.value < 0.8
    assert 0 < probability.se < 0.05


@pytest.mark.parametrize("kind", ["mean-field", "linear-response", "importance", "best"])
def test_draws_agree_with_the_summary(schools, kind):
    """Means of 4,000 draws lie within 5 standard errors (18 figures, false alarm 1e-5)."""
    draws, table = schools.sample(4000, kind=kind, seed=3), schools.summary(kind)
    assert draws["eta"].shape == (4000, 8)
    assert draws["mu"].shape == (4000,)
    assert np.all(draws["tau"] > 0)
    for label, x in {"mu": draws["mu"], "tau": draws["tau"], "eta[B]": draws["eta"][:, 1]}.items():
        spread = table.loc[label, "sd"] * np.sqrt(1 / 4000 + 1 / 1000)
        assert abs(x.mean() - table.loc[label, "mean"]) < 5 * spread


def test_the_summary_adds_no_noise_of_its_own(schools):
    first, second = schools.summary("mean-field"), schools.summary("mean-field")
    assert first.equals(second)
    q = schools.approximation
    assert first.loc["mu", "mean"] == pytest.approx(q.mean[0], rel=1e-12)
    assert first.loc["mu", "sd"] == pytest.approx(q.sd[0], rel=1e-10)
    lognormal = np.exp(q.mean[1] + q.sd[1] ** 2 / 2)
    assert first.loc["tau", "mean"] == pytest.approx(lognormal, rel=1e-6)
    assert first.loc["tau", "sd"] == pytest.approx(lognormal * np.sqrt(np.expm1(q.sd[1] ** 2)), rel=1e-3)


def test_the_same_seed_gives_the_same_fit(schools):
    again = bbvi.fit(schools.model, seed=1)
    np.testing.assert_array_equal(again.approximation.mean, schools.approximation.mean)
    assert again.summary().equals(schools.summary())
    np.testing.assert_array_equal(again.sample(10)["mu"], schools.sample(10)["mu"])


def test_a_fit_keeps_nothing_for_the_next_one(schools):
    other = bbvi.fit(schools.model, seed=2)
    again = bbvi.fit(schools.model, seed=1)
    assert other.evaluations > 0
    np.testing.assert_array_equal(again.approximation.mean, schools.approximation.mean)


def test_linear_response_mends_a_regression_with_raw_predictors():
    rng = np.random.default_rng(5)
    x = rng.normal(100, 15, size=200)
    y = 20 + 0.6 * x + rng.normal(0, 18, size=200)
    model = bbvi.Model(
        lambda z, x, y: norm.logpdf(z.a, 0, 1000) + norm.logpdf(z.b, 0, 100) + halfcauchy.logpdf(z.s, 0, 50)
        + anp.sum(norm.logpdf(y, z.a + z.b * x, z.s)),
        {"a": bbvi.Real(), "b": bbvi.Real(), "s": bbvi.Positive()},
        {"x": x, "y": y},
    )  # fmt: skip
    fit = bbvi.fit(model, seed=1)
    design = np.column_stack([np.ones(200), x])
    exact = np.sqrt(np.diag(np.linalg.inv(design.T @ design))) * np.std(
        y - design @ np.linalg.lstsq(design, y)[0], ddof=2
    )
    assert fit.verdict == "reliable"
    assert fit.summary().loc["a", "sd_mean_field"] < 0.25 * exact[0]
    np.testing.assert_allclose(fit.summary().loc[["a", "b"], "sd"], exact, rtol=0.05)
    np.testing.assert_allclose(fit.summary("linear-response").loc[["a", "b"], "sd"], exact, rtol=0.05)


def test_a_small_budget_is_told_and_not_passed_off_as_an_answer(schools):
    fit = bbvi.fit(schools.model, seed=1, max_evaluations=1)
    assert fit.status == "budget"
    assert not fit.converged
    assert fit.verdict != "reliable"
    assert any("max_evaluations" in reason for reason in fit.reasons)


def test_time_runs_out(schools):
    fit = bbvi.fit(schools.model, seed=1, max_seconds=1e-9)
    assert fit.status == "budget"
    assert "max_seconds" in fit.message


def test_a_callback_sees_every_step_and_may_end_the_fit(schools):
    seen = []
    fit = bbvi.fit(schools.model, seed=1, callback=lambda progress: seen.append(progress) or len(seen) == 2)
    assert fit.status == "interrupted"
    assert [progress.step for progress in seen] == [1, 2]
    assert seen[1].mean.shape == (10,)
    assert len(fit.trace) == 2


def test_an_interrupt_returns_the_best_so_far(schools):
    def impatient(progress):
        raise KeyboardInterrupt

    fit = bbvi.fit(schools.model, seed=1, callback=impatient)
    assert fit.status == "interrupted"
    assert fit.verdict != "reliable"


@pytest.mark.parametrize("estimator", ["auto", "score"])
@pytest.mark.parametrize("where", ["candidates", "find_modes"])
def test_an_interrupt_of_the_starts_returns_a_start(schools, monkeypatch, estimator, where):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(starts, where, interrupted)
    fit = bbvi.fit(schools.model, seed=1, estimator=estimator)
    if estimator == "score" and where == "find_modes":
        assert fit.status != "interrupted"  # values have no modes to be pulled into
        return
    assert fit.status == "interrupted" and fit.verdict == "unreliable"
    assert "before its first step" in fit.message and "made no step" in " ".join(fit.reasons)
    assert np.isfinite(fit.summary()["mean"]).all() and "interrupted" in str(fit)


def test_an_interrupt_while_weights_are_drawn_keeps_those_drawn(monkeypatch):
    def skewed(z):
        return float(np.sum(2 * z.x - np.exp(z.x)))

    model = bbvi.Model(skewed, {"x": bbvi.Real(shape=3)})
    whole = bbvi.fit(model, solver=bbvi.NaturalGradient(), seed=1)
    drawn = len(whole.importance.draws)
    assert whole.importance.rounds > 2
    calls = [0]

    def impatient(z):
        calls[0] += 1
        if calls[0] > whole.evaluations - drawn // 4:
            raise KeyboardInterrupt
        return skewed(z)

    fit = bbvi.fit(bbvi.Model(impatient, {"x": bbvi.Real(shape=3)}), solver=bbvi.NaturalGradient(), seed=1)
    assert fit.status == "interrupted" and "while its weights were drawn" in fit.message
    assert 250 < len(fit.importance.draws) < drawn
    np.testing.assert_allclose(fit.summary()["mean"], whole.summary()["mean"], atol=0.2)


# ---- values only, and what they may cost


def heavy(z):
    """Two latents on a ridge with a scale: no few draws are enough for its tails."""
    return float(-3.0 * z.s - 0.5 * np.exp(-2 * z.s) * (1.0 + 8 * z.b**2) - 0.02 * np.exp(2 * z.s))


def test_without_a_limit_a_fit_from_values_ends_within_5000_evaluations():
    model = bbvi.Model(heavy, {"s": bbvi.Real(), "b": bbvi.Real()})
    default = bbvi.fit(model, estimator="score", seed=1)
    allowed = bbvi.fit(model, estimator="score", seed=1, max_evaluations=12_000)
    little = bbvi.fit(model, estimator="score", seed=1, max_evaluations=900)
    assert 3000 < default.evaluations <= 5000
    assert 5000 < allowed.evaluations <= 12_000
    assert little.evaluations <= 900
    np.testing.assert_array_equal(default.summary(), bbvi.fit(model, estimator="score", seed=1).summary())


def test_an_easy_posterior_from_values_is_cheap_and_reliable():
    fit = bbvi.fit(lambda z: float(-0.5 * np.sum((z - 3) ** 2)), 3, estimator="score", seed=1)
    assert fit.verdict == "reliable" and fit.evaluations < 600
    np.testing.assert_allclose(fit.summary()["mean"], 3.0, atol=0.03)


def two_modes(lower):
    """Normal modes at 4 and, `lower` nats below, at -4; their values are all that is known."""

    def log_joint(z):
        return float(np.logaddexp(-2 * np.sum((z - 4) ** 2), -lower - 2 * np.sum((z + 4) ** 2)))

    return log_joint


def from_both(monkeypatch):
    points = np.array([[-3.0, -4.0], [3.0, 3.5], [-4.0, -3.0]])
    monkeypatch.setattr(starts, "candidates", lambda target, rng, count, **_: (points, target.values(points)))


@pytest.mark.parametrize(("lower", "verdict"), [(20.0, "caution"), (3.0, "unreliable")])
def test_other_starts_of_a_fit_from_values_find_the_better_mode(monkeypatch, lower, verdict):
    from_both(monkeypatch)
    fit = bbvi.fit(two_modes(lower), 2, solver=bbvi.NaturalGradient(), seed=1)
    np.testing.assert_allclose(fit.approximation.mean, 4.0, atol=0.05)
    assert fit.converged and fit.verdict == verdict
    assert [round(mode.elbo - fit.modes[0].elbo) for mode in fit.modes] == [0, -lower]
    assert len(fit.trace) == len(fit.trace.evaluations) and np.all(np.diff(fit.trace.evaluations) > 0)
    # a start of one's own is the only one
    own = bbvi.fit(two_modes(lower), 2, solver=bbvi.NaturalGradient(), seed=1, init=[-4.0, -4.0])
    assert own.approximation.mean[0] < 0


def test_no_other_start_is_tried_when_time_is_up(monkeypatch):
    """The clock stands still until q stands in the first mode, and then jumps to the end of the time."""
    from_both(monkeypatch)
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    run = rivals.challenged

    def late(*args, **options):
        clock[0] = 90.0
        return run(*args, **options)

    monkeypatch.setattr(rivals, "challenged", late)
    fit = bbvi.fit(two_modes(20.0), 2, solver=bbvi.NaturalGradient(), seed=1, max_seconds=100)
    assert fit.approximation.mean[0] < 0
    # That the other mode is better is seen in its image, and told.
    assert fit.verdict == "unreliable" and "There is a better mode" in " ".join(fit.reasons)


def test_an_interrupt_while_other_starts_are_tried_keeps_the_fit(monkeypatch):
    def impatient(z):
        if np.all(z > 0.5):
            raise KeyboardInterrupt
        return two_modes(20.0)(z)

    monkeypatch.setattr(starts, "candidates", lambda *_, **__: (np.array([[-3.0, -4.0], [3.0, 3.5]]), None))
    fit = bbvi.fit(impatient, 2, solver=bbvi.NaturalGradient(), seed=1)
    assert fit.status == "interrupted" and "other starts" in fit.message
    np.testing.assert_allclose(fit.approximation.mean, -4.0, atol=0.1)


def test_a_time_limit_holds_for_the_weights_too(monkeypatch):
    """The clock stands still but for the log joint, where each evaluation takes a second."""
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def slow(z):
        clock[0] += 1.0
        return heavy(z)

    model = bbvi.Model(slow, {"s": bbvi.Real(), "b": bbvi.Real()})
    fit = bbvi.fit(model, solver=bbvi.NaturalGradient(), seed=1, max_seconds=1500)
    assert fit.converged and 1000 < fit.seconds < 1600
    assert bbvi.fit(model, solver=bbvi.NaturalGradient(), seed=1).seconds > 3000


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until a log joint sets it forward."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


def slow_gaussian(clock, seconds, with_gradient=False):
    def log_joint(z):
        clock[0] += seconds
        return -0.5 * float(np.sum((z - 3.0) ** 2))

    def gradient(z):
        return log_joint(z), -(z - 3.0)

    return bbvi.Model(log_joint, 3, gradient=gradient) if with_gradient else bbvi.Model(log_joint, 3)


@pytest.mark.parametrize("seconds", [3.0, 6.0, 15.0])
@pytest.mark.parametrize("with_gradient", [False, True])
def test_a_slow_log_joint_keeps_to_the_time(clock, seconds, with_gradient):
    """Over time go at most the 16 draws of the ELBO and what a gradient's check and first step need."""
    model = slow_gaussian(clock, 0.3, with_gradient)
    fit = bbvi.fit(model, estimator="auto" if with_gradient else "score", seed=1, max_seconds=seconds)
    needed = 16 + 4 + 25 + 40 * 2 if with_gradient else 16 + 4
    assert fit.seconds <= seconds + 0.3 * needed
    assert "max_seconds" in fit.message and not fit.converged
    assert fit.importance is None and fit.verdict != "reliable"
    assert not with_gradient or any("No importance weights were drawn" in reason for reason in fit.reasons)
    assert not any("found another mode" in reason for reason in fit.reasons)


@pytest.mark.parametrize("estimator", ["score", "pathwise"])
def test_weights_are_left_out_once_the_time_is_up_and_the_message_says_so(clock, monkeypatch, estimator):
    (first, doing), *rest = pipeline.CORRECTIONS.items()

    def late(corrected):
        clock[0] = 1000.0
        return first(corrected)

    monkeypatch.setattr(pipeline, "CORRECTIONS", {late: doing, **dict(rest)})
    solver = bbvi.NaturalGradient() if estimator == "score" else "auto"
    fit = bbvi.fit(lambda z: -0.5 * anp.sum(z**2), 3, estimator=estimator, solver=solver, seed=1, max_seconds=100)
    assert fit.converged and fit.importance is None and fit.verdict == "caution"
    assert "max_seconds was reached before weights could be drawn" in fit.message
    assert any("No importance weights were drawn" in reason for reason in fit.reasons)


def test_time_enough_changes_nothing(schools):
    fit = bbvi.fit(schools.model, seed=1, max_seconds=1e6)
    assert fit.message == schools.message and fit.reasons == schools.reasons
    np.testing.assert_allclose(fit.approximation.mean, schools.approximation.mean, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("limit", [200, 1000, 3000])
@pytest.mark.parametrize("name", ["schools", "gaussian", "standard"])
def test_a_small_limit_of_evaluations_is_kept(schools, name, limit):
    # The start of the standard Gaussian is its optimum, which the first step notices.
    mean = 0.0 if name == "standard" else 3.0
    model = schools.model if name == "schools" else bbvi.Model(lambda z: -0.5 * anp.sum((z - mean) ** 2), 10)
    fit = bbvi.fit(model, seed=1, max_evaluations=limit)
    assert fit.evaluations <= limit + 64
    assert fit.modes == [] and fit.verdict != "reliable"
    assert f"max_evaluations ({limit}) is too small to look for other modes" in " ".join(fit.reasons)
    assert f"max_evaluations ({limit}) is too small" in fit.message
    assert not any("found another mode" in reason for reason in fit.reasons)
    if name == "gaussian" and limit == 3000:
        assert fit.converged
        np.testing.assert_allclose(fit.approximation.mean, 3.0, atol=1e-6)


def test_an_interrupt_after_the_optimum_keeps_it(schools, monkeypatch):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(correction, "correct", interrupted)
    fit = bbvi.fit(schools.model, seed=1)
    assert fit.status == "interrupted"
    assert fit.kind == "linear-response"
    np.testing.assert_array_equal(fit.approximation.mean, schools.approximation.mean)


def test_a_function_that_writes_into_its_data_is_told():
    def writes(z, y):
        y -= z.m
        return -0.5 * np.sum(y**2)

    with pytest.raises(ValueError, match="read-only") as caught:
        bbvi.fit(bbvi.Model(writes, {"m": bbvi.Real()}, {"y": np.arange(4.0)}), seed=1)
    assert "log_joint" in caught.value.__notes__[0]


def test_a_checkpoint_continues_to_the_same_answer(schools, tmp_path):
    path = tmp_path / "fit.npz"
    calls = []

    def stop(progress):
        calls.append(progress.step)
        if len(calls) == 2:
            raise KeyboardInterrupt

    bbvi.fit(schools.model, seed=1, checkpoint=path, callback=stop)
    assert path.exists()
    whole = bbvi.fit(schools.model, seed=1)
    resumed = bbvi.fit(schools.model, seed=1, checkpoint=path)
    assert resumed.converged
    np.testing.assert_allclose(resumed.approximation.mean, whole.approximation.mean, rtol=1e-8, atol=1e-10)


def fails_once(steps):
    """A callback that fails at a step, as a cluster that goes away does."""

    def callback(progress):
        if progress.step == steps:
            raise ConnectionError("the cluster has gone")

    return callback


@pytest.mark.parametrize(
    "cut",
    [
        {"max_evaluations": 9000},
        {"callback": lambda progress: progress.step == 3},
        {"callback": fails_once(3)},
    ],
    ids=["budget", "callback", "exception"],
)
def test_whatever_cuts_a_fit_off_it_goes_on_from_its_checkpoint(schools, tmp_path, cut):
    path = tmp_path / "fit.npz"
    with contextlib.suppress(ConnectionError):
        assert not bbvi.fit(schools.model, seed=1, checkpoint=path, **cut).converged
    whole = bbvi.fit(schools.model, seed=1)
    resumed = bbvi.fit(schools.model, seed=1, checkpoint=path)
    assert resumed.converged
    assert len(resumed.trace) == len(whole.trace)
    assert resumed.trace.elbo == whole.trace.elbo
    np.testing.assert_array_equal(resumed.approximation.mean, whole.approximation.mean)


@pytest.mark.parametrize("estimator", ["pathwise", "score"])
def test_a_checkpoint_of_other_data_or_another_log_joint_is_refused(tmp_path, estimator):
    def logistic(z, x, y):
        return anp.sum(y * x * z.b - anp.log1p(anp.exp(x * z.b))) - 0.5 * z.b**2

    def scaled(z, x, y):
        return 1.001 * logistic(z, x, y)

    # At the origin, where the fit begins, the likelihood is the same whatever x and y are.
    x, y = np.arange(6.0), np.array([0, 1, 0, 0, 1, 1])
    options = {"estimator": estimator, "seed": 1, "init": {"b": 0.0}, "checkpoint": tmp_path / "fit.npz"}
    first = bbvi.fit(bbvi.Model(logistic, {"b": bbvi.Real()}, {"x": x, "y": y}), **options)
    for other in (
        bbvi.Model(logistic, {"b": bbvi.Real()}, {"x": x, "y": 1 - y}),
        bbvi.Model(scaled, {"b": bbvi.Real()}, {"x": x, "y": y}),
    ):
        with pytest.raises(ValueError, match="checkpoint: .* of other data or of another log joint.* Delete the file"):
            bbvi.fit(other, **options)
    again = bbvi.fit(bbvi.Model(logistic, {"b": bbvi.Real()}, {"x": x, "y": y}), **options)
    np.testing.assert_array_equal(again.approximation.mean, first.approximation.mean)


def test_a_checkpoint_costs_no_evaluation_that_is_counted(tmp_path):
    model = bbvi.Model(lambda z: -0.5 * anp.sum((z - 1.0) ** 2), 3)
    plain = bbvi.fit(model, seed=1)
    saved = bbvi.fit(model, seed=1, checkpoint=tmp_path / "fit.npz")
    assert saved.evaluations == plain.evaluations
    assert saved.trace.evaluations == plain.trace.evaluations
    assert bbvi.fit(model, seed=1, checkpoint=tmp_path / "fit.npz").trace.evaluations == plain.trace.evaluations


def test_a_checkpoint_of_a_noisy_log_joint_is_continued(tmp_path):
    noise = np.random.default_rng(1)
    model = bbvi.Model(lambda z: -0.5 * float(z @ z) + 0.1 * noise.standard_normal(), 2)
    options = {"estimator": "score", "seed": 1, "checkpoint": tmp_path / "fit.npz"}
    assert not bbvi.fit(model, callback=lambda progress: progress.step == 1, **options).converged
    assert bbvi.fit(model, **options).converged


def test_a_checkpoint_of_another_model_is_refused(schools, tmp_path):
    path = tmp_path / "fit.npz"
    bbvi.fit(schools.model, seed=1, checkpoint=path)
    with pytest.raises(ValueError, match="checkpoint: .* 10 latents, expected 3"):
        bbvi.fit(lambda z: -anp.sum(z**2), 3, seed=1, checkpoint=path)
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="is not a checkpoint"):
        bbvi.fit(schools.model, seed=1, checkpoint=path)


def test_init_and_warm_starts(schools):
    start = {"mu": 1.0, "tau": 2.0, "eta": np.zeros(8)}
    fit = bbvi.fit(schools.model, seed=1, init=start)
    assert fit.converged
    assert start["tau"] == 2.0
    again = bbvi.fit(schools.model, seed=3, init=fit)
    assert len(again.trace) <= len(fit.trace)
    np.testing.assert_allclose(again.approximation.mean[0], fit.approximation.mean[0], atol=0.3)


def test_gradients_that_steps_hide_from_autograd_are_noticed():
    def stepped(z, y):
        return norm.logpdf(z.mu, 0, 10) + anp.sum(norm.logpdf(y, anp.round(4 * z.mu) / 4, 1.0))

    model = bbvi.Model(stepped, {"mu": bbvi.Real()}, {"y": np.linspace(2, 4, 9)})
    with pytest.warns(RuntimeWarning, match="not differentiable as autograd sees it"):
        fit = bbvi.fit(model, seed=1)
    assert fit.estimator == "score"
    # The posterior is that of the unrounded model, but for steps of 0.25 beside an sd of 0.33.
    assert fit.approximation.mean[0] == pytest.approx(3.0, abs=0.1)
    assert fit.approximation.sd[0] == pytest.approx(1 / 3, rel=0.25)


def test_a_plain_numpy_log_joint_is_fitted_from_values():
    def plain(z):
        if not (type(z.mu) is np.ndarray and z.mu.ndim == 0):
            raise TypeError("plain arrays only")
        return -0.5 * (float(z.mu) - 2.0) ** 2 / 0.25

    fit = bbvi.fit(plain, {"mu": bbvi.Real()}, seed=1)
    assert fit.estimator == "score"
    assert fit.gradient_evaluations <= 1
    assert fit.covariance is None
    assert fit.approximation.mean[0] == pytest.approx(2.0, abs=0.05)
    assert fit.approximation.sd[0] == pytest.approx(0.5, rel=0.05)


def test_everything_shows_itself(schools):
    text = str(schools)
    assert "theta[H]" in text
    assert schools.verdict in text
    assert "<table>" in schools._repr_html_()
    assert "<table>" in schools.model._repr_html_()
    assert "10 unconstrained latents" in repr(schools.model)


def test_covariances_are_labelled(schools):
    block = schools.covariance_of(["mu", "tau"])
    assert list(block.columns) == ["mu", "tau"]
    np.testing.assert_allclose(block.to_numpy(), schools.covariance[:2, :2])
    assert np.allclose(np.diag(schools.correlation()), 1.0)
    assert schools.covariance_of("eta", kind="importance").shape == (8, 8)
    assert len(schools.starts(3)) == 3
    assert schools.inverse_metric.shape == (10, 10)


def test_a_limit_of_evaluations_is_used_where_the_weights_need_it():
    # A posterior whose long tail takes more draws than the default: the verdict asks for more, and a limit brings them.
    def log_joint(z):
        return norm.logpdf(z[0], 0, 1.5) + np.sum(norm.logpdf(z[1:], 0, np.exp(z[0] / 2)))

    plain, limited = bbvi.fit(log_joint, 6, seed=2), bbvi.fit(log_joint, 6, seed=2, max_evaluations=150_000)
    assert plain.verdict != "reliable" and "fit.extend()" in " ".join(plain.reasons)
    # What the last slices cost may go over the limit.
    assert plain.importance.evaluations < 60_000 and 100_000 < limited.evaluations <= 151_000
    assert limited.importance.sd_error.max() < plain.importance.sd_error.max()


def test_a_fit_from_values_keeps_to_sensible_orders_of_magnitude():
    """A simulation that takes the longer the faster the ball must not be asked for a ball faster than light."""
    angles, measured = np.radians([15, 30, 45, 60, 75]), np.array([43.1, 72.5, 82.4, 70.1, 40.2])
    asked = []

    def log_joint(z):
        speed, drag = float(z.speed), float(z.drag)
        asked.append(speed)
        x, y, u, v = np.zeros(5), np.zeros(5), speed * np.cos(angles), speed * np.sin(angles)
        landed = np.full(5, np.nan)
        with np.errstate(all="ignore"):
            for _ in range(2000):
                x, y = x + 0.02 * u, y + 0.02 * v
                slowing = drag * np.hypot(u, v)
                u, v = u - 0.02 * slowing * u, v - 0.02 * (slowing * v + 9.81)
                landed = np.where(np.isnan(landed) & (y < 0), x - u * y / v, landed)
                if np.isfinite(landed).all() or not np.isfinite(y).all():
                    break
            prior = -2 * (np.log(speed) - 3.4) ** 2 - (np.log(drag) + 5.3) ** 2 / 2
            return float(prior - 0.5 * np.sum((measured - landed) ** 2))

    latents = {"speed": bbvi.Positive(), "drag": bbvi.Positive()}
    fit = bbvi.fit(log_joint, latents, estimator="score", seed=1, max_evaluations=1200)
    assert fit.verdict == "reliable" and np.max(asked) < 1e6


@pytest.mark.parametrize("how", ["callback", "interrupt"])
def test_what_ends_a_rivals_fit_ends_the_search(how):
    # A second fit follows the first, and its first step begins anew at one.
    firsts = []

    def stop(progress):
        firsts.extend([1] * (progress.step == 1))
        if len(firsts) < 2:
            return False
        if how == "interrupt":
            raise KeyboardInterrupt
        return True

    fit = bbvi.fit(two_modes(0.0), 2, solver=bbvi.NaturalGradient(), seed=1, callback=stop)
    assert len(firsts) == 2
    assert fit.status == "interrupted" and "other starts" in fit.message


def test_numbers_of_numpy_are_numbers():
    fit = bbvi.fit(
        lambda z: -0.5 * anp.sum(z**2), 2, seed=1, tolerance=np.float32(0.05), max_evaluations=np.int64(9000)
    )
    assert fit.verdict == "reliable"


def test_a_derived_quantity_that_is_no_number_is_told():
    y = np.full(30, 1.33)
    model = bbvi.Model(
        lambda z, y: norm.logpdf(z.a, 0, 3) + anp.sum(norm.logpdf(y, z.a, 1.0)),
        latents={"a": bbvi.Real()},
        data={"y": y},
        derived=lambda z: {"q": anp.log(z.a - 1.3)},
    )
    with np.errstate(invalid="ignore"):
        fit = bbvi.fit(model, seed=1)
    assert fit.verdict == "caution" and any("q: infinite or not a number" in reason for reason in fit.reasons)


@pytest.mark.parametrize(("dim", "correlation"), [(20, 0.99), (60, 0.9), (150, 0.9)])
def test_the_correction_leaves_a_gaussian_as_it_is(dim, correlation):
    """Control variates whose Gaussian follows the noise of the draws made these sds up to 5 % too large."""
    covariance = correlation * np.ones((dim, dim)) + (1 - correlation) * np.eye(dim)
    precision = np.linalg.inv(covariance)
    for seed in (1, 2, 3):
        fit = bbvi.fit(lambda z: -0.5 * anp.dot(z, anp.dot(precision, z)), dim, seed=seed)
        assert fit.verdict == "reliable" and abs(fit.summary()["sd"].mean() - 1) < 0.015


@pytest.mark.parametrize("limit", [3000, 5000, 8500])
def test_a_limit_leaves_evaluations_for_steps(schools, limit):
    """The search for modes, which takes some thousands with ten latents, must not use up all there is."""
    fit = bbvi.fit(schools.model, seed=1, max_evaluations=limit)
    assert len(fit.trace) > 4 and fit.evaluations <= limit + 64


@pytest.mark.parametrize("estimator", ["pathwise", "score"])
def test_what_each_stage_took_is_told(estimator, schools):
    limit = None if estimator == "pathwise" else 600
    fit = bbvi.fit(schools.model, seed=1, estimator=estimator, max_evaluations=limit)
    assert abs(sum(fit.stages.values()) - 1.0) < 1e-12 and min(fit.stages.values()) > 0
    assert fit.stages["maximising the ELBO"] > 0.2
    largest = max(fit.stages, key=fit.stages.get)
    assert f"{largest} {fit.stages[largest]:.0%}" in str(fit)
    if estimator == "pathwise":
        more = fit.extend(draws=5000)
        assert more.stages["extending"] > 0 and "extending" not in fit.stages
        whole = more.evaluations + more.gradient_evaluations
        # A few calls come before the first stage.
        assert abs(whole * more.stages["extending"] - (more.evaluations - fit.evaluations)) < 10
