"""Blocks of rows as one array: in memory where they fit, else in a file of the temporary folder, mapped."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from typing import IO, Any

import numpy as np

from bbvi import memory

Array = np.ndarray

# Share of the free memory that rows may take; beyond, they go to disk.
_SHARE = 0.25


class Spool:
    """Takes blocks of rows one after the other.

    Parameters
    ----------
    name : str
        Of the data, for errors.
    room : float, optional
        Bytes that may be held in memory; by default an eighth of what is free, since they are copied once.
    """

    def __init__(self, name: str, room: float | None = None) -> None:
        self.name = name
        self.room = _SHARE / 2 * memory.free() if room is None else room
        self.blocks: list[Array] = []
        self.file: IO[bytes] | None = None
        self.count, self.bytes = 0, 0
        self.like: Array | None = None

    def add(self, block: Array) -> None:
        """Append the rows of `block`, (n, ...).

        Raises
        ------
        ValueError
            If they have another shape than the rows before, or are none.
        OSError
            If there is no room for them in the temporary folder.
        """
        if np.ndim(block) < 1:
            raise ValueError(f"data[{self.name!r}]: expected batches of rows, got a scalar in one")
        if self.like is None:
            self.like = block[:0]
        if block.shape[1:] != self.like.shape[1:]:
            raise ValueError(
                f"data[{self.name!r}]: expected batches of rows of shape {self.like.shape[1:]}, as the first has, got "
                f"{block.shape[1:]}"
            )
        if self.like.dtype != block.dtype:
            # What was a whole number in every row so far may be none in this one.
            self.like = self._retyped(self.like, np.result_type(self.like, block))
        self.count += len(block)
        self.bytes += block.nbytes
        if self.file is None and self.bytes > self.room:
            self.file = tempfile.TemporaryFile()
            earlier, self.blocks = self.blocks, []
            for one in earlier:
                self._write(self.file, one)
        rows = np.array(block, dtype=self.like.dtype, order="C")
        if self.file is None:
            self.blocks.append(rows)
        else:
            self._write(self.file, rows)

    def array(self) -> Array:
        """All rows so far, not to be written into."""
        if self.like is None:
            raise ValueError(f"data[{self.name!r}]: expected batches of rows, got none")
        if self.file is None:
            rows = np.concatenate(self.blocks)
        else:
            self.file.flush()
            rows = np.memmap(self.file, self.like.dtype, "r", shape=(self.count, *self.like.shape[1:]))
        rows.flags.writeable = False
        return rows

    def _write(self, file: IO[bytes], rows: Array) -> None:
        try:
            file.write(rows.data)
        except OSError as error:
            raise OSError(
                f"data[{self.name!r}]: {self.bytes / 1e9:.3g} GB of rows do not fit into the temporary folder "
                f"{tempfile.gettempdir()} ({error}); point TMPDIR to another"
            ) from error

    def _retyped(self, like: Array, dtype: np.dtype[Any]) -> Array:
        """What rows are like, and those so far, of another type."""
        if dtype != like.dtype:
            if self.file is not None:
                raise ValueError(
                    f"data[{self.name!r}]: expected batches of one type, {like.dtype} as the first ones have, got "
                    f"{dtype} later; convert them"
                )
            self.blocks = [block.astype(dtype) for block in self.blocks]
        return like.astype(dtype)


def fits(size: float) -> bool:
    """Whether so many bytes of rows are to be held in memory."""
    return size <= _SHARE * memory.free()


def gathered(name: str, blocks: Iterable[Array], room: float | None = None) -> Array:
    """The rows of all blocks as one array."""
    spool = Spool(name, room)
    for block in blocks:
        spool.add(block)
    return spool.array()
