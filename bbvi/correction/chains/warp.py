"""A change of coordinates that straightens funnels: latents that steer the others' means and scales are found in draws.

A scale of a hierarchy squeezes the latents below it into a neck, in which Hamiltonian chains of one step size either
crawl or diverge. Given a few steering latents t, the others are moved and stretched,

    x_j = a_j + A_j f(t) + exp(c_j + C_j f(t)) y_j,    f(t) = (t, sqrt(1 + t^2) - 1, ...),

so that the y_j look alike wherever t is: a triangular transport map (Parno and Marzouk 2018) of which centred and
non-centred hierarchies, and all between, are special cases. Where they depend on each other given t, as in walks and
Gaussian processes, y = W (exp(s + S f(t)) e) in directions W of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bbvi.correction.chains.metric import Base

Array = np.ndarray

# Where means bend; log scales do at the first only, of which draws and curvature tell less.
KNOTS = (0.0, -1.5, 1.5)


@dataclass(frozen=True)
class WarpPolicy:
    """How steering latents are found.

    Attributes
    ----------
    most : int
        Steering latents at the most.
    fewest : int
        Latents from which curvature is asked for it: of fewer, what chains are run for is tails, and draws are cheap.
    bends, crowd, followed : float
        Where curvature is known: how much of it a latent changes as it moves by an sd, as the root of the summed
        squares of what it does to half of each log curvature, from which it may steer; how many times as much as the
        median latent; and how much of that the warp must follow.
    steers : float
        Where it is not: root of the summed squares of the slopes of log scales, beyond chance, from which a latent
        steers others. In a neck that a scale makes of ten latents, it is the root of ten.
    significant : float
        Standard errors from which a slope counts.
    steps : int
        Steps of Fisher's scoring for the log scales.
    steepest : float
        The largest slope of a log scale that is believed, in standardised steering latents.
    latents : int
        Latents above which steering ones are looked for among so many of the likeliest only.
    """

    most: int = 6
    fewest: int = 50
    steers: float = 0.5
    bends: float = 0.2
    crowd: float = 2.0
    followed: float = 0.2
    significant: float = 4.0
    steps: int = 16
    steepest: float = 1.5
    latents: int = 2000


@dataclass(frozen=True, eq=False)
class Turn:
    """What comes before the warp: y = W (exp(s + S f(t)) e), for latents that depend on each other.

    Attributes
    ----------
    basis : Base
        W with its inverse; those of the steering latents are left alone.
    stretch : (2K + 1, D)
        Coefficients of (1, f(t)) in the log scales.
    """

    basis: Base
    stretch: Array

    def scales(self, t: Array) -> Array:
        """exp(s + S f(t)), (S, D)."""
        return np.asarray(np.exp(features(t)[0][:, : len(self.stretch)] @ self.stretch))


@dataclass(frozen=True, eq=False)
class Warp:
    """Coordinates e (S, D) of latents u (S, D), of which some steer the others.

    Attributes
    ----------
    steering : (K,), their numbers
    shift : (2K + 1, D) or (4K + 1, D)
        Coefficients of (1, f(t)) in the means of all, of as many features as there are; of a steering latent itself,
        its centre alone.
    stretch : (2K + 1, D)
        The same for the log scales.
    turn : Turn, optional
        Whether coordinates are turned first, so that they are no latents' own: u = a + A f(t) + exp(c + C f(t)) y(e).
    measured : bool
        Whether curvature at draws showed it, and not draws and gradients alone.
    """

    steering: Array
    shift: Array
    stretch: Array
    turn: Turn | None = None
    measured: bool = False

    def position(self, e: Array) -> Array:
        """Latents u (S, D)."""
        return self.at(e)[0]

    def at(self, e: Array) -> tuple[Array, Callable[[Array], Array]]:
        """Latents u (S, D), and what makes gradients in e of the log density and the log Jacobian from those in u."""
        steering, turn, few = self.steering, self.turn, len(self.stretch)
        f, slopes = features(e[:, steering])
        scales, y, before = np.exp(f[:, :few] @ self.stretch), e, None
        if turn is not None:
            before = np.exp(f[:, :few] @ turn.stretch)
            y = turn.basis.outward(before * e)

        def pull(g: Array) -> Array:
            own = g * scales
            # d u / d f, summed over the latents, and the Jacobian's own part.
            through = g @ self.shift[1:].T
            through[:, : few - 1] += (own * y) @ self.stretch[1:].T + self.stretch[1:].sum(axis=1)
            if turn is not None:
                own = turn.basis.inward(own) * before
                through[:, : few - 1] += (own * e) @ turn.stretch[1:].T + turn.stretch[1:].sum(axis=1)
            through *= slopes[:, : through.shape[1]]
            own[:, steering] += through.reshape(len(g), -1, len(steering)).sum(axis=1)
            return np.asarray(own)

        return np.asarray(f[:, : len(self.shift)] @ self.shift + scales * y), pull

    def coordinates(self, u: Array) -> Array:
        """e (S, D) of latents u (S, D)."""
        steering, few = self.steering, len(self.stretch)
        f, _ = features((u[:, steering] - self.shift[0, steering]) * np.exp(-self.stretch[0, steering]))
        y = (u - f[:, : len(self.shift)] @ self.shift) * np.exp(-(f[:, :few] @ self.stretch))
        if self.turn is not None:
            y = (y @ self.turn.basis.inverse.T) * np.exp(-(f[:, :few] @ self.turn.stretch))
        return np.asarray(y)

    @cached_property
    def log_volume(self) -> float:
        """log |du / de| where the steering latents are at their centre: the constant that `log_jacobian` leaves out."""
        inner = 0.0 if self.turn is None else self.turn.stretch[0].sum() + np.linalg.slogdet(self.turn.basis.factor)[1]
        return float(self.stretch[0].sum() + inner)

    def log_jacobian(self, e: Array) -> Array:
        """log |du / de| (S,), up to a constant."""
        few = len(self.stretch)
        total = self.stretch[1:].sum(axis=1)
        if self.turn is not None:
            total = total + self.turn.stretch[1:].sum(axis=1)
        return np.asarray(features(e[:, self.steering])[0][:, 1:few] @ total)


def features(t: Array) -> tuple[Array, Array]:
    """(1, t, bends of t at each knot), (S, 1 + K + 3K), and the slopes of all but the first, (S, K + 3K).

    A bend is sqrt(1 + (t - knot)^2), less what it is at zero: linear far out, so that nothing there is extrapolated
    but slopes.
    """
    bends, slopes = [np.ones((len(t), 1)), t], [np.ones_like(t)]
    for knot in KNOTS:
        root = np.sqrt(1.0 + (t - knot) ** 2)
        bends.append(root - np.sqrt(1.0 + knot**2))
        slopes.append((t - knot) / root)
    return np.concatenate(bends, axis=1), np.concatenate(slopes, axis=1)


def found(x: Array, g: Array, policy: WarpPolicy = WarpPolicy()) -> Warp | None:  # noqa: B008
    """The warp that draws x (N, D) and gradients g (N, D) of the log density ask for; None where no latent steers.

    Steering latents are taken one after the other, each the one whose values tell most about the squares of what the
    earlier ones leave unexplained. Log scales are the mean of what draws say and of what the gradients do, whose
    conditional sds are the inverse of the draws' where the conditional is Gaussian.
    """
    centre, scale = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-300)
    t = (x - centre) / scale
    slopes = g * scale
    chosen: list[int] = []
    warp = None
    while len(chosen) < policy.most:
        z, h = (t, slopes / np.maximum(slopes.std(axis=0), 1e-300)) if warp is None else _left(warp, t, slopes)
        best = _steering(t, z, h, chosen, policy)
        if best is None:
            break
        chosen.append(best)
        warp = _fitted(t, slopes, np.array(chosen), policy)
    return None if warp is None else _unscaled(warp, centre, scale)


def _left(warp: Warp, t: Array, slopes: Array) -> tuple[Array, Array]:
    """What a warp leaves of draws and of gradients, each in units of its own spread."""
    f = features(t[:, warp.steering])[0][:, : len(warp.shift)]
    log_scale = f @ warp.stretch
    z, h = (t - f @ warp.shift) * np.exp(-log_scale), slopes * np.exp(log_scale)
    return z / np.maximum(z.std(axis=0), 1e-300), h / np.maximum(h.std(axis=0), 1e-300)


def _steering(t: Array, z: Array, h: Array, chosen: list[int], policy: WarpPolicy) -> int | None:
    """The latent that steers the log scales of the others most; None where none does."""
    count, dim = t.shape
    candidates = np.arange(dim)
    if dim > policy.latents:
        # Latents that steer many have gradients in which the squares of many meet: their tails are the heaviest.
        kurtosis = np.mean(h**4, axis=0)
        candidates = np.argsort(-kurtosis)[: policy.latents // 4]
    candidates = np.setdiff1d(candidates, chosen)
    # Squares beyond ten sds would tell of single draws.
    squares, rough = (np.minimum(one**2, 10.0) for one in (z, h))
    squares, rough = squares / squares.mean(axis=0) - 1.0, rough / rough.mean(axis=0) - 1.0
    found = np.zeros(len(candidates))
    for part in np.array_split(np.arange(len(candidates)), max(len(candidates) // 256, 1)):
        steer = np.clip(t[:, candidates[part]], -4.0, 4.0)
        of_draws, of_gradients = (steer.T @ one / (2.0 * count) for one in (squares, rough))
        slope = (of_draws - of_gradients) / 2.0
        slope[np.arange(len(part)), candidates[part]] = 0.0
        if chosen:
            slope[:, chosen] = 0.0
        chance = policy.significant**2 / (4.0 * count)
        found[part] = np.sum(np.where(slope**2 > chance, slope**2, 0.0), axis=1)
    best = int(np.argmax(found))
    return int(candidates[best]) if found[best] > policy.steers**2 else None


def _fitted(t: Array, slopes: Array, steering: Array, policy: WarpPolicy) -> Warp:
    """Means by least squares and log scales by Fisher's scoring, given the steering latents, all standardised."""
    f = features(t[:, steering])[0][:, : 2 * len(steering) + 1]
    gram = f.T @ f + 1e-6 * len(f) * np.eye(f.shape[1])
    shift = np.linalg.solve(gram, f.T @ t)
    of_draws = log_scales(f, t - f @ shift, gram, policy)
    # Draws in the neck tell more about the means than those in the mouth.
    for _ in range(2):
        weights = np.exp(-2.0 * np.clip(f @ (of_draws - of_draws[0] * _first(f)), -12.0, 12.0))
        grams = np.einsum("nf,nd,ng->dfg", f, weights, f, optimize=True) + 1e-6 * gram
        shift = np.linalg.solve(grams, ((weights * t).T @ f)[:, :, None])[:, :, 0].T
        of_draws = log_scales(f, t - f @ shift, gram, policy, of_draws)
    of_gradients = log_scales(f, slopes, gram, policy)
    stretch = (of_draws - of_gradients) / 2.0
    stretch[1:] = np.clip(stretch[1:], -policy.steepest, policy.steepest)
    # What draws cannot tell from no slope is none.
    error = np.sqrt(np.diag(np.linalg.inv(gram)) / 4.0)[1:, None]
    stretch[1:] *= np.abs(stretch[1:]) > 2.0 * error
    shift[:, steering], stretch[:, steering] = 0.0, 0.0
    return Warp(steering, shift, stretch)


def _first(f: Array) -> Array:
    """The unit vector (F, 1) of the constant."""
    return np.eye(f.shape[1])[:, :1]


def log_scales(f: Array, residuals: Array, gram: Array, policy: WarpPolicy, start: Array | None = None) -> Array:
    """Coefficients (F, D) of log scales that are linear in f (N, F), of centred normals (N, D)."""
    if start is None:
        start = np.log(np.maximum(residuals.std(axis=0), 1e-300)) * _first(f)
    coefficients = start
    for _ in range(policy.steps):
        squares = np.minimum((residuals * np.exp(-np.clip(f @ coefficients, -700.0, 700.0))) ** 2, 20.0)
        coefficients = coefficients + np.clip(np.linalg.solve(gram, f.T @ (squares - 1.0)) / 2.0, -0.5, 0.5)
    return coefficients


def _unscaled(warp: Warp, centre: Array, scale: Array) -> Warp:
    """The same warp of latents that are not standardised."""
    shift, stretch = warp.shift * scale, warp.stretch.copy()
    shift[0] += centre
    stretch[0] += np.log(scale)
    return Warp(warp.steering, shift, stretch)
