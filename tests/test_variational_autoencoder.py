"""The variational autoencoder of the gallery: its data, its training, and what amortisation costs."""

from __future__ import annotations

from importlib import resources

import numpy as np
import pytest

import bbvi
from bbvi import models
from bbvi.estimators import Pathwise, as_cost
from bbvi.models import variational_autoencoder as vae
from bbvi.models._tables import read_arrays
from bbvi.stats import binom

NAME = "variational_autoencoder"


@pytest.fixture(scope="module")
def digits():
    """Images to train on, images held out, and their digits."""
    return vae.split(*vae.read_digits())


@pytest.fixture(scope="module")
def model():
    return models.load(NAME)


@pytest.fixture(scope="module")
def fit(model):
    return bbvi.fit(model, seed=1)


def encoders_elbo(theta, phi, images):
    mean, log_sd = vae.encode(phi, images)
    return vae.elbo(theta, mean, np.exp(log_sd), images, nodes=10)


# ---- data ----------------------------------------------------------------------------------------------------------


def test_images_are_those_published():
    images, digits = vae.read_digits()
    assert images.shape == (1797, 64)
    assert set(np.unique(images)) == set(range(17))
    # Numbers of each digit, published with the data.
    np.testing.assert_array_equal(np.bincount(digits), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180])


def test_data_are_small_and_tell_their_source_and_licence():
    folder = resources.files("bbvi.models") / "data"
    sizes = {path.name: len(path.read_bytes()) for path in folder.iterdir() if path.name.endswith(".npz")}
    assert sizes.keys() == {"digits.npz", f"{NAME}.npz"}
    assert sum(sizes.values()) < 100_000
    source = str(read_arrays("digits")["source"])
    assert "Alpaydin" in source and "CC BY 4.0" in source


def test_every_sixth_image_is_held_out(digits):
    images, held_out, shown = digits
    assert (len(images), len(held_out), len(shown)) == (1497, 300, 300)
    everything = vae.read_digits()
    np.testing.assert_array_equal(held_out[2], everything[0][12])
    np.testing.assert_array_equal(images[5], everything[0][7])
    assert shown[2] == everything[1][12]


# ---- training ------------------------------------------------------------------------------------------------------


def test_pathwise_gradient_is_that_of_finite_differences_at_the_same_draws(digits):
    images = digits[0][:7]
    cost = as_cost(vae.training_model(images))
    theta, phi = vae.initial_weights(np.random.default_rng(3))
    parameters = np.concatenate([theta, phi])

    def q(parameters):
        return vae.Amortized(parameters[: theta.size], parameters[theta.size :], images)

    def value(parameters):
        return Pathwise().estimate(cost, q(parameters), 3, np.random.default_rng(5)).value

    gradient = bbvi.estimate_gradient(vae.training_model(images), q(parameters), "pathwise", 3, rng=5)
    assert gradient.shape == parameters.shape
    rng = np.random.default_rng(7)
    directions = [rng.normal(size=parameters.size) * part for part in (1, np.arange(parameters.size) < theta.size)]
    # One weight or bias of each layer of the decoder, then of the encoder; each sees a share of the draws' noise.
    places = [3, 70, 150, theta.size - 2, theta.size + 100, theta.size + 2060, -100, -3]
    directions += [np.eye(1, parameters.size, place % parameters.size)[0] for place in places]
    for direction in directions:
        step = 1e-4 / np.linalg.norm(direction)
        difference = (value(parameters + step * direction) - value(parameters - step * direction)) / (2 * step)
        assert difference != 0
        np.testing.assert_allclose(gradient @ direction, difference, rtol=1e-5, atol=1e-6)


def test_training_raises_the_elbo(digits):
    images = digits[0][:300]
    before = encoders_elbo(*vae.initial_weights(np.random.default_rng(1)), images).mean()
    after = encoders_elbo(*vae.train(images, np.random.default_rng(1), epochs=20, batch=50), images).mean()
    # What a decoder reaches that gives all images the same pixels: it takes the codes to be better.
    level = np.mean(images, axis=0) / vae.POINTS
    ink = np.clip(level, 1e-9, 1 - 1e-9)
    alike = np.mean(np.sum(binom.logpmf(images, vae.POINTS, ink), axis=1))
    assert before < alike - 200
    # With other seeds training gets 30 to 38 nats above it.
    assert after > alike + 20


def test_training_is_reproducible_and_changes_nothing(digits):
    images = digits[0][:40].copy()
    first, second = (vae.train(images, np.random.default_rng(2), epochs=1, batch=20) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(images, digits[0][:40])


def test_stored_weights_reach_the_elbo_that_training_printed(digits):
    theta, phi = vae.weights()
    assert (theta.size, phi.size) == (vae.DECODER_SIZE, vae.ENCODER_SIZE)
    np.testing.assert_allclose(encoders_elbo(theta, phi, digits[0]).mean(), -143.735, atol=0.01)
    np.testing.assert_allclose(encoders_elbo(theta, phi, digits[1]).mean(), -154.943, atol=0.01)


@pytest.mark.slow
def test_training_afresh_is_as_good_as_the_stored_weights(digits):
    trained = vae.train(digits[0], np.random.default_rng(4))
    assert encoders_elbo(*trained, digits[0]).mean() > -143.735 - 6


# ---- held-out images -----------------------------------------------------------------------------------------------


def test_elbo_by_quadrature_is_that_of_draws(model):
    theta, phi = vae.weights()
    images = model.data["images"]
    mean, log_sd = vae.encode(phi, images)
    eps = np.random.default_rng(1).normal(size=(2000, *mean.shape))
    code = mean + np.exp(log_sd) * eps
    draws = vae.log_joint(theta, code, images) + np.sum(0.5 * eps**2 + log_sd, axis=-1) + np.log(2 * np.pi)
    error = draws.std(axis=0) / np.sqrt(len(draws))
    exact = vae.elbo(theta, mean, np.exp(log_sd), images)
    # Ten images, 4.5 standard errors: one false alarm in 15,000 seeds.
    assert np.all(np.abs(draws.mean(axis=0) - exact) < 4.5 * error)
    np.testing.assert_allclose(vae.elbo(theta, mean, np.exp(log_sd), images, nodes=10), exact, atol=1e-4)


def test_model_is_the_joint_density_of_the_codes(model):
    theta, phi = vae.weights()
    images = model.data["images"]
    mean, log_sd = vae.encode(phi, images)
    offset = np.random.default_rng(1).normal(size=mean.shape)
    joint = vae.log_joint(theta, mean + np.exp(log_sd) * offset, images)
    np.testing.assert_allclose(model.log_joint({"offset": offset}), np.sum(joint) + np.sum(log_sd), rtol=1e-12)


def test_encoder_is_below_the_best_gaussian_and_that_below_the_evidence(model, fit):
    theta, phi = vae.weights()
    images = model.data["images"]
    mean, log_sd = vae.encode(phi, images)
    sd = np.exp(log_sd)
    encoder = vae.elbo(theta, mean, sd, images)
    q = fit.approximation
    free = vae.elbo(theta, mean + sd * q.mean.reshape(mean.shape), sd * q.sd.reshape(sd.shape), images)
    evidence = models.reference(NAME).provenance["log_evidence"]
    assert np.all(encoder < free)
    assert free.sum() < evidence
    # The figures of the docstring.
    np.testing.assert_allclose([encoder.sum(), free.sum(), evidence], [-1424.8, -1345.6, -1343.4], atol=0.1)
    np.testing.assert_allclose(fit.elbo, free.sum(), atol=4.5 * fit.elbo_se)
    np.testing.assert_allclose(fit.log_evidence, evidence, atol=0.15)


def test_posterior_of_other_images(digits):
    fit = bbvi.fit(vae.posterior(digits[1][40:42], ["a", "b"]), seed=1)
    assert fit.converged
    assert list(fit.summary().index[:4]) == ["offset[a, x]", "offset[a, y]", "offset[b, x]", "offset[b, y]"]
