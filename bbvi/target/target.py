"""The unconstrained log density of a model for all draws at once: values, gradients, Hessian products, their count."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from bbvi import memory
from bbvi.batching.autodiff import vjp
from bbvi.batching.course import course, parting
from bbvi.batching.replay import Recording
from bbvi.batching.tape import is_own_fault
from bbvi.model.draw import describe_draw
from bbvi.model.model import Model
from bbvi.target.evaluator import NUMERICAL
from bbvi.target.of_draws import OfDraws
from bbvi.target.parallel import Parallel
from bbvi.target.protocol import Evaluated, Linearization

Array = np.ndarray
logger = logging.getLogger("bbvi")


class NonFinite(NamedTuple):
    """Where the log joint was not finite: how often, and the first time with its draw on the constrained scale."""

    times: int
    value: float
    draw: dict[str, Array]

    def __str__(self) -> str:
        return f"the log joint was {self.value} at {describe_draw(self.draw)}"


class Target(OfDraws):
    """The log density of a `Model`'s unconstrained latents, with the log-Jacobians, batched over draws.

    Parameters
    ----------
    model : Model
    executor : concurrent.futures.Executor, optional
        Spreads the draws of a call over workers.
    replay : bool
        False evaluates draw by draw.
    threads : int
        On which chunks of draws are worked on.
    max_memory : float
        Bytes, of which a third may hold intermediate results for Hessian products; beyond, they are computed again.

    Attributes
    ----------
    evaluations, gradient_evaluations : int
        Cost so far, per draw and not per call. A Hessian product of one draw counts as one gradient.
    rounding : float
        Relative rounding of values and gradients: that of float64, unless `note_rounding` found float32.
    kept : list of Evaluated or None
        Draws and values so far; None where they are not kept.
    tolerant : bool
        Whether RuntimeError, ValueError and OSError of the log joint count as a value that is not finite, as
        arithmetic errors do.
    failures : list of str
        What it raised at single draws.
    nonfinite : NonFinite or None
        What was met outside the support or as NaN. Such values come back as ``-inf``.
    """

    def __init__(
        self,
        model: Model,
        executor: Any = None,
        *,
        replay: bool = True,
        threads: int = 1,
        max_memory: float = float("inf"),
    ) -> None:
        super().__init__(model, replay=replay, threads=threads, max_memory=max_memory)
        memory.kept_for_arrays()
        self.gradient_evaluations = 0
        self.nonfinite: NonFinite | None = None
        self._parallel = None if executor is None else Parallel(Target(model, replay=replay), executor)
        self._traceable: bool | None = None
        self._batches = 0
        self._templates: dict[tuple[str, int], Recording | None] = {}
        self.rounding = float(np.finfo(float).eps)
        self.kept: list[Evaluated] | None = None

    @property
    def labels(self) -> list[str]:
        """Names of the unconstrained coordinates."""
        return self.model.unconstrained_labels

    @property
    def near(self) -> Model:
        """The model by whose data its functions are looked at."""
        return self.model

    # ---- what is kept of values ------------------------------------------------------------------------------------

    @property
    def evaluated(self) -> Evaluated:
        """Draws and values of all calls of `values` since `kept` became a list, ``-inf`` where not finite."""
        if not self.kept:
            return Evaluated(np.empty((0, self.dim)), np.empty(0))
        if len(self.kept) > 1:
            self.kept = [Evaluated(*map(np.concatenate, zip(*self.kept, strict=True)))]
        return self.kept[0]

    def recall(self, u: Array, log_density: Array, *, instead: bool = False) -> None:
        """Keep values that are known already before those that are kept, or instead; they count as no evaluations."""
        self.kept = [Evaluated(u, log_density), *([] if instead else self.kept or [])]

    @property
    def workers(self) -> int:
        """How many draws are evaluated at a time."""
        return 1 if self._parallel is None else self._parallel.workers

    def own_scale(self, u: Array) -> Array:
        """The latents on their own scale, (S, R), at draws `u`, (S, D)."""
        return np.concatenate([x.reshape(len(u), -1) for x in self._plain_draws(u).values()], axis=1)

    # ---- values and derivatives -------------------------------------------------------------------------------------

    @property
    def largest_log_sd(self) -> Array:
        """How wide to look for a latent's scale from values alone, (D,): unbounded for Real latents.

        On a logarithmic scale a few units are orders of magnitude, and simulators seldom bear more of them.
        """
        largest = np.full(self.dim, np.log(3.0))
        for name, latent in self.model.latents.items():
            if latent.transform.whole_line:
                largest[self.model.slices[name]] = np.inf
        return largest

    @property
    def has_gradient(self) -> bool:
        """Whether gradients exist: the user's, or autograd's where it gets through. Costs three gradients, once."""
        if self._traceable is None:
            if "gradient" in self.model.functions:
                self._traceable = True
            else:
                # At several points, since a branch may be traceable where another is not.
                probes = np.array([[0.0], [0.7], [-0.7]]) * np.ones(self.dim)
                with np.errstate(all="ignore"):
                    together = self._batched("density", probes)
                groups = [probes] if together else [probe[None] for probe in probes]
                self._traceable = all(map(self._try_tracing, groups))
        return self._traceable

    def note_rounding(self, u: Array) -> None:
        """Set `rounding` by the type of what the user's gradient returns at draw `u` (D,); costs one gradient."""
        if "gradient" not in self.model.functions:
            return
        self.evaluations += 1
        self.gradient_evaluations += 1
        draws = self._plain_draws(u[None])
        try:
            one = draws if self.model.vectorized else self._one(draws, 0)
            self.rounding = self._kept("rounding", one.values(), lambda: self.model.gradient_rounding(one))
        except NUMERICAL as error:
            logger.info("the type of the gradient is taken for float64: %s", error)

    def values(self, u: Array) -> Array:
        """Log density at draws `u`, (S, D) -> (S,); ``-inf`` where it is not finite."""
        u = np.array(u, dtype=float)
        self.evaluations += len(u)
        values = self._finite(self._everywhere("_raw_values", u), u)
        if self.kept is not None:
            self.kept.append(Evaluated(u, values.copy()))
        return values

    def error_at(self, u: Array) -> Exception | None:
        """The arithmetic error, or None, that counts as a value that is not finite at draw `u`, (D,)."""
        self.evaluations += 1
        try:
            with np.errstate(all="ignore"):
                if self.model.vectorized:
                    self._log_density(u[None])
                else:
                    self._log_density_of_one(u)
        except NUMERICAL as error:
            return error
        return None

    def gradients(self, u: Array) -> tuple[Array, Array]:
        """Log density (S,) and its gradients (S, D); rows of draws without a finite gradient hold NaN."""
        u = np.array(u, dtype=float)
        self.evaluations += len(u)
        self.gradient_evaluations += len(u)
        both = self._everywhere("_raw_gradients", u)
        return self._finite(both[:, 0], u), both[:, 1:]

    def slopes(self, u: Array) -> Array:
        """Gradients alone (S, D), which cost less than with the log density; counted as if it were there."""
        alone = self._slopes_alone()
        if alone is None:
            return self.gradients(u)[1]
        u = np.array(u, dtype=float)
        self.evaluations += len(u)
        self.gradient_evaluations += len(u)
        with np.errstate(all="ignore"):
            return np.concatenate(self._of_chunks(partial(self._guarded_slopes, alone), u, "slopes"))

    def linearize(self, u: Array, scale: Array | None = None) -> Linearization:
        """Values, gradients and a Hessian product at draws `u`, (S, D).

        `scale` (D,) is the size of a small region of interest around the draws, used only where Hessian products come
        from differences of the user's gradients.
        """
        u = np.array(u, dtype=float)
        self.evaluations += len(u)
        self.gradient_evaluations += len(u)
        if "gradient" in self.model.functions:
            both = self._everywhere("_raw_gradients", u)
            values, gradients = both[:, 0], both[:, 1:]
            product = self._differences(u, np.ones(self.dim) if scale is None else scale)
        elif self.elsewhere:
            both = self._everywhere("_raw_gradients", u)
            values, gradients = both[:, 0], both[:, 1:]

            def product(v: Array) -> Array:
                return self._everywhere("_raw_products", np.concatenate([u, v], axis=1))

        else:
            values, gradients, product = self._linearized(u)

        def counted(v: Array) -> Array:
            self.gradient_evaluations += len(u)
            with np.errstate(all="ignore"):
                return product(v)

        return Linearization(self._finite(values, u), gradients, counted)

    def terms(self, u: Array) -> Array:
        """Terms whose sum is the log density, (S, T): the user's, then the log-Jacobian of each latent that has one."""
        u = np.array(u, dtype=float)
        self.evaluations += len(u)
        with np.errstate(all="ignore"):
            draws, _ = self.constrain(u)
            terms = np.reshape(self._evaluate("terms", draws), (len(u), -1))
            jacobians = []
            for name, latent in self.model.latents.items():
                jacobian = latent.transform.constrain(u[:, self.model.slices[name]])[1]
                if np.ndim(jacobian):
                    jacobians.append(np.asarray(jacobian)[:, None])
        return np.concatenate([terms, *jacobians], axis=1)

    def separable(self) -> None:
        """Nothing, where mini-batches may stand for all observations.

        Raises
        ------
        ValueError
            Where the log likelihood of all is not the sum of those of parts, or the model has none.
        """
        # What is looked at are targets of parts of the data, so that its module needs this one first.
        from bbvi.target.apart import separable

        separable(self.model, "mini-batches")

    def minibatch(self, size: int, rng: np.random.Generator) -> Target:
        """An unbiased target of `size` random observations, whose log likelihood is weighted by N / size."""
        # A batch is a target, too, so that its module needs this one first.
        from bbvi.target.minibatch import MiniBatch

        return MiniBatch(self, size, rng)

    def fresh(self) -> Target:
        """Another target of the same model, for another thread."""
        return Target(self.model, replay=self._replay)

    @property
    def elsewhere(self) -> bool:
        """Whether draws are evaluated in other processes, which hold nothing for Hessian products."""
        return self._parallel is not None

    def unrecorded(self, why: str) -> Target:
        """The same target, evaluated draw by draw, with what was counted so far."""
        other = Target(self.model, None if self._parallel is None else self._parallel.executor, replay=False)
        other.threads, other.max_memory = self.threads, self.max_memory
        return self._handed_on(other, why)

    def _handed_on(self, other: Target, why: str) -> Target:
        other.evaluations, other.gradient_evaluations = self.evaluations, self.gradient_evaluations
        other._traceable, other.rounding = self._traceable, self.rounding
        other.kept = None if self.kept is None else []
        other.looped["density"] = why
        other.log = self.log
        return other

    def verify(self, u: Array) -> bool:
        """Whether the recording still agrees with the user's function, draw by draw, at draws `u` (S, D)."""
        recording = self._recordings.get("density")
        if recording is None:
            return True
        self.evaluations += len(u)
        return self._agrees(recording, self._function("density"), self._plain_draws(u))

    def parting(self, u: Array, other: Array) -> str:
        """The user's line from which the log joint goes another way at draw `u` (D,) than where it is recorded.

        Or than at another draw (D,), if it does not; empty where it carries out the same lines.
        """
        function = self._bare("density", self.near)
        here, there = (self._one(self._plain_draws(at[None]), 0) for at in (u, other))
        plain = course(lambda: function(here))
        of_recording, of_other = course(lambda: Recording(function, here)), course(lambda: function(there))
        return parting(of_recording, plain) or parting(of_other, plain)

    # ---- elsewhere, and by differences ------------------------------------------------------------------------------

    def _everywhere(self, method: str, u: Array) -> Array:
        """A method of this class on the rows of `u`, on the executor's workers where there is one."""
        if self._parallel is not None:
            if self.log is not None:
                return self.log.rows(f"{method} {self._replay}", u, partial(self._parallel.map, method))
            return self._parallel.map(method, u)
        return np.asarray(getattr(self, method)(u))

    def _differences(self, u: Array, scale: Array) -> Callable[[Array], Array]:
        """Hessian products by central differences of gradients."""
        # The error is rounding / step + step^2, each times what the region of interest makes it.
        relative = self.rounding**0.25

        def product(v: Array) -> Array:
            length = np.max(np.abs(v) / scale, axis=1, keepdims=True)
            step = relative / np.where(length > 0, length, 1.0)
            both = np.concatenate([u + step * v, u - step * v])
            self.evaluations += len(both)
            self.gradient_evaluations += len(u)
            raw = self._everywhere("_raw_gradients", both)
            return np.asarray((raw[: len(u), 1:] - raw[len(u) :, 1:]) / (2 * step))

        return product

    # ---- all draws at once, or one by one ---------------------------------------------------------------------------

    def _try_tracing(self, u: Array) -> bool:
        """Whether autograd gets through the log joint at draws `u`, or at the only one where they are not batched."""
        self.evaluations += len(u)
        self.gradient_evaluations += len(u)
        with np.errstate(all="ignore"):
            try:
                if self._batched("density", u):
                    product, value = vjp(self._log_density, u)
                    gradient = product(np.ones(len(u)))
                else:
                    product, value = vjp(self._log_density_of_one, u[0])
                    gradient = product(1.0)
            except NUMERICAL:
                return True
            # As in a recording: autograd's boxes met something that wants plain arrays. The user's own errors show
            # without boxes.
            except Exception as error:
                if is_own_fault(error):
                    raise
                logger.info("autograd cannot trace the log joint: %s", error)
                return False
        return np.shape(gradient)[-1:] == (self.dim,) and np.asarray(gradient).dtype != object

    # ---- small helpers ----------------------------------------------------------------------------------------------

    def _finite(self, values: Array, u: Array) -> Array:
        values = np.asarray(values, dtype=float)
        bad = ~np.isfinite(values)
        if not bad.any():
            return values
        first = int(np.argmax(bad))
        if self.nonfinite is None:
            draw = {name: x[0] for name, x in self._plain_draws(u[first : first + 1]).items()}
            self.nonfinite = NonFinite(int(bad.sum()), float(values[first]), draw)
        else:
            self.nonfinite = self.nonfinite._replace(times=self.nonfinite.times + int(bad.sum()))
        return np.where(bad, -np.inf, values)
