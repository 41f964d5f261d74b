"""Symmetries of the log joint: exchanges of labels and of latents, changes of sign; they make a mode one of several."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations, product
from typing import NamedTuple

import numpy as np

from bbvi.target.target import Target

Array = np.ndarray
Draws = dict[str, Array]


@dataclass(frozen=True)
class SymmetryPolicy:
    """Which symmetries are looked for, and what counts as one.

    Attributes
    ----------
    labels, together, signed : int
        Labels per axis, latents that share an axis, and latents whose sign is changed, up to which symmetries are
        looked for: candidates grow with their combinations.
    latents, pairs : int
        Latents of one kind that are exchanged with each other, and of which two pairs are exchanged at once, up to
        which these are looked at.
    apart : float
        Sds from which a mode and its image are two.
    below, valley : float
        Nats below the mode up to which an image that is none of a symmetry is near another mode, and how deep the
        valley between must be.
    rounding, most : float
        Difference of the log joint, in nats and for each nat of its size, that rounding explains; and the most, since a
        mode's image that is none differs by some nats.
    """

    labels: int = 12
    together: int = 4
    signed: int = 8
    latents: int = 8
    pairs: int = 5
    apart: float = 3.0
    below: float = 6.0
    valley: float = 1.0
    rounding: float = 1e-9
    most: float = 0.1


POLICY = SymmetryPolicy()
# Parts of the way to an image at which a valley is looked for.
_BETWEEN = np.array([0.25, 0.5, 0.75])


class Image(NamedTuple):
    """Where a mode comes again: the symmetry in words, or nothing where there is none; its place (D,), nats below."""

    symmetry: str
    mean: Array
    below: float = 0.0


def images(
    target: Target, mean: Array, sd: Array, rng: np.random.Generator, *, near: bool = False
) -> list[Image]:
    """Where the mode at `mean` (D,) with sds (D,) comes again because the log joint has a symmetry, and what that is.

    A candidate that takes the mean more than 3 sds away is a symmetry if it leaves the log joint as it is at the mean
    and at two draws around it; the log-Jacobian of the transforms does not count. Costs nothing where no candidate
    moves the mean that far. With `near`, also images where the log joint is hardly lower, with a valley in between: of
    what nearly is a symmetry, as of a mixture with given shares.
    """
    points = mean + np.array([[0.0], [1.0], [1.0]]) * sd * rng.standard_normal((3, len(mean)))
    draws = {name: np.asarray(x) for name, x in target.constrain(points)[0].items()}
    found, moved = [], []
    for text, change in (*_exchanges(target), *_of_latents(target), *_signs(target)):
        try:
            image = target.unconstrain(change(draws))
        except ValueError:
            # Out of the support of a latent whose elements have bounds of their own.
            continue
        if np.isfinite(image).all() and np.max(np.abs(image[0] - mean) / sd) > POLICY.apart:
            found.append((text, image[0]))
            moved.append(image)
    if not found:
        return []
    before = _log_joint(target, points)
    after = np.full((len(found), len(points)), np.nan)
    after[:, 0] = _log_joint(target, np.array([image[0] for image in moved]))
    allowed = np.minimum(POLICY.rounding * (1 + np.abs(before)), POLICY.most)
    likely = np.flatnonzero(np.abs(after[:, 0] - before[0]) <= allowed[0])
    if len(likely):
        rest = _log_joint(target, np.concatenate([moved[i][1:] for i in likely]))
        after[likely, 1:] = rest.reshape(len(likely), -1)
    same = (np.abs(after - before) <= allowed).all(axis=1)
    symmetric = [Image(*one) for one, kept in zip(found, same, strict=True) if kept]
    if symmetric or not near:
        return symmetric
    below = before[0] - after[:, 0]
    high = np.flatnonzero(below <= POLICY.below)
    apart = [i for i in high if _valley(target, mean, found[i][1], before[0], below[i])]
    return [Image("", found[i][1], float(below[i])) for i in apart]


def _valley(target: Target, mean: Array, image: Array, top: float, below: float) -> bool:
    """Whether the log joint between a mode and a place that lies below it is lower than at both."""
    between = _log_joint(target, mean + _BETWEEN[:, None] * (image - mean))
    return not np.min(between) > min(top, top - below) - POLICY.valley


def _log_joint(target: Target, u: Array) -> Array:
    """The log joint at draws u (S, D), without the log-Jacobian; NaN where it is not finite."""
    values = target.values(u) - target.constrain(u)[1]
    return np.where(np.isfinite(values), values, np.nan)


def _exchanges(target: Target) -> Iterator[tuple[str, Callable[[Draws], Draws]]]:
    """Exchanges of neighbouring labels on axes of one size, of one latent or of several at once.

    A latent with several such axes, as a matrix (K, K), is exchanged along each of them or along all.
    """
    axes: dict[int, dict[str, list[int]]] = {}
    for name, latent in target.model.latents.items():
        for axis, size in enumerate(latent.shape[: len(latent.shape) - latent.transform.ordered_axes]):
            if 2 <= size <= POLICY.labels:
                axes.setdefault(size, {}).setdefault(name, []).append(axis)
    for size, carriers in axes.items():
        counts = range(1, len(carriers) + 1) if len(carriers) <= POLICY.together else (1, len(carriers))
        for group in (group for count in counts for group in combinations(carriers, count)):
            for along in product(*(_ways(carriers[name]) for name in group)):
                for label in range(size - 1):
                    order = np.arange(size)
                    order[[label, label + 1]] = label + 1, label
                    text = f"entries {label} and {label + 1} of {', '.join(group)} can be exchanged"
                    yield text, partial(_reordered, dict(zip(group, along, strict=True)), order)


def _of_latents(target: Target) -> Iterator[tuple[str, Callable[[Draws], Draws]]]:
    """Exchanges of two latents of one kind and shape, and of two such pairs at once, as of two exponentials."""
    kinds: dict[tuple[type, tuple[int, ...]], list[str]] = {}
    for name, latent in target.model.latents.items():
        kinds.setdefault((type(latent.transform), latent.shape), []).append(name)
    pairs = [pair for names in kinds.values() if len(names) <= POLICY.latents for pair in combinations(names, 2)]
    for pair in pairs:
        yield f"{pair[0]} and {pair[1]} can be exchanged", partial(_exchanged, [pair])
    if len(target.model.latents) <= POLICY.pairs:
        for one, other in combinations(pairs, 2):
            if not set(one) & set(other):
                text = f"{one[0]} and {one[1]}, with {other[0]} and {other[1]}, can be exchanged"
                yield text, partial(_exchanged, [one, other])


def _exchanged(pairs: Sequence[tuple[str, str]], draws: Draws) -> Draws:
    changed = dict(draws)
    for one, other in pairs:
        changed[one], changed[other] = draws[other], draws[one]
    return changed


def _ways(axes: Sequence[int]) -> list[Sequence[int]]:
    return [[axis] for axis in axes] + ([axes] if len(axes) > 1 else [])


def _reordered(axes: Mapping[str, Sequence[int]], order: Array, draws: Draws) -> Draws:
    changed = dict(draws)
    for name in axes:
        for axis in axes[name]:
            changed[name] = np.take(changed[name], order, axis=axis + 1)
    return changed


def _signs(target: Target) -> Iterator[tuple[str, Callable[[Draws], Draws]]]:
    """Changes of sign of one or two unbounded latents."""
    names = [name for name, latent in target.model.latents.items() if latent.transform.whole_line]
    if len(names) > POLICY.signed:
        return
    for group in (group for count in (1, 2) for group in combinations(names, count)):
        yield f"the sign of {' and '.join(group)} can be changed", partial(_mirrored, group)


def _mirrored(group: Sequence[str], draws: Draws) -> Draws:
    return {name: -x if name in group else x for name, x in draws.items()}
