"""Row names of the elements of an array."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from bbvi.model.data import label_text

Shape = tuple[int, ...]
Coords = Mapping[str, Sequence[Any]]


def flat_labels(name: str, dims: Sequence[str | None], shape: Shape, coords: Coords) -> list[str]:
    """Row names of the elements of an array in C order, as ``az.summary`` of ArviZ 0.23 and 1.x writes them.

    A scalar is ``mu``; otherwise the labels of each axis stand in brackets, ``eta[A]`` or ``x[A, 0]``: those
    of ``coords``, or positions for a dim without any.
    """
    if not shape:
        return [name]
    axes = []
    for dim, size in zip(dims, shape, strict=True):
        labels = range(size) if dim is None else coords.get(dim, range(size))
        axes.append([label_text(label) for label in _alike(labels)])
    return [f"{name}[{', '.join(labels)}]" for labels in itertools.product(*axes)]


def _alike(labels: Sequence[Any]) -> Iterable[Any]:
    """Labels as one array holds them, so that 1 beside 2.5 is 1.0; tuples would be rows of it."""
    return labels if any(isinstance(label, tuple) for label in labels) else np.asarray(labels)
