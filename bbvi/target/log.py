"""A log on disk of what a log joint said: a fit that is made again asks it first, and calls nothing that it holds."""

from __future__ import annotations

import builtins
import os
import struct
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bbvi import serial
from bbvi.files import flush_folder, open_alone
from bbvi.notices import warn

Array = np.ndarray
# What somebody is told who names another's file.
REMEDY = "Delete the file to begin anew, or name another."

_MAGIC = b"bbvi log of a log joint\n"
_FRAME = struct.Struct("<4s32sQI")
_MARK = b"\nfr:"
_SUM = struct.Struct("<I")
_HEAD = _FRAME.size + _SUM.size
_IDENTITY = bytes(32)
_NUMERICAL = (ArithmeticError, np.linalg.LinAlgError)


@dataclass(frozen=True)
class LogPolicy:
    """How much is kept, how soon it is flushed to disk, and how a log joint is recognised.

    Attributes
    ----------
    everything : int
        Bytes up to which every call is kept; beyond them those that took long for what they returned.
    bytes_per_second : float
        How much a call may add to a longer log, for each second that it took.
    flushed : float
        Seconds after which what was written is flushed to disk, so that a power cut spares it, too.
    recognised : int
        Calls of a log joint whose code changed that are made again, to see whether it is the same.
    relative : float
        By how much it may differ there: another machine's rounding.
    """

    everything: int = 2**28
    bytes_per_second: float = 2.0**20
    flushed: float = 2.0
    recognised: int = 3
    relative: float = 1e-6


class Log:
    """What a log joint said, by what it was asked; asked the same twice, it may say something else.

    Frames are only ever added, each with checksums of its own, so that whatever ends the process leaves a log that can
    be gone on from. What comes after the last whole frame is cut off.

    Parameters
    ----------
    path : Path
        Made if it is not there; a link is followed.
    policy : LogPolicy

    Raises
    ------
    ValueError
        If the file is not a log, is damaged, or is held by another fit.
    OSError
        If it cannot be made.
    """

    def __init__(self, path: Path, policy: LogPolicy = LogPolicy()) -> None:  # noqa: B008
        self.path, self.policy = path, policy
        self.identity: dict[str, Any] | None = None
        self.found = 0
        self._doubted = 0
        self._lock = threading.Lock()
        self._known: dict[bytes, deque[tuple[int, int]]] = {}
        self._end = 0
        self._flushed = time.perf_counter()
        self._warned = False
        alone = open_alone(path)
        if alone is None:
            raise ValueError(f"checkpoint: {path} is being written by another fit; give each a file of its own")
        self._alone, self._file = alone, alone.file
        try:
            self._read()
        except BaseException:
            alone.close()
            raise

    def close(self) -> None:
        """Flush, and let others have the file."""
        try:
            self._flush()
        except OSError as error:
            self._failed(error)
        finally:
            self._alone.close()

    # ---- what it is of -----------------------------------------------------------------------------------------------

    def begin(self, identity: Mapping[str, Any]) -> None:
        """Write down what the log is of."""
        self.identity = dict(identity)
        self._end = 0
        self._write(_MAGIC + _frame(_IDENTITY, serial.plain(self.identity, "checkpoint").packed()))
        self._flush()
        flush_folder(self.path.parent)

    def doubt(self) -> None:
        """Make the first calls again, to see whether the log joint is the one that the log is of."""
        self._doubted = self.policy.recognised

    # ---- asking ------------------------------------------------------------------------------------------------------

    def kept(self, key: bytes, make: Callable[[], Any]) -> Any:
        """What the log holds under a key, else what `make` returns or which arithmetic error it raises, kept."""
        with self._lock:
            place = self._known[key].popleft() if self._known.get(key) else None
        if place is not None:
            return self._recalled(key, place, make)
        started = time.perf_counter()
        try:
            result = make()
        except _NUMERICAL as error:
            self.keep(key, _described(error), time.perf_counter() - started)
            raise
        self.keep(key, {"value": result}, time.perf_counter() - started)
        return result

    def rows(self, what: str, u: Array, calls: Callable[..., Array]) -> Array:
        """A function of the rows of `u` that is called for those which the log does not hold.

        ``calls(u, tell)`` says ``tell(start, values, seconds)`` as soon as rows are known.
        """
        keys = [serial.digest(what, row) for row in u]
        with self._lock:
            places = [self._known[key].popleft() if self._known.get(key) else None for key in keys]
        known = {i: self._content(place)["value"] for i, place in enumerate(places) if place is not None}
        missing = [i for i in range(len(u)) if i not in known]
        if missing or not len(u):

            def tell(start: int, values: Array, seconds: float) -> None:
                for i, row in zip(missing[start : start + len(values)], values, strict=True):
                    self.keep(keys[i], {"value": row}, seconds / len(values))

            made = calls(u[missing], tell)
            if len(missing) == len(u):
                return made
            known |= dict(zip(missing, made, strict=True))
        return np.array([known[i] for i in range(len(u))])

    def keep(self, key: bytes, content: Mapping[str, Any], seconds: float) -> None:
        """Add what was found under a key, if that is worth its place. A disk that fails never costs the fit."""
        try:
            frame = _frame(key, serial.plain(content, "result").packed())
        except TypeError:
            # Not made of numbers; whoever asked will say so.
            return
        with self._lock:
            worth = max(self.policy.everything - self._end, seconds * self.policy.bytes_per_second)
            if len(frame) > worth:
                return
            try:
                self._write(frame)
                if time.perf_counter() - self._flushed > self.policy.flushed or seconds > self.policy.flushed:
                    self._flush()
            except OSError as error:
                self._failed(error)

    # ---- the file ----------------------------------------------------------------------------------------------------

    def _write(self, data: bytes) -> None:
        """Add to the end, all or nothing."""
        rest = memoryview(data)
        try:
            self._file.seek(self._end)
            while rest:
                rest = rest[self._file.write(rest) or 0 :]
            self._end += len(data)
        except BaseException:
            self._file.truncate(self._end)
            raise

    def _flush(self) -> None:
        os.fsync(self._file.fileno())
        self._flushed = time.perf_counter()

    def _failed(self, error: OSError) -> None:
        if not self._warned:
            self._warned = True
            warn(f"checkpoint: {self.path} could not be written ({error}); the fit goes on, and tries again")

    def _recalled(self, key: bytes, place: tuple[int, int], make: Callable[[], Any]) -> Any:
        content = self._content(place)
        if self._doubted and not isinstance(content.get("value"), str) and not self._noisy(key, place):
            self._doubted -= 1
            self._recognise(content, make)
        if "error" in content:
            raise _error(content)
        return content["value"]

    def _content(self, place: tuple[int, int]) -> Any:
        self.found += 1
        return serial.value_of(serial.Plain.unpacked(self._packed(place)))

    def _packed(self, place: tuple[int, int]) -> bytes:
        with self._lock:
            self._file.seek(place[0])
            return self._file.read(place[1])

    def _noisy(self, key: bytes, place: tuple[int, int]) -> bool:
        """Whether the log joint was asked this twice, and said something else."""
        return any(self._packed(other) != self._packed(place) for other in self._known[key])

    def _recognise(self, content: Mapping[str, Any], make: Callable[[], Any]) -> None:
        try:
            now = make()
        except _NUMERICAL as error:
            now = error
        if "error" in content:
            same = isinstance(now, _NUMERICAL)
        else:
            same = not isinstance(now, Exception) and _close(content["value"], now, self.policy.relative)
        if not same:
            raise ValueError(
                f"checkpoint: {self.path} is of other data or of another log joint, or of a noisy one whose code "
                f"changed: it had another value at a draw where both were evaluated. {REMEDY}"
            )

    def _read(self) -> None:
        """Find out what the file holds, and cut off what comes after the last whole frame."""
        size = os.fstat(self._file.fileno()).st_size
        start = self._file.read(len(_MAGIC))
        if not _MAGIC.startswith(start):
            raise self._damaged("")
        self._end = len(_MAGIC)
        while (frame := self._next(size)) is not None:
            key, packed = frame
            if self.identity is None:
                self.identity = self._identified(key, packed)
            else:
                self._known.setdefault(key, deque()).append((self._end - len(packed), len(packed)))
        if self.identity is not None and size > self._end:
            self._file.truncate(self._end)

    def _identified(self, key: bytes, packed: bytes) -> dict[str, Any]:
        try:
            identity: dict[str, Any] = serial.value_of(serial.Plain.unpacked(packed))
        except serial.DAMAGE as error:
            raise self._damaged(str(error)) from error
        if key != _IDENTITY or not isinstance(identity, dict):
            raise self._damaged("it does not say what it is of")
        return identity

    def _next(self, size: int) -> tuple[bytes, bytes] | None:
        """The key and the content of the next frame; None at the end, or where the last one is not whole."""
        if self._end + _HEAD > size:
            return None
        head = self._file.read(_HEAD)
        mark, key, length, check = _FRAME.unpack(head[: _FRAME.size])
        if mark != _MARK or _SUM.unpack(head[_FRAME.size :])[0] != zlib.crc32(head[: _FRAME.size]):
            raise self._damaged(f"a frame at byte {self._end} is damaged")
        if self._end + _HEAD + length > size:
            return None
        packed = self._file.read(length)
        if zlib.crc32(packed) != check:
            raise self._damaged(f"the content of a frame at byte {self._end} is damaged")
        self._end += _HEAD + length
        return key, packed

    def _damaged(self, why: str) -> ValueError:
        told = f"is a damaged checkpoint of bbvi: {why}" if why else "is not a checkpoint of bbvi"
        return ValueError(f"checkpoint: {self.path} {told}. {REMEDY}")


def _frame(key: bytes, packed: bytes) -> bytes:
    head = _FRAME.pack(_MARK, key, len(packed), zlib.crc32(packed))
    return head + _SUM.pack(zlib.crc32(head)) + packed


def _described(error: Exception) -> dict[str, Any]:
    return {"error": type(error).__name__, "text": str(error), "notes": list(getattr(error, "__notes__", []))}


def _error(content: Mapping[str, Any]) -> Exception:
    """The arithmetic error that was kept; of a class of somebody's own, as the one that is caught like it."""
    found = getattr(builtins, content["error"], ArithmeticError)
    kind = np.linalg.LinAlgError if content["error"] == "LinAlgError" else found
    error: Exception = (kind if issubclass(kind, _NUMERICAL) else ArithmeticError)(content["text"])
    for note in content["notes"]:
        error.add_note(note)
    return error


def _close(before: Any, now: Any, relative: float) -> bool:
    """Whether two results are the same but for rounding."""
    if isinstance(before, dict) and isinstance(now, dict):
        return before.keys() == now.keys() and all(_close(before[key], now[key], relative) for key in before)
    if isinstance(before, tuple) and isinstance(now, tuple):
        return len(before) == len(now) and all(_close(x, y, relative) for x, y in zip(before, now, strict=True))
    if np.shape(before) != np.shape(now):
        return False
    scale = max(float(np.max(np.abs(before), initial=0.0)), 1.0) if np.all(np.isfinite(before)) else 1.0
    return bool(np.allclose(before, now, rtol=relative, atol=relative * scale, equal_nan=True))
