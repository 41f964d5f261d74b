"""What a fit works on: the target, the method, the limits, and a random stream for each stage."""

from __future__ import annotations

import time
import zlib
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from bbvi.estimators.base import Estimator
from bbvi.estimators.gradient import name_of
from bbvi.fitting.policy import BudgetPolicy
from bbvi.solvers.base import Solver
from bbvi.solvers.loop import Limits
from bbvi.solvers.wider import Family
from bbvi.target.target import Target

Array = np.ndarray


@dataclass(frozen=True)
class Method:
    """An estimator and a solver that go together.

    Attributes
    ----------
    name : str
        How the estimator is called; ``"auto"`` until the target has been seen.
    estimator : Estimator, optional
        None as long as it is not settled.
    solver : Solver
    gradients : bool
        Whether gradients of the target may be used.
    family : Family, optional
        Wider than mean field, which is None.
    """

    name: str
    estimator: Estimator | None
    solver: Solver[Any]
    gradients: bool
    family: Family | None = None


class Given(NamedTuple):
    """Where a user says that a fit shall begin: mean (D,), and log sds (D,) where they are known."""

    mean: Array
    log_sd: Array | None


@dataclass(frozen=True)
class Job:
    """What a fit works on.

    `started` is the `time.perf_counter` from which ``max_seconds`` counts; `free` says that nobody asked for an
    estimator; `marks` holds what the stages were, and what had been spent when each of them began.
    """

    target: Target
    method: Method
    given: Given | None
    seed: int
    tolerance: float
    limits: Limits
    started: float
    policy: BudgetPolicy = BudgetPolicy()
    free: bool = False
    marks: list[tuple[str, int]] = field(default_factory=list)

    @property
    def solver_name(self) -> str:
        """How the solver is called."""
        return name_of(self.method.solver)

    def rng(self, stage: str) -> np.random.Generator:
        """The random stream of a stage: what one stage draws never moves what another does."""
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(zlib.crc32(stage.encode()),)))

    def say(self, doing: str) -> None:
        """Show what the fit does now, where somebody looks, and note what was spent before."""
        self.marks.append((doing, self.spent))
        self.limits.bar.stage(doing, evaluations=str(self.target.evaluations))

    @property
    def spent(self) -> int:
        """Evaluations, gradients and Hessian products so far."""
        return self.target.evaluations + self.target.gradient_evaluations

    @property
    def shares(self) -> dict[str, float]:
        """What each stage took of all that was spent, but for those that took nothing."""
        ends = [*(spent for _, spent in self.marks[1:]), self.spent]
        taken: dict[str, float] = {}
        for (doing, begun), end in zip(self.marks, ends, strict=True):
            # Of a fit that was made again, counts begin anew with those of the first.
            taken[doing] = taken.get(doing, 0.0) + max(end - begun, 0)
        whole = sum(taken.values())
        return {doing: count / whole for doing, count in taken.items() if count > 0}

    def late(self, share: float = 1.0) -> bool:
        """Whether this share of max_seconds is over."""
        return time.perf_counter() - self.started > share * self.limits.max_seconds

    @property
    def left(self) -> float:
        """Evaluations that max_evaluations leaves."""
        return self.limits.max_evaluations - self.target.evaluations

    @property
    def affordable(self) -> float:
        """Evaluations that there is time for, if one takes as long as one has taken so far."""
        elapsed = time.perf_counter() - self.started
        if np.isinf(self.limits.max_seconds) or elapsed == 0:
            return np.inf
        return max(self.limits.max_seconds - elapsed, 0.0) * self.target.evaluations / elapsed

    def within(self, seconds: float) -> float:
        """Evaluations that take so long, if one takes as long as one has taken so far."""
        elapsed = time.perf_counter() - self.started
        return seconds * self.target.evaluations / elapsed if elapsed > 0 else np.inf

    @property
    def limited(self) -> str:
        """The limits that somebody set, in words; "" where there are none."""
        named = {"max_evaluations": self.limits.max_evaluations, "max_seconds": self.limits.max_seconds}
        return " or ".join(name for name, limit in named.items() if np.isfinite(limit))

    @property
    def searchable(self) -> bool:
        """Whether max_evaluations leaves room to look for modes."""
        return self.policy.searchable(self.limits.max_evaluations, self.target.dim)
