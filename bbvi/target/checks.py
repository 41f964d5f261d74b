"""Checks of a model's log joint before any work: finite, proper, dependent on every latent, and with true gradients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, cast

import numpy as np

from bbvi.target.lint import first_nan, repeated_terms
from bbvi.target.target import NonFinite, Target

__all__ = ["GradientCheck", "check_batching", "check_dependence", "check_gradient", "check_proper", "repeated_terms"]

Array = np.ndarray

# Up to where exp still is a number, and from there on to where no posterior is.
_FAR = np.array([10.0, 30.0, 100.0, 300.0, 1e3, 1e5, 1e8, 1e12, 1e16, 1e20])
# Where a density that falls from each to the next needs no closer look, of more than so many latents.
_COARSE, _FEW = (10.0, 100.0, 1e5), 50
# Numbers in one block of draws.
_BLOCK = 2**20
# Latents that are looked at far out, at twenty values each.
_MOST_FAR = 1000
# Where on its line besides, in sds, a gradient must be a number if the value is: about as far as a fit's draws go.
_BESIDE = np.array([-2.0, -1.0, 2.0])
# Nats below the start from which a gradient may be what it likes.
_DEEP = 1000.0
# Size of a log joint from which on rounding may hide a latent.
_SWAMPED = 1e10
_NODES, _NODE_WEIGHTS = np.polynomial.legendre.leggauss(24)


class GradientCheck(NamedTuple):
    """How far gradients are from being the derivative of the values: worst ratio, and where it was found.

    The ratio is that of the unexplained change of the log density to the change that the gradient accounts for; or,
    where `nan`, the share of points at which the gradient is no number though the value is, and `why` if that is known.
    """

    ok: bool
    ratio: float
    label: str
    nan: bool = False
    why: str = ""

    def __str__(self) -> str:
        if self.nan:
            return (
                f"along {self.label} the log joint is finite, but its gradient is not at {self.ratio:.0%} of the points"
                + (f": {self.why}" if self.why else "")
            )
        return (
            f"along {self.label} the log joint changes by other amounts than its gradient says "
            f"(unexplained: {self.ratio:.0%} of the change)"
        )


def check_batching(target: Target, u: Array) -> None:
    """For a vectorized model: one value per draw, each that of its draw alone.

    Raises
    ------
    ValueError
        If the value of a draw depends on which other draws are in the batch.
    """
    if not target.model.vectorized:
        return
    batch = u[:3] if len(u) >= 3 else np.repeat(u[:1], 3, axis=0) + np.arange(3)[:, None] * 0.01
    together = target.values(batch)
    alone = np.concatenate([target.values(row[None]) for row in batch])
    if not np.allclose(together, alone, rtol=1e-5, atol=1e-8, equal_nan=True):
        raise ValueError(
            "log_joint: with vectorized=True the value of a draw must not depend on the other draws of the batch; "
            f"got {together[0]:.6g} in a batch of {len(batch)} and {alone[0]:.6g} alone. Sum over data, not over draws."
        )


def check_dependence(target: Target, u: Array, rng: np.random.Generator) -> None:
    """Every latent must matter to the log joint, unless its support is bounded and a constant is a proper density.

    Raises
    ------
    ValueError
        Naming the latents that the log joint does not depend on.
    """
    bounded = _bounded(target)
    rows = np.flatnonzero(~bounded)
    still = rows[_unchanged(target, u, rows, rng.uniform(0.5, 1.0, size=len(rows)))]
    # Once more and further off, since a step function may be flat nearby.
    for far in (-2.5, 4.0):
        still = still[_unchanged(target, u, still, np.full(len(still), far))]
    # And by orders of magnitude, where that is no overflow: a prior may be as wide as that.
    real, rest = still[_whole_line(target)[still]], still[~_whole_line(target)[still]]
    for far in (1e4, -1e8):
        real = real[_unchanged(target, u, real, np.full(len(real), far))]
    still = np.sort(np.concatenate([real, rest]))
    if len(still):
        labels = _labels(target, still)
        value = float(target.values(u[None])[0])
        lost = (
            f". It is {value:.2g} where the fit starts, so that smaller changes may be lost in rounding: give init= "
            "where it is higher"
            if abs(value) > _SWAMPED
            else ""
        )
        raise ValueError(
            f"log_joint: expected a function of every latent, but it is constant in {labels}; "
            f"give it a prior density, or remove it from latents{lost}"
        )


def check_proper(target: Target, u: Array) -> None:
    """Far out along each latent the log density must fall below its value at `u`, (D,).

    Only for functions that are evaluated in one pass: others may not bear values this far out.

    Raises
    ------
    ValueError
        Naming the latents along which the density does not fall off.
    """
    if not target.recorded:
        return
    bounded = _bounded(target)
    # Off the exact point: on lines such as "all effects equal" a proper density may be infinite (tau -> 0).
    moved = u + 0.5 * np.random.default_rng(0).standard_normal(target.dim)
    both = target.values(np.stack([moved, u]))
    base, start = (moved, both[0]) if np.isfinite(both[0]) else (u, both[1])
    rows = np.arange(target.dim)
    if target.dim > _MOST_FAR:
        # Elements of one array are alike as a rule, and every array has some of these.
        rows = np.unique(np.linspace(0, target.dim - 1, _MOST_FAR).astype(int))
        rows = np.union1d(rows, [part.start for part in target.model.slices.values()])
    looked_at = rows
    for sign in (1.0, -1.0):
        rows = _undecided(target, base, looked_at, sign, start)
        if not len(rows):
            continue
        values = np.stack([_along(target, base, rows, sign * far) for far in _FAR])
        # Where the density was last a number it must have fallen, and be falling: infinity is no number.
        finite = np.isfinite(values)
        last = np.where(finite.any(axis=0), len(_FAR) - 1 - np.argmax(finite[::-1], axis=0), 0)
        end = values[last, np.arange(len(rows))]
        before = values[np.maximum(last - 1, 0), np.arange(len(rows))]
        peak = np.maximum(np.where(finite, values, -np.inf).max(axis=0), start)
        flat = (last == len(_FAR) - 1) & (end >= before)
        rising = finite.any(axis=0) & ((end >= peak) | flat) & ~bounded[rows]
        for i in np.flatnonzero(rising & (last < len(_FAR) - 1)):
            end_of_support = base.copy()
            end_of_support[rows[i]] += sign * _FAR[last[i] + 1]
            rising[i] = not _is_zero_density(target, end_of_support)
        if rising.any():
            labels = _labels(target, rows[rising])
            raise ValueError(
                f"log_joint: expected a proper density, but towards {'+' if sign > 0 else '-'}infinity of {labels} "
                "(on the unconstrained scale) it does not fall off; use a proper prior, or check the sign of the terms"
            )


def _undecided(target: Target, u: Array, rows: Array, sign: float, start: float) -> Array:
    """Those of the latents along which more must be looked at than that the density has fallen, and goes on falling.

    Of few latents all are looked at whole: their values cost less than one more look.
    """
    if len(rows) <= _FEW:
        return rows
    near, far, farthest = (_along(target, u, rows, sign * move) for move in _COARSE)
    falls = np.isfinite(near) & np.isfinite(far) & (far < near) & (far < start)
    undecided: Array = rows[~(falls & ((farthest < far) | ~np.isfinite(farthest)))]
    return undecided


def _along(target: Target, u: Array, rows: Array, move: float) -> Array:
    """Log density at draw `u` (D,) with one latent of `rows` moved at a time."""
    return np.concatenate([target.values(moved) for moved in _moved(u, rows, np.full(len(rows), move))])


def check_gradient(
    target: Target, mean: Array, sd: Array, rng: np.random.Generator, most: int = 20
) -> GradientCheck:
    """Compare gradients with differences of values, over a region of q's own size.

    The integral of the gradient along a line must be the difference of the values at its ends. Small differences
    would agree also for a step function, whose gradient is zero nearly everywhere; those of the size of q do not.
    A gradient that is no number where the value is one, there or up to two sds off, is wrong as well. Up to `most`
    latents each has a line of its own; beyond, as where no more lines can be afforded, they are random.
    """
    dim = len(mean)
    if dim <= most:
        directions, names = np.diag(sd), list(target.model.unconstrained_labels)
    else:
        directions = sd * rng.standard_normal((min(8, most), dim)) / np.sqrt(dim)
        names = ["a random direction"] * len(directions)
    # From the middle outwards: over a symmetric interval even a wrong sign would cancel.
    directions = directions * rng.choice([-1.0, 1.0], size=(len(directions), 1))
    ends = target.values(np.concatenate([mean[None], mean + directions]))
    change = ends[1:] - ends[0]
    places = np.concatenate([0.5 + 0.5 * _NODES, _BESIDE])
    points = (mean + places[:, None, None] * directions).reshape(-1, dim)
    values, gradients = target.gradients(points)
    # Not where scales that were guessed lead so far down that gradients overflow.
    broken = (values > ends[0] - _DEEP) & ~np.isfinite(gradients).all(axis=1)
    if broken.any() and "gradient" not in target.model.functions:
        share = broken.reshape(len(places), -1).mean(axis=0)
        worst = int(np.argmax(share))
        why = first_nan(target, points[int(np.argmax(broken))])
        return GradientCheck(False, float(share[worst]), names[worst], nan=True, why=why)
    gradients = gradients[: len(_NODES) * len(directions)]
    slopes = 0.5 * np.einsum("ned,ed->ne", gradients.reshape(len(_NODES), -1, dim), directions)
    with np.errstate(invalid="ignore"):
        integral = _NODE_WEIGHTS @ slopes
        size = _NODE_WEIGHTS @ np.abs(slopes)
        error = np.abs(change - integral)
        ratio = error / (size + np.abs(change) + 1e-12)
        wrong = (ratio > 0.03) & (error > 0.02 + 1e-9 * np.abs(ends[0]))
    wrong &= np.isfinite(change) & np.isfinite(slopes).all(axis=0)
    if not wrong.any():
        return GradientCheck(True, 0.0, "")
    worst = int(np.argmax(np.where(wrong, ratio, 0.0)))
    return GradientCheck(False, float(ratio[worst]), names[worst])


def _moved(u: Array, rows: Array, moves: Array) -> Iterator[Array]:
    """Draw `u` (D,) with latent ``rows[i]`` alone moved by ``moves[i]``, in blocks (K, D) that memory holds."""
    block = max(1, _BLOCK // len(u))
    for start in range(0, len(rows), block):
        part = slice(start, start + block)
        moved = np.tile(u, (len(rows[part]), 1))
        moved[np.arange(len(moved)), rows[part]] += moves[part]
        yield moved


def _unchanged(target: Target, u: Array, rows: Array, moves: Array) -> Array:
    """Whether the log joint without log-Jacobians is what it is at draw `u` with one latent moved, up to rounding.

    A value that is not finite is another one, and proves that the latent matters.
    """
    if not len(rows):
        return np.zeros(0, dtype=bool)
    with np.errstate(all="ignore"):
        value, own = target.values(u[None])[0], float(np.broadcast_to(target.constrain(u[None])[1], 1)[0])
        same = []
        for moved in _moved(u, rows, moves):
            values = target.values(moved)
            log_jacobian = np.broadcast_to(target.constrain(moved)[1], values.shape)
            size = 2.0 + np.abs(values) + np.abs(log_jacobian) + np.abs(value) + np.abs(own)
            difference = np.abs((values - log_jacobian) - (value - own))
            same.append(np.isfinite(values) & np.isfinite(value) & (difference <= 1e-13 * size))
        return np.concatenate(same)


def _is_zero_density(target: Target, u: Array) -> bool:
    """Whether the log density at draw `u` is minus infinity, as beyond an edge, and not an overflow or NaN."""
    before, target.nonfinite = target.nonfinite, None
    target.values(u[None])
    found, target.nonfinite = cast(NonFinite | None, target.nonfinite), before
    return found is not None and found.value == -np.inf


def _whole_line(target: Target) -> Array:
    """Which unconstrained coordinates are latents on the whole line, (D,)."""
    whole = np.zeros(target.dim, dtype=bool)
    for name, latent in target.model.latents.items():
        whole[target.model.slices[name]] = latent.transform.whole_line
    return whole


def _bounded(target: Target) -> Array:
    """Which unconstrained coordinates belong to latents of bounded support, (D,)."""
    bounded = np.zeros(target.dim, dtype=bool)
    for name, latent in target.model.latents.items():
        bounded[target.model.slices[name]] = latent.transform.bounded
    return bounded


def _labels(target: Target, indices: Array) -> str:
    labels = [target.model.unconstrained_labels[i] for i in indices[:5]]
    more = f" and {len(indices) - 5} more" if len(indices) > 5 else ""
    return ", ".join(map(repr, labels)) + more
