"""The records that the stages of a fit hand on: Start, Optimum, Corrected, Judged."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from bbvi.correction.gaussian import GaussianKind
from bbvi.correction.linear_response import LinearResponse
from bbvi.correction.pool import Evaluated, Kind
from bbvi.correction.verdict import Finding, Verdict
from bbvi.families import Correlated, MeanFieldGaussian
from bbvi.fitting.job import Job
from bbvi.search.modes import Mode
from bbvi.solvers.state import Knowledge, Trace
from bbvi.solvers.wider import Widened
from bbvi.status import Status

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Start:
    """Where a fit begins: points (K, D) with log scales (K, D), best first, and the modes that starts led to.

    `limited` is a sentence on what was left out for the limits' sake; `interrupted` says that the user did not wait.
    """

    job: Job
    points: Array
    log_sd: Array
    modes: tuple[Mode, ...] = ()
    findings: tuple[Finding, ...] = ()
    limited: str = ""
    interrupted: bool = False

    @property
    def best(self) -> tuple[Array, Array]:
        """Mean and log sds (D,) to begin at."""
        return (self.modes[0].mean, self.modes[0].log_sd) if self.modes else (self.points[0], self.log_sd[0])


@dataclass(frozen=True, eq=False)
class Optimum:
    """Where the solver ended, what it knows of that place, and places (K, D) elsewhere that draws are to reach.

    `widened` is where the search for the optimum of a wider family ended, if one was asked for.
    """

    start: Start
    approximation: MeanFieldGaussian
    status: Status
    message: str
    mean_se: Array
    log_sd_se: Array
    trace: Trace
    knowledge: Knowledge = Knowledge()
    widened: Widened | None = None
    modes: tuple[Mode, ...] = ()
    findings: tuple[Finding, ...] = ()
    places: Array = field(default_factory=lambda: np.empty((0, 0)))

    @property
    def job(self) -> Job:
        """What the fit works on."""
        return self.start.job

    @property
    def fitted(self) -> MeanFieldGaussian | Correlated:
        """The Gaussian of the family that was asked for."""
        return self.approximation if self.widened is None else self.widened.approximation

    @property
    def known_all(self) -> bool:
        """Whether that has all correlations."""
        return self.widened is not None and self.widened.approximation.whole

    @property
    def begun(self) -> bool:
        """Whether the solver made a step."""
        return len(self.trace) > 0 or self.status is not Status.INTERRUPTED


@dataclass(frozen=True, eq=False)
class Corrected:
    """What is known of the posterior beyond the optimum.

    Attributes
    ----------
    optimum : Optimum
    status, message
        The optimum's, or what became of them on the way.
    kinds : tuple of Kind
        Approximations of the posterior, the cheapest first.
    modes : tuple of Mode
        Local optima, the fitted one first.
    findings : tuple of Finding
        What the checks found, whichever kind is used.
    response : LinearResponse
    elbo, elbo_se : float
        Of fresh draws.
    evaluated : Evaluated, optional
        Fresh draws of the approximation.
    nonfinite : float
        The share of them where the log joint is not finite.
    """

    optimum: Optimum
    status: Status
    message: str
    kinds: tuple[Kind, ...] = ()
    modes: tuple[Mode, ...] = ()
    findings: tuple[Finding, ...] = ()
    response: LinearResponse = LinearResponse(None, "")
    elbo: float = float("nan")
    elbo_se: float = float("nan")
    evaluated: Evaluated | None = None
    nonfinite: float = 0.0

    @property
    def job(self) -> Job:
        """What the fit works on."""
        return self.optimum.job

    @property
    def worth_checking(self) -> bool:
        """Whether draws of the posterior can be had that start from this optimum."""
        noisy = self.optimum.knowledge.noise_sd > 0
        return self.optimum.begun and not noisy and self.nonfinite < 0.5 and self.status is not Status.DIVERGED

    def kind(self, name: str) -> Kind | None:
        """The kind of that name, if there is one."""
        return next((kind for kind in self.kinds if kind.name == name), None)

    @property
    def widest(self) -> GaussianKind:
        """The most corrected Gaussian."""
        return [kind for kind in self.kinds if isinstance(kind, GaussianKind)][-1]

    def with_kind(self, kind: Kind) -> Corrected:
        """The same with one more kind, or with another of that name."""
        kept = [other for other in self.kinds if other.name != kind.name]
        at = next((i for i, other in enumerate(self.kinds) if other.name == kind.name), len(kept))
        return replace(self, kinds=(*kept[:at], kind, *kept[at:]))


@dataclass(frozen=True, eq=False)
class Judged:
    """The kind to rely on, the verdict, and why; `rows` is the verdict of each row alone, or one for all."""

    corrected: Corrected
    kind: str
    verdict: Verdict
    reasons: list[str] = field(default_factory=list)
    rows: list[tuple[Verdict, str]] = field(default_factory=list)
