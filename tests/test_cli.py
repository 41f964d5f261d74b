"""The command: what it prints, what it writes, and the status that it ends with."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import arviz as az
import pytest

import bbvi
from bbvi.cli.command import FAILED, OK, USAGE, main
from bbvi.result.fit import load

ROOT = Path(__file__).resolve().parent.parent

SOUND = """
import autograd.numpy as np, bbvi
from bbvi.stats import norm

def sound():
    return bbvi.Model(
        lambda z, y: norm.logpdf(z.mu, 0, 10) + np.sum(norm.logpdf(y, z.mu, 1)),
        latents={"mu": bbvi.Real()}, data={"y": [1.2, 0.3, 0.8]},
    )

model = sound()
constant = bbvi.Model(lambda z: -0.5 * z.a**2, latents={"a": bbvi.Real(), "b": bbvi.Real()})
two_modes = bbvi.Model(lambda z: np.logaddexp(-0.5 * (z.mu - 9)**2, -0.5 * (z.mu + 9)**2), latents={"mu": bbvi.Real()})
number = 3
def broken():
    raise ValueError("no data today")
def missing():
    return {}["county"]
misspelled = bbvi.Model(lambda z: -0.5 * z.m**2, latents={"mu": bbvi.Real()})
undefined = bbvi.Model(lambda z: -0.5 * z.mu**2 + nothing, latents={"mu": bbvi.Real()})
ragged = bbvi.Model(lambda z: -0.5 * z.mu**2 + np.ones(2) @ np.ones(3), latents={"mu": bbvi.Real()})
late = bbvi.Model(lambda z: -0.5 * z.mu**2, latents={"mu": bbvi.Real()}, derived=lambda z: {"a": z.nu})
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(SOUND)
    return path


@pytest.fixture
def gallery(monkeypatch):
    """The gallery, also where the package is run from its sources without being installed."""
    try:
        found = importlib.util.find_spec("bbvi.models")
    except ModuleNotFoundError:
        found = None
    if found is None:
        folder = ROOT / "models"
        spec = importlib.util.spec_from_file_location(
            "bbvi.models", folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "bbvi.models", module)
        monkeypatch.setattr(bbvi, "models", module, raising=False)
        spec.loader.exec_module(module)


def test_fit_prints_writes_and_succeeds(file, tmp_path, capsys):
    assert main(["fit", f"{file}:sound", "--out", str(tmp_path / "new" / "first.nc"), "--seed", "1"]) == OK
    out = capsys.readouterr().out
    assert "bbvi fit: converged, reliable" in out
    assert "mu" in out
    assert "first.nc" in out.splitlines()[-1]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["first.nc", "first.png"]
    assert load(tmp_path / "new" / "first.nc").seed == 1
    data = az.from_netcdf(str(tmp_path / "new" / "first.nc"))
    assert data["posterior"]["mu"].shape == (1, 1000)
    (data.close if hasattr(data, "close") else lambda: None)()


def test_out_is_a_folder_and_each_model_has_files_of_its_own(file, tmp_path, capsys):
    out = ["--out", str(tmp_path / "results"), "--no-plot", "--draws", "50"]
    assert main(["fit", f"{file}:model", *out]) == OK
    assert "mine.nc" in capsys.readouterr().out
    assert main(["fit", f"{file}:sound", *out]) == OK
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["mine.nc", "mine_sound.nc"]


def test_two_models_in_one_command(file, tmp_path, capsys):
    both = ["fit", f"{file}:model", f"{file}:sound"]
    assert main([*both, "--out", str(tmp_path / "results"), "--no-plot", "--draws", "50"]) == OK
    out = capsys.readouterr().out
    assert out.count("bbvi fit: converged, reliable") == 2 and out.startswith(f"{file}:model\nbbvi fit:")
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["mine.nc", "mine_sound.nc"]
    assert main([*both, "--no-files", "--json"]) == OK
    assert list(json.loads(capsys.readouterr().out)) == both[1:]
    assert main([*both, f"{file}:broken", "--no-files"]) == USAGE
    out, err = capsys.readouterr()
    assert out == "" and "no data today" in err
    for wrong, said in ((["--out", str(tmp_path / "one.nc")], "a folder"), ([f"{file}:model"], "would write mine.nc")):
        assert main([*both, *wrong]) == USAGE
        assert said in capsys.readouterr().err


def test_one_model_of_several_that_fails_is_told_by_the_status(file, capsys):
    assert main(["fit", f"{file}:two_modes", f"{file}:model", "--no-files", "--quiet"]) == FAILED


def test_check_as_json(file, capsys):
    assert main(["check", f"{file}:sound", "--json"]) == OK
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] and {finding["grade"] for finding in report["findings"]} <= {"ok", "note"}
    assert "gradient" in [finding["check"] for finding in report["findings"]]


@pytest.mark.parametrize("typed, meant", [("eight_school", "eight_schools"), ("mine.py:soun", "sound")])
def test_a_name_that_is_nearly_right_is_answered_with_the_right_one(
    typed, meant, file, gallery, capsys, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    assert main(["fit", typed, "--no-files"]) == USAGE
    assert f"did you mean {meant}" in capsys.readouterr().err


def test_json_is_json_alone(file, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["fit", f"{file}:model", "--seed", "2", "--json", "--no-plot"]) == OK
    out, err = capsys.readouterr()
    figures = json.loads(out)
    assert figures["verdict"] == "reliable"
    assert figures["summary"]["mu"]["mean"] == pytest.approx(2.3 / 3.01, abs=0.03)
    assert "mine.nc" in err


def test_quiet_and_no_files(file, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["fit", f"{file}:model", "--quiet", "--no-files"]) == OK
    assert capsys.readouterr() == ("", "")
    assert [path.name for path in tmp_path.iterdir() if path.suffix in (".nc", ".png")] == []


def test_options_reach_the_fit(file, capsys):
    arguments = [
        "--estimator",
        "score",
        "--solver",
        "natural-gradient",
        "--max-evaluations",
        "3000",
        "--json",
    ]
    main(["fit", f"{file}:model", "--no-files", *arguments])
    figures = json.loads(capsys.readouterr().out)
    assert figures["gradient_evaluations"] == 0
    assert figures["evaluations"] <= 3000


def test_kind_is_shown_beside(file, capsys):
    assert main(["fit", f"{file}:model", "--no-files", "--kind", "mean-field"]) == OK
    assert "mean-field:" in capsys.readouterr().out


def test_a_fit_that_runs_out_of_budget_fails(file, capsys):
    status = main(["fit", f"{file}:model", "--no-files", "--quiet", "--max-seconds", "1e-9"])
    assert status == FAILED


def test_check(file, capsys):
    assert main(["check", f"{file}:model"]) == OK
    assert "No problems found." in capsys.readouterr().out
    assert main(["check", f"{file}:constant"]) == FAILED
    assert "constant in 'b'" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "{file}:nothing"], "has no 'nothing'"),
        (["fit", "{file}:number"], "expected a bbvi.Model"),
        (["fit", "{file}:broken"], "ValueError: no data today"),
        (["fit", "{file}:missing"], "KeyError: 'county'"),
        (["fit", "{file}:misspelled"], "AttributeError: z has no latent 'm'; its latents are mu (raised in the"),
        (["fit", "{file}:undefined"], "NameError: name 'nothing' is not defined (raised in the model's log_joint"),
        (["fit", "{file}:ragged"], "ValueError: "),
        (["fit", "{file}:late"], "AttributeError: z has no latent 'nu'; its latents are mu (raised in the"),
        (["fit", "{file}"], "which model"),
        (["fit", "none.py:model"], "there is no file none.py"),
        (["fit", "{file}:constant"], "constant in 'b'"),
        (["fit", "{file}:model", "--estimator", "score", "--solver", "fixed-draws"], "does not go with"),
        (["check", "{file}:number"], "expected a bbvi.Model"),
    ],
)
def test_errors_are_one_line_and_status_2(file, capsys, arguments, message):
    assert main([part.format(file=file) for part in arguments]) == USAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.startswith(f"bbvi {arguments[0]}: ")
    assert err.count("\n") == 1


def test_verbose_shows_where_the_model_raised(file, capsys):
    assert main(["fit", f"{file}:misspelled", "--verbose"]) == USAGE
    err = capsys.readouterr().err
    assert err.startswith("Traceback") and "mine.py" in err
    assert err.splitlines()[-1].startswith("bbvi fit: AttributeError: z has no latent 'm'")


def test_a_defect_of_the_package_is_not_taken_for_the_models(file, monkeypatch):
    monkeypatch.setattr(sys.modules["bbvi.fitting.fit"], "fit", lambda *args, **kwargs: {}["defect"])
    with pytest.raises(KeyError, match="defect"):
        main(["fit", f"{file}:model"])


def test_check_names_what_the_model_raised(file, capsys):
    assert main(["check", f"{file}:undefined"]) == FAILED
    assert "NameError: name 'nothing' is not defined (raised in" in " ".join(capsys.readouterr().out.split())


def test_a_file_that_cannot_be_imported(tmp_path, capsys):
    (tmp_path / "bad.py").write_text("import bbvi\nmodel = bbvi.Modell()\n")
    assert main(["check", f"{tmp_path / 'bad.py'}:model"]) == USAGE
    assert "cannot be imported: AttributeError" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["fit"], ["fit", "x", "--seed", "-1"], ["fit", "x", "--tolerance", "0"], ["sample"]]
)
def test_usage_errors_of_the_parser(arguments, capsys):
    assert main(arguments) == USAGE
    assert "usage:" in capsys.readouterr().err


def test_help_teaches(capsys):
    for arguments in (["--help"], ["fit", "--help"], ["check", "--help"]):
        assert main(arguments) == OK
        assert "bbvi fit" in (out := capsys.readouterr().out) or "bbvi check" in out
    assert main([]) == USAGE
    assert "start here" in capsys.readouterr().out
    assert main(["--version"]) == OK
    assert bbvi.__version__ in capsys.readouterr().out


def test_models_lists_the_gallery(gallery, capsys):
    assert main(["models"]) == OK
    out = capsys.readouterr().out
    assert "eight_schools " in out
    assert main(["models", "--json"]) == OK
    rows = json.loads(capsys.readouterr().out)
    assert {"name", "latents", "summary"} == set(rows[0])
    assert {row["name"]: row["latents"] for row in rows}["eight_schools"] == 10


def test_unknown_name_of_the_gallery(gallery, capsys):
    assert main(["fit", "nine_schools"]) == USAGE
    assert "bbvi models" in capsys.readouterr().err


def test_a_model_of_the_gallery(gallery, tmp_path, capsys):
    status = main(["fit", "eight_schools", "--out", str(tmp_path), "--seed", "1", "--no-plot"])
    assert status in (OK, FAILED)
    assert (tmp_path / "eight_schools.nc").exists()
    assert "theta[H]" in capsys.readouterr().out


def test_the_summary_needs_neither_arviz_nor_matplotlib(file):
    code = (
        "import sys; from bbvi.cli import main; main(sys.argv[1:]); "
        "print(*[name for name in ('arviz', 'matplotlib', 'pandas') if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "fit", f"{file}:model", "--no-files"],
        capture_output=True, text=True, timeout=120, cwd=ROOT, check=True,
    )  # fmt: skip
    assert done.stderr.split() == []


def test_python_dash_m(file):
    done = subprocess.run(
        [sys.executable, "-m", "bbvi", "check", f"{file}:constant"],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
    )
    assert done.returncode == FAILED
    assert "PROBLEM" in done.stdout
