"""A notebook, executed for real: which pictures, tables and bars somebody sees in it."""

from __future__ import annotations

import sys
from typing import Any

import pytest

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")

CELLS = (
    "import bbvi, autograd.numpy as np\nmodel = bbvi.Model(lambda z: -0.5 * np.sum(z**2), 2)",
    "fit = bbvi.fit(model, seed=1)\nfit",
    "fit.plot();",
    "import matplotlib.pyplot as plt\nplt.plot([1, 2]);",
    "bbvi.plots.plot_forest(fit);",
    "plt.figure(); plt.plot([3, 4]);",
    "bbvi.check_model(model)",
    "fit.trace",
    "bbvi.fit(model, seed=1, progress=True);",
    "from bbvi.progress import in_notebook\nin_notebook()",
    "fit.plot()",
    "picture = bbvi.plots.plot_pairs(fit)",
    "picture",
    # As `bbvi.fit` makes it without `progress`, and at once.
    "from bbvi.progress import Bar\nbar = Bar(None)\nbar.delay = 0\nbar.stage('looking')\nbar.step()\nbar.close()",
)


@pytest.fixture(scope="module")
def outputs() -> list[list[Any]]:
    """What each cell shows, in a kernel of this Python."""
    patch = pytest.MonkeyPatch()
    # As a notebook chooses it, and not as the tests do.
    patch.delenv("MPLBACKEND", raising=False)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS])
    manager = nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3")
    manager.create_kernel_manager()
    manager.km.kernel_spec.argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    try:
        manager.execute()
    finally:
        patch.undo()
    return [cell.outputs for cell in notebook.cells]


def pictures(shown: list[Any]) -> int:
    return sum("image/png" in one.get("data", {}) for one in shown)


@pytest.mark.filterwarnings("default")
def test_every_figure_is_seen_also_after_one_of_a_fit(outputs: list[list[Any]]) -> None:
    """`rc_context` around matplotlib's first choice of a backend switched off every later figure."""
    assert [pictures(outputs[i]) for i in (2, 3, 4, 5)] == [1, 1, 1, 1]


@pytest.mark.filterwarnings("default")
def test_a_figure_is_seen_once_where_a_cell_ends_with_it(outputs: list[list[Any]]) -> None:
    """And once in the cell that drew it and in each that asks for it again."""
    assert [pictures(outputs[i]) for i in (10, 11, 12)] == [1, 1, 1]


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("cell, part", [(1, "verdict"), (6, "No problems found."), (7, "gradient_norm")])
def test_fits_reports_and_traces_are_tables(outputs: list[list[Any]], cell: int, part: str) -> None:
    data = outputs[cell][0]["data"]
    assert "<table>" in data["text/html"] and part in data["text/html"]
    assert data["text/plain"]


@pytest.mark.filterwarnings("default")
def test_a_bar_says_what_is_being_done(outputs: list[list[Any]]) -> None:
    shown = "".join(one.get("text", "") for one in outputs[8])
    for doing in ("looking for modes", "maximising the ELBO", "weighting draws"):
        assert doing in shown
    assert outputs[9][0]["data"]["text/plain"] == "True"
    assert "bbvi: looking" in "".join(one.get("text", "") for one in outputs[13])
