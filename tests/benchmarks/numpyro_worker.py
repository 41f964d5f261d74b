"""One posterior by NumPyro, as its documentation says: NUTS, or stochastic gradients for a mean-field Gaussian.

``python numpyro_worker.py METHOD NAME DATA OUT``: reads the pickled data, writes means and sds by latent as ``.npz``.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "targets" / "references"))

import numpy as np
import numpyro

numpyro.set_host_device_count(2)

import jax  # noqa: E402
from numpyro.infer import MCMC, NUTS, SVI, Predictive, Trace_ELBO  # noqa: E402
from numpyro.infer.autoguide import AutoNormal  # noqa: E402
from statements import statement  # noqa: E402


def nuts(model) -> dict:
    """Two chains of 1,000 draws after 1,000 of warm-up, each on a core."""
    mcmc = MCMC(NUTS(model), num_warmup=1000, num_samples=1000, num_chains=2, progress_bar=False)
    mcmc.run(jax.random.PRNGKey(1))
    return mcmc.get_samples()


def svi(model) -> dict:
    """20,000 steps of Adam with a step of 0.01, and 4,000 draws."""
    guide = AutoNormal(model)
    steps = SVI(model, guide, numpyro.optim.Adam(0.01), Trace_ELBO())
    found = steps.run(jax.random.PRNGKey(1), 20_000, progress_bar=False)
    return Predictive(guide, params=found.params, num_samples=4000)(jax.random.PRNGKey(2))


def main(method: str, name: str, data: str, out: str) -> None:
    with open(data, "rb") as file:
        model = statement(name, pickle.load(file))
    draws = {"nuts": nuts, "svi": svi}[method](model)
    rows = {f"{key} {what}": getattr(np, what)(x, axis=0) for key, x in draws.items() for what in ("mean", "std")}
    np.savez(out, **rows)
    print({key: np.ravel(x)[:3] for key, x in rows.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
