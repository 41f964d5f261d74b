"""`compare_estimators`: the table, its reference values, its labels and its plot."""

from __future__ import annotations

import autograd.numpy as np
import numpy as onp
import pandas as pd
import pytest

import bbvi
from bbvi.estimators import Estimate, Pathwise, ScoreFunction, compare_estimators
from bbvi.estimators.cost import as_cost
from bbvi.estimators.quadrature import exact_gradient
from bbvi.families import Gamma, Gaussian, MeanFieldGaussian
from bbvi.output.comparison import plot_comparison

Q = MeanFieldGaussian(2.0, 1.0)
COLUMNS = ["estimator", "draws", "coordinate", "bias", "bias_se", "variance", "evaluations"]

C, S = onp.cos(2), onp.sin(2)


def square(z):
    return np.sum(z**2)


def test_the_square_as_in_textbooks():
    # Variance 87 / N by score, 4 / N pathwise, 0 by regression. 1,000 repeats leave 6 per cent: 5 deviations.
    table = compare_estimators(
        square, Q, [ScoreFunction("none"), "pathwise", "score"], draws=(10, 40), repeats=1000, seed=1
    )
    assert isinstance(table, pd.DataFrame)
    assert list(table.columns) == COLUMNS
    assert len(table) == 3 * 2 * 2
    mean = table[table.coordinate == "mean[0]"].set_index(["estimator", "draws"])
    for draws in (10, 40):
        assert draws * mean.variance["score (none)", draws] == pytest.approx(87, rel=0.4)
        assert draws * mean.variance["pathwise", draws] == pytest.approx(4, rel=0.3)
        assert mean.variance["score", draws] < 1e-20
        assert mean.evaluations["score (none)", draws] == mean.evaluations["pathwise", draws] == draws
    assert onp.all(onp.abs(table.bias) < 4.5 * table.bias_se + 1e-9)


def test_rows_come_in_the_order_given():
    table = compare_estimators(square, Q, ["score", "pathwise"], draws=[20, 5], repeats=3, seed=0)
    assert list(table.estimator.unique()) == ["score", "pathwise"]
    assert list(table.draws.unique()) == [20, 5]
    assert list(table.coordinate.unique()) == ["mean[0]", "log_sd[0]"]


def test_labels_are_unique_and_say_what_differs():
    given = [
        "score",
        ScoreFunction(),
        ScoreFunction("none"),
        ScoreFunction("none", False),
        ScoreFunction(),
        Pathwise(True),
    ]
    table = compare_estimators(square, Q, given, draws=4, repeats=2, seed=0)
    assert list(table.estimator.unique()) == [
        "score",
        "score #2",
        "score (none)",
        "score (none, no Rao-Blackwellization)",
        "score #3",
        "pathwise (stick the landing)",
    ]


def test_a_seed_gives_the_same_table():
    first, second = (compare_estimators(square, Q, ["pathwise"], draws=5, repeats=4, seed=3) for _ in range(2))
    pd.testing.assert_frame_equal(first, second)
    other = compare_estimators(square, Q, ["pathwise"], draws=5, repeats=4, seed=4)
    assert not first.variance.equals(other.variance)


def test_an_estimator_of_ones_own():
    class Zero:
        def estimate(self, cost, q, draws, rng):
            cost.values(q.sample(draws, rng))
            return Estimate(onp.zeros(2), 0.0)

    table = compare_estimators(square, Q, [Zero(), Zero()], draws=3, repeats=2, seed=0)
    assert list(table.estimator.unique()) == ["Zero", "Zero #2"]
    onp.testing.assert_allclose(table.bias, [-4.0, -2.0, -4.0, -2.0], rtol=1e-9)


def test_a_model_gives_the_gradient_of_its_elbo():
    model = bbvi.Model(lambda z: -0.5 * (z.x - 1.0) ** 2 - 2.0 * z.s, {"x": bbvi.Real(), "s": bbvi.Positive()})
    q = MeanFieldGaussian([0.0, 0.2], [1.0, 0.5])
    # s = e^u: E[log p + u] = -(m^2 + 1 - 2 m + sd^2) / 2 - 2 e^(m_u + sd_u^2 / 2) + m_u.
    rate = 2.0 * onp.exp(0.2 + 0.125)
    exact = [1.0, 1.0 - rate, 1.0 - 1.0, 1.0 - 0.25 * rate]
    table = compare_estimators(model, q, ["pathwise", Pathwise(True), "score"], 12, 200, seed=5)
    given = compare_estimators(model, q, ["pathwise", Pathwise(True), "score"], 12, 200, exact=exact, seed=5)
    onp.testing.assert_allclose(table.bias, given.bias, atol=1e-6)
    # Twelve coordinates at 4.5 standard errors.
    assert onp.all(onp.abs(given.bias) < 4.5 * given.bias_se + 1e-9)
    assert set(table.evaluations) == {12.0}


def test_probes_are_reported_apart():
    q = MeanFieldGaussian(onp.zeros(3), 1.0)
    table = compare_estimators(lambda z: z**2, q, ["score", ScoreFunction(rao_blackwell=False)], 10, 5, seed=0)
    assert set(table.evaluations) == {10.0}
    # One draw to see the terms, and three points with three moves each.
    assert table.attrs["probe_evaluations"] == {"score": 1 + 3 * 4, "score (no Rao-Blackwellization)": 0}


@pytest.mark.parametrize(
    ("cost", "q", "exact"),
    [
        (lambda z: z[0] ** 2, Q, [4.0, 2.0]),
        (lambda z: np.exp(z[0]), Gaussian(0.0, 1.0), [onp.exp(0.5)] * 2),
        (lambda z: np.sin(20 * z[0]), Gaussian(0.1, 0.2), onp.exp(-8) * onp.array([20 * C, -16 * S])),
        (lambda z: float(z[0] > 1.0), Gaussian(0.0, 1.0), [onp.exp(-0.5) / onp.sqrt(2 * onp.pi)] * 2),
        (lambda z: z[0] * z[1] ** 2, Gaussian([1.0, 2.0], [1.0, 0.5]), [4.25, 4.0, 0.0, 0.5]),
        (lambda z: z[0] * z[1] * z[2], Gaussian([1.0, 2.0, 3.0], 1.0), [6.0, 3.0, 2.0, 0.0, 0.0, 0.0]),
    ],
    ids=["square", "exponential", "oscillating", "step", "two", "three"],
)  # fmt: skip
def test_quadrature(cost, q, exact):
    onp.testing.assert_allclose(exact_gradient(as_cost(cost), q), exact, rtol=2e-3, atol=1e-6)


def test_there_is_no_quadrature_for_other_q_or_for_costs_that_are_not_finite():
    assert exact_gradient(as_cost(square), MeanFieldGaussian(onp.zeros(4), 1.0)) is None
    assert exact_gradient(as_cost(square), Gamma(1.0)) is None
    assert exact_gradient(as_cost(lambda z: onp.where(z[0] > 0, 1.0, onp.nan)), Q) is None
    table = compare_estimators(square, Gamma(3.0, 2.0), ["pathwise"], draws=5, repeats=3, seed=0)
    assert table.bias.isna().all() and table.bias_se.notna().all()
    table = compare_estimators(square, Gamma(3.0, 1.0), ["pathwise"], 20, 200, exact=[7.0, -24.0], seed=0)
    # E[z^2] = a (a + 1) / b^2; two coordinates at 4.5 standard errors.
    assert onp.all(onp.abs(table.bias) < 4.5 * table.bias_se)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (dict(estimators=[]), ValueError, "estimators: expected at least one"),
        (dict(estimators=["other"]), ValueError, "estimator: expected"),
        (dict(draws=()), ValueError, "draws: expected at least one"),
        (dict(draws=(10, 0)), ValueError, "draws: expected an integer of at least 1, got 0"),
        (dict(repeats=1), ValueError, "repeats: expected an integer of at least 2, got 1"),
        (dict(exact=[1.0]), ValueError, "exact: expected 2 values"),
        (dict(cost_or_model=3), TypeError, "cost: expected a function"),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    good = dict(cost_or_model=square, q=Q, estimators=["score"], draws=5, repeats=2)
    with pytest.raises(error, match=message):
        compare_estimators(**(good | arguments))


def test_plot_is_log_log_with_an_entry_per_estimator():
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    q = MeanFieldGaussian([1.0, 2.0], 1.0)
    table = compare_estimators(square, q, ["pathwise", "score", ScoreFunction("none")], (12, 24), 5, seed=0)
    ax = plot_comparison(table)
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    entries = [text.get_text() for text in ax.get_legend().get_texts()]
    assert entries == ["pathwise", "score: variance 0", "score (none)"]
    assert sum(len(line.get_xdata()) == 2 for line in ax.lines) == 2 * 4
    assert plot_comparison(table, ax=ax) is ax
    plt.close(ax.figure)
