"""What a user gives as data, as the arrays that functions receive: frames by column, categories by code."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from bbvi.model.rows import Rows, is_lazy
from bbvi.model.spool import Spool

# Columns, indices and arrays of these are arrays; they are only imported by those who use them.
_LIBRARIES = ("pandas", "polars", "xarray")
_MISSING = "NoneType", "NAType", "NaTType"


class Frame(Protocol):
    """A data frame of pandas, Polars or Dask: its columns by name."""

    @property
    def columns(self) -> Any:
        """Their names."""

    def __getitem__(self, key: Any, /) -> Any:
        """One of them."""


def is_frame(value: Any) -> bool:
    """Whether a value is a data frame of pandas, polars or the like."""
    return type(value).__name__ == "DataFrame" and hasattr(value, "columns")


def is_categorical(value: Any) -> bool:
    """Whether a value is a pandas Categorical, or a Series or Index of one."""
    return type(getattr(value, "dtype", None)).__name__ == "CategoricalDtype"


def columns(frame: Any, functions: Mapping[str, Callable[..., Any]]) -> dict[str, Any]:
    """The columns of a data frame that functions name in their signatures; all where one takes ``**kwargs``."""
    every = {str(name): frame[name] for name in frame.columns}
    wanted: set[str] = set()
    for function in functions.values():
        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):
            return every
        if any(p.kind is p.VAR_KEYWORD for p in parameters):
            return every
        wanted |= {p.name for p in parameters}
    return {name: column for name, column in every.items() if name in wanted}


def labels_of_categories(data: Any) -> dict[str, list[Any]]:
    """The labels of the data that are categories, by name."""
    if is_frame(data):
        data = {str(name): data[name] for name in data.columns}
    if not isinstance(data, Mapping):
        return {}
    return {
        name: list(_categories(x).categories) for name, x in data.items() if not is_lazy(x) and is_categorical(x)
    }


def is_batches(data: Any) -> bool:
    """Whether data come in batches, one after the other: an iterator, as of a file that is read in pieces."""
    return hasattr(data, "__next__") and not isinstance(data, Mapping)


def from_batches(batches: Any, functions: Mapping[str, Callable[..., Any]]) -> dict[str, np.ndarray]:
    """Data by name from batches of rows, each a dict or a data frame, read once.

    Raises
    ------
    TypeError, ValueError
        If a batch is neither, or holds other names than the first, or something else than numbers.
    """
    spools: dict[str, Spool] = {}
    for count, batch in enumerate(batches):
        given = columns(batch, functions) if is_frame(batch) else batch
        if not isinstance(given, Mapping):
            raise TypeError(f"data: expected batches that are dicts or data frames, got {type(batch).__name__}")
        if count and set(given) != set(spools):
            raise ValueError(f"data: expected batches of {', '.join(spools)}, as the first is, got {', '.join(given)}")
        for name, value in given.items():
            if is_categorical(value):
                raise TypeError(f"data[{name!r}]: categories differ from batch to batch; give codes of your own")
            spools.setdefault(name, Spool(name)).add(np.asarray(as_data(name, value)))
    if not spools:
        raise ValueError("data: expected batches of rows, got an iterator that has none left")
    return {name: spool.array() for name, spool in spools.items()}


def as_data(name: str, value: Any, labels: Sequence[Any] | None = None) -> Any:
    """A value as the functions get it: sequences and columns as arrays of numbers, all else as it is.

    Text, and arrays of dates, are left as they are; columns of a frame, and arrays of objects, become numbers or are
    refused. Categories become their places among `labels`, which are their own by default. Arrays of Dask and Zarr
    become `Rows`.

    Raises
    ------
    TypeError, ValueError
        Where an array would hold no numbers; the message names the data, the element, and what to do.
    """
    if is_lazy(value):
        return Rows(name, value)
    if isinstance(value, Rows):
        return value
    if is_frame(value):
        return _table(name, value)
    if is_categorical(value):
        return _codes(name, value, labels)
    if isinstance(value, (set, frozenset)):
        raise TypeError(f"data[{name!r}]: expected a sequence, whose order is certain, got a {type(value).__name__}")
    library = type(value).__module__.partition(".")[0]
    if hasattr(value, "__next__"):
        raise TypeError(
            f"data[{name!r}]: expected an array, got a {type(value).__name__}, which one look uses up; an iterator of "
            "batches, each a dict or a data frame, goes in as data= itself"
        )
    column = library in _LIBRARIES and hasattr(value, "__array__")
    # Whoever writes a list of words, or makes an array of dates, means it; of a column numbers are expected.
    kept = "" if column else "US" if not isinstance(value, np.ndarray) else "USmM"
    if column or isinstance(value, (list, tuple, range)):
        try:
            value = np.asarray(value)
        except ValueError as error:
            raise ValueError(f"data[{name!r}]: expected a regular array, got a ragged sequence ({error})") from None
    if not isinstance(value, np.ndarray):
        return value
    if isinstance(value, np.memmap) and value.dtype.kind in "fiub":
        # What does not fit into memory stays where it is; only this view of it is not to be written into.
        value = value.view()
        value.flags.writeable = False
        return value
    # A copy, so that neither side's later changes reach the other; and not to be written into, since a function
    # that did so would have another posterior at every call.
    as_it_is = value.dtype.kind in kept or (kept and _is_text(value))
    value = (value if as_it_is else _numeric(name, value)).copy()
    value.flags.writeable = False
    return value


def as_labels(labels: Sequence[Any]) -> list[Any]:
    """Coordinates as a list in which dates are NumPy's, whatever library they came from."""
    return [_as_date(label) for label in labels]


def _as_date(label: Any) -> Any:
    """Dates and times without a time zone as ``numpy.datetime64``; all else as it is."""
    if type(label).__name__ in ("date", "datetime", "Timestamp") and getattr(label, "tzinfo", None) is None:
        return np.datetime64(label.to_datetime64() if hasattr(label, "to_datetime64") else label)
    return label


def label_text(label: Any) -> str:
    """A coordinate in a row name: tuples by their parts, and midnights as dates."""
    if isinstance(label, tuple):
        return ",".join(map(label_text, label))
    if isinstance(label, np.datetime64):
        day = label.astype("datetime64[D]")
        return str(day if day == label else label.astype("datetime64[s]") if _whole_seconds(label) else label)
    return str(label)


def _whole_seconds(label: np.datetime64) -> bool:
    return bool(label.astype("datetime64[s]") == label)


def _categories(value: Any) -> Any:
    return value.cat if hasattr(value, "cat") else value


def _codes(name: str, value: Any, labels: Sequence[Any] | None) -> np.ndarray:
    codes, own = np.array(_categories(value).codes, dtype=np.intp), as_labels(_categories(value).categories)
    if labels is not None and list(labels) != own:
        places = {label: place for place, label in enumerate(labels)}
        unknown = [label for i, label in enumerate(own) if label not in places and (codes == i).any()]
        if unknown:
            raise ValueError(f"data[{name!r}]: expected categories among the coords of {name!r}, got {unknown[0]!r}")
        codes = np.where(codes < 0, codes, np.array([places.get(label, 0) for label in own], dtype=np.intp)[codes])
    if (codes < 0).any():
        raise ValueError(
            f"data[{name!r}]: expected a category for each element, got none at {int(np.argmax(codes < 0))}; "
            "leave such rows out"
        )
    codes.flags.writeable = False
    return codes


def coded(name: str, value: Any, labels: Sequence[Any]) -> Any:
    """Text as the places of its labels, as those of categories; all else as it is.

    Raises
    ------
    ValueError
        If a text is no label.
    """
    if is_categorical(value) or isinstance(value, (str, bytes)) or not np.size(value):
        return value
    texts = np.asarray(value, dtype=object)
    if not all(isinstance(item, str) for item in texts.flat):
        return value
    places = {label: place for place, label in enumerate(labels)}
    for item in texts.flat:
        if item not in places:
            raise ValueError(f"data[{name!r}]: expected labels among the coords of {name!r}, got {item!r}")
    return np.array([places[item] for item in texts.flat], dtype=np.intp).reshape(texts.shape)


def _table(name: str, frame: Any) -> np.ndarray:
    """The numbers of a data frame, (rows, columns)."""
    parts = []
    for column in frame.columns:
        if is_categorical(frame[column]):
            raise TypeError(f"data[{name!r}]: column {column!r} is of categories; give it as data of its own")
        parts.append(as_data(f"{name}[{column!r}]", frame[column]))
    table = np.column_stack(parts) if parts else np.empty((len(frame), 0))
    table.flags.writeable = False
    return table


def _is_text(array: np.ndarray) -> bool:
    """Whether an array of objects holds text alone."""
    return array.dtype.kind == "O" and array.size > 0 and all(isinstance(item, str) for item in array.flat)


def _numeric(name: str, array: np.ndarray) -> np.ndarray:
    """The array, or its numbers where it holds them as Python objects."""
    if array.dtype.kind in "fiubc":
        return array
    if array.dtype.kind == "O":
        return _from_objects(name, array)
    if array.dtype.kind in "US":
        raise TypeError(
            f"data[{name!r}]: expected numbers, got text, {str(array.ravel()[:1].tolist())[1:-1]} first; make it a "
            "category, as by .astype('category'), whose codes and labels are taken"
        )
    if array.dtype.kind in "mM":
        raise TypeError(
            f"data[{name!r}]: expected numbers, got {array.dtype}; count from a day of your choice: "
            f"({name} - {name}[0]) / np.timedelta64(1, 'D')"
        )
    return array


def _from_objects(name: str, array: np.ndarray) -> np.ndarray:
    flat = array.ravel()
    for i, item in enumerate(flat):
        place = ", ".join(map(str, np.unravel_index(i, array.shape)))
        if type(item).__name__ in _MISSING:
            raise ValueError(
                f"data[{name!r}]: expected numbers, got {item!r} at [{place}]; leave missing values out, or give a mask"
            )
        if isinstance(item, (str, bytes)):
            raise TypeError(
                f"data[{name!r}]: expected numbers, got the text {item!r} at [{place}]; make it a category, as by "
                ".astype('category'), whose codes and labels are taken"
            )
        if not hasattr(item, "__float__") or np.ndim(item):
            raise TypeError(
                f"data[{name!r}]: expected numbers, got {type(item).__name__} at [{place}] of an array of objects; "
                "give a regular array, or several data"
            )
    kind = int if all(isinstance(item, (int, np.integer)) for item in flat) else float
    try:
        return array.astype(kind)
    except OverflowError:
        return array.astype(float)
