"""Regressions and other models of one or two latents, by quadrature: binary, counts, times, skewed and robust."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import autograd.numpy as anp
import numpy as np

import bbvi
from bbvi.stats import (
    bernoulli,
    beta,
    betabinom,
    binom,
    expon,
    gamma,
    halfcauchy,
    halfnorm,
    laplace,
    nbinom,
    ndtr,
    norm,
    poisson,
    skewnorm,
    t,
    weibull_min,
)

from .known import Array, Case, quadrature


def cases() -> Iterator[Case]:
    """Thirty-four of them."""
    for n, slope, seed in [(8, 1.0, 0), (20, 2.0, 1), (60, 0.5, 2), (400, 1.0, 3)]:
        yield _logistic(f"logistic regression of {n}", *_binary(n, slope, seed))
    x = np.arange(6.0) - 2.5
    yield _logistic("logistic regression, separated", x, (x > 0).astype(float))
    yield _logistic("logistic regression, all ones", x, np.ones(6))
    for n, seed in [(15, 4), (200, 5)]:
        yield _probit(n, seed)
    for n, level, seed in [(10, 0.5, 6), (40, 2.0, 7), (300, 4.0, 8)]:
        yield _counts(n, level, seed)
    yield _years(40, 9)
    yield _years(12, 10)
    for n, seed in [(30, 11), (120, 12)]:
        yield _overdispersed(n, seed)
    yield _doses()
    for n, seed in [(10, 13), (60, 14)]:
        yield _survival(n, seed)
    for n, seed in [(12, 15), (100, 16)]:
        yield _weibull(n, seed)
    for n, seed in [(5, 17), (20, 18), (200, 19)]:
        yield _location_and_scale(n, seed)
    for n, seed in [(10, 20), (80, 21)]:
        yield _robust(n, seed)
    for n, seed in [(25, 22), (150, 23)]:
        yield _zero_inflated(n, seed)
    for n, seed in [(20, 24), (100, 25)]:
        yield _gamma_shape(n, seed)
    for n, seed in [(25, 26), (150, 27)]:
        yield _beta_shape(n, seed)
    yield _beta_binomial(30, 28)
    yield _decay(25, 29)
    yield _correlated_pair(40, 30)
    yield _capture(31)
    yield _skewed(60, 32)
    yield _median(15, 33)


def _case(name: str, log_joint: Callable[..., Any], latents: dict[str, Any], **data: Any) -> Case:
    def model() -> bbvi.Model:
        return bbvi.Model(log_joint, latents, data)

    return Case(name, "one or two latents", model, lambda: quadrature(model()), "quadrature")


def _binary(n: int, slope: float, seed: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1, n)
    return x, (rng.random(n) < 1 / (1 + np.exp(-(0.5 + slope * x)))).astype(float)


def _logistic(name: str, x: Array, y: Array) -> Case:
    def log_joint(z, x, y):
        prior = norm.logpdf(z.a, 0, 2) + norm.logpdf(z.b, 0, 2)
        return prior + anp.sum(bernoulli.logpmf_logits(y, z.a + z.b * x))

    return _case(name, log_joint, {"a": bbvi.Real(), "b": bbvi.Real()}, x=x, y=y)


def _probit(n: int, seed: int) -> Case:
    def log_joint(z, x, y):
        p = ndtr(z.a + z.b * x)
        return norm.logpdf(z.a) + norm.logpdf(z.b) + anp.sum(bernoulli.logpmf(y, p))

    x, y = _binary(n, 1.0, seed)
    return _case(f"probit regression of {n}", log_joint, {"a": bbvi.Real(), "b": bbvi.Real()}, x=x, y=y)


def _counts(n: int, level: float, seed: int) -> Case:
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1, n)
    y = rng.poisson(level * np.exp(0.4 * x))

    def log_joint(z, x, y):
        return norm.logpdf(z.a, 0, 2) + norm.logpdf(z.b) + anp.sum(poisson.logpmf(y, anp.exp(z.a + z.b * x)))

    return _case(f"Poisson regression of {n}", log_joint, {"a": bbvi.Real(), "b": bbvi.Real()}, x=x, y=y)


def _years(n: int, seed: int) -> Case:
    """Counts a year, and the year as a predictor counted from 1900: neither centred nor scaled."""
    rng = np.random.default_rng(seed)
    year = np.arange(n) * 2.0 + 60
    y = rng.poisson(np.exp(1.0 + 0.02 * (year - 80)))

    def log_joint(z, year, y):
        rate = anp.exp(z.a + z.b * year)
        return norm.logpdf(z.a, 0, 5) + norm.logpdf(z.b) + anp.sum(poisson.logpmf(y, rate))

    return _case(f"Poisson regression on {n} years", log_joint, {"a": bbvi.Real(), "b": bbvi.Real()}, year=year, y=y)


def _overdispersed(n: int, seed: int) -> Case:
    rng = np.random.default_rng(seed)
    y = rng.negative_binomial(1.5, 0.2, n)

    def log_joint(z, y):
        prior = norm.logpdf(z.mu, 1, 2) + halfnorm.logpdf(z.size, 0, 5)
        return prior + anp.sum(nbinom.logpmf(y, z.size, z.size / (z.size + anp.exp(z.mu))))

    return _case(f"negative binomial, {n}", log_joint, {"mu": bbvi.Real(), "size": bbvi.Positive()}, y=y)


def _doses() -> Case:
    data = {"dose": np.array([-0.86, -0.30, -0.05, 0.73]), "k": np.array([0, 1, 3, 5]), "n": np.array([5, 5, 5, 5])}

    def log_joint(z, dose, k, n):
        prior = norm.logpdf(z.a, 0, 2) + norm.logpdf(z.b, 10, 10)
        return prior + anp.sum(binom.logpmf_logits(k, n, z.a + z.b * dose))

    return _case("dose and response", log_joint, {"a": bbvi.Real(), "b": bbvi.Real()}, **data)


def _survival(n: int, seed: int) -> Case:
    """Exponential times, censored, in two arms."""
    rng = np.random.default_rng(seed)
    arm = np.arange(n) % 2.0
    time = rng.exponential(np.exp(1.0 + 0.7 * arm))
    seen = (time < 4).astype(float)

    def log_joint(z, arm, time, seen):
        rate = anp.exp(-z.a - z.b * arm)
        return norm.logpdf(z.a, 0, 2) + norm.logpdf(z.b) + anp.sum(seen * anp.log(rate) - rate * time)

    latents = {"a": bbvi.Real(), "b": bbvi.Real()}
    return _case(f"censored times, {n}", log_joint, latents, arm=arm, time=np.minimum(time, 4), seen=seen)


def _weibull(n: int, seed: int) -> Case:
    y = 3 * np.random.default_rng(seed).weibull(1.7, n)

    def log_joint(z, y):
        prior = halfnorm.logpdf(z.shape, 0, 3) + halfnorm.logpdf(z.scale, 0, 10)
        return prior + anp.sum(weibull_min.logpdf(y, z.shape, 0, z.scale))

    return _case(f"Weibull, {n}", log_joint, {"shape": bbvi.Positive(), "scale": bbvi.Positive()}, y=y)


def _location_and_scale(n: int, seed: int) -> Case:
    y = np.random.default_rng(seed).normal(10, 3, n)

    def log_joint(z, y):
        return norm.logpdf(z.mu, 0, 20) + halfcauchy.logpdf(z.sigma, 0, 5) + anp.sum(norm.logpdf(y, z.mu, z.sigma))

    return _case(f"mean and sd of {n}", log_joint, {"mu": bbvi.Real(), "sigma": bbvi.Positive()}, y=y)


def _robust(n: int, seed: int) -> Case:
    y = np.random.default_rng(seed).standard_t(3, n)

    def log_joint(z, y):
        return norm.logpdf(z.mu, 0, 5) + halfnorm.logpdf(z.sigma, 0, 3) + anp.sum(t.logpdf(y, 3, z.mu, z.sigma))

    return _case(f"robust mean of {n}", log_joint, {"mu": bbvi.Real(), "sigma": bbvi.Positive()}, y=y)


def _zero_inflated(n: int, seed: int) -> Case:
    rng = np.random.default_rng(seed)
    y = rng.poisson(2.5, n) * (rng.random(n) > 0.3)

    def log_joint(z, y):
        present = anp.log1p(-z.share) + poisson.logpmf(y, z.rate)
        zero = anp.logaddexp(anp.log(z.share), present)
        prior = beta.logpdf(z.share, 1, 1) + gamma.logpdf(z.rate, 2)
        return prior + anp.sum(anp.where(y == 0, zero, present))

    return _case(f"zero-inflated, {n}", log_joint, {"share": bbvi.Interval(0, 1), "rate": bbvi.Positive()}, y=y)


def _gamma_shape(n: int, seed: int) -> Case:
    y = np.random.default_rng(seed).gamma(3, 2, n)

    def log_joint(z, y):
        prior = halfnorm.logpdf(z.shape, 0, 5) + halfnorm.logpdf(z.scale, 0, 5)
        return prior + anp.sum(gamma.logpdf(y, z.shape, scale=z.scale))

    return _case(f"gamma, {n}", log_joint, {"shape": bbvi.Positive(), "scale": bbvi.Positive()}, y=y)


def _beta_shape(n: int, seed: int) -> Case:
    y = np.random.default_rng(seed).beta(2, 5, n)

    def log_joint(z, y):
        prior = beta.logpdf(z.m, 2, 2) + halfnorm.logpdf(z.precision, 0, 20)
        return prior + anp.sum(beta.logpdf(y, z.m * z.precision, (1 - z.m) * z.precision))

    return _case(f"beta, {n}", log_joint, {"m": bbvi.Interval(0, 1), "precision": bbvi.Positive()}, y=y)


def _beta_binomial(groups: int, seed: int) -> Case:
    rng = np.random.default_rng(seed)
    n = rng.integers(4, 30, groups)
    k = rng.binomial(n, rng.beta(3, 6, groups))

    def log_joint(z, k, n):
        prior = beta.logpdf(z.m, 2, 2) + halfnorm.logpdf(z.precision, 0, 20)
        return prior + anp.sum(betabinom.logpmf(k, n, z.m * z.precision, (1 - z.m) * z.precision))

    return _case("beta-binomial", log_joint, {"m": bbvi.Interval(0, 1), "precision": bbvi.Positive()}, k=k, n=n)


def _decay(n: int, seed: int) -> Case:
    """A nonlinear curve with known noise: an amplitude and a rate."""
    rng = np.random.default_rng(seed)
    x = np.linspace(0, 5, n)
    y = 4 * np.exp(-0.6 * x) + rng.normal(0, 0.4, n)

    def log_joint(z, x, y):
        prior = halfnorm.logpdf(z.amplitude, 0, 10) + halfnorm.logpdf(z.rate, 0, 2)
        return prior + anp.sum(norm.logpdf(y, z.amplitude * anp.exp(-z.rate * x), 0.4))

    return _case("exponential decay", log_joint, {"amplitude": bbvi.Positive(), "rate": bbvi.Positive()}, x=x, y=y)


def _correlated_pair(n: int, seed: int) -> Case:
    """A correlation and a common scale of pairs."""
    rng = np.random.default_rng(seed)
    pairs = rng.standard_normal((n, 2)) @ np.array([[1.0, 0.8], [0.0, 0.6]])

    def log_joint(z, a, b):
        left = 1 - z.rho**2
        square = (a**2 - 2 * z.rho * a * b + b**2) / (left * z.scale**2)
        return halfnorm.logpdf(z.scale, 0, 2) - anp.sum(0.5 * square + 2 * anp.log(z.scale) + 0.5 * anp.log(left))

    latents = {"rho": bbvi.Interval(-1, 1), "scale": bbvi.Positive()}
    return _case("correlation of pairs", log_joint, latents, a=pairs[:, 0], b=pairs[:, 1])


def _capture(seed: int) -> Case:
    """Survival and detection, of which the data know the product best."""
    rng = np.random.default_rng(seed)
    k = rng.binomial(12, 0.8 * 0.4, 20)

    def log_joint(z, k):
        return beta.logpdf(z.detection, 4, 6) + anp.sum(binom.logpmf(k, 12, z.survival * z.detection))

    latents = {"survival": bbvi.Interval(0, 1), "detection": bbvi.Interval(0, 1)}
    return _case("a product of probabilities", log_joint, latents, k=k)


def _skewed(n: int, seed: int) -> Case:
    rng = np.random.default_rng(seed)
    y = np.abs(rng.standard_normal(n)) * 0.9 + 0.3 * rng.standard_normal(n)

    def log_joint(z, y):
        return norm.logpdf(z.shape, 0, 3) + norm.logpdf(z.loc) + anp.sum(skewnorm.logpdf(y, z.shape, z.loc, 1))

    return _case("skew-normal data", log_joint, {"shape": bbvi.Real(), "loc": bbvi.Real()}, y=y)


def _median(n: int, seed: int) -> Case:
    """Laplace errors: the log density has kinks."""
    y = np.random.default_rng(seed).laplace(2, 1, n)

    def log_joint(z, y):
        return expon.logpdf(z.scale, 0, 2) + norm.logpdf(z.mu, 0, 5) + anp.sum(laplace.logpdf(y, z.mu, z.scale))

    return _case("Laplace data", log_joint, {"mu": bbvi.Real(), "scale": bbvi.Positive()}, y=y)
