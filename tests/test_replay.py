"""A recording of one draw evaluates all draws as the function itself does, one by one."""

from __future__ import annotations

import autograd.numpy as anp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bbvi import stats
from bbvi.batching.autodiff import vjp
from bbvi.batching.derivatives import backward
from bbvi.batching.replay import NotRecordable, Recording

N, K = 5, 3
X = np.random.default_rng(1).normal(size=(N, K))
GROUP = np.array([0, 2, 1, 2, 0])


def loop_series(d):
    h, total = d["s"], 0.0
    for t in range(20):
        h = 0.9 * h + anp.tanh(d["v"][t % K]) * d["s"]
        total = total + stats.norm.logpdf(X[t % N, 0], h, anp.exp(d["s"] / 5))
    return total


FUNCTIONS = {
    "scalar arithmetic": lambda d: (2 + d["s"]) * -d["s"] / 3 - d["s"] ** 2,
    "scalar and vector": lambda d: d["s"] * d["v"] + X[:, 0][:K],
    "vector and matrix": lambda d: d["m"] * d["v"] + d["s"],
    "row and column": lambda d: d["v"][:, None] * d["w"][None, :],
    "ufuncs": lambda d: anp.exp(anp.sin(d["m"])) + anp.log1p(d["v"] ** 2) + anp.maximum(d["s"], d["m"]),
    "plain numpy": lambda d: np.exp(d["v"]) + np.log1p(d["s"] ** 2),
    "where": lambda d: anp.where(d["m"] > d["v"], d["m"], d["s"]),
    "mask arithmetic": lambda d: anp.sum(d["v"] * ((d["v"] > 0) & (d["v"] < 1))),
    "clip": lambda d: anp.clip(d["m"], -0.5, 0.5),
    "repeated rows": lambda d: d["m"][GROUP[:4] % 2] * d["s"],
    "repeated rows of one column": lambda d: anp.exp(d["m"][GROUP % 2, 1]) + d["v"][GROUP],
    "repeated places of a matrix": lambda d: d["m"][GROUP % 2, GROUP] * d["v"][GROUP[::-1]],
    "repeated columns, a negative one": lambda d: d["m"][:, np.array([-1, 0, 2, -1])] ** 2,
    "sum": lambda d: anp.sum(d["m"]),
    "sum over a scalar": lambda d: anp.sum(d["s"]) * d["v"],
    "sum axis": lambda d: anp.sum(d["m"], axis=0) + anp.sum(d["m"], axis=-2),
    "sum keepdims": lambda d: d["m"] - anp.mean(d["m"], axis=1, keepdims=True),
    "max and var": lambda d: anp.max(d["m"], axis=1) + anp.var(d["m"], axis=1) + anp.std(d["v"]),
    "prod": lambda d: anp.prod(d["v"]),
    "logsumexp": lambda d: stats.logsumexp(d["m"], axis=1) + stats.logsumexp(d["v"]),
    "softmax": lambda d: stats.softmax(d["m"], axis=-1),
    "method calls": lambda d: d["m"].sum(axis=0) + d["m"].T.mean() + d["v"].reshape((K, 1)).ravel(),
    "index": lambda d: d["m"][1] + d["m"][:, 0][0],
    "index by groups": lambda d: d["v"][GROUP] * X[:, 1],
    "index by repeats in a matrix": lambda d: d["m"][:, [0, 0, 1]],
    "index pairs": lambda d: d["m"][[0, 1], [2, 0]],
    "index apart": lambda d: d["c"][0, :, [1, 1]],
    "index ellipsis": lambda d: d["c"][..., 0],
    "mask index": lambda d: d["v"][np.array([True, False, True])],
    "cumsum": lambda d: anp.cumsum(d["v"]) + anp.cumsum(d["m"], axis=0)[0],
    "sort": lambda d: anp.sort(d["v"]),
    "diff": lambda d: anp.diff(d["v"]) + anp.diff(d["m"], axis=1)[0],
    "flip": lambda d: anp.flip(d["v"]) + d["v"][::-1],
    "repeat": lambda d: anp.repeat(d["v"], 2) + anp.tile(d["v"], 2),
    "dot matrix vector": lambda d: anp.dot(X, d["v"]),
    "dot vector vector": lambda d: anp.dot(d["v"], d["v"]) + d["v"] @ np.ones(K),
    "dot vector matrix": lambda d: d["v"] @ d["m"].T + d["w"] @ np.arange(4.0).reshape(2, 2) + np.ones(K) @ d["m"].T,
    "dot of latents": lambda d: (
        anp.dot(d["m"], d["v"]) + anp.dot(d["m"], X[0]) + anp.dot(anp.dot(d["m"], X.T), X[:, 0])
    ),
    "matmul": lambda d: d["m"] @ X.T + X[:2] @ anp.outer(d["v"], d["v"]) @ X.T,
    "matmul batch": lambda d: d["c"] @ d["c"],
    "outer": lambda d: anp.outer(d["v"], d["w"]) + anp.outer(np.ones(K), d["w"]),
    "einsum": lambda d: anp.einsum("ij,j->i", d["m"], d["v"]) + anp.einsum("ij,ij", d["m"], d["m"]),
    "tensordot": lambda d: anp.tensordot(d["c"], d["w"], axes=1) * anp.tensordot(d["m"], d["m"], ([0, 1], [0, 1])),
    "reshape": lambda d: anp.reshape(d["m"], (-1,)) + anp.ravel(d["m"]),
    "transpose": lambda d: anp.transpose(d["c"], (2, 0, 1)) + anp.swapaxes(d["c"], 0, 2).T,
    "moveaxis": lambda d: anp.moveaxis(d["c"], 0, -1),
    "expand and squeeze": lambda d: anp.squeeze(anp.expand_dims(d["v"], 0)),
    "broadcast_to": lambda d: anp.broadcast_to(d["v"], (4, K)) * 2,
    "concatenate": lambda d: anp.concatenate([d["v"], np.ones(2), d["w"]]),
    "stack": lambda d: anp.stack([d["v"], d["v"] ** 2], axis=1),
    "list to array": lambda d: anp.array([d["s"], 1.0, d["v"][0]]) * 2,
    "vstack": lambda d: anp.vstack([d["v"], d["m"]]),
    "solve": lambda d: anp.linalg.solve(np.eye(K) * 4 + anp.outer(d["v"], d["v"]), d["v"]),
    "solve matrix": lambda d: anp.linalg.solve(np.eye(2) * 9 + d["m"] @ d["m"].T, d["m"]),
    "cholesky": lambda d: anp.linalg.cholesky(np.eye(K) * 4 + anp.outer(d["v"], d["v"])),
    "slogdet": lambda d: anp.linalg.slogdet(np.eye(K) * 4 + anp.outer(d["v"], d["v"]))[1],
    "inv and det": lambda d: (
        anp.linalg.inv(np.eye(K) * 4 + anp.outer(d["v"], d["v"])) + anp.linalg.det(np.eye(2) * 9 + d["m"] @ d["m"].T)
    ),
    "norm": lambda d: anp.linalg.norm(d["v"]) * d["v"],
    "diag and trace": lambda d: anp.trace(d["m"][:, :2]) * anp.diag(d["w"]) + anp.diag(d["m"][:, :2]),
    "diagonal": lambda d: anp.diagonal(d["m"][:, :2]) * anp.tril(d["m"])[:, :2],
    "densities": lambda d: stats.norm.logpdf(X, d["v"], anp.exp(d["s"])) + stats.t.logpdf(d["s"], 4, 0, 2),
    "masses": lambda d: (
        stats.poisson.logpmf_log_rate(np.arange(5), X @ d["v"])
        + stats.bernoulli.logpmf_logits(np.arange(5) % 2, X @ d["v"])
    ),
    "multivariate normal": lambda d: stats.multivariate_normal.logpdf(
        X, d["v"], np.eye(K) * 4 + anp.outer(d["v"], d["v"])
    ),
    "dirichlet": lambda d: stats.dirichlet.logpdf(stats.softmax(d["v"], axis=-1), anp.exp(d["v"])),
    "ordered logistic": lambda d: stats.ordered_logistic.logpmf(
        np.arange(5) % 3, X @ d["v"], anp.cumsum(anp.exp(d["w"]))
    ),
    "python loop": loop_series,
    "no rule": lambda d: anp.kron(d["w"], d["w"]),
    "constant": lambda d: np.ones(3),
    "dict": lambda d: {"a": d["s"] * 2, "b": d["v"] + 1, "c": 3.0},
}

# Autograd itself has no derivative of these.
VALUES_ONLY = {"broadcast_to", "diagonal", "flip", "constant", "dict"}
# The backward pass of these has an operation without a rule; they are traced at each call instead.
TRACED = {"no rule", "tensordot", "index apart", "repeat", "sort"}


def draws(count=7, seed=0):
    rng = np.random.default_rng(seed)
    shapes = {"s": (), "v": (K,), "w": (2,), "m": (2, K), "c": (2, 2, 2)}
    return {name: rng.normal(size=(count, *shape)) for name, shape in shapes.items()}


def one(batch, s):
    return {name: x[s] for name, x in batch.items()}


def as_dict(value):
    return value if isinstance(value, dict) else {"": value}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_replay_agrees_with_the_loop(name):
    function, batch = FUNCTIONS[name], draws()
    found = as_dict(Recording(function, one(batch, 0))(batch))
    for s in range(7):
        for key, value in as_dict(function(one(batch, s))).items():
            np.testing.assert_allclose(found[key][s], value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", sorted(set(FUNCTIONS) - VALUES_ONLY))
def test_gradients_through_a_replay_agree_with_the_loop(name):
    function, batch = FUNCTIONS[name], draws(4)
    recording = Recording(function, one(batch, 0))
    for key in batch:
        product, _ = vjp(lambda x, key=key: anp.sum(recording({**batch, key: x}) ** 2), batch[key])
        found = product(1.0)
        for s in range(4):
            single, _ = vjp(lambda x, s=s, key=key: anp.sum(function({**one(batch, s), key: x}) ** 2), batch[key][s])
            np.testing.assert_allclose(found[s], single(1.0), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", sorted(set(FUNCTIONS) - VALUES_ONLY - TRACED))
def test_a_backward_pass_can_be_recorded_too(name):
    function, batch = FUNCTIONS[name], draws(4)

    def cost(d):
        return anp.sum(function(d) ** 2)

    def twice(d):
        value = cost(d)
        gradient = backward(value, d["v"])
        return {"value": value, "gradient": gradient, "product": backward(anp.sum(gradient * d["z"]), d["v"])}

    batch["z"] = np.random.default_rng(5).normal(size=batch["v"].shape)
    found = Recording(twice, one(batch, 0), loop=False)(batch)
    for s in range(4):
        d = one(batch, s)

        def slope(v, d=d):
            return vjp(lambda v: cost({**d, "v": v}), v)[0](1.0)

        np.testing.assert_allclose(found["value"][s], cost(d), rtol=1e-12)
        np.testing.assert_allclose(found["gradient"][s], slope(d["v"]), rtol=1e-9, atol=1e-10)
        product = vjp(slope, d["v"])[0](d["z"])
        np.testing.assert_allclose(found["product"][s], product, rtol=1e-8, atol=1e-8)


def test_adjoints_of_matrices_share_one_inverse():
    """Gaussian processes spend their time here: autograd's own adjoints would solve eight times."""
    operations = []

    def density(d):
        factor = anp.linalg.cholesky(np.eye(K) * 4 + anp.outer(d["v"], d["v"]))
        whitened = anp.linalg.solve(factor, d["v"])
        value = -0.5 * anp.sum(whitened**2) - anp.sum(anp.log(anp.diag(factor)))
        gradient = backward(value, d["v"])
        product = backward(anp.sum(gradient * X[0]), d["v"])
        operations.extend(operation.fun for operation, _, _ in d["v"]._node.tape.operations)
        return {"gradient": gradient, "product": product}

    Recording(density, {"v": np.ones(K)})
    assert operations.count(anp.linalg.inv) == 1
    assert operations.count(anp.linalg.solve) == 1


def test_what_is_computed_twice_is_recorded_once():
    operations = []

    def function(d):
        total = anp.exp(d["v"]) + anp.exp(d["v"]) * anp.exp(2.0 * d["v"])
        operations.extend(operation.fun for operation, _, _ in d["v"]._node.tape.operations)
        return total

    found = Recording(function, {"v": np.ones(K)})({"v": X})
    assert operations.count(anp.exp) == 2
    np.testing.assert_allclose(found, np.exp(X) + np.exp(3 * X))


def test_where_is_differentiated_also_where_it_broadcasts():
    """Autograd's own adjoint of where does not sum over broadcast axes."""
    product, _ = vjp(lambda a: anp.sum(anp.where(X > 0, a, 2 * a)), np.array(0.7))
    assert product(1.0) == pytest.approx(np.sum(X > 0) + 2 * np.sum(X <= 0))


def test_the_late_argument_can_be_given_many_times():
    batch = draws(4)
    recording = Recording(lambda d: {"a": d["v"] ** 2, "b": d["v"] * d["m"]}, one(batch, 0), late="m")
    known, rest, held = recording.bind({name: x for name, x in batch.items() if name != "m"})
    np.testing.assert_allclose(known["a"], batch["v"] ** 2)
    for seed in (1, 2):
        other = draws(4, seed)["m"]
        np.testing.assert_allclose(rest(other)["b"], batch["v"][:, None] * other)


def branches(d):
    return d["s"] if d["s"] > 0 else -d["s"]


def counts(d):
    return float(d["s"])


def picks(d):
    return X[int(d["s"])]


def hides(d):
    return anp.sum(d["m"], axis=0, where=d["m"] > 0)


@pytest.mark.parametrize("function", [branches, counts, picks, hides, lambda d: max(d["s"], 0.0)])
def test_what_depends_on_values_is_not_recorded(function):
    with pytest.raises((NotRecordable, TypeError, ValueError, IndexError)):
        Recording(function, one(draws(), 0))


def test_recording_leaves_autograd_as_it_was():
    from autograd.tracer import Box, trace_stack

    before, top = dict(Box.type_mappings), trace_stack.top
    Recording(FUNCTIONS["where"], one(draws(), 0))
    with pytest.raises(NotRecordable):
        Recording(branches, one(draws(), 0))
    assert Box.type_mappings == before
    assert trace_stack.top == top


@given(
    st.lists(st.sampled_from(["add", "mul", "exp", "sum", "dot", "index", "stack"]), min_size=1, max_size=8),
    st.integers(0, 10_000),
)
def test_any_chain_of_operations_replays(chain, seed):
    def function(d):
        x = d["v"]
        for name in chain:
            if name == "add":
                x = x + d["s"]
            elif name == "mul":
                x = x * d["v"]
            elif name == "exp":
                x = anp.exp(-(x**2))
            elif name == "sum":
                x = x - anp.sum(x)
            elif name == "dot":
                x = anp.dot(X[:K], x)
            elif name == "index":
                x = x[np.array([2, 0, 1])]
            else:
                x = anp.stack([x, d["v"]])[0]
        return x

    batch = draws(3, seed)
    found = Recording(function, one(batch, 0))(batch)
    for s in range(3):
        np.testing.assert_allclose(found[s], function(one(batch, s)), rtol=1e-12, atol=1e-12)
