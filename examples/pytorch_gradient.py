"""A log joint in PyTorch, by way of ``gradient=``: a Gaussian process, whose latents are its length and its height.

`torch.func` turns the density of one draw into values and gradients of all draws, one call for a whole batch. Values
alone are cheaper, and bbvi asks for them where they are enough. The answer is compared with that of a fine grid.
"""

import importlib.util
import sys

import numpy as np

import bbvi

if importlib.util.find_spec("torch") is None:
    print("This example needs PyTorch: pip install torch")
    sys.exit()

import torch

# Threads would wait for each other, with matrices as small as these.
torch.set_num_threads(1)
# Without a type PyTorch would keep Python's numbers in float32; NumPy's arrays stay float64.
x = torch.linspace(0, 10, 40, dtype=torch.float64)
noise = torch.as_tensor(np.random.default_rng(1).normal(0, 0.3, len(x)))
y = torch.sin(x) + noise
squared_distance = (x[:, None] - x) ** 2
identity = torch.eye(len(x), dtype=torch.float64)


def log_joint(length, height):
    """One draw: log-normal priors, and the marginal likelihood of the observations."""
    covariance = height**2 * torch.exp(-0.5 * squared_distance / length**2) + 0.3**2 * identity
    factor = torch.linalg.cholesky(covariance)
    white = torch.linalg.solve_triangular(factor, y[:, None], upper=False)
    likelihood = -0.5 * (white**2).sum() - torch.log(torch.diagonal(factor)).sum()
    logs = torch.log(length), torch.log(height)
    return likelihood - sum(0.5 * log**2 + log for log in logs)


values_of_all = torch.func.vmap(log_joint)
gradients_of_all = torch.func.vmap(torch.func.grad_and_value(log_joint, argnums=(0, 1)))


def value(z):
    return values_of_all(torch.as_tensor(z.length), torch.as_tensor(z.height))


def gradient(z):
    slopes, value = gradients_of_all(torch.as_tensor(z.length), torch.as_tensor(z.height))
    return value, dict(zip(("length", "height"), slopes, strict=True))


model = bbvi.Model(
    value,
    gradient=gradient,
    latents={"length": bbvi.Positive(), "height": bbvi.Positive()},
    vectorized=True,
)
fit = bbvi.fit(model, seed=1)
print(fit)

# Equal steps of the logarithms, whose density has the factor length * height.
steps = torch.linspace(-3, 4, 100, dtype=torch.float64).exp()
lengths, heights = (part.ravel() for part in torch.meshgrid(steps, steps, indexing="ij"))
weight = torch.softmax(values_of_all(lengths, heights) + torch.log(lengths * heights), dim=0)
print("\nMeans, and sds, of the fit and of PyTorch on a grid:")
for name, values in {"length": lengths, "height": heights}.items():
    mean = (weight * values).sum()
    sd = (weight * (values - mean) ** 2).sum().sqrt()
    row = fit.summary().loc[name]
    print(f"  {name:7} fit {row['mean']:.3f}, {row['sd']:.3f}    grid {mean:.3f}, {sd:.3f}")
