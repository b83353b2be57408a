"""Reductions, scans and norms of nothing: what NumPy gives, or one clear error where it refuses; the same where only feeds tell.

A gradient of nothing is empty, so along any direction of it the derivative is 0 in forward mode too.
"""

import warnings

import numpy as np
import pytest

import gradc as gc
from gradc.errors import GradcError

SHAPES = [
    ((0,), (0,)),
    (("n",), (0,)),
    ((3, 0), (3, 0)),
    ((3, "n"), (3, 0)),
    ((0, 3), (0, 3)),
    (("n", 3), (0, 3)),
    ((0, 0), (0, 0)),
    (("n", "n"), (0, 0)),
]


def last(function, *arguments, **options):
    return lambda x: function(x, *arguments, axis=-1, **options)


FAMILY = {
    "sum": last(np.sum),
    "sum from 2": last(np.sum, initial=2),
    "prod": last(np.prod, keepdims=True),
    "nansum": last(np.nansum),
    "nanprod": last(np.nanprod),
    "mean": last(np.mean),
    "mean of all": np.mean,
    "nanmean": last(np.nanmean, keepdims=True),
    "var": last(np.var),
    "var, ddof": last(np.var, ddof=1),
    "std": last(np.std),
    "nanvar": last(np.nanvar),
    "nanstd": last(np.nanstd, keepdims=True),
    "max": last(np.max),
    "min": last(np.min, keepdims=True),
    "nanmax": last(np.nanmax),
    "max of all": np.max,
    "max from 2": last(np.max, initial=2.0),
    "min from 2": last(np.min, initial=2.0, keepdims=True),
    "nanmin from 2": last(np.nanmin, initial=2.0),
    "max of the chosen": lambda x: np.max(x, axis=-1, initial=2.0, where=x > 0),
    "ptp": last(np.ptp),
    "any": last(np.any),
    "all": last(np.all),
    "count_nonzero": last(np.count_nonzero),
    "argmax": last(np.argmax),
    "argmin": np.argmin,
    "logaddexp.reduce": last(np.logaddexp.reduce),
    "median": last(np.median),
    "median of all": lambda x: np.median(x, keepdims=True),
    "sort": last(np.sort),
    "argsort": last(np.argsort),
    "cumsum": last(np.cumsum),
    "cumprod": last(np.cumprod),
    "nancumsum": last(np.nancumsum),
    "cumulative_sum": last(np.cumulative_sum, include_initial=True),
    "norm": last(np.linalg.norm),
    "norm of all": np.linalg.norm,
    "norm, 1": last(np.linalg.norm, 1),
    "norm, 3": last(np.linalg.norm, 3),
    "norm, inf": last(np.linalg.norm, np.inf),
    "norm, -inf": last(np.linalg.norm, -np.inf),
    "norm, -1": last(np.linalg.norm, -1),
    "vector_norm": last(np.linalg.vector_norm, keepdims=True),
    "cov": np.cov,
    "cov of columns": lambda x: np.cov(x, rowvar=False),
    "corrcoef": np.corrcoef,
}
MATRICES = {
    f"matrix norm, {p}": lambda x, p=p: np.linalg.norm(x, p, axis=(-2, -1)) for p in (1, -1, 2, np.inf, -np.inf, "fro", "nuc")
}
OWN = {
    "softmax": (gc.softmax, lambda x: x),
    "log_softmax": (gc.log_softmax, lambda x: x),
    "softmax of all": (lambda x: gc.softmax(x, axis=None), lambda x: x),
    "logsumexp": (lambda x: gc.logsumexp(x, -1), lambda x: np.logaddexp.reduce(x, axis=-1)),
    "logsumexp of all": (lambda x: gc.logsumexp(x, keepdims=True), lambda x: np.full((1,) * x.ndim, -np.inf)),
    "layer_norm": (gc.layer_norm, lambda x: x),
    "rms_norm": (gc.rms_norm, lambda x: x),
    "l2_normalize": (gc.l2_normalize, lambda x: x),
    "cosine_similarity": (lambda x: gc.cosine_similarity(x, x), lambda x: np.sum(x, axis=-1)),
    "soft labels": (lambda x: gc.softmax_cross_entropy(x, x), lambda x: np.sum(x, axis=-1)),
}


def numpys(function, x):
    """NumPy's answer, or None where it refuses."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            return np.asarray(function(x))
        except (ValueError, IndexError):
            return None


def graph_of(build, shape):
    graph = gc.Graph("g")
    graph.output("y", build(graph.placeholder("x", shape)))
    return graph


def check(build, shape, size, wanted):
    x = np.zeros(size)
    if wanted is None:
        with pytest.raises(GradcError):
            gc.compile(graph_of(build, shape))(x=x)
        with pytest.raises(GradcError):
            gc.evaluate(graph_of(build, shape), x=x)
        return
    graph = graph_of(build, shape)
    y = graph.outputs["y"]
    for passes in (gc.passes.NONE, gc.passes.DEFAULT):
        value = gc.compile(graph, passes=passes)(x=x)["y"]
        assert value.shape == wanted.shape and value.dtype == wanted.dtype
        np.testing.assert_array_equal(value, wanted)
        np.testing.assert_array_equal(gc.evaluate(graph, x=x)[y], wanted)
        if y.dtype.kind == "f":
            backward, forward = (gc.differentiate(graph, "x", of="y", mode=mode) for mode in ("reverse", "forward"))
            assert gc.compile(backward, passes=passes)(x=x)["d_y/d_x"].shape == size
            change = gc.compile(forward, "dot_y", passes=passes)(x=x, dot_x=x)["dot_y"]
            lost = np.isnan(wanted) & any(node.op.name == "dimension" for node in graph.nodes)  # 0 / n, and n is 0
            np.testing.assert_array_equal(np.where(lost, 0, change), np.zeros(wanted.shape))


@pytest.mark.parametrize("shape, size", SHAPES)
@pytest.mark.parametrize("name", FAMILY)
def test_nothing_is_what_numpy_says(name, shape, size):
    function = FAMILY[name]
    if name == "corrcoef" and isinstance(shape[0], str) and len(shape) > 1:
        pytest.skip("the number of variables is a number")
    check(function, shape, size, numpys(function, np.zeros(size)))


@pytest.mark.parametrize("shape, size", [s for s in SHAPES if len(s[0]) == 2])
@pytest.mark.parametrize("name", MATRICES)
def test_norms_of_empty_matrices(name, shape, size):
    check(MATRICES[name], shape, size, numpys(MATRICES[name], np.zeros(size)))


@pytest.mark.parametrize("shape, size", SHAPES)
@pytest.mark.parametrize("name", OWN)
def test_nothing_in_gradcs_own_functions(name, shape, size):
    build, wanted = OWN[name]
    check(build, shape, size, wanted(np.zeros(size)))


@pytest.mark.parametrize("shape", [(0, 3), ("n", 3)])
@pytest.mark.parametrize("options", [{}, {"causal": True}])
def test_attention_to_no_keys_is_zero(shape, options):
    graph = gc.Graph("g")
    keys = graph.placeholder("k", shape)
    graph.output("y", gc.attention(np.ones((2, 3)), keys, keys, **options))
    graph = gc.differentiate(graph, "k")
    value, gradient = gc.compile(graph)(k=np.zeros((0, 3))).values()
    np.testing.assert_array_equal(value, np.zeros((2, 3)))
    assert gradient.shape == (0, 3)


def test_softmax_of_a_symbolic_size_is_the_same_for_every_size():
    graph = gc.Graph("g")
    x = graph.placeholder("x", (2, "n"))
    for name, build in {"soft": gc.softmax, "log": gc.log_softmax, "sum": lambda v: gc.logsumexp(v, 1)}.items():
        graph.output(name, build(x))
    run = gc.compile(graph)
    for n in (0, 1, 5, 0):
        values = np.random.default_rng(n).standard_normal((2, n))
        out = run(x=values)
        total = np.exp(values).sum(1, keepdims=True)
        np.testing.assert_allclose(out["soft"], np.exp(values) / total, rtol=1e-14)
        with np.errstate(divide="ignore"):
            np.testing.assert_allclose(out["log"], values - np.log(total), rtol=1e-13, atol=1e-15)
            np.testing.assert_allclose(out["sum"], np.log(total)[:, 0], rtol=1e-13)


@pytest.mark.parametrize("shape, size", SHAPES)
def test_logsumexp_written_out_of_nothing(shape, size):
    graph = graph_of(lambda x: np.log(np.sum(np.exp(x), axis=-1)), shape)
    derivative = gc.differentiate(graph, "x", of="y")
    for passes in (gc.passes.NONE, gc.passes.DEFAULT):
        value, gradient = gc.compile(derivative, passes=passes)(x=np.zeros(size)).values()
        np.testing.assert_array_equal(value, np.full(size[:-1], -np.inf))
        assert gradient.shape == size


def test_extrema_of_nothing_say_what_to_do():
    with pytest.raises(GradcError, match=r"an empty axis has no extremum.*initial="):
        np.max(gc.Graph("g").placeholder("x", (0, 0)), axis=1)
    run = gc.compile(graph_of(lambda x: np.max(x, axis=1), ("n", "n")))
    with pytest.raises(GradcError, match="has no value where n = 0: an empty axis has no extremum"):
        run(x=np.zeros((0, 0)))


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "int64", "float32"])
@pytest.mark.parametrize("function", [np.max, np.min])
def test_extrema_from_an_initial_value(function, dtype):
    """In the dtype of the operand, also where there is nothing else, and where all entries lie beyond it."""
    for shape, size in (((0,), 0), (("n",), 0), (("n",), 3), ((3,), 3)):
        x = np.ones(size, dtype)
        for initial in (0, 1):
            graph = gc.Graph("g")
            graph.output("y", function(graph.placeholder("x", shape, dtype), initial=initial))
            wanted = function(x, initial=initial)
            value = gc.compile(graph)(x=x)["y"]
            assert value.dtype == wanted.dtype and value == wanted


@pytest.mark.parametrize("mode", ["reverse", "forward"])
@pytest.mark.parametrize("function", [np.mean, np.var, np.std, np.nanmean, np.nanvar, np.nanstd])
@pytest.mark.parametrize("keepdims", [False, True])
def test_of_nothing_chosen_nothing_changes(function, mode, keepdims):
    """Row 0 has entries, row 1 has none: its value is NaN, and its derivatives are 0 in both modes."""
    chosen = np.array([[True, False, True], [False, False, False]])
    x = np.array([[1.0, np.nan, 4.0], [np.nan, np.nan, np.nan]])
    if not function.__name__.startswith("nan"):
        x = np.nan_to_num(x, nan=9.0)
    for options in ({"where": chosen}, {}) if function.__name__.startswith("nan") else ({"where": chosen},):
        graph = graph_of(lambda v, options=options: function(v, axis=1, keepdims=keepdims, **options), (2, 3))
        derivative = gc.differentiate(graph, "x", of="y", mode=mode)
        if mode == "reverse":
            found = gc.compile(derivative)(x=x)["d_y/d_x"]
            np.testing.assert_array_equal(found[1], np.zeros(3))
            assert found[0, 0] == {"mean": 0.5, "var": -1.5, "std": -0.5}[function.__name__.removeprefix("nan")]
            assert found[0, 1] == 0
        else:
            out = gc.compile(derivative)(x=x, dot_x=np.array([[1.0, 7.0, 0.0], [1.0, 2.0, 3.0]]))
            assert np.isnan(out["y"].reshape(-1)[1])
            wanted = {"mean": 0.5, "var": -1.5, "std": -0.5}[function.__name__.removeprefix("nan")]
            np.testing.assert_array_equal(out["dot_y"].reshape(-1), [wanted, 0])


def test_covariances_with_no_freedom_left():
    x = np.array([[1.0, 2.0], [3.0, 5.0]])
    with pytest.warns(RuntimeWarning):
        wanted = np.cov(x, ddof=3)
    graph = graph_of(lambda v: np.cov(v, ddof=3), (2, 2))
    np.testing.assert_array_equal(gc.compile(graph)(x=x)["y"], wanted)
