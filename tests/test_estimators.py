"""Estimators: closed forms, exact variances, and no bias from any control variate."""

from __future__ import annotations

import autograd.numpy as np
import numpy as onp
import pytest

from bbvi.estimators import Pathwise, ScoreFunction, as_cost, as_estimator, estimate_gradient
from bbvi.estimators.control_variates import affordable, gaussian_features
from bbvi.families import Bernoulli, Beta, Gamma, MeanFieldGaussian, StudentT, VonMises

CONTROL_VARIATES = ["regression", "leave-one-out", "optimal", "none"]
ESTIMATORS = [Pathwise(), *(ScoreFunction(name) for name in CONTROL_VARIATES)]
EVERY = pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda estimator: estimator.label)


class GaussianTarget:
    """Log density of a Gaussian with independent coordinates, the way estimators see a model."""

    has_gradient = True

    def __init__(self, mean, sd):
        self.mean, self.sd = onp.asarray(mean, float), onp.asarray(sd, float)
        self.dim, self.evaluations, self.gradient_evaluations = self.mean.size, 0, 0

    def terms(self, u):
        self.evaluations += len(u)
        return -0.5 * ((u - self.mean) / self.sd) ** 2

    def values(self, u):
        return self.terms(u).sum(axis=1)

    def gradients(self, u):
        self.gradient_evaluations += len(u)
        return self.values(u), -(u - self.mean) / self.sd**2


class Point:
    """All mass at one place: a q that has a path and an entropy, and no score."""

    def __init__(self, place):
        self.place = onp.asarray(place, dtype=float)

    def sample(self, n, rng):
        return onp.tile(self.place, (n, 1))

    def path(self, z, gradient):
        return gradient

    def entropy(self):
        return 0.0

    def entropy_gradient(self):
        return onp.zeros(self.place.size)


def estimates(cost, q, estimator, draws, repeats, seed):
    rng, cost = onp.random.default_rng(seed), as_cost(cost)
    return onp.array([estimate_gradient(cost, q, estimator, draws, rng) for _ in range(repeats)])


def assert_unbiased(sample, exact, deviations=4.5):
    """Within 4.5 standard errors in each coordinate: one false alarm in 150,000 coordinates."""
    error = sample.std(axis=0, ddof=1) / onp.sqrt(len(sample))
    assert onp.all(onp.abs(sample.mean(axis=0) - exact) <= deviations * error + 1e-12 * (1 + onp.abs(exact)))


# ---- variances that are known exactly ----


@pytest.mark.parametrize(("estimator", "exact"), [(ScoreFunction("none"), 87.0), (Pathwise(), 4.0)])
def test_variance_of_the_square_is_the_exact_one(estimator, exact):
    # E[x^2] under N(2, 1): 87 / N by score, 4 / N pathwise. The measured variance has a relative error of
    # 7 per cent for the score function, of 3 for pathwise: 4 and 10 deviations.
    sample = estimates(lambda z: z[0] ** 2, MeanFieldGaussian(2.0, 1.0), estimator, 10, 2000, seed=1)
    assert 10 * sample[:, 0].var(ddof=1) == pytest.approx(exact, rel=0.3)
    assert_unbiased(sample, [4.0, 2.0])


def test_regression_has_no_variance_for_the_square():
    sample = estimates(lambda z: z[0] ** 2, MeanFieldGaussian(2.0, 1.0), ScoreFunction(), 10, 50, seed=2)
    onp.testing.assert_allclose(sample, onp.tile([4.0, 2.0], (50, 1)), rtol=1e-10)


def test_regression_has_no_variance_for_any_quadratic():
    rng = onp.random.default_rng(3)
    curvature, slope = rng.normal(size=(3, 3)), rng.normal(size=3)
    q = MeanFieldGaussian(rng.normal(size=3), [0.1, 1.0, 20.0])
    symmetric = curvature + curvature.T
    exact = onp.concatenate([symmetric @ q.mean + slope, onp.diag(symmetric) * q.sd**2])
    # (D + 1) (D + 2) = 20 draws allow the cross terms.
    sample = estimates(lambda z: z @ curvature @ z + slope @ z + 1e6, q, "score", 20, 20, seed=4)
    onp.testing.assert_allclose(sample, onp.tile(exact, (20, 1)), rtol=1e-7)
    assert estimates(lambda z: z @ curvature @ z, q, "score", 19, 20, seed=4).std(axis=0).max() > 1e-3


def test_normal_data_with_squared_error_has_the_closed_form_gradient():
    y = onp.array([1.2, -0.4, 3.3, 0.8])
    q = MeanFieldGaussian(0.3, 1.7)
    exact = [-2 * onp.sum(y - 0.3), 2 * y.size * 1.7**2]
    for estimator in ESTIMATORS:
        assert_unbiased(estimates(lambda z: np.sum((y - z[0]) ** 2), q, estimator, 20, 500, seed=5), exact)


def test_plain_score_variance_grows_with_the_square_of_the_dimension():
    # f = sum of D terms with mean 1: E[f^2] ~ D^2. Each variance has a relative error of about 10 per cent.
    variance = {"score": [], "pathwise": []}
    for dim in (8, 32):
        q, cost = MeanFieldGaussian(onp.zeros(dim), 1.0), lambda z: np.sum(1.0 + z + 0.5 * z**2)
        for name, estimator in (
            ("score", ScoreFunction("none", rao_blackwell=False)),
            ("pathwise", Pathwise()),
        ):
            sample = estimates(cost, q, estimator, 10, 200, seed=6)
            variance[name].append(sample[:, :dim].var(axis=0).mean())
    assert 10 < variance["score"][1] / variance["score"][0] < 17
    assert 0.8 < variance["pathwise"][1] / variance["pathwise"][0] < 1.25


@pytest.mark.parametrize(
    ("cost", "least"),
    [(lambda z: np.sin(20 * z[0]), 100.0), (lambda z: np.tanh(50 * (z[0] - 0.3)), 5.0)],
    ids=["high-frequency", "steep-step"],
)
def test_score_beats_pathwise_where_the_cost_is_rough(cost, least):
    # |f| <= 1 bounds the score estimate's variance; the slope of f has no such bound.
    q = MeanFieldGaussian(0.0, 1.0)
    score, pathwise = (estimates(cost, q, e, 20, 500, seed=7).var(axis=0) for e in (ScoreFunction(), Pathwise()))
    assert pathwise[0] > least * score[0]


# ---- bias ----


@EVERY
@pytest.mark.parametrize("draws", [1, 2, 3, 6, 10])
def test_estimates_of_the_exponential_are_unbiased(estimator, draws):
    # Both derivatives of E[e^z] are sqrt(e) at N(0, 1); coefficients from the same draws lose 0.36 of them.
    sample = estimates(lambda z: np.exp(z[0]), MeanFieldGaussian(0.0, 1.0), estimator, draws, 1500, seed=8)
    assert_unbiased(sample, onp.sqrt(onp.e))


def test_coefficients_from_the_same_draws_would_be_caught():
    # The wrong estimator that the tests above exist for: ordinary least squares, ten draws.
    rng, found = onp.random.default_rng(9), []
    q = MeanFieldGaussian(0.0, 1.0)
    for _ in range(1500):
        z = q.sample(10, rng)
        features = gaussian_features(q, z, onp.arange(1))
        coefficients = onp.linalg.lstsq(features.values, onp.exp(z[:, 0]), rcond=None)[0]
        residual = onp.exp(z[:, 0]) - features.values @ coefficients
        found.append(residual @ q.score(z) / 10 + coefficients @ features.moments)
    with pytest.raises(AssertionError):
        assert_unbiased(onp.array(found), onp.sqrt(onp.e))


@EVERY
def test_elbo_gradient_of_a_target(estimator):
    target, q = GaussianTarget([1.0, -2.0], [0.5, 3.0]), MeanFieldGaussian([0.0, 0.0], [1.0, 1.0])
    exact = onp.concatenate([target.mean / target.sd**2, 1 - 1 / target.sd**2])
    assert_unbiased(estimates(target, q, estimator, 12, 500, seed=10), exact)


def test_stick_the_landing_has_no_variance_at_the_posterior():
    target, q = GaussianTarget([1.0, -2.0], [0.5, 3.0]), MeanFieldGaussian([1.0, -2.0], [0.5, 3.0])
    sample = estimates(target, q, Pathwise(stick_the_landing=True), 5, 20, seed=11)
    onp.testing.assert_allclose(sample, 0.0, atol=1e-12)
    assert estimates(target, q, Pathwise(), 5, 20, seed=11).std() > 0.1
    away = MeanFieldGaussian([0.0, 0.0], [1.0, 1.0])
    exact = onp.concatenate([target.mean / target.sd**2, 1 - 1 / target.sd**2])
    assert_unbiased(estimates(target, away, Pathwise(stick_the_landing=True), 5, 500, seed=12), exact)


@pytest.mark.parametrize("control_variate", CONTROL_VARIATES)
@pytest.mark.parametrize(
    ("q", "exact"),
    [
        (Gamma([2.0, 0.5], [1.0, 3.0]), [5.0, 2 / 9, -12.0, -0.5 * 1.5 * 2 / 27]),
        (Bernoulli([0.3, 0.9]), [1.0, 1.0]),
        (StudentT([8.0, 20.0], [1.0, -1.0], 0.5), [-0.5 / 36, -0.5 / 324, 2.0, -2.0, 4 / 3, 10 / 9]),
        (Beta(2.0, 3.0), [0.14, -0.08]),
    ],
    ids=["gamma", "bernoulli", "student", "beta"],
)
def test_other_families_second_moment(q, exact, control_variate):
    # Gamma: E[z^2] = a (a + 1) / b^2. Student: loc^2 + scale^2 df / (df - 2). Beta: a (a + 1) / (s (s + 1)).
    if isinstance(q, Beta):
        a, s = 2.0, 5.0
        second = a * (a + 1) / (s * (s + 1))
        by_s = -second * (2 * s + 1) / (s * (s + 1))
        exact = [(2 * a + 1) / (s * (s + 1)) + by_s, by_s]
    sample = estimates(lambda z: np.sum(z**2), q, ScoreFunction(control_variate), 16, 400, seed=13)
    assert_unbiased(sample, exact)
    if not isinstance(q, Bernoulli):
        assert_unbiased(estimates(lambda z: np.sum(z**2), q, Pathwise(), 16, 400, seed=14), exact)


def test_von_mises_first_harmonic():
    # E[cos(z - 1)] = A(k) cos(loc - 1), A = I1 / I0, A' = 1 - A / k - A^2.
    from scipy.special import i0, i1

    q, ratio = VonMises(0.4, 2.5), i1(2.5) / i0(2.5)
    exact = [-ratio * onp.sin(-0.6), (1 - ratio / 2.5 - ratio**2) * onp.cos(-0.6)]
    for estimator in (Pathwise(), ScoreFunction(), ScoreFunction("none")):
        assert_unbiased(estimates(lambda z: np.cos(z[0] - 1), q, estimator, 10, 500, seed=15), exact)


def test_any_object_with_sample_and_score_can_be_q():
    class Exponential:
        def sample(self, n, rng):
            return rng.exponential(2.0, (n, 1))

        def score(self, z):
            return z / 4 - 0.5

        def path(self, z, gradient):
            return gradient * z / 2

    for estimator in ESTIMATORS:
        assert_unbiased(estimates(lambda z: z[0] ** 2, Exponential(), estimator, 10, 500, seed=16), 8.0)


def test_pathwise_needs_no_score():
    target = GaussianTarget([1.0, -2.0], [1.0, 2.0])
    _, exact = target.gradients(onp.array([[3.0, 0.0]]))
    onp.testing.assert_allclose(estimate_gradient(target, Point([3.0, 0.0]), "pathwise", 2, 0), exact[0], rtol=1e-12)
    lost = estimate_gradient(lambda z: np.sum(np.log(z)), Point([0.0, 1.0]), "pathwise", 2, 0)
    assert onp.all(onp.isnan(lost)) and lost.shape == (2,)


def test_optimal_scalar_beats_none_and_knows_constants():
    q = MeanFieldGaussian(2.0, 1.0)
    constant = estimates(lambda z: 3.0, q, ScoreFunction("optimal"), 5, 10, seed=17)
    onp.testing.assert_allclose(constant, 0.0, atol=1e-12)
    variances = [
        estimates(lambda z: z[0] ** 2, q, ScoreFunction(name), 20, 500, seed=18)[:, 0].var()
        for name in ("optimal", "none")
    ]
    assert variances[0] < 0.7 * variances[1]


def test_features_are_dropped_with_the_draws():
    q, members = MeanFieldGaussian(onp.zeros(3), 1.0), onp.arange(3)
    sizes = [gaussian_features(q, onp.zeros((n, 3)), members).values.shape[1] for n in (20, 19, 14, 13, 8, 7, 2)]
    assert sizes == [10, 7, 7, 4, 4, 1, 1]
    assert affordable(1, 2) and not affordable(1, 1)


# ---- the boundary ----


def test_score_uses_plain_values_only():
    def cost(z):
        assert type(z) is onp.ndarray and z.shape == (2,)
        z *= 2.0  # the user's own copy
        return float(z @ z)

    gradient = estimate_gradient(cost, MeanFieldGaussian([1.0, 0.0], 1.0), "score", 50, 0)
    onp.testing.assert_allclose(gradient, [8.0, 0.0, 8.0, 8.0], atol=1e-9)


@pytest.mark.parametrize(
    "cost",
    [
        lambda z: np.sum(z**2),
        lambda z: np.array([np.sum(z**2)]),
        lambda z: z**2,
        lambda z: np.sum(z**2)[None],
    ],
)
def test_a_cost_may_be_a_number_or_an_array_of_terms(cost):
    q = MeanFieldGaussian([1.0, 2.0], 1.0)
    for estimator in (Pathwise(), ScoreFunction()):
        gradient = estimate_gradient(cost, q, estimator, 400, onp.random.default_rng(1))
        onp.testing.assert_allclose(gradient, [2.0, 4.0, 2.0, 2.0], atol=1.0)


def test_gradients_of_branching_costs_are_those_of_every_draw():
    # A recording of one draw would give all draws its branch.
    sample = estimates(lambda z: z[0] if z[0] > 0 else -3.0 * z[0], MeanFieldGaussian(0.0, 1.0), Pathwise(), 50, 40, 19)
    assert_unbiased(sample[:, :1], -1.0)


def test_a_cost_that_autograd_cannot_follow_says_so():
    with pytest.raises(TypeError) as caught:
        estimate_gradient(lambda z: float(z[0]), MeanFieldGaussian(0.0, 1.0), "pathwise", 5, 0)
    assert "use the score function" in caught.value.__notes__[0]


def test_values_that_are_not_finite_give_nan_without_warnings():
    q = MeanFieldGaussian([0.0, 0.0], 1.0)
    for value in (onp.nan, onp.inf, -onp.inf):
        for name in CONTROL_VARIATES:
            gradient = estimate_gradient(lambda z, v=value: onp.where(z > 0, v, z), q, ScoreFunction(name), 20, 0)
            assert onp.all(onp.isnan(gradient))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (dict(estimator="reinforce"), ValueError, "estimator: expected 'pathwise', 'score' or an object"),
        (dict(estimator=ScoreFunction), TypeError, "estimator: expected"),
        (dict(estimator=3), TypeError, "estimator: expected"),
        (dict(draws=0), ValueError, "draws: expected an integer of at least 1, got 0"),
        (dict(draws=2.5), TypeError, r"draws: expected an integer, got 2\.5"),
        (dict(draws=True), ValueError, "draws: expected an integer"),
        (dict(cost=3.0), TypeError, "cost: expected a function of one draw or a Model, got float"),
        (dict(cost=lambda z: None), TypeError, "cost: expected a number or an array of terms, got None"),
        (
            dict(cost=GaussianTarget([0, 0], 1)),
            ValueError,
            "q: expected 2 coordinates, as the model has, got 1",
        ),
        (dict(q=Bernoulli(0.5), estimator="pathwise"), TypeError, "q: Bernoulli has no path"),
        (dict(q=Point([0.0])), TypeError, "q: Point has no score, which the score function needs; use pathwise"),
        (
            dict(q=Gamma(1.0), cost=GaussianTarget([0], 1)),
            TypeError,
            "q: the ELBO of a model needs a MeanField",
        ),
        (
            dict(q=Gamma(1.0), cost=GaussianTarget([0], 1), estimator="pathwise"),
            TypeError,
            "q: the ELBO of a model needs .* with entropy and entropy_gradient; got Gamma",
        ),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    good = dict(cost=lambda z: z[0], q=MeanFieldGaussian(0.0, 1.0), estimator="score", draws=5, rng=0)
    with pytest.raises(error, match=message):
        estimate_gradient(**(good | arguments))


def test_costs_must_not_change_their_number_of_terms():
    q = MeanFieldGaussian([0.0, 0.0], 1.0)
    with pytest.raises(ValueError, match=r"cost: expected one number of terms for all draws, got \[1, 2\]"):
        estimate_gradient(lambda z: z if z[0] > 0 else z[:1], q, "score", 20, 0)


def test_options_are_validated():
    with pytest.raises(ValueError, match="control_variate: expected one of 'regression', 'leave-one-out'"):
        ScoreFunction("mean")
    with pytest.raises(TypeError, match="rao_blackwell: expected a bool, got 1"):
        ScoreFunction(rao_blackwell=1)
    with pytest.raises(TypeError, match="stick_the_landing: expected a bool"):
        Pathwise("yes")
    assert as_estimator("score") == ScoreFunction()
    with pytest.raises(AttributeError):
        ScoreFunction().rao_blackwell = False
