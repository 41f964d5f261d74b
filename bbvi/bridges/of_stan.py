"""The bridge from Stan, by BridgeStan: any program."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bbvi.bridges.batches import needed
from bbvi.model.model import Model

Array = np.ndarray


def from_stan(program: Any, data: Mapping[str, Any] | str | Path | None = None, *, log_lik: str = "log_lik") -> Model:
    """A Stan program with its data.

    BridgeStan compiles the program; its log density and gradient are those on Stan's unconstrained scale, log-Jacobians
    included, so that the latents are a flat array. Parameters and transformed parameters are reported under their own
    names, and generated quantities are what `predict` draws.

    Parameters
    ----------
    program : path or bridgestan.StanModel
    data : dict or path, optional
        As for Stan: by name, or the path of a JSON file.
    log_lik : str
        The generated quantity that is the pointwise log likelihood, where the program has one: it brings leave-one-out.

    Returns
    -------
    Model

    Raises
    ------
    ImportError
        Without BridgeStan.
    """
    stan = program if hasattr(program, "log_density_gradient") else _compiled(program, data)
    names, every = stan.param_names(include_tp=True), stan.param_names(include_tp=True, include_gq=True)
    generated = [name for name in _grouped(every) if name not in _grouped(names)]

    def gradient(z: Array) -> Any:
        try:
            value, slope = stan.log_density_gradient(z)
        except RuntimeError as error:
            # Stan rejects a draw: its density is zero.
            raise ArithmeticError(str(error)) from error
        return value, slope

    def quantities(z: Array, seed: int) -> dict[str, Array]:
        rng = stan.new_rng(seed)
        return _arrays(every, stan.param_constrain(z, include_tp=True, include_gq=True, rng=rng))

    functions: dict[str, Any] = {"gradient": gradient}
    if log_lik in generated:
        functions["log_likelihood"] = lambda z: {log_lik: quantities(z, 0)[log_lik]}
        functions["log_prior"] = lambda z: gradient(z)[0] - quantities(z, 0)[log_lik].sum()
    drawn = [name for name in generated if name != log_lik]
    if drawn:

        def predict(z: Array, rng: np.random.Generator) -> dict[str, Array]:
            found = quantities(z, int(rng.integers(2**31)))
            return {name: found[name] for name in drawn}

        functions["predict"] = predict
    return Model(
        latents=stan.param_unc_num(),
        derived=lambda z: _arrays(names, stan.param_constrain(z, include_tp=True)),
        **functions,
    )


def _compiled(program: Any, data: Any) -> Any:
    bridgestan = needed("bridgestan", "from_stan")
    if isinstance(data, Mapping):
        data = json.dumps({name: np.asarray(x).tolist() for name, x in data.items()})
    return bridgestan.StanModel(str(program), None if data is None else str(data))


def _grouped(names: list[str]) -> dict[str, list[int]]:
    """Positions of a variable's elements, by its name: ``theta.1`` and ``theta.2`` are of ``theta``."""
    groups: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        groups.setdefault(name.partition(".")[0], []).append(i)
    return groups


def _arrays(names: list[str], values: Array) -> dict[str, Array]:
    """Arrays by variable; Stan writes their elements with the first index fastest."""
    arrays = {}
    for name, rows in _grouped(names).items():
        shape = tuple(int(part) for part in names[rows[-1]].split(".")[1:])
        arrays[name] = np.asarray(values)[rows].reshape(shape, order="F")
    return arrays
