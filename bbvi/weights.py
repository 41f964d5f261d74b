"""Control variates for importance sampling, in the form of weights that serve every function alike.

Let draws u_s come from a proposal with density q, and let g be a Gaussian near the target. The functions
h_k = (g / q) phi_k, with phi the Hermite polynomials of g up to the second order, have known means eta under q: 1
for the
constant, 0 for the others. Regression on them (Owen 2013, section 8.9) amounts to weights c_s with sum_s c_s h_s = eta
that are as near to 1 / n as can be, and so to adjusted importance weights c_s w_s. Where the target *is* Gaussian its
means and covariances come out exactly; elsewhere the noise of the part that is like a Gaussian is gone.
"""

from __future__ import annotations

import numpy as np

from .proposals import whiten

Array = np.ndarray

# Draws that a control function must have, for the regression not to follow the noise.
_DRAWS_PER_FEATURE = 10
# Above, solving for the regression costs more than its draws.
_MOST_FEATURES = 150


def control_functions(u: Array, log_weights: Array, log_q: Array) -> Array:
    """The functions h (S, F) at draws u (S, D) with log proposal density (S,); F is 0 where there are too few draws.

    The Gaussian g has the moments of the weighted draws. All pairs of latents are used where the draws suffice, else
    the squares alone.
    """
    size, dim = u.shape
    w = np.exp(log_weights)
    mean = w @ u
    centred = u - mean
    covariance = (centred * w[:, None]).T @ centred
    pairs = dim * (dim + 1) // 2
    if size < _DRAWS_PER_FEATURE * (1 + 2 * dim):
        return np.empty((size, 0))
    try:
        factor = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        return np.empty((size, 0))
    e = whiten(u, mean, factor)
    count = 1 + dim + pairs
    if size >= _DRAWS_PER_FEATURE * count and count <= _MOST_FEATURES:
        rows, columns = np.tril_indices(dim)
        second = e[:, rows] * e[:, columns] - (rows == columns)
    else:
        second = e**2 - 1.0
    log_g = -0.5 * np.sum(e**2, axis=1) - np.log(np.diag(factor)).sum() - 0.5 * dim * np.log(2 * np.pi)
    with np.errstate(over="ignore"):
        ratio = np.exp(log_g - log_q)
    h = ratio[:, None] * np.concatenate([np.ones((size, 1)), e, second], axis=1)
    # Where g is nowhere near the draws it says nothing about them.
    usable = np.isfinite(h).all() and np.abs(h).max() < 1e50 and np.all(np.abs(h).max(axis=0) > 1e-50)
    return h if usable else np.empty((size, 0))


def adjusted(log_weights: Array, h: Array) -> Array:
    """Normalised log weights (S,) after the regression on control functions h (S, F)."""
    size, count = h.shape
    if count == 0 or not np.isfinite(log_weights).any():
        return log_weights
    eta = np.zeros(count)
    eta[0] = 1.0
    gap = h.mean(axis=0) - eta
    slope = np.linalg.lstsq(h.T @ h / size, gap, rcond=1e-10)[0]
    # A factor far from one says that the regression follows noise; it must never turn a weight's sign.
    factor = np.clip(1.0 - h @ slope, 0.2, 5.0)
    log_weights = log_weights + np.log(factor)
    top = log_weights.max()
    return log_weights - top - np.log(np.exp(log_weights - top).sum())


def weightless_to_zero(x: Array, weights: Array) -> Array:
    """Columns (S, R) with zeros at draws that carry no weight, where a quantity may be infinite."""
    return np.where((weights > 1e-100)[:, None], x, 0.0)


def standard_errors(weights: Array, centred: Array, h: Array) -> Array:
    """Standard errors (R,) of weighted means of centred columns (S, R), after the regression on h."""
    y = weights[:, None] * centred
    if h.shape[1]:
        # Columns of one length, for a normal matrix that is as well conditioned as it can be.
        scaled = h / np.linalg.norm(h, axis=0)
        y = y - scaled @ np.linalg.lstsq(scaled.T @ scaled, scaled.T @ y, rcond=1e-10)[0]
        y *= np.sqrt(len(h) / max(len(h) - h.shape[1], 1))
    return np.sqrt(np.sum(y**2, axis=0))
