"""Reference posteriors that need no sampling: a closed form, and numerical integration on a grid."""

import numpy as np
from scipy import stats
from scipy.interpolate import CubicSpline, PchipInterpolator

EXACT = {"method": "closed form", "package": "scipy"}
GRID = {"method": "numerical integration on a grid", "package": "numpy"}


def row(mean, sd, quantiles) -> list:
    """One row of the table: exact figures have no Monte Carlo error, and no number of draws."""
    return [float(f"{value:.8g}") for value in (mean, sd, *quantiles)] + [0.0, 0.0, None]


def placenta_previa(model) -> tuple[dict, dict, float]:
    """Beta(438, 544), and the odds after Beta' (438, 544)."""
    rows = {}
    for label, marginal in (("theta", stats.beta(438, 544)), ("odds", stats.betaprime(438, 544))):
        rows[label] = row(marginal.mean(), marginal.std(), marginal.ppf([0.05, 0.5, 0.95]))
    points = np.array([0.40, 0.44, 0.45, 0.48])
    gaps = [model.log_joint({"theta": theta}) - stats.beta(438, 544).logpdf(theta) for theta in points]
    return rows, EXACT, float(np.ptp(gaps))


def gp_regression(model) -> tuple[dict, dict, float]:
    """Integration over the logs of amplitude, length and noise; given those the mean is normal."""
    y, time = np.asarray(model.data["y"]), np.asarray(model.data["time"])
    square = (time[:, None] - time) ** 2

    def parts(amplitude, noise, length):
        """Log density with the mean integrated out, and the mean's expectation and variance."""
        values, vectors = np.linalg.eigh(np.exp(-square / (2 * length**2)))
        variances = amplitude[..., None] ** 2 * np.maximum(values, 0) + noise[..., None] ** 2
        residual, one = vectors.T @ (y - 51), vectors.T @ np.ones(len(y))
        precision = 1 / 4 + np.sum(one**2 / variances, axis=-1)
        pull = np.sum(one * residual / variances, axis=-1)
        quadratic = np.sum(residual**2 / variances, axis=-1) - pull**2 / precision
        log_likelihood = -0.5 * (np.sum(np.log(variances), axis=-1) + quadratic + np.log(precision))
        log_prior = stats.halfnorm.logpdf(amplitude, 0, 2) + stats.halfnorm.logpdf(noise, 0, 2)
        return (
            log_likelihood + log_prior + stats.invgamma.logpdf(length, 3, scale=3),
            51 + pull / precision,
            1 / precision,
        )

    rng = np.random.default_rng(0)
    gaps = []
    for _ in range(12):
        z = dict(
            zip(
                ("mean", "amplitude", "length", "noise"),
                [51, 1, 1, 1] * np.exp(0.05 * rng.normal(size=4)),
                strict=True,
            )
        )
        log_p, mean, variance = parts(np.array(z["amplitude"]), np.array(z["noise"]), z["length"])
        gaps.append(model.log_joint(z) - float(log_p + stats.norm.logpdf(z["mean"], mean, np.sqrt(variance))))

    def rows(points):
        amplitude = np.exp(np.linspace(np.log(0.005), np.log(15), points))
        noise = np.exp(np.linspace(np.log(0.6), np.log(2.2), points // 2))
        length = np.exp(np.linspace(np.log(0.05), np.log(1000), points))
        grid = [parts(amplitude[:, None], noise[None, :], scale) for scale in length]
        log_p, mean, variance = (np.stack(part) for part in zip(*grid, strict=True))
        log_p += np.log(length)[:, None, None] + np.log(amplitude)[:, None] + np.log(noise)
        p = np.exp(log_p - log_p.max())
        p /= p.sum()
        check_edges(p)
        center = np.sum(p * mean)
        sd = np.sqrt(np.sum(p * (variance + (mean - center) ** 2)))
        used = p > 1e-12
        at = np.linspace(center - 6 * sd, center + 6 * sd, 601)
        cdf = [p[used] @ stats.norm.cdf(x, mean[used], np.sqrt(variance[used])) for x in at]
        return {
            "mean": row(center, sd, np.interp([0.05, 0.5, 0.95], cdf, at)),
            "amplitude": marginal(amplitude[None], p.sum(axis=(0, 2))[None]),
            "length": marginal(length[None], p.sum(axis=(1, 2))[None]),
            "noise": marginal(noise[None], p.sum(axis=(0, 1))[None]),
        }

    return *refined(rows, 120, 160), float(np.ptp(gaps))


def check_edges(p) -> None:
    """Raise if a grid of weights that sum to one cuts off a part of the posterior."""
    edge = max(np.sum(np.take(p, [0, -1], axis=axis)) for axis in range(p.ndim))
    if edge > 1e-5:
        raise RuntimeError(f"the grid cuts off a part {edge} of the posterior")


def refined(rows, coarse: int, fine: int) -> tuple[dict, dict]:
    """The table on the finer of two grids, and its provenance, if the coarser one hardly differs."""
    table, other = rows(fine), rows(coarse)
    change = max(
        abs(a - b) / table[label][1] for label in table for a, b in zip(table[label][:5], other[label][:5], strict=True)
    )
    if change > 2e-3:
        raise RuntimeError(f"figures still change by {change} sds when the grid is refined")
    return table, GRID | {"points_per_axis": fine, "change_on_refinement_in_sds": float(f"{change:.1e}")}


def landing(speed, drag, angle):
    """Where balls land, for arrays of speeds, drags and angles: the gallery's simulator, all at once."""
    angle = np.radians(angle)
    zero = np.zeros(np.broadcast_shapes(np.shape(speed), np.shape(drag), np.shape(angle)))
    x, y, u, v = zero.copy(), zero.copy(), speed * np.cos(angle) + zero, speed * np.sin(angle) + zero
    distance = np.full(zero.shape, np.nan)
    while np.any(np.isnan(distance)):
        factor = 1 - 0.05 * drag * np.sqrt(u**2 + v**2)
        u, v = factor * u, factor * v - 0.05 * 9.81
        x_next, y_next = x + 0.05 * u, y + 0.05 * v
        landed = np.isnan(distance) & (y_next <= 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(y > 0, y / (y - y_next), 0.0)
        distance = np.where(landed, x + share * (x_next - x), distance)
        x, y = x_next, y_next
    return distance


def marginal(value, weight) -> list:
    """The row of a quantity that increases along the second axis of a grid, (M, N); weights sum to one."""
    mean = np.sum(weight * value)
    sd = np.sqrt(np.sum(weight * (value - mean) ** 2))
    steps = np.arange(weight.shape[1])
    below = CubicSpline(steps, weight, axis=1).antiderivative()(steps)
    at = np.linspace(mean - 6 * sd, mean + 6 * sd, 4001)
    cdf = np.zeros(at.size)
    for values, parts in zip(value, below, strict=True):
        cdf += PchipInterpolator(values, parts)(np.clip(at, values[0], values[-1]))
    return row(mean, sd, np.interp([0.05, 0.5, 0.95], cdf, at))


def black_box_simulator(model) -> tuple[dict, dict, float]:
    """Integration over the logs of speed, drag and sigma, in coordinates that follow the ridge."""
    data = np.asarray(model.data["distance"])

    def squares(log_speed, log_drag):
        path = landing(
            np.exp(log_speed)[..., None], np.exp(log_drag)[..., None], np.asarray(model.data["angle"], float)
        )
        return np.sum((data - path) ** 2, axis=-1)

    def log_density(log_speed, log_drag, log_sigma, squares):
        """Of the logs: log prior, log likelihood and log-Jacobian, up to a constant."""
        prior = stats.norm.logpdf(log_speed, np.log(25), 0.5) + stats.norm.logpdf(log_drag, np.log(0.02), 1)
        sigma = np.exp(log_sigma)
        return prior + stats.halfnorm.logpdf(sigma, 0, 2) + log_sigma - len(data) * log_sigma - squares / (2 * sigma**2)

    rng = np.random.default_rng(0)
    gaps = []
    for _ in range(12):
        logs = np.log([30, 0.01, 0.5]) + 0.1 * rng.normal(size=3)
        z = dict(zip(("speed", "drag", "sigma"), np.exp(logs), strict=True))
        gaps.append(model.log_joint(z) + logs.sum() - log_density(*logs, squares(logs[0], logs[1])))

    # Best log speed for each log drag, both relative to log(30) and log(0.01): the ridge of the likelihood.
    drags, speeds = np.linspace(-4, 1.8, 30), np.linspace(-0.5, 1.0, 3001)
    best = [speeds[np.argmin(squares(np.log(30) + speeds, np.log(0.01) + drag + 0 * speeds))] for drag in drags]
    ridge = np.polynomial.Polynomial.fit(drags, best, 7)

    def rows(points):
        # Hyperbolic spacing: dense in the middle, and far out for the heavy tails that six throws leave.
        along, across = np.linspace(-4.3, 3.5, points)[:, None], np.linspace(-4.3, 4.3, points)[None, :]
        log_drag = np.log(0.01) + 0.1 * np.sinh(along) + 0 * across
        log_speed = np.log(30) + ridge(0.1 * np.sinh(along)) + 0.01 * np.sinh(across)
        log_sigma = np.linspace(np.log(0.08), np.log(12), points)
        log_p = log_density(
            log_speed[..., None], log_drag[..., None], log_sigma, squares(log_speed, log_drag)[..., None]
        )
        p = np.exp(log_p - log_p.max()) * (np.cosh(along) * np.cosh(across))[..., None]
        p /= p.sum()
        check_edges(p)
        plane = p.sum(axis=2)
        return {
            "speed": marginal(np.exp(log_speed), plane),
            "drag": marginal(np.exp(log_drag.T), plane.T),
            "sigma": marginal(np.exp(log_sigma)[None], p.sum(axis=(0, 1))[None]),
        }

    return *refined(rows, 200, 260), float(np.ptp(gaps))


def variational_autoencoder(model) -> tuple[dict, dict, float]:
    """Integration over each image's code, over the whole plane where the prior has mass."""
    images, theta, phi = (np.asarray(model.data[name]) for name in ("images", "theta", "phi"))
    names = [label.removeprefix("offset[").removesuffix(", x]") for label in model.labels if label.endswith("x]")]

    def layer(parameters, x, outputs):
        """What the layer that begins a vector of parameters makes of x, and the rest of the vector."""
        size = x.shape[1] * outputs
        weights, bias = parameters[:size].reshape(-1, outputs), parameters[size : size + outputs]
        return x @ weights + bias, parameters[size + outputs :]

    def perceptron(parameters, x, outputs):
        hidden, rest = layer(parameters, x, 32)
        return layer(rest, np.tanh(hidden), outputs)[0]

    counts = np.sum(stats.binom(16, 0.5).logpmf(images) + 16 * np.log(2), axis=1)

    def log_density(codes):
        """Log joint density of each image and the same code, (S, N), for codes (S, 2)."""
        logit = perceptron(theta, codes, 64)
        ink, none = stats.logistic.logcdf(logit), stats.logistic.logsf(logit)
        return stats.norm.logpdf(codes).sum(axis=1)[:, None] + ink @ images.T + none @ (16 - images).T + counts

    guess = perceptron(phi, images / 8 - 1, 4)
    mean, sd = guess[:, :2], np.exp(guess[:, 2:])
    rng = np.random.default_rng(0)
    gaps = []
    for _ in range(12):
        offset = rng.normal(size=mean.shape)
        codes = mean + sd * offset
        independent = np.trace(log_density(codes)) + np.sum(np.log(sd))
        gaps.append(model.log_joint({"offset": offset}) - independent)
        np.testing.assert_allclose(model.named("derived", {"offset": offset})["code"], codes, rtol=1e-12)

    evidence = {}

    def rows(points):
        axis = np.linspace(-6, 6, points)
        step = axis[1] - axis[0]
        offsets, codes, total = {}, {}, 0.0
        # A column of the plane at a time, for the memory's sake.
        plane = np.stack([log_density(np.column_stack([np.full(points, x), axis])) for x in axis])
        for i in range(len(images)):
            log_p = plane[..., i]
            p = np.exp(log_p - log_p.max())
            total += log_p.max() + np.log(p.sum() * step**2)
            p /= p.sum()
            check_edges(p)
            for k, name in enumerate("xy"):
                weight = p.sum(axis=1 - k)[None]
                offsets[f"offset[{names[i]}, {name}]"] = marginal((axis[None] - mean[i, k]) / sd[i, k], weight)
                codes[f"code[{names[i]}, {name}]"] = marginal(axis[None], weight)
        evidence["log_evidence"] = float(f"{total:.8g}")
        return offsets | codes

    table, provenance = refined(rows, 1000, 1400)
    return table, provenance | evidence, float(np.ptp(gaps))
