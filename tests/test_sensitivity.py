"""Power-scaling sensitivity against closed forms, and the diagnoses of known situations."""

from __future__ import annotations

import autograd.numpy as anp
import numpy as np
import pytest
from posteriors import regression
from scipy.special import ndtr

import bbvi
from bbvi.result.sensitivity import cumulative_distance, power_scaling, split_density
from bbvi.stats import norm


def location(prior_mean: float, prior_sd: float, data_sd: float) -> bbvi.Model:
    """Normal mean of 20 observations around 0."""
    return bbvi.Model(
        log_prior=lambda z: norm.logpdf(z.mu, prior_mean, prior_sd),
        log_likelihood=lambda z, y: norm.logpdf(y, z.mu, data_sd),
        latents={"mu": bbvi.Real()},
        data={"y": np.random.default_rng(0).normal(size=20)},
    )


@pytest.mark.parametrize(
    ("prior_mean", "prior_sd", "data_sd", "diagnosis"),
    [
        (0.0, 10.0, 1.0, ""),
        (5.0, 0.5, 1.0, "prior-data conflict"),
        (0.0, 0.05, 4.0, "strong prior or weak likelihood"),
    ],
)
def test_known_situations(prior_mean, prior_sd, data_sd, diagnosis):
    table = power_scaling(bbvi.fit(location(prior_mean, prior_sd, data_sd), seed=1))
    assert table["diagnosis"].item() == diagnosis, str(table)


def exact_sensitivity(prior_mean, prior_sd, data_sd, scaled: str) -> float:
    """The same distance between exact normal posteriors, from their distribution functions on a fine grid."""
    y = location(0, 1, 1).data["y"]

    def posterior(prior_power, likelihood_power):
        precision = prior_power / prior_sd**2 + likelihood_power * len(y) / data_sd**2
        mean = (prior_power * prior_mean / prior_sd**2 + likelihood_power * y.sum() / data_sd**2) / precision
        return mean, precision**-0.5

    mean, sd = posterior(1, 1)
    grid = np.linspace(mean - 3.49 * sd, mean + 3.49 * sd, 4001)
    total = 0.0
    for power in (1 / 1.01, 1.01):
        powers = (power, 1) if scaled == "prior" else (1, power)
        other = posterior(*powers)
        p, q = ndtr((grid - mean) / sd), ndtr((grid - other[0]) / other[1])
        sides = []
        for a, b in ((p, q), (1 - p, 1 - q)):
            middle = (a + b) / 2
            squared = np.sum(a * np.log2(a / middle) + b * np.log2(b / middle)) / np.sum(a + b)
            sides.append(np.sqrt(squared))
        total += max(sides)
    return total / (2 * np.log2(1.01))


@pytest.mark.parametrize("setting", [(5.0, 0.5, 1.0), (1.0, 1.0, 1.0)])
@pytest.mark.parametrize("kind", ["linear-response", "importance"])
def test_against_exact_normal_posteriors(setting, kind):
    table = power_scaling(bbvi.fit(location(*setting), seed=1), kind)
    for scaled in ("prior", "likelihood"):
        assert table[scaled].item() == pytest.approx(exact_sensitivity(*setting, scaled), rel=0.15, abs=2e-3)


def test_density_is_split_into_its_parts():
    fit = bbvi.fit(regression(), seed=1)
    u, log_density = fit.posterior().u[:5], fit.posterior().pool.log_density[:5]
    prior, likelihood = split_density(fit, u, log_density)
    np.testing.assert_allclose(prior, norm.logpdf(u, 0, 2.0).sum(axis=1))
    np.testing.assert_allclose(prior + likelihood, fit.target.values(u))


def test_distance_of_equal_weights_is_zero_and_grows_with_the_change():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 2))
    even = np.full(2000, 1 / 2000)
    np.testing.assert_allclose(cumulative_distance(x, even, even), 0, atol=1e-7)
    distances = []
    for shift in (0.1, 0.2, 0.4):
        weights = np.exp(shift * x[:, 0])
        distances.append(cumulative_distance(x, even, weights / weights.sum()))
    distances = np.array(distances)
    assert (np.diff(distances[:, 0]) > 0).all()
    # The second column is independent of the weights.
    assert (distances[:, 1] < 0.15 * distances[:, 0]).all()
    np.testing.assert_allclose(cumulative_distance(5 * x, even, weights / weights.sum()), distances[-1])


def test_arguments():
    plain = bbvi.fit(lambda z: -0.5 * anp.sum(z**2), 2, seed=1)
    with pytest.raises(ValueError, match="log_prior"):
        power_scaling(plain)
    with pytest.raises(ValueError, match="delta"):
        power_scaling(bbvi.fit(location(0, 1, 1), seed=1), delta=0.0)
