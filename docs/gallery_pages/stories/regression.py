"""Pictures of regressions."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import beta

from bbvi import Fit, models
from bbvi.models import negative_binomial as looms
from bbvi.models import poisson_regression as doctors
from bbvi.models import survival as remission

from .draw import CORRECTED, FAINT, MEAN_FIELD, REFERENCE, band, evaluate, intervals, rows


def linear_regression(fit: Fit, figure: Figure) -> None:
    """Economy against weight, with the fitted line for a car of average power and quarter-mile time."""
    ax = figure.subplots()
    x = fit.model.data["x"]
    grid = np.linspace(x[:, 0].min(), x[:, 0].max(), 60)
    others = x[:, 1:].mean(axis=0)
    band(ax, grid, evaluate(fit, lambda z: z.alpha + z.beta[0] * grid + z.beta[1:] @ others), label="expected")
    ax.plot(x[:, 0], fit.model.data["mpg"], "o", color=REFERENCE, markersize=4, label="cars")
    ax.set(xlabel="weight (1000 lb)", ylabel="miles per gallon")
    ax.legend(fontsize=8)


def robust_regression(fit: Fit, figure: Figure) -> None:
    """Ammonia lost on each day, and what the regression expects: four days do not belong to it."""
    ax = figure.subplots()
    x, loss = fit.model.data["x"], fit.model.data["loss"]
    day = np.arange(1, len(loss) + 1)
    expected = evaluate(fit, lambda z: z.alpha + x @ z.beta)
    intervals(ax, day, expected, label="expected loss")
    far = np.abs(loss - np.median(expected, axis=0)) > 4
    ax.plot(day[~far], loss[~far], "o", markerfacecolor="white", color=REFERENCE, markersize=5, label="observed")
    ax.plot(day[far], loss[far], "D", color=MEAN_FIELD, markersize=5, label="more than 4 away")
    ax.set(xlabel="day", ylabel="ammonia lost (per mille)")
    ax.legend(fontsize=8)


def horseshoe(fit: Fit, figure: Figure) -> None:
    """The ten coefficients by this fit, which says itself that it is not reliable, and by long runs of MCMC."""
    ax = figure.subplots()
    known = models.reference("horseshoe")
    chosen = [i for i, label in enumerate(known.rows) if label.startswith("beta[")]
    place = np.arange(len(chosen))
    low, middle, high = known.quantiles[chosen].T
    for shift, color, label, (centre, bottom, top) in (
        (-0.2, MEAN_FIELD, "mean field, 89 %", rows(fit, "beta", "mean-field")),
        (0.0, CORRECTED, f"{fit.kind}, 89 %", rows(fit, "beta")),
        (0.2, REFERENCE, "MCMC, 90 %", (middle, low, high)),
    ):
        ax.vlines(place + shift, bottom, top, color=color, lw=2)
        ax.plot(place + shift, centre, "o", color=color, markersize=3.5, label=label)
    ax.axhline(0, color=FAINT, lw=0.6)
    ax.set_xticks(place, fit.model.coords["predictor"])
    ax.set(ylabel="standardized coefficient")
    ax.legend(fontsize=8, loc="lower right")


def logistic_regression(fit: Fit, figure: Figure) -> None:
    """Probability of vasoconstriction by the volume and rate of a breath; lines are draws of the even odds."""
    ax = figure.subplots()
    x, response = fit.model.data["x"], fit.model.data["response"]
    volume, rate = np.meshgrid(np.linspace(-1.2, 1.5, 80), np.linspace(-3.6, 1.6, 80))
    logit = evaluate(fit, lambda z: z.alpha + z.beta[0] * volume + z.beta[1] * rate, draws=200)
    share = (1 / (1 + np.exp(-logit))).mean(axis=0)
    shown = ax.contourf(volume, rate, share, levels=np.linspace(0, 1, 11), cmap="Blues", alpha=0.8)
    for line in logit[:25]:
        ax.contour(volume, rate, line, levels=[0], colors=FAINT, linewidths=0.5)
    for value, marker, label in ((1, "o", "constriction"), (0, "x", "none")):
        ax.plot(*x[response == value].T, marker, color=REFERENCE, markersize=5, label=label)
    ax.set(xlabel="log volume", ylabel="log rate", ylim=(-2.2, 1.6))
    figure.colorbar(shown, ax=ax, label="probability")
    ax.legend(fontsize=8, loc="lower left")


def dose_response(fit: Fit, figure: Figure) -> None:
    """Share of beetles that died at each dose, and the fitted curve; the dotted line is the dose that kills half."""
    ax = figure.subplots()
    data = fit.model.data
    grid = np.linspace(1.67, 1.9, 80)
    band(ax, grid, evaluate(fit, lambda z: 1 / (1 + np.exp(-(z.alpha + z.beta * grid)))), label="probability")
    ax.plot(data["log_dose"], data["died"] / data["total"], "o", color=REFERENCE, label="observed share")
    ax.axvline(rows(fit, "ld50")[0, 0], color=FAINT, ls=":")
    ax.set(xlabel="log10 dose (mg/l)", ylabel="share that died")
    ax.legend(fontsize=8)


def poisson_regression(fit: Fit, figure: Figure) -> None:
    """Deaths per 1000 person-years: observed, and fitted for smokers and non-smokers."""
    ax = figure.subplots()
    data = fit.model.data
    grid = np.linspace(1, 5, 60)
    for smoker, color, label in ((1, MEAN_FIELD, "smokers"), (0, CORRECTED, "non-smokers")):
        design = np.column_stack([np.full(60, smoker), grid, grid**2, smoker * grid])
        band(ax, grid, evaluate(fit, lambda z, x=design: np.exp(z.alpha + x @ z.beta)), color, label)
        chosen = doctors.SMOKER == smoker
        observed = (data["deaths"] / np.exp(data["log_exposure"]))[chosen]
        ax.plot(doctors.AGE[chosen], observed, "o", color=color)
    ax.set_xticks(range(1, 6), fit.model.coords["age_band"])
    ax.set(xlabel="age", ylabel="deaths per 1000 person-years", yscale="log")
    ax.legend(fontsize=8)


def negative_binomial(fit: Fit, figure: Figure) -> None:
    """Breaks on nine looms for each wool and tension, the fitted mean, and where 89 % of further looms would lie."""
    ax = figure.subplots()
    breaks = np.array(looms.BREAKS)
    labels = [f"{wool}, {tension}" for wool in "AB" for tension in ("low", "medium", "high")]
    place = np.arange(len(labels))
    predicted = fit.predict(1000, seed=1)["breaks"].reshape(1000, len(labels), -1)[:, :, 0]
    intervals(ax, place + 0.15, predicted, FAINT, "a further loom")
    design = np.array(looms.DESIGN)
    intervals(ax, place, evaluate(fit, lambda z: np.exp(z.alpha + design @ z.beta)), label="fitted mean")
    for i, row in enumerate(breaks.reshape(len(labels), -1)):
        ax.plot(np.full(len(row), i - 0.15), row, "o", markerfacecolor="white", color=REFERENCE, markersize=4)
    ax.set_xticks(place, labels)
    ax.set(xlabel="wool, tension", ylabel="breaks")
    ax.legend(fontsize=8)


def ordinal_regression(fit: Fit, figure: Figure) -> None:
    """Ratings of each additive: observed shares, and those that the fit predicts."""
    axes = figure.subplots(1, 4, sharey=True)
    rating = fit.model.data["rating"].reshape(4, -1)
    predicted = fit.predict(400, seed=1)["rating"].reshape(400, 4, -1)
    scale = np.arange(9)
    for i, ax in enumerate(axes):
        shares = (predicted[:, i, :, None] == scale).mean(axis=1)
        intervals(ax, scale + 1, shares, label="predicted")
        observed = (rating[i, :, None] == scale).mean(axis=0)
        ax.plot(scale + 1, observed, "o", markerfacecolor="white", color=REFERENCE, markersize=5, label="observed")
        ax.set(title=f"additive {'ABCD'[i]}", xlabel="rating", xticks=[1, 5, 9])
    axes[0].set(ylabel="share of tastings")
    axes[-1].legend(fontsize=8, loc="upper left")


def survival(fit: Fit, figure: Figure) -> None:
    """Share still in remission: Kaplan and Meier's estimate as steps, and the fitted Weibull curves."""
    ax = figure.subplots()
    weeks, ended, treated = (fit.model.data[name] for name in ("weeks", "ended", "treated"))
    grid = np.linspace(0, 36, 80)
    for group, color, label in ((1, CORRECTED, "6-mercaptopurine"), (0, MEAN_FIELD, "placebo")):
        curve = evaluate(fit, lambda z, g=group: np.exp(-((grid / np.exp(z.alpha + z.beta * g)) ** z.shape)))
        band(ax, grid, curve, color, label)
        chosen = treated == group
        times = np.unique(weeks[chosen & ended])
        left = [np.mean(weeks[chosen & ended] == t) * np.sum(chosen & ended) for t in times]
        at_risk = [np.sum(weeks[chosen] >= t) for t in times]
        share = np.cumprod(1 - np.array(left) / np.array(at_risk))
        ax.step(np.r_[0, times, weeks[chosen].max()], np.r_[1, share, share[-1]], where="post", color=color, lw=1)
    ax.set(xlabel="weeks", ylabel="share in remission", ylim=(0, 1.02), xlim=(0, max(remission.TREATED_WEEKS)))
    ax.legend(fontsize=8)


def placenta_previa(fit: Fit, figure: Figure) -> None:
    """The exact posterior, Beta(438, 544), and draws of the fit; dotted, the share of girls among all births."""
    ax = figure.subplots()
    girls, births = int(fit.model.data["girls"]), int(fit.model.data["births"])
    grid = np.linspace(0.39, 0.5, 200)
    drawn = fit.posterior()
    shown = {"bins": 60, "density": True, "color": CORRECTED, "alpha": 0.35, "label": fit.kind}
    ax.hist(drawn.latents["theta"], weights=drawn.weights, **shown)
    ax.plot(grid, beta.pdf(grid, girls + 1, births - girls + 1), color=REFERENCE, label="exact")
    ax.axvline(0.485, color=FAINT, ls=":")
    ax.set(xlabel="probability of a girl", yticks=[])
    ax.legend(fontsize=8)
