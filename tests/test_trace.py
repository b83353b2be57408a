"""Graphs of plain NumPy functions, and what is said of those that cannot be traced."""

import math
from collections import namedtuple

import numpy as np
import pytest

import gradc as gc
from gradc.errors import ArgumentError, DimensionError, DTypeError, GradcError, NodeAttributeError, TraceError, UnsupportedError

VECTOR = gc.spec(3)
POINT = np.array([0.3, -0.7, 1.9])


def value(fn, *specs, feeds, **named):
    return gc.trace(fn, *specs, **named).compile()(feeds)


def test_a_function_becomes_a_graph_with_its_names():
    def energy(position, mass, scale=2.0):
        return scale * mass * np.sum(position**2, axis=-1)

    graph = gc.trace(energy, gc.spec(("n", 3)), mass=gc.spec((), "float32"))
    assert graph.name == "energy" and list(graph.placeholders) == ["position", "mass"] and list(graph.outputs) == ["out"]
    assert str(graph.outputs["out"].type) == "float64[n]"
    position = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(graph.compile()(position=position, mass=np.float32(3))["out"], energy(position, 3.0))


def test_nodes_of_a_traced_function_know_the_line_that_made_them():
    def fn(x):
        return np.exp(x)

    origin = gc.trace(fn, VECTOR).outputs["out"].origin
    assert origin.file == __file__ and origin.line == fn.__code__.co_firstlineno + 1


def test_containers_of_specs_keep_their_shape_and_name_placeholders_by_the_way_to_them():
    Layer = namedtuple("Layer", "w b")

    def net(x, layers, options):
        assert isinstance(layers, list) and isinstance(layers[0], Layer) and options == {"slope": 0.5}
        for layer in layers:
            x = np.maximum(x @ layer.w + layer.b, options["slope"] * x)
        return x

    layers = [Layer(gc.spec((3, 3)), gc.spec(3)), Layer(gc.spec((3, 3)), gc.spec(3))]
    graph = gc.trace(net, VECTOR, layers, options={"slope": 0.5})
    assert list(graph.placeholders) == ["x", "layers_0_w", "layers_0_b", "layers_1_w", "layers_1_b"]


@pytest.mark.parametrize(
    ("result", "names"),
    [
        (lambda x: x, ["out"]),
        (lambda x: (x, 2 * x), ["out_0", "out_1"]),
        (lambda x: {"a": x, "b": [x, 3.0]}, ["a", "b_0", "b_1"]),
        (lambda x: namedtuple("R", "loss aux")(x, np.arange(3)), ["loss", "aux"]),
        (lambda x: [{"q": x}], ["out_0_q"]),
    ],
)
def test_results_are_named_by_the_way_to_them(result, names):
    assert list(gc.trace(result, VECTOR).outputs) == names


def test_numbers_arrays_and_numpy_scalars_mix_with_nodes():
    def fn(x, a):
        return (np.float64(2) * x + np.array([1, 2, 3]) * x - a) / np.sqrt(2)

    np.testing.assert_array_equal(value(fn, VECTOR, np.ones(3), feeds={"x": POINT})["out"], fn(POINT, np.ones(3)))


def test_an_array_given_as_a_value_is_a_constant_that_later_changes_do_not_reach():
    table = np.ones(3)
    run = gc.trace(lambda x, t: x * t, VECTOR, table).compile()
    table[:] = 7
    np.testing.assert_array_equal(run(x=POINT)["out"], POINT)


def test_loops_and_branches_on_plain_values_run_while_the_function_is_traced():
    def fn(x, steps, damped):
        for _ in range(steps):
            x = 0.5 * x if damped else 2 * x
        return x

    np.testing.assert_array_equal(value(fn, VECTOR, 3, damped=True, feeds={"x": POINT})["out"], POINT / 8)


def test_a_ufuncs_outer_method():
    for fn in (np.add.outer, np.multiply.outer, np.arctan2.outer):
        got = value(lambda x, fn=fn: fn(x, x[:2]), VECTOR, feeds={"x": POINT})["out"]
        np.testing.assert_array_equal(got, fn(POINT, POINT[:2]))


def branch(x):
    return x if x.sum() > 0 else -x


def loop(x):
    while np.abs(x[0]) > 1:
        x = x / 2
    return x


def item(x):
    x[0] = 1.0
    return x


def fill(x):
    result = np.zeros(3)
    result[0] = x[0]
    return result


def add_into_an_array(x):
    total = np.zeros(3)
    total += x
    return total


@pytest.mark.parametrize(
    ("fn", "error", "said"),
    [
        (branch, TraceError, "np.where"),
        (loop, TraceError, "np.where"),
        (item, TraceError, "at_set"),
        (fill, TraceError, "np.stack"),
        (add_into_an_array, UnsupportedError, "a = a \\+ node"),
        (lambda x: np.asarray(x), TraceError, "np.stack"),
        (lambda x: np.array([x[0], x[1]]), TraceError, "np.stack"),
        (lambda x: math.sin(x[0]), TraceError, "np.sin for math.sin"),
        (lambda x: max(x[0], x[1]), TraceError, "np.where"),
        (lambda x: range(x[0]), DimensionError, "Python integer"),
        (lambda x: np.add.at(x, [0], 1.0), UnsupportedError, "np.add.at.*\n.*\n.*at_add"),
        (lambda x: np.exp(x, out=np.zeros(3)), UnsupportedError, "np.exp with out="),
        (lambda x: np.nextafter(x, 1.0), UnsupportedError, "np.nextafter"),
        (lambda x: np.fft.fft(x), UnsupportedError, "np.fft.fft on a node"),
        (lambda x: np.linalg.eig(np.add.outer(x, x)), UnsupportedError, "np.linalg.eig on a node.*\n.*\n.*eigh"),
        (lambda x: np.frexp(x), UnsupportedError, "np.frexp"),
        (lambda x: x.tolist(), NodeAttributeError, "tolist"),
        (lambda x: None, ArgumentError, "returns None"),
        (lambda x: {"a": [x, None]}, ArgumentError, "a_1"),
        (lambda x: "text", DTypeError, "text"),
        (lambda x, y: x, ArgumentError, "missing a required argument: 'y'"),
    ],
)
def test_what_cannot_be_traced_says_what_to_use_instead(fn, error, said):
    with pytest.raises(error, match=said) as caught:
        gc.trace(fn, VECTOR)
    if error in (TraceError, UnsupportedError, NodeAttributeError):
        assert f"{__file__}:" in str(caught.value)


def test_the_arguments_of_trace_are_checked():
    for call, said in (
        (lambda: gc.trace(lambda x: x, POINT), "no argument of <lambda> is a spec"),
        (lambda: gc.trace(3, VECTOR), "expected a function"),
        (lambda: gc.trace(lambda x: x, VECTOR, VECTOR), "too many positional"),
        (lambda: gc.trace(lambda x, x_0: x[0], [VECTOR], x_0=VECTOR), "'x_0' is a placeholder already"),
        (lambda: gc.trace(lambda p: p["a b"], {"a b": VECTOR}), "identifier"),
        (lambda: gc.spec((2, -1)), "cannot be negative"),
        (lambda: gc.spec(3, "complex128"), "complex128"),
    ):
        with pytest.raises(GradcError, match=said):
            call()


def test_errors_that_the_function_raises_itself_come_through():
    def fn(x):
        raise ValueError("own")

    with pytest.raises(ValueError, match="own"):
        gc.trace(fn, VECTOR)


def test_nodes_have_no_attributes_that_arrays_have_not():
    x = gc.Graph("g").placeholder("x", 3)
    assert not hasattr(x, "no_such_thing") and not hasattr(x, "tofile") and x.copy() is x


def test_shifts_and_divmod_are_operators_too():
    counts = np.array([1, 5, 7])

    def fn(i):
        return (i << 2, 2 << i, i >> 1, 1000 >> i, *divmod(i, 3), *divmod(17, i))

    run = gc.trace(fn, gc.spec(3, "int64")).compile()
    for got, wanted in zip(run(i=counts).values(), fn(counts), strict=True):
        np.testing.assert_array_equal(got, wanted)
