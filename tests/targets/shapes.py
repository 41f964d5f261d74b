"""Densities of many shapes: skewed, heavy-tailed, bent, funnels, and on bounded supports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import autograd.numpy as anp
import numpy as np
from scipy import special

import bbvi
from bbvi.stats import beta, dirichlet, gamma, laplace, lkj_cholesky, logistic, lognorm, norm, skewnorm, t

from .known import Case, Moments, moments_of, quadrature


def cases() -> Iterator[Case]:
    """Fifty of them."""
    yield from _skewed()
    yield from _heavy()
    for curvature in (0.05, 0.2, 0.5, 1.0):
        yield _banana(curvature, 1)
    yield _banana(0.3, 4)
    yield _banana(0.1, 12)
    for spread, necks in [(0.5, 3), (1.0, 1), (1.0, 8), (1.5, 4), (3.0, 2), (3.0, 9)]:
        yield _funnel(spread, necks)
    yield from _bounded()


def _by_quadrature(name: str, family: str, log_joint: Callable[[Any], Any], latents: Any) -> Case:
    def model() -> bbvi.Model:
        return bbvi.Model(log_joint, latents)

    return Case(name, family, model, lambda: quadrature(model()), "quadrature")


def _closed(
    name: str, family: str, log_joint: Callable[[Any], Any], latents: Any, exact: Moments, easy: bool = True
) -> Case:
    return Case(name, family, lambda: bbvi.Model(log_joint, latents), lambda: exact, easy=easy)


def _skewed() -> Iterator[Case]:
    family = "skewed"
    for shape in (1.0, 4.0, 15.0):
        yield _by_quadrature(f"skew-normal {shape:g}", family, lambda z, shape=shape: skewnorm.logpdf(z[0], shape), 1)
    yield _by_quadrature("Gumbel", family, lambda z: -z[0] - anp.exp(-z[0]), 1)
    for shape in (0.5, 1.0, 3.0, 20.0):
        exact = moments_of("x", shape, np.sqrt(shape))
        yield _closed(
            f"gamma {shape:g}", family, lambda z, a=shape: gamma.logpdf(z.x, a), {"x": bbvi.Positive()}, exact
        )
    for sd in (0.3, 1.0):
        mean = np.exp(sd**2 / 2)
        exact = moments_of("x", mean, mean * np.sqrt(np.expm1(sd**2)))
        yield _closed(
            f"lognormal {sd:g}", family, lambda z, s=sd: lognorm.logpdf(z.x, s), {"x": bbvi.Positive()}, exact
        )
    yield _by_quadrature("asymmetric Laplace", family, lambda z: -anp.logaddexp(1.5 * (z[0] - 1), -3 * (z[0] - 1)), 1)
    yield _by_quadrature(
        "skewed and correlated", family, lambda z: skewnorm.logpdf(z[0], 5) + skewnorm.logpdf(z[1] - z[0], -3), 2
    )
    yield _by_quadrature(
        "ridge of two rates", family, lambda z: -anp.exp(z[0] + z[1]) + 3 * (z[0] + z[1]) + norm.logpdf(z[0] - z[1]), 2
    )


def _heavy() -> Iterator[Case]:
    family = "heavy tails"
    for df in (3.0, 5.0, 10.0):
        exact = moments_of("z", np.ones(1), np.sqrt(df / (df - 2)))
        yield _closed(f"Student-t {df:g}", family, lambda z, df=df: t.logpdf(z[0], df, 1), 1, exact)
    for df, dim in [(4.0, 2), (8.0, 5), (30.0, 20)]:
        exact = moments_of("z", np.zeros(dim), np.sqrt(df / (df - 2)))
        joint = lambda z, df=df, dim=dim: -0.5 * (df + dim) * anp.log1p(anp.sum(z**2) / df)  # noqa: E731
        yield _closed(f"Student-t {df:g} of {dim}", family, joint, dim, exact)
    exact = moments_of("z", np.zeros(3), np.sqrt(6 / 4))
    yield _closed("three Student-t 6", family, lambda z: anp.sum(t.logpdf(z, 6)), 3, exact)
    exact = moments_of("z", np.zeros(1), np.pi / np.sqrt(3))
    yield _closed("logistic", family, lambda z: logistic.logpdf(z[0]), 1, exact)
    yield _closed("Laplace", family, lambda z: laplace.logpdf(z[0]), 1, moments_of("z", np.zeros(1), np.sqrt(2)))
    quartic = np.sqrt(special.gamma(0.75) / special.gamma(0.25))
    yield _closed("quartic", "light tails", lambda z: -(z[0] ** 4), 1, moments_of("z", np.zeros(1), quartic))
    yield _by_quadrature(
        "quartic in a corner", "light tails", lambda z: -((z[0] + z[1]) ** 4) - 0.1 * (z[0] - z[1]) ** 2, 2
    )
    exact = moments_of("z", np.zeros(2), np.sqrt(0.9 * 0.5**2 + 0.1 * 3.0**2))
    contaminated = lambda z: anp.logaddexp(  # noqa: E731
        anp.log(0.9) + anp.sum(norm.logpdf(z, 0, 0.5)), anp.log(0.1) + anp.sum(norm.logpdf(z, 0, 3))
    )
    yield _closed("contaminated normal", family, contaminated, 2, exact)


def _banana(curvature: float, others: int) -> Case:
    """A normal latent whose square bends the others."""

    def log_joint(z):
        return norm.logpdf(z.x, 0, 2) + anp.sum(norm.logpdf(z.y, curvature * z.x**2, 1))

    exact = moments_of("x", 0, 2) | moments_of("y", np.full(others, 4 * curvature), np.sqrt(1 + 32 * curvature**2))
    name = f"banana, curvature {curvature}, of {1 + others}"
    return _closed(name, "bananas", log_joint, {"x": bbvi.Real(), "y": others}, exact)


def _funnel(spread: float, necks: int) -> Case:
    """A latent that sets the widths of others; of spread 3, Neal's, which is made to mislead."""

    def log_joint(z):
        return norm.logpdf(z.v, 0, spread) + anp.sum(norm.logpdf(z.x, 0, anp.exp(z.v / 2)))

    exact = moments_of("v", 0, spread) | moments_of("x", np.zeros(necks), np.exp(spread**2 / 4))
    latents = {"v": bbvi.Real(), "x": necks}
    return _closed(f"funnel, spread {spread}, of {1 + necks}", "funnels", log_joint, latents, exact, spread < 3)


def _bounded() -> Iterator[Case]:
    family = "bounded"
    for a, b in [(0.5, 0.5), (1.0, 1.0), (0.3, 4.0), (30.0, 2.0)]:
        exact = moments_of("p", a / (a + b), np.sqrt(a * b / (a + b + 1)) / (a + b))
        joint = lambda z, a=a, b=b: beta.logpdf(z.p, a, b)  # noqa: E731
        yield _closed(f"beta {a:g}, {b:g}", family, joint, {"p": bbvi.Interval(0, 1)}, exact)
    for low, high in [(0.5, np.inf), (-1.0, 2.0), (3.0, np.inf)]:
        latents = {"x": bbvi.Interval(low, high)}
        yield _by_quadrature(f"normal from {low} to {high}", family, lambda z: norm.logpdf(z.x), latents)
    # A uniform density is constant on the scale of the user.
    exact = moments_of("x", np.full(3, 3.0), 4 / np.sqrt(12))
    yield _closed("cube", family, lambda z: 0.0 * anp.sum(z.x), {"x": bbvi.Interval(1, 5, shape=3)}, exact)
    yield _by_quadrature("two ordered", family, lambda z: anp.sum(norm.logpdf(z.x)), {"x": bbvi.Ordered(shape=2)})
    for alpha in ([1.0, 1.0, 1.0], [0.4, 0.4, 3.0], [20.0, 5.0, 1.0, 1.0]):
        a = np.array(alpha)
        mean = a / a.sum()
        exact = moments_of("s", mean, np.sqrt(mean * (1 - mean) / (a.sum() + 1)))
        joint = lambda z, a=a: dirichlet.logpdf(z.s, a)  # noqa: E731
        yield _closed(f"Dirichlet {alpha}", family, joint, {"s": bbvi.Simplex(shape=len(a))}, exact)
    for concentration in (1.0, 3.0):
        yield _correlation(concentration)


def _correlation(concentration: float) -> Case:
    """The correlation of an LKJ density of two is a beta, stretched to -1 to 1."""
    sd = 1 / np.sqrt(2 * concentration + 1)
    # E sqrt(1 - rho^2) of a symmetric beta, by its normalising constants.
    second = np.exp(
        special.betaln(concentration + 0.5, concentration + 0.5) - special.betaln(concentration, concentration)
    )
    exact = {
        "L[0, 0]": (1.0, 0.0),
        "L[0, 1]": (0.0, 0.0),
        "L[1, 0]": (0.0, float(sd)),
        "L[1, 1]": (float(2 * second), float(np.sqrt(1 - sd**2 - 4 * second**2))),
    }
    joint = lambda z: lkj_cholesky.logpdf(z.L, concentration)  # noqa: E731
    return _closed(f"LKJ {concentration:g}", "bounded", joint, {"L": bbvi.CholeskyCorrelation(shape=2)}, exact)
