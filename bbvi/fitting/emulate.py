"""The stage of the surrogate: all that was paid for as one posterior, and fresh evaluations to check it by."""

from __future__ import annotations


import numpy as np

from bbvi.correction.emulation import emulated
from bbvi.correction.pool import Evaluated
from bbvi.fitting.records import Corrected
from bbvi.result import posterior
from bbvi.solvers.from_values import draws
from bbvi.solvers.from_values.process import Process, full_radius, given, learnt
from bbvi.status import Status

Array = np.ndarray


def emulate(corrected: Corrected) -> Corrected:
    """The surrogate as a kind of posterior, where the solver made one that can be sampled."""
    optimum, job = corrected.optimum, corrected.job
    process = optimum.knowledge.surrogate
    if process is None or not optimum.begun or corrected.status is Status.DIVERGED:
        return corrected
    rng = job.rng("surrogate")
    try:
        fresh = _fresh(corrected, process, rng)
        whole = _of_all(corrected, process, rng)
        kind = emulated(
            whole, fresh, process, optimum.knowledge.surprise, lambda u: posterior.reported(job.target, u), rng
        )
    except np.linalg.LinAlgError:
        return corrected
    return corrected.with_kind(kind)


def _fresh(corrected: Corrected, process: Process, rng: np.random.Generator) -> Evaluated:
    """Evaluations at draws of the surrogate's posterior, to which it was not fitted."""
    job, frame = corrected.job, process.frame
    weighted = draws.drawn(process, np.zeros(len(frame.centre)), rng)
    rows = draws.chosen_rows(weighted.weights, job.policy.fresh, rng)
    count = int(np.clip(job.left - job.policy.again, 0, job.policy.fresh))
    u = frame.restore(weighted.e[rng.permutation(rows)[:count]])
    return Evaluated(u, job.target.values(u)) if count else Evaluated(u, np.empty(0))


def _of_all(corrected: Corrected, process: Process, rng: np.random.Generator) -> Process:
    """The surrogate given every evaluation, in the frame of its own posterior."""
    u, values = _counting(corrected.job.target.evaluated, process)
    noise_sd = corrected.optimum.knowledge.noise_sd
    logs = learnt(process.frame, u, values, process.logs, noise_sd, rng)
    whole = given(process.frame, u, values, logs)
    mean, covariance = draws.drawn(whole, np.zeros(len(process.frame.centre)), rng).moments()
    frame = process.frame.moved(mean, covariance + 1e-6 * np.eye(len(mean)))
    return given(frame, u, values, learnt(frame, u, values, logs, noise_sd, rng))


def _counting(known: Evaluated, process: Process) -> tuple[Array, Array]:
    """What the solver's surrogate was given, and all else that was evaluated where the posterior is."""
    deep = process.policy.deep(len(process.frame.centre))
    high = known.log_density > max(process.top, float(known.log_density.max())) - deep
    near = np.linalg.norm(process.frame.whiten(known.u), axis=1) < full_radius(len(process.frame.centre))
    both = np.column_stack([
        np.concatenate([process.frame.restore(process.points), known.u[high & near]]),
        np.concatenate([process.values, known.log_density[high & near]]),
    ])  # fmt: skip
    # A value that both hold counts once; values that differ at one point are noise, and count each.
    first = np.unique(both.round(10), axis=0, return_index=True)[1]
    both = both[np.sort(first)]
    return both[:, :-1], both[:, -1]
