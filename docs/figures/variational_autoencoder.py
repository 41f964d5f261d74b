"""The variational autoencoder: what its map shows, posteriors of codes, and what the encoder's guess costs."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from _write import picture, table
from matplotlib.axes import Axes

import bbvi
from bbvi.models import variational_autoencoder as vae

# Finer than any posterior is narrow, and finer still to look at.
COARSE, FINE = np.linspace(-6, 6, 401), np.linspace(-6, 6, 801)
SHOWN = [0, 2, 7, 9]
BATCH = 20
Array = np.ndarray


def log_plane(theta: Array, image: Array, axis: Array) -> Array:
    """Log joint density of an image and every code on a grid."""
    return np.stack([vae.log_joint(theta, np.column_stack([np.full(axis.size, x), axis]), image) for x in axis])


def log_evidence(theta: Array, images: Array) -> Array:
    """Exact log evidence of each image, (N,)."""
    totals = [np.logaddexp.reduce(log_plane(theta, image, COARSE), axis=None) for image in images]
    return np.array(totals) + 2 * np.log(COARSE[1] - COARSE[0])


def near_guess(theta: Array, phi: Array, images: Array) -> tuple[Array, Array]:
    """Means and sds of codes, each (N, 2), from a fit of all images' offsets."""
    mean, log_sd = vae.encode(phi, images)
    q = bbvi.fit(vae.posterior(images, list(range(len(images)))), seed=1).approximation
    return mean + np.exp(log_sd) * q.mean.reshape(mean.shape), np.exp(log_sd) * q.sd.reshape(mean.shape)


def anywhere(theta: Array, image: Array) -> tuple[Array, Array]:
    """Mean and sd of a code, each (2,), from a fit whose starts are spread over the map."""
    q = bbvi.fit(lambda code: vae.log_joint(theta, code, image), vae.LATENTS, seed=1).approximation
    return q.mean, q.sd


def row(what: str, elbo: Array, evidence: Array) -> list[str]:
    """A line of the table, in nats."""
    gap = evidence - elbo
    shown = [elbo.mean(), gap.mean(), np.median(gap), gap.max()]
    return [what, *(f"{value:.2f}" for value in shown), str(np.sum(gap > 3))]


def rows(theta: Array, phi: Array, images: Array) -> list[list[str]]:
    """The table: Gaussians for the codes, from the guess to the best, against the evidence."""
    evidence = log_evidence(theta, images)
    mean, log_sd = vae.encode(phi, images)
    parts = [near_guess(theta, phi, images[first : first + BATCH]) for first in range(0, len(images), BATCH)]
    near = [np.concatenate(part) for part in zip(*parts, strict=True)]
    best = [np.stack(part) for part in zip(*(anywhere(theta, image) for image in images), strict=True)]
    return [
        row("the encoder's guess", vae.elbo(theta, mean, np.exp(log_sd), images), evidence),
        row("fit of the offsets, 20 images at a time", vae.elbo(theta, *near, images), evidence),
        row("fit of the code, an image at a time", vae.elbo(theta, *best, images), evidence),
    ]


def draw_map(ax: Axes, theta: Array) -> None:
    """Expected ink at 12 x 12 places of the map, each image where its code is."""
    side, reach = 12, 3.0
    axis = reach * (np.arange(side) + 0.5 - side / 2) / (side / 2)
    codes = np.stack(np.meshgrid(axis, axis[::-1]), axis=-1)
    ink = (1 / (1 + np.exp(-vae.decode(theta, codes)))).reshape(side, side, 8, 8)
    ink = np.pad(ink, ((0, 0), (0, 0), (1, 1), (1, 1)))
    ax.imshow(ink.transpose(0, 2, 1, 3).reshape(10 * side, -1), cmap="Greys", extent=(-reach, reach, -reach, reach))
    ax.set(xlabel="x", ylabel="y", title="What the decoder draws")


def draw_posterior(ax: Axes, digit: int, image: Array, log_p: Array, gaussians: dict[str, tuple[Array, Array]]) -> None:
    """The exact posterior of a code in contours, one and two sds of Gaussians as ellipses, and the image."""
    p = np.exp(log_p - log_p.max())
    ax.contourf(FINE, FINE, p.T, levels=[0.01, 0.05, 0.15, 0.4, 0.8, 1.01], cmap="Greys")
    turn = np.linspace(0, 2 * np.pi, 100)
    inside = np.argwhere(p > 0.005)
    corners = [FINE[inside.min(axis=0)], FINE[inside.max(axis=0)]]
    for color, (mean, sd) in gaussians.items():
        for size in (1, 2):
            ax.plot(mean[0] + size * sd[0] * np.cos(turn), mean[1] + size * sd[1] * np.sin(turn), color=color, lw=1.2)
        corners += [mean - 2.2 * sd, mean + 2.2 * sd]
    low, high = np.min(corners, axis=0), np.max(corners, axis=0)
    half = 0.55 * np.max(high - low)
    center = (low + high) / 2
    ax.set(xlim=(center[0] - half, center[0] + half), ylim=(center[1] - half, center[1] + half), aspect="equal")
    ax.set_title(f"a {digit}")
    inset = ax.inset_axes((0.76, 0.76, 0.22, 0.22))
    inset.imshow(image.reshape(8, 8), cmap="Greys")
    inset.set(xticks=[], yticks=[])


def make(out: Path) -> None:
    """Write ``variational_autoencoder.svg`` and ``variational_autoencoder.md``."""
    theta, phi = vae.weights()
    model = vae.model()
    images = model.data["images"]
    mean, log_sd = vae.encode(phi, images)
    sd = np.exp(log_sd)
    free = near_guess(theta, phi, images)
    figure = plt.figure(figsize=(9.0, 4.6), layout="constrained")
    left, right = figure.subfigures(1, 2)
    draw_map(left.subplots(), theta)
    for ax, i in zip(right.subplots(2, 2).ravel(), SHOWN, strict=True):
        gaussians = {"C1": (mean[i], sd[i]), "C0": (free[0][i], free[1][i])}
        draw_posterior(ax, i, images[i], log_plane(theta, images[i], FINE), gaussians)
    handles = [
        plt.Rectangle((0, 0), 1, 1, color="0.5", label="exact posterior"),
        plt.Line2D([], [], color="C1", label="encoder"),
        plt.Line2D([], [], color="C0", label="mean-field fit"),
    ]
    right.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8)
    picture(out / "variational_autoencoder.svg", figure)
    _, held_out, _ = vae.split(*vae.read_digits())
    header = ("Gaussian for each code", "ELBO", "below the evidence: mean", "median", "largest", "above 3")
    table(out / "variational_autoencoder.md", header, rows(theta, phi, held_out))
