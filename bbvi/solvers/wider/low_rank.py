"""`LowRank`: the best Gaussian with a few common factors, on fixed draws, for many latents.

With draws (eps, eta) of D + R standard normals, ``u = mean + scale eps + U eta`` and the ELBO of
N(mean, diag(scale^2) + U U') becomes the deterministic function

    F(mean, scale, U) = -(1/S) sum_s log p(u_s) - log det(diag(scale^2) + U U') / 2

(Giordano, Ingram, Broderick 2024, eq. 4, for the family of Ong, Nott, Smith 2018). In units of the mean-field
optimum all parameters are of order one, and limited-memory BFGS (Liu and Nocedal 1989) does the rest. The draws'
second moments are exact, those between eps and eta too, so that no factor can fit their chance correlations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bbvi.draws import orthogonal
from bbvi.families import LowRankGaussian, MeanFieldGaussian
from bbvi.solvers.wider.base import Task, Widened
from bbvi.status import Status
from bbvi.target.protocol import LogDensity

Array = np.ndarray


class _Ended(Exception):
    """The limits ended the search."""


class _Draws(NamedTuple):
    """Standard normals of the coordinates (S, D) and of the factors (S, R)."""

    eps: Array
    eta: Array

    @classmethod
    def of(cls, count: int, dim: int, rank: int, rng: np.random.Generator) -> _Draws:
        """Mirrored, with exact second moments of eta, and of eta with eps."""
        both = orthogonal(count, dim + rank, rng)
        eta = np.linalg.qr(both[: count // 2, dim:])[0] * np.sqrt(count // 2)
        eps = both[: count // 2, :dim]
        eps = eps - eta @ (eta.T @ eps) / len(eta)
        eps = eps / np.sqrt(np.mean(eps**2, axis=0))
        return cls(np.concatenate([eps, -eps]), np.concatenate([eta, -eta]))


@dataclass(frozen=True)
class LowRank:
    """Gaussians with independent coordinates and a few common factors.

    Parameters
    ----------
    rank : int
        R, the number of factors; no more than there are latents are used.
    draws : int, optional
        Draws, even; by default 16 for each factor, 128 at least.
    steps : int
        Steps at the most.
    curved : int
        Draws whose mean curvature gives the factors to begin with.
    settled : float
        Nats; a step that gains less is the last.
    most_draws : int
        Draws up to which they are doubled while their error is above the tolerance.
    designs : int
        Fresh sets of draws, whose gradients at the optimum show its Monte Carlo error.
    """

    rank: int = 10
    draws: int | None = None
    steps: int = 400
    curved: int = 16
    settled: float = 1e-4
    most_draws: int = 2048
    designs: int = 4

    name = "low-rank"

    def __post_init__(self) -> None:
        if not isinstance(self.rank, int | np.integer) or isinstance(self.rank, bool) or self.rank < 1:
            raise ValueError(f"LowRank: expected rank to be an integer of 1 or more, got {self.rank!r}")
        if self.draws is not None and (
            not isinstance(self.draws, int | np.integer) or self.draws % 2 or self.draws < 2 * self.rank
        ):
            raise ValueError(
                f"LowRank: expected draws to be an even integer of twice the rank or more, got {self.draws!r}"
            )

    def refusal(self, dim: int, gradients: bool) -> str:
        """Why so many latents cannot be fitted, with gradients or by values alone; "" where they can."""
        return "" if gradients else "'low-rank' needs gradients; from values use family='full-rank'"

    def widen(self, task: Task) -> Widened:
        """Maximise the ELBO over the family; see `Family.widen`."""
        start, target = task.start, task.differentiable
        rank, count = min(self.rank, start.dim), self.draws or max(128, 16 * self.rank)
        x = _parameters(np.zeros(start.dim), *self._factors(target, start, rank, task.rng))
        unknown = np.full(start.dim, np.nan)
        while True:
            x, why = self._descended(task, x, _Draws.of(count, start.dim, rank, task.rng))
            q = _gaussian(start, x, rank)
            if why or task.over(self.designs * count):
                return Widened(q, Status.BUDGET, why or "The limits left no room to see its error.", unknown, unknown)
            se, log_sd_se = self._errors(target, q, count, task.rng)
            worst = max(float(np.max(se / q.sd)), float(np.max(log_sd_se)))
            moved = f"of {count} draws is at its maximum; others move no mean or sd by over {worst:.2g} sds"
            if worst <= task.tolerance:
                return Widened(q, Status.CONVERGED, f"The low-rank ELBO {moved}.", se, log_sd_se)
            if 2 * count > self.most_draws:
                text = f"The low-rank ELBO {moved}, where the tolerance is {task.tolerance:g}: allow more most_draws."
                return Widened(q, Status.BUDGET, text, se, log_sd_se)
            count *= 2

    def _descended(self, task: Task, first: Array, draws: _Draws) -> tuple[Array, str]:
        """The parameters at the optimum of these draws, or the best on the way and why that ended."""
        from scipy.optimize import minimize

        target, start = task.differentiable, task.start
        best, least = first, np.inf

        def objective(x: Array) -> tuple[float, Array]:
            nonlocal best, least
            if task.over(len(draws.eta)):
                raise _Ended
            value, gradient = _objective(target, start, draws, x)
            if value < least:
                best, least = x.copy(), value
                task.told(-value + 0.5 * start.dim * (1.0 + np.log(2 * np.pi)), float(np.linalg.norm(gradient)))
            return value, gradient

        try:
            # SciPy's tolerance is relative to the value.
            enough = self.settled / max(abs(objective(first)[0]), 1.0)
            options = {"maxiter": self.steps, "maxcor": 20, "gtol": 0.0, "ftol": enough}
            found = minimize(objective, first, jac=True, method="L-BFGS-B", options=options)
        except _Ended:
            return best, "The limits ended the search for the low-rank optimum."
        return best, f"No low-rank optimum after {self.steps} steps." if found.nit >= self.steps else ""

    def _factors(
        self, target: LogDensity, start: MeanFieldGaussian, rank: int, rng: np.random.Generator
    ) -> tuple[Array, Array]:
        """Log scales (D,) and factors (D, R) to begin with, in units of the mean-field sds.

        There the curvature has a unit diagonal, and its flattest directions are those in which mean field is too
        narrow.
        """
        from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

        dim = start.dim
        e = orthogonal(self.curved, dim, rng)
        product = target.linearize(start.mean + start.sd * e, start.sd).hessian_product

        def curvature(v: Array) -> Array:
            moved = np.broadcast_to(np.ravel(v) * start.sd, e.shape)
            return np.asarray(-(product(np.ascontiguousarray(moved)) * start.sd).mean(axis=0))

        if dim <= 4 * rank:
            matrix = np.stack([curvature(v) for v in np.eye(dim)])
            values, vectors = np.linalg.eigh((matrix + matrix.T) / 2.0)
        else:
            operator = LinearOperator((dim, dim), matvec=curvature, dtype=float)
            try:
                values, vectors = eigsh(operator, k=rank, which="SA", tol=0.05, v0=rng.standard_normal(dim))
            except ArpackError:
                values, vectors = np.full(rank, 0.5), np.linalg.qr(rng.standard_normal((dim, rank)))[0]
        lowest = np.argsort(values)[:rank]
        values = np.clip(values[lowest], 1e-4, 0.9)
        factors = vectors[:, lowest] * np.sqrt(1.0 / values - 1.0)
        return np.zeros(dim), factors

    def _errors(
        self, target: LogDensity, q: LowRankGaussian, count: int, rng: np.random.Generator
    ) -> tuple[Array, Array]:
        """How far (D,) other draws would move means and log sds: their natural gradients at the optimum.

        That of the covariance is Sigma E[H] Sigma + Sigma, with E[H] by Stein's identity.
        """
        means, log_sds = [], []
        for _ in range(self.designs):
            draws = _Draws.of(count, q.dim, q.factors.shape[1], rng)
            moved = q.scale * draws.eps + draws.eta @ q.factors.T
            g = target.gradients(q.mean + moved)[1]
            steps = g * q.scale**2 + (g @ q.factors) @ q.factors.T
            means.append(steps.mean(axis=0))
            log_sds.append(((steps * moved).mean(axis=0) / q.sd**2 + 1.0) / 2.0)
        return np.sqrt(np.mean(np.square(means), axis=0)), np.sqrt(np.mean(np.square(log_sds), axis=0))


def _parameters(mean: Array, log_scale: Array, factors: Array) -> Array:
    return np.concatenate([mean, log_scale, factors.ravel()])


def _gaussian(start: MeanFieldGaussian, x: Array, rank: int) -> LowRankGaussian:
    """What parameters in units of the mean-field optimum stand for."""
    dim = start.dim
    mean, log_scale, factors = x[:dim], x[dim : 2 * dim], x[2 * dim :].reshape(dim, rank)
    return LowRankGaussian(start.mean + start.sd * mean, start.sd * np.exp(log_scale), start.sd[:, None] * factors)


@np.errstate(all="ignore")
def _objective(target: LogDensity, start: MeanFieldGaussian, draws: _Draws, x: Array) -> tuple[float, Array]:
    """F and its gradient in units of the mean-field optimum; large where a draw has no finite density."""
    dim, rank, count = start.dim, draws.eta.shape[1], len(draws.eta)
    mean, scale, factors = x[:dim], np.exp(x[dim : 2 * dim]), x[2 * dim :].reshape(dim, rank)
    u = start.mean + start.sd * (mean + scale * draws.eps + draws.eta @ factors.T)
    values, gradients = target.gradients(u)
    if not (np.isfinite(values).all() and np.isfinite(gradients).all() and np.isfinite(scale).all()):
        return 1e100, np.zeros_like(x)
    g = gradients * start.sd
    # By the matrix determinant lemma: log det = 2 sum log scale + log det(I + A'A), A = factors / scale.
    a = factors / scale[:, None]
    inner = np.eye(rank) + a.T @ a
    pulled = np.linalg.solve(inner, a.T).T
    log_det = np.log(scale).sum() + 0.5 * np.linalg.slogdet(inner)[1]
    by_log_scale = -(g * draws.eps).mean(axis=0) * scale - (1.0 - np.sum(a * pulled, axis=1))
    by_factors = -(g.T @ draws.eta) / count - pulled / scale[:, None]
    value = -values.mean() - log_det - np.log(start.sd).sum()
    return float(value), _parameters(-g.mean(axis=0), by_log_scale, by_factors)
