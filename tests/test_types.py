"""What a user's script passes by: type checkers, with the types that the package gives away."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import autograd.numpy as anp
import pytest

import bbvi.numpy as bnp

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = """\
from typing import Any

import bbvi
import bbvi.numpy as np
from bbvi.stats import halfcauchy, norm


class Table:
    # What a data frame is to the package, as pandas may come without types.
    columns = ["y", "sigma"]

    def __getitem__(self, key: str) -> list[float]:
        return [1.0, 2.0]


def log_joint(z: bbvi.Draw, y: np.ndarray, sigma: np.ndarray) -> Any:
    theta = z.mu + z.tau * z.eta
    prior = norm.logpdf(z.mu, 0, 5) + halfcauchy.logpdf(z["tau"], 0, 5) + np.sum(norm.logpdf(z.eta))
    return prior + np.sum(norm.logpdf(y, theta, sigma))


model = bbvi.Model(
    log_joint,
    latents={"mu": bbvi.Real(), "tau": bbvi.Positive(), "eta": bbvi.Real(dims="school")},
    data={"y": [28, 8], "sigma": [15, 10]},
    coords={"school": ["A", "B"]},
)
fit: bbvi.Fit = bbvi.fit(model, seed=1, max_evaluations=2000)
verdict: str = fit.verdict
draws = fit.sample(10)
shape: tuple[int, ...] = draws["mu"].shape
probability = fit.expect(lambda z: z.tau > 5).value
report = bbvi.check_model(model)
ok: bool = report.ok
def framed(frame: Table) -> bbvi.Model:
    return bbvi.Model(log_joint, latents={"mu": 1, "tau": 1, "eta": 2}, data=frame)


def batched(frames: list[Table]) -> bbvi.Model:
    return bbvi.Model(log_joint, latents={"mu": 1, "tau": 1, "eta": 2}, data=iter(frames))


numbered = bbvi.Model(log_joint, latents={"mu": 1, "tau": 1, "eta": bbvi.Real(dims="i")}, coords={"i": np.arange(2)},
                      data={"y": np.ones(2), "sigma": [15, 10]})
covariance: np.ndarray = fit.approximation.covariance
flat = bbvi.fit(lambda z: -0.5 * np.sum((z - 3) ** 2), 10)
np.linalg.norm(np.zeros(3))
"""


@pytest.mark.slow
@pytest.mark.parametrize("checker", [("mypy", "--strict", "--follow-imports=silent"), ("pyright",)])
def test_a_users_script_passes_type_checkers(checker: tuple[str, ...], tmp_path: Path) -> None:
    pytest.importorskip(checker[0])
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "pyrightconfig.json").write_text(f'{{"extraPaths": ["{ROOT}"]}}')
    # Not the caches, nor the settings, of this package.
    done = subprocess.run(
        [sys.executable, "-m", *checker, "script.py"],
        cwd=tmp_path, env={**os.environ, "MYPYPATH": str(ROOT)}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_script_runs() -> None:
    exec(compile(SCRIPT, "script.py", "exec"), {"__name__": "script"})


def test_numpy_for_log_joints_is_autograds() -> None:
    assert bnp.sum is anp.sum and bnp.linalg is anp.linalg and bnp.pi == anp.pi
    assert "where" in dir(bnp)
    with pytest.raises(AttributeError):
        bnp.no_such_function  # noqa: B018
