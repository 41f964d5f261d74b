"""Whole processes side by side: bbvi and NumPyro on the large posteriors, in turn, against long runs.

``python tests/benchmarks/peers.py --numpyro .venv-peers/bin/python [--out FILE] [NAME ...]``; `make peers` makes the
environment and writes the table of the documentation.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parent))

from targets import large  # noqa: E402

_LIMIT = 1200.0


class Run(NamedTuple):
    """Seconds and peak gigabytes of a whole process, and what it found: worst errors of means and sds."""

    seconds: float
    memory: float
    mean: float
    sd: float
    note: str = ""


def process(command: list[str]) -> tuple[float, float, bool]:
    """Seconds, peak memory in gigabytes, and whether it ended well."""
    began = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while True:
        pid, status, used = os.wait4(child.pid, os.WNOHANG)
        if pid:
            child.returncode = status
            return time.perf_counter() - began, used.ru_maxrss / 1e6, status == 0
        if time.perf_counter() - began > _LIMIT:
            child.kill()
        time.sleep(0.02)


def errors(name: str, mean: dict[str, float], sd: dict[str, float]) -> tuple[float, float]:
    """The worst mean, in sds, and the worst sd, relative, against the long run."""
    known = large.reference(name)
    means = max(abs(mean[row] - m) / s for row, (m, s) in known.items())
    return means, max(abs(sd[row] / s - 1.0) for row, (_, s) in known.items())


def by_bbvi(name: str, again: bool = False) -> Run:
    with tempfile.TemporaryDirectory() as folder:
        out = f"{folder}/out.json"
        command = [sys.executable, str(FOLDER / "bbvi_worker.py"), name, out, *(["again"] if again else [])]
        seconds, memory, well = process(command)
        if not well:
            return Run(seconds, memory, np.nan, np.nan, "failed")
        found = json.loads(Path(out).read_text(encoding="utf-8"))
    if again:
        return Run(found["warm"], memory, np.nan, np.nan)
    return Run(seconds, memory, *errors(name, found["mean"], found["sd"]), found["verdict"])


def by_numpyro(name: str, method: str, python: str) -> Run:
    model = getattr(large, name)()
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/data", "wb") as file:
            pickle.dump(data_of(model), file)
        out = f"{folder}/out.npz"
        worker = str(FOLDER / "numpyro_worker.py")
        seconds, memory, well = process([python, worker, method, name, f"{folder}/data", out])
        if not well:
            return Run(seconds, memory, np.nan, np.nan, "failed")
        with np.load(out) as found:
            rows = {
                what: {
                    label: float(x)
                    for key, latent in model.latents.items()
                    for label, x in zip(latent.labels, np.ravel(found[f"{key} {what}"]), strict=True)
                }
                for what in ("mean", "std")
            }
    return Run(seconds, memory, *errors(name, rows["mean"], rows["std"]))


def data_of(model) -> dict:
    """The model's data, with what its log joint holds in its closure."""
    function = model.functions["log_joint"]
    held = dict(zip(function.__code__.co_freevars, (c.cell_contents for c in function.__closure__ or ()), strict=True))
    for inner in [x for x in held.values() if getattr(x, "__closure__", None)]:
        held |= dict(zip(inner.__code__.co_freevars, (c.cell_contents for c in inner.__closure__), strict=True))
    arrays = {key: x for key, x in held.items() if isinstance(x, np.ndarray | dict)}
    return arrays | {key: np.asarray(x) for key, x in model.data.items()}


def table(rows: dict[str, dict[str, Run]]) -> str:
    """In Markdown: seconds of the whole process (worst mean in sds, worst sd), by package."""
    head = ["posterior", "latents", "bbvi", "verdict", "memory", "second fit", "NumPyro NUTS", "ratio", "NumPyro SVI"]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for name, runs in rows.items():
        own, nuts, svi = runs["bbvi"], runs["nuts"], runs["svi"]
        cells = [name.replace("_", " "), str(getattr(large, name)().dim), _shown(own), own.note, f"{own.memory:.1f} GB"]
        cells += [f"{runs['warm'].seconds:.1f} s", _shown(nuts), f"{own.seconds / nuts.seconds:.2f}", _shown(svi)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _shown(run: Run) -> str:
    if not np.isfinite(run.mean):
        return f"failed after {run.seconds:.0f} s"
    return f"{run.seconds:.1f} s ({run.mean:.2f}, {run.sd:.0%})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--numpyro", required=True, help="a Python that has NumPyro")
    parser.add_argument("--out", type=Path, help="where the table is written")
    parser.add_argument("names", nargs="*")
    given = parser.parse_args()
    rows: dict[str, dict[str, Run]] = {}
    for name in given.names or [make.__name__ for make in large.MODELS]:
        rows[name] = {
            "bbvi": by_bbvi(name),
            "nuts": by_numpyro(name, "nuts", given.numpyro),
            "warm": by_bbvi(name, again=True),
            "svi": by_numpyro(name, "svi", given.numpyro),
        }
        print(table({name: rows[name]}).splitlines()[-1], flush=True)
    ratios = [runs["bbvi"].seconds / runs["nuts"].seconds for runs in rows.values()]
    text = table(rows) + (
        f"\nWhole processes, in turn, on {os.cpu_count()} shared cores ({platform.machine()}); in brackets the worst "
        "mean, in sds, and the worst sd against a long run. NUTS: two chains of 1,000 draws after 1,000 of warm-up, "
        "each on a core; SVI: AutoNormal, 20,000 steps. The ratio of whole processes, bbvi over NUTS: median "
        f"{np.median(ratios):.2f}, at most {max(ratios):.2f}.\n"
    )
    print(text)
    if given.out:
        given.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
