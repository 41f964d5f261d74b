"""Which gradient estimator, and how many draws? Measured, for a cost of one's own and for the ELBO of a model."""

import autograd.numpy as np

import bbvi
from bbvi import models

ESTIMATORS = [
    bbvi.ScoreFunction(control_variate="none"),
    bbvi.ScoreFunction(control_variate="leave-one-out"),
    bbvi.ScoreFunction(control_variate="optimal"),
    bbvi.ScoreFunction(control_variate="regression"),
    bbvi.Pathwise(),
]


def cost(z):
    """A cost that bends."""
    return np.sum(np.cos(z)) + np.sum(z) ** 2


q = bbvi.MeanFieldGaussian(mean=[1.0, 0.0, -1.0], sd=[0.5, 1.0, 2.0])
table = bbvi.compare_estimators(cost, q, ESTIMATORS, draws=(20, 200), repeats=100, seed=1)
print("The gradient of E[cost], largest figure over the six parameters:")
print(table.groupby(["estimator", "draws"], sort=False)[["bias", "variance"]].agg(lambda x: x.abs().max()))

model = models.load("logistic_regression")
q = bbvi.fit(model, seed=1).approximation
table = bbvi.compare_estimators(model, q, ESTIMATORS, draws=(100,), repeats=50, seed=1)
total = table.groupby("estimator", sort=False)["variance"].sum().sort_values()
print("\nThe gradient of the ELBO of a logistic regression, 100 draws, total variance:")
print(total)
print(f"\nChosen: {total.index[0]}")
