"""`fit`: the one entry point, from a model to a posterior with a verdict."""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bbvi.correction import importance as correction
from bbvi.correction import linear_response
from bbvi.correction.importance import ImportanceResult
from bbvi.correction.proposals import Mixture
from bbvi.correction.psis import psis
from bbvi.correction.slices import conditional_mixture
from bbvi.correction.verdict import judge, near_modes
from bbvi.draws import orthogonal
from bbvi.estimators import Pathwise, ScoreFunction
from bbvi.families import MeanFieldGaussian
from bbvi.fitting import arguments
from bbvi.fitting.arguments import Method
from bbvi.model.model import Model
from bbvi.result import posterior
from bbvi.result.fit import Fit
from bbvi.search import rivals, starts, symmetries
from bbvi.search.modes import Mode
from bbvi.solvers import newton
from bbvi.solvers.fixed_draws import FixedDraws
from bbvi.solvers.from_values.natural_gradient import NaturalGradient
from bbvi.solvers.loop import Limits, Progress, run, unstarted
from bbvi.solvers.state import State, Trace
from bbvi.solvers.stochastic import Stochastic
from bbvi.status import Status
from bbvi.target import checks
from bbvi.target.target import Target
from bbvi.threads import single_threaded

Array = np.ndarray

# Above so many latents importance weights degenerate whatever the approximation.
_MOST_WEIGHTED = 1000
# Above so many, one round of draws shows all that can be had.
_EASILY_WEIGHTED = 200
_NARROW = 1000
_RESPONSE_DRAWS = 32
_VALUES_PER_LATENT = 4000
# Evaluations in all at which a fit from values ends if nobody set a limit and its solver needed no more; and the most
# that weights may take of any limit.
_VALUES, _MOST_VALUES = 5000, 20_000
# Weighted draws below which none are worth drawing.
_FEWEST_WEIGHTS = 100
# Rounds of weighted draws by default, and where the user says what they may cost; draws then.
_ROUNDS, _MOST_ROUNDS, _MOST_WEIGHTS = 8, 12, 200_000
# Limits of evaluations below which modes are not looked for, for none and for each latent: the search takes about as
# many.
_SEARCHED, _SEARCHED_PER_LATENT = 1000, 800
# Shares of max_seconds that candidates, the checks and the search for modes may take before they are cut short.
_CANDIDATES_UNTIL, _CHECKS_UNTIL, _SEARCH_UNTIL = 0.2, 0.4, 0.6
_COARSE = (
    "gradient: it returns float32, seven digits of the log joint. The fit allows for that, but where the log joint is "
    "large they are too few: return float64. In JAX say jax.config.update('jax_enable_x64', True) before anything "
    "else; in PyTorch make the tensors torch.float64"
)


@dataclass(frozen=True)
class Job:
    """What a fit works on: starting points (K, D), best first, with log scales; `dispersed` if nobody chose them.

    `limited` is a sentence on what was left out for the limits' sake.
    """

    target: Target
    method: Method
    points: Array
    log_sd: Array
    dispersed: bool
    rng: np.random.Generator
    seed: int
    tolerance: float
    limits: Limits
    started: float
    limited: str = ""

    def late(self, share: float = 1.0) -> bool:
        """Whether this share of max_seconds is over."""
        return time.perf_counter() - self.started > share * self.limits.max_seconds

    @property
    def affordable(self) -> float:
        """Evaluations that there is time for, if one takes as long as one has taken so far."""
        elapsed = time.perf_counter() - self.started
        if np.isinf(self.limits.max_seconds) or elapsed == 0:
            return np.inf
        return max(self.limits.max_seconds - elapsed, 0.0) * self.target.evaluations / elapsed

    @property
    def small(self) -> bool:
        """Whether max_evaluations leaves no room to look for modes."""
        return self.limits.max_evaluations < _SEARCHED + _SEARCHED_PER_LATENT * self.target.dim


@single_threaded
def fit(
    model: Model | Callable[..., Any],
    latents: Mapping[str, Any] | int | None = None,
    *,
    estimator: Any = "auto",
    solver: Any = "auto",
    seed: int | None = None,
    init: Any = None,
    tolerance: float = 0.05,
    max_evaluations: int | None = None,
    max_seconds: float | None = None,
    callback: Callable[[Progress], Any] | None = None,
    progress: bool | None = None,
    executor: Any = None,
    checkpoint: str | Path | None = None,
) -> Fit:
    """Fit a mean-field Gaussian by maximising the ELBO, correct it, and say how far it can be relied on.

    Parameters
    ----------
    model : Model or callable
        A log joint alone is wrapped in a `Model`, with `latents`.
    latents : dict or int, optional
        Only with a callable.
    estimator : str or object
        ``"auto"`` (pathwise where a gradient exists, else score), ``"pathwise"``, ``"score"``, `Pathwise` or
        `ScoreFunction`. Where gradients are not the derivative of the values (rounding, steps), the score function is
        used and the fit says so.
    solver : str or object
        ``"auto"``, `FixedDraws` (the default for pathwise), `NaturalGradient` (for score) or `Stochastic` (any).
    seed : int, optional
        Makes the fit, and everything drawn from it, reproducible.
    init : dict, array or Fit, optional
        Where to start: values of the latents on the constrained scale, flat unconstrained values (D,), or an earlier
        fit. Without it a handful of dispersed starts is compared.
    tolerance : float
        Monte Carlo error that the fit may leave in a mean, in posterior sds.
    max_evaluations, max_seconds : optional
        Budgets. Evaluations count per draw, everything included.
    callback : callable, optional
        Called with a `Progress` after each step; returning True ends the fit.
    progress : bool, optional
        Progress bar on standard error; None shows it in a terminal, for fits of over two seconds.
    executor : concurrent.futures.Executor, optional
        Evaluates draws in parallel.
    checkpoint : path, optional
        Written while the fit runs, and continued from where it exists.

    Returns
    -------
    Fit

    Raises
    ------
    TypeError, ValueError
        If an argument or the log joint is not what it should be; the message names it.
    """
    started = time.perf_counter()
    model = arguments.as_model(model, latents)
    method = arguments.choose_method(estimator, solver)
    limits = arguments.as_limits(max_evaluations, max_seconds, callback, progress, checkpoint)
    if not (isinstance(tolerance, (int, float, np.number)) and tolerance > 0):
        raise ValueError(f"tolerance: expected a positive number, got {tolerance!r}")
    seed = arguments.as_seed(seed)
    rng = np.random.default_rng(seed)
    target = Target(model, executor)
    given = arguments.start_of(target, init)
    # Evaluated on plain arrays first, so that an error in a user's function shows as itself.
    target.values(np.zeros((1, target.dim)) if given is None else given[0][None])
    if method.name != "score" and not target.has_gradient:
        method = _without_gradient(method)
    points = np.zeros((1, target.dim)) if given is None else given[0][None]
    log_sd = np.zeros((1, target.dim)) if given is None or given[1] is None else given[1][None]
    job = Job(target, method, points, log_sd, given is None, rng, seed, tolerance, limits, started)
    try:
        if given is None:
            points, limited = _candidates(job)
            job = dataclasses.replace(job, points=points, limited=limited)
        if method.name != "score":
            target.note_rounding(points[0])
            if target.rounding > 1e-10:
                warnings.warn(_COARSE, RuntimeWarning, stacklevel=3)
        checks.check_batching(target, points)
        repeated = checks.repeated_terms(target, points[0])
        if repeated:
            warnings.warn(repeated, RuntimeWarning, stacklevel=3)
        if not job.late(_CHECKS_UNTIL):
            checks.check_dependence(target, points[0], rng)
        if method.name != "score":
            if given is None:
                unsearched = job.small or job.late(_CHECKS_UNTIL)
                points = points[:1] if unsearched else starts.chosen(target, points)
            if given is None or given[1] is None:
                log_sd = starts.initial_log_sd(target, points)
            method = _with_true_gradient(job, method, points[0], log_sd[0])
    except KeyboardInterrupt:
        return _interrupted(job)
    job = dataclasses.replace(job, method=method, points=points, log_sd=log_sd)
    return _fit_pathwise(job) if isinstance(method.solver, FixedDraws) else _fit_values(job)


def _candidates(job: Job) -> tuple[Array, str]:
    """Candidates for a start, best first, as many as the limits allow, and what was left out."""
    limits = job.limits
    count = 9 if job.method.name == "score" else 32
    fewer = int(np.clip(limits.max_evaluations / 8, 3, count))
    timed = {} if np.isinf(limits.max_seconds) else {"late": lambda: job.late(_CANDIDATES_UNTIL)}
    points = starts.candidates(job.target, job.rng, fewer, **timed)[0]
    if job.late(_CANDIDATES_UNTIL):
        return points, _unsearched("max_seconds", limits.max_seconds)
    if fewer < count or (job.small and job.method.name != "score"):
        return points, _unsearched("max_evaluations", limits.max_evaluations)
    return points, ""


def _unsearched(name: str, limit: float) -> str:
    return (
        f"{name} ({limit:g}) is too small to look for other modes in full: the fit began at one of few points. Fit "
        f"again with a larger {name}, or with init= at values that make sense."
    )


# ---- with gradients -------------------------------------------------------------------------------------------------


def _without_gradient(method: Method) -> Method:
    if method.name == "pathwise":
        raise ValueError(
            "estimator: 'pathwise' needs a gradient, but autograd cannot trace the log joint; write it with "
            "autograd.numpy and bbvi.stats, give gradient=, or use estimator='score'"
        )
    return Method("score", ScoreFunction(), _score_solver(method.solver))


def _with_true_gradient(job: Job, method: Method, point: Array, log_sd: Array) -> Method:
    """The pathwise method, or the score function where gradients are not the derivative of the values."""
    target = job.target
    # A line takes 24 gradients, and the limits may have room for few.
    lines = 1 if job.late(_CHECKS_UNTIL) else int(np.clip(job.limits.max_evaluations / 200, 1, 20))
    found = checks.check_gradient(target, point, np.exp(log_sd), job.rng, lines)
    if found.ok:
        return Method("pathwise", method.estimator or Pathwise(), method.solver)
    if "gradient" in target.model.functions:
        why = "" if target.rounding < 1e-10 else "; float32 may be all that is wrong with it: return float64"
        raise ValueError(f"gradient: it contradicts finite differences of log_joint: {found}{why}")
    warnings.warn(
        f"the log joint is not differentiable as autograd sees it, so the score function is used: {found}",
        RuntimeWarning,
        stacklevel=3,
    )
    return Method("score", ScoreFunction(), _score_solver(method.solver))


def _score_solver(solver: Any) -> Any:
    return solver if isinstance(solver, Stochastic) else NaturalGradient()


def _fit_pathwise(job: Job) -> Fit:
    """Fixed draws: proper, pulled into the best mode, fitted, corrected by linear response."""
    target, rng = job.target, job.rng
    try:
        limit = job.limits.max_evaluations
        # It takes twenty values a latent.
        if 8 * 20 * target.dim < limit and not job.late(_CHECKS_UNTIL):
            checks.check_proper(target, job.points[0])
        modes: list[Mode] = []
        if job.dispersed and not job.small and not job.late(_CHECKS_UNTIL):
            modes = starts.find_modes(target, job.points, job.log_sd, rng, limit, lambda: job.late(_SEARCH_UNTIL))
        if job.dispersed and job.late(_SEARCH_UNTIL if modes else _CHECKS_UNTIL):
            job = dataclasses.replace(job, limited=_unsearched("max_seconds", job.limits.max_seconds))
    except KeyboardInterrupt:
        return _interrupted(job)
    begin = (modes[0].mean, modes[0].log_sd) if modes else (job.points[0], job.log_sd[0])
    state, trace = run(job.method.solver, target, begin, rng, job.tolerance, job.limits, job.started)
    notes = []
    if not target.verify(state.mean + np.exp(state.log_sd) * orthogonal(4, target.dim, rng)):
        notes.append(
            "The log joint did not behave as when it was recorded (it branches on values, keeps a state, or draws "
            "random numbers): the fit is void. Fit again with estimator='score', or make the function pure."
        )
    return assemble(job, state, trace, _linear_response(target, state), modes, notes)


def _linear_response(target: Target, state: State) -> linear_response.LinearResponse:
    eps, hessian = getattr(state, "eps", None), getattr(state, "hessian", np.empty((0, 0)))
    if target.dim > linear_response.DENSE_LIMIT:
        return linear_response.LinearResponse(None, "there are too many latents; fit.covariance_of solves for some")
    if not hessian.size and eps is not None and state.status is Status.CONVERGED:
        hessian = newton.hessian(target, state.mean[None], state.log_sd[None], eps[None])[2][0]
    if not hessian.size:
        return linear_response.LinearResponse(None, "the optimum was not reached")
    return linear_response.from_hessian(hessian, state.log_sd)


# ---- from values ----------------------------------------------------------------------------------------------------


def _fit_values(job: Job) -> Fit:
    """The score function, or any estimator with stochastic steps."""
    solver = job.method.solver
    if isinstance(solver, Stochastic):
        solver = dataclasses.replace(solver, estimator=job.method.estimator)
    # What the fit's own checks will cost is kept back.
    budget = 0.8 * job.limits.max_evaluations
    if isinstance(solver, NaturalGradient):
        # Ten times what it has ever needed: beyond, the target has no optimum to be found.
        budget = min(budget, _VALUES_PER_LATENT * (job.target.dim + 10))
    inner = dataclasses.replace(job.limits, max_evaluations=budget, max_seconds=0.8 * job.limits.max_seconds)
    begin = (job.points[0], job.log_sd[0])
    state, trace = run(solver, job.target, begin, job.rng, job.tolerance, inner, job.started)
    modes: list[Mode] = []
    if isinstance(solver, NaturalGradient) and job.dispersed and state.status is Status.CONVERGED:
        state, modes = rivals.challenged(
            job.target, solver, state, trace, job.points, job.rng, job.tolerance, inner, job.started
        )
    if job.method.name == "score":
        response = linear_response.LinearResponse(None, "only values of the log joint are known")
    elif job.target.dim > _EASILY_WEIGHTED:
        response = linear_response.LinearResponse(None, "with so many latents stochastic steps do without")
    else:
        state, response = _seen_from_the_end(job, state)
    return assemble(job, state, trace, response, modes, [])


def _interrupted(job: Job) -> Fit:
    """The best start as it is, for a fit that was interrupted before its first step."""
    state = unstarted((job.points[0], job.log_sd[0]))
    return assemble(job, state, Trace(), linear_response.LinearResponse(None, ""), [], [])


def _seen_from_the_end(job: Job, state: State) -> tuple[State, linear_response.LinearResponse]:
    """Linear response where stochastic steps ended, and whether that is the optimum.

    Along strongly correlated latents steps can be so slow that the iterates look settled. The Hessian of all data,
    which linear response needs, knows how far a Newton step would still go.
    """
    if state.status is not Status.CONVERGED:
        return state, linear_response.LinearResponse(None, "the optimum was not reached")
    eps = orthogonal(_RESPONSE_DRAWS, job.target.dim, job.rng)
    _, gradient, hessian = newton.hessian(job.target, state.mean[None], state.log_sd[None], eps[None])
    response = linear_response.from_hessian(hessian[0], state.log_sd)
    if response.covariance is not None:
        step = np.linalg.solve(hessian[0], gradient[0])[: job.target.dim] * np.exp(state.log_sd)
        left = float(np.max(np.abs(step) / np.sqrt(np.diag(response.covariance))))
        # The tolerance is one standard error.
        if left > 3 * job.tolerance:
            message = (
                f"The iterates settled {left:.2g} posterior sds from the optimum: latents are too correlated for "
                "stochastic steps. Go on with bbvi.FixedDraws() and init=fit."
            )
            state = dataclasses.replace(state, status=Status.BUDGET, message=message)
    return state, response


# ---- what every fit ends with ---------------------------------------------------------------------------------------


def assemble(
    job: Job,
    state: State,
    trace: Trace,
    response: linear_response.LinearResponse,
    modes: list[Mode],
    notes: list[str],
) -> Fit:
    """ELBO and k-hat of fresh draws, the importance correction, and the verdict.

    A fit that was interrupted before its first step is not worth an evaluation more: it is its start, and unreliable.
    """
    target, method, limits, rng = job.target, job.method, job.limits, job.rng
    q = MeanFieldGaussian(state.mean, np.exp(state.log_sd))
    cheap = method.name == "pathwise"
    noise_sd = float(getattr(state, "noise_sd", 0.0))
    surrogate = getattr(state, "surrogate_covariance", np.empty((0, 0)))
    surrogate = surrogate if surrogate.size else None
    covariance = response.covariance
    elbo, elbo_se, khat, nonfinite = np.nan, np.nan, np.nan, 0.0
    result = None
    begun = len(trace) > 0 or state.status is not Status.INTERRUPTED
    if not begun:
        notes = [*notes, "The fit made no step: its means are where it started, and its sds say nothing. Fit again."]
    try:
        if begun:
            wanted = 1000 if cheap else int(np.clip(0.12 * target.evaluations, 60, 1000))
            left = int(min(wanted, max(min(limits.max_evaluations - target.evaluations, 0.5 * job.affordable), 16)))
            elbo, elbo_se, khat, nonfinite = _fresh_elbo(target, q, left, rng)
        if begun and noise_sd == 0 and nonfinite < 0.5 and state.status is not Status.DIVERGED:
            modes = _with_images(job, q, elbo, modes) if state.status is Status.CONVERGED else modes
            proposal = covariance if covariance is not None else surrogate
            in_time = job.affordable
            result = _corrected(job, state, q, np.diag(q.sd**2) if proposal is None else proposal, modes)
            if (result is None and in_time < _FEWEST_WEIGHTS) or job.late():
                state = dataclasses.replace(state, message=_out_of_time(state, result))
        if result is not None and result.interrupted:
            message = "The fit was interrupted while its weights were drawn: these are the draws up to then."
            state = dataclasses.replace(state, status=Status.INTERRUPTED, message=message)
    except KeyboardInterrupt:
        state = dataclasses.replace(
            state, status=Status.INTERRUPTED, message="The fit was interrupted before its quality was known."
        )
    khats = {"mean-field": khat}
    if result is not None:
        khats["importance"] = result.khat
        if covariance is not None:
            khats["linear-response"] = result.initial_khat
    kind = _best(result, covariance)
    found = judge(
        labels=target.model.unconstrained_labels,
        status=state.status or Status.BUDGET,
        message=state.message,
        kind=kind,
        khat=khats.get(kind, khat),
        importance=result,
        refused=response.refused if covariance is None and cheap else "",
        covariance=covariance,
        sd=q.sd,
        modes=modes,
        notes=notes,
        limited=job.limited,
        noise_sd=noise_sd,
        nonfinite=nonfinite,
    )
    return Fit(
        model=target.model,
        status=state.status or Status.BUDGET,
        message=f"{state.message} {job.limited}".strip(),
        verdict=str(found.verdict),
        reasons=found.reasons,
        approximation=q,
        covariance=covariance,
        elbo=elbo,
        elbo_se=elbo_se,
        khat=float(khats.get(kind, khat)),
        khats=khats,
        kind=kind,
        trace=trace,
        seconds=time.perf_counter() - job.started,
        mean_se=state.mean_se,
        log_sd_se=state.log_sd_se,
        estimator=method.name,
        solver=type(method.solver).__name__,
        seed=job.seed,
        target=target,
        importance=result,
        surrogate_covariance=surrogate,
        log_evidence=float("nan") if result is None else result.log_evidence,
        log_evidence_se=float("nan") if result is None else result.log_evidence_se,
        modes=modes,
        noise_sd=noise_sd,
        eps=getattr(state, "eps", None),
    )


def _out_of_time(state: State, result: ImportanceResult | None) -> str:
    """The message with what came of the weights when the time was up."""
    if "max_seconds" in state.message:
        return state.message
    what = "before weights could be drawn" if result is None else "while weights were drawn"
    return f"{state.message} max_seconds was reached {what}."


def _corrected(
    job: Job, state: State, q: MeanFieldGaussian, covariance: Array, modes: list[Mode]
) -> ImportanceResult | None:
    """The importance correction of N(mean, covariance), in keeping with what the fit itself has cost."""
    target, cheap = job.target, job.method.name == "pathwise"
    if target.dim > _MOST_WEIGHTED:
        return None
    limited = np.isfinite(job.limits.max_evaluations)
    if not cheap:
        budget = _affordable(job, state)
    elif limited and target.dim <= _EASILY_WEIGHTED:
        budget = _MOST_WEIGHTS
    else:
        # Draws of models with little data cost next to nothing.
        least = 40_000 if target.width <= _NARROW and target.dim <= _EASILY_WEIGHTED else 5_000
        most = 60_000 if target.dim <= _EASILY_WEIGHTED else 5_000
        budget = int(np.clip(1.5 * target.gradient_evaluations, least, most))
    left = min(job.limits.max_evaluations - target.evaluations, job.affordable)
    budget = int(min(max(budget, _FEWEST_WEIGHTS), left))
    if budget < _FEWEST_WEIGHTS:
        return None
    begun = target.evaluations

    def remaining() -> float:
        """What the limits leave; time is up only once there are draws to go by."""
        if job.late() and target.evaluations > begun:
            return 0
        return job.limits.max_evaluations - target.evaluations

    return correction.correct(
        target.values,
        lambda u: posterior.reported(target, u),
        q.mean,
        covariance,
        job.rng,
        max_evaluations=budget,
        remaining=remaining,
        max_rounds=_MOST_ROUNDS if limited else _ROUNDS,
        # Rounds grow, so that the first can be small where every draw is dear.
        first=None if cheap else int(np.clip(budget // 20, 264, 1000 + 50 * target.dim)),
        conditionals=_conditionals(target) if cheap else None,
        alternatives=[(mode.mean, np.exp(mode.log_sd)) for mode in near_modes(modes)],
    )


def _with_images(job: Job, q: MeanFieldGaussian, elbo: float, modes: list[Mode]) -> list[Mode]:
    """The modes with the images of the best under symmetries of the log joint, where there are any."""
    images = symmetries.images(job.target, q.mean, q.sd, np.random.default_rng(job.seed))
    if not images:
        return modes
    best = modes[0] if modes else Mode(q.mean, np.log(q.sd), elbo, 1)
    return [best, *(Mode(mean, np.log(q.sd), best.elbo, 0, text) for text, mean in images), *modes[1:]]


def _affordable(job: Job, state: State) -> int:
    """Draws that a correction from values may take: what the limits leave, or what brings a fit to the usual cost."""
    limits, spent = job.limits, job.target.evaluations
    if state.status is Status.INTERRUPTED:
        return spent // 4
    total = limits.max_evaluations if np.isfinite(limits.max_evaluations) else max(_VALUES, 1.25 * spent)
    return int(np.clip(min(total - spent, job.affordable), 0, _MOST_VALUES))


def _conditionals(target: Target) -> Callable[[Array, Array, int], Mixture | None] | None:
    """Slices along a latent, where a grid of Hessians is within reason."""
    if target.dim > 60 or target.dim * target.width > 2**16:
        return None
    return lambda mean, covariance, index: conditional_mixture(target, mean, covariance, index)


def _fresh_elbo(
    target: Target, q: MeanFieldGaussian, draws: int, rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """ELBO, its standard error, k-hat of mean field, and the share of draws without a finite density."""
    u = q.sample(draws, rng)
    log_ratio = target.values(u) - q.log_density(u)
    finite = np.isfinite(log_ratio)
    khat = float(psis(log_ratio)[1])
    if not finite.all():
        return -np.inf, np.inf, khat, float(1 - finite.mean())
    return float(log_ratio.mean()), float(log_ratio.std(ddof=1) / np.sqrt(draws)), khat, 0.0


def _best(result: ImportanceResult | None, covariance: Array | None) -> str:
    if result is not None and result.khat < 0.7:
        return "importance"
    return "mean-field" if covariance is None else "linear-response"
