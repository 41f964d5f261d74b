"""Limits are kept: `max_evaluations` is the most that a fit takes, whatever finds it and whichever stage it is in."""

from __future__ import annotations

from typing import Any

import autograd.numpy as np
import numpy as onp
import pytest

import bbvi
from bbvi.stats import halfcauchy, norm
from bbvi.target.allowance import Exhausted, allowing
from bbvi.target.target import Target


def groups(count: int) -> bbvi.Model:
    """A hierarchical model with so many groups of five."""
    rng = onp.random.default_rng(3)
    group = onp.repeat(onp.arange(count), 5)
    y = rng.standard_normal(5 * count) + rng.standard_normal(count)[group]

    def log_prior(z: Any) -> Any:
        return norm.logpdf(z.mu, 0, 5) + halfcauchy.logpdf(z.tau) + np.sum(norm.logpdf(z.alpha, z.mu, z.tau))

    return bbvi.Model(
        latents={"mu": bbvi.Real(), "tau": bbvi.Positive(), "alpha": bbvi.Real(shape=count)},
        data={"y": y, "group": group},
        log_prior=log_prior,
        log_likelihood=lambda z, y, group: norm.logpdf(y, z.alpha[group], 1),
    )


METHODS: dict[str, dict[str, Any]] = {
    "pathwise": {},
    "score": {"estimator": "score"},
    "stochastic": {"solver": bbvi.Stochastic()},
    "mini-batches": {"solver": bbvi.Stochastic(batch_size=10)},
    "init": {"init": {"mu": 0.0, "tau": 1.0, "alpha": onp.zeros(12)}},
}


@pytest.mark.parametrize("limit", [100, 300, 1000, 3000, 10_000, 16_000])
@pytest.mark.parametrize("method", METHODS)
def test_a_limit_of_evaluations_is_kept(method: str, limit: int) -> None:
    fit = bbvi.fit(groups(12), seed=1, max_evaluations=limit, **METHODS[method])
    assert fit.evaluations <= limit
    assert fit.evaluations > 0.4 * limit or fit.converged
    assert fit.converged or fit.verdict != "reliable" or fit.kind == "chains"
    assert onp.isfinite(fit.summary()["mean"]).all()


@pytest.mark.parametrize("limit", [100, 3000, 10_000])
def test_it_is_kept_where_the_search_for_modes_and_slices_would_take_more(limit: int) -> None:
    assert bbvi.fit(groups(30), seed=1, max_evaluations=limit).evaluations <= limit


def test_the_count_is_of_what_the_function_is_asked_for() -> None:
    asked = 0

    def log_joint(z: Any) -> Any:
        nonlocal asked
        asked += 1 if not isinstance(z, onp.ndarray) or z.ndim < 2 else len(z)
        return float(-0.5 * onp.sum((onp.asarray(z, dtype=float) - 3) ** 2))

    fit = bbvi.fit(bbvi.Model(log_joint, 2), seed=1, max_evaluations=200, estimator="score")
    assert asked <= 1.02 * 200 and fit.evaluations <= 200


def test_allowances_nest_and_refuse_before_they_count() -> None:
    target = Target(bbvi.Model(lambda z: -0.5 * np.sum(z**2), 2))
    with allowing(target, 50):
        target.values(onp.zeros((10, 2)))
        before = target.evaluations
        with allowing(target, 1000), pytest.raises(Exhausted):
            target.values(onp.zeros((50, 2)))
        with allowing(target, before), pytest.raises(Exhausted):
            target.gradients(onp.zeros((1, 2)))
        assert target.evaluations == before
    target.values(onp.zeros((100, 2)))
    assert target.evaluations == before + 100


def test_after_a_fit_its_target_may_be_evaluated_again() -> None:
    fit = bbvi.fit(groups(12), seed=1, max_evaluations=300)
    fit.target.values(onp.zeros((1000, 14)))


@pytest.mark.parametrize("most", [17, 50])
def test_a_fit_cut_short_before_any_error_was_known_is_unreliable(most: int) -> None:
    """From values the first such fits were the start itself, with mu 0 +- 1 where 4.4 +- 3.3 is right."""
    fit = bbvi.fit(bbvi.models.load("eight_schools"), estimator="score", seed=1, max_evaluations=most)
    assert np.isnan(fit.mean_se).all()
    assert fit.verdict == "unreliable"
