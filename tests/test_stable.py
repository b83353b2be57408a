"""Functions written out in an unstable form: right to second order after the default passes, at ±800 too."""

import numpy as np
import pytest

import gradc as gc
from gradc import passes

POINTS = np.array([-800.0, -40.0, -1.5, 0.0, 0.3, 37.5, 800.0])
MATRIX = np.array([[-800.0, 0.0, 800.0], [1.0, -2.0, 0.5], [800.0, 800.0, -800.0]])


def softmax(x):
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


WRITTEN = {
    "log(1 + exp(x))": (lambda x: np.log(1 + np.exp(x)), gc.softplus, POINTS),
    "log1p(exp(x))": (lambda x: np.log1p(np.exp(x)), gc.softplus, POINTS),
    "log(exp(x) + exp(y))": (lambda x: np.log(np.exp(x) + np.exp(2 * x)), lambda x: np.logaddexp(x, 2 * x), POINTS),
    "log(sigmoid)": (lambda x: np.log(gc.sigmoid(x)), gc.log_sigmoid, POINTS),
    "log(1 / (1 + exp(-x)))": (lambda x: np.log(sigmoid(x)), gc.log_sigmoid, POINTS),
    "log(exp(x) / (1 + exp(x)))": (lambda x: np.log(np.exp(x) / (1 + np.exp(x))), gc.log_sigmoid, POINTS),
    "1 / (1 + exp(-x))": (sigmoid, gc.sigmoid, POINTS),
    "reciprocal(1 + exp(-x))": (lambda x: np.reciprocal(1 + np.exp(-x)), gc.sigmoid, POINTS),
    "exp(x) / (1 + exp(x))": (lambda x: np.exp(x) / (1 + np.exp(x)), gc.sigmoid, POINTS),
    "exp(x) / (exp(x) + exp(-x))": (lambda x: np.exp(x) / (np.exp(x) + np.exp(-x)), lambda x: gc.sigmoid(2 * x), POINTS),
    "1 - sigmoid": (lambda x: 1 - gc.sigmoid(x), lambda x: gc.sigmoid(-x), POINTS),
    "log(sum(exp(x)))": (lambda x: np.log(np.exp(x).sum(-1)), lambda x: gc.logsumexp(x, -1), MATRIX),
    "softmax": (lambda x: softmax(x)[:, :2], lambda x: gc.softmax(x)[:, :2], MATRIX),
    "log(softmax)": (lambda x: np.log(softmax(x)), gc.log_softmax, MATRIX),
    "log(gc.softmax)": (lambda x: np.log(gc.softmax(x)), gc.log_softmax, MATRIX),
    "log(softmax[entries])": (lambda x: np.log(softmax(x)[:, 1]), lambda x: gc.log_softmax(x)[:, 1], MATRIX),
    "log(softmax)[entries]": (lambda x: np.log(softmax(x))[1:, 0], lambda x: gc.log_softmax(x)[1:, 0], MATRIX),
    "log(softmax[rows, labels])": (
        lambda x: np.log(softmax(x)[np.arange(3), [0, 1, 2]]),
        lambda x: gc.log_softmax(x)[np.arange(3), [0, 1, 2]],
        MATRIX,
    ),
    "log(take_along_axis(softmax))": (
        lambda x: np.log(np.take_along_axis(softmax(x), np.array([[0], [1], [0]]), -1)),
        lambda x: np.take_along_axis(gc.log_softmax(x), np.array([[0], [1], [0]]), -1),
        MATRIX,
    ),
    "where of log(softmax)": (
        lambda x: np.where(np.eye(3) > 0, np.log(softmax(x)), 0.0),
        lambda x: np.where(np.eye(3) > 0, gc.log_softmax(x), 0.0),
        MATRIX,
    ),
}


def derivatives(fn, point, order, modes, chosen=passes.DEFAULT):
    """The weighted sum of fn and its derivatives along one direction, as one function of the point."""
    graph = gc.Graph("written")
    x = graph.placeholder("x", point.shape, point.dtype)
    value = fn(x)
    weights = np.cos(np.arange(np.prod(value.shape))).reshape(value.shape).astype(point.dtype)
    graph.output("y", (value * weights).sum())
    feeds, name = {"x": point}, "y"
    for k in range(order):
        mode = "forward" if modes == "mixed" and k else "reverse" if modes == "mixed" else modes
        graph = gc.differentiate(graph, "x", of=name, mode=mode, on_disconnected="zeros")
        name = list(graph.outputs)[-1]
        if mode == "forward":
            dot = list(graph.placeholders)[-1]
            feeds[dot] = np.sin(np.arange(point.size) + k).reshape(point.shape).astype(point.dtype)
    return graph.compile([name], passes=chosen)(feeds)[name]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("mode", ["reverse", "forward", "mixed"])
@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("name", WRITTEN)
def test_written_out_functions_are_as_good_as_the_ones_they_are(name, order, mode, dtype):
    written, stable, point = WRITTEN[name]
    got, wanted = (derivatives(fn, point.astype(dtype), order, mode) for fn in (written, stable))
    assert np.isfinite(wanted).all()
    rtol = 1e-12 if dtype == "float64" else 1e-4
    np.testing.assert_allclose(got, wanted, rtol=rtol, atol=rtol * max(np.abs(wanted).max(), 1e-3))


@pytest.mark.parametrize("name", WRITTEN)
def test_near_zero_all_passes_agree(name):
    written, _, point = WRITTEN[name]
    for order in (0, 1, 2):
        results = [derivatives(written, point / 500, order, "reverse", p) for p in (passes.NONE, passes.EXACT, passes.DEFAULT)]
        np.testing.assert_array_equal(results[0], results[1])
        np.testing.assert_allclose(results[2], results[0], rtol=1e-12, atol=1e-15)


def test_a_seed_an_inner_variable_and_what_the_user_made_of_a_gradient_are_kept():
    graph = gc.Graph("inner")
    x = graph.placeholder("x", 3)
    inner = 2 * x
    graph.output("y", np.log(1 + np.exp(inner)))
    extended = gc.differentiate(graph, [inner, x], seed=True)
    extended.output("step", x - 0.5 * extended.grad[x])
    point, seed = np.array([-400.0, 0.0, 400.0]), np.array([1.0, 2.0, 3.0])
    out = extended.compile()(x=point, bar_y=seed)
    slope = seed * np.array([0.0, 0.5, 1.0])
    np.testing.assert_allclose(out[list(out)[1]], slope)
    np.testing.assert_allclose(out["d_y/d_x"], 2 * slope)
    np.testing.assert_allclose(out["step"], point - slope)


def test_a_variable_that_the_better_form_passes_by_keeps_the_textbook_gradient():
    graph = gc.Graph("passed by")
    x = graph.placeholder("x", 3)
    total = np.exp(x).sum()
    graph.output("y", np.log(total))
    out = gc.differentiate(graph, total).compile()(x=np.zeros(3))
    np.testing.assert_allclose(list(out.values())[-1], 1 / 3)


def test_a_graph_without_such_forms_is_left_as_it_is():
    graph = gc.Graph("plain")
    x = graph.placeholder("x", 3)
    graph.output("y", np.sin(x) @ x)
    extended = gc.differentiate(graph, x)
    assert passes.forms(extended) is extended and passes.forms(graph) is graph


def test_what_is_subtracted_from_placed_terms_keeps_its_sign():
    g = gc.Graph()
    x, y = g.placeholder("x", 3), g.placeholder("y", 5)
    padded = np.pad(x, (0, 2))
    for name, node in (("left", padded - y), ("right", y - padded), ("both", padded - np.pad(x, (1, 1)))):
        g.output(name, node)
    feeds = {"x": np.array([1.0, 2.0, 3.0]), "y": np.arange(5.0) + 0.5}
    trace = gc.evaluate(g, feeds)
    for name, got in g.compile()(feeds).items():
        np.testing.assert_array_equal(got, trace[g.outputs[name]])
