"""Adds location and scale, supports and domains to the standard form of a density."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from autograd.tracer import getval, isbox

from bbvi.stats.primitives import Function, elementwise, inplace
from bbvi.stats.special import select

# Where a derivative is evaluated instead of at an edge of the support; the inverse of its cube is finite.
_EDGE = 1e-100


def positive(a: Any) -> Any:
    """Whether a is positive, elementwise."""
    return np.greater(a, 0)


def nonnegative(a: Any) -> Any:
    """Whether a is not negative, elementwise."""
    return np.greater_equal(a, 0)


def finite(a: Any) -> Any:
    """Whether a is finite, elementwise."""
    return np.isfinite(a)


class Standard:
    """
    The standard form of a location-scale family: log f = value - constant - log(scale) at (x - loc) / scale.

    With ``density=False`` there is no ``- log(scale)``: log distribution and survival functions.

    Parameters
    ----------
    value
        NumPy function of z and the shapes, inside the support.
    constant
        What to subtract, a NumPy function of the shapes alone, which costs nothing where they are scalars.
    first
        NumPy derivatives of value - constant in z ("z"), the first ("a") and the second shape ("b").
    second
        Second derivatives ("zz", "za", ...) that autograd can differentiate further. Those left out are zero.
    lower, upper, closed
        The support, and whether it includes its ends.
    outside
        The values below and above the support.
    domains
        For each shape the function that tells whether it is valid.
    """

    def __init__(
        self,
        value: Function,
        constant: Function,
        first: Mapping[str, Function],
        second: Mapping[str, Function],
        lower: float = -np.inf,
        upper: float = np.inf,
        closed: bool = True,
        outside: tuple[float, float] = (-np.inf, -np.inf),
        density: bool = True,
        domains: tuple[Callable[[Any], Any], ...] = (),
    ) -> None:
        self.value = value
        self.constant = constant
        self.first = first
        self.second = second
        self.lower = lower
        self.upper = upper
        self.closed = closed
        self.outside = outside
        self.density = density
        self.domains = domains


def _standardise(x: Any, loc: Any, scale: Any) -> Any:
    """(x - loc) / scale, without a pass over x for the defaults 0 and 1."""
    z = x if isinstance(loc, int) and loc == 0 else x - loc
    if isinstance(scale, int) and scale == 1:
        return z
    return z / scale if z is x or isbox(z) or isbox(scale) else inplace(np.divide, z, scale)


def _valid(standard: Standard, shapes: tuple[Any, ...], scale: Any) -> Any:
    """True where the parameters are in their domains; plain True if they all are."""
    good = positive(scale)
    for domain, shape in zip(standard.domains, shapes, strict=True):
        good = good & domain(shape)
    return True if good.all() else good


def _inside(standard: Standard, z: Any) -> bool:
    """Whether all of z is strictly inside the support."""
    if standard.lower == -np.inf and standard.upper == np.inf:
        return True
    z = np.asarray(z)
    if not z.size:
        return True
    return bool(z.min() > standard.lower and (standard.upper == np.inf or z.max() < standard.upper))


def _log_density(standard: Standard) -> Function:
    """The NumPy function of (x, *shapes, loc, scale)."""

    def value(x: Any, *parameters: Any) -> Any:
        *shapes, loc, scale = parameters
        with np.errstate(all="ignore"):
            z = _standardise(x, loc, scale)
            valid = _valid(standard, tuple(shapes), scale)
            inside = _inside(standard, z)
            out = standard.value(z, *shapes)
            constant = standard.constant(*shapes)
            if standard.density:
                constant = constant + np.log(scale)
            out = inplace(np.subtract, out, constant) if out is not z else out - constant
            if not inside:
                below = z < standard.lower if standard.closed else z <= standard.lower
                above = z > standard.upper if standard.closed else z >= standard.upper
                out = np.where(below, standard.outside[0], np.where(above, standard.outside[1], out))
            if valid is not True:
                out = np.where(valid, out, np.nan)
            return out[()]

    return value


def _prepare(
    standard: Standard, x: Any, shapes: tuple[Any, ...], loc: Any, scale: Any
) -> tuple[Any, tuple[Any, ...], Any, Any]:
    """
    z, shapes and scale at which derivatives are finite, and where they count (None: everywhere).

    Harmless values replace those outside the support or at its edge, and parameters outside their domains.
    """
    with np.errstate(all="ignore"):
        z = _standardise(x, loc, scale)
        plain = getval(z)
        scales, values = getval(scale), tuple(getval(shape) for shape in shapes)
        valid = _valid(standard, values, scales)
        if valid is True and _inside(standard, plain):
            return z, shapes, scale, None
        low = -np.inf if standard.lower == -np.inf else standard.lower + _EDGE
        high = np.inf if standard.upper == np.inf else np.nextafter(standard.upper, 0)
        nearest = np.clip(plain, low, high)
        if standard.closed:
            counts = (plain >= standard.lower) & (plain <= standard.upper)
        else:
            counts = (plain > standard.lower) & (plain < standard.upper)
        if valid is not True:
            counts = counts & valid
            nearest = np.where(valid, nearest, 0.5)
        z = select(nearest == plain, z, nearest)
        scale = select(positive(scales), scale, 1.0)
        shapes = tuple(
            select(domain(v), shape, 1.0)
            for domain, shape, v in zip(standard.domains, shapes, values, strict=True)
        )
        return z, shapes, scale, counts


def _joint(standard: Standard) -> Function:
    """All first derivatives for plain arrays, with z and the slope computed once."""
    letters = "ab"[: len(standard.domains)]
    # The normal's slope is -z: its sign joins the factor 1 / scale, which saves a pass over the data.
    falling = standard.first["z"] is np.negative
    constant = (-1.0 if falling else 1.0) if standard.density else 0.0

    def joint(*args: Any) -> Function:
        x, *given, loc, scale = args
        z, shapes, s, counts = _prepare(standard, x, tuple(given), loc, scale)
        slopes: list[Any] = []

        def partial(position: int) -> Any:
            with np.errstate(all="ignore"):
                if 0 < position <= len(letters):
                    out = standard.first[letters[position - 1]](z, *shapes)
                else:
                    if not slopes:
                        slopes.append(z if falling else standard.first["z"](z, *shapes))
                    rate = (-1.0 if falling else 1.0) / s
                    out = _chain(position - len(letters), z, slopes[0], rate, constant)
                return out if counts is None else select(counts & np.isfinite(out), out, 0.0)

        return partial

    return joint


def _chain(position: int, z: Any, slope: Any, rate: Any, constant: float) -> Any:
    """The derivative in loc (1), scale (2) or x (0 or less) from that in z, times ``rate``, 1 / scale."""
    if position == 2:
        out = inplace(np.add, z * slope, constant) if constant else z * slope
        return inplace(np.multiply, out, -rate)
    return slope * (-rate if position == 1 else rate)


def _second(standard: Standard, formula: Function) -> Function:
    """A function of (x, *shapes, loc, scale) from formula(z, scale, *shapes), 0 where it does not count."""

    def derivative(*args: Any) -> Any:
        x, *given, loc, scale = args
        z, shapes, s, counts = _prepare(standard, x, tuple(given), loc, scale)
        with np.errstate(all="ignore"):
            out = formula(z, s, *shapes)
            return out if counts is None else select(counts & np.isfinite(getval(out)), out, 0.0)

    return derivative


def location_scale(name: str, standard: Standard) -> Function:
    """The primitive of (x, *shapes, loc, scale), with its first and second derivatives."""
    variables = ["z", *"ab"[: len(standard.domains)]]
    one = 1.0 if standard.density else 0.0
    known = {pair: standard.second.get(pair, _zero) for pair in ("zz", "za", "zb", "aa", "ab", "bb")}
    slope = elementwise(f"{name}_z", standard.first["z"], [known["z" + v] for v in variables])
    in_z, in_zz = slope, known["zz"]

    def x_x(z: Any, s: Any, *shapes: Any) -> Any:
        return in_zz(z, *shapes) / (s * s)

    def x_scale(z: Any, s: Any, *shapes: Any) -> Any:
        return -(in_z(z, *shapes) + z * in_zz(z, *shapes)) / (s * s)

    def scale_scale(z: Any, s: Any, *shapes: Any) -> Any:
        return (one + 2 * z * in_z(z, *shapes) + z * z * in_zz(z, *shapes)) / (s * s)

    def x_shape(v: str) -> Function:
        return lambda z, s, *shapes: known["z" + v](z, *shapes) / s

    def scale_shape(v: str) -> Function:
        return lambda z, s, *shapes: -z * known["z" + v](z, *shapes) / s

    def shape_shape(u: str, v: str) -> Function:
        return lambda z, s, *shapes: known[min(u, v) + max(u, v)](z, *shapes)

    letters = variables[1:]
    by_x = [x_x, *map(x_shape, letters), _minus(x_x), x_scale]
    by_loc = [_minus(formula) for formula in by_x]
    by_scale = [x_scale, *map(scale_shape, letters), _minus(x_scale), scale_scale]
    by_shapes = [
        [x_shape(u), *(shape_shape(u, v) for v in letters), _minus(x_shape(u)), scale_shape(u)]
        for u in letters
    ]
    joint = _joint(standard)
    partials = [
        elementwise(f"{name}_{i}", _one(joint, i), [_second(standard, formula) for formula in formulas])
        for i, formulas in enumerate([by_x, *by_shapes, by_loc, by_scale])
    ]
    return elementwise(name, _log_density(standard), partials, joint)


def _zero(z: Any, *shapes: Any) -> float:
    return 0.0


def _minus(formula: Function) -> Function:
    return lambda *args: -formula(*args)


def _one(joint: Function, position: int) -> Function:
    return lambda *args: joint(*args)(position)
