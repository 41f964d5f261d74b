"""A fit that is not to be trusted, why, and what mends it: two factors of which only the product is observed."""

import autograd.numpy as np

import bbvi
from bbvi.stats import norm

data = {"y": [1.1, 0.8, 1.2, 0.7]}


def log_joint(z, y):
    return norm.logpdf(z.a) + norm.logpdf(z.b) + np.sum(norm.logpdf(y, z.a * z.b, 0.5))


def told(title, model):
    fit = bbvi.fit(model, seed=1)
    print(f"{title}: {fit.verdict}")
    for reason in fit.reasons:
        print("  -", reason)
    return fit


print(bbvi.check_model(bbvi.Model(log_joint, {"a": bbvi.Real(), "b": bbvi.Real()}, data=data)), "\n")
told("both signs allowed", bbvi.Model(log_joint, {"a": bbvi.Real(), "b": bbvi.Real()}, data=data))
mended = told("a positive factor", bbvi.Model(log_joint, {"a": bbvi.Positive(), "b": bbvi.Real()}, data=data))

print("\nMean field, linear response, and importance weights, where the verdict is good:")
for kind in ("mean-field", "linear-response", "importance"):
    summary = mended.summary(kind)
    rows = summary[["mean", "sd"]].itertuples()
    print(f"  {kind:<16}", "  ".join(f"{row}: {mean:.2f} ± {sd:.2f}" for row, mean, sd in rows))
