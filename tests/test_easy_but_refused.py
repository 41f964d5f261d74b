"""Small models that are easy, and were refused or given up: each with its right values."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Callable
from typing import Any

import autograd.numpy as anp
import numpy as np
import pytest

import bbvi
from bbvi.search import looks
from bbvi.stats import bernoulli, expit, expon, norm, poisson, weibull_min
from bbvi.target import checks
from bbvi.target.target import Target

RNG = np.random.default_rng(3)
YEAR = np.arange(1960, 2020.0)
EVENTS = RNG.poisson(np.exp(1.5 + 0.02 * (YEAR - 1990)))
INCOME = RNG.normal(50_000, 15_000, 200)
OWNS = (RNG.random(200) < 1 / (1 + np.exp(-(INCOME - 50_000) / 10_000))).astype(int)
SETTING = 20_000 + 10 * RNG.normal(size=100)
LIFE = RNG.weibull(1.5, 100) * np.exp(1 + 0.03 * (SETTING - 20_000))


def moments(log_density: Callable[[np.ndarray], np.ndarray], low: float, high: float) -> tuple[float, float]:
    """Mean and sd of a density of one latent, by a sum over a fine grid."""
    x = np.linspace(low, high, 200_001)
    with np.errstate(all="ignore"):
        log_p = log_density(x)
    p = np.exp(log_p - log_p.max())
    mean = float(np.sum(p * x) / np.sum(p))
    return mean, float(np.sqrt(np.sum(p * (x - mean) ** 2) / np.sum(p)))


def assert_moments(fit: bbvi.Fit, row: str, mean: float, sd: float) -> None:
    """Within 0.1 sd and 10 %, as a reliable fit must be."""
    found = fit.summary().loc[row]
    assert abs(found["mean"] - mean) < 0.1 * sd, (found["mean"], mean)
    assert abs(found["sd"] / sd - 1) < 0.1, (found["sd"], sd)


def test_a_density_so_narrow_that_a_step_leaves_it() -> None:
    # Away from the start it is minus infinity on both sides, which is no sign of a constant.
    fit = bbvi.fit(lambda z: -anp.cosh(2000 * z[0]), 1, seed=1)
    assert_moments(fit, "z[0]", *moments(lambda x: -np.cosh(2000 * x), -0.004, 0.004))


@pytest.mark.parametrize("sd", [5.0, 3.0])
def test_a_mass_whose_probability_saturates(sd: float) -> None:
    fit = bbvi.fit(lambda z: norm.logpdf(z[0], 30, sd) + bernoulli.logpmf(1, expit(z[0])), 1, seed=1)
    assert fit.converged and fit.verdict == "reliable"
    assert_moments(fit, "z[0]", 30.0, sd)


@pytest.mark.parametrize("term", ["log(1 - expit)", "log(expit)", "log(1 - p) by hand"])
def test_logarithms_that_saturate_far_from_the_mode(term: str) -> None:
    def log_p(x: Any, np: Any) -> Any:
        p = 1 / (1 + np.exp(-x))
        if term == "log(expit)":
            return -0.5 * ((x + 30) / 5) ** 2 + np.log(p)
        return -0.5 * ((x - 30) / 5) ** 2 + np.log(1 - (p if "hand" in term else expit(x)))

    fit = bbvi.fit(lambda z: log_p(z[0], anp), 1, seed=1)
    sign = -1 if term == "log(expit)" else 1
    # The same without rounding: log(1 - p) = -softplus(x), and both ends are mirror images.
    mean, sd = moments(lambda x: -0.5 * ((x - 30) / 5) ** 2 - np.logaddexp(0, x), -60, 80)
    assert fit.converged
    assert_moments(fit, "z[0]", sign * mean, sd)


def regression(likelihood: Callable[..., Any], x: np.ndarray, y: np.ndarray, centre: float, shape: bool) -> bbvi.Model:
    """A regression whose intercept is that at x = centre; the priors are the same whatever the centre."""

    def log_joint(z: Any, x: Any, y: Any) -> Any:
        prior = norm.logpdf(z.a - z.b * centre, 0, 1000) + norm.logpdf(z.b, 0, 1)
        eta = z.a + z.b * (x - centre)
        if shape:
            return prior + expon.logpdf(z.k) + anp.sum(likelihood(y, eta, z.k))
        return prior + anp.sum(likelihood(y, eta))

    latents = {"a": bbvi.Real(), "b": bbvi.Real()} | ({"k": bbvi.Positive()} if shape else {})
    return bbvi.Model(log_joint, latents, {"x": x, "y": y})


REGRESSIONS: dict[str, tuple[Callable[..., Any], np.ndarray, np.ndarray, bool, dict[str, float]]] = {
    "Poisson on calendar years": (
        lambda y, eta: poisson.logpmf(y, anp.exp(eta)), YEAR, EVENTS, False, {"a": -38.3, "b": 0.02}
    ),
    "expit of incomes": (lambda y, eta: bernoulli.logpmf(y, expit(eta)), INCOME, OWNS, False, {"a": -5.0, "b": 1e-4}),
    "Weibull on 20,000 +- 10": (
        lambda y, eta, k: weibull_min.logpdf(y, k, 0, anp.exp(eta)), SETTING, LIFE, True,
        {"a": -599.0, "b": 0.03, "k": 1.5},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REGRESSIONS)
@pytest.mark.parametrize("given", [False, True])
def test_predictors_that_nobody_scaled(name: str, given: bool) -> None:
    likelihood, x, y, shape, init = REGRESSIONS[name]
    fit = bbvi.fit(regression(likelihood, x, y, 0.0, shape), seed=1, init=init if given else None)
    centre = float(np.mean(x))
    scaled = bbvi.fit(
        regression(likelihood, x, y, centre, shape), seed=1, init={**init, "a": init["a"] + init["b"] * centre}
    )
    assert fit.converged and scaled.verdict == "reliable"
    for row in ["b"] + ["k"] * shape:
        right = scaled.summary().loc[row]
        assert_moments(fit, row, right["mean"], right["sd"])


def test_a_gradient_that_is_no_number_gives_way_to_the_score_function() -> None:
    def log_joint(z: Any) -> Any:
        return anp.where(z[0] ** 2 >= 0, -0.5 * (z[0] - 3) ** 2, anp.sqrt(-1 - z[0] ** 2))

    found = checks.check_gradient(Target(bbvi.Model(log_joint, 1)), np.zeros(1), np.ones(1), np.random.default_rng(0))
    assert not found.ok and found.nan and found.ratio == 1.0
    assert "the log joint is finite, but its gradient is not at 100% of the points: sqrt of" in str(found)
    with pytest.warns(RuntimeWarning, match=r"the score function is used: along z\[0\] .*sqrt of what is computed"):
        fit = bbvi.fit(log_joint, 1, seed=1)
    assert fit.estimator == "score" and fit.converged
    assert_moments(fit, "z[0]", 3.0, 1.0)


@pytest.mark.parametrize("edge", [0.0, -1.0, -1.9, 1.0])
def test_a_gradient_that_is_no_number_on_one_side_of_the_posterior_only(edge: float) -> None:
    # Beyond the edge a root of zero, which has an infinite slope, is multiplied by zero.
    def log_joint(z: Any) -> Any:
        beyond = anp.maximum(z[0] - edge, 0.0)
        return -0.5 * z[0] ** 2 + anp.where(z[0] < -1e9, anp.sqrt(beyond), 0.0)

    with pytest.warns(RuntimeWarning, match="score function is used: along .*: sqrt"):
        fit = bbvi.fit(log_joint, 1, seed=1)
    assert fit.estimator == "score" and fit.converged
    assert_moments(fit, "z[0]", 0.0, 1.0)


def test_a_zero_inflated_lognormal_by_hand() -> None:
    y = np.concatenate([np.zeros(8), np.random.default_rng(0).lognormal(1.0, 0.5, 22)])

    def log_joint(z: Any, y: Any) -> Any:
        seen = -anp.log(z.s) - anp.log(y) - 0.5 * ((anp.log(y) - z.m) / z.s) ** 2
        return norm.logpdf(z.m, 0, 3) + expon.logpdf(z.s) + anp.sum(anp.where(y > 0, seen, 0.0))

    logs = np.log(y[y > 0])
    model = bbvi.Model(log_joint, {"m": bbvi.Real(), "s": bbvi.Positive()}, {"y": y})
    with pytest.warns(RuntimeWarning, match="score function is used"):
        fit = bbvi.fit(model, seed=1)
    assert fit.estimator == "score" and fit.converged
    # The posterior of a normal's mean given its sd, nearly.
    assert_moments(fit, "m", float(np.mean(logs)), float(np.std(logs) / np.sqrt(len(logs) - 3)))


def test_edges_of_a_density_are_no_improper_ends() -> None:
    # It rises up to an edge, as truncated densities and likelihoods that saturate do.
    def edged(z: Any) -> Any:
        return anp.where(z[0] < 35, 0.5 * z[0] - norm.logpdf(0.0) + norm.logpdf(z[0], 0, 30), -np.inf)

    target = Target(bbvi.Model(edged, 1))
    target.values(np.zeros((1, 1)))
    checks.check_proper(target, np.zeros(1))
    for improper in (lambda z: anp.exp(z[0]), lambda z: 0.1 * z[0], lambda z: 0.0 * z[0] ** 2, lambda z: z[0] ** 4):
        target = Target(bbvi.Model(improper, 1))
        target.values(np.zeros((1, 1)))
        with pytest.raises(ValueError, match="expected a proper density"):
            checks.check_proper(target, np.zeros(1))


def test_a_latent_that_leads_out_of_the_support_matters_and_a_constant_one_does_not() -> None:
    rng = np.random.default_rng(0)
    target = Target(bbvi.Model(lambda z: anp.where(anp.abs(z[0]) < 0.1, 0.0, -np.inf), 1))
    checks.check_dependence(target, np.zeros(1), rng)
    target = Target(bbvi.Model(lambda z: anp.where(anp.abs(z[0]) < 0.1, -z[0] ** 2, -np.inf) + 0 * z[1], 2))
    with pytest.raises(ValueError, match=r"constant in 'z\[1\]'"):
        checks.check_dependence(target, np.zeros(2), rng)


def test_checks_before_a_fit_take_memory_linear_in_the_latents() -> None:
    dim = 3000
    target = Target(bbvi.Model(lambda z: -0.5 * anp.sum(z**2), dim))
    target.values(np.zeros((1, dim)))
    tracemalloc.start()
    try:
        checks.check_dependence(target, np.zeros(dim), np.random.default_rng(0))
        checks.check_proper(target, np.zeros(dim))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # One array of dim x dim numbers takes 72 MB; there were ten and more of them.
    assert peak < 60e6
    with pytest.raises(ValueError, match=r"'z\[2999\]'"):
        checks.check_dependence(
            Target(bbvi.Model(lambda z: -0.5 * anp.sum(z[:-1] ** 2), dim)), np.zeros(dim), np.random.default_rng(0)
        )
    with pytest.raises(ValueError, match=r"'z\[2999\]'"):
        flat = Target(bbvi.Model(lambda z: -0.5 * anp.sum(z[:-1] ** 2) + anp.tanh(z[-1]), dim))
        flat.values(np.zeros((1, dim)))
        checks.check_proper(flat, np.zeros(dim))


@pytest.mark.parametrize("seed", [0, 1])
def test_a_gradient_that_is_no_number_only_where_the_posterior_is(seed: int) -> None:
    """The start knows nothing of it: the fit goes there by gradients, and on from values."""

    def log_joint(z: Any) -> Any:
        return -0.5 * (z[0] - 8) ** 2 / 0.04 + anp.where(z[0] > 5, 0.0, 0 * anp.sqrt(5 - z[0]))

    with pytest.warns(RuntimeWarning, match="the score function is used from there on: sqrt of"):
        fit = bbvi.fit(log_joint, 1, seed=seed)
    assert fit.estimator == "score" and fit.converged and fit.verdict == "reliable"
    assert any("no number" in reason and "np.where" in reason for reason in fit.reasons)
    row = fit.summary().loc["z[0]"]
    assert abs(row["mean"] - 8) < 0.02 and abs(row["sd"] - 0.2) < 0.02


def test_who_asks_for_a_gradient_estimator_is_told_and_gets_no_other() -> None:
    fit = bbvi.fit(
        lambda z: -0.5 * (z[0] - 8) ** 2 / 0.04 + anp.where(z[0] > 5, 0.0, 0 * anp.sqrt(5 - z[0])),
        1, seed=0, estimator=bbvi.Pathwise(), init=[3.0],
    )  # fmt: skip
    assert fit.estimator == "pathwise" and fit.status == "diverged" and fit.verdict == "unreliable"


def test_looks_around_a_mode_of_many_latents_hold_few_numbers() -> None:
    """Eight looks along each of D latents were 8 D^2 numbers: 2.3 GB at 6,000 latents, before any block."""
    dim, rng = 20_000, np.random.default_rng(0)
    e = looks._standardized(dim, 100, rng, looks.LookPolicy())
    along = looks.LookPolicy().along
    assert e.size <= 2 * len(along) * looks.LookPolicy().squared + 100 * dim
    assert np.sort(np.unique(e[100:])).tolist() == [*(-x for x in along[::-1]), 0, *along]


COLLINEAR = {"a": bbvi.Real(), "b": bbvi.Real(), "c": bbvi.Real(), "s": bbvi.Positive()}
YEARS = np.linspace(1990.0, 2020.0, 31)


def of_years(prior: Callable[..., Any]) -> bbvi.Model:
    """A line with the same predictor twice, in other units."""

    def log_joint(z: Any, x: Any, y: Any) -> Any:
        means = z.a + z.b * x + z.c * (2 * x + 7)
        return prior(z) + expon.logpdf(z.s) + anp.sum(norm.logpdf(y, means, z.s))

    y = np.random.default_rng(0).normal(0.1 * (YEARS - 2005), 1.0)
    return bbvi.Model(log_joint, COLLINEAR, {"x": YEARS, "y": y})


KNOWN_TOGETHER: dict[str, tuple[Callable[[], bbvi.Model], str]] = {
    "a sum": (
        lambda: bbvi.Model(lambda z: norm.logpdf(z.a + z.b), {"a": bbvi.Real(), "b": bbvi.Real()}), r"a \+1, b -1",
    ),
    "collinear predictors": (lambda: of_years(lambda z: 0.0), r"a \+1, b \+0.286, c -0.143"),
    "a level for each group, and one for all": (
        lambda: bbvi.Model(
            lambda z, y: anp.sum(norm.logpdf(y, z.a + z.e, 1.0)), {"a": bbvi.Real(), "e": bbvi.Real(shape=3)},
            {"y": np.arange(3.0)},
        ),
        r"a \+1, e\[0\] -1, e\[1\] -1, e\[2\] -1",
    ),
    "a product": (
        lambda: bbvi.Model(
            lambda z: norm.logpdf(anp.log(z.a * z.b)) - anp.log(z.a) - anp.log(z.b),
            {"a": bbvi.Positive(), "b": bbvi.Positive()},
        ),
        r"a \+1, b -1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN_TOGETHER)
def test_latents_that_are_known_only_together_are_named(name: str) -> None:
    make, moves = KNOWN_TOGETHER[name]
    told = f"constant where latents move together, by ({moves}) .*the posterior is improper"
    problems = bbvi.check_model(make()).problems
    assert len(problems) == 1 and re.search(told, problems[0]), problems
    for solver in ("auto", bbvi.Stochastic()):
        fit = bbvi.fit(make(), seed=1, solver=solver, max_seconds=2)
        assert fit.status == "diverged" and fit.verdict == "unreliable" and re.search(told, fit.reasons[0]), fit.reasons


@pytest.mark.parametrize("sd", [10.0, 1e4, 1e6])
def test_a_prior_however_wide_is_one(sd: float) -> None:
    model = of_years(lambda z: sum(norm.logpdf(latent, 0, sd) for latent in (z.a, z.b, z.c)))
    assert bbvi.check_model(model).ok
