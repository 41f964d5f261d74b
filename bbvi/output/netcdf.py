"""A fit as a netCDF file: its groups for ArviZ, and one of its own, with which it is read again."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from bbvi import files, serial
from bbvi.output.arviz import as_tree, draws_dataset, fits_in_memory, large_groups, whole_tree
from bbvi.result.by_parts import elements
from bbvi.result.posterior import DrawSet
from bbvi.result.record import FitRecord

if TYPE_CHECKING:
    import xarray as xr

Array = np.ndarray
_GROUP = "bbvi"


def write(fit: FitRecord, drawn: DrawSet, stored: serial.Plain, path: Path) -> None:
    """Write it, in memory first: HDF5 ends the process where a disk is full. What does not fit goes there in parts.

    Raises
    ------
    OSError
        If there is no room on the disk.
    """
    if fits_in_memory(fit, drawn):
        buffer = io.BytesIO()
        _dump(buffer, whole_tree(fit, drawn, None), stored)
        files.write(path, serial.sealed(buffer.getvalue()))
        return
    files.check_folder(path)
    wanted = 8.0 * len(drawn.u) * elements(fit.target) * len(large_groups(fit, drawn, None))
    free = shutil.disk_usage(path.resolve().parent).free
    if wanted > free:
        raise OSError(f"path: {path} would take {wanted / 1e9:.3g} GB, and its disk has {free / 1e9:.3g} GB left")
    with files.replacing(path) as temporary, open(temporary, "r+b") as file:
        _dump(file, as_tree(fit, drawn, {}, None), stored)
        for name, blocks in large_groups(fit, drawn, None).items():
            _append(file, name, blocks, fit, drawn)
        serial.seal(file)


def read(file: IO[bytes]) -> serial.Plain:
    """What it holds of a fit."""
    import xarray as xr

    with xr.open_dataset(file, group=_GROUP, engine="h5netcdf") as group:
        arrays = {str(name): np.asarray(x.values) for name, x in group.load().variables.items()}
    return serial.Plain(str(arrays.pop("header")), arrays)


def _dump(file: IO[bytes], tree: xr.DataTree, stored: serial.Plain) -> None:
    import h5netcdf
    import xarray as xr
    from xarray.backends import H5NetCDFStore

    variables = {name: ([f"{name}.{axis}" for axis in range(x.ndim)], x) for name, x in stored.arrays.items()}
    # A variable and not an attribute, of which HDF5 holds 64 kB only.
    tree[_GROUP] = xr.DataTree(xr.Dataset({**variables, "header": ((), stored.text)}))
    with h5netcdf.File(file, "w") as whole:
        for node in tree.subtree:
            group = whole if node.path == "/" else whole.create_group(node.path)
            node.to_dataset(inherit=False).dump_to_store(H5NetCDFStore(group))


def _append(
    file: IO[bytes], name: str, blocks: Iterator[Mapping[str, Array]], fit: FitRecord, drawn: DrawSet
) -> None:
    """One more group, of variables (S, ...) that come some draws at a time."""
    import h5netcdf
    from xarray.backends import H5NetCDFStore

    start = 0
    with h5netcdf.File(file, "a") as whole:
        group = whole.create_group(name)
        for block in blocks:
            if not start:
                # As if all were there, of which only the names and lengths of dimensions are written.
                shapes = {key: (len(drawn.u), *np.shape(x)[1:]) for key, x in block.items()}
                stand_ins = {key: np.broadcast_to(0.0, shape) for key, shape in shapes.items()}
                layout = draws_dataset(fit.model, stand_ins, drawn.chains)
                layout.drop_vars(shapes).dump_to_store(H5NetCDFStore(group))
                for key, x in block.items():
                    group.create_variable(key, layout[key].dims, np.asarray(x).dtype)
            _place(group, block, start, drawn)
            start += len(next(iter(block.values())))


def _place(group: Any, block: Mapping[str, Array], start: int, drawn: DrawSet) -> None:
    """Draws from `start` on, which lie chain after chain."""
    length = len(drawn.u) // drawn.chains
    count = len(next(iter(block.values())))
    for chain in range(start // length, (start + count - 1) // length + 1):
        first, last = max(start, chain * length), min(start + count, (chain + 1) * length)
        for key, x in block.items():
            group[key][chain, first - chain * length : last - chain * length] = x[first - start : last - start]
