"""Gaussian posteriors of all shapes: correlated, badly conditioned, on many scales, chains, and linear regressions."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import autograd.numpy as anp
import numpy as np

import bbvi
from bbvi.stats import norm

from .known import Array, Case, Moments, moments_of


def cases() -> Iterator[Case]:
    """Thirty-three of them, with closed forms."""
    for dim, condition in [
        (2, 10),
        (2, 1e4),
        (5, 100),
        (5, 1e6),
        (10, 10),
        (10, 1e4),
        (30, 100),
        (30, 1e4),
        (100, 100),
    ]:
        yield _normal(f"normal {dim}, condition {condition:g}", *_conditioned(dim, condition))
    for dim, scale in [(3, 1e-4), (3, 1e4), (10, 1.0)]:
        mean, covariance = _conditioned(dim, 10.0)
        scales = scale * np.logspace(-3, 3, dim)
        yield _normal(f"normal {dim}, scales from {scales[0]:g}", mean * scales, covariance * np.outer(scales, scales))
    for dim, rho in [(2, 0.99), (6, 0.9), (20, 0.95), (60, 0.9)]:
        shared = rho + (1 - rho) * np.eye(dim)
        yield _normal(f"normal {dim}, all correlated {rho}", np.arange(dim) / dim, shared)
    for dim, rho in [(20, 0.9), (50, 0.99), (100, 0.95)]:
        lag = np.abs(np.subtract.outer(np.arange(dim), np.arange(dim)))
        yield _normal(f"autoregression {dim}, {rho}", np.sin(np.arange(dim) / 5), rho**lag)
    for steps in (25, 80):
        yield _smoothing(steps)
    for rows, columns, seed in [(10, 2, 0), (40, 5, 1), (200, 12, 2), (30, 20, 3), (500, 30, 4), (60, 3, 5)]:
        yield _regression(rows, columns, seed)
    for rows, seed in [(12, 6), (50, 7), (300, 8)]:
        yield _calendar(rows, seed)
    for kernel, rows in [(0.5, 20), (2.0, 30), (1.0, 50)]:
        yield _process(kernel, rows)


def _conditioned(dim: int, condition: float) -> tuple[Array, Array]:
    """A mean, and a covariance of a given condition number along random axes."""
    rng = np.random.default_rng(dim)
    axes = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
    return rng.normal(0, 3, dim), (axes * np.logspace(0, -np.log10(condition), dim)) @ axes.T


def _normal(name: str, mean: Array, covariance: Array) -> Case:
    precision = np.linalg.inv(covariance)

    def model() -> bbvi.Model:
        return bbvi.Model(lambda z: -0.5 * (z - mean) @ precision @ (z - mean), len(mean))

    return Case(name, "Gaussian", model, lambda: moments_of("z", mean, np.sqrt(np.diag(covariance))))


def _smoothing(steps: int) -> Case:
    """A random walk that is seen with noise."""
    rng = np.random.default_rng(steps)
    y = np.cumsum(rng.normal(0, 0.5, steps)) + rng.normal(0, 1, steps)

    def log_joint(z, y):
        walk = norm.logpdf(z.x[0], 0, 2) + anp.sum(norm.logpdf(z.x[1:], z.x[:-1], 0.5))
        return walk + anp.sum(norm.logpdf(y, z.x, 1))

    def exact() -> Moments:
        difference = np.eye(steps)[1:] - np.eye(steps)[:-1]
        precision = difference.T @ difference / 0.25 + np.eye(steps)
        precision[0, 0] += 0.25
        covariance = np.linalg.inv(precision)
        return moments_of("x", covariance @ y, np.sqrt(np.diag(covariance)))

    return Case(f"random walk {steps}", "Gaussian", lambda: bbvi.Model(log_joint, {"x": steps}, {"y": y}), exact)


def _linear(name: str, x: Array, y: Array, prior: Array, noise: float) -> Case:
    """Regression with known noise."""

    def log_joint(z, x, y):
        return anp.sum(norm.logpdf(z.beta, 0, prior)) + anp.sum(norm.logpdf(y, x @ z.beta, noise))

    def exact() -> Moments:
        covariance = np.linalg.inv(np.diag(prior**-2.0) + x.T @ x / noise**2)
        return moments_of("beta", covariance @ x.T @ y / noise**2, np.sqrt(np.diag(covariance)))

    model = partial(bbvi.Model, log_joint, {"beta": x.shape[1]}, {"x": x, "y": y})
    return Case(name, "linear regression", model, exact)


def _regression(rows: int, columns: int, seed: int) -> Case:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, columns)) @ (np.eye(columns) + 0.5 * rng.standard_normal((columns, columns)))
    y = x @ rng.normal(0, 1, columns) + rng.normal(0, 0.8, rows)
    return _linear(f"regression of {rows} on {columns}", x, y, np.full(columns, 2.0), 0.8)


def _calendar(rows: int, seed: int) -> Case:
    """Predictors as they come: years and incomes, not centred."""
    rng = np.random.default_rng(seed)
    x = np.column_stack([np.ones(rows), rng.uniform(1950, 2020, rows), rng.lognormal(10, 0.5, rows)])
    y = x @ np.array([-80.0, 0.05, 1e-4]) + rng.normal(0, 1.5, rows)
    return _linear(f"regression of {rows} on years and incomes", x, y, np.array([200.0, 1.0, 0.1]), 1.5)


def _process(length: float, rows: int) -> Case:
    """A Gaussian process of known kernel, whitened."""
    rng = np.random.default_rng(rows)
    x = np.sort(rng.uniform(0, 10, rows))
    kernel = np.exp(-0.5 * (np.subtract.outer(x, x) / length) ** 2) + 1e-8 * np.eye(rows)
    factor = np.linalg.cholesky(kernel)
    y = factor @ rng.standard_normal(rows) + rng.normal(0, 0.3, rows)

    def log_joint(z, factor, y):
        return anp.sum(norm.logpdf(z.white)) + anp.sum(norm.logpdf(y, factor @ z.white, 0.3))

    def exact() -> Moments:
        covariance = np.linalg.inv(np.eye(rows) + factor.T @ factor / 0.09)
        return moments_of("white", covariance @ factor.T @ y / 0.09, np.sqrt(np.diag(covariance)))

    model = partial(bbvi.Model, log_joint, {"white": rows}, {"factor": factor, "y": y})
    return Case(f"Gaussian process of {rows}, length {length}", "Gaussian", model, exact)
