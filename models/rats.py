"""Growth of thirty rats: a centred hierarchy that is easy.

Weights (g) of 30 young rats, weighed at ages of 8, 15, 22, 29 and 36 days. Data: Gelfand, Hills, Racine-Poon
and Smith (1990), JASA 85, 972-985, table 3 (control group); a classic of the BUGS examples, volume I.

Model, for rat i at age a, counted from day 22::

    mu_alpha ~ Normal(250, 50)      mu_beta ~ Normal(6, 5)
    sigma_alpha ~ HalfNormal(50)    sigma_beta ~ HalfNormal(5)
    alpha_i ~ Normal(mu_alpha, sigma_alpha)
    beta_i ~ Normal(mu_beta, sigma_beta)
    sigma ~ HalfNormal(20)
    weight_ia ~ Normal(alpha_i + beta_i a, sigma)

What to look for: the five weighings of each rat pin its line down, which makes the centred form the right one
here. All 65 latents are close to Gaussian.
"""

import autograd.numpy as np

import bbvi
from bbvi.stats import halfnorm, norm

WEIGHT = [
    [151, 199, 246, 283, 320], [145, 199, 249, 293, 354], [147, 214, 263, 312, 328],
    [155, 200, 237, 272, 297], [135, 188, 230, 280, 323], [159, 210, 252, 298, 331],
    [141, 189, 231, 275, 305], [159, 201, 248, 297, 338], [177, 236, 285, 350, 376],
    [134, 182, 220, 260, 296], [160, 208, 261, 313, 352], [143, 188, 220, 273, 314],
    [154, 200, 244, 289, 325], [171, 221, 270, 326, 358], [163, 216, 242, 281, 312],
    [160, 207, 248, 288, 324], [142, 187, 234, 280, 316], [156, 203, 243, 283, 317],
    [157, 212, 259, 307, 336], [152, 203, 246, 286, 321], [154, 205, 253, 298, 334],
    [139, 190, 225, 267, 302], [146, 191, 229, 272, 302], [157, 211, 250, 285, 323],
    [132, 185, 237, 286, 331], [160, 207, 257, 303, 345], [169, 216, 261, 295, 333],
    [157, 205, 248, 289, 316], [137, 180, 219, 258, 291], [153, 200, 244, 286, 324],
]  # fmt: skip
AGE = np.array([8, 15, 22, 29, 36])


def log_prior(z):
    return (
        norm.logpdf(z.mu_alpha, 250, 50)
        + norm.logpdf(z.mu_beta, 6, 5)
        + halfnorm.logpdf(z.sigma_alpha, 0, 50)
        + halfnorm.logpdf(z.sigma_beta, 0, 5)
        + halfnorm.logpdf(z.sigma, 0, 20)
        + np.sum(norm.logpdf(z.alpha, z.mu_alpha, z.sigma_alpha))
        + np.sum(norm.logpdf(z.beta, z.mu_beta, z.sigma_beta))
    )


def mean_weight(z, age):
    return z.alpha[:, None] + z.beta[:, None] * age


def log_likelihood(z, weight, age):
    return norm.logpdf(weight, mean_weight(z, age), z.sigma)


def predict(z, rng, age):
    return {"weight": rng.normal(mean_weight(z, age), z.sigma)}


def model() -> bbvi.Model:
    """Growth curves, centred; 65 latents."""
    return bbvi.Model(
        log_prior=log_prior,
        log_likelihood=log_likelihood,
        latents={
            "mu_alpha": bbvi.Real(),
            "mu_beta": bbvi.Real(),
            "sigma_alpha": bbvi.Positive(),
            "sigma_beta": bbvi.Positive(),
            "sigma": bbvi.Positive(),
            "alpha": bbvi.Real(dims="rat"),
            "beta": bbvi.Real(dims="rat"),
        },
        data={"weight": WEIGHT, "age": AGE - 22},
        coords={"rat": list(range(1, 31)), "day": AGE.tolist()},
        dims={"weight": ("rat", "day")},
        predict=predict,
    )
