"""What a fit found: the approximation, what is known of its quality, and every figure and draw that follows."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from bbvi.correction import linear_response
from bbvi.correction.chains import Chains
from bbvi.correction.gaussian import GaussianKind
from bbvi.correction.importance import ImportanceResult
from bbvi.correction.pool import Kind, Normal
from bbvi.correction.psis import effective_sample_size
from bbvi.families import Correlated, MeanFieldGaussian
from bbvi.model.model import Model
from bbvi.model.validation import positive_int, seed_or_none
from bbvi.result import posterior
from bbvi.result.posterior import DrawSet, Expectation, Posterior, Row, compared
from bbvi.search.modes import Mode
from bbvi.solvers.state import Trace
from bbvi.status import Status
from bbvi.target.protocol import Evaluated
from bbvi.target.target import Target
from bbvi.threads import single_threaded

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray

_ORDER = ("reliable", "caution", "unreliable")


@dataclass(eq=False)
class FitRecord:
    """The fields of a `Fit`, which tells what they mean, and the draws and figures that follow from them."""

    model: Model
    status: Status
    message: str
    verdict: str
    reasons: list[str]
    approximation: MeanFieldGaussian | Correlated
    covariance: Array | None
    elbo: float
    elbo_se: float
    kind: str
    trace: Trace
    seconds: float
    mean_se: Array
    log_sd_se: Array
    estimator: str
    solver: str
    seed: int
    evaluations: int
    gradient_evaluations: int
    target: Target = field(repr=False)
    kinds: dict[str, Kind] = field(repr=False)
    surrogate_covariance: Array | None = None
    modes: list[Mode] = field(default_factory=list, repr=False)
    noise_sd: float = 0.0
    eps: Array | None = field(default=None, repr=False)
    looped: str = ""
    evaluated: Evaluated | None = field(default=None, repr=False)
    origin: object = field(default=None, repr=False)
    stages: dict[str, float] = field(default_factory=dict, repr=False)
    row_verdicts: list[str] = field(default_factory=list, repr=False)
    row_checks: list[str] = field(default_factory=list, repr=False)

    # ---- plain facts ------------------------------------------------------------------------------------------------

    @property
    def converged(self) -> bool:
        """Whether the solver reached its tolerance."""
        return self.status is Status.CONVERGED

    @property
    def khat(self) -> float:
        """Pareto k-hat of the weights in use."""
        return self.kinds[self.kind].khat

    @property
    def khats(self) -> dict[str, float]:
        """Pareto k-hat by kind."""
        return {name: kind.khat for name, kind in self.kinds.items()}

    @property
    def mean_field(self) -> Normal | Correlated:
        """The optimum of mean field, which is the approximation itself unless a wider family was fitted from there."""
        own = self.kinds["mean-field"]
        if not isinstance(own, GaussianKind):
            raise TypeError(f"mean-field: expected a Gaussian, got {type(own).__name__}")
        return own.normal

    @property
    def importance(self) -> ImportanceResult | None:
        """The weighted draws, where there are any."""
        found = self.kinds.get("importance")
        return found if isinstance(found, ImportanceResult) else None

    @property
    def log_evidence(self) -> float:
        """Log evidence in nats, of the kind that is relied on, or of the weights; NaN where neither knows it."""
        return self._evidence[0]

    @property
    def log_evidence_se(self) -> float:
        """Its standard error."""
        return self._evidence[1]

    @property
    def _evidence(self) -> tuple[float, float]:
        chosen = self.kinds[self.kind]
        if isinstance(chosen, (GaussianKind, Chains)) and np.isfinite(chosen.log_evidence[0]):
            return chosen.log_evidence
        if self.importance is not None:
            return self.importance.log_evidence, self.importance.log_evidence_se
        return float("nan"), float("nan")

    @property
    def chains(self) -> Chains | None:
        """The chains, where there are any."""
        found = self.kinds.get("chains")
        return found if isinstance(found, Chains) else None

    @property
    def rhat(self) -> float:
        """Nested R-hat of the chains, the worst row; NaN where there are none."""
        return float("nan") if self.chains is None else float(self.chains.rhat.max())

    # ---- what a user asks of a posterior ----------------------------------------------------------------------------

    def sample(self, n: int, kind: str = "best", seed: int | None = None) -> dict[str, Array]:
        """Draws of the latents on their constrained scale.

        Parameters
        ----------
        n : int
        kind : str
            ``"mean-field"``, ``"full-rank"`` or ``"low-rank"`` where that family was fitted, ``"linear-response"``,
            ``"surrogate"``, ``"importance"``, ``"chains"`` or ``"best"``.
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
        return self.sampled(n, kind, seed, asked=True)

    def sampled(
        self, n: int, kind: str = "best", seed: int | None = None, *, asked: bool = False
    ) -> dict[str, Array]:
        """As `sample`, which users ask for so many: others are not told when these repeat each other."""
        u = self.draw(n, kind, seed, known=False, asked=asked).u
        return {name: np.array(x) for name, x in self.target.constrain(u)[0].items()}

    @single_threaded
    def draw(
        self,
        n: int,
        kind: str = "best",
        seed: int | None = None,
        *,
        known: bool = True,
        evaluate: bool = False,
        chains: int | None = None,
        asked: bool = True,
    ) -> DrawSet:
        """Draws (n, D) on the unconstrained scale with their log densities and the log weights still to apply.

        Draws of a Gaussian kind are taken from those at which the log joint is `known`, if there are enough, or else
        are fresh and without its density; `evaluate` calls the log joint at them. Those of other kinds are resampled
        from their pool; where a user `asked` for so many, a RuntimeWarning says when it is not worth them. `chains`
        divides them into so many parts that know nothing of each other.
        """
        n = positive_int("n", n)
        if chains is not None and n % positive_int("chains", chains):
            raise ValueError(f"chains: expected a divisor of the number of draws, {n}, got {chains}")
        name = self.known(kind)
        rng = np.random.default_rng([self.seed, 1] if seed_or_none(seed) is None else seed)
        chosen = self.kinds[name]
        if isinstance(chosen, GaussianKind):
            drawn = posterior.gaussian_draws(chosen, n, rng, known=known)
            if evaluate and np.isnan(drawn.lp).any():
                drawn = posterior.weighed(chosen, drawn.u, self.target.values(drawn.u))
            return drawn if chains is None else drawn._replace(chains=chains)
        drawn, effective = posterior.resample(name, self.posterior(name).pool, n, rng, chains)
        if asked and effective < 0.9 * n:
            warnings.warn(
                f"the pool of draws has an effective size of {effective:.0f}, less than the {n} that were asked "
                "for, which repeat each other: ask for fewer, or draw more with fit.extend()",
                RuntimeWarning,
                stacklevel=3,
            )
        return drawn

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
            Rows named as in ArviZ; columns ``mean``, ``sd``, ``eti_lb``, ``eti_ub``,
            ``mcse_mean`` (Monte Carlo error of the mean; ends of the interval have two or three times that, of draws),
            ``sd_mean_field`` (what mean field alone says), ``verdict``
            (what it would be for that row alone; of another kind than the best, by how far its figures are from the
            best's) and ``check`` (which checks failed).
        """
        import pandas as pd

        rows = self.rows(kind, ci_prob)
        return pd.DataFrame([row[1:] for row in rows], index=[row.label for row in rows], columns=list(Row._fields[1:]))

    def table(self, kind: str = "best", ci_prob: float = 0.89) -> list[Row]:
        """Those rows of `summary` that vary, as plain tuples: what is shown on a screen."""
        rows = self.rows(kind, ci_prob)
        # An array that is constant as a whole is one that somebody asked for.
        varying = {_array(row.label) for row in rows if row.sd != 0}
        return [row for row in rows if row.sd != 0 or _array(row.label) not in varying]

    @single_threaded
    def rows(self, kind: str = "best", ci_prob: float = 0.89) -> list[Row]:
        """The rows of `summary` as plain tuples."""
        if not (isinstance(ci_prob, (float, int)) and 0 < ci_prob < 1):
            raise ValueError(f"ci_prob: expected a number between 0 and 1, got {ci_prob!r}")
        key = self.known(kind), float(ci_prob)
        if key not in self._rows:
            rows = self.posterior(kind).rows(ci_prob, self.posterior("mean-field"))
            judged = self._by_checks(rows) if key[0] == self.kind else self._by_difference(rows, ci_prob)
            self._rows[key] = [row._replace(verdict=verdict, check=check) for row, (verdict, check) in judged]
        return list(self._rows[key])

    def _by_checks(self, rows: list[Row]) -> Iterator[tuple[Row, tuple[str, str]]]:
        """Rows of the best kind with the verdict of each, which is one for all where the checks found nothing."""
        verdicts, checks = self.row_verdicts or [self.verdict], self.row_checks or [""]
        if len(verdicts) == 1:
            verdicts, checks = verdicts * len(rows), checks * len(rows)
        return zip(rows, zip(verdicts, checks, strict=True), strict=True)

    def _by_difference(self, rows: list[Row], ci_prob: float) -> Iterator[tuple[Row, tuple[str, str]]]:
        """Rows of another kind, as far as their figures are those of the best."""
        for row, best in zip(rows, self.rows("best", ci_prob), strict=True):
            verdict, failed = compared(row, best)
            worse = _ORDER.index(verdict) > _ORDER.index(best.verdict)
            yield row, (verdict, failed) if worse else (best.verdict, best.check)

    @single_threaded
    def expect(self, fn: Callable[[Any], Any], kind: str = "best") -> Expectation:
        """E[fn(z)] with its standard error; a RuntimeWarning where the draws say that it may not exist.

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
        return chosen.expect(self.target.apply(fn, chosen.u, chosen.weights))

    def posterior(self, kind: str = "best") -> Posterior:
        """The weighted draws that every figure of one kind comes from."""
        name = self.known(kind)
        if name not in self._posteriors:
            self._posteriors[name] = Posterior(name, self.target, self.kinds[name].pool(self.seed))
        return self._posteriors[name]

    def covariance_of(
        self, latents: Sequence[str] | str | None = None, kind: str = "linear-response", *, evaluate: bool = False
    ) -> pd.DataFrame:
        """Labelled covariance on the unconstrained scale, of all latents or of those named.

        Parameters
        ----------
        latents : str or sequence of str, optional
            Names of latents.
        evaluate : bool
            Above 2,000 latents linear response is not at hand: whether the columns of those named are solved for, which
            takes Hessian products of the log joint.
        kind : str
            ``"linear-response"``, ``"importance"`` for that of the weighted draws, or ``"full-rank"`` or
            ``"low-rank"`` for that of the family fitted.

        Raises
        ------
        ValueError
            If a name is unknown, or the covariance was refused.
        """
        import pandas as pd

        known = tuple(self.model.latents)
        names = known if latents is None else (latents,) if isinstance(latents, str) else latents
        if not isinstance(names, (list, tuple)) or not names or any(name not in known for name in names):
            raise ValueError(f"latents: expected names among {', '.join(known)}, got {latents!r}")
        index = np.concatenate([np.arange(self.model.dim)[self.model.slices[name]] for name in names])
        labels = [self.model.unconstrained_labels[i] for i in index]
        fitted = self.kinds.get(kind)
        if kind == "importance":
            chosen = self.posterior(kind)
            centred = chosen.u[:, index] - chosen.weights @ chosen.u[:, index]
            block = (centred * chosen.weights[:, None]).T @ centred
        elif isinstance(fitted, GaussianKind) and isinstance(fitted.normal, Correlated):
            block = fitted.normal.block(index)
        elif kind != "linear-response":
            raise ValueError(
                "kind: expected 'linear-response', 'importance', or the family where a wider one was fitted, got "
                f"{kind!r}"
            )
        elif self.covariance is not None:
            block = self.covariance[np.ix_(index, index)]
        elif self.eps is not None and self.model.dim > linear_response.DENSE_LIMIT:
            if not evaluate:
                raise ValueError(
                    "covariance: with so many latents it is solved for by Hessian products of the log joint; say "
                    "evaluate=True, and latents= for the columns to solve for"
                )
            # The optimum of mean field, also where a wider family was fitted from there.
            q = self.mean_field
            block = linear_response.columns(self.target, q.mean, np.log(q.sd), self.eps, index)[index]
        else:
            raise ValueError("covariance: this fit has no linear response covariance; see fit.reasons")
        return pd.DataFrame(block, index=labels, columns=labels)

    def correlation(
        self, latents: Sequence[str] | str | None = None, kind: str = "linear-response", *, evaluate: bool = False
    ) -> pd.DataFrame:
        """Labelled correlation on the unconstrained scale; as `covariance_of`."""
        covariance = self.covariance_of(latents, kind, evaluate=evaluate)
        sd = np.sqrt(np.diag(covariance))
        return covariance / np.outer(sd, sd)

    def starts(self, n: int, seed: int | None = None) -> list[dict[str, Array]]:
        """`n` dispersed starting points for MCMC chains, each a dict of constrained values."""
        draws = self.sampled(n, seed=seed)
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

    @cached_property
    def _rows(self) -> dict[tuple[str, float], list[Row]]:
        return {}

    def known(self, kind: str) -> str:
        """The name that a `kind` argument means; a ValueError if this fit has none such."""
        if isinstance(kind, str) and kind == "best":
            return self.kind
        if not isinstance(kind, str) or kind not in self.kinds:
            of_family = isinstance(kind, str) and kind in ("full-rank", "low-rank")
            way = f"fit with family={kind!r} for it" if of_family else "fit.reasons says why there is no other"
            known = ", ".join(map(repr, self.kinds))
            raise ValueError(f"kind: expected 'best' or one that this fit has, {known}, got {kind!r}; {way}")
        return kind

    @property
    def effective_sample_size(self) -> float:
        """Effective size of the weighted draws in use; of Gaussian kinds, their number."""
        return float(effective_sample_size(self.posterior().log_weights))


def _array(label: str) -> str:
    """The name of the array that a row belongs to."""
    return label.split("[")[0]
