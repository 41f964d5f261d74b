"""Densities made of others, and by other parameters, against SciPy and closed forms; derivatives are in the grid."""

from __future__ import annotations

import pickle
from typing import Any

import autograd.numpy as anp
import numpy as np
import pytest
import scipy.stats

import bbvi
from bbvi import stats

K = np.arange(12)
COUNTS: dict[str, tuple[Any, ...]] = {
    "poisson": (2.4,), "binom": (9, 0.3), "nbinom": (3.3, 0.4), "betabinom": (9, 1.2, 2.3)
}  # fmt: skip
CONTINUOUS: dict[str, tuple[float, ...]] = {
    "norm": (0.3, 1.4), "logistic": (0.3, 1.4), "expon": (0.0, 1.4), "weibull_min": (1.7, 0.0, 1.4)
}  # fmt: skip


@pytest.mark.parametrize("pi", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("name", COUNTS)
def test_zero_inflated_and_hurdle_masses(name: str, pi: float) -> None:
    parameters, theirs = COUNTS[name], getattr(scipy.stats, name)(*COUNTS[name])
    density = getattr(stats, name)
    with np.errstate(divide="ignore"):
        inflated = np.log(pi * (K == 0) + (1 - pi) * theirs.pmf(K))
        hurdled = np.log(np.where(K == 0, pi, (1 - pi) * theirs.pmf(K) / theirs.sf(0)))
    for form, expected in ((stats.zero_inflated, inflated), (stats.hurdle, hurdled)):
        found = form(density).logpmf(K, pi, *parameters)
        seen = expected > -200
        np.testing.assert_allclose(found[seen], expected[seen], rtol=1e-9, atol=1e-12)
        assert (found[~seen] < -30).all()
        assert np.isneginf(form(density).logpmf([-1, 0.5], 0.3, *parameters)).all()
        assert np.isnan(form(density).logpmf(1, 1.3, *parameters))
        # By another of the density's functions, and masses add up to one.
        many = np.arange(0, 400 if name in ("poisson", "nbinom") else 10)
        np.testing.assert_allclose(np.exp(form(density).logpmf(many, 0.3, *parameters)).sum(), 1.0, rtol=1e-9)
    by_rate = stats.zero_inflated(stats.poisson).logpmf_log_rate(K, 0.3, np.log(2.4))
    np.testing.assert_allclose(by_rate, stats.zero_inflated(stats.poisson).logpmf(K, 0.3, 2.4), rtol=1e-12)


@pytest.mark.parametrize("ends", [(0.2, 2.5), (-np.inf, 2.5), (0.2, np.inf), (9.0, 10.0), (-np.inf, np.inf)])
@pytest.mark.parametrize("name", CONTINUOUS)
def test_truncated_and_censored_densities(name: str, ends: tuple[float, float]) -> None:
    parameters, theirs = CONTINUOUS[name], getattr(scipy.stats, name)(*CONTINUOUS[name])
    density, (low, high) = getattr(stats, name), ends
    x = np.array([0.1, 0.2, 0.7, 2.4, 2.5, 2.7, 9.5])
    inside = (x >= low) & (x <= high)
    # By whichever tail has the digits.
    mass = theirs.sf(low) - theirs.sf(high) if low > 1 else theirs.cdf(high) - theirs.cdf(low)
    expected = np.where(inside, theirs.logpdf(x) - np.log(mass), -np.inf)
    np.testing.assert_allclose(stats.truncated(density).logpdf(x, low, high, *parameters), expected, rtol=1e-8)
    expected = np.where(x <= low, theirs.logcdf(low), np.where(x >= high, theirs.logsf(high), theirs.logpdf(x)))
    found = stats.censored(density).logpdf(x, low, high, *parameters)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-300)


def test_truncation_far_in_a_tail_keeps_its_digits() -> None:
    """Between 30 and 31 sds out, where 1 - cdf is zero: an exponential of rate 30, nearly."""
    for sign in (1.0, -1.0):
        ends = sorted((sign * 30.0, sign * 31.0))
        found = stats.truncated(stats.norm).logpdf(sign * 30.1, *ends)
        expected = scipy.stats.truncnorm(30.0, 31.0).logpdf(30.1)
        np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_beta_and_negative_binomial_by_their_mean() -> None:
    x = np.array([0.0, 0.01, 0.3, 0.99, 1.0, 1.2])
    expected = scipy.stats.beta(0.2 * 7, 0.8 * 7).logpdf(x)
    np.testing.assert_allclose(stats.beta.logpdf_mean(x, 0.2, 7.0), expected, rtol=1e-10)
    for mean, r in ((2.4, 3.0), (1e4, 0.3), (0.5, 1e6)):
        expected = scipy.stats.nbinom(r, r / (r + mean)).logpmf(K)
        np.testing.assert_allclose(stats.nbinom.logpmf_mean(K, mean, r), expected, rtol=1e-6)
    np.testing.assert_allclose(stats.nbinom.logpmf_mean([0, 0], [0.0, -1.0], 2.0), [0.0, np.nan], atol=1e-90)


@pytest.mark.parametrize("df", [1.0, 3.3, 1e5])
def test_multivariate_t(df: float) -> None:
    rng = np.random.default_rng(0)
    a = rng.standard_normal((3, 3))
    shape, loc, x = a @ a.T + np.eye(3), rng.standard_normal(3), rng.standard_normal((4, 3))
    expected = scipy.stats.multivariate_t(loc, shape, df).logpdf(x)
    np.testing.assert_allclose(stats.multivariate_t.logpdf(x, loc, shape, df), expected, rtol=1e-7)
    chol = np.linalg.cholesky(shape)
    np.testing.assert_allclose(stats.multivariate_t.logpdf_cholesky(x, loc, chol, df), expected, rtol=1e-7)
    assert np.isnan(stats.multivariate_t.logpdf(x[0], loc, -shape, df))
    assert np.isnan(stats.multivariate_t.logpdf(x[0], loc, shape, -1.0))


def test_forms_are_found_by_name_and_refuse_what_they_cannot_be_made_of() -> None:
    form = stats.truncated(stats.norm)
    assert form is stats.truncated(stats.norm) and pickle.loads(pickle.dumps(form)) is form
    assert repr(form(0, np.inf, 0, 5)) == "truncated(norm)(0, inf, 0, 5)"
    with pytest.raises(TypeError, match="truncated: expected one of norm, logistic, expon, weibull_min"):
        stats.truncated(stats.poisson)
    with pytest.raises(TypeError, match="missing|misses"):
        stats.zero_inflated(stats.poisson).logpmf(1, 0.3)


def test_fits_of_models_made_with_forms() -> None:
    """Recorded for all draws at once, reliable, and right: zero-inflated counts, and a censored normal's mean."""
    rng = np.random.default_rng(1)
    y = np.where(rng.random(300) < 0.4, 0, rng.poisson(3.0, 300))

    def counts(z: Any, y: Any) -> Any:
        return anp.sum(stats.zero_inflated(stats.poisson).logpmf(y, z.p, z.m)) + stats.gamma.logpdf(z.m, 2.0)

    fit = bbvi.fit(bbvi.Model(counts, {"p": bbvi.Interval(0, 1), "m": bbvi.Positive()}, {"y": y}), seed=1)
    assert fit.verdict == "reliable" and not fit.looped
    table = fit.summary()
    assert abs(table.loc["p", "mean"] - 0.4) < 3 * table.loc["p", "sd"]
    assert abs(table.loc["m", "mean"] - 3.0) < 3 * table.loc["m", "sd"]
    seen = np.minimum(rng.normal(1.0, 1.0, 200), 1.5)

    def cut(z: Any, y: Any) -> Any:
        return anp.sum(stats.censored(stats.norm).logpdf(y, -np.inf, 1.5, z.m, 1.0))

    fit = bbvi.fit(bbvi.Model(cut, {"m": bbvi.Real()}, {"y": seen}), seed=1)
    grid = np.linspace(0, 2, 2001)
    log_p = np.array([cut(bbvi.Draw({"m": m}), seen) for m in grid])
    p = np.exp(log_p - log_p.max())
    exact = np.sum(grid * p) / np.sum(p)
    assert fit.verdict == "reliable" and not fit.looped
    assert abs(fit.summary().loc["m", "mean"] - exact) < 0.1 * fit.summary().loc["m", "sd"]
