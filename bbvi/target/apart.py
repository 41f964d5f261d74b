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
    """Why the log likelihood cannot be taken in parts of the observations; empty if it can.

    That of some observations is compared with what they have among twice as many, at two draws. Means over the data, a
    neighbour's value, or a latent for each observation show.
    """
    model = model.head()
    count = model.observations()
    some = np.unique(np.linspace(0, count - 1, min(count, _MOST)).astype(int))
    if len(some) < 2:
        return ""
    whole = Target(model.subset(some) if len(some) < count else model)
    u = 0.5 * np.random.default_rng(0).standard_normal((2, whole.dim))
    try:
        together = whole.quantities("pointwise", u)
        alone = Target(model.subset(some[::2])).quantities("pointwise", u)
    except Exception as error:  # noqa: BLE001
        # Whatever it is that a function raises of part of its data: it cannot do without the others.
        return f"of some of the observations it raises {type(error).__name__}: {error}"
    for name, x in together.items():
        if x.shape[1:2] != (len(some),):
            return f"that of {len(some)} observations of {name} has the shape {x.shape[1:]}"
        expected, found = x[:, ::2], alone[name]
        if expected.shape != found.shape:
            return f"of {len(some[::2])} observations of {name} it has the shape {found.shape[1:]}"
        same = np.isclose(expected, found, rtol=_SAME, atol=_SAME, equal_nan=True)
        if not same.all():
            k = int(np.argmin(same.reshape(2, len(some[::2]), -1).all(axis=(0, 2))))
            return (
                f"that of {name}[{some[::2][k]}] is {np.ravel(expected[:, k])[0]:.6g} among all of them and "
                f"{np.ravel(found[:, k])[0]:.6g} among half of them"
            )
    return ""


def apart(model: Model, what: str) -> None:
    """Nothing, where the log likelihood can be taken in parts.

    Raises
    ------
    ValueError
        Where it cannot; the message begins with what was asked for.
    """
    why = tied(model)
    if why:
        raise ValueError(
            f"{what}: expected a log_likelihood whose value for an observation does not depend on the others, but "
            f"{why}; give what it needs of all observations as data of another length"
        )
