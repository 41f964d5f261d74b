"""A straight line or a curve? Two regressions compared by leave-one-out cross-validation."""

import autograd.numpy as np

import bbvi
from bbvi.stats import halfnorm, norm

# Stopping distances (m) of a car at given speeds (m/s), made up with a quadratic law.
speed = np.array([3.0, 5.0, 8.0, 10.0, 12.0, 15.0, 18.0, 20.0, 23.0, 25.0, 28.0, 30.0])
stop = np.array([3.1, 6.9, 11.2, 16.8, 20.1, 29.6, 36.9, 44.8, 54.1, 63.9, 75.2, 87.0])


def regression(columns):
    """Linear regression of the stopping distance on columns of predictors."""
    x = np.stack([np.ones_like(speed), *columns], axis=1)
    return bbvi.Model(
        log_prior=lambda z: np.sum(norm.logpdf(z.beta, 0, 20)) + halfnorm.logpdf(z.sigma, 0, 10),
        log_likelihood=lambda z, stop, x: norm.logpdf(stop, np.dot(x, z.beta), z.sigma),
        latents={"beta": x.shape[1], "sigma": bbvi.Positive()},
        data={"stop": stop, "x": x},
    )


fits = {
    "line": bbvi.fit(regression([speed / 10]), seed=1),
    "curve": bbvi.fit(regression([speed / 10, (speed / 10) ** 2]), seed=1),
}
for name, fit in fits.items():
    print(f"{name}: {fit.verdict}, log evidence {fit.log_evidence:.1f} ± {fit.log_evidence_se:.1f}")
loo = {name: fit.loo() for name, fit in fits.items()}
for name, result in loo.items():
    print(f"\n{name}\n{result}")


def by_observation(result):
    """Leave-one-out log predictive densities; ArviZ 1 and its predecessors name them differently."""
    return np.asarray(result.elpd_i if hasattr(result, "elpd_i") else result.loo_i)


# The observations are the same, so the difference is known better than either sum; az.compare(loo) does the same.
difference = by_observation(loo["curve"]) - by_observation(loo["line"])
error = np.sqrt(len(difference) * np.var(difference))
print(f"\nThe curve predicts better by {difference.sum():.1f} ± {error:.1f} nats of elpd")
