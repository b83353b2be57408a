"""Work and memory a node stay the same as a graph grows: counted, not timed (benchmarks/scaling.py has the clock)."""

import pickle
import random
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import sympy

import gradc as gc
from gradc import analysis, ir, passes, sizes
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


# --- what else users size: names, variables, operands ----------------------------------------------------


def many_outputs(n):
    graph = gc.Graph("outputs")
    x = y = graph.placeholder("x", 8)
    for k in range(n):
        y = np.sin(y) * x
        graph.output(f"y{k}", y)
    graph.output("y", y)
    return graph, [x]


def many_placeholders(n):
    graph = gc.Graph("placeholders")
    variables = [graph.placeholder(f"x{k}") for k in range(n)]
    y = variables[0]
    for x in variables[1:]:
        y = np.sin(y) * x
    graph.output("y", y)
    return graph, variables


def many_inner_variables(n):
    graph = gc.Graph("inner")
    y = graph.placeholder("x")
    inner = []
    for _ in range(n):
        y = np.sin(y) * 2.0
        inner.append(y)
    graph.output("y", y * 1.5)
    return graph, inner


def many_terms(n):
    graph = gc.Graph("terms")
    x = graph.placeholder("x")
    graph.output("y", gc.ops.shaping.add_n(*[-(x * float(k + 2)) if k % 2 else np.sin(x) for k in range(n)]))
    return graph, [x]


def many_uses(n):
    graph = gc.Graph("uses")
    x = y = graph.placeholder("x")
    for k in range(n):
        y = y + np.exp(x - float(k)) if k % 2 else y - x
    graph.output("y", y)
    return graph, [x]


def many_reshapes_of_a_view(n):
    graph = gc.Graph("reshapes")
    x = graph.placeholder("x", (2, 3))
    y, total = x.T, 0.0
    for k in range(n):
        y = y.reshape((6,) if k % 2 else (3, 2))
        total = total + np.sum(y[::-1] * y)
    graph.output("y", total)
    return graph, [x]


def many_flips(n):
    graph = gc.Graph("flips")
    x = y = z = graph.placeholder("x", 6)
    for _ in range(n):
        y = y[::-1]
        z = z + y
    graph.output("y", z.sum())
    return graph, [x]


MANY = [
    many_outputs, many_placeholders, many_inner_variables, many_terms, many_uses, many_reshapes_of_a_view, many_flips,
]  # fmt: skip
QUESTIONS = {
    "differentiate": lambda m: gc.differentiate(m["graph"], m["wrt"], of="y"),
    "forward": lambda m: gc.differentiate(m["graph"], m["wrt"][:1], of="y", mode="forward"),
    "grad by node": lambda m: [m["differentiate"].grad[x] for x in m["wrt"]],
    "adjoints": lambda m: [m["differentiate"].adjoint(x) for x in (*m["wrt"], *list(m["differentiate"].nodes)[-len(m["wrt"]) :])],
    "numbers": lambda m: [m["differentiate"].number(node) for node in m["differentiate"].nodes],
    "outputs": lambda m: [m["differentiate"].outputs[name] for name in m["differentiate"].outputs],
    "placeholders": lambda m: [m["differentiate"].placeholders[name] for name in m["differentiate"].placeholders],
    "again": lambda m: gc.differentiate(
        m["differentiate"], m["wrt"][0], of=list(m["differentiate"].outputs)[-1], on_disconnected="zeros"
    ),
    "str": lambda m: str(m["differentiate"]),
    "to_dot": lambda m: m["differentiate"].to_dot(),
    "networkx": lambda m: m["differentiate"].to_networkx(),
    "needed": lambda m: analysis.needed_by_outputs(m["differentiate"]),
    "constant": lambda m: analysis.constant_nodes(m["differentiate"]),
    "critical": lambda m: analysis.critical_path(m["differentiate"]),
    "none": lambda m: m["differentiate"].compile(passes=passes.NONE),
    "exact": lambda m: m["differentiate"].compile(passes=passes.EXACT),
    "default": lambda m: m["differentiate"].compile(passes=passes.DEFAULT),
    "some": lambda m: m["differentiate"].compile(list(m["differentiate"].outputs)),
}


@pytest.mark.parametrize("program", MANY)
def test_more_of_anything_costs_the_same_each(program):
    """Functions called, Python's and C's: 60 of it against 240."""
    figures = []
    for size in (60, 240):
        graph, wrt = program(size)
        made = {"graph": graph, "wrt": wrt}
        figures.append({})
        for name, stage in QUESTIONS.items():
            made[name], figures[-1][name] = counted(stage, made)
    for name in QUESTIONS:
        small, large = (figure[name] / size for figure, size in zip(figures, (60, 240), strict=True))
        assert large <= 1.3 * small + 0.5, f"{name}: {small:.1f} each grew to {large:.1f}"


@pytest.mark.parametrize("mode", ["reverse", "forward"])
def test_the_terms_of_a_sum_are_handed_to_no_rule(mode):
    """A rule is handed all operands: a call for each of n terms would copy n each."""
    graph, wrt = many_terms(40)
    called = set()
    sys.setprofile(lambda frame, event, argument: called.add(frame.f_code))
    try:
        gc.differentiate(graph, wrt, mode=mode)
    finally:
        sys.setprofile(None)
    assert ir.THROUGH.__code__ not in called and gc.differentiate.__code__ in called


def test_names_are_handed_out_without_a_copy_a_time():
    graph, _ = many_outputs(3)
    for read in (lambda: graph.outputs, lambda: graph.placeholders):
        assert read() is read()
        with pytest.raises(TypeError):
            read()["z"] = read()[next(iter(read()))]
    outputs, placeholders = graph.outputs, graph.placeholders
    graph.output("z", graph.placeholder("z"))
    assert "z" not in outputs and "z" not in placeholders
    assert list(graph.outputs) == [*outputs, "z"] and list(graph.placeholders) == [*placeholders, "z"]
    assert graph.outputs == {**outputs, "z": graph.placeholders["z"]}


# --- parts of an axis of unknown length ------------------------------------------------------------------

JOINED = {
    "roll by one": lambda y: np.concatenate([y[1:], y[:1]]),
    "roll back": lambda y: np.concatenate([y[-1:], y[:-1]]),
    "roll by more than there may be": lambda y: np.concatenate([y[3:], y[:3]]),
    "three parts": lambda y: np.concatenate([y[2:], y[1:2], y[:1]]),
    "four parts": lambda y: np.concatenate([y[4:], y[2:4], y[:1], y[1:2]]),
}
PIECEWISE = {
    "longer": lambda y: np.concatenate([y[1:], y[:2]]),
    "shorter": lambda y: np.concatenate([y[2:], y[:1]]),
    "overlapping": lambda y: np.concatenate([y[:-1], y[-2:]]),
    "even and odd": lambda y: np.concatenate([y[::2], y[1::2]]),
    "middle": lambda y: np.concatenate([y[3:], y[1:4], y[-1:]]),
    "shift register": lambda y: np.concatenate([y[1:], y[:1] * 0.5])[:5],
}


@pytest.mark.parametrize("name", JOINED)
def test_parts_add_up_to_the_whole(name):
    graph = gc.Graph("parts")
    x = y = graph.placeholder("x", ("n",))
    for _ in range(30):
        y = JOINED[name](y)
        assert y.shape == x.shape
    graph.output("y", y * x)


@pytest.mark.parametrize("name", PIECEWISE)
def test_expressions_of_sizes_stay_short(name):
    """The text of a size has a limit, and each more of a chain costs what the one before did."""
    calls = []
    graph = gc.Graph("chain")
    y = graph.placeholder("x", ("n",))
    for _ in range(4):
        y, count = counted(lambda y: PIECEWISE[name](PIECEWISE[name](PIECEWISE[name](y))), y)
        calls.append(count)
        assert len(str(y.shape)) < 200
    assert calls[3] < 2 * max(calls[1:3])
    assert y.shape[0].names == {"n"}
    assert pickle.loads(pickle.dumps(y.shape)) == y.shape


@pytest.mark.parametrize("name", [*JOINED, *PIECEWISE])
def test_chains_of_joined_parts_are_right_at_every_size(name):
    function = {**JOINED, **PIECEWISE}[name]
    graph = gc.Graph("chain")
    x = y = graph.placeholder("x", ("n",))
    for _ in range(8):
        y = function(y)
    graph.output("y", y)
    graph.output("loss", np.sum(y * y))
    d = gc.differentiate(graph, x, of="loss")
    run = gc.compile(d)
    for n in (0, 1, 2, 3, 5, 8):
        value = np.arange(1.0, n + 1)
        rows = np.eye(n)
        for _ in range(8):
            rows = function(rows)
        got = run(x=value)
        np.testing.assert_array_equal(got["y"], rows @ value)
        np.testing.assert_allclose(got["d_loss/d_x"], 2 * rows.T @ rows @ value)


def test_a_size_with_a_name_is_known_in_another_process(tmp_path):
    y = gc.Graph().placeholder("x", ("n",))
    for _ in range(9):
        y = PIECEWISE["longer"](y)
    (tmp_path / "size").write_bytes(pickle.dumps(y.shape[0]))
    program = (
        "import pickle, sys; from gradc.types import resolve_size; size = pickle.load(open(sys.argv[1], 'rb'));"
        "print(size, resolve_size(size, {'n': 4}), *size.names)"
    )
    told = subprocess.run([sys.executable, "-c", program, tmp_path / "size"], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == f"{y.shape[0]} 13 n"


@pytest.mark.parametrize("seed", range(40))
def test_sizes_keep_their_values(seed):
    """Random maxima, minima and sums of sizes, against what they were before they were put together."""
    draw = random.Random(seed)
    n, m = sizes.symbol("n"), sizes.symbol("m")
    expr = [n, m, sympy.Integer(draw.randrange(-3, 5))]
    for _ in range(8):
        a, b = draw.choice(expr), draw.choice(expr)
        expr.append(draw.choice([a + b, a - b, sympy.Max(a, b), sympy.Min(a, b), 2 * a, sympy.Max(0, sympy.Min(3, a))]))
    for e in expr:
        short = sizes.shortened(e)
        assert len(str(short)) <= sizes.LONGEST
        for i, j in [(0, 0), (0, 3), (1, 1), (2, 0), (3, 1), (7, 5)]:
            assert sizes.value_of(short, {"n": i, "m": j}) == e.subs({n: i, m: j})
