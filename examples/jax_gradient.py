"""A log joint in JAX, by way of ``gradient=``: how an epidemic grows, by a differential equation in ``lax.scan``.

Twice the same fit: draw by draw, and with all draws of a call in batches of one size. JAX compiles for each size that
it meets, and a fit has calls of a dozen sizes: cut into batches of one size they need one compilation.
"""

import importlib.util
import sys
import time

import numpy as np

import bbvi

if importlib.util.find_spec("jax") is None:
    print("This example needs JAX: pip install jax")
    sys.exit()

import jax
import jax.numpy as jnp

# Without this JAX computes in float32, and bbvi warns.
jax.config.update("jax_enable_x64", True)

PEOPLE, STEPS_PER_DAY, BATCH = 763.0, 20, 64
# Boys confined to bed in an English boarding school, by day (British Medical Journal, 4 March 1978, p. 587).
in_bed = np.array([3, 8, 26, 76, 225, 298, 258, 233, 189, 128, 68, 29, 14, 4])


def slope(state, contact, recovery):
    susceptible, infected = state
    infections = contact * susceptible * infected / PEOPLE
    return jnp.stack([-infections, infections - recovery * infected])


def infected_by_day(contact, recovery):
    """Infected on days 0 to 13, by the midpoint rule."""

    def step(state, _):
        middle = state + slope(state, contact, recovery) / (2 * STEPS_PER_DAY)
        state = state + slope(middle, contact, recovery) / STEPS_PER_DAY
        return state, state[1]

    start = jnp.array([PEOPLE - in_bed[0], float(in_bed[0])])
    infected = jax.lax.scan(step, start, None, length=STEPS_PER_DAY * (len(in_bed) - 1))[1]
    return infected[STEPS_PER_DAY - 1 :: STEPS_PER_DAY]


def log_joint(z):
    """Log-normal counts; `z` is a dict of the latents."""
    off = jnp.log(in_bed[1:]) - jnp.log(infected_by_day(z["contact"], z["recovery"]))
    prior = -z["contact"] / 2 - z["recovery"] - 5 * z["scatter"]
    return prior - 0.5 * jnp.sum(off**2) / z["scatter"] ** 2 - len(off) * jnp.log(z["scatter"])


one = jax.jit(jax.value_and_grad(log_joint))
batch = jax.jit(jax.vmap(jax.value_and_grad(log_joint)))


def gradient_of_one(z):
    return one({name: z[name] for name in z})


def gradient_of_all(z):
    """Value (S,) and gradient, a dict of (S,): in batches, the last of them filled up with its last draw."""
    draws = len(z.contact)
    rows = np.minimum(np.arange(-(-draws // BATCH) * BATCH), draws - 1).reshape(-1, BATCH)
    parts = [batch({name: z[name][row] for name in z}) for row in rows]
    return jax.tree.map(lambda *x: np.concatenate(x)[:draws], *parts)


latents = {"contact": bbvi.Positive(), "recovery": bbvi.Positive(), "scatter": bbvi.Positive()}
draw_by_draw = bbvi.Model(gradient=gradient_of_one, latents=latents)
in_batches = bbvi.Model(gradient=gradient_of_all, latents=latents, vectorized=True)

fits = {}
for name, model in {"draw by draw": draw_by_draw, "in batches": in_batches}.items():
    began = time.perf_counter()
    fits[name] = bbvi.fit(model, seed=1)
    seconds = time.perf_counter() - began
    each = 1e6 * seconds / fits[name].evaluations
    print(f"JAX {name}: {fits[name].evaluations} evaluations in {seconds:.1f} s, {each:.0f} µs each")

fit = fits["in batches"]
print(fit)
ratio = fit.expect(lambda z: z.contact / z.recovery)
print(f"\nOne case infects {ratio.value:.2f} others at first.")
means = {name: other.summary()["mean"] for name, other in fits.items()}
apart = (means["in batches"] - means["draw by draw"]).abs() / fit.summary()["sd"]
print(f"The means of both fits differ by at most {apart.max():.3f} posterior sds.")
