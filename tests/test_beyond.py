"""What the outermost draws miss: rays say how much, where a density falls off as a power, and nothing elsewhere."""

from __future__ import annotations

import re
from typing import Any

import autograd.numpy as anp
import numpy as np
import pytest
import scipy.stats

import bbvi
from bbvi.correction.beyond import BeyondPolicy, beyond
from bbvi.stats import norm, t

POLICY = BeyondPolicy()


def looked(law: Any, draws: int, cut: float | None, seed: int, dim: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """By how much sds are found to be too small, and are, of draws that lack what is further out than `cut`."""
    rng = np.random.default_rng(seed)
    u = law.rvs(size=(draws, dim), random_state=rng)
    if cut is not None:
        u = u[np.abs(u).max(axis=1) < cut]
    weights = np.full(len(u), 1.0 / len(u))
    found = beyond(lambda x: law.logpdf(x).sum(axis=1), lambda x: x, u, weights, 8, POLICY)
    return found, law.std() / u.std(axis=0) - 1.0


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("law", [scipy.stats.norm(), scipy.stats.laplace(), scipy.stats.expon(), scipy.stats.t(8)])
def test_nothing_is_missed_where_a_density_falls_off_fast(law: Any, seed: int) -> None:
    """Errors of 5,000 draws of an sd are 1 to 2 %."""
    found, _ = looked(law, 5000, None, seed)
    assert np.all(found < 0.04)


@pytest.mark.parametrize(("cut", "dim"), [(8.0, 1), (12.0, 1), (12.0, 2)])
def test_what_a_heavy_tail_holds_beyond_the_draws_is_told(cut: float, dim: int) -> None:
    """Student-t of 3 degrees of freedom, of which no draw is further out than some sds."""
    found, missing = looked(scipy.stats.t(3), 20_000, cut, 0, dim)
    assert np.all(missing > 0.08)
    np.testing.assert_allclose(found, missing, atol=0.03)


def test_as_many_quantities_are_looked_at_as_are_allowed() -> None:
    counted = [0]

    def values(x: np.ndarray) -> np.ndarray:
        counted[0] += len(x)
        return np.asarray(scipy.stats.t(3).logpdf(x).sum(axis=1))

    u = scipy.stats.t(3).rvs(size=(4000, 12), random_state=0)
    weights = np.full(4000, 1.0 / 4000)
    for most in (0, 1, 3):
        counted[0] = 0
        found = beyond(values, lambda x: x, u, weights, most, POLICY)
        assert np.count_nonzero(found) == most
        assert counted[0] == most * POLICY.points


X, Y = np.array([-2.0, -1.0, -0.5, 0.5, 1.0, 2.0]), np.array([0, 0, 0, 1, 1, 1])


def separated(z: Any, df: float) -> Any:
    """A logistic regression whose slope only its prior holds back."""
    prior = t.logpdf(z.a, df, 0, 2.5) + t.logpdf(z.b, df, 0, 2.5)
    return prior - anp.sum(anp.logaddexp(0.0, (1 - 2 * Y) * (z.a + z.b * X)))


@pytest.mark.parametrize("seed", range(2, 6))
def test_separated_classes_under_a_prior_of_heavy_tails_are_not_believed_where_the_sd_is_too_small(seed: int) -> None:
    """The slope's sd is 5.287 by quadrature to slopes of 30,000; its quantiles are right."""
    fit = bbvi.fit(lambda z: separated(z, 3.0), {"a": bbvi.Real(), "b": bbvi.Real()}, seed=seed)
    wrong = abs(fit.summary().loc["b", "sd"] / 5.287 - 1.0) > 0.07
    assert fit.verdict == "caution" if wrong else fit.verdict in ("caution", "reliable")
    assert not wrong or any(re.search("draws of b|tails of b|sd of b", reason) for reason in fit.reasons)


def test_lighter_tails_stay_reliable() -> None:
    fit = bbvi.fit(lambda z: separated(z, 7.0), {"a": bbvi.Real(), "b": bbvi.Real()}, seed=2)
    assert fit.verdict == "reliable"


def test_only_the_quantity_that_is_missed_is_in_doubt() -> None:
    fit = bbvi.fit(
        lambda z: separated(z, 3.0) + anp.sum(norm.logpdf(X, z.c, 2.0)),
        {"a": bbvi.Real(), "b": bbvi.Real(), "c": bbvi.Real()},
        seed=3,
    )
    assert fit.verdict == "caution"
    assert fit.summary().loc["c", "verdict"] == "reliable"
    assert fit.summary().loc["b", "verdict"] == "caution"
