"""Threads: one for linear algebra while many small arrays are worked on, several for parts of large ones."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import lru_cache, wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np
from threadpoolctl import ThreadpoolController

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


def forks_wait_for(lock: Any) -> Any:
    """The lock, which no fork leaves held by a thread that the new process does not have."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)
    return lock


def available() -> int:
    """Cores that this process may use."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return count or 1


@lru_cache(maxsize=8)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="bbvi")


if hasattr(os, "register_at_fork"):
    # Threads do not survive a fork, and a pool would wait for them for ever.
    os.register_at_fork(after_in_child=_pool.cache_clear)


def mapped(function: Callable[[T], R], parts: Sequence[T], threads: int) -> list[R]:
    """The function of each part, in their order, on so many threads; NumPy's floating-point warnings are off there."""
    if threads == 1 or len(parts) == 1:
        return [function(part) for part in parts]

    def quiet(part: T) -> R:
        # What is ignored is a setting of each thread.
        with np.errstate(all="ignore"):
            return function(part)

    return list(_pool(threads).map(quiet, parts))


@lru_cache(maxsize=1)
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


class _OneThread:
    """One thread for linear algebra as long as anybody wants that, in any thread; the last gives the others back."""

    def __init__(self) -> None:
        self.guard = threading.Lock()
        self.users = 0
        self.limited: AbstractContextManager[object] | None = None

    def __enter__(self) -> None:
        with self.guard:
            self.users += 1
            if self.limited is None:
                self.limited = _controller().limit(limits=1, user_api="blas")
                self.limited.__enter__()

    def __exit__(self, *error: object) -> None:
        with self.guard:
            self.users -= 1
            if self.users == 0 and self.limited is not None:
                self.limited.__exit__(None, None, None)
                self.limited = None

    def forked(self) -> None:
        """In a new process nobody is in a fit; its first fit gives back the threads that the old one had."""
        self.guard, self.users = threading.Lock(), 0


_one_thread = _OneThread()
if hasattr(os, "register_at_fork"):
    # While another thread sets the number of threads, the library holds a lock that a forked process would never get.
    os.register_at_fork(
        before=lambda: _one_thread.guard.acquire(),
        after_in_parent=lambda: _one_thread.guard.release(),
        after_in_child=_one_thread.forked,
    )


def single_threaded(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function run with one BLAS thread, and give the threads back afterwards.

    The matrices of a fit are small and many: threads of the linear algebra library would spend more time waiting for
    each other than working, several times the whole fit on a busy machine.
    """

    @wraps(function)
    def limited(*args: P.args, **kwargs: P.kwargs) -> R:
        with _one_thread:
            return function(*args, **kwargs)

    return limited


