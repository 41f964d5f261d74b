"""Fits on disk: plain arrays and one line of JSON, in netCDF or ``.npz``, without pickles."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from bbvi import files, serial
from bbvi.correction import emulation, gaussian, linear_response
from bbvi.correction.chains import controls, metric, trajectories, warp
from bbvi.correction.chains import draws as of_chains
from bbvi.correction.gaussian import GaussianKind
from bbvi.correction.importance import proposals
from bbvi.correction.importance import result as correction
from bbvi.correction.pool import Evaluated, Normal
from bbvi.families import FullRankGaussian, LowRankGaussian, MeanFieldGaussian
from bbvi.files import as_path
from bbvi.model import guest, transforms
from bbvi.model.latents import ResolvedLatent
from bbvi.model.model import Model
from bbvi.notices import warn
from bbvi.output import netcdf
from bbvi.output.arviz import DRAWS
from bbvi.result.record import FitRecord
from bbvi.result.standin import StoredTarget, stand_in
from bbvi.search.modes import Mode
from bbvi.solvers.state import Trace
from bbvi.status import Status
from bbvi.target.target import Target

Array = np.ndarray
Record = TypeVar("Record", bound=FitRecord)

_NOT_STORED = ("model", "target", "origin")
_RECORDS: dict[str, type] = {
    record.__name__: record
    for module in (
        controls,
        correction,
        emulation,
        gaussian,
        guest,
        linear_response,
        metric,
        of_chains,
        proposals,
        trajectories,
        transforms,
        warp,
    )
    for record in vars(module).values()
    if isinstance(record, type) and dataclasses.is_dataclass(record)
} | {
    record.__name__: record
    for record in (
        Evaluated,
        FullRankGaussian,
        LowRankGaussian,
        MeanFieldGaussian,
        Mode,
        Normal,
        ResolvedLatent,
        Status,
        Trace,
    )
}


def save(fit: FitRecord, path: str | Path, draws: int | None = None, kind: str = "best") -> None:
    """Write a fit to disk.

    Parameters
    ----------
    fit : Fit
    path : path
        ``.nc`` for netCDF, which ``az.from_netcdf`` reads too, with the groups of `Fit.to_arviz`; or
        ``.npz``.
    draws, kind
        As for `Fit.to_arviz`: of those groups.

    Raises
    ------
    ValueError
        If the path has another ending.
    """
    path = _checked(path)
    stored = _stored(fit)
    if path.suffix == ".npz":
        files.write(path, serial.sealed(stored.zipped()))
    else:
        drawn = fit.draw(DRAWS if draws is None else draws, kind, asked=draws is not None)
        netcdf.write(fit, drawn, stored, path)


def read(path: str | Path, model: Model | None, record: type[Record]) -> Record:
    """Read a fit that was saved, as the given class of record; see `bbvi.load`."""
    path = _checked(path)
    if not path.exists():
        raise FileNotFoundError(f"path: there is no file {path}")
    if model is not None and not isinstance(model, Model):
        raise TypeError(f"model: expected a bbvi.Model or None, got {model!r}")
    with _named(f"path: {path}"):
        plain = _opened(path)
        stored = serial.value_of(plain, _RECORDS)
    if model is not None:
        _check_latents(stored["model"]["latents"], model)
    with _named(f"path: {path}"):
        fit = _restored(stored, model, record)
    if model is not None and stored["known"] is not None:
        _check_density(fit.target, *stored["known"])
    return fit


def _opened(path: Path) -> serial.Plain:
    if path.suffix == ".npz":
        return serial.Plain.unzipped(serial.unsealed(path.read_bytes()))
    with open(path, "rb") as file:
        serial.check_seal(file)
        return netcdf.read(file)


def packed(fit: FitRecord) -> bytes:
    """A fit as bytes, for pickles: what `save` writes as ``.npz``."""
    return serial.sealed(_stored(fit).packed())


def unpacked(data: bytes, model: Model | None, record: type[Record]) -> Record:
    """The fit again; without a model as `bbvi.load` gives it."""
    with _named("the pickle"):
        return _restored(serial.value_of(serial.Plain.unpacked(serial.unsealed(data)), _RECORDS), model, record)


@contextmanager
def _named(place: str) -> Iterator[None]:
    """Whatever damaged or foreign content makes of reading it, as one error that says where it lies."""
    try:
        yield
    except serial.DAMAGE as error:
        raise ValueError(f"{place} is not a fit that was saved by bbvi: {error or type(error).__name__}") from error


# ---- a fit as plain content --------------------------------------------------------------------------------


def _stored(fit: FitRecord) -> serial.Plain:
    return serial.plain(_content(fit), "fit", _RECORDS)


def _content(fit: FitRecord) -> dict[str, Any]:
    model = fit.model
    described = {
        "latents": {
            name: dataclasses.replace(latent, coords=_labels(latent.coords)) for name, latent in model.latents.items()
        },
        "functions": list(model.functions),
        "flat": model.flat,
        "coords": _labels(model.coords),
        "dims": {name: list(dims) for name, dims in model.dims.items()},
        "data": _storable(model.data),
        "observed": list(model.observed),
    }
    derived = {}
    if "derived" in model.functions:
        # Of the kinds that the summary needs: one for its rows, mean field for its last column.
        derived = {kind: dict(fit.posterior(kind).derived) for kind in sorted({"mean-field", fit.kind})}
    fields = {name: getattr(fit, name) for name in _field_names(type(fit))}
    return {
        "fields": fields,
        "model": described,
        "derived": derived,
        "known": _known_density(fit),
    }


def _labels(coords: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
    """Labels by dimension: those that are neither numbers, text nor dates as their text."""

    def label(x: Any) -> Any:
        try:
            serial.plain(x, "")
        except TypeError:
            return str(x)
        return x

    return {name: [label(x) for x in labels] for name, labels in coords.items()}


def _storable(data: Mapping[str, Any]) -> dict[str, Any]:
    """The data that can be stored without pickles; a warning names the others."""
    kept, lost = {}, {}
    for name, value in data.items():
        try:
            serial.plain(value, f"data.{name}")
        except TypeError:
            lost[name] = type(value).__name__
        else:
            kept[name] = value
    if lost:
        listed = ", ".join(f"{name!r} ({kind})" for name, kind in lost.items())
        warnings.warn(
            f"data: {listed} cannot be saved without pickles and is left out of the file; arrays, numbers, "
            "strings, None, and dicts, lists and tuples of them are kept",
            RuntimeWarning,
            stacklevel=4,
        )
    return kept


def _restored(content: Mapping[str, Any], model: Model | None, record: type[Record]) -> Record:
    fields, expected = content["fields"], _field_names(record)
    if set(fields) != set(expected):
        raise serial.Damaged(_difference(fields, expected))
    if model is not None:
        return record(model=model, target=Target(model), **fields)
    model = stand_in(**content["model"])
    target = StoredTarget(model)
    fit = record(model=model, target=target, **fields)
    for kind, derived in content["derived"].items():
        target.remember(fit.posterior(kind).u, derived)
    return fit


def _field_names(record: type[FitRecord]) -> list[str]:
    return [item.name for item in dataclasses.fields(record) if item.name not in _NOT_STORED]


def _difference(found: Iterable[str], expected: Iterable[str]) -> str:
    missing, new = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    return "; ".join([f"{name} is missing" for name in missing] + [f"{name} is not known" for name in new])


def _known_density(fit: FitRecord) -> tuple[Array, float] | None:
    """A draw (D,) at which the fit knows the log density, and that: what a model is known by when the fit is read."""
    for kind in fit.kinds.values():
        pool = kind.evaluated if isinstance(kind, GaussianKind) else kind.pool(fit.seed)
        if pool is None:
            continue
        finite = np.flatnonzero(np.isfinite(pool.log_density))
        if len(finite):
            return pool.u[finite[0]], float(pool.log_density[finite[0]])
    return None


def _check_density(target: Target, u: Array, expected: float) -> None:
    found = float(target.values(u[None])[0])
    if not np.isclose(found, expected, rtol=1e-6, atol=1e-6):
        warn(
            f"model: its log density at a draw of the fit is {found:.6g}, and that of the model which was fitted was "
            f"{expected:.6g}: other functions, or other data"
        )


def _check_latents(stored: Mapping[str, ResolvedLatent], model: Model) -> None:
    if list(stored) != list(model.latents):
        raise ValueError(
            f"model: expected the latents {', '.join(stored)}, in this order, got {', '.join(model.latents)}"
        )
    for name, expected in stored.items():
        given = model.latents[name]
        if given.shape != expected.shape:
            raise ValueError(
                f"model: expected latent {name!r} of shape {expected.shape}, got shape {given.shape}"
            )
        if not _same(expected.transform, given.transform):
            raise ValueError(
                f"model: expected latent {name!r} with the support that it had in the fit, "
                f"{type(expected.transform).__name__}, got {type(given.transform).__name__} or other bounds"
            )


def _same(first: Any, second: Any) -> bool:
    """Whether two values are stored alike."""
    one, other = (serial.plain(value, "", _RECORDS) for value in (first, second))
    return one.text == other.text and all(np.array_equal(x, other.arrays[key]) for key, x in one.arrays.items())


# ---- files -------------------------------------------------------------------------------------------------


def _checked(path: Any) -> Path:
    found = as_path("path", path)
    if found.suffix not in (".nc", ".npz"):
        raise ValueError(f"path: expected a name that ends in .nc or .npz, got {str(path)!r}")
    return found
