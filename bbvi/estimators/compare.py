"""Bias, variance and cost of gradient estimators, measured side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from bbvi.estimators.base import Estimator, positive_int
from bbvi.estimators.cost import FunctionCost, TargetCost, as_cost
from bbvi.estimators.gradient import as_estimator
from bbvi.estimators.quadrature import exact_gradient
from bbvi.estimators.score_function import ScoreFunction
from bbvi.families.protocol import Distribution, Scored

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray

COLUMNS = ["estimator", "draws", "coordinate", "bias", "bias_se", "variance", "evaluations"]


def compare_estimators(
    cost_or_model: Any,
    q: Distribution,
    estimators: Iterable[Any] = ("pathwise", "score"),
    draws: int | Iterable[int] = (10, 100),
    repeats: int = 200,
    exact: Any = None,
    seed: Any = None,
) -> pd.DataFrame:
    """Measure estimators on a cost: which one, and how many draws?

    Parameters
    ----------
    cost_or_model : callable or Model
        As for `estimate_gradient`.
    q : MeanFieldGaussian or any object with ``sample`` and ``score`` (and ``path`` for pathwise)
        The distribution of the draws.
    estimators : iterable of str or Estimator
        Their labels in the table are unique and in this order.
    draws : int or iterable of int
        Numbers of draws to measure at.
    repeats : int
        Independent estimates for each estimator and number of draws, at least 2. Their variance has a
        relative standard error of about ``sqrt(2 / repeats)``, more where the estimates have long tails.
    exact : array_like, shape (P,), optional
        The true gradient. Without it Gauss-Hermite quadrature is the reference where it can be (a Gaussian q
        of at most three coordinates, a cost that is finite there), else the bias is NaN.
    seed : int, SeedSequence or None
        Every row of the table has a random stream of its own.

    Returns
    -------
    DataFrame
        A row for each estimator, number of draws and coordinate, with columns ``estimator``, ``draws``,
        ``coordinate`` (``mean[0]``, ``log_sd[0]``, ...), ``bias``, ``bias_se`` (its Monte Carlo error),
        ``variance`` (that of the N-draw estimate) and ``evaluations`` (of the cost, per estimate; a gradient
        counts as one). Which terms a latent touches is found once per estimator and not counted in its rows;
        ``attrs["probe_evaluations"]`` has what that took, by label.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of these kinds.
    """
    import pandas as pd

    if isinstance(estimators, str) or not isinstance(estimators, Iterable):
        estimators = [estimators]
    chosen = [as_estimator(estimator) for estimator in estimators]
    counts = [positive_int("draws", n) for n in (draws if isinstance(draws, Iterable) else [draws])]
    for name, given in (("estimators", chosen), ("draws", counts)):
        if not given:
            raise ValueError(f"{name}: expected at least one, got none")
    positive_int("repeats", repeats, least=2)
    cost = as_cost(cost_or_model, q)
    names = _parameter_names(q)
    reference = exact_gradient(cost, q) if exact is None else _as_gradient(exact, len(names))
    labels, frames, probes = unique_labels(chosen), [], {}
    seeds = np.random.SeedSequence(seed) if not isinstance(seed, np.random.SeedSequence) else seed
    for label, estimator in zip(labels, chosen, strict=True):
        structure_seed, *seeds_of_counts = (np.random.default_rng(s) for s in seeds.spawn(1 + len(counts)))
        known, before = {}, cost.evaluations
        if isinstance(estimator, ScoreFunction):
            known["structure"] = estimator.structure(cost, q, structure_seed)
        probes[label] = cost.evaluations - before
        for n, rng in zip(counts, seeds_of_counts, strict=True):
            gradients, evaluations = _measure(estimator, cost, q, n, repeats, rng, **known)
            row = {"estimator": label, "draws": n, "coordinate": names, "evaluations": evaluations}
            frames.append(pd.DataFrame(row | _summarize(gradients, reference))[COLUMNS])
    table = pd.concat(frames, ignore_index=True)
    table.attrs["probe_evaluations"] = probes
    return table


def unique_labels(estimators: list[Estimator]) -> list[str]:
    """A label for each estimator; one that was taken already gets a number."""
    labels: list[str] = []
    seen: Counter[str] = Counter()
    for estimator in estimators:
        base = str(getattr(estimator, "label", type(estimator).__name__))
        label = base
        while label in labels:
            seen[base] += 1
            label = f"{base} #{seen[base] + 1}"
        labels.append(label)
    return labels


def _measure(
    estimator: Estimator,
    cost: FunctionCost | TargetCost,
    q: Distribution,
    draws: int,
    repeats: int,
    rng: np.random.Generator,
    **known: Any,
) -> tuple[Array, int]:
    """Estimates (repeats, P), and evaluations per estimate."""
    gradients, before = [], 0
    for _ in range(repeats):
        # The first estimate of all may pay for a recording of the cost, so that the last is counted.
        before = cost.evaluations
        gradients.append(estimator.estimate(cost, q, draws, rng, **known).gradient)
    return np.array(gradients), cost.evaluations - before


def _summarize(gradients: Array, exact: Array | None) -> dict[str, Array]:
    variance = np.var(gradients, axis=0, ddof=1)
    bias = np.full(variance.shape, np.nan) if exact is None else np.mean(gradients, axis=0) - exact
    return {"bias": bias, "bias_se": np.sqrt(variance / len(gradients)), "variance": variance}


def _parameter_names(q: Distribution) -> list[str]:
    if hasattr(q, "parameters"):
        return list(q.parameters)
    if not isinstance(q, Scored):
        raise TypeError(f"q: expected an object with parameters or score, got {type(q).__name__}")
    return [f"parameter[{i}]" for i in range(np.shape(q.score(q.sample(1, np.random.default_rng(0))))[1])]


def _as_gradient(exact: Any, size: int) -> Array:
    gradient = np.asarray(exact, dtype=float).reshape(-1)
    if gradient.size != size:
        raise ValueError(f"exact: expected {size} values, one per parameter of q, got {gradient.size}")
    return gradient
