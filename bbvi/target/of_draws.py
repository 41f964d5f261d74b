"""Functions of draws, of which figures are reported: recorded and proven, or else called at each draw."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from bbvi.batching.derivatives import stack
from bbvi.batching.doubts import doubt_of, may_keep_state
from bbvi.batching.replay import Recording
from bbvi.batching.tape import NotRecordable
from bbvi.model.draw import Draw
from bbvi.target.evaluator import GIVEN_AS, REPLAY_ERRORS
from bbvi.target.proof import ProofPolicy
from bbvi.target.uncounted import Uncounted

Array = np.ndarray
logger = logging.getLogger("bbvi")

# Elements that the largest operation may hold, so that what is averaged over many data needs no room for all draws.
_BLOCK = 2**20


class OfDraws(Uncounted):
    """The derived quantities, the pointwise log likelihood, and any function of one draw, at all draws.

    As good as the log joint is its recording proven; `ProofPolicy` has the power. Where a difference is found, the
    function is called at each draw instead, so that what is reported is right all the same.
    """

    def quantities(
        self, name: str, u: Array, *, weights: Array | None = None, thorough: bool = True
    ) -> dict[str, Array]:
        """``derived`` or ``pointwise`` (the log likelihood) at draws `u`, each array with a leading draws axis.

        Parameters
        ----------
        name : str
        u : ndarray, shape (S, D)
        weights : ndarray, shape (S,), optional
            Of the draws, by which those are chosen that the function is called at again.
        thorough : bool
            False on the way to figures that are reported later.
        """
        with np.errstate(all="ignore"):
            draws = self._plain_draws(u)
            if self._replay and name not in self._recordings:
                self._record(name, draws)
            recording = self._recordings.get(name)
            if recording is None:
                found = self._evaluate(name, draws)
            else:
                found = self._asked(f"all {name}", partial(_in_blocks, recording))(draws)
                wary = self._keeps_state(name)
                once = wary and name not in self._proven
                self._proven.add(name)
                calls = ProofPolicy().of_draws(recording.work, wary=wary, thorough=thorough or once)
                if not self._holds(recording, self._function(name), draws, _some(len(u), calls, weights)):
                    self._give_up(name, "it is not what it was when it was recorded")
                    found = self._evaluate(name, draws)
            return {key: np.asarray(x) for key, x in found.items()}

    def apply(self, function: Callable[[Any], Any], u: Array, weights: Array | None = None) -> Array:
        """Any function of one draw (latents and derived quantities by name) at draws `u`, with a leading draws axis."""
        with np.errstate(all="ignore"):
            draws = self._plain_draws(u)
            if "derived" in self.model.functions:
                draws = draws | self.quantities("derived", u, weights=weights)
            only = self.model.flat and len(draws) == 1

            def of_one(draw: Any) -> Any:
                out = function(draw["z"] if only else Draw(draw))
                if out is None or isinstance(out, str):
                    raise TypeError(f"expected a function that returns a number or an array, got {out!r} from it")
                return out

            # What cannot be recorded is evaluated draw by draw, where an error of the function's own will show.
            try:
                doubt = doubt_of(function)
                if doubt:
                    raise NotRecordable(doubt)
                recording = Recording(of_one, self._one(draws, 0))
                result = np.asarray(_in_blocks(recording, draws))
                calls = ProofPolicy().of_draws(recording.work, wary=may_keep_state(function), thorough=True)
                if self._holds(recording, of_one, draws, _some(len(u), calls, weights)):
                    return result
                logger.info("a function is evaluated draw by draw: its recording did not agree with it")
            except (NotRecordable, *REPLAY_ERRORS) as error:
                logger.info("a function is evaluated draw by draw: %s", error)
            return np.asarray(stack([of_one(self._one(draws, s)) for s in range(len(u))]))

    def _keeps_state(self, name: str) -> bool:
        if name not in self._wary:
            self._wary[name] = may_keep_state(self.model.functions[GIVEN_AS[name]])
        return self._wary[name]

    def _holds(
        self, recording: Recording, function: Callable[..., Any], draws: dict[str, Array], rows: Array
    ) -> bool:
        """Whether a recording is the function at these rows of the draws."""
        return all(
            self._agrees(recording, function, {key: x[some] for key, x in draws.items()})
            for some in _blocks(recording, rows)
        )


def _blocks(recording: Recording, rows: Array) -> list[Array]:
    return np.array_split(rows, 1 + len(rows) * recording.largest // _BLOCK)


def _in_blocks(recording: Recording, draws: Mapping[str, Array]) -> Any:
    """A recording at all draws, so many at a time."""
    blocks = _blocks(recording, np.arange(len(next(iter(draws.values())))))
    if len(blocks) == 1:
        return recording(draws)
    parts = [recording({key: x[rows] for key, x in draws.items()}) for rows in blocks if len(rows)]
    if isinstance(parts[0], dict):
        return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    return np.concatenate(parts)


def _some(count: int, calls: int, weights: Array | None) -> Array:
    """Which of so many draws stand for the posterior: so many, at random by their weights."""
    if calls >= count:
        return np.arange(count)
    # Without repetition, as Efraimidis and Spirakis (2006) have it.
    with np.errstate(divide="ignore"):
        keys = np.log(np.random.default_rng(0).random(count)) / (np.ones(count) if weights is None else weights)
    return np.sort(np.argpartition(keys, count - calls)[count - calls :])
