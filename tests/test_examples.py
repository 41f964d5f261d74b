"""Every example runs to its end as a script, with warnings as errors, and prints what it is about."""

import runpy
from pathlib import Path

import pytest
from packages import needed

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
# What a reader should see of each, at its end.
SAYS = {
    "check_and_mend": "second mode",
    "choose_estimator": "Chosen: ",
    "first_fit": "P(coaching helps on average)",
    "jax_gradient": "The means of both fits differ by at most 0.0",
    "loo_comparison": "elpd",
    "mcmc_handoff": "accepted",
    "plain_numpy": "capacity",
    "prior_and_posterior_predictive": "posterior predictive",
    "pymc_gradient": "NUTS, 2 chains of 1000 draws, took",
    "pytorch_gradient": "of the fit and of PyTorch on a grid",
    "rows_on_a_cluster": "The coefficients that the rows were made with are",
    "stochastic_epidemic": "On a Dask cluster of two workers: means 0 sd from these",
    "simulator_on_a_cluster": "Resumed, it has converged: its means are 0",
}
# Run where these are installed: they come with `make bridges`, and PyTorch never does.
NEEDS = {"jax_gradient": "jax", "pymc_gradient": "pymc", "pytorch_gradient": "torch"}


def test_there_is_an_expectation_for_each():
    assert {path.stem for path in EXAMPLES} == set(SAYS)


@pytest.mark.parametrize("page", ["README.md", "docs/guide/index.md"])
def test_pages_list_them_all(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert {path.name for path in EXAMPLES} == {path.name for path in EXAMPLES if path.name in text}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(path, capsys, monkeypatch, tmp_path):
    if path.stem in NEEDS:
        needed(NEEDS[path.stem])
    monkeypatch.chdir(tmp_path)
    # As many as show what it is about.
    monkeypatch.setenv("ROWS", "20000")
    try:
        runpy.run_path(str(path), run_name="__main__")
    except SystemExit as end:
        assert not end.code
    assert SAYS[path.stem] in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
