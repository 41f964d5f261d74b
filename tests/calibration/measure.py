"""One fit of a case, compared with its exact answer: `Outcome`, and `measured`, which runs many in worker processes."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from targets import case  # noqa: E402

import bbvi  # noqa: E402
from bbvi.correction.importance import ImportanceResult  # noqa: E402

# What the verdicts promise (docs/theory/corrections.md): errors of means in sds, and of sds, relative.
RIGHT, FAIR = 0.1, 0.5


@dataclass(frozen=True)
class Outcome:
    """How a fit of a case went.

    Attributes
    ----------
    mean_error, sd_error : float
        The worst errors: of a mean in posterior sds, and of an sd, relative; `row` has the larger.
    khat, gaussian_khat : float
        Of the weights in use, and of the Gaussian that they correct.
    tail_khat, mean_se, sd_se : float
        The worst of the rows, as the weights report them.
    rows, covered : int
        Rows that vary, and those whose mean is within two of its ``mcse_mean``.
    modes, found : int
        Modes that the search kept, and the starts that ended in the best.
    failure : str
        What the fit raised; empty if nothing.
    """

    name: str
    family: str
    seed: int
    easy: bool
    ratio: float = np.nan
    verdict: str = ""
    kind: str = ""
    status: str = ""
    dim: int = 0
    mean_error: float = np.nan
    sd_error: float = np.nan
    row: str = ""
    khat: float = np.nan
    gaussian_khat: float = np.nan
    tail_khat: float = np.nan
    mean_se: float = np.nan
    sd_se: float = np.nan
    rows: int = 0
    covered: int = 0
    modes: int = 0
    found: int = 0
    evaluations: int = 0
    gradients: int = 0
    seconds: float = 0.0
    reason: str = ""
    failure: str = ""

    @property
    def error(self) -> float:
        """The larger of the two errors; infinite where one is not known."""
        worst = max(self.mean_error, self.sd_error) if self.mean_error >= 0 and self.sd_error >= 0 else np.inf
        return float(worst)

    @property
    def right(self) -> bool:
        """Within 0.1 sd and 10 %."""
        return self.error <= RIGHT

    @property
    def fair(self) -> bool:
        """Within 0.5 sd and 50 %."""
        return self.error <= FAIR


def outcome(name: str, seed: int, max_evaluations: int | None = None) -> Outcome:
    """Fit one case with the standard options, and compare every row of the summary.

    With `max_evaluations` the fit is one from so many values, without gradients.
    """
    one = case(name)
    exact = one.exact()
    options = {} if max_evaluations is None else {"estimator": "score", "max_evaluations": max_evaluations}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        began = time.perf_counter()
        fit = bbvi.fit(one.model(), seed=seed, **options)  # type: ignore[arg-type]
        seconds = time.perf_counter() - began
        rows = {row.label: row for row in fit.rows()}
    if set(rows) != set(exact):
        raise KeyError(f"expected the rows {sorted(exact)}, got {sorted(rows)}")
    varying = [label for label, (_, sd) in exact.items() if sd > 0]
    mean, sd = np.array([exact[label] for label in varying]).T
    found = np.array([(rows[label].mean, rows[label].sd, rows[label].mcse_mean) for label in varying])
    mean_errors, sd_errors = np.abs(found[:, 0] - mean) / sd, np.abs(found[:, 1] / sd - 1)
    weights = fit.kinds.get("importance")
    checked = isinstance(weights, ImportanceResult)
    return Outcome(
        name=name,
        family=one.family,
        seed=seed,
        easy=one.easy,
        ratio=one.ratio,
        verdict=fit.verdict,
        kind=fit.kind,
        status=str(fit.status),
        dim=fit.model.dim,
        mean_error=float(mean_errors.max()),
        sd_error=float(sd_errors.max()),
        row=varying[int(np.argmax(np.maximum(mean_errors, sd_errors)))],
        khat=float(fit.khat),
        gaussian_khat=float(weights.initial_khat) if checked else np.nan,
        tail_khat=float(np.max(weights.tail_khat)) if checked else np.nan,
        mean_se=float(np.max(weights.mean_error)) if checked else np.nan,
        sd_se=float(np.max(weights.sd_error)) if checked else np.nan,
        rows=len(varying),
        covered=int(np.sum(np.abs(found[:, 0] - mean) <= 2 * found[:, 2])),
        modes=len(fit.modes),
        found=fit.modes[0].starts if fit.modes else 0,
        evaluations=fit.evaluations,
        gradients=fit.gradient_evaluations,
        seconds=seconds,
        reason=fit.reasons[0] if fit.reasons else "",
    )


def measured(
    fits: Sequence[tuple[Any, ...]], workers: int, run: Callable[..., Outcome] = outcome
) -> Iterator[Outcome]:
    """The outcomes of all cases and seeds, in their order; a fit that raises has its error for an outcome."""
    with ProcessPoolExecutor(workers) as pool:
        jobs = [(one[0], one[1], pool.submit(run, *one)) for one in fits]
        for name, seed, job in jobs:
            error = job.exception()
            if error is None:
                yield job.result()
            else:
                one = case(name)
                said = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
                yield Outcome(name, one.family, seed, one.easy, one.ratio, failure=said)
