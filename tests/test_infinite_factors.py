"""Infinite constants as factors: the product does not change, so what is made of it has derivatives, and they are finite.

-inf is how logits are left out of a softmax; scaled by a variable, temperature or mask, it stays -inf.
"""

import numpy as np
import pytest

import gradc as gc
from gradc import testing

INF = np.inf
OUT = np.array([4.0, -INF, 1.0, 2.0, 3.0])
KEPT = np.array([True, False, True, True, True])
X = np.array([0.5, 1.5, -0.25, 1.0, 0.75])
T = np.array(1.5)

# each with the same function of what is kept alone
FAMILY = {
    "softmax": (lambda x, t: gc.softmax(x * OUT), lambda x, t: gc.softmax(x[KEPT] * OUT[KEPT])),
    "softmax by a scalar": (lambda x, t: gc.softmax(OUT * t + x), lambda x, t: gc.softmax(OUT[KEPT] * t + x[KEPT])),
    "log_softmax": (lambda x, t: gc.log_softmax(x * OUT)[KEPT], lambda x, t: gc.log_softmax(x[KEPT] * OUT[KEPT])),
    "logsumexp": (lambda x, t: gc.logsumexp(x * OUT), lambda x, t: gc.logsumexp(x[KEPT] * OUT[KEPT])),
    "cross entropy": (
        lambda x, t: gc.softmax_cross_entropy(x * OUT, np.array(2)),
        lambda x, t: gc.softmax_cross_entropy(x[KEPT] * OUT[KEPT], np.array(1)),
    ),
    "rows of labels": (
        lambda x, t: gc.softmax_cross_entropy(x * OUT, np.array([0.2, 0, 0.3, 0, 0.5])),
        lambda x, t: gc.softmax_cross_entropy(x[KEPT] * OUT[KEPT], np.array([0.2, 0.3, 0, 0.5])),
    ),
    "temperature": (lambda x, t: gc.softmax(np.where(KEPT, x, -INF) / t), lambda x, t: gc.softmax(x[KEPT] / t)),
    "inverse temperature": (lambda x, t: gc.softmax(np.where(KEPT, x, -INF) * t), lambda x, t: gc.softmax(x[KEPT] * t)),
    "a bias of masks": (
        lambda x, t: gc.softmax((x + np.where(KEPT, 0, -INF)) * t),
        lambda x, t: gc.softmax(x[KEPT] * t),
    ),
    "twice": (lambda x, t: gc.softmax(x * OUT * t), lambda x, t: gc.softmax(x[KEPT] * OUT[KEPT] * t)),
    "reshaped and negated": (
        lambda x, t: gc.softmax(t * -np.reshape(gc.constant(-OUT), (1, 5)) * x),
        lambda x, t: gc.softmax(t * OUT[KEPT] * x[KEPT]),
    ),
    "written out": (
        lambda x, t: np.exp(x * OUT) / np.sum(np.exp(x * OUT)),
        lambda x, t: np.exp(x[KEPT] * OUT[KEPT]) / np.sum(np.exp(x[KEPT] * OUT[KEPT])),
    ),
    "exp": (lambda x, t: np.exp(x * OUT), lambda x, t: np.exp(x[KEPT] * OUT[KEPT])),
    "sigmoid": (lambda x, t: gc.sigmoid(OUT * t * x), lambda x, t: gc.sigmoid(OUT[KEPT] * t * x[KEPT])),
    "tanh": (lambda x, t: np.tanh(OUT * t * x)[KEPT], lambda x, t: np.tanh(OUT[KEPT] * t * x[KEPT])),
    "softplus": (lambda x, t: gc.softplus(OUT * t * np.abs(X)), lambda x, t: gc.softplus(OUT[KEPT] * t * np.abs(X[KEPT]))),
    "logaddexp": (lambda x, t: np.logaddexp(OUT * t, x)[KEPT], lambda x, t: np.logaddexp(OUT[KEPT] * t, x[KEPT])),
    "arctan": (lambda x, t: np.arctan(OUT / t)[KEPT] + x[KEPT], lambda x, t: np.arctan(OUT[KEPT] / t) + x[KEPT]),
}


def kept_of(y):
    """The kept entries of a result of either graph, or its only one."""
    flat = np.reshape(y, -1)
    return flat[np.flatnonzero(KEPT)] if flat.shape == (5,) else flat


def derivatives(build, mode, passes):
    """The value, derivatives of a weighted sum, and of a weighted sum of those."""
    graph = gc.Graph("g")
    x, t = graph.placeholder("x", 5), graph.placeholder("t")
    kept = kept_of(build(x, t))
    weights = np.random.default_rng(0).standard_normal(5)
    graph.output("y", np.sum(kept * weights[: len(kept)]))
    along = {"x": weights[::-1].copy(), "t": np.array(0.7)}
    feeds = {"x": X, "t": T}
    if mode == "forward":
        graph = gc.differentiate(graph, ["x", "t"], of="y", mode="forward", on_disconnected="zeros")
        graph = gc.differentiate(graph, ["x", "t"], of="dot_y", mode="forward", on_disconnected="zeros")
        feeds |= {f"dot_{k}": v for k, v in along.items()} | {f"dot_{k}_2": v for k, v in along.items()}
        out = gc.compile(graph, passes=passes)(feeds)
        return [out["y"], out["dot_y"], out["dot_dot_y"]]
    first = gc.differentiate(graph, ["x", "t"], of="y", on_disconnected="zeros")
    first.output("s", sum(np.sum(first.grad[k] * v) for k, v in along.items()))
    second = gc.differentiate(first, ["x", "t"], of="s", on_disconnected="zeros")
    out = gc.compile(second, passes=passes)(feeds)
    return list(out.values())


@pytest.mark.parametrize("mode", ["reverse", "forward"])
@pytest.mark.parametrize("name", FAMILY)
def test_what_is_left_out_changes_nothing(name, mode):
    """Entries that are left out are there in one graph and absent in the other; all derivatives of the others are the same."""
    whole, part = FAMILY[name]
    for passes in (gc.passes.NONE, gc.passes.DEFAULT):
        for found, wanted in zip(derivatives(whole, mode, passes), derivatives(part, mode, passes), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-14)


def test_the_gradient_of_a_masked_logit_is_exactly_zero():
    graph = gc.trace(lambda a: gc.softmax(a * np.array([4.0, -INF, 4.0, 4.0, 4.0]))[2], gc.spec(5))
    gradient = gc.compile(gc.differentiate(graph, "a"))(a=np.ones(5))["d_out/d_a"]
    np.testing.assert_allclose(gradient, [-0.25, 0, 0.75, -0.25, -0.25], rtol=1e-15)
    assert gradient[1] == 0


@pytest.mark.parametrize("infinity", [INF, -INF])
def test_zero_times_infinity_stays_nan(infinity):
    """The product is NaN, and neither it nor its derivatives are made to look like numbers."""
    graph = gc.trace(lambda a: gc.softmax(a * np.array([1.0, infinity])), gc.spec(2))
    first = gc.compile(gc.differentiate(graph, "a"))(a=np.array([1.0, 0.0]))
    assert np.isnan(first["out"]).all() and np.isnan(first["d_out/d_a"][1])


def test_slopes_that_are_infinite_are_no_factors():
    """log at 0 is -inf with an infinite slope, and softmax(log(y)) has a finite one, which 0 would misstate: NaN says so."""
    graph = gc.trace(lambda y: gc.softmax(np.log(y)) * np.array([1.0, 3.0]), gc.spec(2))
    assert np.isnan(gc.compile(gc.differentiate(graph, "y"))(y=np.array([0.0, 1.0]))["d_out/d_y"][0])


@pytest.mark.parametrize(
    "row, weights",
    [([-INF, -INF], [0.5, 0.5]), ([INF, 0.0], [1, 0]), ([INF, INF], [0.5, 0.5]), ([INF, -INF], [1, 0]), ([-INF, 0.0], [0, 1])],
)
def test_rows_of_infinities(row, weights):
    graph = gc.Graph("g")
    x = graph.placeholder("x", 2)
    y = graph.output("y", gc.softmax(x))
    graph.output("s", np.sum(y * np.array([1.0, 3.0])))
    first = gc.differentiate(graph, "x", of="s")
    first.output("t", np.sum(first.grad["x"] * np.array([2.0, 5.0])))
    second = gc.differentiate(first, "x", of="t")
    out = gc.compile(second)(x=np.array(row))
    np.testing.assert_array_equal(out["y"], weights)
    share = np.array(weights)
    slope = share * (np.array([1.0, 3.0]) - share @ [1.0, 3.0])
    np.testing.assert_allclose(out["d_s/d_x"], slope)
    assert np.isfinite(list(out.values())[-1]).all()


def test_where_leaves_out_and_a_row_of_nothing_is_uniform():
    mask = np.array([[True, False, True], [False, False, False]])
    graph = gc.trace(lambda x, t: gc.softmax(np.where(mask, x, -INF) / t) * np.arange(3.0), gc.spec((2, 3)), gc.spec(()))
    out = gc.compile(gc.differentiate(graph, ["x", "t"], of="out"))(x=np.ones((2, 3)), t=np.array(2.0))
    np.testing.assert_array_equal(out["out"][1], np.arange(3.0) / 3)
    np.testing.assert_allclose(out["d_out/d_x"], [[-0.25, 0, 0.25], [0, 0, 0]])
    assert out["d_out/d_t"] == 0


def test_plain_factors_bring_no_further_nodes():
    graph = gc.trace(lambda x, y: x * y / 2 * np.array([1.0, 2.0]), gc.spec(2), gc.spec(2))
    names = {node.op.name for node in gc.differentiate(graph, ["x", "y"], of="out").nodes}
    assert names.isdisjoint({"isinf", "where", "stop_gradient"})


def test_gradients_of_masked_softmax_by_differences():
    testing.check_gradients(
        gc.trace(lambda x, t: gc.softmax(np.where(KEPT, x, -INF) / t), gc.spec(5), gc.spec(())), {"x": X, "t": T}
    )
