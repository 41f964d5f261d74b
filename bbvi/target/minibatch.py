"""A target of random observations, an unbiased stand-in for the target of all data."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from bbvi.batching.replay import Recording
from bbvi.batching.tape import NotRecordable
from bbvi.model.model import Model
from bbvi.serial import digest
from bbvi.target.target import Target

Array = np.ndarray
logger = logging.getLogger("bbvi")


class MiniBatch(Target):
    """A target of random observations; its evaluations count for the target that it was drawn from.

    A function is recorded on the first batch with the batch's data among its inputs, and replayed on all others. It is
    compared with the function again on batches 2, 4, 8, and so on; where data take its course elsewhere, or change the
    shapes of what it computes, each batch is recorded anew.
    """

    def __init__(self, full: Target, size: int, rng: np.random.Generator) -> None:
        observations = full.model.observations()
        size = min(size, observations)
        self.full = full
        counts = full.evaluations, full.gradient_evaluations
        rows = rng.choice(observations, size=size, replace=False)
        super().__init__(full.model.subset(rows), replay=full._replay)
        self.log, self._salt = full.log, digest(rows) if full.log is not None else b""
        full.evaluations, full.gradient_evaluations = counts
        full._batches += 1
        self.size, self.weight = size, observations / size
        self._traceable = full.has_gradient
        self._cut = {name: x for name, x in self.model.data.items() if x is not full.model.data[name]}
        self._due = full._batches & (full._batches - 1) == 0

    @property
    def evaluations(self) -> int:  # type: ignore[override]
        return self.full.evaluations

    @evaluations.setter
    def evaluations(self, count: int) -> None:
        self.full.evaluations = count

    @property
    def gradient_evaluations(self) -> int:  # type: ignore[override]
        return self.full.gradient_evaluations

    @gradient_evaluations.setter
    def gradient_evaluations(self, count: int) -> None:
        self.full.gradient_evaluations = count

    def _bare(self, name: str, model: Model | None = None) -> Callable[[Mapping[str, Any]], Any]:
        if name != "density":
            return super()._bare(name, model)
        model = model or self.model
        return lambda draw: model.density(draw, likelihood_weight=self.weight)

    def _give_up(self, name: str, why: str) -> None:
        # Also where the log knew, and nothing was tried.
        self.full._templates.setdefault((name, self.size), None)
        super()._give_up(name, why)

    def _batched(self, name: str, u: Array) -> bool:
        # A template that needs no proof is not bound before it is asked for.
        known = self.full._templates.get((name, self.size))
        return (known is not None and not self._due) or super()._batched(name, u)

    def _candidates(self, name: str, draw: dict[str, Array]) -> Iterator[tuple[Recording, bool]]:
        templates, key = self.full._templates, (name, self.size)
        known = templates.get(key)
        try:
            if known is not None:
                yield known.with_data(self._cut), not self._due
                # Who asks for another one was not content.
                templates[key] = None
            elif key not in templates:
                templates[key] = None
                recording = self._fresh(name, draw, self._cut)
                templates[key] = recording
                yield recording, False
                templates[key] = None
        except NotRecordable as error:
            templates[key] = None
            logger.info("%s is recorded for each mini-batch: %s", name, error)
        yield from super()._candidates(name, draw)
