"""A linter of models: what an author may not have meant, found before a fit by a few evaluations."""

from __future__ import annotations

import numpy as np

from bbvi.target.lint import influence, priors, rows, shapes, slopes, supports, terms
from bbvi.target.lint.directions import unidentified
from bbvi.target.lint.finding import POLICY, Finding, LintPolicy
from bbvi.target.lint.look import look
from bbvi.target.lint.slopes import first_nan
from bbvi.target.target import Target

__all__ = ["Finding", "LintPolicy", "explain", "first_nan", "lint", "repeated_terms", "unidentified"]

Array = np.ndarray


def lint(
    target: Target, point: Array, rng: np.random.Generator, policy: LintPolicy = POLICY, *, fitted: bool = False
) -> tuple[Finding, ...]:
    """What the author of a model may not have meant.

    It takes two looks at the log joint, each an evaluation or two, and further ones only where there is a suspicion.

    The codes: ``broadcast`` and ``counted-often`` (shapes that do not go together), ``forgotten-sum``,
    ``counted-twice``, ``linked-twice``, ``loc-for-scale``, ``no-logarithm``, ``no-jacobian``, ``rows-left-out``,
    ``index-from-end``, ``integer-overflow``, ``outside-support``, ``end-of-support``, ``outside-domain`` and
    ``data-not-finite`` (where the log joint is not finite), ``narrower-prior``, ``nan-gradient``, ``saturates``,
    ``flat-start``, ``far-from-prior``, ``unused-latent``, ``prior-only`` and ``prior-only-element``.

    Parameters
    ----------
    target : Target
        Its count of evaluations grows.
    point : ndarray, shape (D,)
        Where a fit would begin, unconstrained.
    rng : Generator
    policy : LintPolicy
    fitted : bool
        Whether the point is where a fit has ended, which is what priors are compared with.

    Returns
    -------
    tuple of Finding
        Cautions first.
    """
    point = np.asarray(point, dtype=float)
    first = look(target, point)
    found = list(priors.narrower(target.model))
    if not np.isfinite(first.value):
        return (*found, *supports.outside(first, latents_too=True))
    found += [*priors.far_off(first, policy)] if fitted else []
    found += [*shapes.shapes(first), *terms.terms(first), *rows.left_out(first, policy)]
    looks = [first] if first.steps else []
    if 0 < len(first.steps) <= policy.most_steps:
        looks.append(look(target, point + rng.uniform(-1.0, 1.0, target.dim), data_too=bool(first.data)))
    found += slopes.saturation(looks, policy)
    found += [finding for seen in looks[1:] if not np.isfinite(seen.value) for finding in supports.at_ends(seen, first)]
    # A likelihood that saturates may be minus infinity at the second.
    looks = [seen for seen in looks if seen.steps and np.isfinite(seen.value)]
    if looks:
        flat = np.ones(target.dim, dtype=bool)
        broken = fetched = None
        for seen in looks:
            adjoints, step = slopes.broken_step(seen, policy)
            broken = broken or step
            fetched = fetched or next(rows.from_the_end(seen, adjoints), None)
            flat &= _without_slope(target, seen.latents, adjoints) if adjoints and step is None else False
        found += slopes.not_numbers(looks[0], broken)
        found += [] if fetched is None else [fetched]
        found += slopes.flat_starts(target, point, np.flatnonzero(flat), policy)
        found += influence.untouched(looks, target, point, rng)
    return tuple(sorted(found, key=lambda finding: finding.severity))


def explain(target: Target, u: Array) -> str:
    """Why the log joint is not finite at draw `u` (D,), as far as calls of ``bbvi.stats`` show; "" if they do not."""
    seen = look(target, np.asarray(u, dtype=float))
    if np.isfinite(seen.value):
        return ""
    return "; ".join(finding.message for finding in supports.outside(seen, latents_too=True))


def repeated_terms(target: Target, u: Array) -> str:
    """Whether a scalar is added to each of the terms that the log joint returns, looked at draw `u` (D,); or ""."""
    return shapes.repeated_terms(look(target, u, data_too=False))


def _without_slope(target: Target, slots: dict[str, int], adjoints: dict[int, object]) -> Array:
    """Which unconstrained coordinates belong to elements without a slope, (D,)."""
    flat = np.zeros(target.dim, dtype=bool)
    for name, latent in target.model.latents.items():
        zero = np.ravel(np.broadcast_to(np.asarray(adjoints.get(slots[name], 0.0)) == 0, latent.shape))
        if latent.size == zero.size:
            flat[target.model.slices[name]] = zero
    return flat
