"""A model whose functions are not at hand: latents, data and stored values in their place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bbvi.model.draw import Draw
from bbvi.model.latents import Coords, Latent, ResolvedLatent
from bbvi.model.model import Model
from bbvi.target.target import Target

Array = np.ndarray


class Absent:
    """Stands for a function that was not saved; calling it says what to do."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *args: Any, **data: Any) -> Any:
        error = ValueError(
            f"{self.name}: the functions of a model are not saved; give the model: bbvi.load(path, model)"
        )
        # An exception with a note is not told to have been raised in a function of the user's at some draw.
        error.add_note("this fit was read without its model")
        raise error


class Stored(Latent):
    """A declaration that was resolved when the fit was made."""

    def __init__(self, resolved: ResolvedLatent) -> None:
        super().__init__(shape=resolved.shape)
        object.__setattr__(self, "resolved", resolved)

    def resolve(self, name: str, coords: Coords) -> ResolvedLatent:
        return self.resolved  # type: ignore[attr-defined, no-any-return]


def available(model: Model, name: str) -> bool:
    """Whether the model has this function and it can be called."""
    return name in model.functions and not isinstance(model.functions[name], Absent)


def has_density(model: Model) -> bool:
    """Whether the log density can be evaluated."""
    return any(available(model, name) for name in ("log_joint", "log_prior", "gradient"))


def stand_in(
    latents: Mapping[str, ResolvedLatent],
    functions: Sequence[str],
    data: Mapping[str, Any],
    coords: Mapping[str, Sequence[Any]],
    dims: Mapping[str, Sequence[str]],
    observed: Sequence[str],
    flat: bool,
) -> Model:
    """A `Model` of these latents and data whose functions are absent."""
    declared: Any = {name: Stored(latent) for name, latent in latents.items()}
    if flat:
        (declared,) = (latent.size for latent in latents.values())
    absent: dict[str, Any] = {name: Absent(name) for name in functions}
    model = Model(latents=declared, data=data, coords=coords, dims=dims, **absent)
    model._observed = tuple(observed)
    return model


class StoredTarget(Target):
    """Answers with quantities that were stored, at the draws where they were stored."""

    def __init__(self, model: Model) -> None:
        super().__init__(model, replay=False)
        self._rows: dict[bytes, tuple[int, int]] = {}
        self._tables: list[dict[str, Array]] = []

    def remember(self, u: Array, derived: Mapping[str, Array]) -> None:
        """Derived quantities at draws `u`, (S, D)."""
        table = len(self._tables)
        self._tables.append(dict(derived))
        self._rows |= {row.tobytes(): (table, s) for s, row in enumerate(u)}

    def values(self, u: Array) -> Array:
        Absent("log_joint")()
        return np.full(len(u), np.nan)

    def quantities(
        self, name: str, u: Array, *, weights: Array | None = None, thorough: bool = True
    ) -> dict[str, Array]:
        found = [self._rows.get(row.tobytes()) for row in u]
        if name != "derived" or None in found:
            Absent("log_likelihood" if name == "pointwise" else name)()
        places = [place for place in found if place is not None]
        keys = self._tables[places[0][0]]
        return {key: np.stack([self._tables[table][key][s] for table, s in places]) for key in keys}

    def apply(self, function: Callable[[Any], Any], u: Array, weights: Array | None = None) -> Array:
        draws = {name: np.asarray(x) for name, x in self.constrain(u)[0].items()}
        if "derived" in self.model.functions and all(row.tobytes() in self._rows for row in u):
            draws |= self.quantities("derived", u)
        flat = self.model.flat and len(draws) == 1
        results = []
        for s in range(len(u)):
            draw = {name: np.array(x[s]) for name, x in draws.items()}
            results.append(np.asarray(function(draw["z"] if flat else Draw(draw))))
        return np.stack(results)
