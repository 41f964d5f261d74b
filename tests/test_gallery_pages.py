"""The pages of the gallery: their mathematics, their groups, the published figures, and a page as it is written."""

from __future__ import annotations

import importlib
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from docutils.utils.math.latex2mathml import tex2mathml

import bbvi
from bbvi import models

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "docs"))

import gallery_pages  # noqa: E402
from gallery_pages import notebooks, page, published, stories  # noqa: E402
from gallery_pages.equations import latex  # noqa: E402

EQUATIONS = {
    "mu ~ Normal(0, 5)": r"\mu  &{}\sim \text{Normal}(0,\ 5)",
    "mu_alpha ~ Normal(0, 5)": r"\mu_{\alpha } &{}\sim \text{Normal}(0,\ 5)",
    "y_(t-1) = x_t^2 * tau": r"y_{t-1} &{}=x_{t}^{2}\,\tau ",
    "log_dose_i < sqrt(1 - phi^2)": r"\text{log dose}_{i} &{}<\sqrt{1-\phi ^{2}}",
    "du/dt = x_i . beta": r"\frac{du}{dt} &{}=x_{i}\cdot \beta ",
    "p = logit^-1(a)      odds of death": r"p &{}=\text{logit}^{-1}(a) & & \quad \text{odds of death}",
}


@pytest.mark.parametrize("plain", EQUATIONS)
def test_plain_text_becomes_latex(plain):
    rows = latex(plain).splitlines()
    assert rows[0] == r"\begin{aligned}" and rows[-1] == r"\end{aligned}"
    assert re.sub(r"\s+", "", rows[1]) == re.sub(r"\s+", "", EQUATIONS[plain])


@pytest.mark.parametrize("name", models.names())
def test_mathematics_of_every_model_can_be_shown(name):
    documented = importlib.import_module(f"bbvi.models.{name}").__doc__
    text = page.in_markdown(documented)
    assert text.count("\n## The model\n") == text.count("\n## What to look for\n") == 1
    blocks = re.findall(r"```\{math\}\n(.*?)\n```", text, re.DOTALL)
    assert blocks, "the docstring has no model block"
    for block in blocks:
        assert tex2mathml(block, as_block=True).startswith("<math")
        assert block.count("{") == block.count("}")


def test_every_model_is_in_one_group():
    listed = [name for group in stories.groups().values() for name in group]
    assert sorted(listed) == models.names()


def test_a_new_model_gets_a_card_and_a_picture(monkeypatch):
    monkeypatch.setattr(models, "names", lambda: ["newcomer", "pumps"])
    assert stories.groups()[stories.OTHERS] == ["newcomer"]
    monkeypatch.setattr(models, "load", lambda name: SimpleNamespace(predict=None))
    assert stories.story("newcomer") is stories.correlated


def means_of_reference(name):
    """Latents and derived quantities at their reference means, in their own shapes."""
    blocks: dict[str, list[float]] = {}
    known = models.reference(name)
    for label, mean in zip(known.rows, known.mean, strict=True):
        blocks.setdefault(label.partition("[")[0], []).append(mean)
    shapes = {latent: declared.shape for latent, declared in models.load(name).latents.items()}
    scalar = {label for label in known.rows if "[" not in label}
    values = {}
    for block, means in blocks.items():
        shape = shapes.get(block, () if block in scalar else (len(means),))
        # A Cholesky factor has fewer rows than entries, and nothing published is about one.
        values[block] = np.reshape(means, shape) if len(means) == np.prod(shape, dtype=int) else None
    return SimpleNamespace(**values)


@pytest.mark.parametrize("name", published.figures())
def test_published_figures_are_near_the_reference(name):
    # No random numbers here. The priors differ where the notes say so, by 0.7 sd and 14 % at most.
    entry = published.figures()[name]
    assert entry["source"] and entry["note"].endswith(".") and not entry["source"].endswith(".")
    z = means_of_reference(name)
    for row in entry["rows"]:
        expected = float(row["mean"])
        allowed = 0.75 * float(row["sd"]) if "sd" in row else 0.15 * abs(expected)
        value = eval(row["ours"], {"np": np, "z": z})
        assert abs(value - expected) < allowed, f"{row['quantity']}: {value} for {expected}"


def test_published_figures_of_the_same_model_agree():
    # OpenBUGS took 10,000 draws: its Monte Carlo errors are at most 0.02 sd of a mean, and the seed here is fixed.
    fit = bbvi.fit(models.load("pumps"), seed=1)
    for row in published.figures()["pumps"]["rows"]:
        mean, sd = published.ours(fit, row["ours"])
        assert abs(mean - float(row["mean"])) < 0.1 * float(row["sd"]), row["quantity"]
        assert abs(sd / float(row["sd"]) - 1) < 0.1, row["quantity"]


@pytest.fixture
def written(tmp_path):
    page.write("dose_response", tmp_path)
    return tmp_path


def test_a_page_has_its_parts(written):
    text = (written / "dose_response.md").read_text(encoding="utf-8")
    for heading in ("# A dose-response curve on a raw scale", "## The model", "## What to look for", "## The code",
                    "## The fit", "## Published figures"):  # fmt: skip
        assert f"{heading}\n" in text
    assert "```{math}" in text and "| `beta` | 34.3 | 2.904 |" in text
    assert "Against the reference posterior" in text
    for target in re.findall(r"\{(?:figure|literalinclude)\} (\S+)", text):
        # The model's file is named as seen from docs/gallery/models.
        assert (written / target).is_file() or (gallery_pages.OUT / target).resolve().is_file()
    assert "verdict" not in text and "reliable" in (written / "dose_response.txt").read_text(encoding="utf-8")


def test_code_of_a_page_is_all_but_the_docstring(written):
    text = (written / "dose_response.md").read_text(encoding="utf-8")
    first = int(re.search(r":lines: (\d+)-", text)[1])
    source = (ROOT / "models" / "dose_response.py").read_text(encoding="utf-8").splitlines()
    assert source[first - 1] == "import bbvi"
    assert '"""' in source[first - 3]


def test_a_page_is_kept_until_what_it_is_made_from_changes(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(models, "names", lambda: ["dose_response"])
    monkeypatch.setattr(stories, "groups", lambda: {"Regression": ["dose_response"]})
    monkeypatch.setattr(gallery_pages, "groups", stories.groups)

    class Pool:
        def __init__(self, *args, **kwargs): ...
        def __enter__(self):
            return self

        def __exit__(self, *args): ...
        def map(self, function, names, folders):
            made.extend(names)
            return list(names)

    monkeypatch.setattr(gallery_pages, "ProcessPoolExecutor", Pool)
    (tmp_path / "gone.md").write_text("a model that is no longer there")
    gallery_pages.make(tmp_path)
    gallery_pages.make(tmp_path)
    assert made == ["dose_response"]
    assert not (tmp_path / "gone.md").exists()
    assert "models/dose_response.md" in (tmp_path / "grid.md").read_text(encoding="utf-8")
    monkeypatch.setattr(gallery_pages, "key", lambda name: "changed")
    gallery_pages.make(tmp_path)
    assert made == ["dose_response"] * 2


def test_a_page_and_a_script_are_notebooks_too(written, tmp_path):
    made = json.loads((written / "dose_response.ipynb").read_text(encoding="utf-8"))
    cells = [(cell["cell_type"], cell["source"]) for cell in made["cells"]]
    assert cells[0][1].startswith("# A dose-response curve") and "bbvi.Model(" in cells[1][1]
    assert ("code", "fit.to_arviz(chains=4)") in cells
    notebooks.write_scripts(ROOT / "examples", tmp_path)
    for path in (ROOT / "examples").glob("*.py"):
        made = json.loads((tmp_path / f"{path.stem}.ipynb").read_text(encoding="utf-8"))
        code = "\n".join(cell["source"] for cell in made["cells"] if cell["cell_type"] == "code")
        # Nothing is lost on the way, and each cell is Python by itself.
        assert "".join(code.split()) in "".join(path.read_text(encoding="utf-8").split())
        for cell in made["cells"]:
            if cell["cell_type"] == "code":
                compile(cell["source"], path.stem, "exec")
        page_of_guide = (ROOT / "docs" / "guide" / "index.md").read_text(encoding="utf-8")
        assert f"<../notebooks/{path.stem}.ipynb>" in page_of_guide
