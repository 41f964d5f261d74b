"""Gaussian process classification: O-rings of the space shuttle in the cold.

Whether any O-ring was damaged at each of the 23 launches before the Challenger's last, and the temperature of
the joint (degrees Fahrenheit). Data: Dalal, Fowlkes and Hoadley (1989), JASA 84, 945-957, table 1.

Model, with a latent curve f at the 16 distinct temperatures::

    mean ~ Normal(0, 2)
    amplitude ~ HalfNormal(0, 2)
    length ~ InverseGamma(5, 5)                     tens of degrees
    f = mean + amplitude chol(R) eta,  eta_k ~ Normal(0, 1),  R squared exponential
    damage_i ~ Bernoulli(logit^-1(f at the temperature of launch i))

What to look for: ``damage_31`` is the probability at 31 degrees, the temperature of the last launch, by
conditioning f; what 23 binary observations leave open about ``amplitude`` and ``length`` is nearly the prior.
"""

import autograd.numpy as np

import bbvi
from bbvi.stats import bernoulli, halfnorm, invgamma, norm

TEMPERATURE = [66, 70, 69, 68, 67, 72, 73, 70, 57, 63, 70, 78, 67, 53, 67, 75, 70, 81, 76, 79, 75, 76, 58]
DAMAGE = [0, 1, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 1]
GRID, LAUNCH_TO_GRID = np.unique(TEMPERATURE, return_inverse=True)
JITTER = 1e-6


def correlation(z, temperature):
    """Correlation of the curve at other temperatures, (T,), with that at those of the launches, (T, 16)."""
    return np.exp(-0.5 * ((temperature[:, None] - GRID) / (10 * z.length)) ** 2)


def curve(z):
    """Log odds of damage at the distinct temperatures, (16,)."""
    return z.mean + z.amplitude * np.linalg.cholesky(correlation(z, GRID) + JITTER * np.eye(len(GRID))) @ z.eta


def log_prior(z):
    return (
        norm.logpdf(z.mean, 0, 2)
        + halfnorm.logpdf(z.amplitude, 0, 2)
        + invgamma.logpdf(z.length, 5, scale=5)
        + np.sum(norm.logpdf(z.eta))
    )


def log_likelihood(z, damage):
    return bernoulli.logpmf_logits(damage, curve(z)[LAUNCH_TO_GRID])


def derived(z):
    weights = np.linalg.solve(correlation(z, GRID) + JITTER * np.eye(len(GRID)), curve(z) - z.mean)
    logit = z.mean + correlation(z, np.array([31.0])) @ weights
    return {"damage_31": 1 / (1 + np.exp(-logit[0]))}


def model() -> bbvi.Model:
    """Gaussian process classification of 23 launches; 19 latents."""
    return bbvi.Model(
        log_prior=log_prior,
        log_likelihood=log_likelihood,
        latents={
            "mean": bbvi.Real(),
            "amplitude": bbvi.Positive(),
            "length": bbvi.Positive(),
            "eta": bbvi.Real(shape=16),
        },
        data={"damage": DAMAGE},
        derived=derived,
    )
