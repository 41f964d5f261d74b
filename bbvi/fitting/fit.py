"""`fit`: the one entry point, from a model to a posterior with a verdict."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bbvi.fitting import arguments, pipeline
from bbvi.fitting.checkpoint import identity, keeping
from bbvi.fitting.job import Job
from bbvi.model.model import Model
from bbvi.result.fit import Fit
from bbvi.solvers.loop import Progress
from bbvi.threads import single_threaded


@single_threaded
def fit(
    model: Model | Callable[..., Any],
    latents: Mapping[str, Any] | int | None = None,
    *,
    estimator: Any = "auto",
    solver: Any = "auto",
    family: Any = "mean-field",
    seed: int | None = None,
    init: Any = None,
    evaluated: Any = None,
    tolerance: float = 0.05,
    max_evaluations: int | None = None,
    max_seconds: float | None = None,
    max_memory: float | str | None = None,
    threads: int | None = None,
    callback: Callable[[Progress], Any] | None = None,
    progress: bool | None = None,
    executor: Any = None,
    cluster: Any = None,
    checkpoint: str | Path | None = None,
) -> Fit:
    """Fit a Gaussian by maximising the ELBO, correct it, and say how far it can be relied on.

    Parameters
    ----------
    model : Model or callable
        A log joint alone is wrapped in a `Model`, with `latents`.
    latents : dict or int, optional
        Only with a callable.
    estimator : str or object
        ``"auto"`` (pathwise where a gradient exists, else score), ``"pathwise"``, ``"score"``, `Pathwise` or
        `ScoreFunction`. Where gradients are not the derivative of the values (rounding, steps), the score function is
        used and the fit says so.
    solver : str or object
        ``"auto"``, `FixedDraws` (the default for pathwise), `NaturalGradient` (for score) or `Stochastic` (any).
    family : str or object
        The Gaussian that the ELBO is maximised over: ``"mean-field"``, ``"full-rank"`` (any covariance, up to 2,000
        latents), ``"low-rank"`` (independent coordinates and a few common factors, for many latents), `FullRank` or
        `LowRank`. A wider family begins at the optimum of mean field, and `Fit.approximation` is of it.
    seed : int, optional
        Makes the fit, and everything drawn from it, reproducible.
    init : dict, array or Fit, optional
        Where to start: values of the latents on the constrained scale, flat unconstrained values (D,), or an earlier
        fit. Without it a handful of dispersed starts is compared.
    evaluated : Fit or (draws, values), optional
        Where only values are known: what was evaluated before, as `Fit.evaluated` has it, so that it need not be paid
        for again: flat unconstrained draws (N, D) and their log densities (N,). A fit that is given as `init` brings
        its own.
    tolerance : float
        Monte Carlo error that the fit may leave in a mean, in posterior sds.
    max_evaluations, max_seconds : optional
        Budgets. Evaluations count per draw, everything included.
    max_memory : float or str, optional
        Bytes (or text, as ``"2GB"``) that draws of many latents, and what is computed at them, may take where they are
        held; by default a quarter of what is free. What does not fit is computed again, or not drawn.
    threads : int, optional
        Threads on which large arrays are worked on, by default as many as there are cores; the result is the same
        whatever their number.
    callback : callable, optional
        Called with a `Progress` after each step; returning True ends the fit.
    progress : bool, optional
        Progress bar on standard error, or in a notebook, with the stage that the fit is in; None shows it in a terminal
        or a notebook, for fits of over two seconds.
    executor : concurrent.futures.Executor, optional
        Evaluates draws in parallel.
    cluster : distributed.Client, optional
        Spreads the data by rows over the workers of a Dask cluster, for models with ``log_prior`` and
        ``log_likelihood``: what each says of its rows is summed here. Workers may die, and join, while the fit runs.
    checkpoint : path, optional
        A log of what the log joint says, written while the fit runs. The same fit made again with it calls nothing that
        the log holds and ends the same, bit by bit.

    Returns
    -------
    Fit

    Raises
    ------
    TypeError, ValueError
        If an argument or the log joint is not what it should be; the message names it.
    """
    started = time.perf_counter()
    model = arguments.as_model(model, latents)
    method = arguments.choose_method(estimator, solver)
    free = method.estimator is None
    limits = arguments.as_limits(max_evaluations, max_seconds, callback, progress, checkpoint)
    tolerance, seed = arguments.as_tolerance(tolerance), None if seed is None else arguments.as_seed(seed)
    room = arguments.as_memory(max_memory)
    target = arguments.as_target(model, executor, cluster, threads, room)
    target.kept = []
    given = arguments.start_of(target, init)
    known_by = partial(identity, model if cluster is not None else target.model, method, given, tolerance)
    with keeping(limits.checkpoint, target, known_by, seed) as chosen:
        # Evaluated on plain arrays first, so that an error in a user's function shows as itself.
        target.values(np.zeros((1, target.dim)) if given is None else given.mean[None])
        if method.gradients and not target.has_gradient:
            method = arguments.without_gradient(method)
        if method.gradients:
            target.kept = None
            if evaluated is not None:
                raise ValueError("evaluated: expected none where gradients are used; say estimator='score'")
        else:
            if isinstance(solver, str):
                method = arguments.sized(method, target.dim)
            known = arguments.known_values(target, evaluated, init)
            if known is not None:
                target.recall(*known)
            target.tolerant = True
        method = arguments.as_family(family, target, method)
        return pipeline.run(Job(target, method, given, chosen, tolerance, limits, started, free=free))
