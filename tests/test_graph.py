"""Graphs, deep graphs, derivatives of derivatives, and the errors of bad input."""

import subprocess
import sys

import numpy as np
import pytest

import gradc as gc
from gradc import errors


def scalar_graph(build, **feeds):
    g = gc.Graph("g")
    nodes = [g.placeholder(n, np.shape(v)) for n, v in feeds.items()]
    g.output("y", build(*nodes))
    return g


def gradient(build, value, order=1):
    g = scalar_graph(build, x=value)
    name = "y"
    for _ in range(order):
        g = gc.differentiate(g, "x", of=name, on_disconnected="zeros")
        name = list(g.outputs)[-1]
    return gc.compile(g, [name])(x=value)[name]


def test_import_is_light():
    code = "import gradc, sys; print([m for m in ('networkx', 'sympy', 'scipy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_two_edges_of_one_user():
    g = scalar_graph(lambda x: x * x, x=3.0)
    dg = gc.differentiate(g, "x")
    assert len(dg.partial_adjoints(g.placeholders["x"])) == 2
    assert float(dg.compile()(x=3.0)["d_y/d_x"]) == 6


def test_a_node_used_by_a_thousand():
    g = gc.Graph("g")
    x = g.placeholder("x")
    g.output("y", gc.concatenate([(x * float(k)).reshape(1) for k in range(1000)]).sum())
    assert float(gc.differentiate(g, x).compile()(x=1.0)["d_y/d_x"]) == 999 * 500


def test_a_deep_diamond_stays_linear():
    g = gc.Graph("g")
    x = g.placeholder("x")
    y = x
    for _ in range(1000):
        y = y * 0.5 + y * 0.5
    g.output("y", y)
    dg = gc.differentiate(g, x)
    assert len(dg.nodes) < 4 * len(g.nodes)
    assert float(dg.compile()(x=3.0)["d_y/d_x"]) == 1


def test_a_long_chain_needs_no_recursion():
    g = gc.Graph("g")
    x = g.placeholder("x")
    y = x
    for _ in range(20_000):
        y = np.sin(y)
    g.output("y", y)
    dg = gc.differentiate(g, x)
    assert len(str(dg).splitlines()) > 40_000 and dg.to_dot().count("->") > 40_000
    assert 0 < float(dg.compile()(x=1.0)["d_y/d_x"]) < 1


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_powers_at_zero(n, order):
    wanted = np.polynomial.Polynomial([0] * n + [1]).deriv(order)(0.0)
    assert float(gradient(lambda x: x**n, 0.0, order)) == wanted


MASKED = {
    "sqrt": lambda x: np.where(x > 0, np.sqrt(x), 0),
    "log": lambda x: np.where(x > 0, np.log(x), 0),
    "reciprocal": lambda x: np.where(x > 0, 1 / x, 0),
    "bump": lambda x: np.where(x > 0, np.exp(-1 / x**2), 0),
    "overflow": lambda x: np.where(x < -2, np.exp(-1000 * x), 0),
}


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("name", MASKED)
def test_what_where_masked_stays_exactly_zero(name, order):
    assert gradient(MASKED[name], 0.0, order) == 0 and gradient(MASKED[name], -1.0, order) == 0


def test_forward_over_reverse_and_reverse_over_forward():
    g = scalar_graph(lambda x: np.exp(x) * np.sin(x), x=0.7)
    wanted = 2 * np.exp(0.7) * np.cos(0.7)
    reverse = gc.differentiate(g, "x")
    fr = gc.differentiate(reverse, "x", of="d_y/d_x", mode="forward")
    assert np.isclose(fr.compile(["dot_d_y/d_x"])(x=0.7, dot_x=1.0)["dot_d_y/d_x"], wanted)
    ff = gc.differentiate(gc.differentiate(g, "x", mode="forward"), "x", of="dot_y", mode="forward")
    assert np.isclose(ff.compile(["dot_dot_y"])(x=0.7, dot_x=1.0, dot_x_2=1.0)["dot_dot_y"], wanted)
    rf = gc.differentiate(gc.differentiate(g, "x", mode="forward"), "x", of="dot_y")
    assert np.isclose(rf.compile(["d_dot_y/d_x"])(x=0.7, dot_x=1.0)["d_dot_y/d_x"], wanted)


def test_symbolic_batch_serves_every_size():
    g = gc.Graph("g")
    x = g.placeholder("x", ("n", 3))
    g.output("y", (x * x).mean())
    f = gc.differentiate(g, x).compile()
    for n in (1, 2, 5):
        value = np.arange(3.0 * n).reshape(n, 3)
        np.testing.assert_allclose(f(x=value)["d_y/d_x"], 2 * value / value.size)


def test_updates_are_written_into_the_fed_array():
    g = gc.Graph("g")
    w = g.placeholder("w", 3)
    g.output("loss", (w * w).sum())
    dg = gc.differentiate(g, w)
    dg.output("next", w - 0.25 * dg.grad[w])
    step = gc.compile(dg, updates={"w": "next"})
    value = np.ones(3)
    assert float(step(w=value)["loss"]) == 3 and (value == 0.5).all()
    value.flags.writeable = False
    with pytest.raises(errors.FeedError, match="writable"):
        step(w=value)


def test_outputs_alias_nothing():
    g = gc.Graph("g")
    x = g.placeholder("x", 3)
    g.output("same", x)
    g.output("view", x.reshape(3, 1))
    g.output("constant", gc.constant([1.0, 2.0]))
    value = np.ones(3)
    out = g.compile()(x=value)
    for array in out.values():
        array[...] = 7
    assert (value == 1).all() and (g.compile()(x=value)["constant"] == [1, 2]).all()


def node(shape=(2, 3), dtype="float64"):
    return gc.Graph("g").placeholder("x", shape, dtype)


BAD = {
    "shapes": (lambda: node() + node((4,)), errors.ShapeError, "do not broadcast"),
    "matmul": (lambda: node() @ node(), errors.ShapeError, "3 columns against 2 rows"),
    "if": (lambda: bool(node()), errors.TraceError, "np.where"),
    "float": (lambda: float(node()), errors.TraceError, "evaluate"),
    "asarray": (lambda: np.asarray(node()), errors.TraceError, "np.asarray"),
    "setitem": (lambda: node().__setitem__(0, 1), errors.TraceError, "immutable"),
    "iterate": (lambda: list(node(("n",))), errors.TraceError, "symbolic"),
    "equals number": (lambda: node() == 0, errors.TraceError, r"np\.equal"),
    "keyword": (lambda: gc.Graph("g").placeholder("class"), errors.NamingError, "identifier"),
    "complex": (lambda: gc.Graph("g").placeholder("x", dtype="complex128"), errors.DTypeError, "complex128"),
    "integer": (lambda: node(dtype="uint8") + 300, errors.DTypeError, "out of bounds"),
    "numpy": (lambda: np.fft.fft(node()), errors.UnsupportedError, "fft"),
    "ufunc": (lambda: np.spacing(node()), errors.UnsupportedError, "spacing"),
    "empty max": (lambda: node((0,)).max(), errors.ShapeError, "empty"),
    "reshape": (lambda: node().reshape(4, -1), errors.ShapeError, "whole number"),
    "axis": (lambda: node().sum(axis=2), errors.ShapeError, "out of bounds"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gets_one_clear_error(name):
    ask, kind, text = BAD[name]
    with pytest.raises(kind, match=text):
        ask()


def test_a_duplicate_name_is_refused():
    g = gc.Graph("g")
    g.placeholder("x")
    with pytest.raises(errors.NamingError, match="already"):
        g.placeholder("x")


def test_unused_and_integer_wrt():
    g = gc.Graph("g")
    x, unused, i = g.placeholder("x"), g.placeholder("unused", 2), g.placeholder("i", dtype="int64")
    g.output("y", x * 2)
    with pytest.raises(errors.GraphError, match="'unused'"):
        gc.differentiate(g, [x, unused])
    zeros = gc.differentiate(g, [x, unused], on_disconnected="zeros")
    assert (zeros.compile()(x=1.0, unused=np.ones(2), i=1)["d_y/d_unused"] == 0).all()
    with pytest.raises(errors.DTypeError, match="int64"):
        gc.differentiate(g, i)


FEEDS = {
    "missing": ({}, "missing"),
    "extra": ({"x": np.ones(3), "z": 1.0}, "unknown"),
    "dtype": ({"x": np.ones(3, "float32")}, "float32"),
    "shape": ({"x": np.ones(4)}, "shape"),
}


@pytest.mark.parametrize("name", FEEDS)
def test_feeds_are_checked(name):
    feeds, text = FEEDS[name]
    g = gc.Graph("g")
    g.output("y", g.placeholder("x", 3) * 2)
    with pytest.raises(errors.FeedError, match=text):
        g.compile()(feeds)
    with pytest.raises(errors.FeedError, match=text):
        gc.evaluate(g, feeds)


def test_networkx_agrees_with_creation_order():
    from gradc import analysis

    g = gc.differentiate(scalar_graph(lambda x: np.sin(x) * x + 2.0, x=1.0), "x")
    assert analysis.topological_order(g) == list(g.nodes)
    assert analysis.needed_by_outputs(g) == set(g.nodes)
    assert {n.op.name for n in analysis.constant_nodes(g)} <= {"constant", "identity", "multiply"}
    assert len(analysis.critical_path(g)) > 3
