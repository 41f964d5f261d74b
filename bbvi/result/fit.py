"""`Fit`: what `bbvi.fit` returns, with its ways on to ArviZ, to pictures, predictions and files."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bbvi.model.model import Model
from bbvi.model.validation import seed_or_none
from bbvi.result.record import FitRecord
from bbvi.result.ways_out import way_out

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray


class Fit(FitRecord):
    """The result of `bbvi.fit`.

    Attributes
    ----------
    model : Model
    status, message : Status, str
        Why the fit stopped; a sentence with the remedy.
    verdict : str
        ``"reliable"``, ``"caution"`` or ``"unreliable"``.
    reasons : list of str
        Why, each with the next step to take.
    approximation : MeanFieldGaussian, FullRankGaussian or LowRankGaussian
        Flat (D,), unconstrained; latents in declaration order, C order within.
    covariance : ndarray, shape (D, D), or None
        Linear response covariance, same order; None where it was refused, where only values are known, or above
        2,000 latents (`covariance_of` solves for chosen ones).
    surrogate_covariance : ndarray, shape (D, D), or None
        On the score path the inverse of the expected negative Hessian of a quadratic surrogate; not the linear
        response.
    elbo, elbo_se : float
        Evidence lower bound in nats and its standard error, of fresh draws.
    log_evidence, log_evidence_se : float
        Importance estimate of the log evidence; NaN where there are no weights.
    khat : float
        Pareto k-hat of the weights in use; `khats` holds it by kind.
    kind : str
        What ``kind="best"`` means for this fit.
    kinds : dict of Kind
        Approximations of the posterior by name, the cheapest first.
    evaluations, gradient_evaluations : int
        What the fit cost, per draw; nothing that is asked of it later adds to that.
    stages : dict of str to float
        The share of that cost (evaluations, gradients and Hessian products) which each stage of the fit took.
    rhat : float
        Nested R-hat of the chains, the worst row; NaN where there are none.
    looped : str
        Why the log joint is evaluated draw by draw; empty where all draws go at once.
    seconds : float
        Wall clock time of the fit.
    trace : Trace
        The course of the solver.
    mean_se, log_sd_se : ndarray, shape (D,)
        Monte Carlo error that the fit left in the approximation's parameters.
    modes : list of Mode
        Local optima that the starts found, the fitted one first.
    noise_sd : float
        Noise of the log joint in nats, where it was noticed; else 0.
    evaluated : Evaluated, or None
        Where only values were used: all draws at which the log joint was evaluated, flat and unconstrained (N, D), and
        the values (N,); ``bbvi.fit(model, evaluated=fit)`` or ``init=fit`` begins with them.
    seed : int
        From which everything that is drawn later follows.
    """

    def to_arviz(
        self,
        draws: int | None = None,
        kind: str = "best",
        seed: int | None = None,
        *,
        evaluate: bool = False,
        chains: int | None = None,
    ) -> Any:
        """The posterior for ArviZ: `InferenceData` (ArviZ < 1) or `DataTree` (ArviZ >= 1).

        See `bbvi.output.arviz.to_arviz` for the groups.
        """
        return way_out("arviz")(self, draws, kind, seed, evaluate=evaluate, chains=chains)

    def loo(self, kind: str = "best", *, evaluate: bool = False) -> Any:
        """Leave-one-out cross-validation that accounts for the approximation; see `bbvi.result.loo.loo`."""
        from bbvi.result.loo import loo

        return loo(self, kind, evaluate=evaluate)

    def sensitivity(
        self, kind: str = "best", *, priors: Sequence[str] | None = None, evaluate: bool = False
    ) -> pd.DataFrame:
        """Sensitivity of every row to priors and likelihood; see `bbvi.result.sensitivity.power_scaling`."""
        from bbvi.result.sensitivity import power_scaling

        return power_scaling(self, kind, priors=priors, evaluate=evaluate)

    def plot(self, reference: Any = None) -> Any:
        """The fit at a glance; see `bbvi.output.plots.plot` and the pictures beside it."""
        return way_out("plot")(self, reference)

    def predict(self, draws: int | None = None, seed: int | None = None, **new: Any) -> dict[str, Array]:
        """Posterior predictive draws of the model's ``predict``, at its own data or at new ones.

        Parameters
        ----------
        draws : int, optional
            1,000 unless given.
        seed : int, optional
            None follows from the fit's own seed.
        **new
            Data to predict at instead of the model's, by name; the columns of a data frame as ``**frame``.

        Returns
        -------
        dict of ndarray, shape (draws, ...)

        Raises
        ------
        ValueError
            If the model has no ``predict``, or a name is not among its data.
        """
        from bbvi.model.predictive import predict

        model = self.model.with_data(**new) if new else self.model
        rng = np.random.default_rng([self.seed, 2] if seed_or_none(seed) is None else seed)
        return predict(model, self.sampled(1000 if draws is None else draws, seed=seed, asked=draws is not None), rng)

    def extend(
        self, draws: int | None = None, *, max_evaluations: int | None = None, max_seconds: float | None = None
    ) -> Fit:
        """A fit with longer chains, or more weighted draws, judged anew; this one stays as it is.

        See `bbvi.fitting.extend.extend`.
        """
        longer: Fit = way_out("extend")(self, draws, max_evaluations=max_evaluations, max_seconds=max_seconds)
        return longer

    def save(self, path: str | Path) -> None:
        """Write the fit to ``.nc`` (netCDF) or ``.npz``, without pickles; `bbvi.load` reads both."""
        way_out("save")(self, path)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles hold what a saved fit holds, and the model where that can be pickled, too."""
        try:
            pickle.dumps(self.model)
        except (pickle.PicklingError, AttributeError, TypeError):
            return _unpickled, (way_out("pack")(self), None)
        return _unpickled, (way_out("pack")(self), self.model)

    def __deepcopy__(self, memo: dict[int, Any]) -> Fit:
        # Not by way of a pickle, which has no functions.
        other = memo[id(self)] = object.__new__(type(self))
        other.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return other

    def __copy__(self) -> Fit:
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        return other

    def __str__(self) -> str:
        return str(way_out("text")(self))

    def __repr__(self) -> str:
        agreement = f"R-hat {self.rhat:.3f}" if self.kind == "chains" else f"k-hat {self.khat:z.2f}"
        return f"<bbvi.Fit: {self.status}, {self.verdict}, ELBO {self.elbo:z.2f}, {agreement}>"

    def _repr_html_(self) -> str:
        return str(way_out("html")(self))


def _unpickled(data: bytes, model: Model | None) -> Fit:
    fit: Fit = way_out("unpack")(data, model, Fit)
    return fit


def load(path: str | Path, model: Model | None = None) -> Fit:
    """Read a fit that `Fit.save` wrote.

    Parameters
    ----------
    path : path
    model : Model, optional
        The model that was fitted. Functions are not saved, so that without it the fit offers what is known of
        its posterior (printing, ``summary``, ``sample``, ``covariance_of``, ``expect``, ``to_arviz``), and a
        ValueError where the log joint, the log likelihood or predictions would be needed.

    Returns
    -------
    Fit

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not a saved fit, or the latents of `model` are not those of the fit.
    """
    fit: Fit = way_out("load")(path, model, Fit)
    return fit
