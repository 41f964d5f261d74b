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

from bbvi.solvers.curvature import MOST, coarse, few_of, preconditioned
from bbvi.solvers.sparsity import FEWEST, pattern_of, probe_of
from bbvi.target.protocol import LogDensity

Array = np.ndarray

_ROOT2 = np.sqrt(2.0)
# One step may change a scale by no more than this factor's logarithm: exp(r) is far from linear beyond.
_MAX_LOG_SD_STEP = 2.0
# Relative residual below which conjugate gradients are not run: one step more costs less than the last digits of one.
_FINEST = 3e-3
# Newton steps for the multiplier of a trust region; four or five are the rule.
_SHIFTS = 50
# Numbers per array up to which Hessians are formed at once: below, Python's overhead costs more than the arithmetic.
ROWS = 2**19


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
    """

    mean: Array
    log_sd: Array
    value: Array
    radius: Array
    length: Array
    gradient_norm: Array
    accepted: Array
    newton: Array


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
def hessian(target: LogDensity, mean: Array, log_sd: Array, eps: Array) -> tuple[Array, Array, Array]:
    """F (K,), gradient (K, 2D) and Hessian (K, 2D, 2D) of K problems in natural coordinates.

    With G = sd H_s sd the blocks are -mean G, -mean G eps / sqrt 2, and -(mean eps G eps + diag(mean eps g)) / 2. Small
    problems lay out every draw D times, so that one Hessian product of the target gives whole Hessians H_s; large ones
    ask for column after column, or for many at once where no two of them share a row.
    """
    k, s, d = eps.shape
    sd = np.exp(log_sd)[:, None]
    u = (mean[:, None] + sd * eps).reshape(k * s, d)
    directions = np.eye(d) * sd[:, :, None, :]
    if k * s * d * _width(target) <= ROWS:
        linear = target.linearize(np.repeat(u, d, axis=0), sd.mean(axis=(0, 1)))
        values, gradients = linear.values[::d], linear.gradients[::d]
        v = np.broadcast_to(directions, (k, s, d, d)).reshape(k * s * d, d)
        blocks = _of_matrices(linear.hessian_product(v).reshape(k, s, d, d) * sd[:, :, None], eps)
    else:
        linear = target.linearize(u, sd.mean(axis=(0, 1)))
        values, gradients = linear.values, linear.gradients

        def column(direction: Array) -> Array:
            return np.asarray(sd * linear.hessian_product(np.repeat(direction, s, axis=0)).reshape(k, s, d))

        found = None if k > 1 else _sparse(target, column, u, sd[0, 0], eps[0])
        blocks = _by_columns(column, directions[:, 0], eps) if found is None else found
    g = sd * gradients.reshape(k, s, d)
    weight = (eps * g).mean(axis=1)
    full = np.empty((k, 2 * d, 2 * d))
    full[:, :d, :d], full[:, :d, d:], full[:, d:, d:] = (-one for one in blocks)
    full[:, :d, d:] /= _ROOT2
    full[:, d:, d:] /= 2.0
    full[:, np.arange(d, 2 * d), np.arange(d, 2 * d)] -= weight / 2
    full[:, d:, :d] = full[:, :d, d:].transpose(0, 2, 1)
    gradient = np.concatenate([-g.mean(axis=1), (-weight - 1) / _ROOT2], axis=1)
    value = -values.reshape(k, s).mean(axis=1) - log_sd.sum(axis=1)
    return value, gradient, (full + full.transpose(0, 2, 1)) / 2


class _Blocks(NamedTuple):
    """Means over draws of G, of G eps, of which the second index counts, and of eps G eps, (K, D, D) each."""

    plain: Array
    tilted: Array
    twice: Array


def _of_matrices(curved: Array, eps: Array) -> _Blocks:
    """From G of each draw, (K, S, D, D), which is overwritten."""
    s = eps.shape[1]
    plain = np.add.reduce(curved, axis=1) / s
    curved *= eps[:, :, None]
    tilted = np.add.reduce(curved, axis=1) / s
    curved *= eps[:, :, :, None]
    return _Blocks(plain, tilted, np.add.reduce(curved, axis=1) / s)


def few_draws(target: LogDensity, mean: Array, log_sd: Array, eps: Array) -> tuple[Array, float]:
    """The Hessian (2D, 2D) of F at its optimum, as of a design with exact second moments, from a few draws; its error.

    G = sd H_s sd is taken apart into its mean over the draws, whose part in each block is known, and deviations, which
    are averaged as they are: of a Gaussian nothing is left to average. At the optimum mean eps g is -1. The error is
    relative: that of the mean of G in its least known direction, by the spread of the draws (S, D).
    """
    s, d = eps.shape
    sd = np.exp(log_sd)
    linear = target.linearize(mean + sd * eps, sd)
    curved = np.stack([sd * linear.hessian_product(np.tile(row, (s, 1))) for row in np.diag(sd)], axis=1)
    if not np.isfinite(curved).all():
        return np.full((2 * d, 2 * d), np.nan), np.inf
    curved = (curved + curved.transpose(0, 2, 1)) / 2
    plain = curved.mean(axis=0)
    roots, axes = np.linalg.eigh(-plain)
    if not roots[0] > 0:
        return np.full((2 * d, 2 * d), np.nan), np.inf
    apart = curved - plain
    whitened = (axes / np.sqrt(roots)).T @ apart @ (axes / np.sqrt(roots))
    error = np.sqrt(np.linalg.norm(np.mean(whitened @ whitened, axis=0), 2) / s)
    tilted = np.mean(apart * eps[:, None, :], axis=0)
    twice = np.diag(np.diag(plain)) + np.mean(apart * eps[:, None, :] * eps[:, :, None], axis=0)
    full = -np.block([[plain, tilted / _ROOT2], [tilted.T / _ROOT2, (twice - np.eye(d)) / 2]])
    return (full + full.T) / 2, float(error)


def _by_columns(column: Callable[[Array], Array], directions: Array, eps: Array) -> _Blocks:
    """From one column of G, of all draws (K, S, D), after the other."""
    k, s, d = eps.shape
    plain, tilted, twice = (np.empty((k, d, d)) for _ in range(3))
    for j in range(d):
        one = column(directions[:, j])
        turned = one * eps
        plain[:, j] = np.add.reduce(one, axis=1) / s
        tilted[:, j] = np.add.reduce(turned, axis=1) / s
        twice[:, j] = np.matmul(eps[:, None, :, j], turned)[:, 0] / s
    return _Blocks(plain, tilted, twice)


def _sparse(
    target: LogDensity, column: Callable[[Array], Array], u: Array, sd: Array, eps: Array
) -> _Blocks | None:
    """From a few products where most of G is zero, as one draw shows and a probe at all draws confirms; else None."""
    s, d = eps.shape
    if d < FEWEST:
        return None
    at_one = target.linearize(np.repeat(u[:1], d, axis=0), sd).hessian_product(np.diag(sd))
    if not np.isfinite(at_one).all():
        return None
    pattern = pattern_of(at_one)
    if pattern is None:
        return None
    products = np.stack([column((direction * sd)[None])[0] for direction in pattern.directions])
    probe = probe_of(d)
    probed = column((probe * sd)[None])[0]
    blocks = _Blocks(*np.zeros((3, 1, d, d)))
    for i in range(s):
        if not pattern.shows(products[:, i], probe, probed[i]):
            return None
        curved = pattern.whole(products[:, i]) / s
        blocks.plain[0] += curved
        blocks.tilted[0] += curved * eps[i]
        blocks.twice[0] += curved * eps[i] * eps[i][:, None]
    return blocks


def solve_dense(matrix: Array, gradient: Array, radius: Array) -> tuple[Array, Array, Array]:
    """Exact trust-region steps of K dense problems (Moré and Sorensen 1983): minimise g'x + x'Hx / 2 with |x| <=
    radius.

    Returns x and Hx, (K, P), and whether the step is the full Newton step, (K,).
    """
    values, vectors = np.linalg.eigh(matrix)
    g = np.einsum("kpq,kp->kq", vectors, gradient)
    lowest = values[:, 0]
    floor = np.maximum(-lowest, 0.0)
    definite = lowest > 1e-12 * np.abs(values[:, -1])
    with np.errstate(all="ignore"):
        full = np.linalg.norm(g / values, axis=1)
    newton = definite & (full <= radius)
    # The shift that puts the step on the boundary: Newton's method on 1 / |x| - 1 / radius goes up to it from below.
    shift = np.where(newton, 0.0, floor * (1 + 1e-12) + 1e-16 * np.abs(values[:, -1]) + 1e-300)
    for _ in range(_SHIFTS):
        with np.errstate(all="ignore"):
            shifted = values + shift[:, None]
            squares = np.square(g / shifted)
            squared = np.add.reduce(squares, axis=1)
            excess = np.sqrt(squared) / radius - 1
            step = squared / np.add.reduce(squares / shifted, axis=1) * excess
        going = ~newton & (excess > 1e-6) & np.isfinite(step)
        if not going.any():
            break
        shift = np.where(going, shift + step, shift)
    x = -g / (values + shift[:, None])
    # The hard case: the gradient has no part along the negative curvature, which then takes what is left of the radius.
    left = np.sqrt(np.maximum(radius**2 - np.sum(x**2, axis=1), 0.0))
    hard = ~newton & (lowest < 0) & (left > 1e-3 * radius)
    x[:, 0] += np.where(hard, np.where(g[:, 0] > 0, -left, left), 0.0)
    return (
        np.einsum("kpq,kq->kp", vectors, x),
        np.einsum("kpq,kq->kp", vectors, values * x),
        newton,
    )


def _width(target: LogDensity) -> int:
    """Elements that one draw takes in the target's largest operation."""
    return int(getattr(target, "width", 1))


def conjugate_gradient(
    product: Callable[[Array], Array], rhs: Array, *, radius: Array, tolerance: Array, iterations: int
) -> tuple[Array, Array, Array]:
    """Steihaug's truncated conjugate gradients for K systems ``H x = rhs`` at once.

    Parameters
    ----------
    product : callable
        (K, P) -> (K, P).
    rhs : (K, P)
    radius, tolerance : (K,)
        Length that x may have, and norm that the residual may keep.
    iterations : int

    Returns
    -------
    x : (K, P)
    Hx : (K, P)
    interior : (K,) of bool
        False where negative curvature or the radius ended the iteration on the boundary.
    """
    x, hx = np.zeros_like(rhs), np.zeros_like(rhs)
    residual = rhs.copy()
    direction = residual.copy()
    squared = np.sum(residual**2, axis=1)
    interior = np.ones(len(rhs), dtype=bool)
    active = np.sqrt(squared) > tolerance
    for _ in range(iterations):
        if not active.any():
            break
        h = product(direction)
        curvature = np.sum(direction * h, axis=1)
        with np.errstate(all="ignore"):
            alpha = np.where(curvature > 0, squared / curvature, np.inf)
            reach = _to_boundary(x, direction, radius)
            # A NaN in the product ends that system where it is.
            broken = active & ~np.isfinite(curvature)
            ends = active & ((alpha >= reach) | broken)
            alpha = np.where(ends, np.where(broken, 0.0, reach), alpha)
        alpha = np.where(active, alpha, 0.0)[:, None]
        x = x + alpha * direction
        hx = hx + np.where(alpha == 0, 0.0, alpha * h)
        interior &= ~ends
        active = active & ~ends
        residual = np.where(active[:, None], residual - np.where(active[:, None], alpha * h, 0.0), residual)
        fresh = np.sum(residual**2, axis=1)
        active &= np.sqrt(fresh) > tolerance
        with np.errstate(all="ignore"):
            beta = np.where(active, fresh / squared, 0.0)
        direction = np.where(active[:, None], residual + beta[:, None] * direction, direction)
        squared = np.where(active, fresh, squared)
    return x, hx, interior & ~active


@np.errstate(all="ignore")
def iterate(
    target: LogDensity, mean: Array, log_sd: Array, eps: Array, radius: Array, *, precision: float = 1e-2
) -> Step:
    """One trust-region Newton-CG iteration of each of K problems.

    mean, log_sd (K, D), eps (K, S, D), radius (K,). Small problems form their Hessians and solve for the step exactly;
    large ones use truncated conjugate gradients, whose forcing term is the gradient's norm (Nocedal and Wright 2006,
    eq. 7.3) within bounds: convergence is superlinear at first, then fast enough.
    """
    k, s, d = eps.shape
    dense = k * s * d * max(_width(target), d) <= ROWS
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
        forcing = np.where(finite, np.clip(norm, _FINEST, precision) * norm, np.inf)
        few = few_of(d)
        helped = k == 1 and few < s and d <= MOST
        iterations = few * d // s + 10 if helped else 4 * d + 10
        x, hx, interior = conjugate_gradient(
            local.product, -gradient, radius=radius, tolerance=forcing, iterations=iterations
        )
        # Iterations that cost as much as a preconditioner were not enough, and nothing but their number ended them.
        if helped and finite[0] and np.linalg.norm(x) < 0.99 * radius[0] and np.linalg.norm(gradient + hx) > forcing[0]:
            by = coarse(lambda u: target.gradients(u)[1], mean[0], log_sd[0], eps[0])
            if by is not None:
                x, hx, there = preconditioned(local.product, -gradient, x, hx, by, float(forcing[0]), 4 * d + 10)
                interior = np.array([there])
                beyond = np.linalg.norm(x) / radius[0]
                if beyond > 1.0:
                    x, hx, interior = x / beyond, hx / beyond, np.array([False])
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
    relative = max(1e-14 * eps.shape[1], 4 * getattr(target, "rounding", 0.0))
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
    )


def _to_boundary(x: Array, direction: Array, radius: Array) -> Array:
    """The positive t with |x + t direction| = radius, (K,)."""
    a = np.sum(direction**2, axis=1)
    b = np.sum(x * direction, axis=1)
    c = np.minimum(np.sum(x**2, axis=1) - radius**2, 0.0)
    return np.asarray((-b + np.sqrt(b**2 - a * c)) / a)
