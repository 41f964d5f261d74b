"""Calibration by simulation: fit data that the model itself made, and compare with what made them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import kolmogorov

from bbvi.fitting.fit import fit
from bbvi.model import predictive
from bbvi.model.model import Model
from bbvi.model.validation import seed_or_none
from bbvi.result.fit import Fit

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray
logger = logging.getLogger("bbvi")

_FAILURES = (ArithmeticError, ValueError, np.linalg.LinAlgError)


@dataclass(frozen=True, eq=False)
class Calibration:
    """What refits to simulated data say of the true values; N fits, R rows of the summary.

    Attributes
    ----------
    labels : list of str
        Of the rows, R.
    truth : ndarray, shape (N, R)
        Values that the data were made with.
    probability : ndarray, shape (N, R)
        Posterior probability of a value below the true one. Uniform on (0, 1) where the posteriors are
        calibrated.
    z : ndarray, shape (N, R)
        (Posterior mean - true value) / posterior sd.
    verdicts : list of str
        Of the fits, N.
    failures : list of str
        Messages of the data sets that could not be fitted; they are in none of the above.
    """

    labels: list[str]
    truth: Array
    probability: Array
    z: Array
    verdicts: list[str]
    failures: list[str]

    def coverage(self, probs: Sequence[float] = (0.5, 0.89)) -> pd.DataFrame:
        """Share of the fits whose central interval holds the true value, by row and by its probability.

        Its standard error is ``sqrt(p (1 - p) / N)``.
        """
        import pandas as pd

        columns = {}
        for prob in _checked_probs(probs):
            columns[prob] = np.mean(np.abs(self.probability - 0.5) <= prob / 2, axis=0)
        return pd.DataFrame(columns, index=self.labels)

    def summary(self, probs: Sequence[float] = (0.5, 0.89)) -> pd.DataFrame:
        """By row: coverage, bias, spread, and the p-value of a uniform distribution of `probability`.

        ``bias`` is the mean of z, which is 0 for a calibrated posterior, within ``1 / sqrt(N)``; ``spread``
        is the root mean square of z, which is near 1, and above it where posterior sds are too small.
        ``p_uniform`` is that of a Kolmogorov-Smirnov test: small where the row is miscalibrated in any way.
        """
        import pandas as pd

        table = self.coverage(probs).rename(columns="cover_{:g}".format)
        count = len(self.probability)
        ordered = np.sort(self.probability, axis=0)
        steps = np.arange(count + 1)[:, None] / count
        distance = np.maximum(np.max(steps[1:] - ordered, axis=0), np.max(ordered - steps[:-1], axis=0))
        # Stephens' correction for small samples (1970).
        scaled = distance * (np.sqrt(count) + 0.12 + 0.11 / np.sqrt(count))
        table["bias"] = self.z.mean(axis=0)
        table["spread"] = np.sqrt(np.mean(self.z**2, axis=0))
        table["p_uniform"] = kolmogorov(scaled)
        return pd.DataFrame(table)


def simulation_based_calibration(
    model: Model,
    repeats: int = 100,
    *,
    seed: int = 0,
    kind: str = "best",
    start_at_truth: bool = False,
    **options: Any,
) -> Calibration:
    """Variational simulation-based calibration (Yao, Vehtari, Simpson and Gelman 2018, section 3).

    Draws latents from the prior and data given them, fits the data, and asks where in its posterior the true
    value lies. Over repeats that is uniform, for every latent, if the posteriors are right.

    Parameters
    ----------
    model : Model
        With ``sample_prior`` and with ``predict``, whose names are those of the observed data.
    repeats : int
        Number N of data sets.
    seed : int
        Of the simulations and the fits.
    kind : str
        Of the posteriors, as for `Fit.summary`.
    start_at_truth : bool
        Begin each fit at the true values: faster, but blind to fits that end in a wrong mode.
    **options
        For `fit`: ``estimator``, ``solver``, ``max_evaluations`` and so on.

    Returns
    -------
    Calibration

    Raises
    ------
    ValueError
        Without those functions, where ``predict`` does not give the observed data, or where no data set could
        be fitted.
    """
    _check_simulates(model)
    if isinstance(repeats, bool) or not isinstance(repeats, (int, np.integer)) or repeats < 2:
        raise ValueError(f"repeats: expected a whole number of 2 or more, got {repeats!r}")
    truths: list[Array] = []
    probabilities: list[Array] = []
    zs: list[Array] = []
    verdicts: list[str] = []
    failures: list[str] = []
    labels: list[str] = []
    for stream in np.random.SeedSequence(seed_or_none(seed)).spawn(repeats):
        rng = np.random.default_rng(stream)
        simulated, values = simulate(model, rng)
        start = values if start_at_truth else None
        try:
            result = fit(simulated, seed=int(rng.integers(2**31)), init=start, progress=False, **options)
            truth = true_rows(simulated, values)
            labels, probability, z = _compare(result, kind, truth)
        except _FAILURES as error:
            if not truths and len(failures) == 4:
                raise ValueError(
                    f"simulation: none of the first 5 data sets could be fitted: {error}"
                ) from error
            logger.info("a simulated data set could not be fitted: %s", error)
            failures.append(str(error))
            continue
        truths.append(truth)
        probabilities.append(probability)
        zs.append(z)
        verdicts.append(result.verdict)
    if not truths:
        raise ValueError(f"simulation: none of {repeats} data sets could be fitted: {failures[-1]}")
    return Calibration(labels, np.array(truths), np.array(probabilities), np.array(zs), verdicts, failures)


def coverage(
    model: Model, repeats: int = 100, probs: Sequence[float] = (0.5, 0.89), **options: Any
) -> pd.DataFrame:
    """Share of simulated data sets whose central posterior intervals hold the true values, by row.

    Parameters
    ----------
    model, repeats, **options
        As for `simulation_based_calibration`.
    probs : sequence of float
        Probabilities of the intervals: the columns.
    """
    _checked_probs(probs)
    return simulation_based_calibration(model, repeats, **options).coverage(probs)


def simulate(model: Model, rng: np.random.Generator) -> tuple[Model, dict[str, Array]]:
    """The model with data simulated from its prior, and the latents that they were made with."""
    values = predictive.one(predictive.sample_prior(model, 1, rng), 0)
    draws = {name: x[None] for name, x in values.items()}
    data = {name: x[0] for name, x in predictive.predict(model, draws, rng).items() if name in model.data}
    return model.with_data(**data), values


def true_rows(model: Model, values: dict[str, Array]) -> Array:
    """Rows of the summary, (R,), at given latents."""
    parts = [np.ravel(values[name]) for name in model.latents]
    if "derived" in model.functions:
        given = {name: x[None] for name, x in values.items()} if model.vectorized else values
        parts += [np.ravel(np.asarray(x, dtype=float)) for x in model.named("derived", given).values()]
    return np.concatenate(parts)


def _compare(result: Fit, kind: str, truth: Array) -> tuple[list[str], Array, Array]:
    """Where in the posterior the true values lie."""
    chosen = result.posterior(kind)
    labels, x = chosen.columns
    probability = chosen.weights @ ((x < truth) + 0.5 * (x == truth))
    mean, sd, _ = chosen.moments(x)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(sd > 0, (mean - truth) / sd, 0.0)
    return labels, probability, z


def _check_simulates(model: Any) -> None:
    if not isinstance(model, Model):
        raise TypeError(f"model: expected a bbvi.Model, got {model!r}")
    missing = [name for name in ("sample_prior", "predict") if name not in model.functions]
    if missing:
        raise ValueError(f"model: simulating data needs {' and '.join(missing)}; give them to bbvi.Model")
    rng = np.random.default_rng(0)
    given = predictive.predict(model, predictive.sample_prior(model, 1, rng), rng)
    absent = [name for name in model.observed if name not in given]
    if absent or not set(given) & set(model.data):
        wanted = ", ".join(model.observed) or "by name"
        raise ValueError(f"predict: expected the observed data {wanted}, got {', '.join(given)}")


def _checked_probs(probs: Any) -> list[float]:
    levels = list(probs) if isinstance(probs, Sequence) else [probs]
    for prob in levels:
        if not (isinstance(prob, (int, float)) and 0 < prob < 1):
            raise ValueError(f"probs: expected numbers between 0 and 1, got {prob!r}")
    return levels
