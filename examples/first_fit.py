"""Eight schools, from the log joint to a summary, answers to questions, and a file for ArviZ."""

from pathlib import Path
from tempfile import TemporaryDirectory

import autograd.numpy as np

import bbvi
from bbvi.stats import halfcauchy, norm


def log_joint(z, y, sigma):
    theta = z.mu + z.tau * z.eta
    return (
        norm.logpdf(z.mu, 0, 5)
        + halfcauchy.logpdf(z.tau, 0, 5)
        + np.sum(norm.logpdf(z.eta))
        + np.sum(norm.logpdf(y, theta, sigma))
    )


model = bbvi.Model(
    log_joint,
    latents={"mu": bbvi.Real(), "tau": bbvi.Positive(), "eta": bbvi.Real(dims="school")},
    data={"y": [28, 8, -3, 7, -1, 1, 18, 12], "sigma": [15, 10, 16, 11, 9, 11, 10, 18]},
    coords={"school": list("ABCDEFGH")},
    dims={"theta": "school"},
    derived=lambda z: {"theta": z.mu + z.tau * z.eta},
)
fit = bbvi.fit(model, seed=1)
print(fit)

print("\nP(coaching helps on average) =", fit.expect(lambda z: z.mu > 0))
print("school A above school C by", fit.expect(lambda z: z.theta[0] - z.theta[2]))

with TemporaryDirectory() as folder:
    path = Path(folder) / "eight_schools.nc"
    fit.to_arviz(draws=1000).to_netcdf(path)
    print(f"\nfor ArviZ: {path.name}, {path.stat().st_size / 1000:.0f} kB")
