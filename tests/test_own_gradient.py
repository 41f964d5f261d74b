"""A density and gradient from elsewhere: single precision, other libraries' arrays and errors, batches that fail."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from packages import needed

import bbvi
from bbvi.target.target import Target

X = np.random.default_rng(3).normal(size=(400, 3))
Y = (np.random.default_rng(4).random(400) < 1 / (1 + np.exp(-X @ [0.5, -1.0, 0.2]))).astype(float)


def logistic(z, dtype=np.float64, constant=0.0):
    """Value and gradient of a logistic regression, computed in `dtype`."""
    x, y, beta = X.astype(dtype), Y.astype(dtype), np.asarray(z, dtype=dtype)
    eta = x @ beta
    value = -dtype(0.5) * np.sum(beta**2) + np.sum(y * eta - np.logaddexp(dtype(0), eta), dtype=dtype) + dtype(constant)
    slope = -beta + x.T @ (y - dtype(1) / (dtype(1) + np.exp(-eta)))
    assert value.dtype == slope.dtype == dtype
    return value, slope


def single(z):
    return logistic(z, np.float32)


@pytest.mark.parametrize("constant", [0.0, -1e5])
def test_a_float32_gradient_is_told_and_fits_as_a_float64_one(constant):
    exact = bbvi.fit(bbvi.Model(gradient=logistic, latents=3), seed=1)
    with pytest.warns(RuntimeWarning, match="float32.*jax_enable_x64.*torch.float64") as told:
        fit = bbvi.fit(bbvi.Model(gradient=lambda z: logistic(z, np.float32, constant), latents=3), seed=1)
    assert len(told) == 1 and told[0].filename == __file__
    assert fit.converged and fit.verdict == "reliable"
    off = (fit.approximation.mean - exact.approximation.mean) / exact.approximation.sd
    assert np.abs(off).max() < 1e-3
    np.testing.assert_allclose(fit.covariance, exact.covariance, rtol=1e-3, atol=1e-3 * exact.covariance.max())
    # Steps too short for the rounding, or a descent asked for below it, cost many times as much.
    assert fit.gradient_evaluations < 1.5 * exact.gradient_evaluations


def test_a_log_joint_too_large_for_float32_is_explained():
    with pytest.warns(RuntimeWarning, match="float32"), pytest.raises(ValueError, match="float32 may be all"):
        bbvi.fit(bbvi.Model(gradient=lambda z: logistic(z, np.float32, -1e7), latents=3), seed=1)


def test_a_float64_gradient_is_not_warned_of():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bbvi.fit(bbvi.Model(gradient=lambda z: (float(logistic(z)[0]), list(logistic(z)[1])), latents=3), seed=1)


@pytest.mark.parametrize(("function", "rounding"), [(logistic, 2.2e-16), (single, 1.2e-7)])
def test_differences_of_gradients_suit_their_rounding(function, rounding, rng):
    target, u = Target(bbvi.Model(gradient=function, latents=3)), 0.3 * rng.normal(size=(4, 3))
    target.note_rounding(u[0])
    assert target.rounding == pytest.approx(rounding, rel=0.1)
    assert target.evaluations == target.gradient_evaluations == 1
    v = rng.normal(size=u.shape)
    p = 1 / (1 + np.exp(-u @ X.T))
    exact = -v - ((p * (1 - p)) * (v @ X.T)) @ X
    error = np.abs(target.linearize(u, np.full(3, 0.1)).hessian_product(v) - exact).max() / np.abs(exact).max()
    assert error < (1e-7 if rounding < 1e-10 else 1e-3)


class Tensor:
    """As a PyTorch tensor with a graph: no array before `detach`."""

    def __init__(self, array):
        self.array = np.asarray(array)

    def detach(self):
        return self.array

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad.")

    def __float__(self):
        raise RuntimeError("This tensor requires grad.")


@pytest.mark.parametrize("named", [False, True])
def test_tensors_with_a_graph_are_detached(named):
    def gradient(z):
        value, slope = logistic(z["beta"] if named else z)
        return Tensor(value), {"beta": Tensor(slope)} if named else Tensor(slope)

    fit = bbvi.fit(bbvi.Model(gradient=gradient, latents={"beta": 3} if named else 3), seed=1)
    expected = bbvi.fit(bbvi.Model(gradient=logistic, latents=3), seed=1)
    np.testing.assert_array_equal(fit.approximation.mean, expected.approximation.mean)


class _LinAlgError(RuntimeError):
    """Of the name, and the ancestry, of PyTorch's."""


def test_another_librarys_linear_algebra_error_spoils_its_own_draw_only():
    sizes = []

    def gradient(z):
        sizes.append(len(z.x))
        if np.any(z.x > 2):
            raise _LinAlgError("linalg.cholesky: the input is not positive-definite")
        return -0.5 * z.x**2, {"x": -z.x}

    target = Target(bbvi.Model(gradient=gradient, latents={"x": bbvi.Real()}, vectorized=True))
    u = np.linspace(-1, 1, 1024)[:, None]
    u[700] = 3.0
    values, gradients = target.gradients(u)
    assert np.flatnonzero(np.isneginf(values)).tolist() == [700]
    np.testing.assert_array_equal(np.delete(gradients, 700, axis=0), -np.delete(u, 700, axis=0))
    # Halving finds it: twice ten calls, not a thousand.
    assert len(sizes) <= 21


def test_another_librarys_linear_algebra_error_at_the_start_names_the_draw():
    def gradient(z):
        raise _LinAlgError("not positive-definite")

    with pytest.raises(np.linalg.LinAlgError, match="not positive-definite") as caught:
        bbvi.Model(gradient=gradient, latents=2).value_and_gradient({"z": np.zeros(2)})
    assert isinstance(caught.value.__cause__, _LinAlgError)
    assert "gradient, at z = [0. 0.]" in caught.value.__notes__[0]


def test_a_batch_in_float32_may_round_otherwise_than_its_draws():
    def gradient(z):
        # The last digits of float32 sums depend on the size of the batch, as they do in JAX.
        off = np.float32(1 + 2e-7 * (len(z) > 1))
        value, slope = zip(*(single(row) for row in z), strict=True)
        return np.array(value) * off, np.array(slope)

    with pytest.warns(RuntimeWarning, match="float32"):
        assert bbvi.fit(bbvi.Model(gradient=gradient, latents=3, vectorized=True), seed=1).converged


def test_a_pytorch_density_by_backward():
    torch = needed("torch")
    x, y = torch.tensor(X), torch.tensor(Y)

    def gradient(z):
        beta = torch.tensor(z, requires_grad=True)
        eta = x @ beta
        value = -0.5 * (beta**2).sum() + (y * eta - torch.nn.functional.softplus(eta)).sum()
        value.backward()
        return value, beta.grad

    fit = bbvi.fit(bbvi.Model(gradient=gradient, latents=3), seed=1)
    expected = bbvi.fit(bbvi.Model(gradient=logistic, latents=3), seed=1)
    np.testing.assert_allclose(fit.approximation.mean, expected.approximation.mean, rtol=1e-6)
    np.testing.assert_allclose(fit.covariance, expected.covariance, rtol=1e-5, atol=1e-8)


def test_a_jax_density_in_single_precision():
    jax = needed("jax")
    jnp = jax.numpy

    def density(beta):
        eta = X @ beta
        return -0.5 * jnp.sum(beta**2) + jnp.sum(Y * eta - jnp.logaddexp(0.0, eta))

    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", False)
    try:
        with pytest.warns(RuntimeWarning, match="jax_enable_x64"):
            fit = bbvi.fit(bbvi.Model(gradient=jax.jit(jax.value_and_grad(density)), latents=3), seed=1)
    finally:
        jax.config.update("jax_enable_x64", before)
    expected = bbvi.fit(bbvi.Model(gradient=logistic, latents=3), seed=1)
    np.testing.assert_allclose(fit.approximation.mean, expected.approximation.mean, atol=1e-4)
    np.testing.assert_allclose(fit.approximation.sd, expected.approximation.sd, rtol=1e-3)
