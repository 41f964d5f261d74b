"""Every density's derivatives to second order, recorded at one point and replayed at others, saturation included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad, hessian
from test_stats import CONTINUOUS, TAILS

from bbvi import stats
from bbvi.batching.derivatives import record_derivative

Density = Callable[[Any], Any]

# Standardised values within every support, far out, at saturation, and outside supports.
Z = [0.3, 0.62, 0.02, 0.97, 3.0, 38.0, 750.0, 1e4, -0.7, -6.0, -38.0, -750.0]
LOGITS = [0.3, -2.0, 20.0, 36.0, 38.0, 700.0, 750.0, -20.0, -38.0, -700.0, -750.0]
LOG_RATES = [0.3, -2.0, 5.0, 20.0, 300.0, -20.0, -300.0]
# Right up to the ends of their domain, where a sigmoid saturates, and beyond.
PROBABILITIES = [0.3, 0.9, 1e-3, 1e-12, 1 - 1e-3, 1 - 1e-9, 1.0, 0.0, 1.2, -0.1]
RATES = [2.3, 40.0, 1e-9, 1e6, 0.0, -1.0]


def grid() -> dict[str, tuple[Density, np.ndarray]]:
    """By name, a log density as a function of a flat array, and points (n, d), the first of which is inside."""
    cases: dict[str, tuple[Density, np.ndarray]] = {}

    def add(name: str, density: Callable[..., Any], rows: list[list[float]]) -> None:
        points = np.array(rows, dtype=float)
        cases[name] = (lambda u: density(*[u[i] for i in range(points.shape[1])]), points)

    for name in CONTINUOUS:
        first, other = ([pair[i] for pair in CONTINUOUS[name]] for i in (0, 1))
        rows = [[0.1 + 1.3 * z, *shapes, 0.1, 1.3] for shapes in (first, other) for z in Z]
        rows += [[0.5, *first, 0.1, scale] for scale in (1e-3, 1e3, 0.0, -1.0)]
        rows += [[0.5, *[-1.0] * len(first), 0.1, 1.3]]
        add(name, getattr(stats, name).logpdf, rows)
    for name, word in TAILS:
        shapes = [pair[0] for pair in CONTINUOUS[name]]
        rows = [[0.1 + 1.3 * z, *shapes, 0.1, 1.3] for z in Z] + [[0.5, *shapes, 0.1, s] for s in (30.0, 0.0, -1.0)]
        add(f"{name}.{word}", getattr(getattr(stats, name), word), rows)
    for k in (0, 1, 2):
        add(f"bernoulli {k}", lambda p, k=k: stats.bernoulli.logpmf(k, p), [[p] for p in PROBABILITIES])
        add(f"bernoulli logits {k}", lambda v, k=k: stats.bernoulli.logpmf_logits(k, v), [[v] for v in LOGITS])
    for k in (0, 3, 5, 6):
        add(f"binom {k}", lambda p, k=k: stats.binom.logpmf(k, 5, p), [[p] for p in PROBABILITIES])
        add(f"binom logits {k}", lambda v, k=k: stats.binom.logpmf_logits(k, 5, v), [[v] for v in LOGITS])
        pairs = [[2.3, 0.4], [1.2, 30.0], [1e-3, 1e3], [-1.0, 2.0], [2.0, 0.0]]
        add(f"betabinom {k}", lambda a, b, k=k: stats.betabinom.logpmf(k, 5, a, b), pairs)
        add(f"poisson {k}", lambda m, k=k: stats.poisson.logpmf(k, m), [[m] for m in RATES])
        add(f"poisson log rate {k}", lambda v, k=k: stats.poisson.logpmf_log_rate(k, v), [[v] for v in LOG_RATES])
        pairs = [[n, p] for n in (3.3, 31.0, 1e4, -1.0) for p in (0.4, 1 - 1e-6, 1e-6, 1.0, 0.0, 1.5)]
        add(f"nbinom {k}", lambda n, p, k=k: stats.nbinom.logpmf(k, n, p), pairs)
        pairs = [[v, r] for r in (5.0, 0.4, 1e3, 0.0) for v in LOG_RATES]
        add(f"nbinom log rate {k}", lambda v, r, k=k: stats.nbinom.logpmf_log_rate(k, v, r), pairs)
        add(f"geom {k}", lambda p, k=k: stats.geom.logpmf(k, p), [[p] for p in PROBABILITIES])

    for word in ("expit", "log_expit", "softplus", "log_ndtr", "erf"):
        add(word, getattr(stats, word), [[v] for v in (0.3, -2.0, 5.0, -5.0, 38.0, -38.0, 750.0, -750.0)])
    add("log1mexp", stats.log1mexp, [[-v] for v in (0.3, 1e-9, 0.69, 0.7, 5.0, 38.0, 750.0)])
    add("logit", stats.logit, [[v] for v in (0.3, 1e-9, 1 - 1e-6)])
    add("gammaln", stats.gammaln, [[v] for v in (0.3, 1e-6, 40.0, 1e6)])
    add("betaln", stats.betaln, [[0.3, 2.0], [40.0, 1e-3], [1e3, 1e3]])
    add("xlogy", stats.xlogy, [[0.3, 2.0], [0.0, 2.0], [3.0, 1e-6]])
    add("xlog1py", stats.xlog1py, [[0.3, 2.0], [0.0, 2.0], [3.0, -1 + 1e-6]])

    def add_vector(name: str, density: Density, rows: list[Any]) -> None:
        cases[name] = (density, np.array(rows, dtype=float))

    simplexes = [[0.2, 0.3, 0.5], [0.7, 0.2, 0.1], [1e-9, 0.5, 0.5 - 1e-9], [0.0, 0.5, 0.5], [0.9, 0.9, 0.2]]
    alphas = [[2.0, 3.0, 4.0], [0.3, 0.1, 900.0], [1.0, -1.0, 2.0]]
    add_vector(
        "dirichlet", lambda u: stats.dirichlet.logpdf(u[:3], u[3:]), [[*x, *a] for a in alphas for x in simplexes]
    )
    for x in ([1, 2, 3], [0, 6, 0], [1, 2, 2]):
        add_vector(f"multinomial {x}", lambda u, x=x: stats.multinomial.logpmf(x, 6, u), simplexes)
    logits = [[0.3, -0.6, 1.0], [40.0, -40.0, 0.0], [800.0, -800.0, 1.0]]
    for k in (0, 2, 3):
        add_vector(f"categorical {k}", lambda u, k=k: stats.categorical.logpmf_logits(k, u), logits)
    add_vector("logsumexp", stats.logsumexp, logits)
    add_vector("log_softmax", lambda u: stats.log_softmax(u)[0], logits)
    cutpoints = [[-1.0, 0.5, 2.0], [-1.0, -0.999, 60.0], [1.0, 0.5, 2.0]]
    rows = [[eta, *cut] for cut in cutpoints for eta in (0.3, 40.0, -40.0, 800.0)]
    for k in (0, 1, 3, 4):
        add_vector(f"ordered {k}", lambda u, k=k: stats.ordered_logistic.logpmf(k, u[0], u[1:]), rows)

    def factor(u: Any) -> Any:
        free = anp.reshape(u[:9], (3, 3)) * np.tri(3)
        return free / anp.sqrt(anp.sum(free * free, axis=-1, keepdims=True))

    lower = [[1, 0, 0, 0.3, 0.8, 0, -0.2, 0.5, 0.7], [1.0, 0, 0, 1, 1e-4, 0, 1, 1, 1e-6], [1, 0, 0, 1, -1, 0, 0, 0, 1]]
    add_vector(
        "lkj",
        lambda u: stats.lkj_cholesky.logpdf(factor(u), u[9]),
        [[*values, eta] for values in lower for eta in (1.5, 0.2, 30.0, -1.0)],
    )
    chols = [[1.0, 0, 0.3, 0.8], [1e-3, 0, 5.0, 1e3]]
    rows = [[x, -0.4, 0.2, 0.1, *chol] for chol in chols for x in (0.7, 1e3)]

    def chol_of(u: Any) -> Any:
        return anp.reshape(u[4:], (2, 2)) * np.tri(2)

    add_vector(
        "normal cholesky", lambda u: stats.multivariate_normal.logpdf_cholesky(u[:2], u[2:4], chol_of(u)), rows
    )
    add_vector(
        "normal",
        lambda u: stats.multivariate_normal.logpdf(u[:2], u[2:4], anp.dot(chol_of(u), chol_of(u).T)),
        [row for row in rows if row[4] == 1.0],
    )
    add_vector(
        "t cholesky",
        lambda u: stats.multivariate_t.logpdf_cholesky(u[:2], u[2:4], chol_of(u[:8]), u[8]),
        [[*row, df] for row in rows for df in (3.3, 80.0, 1.0)],
    )
    add_vector(
        "multivariate t",
        lambda u: stats.multivariate_t.logpdf(u[:2], u[2:4], anp.dot(chol_of(u[:8]), chol_of(u[:8]).T), u[8]),
        [[*row, 3.3] for row in rows if row[4] == 1.0],
    )
    add_forms(add)
    return cases


def add_forms(add: Callable[..., Any]) -> None:
    """Densities made of others, and densities by their mean."""
    shares = (0.3, 1e-3, 0.999, 0.0, 1.0, 1.2, -0.1)
    for made in (stats.zero_inflated, stats.hurdle):
        name = made.__name__
        for k in (0, 1, 3):
            rows = [[p, m] for p in shares for m in (2.3, 1e-3, 40.0)]
            add(f"{name} poisson {k}", lambda p, m, k=k, made=made: made(stats.poisson).logpmf(k, p, m), rows)
            rows = [[p, v] for p in shares for v in (0.3, -6.0, 4.0)]
            add(
                f"{name} poisson log rate {k}",
                lambda p, v, k=k, made=made: made(stats.poisson).logpmf_log_rate(k, p, v),
                rows,
            )
            rows = [[p, 0.4] for p in shares] + [[0.3, q] for q in (1e-3, 0.999)]
            add(f"{name} binom {k}", lambda p, q, k=k, made=made: made(stats.binom).logpmf(k, p, 5, q), rows)
            rows = [[p, m, r] for p in shares[:3] for m in (2.3, 40.0) for r in (0.4, 5.0)]
            add(
                f"{name} nbinom {k}",
                lambda p, m, r, k=k, made=made: made(stats.nbinom).logpmf_mean(k, p, m, r),
                rows,
            )
    for name in ("norm", "logistic", "expon", "weibull_min"):
        density, shapes = getattr(stats, name), [1.7] if name == "weibull_min" else []
        for ends in ([0.2, 2.5], [-np.inf, 2.5], [0.2, np.inf], [6.0, 7.0]):
            scales = ((0.0, 1.3), (-1.0, 0.3))
            rows = [[x, *shapes, *scale] for x in (0.7, 2.4, 6.5, 0.1, 9.0) for scale in scales]
            for made in (stats.truncated, stats.censored):
                add(
                    f"{made.__name__} {name} {ends}",
                    lambda x, *rest, made=made, density=density, ends=ends: made(density).logpdf(x, *ends, *rest),
                    rows,
                )
    rows = [[x, m, phi] for x in (0.3, 0.9, 1e-3) for m in (0.2, 0.97, 1e-3) for phi in (3.0, 200.0, 0.1)]
    add("beta by mean", stats.beta.logpdf_mean, rows + [[1.2, 0.3, 3.0], [0.3, 1.2, 3.0], [0.3, 0.2, -1.0]])
    for k in (0, 1, 7):
        rows = [[m, r] for m in (2.3, 1e-6, 400.0, 0.0, -1.0) for r in (5.0, 0.4, 1e3)]
        add(f"nbinom by mean {k}", lambda m, r, k=k: stats.nbinom.logpmf_mean(k, m, r), rows)


CASES = grid()


# The likeliest to be right come first.
STEPS = 10.0 ** np.array([-3, -2, -4, -1, -5, -6, 0, 1, -7, -8, -9, -10, -11, -12])


def differs(f: Callable[[np.ndarray], Any], density: Density, u: np.ndarray, i: int, expected: Any) -> str:
    """Whether five-point differences of f along coordinate i contradict a derivative, whatever their step; "" if not.

    Only steps within the support are looked at, so that at its very edge nothing is.
    """
    found = []
    for h in STEPS:
        move = h * np.eye(len(u))[i]
        with np.errstate(all="ignore"):
            values = [f(u + k * move) for k in (-2, -1, 1, 2)]
            inside = np.isfinite(values if f is density else [density(u + k * move) for k in (-2, 2)]).all()
        if inside:
            slope = (8 * (values[2] - values[1]) - (values[3] - values[0])) / (12 * h)
            size = np.max(np.abs(expected)) + np.max(np.abs(slope))
            if (np.abs(slope - expected) <= 1e-5 * (np.abs(expected) + 1e-2 * size) + 1e-9).all():
                return ""
            found.append(slope)
    return f"along {i} at {u}: expected {expected}, differences {found}" if found else ""


@pytest.mark.parametrize("where", [0, -1])
@pytest.mark.parametrize("name", CASES)
def test_recorded_at_one_point_and_replayed_at_others(name: str, where: int) -> None:
    density, points = CASES[name]
    count, dim = points.shape
    with np.errstate(all="ignore"):
        recording = record_derivative("curvature", density, points[where], None)
        slope, curvature = grad(density), hessian(density)
        values = np.array([density(u) for u in points])
        columns = [recording({"u": points, "v": np.tile(e, (count, 1))}) for e in np.eye(dim)]
        gradients, hessians = columns[0]["gradient"], np.stack([c["product"] for c in columns], axis=1)
    np.testing.assert_allclose(columns[0]["value"], values, rtol=1e-14)
    finite = np.isfinite(values)
    assert np.isfinite(gradients).all() and np.isfinite(hessians[finite]).all()
    # Outside the support, and where a parameter is at the end of its domain, as without a recording.
    for u, g, curved in zip(points[~finite], gradients[~finite], hessians[~finite], strict=True):
        np.testing.assert_allclose(g, slope(u), rtol=1e-12)
        np.testing.assert_allclose(curved, curvature(u), rtol=1e-12)
    wrong = [
        message
        for u, g, curved in zip(points[finite], gradients[finite], hessians[finite], strict=True)
        for i in range(dim)
        for message in (differs(density, density, u, i, g[i]), differs(slope, density, u, i, curved[i]))
        if message
    ]
    assert not wrong, "\n".join(wrong)
    assert finite.any() != (name in IMPOSSIBLE)


# Outcomes outside the support, which must have no density anywhere.
IMPOSSIBLE = {"bernoulli 2", "bernoulli logits 2", "binom 6", "binom logits 6", "geom 0", "multinomial [1, 2, 2]"}
IMPOSSIBLE |= {"betabinom 6", "categorical 3", "ordered 4"}
