"""The linter of models: forty wrong models with the finding that names the fault, forty right ones without any."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import autograd.numpy as anp
import numpy as np
import pandas as pd
import pytest

import bbvi
from bbvi import models, stats
from bbvi.checking.check_model import check_model
from bbvi.search import starts
from bbvi.stats import (
    Density,
    bernoulli,
    beta,
    binom,
    categorical,
    dirichlet,
    expit,
    expon,
    gamma,
    halfnorm,
    lkj_cholesky,
    log1mexp,
    log_expit,
    log_ndtr,
    lognorm,
    logsumexp,
    multinomial,
    multivariate_normal,
    nbinom,
    ndtr,
    norm,
    ordered_logistic,
    poisson,
    t,
    uniform,
    weibull_min,
)
from bbvi.stats.supports import SUPPORTS
from bbvi.target.lint import Finding, LintPolicy, first_nan, lint
from bbvi.target.target import Target

Real, Positive, Interval = bbvi.Real, bbvi.Positive, bbvi.Interval
RNG = np.random.default_rng(0)
N = 12
X = np.linspace(-1.0, 1.0, N)
Y = 0.5 + 1.3 * X + 0.3 * RNG.normal(size=N)
COUNTS = RNG.poisson(3.0, size=N)
BINARY = (X + 0.5 * RNG.normal(size=N) > 0).astype(int)
GROUP = np.arange(N) % 3


def findings(model: bbvi.Model) -> tuple[Finding, ...]:
    """As a fit would find them: at its best candidate, or where there is none at the origin."""
    target, rng = Target(model), np.random.default_rng(1)
    try:
        point = starts.candidates(target, rng, 9)[0][0]
    except ValueError:
        point = np.zeros(target.dim)
    return lint(target, point, rng)


def line(likelihood: Callable[..., Any], latents: dict[str, Any] | None = None, **data: Any) -> bbvi.Model:
    """A regression with standard priors on a, b and s, and a likelihood of its own."""

    def log_joint(z: Any, **data: Any) -> Any:
        prior = norm.logpdf(z.a, 0, 5) + norm.logpdf(z.b, 0, 5) + expon.logpdf(z.s)
        return anp.sum(prior) + likelihood(z, **data)

    latents = {"a": Real(), "b": Real(), "s": Positive()} | (latents or {})
    return bbvi.Model(log_joint, latents, data or {"x": X, "y": Y})


def right_line(z: Any, x: Any, y: Any) -> Any:
    return anp.sum(norm.logpdf(y, z.a + z.b * x, z.s))


def columns(**shapes: tuple[int, ...]) -> bbvi.Model:
    """Effects of some shape, and data of theirs."""

    def log_joint(z: Any, y: Any) -> Any:
        return anp.sum(norm.logpdf(z.theta)) + anp.sum(norm.logpdf(y, z.theta, 1.0))

    return bbvi.Model(log_joint, {"theta": Real(shape=shapes["theta"])}, {"y": np.reshape(Y, shapes["y"])})


def counts(y: Any, mass: Callable[..., Any] = poisson.logpmf, **data: Any) -> bbvi.Model:
    """Counts with one positive parameter."""

    def log_joint(z: Any, y: Any, **data: Any) -> Any:
        return expon.logpdf(z.rate) + anp.sum(mass(y, *data.values(), z.rate))

    return bbvi.Model(log_joint, {"rate": Positive()}, {"y": y, **data})


def changed(x: np.ndarray, place: Any, value: Any) -> np.ndarray:
    out = np.array(x, dtype=float)
    out[place] = value
    return out


def grouped(index: np.ndarray, size: int = 3) -> bbvi.Model:
    def log_joint(z: Any, y: Any, index: Any) -> Any:
        return anp.sum(norm.logpdf(z.effect)) + expon.logpdf(z.s) + anp.sum(norm.logpdf(y, z.effect[index], z.s))

    return bbvi.Model(log_joint, {"effect": Real(shape=size), "s": Positive()}, {"y": Y, "index": index})


def one(log_joint: Callable[..., Any], **latents: Any) -> bbvi.Model:
    return bbvi.Model(log_joint, latents or {"a": Real()})


def saturating(term: Callable[[Any], Any]) -> bbvi.Model:
    return line(lambda z, x, y: right_line(z, x, y) + anp.sum(term(z.a + z.b * x)))


# Name: the model, the code of the finding, and what the message names.
WRONG: dict[str, tuple[Callable[[], bbvi.Model], str, str]] = {
    "y of a frame in double brackets": (
        lambda: line(right_line, x=X, y=Y[:, None]), "broadcast", r"data 'y' of shape \(12, 1\).*'y' the shape \(12,\)",
    ),
    "x of a frame in double brackets": (
        lambda: line(right_line, x=X[:, None], y=Y), "broadcast", r"'x'.*of shape \(12, 1\).*data 'y' of shape \(12,\)",
    ),
    "y as a column, by log_likelihood of means": (
        lambda: line(
            lambda z, x, y: anp.sum(-0.5 * ((y - z.a - z.b * x) / z.s) ** 2 - anp.log(z.s)), x=X, y=Y[:, None]
        ),
        "broadcast", "subtract joins.*'y'",
    ),
    "effects as a column": (
        lambda: columns(theta=(N, 1), y=(N,)), "broadcast", r"latent 'theta' with shape \(12,\)",
    ),
    "y as a column, effects not": (lambda: columns(theta=(N,), y=(N, 1)), "broadcast", "data 'y' of shape"),
    "coefficients as a column": (
        lambda: bbvi.Model(
            lambda z, x, y: anp.sum(norm.logpdf(z.b)) + anp.sum(norm.logpdf(y, anp.dot(x, z.b), 1.0)),
            {"b": Real(shape=(2, 1))}, {"x": np.column_stack([X, X**2]), "y": Y},
        ),
        "broadcast", r"data 'y' of shape \(12,\).*latent 'b' with shape \(2,\)",
    ),
    "weights as a column": (
        lambda: line(lambda z, x, y, w: anp.sum(w * norm.logpdf(y, z.a + z.b * x, z.s)), x=X, y=Y, w=np.ones((N, 1))),
        "broadcast", "multiply joins the data 'w'",
    ),
    "each against each by hand": (
        lambda: line(lambda z, x, y: anp.sum(norm.logpdf(anp.reshape(y, (-1, 1)), z.a + z.b * x, z.s))),
        "counted-often", "'y', 12 elements.*counts 12 times",
    ),
    "observations against groups": (
        lambda: bbvi.Model(
            lambda z, y: anp.sum(norm.logpdf(z.m)) + anp.sum(norm.logpdf(anp.reshape(y, (-1, 1)), z.m, 1.0)),
            {"m": Real(shape=3)}, {"y": Y},
        ),
        "counted-often", "counts 3 times",
    ),
    "forgotten sum": (
        lambda: bbvi.Model(lambda z, y: norm.logpdf(z.a) + norm.logpdf(y, z.a, 1.0), {"a": Real()}, {"y": Y}),
        "forgotten-sum", "returned 12 terms",
    ),
    "forgotten sum in a prior": (
        lambda: bbvi.Model(
            log_prior=lambda z: norm.logpdf(z.a, 0, 5) + norm.logpdf(z.b),
            log_likelihood=lambda z, y: norm.logpdf(y, z.a + anp.sum(z.b), 1.0),
            latents={"a": Real(), "b": Real(shape=4)}, data={"y": Y},
        ),
        "forgotten-sum", "log_prior returned 4 terms",
    ),
    "prior inside the sum": (
        lambda: bbvi.Model(
            lambda z, y: anp.sum(norm.logpdf(z.a, 0, 5) + norm.logpdf(y, z.a, 1.0)), {"a": Real()}, {"y": Y}
        ),
        "forgotten-sum", "density of 'a' is added to each of 12 terms",
    ),
    "two priors inside the sum": (
        lambda: bbvi.Model(
            lambda z, y: anp.sum(norm.logpdf(y, z.a, z.s) + (norm.logpdf(z.a, 0, 5) + expon.logpdf(z.s))),
            {"a": Real(), "s": Positive()}, {"y": Y},
        ),
        "forgotten-sum", "counts 12 times",
    ),
    "half a count": (lambda: counts(changed(COUNTS, 3, 2.5)), "outside-support", r"data 'y' are 2.5 at \[3\]"),
    "a negative count": (lambda: counts(changed(COUNTS, 7, -1)), "outside-support", r"data 'y' are -1.* at \[7\]"),
    "negative counts by log rate": (
        lambda: counts(-COUNTS - 1, lambda y, rate: poisson.logpmf_log_rate(y, anp.log(rate))), "outside-support",
        "12 such values",
    ),
    "more successes than trials": (
        lambda: bbvi.Model(
            lambda z, y, n: beta.logpdf(z.p, 2, 2) + anp.sum(binom.logpmf(y, n, z.p)), {"p": Interval(0, 1)},
            {"y": COUNTS, "n": np.full(N, 2)},
        ),
        "outside-support", "whole numbers from 0 to n",
    ),
    "outcomes 1 and 2": (
        lambda: line(lambda z, x, y: anp.sum(bernoulli.logpmf_logits(y, z.a + z.b * x)), x=X, y=BINARY + 1),
        "outside-support", "expected 0 or 1, but the data 'y' are 2",
    ),
    "categories from 1 to K": (
        lambda: bbvi.Model(
            lambda z, y: anp.sum(norm.logpdf(z.eta)) + anp.sum(categorical.logpmf_logits(y, z.eta)),
            {"eta": Real(shape=3)}, {"y": GROUP + 1},
        ),
        "outside-support", "categories 0, 1, ..., K - 1",
    ),
    "ratings from 1 to K": (
        lambda: bbvi.Model(
            lambda z, y: anp.sum(norm.logpdf(z.c, 0, 3)) + anp.sum(ordered_logistic.logpmf(y, 0.0, z.c)),
            {"c": bbvi.Ordered(shape=2)}, {"y": GROUP + 1},
        ),
        "outside-support", "categories 0, 1, ..., K",
    ),
    "a negative time": (
        lambda: counts(changed(np.abs(Y), 2, -0.4), lambda y, rate: weibull_min.logpdf(y, 1.5, 0, rate)),
        "outside-support", r"data 'y' are -0.4 at \[2\]",
    ),
    "a time of zero": (
        lambda: counts(changed(np.abs(Y), 5, 0.0), lambda y, rate: lognorm.logpdf(y, rate)), "outside-support",
        "numbers above loc",
    ),
    "per cent for a share, by its mean": (
        lambda: counts(100 * expit(Y), lambda y, rate: beta.logpdf_mean(y, 0.3, rate)), "outside-support",
        "numbers from 0 to 1",
    ),
    "half a count, by its mean": (
        lambda: counts(changed(COUNTS, 3, 2.5), lambda y, rate: nbinom.logpmf_mean(y, rate, 2.0)), "outside-support",
        r"data 'y' are 2.5 at \[3\]",
    ),
    "a missing element of a vector": (
        lambda: bbvi.Model(
            lambda z, y: norm.logpdf(z.a) + anp.sum(multivariate_normal.logpdf(y, z.a * np.ones(2), np.eye(2))),
            {"a": Real()}, {"y": changed(np.reshape(Y, (6, 2)), (4, 1), np.nan)},
        ),
        "data-not-finite", r"multivariate_normal.logpdf: not all values of the data 'y' are finite.* at \[4, 1\]",
    ),
    "per cent for a share": (
        lambda: counts(100 * expit(Y), lambda y, rate: beta.logpdf(y, rate, 2.0)), "outside-support",
        "0 to 1 by default",
    ),
    "shares of nothing and of all": (
        lambda: bbvi.Model(
            lambda z, y: expon.logpdf(z.a) + expon.logpdf(z.b) + anp.sum(beta.logpdf(y, z.a, z.b)),
            {"a": Positive(), "b": Positive()}, {"y": np.r_[expit(Y), 0.0, 1.0]},
        ),
        "end-of-support", r"beta.logpdf: .*data 'y' are 0.* at \[12\], and 2 such values in all; .*hurdle",
    ),
    "a scale with a prior of half the line": (
        lambda: line(
            lambda z, x, y: anp.sum(norm.logpdf(y, z.a + z.b * x, z.s + anp.abs(z.w))),
            {"w": Real(prior=halfnorm(0, 1))},
        ),
        "narrower-prior", r"latent 'w': its prior halfnorm.* is zero below .*declare bbvi.Positive",
    ),
    "a probability with a prior on an interval": (
        lambda: line(lambda z, x, y: right_line(z, x, y) - z.p**2, {"p": Real(prior=beta(2, 2))}),
        "narrower-prior", r"zero on both sides .*declare bbvi.Interval",
    ),
    "a share of all, by mean and precision": (
        lambda: bbvi.Model(
            lambda z, y: beta.logpdf(z.m, 2, 2) + expon.logpdf(z.k) + anp.sum(beta.logpdf_mean(y, z.m, z.k)),
            {"m": Interval(0, 1), "k": Positive()}, {"y": np.r_[expit(Y), 1.0]},
        ),
        "end-of-support", r"data 'y' are 1.* at \[12\]",
    ),
    "an amount of nothing": (
        lambda: counts(changed(np.abs(Y), 5, 0.0), lambda y, rate: gamma.logpdf(y, rate)), "end-of-support",
        r"gamma.logpdf: .*data 'y' are 0.* at \[5\]",
    ),
    "shares that do not add up": (
        lambda: bbvi.Model(
            lambda z, y: anp.sum(expon.logpdf(z.alpha)) + anp.sum(dirichlet.logpdf(y, z.alpha)),
            {"alpha": Positive(shape=3)}, {"y": np.full((5, 3), 0.5)},
        ),
        "outside-support", "add up to 1",
    ),
    "counts that are not n": (
        lambda: bbvi.Model(
            lambda z, y, n: dirichlet.logpdf(z.p, np.ones(3)) + anp.sum(multinomial.logpmf(y, n, z.p)),
            {"p": bbvi.Simplex(shape=3)}, {"y": np.full((5, 3), 2), "n": 7},
        ),
        "outside-support", "add up to n",
    ),
    "a probability of 1.4 as data": (
        lambda: bbvi.Model(
            lambda z, y, p: norm.logpdf(z.a) + anp.sum(bernoulli.logpmf(y, p)) + anp.sum(norm.logpdf(y, z.a, 1)),
            {"a": Real()}, {"y": BINARY, "p": changed(expit(Y), 4, 1.4)},
        ),
        "outside-domain", r"p a probability from 0 to 1, but the data 'p' are 1.4 at \[4\]",
    ),
    "a negative sd as data": (
        lambda: bbvi.Model(
            lambda z, y, sd: norm.logpdf(z.a) + anp.sum(norm.logpdf(y, z.a, sd)), {"a": Real()},
            {"y": Y, "sd": changed(np.ones(N), 1, -1.0)},
        ),
        "outside-domain", r"scale above 0, but the data 'sd' are -1.* at \[1\]",
    ),
    "an sd that is a real latent": (
        lambda: bbvi.Model(
            lambda z, y: anp.sum(norm.logpdf(y, z.a, -0.1 - z.s**2)) + norm.logpdf(z.a) + norm.logpdf(z.s),
            {"a": Real(), "s": Real()}, {"y": Y},
        ),
        "outside-domain", "scale above 0, but what is computed from the latent 's'.*Positive",
    ),
    "probabilities by a linear predictor": (
        lambda: bbvi.Model(
            lambda z, y: norm.logpdf(z.a) + anp.sum(bernoulli.logpmf(y, 1.5 + z.a**2)), {"a": Real()}, {"y": BINARY}
        ),
        "outside-domain", "p a probability from 0 to 1.*latent 'a'",
    ),
    "a missing value": (
        lambda: line(right_line, x=X, y=changed(Y, 6, np.nan)), "data-not-finite", r"data 'y' are finite.* at \[6\]"
    ),
    "small integers overflow": (
        lambda: line(lambda z, x, y: right_line(z, x * x / 1e4, y), x=np.full(N, 100, dtype=np.int8), y=Y),
        "integer-overflow", r"\(int8\) computed from 'x' overflows.*instead of 10000",
    ),
    "unsigned differences": (
        lambda: line(lambda z, x, y: right_line(z, x[1:] - x[:-1], y[1:]), x=np.arange(N, 0, -1, dtype=np.uint8), y=Y),
        "integer-overflow", r"uint8.*instead of -1",
    ),
    "log in the branch not taken": (
        lambda: line(
            lambda z, x, y: right_line(z, x, y) + anp.sum(anp.where(x > 0, anp.log(z.s * x), 0.0)),
            x=np.maximum(X, 0), y=Y,
        ),
        "nan-gradient", "log of what is computed from.*no finite derivative.*np.where",
    ),
    "root in the branch not taken": (
        lambda: one(lambda z: anp.where(z.a**2 >= 0, -0.5 * (z.a - 3) ** 2, anp.sqrt(-1 - z.a**2))),
        "nan-gradient", "sqrt of what is computed from the latent 'a'",
    ),
    "a distance of zero": (
        lambda: one(lambda z: norm.logpdf(z.a) - anp.sum(anp.sqrt((z.a * np.array([0.0, 1.0])) ** 2))),
        "nan-gradient", "sqrt",
    ),
    "log of one minus expit": (
        lambda: saturating(lambda eta: anp.log(1 - expit(eta))), "saturates", r"log_expit\(-x\)"
    ),
    "log of one minus a sigmoid by hand": (
        lambda: saturating(lambda eta: anp.log(1 - 1 / (1 + anp.exp(-eta)))), "saturates", r"write log_expit\(-x\)",
    ),
    "log of ndtr": (lambda: saturating(lambda eta: anp.log(ndtr(eta))), "saturates", r"write log_ndtr\(x\)"),
    "log of one minus exp": (
        lambda: saturating(lambda eta: anp.log(1 - anp.exp(-anp.exp(eta)))), "saturates", r"log1mexp\(x\)"
    ),
    "expit of large numbers": (
        lambda: line(lambda z, x, y: anp.sum(bernoulli.logpmf(y, expit(z.a + z.b * x))), x=400 * X, y=BINARY),
        "saturates", "logpmf_logits",
    ),
    "a latent for nothing": (
        lambda: line(right_line, {"p": Interval(0, 1)}), "unused-latent", "latents 'p' are in no term",
    ),
    "a latent without data": (
        lambda: line(lambda z, x, y: right_line(z, x, y) + norm.logpdf(z.c), {"c": Real()}), "prior-only",
        "latents 'c' with data",
    ),
    "two latents without data": (
        lambda: line(lambda z, x, y: right_line(z, x, y) + norm.logpdf(z.c, z.d) + norm.logpdf(z.d), {"c": 1, "d": 1}),
        "prior-only", "'c', 'd'",
    ),
    "an index from 1": (lambda: grouped(GROUP + 1, 4), "prior-only-element", r"'effect\[0\]'"),
    "a group without observations": (lambda: grouped(GROUP, 5), "prior-only-element", r"'effect\[3\]', 'effect\[4\]'"),
    "a predictor that is 0 for all": (
        lambda: line(right_line, x=np.arange(N) // 20, y=Y), "prior-only-element", "no data reach 'b'",
    ),
    "a column of zeros": (
        lambda: bbvi.Model(
            lambda z, x, y: anp.sum(norm.logpdf(z.b)) + anp.sum(norm.logpdf(y, anp.dot(x, z.b), 1.0)),
            {"b": Real(shape=3)}, {"x": np.column_stack([X, np.zeros(N), X**2]), "y": Y},
        ),
        "prior-only-element", r"'b\[1\]'",
    ),
    "flat around the start": (
        lambda: one(lambda z: -0.5 * anp.maximum(anp.abs(z.a) - 2.0, 0.0) ** 2 - 0.1 * z.b**2, a=Real(), b=Real()),
        "flat-start", "constant in 'a' around the start",
    ),
    "a prior written twice": (
        lambda: line(lambda z, x, y: right_line(z, x, y) + norm.logpdf(z.a, 0, 5)), "counted-twice",
        "norm.logpdf of the latent 'a' is added 2 times",
    ),
    "a likelihood added twice": (
        lambda: line(lambda z, x, y: right_line(z, x, y) + right_line(z, x, y)), "counted-twice",
        "the data 'y' is added 2 times",
    ),
    "a prior declared and written": (
        lambda: bbvi.Model(
            log_prior=lambda z: norm.logpdf(z.a, 0, 2), log_likelihood=lambda z, y: norm.logpdf(y, z.a, 1.0),
            latents={"a": Real(prior=norm(0, 5))}, data={"y": Y},
        ),
        "counted-twice", "'a' is declared with a prior, and norm.logpdf of it is added",
    ),
    "a probability for a logit": (
        lambda: line(lambda z, x, y: anp.sum(bernoulli.logpmf_logits(y, expit(z.a + z.b * x))), x=X, y=BINARY),
        "linked-twice", "takes logits, and got expit of .* a probability already; .* or take bernoulli.logpmf",
    ),
    "a rate for its logarithm": (
        lambda: line(lambda z, x, y: anp.sum(poisson.logpmf_log_rate(y, anp.exp(z.a + z.b * x))), x=X, y=COUNTS),
        "linked-twice", "takes log rate, and got exp of",
    ),
    "a rate where loc is": (
        lambda: counts(np.abs(Y) + 3, lambda y, rate: expon.logpdf(y, rate)), "loc-for-scale",
        r"expon.logpdf of the data 'y' got the latent 'rate' as loc.* write scale=",
    ),
    "the scale of a prior where loc is": (
        lambda: line(lambda z, x, y: right_line(z, x, y) + gamma.logpdf(z.t, 2, 0.01) + z.t * z.a, {"t": Positive()}),
        "loc-for-scale", r"gamma.logpdf of the latent 't' got 0.01 as loc",
    ),
    "a prior on the wrong latent": (
        lambda: bbvi.Model(
            lambda z, x, y: norm.logpdf(z.a, 0, 5) + norm.logpdf(z.a, 0, 1) + anp.sum(norm.logpdf(y, z.a + z.b * x, 1)),
            {"a": Real(), "b": Real()}, {"x": X, "y": Y},
        ),
        "counted-twice", "the latent 'a' has two priors, and 'b' none",
    ),
    "the exponential of what is positive": (
        lambda: line(lambda z, x, y: anp.sum(norm.logpdf(y, z.a + z.b * x, anp.exp(z.s)))), "linked-twice",
        "got exp of the latent 's' as scale, and 's' is declared Positive already",
    ),
    "expit of a probability": (
        lambda: bbvi.Model(
            lambda z, y: beta.logpdf(z.p, 2, 2) + anp.sum(bernoulli.logpmf(y, expit(z.p))), {"p": Interval(0, 1)},
            {"y": BINARY},
        ),
        "linked-twice", "got expit of the latent 'p' as p, and 'p' is declared Interval already",
    ),
    "densities for their logarithms": (
        lambda: line(lambda z, x, y: anp.sum(anp.exp(norm.logpdf(y, z.a + z.b * x, z.s)))), "no-logarithm",
        "adds exp of norm.logpdf, a density and not its logarithm",
    ),
    "a product of densities": (
        lambda: line(lambda z, x, y: anp.prod(anp.exp(norm.logpdf(y, z.a + z.b * x, z.s)))), "no-logarithm",
        "adds prod of norm.logpdf",
    ),
    "a mean for a sum": (
        lambda: line(lambda z, x, y: anp.mean(norm.logpdf(y, z.a + z.b * x, z.s))), "no-logarithm", "counts 1/12",
    ),
    "a prior of a logarithm": (
        lambda: line(lambda z, x, y: right_line(z, x, y) + norm.logpdf(anp.log(z.t)) + z.t * z.a, {"t": Positive()}),
        "no-jacobian", "of log of the latent 't': as a prior",
    ),
    "a loop that keeps its last turn": (
        lambda: line(lambda z, x, y: [norm.logpdf(y[i], z.a + z.b * x[i], z.s) for i in range(N)][-1]),
        "rows-left-out", "of all the rows of the data 'x', 'y' the log joint has 1 in it",
    ),
    "an index that is one too small": (
        lambda: grouped(GROUP - 1), "index-from-end",
        "latent 'effect' is indexed by the data 'index', which is -1 in 4 of 12 places",
    ),
    "one subtracted from an index of zero": (
        lambda: bbvi.Model(
            lambda z, y, group: anp.sum(norm.logpdf(z.u)) + anp.sum(norm.logpdf(y, z.u[group - 1], 0.5)),
            {"u": Real(shape=3)}, {"y": Y, "group": GROUP},
        ),
        "index-from-end", "indexed by what is computed from the data 'group'",
    ),
    "clipped": (
        lambda: line(lambda z, x, y: right_line(z, x, y) - anp.clip(z.k, 2.2, 9.0) ** 2, {"k": Real()}), "flat-start",
        "constant in 'k'",
    ),
}  # fmt: skip


def gp(x: np.ndarray, distance: Callable[[Any], Any]) -> bbvi.Model:
    def log_joint(z: Any, x: Any, y: Any) -> Any:
        cov = z.s**2 * anp.exp(-0.5 * (distance(x) / z.length) ** 2) + 0.1 * np.eye(N)
        prior = lognorm.logpdf(z.length, 1.0) + expon.logpdf(z.s)
        return prior + multivariate_normal.logpdf(y, np.zeros(N), cov)

    return bbvi.Model(log_joint, {"s": Positive(), "length": Positive()}, {"x": x, "y": Y})


def masked(z: Any, x: Any, y: Any) -> Any:
    seen = ~np.isnan(getattr(y, "_value", y))
    return anp.sum(anp.where(seen, norm.logpdf(anp.where(seen, y, 0.0), z.a + z.b * x, z.s), 0.0))


def wanted(y: Any) -> np.ndarray:
    assert isinstance(y, np.ndarray)
    return y


RIGHT: dict[str, Callable[[], bbvi.Model]] = {
    **{f"gallery: {name}": lambda name=name: models.load(name) for name in models.names()},
    "a line": lambda: line(right_line),
    "a line, both columns": lambda: line(right_line, x=X[:, None], y=Y[:, None]),
    "a normal by hand": lambda: line(
        lambda z, x, y: anp.sum(-0.5 * ((y - z.a - z.b * x) / z.s) ** 2 - anp.log(z.s))
    ),
    "terms of a normal by hand": lambda: bbvi.Model(
        lambda z, y: -0.5 * ((y - z.a) / z.s) ** 2 - anp.log(z.s), {"a": Real(), "s": Positive()}, {"y": Y}
    ),
    "a Poisson by hand": lambda: bbvi.Model(
        lambda z, y: norm.logpdf(z.a) + anp.sum(y * z.a - anp.exp(z.a)), {"a": Real()}, {"y": COUNTS}
    ),
    "a rate by exp": lambda: bbvi.Model(
        lambda z, x, y: norm.logpdf(z.a) + norm.logpdf(z.b) + anp.sum(poisson.logpmf(y, anp.exp(z.a + z.b * x))),
        {"a": Real(), "b": Real()}, {"x": X, "y": COUNTS},
    ),
    "a kernel by a transpose": lambda: gp(X[:, None], lambda x: x - anp.transpose(x)),
    "a kernel by new axes": lambda: gp(X, lambda x: x[:, None] - x[None, :]),
    "a kernel by reshaping": lambda: gp(X, lambda x: anp.reshape(x, (-1, 1)) - x),
    "a mixture": lambda: bbvi.Model(
        lambda z, y: anp.sum(norm.logpdf(z.m, 0, 3))
        + anp.sum(logsumexp(norm.logpdf(anp.reshape(y, (-1, 1)), z.m, 1.0), axis=1)),
        {"m": bbvi.Ordered(shape=2)}, {"y": Y},
    ),
    "a mixture of as many as there are data": lambda: bbvi.Model(
        lambda z, y: anp.sum(norm.logpdf(z.m, 0, 3))
        + anp.sum(logsumexp(norm.logpdf(anp.reshape(y, (-1, 1)), z.m, 1.0), axis=1)),
        {"m": bbvi.Ordered(shape=N)}, {"y": Y},
    ),
    "groups": lambda: grouped(GROUP),
    "a table of rows and columns": lambda: bbvi.Model(
        lambda z, y: anp.sum(norm.logpdf(z.row)) + anp.sum(norm.logpdf(z.column))
        + anp.sum(norm.logpdf(y, z.row[:, None] + z.column, 0.5)),
        {"row": Real(shape=3), "column": Real(shape=4)}, {"y": np.reshape(Y, (3, 4))},
    ),
    "a square table": lambda: bbvi.Model(
        lambda z, y: anp.sum(norm.logpdf(z.row)) + anp.sum(norm.logpdf(z.column))
        + anp.sum(norm.logpdf(y, z.row[:, None] + z.column, 0.5)),
        {"row": Real(shape=3), "column": Real(shape=3)}, {"y": np.reshape(Y[:9], (3, 3))},
    ),
    "missing values, masked": lambda: line(masked, x=X, y=changed(Y, 3, np.nan)),
    "a logarithm in a branch, guarded": lambda: line(
        lambda z, x, y: right_line(z, x, y) + anp.sum(anp.where(x > 0, anp.log(z.s * anp.where(x > 0, x, 1.0)), 0.0))
    ),
    "accurate tails": lambda: saturating(lambda eta: log_expit(-eta) + log_ndtr(eta) + log1mexp(-anp.exp(eta))),
    "expit of small numbers": lambda: bbvi.Model(
        lambda z, x, y: norm.logpdf(z.a) + norm.logpdf(z.b) + anp.sum(bernoulli.logpmf(y, expit(z.a + z.b * x))),
        {"a": Real(), "b": Real()}, {"x": X, "y": BINARY},
    ),
    "zero inflation": lambda: bbvi.Model(
        lambda z, y: beta.logpdf(z.p, 2, 2) + expon.logpdf(z.rate)
        + anp.sum(anp.where(
            y == 0, anp.logaddexp(anp.log(z.p), anp.log1p(-z.p) - z.rate), anp.log1p(-z.p) + poisson.logpmf(y, z.rate)
        )),
        {"p": Interval(0, 1), "rate": Positive()}, {"y": COUNTS},
    ),
    "a hurdle": lambda: bbvi.Model(
        lambda z, y: beta.logpdf(z.p, 2, 2) + expon.logpdf(z.s) + anp.sum(
            anp.where(y > 0, anp.log(z.p) + lognorm.logpdf(anp.where(y > 0, y, 1.0), z.s), anp.log1p(-z.p))
        ),
        {"p": Interval(0, 1), "s": Positive()}, {"y": np.maximum(Y, 0.0)},
    ),
    "shares with a part for none and all": lambda: bbvi.Model(
        lambda z, y: expon.logpdf(z.a) + expon.logpdf(z.b)
        + anp.sum(anp.where((y > 0) & (y < 1), beta.logpdf(anp.where((y > 0) & (y < 1), y, 0.5), z.a, z.b), -1.0)),
        {"a": Positive(), "b": Positive()}, {"y": np.r_[expit(Y), 0.0, 1.0]},
    ),
    "a waiting time of nothing": lambda: counts(changed(np.abs(Y), 5, 0.0), lambda y, rate: expon.logpdf(y, 0, rate)),
    "small integers": lambda: line(right_line, x=np.arange(N, dtype=np.int8), y=Y),
    "larger integers": lambda: line(lambda z, x, y: right_line(z, x * x / 1e4, y), x=np.full(N, 100), y=Y),
    "no data": lambda: one(lambda z: -0.5 * (z.a - 3) ** 2),
    "data of the surroundings": lambda: one(lambda z: norm.logpdf(z.a) + anp.sum(norm.logpdf(Y, z.a, 1.0))),
    "one number of data": lambda: bbvi.Model(
        lambda z, y: norm.logpdf(z.a) + norm.logpdf(y, z.a, 1.0), {"a": Real()}, {"y": 0.7}
    ),
    "centred effects": lambda: bbvi.Model(
        lambda z, y, group: norm.logpdf(z.mu) + halfnorm.logpdf(z.tau) + anp.sum(norm.logpdf(z.effect, z.mu, z.tau))
        + anp.sum(norm.logpdf(y, z.effect[group], 0.3)),
        {"mu": Real(), "tau": Positive(), "effect": Real(shape=4)}, {"y": Y, "group": GROUP},
    ),
    "a correlation": lambda: bbvi.Model(
        lambda z, y: lkj_cholesky.logpdf(z.L, 2.0) + anp.sum(multivariate_normal.logpdf_cholesky(y, np.zeros(2), z.L)),
        {"L": bbvi.CholeskyCorrelation(shape=2)}, {"y": np.column_stack([Y, Y[::-1]])},
    ),
    "a prior of a logarithm, with the derivative": lambda: line(
        lambda z, x, y: right_line(z, x, y) + norm.logpdf(anp.log(z.s)) - anp.log(z.s)
    ),
    "outcomes of the surroundings in a loop": lambda: one(
        lambda z: norm.logpdf(z.a) + sum(bernoulli.logpmf_logits(int(one), z.a) for one in BINARY)
    ),
    "a few of many rows": lambda: line(lambda z, x, y: right_line(z, x[::4], y[::4])),
    "no group, masked": lambda: bbvi.Model(
        lambda z, y, group: anp.sum(norm.logpdf(z.u))
        + anp.sum(norm.logpdf(y, anp.where(group >= 0, z.u[group], 0.0), 0.5)),
        {"u": Real(shape=2)}, {"y": Y, "group": GROUP - 1},
    ),
    "a prior from 2 on": lambda: line(
        lambda z, x, y: anp.sum(t.logpdf(y, z.nu, z.a + z.b * x, z.s)) + expon.logpdf(z.nu, 2),
        {"nu": Interval(2, np.inf)},
    ),
    "priors alone": lambda: one(
        lambda z: norm.logpdf(z.a) + dirichlet.logpdf(z.share, np.array([2.0, 3.0, 5.0])),
        a=Real(), share=bbvi.Simplex(shape=3),
    ),
    "a first value": lambda: bbvi.Model(
        lambda z, y, t: norm.logpdf(z.a) + anp.sum(norm.logpdf(y, z.a + t[0], 1.0)), {"a": Real()},
        {"y": Y, "t": np.arange(20.0)},
    ),
    "a value for -1 at the end": lambda: bbvi.Model(
        lambda z, y, group: anp.sum(norm.logpdf(z.u))
        + anp.sum(norm.logpdf(y, anp.concatenate([z.u, anp.zeros(1)])[group], 0.5)),
        {"u": Real(shape=2)}, {"y": Y, "group": GROUP - 1},
    ),
    "a table by rows and columns": lambda: bbvi.Model(
        lambda z, y, group: anp.sum(norm.logpdf(z.u)) + anp.sum(norm.logpdf(y, z.u[:, group][0] + z.u[1, group], 0.5))
        + norm.logpdf(z.u[-1, -1], 0, 9),
        {"u": Real(shape=(2, 3))}, {"y": Y, "group": GROUP},
    ),
    "a ring of neighbours": lambda: bbvi.Model(
        lambda z, y, place: anp.sum(norm.logpdf(z.u - z.u[place - 1])) + anp.sum(norm.logpdf(y, z.u, 0.5)),
        {"u": Real(shape=N)}, {"y": Y, "place": np.arange(N)},
    ),
    "repeated measurements": lambda: bbvi.Model(
        lambda z, first, second: norm.logpdf(z.a) + anp.sum(norm.logpdf(first, z.a, 1) + norm.logpdf(second, z.a, 1)),
        {"a": Real()}, {"first": Y, "second": Y.copy()},
    ),
    "an intensity in the plane": lambda: bbvi.Model(
        lambda z, grid, y: norm.logpdf(z.a) + anp.sum(norm.logpdf(y, z.a, 1.0))
        - anp.sum(anp.exp(0.5 + norm.logpdf(grid, z.a, 1.0))),
        {"a": Real()}, {"grid": X, "y": Y},
    ),
    "vectorized": lambda: bbvi.Model(
        lambda z, y: anp.sum(norm.logpdf(y, z.a[:, None], 1.0), axis=1) + norm.logpdf(z.a), {"a": Real()}, {"y": Y},
        vectorized=True,
    ),
    "foreign code": lambda: bbvi.Model(
        lambda z, y: float(-0.5 * z.a**2 - 0.5 * np.sum((y - float(z.a)) ** 2)), {"a": Real()}, {"y": Y}
    ),
    "a branch on a latent": lambda: bbvi.Model(
        lambda z, y: norm.logpdf(z.a) + anp.sum(norm.logpdf(y, z.a if z.a > 0 else 0.5 * z.a, 1)), {"a": Real()},
        {"y": Y},
    ),
    "code that wants arrays": lambda: bbvi.Model(
        lambda z, y: norm.logpdf(z.a) + anp.sum(norm.logpdf(np.sort(y)[: len(wanted(y))], z.a, 1)), {"a": Real()},
        {"y": Y},
    ),
    "a loop over time": lambda: bbvi.Model(
        lambda z, y: norm.logpdf(z.a) + expon.logpdf(z.s)
        + sum(norm.logpdf(y[i], z.a * y[i - 1], z.s) for i in range(1, N)),
        {"a": Real(), "s": Positive()}, {"y": Y},
    ),
    "weights": lambda: line(lambda z, x, y, w: anp.sum(w * norm.logpdf(y, z.a + z.b * x, z.s)), x=X, y=Y, w=np.ones(N)),
    "priors of arrays": lambda: bbvi.Model(
        lambda z, y, sd: anp.sum(norm.logpdf(z.b, 0, sd)) + anp.sum(norm.logpdf(y, z.b[0] + z.b[1] * X, 0.3)),
        {"b": Real(shape=2)}, {"y": Y, "sd": np.array([5.0, 2.0])},
    ),
    "heavy tails, bounds and shares": lambda: bbvi.Model(
        lambda z, y, share: t.logpdf(z.a, 4) + uniform.logpdf(z.p) + gamma.logpdf(z.k, 2.0)
        + anp.sum(t.logpdf(y, 4, z.a, 1 + z.p)) + anp.sum(beta.logpdf(share, z.k, 2.0)),
        {"a": Real(), "p": Interval(0, 1), "k": Positive()}, {"y": Y, "share": expit(Y)},
    ),
    "pointwise with a scalar in each": lambda: bbvi.Model(
        log_prior=lambda z: norm.logpdf(z.a) + expon.logpdf(z.s),
        log_likelihood=lambda z, y: -anp.log(z.s) - 0.5 * ((y - z.a) / z.s) ** 2,
        latents={"a": Real(), "s": Positive()}, data={"y": Y},
    ),
}  # fmt: skip


SEVERITIES = {code: {"caution"} for _, code, _ in WRONG.values()}
SEVERITIES |= {"saturates": {"note", "caution"}, "no-jacobian": {"note"}}


@pytest.mark.parametrize("name", WRONG)
def test_the_fault_of_a_wrong_model_is_named(name: str) -> None:
    make, code, message = WRONG[name]
    found = findings(make())
    named = [finding for finding in found if finding.code == code]
    assert named, found
    assert re.search(message, named[0].message), named[0].message
    # What is only less accurate, or true of part of a latent, does not count against a fit.
    assert {finding.severity for finding in named} <= ({"note"} if code == "prior-only-element" else SEVERITIES[code])


@pytest.mark.parametrize("name", RIGHT)
def test_nothing_is_found_in_a_right_model(name: str) -> None:
    assert findings(RIGHT[name]()) == ()


def test_the_table_is_large_and_codes_are_documented() -> None:
    assert len(WRONG) >= 40 and len(RIGHT) >= 40
    assert len([name for name in RIGHT if name.startswith("gallery")]) == len(models.names())
    for _, code, _ in WRONG.values():
        assert f"``{code}``" in (lint.__doc__ or "")


def test_every_density_says_where_it_is() -> None:
    densities = {name: getattr(stats, name) for name in stats.__all__ if isinstance(getattr(stats, name), Density)}
    ways = [f"{name}.{way}" for name, density in densities.items() for way in vars(density)]
    assert {way for way in ways if ".logpdf" in way or ".logpmf" in way} == set(SUPPORTS)


def test_a_look_costs_few_evaluations_and_they_are_counted() -> None:
    calls = []

    def counted(z: Any, x: Any, y: Any) -> Any:
        calls.append(1)
        return right_line(z, x, y)

    target = Target(line(counted))
    target.values(np.zeros((1, 3)))
    before, begun = target.evaluations, len(calls)
    lint(target, np.zeros(3), np.random.default_rng(0))
    assert target.evaluations - before == len(calls) - begun == 2


def test_long_programs_are_looked_at_once() -> None:
    target = Target(RIGHT["a loop over time"]())
    target.values(np.zeros((1, 2)))
    before = target.evaluations
    assert lint(target, np.zeros(2), np.random.default_rng(0), LintPolicy(most_steps=10)) == ()
    assert target.evaluations - before == 1


def test_the_first_operation_without_a_derivative_is_named() -> None:
    target = Target(one(lambda z: -0.5 * z.a**2 + anp.where(z.a > 9, anp.sqrt(z.a - 9.0), 0.0)))
    target.values(np.zeros((1, 1)))
    assert first_nan(target, np.zeros(1)).startswith("sqrt of what is computed from the latent 'a' at -9")
    assert first_nan(target, np.full(1, 10.0)) == ""


def test_what_the_linter_finds_is_in_check_model() -> None:
    report = check_model(WRONG["y of a frame in double brackets"][0]())
    assert any(problem.startswith("broadcast: norm.logpdf joins the data 'y'") for problem in report.problems)
    report = check_model(WRONG["a group without observations"][0]())
    assert report.ok and any("prior-only-element" in finding.message for finding in report.findings)


def test_a_prior_far_from_the_data_is_told_by_a_fit() -> None:
    def of(prior: Any) -> bbvi.Fit:
        model = bbvi.Model(
            lambda z, y: norm.logpdf(z.m, 0, prior) + anp.sum(norm.logpdf(y, z.m, 10.0)), {"m": Real()},
            {"y": 500 + 10 * Y},
        )  # fmt: skip
        return bbvi.fit(model, seed=1)

    (told,) = [reason for reason in of(1.0).reasons if "prior, norm.logpdf with 0 and 1" in reason]
    assert re.match(r"The latent 'm' is at 5\d\.\d+, 5\d\.\d sds from the middle of its prior", told)
    assert of(1.0).verdict == "reliable"
    assert not any("middle of its prior" in reason for reason in of(200.0).reasons)


@pytest.mark.filterwarnings("ignore:log_joint returned 12 terms:RuntimeWarning")
@pytest.mark.parametrize("name", ["y of a frame in double brackets", "forgotten sum"])
def test_what_is_found_counts_in_the_verdict(name: str) -> None:
    """A warning scrolls away: a forgotten sum was warned of, and its fit was reliable."""
    fit = bbvi.fit(WRONG[name][0](), seed=1)
    assert fit.converged and fit.verdict == "caution"


def test_names_of_python_stay_as_one_writes_them_where_a_reason_begins() -> None:
    reasons = bbvi.fit(WRONG["y of a frame in double brackets"][0](), seed=1).reasons
    assert reasons[0].startswith("norm.logpdf joins the data 'y'") and reasons[0].endswith("[y].")
    reasons = bbvi.fit(WRONG["a latent without data"][0](), seed=1).reasons
    assert reasons[0].startswith("No term of the log joint")


@pytest.mark.parametrize("name", ["half a count", "outcomes 1 and 2", "a negative sd as data", "a missing value"])
def test_a_fit_that_cannot_begin_says_which_data_are_wrong(name: str) -> None:
    make, _, message = WRONG[name]
    with pytest.raises(ValueError, match=f"none at .* points(.|\\n)*What is wrong: .*{message}"):
        bbvi.fit(make(), seed=1)


# ---- data as people have them ---------------------------------------------------------------------------------------

FRAME = pd.DataFrame({"x": X, "y": Y, "site": pd.Categorical(["b", "a", "c"] * 4), "Body mass": 1.0, "who": "me"})


def test_a_frame_gives_the_columns_that_functions_name_and_categories_their_labels() -> None:
    def log_joint(z: Any, x: Any, y: Any, site: Any) -> Any:
        return anp.sum(norm.logpdf(z.b)) + anp.sum(norm.logpdf(y, z.b[site] * x, 1.0))

    model = bbvi.Model(log_joint, {"b": Real(dims="site")}, FRAME)
    assert list(model.data) == ["x", "y", "site"] and model.labels == ["b[a]", "b[b]", "b[c]"]
    np.testing.assert_array_equal(model.data["site"], [1, 0, 2] * 4)
    np.testing.assert_array_equal(model.data["x"], X)
    assert findings(model) == ()
    # Other data keep the model's codes, whatever categories they happen to have.
    again = model.with_data(site=pd.Series(["c", "c", "b"] * 4, dtype="category"))
    np.testing.assert_array_equal(again.data["site"], [2, 2, 1] * 4)
    with pytest.raises(ValueError, match="data.'site'.: expected categories among the coords of 'site', got 'd'"):
        model.with_data(site=pd.Series(["d"] * 12, dtype="category"))
    for words in (["c", "a", "b"] * 4, np.array(["c", "a", "b"] * 4), pd.Series(["c", "a", "b"] * 4)):
        np.testing.assert_array_equal(model.with_data(site=words).data["site"], [2, 0, 1] * 4)
    with pytest.raises(ValueError, match="data.'site'.: expected labels among the coords of 'site', got 'd'"):
        model.with_data(site=["a", "d"])
    own = bbvi.Model(log_joint, {"b": Real(dims="site")}, FRAME, coords={"site": ["c", "b", "a"]})
    np.testing.assert_array_equal(own.data["site"], [1, 2, 0] * 4)


def test_a_table_of_numbers_is_a_matrix() -> None:
    model = bbvi.Model(lambda z, x: anp.sum(x) * z.a, {"a": Real()}, {"x": FRAME[["x", "y"]]})
    np.testing.assert_array_equal(model.data["x"], np.column_stack([X, Y]))
    assert not model.data["x"].flags.writeable


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.array([1, 2, 3], dtype=object), "i"),
        (np.array([1, 2.5, True], dtype=object), "f"),
        (pd.Series([1, 2], dtype="Int64"), "i"),
        (pd.Series([True, False]), "b"),
        (np.array([10**30, 1], dtype=object), "f"),
    ],
)
def test_numbers_in_objects_become_numbers(values: Any, kind: str) -> None:
    array = bbvi.Model(lambda z, x: anp.sum(x) * z.a, {"a": Real()}, {"x": values}).data["x"]
    assert array.dtype.kind == kind
    np.testing.assert_array_equal(array, np.array(list(values), dtype=array.dtype))


REFUSED: dict[str, tuple[Any, type[Exception], str]] = {
    "none in a list": ([1.0, None, 2.0], ValueError, r"data\['v'\]: expected numbers, got None at \[1\]"),
    "a missing integer": (pd.Series([1, pd.NA], dtype=object), ValueError, r"data\['v'\]: .*<NA> at \[1\]"),
    "a missing category": (pd.Categorical(["a", None]), ValueError, r"data\['v'\]: expected a category.*none at 1"),
    "a column of text": (pd.Series(["a", "b"]), TypeError, r"data\['v'\]: expected numbers, got .*'a'"),
    "text among objects": (pd.Series(["a", 1], dtype=object), TypeError, r"data\['v'\]: .*the text 'a' at \[0\]"),
    "dates": (pd.date_range("2024-01-01", periods=2), TypeError, r"data\['v'\]: .*datetime64.*count from a day"),
    "ragged": (np.array([[1], [1, 2]], dtype=object), TypeError, r"data\['v'\]: .*got list at \[0\]"),
    "a set": ({1.0, 2.0}, TypeError, r"data\['v'\]: expected a sequence, whose order is certain, got a set"),
    "a table with text": (FRAME[["x", "who"]], TypeError, r"data\[.v\['who'\].*got the text 'me' at \[0\]"),
    "a table with categories": (FRAME[["x", "site"]], TypeError, r"data\['v'\]: column 'site' is of categories"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_number_is_refused_by_name(name: str) -> None:
    value, kind, message = REFUSED[name]
    with pytest.raises(kind, match=message):
        bbvi.Model(lambda z, v: anp.sum(v) * z.a, {"a": Real()}, {"v": value})


def test_arrays_of_text_and_dates_that_somebody_made_are_kept() -> None:
    data = {"u": np.array(["a", "b"]), "o": np.array(["a", "b"], dtype=object), "d": np.array(["2024-01-01"], "M8[D]")}
    kept = bbvi.Model(lambda z, **data: -(z.a**2), {"a": Real()}, data).data
    for name, x in data.items():
        assert kept[name].dtype == x.dtype and (kept[name] == x).all() and kept[name] is not x


def test_labels_of_tuples_dates_and_sets() -> None:
    def labels(coords: Any) -> list[str]:
        return bbvi.Model(lambda z: anp.sum(-(z.b**2)), {"b": Real(dims="d")}, coords={"d": coords}).labels

    assert labels([("a", 1), ("a", 2)]) == ["b[a,1]", "b[a,2]"]
    assert labels(pd.MultiIndex.from_product([["a"], [1, 2]])) == ["b[a,1]", "b[a,2]"]
    dates = pd.date_range("2024-01-01", periods=2)
    python = [[day.date() for day in dates], [day.to_pydatetime() for day in dates]]
    for days in (dates, list(dates), dates.values, *python):
        assert labels(days) == ["b[2024-01-01]", "b[2024-01-02]"]
        model = bbvi.Model(lambda z: anp.sum(-(z.b**2)), {"b": Real(dims="d")}, coords={"d": days})
        np.testing.assert_array_equal(np.asarray(model.coords["d"]).astype("datetime64[D]"), dates.values)
        assert np.asarray(model.coords["d"]).dtype.kind == "M"
    assert labels([np.datetime64("2024-01-01T06:30:00")]) == ["b[2024-01-01T06:30:00]"]
    assert labels([1, 2.5]) == ["b[1.0]", "b[2.5]"]
    with pytest.raises(TypeError, match=r"coords\['d'\]: expected labels in an order, got a set"):
        labels({"a", "b"})
