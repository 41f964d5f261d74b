"""A log joint in JAX, by way of ``gradient=``: a callable that returns the value and the gradient of one draw."""

import importlib.util
import sys

import numpy as np

import bbvi

if importlib.util.find_spec("jax") is None:
    print("This example needs JAX: pip install jax")
    sys.exit()

import jax
import jax.numpy as jnp

jax.config.update("jax_enable_x64", True)
x = np.linspace(-1, 1, 50)
y = np.random.default_rng(1).normal(1 + 2 * x, 0.5)


@jax.jit
def density(beta):
    return -0.5 * jnp.sum(beta**2) / 100 - 0.5 * jnp.sum((y - beta[0] - beta[1] * x) ** 2) / 0.25


value_and_gradient = jax.jit(jax.value_and_grad(density))


def log_joint(z):
    return float(density(np.asarray(z)))


def gradient(z):
    value, slope = value_and_gradient(np.asarray(z))
    return float(value), np.asarray(slope)


fit = bbvi.fit(bbvi.Model(log_joint, 2, gradient=gradient), seed=1)
print(fit)
