"""The tails of a surrogate's posterior: what a few evaluations far out say of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bbvi.correction.emulation import POLICY, EmulationPolicy, SurrogateKind
from bbvi.solvers.from_values import draws
from bbvi.solvers.from_values.process import Process

Array = np.ndarray


def outermost(kind: SurrogateKind, columns: Array, policy: EmulationPolicy = POLICY) -> Array:
    """Rows (K,) of draws beyond which little of the variance lies, of the columns (S, R) with the heaviest tails."""
    weights = np.exp(kind.log_weights)
    square = draws.standardized(columns, weights) ** 2
    heaviest = np.argsort(-(weights @ square**2))[: policy.probes]
    rows = []
    for column in heaviest:
        order = np.argsort(-square[:, column], kind="stable")
        share = np.cumsum(weights[order] * square[order, column])
        rows.append(order[min(int(np.searchsorted(share, policy.outermost)), len(order) - 1)])
    return np.unique(rows)


def pushed(kind: SurrogateKind, rows: Array, policy: EmulationPolicy = POLICY) -> Array:
    """Points (K, D) further out than these draws, where the surrogate may know nothing."""
    mean = np.exp(kind.log_weights) @ kind.draws
    return np.asarray(mean + policy.pushed * (kind.draws[rows] - mean))


def beyond(
    kind: SurrogateKind, rows: Array, process: Process, u: Array, policy: EmulationPolicy = POLICY
) -> Array:
    """What the log density (K,) at points `u` further out than draws is expected to be, by the surrogate.

    Where it knows nothing there, it has left out what may be there: as much as a tail between a normal and an
    exponential one has is expected.
    """
    known = draws.where_known(process, process.frame.whiten(u), policy.unknown)
    return np.where(np.isfinite(known), known, kind.log_density[rows] - policy.drop)


def with_tails(kind: SurrogateKind, residual: Array, policy: EmulationPolicy = POLICY) -> SurrogateKind:
    """The kind with what evaluations (K,) at the outermost draws and beyond say: a tail that holds more."""
    above = np.clip(residual, 0.0, policy.steepest)
    error = float(np.hypot(kind.sd_error, 0.5 * policy.outermost * np.expm1(above.max(initial=0.0))))
    if not policy.errors * error > policy.sd or policy.errors * kind.sd_error > policy.sd:
        return replace(kind, sd_error=error)
    told = f"far out the log density is {above.max():.1f} nats above it, so that a tail, and an sd, may be larger"
    return replace(kind, sd_error=error, problems=(*kind.problems, told))
