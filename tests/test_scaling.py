"""Work and memory a node stay the same as a graph grows: counted, not timed (benchmarks/scaling.py has the clock)."""

import sys
import tracemalloc

import numpy as np
import pytest

import gradc as gc
from gradc.ir import call_text, describe

SMALL, LARGE = 1_000, 4_000
FEEDS = np.linspace(0.1, 1.0, 8)


def chain(ops):
    graph = gc.Graph("chain")
    x = y = graph.placeholder("x", 8)
    for _ in range(ops // 4):
        y = np.sin(y) * x + y / 2
    graph.output("y", y)
    return graph


STAGES = {
    "build": lambda made: chain(made["ops"]),
    "differentiate": lambda made: gc.differentiate(made["build"], "x"),
    "forward": lambda made: gc.differentiate(made["build"], "x", mode="forward"),
    "str": lambda made: str(made["differentiate"]),
    "to_dot": lambda made: made["differentiate"].to_dot(),
    "verify": lambda made: gc.verify(made["differentiate"]),
    "evaluate": lambda made: gc.evaluate(made["build"], x=FEEDS),
    "compile": lambda made: made["differentiate"].compile(["d_y/d_x"]),
    "first call": lambda made: made["compile"](x=FEEDS),
    "call": lambda made: made["compile"](x=FEEDS),
}


def counted(stage, made):
    """What the stage returns, and how many functions it called, Python's and C's."""
    calls = 0

    def count(frame, event, argument):
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        result = stage(made)
    finally:
        sys.setprofile(None)
    return result, calls


def allocated(stage, made):
    """What the stage returns, and the bytes it held at its peak."""
    tracemalloc.start()
    try:
        result = stage(made)
        return result, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("measure", [counted, allocated])
def test_a_node_costs_the_same_in_a_graph_four_times_as_long(measure):
    figures = []
    for ops in (SMALL, LARGE):
        made = {"ops": ops}
        figures.append({})
        for name, stage in STAGES.items():
            made[name], figures[-1][name] = measure(stage, made)
    for name in STAGES:
        small, large = (figure[name] / ops for figure, ops in zip(figures, (SMALL, LARGE), strict=True))
        assert large <= 1.3 * small + 0.5, f"{name}: {small:.1f} a node grew to {large:.1f}"


def lines_run(walk, graph):
    """How many lines of Python a walk ran: loops count, which calls do not show."""
    lines = 0

    def trace(frame, event, argument):
        nonlocal lines
        lines += event == "line"
        return trace

    sys.settrace(trace)
    try:
        walk(graph)
    finally:
        sys.settrace(None)
    return lines


def shown(graph):
    numbers = {node: k for k, node in enumerate(graph.nodes)}
    return [(describe(node), call_text(node, numbers), repr(node)) for node in graph.nodes]


WALKS = {
    "numbers": lambda graph: [graph.number(node) for node in graph.nodes],
    "adjoints": lambda graph: [graph.adjoint(node) for node in graph.nodes if node.origin.role == "forward"],
    "zeros": lambda graph: [graph.adjoint(node) for node in graph.nodes if node.origin.role == "adjoint"],
    "partial adjoints": lambda graph: [graph.partial_adjoints(edge) for edge in graph.derivative.adjoints],
    "text": shown,
    "gradients by node": lambda graph: [graph.grad[node] for node in graph.derivative.wrt.values()],
    "gradients by name": lambda graph: [graph.grad[name] for name in graph.derivative.wrt],
    "trace": lambda graph: list(gc.evaluate(graph, dict.fromkeys(graph.placeholders, FEEDS)).items()),
}


def wide(ops):
    """A sum over as many variables as there are ops."""
    graph = gc.Graph("wide")
    total = graph.placeholder("x0", 8)
    for k in range(1, ops):
        total = np.sin(total) + graph.placeholder(f"x{k}", 8)
    graph.output("y", total)
    return gc.differentiate(graph, list(graph.placeholders))


@pytest.mark.parametrize("name", WALKS)
def test_a_walk_of_all_nodes_is_linear(name):
    small, large = (lines_run(WALKS[name], wide(ops)) / ops for ops in (100, 400))
    assert large <= 1.2 * small, f"{small:.1f} lines a node grew to {large:.1f}"


def test_messages_about_many_operands_are_short():
    graph = gc.Graph("g")
    nodes = [graph.placeholder(f"x{k}", 2 + (k == 9_999)) for k in range(10_000)]
    with pytest.raises(gc.GradcError) as caught:
        np.concatenate([node[:, None] if k == 5 else node for k, node in enumerate(nodes)])
    assert "operands more" in str(caught.value) and len(str(caught.value)) < 3000
    for asked in (lambda: gc.compile(graph, "y"), lambda: gc.compile(graph)(y=1), lambda: gc.evaluate(graph, x10_000=1)):
        with pytest.raises(gc.GradcError) as caught:
            asked()
        assert len(str(caught.value)) < 1000
