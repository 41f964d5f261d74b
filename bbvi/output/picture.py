"""A figure that a notebook shows once."""

from __future__ import annotations

import matplotlib
import matplotlib.pyplot as plt
from matplotlib.figure import Figure


class Picture(Figure):
    """A matplotlib figure that a notebook shows once, also where it is the last value of a cell.

    A notebook shows the last value of a cell, and pyplot what is still open at its end; what is both would be seen
    twice.
    """

    def _ipython_display_(self) -> None:
        # In a window it stays open.
        if "inline" in matplotlib.get_backend():
            plt.close(self)
        # IPython's word for: show it like any other.
        raise NotImplementedError
