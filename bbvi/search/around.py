"""Other modes from values alone: where the log density points to, far out on all sides of what was found.

In the frame of the posterior that was found, a Gaussian mode of about its shape is where Newton's method leads in one
step from wherever that mode outweighs the one at home; and far enough out, on the side of the other mode, it does. So a
slope is measured far out in every direction of a random frame, and followed. What comes home is no other mode; what
ends elsewhere, as high as the posterior, is climbed from there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy.special import chdtri

from bbvi.draws import iid
from bbvi.search.modes import Mode
from bbvi.solvers.from_values.active import climbed
from bbvi.solvers.from_values.differences import bounded
from bbvi.solvers.from_values.process import Process, full_radius
from bbvi.solvers.from_values.surrogate_state import SurrogateState
from bbvi.solvers.state import State
from bbvi.target.protocol import LogDensity

Array = np.ndarray


@dataclass(frozen=True)
class AroundPolicy:
    """How a look around goes about it.

    Attributes
    ----------
    far : float
        Distance of the places where slopes are measured, in sds.
    further, latents, deep : tuple of float, int, float
        Distances beyond, in sds, that are looked at besides of so many latents, and the nats below the top from which
        nothing is there that matters: of few latents, modes may be as far apart as these are.
    steep : float
        Multiple of the depth that a Gaussian has there below which no mode of its width is near.
    step : float
        Of the differences, in sds; large, so that noise does not matter, and `noisy` more for each nat of noise, up to
        three.
    rounds : int
        Of Newton steps.
    longest : float
        Multiple of a Newton step that a parabola may ask for: another mode may be wider.
    level : float
        Nats below the posterior's typical depth down to which a place is as high as the posterior.
    surprise : float
        Sds, and nats, by which a value at home exceeds the surrogate where there is something that it does not know.
    higher : float
        Nats by which a value tops the surrogate's best where the fit goes on.
    known : float
        Nats by which the top of a climb may exceed the surrogate where that knows it.
    valley : float
        Nats by which the log density falls between two places that are two modes.
    climbs : int
        Places that are climbed from.
    climb, climb_per_latent : int
        Evaluations of a climb.
    """

    far: float = 12.0
    further: tuple[float, ...] = (32.0,)
    latents: int = 2
    deep: float = 30.0
    steep: float = 4.0
    step: float = 0.5
    rounds: int = 3
    longest: float = 1000.0
    level: float = 8.0
    surprise: float = 4.0
    higher: float = 1.0
    known: float = 1.0
    valley: float = 1.5
    climbs: int = 3
    climb: int = 20
    climb_per_latent: int = 15

    def cost(self, dim: int) -> int:
        """Evaluations of the first round, without which a look is none."""
        beyond = 2 * dim * len(self.further) if dim <= self.latents else 0
        return 2 * dim * (dim + 2) + beyond


POLICY = AroundPolicy()
# Where to look for a valley, on the way from one place to another.
_BETWEEN = np.array([0.2, 0.35, 0.5, 0.65, 0.8])


@dataclass(frozen=True)
class Around:
    """What a look found.

    Attributes
    ----------
    modes : tuple of Mode
        Elsewhere, with Laplace's evidence.
    looked : int
        Directions that were looked into.
    higher : bool
        Whether a value was found that tops all that the surrogate was given.
    joined : bool
        Whether a place was found that belongs to what the surrogate describes, and that it did not know.
    places : (K, D)
        Tops of all climbs, and places as high as the posterior that are a good way from its middle.
    """

    modes: tuple[Mode, ...]
    looked: int
    higher: bool
    joined: bool = False
    places: Array = field(default_factory=lambda: np.empty((0, 0)))


def look_around(
    target: LogDensity,
    process: Process,
    noise_sd: float,
    rng: np.random.Generator,
    left: Callable[[], float],
    policy: AroundPolicy = POLICY,
) -> Around:
    """Modes beside the one that a surrogate describes.

    Parameters
    ----------
    target : LogDensity
    process : Process
        In a frame in which the posterior is about standard normal.
    noise_sd : float
    rng : numpy.random.Generator
    left : callable
        Evaluations that may still be taken.
    """
    frame, dim = process.frame, target.dim
    directions = np.linalg.qr(iid(dim, dim, rng))[0]
    places = policy.far * np.concatenate([directions, -directions])
    places = frame.whiten(bounded(target, frame.centre, frame.restore(places)))
    values = target.values(frame.restore(places))
    near = values > process.top - policy.steep * 0.5 * policy.far**2
    places, values = places[near], values[near]
    if dim <= policy.latents and left() >= 2 * dim * len(policy.further):
        beyond = np.concatenate([reach * side * directions for reach in policy.further for side in (1.0, -1.0)])
        beyond = frame.whiten(bounded(target, frame.centre, frame.restore(beyond)))
        there = target.values(frame.restore(beyond))
        high = there > process.top - policy.deep
        places, values = np.concatenate([places, beyond[high]]), np.concatenate([values, there[high]])
    found: list[Array] = []
    aside: list[Array] = []
    for _ in range(policy.rounds):
        if not len(places) or left() < len(places) * (dim + 2):
            break
        places, values, moved = _followed(target, process, places, values, noise_sd, policy)
        other = _elsewhere(process, places, values, noise_sd, policy)
        found.extend(places[other])
        aside.extend(places[_high(process, values, dim, noise_sd, policy)])
        away = ~other & (np.linalg.norm(places, axis=1) > full_radius(dim)) & moved
        places, values = places[away], values[away]
    modes, joined, tops = _climbed(target, process, found, noise_sd, rng, left, policy)
    outer = [e for e in aside if np.linalg.norm(e) > 0.6 * full_radius(dim)]
    places = frame.restore(np.array(outer).reshape(-1, dim))
    places = np.concatenate([places, np.array(tops).reshape(-1, dim)])
    top = float(np.max(target.evaluated.log_density))
    higher = bool(modes) or joined
    higher = higher and top > process.top + policy.higher + 3 * noise_sd
    return Around(tuple(modes), 2 * dim, higher, joined, places)


def _followed(
    target: LogDensity, process: Process, places: Array, values: Array, noise_sd: float, policy: AroundPolicy
) -> tuple[Array, Array, Array]:
    """A Newton step from each place, with the frame's metric, and whether it rose; a parabola corrects its length."""
    count, dim = places.shape
    frame = process.frame
    h = policy.step + min(noise_sd, 3.0)
    beside = (places[:, None] + h * np.eye(dim)).reshape(-1, dim)
    slopes = (target.values(frame.restore(beside)).reshape(count, dim) - values[:, None]) / h
    slopes = np.where(np.isfinite(slopes), slopes, 0.0)
    measured, length = slopes, np.linalg.norm(slopes, axis=1, keepdims=True)
    slopes = slopes * np.minimum(1.0, 3 * policy.far / np.maximum(length, 1e-12))
    full = frame.whiten(bounded(target, frame.centre, frame.restore(places + slopes)))
    slopes = full - places
    at_full = target.values(frame.restore(full))
    rise = np.einsum("sd,sd->s", measured, slopes)
    with np.errstate(all="ignore"):
        best = rise / (2 * (values + rise - np.where(np.isfinite(at_full), at_full, -1e10)))
    best = np.where(np.isfinite(best) & (best > 0), np.clip(best, 0.02, policy.longest), policy.longest)
    again = np.flatnonzero(np.abs(best - 1.0) > 0.3)
    if len(again):
        other = places[again] + best[again, None] * slopes[again]
        other = frame.whiten(bounded(target, frame.centre, frame.restore(other)))
        at_other = target.values(frame.restore(other))
        better = at_other > at_full[again]
        full[again[better]], at_full[again[better]] = other[better], at_other[better]
    return full, at_full, at_full > values + 1.0 + 2 * noise_sd


def _high(process: Process, values: Array, dim: int, noise_sd: float, policy: AroundPolicy) -> Array:
    """Which values (S,) are as high as those of the posterior."""
    typical = 0.5 * float(chdtri(dim, 0.05))
    return np.asarray(values > process.top - typical - policy.level - 3 * noise_sd)


def _elsewhere(process: Process, places: Array, values: Array, noise_sd: float, policy: AroundPolicy) -> Array:
    """Which places are as high as the posterior, and are not what the surrogate knows."""
    dim = places.shape[1]
    high = _high(process, values, dim, noise_sd, policy)
    known = np.linalg.norm(places, axis=1) < full_radius(dim)
    unknown = values - process.mean(places) > policy.surprise * np.sqrt(
        np.minimum(process.variance(places), 1.0) + noise_sd**2
    ) + 1.0
    return np.asarray(high & (~known | unknown))


def _climbed(
    target: LogDensity,
    process: Process,
    found: list[Array],
    noise_sd: float,
    rng: np.random.Generator,
    left: Callable[[], float],
    policy: AroundPolicy,
) -> tuple[list[Mode], bool, list[Array]]:
    """The modes that places lead to, each once; whether some lead to a part of home that was not known; all tops."""
    dim, frame = target.dim, process.frame
    modes: list[Mode] = []
    joined, tops = False, []
    for place in found[: policy.climbs]:
        u = frame.restore(place[None])[0]
        if any(_together(mode, u, 3.0) for mode in modes) or left() < 2 * dim:
            continue
        allowed = min(left(), policy.climb + policy.climb_per_latent * dim)
        state = climbed(target, u, frame, noise_sd, rng, allowed)
        tops.append(state.mean)
        if _known(process, state, noise_sd, policy):
            continue
        if left() < len(_BETWEEN) or _joined(target, process, state, noise_sd, policy):
            joined = True
        elif not any(_together(mode, state.mean, 1.0) for mode in modes):
            modes.append(mode_of(state))
    return modes, joined, tops


def _joined(
    target: LogDensity, process: Process, state: SurrogateState, noise_sd: float, policy: AroundPolicy
) -> bool:
    """Whether there is no valley between the top of a climb and the middle of the posterior."""
    end = process.frame.whiten(state.mean[None])[0]
    between = target.values(process.frame.restore(_BETWEEN[:, None] * end))
    lower = min(float(process.mean(np.zeros((1, len(end))))[0]), float(np.max(state.values)))
    return bool(np.min(between) > lower - policy.valley - 3 * noise_sd)


def _known(process: Process, state: SurrogateState, noise_sd: float, policy: AroundPolicy) -> bool:
    """Whether a climb ended at home, where the surrogate knows what is there."""
    e = process.frame.whiten(state.mean[None])
    if np.linalg.norm(e) > full_radius(e.shape[1]):
        return False
    return bool(np.max(state.values) - process.mean(e)[0] < policy.known + 3 * noise_sd)


def _together(mode: Mode, u: Array, sds: float) -> bool:
    return bool(np.max(np.abs(mode.mean - u) / np.exp(mode.log_sd)) < sds)


def home(state: State, process: Process, looked: int) -> Mode:
    """The mode that a surrogate describes."""
    constant = 0.5 * len(state.mean) * float(np.log(2 * np.pi))
    evidence = process.top + float(np.linalg.slogdet(process.frame.factor)[1]) + constant
    log_sd = np.log(np.linalg.norm(process.frame.factor, axis=1))
    return Mode(state.mean, log_sd, evidence, looked, evidence=evidence)


def mode_of(state: SurrogateState) -> Mode:
    """A mode with Laplace's evidence at its top, by the frame in which it bends by about one."""
    top = float(np.max(state.values))
    evidence = top + float(np.linalg.slogdet(state.factor)[1]) + 0.5 * len(state.mean) * float(np.log(2 * np.pi))
    return Mode(state.mean, state.log_sd, evidence, 1, evidence=evidence)
