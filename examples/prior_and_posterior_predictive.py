"""Before and after the data: prior predictive, posterior predictive, new points, and sensitivity to the prior."""

import autograd.numpy as np

import bbvi
from bbvi.stats import norm, poisson

# Sightings of a bird in a forest by year, made up.
year = np.arange(10.0)
seen = np.array([31, 28, 33, 24, 22, 25, 18, 20, 15, 16])


def rate(z, year):
    return np.exp(z.level + z.trend * (year - 4.5))


model = bbvi.Model(
    log_prior=lambda z: norm.logpdf(z.level, 3, 1) + norm.logpdf(z.trend, 0, 0.2),
    log_likelihood=lambda z, seen, year: poisson.logpmf(seen, rate(z, year)),
    latents={"level": bbvi.Real(), "trend": bbvi.Real()},
    data={"seen": seen, "year": year},
    sample_prior=lambda rng: {"level": rng.normal(3, 1), "trend": rng.normal(0, 0.2)},
    predict=lambda z, rng, year: {"seen": rng.poisson(rate(z, year))},
)
before = bbvi.prior_predictive(model, 1000, seed=1)["seen"]
fit = bbvi.fit(model, seed=1)
tree = fit.to_arviz(draws=1000)
after = tree["posterior_predictive"]["seen"].values.reshape(-1, 10)

print("year  seen  prior predictive 90 %  posterior predictive 90 %")
for i in range(10):
    low, high = np.quantile(before[:, i], [0.05, 0.95])
    narrow_low, narrow_high = np.quantile(after[:, i], [0.05, 0.95])
    print(f"{year[i]:4.0f}  {seen[i]:4d}  {low:9.0f} to {high:<9.0f}  {narrow_low:9.0f} to {narrow_high:.0f}")

ahead = fit.predict(2000, seed=1, year=np.array([10.0, 15.0]))["seen"]
print("\nyears 10 and 15: fewer than 10 seen with probability", np.mean(ahead < 10, axis=0).round(2))
print("\nHow much prior and likelihood matter:")
print(fit.sensitivity())
