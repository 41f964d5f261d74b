"""Priors that are smaller than what they are priors of: than the support of a latent, or than where the data put it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from bbvi.model.model import Model
from bbvi.target.lint.finding import POLICY, Finding, LintPolicy
from bbvi.target.lint.look import Look

# Draws that show where a prior lies, and how far beyond them it is asked for, in their widths.
_DRAWS, _FAR = 64, 100.0


def narrower(model: Model) -> Iterator[Finding]:
    """Latents on the whole line whose declared prior is zero on a part of it."""
    for name, prior in _scalar(model.priors).items():
        if not model.latents[name].transform.whole_line:
            continue
        drawn = np.asarray(prior.rvs(size=_DRAWS, random_state=np.random.default_rng(0)), dtype=float)
        reach = _FAR * max(float(np.ptp(drawn)), 1e-300)
        with np.errstate(all="ignore"):
            low, high = (bool(np.isneginf(prior.logpdf(x))) for x in (drawn.min() - reach, drawn.max() + reach))
        if low or high:
            declared = "Interval" if low and high else "Positive"
            where = "on both sides" if low and high else "below" if low else "above"
            yield Finding(
                "narrower-prior",
                "caution",
                f"latent {name!r}: its prior {prior} is zero {where} of some value, and Real goes on there, which no "
                f"Gaussian fits; declare bbvi.{declared}(..., prior=...)",
            )


def far_off(look: Look, policy: LintPolicy = POLICY) -> Iterator[Finding]:
    """Latents at an optimum that lie many sds from the middle of their own normal priors."""
    latents = {slot: name for name, slot in look.latents.items()}
    for slot in look.leaves():
        step = look.steps.get(slot)
        if step is None or step.name not in ("norm.logpdf", "halfnorm.logpdf"):
            continue
        first, loc, scale = step.arguments
        name = latents.get(-1 if first.slot is None else first.slot)
        if name is None or look.source(loc) or look.source(scale):
            continue
        x, middle, sd = np.broadcast_arrays(*(np.asarray(a.plain, dtype=float) for a in step.arguments))
        far = np.abs(x - middle) / sd
        if np.max(far, initial=0.0) > policy.far:
            worst = np.unravel_index(np.argmax(far), far.shape)
            yield Finding(
                "far-from-prior",
                "note",
                f"the latent {name!r} is at {x[worst]:.4g}, {far[worst]:.3g} sds from the middle of its prior, "
                f"{step.name} with {middle[worst]:.4g} and {sd[worst]:.4g}: prior and data pull it apart; if the prior "
                "is not believed that firmly, widen it (the scale is an sd, neither a variance nor a precision)",
            )


def _scalar(priors: Mapping[str, Any]) -> dict[str, Any]:
    """Priors of one number, with scalar parameters, that can be drawn from and asked for a density."""
    chosen = {}
    for name, prior in priors.items():
        parameters = [*getattr(prior, "parameters", ()), *getattr(prior, "named", {}).values()]
        own = getattr(getattr(prior, "density", None), "axes", 1) == 0
        if own and getattr(prior, "drawable", False) and all(np.ndim(x) == 0 for x in parameters):
            chosen[name] = prior
    return chosen
