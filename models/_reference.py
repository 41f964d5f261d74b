"""`Reference`: what is known of a model's posterior from long runs of MCMC, or exactly."""

import json
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class Reference:
    """
    Marginal posteriors of the latents and derived quantities, on their own (constrained) scale.

    Attributes
    ----------
    rows
        Row labels as in ArviZ (``mu``, ``theta[A]``, ``beta[0]``), latents first, length R. Entries that do
        not vary, as those of a Cholesky factor above the diagonal, have no row.
    mean, sd
        Posterior means and standard deviations, (R,).
    quantiles
        The 5 %, 50 % and 95 % quantiles, (R, 3).
    mcse_mean, mcse_sd
        Monte Carlo standard errors of ``mean`` and ``sd``, (R,); zero where they are exact.
    ess
        Effective number of draws behind ``mean``, (R,); infinite where it is exact.
    provenance
        How the figures were made: method, package, version, chains, draws, divergences, worst R-hat, script.
    """

    rows: list[str]
    mean: Array
    sd: Array
    quantiles: Array
    mcse_mean: Array
    mcse_sd: Array
    ess: Array
    provenance: dict[str, Any]


def reference(name: str) -> Reference:
    """
    The reference posterior of a model of the gallery.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    file = resources.files("bbvi.models") / "references" / f"{name}.json"
    if not file.is_file():
        raise ValueError(f"name: expected a model of the gallery with a reference posterior, got {name!r}")
    content = json.loads(file.read_text(encoding="utf-8"))
    table = np.array(list(content["rows"].values()), dtype=float)
    columns = dict(zip(content["columns"], table.T, strict=True))
    exact = np.isnan(columns["ess"])  # null in the file, since JSON knows no infinity
    return Reference(
        rows=list(content["rows"]),
        mean=columns["mean"],
        sd=columns["sd"],
        quantiles=np.column_stack([columns["q5"], columns["q50"], columns["q95"]]),
        mcse_mean=columns["mcse_mean"],
        mcse_sd=columns["mcse_sd"],
        ess=np.where(exact, np.inf, columns["ess"]),
        provenance=content["provenance"],
    )
