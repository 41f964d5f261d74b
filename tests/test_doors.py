"""Open doors: an estimator, a solver, a support and a density from outside take part in a fit by protocol alone."""

from __future__ import annotations

import re
from pathlib import Path

import autograd.numpy as anp
import numpy as np
import pytest

import bbvi

PAGE = Path(__file__).resolve().parent.parent / "docs" / "extending.md"


@pytest.fixture(scope="module")
def page():
    """What the page on extending defines when its code is run."""
    names: dict[str, object] = {"__name__": "__page__"}
    for code in re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S):
        exec(compile(code, str(PAGE), "exec", dont_inherit=True), names)
    return names


def quadratic(z):
    return -0.5 * anp.sum((z - anp.array([3.0, -1.0])) ** 2 / anp.array([1.0, 4.0]))


def near(fit, mean, sd):
    """Whether means are within 0.03 sd and sds within 3 %: a thousand draws would leave as much."""
    table = fit.summary()
    np.testing.assert_allclose(table["mean"], mean, atol=0.03 * max(sd))
    np.testing.assert_allclose(table["sd"], sd, rtol=0.03)


def test_an_estimator_from_outside_takes_part(page):
    fit = bbvi.fit(quadratic, 2, estimator=page["Antithetic"](), seed=1)
    assert fit.converged and fit.estimator == "antithetic pathwise" and fit.solver == "Stochastic"
    near(fit, [3.0, -1.0], [1.0, 2.0])


def test_a_solver_from_outside_takes_part(page):
    fit = bbvi.fit(quadratic, 2, solver=page["Ascent"](), seed=1)
    assert fit.converged and fit.verdict == "reliable" and fit.solver == "Ascent"
    assert len(fit.trace) > 3 and fit.covariance is not None
    near(fit, [3.0, -1.0], [1.0, 2.0])


def test_a_solver_from_outside_obeys_the_limits_and_goes_on_from_a_checkpoint(page, tmp_path):
    path = tmp_path / "steps.npz"
    cut = bbvi.fit(
        quadratic, 2, solver=page["Ascent"](step_size=0.05), seed=1, init=[0.0, 0.0], checkpoint=path,
        callback=lambda seen: seen.step == 5,
    )  # fmt: skip
    assert cut.status == "interrupted" and len(cut.trace) == 5
    whole = bbvi.fit(quadratic, 2, solver=page["Ascent"](step_size=0.05), seed=1, init=[0.0, 0.0])
    resumed = bbvi.fit(quadratic, 2, solver=page["Ascent"](step_size=0.05), seed=1, init=[0.0, 0.0], checkpoint=path)
    np.testing.assert_array_equal(resumed.approximation.mean, whole.approximation.mean)
    assert resumed.trace.elbo == whole.trace.elbo
    with pytest.raises(TypeError, match="methods init and step"):
        bbvi.fit(quadratic, 2, solver=object())


def test_a_support_from_outside_takes_part(page):
    """The density exp(-2 x^2) between -pi/2 and pi/2, by quadrature."""
    model = bbvi.Model(lambda z: -2 * anp.sum(z.angle**2), latents={"angle": bbvi.Support(page["HalfCircle"], shape=2)})
    fit = bbvi.fit(model, seed=1)
    x = np.linspace(-np.pi / 2, np.pi / 2, 20_001)
    sd = np.sqrt(np.average(x**2, weights=np.exp(-2 * x**2)))
    assert fit.verdict == "reliable" and list(fit.summary().index) == ["angle[0]", "angle[1]"]
    near(fit, [0.0, 0.0], [sd, sd])
    with pytest.raises(TypeError, match="latent 'x': transform: expected an object with methods constrain"):
        bbvi.Model(lambda z: 0.0, latents={"x": bbvi.Support(lambda shape: shape)})


def test_a_density_from_outside_takes_part(page):
    """Gumbel's mean is Euler's constant, its sd pi / sqrt(6)."""
    fit = bbvi.fit(lambda z: anp.sum(page["gumbel_logpdf"](z)), 2, seed=1)
    assert fit.verdict == "reliable"
    near(fit, [np.euler_gamma] * 2, [np.pi / np.sqrt(6)] * 2)


def test_the_estimator_has_one_owner():
    solver = bbvi.Stochastic(estimator=bbvi.ScoreFunction("leave-one-out"))
    fit = bbvi.fit(quadratic, 2, solver=solver, seed=1, max_evaluations=3000)
    assert fit.estimator == "score" and fit.gradient_evaluations < 100
    twice = bbvi.ScoreFunction("leave-one-out")
    same = bbvi.fit(quadratic, 2, estimator=twice, solver=solver, seed=1, max_evaluations=3000)
    np.testing.assert_array_equal(fit.approximation.mean, same.approximation.mean)
    with pytest.raises(ValueError, match=r"estimator: Pathwise\(.*contradicts the estimator of the solver, ScoreFunc"):
        bbvi.fit(quadratic, 2, estimator="pathwise", solver=solver)
