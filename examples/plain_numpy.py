"""A simulator in plain NumPy, without any gradient: how fast do flour beetles multiply, and where does it end?

The population grows in small irregular steps, and a week's count is that of the first step after it: a loop whose
result has jumps, so that nobody can differentiate it. Values of the log joint are all that the fit asks for.
"""

import numpy as np

import bbvi
from bbvi.stats import lognorm, norm

weeks = np.arange(1, 9)
counted = np.array([17, 26, 40, 55, 74, 86, 93, 97])
steps = 0.04 + 0.01 * np.random.default_rng(7).exponential(size=400)


def expected_counts(birth, crowding):
    """Counts each week of a population that grows by `birth` per head and is thinned by `crowding`."""
    size, time, seen = 10.0, 0.0, []
    for step in steps:
        size = max(size + step * size * (birth - crowding * size), 0.0)
        time += step
        if len(seen) < len(weeks) and time >= weeks[len(seen)]:
            seen.append(size)
    return np.array(seen)


def log_joint(z, counted):
    expected = expected_counts(float(z.birth), float(z.crowding))
    return (
        lognorm.logpdf(float(z.birth), 0.7, scale=0.7)
        + lognorm.logpdf(float(z.crowding), 1.0, scale=0.006)
        + np.sum(norm.logpdf(counted, expected, 4.0))
    )


model = bbvi.Model(
    log_joint,
    latents={"birth": bbvi.Positive(), "crowding": bbvi.Positive()},
    data={"counted": counted},
    derived=lambda z: {"capacity": z.birth / z.crowding},
)
fit = bbvi.fit(model, estimator="score", tolerance=0.02, seed=1)
print(fit)
