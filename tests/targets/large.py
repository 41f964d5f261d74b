"""Posteriors of 90 to 1,000 latents, of kinds that people fit every day, with references by long NUTS runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import autograd.numpy as anp
import numpy as np
from scipy.special import expit

import bbvi
from bbvi.stats import beta, halfnorm, nbinom, norm, poisson, weibull_min

from .known import Case, Moments

FOLDER = Path(__file__).parent / "references"


def cases() -> Iterator[Case]:
    """Ten of them; `python tests/targets/references/make.py` computes the answers."""
    for make in MODELS:
        yield Case(make.__name__, "large", make, partial(reference, make.__name__), "NUTS")


def reference(name: str) -> Moments:
    """Means and sds of a long run."""
    rows = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))["rows"]
    return {label: (mean, sd) for label, (mean, sd, *_) in rows.items()}


def varying_intercepts() -> bbvi.Model:
    """Measurements in 85 counties, of which some have few: intercepts that vary with a predictor of the county."""
    rng = np.random.default_rng(1)
    share = rng.dirichlet(np.full(85, 0.7))
    county = np.sort(np.concatenate([np.arange(85), rng.choice(85, 834, p=share)]))
    uranium = rng.normal(0, 0.4, 85)
    floor = (rng.random(919) < 0.17).astype(float)
    effect = 1.4 + 0.7 * uranium + rng.normal(0, 0.15, 85)
    y = effect[county] - 0.65 * floor + rng.normal(0, 0.75, 919)

    def log_joint(z, y, floor, uranium):
        a = z.gamma[0] + z.gamma[1] * uranium + z.tau * z.e
        prior = anp.sum(norm.logpdf(z.gamma, 0, 2)) + norm.logpdf(z.beta, 0, 2) + anp.sum(norm.logpdf(z.e))
        scales = halfnorm.logpdf(z.tau, 0, 1) + halfnorm.logpdf(z.sigma, 0, 1)
        return prior + scales + anp.sum(norm.logpdf(y, a[county] + z.beta * floor, z.sigma))

    latents = {"gamma": 2, "beta": bbvi.Real(), "tau": bbvi.Positive(), "sigma": bbvi.Positive(), "e": 85}
    return bbvi.Model(log_joint, latents, {"y": y, "floor": floor, "uranium": uranium})


def item_response() -> bbvi.Model:
    """A test of 20 items taken by 100 persons: two parameters an item, both of a common distribution."""
    rng = np.random.default_rng(2)
    ability, discrimination, difficulty = rng.normal(size=100), np.exp(rng.normal(0, 0.5, 20)), rng.normal(0, 1, 20)
    person, item = np.repeat(np.arange(100), 20), np.tile(np.arange(20), 100)
    y = (rng.random(2000) < expit(discrimination[item] * (ability[person] - difficulty[item]))).astype(float)

    def log_joint(z, y):
        eta = anp.exp(z.log_a[item]) * (z.theta[person] - z.b[item])
        prior = anp.sum(norm.logpdf(z.theta)) + norm.logpdf(z.mu_a, 0, 1) + halfnorm.logpdf(z.s_a, 0, 1)
        prior = prior + anp.sum(norm.logpdf(z.log_a, z.mu_a, z.s_a)) + norm.logpdf(z.mu_b, 0, 2)
        prior = prior + halfnorm.logpdf(z.s_b, 0, 2) + anp.sum(norm.logpdf(z.b, z.mu_b, z.s_b))
        return prior + anp.sum(y * eta - anp.logaddexp(0.0, eta))

    scales = {"mu_a": bbvi.Real(), "s_a": bbvi.Positive(), "mu_b": bbvi.Real(), "s_b": bbvi.Positive()}
    return bbvi.Model(log_joint, {"theta": 100, "log_a": 20, "b": 20, **scales}, {"y": y})


def logistic_hierarchy() -> bbvi.Model:
    """Binary responses of 300 groups of six."""
    rng = np.random.default_rng(3)
    group = np.repeat(np.arange(300), 6)
    x = rng.normal(size=1800)
    y = (rng.random(1800) < expit(-0.5 + rng.normal(0, 0.8, 300)[group] + 0.7 * x)).astype(float)

    def log_joint(z, x, y):
        eta = z.mu + z.tau * z.e[group] + z.beta * x
        prior = norm.logpdf(z.mu, 0, 2) + norm.logpdf(z.beta, 0, 1) + halfnorm.logpdf(z.tau, 0, 1)
        return prior + anp.sum(norm.logpdf(z.e)) + anp.sum(y * eta - anp.logaddexp(0.0, eta))

    return bbvi.Model(
        log_joint, {"mu": bbvi.Real(), "tau": bbvi.Positive(), "beta": bbvi.Real(), "e": 300}, {"x": x, "y": y}
    )


def overdispersed_counts() -> bbvi.Model:
    """Negative binomial counts of 1,000 groups of four."""
    rng = np.random.default_rng(4)
    group = np.repeat(np.arange(1000), 4)
    mu = np.exp(1.0 + rng.normal(0, 0.6, 1000))[group]
    y = rng.negative_binomial(4.0, 4.0 / (4.0 + mu))

    def log_joint(z, y):
        m = anp.exp(z.mu + z.tau * z.e[group])
        prior = norm.logpdf(z.mu, 0, 2) + halfnorm.logpdf(z.tau, 0, 1) + halfnorm.logpdf(z.phi, 0, 10)
        return prior + anp.sum(norm.logpdf(z.e)) + anp.sum(nbinom.logpmf(y, z.phi, z.phi / (z.phi + m)))

    latents = {"mu": bbvi.Real(), "tau": bbvi.Positive(), "phi": bbvi.Positive(), "e": 1000}
    return bbvi.Model(log_joint, latents, {"y": y})


def random_walk() -> bbvi.Model:
    """A level that walks 500 steps, seen through noise; centred, as one writes it."""
    rng = np.random.default_rng(5)
    y = np.cumsum(rng.normal(0, 0.2, 500)) + rng.normal(0, 0.5, 500)

    def log_joint(z, y):
        prior = halfnorm.logpdf(z.step, 0, 1) + halfnorm.logpdf(z.noise, 0, 1) + norm.logpdf(z.x[0], 0, 1)
        return (
            prior + anp.sum(norm.logpdf(z.x[1:], z.x[:-1], z.step)) + anp.sum(norm.logpdf(y, z.x, z.noise))
        )

    return bbvi.Model(log_joint, {"step": bbvi.Positive(), "noise": bbvi.Positive(), "x": 500}, {"y": y})


def volatility() -> bbvi.Model:
    """Stochastic volatility of 500 returns, non-centred in scale."""
    rng = np.random.default_rng(6)
    h = np.zeros(500)
    for t in range(1, 500):
        h[t] = 0.95 * h[t - 1] + rng.normal(0, 0.25)
    y = np.exp((h - 1.0) / 2) * rng.normal(size=500)

    def log_joint(z, y):
        first = norm.logpdf(z.x[0], 0, 1 / anp.sqrt(1 - z.phi**2))
        prior = norm.logpdf(z.mu, 0, 2) + beta.logpdf((z.phi + 1) / 2, 20, 1.5) + halfnorm.logpdf(z.sigma, 0, 0.5)
        prior = prior + first + anp.sum(norm.logpdf(z.x[1:], z.phi * z.x[:-1], 1.0))
        return prior + anp.sum(norm.logpdf(y, 0, anp.exp((z.mu + z.sigma * z.x) / 2)))

    latents = {"mu": bbvi.Real(), "phi": bbvi.Interval(-1, 1), "sigma": bbvi.Positive(), "x": 500}
    return bbvi.Model(log_joint, latents, {"y": y})


def spatial_counts() -> bbvi.Model:
    """Counts on a grid of 12 by 12 cells: a conditional autoregression (BYM2; Riebler et al. 2016), scaled."""
    rng = np.random.default_rng(8)
    cells = np.arange(144).reshape(12, 12)
    left = np.concatenate([cells[:, :-1].ravel(), cells[:-1].ravel()])
    right = np.concatenate([cells[:, 1:].ravel(), cells[1:].ravel()])
    rows, columns = np.divmod(np.arange(144), 12)
    truth = np.sin(rows / 3.0) + np.cos(columns / 4.0)
    exposure = rng.uniform(5, 50, 144)
    y = rng.poisson(exposure * np.exp(0.1 + 0.4 * (truth - truth.mean()) + rng.normal(0, 0.15, 144)))

    def log_joint(z, y, exposure):
        smooth = -0.5 * anp.sum((z.s[left] - z.s[right]) ** 2) + norm.logpdf(anp.sum(z.s), 0, 0.144)
        effect = z.tau * (anp.sqrt(1 - z.rho) * z.e + anp.sqrt(z.rho / 0.6) * z.s)
        prior = norm.logpdf(z.mu, 0, 1) + halfnorm.logpdf(z.tau, 0, 1) + beta.logpdf(z.rho, 1.0, 1.0)
        rate = exposure * anp.exp(z.mu + effect)
        return prior + smooth + anp.sum(norm.logpdf(z.e)) + anp.sum(poisson.logpmf(y, rate))

    latents = {"mu": bbvi.Real(), "tau": bbvi.Positive(), "rho": bbvi.Interval(0, 1), "e": 144, "s": 144}
    return bbvi.Model(log_joint, latents, {"y": y, "exposure": exposure})


def ordinal_groups() -> bbvi.Model:
    """Answers on a scale of five of 120 respondents, to twelve questions each."""
    rng = np.random.default_rng(10)
    person, question = np.repeat(np.arange(120), 12), np.tile(np.arange(12), 120)
    eta = rng.normal(0, 1.0, 120)[person] + rng.normal(0, 0.7, 12)[question]
    cuts = np.array([-2.0, -0.7, 0.6, 2.2])
    y = np.sum(eta[:, None] + rng.logistic(size=(1440, 1)) > cuts, axis=1)

    def log_joint(z, y):
        eta = z.tau * z.person[person] + z.omega * z.question[question]
        edges = anp.concatenate([anp.array([-30.0]), z.cuts, anp.array([30.0])])
        upper, lower = edges[y + 1] - eta, edges[y] - eta
        # log(expit(b) - expit(a)) without cancellation.
        gap = anp.log1p(-anp.exp(lower - upper)) - anp.logaddexp(0.0, lower) - anp.logaddexp(0.0, -upper)
        prior = halfnorm.logpdf(z.tau, 0, 2) + halfnorm.logpdf(z.omega, 0, 2) + anp.sum(norm.logpdf(z.cuts, 0, 3))
        return prior + anp.sum(norm.logpdf(z.person)) + anp.sum(norm.logpdf(z.question)) + anp.sum(gap)

    latents = {
        "tau": bbvi.Positive(),
        "omega": bbvi.Positive(),
        "cuts": bbvi.Ordered(shape=4),
        "person": 120,
        "question": 12,
    }
    return bbvi.Model(log_joint, latents, {"y": y})


def frailties() -> bbvi.Model:
    """Weibull survival with censoring in 150 clinics of six patients, with log-normal frailties; centred."""
    rng = np.random.default_rng(11)
    clinic = np.repeat(np.arange(150), 6)
    treated = rng.integers(0, 2, 900).astype(float)
    scale = np.exp(2.0 + 0.5 * treated + rng.normal(0, 0.5, 150)[clinic])
    time = scale * rng.weibull(1.4, 900)
    end = rng.uniform(5, 25, 900)
    seen, time = (time < end).astype(float), np.minimum(time, end)

    def log_joint(z, time, treated):
        scale = anp.exp(z.frailty[clinic] + z.beta * treated)
        prior = norm.logpdf(z.mu, 0, 3) + norm.logpdf(z.beta, 0, 1) + halfnorm.logpdf(z.tau, 0, 1)
        prior = prior + halfnorm.logpdf(z.shape, 0, 3) + anp.sum(norm.logpdf(z.frailty, z.mu, z.tau))
        density = weibull_min.logpdf(time, z.shape, scale=scale)
        return prior + anp.sum(seen * density - (1 - seen) * (time / scale) ** z.shape)

    latents = {
        "mu": bbvi.Real(),
        "beta": bbvi.Real(),
        "tau": bbvi.Positive(),
        "shape": bbvi.Positive(),
        "frailty": 150,
    }
    return bbvi.Model(log_joint, latents, {"time": time, "treated": treated})


def pharmacokinetics() -> bbvi.Model:
    """Concentrations in 40 subjects after an oral dose: one compartment, absorption, clearance and volume by subject.

    Absorption is faster than elimination by a positive amount: without that, the two can change places.
    """
    rng = np.random.default_rng(12)
    hours = np.array([0.5, 1.0, 2.0, 4.0, 6.0, 9.0, 12.0, 24.0])
    subject, hour = np.repeat(np.arange(40), 8), np.tile(hours, 40)
    centre, spread = np.array([0.3, 1.0, 3.0]), np.array([0.4, 0.3, 0.2])
    effects = centre + spread * rng.normal(size=(40, 3))

    def curve(xp, faster, clearance, volume):
        ke = clearance / volume
        ka = ke + faster
        return 100.0 * ka / (volume * faster) * (xp.exp(-ke * hour) - xp.exp(-ka * hour))

    y = curve(np, *np.exp(effects[subject]).T) * np.exp(rng.normal(0, 0.15, 320))

    def log_joint(z, y):
        effects = z.mu + z.tau * z.e
        faster, clearance, volume = (anp.exp(effects[subject, k]) for k in range(3))
        prior = anp.sum(norm.logpdf(z.mu, np.array([0.0, 1.0, 3.0]), 1.0)) + anp.sum(halfnorm.logpdf(z.tau, 0, 0.5))
        prior = prior + halfnorm.logpdf(z.sigma, 0, 0.5) + anp.sum(norm.logpdf(z.e))
        return prior + anp.sum(norm.logpdf(anp.log(y), anp.log(curve(anp, faster, clearance, volume)), z.sigma))

    latents = {"mu": 3, "tau": bbvi.Positive(shape=3), "sigma": bbvi.Positive(), "e": (40, 3)}
    return bbvi.Model(log_joint, latents, {"y": y})


MODELS = (
    varying_intercepts,
    item_response,
    logistic_hierarchy,
    overdispersed_counts,
    random_walk,
    volatility,
    spatial_counts,
    ordinal_groups,
    frailties,
    pharmacokinetics,
)
