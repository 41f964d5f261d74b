"""Looks around the draws of a posterior: what lies there is weighed, and told where no draw went."""

from __future__ import annotations

import autograd.numpy as anp
import numpy as np
import pytest
from scipy import stats

import bbvi
from bbvi.correction.evidence import log_evidence_of
from bbvi.correction.surroundings import SurroundingsPolicy, surroundings
from bbvi.stats import norm

POLICY = SurroundingsPolicy()


def halo(dim: int, share: float, times: float):
    """A broad Gaussian around a narrow one, normalised but for (2 pi)^(D/2)."""

    def log_joint(z):
        squares = anp.sum(z**2, axis=-1)
        narrow = np.log(1 - share) - 0.5 * squares
        broad = np.log(share) - dim * np.log(times) - 0.5 * squares / times**2
        return anp.logaddexp(narrow, broad)

    return log_joint


@pytest.mark.parametrize("dim", [3, 20, 100])
def test_the_share_around_is_that_of_the_density(dim: int) -> None:
    """Errors of ten estimates in their own standard errors: a mean square beyond 3 has probability 1e-3 at most."""
    rng = np.random.default_rng(dim)
    u = 2.0 + rng.standard_normal((4000, dim)) * 0.5
    weights = np.full(4000, 1 / 4000)
    density, log_z = halo(dim, 0.3, 4.0), np.log(0.7) + dim / 2 * np.log(2 * np.pi)
    r = np.array([1.0, POLICY.times]) * (np.sqrt(dim) + POLICY.margin)
    right = sum(
        share / 0.7 * np.diff(stats.chi2.cdf((r / sd) ** 2, dim))[0] for share, sd in ((0.7, 1.0), (0.3, 4.0))
    )
    standard = []
    for _ in range(10):
        found = surroundings(
            lambda x: density((x - 2.0) / 0.5) - dim * np.log(0.5),
            u, weights, log_z, np.arange(dim), rng, 2048, POLICY,
        )  # fmt: skip
        assert found.drawn < 1e-3
        assert found.missed(POLICY) and found.radius == pytest.approx(4.0, rel=0.1)
        # The draws' moments differ a little from those of the narrow part, and the shells with them.
        standard.append((found.share - right) / (found.error + 0.03 * right))
    assert np.mean(np.square(standard)) < 3


def test_a_block_is_looked_at_given_the_others() -> None:
    rng = np.random.default_rng(5)
    factor = np.tril(rng.normal(size=(8, 8)) * 0.4) + np.eye(8)
    u = rng.standard_normal((4000, 8)) @ factor.T
    normal = stats.multivariate_normal(np.zeros(8), factor @ factor.T)

    def values(x: np.ndarray) -> np.ndarray:
        # In these three latents, and in what follows from them, the broad part is five times as wide.
        block = np.array([6, 2, 4])
        others = np.setdiff1d(np.arange(8), block)
        order = np.concatenate([block, others])
        own = np.linalg.cholesky((factor @ factor.T)[np.ix_(order, order)])
        stretched = own @ np.diag([5.0] * 3 + [1.0] * 5)
        broad = stats.multivariate_normal(np.zeros(8), stretched @ stretched.T)
        return np.logaddexp(np.log(0.8) + normal.logpdf(x), np.log(0.2) + broad.logpdf(x[:, order]))

    weights = np.full(4000, 1 / 4000)
    found = surroundings(values, u, weights, np.log(0.8), np.array([6, 2, 4]), rng, 2048, POLICY)
    reach = stats.chi2.sf(((np.sqrt(3) + POLICY.margin) / 5) ** 2, 3)
    assert found.share == pytest.approx(0.25 * reach, rel=0.25) and found.missed(POLICY)
    elsewhere = surroundings(values, u, weights, np.log(0.8), np.array([0, 1, 3, 5]), rng, 2048, POLICY)
    assert not elsewhere.missed(POLICY)


@pytest.mark.parametrize("degrees", [3, 10, 1000])
@pytest.mark.parametrize("dim", [2, 10])
def test_the_evidence_from_draws(degrees: int, dim: int) -> None:
    """In standard errors: beyond 4 with probability 6e-5."""
    rng = np.random.default_rng(degrees + dim)
    target = stats.multivariate_t(np.arange(dim), 0.3 * np.eye(dim), df=degrees)
    u = target.rvs(20_000, random_state=rng)
    found, error = log_evidence_of(u, np.full(len(u), 1 / len(u)), target.logpdf(u) + 7.0)
    assert abs(found - 7.0) < 4 * error + 1e-3 and error < 0.1


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(("dim", "share", "times"), [(20, 0.3, 5.0), (20, 0.05, 5.0), (40, 0.3, 3.0), (150, 0.3, 3.0)])
def test_a_halo_is_told(dim: int, share: float, times: float, seed: int) -> None:
    fit = bbvi.fit(halo(dim, share, times), dim, seed=seed)
    right = np.sqrt(1 - share + share * times**2)
    assert abs(fit.summary()["sd"] / right - 1).max() > 0.1
    # Where weights failed their own checks nobody has to look.
    told = any("lie around all draws" in reason or " sampling found: " in reason for reason in fit.reasons)
    assert fit.verdict == "unreliable" and told


def test_a_halo_of_some_latents_is_told() -> None:
    def log_joint(z):
        return halo(20, 0.3, 6.0)(z.a) + anp.sum(norm.logpdf(z.b, 0.3 * z.a[0], 1))

    fit = bbvi.fit(bbvi.Model(log_joint, {"a": 20, "b": 12}), seed=1)
    told = any("lie around all draws" in reason or " sampling found: " in reason for reason in fit.reasons)
    assert fit.verdict == "unreliable" and told


@pytest.mark.parametrize("degrees", [3, 8])
def test_tails_that_draws_go_to_are_no_halo(degrees: int) -> None:
    dim = 8

    def log_joint(z):
        return -0.5 * (degrees + dim) * anp.log1p(anp.sum(z**2) / degrees)

    fit = bbvi.fit(log_joint, dim, seed=1)
    assert not any("lie around" in reason for reason in fit.reasons)


def test_looks_are_within_what_limits_leave() -> None:
    fit = bbvi.fit(halo(20, 0.3, 5.0), 20, seed=1, max_evaluations=2000)
    assert fit.evaluations <= 2000
