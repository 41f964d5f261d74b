"""Make the references of the large posteriors: ``python tests/targets/references/make.py [NAME ...]``.

Needs ``pip install numpyro arviz`` beside bbvi. Long NUTS runs in float64 of independent statements in NumPyro on the
data of ``tests/targets/large.py``; before a run, the log densities of both statements are compared at random points,
where they must differ by a constant.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
sys.path.insert(0, str(Path(__file__).parents[2]))

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax.scipy.special import gammaln
from numpyro.distributions import constraints
from numpyro.infer import MCMC, NUTS, init_to_median
from numpyro.infer.util import log_density
from targets import large

from bbvi.target.target import Target

jax.config.update("jax_enable_x64", True)
CHAINS, WARMUP, SEED = 4, 1500, 20261
ACCURATE, ROUNDS, DRAWS = 0.02, 6, 2500


def real(name, shape=()):
    return numpyro.sample(name, dist.ImproperUniform(constraints.real, (), shape))


def positive(name, shape=()):
    return numpyro.sample(name, dist.ImproperUniform(constraints.positive, (), shape))


def normal(x, mean=0.0, sd=1.0):
    return jnp.sum(-0.5 * ((x - mean) / sd) ** 2 - jnp.log(sd) * jnp.ones_like(x))


def half(x, sd):
    return jnp.sum(-0.5 * (x / sd) ** 2)


def bernoulli(y, eta):
    return jnp.sum(y * eta - jnp.logaddexp(0.0, eta))


def poisson(y, rate):
    return jnp.sum(y * jnp.log(rate) - rate)


def varying_intercepts(d):
    g, b, e, t, s = real("gamma", (2,)), real("beta"), real("e", (85,)), positive("tau"), positive("sigma")
    mu = (g[0] + g[1] * d["uranium"] + t * e)[d["county"]] + b * d["floor"]
    return normal(g, 0, 2) + normal(b, 0, 2) + normal(e) + half(t, 1) + half(s, 1) + normal(d["y"], mu, s)


def item_response(d):
    theta, log_a, b = real("theta", (100,)), real("log_a", (20,)), real("b", (20,))
    mu_a, s_a, mu_b, s_b = real("mu_a"), positive("s_a"), real("mu_b"), positive("s_b")
    eta = jnp.exp(log_a[d["item"]]) * (theta[d["person"]] - b[d["item"]])
    prior = normal(theta) + normal(mu_a) + half(s_a, 1) + normal(log_a, mu_a, s_a)
    return prior + normal(mu_b, 0, 2) + half(s_b, 2) + normal(b, mu_b, s_b) + bernoulli(d["y"], eta)


def logistic_hierarchy(d):
    mu, t, b, e = real("mu"), positive("tau"), real("beta"), real("e", (300,))
    eta = mu + t * e[d["group"]] + b * d["x"]
    return normal(mu, 0, 2) + normal(b) + half(t, 1) + normal(e) + bernoulli(d["y"], eta)


def overdispersed_counts(d):
    mu, t, phi, e = real("mu"), positive("tau"), positive("phi"), real("e", (1000,))
    m, y = jnp.exp(mu + t * e[d["group"]]), d["y"]
    like = gammaln(y + phi) - gammaln(phi) + phi * jnp.log(phi / (phi + m)) + y * jnp.log(m / (phi + m))
    return normal(mu, 0, 2) + half(t, 1) + half(phi, 10) + normal(e) + jnp.sum(like)


def random_walk(d):
    step, noise, x = positive("step"), positive("noise"), real("x", (500,))
    prior = half(step, 1) + half(noise, 1) + normal(x[0]) + normal(x[1:], x[:-1], step)
    return prior + normal(d["y"], x, noise)


def volatility(d):
    mu, sigma, x = real("mu"), positive("sigma"), real("x", (500,))
    phi = numpyro.sample("phi", dist.ImproperUniform(constraints.interval(-1, 1), (), ()))
    prior = normal(mu, 0, 2) + 19 * jnp.log1p(phi) + 0.5 * jnp.log1p(-phi) + half(sigma, 0.5)
    prior = prior + normal(x[0], 0, 1 / jnp.sqrt(1 - phi**2)) + normal(x[1:], phi * x[:-1], 1.0)
    return prior + normal(d["y"], 0.0, jnp.exp((mu + sigma * x) / 2))


def spatial_counts(d):
    mu, tau, e, s = real("mu"), positive("tau"), real("e", (144,)), real("s", (144,))
    rho = numpyro.sample("rho", dist.ImproperUniform(constraints.unit_interval, (), ()))
    smooth = -0.5 * jnp.sum((s[d["left"]] - s[d["right"]]) ** 2) + normal(jnp.sum(s), 0, 0.144)
    effect = tau * (jnp.sqrt(1 - rho) * e + jnp.sqrt(rho / 0.6) * s)
    return normal(mu) + half(tau, 1) + smooth + normal(e) + poisson(d["y"], d["exposure"] * jnp.exp(mu + effect))


def ordinal_groups(d):
    tau, omega = positive("tau"), positive("omega")
    cuts = numpyro.sample("cuts", dist.ImproperUniform(constraints.ordered_vector, (), (4,)))
    person, question = real("person", (120,)), real("question", (12,))
    eta = tau * person[d["person"]] + omega * question[d["question"]]
    edges = jnp.concatenate([jnp.array([-30.0]), cuts, jnp.array([30.0])])
    probability = jax.nn.sigmoid(edges[d["y"] + 1] - eta) - jax.nn.sigmoid(edges[d["y"]] - eta)
    prior = half(tau, 2) + half(omega, 2) + normal(cuts, 0, 3) + normal(person) + normal(question)
    return prior + jnp.sum(jnp.log(probability))


def frailties(d):
    mu, beta, tau, shape = real("mu"), real("beta"), positive("tau"), positive("shape")
    frailty = real("frailty", (150,))
    scale = jnp.exp(frailty[d["clinic"]] + beta * d["treated"])
    ratio = d["time"] / scale
    hazard = jnp.log(shape) - jnp.log(scale) + (shape - 1) * jnp.log(ratio)
    prior = normal(mu, 0, 3) + normal(beta) + half(tau, 1) + half(shape, 3) + normal(frailty, mu, tau)
    return prior + jnp.sum(d["seen"] * hazard - ratio**shape)


def pharmacokinetics(d):
    mu, tau, sigma, e = real("mu", (3,)), positive("tau", (3,)), positive("sigma"), real("e", (40, 3))
    faster, clearance, volume = jnp.exp((mu + tau * e)[d["subject"]]).T
    ke = clearance / volume
    ka = ke + faster
    curve = 100 * ka / (volume * faster) * (jnp.exp(-ke * d["hour"]) - jnp.exp(-ka * d["hour"]))
    prior = normal(mu, jnp.array([0.0, 1.0, 3.0]), 1.0) + half(tau, 0.5) + half(sigma, 0.5) + normal(e)
    return prior + normal(jnp.log(d["y"]), jnp.log(curve), sigma)


def data_of(model) -> dict:
    """The model's data, with what its log joint holds in its closure."""
    function = model.functions["log_joint"]
    held = dict(zip(function.__code__.co_freevars, (c.cell_contents for c in function.__closure__ or ()), strict=True))
    held |= {k: v for c in held.values() if getattr(c, "__closure__", None) for k, v in zip(
        c.__code__.co_freevars, (cell.cell_contents for cell in c.__closure__), strict=True)}
    arrays = {k: v for k, v in held.items() if isinstance(v, (np.ndarray, dict))}
    return arrays | {k: np.asarray(v) for k, v in model.data.items()}


def statement(name: str, data: dict):
    def one():
        numpyro.factor("density", globals()[name](data))

    return one


def compared(model, one) -> float:
    """The range of the differences between the two log densities, in nats."""
    target = Target(model)
    u = 0.3 * np.random.default_rng(0).standard_normal((5, target.dim))
    gaps = []
    for point in u:
        draw = {k: np.asarray(v[0]) for k, v in target.constrain(point[None])[0].items()}
        independent, _ = log_density(one, (), {}, draw)
        gaps.append(float(model.log_joint(draw)) - float(independent))
    return float(np.ptp(gaps))


def make(name: str) -> str:
    start = time.perf_counter()
    model = getattr(large, name)()
    one = statement(name, data_of(model))
    gap = compared(model, one)
    if gap > 1e-6:
        raise ArithmeticError(f"{name}: the two statements differ by {gap:.2g} nats")
    kernel = NUTS(one, target_accept_prob=0.9, init_strategy=init_to_median)
    mcmc = MCMC(kernel, num_warmup=WARMUP, num_samples=DRAWS, num_chains=CHAINS, chain_method="vectorized",
                progress_bar=False)
    key, rounds, divergences = jax.random.PRNGKey(SEED), [], 0
    for _ in range(ROUNDS):
        mcmc.run(key, extra_fields=("diverging",))
        samples = mcmc.get_samples(group_by_chain=True)
        rounds.append({k: np.asarray(samples[k]) for k in model.latents})
        divergences += int(np.sum(mcmc.get_extra_fields()["diverging"]))
        draws = {k: np.concatenate([part[k] for part in rounds], axis=1) for k in model.latents}
        rows, worst, rhat = summarised(model, draws)
        if worst < ACCURATE:
            break
        mcmc.post_warmup_state = mcmc.last_state
        key = mcmc.post_warmup_state.rng_key
    provenance = {"method": "NUTS", "package": "numpyro", "version": numpyro.__version__, "chains": CHAINS,
                  "draws": int(CHAINS * DRAWS * len(rounds)), "warmup": WARMUP, "divergences": divergences,
                  "worst_error": round(worst, 4), "worst_rhat": round(rhat, 4)}
    body = ",\n".join(f"    {json.dumps(label)}: {json.dumps(values)}" for label, values in rows.items())
    head = f'{{\n  "posterior": {json.dumps(name)},\n  "provenance": {json.dumps(provenance)},\n'
    columns = json.dumps(["mean", "sd", "ess"])
    text = f'{head}  "columns": {columns},\n  "rows": {{\n{body}\n  }}\n}}\n'
    (Path(__file__).parent / f"{name}.json").write_text(text, encoding="utf-8")
    return f"{name}: {provenance} in {time.perf_counter() - start:.0f} s"


def summarised(model, draws: dict) -> tuple[dict, float, float]:
    """``{row: (mean, sd, ess)}``, the largest Monte Carlo error of a mean or an sd in sds, and the worst R-hat."""
    from numpyro.diagnostics import effective_sample_size, split_gelman_rubin

    rows, worst, rhats = {}, 0.0, [1.0]
    for name, latent in model.latents.items():
        flat = draws[name].reshape(*draws[name].shape[:2], -1)
        centred = flat - flat.mean((0, 1))
        sd = flat.std((0, 1), ddof=1)
        ess, of_squares = effective_sample_size(flat), effective_sample_size(centred**2)
        kurtosis = (centred**4).mean((0, 1)) / sd**4
        errors = np.maximum(1 / np.sqrt(ess), np.sqrt(np.maximum(kurtosis - 1, 0.1) / of_squares) / 2)
        worst = max(worst, float(errors.max()))
        rhats.extend(np.atleast_1d(split_gelman_rubin(flat)))
        for label, m, s, n in zip(latent.labels, flat.mean((0, 1)), sd, ess, strict=True):
            rows[label] = [float(f"{m:.8g}"), float(f"{s:.8g}"), round(float(n))]
    return rows, worst, float(max(rhats))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    for chosen in parser.parse_args().names or [one.__name__ for one in large.MODELS]:
        print(make(chosen), flush=True)
