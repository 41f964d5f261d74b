"""Pictures of hierarchical models."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from bbvi import Fit
from bbvi.models.rats import mean_weight
from bbvi.models.sleepstudy import mean_reaction

from .draw import CORRECTED, FAINT, MEAN_FIELD, REFERENCE, band, evaluate, intervals, rows, shrinkage


def eight_schools(fit: Fit, figure: Figure) -> None:
    """Reported effects, and what is left of them: all are drawn to a common mean."""
    ax = figure.subplots()
    shrinkage(ax, fit, "theta", fit.model.data["y"], fit.model.coords["school"], "reported effect")
    ax.set(xlabel="school", ylabel="effect of coaching (points)")


def eight_schools_centered(fit: Fit, figure: Figure) -> None:
    """The funnel: draws by mean field, which covers its wide part, and by the corrected fit."""
    ax = figure.subplots()
    for kind, color in (("mean-field", MEAN_FIELD), (fit.kind, CORRECTED)):
        draws = fit.sample(2000, kind, seed=1)
        ax.plot(draws["theta"][:, 0], draws["tau"], ".", color=color, markersize=2.5, alpha=0.6, label=kind)
    ax.set(yscale="log", xlabel="theta of school A", ylabel="tau", xlim=(-20, 35), ylim=(0.02, 40))
    ax.legend(fontsize=8, markerscale=4, loc="lower right")


def rats(fit: Fit, figure: Figure) -> None:
    """Weights of the thirty rats with the fitted line of each; the band is the growth of an average rat."""
    ax = figure.subplots()
    data, day = fit.model.data, np.array(fit.model.coords["day"])
    for weights, line in zip(data["weight"], evaluate(fit, lambda z: mean_weight(z, data["age"])).mean(0), strict=True):
        ax.plot(day, line, color=FAINT, lw=0.6)
        ax.plot(day, weights, ".", color=REFERENCE, markersize=4)
    band(ax, day, evaluate(fit, lambda z: z.mu_alpha + z.mu_beta * data["age"]), label="average rat")
    ax.set(xlabel="age (days)", ylabel="weight (g)", xticks=day)
    ax.legend(fontsize=8)


def sleepstudy(fit: Fit, figure: Figure) -> None:
    """Reaction times (ms) of the 18 people over ten days, each with its own line."""
    axes = figure.subplots(3, 6, sharex=True, sharey=True).ravel()
    data = fit.model.data
    lines = evaluate(fit, lambda z: mean_reaction(z, data["day"]))
    for i, (ax, person) in enumerate(zip(axes, fit.model.coords["person"], strict=True)):
        band(ax, data["day"], lines[:, i])
        ax.plot(data["day"], data["reaction"][i], "o", color=REFERENCE, markersize=2.5)
        ax.set_title(person, fontsize=7)
        ax.tick_params(labelsize=7)
    figure.supxlabel("days of little sleep", fontsize=9)


def seeds(fit: Fit, figure: Figure) -> None:
    """Share of seeds that germinated on each plate, observed and fitted, by kind of seed and extract."""
    ax = figure.subplots()
    data = fit.model.data
    groups = [("bean", 0, 0), ("cucumber", 0, 1), ("bean", 1, 0), ("cucumber", 1, 1)]
    order = np.concatenate([np.flatnonzero((data["x"][:, 1:3] == g[1:]).all(axis=1)) for g in groups])
    fitted = evaluate(fit, lambda z: 1 / (1 + np.exp(-(data["x"] @ z.alpha + z.sigma * z.eta))))
    place = np.arange(len(order))
    intervals(ax, place, fitted[:, order], label="fitted")
    observed = data["germinated"] / data["total"]
    ax.plot(place, observed[order], "o", markerfacecolor="white", color=REFERENCE, markersize=5, label="observed")
    first = 0
    for extract, seed, root in groups:
        size = int(np.sum((data["x"][:, 1:3] == (seed, root)).all(axis=1)))
        species = "O. aegyptiaca 73" if seed else "O. aegyptiaca 75"
        ax.text(first + (size - 1) / 2, 0.97, f"{species}\n{extract}", ha="center", va="top", fontsize=7)
        first += size
        ax.axvline(first - 0.5, color=FAINT, lw=0.5)
    ax.set(xlabel="plate", ylabel="share that germinated", xticks=[], ylim=(-0.02, 1))
    ax.legend(fontsize=8, loc="lower right")


def surgical(fit: Fit, figure: Figure) -> None:
    """Observed death rates of the twelve hospitals, and their posteriors."""
    ax = figure.subplots()
    data = fit.model.data
    labels = [f"{h}\n{n}" for h, n in zip(fit.model.coords["hospital"], data["operations"], strict=True)]
    shrinkage(ax, fit, "rate", data["deaths"] / data["operations"], labels, "observed rate")
    ax.set(xlabel="hospital and number of operations", ylabel="death rate")


def pumps(fit: Fit, figure: Figure) -> None:
    """Failures per 1000 hours: observed, and the posterior; pumps that ran for a short time move most."""
    ax = figure.subplots()
    data = fit.model.data
    labels = [f"{p}\n{t:g}" for p, t in zip(fit.model.coords["pump"], data["time"], strict=True)]
    shrinkage(ax, fit, "theta", data["failures"] / data["time"], labels, "observed rate")
    ax.set(xlabel="pump and 1000 hours of operation", ylabel="failures per 1000 hours", yscale="log")


def item_response(fit: Fit, figure: Figure) -> None:
    """Probability of a right answer to each question by ability, in sds of the population."""
    ax = figure.subplots()
    ability = np.linspace(-3, 3, 60)
    easiness = rows(fit, "easiness")[0]
    colors = (CORRECTED, MEAN_FIELD, REFERENCE, "#2e7d32", "#7b1fa2")
    for k in np.argsort(-easiness):
        curve = evaluate(fit, lambda z, k=k: 1 / (1 + np.exp(-(z.easiness[k] + z.spread * ability))))
        band(ax, ability, curve, colors[k], f"question {k + 1}")
    ax.set(xlabel="ability", ylabel="probability of a right answer", ylim=(0, 1))
    ax.legend(fontsize=8)
