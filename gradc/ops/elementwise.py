"""Elementwise ops: arithmetic, powers, exponentials, trigonometry, comparisons, selection, casts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradc.errors import ArgumentError, DTypeError
from gradc.ir import CONSTANT, Call, Kernel, Node, Op, apply, lift
from gradc.ops.declare import ZERO, call, elementwise, function, linear, op, scale
from gradc.ops.samples import at, cases, ranges, reals, sample
from gradc.types import TensorType, as_dtype, broadcast_shapes

_INTEGER_OF_WIDTH = {1: "int8", 2: "int16", 4: "int32", 8: "int64"}

# --- arithmetic --------------------------------------------------------------------------------------

add = elementwise(
    "add", np.add, partials=(1, 1), linear_in=(0, 1), commutative=True, symbolic="a + b", samples=reals(-3, 3, operands=2)
)
subtract = elementwise(
    "subtract", np.subtract, partials=(1, -1), linear_in=(0, 1), symbolic="a - b", samples=reals(-3, 3, operands=2)
)
multiply = elementwise(
    "multiply",
    np.multiply,
    partials=(lambda x, y, out: y, lambda x, y, out: x),
    commutative=True,
    symbolic="a * b",
    samples=reals(-3, 3, operands=2),
)
divide = elementwise(
    "divide",
    np.divide,
    rules=(lambda g, out, x, y: g / y, lambda g, out, x, y: -(g / y) * out),
    symbolic="a / b",
    samples=ranges((-3, 3), (0.5, 2)),
    edges=(at(1e200, 1e200, value=1.0, adjoints=(1e-200, -1e-200), why="no square of y is formed"),),
)
negative = elementwise("negative", np.negative, partials=(-1,), linear_in=(0,), symbolic="-a", samples=reals(-3, 3))


def _power_x(g: Node, out: Node, x: Node, y: Node) -> Node:
    exponent = _scalar(y)
    if exponent is None:
        slope = y * power(x, y - 1)
        return scale(g, where(call("equal", y, 0), 0, slope))
    if exponent == 0:
        return call("zeros_like", g)
    if exponent == 1:
        return g
    if exponent == 2:
        return g * (2 * x)
    return g * (exponent * power(x, exponent - 1))


def _power_y(g: Node, out: Node, x: Node, y: Node) -> Node:
    flat = call("logical_and", call("equal", x, 0), call("greater_equal", y, 0))
    return where(flat, 0, g * (out * log(x)))


def _scalar(node: Node) -> float | None:
    if node.op is CONSTANT and not node.shape:
        return float(node.attr("value").array)
    return None


power = elementwise(
    "power",
    np.power,
    rules=(_power_x, _power_y),
    symbolic="a ** b",
    numpy=(np.float_power,),
    samples=ranges((0.5, 2), (-2, 2)),
    edges=(
        at(0.0, 0.0, value=1.0, adjoints=(0.0, 0.0), why="both slopes of least norm"),
        at(0.0, 1.0, value=0.0, adjoints=(1.0, 0.0), why="x itself"),
        at(0.0, 2.0, value=0.0, adjoints=(0.0, 0.0), why="a parabola's vertex"),
    ),
)

# --- exponentials, trigonometry ----------------------------------------------------------------------

exp = elementwise("exp", np.exp, partials=(lambda x, out: out,), symbolic="exp(a)", samples=reals(-2, 2))
log = elementwise("log", np.log, rules=(lambda g, out, x: g / x,), symbolic="log(a)", samples=reals(0.3, 3))
sin = elementwise("sin", np.sin, partials=(lambda x, out: cos(x),), symbolic="sin(a)", samples=reals(-3, 3))
cos = elementwise("cos", np.cos, partials=(lambda x, out: -sin(x),), symbolic="cos(a)", samples=reals(-3, 3))
tanh = elementwise("tanh", np.tanh, partials=(lambda x, out: 1 - out * out,), symbolic="tanh(a)", samples=reals(-2, 2))
sqrt = elementwise("sqrt", np.sqrt, rules=(lambda g, out, x: g * 0.5 / out,), symbolic="sqrt(a)", samples=reals(0.3, 3))

# --- kinks -------------------------------------------------------------------------------------------

abs_ = elementwise(
    "abs",
    np.absolute,
    partials=(lambda x, out: sign(x),),
    samples=reals(0.2, 2),
    edges=(at(0.0, value=0.0, adjoints=0.0, why="least norm of [-1, 1]"), at(-2.0, value=2.0, adjoints=-1.0)),
)
sign = elementwise("sign", np.sign, partials=(0,), samples=reals(0.2, 2), edges=(at(0.0, value=0.0, adjoints=0.0),))


def _share(wins: Any) -> Any:
    """The rule of the operand that `wins`: all of the adjoint, half of it at a tie."""

    def rule(g: Node, mine: Node, other: Node) -> Node:
        return where(wins(mine, other), g, where(call("equal", mine, other), g * 0.5, 0))

    return rule


def _extremum_rules(wins: str) -> tuple[Any, Any]:
    share = _share(lambda mine, other: call(wins, mine, other))
    return (lambda g, out, x, y: share(g, x, y), lambda g, out, x, y: share(g, y, x))


maximum = elementwise(
    "maximum",
    np.maximum,
    rules=_extremum_rules("greater"),
    samples=ranges((-1, 0), (0.1, 1)),
    edges=(at(1.0, 1.0, value=1.0, adjoints=(0.5, 0.5), why="a tie shares equally"),),
)
minimum = elementwise(
    "minimum",
    np.minimum,
    rules=_extremum_rules("less"),
    samples=ranges((-1, 0), (0.1, 1)),
    edges=(at(1.0, 1.0, value=1.0, adjoints=(0.5, 0.5), why="a tie shares equally"),),
)


def _infer_relu(x: TensorType) -> TensorType:
    if x.dtype.kind == "b":
        raise DTypeError("relu: a boolean has no positive part; cast with .astype first")
    return x


def _relu_kernel(inputs: Sequence[TensorType], out: TensorType, attrs: dict[str, Any]) -> Kernel:
    return Kernel((Call(np.maximum, "maximum", "{0}, 0, out={out}"),), inplace=(0,))


relu = elementwise(
    "relu",
    evaluate=lambda x: np.maximum(x, 0),
    infer=_infer_relu,
    kernel=_relu_kernel,
    partials=(lambda x, out: call("greater", out, 0),),
    samples=reals(0.1, 2),
    edges=(at(0.0, value=0.0, adjoints=0.0, why="least norm of [0, 1]"), at(-1.0, value=0.0, adjoints=0.0)),
)

# --- comparisons and logic: no gradient ---------------------------------------------------------------


def _predicate(name: str, ufunc: np.ufunc, commutative: bool = False) -> Op:
    none = (None,) * ufunc.nin
    return elementwise(name, ufunc, partials=none, commutative=commutative, samples=reals(-2, 2, operands=ufunc.nin))


equal = _predicate("equal", np.equal, commutative=True)
not_equal = _predicate("not_equal", np.not_equal, commutative=True)
less = _predicate("less", np.less)
less_equal = _predicate("less_equal", np.less_equal)
greater = _predicate("greater", np.greater)
greater_equal = _predicate("greater_equal", np.greater_equal)
logical_and = _predicate("logical_and", np.logical_and, commutative=True)
logical_or = _predicate("logical_or", np.logical_or, commutative=True)
logical_not = _predicate("logical_not", np.logical_not)
isnan = _predicate("isnan", np.isnan)
isfinite = _predicate("isfinite", np.isfinite)

# --- selection ---------------------------------------------------------------------------------------


def _infer_where(condition: TensorType, x: TensorType, y: TensorType) -> TensorType:
    if condition.dtype.kind != "b":
        raise DTypeError(f"where: the condition is {condition.dtype}, expected bool; compare it, as in x != 0")
    return TensorType(broadcast_shapes(condition.shape, x.shape, y.shape), np.promote_types(x.dtype, y.dtype))


def _infer_select(condition: TensorType, x: TensorType) -> TensorType:
    return TensorType(broadcast_shapes(condition.shape, x.shape), x.dtype)


def _select(condition: Any, x: Any) -> Any:
    x = np.asarray(x)
    bits = np.dtype(_INTEGER_OF_WIDTH[x.dtype.itemsize])
    return np.multiply(x.view(bits), condition, dtype=bits, casting="unsafe", order="C").view(x.dtype)


def _select_kernel(inputs: Sequence[TensorType], out: TensorType, attrs: dict[str, Any]) -> Kernel:
    return Kernel((Call(np.multiply, "multiply", "{1:bits}, {0}, {out:bits}"),), inplace=(1,))


select = op(
    "select",
    infer=_infer_select,
    evaluate=_select,  # the bits of x times 0 or 1: exact, and as fast as a float multiplication
    vjp=(None, lambda g, out, c, x: select(c, g)),
    jvp=(None, lambda t, out, c, x: select(c, t)),
    kernel=_select_kernel,
    elementwise=True,
    linear=True,
    masks=True,
)


where_op = op(
    "where",
    infer=_infer_where,
    evaluate=np.where,
    vjp=(None, lambda g, out, c, x, y: select(c, g), lambda g, out, c, x, y: select(call("logical_not", c), g)),
    jvp=(None, lambda t, out, c, x, y: select(c, t), lambda t, out, c, x, y: select(call("logical_not", c), t)),
    elementwise=True,
    linear=True,
    masks=True,
)


@function(
    numpy=(np.where,),
    samples=cases(
        lambda: sample([True, False, True], [1.0, 2.0, 3.0], [4.0, 5.0, 6.0], fixed=(0,)),
        lambda: sample([[True], [False]], [1.0, 2.0, 3.0], 4.0, fixed=(0,)),
    ),
)
def where(condition: Any, x: Any, y: Any) -> Node:
    """`np.where` with three arguments: `x` where `condition` (bool) holds, `y` elsewhere.

    The adjoint of what was not selected is exactly zero, whatever singular rules come after it.
    """
    if isinstance(condition, bool):
        raise ArgumentError(
            "where: the condition is a Python bool; == and != on nodes compare identity: use np.equal(a, b) or np.not_equal(a, b)"
        )
    (c,) = lift((condition,), "where")
    a, b = lift((x, y), "where")
    return apply(where_op, (c, a, b))


# --- casts and gradient stops -------------------------------------------------------------------------


def _infer_astype(x: TensorType, *, dtype: Any) -> TensorType:
    return TensorType(x.shape, dtype)


def _astype_kernel(inputs: Sequence[TensorType], out: TensorType, attrs: dict[str, Any]) -> Kernel:
    return Kernel((Call(np.copyto, "copyto", "{out}, {0}, 'unsafe'"),))


astype_op = linear(
    "astype",
    infer=_infer_astype,
    evaluate=lambda x, *, dtype: np.asarray(x).astype(dtype),
    transpose=lambda g, out, x, *, dtype: astype(g, x.dtype),
    kernel=_astype_kernel,
    elementwise=True,
)


@function(samples=cases(lambda: sample([1.5, -2.5], dtype="float64")))
def astype(x: Any, dtype: Any) -> Node:
    """`ndarray.astype`: a cast; to an integer or bool it ends the gradient."""
    (node,) = lift((x,), "astype")
    target = as_dtype(dtype, "astype")
    return node if target == node.dtype else apply(astype_op, (node,), (("dtype", target),))


identity = op(
    "identity",
    infer=lambda x: x,
    evaluate=lambda x: x,
    vjp=(lambda g, out, x: g,),
    jvp=(lambda t, out, x: t,),
    elementwise=True,
    linear=True,
    view=True,
)

stop_gradient = op(
    "stop_gradient",
    infer=lambda x: x,
    evaluate=lambda x: x,
    vjp=(ZERO,),
    jvp=(ZERO,),
    elementwise=True,
    view=True,
    samples=cases(lambda: sample([1.0, 2.0], gradient=False)),
)
