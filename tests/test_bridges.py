"""Models that exist in other packages: the same posterior as their own NUTS, or as exact calculation has it."""

from __future__ import annotations

import importlib.util
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from posteriors import schools

import bbvi
from bbvi import bridges
from bbvi.bridges import batches

Y = np.array([28.0, 8, -3, 7, -1, 1, 18, 12])
SIGMA = np.array([15.0, 10, 16, 11, 9, 11, 10, 18])


def needed(package: str) -> Any:
    """The package, whose own warnings, and use of NumPy's global state, on import are its own affair."""
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    state = np.random.get_state()  # noqa: NPY002
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = importlib.import_module(package)
    np.random.set_state(state)  # noqa: NPY002
    return found


@pytest.fixture
def jax() -> Iterator[Any]:
    found = needed("jax")
    before = found.config.jax_enable_x64
    found.config.update("jax_enable_x64", True)
    yield found
    found.config.update("jax_enable_x64", before)


def assert_schools(fit: bbvi.Fit, tau: str = "tau") -> None:
    """Against bbvi's own model of the same, which is tested against long runs of NUTS."""
    expected = bbvi.fit(schools(), seed=1).summary()
    found = fit.summary()
    assert fit.verdict == "reliable"
    for row, mine in (("mu", "mu"), ("tau", tau)):
        assert abs(found.loc[mine, "mean"] - expected.loc[row, "mean"]) < 0.1 * expected.loc[row, "sd"]
        assert abs(found.loc[mine, "sd"] / expected.loc[row, "sd"] - 1) < 0.1


def elpd(fit: bbvi.Fit) -> float:
    """Of leave-one-out, as either ArviZ calls it."""
    found = fit.loo()
    return float(found.elpd if hasattr(found, "elpd") else found.elpd_loo)


def test_from_jax(jax: Any) -> None:
    jnp, norm = jax.numpy, needed("jax.scipy.stats").norm

    def pointwise(z: Any) -> Any:
        return {"y": norm.logpdf(Y, z["mu"] + z["tau"] * z["eta"], SIGMA)}

    def log_joint(z: Any) -> Any:
        cauchy = jnp.log(2 / (np.pi * 5)) - jnp.log1p((z["tau"] / 5) ** 2)
        prior = norm.logpdf(z["mu"], 0, 5) + cauchy + norm.logpdf(z["eta"]).sum()
        return prior + pointwise(z)["y"].sum()

    latents = {"mu": bbvi.Real(), "tau": bbvi.Positive(), "eta": bbvi.Real(dims="school")}
    model = bridges.from_jax(
        log_joint, latents, log_likelihood=pointwise, coords={"school": list("ABCDEFGH")}, dims={"theta": "school"},
        derived=lambda z: {"theta": z["mu"] + z["tau"] * z["eta"]},
    )  # fmt: skip
    fit = bbvi.fit(model, seed=1)
    assert_schools(fit)
    assert "theta[H]" in fit.summary().index and elpd(fit) < -30
    alone = bbvi.fit(bridges.from_jax(log_joint, latents, coords={"school": list("ABCDEFGH")}), seed=1)
    assert_schools(alone)
    jax.config.update("jax_enable_x64", False)
    with pytest.raises(ValueError, match="from_jax: JAX computes in float32; say jax.config.update"):
        bridges.from_jax(log_joint, latents)


def test_from_numpyro(jax: Any) -> None:
    numpyro = needed("numpyro")
    dist = numpyro.distributions

    def eight_schools(sigma: Any, y: Any = None) -> None:
        mu = numpyro.sample("mu", dist.Normal(0, 5))
        tau = numpyro.sample("tau", dist.HalfCauchy(5))
        with numpyro.plate("school", 8):
            eta = numpyro.sample("eta", dist.Normal(0, 1))
            theta = numpyro.deterministic("theta", mu + tau * eta)
            numpyro.sample("y", dist.Normal(theta, sigma), obs=y)

    model = bridges.from_numpyro(
        eight_schools, SIGMA, y=Y, unobserved={"y": None},
        coords={"school": list("ABCDEFGH")}, dims={"eta": "school", "theta": "school"},
    )  # fmt: skip
    assert set(model.latents) == {"mu", "tau_unconstrained", "eta"}
    fit = bbvi.fit(model, seed=1)
    assert_schools(fit)
    assert {"eta[A]", "theta[H]", "tau"} <= set(fit.summary().index)
    assert elpd(fit) < -30
    predicted = fit.predict(200, seed=1)["y"]
    assert predicted.shape == (200, 8) and abs(predicted.mean() - 5) < 3


def test_from_numpyro_says_what_it_cannot_take(jax: Any) -> None:
    numpyro = needed("numpyro")

    def mixed() -> None:
        k = numpyro.sample("k", numpyro.distributions.Bernoulli(0.3))
        numpyro.sample("x", numpyro.distributions.Normal(k, 1))

    with pytest.raises(ValueError, match="got discrete k; sum them out"):
        bridges.from_numpyro(mixed)
    jax.config.update("jax_enable_x64", False)
    with pytest.raises(ValueError, match=r"numpyro.enable_x64\(\)"):
        bridges.from_numpyro(lambda: None)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_from_pymc() -> None:
    # PyMC takes seeds of its own from NumPy's global state.
    state = np.random.get_state()  # noqa: NPY002
    pm = needed("pymc")
    with pm.Model(coords={"school": list("ABCDEFGH")}) as model:
        mu = pm.Normal("mu", 0, 5)
        tau = pm.HalfCauchy("tau", 5)
        eta = pm.Normal("eta", dims="school")
        theta = pm.Deterministic("theta", mu + tau * eta, dims="school")
        pm.Normal("y", theta, SIGMA, observed=Y, dims="school")
    made = bridges.from_pymc(model)
    fit = bbvi.fit(made, seed=1)
    assert_schools(fit)
    assert {"eta[A]", "theta[H]", "tau", "tau_log__"} <= set(fit.summary().index)
    assert elpd(fit) < -30
    with pm.Model() as mixed:
        pm.Normal("x", pm.Bernoulli("k", 0.3), 1)
    with pytest.raises(ValueError, match="got discrete k; marginalize"):
        bridges.from_pymc(mixed)
    np.random.set_state(state)  # noqa: NPY002


class Normal:
    """What BridgeStan says of a program: y ~ N(mu, sigma), flat mu, p(sigma) = exp(-sigma), 2 x 2 transformed."""

    y = np.array([0.3, 1.2, -0.4, 2.0])

    def param_unc_num(self) -> int:
        return 2

    def param_names(self, include_tp: bool = False, include_gq: bool = False) -> list[str]:
        names = ["mu", "sigma"] + ["table.1.1", "table.2.1", "table.1.2", "table.2.2"] * include_tp
        return names + ["log_lik.1", "log_lik.2", "log_lik.3", "log_lik.4", "y_rep.1", "y_rep.2"] * include_gq

    def new_rng(self, seed: int) -> np.random.Generator:
        return np.random.default_rng(seed)

    def log_lik(self, z: Any) -> Any:
        return -0.5 * ((self.y - z[0]) / np.exp(z[1])) ** 2 - z[1] - 0.5 * np.log(2 * np.pi)

    def log_density_gradient(self, z: Any) -> Any:
        if z[1] > 5:
            raise RuntimeError("rejected")
        sd, off = np.exp(z[1]), self.y - z[0]
        slope = np.array([np.sum(off) / sd**2, np.sum(off**2) / sd**2 - len(off) + 1 - sd])
        return self.log_lik(z).sum() + z[1] - sd, slope

    def param_constrain(self, z: Any, include_tp: bool = False, include_gq: bool = False, rng: Any = None) -> Any:
        out = [z[0], np.exp(z[1])] + [11.0, 21.0, 12.0, 22.0] * include_tp
        drawn = [] if rng is None else [*self.log_lik(z), *(z[0] + np.exp(z[1]) * rng.standard_normal(2))]
        return np.array(out + drawn * include_gq)


def test_from_stan_names_shapes_and_quantities() -> None:
    model = bridges.from_stan(Normal())
    fit = bbvi.fit(model, seed=1)
    assert fit.converged and fit.verdict != "unreliable"
    assert next(line.split()[1:3] for line in str(fit).splitlines() if "table[0, 1]" in line) == ["1]", "12"]
    table = fit.summary()
    assert abs(table.loc["mu", "mean"] - Normal.y.mean()) < 0.1 * table.loc["mu", "sd"]
    assert round(table.loc["table[1, 0]", "mean"]) == 21 and round(table.loc["table[0, 1]", "mean"]) == 12
    assert elpd(fit) < 0 and fit.predict(50, seed=1)["y_rep"].shape == (50, 2)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(
    not Path(os.environ.get("BRIDGESTAN", "/nowhere")).is_dir(),
    reason="BRIDGESTAN names no folder of BridgeStan's sources, which it would fetch from the network",
)
def test_from_stan_compiles_a_program(tmp_path: Path) -> None:
    needed("bridgestan")
    program = tmp_path / "normal.stan"
    program.write_text(
        "data { int n; vector[n] y; } parameters { real mu; real<lower=0> sigma; } "
        "model { sigma ~ exponential(1); y ~ normal(mu, sigma); } "
        "generated quantities { vector[n] log_lik; for (i in 1:n) log_lik[i] = normal_lpdf(y[i] | mu, sigma); }"
    )
    model = bridges.from_stan(program, {"n": 4, "y": Normal.y})
    right = bbvi.fit(bridges.from_stan(Normal()), seed=1).summary()
    found = bbvi.fit(model, seed=1).summary()
    np.testing.assert_allclose(found.loc[["mu", "sigma"], "mean"], right.loc[["mu", "sigma"], "mean"], atol=0.05)


def test_batches_of_one_size() -> None:
    sizes = []

    def function(z: Any) -> Any:
        sizes.append(len(z["a"]))
        return z["a"].sum(axis=1), {"b": 2 * z["a"]}

    total, parts = batches.in_batches(function, 4)({"a": np.arange(20.0).reshape(10, 2)})
    assert sizes == [4, 4, 4] and parts["b"].shape == (10, 2)
    np.testing.assert_array_equal(total, np.arange(20.0).reshape(10, 2).sum(axis=1))


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymc", None)
    with pytest.raises(ImportError, match="bbvi.bridges.from_pymc needs pymc: pip install pymc"):
        bridges.from_pymc(object())
