"""What a user's function returned, as real numbers, one for each observation where it is a pointwise likelihood."""

from __future__ import annotations

from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.tracer import isbox

from bbvi.model.validation import describe


def numbers(name: str, out: Any) -> Any:
    """What function `name` returned as an array, or as autograd's box of one.

    Raises
    ------
    TypeError
        If it is neither a real number nor an array of them.
    """
    out = without_graph(out)
    if isinstance(out, (list, tuple)):
        out = anp.array(out)
    if isbox(out):
        return out
    try:
        array = np.asarray(out)
    except ValueError:
        raise TypeError(f"{name}: expected a real number or an array of terms, got {describe(out)}") from None
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name}: expected a real number or an array of terms, got {describe(out)}")
    # A copy: a function may fill one buffer and return it again and again.
    return np.array(array, dtype=float)


def check_broadcasting(name: str, observed: tuple[int, ...], shape: tuple[int, ...]) -> None:
    """Where observed data have length 1 along an axis, so must their pointwise log likelihood.

    Raises
    ------
    ValueError
        If they do not.
    """
    if len(observed) == len(shape) and any(a == 1 < b for a, b in zip(observed, shape, strict=True)):
        raise ValueError(
            f"log_likelihood[{name!r}]: expected one term for each observation, but the data {name!r} of shape "
            f"{observed} were broadcast to terms of shape {shape}, so each counts several times; give data and "
            "latents shapes that match"
        )


def without_graph(out: Any) -> Any:
    """A PyTorch tensor that still carries its graph refuses to become an array; all else comes back as it is."""
    return out.detach() if hasattr(out, "detach") else out
