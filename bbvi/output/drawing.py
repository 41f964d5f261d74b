"""What the pictures share: their style, the choice of rows, references, and short labels."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypeVar

import numpy as np

from bbvi.model.model import labels_of
from bbvi.result.posterior import Posterior

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from bbvi.output.picture import Picture
    from bbvi.result.record import FitRecord

Array = np.ndarray
P = ParamSpec("P")
R = TypeVar("R")

CORRECTED, MEAN_FIELD, REFERENCE, FAINT = "#1d5c87", "#d9822b", "#222222", "#8a8a8a"
VERDICTS = {"reliable": "#2e7d32", "caution": "#b26a00", "unreliable": "#c62828"}
CI_PROB = 0.89
GRID_ROWS = 12
STYLE = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": FAINT,
    "legend.frameon": False,
}


def styled(function: Callable[P, R]) -> Callable[P, R]:
    """Draw in the style of these pictures, and leave the user's settings alone."""

    @functools.wraps(function)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        settings = pyplot().rcParams
        # Not all settings are put back, as `rc_context` does: the first figure chooses a backend, and with it whether
        # later ones are shown.
        before = {name: settings[name] for name in STYLE}
        settings.update(STYLE)
        try:
            return function(*args, **kwargs)
        finally:
            settings.update(before)

    return drawn


class Known(NamedTuple):
    """What a reference says of one row."""

    mean: float
    sd: float
    low: float
    high: float


def pyplot() -> Any:
    """matplotlib.pyplot, imported when a picture is asked for."""
    import matplotlib.pyplot as plt

    return plt


def new_figure(width: float, height: float) -> Picture:
    """A figure of this size in inches, open in pyplot."""
    from bbvi.output.picture import Picture

    figure: Picture = pyplot().figure(figsize=(width, height), layout="constrained", FigureClass=Picture)
    return figure


def new_axes(ax: Axes | None, width: float = 6.0, height: float = 3.6) -> Axes:
    """The axes given, or fresh ones on a figure of this size in inches."""
    if ax is not None:
        return ax
    fresh: Axes = new_figure(width, height).subplots()
    return fresh


def handles_of(*colours: str, kind: str) -> list[Any]:
    """Entries of a legend for what is drawn in these colours; `kind` names the corrected posterior."""
    from matplotlib.lines import Line2D

    names = {CORRECTED: kind, MEAN_FIELD: "mean field", REFERENCE: "reference"}
    return [Line2D([], [], color=colour, lw=2, label=names[colour]) for colour in colours]


def chosen_rows(fit: FitRecord, rows: Sequence[str] | None) -> list[int]:
    """Indices of rows by label, or by the name of a latent or derived quantity; without, those that no one fixed."""
    labels = fit.posterior().columns[0]
    if rows is None:
        shown = {row.label for row in fit.table()}
        return [i for i, label in enumerate(labels) if label in shown]
    chosen = []
    for wanted in [rows] if isinstance(rows, str) else rows:
        found = [i for i, label in enumerate(labels) if label == wanted or label.startswith(f"{wanted}[")]
        if not found:
            raise ValueError(f"rows: expected labels of the summary or names of latents, got {wanted!r}")
        chosen += found
    return chosen


def most_correlated(fit: FitRecord, count: int, kind: str = "best") -> list[int]:
    """Rows of latents with the strongest correlations; all of them if there are no more than `count`."""
    chosen = fit.posterior(kind)
    labels = fit.model.labels
    x = chosen.columns[1][:, : len(labels)]
    _, sd, _ = chosen.moments(x)
    varying = np.flatnonzero(sd > 1e-12 * (1 + np.abs(chosen.weights @ x)))
    if len(varying) <= count:
        return [int(i) for i in varying]
    centred = (x[:, varying] - chosen.weights @ x[:, varying]) / sd[varying]
    correlation = np.abs((centred * chosen.weights[:, None]).T @ centred) - np.eye(len(varying))
    # The strongest pair, then whatever is most correlated with those already there.
    picked = list(np.unravel_index(np.argmax(correlation), correlation.shape))
    while len(picked) < count:
        left = correlation[picked].max(axis=0)
        left[picked] = -np.inf
        picked.append(np.argmax(left))
    return sorted(int(varying[i]) for i in picked)


def support_of(posterior: Posterior, i: int) -> tuple[float | None, float | None]:
    """Finite ends of the support of row `i` where its latent has any."""
    model = posterior.target.model
    start = 0
    for latent in model.latents.values():
        size = int(np.prod(latent.shape))
        if start <= i < start + size:
            if not latent.transform.elementwise:
                return None, None
            far = np.full((2, latent.size), 700.0) * np.array([[-1.0], [1.0]])
            with np.errstate(all="ignore"):
                ends = latent.transform.constrain(far)[0].reshape(2, -1)[:, i - start]
            low, high = (float(end) if abs(end) < 600.0 else None for end in ends)
            return low, high
        start += size
    return None, None


def known_rows(fit: FitRecord, reference: Any) -> dict[str, Known]:
    """A reference, whatever its form, by row label."""
    if reference is None:
        return {}
    if hasattr(reference, "rows"):
        table = zip(reference.rows, reference.mean, reference.sd, reference.quantiles, strict=True)
        return {row: Known(mean, sd, quantiles[0], quantiles[-1]) for row, mean, sd, quantiles in table}
    if not isinstance(reference, Mapping):
        raise TypeError(
            f"reference: expected a dict of (mean, sd) or draws by name, got {type(reference).__name__}"
        )
    labels = [row.label for row in fit.rows()]
    known: dict[str, Known] = {}
    for name, value in reference.items():
        known.update(_known_of(fit, str(name), np.asarray(value, dtype=float), labels))
    return known


def _known_of(fit: FitRecord, name: str, x: Array, labels: Sequence[str]) -> dict[str, Known]:
    """What a reference says by one name: a value, a mean and an sd, or draws."""
    own = [label for label in labels if label == name or label.startswith(f"{name}[")]
    latent = fit.model.latents.get(name)
    if not own and latent is None:
        near = difflib.get_close_matches(name, [*fit.model.latents, *labels], n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"reference: {name!r} is no row and no latent of this fit{hint}")
    if name in labels and x.shape == (2,):
        return {name: Known(x[0], x[1], x[0] - 1.598 * x[1], x[0] + 1.598 * x[1])}
    shape = latent.shape if latent is not None else None
    if x.ndim == 0 or x.shape == shape:
        named = [name] if name in labels else latent.labels if latent is not None else own
        if x.ndim == 0 and len(named) > 1:
            raise ValueError(f"reference: {name} has {len(named)} values, got one")
        return {label: Known(one, 0.0, one, one) for label, one in zip(named, x.ravel(), strict=True)}
    named = latent.labels if latent is not None else labels_of(fit.model, name, x.shape[1:])
    columns = x.reshape(len(x), -1).T
    if len(columns) != len(named):
        raise ValueError(f"reference: {name} expects shape {shape}, or draws of it, got {x.shape}")
    found = {}
    for label, column in zip(named, columns, strict=True):
        low, high = np.quantile(column, [0.055, 0.945])
        found[label] = Known(column.mean(), column.std(), low, high)
    return found


def short(label: str) -> str:
    """A label of at most 22 characters, shortened in its middle."""
    return label if len(label) <= 22 else label[:10] + "…" + label[-11:]


def in_figures(mean: float, sd: float) -> str:
    """Mean and sd as text, to two significant digits of the sd."""
    if not (np.isfinite(mean) and np.isfinite(sd) and sd > 0):
        return f"{mean:.3g}"
    digits = int(np.clip(1 - np.floor(np.log10(sd)), 0, 8))
    if abs(mean) >= 1e6 or digits > 5:
        return f"{mean:.3g} ± {sd:.2g}"
    return f"{mean:z.{digits}f} ± {sd:.{digits}f}"
