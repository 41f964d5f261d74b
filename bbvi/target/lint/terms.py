"""Terms that count twice, or as something else than the logarithm of a density: slips that fit without a complaint."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bbvi.model.transforms import Bounded, Positive
from bbvi.stats.supports import SUPPORTS
from bbvi.target.lint.finding import Finding, listed
from bbvi.target.lint.look import SCALINGS, Look, Step, Value
from bbvi.target.lint.slopes import made_by

# How the last parameter of a density is meant to come in, and what would bring it there twice.
_LINKS = {"logits": ("expit", "a probability"), "log_rate": ("exp", "a rate")}
# What a declaration has done already.
_DECLARED = {"scale": ("exp", Positive, "Positive"), "p": ("expit", Bounded, "Interval")}
# Of the change of variables s = f(latent), what the Jacobian is not 1 of.
_BENDS = frozenset({"log", "exp", "sqrt", "square", "power", "reciprocal", "divide", "true_divide", "expit"})


# As far out as a float can be told from its end by exp.
_FAR = 700.0


def terms(look: Look) -> Iterator[Finding]:
    """Findings about single terms of the sum that the log joint is."""
    densities: list[Step] = []
    for slot in look.leaves():
        step = look.steps.get(slot)
        if step is None:
            continue
        if step.name in SUPPORTS:
            densities.append(step)
        else:
            yield from _no_logarithm(look, step)
    yield from _counted_twice(look, densities)
    for step in densities:
        yield from _linked_twice(look, step)
        yield from _declared_already(look, step)
        yield from _without_jacobian(look, step)
        yield from _loc_for_scale(look, step)


def _no_logarithm(look: Look, leaf: Step) -> Iterator[Finding]:
    """A density whose logarithm was undone, or a mean of many where their sum was meant."""
    step: Step | None = leaf
    while step is not None and step.name in ("exp", "prod", "mean"):
        inner = look.steps.get(-1 if step.arguments[0].slot is None else step.arguments[0].slot)
        if inner is not None and inner.name in SUPPORTS and not look.latent_free(_value(inner)):
            size = int(np.size(inner.value))
            if leaf.name == "mean" and size > 1:
                yield Finding(
                    "no-logarithm",
                    "caution",
                    f"the log joint adds the mean of {size} terms of {inner.name}, so that each observation counts "
                    f"1/{size}; np.sum() them",
                )
            elif leaf.name != "mean":
                yield Finding(
                    "no-logarithm",
                    "caution",
                    f"the log joint adds {leaf.name} of {inner.name}, a density and not its logarithm; add "
                    f"{inner.name} itself",
                )
        step = inner


def _counted_twice(look: Look, densities: list[Step]) -> Iterator[Finding]:
    """The same density of the same arguments, and a declared prior beside one that is written out."""
    times = _times_added(look)
    latents = {slot: name for name, slot in look.latents.items()}
    priors: set[str] = set()
    without = sorted(_without_prior(look))
    for step in densities:
        first = step.arguments[0]
        # Of plain numbers, such as outcomes in a loop, there may be several that are the same.
        if first.slot is not None and times.get(step.slot, 0) > 1:
            yield Finding(
                "counted-twice",
                "caution",
                f"{step.name} of {look.describe(first)} is added {times[step.slot]} times with the same arguments; add "
                "it once",
            )
        # Of the whole latent, and nothing of the data: a prior.
        own = latents.get(-1 if first.slot is None else first.slot)
        if own is None or not all(look.source(a) <= set(look.model.latents) for a in step.arguments):
            continue
        if own in priors and own in look.model.priors:
            yield Finding(
                "counted-twice",
                "caution",
                f"the latent {own!r} is declared with a prior, and {step.name} of it is added beside that; declare the "
                "prior, or write it, and not both",
            )
        elif own in priors and without:
            yield Finding(
                "counted-twice",
                "caution",
                f"the latent {own!r} has two priors, and {listed(without)} none; was one of them meant for another?",
            )
        priors.add(str(own))


def _without_prior(look: Look) -> set[str]:
    """Latents that are in no term without data."""
    latents = set(look.model.latents)
    terms = [look.origins[slot] for slot in look.leaves()]
    return latents - frozenset().union(*(names for names in terms if names <= latents))


def _times_added(look: Look) -> dict[int, int]:
    """How often each slot is added on its way to the log joint; recordings hold what is computed twice once."""
    times = {-1 if look.end is None else look.end: 1}
    for slot, step in reversed(look.steps.items()):
        if slot in times and look.adds(step) and step.name not in ("negative", "subtract", *SCALINGS):
            for parent in step.parents:
                times[parent] = times.get(parent, 0) + times[slot]
    return times


def _linked_twice(look: Look, step: Step) -> Iterator[Finding]:
    for ending, (link, natural) in _LINKS.items():
        if step.name.endswith(f"_{ending}") and (inner := made_by(look, step.arguments[-1], link)) is not None:
            yield Finding(
                "linked-twice",
                "caution",
                f"{step.name} takes {ending.replace('_', ' ')}, and got {link} of {look.describe(inner.arguments[0])}, "
                f"which is {natural} already; leave {link} out, or take {step.name.removesuffix(f'_{ending}')}",
            )


def _declared_already(look: Look, step: Step) -> Iterator[Finding]:
    """A link on a latent whose support has done what the link does."""
    latents = {slot: name for name, slot in look.latents.items()}
    for domain in SUPPORTS[step.name].parameters:
        if domain.name not in _DECLARED or domain.position >= len(step.arguments):
            continue
        link, transform, declared = _DECLARED[domain.name]
        inner = made_by(look, step.arguments[domain.position], link)
        name = None if inner is None else latents.get(-1 if (slot := inner.arguments[0].slot) is None else slot)
        if name is not None and isinstance(look.model.latents[name].transform, transform):
            yield Finding(
                "linked-twice",
                "caution",
                f"{step.name} got {link} of the latent {name!r} as {domain.name}, and {name!r} is declared {declared} "
                f"already; leave {link} out, or declare bbvi.Real()",
            )


def _without_jacobian(look: Look, step: Step) -> Iterator[Finding]:
    """A prior of a function of one latent, with no term that could be the derivative of that function."""
    first = step.arguments[0]
    inner = look.steps.get(-1 if first.slot is None else first.slot)
    if inner is None or inner.name not in _BENDS:
        return
    names = look.source(first)
    roots = [a for a in inner.arguments if a.slot is not None]
    if len(names) != 1 or len(roots) != 1 or roots[0].slot not in look.latents.values():
        return
    others = [slot for slot in look.leaves() if look.origins[slot] == names]
    if all((look.steps[slot].name in SUPPORTS if slot in look.steps else False) for slot in others):
        (name,) = names
        yield Finding(
            "no-jacobian",
            "note",
            f"{step.name} is of {inner.name} of the latent {name!r}: as a prior of {name!r} it lacks the logarithm of "
            f"the derivative of {inner.name} (lognorm and invgamma have theirs); as a measurement of it, it is right",
        )


def _loc_for_scale(look: Look, step: Step) -> Iterator[Finding]:
    """A rate or scale where SciPy has loc, which moves the end of the support and leaves the scale at 1."""
    place, *more = SUPPORTS[step.name].needs or (0,)
    ends = [domain.position for domain in SUPPORTS[step.name].parameters if domain.name == "scale"]
    if more or ends != [place + 1] or len(step.arguments) <= place + 1:
        return
    first, loc, scale = (step.arguments[i] for i in (0, place, place + 1))
    if scale.slot is not None or not np.all(np.asarray(scale.plain) == 1):
        return
    if not look.latent_free(loc) or np.any(np.asarray(loc.plain) > _lower_end(look, first)):
        yield Finding(
            "loc-for-scale",
            "caution",
            f"{step.name} of {look.describe(first)} got {look.describe(loc) if loc.slot is not None else loc.plain} as "
            "loc, where its support begins, and its scale is 1: as in SciPy, write scale=..., or scale=1/rate",
        )


def _lower_end(look: Look, value: Value) -> float:
    """Where the support of a latent begins; for all else nowhere that is known."""
    for name, slot in look.latents.items():
        if slot == value.slot:
            transform = look.model.latents[name].transform
            return float(np.min(transform.constrain(np.full((1, transform.size), -_FAR))[0]))
    return np.inf


def _value(step: Step) -> Value:
    return Value(step.value, step.slot)
