"""Starts and a metric for MCMC: a sampler that need not tune, to confirm a fit or to go where no Gaussian can.

The sampler here is random-walk Metropolis in ten lines of NumPy, so that the script runs anywhere. For NUTS hand over
the same two things: ``starts`` as initial values and ``metric`` as the (dense) inverse mass matrix, which PyMC calls
``scaling`` with ``is_cov=True`` and NumPyro and BlackJAX call ``inverse_mass_matrix``.
"""

import numpy as np

import bbvi
from bbvi import models

CHAINS, STEPS = 4, 6000

fit = bbvi.fit(models.load("pumps"), seed=1)
starts = fit.starts(CHAINS, seed=2)
metric = fit.inverse_metric
print(f"{fit.verdict}; {CHAINS} starts, the first with alpha = {starts[0]['alpha']:.2f}; a metric {metric.shape}")

rng = np.random.default_rng(3)
u = np.stack([fit.target.unconstrain(start) for start in starts])
log_p = fit.target.values(u)
step = 2.38 / np.sqrt(u.shape[1]) * np.linalg.cholesky(metric)
chains, accepted = np.empty((STEPS, *u.shape)), 0.0
for i in range(STEPS):
    proposed = u + rng.standard_normal(u.shape) @ step.T
    log_p_proposed = fit.target.values(proposed)
    accept = np.log(rng.random(CHAINS)) < log_p_proposed - log_p
    u, log_p = np.where(accept[:, None], proposed, u), np.where(accept, log_p_proposed, log_p)
    chains[i], accepted = u, accepted + accept.mean() / STEPS

mean = fit.posterior().weights @ fit.posterior().u
apart = (chains.mean(axis=(0, 1)) - mean) / np.sqrt(np.diag(metric))
print(f"accepted {accepted:.0%}; the means of MCMC and of the fit differ by at most {np.abs(apart).max():.2f} sd")
