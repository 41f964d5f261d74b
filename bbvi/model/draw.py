"""What a user's function is given: one draw of the latents, by attribute or key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.tracer import isbox


class Draw:
    """One draw of the latents on their constrained scale, by attribute (``z.tau``) or key (``z["tau"]``)."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Any]) -> None:
        object.__setattr__(self, "_values", values)

    def __getattr__(self, name: str) -> Any:
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(self._unknown(name)) from None

    def __getitem__(self, name: str) -> Any:
        try:
            return self._values[name]
        except KeyError:
            raise KeyError(self._unknown(name)) from None

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"z is read-only: the latent {name!r} cannot be set inside a model's function")

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __len__(self) -> int:
        return len(self._values)

    def __getstate__(self) -> dict[str, Any]:
        return dict(self._values)

    def __setstate__(self, values: dict[str, Any]) -> None:
        object.__setattr__(self, "_values", values)

    def __repr__(self) -> str:
        return f"Draw({', '.join(f'{name}={value!r}' for name, value in self._values.items())})"

    def _unknown(self, name: str) -> str:
        return f"z has no latent {name!r}; its latents are {', '.join(self._values)}"


def describe_draw(values: Mapping[str, Any]) -> str:
    """The values of a draw in one short line."""
    shown = []
    for name, value in values.items():
        if isbox(value):
            shown.append(f"{name}: traced by autograd, shape {anp.shape(value)}")
        else:
            shown.append(f"{name} = {np.array2string(np.asarray(value), precision=4, threshold=8, edgeitems=3)}")
    return "; ".join(shown)
