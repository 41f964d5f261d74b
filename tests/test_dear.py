"""Fits of many data, where every draw counts: few draws do what many did, unless the posterior is no Gaussian."""

import autograd.numpy as anp
import numpy as np
import pytest
from scipy.special import expit

import bbvi
from bbvi.draws import orthogonal
from bbvi.search import looks
from bbvi.search.ascent import leads_home
from bbvi.solvers.hessian import few_draws, hessian
from bbvi.stats import bernoulli, norm
from bbvi.target import evaluator
from bbvi.target.target import Target


def logistic(rows, seed=0, latents=6):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, latents))
    y = rng.uniform(size=rows) < expit(x @ rng.normal(size=latents) / 2)

    def log_joint(z, x, y):
        return anp.sum(norm.logpdf(z.b)) + anp.sum(bernoulli.logpmf_logits(y, anp.dot(x, z.b)))

    return bbvi.Model(log_joint, {"b": bbvi.Real(shape=latents)}, data={"x": x, "y": y.astype(float)})


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_few_draws_find_what_many_do(seed, monkeypatch):
    """The same model with each draw counted and not: less than half of the evaluations, and the same posterior."""
    fits = []
    for threshold in (0, 10**9):
        monkeypatch.setattr(evaluator, "_DEAR_ELEMENTS", threshold)
        fits.append(bbvi.fit(logistic(20_000), seed=seed))
    few, many = fits
    assert few.verdict == many.verdict == "reliable"
    assert few.evaluations < many.evaluations / 2
    assert few.gradient_evaluations < many.gradient_evaluations / 2
    one, other = few.summary(), many.summary()
    assert np.max(np.abs(one["mean"] - other["mean"]) / other["sd"]) < 0.03
    np.testing.assert_allclose(one["sd"], other["sd"], rtol=0.03)
    # The error that equal weights leave out is stated, and is larger than that of the draws.
    assert (one["mcse_mean"] > 1e-4 * one["sd"]).all()


def test_a_posterior_that_is_no_gaussian_gets_all_draws(monkeypatch):
    """Gamma(3) on the log scale, exact: mean and sd of x."""
    monkeypatch.setattr(evaluator, "_DEAR_ELEMENTS", 0)
    fit = bbvi.fit(lambda z: anp.sum(2 * anp.log(z.x) - z.x), {"x": bbvi.Positive(shape=3)}, seed=1)
    assert fit.kind == "importance" and fit.verdict == "reliable"
    np.testing.assert_allclose(fit.summary()["mean"], 3.0, atol=0.1)
    np.testing.assert_allclose(fit.summary()["sd"], 3**0.5, rtol=0.1)


def test_the_other_of_two_modes_is_found_where_every_draw_counts(monkeypatch):
    monkeypatch.setattr(evaluator, "_DEAR_ELEMENTS", 0)
    fit = bbvi.fit(lambda z: anp.logaddexp(norm.logpdf(z[0], -1.5, 0.2), norm.logpdf(z[0], 1.5, 0.2)), 1, seed=1)
    assert fit.verdict != "reliable" or fit.summary()["sd"].iloc[0] == pytest.approx(1.51, rel=0.1)


def test_the_hessian_of_few_draws_is_that_of_a_whole_design_for_a_gaussian(rng):
    factor = rng.normal(size=(5, 5)) + 2 * np.eye(5)
    precision = factor @ factor.T
    target = Target(bbvi.Model(lambda z: -0.5 * anp.dot(z, anp.dot(precision, z)), 5))
    mean, log_sd = np.zeros(5), -0.5 * np.log(np.diag(precision))
    found, error = few_draws(target, mean, log_sd, orthogonal(4, 5, rng))
    whole = hessian(target, mean[None], log_sd[None], orthogonal(12, 5, rng)[None])[2][0]
    assert error < 1e-10
    np.testing.assert_allclose(found, whole, atol=1e-9)


def test_the_error_of_a_hessian_of_few_draws_is_not_understated(rng):
    """Of a density with third and fourth derivatives. Balance makes the true error smaller than stated."""
    target = Target(bbvi.Model(lambda z: anp.sum(3 * z - anp.exp(z)) - 0.2 * anp.sum(z) ** 2, 4))
    mean, log_sd = np.full(4, 0.8), np.full(4, -0.5)
    whole = hessian(target, mean[None], log_sd[None], orthogonal(4096, 4, rng)[None])[2][0][:4, :4]
    roots = np.linalg.inv(np.linalg.cholesky(whole))
    ratios = []
    for _ in range(40):
        found, error = few_draws(target, mean, log_sd, orthogonal(8, 4, rng))
        assert error > 0.05
        ratios.append(np.linalg.norm(roots @ (found[:4, :4] - whole) @ roots.T, 2) / error)
    assert np.quantile(ratios, 0.9) < 2.0


@pytest.mark.parametrize(("start", "home"), [(9.0, True), (-7.0, False)])
def test_an_ascent_ends_at_home_or_elsewhere(start, home):
    def log_joint(z):
        return anp.logaddexp(anp.sum(norm.logpdf(z, 3.0, 0.5)), anp.sum(norm.logpdf(z, -3.0, 0.5)))

    target = Target(bbvi.Model(log_joint, 4))
    expansion = looks.expanded(target, np.full(4, 3.0), np.full(4, np.log(0.5)), looks.LookPolicy())
    assert leads_home(target, expansion, np.full(4, start)) is home
    assert target.gradient_evaluations < 60
