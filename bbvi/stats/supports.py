"""Supports of densities and domains of their parameters, in words and as tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from bbvi.stats.categories import categories, ordered_categories
from bbvi.stats.continuous import STANDARDS
from bbvi.stats.correlations import correlation_factor
from bbvi.stats.discrete import MASSES
from bbvi.stats.location_scale import Standard, nonnegative, positive
from bbvi.stats.mass import Mass
from bbvi.stats.simplex import on_simplex, whole_and_adding_up

Test = Callable[..., Any]


class Domain(NamedTuple):
    """A parameter: its name, its position among the arguments, a test of its value, and the test in words."""

    name: str
    position: int
    test: Test
    words: str


class Support(NamedTuple):
    """
    Where a density's first argument may be.

    Attributes
    ----------
    words : str
        What is expected, such as ``"counts 0, 1, 2, ..."``.
    inside : callable
        Of all arguments, as plain arrays: a mask of the first argument's shape, broadcast, or without its last axis.
    needs : tuple of int
        Positions of further arguments that decide.
    parameters : tuple of Domain
    """

    words: str
    inside: Test
    needs: tuple[int, ...]
    parameters: tuple[Domain, ...]


_WHOLE = "a whole number of 0 or more"
_WORDS = {"p": "a probability from 0 to 1", "kappa": "0 or more", "mu": "0 or more"}


def _of_standard(arguments: str, standard: Standard) -> Support:
    names = arguments.split(", ") if arguments else []
    loc, scale = len(names) + 1, len(names) + 2
    domains = [
        Domain(name, i + 1, test, "0 or more" if test is nonnegative else "above 0" if test is positive else "finite")
        for i, (name, test) in enumerate(zip(names, standard.domains, strict=True))
    ]
    domains.append(Domain("scale", scale, positive, "above 0"))

    def inside(x: Any, *parameters: Any) -> Any:
        z = np.subtract(x, parameters[loc - 1])
        if standard.upper < np.inf:
            z = z / parameters[scale - 1]
        if standard.closed:
            return (z >= standard.lower) & (z <= standard.upper)
        return (z > standard.lower) & (z < standard.upper)

    if standard.lower == -np.inf:
        return Support("any number", inside, (), tuple(domains))
    if standard.upper == np.inf:
        words = "numbers of loc (0 by default) or more" if standard.closed else "numbers above loc (0 by default)"
        return Support(words, inside, (loc,), tuple(domains))
    return Support("numbers from loc to loc + scale (0 to 1 by default)", inside, (loc, scale), tuple(domains))


def _of_mass(arguments: str, mass: Mass) -> Support:
    names = arguments.split(", ")
    counts = tuple(i + 1 for i, formula in enumerate(mass.first) if formula is None)
    domains = [
        Domain(name, i + 1, domain.valid, _WHOLE if i + 1 in counts else _WORDS.get(name, "above 0"))
        for i, (name, domain) in enumerate(zip(names, mass.domains, strict=False))
        if domain is not None
    ]
    shifted, loc = names[-1] == "loc", len(names)

    def inside(k: Any, *parameters: Any) -> Any:
        moved = np.subtract(k, parameters[loc - 1]) if shifted else np.asarray(k)
        return mass.support(moved, *parameters[: len(mass.domains)])

    return Support(mass.words, inside, (*counts, loc) if shifted else counts, tuple(domains))


_OF_VECTORS = [f"multivariate_{name}.{way}" for name in ("normal", "t") for way in ("logpdf", "logpdf_cholesky")]
_VECTORS = Support("vectors of finite numbers", lambda x, *_: np.isfinite(x).all(axis=-1), (), ())

SUPPORTS: dict[str, Support] = {
    **{f"{name}.logpdf": _of_standard(*entry) for name, entry in STANDARDS.items()},
    **{name: _of_mass(*entry) for name, entry in MASSES.items()},
    **{name: _VECTORS for name in _OF_VECTORS},
    "beta.logpdf_mean": Support(
        "numbers from 0 to 1",
        lambda x, *_: (x >= 0) & (x <= 1),
        (),
        (
            Domain("mean", 1, lambda mean: (mean > 0) & (mean < 1), "between 0 and 1"),
            Domain("precision", 2, positive, "above 0"),
        ),
    ),
    "nbinom.logpmf_mean": Support(
        "counts 0, 1, 2, ...",
        lambda k, *_: (k >= 0) & (k == np.floor(k)),
        (),
        (Domain("mean", 1, nonnegative, "0 or more"), Domain("concentration", 2, positive, "above 0")),
    ),
    "dirichlet.logpdf": Support(
        "components of 0 or more that add up to 1 along the last axis",
        lambda x, alpha: on_simplex(np.asarray(x)),
        (),
        (Domain("alpha", 1, positive, "above 0"),),
    ),
    "multinomial.logpmf": Support(
        "whole numbers of 0 or more that add up to n along the last axis",
        lambda x, n, p: whole_and_adding_up(np.asarray(x), n),
        (1,),
        (Domain("p", 2, nonnegative, "probabilities from 0 to 1"),),
    ),
    "categorical.logpmf_logits": Support(
        "categories 0, 1, ..., K - 1 for K logits", lambda k, logits: categories(k, np.shape(logits)[-1]), (), ()
    ),
    "ordered_logistic.logpmf": Support(
        "categories 0, 1, ..., K for K cutpoints",
        lambda k, eta, cutpoints: ordered_categories(k, np.shape(cutpoints)[-1]),
        (),
        (),
    ),
    "lkj_cholesky.logpdf": Support(
        "Cholesky factors of correlation matrices, with rows of length one",
        lambda chol, eta: correlation_factor(np.asarray(chol)),
        (),
        (Domain("eta", 1, positive, "above 0"),),
    ),
}
