"""Expectations of functions: what exists is given with its error, and what may not exist is told."""

from __future__ import annotations

import autograd.numpy as anp
import numpy as np
import pytest

import bbvi
from bbvi.stats import norm, t

NORMAL = bbvi.Model(
    lambda z: norm.logpdf(z.a) + norm.logpdf(z.b) + norm.logpdf(z.c - z.a), dict.fromkeys("abc", bbvi.Real())
)
TOLD = r"expect: the draws of .* that the sd, or even the mean, may not exist"


@pytest.mark.parametrize("kind", ["mean-field", "linear-response"])
@pytest.mark.parametrize("fn", [lambda z: z.a / z.b, lambda z: 1 / z.b, lambda z: anp.exp(3.0 * z.a**2)])
def test_an_expectation_that_does_not_exist_is_told(kind, fn):
    fit = bbvi.fit(NORMAL, seed=1)
    with pytest.warns(RuntimeWarning, match=TOLD):
        fit.expect(fn, kind)
    with pytest.warns(RuntimeWarning, match="of 1 of the 3 values of the function have tails"):
        fit.expect(lambda z: anp.array([z.a, fn(z), z.b]), kind)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_latent_without_a_mean_is_told_as_its_row_is(seed):
    fit = bbvi.fit(bbvi.Model(lambda z: t.logpdf(z.far, 1.0), {"far": bbvi.Real()}), seed=seed)
    assert "heavy tail" in fit.summary().loc["far", "check"]
    with pytest.warns(RuntimeWarning, match=TOLD):
        fit.expect(lambda z: z.far)


def test_weights_count_in_tails():
    """Draws of a normal that are weighted to a Cauchy distribution: those far out, which are few, weigh most."""
    fit = bbvi.fit(bbvi.Model(lambda z: norm.logpdf(z.far), {"far": bbvi.Real()}), seed=1)
    posterior = fit.posterior()
    u = posterior.u[:, 0]
    posterior.__dict__["weights"] = (weights := np.exp(0.9 * u**2 / 2)) / weights.sum()
    with pytest.warns(RuntimeWarning, match=TOLD):
        posterior._warn_of_tails(u[:, None])


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_an_expectation_that_exists_is_not_warned_of(seed):
    fit = bbvi.fit(NORMAL, seed=seed)
    for fn in (
        lambda z: z.a, lambda z: z.a**2, lambda z: z.b > 2.5, lambda z: anp.maximum(z.c - 3.0, 0.0), lambda z: 1.0,
        lambda z: anp.exp(0.5 * z.a), lambda z: z.a * z.b, lambda z: z.a / (10.0 + z.b), lambda z: anp.abs(z.c),
    ):  # fmt: skip
        fit.expect(fn)
