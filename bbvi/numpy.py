"""NumPy as a log joint needs it: autograd's functions, under NumPy's names and types for those who check types.

Autograd makes its functions when it is imported, so that editors and type checkers find none of them in
``autograd.numpy``. ``import bbvi.numpy as np`` is the same module to Python, and NumPy to them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy import *  # noqa: F403
else:
    import autograd.numpy as _autograd
    from autograd.numpy import *  # noqa: F403

    def __getattr__(name: str) -> Any:
        return getattr(_autograd, name)

    def __dir__() -> list[str]:
        return dir(_autograd)
