"""Values outside the support of their density, or at its ends, by the name of the data and the first such value."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from bbvi import stats
from bbvi.stats.supports import SUPPORTS, Support
from bbvi.target.lint.finding import Finding
from bbvi.target.lint.look import Call, Look, Value


def outside(look: Look, latents_too: bool = False) -> Iterator[Finding]:
    """Data outside the support of their density, and parameters outside their domain.

    Parameters
    ----------
    look : Look
    latents_too : bool
        Whether values that depend on latents are faults as well: where the log joint is not finite, but not where the
        draw was only an unlucky one.
    """
    seen = set()
    for call in look.calls:
        support = SUPPORTS.get(call.name)
        if support is None:
            continue
        finite = np.isfinite(np.asarray(call.value, dtype=float)).all()
        for finding in () if finite else _of_call(look, call, support, latents_too):
            if finding.message not in seen:
                seen.add(finding.message)
                yield finding


def at_ends(look: Look, before: Look) -> Iterator[Finding]:
    """Data at an end of their support, where the density has no logarithm at this draw, and had one at that before.

    A call that had none before, where the log joint was finite, is of values that the log joint leaves out.
    """
    for call, same in zip(look.calls, before.calls, strict=False):
        support = SUPPORTS.get(call.name)
        if support is not None and np.isfinite(np.asarray(same.value, dtype=float)).all():
            yield from _at_ends(look, call, support)


def _at_ends(look: Look, call: Call, support: Support) -> Iterator[Finding]:
    if ".logpdf" not in call.name or not look.latent_free(call.arguments[0]):
        return
    x, *parameters = (np.asarray(argument.plain, dtype=float) for argument in call.arguments)
    inside = support.inside(x, *parameters)
    beside = [support.inside(np.nextafter(x, side), *parameters) for side in (-np.inf, np.inf)]
    bad = inside & ~(beside[0] & beside[1]) & ~np.isfinite(np.asarray(call.value, dtype=float))
    if np.any(bad):
        words = "data within the ends of its support, where it is 0 or infinite as the parameters are"
        way_out = "give them a part of their own (stats.hurdle, or np.where), or say how far off the end they may be"
        yield _finding(look, call, call.arguments[0], bad, "end-of-support", words, way_out)


def _of_call(look: Look, call: Call, support: Support, latents_too: bool) -> Iterator[Finding]:
    arguments = [np.asarray(a.plain) for a in call.arguments]
    first = call.arguments[0]
    with np.errstate(all="ignore"):
        if latents_too or all(look.latent_free(call.arguments[i]) for i in (0, *support.needs)):
            missing = np.isnan(arguments[0]) if arguments[0].dtype.kind == "f" else np.zeros(1, dtype=bool)
            if missing.any():
                # Data that are not finite and masked are right; here the mass or density of one is asked for.
                index = ", ".join(map(str, np.argwhere(missing)[0]))
                at = f" at [{index}]" if index else ""
                yield Finding(
                    "data-not-finite",
                    "caution",
                    f"{call.name}: not all values of {look.describe(first)} are finite: nan{at}; leave missing "
                    "ones out",
                )
            else:
                # Where a parameter is no number, no value is inside, and none to blame.
                known = np.all([np.all(~np.isnan(np.asarray(one, dtype=float))) for one in arguments[1:]])
                bad = ~support.inside(*arguments) & known
                yield from _wrong(look, call, first, bad, "outside-support", support.words)
                yield from _at_ends(look, call, support)
        for domain in support.parameters:
            if domain.position < len(arguments):
                parameter = call.arguments[domain.position]
                if latents_too or look.latent_free(parameter):
                    bad = ~np.asarray(domain.test(arguments[domain.position]))
                    words = f"{domain.name} {domain.words}"
                    yield from _wrong(look, call, parameter, bad, "outside-domain", words)


def _wrong(look: Look, call: Call, value: Value, bad: Any, code: str, words: str) -> Iterator[Finding]:
    if np.any(bad):
        yield _finding(look, call, value, np.asarray(bad), code, words, _way_out(look, call, value))


def _finding(look: Look, call: Call, value: Value, bad: Any, code: str, words: str, way_out: str) -> Finding:
    where = look.describe(value)
    plain = np.asarray(value.plain)
    place, shown = "", plain
    if bad.ndim and bad.shape == plain.shape[: bad.ndim]:
        index = tuple(int(i) for i in np.argwhere(bad)[0])
        place, shown = f"[{', '.join(map(str, index))}]", plain[index]
    elif bad.ndim and plain.ndim:
        flat = np.flatnonzero(np.broadcast_to(bad, np.broadcast_shapes(bad.shape, plain.shape)))
        shown = np.ravel(np.broadcast_to(plain, np.broadcast_shapes(bad.shape, plain.shape)))[flat[0]]
    text = np.array2string(np.asarray(shown), precision=6, threshold=8)
    few = f", and {np.count_nonzero(bad)} such values in all" if np.count_nonzero(bad) > 1 else ""
    return Finding(
        code,
        "caution",
        f"{call.name}: expected {words}, but {where} {'are' if 'data' in where else 'is'} {text}"
        f"{f' at {place}' if place else ''}{few}; {way_out}",
    )


def _way_out(look: Look, call: Call, value: Value) -> str:
    depends = not look.latent_free(value)
    if depends and hasattr(getattr(stats, call.name.partition(".")[0], None), "logpmf_logits"):
        return f"where these are logits, take {call.name.partition('.')[0]}.logpmf_logits"
    if depends:
        return "declare the latents with a support that fits (Positive, Interval), or write a transform such as np.exp"
    if value is not call.arguments[0]:
        return "check the parameter's scale and the order of the arguments"
    if call.name.endswith("logpmf") or "logpmf_" in call.name:
        return "check the data, or take a density that has them (norm, gamma, ...)"
    return "check the data and their units, or take a density that has them"
