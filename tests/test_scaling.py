"""Work and memory a node stay the same as a graph grows: counted, not timed (benchmarks/scaling.py has the clock)."""

import sys
import tracemalloc

import numpy as np
import pytest

import gradc as gc

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
