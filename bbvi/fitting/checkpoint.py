"""Checkpoints: a fit that was cut off is made again, and what its log joint said by then is read and not called."""

from __future__ import annotations

import dataclasses
import dis
import functools
import inspect
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from bbvi import serial
from bbvi.estimators.gradient import name_of
from bbvi.fitting import arguments
from bbvi.fitting.job import Given, Method
from bbvi.model.model import Model
from bbvi.model.rows import Rows
from bbvi.target.log import REMEDY, Log
from bbvi.target.target import Target

# What says which log joint it is; where it differs, values decide.
_FUNCTIONS = "functions"
# Levels down to which the parts of an object are told apart.
_DEPTH = 4
# How a function sets what is not its own.
_STORES = ("STORE_ATTR", "STORE_DEREF", "STORE_GLOBAL")


@contextmanager
def keeping(
    path: Path | None, target: Target, identity: Callable[[], Mapping[str, Any]], seed: int | None
) -> Iterator[int]:
    """While it lasts, the target asks the log at `path` first, and tells it what it evaluates; gives the seed to use.

    Whoever gives no seed goes on with that of the log. The file is made, or read and compared, before any work.

    Raises
    ------
    ValueError
        If the file cannot be written, is damaged, no checkpoint, held by another fit, or of another fit; the message
        names what differs.
    """
    if path is None:
        yield arguments.as_seed(seed)
        return
    log = _opened(path)
    try:
        if seed is None:
            seed = arguments.as_seed(None if log.identity is None else log.identity.get("seed"))
        now = {**identity(), "seed": seed}
        if log.identity is None:
            _begin(log, now)
        else:
            _compare(log, log.identity, now)
        target.log = log
        yield seed
    finally:
        target.log = None
        log.close()


def _opened(path: Path) -> Log:
    try:
        return Log(path)
    except OSError as error:
        raise ValueError(f"checkpoint: {path} cannot be written ({error})") from error


def _begin(log: Log, identity: Mapping[str, Any]) -> None:
    try:
        log.begin(identity)
    except OSError as error:
        raise ValueError(f"checkpoint: {log.path} cannot be written ({error})") from error


def _compare(log: Log, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    if before.get("dim") != now["dim"]:
        told = f"is of a model with {before.get('dim')} latents, expected {now['dim']}"
        raise ValueError(f"checkpoint: {log.path} {told}. {REMEDY}")
    differing = [name for name in {**now, **before} if name != _FUNCTIONS and before.get(name) != now.get(name)]
    if any(name.startswith(("data", "latent")) for name in differing):
        told = f"is of other data or of another log joint: {', '.join(differing)} differ"
        raise ValueError(f"checkpoint: {log.path} {told}. {REMEDY}")
    if differing:
        changes = [f"{name} was {_shown(before.get(name))}, and is {_shown(now.get(name))} now" for name in differing]
        raise ValueError(f"checkpoint: {log.path} is of another fit: {'; '.join(changes)}. {REMEDY}")
    if before[_FUNCTIONS] != now[_FUNCTIONS]:
        log.doubt()


def _shown(value: Any) -> str:
    return "another" if isinstance(value, str) and value.startswith("digest ") else str(value)


# ---- what tells one fit from another -------------------------------------------------------------------------------


def identity(model: Model, method: Method, given: Given | None, tolerance: float) -> dict[str, Any]:
    """What a fit is known by beside its seed, as plain values by the name that an error gives them."""
    start = "none" if given is None else _digest(given.mean, "" if given.log_sd is None else given.log_sd)
    return {
        "dim": model.dim,
        **{f"latent {name!r}": _digest(latent.shape, latent.transform) for name, latent in model.latents.items()},
        **{f"data[{name!r}]": _digest(value) for name, value in model.data.items()},
        "vectorized": bool(model.vectorized),
        "tolerance": tolerance,
        "init": start,
        "estimator": _options(method.estimator, method.name),
        "solver": _options(method.solver, ""),
        "family": _options(method.family, "mean-field"),
        _FUNCTIONS: {name: _digest(function, sys.version_info[:2]) for name, function in model.functions.items()},
    }


def _options(chosen: Any, otherwise: str) -> str:
    """An estimator or a solver in words: its name, with its options."""
    chosen = getattr(chosen, "solver", chosen)
    if chosen is None:
        return otherwise
    if dataclasses.is_dataclass(chosen):
        return str(chosen) if len(str(chosen)) < 500 else f"{name_of(chosen)} ({_digest(chosen)})"
    return f"{name_of(chosen)} ({_digest(vars(chosen) if hasattr(chosen, '__dict__') else '')})"


def _digest(*values: Any) -> str:
    return "digest " + serial.digest(*(part for value in values for part in _parts(value))).hex()


def _parts(value: Any, depth: int = 0) -> Iterator[Any]:
    """What tells a value from others: numbers, text and arrays as they are, functions by their code."""
    yield type(value).__name__
    if isinstance(value, np.ndarray):
        yield [*map(str, value.flat)] if value.dtype.kind == "O" else value
    elif isinstance(value, Rows):
        # On a cluster rows are not read here; Dask's name for them is of where they come from.
        yield [value.token, *map(str, value.shape)]
    elif value is None or isinstance(value, (bool, int, float, complex, str, bytes, np.generic)):
        yield repr(value)
    elif depth > _DEPTH:
        return
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield str(key)
            yield from _parts(part, depth + 1)
    elif isinstance(value, (list, tuple)):
        yield len(value)
        for part in value:
            yield from _parts(part, depth + 1)
    elif isinstance(value, functools.partial):
        yield from _parts((value.func, value.args, value.keywords), depth + 1)
    elif isinstance(value, MethodType):
        yield from _parts((value.__func__, value.__self__), depth + 1)
    elif isinstance(value, FunctionType):
        yield from _parts_of_function(value, depth)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from _parts({item.name: getattr(value, item.name) for item in dataclasses.fields(value)}, depth + 1)
    elif callable(value) and not isinstance(value, (type, BuiltinFunctionType)) and depth == 0:
        yield from _parts_of_callable(value)
    elif isinstance(value, (type, ModuleType)) or depth > 0:
        yield getattr(value, "__qualname__", getattr(value, "__name__", ""))
    else:
        with suppress(pickle.PicklingError, AttributeError, TypeError):
            yield pickle.dumps(value)


def _parts_of_function(function: FunctionType, depth: int) -> Iterator[Any]:
    """Its code, and what it finds in its closure, its defaults and its module: values, and functions of that module."""
    yield from _parts_of_code(function.__code__)
    yield from _parts((function.__defaults__, function.__kwdefaults__), depth + 1)
    found = inspect.getclosurevars(function) if depth == 0 else None
    for name, value in _constant({**found.nonlocals, **found.globals}, function.__code__) if found else ():
        if not isinstance(value, FunctionType) or value.__module__ == function.__module__:
            yield name
            yield from _parts(value, depth + 1)


def _parts_of_callable(value: Any) -> Iterator[Any]:
    """What tells an object that is called as a function from others of its class: what it does not change itself."""
    called = type(value).__call__
    yield from _parts(called, 1)
    own = vars(value) if hasattr(value, "__dict__") else {}
    for name, part in _constant(own, called.__code__) if isinstance(called, FunctionType) else own.items():
        yield name
        yield from _parts(part, 1)


def _constant(found: Mapping[str, Any], code: CodeType) -> Iterator[tuple[str, Any]]:
    """Of what a function finds, that which it does not set: counters and caches are not what it is."""
    stores = {each.argval for each in dis.get_instructions(code) if each.opname in _STORES}
    return ((name, x) for name, x in found.items() if name not in stores and not isinstance(x, (list, dict, set)))


def _parts_of_code(code: CodeType) -> Iterator[Any]:
    yield code.co_code
    yield " ".join(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _parts_of_code(constant)
        else:
            # Sets are in another order in another process.
            yield repr(sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant)
