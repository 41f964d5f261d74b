"""The bridge from NumPyro: any model without discrete latents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bbvi.bridges.batches import in_batches, needed
from bbvi.model.latents import Real
from bbvi.model.model import Model

_SUFFIX = "_unconstrained"


def from_numpyro(
    model: Callable[..., Any],
    *args: Any,
    coords: Mapping[str, Sequence[Any]] | None = None,
    dims: Mapping[str, Any] | None = None,
    unobserved: Mapping[str, Any] | None = None,
    batch: int = 64,
    **kwargs: Any,
) -> Model:
    """A NumPyro model with its data.

    Sites on the whole line are latents under their own names. Of every other site the latent is the unconstrained value
    that NumPyro samples, with ``_unconstrained`` after its name, and the site's own value a derived quantity, as
    deterministic sites are.

    Parameters
    ----------
    model : callable
        A NumPyro model.
    *args, **kwargs
        Its arguments.
    coords, dims : dict, optional
        Labels, and the dims of sites by name, as for ArviZ.
    unobserved : dict, optional
        Keyword arguments with which the model draws data instead of observing them, such as ``{"y": None}``: they bring
        predictions.
    batch : int
        Draws of one call of JAX, which compiles for each number of draws that it meets.

    Returns
    -------
    Model

    Raises
    ------
    ImportError
        Without NumPyro.
    ValueError
        Where JAX computes in float32, or the model has discrete latents.
    """
    numpyro, jax = needed("numpyro", "from_numpyro"), needed("jax", "from_numpyro")
    if not jax.config.jax_enable_x64:
        raise ValueError("from_numpyro: JAX computes in float32; say numpyro.enable_x64() first")
    util = numpyro.infer.util
    key = jax.random.PRNGKey(0)
    trace = numpyro.handlers.trace(numpyro.handlers.seed(model, key)).get_trace(*args, **kwargs)
    sites = {name: site for name, site in trace.items() if site["type"] == "sample" and not site["is_observed"]}
    discrete = [name for name, site in sites.items() if getattr(site["fn"].support, "is_discrete", False)]
    if discrete:
        raise ValueError(f"from_numpyro: expected continuous latents, got discrete {', '.join(discrete)}; sum them out")
    info = util.initialize_model(key, model, model_args=args, model_kwargs=kwargs, validate_grad=False)
    start = info.param_info.z
    whole = {name for name in start if sites[name]["fn"].support is numpyro.distributions.constraints.real}
    own = {name if name in whole else name + _SUFFIX: name for name in start}

    def of_site(z: Mapping[str, Any]) -> dict[str, Any]:
        return {site: z[name] for name, site in own.items()}

    def log_density(z: Mapping[str, Any]) -> Any:
        return -info.potential_fn(of_site(z))

    def constrained(z: Mapping[str, Any]) -> dict[str, Any]:
        return dict(info.postprocess_fn(of_site(z)))

    def pointwise(z: Mapping[str, Any]) -> dict[str, Any]:
        values = {site: x[None] for site, x in constrained(z).items() if site in sites}
        return {name: x[0] for name, x in util.log_likelihood(model, values, *args, **kwargs).items()}

    def log_prior(z: Mapping[str, Any]) -> Any:
        return log_density(z) - sum(x.sum() for x in pointwise(z).values())

    def compiled(function: Callable[..., Any]) -> Any:
        return in_batches(jax.jit(jax.vmap(function)), batch)

    named, reported = dict(dims or {}), compiled(constrained)
    functions: dict[str, Any] = {"gradient": compiled(jax.value_and_grad(log_density))}
    if any(site["type"] == "sample" and site["is_observed"] for site in trace.values()):
        functions |= {"log_prior": compiled(log_prior), "log_likelihood": compiled(pointwise)}
    else:
        functions["log_joint"] = compiled(log_density)
    if unobserved is not None:
        functions["predict"] = _predicted(numpyro, jax, model, reported, sites, args, {**kwargs, **unobserved}, trace)
    return Model(
        latents={name: _declared(np.shape(start[site]), named.get(site), site in whole) for name, site in own.items()},
        derived=lambda z: {name: x for name, x in reported(z).items() if name not in own},
        coords=coords,
        dims={name: of for name, of in named.items() if name not in own},
        vectorized=True,
        **functions,
    )


def _declared(shape: tuple[int, ...], dims: Any, whole: bool) -> Real:
    return Real(shape=shape, dims=dims) if whole and dims else Real(shape=shape)


def _predicted(
    numpyro: Any, jax: Any, model: Any, reported: Any, sites: Any, args: Any, kwargs: Any, trace: Any
) -> Callable[..., dict[str, Any]]:
    observed = [name for name, site in trace.items() if site["type"] == "sample" and site["is_observed"]]

    def predict(z: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        values = {name: x for name, x in reported(z).items() if name in sites}
        draw = numpyro.infer.Predictive(model, posterior_samples=values, return_sites=observed)
        drawn = draw(jax.random.PRNGKey(int(rng.integers(2**31))), *args, **kwargs)
        return {name: np.asarray(x) for name, x in drawn.items()}

    return predict
