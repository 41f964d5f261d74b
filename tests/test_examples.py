"""Every example runs to its end as a script, with warnings as errors, and prints what it is about."""

import runpy
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).resolve().parent.parent / "examples").glob("*.py"))
# What a reader should see of each.
SAYS = {
    "check_and_mend": "second mode",
    "choose_estimator": "Chosen: ",
    "first_fit": "P(coaching helps on average)",
    "jax_gradient": "JAX",
    "loo_comparison": "elpd",
    "mcmc_handoff": "accepted",
    "plain_numpy": "capacity",
    "prior_and_posterior_predictive": "posterior predictive",
}


def test_there_is_an_expectation_for_each():
    assert {path.stem for path in EXAMPLES} == set(SAYS)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(path, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    try:
        runpy.run_path(str(path), run_name="__main__")
    except SystemExit as end:
        assert not end.code
    assert SAYS[path.stem] in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
