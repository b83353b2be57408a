"""EXACT changes no bit, and pipelines in any order are right: random graphs with what shows signs, zeros and NaNs."""

import itertools
import random

import numpy as np
import pytest

import gradc as gc
from gradc import passes
from gradc.ops.declare import op
from gradc.types import TensorType, key_of

NAN = np.array([0x7FF8000000000123, 0xFFF8000000000456], "u8").view("f8")
"""NaNs of either sign, with payloads."""
SPECIAL = [0.0, -0.0, 1.0, -1.0, 2.5, -3.0, np.inf, -np.inf, *NAN, 1e308, -5e-324, 0.1]
NUMBERS = [0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 0.5, 3.0, float("nan"), -float("nan"), float("inf")]

UNARY = {
    "negative": np.negative,
    "abs": np.abs,
    "signbit": lambda x: np.signbit(x).astype("float64"),
    "nan_to_num": np.nan_to_num,
    "nan_to_num -0": lambda x: np.nan_to_num(x, nan=-0.0),
    "nan_to_num 0": lambda x: np.nan_to_num(x, nan=0.0),
    "sqrt": np.sqrt,
    "square": np.square,
    "reciprocal": np.reciprocal,
    "relu": gc.relu,
    "turned": lambda x: x[::-1],
    "twice reshaped": lambda x: x.reshape(2, 3).T.reshape(6),
    "broadcast": lambda x: gc.broadcast_to(x[2:3], (6,)),
    "stop": gc.stop_gradient,
    "sum": lambda x: gc.broadcast_to(np.sum(x), (6,)),
    "max": lambda x: gc.broadcast_to(np.max(x, initial=-0.0), (6,)),
    "sorted": np.sort,
}
BINARY = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "copysign": np.copysign,
    "arctan2": np.arctan2,
    "maximum": np.maximum,
    "where": lambda x, y: np.where(x > y, x, y),
    "where 0": lambda x, y: np.where(x > y, x, 0.0),
    "where -0": lambda x, y: np.where(y > x, -0.0, y),
    "sum of three": lambda x, y: gc.ops.shaping.add_n(x, -y, x),
    "sum of two": lambda x, y: gc.ops.shaping.add_n(y, -x),
    "joined": lambda x, y: np.concatenate([x[3:], y[:3]]),
}
READS = {"signbit", "copysign"}


def build(seed, reads=True):
    """A random graph over what shows bits, its gradient or not, and feeds of special numbers."""
    draw = random.Random(seed)
    unary = sorted(set(UNARY) - (set() if reads else READS))
    binary = sorted(set(BINARY) - (set() if reads else READS))
    g = gc.Graph("exact")
    nodes = [g.placeholder("x", 6), g.placeholder("y", 6)]
    for _ in range(draw.randrange(2, 12)):
        a, b = draw.choice(nodes[-4:]), draw.choice(nodes)
        kind = draw.randrange(4)
        if kind == 0:
            nodes.append(UNARY[draw.choice(unary)](a))
        elif kind == 1:
            c = draw.choice(NUMBERS)
            nodes.append(draw.choice([lambda a, c: a * c, lambda a, c: c * a, lambda a, c: a / c, lambda a, c: c - a])(a, c))
        else:
            nodes.append(BINARY[draw.choice(binary)](a, b))
    for k, node in enumerate(draw.sample(nodes, min(3, len(nodes)))):
        g.output(f"o{k}", node)
    if draw.random() < 0.3:
        g = gc.differentiate(g, "x", of="o0", on_disconnected="zeros")
    return g, {name: np.array([draw.choice(SPECIAL) for _ in range(6)]) for name in ("x", "y")}


def bits(array, nans):
    """The bits of `array`; without `nans`, of all NaNs the same."""
    array = np.ascontiguousarray(array)
    if not nans and array.dtype.kind == "f":
        array = np.where(np.isnan(array), np.nan, array)
    return array.tobytes()


@pytest.mark.parametrize("block", range(10))
def test_exact_passes_change_no_bit_of_random_graphs(block):
    """But the sign and payload of a NaN among the results: no number shows it, since what reads it is in the graphs too."""
    for seed in range(40 * block, 40 * block + 40):
        g, feeds = build(seed)
        expected = gc.compile(g, passes=passes.NONE)(feeds)
        got = gc.compile(g, passes=passes.EXACT)(feeds)
        for name in expected:
            assert bits(got[name], False) == bits(expected[name], False), (seed, name, expected[name], got[name])


@pytest.mark.parametrize("block", range(5))
def test_evaluate_and_exact_agree_to_the_bit(block):
    for seed in range(1000 + 40 * block, 1040 + 40 * block):
        g, feeds = build(seed)
        trace = gc.evaluate(g, feeds)
        got = gc.compile(g, passes=passes.EXACT)(feeds)
        for name, node in g.outputs.items():
            assert bits(got[name], False) == bits(trace[node], False), (seed, name)


# --- attributes ------------------------------------------------------------------------------------------

ALIKE = [
    (0.0, -0.0), (True, 1), (1, 1.0), (False, 0.0), (np.float32(1), np.float64(1)), (np.bool(True), True), (NAN[0], NAN[1]),
    (float("nan"), -float("nan")), ((1, 2), (1, 2.0)), ((0, (0.0,)), (0, (-0.0,))), (0j, complex(0.0, -0.0)), (1, np.int64(1)),
]  # fmt: skip
"""What `==` takes for the same, or for something else than itself."""


@pytest.mark.parametrize("pair", ALIKE, ids=repr)
def test_attributes_are_compared_by_type_and_bits(pair):
    first, second = map(key_of, pair)
    assert first != second
    assert hash(first) == hash(key_of(pair[0])) and first == key_of(pair[0]) and second == key_of(pair[1])


typed = op(
    "test_typed",
    infer=lambda x, *, c: TensorType(x.shape, np.result_type(x.dtype, c)),
    evaluate=lambda x, *, c: np.copysign(np.add(x, c), c) if isinstance(c, float) else np.add(x, c),
)


def test_a_type_is_remembered_by_the_type_of_its_attributes():
    x = gc.Graph().placeholder("x", 3, "int64")
    assert [str(typed(x, c=c).dtype) for c in (1, 1.0, True, 1)] == ["int64", "float64", "int64", "int64"]


@pytest.mark.parametrize("pipeline", [passes.EXACT, passes.DEFAULT, (passes.cse,)], ids=["exact", "default", "cse"])
@pytest.mark.parametrize(
    "function",
    [
        lambda x, c: np.nan_to_num(x, nan=c),
        lambda x, c: np.max(np.nan_to_num(x, nan=-2.0, posinf=-3.0), initial=c),
        lambda x, c: typed(x * 0.0, c=c),
        lambda x, c: np.nan_to_num(x, posinf=c),
    ],
)
def test_nodes_whose_attributes_differ_by_the_sign_of_zero_stay_two(function, pipeline):
    g = gc.Graph("zeros")
    x = g.placeholder("x", 3)
    g.output("a", np.copysign(1.0, function(x, 0.0)))
    g.output("b", np.copysign(1.0, function(x, -0.0)))
    feeds = {"x": np.array([np.nan, np.inf, -1.0])}
    expected = gc.evaluate(g, feeds)
    got = gc.compile(g, passes=pipeline)(feeds)
    for name, node in g.outputs.items():
        np.testing.assert_array_equal(got[name], expected[node])
    assert not np.array_equal(got["a"], got["b"])


# --- any order -------------------------------------------------------------------------------------------

DEFAULT = list(passes.DEFAULT)
POOL = [passes.clean, passes.simplify, passes.fold, passes.cse, *DEFAULT]


def smooth(seed):
    """A random graph of smooth functions at a harmless point, its gradient with it, and feeds."""
    draw = random.Random(seed)
    g = gc.Graph("any order")
    nodes = [g.placeholder("x", (4, 20)), g.placeholder("y", (4, 20))]
    unary = [np.sin, np.tanh, np.negative, np.exp, lambda x: np.log(1 + np.exp(x)), gc.sigmoid, lambda x: 1 / (1 + np.exp(-x))]
    rows = [lambda x: np.sum(x, axis=1, keepdims=True) * 0.1 + x, lambda x: np.log(np.sum(np.exp(x), axis=0)) + x, gc.softmax]
    moves = [lambda x: x[::-1], lambda x: x.T.reshape(4, 20), lambda x: np.concatenate([x[2:], x[:2]]), gc.stop_gradient]
    for _ in range(draw.randrange(3, 12)):
        a, b = draw.choice(nodes[-3:]), draw.choice(nodes)
        made = draw.choice([
            lambda a, b: draw.choice(unary)(a), lambda a, b: a * b, lambda a, b: a - b, lambda a, b: a + -b,
            lambda a, b: draw.choice(rows)(a), lambda a, b: draw.choice(moves)(a), lambda a, b: a * draw.choice([-2.0, 0.5, 1.0]),
            lambda a, b: np.where(a > b, a, b * b),
        ])(a, b)  # fmt: skip
        nodes.append(np.tanh(made) if draw.random() < 0.5 else made)
    g.output("value", nodes[-1] * 1.0)
    g.output("loss", np.sum(np.tanh(nodes[-1])) + np.sum(nodes[len(nodes) // 2] ** 2))
    values = np.random.default_rng(seed).uniform(-1, 1, (2, 4, 20))
    return gc.differentiate(g, ["x", "y"], of="loss", on_disconnected="zeros"), {"x": values[0], "y": values[1]}


@pytest.mark.parametrize("block", range(6))
def test_passes_in_any_order_and_any_number_are_right(block):
    draw = random.Random(block)
    for seed in range(10 * block, 10 * block + 10):
        g, feeds = smooth(seed)
        expected = gc.compile(g, passes=passes.NONE)(feeds)
        for _ in range(4):
            pipeline = [draw.choice(POOL) for _ in range(draw.randrange(1, 8))]
            got = gc.compile(g, passes=pipeline)(feeds)
            for name, value in expected.items():
                error = np.max(np.abs(got[name] - value)) / (1 + np.max(np.abs(value)))
                assert error < 1e-9, (seed, name, pipeline, error)


@pytest.mark.parametrize("order", [*itertools.permutations([passes.clean, *DEFAULT])])
def test_every_permutation_of_the_default_passes_is_right(order):
    g, feeds = smooth(7)
    expected = gc.compile(g, passes=passes.NONE)(feeds)
    got = gc.compile(g, passes=order)(feeds)
    for name, value in expected.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("pipeline", [passes.EXACT, (passes.simplify,), (passes.fold,), (passes.cse,), (passes.prune,)])
def test_exact_passes_find_nothing_more_the_second_time(pipeline):
    for seed in range(60):
        g, _ = build(seed)
        once = passes.optimise(g, pipeline)
        twice = passes.optimise(once, pipeline)
        assert str(twice) == str(once), seed
