"""What a table says of each row: a verdict of its own, figures that are known, quantiles where there is no sd."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import autograd.numpy as anp
import numpy as np
import pandas as pd
import pytest

import bbvi
from bbvi.output.display import _figure
from bbvi.result.posterior import weighted_quantiles
from bbvi.stats import norm


@pytest.fixture(scope="module")
def ratio() -> bbvi.Fit:
    """Two normals, exactly, and their ratio, which has neither a mean nor an sd."""
    return bbvi.fit(
        bbvi.Model(
            lambda z: norm.logpdf(z.a, 1, 1) + norm.logpdf(z.b, 0, 1),
            {"a": bbvi.Real(), "b": bbvi.Real()},
            derived=lambda z: {"ratio": z.a / z.b},
        ),
        seed=1,
    )


def test_a_row_in_doubt_does_not_blame_the_others(ratio: bbvi.Fit) -> None:
    table = ratio.summary()
    assert ratio.verdict == "caution"
    assert table["verdict"].to_dict() == {"a": "reliable", "b": "reliable", "ratio": "caution"}
    assert table.loc["a", "check"] == "" and "heavy tail" in table.loc["ratio", "check"]


def test_a_row_whose_sd_may_not_exist_shows_quantiles(ratio: bbvi.Fit) -> None:
    shown = str(ratio).splitlines()
    row = next(line.split() for line in shown if line.lstrip().startswith("ratio  "))
    assert row[1:3] == ["-", "-"] and row[5:7] == ["-", "-"]
    told = next(line for line in shown if line.lstrip().startswith("ratio: its mean and sd may not exist; quantiles"))
    # Of a / b with a ~ N(1, 1) and b ~ N(0, 1): by symmetry the median is 0, and 5.5 % lie below -8.3.
    figures = [float(x) for x in told.rpartition("):")[2].split(",")]
    assert abs(figures[2]) < 0.1 and abs(figures[0] + 8.3) < 0.5 and abs(figures[4] - 8.3) < 0.5
    assert "quantiles" in ratio._repr_html_()


def test_every_row_of_a_fit_without_doubts_is_reliable() -> None:
    table = bbvi.fit(lambda z: -0.5 * anp.sum((z - 1) ** 2), 3, seed=1).summary()
    assert set(table["verdict"]) == {"reliable"} and set(table["check"]) == {""}


def test_what_concerns_the_fit_concerns_each_row() -> None:
    fit = bbvi.fit(lambda z: -0.5 * anp.sum(z**2) + anp.log(anp.cosh(6 * z[0])), 2, seed=1)
    table = fit.summary()
    assert fit.verdict == "unreliable" and any("second mode" in reason for reason in fit.reasons)
    assert set(table["verdict"]) == {"unreliable"} and set(table["check"]) == {"the whole fit"}


def test_rows_of_another_kind_are_compared_with_the_best() -> None:
    covariance = np.array([[1.0, 0.9, 0.0], [0.9, 1.0, 0.0], [0.0, 0.0, 1.0]])
    precision = np.linalg.inv(covariance)
    fit = bbvi.fit(lambda z: -0.5 * z @ precision @ z, 3, seed=1)
    table = fit.summary("mean-field")
    # Mean field's sds are 0.44 of those of the correlated pair: off by more than a half.
    assert table["verdict"].tolist() == ["unreliable", "unreliable", "reliable"]
    assert table["check"].tolist() == ["differs from the best", "differs from the best", ""]
    assert set(fit.summary()["verdict"]) == {"reliable"}


def test_verdicts_by_row_are_saved(tmp_path: Any, ratio: bbvi.Fit) -> None:
    for name in ("fit.nc", "fit.npz"):
        ratio.save(tmp_path / name)
        pd.testing.assert_frame_equal(bbvi.load(tmp_path / name).summary(), ratio.summary())


def test_the_verdict_of_a_row_in_chains() -> None:
    """A Cauchy beside normals: chains are right about the normals, and say so."""
    fit = bbvi.fit(lambda z: -anp.log1p(z[0] ** 2) - 0.5 * anp.sum(z[1:] ** 2), 4, seed=2)
    table = fit.summary()
    assert fit.verdict != "reliable" and table.loc["z[0]", "verdict"] != "reliable"
    assert "heavy tail" in table.loc["z[0]", "check"]
    normal = table.loc[["z[1]", "z[2]", "z[3]"]]
    if (normal["verdict"] == "reliable").all():
        assert np.abs(normal["mean"]).max() < 0.1 and np.abs(normal["sd"] - 1).max() < 0.1


# ---- how figures show themselves -----------------------------------------------------------------------------------


def test_zero_has_no_sign() -> None:
    assert _figure(-0.0001, 1.0) == "0.00" and _figure(-0.0, 0.0) == "0" and _figure(-0.5, 1.0) == "-0.50"
    fit = bbvi.fit(lambda z: -0.5 * anp.sum(z**2), 4, seed=1)
    assert not any(cell.lstrip("-0.") == "" and cell.startswith("-") for cell in str(fit).split() if "." in cell)
    # Its evidence is known to be zero, and the ELBO is so but for rounding.
    exact = bbvi.fit(lambda z: norm.logpdf(z.a) + norm.logpdf(z.b), {"a": bbvi.Real(), "b": bbvi.Real()}, seed=1)
    assert "ELBO 0.00, " in repr(replace(exact, elbo=-1e-4))


def test_names_of_columns_are_the_same_on_a_screen_and_in_the_summary(ratio: bbvi.Fit) -> None:
    header = next(line.split() for line in str(ratio).splitlines() if "eti_lb" in line)
    assert header == list(ratio.summary().columns)
    assert all(f"<th>{name}</th>" in ratio._repr_html_() for name in header)


def test_constants_are_not_shown() -> None:
    model = bbvi.Model(lambda z: -1.5 * anp.sum(z.L[1:, 0] ** 2), {"L": bbvi.CholeskyCorrelation(shape=3)})
    fit = bbvi.fit(model, seed=1)
    shown = [line.split("  ")[1] for line in str(fit).splitlines() if line.startswith("  L[")]
    assert shown == ["L[1, 0]", "L[1, 1]", "L[2, 0]", "L[2, 1]", "L[2, 2]"]
    # For ArviZ, and by name, they are there.
    assert len(fit.summary()) == 9


def test_what_varies_by_rounding_alone_is_constant() -> None:
    """The diagonal of a correlation matrix is one, up to rounding, and left out as the zeros of its factor are."""
    model = bbvi.Model(
        lambda z: -1.5 * anp.sum(z.L[1:, 0] ** 2),
        {"L": bbvi.CholeskyCorrelation(shape=3)},
        derived=lambda z: {"corr": anp.dot(z.L, z.L.T), "one": anp.sum(z.L[1] ** 2)},
    )
    fit = bbvi.fit(model, seed=1)
    table = fit.summary()
    assert (table.loc[["corr[1, 1]", "one"], ["sd", "mcse_mean", "sd_mean_field"]] == 0).all(axis=None)
    shown = [line.split("  ")[1] for line in str(fit).splitlines() if line.startswith(("  corr", "  one"))]
    assert "corr[1, 1]" not in shown and "corr[1, 0]" in shown and "one" in shown


def test_figures_that_are_not_known_are_no_numbers() -> None:
    fit = bbvi.fit(lambda z: -anp.sum(anp.cosh(z - 1)), 4, seed=1, max_evaluations=60)
    assert fit.status == "budget" and fit.summary()["mcse_mean"].isna().all()


# ---- what it costs -------------------------------------------------------------------------------------------------


def test_closed_forms_are_what_draws_say() -> None:
    """Means, sds, ends and Monte Carlo errors of elementwise latents, against the draws that stand for them."""
    latents = {"r": bbvi.Real(), "p": bbvi.Positive(shape=2), "i": bbvi.Interval(-1, 2)}
    fit = bbvi.fit(
        bbvi.Model(
            lambda z: -0.5 * z.r**2 + anp.sum(2 * anp.log(z.p) - z.p) - 0.1 * (z.i - 1) ** 2 - anp.cosh(z.r - z.i),
            latents,
        ),
        seed=1,
        tolerance=0.01,
    )
    for kind in ("mean-field", "linear-response"):
        posterior = fit.posterior(kind)
        mean, sd, error = posterior.moments(posterior.columns[1])
        low, high = weighted_quantiles(posterior.columns[1], posterior.weights, np.array([0.055, 0.945]))
        table = fit.summary(kind)
        np.testing.assert_allclose(table["mean"], mean, atol=2e-3)
        np.testing.assert_allclose(table["sd"], sd, rtol=0.02)
        np.testing.assert_allclose(table["eti_lb"], low, atol=0.02)
        np.testing.assert_allclose(table["eti_ub"], high, rtol=0.02)
        np.testing.assert_allclose(table["mcse_mean"], error, rtol=0.05)


def test_quantiles_of_equal_weights_are_those_of_any() -> None:
    rng = np.random.default_rng(0)
    x, levels = rng.standard_normal((500, 3)), np.array([0.0, 0.055, 0.5, 0.9, 1.0])
    weights = np.full(500, 1 / 500)
    unequal = weights * (1 + 1e-12 * rng.random(500))
    found = weighted_quantiles(x, weights, levels)
    np.testing.assert_allclose(found, weighted_quantiles(x, unequal, levels), atol=1e-6)


def test_summaries_of_many_latents_need_no_draws_and_are_kept() -> None:
    fit = bbvi.fit(lambda z: -0.5 * anp.sum((z - 1) ** 2), 2001, seed=1)
    assert fit.kind == "mean-field"
    first = fit.summary()
    # No column of draws was made, or sorted.
    assert "columns" not in vars(fit.posterior())
    assert np.abs(first["mean"] - 1).max() < 1e-6 and np.abs(first["sd"] - 1).max() < 1e-3
    began = time.process_time()
    fit.rows()
    kept = time.process_time() - began
    began = time.process_time()
    fit.posterior().rows(0.89)
    assert kept < 0.2 * (time.process_time() - began)
    first.loc["z[0]", "mean"] = 7.0
    assert fit.summary().loc["z[0]", "mean"] < 2


# ---- what advice is worth ------------------------------------------------------------------------------------------


def test_a_limit_is_not_blamed_that_nobody_set_or_that_did_not_bind(ratio: bbvi.Fit) -> None:
    for reason in ratio.reasons:
        assert "max_evaluations" not in reason and "max_seconds" not in reason
    tight = bbvi.fit(lambda z: -anp.sum(anp.cosh(z - 1)), 4, seed=1, max_evaluations=60)
    assert any("Raise max_evaluations, or continue from here" in reason for reason in tight.reasons)
    assert bbvi.fit(lambda z: -anp.sum(anp.cosh(z - 1)), 4, seed=1, max_evaluations=20_000).verdict == "reliable"


def test_too_few_draws_are_named_and_more_help() -> None:
    def log_joint(z: Any) -> Any:
        return -anp.exp(z[0] + z[1] - z[2]) - anp.exp(z[2] * z[0]) - 0.5 * anp.sum(z**2)

    few = bbvi.fit(
        log_joint, 3, seed=1, solver=bbvi.FixedDraws(draws=10, max_draws=10), max_evaluations=10**6, tolerance=0.01
    )
    assert few.status == "budget"
    assert "allow more draws, as by solver=bbvi.FixedDraws(max_draws=80)" in few.message
    assert not any("Raise max_evaluations" in reason for reason in few.reasons)
    more = bbvi.fit(log_joint, 3, seed=1, solver=bbvi.FixedDraws(draws=10, max_draws=80), tolerance=0.01)
    assert np.max(more.mean_se) < np.max(few.mean_se)


def test_to_draw_more_changes_the_result(ratio: bbvi.Fit) -> None:
    assert any("fit.extend()" in reason for reason in ratio.reasons)
    longer = ratio.extend()
    assert longer.evaluations > ratio.evaluations
    assert not longer.summary()["mean"].equals(ratio.summary()["mean"])


def test_a_trace_is_a_table(ratio: bbvi.Fit) -> None:
    assert str(ratio.trace).splitlines()[0].split() == [
        "step", "elbo", "gradient_norm", "step_size", "evaluations", "gradient_evaluations", "seconds"
    ]  # fmt: skip
    long = bbvi.Trace(*([float(i) for i in range(100)] for _ in range(6)))
    assert len(str(long).splitlines()) == 32 and "..." in str(long) and str(long).split()[-7] == "100"
    assert long._repr_html_().count("<tr>") == 32
