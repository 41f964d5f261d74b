"""Whether the log likelihood of an observation is the same without the others, so that it can be taken in parts."""

from __future__ import annotations

import numpy as np

from bbvi.model.model import Model
from bbvi.target.target import Target

Array = np.ndarray

# Observations that are looked at, and by how much the same figure may differ from another order of its sums.
_MOST = 512
_SAME = 1e-6


def tied(model: Model) -> str:
    """Why the log likelihood of an observation is not had without the others; empty if it is.

    That of some observations is compared with what they have among twice as many, at two draws. Means over the data, a
    neighbour's value, or a latent for each observation show.
    """
    model, some = _looked_at(model)
    if len(some) < 2:
        return ""
    try:
        together, alone = (_pointwise(model.subset(rows)) for rows in (some, some[::2]))
    except Exception as error:  # noqa: BLE001
        return _raised(error)
    for name, x in together.items():
        if x.shape[1:2] != (len(some),):
            return f"that of {len(some)} observations of {name} has the shape {x.shape[1:]}"
        expected, found = x[:, ::2], alone[name]
        if expected.shape != found.shape:
            return f"of {len(some[::2])} observations of {name} it has the shape {found.shape[1:]}"
        same = _same(expected, found)
        if not same.all():
            k = int(np.argmin(same.reshape(2, len(some[::2]), -1).all(axis=(0, 2))))
            return (
                f"that of {name}[{some[::2][k]}] is {np.ravel(expected[:, k])[0]:.6g} among all of them and "
                f"{np.ravel(found[:, k])[0]:.6g} among half of them"
            )
    return ""


def separable(model: Model, what: str) -> None:
    """Nothing, where the log likelihood of all observations is the sum of those of any parts of them.

    It may have other shapes, as where missing values are left out.

    Raises
    ------
    ValueError
        Where it is not; the message begins with what was asked for.
    """
    model, some = _looked_at(model)
    if len(some) < 2:
        return
    try:
        whole, one, other = (_total(_pointwise(model.subset(rows))) for rows in (some, some[::2], some[1::2]))
        why = ""
        if not _same(whole, one + other).all():
            why = f"that of {len(some)} observations is {whole[0]:.6g}, and of its halves {(one + other)[0]:.6g} in all"
    except Exception as error:  # noqa: BLE001
        why = _raised(error)
    if why:
        raise ValueError(
            f"{what}: expected a log_likelihood whose value for an observation does not depend on the others, but "
            f"{why}; give what it needs of all observations as data of another length"
        )


def _looked_at(model: Model) -> tuple[Model, Array]:
    """The model by whose data it is looked at, and the observations (N,)."""
    model = model.head()
    count = model.observations()
    return model, np.unique(np.linspace(0, count - 1, min(count, _MOST)).astype(int))


def _pointwise(model: Model) -> dict[str, Array]:
    """Log likelihoods at two draws, by variable (2, N, ...)."""
    target = Target(model)
    return target.quantities("pointwise", 0.5 * np.random.default_rng(0).standard_normal((2, target.dim)))


def _total(parts: dict[str, Array]) -> Array:
    return np.asarray(sum(x.reshape(2, -1).sum(axis=1) for x in parts.values()))


def _same(one: Array, other: Array) -> Array:
    return np.asarray(np.isclose(one, other, rtol=_SAME, atol=_SAME, equal_nan=True))


def _raised(error: Exception) -> str:
    """Whatever it is that a function raises of part of its data: it cannot do without the others."""
    return f"of some of the observations it raises {type(error).__name__}: {error}"
