"""Eight schools, centred: the same posterior as ``eight_schools``, in coordinates that make it hard.

Question and data as in ``eight_schools`` (Rubin 1981).

Model, for school j::

    mu ~ Normal(0, 5)
    tau ~ HalfCauchy(0, 5)
    theta_j ~ Normal(mu, tau)
    y_j ~ Normal(theta_j, sigma_j)

What to look for: where ``tau`` is small all ``theta`` must lie close to ``mu``, so that the posterior is a
funnel. No Gaussian has that shape: mean field by itself settles in the wide part, and the density has no mode
at all, since it grows without bound where all ``theta`` meet ``mu`` and ``tau`` goes to zero. The remedy is
the other parameterization.
"""

import autograd.numpy as np

import bbvi
from bbvi.models.eight_schools import EFFECT, STANDARD_ERROR
from bbvi.stats import halfcauchy, norm


def log_prior(z):
    hyperprior = norm.logpdf(z.mu, 0, 5) + halfcauchy.logpdf(z.tau, 0, 5)
    return hyperprior + np.sum(norm.logpdf(z.theta, z.mu, z.tau))


def log_likelihood(z, y, sigma):
    return norm.logpdf(y, z.theta, sigma)


def predict(z, rng, sigma):
    return {"y": rng.normal(z.theta, sigma)}


def model() -> bbvi.Model:
    """The centred eight schools model; 10 latents."""
    return bbvi.Model(
        log_prior=log_prior,
        log_likelihood=log_likelihood,
        latents={"mu": bbvi.Real(), "tau": bbvi.Positive(), "theta": bbvi.Real(dims="school")},
        data={"y": EFFECT, "sigma": STANDARD_ERROR},
        coords={"school": list("ABCDEFGH")},
        dims={"y": "school"},
        predict=predict,
    )
