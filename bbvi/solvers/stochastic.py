"""`Stochastic`: Monte Carlo gradients of any estimator, an adaptive step, and averaged iterates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from bbvi.estimators.base import Estimator, positive_int
from bbvi.estimators.cost import TargetCost
from bbvi.estimators.gradient import as_estimator
from bbvi.estimators.pathwise import Pathwise
from bbvi.estimators.score_function import ScoreFunction
from bbvi.families import MeanFieldGaussian
from bbvi.solvers import stopping
from bbvi.solvers.base import Traits
from bbvi.solvers.step_cost import Anchor, Anchored, Surviving
from bbvi.solvers.stochastic_state import StochasticState
from bbvi.status import Status
from bbvi.target.protocol import LogDensity

Array = np.ndarray

OPTIMIZERS = ("adam", "adagrad", "sgd")
# A step of the solver is so many iterations, and fewer where their evaluations would be more than these.
_ITERATIONS, _EVALUATIONS = 25, 1000
_MOMENTUM, _MEMORY = 0.9, 0.95
# Natural gradients below this are followed in proportion: without noise, iterates then converge instead of
# cycling.
_FLOOR = 0.1
_OUTDATED = 1e-3
_LONGEST = 5.0
# Its square does not overflow.
_STEEPEST = 1e100
_MAX_BLOCKS = 256
_MAX_LOG_SD = 60.0
_SKIPPED, _MAX_FAILURES = 2, 100
_PROBE_SHARE = 0.2
_MOST_DRAWS = 400
_MOST_ITERATIONS = 50_000


@dataclass(frozen=True)
class Stochastic:
    """Follow Monte Carlo gradients with a fixed adaptive step, average, halve the step, and stop in time.

    Each iterate moves along the natural gradient, in units of q's own scale, divided by its root mean square
    so far (Kingma and Ba 2015; Duchi, Hazan and Singer 2011). With a fixed step the iterates settle around
    the optimum; split R-hat shows when, and their average is the answer, with the Monte Carlo error that
    autocorrelation leaves. The step is then halved, until a further stage is not worth its cost (Welandawe et
    al. 2022).

    Parameters
    ----------
    draws : int, optional
        Draws per gradient. By default 10, for the score function 30, and with regression as many as its
        squares need, or its cross terms where these need 400 or less: (D + 1) (D + 2). Where terms show which
        latents belong together, the cross terms are those of a group of median size.
    step_size : float
        The first step, in sds of q.
    optimizer : {"adam", "adagrad", "sgd"}
        How the natural gradient is scaled: by its recent size, by its accumulated size, or not at all.
    decay : float
        With a positive decay the step of iteration t is ``step_size * (1 + t) ** -decay`` and is not halved
        (Robbins and Monro 1951: above 0.5 and up to 1).
    batch_size : int, optional
        Observations in a mini-batch; by default all of them.
    estimator : Estimator, optional
        By default pathwise where the target has a gradient, else the score function.

    Raises
    ------
    ValueError, TypeError
        If an option is out of its range.
    """

    state_type: ClassVar[type[StochasticState]] = StochasticState
    traits: ClassVar[Traits] = Traits()

    draws: int | None = None
    step_size: float = 0.1
    optimizer: str = "adam"
    decay: float = 0.0
    batch_size: int | None = None
    estimator: Estimator | None = None

    def __post_init__(self) -> None:
        for name in ("draws", "batch_size"):
            if getattr(self, name) is not None:
                positive_int(f"Stochastic: {name}", getattr(self, name))
        if not _is_number(self.step_size) or not 0 < self.step_size <= 1:
            raise ValueError(f"Stochastic: expected step_size above 0 and at most 1, got {self.step_size!r}")
        if not _is_number(self.decay) or not 0 <= self.decay <= 1:
            raise ValueError(f"Stochastic: expected decay between 0 and 1, got {self.decay!r}")
        if self.optimizer not in OPTIMIZERS:
            known = ", ".join(repr(name) for name in OPTIMIZERS)
            raise ValueError(f"Stochastic: expected optimizer to be one of {known}, got {self.optimizer!r}")
        if self.estimator is not None:
            as_estimator(self.estimator)

    def with_estimator(self, estimator: Estimator) -> Stochastic:
        """The same solver with this estimator."""
        return replace(self, estimator=estimator)

    def init(
        self, target: LogDensity, start_mean: Array, start_log_sd: Array, rng: np.random.Generator, tolerance: float
    ) -> StochasticState:
        """The state before the first step; no evaluation is made.

        Raises
        ------
        ValueError
            If mini-batches are asked for and cannot stand for all observations.
        """
        if self.batch_size is not None:
            target.separable()
        start = np.concatenate([start_mean, start_log_sd]).astype(float)
        unknown = np.full(start.size, np.nan)
        dim = len(start_mean)
        return StochasticState(
            mean=start[:dim].copy(),
            log_sd=start[dim:].copy(),
            elbo=np.nan,
            gradient_norm=np.inf,
            step_size=self.step_size,
            mean_se=unknown[:dim].copy(),
            log_sd_se=unknown[dim:].copy(),
            iterate=start,
            sound=start.copy(),
            velocity=np.zeros(start.size),
            square=np.zeros(start.size),
            blocks=np.empty((0, start.size)),
            partial=np.zeros(start.size),
            previous=unknown,
            previous_error=unknown.copy(),
        )

    def step(
        self, target: LogDensity, state: StochasticState, rng: np.random.Generator, tolerance: float
    ) -> StochasticState:
        """Up to 25 iterations, and then the question whether their stage, and the fit, has come to its
        end."""
        estimator = self._estimator(target)
        state = self._with_structure(target, estimator, state, rng)
        draws = self._draws(estimator, target.dim, state.structure)
        count = max(1, min(_ITERATIONS, _EVALUATIONS // draws))
        known = {"structure": state.structure} if state.structure.size else {}
        elbos, naturals, replaced = [], [], state.replaced
        anchor = self._anchor(target, estimator, state)
        for _ in range(count if state.failures < _MAX_FAILURES else 0):
            q = _gaussian(state.iterate)
            cost = Surviving(self._cost(target, anchor, rng), q)
            estimate = estimator.estimate(cost, q, draws, rng, **known)
            replaced += cost.replaced
            if not (np.isfinite(estimate.value) and np.all(np.isfinite(estimate.gradient))):
                state = _recovered(state)
                continue
            natural = _natural(estimate.gradient, q)
            state = self._advanced(state, natural, q.sd)
            elbos.append(estimate.value)
            naturals.append(natural)
        state = replace(state, steps=state.steps + 1, iterations=state.iterations + count, replaced=replaced)
        if elbos:
            norm = float(np.linalg.norm(np.mean(naturals, axis=0)))
            state = replace(state, elbo=float(np.mean(elbos)), gradient_norm=norm)
        state = self._judged(target, state, tolerance)
        if state.status is None and state.iterations >= _MOST_ITERATIONS:
            return _exhausted(state, tolerance)
        return state

    def _anchor(self, target: LogDensity, estimator: Estimator, state: StochasticState) -> Anchor | None:
        """The whole target at the mean of q, by which the gradients of this step's mini-batches are corrected."""
        if self.batch_size is None or isinstance(estimator, ScoreFunction) or not target.has_gradient:
            return None
        point = state.iterate[: target.dim]
        values, gradients = target.gradients(point[None])
        if not (np.isfinite(values[0]) and np.all(np.isfinite(gradients))):
            return None
        return Anchor(point, float(values[0]), gradients[0])

    def _cost(self, target: LogDensity, anchor: Anchor | None, rng: np.random.Generator) -> TargetCost:
        if self.batch_size is None:
            return TargetCost(target)
        part = target.minibatch(self.batch_size, rng)
        return TargetCost(part) if anchor is None else Anchored(part, anchor)

    def _estimator(self, target: LogDensity) -> Estimator:
        if self.estimator is not None:
            return as_estimator(self.estimator)
        return Pathwise() if target.has_gradient else ScoreFunction()

    def _draws(self, estimator: Estimator, dim: int, structure: Array) -> int:
        if self.draws is not None:
            return self.draws
        if not isinstance(estimator, ScoreFunction):
            return 10
        if estimator.control_variate != "regression":
            return 30
        # Each latent's regression has the features of those that it shares a term with: all where nothing is
        # known.
        sizes = np.full(dim, dim)
        if len(structure) == dim:
            sizes = np.sum(structure.astype(int) @ structure.T > 0, axis=1)
        typical, largest = int(np.median(sizes)), int(np.max(sizes))
        with_cross_terms, with_squares = (typical + 1) * (typical + 2), 2 * (2 * largest + 1)
        if with_cross_terms > _MOST_DRAWS:
            with_cross_terms = 0
        return max(10, min(max(with_cross_terms, with_squares), _MOST_DRAWS))

    def _with_structure(
        self, target: LogDensity, estimator: Estimator, state: StochasticState, rng: np.random.Generator
    ) -> StochasticState:
        """Terms that each latent touches, added to from time to time: q moves, and sees more of them."""
        if not isinstance(estimator, ScoreFunction):
            return state
        if self.batch_size is not None:
            # The terms of a mini-batch are other ones each time.
            return replace(state, structure=np.ones((1, 1), dtype=bool))
        every = int(np.ceil(3 * (target.dim + 1) / (_PROBE_SHARE * _EVALUATIONS)))
        if state.steps % every or (state.structure.size and np.all(state.structure)):
            return state
        found = estimator.structure(TargetCost(target), _gaussian(state.iterate), rng)
        return replace(state, structure=found | state.structure if state.structure.size else found)

    def _advanced(self, state: StochasticState, natural: Array, sd: Array) -> StochasticState:
        t = state.stage_iterations
        # A plain mean at first, then an exponential one.
        momentum = min(_MOMENTUM, t / (t + 1.0))
        velocity = momentum * state.velocity + (1.0 - momentum) * natural
        fresh = natural * natural
        # The gradient is divided by what was known before it: by itself it would be a biased direction.
        known = state.square if t else fresh
        if self.optimizer == "adam":
            # On the way from far off, gradients fall by orders of magnitude: what is out of date is forgotten
            # sooner, but not sooner than the velocity forgets it.
            longest = min(_MEMORY, t / (t + 1.0))
            memory = np.where(fresh < _OUTDATED * known, min(longest, _MOMENTUM**1.5), longest)
            size, square = np.sqrt(known) + _FLOOR, memory * known + (1.0 - memory) * fresh
        elif self.optimizer == "adagrad":
            size, square = np.sqrt(known) + _FLOOR, known + fresh
        else:
            size, square = np.ones_like(known), known
        length = state.caution * state.step_size * (1.0 + t) ** -self.decay
        move = np.clip(length * velocity / size, -_LONGEST * length, _LONGEST * length)
        iterate = state.iterate + np.concatenate([sd, np.full(sd.size, np.sqrt(0.5))]) * move
        state = replace(
            state, iterate=iterate, sound=state.iterate, velocity=velocity, square=square,
            stage_iterations=t + 1, failures=0, caution=min(1.0, 1.1 * state.caution),
        )  # fmt: skip
        return _recorded(state)

    def _judged(self, target: LogDensity, state: StochasticState, tolerance: float) -> StochasticState:
        dim = state.mean.size
        if state.failures >= _MAX_FAILURES:
            return _diverged(state, "The log joint is not finite, however narrow q is made.")
        if not np.all(np.abs(state.iterate[dim:]) < _MAX_LOG_SD):
            widest = int(np.argmax(np.abs(state.iterate[dim:])))
            label = target.labels[widest]
            message = f"The scale of {label} grew or shrank without bound: is the posterior proper in it?"
            return _diverged(state, message)
        if len(state.blocks) == 0:
            return state
        unit = np.concatenate([np.exp(state.iterate[dim:]), np.full(dim, np.sqrt(0.5))])
        x = state.blocks / unit
        start, error = stopping.settled_window(x, ignore=0.25 * tolerance)
        if state.stage == 0 or error is not None:
            average = np.mean(state.blocks[start:], axis=0)
            state = replace(state, mean=average[:dim], log_sd=average[dim:])
        if error is None:
            return state
        left = np.sqrt(error**2 + self._bias(state, unit, error) ** 2) * unit
        state = replace(state, mean_se=left[:dim], log_sd_se=left[dim:])
        if np.max(error) > tolerance:
            return state
        return self._next_stage(state, unit, error, tolerance)

    def _bias(self, state: StochasticState, unit: Array, error: Array) -> Array:
        """What the fixed step may still bias the average by, in natural units: its move beyond Monte Carlo
        error."""
        if state.stage == 0:
            return np.zeros_like(error)
        moved, noise = _moved(state, unit, error)
        return np.asarray(np.sqrt(np.maximum(moved**2 - noise**2, 0.0)))

    def _next_stage(self, state: StochasticState, unit: Array, error: Array, tolerance: float) -> StochasticState:
        if self.decay > 0:
            return _converged(state)
        if state.stage > 0:
            moved, noise = _moved(state, unit, error)
            following = state.stage_iterations * state.stage_iterations / state.previous_iterations
            if not stopping.worth_continuing(moved, noise, state.iterations, following, tolerance):
                return _converged(state)
        average = np.concatenate([state.mean, state.log_sd])
        return replace(
            state,
            step_size=0.5 * state.step_size,
            stage=state.stage + 1,
            previous=average,
            previous_error=error * unit,
            previous_iterations=state.stage_iterations,
            iterate=average.copy(),
            sound=average.copy(),
            velocity=np.zeros_like(average),
            square=np.zeros_like(average),
            blocks=np.empty((0, average.size)),
            partial=np.zeros_like(average),
            pending=0,
            stage_iterations=0,
            width=1,
        )


def _gaussian(iterate: Array) -> MeanFieldGaussian:
    dim = iterate.size // 2
    return MeanFieldGaussian(iterate[:dim], np.exp(iterate[dim:]))


def _natural(gradient: Array, q: MeanFieldGaussian) -> Array:
    """The gradient in coordinates (mean / sd, sqrt(2) log_sd), in which q's Fisher information is the
    identity."""
    natural = gradient * np.concatenate([q.sd, np.full(q.dim, np.sqrt(0.5))])
    return np.asarray(np.clip(natural, -_STEEPEST, _STEEPEST))


def _recorded(state: StochasticState) -> StochasticState:
    """Add the iterate to its block; when there are too many blocks, make them twice as wide."""
    partial, pending = state.partial + state.iterate, state.pending + 1
    if pending < state.width:
        return replace(state, partial=partial, pending=pending)
    blocks = np.concatenate([state.blocks, partial[None, :] / pending])
    width = state.width
    if len(blocks) == _MAX_BLOCKS:
        blocks, width = 0.5 * (blocks[0::2] + blocks[1::2]), 2 * width
    return replace(state, blocks=blocks, width=width, partial=np.zeros_like(partial), pending=0)


def _recovered(state: StochasticState) -> StochasticState:
    """After an estimate that is not finite: skip it; the third time in a row go back, then narrow q as well.

    Going back is half way to the last finite iterate, then to the average, and so in the end to the start.
    """
    iterate, sound, caution = state.iterate, state.sound, state.caution
    if state.failures == _SKIPPED:
        iterate = 0.5 * (iterate + sound)
    elif state.failures > _SKIPPED:
        dim = state.mean.size
        iterate = sound = np.concatenate([0.5 * (sound[:dim] + state.mean), sound[dim:] - 0.25])
        caution = max(0.5 * caution, 1e-3)
    return replace(
        state, iterate=iterate, sound=sound, velocity=np.zeros_like(state.velocity), caution=caution,
        failures=state.failures + 1,
    )  # fmt: skip


def _moved(state: StochasticState, unit: Array, error: Array) -> tuple[Array, Array]:
    """How far the average has moved since the stage before, and the error of that, in natural units."""
    average = np.concatenate([state.mean, state.log_sd])
    return (average - state.previous) / unit, np.hypot(error, state.previous_error / unit)


def _converged(state: StochasticState) -> StochasticState:
    message = "The averaged iterates are known to the tolerance, and a smaller step would not pay for itself."
    if state.replaced:
        message += f" The log joint was not finite at {state.replaced} of its draws, which were left out."
    return replace(state, status=Status.CONVERGED, message=message)


def _exhausted(state: StochasticState, tolerance: float) -> StochasticState:
    error = float(np.max(state.mean_se / np.exp(state.log_sd)))
    known = f"its means are known to {error:.2g} sds" if np.isfinite(error) else "its iterates have not settled"
    message = (
        f"After {state.iterations} iterations {known}, and not to the tolerance of {tolerance:g}: give more draws, a "
        "larger batch_size, a larger tolerance, or go on from this fit with init=fit."
    )
    return replace(state, status=Status.BUDGET, message=message)


def _diverged(state: StochasticState, message: str) -> StochasticState:
    return replace(state, status=Status.DIVERGED, message=message)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.floating | np.integer) and not isinstance(value, bool)
