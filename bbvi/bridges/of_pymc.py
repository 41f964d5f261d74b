"""The bridge from PyMC: any model without discrete latents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bbvi.bridges.batches import needed
from bbvi.model.latents import Real
from bbvi.model.model import Model


def from_pymc(model: Any) -> Model:
    """A PyMC model, its densities compiled by PyTensor for all draws of a call at once.

    PyMC keeps latents on the unconstrained scale, under names such as ``tau_log__``, with the log-Jacobians in its
    densities, so that they are `Real` latents here. What the model calls ``tau`` is a derived quantity, as its
    deterministics are, with PyMC's dims and coords. Predictions are PyMC's own:
    ``pm.sample_posterior_predictive(fit.to_arviz(), model=model)``.

    Parameters
    ----------
    model : pymc.Model

    Returns
    -------
    Model

    Raises
    ------
    ImportError
        Without PyMC.
    ValueError
        If the model has discrete latents.
    """
    needed("pymc", "from_pymc")
    pt = needed("pytensor.tensor", "from_pymc")
    replace = needed("pytensor.graph.replace", "from_pymc")
    pytensor = needed("pytensor", "from_pymc")
    if model.discrete_value_vars:
        names = ", ".join(variable.name for variable in model.discrete_value_vars)
        raise ValueError(f"from_pymc: expected continuous latents, got discrete {names}; marginalize them out")
    start, dims, observed = model.initial_point(), model.named_vars_to_dims, model.observed_RVs
    values = [variable for variable in model.value_vars if variable.name in start]
    draws = [pt.tensor(f"{v.name}_draws", dtype=v.dtype, shape=(None, *v.type.shape)) for v in values]

    def batched(outputs: list[Any]) -> list[Any]:
        return list(replace.vectorize_graph(outputs, replace=dict(zip(values, draws, strict=True))))

    def function(outputs: list[Any]) -> Any:
        made = pytensor.function(draws, outputs, on_unused_input="ignore")
        return lambda z: made(*[np.asarray(z[v.name], dtype=v.dtype) for v in values])

    def compiled(outputs: list[Any]) -> Any:
        of_all = function(batched(outputs))
        first = values[0].name

        def filled(z: Mapping[str, Any]) -> list[Any]:
            # What does not depend on the latents comes without an axis of draws.
            count = len(z[first])
            return [
                x if x.ndim > one.ndim else np.broadcast_to(x, (count, *x.shape))
                for x, one in zip(of_all(z), outputs, strict=True)
            ]

        return filled

    (total,) = batched([model.logp()])
    joint = function([total, *pt.grad(total.sum(), draws)])

    def gradient(z: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        value, *slopes = joint(z)
        return value, {v.name: slope for v, slope in zip(values, slopes, strict=True)}

    functions: dict[str, Any] = {"gradient": gradient}
    if observed:
        pointwise, log_prior = compiled(model.logp(observed, sum=False)), compiled([model.logp(model.free_RVs)])
        functions["log_prior"] = lambda z: log_prior(z)[0]
        functions["log_likelihood"] = lambda z: dict(zip([v.name for v in observed], pointwise(z), strict=True))
    others = [v for v in model.unobserved_value_vars if v.name not in start]
    if others:
        reported = compiled(others)
        functions["derived"] = lambda z: dict(zip([v.name for v in others], reported(z), strict=True))
    return Model(
        latents={v.name: _declared(v.name, np.shape(start[v.name]), dims) for v in values},
        coords={name: list(labels) for name, labels in model.coords.items() if labels is not None},
        dims={name: tuple(axes) for name, axes in dims.items() if name not in start and name in _named(model)},
        vectorized=True,
        **functions,
    )


def _declared(name: str, shape: tuple[int, ...], dims: Mapping[str, Any]) -> Real:
    return Real(shape=shape, dims=tuple(dims[name])) if dims.get(name) else Real(shape=shape)


def _named(model: Any) -> set[str]:
    """Quantities all of whose dims have labels."""
    labelled = {name for name, labels in model.coords.items() if labels is not None}
    return {name for name, axes in model.named_vars_to_dims.items() if set(axes) <= labelled}
