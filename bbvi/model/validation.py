"""The checks of what a user declares, each with one clear error at the boundary."""

from __future__ import annotations

import inspect
import keyword
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bbvi.model.data import (
    as_data,
    as_labels,
    columns,
    from_batches,
    is_batches,
    is_frame,
    labels_of_categories,
)
from bbvi.model.latents import ResolvedLatent, as_latent

Function = Callable[..., Any]

# Above it whole numbers may be too large for a float, and are as good as infinity.
_ENDLESS = 1e300


def check_functions(functions: Mapping[str, Function]) -> None:
    """That all are functions, and that they make one density: a log joint, or a log prior with a log likelihood."""
    for name, function in functions.items():
        if not callable(function):
            raise TypeError(f"{name}: expected a function, got {describe(function)}")
    split = [name for name in ("log_prior", "log_likelihood") if name in functions]
    if "log_joint" in functions and split:
        raise ValueError(f"expected log_joint, or log_prior with log_likelihood; got log_joint and {split[0]}")
    if len(split) == 1:
        other = {"log_prior": "log_likelihood", "log_likelihood": "log_prior"}[split[0]]
        raise ValueError(f"{other}: expected beside {split[0]}, got none; or give their sum as log_joint")
    if not {"log_joint", "log_prior", "gradient"} & set(functions):
        raise ValueError("log_joint: expected a function (or log_prior with log_likelihood, or gradient), got none")


def checked_coords(coords: Any, data: Any = None) -> dict[str, Sequence[Any]]:
    """Labels by dimension; data that are categories bring theirs, under their own name, where `coords` has none."""
    if coords is not None and not isinstance(coords, Mapping):
        raise TypeError(f"coords: expected a dict of labels by dimension, got {describe(coords)}")
    checked: dict[str, Sequence[Any]] = {}
    for name, labels in {**labels_of_categories(data), **(coords or {})}.items():
        if isinstance(labels, (set, frozenset)):
            raise TypeError(
                f"coords[{name!r}]: expected labels in an order, got a {type(labels).__name__}, which has none; "
                "sorted() gives one"
            )
        if isinstance(labels, str) or not hasattr(labels, "__len__") or not hasattr(labels, "__iter__"):
            raise TypeError(f"coords[{name!r}]: expected a sequence of labels, got {describe(labels)}")
        labels = as_labels(list(labels))
        if len({str(label) for label in labels}) < len(labels):
            raise ValueError(f"coords[{name!r}]: expected labels that differ from each other, got {labels}")
        checked[str(name)] = labels
    return checked


def resolved_latents(latents: Any, coords: Mapping[str, Sequence[Any]]) -> dict[str, ResolvedLatent]:
    """Latents by name, with their shapes and dims, from declarations or from how many there are."""
    if latents is None:
        raise ValueError("latents: expected a dict of declarations by name, or the number of latents, got none")
    if isinstance(latents, (int, np.integer)) and not isinstance(latents, bool):
        if latents < 1:
            raise ValueError(f"latents: expected 1 or more, got {latents}")
        latents = {"z": (int(latents),)}
    if not isinstance(latents, Mapping):
        raise TypeError(f"latents: expected a dict of declarations by name, or an int, got {describe(latents)}")
    if not latents:
        raise ValueError("latents: expected at least one latent, got an empty dict")
    for name in latents:
        if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
            raise ValueError(
                f"latents: expected names that are identifiers, without a leading underscore, got {name!r}"
            )
    return {name: as_latent(name, spec).resolve(name, coords) for name, spec in latents.items()}


def checked_data(
    data: Any, functions: Mapping[str, Function] | None = None, coords: Mapping[str, Sequence[Any]] | None = None
) -> dict[str, Any]:
    """Data by name, as arrays; of a data frame the columns that `functions` name, of categories places in `coords`."""
    if data is None:
        return {}
    if is_batches(data):
        return dict(from_batches(data, functions or {}))
    if is_frame(data):
        data = columns(data, functions or {})
    if not isinstance(data, Mapping):
        raise TypeError(
            f"data: expected a dict of values by name, a data frame, or an iterator of batches, got {describe(data)}"
        )
    for name in data:
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(f"data: expected names that are identifiers, got {name!r}")
    return {name: as_data(name, value, (coords or {}).get(name)) for name, value in data.items()}


def checked_dims(dims: Any, coords: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Names of dimensions by quantity, all of which have coords."""
    if dims is None:
        return {}
    if not isinstance(dims, Mapping):
        raise TypeError(f"dims: expected a dict of dimension names by quantity, got {describe(dims)}")
    checked = {}
    for name, names in dims.items():
        names = (names,) if isinstance(names, str) else names
        if not isinstance(names, (list, tuple)):
            raise TypeError(f"dims[{name!r}]: expected a name or a tuple of names, got {describe(names)}")
        for dim in names:
            if dim not in coords:
                known = ", ".join(map(repr, coords)) or "none"
                raise ValueError(f"dims[{name!r}]: expected names that coords has, got {dim!r}; coords has {known}")
        checked[str(name)] = tuple(names)
    return checked


def check_lengths(dims: Mapping[str, tuple[str, ...]], coords: Mapping[str, Any], data: Mapping[str, Any]) -> None:
    """That data have the lengths of the coords of their dims."""
    for name in dims:
        lengths = tuple(len(coords[dim]) for dim in dims[name])
        if name in data and np.shape(data[name]) != lengths:
            raise ValueError(
                f"dims[{name!r}]: expected data of shape {lengths}, the lengths of the coords of "
                f"{', '.join(map(repr, dims[name]))}, got data of shape {np.shape(data[name])}"
            )


def data_arguments(name: str, function: Function, data: Mapping[str, Any]) -> tuple[str, ...]:
    """Which data a function's signature asks for; what it cannot get is an error now and not at its first call."""
    leading = {"predict": 2, "sample_prior": 1}.get(name, 1)
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return tuple(data)
    kinds = inspect.Parameter
    positional = [p for p in parameters if p.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)]
    if len(positional) < leading and not any(p.kind is kinds.VAR_POSITIONAL for p in parameters):
        first = {"predict": "(z, rng, **data)", "sample_prior": "(rng)"}.get(name, "(z, **data)")
        raise TypeError(f"{name}: expected a function of {first}, got one of {inspect.signature(function)}")
    rest = [p for p in parameters if p not in positional[:leading]]
    if any(p.kind is kinds.VAR_KEYWORD for p in rest):
        return tuple(data)
    named = [p for p in rest if p.kind in (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)]
    missing = [p.name for p in named if p.default is kinds.empty and p.name not in data]
    if missing:
        known = ", ".join(map(repr, data)) or "none"
        raise ValueError(f"{name}: its argument {', '.join(map(repr, missing))} is not among the data, {known}")
    return tuple(p.name for p in named if p.name in data)


def positive_int(name: str, value: Any) -> int:
    """A whole number of 1 or more."""
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name}: expected an integer of 1 or more, got {value!r}")
    return int(value)


def positive_number(name: str, value: Any, *, whole: bool = False, infinite: bool = False) -> float:
    """A number above zero; `whole` ones may be written as 1e5, and `infinite` says whether infinity is one."""
    value = value.item() if isinstance(value, np.number) else value
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    endless = number and value > _ENDLESS
    if not (number and value > 0) or (endless and not infinite) or (whole and not endless and value % 1 > 0):
        expected = "a positive whole number" if whole else "a positive number"
        raise ValueError(f"{name}: expected {expected}{' or None' if infinite else ''}, got {value!r}")
    return float("inf") if endless else float(value)


def seed_or_none(seed: Any) -> int | None:
    """What makes random numbers the same again: a whole number of 0 or more, or None."""
    if seed is None:
        return None
    if not isinstance(seed, (int, np.integer)) or isinstance(seed, bool) or seed < 0:
        raise ValueError(f"seed: expected a non-negative integer or None, got {seed!r}")
    return int(seed)


def describe(value: Any) -> str:
    """A value as messages name it."""
    if isinstance(value, np.ndarray):
        return f"an array of dtype {value.dtype} and shape {value.shape}"
    return f"{value!r} of type {type(value).__name__}"
