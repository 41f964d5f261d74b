"""An autoregression of order four: the ten-year cycle of the Canadian lynx.

Lynx trapped each year from 1821 to 1934 in the Mackenzie River district, on a log10 scale. Data: Elton and
Nicholson (1942), Journal of Animal Ecology 11, 215-244, table 4, as analysed by Campbell and Walker (1977),
JRSS A 140, 411-431.

Model, conditional on the first four years::

    alpha ~ Normal(0, 5)
    beta_k ~ Normal(0, 2)           k = 1, ..., 4
    sigma ~ HalfNormal(0, 1)
    y_t ~ Normal(alpha + sum_k beta_k y_(t-k), sigma)

What to look for: neighbouring lags are correlated, so that each coefficient is uncertain while their sum is
not.
"""

import autograd.numpy as np

import bbvi
from bbvi.stats import halfnorm, norm

LYNX = [
    269, 321, 585, 871, 1475, 2821, 3928, 5943, 4950, 2577, 523, 98, 184, 279, 409, 2285, 2685, 3409, 1824,
    409, 151, 45, 68, 213, 546, 1033, 2129, 2536, 957, 361, 377, 225, 360, 731, 1638, 2725, 2871, 2119, 684,
    299, 236, 245, 552, 1623, 3311, 6721, 4254, 687, 255, 473, 358, 784, 1594, 1676, 2251, 1426, 756, 299,
    201, 229, 469, 736, 2042, 2811, 4431, 2511, 389, 73, 39, 49, 59, 188, 377, 1292, 4031, 3495, 587, 105,
    153, 387, 758, 1307, 3465, 6991, 6313, 3794, 1836, 345, 382, 808, 1388, 2713, 3800, 3091, 2985, 3790, 674,
    81, 80, 108, 229, 399, 1132, 2432, 3574, 2935, 1537, 529, 485, 662, 1000, 1590, 2657, 3396,
]  # fmt: skip
ORDER = 4


def lagged(series):
    """The series from its fifth value on, (T - 4,), and the four before each, latest first, (T - 4, 4)."""
    return series[ORDER:], np.column_stack([series[ORDER - k : -k] for k in range(1, ORDER + 1)])


def log_prior(z):
    return norm.logpdf(z.alpha, 0, 5) + np.sum(norm.logpdf(z.beta, 0, 2)) + halfnorm.logpdf(z.sigma)


def log_likelihood(z, y, past):
    return norm.logpdf(y, z.alpha + past @ z.beta, z.sigma)


def predict(z, rng, past):
    return {"y": rng.normal(z.alpha + past @ z.beta, z.sigma)}


def model() -> bbvi.Model:
    """AR(4) with intercept; 6 latents."""
    y, past = lagged(np.log10(LYNX))
    return bbvi.Model(
        log_prior=log_prior,
        log_likelihood=log_likelihood,
        latents={"alpha": bbvi.Real(), "beta": bbvi.Real(dims="lag"), "sigma": bbvi.Positive()},
        data={"y": y, "past": past},
        coords={"lag": [1, 2, 3, 4]},
        predict=predict,
    )
