"""Adds location and scale, supports and domains to the standard form of a density."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from autograd.tracer import getval, isbox

from bbvi.stats.primitives import Function, as_one, elementwise, inplace, joint_partials
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


def _inverse_or_zero(s: Any) -> Any:
    with np.errstate(all="ignore"):
        return np.where(np.greater(s, 0), np.divide(1.0, s), 0.0)[()]


# 1 / scale, 0 where the scale is not positive: there it makes all derivatives zero.
inverse_or_zero: Function = elementwise("rate", _inverse_or_zero, (lambda s: -(inverse_or_zero(s) ** 2),))


def _second(name: str, standard: Standard, formula: Function) -> Function:
    """A function of (x, *shapes, loc, scale) from formula(z, 1 / scale, *shapes), 0 where it does not count."""

    def written_out(x: Any, loc: Any, scale: Any) -> Any:
        rate = 1.0 if isinstance(scale, int) and scale == 1 else inverse_or_zero(scale)
        z = _standardise(x, loc, 1)
        return formula(z if isinstance(rate, float) and rate == 1.0 else z * rate, rate)

    def derivative(*args: Any) -> Any:
        x, *given, loc, scale = args
        z, shapes, s, counts = _prepare(standard, x, tuple(given), loc, scale)
        with np.errstate(all="ignore"):
            out = formula(z, 1.0 / s, *shapes)
            return out if counts is None else select(counts & np.isfinite(getval(out)), out, 0.0)

    # On the whole line and without shapes no course depends on values, and operations written out can be shared.
    if standard.lower == -np.inf and standard.upper == np.inf and not standard.domains:
        return written_out
    return as_one(name, derivative, [True] * (3 + len(standard.domains)))


def location_scale(name: str, standard: Standard) -> Function:
    """The primitive of (x, *shapes, loc, scale), with its first and second derivatives."""
    variables = ["z", *"ab"[: len(standard.domains)]]
    one = 1.0 if standard.density else 0.0
    known = {pair: standard.second.get(pair, _zero) for pair in ("zz", "za", "zb", "aa", "ab", "bb")}
    slope = elementwise(f"{name}_z", standard.first["z"], [known["z" + v] for v in variables])
    in_z, in_zz = slope, known["zz"]

    def x_x(z: Any, rate: Any, *shapes: Any) -> Any:
        return in_zz(z, *shapes) * (rate * rate)

    def x_scale(z: Any, rate: Any, *shapes: Any) -> Any:
        return (in_z(z, *shapes) + z * in_zz(z, *shapes)) * -(rate * rate)

    def scale_scale(z: Any, rate: Any, *shapes: Any) -> Any:
        return (one + 2 * z * in_z(z, *shapes) + z * z * in_zz(z, *shapes)) * (rate * rate)

    def x_shape(v: str) -> Function:
        return lambda z, rate, *shapes: known["z" + v](z, *shapes) * rate

    def scale_shape(v: str) -> Function:
        return lambda z, rate, *shapes: -z * known["z" + v](z, *shapes) * rate

    def shape_shape(u: str, v: str) -> Function:
        return lambda z, rate, *shapes: known[u + v](z, *shapes)

    letters = "".join(variables[1:])
    formulas: dict[str, Function] = {"xx": x_x, "xs": x_scale, "ss": scale_scale}
    formulas |= {"x" + v: x_shape(v) for v in letters} | {v + "s": scale_shape(v) for v in letters}
    formulas |= {u + v: shape_shape(u, v) for u in letters for v in letters if u <= v}
    seconds = {pair: _second(f"{name}_{pair}", standard, formula) for pair, formula in formulas.items()}

    def second(u: str, v: str) -> Function:
        """The derivative in two of x, the shapes, loc ("l") and scale ("s"); that in loc is minus that in x."""
        pair = "".join(sorted((u + v).replace("l", "x"), key=f"x{letters}s".index))
        return _minus(seconds[pair]) if (u == "l") != (v == "l") else seconds[pair]

    joint = _joint(standard)
    arguments = f"x{letters}ls"
    partials = [
        elementwise(f"{name}_{u}", _one(joint, i), [second(u, v) for v in arguments]) for i, u in enumerate(arguments)
    ]
    joint_partials.update({partial: (joint, i) for i, partial in enumerate(partials)})
    return elementwise(name, _log_density(standard), partials, joint)


def _zero(z: Any, *shapes: Any) -> float:
    return 0.0


def _minus(formula: Function) -> Function:
    return lambda *args: -formula(*args)


def _one(joint: Function, position: int) -> Function:
    return lambda *args: joint(*args)(position)
