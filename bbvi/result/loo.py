"""Leave-one-out cross-validation from weighted draws, whatever approximation they came from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bbvi.correction.gaussian import GaussianKind
from bbvi.correction.psis import pareto_khat_threshold, psis
from bbvi.model.model import dims_of, labels_of
from bbvi.notices import warn
from bbvi.result.by_parts import by_observations
from bbvi.target.target import Target

if TYPE_CHECKING:
    from bbvi.result.record import FitRecord

Array = np.ndarray


class Pointwise(NamedTuple):
    """Leave-one-out figures by observation, each (N,)."""

    elpd: Array
    khat: Array
    lppd: Array


def leave_one_out(log_likelihood: Array, log_weights: Array) -> Pointwise:
    """Expected log predictive density of each observation given all others.

    With draws z_s of weight w_s the posterior without observation i has weights w_s / p(y_i | z_s), here
    smoothed (Vehtari, Gelman and Gabry 2017, eq. 10; for draws from an approximation Magnusson et al. 2019,
    eq. 5).

    Parameters
    ----------
    log_likelihood : ndarray, shape (S, N)
        Pointwise, at the draws.
    log_weights : ndarray, shape (S,)
        Of the draws, up to a constant; zeros for draws from the posterior itself.

    Returns
    -------
    Pointwise
        The leave-one-out log predictive densities, k-hat of their weights, and the log predictive densities
        with the observation left in.
    """
    weights = np.asarray(log_weights, dtype=float)
    weights = weights - _log_sum(weights[:, None])
    known = np.where(np.isneginf(weights)[:, None], 0.0, log_likelihood)
    smoothed, khat = psis(weights[:, None] - known)
    return Pointwise(_log_sum(smoothed + known), np.atleast_1d(khat), _log_sum(weights[:, None] + known))


def loo(fit: FitRecord, kind: str = "best", *, evaluate: bool = False) -> Any:
    """Leave-one-out cross-validation of a fit.

    Parameters
    ----------
    fit : Fit
        Of a model with ``log_likelihood``.
    kind : str
        Whose draws. Those of a Gaussian kind are weighted by p / q, so that every kind estimates the same
        figure; k-hat says how well.
    evaluate : bool
        Whether the log joint may be called at draws of a Gaussian kind where it is not known.

    Returns
    -------
    arviz.ELPDData
        With ``pareto_k`` and the elpd of each observation, for ``az.compare`` and ``az.plot_khat``. Several
        observed variables are laid end to end.

    Raises
    ------
    ValueError
        If the model has no ``log_likelihood``.
    """
    import xarray as xr

    model = fit.model
    if "log_likelihood" not in model.functions:
        raise ValueError(
            "loo: needs the pointwise log likelihood, but this model has only log_joint; "
            "build it with bbvi.Model(log_prior=..., log_likelihood=...)"
        )
    u, log_weights, _ = weighted_draws(fit, kind, evaluate=evaluate)
    figures, shapes = _of_parts(fit.target, u, log_weights)
    if len(figures.elpd) == 1 and any(np.size(x) > 1 for x in model.data.values()):
        warn(
            "loo: log_likelihood returned one number for all observations, so that all are left out at once; return an "
            "array with one for each, without np.sum"
        )
    if len(shapes) == 1:
        ((name, shape),) = shapes.items()
        dims = dims_of(model, name, shape)
        coords: dict[str, Any] = {dim: list(model.coords[dim]) for dim in dims if dim in model.coords}
    else:
        labels = [label for name, shape in shapes.items() for label in labels_of(model, name, shape)]
        shape, dims, coords = (len(labels),), ("observation",), {"observation": labels}

    def labelled(name: str, x: Array) -> xr.DataArray:
        return xr.DataArray(x.reshape(shape), dims=dims, coords=coords, name=name)

    return _elpd_data(
        figures, labelled("loo_i", figures.elpd), labelled("pareto_shape", figures.khat), len(u)
    )


def _of_parts(target: Target, u: Array, log_weights: Array) -> tuple[Pointwise, dict[str, tuple[int, ...]]]:
    """The figures of all observations, laid end to end by variable, and the shape of each variable."""
    figures: dict[str, list[Pointwise]] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for part in by_observations(target, u):
        for name, x in part.items():
            figures.setdefault(name, []).append(leave_one_out(x.reshape(len(u), -1), log_weights))
            before = shapes.get(name, (0, *x.shape[2:]))
            shapes[name] = (before[0] + x.shape[1], *before[1:]) if x.ndim > 1 else ()
    ends = [one for parts in figures.values() for one in parts]
    return Pointwise(*(np.concatenate([getattr(one, name) for one in ends]) for name in Pointwise._fields)), shapes


class Weighted(NamedTuple):
    """Draws u (S, D), the log weights (S,), up to a constant, that carry them to the posterior, and its log density."""

    u: Array
    log_weights: Array
    log_density: Array


def weighted_draws(fit: FitRecord, kind: str = "best", *, evaluate: bool = False) -> Weighted:
    """Draws of a kind with the weights that carry them to the posterior.

    Raises
    ------
    ValueError
        If the log joint is known at no draw of that kind, and shall not be evaluated.
    """
    name = fit.known(kind)
    chosen = fit.kinds[name]
    if not isinstance(chosen, GaussianKind):
        pool = fit.posterior(name).pool
        return Weighted(pool.u, pool.log_weights, pool.log_density)
    if chosen.evaluated is not None:
        u, log_density = chosen.evaluated
    elif evaluate:
        u = fit.posterior(name).u
        log_density = fit.target.values(u)
    else:
        raise ValueError(
            f"kind: the log joint was not evaluated at draws of {name}, which their weights need; say evaluate=True to "
            "call it there"
        )
    if chosen.exact:
        # What its weights vary by is nothing, but would pass for a tail: k-hat knows no scale.
        return Weighted(u, np.zeros(len(u)), log_density)
    return Weighted(u, log_density - chosen.normal.log_density(u), log_density)


def _elpd_data(figures: Pointwise, elpd_i: Any, pareto_k: Any, draws: int) -> Any:
    """The container of the ArviZ at hand."""
    import arviz as az

    elpd, count = float(figures.elpd.sum()), len(figures.elpd)
    older = "from_datatree" in dir(az)
    # Each version's own definition, so that figures of one table agree.
    se = float(np.sqrt(count * figures.elpd.var(ddof=0 if older or count == 1 else 1)))
    effective = float(figures.lppd.sum()) - elpd
    good_k = pareto_khat_threshold(draws)
    warning = bool((figures.khat > good_k).any())
    if older:
        rows = {
            "elpd_loo": elpd,
            "se": se,
            "p_loo": effective,
            "n_samples": draws,
            "n_data_points": count,
            "warning": warning,
            "loo_i": elpd_i,
            "pareto_k": pareto_k,
            "scale": "log",
            "good_k": good_k,
        }
        return az.ELPDData(data=list(rows.values()), index=list(rows))
    kind: dict[str, Any]
    if "ELPDDataLOO" in dir(az):
        container, kind = getattr(az, "ELPDDataLOO"), {"approx_posterior": True}  # noqa: B009
    else:
        container, kind = az.ELPDData, {"kind": "loo", "approx_posterior": True}
    return container(
        elpd=elpd, se=se, p=effective, n_samples=draws, n_data_points=count, scale="log", warning=warning,
        good_k=good_k, elpd_i=elpd_i, pareto_k=pareto_k, **kind,
    )  # fmt: skip


def _log_sum(columns: Array) -> Array:
    """log(sum(exp(columns))) over the draws, (S, N) -> (N,)."""
    top = columns.max(axis=0)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray(top + np.log(np.exp(columns - top).sum(axis=0)))
