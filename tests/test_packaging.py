"""What is installed is what stands in the tree: packages, data, metadata, a light import."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import bbvi

ROOT = Path(__file__).resolve().parent.parent
SOURCES = {"bbvi": ROOT / "bbvi", "bbvi.models": ROOT / "models"}
HEAVY = ("arviz", "pandas", "matplotlib", "autograd.scipy", "scipy.stats", "scipy.optimize", "xarray")


@pytest.fixture(scope="module")
def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def _lines(value: str) -> list[str]:
    return [line.strip() for line in value.splitlines() if line.strip()]


def _packages_in_tree() -> set[str]:
    found = set()
    for name, folder in SOURCES.items():
        for init in folder.rglob("__init__.py"):
            found.add(".".join([name, *init.parent.relative_to(folder).parts]))
    return found


def _is_installed(path: Path) -> bool:
    """Whether a file of the tree belongs into the wheel; the scripts that make data and references do not."""
    if not path.is_file() or "__pycache__" in path.parts:
        return False
    return not (path.suffix == ".py" and path.parent.name in ("data", "references"))


def _files_in_tree() -> set[str]:
    """Every file of the packages, under the path at which it is installed."""
    return {
        "/".join([*name.split("."), *path.relative_to(folder).parts])
        for name, folder in SOURCES.items()
        for path in folder.rglob("*")
        if _is_installed(path)
    }


def _python(code: str, *arguments: str, cwd: Path | None = None) -> str:
    """What the code prints in a fresh interpreter that ignores PYTHONPATH and the current folder."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, *arguments], cwd=cwd, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


BUILD = """
import sys
from setuptools import build_meta
print(getattr(build_meta, "build_" + sys.argv[1])(sys.argv[2]))
"""


def _build(kind: str, source: Path, out: Path) -> Path:
    return out / _python(BUILD, kind, str(out), cwd=source).split()[-1]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a build reads, because a build writes beside its sources."""
    copy = tmp_path_factory.mktemp("tree")
    for name in ("bbvi", "models"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def wheel(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, built without the network by the setuptools that the test extra installs."""
    pytest.importorskip("setuptools", minversion="77")
    return _build("wheel", tree, tmp_path_factory.mktemp("wheel"))


def _contents(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def test_packages_listed_in_setup_cfg_are_those_of_the_tree(setup_cfg):
    assert set(_lines(setup_cfg["options"]["packages"])) == _packages_in_tree()


def test_every_data_file_is_package_data(setup_cfg):
    declared = {
        path
        for name, folder in SOURCES.items()
        for pattern in _lines(setup_cfg["options.package_data"][name])
        for path in folder.glob(pattern)
    }
    present = {
        path
        for folder in SOURCES.values()
        for path in folder.rglob("*")
        if _is_installed(path) and path.suffix != ".py"
    }
    assert declared == present


def test_wheel_holds_the_tree_and_nothing_else(wheel):
    assert _contents(wheel) == _files_in_tree()


def test_sdist_gives_the_same_wheel(wheel, tree, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(f"bbvi-{bbvi.__version__}.dist-info/METADATA")
    source = tmp_path / "source"
    with tarfile.open(_build("sdist", tree, tmp_path)) as archive:
        archive.extractall(source, filter="data")
    (unpacked,) = source.iterdir()
    again = _build("wheel", unpacked, tmp_path)
    assert _contents(again) == _contents(wheel)
    with zipfile.ZipFile(again) as archive:
        assert archive.read(f"bbvi-{bbvi.__version__}.dist-info/METADATA") == metadata


IMPORT_ALL = """
import importlib, os, pkgutil, sys, warnings
warnings.simplefilter("ignore")  # what third-party packages say on import is not looked at here
sys.path.insert(0, sys.argv[1])
import bbvi
for module in pkgutil.walk_packages(bbvi.__path__, "bbvi."):
    loaded = importlib.import_module(module.name)
    assert loaded.__file__.startswith(sys.argv[1]), loaded.__file__
import bbvi.models
assert bbvi.models.__file__.startswith(sys.argv[1]), bbvi.models.__file__
"""


def test_every_module_of_an_unpacked_wheel_can_be_imported(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    _python(IMPORT_ALL, str(tmp_path.resolve()))


def test_importing_bbvi_is_light():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import bbvi; "
        "print(*[name for name in sys.argv[2:] if name in sys.modules])"
    )
    assert _python(code, str(ROOT), *HEAVY).split() == []


def test_command_is_declared_and_resolves(setup_cfg):
    name, _, target = setup_cfg["options.entry_points"]["console_scripts"].strip().partition(" = ")
    module, _, function = target.partition(":")
    assert name == "bbvi"
    assert callable(getattr(__import__(module, fromlist=[function]), function))


def test_public_names_exist_and_are_documented():
    for name in bbvi.__all__:
        assert (getattr(bbvi, name).__doc__ or "").strip(), f"bbvi.{name} has no docstring"


def test_reference_lists_every_public_name():
    pages = "\n".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "reference").glob("*.md"))
    listed = {word.strip("`").removeprefix("bbvi.").removesuffix("()") for word in pages.split()}
    assert [name for name in bbvi.__all__ if name not in listed] == []


def test_changelog_names_the_version():
    assert f"## {bbvi.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_what_is_published_says_what_setup_cfg_says(setup_cfg):
    version = bbvi.__version__
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    recipe = (ROOT / "packaging" / "conda" / "meta.yaml").read_text(encoding="utf-8")
    assert f'{{% set version = "{version}" %}}' in recipe
    # Conda calls matplotlib without its windows matplotlib-base; markers of Python versions are left out.
    required = [line for line in _lines(setup_cfg["options"]["install_requires"]) if not line.startswith("arviz>=1")]
    wanted = {re.split("[;,]", line)[0].replace("matplotlib", "matplotlib-base") for line in required}
    run = recipe.partition("  run:\n")[2].partition("\ntest:")[0]
    assert {line.strip("- ").replace(" ", "") for line in run.splitlines() if "python" not in line and line} == wanted


def test_the_house_on_one_page_has_every_wing(setup_cfg):
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    layers = _lines(setup_cfg["importlinter:contract:stack"]["layers"])
    names = [name.strip() for layer in layers for name in layer.split("|") if name.strip() != "__main__"]
    assert [name for name in names if f"`{name}" not in page] == []


def test_descriptions_of_a_wheel_and_an_sdist_pass_twine(tmp_path):
    """As `make dist` makes them; a description that the index would not render is an error there."""
    pytest.importorskip("twine")
    pytest.importorskip("build")
    unwanted = shutil.ignore_patterns(".*", "build", "dist", "_build", "*.egg-info")
    shutil.copytree(ROOT, tmp_path / "tree", ignore=unwanted)
    for command in (("build", "--no-isolation", "--outdir", "dist", "."), ("twine", "check", "--strict")):
        parts = [str(path) for path in (tmp_path / "tree" / "dist").glob("*")] if command[0] == "twine" else []
        done = subprocess.run(
            [sys.executable, "-m", *command, *parts],
            cwd=tmp_path / "tree", capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_public_is_all_that_is_shown():
    assert sorted(dir(bbvi)) == sorted([*bbvi.__all__, "__version__"])
    assert sorted(dir(bbvi.stats)) == sorted(bbvi.stats.__all__)
    code = "import bbvi; print(bbvi.models.__name__, bbvi.plots.__name__, bbvi.bridges.__name__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["bbvi.models", "bbvi.output.plots", "bbvi.bridges"], done.stderr
    assert all(hasattr(bbvi, name) for name in dir(bbvi)) and all(hasattr(bbvi.stats, name) for name in dir(bbvi.stats))
    with pytest.raises(AttributeError, match="no attribute 'Postive'; did you mean Positive"):
        bbvi.Postive  # noqa: B018


def test_files_have_one_responsibility_and_are_short() -> None:
    for path in sorted((ROOT / "bbvi").rglob("*.py")):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert lines[0].startswith('"""'), f"{path}: its first line does not say what it is for"
        assert len(lines) <= 400, f"{path}: {len(lines)} lines"
