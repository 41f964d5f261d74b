"""What weighted draws are worth: the accuracy of every reported figure, and the checks that they must pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import ndtri

from bbvi.correction.importance.policy import CHECKS, CheckPolicy
from bbvi.correction.importance.proposals import Proposal
from bbvi.correction.importance.slices import steering
from bbvi.correction.importance.weights import ControlFunctions
from bbvi.correction.psis import pareto_shape
from bbvi.correction.verdict import FEW_IN_TAIL, FUNNEL, HEAVY_TAIL

Array = np.ndarray

@dataclass(frozen=True, eq=False)
class Assessment:
    """The state of a pool of draws: its weights and how accurate what they say is."""

    policy: CheckPolicy
    log_weights: Array
    khat: float
    ess: float
    log_evidence: float
    log_evidence_se: float
    mean: Array
    sd: Array
    # Columns (R,) of which draws that carry weight are infinite; those of few values, whose sd nobody asks for.
    infinite: Array
    few_valued: Array
    # What the rest is worked out from, if asked for: draws (S, D), log proposal density (S,), columns in sds (S, R).
    u: Array
    log_q: Array
    standard: Array
    first: Proposal

    @cached_property
    def weights(self) -> Array:
        """Normalised weights (S,)."""
        return np.asarray(np.exp(self.log_weights))

    @cached_property
    def controls(self) -> ControlFunctions:
        """Control functions at the draws."""
        return ControlFunctions.at(self.u, self.log_weights, self.log_q, self.first)

    @cached_property
    def mean_error(self) -> Array:
        """Standard errors (R,) of the means, in sds."""
        return _or_infinite(self.controls.standard_errors(self.weights, self.standard))

    @cached_property
    def seen_sd_error(self) -> Array:
        """Relative standard error (R,) of the sds, as the draws show it."""
        squares = self.standard**2 - (self.sd > 0)
        errors = _or_infinite(self.controls.standard_errors(self.weights, squares) / 2)
        return np.where(self.few_valued, 0.0, errors)

    @cached_property
    def sd_error(self) -> Array:
        """The same, enlarged by what draws hide of heavy tails: of the variance of the terms, and so of the error."""
        errors = self.seen_sd_error * (1.0 + self.policy.hidden * np.maximum(self.tail_khat - self.policy.light, 0.0))
        if len(self.u) >= self.policy.many_draws:
            return errors
        # Of a heavy tail, few draws miss a part, in the sd and in its standard error alike.
        kurtosis = np.exp(self.log_weights) @ self.standard**4
        return np.asarray(errors * np.sqrt(np.maximum(kurtosis / 3.0, 1.0)))

    @cached_property
    def tail_khat(self) -> Array:
        """k-hat (R,) of the weights times the squared deviation; minus infinity where none is asked for."""
        shape = pareto_shape(self.weights[:, None] * self.standard**2)
        return np.where((self.sd > 0) & ~self.few_valued, np.asarray(shape), -np.inf)

    @cached_property
    def steering(self) -> tuple[Array, Array]:
        """How much each latent steers the others, and its skewness, (D,) each."""
        return steering(self.u, self.weights)

    def moves(self, before: Assessment) -> Array:
        """By how much means (in sds) or sds (relative) differ from an earlier pool's, the larger of each row (R)."""
        sd = np.where(self.sd > 0, self.sd, 1.0)
        wider = np.where(self.few_valued, 0.0, np.abs(self.sd - before.sd))
        change = np.maximum(np.abs(self.mean - before.mean), wider) / sd
        # What is no number does not settle; it is a problem of its own.
        return np.where(np.isfinite(change), change, 0.0)

    @property
    def enough(self) -> bool:
        """Whether rounds may end."""
        return bool(
            self.khat < self.policy.khat_enough
            and self.tail_khat.max() < self.policy.khat_passing
            and self.mean_error.max() < self.policy.enough
            and self.seen_sd_error.max() < self.policy.enough
            and self.sd_error.max() < self.policy.passing
        )

    def doubts(self, heavy: Array, moves: Array) -> tuple[str, ...]:
        """The checks that failed of each row (R), empty where none did.

        `heavy` (R,) says which tails are too heavy, `moves` (R,) what the last round of draws has moved.
        """
        checks = {
            "infinite": self.infinite,
            HEAVY_TAIL: heavy,
            FEW_IN_TAIL: ~heavy & (self.tail_khat >= self.policy.khat_passing),
            "error of the sd": self.sd_error >= self.policy.passing,
            "error of the mean": self.mean_error >= self.policy.passing,
            "unsettled": moves > self.policy.moving,
        }
        return tuple(", ".join(name for name, failed in checks.items() if failed[i]) for i in range(len(self.mean)))

    def problems(self, labels: Sequence[str]) -> tuple[str, ...]:
        """What keeps the result from being relied on."""
        found = []
        if self.khat >= self.policy.khat_passing:
            found.append(f"k-hat of the weights is {self.khat:.2f}")
        for what, errors in (("mean", self.mean_error), ("sd", self.sd_error)):
            worst = int(np.argmax(errors))
            if errors[worst] >= self.policy.passing:
                found.append(f"the standard error of the {what} of {labels[worst]} is {errors[worst]:.1%}")
        heavy = np.flatnonzero(self.tail_khat >= self.policy.khat_passing)
        if len(heavy):
            names = ", ".join(labels[i] for i in heavy[np.argsort(-self.tail_khat[heavy])][:4])
            found.append(f"the tails of {names} are too heavy for an sd to be measured")
        if self.infinite.any():
            names = ", ".join(labels[i] for i in np.flatnonzero(self.infinite)[:4])
            found.append(f"{names}: infinite or not a number at draws that carry weight")
        return tuple(found)


def is_funnel(steering: float, dim: int, policy: CheckPolicy = CHECKS) -> bool:
    """Whether the widths of so many latents follow one of them so closely that necks are out of reach."""
    return steering >= (policy.funnel if dim <= policy.many else policy.funnel_of_many)


def steered(found: Assessment, columns: Array, labels: Sequence[str]) -> tuple[str, ...]:
    """Whether one latent sets the widths of many others so strongly that the neck of the funnel may be out of reach.

    It has the name of the reported quantity, of columns (S, R), that goes with it most closely.
    """
    strength = found.steering[0]
    latent = int(np.argmax(strength))
    if not is_funnel(float(strength[latent]), found.u.shape[1], found.policy):
        return ()
    x = found.u[:, latent] - found.weights @ found.u[:, latent]
    centred = columns - found.weights @ columns
    with np.errstate(all="ignore"):
        alike = np.abs((found.weights * x) @ centred) / np.sqrt(found.weights @ centred**2)
    return (funnel(labels[int(np.argmax(np.nan_to_num(alike)))], float(strength[latent])),)


def funnel(label: str, strength: float) -> str:
    """A latent that steers the widths of others, in words."""
    return (
        f"{label} steers the widths of other latents (correlation {strength:.2f}), {FUNNEL}: non-centre these, as "
        "deviations in units of it"
    )


def few(found: Assessment) -> tuple[str, ...]:
    """Whether there are too few draws to see any tail."""
    draws = len(found.u)
    return (f"there are only {draws} weighted draws, too few to see the tails",) if draws < found.policy.fewest else ()


def unsettled(found: Assessment, moved: float) -> tuple[str, ...]:
    """Whether the last round of draws still changed the result."""
    if moved <= found.policy.moving:
        return ()
    return (f"the last round of draws still moved a mean or sd by {moved:.1%} of an sd",)


def heavy_tailed(found: Assessment, columns: Array) -> Array:
    """Which quantities (R,) have tails so heavy that no variance may exist: Pareto shape 1/2, less what is hidden."""
    which = np.zeros(len(found.sd), dtype=bool)
    if len(found.u) < found.policy.fewest_for_tails:
        return which
    index = evenly(found.weights, found.policy.tail_draws)
    varying = np.flatnonzero((found.sd > 0) & ~found.few_valued)
    # A draw that was picked has weight, so that no quantity is infinite here.
    x = columns[index][:, varying]
    centred = x - np.median(x, axis=0)
    sides = np.maximum(np.concatenate([centred, -centred], axis=1), 0.0)
    shape = np.max(np.reshape(pareto_shape(sides), (2, -1)), axis=0)
    # The worst of many shows more by chance; the standard error of a shape from 2,000 draws is 0.08.
    worst = max(float(-ndtri(0.01 / len(varying))) - 2.3, 0.0) if len(varying) else 0.0
    which[varying[shape > found.policy.heavy_tail + 0.08 * worst]] = True
    return which


def heavy_tails(heavy: Array, labels: Sequence[str]) -> tuple[str, ...]:
    """The names of quantities (R,) with such tails."""
    if not heavy.any():
        return ()
    names = ", ".join(labels[i] for i in np.flatnonzero(heavy)[:4])
    return (f"the posterior of {names} has tails so heavy that its sd, or even its mean, may not exist",)


def valleys(found: Assessment) -> tuple[str, ...]:
    """Whether the weighted draws fall into two lumps along a latent or the longest axis, with a valley in between."""
    w = found.weights
    mean = w @ found.u
    centred = found.u - mean
    scale = np.sqrt(w @ centred**2)
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        return ()
    x = centred / scale
    longest = np.linalg.eigh((x * w[:, None]).T @ x)[1][:, -1]
    columns = np.column_stack([x, x @ longest / np.sqrt(w @ (x @ longest) ** 2)])
    # Smoothed histograms on -4 to 4 sds, all columns at once; what lies outside goes into a bin that is dropped.
    bins, count = 40, columns.shape[1]
    cell = np.floor((np.clip(columns, -4.1, 4.1) + 4.0) * (bins / 8.0)).astype(int)
    cell = np.where((cell >= 0) & (cell < bins), cell, bins) + (bins + 1) * np.arange(count)
    histogram = np.bincount(cell.ravel(), np.repeat(w, count), (bins + 1) * count).reshape(count, -1)[:, :bins]
    kernel = np.exp(-0.5 * (np.subtract.outer(np.arange(bins), np.arange(bins)) / 1.5) ** 2)
    density = histogram @ np.where(kernel > np.exp(-0.5 * (4.5 / 1.5) ** 2), kernel, 0.0)
    left = np.maximum.accumulate(density, axis=1)
    right = np.maximum.accumulate(density[:, ::-1], axis=1)[:, ::-1]
    mass = np.cumsum(density, axis=1) / np.maximum(density.sum(axis=1, keepdims=True), 1e-300)
    policy = found.policy
    deep = density < policy.valley * np.minimum(left, right)
    valley = deep & (mass > policy.lump) & (mass < 1 - policy.lump)
    if valley.any():
        return ("the draws fall into two lumps with a valley between them: there is more than one mode",)
    return ()


def evenly(weights: Array, most: int) -> Array:
    """Indices of at most so many draws, taken at even steps of the cumulative weight."""
    size = min(len(weights), most)
    return np.minimum(np.searchsorted(np.cumsum(weights), (np.arange(size) + 0.5) / size), len(weights) - 1)


def _or_infinite(errors: Array) -> Array:
    return np.where(np.isfinite(errors), errors, np.inf)
