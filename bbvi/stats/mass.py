"""Makes primitives of log masses from a value, its derivatives in the parameters, support and domains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from autograd.tracer import getval

from bbvi.stats.primitives import Function, as_one, elementwise
from bbvi.stats.special import select

# Where a derivative is evaluated instead of at the edge of a domain.
_EDGE = 1e-100


class Domain(NamedTuple):
    """Where a parameter is valid, the range in which derivatives are finite, and a harmless value in it.

    Of an interval, the smallest and the largest value tell of all others.
    """

    valid: Function
    low: float = -np.inf
    high: float = np.inf
    safe: float = 1.0
    interval: bool = True

    def all_valid(self, p: Any) -> bool:
        """Whether all of p are; quickly, and False where only each of them can tell."""
        if not self.interval or not np.size(p):
            return bool(np.all(self.valid(p)))
        return bool(self.valid(np.min(p)) and self.valid(np.max(p)))

    def all_within(self, p: Any) -> bool:
        """Whether all of p are valid, and in the range in which derivatives are finite."""
        if not self.all_valid(p):
            return False
        if self.low == -np.inf or not np.size(p):
            return True
        return bool(np.min(p) >= self.low and np.max(p) <= self.high)


PROBABILITY = Domain(lambda p: np.greater_equal(p, 0) & np.less_equal(p, 1), _EDGE, 1 - 2.0**-53, 0.5)
POSITIVE_PROBABILITY = PROBABILITY._replace(valid=lambda p: np.greater(p, 0) & np.less_equal(p, 1))
POSITIVE = Domain(lambda a: np.greater(a, 0))
RATE = Domain(lambda a: np.greater_equal(a, 0), _EDGE)
COUNT = Domain(lambda n: np.greater_equal(n, 0) & np.equal(n, np.floor(n)), interval=False)
REAL = None


class Mass(NamedTuple):
    """
    A log mass of a count k and parameters.

    ``first[i]`` is the NumPy derivative in parameter i (None: a count, which has none) and ``second[i, j]``,
    i <= j, a formula that autograd can differentiate. ``support(k, *parameters)`` tells where the mass is
    positive, and ``k`` is a count in it for any parameters, to be put in the place of others.
    ``words`` says what counts are expected.
    """

    value: Function
    first: Sequence[Function | None]
    second: dict[tuple[int, int], Function]
    domains: Sequence[Domain | None]
    support: Function
    k: float = 0.0
    words: str = "counts 0, 1, 2, ..."


def _valid(mass: Mass, parameters: Sequence[Any]) -> Any:
    """True where all parameters are in their domains; plain True if they are everywhere."""
    valid: Any = True
    for domain, parameter in zip(mass.domains, parameters, strict=True):
        if domain is not None and not domain.all_valid(parameter):
            valid = domain.valid(parameter) & valid
    return valid


def _log_mass(mass: Mass) -> Function:
    """The NumPy function of (k, *parameters)."""

    def value(k: Any, *parameters: Any) -> Any:
        with np.errstate(all="ignore"):
            valid = _valid(mass, parameters)
            inside = mass.support(k, *parameters)
            if valid is True and inside.all():
                return mass.value(k, *parameters)
            out = mass.value(np.where(inside, k, mass.k), *parameters)
            out = np.where(inside, out, -np.inf)
            return np.where(np.isnan(k) | ~np.asarray(valid), np.nan, out)[()]

    return value


def _derivative(mass: Mass, formula: Function) -> Function:
    """The formula where the mass is positive, 0 elsewhere; at the edge of a domain, its limit from within."""

    def derivative(k: Any, *parameters: Any) -> Any:
        plain = [getval(parameter) for parameter in parameters]
        with np.errstate(all="ignore"):
            k = getval(k)
            within = all(d is None or d.all_within(p) for d, p in zip(mass.domains, plain, strict=True))
            valid = True if within else _valid(mass, plain)
            counts = mass.support(k, *plain)
            if within and counts.all():
                return formula(k, *parameters)
            cleaned = list(parameters)
            for i, (domain, p) in enumerate(zip(mass.domains, plain, strict=True)):
                if domain is None:
                    continue
                nearest = p if domain.low == -np.inf else np.clip(p, domain.low, domain.high)
                if valid is not True:
                    nearest = np.where(domain.valid(p), nearest, domain.safe)
                if nearest is not p and np.any(nearest != p):
                    cleaned[i] = select(nearest == p, parameters[i], nearest)
            if valid is True and counts.all():
                return formula(k, *cleaned)
            counts = counts & valid
            out = formula(np.where(counts, k, mass.k), *cleaned)
            return select(counts & np.isfinite(getval(out)), out, 0.0)

    return derivative


def mass_function(name: str, mass: Mass) -> Function:
    """The primitive of (k, *parameters)."""

    count = len(mass.domains)
    varying = [False, *(formula is not None for formula in mass.first)]
    seconds = {
        (i, j): as_one(f"{name}_{i + 1}_{j + 1}", _derivative(mass, formula), varying)
        for (i, j), formula in mass.second.items()
    }
    partials: list[Function | None] = [None]
    for i, formula in enumerate(mass.first):
        if formula is None:
            partials.append(None)
        else:
            by_all = [None, *(seconds.get((min(i, j), max(i, j))) for j in range(count))]
            partials.append(elementwise(f"{name}_{i + 1}", _derivative(mass, formula), by_all))
    return elementwise(name, _log_mass(mass), partials)
