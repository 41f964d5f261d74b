"""Symmetries of the log joint: exchanges of labels and changes of sign, which make every mode one of several."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations, product

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
    apart : float
        Sds from which a mode and its image are two.
    rounding, most : float
        Difference of the log joint, in nats and for each nat of its size, that rounding explains; and the most, since a
        mode's image that is none differs by some nats.
    """

    labels: int = 12
    together: int = 4
    signed: int = 8
    apart: float = 3.0
    rounding: float = 1e-9
    most: float = 0.1


POLICY = SymmetryPolicy()


def images(target: Target, mean: Array, sd: Array, rng: np.random.Generator) -> list[tuple[str, Array]]:
    """Where the mode at `mean` (D,) with sds (D,) comes again because the log joint has a symmetry, and what that is.

    A candidate that takes the mean more than 3 sds away is a symmetry if it leaves the log joint as it is at the mean
    and at two draws around it; the log-Jacobian of the transforms does not count. Costs nothing where no candidate
    moves the mean that far.
    """
    points = mean + np.array([[0.0], [1.0], [1.0]]) * sd * rng.standard_normal((3, len(mean)))
    draws = {name: np.asarray(x) for name, x in target.constrain(points)[0].items()}
    found, moved = [], []
    for text, change in (*_exchanges(target), *_signs(target)):
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
    after = _log_joint(target, np.concatenate(moved)).reshape(-1, len(points))
    same = (np.abs(after - before) <= np.minimum(POLICY.rounding * (1 + np.abs(before)), POLICY.most)).all(axis=1)
    return [one for one, kept in zip(found, same, strict=True) if kept]


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
