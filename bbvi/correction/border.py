"""The border of the support, which a surrogate goes over: it knows the values where there are some, and no others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from bbvi.correction.compared import usable
from bbvi.correction.emulation import SurrogateKind
from bbvi.correction.pool import Evaluated

Array = np.ndarray

# Share of the posterior nearer to an evaluation that failed than to any other, from which intervals are in doubt.
_OUTSIDE = 0.005


def with_border(kind: SurrogateKind, evaluated: Evaluated, whiten: Callable[[Array], Array]) -> SurrogateKind:
    """The kind with what evaluations that failed say of it: that a part of its draws lies where there is no density.

    A draw counts as outside where the nearest evaluation, in whitened coordinates, was -inf or no number.
    """
    # Only fits from values need it, and it takes a twentieth of what importing bbvi does.
    from scipy.spatial import cKDTree

    failed = ~usable(evaluated.log_density)
    if not failed.any() or failed.all():
        return kind
    nearest = cKDTree(whiten(evaluated.u)).query(whiten(kind.draws))[1]
    weights = np.exp(kind.log_weights - kind.log_weights.max())
    outside = float(weights[failed[nearest]].sum() / weights.sum())
    if not outside > _OUTSIDE:
        return kind
    told = (
        f"the log joint is not finite at {int(failed.sum())} evaluations, next to which {outside:.1%} of the posterior "
        "would be: the surrogate does not know the border of the support (declare it as bounds of the latents)"
    )
    return replace(kind, problems=(*kind.problems, told))
