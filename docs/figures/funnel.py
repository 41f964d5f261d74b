"""A funnel of thirty groups, centred, whose posterior is known by integration: what a fit makes of it."""

from __future__ import annotations

from pathlib import Path

import autograd.numpy as np
from scipy.special import logsumexp
from scipy.stats import norm as exact_norm

import bbvi
from bbvi.stats import halfnorm, norm

GROUPS, NOISE, SPREAD = 30, 1.0, 0.3


def log_joint(z, y):
    """Centred groups: the spread ``tau`` steers the widths of all ``theta``."""
    prior = norm.logpdf(z.mu, 0, 5) + halfnorm.logpdf(z.tau)
    return prior + np.sum(norm.logpdf(z.theta, z.mu, z.tau)) + np.sum(norm.logpdf(y, z.theta, NOISE))


def exact(y):
    """Mean and sd of ``tau``, with ``theta`` and ``mu`` integrated out and a fine grid for the rest."""
    tau = np.linspace(1e-4, 4, 40_001)
    variance = tau**2 + NOISE**2
    precision = len(y) / variance + 1 / 25
    centre = np.sum(y) / variance / precision
    # Normal likelihood of the group means, times the prior of mu, integrated over mu.
    log_density = (
        exact_norm.logpdf(y[:, None], centre, np.sqrt(variance)).sum(axis=0)
        + exact_norm.logpdf(centre, 0, 5)
        - 0.5 * np.log(precision)
        - 0.5 * tau**2
    )
    weight = np.exp(log_density - logsumexp(log_density))
    mean = np.sum(weight * tau)
    return mean, np.sqrt(np.sum(weight * (tau - mean) ** 2))


def make(out: Path) -> None:
    """Write ``funnel.md``."""
    rng = np.random.default_rng(1)
    y = rng.normal(rng.normal(0, SPREAD, GROUPS), NOISE)
    latents = {"mu": bbvi.Real(), "tau": bbvi.Positive(), "theta": GROUPS}
    fit = bbvi.fit(bbvi.Model(log_joint, latents=latents, data={"y": y}), seed=1)
    mean, sd = exact(y)
    row = fit.summary().loc["tau"]
    off, scale = abs(row["mean"] - mean) / sd, row["sd"] / sd - 1
    text = (
        f"For example {GROUPS} groups with little data, in the centred form: the verdict is `\"{fit.verdict}\"`, and"
        f" the mean of the groups' spread is off by {off:.2f} sd, its sd by {100 * scale:+.0f} %.\n"
    )
    (out / "funnel.md").write_text(text, encoding="utf-8")
