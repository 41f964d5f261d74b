"""Posteriors of a hundred to a thousand latents: right against long NUTS runs and quadrature, or not reliable."""

import autograd.numpy as anp
import numpy as np
import pytest
from targets import case, large
from test_many_groups import data_of as data_of_groups
from test_many_groups import exact as exact_scale
from test_many_groups import model_of as groups_of

import bbvi
from bbvi.stats import halfnorm, norm

N = "non-centred"


def errors(fit: bbvi.Fit, exact: dict[str, tuple[float, float]]) -> tuple[float, float]:
    """The worst error of a mean, in sds, and of an sd, relative."""
    rows = {row.label: row for row in fit.rows()}
    found = np.array([(rows[label].mean, rows[label].sd) for label in exact])
    mean, sd = np.array(list(exact.values())).T
    return float(np.max(np.abs(found[:, 0] - mean) / sd)), float(np.max(np.abs(found[:, 1] / sd - 1)))


@pytest.mark.parametrize("name", ["varying_intercepts", "frailties"])
def test_long_runs_agree(name):
    fit = bbvi.fit(getattr(large, name)(), seed=1)
    assert fit.verdict == "reliable", fit.reasons
    mean, sd = errors(fit, large.reference(name))
    # What a reliable verdict says, and the Monte Carlo errors of the references (0.018 sds).
    assert mean < 0.12
    assert sd < 0.12


@pytest.mark.parametrize("name", [f"150 groups, tau 0.3, {N}", "200 groups, tau 1.0, centred"])
def test_hierarchies_of_many_groups_are_right(name):
    one = case(name)
    fit = bbvi.fit(one.model(), seed=2)
    assert fit.verdict == "reliable", fit.reasons
    mean, sd = errors(fit, one.exact())
    assert mean < 0.1
    assert sd < 0.1


@pytest.mark.parametrize("seed", [1, 3])
def test_a_funnel_that_chains_do_not_straighten_is_told(seed):
    # Centred: in the neck all groups go where their mean goes, which no stretching of each alone undoes.
    fit = bbvi.fit(case("20 groups, tau 1.0, centred").model(), seed=seed)
    assert fit.verdict == "caution"
    assert "funnel" in " ".join(fit.reasons)


@pytest.mark.parametrize("seed", [1, 3])
@pytest.mark.parametrize("centred", ["non-centred", "centred"])
def test_chains_that_did_not_reach_a_tail_are_not_believed(centred, seed):
    """Of four groups the scale has a tail that chains may miss together: an sd 12 % small, an error of 3 % stated."""
    one = case(f"4 groups of 6 to 6, tau 1.0, {centred}")
    fit = bbvi.fit(one.model(), seed=seed)
    _, sd = errors(fit, one.exact())
    assert fit.verdict != "reliable" or sd < 0.1


@pytest.mark.parametrize(("groups", "spread", "data"), [(200, 1.2, 1), (55, 1.2, 0)])
def test_centred_groups_that_may_be_alike_are_not_believed_by_chains(groups, spread, data):
    """Groups of one value: the neck holds a few per cent, which all chains miss; nor does going on make it reliable."""
    y = spread * np.random.default_rng(data).normal(size=groups)
    log_tau = np.linspace(-9, 4, 4001)
    v = 1 + np.exp(2 * log_tau)
    precision = groups / v + 0.01
    centre = y.sum() / v / precision
    log_p = -groups / 2 * np.log(v) - ((y - centre[:, None]) ** 2).sum(1) / 2 / v - centre**2 / 200
    log_p += -np.log(precision) / 2 - np.exp(2 * log_tau) / 2 + log_tau
    weights = np.exp(log_p - log_p.max())
    mean = weights @ np.exp(log_tau) / weights.sum()
    sd = np.sqrt(weights @ np.exp(2 * log_tau) / weights.sum() - mean**2)

    def log_joint(z, y):
        prior = norm.logpdf(z.mu, 0, 10) + halfnorm.logpdf(z.tau) + anp.sum(norm.logpdf(z.th, z.mu, z.tau))
        return prior + anp.sum(norm.logpdf(y, z.th, 1))

    model = bbvi.Model(log_joint, {"mu": bbvi.Real(), "tau": bbvi.Positive(), "th": groups}, {"y": y})
    fit = bbvi.fit(model, seed=1)
    for one in (fit, fit.extend()):
        row = one.summary().loc["tau"]
        right = abs(row["mean"] - mean) < 0.1 * sd and abs(row["sd"] / sd - 1) < 0.1
        assert right or (one.verdict != "reliable" and row["verdict"] != "reliable")
        assert right or "fit.extend" not in " ".join(one.reasons)


def test_a_fit_by_chains_is_stored_and_goes_on(tmp_path):
    fit = bbvi.fit(large.varying_intercepts(), seed=3)
    assert fit.kind == "chains"
    fit.save(tmp_path / "fit.npz")
    loaded = bbvi.load(tmp_path / "fit.npz")
    np.testing.assert_array_equal(loaded.chains.draws, fit.chains.draws)
    np.testing.assert_array_equal(loaded.chains.stand.warp.shift, fit.chains.stand.warp.shift)
    # Chains have no weights, and no k-hat.
    assert "R-hat" in repr(fit) and "k-hat" not in repr(fit)
    figure = fit.plot()
    assert "R-hat" in figure.get_suptitle()
    labels = [text.get_text() for axes in figure.axes if axes.get_legend() for text in axes.get_legend().get_texts()]
    assert not any(label.startswith("chains, k-hat") for label in labels)
    longer = fit.extend(8)
    assert longer.chains.draws.shape[1] == fit.chains.draws.shape[1] + 8
    np.testing.assert_allclose(longer.chains.as_drawn[:, :-8], fit.chains.as_drawn, atol=1e-10)


@pytest.mark.parametrize("seed", [2, 4])
def test_groups_that_may_be_alike_are_not_relied_on(seed):
    """300 centred groups of one value: chains turn back before the neck, none diverges, and sds are 13 % small."""
    y = 1.08 * np.random.default_rng(seed).standard_normal(300)

    def log_joint(z, y):
        prior = halfnorm.logpdf(z.tau) + anp.sum(norm.logpdf(z.mu, 0.0, z.tau))
        return prior + anp.sum(norm.logpdf(y, z.mu, 1.0))

    fit = bbvi.fit(bbvi.Model(log_joint, {"tau": bbvi.Positive(), "mu": 300}, {"y": y}), seed=1)
    assert fit.verdict != "reliable" and "steers the widths" in " ".join(fit.reasons)


@pytest.mark.parametrize(("groups", "between"), [(20, 0.8), (30, 0.5)])
def test_centred_groups_whose_neck_chains_miss_are_not_believed(groups, between):
    """Chains of some thirty latents were reliable with tau's mean 0.1 sd too large, and its sd 8 and 7 % small."""
    means = data_of_groups(groups, between, 1)
    fit = bbvi.fit(groups_of(means, centred=True), seed=1)
    mean, sd = exact_scale(means)
    row = fit.summary().loc["tau"]
    right = abs(row["mean"] - mean) < 0.1 * sd and abs(row["sd"] / sd - 1) < 0.1
    assert right or fit.verdict != "reliable"
    assert right or any("tau steers the widths" in reason for reason in fit.reasons)
