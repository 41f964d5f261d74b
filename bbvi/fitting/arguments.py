"""What the arguments of `fit` mean, and one clear error where they mean nothing."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bbvi import memory
from bbvi.estimators.base import Estimator
from bbvi.estimators.gradient import ESTIMATORS, as_estimator, name_of, uses_gradients
from bbvi.estimators.pathwise import Pathwise
from bbvi.estimators.score_function import ScoreFunction
from bbvi.fitting.job import Given, Method
from bbvi.fitting.policy import BudgetPolicy
from bbvi.model.latents import ResolvedLatent
from bbvi.model.model import Model
from bbvi.model.validation import positive_number, seed_or_none
from bbvi.progress import Bar
from bbvi.result.record import FitRecord
from bbvi.solvers.base import Solver, as_solver
from bbvi.solvers.fixed_draws import FixedDraws
from bbvi.solvers.from_values.active import Surrogate
from bbvi.solvers.from_values.natural_gradient import NaturalGradient
from bbvi.solvers.loop import Limits
from bbvi.solvers.stochastic import Stochastic
from bbvi.solvers.wider import FAMILIES, Family
from bbvi.target.cluster import Sharded, as_client
from bbvi.target.protocol import Evaluated
from bbvi.target.target import Target
from bbvi.threads import available

Array = np.ndarray

# Nats by which noise may move a value that is evaluated again; other data move it by more as a rule.
_NOISE = 20.0
_PAIRS = "pathwise goes with FixedDraws or Stochastic, the score function with NaturalGradient or Stochastic"


def choose_method(estimator: Any, solver: Any) -> Method:
    """The estimator and solver that the arguments of `fit` mean; ``"auto"`` is resolved later for the estimator."""
    chosen = None if isinstance(estimator, str) and estimator == "auto" else _estimator(estimator)
    if isinstance(solver, str) and solver != "auto":
        raise TypeError(f"solver: expected 'auto' or a solver such as bbvi.FixedDraws(), got {solver!r}")
    stepping = None if isinstance(solver, str) else as_solver(solver)
    own = stepping.estimator if isinstance(stepping, Stochastic) else None
    if own is not None:
        own = as_estimator(own)
        if chosen is not None and chosen != own:
            raise ValueError(
                f"estimator: {chosen!r} contradicts the estimator of the solver, {own!r}; give one of them only"
            )
        chosen = own
    if chosen is None and stepping is not None and stepping.traits.estimators == (ScoreFunction,):
        chosen = ScoreFunction()
    if stepping is None:
        stepping = solver_for(chosen)
    return settled(chosen, stepping)


def settled(estimator: Estimator | None, solver: Solver[Any], family: Family | None = None) -> Method:
    """The pair, with the estimator handed to a solver that follows any.

    Raises
    ------
    ValueError
        If the two do not go together; the message says which pairs do.
    """
    accepted = solver.traits.estimators
    if estimator is not None and accepted is not None and not isinstance(estimator, accepted):
        raise ValueError(
            f"solver: {name_of(solver)} does not go with the {name_of(estimator)} estimator; {_PAIRS}"
        )
    if estimator is None:
        return Method("auto", None, solver, gradients=True, family=family)
    if isinstance(solver, Stochastic):
        solver = solver.with_estimator(estimator)
    return Method(name_of(estimator), estimator, solver, gradients=uses_gradients(estimator), family=family)


def solver_for(estimator: Estimator | None) -> Solver[Any]:
    """Deterministic or regression solvers where they do what the estimator's options say, else the stochastic one."""
    if estimator is None or estimator == Pathwise():
        return FixedDraws()
    return NaturalGradient() if estimator == ScoreFunction() else Stochastic()


def sized(method: Method, dim: int) -> Method:
    """The method with the solver for so many latents, where only values are known and the solver is up to us."""
    if method.gradients or method.solver != NaturalGradient() or dim > BudgetPolicy().active_latents:
        return method
    return settled(method.estimator, Surrogate(), method.family)


def _estimator(estimator: Any) -> Estimator:
    try:
        return as_estimator(estimator)
    except (TypeError, ValueError) as error:
        named = ", ".join(map(repr, ("auto", *ESTIMATORS)))
        raise type(error)(f"estimator: expected {named} or an estimator object, got {estimator!r}") from None


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
    if callback is not None and not callable(callback):
        raise TypeError(f"callback: expected a function of a Progress, got {callback!r}")
    if progress is not None and not isinstance(progress, (bool, np.bool_)):
        raise TypeError(f"progress: expected True, False or None, got {progress!r}")
    if checkpoint is not None and not isinstance(checkpoint, (str, Path)):
        raise TypeError(f"checkpoint: expected a path or None, got {checkpoint!r}")
    return Limits(
        _budget("max_evaluations", max_evaluations, whole=True),
        _budget("max_seconds", max_seconds),
        callback,
        Bar(None if progress is None else bool(progress)),
        None if checkpoint is None else Path(checkpoint),
    )


def _budget(name: str, value: Any, *, whole: bool = False) -> float:
    budget = float("inf") if value is None else positive_number(name, value, whole=whole, infinite=True)
    return int(budget) if whole and np.isfinite(budget) else budget


def as_tolerance(tolerance: Any) -> float:
    """A positive number."""
    return positive_number("tolerance", tolerance)


def as_seed(seed: Any) -> int:
    """The seed itself, or a fresh one."""
    known = seed_or_none(seed)
    return int(np.random.SeedSequence().generate_state(1)[0]) if known is None else known


def start_of(target: Target, init: Any) -> Given | None:
    """Flat unconstrained mean (D,), and log sds where an earlier fit gives them; None without `init`."""
    if init is None:
        return None
    if isinstance(init, FitRecord):
        q = init.approximation
        if q.dim != target.dim:
            raise ValueError(f"init: expected a fit of {target.dim} latents, got one of {q.dim}")
        return Given(np.array(q.mean), np.log(q.sd))
    latents = target.model.latents
    if isinstance(init, Mapping):
        missing = [name for name in latents if name not in init]
        unknown = [name for name in init if name not in latents]
        if missing or unknown:
            raise ValueError(
                f"init: expected a value for each of {', '.join(latents)}, got {', '.join(map(str, init)) or 'none'}"
            )
        try:
            mean = target.unconstrain({name: _numbers(latent, init[name]) for name, latent in latents.items()})
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
    return Given(mean, None)


def _numbers(latent: ResolvedLatent, value: Any) -> Array:
    try:
        given = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"latent {latent.name!r}: expected a number or an array of numbers, got {value!r}") from None
    if given.shape != latent.shape:
        raise ValueError(f"latent {latent.name!r}: expected shape {latent.shape}, got {given.shape}")
    return given


def known_values(target: Target, evaluated: Any, init: Any) -> Evaluated | None:
    """Values that are known already: those given as `evaluated`, or those of a fit that is given as `init`.

    One of them is evaluated again. Where it differs, a fit that is only to begin from is taken for one of other data.

    Raises
    ------
    TypeError, ValueError
        If `evaluated` is no fit from values and no pair of draws (N, D) and values (N,), or not of this log joint.
    """
    if evaluated is None:
        own = init.evaluated if isinstance(init, FitRecord) else None
        return own if own is not None and len(own.u) and _same_there(target, own) else None
    given: Any = evaluated.evaluated if isinstance(evaluated, FitRecord) else evaluated
    try:
        u, values = (np.array(x, dtype=float) for x in given)
    except (TypeError, ValueError):
        raise TypeError(
            f"evaluated: expected a fit from values, or draws (N, D) and their log densities (N,), got {evaluated!r}"
        ) from None
    if u.ndim != 2 or u.shape[1] != target.dim or values.shape != (len(u),):
        raise ValueError(
            f"evaluated: expected draws (N, {target.dim}) and values (N,), got shapes {u.shape} and {values.shape}"
        )
    known = Evaluated(u, np.where(np.isfinite(values), values, -np.inf))
    if not _same_there(target, known):
        raise ValueError(
            "evaluated: the log joint has another value at the best of these draws: they are of other data, of another "
            "log joint, or not on the unconstrained scale"
        )
    return known


def _same_there(target: Target, known: Evaluated) -> bool:
    """Whether the log joint has the value that is known at the best of the draws, up to noise."""
    best = int(np.argmax(known.log_density))
    expected, found = known.log_density[best], target.values(known.u[best : best + 1])[0]
    return bool(np.isclose(found, expected, rtol=1e-6, atol=_NOISE))


def as_family(family: Any, target: Target, method: Method) -> Method:
    """The method with the family that an argument of `fit` means; mean field is None.

    Raises
    ------
    TypeError, ValueError
        If it is no known name, and has no method ``widen``; or if the latents are too many for it.
    """
    named = ", ".join(map(repr, ("mean-field", *FAMILIES)))
    if isinstance(family, str):
        if family == "mean-field":
            return method
        if family not in FAMILIES:
            raise ValueError(f"family: expected {named} or an object such as bbvi.LowRank(rank=20), got {family!r}")
        family = FAMILIES[family]
    if isinstance(family, type) or not all(hasattr(family, name) for name in ("widen", "refusal", "name")):
        raise TypeError(f"family: expected {named} or an object such as bbvi.LowRank(rank=20), got {family!r}")
    refused = family.refusal(target.dim, method.gradients)
    if refused:
        raise ValueError(f"family: {refused}")
    return dataclasses.replace(method, family=family)


def without_gradient(method: Method) -> Method:
    """The method for a target of which only values are known.

    Raises
    ------
    ValueError
        If the estimator that was chosen needs a gradient.
    """
    if method.estimator is not None and method.gradients:
        raise ValueError(
            f"estimator: {method.name!r} needs a gradient, but autograd cannot trace the log joint; write it with "
            "autograd.numpy and bbvi.stats, give gradient=, or use estimator='score'"
        )
    return from_values(method) if method.estimator is None else method


def from_values(method: Method) -> Method:
    """The score function, with the same solver where it goes with that."""
    score = ScoreFunction()
    accepted = method.solver.traits.estimators
    fits = accepted is None or ScoreFunction in accepted
    solver = method.solver if fits else NaturalGradient()
    if isinstance(solver, Stochastic):
        solver = dataclasses.replace(solver, estimator=None)
    return settled(score, solver, method.family)


def as_threads(threads: Any) -> int:
    """A number of threads; None is that of the cores.

    Raises
    ------
    ValueError, TypeError
        If it is not a positive integer.
    """
    if threads is None:
        return available()
    if isinstance(threads, bool) or not isinstance(threads, int | np.integer):
        raise TypeError(f"threads: expected a number of threads or None, got {threads!r}")
    if threads < 1:
        raise ValueError(f"threads: expected 1 or more, got {threads}")
    return int(threads)


def as_memory(max_memory: Any) -> float:
    """A number of bytes, given as such or as text ("2GB"); None is a quarter of what is free.

    Raises
    ------
    ValueError, TypeError
        If it is no positive amount of memory.
    """
    if max_memory is None:
        return memory.free() / 4.0
    if isinstance(max_memory, str):
        found = re.fullmatch(r"\s*([\d.]+)\s*([kMGT]?)i?B\s*", max_memory)
        if found is None or found[1].count(".") > 1:
            raise ValueError(f"max_memory: expected bytes, or text such as '2GB', got {max_memory!r}")
        max_memory = float(found[1]) * 1000.0 ** " kMGT".index(found[2] or " ")
    if isinstance(max_memory, bool) or not isinstance(max_memory, int | float | np.number):
        raise TypeError(f"max_memory: expected bytes, or text such as '2GB', got {max_memory!r}")
    if not max_memory > 0:
        raise ValueError(f"max_memory: expected a positive number of bytes, got {max_memory!r}")
    return float(max_memory)


def as_target(model: Model, executor: Any, cluster: Any, threads: Any, max_memory: float) -> Target:
    """The model's target: here, its draws on an executor, or its rows on a cluster.

    Raises
    ------
    TypeError, ValueError
        If both are given, or the cluster is none, or the model does not say what belongs to which row.
    """
    count = as_threads(threads)
    if cluster is None:
        return Target(model.held(), executor, threads=count, max_memory=max_memory)
    if executor is not None:
        raise ValueError("executor, cluster: expected one of them, which spreads draws or data, got both")
    client = as_client(cluster)
    if "log_likelihood" not in model.functions or "gradient" in model.functions:
        raise ValueError(
            "cluster: expected a model with log_prior and log_likelihood and without gradient=, so that it is known "
            "what belongs to which row"
        )
    return Sharded(model, client, threads=count, max_memory=max_memory)
