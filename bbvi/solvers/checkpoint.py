"""Checkpoints: the state of a solver on disk, and how a file is known to be of this fit."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bbvi.solvers.base import S, Solver
from bbvi.solvers.state import State, Trace
from bbvi.status import Status
from bbvi.target.protocol import LogDensity

Array = np.ndarray


class Identity(NamedTuple):
    """What a checkpoint knows the log joint and its data by: a point (D,) and the log density there.

    The density is NaN where it says nothing: where it is not finite, or where the log joint is noisy.
    """

    point: Array
    log_density: float

    @classmethod
    def of(cls, target: LogDensity, mean: Array, log_sd: Array) -> Identity:
        """At a point near the start, and not at it: at the origin many a likelihood is the same for all data."""
        point = mean + 0.1 * np.exp(log_sd) * np.random.default_rng(0).standard_normal(len(mean))
        first, second = _uncounted(target, np.stack([point, point]))
        return cls(point, float(first) if first == second and np.isfinite(first) else np.nan)

    def check(self, target: LogDensity, path: Path) -> None:
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


def _uncounted(target: LogDensity, u: Array) -> Array:
    """Log density at draws u (S, D), which the fit does not count: a resumed fit costs what a whole one does."""
    before = target.evaluations
    try:
        return np.asarray(target.values(u))
    finally:
        target.evaluations = before


def store(
    path: Path, solver: Solver[Any], state: State, generator: dict[str, Any], trace: Trace, identity: Identity
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


def restore(
    path: Path, solver: Solver[S], target: LogDensity, rng: np.random.Generator, trace: Trace
) -> tuple[S, Identity]:
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
