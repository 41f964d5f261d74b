"""Conjugate models, whose posteriors are known: normal, gamma, beta and Dirichlet."""

from __future__ import annotations

from collections.abc import Iterator

import autograd.numpy as anp
import numpy as np
from scipy import special

import bbvi
from bbvi.stats import beta, binom, dirichlet, expon, gamma, geom, multinomial, norm, poisson

from .known import Array, Case, Moments, moments_of


def cases() -> Iterator[Case]:
    """Twenty-nine of them."""
    for n, seed in [(1, 0), (10, 1), (1000, 2)]:
        yield _mean(n, seed)
    for n, seed in [(4, 3), (10, 4), (30, 5), (200, 6)]:
        yield _mean_and_scale(n, seed)
    for counts in ([0], [2], [0, 1, 0], [40, 52, 47], [1200]):
        yield _rate(np.array(counts))
    for count in (6, 20, 60):
        yield _rates(count)
    for successes, trials in [(0, 5), (3, 10), (10, 10), (480, 1000)]:
        yield _proportion(successes, trials)
    for count in (8, 40):
        yield _proportions(count)
    for counts in ([1, 2, 3], [0, 5, 1, 20], [3] * 12, [100, 3, 40, 1, 1]):
        yield _shares(np.array(counts))
    yield _waiting(3, 9)
    yield _waiting(40, 10)
    yield _failures(15, 11)
    yield _nested_regression(20, 2, 12)
    yield _nested_regression(80, 6, 13)


def _gamma(name: str, shape: Array | float, rate: Array | float) -> Moments:
    return moments_of(name, np.asarray(shape) / rate, np.sqrt(shape) / rate)


def _beta(name: str, a: Array | float, b: Array | float) -> Moments:
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    return moments_of(name, a / (a + b), np.sqrt(a * b / (a + b + 1)) / (a + b))


def _case(name: str, model: bbvi.Model, exact: Moments) -> Case:
    return Case(name, "conjugate", lambda: model, lambda: exact)


def _mean(n: int, seed: int) -> Case:
    y = np.random.default_rng(seed).normal(3, 2, n)
    precision = 1 / 25 + n / 4
    model = bbvi.Model(
        lambda z, y: norm.logpdf(z.mu, 0, 5) + anp.sum(norm.logpdf(y, z.mu, 2)), {"mu": bbvi.Real()}, {"y": y}
    )
    return _case(f"mean of {n}", model, moments_of("mu", y.sum() / 4 / precision, precision**-0.5))


def _mean_and_scale(n: int, seed: int) -> Case:
    """Normal data; the precision is gamma, and the mean normal in units of the scale."""
    y = np.random.default_rng(seed).normal(1, 3, n)

    def log_joint(z, y):
        prior = gamma.logpdf(z.precision, 2, scale=1 / 8) + norm.logpdf(z.mu, 0, 2 / anp.sqrt(z.precision))
        return prior + anp.sum(norm.logpdf(y, z.mu, 1 / anp.sqrt(z.precision)))

    k, shape = 0.25 + n, 2 + n / 2
    mean = y.sum() / k
    rate = 8 + 0.5 * (np.sum(y**2) - k * mean**2)
    model = bbvi.Model(log_joint, {"mu": bbvi.Real(), "precision": bbvi.Positive()}, {"y": y})
    exact = moments_of("mu", mean, np.sqrt(rate / (shape - 1) / k)) | _gamma("precision", shape, rate)
    return _case(f"mean and precision of {n}", model, exact)


def _rate(counts: Array) -> Case:
    def log_joint(z, y):
        return gamma.logpdf(z.rate, 1.5, scale=2) + anp.sum(poisson.logpmf(y, z.rate))

    model = bbvi.Model(log_joint, {"rate": bbvi.Positive()}, {"y": counts})
    return _case(f"rate of {counts.tolist()}", model, _gamma("rate", 1.5 + counts.sum(), 0.5 + len(counts)))


def _rates(count: int) -> Case:
    rng = np.random.default_rng(count)
    exposure = rng.uniform(0.5, 20, count)
    y = rng.poisson(exposure * rng.gamma(2, 0.5, count))

    def log_joint(z, y, exposure):
        return anp.sum(gamma.logpdf(z.rate, 2, scale=0.5) + poisson.logpmf(y, exposure * z.rate))

    model = bbvi.Model(log_joint, {"rate": bbvi.Positive(shape=count)}, {"y": y, "exposure": exposure})
    return _case(f"{count} rates", model, _gamma("rate", 2 + y, 2 + exposure))


def _proportion(successes: int, trials: int) -> Case:
    def log_joint(z, k, n):
        return beta.logpdf(z.p, 2, 2) + binom.logpmf(k, n, z.p)

    model = bbvi.Model(log_joint, {"p": bbvi.Interval(0, 1)}, {"k": successes, "n": trials})
    return _case(f"{successes} of {trials}", model, _beta("p", 2 + successes, 2 + trials - successes))


def _proportions(count: int) -> Case:
    rng = np.random.default_rng(count)
    n = rng.integers(3, 60, count)
    k = rng.binomial(n, rng.beta(2, 5, count))

    def log_joint(z, k, n):
        return anp.sum(beta.logpdf(z.p, 2, 5) + binom.logpmf(k, n, z.p))

    model = bbvi.Model(log_joint, {"p": bbvi.Interval(0, 1, shape=count)}, {"k": k, "n": n})
    return _case(f"{count} proportions", model, _beta("p", 2 + k, 5 + n - k))


def _shares(counts: Array) -> Case:
    def log_joint(z, y):
        return dirichlet.logpdf(z.share, np.ones(len(counts))) + multinomial.logpmf(y, y.sum(), z.share)

    a = 1.0 + counts
    model = bbvi.Model(log_joint, {"share": bbvi.Simplex(shape=len(counts))}, {"y": counts})
    return _case(f"shares of {counts.tolist()}", model, _beta("share", a, a.sum() - a))


def _waiting(n: int, seed: int) -> Case:
    y = np.random.default_rng(seed).exponential(0.3, n)

    def log_joint(z, y):
        return gamma.logpdf(z.rate, 1, scale=3) + anp.sum(expon.logpdf(y, 0, 1 / z.rate))

    model = bbvi.Model(log_joint, {"rate": bbvi.Positive()}, {"y": y})
    return _case(f"waiting times, {n}", model, _gamma("rate", 1 + n, 1 / 3 + y.sum()))


def _failures(n: int, seed: int) -> Case:
    y = np.random.default_rng(seed).geometric(0.2, n)

    def log_joint(z, y):
        return beta.logpdf(z.p, 1, 1) + anp.sum(geom.logpmf(y, z.p))

    model = bbvi.Model(log_joint, {"p": bbvi.Interval(0, 1)}, {"y": y})
    return _case(f"geometric, {n}", model, _beta("p", 1 + n, 1 + y.sum() - n))


def _nested_regression(rows: int, columns: int, seed: int) -> Case:
    """Regression with unknown noise; coefficients are normal in units of the noise, so that they are Student-t."""
    rng = np.random.default_rng(seed)
    x = np.column_stack([np.ones(rows), rng.standard_normal((rows, columns - 1))])
    y = x @ rng.normal(0, 1, columns) + rng.normal(0, 0.7, rows)

    def log_joint(z, x, y):
        sigma = z.variance**0.5
        # The inverse gamma density of the variance, with shape 3 and scale 1.
        prior = -4 * anp.log(z.variance) - 1 / z.variance + anp.sum(norm.logpdf(z.beta, 0, 3 * sigma))
        return prior + anp.sum(norm.logpdf(y, x @ z.beta, sigma))

    covariance = np.linalg.inv(np.eye(columns) / 9 + x.T @ x)
    mean = covariance @ x.T @ y
    shape, scale = 3 + rows / 2, 1 + 0.5 * (y @ y - mean @ x.T @ y)
    variance = scale / (shape - 1)
    exact = moments_of("beta", mean, np.sqrt(variance * np.diag(covariance)))
    exact |= moments_of("variance", variance, variance / np.sqrt(shape - 2))
    exact |= moments_of(
        "sigma",
        (first := np.exp(0.5 * np.log(scale) + special.gammaln(shape - 0.5) - special.gammaln(shape))),
        np.sqrt(variance - first**2),
    )
    model = bbvi.Model(
        log_joint,
        {"beta": columns, "variance": bbvi.Positive()},
        {"x": x, "y": y},
        derived=lambda z: {"sigma": z.variance**0.5},
    )
    return _case(f"regression of {rows} on {columns} with noise", model, exact)
