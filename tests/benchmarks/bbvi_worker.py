"""One posterior by bbvi, by its defaults, once and once more: ``python bbvi_worker.py NAME OUT``."""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from targets import large

import bbvi


def main(name: str, out: str, again: str = "") -> None:
    warnings.simplefilter("ignore")
    model = getattr(large, name)()
    fit = bbvi.fit(model, seed=1)
    print(fit)
    table = fit.summary()
    found = {"mean": table["mean"].to_dict(), "sd": table["sd"].to_dict(), "verdict": fit.verdict}
    found |= {"evaluations": fit.evaluations, "gradients": fit.gradient_evaluations}
    if again:
        began = time.perf_counter()
        bbvi.fit(model, seed=2)
        found["warm"] = time.perf_counter() - began
    Path(out).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
