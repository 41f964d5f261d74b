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
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
sys.path.insert(0, str(Path(__file__).parents[2]))

import jax
import numpy as np
import numpyro
from numpyro.infer import MCMC, NUTS, init_to_median
from numpyro.infer.util import log_density
from peers import data_of
from statements import statement
from targets import large

from bbvi.target.target import Target

jax.config.update("jax_enable_x64", True)
CHAINS, WARMUP, SEED = 4, 1500, 20261
ACCURATE, ROUNDS, DRAWS = 0.02, 6, 2500


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
