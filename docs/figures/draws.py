"""How far the optimum of fixed draws is off, for independent draws and for bbvi's balanced ones."""

from __future__ import annotations

from pathlib import Path

import autograd.numpy as np
from _write import table
from autograd import grad
from scipy.optimize import minimize

from bbvi.draws import orthogonal

DIM, ROWS, REPEATS = 4, 60, 40


def logistic_regression(rng: np.random.Generator):
    """The log density (S,) of the coefficients u (S, D) of a small logistic regression."""
    x = rng.standard_normal((ROWS, DIM))
    y = rng.random(ROWS) < 1 / (1 + np.exp(-x @ np.array([1.5, -1.0, 0.5, 0.0])))
    signed = x * (2 * y - 1)[:, None]
    return lambda u: -np.sum(np.logaddexp(0.0, -np.dot(u, signed.T)), axis=1) - np.sum(u**2, axis=1) / 8


def optimum(log_density, eps: np.ndarray) -> np.ndarray:
    """Means and log sds (2D,) at the maximum of the ELBO of fixed draws."""

    def objective(parameters):
        mean, log_sd = parameters[:DIM], parameters[DIM:]
        return -np.mean(log_density(mean + np.exp(log_sd) * eps)) - np.sum(log_sd)

    return minimize(objective, np.zeros(2 * DIM), jac=grad(objective), method="L-BFGS-B", tol=1e-12).x


def make(out: Path) -> None:
    """Write ``draws.md``."""
    rng = np.random.default_rng(1)
    log_density = logistic_regression(rng)
    exact = optimum(log_density, orthogonal(2**14, DIM, rng))
    rows = []
    for count in (16, 32, 128, 512):
        cells = [str(count)]
        for design in (lambda n: rng.standard_normal((n, DIM)), lambda n: orthogonal(n, DIM, rng)):
            off = np.array([optimum(log_density, design(count)) - exact for _ in range(REPEATS)])
            mean = np.max(np.abs(off[:, :DIM]) / np.exp(exact[DIM:]), axis=1)
            scale = np.max(np.abs(off[:, DIM:]), axis=1)
            cells += [f"{np.median(mean):.3f}", f"{100 * np.median(scale):.1f} %"]
        rows.append(cells)
    header = ("draws", "independent: mean, in sds", "scale", "balanced: mean, in sds", "scale")
    table(out / "draws.md", header, rows)
