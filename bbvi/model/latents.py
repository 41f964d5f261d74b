"""Declarations of latents: their support, their shape and the names of their axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from bbvi.model import transforms
from bbvi.model.guest import as_transform
from bbvi.model.labels import Coords, Shape, flat_labels
from bbvi.model.transforms import Transform


@dataclass(frozen=True)
class ResolvedLatent:
    """A latent whose shape, dimension names and transform are settled.

    Attributes
    ----------
    name : str
    shape : tuple of int
        Constrained shape.
    dims : tuple of str
        One name per axis; an axis that was given no name is called ``f"{name}_dim_{axis}"``, as in ArviZ.
    coords : dict
        Labels of those dims that have any, the second axis of a correlation matrix included.
    transform : Transform
    """

    name: str
    shape: Shape
    dims: tuple[str, ...]
    coords: dict[str, Sequence[Any]]
    transform: Transform

    @property
    def size(self) -> int:
        """Number of unconstrained coordinates."""
        return self.transform.size

    @property
    def labels(self) -> list[str]:
        """Row names of the constrained elements, in C order."""
        return flat_labels(self.name, self.dims, self.shape, self.coords)

    @property
    def unconstrained_dims(self) -> tuple[str, ...]:
        """Names of the unconstrained axes: the latent's own, save for an axis of another size."""
        free = self.transform.unconstrained_shape
        return self.dims if free == self.shape else self.dims[: len(free) - 1] + (f"{self.name}_free",)

    @property
    def unconstrained_labels(self) -> list[str]:
        """Row names of the unconstrained coordinates, in C order."""
        shape = self.transform.unconstrained_shape
        return flat_labels(self.name, self.unconstrained_dims, shape, self.coords)

    def unconstrain(self, value: Any) -> np.ndarray:
        """Flat unconstrained coordinates, (..., size), of a value; a ValueError names the latent."""
        try:
            return np.asarray(self.transform.unconstrain(value))
        except ValueError as error:
            raise ValueError(f"latent {self.name!r}: {error}") from None


@dataclass(frozen=True, repr=False, init=False)
class Latent:
    """What all declarations share.

    Parameters
    ----------
    shape : int or tuple of int
        Constrained shape; a scalar if neither ``shape`` nor ``dims`` is given.
    dims : str or tuple of (str or None)
        Name of each axis, looked up in the model's ``coords``; None leaves an axis unnamed and needs
        ``shape``.
    prior : frozen density, optional
        Such as ``bbvi.stats.norm(0, 5)``: the model adds it to the log joint, and draws from it.

    Raises
    ------
    TypeError, ValueError
        If a size is not a positive integer or a name not a string, or one of them comes by position.
    """

    shape: int | Shape = field(default=(), kw_only=True)
    dims: str | tuple[str | None, ...] = field(default=(), kw_only=True)
    prior: Any = field(default=None, kw_only=True)

    def __init__(
        self, *unnamed: Any, shape: int | Shape = (), dims: str | tuple[str | None, ...] = (), prior: Any = None
    ) -> None:
        kind = type(self).__name__
        if unnamed:
            raise TypeError(f"{kind}: expected shape= or dims= by name, got {unnamed[0]!r} by position")
        object.__setattr__(self, "shape", _as_shape(kind, shape))
        object.__setattr__(self, "dims", _as_dims(kind, dims))
        object.__setattr__(self, "prior", _as_prior(kind, prior))

    def __repr__(self) -> str:
        shown = []
        for item in sorted(fields(self), key=lambda item: bool(item.kw_only)):
            value = getattr(self, item.name)
            if value == item.default:
                continue
            if isinstance(value, tuple) and len(value) == 1 and item.name in ("shape", "dims"):
                value = value[0]
            shown.append(f"{item.name}={value!r}" if item.kw_only else f"{value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"

    def resolve(self, name: str, coords: Coords) -> ResolvedLatent:
        """Settle shape, dimension names and transform for the latent called ``name``.

        Raises
        ------
        ValueError
            If a named dimension has no coordinate, ``shape`` and ``dims`` disagree, or the shape does not
            suit the support.
        """
        shape, given, known = self._axes(name, coords)
        self._check_shape(name, shape)
        dims = tuple(dim if dim is not None else f"{name}_dim_{axis}" for axis, dim in enumerate(given))
        if len(set(dims)) < len(dims):
            raise ValueError(f"latent {name!r}: expected dims that differ from each other, got {dims}")
        labels = {dim: known[dim] for dim in given if dim is not None}
        return ResolvedLatent(name, shape, dims, labels, self._transform(name, shape))

    def _axes(self, name: str, coords: Coords) -> tuple[Shape, tuple[str | None, ...], Coords]:
        """Shape, the dims as given (None where unnamed), and the coords that they refer to."""
        shape, dims = _normalized(self)
        if not dims:
            return shape, (None,) * len(shape), coords
        if shape and len(shape) != len(dims):
            raise ValueError(
                f"latent {name!r}: expected one entry of dims for each axis of shape {shape} "
                f"(None for an axis without a name), got dims {dims}"
            )
        lengths = []
        for axis, dim in enumerate(dims):
            if dim is not None and dim not in coords:
                known = ", ".join(map(repr, coords)) or "no dims"
                raise ValueError(
                    f"latent {name!r}: expected dims found in coords ({known}), got {dim!r}; a column of text in data "
                    "brings its own where it is a category, as by .astype('category')"
                )
            if dim is None and not shape:
                raise ValueError(f"latent {name!r}: expected shape= for unnamed axis {axis}, got dims {dims}")
            lengths.append(shape[axis] if dim is None else len(coords[dim]))
        if shape and shape != tuple(lengths):
            raise ValueError(
                f"latent {name!r}: expected shape {tuple(lengths)}, the lengths of the coords of dims "
                f"{dims}, got {shape}"
            )
        if 0 in lengths:
            empty = dims[lengths.index(0)]
            raise ValueError(f"latent {name!r}: expected coords of one label or more, got none for {empty!r}")
        return tuple(lengths), dims, coords

    def _check_shape(self, name: str, shape: Shape) -> None:
        pass

    def _transform(self, name: str, shape: Shape) -> Transform:
        raise NotImplementedError


class Real(Latent):
    """Latents on the whole real line."""

    def _transform(self, name: str, shape: Shape) -> Transform:
        return transforms.Real(shape)


class Positive(Latent):
    """Latents above zero."""

    def _transform(self, name: str, shape: Shape) -> Transform:
        return transforms.Positive(shape)


@dataclass(frozen=True, repr=False, init=False)
class Interval(Latent):
    """Latents strictly between ``lower`` and ``upper``.

    Parameters
    ----------
    lower, upper : float or array
        Bounds that broadcast to the shape; infinite where there is none.
    shape, dims, prior
        As for every latent.
    """

    lower: Any
    upper: Any

    def __init__(
        self,
        lower: Any,
        upper: Any,
        *unnamed: Any,
        shape: int | Shape = (),
        dims: str | tuple[str | None, ...] = (),
        prior: Any = None,
    ) -> None:
        super().__init__(*unnamed, shape=shape, dims=dims, prior=prior)
        object.__setattr__(self, "lower", _as_bound("lower", lower))
        object.__setattr__(self, "upper", _as_bound("upper", upper))
        low, high = np.asarray(self.lower), np.asarray(self.upper)
        try:
            ordered = low < high
        except ValueError:
            raise ValueError(
                f"Interval: expected bounds that broadcast together, got shapes {low.shape} and {high.shape}"
            ) from None
        if not np.all(ordered):
            got = f"lower {self.lower} and upper {self.upper}"
            raise ValueError(f"Interval: expected lower < upper everywhere, got {got}")
        with np.errstate(over="ignore"):
            if np.any(np.isinf(high - low) & np.isfinite(low) & np.isfinite(high)):
                raise ValueError("Interval: expected a finite upper - lower where both are finite")

    def _transform(self, name: str, shape: Shape) -> Transform:
        for end in ("lower", "upper"):
            bound = np.asarray(getattr(self, end))
            try:
                np.broadcast_to(bound, shape)
            except ValueError:
                raise ValueError(
                    f"latent {name!r}: expected {end} to broadcast to the latent's shape {shape}, "
                    f"got shape {bound.shape}"
                ) from None
        return transforms.interval(shape, self.lower, self.upper)


class Simplex(Latent):
    """Positive latents that sum to one along the last axis, which has two components or more."""

    def _check_shape(self, name: str, shape: Shape) -> None:
        if not shape or shape[-1] < 2:
            raise ValueError(f"latent {name!r}: expected a last axis of 2 or more for Simplex, got {shape}")

    def _transform(self, name: str, shape: Shape) -> Transform:
        return transforms.Simplex(shape)


class Ordered(Latent):
    """Latents that increase along the last axis."""

    def _check_shape(self, name: str, shape: Shape) -> None:
        if not shape:
            raise ValueError(f"latent {name!r}: expected one axis or more for Ordered, got shape {shape}")

    def _transform(self, name: str, shape: Shape) -> Transform:
        return transforms.Ordered(shape)


class CholeskyCorrelation(Latent):
    """Cholesky factors of correlation matrices, in the last two axes.

    ``shape=K`` means (K, K), and ``dims="d"`` means ("d", "d_bis"): the second axis carries the same labels
    under a name of its own, since ArviZ allows no dimension twice. The last name of a longer ``dims`` may be
    repeated to the same effect.
    """

    def _axes(self, name: str, coords: Coords) -> tuple[Shape, tuple[str | None, ...], Coords]:
        shape, dims = _normalized(self)
        if len(shape) == 1:
            shape = shape * 2
        if len(dims) == 1:
            dims = dims * 2
        if len(dims) >= 2 and dims[-1] is not None and dims[-1] == dims[-2]:
            twin = f"{dims[-1]}_bis"
            coords = {twin: coords[dims[-1]], **coords} if dims[-1] in coords else coords
            dims = dims[:-1] + (twin,)
        return Latent._axes(Real(shape=shape, dims=dims), name, coords)

    def _check_shape(self, name: str, shape: Shape) -> None:
        if len(shape) < 2 or shape[-1] != shape[-2] or shape[-1] < 2:
            raise ValueError(
                f"latent {name!r}: expected shape K or (..., K, K), K of 2 or more, for CholeskyCorrelation, "
                f"got {shape}"
            )

    def _transform(self, name: str, shape: Shape) -> Transform:
        return transforms.CholeskyCorrelation(shape)


@dataclass(frozen=True, repr=False, init=False)
class Support(Latent):
    """Latents of a support of one's own.

    Parameters
    ----------
    transform : callable
        ``transform(shape)`` gives an object with ``constrain(u)``, from unconstrained coordinates ``(..., size)`` to
        values ``(..., *shape)`` and their log-Jacobian ``(...,)``, differentiable by autograd, and ``unconstrain(x)``,
        its inverse. It may say
        what it is by the attributes of `bbvi.model.transforms.Transform`, ``unconstrained_shape`` where that is
        not the shape itself.
    shape, dims, prior
        As for every latent.
    """

    transform: Callable[[Shape], Any]

    def __init__(
        self,
        transform: Callable[[Shape], Any],
        *unnamed: Any,
        shape: int | Shape = (),
        dims: str | tuple[str | None, ...] = (),
        prior: Any = None,
    ) -> None:
        super().__init__(*unnamed, shape=shape, dims=dims, prior=prior)
        if not callable(transform):
            raise TypeError(f"Support: expected transform to be a function of the shape, got {transform!r}")
        object.__setattr__(self, "transform", transform)

    def _transform(self, name: str, shape: Shape) -> Transform:
        try:
            return as_transform(self.transform(shape), shape)
        except TypeError as error:
            raise TypeError(f"latent {name!r}: {error}") from None


def _as_prior(kind: str, prior: Any) -> Any:
    if prior is not None and not (callable(getattr(prior, "log_density", None)) and not isinstance(prior, type)):
        raise TypeError(
            f"{kind}: expected prior to be a density with its parameters, such as bbvi.stats.norm(0, 5), got {prior!r}"
        )
    return prior


def as_latent(name: str, spec: Any) -> Latent:
    """The declaration that ``spec`` stands for: itself, or ``Real(shape=spec)`` for a bare int or tuple."""
    if isinstance(spec, Latent):
        return spec
    if isinstance(spec, tuple | int | np.integer) and not isinstance(spec, bool):
        try:
            return Real(shape=spec if isinstance(spec, tuple) else int(spec))
        except (TypeError, ValueError) as error:
            raise type(error)(f"latent {name!r}: {error}") from None
    hint = f"; write {spec.__name__}(...)" if isinstance(spec, type) and issubclass(spec, Latent) else ""
    if isinstance(spec, ResolvedLatent):
        hint = "; that is what a model made of one, so give both models the same dict of declarations"
    raise TypeError(
        f"latent {name!r}: expected a declaration such as Real(shape=3), or an int or tuple as shape, "
        f"got {spec!r}{hint}"
    )


def _normalized(latent: Latent) -> tuple[Shape, tuple[str | None, ...]]:
    """Shape and dims as the tuples that construction made of them."""
    return latent.shape, latent.dims  # type: ignore[return-value]


def _as_shape(kind: str, shape: Any) -> Shape:
    sizes = shape if isinstance(shape, tuple | list) else (shape,)
    for size in sizes:
        if not isinstance(size, int | np.integer) or isinstance(size, bool):
            raise TypeError(f"{kind}: expected shape to be an int or a tuple of ints, got {shape!r}")
        if size < 1:
            raise ValueError(f"{kind}: expected sizes of 1 or more in shape, got {shape!r}")
    return tuple(int(size) for size in sizes)


def _as_dims(kind: str, dims: Any) -> tuple[str | None, ...]:
    names = (dims,) if isinstance(dims, str) else dims
    if not isinstance(names, tuple | list) or not all(dim is None or isinstance(dim, str) for dim in names):
        raise TypeError(f"{kind}: expected dims to be a name or a tuple of names (or None), got {dims!r}")
    return tuple(names)


def _as_bound(end: str, bound: Any) -> Any:
    """A bound as a float or nested tuples of floats, which compare and hash by value."""
    try:
        array = np.asarray(bound, dtype=float)
    except (TypeError, ValueError):
        raise TypeError(f"Interval: expected {end} to be numeric, got {bound!r}") from None
    if np.any(np.isnan(array)):
        raise ValueError(f"Interval: expected {end} without NaN, got {bound!r}")
    return _as_tuples(array.tolist())


def _as_tuples(nested: Any) -> Any:
    return tuple(map(_as_tuples, nested)) if isinstance(nested, list) else nested
