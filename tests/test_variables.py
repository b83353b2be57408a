"""What is differentiated with respect to what: variables that depend on each other, seeds, names, and what `grad` then finds."""

import numpy as np
import pytest

import gradc as gc
from gradc import errors

PASSES = [gc.passes.NONE, gc.passes.EXACT, gc.passes.DEFAULT]


def nested_graph():
    """y of x, of v = sin(x), and of w = v * x; every one of them may be a variable."""
    g = gc.Graph("nested")
    x = g.placeholder("x", 3)
    v = g.output("v", np.sin(x))
    w = g.output("w", v * x)
    g.output("y", np.exp(w) * v + x[::-1] * w)
    return g


POINT = np.array([0.3, -0.7, 1.1])


def test_a_variable_that_depends_on_another_has_the_total_derivative_in_both_modes():
    g = gc.Graph()
    x = g.placeholder("x")
    v = g.output("v", np.sin(x))
    g.output("y", v * x)
    reverse = gc.differentiate(g, [x, v], of="y").compile()(x=0.5)
    assert np.isclose(reverse["d_y/d_x"], np.sin(0.5) + 0.5 * np.cos(0.5))
    assert np.isclose(reverse["d_y/d_v"], 0.5)
    forward = gc.differentiate(g, [x, v], of="y", mode="forward").compile()
    assert np.isclose(forward(x=0.5, dot_x=1.0, dot_v=0.0)["dot_y"], np.sin(0.5) + 0.5 * np.cos(0.5))
    assert np.isclose(forward(x=0.5, dot_x=0.0, dot_v=1.0)["dot_y"], 0.5)


@pytest.mark.parametrize("passes", PASSES)
@pytest.mark.parametrize("wrt", [["x"], ["v"], ["x", "v"], ["v", "x"], ["w", "x", "v"], ["y", "w"], ["x", "y"]])
def test_the_modes_are_transposes_of_each_other(wrt, passes):
    g = nested_graph()
    rng = np.random.default_rng(0)
    dots = {f"dot_{name}": rng.normal(size=3) for name in wrt}
    bar = rng.normal(size=3)
    forward = gc.differentiate(g, wrt, of="y", mode="forward").compile(["dot_y"], passes=passes)
    reverse = gc.differentiate(g, wrt, of="y", seed=True).compile(passes=passes)
    pushed, pulled = forward(x=POINT, **dots)["dot_y"], reverse(x=POINT, bar_y=bar)
    assert np.isclose(bar @ pushed, sum(dots[f"dot_{name}"] @ pulled[f"d_y/d_{name}"] for name in wrt), rtol=1e-13)


@pytest.mark.parametrize("wrt", [["x", "v"], ["v", "w"], ["w", "x", "v"]])
def test_names_of_one_node_have_a_tangent_each(wrt):
    g = gc.Graph("names")
    x = g.placeholder("x", (2,))
    g.output("v", x)
    g.output("w", x)
    g.output("y", (x * x).sum())
    back, forth = gc.differentiate(g, wrt, of="y"), gc.differentiate(g, wrt, of="y", mode="forward")
    at = {"x": np.array([2.0, 3.0])}
    dots = {f"dot_{name}": np.array([1.0, 10.0]) * k for k, name in enumerate(wrt, 1)}
    total = sum((gc.evaluate(back, at)[back.grad[name]] * dots[f"dot_{name}"]).sum() for name in wrt)
    assert gc.evaluate(forth, {**at, **dots})[forth.outputs["dot_y"]] == total


def test_a_shift_of_an_inner_variable_is_what_its_derivative_says():
    """v stands for v + δ: the derivative by δ, against differences of the function with δ written out."""

    def shifted(x, delta):
        v = np.sin(x) + delta
        w = v * x
        return np.sum(np.exp(w) * v + x[::-1] * w)

    found = gc.differentiate(nested_graph(), ["x", "v"], of="y").compile()(x=POINT)
    for k, e in enumerate(1e-6 * np.eye(3)):
        assert np.isclose(found["d_y/d_v"][k], (shifted(POINT, e) - shifted(POINT, -e)) / 2e-6, atol=1e-8)
        assert np.isclose(found["d_y/d_x"][k], (shifted(POINT + e, 0) - shifted(POINT - e, 0)) / 2e-6, atol=1e-8)


# --- seeds -------------------------------------------------------------------------------------------


def test_a_seed_may_be_a_node():
    g = gc.Graph()
    x, weight = g.placeholder("x", 3), g.placeholder("weight", 3)
    y = g.output("y", np.exp(x))
    given = gc.differentiate(g, x, seed=2 * weight)
    assert np.allclose(given.compile()(x=POINT, weight=[1.0, 0.0, -1.0])["d_y/d_x"], 2 * np.exp(POINT) * [1, 0, -1])
    own = gc.differentiate(g, x, seed=y)
    assert np.allclose(own.compile()(x=POINT, weight=POINT)["d_y/d_x"], np.exp(2 * POINT))
    placeholder = gc.differentiate(g, x, seed=weight)
    assert np.allclose(placeholder.compile()(x=POINT, weight=POINT)["d_y/d_x"], np.exp(POINT) * POINT)


def test_the_nodes_of_the_graph_stay_first_whatever_the_seed_was_made_of_before():
    g = gc.Graph()
    x = g.placeholder("x", 3)
    early = x * 3.0 + gc.constant(np.ones(3))
    g.output("y", np.sin(x))
    before = g.nodes
    dg = gc.differentiate(g, x, seed=early)
    assert dg.nodes[: len(before)] == before
    assert np.allclose(dg.compile()(x=POINT)["d_y/d_x"], np.cos(POINT) * (3 * POINT + 1))


@pytest.mark.parametrize(
    ("seed", "error", "words"),
    [
        (lambda g, x: 3, errors.ArgumentError, "True, False or a node"),
        (lambda g, x: np.ones(3), errors.ArgumentError, "gradc.constant makes one"),
        (lambda g, x: x.sum(), errors.ArgumentError, "float64\\[3\\]"),
        (lambda g, x: x.astype("float32"), errors.ArgumentError, "float32"),
        (lambda g, x: gc.Graph("other").placeholder("z", 3), errors.GraphError, "no placeholder of graph"),
    ],
)
def test_a_seed_that_does_not_fit_is_refused_before_anything_is_built(seed, error, words):
    g = gc.Graph()
    x = g.placeholder("x", 3)
    g.output("y", np.sin(x))
    with pytest.raises(error, match=words):
        gc.differentiate(g, x, seed=seed(g, x))
    with pytest.raises(errors.ArgumentError, match="reverse mode"):
        gc.differentiate(g, x, seed=x, mode="forward")
    assert list(g.outputs) == ["y"]


def test_the_listing_says_that_the_derivative_is_that_of_the_sum():
    g = gc.Graph()
    x = g.placeholder("x", 3)
    g.output("y", np.sin(x))
    g.output("s", np.sin(x).sum())
    assert "of the sum of its entries" in str(gc.differentiate(g, x, of="y"))
    assert "sum of its entries" not in str(gc.differentiate(g, x, of="s"))
    assert "sum of its entries" not in str(gc.differentiate(g, x, of="y", seed=True))


# --- differentiating again ---------------------------------------------------------------------------


def product_graph():
    g = gc.Graph()
    a, b = g.placeholder("a"), g.placeholder("b")
    g.output("y", a * b)
    return g, a, b


def test_grad_keeps_what_there_is():
    g, a, b = product_graph()
    one = gc.differentiate(g, a)
    both = gc.differentiate(one, b, of="y")
    assert list(both.outputs) == ["y", "d_y/d_a", "d_y/d_b"]
    assert both.grad["a"] is one.grad["a"] is both.grad[a]
    assert both.grad["d_y/d_a"] is both.grad["a"]
    assert list(both.grad) == ["a", "b"] and len(both.grad) == 2 and "a" in both.grad and b in both.grad


def test_where_a_variable_has_two_derivatives_the_newest_is_meant_and_outputs_tell_them_apart():
    g, a, _ = product_graph()
    g.output("z", a**3)
    first = gc.differentiate(g, a, of="z")
    second = gc.differentiate(first, a, of="d_z/d_a")
    assert second.grad[a] is second.grad["a"] is second.outputs["d_(d_z/d_a)/d_a"]
    assert second.grad["d_z/d_a"] is first.grad["a"]


def test_names_choose_what_the_outputs_are_called():
    g, a, b = product_graph()
    one = gc.differentiate(g, a)
    with pytest.raises(errors.NamingError, match="choose another with names="):
        gc.differentiate(one, [a, b], of="y")
    again = gc.differentiate(one, [a, b], of="y", names=["slope_a", "slope_b"])
    assert list(again.outputs) == ["y", "d_y/d_a", "slope_a", "slope_b"]
    assert again.grad["slope_a"] is again.grad["a"] is again.grad[a]
    part = gc.differentiate(one, [a, b], of="y", names={a: "other"})
    assert list(part.outputs) == ["y", "d_y/d_a", "other", "d_y/d_b"]
    assert list(gc.differentiate(one, [a, b], of="y", names={"a": "other"}).outputs) == list(part.outputs)
    assert list(gc.differentiate(g, a, names="slope").outputs) == ["y", "slope"]
    forward = gc.differentiate(gc.differentiate(g, a, mode="forward"), b, of="y", mode="forward", names="along_b")
    assert list(forward.outputs) == ["y", "dot_y", "along_b"]


@pytest.mark.parametrize(
    ("names", "error"),
    [
        (["one"], errors.ArgumentError),
        ("one", errors.ArgumentError),
        ([1, 2], errors.ArgumentError),
        ({"c": "x"}, errors.ArgumentError),
        ({"a": 3}, errors.ArgumentError),
        (["same", "same"], errors.NamingError),
        (["y", "other"], errors.NamingError),
        (["", "other"], errors.NamingError),
        (["\x1b[0m", "other"], errors.NamingError),
    ],
)
def test_names_that_cannot_be_are_refused(names, error):
    g, a, b = product_graph()
    with pytest.raises(error):
        gc.differentiate(g, [a, b], names=names)
    assert list(g.outputs) == ["y"]


def test_modes_may_follow_each_other():
    g, a, _ = product_graph()
    reverse_first = gc.differentiate(gc.differentiate(g, a), a, of="y", mode="forward")
    assert reverse_first.grad["a"] is reverse_first.outputs["d_y/d_a"]
    assert reverse_first.adjoint(a) is reverse_first.grad["a"]
    assert reverse_first.tangent(a) is reverse_first.placeholders["dot_a"]
    with pytest.raises(errors.GraphError, match="forward mode"):
        _ = gc.differentiate(g, a, mode="forward").grad
    with pytest.raises(errors.GraphError, match="no tangents"):
        gc.differentiate(g, a).tangent(a)
    with pytest.raises(errors.GraphError, match="no adjoints"):
        gc.differentiate(g, a, mode="forward").adjoint(a)


# --- adjoints that were not asked for ----------------------------------------------------------------


def test_an_adjoint_that_was_not_built_is_no_zero():
    g, a, b = product_graph()
    g.output("free", np.exp(b))
    held = g.output("held", gc.stop_gradient(np.sin(b)) * a)
    dg = gc.differentiate(g, a, of="y")
    with pytest.raises(errors.GraphError, match="differentiate with respect to it"):
        dg.adjoint(b)
    trace = gc.evaluate(dg, a=2.0, b=3.0)
    assert trace[dg.adjoint(g.outputs["free"])] == 0
    fg = gc.differentiate(g, a, of="y", mode="forward")
    with pytest.raises(errors.GraphError, match="differentiate with respect to it"):
        fg.tangent(held)
    assert gc.evaluate(fg, a=2.0, b=3.0, dot_a=1.0)[fg.tangent(b)] == 0


def test_what_only_stop_gradient_reaches_has_the_adjoint_zero():
    g, a, b = product_graph()
    inner = np.sin(b)
    g.output("held", gc.stop_gradient(inner) * a)
    dg = gc.differentiate(g, a, of="held")
    assert gc.evaluate(dg, a=2.0, b=3.0)[dg.adjoint(inner)] == 0


@pytest.mark.parametrize("names", [lambda name: name, {"a", "b"}, 3, ["a"], ["a", 3], (k for k in "ab")])
def test_names_that_are_no_sequence_of_as_many_are_refused(names):
    with pytest.raises(errors.ArgumentError, match=r"names gives 2 names, one for each output .* \(d_y/d_x, d_y/d_v\)"):
        gc.differentiate(nested_graph(), ["x", "v"], of="y", names=names)


@pytest.mark.parametrize("names", [["a", "a"], ("a", "a"), {"x": "a", "v": "a"}])
def test_a_name_that_is_given_twice_is_told(names):
    with pytest.raises(errors.NamingError, match="names gives 'a' twice"):
        gc.differentiate(nested_graph(), ["x", "v"], of="y", names=names)


@pytest.mark.parametrize("mode", ["reverse", "forward"])
def test_only_floating_point_has_adjoints_and_tangents(mode):
    g = gc.Graph("g")
    x = g.placeholder("x", 3)
    flag, place = x > 0, np.argmax(x)
    g.output("y", np.where(flag, x, 0.0).sum() + x[place])
    dg = gc.differentiate(g, x, mode=mode)
    find = dg.adjoint if mode == "reverse" else dg.tangent
    for node in (flag, place):
        with pytest.raises(errors.DTypeError, match=f"{node.op.name} .*has no derivative: only floating point has"):
            find(node)
    assert find(x).dtype == x.dtype
