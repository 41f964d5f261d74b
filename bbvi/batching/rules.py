"""The table of batching rules: how each recorded operation is carried out for all draws at once.

A rule is *compiled* once, when the operation has been recorded on one draw. It gets the `Operation` and returns a
function of the batched operands, arrays whose first axis runs over draws. An operation without a rule is looped over
draws, that operation alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import autograd.numpy as anp
import numpy as np
import scipy.special
from autograd.numpy.numpy_boxes import ArrayBox

from bbvi import stats
from bbvi.batching import adjoint_rules, array_rules, autodiff, product_rules
from bbvi.batching.operations import Batched, NoRule, Operation, Rule, elementwise, with_core
from bbvi.model import transforms

RULES: dict[Callable[..., Any], Rule] = {
    **array_rules.RULES,
    **product_rules.RULES,
    **adjoint_rules.RULES,
    **dict.fromkeys((*stats.ELEMENTWISE, *transforms.ELEMENTWISE), elementwise),
    **{primitive: with_core(inputs) for primitive, (inputs, _) in stats.CORE_DIMS.items()},
    **dict.fromkeys(stats.REDUCTIONS, array_rules.reduction),
    **dict.fromkeys(stats.AXISWISE, array_rules.along(1, -1)),
}


def compile_operation(operation: Operation, *, loop: bool = True) -> Callable[..., Batched]:
    """The batched form of an operation: by its rule, else by a loop over draws; `NoRule` where loops are not wanted."""
    rule = _rule_of(operation.fun)
    if rule is not None:
        try:
            return rule(operation)
        except NoRule:
            pass
    if not loop:
        raise NoRule(f"no batching rule for {getattr(operation.fun, '__name__', operation.fun)}")
    return _loop(operation)


def depends_on_values(operation: Operation, parents: tuple[int, ...], data: set[int]) -> bool:
    """Whether the shape of the result depends on the values, and not only the shapes, of arguments that are data."""
    for position, parent in zip(operation.positions, parents, strict=True):
        if parent not in data or position == 0:
            continue
        if operation.fun is anp.repeat:
            return True
        taking = operation.fun in (ArrayBox.__getitem__, autodiff.taken_at)
        if taking and np.asarray(operation.args[position]).dtype == bool:
            return True
    return False


def _rule_of(fun: Callable[..., Any]) -> Rule | None:
    if fun in RULES:
        return RULES[fun]
    raw = getattr(fun, "fun", None)
    if isinstance(raw, np.ufunc) and raw.signature is None:
        return elementwise
    return array_rules.reduction if raw is scipy.special.logsumexp else None


def _loop(operation: Operation) -> Callable[..., Batched]:
    if operation.shape is None:
        raise NoRule(f"{getattr(operation.fun, '__name__', operation.fun)} has several results and no batching rule")
    call = operation.caller()

    def apply(*operands: Batched) -> Batched:
        return anp.stack([call(*[operand[s] for operand in operands]) for s in range(len(operands[0]))])

    return apply
