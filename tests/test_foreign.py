"""Nodes in the hands of other libraries, and in the habits of their users: what works, what is said, and at which line."""

import importlib
import sys

import numpy as np
import pytest

import gradc as gc
from gradc import errors
from gradc.ir import FUNCTIONS, OPS
from gradc.ops.declare import op

special = pytest.importorskip("scipy.special")


def vector():
    return gc.Graph("g").placeholder("x", 3)


# --- scipy.special -----------------------------------------------------------------------------------------

UNARY = {
    "expit": (-2.0, 0.0, 30.0),
    "log_expit": (-800.0, 0.0, 3.0),
    "erf": (-1.0, 0.0, 2.0),
    "erfc": (-1.0, 0.0, 5.0),
    "gammaln": (0.5, 1.0, 30.0),
    "psi": (0.5, 1.0, 30.0),
    "digamma": (0.5, 1.0, 30.0),
    "logit": (0.1, 0.5, 0.9),
    "ndtr": (-3.0, 0.0, 3.0),
    "log_ndtr": (-40.0, 0.0, 3.0),
    "cbrt": (-8.0, 1.0, 2.0),
    "exp2": (-1.0, 0.0, 3.0),
    "expm1": (-1.0, 1e-10, 3.0),
    "log1p": (-0.5, 1e-10, 3.0),
    "round": (-1.5, 0.5, 2.5),
    "sinc": (-1.5, 0.0, 2.5),
}


@pytest.mark.parametrize("name", [n for n in UNARY if n != "log_ndtr" or n in FUNCTIONS])
def test_functions_of_scipy_special_that_gradc_has_build_nodes(name):
    fn, at = getattr(special, name), np.array(UNARY[name])
    graph = gc.trace(lambda x: fn(x), gc.spec(3))
    np.testing.assert_allclose(graph.compile()(x=at)["out"], fn(at), rtol=1e-14)
    gc.testing.check_gradients(graph, {"x": at + 0.01}, order=1)


@pytest.mark.parametrize("name", ["xlogy", "xlog1py"])
def test_functions_of_scipy_special_of_two_operands_build_nodes(name):
    fn, x, y = getattr(special, name), np.array([0.0, 1.0, 2.0]), np.array([0.0, 0.5, 3.0])
    graph = gc.trace(lambda x, y: {"both": fn(x, y), "one": fn(2.0, y + 1), "outer": fn.outer(x, y + 1)}, gc.spec(3), gc.spec(3))
    got = graph.compile()(x=x, y=y)
    np.testing.assert_allclose(got["both"], fn(x, y), rtol=1e-14)
    np.testing.assert_allclose(got["one"], fn(2.0, y + 1), rtol=1e-14)
    np.testing.assert_allclose(got["outer"], fn.outer(x, y + 1), rtol=1e-14)


SAID = {
    "softmax": (lambda x: special.softmax(x), r"scipy\.special\.softmax\(node\).*\n.*\n.*write gc\.softmax"),
    "log_softmax": (lambda x: special.log_softmax(x, axis=0), r"special\.log_softmax\(node\).*\n.*\n.*write gc\.log_softmax"),
    "logsumexp": (lambda x: special.logsumexp(x), r"scipy\.special\.logsumexp\(node\).*\n.*\n.*write gc\.logsumexp"),
    "polygamma": (lambda x: special.polygamma(1, x), r"scipy\.special\.polygamma\(node\).*\n.*\n.*write gc\.polygamma"),
    "gamma": (lambda x: special.gamma(x), r"scipy\.special\.gamma on a node.*\n.*\n.*np\.exp\(gc\.lgamma\(x\)\)"),
    "betaln": (lambda x: special.betaln(x, 2.0), r"scipy\.special\.betaln on a node.*\n.*\n.*gc\.lgamma\(a \+ b\)"),
    "entr": (lambda x: special.entr(x), r"scipy\.special\.entr on a node.*\n.*\n.*-gc\.xlogy\(x, x\)"),
    "airy": (lambda x: special.airy(x), r"scipy\.special\.airy on a node: gradc has no such function"),
    "erfinv": (lambda x: special.erfinv(x), r"scipy\.special\.erfinv on a node: gradc has no such function"),
    "out": (lambda x: special.erf(x, out=np.ones(3)), r"scipy\.special\.erf with out= on a node"),
    "huber": (
        lambda x: special.huber(1.0, x),
        r"scipy\.special\.huber on a node.*\n.*\n.*gc\.huber takes prediction, target and delta",
    ),
    "made": (lambda x: np.frompyfunc(abs, 1, 1)(x), r"the ufunc abs on a node: gradc has no such function"),
    "NumPy's": (lambda x: np.spacing(x), r"np\.spacing on a node"),
}


@pytest.mark.parametrize("name", SAID)
def test_what_gradc_has_not_is_named_as_its_user_does(name):
    ask, said = SAID[name]
    line = ask.__code__.co_firstlineno
    with pytest.raises(errors.GradcError, match=said) as caught:
        ask(vector())
    assert f"\n  at {__file__}:{line}\n" in str(caught.value)


def test_no_function_of_scipy_special_is_called_numpys():
    ufuncs = {name: f for name in dir(special) if isinstance(f := getattr(special, name), np.ufunc)}
    assert len(ufuncs) > 100
    for name, fn in ufuncs.items():
        try:
            fn(*[vector()] * fn.nin)
        except errors.UnsupportedError as error:
            assert str(error).startswith("scipy.special."), name


# --- lines -------------------------------------------------------------------------------------------------


def test_a_line_of_a_library_is_not_the_users():
    import scipy.optimize
    import scipy.sparse

    x = vector()
    asks = (
        lambda: scipy.sparse.csr_array(np.eye(3)) @ x,
        lambda: scipy.optimize.minimize(lambda v: x.item(), np.ones(3)),
        lambda: sorted([3, 1], key=lambda k: float(x[k % 3])),
        lambda: np.vectorize(float)(x),
        lambda: np.apply_along_axis(float, 0, x),
    )
    for ask in asks:
        with pytest.raises(errors.GradcError) as caught:
            ask()
        assert f"\n  at {__file__}:{ask.__code__.co_firstlineno}" in str(caught.value)


LIBRARY = """
def energy(x):
    return (x * x).sum()

def refused(x):
    return float(x)

def by_size(x):
    return x.shape[0] == 1
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Two installed packages of the same functions; `aware` names gradc, `plain` does not."""
    folder = tmp_path / "lib" / "site-packages"
    folder.mkdir(parents=True)
    (folder / "plain.py").write_text(LIBRARY)
    (folder / "aware.py").write_text("import gradc\n" + LIBRARY.strip("\n"))
    monkeypatch.syspath_prepend(str(folder))
    yield importlib.import_module("plain"), importlib.import_module("aware")
    for name in ("plain", "aware"):
        del sys.modules[name]


def test_a_library_that_names_gradc_is_a_user_of_it(installed):
    plain, aware = installed
    x = vector()
    line = sys._getframe().f_lineno + 1
    node, other = plain.energy(x), aware.energy(x)
    assert node.origin.location == f"{__file__}:{line}"
    assert other.origin.location == f"{aware.__file__}:3"
    with pytest.raises(errors.TraceError, match=r"float\(node\)") as caught:
        aware.refused(x)
    assert f"{aware.__file__}:6" in str(caught.value)


def test_where_all_are_libraries_the_innermost_has_the_line(installed, monkeypatch):
    plain, _ = installed
    monkeypatch.setattr(errors, "_place_of", lambda file, names: errors._Place.LIBRARY)
    monkeypatch.setattr(errors, "_places", {k: v for k, v in errors._places.items() if v is errors._Place.INTERNAL})
    assert plain.energy(vector()).origin.file == plain.__file__


# --- habits ------------------------------------------------------------------------------------------------

ATTRIBUTES = {
    "backward": r"dg\.grad\[node\]",
    "grad": r"gradc\.differentiate",
    "requires_grad": r"differentiate\(graph, wrt=\[node\]\)",
    "detach": r"gc\.stop_gradient",
    "data": r"gc\.stop_gradient",
    "item": r"gradc\.evaluate",
    "tolist": r"gradc\.evaluate",
    "numpy": r"gradc\.evaluate",
    "cpu": r"gradc\.evaluate",
    "norm": r"np\.linalg\.norm\(node\)",
    "view": r"node\.reshape",
    "to": r"node\.astype",
    "permute": r"node\.transpose",
    "unsqueeze": r"np\.expand_dims",
    "dim": r"node\.ndim",
    "exp": r"gc\.exp\(node\)",
    "softmax": r"gc\.softmax\(node\)",
    "matmul": r"gc\.matmul\(node\)",
    "at": r"gc\.at_set",
    "flat": r"node\.ravel",
    "imag": r"real numbers",
    "nbytes": r"itemsize",
    "fill": r"immutable",
    "tobytes": r"gradc\.evaluate",
}


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_attributes_of_arrays_and_tensors_say_what_to_write(name):
    x = vector()
    with pytest.raises(errors.NodeAttributeError, match=rf"\.{name} of a node.*\n.*\n  .*{ATTRIBUTES[name]}") as caught:
        getattr(x, name)
    assert f"at {__file__}:" in str(caught.value)
    assert not hasattr(x, name)


def test_other_attributes_are_missing_as_in_any_object():
    for name in ("foo", "__array_interface__", "__len_hint__"):
        with pytest.raises(AttributeError, match=f"a node has no attribute '{name}'") as caught:
            getattr(vector(), name)
        assert not isinstance(caught.value, errors.GradcError)


A = np.eye(3)
HABITS = {
    "dot": (lambda x: A.dot(x), r"array @ node for\n  array\.dot\(node\)"),
    "rows": (lambda x: np.array([x, x]), r"np\.stack"),
    "index": (lambda x: A[x.astype("int64")], r"gc\.take\(array, node\)"),
    "zeros": (lambda x: np.zeros(x[0].astype("int64")), r"Python integer"),
    "normal": (lambda x: np.random.default_rng(0).normal(size=x[0].astype("int64")), r"Python integer"),
    "math": (lambda x: __import__("math").exp(x[0]), r"np\.sin for math\.sin"),
    "trunc": (lambda x: __import__("math").trunc(x[0]), r"np\.trunc"),
    "modulus": (lambda x: pow(x, 2, 3), r"\(x\*\*n\) % m"),
    "add into": (lambda x: A.__iadd__(x), r"a = a \+ node"),
    "pickle": (lambda x: __import__("pickle").dumps(x), r"keep the program"),
    "astype": (lambda x: x.astype("U5"), r"astype: gradc computes in"),
}


@pytest.mark.parametrize("name", HABITS)
def test_habits_get_one_error_that_says_what_to_write(name):
    ask, said = HABITS[name]
    with pytest.raises(errors.GradcError, match=said) as caught:
        ask(vector())
    assert str(caught.value).count("\n  at ") == 1 and f"at {__file__}:{ask.__code__.co_firstlineno}" in str(caught.value)


ROWS = {
    "rotation": lambda t, u: [[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]],
    "numbers": lambda t, u: [(1, t, 2.5), (0, 0, t)],
    "vectors": lambda t, u: [u, [1.0, 2.0, 3.0], np.ones(3) * t],
    "deep": lambda t, u: [[[t], [t]], [[1.0], [t]]],
    "itself": lambda t, u: u * 2,
    "constants": lambda t, u: [[1, 2], [3, 4]],
}


@pytest.mark.parametrize("name", ROWS)
def test_arrays_like_a_node_hold_nodes(name):
    t, u = np.array(0.3), np.arange(3.0)
    graph = gc.trace(lambda t, u: np.array(ROWS[name](t, u), like=t) * t, gc.spec(()), gc.spec(3))
    np.testing.assert_allclose(graph.compile()(t=t, u=u)["out"], np.array(ROWS[name](t, u)) * t, rtol=1e-15)
    gc.testing.check_gradients(graph, {"t": t, "u": u}, wrt="t", order=2)


def test_arrays_like_a_node_are_no_ragged_ones():
    x = vector()
    with pytest.raises(errors.ShapeError, match=r"np\.array: rows of one level differ in length"):
        np.array([[x[0], x[1]], [x[2]]], like=x)
    with pytest.raises(errors.UnsupportedError, match=r"np\.array on a node: .*ndmin"):
        np.array([x], like=x, ndmin=3)


def test_adding_in_place_binds_another_node():
    def fn(x):
        y = x
        y += 1
        return x * y

    graph = gc.trace(fn, gc.spec(3))
    assert graph.compile()(x=np.arange(3.0))["out"].tolist() == [0, 2, 6]


# --- dimensions --------------------------------------------------------------------------------------------

SIZES = gc.Graph().placeholder("x", ("n", "m"))
N, M = SIZES.shape

DECIDED = {
    "itself": (lambda: SIZES.shape[0] == N, True),
    "commuted": (lambda: N + 1 == 1 + N, True),
    "more": (lambda: N + 1 == N, False),
    "negative": (lambda: N == -1, False),
    "a half": (lambda: N == 0.5, False),
    "not zero": (lambda: N + 1 != 0, True),
    "odd": (lambda: 2 * N == 2 * M + 1, False),
    "none": (lambda: N == None, False),  # noqa: E711
    "shape": (lambda: SIZES.shape == (SIZES * 2).shape, True),
    "longer": (lambda: SIZES.shape == (N, M, 3), False),
    "type": (lambda: SIZES.type == (SIZES + 1).type, True),
    "in": (lambda: N in (N, 3), True),
    "numpy": (lambda: np.int64(-2) == N, False),
    "no size": (lambda: object() == N, False),
}


@pytest.mark.parametrize("name", DECIDED)
def test_a_dimension_answers_what_holds_for_every_size(name):
    ask, answer = DECIDED[name]
    assert ask() is answer or (isinstance(ask(), np.bool) and ask() == answer)


UNDECIDED = {
    "one": lambda: N == 1,
    "not three": lambda: N != 3,
    "reversed": lambda: N == 3,
    "other": lambda: N == M,
    "twice": lambda: 2 * N == N,
    "floating": lambda: N == 3.0,
    "scalar": lambda: np.int64(3) == N,
    "array": lambda: np.array([1, 2]) == N,
    "in": lambda: N in (1, 3),
    "not in": lambda: 1 not in SIZES.shape,
    "index": lambda: SIZES.shape.index(3),
    "shape": lambda: SIZES.shape == (1, 3),
    "shapes": lambda: SIZES.shape != (M, N),
    "type": lambda: SIZES.type == gc.spec((1, 3)),
    "set": lambda: N in {1, 3},
    "key": lambda: {1: "a"}.get(N),
    "shape as key": lambda: {(1, 3): "a"}.get(SIZES.shape),
    "name": lambda: SIZES.shape == ("n", "m"),
    "truth": lambda: bool(N),
    "order": lambda: N > 1,
    "tile": lambda: np.tile(np.ones(2), N),
}


@pytest.mark.parametrize("name", UNDECIDED)
def test_what_holds_for_some_sizes_only_is_an_error_that_says_what_to_write(name):
    ask = UNDECIDED[name]
    with pytest.raises(errors.DimensionError, match=r"give the dimension a number|is no text") as caught:
        ask()
    assert f"{__file__}:{ask.__code__.co_firstlineno}" in str(caught.value)


@pytest.mark.parametrize("part", ["by_size"])
def test_a_dimension_is_asked_by_a_library_as_by_its_user(part, installed):
    for module in installed:
        with pytest.raises(errors.DimensionError, match=r"n == 1"):
            gc.trace(getattr(module, part), gc.spec("n"))


def test_the_condition_that_the_error_names_chooses_when_the_graph_runs():
    def standardised(x):
        return np.where(gc.equal(x.shape[0], 1), x, x / x.shape[0])

    run = gc.trace(standardised, gc.spec("n")).compile()
    assert run(x=np.ones(1))["out"].tolist() == [1] and run(x=np.ones(2))["out"].tolist() == [0.5, 0.5]


def test_type_rules_of_users_compare_expressions(monkeypatch):
    monkeypatch.setattr("gradc.ir.OPS", dict(OPS))
    monkeypatch.setattr("gradc.ir.FUNCTIONS", dict(FUNCTIONS))

    def same(a, b):
        if a.shape != b.shape or a.shape[0] == 1 or a.shape[0] in {0, 1}:
            raise errors.ShapeError("same: shapes differ")
        return a

    added = op("same_and_long", infer=same, evaluate=lambda a, b: a + b)
    g = gc.Graph()
    n, m = g.placeholder("n", "n"), gc.Graph().placeholder("m", "m")
    g.output("y", added(n, n))
    assert gc.compile(gc.verify(g))(n=np.ones(3))["y"].tolist() == [2, 2, 2]
    with pytest.raises(errors.FeedError, match="shapes differ"):
        gc.compile(g)(n=np.ones(1))
    with pytest.raises(errors.ShapeError, match="shapes differ"):
        added(n, m)


ARITHMETIC = {
    "divide": lambda x: np.divide(x.sum(), x.shape[0]),
    "multiply": lambda x: np.multiply(x, x.shape[0]) * np.int64(2),
    "scalar": lambda x: x.reshape(1, np.int64(1) * x.shape[0] + np.int64(0)) + np.zeros(1),
    "round": lambda x: x * round(abs(+x.shape[0])),
    "prod": lambda x: x / np.prod(x.shape),
}


@pytest.mark.parametrize("name", ARITHMETIC)
def test_dimensions_are_operands_of_numpys_functions_too(name):
    fn, x = ARITHMETIC[name], np.arange(4.0)
    np.testing.assert_array_equal(gc.trace(fn, gc.spec("n")).compile()(x=x)["out"], fn(x))
