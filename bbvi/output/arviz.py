"""A fit for ArviZ: the groups, dimensions and coordinates that its functions expect."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bbvi.model import predictive
from bbvi.model.data import label_text
from bbvi.model.model import Model, dims_of
from bbvi.notices import warn
from bbvi.result.by_parts import draw_parts, elements
from bbvi.result.posterior import DrawSet
from bbvi.result.standin import available
from bbvi.target.target import Target

if TYPE_CHECKING:
    import xarray as xr

    from bbvi.result.record import FitRecord

Array = np.ndarray
Variable = tuple[tuple[str, ...], Array]

DRAWS, _PRIOR_DRAWS = 1000, 500
_NUMERICAL = (ArithmeticError, ValueError, np.linalg.LinAlgError)


def to_arviz(
    fit: FitRecord,
    draws: int | None = None,
    kind: str = "best",
    seed: int | None = None,
    *,
    evaluate: bool = False,
    chains: int | None = None,
) -> Any:
    """The posterior for ArviZ, in one chain; draws of chains in four, for ArviZ's own diagnostics.

    Parameters
    ----------
    fit : Fit
    draws : int, optional
        Number of draws, 1,000 by default. If more are asked for than the pool of draws is worth, a RuntimeWarning says
        so.
    kind : str
        ``"mean-field"``, ``"full-rank"``, ``"low-rank"``, ``"linear-response"``, ``"importance"`` or ``"best"``.
    seed : int, optional
        None follows from the fit's own seed.
    evaluate : bool
        Whether the log joint may be called where the fit does not know it.
    chains : int, optional
        Into so many chains the draws are laid out: parts that know nothing of each other, as R-hat and rank plots
        expect. By default four where they are draws of chains, else one.

    Returns
    -------
    arviz.InferenceData or xarray.DataTree
        The former with ArviZ < 1. Its groups, where the model has what they need:

        ``posterior``
            latents and derived quantities
        ``unconstrained_posterior``
            all latents, if any of them has a support that is not the whole line
        ``sample_stats``
            ``lp`` and ``log_q`` (log densities on the unconstrained scale, of the target and of the
            distribution that the draws came from) and ``log_weight``, the weight still to apply: zero for
            ``"importance"``, whose draws are resampled; NaN for draws of a Gaussian kind, beyond those that
            the fit has evaluated, unless `evaluate` is true
        ``log_likelihood``
            pointwise. ``az.loo`` ignores ``log_weight``, so that it is right for ``kind="importance"``;
            `Fit.loo` is right for every kind. Where it does not fit into memory, neither it nor the next two are
            there, a RuntimeWarning says so, and `Fit.save` writes it.
        ``log_prior``
            of the model's ``log_prior``, on the constrained scale
        ``posterior_predictive``, ``prior``, ``prior_predictive``
            from ``predict`` and ``sample_prior``
        ``observed_data``, ``constant_data``
            what the log likelihood or ``predict`` is of; all other data
        ``fit``
            the approximation (``mean``, ``sd``, ``covariance``, flat and unconstrained), ``elbo``,
            ``elbo_se``, ``khat``, ``elbo_trace``, ``status``, ``verdict``, ``reasons`` and the cost

    Raises
    ------
    ValueError
        If the fit has no approximation of that kind.
    """
    import arviz as az

    tree = to_datatree(fit, draws, kind, seed, evaluate=evaluate, chains=chains)
    return az.from_datatree(tree) if "from_datatree" in dir(az) else tree


def to_datatree(
    fit: FitRecord,
    draws: int | None = None,
    kind: str = "best",
    seed: int | None = None,
    *,
    evaluate: bool = False,
    chains: int | None = None,
) -> xr.DataTree:
    """As `to_arviz`, as an `xarray.DataTree` whatever the version of ArviZ."""
    asked, draws = draws is not None, DRAWS if draws is None else draws
    drawn = fit.draw(draws, kind, seed, evaluate=evaluate, chains=chains, asked=asked)
    if not fits_in_memory(fit, drawn):
        size = elements(fit.target)
        warn(
            f"log_likelihood and posterior_predictive are left out: {draws} draws of {size} observations do not fit "
            'into memory; fit.save("....nc") writes them in parts'
        )
        return as_tree(fit, drawn, {}, seed)
    return whole_tree(fit, drawn, seed)


def whole_tree(fit: FitRecord, drawn: DrawSet, seed: int | None) -> xr.DataTree:
    """All groups."""
    large = {name: _joined(list(blocks)) for name, blocks in large_groups(fit, drawn, seed).items()}
    return as_tree(fit, drawn, large, seed)


def fits_in_memory(fit: FitRecord, drawn: DrawSet) -> bool:
    """Whether all observations at all draws can be held at a time."""
    return not is_large(fit.model) or len(draw_parts(fit.target, len(drawn.u))) == 1


def is_large(model: Model) -> bool:
    """Whether there are groups of the model that hold observations at draws."""
    return available(model, "log_likelihood") or available(model, "predict")


def as_tree(
    fit: FitRecord, drawn: DrawSet, large: Mapping[str, Mapping[str, Array]], seed: int | None
) -> xr.DataTree:
    """All groups, those of observations at draws as far as they are at hand."""
    import xarray as xr

    groups = posterior_groups(fit, drawn)
    if "log_likelihood" in large:
        groups["log_likelihood"] = draws_dataset(fit.model, large["log_likelihood"], drawn.chains)
        prior = {"log_prior": log_prior(fit.target, drawn, large["log_likelihood"])}
        groups["log_prior"] = draws_dataset(fit.model, prior, drawn.chains)
    observed = set(fit.model.observed)
    if "posterior_predictive" in large:
        groups["posterior_predictive"] = draws_dataset(fit.model, large["posterior_predictive"], drawn.chains)
        observed |= set(large["posterior_predictive"])
    groups["fit"] = _fit_dataset(fit, drawn.kind)
    groups |= data_groups(fit.model, observed)
    groups |= prior_groups(fit.model, min(len(drawn.u), _PRIOR_DRAWS), fit.seed if seed is None else seed)
    attributes = _attributes(fit, drawn.kind, seed)
    for dataset in groups.values():
        dataset.attrs = attributes | dataset.attrs
    tree = xr.DataTree.from_dict({f"/{name}": dataset for name, dataset in groups.items()})
    tree.attrs = dict(attributes)
    return tree


def large_groups(fit: FitRecord, drawn: DrawSet, seed: int | None) -> dict[str, Iterator[dict[str, Array]]]:
    """Groups of observations at draws, some draws at a time, as many as memory holds."""
    parts = draw_parts(fit.target, len(drawn.u))

    def predicted() -> Iterator[dict[str, Array]]:
        rng = np.random.default_rng([fit.seed, 2] if seed is None else [seed, 2])
        for part in parts:
            latents = {name: np.asarray(x) for name, x in fit.target.constrain(drawn.u[part])[0].items()}
            yield predictive.predict(fit.model, latents, rng)

    found: dict[str, Iterator[dict[str, Array]]] = {}
    if available(fit.model, "log_likelihood"):
        found["log_likelihood"] = (fit.target.quantities("pointwise", drawn.u[part]) for part in parts)
    if available(fit.model, "predict"):
        found["posterior_predictive"] = predicted()
    return found


def _joined(blocks: list[dict[str, Array]]) -> dict[str, Array]:
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def posterior_groups(fit: FitRecord, drawn: DrawSet) -> dict[str, xr.Dataset]:
    """Groups that hold the draws."""
    model, target = fit.model, fit.target
    latents = {name: np.asarray(x) for name, x in target.constrain(drawn.u)[0].items()}
    derived = target.quantities("derived", drawn.u) if "derived" in model.functions else {}
    groups = {"posterior": draws_dataset(model, latents | derived, drawn.chains)}
    if any(not latent.transform.whole_line for latent in model.latents.values()):
        groups["unconstrained_posterior"] = _unconstrained(model, drawn.u, drawn.chains)
    stats = {"lp": drawn.lp, "log_q": drawn.log_q, "log_weight": drawn.log_weight}
    by_chain = {name: (("chain", "draw"), x.reshape(drawn.chains, -1)) for name, x in stats.items()}
    groups["sample_stats"] = _dataset(by_chain, {})
    return groups


def log_prior(target: Target, drawn: DrawSet, pointwise: Mapping[str, Array]) -> Array:
    """Log prior density (S,) on the constrained scale: what is left of the log density."""
    likelihood = sum(x.reshape(len(drawn.u), -1).sum(axis=1) for x in pointwise.values())
    with np.errstate(invalid="ignore"):
        return np.asarray(drawn.lp - target.constrain(drawn.u)[1] - likelihood)


def data_groups(model: Model, observed: set[str]) -> dict[str, xr.Dataset]:
    """``observed_data`` and ``constant_data``, of all arrays of numbers, truth values, strings or dates."""
    parts: dict[str, dict[str, Variable]] = {"observed_data": {}, "constant_data": {}}
    coords: dict[str, Sequence[Any]] = dict(model.coords)
    for name, value in model.data.items():
        x = np.asarray(value)
        if x.dtype.kind in "biufUM":
            group = "observed_data" if name in observed else "constant_data"
            parts[group][name] = (dims_of(model, name, x.shape), x)
    return {name: _dataset(variables, coords) for name, variables in parts.items() if variables}


def prior_groups(model: Model, draws: int, seed: int) -> dict[str, xr.Dataset]:
    """``prior`` and, where `predict` bears what the prior gives, ``prior_predictive``."""
    if not available(model, "sample_prior"):
        return {}
    rng = np.random.default_rng([seed, 3])
    prior = predictive.sample_prior(model, draws, rng)
    groups = {"prior": draws_dataset(model, prior)}
    if available(model, "predict"):
        try:
            with np.errstate(all="ignore"):
                predicted = predictive.predict(model, prior, rng)
            groups["prior_predictive"] = draws_dataset(model, predicted)
        except _NUMERICAL as error:
            warn(f"no prior_predictive: predict failed at a draw from the prior ({error}); is that prior too wide?")
    return groups


def _fit_dataset(fit: FitRecord, kind: str) -> xr.Dataset:
    q, labels = fit.approximation, fit.model.unconstrained_labels
    flat = ("unconstrained",)
    scalars = {
        "elbo": fit.elbo,
        "elbo_se": fit.elbo_se,
        "khat": fit.khat,
        "rhat": fit.rhat,
        "log_evidence": fit.log_evidence,
        "status": str(fit.status),
        "verdict": fit.verdict,
        "kind": kind,
        "message": fit.message,
        "evaluations": fit.evaluations,
        "gradient_evaluations": fit.gradient_evaluations,
        "seconds": fit.seconds,
        "seed": fit.seed,
    }
    variables: dict[str, Variable] = {name: ((), np.asarray(value)) for name, value in scalars.items()}
    variables |= {"mean": (flat, q.mean), "sd": (flat, q.sd), "mean_se": (flat, np.asarray(fit.mean_se))}
    variables["elbo_trace"] = (("step",), np.array(fit.trace.elbo))
    variables["evaluations_trace"] = (("step",), np.array(fit.trace.evaluations))
    variables["reasons"] = (("reason",), np.array(fit.reasons, dtype=str))
    if fit.covariance is not None:
        variables["covariance"] = (("unconstrained", "unconstrained_bis"), fit.covariance)
    dataset = _dataset(variables, {"unconstrained": labels, "unconstrained_bis": labels})
    dataset.attrs = {name: value for name, value in scalars.items() if name not in ("message", "rhat", "seed")}
    return dataset


def _unconstrained(model: Model, u: Array, chains: int) -> xr.Dataset:
    variables: dict[str, Variable] = {}
    for name, latent in model.latents.items():
        x = u[:, model.slices[name]].reshape(chains, len(u) // chains, *latent.transform.unconstrained_shape)
        variables[name] = (("chain", "draw", *latent.unconstrained_dims), x)
    return _dataset(variables, _coords(model))


def draws_dataset(model: Model, draws: Mapping[str, Array], chains: int = 1) -> xr.Dataset:
    """Draws by name, each (S, *shape), in so many chains."""
    variables: dict[str, Variable] = {}
    for name, x in draws.items():
        latent = model.latents.get(name)
        dims = dims_of(model, name, np.shape(x)[1:]) if latent is None else latent.dims
        variables[name] = (("chain", "draw", *dims), np.reshape(x, (chains, len(x) // chains, *np.shape(x)[1:])))
    return _dataset(variables, _coords(model))


def _coords(model: Model) -> dict[str, Sequence[Any]]:
    known: dict[str, Sequence[Any]] = dict(model.coords)
    for latent in model.latents.values():
        known |= latent.coords
    return known


def _dataset(variables: Mapping[str, Variable], coords: Mapping[str, Sequence[Any]]) -> xr.Dataset:
    """A dataset in which every dimension has coordinates: its labels, or positions.

    A dimension that is called like a variable gets another name, since xarray would take the variable for its
    labels.
    """
    import xarray as xr

    renamed, labels = {}, {}
    for name, (dims, x) in variables.items():
        own = tuple(f"{dim}_dim" if dim in variables else dim for dim in dims)
        for dim, given, size in zip(own, dims, np.shape(x), strict=True):
            labels[dim] = _labels(coords[given]) if given in coords else np.arange(size)
        renamed[name] = (own, x)
    return xr.Dataset(renamed, coords={dim: ((dim,), values) for dim, values in labels.items()})


def _labels(given: Sequence[Any]) -> Array:
    """Labels as an array that netCDF can hold."""
    # Tuples of several lengths make no array; they are named as in the rows of a summary.
    labels = np.asarray([label_text(x) for x in given] if any(isinstance(x, tuple) for x in given) else given)
    return labels if labels.ndim == 1 and labels.dtype.kind in "biufUM" else np.array([str(x) for x in given])


def _attributes(fit: FitRecord, kind: str, seed: int | None) -> dict[str, Any]:
    from bbvi import __version__

    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    return {
        "inference_library": "bbvi",
        "inference_library_version": __version__,
        "created_at": now.isoformat(),
        "kind": kind,
        "seed": fit.seed if seed is None else seed,
    }
