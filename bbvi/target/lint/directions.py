"""Directions in which a log joint is constant: latents that data and priors know only together."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import linalg

from bbvi.target.lint.finding import POLICY, Finding, LintPolicy
from bbvi.target.target import Target

Array = np.ndarray


def unidentified(
    target: Target, point: Array, rng: np.random.Generator, policy: LintPolicy = POLICY
) -> Iterator[Finding]:
    """Moves of several latents at once that leave the log joint as it is, near and far: the posterior is improper.

    A move that no gradient at D and some more points has a part in changes nothing; it takes so many gradients, and
    none where there are many latents. A fit cannot see it in its own axes, along each of which the density falls.
    """
    if target.dim > policy.most_directions or not (target.recorded and target.has_gradient):
        return
    slopes = target.slopes(_around(target, point, rng, policy))
    slopes = slopes[np.isfinite(slopes).all(axis=1)]
    size = np.sqrt(np.mean(slopes**2, axis=0)) if len(slopes) >= target.dim else np.zeros(target.dim)
    if not size.all():
        # Of a latent without any slope other findings tell.
        return
    _, singular, rows = np.linalg.svd(slopes / size)
    still = rows[singular <= policy.still * singular[0]] / size
    for move in _simplest(still):
        if _changes_nothing(target, point, move, float(np.abs(size * move).sum())):
            yield Finding("unidentified", "caution", _told(target, move))


def _around(target: Target, point: Array, rng: np.random.Generator, policy: LintPolicy) -> Array:
    """Some more points than latents around one, so near that the log joint is no overflow at them."""
    moves = rng.uniform(-1.0, 1.0, (target.dim + policy.spare_points, target.dim))
    for width in policy.widths:
        values = target.values(np.concatenate([point[None], point + width * moves[: policy.spare_points]]))
        if values.min() > values[0] - policy.deep:
            return np.asarray(point + width * moves)
    return np.asarray(point[None])


def _simplest(rows: Array) -> Array:
    """The same space by moves of few latents: each has one latent, moved by one, that no other has."""
    if not len(rows):
        return rows
    _, _, order = linalg.qr(rows, mode="economic", pivoting=True)
    own = order[: len(rows)]
    moves = np.linalg.solve(rows[:, own], rows)
    moves = np.where(np.abs(moves) < 1e-6 * np.abs(moves).max(axis=1, keepdims=True), 0.0, moves)
    # The first latent of each moves upwards.
    return np.asarray(moves * np.sign(moves[np.arange(len(moves)), np.argmax(moves != 0, axis=1)])[:, None])


def _changes_nothing(target: Target, point: Array, move: Array, slope: float) -> bool:
    """Whether the log joint is the same far off, up to the rounding of so long a move along so steep axes."""
    whole = np.concatenate([np.full(t.size, t.transform.whole_line) for t in target.model.latents.values()])
    # A prior may be wide; where a latent is on a scale of its own, e^30 is far.
    far = np.array([3.0, 30.0, 1e4, 1e8] if whole.size == target.dim and whole[move != 0].all() else [3.0, 30.0])
    steps = np.concatenate([far, -far])
    values = target.values(np.concatenate([point[None], point + steps[:, None] * move]))
    with np.errstate(invalid="ignore"):
        allowed = 1e-12 * (1.0 + np.abs(values[0])) + 1e-13 * np.abs(steps) * slope
        return bool((np.abs(values[1:] - values[0]) <= allowed).all())


def _told(target: Target, move: Array) -> str:
    moved = np.flatnonzero(move)
    labels = target.model.unconstrained_labels
    parts = ", ".join(f"{labels[i]} {move[i]:+.3g}" for i in moved[:6])
    more = f" and {len(moved) - 6} more" if len(moved) > 6 else ""
    return (
        f"the log joint is constant where latents move together, by {parts}{more} (unconstrained scale), so that the "
        "posterior is improper: only what does not change with them is known; leave one of them out, or give each a "
        "proper prior"
    )
