"""Reductions, products and scans: exact values and derivatives where it is easy to be wrong, dtypes, refusals."""

import itertools
import warnings

import mpmath
import numpy as np
import pytest

import gradc as gc
from gradc.errors import ArgumentError, GradcError, ShapeError, TraceError, UnsupportedError
from gradc.interpret import evaluate
from gradc.ops.products import mixed_products, other_products

BIG = 2.0**700
DTYPES = ["bool", "int8", "uint8", "int32", "int64", "uint64", "float16", "float32", "float64"]


def derivatives(build, x, orders=1):
    """The value, and the derivatives of the sum, of the sum of the first one, and so on."""
    graph = gc.Graph("case")
    node = graph.placeholder("x", np.shape(x), np.asarray(x).dtype)
    graph.output("y", build(node))
    of, found = "y", []
    for _ in range(orders):
        graph = gc.differentiate(graph, "x", of=of)
        of = list(graph.outputs)[-1]
        found.append(graph.outputs[of])
    for name in ("NONE", "DEFAULT"):  # the executor agrees with the interpreter to the bit
        compiled = gc.compile(graph, passes=getattr(gc.passes, name))(x=np.asarray(x))
    trace = evaluate(graph, {"x": np.asarray(x)})
    for node, value in zip(found, list(compiled.values())[1:], strict=True):
        np.testing.assert_array_equal(trace[node], value)
    return trace[graph.outputs["y"]], *[trace[node] for node in found]


def hessian(build, x):
    """Row by row: the gradient of each entry of the gradient."""
    graph = gc.Graph("case")
    node = graph.placeholder("x", np.shape(x))
    graph.output("y", build(node))
    first = gc.differentiate(graph, node)
    rows = []
    for k in range(len(x)):
        part = gc.Graph.of("row", first.placeholders, {"r": first.grad[node][k]})
        second = gc.differentiate(part, node)
        rows.append(evaluate(second, {"x": np.asarray(x)})[second.grad[node]])
    return np.array(rows)


def prod_hessian(x):
    """By definition, in numbers without bounds."""
    n = len(x)
    h = np.zeros((n, n))
    for i, j in itertools.permutations(range(n), 2):
        h[i, j] = float(mpmath.fprod(mpmath.mpf(v) for k, v in enumerate(x) if k not in (i, j)))
    return h


# --- products ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "x",
    [
        [2.0, 3.0, 4.0],
        [0.0, 3.0, 4.0, 5.0],
        [0.0, 3.0, 0.0, 5.0],
        [0.0, 0.0, 0.0, 5.0],
        [0.0, 0.0],
        [0.0],
        [-2.0],
        [BIG, BIG, 1 / BIG, 1 / BIG, 3.0],
        [1 / BIG, 1 / BIG, 1 / BIG, BIG, BIG],
        [0.0, BIG, BIG, 1 / BIG, 1 / BIG],
        [0.0, 0.0, BIG, BIG, 1 / BIG, 1 / BIG, 1 / BIG],
        [5e-324, BIG, BIG, 1 / BIG],
    ],
)
def test_prod_is_exact_to_second_order(x):
    _, gradient = derivatives(np.prod, x)
    others = [float(mpmath.fprod(mpmath.mpf(v) for k, v in enumerate(x) if k != j)) for j in range(len(x))]
    np.testing.assert_array_equal(gradient, others)
    np.testing.assert_array_equal(hessian(np.prod, x), prod_hessian(x))


def test_prod_to_fourth_order():
    x = np.array([0.0, 2.0, 0.0, 3.0, 5.0])
    _, *orders = derivatives(np.prod, x, orders=4)
    for order, found in enumerate(orders, 1):
        wanted = [
            sum(
                np.prod([v for k, v in enumerate(x) if k not in (j, *rest)])
                for rest in itertools.permutations([k for k in range(5) if k != j], order - 1)
            )
            for j in range(5)
        ]
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("scale", [0.0, 1.0, 40.0])
def test_prod_of_many_factors_against_unbounded_numbers(scale):
    x = np.random.default_rng(3).standard_normal(300) * np.exp2(np.random.default_rng(4).normal(0, scale, 300))
    x /= np.exp(np.log(np.abs(x)).mean())
    g = np.random.default_rng(5).standard_normal(300)
    first, second = np.empty(300), np.empty(300)
    other_products(x, first, np.empty(300), np.empty(300))
    mixed_products(second, x, g)
    whole = mpmath.fprod(map(mpmath.mpf, x))
    logs = mpmath.fsum(mpmath.mpf(a) / mpmath.mpf(b) for a, b in zip(g, x, strict=True))
    for k in range(300):
        assert abs(mpmath.mpf(first[k]) * mpmath.mpf(x[k]) / whole - 1) < 1e-13
        rest = (logs - mpmath.mpf(g[k]) / mpmath.mpf(x[k])) * whole / mpmath.mpf(x[k])
        size = sum(abs(a / b) for a, b in zip(g, x, strict=True)) * abs(whole / x[k])
        assert abs(mpmath.mpf(second[k]) - rest) < 1e-13 * size


def test_prod_in_float32_and_over_axes():
    x = np.array([[2, 0, 3], [4, 5, 0]], "float32")
    value, gradient = derivatives(lambda v: np.prod(v, axis=(1, 0)), x)
    assert value == 0 and gradient.dtype == np.float32
    np.testing.assert_array_equal(gradient, np.zeros((2, 3)))
    _, gradient = derivatives(lambda v: np.prod(v, axis=-1), x)
    np.testing.assert_array_equal(gradient, [[0, 6, 0], [0, 0, 20]])
    _, gradient = derivatives(lambda v: np.prod(v, axis=0), x)
    np.testing.assert_array_equal(gradient, [[4, 5, 0], [2, 0, 3]])


def cumprod_jacobian(x):
    n = len(x)
    return np.array([[np.prod([*x[:j], *x[j + 1 : i + 1]]) if j <= i else 0.0 for j in range(n)] for i in range(n)])


@pytest.mark.parametrize("x", [[2.0, 3.0, 4.0], [2.0, 0.0, 3.0, 5.0], [0.0, 2.0, 0.0, 3.0, 5.0], [0.0, 0.0, 0.0], [7.0]])
@pytest.mark.parametrize("rows", [1, 12])
def test_cumprod_is_exact_with_zeros(x, rows):
    x = np.array(x)
    n = len(x)
    weights = np.arange(1.0, n + 1)

    def build(v):
        return np.cumprod(v, axis=-1) * weights

    _, gradient, second = derivatives(build, np.tile(x, (rows, 1)), orders=2)
    np.testing.assert_array_equal(gradient, np.tile(weights @ cumprod_jacobian(x), (rows, 1)))
    wanted = np.zeros(n)
    for i, j, k in itertools.product(range(n), repeat=3):
        if j != k and max(j, k) <= i:
            wanted[k] += weights[i] * np.prod([x[m] for m in range(i + 1) if m not in (j, k)])
    np.testing.assert_array_equal(second, np.tile(wanted, (rows, 1)))


def test_cumprod_recurrences_do_not_depend_on_how_they_are_run():
    x = np.random.default_rng(0).standard_normal((6, 3, 9))
    for axis in range(3):
        _, many = derivatives(lambda v, axis=axis: np.cumprod(v, axis), x)
        few = np.empty_like(many)
        for row in np.ndindex(*np.delete(x.shape, axis)):
            index = (*row[:axis], slice(None), *row[axis:])
            _, few[index] = derivatives(lambda v: np.cumprod(v), x[index])
        np.testing.assert_allclose(many, few, rtol=1e-14)


# --- empty, masks, starts ------------------------------------------------------------------------------


def test_no_axis_is_the_identity_and_empty_axes_have_the_neutral_element():
    x = np.arange(6.0).reshape(2, 3)
    for reduce in (np.sum, np.prod, np.mean, np.max, np.min):
        value, gradient = derivatives(lambda v, reduce=reduce: reduce(v, axis=()), x)
        np.testing.assert_array_equal(value, x)
        np.testing.assert_array_equal(gradient, np.ones((2, 3)))
    empty = np.zeros((0, 3))
    for reduce, neutral in ((np.sum, 0.0), (np.prod, 1.0)):
        value, gradient = derivatives(lambda v, reduce=reduce: reduce(v, axis=0), empty)
        np.testing.assert_array_equal(value, np.full(3, neutral))
        assert gradient.shape == (0, 3)
    assert derivatives(lambda v: np.max(v, axis=1), empty)[0].shape == (0,)


@pytest.mark.parametrize("reduce", [np.max, np.min, np.argmax, np.argmin, np.ptp, np.nanmax, np.nanmin])
def test_the_extremum_of_nothing_is_an_error_at_the_line(reduce):
    x = gc.Graph("g").placeholder("x", (0, 3))
    with pytest.raises(ShapeError, match=r"an empty axis has no extremum.*\n.*\n.*test_reduction.py"):
        reduce(x, axis=0)


def test_extrema_with_an_initial_value():
    for x in (np.array([[1.0, 4.0], [3.0, 4.0]]), np.zeros((0, 2))):
        value, gradient = derivatives(lambda v: np.max(v, axis=0, initial=2.0), x)
        np.testing.assert_array_equal(value, np.max(x, axis=0, initial=2.0))
        assert gradient.shape == x.shape
    with pytest.raises(ArgumentError, match="where= needs initial="):
        np.max(gc.Graph("g").placeholder("x", 2), where=np.array([True, False]))


@pytest.mark.parametrize("name", ["sum", "prod", "mean", "max", "min", "any", "all", "nansum", "nanprod", "nanmean", "nanmax"])
def test_where_chooses_the_entries(name):
    reduce = getattr(np, name)
    x = np.array([[1.5, -2.0, 3.0], [0.5, 0.25, -1.0]])
    mask = np.array([[True, False, True], [False, True, True]])
    options = {"initial": -0.75} if "max" in name or "min" in name else {}
    graph = gc.Graph("g")
    node = graph.placeholder("x", x.shape)
    y = graph.output("y", reduce(node, axis=0, where=mask, **options))
    np.testing.assert_allclose(evaluate(graph, {"x": x})[y], reduce(x, axis=0, where=mask, **options), rtol=1e-15)
    if y.dtype.kind == "f":
        gc.testing.check_gradients(graph, {"x": x})
        masked = gc.differentiate(graph, node)
        gradient = evaluate(masked, {"x": np.where(mask, x, np.nan)})[masked.grad[node]]
        assert np.isfinite(gradient).all() and not gradient[~mask].any()


# --- types ---------------------------------------------------------------------------------------------

REDUCTIONS = ["sum", "prod", "mean", "max", "min", "any", "all", "count_nonzero", "argmax", "argmin"]
REDUCTIONS += ["nansum", "nanprod", "nanmean", "nanmax", "nanmin", "cumsum", "cumprod", "cumulative_sum", "diff", "trapezoid"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", REDUCTIONS)
def test_dtypes_are_numpys(name, dtype):
    function = getattr(np, name)
    options = {"axis": -1}
    x = np.array([[1, 0, 1, 1], [1, 1, 1, 0]], dtype)
    graph = gc.Graph("g")
    y = graph.output("y", function(graph.placeholder("x", x.shape, dtype), **options))
    wanted = function(x, **options)
    assert y.dtype == wanted.dtype and y.shape == wanted.shape
    np.testing.assert_allclose(gc.compile(graph)(x=x)["y"], wanted, rtol=1e-3 if dtype == "float16" else 1e-6)


@pytest.mark.parametrize("name", ["sum", "prod", "mean", "cumsum", "cumprod", "nansum", "nanmean"])
def test_a_dtype_can_be_asked_for(name):
    function = getattr(np, name)
    x = np.array([[1.5, 2.0], [0.25, 3.0]], "float32")
    graph = gc.Graph("g")
    y = graph.output("y", function(graph.placeholder("x", x.shape, "float32"), 0, np.float64))
    wanted = function(x, 0, np.float64)
    assert y.dtype == wanted.dtype
    np.testing.assert_array_equal(evaluate(graph, {"x": x})[y], wanted)


def test_the_mean_of_float16_does_not_overflow_on_the_way():
    x = np.full(100, 60000.0, "float16")
    value, gradient = derivatives(np.mean, x)
    assert value == x[0] and gradient.dtype == np.float16
    np.testing.assert_array_equal(gradient, np.full(100, 0.01, "float16"))


# --- methods, refusals ---------------------------------------------------------------------------------


def test_numpys_methods():
    x = np.array([[1.5, -2.0, 0.0], [0.5, 4.0, -1.0]])
    node = gc.Graph("g").placeholder("x", x.shape)
    calls = [("sum", {}), ("prod", {"axis": 1}), ("mean", {"axis": 0, "keepdims": True}), ("max", {}), ("min", {"axis": -1})]
    calls += [
        ("any", {"axis": 0}),
        ("all", {}),
        ("argmax", {"axis": 1}),
        ("argmin", {}),
        ("cumsum", {}),
        ("cumprod", {"axis": 0}),
    ]
    for name, options in calls:
        graph = gc.Graph.of("g", {"x": node}, {"y": getattr(node, name)(**options)})
        np.testing.assert_array_equal(gc.compile(graph)(x=x)["y"], getattr(x, name)(**options), err_msg=name)


def test_what_would_write_into_a_node_is_refused():
    x = gc.Graph("g").placeholder("x", (2, 3))
    with pytest.raises(TraceError, match=r"sorts in place(.|\n)*np\.sort\(x\)"):
        x.sort()
    for function in (np.sum, np.prod, np.mean, np.max, np.argmax, np.any, np.cumsum, np.cumprod, np.ptp, np.nansum):
        with pytest.raises(UnsupportedError, match="out="):
            function(x, out=np.empty(()))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: np.sum(x, axis=2), "axis 2 is out of bounds"),
        (lambda x: np.sum(x, axis=(0, -2)), "the same axis twice"),
        (lambda x: np.mean(x, dtype=int), "has no fractions"),
        (lambda x: np.diff(x, n=-1), "not negative, got -1"),
        (lambda x: np.cumulative_sum(x), "say which axis"),
        (lambda x: np.argmax(x, axis="rows"), "an axis is an integer"),
    ],
)
def test_bad_arguments_say_so(call, message):
    with pytest.raises(GradcError, match=message):
        call(gc.Graph("g").placeholder("x", (2, 3)))


# --- symbolic sizes, the executor ------------------------------------------------------------------------


def test_one_graph_serves_all_sizes():
    graph = gc.Graph("g")
    x = graph.placeholder("x", ("n", 3))
    parts = [np.prod(x, axis=0), np.mean(x, axis=0), np.cumprod(x, axis=0)[-1], np.max(x, axis=0), gc.logsumexp(x, axis=0)]
    graph.output("y", sum(parts[1:], parts[0]))
    run = gc.compile(gc.differentiate(graph, x))
    for n in (1, 2, 5):
        feed = np.random.default_rng(n).standard_normal((n, 3))
        small = gc.Graph("g")
        node = small.placeholder("x", (n, 3))
        same = [np.prod(node, 0), np.mean(node, 0), np.cumprod(node, 0)[-1], np.max(node, 0), gc.logsumexp(node, 0)]
        small.output("y", sum(same[1:], same[0]))
        for a, b in zip(run(x=feed).values(), gc.compile(gc.differentiate(small, node))(x=feed).values(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_no_step_of_a_gradient_makes_memory_of_its_own():
    graph = gc.Graph("g")
    x = graph.placeholder("x", (4, 5))
    parts = [np.prod(x, 1), np.cumprod(x, 1)[:, 0], np.cumsum(x, 1)[:, 1], np.mean(x, 1), np.nanmax(x, 1), np.ptp(x, 1)]
    graph.output("y", sum(parts[1:], parts[0]) + gc.logsumexp(x, 1))
    extended = gc.differentiate(gc.differentiate(graph, x), x, of="d_y/d_x")
    kernels = {node.op.name: node.op.kernel for node in gc.compile(extended).graph.nodes if not node.op.view and node.inputs}
    assert not [name for name, kernel in kernels.items() if kernel is None]


def test_nothing_warns():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x = np.array([[np.nan, 1.0], [np.nan, 0.0]])
        for function in (np.nanmean, np.nanmax, np.prod, np.cumprod, gc.logsumexp):
            derivatives(lambda v, function=function: function(v, axis=0), x)
