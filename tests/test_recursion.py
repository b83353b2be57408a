"""Nothing recurses over what a user sizes: found in the source, and tried with little of Python's stack left."""

import ast
import sys
from math import factorial
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

import gradc as gc
from gradc import analysis, passes

ROOT = Path(gc.__file__).parent

BOUNDED = {
    "types:_each": "as deep as an expression of 150 characters",
    "types:_difference": "as deep as an expression of 150 characters",
    "types:resolve": "as deep as the attributes of an op nest, which its declaration says",
    "types:has_dim": "as deep as the attributes of an op nest",
    "types:key_of": "as deep as the attributes of an op nest",
    "types:names_in": "as deep as the attributes of an op nest",
    "matching:match": "as deep as a spelling, which its declaration says",
    "matching:_match_all": "as many operands as a spelling has, and as deep",
    "matching:recognise": "once: in front of what only moves entries",
    "ops.written:squared": "_DEPTH deep",
    "ops.written:_squared_product": "_DEPTH deep",
    "ops.written:_without_size": "_DEPTH deep",
    "ops.written:is_nonnegative": "_DEPTH deep",
    "ops.pairs:_role": "once: of what is squared",
    "ops.gather:add_into": "once: float16 in float32",
    "ops.scan:_cumsum": "once: float16 in float32",
    "ops.shaping:_add_n": "once: float16 in float32",
    "ops.slices:_placed_sum": "once: float16 in float32",
    "ops.windows:overlap_add": "once: float16 in float32",
    "numpy_api:_placeholders": "as deep as the containers among a function's arguments nest",
    "numpy_api:_results": "as deep as the containers that a function returns nest",
    "registry:_shown": "as deep as an edge of the conventions nests",
    "ops.products:_interleaved": "once: a number of two parts",
    "ops.rearranging:roll": "once: of the flat array",
    "ops.shaping:reshape": "once: in the other order",
    "ops.joining:block.build": "64 deep: an error comes before",
    "ops.masks:_Masks._look": "MOST_NODES deep",
    "ops.masks:_Masks._of": "MOST_NODES deep",
    "backends.numpy:Emitter._define_view": "once: the views that it is a view of are defined before",
    "backends.numpy:Emitter._view_expression": "once",
    "backends.numpy:Emitter._whole": "once",
}
"""Functions that may call themselves, and how deep."""


def functions(module, tree):
    """(qualified name, the function, the scopes around it: their names, and which are classes) of every function."""
    stack = [(node, (), ()) for node in tree.body]
    while stack:
        node, around, classes = stack.pop()
        is_function = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        if is_function:
            yield f"{module}:{'.'.join((*around, node.name))}", node, around, classes
        if is_function or isinstance(node, ast.ClassDef):
            around, classes = (*around, node.name), (*classes, not is_function)
        stack += [(child, around, classes) for child in ast.iter_child_nodes(node)]


def imported(tree):
    """What the names that a module imports from gradc stand for: a function of a module, or a module."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "gradc":
            module = node.module.removeprefix("gradc").removeprefix(".")
            for alias in node.names:
                found[alias.asname or alias.name] = (module, alias.name)
    return found


def targets(node, module, around, classes, names):
    """The qualified names that the names in a function, and the attributes of self and of modules, may stand for."""
    scopes = [(*around, node.name)[:k] for k in range(len(around) + 2) if k == 0 or not (*classes, False)[k - 1]]
    for used in (n for child in node.body for n in ast.walk(child)):
        if isinstance(used, ast.Name) and isinstance(used.ctx, ast.Load):
            yield "{}:{}".format(*names.get(used.id, ("", "")))
            yield from (f"{module}:{'.'.join((*scope, used.id))}" for scope in scopes)
        if isinstance(used, ast.Attribute) and isinstance(used.value, ast.Name):
            if used.value.id in ("self", "cls"):
                yield f"{module}:{'.'.join((*around, used.attr))}"
            elif used.value.id in names:
                package, name = names[used.value.id]
                yield f"{package}.{name}:{used.attr}".removeprefix(".")


def called(trees):
    """An edge from each function to every function that it names; `trees` are modules by name."""
    graph = nx.DiGraph()
    every = {name: (module, *rest) for module, tree in trees.items() for name, *rest in functions(module, tree)}
    names = {module: imported(tree) for module, tree in trees.items()}
    for name, (module, node, around, classes) in every.items():
        found = targets(node, module, around, classes, names[module])
        graph.add_edges_from((name, target) for target in found if target in every)
    return graph


def circles(graph):
    """The functions that come back to themselves."""
    for component in nx.strongly_connected_components(graph):
        if len(component) > 1 or any(graph.has_edge(n, n) for n in component):
            yield component


def test_no_function_calls_itself_unless_how_deep_is_known():
    paths = [(".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), p) for p in ROOT.rglob("*.py")]
    graph = called({name: ast.parse(path.read_text()) for name, path in paths})
    assert len(graph) > 1000
    assert {name for component in circles(graph) for name in component} == set(BOUNDED)


def test_circles_are_found():
    source = """
def a(n): return b(n)
def b(n): return [a(i) for i in n]
def c(n): return map(c, n)
def d(n): return a(n)
def e():
    def f(n): return f(n)
class G:
    def a(self): return a(1)
    def h(self): return self.h()
    def i(self): return self.j
    def j(self): return other.k()
"""
    other = "from gradc.m import G, l\ndef k(): return l()\n"
    trees = {"m": ast.parse("from gradc import other\n" + source + "def l(): return other.k()"), "other": ast.parse(other)}
    found = sorted(map(sorted, circles(called(trees))))
    assert found == [["m:G.h"], ["m:a", "m:b"], ["m:c"], ["m:e.f"], ["m:l", "other:k"]]


# --- programs as deep as Python's stack ------------------------------------------------------------------

SIZE, ROOM = 300, 150
"""Operations in a row, and how many calls deep the stack may grow from here: what recurses over one needs more."""


@pytest.fixture
def little_stack():
    """Little of Python's stack is left: what recurses over 300 of anything fails."""
    depth, frame = 0, sys._getframe()
    while frame is not None:
        depth, frame = depth + 1, frame.f_back
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(depth + ROOM)
    yield
    sys.setrecursionlimit(limit)


def test_the_stack_is_little(little_stack):
    def down(n):
        return n and down(n - 1)

    assert down(ROOM // 2) == 0
    with pytest.raises(RecursionError):
        down(SIZE)


def negated_terms(n):
    """A variable used n times, every second term negated: two uses of one node n times, and a sum of n adjoints."""
    g = gc.Graph("uses")
    x = g.placeholder("x")
    y = x
    for k in range(n):
        y = y + x if k % 2 else y - x * 2.0
    g.output("y", y)
    return g


def sum_of_terms(n):
    """One n-ary sum, of which every second term is negated."""
    g = gc.Graph("sum")
    x = g.placeholder("x")
    g.output("y", gc.ops.shaping.add_n(*[-x if k % 2 else x * 2.0 for k in range(n)]))
    return g


def likelihood(n):
    g = gc.Graph("likelihood")
    w, data = g.placeholder("x"), np.linspace(-1, 1, n)
    loss = 0.0
    for value in data[::3].tolist():
        loss = loss + np.exp(-(w * value)) + np.logaddexp(0.0, -value * w) + np.log1p((value - w) ** 2)
    g.output("y", loss)
    return g


def quotients(n):
    g = gc.Graph("quotients")
    x = g.placeholder("x")
    z, y = x * 0.0 + 1.001, x * 2.0
    for _ in range(n):
        y = y / z
    g.output("y", (y + y * 4.0) * 0.5)
    return g


def runge_kutta(n):
    g = gc.Graph("rk4")
    x = y = g.placeholder("x")
    h = 1.0 / n

    def slope(y):
        return np.sin(y) - y * x

    for _ in range(n // 10):
        k1 = slope(y)
        k2 = slope(y + h / 2 * k1)
        k3 = slope(y + h / 2 * k2)
        y = y + h / 6 * (k1 + 2.0 * k2 + 2.0 * k3 + slope(y + h * k3))
    g.output("y", y)
    return g


def recurrence(n):
    g = gc.Graph("recurrence")
    x = y = g.placeholder("x")
    for _ in range(n):
        y = x - y * x
    g.output("y", y)
    return g


def views(n):
    g = gc.Graph("views")
    x = g.placeholder("x")
    y, total = gc.broadcast_to(x, (2, 3)), 0.0
    for _ in range(n // 2):
        y = y.T.reshape(2, 3)[::-1]
        total = total + np.log(np.sum(np.exp(y)))
    g.output("y", total)
    return g


def masks(n):
    g = gc.Graph("masks")
    x = g.placeholder("x")
    y = x
    for _ in range(n // 2):
        y = np.where(y > 0, np.sqrt(y) * 1.01, y * 0.5)
    g.output("y", y)
    return g


def joins(n):
    g = gc.Graph("joins")
    x = g.placeholder("x")
    g.output("y", np.sum(np.concatenate([np.reshape(x * k, (1,)) for k in range(n)]) ** 2))
    return g


PROGRAMS = [negated_terms, sum_of_terms, likelihood, quotients, runge_kutta, recurrence, views, masks, joins]


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_as_long_as_people_write_need_no_stack(program, little_stack):
    g = program(SIZE)
    d = gc.differentiate(g, "x")
    f = gc.differentiate(g, "x", mode="forward")
    assert len(str(d).splitlines()) > SIZE // 2 and len(d.to_dot().splitlines()) > SIZE // 2
    gc.verify(d)
    repr((d, d.grad["x"], f))
    assert analysis.needed_by_outputs(d) | set(d.placeholders.values()) == set(d.nodes)
    assert len(analysis.topological_order(d)) == len(d.nodes)
    trace = gc.evaluate(d, x=0.7)
    tangent = gc.compile(f)(x=0.7, dot_x=1.0)["dot_y"]
    for pipeline in (passes.NONE, passes.EXACT, passes.DEFAULT):
        run = d.compile(passes=pipeline)
        got = run(x=0.7)
        assert run.source
        np.testing.assert_allclose(got["y"], trace[d.outputs["y"]], rtol=1e-9)
        np.testing.assert_allclose(got["d_y/d_x"], trace[d.grad["x"]], rtol=1e-9)
        np.testing.assert_allclose(got["d_y/d_x"], tangent, rtol=1e-9)


FUNCTIONS = {
    "1 / x": (lambda x: 1 / x, factorial(8) / 0.7**9),
    "1 / (1 + x x)": (lambda x: 1 / (1 + x * x), 4732.844788),
    "exp(sin(x) x) / x": (lambda x: np.exp(np.sin(x) * x) / x, 1000658.370),
    "sqrt(1 + sin(x)**2)": (lambda x: np.sqrt(1 + np.sin(x) ** 2), -172.1398089),
}
"""Functions, and their eighth derivatives at 0.7: by hand, and by mpmath in 40 digits."""


def derivative(function, order, between=passes.NONE):
    g = gc.Graph("orders")
    x, of = g.placeholder("x"), "y"
    g.output(of, function(x))
    for _ in range(order):
        g = gc.differentiate(passes.optimise(g, between), x, of=of)
        of = list(g.outputs)[-1]
    return g, of


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("pipeline", [passes.EXACT, passes.DEFAULT], ids=["exact", "default"])
def test_derivatives_of_high_order(name, pipeline, little_stack):
    function, expected = FUNCTIONS[name]
    g, of = derivative(function, 8, passes.EXACT)
    got = gc.compile(g, [of], passes=pipeline)(x=0.7)[of]
    np.testing.assert_allclose(got, expected, rtol=1e-8)


def test_the_twelfth_derivative_optimised_between_orders():
    g, of = derivative(lambda x: 1 / x, 12, passes.EXACT)
    assert len(g.nodes) < 100_000
    np.testing.assert_allclose(gc.compile(g, [of])(x=0.7)[of], factorial(12) / 0.7**13, rtol=1e-10)
