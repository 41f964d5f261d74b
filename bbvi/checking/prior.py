"""What a model says before it has seen data: draws of its prior, and of the data that they predict."""

from __future__ import annotations

from typing import Any

import numpy as np

from bbvi.model import predictive
from bbvi.model.model import Model


def prior_predictive(model: Model, draws: int = 1000, seed: int | None = None) -> dict[str, Any]:
    """Draws of the prior and of the data that it predicts; no fit is needed.

    Parameters
    ----------
    model : Model
        With ``sample_prior``, or with priors that are declared with all its latents; and with ``predict``.
    draws : int
    seed : int, optional

    Returns
    -------
    dict of ndarray, shape (draws, ...)
        By name: the latents, and what ``predict`` gives at them.

    Raises
    ------
    ValueError
        If the model has no ``sample_prior`` or no ``predict``.
    """
    if not isinstance(model, Model):
        raise TypeError(f"model: expected a bbvi.Model, got {type(model).__name__}")
    if not isinstance(draws, (int, np.integer)) or isinstance(draws, bool) or draws < 1:
        raise ValueError(f"draws: expected an integer of 1 or more, got {draws!r}")
    rng = np.random.default_rng(seed)
    latents = predictive.sample_prior(model, int(draws), rng)
    return {**latents, **predictive.predict(model, latents, rng)}
