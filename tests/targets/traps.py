"""Posteriors with several modes, which are made to mislead: unequal widths, spikes, symmetries, lattices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import autograd.numpy as anp
import numpy as np

import bbvi
from bbvi.stats import logsumexp, norm

from .known import Array, Case, moments_of, quadrature


def cases() -> Iterator[Case]:
    """Eighty-six of them."""
    yield from unequal()
    yield from spikes()
    yield from halos()
    yield from _equal()
    yield from _labels()
    yield from _signs()
    yield from _lattices()


def unequal(count: int = 36) -> Iterator[Case]:
    """Two modes of unequal width, the two that were reliable and wrong first; then a family of them.

    Widths 1 to 20, shares 5 to 50 %, distances 3 to 10 sds of the broad mode, 2 to 8 latents, in random directions.
    """
    for at, share in [(3.0, 0.5), (2.5, 0.3)]:
        means = np.array([np.full(3, -at), np.full(3, at)])
        yield _mixture(f"modes at -{at} and {at}, {share:.0%} in the narrow one", [1 - share, share], means, [1, 0.3])
    rng = np.random.default_rng(9)
    ratios, shares, distances, dims = (1, 2, 3, 5, 10, 20), (0.05, 0.1, 0.2, 0.3, 0.5), (3, 4.5, 6, 8, 10), (2, 3, 5, 8)
    for i in range(count):
        # Every ratio meets every share once in thirty; the others go through their values at paces of their own.
        ratio, share = ratios[i % 6], shares[i % 5]
        distance, dim = distances[(2 * i + i // 5) % 5], dims[(i // 3) % 4]
        direction = rng.standard_normal(dim)
        middle = rng.uniform(-1, 1, dim)
        means = middle + np.outer([-0.5, 0.5], distance * direction / np.linalg.norm(direction))
        name = f"width 1/{ratio}, share {share:.0%}, distance {distance:g}, of {dim}"
        yield _mixture(name, [1 - share, share], means, [1, 1 / ratio])


def spikes() -> Iterator[Case]:
    """Narrow modes in the flank of a broad one: 30 % of the mass, 20 times narrower, and some like it."""
    for dim in (1, 2, 3, 4, 6, 8):
        yield _spike(dim, 0.3, 20.0, 1.5)
    for dim, share, ratio, away in [(2, 0.3, 20.0, 0.0), (3, 0.5, 20.0, 2.5), (2, 0.1, 50.0, 1.0), (5, 0.2, 10.0, 3.0)]:
        yield _spike(dim, share, ratio, away)


def halos() -> Iterator[Case]:
    """A broad part around a narrow one, with no valley between: among many latents it lies where no draw goes."""
    for dim, share, times in [
        (3, 0.3, 5), (5, 0.05, 10), (5, 0.3, 10), (10, 0.3, 5), (10, 0.05, 10), (20, 0.3, 3), (20, 0.05, 5),
        (20, 0.3, 5), (40, 0.3, 3), (40, 0.1, 10), (100, 0.3, 3), (100, 0.05, 6),
    ]:  # fmt: skip
        name = f"halo of {share:.0%}, {times} times as wide, of {dim}"
        middle = np.random.default_rng(dim).uniform(-1, 1, dim)
        yield _mixture(name, [1 - share, share], np.array([middle, middle]), [1, times], "halos")


def _spike(dim: int, share: float, ratio: float, away: float) -> Case:
    rng = np.random.default_rng(dim)
    direction = rng.standard_normal(dim)
    broad = rng.uniform(-1, 1, dim)
    means = np.array([broad, broad + away * direction / np.linalg.norm(direction)])
    name = f"spike of {share:.0%}, 1/{ratio:g} as wide, {away} away, of {dim}"
    return _mixture(name, [1 - share, share], means, [1, 1 / ratio], "spikes")


def _equal() -> Iterator[Case]:
    """Two and three modes of one width."""
    for dim, distance, share in [(1, 4.0, 0.5), (2, 6.0, 0.3), (3, 9.0, 0.1), (5, 12.0, 0.5), (20, 8.0, 0.4)]:
        means = np.outer([-0.5, 0.5], np.full(dim, distance / np.sqrt(dim)))
        name = f"{share:.0%} at a distance of {distance:g}, of {dim}"
        yield _mixture(name, [1 - share, share], means, [1, 1], "modes of one width")
    corners = np.array([[0.0, 0.0], [5.0, 0.0], [0.0, 7.0]])
    yield _mixture("three corners", [0.5, 0.3, 0.2], corners, [1, 1, 0.5], "modes of one width")
    ring = 6 * np.column_stack([np.cos(np.arange(6)), np.sin(np.arange(6))])
    yield _mixture("six on a ring", [1 / 6] * 6, ring, [1] * 6, "modes of one width")
    yield _mixture(
        "a wide one behind", [0.4, 0.6], np.array([[0.0, 0, 0], [9.0, 0, 0]]), [0.5, 4], "modes of one width"
    )


def _mixture(
    name: str, shares: Sequence[float], means: Array, sds: Sequence[float], family: str = "modes of unequal width"
) -> Case:
    """Spherical normal components: means (K, D), sds (K,)."""
    dim = means.shape[1]
    w, sd = np.array(shares), np.array(sds, dtype=float)[:, None]
    log_w = np.log(w)

    def log_joint(z):
        return logsumexp(log_w + anp.sum(norm.logpdf(z, means, sd), axis=1))

    mean = w @ means
    exact = moments_of("z", mean, np.sqrt(w @ (sd**2 + (means - mean) ** 2)))
    ratio = max(sds) / min(sds) if len(sds) == 2 else np.nan
    return Case(name, family, lambda: bbvi.Model(log_joint, dim), lambda: exact, easy=False, ratio=ratio)


def _labels() -> Iterator[Case]:
    """Two components of a mixture of data, exchangeable: the means of both are their average."""
    for apart, n, seed in [(4.0, 30, 0), (3.0, 60, 1), (8.0, 12, 2), (2.5, 25, 3)]:
        rng = np.random.default_rng(seed)
        y = np.concatenate([rng.normal(-apart / 2, 1, n // 2), rng.normal(apart / 2, 1, n - n // 2)])

        def log_joint(z, y):
            terms = norm.logpdf(y[:, None], z.mu, 1) + anp.log(0.5)
            return anp.sum(norm.logpdf(z.mu, 0, 5)) + anp.sum(logsumexp(terms, axis=1))

        def model(log_joint=log_joint, y=y):
            return bbvi.Model(log_joint, {"mu": 2}, {"y": y})

        name = f"two labels, {apart:g} apart, {n} data"
        yield Case(name, "symmetries", model, lambda model=model: quadrature(model()), "quadrature", easy=False)


def _signs() -> Iterator[Case]:
    """What is seen does not change with the signs of latents."""

    def product(z, y):
        return norm.logpdf(z.a) + norm.logpdf(z.b) + anp.sum(norm.logpdf(y, z.a * z.b, 0.3))

    def square(z, y):
        return norm.logpdf(z.a, 0, 3) + anp.sum(norm.logpdf(y, z.a**2, 0.5))

    def distance(z, y):
        return norm.logpdf(z.a, 1, 2) + norm.logpdf(z.b, 0, 2) + anp.sum(norm.logpdf(y, anp.sqrt(z.a**2 + z.b**2), 0.1))

    for name, log_joint, latents, y in [
        ("a product of two", product, ("a", "b"), [1.1, 0.8, 1.2]),
        ("a square", square, ("a",), [3.8, 4.3]),
        ("a square near zero", square, ("a",), [0.1]),
        ("a distance, so that the posterior is a ring", distance, ("a", "b"), [2.0, 2.1]),
    ]:

        def model(log_joint=log_joint, latents=latents, y=y):
            return bbvi.Model(log_joint, {latent: bbvi.Real() for latent in latents}, {"y": y})

        yield Case(name, "symmetries", model, lambda model=model: quadrature(model()), "quadrature", easy=False)


def _lattices() -> Iterator[Case]:
    """Latents that have two modes each: 2^D of them."""
    for dim, share, narrow in [(2, 0.4, 0.3), (3, 0.5, 1.0), (4, 0.3, 0.1), (6, 0.4, 0.5), (12, 0.4, 0.05)]:

        def log_joint(z, share=share, narrow=narrow):
            low = anp.log(1 - share) + norm.logpdf(z, -1.5, 0.5)
            return anp.sum(anp.logaddexp(low, anp.log(share) + norm.logpdf(z, 1.5, 0.5 * narrow)))

        mean = 1.5 * (2 * share - 1)
        variance = (1 - share) * 0.25 + share * 0.25 * narrow**2 + 2.25 - mean**2
        exact = moments_of("z", np.full(dim, mean), np.sqrt(variance))
        name = f"2^{dim} modes, {share:.0%} of each in one {narrow:g} as wide"
        yield Case(name, "lattices", lambda f=log_joint, d=dim: bbvi.Model(f, d), lambda e=exact: e, easy=False)
