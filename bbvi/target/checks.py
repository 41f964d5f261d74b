"""Checks of a model's log joint before any work: finite, proper, dependent on every latent, and with true gradients."""

from __future__ import annotations

import logging
from typing import NamedTuple

import autograd.numpy as anp
import numpy as np

from bbvi.batching.tape import NotRecordable, recording, slot_of
from bbvi.target.evaluator import NUMERICAL
from bbvi.target.target import Target

Array = np.ndarray
logger = logging.getLogger("bbvi")

# Up to where exp still is a number, and from there on to where no posterior is.
_FAR = np.array([10.0, 30.0, 100.0, 300.0, 1e3, 1e5, 1e8, 1e12, 1e16, 1e20])
# What a sum of terms is made of.
_ADDITIVE = (anp.add, anp.subtract, anp.negative)
_NODES, _NODE_WEIGHTS = np.polynomial.legendre.leggauss(24)


class GradientCheck(NamedTuple):
    """How far gradients are from being the derivative of the values: worst ratio, and where it was found.

    The ratio is that of the unexplained change of the log density to the change that the gradient accounts for.
    """

    ok: bool
    ratio: float
    label: str

    def __str__(self) -> str:
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


def repeated_terms(target: Target, u: Array) -> str:
    """Whether a scalar is added to each of the terms that the log joint (or log prior) returns; a sentence, or "".

    That is what a forgotten sum looks like: ``log_prior(mu) + norm.logpdf(y, mu, 1)`` holds the prior once for each
    observation. The function is recorded at draw `u`, (D,), and the additions that end in its result are followed back.
    A pointwise log likelihood is not looked at, since there a scalar such as ``-log(sigma)`` belongs to every term; nor
    are functions that are not recorded.
    """
    model = target.model
    name = "log_joint" if "log_joint" in model.functions else "log_prior"
    if name not in model.functions or model.vectorized or not target.recorded:
        return ""
    target.evaluations += 1
    draws = target.constrain(u[None])[0]
    try:
        with np.errstate(all="ignore"), recording() as tape:
            out = model.call(name, {key: tape.root(np.array(x[0])) for key, x in draws.items()})
    except (NotRecordable, *NUMERICAL) as error:
        # A start that was given may lie where the function fails, which a fit survives.
        logger.info("the terms of %s are not looked at: %s", name, error)
        return ""
    end = slot_of(out, tape)
    if end is None:
        return ""
    made = {slot: (operation.fun, parents) for operation, parents, slot in tape.operations}
    pending, repeated = [end], 0
    while pending:
        slot = pending.pop()
        size = np.size(tape.values[slot])
        function, parents = made.get(slot, (None, ()))
        if size == 1 or function not in _ADDITIVE:
            continue
        if any(np.size(tape.values[parent]) == 1 for parent in parents):
            repeated = max(repeated, size)
        pending.extend(parents)
    if not repeated:
        return ""
    return (
        f"{name} returned {repeated} terms, and a scalar that depends on the latents was added to each of them, so it "
        f"counts {repeated} times in their sum; if that is not meant, np.sum() the array before the scalar is added"
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
    moved = np.tile(u, (len(rows) + 1, 1))
    moved[np.arange(1, len(rows) + 1), rows] += rng.uniform(0.5, 1.0, size=len(rows))
    still = rows[_unchanged(target, moved)]
    if len(still):
        # Once more and further off, since a step function may be flat nearby.
        moved = np.tile(u, (2 * len(still) + 1, 1))
        moved[1:, :][np.arange(2 * len(still)), np.tile(still, 2)] += np.repeat([-2.5, 4.0], len(still))
        still = still[_unchanged(target, moved).reshape(2, -1).all(axis=0)]
    if len(still):
        labels = _labels(target, still)
        raise ValueError(
            f"log_joint: expected a function of every latent, but it is constant in {labels}; "
            "give it a prior density, or remove it from latents"
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
    dim = target.dim
    bounded = _bounded(target)
    # Off the exact point: on lines such as "all effects equal" a proper density may be infinite (tau -> 0).
    moved = u + 0.5 * np.random.default_rng(0).standard_normal(dim)
    both = target.values(np.stack([moved, u]))
    base, start = (moved, both[0]) if np.isfinite(both[0]) else (u, both[1])
    for sign in (1.0, -1.0):
        steps = np.zeros((len(_FAR), dim, dim))
        steps[:, np.arange(dim), np.arange(dim)] = sign * _FAR[:, None]
        values = target.values((base + steps).reshape(-1, dim)).reshape(len(_FAR), dim)
        # Where the density was last a number it must have fallen, and be falling: infinity is no number.
        finite = np.isfinite(values)
        last = np.where(finite.any(axis=0), len(_FAR) - 1 - np.argmax(finite[::-1], axis=0), 0)
        end = values[last, np.arange(dim)]
        before = values[np.maximum(last - 1, 0), np.arange(dim)]
        peak = np.maximum(np.where(finite, values, -np.inf).max(axis=0), start)
        flat = (last == len(_FAR) - 1) & (end >= before)
        rising = finite.any(axis=0) & ((end >= peak) | flat) & ~bounded
        if rising.any():
            labels = _labels(target, np.flatnonzero(rising))
            raise ValueError(
                f"log_joint: expected a proper density, but towards {'+' if sign > 0 else '-'}infinity of {labels} "
                "(on the unconstrained scale) it does not fall off; use a proper prior, or check the sign of the terms"
            )


def check_gradient(
    target: Target, mean: Array, sd: Array, rng: np.random.Generator, most: int = 20
) -> GradientCheck:
    """Compare gradients with differences of values, over a region of q's own size.

    The integral of the gradient along a line must be the difference of the values at its ends. Small differences
    would agree also for a step function, whose gradient is zero nearly everywhere; those of the size of q do not.
    Up to `most` latents each has a line of its own; beyond, as where no more lines can be afforded, they are random.
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
    points = mean + (0.5 + 0.5 * _NODES)[:, None, None] * directions
    _, gradients = target.gradients(points.reshape(-1, dim))
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


def _unchanged(target: Target, u: Array) -> Array:
    """Whether the log joint without log-Jacobians is at draws ``u[1:]`` what it is at ``u[0]``, up to rounding."""
    values = target.values(u)
    with np.errstate(all="ignore"):
        log_jacobian = np.broadcast_to(target.constrain(u)[1], values.shape)
        difference = values - log_jacobian
        size = 1.0 + np.abs(values) + np.abs(log_jacobian)
        return np.asarray(np.abs(difference[1:] - difference[0]) <= 1e-13 * (size[1:] + size[0]))


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
