"""Trust-region Newton-CG in q's own metric, for several mean-field problems on fixed draws at once.

With draws eps (S, D) the ELBO of ``N(m, diag(exp(2 r)))`` becomes the deterministic function

    F(m, r) = -(1/S) sum_s log p(m + exp(r) eps_s) - sum r

(Giordano, Ingram, Broderick 2024, eq. 4, up to a constant). Everything below lives in the natural coordinates
``x = (dm / exp(r), sqrt(2) dr)``, in which the Fisher information of q is the identity, so that no step, radius or
tolerance knows the scale of a latent. A leading axis K runs over problems that have nothing to do with each other;
they share the calls of the target.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from bbvi.solvers.curvature import MOST, Coarse, coarse, cost, few_of, preconditioned
from bbvi.solvers.hessian import ROWS, hessian
from bbvi.solvers.trust_region import FINEST, conjugate_gradient, solve_dense
from bbvi.target.protocol import LogDensity, hints_of

Array = np.ndarray

_ROOT2 = np.sqrt(2.0)
# One step may change a scale by no more than this factor's logarithm: exp(r) is far from linear beyond.
_MAX_LOG_SD_STEP = 2.0
# Hessian products of all draws that curvature at a few of them may take in gradients to be measured at once.
_AT_ONCE = 8


class Local(NamedTuple):
    """F (K,), its gradient (K, 2D) and Hessian product in natural coordinates; `finite` (K,) says where they are."""

    value: Array
    gradient: Array
    product: Callable[[Array], Array]
    finite: Array


class Step(NamedTuple):
    """One trust-region iteration of K problems.

    Attributes
    ----------
    mean, log_sd : (K, D)
    value : (K,)
    radius : (K,)
    length : (K,)
        Natural length of the step that was tried.
    gradient_norm : (K,)
        Natural norm of the gradient before the step.
    accepted, newton : (K,) of bool
        Whether the step was taken; whether it was a full Newton step, which says how far the optimum is.
    by : Coarse, optional
        What it was preconditioned by, where one problem of many draws is.
    """

    mean: Array
    log_sd: Array
    value: Array
    radius: Array
    length: Array
    gradient_norm: Array
    accepted: Array
    newton: Array
    by: Coarse | None = None


def objective(target: LogDensity, mean: Array, log_sd: Array, eps: Array) -> Array:
    """F of K problems: mean, log_sd (K, D), eps (K, S, D) -> (K,); ``inf`` where a draw has no finite density."""
    k, s, d = eps.shape
    u = mean[:, None] + np.exp(log_sd)[:, None] * eps
    values = target.values(u.reshape(k * s, d)).reshape(k, s)
    return np.asarray(-values.mean(axis=1) - log_sd.sum(axis=1))


def localize(target: LogDensity, mean: Array, log_sd: Array, eps: Array) -> Local:
    """F, gradient and Hessian product of K problems; one gradient and, per product, one Hessian product per draw.

    With g_s the gradient at draw s in q's scales, and h_s the Hessian product there,
    grad = (-mean g, (-mean eps g - 1) / sqrt 2) and H (a, b) = (-mean h, (-mean eps h - b mean eps g / sqrt 2) /
    sqrt 2) where h_s is taken along a + eps_s b / sqrt 2.
    """
    k, s, d = eps.shape
    sd = np.exp(log_sd)[:, None]
    u = mean[:, None] + sd * eps
    values, gradients, hessian_product = target.linearize(u.reshape(k * s, d), sd.mean(axis=(0, 1)))
    g = sd * gradients.reshape(k, s, d)
    weight = (eps * g).mean(axis=1)
    gradient = np.concatenate([-g.mean(axis=1), (-weight - 1) / _ROOT2], axis=1)
    value = -values.reshape(k, s).mean(axis=1) - log_sd.sum(axis=1)

    def product(x: Array) -> Array:
        a, b = x[:, None, :d], x[:, None, d:] / _ROOT2
        v = sd * (a + eps * b)
        h = sd * hessian_product(v.reshape(k * s, d)).reshape(k, s, d)
        low = (-(eps * h).mean(axis=1) - weight * b[:, 0]) / _ROOT2
        return np.concatenate([-h.mean(axis=1), low], axis=1)

    finite = np.isfinite(value) & np.isfinite(gradient).all(axis=1)
    return Local(value, gradient, product, finite)


@np.errstate(all="ignore")
def iterate(
    target: LogDensity,
    mean: Array,
    log_sd: Array,
    eps: Array,
    radius: Array,
    *,
    precision: float = 1e-2,
    by: Coarse | None = None,
) -> Step:
    """One trust-region Newton-CG iteration of each of K problems.

    mean, log_sd (K, D), eps (K, S, D), radius (K,), and what the step before was preconditioned by. Small problems form
    their Hessians and solve for the step exactly; large ones use truncated conjugate gradients, whose forcing term is
    the gradient's norm (Nocedal and Wright 2006, eq. 7.3) within bounds: convergence is superlinear at first, then fast
    enough.
    """
    k, s, d = eps.shape
    dense = k * s * d * max(hints_of(target).width, d) <= ROWS
    if dense:
        before, gradient, matrix = hessian(target, mean, log_sd, eps)
        finite = np.isfinite(before) & np.isfinite(gradient).all(axis=1) & np.isfinite(matrix).all(axis=(1, 2))
        norm = np.linalg.norm(gradient, axis=1)
        gradient = np.where(finite[:, None], gradient, 0.0)
        matrix = np.where(finite[:, None, None], matrix, np.eye(2 * d))
        x, hx, interior = solve_dense(matrix, gradient, radius)
    else:
        local = localize(target, mean, log_sd, eps)
        before, gradient, finite = local.value, local.gradient, local.finite
        norm = np.linalg.norm(gradient, axis=1)
        gradient = np.where(finite[:, None], gradient, 0.0)
        forcing = np.where(finite, np.clip(norm, FINEST, precision) * norm, np.inf)
        if k == 1 and few_of(d) < s and d <= MOST and finite[0]:
            x, hx, interior, by = _by_curvature(target, local, mean, log_sd, eps, radius, forcing, by)
        else:
            x, hx, interior = conjugate_gradient(
                local.product, -gradient, radius=radius, tolerance=forcing, iterations=4 * d + 10
            )
    largest = np.abs(x[:, d:]).max(axis=1) / (_ROOT2 * _MAX_LOG_SD_STEP)
    clipped = largest > 1
    predicted = -np.sum(x * (gradient + hx / 2), axis=1)
    if clipped.any():
        # The step with its log sds clipped goes further, but only the shortened step is sure to go down.
        product = (lambda v: np.einsum("kpq,kq->kp", matrix, v)) if dense else local.product
        limit = _ROOT2 * _MAX_LOG_SD_STEP
        cut = np.concatenate([x[:, :d], np.clip(x[:, d:], -limit, limit)], axis=1)
        short = x / np.maximum(largest, 1.0)[:, None]
        cut_hx, short_hx = product(cut), hx / np.maximum(largest, 1.0)[:, None]
        cut_gain = -np.sum(cut * (gradient + cut_hx / 2), axis=1)
        short_gain = -np.sum(short * (gradient + short_hx / 2), axis=1)
        x = np.where((cut_gain > short_gain)[:, None], cut, short)
        predicted = np.maximum(cut_gain, short_gain)
    sd = np.exp(log_sd)
    new_mean, new_log_sd = mean + sd * x[:, :d], log_sd + x[:, d:] / _ROOT2
    value = objective(target, new_mean, new_log_sd, eps)
    # Below this F is rounding error, and the ratio must not decide (Conn, Gould, Toint 2000, section 17.4.2).
    relative = max(1e-14 * eps.shape[1], 4 * hints_of(target).rounding)
    noise = relative * np.maximum(np.abs(before), 1.0)
    with np.errstate(all="ignore"):
        ratio = (before - value + noise) / (predicted + noise)
    length = np.linalg.norm(x, axis=1)
    good = np.isfinite(value) & finite & (predicted >= 0) & (ratio > 1e-4)
    boundary = ~interior & (length > 0.9 * radius)
    radius = np.where(good & (ratio > 0.75) & boundary, 4 * radius, radius)
    radius = np.where(~good | (ratio < 0.25), np.minimum(radius, length) / 4, radius)
    keep = good[:, None]
    return Step(
        mean=np.where(keep, new_mean, mean),
        log_sd=np.where(keep, new_log_sd, log_sd),
        value=np.where(good, value, before),
        radius=radius,
        length=length,
        gradient_norm=norm,
        accepted=good,
        newton=interior & ~clipped,
        by=by,
    )


def _by_curvature(
    target: LogDensity,
    local: Local,
    mean: Array,
    log_sd: Array,
    eps: Array,
    radius: Array,
    forcing: Array,
    by: Coarse | None,
) -> tuple[Array, Array, Array, Coarse | None]:
    """The step of one problem of many draws, preconditioned by the curvature at a few of them.

    That is measured where it takes no more than some products do; else what is known from a step before serves, or
    none, until it has taken as many iterations.
    """
    rhs, (_, s, d) = -local.gradient, eps.shape
    pattern = None if by is None else by.pattern
    x, hx, interior, reach = np.zeros_like(rhs), np.zeros_like(rhs), np.array([False]), float(radius[0])
    if by is not None and pattern is None or cost(d, pattern) > _AT_ONCE * s:
        few = few_of(d) * d // s + 10
        if by is None:
            x, hx, interior = conjugate_gradient(local.product, rhs, radius=radius, tolerance=forcing, iterations=few)
        else:
            by = by.at(log_sd[0])
            x, hx, there = preconditioned(local.product, rhs, x, hx, by, float(forcing[0]), few, reach)
            interior = np.array([there])
        # Where nothing but their number ended them, more are needed.
        if np.linalg.norm(x) >= 0.99 * reach or np.linalg.norm(rhs - hx) <= forcing[0]:
            return x, hx, interior, by
    fresh = coarse(lambda u: target.gradients(u)[1], mean[0], log_sd[0], eps[0], pattern)
    if fresh is not None:
        x, hx, there = preconditioned(local.product, rhs, x, hx, fresh, float(forcing[0]), 4 * d + 10, reach)
        interior = np.array([there])
    elif not x.any():
        most = 4 * d + 10
        x, hx, interior = conjugate_gradient(local.product, rhs, radius=radius, tolerance=forcing, iterations=most)
    return x, hx, interior, fresh or by
