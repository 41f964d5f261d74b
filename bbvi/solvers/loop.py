"""The one loop: it owns the budget, the time, interrupts, the trace, and the observers of every solver."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from ..status import Status
from .state import State

Array = np.ndarray


class Solver(Protocol):
    """What the loop asks of a solver; its options are a frozen dataclass, and `state_type` is what it steps."""

    state_type: ClassVar[type[State]]

    def init(
        self, target: Any, start_mean: Array, start_log_sd: Array, rng: np.random.Generator, tolerance: float
    ) -> State:
        """The state before the first step."""

    def step(self, target: Any, state: Any, rng: np.random.Generator, tolerance: float) -> State:
        """The next state; the one given is not changed."""


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


@dataclass
class Trace:
    """The course of a fit, one entry per step.

    Attributes
    ----------
    elbo : list of float
        Of the draws that the solver used, in nats.
    gradient_norm : list of float
        In q's metric.
    step_size : list of float
        In q's metric.
    evaluations, gradient_evaluations : list of int
        Cost so far, per draw.
    seconds : list of float
        Since the start.
    """

    elbo: list[float] = field(default_factory=list)
    gradient_norm: list[float] = field(default_factory=list)
    step_size: list[float] = field(default_factory=list)
    evaluations: list[int] = field(default_factory=list)
    gradient_evaluations: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.elbo)

    def add(self, state: State, target: Any, seconds: float) -> None:
        self.elbo.append(float(state.elbo))
        self.gradient_norm.append(float(state.gradient_norm))
        self.step_size.append(float(state.step_size))
        self.evaluations.append(int(target.evaluations))
        self.gradient_evaluations.append(int(target.gradient_evaluations))
        self.seconds.append(seconds)


@dataclass(frozen=True)
class Limits:
    """When to stop whatever the solver says, and who looks on."""

    max_evaluations: float = float("inf")
    max_seconds: float = float("inf")
    callback: Callable[[Progress], Any] | None = None
    progress: bool | None = None
    checkpoint: Path | None = None


def run(
    solver: Solver,
    target: Any,
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
    state: State | None = None
    # What the solver itself arrived at, and the generator then: whatever cuts the fit off, that can be gone on from.
    whole: tuple[State, dict[str, Any]] | None = None
    saved = limits.checkpoint
    identity: Identity | None = None
    bar = _Bar(limits.progress)
    last_saved = time.perf_counter()
    try:
        if saved is not None and saved.exists():
            state, identity = restore(saved, solver, target, rng, trace)
        else:
            identity = None if saved is None else Identity.of(target, *start)
            state = solver.init(target, *start, rng, tolerance)
        whole = state, dict(rng.bit_generator.state)
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
            whole = state, dict(rng.bit_generator.state)
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
            if saved is not None and identity is not None and time.perf_counter() - last_saved > 5.0:
                store(saved, solver, *whole, trace, identity)
                last_saved = time.perf_counter()
    except KeyboardInterrupt:
        if state is None:
            return unstarted(start), trace
        state = _stopped(state, Status.INTERRUPTED, "The fit was interrupted; this is its last whole step.")
    finally:
        bar.close()
        if saved is not None and whole is not None and identity is not None:
            store(saved, solver, *whole, trace, identity)
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


class Identity(NamedTuple):
    """What a checkpoint knows the log joint and its data by: a point (D,) and the log density there.

    The density is NaN where it says nothing: where it is not finite, or where the log joint is noisy.
    """

    point: Array
    log_density: float

    @classmethod
    def of(cls, target: Any, mean: Array, log_sd: Array) -> Identity:
        """At a point near the start, and not at it: at the origin many a likelihood is the same for all data."""
        point = mean + 0.1 * np.exp(log_sd) * np.random.default_rng(0).standard_normal(len(mean))
        first, second = _uncounted(target, np.stack([point, point]))
        return cls(point, float(first) if first == second and np.isfinite(first) else np.nan)

    def check(self, target: Any, path: Path) -> None:
        """A ValueError if the target has another log density here."""
        if np.isnan(self.log_density):
            return
        value = float(_uncounted(target, self.point[None])[0])
        if not abs(value - self.log_density) <= 1e-6 * max(abs(value), abs(self.log_density), 1.0):
            raise ValueError(
                f"checkpoint: {path} is of other data or of another log joint: expected the log density "
                f"{self.log_density:.10g} where this model's is {value:.10g}. Delete the file to begin anew, or name "
                "another."
            )


def _uncounted(target: Any, u: Array) -> Array:
    """Log density at draws u (S, D), which the fit does not count: a resumed fit costs what a whole one does."""
    before = target.evaluations, target.nonfinite
    try:
        return np.asarray(target.values(u))
    finally:
        target.evaluations, target.nonfinite = before


def store(
    path: Path, solver: Solver, state: State, generator: dict[str, Any], trace: Trace, identity: Identity
) -> None:
    """Write a checkpoint: state, state of the random generator and trace, as an ``.npz`` without pickles."""
    arrays, plain = {}, {}
    for item in dataclasses.fields(state):
        value = getattr(state, item.name)
        if isinstance(value, np.ndarray):
            arrays[f"state_{item.name}"] = value
        else:
            plain[item.name] = value.item() if isinstance(value, np.generic) else value
    arrays |= {f"trace_{name}": np.asarray(values) for name, values in vars(trace).items()}
    arrays |= {f"identity_{name}": np.asarray(value) for name, value in identity._asdict().items()}
    header = {"solver": type(solver).__name__, "state": plain, "rng": generator}
    arrays["header"] = np.array(json.dumps(header))
    # Written beside and moved into place, so that an interrupt never leaves half a checkpoint.
    temporary = path.with_name(path.name + ".part")
    with open(temporary, "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    os.replace(temporary, path)


def restore(path: Path, solver: Solver, target: Any, rng: np.random.Generator, trace: Trace) -> tuple[State, Identity]:
    """Read a checkpoint: the state, and what the log joint is known by.

    Sets `rng`, `trace` and the target's counts to what they were.

    Raises
    ------
    ValueError
        If the file is no checkpoint, or belongs to another solver, to another number of latents, to other data or to
        another log joint.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        header = json.loads(str(arrays.pop("header")))
        identity = Identity(arrays["identity_point"], float(arrays["identity_log_density"]))
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"checkpoint: {path} is not a checkpoint of bbvi ({error})") from error
    expected = type(solver).__name__
    if header["solver"] != expected:
        raise ValueError(f"checkpoint: {path} is of the solver {header['solver']}, expected {expected}")
    fields = {name.removeprefix("state_"): a for name, a in arrays.items() if name.startswith("state_")}
    if fields["mean"].shape != (target.dim,):
        raise ValueError(
            f"checkpoint: {path} is of a model with {len(fields['mean'])} latents, expected {target.dim}"
        )
    identity.check(target, path)
    for name in vars(trace):
        setattr(trace, name, arrays[f"trace_{name}"].tolist())
    rng.bit_generator.state = header["rng"]
    if len(trace):
        target.evaluations += trace.evaluations[-1]
        target.gradient_evaluations += trace.gradient_evaluations[-1]
    plain = header["state"]
    plain["status"] = None if plain["status"] is None else Status(plain["status"])
    return solver.state_type(**fields, **plain), identity


def _stopped(state: State, status: Status, message: str) -> State:
    return dataclasses.replace(state, status=status, message=message)


class _Bar:
    """A progress bar on standard error. By default only where someone looks, and only for fits of over two seconds."""

    def __init__(self, progress: bool | None) -> None:
        shown = sys.stderr.isatty() if progress is None else progress
        self.delay = 2.0 if progress is None else 0.0
        self.started = time.perf_counter()
        self.wanted = shown
        self.bar: Any = None

    def update(self, state: State, target: Any) -> None:
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
