"""One table tests every op: each registered function, at each of its samples."""

import inspect

import numpy as np
import pytest

import gradc as gc
from gradc import passes, testing
from gradc.interpret import evaluate
from gradc.ir import FUNCTIONS

SAMPLED = [
    pytest.param(function, number, sample, id=f"{function.name}-{number}")
    for function in FUNCTIONS.values()
    if function.samples is not None
    for number, sample in enumerate(function.samples())
]
DIFFERENTIABLE = [p for p in SAMPLED if p.values[0].differentiable and p.values[2].gradient]
CONVENTIONS = [
    pytest.param(function, row, id=f"{function.name}{row.inputs}") for function in FUNCTIONS.values() for row in function.edges
]


def build(function, sample, dtype=None):
    graph = gc.Graph(function.name)
    operands, feeds = [], {}
    for k, array in enumerate(sample.arrays):
        if k in sample.fixed:
            operands.append(array)
            continue
        array = array.astype(dtype) if dtype and array.dtype.kind == "f" else array
        operands.append(graph.placeholder(f"x{k}", array.shape, array.dtype))
        feeds[f"x{k}"] = array
    graph.output("y", function.build(*operands, **sample.attrs))
    return graph, feeds


@pytest.mark.parametrize(("function", "number", "sample"), SAMPLED)
def test_value_is_numpys(function, number, sample):
    graph, feeds = build(function, sample)
    gc.verify(graph)
    value = evaluate(graph, feeds)[graph.outputs["y"]]
    assert value.dtype == graph.outputs["y"].dtype and value.shape == graph.outputs["y"].shape
    reference = next((f for f in function.numpy if f is not np.float_power), None)
    if reference is not None:
        keywords = {} if isinstance(reference, np.ufunc) else sample.attrs
        np.testing.assert_array_equal(value, reference(*sample.arrays, **keywords))


@pytest.mark.parametrize(("function", "number", "sample"), SAMPLED)
def test_compiled_equals_evaluated(function, number, sample):
    graph, feeds = build(function, sample)
    value = evaluate(graph, feeds)[graph.outputs["y"]]
    for pipeline in (passes.NONE, passes.EXACT):
        np.testing.assert_array_equal(gc.compile(graph, passes=pipeline)(feeds)["y"], value)


@pytest.mark.parametrize(("function", "number", "sample"), DIFFERENTIABLE)
def test_gradients_to_second_order(function, number, sample):
    graph, feeds = build(function, sample)
    testing.check_gradients(graph, feeds, order=2, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(("function", "number", "sample"), DIFFERENTIABLE)
def test_float32_gradients_have_the_dtype_and_shape_of_their_variables(function, number, sample):
    graph, feeds = build(function, sample, "float32")
    extended = gc.differentiate(graph, list(feeds), of="y", on_disconnected="zeros")
    gc.verify(extended)
    for name in feeds:
        assert extended.grad[name].type == extended.placeholders[name].type


@pytest.mark.parametrize(("function", "number", "sample"), DIFFERENTIABLE)
def test_forward_and_reverse_are_transposes(function, number, sample):
    graph, feeds = build(function, sample)
    rng = np.random.default_rng(1)
    reverse = gc.differentiate(graph, list(feeds), of="y", seed=True)
    forward = gc.differentiate(graph, list(feeds), of="y", mode="forward")
    directions = {f"dot_{n}": rng.standard_normal(f.shape) for n, f in feeds.items()}
    seed = rng.standard_normal(graph.outputs["y"].shape)
    pushed = evaluate(forward, {**feeds, **directions})[forward.outputs["dot_y"]]
    trace = evaluate(reverse, {**feeds, "bar_y": seed})
    pulled = sum(np.vdot(trace[reverse.grad[n]], directions[f"dot_{n}"]) for n in feeds)
    np.testing.assert_allclose(np.vdot(seed, pushed), pulled, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("function", "row"), CONVENTIONS)
def test_convention(function, row):
    graph = gc.Graph("edge")
    arrays = [np.asarray(v, "float64") for v in row.inputs]
    nodes = [graph.placeholder(f"x{k}", a.shape) for k, a in enumerate(arrays)]
    graph.output("y", function.build(*nodes, **row.attrs))
    feeds = {f"x{k}": a for k, a in enumerate(arrays)}
    extended = gc.differentiate(graph, nodes)
    trace = evaluate(extended, feeds)
    np.testing.assert_array_equal(trace[graph.outputs["y"]], row.value)
    for node, wanted in zip(nodes, row.adjoints, strict=True):
        if wanted is not None:
            np.testing.assert_array_equal(trace[extended.grad[node]], wanted)


def test_every_public_function_has_samples():
    internal = {"getitem", "slice_axis", "place_axis", "sum_to", "dimension", "concatenate"}
    lacking = [f.name for f in FUNCTIONS.values() if f.samples is None and f.name not in internal]
    assert not lacking


def test_every_function_is_documented():
    for function in FUNCTIONS.values():
        if inspect.isfunction(function.build):
            assert function.build.__doc__, function.name
