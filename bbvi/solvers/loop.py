"""The one loop: it owns the budget, the time, interrupts, the trace, and the observers of every solver."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bbvi.solvers.base import S, Solver
from bbvi.solvers.state import State, Trace
from bbvi.status import Status
from bbvi.target.protocol import LogDensity

Array = np.ndarray


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
    """When to stop whatever the solver says, and who looks on."""

    max_evaluations: float = float("inf")
    max_seconds: float = float("inf")
    callback: Callable[[Progress], Any] | None = None
    progress: bool | None = None
    checkpoint: Path | None = None


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
    (Ctrl-C) ends the loop with the last whole step.
    """
    trace = Trace()
    state: S | None = None
    bar = _Bar(limits.progress)
    try:
        state = solver.init(target, *start, rng, tolerance)
        while state.status is None:
            # A step costs about what the last one did: one that would break the budget is not begun.
            cost, duration = _last_step(trace)
            elapsed = time.perf_counter() - started
            if target.evaluations + cost + state.reserve > limits.max_evaluations:
                message = "The limit of evaluations (max_evaluations) was reached before the fit converged."
                state = _stopped(state, Status.BUDGET, message)
                break
            if elapsed + duration > limits.max_seconds:
                state = _stopped(state, Status.BUDGET, "max_seconds was reached before the fit converged.")
                break
            state = solver.step(target, state, rng, tolerance)
            elapsed = time.perf_counter() - started
            trace.add(state, target, elapsed)
            bar.update(state, target)
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
    finally:
        bar.close()
    return state, trace


def _last_step(trace: Trace) -> tuple[int, float]:
    """Evaluations and seconds that the last step took; none before the second, since much of the first is overhead."""
    if len(trace) < 2:
        return 0, 0.0
    return trace.evaluations[-1] - trace.evaluations[-2], trace.seconds[-1] - trace.seconds[-2]


def unstarted(start: tuple[Array, Array]) -> State:
    """The state of a fit that was interrupted at its start (mean, log_sd)."""
    mean, log_sd = (np.array(one, dtype=float) for one in start)
    nan = np.full(len(mean), np.nan)
    message = "The fit was interrupted before its first step; this is where it would have begun."
    return State(mean, log_sd, np.nan, np.nan, 0.0, nan, nan, Status.INTERRUPTED, message)


def _stopped(state: S, status: Status, message: str) -> S:
    return dataclasses.replace(state, status=status, message=message)


class _Bar:
    """A progress bar on standard error. By default only where someone looks, and only for fits of over two seconds."""

    def __init__(self, progress: bool | None) -> None:
        shown = sys.stderr.isatty() if progress is None else progress
        self.delay = 2.0 if progress is None else 0.0
        self.started = time.perf_counter()
        self.wanted = shown
        self.bar: Any = None

    def update(self, state: State, target: LogDensity) -> None:
        if not self.wanted or time.perf_counter() - self.started < self.delay:
            return
        if self.bar is None:
            from tqdm import tqdm

            self.bar = tqdm(desc="bbvi", unit=" steps", leave=False)
        self.bar.update()
        self.bar.set_postfix(elbo=f"{state.elbo:.4g}", evaluations=target.evaluations, refresh=False)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
