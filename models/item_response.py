"""A Rasch model with abilities integrated out: how hard are five questions of a law school admission test?

Right and wrong answers of 1000 people to five questions, section 6 of the LSAT. Data: Bock and Lieberman
(1970), Psychometrika 35, 179-197, table 1.

Model, for person i and question k::

    easiness_k ~ Normal(0, 3)
    spread ~ HalfNormal(0, 2)                       sd of ability
    answer_ik ~ Bernoulli(logit^-1(easiness_k + spread * ability_i)),  ability_i ~ Normal(0, 1)

Each person's ability is integrated out by Gauss-Hermite quadrature with 21 nodes. There are only 32 patterns
of answers, so that the likelihood of a person is looked up among 32.

What to look for: 1000 latents fewer than with the abilities kept, and a posterior that is nearly Gaussian.
"""

import autograd.numpy as np
import numpy

import bbvi
from bbvi.stats import halfnorm, logsumexp, norm

# How many people gave each pattern, in binary order: 00000, 00001, ..., 11111 (1 is a right answer).
PEOPLE = [
    3, 6, 2, 11, 1, 1, 3, 4, 1, 8, 0, 16, 0, 3, 2, 15, 10, 29, 14, 81, 3, 28, 15, 80, 16, 56, 21, 173, 11, 61,
    28, 298,
]  # fmt: skip
ANSWERS = np.array([[pattern >> shift & 1 for shift in (4, 3, 2, 1, 0)] for pattern in range(32)])
NODE, WEIGHT = numpy.polynomial.hermite_e.hermegauss(21)
LOG_WEIGHT = np.log(WEIGHT / np.sqrt(2 * np.pi))


def log_pattern_probability(z):
    """Log probability of each of the 32 patterns, (32,)."""
    logits = z.easiness + z.spread * NODE[:, None]
    log_right, log_wrong = -np.logaddexp(0, -logits), -np.logaddexp(0, logits)
    log_given_ability = (log_right @ ANSWERS.T) + (log_wrong @ (1 - ANSWERS.T))
    return logsumexp(LOG_WEIGHT[:, None] + log_given_ability, axis=0)


def log_prior(z):
    return np.sum(norm.logpdf(z.easiness, 0, 3)) + halfnorm.logpdf(z.spread, 0, 2)


def log_likelihood(z, pattern):
    return log_pattern_probability(z)[pattern]


def predict(z, rng, pattern):
    return {"pattern": rng.choice(32, size=len(pattern), p=np.exp(log_pattern_probability(z)))}


def model() -> bbvi.Model:
    """Marginal Rasch model; 6 latents."""
    return bbvi.Model(
        log_prior=log_prior,
        log_likelihood=log_likelihood,
        latents={"easiness": bbvi.Real(dims="question"), "spread": bbvi.Positive()},
        data={"pattern": np.repeat(np.arange(32), PEOPLE)},
        coords={"question": [1, 2, 3, 4, 5]},
        predict=predict,
    )
