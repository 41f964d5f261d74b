"""What a fit found does not change: no figure, draw or picture calls the log joint again or moves the verdict."""

from __future__ import annotations

import numpy as np
import pytest

import bbvi
from bbvi import plots


class Counted:
    """A simulator in plain NumPy that counts its calls."""

    def __init__(self):
        self.calls = 0

    def __call__(self, z):
        self.calls += 1
        return float(-0.5 * (z.a - 1) ** 2 - 0.5 * (z.b / 2) ** 2)


@pytest.fixture
def fitted():
    function = Counted()
    fit = bbvi.fit(bbvi.Model(function, {"a": bbvi.Real(), "b": bbvi.Real()}), seed=1, max_evaluations=360)
    assert function.calls >= fit.evaluations > 50
    return fit, function


ASKED = {
    "summary": lambda fit: fit.summary(),
    "print": str,
    "html": lambda fit: fit._repr_html_(),
    "sample": lambda fit: fit.sample(1000),
    "mean-field draws": lambda fit: fit.sample(1000, kind="mean-field"),
    "expect": lambda fit: fit.expect(lambda z: z.a > 0),
    "to_arviz": lambda fit: fit.to_arviz(),
    "mean-field to_arviz": lambda fit: fit.to_arviz(kind="mean-field"),
    "plot": lambda fit: fit.plot(),
    "plot_weights": plots.plot_weights,
    "plot_pairs": plots.plot_pairs,
    "starts": lambda fit: fit.starts(4),
}


@pytest.mark.filterwarnings("ignore:the pool of draws:RuntimeWarning")
@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
def test_nothing_calls_the_log_joint_again(fitted, asked):
    fit, function = fitted
    before = function.calls, fit.evaluations, fit.verdict, list(fit.reasons)
    asked(fit)
    assert (function.calls, fit.evaluations, fit.verdict, fit.reasons) == before


def test_saving_does_not_call_it_either(fitted, tmp_path):
    fit, function = fitted
    before = function.calls
    for name in ("fit.nc", "fit.npz"):
        fit.save(tmp_path / name)
        assert bbvi.load(tmp_path / name).evaluations == fit.evaluations
    assert function.calls == before


def test_what_is_asked_for_by_name_is_evaluated(fitted):
    fit, function = fitted
    before = function.calls
    tree = fit.to_arviz(draws=500, kind="mean-field", evaluate=True)
    assert function.calls == before + 500
    lp = tree["sample_stats"]["lp"].values.ravel()
    a, b = (tree["posterior"][name].values.ravel() for name in "ab")
    np.testing.assert_allclose(lp, -0.5 * (a - 1) ** 2 - 0.5 * (b / 2) ** 2)


def test_more_draws_than_the_pool_is_worth_are_a_warning_and_not_a_verdict():
    fit = bbvi.fit(lambda z: -0.5 * np.sum((z - 3) ** 2), 2, seed=1)
    reasons = list(fit.reasons)
    with pytest.warns(RuntimeWarning, match=r"effective size of \d+, less than the 400000 .*fit\.extend"):
        draws = fit.sample(400_000)
    assert draws["z"].shape == (400_000, 2)
    assert fit.verdict == "reliable" and fit.reasons == reasons


def test_draws_of_gaussians_know_their_density_as_far_as_it_was_evaluated():
    fit = bbvi.fit(lambda z: -0.5 * np.sum(z**2), 2, seed=1)
    known = len(fit.kinds["mean-field"].evaluated.u)
    drawn = fit.draw(known, kind="mean-field")
    np.testing.assert_allclose(drawn.lp, -0.5 * np.sum(drawn.u**2, axis=1))
    assert np.isnan(fit.draw(known + 1, kind="mean-field").lp).all()
