"""Random log joints: programs of autograd.numpy, NumPy and Python control flow, such as people write."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import autograd.numpy as anp
import hypothesis.strategies as st
import numpy as np
from autograd.tracer import getval

X = np.array([0.3, -1.2, 0.8, 2.0, -0.4])
SHAPES = {"a": (), "b": (4,), "m": (2, 3)}


class Statement(NamedTuple):
    """An operation on registers, by their numbers, with a constant."""

    name: str
    first: int
    second: int
    constant: float


def like(a: Any, b: Any) -> tuple[Any, Any]:
    """Both as they are where their shapes agree or one is a number, else their sums."""
    if np.shape(a) == np.shape(b) or not np.shape(a) or not np.shape(b):
        return a, b
    return anp.sum(a), anp.sum(b)


def flat(a: Any) -> Any:
    return anp.reshape(a, (-1,))


def first(a: Any) -> Any:
    return flat(a)[0]


def pair(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any, float], Any]:
    return lambda a, b, c: function(*like(a, b))


def branching(a: Any, b: Any, c: float) -> Any:
    return anp.sum(b) if first(a) > c else anp.sum(b) * 0.5


def looping(a: Any, b: Any, c: float) -> Any:
    total = 0.0
    for x in flat(a):
        total = total + x * c
    return total


def counting(a: Any, b: Any, c: float) -> Any:
    return anp.sum(b) + len(flat(a)[flat(a) > c])


def whiling(a: Any, b: Any, c: float) -> Any:
    x, steps = first(a), 0
    while x < c and steps < 5:
        x, steps = x + 0.7, steps + 1
    return x


def swallowing(a: Any, b: Any, c: float) -> Any:
    try:
        return anp.sum(a) if first(b) > c else -anp.sum(a)
    except Exception:
        return anp.sum(a)


def asking(a: Any, b: Any, c: float) -> Any:
    return anp.sum(b) * (2.0 if isinstance(a, np.ndarray) else 3.0 if hasattr(a, "_value") else 2.0)


def growing(a: Any, b: Any, c: float) -> Any:
    x = anp.tanh(a)
    alias = x
    x += c
    x *= 1.5
    return alias


def changing(a: Any, b: Any, c: float) -> Any:
    """What it is given, for whoever else has it."""
    a -= 0.1 * anp.tanh(a) + c
    return anp.sum(b)


def changing_a_view(a: Any, b: Any, c: float) -> Any:
    view = flat(a)
    view += 0.1 * anp.tanh(view)
    return a


def writing(a: Any, b: Any, c: float) -> Any:
    x = flat(a) * 1.0
    try:
        x[0] = c
    except TypeError:
        return anp.sum(b)
    return anp.sum(x)


def validating(a: Any, b: Any, c: float) -> Any:
    """A factor that nobody needs, of a matrix that is not definite everywhere."""
    anp.linalg.cholesky(anp.array([[2.0 + first(a), c], [c, 2.0]]))
    return anp.sum(b)


def strict(a: Any, b: Any, c: float) -> Any:
    with np.errstate(all="raise"):
        return anp.maximum(anp.log(2.0 + first(a)), c)


def lenient(a: Any, b: Any, c: float) -> Any:
    with np.errstate(all="ignore"):
        return anp.where(a > 0, anp.sqrt(a), c)


def guarded(function: Callable[[Any], Any]) -> Callable[[Any, Any, float], Any]:
    """Of sums that are bounded, so that nothing overflows."""
    return lambda a, b, c: function(anp.tanh(a) * 3.0)


OPERATIONS: dict[str, Callable[[Any, Any, float], Any]] = {
    # What records.
    "tanh": guarded(anp.tanh), "sin": guarded(anp.sin), "exp": guarded(anp.exp), "square": guarded(anp.square),
    "sqrt": guarded(lambda a: anp.sqrt(anp.abs(a) + 0.1)), "log": guarded(lambda a: anp.log(anp.abs(a) + 0.5)),
    "negative": guarded(lambda a: -a), "abs": guarded(anp.abs), "sign": guarded(anp.sign),
    "floor": guarded(anp.floor), "plain tanh": guarded(np.tanh), "plain exp": guarded(np.exp),
    "add": pair(lambda a, b: a + b), "subtract": pair(lambda a, b: a - b), "multiply": pair(lambda a, b: a * b),
    "divide": pair(lambda a, b: a / (1.0 + b * b)), "maximum": pair(anp.maximum), "minimum": pair(anp.minimum),
    "logaddexp": pair(anp.logaddexp), "arctan2": pair(lambda a, b: anp.arctan2(a, 1.0 + b * b)),
    "where": lambda a, b, c: anp.where(a > c, a, -a), "clip": lambda a, b, c: anp.clip(a, -c, c + 3.0),
    "sum": guarded(anp.sum), "mean": guarded(anp.mean), "max": guarded(anp.max), "min": guarded(anp.min),
    "prod": guarded(anp.prod), "var": guarded(anp.var), "cumsum": guarded(lambda a: anp.cumsum(flat(a))),
    "sort": guarded(lambda a: anp.sort(flat(a))), "reversed": lambda a, b, c: flat(a)[::-1],
    "element": lambda a, b, c: flat(a)[-1], "some": lambda a, b, c: flat(a)[[0, -1, 0]],
    "slice": lambda a, b, c: flat(a)[: max(np.size(a) // 2, 1)], "transpose": lambda a, b, c: anp.transpose(a),
    "stack": lambda a, b, c: anp.array([first(a), first(b), c]),
    "concatenate": lambda a, b, c: anp.concatenate([flat(a), flat(b)]),
    "outer": lambda a, b, c: anp.sum(anp.outer(flat(a), flat(b)), axis=0), "dot": lambda a, b, c: anp.dot(a, c),
    "matmul": lambda a, b, c: flat(a) @ flat(a), "data": lambda a, b, c: anp.sum(a) * X, "loop": looping,
    "masked": lambda a, b, c: anp.sum(flat(a) * (flat(a) > c)), "counted": lambda a, b, c: anp.sum(a > c) + anp.sum(b),
    "comprehension": lambda a, b, c: sum([x * c for x in flat(a)]),
    "validated": validating, "lenient": lenient, "grown": growing, "changed": changing, "written": writing,
    # What leaks values, or should not be recorded as it is.
    "changed view": changing_a_view, "strict": strict, "spoken": lambda a, b, c: anp.sum(b) + len(str(first(a))),
    "branch": branching, "length": counting, "while": whiling, "swallowed": swallowing, "asked": asking,
    "selected": lambda a, b, c: anp.sum(flat(a)[flat(a) > c]),
    "nonzero": lambda a, b, c: anp.sum(b) + len(np.nonzero(flat(a) > c)[0]),
    "argmax": lambda a, b, c: flat(a)[np.argmax(flat(a))], "argsort": lambda a, b, c: flat(a)[np.argsort(flat(a))][0],
    "integer": lambda a, b, c: anp.sum(b) * int(first(a)), "float": lambda a, b, c: float(first(a)) * c,
    "rounded": lambda a, b, c: round(first(a)) + anp.sum(b), "math": lambda a, b, c: math.tanh(first(a)) + anp.sum(b),
    "taken out": lambda a, b, c: anp.sum(b) * np.tanh(getval(first(a))), "item": lambda a, b, c: flat(a)[0].item(),
    "listed": lambda a, b, c: sorted(flat(a))[0], "text": lambda a, b, c: anp.sum(b) + len(f"{first(a):.0f}"),
    "unique": lambda a, b, c: anp.sum(b) + np.unique(np.floor(flat(a))).size,
    "any": lambda a, b, c: anp.sum(b) if np.any(flat(a) > c) else anp.sum(b) + 1.0,
    "size": lambda a, b, c: anp.sum(b) * flat(a)[flat(a) > c].size, "truth": lambda a, b, c: anp.sum(b) or c,
    "scalar": lambda a, b, c: anp.sum(b) + (1.0 if np.isscalar(first(a)) else 0.0),
    "searched": lambda a, b, c: anp.sum(b) + np.searchsorted(np.sort(X), first(a)),
}  # fmt: skip


class Program:
    """A log joint of the latents in `SHAPES`: statements one after the other, each on what came before."""

    def __init__(self, statements: list[Statement]) -> None:
        self.statements = statements

    def __call__(self, z: Any) -> Any:
        registers = [z.a, z.b, z.m]
        for name, one, other, constant in self.statements:
            result = OPERATIONS[name](registers[one % len(registers)], registers[other % len(registers)], constant)
            registers.append(result)
        return sum(anp.sum(anp.tanh(register)) for register in registers) - 0.5 * (z.a**2 + anp.sum(z.b**2))

    def __repr__(self) -> str:
        return f"Program({self.statements!r})"


def programs(longest: int = 6) -> st.SearchStrategy[Program]:
    """Of one to so many statements."""
    number = st.integers(0, 3 + longest)
    constant = st.sampled_from([-0.5, 0.0, 0.3, 1.0, 1.45])
    statement = st.builds(Statement, st.sampled_from(sorted(OPERATIONS)), number, number, constant)
    return st.lists(statement, min_size=1, max_size=longest).map(Program)
