"""A recording is the function, or is refused: random programs, replayed at 300 draws and compared with themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fuzz import SHAPES, Program, Statement, programs
from hypothesis import HealthCheck, assume, given, settings

import bbvi
from bbvi.target.target import Target

DRAWS = np.random.default_rng(0).normal(scale=1.5, size=(300, 11))
FEW = settings(
    max_examples=2000, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
MANY = settings(FEW, max_examples=100_000)


def compare(program: Program) -> str:
    """Compare replay and function at all draws; "recorded", "refused", or "raises" where the program itself fails."""
    model = bbvi.Model(program, {name: bbvi.Real(shape=shape) for name, shape in SHAPES.items()})
    target, plain = Target(model), Target(model, replay=False)
    with np.errstate(all="ignore"):
        try:
            target.values(DRAWS[:4])
            if not target.recorded:
                return "refused"
            right = plain.values(DRAWS)
        except (TypeError, ValueError, IndexError, AttributeError):
            return "raises"
        found = target.values(DRAWS)
    np.testing.assert_allclose(found, right, rtol=1e-8, atol=1e-8, err_msg=repr(program))
    return "recorded"


def test_a_wrong_replay_would_be_found() -> None:
    """A log joint that is another from its twentieth call on, which no refusal tells."""
    calls: list[int] = []

    class Turning(Program):
        def __call__(self, z: Any) -> Any:
            calls.append(1)
            return super().__call__(z) + (1.0 if len(calls) > 20 else 0.0) * z.a

    with pytest.raises(AssertionError):
        compare(Turning([Statement("tanh", 0, 1, 0.3)]))


def check(program: Program) -> None:
    assume(compare(program) != "raises")


@given(programs())
@FEW
def test_replays_are_never_different_without_a_refusal(program: Program) -> None:
    check(program)


@pytest.mark.torture
@given(programs(longest=10))
@MANY
def test_a_hundred_thousand_are_never_different(program: Program) -> None:
    check(program)
