"""Smooth density estimates of weighted draws, for pictures."""

from __future__ import annotations

import numpy as np

Array = np.ndarray

_BINS = 512


def density(
    x: Array, weights: Array, low: float | None = None, high: float | None = None
) -> tuple[Array, Array]:
    """Gaussian kernel density of weighted draws on a grid.

    The bandwidth is Silverman's (1986, eq. 3.31) with Kish's effective number of draws. At a finite end of
    the support the draws are reflected, so that no mass lies beyond it.

    Parameters
    ----------
    x, weights : ndarray, shape (S,)
        The weights sum to one. Infinite values, as of draws in the far tails without weight, are left out.
    low, high : float, optional
        Finite ends of the support.

    Returns
    -------
    grid, density : ndarray, shape (G,)
    """
    finite = np.isfinite(x)
    x, weights = x[finite], weights[finite]
    order = np.argsort(x)
    levels = np.cumsum(weights[order])
    lower, q1, q3, upper = np.interp([0.002, 0.25, 0.75, 0.998], levels, x[order])
    sd = np.sqrt(weights @ (x - weights @ x) ** 2)
    spread = min(sd, (q3 - q1) / 1.34) if q3 > q1 else sd
    width = 0.9 * spread * (1 / np.sum(weights**2)) ** -0.2
    # Draws that do not vary, as the corner of a Cholesky factor, may still have the spread of a rounding error.
    if not width > 1e-12 * np.max(np.abs(x)):
        return np.array([x[0] - 1e-9, x[0], x[0] + 1e-9]), np.array([0.0, 1.0, 0.0])
    start, stop = lower - 4 * width, upper + 4 * width
    start = start if low is None else max(low, start)
    stop = stop if high is None else min(high, stop)
    # Mirrored beyond the ends by the reach of the kernel.
    edges = np.linspace(start, stop, _BINS + 1)
    step = edges[1] - edges[0]
    mass = np.histogram(x, edges, weights=weights)[0]
    reach = min(int(np.ceil(4 * width / step)), _BINS)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) * step / width) ** 2)
    left = mass[:reach][::-1] if low is not None and start == low else np.zeros(reach)
    right = mass[-reach:][::-1] if high is not None and stop == high else np.zeros(reach)
    smooth = np.convolve(np.concatenate([left, mass, right]), kernel / kernel.sum(), mode="valid")
    return 0.5 * (edges[:-1] + edges[1:]), smooth / step
