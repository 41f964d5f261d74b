"""The pathwise (reparameterization) gradient estimator."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bbvi.estimators.base import Estimate, entropic
from bbvi.estimators.cost import Cost
from bbvi.families import MeanFieldGaussian
from bbvi.families.protocol import Distribution, Reparameterized


@dataclass(frozen=True)
class Pathwise:
    """Pathwise gradient: the cost's own gradient, carried to the parameters along the draw.

    The mean of ``grad f(z) dz/dparameters`` (Kingma and Welling 2014, eq. 4; for families without an explicit
    path Figurnov, Mohamed and Mnih 2018, eq. 5). It needs a cost that is differentiable where q has mass and
    a q with ``path``.

    Parameters
    ----------
    stick_the_landing : bool
        For the ELBO, leave the score of q out of the path derivative of log p(z) - log q(z) (Roeder, Wu and
        Duvenaud 2017, eq. 8). The variance is zero where q equals the posterior, and may be larger elsewhere.
        Without it the entropy enters in closed form. It changes nothing for a plain cost, which has no log q.

    Raises
    ------
    TypeError
        If `stick_the_landing` is not a bool.
    """

    stick_the_landing: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.stick_the_landing, bool):
            raise TypeError(f"stick_the_landing: expected a bool, got {self.stick_the_landing!r}")

    @property
    def label(self) -> str:
        """Short name in tables."""
        return "pathwise (stick the landing)" if self.stick_the_landing else "pathwise"

    def estimate(self, cost: Cost, q: Distribution, draws: int, rng: np.random.Generator) -> Estimate:
        """Estimate from `draws` draws of q; one gradient of the cost each.

        Raises
        ------
        TypeError
            If q has no ``path``, or, for the ELBO of a model, no ``entropy`` and ``entropy_gradient``.
        """
        if not isinstance(q, Reparameterized):
            raise TypeError(f"q: {type(q).__name__} has no path, which pathwise needs; use score")
        z = q.sample(draws, rng)
        values, gradients = cost.gradients(z)
        if not (np.all(np.isfinite(values)) and np.all(np.isfinite(gradients))):
            return Estimate(np.full(q.path(z[:1], np.zeros_like(z[:1])).shape[1], np.nan), np.nan)
        value = float(np.mean(values))
        if not cost.entropy:
            return Estimate(np.mean(q.path(z, gradients), axis=0), value)
        known = entropic(q)
        value += known.entropy()
        if self.stick_the_landing:
            if not isinstance(q, MeanFieldGaussian):
                raise TypeError(f"q: stick_the_landing needs a MeanFieldGaussian, got {type(q).__name__}")
            # The derivative of -log q in z; its mean along the path is the gradient of the entropy.
            return Estimate(np.mean(q.path(z, gradients + q.standardize(z) / q.sd), axis=0), value)
        return Estimate(np.mean(q.path(z, gradients), axis=0) + known.entropy_gradient(), value)
