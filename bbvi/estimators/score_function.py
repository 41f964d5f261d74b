"""The score function (REINFORCE) gradient estimator: values of the cost only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeGuard

import numpy as np

from bbvi.estimators.base import Estimate, entropic
from bbvi.estimators.control_variates import (
    Features,
    gaussian_features,
    groups,
    optimal_scalar,
    plain,
    regression,
    score_features,
)
from bbvi.estimators.cost import Cost
from bbvi.estimators.rao_blackwell import changed_terms, guarded, probe_structure
from bbvi.families import Independent, MeanFieldGaussian
from bbvi.families.protocol import Distribution, Scored

Array = np.ndarray

CONTROL_VARIATES = ("regression", "leave-one-out", "optimal", "none")
_SMOOTH_POINTS, _OTHER_POINTS = 3, 10


@dataclass(frozen=True)
class ScoreFunction:
    """Score function gradient, ``E[(f(z) - c) grad log q(z)]``, for any cost and any q.

    Williams (1992); for the ELBO Ranganath, Gerrish and Blei (2014), eq. 2, with the entropy in closed form.
    Every control variate leaves it unbiased, because the coefficients that a draw meets come from the other
    draws.

    Parameters
    ----------
    control_variate : {"regression", "leave-one-out", "optimal", "none"}
        ``"regression"``: of the cost on 1, eps, eps^2 - 1 and cross terms for a Gaussian q (zero variance for
        quadratic costs), on 1 and the score for others (Salimans and Knowles 2013). It takes two draws per
        feature: with N draws in D coordinates the cross terms are used from N = (D + 1) (D + 2), the squares
        from N = 2 (2 D + 1), the linear terms from N = 2 (D + 1); below it is the leave-one-out mean.
        ``"leave-one-out"``: the mean cost of the other draws.
        ``"optimal"``: Cov(f h, h) / Var(h) for each parameter, from the other draws.
        ``"none"``: c = 0. A single draw allows nothing else.
    rao_blackwell : bool
        Where the cost returns an array of terms and q has independent coordinates, leave out of coordinate i
        the terms that z_i does not touch. They are found by moving one latent at a time; where the result
        disagrees with the full estimate by more than chance, the full one is used.

    Raises
    ------
    ValueError, TypeError
        If there is no such control variate, or `rao_blackwell` is not a bool.
    """

    gradients: ClassVar[bool] = False

    control_variate: str = "regression"
    rao_blackwell: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.control_variate, str) or self.control_variate not in CONTROL_VARIATES:
            known = ", ".join(repr(name) for name in CONTROL_VARIATES)
            raise ValueError(f"control_variate: expected one of {known}, got {self.control_variate!r}")
        if not isinstance(self.rao_blackwell, bool):
            raise TypeError(f"rao_blackwell: expected a bool, got {self.rao_blackwell!r}")

    @property
    def label(self) -> str:
        """Short name in tables: what differs from the default."""
        options = [] if self.control_variate == "regression" else [self.control_variate]
        options += [] if self.rao_blackwell else ["no Rao-Blackwellization"]
        return f"score ({', '.join(options)})" if options else "score"

    def structure(self, cost: Cost, q: Distribution, rng: np.random.Generator) -> Array:
        """Which terms each coordinate touches, bool (D, T); all true where there is nothing to leave out."""
        if not self._may_reduce(q):
            return np.ones((1, 1), dtype=bool)
        return self._probe(cost, q, cost.terms(q.sample(1, rng)).shape[1], rng)

    def estimate(
        self, cost: Cost, q: Distribution, draws: int, rng: np.random.Generator, structure: Array | None = None
    ) -> Estimate:
        """Estimate from `draws` draws of q, one evaluation of the cost each.

        Parameters
        ----------
        structure : ndarray of bool, shape (D, T), optional
            What `structure` found for this cost, so that it is not looked for again. Without it, it is looked
            for where `rao_blackwell` asks for it, which takes a few evaluations per coordinate.

        Raises
        ------
        TypeError
            If q has no ``score``, or, for the ELBO of a model, no ``entropy`` and ``entropy_gradient``.
        """
        if not isinstance(q, Scored):
            raise TypeError(f"q: {type(q).__name__} has no score, which the score function needs; use pathwise")
        z = q.sample(draws, rng)
        separate = self._may_reduce(q) and (structure is None or not np.all(structure))
        terms = cost.terms(z) if separate else cost.values(z)[:, None]
        score = q.score(z)
        if not np.all(np.isfinite(terms)):
            return Estimate(np.full(score.shape[1], np.nan), np.nan)
        values = np.sum(terms, axis=1)
        contributions = self._contributions(values[:, None], q, z, score, None, rng)
        if separate and structure is None and self._may_reduce(q):
            structure = self._probe(cost, q, terms.shape[1], rng)
        if separate and structure is not None and not np.all(structure):
            own = terms @ structure.T.astype(float)
            reduced = self._contributions(own, q, z, score, structure, rng)
            left_out = self._left_out(values[:, None] - own, q, z, score, len(structure), rng)
            contributions = guarded(contributions, reduced, left_out)
        gradient, value = np.mean(contributions, axis=0), float(np.mean(values))
        if cost.entropy:
            known = entropic(q)
            return Estimate(gradient + known.entropy_gradient(), value + known.entropy())
        return Estimate(gradient, value)

    def _may_reduce(self, q: Distribution) -> TypeGuard[Independent]:
        return self.rao_blackwell and isinstance(q, Independent) and q.dim > 1

    def _probe(self, cost: Cost, q: Independent, terms: int, rng: np.random.Generator) -> Array:
        if terms == 1:
            return np.ones((q.dim, 1), dtype=bool)
        if isinstance(q, MeanFieldGaussian):
            return probe_structure(cost.terms, q.mean, q.sd, rng, _SMOOTH_POINTS)
        return changed_terms(cost.terms, *_moves(q, rng))

    def _contributions(
        self, costs: Array, q: Scored, z: Array, score: Array, structure: Array | None, rng: np.random.Generator
    ) -> Array:
        # costs has one column for all parameters, or with a structure one for each coordinate.
        count = score.shape[1]
        coordinate = np.zeros(count, dtype=int) if structure is None else np.arange(count) % len(structure)
        if self.control_variate == "none":
            return plain(costs[:, coordinate], score)
        if self.control_variate == "optimal":
            return optimal_scalar(costs[:, coordinate], score)
        if self.control_variate == "leave-one-out":
            return regression(costs, score, coordinate, Features(np.ones((len(score), 1)), np.zeros((1, count))))
        if structure is None:
            return regression(costs, score, coordinate, self._features(q, z, score, None, 1, rng))
        contributions = np.empty_like(score)
        for group, neighbours in groups((structure.astype(int) @ structure.T.astype(int)) > 0):
            columns = np.flatnonzero(np.isin(coordinate, group))
            features = self._features(q, z, score, neighbours, len(structure), rng)
            features = features._replace(moments=features.moments[:, columns])
            contributions[:, columns] = regression(costs, score[:, columns], coordinate[columns], features)
        return contributions

    def _left_out(
        self, costs: Array, q: Scored, z: Array, score: Array, dim: int, rng: np.random.Generator
    ) -> Array:
        """Contributions of the terms that are left out; regression, whatever is used else, shows the least of
        them."""
        features = self._features(q, z, score, None, 1, rng)
        return regression(costs, score, np.arange(score.shape[1]) % dim, features)

    def _features(
        self, q: Scored, z: Array, score: Array, members: Array | None, dim: int, rng: np.random.Generator
    ) -> Features:
        """Features of the coordinates `members` of `dim`, or of all."""
        if isinstance(q, MeanFieldGaussian):
            return gaussian_features(q, z, np.arange(q.dim) if members is None else members)
        columns = np.arange(score.shape[1])
        if members is not None:
            columns = columns[np.isin(columns % dim, members)]
        return score_features(q, score, columns, rng)


def _moves(q: Independent, rng: np.random.Generator) -> tuple[Array, Array]:
    """Draws of q, and others that differ from them in every coordinate, which draws of a discrete q need
    not."""
    base, moved = q.sample(_OTHER_POINTS, rng), q.sample(_OTHER_POINTS, rng)
    for _ in range(100):
        same = moved == base
        if not np.any(same):
            break
        moved = np.where(same, q.sample(_OTHER_POINTS, rng), moved)
    return base, moved
