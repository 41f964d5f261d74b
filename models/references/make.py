"""Make the reference posteriors: ``python models/references/make.py [NAME ...]``, all of them without a name.

Needs ``pip install numpyro arviz`` beside bbvi. Long NUTS runs in float64 of the independent statements in
``densities.py``, or the exact figures of ``exact.py``. Before a reference is written, the two statements of
its posterior are compared at points of the posterior, where their log densities must differ by a constant and
their derived quantities not at all.
"""

import argparse
import json
import os
import time
from pathlib import Path

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import arviz as az
import densities
import exact
import jax
import numpy as np
import numpyro
from numpyro.handlers import reparam
from numpyro.infer import MCMC, NUTS, init_to_uniform, init_to_value
from numpyro.infer.reparam import LocScaleReparam
from numpyro.infer.util import log_density

from bbvi import models
from bbvi.model.model import labels_of

jax.config.update("jax_enable_x64", True)

FOLDER = Path(__file__).parent
CHAINS, WARMUP, DRAWS, SEED = 8, 1000, 5000, 20240
ACCURATE = 0.009  # Monte Carlo error, in posterior sds, at which a run may stop
MAX_ROUNDS = 6
# NUTS settings other than the defaults of `sample`; starts where there are local optima of negligible weight.
SETTINGS: dict[str, dict] = {
    "bayesian_neural_network": {
        "start": {
            "slope": np.full(3, 1.5),
            "center": np.array([-2.0, 0.0, 2.0]),
            "weight": np.array([-1.0, 1.0, -1.0]),
            "bias": 0.0,
            "sigma": 0.2,
        },
        "target_accept": 0.95,
        "warmup": 2000,
    },
    "eight_schools": {"target_accept": 0.95},
    "eight_schools_centered": {"target_accept": 0.95},
    "galaxies": {"start": {"mu": np.array([10.0, 21.0, 33.0]), "sigma": np.ones(3), "weight": np.ones(3) / 3}},
    "horseshoe": {"target_accept": 0.99, "dense": False},
    "lotka_volterra": {
        "start": {
            "alpha": 0.5,
            "beta": 0.03,
            "gamma": 0.8,
            "delta": 0.03,
            "initial": np.array([30.0, 4.0]),
            "sigma": np.ones(2),
        }
    },
    "rats": {"dense": False},
    "seeds": {"target_accept": 0.95},
    "sleepstudy": {"dense": False},
    "stochastic_volatility": {"dense": False},
    "survival": {"start": {"alpha": 3.0, "beta": 0.0, "shape": 1.0}, "dense": False},
}


def sample(name: str, data: dict) -> tuple[dict, dict]:
    """Draws ``{site: (chains, draws, *shape)}`` and the provenance of the run."""
    options = SETTINGS.get(name, {})
    statement = reparam(
        getattr(densities, name),
        config={site: LocScaleReparam(0) for site in densities.NON_CENTERED.get(name, [])},
    )
    kernel = NUTS(
        statement,
        target_accept_prob=options.get("target_accept", 0.9),
        dense_mass=options.get("dense", True),
        init_strategy=init_to_value(values=options["start"]) if "start" in options else init_to_uniform,
        max_tree_depth=options.get("max_tree_depth", 10),
    )
    mcmc = MCMC(
        kernel,
        num_warmup=options.get("warmup", WARMUP),
        num_samples=options.get("draws", DRAWS),
        num_chains=CHAINS,
        chain_method="vectorized",
        progress_bar=False,
    )
    rounds, divergences = [], 0
    key = jax.random.PRNGKey(SEED)
    for _ in range(options.get("rounds", MAX_ROUNDS)):
        mcmc.run(key, extra_fields=("diverging",), **data)
        rounds.append({site: np.asarray(draws) for site, draws in mcmc.get_samples(group_by_chain=True).items()})
        divergences += int(np.sum(mcmc.get_extra_fields()["diverging"]))
        draws = {site: np.concatenate([part[site] for part in rounds], axis=1) for site in rounds[0]}
        if error(draws) < ACCURATE:
            break
        mcmc.post_warmup_state = mcmc.last_state
        key = mcmc.post_warmup_state.rng_key
    return draws, {
        "method": "NUTS",
        "package": "numpyro",
        "version": numpyro.__version__,
        "chains": CHAINS,
        "draws": CHAINS * draws[next(iter(draws))].shape[1],
        "warmup": options.get("warmup", WARMUP),
        "divergences": divergences,
    }


def error(draws: dict) -> float:
    """The largest Monte Carlo error of a mean or an sd, in posterior sds, of any scalar that varies."""
    posterior = az.from_dict(posterior=draws)
    largest = 0.0
    for method in ("mean", "sd"):
        mcse = az.mcse(posterior, method=method)
        for site, values in draws.items():
            sd = values.std((0, 1))
            largest = max(largest, float(np.max(np.where(sd > 0, mcse[site] / np.where(sd > 0, sd, 1), 0))))
    return largest


def summarize(model, draws: dict) -> tuple[dict, float]:
    """``{row: figures}`` of every scalar that varies, in the order of the model, and the worst R-hat."""
    rows, rhats = {}, []
    for name, labels in row_labels(model, draws).items():
        posterior = az.from_dict(posterior={name: draws[name]})
        figures = {
            "ess": az.ess(posterior, method="mean")[name].values,
            "mcse_mean": az.mcse(posterior, method="mean")[name].values,
            "mcse_sd": az.mcse(posterior, method="sd")[name].values,
            "rhat": az.rhat(posterior)[name].values,
        }
        flat = draws[name].reshape(-1, len(labels))
        quantiles = np.quantile(flat, [0.05, 0.5, 0.95], axis=0)
        for i, label in enumerate(labels):
            if np.ptp(flat[:, i]) == 0:
                continue
            mean, sd = flat[:, i].mean(), flat[:, i].std(ddof=1)
            values = [
                mean,
                sd,
                *quantiles[:, i],
                *(np.ravel(figures[key])[i] for key in ("mcse_mean", "mcse_sd", "ess")),
            ]
            rows[label] = [float(f"{value:.8g}") for value in values]
            rhats.append(float(np.ravel(figures["rhat"])[i]))
    return rows, max(rhats)


def row_labels(model, draws: dict) -> dict[str, list[str]]:
    """Row labels of the latents and the derived quantities, as ArviZ writes them."""
    labels = {name: latent.labels for name, latent in model.latents.items()}
    for name, value in derived_at(model, draws, 0, 0).items():
        labels[name] = labels_of(model, name, np.shape(value))[1]
    return labels


def derived_at(model, draws: dict, chain: int, draw: int) -> dict:
    """The gallery's derived quantities at one draw."""
    if "derived" not in model.functions:
        return {}
    return model.named("derived", {name: draws[name][chain, draw] for name in model.latents})


def compare(model, statement, data: dict, draws: dict, points: int = 12) -> float:
    """The largest disagreement of the two statements, in nats; raises where derived quantities differ."""
    rng = np.random.default_rng(SEED)
    gaps = []
    for chain, draw in zip(rng.integers(CHAINS, size=points), rng.integers(1000, size=points), strict=True):
        z = {site: draws[site][chain, draw] for site in model.latents}
        independent, trace = log_density(statement, (), data, z)
        gaps.append(float(model.log_joint(z)) - float(independent))
        for site, value in derived_at(model, draws, chain, draw).items():
            np.testing.assert_allclose(value, trace[site]["value"], rtol=1e-7, atol=1e-10, err_msg=site)
    return float(np.ptp(gaps))


def write(name: str, rows: dict, provenance: dict) -> None:
    columns = ["mean", "sd", "q5", "q50", "q95", "mcse_mean", "mcse_sd", "ess"]
    body = ",\n".join(f"    {json.dumps(label)}: {json.dumps(values)}" for label, values in rows.items())
    head = f'{{\n  "model": {json.dumps(name)},\n  "provenance": {json.dumps(provenance)},\n'
    text = f'{head}  "columns": {json.dumps(columns)},\n  "rows": {{\n{body}\n  }}\n}}\n'
    (FOLDER / f"{name}.json").write_text(text, encoding="utf-8")


def make(name: str) -> str:
    """Make one reference; returns a line that tells how good it is."""
    start = time.perf_counter()
    model = models.load(name)
    if hasattr(exact, name):
        rows, provenance, disagreement = getattr(exact, name)(model)
        quality = provenance["method"]
    else:
        data = {key: np.asarray(value) for key, value in model.data.items()}
        draws, provenance = sample(name, data)
        disagreement = compare(model, getattr(densities, name), data, draws)
        rows, rhat = summarize(model, draws)
        if not rhat < 1.005:
            raise RuntimeError(f"{name}: the chains disagree, R-hat {rhat:.4f}; {provenance}")
        provenance |= {"rhat_max": round(rhat, 5), "seed": SEED}
        figures = np.array(list(rows.values()))
        mcse_mean, mcse_sd = np.max(figures[:, 5:7] / figures[:, [1]], axis=0)
        quality = (
            f"mcse/sd mean {mcse_mean:.4f} sd {mcse_sd:.4f}, "
            f"ess {figures[:, 7].min():.0f}, R-hat {rhat:.5f}, "
            f"divergences {provenance['divergences']} of {provenance['draws']}"
        )
    if not disagreement < 1e-8:
        raise RuntimeError(
            f"{name}: the two statements of the posterior differ by {disagreement} nats from point to point"
        )
    write(name, rows, provenance | {"script": "models/references/make.py"})
    seconds = time.perf_counter() - start
    head = f"{name}: D = {model.dim}, rows {len(rows)}"
    return f"{head}, {quality}, densities agree to {disagreement:.1e}, {seconds:.0f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="models to make; all of them if none is named")
    for name in parser.parse_args().names or models.names():
        print(make(name), flush=True)


if __name__ == "__main__":
    main()
