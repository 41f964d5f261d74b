"""Priors that are declared with their latents: what they add to a log joint, and draws from them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import autograd.numpy as anp
import numpy as np

from bbvi.model.latents import Latent, ResolvedLatent

Function = Callable[..., Any]
# As far out as anything goes on the unconstrained scale without an overflow.
_FAR = 700.0
_TRIES = 1000


def declared(latents: Any) -> dict[str, Any]:
    """Priors by latent, of those that have one."""
    if not isinstance(latents, Mapping):
        return {}
    return {name: spec.prior for name, spec in latents.items() if isinstance(spec, Latent) and spec.prior is not None}


def with_priors(
    functions: Mapping[str, Function],
    priors: Mapping[str, Any],
    latents: Mapping[str, ResolvedLatent],
    vectorized: bool,
) -> dict[str, Function]:
    """A model's functions with the priors in them: in the log prior, or beside the likelihood that the log joint is."""
    made = dict(functions)
    if "log_likelihood" in made:
        made["log_prior"] = Prior(priors, made.get("log_prior"), vectorized)
    elif "log_joint" in made:
        made["log_joint"] = Prior(priors, made["log_joint"], vectorized)
    else:
        raise ValueError("prior=: goes with log_joint or log_likelihood; a gradient= has its priors already")
    if "sample_prior" not in made and set(priors) == set(latents) and all(map(_drawable, priors.values())):
        made["sample_prior"] = PriorDraw(priors, latents)
    return made


class Prior:
    """Terms of priors beside those of a function, which may be none: called like that, with the same signature."""

    def __init__(self, priors: Mapping[str, Any], function: Function | None, vectorized: bool) -> None:
        self.priors, self.function, self.vectorized = dict(priors), function, vectorized
        if function is not None:
            functools.update_wrapper(self, function)
        else:
            # It asks for no data.
            self.__signature__ = inspect.Signature([inspect.Parameter("z", inspect.Parameter.POSITIONAL_ONLY)])

    def __call__(self, z: Any, **data: Any) -> Any:
        lead = 1 if self.vectorized else 0
        parts = [] if self.function is None else [self.function(z, **data)]
        parts += [prior.log_density(z[name]) for name, prior in self.priors.items()]
        flat = [anp.reshape(part, (*anp.shape(part)[:lead], -1)) for part in parts]
        return anp.concatenate(flat, axis=-1)


class PriorDraw:
    """One draw of all latents from their priors, cut to their supports."""

    def __init__(self, priors: Mapping[str, Any], latents: Mapping[str, ResolvedLatent]) -> None:
        self.priors = dict(priors)
        self.shapes = {name: latents[name].shape for name in priors}
        self.ends = {name: _ends(latents[name]) for name in priors}
        self.increasing = {name: latents[name].transform.increasing for name in priors}

    def __call__(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {name: self._draw(name, rng) for name in self.priors}

    def _draw(self, name: str, rng: np.random.Generator) -> np.ndarray:
        shape, (low, high) = self.shapes[name], self.ends[name]
        prior = self.priors[name]
        # Of densities of vectors the last axes are their own.
        size = shape[: len(shape) - getattr(getattr(prior, "density", None), "axes", 0)]

        def draw() -> np.ndarray:
            x = np.asarray(prior.rvs(size=size, random_state=rng), dtype=float).reshape(shape)
            # Independent and alike, cut to increasing vectors, they are order statistics.
            return np.sort(x, axis=-1) if self.increasing[name] and _alike(prior) else x

        drawn = draw()
        for _ in range(_TRIES):
            outside = (drawn <= low) | (drawn >= high)
            if self.increasing[name]:
                outside = outside | (np.diff(drawn, axis=-1) <= 0).any(axis=-1, keepdims=True)
            if not outside.any():
                return drawn
            drawn = np.where(outside, draw(), drawn)
        raise ValueError(f"sample_prior: {prior} of latent {name!r} is hardly ever inside the latent's support")


def _alike(prior: Any) -> bool:
    """Whether the elements of a draw are independent and have one distribution along the last axis."""
    parameters = [*getattr(prior, "parameters", ()), *getattr(prior, "named", {}).values()]
    known = getattr(getattr(prior, "density", None), "axes", 1) == 0
    return known and all(np.ndim(x) == 0 or np.shape(x)[-1] == 1 for x in parameters)


def _drawable(prior: Any) -> bool:
    return bool(getattr(prior, "drawable", hasattr(prior, "rvs")))


def _ends(latent: ResolvedLatent) -> tuple[Any, Any]:
    """Ends of the support of each element; those of supports of vectors are not looked at."""
    if not latent.transform.elementwise or latent.transform.whole_line:
        return -np.inf, np.inf
    with np.errstate(all="ignore"):
        low, high = (latent.transform.constrain(np.full(latent.size, far))[0] for far in (-_FAR, _FAR))
    return np.where(np.abs(low) < 1e200, low, -np.inf), np.where(np.abs(high) < 1e200, high, np.inf)
