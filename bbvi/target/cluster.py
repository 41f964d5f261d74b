"""Data spread by rows over the workers of a Dask cluster: the log density is the sum of what they say of their rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from typing import Any

import numpy as np

from bbvi import memory
from bbvi.model.model import Model
from bbvi.notices import warn
from bbvi.target.apart import separable
from bbvi.target.target import Target

Array = np.ndarray

# Parts for each worker, so that one that joins can take some over, and one that dies leaves something to each.
_PARTS = 2
# Bytes of rows in a part: while a worker reads one it holds them twice.
_PART_BYTES = 2.0**28
# Seconds after which it is looked again which workers there are.
_LOOK = 1.0
# Times that parts are sent anew before a cluster is given up.
_ATTEMPTS = 8


class NoWorkers(Exception):
    """The worker that rows were sent to is not there any more."""


class Part(Target):
    """What a worker holds: a target of some of the rows, whose likelihood counts as often as there are parts.

    With ``log p(z) + K log p(x_k | z)`` for each of K parts, log-Jacobians included, the mean over the parts is the log
    density of all rows.

    Parameters
    ----------
    model : Model
        Of these rows, but for those that the worker read itself.
    read : dict of arrays
        These, by name.
    count : int
        K.
    replay : bool
        False evaluates draw by draw.
    """

    def __init__(self, model: Model, read: Mapping[str, Array], count: int, replay: bool) -> None:
        super().__init__(model.holding(read), replay=replay, max_memory=memory.free() / 4.0)
        self.count = count
        # What a worker is asked for it was found to have.
        self._traceable = True

    def _bare(self, name: str, model: Model | None = None) -> Callable[[Mapping[str, Any]], Any]:
        if name != "density":
            return super()._bare(name, model)
        model = model or self.model
        return lambda draw: model.density(draw, likelihood_weight=float(self.count))


class Shards:
    """Parts of the rows on workers, and their sum.

    A part whose worker died is sent to another, and a worker that joined is sent some of the parts of the others.

    Parameters
    ----------
    model : Model
        With ``log_prior`` and ``log_likelihood``.
    client : distributed.Client
    replay : bool
        False evaluates draw by draw.
    """

    def __init__(self, model: Model, client: Any, replay: bool) -> None:
        self.client, self.replay = client, replay
        workers = self._workers()
        if not workers:
            raise ValueError("cluster: expected a client whose cluster has workers, got one without")
        rows = model.observations()
        each = max(_PARTS, int(np.ceil(model.row_bytes(rows) / (_PART_BYTES * len(workers)))))
        ends = np.linspace(0, rows, min(each * len(workers), rows) + 1).astype(int)
        elsewhere = {name: x.parts(ends) for name, x in model.lazy.items()}
        # What is sent, and what a worker reads, for each part.
        self.models = [_sent(model, slice(a, b), rows) for a, b in zip(ends, ends[1:], strict=False)]
        self.sources = [{name: parts[k] for name, parts in elsewhere.items()} for k in range(len(self.models))]
        self.held: dict[int, tuple[str, Any]] = {}
        self.looked = -np.inf

    def total(self, method: str, u: Array) -> Array:
        """What a method of the target says of all rows at draws `u` (S, ...)."""
        said = self.ask(method, u)
        return np.asarray(sum(said) / len(said))

    def ask(self, method: str, u: Array) -> list[Array]:
        """What a method of the target says of each part at draws `u` (S, ...).

        Raises
        ------
        RuntimeError
            If the cluster lost its workers again and again.
        """
        results: dict[int, Array] = {}
        for _ in range(_ATTEMPTS):
            try:
                self._settle()
                futures = {k: self._asked(k, method, u) for k in range(len(self.models)) if k not in results}
            except _lost() as error:
                self._lose([], error)
                continue
            gone = {}
            for k, future in futures.items():
                try:
                    results[k] = np.asarray(future.result())
                except _lost() as error:
                    gone[k] = error
            if not gone:
                return [results[k] for k in range(len(self.models))]
            self._lose(list(gone), *gone.values())
        raise RuntimeError(f"cluster: its workers were lost {_ATTEMPTS} times; see what Dask says of them")

    def _asked(self, k: int, method: str, u: Array) -> Any:
        address, part = self.held[k]
        return self.client.submit(_evaluate, part, method, u, workers=[address], allow_other_workers=True, pure=False)

    def _settle(self) -> None:
        """Every part on a worker that is there, and as many on one as on another."""
        if time.perf_counter() - self.looked > _LOOK:
            self.looked = time.perf_counter()
            workers = self._workers()
            gone = [k for k, (address, _) in self.held.items() if address not in workers]
            if gone:
                self._lose(gone)
            self._even_out(workers)
        for k in range(len(self.models)):
            if k not in self.held:
                self._send(k)

    def _lose(self, parts: list[int], *errors: BaseException) -> None:
        """Forget parts whose worker is gone, and look anew which workers there are."""
        why = f" ({type(errors[0]).__name__})" if errors else ""
        warn(f"cluster: a worker was lost{why}; its rows go to another")
        for k in parts:
            self.held.pop(k, None)
        self.looked = -np.inf

    def _even_out(self, workers: list[str]) -> None:
        """Take parts from workers that have two more than another."""
        loads = {one: [k for k, (address, _) in self.held.items() if address == one] for one in workers}
        while loads:
            most, least = (pick(loads, key=lambda one: len(loads[one])) for pick in (max, min))
            if len(loads[most]) <= len(loads[least]) + 1:
                return
            moved = loads[most].pop()
            loads[least].append(moved)
            del self.held[moved]

    def _send(self, k: int) -> None:
        """A part to the worker that has the fewest, where it is made ready."""
        workers = self._workers()
        while not workers:
            # Dask replaces workers that die, and clusters grow: there is nothing to do but wait.
            self.client.wait_for_workers(1)
            workers = self._workers()
        address = min(workers, key=lambda one: sum(at == one for at, _ in self.held.values()))
        try:
            model = self.client.scatter(self.models[k], workers=[address], hash=False)
            read = {
                name: self.client.compute(rows, workers=[address], allow_other_workers=True)
                for name, rows in self.sources[k].items()
            }
        except (OSError, KeyError) as error:
            # The worker died since it was chosen: its connection is closed, or it is not known any more.
            raise NoWorkers(str(error)) from error
        part = self.client.submit(
            Part, model, read, len(self.models), self.replay, workers=[address], allow_other_workers=True, pure=False
        )
        self.held[k] = (address, part)

    def _workers(self) -> list[str]:
        return sorted(self.client.nthreads())


class Sharded(Target):
    """The target of a model whose rows are on a cluster.

    Everything that is asked of all draws goes to the workers; the checks of a few draws are made here, of the first
    rows where all others are elsewhere.
    """

    def __init__(self, model: Model, client: Any, *, replay: bool = True, threads: int = 1, max_memory: float) -> None:
        super().__init__(model, replay=replay, threads=threads, max_memory=max_memory)
        separable(model, "cluster")
        self.shards = Shards(model, client, replay)
        self._head = model.head()

    @property
    def elsewhere(self) -> bool:
        """On the workers."""
        return True

    @property
    def near(self) -> Model:
        """Of the first rows, where not all of them are here."""
        return self._head

    @property
    def width(self) -> int:
        """As if all rows were here."""
        share = self._head.observations() / self.model.observations()
        return max(self.dim, int(super().width / share))

    def terms(self, u: Array) -> Array:
        """The log density as one term, (S, 1), where not all rows are here to tell their terms apart."""
        return super().terms(u) if self._head is self.model else self.values(u)[:, None]

    def verify(self, u: Array) -> bool:
        """Whether the recording of each part still agrees with the user's function at draws `u` (S, D)."""
        self.evaluations += len(u)
        return all(bool(agrees) for agrees in self.shards.ask("verify", u))

    def unrecorded(self, why: str) -> Target:
        """The same target, evaluated draw by draw, with what was counted so far."""
        other = Sharded(
            self.model, self.shards.client, replay=False, threads=self.threads, max_memory=self.max_memory
        )
        return self._handed_on(other, why)

    def _bare(self, name: str, model: Model | None = None) -> Callable[[Mapping[str, Any]], Any]:
        if name == "density" and (model is None or model is self.model):
            return super()._bare(name, self._head)
        return super()._bare(name, model)

    def _everywhere(self, method: str, u: Array) -> Array:
        return np.asarray(self._kept(f"{method} of shards", [u], lambda: self.shards.total(method, u)))


def _sent(model: Model, rows: slice, count: int) -> Model:
    """The model with what a worker is sent: these rows of the data that are here, and nothing in place of others."""
    return model.holding(model.rows_here(rows, count) | dict.fromkeys(model.lazy))


def _evaluate(part: Part, method: str, u: Array) -> Array:
    return np.asarray(getattr(part, method)(u))


def _lost() -> tuple[type[BaseException], ...]:
    """Dask's ways to say that a worker died, and what it held with it: while it worked, and while it was sent data."""
    from distributed.client import FutureCancelledError
    from distributed.scheduler import KilledWorker

    return FutureCancelledError, KilledWorker, CancelledError, NoWorkers


def as_client(cluster: Any) -> Any:
    """The client itself.

    Raises
    ------
    TypeError
        If it is none, or Dask is not installed.
    """
    try:
        from distributed import Client
    except ModuleNotFoundError as error:
        raise TypeError("cluster: needs the package distributed; pip install 'bbvi[dask]'") from error
    if not isinstance(cluster, Client):
        raise TypeError(f"cluster: expected a distributed.Client, got {type(cluster).__name__}")
    return cluster
