"""Other starts of a fit from values: whether one of them leads to a better or an equally good mode."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np

from bbvi.search.modes import Mode
from bbvi.solvers.base import S, Solver
from bbvi.solvers.loop import Limits, run
from bbvi.solvers.state import State, Trace
from bbvi.status import Status
from bbvi.target.allowance import Exhausted
from bbvi.target.target import Target

Array = np.ndarray


@dataclass(frozen=True)
class RivalPolicy:
    """What other starts may cost, and which of them are rivals.

    Attributes
    ----------
    share : float
        Of the evaluations that the fit has taken, for all approaches from other starts.
    apart : float
        Sds between means that are not one mode.
    behind : float
        Nats below the fit from which a start is no rival: a thousandth of its share.
    """

    share: float = 0.5
    apart: float = 3.0
    behind: float = 7.0


POLICY = RivalPolicy()


def challenged(
    target: Target,
    solver: Solver[S],
    state: State,
    trace: Trace,
    points: Array,
    rng: np.random.Generator,
    tolerance: float,
    limits: Limits,
    started: float,
) -> tuple[State, list[Mode]]:
    """The better of a converged fit and of fits from others of its starting points (K, D), and the modes found.

    From each start only the first phases of the solver are taken, which are cheap, and as many starts as half of the
    fit's evaluations allow: few where the fit was easy, all of them where it was hard. One that gets within reach of
    the fit's ELBO, and is somewhere else, is fitted to its end; its steps are added to `trace`. An interrupt or the
    callback ends the search, and the status says so.
    """
    best = state
    modes = [_mode(state)]
    left = min(POLICY.share * target.evaluations, limits.max_evaluations - target.evaluations)
    cost = 0
    try:
        # The fit took the first, the best; the others by turns from the whole range.
        for point in [*points[1::2], *points[2::2]]:
            if cost > left or time.perf_counter() - started > limits.max_seconds:
                break
            before = target.evaluations
            rival = _approach(target, solver, point, best, rng, tolerance, before + left)
            cost = target.evaluations - before
            left -= cost
            if rival is None:
                continue
            if rival is best:
                modes = [mode._replace(starts=mode.starts + (mode.mean is best.mean)) for mode in modes]
                continue
            quiet = replace(limits, checkpoint=None)
            other, steps = run(solver, target, (rival.mean, rival.log_sd), rng, tolerance, quiet, started)
            for name, values in vars(steps).items():
                getattr(trace, name).extend(values)
            if other.status is Status.INTERRUPTED:
                # An interrupt, or a callback, that met the rival's own loop.
                raise KeyboardInterrupt
            if other.status is not Status.CONVERGED or _together(best, other):
                continue
            modes.append(_mode(other))
            best = max(best, other, key=lambda one: one.elbo)
    except Exhausted:
        # What there was left has shown no better one.
        pass
    except KeyboardInterrupt:
        message = "The fit was interrupted while other starts were tried; this is the best so far."
        best = replace(best, status=Status.INTERRUPTED, message=message)
    return best, sorted(modes, key=lambda mode: -mode.elbo)


def _approach(
    target: Target,
    solver: Solver[S],
    point: Array,
    best: State,
    rng: np.random.Generator,
    tolerance: float,
    allowed: float,
) -> State | None:
    """Where the first phases lead from a point: `best` itself if they lead there, None if that is no rival of it."""
    rival = solver.init(target, point, np.zeros(target.dim), rng, tolerance)
    while rival.status is None and rival.approaching and target.evaluations < allowed:
        rival = solver.step(target, rival, rng, tolerance)
        if _together(best, rival):
            return best
    noise = 3.0 * rival.knowledge.noise_sd
    return rival if rival.status is None and rival.elbo > best.elbo - POLICY.behind - noise else None


def _together(one: State, other: State) -> bool:
    """Whether two means agree to a few sds, those of the regression's covariance where it is known."""
    covariance = one.knowledge.surrogate_covariance
    sd = np.exp(one.log_sd)
    if covariance is not None:
        sd = np.maximum(sd, np.sqrt(np.diag(covariance)))
    return bool(np.max(np.abs(one.mean - other.mean) / sd) < POLICY.apart)


def _mode(state: State) -> Mode:
    return Mode(state.mean, state.log_sd, float(state.elbo), 1)
