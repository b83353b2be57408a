"""Messages: short and printable whatever was given, and the names that were meant."""

import copy
import inspect
import pickle
import re
import unicodedata

import numpy as np
import pytest

import gradc as gc
from gradc import errors
from gradc.errors import GradcError, candidates, listed, show
from gradc.ir import FUNCTIONS

ESCAPES = "\x1b[31m \x9b1m \u202e \u2066 \u200b \ufeff \x00 \r \u2028 \ud800"


class Hostile:
    """Whose repr is an error, an escape, or longer than a message."""

    def __init__(self, text):
        self.text = text

    def __repr__(self):
        if self.text is None:
            raise ZeroDivisionError
        return self.text


@pytest.mark.parametrize(
    "value",
    [
        ["a"] * 1_000_000,
        "a" * 1_000_000,
        {k: k for k in range(100_000)},
        np.arange(100_000.0),
        10**5000,
        Hostile("x" * 1_000_000),
        Hostile(ESCAPES),
        Hostile(None),
        [[Hostile(None)]],
        ESCAPES,
        type("list", (), {})(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_shown_values_are_short_and_printable(value):
    assert len(show(value)) < 800 and show(value).isprintable()


def test_messages_are_bounded_and_printable():
    error = GradcError("a" * 1_000_000 + "\n  second line" + ESCAPES.replace("\u2028", "") + "\n" + "b\n" * 100_000)
    text = str(error)
    assert len(text) < 10_000 and "\n  second line\\x1b[31m" in text
    assert text.replace("\n", "").isprintable()
    assert str(GradcError("short\n  at model.py:3")) == "short\n  at model.py:3"


def test_whatever_may_be_a_name_is_printable():
    """What isprintable() calls printable holds nothing that a terminal acts on."""
    acting = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    for code in range(0x110000):
        c = chr(code)
        assert not c.isprintable() or unicodedata.category(c) not in acting, hex(code)


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("prediciton", "did you mean 'prediction'? there are loss, prediction, w1, w2"),
        ("LOSS", "did you mean 'loss'? there are loss, "),
        ("w3", "there are loss, prediction, w1, w2"),
        (3, "there are loss, prediction, w1, w2"),
        (Hostile(None), "there are loss, "),
    ],
)
def test_candidates(name, start):
    assert candidates(name, ["loss", "prediction", "w1", "w2"]).startswith(start)


def test_lists_have_a_length():
    assert candidates("a" * 1_000_000, []) == "there are none"
    many = [f"w{k}" for k in range(100_000)]
    assert listed(many) == "w0, w1, w2, w3, w4, w5, w6, w7, ... (99992 more)"
    assert len(candidates("w_1", many)) < 200


@pytest.mark.parametrize("kind", [k for _, k in inspect.getmembers(errors, inspect.isclass) if issubclass(k, GradcError)])
def test_errors_are_copied_and_pickled(kind):
    error = kind("message")
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(other) is kind and str(other) == str(error) and other.message == "message"


@pytest.mark.parametrize("name", [f"a{c}b" for c in "\x1b\x9b\u202e\u2066\u200b\ufeff\x00\r\n\u2028\ud800"], ids=ascii)
def test_names_with_escapes_are_refused_in_printable_words(name):
    g = gc.Graph("g")
    x = g.placeholder("x")
    for use in (
        lambda: gc.Graph(name),
        lambda: g.placeholder(name),
        lambda: g.placeholder("y", (name,)),
        lambda: g.placeholder("y", 3, name),
        lambda: g.output(name, x),
    ):
        with pytest.raises(GradcError) as caught:
            use()
        assert str(caught.value).replace("\n", "").isprintable()


DTYPES = ["float32", "int64", "bool", "float", "<f4", ">i8", np.float32, np.int64, np.dtype("float16"), float, int, bool]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("where", ["alone", "in a tuple"])
def test_a_dtype_where_a_shape_belongs_is_seen(dtype, where):
    shape = dtype if where == "alone" else (3, dtype)
    for use in (lambda: gc.Graph().placeholder("x", shape), lambda: gc.spec(shape), lambda: gc.full(shape, 2.0)):
        with pytest.raises(gc.GradcError, match="is a dtype, where a shape belongs: write dtype="):
            use()


def test_codes_of_dtypes_are_dimensions_in_a_tuple_only():
    with pytest.raises(gc.GradcError, match=r"a dimension of that name is \('f4',\)"):
        gc.Graph().placeholder("x", "f4")
    assert [str(s) for s in gc.Graph().placeholder("x", ("f4", "batch", "n", "d")).shape] == ["f4", "batch", "n", "d"]
    assert str(gc.Graph().placeholder("x", "n")) == str(gc.Graph().placeholder("x", ("n",)))


@pytest.mark.parametrize("shape", [None, 2.5, object(), -1, -(10**5000), 10**5000, 2**63, "two words", b"n", "", list], ids=show)
def test_what_is_no_shape_is_refused(shape):
    with pytest.raises(gc.GradcError) as caught:
        gc.Graph().placeholder("x", shape)
    assert len(str(caught.value)) < 400


NO_DTYPES = ["float31", (3,), 3, {"a": 1}, "f4,", "O", "U3", "datetime64[s]", "complex64", np.longdouble, object, list, lambda: 0]


@pytest.mark.parametrize("dtype", NO_DTYPES)
def test_what_is_no_dtype_is_refused(dtype):
    with pytest.raises(gc.GradcError) as caught:
        gc.Graph().placeholder("x", 3, dtype)
    assert isinstance(caught.value, gc.errors.DTypeError) and len(str(caught.value)) < 400


HOSTILE = [Hostile(None), Hostile("\x1b[31m"), ["a"] * 1000, "a" * 10_000, Hostile]


def parameters_of(function, sample):
    """The names of what a function takes: those of its sample, and of its signature."""
    try:
        given = inspect.signature(function.build).parameters.values()
    except ValueError:
        given = []
    return list(dict.fromkeys([*sample.attrs, *(p.name for p in given if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))]))


@pytest.mark.parametrize("name", sorted(name for name, function in FUNCTIONS.items() if function.samples is not None))
def test_whatever_an_argument_is_the_error_is_gradcs(name):
    """What a repr does, and how long it is, is no concern of who reads the message."""
    function = FUNCTIONS[name]
    sample = next(s for s in function.samples() if all(a.size for a in s.arrays))
    known = parameters_of(function, sample)
    for parameter in known:
        for value in HOSTILE:
            g = gc.Graph()
            nodes = [a if k in sample.fixed else g.placeholder(f"x{k}", a.shape, a.dtype) for k, a in enumerate(sample.arrays)]
            arguments, keywords = sample.arguments(nodes), {**sample.attrs, parameter: value}
            if parameter in known[len(sample.attrs) :] and known.index(parameter) - len(sample.attrs) < len(arguments):
                arguments[known.index(parameter) - len(sample.attrs)] = keywords.pop(parameter)
            try:
                function.build(*arguments, **keywords)
            except GradcError as error:
                assert len(str(error)) < 2500 and str(error).replace("\n", "").isprintable()


@pytest.mark.parametrize("name", ["lambda", "in", "None", "\ufb01", "\u210c", "n²"])
def test_dimensions_have_names_that_a_call_may_be_given_by_keyword(name):
    for shape in (name, (name,), (3, name)):
        with pytest.raises(errors.ShapeError, match=r"identifier|NFKC form, .* write '(fi|H)'"):
            gc.Graph("g").placeholder("x", shape)


@pytest.mark.parametrize("given", [3, None, "graph", [gc.Graph("g")]])
def test_what_is_no_graph_is_not_verified(given):
    with pytest.raises(errors.ArgumentError, match="verify: expected a graph, got"):
        gc.verify(given)


@pytest.mark.parametrize("ask", [lambda g: g(x=1.0), lambda g: g({"x": 1.0}), lambda g: g()])
def test_a_graph_that_is_called_says_what_is(ask):
    g = gc.Graph("g")
    g.output("y", g.placeholder("x") * 2.0)
    with pytest.raises(errors.GraphError, match=r"graph 'g' is not called: compile it, run = gc\.compile\(graph\)"):
        ask(g)
    with pytest.raises(errors.ArgumentError, match="expected a function of arrays, got Graph"):
        gc.trace(g, gc.spec(()))


def model():
    g = gc.Graph("g")
    x, w = g.placeholder("x", 3), g.placeholder("w", 3)
    y = g.output("y", x * w)
    return g, x, w, y


HINTS = {
    "update": (
        lambda g, x, w, y: gc.compile(g, updates={w: "y"}),
        errors.NamingError,
        "got a node, placeholder 'w' .*: write 'w'",
    ),
    "output wanted": (lambda g, x, w, y: gc.compile(g, [y]), errors.NamingError, "compile: outputs: .* got a node, multiply"),
    "output": (lambda g, x, w, y: g.output(y, "k"), errors.NamingError, r"the name comes first: write output\('k', node\)"),
    "feed": (
        lambda g, x, w, y: gc.compile(g)({w: 1.0, "x": 2.0}),
        errors.FeedError,
        "missing feeds: w .*; .* by name: write 'w'",
    ),
    "nested": (lambda g, x, w, y: gc.differentiate(g, [(x, w)]), errors.ArgumentError, r"one flat list of .*: flatten it"),
    "mapping": (lambda g, x, w, y: gc.differentiate(g, {"x": x}), errors.ArgumentError, r"write list\(mapping\.values\(\)\)"),
    "passes": (
        lambda g, x, w, y: gc.compile(g, passes="DEFAULT"),
        errors.ArgumentError,
        "got 'DEFAULT': write gradc.passes.DEFAULT",
    ),
    "a pass": (lambda g, x, w, y: gc.compile(g, passes="fast"), errors.ArgumentError, "got 'fast'$"),
    "trace": (
        lambda g, x, w, y: gc.evaluate(g, x=np.ones(3), w=np.ones(3))["y"],
        errors.GraphError,
        r"trace\[graph\.outputs\['y'\]\]",
    ),
    "set": (lambda g, x, w, y: gc.evaluate(g, x={1.0, 2.0, 3.0}, w=np.ones(3)), errors.FeedError, r"write list\(value\)"),
    "generator": (
        lambda g, x, w, y: gc.evaluate(g, x=(k for k in "abc"), w=np.ones(3)),
        errors.FeedError,
        r"write list\(value\)",
    ),
}


@pytest.mark.parametrize("name", HINTS)
def test_what_is_meant_is_said(name):
    ask, kind, text = HINTS[name]
    with pytest.raises(kind) as raised:
        ask(*model())
    assert re.search(text, raised.value.message)
