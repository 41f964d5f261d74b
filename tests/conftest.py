"""What every test shares: seeds, a headless Matplotlib, and no network beyond this machine."""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import hypothesis
import numpy as np
import pytest

# Read when Matplotlib is first imported, by the tests' subprocesses too.
os.environ["MPLBACKEND"] = "Agg"

# The same examples in every run, and no deadline: a busy machine is not a failure.
hypothesis.settings.register_profile("reproducible", derandomize=True, deadline=None, print_blob=True)
hypothesis.settings.load_profile("reproducible")


class NetworkForbidden(RuntimeError):
    """A test reached beyond loopback. No OSError, which code that can do without a network would catch."""


def _is_local(family: int, address: object) -> bool:
    if family not in (socket.AF_INET, socket.AF_INET6):
        return True
    host = address[0] if isinstance(address, tuple) else ""
    if host in ("", "localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@pytest.fixture(scope="session", autouse=True)
def loopback_only() -> Iterator[None]:
    """Refuse connections to other machines. Connecting a datagram socket sends nothing and stays allowed:
    it is how a process learns its own address."""

    def guarded(original):
        def connect(self, address):
            if self.type != socket.SOCK_DGRAM and not _is_local(self.family, address):
                raise NetworkForbidden(f"the tests may not connect to {address!r}")
            return original(self, address)

        return connect

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded(socket.socket.connect))
        patch.setattr(socket.socket, "connect_ex", guarded(socket.socket.connect_ex))
        yield


@pytest.fixture
def rng() -> np.random.Generator:
    """The same stream of random numbers for every test that asks."""
    return np.random.default_rng(20240611)


@pytest.fixture(autouse=True)
def global_random_state_untouched() -> Iterator[None]:
    """Nothing may draw from, or seed, NumPy's global generator, which belongs to the user."""
    before = np.random.get_state(legacy=False)  # noqa: NPY002
    yield
    after = np.random.get_state(legacy=False)  # noqa: NPY002
    same = before["state"]["pos"] == after["state"]["pos"] and np.array_equal(
        before["state"]["key"], after["state"]["key"]
    )
    if not same:
        np.random.set_state(before)  # noqa: NPY002
        pytest.fail("NumPy's global random state was changed")


@pytest.fixture(autouse=True)
def close_figures() -> Iterator[None]:
    """Close what a test plotted."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture(scope="module")
def two_workers() -> Iterator[Any]:
    """A Dask cluster of two processes on this machine, for the tests of one file."""
    dask, distributed = pytest.importorskip("dask"), pytest.importorskip("distributed")
    settings = {"distributed.comm.timeouts.connect": "10s", "distributed.scheduler.allowed-failures": 10}
    with (
        warnings.catch_warnings(),
        dask.config.set(settings),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None
        ) as cluster,
    ):
        warnings.simplefilter("ignore")
        yield cluster
