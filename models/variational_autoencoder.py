"""A variational autoencoder: where handwritten digits lie on a map, and what the encoder's guess of it costs.

1,797 images of digits with 8 x 8 pixels; a pixel counts the points with ink, of 16. Data: Alpaydin and Kaynak (1998),
Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, doi 10.24432/C50P49, CC BY 4.0
(``data/digits.npz``, made by ``data/make.py``). Every sixth image is held out.

Model of image i with pixels j, and the encoder's guess of its two latents, the code::

    code_i ~ Normal(0, I)
    image_ij ~ Binomial(16, logit^-1(decode_j(code_i; theta)))
    q(code_i | image_i) = Normal(mean(image_i; phi), diag(sd(image_i; phi)^2))

Decoder and encoder are networks with one layer of 32 tanh units; the encoder's outputs are mean and log sd. `train`
maximises the ELBO of the other images over theta and phi with the pathwise estimator (Kingma and Welling 2014);
``data/train.py`` did it and wrote ``data/variational_autoencoder.npz``. The model fitted here is the posterior of
the codes of ten held-out images, one of each digit, under that decoder. ``offset`` is a code's distance from the
encoder's mean, in the encoder's sds: an encoder that knew the posterior would leave every offset at mean 0 and sd 1.

What to look for: offsets that are not. The encoder's ELBO of the ten images is -1424.8 nats, that of the best
Gaussian for each of them -1345.6, the log evidence -1343.4. So 79.2 nats are lost by one network that guesses for
all images (the amortisation gap: Cremer, Li and Duvenaud 2018), and 2.2 by the Gaussian.
"""

import autograd.numpy as np
from autograd import make_vjp
from numpy.polynomial.hermite_e import hermegauss

import bbvi
from bbvi.models._tables import read_arrays
from bbvi.stats import binom, norm

PIXELS, POINTS, LATENTS, HIDDEN = 64, 16, 2, 32
DECODER_SIZE = (LATENTS + 1) * HIDDEN + (HIDDEN + 1) * PIXELS
ENCODER_SIZE = (PIXELS + 1) * HIDDEN + (HIDDEN + 1) * 2 * LATENTS


def read_digits():
    """Images (1797, 64) with pixels from 0 to 16, and the digits that they show, (1797,)."""
    arrays = read_arrays("digits")
    return arrays["images"].astype(float), arrays["digits"].astype(int)


def split(images, digits):
    """Images to train on, images held out, and the digits that the latter show."""
    held_out = np.arange(len(images)) % 6 == 0
    return images[~held_out], images[held_out], digits[held_out]


def weights():
    """The trained theta and phi."""
    arrays = read_arrays("variational_autoencoder")
    return arrays["theta"].astype(float), arrays["phi"].astype(float)


def network(parameters, x, outputs):
    """One hidden layer of tanh units, from (..., inputs) to (..., outputs)."""
    ends = np.cumsum([x.shape[-1] * HIDDEN, HIDDEN, HIDDEN * outputs])
    first, bias, second, level = np.split(parameters, ends)
    hidden = np.tanh(x @ first.reshape(-1, HIDDEN) + bias)
    return hidden @ second.reshape(HIDDEN, outputs) + level


def decode(theta, code):
    """Log odds of ink, (..., 64), given codes (..., 2)."""
    return network(theta, code, PIXELS)


def encode(phi, images):
    """Mean and log sd of the codes, each (..., 2), given images (..., 64)."""
    output = network(phi, 2 * images / POINTS - 1, 2 * LATENTS)
    return output[..., :LATENTS], output[..., LATENTS:]


# ---- training ------------------------------------------------------------------------------------------------------


def training_model(images) -> bbvi.Model:
    """The decoder's weights, with a flat prior, and the codes of some images."""
    return bbvi.Model(
        log_prior=lambda z: np.sum(norm.logpdf(z.code)),
        log_likelihood=lambda z, images: binom.logpmf_logits(images, POINTS, decode(z.theta, z.code)),
        latents={"theta": bbvi.Real(shape=DECODER_SIZE), "code": bbvi.Real(shape=(len(images), LATENTS))},
        data={"images": images},
    )


class Amortized:
    """The q of `training_model`: theta as it is, codes from the Gaussians that the encoder names.

    Its parameters are theta and phi. A draw of theta is theta itself, and so is its path; the path of a code leads
    through the encoder.
    """

    def __init__(self, theta, phi, images):
        self.theta = theta
        # With the encoder's output comes the product that carries a gradient in means and log sds back to phi.
        self._to_phi, output = make_vjp(lambda phi: np.ravel(np.stack(encode(phi, images))))(phi)
        mean, log_sd = np.split(output, 2)
        self.codes = bbvi.MeanFieldGaussian(mean, np.exp(log_sd))

    def sample(self, n, rng):
        return np.concatenate([np.tile(self.theta, (n, 1)), self.codes.sample(n, rng)], axis=1)

    def path(self, z, gradient):
        by_theta, by_code = gradient[:, :DECODER_SIZE], gradient[:, DECODER_SIZE:]
        by_phi = [self._to_phi(row) for row in self.codes.path(z[:, DECODER_SIZE:], by_code)]
        return np.concatenate([by_theta, by_phi], axis=1)

    def entropy(self):
        return self.codes.entropy()

    def entropy_gradient(self):
        return np.concatenate([np.zeros(DECODER_SIZE), self._to_phi(self.codes.entropy_gradient())])


def initial_weights(rng):
    """Theta and phi before training: normal weights with the variance that keeps a layer's scale."""

    def layers(*sizes):
        parts = [(rng.normal(0, m**-0.5, m * n), np.zeros(n)) for m, n in zip(sizes, sizes[1:], strict=False)]
        return np.concatenate([array for part in parts for array in part])

    return layers(LATENTS, HIDDEN, PIXELS), layers(PIXELS, HIDDEN, 2 * LATENTS)


def train(images, rng, epochs=150, batch=100, rate=0.01):
    """
    Maximise the ELBO of the images over theta and phi, with Adam (Kingma and Ba 2015).

    One draw per image and gradient; the images of a mini-batch average the noise out. The step is constant for the
    first half and then falls linearly to zero.

    Parameters
    ----------
    images : ndarray, shape (N, 64)
        Pixels from 0 to 16.
    rng : numpy.random.Generator
        Where the initial weights, the mini-batches and the draws come from.
    epochs, batch : int
        Passes over the images, and images in a mini-batch, at most N. What is left over of a pass is dropped.
    rate : float
        The first step.

    Returns
    -------
    theta, phi : ndarray, shapes (2208,) and (2212,)
    """
    theta, phi = initial_weights(rng)
    parameters = np.concatenate([theta, phi])
    velocity, square = np.zeros_like(parameters), np.zeros_like(parameters)
    batches = len(images) // batch
    steps = epochs * batches
    for t in range(steps):
        if t % batches == 0:
            order = rng.permutation(len(images))
        chosen = images[order[t % batches * batch :][:batch]]
        q = Amortized(parameters[:DECODER_SIZE], parameters[DECODER_SIZE:], chosen)
        gradient = bbvi.estimate_gradient(training_model(chosen), q, "pathwise", 1, rng)
        velocity = 0.9 * velocity + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        unbiased = velocity / (1 - 0.9 ** (t + 1)), square / (1 - 0.999 ** (t + 1))
        parameters = parameters + rate * min(1, 2 - 2 * t / steps) * unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8)
    return parameters[:DECODER_SIZE], parameters[DECODER_SIZE:]


# ---- held-out images -----------------------------------------------------------------------------------------------


def log_joint(theta, code, images):
    """Log joint density of code and image, (...), given codes (..., 2) and images (..., 64)."""
    log_likelihood = np.sum(binom.logpmf_logits(images, POINTS, decode(theta, code)), axis=-1)
    return np.sum(norm.logpdf(code), axis=-1) + log_likelihood


def elbo(theta, mean, sd, images, nodes=20):
    """
    ELBO of each image under a Gaussian for its code, (N,), by Gauss-Hermite quadrature.

    Parameters
    ----------
    theta : ndarray
        Weights of the decoder.
    mean, sd : ndarray, shape (N, 2)
        Of the Gaussians: of the encoder, or of anything else.
    images : ndarray, shape (N, 64)
    nodes : int
        Nodes along each latent.
    """
    x, w = hermegauss(nodes)
    w = w / np.sum(w)
    expected = sum(
        w[i] * w[j] * log_joint(theta, mean + sd * np.array([x[i], x[j]]), images)
        for i in range(nodes)
        for j in range(nodes)
    )
    return expected + np.sum(np.log(sd), axis=-1) + np.log(2 * np.pi * np.e)


def code_of(z, images, phi):
    mean, log_sd = encode(phi, images)
    return mean + np.exp(log_sd) * z.offset


def log_prior(z, images, phi):
    # The log sds are the Jacobian from offset to code.
    return np.sum(norm.logpdf(code_of(z, images, phi))) + np.sum(encode(phi, images)[1])


def log_likelihood(z, images, theta, phi):
    return binom.logpmf_logits(images, POINTS, decode(theta, code_of(z, images, phi)))


def derived(z, images, phi):
    return {"code": code_of(z, images, phi)}


def predict(z, rng, images, theta, phi):
    ink = 1 / (1 + np.exp(-decode(theta, code_of(z, images, phi))))
    return {"images": rng.binomial(POINTS, ink)}


def posterior(images, names) -> bbvi.Model:
    """The codes of any images, (N, 64), under the trained decoder; a name for each image."""
    theta, phi = weights()
    return bbvi.Model(
        log_prior=log_prior,
        log_likelihood=log_likelihood,
        latents={"offset": bbvi.Real(dims=("image", "axis"))},
        data={"images": images, "theta": theta, "phi": phi},
        coords={"image": names, "axis": ["x", "y"], "pixel": list(range(PIXELS))},
        dims={"code": ("image", "axis"), "images": ("image", "pixel")},
        derived=derived,
        predict=predict,
    )


def model() -> bbvi.Model:
    """Codes of the first held-out image of each digit; 20 latents."""
    _, images, digits = split(*read_digits())
    first = [int(np.argmax(digits == digit)) for digit in range(10)]
    return posterior(images[first], list(range(10)))
