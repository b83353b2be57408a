"""Functions that move entries: random chains of them against NumPy, their adjoints against Jacobians, edge cases by hand."""

import importlib
import inspect
import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gradc as gc
from gradc import errors
from gradc.ir import FUNCTIONS

MODULES = ("shaping", "joining", "rearranging", "padding", "creation")
MODES = ("constant", "edge", "reflect", "symmetric", "wrap")

# --- chains ------------------------------------------------------------------------------------------


def axis_of(x, n):
    """Any axis, counted from either end."""
    return n % (2 * x.ndim) - x.ndim if x.ndim else None


def joined(x, n):
    others = (x, x[::-1] if x.ndim else x, x)
    return [np.stack, np.hstack, np.vstack, np.dstack, np.column_stack][n % 5](others[: 1 + n % 3])


def parts(x, n):
    axis = axis_of(x, n)
    if axis is None:
        return x
    found = np.array_split(x, 1 + n % 3, axis) if n % 2 else np.split(x, [1, 1 + n % 3], axis)
    return np.concatenate(found[::-1], axis)


def rolled(x, n):
    return np.roll(x, (n - 7, 2), (0, axis_of(x, n))) if x.ndim > 1 else np.roll(x, n - 7)


def padded(x, n):
    mode = MODES[n % 5]
    widths = [((n + k) % 3, (n // 3 + 2 * k) % 4) for k in range(x.ndim)]
    if not x.ndim or (mode != "constant" and 0 in x.shape):
        return x
    return np.pad(x, widths, mode, **({"constant_values": (n % 3, -1.5)} if mode == "constant" else {}))


def turned(x, n):
    if x.ndim < 2:
        return np.flip(x)
    return np.rot90(x, n, (0, -1)) if n % 2 else np.flip(x, axis_of(x, n))


def moved(x, n):
    if not x.ndim:
        return np.expand_dims(x, 0)
    return np.moveaxis(x, axis_of(x, n), axis_of(x, n // 3)) if n % 2 else np.rollaxis(x, axis_of(x, n), n % (x.ndim + 1))


def repeated(x, n):
    axis = axis_of(x, n)
    if axis is None or n % 3 == 0:
        return np.repeat(x, 1 + n % 2)
    return np.repeat(x, [(n + k) % 3 for k in range(x.shape[axis])] if n % 3 == 1 else n % 4, axis)


def triangle(x, n):
    return [np.triu, np.tril][n % 2](x, n % 5 - 2) if x.ndim else np.atleast_2d(x)


def diagonals(x, n):
    if x.ndim < 2 or 0 in x.shape:
        return np.diagflat(x, n % 5 - 2)
    return np.diagonal(x, n % 3 - 1, n % x.ndim, (n + 1) % x.ndim) if n % 2 else np.diag(x.reshape(x.shape[0], -1), n % 3 - 1)


def changed(x, n):
    axis = axis_of(x, n)
    if axis is None or not x.shape[axis]:
        return np.append(x, [2.0, n])
    if n % 3 == 0:
        return np.delete(x, n % x.shape[axis], axis)
    return np.insert(x, n % (x.shape[axis] + 1), 1.5, axis) if n % 3 == 1 else np.delete(x, slice(None, None, 2), axis)


def reshaped(x, n):
    if n % 4 == 0:
        return np.reshape(x, -1, order="F")
    if n % 4 == 1:
        return np.transpose(x)
    return np.broadcast_to(x, (2, *x.shape)) if n % 4 == 2 else np.squeeze(np.atleast_3d(x))


def grids(x, n):
    return np.meshgrid(np.ravel(x)[:3], np.arange(2.0), indexing="xy" if n % 2 else "ij", sparse=n % 3 == 0)[0]


def tiled(x, n):
    return np.tile(x, [(2,), (1, 2), (2, 1, 1), (0,), 3][n % 5])


STEPS = (
    joined,
    parts,
    rolled,
    padded,
    turned,
    moved,
    repeated,
    triangle,
    diagonals,
    changed,
    reshaped,
    grids,
    tiled,
    lambda x, n: np.resize(x, (2, n % 5)),
    lambda x, n: np.block([[x, x], [x, x]]),
)


def chain(x, steps):
    """The steps one after the other, as long as the result stays small."""
    for kind, n in steps:
        y = STEPS[kind](x, n)
        if np.size(y) > 300 or np.ndim(y) > 5:
            break
        x = y
    return x


def jacobian(f, shape):
    """d f / d x for an affine f: a row for each entry of the result."""
    size = int(np.prod(shape))
    zero = f(np.zeros(shape)).ravel()
    columns = [(f(e.reshape(shape)).ravel() - zero) for e in np.eye(size)]
    return np.array(columns).T.reshape(zero.size, size)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from([(), (1,), (3,), (2, 3), (3, 1), (0, 2), (2, 1, 3), (3, 3)]),
    st.lists(st.tuples(st.integers(0, len(STEPS) - 1), st.integers(0, 29)), min_size=1, max_size=5),
)
def test_chains_are_numpys_bit_for_bit_and_adjoints_are_exact(shape, steps):
    """Special values go through with their bits; J^T v and J u of small integers are exact."""
    size = int(np.prod(shape))
    special = np.array([-0.0, np.nan, -np.inf, 5e-324, 1.0, 2.0, 3.0, 4.0, 5.0])[:size].reshape(shape)
    g = gc.Graph("g")
    x = g.placeholder("x", shape)
    g.output("y", chain(x, steps))
    wanted = np.ascontiguousarray(chain(special, steps))
    for got in (gc.evaluate(g, x=special)[g.outputs["y"]], g.compile()(x=special)["y"]):
        assert got.shape == np.shape(chain(special, steps))
        assert np.ascontiguousarray(got).tobytes() == wanted.tobytes()
    matrix = jacobian(lambda a: chain(a, steps), shape)
    v = np.arange(1.0, 1 + wanted.size).reshape(got.shape)
    u = np.arange(1.0, 1 + size)[::-1].reshape(shape)
    values = np.ones(shape)
    reverse = gc.differentiate(g, x, seed=True, on_disconnected="zeros")
    pulled = (matrix.T @ v.ravel()).reshape(shape)
    forward = gc.differentiate(g, x, mode="forward", on_disconnected="zeros")
    pushed = (matrix @ u.ravel()).reshape(got.shape)
    for run in (
        lambda g, feeds: {k: gc.evaluate(g, feeds)[n] for k, n in g.outputs.items()},
        lambda g, feeds: g.compile()(feeds),
    ):
        np.testing.assert_array_equal(run(reverse, {"x": values, "bar_y": v})["d_y/d_x"], pulled)
        np.testing.assert_array_equal(run(forward, {"x": values, "dot_x": u})["dot_y"], pushed)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "int64", "float16", "float32"])
@pytest.mark.parametrize("kind", range(len(STEPS)))
def test_dtypes_are_numpys(kind, dtype):
    value = np.arange(6).reshape(2, 3).astype(dtype)
    for n in range(6):
        g = gc.Graph("g")
        y = g.output("y", STEPS[kind](g.placeholder("x", (2, 3), dtype), n))
        wanted = STEPS[kind](value, n)
        got = g.compile()(x=value)["y"]
        assert (y.dtype, got.dtype) == (wanted.dtype, wanted.dtype)
        np.testing.assert_array_equal(got, wanted)


# --- pad ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_padding_of_every_width_and_its_adjoint(mode, size):
    """Pads several times as long as the array go around again and again, as NumPy's do."""
    value = np.arange(1.0, 1 + size)
    for widths in itertools.product(range(0, 13, 3), range(0, 14)):
        g = gc.Graph("g")
        x = g.placeholder("x", (size,))
        g.output("y", np.pad(x, widths, mode))
        out = gc.differentiate(g, x, seed=True).compile()(x=value, bar_y=np.arange(1.0, 1 + size + sum(widths)))
        np.testing.assert_array_equal(out["y"], np.pad(value, widths, mode))
        matrix = jacobian(lambda a: np.pad(a, widths, mode), (size,))  # noqa: B023
        np.testing.assert_array_equal(out["d_y/d_x"], matrix.T @ np.arange(1.0, 1 + len(matrix)))


@pytest.mark.parametrize("mode", ["reflect", "symmetric"])
def test_odd_reflections_of_every_width(mode):
    for size, before, after in itertools.product(range(1, 5), range(0, 12, 2), range(0, 13, 3)):
        value = np.arange(size) ** 2.0
        got = np.pad(gc.constant(value), (before, after), mode, reflect_type="odd")
        g = gc.Graph("g")
        g.output("y", got)
        np.testing.assert_array_equal(g.compile()()["y"], np.pad(value, (before, after), mode, reflect_type="odd"))


@pytest.mark.parametrize("mode", ["maximum", "mean", "median", "minimum", "linear_ramp"])
@pytest.mark.parametrize("dtype", ["float64", "int32"])
def test_padding_with_what_is_computed(mode, dtype):
    value = np.array([[3, 1, 4, 1], [5, 9, 2, 6]], dtype)
    keywords = (
        [{"end_values": ((1, 2), (3, 4))}, {}] if mode == "linear_ramp" else [{"stat_length": 2}, {}, {"stat_length": (1, 9)}]
    )
    for given_, widths in itertools.product(keywords, [1, (2, 0), ((1, 2), (3, 0))]):
        g = gc.Graph("g")
        g.output("y", np.pad(g.placeholder("x", value.shape, dtype), widths, mode, **given_))
        got = g.compile()(x=value)["y"]
        wanted = np.pad(value, widths, mode, **given_)
        assert got.dtype == wanted.dtype
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("rows, columns", [((0, 0), (1, 2)), ((2, 2), (0, 0)), ((2, 1), (0, 3)), ((0, 0), (0, 0))])
def test_widths_by_axis(rows, columns):
    """As NumPy has them from 2.2 on."""
    value = np.arange(6.0).reshape(2, 3)
    widths = {axis: width[0] if width[0] == width[1] else width for axis, width in ((0, rows), (-1, columns)) if any(width)}
    g = gc.Graph("g")
    g.output("y", np.pad(g.placeholder("x", value.shape), widths))
    np.testing.assert_array_equal(g.compile()(x=value)["y"], np.pad(value, (rows, columns)))


def test_what_is_padded_with_may_be_a_node():
    g = gc.Graph("g")
    x, c = g.placeholder("x", (2,)), g.placeholder("c")
    g.output("y", (np.pad(x, (1, 2), constant_values=(c, 3.0)) * [1, 2, 3, 4, 5]).sum() + np.pad(x, 1, constant_values=c).sum())
    out = gc.differentiate(g, [x, c]).compile()(x=[1.0, 2.0], c=7.0)
    assert out["d_y/d_c"] == 1 + 2
    assert out["d_y/d_x"].tolist() == [3, 4]


# --- symbolic dimensions -----------------------------------------------------------------------------

SYMBOLIC = {
    "stack": lambda x: np.stack([x, x], 1),
    "hstack": lambda x: np.hstack([x, 2 * x]),
    "vstack": lambda x: np.vstack([x, x]),
    "concatenate": lambda x: np.concatenate([x[1:], x]),
    "append": lambda x: np.append(x, [1.0, 2.0]),
    "block": lambda x: np.block([[x, x], [x, x]]),
    "flip": lambda x: np.flip(x),
    "rot90": lambda x: np.rot90(x, 3),
    "roll": lambda x: np.roll(x, (2, 1), (0, 1)),
    "roll flat": lambda x: np.roll(x, 2),
    "moveaxis": lambda x: np.moveaxis(x, 0, 1),
    "tile": lambda x: np.tile(x, (2, 1, 2)),
    "repeat": lambda x: np.repeat(x, 2, 0),
    "repeat counts": lambda x: np.repeat(x, [1, 0, 2], 1),
    "pad": lambda x: np.pad(x, ((1, 2), (0, 1))),
    "pad values": lambda x: np.pad(x, 1, constant_values=2.0),
    "triu": lambda x: np.triu(x, 1),
    "tril": lambda x: np.tril(x),
    "diag": lambda x: np.diag(x[:, 0], 1),
    "diagflat": lambda x: np.diagflat(x),
    "diagonal": lambda x: np.diagonal(x, -1),
    "trace": lambda x: np.trace(x),
    "trace of a square": lambda x: np.trace(x @ x.T),
    "meshgrid": lambda x: np.meshgrid(x[:, 0], x[:, 1])[1],
    "split": lambda x: np.split(x, [1, 2])[1],
    "split of a double": lambda x: np.split(np.concatenate([x, x]), 2)[1],
    "insert": lambda x: np.insert(x, 0, 5.0, axis=0),
    "delete": lambda x: np.delete(x, -1, axis=0),
    "unstack": lambda x: np.unstack(x, axis=1)[2],
    "linspace": lambda x: np.linspace(x, 1.0, 3),
    "full_like": lambda x: np.full_like(x, 2.0) * x,
    "atleast_3d": lambda x: np.atleast_3d(x[:, 0], x)[0],
    "ravel": lambda x: np.ravel(x, order="F"),
}
REPEATING = {mode: lambda x, mode=mode: np.pad(x, ((3, 4), (1, 2)), mode) for mode in MODES[1:]}
COMPUTED = {mode: lambda x, mode=mode: np.pad(x, ((2, 1), (0, 1)), mode) for mode in ("maximum", "mean", "linear_ramp")}


@pytest.mark.parametrize("name", [*SYMBOLIC, *REPEATING, *COMPUTED])
def test_symbolic_dimensions(name):
    f = {**SYMBOLIC, **REPEATING, **COMPUTED}[name]
    g = gc.Graph("g")
    x = g.placeholder("x", ("n", 3))
    y = g.output("y", f(x))
    dg = gc.differentiate(g, x)
    compiled = dg.compile()
    fixed = gc.Graph("fixed")
    for n in range(0 if name in SYMBOLIC and name != "delete" else 1, 6):
        value = np.random.default_rng(n).standard_normal((n, 3))
        fixed = gc.Graph("fixed")
        f_x = fixed.output("y", f(fixed.placeholder("x", (n, 3))))
        wanted = gc.evaluate(gc.differentiate(fixed, "x"), x=value)
        trace, out = gc.evaluate(dg, x=value), compiled(x=value)
        np.testing.assert_array_equal(trace[y], f(value))
        np.testing.assert_array_equal(out["y"], f(value))
        assert trace[y].shape == f_x.shape
        adjoint = wanted[wanted.graph.grad["x"]]
        np.testing.assert_allclose(out["d_y/d_x"], adjoint, rtol=1e-14, atol=1e-14)
        np.testing.assert_allclose(trace[dg.grad[x]], adjoint, rtol=1e-14, atol=1e-14)


def test_symbolic_creation():
    g = gc.Graph("g")
    n = g.placeholder("x", ("n",)).shape[0]
    made = {
        "zeros": (gc.zeros((n, 2)), lambda n: np.zeros((n, 2))),
        "ones": (gc.ones(n, "float32"), lambda n: np.ones(n, "float32")),
        "full": (gc.full((2, n), 1.5), lambda n: np.full((2, n), 1.5)),
        "eye": (gc.eye(n, 3, 1), lambda n: np.eye(n, 3, 1)),
        "tri": (gc.tri(n, k=-1), lambda n: np.tri(n, k=-1)),
        "arange": (gc.arange(n, dtype="float64"), lambda n: np.arange(n, dtype="float64")),
    }
    for name, (node, _) in made.items():
        g.output(name, node)
    run = g.compile()
    for size in (0, 1, 4):
        out = run(x=np.zeros(size))
        for name, (_, wanted) in made.items():
            assert out[name].dtype == wanted(size).dtype
            np.testing.assert_array_equal(out[name], wanted(size))


def test_an_empty_axis_has_no_edge():
    g = gc.Graph("g")
    g.output("y", np.pad(g.placeholder("x", ("n",)), 1, "edge"))
    with pytest.raises(errors.FeedError, match=r"pad: axis 0 of .* is empty"):
        gc.evaluate(g, x=np.zeros(0))


# --- what a person would write -----------------------------------------------------------------------


def adjoint_ops(f, *shapes):
    """The ops that reverse mode adds, passes done."""
    g = gc.Graph("g")
    nodes = [g.placeholder(f"x{k}", s) for k, s in enumerate(shapes)]
    g.output("y", f(*nodes))
    dg = gc.differentiate(g, nodes, of="y", seed=True)
    compiled = dg.compile(outputs=[name for name in dg.outputs if name != "y"])
    return [n.op.name for n in compiled.graph.nodes if n.op.name not in ("placeholder", "constant")]


@pytest.mark.parametrize(
    ("f", "wanted"),
    [
        (lambda x: x[::-1, None], ["reshape", "getitem"]),
        (lambda x: np.flip(x), ["getitem"]),
        (lambda x: np.rot90(x), ["transpose", "getitem"]),
        (lambda x: np.roll(x, 1, 0), ["roll"]),
        (lambda x: np.tile(x, (2, 1)), ["reshape", "sum"]),
        (lambda x: np.repeat(x, 20, 0), ["reshape", "sum"]),
        (lambda x: np.pad(x, 1), ["getitem"]),
        (lambda x: np.pad(x, 1, "reflect"), ["fold"]),
        (lambda x: np.diagonal(x), ["place_diagonal"]),
    ],
)
def test_adjoints_are_what_a_person_would_write(f, wanted):
    got = adjoint_ops(f, (4, 3))
    assert [op for op in got if op != "identity"] == wanted


def test_parts_of_a_split_are_added_in_place():
    def f(x):
        a, b, c = np.split(x, 3)
        return a * 2 + b * 3 + c * 4

    assert "placed_sum" in adjoint_ops(f, (6,))


def test_a_great_many_arrays_are_joined():
    count = 20_000
    g = gc.Graph("g")
    x = g.placeholder("x", (2,))
    a, b = x[:1], x[1:]
    g.output("y", np.concatenate([a, b] * (count // 2)))
    assert g.outputs["y"].shape == (count,)
    dg = gc.differentiate(g, x)
    value = gc.evaluate(dg, x=np.array([1.0, 2.0]))
    assert value[dg.grad[x]].tolist() == [count / 2, count / 2]


def test_joined_groups_promote_as_one():
    arrays = [np.ones(1, dtype) for dtype in ["int8", "uint8", *["float16"] * 300, "int32"]]
    g = gc.Graph("g")
    first = g.placeholder("x", (1,), "int8")
    y = g.output("y", np.concatenate([first, *arrays[1:]]))
    assert y.dtype == np.concatenate(arrays).dtype
    np.testing.assert_array_equal(gc.evaluate(g, x=np.ones(1, "int8"))[y], np.concatenate(arrays))


# --- NumPy's names -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "function",
    [f for m in MODULES for f in FUNCTIONS.values() if f.numpy and f.build.__module__ == f"gradc.ops.{m}"],
    ids=lambda f: f.name,
)
def test_arguments_have_numpys_names_and_order(function):
    theirs = function.numpy[0]
    try:
        wanted = inspect.signature(theirs).parameters
    except ValueError:
        pytest.skip("NumPy hides the signature")
    assert [p for p in inspect.signature(function.build).parameters] == [p for p in wanted if p not in ("like", "newshape")]


def test_trace_is_a_method_and_no_name_of_gradcs():
    assert "trace" not in importlib.import_module("gradc.ops.rearranging").__all__
    x = gc.Graph("g").placeholder("x", (2, 3))
    for node in (x.trace(), np.trace(x), x.trace(offset=1)):
        assert node.shape == ()


def test_what_a_node_is_needs_no_value():
    x = gc.Graph("g").placeholder("x", ("n", 3), "float32")
    n = x.shape[0]
    assert np.shape(x) == (n, 3)
    assert np.ndim(x) == 2
    assert np.size(x) == 3 * n
    assert np.size(x, 1) == 3
    assert np.size(x, (0, 1)) == 3 * n
    assert np.result_type(x, np.int64) == np.float64
    assert np.can_cast(x, "float64")
    assert not np.can_cast(x, np.float16)
    assert np.common_type(x, np.ones(1)) is np.float64
    assert np.isrealobj(x)
    assert not np.iscomplexobj(x)


def test_numpy_integers_and_arrays_are_arguments():
    i = np.int64
    x = gc.Graph("g").placeholder("x", (2, 3))
    assert np.reshape(x, np.array([3, -1])).shape == (3, 2)
    assert x.reshape(i(-1)).shape == (6,)
    assert np.moveaxis(x, i(0), i(-1)).shape == (3, 2)
    assert np.transpose(x, np.array([1, 0])).shape == (3, 2)
    assert np.tile(x, np.array([2, 1])).shape == (4, 3)
    assert np.repeat(x, np.array(2)).shape == (12,)
    assert np.repeat(x, i(2), i(1)).shape == (2, 6)
    assert np.roll(x, np.array([1, 1]), (i(0), i(1))).shape == (2, 3)
    assert [p.shape for p in np.split(x, np.array([1, 2]), axis=i(1))] == [(2, 1)] * 3
    assert np.pad(x, np.array([[1, 0], [0, 2]])).shape == (3, 5)
    assert np.linspace(x, 1, i(4), axis=i(-1)).shape == (2, 3, 4)
    assert np.diag(x, i(1)).shape == (2,)
    assert np.rot90(x, i(1)).shape == (3, 2)


WRONG = {
    "np.moveaxis(x, (0, 1), 0)": "2 axes cannot go to 1 places",
    "np.moveaxis(x, (0, 0), (0, 1))": "names the same axis twice",
    "np.rollaxis(x, 0, 4)": "start runs from -2 to 2",
    "np.stack([x, x.T])": "arrays of one shape are needed",
    "np.stack([x, x], axis=5)": "out of bounds",
    "np.stack([x, x], out=np.zeros(3))": "out= on a node",
    "np.concatenate([x, x], dtype='int8')": "cannot be cast to int8",
    "gc.concatenate(3)": "expected a sequence of arrays",
    "gc.concatenate([])": "at least one array",
    "np.block([[x], []])": "none is empty",
    "np.block([x, []])": "nested to one depth",
    "np.split(x, 2, 1)": "no 2 equal parts",
    "np.split(x, 0)": "positive",
    "np.split(x, 1.5)": "is an integer, got 1.5",
    "np.split(x, [0.5])": "is an integer, got 0.5",
    "np.dsplit(x, 1)": "3 or more dimensions",
    "np.array_split(v, 3)": "give the indices at which to split",
    "np.roll(x, 1.5)": "is an integer, got 1.5",
    "np.roll(x, (1, 2, 3), (0, 1))": "3 shifts for 2 axes",
    "np.roll(x, x)": "use a Python integer",
    "np.tile(x, -1)": "not negative",
    "np.repeat(x, [1, 2], 1)": "2 counts for axis 1",
    "np.rot90(x, axes=(1, -1))": "two different axes",
    "np.pad(x, -1)": "negative",
    "np.pad(x, 1.5)": "integers",
    "np.pad(x, ((1, 2), (3, 4), (5, 6)))": "pair for each of 2 axes",
    "np.pad(x, 1, 'mirror')": "the modes are",
    "np.pad(x, 1, 'edge', constant_values=1)": "takes no keyword",
    "np.pad(x, 1, 'mean', constant_values=1)": "takes stat_length=",
    "np.pad(x, 1, lambda *a: None)": "a function as mode",
    "np.pad(x, {3: 1})": "out of bounds",
    "np.pad(x[:0], 1, 'wrap')": "is empty",
    "np.pad(x, 1, 'reflect', reflect_type='evil')": "even",
    "np.diagonal(x, 0, 1, 1)": "two different axes",
    "np.diag(np.stack([x, x]))": "a vector or a matrix",
    "np.meshgrid(x, indexing='zz')": "'xy' or 'ij'",
    "np.insert(x, 9, 1.0)": "out of bounds",
    "np.delete(x, [7], 0)": "out of bounds",
    "np.delete(v, [0, 1])": "is symbolic",
    "np.resize(v, 3)": "sizes must be numbers",
    "np.reshape(x, (2, 3), order='Z')": "order is",
    "np.linspace(x, 1, -1)": "not negative",
    "np.linspace(x, 1, 2.5)": "is an integer",
    "gc.arange(1, v.shape[0])": "runs from 0 by 1",
    "gc.arange(0, 1, 0)": "division by zero",
    "np.broadcast_arrays(x, v)": "do not broadcast",
}


@pytest.mark.parametrize("code", WRONG)
def test_wrong_arguments_are_one_clear_error(code):
    g = gc.Graph("g")
    names = {"np": np, "gc": gc, "x": g.placeholder("x", (2, 3)), "v": g.placeholder("v", ("n",))}
    with pytest.raises(errors.GradcError, match=WRONG[code]):
        eval(code, names)
