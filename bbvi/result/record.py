"""What a fit found: the approximation, what is known of its quality, and every figure and draw that follows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from bbvi.correction import linear_response
from bbvi.correction.importance import ImportanceResult
from bbvi.correction.psis import effective_sample_size
from bbvi.families import MeanFieldGaussian
from bbvi.model.model import Model
from bbvi.result import posterior
from bbvi.result.posterior import DrawSet, Expectation, Posterior, Row
from bbvi.search.modes import Mode
from bbvi.solvers.state import Trace
from bbvi.status import Status
from bbvi.target.target import Target
from bbvi.threads import single_threaded

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray


@dataclass(eq=False)
class FitRecord:
    """The fields of a `Fit`, which tells what they mean, and the draws and figures that follow from them."""

    model: Model
    status: Status
    message: str
    verdict: str
    reasons: list[str]
    approximation: MeanFieldGaussian
    covariance: Array | None
    elbo: float
    elbo_se: float
    khat: float
    khats: dict[str, float]
    kind: str
    trace: Trace
    seconds: float
    mean_se: Array
    log_sd_se: Array
    estimator: str
    solver: str
    seed: int
    target: Target = field(repr=False)
    importance: ImportanceResult | None = field(default=None, repr=False)
    surrogate_covariance: Array | None = None
    log_evidence: float = float("nan")
    log_evidence_se: float = float("nan")
    modes: list[Mode] = field(default_factory=list, repr=False)
    noise_sd: float = 0.0
    eps: Array | None = field(default=None, repr=False)

    # ---- plain facts ------------------------------------------------------------------------------------------------

    @property
    def converged(self) -> bool:
        """Whether the solver reached its tolerance."""
        return self.status is Status.CONVERGED

    @property
    def evaluations(self) -> int:
        """Log-joint evaluations so far, per draw: starts, probes, ELBO and k-hat included."""
        return self.target.evaluations

    @property
    def gradient_evaluations(self) -> int:
        """Gradients and Hessian products so far, per draw."""
        return self.target.gradient_evaluations

    # ---- what a user asks of a posterior ----------------------------------------------------------------------------

    def sample(self, n: int, kind: str = "best", seed: int | None = None) -> dict[str, Array]:
        """Draws of the latents on their constrained scale.

        Parameters
        ----------
        n : int
        kind : str
            ``"mean-field"``, ``"linear-response"``, ``"importance"`` or ``"best"``.
        seed : int, optional
            None follows from the fit's own seed.

        Returns
        -------
        dict of ndarray, shape (n, *shape)

        Raises
        ------
        ValueError
            If this fit has no approximation of that kind.
        """
        u = self.draw(n, kind, seed, weigh=False).u
        return {name: np.array(x) for name, x in self.target.constrain(u)[0].items()}

    @single_threaded
    def draw(self, n: int, kind: str = "best", seed: int | None = None, *, weigh: bool = True) -> DrawSet:
        """Draws (n, D) on the unconstrained scale with their log densities and the log weights still to apply.

        Without `weigh` draws of a Gaussian come without the target's density, and cost no evaluation.
        """
        n = _positive_int("n", n)
        kind = self._known(kind)
        rng = np.random.default_rng([self.seed, 1] if seed is None else seed)
        if kind == "importance" and self.importance is not None:
            draws, effective = posterior.resample(self.target, self.importance, n, rng)
            if effective < 0.9 * n:
                self._note(
                    f"The pool of weighted draws has an effective size of {effective:.0f}, less than the {n} draws "
                    "that were asked for: they repeat each other. Ask for fewer draws."
                )
            return draws
        mean, factor = self._gaussian(kind)
        return posterior.gaussian_draws(kind, self.target, mean, factor, n, rng, weigh=weigh)

    def summary(self, kind: str = "best", ci_prob: float = 0.89) -> pd.DataFrame:
        """Means, sds and equal-tailed intervals of latents and derived quantities.

        Parameters
        ----------
        kind : str
            As for `sample`.
        ci_prob : float
            Probability inside the interval, between 0 and 1.

        Returns
        -------
        pandas.DataFrame
            Rows named as in ArviZ; columns ``mean``, ``sd``, ``eti_lb``, ``eti_ub``, ``mcse_mean`` (Monte Carlo
            error of the mean) and ``sd_mean_field`` (what mean field alone says).
        """
        import pandas as pd

        rows = self.rows(kind, ci_prob)
        return pd.DataFrame([row[1:] for row in rows], index=[row.label for row in rows], columns=list(Row._fields[1:]))

    @single_threaded
    def rows(self, kind: str = "best", ci_prob: float = 0.89) -> list[Row]:
        """The rows of `summary` as plain tuples."""
        if not (isinstance(ci_prob, (float, int)) and 0 < ci_prob < 1):
            raise ValueError(f"ci_prob: expected a number between 0 and 1, got {ci_prob!r}")
        return self.posterior(kind).rows(ci_prob, self.posterior("mean-field"))

    @single_threaded
    def expect(self, fn: Callable[[Any], Any], kind: str = "best") -> Expectation:
        """E[fn(z)] with its standard error.

        Parameters
        ----------
        fn : callable
            Takes one draw, with derived quantities beside the latents, and returns a number, a truth value or an array.
        kind : str
            As for `sample`.
        """
        if not callable(fn):
            raise TypeError(f"fn: expected a function of one draw, got {fn!r}")
        chosen = self.posterior(kind)
        return chosen.expect(self.target.apply(fn, chosen.u))

    def posterior(self, kind: str = "best") -> Posterior:
        """The weighted draws that every figure of one kind comes from."""
        kind = self._known(kind)
        if kind not in self._posteriors:
            if kind == "importance" and self.importance is not None:
                self._posteriors[kind] = posterior.weighted(self.target, self.importance)
            else:
                mean, factor = self._gaussian(kind)
                self._posteriors[kind] = posterior.gaussian(kind, self.target, mean, factor, self.mean_se, self.seed)
        return self._posteriors[kind]

    def covariance_of(self, latents: Sequence[str] | str | None = None, kind: str = "linear-response") -> pd.DataFrame:
        """Labelled covariance on the unconstrained scale, of all latents or of those named.

        Parameters
        ----------
        latents : str or sequence of str, optional
            Names of latents. Above 2,000 coordinates it must be given, and the columns are solved for.
        kind : str
            ``"linear-response"``, or ``"importance"`` for that of the weighted draws.

        Raises
        ------
        ValueError
            If a name is unknown, or the covariance was refused.
        """
        import pandas as pd

        names = (
            list(self.model.latents) if latents is None else [latents] if isinstance(latents, str) else list(latents)
        )
        unknown = [name for name in names if name not in self.model.latents]
        if unknown:
            raise ValueError(f"latents: expected names among {', '.join(self.model.latents)}, got {unknown[0]!r}")
        index = np.concatenate([np.arange(self.model.dim)[self.model.slices[name]] for name in names])
        labels = [self.model.unconstrained_labels[i] for i in index]
        if kind == "importance":
            chosen = self.posterior(kind)
            centred = chosen.u[:, index] - chosen.weights @ chosen.u[:, index]
            block = (centred * chosen.weights[:, None]).T @ centred
        elif kind != "linear-response":
            raise ValueError(f"kind: expected 'linear-response' or 'importance', got {kind!r}")
        elif self.covariance is not None:
            block = self.covariance[np.ix_(index, index)]
        elif self.eps is not None and self.model.dim > linear_response.DENSE_LIMIT:
            q = self.approximation
            block = linear_response.columns(self.target, q.mean, np.log(q.sd), self.eps, index)[index]
        else:
            raise ValueError("covariance: this fit has no linear response covariance; see fit.reasons")
        return pd.DataFrame(block, index=labels, columns=labels)

    def correlation(self, latents: Sequence[str] | str | None = None, kind: str = "linear-response") -> pd.DataFrame:
        """Labelled correlation on the unconstrained scale; as `covariance_of`."""
        covariance = self.covariance_of(latents, kind)
        sd = np.sqrt(np.diag(covariance))
        return covariance / np.outer(sd, sd)

    def starts(self, n: int, seed: int | None = None) -> list[dict[str, Array]]:
        """`n` dispersed starting points for MCMC chains, each a dict of constrained values."""
        draws = self.sample(n, seed=seed)
        return [{name: x[i] for name, x in draws.items()} for i in range(n)]

    @property
    def inverse_metric(self) -> Array:
        """The posterior covariance (D, D) on the unconstrained scale, for NUTS; diagonal where no other is known."""
        for covariance in (self.covariance, self.surrogate_covariance):
            if covariance is not None:
                return covariance
        return np.diag(self.approximation.sd**2)

    # ---- helpers ----------------------------------------------------------------------------------------------------

    @cached_property
    def _posteriors(self) -> dict[str, Posterior]:
        return {}

    def _known(self, kind: str) -> str:
        if kind == "best":
            return self.kind
        if kind not in posterior.KINDS:
            raise ValueError(f"kind: expected one of {', '.join((*posterior.KINDS, 'best'))}, got {kind!r}")
        if kind == "linear-response" and self.covariance is None:
            raise ValueError("kind: this fit has no linear response covariance; see fit.reasons")
        if kind == "importance" and self.importance is None:
            raise ValueError("kind: this fit has no importance weights; see fit.reasons")
        return kind

    def _gaussian(self, kind: str) -> tuple[Array, Array]:
        """Mean and factor of a Gaussian kind; the factor of mean field is its sds."""
        q = self.approximation
        if kind == "mean-field" or self.covariance is None:
            return q.mean, q.sd
        return q.mean, np.linalg.cholesky(self.covariance)

    def _note(self, reason: str) -> None:
        if reason not in self.reasons:
            self.reasons.append(reason)
            self.verdict = "caution" if self.verdict == "reliable" else self.verdict

    @property
    def effective_sample_size(self) -> float:
        """Effective size of the weighted draws in use; of Gaussian kinds, their number."""
        return float(effective_sample_size(self.posterior().log_weights))


def _positive_int(name: str, value: Any) -> int:
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name}: expected an integer of 1 or more, got {value!r}")
    return int(value)
