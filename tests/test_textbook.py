"""The textbook's example: evaluation trace, adjoints, partial adjoints, tangents."""

import numpy as np
import pytest

import gradc as gc
from gradc.ir import same_nodes


@pytest.fixture
def example():
    g = gc.Graph("textbook")
    x1, x2 = g.placeholder("x1"), g.placeholder("x2")
    v3, v4, v5 = np.log(x1), x1 * x2, np.sin(x2)
    v6 = v3 + v4
    y = g.output("y", v6 - v5)
    return g, (x1, x2, v3, v4, v5, v6, y)


FEEDS = {"x1": 2.0, "x2": 5.0}


def test_evaluation_trace(example):
    g, nodes = example
    trace = gc.evaluate(g, FEEDS)
    np.testing.assert_allclose([trace[n] for n in nodes], [2, 5, 0.693, 10, -0.959, 10.693, 11.652], atol=5e-4)
    assert "11.652" in str(trace)


def test_reverse(example):
    g, nodes = example
    before = g.nodes
    dg = gc.differentiate(g, wrt=["x1", "x2"])
    assert same_nodes(g.nodes, before) and same_nodes(dg.nodes[: len(before)], before)
    trace = gc.evaluate(dg, FEEDS)
    adjoints = [float(trace[dg.adjoint(n)]) for n in reversed(nodes)]
    np.testing.assert_allclose(adjoints, [1, 1, -1, 1, 1, 2 - np.cos(5), 5.5])
    x1, x2, v3, v4, v5, *_ = nodes
    partials = dg.partial_adjoints(x2)
    assert float(trace[partials[(v4, 1)]]) == 2 and np.isclose(trace[partials[(v5, 0)]], -np.cos(5))
    partials = dg.partial_adjoints(x1)
    assert float(trace[partials[(v3, 0)]]) == 0.5 and float(trace[partials[(v4, 0)]]) == 5


def test_every_edge_has_a_node_of_its_own(example):
    g, nodes = example
    dg = gc.differentiate(g, wrt=["x1", "x2"])
    assert len({dg.adjoint(n) for n in nodes}) == len(nodes)


def test_forward(example):
    g, nodes = example
    fg = gc.differentiate(g, wrt="x1", mode="forward")
    trace = gc.evaluate(fg, {**FEEDS, "dot_x1": 1.0})
    np.testing.assert_allclose([trace[fg.tangent(n)] for n in nodes], [1, 0, 0.5, 5, 0, 5.5, 5.5])


@pytest.mark.parametrize("passes", [None, gc.passes.NONE, gc.passes.EXACT])
def test_compiled(example, passes):
    g, _ = example
    out = gc.compile(gc.differentiate(g, wrt=["x1", "x2"]), passes=passes)(FEEDS)
    assert list(out) == ["y", "d_y/d_x1", "d_y/d_x2"]
    assert float(out["d_y/d_x1"]) == 5.5


def test_text_and_dot_name_every_node(example):
    g, _ = example
    dg = gc.differentiate(g, wrt=["x1", "x2"])
    assert len(str(dg).splitlines()) == 1 + len(dg.nodes) + len(dg.outputs)
    assert dg.to_dot().startswith("digraph")
