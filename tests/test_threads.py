"""Threads: those of linear algebra come back whatever runs at once, and a process can be forked at any moment."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

from bbvi.threads import mapped

BLAS = """
import threading
import numpy, scipy.linalg
from threadpoolctl import ThreadpoolController
from bbvi.threads import single_threaded

def threads():
    return {info["num_threads"] for info in ThreadpoolController().info() if info["user_api"] == "blas"}

if threads() != {2}:
    print("no BLAS here has two threads:", threads())
    raise SystemExit(5)
"""


def run(code: str) -> None:
    """In a process of its own, in which linear algebra has two threads."""
    environment = os.environ | {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], timeout=240, env=environment, check=False, capture_output=True
    )
    if done.returncode == 5:
        pytest.skip(done.stdout.decode())
    assert done.returncode == 0, done.stderr.decode()[-2000:]


def test_one_thread_within_and_all_of_them_afterwards() -> None:
    run(BLAS + "assert single_threaded(threads)() == {1} and threads() == {2}\n")


def test_two_at_once_give_the_threads_back() -> None:
    """The first that ends leaves them alone; whichever is the last gives back what there was before both."""
    run(BLAS + textwrap.dedent("""
        inside, leave, seen = threading.Barrier(2), threading.Event(), {}

        @single_threaded
        def first():
            inside.wait(10)
            leave.wait(10)
            seen["later"] = threads()

        @single_threaded
        def second():
            inside.wait(10)
            seen["both"] = threads()

        one = threading.Thread(target=first)
        one.start()
        second()
        seen["one"] = threads()
        leave.set()
        one.join(10)
        assert seen == {"both": {1}, "one": {1}, "later": {1}}, seen
        assert threads() == {2}
    """))


def test_threads_come_back_after_an_error() -> None:
    run(BLAS + textwrap.dedent("""
        @single_threaded
        def failing():
            raise RuntimeError("whatever")

        for _ in range(2):
            try:
                failing()
            except RuntimeError:
                pass
        assert threads() == {2}
    """))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_parts_come_back_in_their_order(threads: int) -> None:
    assert mapped(lambda i: i * i, range(20), threads) == [i * i for i in range(20)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_a_process_forked_during_fits_can_fit() -> None:
    """Eighty forks while another thread fits; a child that hangs is a failure, by the limit of time."""
    run("""
        import os, signal, threading, time, warnings
        import bbvi
        warnings.simplefilter("ignore")

        def fit():
            return bbvi.fit(lambda z: -0.5 * (z[0] - 1) ** 2, 1, seed=1, max_evaluations=300)

        fit()
        going = True

        def others():
            while going:
                fit()

        thread = threading.Thread(target=others)
        thread.start()
        hung = 0
        for _ in range(80):
            child = os.fork()
            if child == 0:
                signal.alarm(20)
                found = fit()
                os._exit(0 if abs(found.approximation.mean[0] - 1) < 0.1 else 1)
            hung += os.waitpid(child, 0)[1] != 0
            time.sleep(0.01)
        going = False
        thread.join()
        assert hung == 0, hung
    """)
