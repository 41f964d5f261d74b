"""GARCH(1, 1): volatility that follows from the returns themselves.

250 daily returns, simulated with mean 0.2, level 1, and weights (0.15, 0.25, 0.6) (``data/garch.csv``, made
by ``data/make.py``).

Model (Bollerslev 1986, Journal of Econometrics 31, 307-327), for day t::

    mu ~ Normal(0, 1)
    level ~ LogNormal(0, 1)                         long-run variance
    weight ~ Dirichlet(1, 1, 1)
    variance_1 = level
    variance_t = weight . (level, (return_(t-1) - mu)^2, variance_(t-1))
    return_t ~ Normal(mu, sqrt(variance_t))

What to look for: three weights on a simplex say at once that the process is stationary. A recursion in time
is an ordinary loop.
"""

import autograd.numpy as np

import bbvi
from bbvi.models._tables import read_table
from bbvi.stats import dirichlet, lognorm, norm


def variances(z, returns):
    """The variance of each day, (T,)."""
    news = z.weight[0] * z.level + z.weight[1] * (returns - z.mu) ** 2
    memory = z.weight[2]
    path = [z.level]
    for t in range(1, len(returns)):
        path.append(news[t - 1] + memory * path[-1])
    return np.array(path)


def log_prior(z):
    return norm.logpdf(z.mu) + lognorm.logpdf(z.level, 1) + dirichlet.logpdf(z.weight, np.ones(3))


def log_likelihood(z, returns):
    return norm.logpdf(returns, z.mu, np.sqrt(variances(z, returns)))


def model() -> bbvi.Model:
    """GARCH(1, 1) of 250 returns; 4 latents."""
    return bbvi.Model(
        log_prior=log_prior,
        log_likelihood=log_likelihood,
        latents={"mu": bbvi.Real(), "level": bbvi.Positive(), "weight": bbvi.Simplex(dims="part")},
        data=read_table("garch"),
        coords={"part": ["level", "arch", "memory"]},
    )
