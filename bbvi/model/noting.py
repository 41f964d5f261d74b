"""What an exception that leaves a user's function is told to say: which function it was, and what it saw."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any

import numpy as np

from bbvi.model.draw import describe_draw


class Noting:
    """Adds to an exception that leaves the user's function which function it was, and what latents and data it saw.

    Other libraries' linear algebra errors, such as PyTorch's, leave as NumPy's, so that they count as a value that is
    not finite.
    """

    def __init__(self, name: str, values: Mapping[str, Any] | None, data: Mapping[str, Any]) -> None:
        self.name, self.values, self.data = name, values, data

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, Exception):
            return
        raised: Exception = error
        if type(error).__name__.endswith("LinAlgError") and not isinstance(error, np.linalg.LinAlgError):
            raised = np.linalg.LinAlgError(str(error))
        if not getattr(raised, "__notes__", None):
            seen = "no latents" if self.values is None else describe_draw(self.values)
            shapes = ", ".join(f"{name} {np.shape(x)}" for name, x in self.data.items() if np.ndim(x))
            told = shapes and isinstance(raised, (ValueError, IndexError))
            of_data = f"; its data have shapes {shapes}" if told else ""
            if isinstance(raised, TypeError):
                of_data = "".join(f"; {name!r} of its data is a {kind}" for name, kind in self._no_numbers())
            raised.add_note(f"raised in the model's {self.name}, at {seen}{of_data}")
        if raised is not error:
            raise raised from error

    def _no_numbers(self) -> list[tuple[str, str]]:
        """Data that are given to functions as they are, though no arithmetic is done with them, and their types."""
        plain = (np.ndarray, np.generic, int, float, complex)
        return [(name, type(x).__name__) for name, x in self.data.items() if not isinstance(x, plain)]
