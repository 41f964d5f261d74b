"""Make the gallery's data files: ``python models/data/make.py``; fixed seeds; needs scikit-learn."""

import math
from pathlib import Path

import numpy as np
from sklearn.datasets import load_diabetes, load_digits

FOLDER = Path(__file__).parent


def write(name: str, source: str, columns: dict, digits: int) -> None:
    lines = [f"# {source}", ",".join(columns)]
    lines += [",".join(f"{value:.{digits}f}" for value in row) for row in np.column_stack(list(columns.values()))]
    (FOLDER / f"{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def stochastic_volatility(length=100, mean=-0.5, persistence=0.95, sd=0.3):
    """Returns whose log variance is an AR(1) process."""
    rng = np.random.default_rng(1)
    x = np.empty(length)
    x[0] = rng.normal(0, 1 / math.sqrt(1 - persistence**2))
    for t in range(1, length):
        x[t] = rng.normal(persistence * x[t - 1], 1)
    return rng.normal(0, np.exp((mean + sd * x) / 2))


def garch(length=250, mean=0.2, level=1.0, arch=0.25, memory=0.6):
    """Returns whose variance follows a GARCH(1, 1) recursion around ``level``."""
    rng = np.random.default_rng(2)
    returns, variance = np.empty(length), level
    for t in range(length):
        returns[t] = rng.normal(mean, math.sqrt(variance))
        variance = (1 - arch - memory) * level + arch * (returns[t] - mean) ** 2 + memory * variance
    return returns


def noisy_sine(size=60, noise=0.1):
    """A sine seen through noise at random places."""
    rng = np.random.default_rng(3)
    x = np.sort(rng.uniform(-3, 3, size))
    return x, rng.normal(np.sin(1.5 * x), noise)


def main() -> None:
    simulated = "Simulated by models/data/make.py"
    write("stochastic_volatility", simulated, {"returns": stochastic_volatility()}, 4)
    write("garch", simulated, {"returns": garch()}, 4)
    x, y = noisy_sine()
    write("noisy_sine", simulated, {"x": x, "y": y}, 4)
    diabetes = load_diabetes(scaled=False)
    columns = dict(zip(diabetes.feature_names, diabetes.data.T, strict=True)) | {"progression": diabetes.target}
    source = (
        "442 diabetes patients: Efron, Hastie, Johnstone, Tibshirani (2004), "
        "Annals of Statistics 32, 407-499; from scikit-learn (BSD)"
    )
    write("diabetes", source, columns, 4)
    digits = load_digits()
    source = (
        "1,797 handwritten digits of 8 x 8 pixels, 0 to 16: Alpaydin and Kaynak (1998), Optical Recognition of "
        "Handwritten Digits, UCI Machine Learning Repository, https://doi.org/10.24432/C50P49 (CC BY 4.0); "
        "from scikit-learn"
    )
    arrays = {"images": digits.data.astype(np.uint8), "digits": digits.target.astype(np.uint8)}
    np.savez_compressed(FOLDER / "digits.npz", source=source, **arrays)


if __name__ == "__main__":
    main()
