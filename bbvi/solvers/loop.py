"""The one loop: it owns the budget, the time, interrupts, the trace, and the observers of every solver."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bbvi.progress import Bar
from bbvi.solvers.base import S, Solver
from bbvi.solvers.state import State, Trace
from bbvi.status import Status
from bbvi.target.allowance import Exhausted, allowing
from bbvi.target.protocol import LogDensity

Array = np.ndarray


_SPENT = "The limit of evaluations (max_evaluations) was reached before the fit converged."
_OWN = "The solver took all evaluations that it gives itself before the fit converged."
_LATE = "max_seconds was reached before the fit converged."
# What begins the message of a fit that a limit ended which somebody set.
ENDED_BY_LIMITS = (_SPENT, _LATE, "The fit reached max_evaluations")


class Progress(NamedTuple):
    """What a callback receives after each step. A callback that returns True ends the fit.

    `mean` and `sd` are those of the mean-field Gaussian, flat and unconstrained, (D,).
    """

    step: int
    elbo: float
    gradient_norm: float
    step_size: float
    evaluations: int
    seconds: float
    mean: Array
    sd: Array


@dataclass(frozen=True)
class Limits:
    """When to stop whatever the solver says, and who looks on; `own`: `max_evaluations` is one that it gives itself."""

    max_evaluations: float = float("inf")
    max_seconds: float = float("inf")
    callback: Callable[[Progress], Any] | None = None
    bar: Bar = field(default_factory=Bar)
    checkpoint: Path | None = None
    own: bool = False


def run(
    solver: Solver[S],
    target: LogDensity,
    start: tuple[Array, Array],
    rng: np.random.Generator,
    tolerance: float,
    limits: Limits,
    started: float,
) -> tuple[State, Trace]:
    """Step until the solver, the budget, the time, the callback or the user ends the fit.

    `start` is (mean, log_sd); `started` is the `time.perf_counter` from which `max_seconds` counts. An interrupt
    (Ctrl-C) ends the loop with the last whole step, and so does a step that would take more evaluations than there are.
    """
    with allowing(target, limits.max_evaluations):
        return _run(solver, target, start, rng, tolerance, limits, started)


def _run(
    solver: Solver[S],
    target: LogDensity,
    start: tuple[Array, Array],
    rng: np.random.Generator,
    tolerance: float,
    limits: Limits,
    started: float,
) -> tuple[State, Trace]:
    trace = Trace()
    state: S | None = None
    bar = limits.bar
    try:
        state = solver.init(target, *start, rng, tolerance)
        while state.status is None:
            # A step costs about what the last one did: one that would break the budget is not begun.
            cost, duration = _last_step(trace)
            elapsed = time.perf_counter() - started
            if target.evaluations + cost + state.reserve > limits.max_evaluations:
                state = _stopped(state, Status.BUDGET, _OWN if limits.own else _SPENT)
                break
            if elapsed + duration > limits.max_seconds:
                state = _stopped(state, Status.BUDGET, _LATE)
                break
            state = solver.step(target, state, rng, tolerance)
            elapsed = time.perf_counter() - started
            trace.add(state, target, elapsed)
            bar.step(elbo=f"{state.elbo:.4g}", evaluations=str(target.evaluations))
            if limits.callback is not None and state.status is None:
                seen = Progress(
                    len(trace), state.elbo, state.gradient_norm, state.step_size, target.evaluations, elapsed,
                    state.mean.copy(), np.exp(state.log_sd),
                )  # fmt: skip
                if limits.callback(seen) is True:
                    state = _stopped(state, Status.INTERRUPTED, "The callback ended the fit.")
    except KeyboardInterrupt:
        if state is None:
            return unstarted(start), trace
        state = _stopped(state, Status.INTERRUPTED, "The fit was interrupted; this is its last whole step.")
    except Exhausted:
        if state is None:
            return unstarted(start, Status.BUDGET), trace
        state = _stopped(state, Status.BUDGET, _OWN if limits.own else _SPENT)
    return state, trace


def _last_step(trace: Trace) -> tuple[int, float]:
    """Evaluations and seconds that the last step took; none before the second, since much of the first is overhead."""
    if len(trace) < 2:
        return 0, 0.0
    return trace.evaluations[-1] - trace.evaluations[-2], trace.seconds[-1] - trace.seconds[-2]


def unstarted(start: tuple[Array, Array], status: Status = Status.INTERRUPTED) -> State:
    """The state of a fit that ended at its start (mean, log_sd)."""
    mean, log_sd = (np.array(one, dtype=float) for one in start)
    nan = np.full(len(mean), np.nan)
    ended = "was interrupted" if status is Status.INTERRUPTED else "reached max_evaluations"
    message = f"The fit {ended} before its first step; this is where it would have begun."
    return State(mean, log_sd, np.nan, np.nan, 0.0, nan, nan, status, message)


def _stopped(state: S, status: Status, message: str) -> S:
    return dataclasses.replace(state, status=status, message=message)
