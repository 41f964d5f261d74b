"""A correlated Gaussian posterior, its mean-field approximation, and the linear response covariance."""

from __future__ import annotations

from pathlib import Path

import autograd.numpy as np
import matplotlib.pyplot as plt
from _write import picture

import bbvi

COVARIANCE = np.array([[1.0, 0.9], [0.9, 1.0]])
PRECISION = np.linalg.inv(COVARIANCE)


def ellipse(covariance: np.ndarray, radius: float = 2.0) -> np.ndarray:
    """Points (2, n) at a Mahalanobis distance from the origin."""
    angle = np.linspace(0, 2 * np.pi, 200)
    return radius * np.linalg.cholesky(covariance) @ np.stack([np.cos(angle), np.sin(angle)])


def make(out: Path) -> None:
    """Write ``linear_response.svg``."""
    fit = bbvi.fit(lambda z: -0.5 * np.dot(z, np.dot(PRECISION, z)), 2, seed=1)
    figure, axes = plt.subplots(figsize=(4.6, 4.2))
    axes.fill(*ellipse(COVARIANCE), color="0.85", label="posterior")
    axes.plot(*ellipse(np.diag(fit.approximation.sd**2)), color="C3", label="mean field")
    axes.plot(*ellipse(fit.covariance), color="C0", linestyle="--", label="linear response")
    axes.set(aspect="equal", xlabel="$u_1$", ylabel="$u_2$", title="two standard deviations, correlation 0.9")
    axes.legend(frameon=False)
    picture(out / "linear_response.svg", figure)
