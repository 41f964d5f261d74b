"""Weighted draws with what is known at them: what every figure of one kind of posterior is made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from bbvi.families import Correlated
from bbvi.target.protocol import Evaluated as Evaluated

Array = np.ndarray


class Errors(Protocol):
    """How the Monte Carlo error of a mean follows from the draws."""

    def standard_errors(self, weights: Array, centred: Array) -> Array:
        """Standard errors (R,) of the weighted means of centred columns (S, R)."""


class Normal(NamedTuple):
    """Mean (D,) and factor of a Gaussian: lower triangular (D, D), or the sds (D,) of independent coordinates."""

    mean: Array
    factor: Array

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draws (n, D)."""
        return self.at(rng.standard_normal((n, len(self.mean))))

    def at(self, e: Array) -> Array:
        """The points that standardized ones (n, D) stand for."""
        return np.asarray(self.mean + (e * self.factor if self.factor.ndim == 1 else e @ self.factor.T))

    def log_density(self, u: Array) -> Array:
        """Log density (S,) at draws (S, D)."""
        if self.factor.ndim == 1:
            e, log_scale = (u - self.mean) / self.factor, np.log(self.factor).sum()
        else:
            e = np.linalg.solve(self.factor, (u - self.mean).T).T
            log_scale = np.log(np.diag(self.factor)).sum()
        return np.asarray(-0.5 * np.sum(e**2, axis=1) - log_scale - 0.5 * len(self.mean) * np.log(2 * np.pi))

    @property
    def sd(self) -> Array:
        """Marginal sds (D,)."""
        return self.factor if self.factor.ndim == 1 else np.sqrt(np.sum(self.factor**2, axis=1))


@dataclass(frozen=True, eq=False)
class Pool:
    """Weighted draws from which figures are made.

    Attributes
    ----------
    u : (S, D), unconstrained
    log_weights : (S,), normalised
    errors : Errors
    log_density, log_q : (S,)
        Of the target, and of what the draws came from; NaN where not known.
    normal : Normal, optional
        The Gaussian that the draws stand for, of which closed forms are known.
    chains : int
        How many chains the draws are laid out in, one after the other; 1 where they are independent.
    """

    u: Array
    log_weights: Array
    errors: Errors
    log_density: Array
    log_q: Array
    normal: Normal | Correlated | None = None
    chains: int = 1


class Kind(Protocol):
    """One kind of approximation of the posterior, with what its own checks say of it.

    Attributes
    ----------
    name : str
        What ``kind=`` calls it.
    khat : float
        Pareto k-hat of its weights; NaN where none were drawn.
    checked : bool
        Whether its draws were compared with the posterior, so that it may be relied on.
    independent : bool
        Whether it stands by itself when it passes its checks, however the optimum was that it began at, and whatever
        other modes it was begun at.
    problems : tuple of str
        The checks that failed, a clause each.
    """

    @property
    def name(self) -> str: ...

    @property
    def khat(self) -> float: ...

    @property
    def checked(self) -> bool: ...

    @property
    def independent(self) -> bool: ...

    @property
    def problems(self) -> tuple[str, ...]: ...

    def pool(self, seed: int) -> Pool:
        """The draws that every figure comes from."""

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draws (n, D) of it, equally weighted."""
