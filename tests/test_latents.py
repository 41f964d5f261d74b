"""Declarations of latents: shapes, dims, labels as ArviZ writes them, and the messages for bad ones."""

import numpy as np
import pytest

from bbvi.model import transforms
from bbvi.model.labels import flat_labels
from bbvi.model.latents import CholeskyCorrelation, Interval, Ordered, Positive, Real, Simplex, as_latent

COORDS = {"school": ["A", "B"], "year": [1999, 2001, 2003], "x_bis": [0.5, 1.25], "empty": []}


@pytest.mark.parametrize(
    ("latent", "shape", "dims"),
    [
        (Real(), (), ()),
        (Real(shape=3), (3,), ("x_dim_0",)),
        (Positive(shape=(2, 4)), (2, 4), ("x_dim_0", "x_dim_1")),
        (Real(dims="school"), (2,), ("school",)),
        (Real(dims=("school", "year")), (2, 3), ("school", "year")),
        (Real(shape=2, dims="school"), (2,), ("school",)),
        (Real(shape=(2, 4), dims=("school", None)), (2, 4), ("school", "x_dim_1")),
        (Interval(0, [1, 2, 3], dims="year"), (3,), ("year",)),
        (Simplex(shape=2), (2,), ("x_dim_0",)),
        (Ordered(dims=("school", "year")), (2, 3), ("school", "year")),
        (CholeskyCorrelation(shape=3), (3, 3), ("x_dim_0", "x_dim_1")),
        (CholeskyCorrelation(shape=(5, 3, 3)), (5, 3, 3), ("x_dim_0", "x_dim_1", "x_dim_2")),
        (CholeskyCorrelation(dims="year"), (3, 3), ("year", "year_bis")),
        (CholeskyCorrelation(shape=3, dims="year"), (3, 3), ("year", "year_bis")),
        (CholeskyCorrelation(dims=("school", "year", "year")), (2, 3, 3), ("school", "year", "year_bis")),
    ],
    ids=repr,
)
def test_resolve(latent, shape, dims):
    resolved = latent.resolve("x", COORDS)
    assert (resolved.shape, resolved.dims) == (shape, dims)
    assert resolved.transform.shape == shape
    assert len(resolved.labels) == int(np.prod(shape))
    assert len(resolved.unconstrained_labels) == resolved.size
    for dim, size in zip(dims, shape, strict=True):
        assert len(resolved.coords.get(dim, range(size))) == size


def test_transform_of_each_declaration():
    kinds = {
        Real(): transforms.Real,
        Positive(): transforms.Positive,
        Interval(-np.inf, np.inf): transforms.Real,
        Interval(0, np.inf): transforms.Positive,
        Interval(1, np.inf): transforms.HalfBounded,
        Interval(0, 1): transforms.Bounded,
        Simplex(shape=2): transforms.Simplex,
        Ordered(shape=2): transforms.Ordered,
        CholeskyCorrelation(shape=2): transforms.CholeskyCorrelation,
    }
    for latent, kind in kinds.items():
        assert type(latent.resolve("x", {}).transform) is kind


@pytest.mark.parametrize(
    ("latent", "message"),
    [
        (Real(dims="county"), r"latent 'x': expected dims found in coords \('school', .*got 'county'"),
        (Real(shape=3, dims="school"), r"latent 'x': expected shape \(2,\).*got \(3,\)"),
        (Real(shape=(2, 2), dims="school"), r"latent 'x': expected one entry of dims for each axis"),
        (Real(dims=("school", None)), "latent 'x': expected shape= for unnamed axis 1"),
        (Real(dims=("school", "school")), "latent 'x': expected dims that differ from each other"),
        (Real(dims="empty"), "latent 'x': expected coords of one label or more, got none for 'empty'"),
        (Interval(0, [1, 2]), r"latent 'x': expected upper to broadcast to the latent's shape \(\)"),
        (Interval([0, 0], 1, shape=3), r"latent 'x': expected lower to broadcast .* got shape \(2,\)"),
        (Simplex(), r"latent 'x': expected a last axis of 2 or more for Simplex, got \(\)"),
        (Simplex(shape=1), r"latent 'x': expected a last axis of 2 or more for Simplex, got \(1,\)"),
        (Ordered(), "latent 'x': expected one axis or more for Ordered"),
        (CholeskyCorrelation(), "latent 'x': expected shape K"),
        (CholeskyCorrelation(shape=(2, 3)), r"latent 'x': expected shape K .* got \(2, 3\)"),
        (CholeskyCorrelation(shape=1), r"latent 'x': expected shape K .* got \(1, 1\)"),
        (CholeskyCorrelation(dims="county"), "latent 'x': expected dims found in coords"),
    ],
    ids=repr,
)
def test_resolve_names_the_latent_and_what_is_wrong(latent, message):
    with pytest.raises(ValueError, match=message):
        latent.resolve("x", COORDS)


@pytest.mark.parametrize(
    ("declare", "error", "message"),
    [
        (lambda: Real(shape=0), ValueError, "Real: expected sizes of 1 or more"),
        (lambda: Positive(shape=(2, -1)), ValueError, "Positive: expected sizes of 1 or more"),
        (lambda: Real(shape=2.0), TypeError, "Real: expected shape to be an int or a tuple of ints, got 2.0"),
        (lambda: Real(shape=True), TypeError, "expected shape to be an int"),
        (lambda: Real(shape="school"), TypeError, "expected shape to be an int"),
        (lambda: Real(dims=3), TypeError, "Real: expected dims to be a name"),
        (lambda: Real(dims=("school", 3)), TypeError, "expected dims to be a name"),
        (lambda: Interval(1, 0), ValueError, "lower < upper everywhere, got lower 1.0 and upper 0.0"),
        (lambda: Interval(0, [1, 0]), ValueError, r"got lower 0.0 and upper \(1.0, 0.0\)"),
        (lambda: Interval(np.nan, 1), ValueError, "expected lower without NaN"),
        (lambda: Interval(0, [1, np.nan]), ValueError, "expected upper without NaN"),
        (lambda: Interval("a", 1), TypeError, "expected lower to be numeric, got 'a'"),
        (lambda: Interval([0, 0], [1, 1, 1]), ValueError, "expected bounds that broadcast together"),
        (lambda: Interval(-1e308, 1e308), ValueError, "upper - lower"),
        (lambda: Interval(np.inf, np.inf), ValueError, "expected lower < upper"),
    ],
)
def test_bad_declarations(declare, error, message):
    with pytest.raises(error, match=message):
        declare()


def test_declarations_compare_hash_and_print():
    assert Interval(0, [1, 2], shape=2) == Interval(0.0, np.array([1.0, 2.0]), shape=(2,))
    assert len({Real(shape=3), Real(shape=(3,)), Positive(shape=3)}) == 2
    assert repr(Real()) == "Real()"
    assert repr(Real(dims="school")) == "Real(dims='school')"
    assert repr(Positive(shape=(2, 3))) == "Positive(shape=(2, 3))"
    assert repr(Interval(0, 1, shape=2)) == "Interval(0.0, 1.0, shape=2)"


def test_bounds_are_copied():
    upper = np.array([1.0, 2.0])
    latent = Interval(0, upper, shape=2)
    upper[:] = -1
    assert latent.upper == (1.0, 2.0)


def test_as_latent():
    assert as_latent("x", 3) == Real(shape=3)
    assert as_latent("x", np.int64(3)) == Real(shape=3)
    assert as_latent("x", (2, 3)) == Real(shape=(2, 3))
    assert as_latent("x", Positive()) == Positive()
    for spec in ("Real", 2.0, None, True, [3], Real):
        with pytest.raises(TypeError, match="latent 'x'"):
            as_latent("x", spec)
    with pytest.raises(TypeError, match=r"write Real\(\.\.\.\)"):
        as_latent("x", Real)
    with pytest.raises(ValueError, match="latent 'x': Real: expected sizes of 1 or more"):
        as_latent("x", 0)


def test_unconstrain_names_the_latent():
    with pytest.raises(ValueError, match="latent 'tau': expected values > 0, got -1"):
        Positive().resolve("tau", {}).unconstrain(-1.0)


LABELS = [
    ((), (), ["x"]),
    (("school",), (2,), ["x[A]", "x[B]"]),
    (("x_dim_0",), (2,), ["x[0]", "x[1]"]),
    (("year",), (3,), ["x[1999]", "x[2001]", "x[2003]"]),
    (("school", "x_dim_1"), (2, 2), ["x[A, 0]", "x[A, 1]", "x[B, 0]", "x[B, 1]"]),
    (("school", "x_bis"), (2, 2), ["x[A, 0.5]", "x[A, 1.25]", "x[B, 0.5]", "x[B, 1.25]"]),
]


@pytest.mark.parametrize(("dims", "shape", "expected"), LABELS)
def test_labels(dims, shape, expected):
    assert flat_labels("x", dims, shape, COORDS) == expected


def test_labels_are_those_of_arviz():
    import arviz as az
    import xarray as xr

    draws = np.random.default_rng(0)
    variables = {
        f"v{i}": (("chain", "draw", *(dim.replace("x_dim", f"v{i}_dim") for dim in dims)), shape)
        for i, (dims, shape, _) in enumerate(LABELS)
    }
    data = {name: (dims, draws.normal(size=(2, 20, *shape))) for name, (dims, shape) in variables.items()}
    used = {dim: labels for dim, labels in COORDS.items() if dim != "empty"}
    tree = xr.DataTree.from_dict({"posterior": xr.Dataset(data, coords=used)})
    posterior = az.from_datatree(tree) if "from_datatree" in dir(az) else tree
    expected = []
    for name, (dims, shape) in variables.items():
        expected += flat_labels(name, dims[2:], shape, COORDS)
    assert list(az.summary(posterior).index) == expected


@pytest.mark.parametrize("declared", [Real, Positive, Simplex, Ordered, CholeskyCorrelation])
def test_a_shape_by_position_is_told_its_name(declared):
    with pytest.raises(TypeError, match=f"{declared.__name__}: expected shape= or dims= by name, got 3 by position"):
        declared(3)


def test_a_shape_after_the_bounds_is_told_its_name():
    with pytest.raises(TypeError, match="Interval: expected shape= or dims= by name, got 3 by position"):
        Interval(0, 1, 3)
