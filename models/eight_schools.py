"""Eight schools, non-centred: how much did coaching raise test scores?

Eight schools ran the same coaching programme. Each reports an estimated effect ``y`` on the SAT verbal score
and the standard error ``sigma`` of that estimate. Data: Rubin (1981), Journal of Educational Statistics 6,
377-401, table 1; as in Gelman et al. (2013), Bayesian Data Analysis, 3rd edition, table 5.2.

Model, for school j::

    mu ~ Normal(0, 5)               mean effect
    tau ~ HalfCauchy(0, 5)          spread between schools
    eta_j ~ Normal(0, 1)
    theta_j = mu + tau * eta_j      effect of school j
    y_j ~ Normal(theta_j, sigma_j)

What to look for: the data say little about ``tau``, so that ``theta`` is shrunk almost to a common value.
Written with ``eta`` the posterior is close to a product of independent factors and mean field does well;
``eight_schools_centered`` is the same posterior in coordinates where it does not.
"""

import autograd.numpy as np

import bbvi
from bbvi.stats import halfcauchy, norm

EFFECT = [28, 8, -3, 7, -1, 1, 18, 12]
STANDARD_ERROR = [15, 10, 16, 11, 9, 11, 10, 18]


def log_prior(z):
    return norm.logpdf(z.mu, 0, 5) + halfcauchy.logpdf(z.tau, 0, 5) + np.sum(norm.logpdf(z.eta))


def log_likelihood(z, y, sigma):
    return norm.logpdf(y, z.mu + z.tau * z.eta, sigma)


def derived(z):
    return {"theta": z.mu + z.tau * z.eta}


def predict(z, rng, sigma):
    return {"y": rng.normal(z.mu + z.tau * z.eta, sigma)}


def sample_prior(rng):
    return {"mu": rng.normal(0, 5), "tau": 5 * abs(rng.standard_cauchy()), "eta": rng.normal(size=8)}


def model() -> bbvi.Model:
    """The non-centred eight schools model; 10 latents."""
    return bbvi.Model(
        log_prior=log_prior,
        log_likelihood=log_likelihood,
        latents={"mu": bbvi.Real(), "tau": bbvi.Positive(), "eta": bbvi.Real(dims="school")},
        data={"y": EFFECT, "sigma": STANDARD_ERROR},
        coords={"school": list("ABCDEFGH")},
        dims={"theta": "school", "y": "school"},
        derived=derived,
        predict=predict,
        sample_prior=sample_prior,
    )
