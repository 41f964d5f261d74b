"""The bridge from JAX: a log joint in `jax.numpy` of one draw."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bbvi.bridges.batches import in_batches, needed
from bbvi.model.model import Model


def from_jax(
    log_joint: Callable[[dict[str, Any]], Any],
    latents: Mapping[str, Any],
    *,
    log_likelihood: Callable[[dict[str, Any]], Any] | None = None,
    derived: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    coords: Mapping[str, Sequence[Any]] | None = None,
    dims: Mapping[str, Any] | None = None,
    batch: int = 64,
) -> Model:
    """A model whose log joint is written in JAX, differentiated and compiled there, for all draws of a call at once.

    Parameters
    ----------
    log_joint : callable
        Of one draw, a dict of arrays by latent on its constrained scale; returns a scalar. bbvi adds the log-Jacobians.
    latents : dict
        Declarations as for `bbvi.Model`.
    log_likelihood : callable, optional
        Pointwise log likelihood of one draw, a dict of arrays by observed variable; it brings leave-one-out. The log
        prior is what is left of the log joint.
    derived : callable, optional
        Of one draw, a dict of quantities to report.
    coords, dims
        As for `bbvi.Model`.
    batch : int
        Draws of one call of JAX, which compiles for each number of draws that it meets.

    Returns
    -------
    Model

    Raises
    ------
    ImportError
        Without JAX.
    ValueError
        Where JAX computes in float32.
    """
    jax = needed("jax", "from_jax")
    if not jax.config.jax_enable_x64:
        raise ValueError("from_jax: JAX computes in float32; say jax.config.update('jax_enable_x64', True) first")

    def compiled(function: Callable[..., Any]) -> Any:
        return in_batches(jax.jit(jax.vmap(function)), batch)

    functions: dict[str, Any] = {"gradient": compiled(jax.value_and_grad(log_joint))}
    if log_likelihood is None:
        functions["log_joint"] = compiled(log_joint)
    else:
        pointwise = log_likelihood

        def log_prior(z: dict[str, Any]) -> Any:
            return log_joint(z) - sum(part.sum() for part in pointwise(z).values())

        functions |= {"log_prior": compiled(log_prior), "log_likelihood": compiled(pointwise)}
    if derived is not None:
        functions["derived"] = compiled(derived)
    return Model(latents=latents, coords=coords, dims=dims, vectorized=True, **functions)
