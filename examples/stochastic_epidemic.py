"""An epidemic by chance, on a process pool and on a Dask cluster: a simulator without a likelihood, and noisy.

Boys in bed on each of 14 days, out of 763 in a boarding school (Anonymous 1978, British Medical Journal 1, 587). Four
times a day each susceptible boy escapes infection, and each ill one stays ill, with probabilities that depend on how
many are ill: an epidemic that is easily simulated, and has no likelihood to be written down. What the simulated
epidemics have in common with the one observed is summed up in three numbers, and these are taken to be normal, with the
mean and covariance of the simulated ones: a synthetic likelihood (Wood 2010, Nature 466, 1102-1104). It comes of a few
hundred epidemics, so it is noisy; the fit measures the noise and gets the posterior in spite of it.

``python examples/stochastic_epidemic.py --reference`` computes the posterior on a grid, which takes some minutes.
"""

import logging
import sys
import time
import zlib
from concurrent.futures import ProcessPoolExecutor

import numpy as np

import bbvi
from bbvi.models.boarding_school import BOYS, IN_BED
from bbvi.stats import lognorm

EPIDEMICS, STEPS_PER_DAY, FIRST_ILL = 300, 4, 3
# Where the prior has its middle. Far from the posterior the simulated epidemics have nothing in common with the one
# observed, and the noise is that of a normal's far tail.
START = {"beta": 2.0, "gamma": 0.5}
# Mean and sd of the posterior, on a grid of 41 x 41 points with the mean of 24 log likelihoods at each.
REFERENCE = {"beta": (2.1597, 0.1519), "gamma": (0.5077, 0.0193)}


def simulated(beta, gamma, count, rng):
    """Boys ill on each day of so many epidemics, (count, 14)."""
    susceptible, ill = np.full(count, BOYS - FIRST_ILL), np.full(count, FIRST_ILL)
    recovery = -np.expm1(-gamma / STEPS_PER_DAY)
    days = [ill]
    for _ in IN_BED[1:]:
        for _ in range(STEPS_PER_DAY):
            infections = rng.binomial(susceptible, -np.expm1(-beta * ill / BOYS / STEPS_PER_DAY))
            recoveries = rng.binomial(ill, recovery)
            susceptible, ill = susceptible - infections, ill + infections - recoveries
        days.append(ill)
    return np.stack(days, axis=1)


def summed_up(ill):
    """Three numbers of each epidemic (count, 14): how large it was, how late and how long."""
    total, day = ill.sum(axis=1), np.arange(ill.shape[1])
    share = ill / total[:, None]
    middle = share @ day
    return np.stack([np.log(total), middle, np.log(share @ day**2 - middle**2)], axis=1)


def log_likelihood(beta, gamma, in_bed, rng):
    ill = simulated(beta, gamma, EPIDEMICS, rng)
    # In a few the infection dies out at once; they say nothing of those in which it did not.
    ill = ill[ill.sum(axis=1) > 20 * FIRST_ILL]
    if len(ill) < EPIDEMICS / 2:
        return -np.inf
    numbers = summed_up(ill)
    covariance = np.cov(numbers.T)
    off = summed_up(in_bed[None])[0] - numbers.mean(axis=0)
    return float(-0.5 * (np.linalg.slogdet(2 * np.pi * covariance)[1] + off @ np.linalg.solve(covariance, off)))


def log_prior(beta, gamma):
    return lognorm.logpdf(beta, 0.5, scale=2.0) + lognorm.logpdf(gamma, 0.5, scale=0.5)


def log_joint(z, in_bed):
    beta, gamma = float(z.beta), float(z.gamma)
    # Begun with a number made of the parameters, so that a call gives the same on any worker.
    rng = np.random.default_rng(zlib.crc32(np.array([beta, gamma]).tobytes()))
    return log_prior(beta, gamma) + log_likelihood(beta, gamma, in_bed, rng)


def model():
    latents = {"beta": bbvi.Positive(), "gamma": bbvi.Positive()}
    return bbvi.Model(log_joint, latents, {"in_bed": np.array(IN_BED)}, derived=lambda z: {"r0": z.beta / z.gamma})


def on_a_grid():
    """Mean and sd of the posterior by brute force."""
    in_bed, rng = np.array(IN_BED), np.random.default_rng(1)
    betas, gammas = np.linspace(1.4, 2.7, 41), np.linspace(0.42, 0.62, 41)
    log_density = np.array(
        [
            [
                log_prior(beta, gamma) + np.mean([log_likelihood(beta, gamma, in_bed, rng) for _ in range(24)])
                for gamma in gammas
            ]
            for beta in betas
        ]
    )
    weights = np.exp(log_density - log_density.max())
    weights /= weights.sum()
    for name, grid, of in (("beta", betas, weights.sum(axis=1)), ("gamma", gammas, weights.sum(axis=0))):
        mean = of @ grid
        print(f"{name}: mean {mean:.4f}, sd {np.sqrt(of @ (grid - mean) ** 2):.4f}, at the edges {of[[0, -1]]}")


def main():
    with ProcessPoolExecutor(2) as pool:
        began = time.perf_counter()
        fit = bbvi.fit(model(), seed=1, init=START, executor=pool)
        print(fit)
        print(f"\nOn two processes: {time.perf_counter() - began:.0f} s, noise of {fit.noise_sd:.1f} nats at the start")
    table = fit.summary()
    for name, (mean, sd) in REFERENCE.items():
        off = abs(table.loc[name, "mean"] - mean) / sd
        print(f"{name}: mean {off:.2f} sd and sd {abs(table.loc[name, 'sd'] / sd - 1):.0%} from those of a grid")
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        print("The same on a cluster needs Dask: pip install 'bbvi[dask]'")
        return
    local = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "silence_logs": logging.ERROR}
    with LocalCluster(n_workers=2, threads_per_worker=1, **local) as cluster, Client(cluster) as client:
        same = bbvi.fit(model(), seed=1, init=START, executor=client.get_executor())
    apart = np.max(np.abs(same.approximation.mean - fit.approximation.mean) / fit.approximation.sd)
    print(f"On a Dask cluster of two workers: means {apart:.1g} sd from these")


if __name__ == "__main__":
    on_a_grid() if "--reference" in sys.argv else main()
