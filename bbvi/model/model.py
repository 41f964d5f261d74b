"""`Model`: the user's functions, latents, data and coordinates, validated at the boundary."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import autograd.numpy as anp
import numpy as np

from bbvi.model.data import Frame, coded
from bbvi.model.draw import Draw
from bbvi.model.labels import flat_labels
from bbvi.model.latents import ResolvedLatent
from bbvi.model.noting import Noting
from bbvi.model.outcome import check_broadcasting, numbers, without_graph
from bbvi.model.priors import declared, with_priors
from bbvi.model.rows import Rows, held, is_lazy, rows_of
from bbvi.model.validation import (
    check_functions,
    check_lengths,
    checked_coords,
    checked_data,
    checked_dims,
    data_arguments,
    describe,
    resolved_latents,
)

Function = Callable[..., Any]

# Rows that a model's functions are looked at with where all of them are elsewhere.
_HEAD = 1000


class Model:
    """A Bayesian model: the log joint density of data and latents, as plain Python functions.

    Parameters
    ----------
    log_joint : callable, optional
        ``log_joint(z, **data)``: the log joint density at **one draw** of the latents on their constrained scale; a
        scalar, or an array of terms whose sum it is. bbvi adds the log-Jacobians. Every function receives those data
        that its signature names (all of them if it takes ``**kwargs``).
    latents : dict or int
        Declarations by name: `Real`, `Positive`, `Interval`, `Simplex`, `Ordered`, `CholeskyCorrelation`, or a bare
        shape for `Real`. One with ``prior=`` adds that density: the log joint then is without it, the likelihood alone
        where all latents have one, and prior draws and power-scaling come by themselves. An integer ``D`` makes ``z``
        the flat unconstrained array ``(D,)``.
    data : dict, data frame or iterator of batches, optional
        By name. Sequences become arrays; arrays, Python scalars and dtypes are kept. Of a data frame the functions
        get the columns that they name, and of categories the codes, whose labels become coords of the same name.
        Arrays of Dask and Zarr are read when somebody asks for their rows, and by the workers that hold them where a
        fit is told of a cluster. Batches, each a dict or a data frame, are read once and laid end to end.
    coords : dict, optional
        Labels of the dimensions, by name.
    dims : dict, optional
        Names of the dimensions of derived, observed and predicted quantities: ``{"theta": "school"}``.
    log_prior, log_likelihood : callable, optional
        Instead of ``log_joint``: the log prior density, and the **pointwise** log likelihood: an array, which
        belongs to the function's first data argument, or a dict of arrays by observed variable.
    derived : callable, optional
        ``derived(z, **data) -> dict`` of quantities to report beside the latents.
    predict : callable, optional
        ``predict(z, rng, **data) -> dict`` of posterior predictive draws.
    sample_prior : callable, optional
        ``sample_prior(rng) -> dict`` of one draw of all latents (it may take data, too).
    gradient : callable, optional
        ``gradient(z, **data) -> (value, gradient)`` for a log joint that autograd cannot trace; the gradient is with
        respect to the constrained latents, a dict by name, or a flat array in declaration order. It may stand alone or
        beside ``log_joint``.
    vectorized : bool
        The functions of ``z`` take all draws at once: each latent has a leading axis of ``S`` draws, ``log_joint``
        returns ``(S,)`` or ``(S, terms)``, and the others return arrays with that leading axis.

    Raises
    ------
    TypeError, ValueError
        If an argument is not what is described here; the message names it.
    """

    def __init__(
        self,
        log_joint: Function | None = None,
        latents: Mapping[str, Any] | int | None = None,
        data: Mapping[str, Any] | Frame | Iterable[Mapping[str, Any] | Frame] | None = None,
        coords: Mapping[str, Iterable[Any]] | None = None,
        dims: Mapping[str, str | Sequence[str]] | None = None,
        *,
        log_prior: Function | None = None,
        log_likelihood: Function | None = None,
        derived: Function | None = None,
        predict: Function | None = None,
        sample_prior: Function | None = None,
        gradient: Function | None = None,
        vectorized: bool = False,
    ) -> None:
        given = {
            "log_joint": log_joint,
            "log_prior": log_prior,
            "log_likelihood": log_likelihood,
            "derived": derived,
            "predict": predict,
            "sample_prior": sample_prior,
            "gradient": gradient,
        }
        self.functions: dict[str, Function] = {name: f for name, f in given.items() if f is not None}
        self.priors = declared(latents)
        if self.priors and "log_likelihood" in self.functions:
            # What is declared may be all of the prior.
            check_functions({"log_prior": self.functions["log_likelihood"], **self.functions})
        else:
            check_functions(self.functions)
        if not isinstance(vectorized, (bool, np.bool_)):
            raise TypeError(f"vectorized: expected True or False, got {vectorized!r}")
        self.vectorized = bool(vectorized)
        self.coords = checked_coords(coords, data)
        self.flat = isinstance(latents, (int, np.integer)) and not isinstance(latents, bool)
        self.latents: dict[str, ResolvedLatent] = resolved_latents(latents, self.coords)
        if self.priors:
            self.functions = with_priors(self.functions, self.priors, self.latents, self.vectorized)
        self.data = checked_data(data, self.functions, self.coords)
        # As many rows in one as in another.
        rows_of(self.data)
        self.dims = checked_dims(dims, self.coords)
        check_lengths(self.dims, self.coords, self.data)
        self._observed: tuple[str, ...] | None = None
        self._arguments = {name: data_arguments(name, f, self.data) for name, f in self.functions.items()}
        used = set().union(*self._arguments.values()) if self._arguments else set()
        unused = [name for name in self.data if name not in used]
        if unused:
            raise ValueError(
                f"data: {', '.join(map(repr, unused))} is an argument of none of the model's functions "
                f"({', '.join(self.functions)}); remove it or name it in a signature"
            )
        sizes = np.cumsum([0, *(latent.size for latent in self.latents.values())])
        self.slices = {name: slice(int(a), int(b)) for name, a, b in zip(self.latents, sizes, sizes[1:], strict=False)}
        self.dim = int(sizes[-1])

    # ---- what others ask of a model ---------------------------------------------------------------------------------

    @property
    def labels(self) -> list[str]:
        """Row names of the constrained latents, in declaration order, C order within."""
        return [label for latent in self.latents.values() for label in latent.labels]

    @property
    def unconstrained_labels(self) -> list[str]:
        """Row names of the flat unconstrained coordinates."""
        return [label for latent in self.latents.values() for label in latent.unconstrained_labels]

    @property
    def observed(self) -> tuple[str, ...]:
        """Names of the data that the log likelihood is of; empty without ``log_likelihood``."""
        if "log_likelihood" not in self.functions:
            return ()
        if self._observed is None:
            interior = {name: latent.transform.interior for name, latent in self.latents.items()}
            if self.vectorized:
                interior = {name: np.asarray(x)[None] for name, x in interior.items()}
            with np.errstate(all="ignore"):
                self._observed = tuple(self.head().pointwise(interior))
        return self._observed

    def with_data(self, **new: Any) -> Model:
        """The same model with other data, for refits and for predictions at new points.

        Raises
        ------
        ValueError
            If a name is not among the model's data, or a label among those of its categories.
        """
        unknown = [name for name in new if name not in self.data]
        if unknown:
            raise ValueError(
                f"with_data: {', '.join(map(repr, unknown))} is not among the model's data, {', '.join(self.data)}"
            )
        # What were categories are known by their labels.
        named = {
            name: coded(name, value, self.coords[name])
            for name, value in new.items()
            if name in self.coords and not is_lazy(value) and np.asarray(self.data[name]).dtype.kind in "iu"
        }
        return self.holding(checked_data(new | named, coords=self.coords))

    def log_joint(self, z: Mapping[str, Any] | Any) -> float:
        """The log joint density at one draw on the constrained scale, without log-Jacobians.

        Parameters
        ----------
        z : mapping of str to array, or a flat array for a model with integer latents
        """
        draw = {"z": z} if self.flat and not isinstance(z, Mapping) else z
        arrays = {name: np.asarray(draw[name], dtype=float) for name in self.latents}
        if self.vectorized:
            return float(np.sum(self.terms({name: x[None] for name, x in arrays.items()})))
        return float(np.sum(self.terms(arrays)))

    # ---- the functions, called with what they ask for ---------------------------------------------------------------

    def call(self, name: str, values: Mapping[str, Any] | None, *extra: Any) -> Any:
        """Call one of the model's functions on a draw; an exception of its own gets a note that names the latents."""
        arguments = held({key: self.data[key] for key in self._arguments[name]})
        with Noting(name, values, arguments):
            if values is None:
                return self.functions[name](*extra, **arguments)
            z = values["z"] if self.flat else Draw(values)
            return self.functions[name](z, *extra, **arguments)

    def terms(self, values: Mapping[str, Any]) -> Any:
        """Terms of the log joint, flat: (T,), or (S, T) where the model is vectorized."""
        parts: list[Any]
        if "log_joint" in self.functions:
            parts = [numbers("log_joint", self.call("log_joint", values))]
        elif "log_likelihood" in self.functions:
            parts = [numbers("log_prior", self.call("log_prior", values))]
            parts += self.pointwise(values).values()
        else:
            parts = [self.value_and_gradient(values)[0]]
        lead = 1 if self.vectorized else 0
        flat = [anp.reshape(part, (*anp.shape(part)[:lead], -1)) for part in parts]
        return flat[0] if len(flat) == 1 else anp.concatenate(flat, axis=-1)

    def density(self, values: Mapping[str, Any], likelihood_weight: float = 1.0) -> Any:
        """The log joint density: a scalar, or (S,) where the model is vectorized."""
        if "log_likelihood" not in self.functions:
            if "log_joint" not in self.functions:
                return self.value_and_gradient(values)[0]
            return self._total(numbers("log_joint", self.call("log_joint", values)))
        total = self._total(numbers("log_prior", self.call("log_prior", values)))
        for part in self.pointwise(values).values():
            total = total + likelihood_weight * self._total(part)
        return total

    def observations(self) -> int:
        """Number N of observations: the length of the data that the log likelihood is of.

        Raises
        ------
        ValueError
            Without ``log_likelihood``, or where the observed data have no common length.
        """
        if "log_likelihood" not in self.functions:
            raise ValueError("mini-batches: expected a model with log_prior and log_likelihood, got log_joint")
        lengths = {np.shape(self.data[name])[0] for name in self.observed if np.ndim(self.data.get(name, 0))}
        if len(lengths) != 1:
            raise ValueError(
                f"mini-batches: expected observed data of one common length, got lengths {sorted(lengths)}"
            )
        return int(lengths.pop())

    def subset(self, rows: np.ndarray | slice) -> Model:
        """The model with only these observations: every array among the data of length N is cut to `rows`."""
        model = self.held()
        return model.holding(model.rows_here(rows, model.observations()))

    # ---- data that are elsewhere ------------------------------------------------------------------------------------

    @property
    def lazy(self) -> dict[str, Rows]:
        """Those of the data whose rows are read when somebody asks for them."""
        return rows_of(self.data)

    def held(self) -> Model:
        """The same model with all rows read."""
        return self.holding(held(self.data)) if self.lazy else self

    def head(self) -> Model:
        """A model of the first rows for a look at its functions, or the model itself where all rows are here."""
        if not self.lazy:
            return self
        count = len(next(iter(self.lazy.values())))
        first = {name: x.head(_HEAD) for name, x in self.lazy.items()}
        return self.holding(self.rows_here(slice(0, _HEAD), count) | first)

    def rows_here(self, rows: np.ndarray | slice, count: int) -> dict[str, np.ndarray]:
        """These rows of all arrays of `count` rows that are here already, by name."""
        here = {name: x for name, x in self.data.items() if not isinstance(x, Rows)}
        cut = {name: x[rows] for name, x in here.items() if np.ndim(x) and np.shape(x)[0] == count}
        for x in cut.values():
            if isinstance(x, np.ndarray):
                x.flags.writeable = False
        return cut

    def row_bytes(self, count: int) -> float:
        """Bytes of all arrays of `count` rows, wherever they are."""
        arrays = [x for x in self.data.values() if isinstance(x, np.ndarray | Rows) and x.ndim and len(x) == count]
        return float(sum(x.nbytes for x in arrays))

    def holding(self, data: Mapping[str, Any]) -> Model:
        """The same model with these arrays among its data, as they are."""
        other = object.__new__(Model)
        other.__dict__.update(self.__dict__)
        other.data = self.data | dict(data)
        return other

    def pointwise(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Pointwise log likelihood by observed variable, with a leading draws axis where the model is vectorized."""
        out = self.call("log_likelihood", values)
        if not isinstance(out, Mapping):
            out = {next(iter(self._arguments["log_likelihood"]), "y"): out}
        parts = {name: numbers(f"log_likelihood[{name!r}]", part) for name, part in out.items()}
        for name, part in parts.items():
            check_broadcasting(name, np.shape(self.data.get(name, 0.0)), anp.shape(part)[1 if self.vectorized else 0 :])
        return parts

    def named(self, name: str, values: Mapping[str, Any] | None, *extra: Any) -> dict[str, Any]:
        """The dict that ``derived``, ``predict`` or ``sample_prior`` returns, checked."""
        out = self.call(name, values, *extra)
        if not isinstance(out, Mapping):
            raise TypeError(f"{name}: expected a dict of arrays by name, got {describe(out)}")
        clash = [key for key in out if name == "derived" and key in self.latents]
        if clash:
            raise ValueError(f"derived: {', '.join(map(repr, clash))} is a latent already; choose another name")
        return {str(key): value for key, value in out.items()}

    def value_and_gradient(self, values: Mapping[str, Any]) -> tuple[Any, np.ndarray]:
        """What ``gradient`` returned: the value, () or (S,), and the gradient over the constrained latents, flat."""
        value, gradient = self._pair(values)
        value = self._total(numbers("gradient", value))
        lead = np.shape(next(iter(values.values())))[:1] if self.vectorized else ()
        if isinstance(gradient, Mapping):
            missing = [name for name in self.latents if name not in gradient]
            if missing:
                raise ValueError(f"gradient: expected an entry for every latent, got none for {', '.join(missing)}")
            parts = []
            for name, latent in self.latents.items():
                part = np.asarray(without_graph(gradient[name]), dtype=float)
                if part.shape != (*lead, *latent.shape):
                    raise ValueError(
                        f"gradient[{name!r}]: expected shape {(*lead, *latent.shape)}, got shape {part.shape}"
                    )
                parts.append(part.reshape(*lead, -1))
            flat = np.concatenate(parts, axis=-1)
        else:
            flat = np.asarray(without_graph(gradient), dtype=float)
            expected = (*lead, sum(int(np.prod(latent.shape)) for latent in self.latents.values()))
            if flat.shape != expected:
                raise ValueError(f"gradient: expected shape {expected} or a dict by latent, got shape {flat.shape}")
        return value, flat

    def gradient_rounding(self, values: Mapping[str, Any]) -> float:
        """Relative rounding of what ``gradient`` returns: that of the coarsest floating-point type in it."""
        value, gradient = self._pair(values)
        parts = [value, *(gradient.values() if isinstance(gradient, Mapping) else [gradient])]
        dtypes = [np.asarray(without_graph(part)).dtype for part in parts]
        return max(float(np.finfo(dtype if dtype.kind == "f" else float).eps) for dtype in dtypes)

    # ---- displays ---------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        latents = ", ".join(
            f"{name}{list(latent.shape) if latent.shape else ''}" for name, latent in self.latents.items()
        )
        data = ", ".join(f"{name}{list(np.shape(value))}" for name, value in self.data.items()) or "none"
        return f"<bbvi.Model: {self.dim} unconstrained latents ({latents}); data: {data}>"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td><code>{name}</code></td><td>{type(latent.transform).__name__}</td>"
            f"<td>{' × '.join(map(str, latent.shape)) or 'scalar'}</td><td>{', '.join(latent.dims)}</td></tr>"
            for name, latent in self.latents.items()
        )
        data = ", ".join(f"<code>{name}</code> {list(np.shape(value)) or ''}" for name, value in self.data.items())
        return (
            f"<b>bbvi.Model</b>, {self.dim} unconstrained latents"
            "<table><thead><tr><th>latent</th><th>support</th><th>shape</th><th>dims</th></tr></thead>"
            f"<tbody>{rows}</tbody></table>data: {data or 'none'}"
        )

    # ---- helpers ----------------------------------------------------------------------------------------------------

    def _pair(self, values: Mapping[str, Any]) -> tuple[Any, Any]:
        out = self.call("gradient", values)
        if not isinstance(out, (tuple, list)) or len(out) != 2:
            raise TypeError(f"gradient: expected a pair (value, gradient), got {describe(out)}")
        return out[0], out[1]

    def _total(self, out: Any) -> Any:
        if self.vectorized:
            return out if anp.ndim(out) < 2 else anp.sum(anp.reshape(out, (anp.shape(out)[0], -1)), axis=1)
        return out if anp.ndim(out) == 0 else anp.sum(out)


def dims_of(model: Model, name: str, shape: tuple[int, ...]) -> tuple[str, ...]:
    """Dims of a derived, observed or predicted quantity; unnamed where the named ones do not fit."""
    dims = model.dims.get(name, ())
    if tuple(len(model.coords[dim]) for dim in dims) != shape:
        return tuple(f"{name}_dim_{axis}" for axis in range(len(shape)))
    return dims


def labels_of(model: Model, name: str, shape: tuple[int, ...]) -> list[str]:
    """Row labels of such a quantity."""
    return flat_labels(name, dims_of(model, name, shape), shape, model.coords)
