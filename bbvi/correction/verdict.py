"""The verdict: whether a fit may be relied on, why, and what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

from bbvi.correction.importance import ImportanceResult
from bbvi.search.modes import Mode, found_once, near_modes
from bbvi.status import Status

Array = np.ndarray

# Nats below the best mode from which weighted draws that pass every check do for a mode.
_MINOR = 4.0
# k-hat of the Gaussian above which its correction is not trusted on its own word.
_FAR_KHAT = 1.5


class Verdict(IntEnum):
    """Ordered, so that the worst finding decides."""

    RELIABLE = 0
    CAUTION = 1
    UNRELIABLE = 2

    def __str__(self) -> str:
        return self.name.lower()


@dataclass
class Findings:
    """Collects reasons; the verdict is the gravest of them."""

    verdict: Verdict = Verdict.RELIABLE
    reasons: list[str] = field(default_factory=list)

    def add(self, verdict: Verdict, reason: str) -> None:
        self.verdict = max(self.verdict, verdict)
        self.reasons.append(reason)


def judge(
    *,
    labels: Sequence[str],
    status: Status,
    message: str,
    kind: str,
    khat: float,
    importance: ImportanceResult | None,
    refused: str,
    covariance: Array | None,
    sd: Array,
    modes: Sequence[Mode],
    notes: Sequence[str],
    limited: str,
    noise_sd: float,
    nonfinite: float,
) -> Findings:
    """Weigh everything that is known about a fit.

    Parameters
    ----------
    labels : sequence of str
        Names of the unconstrained coordinates.
    kind : str
        The kind of the posterior in use, and `khat` of its weights.
    refused : str
        Why there is no linear response covariance; empty where there is one.
    modes : sequence of Mode
        Local optima that the starts found, the fitted one first.
    notes : sequence of str
        What happened on the way and makes the result unreliable whatever else is said.
    limited : str
        What was left out for the limits' sake; empty if nothing was.
    noise_sd : float
        Noise of the log joint, in nats; 0 if deterministic.
    nonfinite : float
        Share of q's draws at which the log joint is not finite.
    """
    found = Findings()
    for note in notes:
        found.add(Verdict.UNRELIABLE, note)
    if limited:
        found.add(Verdict.CAUTION, limited)
    _judge_status(found, status, message)
    _judge_modes(found, labels, modes, importance)
    if nonfinite > 0:
        found.add(
            Verdict.CAUTION,
            f"The log joint is not finite at {nonfinite:.1%} of the approximation's draws, so that its ELBO is minus "
            "infinity: declare the latents' supports (Positive, Interval) instead of returning -inf.",
        )
    if noise_sd > 0:
        found.add(
            Verdict.CAUTION,
            f"The log joint is noisy (sd {noise_sd:.2g} nats), so importance weights mean nothing and were not used: "
            "the sds are mean field's. Average several evaluations in the log joint to go further.",
        )
    elif importance is None:
        found.add(
            Verdict.CAUTION,
            "No importance weights were drawn to check the approximation against the posterior: "
            "fit again with a larger max_evaluations or max_seconds.",
        )
    else:
        _judge_importance(found, labels, kind, khat, importance)
    if refused and kind != "importance":
        found.add(
            Verdict.UNRELIABLE,
            f"There is no linear response covariance: {refused}. The sds are mean field's, which are too small where "
            "latents are correlated: reparameterize, or hand over to MCMC with fit.starts.",
        )
    if found.verdict > Verdict.RELIABLE and covariance is not None:
        _name_correlated(found, labels, covariance, sd)
    if found.verdict is Verdict.RELIABLE:
        searched = f", and none of the {sum(mode.starts for mode in modes)} starts that settled" if modes else ""
        other = "" if not modes else " found another mode" if len(modes) == 1 else " found another mode that matters"
        found.reasons.append(
            f"The importance weights agree with the approximation (k-hat {khat:.2f}){searched}{other}."
        )
    return found


def _judge_status(found: Findings, status: Status, message: str) -> None:
    if status is Status.DIVERGED:
        found.add(Verdict.UNRELIABLE, f"{message} {status.sentence}")
    elif status is not Status.CONVERGED:
        found.add(Verdict.CAUTION, f"{message} {status.sentence}")


def _judge_modes(
    found: Findings, labels: Sequence[str], modes: Sequence[Mode], importance: ImportanceResult | None
) -> None:
    settled = sum(mode.starts for mode in modes)
    if found_once(modes) and settled > 1:
        found.add(
            Verdict.CAUTION,
            f"Of {settled} starts that settled, one alone found the best of {len(modes)} modes, so that a better one "
            "may have been missed. Fit again with other seeds, or with init= at values that make sense, and compare "
            "the ELBOs; reparameterize, or split what is independent.",
        )
    weighed = importance is not None and importance.reliable
    near = [mode for mode in near_modes(modes) if not (weighed and mode.elbo < modes[0].elbo - _MINOR)]
    for other in near[:1]:
        best = modes[0]
        if other.symmetry:
            found.add(
                Verdict.UNRELIABLE,
                f"There is a second mode, since the log joint has a symmetry: {other.symmetry} without changing it. "
                "One Gaussian describes only one of the modes. Break the symmetry (an Ordered latent, a Positive one "
                "for a sign, a stronger prior).",
            )
            continue
        distance = np.abs(other.mean - best.mean) / np.exp(np.minimum(best.log_sd, other.log_sd))
        far = np.argsort(-distance)[:3]
        where = ", ".join(f"{labels[i]} = {other.mean[i]:.3g} instead of {best.mean[i]:.3g}" for i in far)
        found.add(
            Verdict.UNRELIABLE,
            f"There is a second mode at {where} (unconstrained scale), {best.elbo - other.elbo:.1f} nats below: one "
            "Gaussian describes only one of them. Break the symmetry (an Ordered latent, a stronger prior), or fit "
            "each mode with init= and compare their ELBOs.",
        )


def _judge_importance(
    found: Findings, labels: Sequence[str], kind: str, khat: float, importance: ImportanceResult
) -> None:
    if importance.reliable and importance.initial_khat > _FAR_KHAT:
        found.add(
            Verdict.CAUTION,
            "The posterior is far from a Gaussian on the unconstrained scale "
            f"(k-hat {importance.initial_khat:.1f} before the correction): the weighted draws agree with each other, "
            "but regions that none of them reached would not show. Compare with a reparameterized (non-centred) "
            "model, or with MCMC from fit.starts.",
        )
    if importance.reliable:
        return
    text = "Importance sampling found: " + "; ".join(importance.problems) + "."
    if importance.khat > 0.7:
        found.add(
            Verdict.UNRELIABLE,
            f"{text} The approximation misses parts of the posterior: reparameterize (non-centre hierarchical "
            "latents), use tighter priors, or hand over to MCMC with fit.starts and fit.inverse_metric.",
        )
    else:
        found.add(
            Verdict.CAUTION,
            f"{text} Report quantiles instead of the sds concerned, raise max_evaluations, or reparameterize.",
        )


def _name_correlated(found: Findings, labels: Sequence[str], covariance: Array, sd: Array) -> None:
    ratio = np.sqrt(np.diag(covariance)) / sd
    worst = np.argsort(-ratio)[:4]
    block = [labels[i] for i in worst if ratio[i] > 3]
    if len(block) > 1:
        found.reasons.append(
            f"{', '.join(block)} are strongly correlated (mean field's sds are up to {ratio.max():.0f} times too "
            "small): centre the predictors or reparameterize the block to make the fit easier."
        )
