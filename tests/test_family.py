"""Gaussians with correlations: their densities, their gradients, and the fits that maximise the ELBO over them."""

from __future__ import annotations

from typing import Any

import autograd.numpy as anp
import numpy as np
import pytest
from posteriors import schools
from scipy.integrate import dblquad
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

import bbvi
from bbvi import FullRankGaussian, LowRankGaussian
from bbvi.correction import linear_response
from bbvi.solvers.wider import Task, Widened

RNG = np.random.default_rng(20)
FACTOR = np.tril(RNG.normal(size=(4, 4))) + 3.0 * np.eye(4)
GAUSSIANS = {
    "full-rank": FullRankGaussian(RNG.normal(size=4), FACTOR),
    "low-rank": LowRankGaussian(RNG.normal(size=4), RNG.uniform(0.5, 2.0, 4), RNG.normal(size=(4, 2))),
}


def rebuilt(q: Any, name: str, value: Any) -> Any:
    return type(q)(**{key: value if key == name else getattr(q, key) for key in q._arguments})


@pytest.fixture(params=GAUSSIANS)
def q(request: pytest.FixtureRequest) -> Any:
    return GAUSSIANS[request.param]


def test_density_and_entropy_are_scipys(q: Any) -> None:
    right = multivariate_normal(q.mean, q.covariance)
    z = q.sample(50, 1)
    np.testing.assert_allclose(q.log_density(z), right.logpdf(z))
    np.testing.assert_allclose(q.entropy(), right.entropy())
    np.testing.assert_allclose(q.sd, np.sqrt(np.diag(q.covariance)))
    np.testing.assert_allclose(q.at(q.standardize(z)), z)
    np.testing.assert_allclose(q.pulled(z), (z - q.mean) @ np.linalg.inv(q.covariance))


def test_draws_have_its_moments(q: Any) -> None:
    """Of 200,000 draws; a standard error of a covariance is below 0.5 %, and six of them are allowed."""
    z = q.sample(200_000, 2)
    np.testing.assert_allclose(z.mean(axis=0), q.mean, atol=0.015 * q.sd.max())
    np.testing.assert_allclose(np.cov(z.T), q.covariance, atol=0.03 * q.sd.max() ** 2)


def test_score_is_the_derivative_of_the_log_density(q: Any) -> None:
    z, step = q.sample(3, 3), 1e-6
    found = dict(zip(q.parameters, q.score(z).T, strict=True))
    assert len(q.parameters) == q.score(z).shape[1] == q.entropy_gradient().size
    for name, derivative in found.items():
        which, index = name.rstrip("]").split("[")
        at = tuple(int(i) for i in index.split(","))

        def moved(by: float, which: str = which, at: tuple[int, ...] = at) -> Any:
            key = which.removeprefix("log_")
            value = np.array(getattr(q, key))
            value[at] = value[at] * np.exp(by) if which != key else value[at] + by
            return rebuilt(q, key, value)

        up, down = moved(step), moved(-step)
        np.testing.assert_allclose(derivative, (up.log_density(z) - down.log_density(z)) / (2 * step), atol=1e-5)
        slope = (up.entropy() - down.entropy()) / (2 * step)
        by_entropy = dict(zip(q.parameters, q.entropy_gradient(), strict=True))
        np.testing.assert_allclose(by_entropy[name], slope, atol=1e-6)


@pytest.mark.parametrize("estimator", ["pathwise", "score"])
def test_estimators_take_them(q: Any, estimator: str) -> None:
    """The gradient of E[sum z^2] = |mean|^2 + trace of the covariance, within six standard errors."""
    def cost(z: Any) -> Any:
        return anp.sum(z**2)

    estimates = np.array([bbvi.estimate_gradient(cost, q, estimator, 400, seed) for seed in range(40)])
    right = {f"mean[{i}]": 2 * q.mean[i] for i in range(q.dim)}
    if isinstance(q, FullRankGaussian):
        right |= {name: 2 * q.factor[tuple(map(int, name[7:-1].split(",")))] for name in q.parameters if "fac" in name}
    else:
        right |= {f"log_scale[{i}]": 2 * q.scale[i] ** 2 for i in range(q.dim)}
        right |= {name: 2 * q.factors[tuple(map(int, name[8:-1].split(",")))] for name in q.parameters if "fac" in name}
    error = estimates.mean(axis=0) - [right[name] for name in q.parameters]
    assert np.all(np.abs(error) < 6 * estimates.std(axis=0) / np.sqrt(40) + 1e-9)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: FullRankGaussian([0.0, 0.0], [[1.0, 0.5], [0.0, 1.0]]), "lower triangular"),
        (lambda: FullRankGaussian([0.0, 0.0], [[1.0]]), "factor"),
        (lambda: FullRankGaussian([0.0], [[-1.0]]), "positive diagonal"),
        (lambda: FullRankGaussian([np.nan], [[1.0]]), "mean"),
        (lambda: LowRankGaussian([0.0, 0.0], [1.0], [[1.0], [1.0]]), "scale"),
        (lambda: LowRankGaussian([0.0], [0.0], [[1.0]]), "positive"),
        (lambda: LowRankGaussian([0.0], [1.0], [1.0]), "factors"),
        (lambda: bbvi.LowRank(rank=0), "rank"),
        (lambda: bbvi.LowRank(rank=4, draws=5), "draws"),
        (lambda: bbvi.FullRank(draws=1), "draws"),
    ],
)
def test_what_is_no_gaussian_is_refused_by_name(make: Any, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        make()


def correlated(dim: int) -> tuple[np.ndarray, np.ndarray, Any]:
    """A Gaussian whose variances along its axes spread over three decades."""
    rng = np.random.default_rng(dim)
    vectors = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    covariance = (vectors * np.logspace(-1.5, 1.5, dim)) @ vectors.T
    precision, mean = np.linalg.inv(covariance), rng.normal(size=dim)
    return mean, covariance, lambda z: -0.5 * anp.dot(z - mean, anp.dot(precision, z - mean))


@pytest.mark.parametrize(("dim", "estimator"), [(2, "auto"), (20, "auto"), (120, "auto"), (2, "score"), (14, "score")])
def test_full_rank_is_exact_for_gaussians(dim: int, estimator: str) -> None:
    mean, covariance, log_joint = correlated(dim)
    fit = bbvi.fit(log_joint, dim, seed=1, family="full-rank", estimator=estimator)
    assert fit.converged and fit.verdict == "reliable"
    np.testing.assert_allclose(fit.approximation.mean, mean, atol=1e-5)
    np.testing.assert_allclose(fit.approximation.covariance, covariance, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(fit.covariance, fit.approximation.covariance)
    right = 0.5 * (dim * np.log(2 * np.pi) + np.linalg.slogdet(covariance)[1])
    np.testing.assert_allclose(fit.elbo, right, atol=1e-4)


def test_low_rank_finds_the_factors() -> None:
    rng = np.random.default_rng(3)
    factors, scale = 2.0 * rng.normal(size=(150, 2)), np.exp(0.5 * rng.normal(size=150))
    covariance = np.diag(scale**2) + factors @ factors.T
    precision = np.linalg.inv(covariance)
    right = 0.5 * (150 * np.log(2 * np.pi) + np.linalg.slogdet(covariance)[1])

    def log_joint(z: Any) -> Any:
        return -0.5 * anp.dot(z - 1.0, anp.dot(precision, z - 1.0))

    fits = {rank: bbvi.fit(log_joint, 150, seed=1, family=bbvi.LowRank(rank=rank)) for rank in (1, 2)}
    assert fits[1].elbo < right - 1.0 and abs(fits[2].elbo - right) < 0.05
    np.testing.assert_allclose(fits[2].approximation.sd, np.sqrt(np.diag(covariance)), rtol=0.01)
    np.testing.assert_allclose(fits[2].approximation.covariance, covariance, atol=0.01 * covariance.max())
    assert "low-rank" in fits[2].kinds and fits[2].verdict == "reliable"


def banana(z: Any) -> Any:
    return -0.5 * z[0] ** 2 - 0.5 * ((z[1] - 0.3 * z[0] ** 2 - 0.8 * z[0]) / 0.5) ** 2


@pytest.mark.parametrize("family", ["full-rank", bbvi.LowRank(rank=1, most_draws=8192)])
def test_the_elbo_is_the_highest_of_the_family(family: Any) -> None:
    """Against a direct search over the five parameters, with the ELBO by quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(24)
    e = np.stack(np.meshgrid(nodes, nodes, indexing="ij"), axis=-1).reshape(-1, 2)
    w = np.outer(weights, weights).ravel() / weights.sum() ** 2

    def negative_elbo(x: np.ndarray) -> float:
        q = FullRankGaussian(x[:2], [[np.exp(x[2]), 0.0], [x[4], np.exp(x[3])]])
        return -float(w @ banana(q.at(e).T)) - q.entropy()

    best = minimize(negative_elbo, np.array([0.0, 0.2, 0.0, -0.7, 0.5]), method="BFGS")
    fit = bbvi.fit(banana, 2, seed=1, family=family, tolerance=0.02)
    q = fit.approximation
    assert fit.converged
    np.testing.assert_allclose(q.mean, best.x[:2], atol=0.05)
    factor = np.linalg.cholesky(q.covariance)
    np.testing.assert_allclose([factor[0, 0], factor[1, 1]], np.exp(best.x[2:4]), rtol=0.05)
    assert abs(factor[1, 0] - best.x[4]) < 0.05
    own = -negative_elbo(np.array([*q.mean, *np.log(np.diag(factor)), factor[1, 0]]))
    assert own > -best.fun - 0.005


def test_wider_families_are_better() -> None:
    """On a posterior with correlations the ELBOs are in the order of the families, by more than their errors."""
    mean, covariance, log_joint = correlated(12)
    elbos = [bbvi.fit(log_joint, 12, seed=1, family=f).elbo for f in ("mean-field", bbvi.LowRank(rank=3), "full-rank")]
    assert elbos[0] < elbos[1] - 1.0 < elbos[2] - 2.0


def test_a_fit_of_a_wider_family_is_a_whole_fit(tmp_path: Any) -> None:
    plain = bbvi.fit(schools(), seed=1)
    for family, gaussian in (("full-rank", FullRankGaussian), ("low-rank", LowRankGaussian)):
        fit = bbvi.fit(schools(), seed=1, family=family)
        assert isinstance(fit.approximation, gaussian) and family in fit.kinds
        assert fit.elbo > plain.elbo - 0.1 and len(fit.trace) > len(plain.trace)
        table, right = fit.summary(), plain.summary()
        assert np.all(np.abs(table["mean"] - right["mean"]) < 0.1 * right["sd"])
        assert np.all(np.abs(fit.summary(kind=family)["mean"] - right["mean"]) < 0.35 * right["sd"])
        fit.save(tmp_path / "fit.npz")
        again = bbvi.load(tmp_path / "fit.npz")
        np.testing.assert_array_equal(again.approximation.covariance, fit.approximation.covariance)
        assert fit.to_arviz(draws=50, kind=family).posterior.sizes["draw"] == 50
        same = bbvi.fit(schools(), seed=1, family=family)
        np.testing.assert_array_equal(same.approximation.covariance, fit.approximation.covariance)
        further = bbvi.fit(schools(), seed=2, init=fit, family=family)
        assert abs(further.elbo - fit.elbo) < 0.3


def test_a_family_of_ones_own_takes_part() -> None:
    """By its methods alone: here one that widens mean field by a tenth."""

    class Wider:
        name = "wider"

        def refusal(self, dim: int, gradients: bool) -> str:
            return ""

        def widen(self, task: Task) -> Widened:
            q = FullRankGaussian(task.start.mean, np.diag(1.1 * task.start.sd))
            return Widened(q, bbvi.Status.CONVERGED, "", np.zeros(task.dim), np.zeros(task.dim))

    fit = bbvi.fit(lambda z: -0.5 * anp.sum(z**2), 3, seed=1, family=Wider())
    np.testing.assert_allclose(fit.approximation.sd, 1.1)
    assert "wider" in fit.kinds and abs(fit.summary()["sd"].iloc[0] - 1.0) < 0.02


def test_families_that_cannot_be_are_refused() -> None:
    def log_joint(z: Any) -> Any:
        return -0.5 * np.sum(np.asarray(z) ** 2)

    with pytest.raises(ValueError, match="family: expected 'mean-field', 'full-rank', 'low-rank'"):
        bbvi.fit(log_joint, 2, family="full")
    with pytest.raises(TypeError, match="family"):
        bbvi.fit(log_joint, 2, family=3)
    with pytest.raises(ValueError, match="family: 'low-rank' needs gradients"):
        bbvi.fit(log_joint, 2, family="low-rank", estimator="score")
    with pytest.raises(ValueError, match="family: a covariance of 2500 latents"):
        bbvi.fit(lambda z: -0.5 * anp.sum(z**2), 2500, family="full-rank")


@pytest.mark.parametrize("family", ["full-rank", "low-rank"])
def test_limits_hold(family: str) -> None:
    fit = bbvi.fit(schools(), seed=1, family=family, max_evaluations=3000)
    assert fit.evaluations <= 3060 and fit.status is bbvi.Status.BUDGET and fit.verdict != "reliable"
    assert fit.verdict != "reliable" or fit.status is not bbvi.Status.CONVERGED or fit.converged


def test_the_evidence_bounds_every_elbo() -> None:
    evidence = np.log(dblquad(lambda y, x: np.exp(banana([x, y])), -8, 8, -10, 30)[0])
    for family in ("mean-field", "full-rank", "low-rank"):
        fit = bbvi.fit(banana, 2, seed=1, family=family)
        assert fit.elbo - 5 * fit.elbo_se < evidence


def test_covariances_of_a_wide_fit() -> None:
    """Those of the family by its name; of many latents, linear response is that of the mean-field optimum."""
    mean, covariance, log_joint = correlated(6)
    fit = bbvi.fit(log_joint, 6, seed=1, family="low-rank")
    np.testing.assert_allclose(fit.covariance_of(kind="low-rank"), fit.approximation.covariance)
    np.testing.assert_allclose(fit.covariance_of(), covariance, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(fit.approximation.block(np.array([1, 3])), fit.approximation.covariance[1:4:2, 1:4:2])
    with pytest.raises(ValueError, match="kind: expected"):
        fit.covariance_of(kind="full-rank")


def test_linear_response_of_many_latents_begins_at_mean_field(monkeypatch: pytest.MonkeyPatch) -> None:
    """Solved for on request, at the optimum at which the solver's draws were, and not at that of the family."""
    monkeypatch.setattr(linear_response, "DENSE_LIMIT", 20)
    dim, pull = 40, 0.8

    def log_joint(z: Any) -> Any:
        return -0.5 * anp.sum(z["a"] ** 2) - 0.5 * anp.sum((z["b"] - pull * z["a"]) ** 2 / 0.5) - anp.sum(z["b"] ** 4)

    model = bbvi.Model(log_joint, {"a": dim // 2, "b": dim // 2})
    plain, wide = (bbvi.fit(model, seed=1, family=family) for family in ("mean-field", bbvi.LowRank(rank=2)))
    assert wide.covariance is None and "low-rank" in wide.kinds
    found, right = (fit.covariance_of("a", evaluate=True) for fit in (wide, plain))
    np.testing.assert_allclose(found, right, rtol=1e-8, atol=1e-10)


def test_a_family_that_needs_gradients_is_left_out_where_a_fit_goes_over_to_values() -> None:
    """What a gradient says is wrong shows only once a fit has begun."""
    with pytest.warns(RuntimeWarning, match="not differentiable"):
        fit = bbvi.fit(
            lambda z: -0.5 * anp.sum(z**2) - anp.sum(anp.round(3.0 * z) ** 2), 2, seed=1,
            family="low-rank", max_evaluations=400,
        )  # fmt: skip
    assert isinstance(fit.approximation, bbvi.MeanFieldGaussian) and fit.verdict != "reliable"
    assert any("family is mean field" in reason for reason in fit.reasons)


def test_a_family_that_was_not_asked_for_is_named_with_how_to_ask():
    fit = bbvi.fit(lambda z: -0.5 * anp.sum(z**2), 2, seed=1)
    with pytest.raises(ValueError, match="fit with family='full-rank'"):
        fit.summary(kind="full-rank")
