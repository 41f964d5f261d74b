"""Packages that some tests need and that need not be installed."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest


def needed(name: str) -> ModuleType:
    """Import a package, or skip the test; what importing it drew from NumPy's global generator (JAX) is put back."""
    before = np.random.get_state(legacy=False)  # noqa: NPY002
    try:
        return pytest.importorskip(name, reason=f"{name} is not installed")
    finally:
        np.random.set_state(before)  # noqa: NPY002
