"""Leave-one-out against exact answers, and against ArviZ's own."""

from __future__ import annotations

import warnings

import arviz as az
import autograd.numpy as anp
import numpy as np
import pytest
from posteriors import exact_loo, exact_regression, regression, regression_data

import bbvi
from bbvi.result.loo import leave_one_out, loo
from bbvi.stats import bernoulli, norm


@pytest.fixture(scope="module")
def fit():
    return bbvi.fit(regression(), seed=1)


def figure(result, name: str):
    """A figure under the name that it has in ArviZ 0.23 or 1.x."""
    older = {"elpd": "elpd_loo", "elpd_i": "loo_i", "p": "p_loo", "pareto_k": "pareto_k"}
    return result[older[name]] if hasattr(result, "index") else getattr(result, name)


@pytest.mark.parametrize(
    ("kind", "error"), [("mean-field", 0.15), ("linear-response", 0.01), ("importance", 0.05)]
)
def test_exact_leave_one_out_of_a_conjugate_regression(fit, kind, error):
    """Every kind accounts for its own q, so that all come to one answer."""
    pointwise = np.asarray(figure(loo(fit, kind), "elpd_i"))
    exact = exact_loo(**regression_data())
    np.testing.assert_allclose(pointwise, exact, atol=error)
    assert pointwise.sum() == pytest.approx(exact.sum(), abs=5 * error)


def test_draws_without_their_weights_would_be_wrong(fit):
    """The correction matters: taken for draws of the posterior, those of the proposal give another figure."""
    chosen = fit.posterior("importance")
    log_likelihood = fit.target.quantities("pointwise", chosen.u)["y"]
    plain = leave_one_out(log_likelihood, np.zeros(len(chosen.u))).elpd.sum()
    assert abs(plain - exact_loo(**regression_data()).sum()) > 1.0


def test_effective_number_of_parameters(fit):
    y, x = regression_data().values()
    mean, covariance = exact_regression(y, x)
    variance = np.einsum("ni,ij,nj->n", x, covariance, x) + 0.7**2
    lppd = norm.logpdf(y, x @ mean, np.sqrt(variance)).sum()
    assert figure(loo(fit), "p") == pytest.approx(lppd - exact_loo(y, x).sum(), abs=0.15)


def test_agrees_with_arviz_on_resampled_draws(fit):
    theirs = az.loo(fit.to_arviz(draws=2000), pointwise=True)
    ours = fit.loo()
    assert type(theirs) is type(ours)
    np.testing.assert_allclose(figure(ours, "elpd_i"), figure(theirs, "elpd_i"), atol=0.1)
    assert "elpd_loo" in str(ours)


def test_compare_takes_it(fit):
    data = regression_data()
    worse = bbvi.Model(
        log_prior=lambda z: norm.logpdf(z.a, 0, 2),
        log_likelihood=lambda z, y: norm.logpdf(y, z.a, 0.7),
        latents={"a": bbvi.Real()},
        data={"y": data["y"]},
    )
    pair = {"slopes": fit.loo(), "mean only": bbvi.fit(worse, seed=1).loo()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ArviZ 0.23 calls pandas in a way that pandas 3 has deprecated
        table = az.compare(pair)
    assert list(table.index) == ["slopes", "mean only"]


def test_several_observed_variables_are_laid_end_to_end():
    model = bbvi.Model(
        log_prior=lambda z: norm.logpdf(z.a),
        log_likelihood=lambda z, y, n: {"y": norm.logpdf(y, z.a, 1), "n": norm.logpdf(n, z.a, 2)},
        latents={"a": bbvi.Real()},
        data={"y": [0.1, 0.2], "n": [[1.0], [2.0], [0.5]]},
    )
    pointwise = figure(bbvi.fit(model, seed=1).loo(), "elpd_i")
    assert list(pointwise["observation"].values) == ["y[0]", "y[1]", "n[0, 0]", "n[1, 0]", "n[2, 0]"]


def test_model_without_log_likelihood_is_told_what_is_missing():
    fit = bbvi.fit(lambda z: -0.5 * anp.sum(z**2), 2, seed=1)
    with pytest.raises(ValueError, match="log_likelihood"):
        fit.loo()


def test_a_log_likelihood_that_is_summed_leaves_out_all_at_once() -> None:
    def summed(z, y):
        return anp.sum(norm.logpdf(y, z.a, 1.0))

    model = bbvi.Model(
        log_prior=lambda z: norm.logpdf(z.a), log_likelihood=summed, latents={"a": bbvi.Real()}, data={"y": [1.0, 2.0]}
    )
    with pytest.warns(RuntimeWarning, match="one number for all observations, .* one for each, without np.sum"):
        bbvi.fit(model, seed=1).loo()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bbvi.fit(model.with_data(y=[1.0]), seed=1).loo()


def test_draws_of_no_weight_do_not_count():
    rng = np.random.default_rng(0)
    log_likelihood = rng.normal(size=(400, 3))
    log_weights = np.zeros(400)
    log_weights[:10] = -np.inf
    spoiled = log_likelihood.copy()
    spoiled[:10] = np.nan
    first = leave_one_out(spoiled, log_weights).elpd
    np.testing.assert_allclose(first, leave_one_out(log_likelihood[10:], np.zeros(390)).elpd, atol=0.01)


def test_weights_of_a_gaussian_that_is_the_posterior_have_no_tail() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(8000, 3))
    y = (rng.random(8000) < 1 / (1 + np.exp(-x @ [1.0, -0.5, 0.3]))).astype(float)
    fit = bbvi.fit(
        bbvi.Model(
            log_prior=lambda z: anp.sum(norm.logpdf(z.beta, 0, 2)),
            log_likelihood=lambda z, y: bernoulli.logpmf_logits(y, anp.dot(x, z.beta)),
            latents={"beta": 3},
            data={"y": y},
        ),
        seed=1,
    )
    assert fit.kinds[fit.kind].exact
    khat = np.asarray(figure(loo(fit), "pareto_k"))
    assert (khat < 0.5).all()
    assert float(figure(loo(fit), "p")) == pytest.approx(3.0, abs=0.2)
    assert np.isfinite(fit.sensitivity()[["prior", "likelihood", "khat"]]).all(axis=None)
