"""Whoever interrupts a fit gets the best so far, and does not wait for it."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

import bbvi

X = np.random.default_rng(0).normal(size=(60, 3))
Y = X.sum(axis=1) + np.random.default_rng(1).normal(size=60)
SLEEP = 0.0004


class Interrupted:
    """A regression with a slow gradient of its own, in which somebody presses Ctrl-C at one of the calls."""

    def __init__(self, at: int) -> None:
        self.at, self.calls = at, 0

    def called(self) -> None:
        self.calls += 1
        if self.calls == self.at:
            raise KeyboardInterrupt

    def log_joint(self, z: Any) -> float:
        self.called()
        return float(-0.5 * np.sum((Y - X @ np.tanh(z.b)) ** 2) - 0.5 * np.sum(z.b**2))

    def gradient(self, z: Any) -> tuple[float, dict[str, Any]]:
        self.called()
        t = np.tanh(z.b)
        r = Y - X @ t
        return float(-0.5 * np.sum(r**2) - 0.5 * np.sum(z.b**2)), {"b": (X.T @ r) * (1 - t**2) - z.b}


def calls_of_a_whole_fit() -> int:
    whole = Interrupted(10**9)
    bbvi.fit(bbvi.Model(whole.log_joint, {"b": 3}, gradient=whole.gradient), seed=1)
    return whole.calls


WHOLE = calls_of_a_whole_fit()


@pytest.mark.parametrize("share", [0.01, 0.05, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9, 0.99])
def test_an_interrupt_at_any_moment_ends_the_fit(share: float) -> None:
    """With the best that there is, never reliable."""
    user = Interrupted(int(share * WHOLE))
    fit = bbvi.fit(bbvi.Model(user.log_joint, {"b": 3}, gradient=user.gradient), seed=1)
    assert fit.status is bbvi.Status.INTERRUPTED and fit.verdict != "reliable"
    assert "interrupted" in fit.message
    assert np.isfinite(fit.summary()["mean"]).all()


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_nothing_is_begun_afterwards_that_takes_long(share: float) -> None:
    """All calls take their time: after an interrupt there are no more than a second has."""

    class Slow(Interrupted):
        def called(self) -> None:
            time.sleep(SLEEP)
            super().called()

    user = Slow(int(share * WHOLE))
    fit = bbvi.fit(bbvi.Model(user.log_joint, {"b": 3}, gradient=user.gradient), seed=1)
    assert fit.status is bbvi.Status.INTERRUPTED
    assert user.calls - user.at <= 1.0 / SLEEP
