"""Fits on disk: plain arrays and one line of JSON, in netCDF or ``.npz``, without pickles."""

from __future__ import annotations

import dataclasses
import json
import os
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from bbvi.correction import emulation, gaussian, linear_response, proposals
from bbvi.correction import importance as correction
from bbvi.correction.chains import draws as of_chains
from bbvi.correction.chains import metric, trajectories, warp
from bbvi.correction.gaussian import GaussianKind
from bbvi.correction.pool import Evaluated, Normal
from bbvi.families import MeanFieldGaussian
from bbvi.model import transforms
from bbvi.model.latents import ResolvedLatent
from bbvi.model.model import Model
from bbvi.notices import warn
from bbvi.output.arviz import to_datatree
from bbvi.result.record import FitRecord
from bbvi.result.standin import StoredTarget, stand_in
from bbvi.search.modes import Mode
from bbvi.solvers.state import Trace
from bbvi.status import Status
from bbvi.target.target import Target

if TYPE_CHECKING:
    import xarray as xr

Array = np.ndarray
Record = TypeVar("Record", bound=FitRecord)

_FORMAT = 1
_GROUP = "bbvi"
_NOT_STORED = ("model", "target", "origin")
_STORABLE = "biufUmM"
_RECORDS: dict[str, type] = {
    record.__name__: record
    for module in (
        correction,
        emulation,
        gaussian,
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
} | {record.__name__: record for record in (Evaluated, MeanFieldGaussian, Mode, Normal, ResolvedLatent, Trace)}


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
    arrays: dict[str, Array] = {}
    header = json.dumps({"format": _FORMAT, "fit": _encode(_content(fit), "fit", arrays)})
    # Written beside and moved into place, so that an interrupt never leaves half a file.
    temporary = path.with_name(f".{path.name}.part")
    try:
        if path.suffix == ".npz":
            with open(temporary, "wb") as file:
                np.savez_compressed(file, header=np.array(header), **arrays)  # type: ignore[arg-type]
        else:
            _write_netcdf(to_datatree(fit, draws, kind), header, arrays, temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read(path: str | Path, model: Model | None, record: type[Record]) -> Record:
    """Read a fit that was saved, as the given class of record; see `bbvi.load`."""
    path = _checked(path)
    if not path.exists():
        raise FileNotFoundError(f"path: there is no file {path}")
    if model is not None and not isinstance(model, Model):
        raise TypeError(f"model: expected a bbvi.Model or None, got {model!r}")
    try:
        header, arrays = _read_npz(path) if path.suffix == ".npz" else _read_netcdf(path)
        stored = json.loads(header)
        version = stored["format"]
        content = _decode(stored["fit"], arrays) if version <= _FORMAT else {}
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"path: {path} is not a fit that was saved by bbvi ({error})") from error
    if version > _FORMAT:
        raise ValueError(
            f"path: {path} was written by a newer version of bbvi (format {version}); update bbvi to read it"
        )
    return _restored(content, model, record)


# ---- a fit as plain content --------------------------------------------------------------------------------


def _content(fit: FitRecord) -> dict[str, Any]:
    model = fit.model
    described = {
        "latents": dict(model.latents),
        "functions": list(model.functions),
        "flat": model.flat,
        "coords": {name: np.asarray(labels) for name, labels in model.coords.items()},
        "dims": {name: list(dims) for name, dims in model.dims.items()},
        "data": _storable(model.data),
        "observed": list(model.observed),
    }
    derived = {}
    if "derived" in model.functions:
        # Of the kinds that the summary needs: one for its rows, mean field for its last column.
        derived = {kind: dict(fit.posterior(kind).derived) for kind in sorted({"mean-field", fit.kind})}
    fields = {
        item.name: getattr(fit, item.name) for item in dataclasses.fields(fit) if item.name not in _NOT_STORED
    }
    return {
        "fields": fields,
        "model": described,
        "derived": derived,
        "known": _known_density(fit),
    }


def _storable(data: Mapping[str, Any]) -> dict[str, Any]:
    """The data that can be stored without pickles; a warning names the others."""
    kept, lost = {}, {}
    for name, value in data.items():
        try:
            _encode(value, f"data.{name}", {})
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
    described, fields = content["model"], content["fields"]
    target: Target
    if model is None:
        model = stand_in(**described)
        target = StoredTarget(model)
    else:
        _check_latents(described["latents"], model)
        target = Target(model)
        if content["known"] is not None:
            _check_density(target, *content["known"])
    fit = record(model=model, target=target, **fields)
    if isinstance(target, StoredTarget):
        for kind, derived in content["derived"].items():
            target.remember(fit.posterior(kind).u, derived)
    return fit


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
    parts: tuple[dict[str, Array], dict[str, Array]] = ({}, {})
    if _encode(first, "", parts[0]) != _encode(second, "", parts[1]):
        return False
    return all(np.array_equal(x, parts[1][key]) for key, x in parts[0].items())


# ---- records and plain values ------------------------------------------------------------------------------


def _encode(value: Any, key: str, arrays: dict[str, Array]) -> Any:
    """A value as JSON, its arrays moved into `arrays` under names that begin with `key`."""
    if isinstance(value, Status):
        return {"status": str(value)}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return {"scalar": _encode(np.asarray(value), key, arrays)}
    if isinstance(value, np.ndarray):
        if value.dtype.kind == "O" and all(isinstance(x, str) for x in value.flat):
            value = value.astype(str)
        if value.dtype.kind not in _STORABLE:
            raise TypeError(f"{key}: cannot be saved, an array of dtype {value.dtype}")
        # netCDF has a calendar of its own, so dates go as whole numbers.
        arrays[key] = value.view(np.int64) if value.dtype.kind in "mM" else value
        return {"array": key, "dtype": value.dtype.str}
    if isinstance(value, Mapping):
        # Numbered, since the names of variables in a file may not hold what keys may.
        items = [(_encode(x, f"{key}.{i}.key", arrays), y) for i, (x, y) in enumerate(value.items())]
        if not all(isinstance(x, str) for x, _ in items):
            return {"pairs": [[x, _encode(y, f"{key}.{i}", arrays)] for i, (x, y) in enumerate(items)]}
        part = {x: x if x.isidentifier() else str(i) for i, (x, _) in enumerate(items)}
        return {"dict": {x: _encode(y, f"{key}.{part[x]}", arrays) for x, y in items}}
    name = type(value).__name__
    if name in _RECORDS:
        return {"record": name, **_encode(_fields(value), key, arrays)}
    if isinstance(value, (list, tuple)):
        items = [_encode(x, f"{key}.{i}", arrays) for i, x in enumerate(value)]
        return items if isinstance(value, list) else {"tuple": items}
    raise TypeError(f"{key}: cannot be saved, a {name}")


def _fields(record: Any) -> dict[str, Any]:
    if isinstance(record, MeanFieldGaussian):
        return {"mean": record.mean, "sd": record.sd}
    if hasattr(record, "_fields"):
        return dict(zip(record._fields, record, strict=True))
    names = [item.name for item in dataclasses.fields(record) if item.init]
    return {name: getattr(record, name) for name in names}


def _decode(stored: Any, arrays: Mapping[str, Array]) -> Any:
    if isinstance(stored, list):
        return [_decode(x, arrays) for x in stored]
    if not isinstance(stored, dict):
        return stored
    if "array" in stored:
        dtype = np.dtype(stored["dtype"])
        x = arrays[stored["array"]]
        return x.astype(np.int64).view(dtype) if dtype.kind in "mM" else np.asarray(x).astype(dtype)
    if "scalar" in stored:
        return _decode(stored["scalar"], arrays)[()]
    if "pairs" in stored:
        return {_decode(x, arrays): _decode(y, arrays) for x, y in stored["pairs"]}
    if "status" in stored:
        return Status(stored["status"])
    if "tuple" in stored:
        return tuple(_decode(x, arrays) for x in stored["tuple"])
    fields = {name: _decode(x, arrays) for name, x in stored["dict"].items()}
    return _RECORDS[stored["record"]](**fields) if "record" in stored else fields


# ---- files -------------------------------------------------------------------------------------------------


def _checked(path: Any) -> Path:
    try:
        path = Path(path)
    except TypeError:
        raise TypeError(f"path: expected a path, got {path!r}") from None
    if path.suffix not in (".nc", ".npz"):
        raise ValueError(f"path: expected a name that ends in .nc or .npz, got {str(path)!r}")
    return Path(path)


def _read_npz(path: Path) -> tuple[str, dict[str, Array]]:
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    return str(arrays.pop("header")), arrays


def _write_netcdf(tree: xr.DataTree, header: str, arrays: Mapping[str, Array], path: Path) -> None:
    import xarray as xr

    variables = {name: ([f"{name}.{axis}" for axis in range(x.ndim)], x) for name, x in arrays.items()}
    # A variable and not an attribute, of which HDF5 holds 64 kB only.
    tree[_GROUP] = xr.DataTree(xr.Dataset({**variables, "header": ((), header)}))
    tree.to_netcdf(path, engine="h5netcdf")


def _read_netcdf(path: Path) -> tuple[str, dict[str, Array]]:
    import xarray as xr

    with xr.open_dataset(path, group=_GROUP, engine="h5netcdf") as file:
        arrays = {str(name): np.asarray(x.values) for name, x in file.load().variables.items()}
    return str(arrays.pop("header")), arrays
