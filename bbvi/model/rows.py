"""Arrays of Dask and Zarr as data: what shape they have is known, and their rows are read when somebody asks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from bbvi.model.spool import fits, gathered

Array = np.ndarray
_LIBRARIES = ("dask", "zarr")


def is_lazy(value: Any) -> bool:
    """Whether a value is Dask's or Zarr's, so that its content is elsewhere."""
    return type(value).__module__.partition(".")[0] in _LIBRARIES


class Rows:
    """An array whose rows are elsewhere.

    Parameters
    ----------
    name : str
        Of the data, for errors.
    source : dask.array.Array, dask.dataframe.DataFrame, dask.dataframe.Series or zarr.Array
        Of numbers, whose first axis is that of the rows.

    Raises
    ------
    TypeError
        If it holds no numbers, or Dask is not installed, which Zarr's arrays are read by.
    """

    def __init__(self, name: str, source: Any) -> None:
        self.name, self.source = name, _as_dask_array(name, source)
        self.shape: tuple[int, ...] = tuple(map(int, self.source.shape))
        self.dtype: np.dtype[Any] = self.source.dtype

    @property
    def ndim(self) -> int:
        """Axes, the rows' among them."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Elements."""
        return int(np.prod(self.shape))

    @property
    def nbytes(self) -> int:
        """Bytes of all of them."""
        return self.size * self.dtype.itemsize

    @property
    def token(self) -> str:
        """What tells this array from another of other content, as far as is known without reading it."""
        return str(self.source.name)

    @cached_property
    def array(self) -> Array:
        """All rows, read once: in memory where they fit, else in a file of the temporary folder, mapped."""
        if not fits(self.nbytes):
            return gathered(self.name, self._blocks())
        whole, start = np.empty(self.shape, self.dtype), 0
        for block in self._blocks():
            whole[start : start + len(block)] = block
            start += len(block)
        whole.flags.writeable = False
        return whole

    def _blocks(self) -> Iterator[Array]:
        for k in range(self.source.numblocks[0]):
            yield np.asarray(self.source.blocks[k].compute())

    def head(self, count: int) -> Array:
        """The first rows."""
        return np.asarray(self.source[:count].compute())

    def parts(self, ends: Array) -> list[Any]:
        """Arrays of Dask with the rows between one of `ends` and the next, each of one block."""
        joined = self.source.rechunk({0: tuple(int(n) for n in np.diff(ends))})
        return [joined.blocks[k] for k in range(len(ends) - 1)]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> Array:
        return np.asarray(self.array[rows])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.array, dtype=dtype, copy=copy)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "array"}


def held(data: Mapping[str, Any]) -> dict[str, Any]:
    """The data with all rows read."""
    return {name: value.array if isinstance(value, Rows) else value for name, value in data.items()}


def rows_of(data: Mapping[str, Any]) -> dict[str, Rows]:
    """Those of the data that are elsewhere.

    Raises
    ------
    ValueError
        If they differ in their number of rows.
    """
    lazy = {name: value for name, value in data.items() if isinstance(value, Rows)}
    if len({len(value) for value in lazy.values()}) > 1:
        listed = ", ".join(f"{name!r} has {len(value)}" for name, value in lazy.items())
        raise ValueError(f"data: expected as many rows in one array of Dask or Zarr as in another, but {listed}")
    return lazy


def _as_dask_array(name: str, source: Any) -> Any:
    """The source as an array of Dask, in chunks of whole rows of known number."""
    try:
        import dask.array
    except ModuleNotFoundError as error:
        raise TypeError(f"data[{name!r}]: arrays of Zarr are read by Dask; pip install 'bbvi[dask]'") from error
    if type(source).__module__.startswith("zarr"):
        source = dask.array.from_zarr(source)
    if not hasattr(type(source), "shape"):
        raise TypeError(f"data[{name!r}]: expected an array, a column or a frame of Dask, got {type(source).__name__}")
    frame = hasattr(source, "to_dask_array")
    kinds = [*source.dtypes] if frame and source.ndim == 2 else [source.dtype]
    for kind in kinds:
        if not isinstance(kind, np.dtype) or kind.kind not in "fiub":
            raise TypeError(f"data[{name!r}]: expected numbers, got {kind}; give categories and dates as numbers")
    if frame:
        source = source.to_dask_array()
    if source.ndim < 1:
        raise TypeError(f"data[{name!r}]: expected an array with rows, got a scalar of Dask; .compute() makes a number")
    if not np.isfinite(source.shape).all():
        # How many rows a partition of a frame has is known when it is read.
        source = source.compute_chunk_sizes()
    return source.rechunk({axis: -1 for axis in range(1, source.ndim)})
