"""Linear response covariance: what mean field's own optimum says about correlations and scales.

Tilting the log joint by a small ``t' z`` moves the optimal mean by ``d m / d t``, which for the exact posterior is the
covariance (Giordano, Broderick, Jordan 2018, eq. 8). With F the fixed-draw objective it is the m-block of the inverse
Hessian of F, here taken in q's natural coordinates and scaled back.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg.lapack import dpocon, dpotrf, dpotri

from bbvi.solvers import newton
from bbvi.solvers.trust_region import conjugate_gradient
from bbvi.target.protocol import LogDensity

Array = np.ndarray

# Up to here the Hessian of F is formed and factorised; beyond, covariances are solved for as they are asked for.
DENSE_LIMIT = 2000
_CONDITION = 1e-12


class LinearResponse(NamedTuple):
    """Covariance (D, D) on the unconstrained scale, or None with the reason why it was refused."""

    covariance: Array | None
    refused: str


def from_hessian(hessian: Array, log_sd: Array) -> LinearResponse:
    """Linear response from the Hessian of F in natural coordinates, (2D, 2D).

    Refused where the Hessian is not positive definite, since its inverse is then no covariance of anything.
    """
    dim = len(log_sd)
    if not np.isfinite(hessian).all():
        return LinearResponse(None, "the Hessian of the ELBO is not finite at the optimum")
    # With the scales first, the factor's last block is that of the means' own precision (the Schur complement).
    order = np.concatenate([np.arange(dim, 2 * dim), np.arange(dim)])
    factor, failed = dpotrf(hessian[np.ix_(order, order)], lower=True)
    if failed:
        return LinearResponse(None, "the optimum of the ELBO is a saddle point or a ridge: its Hessian is not definite")
    if dpocon(factor, np.abs(hessian).sum(axis=0).max(), uplo="L")[0] < _CONDITION:
        return LinearResponse(None, "the Hessian of the ELBO is too ill-conditioned to be inverted")
    inverse = np.tril(dpotri(factor[dim:, dim:], lower=True)[0])
    inverse += np.tril(inverse, -1).T
    sd = np.exp(log_sd)
    covariance = sd[:, None] * inverse * sd
    return LinearResponse(covariance, "")


def columns(target: LogDensity, mean: Array, log_sd: Array, eps: Array, indices: Array) -> Array:
    """Columns (D, k) of the linear response covariance for chosen latents, by conjugate gradients on all k at once.

    Raises
    ------
    numpy.linalg.LinAlgError
        If negative curvature is met, or the iteration does not converge.
    """
    dim, k = len(mean), len(indices)
    sd = np.exp(log_sd)
    rhs = np.zeros((k, 2 * dim))
    rhs[np.arange(k), indices] = 1.0
    shape = (k, *eps.shape)
    local = newton.localize(target, np.tile(mean, (k, 1)), np.tile(log_sd, (k, 1)), np.broadcast_to(eps, shape))
    x, hx, interior = conjugate_gradient(
        local.product, rhs, radius=np.full(k, np.inf), tolerance=np.full(k, 1e-6), iterations=4 * dim
    )
    if not interior.all() or np.abs(hx - rhs).max() > 1e-4:
        raise np.linalg.LinAlgError("linear response: the Hessian of the ELBO is not positive definite")
    return np.asarray((sd[:, None] * x[:, :dim].T) * sd[indices])
