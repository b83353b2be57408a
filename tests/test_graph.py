"""Graphs, deep graphs, derivatives of derivatives, and the errors of bad input."""

import re
import subprocess
import sys

import numpy as np
import pytest

import gradc as gc
from gradc import errors
from gradc.ir import same_nodes


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
    code = "import gradc, sys; print([m for m in ('networkx', 'sympy', 'scipy', 'gradc.testing') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_two_edges_of_one_user():
    g = scalar_graph(lambda x: x * x, x=3.0)
    dg = gc.differentiate(g, "x")
    x, y = g.placeholders["x"], g.outputs["y"]
    assert list(dg.partial_adjoints(x)) == [(y, 0), (y, 1)]
    assert same_nodes(dg.adjoint(x).inputs, tuple(dg.partial_adjoints(x).values()))
    assert dg.to_networkx().number_of_edges(x.serial, y.serial) == 2
    assert float(dg.compile()(x=3.0)["d_y/d_x"]) == 6


def test_a_node_used_by_a_thousand():
    g = gc.Graph("g")
    x = g.placeholder("x")
    users = [x * float(k) for k in range(1000)]
    g.output("y", gc.concatenate([u.reshape(1) for u in users]).sum())
    dg = gc.differentiate(g, x)
    partials = dg.partial_adjoints(x)
    assert set(partials) == {(u, 0) for u in users}
    assert set(dg.grad[x].inputs) == set(partials.values()) and len(dg.grad[x].inputs) == 1000
    assert float(dg.compile()(x=1.0)["d_y/d_x"]) == 999 * 500


@pytest.mark.parametrize("options", [{}, {"seed": True}, {"mode": "forward"}])
def test_what_is_differentiated_stays_as_it_was(options):
    g = scalar_graph(lambda x, y: np.sin(x * y) + x, x=3.0, y=2.0)
    before, text = g.nodes, str(g)
    dg = gc.differentiate(g, ["x", "y"], **options)
    assert same_nodes(g.nodes, before) and str(g) == text and list(g.outputs) == ["y"] and list(g.placeholders) == ["x", "y"]
    assert same_nodes(dg.nodes[: len(before)], before)
    again = gc.differentiate(dg, "x", of=list(dg.outputs)[-1])
    assert same_nodes(again.nodes[: len(dg.nodes)], dg.nodes)
    for graph in (g, dg, again):
        gc.verify(graph)


def test_a_deep_diamond_stays_linear():
    g = gc.Graph("g")
    x = g.placeholder("x")
    y = x
    for _ in range(1000):
        y = y * 0.5 + y * 0.5
    g.output("y", y)
    dg = gc.differentiate(g, x)
    adjoints = len(dg.nodes) - len(g.nodes)
    assert adjoints <= 2 * len(g.nodes)
    assert len(gc.differentiate(g, x, mode="forward").nodes) - len(g.nodes) <= 2 * len(g.nodes)
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


BY_SLICES = {
    "cumprod": lambda x: np.cumprod(np.stack([np.sqrt(x), np.log(x)]), axis=0)[1],
    "prod": lambda x: np.prod(np.stack([1 / x, x, np.sqrt(x)]), axis=0),
    "norm": lambda x: np.linalg.norm(np.stack([x, x * x]), axis=0),
    "std": lambda x: np.std(np.stack([x, x * x, np.log(x)]), axis=0),
}


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("name", BY_SLICES)
def test_what_where_masked_of_whole_slices_stays_exactly_zero(name, order):
    """Beside slices that it did not mask, which have the derivatives that they have alone."""
    of = BY_SLICES[name]
    x = np.array([0.7, 0.0, -1.0, np.inf, np.nan, 1.3])
    seen = np.array([True, False, False, False, False, True])
    found = gradient(lambda x: np.sum(np.where(seen, of(x), 0)), x, order)
    wanted = gradient(lambda x: np.sum(of(x)), x[seen], order)
    np.testing.assert_array_equal(found[~seen], 0)
    np.testing.assert_allclose(found[seen], wanted, rtol=1e-12, atol=1e-12)


RECTIFIED = {
    "relu": gc.relu,
    "where": lambda z: np.where(z > 0, z, 0),
    "maximum": lambda z: np.maximum(z, 0),
}


@pytest.mark.parametrize("mode", ["reverse", "forward"])
@pytest.mark.parametrize("name", RECTIFIED)
def test_an_adjoint_that_happens_to_be_zero_has_derivatives(name, mode):
    """Where a model fits exactly, the residual is 0 and the Hessian of its square is not."""
    g = scalar_graph(lambda x: (RECTIFIED[name](2 * np.sin(x)) - 2 * np.sin(1.0)) ** 2 / 2, x=1.0)
    reverse = gc.differentiate(g, "x")
    again = gc.differentiate(reverse, "x", of="d_y/d_x", mode=mode)
    feeds = {"x": 1.0} if mode == "reverse" else {"x": 1.0, "dot_x": 1.0}
    for chosen in (gc.passes.NONE, gc.passes.EXACT, gc.passes.DEFAULT):
        found = gc.compile(again, passes=chosen)(feeds)
        assert found["d_y/d_x"] == 0
        assert np.isclose(found[list(again.outputs)[-1]], (2 * np.cos(1.0)) ** 2, rtol=1e-14)


@pytest.mark.parametrize("mode", ["reverse", "forward"])
@pytest.mark.parametrize("name", ["sqrt", "log", "reciprocal", "bump"])
def test_what_where_masked_stays_exactly_zero_beside_what_it_did_not(name, mode):
    """Adjoints of both are mixed by a product of matrices, and the mask's zeros meet infinite factors."""
    weights = np.array([[1.0, 2.0], [3.0, 4.0]])
    g = gc.Graph("mixed")
    x = g.placeholder("x", 2)
    g.output("y", np.sum(np.exp(weights @ MASKED[name](x) / 100)))
    again = gc.differentiate(gc.differentiate(g, x), x, of="d_y/d_x", mode=mode)
    feeds = {"x": np.array([0.0, 3.0])} | ({"dot_x": np.ones(2)} if mode == "forward" else {})
    for chosen in (gc.passes.NONE, gc.passes.EXACT, gc.passes.DEFAULT):
        found = gc.compile(again, passes=chosen)(feeds)[list(again.outputs)[-1]]
        assert found[0] == 0 and np.isfinite(found[1]) and found[1] != 0


MASKED_TINY = {
    "where": lambda x: np.where(x > 0.5, 1 / x, 0),
    "of a row": lambda x: np.where(x > 0.5, (1 / x)[np.newaxis], 0)[0],
    "of a sum": lambda x: np.where(x > 0.5, np.exp(-np.sum(np.stack([1 / x, x]), axis=0)), 0),
    "of two": lambda x: np.where(x > 0.5, 1 / x - 3 / x, 0),
    "relu": lambda x: gc.relu(3 - 1 / x),
    "maximum": lambda x: np.maximum(3 - 1 / x, 0),
    "slice": lambda x: (1 / x)[1:],
    "gather": lambda x: np.take(1 / x, np.array([1, 1])),
}


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("name", MASKED_TINY)
def test_what_a_mask_left_out_stays_zero_where_only_its_higher_derivatives_overflow(name, order):
    """1 / x is finite at 1e-160, its second derivative is not."""
    for mode in ("reverse", "forward"):
        for tiny in (1e-160, 1e-120, 0.0):
            g = gc.Graph("tiny")
            x = g.placeholder("x", 2)
            of, feeds = "y", {"x": np.array([tiny, 0.9])}
            g.output(of, np.sum(MASKED_TINY[name](x)))
            for k in range(order):
                forward = mode == "forward" and k == order - 1 and k > 0
                g = gc.differentiate(g, "x", of=of, mode="forward" if forward else "reverse")
                feeds |= {"dot_x": np.ones(2)} if forward else {}
                of = list(g.outputs)[-1]
            for chosen in (gc.passes.NONE, gc.passes.EXACT, gc.passes.DEFAULT):
                found = gc.compile(g, passes=chosen)(feeds)[of]
                assert found[0] == 0 and np.isfinite(found[1]) and found[1] != 0


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


def gradient_graph():
    return scalar_graph(np.sin, x=1.0)


BAD = {
    "shapes": (lambda: node() + node((4,)), errors.ShapeError, "do not broadcast"),
    "matmul": (lambda: node() @ node(), errors.ShapeError, "3 columns against 2 rows"),
    "if": (lambda: bool(node()), errors.TraceError, "np.where"),
    "float": (lambda: float(node()), errors.TraceError, "evaluate"),
    "asarray": (lambda: np.asarray(node()), errors.TraceError, "np.asarray"),
    "setitem": (lambda: node().__setitem__(0, 1), errors.TraceError, "immutable"),
    "iterate": (lambda: list(node(("n",))), errors.TraceError, "symbolic"),
    "unpack": (lambda: [*node(())], errors.ShapeError, "no axes"),
    "len": (lambda: len(node(("n",))), errors.TraceError, "symbolic"),
    "not": (lambda: not node(), errors.TraceError, r"np\.where"),
    "and": (lambda: node() and 1, errors.TraceError, r"np\.where"),
    "int": (lambda: int(node()), errors.TraceError, "astype"),
    "complex number": (lambda: complex(node()), errors.TraceError, "real numbers"),
    "range": (lambda: range(node((), "int64")), errors.DimensionError, "Python integer"),
    "join": (lambda: np.array([node(()), node(())]), errors.TraceError, r"np\.stack"),
    "in": (lambda: 1.0 in node((3,)), errors.TraceError, r"\(node == value\)\.any\(\)"),
    "format": (lambda: f"{node(()):.3f}", errors.TraceError, "evaluate"),
    "set": (lambda: setattr(node(), "op", None), errors.GraphError, "immutable"),
    "delete": (lambda: delattr(node(), "op"), errors.GraphError, "immutable"),
    "text": (lambda: node() + "a", errors.DTypeError, "add: 'a' is <U1"),
    "none": (lambda: node() * None, errors.DTypeError, "multiply: None is object"),
    "imaginary": (lambda: node() + 1j, errors.DTypeError, "add: 1j is complex128"),
    "bool dimension": (lambda: node((True,)), errors.ShapeError, "an integer or a name, got True"),
    "no dimension": (lambda: node((1.5,)), errors.ShapeError, "got 1.5"),
    "negative dimension": (lambda: node((-1,)), errors.ShapeError, "negative"),
    "named badly": (lambda: node(("a b",)), errors.ShapeError, "identifier, got 'a b'"),
    "transpose": (lambda: node().transpose(0), errors.ShapeError, "no permutation"),
    "differentiate": (lambda: gc.differentiate(3, "x"), errors.ArgumentError, "got int"),
    "seed": (lambda: gc.differentiate(gradient_graph(), "x", seed=3), errors.ArgumentError, "seed"),
    "mode": (lambda: gc.differentiate(gradient_graph(), "x", mode="up"), errors.ArgumentError, "'up'"),
    "evaluate": (lambda: gc.evaluate(3), errors.ArgumentError, "got int"),
    "compile": (lambda: gc.compile(3), errors.ArgumentError, "got int"),
    "passes": (lambda: gradient_graph().compile(passes=3), errors.ArgumentError, "sequence of passes"),
    "call": (lambda: gradient_graph().compile()(3), errors.FeedError, "mapping"),
    "number": (lambda: gradient_graph().number(node()), errors.GraphError, "no node placeholder 'x'"),
    "if equal": (lambda: bool(node() == 0), errors.TraceError, r"np\.where\(condition, a, b\).*\n.* a is b"),
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
    with pytest.raises(kind, match=text) as caught:
        ask()
    assert len(re.findall(r"\n  at .*test_graph\.py:\d+", str(caught.value))) == 1


def test_an_error_names_the_line_that_builds_the_node():
    line = sys._getframe().f_lineno + 2
    with pytest.raises(errors.ShapeError) as caught:
        node() + node((4,))
    assert f"test_graph.py:{line}" in str(caught.value).splitlines()[-1]
    with pytest.raises(errors.TraceError, match=rf"at .*test_graph.py:{line + 3}\n"):
        bool(node())


def test_round_is_numpys():
    assert float(gradient(lambda x: round(x) * x, 1.4)) == 1
    g = scalar_graph(lambda x: round(x, 1), x=0.0)
    assert float(g.compile()(x=1.26)["y"]) == 1.3


def test_a_duplicate_name_is_refused():
    g = gc.Graph("g")
    g.placeholder("x")
    with pytest.raises(errors.NamingError, match="already"):
        g.placeholder("x")


def test_wrt_an_inner_node():
    g = gc.Graph("g")
    x = g.placeholder("x", 3)
    inner = np.sin(x)
    named = g.output("named", inner * 2.0)
    g.output("y", (named * inner).sum())
    dg = gc.differentiate(g, [inner, x, "named"], of="y")
    value = np.array([0.1, 0.5, 2.0])
    trace = gc.evaluate(dg, x=value)
    np.testing.assert_allclose(trace[dg.grad[inner]], 4 * np.sin(value))
    np.testing.assert_allclose(trace[dg.grad["v2"]], 4 * np.sin(value))
    np.testing.assert_allclose(trace[dg.grad[named]], np.sin(value))
    np.testing.assert_allclose(trace[dg.grad[x]], 4 * np.sin(value) * np.cos(value))
    assert list(dg.outputs) == ["named", "y", "d_y/d_v2", "d_y/d_x", "d_y/d_named"]
    fg = gc.differentiate(g, inner, of="y", mode="forward")
    np.testing.assert_allclose(fg.compile(["dot_y"])(x=value, dot_v2=np.ones(3))["dot_y"], (4 * np.sin(value)).sum())
    with pytest.raises(errors.GraphError, match="no node of graph 'g'"):
        gc.differentiate(g, np.cos(x), of="y")


def test_unused_and_integer_wrt():
    g = gc.Graph("g")
    x, unused, i = g.placeholder("x"), g.placeholder("unused", 2), g.placeholder("i", dtype="int64")
    g.output("y", x * 2)
    with pytest.raises(errors.GraphError, match="'unused'"):
        gc.differentiate(g, [x, unused])
    zeros = gc.differentiate(g, [x, unused], on_disconnected="zeros")
    assert (zeros.compile()(x=1.0, unused=np.ones(2), i=1)["d_y/d_unused"] == 0).all()
    tangent = gc.differentiate(g, unused, mode="forward", on_disconnected="zeros")
    assert tangent.compile(["dot_y"])(x=1.0, unused=np.ones(2), i=1, dot_unused=np.ones(2))["dot_y"] == 0
    with pytest.raises(errors.DTypeError, match="int64"):
        gc.differentiate(g, i)


FEEDS = {
    "missing": ({}, "missing"),
    "extra": ({"x": np.ones(3), "z": 1.0}, "unknown"),
    "dtype": ({"x": np.ones(3, "complex64")}, "complex64"),
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
    assert same_nodes(analysis.topological_order(g), g.nodes)
    assert analysis.needed_by_outputs(g) == set(g.nodes)
    assert {n.op.name for n in analysis.constant_nodes(g)} <= {"constant", "identity", "multiply"}
    assert len(analysis.critical_path(g)) > 3
