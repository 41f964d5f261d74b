"""What bridges share: batches of one size, for packages that compile for each size they meet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np

Array = np.ndarray
Arrays = Mapping[str, Array]


def needed(package: str, bridge: str) -> ModuleType:
    """The package of a bridge.

    Raises
    ------
    ImportError
        If it is not installed; the message says how it can be.
    """
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise ImportError(f"bbvi.bridges.{bridge} needs {package}: pip install {package}") from error


def in_batches(function: Callable[[dict[str, Array]], Any], size: int) -> Callable[[Arrays], Any]:
    """A function of all draws, arrays (S, ...) by name, from one that is compiled for `size` of them.

    What it returns, an array or a tuple or dict of arrays, has that leading axis, too. The last batch is filled up with
    its last draw.
    """

    def batched(z: Arrays) -> Any:
        draws = {name: np.asarray(z[name]) for name in z}
        count = len(next(iter(draws.values())))
        rows = np.minimum(np.arange(-(-count // size) * size), count - 1).reshape(-1, size)
        return _joined([function({name: x[row] for name, x in draws.items()}) for row in rows], count)

    return batched


def _joined(parts: list[Any], count: int) -> Any:
    if isinstance(parts[0], Mapping):
        return {str(key): _joined([part[key] for part in parts], count) for key in parts[0]}
    if isinstance(parts[0], tuple):
        return tuple(_joined(list(each), count) for each in zip(*parts, strict=True))
    return np.concatenate([np.asarray(part, dtype=float) for part in parts])[:count]
