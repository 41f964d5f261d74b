"""A model's functions at all draws at once: recorded where a recording proves to be the same, else draw by draw."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.tracer import getval

from bbvi.batching.autodiff import columns
from bbvi.batching.derivatives import equal, is_derivative, record_derivative, stack
from bbvi.batching.doubts import doubt_of, may_keep_state, what_is_read
from bbvi.batching.replay import Recording
from bbvi.batching.tape import NotRecordable
from bbvi.model.model import Model
from bbvi.serial import digest
from bbvi.target.allowance import Exhausted
from bbvi.target.log import Log

Array = np.ndarray
logger = logging.getLogger("bbvi")

# Elements that one operation may hold before draws are evaluated in chunks, two megabytes, which caches hold; and from
# which on there are two chunks, for two threads: of less, one is waiting for the other.
_CHUNK_ELEMENTS, _SHARED_ELEMENTS = 2**18, 2**17
# Elements per draw of the largest operation from which on arithmetic is what a draw costs, and every draw counts.
_DEAR_ELEMENTS = 5_000
# Functions whose values the log keeps.
_OF_DENSITY = ("density", "terms")
# The user's functions that other values come from, and those that the density comes from.
GIVEN_AS = {"derived": "derived", "pointwise": "log_likelihood"}
_LOG_DENSITIES = ("log_joint", "log_prior", "log_likelihood")
NUMERICAL = (ArithmeticError, np.linalg.LinAlgError)
# What the replay of a recording raises at a draw where the function would have taken another course.
REPLAY_ERRORS = (*NUMERICAL, TypeError, ValueError, IndexError, AttributeError)


class Evaluator:
    """The functions of a `Model` on draws of its unconstrained latents.

    Parameters
    ----------
    model : Model
    replay : bool
        False evaluates draw by draw.

    Attributes
    ----------
    evaluations : int
        Calls of the log joint so far that proving a recording took.
    allowance : float
        How many there may be in all; see `bbvi.target.allowance`.
    looped : dict of str
        Why functions are evaluated draw by draw, by name; ``"density"`` is the log joint.
    log : Log or None
        Is asked first, and told what the log joint says, where that is kept on disk.
    """

    def __init__(self, model: Model, *, replay: bool = True) -> None:
        self.model = model
        self.dim = model.dim
        self.allowance = float("inf")
        self.evaluations = 0
        self._recordings: dict[str, Recording | None] = {}
        self.looped: dict[str, str] = {}
        self._read: list[tuple[Any, ...]] | None = None
        self._wary: dict[str, bool] = {}
        self._proven: set[str] = set()
        self.log: Log | None = None
        self._salt = b""
        self._replay = replay and not model.vectorized

    @property
    def evaluations(self) -> int:
        return self._evaluations

    @evaluations.setter
    def evaluations(self, count: int) -> None:
        if count > self.allowance:
            raise Exhausted(f"{count:g} evaluations are more than the {self.allowance:g} that are allowed")
        self._evaluations = count

    # ---- scales -----------------------------------------------------------------------------------------------------

    def constrain(self, u: Any) -> tuple[dict[str, Any], Any]:
        """Draws ``u`` (S, D) on the constrained scale, each latent (S, *shape), and their log-Jacobian (S,) or 0."""
        draws, log_jacobian = {}, 0.0
        single = len(self.model.latents) == 1
        for name, latent in self.model.latents.items():
            part = self.model.slices[name]
            own = u if single else columns(u, part.start, part.stop)
            draws[name], jacobian = latent.transform.constrain(own)
            log_jacobian = log_jacobian + jacobian
        return draws, log_jacobian

    def unconstrain(self, values: Mapping[str, Any]) -> Array:
        """Values by latent, any leading axes, as flat unconstrained draws (..., D)."""
        parts = [latent.unconstrain(values[name]) for name, latent in self.model.latents.items()]
        return np.concatenate(parts, axis=-1)

    def unconstrain_safely(self, draws: Mapping[str, Array]) -> Array:
        """As `unconstrain`, but draws at the very edge of their support give the origin instead of an error."""
        try:
            return self.unconstrain(draws)
        except ValueError:
            return np.zeros((len(next(iter(draws.values()))), self.dim))

    # ---- the log density --------------------------------------------------------------------------------------------

    @property
    def recorded(self) -> bool:
        """Whether all draws are evaluated in one pass (None of the functions has to be looped over draws)."""
        return self.model.vectorized or self._recordings.get("density") is not None

    @property
    def width(self) -> int:
        """Elements that one draw takes in the largest operation of the log joint, the latents themselves at least."""
        recording = self._recordings.get("density")
        if recording is None and not self.model.vectorized:
            return _CHUNK_ELEMENTS
        sizes = [int(np.size(value)) for value in self.model.data.values() if isinstance(value, np.ndarray)]
        return max([self.dim, *([recording.largest] if recording is not None else sizes)])

    @property
    def dear(self) -> bool:
        """Whether arithmetic, not overhead, is what a draw costs, so that each must be worth it."""
        return self.width > _DEAR_ELEMENTS

    def _log_density(self, u: Any) -> Any:
        """(S, D) -> (S,), traced by autograd where `u` is."""
        draws, log_jacobian = self.constrain(u)
        return self._evaluate("density", draws) + log_jacobian

    def _log_density_of_one(self, u: Any, model: Model | None = None) -> Any:
        """(D,) -> scalar."""
        draws, log_jacobian = self.constrain(u)
        return self._function("density", model)(draws) + log_jacobian

    def _chunks(self, u: Array) -> list[slice]:
        recorded = [recording.largest for recording in self._recordings.values() if recording is not None]
        width, rows = max(recorded, default=1), max(len(u), 1)
        count = -(-rows // max(1, _CHUNK_ELEMENTS // width)) if recorded else 1
        if recorded and width * rows > min(_SHARED_ELEMENTS, _CHUNK_ELEMENTS):
            count = min(2 * -(-count // 2), rows)
        # As many draws in one as in another, so that threads end together; the same for any number of threads, since
        # what is added up may round otherwise in other chunks.
        rows = -(-rows // count)
        return [slice(start, start + rows) for start in range(0, len(u), rows)] or [slice(0, 0)]

    # ---- all draws at once, or one by one ---------------------------------------------------------------------------

    def _evaluate(self, name: str, draws: Mapping[str, Any]) -> Any:
        """One of the model's functions for all draws: as it is where vectorized, replayed, or looped over draws."""
        count = len(next(iter(draws.values())))
        function = self._function(name)
        if self.model.vectorized:
            return _check_leading_axis(name, function(draws), count)
        if name not in self._recordings and self._replay:
            self._record(name, {key: np.asarray(getval(x)) for key, x in draws.items()})
        recording = self._recordings.get(name)
        if recording is not None:
            return self._asked(f"all {name}", recording)(draws)
        return stack([function(self._one(draws, s)) for s in range(count)])

    def _function(self, name: str, model: Model | None = None) -> Callable[[Mapping[str, Any]], Any]:
        """One of the model's functions, of one draw or of all where it is vectorized; it asks the log first."""
        bare = self._bare(name, model)
        return bare if model is not None or name not in _OF_DENSITY else self._asked(name, bare)

    def _asked(
        self, name: str, function: Callable[[Mapping[str, Any]], Any]
    ) -> Callable[[Mapping[str, Any]], Any]:
        """A function of draws that asks the log first, but where it is traced."""
        if self.log is None:
            return function

        def asked(draws: Mapping[str, Any]) -> Any:
            if any(type(x) not in (np.ndarray, np.float64) for x in draws.values()):
                return function(draws)
            return self._kept(name, draws.values(), lambda: function(draws))

        return asked

    def _kept(self, what: str, asked: Iterable[Any], make: Callable[[], Any]) -> Any:
        """What the log holds of a question, else what `make` returns, kept."""
        return make() if self.log is None else self.log.kept(digest(what, self._salt, *asked), make)

    def _bare(self, name: str, model: Model | None = None) -> Callable[[Mapping[str, Any]], Any]:
        model = model or self.model
        if name == "derived":
            return lambda draw: model.named("derived", draw)
        return {"density": model.density, "terms": model.terms, "pointwise": model.pointwise}[name]

    def _batched(self, name: str, u: Array) -> bool:
        """Whether a function takes a whole batch; records it on these draws if that was not tried yet."""
        if self.model.vectorized:
            return True
        if name not in self._recordings and self._replay:
            self._record(name, self._plain_draws(u))
        return self._recordings.get(name) is not None

    def _plain_draws(self, u: Array) -> dict[str, Array]:
        with np.errstate(all="ignore"):
            return {name: np.asarray(x) for name, x in self.constrain(np.asarray(u, dtype=float))[0].items()}

    def _one(self, draws: Mapping[str, Any], s: int) -> dict[str, Any]:
        """Draw `s` as the user's function sees it: arrays of its own."""
        return {name: np.array(x[s]) if isinstance(x, np.ndarray) else x[s] for name, x in draws.items()}

    # ---- recordings and their proof ---------------------------------------------------------------------------------

    def _record(self, name: str, draws: dict[str, Array]) -> None:
        """Record a function on the first draw and keep the recording only if it agrees with the function itself."""
        first, before = self._one(draws, 0), self.evaluations
        attempt = partial(self._attempt, name, first, draws)
        refused = self._kept(f"refusal of {name}", first.values(), attempt)
        if name not in self._recordings and refused:
            # The log knew.
            self.evaluations = before + (name == "density")
            self._give_up(name, refused)
        elif name not in self._recordings:
            attempt()

    @property
    def doubtful(self) -> bool:
        """Whether code of the log joint can learn what a recording of it cannot notice."""
        given = self._given()
        changed = self._read is not None and self._read != self._reads()
        return changed or any(map(doubt_of, given)) or any(map(may_keep_state, given))

    def _given(self) -> list[Callable[..., Any]]:
        """The user's functions of which the log density is made."""
        return [self.model.functions[name] for name in _LOG_DENSITIES if name in self.model.functions]

    def _reads(self) -> list[tuple[Any, ...]]:
        """What they read beside their arguments."""
        return list(map(what_is_read, self._given()))

    def _attempt(self, name: str, first: dict[str, Array], draws: dict[str, Array]) -> str:
        """Why the function refuses to be recorded; empty where it does not, whether the recording is kept or not."""
        self._recordings[name] = None
        if name == "density":
            self._read = self._reads()
        doubt = "" if name in _OF_DENSITY else doubt_of(self.model.functions[GIVEN_AS[name]])
        if doubt:
            # Its values are few, and nothing proves it later.
            self._give_up(name, doubt)
            return doubt
        spread = self._spread(draws)
        try:
            for recording, proven in self._candidates(name, first):
                if not proven:
                    self.evaluations += (name == "density") * (1 + len(next(iter(spread.values()))))
                if proven or self._agrees(recording, self._function(name), spread):
                    self._recordings[name] = recording
                    return ""
        except NotRecordable as error:
            self.evaluations += name == "density"
            self._give_up(name, str(error))
            return str(error)
        self._give_up(name, "its recording did not agree with it at other draws")
        return ""

    def _give_up(self, name: str, why: str) -> None:
        """Evaluate a function draw by draw from now on."""
        self._recordings[name] = None
        self.looped[name] = why
        logger.info("%s is evaluated draw by draw: %s", name, why)

    def _candidates(self, name: str, draw: dict[str, Array]) -> Iterator[tuple[Recording, bool]]:
        """Recordings to try one after the other, each with whether it was proven to be right before."""
        yield self._fresh(name, draw), False

    def _fresh(self, name: str, draw: dict[str, Array], data: Mapping[str, Array] | None = None) -> Recording:
        """A recording of one of the model's functions, or of a derivative; with `data` these are its inputs too."""

        def model(*given: Mapping[str, Any]) -> Model:
            return self.model.with_data(**given[0]) if given else self.model

        if name in ("gradient", "curvature"):
            return record_derivative(
                name, lambda u, *given: self._log_density_of_one(u, model(*given)), draw["u"], data
            )
        return Recording(lambda one, *given: self._function(name, model(*given))(one), draw, data=data)

    def _derivative(self, name: str, u: Array) -> Recording | None:
        """The recorded ``"gradient"`` or ``"curvature"`` (with Hessian products) of one draw, for all draws at once.

        What autograd's backward pass does for one draw is itself a function that can be recorded; replayed it needs no
        tracing. None where that is not possible, and then the batched log density is differentiated at each call.
        """
        if self.model.vectorized:
            return None
        if name not in self._recordings:
            self._recordings[name] = None
            try:
                for recording, proven in self._candidates(name, {"u": u[0]}):
                    if proven or is_derivative(recording, self._log_density, self._some(u)):
                        self._recordings[name] = recording
                        break
            except (NotRecordable, *NUMERICAL) as error:
                logger.info("the %s is traced at each call: %s", name, error)
        return self._recordings[name]

    def _agrees(self, recording: Recording, function: Callable[..., Any], draws: dict[str, Array]) -> bool:
        """Whether a recording gives what the function gives, at each draw, and fails where the function fails."""
        given, expected = [], []
        with np.errstate(all="ignore"):
            for s in range(len(next(iter(draws.values())))):
                try:
                    expected.append(function(self._one(draws, s)))
                except NUMERICAL:
                    if not _fails(recording, {key: x[s : s + 1] for key, x in draws.items()}):
                        return False
                    continue
                given.append(s)
            if not given:
                return True
            try:
                return equal(stack(expected), recording({key: x[given] for key, x in draws.items()}))
            except NUMERICAL:
                # One draw at which replaying fails says nothing of the others.
                if len(given) == 1:
                    return False
                rows = [{key: x[s : s + 1] for key, x in draws.items()} for s in given]
                return all(self._agrees(recording, function, row) for row in rows)
            except REPLAY_ERRORS:
                return False

    def _some(self, u: Array, rows: int = 3) -> Array:
        """A few of the draws, first the first, and moved ones where there are not enough."""
        moves = np.random.default_rng(0).normal(size=(max(0, rows - len(u)), self.dim))
        return np.concatenate([u[:rows], u[:1] + moves])

    def _spread(self, draws: dict[str, Array]) -> dict[str, Array]:
        """A few draws for comparing: those at hand, and moved ones, so that another course of the function shows."""
        return self._plain_draws(self._some(self.unconstrain_safely({name: x[:4] for name, x in draws.items()}), 4))


def _fails(recording: Recording, draw: Mapping[str, Array]) -> bool:
    """Whether replaying gives an error, or no number, at one draw."""
    try:
        found = recording(draw)
    except REPLAY_ERRORS:
        return True
    return not all(np.isfinite(part).all() for part in (found.values() if isinstance(found, dict) else [found]))


def _check_leading_axis(name: str, out: Any, count: int) -> Any:
    label = {"density": "log_joint", "terms": "log_joint", "pointwise": "log_likelihood"}.get(name, name)
    for key, part in out.items() if isinstance(out, Mapping) else [("", out)]:
        shape = anp.shape(part)
        if not shape or shape[0] != count:
            what = f"{label}[{key!r}]" if key else label
            raise ValueError(
                f"{what}: expected one row per draw with vectorized=True, shape ({count},) or ({count}, terms) for "
                f"{count} draws, got shape {shape}"
            )
    return out
