"""Control variates for importance sampling, in the form of weights that serve every function alike.

Let draws u_s come from a proposal with density q, and let g be a Gaussian near the target. The functions
h_k = (g / q) phi_k, with phi the Hermite polynomials of g up to the second order, have known means eta under q: 1 for
the constant, 0 for the others. Regression on them (Owen 2013, section 8.9) amounts to weights c_s with
sum_s c_s h_s = eta that are as near to 1 / n as can be, and so to adjusted importance weights c_s w_s. Where the
target *is* Gaussian its means and covariances come out exactly; elsewhere the noise of the part that is like a
Gaussian is gone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bbvi.correction.importance.proposals import Gaussian, Proposal, whiten
from bbvi.correction.psis import effective_sample_size

Array = np.ndarray

# Effective draws that each of a Gaussian's means and covariances must have, for it to be fitted to the draws.
_DRAWS_PER_MOMENT = 10
# Draws that a control function must have, for the regression not to follow the noise.
_DRAWS_PER_FEATURE = 10
# Above, solving for the regression costs more than its draws.
_MOST_FEATURES = 150
# Eigenvalues of the normal matrix below this share of the largest are rounding.
_CONDITION = 1e-10
# Above, squares are scaled, lest they overflow.
_HUGE = 1e100
# Sd of a quantity relative to its size that is rounding.
_ROUNDING = 1e-13


@dataclass(frozen=True, eq=False)
class ControlFunctions:
    """Control functions at S draws, as rows of `h` (F, S); F is 0 where there are too few draws for any."""

    h: Array

    @classmethod
    def at(cls, u: Array, log_weights: Array, log_q: Array, first: Proposal) -> ControlFunctions:
        """Control functions at draws u (S, D) with log weights (S,) and log proposal density (S,).

        The Gaussian g has the moments of the weighted draws where they suffice to know these well: moments that follow
        the noise of the same draws would bias the regression. Else it is the `first` proposal, if that is a Gaussian.
        All pairs of latents are used where the draws suffice, else the squares alone.
        """
        size, dim = u.shape
        none = cls(np.empty((0, size)))
        if size < _DRAWS_PER_FEATURE * (1 + 2 * dim):
            return none
        if effective_sample_size(log_weights) >= _DRAWS_PER_MOMENT * dim * (dim + 3) / 2:
            w = np.exp(log_weights)
            mean = w @ u
            centred = u - mean
            try:
                factor = np.linalg.cholesky((centred * w[:, None]).T @ centred)
            except np.linalg.LinAlgError:
                return none
        elif isinstance(first, Gaussian):
            mean, factor = first.mean, first.factor
        else:
            return none
        e = np.ascontiguousarray(whiten(u, mean, factor).T)
        squares = e * e
        log_g = -0.5 * squares.sum(axis=0) - np.log(np.diag(factor)).sum() - 0.5 * dim * np.log(2 * np.pi)
        count = 1 + dim + dim * (dim + 1) // 2
        with np.errstate(over="ignore", invalid="ignore"):
            ratio = np.exp(log_g - log_q)
            if size < _DRAWS_PER_FEATURE * count or count > _MOST_FEATURES:
                h = np.concatenate([ratio[None], ratio * e, ratio * (squares - 1.0)])
            else:
                h = np.empty((count, size))
                h[0] = ratio
                h[1 : 1 + dim] = ratio * e
                row = 1 + dim
                for i in range(dim):
                    np.multiply(h[1 + i], e[: i + 1], out=h[row : row + i + 1])
                    row += i + 1
                    h[row - 1] -= ratio
        # Where g is nowhere near the draws it says nothing about them. (A NaN fails both comparisons.)
        largest = np.maximum(h.max(axis=1), -h.min(axis=1))
        return cls(h) if np.all((largest > 1e-50) & (largest < 1e50)) else none

    @cached_property
    def _inverse(self) -> tuple[Array, Array]:
        """Lengths (F,) of the functions, and the pseudo-inverse (F, F) of their normal matrix at length one."""
        gram = self.h @ self.h.T
        lengths = np.sqrt(np.diag(gram))
        values, vectors = np.linalg.eigh(gram / np.outer(lengths, lengths))
        inverse = np.where(values > _CONDITION * values[-1], 1.0 / values, 0.0)
        return lengths, (vectors * inverse) @ vectors.T

    def adjusted(self, log_weights: Array) -> Array:
        """Normalised log weights (S,) after the regression."""
        count, size = self.h.shape
        if count == 0 or not np.isfinite(log_weights).any():
            return log_weights
        lengths, inverse = self._inverse
        gap = self.h.sum(axis=1)
        gap[0] -= size
        slope = inverse @ (gap / lengths) / lengths
        # A factor far from one says that the regression follows noise; it must never turn a weight's sign.
        log_weights = log_weights + np.log(np.clip(1.0 - slope @ self.h, 0.2, 5.0))
        top = log_weights.max()
        return np.asarray(log_weights - top - np.log(np.exp(log_weights - top).sum()))

    def standard_errors(self, weights: Array, centred: Array) -> Array:
        """Standard errors (R,) of weighted means of centred columns (S, R), after the regression."""
        y = weights[:, None] * centred
        total = np.einsum("sr,sr->r", y, y)
        count, size = self.h.shape
        if count:
            lengths, inverse = self._inverse
            moments = (self.h @ y) / lengths[:, None]
            total = total - np.einsum("fr,fr->r", moments, inverse @ moments)
            total = np.maximum(total, 0.0) * (size / max(size - count, 1))
        return np.asarray(np.sqrt(total))


def moments(x: Array, weights: Array) -> tuple[Array, Array, Array]:
    """Weighted means (R,), sds (R,) and centred columns (S, R) of columns x (S, R).

    Draws that carry no weight, where a quantity may be infinite, count as zeros. Squares do not overflow; a column that
    is not finite elsewhere has a mean and an sd that are not, and one that varies by rounding alone an sd of zero.
    """
    with np.errstate(all="ignore"):
        x = np.where((weights > 1e-100)[:, None], x, 0.0)
        mean = weights @ x
        centred = x - mean
        largest = np.max(np.abs(centred), axis=0)
        scale = np.where((largest > _HUGE) & np.isfinite(largest), largest, 1.0)
        sd = scale * np.sqrt(weights @ (centred / scale) ** 2)
        # What varies by rounding alone is a constant.
        return mean, np.where(sd <= _ROUNDING * np.abs(mean), 0.0, sd), centred
