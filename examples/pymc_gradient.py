"""A PyMC model, by way of ``gradient=``: PyMC compiles its densities, bbvi fits them, ArviZ has the results.

PyMC keeps its latents on the unconstrained scale under names such as ``tau_log__``, with the log-Jacobians in its
densities, so they are `Real` latents here. What the model calls ``tau`` comes back as a derived quantity. Nothing below
the model knows which model it is, as long as all its latents are continuous.
"""

import importlib.util
import sys
import time

import numpy as np

import bbvi

if importlib.util.find_spec("pymc") is None:
    print("This example needs PyMC: pip install pymc")
    sys.exit()

import pymc as pm

effects = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
errors = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])

with pm.Model(coords={"school": list("ABCDEFGH")}) as schools:
    mu = pm.Normal("mu", 0, 5)
    tau = pm.HalfCauchy("tau", 5)
    eta = pm.Normal("eta", dims="school")
    theta = pm.Deterministic("theta", mu + tau * eta, dims="school")
    pm.Normal("y", theta, errors, observed=effects, dims="school")


def from_pymc(pm_model):
    """A `bbvi.Model` of a PyMC model without discrete latents."""
    dims = pm_model.named_vars_to_dims
    start = pm_model.initial_point()
    observed = pm_model.observed_RVs
    others = [v for v in pm_model.unobserved_value_vars if v.name not in start]

    def compiled(outputs):
        function = pm_model.compile_fn(outputs, inputs=pm_model.value_vars, on_unused_input="ignore")
        return lambda z: function({name: z[name] for name in z})

    joint = compiled([pm_model.logp(), pm_model.dlogp()])
    prior = compiled(pm_model.logp(pm_model.free_RVs))
    likelihood = compiled(pm_model.logp(observed, sum=False))
    reported = compiled(others)
    return bbvi.Model(
        latents={
            name: bbvi.Real(dims=dims[name]) if dims.get(name) else np.shape(value) for name, value in start.items()
        },
        log_prior=prior,
        log_likelihood=lambda z: dict(zip([v.name for v in observed], likelihood(z), strict=True)),
        gradient=joint,
        derived=lambda z: dict(zip([v.name for v in others], reported(z), strict=True)),
        coords={name: list(labels) for name, labels in pm_model.coords.items() if labels is not None},
        dims={name: axes for name, axes in dims.items() if name not in start},
    )


began = time.perf_counter()
model = from_pymc(schools)
compiled_in = time.perf_counter() - began
fit = bbvi.fit(model, seed=1)
print(fit)
print(f"\nPyMC compiled its densities in {compiled_in:.1f} s; the fit took {fit.seconds:.1f} s.")

began = time.perf_counter()
trace = pm.sample(
    draws=1000, tune=1000, chains=2, cores=1, target_accept=0.95, random_seed=1, progressbar=False, model=schools
)
print(f"NUTS, 2 chains of 1000 draws, took {time.perf_counter() - began:.1f} s. Means, and sds, of both:")
table = fit.summary()
for name in ("mu", "tau"):
    draws = trace.posterior[name].values
    print(
        f"  {name:4} bbvi {table.loc[name, 'mean']:5.2f}, {table.loc[name, 'sd']:4.2f}"
        f"    NUTS {draws.mean():5.2f}, {draws.std():4.2f}"
    )
print()
print(fit.loo())
