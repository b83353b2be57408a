"""`==` and `!=` build nodes, as in NumPy; gradc itself tells nodes apart by identity."""

from fractions import Fraction
from unittest import mock

import numpy as np
import pytest
from random_graphs import build

import gradc as gc
from gradc import analysis, errors, plan, runtime, tiles
from gradc.ir import FUNCTIONS, Edge, Node, Origin, Role
from gradc.testing.ops import Kit, Subject

# --- nodes beside anything that NumPy compares with --------------------------------------------------------

X = np.array([[1.0, np.nan, -0.0], [2.0, np.inf, 3.0]])
GROUP = np.array([0, 1, 1])
OTHERS = {
    "itself": lambda x, group: (x, x),
    "node": lambda x, group: (x, group),
    "broadcast": lambda x, group: (x, x[:, :1]),
    "array": lambda x, group: (x, X),
    "number": lambda x, group: (x, 2),
    "float": lambda x, group: (x, float("nan")),
    "bool": lambda x, group: (group, True),
    "scalar": lambda x, group: (group, np.int8(1)),
    "narrow": lambda x, group: (x, np.float32(2)),
    "list": lambda x, group: (x, [1, 2, 3]),
    "tuple": lambda x, group: (group, (0, 0, 1)),
    "range": lambda x, group: (group, range(3)),
    "nested": lambda x, group: (x, [[1.0], [2.0]]),
    "large": lambda x, group: (group, np.array(2**53 + 1)),
}


@pytest.mark.parametrize("passes", [gc.passes.NONE, gc.passes.EXACT, gc.passes.DEFAULT], ids=["NONE", "EXACT", "DEFAULT"])
@pytest.mark.parametrize("name", OTHERS)
def test_equality_is_numpys(name, passes):
    def compared(x, group):
        a, b = OTHERS[name](x, group)
        return {"eq": a == b, "ne": a != b, "qe": b == a, "en": b != a}

    graph = gc.trace(compared, gc.spec((2, 3)), gc.spec(3, "int64"))
    got = graph.compile(passes=passes)(x=X, group=GROUP)
    for key, want in compared(X, GROUP).items():
        assert got[key].dtype == bool and np.array_equal(got[key], want), key


PROGRAMS = {
    "mask": lambda x, g, w: np.sum((g == w) * x),
    "where": lambda x, g, w: np.sum(x, where=(g == w)),
    "ufunc": lambda x, g, w: np.multiply(x, g == w).sum(),
    "difference": lambda x, g, w: (x - (g != w)).sum(),
    "invert": lambda x, g, w: (~(g == w) * x).sum(),
    "and": lambda x, g, w: (x * ((g == w) & (x > 0))).sum(),
    "mean": lambda x, g, w: x.sum() * np.mean(g == w),
    "select": lambda x, g, w: np.select([g == w, g == 0], [x, 2 * x], 0.0).sum(),
    "one hot": lambda x, g, w: (x @ (g[:, None] == np.arange(2))).sum() + (np.arange(2) == g[:, None]).sum(),
    "none": lambda x, g, w: (x * (x == None)).sum() + (~(g == None) * x).sum(),  # noqa: E711
    "text": lambda x, g, w: x.sum() * np.mean(g == "a") + np.sum(x, where=x != "a"),
    "floating": lambda x, g, w: (x * (x == x.max())).sum(),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_that_compare_are_those_of_numpy(name):
    fn, x, which = PROGRAMS[name], np.array([1.0, 2.0, 3.0]), np.array(1)
    graph = gc.trace(fn, gc.spec(3), gc.spec(3, "int64"), gc.spec((), "int64"))
    names = list(graph.placeholders)
    feeds = dict(zip(names, (x, GROUP, which), strict=True))
    assert graph.compile()(feeds)["out"] == fn(x, GROUP, which)
    gc.testing.check_gradients(graph, feeds, wrt=names[0], order=1)


def test_what_is_no_array_is_never_equal():
    x = gc.Graph().placeholder("x", 3)
    for other in (None, "x", b"x"):
        for equal, unequal in ((x == other, x != other), (other == x, other != x)):
            assert isinstance(equal, np.bool) and isinstance(unequal, np.bool)  # so that ~ negates
            assert not equal and unequal
    assert (x == object()) is False and (x != {}) is True
    assert x == mock.ANY and not x != mock.ANY  # noqa: SIM202
    for number in (Fraction(1), 1j, np.array("a"), [None]):
        with pytest.raises(errors.DTypeError, match="equal: "):
            x == number  # noqa: B015
    with pytest.raises(errors.ShapeError, match=r"equal: shapes \(3,\) and \(2,\) do not broadcast"):
        x == [1, 2]  # noqa: B015


@pytest.mark.parametrize("flag", [True, False, np.True_, np.False_])
def test_a_flag_chooses_as_in_numpy(flag):
    graph = gc.trace(lambda x: np.where(flag, x, 2 * x), gc.spec(3))
    assert graph.compile()(x=np.arange(3.0))["out"].tolist() == np.where(flag, np.arange(3.0), 2 * np.arange(3.0)).tolist()
    gc.testing.check_gradients(graph, {"x": np.arange(3.0)})


BY_TRUTH = {
    "if": lambda a, b: 1 if a == b else 2,
    "not": lambda a, b: not a != b,  # noqa: SIM202
    "in": lambda a, b: a in [b],
    "index": lambda a, b: [b].index(a),
    "count": lambda a, b: (b,).count(a),
    "remove": lambda a, b: [b].remove(a),
    "tuples": lambda a, b: (a, 1) == (b, 1),
    "sorted": lambda a, b: sorted([a, b]),
    "max": lambda a, b: max(a, 0),
    "between": lambda a, b: 0 < a < 1,
    "and": lambda a, b: a == b and b,
}


@pytest.mark.parametrize("name", BY_TRUTH)
@pytest.mark.parametrize("shape", [(), (3,), ("n",)])
def test_a_choice_by_a_comparison_is_an_error_that_says_what_to_write(name, shape):
    g = gc.Graph()
    with pytest.raises(errors.TraceError, match=r"np\.where\(condition, a, b\); .*\(0 < x\) & \(x < 1\).*\n.* a is b ") as caught:
        BY_TRUTH[name](g.placeholder("a", shape), g.placeholder("b", shape))
    assert f"at {__file__}:" in str(caught.value)


def test_in_sets_and_dictionaries_a_node_is_itself():
    g = gc.Graph()
    nodes = [g.placeholder(f"x{k}") for k in range(1000)]
    numbers = {node: k for k, node in enumerate(nodes)}
    assert all(numbers[node] == k for k, node in enumerate(nodes))
    assert nodes[0] not in set(nodes[1:]) and nodes[0] in set(nodes) and [nodes[0]].index(nodes[0]) == 0


def test_edges_and_origins_are_equal_by_identity_of_their_nodes():
    g = gc.Graph()
    x, y = g.placeholder("x"), g.placeholder("y")
    assert Edge(x, 0) == Edge(x, 0) == (x, 0) and hash(Edge(x, 0)) == hash((x, 0))
    assert Edge(x, 0) != Edge(y, 0) and Edge(x, 0) != (x, 1) and Edge(x, 0) != (x,) and Edge(x, 0) != "x"
    origin = Origin(Role.ADJOINT, x, Edge(x, 0))
    assert origin == Origin(Role.ADJOINT, x, Edge(x, 0)) != Origin(Role.ADJOINT, y, Edge(x, 0))
    g.output("y", x * x + y)
    dg = gc.differentiate(g, x)
    (user, _), *_ = dg.partial_adjoints(x)
    assert dg.partial_adjoints(x)[user, 1].origin.edge == (user, 1)


# --- gradc itself ------------------------------------------------------------------------------------------


def _unused(self, other):
    raise AssertionError("a node was compared")


@pytest.fixture
def uncomparable(monkeypatch):
    """Nodes that cannot be compared: what goes by `==` inside of gradc is seen."""
    monkeypatch.setattr(Node, "__eq__", _unused)
    monkeypatch.setattr(Node, "__ne__", _unused)


@pytest.mark.parametrize("name", [name for name, f in FUNCTIONS.items() if f.samples is not None])
def test_gradc_compares_no_nodes(name, uncomparable):
    kit = Kit(FUNCTIONS[name])
    samples = kit.function.samples()
    for sample in (samples[0], samples[-1]):
        subject = Subject(kit, sample)
        graph = subject.joint
        if subject.has_gradient:
            graph = gc.differentiate(graph, subject.variables[0], of=subject.targets[0], mode="forward", on_disconnected="zeros")
        for text in (str(graph), graph.to_dot(), repr(graph)):
            assert text
        gc.verify(graph)
        assert graph.number(graph.nodes[-1]) == len(graph.nodes)
        for passes in (gc.passes.NONE, gc.passes.EXACT, gc.passes.DEFAULT):
            gc.compile(subject.joint, passes=passes)(subject.feeds)
        values = gc.evaluate(subject.joint, subject.feeds)
        assert str(values)
        for question in (analysis.needed_by_outputs, analysis.constant_nodes, analysis.critical_path, analysis.topological_order):
            assert question(graph) is not None


@pytest.mark.parametrize("kind", ["short", "long", "tiled", "in any order"])
def test_no_way_of_running_compares_nodes(kind, uncomparable, monkeypatch):
    if kind == "long":
        monkeypatch.setattr(runtime, "_LONG_NODES", 0)
    if kind == "tiled":
        monkeypatch.setattr(tiles, "TILE_BYTES", 16)
        monkeypatch.setattr(tiles, "LEAST_TILES", 2)
    if kind == "in any order":
        monkeypatch.setattr(plan, "_SMALL_BYTES", 0)
    loops = 0
    for seed in range(30):
        g, feeds = build(np.random.default_rng(seed).integers(0, 8 * 7 * 49 * 20, 10).tolist())
        graph = gc.differentiate(g, list(g.placeholders), of="loss", on_disconnected="zeros")
        step = gc.compile(graph, updates={"x0": "next"})
        fed = {name: np.array(value) for name, value in feeds.items()}
        step(fed)
        step(fed, out={name: value for name, value in step(fed).items() if name == "loss"})
        loops += step.source.count("in tiles")
        assert step.profile(fed, repeat=1).rows
    assert (loops > 0) == (kind == "tiled")


def test_training_compares_no_nodes(uncomparable):
    g = gc.Graph("mlp")
    x, y, w = g.placeholder("x", ("n", 4)), g.placeholder("y", "n", "int64"), g.placeholder("w", (4, 3))
    g.output("loss", gc.softmax_cross_entropy(gc.relu(x @ w) @ np.ones((3, 3)), y).mean())
    dg = gc.differentiate(g, [w, x])
    dg.output("next", w - 0.1 * dg.grad[w] + 0 * dg.adjoint(x).sum())
    ddg = gc.differentiate(dg, [x, w], of="d_loss/d_w", seed=True)
    for graph in (dg, ddg):
        step = graph.compile(updates={"w": "next"})
        feeds = {"x": np.ones((2, 4)), "y": np.array([0, 2]), "w": np.ones((4, 3)), "bar_d_loss_d_w": np.ones((4, 3))}
        step({name: feeds[name] for name in graph.placeholders})
        assert (
            step.source and str(step.memory(n=2)) and step.profile({name: feeds[name] for name in graph.placeholders}, repeat=1)
        )
    for node in dg.derivative.adjoints:
        dg.partial_adjoints(node)
    gc.testing.check_gradients(g, {"x": np.eye(2, 4), "y": np.array([0, 2]), "w": np.arange(12.0).reshape(4, 3)}, wrt="w")


def test_the_networkx_view_holds_the_nodes_as_data(uncomparable):
    import networkx as nx

    g = gc.Graph()
    x = g.placeholder("x", 3)
    y = g.output("y", (x * x).sum())
    view = g.to_networkx()
    assert [view.nodes[serial]["node"].op.name for serial in nx.topological_sort(view)] == ["placeholder", "multiply", "sum"]
    assert nx.ancestors(view, y.serial) == {node.serial for node in g.nodes[:-1]}
    assert nx.is_directed_acyclic_graph(view) and nx.dag_longest_path(nx.DiGraph(view))[0] == x.serial


@pytest.mark.parametrize(
    "ask", [lambda x, y: x in [y, x], lambda x, y: [y, x].index(x), lambda x, y: x != y, lambda x, y: x == [1, 2]]
)
def test_shapes_that_do_not_fit_tell_how_nodes_are_found(ask):
    g = gc.Graph("g")
    with pytest.raises(errors.ShapeError, match=r"(?s)do not broadcast.*at .*test_comparisons.py.*any\(a is b for b in nodes\)"):
        ask(g.placeholder("x", 3), g.placeholder("y", 7))
