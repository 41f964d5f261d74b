"""Power-scaling sensitivity: how the posterior moves when prior or likelihood counts more or less."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bbvi.correction.psis import psis
from bbvi.result.by_parts import draw_parts
from bbvi.result.loo import weighted_draws
from bbvi.result.posterior import Reported
from bbvi.result.standin import Absent

if TYPE_CHECKING:
    import pandas as pd

    from bbvi.result.record import FitRecord

Array = np.ndarray

_THRESHOLD = 0.05
_TAIL = 1 / 4000  # as in a sample of 4,000, for which the threshold was proposed


def power_scaling(
    fit: FitRecord,
    kind: str = "best",
    delta: float = 0.01,
    threshold: float = _THRESHOLD,
    *,
    priors: Sequence[str] | None = None,
    evaluate: bool = False,
) -> pd.DataFrame:
    """Sensitivity of every row of the summary to the prior and to the likelihood.

    Prior or likelihood is raised to the powers 1 / (1 + delta) and 1 + delta by reweighting the draws of the
    fit, and the distance of the marginal to its former self, per doubling of the power, is the sensitivity
    (Kallioinen, Paananen, Bürkner and Vehtari 2024, eq. 11). No new fit is needed.

    Parameters
    ----------
    fit : Fit
        Of a model with ``log_prior`` and ``log_likelihood``. In a hierarchical model put into ``log_prior``
        only what is prior belief, and the rest of the hierarchy into ``log_likelihood``, to learn about the
        belief alone.
    kind : str
        Whose draws; they are weighted to the posterior as for `Fit.loo`.
    delta : float
        Small change of the power.
    threshold : float
        Above which a sensitivity is remarked on.
    priors : sequence of str, optional
        Latents whose declared priors (``prior=``) are beliefs, and alone raised to the powers; by default all that is
        no likelihood, the distribution of group effects included.
    evaluate : bool
        Whether the log joint may be called at draws of a Gaussian kind where it is not known.

    Returns
    -------
    DataFrame
        By row: ``prior``, ``likelihood`` (distances per doubling, 0 to about 1), ``khat`` (the worst of the
        reweighted draws) and ``diagnosis``: empty, ``"prior-data conflict"`` where both matter, or ``"strong
        prior or weak likelihood"`` where only the prior does.

    Notes
    -----
    A conflict is no error: prior and likelihood pull the row to different places. Look where the prior lies
    (`bbvi.prior_predictive`), and whether it says what is believed; fit again with a wider prior or one of heavier
    tails. If the row stays, the conflict does not matter; if it moves, report both. Where the likelihood is weak, what
    is reported of the row is the prior.

    Raises
    ------
    ValueError
        If the model has no ``log_prior`` and ``log_likelihood``, or of `priors` one is not declared.
    """
    import pandas as pd

    model = fit.model
    if "log_likelihood" not in model.functions and not model.priors:
        raise ValueError(
            "sensitivity: needs prior and likelihood apart, but this model has only log_joint; "
            "build it with bbvi.Model(log_prior=..., log_likelihood=...), or declare priors with the latents"
        )
    if isinstance(model.functions.get("log_likelihood"), Absent):
        model.functions["log_likelihood"]()
    if not delta > 0:
        raise ValueError(f"delta: expected a positive number, got {delta!r}")
    u, log_weights, log_density = weighted_draws(fit, kind, evaluate=evaluate)
    log_weights = np.asarray(psis(log_weights)[0])
    prior, likelihood = split_density(fit, u, log_density)
    if priors is not None:
        prior = _of_some(fit, priors, u)
    labels, x = Reported(fit.target, thorough=True)(u)
    columns, khats = {}, []
    for name, component in (("prior", prior), ("likelihood", likelihood)):
        distance = np.zeros(len(labels))
        for power in (1 / (1 + delta), 1 + delta):
            shift = np.where(np.isfinite(component), (power - 1) * component, 0.0)
            changed, khat = psis(log_weights + shift)
            distance += cumulative_distance(x, np.exp(log_weights), np.exp(changed))
            khats.append(float(khat))
        columns[name] = distance / (2 * np.log2(1 + delta))
    table = pd.DataFrame(columns, index=labels)
    table["khat"] = max(khats)
    table["diagnosis"] = [
        "" if row.prior < threshold
        else "prior-data conflict" if row.likelihood >= threshold
        else "strong prior or weak likelihood"
        for row in table.itertuples()
    ]  # fmt: skip
    return table


def split_density(fit: FitRecord, u: Array, log_density: Array) -> tuple[Array, Array]:
    """Log prior (without log-Jacobians) and log likelihood at draws u (S, D) of known log density, each (S,)."""
    if "log_likelihood" not in fit.model.functions:
        draws = {name: np.asarray(x) for name, x in fit.target.constrain(u)[0].items()}
        prior = _declared(fit.model.priors, draws)
        with np.errstate(invalid="ignore"):
            return prior, log_density - fit.target.constrain(u)[1] - prior
    likelihood = np.zeros(len(u))
    for some in draw_parts(fit.target, len(u)):
        for part in fit.target.quantities("pointwise", u[some]).values():
            likelihood[some] += part.reshape(len(part), -1).sum(axis=1)
    with np.errstate(invalid="ignore"):
        prior = log_density - fit.target.constrain(u)[1] - likelihood
    return np.where(np.isfinite(prior), prior, -np.inf), likelihood


def _of_some(fit: FitRecord, priors: Sequence[str], u: Array) -> Array:
    """Log density (S,) of the declared priors of some latents at draws u (S, D)."""
    known = fit.model.priors
    unknown = [name for name in ([priors] if isinstance(priors, str) else priors) if name not in known]
    if unknown or isinstance(priors, str) or not len(priors):
        declared = ", ".join(map(repr, known)) or "none"
        raise ValueError(f"priors: expected names of latents with prior=, which are {declared}, got {priors!r}")
    draws = {name: np.asarray(x) for name, x in fit.target.constrain(u)[0].items()}
    return _declared({name: known[name] for name in priors}, draws)


def _declared(priors: Mapping[str, Any], draws: Mapping[str, Array]) -> Array:
    """Log density (S,) of declared priors at draws by latent, (S, *shape)."""
    parts = [np.asarray(prior.log_density(draws[name])) for name, prior in priors.items()]
    return np.asarray(sum(part.reshape(len(part), -1).sum(axis=1) for part in parts))


def cumulative_distance(x: Array, first: Array, second: Array) -> Array:
    """Cumulative Jensen-Shannon distance between two weightings of the same draws, by column.

    The symmetric form of Nguyen and Vreeken (2015), normalised to at most 1, and the larger of its values for
    x and -x, which differ.

    Parameters
    ----------
    x : ndarray, shape (S, R)
    first, second : ndarray, shape (S,)
        Weights that sum to one.

    Returns
    -------
    ndarray, shape (R,)
    """
    return np.asarray(np.maximum(_one_sided(x, first, second), _one_sided(-x, first, second)))


def _one_sided(x: Array, first: Array, second: Array) -> Array:
    order = np.argsort(x, axis=0)
    ordered = np.take_along_axis(x, order, axis=0)
    width = np.diff(ordered, axis=0)
    p, q = (np.clip(np.cumsum(weights[order], axis=0)[:-1], 0.0, 1.0) for weights in (first, second))
    # The norm grows with the range, which draws of hardly any weight would set.
    width = np.where((p > _TAIL) & (p < 1 - _TAIL), width, 0.0)
    middle = 0.5 * (p + q)
    with np.errstate(divide="ignore", invalid="ignore"):
        divergence = np.where(p > 0, p * np.log2(p / middle), 0.0) + np.where(q > 0, q * np.log2(q / middle), 0.0)
        total = (width * (p + q)).sum(axis=0)
        # The linear terms of the two directed divergences cancel in their sum.
        squared = np.where(total > 0, (width * divergence).sum(axis=0) / total, 0.0)
    return np.sqrt(np.maximum(squared, 0.0))
