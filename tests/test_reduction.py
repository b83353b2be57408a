"""Reductions, products and scans: exact values and derivatives where it is easy to be wrong, dtypes, refusals."""

import inspect
import itertools
import warnings
from operator import attrgetter

import mpmath
import numpy as np
import pytest

import gradc as gc
from gradc.errors import ArgumentError, GradcError, ShapeError, TraceError, UnsupportedError
from gradc.interpret import evaluate
from gradc.ir import NUMPY
from gradc.ops.products import mixed_products, other_products
from gradc.ops.scan import recur

BIG = 2.0**700
mp = mpmath.mp.clone()
mp.dps = 50
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
        h[i, j] = float(mp.fprod(mp.mpf(v) for k, v in enumerate(x) if k not in (i, j)))
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
    others = [float(mp.fprod(mp.mpf(v) for k, v in enumerate(x) if k != j)) for j in range(len(x))]
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
    whole = mp.fprod(map(mp.mpf, x))
    logs = mp.fsum(mp.mpf(a) / mp.mpf(b) for a, b in zip(g, x, strict=True))
    for k in range(300):
        assert abs(mp.mpf(first[k]) * mp.mpf(x[k]) / whole - 1) < 1e-13
        rest = (logs - mp.mpf(g[k]) / mp.mpf(x[k])) * whole / mp.mpf(x[k])
        size = sum(abs(a / b) for a, b in zip(g, x, strict=True)) * abs(whole / x[k])
        assert abs(mp.mpf(second[k]) - rest) < 1e-13 * size


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


@pytest.mark.parametrize("kind", ["tame", "growing", "zeros", "wild"])
@pytest.mark.parametrize("n", [511, 512, 2000, 2025])
def test_long_recurrences_against_unbounded_numbers(kind, n):
    rng = np.random.default_rng(n)
    a, b = rng.uniform(-1.5, 1.5, n), rng.standard_normal(n)
    if kind == "growing":
        a *= np.e / 1.5
    elif kind == "zeros":
        a[::97] = 0.0
    elif kind == "wild":
        a[100:102] = 1e-160
    for reverse in (False, True):
        found = np.empty(n)
        recur(a, b, found, 0, reverse)
        factors, addends = (a[:0:-1], b[::-1]) if reverse else (a[1:], b)
        value = size = mp.mpf(0)
        for k in range(n):
            factor = mp.mpf(factors[k - 1]) if k else mp.mpf(0)
            value, size = addends[k] + factor * value, abs(addends[k]) + abs(factor) * size
            assert abs(found[-1 - k if reverse else k] - value) <= 1e-12 * size


# --- norms and deviations --------------------------------------------------------------------------------

SCALES = [1e-320, 1e-300, 1e-200, 1.0, 1e200, 1e307]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("p", [None, 2, 1, np.inf, 3, 2.5])
def test_norms_over_the_whole_range_of_floats(p, scale):
    x = np.array([3.0, -4.0, 0.0, 1.5]) * scale
    order = 2 if p is None else p
    value, gradient = derivatives(lambda v: np.linalg.norm(v, p), x)
    exact = [mp.mpf(v) for v in x]
    size = max(map(abs, exact)) if p == np.inf else mp.fsum(abs(v) ** order for v in exact) ** (mp.mpf(1) / order)
    np.testing.assert_allclose(value, float(size), rtol=1e-15, atol=5e-324)
    wanted = [0, -1, 0, 0] if p == np.inf else [float(mp.sign(v) * (abs(v) / size) ** (order - 1)) if v else 0.0 for v in exact]
    np.testing.assert_allclose(gradient, wanted, rtol=3e-15 if scale > 1e-310 else 1e-3)


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_the_second_derivative_of_a_norm(scale):
    x = np.array([3.0, 4.0]) * scale
    found = hessian(np.linalg.norm, x)
    np.testing.assert_allclose(found * scale, np.array([[16, -12], [-12, 9]]) / 125, rtol=1e-14)


@pytest.mark.parametrize(
    "build", [np.linalg.norm, lambda v: np.linalg.norm(v, 3), np.std, np.nanstd, lambda v: np.std(v, ddof=1)]
)
def test_at_the_origin_all_orders_are_zero(build):
    value, *orders = derivatives(build, np.zeros(3), orders=3)
    assert value == 0
    for found in orders:
        np.testing.assert_array_equal(found, np.zeros(3))


def test_a_slice_out_of_range_leaves_the_others_as_numpy_has_them():
    x = np.random.default_rng(0).standard_normal((5, 7)) + 0.1
    wild = x.copy()
    wild[1], wild[3] = 1e200 * x[1], 0
    for function in (np.linalg.norm, np.std):
        value, gradient = derivatives(lambda v, function=function: function(v, axis=1), wild)
        same, slope = derivatives(lambda v, function=function: function(v, axis=1), x)
        np.testing.assert_array_equal(value[[0, 2, 4]], function(x, axis=1)[[0, 2, 4]])
        np.testing.assert_allclose(value[[1, 3]], [1e200 * same[1], 0], rtol=1e-15)
        np.testing.assert_allclose(gradient[[0, 1, 2, 4]], slope[[0, 1, 2, 4]], rtol=1e-13)
        np.testing.assert_array_equal(gradient[3], np.zeros(7))


@pytest.mark.parametrize("p", [None, "fro", 1, -1, np.inf, -np.inf])
@pytest.mark.parametrize("axes", [(0, 1), (1, 0), (-1, 0), (1, 2)])
def test_matrix_norms_over_any_two_axes(p, axes):
    x = np.random.default_rng(0).standard_normal((3, 4, 2))
    value = derivatives(lambda v: np.linalg.norm(v, p, axes), x)[0]
    np.testing.assert_allclose(value, np.linalg.norm(x, p, axes), rtol=1e-15)


@pytest.mark.parametrize("p", [2, -2, "nuc"])
@pytest.mark.parametrize("keepdims", [False, True])
def test_norms_by_singular_values(p, keepdims):
    x = np.random.default_rng(0).standard_normal((3, 4, 2))
    graph = gc.Graph("g")
    node = graph.placeholder("x", x.shape)
    y = graph.output("y", np.linalg.norm(node, p, (2, 0), keepdims))
    np.testing.assert_allclose(evaluate(graph, {"x": x})[y], np.linalg.norm(x, p, (2, 0), keepdims), rtol=1e-13)
    gc.testing.check_gradients(graph, {"x": x}, order=1)


def test_vector_norms_over_any_axes():
    x = np.random.default_rng(0).standard_normal((3, 4, 2))
    for axis, p in itertools.product([None, 1, (0, 2), (2, 0), (0, 1, 2)], [2, 1, 3, np.inf, 0]):
        value = derivatives(lambda v, axis=axis, p=p: np.linalg.vector_norm(v, axis=axis, ord=p), x)[0] if p else None
        if p:
            np.testing.assert_allclose(value, np.linalg.vector_norm(x, axis=axis, ord=p), rtol=1e-14)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda x: np.linalg.norm(x, np.nan), "None or a number, got nan"),
        (lambda x: np.linalg.norm(x, "fro"), "None or a number, got 'fro'"),
        (lambda x: np.linalg.norm(np.expand_dims(x, 0), 5), "got 5"),
        (lambda x: np.linalg.norm(np.expand_dims(x, (0, 1)), 1), "neither a vector nor a matrix"),
        (lambda x: np.linalg.norm(x, axis=(0, 0)), "same axis twice"),
    ],
)
def test_norms_that_there_are_not(build, message):
    with pytest.raises(GradcError, match=message):
        build(gc.Graph("g").placeholder("x", 3))


@pytest.mark.parametrize("ddof", [0, 1])
def test_variance_far_from_zero_and_its_second_derivative(ddof):
    x = np.array([1.0, 2.0, 4.0, 5.0])
    n = len(x)
    value, gradient = derivatives(lambda v: np.var(v, ddof=ddof), 1e15 + x)
    assert value == 10 / (n - ddof)
    np.testing.assert_array_equal(gradient, 2 * (x - 3) / (n - ddof))
    wanted = 2 / (n - ddof) * (np.eye(n) - 1 / n)
    np.testing.assert_allclose(hessian(lambda v: np.var(v, ddof=ddof), x), wanted, atol=1e-16)
    root = np.sqrt(10 / (n - ddof))
    slope = (x - 3) / (n - ddof) / root
    np.testing.assert_allclose(
        hessian(lambda v: np.std(v, ddof=ddof), x), (wanted / 2 - np.outer(slope, slope)) / root, atol=1e-15
    )


@pytest.mark.parametrize("name", ["var", "std", "nanvar", "nanstd"])
@pytest.mark.parametrize("options", [{}, {"axis": 0}, {"axis": 1, "keepdims": True, "ddof": 1}, {"correction": 1}])
def test_deviations_of_chosen_entries(name, options):
    function = getattr(np, name)
    x = np.array([[1.5, -2.0, 3.0, 0.25], [0.5, 0.75, -1.0, 2.0], [1.0, 4.0, -3.0, 0.125]])
    mask = np.array([[1, 0, 1, 1], [1, 1, 1, 0], [0, 1, 1, 1]], bool)
    graph = gc.Graph("g")
    node = graph.placeholder("x", x.shape)
    y = graph.output("y", function(node, where=mask, **options))
    np.testing.assert_allclose(evaluate(graph, {"x": x})[y], function(x, where=mask, **options), rtol=1e-14)
    gc.testing.check_gradients(graph, {"x": x})
    if "nan" in name:
        extended = gc.differentiate(graph, node)
        holes = evaluate(extended, {"x": np.where(mask, x, np.nan)})[extended.grad[node]]
        assert not holes[~mask].any() and np.isfinite(holes).all()


def test_deviations_from_a_mean_that_is_given():
    graph = gc.Graph("g")
    x, m = graph.placeholder("x", (2, 3)), graph.placeholder("m", (2, 1))
    graph.output("y", np.std(x, axis=1, mean=m))
    feeds = {"x": np.arange(6.0).reshape(2, 3), "m": np.array([[0.5], [5.0]])}
    value = gc.compile(graph)(feeds)["y"]
    np.testing.assert_array_equal(value, np.std(feeds["x"], axis=1, mean=feeds["m"]))
    gc.testing.check_gradients(graph, feeds)


def test_deviations_without_freedom_are_numpys():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for x, ddof in itertools.product(([1.0, 2.0], [1.0], [np.nan, 1.0, 2.0], [np.nan]), (0, 1, 2, 3)):
            for name in ("var", "std", "nanvar", "nanstd"):
                function = getattr(np, name)
                value = derivatives(lambda v, f=function, d=ddof: f(v, ddof=d), x)[0]
                np.testing.assert_array_equal(value, function(x, ddof=ddof), err_msg=f"{name} {x} {ddof}")


def test_averages_by_weights_that_are_nodes():
    graph = gc.Graph("g")
    x, w = graph.placeholder("x", (3, 2)), graph.placeholder("w", 3)
    y, total = np.average(x, axis=0, weights=w, returned=True)
    graph.output("y", y)
    graph.output("total", total)
    feeds = {"x": np.arange(6.0).reshape(3, 2), "w": np.array([1.0, 2.0, 5.0])}
    wanted = np.average(feeds["x"], axis=0, weights=feeds["w"], returned=True)
    for found, value in zip(gc.compile(graph)(feeds).values(), wanted, strict=True):
        np.testing.assert_array_equal(found, value)
    gc.testing.check_gradients(gc.Graph.of("y", graph.placeholders, {"y": graph.outputs["y"]}), feeds)
    with pytest.raises(ShapeError, match="have neither the shape"):
        np.average(x, axis=1, weights=w)


# --- order -----------------------------------------------------------------------------------------------


def test_sorted_ties_share_as_the_extrema_do():
    x = np.array([[2.0, 1.0, 2.0, 2.0], [5.0, 5.0, 3.0, 3.0]])
    for place, same in ((-1, np.max), (0, np.min)):
        by_order = derivatives(lambda v, place=place: np.sort(v)[:, place], x)
        by_value = derivatives(lambda v, same=same: same(v, axis=-1), x)
        for found, wanted in zip(by_order, by_value, strict=True):
            np.testing.assert_array_equal(found, wanted)
    weights = np.array([1.0, 2.0, 4.0, 8.0])
    _, gradient = derivatives(lambda v: np.sort(v) * weights, x)
    np.testing.assert_array_equal(gradient, [[14 / 3, 1.0, 14 / 3, 14 / 3], [6.0, 6.0, 1.5, 1.5]])


@pytest.mark.parametrize("kind", [None, "stable"])
@pytest.mark.parametrize("n", [5, 40])
def test_sort_and_median_agree_with_ties(kind, n):
    x = np.random.default_rng(n).integers(0, 9, (3, n)).astype(float)
    middle = [(n - 1) // 2, n // 2]
    value, gradient = derivatives(lambda v: np.median(v, axis=1), x)
    same, sorted_gradient = derivatives(
        lambda v: (np.sort(v, kind=kind)[:, middle[0]] + np.sort(v, kind=kind)[:, middle[1]]) / 2, x
    )
    np.testing.assert_array_equal(value, same)
    np.testing.assert_allclose(gradient, sorted_gradient, rtol=1e-14)


def test_sort_forward_is_the_transpose_of_reverse_with_ties_and_nan():
    x = np.array([[2.0, 1.0, 2.0, np.nan, 1.0], [3.0, 3.0, 3.0, np.inf, np.inf]])
    rng = np.random.default_rng(0)
    u, v = rng.standard_normal((2, 2, 5))
    for axis in (0, 1, None):
        graph = gc.Graph("g")
        node = graph.placeholder("x", x.shape)
        y = graph.output("y", np.sort(node, axis))
        pushed = gc.compile(gc.differentiate(graph, node, mode="forward"))(x=x, dot_x=u)["dot_y"]
        pulled = gc.compile(gc.differentiate(graph, node, seed=True))(x=x, bar_y=v.reshape(y.shape))["d_y/d_x"]
        np.testing.assert_allclose(np.vdot(v, pushed), np.vdot(pulled, u), rtol=1e-14)


@pytest.mark.parametrize("axis", [None, 0, -1, (0, 2)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_medians_and_quantiles_are_numpys(axis, keepdims):
    x = np.random.default_rng(0).standard_normal((3, 4, 5))
    x[0, 1, 2] = np.nan
    for build in (np.median, lambda v, **o: np.quantile(v, [0.1, 0.9], **o), lambda v, **o: np.percentile(v, 30, **o)):
        value = derivatives(lambda v, build=build: build(v, axis=axis, keepdims=keepdims), x)[0]
        np.testing.assert_array_equal(value, build(x, axis=axis, keepdims=keepdims))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64"])
@pytest.mark.parametrize("q", [0, 0.3, [0, 1], [0.3], np.float32(0.3), np.array([0.25, 0.3], "float32"), np.float64(0.3)])
@pytest.mark.parametrize("method", ["linear", "midpoint", "lower", "nearest"])
def test_dtypes_of_quantiles_are_numpys(dtype, q, method):
    x = np.array([5, 1, 3, 2, 8, 9]).astype(dtype)
    for function, asked in ((np.quantile, q), (np.percentile, q if np.isscalar(q) else np.multiply(q, 100))):
        graph = gc.Graph("g")
        y = graph.output("y", function(graph.placeholder("x", 6, dtype), asked, method=method))
        wanted = function(x, asked, method=method)
        assert y.dtype == wanted.dtype and y.shape == wanted.shape
        np.testing.assert_allclose(gc.compile(graph)(x=x)["y"], wanted, rtol=2e-3 if dtype == "float16" else 2e-6)


@pytest.mark.parametrize("dtype", [None, "float32"])
def test_covariances_are_in_float64_unless_asked(dtype):
    x = np.random.default_rng(0).standard_normal((3, 6)).astype("float32")
    for function in (np.cov, np.corrcoef):
        graph = gc.Graph("g")
        y = graph.output("y", function(graph.placeholder("x", x.shape, "float32"), dtype=dtype))
        wanted = function(x, dtype=dtype)
        assert y.dtype == wanted.dtype
        np.testing.assert_allclose(evaluate(graph, {"x": x})[y], wanted, rtol=1e-5)


def test_the_median_of_a_symbolic_axis():
    graph = gc.Graph("g")
    x = graph.placeholder("x", ("n", 2))
    graph.output("y", np.median(x, axis=0))
    run = gc.compile(gc.differentiate(graph, x))
    for n in (1, 2, 5, 6):
        feed = np.random.default_rng(n).standard_normal((n, 2))
        out = run(x=feed)
        np.testing.assert_array_equal(out["y"], np.median(feed, axis=0))
        assert (np.count_nonzero(out["d_y/d_x"], axis=0) == 2 - n % 2).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: np.partition(x, 1), "np.partition on a node(.|\n)*np.sort"),
        (lambda x: np.argpartition(x, 1), "np.argsort"),
        (lambda x: np.unique(x), "depends on values"),
        (lambda x: np.nonzero(x), "depends on values"),
        (lambda x: np.quantile(x, 1.5), "q is between 0 and 1, got 1.5"),
        (lambda x: np.quantile(x, []), "q is between 0 and 1, got"),
        (lambda x: np.percentile(x, [50, -1]), "between 0 and 100"),
        (lambda x: np.quantile(x, x), "a constant of the graph"),
        (lambda x: np.quantile(x, 0.5, method="weibull"), "method='weibull' is not supported"),
        (lambda x: np.sort(x, order="name"), "structured arrays"),
        (lambda x: np.argsort(x, kind="bogo"), "got 'bogo'"),
        (lambda x: np.searchsorted(x, 1.0, "middle"), "got 'middle'"),
        (lambda x: np.var(x, ddof=1, correction=1), "give one"),
        (lambda x: np.std(x, dtype=int), "has no fractions"),
    ],
)
def test_order_and_statistics_say_what_is_wrong(call, message):
    with pytest.raises(GradcError, match=message):
        call(gc.Graph("g").placeholder("x", 5))


# --- differences -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("edge_order", [1, 2])
@pytest.mark.parametrize(
    "spacing", [(), (0.5,), (0.5, 2.0), ([0.0, 1.0, 3.0, 4.5], 0.25), ([0.0, 1.0, 2.0, 3.0], [0.0, 0.5, 2.0])]
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_on_a_grid_are_numpys(spacing, edge_order, dtype):
    x = np.random.default_rng(0).standard_normal((4, 3)).astype(dtype)
    graph = gc.Graph("g")
    node = graph.placeholder("x", x.shape, dtype)
    for k, found in enumerate(np.gradient(node, *spacing, edge_order=edge_order)):
        graph.output(f"y{k}", found)
    wanted = np.gradient(x, *spacing, edge_order=edge_order)
    for found, value in zip(gc.compile(graph)(x=x).values(), wanted, strict=True):
        assert found.dtype == value.dtype
        np.testing.assert_allclose(found, value, rtol=20 * np.finfo(dtype).eps, atol=np.finfo(dtype).eps)
    gc.testing.check_gradients(graph, {"x": x})


def test_grids_that_do_not_fit():
    x = gc.Graph("g").placeholder("x", (4, 2))
    for call, message in (
        (lambda: np.gradient(x, edge_order=2), "needs at least 3 entries"),
        (lambda: np.gradient(x, edge_order=3), "edge_order is 1 or 2"),
        (lambda: np.gradient(x, 1.0, 2.0, 3.0), "3 spacings for 2 axes"),
        (lambda: np.gradient(x, [0.0, 1.0], axis=0), "has 4 entries"),
        (lambda: np.gradient(x, x[:, 0], axis=0), "got a node"),
    ):
        with pytest.raises(GradcError, match=message):
            call()


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


@pytest.mark.parametrize("reduce", [np.linalg.norm, np.var, np.std, np.prod, np.max, np.median, np.ptp, gc.logsumexp])
def test_a_slice_that_where_masked_gets_exact_zeros(reduce):
    x = np.array([[np.inf, np.nan, 1.0], [1e300, -1e300, 1e300], [1.0, 2.0, 4.0]])

    def build(v):
        chosen = np.array([False, False, True])
        return np.where(chosen, reduce(v, axis=1), 0)

    _, gradient = derivatives(build, x)
    np.testing.assert_array_equal(gradient[:2], np.zeros((2, 3)))
    np.testing.assert_array_equal(gradient[2], derivatives(lambda v: reduce(v, axis=0), x[2])[1])


@pytest.mark.parametrize(
    "choose", [np.max, np.median, lambda v: np.quantile(v, 0.9), lambda v: v[1:], lambda v: np.maximum(v, 1)]
)
def test_what_was_not_chosen_gets_exact_zeros_through_a_singular_rule(choose):
    x = np.array([0.0, 4.0, 9.0, 16.0, 25.0])
    gradient = derivatives(lambda v: choose(np.sqrt(v)), x)[1]
    wanted = derivatives(choose, np.sqrt(x))[1]
    np.testing.assert_array_equal(gradient, wanted * 0.5 / np.sqrt(np.where(x > 0, x, 1)))
    assert wanted[0] == 0


# --- types ---------------------------------------------------------------------------------------------

REDUCTIONS = ["sum", "prod", "mean", "max", "min", "any", "all", "count_nonzero", "argmax", "argmin"]
REDUCTIONS += ["nansum", "nanprod", "nanmean", "nanmax", "nanmin", "cumsum", "cumprod", "cumulative_sum", "diff", "trapezoid"]
REDUCTIONS += ["var", "std", "nanvar", "nanstd", "average", "median", "sort", "argsort", "linalg.norm", "linalg.vector_norm"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", REDUCTIONS)
def test_dtypes_are_numpys(name, dtype):
    function = attrgetter(name)(np)
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


ADDING = ["sum", "prod", "nansum", "nanprod", "cumsum", "cumprod", "nancumsum", "nancumprod", "cumulative_sum", "cumulative_prod"]


@pytest.mark.parametrize("of", ["int8", "uint8", "int64", "float32", "float64", "bool"])
@pytest.mark.parametrize("name", ADDING)
def test_a_narrower_dtype_is_kept_and_wraps_as_numpys(name, of):
    function = getattr(np, name)
    x = np.array([1, 100, 0, 1, 120, 3]).astype(of)
    for dtype in DTYPES:
        graph = gc.Graph("g")
        y = graph.output("y", function(graph.placeholder("x", x.shape, of), dtype=dtype))
        wanted = function(x, dtype=dtype)
        assert y.dtype == wanted.dtype
        for passes in (gc.passes.NONE, gc.passes.DEFAULT):
            value = gc.compile(graph, passes=passes)(x=x)["y"]
            np.testing.assert_allclose(value, wanted, rtol=1e-3 if dtype == "float16" else 0)


@pytest.mark.parametrize("dtype", ["int64", "int8", "uint16", "bool", "float32", "float16", "float64"])
@pytest.mark.parametrize("name", [name for name in ADDING if name.startswith("nan")])
def test_nan_is_replaced_before_the_cast(name, dtype):
    function = getattr(np, name)
    x = np.array([[1, np.nan, 2.7], [np.nan, 5.2, np.nan]])
    for options in ({}, {"axis": 0}, {"axis": -1}):
        graph = gc.Graph("g")
        y = graph.output("y", function(graph.placeholder("x", x.shape), dtype=dtype, **options))
        wanted = function(x, dtype=dtype, **options)
        assert y.dtype == wanted.dtype
        np.testing.assert_allclose(gc.compile(graph)(x=x)["y"], wanted, rtol=1e-3)
        if np.dtype(dtype).kind == "f":
            gradient = gc.compile(gc.differentiate(graph, "x"))(x=x)["d_y/d_x"]
            assert gradient.dtype == np.float64 and (gradient[np.isnan(x)] == 0).all() and (gradient[0, 0] > 0)


def marked_options(function):
    """The options for which NumPy tells "not given" by a mark of its own."""
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.default is np._NoValue and p.name not in ("axes", "axis")]


REDUCING = [f for f in NUMPY if getattr(f, "__module__", "") in ("numpy", "numpy.linalg") and not isinstance(f, np.ufunc)]
REDUCING = [f for f in REDUCING if inspect.isfunction(f) or hasattr(f, "__wrapped__")]
MARKED = {f.__name__: f for f in REDUCING if marked_options(f) and f is not np.clip}


def test_every_function_with_marks_is_found():
    assert set(MARKED) >= {"sum", "prod", "max", "min", "mean", "var", "std", "ptp", "any", "all", "argmax", "argmin", "average"}
    assert set(MARKED) >= {"nansum", "nanprod", "nanmean", "nanmax", "nanmin", "nanvar", "nanstd", "diff", "pinv"}


@pytest.mark.parametrize("name", MARKED)
def test_numpys_mark_of_an_option_that_is_not_given(name):
    """Wrappers of NumPy's functions pass it on, by name and by position: it means nothing, as in NumPy."""
    function, x = MARKED[name], np.array([[1.5, -2.0, 0.5], [0.5, 4.0, -1.0]])
    marked = marked_options(function)
    parameters = list(inspect.signature(function).parameters.values())[1:]
    by_position = [p.default for p in itertools.takewhile(lambda p: p.kind is p.POSITIONAL_OR_KEYWORD, parameters)]
    by_name = [dict.fromkeys(marked, np._NoValue), *({option: np._NoValue} for option in marked)]
    for positional, named in (([] if name == "pinv" else by_position, {}), *(([], options) for options in by_name)):
        graph = gc.Graph("g")
        graph.output("y", function(graph.placeholder("x", x.shape), *positional, **named))
        np.testing.assert_array_equal(gc.compile(graph)(x=x)["y"], function(x))


@pytest.mark.parametrize("ufunc", [np.add, np.multiply, np.maximum, np.minimum])
def test_marks_in_methods_of_ufuncs(ufunc):
    x = np.array([[1.5, -2.0, 0.5], [0.5, 4.0, -1.0]])
    graph = gc.Graph("g")
    graph.output("y", ufunc.reduce(graph.placeholder("x", x.shape), initial=np._NoValue))
    np.testing.assert_array_equal(gc.compile(graph)(x=x)["y"], ufunc.reduce(x))


@pytest.mark.parametrize("name", ["sum", "prod", "max", "min", "nansum", "nanprod", "nanmax", "nanmin"])
def test_initial_values_are_cast_to_the_results_dtype(name):
    function = getattr(np, name)
    for x in (np.array([1, 2]), np.array([1, 2], "int8"), np.array([1, 2], "float32"), np.array([True, False])):
        for initial in (0, 1, 2.5, np.float64(1.5)):
            graph = gc.Graph("g")
            y = graph.output("y", function(graph.placeholder("x", x.shape, x.dtype), initial=initial))
            wanted = function(x, initial=initial)
            assert y.dtype == wanted.dtype
            assert gc.compile(graph)(x=x)["y"] == wanted
    with pytest.raises(GradcError, match="300"):
        np.max(gc.Graph("g").placeholder("x", 3, "int8"), initial=300)


@pytest.mark.parametrize("p", [-0.5, -1, -2, -3.0])
@pytest.mark.parametrize("x", [[1.0, -2.0, 3.0], [1e-200, 2e-200, 1.0], [1e200, 3e200, 2e250], [0.5, -1e-300, 7.0]])
def test_norms_of_negative_order(x, p):
    sizes = [abs(mp.mpf(v)) for v in x]
    norm = mp.fsum(v**p for v in sizes) ** (mp.mpf(1) / p)
    value, gradient = derivatives(lambda v: np.linalg.norm(v, p), np.array(x))
    np.testing.assert_allclose(value, float(norm), rtol=1e-15)
    slopes = [float(mp.sign(mp.mpf(v)) * (s / norm) ** (p - 1)) for v, s in zip(x, sizes, strict=True)]
    np.testing.assert_allclose(gradient, slopes, rtol=3e-15)


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


@pytest.mark.parametrize(
    "call",
    [
        lambda v: np.add.reduce(v),
        lambda v: np.add.reduce(v, axis=None),
        lambda v: np.multiply.reduce(v, 1, keepdims=True),
        lambda v: np.maximum.reduce(v, axis=(0, 1)),
        lambda v: np.fmin.reduce(v),
        lambda v: np.logaddexp.reduce(v, axis=1),
        lambda v: np.add.accumulate(v),
        lambda v: np.multiply.accumulate(v, 1),
    ],
)
def test_methods_of_ufuncs(call):
    x = np.array([[1.5, -2.0, 0.0], [0.5, 4.0, -1.0]])
    np.testing.assert_allclose(derivatives(call, x)[0], call(x), rtol=1e-15)


def test_methods_of_ufuncs_that_there_are_not():
    x = gc.Graph("g").placeholder("x", (2, 3))
    for call, message in (
        (lambda: np.hypot.reduce(x), "np.hypot.reduce on a node: gradc has no such function"),
        (lambda: np.maximum.reduce(x, dtype="float32"), "np.maximum.reduce on a node.*dtype"),
        (lambda: np.add.reduceat(x, [0, 1]), "np.add.reduceat on a node"),
    ):
        with pytest.raises(UnsupportedError, match=message):
            call()


def test_what_would_write_into_a_node_is_refused():
    x = gc.Graph("g").placeholder("x", (2, 3))
    with pytest.raises(TraceError, match=r"sorts in place(.|\n)*np\.sort\(x\)"):
        x.sort()
    for function in (
        np.sum,
        np.prod,
        np.mean,
        np.max,
        np.argmax,
        np.any,
        np.cumsum,
        np.cumprod,
        np.ptp,
        np.nansum,
        np.var,
        np.median,
    ):
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


@pytest.mark.parametrize("name", ["ptp", "nanstd", "nanprod", "nancumsum", "diff", "trapezoid", "sort", "std", "gradient", "cov"])
@pytest.mark.parametrize("axis", [0, -1])
def test_symbolic_axes(name, axis):
    options = {} if name == "cov" else {"axis": axis}
    graph = gc.Graph("g")
    x = graph.placeholder("x", ("n", "m"))
    graph.output("y", getattr(np, name)(x, **options))
    run = gc.compile(gc.differentiate(graph, x))
    for shape in ((2, 5), (4, 2), (3, 3)):
        feed = np.random.default_rng(0).standard_normal(shape)
        out = run(x=feed)
        np.testing.assert_allclose(out["y"], getattr(np, name)(feed, **options), rtol=1e-13, atol=1e-15)
        assert out["d_y/d_x"].shape == shape


def test_no_step_of_a_gradient_makes_memory_of_its_own():
    graph = gc.Graph("g")
    x = graph.placeholder("x", (4, 5))
    parts = [np.prod(x, 1), np.cumprod(x, 1)[:, 0], np.cumsum(x, 1)[:, 1], np.mean(x, 1), np.nanmax(x, 1), np.ptp(x, 1)]
    parts += [np.var(x, 1), np.std(x, 1), np.linalg.norm(x, axis=1), np.linalg.norm(x, 3, 1), np.median(x, 1), np.sort(x)[:, 2]]
    graph.output("y", sum(parts[1:], parts[0]) + gc.logsumexp(x, 1))
    extended = gc.differentiate(gc.differentiate(graph, x), x, of="d_y/d_x")
    kernels = {node.op.name: node.op.kernel for node in gc.compile(extended).graph.nodes if not node.op.view and node.inputs}
    assert not [name for name, kernel in kernels.items() if kernel is None]


def test_a_schedule_too_long_for_the_parser_runs_the_same_calls():
    graph = gc.Graph("g")
    x = v = graph.placeholder("x", (3, 4))
    for _ in range(60):
        v = np.cumsum(np.sort(v / (1 + np.linalg.norm(v, axis=1, keepdims=True)), 0), 1) + np.argsort(v, 0)
        v = v * np.cumprod(np.median(v, 0)) + np.std(v, 1, keepdims=True) + np.prod(v, 0) + np.max(v, axis=1, keepdims=True)
        v = v / (1 + np.linalg.norm(v, 3, 0))
    graph.output("y", v)
    extended = gc.differentiate(graph, x)
    feed = np.random.default_rng(0).standard_normal((3, 4))
    trace = evaluate(extended, {"x": feed})
    out = gc.compile(extended, passes=gc.passes.NONE)(x=feed)
    for name, node in extended.outputs.items():
        np.testing.assert_array_equal(out[name], trace[node])
    assert len(extended.nodes) > 5000


def test_nothing_warns():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x = np.array([[np.nan, 1.0], [np.nan, 0.0]])
        for function in (np.nanmean, np.nanmax, np.prod, np.cumprod, gc.logsumexp):
            derivatives(lambda v, function=function: function(v, axis=0), x)


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("shape", [(16, 2), (40, 10), (4, 5, 32), (2, 3, 4, 5), (40, 33), (15, 4), (40, 1)])
@pytest.mark.parametrize("reduce", [np.max, np.min, np.nanmax, np.nanmin])
def test_extrema_of_few_entries_in_many_rows(reduce, shape, keepdims):
    """Column by column or row by row: the same number, NaN and zeros of both signs included."""
    rng = np.random.default_rng(0)
    for dtype in ("float64", "float32", "int8"):
        x = rng.integers(-3, 4, shape).astype(dtype)
        if dtype != "int8":
            x[x == 2] = np.nan
            x[..., 0] = np.where(rng.random(shape[:-1]) < 0.2, -0.0, 1)
        graph = gc.Graph("extrema")
        graph.output("y", reduce(graph.placeholder("x", shape, dtype), axis=-1, keepdims=keepdims))
        found = gc.compile(graph)(x=x)["y"]
        np.testing.assert_array_equal(found, reduce(x, axis=-1, keepdims=keepdims))
        assert found.dtype == x.dtype
        assert found.tobytes() == evaluate(graph, {"x": x})[graph.outputs["y"]].tobytes()
        strided = np.repeat(x, 2, axis=-1)[..., ::2]
        np.testing.assert_array_equal(evaluate(graph, {"x": strided})[graph.outputs["y"]], found)
