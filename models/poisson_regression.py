"""Poisson regression with an offset: smoking and coronary deaths among British doctors.

Coronary deaths and person-years among male British doctors, by age band (35-44, 45-54, ..., 75-84) and
smoking. Data: Doll and Hill's study as tabulated by Breslow and Day (1987), Statistical Methods in Cancer
Research II; analysed by Dobson and Barnett (2018), An Introduction to Generalized Linear Models, section 9.2.

Model, for group i, with age a_i = 1, ..., 5 and smoking s_i = 0, 1::

    alpha, beta_k ~ Normal(0, 10)
    log rate_i = alpha + beta_1 s_i + beta_2 a_i + beta_3 a_i^2 + beta_4 s_i a_i
    deaths_i ~ Poisson(person_years_i / 1000 * rate_i)

What to look for: age enters raw together with its square, so that the coefficients are correlated beyond 0.9
and mean field's sds are nine to twenty times too small before correction. ``ratio``, the rate of smokers over
that of non-smokers in each age band, falls with age from about 3 to about 1.
"""

import autograd.numpy as np

import bbvi
from bbvi.stats import norm, poisson

AGE = np.array([1, 2, 3, 4, 5, 1, 2, 3, 4, 5])
SMOKER = np.array([1, 1, 1, 1, 1, 0, 0, 0, 0, 0])
DEATHS = [32, 104, 206, 186, 102, 2, 12, 28, 28, 31]
PERSON_YEARS = np.array([52407, 43248, 28612, 12663, 5317, 18790, 10673, 5710, 2585, 1462])


def log_prior(z):
    return norm.logpdf(z.alpha, 0, 10) + np.sum(norm.logpdf(z.beta, 0, 10))


def log_likelihood(z, deaths, x, log_exposure):
    return poisson.logpmf_log_rate(deaths, log_exposure + z.alpha + x @ z.beta)


def derived(z):
    return {"ratio": np.exp(z.beta[0] + z.beta[3] * AGE[:5])}


def predict(z, rng, x, log_exposure):
    return {"deaths": rng.poisson(np.exp(log_exposure + z.alpha + x @ z.beta))}


def model() -> bbvi.Model:
    """Poisson regression of deaths on smoking and age; 5 latents."""
    return bbvi.Model(
        log_prior=log_prior,
        log_likelihood=log_likelihood,
        latents={"alpha": bbvi.Real(), "beta": bbvi.Real(dims="predictor")},
        data={
            "deaths": DEATHS,
            "x": np.column_stack([SMOKER, AGE, AGE**2, SMOKER * AGE]),
            "log_exposure": np.log(PERSON_YEARS / 1000),
        },
        coords={
            "predictor": ["smoker", "age", "age_squared", "smoker_age"],
            "age_band": ["35-44", "45-54", "55-64", "65-74", "75-84"],
        },
        dims={"ratio": "age_band"},
        derived=derived,
        predict=predict,
    )
