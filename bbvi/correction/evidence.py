"""Log evidence from the draws of a posterior whose log density is known at them."""

from __future__ import annotations

import numpy as np

from bbvi.correction.psis import pareto_shape

Array = np.ndarray

# Pareto shape of ratios from which their mean is not known, and draws that show one.
_HEAVY, _FEWEST = 0.7, 100


def log_evidence_of(e: Array, weights: Array, log_density: Array, chains: int | None = None) -> tuple[float, float]:
    """Log evidence in nats from weighted draws of a posterior at which its log density is known; its error.

    With a density g that is nowhere wider than the posterior, 1 / Z is the posterior's mean of g / p (Gelfand and Dey
    1994, eq. 27). Here g is a Gaussian within its median radius, of independent coordinates e (S, D) in which the
    posterior is nearly that: of more moments of the same draws it would be higher at these than elsewhere, by half a
    nat for each thousand correlations and a thousand draws.

    Parameters
    ----------
    e : ndarray, shape (S, D)
    weights, log_density : ndarray, shape (S,)
        Weights that sum to one, and the log density of e.
    chains : int, optional
        Of which the draws are, one chain after the other; by default they are independent.

    Returns
    -------
    float, float
        NaN and infinity where no such density is known.
    """
    dim = e.shape[1]
    mean = weights @ e
    sd = np.sqrt(weights @ (e - mean) ** 2)
    squares = np.sum(((e - mean) / sd) ** 2, axis=1)
    log_g = np.log(2.0) - 0.5 * squares - np.log(sd).sum() - 0.5 * dim * np.log(2 * np.pi)
    log_ratio = np.where(squares < _median_of_squares(dim), log_g - log_density, -np.inf)
    highest = log_ratio.max()
    if not np.isfinite(highest):
        # Of a shell, or a ring, no draw is near the mean.
        return np.nan, np.inf
    ratio = np.exp(log_ratio - highest)
    if len(ratio) > _FEWEST and float(pareto_shape(weights * ratio)) > _HEAVY:
        # A Gaussian reaches out of a posterior that bends, and what it has there a mean does not settle.
        return np.nan, np.inf
    total = float(weights @ ratio)
    if chains is None:
        error = np.sqrt(weights**2 @ (ratio - total) ** 2) / total
    else:
        error = ratio.reshape(chains, -1).mean(axis=1).std(ddof=1) / np.sqrt(chains) / total
    return float(-np.log(total) - highest), float(error)


def _median_of_squares(dim: int) -> float:
    from scipy.special import gammaincinv

    return float(2.0 * gammaincinv(dim / 2.0, 0.5))
