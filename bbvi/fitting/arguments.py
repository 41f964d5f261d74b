"""What the arguments of `fit` mean, and one clear error where they mean nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bbvi.estimators import Pathwise, ScoreFunction
from bbvi.model.model import Model
from bbvi.result.record import FitRecord
from bbvi.solvers.fixed_draws import FixedDraws
from bbvi.solvers.from_values.natural_gradient import NaturalGradient
from bbvi.solvers.loop import Limits
from bbvi.solvers.stochastic import Stochastic
from bbvi.target.target import Target

Array = np.ndarray

_PAIRS = "pathwise goes with FixedDraws or Stochastic, the score function with NaturalGradient or Stochastic"


@dataclass(frozen=True)
class Method:
    """An estimator and a solver that go together, by object; `name` is the estimator's."""

    name: str
    estimator: Any
    solver: Any


def choose_method(estimator: Any, solver: Any) -> Method:
    """The estimator and solver that the arguments of `fit` mean; ``"auto"`` is resolved later for the estimator."""
    named = {"auto": None, "pathwise": Pathwise(), "score": ScoreFunction()}
    if isinstance(estimator, str):
        if estimator not in named:
            raise ValueError(
                f"estimator: expected 'auto', 'pathwise', 'score' or an estimator object, got {estimator!r}"
            )
        chosen = named[estimator]
    elif isinstance(estimator, (Pathwise, ScoreFunction)):
        chosen = estimator
    else:
        raise TypeError(f"estimator: expected 'auto', 'pathwise', 'score' or an estimator object, got {estimator!r}")
    solvers = (FixedDraws, NaturalGradient, Stochastic)
    if isinstance(solver, type) or (not isinstance(solver, solvers) and solver != "auto"):
        raise TypeError(f"solver: expected 'auto', FixedDraws(), NaturalGradient() or Stochastic(), got {solver!r}")
    if chosen is None and isinstance(solver, NaturalGradient):
        chosen = ScoreFunction()
    if solver == "auto":
        solver = _default_solver(chosen)
    name = "auto" if chosen is None else "score" if isinstance(chosen, ScoreFunction) else "pathwise"
    if (name == "score" and isinstance(solver, FixedDraws)) or (
        name == "pathwise" and isinstance(solver, NaturalGradient)
    ):
        raise ValueError(f"solver: {type(solver).__name__} does not go with the {name} estimator; {_PAIRS}")
    return Method(name, chosen, solver)


def _default_solver(estimator: Any) -> Any:
    """Deterministic or regression solvers where they do what the estimator's options say, else the stochastic one."""
    if estimator is None or estimator == Pathwise():
        return FixedDraws()
    return NaturalGradient() if estimator == ScoreFunction() else Stochastic()


def as_model(model: Any, latents: Any) -> Model:
    """A `Model`, or one made of a log joint function and its latents."""
    if isinstance(model, Model):
        if latents is not None:
            raise ValueError("latents: expected none beside a Model, which has its own")
        return model
    if callable(model):
        return Model(model, latents)
    raise TypeError(f"model: expected a bbvi.Model or a log joint function, got {model!r}")


def as_limits(max_evaluations: Any, max_seconds: Any, callback: Any, progress: Any, checkpoint: Any) -> Limits:
    """Budgets and observers, checked."""
    for name, value in (("max_evaluations", max_evaluations), ("max_seconds", max_seconds)):
        if value is not None and not (isinstance(value, (int, float, np.number)) and value > 0):
            raise ValueError(f"{name}: expected a positive number or None, got {value!r}")
    if callback is not None and not callable(callback):
        raise TypeError(f"callback: expected a function of a Progress, got {callback!r}")
    if progress is not None and not isinstance(progress, (bool, np.bool_)):
        raise TypeError(f"progress: expected True, False or None, got {progress!r}")
    if checkpoint is not None and not isinstance(checkpoint, (str, Path)):
        raise TypeError(f"checkpoint: expected a path or None, got {checkpoint!r}")
    return Limits(
        float("inf") if max_evaluations is None else max_evaluations,
        float("inf") if max_seconds is None else max_seconds,
        callback,
        None if progress is None else bool(progress),
        None if checkpoint is None else Path(checkpoint),
    )


def as_seed(seed: Any) -> int:
    """The seed itself, or a fresh one."""
    if seed is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    if not isinstance(seed, (int, np.integer)) or isinstance(seed, bool) or seed < 0:
        raise ValueError(f"seed: expected a non-negative integer or None, got {seed!r}")
    return int(seed)


def start_of(target: Target, init: Any) -> tuple[Array, Array | None] | None:
    """Flat unconstrained mean (D,), and log sds where an earlier fit gives them; None without `init`."""
    if init is None:
        return None
    if isinstance(init, FitRecord):
        q = init.approximation
        if q.dim != target.dim:
            raise ValueError(f"init: expected a fit of {target.dim} latents, got one of {q.dim}")
        return np.array(q.mean), np.log(q.sd)
    latents = target.model.latents
    if isinstance(init, Mapping):
        missing = [name for name in latents if name not in init]
        unknown = [name for name in init if name not in latents]
        if missing or unknown:
            raise ValueError(
                f"init: expected a value for each of {', '.join(latents)}, got {', '.join(map(str, init)) or 'none'}"
            )
        try:
            mean = target.unconstrain({name: np.asarray(init[name], dtype=float) for name in latents})
        except ValueError as error:
            raise ValueError(f"init: {error}") from None
    else:
        try:
            mean = np.array(init, dtype=float)
        except (TypeError, ValueError):
            raise TypeError(f"init: expected a dict by latent, a flat array or a Fit, got {init!r}") from None
        if mean.shape != (target.dim,):
            raise ValueError(f"init: expected a flat unconstrained array of shape ({target.dim},), got {mean.shape}")
    if not np.isfinite(mean).all():
        raise ValueError("init: expected finite values")
    value = target.values(mean[None])[0]
    if not np.isfinite(value):
        raise ValueError(f"init: the log joint is not finite there: {target.nonfinite}")
    return mean, None
