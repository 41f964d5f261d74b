"""The stage of the verdict: which kind of posterior to rely on, how far, why, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from bbvi.correction.chains import Chains
from bbvi.correction.emulation import SurrogateKind
from bbvi.correction.gaussian import GaussianKind
from bbvi.correction.pool import Kind
from bbvi.correction.verdict import Finding, Verdict, gravest
from bbvi.fitting.records import Corrected, Judged
from bbvi.fitting.trust import VerdictPolicy, by_row, of_kind
from bbvi.fitting.weigh import unweighted
from bbvi.search.modes import Mode, found_once, near_modes
from bbvi.solvers.loop import ENDED_BY_LIMITS
from bbvi.status import Status

Array = np.ndarray


def judge(corrected: Corrected, policy: VerdictPolicy = VerdictPolicy()) -> Judged:  # noqa: B008
    """Weigh everything that is known about a fit."""
    kind, own = _chosen(corrected, policy)
    weighed = kind.checked and not kind.problems
    alone = weighed and kind.independent
    # Chains that were begun at other modes, too, and agree closely, have gone from one to the other often enough.
    mixed = alone and isinstance(kind, Chains) and float(kind.rhat.max()) < policy.mixed
    findings = [
        *(finding for finding in corrected.findings),
        *_of_status(corrected, kind, alone),
        # A surrogate knows nothing of a mode that lies apart.
        *_of_modes(corrected, weighed and not isinstance(kind, SurrogateKind), mixed, policy),
        *own,
        *_refused(corrected, kind),
    ]
    verdict = gravest(findings)
    rest = gravest([finding for finding in findings if finding not in own])
    reasons = [finding.reason for finding in findings]
    if verdict > Verdict.RELIABLE:
        reasons += _correlated(corrected, policy)
    else:
        reasons.append(_agreement(corrected, kind))
    return Judged(corrected, kind.name, verdict, reasons, _by_row(kind, rest, own, policy))


def _by_row(
    kind: Kind, rest: Verdict, own: Sequence[Finding], policy: VerdictPolicy
) -> list[tuple[Verdict, str]]:
    """The verdict of each row alone with the checks that failed, or one for all; what concerns the fit, does each."""
    # Of a kind that failed its checks nothing is used, so that what they found is true of all rows of another.
    rows = by_row(kind, policy) if kind.checked else [(gravest(own), "")]
    return [(max(rest, verdict), check or ("the whole fit" if max(rest, verdict) else "")) for verdict, check in rows]


def _chosen(corrected: Corrected, policy: VerdictPolicy) -> tuple[Kind, list[Finding]]:
    """The kind to rely on, with what its checks found: the best of those that were checked, else the best Gaussian."""
    judged = [(kind, of_kind(kind, policy)) for kind in corrected.kinds if kind.checked]
    # Of equals the first, which was cheaper.
    best = min(judged, key=lambda pair: gravest(pair[1]), default=None)
    if best is not None and (isinstance(best[0], SurrogateKind) or best[0].khat < policy.khat or not best[0].problems):
        return best
    gaussian = [kind for kind in corrected.kinds if isinstance(kind, GaussianKind)][-1]
    if best is not None:
        return gaussian, best[1]
    return gaussian, _unchecked(corrected)


def _unchecked(corrected: Corrected) -> list[Finding]:
    noise_sd = corrected.optimum.knowledge.noise_sd
    if noise_sd > 0:
        return [
            Finding(
                Verdict.CAUTION,
                f"The log joint is noisy (sd {noise_sd:.2g} nats), so importance weights mean nothing and were not "
                "used: the sds are mean field's. Average several evaluations in the log joint to go further.",
            )
        ]
    return [unweighted(corrected)]


def _of_status(corrected: Corrected, kind: Kind, alone: bool) -> Iterator[Finding]:
    status = corrected.status
    if status is not Status.CONVERGED and not (alone and status is Status.BUDGET):
        # Of what was cut short and never compared with the posterior, not even an error is known.
        unknown = not kind.checked and not np.isfinite(corrected.optimum.mean_se).all()
        grave = status is Status.DIVERGED or (status is Status.BUDGET and unknown)
        verdict = Verdict.UNRELIABLE if grave else Verdict.CAUTION
        advice = _onward(corrected) if status is Status.BUDGET else status.sentence
        yield Finding(verdict, f"{corrected.message} {advice}")


def _onward(corrected: Corrected) -> str:
    """What to do where a fit ended before it converged: a limit that did not bind is not worth raising."""
    limited = corrected.job.limited if corrected.optimum.message.startswith(ENDED_BY_LIMITS) else ""
    return f"{f'Raise {limited}, or continue' if limited else 'Continue'} from here with init=fit."


def _of_modes(corrected: Corrected, weighed: bool, mixed: bool, policy: VerdictPolicy) -> Iterator[Finding]:
    modes = corrected.modes
    settled = sum(mode.starts for mode in modes)
    if found_once(modes) and settled > 1:
        yield Finding(
            Verdict.CAUTION,
            f"Of {settled} starts that settled, one alone found the best of {len(modes)} modes, so that a better one "
            "may have been missed. Fit again with other seeds, or with init= at values that make sense, and compare "
            "the ELBOs; reparameterize, or split what is independent.",
        )
    near = [mode for mode in near_modes(modes) if not (weighed and mode.elbo < modes[0].elbo - policy.minor)]
    if near and not mixed:
        yield _second_mode(corrected.job.target.labels, modes[0], near[0])


def _second_mode(labels: Sequence[str], best: Mode, other: Mode) -> Finding:
    if other.symmetry:
        return Finding(
            Verdict.UNRELIABLE,
            f"There is a second mode, since the log joint has a symmetry: {other.symmetry} without changing it. "
            "One Gaussian describes only one of the modes. Break the symmetry (an Ordered latent, a Positive one "
            "for a sign, a stronger prior).",
        )
    distance = np.abs(other.mean - best.mean) / np.exp(np.minimum(best.log_sd, other.log_sd))
    far = np.argsort(-distance)[:3]
    where = ", ".join(f"{labels[i]} = {other.mean[i]:.3g} instead of {best.mean[i]:.3g}" for i in far)
    if other.elbo > best.elbo:
        return Finding(
            Verdict.UNRELIABLE,
            f"There is a better mode at {where} (unconstrained scale), {other.elbo - best.elbo:.1f} nats above, which "
            "the limits left no room to go to. Fit again with init= there, or with a larger limit.",
        )
    return Finding(
        Verdict.UNRELIABLE,
        f"There is a second mode at {where} (unconstrained scale), {best.elbo - other.elbo:.1f} nats below: one "
        "Gaussian describes only one of them. Break the symmetry (an Ordered latent, a stronger prior), or fit "
        "each mode with init= and compare their ELBOs.",
    )


def _refused(corrected: Corrected, kind: Kind) -> Iterator[Finding]:
    refused = corrected.response.refused
    if refused and corrected.job.method.gradients and not kind.checked:
        yield Finding(
            Verdict.UNRELIABLE,
            f"There is no linear response covariance: {refused}. The sds are mean field's, which are too small where "
            "latents are correlated: reparameterize, or hand over to MCMC with fit.starts.",
        )


def _correlated(corrected: Corrected, policy: VerdictPolicy) -> list[str]:
    """Latents that are strongly correlated, which are worth knowing where a fit is in doubt."""
    covariance = corrected.response.covariance
    if covariance is None:
        return []
    ratio = np.sqrt(np.diag(covariance)) / corrected.optimum.approximation.sd
    labels = corrected.job.target.labels
    block = [labels[i] for i in np.argsort(-ratio)[:4] if ratio[i] > policy.correlated]
    if len(block) < 2:
        return []
    return [
        f"{', '.join(block)} are strongly correlated (mean field's sds are up to {ratio.max():.0f} times too "
        "small): centre the predictors or reparameterize the block to make the fit easier."
    ]


def _around(corrected: Corrected) -> str:
    modes = corrected.modes
    return f"; in {modes[0].starts} directions there was no other mode of about this width" if modes else ""


def _agreement(corrected: Corrected, kind: Kind) -> str:
    modes = corrected.modes
    searched = f", and none of the {sum(mode.starts for mode in modes)} starts that settled" if modes else ""
    other = "" if not modes else " found another mode" if len(modes) == 1 else " found another mode that matters"
    if isinstance(kind, GaussianKind):
        return f"The Gaussian of {kind.name} is the posterior: weights would change nothing{searched}{other}."
    if isinstance(kind, Chains):
        errors = f"{kind.mean_error.max():.3f} sd in a mean and {kind.sd_error.max():.1%} in an sd"
        return (
            f"{kind.count} chains from {kind.superchains} starts agree (R-hat {kind.rhat.max():.3f}), with standard "
            f"errors of at most {errors}{searched}{other}."
        )
    if isinstance(kind, SurrogateKind):
        return (
            f"{kind.fresh} evaluations agree with the surrogate of {kind.fitted} others to {kind.residual:.2g} nats, "
            f"with standard errors of at most {kind.mean_error:.3f} sd in a mean and {kind.sd_error:.1%} in an sd"
            f"{_around(corrected)}."
        )
    return f"The importance weights agree with the approximation (k-hat {kind.khat:z.2f}){searched}{other}."
