"""Values and derivatives in the tails and at extremes, against mpmath in 400 digits, in units in the last place."""

import functools

import numpy as np
import pytest
import sympy as sp
from sympy.abc import a, b, c

import gradc as gc

DIGITS = 400
TINY = float(np.finfo("float64").tiny)

SMALL = [1e-300, 1e-20, 1e-8, 1e-3, 0.1, 0.5, 1.0, 2.0, 3.0, 5.0]
LARGE = [8.0, 12.0, 17.0, 20.0, 26.0, 30.0, 37.0, 50.0, 100.0, 300.0, 700.0, 800.0, 1e4, 1e100, 1e200, 1e300]
POSITIVE = SMALL + LARGE
LINE = np.array([-x for x in reversed(POSITIVE)] + [0.0, *POSITIVE])

SIGMOID = 1 / (1 + sp.exp(-a))
SOFTPLUS = sp.log(1 + sp.exp(a))
NORMAL = sp.erfc(-a / sp.sqrt(2)) / 2
TANH_GELU = a / (1 + sp.exp(-2 * sp.sqrt(2 / sp.pi) * (a + sp.Rational(44715, 1000000) * a**3)))

UNARY = {
    "sigmoid": (gc.sigmoid, SIGMOID, LINE),
    "log_sigmoid": (gc.log_sigmoid, -sp.log(1 + sp.exp(-a)), LINE),
    "softplus": (gc.softplus, SOFTPLUS, LINE),
    "tanh": (np.tanh, sp.tanh(a), LINE),
    "expm1": (np.expm1, sp.exp(a) - 1, LINE),
    "log1p": (np.log1p, sp.log(1 + a), np.array([-1 + 1e-15, -0.9, -1e-8, -1e-20, 1e-300, 1e-8, 0.1, 1.0, 1e10, 1e200, 1e300])),
    "logit": (
        gc.logit,
        sp.log(a / (1 - a)),
        np.array([1e-300, 1e-20, 1e-8, 0.1, 0.3, 0.5 - 1e-9, 0.5, 0.5 + 1e-9, 0.9, 1 - 1e-15]),
    ),
    "erf": (gc.erf, sp.erf(a), LINE),
    "erfc": (gc.erfc, sp.erfc(a), LINE),
    "gelu": (gc.gelu, a * NORMAL, LINE),
    "gelu by tanh": (lambda x: gc.gelu(x, "tanh"), TANH_GELU, LINE[np.abs(LINE) < 1e3]),
    "silu": (gc.silu, a * SIGMOID, LINE),
    "mish": (gc.mish, a * sp.tanh(SOFTPLUS), LINE),
    "arctan": (np.arctan, sp.atan(a), LINE),
    "arcsinh": (np.arcsinh, sp.asinh(a), LINE),
}
ULPS = {"mish": 34}
"""Its derivative is a difference of two terms near its minimum; else 6."""

PAIRS = [
    (0.0, 0.0),
    (1.0, 1.0),
    (800.0, -800.0),
    (1e4, 1e4 + 1),
    (-1e4, -1e4),
    (1e17, 1e17),
    (1e308, 1e308),
    (0.3, 40.0),
    (-745.0, 0.0),
]
BINARY = {
    "logaddexp": (np.logaddexp, sp.log(sp.exp(a) + sp.exp(b)), PAIRS),
    "hypot": (
        np.hypot,
        sp.sqrt(a**2 + b**2),
        [(3.0, 4.0), (1e200, 1e200), (1e-200, 1e-200), (1e200, 1.0), (1e300, -1e299), (1e-8, 1.0)],
    ),
    "divide": (np.divide, a / b, [(1e200, 1e200), (1e-200, 1e-200), (1e200, 1e-100), (1.0, 3.0), (1e-300, 7.0), (-1e150, 1e300)]),
    "arctan2": (np.arctan2, sp.atan2(a, b), [(1e200, 1e199), (2e-100, 1e-100), (1.0, 1e200), (1e-300, 1.0), (3.0, 4.0)]),
}
VECTORS = [
    (0.0, 1.0, 2.0),
    (1000.0, 1000.0, 999.0),
    (1e4, 0.0, -1e4),
    (-1e4, 0.0, 1e4),
    (1e17, 1e17, 0.0),
    (-700.0, -750.0, -800.0),
]
TOTAL = sp.log(sp.exp(a) + sp.exp(b) + sp.exp(c))


@functools.cache
def reference(form, *symbols):
    """The derivative of `form`, as a function of floats that returns the nearest float, or NaN where it has a pole."""
    import mpmath

    function = sp.lambdify((a, b, c), sp.diff(form, *symbols) if symbols else form, "mpmath")

    @functools.cache
    def nearest(*values):
        with mpmath.workdps(DIGITS):
            try:
                return float(mpmath.re(function(*[mpmath.mpf(float(v)) for v in (*values, 0, 0)[:3]])))
            except (ZeroDivisionError, OverflowError):
                return np.nan

    return nearest


def assert_near(ours, form, symbols, points, ulps, amplified=0.0):
    """Within `ulps`, where the exact value is a normal number; what underflows may be 0."""
    theirs = np.array([reference(form, *symbols)(*point) for point in points])
    with np.errstate(invalid="ignore"):
        error = np.abs(ours - theirs)
        bound = (ulps + amplified) * np.spacing(np.abs(theirs)) + 4 * TINY
        wrong = ~((error <= bound) | (ours == theirs) | np.isnan(theirs))
    at = [points[k] for k in np.flatnonzero(wrong)]
    assert not at, f"derivative {symbols} of {form}: at {at} {ours[wrong]}, exact {theirs[wrong]}"


def derivatives(graph, feeds, wrt):
    """Values, gradients and second derivatives by name, evaluated and compiled: the default passes keep accuracy."""
    extended = gc.differentiate(graph, wrt)
    for name in wrt:
        extended = gc.differentiate(extended, wrt, of=f"d_y/d_{name}", on_disconnected="zeros")
    trace = gc.evaluate(extended, feeds)
    yield {name: trace[node] for name, node in extended.outputs.items()}
    yield gc.compile(extended)(feeds)


@pytest.mark.parametrize("name", UNARY)
def test_unary(name):
    build, form, line = UNARY[name]
    points = [(x,) for x in line]
    g = gc.Graph(name)
    g.output("y", build(g.placeholder("a", line.shape)))
    amplified = np.square(np.where(np.abs(line) < 40, line, 0.0))  # of the rounding of x / sqrt(2), or of x**3, in an exponential
    amplified = amplified * (2 if "tanh" in name else 1) if "gelu" in name else 0.0
    for values in derivatives(g, {"a": line}, ["a"]):
        assert_near(values["y"], form, (), points, 6, amplified)
        assert_near(values["d_y/d_a"], form, (a,), points, ULPS.get(name, 6), amplified)
        assert_near(values["d_(d_y/d_a)/d_a"], form, (a, a), points, ULPS.get(name, 6), amplified)


@pytest.mark.parametrize("name", BINARY)
def test_binary(name):
    build, form, points = BINARY[name]
    g = gc.Graph(name)
    g.output("y", build(g.placeholder("a", (len(points),)), g.placeholder("b", (len(points),))))
    first, second = np.array(points).T
    symbols = {"a": a, "b": b}
    amplified = np.minimum(np.abs(first - second), 50) if name == "logaddexp" else 0.0  # the rounding of the difference
    for values in derivatives(g, {"a": first, "b": second}, ["a", "b"]):
        assert_near(values["y"], form, (), points, 4)
        for x in symbols:
            assert_near(values[f"d_y/d_{x}"], form, (symbols[x],), points, 6, amplified)
            for y in symbols:
                assert_near(values[f"d_(d_y/d_{x})/d_{y}"], form, (symbols[x], symbols[y]), points, 24, amplified)


@pytest.mark.parametrize(
    ("build", "form"),
    [
        (gc.logsumexp, TOTAL),
        (lambda x: gc.softmax_cross_entropy(x, np.array(1)), TOTAL - b),
        (lambda x: gc.softmax_cross_entropy(x, np.array([0.0, 1.0, 0.0])), TOTAL - b),
        (lambda x: gc.softmax(x)[0], sp.exp(a - TOTAL)),
        (lambda x: gc.log_softmax(x)[2], c - TOTAL),
    ],
    ids=["logsumexp", "cross entropy", "cross entropy of rows", "softmax", "log_softmax"],
)
def test_vectors(build, form):
    g = gc.Graph("vector")
    x = g.placeholder("x", (3,))
    g.output("y", build(x))
    extended = gc.differentiate(g, x)
    for k in range(3):
        extended.output(f"g{k}", extended.grad["x"][k])
    for k in range(3):
        extended = gc.differentiate(extended, x, of=f"g{k}")
    run = gc.compile(extended)
    for point in VECTORS:
        trace = gc.evaluate(extended, x=np.array(point))
        for values in (run(x=np.array(point)), {name: trace[node] for name, node in extended.outputs.items()}):
            assert_near(np.array([values["y"]]), form, (), [point], 4)
            for k, s in enumerate((a, b, c)):
                assert_absolute(values["d_y/d_x"][k], form, (s,), point)
                for j, t in enumerate((a, b, c)):
                    assert_absolute(values[f"d_g{k}/d_x"][j], form, (s, t), point)


def assert_absolute(ours, form, symbols, point):
    """Probabilities: relative to 1, since each is 1 less the others, and relative to itself where it is small."""
    exact = reference(form, *symbols)(*point)
    assert abs(ours - exact) <= 8 * np.finfo(float).eps, (symbols, point, ours, exact)
