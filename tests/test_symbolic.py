"""Symbolic dimensions: what is typed once holds for every size."""

import itertools
import re

import numpy as np
import pytest

import gradc as gc
from gradc import Graph, errors
from gradc.ir import Node
from gradc.types import Dim, by_expression, resolve_size, slice_size

BOUNDS = [None, 0, 1, 2, 5, -1, -2, -5]


@pytest.mark.parametrize("step", [1, 2, 3, -1, -2, -3])
def test_the_length_of_a_slice_is_pythons_for_every_size(step):
    for start, stop in itertools.product(BOUNDS, BOUNDS):
        with by_expression():
            length = slice_size(Dim("n"), start, stop, step)
        for n in range(8):
            assert resolve_size(length, {"n": n}) == len(range(n)[start:stop:step]), f"{start}:{stop}:{step} of {n}: {length}"


INDICES = {
    "x[0]": lambda x: x[0],
    "x[-1]": lambda x: x[-1],
    "x[:, 1]": lambda x: x[:, 1],
    "x[1:]": lambda x: x[1:],
    "x[:-1, 1:]": lambda x: x[:-1, 1:],
    "x[::2]": lambda x: x[::2],
    "x[::-1]": lambda x: x[::-1],
    "x[-2:]": lambda x: x[-2:],
    "x[:2]": lambda x: x[:2],
    "x[None]": lambda x: x[None],
    "x[...]": lambda x: x[...],
    "x[..., 0]": lambda x: x[..., 0],
    "x[1:][1:] + x[2:]": lambda x: x[1:][1:] + x[2:],
    "x[1:] - x[:-1]": lambda x: x[1:] - x[:-1],
    "x[:n]": lambda x: x[: x.shape[0]],
}


def transposed(index, value, seed):
    """<seed, index(e)> for each unit e: the adjoint of a linear function."""
    basis = np.eye(value.size).reshape(value.size, *value.shape)
    return np.array([np.vdot(seed, index(e)) for e in basis]).reshape(value.shape)


@pytest.mark.parametrize("text", INDICES)
def test_basic_indexing_of_a_symbolic_dimension(text):
    index = INDICES[text]
    g = gc.Graph("g")
    x = g.placeholder("x", ("n", 3))
    y = g.output("y", index(x))
    dg = gc.differentiate(g, x, seed=True)
    compiled = dg.compile()
    for n in (1, 2, 3, 6):
        value = np.arange(3.0 * n).reshape(n, 3)
        wanted = index(value)
        seed = np.arange(1.0, 1 + wanted.size).reshape(wanted.shape)
        out = compiled(x=value, bar_y=seed)
        np.testing.assert_array_equal(out["y"], wanted)
        np.testing.assert_array_equal(out["d_y/d_x"], transposed(index, value, seed))
        np.testing.assert_array_equal(gc.evaluate(dg, x=value, bar_y=seed)[y], wanted)


@pytest.mark.parametrize("index", [0, -1, 4, (slice(None), 0)])
def test_an_index_beyond_the_end_is_found_when_the_size_is_known(index):
    g = gc.Graph("g")
    g.output("y", np.sin(g.placeholder("x", ("n", "n"))[index]))
    for run in (g.compile(), lambda x: gc.evaluate(g, x=x)):
        with pytest.raises(errors.FeedError, match=r"getitem .*test_symbolic.py.* where n = 0: .*out of bounds"):
            run(x=np.ones((0, 0)))


def test_an_extremum_of_nothing_is_found_when_the_size_is_known():
    g = gc.Graph("g")
    g.output("y", g.placeholder("x", ("n",)).max())
    for run in (g.compile(), lambda x: gc.evaluate(g, x=x)):
        with pytest.raises(errors.FeedError, match=r"where n = 0: .*no extremum"):
            run(x=np.ones(0))


def test_a_dimension_beside_a_node_is_a_number():
    g = gc.Graph("g")
    x = g.placeholder("x", ("n", 3), "float32")
    n = x.shape[0]
    g.output("mean", x.sum() / x.size)
    g.output("scaled", n * x - (2 * n + 1))
    g.output("whole", n + g.placeholder("i", (), "int8"))
    assert {node.dtype for node in g.outputs.values()} == {np.dtype("float32"), np.dtype("int8")}
    run = gc.differentiate(g, x, of="mean").compile()
    for size in (1, 4):
        value = np.arange(3 * size, dtype="float32").reshape(size, 3)
        out = run(x=value, i=np.int8(3))
        np.testing.assert_array_equal(out["mean"], value.mean(dtype="float32"))
        np.testing.assert_array_equal(out["scaled"], size * value - (2 * size + 1))
        assert out["whole"] == size + 3
        np.testing.assert_allclose(out["d_mean/d_x"], 1 / value.size, rtol=1e-6)


def test_arithmetic_of_dimensions():
    n, m = Dim("n"), Dim("m")
    sizes = {"n": 7, "m": 3}
    for size, wanted in ((2 * n + m - 1, 16), (n * m, 21), (10 - n, 3), (n // 2, 3), ((n + 1) // 4, 2), (np.int64(2) * n, 14)):
        assert resolve_size(size, sizes) == wanted
    assert n + m == m + n and n - n == 0 and 2 * n + 1 != n and n + n == 2 * n


def test_a_feed_whose_size_is_an_expression_is_checked():
    g = gc.Graph("g")
    x = g.placeholder("x", ("n",))
    g.output("y", gc.concatenate([x, x[1:]]))
    dg = gc.differentiate(g, x, seed=True)
    for run in (dg.compile(), lambda **feeds: gc.evaluate(dg, feeds)):
        run(x=np.ones(3), bar_y=np.ones(5))
        with pytest.raises(errors.FeedError, match=r"feed 'bar_y' .*n \+ Max\(0, n - 1\) is 5\), got \(4,\)"):
            run(x=np.ones(3), bar_y=np.ones(4))
    np.testing.assert_array_equal(dg.compile()(x=np.ones(3), bar_y=np.arange(5.0))["d_y/d_x"], [0, 4, 6])


def test_a_negative_dimension_is_refused_when_its_size_is_known():
    g = gc.Graph("g")
    x = g.placeholder("x", ("n",))
    g.output("y", gc.broadcast_to(gc.constant(1.0), (x.shape[0] - 2,)) * x.sum())
    assert g.compile()(x=np.ones(3))["y"].shape == (1,)
    for run in (g.compile(), lambda x: gc.evaluate(g, x=x)):
        with pytest.raises(errors.FeedError, match=r"n - 2 is -1 where n = 1"):
            run(x=np.ones(1))


NUMBERLESS = {
    "float": lambda n: n * 0.5,
    "ratio": lambda n: n / 2,
    "inverse": lambda n: 1 / n,
    "array": lambda n: np.ones(3) * n,
    "order": lambda n: n > 3,
    "truth": lambda n: not n,
    "range": lambda n: range(n),
    "zeros": lambda n: np.zeros((n, 3)),
    "int": int,
    "cast": float,
}


@pytest.mark.parametrize("name", NUMBERLESS)
def test_a_dimension_has_no_number_while_the_graph_is_built(name):
    with pytest.raises(errors.DimensionError, match=r"the symbolic dimension n has no number .*give the dimension a number"):
        NUMBERLESS[name](Dim("n"))


SUGGESTED = {
    "n + 0.5": "gc.add(n, 0.5)",
    "0.5 + n": "gc.add(0.5, n)",
    "n - 1.5": "gc.subtract(n, 1.5)",
    "1.5 - n": "gc.subtract(1.5, n)",
    "2.5 * n": "gc.multiply(2.5, n)",
    "n * 0.5": "gc.multiply(n, 0.5)",
    "1 / n": "gc.divide(1, n)",
    "n / 2": "gc.divide(n, 2)",
    "7 // n": "gc.floor_divide(7, n)",
    "n % 2": "gc.remainder(n, 2)",
    "7 % n": "gc.remainder(7, n)",
    "n ** 0.5": "gc.power(n, 0.5)",
    "2 ** n": "gc.power(2, n)",
    "n > 0": "np.where(gc.greater(n, 0), a, b)",
    "n >= 2": "np.where(gc.greater_equal(n, 2), a, b)",
    "n < 4.5": "np.where(gc.less(n, 4.5), a, b)",
    "n <= 7": "np.where(gc.less_equal(n, 7), a, b)",
    "n - 1 == 1": "np.where(gc.equal(n - 1, 1), a, b)",
}


@pytest.mark.parametrize("asked", SUGGESTED)
def test_what_a_dimension_refuses_is_quoted_and_what_to_write_is_a_node_of_that_value(asked):
    """With the user's own number, and for every size the value that Python has of it."""
    n, instead = Dim("n"), SUGGESTED[asked]
    with pytest.raises(errors.DimensionError, match=f"^{re.escape(asked)}: .* write {re.escape(instead)}, or give"):
        eval(asked, {"n": n})
    g = gc.Graph("g")
    x = g.placeholder("x", ("n",))
    g.output("y", eval(instead, {"gc": gc, "np": np, "n": n, "a": gc.constant(1), "b": gc.constant(0)}) + 0 * x.sum())
    for size in (1, 2, 7):
        assert gc.evaluate(g, x=np.ones(size))[g.outputs["y"]] == eval(asked, {"n": size})


@pytest.mark.parametrize("name", ["sqrt", "log", "cbrt", "absolute", "spacing", "multiply"])
def test_ufuncs_of_a_dimension_say_what_to_write_where_gradc_has_it(name):
    n = Dim("n")
    written = {"absolute": r"gc\.abs\(n\)", "spacing": "use it in shapes", "multiply": r"gc\.multiply\(n, 2\.5\)"}
    with pytest.raises(errors.DimensionError, match=rf"np\.{name} of a dimension.*{written.get(name, rf'gc.{name}.n.')}"):
        getattr(np, name)(*((n, 2.5) if name == "multiply" else (n,)))


def test_a_dimension_is_no_text():
    with pytest.raises(errors.DimensionError, match=r"n == 'n': a dimension is no text; .* str\(dimension\) == 'n'"):
        Dim("n") == "n"  # noqa: B015


REFUSED = {
    "step": (lambda x: x[::0], errors.ArgumentError, "not 0"),
    "float": (lambda x: x[1.5:], errors.ArgumentError, "1.5"),
    "bound": (lambda x: x[: x.shape[0] - 1], errors.ShapeError, r":n - 1 cannot be shown .* x\[:-1\]"),
    "node": (lambda x: x[x[0, 0] :], errors.DimensionError, "Python integer"),
    "too many": (lambda x: x[0, 0, 0], errors.ShapeError, "3 indices"),
    "unequal": (lambda x: x[1:] + x, errors.ShapeError, r"Max\(0, n - 1\) against n"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_typed_is_refused(name):
    ask, kind, text = REFUSED[name]
    with pytest.raises(kind, match=text):
        ask(gc.Graph("g").placeholder("x", ("n", 3)))


def test_passes_of_users_compare_and_look_up_types_as_gradc_does():
    def merge(graph):
        first, new = {}, {}
        for node in graph.nodes:
            if node.op.name == "placeholder" or node.shape == ("other", 1):
                new[node] = node
                continue
            made = Node(node.op, tuple(new[i] for i in node.inputs), node.attrs, node.type, node.origin)
            new[node] = first.setdefault((made.op, made.inputs, made.attrs, made.type), made)
        return Graph.of(graph.name, graph.placeholders, {name: new[node] for name, node in graph.outputs.items()})

    g = Graph()
    x, y = g.placeholder("x", ("n",)), g.placeholder("y", ("m",))
    g.output("a", np.sin(x) + np.sin(x))
    g.output("b", np.sin(y))
    compiled = g.compile(passes=[merge])
    assert sum(node.op.name == "sin" for node in compiled.graph.nodes) == 2
    np.testing.assert_array_equal(compiled(x=np.ones(2), y=np.ones(3))["a"], 2 * np.sin(np.ones(2)))
