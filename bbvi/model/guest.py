"""Transforms of a user's own, by protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import autograd.numpy as np

from bbvi.model.transforms import Shape, Traced, Transform


@dataclass(frozen=True, eq=False)
class Guest(Transform):
    """A transform of a user's own, by its methods ``constrain`` and ``unconstrain`` alone.

    What it does not say of itself (`unconstrained_shape`, `elementwise`, `whole_line`, `bounded`, `ordered_axes`) is
    said for it, with caution.
    """

    own: Any

    def __post_init__(self) -> None:
        for name in ("elementwise", "whole_line", "bounded"):
            object.__setattr__(self, name, bool(getattr(self.own, name, False)))
        object.__setattr__(self, "ordered_axes", int(getattr(self.own, "ordered_axes", len(self.shape))))

    @property
    def unconstrained_shape(self) -> Shape:
        return tuple(getattr(self.own, "unconstrained_shape", self.shape))

    def constrain(self, u: Traced) -> tuple[Traced, Traced]:
        pair: tuple[Traced, Traced] = self.own.constrain(u)
        return pair

    def unconstrain(self, x: Any) -> np.ndarray:
        return np.asarray(self.own.unconstrain(np.asarray(x, dtype=float)))


def as_transform(own: Any, shape: Shape) -> Transform:
    """A transform itself, or a user's object that maps to a latent of this shape.

    Raises
    ------
    TypeError
        If it has no methods ``constrain`` and ``unconstrain``.
    """
    if isinstance(own, Transform):
        return own
    if not all(callable(getattr(own, name, None)) for name in ("constrain", "unconstrain")):
        raise TypeError(f"transform: expected an object with methods constrain and unconstrain, got {own!r}")
    return Guest(shape, own)
