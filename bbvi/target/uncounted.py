"""Values, gradients and Hessian products of chunks of draws, on threads: what `Target` counts."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from itertools import chain
from typing import Any, TypeVar

import autograd.numpy as anp
import numpy as np

from bbvi.batching.autodiff import vjp
from bbvi.batching.derivatives import linearize
from bbvi.batching.replay import Recording
from bbvi.model.model import Model
from bbvi.target.evaluator import NUMERICAL, Evaluator
from bbvi.threads import mapped

Array = np.ndarray
R = TypeVar("R")
# Values, gradients, the Hessian product, and how many bytes that holds.
Piece = tuple[Array, Array, Callable[[Array], Array], int]

# What a simulator may raise at values of its parameters that it cannot bear. Others are errors of programming.
FAILURES = (RuntimeError, ValueError, OSError)
# So many of them, one after the other, and it is broken.
_IN_A_ROW = 20
# Share of the memory for what Hessian products need; the rest is for draws, gradients and copies of these.
_HELD = 1.0 / 3.0


class Uncounted(Evaluator):
    """The log density and its derivatives, chunk by chunk; a draw at which one fails is found, and told as NaN.

    Parameters
    ----------
    model : Model
    replay : bool
        False evaluates draw by draw.
    threads : int
        On which chunks of draws are worked on.
    max_memory : float
        Bytes, of which a third may hold intermediate results for Hessian products; beyond, they are computed again.

    Attributes
    ----------
    tolerant : bool
        Whether RuntimeError, ValueError and OSError of the log joint count as a value that is not finite, as
        arithmetic errors do.
    failures : list of str
        What it raised at single draws.
    """

    def __init__(self, model: Model, *, replay: bool, threads: int, max_memory: float) -> None:
        super().__init__(model, replay=replay)
        self.max_memory = max_memory
        self.threads = threads
        self.tolerant = False
        self.failures: list[str] = []
        self._in_a_row, self._worked = 0, 0

    @property
    def elsewhere(self) -> bool:
        """Whether draws are evaluated in other processes, which hold nothing for Hessian products."""
        return False

    def _raw_products(self, both: Array) -> Array:
        """Hessian products from draws and directions side by side, (S, 2D) -> (S, D)."""
        u, v = np.split(both, 2, axis=1)
        with np.errstate(all="ignore"):
            return np.asarray(self._linearized(u)[2](v))

    def _raw_values(self, u: Array) -> Array:
        with np.errstate(all="ignore"):
            return np.concatenate(self._of_chunks(self._guarded_values, u, "density"))

    def _guarded_values(self, u: Array) -> Array:
        survived = (*NUMERICAL, *FAILURES) if self.tolerant else NUMERICAL
        try:
            values = np.asarray(self._log_density(u))
        except survived as error:
            if len(u) == 1:
                self.failures.append(f"{type(error).__name__}: {error}")
                self._in_a_row += not isinstance(error, NUMERICAL)
                if self._in_a_row > max(_IN_A_ROW, self._worked):
                    raise
                return np.array([np.nan])
            return np.concatenate([self._guarded_values(part) for part in self._smaller(u)])
        self._in_a_row, self._worked = 0, self._worked + len(u)
        return values

    def _raw_gradients(self, u: Array) -> Array:
        """Values in column 0, gradients behind."""
        with np.errstate(all="ignore"):
            return np.concatenate(self._of_chunks(self._guarded_gradients, u, "gradient"))

    def _of_chunks(self, function: Callable[[Array], R], u: Array, name: str) -> list[R]:
        """A function of chunks of the draws, on threads where all that they do is replay a recording."""
        chunks = [u[chunk] for chunk in self._chunks(u)]
        return mapped(function, chunks, self._threads(name))

    def _threads(self, name: str) -> int:
        """On how many threads a function of chunks may go: where all that it does is replay, and no log is kept."""
        return self.threads if self._recordings.get(name) is not None and self.log is None else 1

    def _guarded_gradients(self, u: Array) -> Array:
        try:
            if "gradient" in self.model.functions:
                return self._users_gradients(u)
            if self._batched("density", u):
                curvature = self._recordings.get("curvature")
                if curvature is not None and "gradient" not in self._recordings:
                    # Without what only second derivatives need, as a trigamma function.
                    self._recordings["gradient"] = curvature.only("value", "gradient")
                derivative = self._derivative("gradient", u)
                if derivative is not None:
                    both = self._kept("gradients", [u], lambda: dict(derivative({"u": u})))
                    return np.column_stack([both["value"], both["gradient"]])
                return np.asarray(self._kept("traced gradients", [u], lambda: self._traced_gradients(u)))
            return np.array([self._kept("gradient", [row], partial(self._gradient, row)) for row in u])
        except NUMERICAL:
            if len(u) == 1:
                return np.full((1, self.dim + 1), np.nan)
            return np.concatenate([self._guarded_gradients(part) for part in self._smaller(u)])

    def _slopes_alone(self) -> Recording | None:
        """The recording of the gradient without what only the log density needs, where gradients are replayed here."""
        gradient = self._recordings.get("gradient")
        if gradient is None or self.elsewhere or self.log is not None:
            return None
        if "slopes" not in self._recordings:
            self._recordings["slopes"] = gradient.only("gradient")
        return self._recordings["slopes"]

    def _guarded_slopes(self, alone: Recording, u: Array) -> Array:
        try:
            return np.asarray(alone({"u": u})["gradient"])
        except NUMERICAL:
            return self._guarded_gradients(u)[:, 1:]

    def _traced_gradients(self, u: Array) -> Array:
        product, values = vjp(self._log_density, u)
        return np.column_stack([values, product(np.ones(len(u)))])

    def _gradient(self, row: Array) -> Array:
        product, value = vjp(self._log_density_of_one, row)
        return np.array([value, *product(1.0)])

    def _users_gradients(self, u: Array) -> Array:
        """Chain rule through the transforms for a gradient that the user gives on the constrained scale."""

        def flat(v: Any) -> Any:
            draws, log_jacobian = self.constrain(v)
            parts = [anp.reshape(x, (len(u), -1)) for x in draws.values()]
            return anp.concatenate([*parts, anp.reshape(log_jacobian + anp.zeros(len(u)), (-1, 1))], axis=1)

        product, constrained = vjp(flat, u)
        draws = self._split(constrained[:, :-1])
        if self.model.vectorized:
            values, gradients = self._value_and_gradient(draws)
            values = np.reshape(values, len(u))
        else:
            pairs = [self._value_and_gradient(self._one(draws, s)) for s in range(len(u))]
            values = np.array([float(value) for value, _ in pairs])
            gradients = np.array([gradient for _, gradient in pairs])
        seeds = np.column_stack([gradients, np.ones(len(u))])
        return np.column_stack([values + constrained[:, -1], product(seeds)])

    def _value_and_gradient(self, draws: dict[str, Array]) -> tuple[Any, Array]:
        pair: tuple[Any, Array]
        pair = self._kept("pair", draws.values(), partial(self.model.value_and_gradient, draws))
        return pair

    def _linearized(self, u: Array) -> tuple[Array, Array, Callable[[Array], Array]]:
        with np.errstate(all="ignore"):
            pieces = list(chain.from_iterable(self._within_memory(u)))
        values, gradients = (np.concatenate([piece[i] for piece in pieces]) for i in (0, 1))
        if len(pieces) == 1:
            return values, gradients, pieces[0][2]
        ends = np.cumsum([0, *(len(piece[0]) for piece in pieces)])

        def product(v: Array) -> Array:
            spans = [(piece[2], v[a:b]) for piece, a, b in zip(pieces, ends, ends[1:], strict=False)]
            return np.concatenate(mapped(lambda span: span[0](span[1]), spans, self._threads("curvature")))

        return values, gradients, product

    def _within_memory(self, u: Array) -> list[list[Piece]]:
        """Pieces of all chunks, of which as many hold what Hessian products need as there is memory for."""
        chunks = [u[chunk] for chunk in self._chunks(u)]
        first = self._guarded_linearization(chunks[0])
        size = max(sum(piece[3] for piece in first), 1)
        room = _HELD * self.max_memory
        count = len(chunks) if room >= size * len(chunks) else max(int(room // size), 1)
        threads = self._threads("curvature")
        held = mapped(self._guarded_linearization, chunks[1:count], threads)
        return [first, *held, *mapped(self._forgetful, chunks[count:], threads)]

    def _forgetful(self, u: Array) -> list[Piece]:
        """Pieces that hold nothing: a Hessian product computes all anew."""

        def product(v: Array) -> Array:
            pieces = self._guarded_linearization(u)
            ends = np.cumsum([0, *(len(piece[0]) for piece in pieces)])
            return np.concatenate([piece[2](v[a:b]) for piece, a, b in zip(pieces, ends, ends[1:], strict=False)])

        both = self._guarded_gradients(u)
        return [(both[:, 0], both[:, 1:], product, 0)]

    def _guarded_linearization(self, u: Array) -> list[Piece]:
        try:
            if self._batched("density", u):
                derivative = self._derivative("curvature", u)
                if derivative is not None:
                    return [self._kept_piece("curvatures", u, lambda: _bound(derivative, u))]
                traced = self._log_density
                return [self._kept_piece("traced curvatures", u, lambda: _traced(traced, u, np.ones(len(u))))]
            one = self._log_density_of_one
            return [_row(self._kept_piece("curvature", row, partial(_traced, one, row, 1.0))) for row in u]
        except NUMERICAL:
            if len(u) == 1:
                nan = np.full((1, self.dim), np.nan)
                return [(np.array([np.nan]), nan, lambda v: nan, 0)]
            return [piece for part in self._smaller(u) for piece in self._guarded_linearization(part)]

    def _kept_piece(self, what: str, u: Array, make: Callable[[], Piece]) -> Piece:
        """Values, gradients and Hessian product as `make` gives them, of which what the log holds is not made."""
        if self.log is None:
            return make()
        live = lru_cache(maxsize=1)(make)
        values, gradients = self._kept(what, [u], lambda: tuple(live()[:2]))
        kept = partial(self._kept, f"{what}: product")
        return values, gradients, lambda v: kept([u, v], lambda: np.asarray(live()[2](v))), 0

    def _split(self, flat: Array) -> dict[str, Array]:
        draws, start = {}, 0
        for name, latent in self.model.latents.items():
            stop = start + int(np.prod(latent.shape))
            draws[name] = flat[:, start:stop].reshape(len(flat), *latent.shape)
            start = stop
        return draws

    def _smaller(self, u: Array) -> list[Array]:
        """Where to look for the draws that failed: halves if a half is one call, else single draws."""
        return np.array_split(u, 2 if self.recorded else len(u))


def _bound(derivative: Recording, u: Array) -> Piece:
    known, rest, size = derivative.bind({"u": u})
    return known["value"], known["gradient"], lambda v: rest(v)["product"], size


def _traced(density: Callable[[Any], Any], u: Array, ones: Any) -> Piece:
    """Traced anew at each call; what autograd holds of it is not known."""
    return (*linearize(density, u, ones), 0)


def _row(piece: Piece) -> Piece:
    value, gradient, product, size = piece
    return np.reshape(value, 1), gradient[None], lambda v: np.asarray(product(v[0]))[None], size
