"""Draws spread over the workers of a `concurrent.futures.Executor`, in chunks."""

from __future__ import annotations

import hashlib
import os
import pickle
import time
import warnings
from concurrent.futures import BrokenExecutor, Executor
from typing import Any

import numpy as np

Array = np.ndarray

# A task should take long enough for its own overhead not to matter, and be short enough to share the work out evenly.
_TASK_SECONDS = 0.05
_SMALL_BYTES = 2**20
_unpickled: dict[str, Any] = {}


class Parallel:
    """Calls methods of an object on the rows of a batch, on an executor; the results are those of one process, in
    order.

    Parameters
    ----------
    worker : object
        Is sent to workers that have not got it, pickled; its methods take (S, ...) and return (S, ...).
    executor : concurrent.futures.Executor
        Anything with ``submit``.
    """

    def __init__(self, worker: Any, executor: Any) -> None:
        if not (isinstance(executor, Executor) or callable(getattr(executor, "submit", None))):
            raise TypeError(f"executor: expected a concurrent.futures.Executor, got {type(executor).__name__}")
        self.executor = executor
        self.payload = _pickled(worker)
        self.key = hashlib.sha256(self.payload).hexdigest()
        self.workers = int(getattr(executor, "_max_workers", None) or os.cpu_count() or 1)
        self.seconds_per_draw: float | None = None

    def map(self, method: str, u: Array) -> Array:
        """Apply a method to the rows of `u`, chunk by chunk."""
        if len(u) == 0:
            return np.asarray(evaluate(self.key, self.payload, method, u)[0])
        rows = self._rows(len(u))
        chunks = [u[start : start + rows] for start in range(0, len(u), rows)]
        try:
            futures = [self.executor.submit(evaluate, self.key, None, method, chunk) for chunk in chunks]
            results = [future.result() for future in futures]
            # Only a worker that has not got the object yet is sent it: with much data it is large.
            missing = [i for i, (values, _) in enumerate(results) if values is None]
            again = [self.executor.submit(evaluate, self.key, self.payload, method, chunks[i]) for i in missing]
            for i, future in zip(missing, again, strict=True):
                results[i] = future.result()
        except BrokenExecutor as error:
            warnings.warn(
                f"executor: its workers died ({error}); going on in this process", RuntimeWarning, stacklevel=2
            )
            results = [evaluate(self.key, self.payload, method, u)]
        self.seconds_per_draw = sum(seconds for _, seconds in results) / len(u)
        return np.concatenate([values for values, _ in results])

    def _rows(self, count: int) -> int:
        """Draws in a task."""
        if self.seconds_per_draw is None:
            # One, until it is known how long one takes; but not when each task has to be sent much data.
            return 1 if len(self.payload) < _SMALL_BYTES else -(-count // self.workers)
        even = -(-count // (4 * self.workers))
        return max(1, min(even, int(_TASK_SECONDS / max(self.seconds_per_draw, 1e-9))))


def evaluate(key: str, payload: bytes | None, method: str, u: Array) -> tuple[Array | None, float]:
    """What a worker does: evaluate a chunk with the object of this key, and say how long that took.

    None where the object is not known and no `payload` is there to unpickle it from.
    """
    worker = _unpickled.get(key)
    if worker is None:
        if payload is None:
            return None, 0.0
        _unpickled.clear()
        worker = _unpickled[key] = pickle.loads(payload)
    start = time.perf_counter()
    values = getattr(worker, method)(u)
    return values, time.perf_counter() - start


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
