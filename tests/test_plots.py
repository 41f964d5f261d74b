"""Pictures: each is drawn, without overlaps, for few rows and for many, and leaves settings alone."""

from __future__ import annotations

import autograd.numpy as anp
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from posteriors import exact_regression, regression, regression_data, schools, supports

import bbvi
from bbvi.output import plots
from bbvi.output.density import density
from bbvi.stats import lkj_cholesky, norm


def many(rows: int) -> bbvi.Model:
    return bbvi.Model(
        lambda z: -0.5 * anp.sum(z.a_latent_with_a_name**2), latents={"a_latent_with_a_name": rows}
    )


@pytest.fixture(scope="module")
def fits():
    models = {
        "regression": regression(),
        "schools": schools(),
        "supports": supports(),
        "forty": many(40),
        "one": many(1),
    }
    return {name: bbvi.fit(model, seed=1) for name, model in models.items()}


@pytest.mark.parametrize("name", ["regression", "schools", "supports", "forty", "one"])
def test_overview_of_every_kind_of_fit(fits, name):
    before = dict(matplotlib.rcParams)
    figure = plots.plot(fits[name])
    figure.canvas.draw()
    assert dict(matplotlib.rcParams) == before
    for sub in figure.subfigs:
        for ax in sub.axes:
            assert not _overlapping([label for label in ax.get_yticklabels() if label.get_text()], figure)
            assert not _overlapping([label for label in ax.get_xticklabels() if label.get_text()], figure)


def test_forest_has_a_line_for_every_row_and_kind(fits):
    ax = plots.plot_forest(fits["schools"], rows=["mu", "theta"])
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        "mu",
        *(f"theta[{s}]" for s in "ABCDEFGH"),
    ]
    intervals = [line for line in ax.lines if len(line.get_xdata()) == 2 and line.get_linewidth() == 1.6]
    assert len(intervals) == 2 * 9


def test_short_arrays_are_shown_before_the_beginning_of_long_ones():
    """Scales and derived quantities of a model with many effects were left out, as they are declared last."""
    model = bbvi.Model(
        lambda z: -0.5 * (anp.sum(z.effect**2) + z.scale**2), {"effect": 60, "scale": bbvi.Real()},
        derived=lambda z: {"contrast": z.effect[0] - z.effect[1]},
    )  # fmt: skip
    fit = bbvi.fit(model, seed=1)
    expected = [*(f"effect[{i}]" for i in range(38)), "scale", "contrast"]
    ax = plots.plot_forest(fit)
    assert [label.get_text() for label in ax.get_yticklabels()] == expected
    assert "22 more rows" in ax.get_xlabel()
    marginals = plots.plot_marginals(fit)
    assert len(marginals.axes[0].get_yticklabels()) == 40 and marginals.get_size_inches()[1] < 12
    for text in (str(fit), fit._repr_html_()):
        assert "contrast" in text and "effect[37]" in text and "effect[38]" not in text and "22 more rows" in text
    plt.close("all")


def test_a_figure_stays_open_for_pyplot(fits):
    """For scripts that go on with `plt.show` or `plt.savefig`; only a notebook closes what it has shown."""
    figure = plots.plot(fits["one"])
    assert plt.gcf() is figure
    with pytest.raises(NotImplementedError):
        figure._ipython_display_()
    assert plt.fignum_exists(figure.number)
    plt.close("all")


def test_forest_against_a_reference(fits):
    mean, covariance = exact_regression(**regression_data())
    pairs = {
        label: (m, s)
        for label, m, s in zip(
            fits["regression"].model.labels, mean, np.sqrt(np.diag(covariance)), strict=True
        )
    }
    draws = {"beta": np.random.default_rng(0).multivariate_normal(mean, covariance, 4000)}
    positions = []
    for reference in (pairs, draws):
        ax = plots.plot_forest(fits["regression"], reference=reference)
        ticks = [line.get_xdata()[0] for line in ax.lines if line.get_marker() == "|"]
        assert len(ticks) == 3
        positions.append(ticks)
    # In units of the posterior sd the exact means are where the fit's are; 4,000 draws leave 0.016 of it.
    np.testing.assert_allclose(positions[0], 0, atol=0.1)
    np.testing.assert_allclose(positions[0], positions[1], atol=0.1)
    # Values alone, as of a simulation: by latent or by row.
    truth = {"beta": mean}, dict(zip(fits["regression"].model.labels, mean, strict=True))
    for reference in truth:
        ax = plots.plot_forest(fits["regression"], reference=reference)
        ticks = [line.get_xdata()[0] for line in ax.lines if line.get_marker() == "|"]
        np.testing.assert_allclose(ticks, positions[0], atol=1e-9)
    faults = ({"bta": mean}, "did you mean 'beta'"), ({"beta": 1.0}, "3 values"), ({"beta": [[1.0]]}, "shape")
    for wrong, told in faults:
        with pytest.raises(ValueError, match=f"reference: .*{told}"):
            plots.plot_forest(fits["regression"], reference=wrong)
    with pytest.raises(TypeError, match="reference"):
        plots.plot_forest(fits["regression"], reference=3)


@pytest.mark.parametrize(("name", "panels"), [("regression", 3), ("schools", 1), ("forty", 1), ("one", 1)])
def test_marginals_become_a_forest_where_there_are_many(fits, name, panels):
    figure = plots.plot_marginals(fits[name])
    assert sum(ax.get_visible() for ax in figure.axes) == panels


def test_pairs_begin_with_the_most_correlated(fits):
    figure = plots.plot_pairs(fits["regression"], 2)
    labels = {ax.get_xlabel() for ax in figure.axes} | {ax.get_ylabel() for ax in figure.axes}
    assert {"beta[weight]", "beta[length]"} <= labels
    with pytest.raises(ValueError, match="two rows"):
        plots.plot_pairs(fits["one"])
    with pytest.raises(ValueError, match="nothing"):
        plots.plot_pairs(fits["regression"], ["nothing", "beta"])


def test_trace_and_weights(fits):
    ax = plots.plot_trace(fits["schools"])
    assert ax.get_ylim()[0] < fits["schools"].elbo < ax.get_ylim()[1]
    labels = [text.get_text() for text in plots.plot_weights(fits["schools"]).get_legend().get_texts()]
    assert any(label.startswith("mean-field, k-hat") for label in labels)
    own = plt.figure().add_subplot()
    assert plots.plot_weights(fits["regression"], ax=own) is own


def test_predictive(fits):
    ax = plots.plot_predictive(fits["schools"])
    assert [label.get_text() for label in ax.get_xticklabels()] == list("ABCDEFGH")
    wide = bbvi.fit(regression(100), seed=1)
    assert any(line.get_label() == "observed" for line in plots.plot_predictive(wide).lines)
    with pytest.raises(ValueError, match="expected one of y"):
        plots.plot_predictive(fits["schools"], "x")
    with pytest.raises(ValueError, match="predict"):
        plots.plot_predictive(fits["one"])


def test_comparison_of_estimators_is_here_too():
    assert callable(plots.plot_comparison)


def test_density_of_weighted_draws_integrates_to_one_and_stays_inside():
    rng = np.random.default_rng(1)
    x = rng.exponential(size=20_000)
    weights = np.exp(-x) / np.exp(-x).sum()  # exponential with rate 2
    grid, height = density(x, weights, low=0.0)
    assert grid[0] > 0
    assert np.trapezoid(height, grid) == pytest.approx(1, abs=0.02)
    np.testing.assert_allclose(np.interp([0.3, 0.8], grid, height), 2 * np.exp([-0.6, -1.6]), rtol=0.12)


def test_density_leaves_out_what_is_infinite_and_weightless():
    x = np.random.default_rng(2).standard_normal(4000)
    grid, height = density(np.append(x, [np.inf, -np.inf]), np.append(np.full(4000, 1 / 4000), [0.0, 0.0]))
    expected_grid, expected = density(x, np.full(4000, 1 / 4000))
    np.testing.assert_allclose(grid, expected_grid)
    np.testing.assert_allclose(height, expected)


def test_density_of_a_constant_is_a_spike():
    grid, height = density(np.ones(50), np.full(50, 0.02))
    assert np.isfinite(height).all()
    assert grid.mean() == pytest.approx(1.0)


def test_density_of_a_constant_whose_spread_is_rounding_is_a_spike():
    # The mean of equal draws under weights that sum to one but for rounding is not quite the draws' value.
    weights = np.full(3000, 1 / 3000)
    weights[0] += 2e-16
    grid, values = density(np.full(3000, 0.1), weights)
    assert len(grid) == 3 and values.argmax() == 1 and grid[1] == 0.1


def _overlapping(labels, figure) -> bool:
    boxes = [label.get_window_extent(figure.canvas.get_renderer()) for label in labels]
    return any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])


def test_constants_of_a_factor_are_in_no_picture():
    """The first row of a Cholesky factor is (1, 0): nobody asks for it, and the summary on screen is without it."""

    def log_joint(z):
        return lkj_cholesky.logpdf(z.L, 2.0) + norm.logpdf(z.a)

    fit = bbvi.fit(log_joint, {"L": bbvi.CholeskyCorrelation(shape=(2, 2)), "a": bbvi.Real()}, seed=1)
    ax = plots.plot_forest(fit)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["L[1, 0]", "L[1, 1]", "a"]
    assert "more rows" not in ax.get_xlabel()
    assert len(plots.plot_marginals(fit).axes) == 3
