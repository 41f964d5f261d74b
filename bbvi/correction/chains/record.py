"""Draws of chains as they come, and what they say of their own accuracy."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bbvi.correction.chains.agreement import of_sds
from bbvi.correction.chains.controls import POINTS, Controls, errors_of
from bbvi.correction.chains.history import History, flattened
from bbvi.correction.chains.policy import ChainPolicy
from bbvi.correction.chains.rhat import ALARM, Errors, Mixing, Sums, mixing
from bbvi.correction.chains.trajectories import (
    Density,
    Stand,
    Trajectory,
)

if TYPE_CHECKING:
    from bbvi.correction.chains.draws import Chains

Array = np.ndarray
# Labels, and what is reported, (S, R), of draws (S, D).
Measure = Callable[[Array], tuple[Sequence[str], Array]]


class Record:
    """Draws as they come, with the quantities that are reported, and how trajectories went."""

    def __init__(
        self, density: Density, measure: Measure, stand: Stand, policy: ChainPolicy, most: int, earlier: Chains | None
    ) -> None:
        self.measure, self.policy, self.stand = measure, policy, stand
        self.before = 0 if earlier is None else earlier.draws.shape[1]
        self.draws, self.values, self.columns = (History(most + self.before) for _ in range(3))
        self.sums = Sums(policy.superchains, most + self.before)
        self.labels: Sequence[str] = ()
        self.accepted: list[Array] = []
        self.divergent: list[Array] = []
        self.controls: Controls | None = None
        if earlier is None:
            y, _, variances = stand.controls()
            self.controls = Controls.begun(y, variances)
            return
        self.controls = copy.deepcopy(earlier.controls)
        for row, values in zip(np.moveaxis(earlier.as_drawn, 1, 0), earlier.log_density.T, strict=True):
            self._append(row, density.values(row) if earlier.adjusted else values)

    def add(self, moved: Trajectory) -> None:
        """Where chains stand after a trajectory."""
        self.stand = stand = moved.stand
        self._append(stand.u, stand.log_density)
        if self.controls is not None:
            self.controls.append(*stand.controls())
        self.accepted.append(moved.acceptance)
        self.divergent.append(moved.divergent)

    def _append(self, u: Array, values: Array) -> None:
        self.labels, column = self.measure(u)
        self.columns.append(column)
        self.sums.append(column)
        self.draws.append(u)
        self.values.append(values)

    @property
    def new(self) -> int:
        """Draws of each chain that were taken here."""
        return self.draws.length - self.before

    def mend(self) -> None:
        """Leave out an iteration that an interrupt cut short, and the sums of which nobody knows how far they came."""
        whole = min(self.draws.length, self.values.length, self.columns.length)
        for history in (self.draws, self.values, self.columns):
            history.length = whole
        self.sums = Sums.of(self.columns.rows, self.policy.superchains)
        self.controls = None

    # ---- what chains say of their accuracy --------------------------------------------------------------------------

    def mixing(self) -> Mixing:
        """Of the draws as they came, heavy tails aside."""
        return self.sums.mixing(ALARM / self.sums.first.shape[1])

    def errors(self) -> Errors:
        """Standard errors of what is reported, heavy tails aside."""
        if self.controls is None:
            return of_sds(self.mixing().errors, self.columns.rows)
        u, stand = flattened(self.draws.rows), self.stand
        some = u[np.linspace(0, len(u) - 1, POINTS).astype(int)]
        found = errors_of(
            self.sums,
            self.controls.adjustment(),
            stand.to_frame(some),
            lambda y: np.asarray(self.measure(stand.of_frame(y))[1]),
        )
        return of_sds(found, self.columns.rows)

    def last_look(self) -> Mixing:
        """With widths, about which chains may disagree though their means are the same."""
        found = self.mixing()
        squares = mixing(self.columns.rows, self.policy.superchains, folded=True)
        return found._replace(
            rhat=np.maximum(found.rhat, squares.rhat),
            excess=np.maximum(found.excess, squares.excess),
            drift=np.maximum(found.drift, squares.drift),
        )
