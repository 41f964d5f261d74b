"""The progress bar of a fit: which stage it is in, and what it has cost so far."""

from __future__ import annotations

import sys
import time
import warnings
from typing import Any


class Bar:
    """A progress bar on standard error, or in a notebook.

    Parameters
    ----------
    wanted : bool, optional
        None shows it only where someone looks, a terminal or a notebook, and only for what takes over two seconds.
    """

    def __init__(self, wanted: bool | None = False) -> None:
        self.wanted = (sys.stderr.isatty() or in_notebook()) if wanted is None else wanted
        self.delay = 2.0 if wanted is None else 0.0
        self.started = time.perf_counter()
        self.doing = ""
        self.bar: Any = None

    def stage(self, doing: str, **figures: Any) -> None:
        """Say what is being done from now on."""
        self.doing = doing
        self._show(0, figures)

    def step(self, **figures: Any) -> None:
        """One more step of what is being done."""
        self._show(1, figures)

    def close(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.close()

    def _show(self, steps: int, figures: dict[str, Any]) -> None:
        if not self.wanted or time.perf_counter() - self.started < self.delay:
            return
        if self.bar is None:
            self.bar = _made()
        self.bar.set_description(f"bbvi: {self.doing}", refresh=False)
        self.bar.set_postfix(figures, refresh=not steps)
        self.bar.update(steps)


def in_notebook() -> bool:
    """Whether this runs in the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel")


def _made() -> Any:
    with warnings.catch_warnings():
        # Where a notebook has no widgets, tqdm takes text, which is all that there is to say.
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm

    return tqdm(unit=" steps", leave=False)
