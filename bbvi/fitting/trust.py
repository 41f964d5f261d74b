"""How far one kind of posterior may be trusted, by its own checks."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bbvi.correction.chains import Chains
from bbvi.correction.emulation import SurrogateKind
from bbvi.correction.importance import ImportanceResult
from bbvi.correction.pool import Kind
from bbvi.correction.verdict import FUNNEL, Finding, Verdict, gravest


@dataclass(frozen=True)
class VerdictPolicy:
    """What decides a verdict, beside the checks that each kind makes of itself.

    Attributes
    ----------
    khat : float
        Above which weights are not relied on: 0.7 (Vehtari, Simpson, Gelman, Yao, Gabry 2024, section 3.2.4).
    far_khat : float
        k-hat of the Gaussian above which its correction is not trusted on its own word; calibrated.
    minor : float
        Nats below the best mode from which weighted draws that pass every check do for a mode; calibrated.
    rhat, moving, divergent : float
        Nested R-hat, drift in sds and share of divergent trajectories above which chains are not to be relied on at
        all: 1.1 (Gelman, Rubin 1992), and where means may be half an sd off; calibrated.
    mixed : float
        Nested R-hat below which chains have mixed between modes that they were begun at: 1.01 (Margossian et al. 2024),
        Monte Carlo error included.
    correlated : float
        Ratio of corrected to mean-field sds from which latents are named as strongly correlated.
    """

    khat: float = 0.7
    far_khat: float = 1.5
    minor: float = 4.0
    rhat: float = 1.1
    moving: float = 0.3
    divergent: float = 0.2
    mixed: float = 1.01
    correlated: float = 3.0


def of_kind(kind: Kind, policy: VerdictPolicy = VerdictPolicy()) -> list[Finding]:  # noqa: B008
    """What the checks of a kind found; nothing where it may be relied on."""
    if not kind.problems:
        if isinstance(kind, ImportanceResult) and kind.initial_khat > policy.far_khat:
            return [
                Finding(
                    Verdict.CAUTION,
                    "The posterior is far from a Gaussian on the unconstrained scale "
                    f"(k-hat {kind.initial_khat:.1f} before the correction): the weighted draws agree with each other, "
                    "but regions that none of them reached would not show. Compare with a reparameterized "
                    "(non-centred) model, or with MCMC from fit.starts.",
                )
            ]
        return []
    if isinstance(kind, Chains):
        return [_of_chains(kind, policy)]
    if isinstance(kind, SurrogateKind):
        return [_of_surrogate(kind)]
    text = "Importance sampling found: " + "; ".join(kind.problems) + "."
    if kind.khat > policy.khat:
        return [
            Finding(
                Verdict.UNRELIABLE,
                f"{text} The approximation misses parts of the posterior: reparameterize (non-centre hierarchical "
                "latents), use tighter priors, or hand over to MCMC with fit.starts and fit.inverse_metric.",
            )
        ]
    return [
        Finding(
            Verdict.CAUTION,
            f"{text} Report quantiles instead of the sds concerned, draw more with fit.extend(), or reparameterize.",
        )
    ]


def by_row(kind: Kind, policy: VerdictPolicy = VerdictPolicy()) -> list[tuple[Verdict, str]]:  # noqa: B008
    """What the checks of a kind leave of each row alone: a verdict and the checks that failed; one pair for all alike.

    Checks that concern all rows, such as k-hat, count for each of them.
    """
    if isinstance(kind, ImportanceResult):
        common = gravest(of_kind(replace(kind, problems=kind.shared), policy))
        own = [Verdict.CAUTION if doubt else Verdict.RELIABLE for doubt in kind.doubts]
    elif isinstance(kind, Chains):
        common = Verdict.CAUTION if kind.shared else Verdict.RELIABLE
        if kind.divergent > policy.divergent:
            common = Verdict.UNRELIABLE
        apart = (kind.apart > policy.rhat) | (kind.drift > policy.moving)
        own = [
            Verdict.RELIABLE if not doubt else Verdict.UNRELIABLE if bad else Verdict.CAUTION
            for doubt, bad in zip(kind.doubts, apart, strict=True)
        ]
    else:
        return [(gravest(of_kind(kind, policy)), "")]
    if not any(own):
        return [(common, "")]
    return [(max(common, verdict), doubt) for verdict, doubt in zip(own, kind.doubts, strict=True)]


def _of_chains(chains: Chains, policy: VerdictPolicy) -> Finding:
    text = "Chains found: " + "; ".join(chains.problems) + "."
    apart, moving = float(chains.apart.max()), float(chains.drift.max())
    if apart > policy.rhat or moving > policy.moving or chains.divergent > policy.divergent:
        return Finding(
            Verdict.UNRELIABLE,
            f"{text} They have not reached the posterior: reparameterize (non-centre hierarchical latents), use "
            "tighter priors, or break what makes several modes; or run longer chains with fit.extend().",
        )
    if any(FUNNEL in problem for problem in chains.problems):
        return Finding(Verdict.CAUTION, f"{text} Longer chains would miss the same: reparameterize.")
    return Finding(Verdict.CAUTION, f"{text} Run longer chains with fit.extend(), or reparameterize.")


def _of_surrogate(kind: SurrogateKind) -> Finding:
    text = "The surrogate found: " + "; ".join(kind.problems) + "."
    verdict = Verdict.CAUTION if kind.fair else Verdict.UNRELIABLE
    return Finding(verdict, f"{text} Its errors are in mcse_mean. Go on with init=fit and a larger max_evaluations.")
