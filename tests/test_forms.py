"""Smooth functions that are written with kinked ops, and functions written out: true derivatives, to the order that exists.

The oracle is mpmath: the Taylor coefficients of the smooth function along a direction, with 40 digits.
"""

import math
from functools import partial

import mpmath as mp
import numpy as np
import pytest

import gradc as gc
from benchmarks import smooth_rows
from benchmarks.smooth import GRADC, limit
from benchmarks.smooth_rows import BESIDE, DIRECTION
from gradc import matching, passes
from gradc.ir import OPS
from gradc.matching import Same
from gradc.ops import pairs
from gradc.ops.declare import function

PIPELINES = {"none": passes.NONE, "exact": passes.EXACT, "default": passes.DEFAULT}
MODES = ("reverse", "forward", "mixed", "other")


def directional(fn, point, direction, order, modes, forms=True, kinks="convention"):
    """A graph of the derivative of that order of fn(x), a number, along a direction; its output's name, and the feeds."""
    graph = gc.Graph("smooth")
    x = graph.placeholder("x", point.shape, point.dtype)
    graph.output("s0", fn(x))
    feeds, name = {"x": point}, "s0"
    for k in range(order):
        forward = {"reverse": False, "forward": True, "mixed": k > 0, "other": k == 0}[modes]
        before = set(graph.placeholders)
        graph = gc.differentiate(
            graph, "x", of=name, mode="forward" if forward else "reverse", on_disconnected="zeros", forms=forms, kinks=kinks
        )
        name = list(graph.outputs)[-1]
        if forward:
            (dot,) = set(graph.placeholders) - before
            feeds[dot] = direction.astype(point.dtype)
        else:
            slope = graph.outputs[name]
            name = f"s{k + 1}"
            graph.output(name, (slope * gc.constant(direction.astype(point.dtype))).sum())
    return graph, name, feeds


def values(fn, point, direction, order, modes, **options):
    """That derivative by `evaluate`, and compiled by each pipeline."""
    graph, name, feeds = directional(fn, point, direction, order, modes, **options)
    found = {"evaluate": gc.evaluate(graph, feeds)[graph.outputs[name]]}
    for pipeline, chosen in PIPELINES.items():
        found[pipeline] = graph.compile([name], passes=chosen)(feeds)[name]
    return {key: float(value) for key, value in found.items()}


def exactly(smooth, point, direction, order):
    with mp.workdps(40):
        at = [mp.mpf(float(v)) for v in point.ravel()]
        along = [mp.mpf(float(v)) for v in direction.ravel()]
        return float(mp.diff(lambda t: smooth([a + t * d for a, d in zip(at, along, strict=True)]), 0, order))


ORIGIN, HALF = np.zeros(3), np.array([0.0, -0.4, 0.9])
EQUAL = np.full(3, 1.25)
SMOOTH = {name: (partial(written, GRADC), smooth) for name, (written, smooth) in smooth_rows.SMOOTH.items()}
ROUGH = {name: (partial(written, GRADC), last, smooth) for name, (written, last, smooth) in smooth_rows.ROUGH.items()}


@pytest.mark.parametrize("modes", MODES)
@pytest.mark.parametrize("point", [ORIGIN, BESIDE, HALF], ids=["origin", "beside", "half"])
@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_functions_have_their_true_derivatives(name, point, modes):
    written, smooth = SMOOTH[name]
    for order in (1, 2, 3):
        wanted = exactly(smooth, point, DIRECTION, order)
        for where, got in values(written, point, DIRECTION, order, modes).items():
            assert got == pytest.approx(wanted, rel=1e-10, abs=1e-10), (order, where)


@pytest.mark.parametrize("modes", MODES)
@pytest.mark.parametrize("name", ROUGH)
def test_what_is_smooth_to_some_order_is_right_to_that_order(name, modes):
    written, last, smooth = ROUGH[name]
    for order in range(1, 4):
        wanted = exactly(smooth, BESIDE, DIRECTION, order)
        for where, got in values(written, BESIDE, DIRECTION, order, modes).items():
            assert got == pytest.approx(wanted, rel=1e-9, abs=1e-9), (order, where)
        if order <= last:
            wanted = limit(smooth, ORIGIN, DIRECTION, order)
            for where, got in values(written, ORIGIN, DIRECTION, order, modes).items():
                assert got == pytest.approx(wanted, rel=1e-9, abs=1e-9), (order, where)


SINGLE = [
    "norm**2",
    "gaussian",
    "abs**2",
    "hypot**2",
    "cross entropy",
    "max + log1p",
    "log cosh",
    "logaddexp by max",
    "across sums",
]


@pytest.mark.parametrize("modes", ["reverse", "mixed"])
@pytest.mark.parametrize("name", SINGLE)
def test_in_single_precision_too(name, modes):
    written, smooth = SMOOTH[name]
    for point in (ORIGIN, BESIDE):
        single = point.astype("float32")
        for order in (1, 2, 3):
            wanted = exactly(smooth, single, DIRECTION.astype("float32"), order)
            for where, got in values(written, single, DIRECTION, order, modes).items():
                assert got == pytest.approx(wanted, rel=2e-5, abs=2e-5), (order, where)


@pytest.mark.parametrize("modes", MODES)
def test_the_square_of_a_deviation_is_a_variance(modes):
    direction = DIRECTION - DIRECTION.mean()
    for written in (
        lambda x: np.std(x) ** 2,
        lambda x: np.std(x) * np.std(x),
        lambda x: (np.std(x.reshape(1, 3), axis=1, keepdims=True) ** 2).sum(),
        lambda x: np.nanstd(x) ** 2,
    ):
        for order, wanted in ((1, 0.0), (2, 2 * np.mean(direction**2)), (3, 0.0)):
            for where, got in values(written, EQUAL, DIRECTION, order, modes).items():
                assert got == pytest.approx(wanted, rel=1e-12, abs=1e-14), (order, where)


EXTREME = np.array([-800.0, -40.0, 0.0, 37.0, 800.0])


@pytest.mark.parametrize("pipeline", PIPELINES)
@pytest.mark.parametrize(
    "written, as_op",
    [
        (lambda x: np.log(1 + np.exp(x)), gc.softplus),
        (lambda x: gc.relu(x) + np.log1p(np.exp(-np.abs(x))), gc.softplus),
        (lambda x: np.log(1 / (1 + np.exp(-x))), gc.log_sigmoid),
        (lambda x: np.log(np.exp(x).sum()), gc.logsumexp),
        (lambda x: np.sin(np.log(1 + np.exp(x))), lambda x: np.sin(gc.softplus(x))),
        (lambda x: np.exp(-np.log(1 + np.exp(x))), lambda x: np.exp(-gc.softplus(x))),
        (lambda x: np.log(gc.ndtr(x)), gc.log_ndtr),
        (lambda x: np.log(1 - gc.ndtr(x)), lambda x: gc.log_ndtr(-x)),
    ],
)
def test_what_overflows_as_it_is_written_has_its_derivatives_whatever_the_passes(written, as_op, pipeline):
    direction = np.sin(1 + np.arange(5.0))
    for modes in ("reverse", "mixed"):
        for order in (1, 2):
            got, wanted = (
                values(lambda x, fn=fn: fn(x).sum(), EXTREME, direction, order, modes)[pipeline] for fn in (written, as_op)
            )
            assert math.isfinite(wanted) and got == pytest.approx(wanted, rel=1e-12, abs=1e-300)


def test_the_logarithm_of_the_normal_distribution_function_in_its_tails():
    for x in (-1e4, -40.0, -6.0, -3.0, -2.9, 0.0, 1.5, 8.0):
        for order in range(4):
            with mp.workdps(60):
                wanted = float(mp.diff(lambda t: mp.log(mp.ncdf(t)), mp.mpf(x), order))
            got = values(lambda t: np.log(gc.ndtr(t)).sum(), np.array([x]), np.ones(1), order, "reverse")["default"]
            assert got == pytest.approx(wanted, rel=1e-11), (x, order)


# --- what is differentiated, and with respect to what --------------------------------------------------


def gradients(build, wrt=None, **options):
    """What `evaluate` and each pipeline give for the gradient: of what `build` returns, with respect to x or what it says."""
    graph = gc.Graph("g")
    x = graph.placeholder("x", 3)
    y, variable = build(x)
    graph.output("y", y)
    extended = gc.differentiate(graph, variable, of="y", **options)
    name = list(extended.outputs)[-1]
    feeds = {"x": np.array([0.3, -0.7, 1.1])}
    found = {"evaluate": gc.evaluate(extended, feeds)[extended.outputs[name]]}
    for pipeline, chosen in PIPELINES.items():
        found[pipeline] = extended.compile([name], passes=chosen)(feeds)[name]
    return found


X = np.array([0.3, -0.7, 1.1])
SOFTMAX = np.exp(X) / np.exp(X).sum()
SIGMOID = 1 / (1 + np.exp(-X))


def inner_sum(x):
    e = np.exp(x)
    return np.log(e.sum()) + e.sum(), e


def inner_total(x):
    total_ = np.exp(x).sum()
    return np.log(total_), total_


def inner_reciprocal(x):
    u = 1.0 / x
    return (np.exp(u) / u + u).sum(), u


def inner_view(x):
    v = x.reshape(3, 1)
    return (v.reshape(1, 3) * v).sum() + np.log(1 + np.exp(x)).sum(), v


def twins(x):
    v, w = np.sin(x), np.sin(x)
    return (v * w).sum() + np.log(1 + np.exp(x)).sum(), v


def twins_in_a_form(x):
    v, w = np.sin(x), np.sin(x)
    return (gc.relu(v) + np.log1p(np.exp(-np.abs(w)))).sum(), v


def inner_norm(x):
    n = np.linalg.norm(x)
    return n**2 * 3, n


def inner_root(x):
    v = np.log(1 + np.exp(x))
    return (v * v).sum(), v


def straight_through(x):
    z = x + gc.stop_gradient(np.sign(x) - x)
    return (z * x + np.log(np.sqrt(1 + x * x))).sum(), x


WANTED = {
    "stopped factor": (lambda x: (np.log(np.exp(x).sum()) * gc.stop_gradient((x * x).sum()), x), SOFTMAX * (X @ X)),
    "stopped itself": (lambda x: (np.log(1 + np.exp(x)).sum() + (x * gc.stop_gradient(x)).sum(), x), SIGMOID + X),
    "stopped inside": (lambda x: (np.log(gc.stop_gradient(1 + np.exp(x))).sum() + x.sum(), x), np.ones(3)),
    "stopped sum": (lambda x: ((np.exp(x) / gc.stop_gradient(np.exp(x).sum())).sum(), x), SOFTMAX),
    "stopped norm": (lambda x: (gc.stop_gradient(np.linalg.norm(x)) * np.linalg.norm(x), x), X),
    "stopped tail": (
        lambda x: ((gc.relu(x) + gc.stop_gradient(np.log1p(np.exp(-np.abs(x))))).sum(), x),
        (X > 0).astype(float),
    ),
    "stopped operand": (lambda x: (np.log(1 + np.exp(gc.stop_gradient(x))).sum() + x.sum(), x), np.ones(3)),
    "straight through": (straight_through, np.sign(X) + X + X / (1 + X * X)),
    "inner sum": (inner_sum, 1 / np.exp(X).sum() + np.ones(3)),
    "inner total": (inner_total, 1 / np.exp(X).sum()),
    "inner reciprocal": (inner_reciprocal, np.exp(1 / X) * X - np.exp(1 / X) * X * X + 1),
    "inner view": (inner_view, np.full((3, 1), 2 * X.sum())),
    "twins": (twins, np.sin(X)),
    "twins in a form": (twins_in_a_form, (np.sin(X) > 0).astype(float)),
    "inner norm": (inner_norm, 6 * np.linalg.norm(X)),
    "inner root": (inner_root, 2 * np.log(1 + np.exp(X))),
}


@pytest.mark.parametrize("mode", ["reverse", "forward"])
@pytest.mark.parametrize("name", WANTED)
def test_variables_and_stops_inside_of_forms(name, mode):
    build, wanted = WANTED[name]
    if mode == "reverse":
        for where, got in gradients(build).items():
            np.testing.assert_allclose(got, wanted, rtol=1e-12, err_msg=where)
        return
    graph = gc.Graph("g")
    x = graph.placeholder("x", 3)
    y, variable = build(x)
    graph.output("y", y)
    forward = gc.differentiate(graph, variable, of="y", mode="forward")
    dot = list(forward.placeholders)[-1]
    direction = np.cos(np.arange(variable.size)).reshape(variable.shape)
    feeds = {"x": X, dot: direction}
    for chosen in PIPELINES.values():
        got = forward.compile(["dot_y"], passes=chosen)(feeds)["dot_y"]
        assert float(got) == pytest.approx(float(np.vdot(wanted, direction)), rel=1e-12)


RANDOM_OPS = (
    lambda a, b: np.log(1 + np.exp(a)),
    lambda a, b: gc.relu(a) + np.log1p(np.exp(-np.abs(a))),
    lambda a, b: np.maximum(a, b) + np.log1p(np.exp(-np.abs(a - b))),
    lambda a, b: np.abs(a) ** 2 * 0.1,
    lambda a, b: 1 / (1 + np.exp(-a)),
    lambda a, b: np.exp(a) / np.exp(a).sum(),
    lambda a, b: np.linalg.norm(a) ** 2 * 0.01 + b,
    lambda a, b: a * gc.stop_gradient(b),
    lambda a, b: gc.stop_gradient(np.tanh(a)) + b,
    lambda a, b: np.tanh(a) - b,
)


def random_forms(seed):
    """A function with forms, stops and names in random places, and which of its nodes are named."""
    rng = np.random.default_rng(seed)

    def build(x):
        pool = [x, 0.5 * x - 0.2]
        for _ in range(rng.integers(3, 8)):
            a, b = (pool[i] for i in rng.integers(0, len(pool), 2))
            pool.append(RANDOM_OPS[rng.integers(len(RANDOM_OPS))](a, b))
        return pool

    return build, rng


@pytest.mark.parametrize("seed", range(60))
def test_no_pass_and_no_name_changes_a_derivative(seed):
    build, rng = random_forms(seed)
    graph = gc.Graph("random")
    x = graph.placeholder("x", 3)
    pool = build(x)
    graph.output("y", pool[-1].sum())
    bare = gc.differentiate(graph, x, of="y", on_disconnected="zeros")
    feeds = {"x": rng.normal(size=3)}
    wanted = gc.evaluate(bare, feeds)[bare.outputs["d_y/d_x"]]
    plain = gc.differentiate(graph, x, of="y", on_disconnected="zeros", forms=False)
    np.testing.assert_allclose(gc.evaluate(plain, feeds)[plain.outputs["d_y/d_x"]], wanted, rtol=1e-9, atol=1e-12)
    named = graph.copy()
    for k, node in enumerate(pool[2:]):
        named.output(f"n{k}", node)
    for chosen in PIPELINES.values():
        for g in (graph, named, passes.optimise(graph, chosen), passes.optimise(named, chosen)):
            extended = gc.differentiate(g, "x", of="y", on_disconnected="zeros")
            for later in PIPELINES.values():
                got = extended.compile(["d_y/d_x"], passes=later)(feeds)["d_y/d_x"]
                np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-12)


def test_optimise_and_differentiate_commute_with_stop_gradient():
    graph = gc.Graph("held")
    x = graph.placeholder("x")
    graph.output("y", x * gc.stop_gradient(x))
    for chosen in PIPELINES.values():
        first = passes.optimise(gc.differentiate(graph, x), chosen)
        then = gc.differentiate(passes.optimise(graph, chosen), "x")
        assert first.compile()(x=3.0)["d_y/d_x"] == then.compile()(x=3.0)["d_y/d_x"] == 3
    run = graph.compile()
    assert [node.op.name for node in run.graph.nodes] == ["placeholder", "multiply"]
    with pytest.raises(gc.GradcError, match="what compile made of a graph with stop_gradient"):
        gc.differentiate(run.graph, "x")


def test_what_only_a_form_reads_has_no_adjoint_and_says_so():
    graph = gc.Graph("inner")
    x = graph.placeholder("x", 3)
    e = np.exp(x)
    root = np.log(1 + e)
    graph.output("y", (root * x).sum())
    extended = gc.differentiate(graph, x)
    assert extended.nodes[: len(graph.nodes)] == graph.nodes
    np.testing.assert_allclose(gc.evaluate(extended, x=X)[extended.adjoint(root)], X)
    with pytest.raises(gc.GradcError, match=r"(?s)no derivative of its own.*softplus.*forms=False") as caught:
        extended.adjoint(e)
    assert "test_forms.py" in str(caught.value)
    plain = gc.differentiate(graph, x, forms=False)
    np.testing.assert_allclose(gc.evaluate(plain, x=X)[plain.adjoint(e)], X / (1 + np.exp(X)))
    with pytest.raises(gc.GradcError, match="no derivative of its own"):
        gc.differentiate(graph, x, mode="forward").tangent(e)


def test_an_inner_node_that_others_read_has_the_adjoint_of_those():
    graph = gc.Graph("shared")
    x = graph.placeholder("x", 3)
    e = np.exp(x)
    graph.output("y", (np.log(1 + e) + 2 * e).sum())
    extended = gc.differentiate(graph, x)
    trace = gc.evaluate(extended, x=X)
    np.testing.assert_allclose(trace[extended.adjoint(e)], 2)
    np.testing.assert_allclose(trace[extended.grad[x]], SIGMOID + 2 * np.exp(X))


def test_a_form_is_one_step_and_its_origin_says_so():
    graph = gc.Graph("one step")
    x = graph.placeholder("x", 3)
    root = graph.output("y", np.log(1 + np.exp(x)))
    extended = gc.differentiate(graph, x)
    ((edge, partial),) = extended.partial_adjoints(x).items()
    assert edge == (root, 0) and partial.origin.rule == "softplus: softplus.vjp[0]"
    assert partial.origin.primal is x


def test_an_odd_function_has_the_sign_that_was_copied():
    """|sin x| sign(x), whose slope is that of sin where the signs agree."""
    for x in (-5.3, -2.0, 0.0, 4.0, 7.0):
        sign = 1.0 if math.sin(abs(x)) >= 0 else -1.0
        for order, wanted in ((0, sign * math.sin(x)), (1, sign * math.cos(x)), (2, -sign * math.sin(x))):
            for where, got in values(
                lambda t: np.copysign(np.sin(np.abs(t)), t).sum(), np.array([x]), np.ones(1), order, "reverse"
            ).items():
                assert got == pytest.approx(wanted, abs=1e-12), (x, order, where)


def test_the_square_of_a_quotient_of_roots_overflows_nowhere():
    for order in (0, 1):
        found = values(lambda t: ((t / np.sqrt(1 + t * t)) ** 2).sum(), np.array([1e185]), np.ones(1), order, "reverse")
        assert all(map(math.isfinite, found.values())), found


NEAR_MISSES = {
    "other coefficient": (lambda x: gc.relu(x) + 2 * np.log1p(np.exp(-np.abs(x))), 0.0),
    "other scale": (lambda x: gc.relu(x) + np.log1p(np.exp(-2 * np.abs(x))), 0.0),
    "other argument": (lambda x: gc.relu(x) + np.log1p(np.exp(-np.abs(2.0 - x))), None),
    "difference": (lambda x: gc.relu(x) - np.log1p(np.exp(-np.abs(x))), 0.0),
    "other weights": (lambda x: np.arange(1.0, 4.0) * gc.relu(x) + np.log1p(np.exp(-np.abs(x))), 0.0),
    "other constant": (lambda x: np.log(2 + np.exp(x)), None),
    "other base": (lambda x: np.log(1 + np.exp2(x)), None),
    "other polynomial": (lambda x: (1 + 2 * np.abs(x)) * np.exp(-np.abs(x)), None),
    "norms along other axes": (
        lambda x: np.linalg.norm(x[None] * np.ones((3, 1)), axis=0) * np.linalg.norm(x[None] * np.ones((3, 1)), axis=1),
        None,
    ),
    "softmax over another axis": (lambda x: np.exp(x[:, None] + x) / np.exp(x[:, None] + x).sum(0), None),
    "turned sum": (lambda x: np.exp(x[:, None] + 2 * x) / np.exp(x[:, None] + 2 * x).sum(1), None),
}


@pytest.mark.parametrize("name", NEAR_MISSES)
def test_what_only_looks_like_a_form_is_none(name):
    """Away from kinks, what `forms=False` gives; at 0 the convention."""
    written, at_zero = NEAR_MISSES[name]
    for order in (1, 2):
        got, wanted = (values(lambda x: written(x).sum(), X, DIRECTION, order, "reverse", forms=f) for f in (True, False))
        assert got == pytest.approx(wanted, rel=1e-10)
    if at_zero is not None:
        assert values(lambda x: written(x).sum(), ORIGIN, DIRECTION, 1, "reverse")["default"] == at_zero


# --- conventions, and NaN in their place ---------------------------------------------------------------

KINKS = {
    "abs": (lambda x: np.abs(x), 0.0, 1.0),
    "relu": (gc.relu, 0.0, 1.0),
    "relu6": (lambda x: gc.relu6(x), 6.0, 5.0),
    "leaky_relu": (gc.leaky_relu, 0.0, -1.0),
    "maximum": (lambda x: np.maximum(x, 2.0), 2.0, 3.0),
    "minimum": (lambda x: np.minimum(x, x * x), 1.0, 0.5),
    "clip": (lambda x: np.clip(x, -1, 1), 1.0, 0.5),
    "norm": (lambda x: np.linalg.norm(x), 0.0, 1.0),
    "norm, p": (lambda x: np.linalg.norm(x, 3), 0.0, 1.0),
    "hypot": (lambda x: np.hypot(x, 2 * x), 0.0, 1.0),
    "arctan2": (lambda x: np.arctan2(x, x), 0.0, 1.0),
    "max": (lambda x: x.max(), 1.0, None),
    "std": (lambda x: np.std(x), 1.0, None),
    "selu": (gc.selu, 0.0, 1.0),
}


@pytest.mark.parametrize("mode", ["reverse", "forward"])
@pytest.mark.parametrize("name", KINKS)
def test_conventions_show_themselves_where_asked_to(name, mode):
    fn, kink, smooth = KINKS[name]
    at = [np.full(2, kink), np.full(2, smooth) if smooth is not None else np.array([1.0, 2.0])]
    for point, is_kink in zip(at, (True, False), strict=True):
        for kinks in ("nan", "convention"):
            found = values(lambda x: fn(x).sum(), point, np.array([1.0, 2.0]), 1, mode, kinks=kinks)
            assert all(math.isnan(v) == (is_kink and kinks == "nan") for v in found.values()), (kinks, found)


def test_a_convention_that_no_adjoint_reaches_shows_nothing():
    found = values(
        lambda x: (np.abs(x) * np.array([0.0, 1.0])).sum(), np.array([0.0, 2.0]), np.array([1.0, 1.0]), 1, "reverse", kinks="nan"
    )
    assert set(found.values()) == {1.0}
    smooth = values(lambda x: np.linalg.norm(x) ** 2, ORIGIN, DIRECTION, 2, "reverse", kinks="nan")
    assert all(v == pytest.approx(2 * DIRECTION @ DIRECTION) for v in smooth.values())


def test_kinks_is_one_of_two():
    graph = gc.trace(lambda x: x * x, gc.spec(()))
    with pytest.raises(gc.GradcError, match="kinks is 'convention' or 'nan'"):
        gc.differentiate(graph, "x", kinks="zero")


@pytest.mark.parametrize("written", [np.linalg.norm, np.std, lambda x: np.hypot(x, x).sum(), lambda x: np.arctan2(x, x).sum()])
def test_a_quotient_of_zeros_has_no_second_derivative(written):
    point = EQUAL if written is np.std else ORIGIN
    assert set(values(written, point, DIRECTION, 1, "reverse").values()) == {0.0}
    for modes in MODES:
        assert all(map(math.isnan, values(written, point, DIRECTION, 2, modes).values()))


def test_jumps_keep_their_convention_at_every_order():
    for written in (lambda x: gc.relu(x).sum(), lambda x: np.abs(x).sum(), lambda x: np.maximum(x, 0).sum() - 0.5 * x.sum()):
        for order in (1, 2, 3):
            assert set(values(written, ORIGIN, DIRECTION, order, "reverse").values()) == {0.0}


# --- what they are for ---------------------------------------------------------------------------------


def test_newton_for_logistic_regression_converges_from_zero():
    rng = np.random.default_rng(0)
    data = rng.normal(size=(200, 3))
    labels = (data @ np.array([1.0, -2.0, 0.5]) + rng.normal(size=200) > 0).astype(float)

    def loss(w):
        z = data @ w
        return np.mean(np.maximum(z, 0) - z * labels + np.log1p(np.exp(-np.abs(z))))

    graph = gc.differentiate(gc.trace(loss, gc.spec(3)), "w")
    graph = gc.differentiate(graph, "w", of="d_out/d_w", mode="forward")
    run = graph.compile(["d_out/d_w", "dot_d_out/d_w"])
    w = np.zeros(3)
    for _ in range(8):
        rows = [run({"w": w, "dot_w": unit}) for unit in np.eye(3)]
        w = w - np.linalg.solve(np.array([r["dot_d_out/d_w"] for r in rows]), rows[0]["d_out/d_w"])
    z = data @ w
    np.testing.assert_allclose(data.T @ (1 / (1 + np.exp(-z)) - labels) / 200, 0, atol=1e-15)


def test_a_form_with_symbolic_sizes():
    graph = gc.Graph("rows")
    x = graph.placeholder("x", ("n", 2))
    graph.output("y", np.mean(np.linalg.norm(x, axis=1) ** 2) + (gc.relu(x) + np.log1p(np.exp(-np.abs(x)))).mean())
    run = gc.differentiate(graph, x).compile(["d_y/d_x"])
    for n in (1, 4):
        np.testing.assert_allclose(run(x=np.zeros((n, 2)))["d_y/d_x"], 0.25 / n)


@pytest.mark.parametrize("decay", [False, True])
def test_long_sums_of_forms_stay_linear(decay, monkeypatch):
    """What is compared grows with the graph: nodes are counted, not seconds."""
    seen = 0
    original = Same._key

    def counted(self, node):
        nonlocal seen
        seen += 1
        return original(self, node)

    monkeypatch.setattr(Same, "_key", counted)
    found = []
    for terms in (100, 1000):
        seen = 0
        graph = gc.Graph("long")
        x, d = graph.placeholder("x"), graph.placeholder("d")
        value = x * 0
        for k in range(terms):
            value = (d * value if decay else value) + gc.relu(x - k) + np.log1p(np.exp(-np.abs(x - k))) - 0.1 * x
        graph.output("y", value)
        extended = gc.differentiate(graph, x)
        found.append(seen)
        slope = gc.evaluate(extended, x=0.0, d=1.0)[extended.outputs["d_y/d_x"]]
        assert float(slope) == pytest.approx(sum(math.exp(-k) / (1 + math.exp(-k)) for k in range(terms)) - 0.1 * terms)
    assert 0 < found[1] < 12 * found[0]


@pytest.mark.parametrize("f", [np.sin, np.tan])
@pytest.mark.parametrize("pipeline", PIPELINES)
def test_an_odd_function_of_another_sign_than_its_operand_is_no_form(f, pipeline):
    point = np.array([4.0, -4.0, 2.0, 0.5, -7.0])
    found = values(lambda x: np.copysign(f(np.abs(x)), x).sum(), point, DIRECTION[0] * np.ones(5), 0, "reverse")
    assert found[pipeline] == pytest.approx(np.copysign(f(np.abs(point)), point).sum(), rel=1e-12)


@pytest.mark.parametrize(
    "written", [lambda x: np.sqrt(x) ** 2, lambda x: np.square(np.sqrt(x)), lambda x: np.sqrt(x) * np.sqrt(x)]
)
def test_the_square_of_a_root_has_no_derivative_where_it_has_no_value(written):
    graph = gc.Graph()
    x = graph.placeholder("x", (3,))
    graph.output("y", written(x).sum())
    graph.output("masked", np.where(x > 0, written(x), 0).sum())
    joint = gc.differentiate(gc.differentiate(graph, "x", of="y"), "x", of="masked")
    for passes_ in PIPELINES.values():
        found = joint.compile(passes=passes_)(x=np.array([-1.0, 0.0, 2.0]))
        np.testing.assert_allclose(found["d_y/d_x"], [np.nan, 1.0, 1.0], rtol=1e-15)
        np.testing.assert_allclose(found["d_masked/d_x"], [0.0, 0.0, 1.0], rtol=1e-15)


@pytest.mark.parametrize(
    "written, at, wanted",
    [
        (lambda x, y: (x / np.hypot(1.0, x)) ** 2, (1e200, 0.0), 1.0),
        (lambda x, y: (np.abs(x) * np.abs(y)) ** 2, (1e-200, 1e200), 1.0),
        (lambda x, y: (np.abs(x) / np.abs(y)) ** 2, (1e200, -2e200), 0.25),
        (lambda x, y: (np.sqrt(x * x) / y) ** 2, (1e-150, 2e-150), 0.25),
        (lambda x, y: np.abs(x) * y * np.abs(x), (-1e200, 1e-300), 1e100),
    ],
)
def test_forms_overflow_nowhere_where_what_is_written_does_not(written, at, wanted):
    graph = gc.Graph()
    graph.output("z", written(graph.placeholder("x"), graph.placeholder("y")))
    for passes_ in PIPELINES.values():
        assert graph.compile(passes=passes_)(x=at[0], y=at[1])["z"] == pytest.approx(wanted, rel=1e-14)
    slope = gc.differentiate(graph, "x").compile()(x=at[0], y=at[1])["d_z/d_x"]
    assert slope == pytest.approx(0 if at[1] == 0 else 2 * wanted / at[0], rel=1e-14)


def test_beside_a_kink_a_power_of_a_root_has_no_second_derivative():
    for written in (lambda x: (np.sqrt(np.abs(x)) ** 3).sum(), lambda x: (np.sqrt(np.hypot(x, x)) ** 3).sum()):
        assert all(math.isnan(v) for v in values(written, ORIGIN, DIRECTION, 2, "reverse").values())


TRAITS = {
    "even": lambda f, x: (f(-x), f(x)),
    "odd": lambda f, x: (f(-x), -f(x)),
    "keeps_sign": lambda f, x: (np.sign(f(x)) * np.sign(x) >= 0, np.isfinite(f(x))),
    "nonnegative": lambda f, x: (np.minimum(f(x), 0), 0 * f(x)),
}


@pytest.mark.parametrize("trait", TRAITS)
def test_ops_are_what_their_traits_say(trait):
    x = np.concatenate([np.linspace(-1, 1, 41), np.linspace(-30, 30, 97), [1e-300, 1e5, -1e5]])
    claimed = [op for op in OPS.values() if op.elementwise and getattr(op, trait) and op.carries(0)]
    unary = [op for op in claimed if isinstance(op.vjp, tuple) and len(op.vjp) == 1]
    assert unary
    for op in unary:
        with np.errstate(all="ignore"):
            f = lambda values, op=op: np.asarray(op.evaluate(values))
            known = x[np.isfinite(f(x))]
            got, wanted = TRAITS[trait](f, known)
        np.testing.assert_array_equal(got, wanted, err_msg=op.name)


def test_a_chain_of_views_of_which_each_is_read_stays_linear(monkeypatch):
    looked = []
    monkeypatch.setattr(
        matching, "moves_entries", lambda node, original=matching.moves_entries: looked.append(1) or original(node)
    )
    found = []
    for count in (200, 800):
        graph = gc.Graph()
        x = graph.placeholder("x", (2, 2))
        total = x
        for _ in range(count):
            x = x.T
            total = total + np.abs(x)
        graph.output("y", total.sum())
        looked.clear()
        gc.differentiate(graph, "x")
        found.append(len(looked))
    assert 0 < found[1] < 6 * found[0]


def test_terms_of_one_argument_and_many_coefficients_stay_linear(monkeypatch):
    asked = []
    monkeypatch.setattr(pairs, "_near", lambda a, b, original=pairs._near: asked.append(1) or original(a, b))
    found = []
    for count in (200, 800):
        graph = gc.Graph()
        x = graph.placeholder("x")
        total = x
        for k in range(1, count):
            total = total + k * gc.relu(x) + (k + 0.5) * np.log1p(np.exp(-np.abs(x)))
        graph.output("y", total)
        asked.clear()
        gc.differentiate(graph, "x")
        found.append(len(asked))
    assert 0 < found[1] < 6 * found[0]


def test_users_declare_spellings_too():
    @function("my_entropy_of_forms", spellings=(lambda p: -(p * np.log(p)) - (1 - p) * np.log(1 - p),))
    def my_entropy(p):
        return -(gc.xlogy(p, p) + gc.xlogy(1 - p, 1 - p))

    try:
        found = values(lambda p: (-(p * np.log(p)) - (1 - p) * np.log(1 - p)).sum(), np.array([0.25]), np.ones(1), 1, "reverse")
        assert found["default"] == pytest.approx(math.log(3))
        graph = gc.trace(lambda p: -(p * np.log(p)) - (1 - p) * np.log(1 - p), gc.spec(3))
        assert graph.compile()(p=np.zeros(3))["out"].tolist() == [0, 0, 0]
    finally:
        del gc.ir.FUNCTIONS["my_entropy_of_forms"]


RADII = {
    "abs": lambda x: np.abs(x),
    "norm": lambda x: np.linalg.norm(x),
    "hypot": lambda x: np.hypot(x, x),
    "root of squares": lambda x: np.sqrt((x**2).sum()),
    "root of a square": lambda x: np.sqrt(x**2),
}
POLYNOMIALS = {
    "t**2": lambda t, c, r: 1 + t + t**2 / 3,
    "t * t": lambda t, c, r: 1 + t + t * t / 3,
    "c r, 5 r**2": lambda t, c, r: 1 + c * r + 5 * r**2 / 3,
    "c r, (c r)**2": lambda t, c, r: 1 + c * r + (c * r) ** 2 / 3,
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("before", [passes.NONE, passes.EXACT, passes.DEFAULT, (passes.contract, passes.stable)])
@pytest.mark.parametrize("polynomial", POLYNOMIALS)
@pytest.mark.parametrize("radius", RADII)
def test_matern_kernels_of_any_radius_are_known_before_and_after_passes(radius, polynomial, before, dtype):
    """Of order 5/2 the second derivative at the origin is -5/3, for hypot(x, x) twice that."""
    g = gc.Graph("kernel")
    x = g.placeholder("x", (2,), dtype)
    r = RADII[radius](x)
    t = math.sqrt(5) * r
    g.output("y", (POLYNOMIALS[polynomial](t, math.sqrt(5), r) * np.exp(-t)).sum())
    d = gc.differentiate(passes.optimise(g, before), "x")
    d.output("s", d.grad["x"].sum())
    d = gc.differentiate(d, "x", of="s")
    found = gc.evaluate(d, {"x": np.zeros(2, dtype)})[d.grad["x"]]
    np.testing.assert_allclose(found, [-10 / 3 if radius == "hypot" else -5 / 3] * 2, rtol=1e-6)


@pytest.mark.parametrize("variable", ["x", "v"])
@pytest.mark.parametrize("inner", [lambda x: np.sin(x), lambda x: x / gc.stop_gradient(np.abs(x) + 1), lambda x: np.abs(x)])
@pytest.mark.parametrize("radius", [lambda v: np.sqrt((v**2).sum()), lambda v: np.linalg.norm(v)])
def test_cubes_of_a_radius_have_a_second_derivative_through_variables_and_stops(radius, inner, variable):
    g = gc.Graph("cube")
    x = g.placeholder("x", (2,))
    v = g.output("v", inner(x))
    g.output("y", radius(v) ** 3)
    d = gc.differentiate(g, variable, of="y")
    d.output("s", d.grad[variable].sum())
    d = gc.differentiate(d, "x", of="s")
    np.testing.assert_array_equal(gc.evaluate(d, {"x": np.zeros(2)})[d.grad["x"]], [0.0, 0.0])
