"""Elementwise ops: NumPy's real ufuncs, clip, where, nan_to_num, sinc, casts.

Conventions at kinks and ends are rows of each op's `edges`. A rule never forms an intermediate that overflows,
underflows or cancels where the derivative itself does not: where that takes a function of its own, it is a small op
(`tanh_slope`, `direction`, ...), so that the second derivative is as accurate as the first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradc.errors import ArgumentError, DTypeError
from gradc.ir import CONSTANT, NUMPY, ZERO, Call, Kernel, Node, Op, apply, lift
from gradc.ops.declare import call, elementwise, function, if_numpy_has, linear, op
from gradc.ops.recipes import BITS, do, recipe
from gradc.ops.samples import at, cases, normal, points, ranges, reals, sample, uniform
from gradc.types import TensorType, as_dtype, as_integer, as_number, broadcast_shapes

__all__ = [
    "add",
    "arccos",
    "arccosh",
    "arcsin",
    "arcsinh",
    "arctan",
    "arctan2",
    "arctanh",
    "astype",
    "bitwise_and",
    "bitwise_count",
    "bitwise_or",
    "bitwise_xor",
    "cbrt",
    "ceil",
    "clip",
    "conjugate",
    "copysign",
    "cos",
    "cosh",
    "deg2rad",
    "divide",
    "equal",
    "exp",
    "exp2",
    "expm1",
    "fabs",
    "fix",
    "float_power",
    "floor",
    "floor_divide",
    "fmax",
    "fmin",
    "fmod",
    "gcd",
    "greater",
    "greater_equal",
    "heaviside",
    "hypot",
    "invert",
    "isclose",
    "isfinite",
    "isinf",
    "isnan",
    "isneginf",
    "isposinf",
    "lcm",
    "ldexp",
    "left_shift",
    "less",
    "less_equal",
    "log",
    "log1p",
    "log2",
    "log10",
    "logaddexp",
    "logaddexp2",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "maximum",
    "minimum",
    "multiply",
    "nan_to_num",
    "negative",
    "not_equal",
    "positive",
    "power",
    "rad2deg",
    "reciprocal",
    "remainder",
    "right_shift",
    "rint",
    "sign",
    "signbit",
    "sin",
    "sinc",
    "sinh",
    "sqrt",
    "square",
    "stop_gradient",
    "subtract",
    "tan",
    "tanh",
    "trunc",
    "where",
]

_INF, _NAN = math.inf, math.nan

# --- arithmetic --------------------------------------------------------------------------------------

add = elementwise(
    "add",
    np.add,
    partials=(1, 1),
    linear_in=(0, 1),
    commutative=True,
    symbolic="a + b",
    samples=reals(-3, 3, operands=2),
    edges=(
        at(_INF, -_INF, value=_NAN, adjoints=(1.0, 1.0), why="linear, whatever the value"),
        at(_NAN, 1.0, value=_NAN, adjoints=(1.0, 1.0), why="linear, whatever the value"),
    ),
)
subtract = elementwise(
    "subtract",
    np.subtract,
    partials=(1, -1),
    linear_in=(0, 1),
    symbolic="a - b",
    samples=reals(-3, 3, operands=2),
    edges=(
        at(_INF, _INF, value=_NAN, adjoints=(1.0, -1.0), why="linear, whatever the value"),
        at(_NAN, 1.0, value=_NAN, adjoints=(1.0, -1.0), why="linear, whatever the value"),
    ),
)

MOST_LOOKED_AT = 64
"""How many nodes of a factor are looked at for infinite constants."""


def _brings_infinity(factor: Node) -> bool:
    """True where entries of a factor may be infinite by a constant that is: -inf for what a mask leaves out."""
    pending, left = [factor], MOST_LOOKED_AT
    while pending and left:
        node, left = pending.pop(), left - 1
        if node.op is CONSTANT:
            if node.dtype.kind == "f" and np.isinf(node.attr("value").array).any():
                return True
        elif node.op.view or node.op in (multiply, divide) or (node.op.elementwise and node.op.linear):
            pending.extend(node.inputs)
    return False


def _slope(value: Node, factor: Node, x: Node) -> Node:
    """`value`, the slope of a product in `x`, and 0 where the other `factor` is an infinite constant.

    There the product is infinite for every x but 0, and what is made of it does not change: softmax weighs -inf with an exact 0.
    """
    if not _brings_infinity(factor):
        return value
    return where(isinf(factor), stop_gradient(0 / x), value)


multiply = elementwise(
    "multiply",
    np.multiply,
    partials=(lambda x, y, out: _slope(y, y, x), lambda x, y, out: _slope(x, x, y)),
    commutative=True,
    symbolic="a * b",
    samples=reals(-3, 3, operands=2),
    edges=(
        at(0.0, 0.0, value=0.0, adjoints=(0.0, 0.0)),
        at(0.0, _INF, value=_NAN, adjoints=(_INF, 0.0)),
        at(_NAN, 2.0, value=_NAN, adjoints=(2.0, _NAN)),
        at(_INF, 2.0, value=_INF, adjoints=(2.0, _INF)),
    ),
)
divide = elementwise(
    "divide",
    np.divide,
    rules=(lambda g, out, x, y: g / y, lambda g, out, x, y: -(g / y) * _slope(out, x, y)),
    symbolic="a / b",
    samples=ranges((-3, 3), (0.5, 2)),
    edges=(
        at(1e200, 1e200, value=1.0, adjoints=(1e-200, -1e-200), why="no square of y is formed"),
        at(1.0, 0.0, value=_INF, adjoints=(_INF, -_INF), why="the limits from above"),
        at(0.0, 0.0, value=_NAN, adjoints=(_INF, _NAN)),
        at(1.0, _INF, value=0.0, adjoints=(0.0, 0.0)),
        at(1.0, -0.0, value=-_INF, adjoints=(-_INF, -_INF), why="the limits from below"),
        at(_INF, 2.0, value=_INF, adjoints=(0.5, -_INF)),
        at(1e-200, 1e200, value=0.0, adjoints=(1e-200, 0.0)),
        at(_NAN, 1.0, value=_NAN, adjoints=(1.0, _NAN)),
        at(1.0, _NAN, value=_NAN, adjoints=(_NAN, _NAN)),
    ),
)
negative = elementwise("negative", np.negative, partials=(-1,), linear_in=(0,), symbolic="-a", samples=reals(-3, 3))
positive = elementwise("positive", np.positive, partials=(1,), linear_in=(0,), symbolic="a", samples=reals(-3, 3))
reciprocal = elementwise(
    "reciprocal",
    np.reciprocal,
    rules=(lambda g, out, x: -(g * out) * out,),
    symbolic="1 / a",
    samples=reals(0.3, 2),
    edges=points((0.0, _INF, -_INF), (_INF, 0.0, 0.0), (1e200, 1e-200, 0.0), (_NAN, _NAN, _NAN)),
)
square = elementwise(
    "square",
    np.square,
    rules=(lambda g, out, x: (g * 2) * x,),
    even=True,
    nonnegative=True,
    symbolic="a**2",
    samples=reals(-2, 2),
    edges=points((0.0, 0.0, 0.0), (1e200, _INF, 2e200), (-_INF, _INF, -_INF), (_NAN, _NAN, _NAN)),
)
rad2deg = elementwise(
    "rad2deg",
    np.rad2deg,
    partials=(180 / math.pi,),
    linear_in=(0,),
    symbolic="180 / pi * a",
    numpy=(np.degrees,),
    samples=reals(-3, 3),
)
deg2rad = elementwise(
    "deg2rad",
    np.deg2rad,
    partials=(math.pi / 180,),
    linear_in=(0,),
    symbolic="pi / 180 * a",
    numpy=(np.radians,),
    samples=reals(-300, 300),
)
ldexp: Op = elementwise(
    "ldexp",
    np.ldexp,
    rules=(lambda g, out, x, n: ldexp(g, n), None),
    symbolic="a * 2**b",
    samples=cases(
        lambda: sample(normal(4), np.array([-1, 0, 2, 5]), fixed=(1,)),
        lambda: sample(normal(2, 3), np.array(3), fixed=(1,)),
        lambda: sample(1.5, np.array([[1], [-2]]), fixed=(1,)),
    ),
)

# --- powers ------------------------------------------------------------------------------------------


def _power_x(g: Node, out: Node, x: Node, y: Node) -> Node:
    """g y x**(y - 1), and 0 at x = y = 0, where every slope but this one depends on the way there."""
    x, y = astype(x, out.dtype), _exponent(y, out)
    exponent = _scalar(y)
    if exponent is None:
        return select(_no_zero_to_the_zero(x, y), g * (y * power(x, y - 1)))
    if exponent == 0:
        zeros: Node = call("zeros_like", g)
        return zeros
    return g if exponent == 1 else (g * exponent) * power(x, exponent - 1)


def _power_y(g: Node, out: Node, x: Node, y: Node) -> Node:
    """g x**y log(x), and 0 where x**y is 0 and at x = y = 0."""
    x, y = astype(x, out.dtype), _exponent(y, out)
    moves = logical_and(not_equal(out, 0), _no_zero_to_the_zero(x, y))
    return select(moves, g * (out * log(x)))


def _no_zero_to_the_zero(x: Node, y: Node) -> Node:
    return logical_or(not_equal(x, 0), not_equal(y, 0))


def _exponent(y: Node, out: Node) -> Node:
    return astype(y, out.dtype) if y.dtype.kind == "f" else y


def _scalar(node: Node) -> float | None:
    if node.op is CONSTANT and not node.shape:
        return float(node.attr("value").array)
    return None


_POWER_EDGES = (
    at(0.0, 0.0, value=1.0, adjoints=(0.0, 0.0), why="both slopes of least norm"),
    at(0.0, 1.0, value=0.0, adjoints=(1.0, 0.0), why="x itself"),
    at(0.0, 2.0, value=0.0, adjoints=(0.0, 0.0), why="a parabola's vertex"),
    at(0.0, 0.5, value=0.0, adjoints=(_INF, 0.0), why="the domain's end"),
    at(0.0, -1.0, value=_INF, adjoints=(-_INF, -_INF)),
    at(-2.0, 2.0, value=4.0, adjoints=(-4.0, _NAN), why="x**y is not real for y beside 2"),
    at(_INF, -1.0, value=0.0, adjoints=(0.0, 0.0), why="the limits"),
    at(0.0, 3.0, value=0.0, adjoints=(0.0, 0.0)),
    at(0.0, 1.5, value=0.0, adjoints=(0.0, 0.0)),
    at(_INF, 2.0, value=_INF, adjoints=(_INF, _INF)),
    at(_INF, 0.0, value=1.0, adjoints=(0.0, _INF)),
    at(-8.0, 1 / 3, value=_NAN, adjoints=(_NAN, _NAN), why="outside the domain"),
    at(_NAN, 0.0, value=1.0, adjoints=(_NAN, _NAN), why="NumPy's value"),
    at(1.0, _NAN, value=1.0, adjoints=(_NAN, 0.0), why="NumPy's value"),
    at(_NAN, 2.0, value=_NAN, adjoints=(_NAN, _NAN)),
)
power_op = elementwise("power", np.power, rules=(_power_x, _power_y), symbolic="a ** b", public=False)


@function("power", numpy=(np.power,), samples=ranges((0.5, 2), (-2, 2)), edges=_POWER_EDGES)
def power(x: Any, y: Any) -> Node:
    """`np.power`: x to the power y; as NumPy's `**`, it squares, inverts or takes the root for y = 2, -1, 0.5.

    Raises:
        ArgumentError: an integer to a negative integer power, which NumPy has not either.
    """
    nodes = lift((x, y), "power")
    base, exponent = nodes
    if type(y) in (int, float) and base.dtype.kind == "f":
        simple = {2.0: square, 0.5: sqrt, -1.0: reciprocal}.get(float(y))
        if simple is not None:
            return simple(base)
    if base.dtype.kind in "iu" and exponent.dtype.kind in "iu" and exponent.op is CONSTANT:
        if (exponent.attr("value").array < 0).any():
            raise ArgumentError("power: an integer to a negative power is no integer; cast the base to float64 first")
    return apply(power_op, nodes)


float_power = elementwise(
    "float_power",
    np.float_power,
    rules=(_power_x, _power_y),
    symbolic="a ** b",
    samples=ranges((0.5, 2), (-2, 2)),
    edges=_POWER_EDGES,
)
sqrt = elementwise(
    "sqrt",
    np.sqrt,
    rules=(lambda g, out, x: g * 0.5 / out,),
    nonnegative=True,
    symbolic="sqrt(a)",
    samples=reals(0.3, 3),
    edges=points((0.0, 0.0, _INF, "the domain's end"), (_INF, _INF, 0.0), (-1.0, _NAN, _NAN), (_NAN, _NAN, _NAN)),
)
cbrt = elementwise(
    "cbrt",
    np.cbrt,
    rules=(lambda g, out, x: g / (3 * square(out)),),
    odd=True,
    keeps_sign=True,
    symbolic="sign(a) * Abs(a)**(Rational(1, 3))",
    samples=reals(0.3, 3),
    edges=points((0.0, 0.0, _INF, "a vertical tangent"), (_INF, _INF, 0.0), (-_INF, -_INF, 0.0), (_NAN, _NAN, _NAN)),
)

# --- exponentials and logarithms ---------------------------------------------------------------------

_LN2, _LN10 = math.log(2), math.log(10)

exp = elementwise(
    "exp",
    np.exp,
    partials=(lambda x, out: out,),
    nonnegative=True,
    symbolic="exp(a)",
    samples=reals(-2, 2),
    edges=points((-_INF, 0.0, 0.0), (1000.0, _INF, _INF), (-1000.0, 0.0, 0.0), (_INF, _INF, _INF), (_NAN, _NAN, _NAN)),
)
exp2 = elementwise(
    "exp2",
    np.exp2,
    rules=(lambda g, out, x: (g * _LN2) * out,),
    nonnegative=True,
    symbolic="2**a",
    samples=reals(-2, 2),
    edges=points((-_INF, 0.0, 0.0), (2000.0, _INF, _INF), (_INF, _INF, _INF), (_NAN, _NAN, _NAN)),
)
expm1 = elementwise(
    "expm1",
    np.expm1,
    partials=(lambda x, out: exp(x),),  # out + 1 would lose the tail
    symbolic="exp(a) - 1",
    samples=reals(-2, 2),
    edges=points(
        (-40.0, -1.0, float(np.exp(-40.0)), "not out + 1, which is 0"),
        (1e-20, 1e-20, 1.0),
        (-_INF, -1.0, 0.0),
        (_INF, _INF, _INF),
        (_NAN, _NAN, _NAN),
    ),
)
log = elementwise(
    "log",
    np.log,
    rules=(lambda g, out, x: g / x,),
    symbolic="log(a)",
    samples=reals(0.3, 3),
    edges=points(
        (0.0, -_INF, _INF, "the domain's end"),
        (_INF, _INF, 0.0),
        (-1.0, _NAN, -1.0, "outside the domain: still 1 / x"),
        (_NAN, _NAN, _NAN),
    ),
)
log2 = elementwise(
    "log2",
    np.log2,
    rules=(lambda g, out, x: (g * (1 / _LN2)) / x,),
    symbolic="log(a) / log(2)",
    samples=reals(0.3, 3),
    edges=points(
        (0.0, -_INF, _INF, "the domain's end"),
        (_INF, _INF, 0.0),
        (-1.0, _NAN, -1 / _LN2, "outside the domain: still 1 / (x log 2)"),
        (_NAN, _NAN, _NAN),
    ),
)
log10 = elementwise(
    "log10",
    np.log10,
    rules=(lambda g, out, x: (g * (1 / _LN10)) / x,),
    symbolic="log(a) / log(10)",
    samples=reals(0.3, 3),
    edges=points(
        (0.0, -_INF, _INF, "the domain's end"),
        (_INF, _INF, 0.0),
        (-1.0, _NAN, -1 / _LN10, "outside the domain: still 1 / (x log 10)"),
        (_NAN, _NAN, _NAN),
    ),
)
log1p = elementwise(
    "log1p",
    np.log1p,
    rules=(lambda g, out, x: g / (1 + x),),
    symbolic="log(1 + a)",
    samples=reals(-0.7, 3),
    edges=points(
        (-1.0, -_INF, _INF, "the domain's end"),
        (1e-20, 1e-20, 1.0),
        (_INF, _INF, 0.0),
        (-2.0, _NAN, -1.0, "outside the domain: still 1 / (1 + x)"),
        (_NAN, _NAN, _NAN),
    ),
)


def _logaddexp(factor: float) -> tuple[Any, Any]:
    """The share of each operand: the sigmoid of the difference; exp(x - out) would lose all digits at 1e308."""

    def share_of(mine: Node, other: Node) -> Node:
        difference = mine - other if factor == 1 else (mine - other) * factor
        both_infinite = logical_and(equal(mine, other), isinf(mine))
        return where(both_infinite, 0.5, call("sigmoid", difference))

    return (lambda g, out, x, y: g * share_of(x, y), lambda g, out, x, y: g * share_of(y, x))


_LOGADDEXP_EDGES = (
    at(-_INF, 0.0, value=0.0, adjoints=(0.0, 1.0)),
    at(_INF, 0.0, value=_INF, adjoints=(1.0, 0.0)),
    at(-_INF, -_INF, value=-_INF, adjoints=(0.5, 0.5), why="a tie shares equally"),
    at(1e308, 1e308, value=1e308, adjoints=(0.5, 0.5), why="a tie shares equally"),
    at(1e308, -1e308, value=1e308, adjoints=(1.0, 0.0)),
    at(_INF, _INF, value=_INF, adjoints=(0.5, 0.5), why="a tie shares equally"),
    at(_INF, -_INF, value=_INF, adjoints=(1.0, 0.0)),
    at(_NAN, 1.0, value=_NAN, adjoints=(_NAN, _NAN)),
)
logaddexp = elementwise(
    "logaddexp",
    np.logaddexp,
    rules=_logaddexp(1),
    commutative=True,
    symbolic="log(exp(a) + exp(b))",
    samples=reals(-3, 3, operands=2),
    edges=_LOGADDEXP_EDGES,
    spellings=(lambda x, y: log(exp(x) + exp(y)),),
)
logaddexp2 = elementwise(
    "logaddexp2",
    np.logaddexp2,
    rules=_logaddexp(_LN2),
    commutative=True,
    symbolic="log(2**a + 2**b) / log(2)",
    samples=reals(-3, 3, operands=2),
    edges=_LOGADDEXP_EDGES,
    spellings=(lambda x, y: log2(exp2(x) + exp2(y)),),
)

# --- trigonometry ------------------------------------------------------------------------------------

sin = elementwise(
    "sin",
    np.sin,
    partials=(lambda x, out: cos(x),),
    odd=True,
    symbolic="sin(a)",
    samples=reals(-3, 3),
    edges=points((0.0, 0.0, 1.0), (_INF, _NAN, _NAN), (_NAN, _NAN, _NAN)),
)
cos: Op = elementwise(
    "cos",
    np.cos,
    rules=(lambda g, out, x: -(g * sin(x)),),
    even=True,
    symbolic="cos(a)",
    samples=reals(-3, 3),
    edges=points((0.0, 1.0, 0.0), (_INF, _NAN, _NAN), (_NAN, _NAN, _NAN)),
)
tan = elementwise(
    "tan",
    np.tan,
    partials=(lambda x, out: 1 + square(out),),
    odd=True,
    symbolic="tan(a)",
    samples=reals(-1.2, 1.2),
    edges=points((0.0, 0.0, 1.0), (_INF, _NAN, _NAN), (_NAN, _NAN, _NAN)),
)
one_minus_square = elementwise(
    "one_minus_square",
    **recipe(
        do(np.add, "{0}, 1, {s0}"), do(np.subtract, "1, {0}, {out}"), do(np.multiply, "{out}, {s0}, {out}"), scratch=("out",)
    )._asdict(),  # (1 - x)(1 + x): 1 - x * x would lose digits beside 1
    rules=(lambda g, out, x: (g * -2) * x,),
    symbolic="1 - a**2",
    public=False,
)
_TO_ONE = {
    "arcsin": points(
        (1.0, math.pi / 2, _INF, "the domain's end"),
        (-1.0, -math.pi / 2, _INF),
        (2.0, _NAN, _NAN, "outside the domain"),
        (_NAN, _NAN, _NAN),
    ),
    "arccos": points(
        (1.0, 0.0, -_INF, "the domain's end"), (-1.0, math.pi, -_INF), (2.0, _NAN, _NAN, "outside the domain"), (_NAN, _NAN, _NAN)
    ),
    "arctanh": points(
        (1.0, _INF, _INF, "the domain's end"),
        (-1.0, -_INF, _INF),
        (2.0, _NAN, 1 / -3.0, "outside the domain: still 1 / (1 - x**2)"),
        (_NAN, _NAN, _NAN),
    ),
}
arcsin = elementwise(
    "arcsin",
    np.arcsin,
    rules=(lambda g, out, x: g / sqrt(one_minus_square(x)),),
    odd=True,
    keeps_sign=True,
    symbolic="asin(a)",
    samples=reals(-0.8, 0.8),
    edges=_TO_ONE["arcsin"],
)
arccos = elementwise(
    "arccos",
    np.arccos,
    rules=(lambda g, out, x: -(g / sqrt(one_minus_square(x))),),
    symbolic="acos(a)",
    samples=reals(-0.8, 0.8),
    edges=_TO_ONE["arccos"],
)
arctan_slope = elementwise(
    "arctan_slope",
    **recipe(
        do(np.square, "{0}, {out}"), do(np.add, "{out}, 1, {out}"), do(np.reciprocal, "{out}, {out}"), inplace=(0,)
    )._asdict(),
    rules=(lambda g, out, x: (g * -2) * (x * out) * out,),  # x * out first: out * out would underflow
    even=True,
    nonnegative=True,
    symbolic="1 / (1 + a**2)",
    public=False,
)
arctan = elementwise(
    "arctan",
    np.arctan,
    partials=(lambda x, out: arctan_slope(x),),
    odd=True,
    keeps_sign=True,
    symbolic="atan(a)",
    samples=reals(-3, 3),
    edges=points(
        (_INF, math.pi / 2, 0.0), (1e200, math.pi / 2, 0.0), (0.0, 0.0, 1.0), (-_INF, -math.pi / 2, 0.0), (_NAN, _NAN, _NAN)
    ),
)

# --- hyperbolic functions ----------------------------------------------------------------------------

sinh = elementwise(
    "sinh",
    np.sinh,
    partials=(lambda x, out: cosh(x),),
    odd=True,
    keeps_sign=True,
    symbolic="sinh(a)",
    samples=reals(-2, 2),
    edges=points((0.0, 0.0, 1.0), (-_INF, -_INF, _INF), (1000.0, _INF, _INF), (_INF, _INF, _INF), (_NAN, _NAN, _NAN)),
)
cosh: Op = elementwise(
    "cosh",
    np.cosh,
    partials=(lambda x, out: sinh(x),),
    even=True,
    nonnegative=True,
    symbolic="cosh(a)",
    samples=reals(-2, 2),
    edges=points((0.0, 1.0, 0.0), (-_INF, _INF, -_INF), (1000.0, _INF, _INF), (_INF, _INF, _INF), (_NAN, _NAN, _NAN)),
)


tanh_slope = elementwise(
    "tanh_slope",
    **recipe(
        do(np.cosh, "{0}, {out}"),
        do(np.reciprocal, "{out}, {out}"),
        do(np.square, "{out}, {out}"),  # 1 - tanh(x)**2 would lose the digits of the tails
        inplace=(0, 1),
    )._asdict(),
    rules=(lambda g, out, x, y: (g * -2) * (y * out), None),  # y is tanh(x), which the forward pass has
    nonnegative=True,
    symbolic="1 - tanh(a)**2",
    saved="tanh(a)",
    public=False,
)
tanh = elementwise(
    "tanh",
    np.tanh,
    partials=(lambda x, out: tanh_slope(x, out),),
    odd=True,
    keeps_sign=True,
    symbolic="tanh(a)",
    samples=reals(-2, 2),
    edges=points((0.0, 0.0, 1.0), (_INF, 1.0, 0.0), (-_INF, -1.0, 0.0), (400.0, 1.0, 0.0), (_NAN, _NAN, _NAN)),
)
arcsinh = elementwise(
    "arcsinh",
    np.arcsinh,
    rules=(lambda g, out, x: g / hypot(x, 1),),
    odd=True,
    keeps_sign=True,
    symbolic="asinh(a)",
    samples=reals(-3, 3),
    edges=points(
        (0.0, 0.0, 1.0),
        (1e200, float(np.arcsinh(1e200)), 1e-200, "no square of x is formed"),
        (_INF, _INF, 0.0),
        (-_INF, -_INF, 0.0),
        (_NAN, _NAN, _NAN),
    ),
)
arccosh = elementwise(
    "arccosh",
    np.arccosh,
    rules=(lambda g, out, x: g / (sqrt(x - 1) * sqrt(x + 1)),),
    symbolic="acosh(a)",
    samples=reals(1.3, 4),
    edges=points(
        (1.0, 0.0, _INF, "the domain's end"),
        (1e200, float(np.arccosh(1e200)), 1e-200),
        (_INF, _INF, 0.0),
        (0.5, _NAN, _NAN, "outside the domain"),
        (_NAN, _NAN, _NAN),
    ),
)
arctanh = elementwise(
    "arctanh",
    np.arctanh,
    rules=(lambda g, out, x: g / one_minus_square(x),),
    odd=True,
    keeps_sign=True,
    symbolic="atanh(a)",
    samples=reals(-0.8, 0.8),
    edges=_TO_ONE["arctanh"],
)

# --- the plane: hypot and arctan2, 0 at the origin -----------------------------------------------------


def _at_origin(x: Node, y: Node) -> Node:
    origin: Node = call("logical_and", equal(x, 0), equal(y, 0))
    return origin


safe_divide: Op = elementwise(
    "safe_divide",
    **recipe(
        do(np.divide, "{0}, {1}, {out}"),
        do(np.equal, "{1}, 0, {s0}"),
        do(np.copyto, "{out}, 0, where={s0}"),
        inplace=(0,),
        scratch=("bool",),
    )._asdict(),  # x / y, and 0 where y is 0, with all derivatives
    rules=(lambda g, out, x, y: safe_divide(g, y), lambda g, out, x, y: -(safe_divide(g, y) * out)),
    symbolic="a / b",
    public=False,
)
over_distance: Op = elementwise(
    "over_distance",
    **recipe(
        do(np.divide, "{0}, {1}, {out}"),
        do(np.equal, "{1}, 0, {s0}"),
        do(np.copyto, "{out}, 0, where={s0}"),
        inplace=(0,),
        scratch=("bool",),
    )._asdict(),  # x / y, and 0 where y is 0, by a convention
    rules=(lambda g, out, x, y: over_size(g, y), lambda g, out, x, y: -(over_size(g, y) * out)),
    symbolic="a / b",
    kinks=lambda x, y: equal(y, 0),
    public=False,
)


def _undefine(out: Any, lost: Any) -> None:
    np.copyto(out, _NAN, where=lost)


over_size: Op = elementwise(
    "over_size",
    **recipe(
        do(np.divide, "{0}, {1}, {out}"),
        do(np.equal, "{1}, 0, {s0}"),
        do(_undefine, "{out}, {s0}"),
        inplace=(0,),
        scratch=("bool",),
    )._asdict(),  # x / y, and NaN where y is 0: the derivative of what is 0 / 0 by a convention is nothing
    rules=(lambda g, out, x, y: over_size(g, y), lambda g, out, x, y: -(over_size(g, y) * out)),
    symbolic="a / b",
    public=False,
)


def _direction_ends(x: Any, y: Any, out: Any, lost: Any) -> None:
    """Where x / r is 0 / 0 or inf / inf: 0 at the origin, the limits at infinity."""
    if not lost.any():
        return
    u, v = (np.where(np.isinf(t), np.sign(t), 0) for t in (x, y))
    fixed = u / np.maximum(np.hypot(u, v), 1)
    np.copyto(out, fixed, "unsafe", where=lost & ~np.isnan(x) & ~np.isnan(y))


direction: Op = elementwise(
    "direction",
    **recipe(
        do(np.divide, "{0}, {2}, {out}"),
        do(np.isnan, "{out}, {s0}"),
        do(_direction_ends, "{0}, {1}, {out}, {s0}"),
        scratch=("bool",),
    )._asdict(),  # x / r, where r is hypot(x, y), which the forward pass has
    rules=(
        lambda g, out, x, y, r: (g * direction(y, x, r)) * over_size(direction(y, x, r), r),
        lambda g, out, x, y, r: -(g * out) * over_size(direction(y, x, r), r),
        None,
    ),
    symbolic="a / sqrt(a**2 + b**2)",
    saved="sqrt(a**2 + b**2)",
    public=False,
)
hypot: Op = elementwise(
    "hypot",
    np.hypot,
    partials=(lambda x, y, out: direction(x, y, out), lambda x, y, out: direction(y, x, out)),
    commutative=True,
    nonnegative=True,
    kinks=_at_origin,
    symbolic="sqrt(a**2 + b**2)",
    samples=ranges((0.5, 2), (-2, -0.5)),
    edges=(
        at(0.0, 0.0, value=0.0, adjoints=(0.0, 0.0), why="least norm of the unit disc"),
        at(0.0, 2.0, value=2.0, adjoints=(0.0, 1.0)),
        at(1e200, 0.0, value=1e200, adjoints=(1.0, 0.0), why="no square is formed"),
        at(_INF, 1.0, value=_INF, adjoints=(1.0, 0.0), why="the limits"),
        at(_INF, _NAN, value=_INF, adjoints=(_NAN, _NAN)),
        at(_INF, _INF, value=_INF, adjoints=(1 / math.hypot(1, 1), 1 / math.hypot(1, 1)), why="along the diagonal"),
        at(_NAN, 1.0, value=_NAN, adjoints=(_NAN, _NAN)),
    ),
)


def _arctan2_rules() -> tuple[Any, Any]:
    def y_rule(g: Node, out: Node, y: Node, x: Node) -> Node:
        r = hypot(y, x)
        return over_distance(g * direction(x, y, r), r)

    def x_rule(g: Node, out: Node, y: Node, x: Node) -> Node:
        r = hypot(y, x)
        return -over_distance(g * direction(y, x, r), r)

    return y_rule, x_rule


arctan2 = elementwise(
    "arctan2",
    np.arctan2,
    rules=_arctan2_rules(),
    kinks=_at_origin,
    symbolic="atan2(a, b)",
    samples=ranges((0.5, 2), (-2, 2)),
    edges=(
        at(0.0, 0.0, value=0.0, adjoints=(0.0, 0.0), why="no direction: least norm"),
        at(0.0, 1e200, value=0.0, adjoints=(1e-200, 0.0), why="no square is formed"),
        at(1.0, _INF, value=0.0, adjoints=(0.0, 0.0)),
        at(0.0, -1.0, value=math.pi, adjoints=(-1.0, 0.0), why="the limit, across the cut"),
        at(1.0, 0.0, value=math.pi / 2, adjoints=(0.0, -1.0)),
        at(_INF, _INF, value=math.pi / 4, adjoints=(0.0, 0.0)),
        at(1.0, -_INF, value=math.pi, adjoints=(0.0, 0.0)),
        at(_NAN, 1.0, value=_NAN, adjoints=(_NAN, _NAN)),
    ),
)

# --- kinks and steps ---------------------------------------------------------------------------------

abs_ = elementwise(
    "abs",
    np.absolute,
    partials=(lambda x, out: sign(x),),
    even=True,
    nonnegative=True,
    kinks=lambda x: equal(x, 0),
    symbolic="Abs(a)",
    samples=reals(0.2, 2),
    edges=points(
        (0.0, 0.0, 0.0, "least norm of [-1, 1]"), (-2.0, 2.0, -1.0), (-_INF, _INF, -1.0), (_NAN, _NAN, _NAN), (_INF, _INF, 1.0)
    ),
)
fabs = elementwise(
    "fabs",
    np.fabs,
    partials=(lambda x, out: sign(x),),
    even=True,
    nonnegative=True,
    kinks=lambda x: equal(x, 0),
    symbolic="Abs(a)",
    samples=reals(-2, -0.2),
    edges=points(
        (0.0, 0.0, 0.0, "least norm of [-1, 1]"), (-2.0, 2.0, -1.0), (_INF, _INF, 1.0), (-_INF, _INF, -1.0), (_NAN, _NAN, _NAN)
    ),
)


def _step(name: str, ufunc: np.ufunc, symbolic: str, *edges: tuple[Any, ...]) -> Op:
    """A piecewise constant op: its derivative is 0 wherever it exists, and at its steps."""
    return elementwise(name, ufunc, partials=(0,), symbolic=symbolic, samples=reals(0.1, 0.4), edges=points(*edges))


sign: Op = _step("sign", np.sign, "sign(a)", (0.0, 0.0, 0.0), (-_INF, -1.0, 0.0), (_NAN, _NAN, 0.0))
floor = _step("floor", np.floor, "floor(a)", (1.0, 1.0, 0.0), (-_INF, -_INF, 0.0), (_INF, _INF, 0.0), (_NAN, _NAN, 0.0))
ceil = _step("ceil", np.ceil, "-floor(-a)", (1.0, 1.0, 0.0), (0.5, 1.0, 0.0), (_INF, _INF, 0.0), (_NAN, _NAN, 0.0))
trunc = _step(
    "trunc", np.trunc, "sign(a) * floor(Abs(a))", (-1.0, -1.0, 0.0), (-1.5, -1.0, 0.0), (_INF, _INF, 0.0), (_NAN, _NAN, 0.0)
)
rint = _step("rint", np.rint, "rint(a)", (0.5, 0.0, 0.0, "half to even"), (1.5, 2.0, 0.0), (_INF, _INF, 0.0), (_NAN, _NAN, 0.0))

share: Op = elementwise(
    "share",
    **recipe(
        do(np.greater_equal, "{1}, {2}, {s0}"),
        do(np.multiply, "{0:bits}, {s0}, {out:bits}"),
        do(np.equal, "{1}, {2}, {s0}"),
        do(np.multiply, "{out}, 0.5, {out}, where={s0}"),
        inplace=(0,),
        scratch=("bool",),
        dtype_of=(0,),
    )._asdict(),  # the adjoint of the larger of x and y: g where x > y, half of it at a tie, else an exact 0
    rules=(lambda g, out, x, y, z: share(g, y, z), None, None),
    symbolic="a * Heaviside(b - c)",
    linear_in=(0,),
    masks=True,
    public=False,
)


def _fmax_rules(larger: bool) -> tuple[Any, Any]:
    """As for maximum, and where the other operand is NaN, this one is the result."""

    def rule(g: Node, mine: Node, other: Node) -> Node:
        alone = logical_and(isnan(other), logical_not(isnan(mine)))
        return where(alone, g, share(g, mine, other) if larger else share(g, other, mine))

    return (lambda g, out, x, y: rule(g, x, y), lambda g, out, x, y: rule(g, y, x))


def _extremum_edges(low: float, high: float, value: float, of_nan: Any) -> tuple[Any, ...]:
    return (
        at(1.0, 1.0, value=1.0, adjoints=(0.5, 0.5), why="a tie shares equally"),
        at(low, high, value=value, adjoints=(0.0, 1.0)),
        at(_INF, _INF, value=_INF, adjoints=(0.5, 0.5), why="a tie shares equally"),
        at(_NAN, 1.0, value=of_nan, adjoints=(0.0, 0.0 if math.isnan(of_nan) else 1.0)),
        at(_NAN, _NAN, value=_NAN, adjoints=(0.0, 0.0), why="no operand is larger"),
    )


maximum = elementwise(
    "maximum",
    np.maximum,
    rules=(lambda g, out, x, y: share(g, x, y), lambda g, out, x, y: share(g, y, x)),
    kinks=lambda x, y: equal(x, y),
    symbolic="Max(a, b)",
    masks=True,
    samples=ranges((-1, 0), (0.1, 1)),
    edges=_extremum_edges(0.0, 1.0, 1.0, _NAN),
)
minimum = elementwise(
    "minimum",
    np.minimum,
    rules=(lambda g, out, x, y: share(g, y, x), lambda g, out, x, y: share(g, x, y)),
    kinks=lambda x, y: equal(x, y),
    symbolic="Min(a, b)",
    masks=True,
    samples=ranges((-1, 0), (0.1, 1)),
    edges=_extremum_edges(1.0, 0.0, 0.0, _NAN),
)
fmax = elementwise(
    "fmax",
    np.fmax,
    rules=_fmax_rules(True),
    kinks=lambda x, y: equal(x, y),
    symbolic="Max(a, b)",
    masks=True,
    samples=ranges((-1, 0), (0.1, 1)),
    edges=_extremum_edges(0.0, 1.0, 1.0, 1.0),
)
fmin = elementwise(
    "fmin",
    np.fmin,
    rules=_fmax_rules(False),
    kinks=lambda x, y: equal(x, y),
    symbolic="Min(a, b)",
    masks=True,
    samples=ranges((-1, 0), (0.1, 1)),
    edges=_extremum_edges(1.0, 0.0, 0.0, 1.0),
)
copysign: Op = elementwise(
    "copysign",
    np.copysign,
    partials=(lambda x, y, out: sign(x) * copysign(1.0, y), 0),
    kinks=lambda x, y: equal(x, 0),
    symbolic="Abs(a) * sign(b)",
    reads_sign=True,
    samples=ranges((-2, -0.2), (-2, 2)),
    edges=(
        at(0.0, -1.0, value=0.0, adjoints=(0.0, 0.0), why="a kink: least norm of [-1, 1]"),
        at(-2.0, 1.0, value=2.0, adjoints=(-1.0, 0.0)),
        at(2.0, -0.0, value=-2.0, adjoints=(-1.0, 0.0), why="the sign bit counts"),
        at(_INF, -1.0, value=-_INF, adjoints=(-1.0, 0.0)),
        at(_NAN, 1.0, value=_NAN, adjoints=(_NAN, 0.0)),
        at(1.0, _NAN, value=1.0, adjoints=(1.0, 0.0), why="the sign bit of NaN counts"),
    ),
)
heaviside = elementwise(
    "heaviside",
    np.heaviside,
    partials=(0, lambda x, y, out: equal(x, 0)),
    symbolic="Piecewise((0, a < 0), (1, a > 0), (b, True))",
    samples=ranges((0.2, 2), (-2, 2)),
    edges=(
        at(0.0, 0.25, value=0.25, adjoints=(0.0, 1.0)),
        at(1.0, 0.25, value=1.0, adjoints=(0.0, 0.0)),
        at(_NAN, 0.25, value=_NAN, adjoints=(0.0, 0.0)),
        at(-1.0, 0.25, value=0.0, adjoints=(0.0, 0.0)),
        at(0.0, _NAN, value=_NAN, adjoints=(0.0, 1.0)),
    ),
)


def _quotient(x: Node, y: Node, out: Node) -> Node:
    """Minus the whole number that the remainder took: exact, where x / y might round up to the next one."""
    return -rint((x - out) / y)


remainder = elementwise(
    "remainder",
    np.remainder,
    partials=(1, _quotient),
    symbolic="a - b * floor(a / b)",
    samples=ranges((0.1, 0.4), (0.5, 1)),
    edges=(
        at(6.0, 3.0, value=0.0, adjoints=(1.0, -2.0), why="at a step, the slopes beside it"),
        at(-1.0, 3.0, value=2.0, adjoints=(1.0, 1.0)),
        at(1.0, 0.1, value=float(np.remainder(1.0, 0.1)), adjoints=(1.0, -9.0), why="1 / 0.1 rounds up to 10", near_jump=True),
        at(1.0, _INF, value=1.0, adjoints=(1.0, 0.0)),
        at(1.0, 0.0, value=_NAN, adjoints=(1.0, _NAN)),
        at(5.0, -3.0, value=-1.0, adjoints=(1.0, 2.0)),
        at(_INF, 1.0, value=_NAN, adjoints=(1.0, _NAN)),
        at(_NAN, 1.0, value=_NAN, adjoints=(1.0, _NAN)),
    ),
)
fmod = elementwise(
    "fmod",
    np.fmod,
    partials=(1, _quotient),
    symbolic="a - b * sign(a) * sign(b) * floor(Abs(a) / Abs(b))",
    samples=ranges((0.1, 0.4), (0.5, 1)),
    edges=(
        at(6.0, 3.0, value=0.0, adjoints=(1.0, -2.0), why="at a step, the slopes beside it"),
        at(-1.0, 3.0, value=-1.0, adjoints=(1.0, 0.0)),
        at(-7.0, 3.0, value=-1.0, adjoints=(1.0, 2.0)),
        at(1.0, 0.0, value=_NAN, adjoints=(1.0, _NAN)),
        at(1.0, _INF, value=1.0, adjoints=(1.0, 0.0)),
        at(_NAN, 1.0, value=_NAN, adjoints=(1.0, _NAN)),
    ),
)
floor_divide = elementwise(
    "floor_divide",
    np.floor_divide,
    partials=(0, 0),
    symbolic="floor(a / b)",
    samples=ranges((0.1, 0.4), (0.5, 1)),
    edges=(
        at(6.0, 3.0, value=2.0, adjoints=(0.0, 0.0)),
        at(-1.0, 3.0, value=-1.0, adjoints=(0.0, 0.0)),
        at(1.0, 0.0, value=_INF, adjoints=(0.0, 0.0)),
        at(_NAN, 1.0, value=_NAN, adjoints=(0.0, 0.0)),
    ),
)


def _infer_round(x: TensorType, *, decimals: int) -> TensorType:
    if x.dtype.kind == "b":
        raise DTypeError("round: a boolean has no decimals; cast with .astype first")
    return x


def _round_kernel(inputs: Sequence[TensorType], out: TensorType, attrs: dict[str, Any]) -> Kernel | None:
    if out.dtype.kind != "f":
        return None  # NumPy's out= casts through float64
    return Kernel((Call(np.round, "round", f"{{0}}, {attrs['decimals']}, {{out}}"),), inplace=(0,))


round_op = op(
    "round",
    infer=_infer_round,
    evaluate=lambda x, *, decimals: np.round(x, decimals),
    vjp=(ZERO,),
    jvp=(ZERO,),
    kernel=_round_kernel,
    elementwise=True,
    symbolic="rint(a * 10**({decimals})) / 10**({decimals})",
)


@function(
    "round",
    numpy=(np.round, np.around),
    samples=cases(
        lambda: sample(uniform(0.1, 0.4, 3)),
        lambda: sample(uniform(0.11, 0.14, 2, 3), decimals=1),
        lambda: sample(np.array([[14, 26]]), decimals=-1, gradient=False),
    ),
    edges=points((0.5, 0.0, 0.0, "half to even"), (1.5, 2.0, 0.0), (_INF, _INF, 0.0), (_NAN, _NAN, 0.0)),
)
def round_(x: Any, decimals: int = 0) -> Node:
    """`np.round` to `decimals`, halves to even; its derivative is 0."""
    (node,) = lift((x,), "round")
    places = as_integer(decimals, "round: decimals")
    return rint(node) if places == 0 and node.dtype.kind == "f" else apply(round_op, (node,), (("decimals", places),))


@function(
    numpy=if_numpy_has("fix"),
    samples=reals(0.1, 0.4),
    edges=points((-1.5, -1.0, 0.0), (-1.0, -1.0, 0.0), (_NAN, _NAN, 0.0)),
)
def fix(x: Any) -> Node:
    """`np.fix`: towards zero, as `trunc`."""
    return trunc(x)


# --- comparisons, logic, bits: no gradient ------------------------------------------------------------


def _predicate(
    name: str, ufunc: np.ufunc, symbolic: str | None = None, commutative: bool = False, reads_sign: bool = False
) -> Op:
    none = (None,) * ufunc.nin
    made = reals(-2, 2, operands=ufunc.nin)
    return elementwise(
        name, ufunc, partials=none, commutative=commutative, symbolic=symbolic, samples=made, reads_sign=reads_sign
    )


equal: Op = _predicate("equal", np.equal, "Eq(a, b)", commutative=True)
not_equal = _predicate("not_equal", np.not_equal, "Ne(a, b)", commutative=True)
less = _predicate("less", np.less, "a < b")
less_equal = _predicate("less_equal", np.less_equal, "a <= b")
greater = _predicate("greater", np.greater, "a > b")
greater_equal = _predicate("greater_equal", np.greater_equal, "a >= b")
logical_and = _predicate("logical_and", np.logical_and, "And(a, b)", commutative=True)
logical_or = _predicate("logical_or", np.logical_or, "Or(a, b)", commutative=True)
logical_xor = _predicate("logical_xor", np.logical_xor, "Xor(a, b)", commutative=True)
logical_not = _predicate("logical_not", np.logical_not, "Not(a)")
isnan = _predicate("isnan", np.isnan, "false")
isinf = _predicate("isinf", np.isinf, "false")
isfinite = _predicate("isfinite", np.isfinite, "true")
signbit = _predicate("signbit", np.signbit, "a < 0", reads_sign=True)


def _integral(name: str, ufunc: np.ufunc, commutative: bool = False) -> Op:
    arrays = (np.array([[6, 4, 0], [12, 9, 5]]), np.array([3, 2, 1]))[: ufunc.nin]
    made = (lambda: sample(*arrays, gradient=False), lambda: sample(*(a[..., :1] for a in arrays), gradient=False))
    return elementwise(name, ufunc, partials=(None,) * ufunc.nin, commutative=commutative, samples=cases(*made))


bitwise_and = _integral("bitwise_and", np.bitwise_and, commutative=True)
bitwise_or = _integral("bitwise_or", np.bitwise_or, commutative=True)
bitwise_xor = _integral("bitwise_xor", np.bitwise_xor, commutative=True)
invert = _integral("invert", np.invert)
left_shift = _integral("left_shift", np.left_shift)
right_shift = _integral("right_shift", np.right_shift)
bitwise_count = _integral("bitwise_count", np.bitwise_count)
gcd = _integral("gcd", np.gcd, commutative=True)
lcm = _integral("lcm", np.lcm, commutative=True)


@function(numpy=(np.isposinf,), samples=cases(lambda: sample([1.0, _INF, -_INF, _NAN], gradient=False)), differentiable=False)
def isposinf(x: Any) -> Node:
    """`np.isposinf`: True where the entry is +inf."""
    return equal(x, _INF)


@function(numpy=(np.isneginf,), samples=cases(lambda: sample([1.0, _INF, -_INF, _NAN], gradient=False)), differentiable=False)
def isneginf(x: Any) -> Node:
    """`np.isneginf`: True where the entry is -inf."""
    return equal(x, -_INF)


@function(
    numpy=(np.isclose,),
    samples=cases(lambda: sample([1.0, 1.0, _INF, _INF, _NAN], [1.0 + 1e-7, 1.1, _INF, 1.0, _NAN], gradient=False)),
    differentiable=False,
)
def isclose(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Node:
    """`np.isclose`: |a - b| <= atol + rtol |b|, entry by entry."""
    x, y = lift((a, b), "isclose")
    near = logical_and(less_equal(abs_(x - y), atol + rtol * abs_(y)), isfinite(y))
    close = logical_or(near, equal(x, y))
    return logical_or(close, logical_and(isnan(x), isnan(y))) if equal_nan else close


# --- selection ---------------------------------------------------------------------------------------


def _infer_where(condition: TensorType, x: TensorType, y: TensorType) -> TensorType:
    if condition.dtype.kind != "b":
        raise DTypeError(f"where: the condition is {condition.dtype}, expected bool; compare it, as in x != 0")
    return TensorType(broadcast_shapes(condition.shape, x.shape, y.shape), np.promote_types(x.dtype, y.dtype))


def _infer_select(condition: TensorType, x: TensorType) -> TensorType:
    if condition.dtype.kind != "b":
        raise DTypeError(f"select: the condition is {condition.dtype}, expected bool")
    return TensorType(broadcast_shapes(condition.shape, x.shape), x.dtype)


def _select(condition: Any, x: Any) -> Any:
    x = np.asarray(x)
    bits = BITS[x.dtype.itemsize]
    multiply: Any = np.multiply
    return multiply(x.view(bits), condition, dtype=bits, casting="unsafe", order="C").view(x.dtype)


def _select_kernel(inputs: Sequence[TensorType], out: TensorType, attrs: dict[str, Any]) -> Kernel:
    return Kernel((Call(np.multiply, "multiply", "{1:bits}, {0}, {out:bits}"),), inplace=(1,))


def _where_kernel(inputs: Sequence[TensorType], out: TensorType, attrs: dict[str, Any]) -> Kernel | None:
    """y ^ ((x ^ y) * c) on the bits: exact, and no branch to mispredict on a mask that has no pattern."""
    if any(t.dtype != out.dtype for t in inputs[1:]):
        return None
    return Kernel(
        (
            do(np.bitwise_xor, "{1:bits}, {2:bits}, {out:bits}"),
            do(np.multiply, "{out:bits}, {0}, {out:bits}"),
            do(np.bitwise_xor, "{out:bits}, {2:bits}, {out:bits}"),
        ),
        inplace=(1,),
    )


select: Op = op(
    "select",
    infer=_infer_select,
    evaluate=_select,  # the bits of x times 0 or 1: exact, and as fast as a float multiplication
    vjp=(None, lambda g, out, c, x: select(c, g)),
    jvp=(None, lambda t, out, c, x: select(c, t)),
    kernel=_select_kernel,
    elementwise=True,
    linear=True,
    masks=True,
    symbolic="Piecewise((b, a), (0, True))",
)


where_op = op(
    "where",
    infer=_infer_where,
    evaluate=np.where,
    vjp=(None, lambda g, out, c, x, y: select(c, g), lambda g, out, c, x, y: select(call("logical_not", c), g)),
    jvp=(None, lambda t, out, c, x, y: select(c, t), lambda t, out, c, x, y: select(call("logical_not", c), t)),
    kernel=_where_kernel,
    elementwise=True,
    linear=True,
    masks=True,
    symbolic="Piecewise((b, a), (c, True))",
)


@function(
    numpy=(np.where,),
    samples=cases(
        lambda: sample([True, False, True], [1.0, 2.0, 3.0], [4.0, 5.0, 6.0], fixed=(0,)),
        lambda: sample([[True], [False]], [1.0, 2.0, 3.0], 4.0, fixed=(0,)),
        lambda: sample(True, normal(2, 3), normal(3), fixed=(0,)),
        lambda: sample(normal(2, 3) > 0, normal(2, 3, seed=1), normal(2, 3, seed=2), fixed=(0,)),
        lambda: sample(np.array([0, 2, -1]), normal(3), normal(2, 1), fixed=(0,)),
        lambda: sample(np.zeros((0, 3), bool), normal(3), normal(0, 3), fixed=(0,)),
    ),
    edges=(
        at(1.0, 2.0, _NAN, value=2.0, adjoints=(0.0, 1.0, 0.0), why="an exact zero for what is not selected"),
        at(0.0, _INF, 2.0, value=2.0, adjoints=(0.0, 0.0, 1.0), why="an exact zero for what is not selected"),
        at(_NAN, 1.0, 2.0, value=1.0, adjoints=(0.0, 1.0, 0.0), why="NaN is not 0, so it holds"),
    ),
)
def where(condition: Any, x: Any = None, y: Any = None) -> Node:
    """`np.where` with three arguments: `x` where `condition` holds (or is not 0), `y` elsewhere.

    The adjoint of what was not selected is exactly zero, whatever singular rules come after it.

    Raises:
        ArgumentError: `x` or `y` is missing.
    """
    if x is None or y is None:
        raise ArgumentError(
            "where: with one argument the shape of the result depends on values; give all three, np.where(condition, x, y)"
        )
    (c,) = lift((condition,), "where")
    a, b = lift((x, y), "where")
    return apply(where_op, (c if c.dtype.kind == "b" else not_equal(c, 0), a, b))


_CLIP_CALLS = (do(np.maximum, "{0}, {1}, out={out}"), do(np.minimum, "{out}, {2}, out={out}"))


def _if_apart(inside: Node, lo: Node, hi: Node) -> Node:
    """`inside`, where there is an inside: bounds that meet or cross give the upper one, whatever is between."""
    low, high = _scalar(lo), _scalar(hi)
    return inside if low is not None and high is not None and low < high else logical_and(inside, less(lo, hi))


clip_op = elementwise(
    "clip",
    **recipe(*_CLIP_CALLS, inplace=(0,))._asdict(),
    partials=(
        lambda x, lo, hi, out: _if_apart(logical_and(greater_equal(x, lo), less_equal(x, hi)), lo, hi),
        lambda x, lo, hi, out: logical_and(less(x, lo), less(lo, hi)),
        lambda x, lo, hi, out: logical_or(greater(x, hi), greater_equal(lo, hi)),
    ),
    masks=True,
    kinks=lambda x, lo, hi: logical_or(equal(x, lo), equal(x, hi)),
    symbolic="Min(Max(a, b), c)",
    public=False,
)
clip_min = elementwise(
    "clip_min",
    **recipe(do(np.maximum, "{0}, {1}, out={out}"), inplace=(0,))._asdict(),
    partials=(lambda x, lo, out: greater_equal(x, lo), lambda x, lo, out: less(x, lo)),
    masks=True,
    kinks=lambda x, lo: equal(x, lo),
    symbolic="Max(a, b)",
    public=False,
)
clip_max = elementwise(
    "clip_max",
    **recipe(do(np.minimum, "{0}, {1}, out={out}"), inplace=(0,))._asdict(),
    partials=(lambda x, hi, out: less_equal(x, hi), lambda x, hi, out: greater(x, hi)),
    masks=True,
    kinks=lambda x, hi: equal(x, hi),
    symbolic="Min(a, b)",
    public=False,
)


@function(
    numpy=(np.clip,),
    samples=ranges((-3, 3), (-1, -0.5), (0.5, 1)),
    edges=(
        at(0.0, 0.0, 1.0, value=0.0, adjoints=(1.0, 0.0, 0.0), why="the bounds belong to the inside"),
        at(1.0, 0.0, 1.0, value=1.0, adjoints=(1.0, 0.0, 0.0), why="the bounds belong to the inside"),
        at(2.0, 0.0, 1.0, value=1.0, adjoints=(0.0, 0.0, 1.0)),
        at(-_INF, 0.0, 1.0, value=0.0, adjoints=(0.0, 1.0, 0.0)),
        at(0.5, 1.0, 0.0, value=0.0, adjoints=(0.0, 0.0, 1.0), why="bounds that cross: NumPy gives the upper one"),
        at(_NAN, 0.0, 1.0, value=_NAN, adjoints=(0.0, 0.0, 0.0)),
        at(_INF, 0.0, 1.0, value=1.0, adjoints=(0.0, 0.0, 1.0)),
        at(1.0, 1.0, 1.0, value=1.0, adjoints=(0.0, 0.0, 1.0), why="bounds that meet leave no inside"),
        at(1.0, _NAN, 2.0, value=_NAN, adjoints=(0.0, 0.0, 0.0)),
    ),
)
def clip(x: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Node:
    """`np.clip`: limit the entries to [a_min, a_max]; None leaves a side open. At a bound the adjoint passes.

    Raises:
        ArgumentError: a bound is given twice.
    """
    if (a_min is not None and min is not None) or (a_max is not None and max is not None):
        raise ArgumentError("clip: a bound is given twice, as a_min or a_max and as min or max")
    lo, hi = (a_min if min is None else min), (a_max if max is None else max)
    x = np.asarray(x) if isinstance(x, (bool, int, float)) else x  # a number has its own dtype here, as in NumPy
    if lo is None and hi is None:
        return lift((x,), "clip")[0]
    if lo is None or hi is None:
        return clip_min(x, lo) if hi is None else clip_max(x, hi)
    return apply(clip_op, lift((x, lo, hi), "clip"))


def _replaced(x: Any, *, nan: float, posinf: float | None, neginf: float | None) -> Any:
    return np.nan_to_num(x, True, nan, posinf, neginf)


nan_to_num_op = op(
    "nan_to_num",
    infer=lambda x, **attrs: x,
    evaluate=_replaced,
    vjp=(lambda g, out, x, **attrs: select(isfinite(x), g),),
    jvp=(lambda t, out, x, **attrs: select(isfinite(x), t),),
    elementwise=True,
    masks=True,
    symbolic="a",
)


@function(
    numpy=(np.nan_to_num,),
    samples=cases(
        lambda: sample(normal(2, 3)),
        lambda: sample([1.0, _NAN, _INF, -_INF], gradient=False),
        lambda: sample([1.0, _NAN, _INF, -_INF], gradient=False, nan=1.0, posinf=2.0, neginf=3.0),
        lambda: sample(np.array([1, 2]), gradient=False),
    ),
    edges=points(
        (_NAN, 0.0, 0.0), (_INF, float(np.finfo(float).max), 0.0), (0.0, 0.0, 1.0), (-_INF, float(np.finfo(float).min), 0.0)
    ),
)
def nan_to_num(x: Any, copy: bool = True, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Node:
    """`np.nan_to_num`: NaN and infinities replaced by numbers; the adjoint of what was replaced is exactly zero.

    `copy` is NumPy's and has no meaning here: nodes are never overwritten.
    """
    (node,) = lift((x,), "nan_to_num")
    high, low = [None if v is None else as_number(v, "nan_to_num: what replaces infinities") for v in (posinf, neginf)]
    number = as_number(nan, "nan_to_num: what replaces NaN")
    return apply(nan_to_num_op, (node,), (("nan", number), ("neginf", low), ("posinf", high)))


# --- sinc --------------------------------------------------------------------------------------------


def _sinc(x: Any, *, order: int) -> Any:
    """The derivative of np.sinc of that order: by recurrence away from 0, by its power series beside it."""
    if order == 0:
        return np.sinc(x)
    x = np.asarray(x)
    u = np.pi * x.astype(np.float64)
    near = np.abs(u) < order + 0.5
    away = np.where(near, order + 1.0, u)
    result = np.asarray(np.sin(away) / away)
    for n in range(1, order + 1):
        result = np.asarray((np.sin(away + n * (np.pi / 2)) - n * result) / away)
    result[near] = _sinc_series(u[near], order)
    return (np.pi**order * result).astype(x.dtype)


def _sinc_series(u: Any, order: int) -> Any:
    """Differentiated term by term: sin(u) / u is the sum of (-1)**k u**2k / (2k + 1)!."""
    total = np.zeros_like(u)
    for k in range(order + 12, (order - 1) // 2, -1):
        coefficient = (-1) ** k * math.perm(2 * k, order) / math.factorial(2 * k + 1)
        total = total * np.square(u) + coefficient
    return total * u if order % 2 else total


sinc_op: Op = op(
    "sinc",
    infer=lambda x, *, order: x,
    evaluate=_sinc,
    vjp=(lambda g, out, x, *, order: g * apply(sinc_op, (x,), (("order", order + 1),)),),
    jvp=(lambda t, out, x, *, order: t * apply(sinc_op, (x,), (("order", order + 1),)),),
    elementwise=True,
    symbolic="sinc(pi * a).diff(a, {order})",
)


@function(
    numpy=(np.sinc,),
    samples=reals(-3, 3),
    edges=points((0.0, 1.0, 0.0, "its maximum"), (_NAN, _NAN, _NAN), (_INF, _NAN, _NAN, "NumPy's value")),
)
def sinc(x: Any) -> Node:
    """`np.sinc`: sin(pi x) / (pi x), 1 at 0; its derivatives of all orders are accurate at 0 and beside it."""
    (node,) = lift((x,), "sinc")
    return apply(sinc_op, (node if node.dtype.kind == "f" else astype(node, "float64"),), (("order", 0),))


# --- casts and gradient stops -------------------------------------------------------------------------


def _infer_astype(x: TensorType, *, dtype: Any) -> TensorType:
    return TensorType(x.shape, dtype)


def _astype_kernel(inputs: Sequence[TensorType], out: TensorType, attrs: dict[str, Any]) -> Kernel:
    return Kernel((Call(np.copyto, "copyto", "{out}, {0}, 'unsafe'"),))


astype_op = linear(
    "astype",
    infer=_infer_astype,
    evaluate=lambda x, *, dtype: np.asarray(x).astype(dtype),
    transpose=lambda g, out, x, *, dtype: call("astype", g, x.dtype),
    kernel=_astype_kernel,
    elementwise=True,
    symbolic="a",
)


@function(samples=cases(lambda: sample([1.5, -2.5], dtype="float64"), lambda: sample(normal(2, 3), dtype="float64")))
def astype(x: Any, dtype: Any, *, copy: Any = True, device: Any = None) -> Node:
    """`ndarray.astype`: a cast; to an integer or bool it ends the gradient."""
    (node,) = lift((x,), "astype")
    target = as_dtype(dtype, "astype")
    return node if target == node.dtype else apply(astype_op, (node,), (("dtype", target),))


NUMPY[np.astype] = astype  # its arguments have no names, so that samples cannot call it


def floating(x: Any, where: str) -> Node:
    """`x` as a node of a floating point dtype; integers as `np.exp` promotes them."""
    (node,) = lift((x,), where)
    return node if node.dtype.kind == "f" else astype(node, np.result_type(np.exp(np.zeros(1, node.dtype)).dtype))


@function("conjugate", numpy=(np.conjugate,), samples=cases(lambda: sample(normal(3))))
def conjugate(x: Any) -> Node:
    """`np.conjugate`: the operand itself, since gradc computes in real numbers; bool is int8, as in NumPy."""
    (node,) = lift((x,), "conjugate")
    return astype(node, "int8") if node.dtype.kind == "b" else node


identity = op(
    "identity",
    infer=lambda x: x,
    evaluate=lambda x: x,
    vjp=(lambda g, out, x: g,),
    jvp=(lambda t, out, x: t,),
    elementwise=True,
    linear=True,
    view=True,
    symbolic="a",
)

stop_gradient = op(
    "stop_gradient",
    infer=lambda x: x,
    evaluate=lambda x: x,
    vjp=(ZERO,),
    jvp=(ZERO,),
    elementwise=True,
    view=True,
    symbolic="held(a)",
    samples=cases(lambda: sample([1.0, 2.0], gradient=False)),
)
