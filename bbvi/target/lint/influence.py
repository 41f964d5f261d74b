"""Latents that no data reach: their posterior is their prior."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from bbvi.stats.supports import SUPPORTS
from bbvi.target.lint.finding import POLICY, Finding, LintPolicy, listed
from bbvi.target.lint.look import ELSEWHERE, UNTRACEABLE, Look
from bbvi.target.target import Target

Array = np.ndarray


def untouched(looks: Sequence[Look], target: Target, point: Array, rng: np.random.Generator) -> Iterator[Finding]:
    """Latents that are in no term of the log joint, or that share no term, not even by way of others, with any data."""
    seen = looks[0]
    if seen.end is None:
        return
    leaves = [seen.origins[slot] for slot in seen.leaves()]
    used = frozenset().union(*leaves)
    absent = [name for name in seen.model.latents if name not in used]
    if absent:
        yield Finding(
            "unused-latent",
            "caution",
            f"the latents {listed(absent)} are in no term of the log joint, so that their posterior is flat over their "
            "support; use them, or remove them from latents",
        )
    names = set(seen.model.latents) - set(absent)
    # Without arrays that could be data there is nothing to tell data by.
    if not (set(seen.data) & used or any(_may_be_data(seen, slot) for slot in seen.leaves())):
        return
    reached = _reached(leaves, names)
    alone = [name for name in seen.model.latents if name in names - reached]
    if alone:
        yield Finding(
            "prior-only",
            "caution",
            f"no term of the log joint joins the latents {listed(alone)} with data, so that their posterior is their "
            "prior; use them in the likelihood, or remove them from latents",
        )
    elements = _elements(looks, target, point, rng, reached)
    if elements:
        yield Finding(
            "prior-only-element",
            "note",
            f"no data reach {listed(elements)}, so that the posterior is the prior there (a group without "
            "observations, an index that starts at 1, a column of zeros, a quotient of integers)",
        )


def _may_be_data(seen: Look, slot: int) -> bool:
    """Whether a term has arrays of the surroundings in it that are more than parameters of a latent's density."""
    step = seen.steps.get(slot)
    if step is not None and step.name in SUPPORTS and step.arguments[0].slot is not None:
        return ELSEWHERE in seen.origins[slot] and not seen.source(step.arguments[0]) <= set(seen.model.latents)
    return ELSEWHERE in seen.origins[slot]


def _reached(leaves: Sequence[frozenset[str]], latents: set[str]) -> set[str]:
    """Latents that are joined to data by terms, or by terms with latents that are."""
    reached: set[str] = set()
    while True:
        more: set[str] = set()
        for names in leaves:
            if not names <= latents or names & reached:
                more |= names & latents
        if more <= reached:
            return reached
        reached |= more


def _elements(
    looks: Sequence[Look],
    target: Target,
    point: Array,
    rng: np.random.Generator,
    reached: set[str],
    policy: LintPolicy = POLICY,
) -> list[str]:
    """Labels of single elements, of latents that data reach, that no data reach."""
    model = target.model
    if target.near is not model:
        # Of some of the rows: others may reach what these do not.
        return []
    suspects = None
    for seen in looks:
        if seen.end is None or len(seen.steps) > policy.most_steps:
            return []
        of_data = [slot for slot in seen.leaves() if not seen.origins[slot] <= set(model.latents)]
        seeds = {slot: rng.uniform(0.5, 1.5, _shape(seen, slot)) for slot in of_data}
        try:
            adjoints, broken = seen.pulled_back(seeds)
        except UNTRACEABLE:
            return []
        if broken is not None:
            return []
        zero = {name: np.asarray(adjoints.get(seen.latents[name], 0.0)) == 0 for name in reached}
        zero = {name: np.broadcast_to(mask, model.latents[name].shape).ravel() for name, mask in zero.items()}
        suspects = zero if suspects is None else {name: suspects[name] & mask for name, mask in zero.items()}
    same = [
        (name, i)
        for name, mask in (suspects or {}).items()
        # Elements and unconstrained coordinates are the same in number where each belongs to one.
        if model.latents[name].size == mask.size
        for i in np.flatnonzero(mask)
    ]
    if not same or not target.has_gradient:
        return []
    coordinates = np.array([model.slices[name].start + i for name, i in same])
    directions = rng.uniform(0.5, 1.5, (2, target.dim)) * rng.choice([-1.0, 1.0], (2, target.dim))
    # Beside the point: where all effects are equal, say, what couples them may vanish.
    beside = point + rng.uniform(-0.5, 0.5, target.dim)
    product = target.linearize(np.stack([beside, beside])).hessian_product(directions)
    with np.errstate(all="ignore"):
        ratio = product[:, coordinates] / directions[:, coordinates]
        size = np.max(np.abs(product), axis=1, keepdims=True).max()
        coupled = np.abs(ratio[0] - ratio[1]) > policy.coupled * (np.abs(ratio[0]) + np.abs(ratio[1]) + 1e-6 * size)
    labels = model.unconstrained_labels
    return [labels[i] for i in np.sort(coordinates[~coupled])]


def _shape(seen: Look, slot: int) -> tuple[int, ...]:
    if slot in seen.steps:
        return np.shape(seen.steps[slot].value)
    name = next(name for name, at in {**seen.latents, **seen.data}.items() if at == slot)
    return seen.model.latents[name].shape if name in seen.latents else np.shape(seen.model.data[name])
