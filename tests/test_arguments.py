"""Bad arguments of functions: one clear error of gradc's, naming the function, and never one of the machinery beneath."""

import numpy as np
import pytest

import gradc as gc
from gradc import errors

RAGGED = [[1.0], [1.0, 2.0]]
OBJECTS = np.array([None, 1], dtype=object)

CALLS = {
    "slope None": (lambda x, s: gc.leaky_relu(x, None), errors.ArgumentError, "leaky_relu.*number"),
    "slope text": (lambda x, s: gc.elu(x, "a"), errors.ArgumentError, "elu.*number"),
    "slope node": (lambda x, s: gc.celu(x, s), errors.TraceError, "no value"),
    "slope complex": (lambda x, s: gc.celu(x, 1j), errors.ArgumentError, "celu.*number"),
    "slope huge": (lambda x, s: gc.celu(x, 10**400), errors.ArgumentError, "float can hold"),
    "delta text": (lambda x, s: gc.huber(x, "1"), errors.ArgumentError, "huber: delta"),
    "cutoff ragged": (lambda x, s: gc.matrix_rank(x[None], rtol=RAGGED), errors.ArgumentError, "matrix_rank: the cutoff"),
    "cutoff text": (lambda x, s: gc.matrix_rank(x[None], rtol="a"), errors.ArgumentError, "matrix_rank: the cutoff"),
    "no operand": (lambda x, s: gc.relu6(), errors.GraphError, "relu6: expected operands"),
    "ragged operand": (lambda x, s: gc.cross(RAGGED, x), errors.ArgumentError, "cross.*array of numbers"),
    "ragged part": (lambda x, s: gc.concatenate([RAGGED, x]), errors.ArgumentError, "concatenate.*array of numbers"),
    "ragged fill": (lambda x, s: gc.full((2, 2), RAGGED), errors.ArgumentError, "full.*array of numbers"),
    "ragged q": (lambda x, s: gc.percentile(x, RAGGED), errors.ArgumentError, "percentile.*array of numbers"),
    "text q": (lambda x, s: gc.percentile(x, "a"), errors.DTypeError, "percentile"),
    "ragged spacing": (lambda x, s: gc.gradient(x, RAGGED), errors.ArgumentError, "gradient.*array of numbers"),
    "triangle of a shape": (lambda x, s: gc.tri((2, 3)), errors.ShapeError, "tri: a dimension"),
    "no choices": (lambda x, s: gc.choose(s, ()), errors.ArgumentError, "choose.*at least one"),
    "choices None": (lambda x, s: gc.choose(s, None), errors.ArgumentError, "choose.*sequence"),
    "conditions None": (lambda x, s: gc.select(None, [x]), errors.ArgumentError, "select.*sequence"),
    "axis of objects": (lambda x, s: x.sum(OBJECTS), errors.ArgumentError, "sum: an axis is an integer"),
    "shape of objects": (lambda x, s: gc.ones(OBJECTS), errors.ShapeError, "ones: a dimension"),
    "delete at a node": (lambda x, s: gc.delete(x, s), errors.TraceError, "delete.*got a node"),
    "differences text": (lambda x, s: gc.diff(x, "a"), errors.ArgumentError, "diff: n is an integer"),
    "differences half": (lambda x, s: gc.diff(x, 1.5), errors.ArgumentError, "diff: n is an integer"),
    "decimals infinite": (lambda x, s: gc.round(x, np.inf), errors.ArgumentError, "round: decimals"),
    "in place of NaN": (lambda x, s: gc.nan_to_num(x, nan="a"), errors.ArgumentError, "nan_to_num.*number"),
    "in place of infinity": (lambda x, s: gc.nan_to_num(x, posinf=RAGGED), errors.ArgumentError, "nan_to_num.*number"),
    "ragged condition": (lambda x, s: gc.compress(RAGGED, x), errors.ArgumentError, "compress.*array of numbers"),
    "ragged places": (lambda x, s: gc.insert(x, RAGGED, 1.0), errors.ArgumentError, "insert.*array of numbers"),
    "ragged widths": (lambda x, s: gc.pad(x, RAGGED), errors.ArgumentError, "pad.*array of numbers"),
    "ragged weights": (lambda x, s: gc.average(x, weights=RAGGED), errors.ArgumentError, "average.*array of numbers"),
    "negative bins": (lambda x, s: gc.bincount([0, 1, 1], x, minlength=-1), errors.ArgumentError, "negative"),
    "bins text": (lambda x, s: gc.bincount([0, 1, 1], x, minlength="a"), errors.ArgumentError, "minlength is an integer"),
}


@pytest.mark.parametrize("case", CALLS)
def test_bad_arguments(case):
    call, kind, message = CALLS[case]
    g = gc.Graph()
    with pytest.raises(kind, match=message):
        call(g.placeholder("x", 3), g.placeholder("s", (), "int64"))


def test_what_numpy_takes_is_taken():
    """Arrays as shapes, small unsigned labels, a diagonal far outside, a gradient along no axis."""
    g = gc.Graph()
    x, e = g.placeholder("x", 4), g.placeholder("e")
    labels = np.array([1, 2, 3, 1], "uint8")
    g.output("ones", gc.ones(np.array([2, 3])) * e)
    g.output("bins", gc.bincount(labels, x))
    g.output("flat", np.reshape(x, np.array(4)))
    g.output("all", gc.triu(x[None], -(10**30)))
    g.output("none", gc.triu(x[None], 10**30))
    out = g.compile()(x=np.arange(4.0), e=2.0)
    assert out["ones"].shape == (2, 3)
    np.testing.assert_array_equal(out["bins"], np.bincount(labels, np.arange(4.0)))
    np.testing.assert_array_equal(out["all"], [[0.0, 1.0, 2.0, 3.0]])
    np.testing.assert_array_equal(out["none"], np.zeros((1, 4)))
    assert gc.gradient(e) == ()


@pytest.mark.parametrize("dtype", [None, "float16", "float32", "float64"])
def test_geometric_sequences_of_narrow_ends_are_as_wide_as_numpys(dtype):
    start, stop = np.array([1.0, 2.0], "float32"), np.array(8.0, "float32")
    g = gc.Graph()
    a, b = g.placeholder("a", 2, "float32"), g.placeholder("b", (), "float32")
    g.output("y", np.geomspace(a, b, 5, dtype=dtype))
    value = g.compile(passes=gc.passes.NONE)(a=start, b=stop)["y"]
    wanted = np.geomspace(start, stop, 5, dtype=dtype)
    assert value.dtype == wanted.dtype
    np.testing.assert_array_equal(value, wanted)


def test_operands_may_have_the_names_that_numpy_gives_them():
    g = gc.Graph()
    x = g.placeholder("x", (2, 3))
    by_name = {
        "sum": np.sum(a=x, axis=0, out=None),
        "sort": np.sort(a=x),
        "quantile": np.quantile(a=x, q=0.5, axis=1),
        "rank": np.linalg.matrix_rank(A=x),
        "round": np.round(a=x, decimals=1, out=None),
        "ediff1d": np.ediff1d(ary=x),
        "take": np.take(a=x, indices=[0, 1], axis=1),
        "clip": np.clip(a=x, a_min=0, a_max=1),
    }
    by_place = {
        "sum": np.sum(x, 0),
        "sort": np.sort(x),
        "quantile": np.quantile(x, 0.5, 1),
        "rank": np.linalg.matrix_rank(x),
        "round": np.round(x, 1),
        "ediff1d": np.ediff1d(x),
        "take": np.take(x, [0, 1], 1),
        "clip": np.clip(x, 0, 1),
    }
    value = np.arange(6.0).reshape(2, 3) / 7
    for name, node in by_name.items():
        trace = gc.evaluate(gc.ir.Graph.of(name, g.placeholders, {"a": node, "b": by_place[name]}), {"x": value})
        np.testing.assert_array_equal(trace[node], trace[by_place[name]])
    with pytest.raises(errors.UnsupportedError, match=r"np\.cov.*fweights"):
        np.cov(x, fweights=[1, 2, 3])


def test_unknown_keywords_name_the_function_that_was_called():
    x = gc.Graph("g").placeholder("x", 3)
    with pytest.raises(errors.ArgumentError, match="exp: an argument is unknown or missing: got foo"):
        gc.exp(x, foo=1)
    with pytest.raises(errors.DTypeError, match="einsum: NumPy knows no dtype 'abc'"):
        np.einsum("i->", x, dtype="abc")
    with pytest.raises(errors.ArgumentError, match="einsum: casting is one of"):
        np.einsum("i->", x, casting="abc")
    with pytest.raises(errors.ArgumentError, match="tensordot: axes"):
        np.tensordot(x, x, axes=None)
