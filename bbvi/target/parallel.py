"""Draws spread over the workers of a `concurrent.futures.Executor`, in chunks."""

from __future__ import annotations

import hashlib
import os
import pickle
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor, as_completed
from typing import Any, NamedTuple

import numpy as np

from bbvi.notices import warn

Array = np.ndarray
Tell = Callable[[int, Array, float], None]

# A task should take long enough for its own overhead not to matter, and be short enough to share the work out evenly.
_TASK_SECONDS = 0.05
_SMALL_BYTES = 2**20
_unpickled: dict[str, Any] = {}
_own = threading.local()


class Done(NamedTuple):
    """What a worker made of a chunk: values, or the error of the user's function; neither where it lacks the object."""

    values: Array | None = None
    error: Exception | None = None
    seconds: float = 0.0


class Nonsense(Exception):
    """The executor did not do what executors do; the message says what it did."""


class Broken(Exception):
    """The workers of the executor died; the message says what it said."""


class Parallel:
    """Calls methods of an object on the rows of a batch, on an executor; the results are those of one process, in
    order.

    Where its workers died, a warning says so, and the rest is done in this process. Where it fails in another way that
    is a RuntimeError: whatever made it fail may end this process, too. What the user's function raises is raised here.

    Parameters
    ----------
    worker : object
        Is sent to workers that have not got it, pickled; its methods take (S, ...) and return (S, ...). Threads need no
        pickles: each gets ``worker.fresh()``, if there is such a method, else the object itself.
    executor : concurrent.futures.Executor
        Anything with ``submit``.
    """

    def __init__(self, worker: Any, executor: Any) -> None:
        if not (isinstance(executor, Executor) or callable(getattr(executor, "submit", None))):
            raise TypeError(f"executor: expected a concurrent.futures.Executor, got {type(executor).__name__}")
        self.executor, self.worker = executor, worker
        # What was derived from a pool of threads may pass its tasks on to somewhere else.
        self.threaded = type(executor) is ThreadPoolExecutor
        self.payload = b"" if self.threaded else _pickled(worker)
        self.key = hashlib.sha256(self.payload).hexdigest()
        self.workers = int(getattr(executor, "_max_workers", None) or os.cpu_count() or 1)
        self.seconds_per_draw: float | None = None
        self.broken = False

    def map(self, method: str, u: Array, tell: Tell | None = None) -> Array:
        """Apply a method to the rows of `u`, chunk by chunk.

        ``tell(start, values, seconds)`` is called as soon as the values of some rows are known.
        """
        rows = max(1, self._rows(len(u)))
        starts = range(0, len(u), rows) if len(u) else [0]
        results: dict[int, Array] = {}
        seconds = 0.0
        for start, part in self._parts(method, {start: u[start : start + rows] for start in starts}):
            if part.error is not None:
                raise part.error
            results[start] = np.asarray(part.values)
            seconds += part.seconds
            if tell is not None:
                tell(start, results[start], part.seconds)
        self.seconds_per_draw = seconds / max(len(u), 1)
        return np.concatenate([results[start] for start in starts])

    def _parts(self, method: str, chunks: dict[int, Array]) -> Iterator[tuple[int, Done]]:
        """What becomes of the chunks, as soon as it is known: on workers, or here where those fail."""
        left = dict(chunks)
        if not self.broken and any(map(len, chunks.values())):
            try:
                for start, part in self._submitted(method, chunks):
                    del left[start]
                    yield start, part
            except Broken as error:
                self.broken = True
                warn(f"executor: its workers died ({error}); going on in this process")
        for start, chunk in left.items():
            before = time.perf_counter()
            values = getattr(self.worker, method)(chunk)
            yield start, Done(values, seconds=time.perf_counter() - before)

    def _submitted(self, method: str, chunks: dict[int, Array]) -> Iterator[tuple[int, Done]]:
        """What the workers made of the chunks."""
        futures: dict[Any, int] = {}
        try:
            futures = {self._submit(method, chunk, None): start for start, chunk in chunks.items()}
            missing = []
            for future in _in_turn(futures):
                start = futures[future]
                part = _checked(future.result(), chunks[start])
                if part.values is None and part.error is None:
                    missing.append(start)
                else:
                    yield start, part
            # Only a worker that has not got the object yet is sent it: with much data it is large.
            futures = {self._submit(method, chunks[start], self.payload): start for start in missing}
            for future in _in_turn(futures):
                part = _checked(future.result(), chunks[futures[future]])
                if part.values is None and part.error is None:
                    raise Nonsense("its workers do not keep what they are sent")
                yield futures[future], part
        except BrokenExecutor as error:
            raise Broken(str(error)) from error
        except Nonsense as error:
            raise RuntimeError(f"executor: {error}") from error
        except Exception as error:
            told = f"{type(error).__name__}{f': {error}' if str(error) else ''}"
            raise RuntimeError(f"executor: it failed, and not the log joint ({told})") from error
        finally:
            # Of an interrupt nobody waits for the rest.
            for future in futures:
                getattr(future, "cancel", bool)()

    def _submit(self, method: str, chunk: Array, payload: bytes | None) -> Any:
        if self.threaded:
            return self.executor.submit(_in_thread, self.worker, method, chunk)
        return self.executor.submit(evaluate, self.key, payload, method, chunk)

    def _rows(self, count: int) -> int:
        """Draws in a task."""
        if self.seconds_per_draw is None:
            # One, until it is known how long one takes; but not when each task has to be sent much data.
            return 1 if len(self.payload) < _SMALL_BYTES else -(-count // self.workers)
        even = -(-count // (4 * self.workers))
        return max(1, min(even, int(_TASK_SECONDS / max(self.seconds_per_draw, 1e-9))))


def evaluate(key: str, payload: bytes | None, method: str, u: Array) -> Done:
    """What a worker does: evaluate a chunk with the object of this key, and say how long that took.

    Nothing where the object is not known and no `payload` is there to unpickle it from.
    """
    worker = _unpickled.get(key)
    if worker is None:
        if payload is None:
            return Done()
        _unpickled.clear()
        worker = _unpickled[key] = pickle.loads(payload)
    return _timed(worker, method, u)


def _in_thread(worker: Any, method: str, u: Array) -> Done:
    """What a thread does: as a worker, with an object of its own, since recording is not for two at a time."""
    if getattr(_own, "of", None) is not worker:
        _own.of, _own.worker = worker, worker.fresh() if hasattr(worker, "fresh") else worker
    return _timed(_own.worker, method, u)


def _timed(worker: Any, method: str, u: Array) -> Done:
    start = time.perf_counter()
    try:
        values = getattr(worker, method)(u)
    except Exception as error:
        # Handed over, since what an executor raises is its own failure.
        error.add_note("".join(traceback.format_exception(error)).strip())
        return Done(error=error)
    return Done(values, seconds=time.perf_counter() - start)


def _in_turn(futures: Iterable[Any]) -> Iterable[Any]:
    """Futures as they come to their ends, where they say when."""
    known = list(futures)
    return as_completed(known) if all(isinstance(future, Future) for future in known) else known


def _checked(part: Any, chunk: Array) -> Done:
    """What a future came to, if it is what a worker returns."""
    if not isinstance(part, Done) or (part.values is not None and np.shape(part.values)[:1] != (len(chunk),)):
        raise Nonsense(f"it returned {str(part)[:60]!r} for {len(chunk)} draws")
    return part


def _pickled(worker: Any) -> bytes:
    try:
        import cloudpickle
    except ModuleNotFoundError:
        cloudpickle = None
    try:
        return bytes((cloudpickle or pickle).dumps(worker))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        hint = "" if cloudpickle else "; define its functions at the top level of a module, or install cloudpickle"
        raise TypeError(f"executor: the model cannot be sent to workers ({error}){hint}") from error
