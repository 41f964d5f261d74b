"""`FixedDraws`: the deterministic, second-order solver for targets with gradients (the default for pathwise)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import ClassVar

import numpy as np

from bbvi.draws import orthogonal, several
from bbvi.estimators.pathwise import Pathwise
from bbvi.solvers import newton
from bbvi.solvers.base import Traits
from bbvi.solvers.curvature import MOST, Coarse, coarse
from bbvi.solvers.hessian import ROWS, few_draws
from bbvi.solvers.hessian import hessian as hessian_of
from bbvi.solvers.state import Knowledge, State
from bbvi.solvers.trust_region import conjugate_gradient
from bbvi.status import Status
from bbvi.target.protocol import LogDensity, hints_of

Array = np.ndarray

# A Newton step this short, in natural units, leaves an error of its square, or of what conjugate gradients leave of it.
_NEWTON_TOLERANCE = 1e-3
# Length of a step, in natural units, from which on fresh draws tell whether these are too few to go on with, and by how
# much their gradients must be too large for it.
_NEAR, _TOO_FEW = 1.0, 2.0
_MAX_STEPS = 300
_MAX_LOG_SD = 60.0
_FRESH_DESIGNS = 8
# Designs that show where each draw counts whether more are needed, and the share of the tolerance below which they are
# not: the spread of three is a tenth of what it should be by a chance of one in a hundred, of one coordinate.
_FEW_DESIGNS, _NO_DOUBT = 3, 0.1
_EXACT_LIMIT = 250
# The Hessian of F is formed, and factorised, up to this many latents.
DENSE_LIMIT = 300
# Hessian products that its Hessian at the optimum takes: all draws of up to some hundred latents, and fewer of more.
_CURVATURE_ROWS = 2**13
_FEWEST_DRAWS = 32
# Where each draw counts, draws from which a Hessian is tried, and its relative error below which these are enough: half
# of it is that of an sd.
_DEAR_DRAWS, _DEAR_ERROR = 8, 0.01


@dataclass
class FixedDrawsState(State):
    """`State` with the draws, the trust region and, at the optimum, the Hessian of F in natural coordinates.

    Near the optimum also the gradients (R, 2D) on fresh designs, of which the spread is the draws' Monte Carlo error.
    """

    eps: Array = field(default_factory=lambda: np.empty((0, 0)))
    radius: float = 1.0
    steps: int = 0
    escapes: int = 0
    hessian: Array = field(default_factory=lambda: np.empty((0, 0)))
    fresh: Array = field(default_factory=lambda: np.empty((0, 0)))
    by: Coarse | None = None

    @property
    def reserve(self) -> int:
        """The Hessian at the optimum, and the fresh designs that show its Monte Carlo error; the first step, too."""
        count, dim = self.eps.shape
        hessian = count * (dim if count * dim**2 <= ROWS else 1)
        return int(_FRESH_DESIGNS * count + (hessian if self.steps else 2 * hessian + count))

    @property
    def knowledge(self) -> Knowledge:
        """The draws, and the Hessian where the optimum was reached."""
        return Knowledge(draws=self.eps, hessian=self.hessian if self.hessian.size else None)


@dataclass(frozen=True)
class FixedDraws:
    """Maximise the ELBO of fixed draws by trust-region Newton-CG (Giordano, Ingram, Broderick 2024).

    The draws are antithetic and orthogonal with exact second moments, which makes the optimum exact for Gaussian
    targets
    of up to ``draws / 2`` latents. At the optimum the gradient on fresh draws shows the Monte Carlo error that is left;
    while it is above the tolerance, the number of draws grows as that asks for, warm-started.

    Parameters
    ----------
    draws : int
        Number of draws to begin with, even. At least 2 (D + 1) are used up to 250 latents, and 128 beyond, so that
        Gaussian targets are fitted exactly, or nearly so.
    max_draws : int
        Number of draws at which to stop even if the error is still above the tolerance.
    """

    draws: int = 32
    max_draws: int = 1024

    state_type: ClassVar[type[FixedDrawsState]] = FixedDrawsState
    traits: ClassVar[Traits] = Traits(estimators=(Pathwise,), gradients=True, search="modes", share=1.0)

    def __post_init__(self) -> None:
        for name in ("draws", "max_draws"):
            value = getattr(self, name)
            if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 2 or value % 2:
                raise ValueError(f"FixedDraws: expected {name} to be an even integer of 2 or more, got {value!r}")
        if self.max_draws < self.draws:
            raise ValueError(f"FixedDraws: expected max_draws of at least draws = {self.draws}, got {self.max_draws}")

    def init(
        self, target: LogDensity, start_mean: Array, start_log_sd: Array, rng: np.random.Generator, tolerance: float
    ) -> FixedDrawsState:
        """The state before the first step; halves the scales until all draws are finite."""
        dim = len(start_mean)
        exact = 2 * (dim + 1) if dim <= _EXACT_LIMIT else 128
        count = min(max(self.draws, exact), self.max_draws)
        eps = orthogonal(count, dim, rng)
        mean, log_sd = np.array(start_mean, dtype=float), np.array(start_log_sd, dtype=float)
        unknown = np.full(dim, np.nan)
        state = FixedDrawsState(mean, log_sd, np.nan, np.inf, 1.0, unknown, unknown.copy(), eps=eps, radius=dim**0.5)
        for _ in range(40):
            value = newton.objective(target, mean[None], state.log_sd[None], eps[None])[0]
            if np.isfinite(value):
                return replace(state, elbo=_elbo(value, dim))
            state = replace(state, log_sd=state.log_sd - 1.0)
        return replace(
            state,
            log_sd=log_sd,
            status=Status.DIVERGED,
            message="The log joint is not finite around the start, however narrow the approximation.",
        )

    def step(
        self, target: LogDensity, state: FixedDrawsState, rng: np.random.Generator, tolerance: float
    ) -> FixedDrawsState:
        """One Newton step, or, where the last one found the optimum, the check of its Monte Carlo error."""
        radius = np.array([state.radius])
        step = newton.iterate(target, state.mean[None], state.log_sd[None], state.eps[None], radius, by=state.by)
        state = replace(
            state,
            mean=step.mean[0],
            log_sd=step.log_sd[0],
            elbo=_elbo(step.value[0], target.dim),
            gradient_norm=float(step.gradient_norm[0]),
            step_size=float(step.length[0]) if step.accepted[0] else 0.0,
            radius=float(step.radius[0]),
            steps=state.steps + 1,
            by=step.by,
        )
        if step.accepted[0] and step.newton[0] and step.length[0] < _NEWTON_TOLERANCE:
            return self._at_optimum(target, state, rng, tolerance)
        if step.accepted[0] and step.newton[0] and step.length[0] < _NEAR and not state.fresh.size:
            return self._near_optimum(target, state, rng, tolerance)
        if not np.isfinite(step.gradient_norm[0]):
            return _ended(state, "The gradient of the log joint is not finite where its value is.")
        if state.radius < 1e-10:
            # No descent is left that rounding does not swallow: as near as this log joint can be computed.
            if state.gradient_norm < 1e-2:
                return self._at_optimum(target, state, rng, tolerance)
            return _ended(state, "No step improves the ELBO, although its gradient is not zero.")
        widest = int(np.argmax(state.log_sd))
        if state.log_sd[widest] > _MAX_LOG_SD:
            label = target.labels[widest]
            return _ended(state, f"The scale of {label} grew without bound: the posterior looks improper in it.")
        if state.steps >= _MAX_STEPS:
            return replace(state, status=Status.BUDGET, message=f"No optimum after {_MAX_STEPS} Newton steps.")
        return state

    def _near_optimum(
        self, target: LogDensity, state: FixedDrawsState, rng: np.random.Generator, tolerance: float
    ) -> FixedDrawsState:
        """More draws where gradients say, without any Hessian, that these are far too few: no more steps for them."""
        count, dim = len(state.eps), target.dim
        state = replace(state, fresh=_fresh_gradients(target, state, rng, _designs(target)))
        ratio = float(np.max(state.fresh.std(axis=0, ddof=1)[:dim])) / tolerance
        more = _needed(count, ratio, dim, self.max_draws) if ratio > _TOO_FEW else count
        return self._with_draws(state, more, rng) if more > count else state

    @staticmethod
    def _with_draws(state: FixedDrawsState, count: int, rng: np.random.Generator) -> FixedDrawsState:
        dim = len(state.mean)
        return replace(state, eps=orthogonal(count, dim, rng), radius=dim**0.5, fresh=np.empty((0, 0)))

    def _at_optimum(
        self, target: LogDensity, state: FixedDrawsState, rng: np.random.Generator, tolerance: float
    ) -> FixedDrawsState:
        dense = target.dim <= DENSE_LIMIT
        if dense:
            hessian = _hessian(target, state, rng)
            try:
                values, vectors = np.linalg.eigh(hessian)
            except np.linalg.LinAlgError:
                return _ended(state, "The curvature of the ELBO at its optimum is no number: it falls off nowhere.")
            if values[0] < -1e-6 and state.escapes < 5 and _falls(target, state, vectors[:, 0]):
                return _moved(state, vectors[:, 0])
            state = replace(state, hessian=hessian)
            unit = _posterior_scale(hessian)
            solve: Callable[[Array], Array] = partial(_solved, hessian)
        else:
            by = None
            if target.dim <= MOST:
                pattern = None if state.by is None else state.by.pattern
                by = coarse(lambda u: target.gradients(u)[1], state.mean, state.log_sd, state.eps, pattern)
            unit = np.ones(target.dim) if by is None else np.sqrt(np.maximum(by.variances, 1.0))
            solve = partial(_iterated, target, state) if by is None else by.solve
        fresh = state.fresh if state.fresh.size else _fresh_gradients(target, state, rng, _designs(target))
        se = solve(fresh - fresh.mean(axis=0)).std(axis=0, ddof=1)
        if len(fresh) < _FRESH_DESIGNS and np.max(se[: target.dim] / unit) > _NO_DOUBT * tolerance:
            fresh = np.concatenate([fresh, _fresh_gradients(target, state, rng, _FRESH_DESIGNS - len(fresh))])
            se = solve(fresh - fresh.mean(axis=0)).std(axis=0, ddof=1)
        state = replace(
            state,
            mean_se=np.exp(state.log_sd) * se[: target.dim],
            log_sd_se=se[target.dim :] / np.sqrt(2.0),
        )
        count = len(state.eps)
        worst = float(np.max(se[: target.dim] / unit))
        if worst <= tolerance:
            return replace(
                state,
                status=Status.CONVERGED,
                message=f"The ELBO of {count} draws is at its maximum, and fresh draws would move no mean by more than "
                f"{worst:.2g} posterior sds.",
            )
        more = _needed(count, worst / tolerance, target.dim, self.max_draws)
        if more <= count:
            return replace(
                state,
                status=Status.BUDGET,
                message=f"The ELBO of {count} draws is at its maximum, but fresh draws would move a mean by "
                f"{worst:.2g} posterior sds, more than the tolerance of {tolerance:g}: allow more draws, as by "
                f"solver=bbvi.FixedDraws(max_draws={8 * count}).",
            )
        return self._with_draws(state, more, rng)


def _needed(count: int, ratio: float, dim: int, most: int) -> int:
    """Draws from which the error, too large by a ratio, may be what it should: doubled until the square root law says
    so, or as many as are exact for Gaussian targets if it takes no fewer.
    """
    more = count
    while more < count * ratio**2 and 2 * more <= most:
        more *= 2
    exact = 2 * (dim + 1)
    return exact if more < count * ratio**2 and count < exact <= most else more


def _falls(target: LogDensity, state: FixedDrawsState, direction: Array) -> bool:
    """Whether F of all draws curves downwards along a direction, as that of a few seems to."""
    product = newton.localize(target, state.mean[None], state.log_sd[None], state.eps[None]).product
    return bool(direction @ product(direction[None])[0] < 0)


def _hessian(target: LogDensity, state: FixedDrawsState, rng: np.random.Generator) -> Array:
    """The Hessian of F at the optimum: where each draw counts, of a few if they agree."""
    if hints_of(target).dear:
        few = orthogonal(_DEAR_DRAWS, target.dim, rng)
        hessian, error = few_draws(target, state.mean, state.log_sd, few)
        if error < _DEAR_ERROR:
            return hessian
    eps = _for_curvature(state.eps, rng)
    return np.asarray(hessian_of(target, state.mean[None], state.log_sd[None], eps[None])[2][0])


def _for_curvature(eps: Array, rng: np.random.Generator) -> Array:
    """The draws themselves, or a design of as many as the products for a whole Hessian allow."""
    count, dim = eps.shape
    few = max(_CURVATURE_ROWS // dim // 2 * 2, _FEWEST_DRAWS)
    return eps if count <= few else orthogonal(few, dim, rng)


def _designs(target: LogDensity) -> int:
    return _FEW_DESIGNS if hints_of(target).dear else _FRESH_DESIGNS


def _fresh_gradients(target: LogDensity, state: FixedDrawsState, rng: np.random.Generator, count: int) -> Array:
    """Gradients (R, 2D) of F on R fresh designs, in natural coordinates: H^-1 of them is how far these would move the
    optimum.
    """
    designs = np.stack(several(count, len(state.eps), target.dim, rng))
    sd = np.exp(state.log_sd)
    r, s, d = designs.shape
    _, gradients = target.gradients((state.mean + sd * designs).reshape(r * s, d))
    g = sd * gradients.reshape(r, s, d)
    gradient = np.concatenate([-g.mean(axis=1), (-(designs * g).mean(axis=1) - 1) / np.sqrt(2.0)], axis=1)
    return np.where(np.isfinite(gradient), gradient, np.inf)


def _solved(hessian: Array, gradient: Array) -> Array:
    return np.linalg.lstsq(hessian, gradient.T, rcond=None)[0].T if np.isfinite(gradient).all() else gradient


def _iterated(target: LogDensity, state: FixedDrawsState, gradient: Array) -> Array:
    """The same by conjugate gradients, where no Hessian is formed."""
    r = len(gradient)
    wide = np.broadcast_to(state.eps, (r, *state.eps.shape))
    local = newton.localize(target, np.tile(state.mean, (r, 1)), np.tile(state.log_sd, (r, 1)), wide)
    norms = np.linalg.norm(gradient, axis=1)
    return conjugate_gradient(
        local.product, gradient, radius=np.full(r, np.inf), tolerance=1e-2 * norms, iterations=200
    )[0]


def _posterior_scale(hessian: Array) -> Array:
    """Linear response sds in units of q's sds; one where the Hessian gives none."""
    dim = len(hessian) // 2
    if np.linalg.eigvalsh(hessian)[0] <= 0:
        return np.ones(dim)
    return np.asarray(np.sqrt(np.maximum(np.diag(np.linalg.inv(hessian))[:dim], 1.0)))


def _moved(state: FixedDrawsState, direction: Array) -> FixedDrawsState:
    """Off a saddle point, along the direction of negative curvature."""
    dim = len(state.mean)
    return replace(
        state,
        mean=state.mean + np.exp(state.log_sd) * direction[:dim],
        log_sd=state.log_sd + np.clip(direction[dim:] / np.sqrt(2.0), -1, 1),
        radius=1.0,
        escapes=state.escapes + 1,
    )


def _elbo(value: float, dim: int) -> float:
    return float(-value + 0.5 * dim * (1 + np.log(2 * np.pi)))


def _ended(state: FixedDrawsState, message: str) -> FixedDrawsState:
    return replace(state, status=Status.DIVERGED, message=message)
