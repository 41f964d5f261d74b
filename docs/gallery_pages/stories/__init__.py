"""Pictures that tell each model's own story, in groups; the order here is that of the gallery.

A picture is a function with the name of its model, in the module of its group: it draws a fit into a figure, and its
docstring is the caption. A model without one is shown by what any model has.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

from matplotlib.figure import Figure

import bbvi
from bbvi import models

from . import curves, flexible, hidden, hierarchies, regression, series

GROUPS: dict[str, ModuleType] = {
    "Regression": regression,
    "Hierarchies": hierarchies,
    "Growth, kinetics and differential equations": curves,
    "Time series": series,
    "Mixtures, change points and hidden states": hidden,
    "Gaussian processes and neural networks": flexible,
}
OTHERS = "More models"


def story(name: str) -> Callable[[bbvi.Fit, Figure], None]:
    """The picture of a model: its own, or one that serves any model."""
    for module in GROUPS.values():
        if name in vars(module):
            return vars(module)[name]
    return predicted if models.load(name).predict is not None else correlated


def groups() -> dict[str, list[str]]:
    """Names of models by group, in the order of the gallery; those without a picture of their own come last."""
    names = models.names()
    found = {title: [name for name in vars(module) if name in names] for title, module in GROUPS.items()}
    told = {name for group in found.values() for name in group}
    others = [name for name in names if name not in told]
    return found | ({OTHERS: others} if others else {})


def predicted(fit: bbvi.Fit, figure: Figure) -> None:
    """Observed data and data predicted by the fit."""
    bbvi.plots.plot_predictive(fit, ax=figure.subplots(), seed=1)


def correlated(fit: bbvi.Fit, figure: Figure) -> None:
    """Means and 89 % intervals of the first rows, beside mean field's."""
    ax = figure.subplots()
    bbvi.plots.plot_forest(fit, rows=[row.label for row in fit.rows()[:12]], ax=ax)
