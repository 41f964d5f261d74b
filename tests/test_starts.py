"""Where fits begin: modes from dispersed starts, those far away, and those that a symmetry implies."""

import autograd.numpy as np
import numpy as onp
import pytest
from targets import case

import bbvi
from bbvi.search import looks, modes, starts, symmetries
from bbvi.search.looks import LookPolicy
from bbvi.search.modes import Mode
from bbvi.stats import logsumexp, norm
from bbvi.target.target import Target

LOOKS = LookPolicy()


def mixture_model(means):
    """Two components of unknown means, scales and shares on 100 observations that lie apart."""
    rng = onp.random.default_rng(0)
    y = onp.concatenate([rng.normal(-2.0, 1.0, 60), rng.normal(2.5, 0.7, 40)])

    def log_joint(z, y):
        terms = np.log(z.share) + norm.logpdf(y[:, None], z.mu, z.sigma)
        prior = np.sum(norm.logpdf(z.mu, 0, 5)) + np.sum(norm.logpdf(np.log(z.sigma)))
        return prior + np.sum(logsumexp(terms, axis=1))

    latents = {"mu": means, "sigma": bbvi.Positive(shape=2), "share": bbvi.Simplex(shape=2)}
    return bbvi.Model(log_joint, latents, data={"y": y})


def two_bumps(distance, share):
    """A standard normal density with a second bump of the given share at `distance` in every coordinate."""

    def log_joint(z):
        return np.logaddexp(
            np.log(1 - share) + np.sum(norm.logpdf(z)), np.log(share) + np.sum(norm.logpdf(z, distance))
        )

    return log_joint


def images(model, mean, sd=0.1):
    mean = onp.asarray(mean, dtype=float)
    return symmetries.images(Target(model), mean, onp.full(len(mean), sd), onp.random.default_rng(0))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_exchangeable_components_are_told_by_their_symmetry(seed):
    fit = bbvi.fit(mixture_model(bbvi.Real(shape=2)), seed=seed)
    assert fit.verdict == "unreliable"
    assert any("entries 0 and 1 of mu, sigma, share can be exchanged" in reason for reason in fit.reasons)
    image = next(mode for mode in fit.modes if mode.symmetry)
    low, high = sorted(image.mean[:2])
    assert low == pytest.approx(-2, abs=0.4) and high == pytest.approx(2.5, abs=0.4)


def test_ordered_components_have_no_symmetry():
    fit = bbvi.fit(mixture_model(bbvi.Ordered(shape=2)), seed=1)
    assert fit.verdict == "reliable" and not any(mode.symmetry for mode in fit.modes)


def test_images_are_where_the_density_comes_again():
    model = mixture_model(bbvi.Real(shape=2))
    mean = onp.array([-2.0, 2.5, 0.1, -0.4, 0.2])
    ((text, image, _),) = images(model, mean)
    assert text.startswith("entries 0 and 1 of mu, sigma, share")
    # Logarithms of the scales and the logit of the shares change places with the means.
    onp.testing.assert_allclose(image, [2.5, -2.0, -0.4, 0.1, -0.2], atol=1e-12)


def test_three_labels_are_exchanged_pairwise():
    places = np.array([-4.0, 0.0, 5.0])
    model = bbvi.Model(lambda z: -0.5 * np.sum((np.sort(z.x) - places) ** 2), {"x": bbvi.Real(shape=3)})
    found = images(model, places)
    assert [text for text, *_ in found] == [
        "entries 0 and 1 of x can be exchanged",
        "entries 1 and 2 of x can be exchanged",
    ]


def test_a_square_latent_is_exchanged_along_one_axis_or_both():
    # Rows are components, columns are coordinates that differ; the transition matrix changes along both axes.
    centres = np.array([[-4.0, 0.0], [4.0, 1.0]])
    stays = np.array([[3.0, 1.0], [1.0, 2.0]])

    def log_joint(z):
        first = -0.5 * np.sum((z.mu - centres) ** 2) + np.sum(stays * np.log(z.move))
        second = -0.5 * np.sum((z.mu - centres[::-1]) ** 2) + np.sum(stays[::-1, ::-1] * np.log(z.move))
        return np.logaddexp(first, second)

    latents = {"mu": bbvi.Real(shape=(2, 2)), "move": bbvi.Simplex(shape=(2, 2))}
    ((text, image, _),) = images(bbvi.Model(log_joint, latents), [-4.0, 0.0, 4.0, 1.0, 0.8, -0.5])
    assert text == "entries 0 and 1 of mu, move can be exchanged"
    onp.testing.assert_allclose(image, [4.0, 1.0, -4.0, 0.0, 0.5, -0.8], atol=1e-12)


def test_groups_of_ordered_latents_are_exchanged_as_wholes():
    model = bbvi.Model(lambda z: -0.5 * np.sum((z.x[0] + z.x[1] - 1) ** 2), {"x": bbvi.Ordered(shape=(2, 2))})
    mean = Target(model).unconstrain({"x": onp.array([[0.0, 1.0], [5.0, 9.0]])})
    ((text, image, _),) = images(model, mean)
    assert text == "entries 0 and 1 of x can be exchanged"
    onp.testing.assert_allclose(image, onp.concatenate([mean[2:], mean[:2]]), atol=1e-12)


def test_signs_are_changed_alone_and_in_pairs():
    def product(z):
        return norm.logpdf(z.a * z.b, 2, 0.1) + norm.logpdf(z.a) + norm.logpdf(z.b) + norm.logpdf(z.c, 3)

    model = bbvi.Model(product, {"a": bbvi.Real(), "b": bbvi.Real(), "c": bbvi.Real()})
    assert [text for text, *_ in images(model, [1.4, 1.4, 3.0])] == ["the sign of a and b can be changed"]


def test_what_is_not_a_symmetry_is_not_taken_for_one():
    rng = onp.random.default_rng(3)
    target = rng.normal(size=4)
    model = bbvi.Model(lambda z: -0.5 * np.sum((z - 5 * target) ** 2), 4)
    assert images(model, 5 * target) == []


def test_images_near_the_mode_cost_nothing():
    model = bbvi.Model(lambda z: -0.5 * np.sum((z - 3) ** 2), 6)
    target = Target(model)
    assert symmetries.images(target, onp.full(6, 3.0), onp.full(6, 3.0), onp.random.default_rng(0)) == []
    assert target.evaluations == 0


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_mode_beyond_the_starts_is_found_in_few_dimensions(seed):
    fit = bbvi.fit(two_bumps(9.0, 0.2), 2, seed=seed)
    assert fit.verdict == "unreliable"
    onp.testing.assert_allclose(fit.modes[1].mean, 9.0, atol=0.2)
    # The weighted draws have both: mean 1.8 and sd sqrt(1 + 0.16 * 81).
    onp.testing.assert_allclose(fit.summary()["mean"], 1.8, atol=0.15)
    onp.testing.assert_allclose(fit.summary()["sd"], onp.sqrt(1 + 0.16 * 81), rtol=0.05)


def looked(model, mode, seed=0):
    """Where looks around a mode lead: points, and the peaks that they are climbed to."""
    target = Target(model)
    expansion = looks.expanded(target, mode.mean, mode.log_sd, LOOKS)
    points = looks.elsewhere(target, expansion, onp.random.default_rng(seed), LOOKS)
    return points, looks.climbed(target, points, expansion, LOOKS)


def standard(dim):
    return Mode(onp.zeros(dim), onp.zeros(dim), 0.0, 8)


@pytest.mark.parametrize("dim", [1, 3, 10])
def test_looks_do_not_take_a_tail_for_a_mode(dim):
    points, _ = looked(bbvi.Model(lambda z: -np.sum(np.sqrt(1 + z**2)), dim), standard(dim))
    assert len(points) == 0


def test_looks_at_a_normal_density_cost_nothing_but_themselves():
    target = Target(bbvi.Model(lambda z: -0.5 * np.sum(z**2), 5))
    expansion = looks.expanded(target, onp.zeros(5), onp.zeros(5), LOOKS)
    before = target.evaluations
    assert len(looks.elsewhere(target, expansion, onp.random.default_rng(0), LOOKS)) == 0
    assert target.evaluations - before == LOOKS.looks(target, onp.inf) + 2 * 5 * len(LOOKS.along)


def test_looks_keep_to_their_share_of_a_limit():
    target = Target(bbvi.Model(lambda z: -0.5 * np.sum(z**2), 3))
    assert LOOKS.looks(target, 5000) == 500 < LOOKS.looks(target, onp.inf)


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_looks_are_climbed_to_the_peak_with_its_evidence(dim):
    """A mode of a fifth of the mass and a third of the width, 8 sds away: its evidence is the log of its share."""
    away = onp.full(dim, 8 / onp.sqrt(dim))

    def log_joint(z):
        broad, narrow = np.sum(norm.logpdf(z)), np.sum(norm.logpdf(z, away, 0.33))
        return np.logaddexp(np.log(0.8) + broad, np.log(0.2) + narrow)

    points, peaks = looked(bbvi.Model(log_joint, dim), standard(dim))
    assert len(points) > 0
    best = max(peaks, key=lambda peak: -onp.linalg.norm(peak.mean - away))
    onp.testing.assert_allclose(best.mean, away, atol=0.01)
    onp.testing.assert_allclose(onp.exp(best.log_sd), 0.33, rtol=0.01)
    assert best.evidence == pytest.approx(onp.log(0.2), abs=0.01)


def test_a_climb_without_an_end_is_no_peak():
    # The density of a centred hierarchy grows without bound as its scale shrinks.
    target = Target(bbvi.Model(lambda z: norm.logpdf(z[0]) - 4 * z[1] - 0.5 * z[0] ** 2 * np.exp(-2 * z[1]), 2))
    expansion = looks.expanded(target, onp.zeros(2), onp.zeros(2), LOOKS)
    assert looks.climbed(target, onp.array([[0.1, -1.0]]), expansion, LOOKS) == []


NAMED = [
    "modes at -3.0 and 3.0, 50% in the narrow one",
    "modes at -2.5 and 2.5, 30% in the narrow one",
    "spike of 30%, 1/20 as wide, 1.5 away, of 1",
    "spike of 30%, 1/20 as wide, 1.5 away, of 2",
    "spike of 30%, 1/20 as wide, 1.5 away, of 3",
]


def is_right(fit, one):
    """Within 0.1 sd and 10 %, as reliable says."""
    rows = fit.summary()
    return all(
        abs(rows.loc[label, "mean"] - mean) < 0.1 * sd and abs(rows.loc[label, "sd"] / sd - 1) < 0.1
        for label, (mean, sd) in one.exact().items()
    )


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("name", NAMED)
def test_narrow_modes_are_found_and_both_are_weighed(name, seed):
    one = case(name)
    fit = bbvi.fit(one.model(), seed=seed)
    assert len(fit.modes) > 1 and is_right(fit, one)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMED)
def test_narrow_modes_are_found_at_many_seeds(name):
    one = case(name)
    fits = [bbvi.fit(one.model(), seed=seed) for seed in range(10, 30)]
    assert all(fit.verdict != "reliable" or is_right(fit, one) for fit in fits)
    assert all(len(fit.modes) > 1 for fit in fits)


def test_a_coarse_optimum_is_no_mode_where_the_density_has_one_peak():
    one = case("contaminated normal")
    fit = bbvi.fit(one.model(), seed=1)
    assert len(fit.modes) == 1 and fit.verdict != "unreliable"


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("spread", [1.0, 1000.0])
def test_starts_that_ran_out_of_steps_are_no_modes_and_recover(spread, seed):
    """A log-concave Poisson regression has one mode, whatever the scale of its predictors."""
    rng = onp.random.default_rng(0)
    x = onp.column_stack([rng.uniform(0.2, 0.6, 50), rng.uniform(0, 1, 50), rng.normal(1.7, 0.1, 50)])
    y = rng.poisson(onp.exp(1 + x @ [1.5, 0.5, -0.3]))

    def log_joint(z, x, y):
        eta = z.a + x @ z.b
        return norm.logpdf(z.a, 0, 5) + np.sum(norm.logpdf(z.b)) + np.sum(y * eta - np.exp(eta))

    model = bbvi.Model(log_joint, {"a": bbvi.Real(), "b": 3}, {"x": spread * x, "y": y})
    modes = found_from_candidates(model, seed)
    assert len(modes) == 1 and modes[0].starts >= 3


def test_a_narrow_mode_within_a_broad_one_is_another():
    broad, spike = standard(2), Mode(onp.full(2, 0.3), onp.full(2, -3.0), -1.0, 1)
    assert len(modes.merged([broad, spike])) == 2
    near = Mode(onp.full(2, 0.3), onp.full(2, 0.1), -1.0, 1)
    (one,) = modes.merged([broad, near])
    assert one.starts == 9 and one.elbo == 0.0


def test_evidence_decides_where_both_are_known():
    best = Mode(onp.zeros(1), onp.zeros(1), 0.0, 5, evidence=-1.0)
    far = Mode(onp.full(1, 3.0), onp.zeros(1), -1.0, 1)
    assert modes.near_modes([best, far]) == [far]
    assert modes.near_modes([best, far._replace(evidence=-20.0)]) == []


@pytest.mark.parametrize(
    ("distance", "gap", "matters"), [(3.0, 5.0, True), (3.0, 9.0, False), (100.0, 9.0, True), (100.0, 15.0, False)]
)
def test_a_mode_matters_by_its_share_and_its_distance(distance, gap, matters):
    best = Mode(onp.zeros(2), onp.zeros(2), 0.0, 5)
    other = Mode(onp.array([0.0, distance]), onp.zeros(2), -gap, 1)
    assert (modes.near_modes([best, other]) == [other]) == matters


def test_an_image_matters_whatever_the_elbo():
    best = Mode(onp.zeros(2), onp.zeros(2), -onp.inf, 1)
    image = Mode(onp.full(2, 9.0), onp.zeros(2), -onp.inf, 0, "the sign of x can be changed")
    assert modes.near_modes([best, image]) == [image]


def test_the_best_mode_must_be_found_twice():
    # Twelve latents with two bumps each, of unequal height, apart: 4,096 modes, which few starts share.
    def rugged(z):
        high, low = np.log(0.6) + norm.logpdf(z, -1.5, 0.05), np.log(0.4) + norm.logpdf(z, 1.5, 0.05)
        return np.sum(np.logaddexp(high, low))

    fit = bbvi.fit(rugged, 12, seed=1)
    assert fit.modes[0].starts == 1 and sum(mode.starts for mode in fit.modes) > 8
    assert fit.verdict != "reliable" and any("one alone found the best" in reason for reason in fit.reasons)


def test_starts_keep_within_the_budget():
    def rugged(z):
        return np.sum(np.logaddexp(norm.logpdf(z, -1.5, 0.05), norm.logpdf(z, 1.5, 0.05)))

    target = Target(bbvi.Model(rugged, 8))
    rng = onp.random.default_rng(1)
    points = starts.chosen(target, starts.candidates(target, rng)[0])
    log_sd = starts.initial_log_sd(target, points)
    few = sum(mode.starts for mode in starts.find_modes(target, points, log_sd, rng, max_evaluations=1))
    assert few <= len(points)


def found_from_candidates(model, seed):
    target, rng = Target(model), onp.random.default_rng(seed)
    points = starts.chosen(target, starts.candidates(target, rng)[0])
    return starts.find_modes(target, points, starts.initial_log_sd(target, points), rng)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_mode_that_the_origin_alone_leads_to_is_found_once(seed):
    # A spike at the origin with nine tenths of the mass, too narrow to be felt from anywhere else.
    def spike(z):
        wide = np.log(0.1) + np.sum(norm.logpdf(z, 1.5, 1))
        return np.logaddexp(np.log(0.9) + np.sum(norm.logpdf(z, 0, 0.01)), wide)

    modes = found_from_candidates(bbvi.Model(spike, 4), seed)
    onp.testing.assert_allclose(modes[0].mean, 0, atol=0.01)
    assert modes[0].starts == 1 and sum(mode.starts for mode in modes) > 8


def test_the_search_ends_where_no_fresh_start_has_a_finite_density():
    model = bbvi.Model(lambda z: np.where(z.x > 25, norm.logpdf(z.x, 30, 1), -np.inf), {"x": bbvi.Real()})
    point = onp.array([[30.0]])
    modes = starts.find_modes(Target(model), point, onp.zeros((1, 1)), onp.random.default_rng(0))
    assert len(modes) == 1 and starts.found_once(modes)
