"""What draws already paid for still say: importance weights, regressions and Newton steps on the ELBO."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from bbvi.solvers.from_values.differences import positive_definite
from bbvi.solvers.from_values.surrogate import ENTROPY_CONSTANT, Basis, Regression, regress

Array = np.ndarray

LARGEST_MOVE = 3.0  # of a mean, in sds of q, in one step: draws do not reach further
LARGEST_SHRINKAGE, LARGEST_GROWTH = 0.7, 0.25  # of a log sd, in one step
SETTLED = 0.2  # a step below this part of its own standard error is noise
SHORTEST = 1e-4  # of q's sds: a shorter step moves nothing, also where a quadratic leaves no error but rounding
STEPS = 20  # Newton steps between batches
EFFECTIVE_SHARE = 0.5  # of the effective draws: with fewer left, a step has gone where new draws are needed
WILD = 0.5  # an error of half an sd: the regression says little about q
WINSOR_SPREADS = 4.0  # of the middle 80 % of the values, below their median
NEGLIGIBLE = 0.05  # mean weight of a batch, where 1 is that of draws from q itself
CAPACITY = 2_000_000  # numbers kept, 16 MB


@dataclass(frozen=True)
class Archive:
    """Draws with their log density, and the Gaussians that they were drawn from.

    Attributes
    ----------
    points, values, batch : ndarray, shapes (N, D), (N,), (N,)
        Rows 2k and 2k + 1 are an antithetic pair; ``batch`` is the row of the Gaussian.
    batch_mean, batch_log_sd : ndarray, shape (K, D)
        The Gaussians.
    coupling : ndarray, shape (D, D)
        Partial correlations as far as they are known; the diagonal is zero.
    """

    points: Array
    values: Array
    batch: Array
    batch_mean: Array
    batch_log_sd: Array
    coupling: Array

    def extended(self, mean: Array, log_sd: Array, points: Array, values: Array) -> Archive:
        """With another batch; values that are not finite count as the lowest finite one, a bounded push."""
        finite = np.isfinite(values)
        return replace(
            self,
            points=np.concatenate([self.points, points]),
            values=np.concatenate([self.values, np.where(finite, values, np.min(values[finite]))]),
            batch=np.concatenate([self.batch, np.full(len(points), len(self.batch_mean))]),
            batch_mean=np.concatenate([self.batch_mean, mean[None]]),
            batch_log_sd=np.concatenate([self.batch_log_sd, log_sd[None]]),
        )

    def pruned(self, mean: Array, log_sd: Array) -> Archive:
        """Without the batches that weigh next to nothing at q, and the oldest ones beyond the capacity."""
        _, weights = self.weights(mean, log_sd)
        counts = np.bincount(self.batch)
        share = np.bincount(self.batch, weights=weights / weights.mean()) / counts
        rows_since = np.cumsum(counts[::-1])[::-1]
        keep = (share > NEGLIGIBLE) & (rows_since * self.points.shape[1] <= CAPACITY)
        keep[-1] = True
        chosen = keep[self.batch]
        return replace(
            self,
            points=self.points[chosen],
            values=self.values[chosen],
            batch=(np.cumsum(keep) - 1)[self.batch[chosen]],
            batch_mean=self.batch_mean[keep],
            batch_log_sd=self.batch_log_sd[keep],
        )

    def bounded(self) -> Archive:
        """With values far below the others raised to a bound."""
        low, middle, high = np.quantile(self.values, [0.1, 0.5, 0.9])
        return replace(self, values=np.maximum(self.values, middle - WINSOR_SPREADS * (high - low)))

    def weights(self, mean: Array, log_sd: Array) -> tuple[Array, Array]:
        """The draws in units of q (N, D), and their weights (N,) against the mixture that they come from."""
        u = (self.points - mean) * np.exp(-log_sd)
        log_weight = -0.5 * np.einsum("sd,sd->s", u, u) - log_sd.sum() - self._log_mixture
        return u, np.exp(log_weight - log_weight.max())

    @cached_property
    def _log_mixture(self) -> Array:
        """Log density (N,) of the mixture at the draws, without the normal's constant; the same for every q."""
        total = np.full(len(self.points), -np.inf)
        for k, count in enumerate(np.bincount(self.batch)):
            u = (self.points - self.batch_mean[k]) * np.exp(-self.batch_log_sd[k])
            density = -0.5 * np.einsum("sd,sd->s", u, u) - self.batch_log_sd[k].sum() + np.log(count / len(u))
            total = np.logaddexp(total, density)
        return total


@dataclass(frozen=True)
class Fitted:
    """A Gaussian with what the archive says about it."""

    mean: Array
    log_sd: Array
    regression: Regression

    @property
    def elbo(self) -> float:
        """ELBO, in nats; its error is that of the regression's expected value."""
        return float(self.regression.expected_value + float(self.log_sd.sum()) + ENTROPY_CONSTANT * len(self.log_sd))

    @property
    def error(self) -> Array:
        """Standard error of the optimum's (mean / sd, log sd): the gradient's, through the Newton matrix."""
        inverse = np.linalg.inv(newton_matrix(self.regression))
        variance = np.diag(inverse @ self.regression.covariance @ inverse.T)
        return np.sqrt(np.maximum(variance, 1e-24))

    @property
    def newton_norm(self) -> float:
        """Dual norm of the gradient: the square root of twice the gain that a quadratic promises."""
        gradient = self.regression.gradient
        return float(
            np.sqrt(max(float(gradient @ np.linalg.solve(newton_matrix(self.regression), gradient)), 0.0))
        )


def fitted(archive: Archive, mean: Array, log_sd: Array, basis: Basis | None = None) -> Fitted:
    """Regress the archive's values on features of q."""
    u, weights = archive.weights(mean, log_sd)
    return Fitted(mean, log_sd, regress(u, archive.values, weights, archive.coupling, basis))


def bounded_if_wild(archive: Archive, here: Fitted) -> tuple[Archive, Fitted] | None:
    """Where a few values far below the others decide everything: the same with these values bounded.

    It happens where q is far too wide; bounded values show the way to where such draws are rare.
    """
    error = float(np.max(here.error))
    if error < WILD:
        return None
    bounded = archive.bounded()
    there = fitted(bounded, here.mean, here.log_sd)
    return (bounded, there) if np.max(there.error) < 0.5 * error else None


def ascend(archive: Archive, here: Fitted, radius: float) -> tuple[Fitted, tuple[Array, Array] | None]:
    """Newton steps on the ELBO as the archive estimates it; common draws make its values comparable.

    Returns
    -------
    here : Fitted
        The last Gaussian that the draws at hand can vouch for.
    proposal : (mean, log_sd) or None
        Where to draw next; None if the step that is left is noise.
    """
    dim = len(here.mean)
    for _ in range(STEPS):
        step = newton_step(here.regression, radius)
        if np.all(np.abs(step) < np.maximum(SETTLED * here.error, SHORTEST)):
            return here, None
        mean, log_sd = here.mean + np.exp(here.log_sd) * step[:dim], here.log_sd + step[dim:]
        there = fitted(archive, mean, log_sd, here.regression.basis)
        if there.regression.effective_draws < EFFECTIVE_SHARE * here.regression.effective_draws:
            return here, (mean, log_sd)
        gain = there.elbo - here.elbo
        calmer = there.newton_norm < 0.7 * here.newton_norm
        # Close to the optimum the gain drowns in noise, and a smaller gradient is the better witness.
        if gain > 0 or (calmer and gain > -here.regression.expected_value_se):
            here = there
        else:
            radius = 0.3 * min(radius, _length(here.regression, step))
    return here, (here.mean, here.log_sd)


def newton_matrix(regression: Regression) -> Array:
    """Negative Hessian of the ELBO, positive definite: uncertain parts give way where they prevent that.

    Those are the orders three and four: without them it is the Hessian of a quadratic.
    """
    dim = len(regression.precision)
    floor = weakest_known(regression)
    block = np.zeros_like(regression.hessian)
    block[:dim, :dim] = positive_definite(regression.precision, floor)
    block[dim:, dim:] = np.diag(np.maximum(2 * np.diag(regression.precision), 0.2))
    for part in (1.0, 0.75, 0.5, 0.25):
        matrix = block + part * (regression.hessian - block)
        if np.linalg.eigvalsh(matrix)[0] > floor:
            return np.asarray(matrix)
    return block


def weakest_known(regression: Regression) -> float:
    """Eigenvalues of the precision below this are not told from zero by the draws."""
    return float(max(1e-6, regression.residual_sd / np.sqrt(regression.effective_draws)))


def newton_step(regression: Regression, radius: float) -> Array:
    """Newton step for (mean / sd, log sd) within a radius in the metric of the Newton matrix.

    Scales grow more slowly than they shrink: draws say nothing of what lies outside of them.
    """
    dim = len(regression.precision)
    step = np.linalg.solve(newton_matrix(regression), regression.gradient)
    length = _length(regression, step)
    step *= min(1.0, radius / length) if length > 0 else 1.0
    step[:dim] *= min(1.0, LARGEST_MOVE / max(float(np.max(np.abs(step[:dim]))), 1e-300))
    step[dim:] = np.clip(step[dim:], -LARGEST_SHRINKAGE, LARGEST_GROWTH)
    return step


def _length(regression: Regression, step: Array) -> float:
    """Length of a step in the metric of the Newton matrix."""
    return float(np.sqrt(max(step @ newton_matrix(regression) @ step, 0.0)))
