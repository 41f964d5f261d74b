"""One proportion, whose posterior is known exactly: births with placenta previa.

Of 980 births with the condition, 437 were girls. Data: Gelman et al. (2013), Bayesian Data Analysis, 3rd
edition, section 2.4.

Model::

    theta ~ Uniform(0, 1)                   probability of a girl
    girls ~ Binomial(980, theta)

What to look for: the posterior is Beta(438, 544), so that every figure of a fit can be checked. ``odds`` is
theta / (1 - theta).
"""

import bbvi
from bbvi.stats import binom

GIRLS = 437
BIRTHS = 980


def log_joint(z, girls, births):
    return binom.logpmf(girls, births, z.theta)


def derived(z):
    return {"odds": z.theta / (1 - z.theta)}


def model() -> bbvi.Model:
    """A binomial proportion; 1 latent."""
    return bbvi.Model(
        log_joint,
        latents={"theta": bbvi.Interval(0, 1)},
        data={"girls": GIRLS, "births": BIRTHS},
        derived=derived,
    )
