"""The gradient checker: what it accepts, what it finds, whom it blames, and what it refuses."""

import re
from contextlib import contextmanager

import numpy as np
import pytest
import random_graphs

import gradc as gc
from gradc import errors, testing
from gradc.ir import FUNCTIONS, NUMPY, OPS
from gradc.ops.declare import call, elementwise, op
from gradc.testing.slopes import slopes
from gradc.types import TensorType


@contextmanager
def declared(make):
    """An op that is registered in this block only."""
    registries = (OPS, FUNCTIONS, NUMPY)
    before = [dict(registry) for registry in registries]
    try:
        yield make()
    finally:
        for registry, entries in zip(registries, before, strict=True):
            registry.clear()
            registry.update(entries)


def graph_of(build, dtype="float64", **feeds):
    g = gc.Graph("g")
    g.output("y", build(*[g.placeholder(name, np.shape(value), dtype) for name, value in feeds.items()]))
    return g


def failure(graph, feeds, **options):
    with pytest.raises(testing.GradientError) as caught:
        testing.check_gradients(graph, feeds, **options)
    return str(caught.value)


# --- what is right passes ----------------------------------------------------------------------------

RIGHT = {
    "scalar": lambda x, y: np.exp(x).sum() * y.mean(),
    "vector": lambda x, y: np.sin(x) * y,
    "matrix": lambda x, y: x[:, None] * y / (1 + y * y),
    "unused": lambda x, y: np.tanh(y),
    "linear": lambda x, y: 3 * x - y,
    "constant slope": lambda x, y: x.sum() + 0 * y,
    "stopped": lambda x, y: x * gc.stop_gradient(y * x) + y**3,
    "masked": lambda x, y: np.where(x > 0, np.sqrt(x), 0) + y,
    "steps": lambda x, y: np.floor(x) * y,
}


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("name", RIGHT)
def test_a_right_gradient_passes(name, order):
    feeds = {"x": np.array([0.5, -1.3, 2.1]), "y": np.array([-0.7, 0.2, 1.4])}
    testing.check_gradients(graph_of(RIGHT[name], **feeds), feeds, order=order, rtol=1e-8)


def test_float32_is_checked_at_float64():
    g = gc.Graph("g")
    x = g.placeholder("x", ("n", 2), "float32")
    g.output("y", np.exp(np.sin(x).astype("float16").astype("float32") * np.float32(0.1)))
    testing.check_gradients(g, {"x": np.ones((3, 2), "float32")}, rtol=1e-9, atol=1e-11)
    testing.check_gradients(g, {"x": np.ones((2, 2))}, rtol=1e-9, atol=1e-11)
    assert {n.dtype for n in testing.at_float64(g, {"n": 4}).nodes} == {np.dtype("float64")}
    assert testing.at_float64(g, {"n": 4}).outputs["y"].shape == (4, 2)
    assert g.outputs["y"].dtype == "float32"


def test_a_large_variable_is_checked_along_random_directions():
    value = np.random.default_rng(0).standard_normal((30, 20))
    g = graph_of(lambda x: np.tanh(x @ x.T).sum(), x=value)
    testing.check_gradients(g, {"x": value})


def test_kinks_near_the_point_are_told_from_wrong_rules():
    """Of 4,000 hidden units some lie within a step of their kink: the differences take smaller steps, nobody is blamed."""
    rng = np.random.default_rng(0)
    feeds = {"x": rng.standard_normal((40, 30)), "w": rng.standard_normal((30, 100)), "u": rng.standard_normal((100, 3))}
    g = gc.Graph("g")
    x, w, u = (g.placeholder(name, value.shape) for name, value in feeds.items())
    g.output("loss", gc.softmax_cross_entropy(gc.relu(x @ w) @ u, np.arange(40) % 3).mean())
    testing.check_gradients(g, feeds)


def test_a_gradient_graph_is_checked_like_any_other():
    feeds = {"x": np.array([0.5, -1.3]), "y": np.array([1.5, 0.3])}
    g = graph_of(lambda x, y: (np.sin(x) * y).sum(), **feeds)
    testing.check_gradients(gc.differentiate(g, ["x", "y"]), feeds)
    feeds["dot_x"] = np.ones(2)
    testing.check_gradients(gc.differentiate(g, "x", mode="forward"), feeds)


def test_points_of_every_size():
    feeds = {"x": np.array([1e-9, 1e-4, 3.0, 1e6])}
    testing.check_gradients(graph_of(lambda x: np.log(x) * np.sqrt(x), **feeds), feeds, rtol=1e-5)


def test_integer_feeds_and_outputs_are_left_alone():
    g = gc.Graph("g")
    x, labels = g.placeholder("x", ("n", 3), "float32"), g.placeholder("labels", ("n",), "int64")
    g.output("loss", gc.softmax_cross_entropy(x, labels).mean())
    g.output("positive", x > 0)
    testing.check_gradients(g, {"x": np.ones((4, 3), "float32"), "labels": np.array([0, 2, 1, 1])})


def test_an_op_with_one_mode_only_is_checked_in_that_mode():
    def make(vjp, jvp):
        return lambda: op("triple", infer=lambda x: x, evaluate=lambda x: 3 * x, vjp=vjp, jvp=jvp)

    feeds = {"x": np.array([1.0, 2.0])}
    reverse, forward = (lambda g, out, x: 3.0 * g,), (lambda t, out, x: 3.0 * t,)
    wrong = (lambda g, out, x: 2.0 * g,)
    for rules in ((reverse, None), (None, forward), (reverse, forward)):
        with declared(make(*rules)) as triple:
            testing.check_gradients(graph_of(lambda x: np.sin(triple(x)), **feeds), feeds, order=1)
    for rules in ((wrong, None), (None, wrong), (reverse, wrong)):
        with declared(make(*rules)) as triple:
            assert "op 'triple'" in failure(graph_of(lambda x: np.sin(triple(x)), **feeds), feeds, order=1)
    with declared(make(None, None)) as triple, pytest.raises(errors.NoGradientError, match="triple"):
        testing.check_gradients(graph_of(lambda x: triple(x), **feeds), feeds)


# --- what is wrong is found, and the op named --------------------------------------------------------


def test_a_wrong_partial_is_found_and_named():
    with declared(lambda: elementwise("wrong_square", np.square, partials=(lambda x, out: 3 * x,))) as wrong:
        g = graph_of(lambda x: np.sin(wrong(x)), x=[0.0, 2.0])
        text = failure(g, {"x": [0.5, 2.0]})
    assert re.match(r"d y\[0\] / d x\[0\]: reverse mode gives 1\.45\d*, differences give 0\.968", text)
    assert re.search(r"the vjp of op 'wrong_square' is wrong at wrong_square float64\[2\] \(.*test_testing\.py:\d+\)", text)


@pytest.mark.parametrize("factor", [1.01, 1 + 1e-5, 1 - 3e-6])
def test_a_rule_wrong_by_little_is_found(factor):
    def make():
        return elementwise("wrong_exp", np.exp, partials=(lambda x, out: out * factor,), public=False)

    with declared(make) as wrong:
        feeds = {"x": np.linspace(-1, 1, 5)}
        assert "op 'wrong_exp' is wrong" in failure(graph_of(lambda x: np.sin(wrong(x)).sum(), **feeds), feeds, order=1)
        feeds = {"x": np.linspace(-1, 1, 500)}
        assert "op 'wrong_exp' is wrong" in failure(graph_of(lambda x: np.sin(wrong(x)), **feeds), feeds, order=1)


def test_the_entry_is_that_of_the_wrong_value():
    def make():
        weights = np.array([[1.0, 1.0], [1.0, 1.5]])
        return elementwise(
            "wrong_entry",
            infer=lambda x: x,
            evaluate=lambda x: 1.0 * x,
            partials=(lambda x, out: gc.constant(weights),),
        )

    with declared(make) as wrong:
        feeds = {"z": np.ones((2, 2)), "x": np.full((2, 2), 0.5)}
        text = failure(graph_of(lambda z, x: z * wrong(x), **feeds), feeds)
    assert text.startswith("d y[1, 1] / d x[1, 1]: reverse mode gives 1.5, differences give 1")


def test_a_wrong_jvp_is_found_and_named():
    def make():
        return op(
            "wrong_forward",
            infer=lambda x: x,
            evaluate=lambda x: x * x,
            vjp=(lambda g, out, x: 2 * g * x,),
            jvp=(lambda t, out, x: t * x,),
        )

    with declared(make) as wrong:
        text = failure(graph_of(lambda x: wrong(x).sum(), x=[1.0, 2.0]), {"x": [1.0, 2.0]})
    assert text.startswith("d y / d x[0]: forward mode gives 1, differences give 2")
    assert "the jvp of op 'wrong_forward' is wrong at wrong_forward" in text


def test_a_wrong_second_derivative_is_found_and_named():
    def later():
        def partial(x, out):
            return wrong_derivative(x)

        return elementwise("late_cube", infer=lambda x: x, evaluate=lambda x: x**3, partials=(partial,))

    def derivative():
        return elementwise("derivative", infer=lambda x: x, evaluate=lambda x: 3 * x**2, partials=(lambda x, out: 5 * x,))

    with declared(derivative) as wrong_derivative, declared(later) as late:
        g = graph_of(lambda x: late(x) * 2, x=[1.0, 2.0])
        testing.check_gradients(g, {"x": [1.0, 2.0]}, order=1)
        text = failure(g, {"x": [1.0, 2.0]})
    assert re.match(r"order 2, d <w, derivative of y> \(w is random\) / d x\[0\]: reverse over reverse mode gives", text)
    assert "the vjp of op 'derivative' is wrong at derivative" in text


def test_a_rule_that_holds_its_operand_fixed_is_found_and_named():
    """Every node of the gradient is right by itself: only the op's own second derivative is wrong."""

    def make():
        return elementwise(
            "stiff_cube",
            infer=lambda x: x,
            evaluate=lambda x: x**3,
            partials=(lambda x, out: 3 * x * gc.stop_gradient(x),),
        )

    with declared(make) as stiff:
        g = graph_of(lambda x: np.exp(stiff(x)), x=[1.0, 0.5])
        testing.check_gradients(g, {"x": [1.0, 0.5]}, order=1)
        text = failure(g, {"x": [1.0, 0.5]})
    assert "the vjp of op 'stiff_cube' has a wrong derivative of order 2, at stiff_cube" in text


def test_a_rule_of_zero_where_there_is_slope_is_found_and_named():
    def make():
        helper = elementwise("slope", infer=lambda x: x, evaluate=lambda x: 3 * x**2, partials=(0,))
        return elementwise("stuck_cube", infer=lambda x: x, evaluate=lambda x: x**3, partials=(lambda x, out: helper(x),))

    with declared(make) as stuck:
        text = failure(graph_of(lambda x: stuck(x), x=[2.0]), {"x": [2.0]})
    assert "order 2" in text and "op 'slope' is wrong" in text


def test_the_wrong_one_of_several_ops_outputs_and_variables():
    def make():
        def wrong(g, out, a, b):
            return g * a * 1.001

        return op(
            "wrong_product",
            infer=lambda a, b: TensorType(a.shape, a.dtype),
            evaluate=lambda a, b: a * b,
            vjp=(lambda g, out, a, b: g * b, wrong),
            jvp=(lambda t, out, a, b: t * b, lambda t, out, a, b: a * t),
        )

    with declared(make) as wrong:
        g = gc.Graph("g")
        a, b, c = (g.placeholder(n, 3) for n in "abc")
        g.output("fine", np.exp(a) * c)
        g.output("bad", np.cos(np.sin(a) * wrong(c, b + 1)).sum())
        feeds = {"a": np.array([0.1, 0.2, 0.3]), "b": np.array([1.0, 2.0, 3.0]), "c": np.array([0.5, 1.5, 2.5])}
        testing.check_gradients(g, feeds, wrt=["a", "c"])
        text = failure(g, feeds)
    assert text.startswith("d bad / d b[0]: reverse mode gives")
    assert "op 'wrong_product'" in text and "d x1[0]" in text


def test_a_large_variable_is_named_with_its_direction():
    with declared(lambda: elementwise("wrong_sine", np.sin, partials=(lambda x, out: np.cos(x) * 1.01,), public=False)) as wrong:
        value = np.linspace(0, 1, 200)
        text = failure(graph_of(lambda x: wrong(x).sum(), x=value), {"x": value})
    assert "d y / d x along a random direction" in text and "op 'wrong_sine'" in text


def test_an_adjoint_that_cancels_in_the_sum_is_still_seen():
    """The adjoint of the sum of a softmax is zero whatever its scale: only a random v shows it."""

    def make():
        return op(
            "wrong_softmax",
            infer=lambda x: x,
            evaluate=lambda x: np.exp(x) / np.exp(x).sum(),
            vjp=(lambda g, out, x: 2 * out * (g - call("sum", g * out)),),
            jvp=(lambda t, out, x: 2 * out * (t - call("sum", t * out)),),
        )

    with declared(make) as wrong:
        g = graph_of(lambda x: wrong(x), x=[0.1, 0.2, 0.9])
        assert np.allclose(gc.differentiate(g, "x").compile()(x=np.array([0.1, 0.2, 0.9]))["d_y/d_x"], 0)
        assert "op 'wrong_softmax'" in failure(g, {"x": [0.1, 0.2, 0.9]})


KINKED = {
    "abs": (lambda x: np.abs(x), 0.0),
    "relu": (gc.relu, 0.0),
    "clip": (lambda x: np.clip(x, -1, 1), 1.0),
    "equal operands": (lambda x: np.maximum(np.sin(x), 2 * np.sin(x)), 0.0),
    "close by": (lambda x: np.abs(x - 1e-12), 0.0),
    "largest of equals": (lambda x: x.max() * x.sum(), 1.0),
    "median of equals": (lambda x: np.median(x), 2.0),
    "norm": (lambda x: np.linalg.norm(x), 0.0),
    "std": (lambda x: np.exp(np.std(x)), 1.0),
    "jump": (lambda x: np.where(x > 0, x + 1, x), 0.0),
    "step": (lambda x: np.sign(x) + np.floor(x), 0.0),
    "square of relu": (lambda x: gc.relu(x) ** 2, 0.0),
    "end of the domain": (lambda x: x * np.sqrt(x), 0.0),
    "vertical": (lambda x: np.sqrt(x), 0.0),
    "both ends": (lambda x: np.sqrt(x) + np.sqrt(-x), 0.0),
    "cube root": (lambda x: np.cbrt(x), 0.0),
    "entropy": (lambda x: gc.xlogy(x, x), 0.0),
}


@pytest.mark.parametrize("name", KINKED)
def test_a_convention_passes_where_there_is_no_derivative(name):
    build, at = KINKED[name]
    for value in (np.full(3, at), np.array([at, at + 0.5, at + 0.25])) if "ends" not in name else (np.full(3, at),):
        testing.check_gradients(graph_of(build, x=value), {"x": value})


WRONG_BY_CONVENTION = {
    "slopes add up": (lambda x: gc.relu(x) - 0.5 * np.abs(x), "relu"),
    "beyond both sides": (lambda x: gc.relu(x) - 0.25 * np.abs(x), "relu"),
    "second order": (lambda x: gc.relu(x) * np.sin(np.abs(x)) - gc.relu(-x) * np.sin(x), "relu"),
    "crossed axes": (lambda x: gc.relu(x).sum(0).sum() + np.log1p(np.exp(-np.abs(x))).sum(), "relu"),
    "a cosine of a norm": (lambda x: np.cos(np.linalg.norm(x)), "norm_2"),
    "a product": (lambda x: np.abs(x) * np.sin(np.abs(x)), "abs"),
}


@pytest.mark.parametrize("name", WRONG_BY_CONVENTION)
def test_no_wrong_gradient_is_called_a_kink(name):
    build, op_name = WRONG_BY_CONVENTION[name]
    value = np.zeros((2, 2))
    graph = gc.Graph("g")
    graph.output("y", build(graph.placeholder("x", value.shape)))
    text = failure(graph, {"x": value})
    assert "conventions of parts took its place" in text and "is wrong" not in text
    assert f"op {op_name!r} is at a kink" in text


BY_WHERE = {
    "sin(x) / x": (lambda x: np.where(x == 0, 1.0, np.sin(x) / x), 2),
    "tanh(x) / x": (lambda x: np.where(x == 0, 1.0, np.tanh(x) / x), 2),
    "sinh(x) / x": (lambda x: np.where(x == 0, 1.0, np.sinh(x) / x), 2),
    "(1 - cos x) / x**2": (lambda x: np.where(x == 0, 0.5, (1 - np.cos(x)) / x**2), 2),
    "other way round": (lambda x: np.where(x != 0, np.sin(x) / x, 1.0), 2),
    "scaled": (lambda x: 100 * np.where(x == 0, 1.0, np.sin(x) / x), 2),
    "nothing cancels": (lambda x: np.where(x == 0, 1.0, np.cos(x)), 2),
    "first order": (lambda x: np.where(x == 0, 1.0, np.expm1(x) / x), 1),
}
"""The value at 0 is filled in as a constant: right, and without the derivatives that the other branch tends to."""


@pytest.mark.parametrize("shape", [(), (1,), (3,)], ids=str)
@pytest.mark.parametrize("name", BY_WHERE)
def test_a_value_filled_in_by_where_has_derivatives(name, shape):
    """Beside 0 their terms cancel to noise: the larger steps know better. The user's `where` is named, no op of a rule."""
    build, order = BY_WHERE[name]
    value = np.zeros(shape if "cos x" not in name else shape[:1] and (1,))  # along several at once its noise is too large
    if order == 2:
        testing.check_gradients(graph_of(build, x=value), {"x": value}, order=1)
    text = failure(graph_of(build, x=value), {"x": value}, order=2)
    assert text.startswith("order 2" if order == 2 else "d ") and "reverse mode gives 0, differences give" in text
    assert "op 'where' selects another operand beside the point" in text and "is wrong" not in text


def test_differences_of_a_noisy_function_are_sharp():
    """The gradient of (1 - cos x) / x**2 is 1/x where 1 - cos x rounds to 0, and 0 at 0; its slope there is -1/12."""
    noisy = lambda t: np.asarray(0.0 if t == 0 else np.sin(t) / t**2 - 2 * (1 - np.cos(t)) / t**3)
    found = slopes(noisy, [1.0])
    assert found.agree and not found.jumps
    assert np.allclose(found.bounds()[:2], -1 / 12, rtol=1e-7)


@pytest.mark.parametrize("distance", [1e-1, 1e-3, 1e-5, 1e-7])
def test_a_kink_beside_the_point_does_not_spoil_differences(distance):
    found = slopes(lambda t: np.asarray(max(t - distance, 0.0) + t), [1.0])
    assert found.agree and np.allclose(found.bounds()[:2], 1.0)


@pytest.mark.parametrize("constant", [0.5, 1.5, -1.0, 3.0])
def test_a_convention_outside_of_the_slopes_is_wrong(constant):
    """Slopes of 1 and -1 on the sides: a rule may give what is between, and nothing else."""

    def make():
        slope = lambda x, out: np.where(x > 0, 1.0, np.where(x < 0, -1.0, constant))
        return elementwise("my_abs", np.abs, partials=(slope,), public=False)

    with declared(make) as my_abs:
        graph = graph_of(lambda x: my_abs(x).sum(), x=np.zeros(2))
        if abs(constant) <= 1:
            testing.check_gradients(graph, {"x": np.zeros(2)})
            return
        text = failure(graph, {"x": np.zeros(2)})
        assert "differences give -1 on one side and 1 on the other" in text and "the vjp of op 'my_abs' is wrong" in text


# --- what cannot be checked is refused ---------------------------------------------------------------


def asked(**changes):
    g = gc.Graph("g")
    x, i = g.placeholder("x", ("n",)), g.placeholder("i", ("n",), "int64")
    inner = x * i
    g.output("y", np.log(inner))
    options = {"graph": g, "feeds": {"x": np.ones(2), "i": np.ones(2, "int64")}, **changes}
    return options, inner, x


def empty():
    g = gc.Graph("g")
    g.output("y", g.placeholder("x", ("n",))[0])
    return {"graph": g, "feeds": {"x": np.ones(0)}}


def other():
    return gc.Graph("other").placeholder("x", ("n",))


REFUSED = {
    "graph": (lambda: asked(graph=3)[0], errors.ArgumentError, "expected a graph, got int"),
    "order 0": (lambda: asked(order=0)[0], errors.ArgumentError, "order is an integer from 1 on, got 0"),
    "order": (lambda: asked(order=1.5)[0], errors.ArgumentError, "got 1.5"),
    "order bool": (lambda: asked(order=True)[0], errors.ArgumentError, "got True"),
    "rtol": (lambda: asked(rtol=-1.0)[0], errors.ArgumentError, "rtol is a finite number"),
    "atol": (lambda: asked(atol=float("nan"))[0], errors.ArgumentError, "atol is a finite number"),
    "unknown": (lambda: asked(wrt="z")[0], errors.NamingError, "'z' is no placeholder of graph 'g'.*x, i"),
    "twice": (lambda: asked(wrt=["x", "x"])[0], errors.NamingError, "twice"),
    "integer": (lambda: asked(wrt="i")[0], errors.DTypeError, "'i' is int64"),
    "empty": (lambda: asked(wrt=[])[0], errors.ArgumentError, "wrt is empty"),
    "inner": (
        lambda: dict(zip(["graph", "feeds", "wrt"], [*asked()[0].values(), asked()[1]], strict=True)),
        errors.NamingError,
        "multiply",
    ),
    "foreign": (lambda: asked(wrt=other())[0], errors.NamingError, "differences can move nothing else"),
    "missing": (lambda: asked(feeds={"x": np.ones(2)})[0], errors.FeedError, "missing feeds: i"),
    "extra": (
        lambda: asked(feeds={"x": np.ones(2), "i": np.ones(2, "int64"), "j": 1})[0],
        errors.FeedError,
        "unknown feeds: 'j'",
    ),
    "no mapping": (lambda: asked(feeds=[1])[0], errors.ArgumentError, "mapping"),
    "sizes": (lambda: asked(feeds={"x": np.ones(2), "i": np.ones(3, "int64")})[0], errors.FeedError, "n is 2 already"),
    "dtype": (lambda: asked(feeds={"x": np.ones(2), "i": np.ones(2)})[0], errors.FeedError, "int64"),
    "no rows": (lambda: empty(), errors.FeedError, "where n = 0: .*out of bounds"),
    "nan": (lambda: asked(feeds={"x": [1.0, np.nan], "i": [1, 1]})[0], errors.FeedError, "feed 'x' holds NaN"),
    "inf": (lambda: asked(feeds={"x": [1.0, 0.0], "i": [1, 1]})[0], errors.FeedError, "output 'y' holds NaN or infinity"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_gets_one_clear_error(name):
    ask, kind, text = REFUSED[name]
    with pytest.raises(kind, match=text):
        testing.check_gradients(**ask())


def test_graphs_without_a_derivative_are_refused():
    g = gc.Graph("g")
    x = g.placeholder("x", 2, "int64")
    g.output("i", x + 1)
    with pytest.raises(errors.GraphError, match="no floating point output"):
        testing.check_gradients(g, {"x": [1, 2]})
    g.output("y", x * 0.5)
    with pytest.raises(errors.GraphError, match="no floating point placeholder"):
        testing.check_gradients(g, {"x": [1, 2]})


@pytest.mark.parametrize("block", range(4))
def test_random_graphs_have_right_gradients(block):
    """Where one disagrees, conventions took the place of a derivative that there is, and no rule is blamed."""
    passed = 0
    for seed in range(15 * block, 15 * block + 15):
        rng = np.random.default_rng(seed)
        graph, feeds, *_ = random_graphs.build(rng.integers(0, 10**6, rng.integers(1, 13)).tolist())
        try:
            testing.check_gradients(graph, feeds)
            passed += 1
        except testing.GradientError as error:
            assert "conventions of parts" in str(error), f"seed {seed}: {error}"
        except errors.FeedError as error:
            assert "holds NaN or infinity" in str(error), f"seed {seed}: {error}"
    assert passed >= 10
