"""Draws of data and of the prior: what a model's `predict` and `sample_prior` give, stacked over draws."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bbvi.model.model import Model

Array = np.ndarray


def predict(model: Model, draws: Mapping[str, Array], rng: np.random.Generator) -> dict[str, Array]:
    """Predicted data at draws of the latents.

    Parameters
    ----------
    model : Model
        With ``predict``. For predictions at new points: ``model.with_data(...)``.
    draws : dict of ndarray, shape (S, *shape)
        By latent, constrained.
    rng : Generator

    Returns
    -------
    dict of ndarray, shape (S, ...)

    Raises
    ------
    ValueError
        Without ``predict``, or where its results differ in shape from draw to draw.
    """
    _require(model, "predict")
    count = len(next(iter(draws.values())))
    if not model.vectorized:
        return _stacked("predict", [model.named("predict", one(draws, s), rng) for s in range(count)])
    predicted = {name: np.asarray(x) for name, x in model.named("predict", draws, rng).items()}
    for name, x in predicted.items():
        if x.shape[:1] != (count,):
            raise ValueError(
                f"predict[{name!r}]: expected one row per draw with vectorized=True, {count} rows, "
                f"got shape {x.shape}"
            )
    return predicted


def sample_prior(model: Model, n: int, rng: np.random.Generator) -> dict[str, Array]:
    """`n` prior draws of the latents, each an array (n, *shape).

    Raises
    ------
    ValueError
        Without ``sample_prior``, or where it leaves out a latent or gives one of another shape.
    """
    _require(model, "sample_prior")
    draws = _stacked("sample_prior", [model.named("sample_prior", None, rng) for _ in range(n)])
    for name, latent in model.latents.items():
        if name not in draws:
            raise ValueError(f"sample_prior: expected a value for every latent, got none for {name!r}")
        if draws[name].shape[1:] != latent.shape:
            raise ValueError(
                f"sample_prior[{name!r}]: expected the latent's shape {latent.shape}, "
                f"got shape {draws[name].shape[1:]}"
            )
    return {name: draws[name].astype(float) for name in model.latents}


def one(draws: Mapping[str, Array], s: int) -> dict[str, Array]:
    """Draw `s`, as arrays of its own."""
    return {name: np.array(x[s]) for name, x in draws.items()}


def _require(model: Model, name: str) -> None:
    if name not in model.functions:
        raise ValueError(f"{name}: this model has none; give {name}= to bbvi.Model")


def _stacked(name: str, results: list[dict[str, Any]]) -> dict[str, Array]:
    try:
        return {key: np.stack([np.asarray(result[key]) for result in results]) for key in results[0]}
    except (ValueError, KeyError) as error:
        raise ValueError(f"{name}: expected the same names and shapes at every draw ({error})") from error
