"""Rewritings keep the numbers: integers that wrap, sums along other axes, zeros of either sign, nothing at all."""

import numpy as np
import pytest

import gradc as gc
from gradc import errors, passes
from gradc.ops.slices import place

FLOATS = np.array([1.0, -2.0, 3.0])
UNSIGNED = np.array([1, 2, 200], "u1")
SIGNED = np.array([-128, 1, 5], "i1")
COUNTS = np.array([1, 2, 3], "u8")
SQUARE = np.random.default_rng(0).normal(size=(3, 3))
OTHER = SQUARE[::-1] + 1


def const(value, dtype):
    return gc.constant(np.array(value, dtype))


def total(x, axis=None, keepdims=False):
    return np.exp(x).sum(axis=axis, keepdims=keepdims)


CASES = {
    "-(u / c)": (lambda x: -(x / const(3, "u1")), UNSIGNED),
    "-(f * c)": (lambda x: -(x * const(3, "u1")), FLOATS),
    "-(u * c)": (lambda x: -(x * const(3, "u1")), UNSIGNED),
    "-(i / c)": (lambda x: -(x / const(-128, "i1")), SIGNED),
    "(-u) / (-u)": (lambda x, y: (-x) / (-y), UNSIGNED, UNSIGNED[::-1].copy()),
    "(-u) * f": (lambda x, y: (-x) * y, UNSIGNED, FLOATS),
    "(-u) * c": (lambda x: (-x) * const(2.5, "f8"), UNSIGNED),
    "f + (-u)": (lambda x, y: x + (-y), FLOATS, UNSIGNED),
    "f - (-u)": (lambda x, y: x - (-y), FLOATS, UNSIGNED),
    "i2 + (-i1)": (lambda x, y: x + (-y), SIGNED.astype("i2"), SIGNED),
    "f + c f": (lambda x, y: x + y * -2.0 + (-3.0) * x, FLOATS, OTHER),
    "f - c f": (lambda x, y: x - (-2.0) * y, FLOATS, FLOATS[::-1].copy()),
    "where -0": (lambda x: np.where(x > 0, x, -0.0), FLOATS),
    "where -0 first": (lambda x: np.where(x > 0, -0.0, x), FLOATS),
    "where 0": (lambda x: np.where(x > 0, x, 0.0), FLOATS),
    "softmax": (lambda x: np.exp(x) / total(x, 1, True), SQUARE),
    "other axis": (lambda x: np.exp(x) / total(x, 1), SQUARE),
    "leading axis": (lambda x: np.exp(x) / total(x, 0), SQUARE),
    "turned": (lambda x: np.exp(x) / total(x, 0).reshape(3, 1), SQUARE),
    "scaled": (lambda x, g: g * np.exp(x) / total(x, 1), SQUARE, OTHER),
    "part": (lambda x, g: (g / total(x, 1, True)).sum(axis=1, keepdims=True) * np.exp(x), SQUARE, OTHER),
    "part, all": (lambda x, g: (g / total(x)).sum(axis=1, keepdims=True) * np.exp(x), SQUARE, OTHER),
    "part, other axis": (lambda x, g: (g / total(x, 1)).sum(axis=1) * np.exp(x), SQUARE, OTHER),
    "part, crossed": (lambda x, g: (g / total(x, 1, True)).sum(axis=0) * np.exp(x), SQUARE, OTHER),
    "part, turned": (lambda x, g: (g / total(x, 1, True)).sum(axis=1) * np.exp(x), SQUARE, OTHER),
    "softmax / exp": (lambda x: gc.softmax(x, axis=0) / np.exp(x), SQUARE),
    "softmax / total": (lambda x, g: g / (gc.softmax(x, axis=0) * total(x, 1, True)), SQUARE, OTHER),
    "softmax of counts": (lambda x: np.exp(x) / total(x, keepdims=True), COUNTS),
    "log softmax of counts": (lambda x: np.log(np.exp(x) / total(x, keepdims=True)), COUNTS),
    "logsumexp of counts": (lambda x: np.log(total(x)), COUNTS),
    "sigmoid of a difference": (lambda x, y: np.exp(x) / (np.exp(x) + np.exp(y)), COUNTS, COUNTS[::-1].copy()),
    "logaddexp of counts": (lambda x, y: np.log(np.exp(x) + np.exp(y)), COUNTS, COUNTS[::-1].copy()),
    "no rows": (lambda x: np.log(total(x, 0)), np.zeros((0, 3))),
    "no entries": (lambda x: np.log(total(x)), np.zeros(0)),
    "softmax of no rows": (lambda x: np.exp(x) / total(x, 0, True), np.zeros((0, 3))),
    "no axes": (lambda x: np.log(total(x, ())), SQUARE),
    "float32 / float64": (lambda x, y: (x / y) * y, FLOATS.astype("f4"), FLOATS),
    "integer / float": (lambda x, y: (x / y) * y, SIGNED, FLOATS),
    "broadcast by what goes": (lambda x, y: (x / y) * y, np.array(2.0), FLOATS),
    "subnormal / 4": (lambda x: x / 4.0, FLOATS.astype("f2") * np.float16(6e-8)),
    "halves, doubled": (lambda x, y: (x * 0.5 - y / 4.0 * 2.0) * 6.0, FLOATS, FLOATS + 0.3),
    "halves of quotients": (lambda x, y: (x * 0.5 / y + y * 0.5) * 2.0, FLOATS, FLOATS + 0.3),
    "halves, other dtype": (
        lambda x, y: (x * np.float32(0.5) + y * np.float32(0.5)) * const(2.0, "f8"),
        *[FLOATS.astype("f4")] * 2,
    ),
    "halves, large": (lambda x, y: (x * 0.5 + y * 0.5) * 1.5, FLOATS * 5e307, FLOATS * 5e307),
    "slice - whole": (lambda x, y: place(x, ((1, 4, 1),), (5,)) - y, FLOATS, np.arange(5.0)),
    "whole - slice": (lambda x, y: y - place(x, ((1, 4, 1),), (5,)), FLOATS, np.arange(5.0)),
    "slice - slice": (lambda x, y: place(x, ((1, 4, 1),), (5,)) - place(y, ((0, 3, 1),), (5,)), FLOATS, FLOATS * 7),
    "slice - row": (lambda x, y: place(x, ((1, 4, 1),), (5,)) - y, FLOATS, np.array(2.0)),
    "scalings": (lambda x: x * 1e200 * 1e-200, FLOATS),
}


def both(function, operands, pipeline):
    g = gc.Graph("g")
    nodes = [g.placeholder(f"x{k}", a.shape, str(a.dtype)) for k, a in enumerate(operands)]
    g.output("y", function(*nodes))
    feeds = {f"x{k}": a for k, a in enumerate(operands)}
    return gc.evaluate(g, feeds)[g.outputs["y"]], gc.compile(g, passes=pipeline)(feeds)["y"]


@pytest.mark.parametrize("name", CASES)
def test_exact_passes_change_no_bit(name):
    function, *operands = CASES[name]
    expected, got = both(function, operands, passes.EXACT)
    assert got.dtype == expected.dtype and got.shape == expected.shape
    assert got.tobytes() == expected.tobytes(), (expected, got)


@pytest.mark.parametrize("name", CASES)
def test_default_passes_keep_the_digits(name):
    function, *operands = CASES[name]
    expected, got = both(function, operands, passes.DEFAULT)
    assert got.dtype == expected.dtype and got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=1e-12 if got.dtype == np.float64 else 1e-6)


def test_what_has_no_value_gets_none():
    _, got = both(lambda x, y: x * np.sqrt(y) * np.sqrt(y), (FLOATS, FLOATS), passes.DEFAULT)
    assert np.isnan(got).tolist() == [False, True, False]


def test_a_product_and_its_opposite_are_one():
    g = gc.Graph("g")
    x, y = g.placeholder("x", 3), g.placeholder("y", 3)
    g.output("a", x + y * 0.1)
    g.output("b", x + y * -0.1)
    assert [n.op.name for n in gc.compile(g).graph.nodes].count("multiply") == 1


def test_a_common_power_of_two_is_taken_out():
    g = gc.Graph("g")
    x, y = g.placeholder("x", 3), g.placeholder("y", 3)
    g.output("a", (x * 0.5 + y * 0.5 / x) * 2.0)
    assert [n.op.name for n in gc.compile(g).graph.nodes if n.inputs] == ["divide", "add"]


def test_the_gradient_of_a_quotient_by_one_plus_exp_has_no_holes():
    g = gc.Graph("g")
    x = g.placeholder("x", 5)
    g.output("y", np.sum(np.log(np.sqrt(x**2 + 1)) / (1 + np.exp(-x))))
    exe = gc.compile(gc.differentiate(g, x), "d_y/d_x")
    at = np.array([-800.0, -30.0, 0.0, 30.0, 800.0])
    with np.errstate(all="ignore"):
        s, r = 1 / (1 + np.exp(-at)), 1 / (1 + np.exp(at))
    expected = at / (at**2 + 1) * s + np.log(at**2 + 1) / 2 * s * r
    np.testing.assert_allclose(exe(x=at)["d_y/d_x"], expected, rtol=1e-12, atol=1e-300)
    assert [n.op.name for n in exe.graph.nodes].count("exp") == 1


SUMS = {
    "rows": (lambda x, y: x.sum(axis=2), 1),
    "rows, kept": (lambda x, y: x.sum(axis=2, keepdims=True), 1),
    "last two": (lambda x, y: x.sum(axis=(1, 2)), 1),
    "first": (lambda x, y: x.sum(axis=0), 1),
    "first two, kept": (lambda x, y: x.sum(axis=(0, 1), keepdims=True), 1),
    "middle": (lambda x, y: x.sum(axis=1), 0),
    "all": (lambda x, y: x.sum(), 0),
    "squares": (lambda x, y: np.square(x).sum(axis=2), 1),
    "products": (lambda x, y: (x * y).sum(axis=2), 1),
    "products, all": (lambda x, y: (x * y).sum(), 1),
    "products, used again": (lambda x, y: (x * y).sum(axis=2, keepdims=True) + x * y, 1),
    "products, broadcast": (lambda x, y: (x * y[0]).sum(axis=2), 1),
    "products, of a view": (lambda x, y: (x.T * y.T).sum(axis=2), 1),
    "a view": (lambda x, y: x[:, ::2].sum(axis=2), 0),
    "nothing": (lambda x, y: x.sum(axis=()), 0),
    "one by one": (lambda x, y: x[:, :, :, None].sum(axis=3), 0),
    "turned": (lambda x, y: x.T.sum(axis=2), 0),
    "counts": (lambda x, y: x.astype("i8").sum(axis=2), 0),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", SUMS)
def test_sums_that_blas_adds(name, dtype):
    function, products = SUMS[name]
    rng = np.random.default_rng(0)
    x, y = rng.random((2, 4, 5, 7)).astype(dtype)
    expected, got = both(function, (x, y), passes.DEFAULT)
    assert got.dtype == expected.dtype and got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=1e-6 if dtype == "float32" else 1e-14)
    g = gc.Graph("sums")
    g.output("y", function(g.placeholder("x", x.shape, dtype), g.placeholder("y", y.shape, dtype)))
    ops = [n.op.name for n in gc.compile(g).graph.nodes]
    assert ops.count("matmul") + ops.count("vecdot") == products and ops.count("sum") == 1 - products


@pytest.mark.parametrize("special", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("axis", [0, 1])
def test_sums_that_blas_adds_know_infinity(axis, special):
    x = np.ones((10, 10))
    x[3, 4] = special
    _, got = both(lambda x: x.sum(axis=axis), (x,), passes.DEFAULT)
    np.testing.assert_array_equal(got, x.sum(axis=axis))
    _, got = both(lambda x: (x * x).sum(axis=1), (x,), passes.DEFAULT)
    np.testing.assert_array_equal(got, (x * x).sum(axis=1))


@pytest.mark.parametrize(
    "function", [lambda x: x.sum(axis=1), lambda x: (x * x).sum(axis=1), lambda x: x.T.reshape(-1, 90).sum(axis=0)]
)
def test_sums_that_blas_adds_are_as_accurate(function):
    x = np.random.default_rng(0).random((90, 256))
    expected, got = both(function, (x,), passes.DEFAULT)
    exact = function(x.astype(np.longdouble))
    ours, numpys = [np.sqrt(np.mean(((v - exact) / exact) ** 2)) for v in (got, expected)]
    assert ours < 1.7 * numpys


@pytest.mark.parametrize(
    "shape, products", [((10_000,), 1), ((90, 1000), 1), ((10_007,), 0), ((7, 9, 401), 0), ((300,), 0), ((5, 300), 0)]
)
def test_long_sums_are_added_in_blocks(shape, products):
    """Where a block divides their length: the sums of blocks by BLAS, and those pairwise."""
    x = np.random.default_rng(0).random(shape)
    expected, got = both(lambda x: x.sum(axis=-1), (x,), passes.DEFAULT)
    np.testing.assert_allclose(got, expected, rtol=1e-15 * 3)
    g = gc.Graph("sums")
    g.output("y", g.placeholder("x", shape).sum(axis=-1))
    ops = [n.op.name for n in gc.compile(g).graph.nodes]
    assert ops.count("matmul") == products and ops.count("sum") == 1


def test_sums_of_symbolic_sizes():
    """Of a known number of terms, whatever the number of sums; a sum of unknown length stays."""
    g = gc.Graph("symbolic")
    x = g.placeholder("x", ("n", 3, 10))
    g.output("rows", x.sum(axis=2))
    g.output("blocks", np.square(x).sum(axis=(1, 2), keepdims=True))
    g.output("columns", x.sum(axis=0))
    run = gc.compile(g)
    assert sorted(n.op.name for n in run.graph.nodes if n.inputs and not n.op.view) == ["matmul", "sum", "vecdot"]
    for n in (0, 1, 7):
        value = np.random.default_rng(n).random((n, 3, 10))
        found = run(x=value)
        np.testing.assert_allclose(found["rows"], value.sum(axis=2), rtol=1e-14)
        np.testing.assert_allclose(found["blocks"], (value**2).sum(axis=(1, 2), keepdims=True), rtol=1e-14)
        np.testing.assert_array_equal(found["columns"], value.sum(axis=0))


def test_what_has_no_value_for_constants_is_an_error_of_the_call_not_of_folding():
    graph = gc.Graph("beyond")
    x = graph.placeholder("x", 3)
    graph.output("y", x[gc.constant(np.array([1])) * 5])
    for chosen in (passes.NONE, passes.EXACT, passes.DEFAULT):
        run = graph.compile(passes=chosen)
        with pytest.raises(errors.BoundsError, match="index 5 is out of bounds"):
            run(x=np.ones(3))


def times_one(graph):
    return graph.with_outputs({name: node * 1.0 for name, node in graph.outputs.items()})


def with_placeholder(graph, name, known):
    """`graph` computed from another placeholder too, which is one of its own or not."""
    other = gc.Graph("other").placeholder(name, 3)
    found = {**graph.placeholders, name: other} if known else graph.placeholders
    return gc.Graph.of(graph.name, found, {key: node + other for key, node in graph.outputs.items()})


def failing(graph):
    raise KeyError("broken")


BAD_PASSES = {
    "None": (lambda graph: None, "returned None: a pass returns a graph"),
    "text": (lambda graph: "graph", "returned 'graph': a pass returns a graph"),
    "raises": (failing, "pass 'failing' raised KeyError: 'broken'"),
    "drops": (lambda graph: graph.with_outputs({"y": graph.outputs["y"]}), "changed the outputs: y, z before, y after"),
    "renames": (lambda graph: graph.with_outputs({"y": graph.outputs["y"], "Z": graph.outputs["z"]}), "changed the outputs"),
    "casts": (lambda graph: graph.with_outputs({k: n.astype("f4") for k, n in graph.outputs.items()}), "type of output 'y'"),
    "adds": (lambda graph: with_placeholder(graph, "k", True), "added placeholder 'k'"),
    "adds, unknown": (lambda graph: with_placeholder(graph, "k", False), "added placeholder 'k'"),
    "another of the name": (lambda graph: with_placeholder(graph, "x", False), "added placeholder 'x'"),
    "forgets": (lambda graph: gc.Graph.of("g", {}, graph.outputs), "added placeholder 'x'"),
}


@pytest.mark.parametrize("validate", [False, True])
@pytest.mark.parametrize("name", BAD_PASSES)
def test_a_pass_that_makes_no_such_graph_is_named(name, validate):
    step, text = BAD_PASSES[name]
    g = gc.Graph("g")
    x = g.placeholder("x", 3)
    g.output("y", np.sin(x))
    g.output("z", np.cos(x))
    for steps in ((step,), (*passes.EXACT, step)):
        with pytest.raises(errors.PassError, match=text) as raised:
            gc.compile(g, passes=steps, validate=validate)
        assert isinstance(raised.value.__cause__, KeyError if name == "raises" else type(None))
    assert list(gc.compile(g, passes=(times_one,))(x=np.zeros(3))["z"]) == [1, 1, 1]


def test_an_error_of_gradcs_in_a_pass_names_the_pass():
    def joined(graph):
        return graph.with_outputs({name: node + np.ones(7) for name, node in graph.outputs.items()})

    g = gc.Graph("g")
    g.output("y", np.sin(g.placeholder("x", 3)))
    with pytest.raises(errors.ShapeError) as raised:
        gc.compile(g, passes=(joined,))
    assert raised.value.__notes__ == ["in pass 'joined'"]


@pytest.mark.parametrize("given", ["yes", "no", 1, 0, None, np.ones(3), "False"])
def test_flags_are_bools(given):
    g = gc.Graph("g")
    g.output("y", np.sin(g.placeholder("x", 3)))
    with pytest.raises(errors.ArgumentError, match="validate is True or False, got"):
        gc.compile(g, validate=given)
    with pytest.raises(errors.ArgumentError, match="forms is True or False, got"):
        gc.differentiate(g, "x", forms=given)
