"""Hierarchies of 4 to 400 groups, centred and not, by quadrature over their scales."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import autograd.numpy as anp
import numpy as np
from scipy import special, stats

import bbvi
from bbvi.stats import binom, halfcauchy, halfnorm, norm, poisson

from .known import Array, Case, Moments, mixed, moments_of


def cases() -> Iterator[Case]:
    """Forty-one of them."""
    for groups, tau, seed in [
        (4, 0.2, 0),
        (5, 2.0, 1),
        (8, 0.5, 2),
        (8, 1.5, 3),
        (15, 0.1, 4),
        (20, 1.0, 5),
        (40, 0.4, 6),
    ]:
        for centred in (False, True):
            yield _known_noise(groups, tau, seed, centred)
    for groups, size, tau, seed in [
        (4, 6, 1.0, 7),
        (6, 5, 0.3, 8),
        (10, 10, 1.0, 9),
        (12, 3, 0.6, 10),
        (30, 4, 0.8, 11),
    ]:
        for centred in (False, True):
            yield _unknown_noise(np.full(groups, size), tau, seed, centred)
    for groups, tau, seed in [(60, 0.5, 12), (150, 0.3, 13), (400, 0.5, 14)]:
        yield _known_noise(groups, tau, seed, centred=False)
    yield _known_noise(200, 1.0, 15, centred=True)
    for groups, most, tau, centred, seed in [
        (60, 7, 0.4, True, 16),
        (100, 7, 0.2, False, 17),
        (200, 7, 0.3, False, 18),
    ]:
        yield _unknown_noise(np.random.default_rng(seed).integers(1, most + 1, groups), tau, seed, centred)
    for groups, tau, seed in [(10, 0.6, 19), (40, 0.3, 20), (120, 0.5, 21)]:
        yield _proportions(groups, tau, seed)
    for groups, tau, seed in [(12, 0.5, 22), (50, 0.2, 23), (100, 0.6, 24)]:
        yield _rates(groups, tau, seed)
    for people, items, seed in [(30, 8, 25), (100, 12, 26), (200, 6, 27)]:
        yield _responses(people, items, seed)


# ---- normal ---------------------------------------------------------------------------------------------------------


def _known_noise(groups: int, tau: float, seed: int, centred: bool) -> Case:
    """As eight schools: a mean for each group, with its standard error."""
    rng = np.random.default_rng(seed)
    se = rng.uniform(0.4, 1.6, groups)
    y = 2 + tau * rng.standard_normal(groups) + se * rng.standard_normal(groups)

    def joint_centred(z, y, se):
        prior = norm.logpdf(z.mu, 0, 5) + halfcauchy.logpdf(z.tau, 0, 1) + anp.sum(norm.logpdf(z.theta, z.mu, z.tau))
        return prior + anp.sum(norm.logpdf(y, z.theta, se))

    def joint(z, y, se):
        prior = norm.logpdf(z.mu, 0, 5) + halfcauchy.logpdf(z.tau, 0, 1) + anp.sum(norm.logpdf(z.eta))
        return prior + anp.sum(norm.logpdf(y, z.mu + z.tau * z.eta, se))

    def exact() -> Moments:
        def log_prior(log_tau: Array, _: Array) -> Array:
            return np.asarray(stats.halfcauchy.logpdf(np.exp(log_tau), 0, 1) + log_tau)

        return _normal_hierarchy(y, lambda log_sigma: np.broadcast_to(se**2, (len(log_sigma), groups)), log_prior, None)

    return _case(f"{groups} groups, tau {tau}", joint_centred if centred else joint, {"y": y, "se": se}, exact, centred)


def _unknown_noise(sizes: Array, tau: float, seed: int, centred: bool) -> Case:
    """Observations in groups of the sizes given, with a noise that all share."""
    rng = np.random.default_rng(seed)
    groups = len(sizes)
    group = np.repeat(np.arange(groups), sizes)
    y = 1 + tau * rng.standard_normal(groups)[group] + rng.standard_normal(len(group))

    def joint_centred(z, y, group):
        scales = halfcauchy.logpdf(z.tau, 0, 1) + halfnorm.logpdf(z.sigma, 0, 2)
        prior = norm.logpdf(z.mu, 0, 5) + scales + anp.sum(norm.logpdf(z.theta, z.mu, z.tau))
        return prior + anp.sum(norm.logpdf(y, z.theta[group], z.sigma))

    def joint(z, y, group):
        scales = halfcauchy.logpdf(z.tau, 0, 1) + halfnorm.logpdf(z.sigma, 0, 2)
        prior = norm.logpdf(z.mu, 0, 5) + scales + anp.sum(norm.logpdf(z.eta))
        return prior + anp.sum(norm.logpdf(y, (z.mu + z.tau * z.eta)[group], z.sigma))

    def exact() -> Moments:
        means = np.bincount(group, y) / sizes
        within = np.sum((y - means[group]) ** 2)

        def log_prior(log_tau: Array, log_sigma: Array) -> Array:
            scales = stats.halfcauchy.logpdf(np.exp(log_tau)) + stats.halfnorm.logpdf(np.exp(log_sigma), 0, 2)
            likelihood = -(len(y) - groups) * log_sigma - 0.5 * within * np.exp(-2 * log_sigma)
            return np.asarray(scales + likelihood + log_tau + log_sigma)

        return _normal_hierarchy(means, lambda log_sigma: np.exp(2 * log_sigma)[:, None] / sizes, log_prior, (-3, 3))

    name = f"{groups} groups of {sizes.min()} to {sizes.max()}, tau {tau}"
    latents = {"sigma": bbvi.Positive()}
    return _case(name, joint_centred if centred else joint, {"y": y, "group": group}, exact, centred, latents)


def _case(
    name: str,
    log_joint: Callable[..., object],
    data: dict[str, Array],
    exact: Callable[[], Moments],
    centred: bool,
    latents: dict[str, bbvi.Positive] | None = None,
) -> Case:
    groups = len(next(iter(data.values()))) if latents is None else int(data["group"].max()) + 1
    all_latents = {"mu": bbvi.Real(), "tau": bbvi.Positive(), **(latents or {}), "theta" if centred else "eta": groups}
    derived = None if centred else lambda z: {"theta": z.mu + z.tau * z.eta}

    def known() -> Moments:
        rows = exact()
        left_out = "eta[" if centred else "\0"
        return {row: value for row, value in rows.items() if not row.startswith(left_out)}

    def model() -> bbvi.Model:
        return bbvi.Model(log_joint, all_latents, data, derived=derived)

    kind = "centred" if centred else "non-centred"
    family = f"normal hierarchy, {kind}" if groups < 60 else "large hierarchy"
    return Case(f"{name}, {kind}", family, model, known, "quadrature")


def _normal_hierarchy(
    y: Array,
    variances: Callable[[Array], Array],
    log_prior: Callable[[Array, Array], Array],
    log_sigma: tuple[float, float] | None,
) -> Moments:
    """mu ~ N(0, 25), theta_j ~ N(mu, tau^2), y_j ~ N(theta_j, v_j): given the scales, all is normal.

    `variances` gives v (G, J) at log sigma (G,), `log_prior` the log density (G,) of the logarithms of the scales with
    what the data say of sigma alone.
    """

    def density(log_tau: Array, log_sigma: Array) -> tuple[Array, Array, Array, Array, Array]:
        tau2, v = np.exp(2 * log_tau)[:, None], variances(log_sigma)
        total = tau2 + v
        precision = 1 / 25 + (1 / total).sum(axis=1)
        mean = (y / total).sum(axis=1) / precision
        log_p = -0.5 * np.log(total).sum(axis=1) - 0.5 * (y**2 / total).sum(axis=1)
        log_p += 0.5 * precision * mean**2 - 0.5 * np.log(precision) + log_prior(log_tau, log_sigma)
        return log_p, mean, 1 / precision, tau2, v

    box = [(-14.0, 6.0), log_sigma or (0.0, 0.0)]
    log_tau, log_sigma_ = _refined(lambda t, s: density(t, s)[0], box, (900, 1) if log_sigma is None else (240, 100))
    log_p, mean, variance, tau2, v = density(log_tau, log_sigma_)
    total, m, s = tau2 + v, mean[:, None], variance[:, None]
    means = {
        "mu": mean,
        "tau": np.exp(log_tau),
        "theta": (y * tau2 + m * v) / total,
        "eta": np.sqrt(tau2) * (y - m) / total,
    }
    spread = {
        "mu": variance,
        "tau": np.zeros_like(log_tau),
        "theta": tau2 * v / total + (v / total) ** 2 * s,
        "eta": v / total + tau2 * s / total**2,
    }
    if log_sigma is not None:
        means["sigma"], spread["sigma"] = np.exp(log_sigma_), np.zeros_like(log_sigma_)
    return mixed(log_p, means, spread)


def _refined(
    density: Callable[[Array, Array], Array], box: list[tuple[float, float]], sizes: tuple[int, int]
) -> tuple[Array, Array]:
    """A grid, flat, of the part of a box within 32 nats of the top."""
    coarse = (160, 1 if box[1][0] == box[1][1] else 60)
    for size in (coarse, coarse, coarse, sizes):
        a, b = (np.linspace(low, high, n) for (low, high), n in zip(box, size, strict=True))
        first, second = (x.ravel() for x in np.meshgrid(a, b, indexing="ij"))
        if size is sizes:
            return first, second
        parts = zip(np.array_split(first, 20), np.array_split(second, 20), strict=True)
        values = np.concatenate([density(*part) for part in parts])
        inside = values > values.max() - 32
        steps = [(high - low) / max(n - 1, 1) for (low, high), n in zip(box, size, strict=True)]
        box = [(x[inside].min() - step, x[inside].max() + step) for x, step in zip((first, second), steps, strict=True)]
    raise AssertionError("the last grid returns")


# ---- counts ---------------------------------------------------------------------------------------------------------


def _proportions(groups: int, tau: float, seed: int) -> Case:
    rng = np.random.default_rng(seed)
    n = rng.integers(4, 40, groups)
    k = rng.binomial(n, special.expit(-1 + tau * rng.standard_normal(groups)))

    def log_joint(z, k, n):
        prior = norm.logpdf(z.mu, 0, 1.5) + halfnorm.logpdf(z.tau, 0, 1) + anp.sum(norm.logpdf(z.eta))
        return prior + anp.sum(binom.logpmf_logits(k, n, z.mu + z.tau * z.eta))

    def log_likelihood(theta: Array, k: Array, n: Array) -> Array:
        return k * theta - n * np.logaddexp(0, theta)

    return _counted(f"proportions of {groups} groups", log_joint, {"k": k, "n": n}, log_likelihood)


def _rates(groups: int, tau: float, seed: int) -> Case:
    rng = np.random.default_rng(seed)
    exposure = np.round(rng.uniform(0.5, 8, groups), 1)
    y = rng.poisson(exposure * np.exp(0.5 + tau * rng.standard_normal(groups)))

    def log_joint(z, y, exposure):
        prior = norm.logpdf(z.mu, 0, 1.5) + halfnorm.logpdf(z.tau, 0, 1) + anp.sum(norm.logpdf(z.eta))
        return prior + anp.sum(poisson.logpmf(y, exposure * anp.exp(z.mu + z.tau * z.eta)))

    def log_likelihood(theta: Array, y: Array, exposure: Array) -> Array:
        return y * theta - exposure * np.exp(theta)

    return _counted(f"rates of {groups} groups", log_joint, {"y": y, "exposure": exposure}, log_likelihood)


def _responses(people: int, items: int, seed: int) -> Case:
    """Answers of people to items of known difficulty: of each, the number of right ones says all."""
    rng = np.random.default_rng(seed)
    difficulty = np.linspace(-1.5, 1.5, items)
    ability = 0.4 + 0.9 * rng.standard_normal(people)
    answers = (rng.random((people, items)) < special.expit(ability[:, None] - difficulty)).astype(float)

    def log_joint(z, answers, difficulty):
        prior = norm.logpdf(z.mu, 0, 1.5) + halfnorm.logpdf(z.tau, 0, 1) + anp.sum(norm.logpdf(z.eta))
        logits = (z.mu + z.tau * z.eta)[:, None] - difficulty
        return prior + anp.sum(anp.where(answers > 0, -anp.logaddexp(0, -logits), -anp.logaddexp(0, logits)))

    def log_likelihood(theta: Array, right: Array) -> Array:
        wrong = sum(np.logaddexp(0, theta - b) for b in difficulty)
        return np.asarray(right * theta - wrong)

    name = f"answers of {people} to {items} items"
    return _counted(
        name, log_joint, {"answers": answers, "difficulty": difficulty}, log_likelihood, answers.sum(axis=1)
    )


def _counted(
    name: str,
    log_joint: Callable[..., object],
    data: dict[str, Array],
    log_likelihood: Callable[..., Array],
    *statistics: Array,
) -> Case:
    """theta_j = mu + tau eta_j with a likelihood that factorises over groups: nested quadrature.

    `statistics` are what the likelihood of a group depends on, the data unless given.
    """
    statistics = statistics or tuple(data.values())
    groups = len(statistics[0])
    # Groups with the same data have the same posterior.
    kinds, which = np.unique(np.column_stack(statistics), axis=0, return_inverse=True)
    counts = np.bincount(which.ravel())
    eta = np.linspace(-8, 8, 161)
    log_eta = stats.norm.logpdf(eta)

    def inner(mu: Array, log_tau: Array) -> tuple[Array, Array]:
        """Log likelihood (G,), and moments 1 and 2 of eta (2, G, K), on a grid (G,) of mu and log tau."""
        theta = (mu[:, None] + np.exp(log_tau)[:, None] * eta)[:, None, :]
        log_p = log_likelihood(theta, *(kinds[:, None, i] for i in range(kinds.shape[1]))) + log_eta
        top = log_p.max(axis=2, keepdims=True)
        p = np.exp(log_p - top)
        total = p.sum(axis=2)
        return (np.log(total) + top[..., 0]) @ counts, np.stack([p @ eta, p @ eta**2]) / total

    def log_density(mu: Array, log_tau: Array) -> Array:
        prior = stats.norm.logpdf(mu, 0, 1.5) + stats.halfnorm.logpdf(np.exp(log_tau)) + log_tau
        return np.asarray(inner(mu, log_tau)[0] + prior)

    def exact() -> Moments:
        mu, log_tau = _refined(log_density, [(-4.0, 4.0), (-12.0, 2.0)], (50, 70))
        parts = list(zip(np.array_split(mu, 50), np.array_split(log_tau, 50), strict=True))
        log_p = np.concatenate([log_density(*part) for part in parts])
        first, second = np.concatenate([inner(*part)[1] for part in parts], axis=1)
        zero = np.zeros_like(mu)
        rows = mixed(log_p, {"mu": mu, "tau": np.exp(log_tau)}, {"mu": zero, "tau": zero})
        w = np.exp(log_p - log_p.max())
        w /= w.sum()
        mean = w @ first
        return rows | moments_of("eta", mean[which.ravel()], np.sqrt(w @ second - mean**2)[which.ravel()])

    def model() -> bbvi.Model:
        return bbvi.Model(log_joint, {"mu": bbvi.Real(), "tau": bbvi.Positive(), "eta": groups}, data)

    family = "hierarchy of counts" if groups < 60 else "large hierarchy"
    return Case(name, family, model, exact, "quadrature")
