"""The large posteriors stated once more, in NumPyro: up to a constant the same densities of the same data."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax.scipy.special import gammaln
from numpyro.distributions import constraints


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


def statement(name: str, data: dict):
    """The model of that name, for NumPyro's algorithms."""

    def one():
        numpyro.factor("density", globals()[name](data))

    return one
