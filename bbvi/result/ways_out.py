"""Where the wing above hangs its ways out of a fit, so that a `Fit` offers them and this wing imports none."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

_PLACES: dict[str, str] = {}


def register(name: str, place: str) -> None:
    """Hang a way out: `place` is ``"module:function"``, imported when it is first taken, since ArviZ takes a second."""
    _PLACES[name] = place


def way_out(name: str) -> Callable[..., Any]:
    """The function that was hung under a name.

    Raises
    ------
    KeyError
        If there is none.
    """
    module, function = _PLACES[name].split(":")
    found: Callable[..., Any] = getattr(import_module(module), function)
    return found
