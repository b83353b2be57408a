"""Known traps of elementwise derivatives: masks over singular rules, powers at 0, removable singularities, casts."""

import numpy as np
import pytest

import gradc as gc
from gradc import passes

PIPELINES = {"NONE": passes.NONE, "EXACT": passes.EXACT, "DEFAULT": passes.DEFAULT}


def derivatives(build, values, order=2, pipeline=passes.DEFAULT, dtype="float64"):
    """Value, gradient, ... of the sum, up to `order`, of a function of one variable."""
    values = np.asarray(values, dtype)
    g = gc.Graph("trap")
    x = g.placeholder("x", values.shape, dtype)
    y = g.output("y", build(x))
    made = [y]
    for k in range(order):
        dg = gc.differentiate(g, x, of=list(g.outputs)[-1], on_disconnected="zeros")
        g = gc.Graph.of("trap", g.placeholders, {f"y{k}": dg.grad["x"]})
        made.append(dg.grad["x"])
    whole = gc.Graph.of("trap", g.placeholders, {f"d{k}": node for k, node in enumerate(made)})
    return list(gc.compile(whole, passes=pipeline)(x=values).values())


# --- masks ---------------------------------------------------------------------------------------------

MASKED = {
    "sqrt": (lambda x: np.where(x > 0, np.sqrt(x), 0), [0.0, -1.0, -0.0]),
    "log": (lambda x: np.where(x > 0, np.log(x), 0), [0.0, -1.0]),
    "1/x": (lambda x: np.where(np.not_equal(x, 0), 1 / x, 0), [0.0]),
    "exp(-1/x**2)": (lambda x: np.where(np.not_equal(x, 0), np.exp(-1 / x**2), 0), [0.0]),
    "exp": (lambda x: np.where(x < 100, np.exp(x), 0), [1000.0, np.inf]),
    "power": (lambda x: np.where(x > 0, x**-1.5, 0), [0.0, -1.0]),
    "log of sqrt": (lambda x: np.where(x > 0, np.log(np.sqrt(x)), 0) * np.cos(x), [0.0, -2.0]),
    "arcsin": (lambda x: np.where(np.abs(x) < 1, np.arcsin(x), 0), [1.0, -1.0, 3.0]),
    "arctanh": (lambda x: np.where(np.abs(x) < 1, np.arctanh(x), 0), [1.0, -1.0, 3.0]),
    "relu of log": (lambda x: gc.relu(np.where(x > 1, np.log(x), -1)), [0.0, -1.0]),
}


@pytest.mark.parametrize("pipeline", PIPELINES)
@pytest.mark.parametrize("name", MASKED)
def test_what_was_masked_has_exact_zeros(name, pipeline):
    build, values = MASKED[name]
    for derivative in derivatives(build, values, 2, PIPELINES[pipeline])[1:]:
        np.testing.assert_array_equal(derivative, np.zeros(len(values)))


def test_what_was_not_masked_has_its_derivative():
    value, slope, bend = derivatives(lambda x: np.where(x > 0, np.sqrt(x), 0), [4.0, -4.0])
    np.testing.assert_array_equal([value, slope, bend], [[2, 0], [0.25, 0], [-1 / 32, 0]])


# --- powers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, 0.0, 1.0, 2.0, 3.0])
@pytest.mark.parametrize("as_array", [False, True])
def test_powers_at_zero_to_third_order(exponent, as_array):
    n = int(exponent)
    falling = [1, n, n * (n - 1), n * (n - 1) * (n - 2)]
    expected = [float(falling[k]) if n == k else 0.0 for k in range(4)]
    found = derivatives(lambda x: np.power(x, np.full(1, exponent) if as_array else exponent), [0.0], 3)
    np.testing.assert_array_equal(np.ravel(found), expected)


def test_powers_of_negative_numbers():
    assert [float(v[0]) for v in derivatives(lambda x: np.power(x, 2.0), [-2.0])] == [4.0, -4.0, 2.0]
    assert [float(v[0]) for v in derivatives(lambda x: x**-1, [-2.0])] == [-0.5, -0.25, -0.25]
    g = gc.Graph("power")
    x, y = g.placeholder("x"), g.placeholder("y")
    g.output("z", x**y)
    out = gc.compile(gc.differentiate(g, [x, y]))(x=0.0, y=0.0)
    assert (out["z"], out["d_z/d_x"], out["d_z/d_y"]) == (1, 0, 0)


# --- removable singularities, and the origin -----------------------------------------------------------


def test_sinc_at_zero():
    value, slope, bend = derivatives(np.sinc, [0.0, 1e-9])
    np.testing.assert_array_equal(value, [1, 1])
    np.testing.assert_allclose(slope, [0, -(np.pi**2) / 3 * 1e-9], rtol=1e-14)
    np.testing.assert_allclose(bend, [-(np.pi**2) / 3] * 2, rtol=1e-14)


@pytest.mark.parametrize("build", [np.hypot, np.arctan2], ids=["hypot", "arctan2"])
def test_at_the_origin_both_adjoints_are_zero(build):
    g = gc.Graph("origin")
    x, y = g.placeholder("x"), g.placeholder("y")
    g.output("z", build(x, y))
    out = gc.compile(gc.differentiate(g, [x, y]))(x=0.0, y=0.0)
    assert (out["z"], out["d_z/d_x"], out["d_z/d_y"]) == (0, 0, 0)


# --- dtypes --------------------------------------------------------------------------------------------


def typed(build, dtype="float32"):
    g = gc.Graph("typed")
    x = g.placeholder("x", (2,), dtype)
    y = g.output("y", build(x))
    return y.dtype, gc.differentiate(g, x, on_disconnected="zeros").grad["x"].dtype


def test_python_numbers_are_weak_and_arrays_are_not():
    assert typed(lambda x: 2 * x + np.pi) == ("float32", "float32")
    assert typed(lambda x: x * np.full(2, 0.5)) == ("float64", "float32")
    assert typed(lambda x: x * np.float64(0.5)) == ("float64", "float32")
    assert typed(lambda x: np.float32(2) * x, "float16") == ("float32", "float16")
    assert typed(lambda x: x * np.arange(2)) == ("float64", "float32")


def test_a_gradient_rounds_where_its_value_did():
    through = lambda x: (x.astype("float32") * np.float32(1 / 3)).astype("float64")
    value, slope = derivatives(through, [1.0], 1)
    assert value == slope == np.float64(np.float32(1 / 3))


def test_a_cast_to_an_integer_ends_the_gradient():
    value, slope = derivatives(lambda x: x.astype("int64").astype("float64") * 2.0 + x, [1.7], 1)
    assert (value, slope) == (2 + 1.7, 1)
    assert derivatives(lambda x: x.astype("int64").astype("float64"), [1.7], 1)[1] == 0


def test_stop_gradient_holds_a_value():
    value, slope, bend = derivatives(lambda x: x * gc.stop_gradient(x * x), [3.0])
    assert (value, slope, bend) == (27, 9, 0)
