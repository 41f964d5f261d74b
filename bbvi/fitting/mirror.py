"""The stage that looks for images of the optimum under symmetries of the log joint: each is a second mode."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bbvi.fitting.records import Corrected
from bbvi.search import symmetries
from bbvi.search.modes import Mode
from bbvi.status import Status

Array = np.ndarray


def mirror(corrected: Corrected) -> Corrected:
    """The modes with the images of the best, where there are any."""
    job, q = corrected.job, corrected.optimum.approximation
    settled = corrected.worth_checking and corrected.status is Status.CONVERGED
    if not settled or job.left < job.policy.symmetries + job.policy.again:
        return corrected
    # With gradients, starts and looks find what is no symmetry.
    images = symmetries.images(job.target, q.mean, q.sd, job.rng("symmetries"), near=not job.method.gradients)
    modes = corrected.modes
    images = [image for image in images if image.symmetry or not any(_same(mode, image.mean) for mode in modes)]
    if not images:
        return corrected
    best = modes[0] if modes else Mode(q.mean, np.log(q.sd), corrected.elbo, 1)
    twins = [Mode(image.mean, np.log(q.sd), best.elbo - image.below, 0, image.symmetry) for image in images]
    return replace(corrected, modes=(best, *twins, *modes[1:]))


def _same(mode: Mode, mean: Array) -> bool:
    return bool(np.max(np.abs(mode.mean - mean) / np.exp(mode.log_sd)) < 1.0)
