"""The Gaussian kinds of posterior: the family fitted, linear response, the surrogate of a fit from values."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bbvi.correction.pool import Array, Evaluated, Normal, Pool
from bbvi.draws import quasi_random
from bbvi.families import Correlated


@dataclass(frozen=True)
class GaussianPolicy:
    """How many quasi-random draws stand for a Gaussian.

    Attributes
    ----------
    fewest, most : int
        Draws, as powers of two: with 1,024 the error of a mean is below 0.5 % of an sd (Owen 1998: near 1 / n for
        smooth functions), against 3 % for independent draws.
    numbers : int
        Draws times latents that are held, where that leaves more than the fewest.
    """

    fewest: int = 2**10
    most: int = 2**13
    numbers: int = 2**19

    def size(self, dim: int) -> int:
        """Draws for so many latents."""
        wanted = 2 ** int(np.floor(np.log2(max(self.numbers / dim, 1.0))))
        return int(np.clip(wanted, self.fewest, self.most))


@dataclass(frozen=True, eq=False)
class MeanErrors:
    """Standard errors that follow from the error that a fit left in the mean of its Gaussian.

    Draws (S, D) say how the mean of a quantity moves with that of the Gaussian (Stein's identity).
    """

    u: Array
    mean_se: Array

    def standard_errors(self, weights: Array, centred: Array) -> Array:
        """Standard errors (R,) of the weighted means of centred columns (S, R)."""
        scatter = self.u - weights @ self.u
        if len(scatter) < 2 * scatter.shape[1]:
            # Too few draws to tell all latents' parts apart: each latent's own, as if they were independent.
            slopes = (scatter * weights[:, None]).T @ centred / (weights @ scatter**2)[:, None]
        else:
            slopes = np.linalg.lstsq(scatter, centred, rcond=None)[0]
        return np.asarray(np.sqrt(self.mean_se**2 @ slopes**2))


@dataclass(frozen=True, eq=False)
class GaussianKind:
    """A Gaussian approximation of the posterior.

    Attributes
    ----------
    name : str
    normal : Normal or Correlated
    mean_se : (D,)
        Monte Carlo error that the fit left in its mean; NaN where unknown.
    evaluated : Evaluated, optional
        Draws of it at which the target's log density is known.
    khat : float
        Of the weights that would carry it to the posterior; NaN where none were drawn.
    exact : bool
        Whether those weights are so nearly equal that it is the posterior.
    """

    name: str
    normal: Normal | Correlated
    mean_se: Array
    evaluated: Evaluated | None = None
    khat: float = float("nan")
    exact: bool = False

    @property
    def independent(self) -> bool:
        """It is of the optimum."""
        return False

    @property
    def checked(self) -> bool:
        """A Gaussian is checked by the weights that start from it, unless these found nothing to correct."""
        return self.exact

    @property
    def log_evidence(self) -> tuple[float, float]:
        """Log evidence in nats where it is the posterior, and its standard error; NaN elsewhere."""
        if not self.exact or self.evaluated is None:
            return float("nan"), float("nan")
        log_ratio = self.evaluated.log_density - self.normal.log_density(self.evaluated.u)
        return float(log_ratio.mean() + log_ratio.var() / 2), float(log_ratio.std() / np.sqrt(len(log_ratio)))

    @property
    def problems(self) -> tuple[str, ...]:
        """None of its own."""
        return ()

    def with_weights(self, evaluated: Evaluated, khat: float) -> GaussianKind:
        """The same with draws at which the log density is known, and the k-hat of their weights."""
        return replace(self, evaluated=evaluated, khat=khat)

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draws (n, D)."""
        return self.normal.sample(n, rng)

    def pool(self, seed: int, policy: GaussianPolicy = GaussianPolicy()) -> Pool:  # noqa: B008
        """Quasi-random draws, equally weighted."""
        size, dim = policy.size(len(self.mean_se)), len(self.mean_se)
        u = self.normal.at(quasi_random(size, dim, np.random.default_rng(seed)))
        unknown = np.full(size, np.nan)
        return Pool(
            u=u,
            log_weights=np.full(size, -np.log(size)),
            errors=MeanErrors(u, self.mean_se),
            log_density=unknown,
            log_q=self.normal.log_density(u),
            normal=self.normal,
        )
