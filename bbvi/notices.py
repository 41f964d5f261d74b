"""Warnings that point at the user's own line, however deep in the package they are raised."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

_PACKAGE = str(Path(__file__).parent)


def warn(message: str) -> None:
    """A RuntimeWarning at the innermost line outside this package and the standard library's wrappers."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and _inside(frame.f_code.co_filename):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, RuntimeWarning, stacklevel=level)


def _inside(file: str) -> bool:
    return file.startswith(_PACKAGE) or file.endswith("contextlib.py")
