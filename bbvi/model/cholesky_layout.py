"""How the free numbers of a Cholesky factor of a correlation matrix lie in it."""

from __future__ import annotations

from functools import lru_cache

import autograd.numpy as np


@lru_cache(maxsize=64)
def cholesky_layout(k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Constant matrices that do the work along the rows of L for all n coordinates at once.

    ``place`` (n, k * k) puts coordinate (i, j) at its entry of the flat matrix; ``product`` (n, k * k) adds
    log sech of (i, l), l < j, to entry (i, j), diagonal included; ``diagonal`` (k * k,) is the flat identity;
    ``weights`` (n,) belong to the log-Jacobian.
    """
    rows, columns = np.tril_indices(k, -1)
    n = rows.size
    place = np.zeros((n, k, k))
    place[np.arange(n), rows, columns] = 1.0
    i, j = np.indices((k, k))
    product = (rows[:, None, None] == i) & (columns[:, None, None] < j) & (j <= i)
    flat = (n, k * k)
    return (
        _frozen(place.reshape(flat)),
        _frozen(product.reshape(flat).astype(float)),
        _frozen(np.eye(k).ravel()),
        _frozen(rows - columns + 1.0),
    )


def _frozen(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array
