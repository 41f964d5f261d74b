"""Log evidence of fits by chains: against closed forms, within its own errors."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats
from test_many_groups import SIZE, data_of, model_of

import bbvi
from bbvi.correction.evidence import log_evidence_of


def exact(means: np.ndarray) -> float:
    """Effects and mu integrate out in closed form, tau by a grid."""
    tau = np.linspace(1e-6, 6.0, 40_001)
    n, centre, variance = len(means), means.mean(), tau**2 + 1.0 / SIZE
    of_mean = variance / n + 100.0
    log_p = stats.halfnorm.logpdf(tau) - 0.5 * (n - 1) * np.log(2 * np.pi * variance) - 0.5 * np.log(n)
    log_p -= 0.5 * np.sum((means - centre) ** 2) / variance
    log_p -= 0.5 * np.log(2 * np.pi * of_mean) + 0.5 * centre**2 / of_mean
    return float(special.logsumexp(log_p) + np.log(tau[1] - tau[0]))


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize(("groups", "between"), [(60, 2.0), (100, 0.8), (190, 0.8), (400, 0.8)])
def test_evidence_of_chains_is_within_its_errors(groups: int, between: float, centred: bool) -> None:
    """Beyond 3.5 errors with a probability of 1 in 270 for the eight of them."""
    means = data_of(groups, between, 0)
    fit = bbvi.fit(model_of(means, centred), seed=0)
    assert fit.kind == "chains"
    assert fit.log_evidence_se < 0.15
    assert abs(fit.log_evidence - exact(means)) < 3.5 * fit.log_evidence_se


def test_a_model_that_is_wrong_by_a_factor_shows() -> None:
    means = data_of(60, 2.0, 1)
    fit = bbvi.fit(model_of(means, False), seed=1)
    assert abs(fit.log_evidence - exact(means) - np.log(1.3)) > 3.5 * fit.log_evidence_se


def test_a_posterior_that_bends_has_no_evidence_from_a_gaussian() -> None:
    """Of draws on a parabola a Gaussian of their moments lies beside it for the most part."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((20_000, 2)) * np.array([2.0, 0.02])
    u = np.column_stack([x[:, 0], x[:, 1] + x[:, 0] ** 2])
    log_density = stats.norm.logpdf(x, 0, [2.0, 0.02]).sum(axis=1)
    found, error = log_evidence_of(u, np.full(len(u), 1 / len(u)), log_density)
    assert np.isnan(found) and error == np.inf


def test_errors_are_those_of_chains_where_draws_are_alike() -> None:
    """Ten times the same draw in a row tells as much as one."""
    rng = np.random.default_rng(1)
    once = rng.standard_normal((400, 3))
    u = np.repeat(once, 10, axis=0)
    log_density = stats.norm.logpdf(u).sum(axis=1) + stats.norm.logpdf(0.5 * u[:, 0])
    equal = np.full(len(u), 1 / len(u))
    of_chains, of_draws = log_evidence_of(u, equal, log_density, 400), log_evidence_of(u, equal, log_density)
    assert of_chains[0] == of_draws[0]
    assert 2.5 < of_chains[1] / of_draws[1] < 4.0
