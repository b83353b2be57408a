"""Activations of networks, and their kin: sigmoid, softplus, gelu, xlogy, ... accurate in both tails."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradc.errors import ArgumentError, DTypeError, show
from gradc.ir import Call, Kernel, Node, apply, lift
from gradc.ops.declare import call, elementwise, function
from gradc.ops.elementwise import (
    clip,
    equal,
    exp,
    floating,
    greater,
    greater_equal,
    less,
    log,
    log1p,
    logical_and,
    logical_or,
    not_equal,
    select,
    tanh,
    where,
)
from gradc.ops.recipes import do, entries, recipe
from gradc.ops.samples import at, cases, normal, points, ranges, reals, sample
from gradc.types import TensorType, as_number

__all__ = [
    "celu",
    "elu",
    "gelu",
    "hard_sigmoid",
    "hard_silu",
    "leaky_relu",
    "log_sigmoid",
    "logit",
    "mish",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "softplus",
    "xlog1py",
    "xlogy",
]

_INF, _NAN = math.inf, math.nan

# --- rectifiers --------------------------------------------------------------------------------------


def _infer_relu(x: TensorType) -> TensorType:
    if x.dtype.kind == "b":
        raise DTypeError("a boolean has no positive part; cast with .astype first")
    return x


def _relu_kernel(inputs: Sequence[TensorType], out: TensorType, attrs: dict[str, Any]) -> Kernel:
    return Kernel((Call(np.maximum, "maximum", "{0}, 0, out={out}"),), inplace=(0,))


relu = elementwise(
    "relu",
    evaluate=lambda x: np.maximum(x, 0),
    infer=_infer_relu,
    kernel=_relu_kernel,
    partials=(lambda x, out: greater(x, 0),),
    nonnegative=True,
    kinks=lambda x: equal(x, 0),
    symbolic="Max(a, 0)",
    masks=True,
    samples=reals(0.1, 2),
    edges=points(
        (0.0, 0.0, 0.0, "least norm of [0, 1]"), (-1.0, 0.0, 0.0), (_INF, _INF, 1.0), (-_INF, 0.0, 0.0), (_NAN, _NAN, 0.0)
    ),
)
relu6 = elementwise(
    "relu6",
    **recipe(do(np.maximum, "{0}, 0, out={out}"), do(np.minimum, "{out}, 6, out={out}"), inplace=(0,))
    ._replace(infer=_infer_relu)
    ._asdict(),
    partials=(lambda x, out: logical_and(greater(x, 0), less(x, 6)),),
    kinks=lambda x: logical_or(equal(x, 0), equal(x, 6)),
    symbolic="Min(Max(a, 0), 6)",
    masks=True,
    samples=reals(0.1, 5),
    edges=points(
        (0.0, 0.0, 0.0, "least norm of [0, 1]"),
        (6.0, 6.0, 0.0, "least norm of [0, 1]"),
        (1.0, 1.0, 1.0),
        (_INF, 6.0, 0.0),
        (-_INF, 0.0, 0.0),
        (_NAN, _NAN, 0.0),
    ),
)


def _leaky_calls(*, slope: float) -> tuple[Call, ...]:
    if 0 < slope <= 1:
        return (do(np.multiply, f"{{0}}, {slope!r}, {{out}}"), do(np.maximum, "{0}, {out}, out={out}"))
    return (
        do(np.maximum, "{0}, 0, out={s0}"),
        do(np.minimum, "{0}, 0, out={out}"),
        do(np.multiply, f"{{out}}, {slope!r}, {{out}}"),
        do(np.add, "{out}, {s0}, {out}"),
    )


def _leaky_rule(g: Node, out: Node, x: Node, *, slope: float) -> Node:
    """g or slope g; at the kink the slope of least norm: the smaller one, or 0 between slopes of both signs."""
    if slope > 1:
        return where(greater_equal(x, 0), g, g * slope)
    return where(greater(x, 0), g, g * slope if slope >= 0 else select(less(x, 0), g * slope))


leaky_relu_op = elementwise(
    "leaky_relu",
    **recipe(varying=_leaky_calls, scratch=("out",))._asdict(),
    rules=(_leaky_rule,),
    kinks=lambda x, *, slope: None if slope == 1 else equal(x, 0),
    symbolic="Piecewise((a, a > 0), ({slope!r} * a, True))",
    public=False,
)


@function(
    samples=cases(
        lambda: sample(normal(7)),
        lambda: sample(normal(2, 3)),
        lambda: sample(normal(2, 3), negative_slope=0.25),
        lambda: sample(normal(5), negative_slope=2.0),
        lambda: sample(normal(5), negative_slope=-0.5),
        lambda: sample(-1.5, negative_slope=0.0),
        lambda: sample(normal(0, 3)),
    ),
    edges=(
        at(0.0, value=0.0, adjoints=0.01, why="least norm of [0.01, 1]"),
        at(0.0, value=0.0, adjoints=1.0, why="least norm of [1, 2]", negative_slope=2.0),
        at(0.0, value=0.0, adjoints=0.0, why="least norm of [-1, 1]", negative_slope=-1.0),
        at(_INF, value=_INF, adjoints=1.0),
        at(-_INF, value=-_INF, adjoints=0.01),
        at(_NAN, value=_NAN, adjoints=0.01),
    ),
)
def leaky_relu(x: Any, negative_slope: float = 0.01) -> Node:
    """`x` where it is positive, `negative_slope * x` elsewhere.

    Raises:
        ArgumentError: the slope is not a finite number.
    """
    return apply(leaky_relu_op, (floating(x, "leaky_relu"),), (("slope", _finite(negative_slope, "leaky_relu")),))


def _finite(value: Any, where_: str) -> float:
    number = as_number(value, f"{where_}: a parameter")
    if not math.isfinite(number):
        raise ArgumentError(f"{where_}: expected a finite number, got {show(value)}")
    return number


def _elu_calls(*, alpha: float) -> tuple[Call, ...]:
    return (
        do(np.minimum, "{0}, 0, out={out}"),
        do(np.expm1, "{out}, {out}"),
        do(np.multiply, f"{{out}}, {alpha!r}, {{out}}"),
        do(np.maximum, "{0}, 0, out={s0}"),
        do(np.add, "{out}, {s0}, {out}"),
    )


def _elu_slope_calls(*, alpha: float) -> tuple[Call, ...]:
    """alpha exp(x) below 0, 1 above, and at 0 the slope of least norm of those two."""
    at_zero = min(max(0.0, min(alpha, 1.0)), max(alpha, 1.0))
    calls = [do(np.minimum, "{0}, 0, out={out}"), do(np.exp, "{out}, {out}")]
    if alpha != 1:
        calls += [do(np.multiply, f"{{out}}, {alpha!r}, {{out}}"), do(np.greater, "{0}, 0, {s0}")]
        calls += [do(np.copyto, "{out}, 1, where={s0}")]
    if at_zero != alpha:
        calls += [do(np.equal, "{0}, 0, {s0}"), do(np.copyto, f"{{out}}, {at_zero!r}, where={{s0}}")]
    return tuple(calls)


elu_slope = elementwise(
    "elu_slope",
    **recipe(varying=_elu_slope_calls, scratch=("bool",))._asdict(),
    rules=(lambda g, out, x, *, alpha: select(less(x, 0), g * out),),
    symbolic="Piecewise((1, a > 0), ({alpha!r} * exp(a), True))",
    public=False,
)
elu_op = elementwise(
    "elu",
    **recipe(varying=_elu_calls, scratch=("out",))._asdict(),
    rules=(lambda g, out, x, *, alpha: g * apply(elu_slope, (x,), (("alpha", alpha),)),),
    kinks=lambda x, *, alpha: None if alpha == 1 else equal(x, 0),
    symbolic="Piecewise((a, a > 0), ({alpha!r} * (exp(a) - 1), True))",
    public=False,
)


@function(
    samples=cases(
        lambda: sample(normal(7)),
        lambda: sample(normal(2, 3)),
        lambda: sample(normal(2, 3), alpha=0.5),
        lambda: sample(normal(5), alpha=1.7),
        lambda: sample(normal(5), alpha=-1.0),
        lambda: sample(-1.5),
        lambda: sample(normal(0, 3)),
    ),
    edges=(
        at(0.0, value=0.0, adjoints=1.0, why="smooth for alpha = 1"),
        at(0.0, value=0.0, adjoints=0.5, why="least norm of [0.5, 1]", alpha=0.5),
        at(0.0, value=0.0, adjoints=1.0, why="least norm of [1, 2]", alpha=2.0),
        at(-_INF, value=-1.0, adjoints=0.0),
        at(_INF, value=_INF, adjoints=1.0),
        at(-40.0, value=-1.0, adjoints=float(np.exp(-40.0)), why="not out + 1, which is 0"),
        at(_NAN, value=_NAN, adjoints=_NAN),
    ),
)
def elu(x: Any, alpha: float = 1.0) -> Node:
    """`x` where it is positive, `alpha * (exp(x) - 1)` elsewhere.

    Raises:
        ArgumentError: alpha is not a finite number.
    """
    return apply(elu_op, (floating(x, "elu"),), (("alpha", _finite(alpha, "elu")),))


@function(samples=reals(-3, 3), edges=points((0.0, 0.0, 1.0), (-_INF, -1.0, 0.0), (_INF, _INF, 1.0), (_NAN, _NAN, _NAN)))
def celu(x: Any, alpha: float = 1.0) -> Node:
    """`max(x, 0) + min(alpha * (exp(x / alpha) - 1), 0)`: the elu that is smooth for every alpha > 0.

    Raises:
        ArgumentError: alpha is not a positive, finite number.
    """
    if _finite(alpha, "celu") <= 0:
        raise ArgumentError(f"celu: alpha is positive, got {show(alpha)}")
    node = floating(x, "celu")
    return elu(node) if alpha == 1 else elu(node / alpha) * alpha


_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805


@function(
    samples=reals(-3, 3),
    edges=points(
        (0.0, 0.0, _SELU_SCALE, "least norm of [1.05, 1.76]"),
        (_INF, _INF, _SELU_SCALE),
        (-_INF, -_SELU_ALPHA * _SELU_SCALE, 0.0),
        (_NAN, _NAN, _NAN),
    ),
)
def selu(x: Any) -> Node:
    """The self-normalising elu of Klambauer et al. (2017): `scale * elu(x, alpha)` with their two constants."""
    return elu(x, _SELU_ALPHA) * _SELU_SCALE


# --- the logistic function ---------------------------------------------------------------------------


sigmoid_slope = elementwise(
    "sigmoid_slope",
    **recipe(
        do(np.exp, "{0}, {out}"), do(np.add, "{out}, 1, {out}"), do(np.divide, "{1}, {out}, {out}"), inplace=(0,)
    )._asdict(),  # sigmoid(x) sigmoid(-x): 1 - s would lose the digits of the upper tail
    rules=(lambda g, out, x, s: -(g * out) * tanh(x * 0.5), None),  # s is sigmoid(x), which the forward pass has
    symbolic="exp(a) / (1 + exp(a))**2",
    saved="1 / (1 + exp(-a))",
    public=False,
)
sigmoid_op = elementwise(
    "sigmoid",
    **recipe(
        do(np.negative, "{0}, {out}"),
        do(np.exp, "{out}, {out}"),
        do(np.add, "{out}, 1, {out}"),
        do(np.reciprocal, "{out}, {out}"),
        inplace=(0,),
    )._asdict(),
    partials=(lambda x, out: sigmoid_slope(x, out),),
    nonnegative=True,
    symbolic="1 / (1 + exp(-a))",
    public=False,
)


@function(
    samples=reals(-4, 4),
    edges=points(
        (0.0, 0.5, 0.25), (_INF, 1.0, 0.0), (-_INF, 0.0, 0.0), (800.0, 1.0, 0.0), (-800.0, 0.0, 0.0), (_NAN, _NAN, _NAN)
    ),
)
def sigmoid(x: Any) -> Node:
    """1 / (1 + exp(-x)), with every digit in both tails, of the derivatives too."""
    return apply(sigmoid_op, (floating(x, "sigmoid"),))


softplus_op = elementwise(
    "softplus",
    **recipe(
        do(np.absolute, "{0}, {out}"),
        do(np.negative, "{out}, {out}"),
        do(np.exp, "{out}, {out}"),
        do(np.log1p, "{out}, {out}"),
        do(np.maximum, "{0}, 0, out={s0}"),
        do(np.add, "{out}, {s0}, {out}"),
        scratch=("out",),
    )._asdict(),
    partials=(lambda x, out: sigmoid(x),),
    nonnegative=True,
    symbolic="log(1 + exp(a))",
    public=False,
)


@function(
    samples=reals(-4, 4),
    edges=points(
        (800.0, 800.0, 1.0), (-800.0, 0.0, 0.0), (_INF, _INF, 1.0), (-_INF, 0.0, 0.0), (_NAN, _NAN, _NAN), (0.0, math.log(2), 0.5)
    ),
    spellings=(lambda x: log(1 + exp(x)), lambda x: log1p(exp(x))),
)
def softplus(x: Any) -> Node:
    """log(1 + exp(x)), without overflow, and with every digit in the lower tail."""
    return apply(softplus_op, (floating(x, "softplus"),))


@function(
    samples=reals(-4, 4),
    edges=points((-800.0, -800.0, 1.0), (800.0, 0.0, 0.0), (-_INF, -_INF, 1.0), (_INF, 0.0, 0.0), (_NAN, _NAN, _NAN)),
    spellings=(lambda x: log(sigmoid(x)),),
)
def log_sigmoid(x: Any) -> Node:
    """log(sigmoid(x)), which is -softplus(-x)."""
    return -softplus(-floating(x, "log_sigmoid"))


bernoulli_variance = elementwise(
    "bernoulli_variance",
    **recipe(do(np.subtract, "1, {0}, {out}"), do(np.multiply, "{out}, {0}, {out}"))._asdict(),
    partials=(lambda p, out: 1 - 2 * p,),
    symbolic="a * (1 - a)",
    public=False,
)


def _logit_low(p: Any, out: Any, low: Any) -> None:
    """Where `low` holds, log(p / (1 - p)): the other form has lost the digits of p there."""
    if low.any():
        small = entries(p, low)
        out[low] = np.log(small / (1 - small))


logit_op = elementwise(
    "logit",
    **recipe(
        do(np.subtract, "1, {0}, {s0}"),
        do(np.subtract, "{0}, 0.5, {out}"),  # exact, where p - (1 - p) rounds below 1/2
        do(np.divide, "{out}, {s0}, {out}"),
        do(np.add, "{out}, {out}, {out}"),
        do(np.log1p, "{out}, {out}"),  # log1p((2 p - 1) / (1 - p)), accurate beside 1/2 and up to 1
        do(np.less, "{0}, 0.25, {s1}"),
        do(_logit_low, "{0}, {out}, {s1}"),
        scratch=("out", "bool"),
    )._asdict(),
    rules=(lambda g, out, p: g / bernoulli_variance(p),),
    symbolic="log(a / (1 - a))",
    public=False,
)


@function(
    samples=reals(0.1, 0.9),
    edges=points(
        (0.5, 0.0, 4.0),
        (0.0, -_INF, _INF, "the domain's end"),
        (1.0, _INF, _INF, "the domain's end"),
        (2.0, _NAN, -0.5, "outside the domain: still 1 / (x (1 - x))"),
        (_NAN, _NAN, _NAN),
    ),
)
def logit(p: Any) -> Node:
    """log(p / (1 - p)), the inverse of the sigmoid, accurate beside 0, 1/2 and 1."""
    return apply(logit_op, (floating(p, "logit"),))


# --- gates: x times a weight that rises from 0 to 1 -----------------------------------------------------

_FLAT = 1e4

gate = elementwise(
    "gate",
    **recipe(
        do(np.multiply, "{0}, {1}, {out}"),
        do(np.equal, "{1}, 0, {s0}"),
        do(np.copyto, "{out}, 0, where={s0}"),
        inplace=(0,),
        scratch=("bool",),
    )._asdict(),  # x w, and 0 where w is 0; the weights that use it are flat (0 or 1) beyond |x| = 10000
    rules=(lambda g, out, x, w: g * w, lambda g, out, x, w: g * clip(x, -_FLAT, _FLAT)),
    symbolic="a * b",
    assuming=f"(a > -{_FLAT:g}) & (a < {_FLAT:g})",
    public=False,
)


@function(
    samples=reals(-4, 4),
    edges=points((0.0, 0.0, 0.5), (_INF, _INF, 1.0), (-_INF, 0.0, 0.0), (-800.0, 0.0, 0.0), (_NAN, _NAN, _NAN)),
)
def silu(x: Any) -> Node:
    """x sigmoid(x), also called swish."""
    node = floating(x, "silu")
    return gate(node, sigmoid(node))


@function(
    samples=reals(-4, 4),
    edges=points((0.0, 0.0, None), (_INF, _INF, 1.0), (-_INF, 0.0, 0.0), (-800.0, 0.0, 0.0), (_NAN, _NAN, _NAN)),
)
def mish(x: Any) -> Node:
    """x tanh(softplus(x)), of Misra (2019)."""
    node = floating(x, "mish")
    return gate(node, tanh(softplus(node)))


_GELU_1 = 2 * math.sqrt(2 / math.pi)
_GELU_3 = _GELU_1 * 0.044715

gelu_argument = elementwise(
    "gelu_argument",
    **recipe(
        do(np.square, "{0}, {out}"),
        do(np.multiply, f"{{out}}, {_GELU_3!r}, {{out}}"),
        do(np.add, f"{{out}}, {_GELU_1!r}, {{out}}"),
        do(np.multiply, "{out}, {0}, {out}"),
    )._asdict(),
    partials=(lambda x, out: _GELU_1 + (3 * _GELU_3) * clip(x, -40, 40) ** 2,),  # its sigmoid is flat beyond 40
    symbolic="2 * sqrt(2 / pi) * (a + Rational(44715, 1000000) * a**3)",
    assuming="(a > -40) & (a < 40)",
    public=False,
)


@function(
    samples=lambda: [s._replace(attrs={"approximate": form}) for form in (False, "tanh") for s in reals(-4, 4)()],
    edges=tuple(
        row._replace(attrs={"approximate": form})
        for form in (False, "tanh")
        for row in points((0.0, 0.0, 0.5), (_INF, _INF, 1.0), (-_INF, 0.0, 0.0), (-40.0, 0.0, 0.0), (_NAN, _NAN, _NAN))
    ),
)
def gelu(x: Any, approximate: Any = False) -> Node:
    """x times the normal distribution function of x (Hendrycks and Gimpel, 2016).

    Args:
        x: any shape.
        approximate: False or "none": the distribution function itself, through the extra `scipy`; True or "tanh":
            its approximation by a tanh.

    Raises:
        ArgumentError: `approximate` is something else.
        UnsupportedError: scipy is not installed, and the exact form was asked for.
    """
    node = floating(x, "gelu")
    if approximate in (True, "tanh"):
        return gate(node, sigmoid(gelu_argument(node)))
    if approximate not in (False, "none"):
        raise ArgumentError(f"gelu: approximate is False, True, 'none' or 'tanh', got {show(approximate)}")
    return gate(node, call("ndtr", node))


@function(
    samples=reals(-2.5, 2.5),
    edges=points((-3.0, 0.0, 0.0), (3.0, 1.0, 0.0), (0.0, 0.5, None), (_INF, 1.0, 0.0), (-_INF, 0.0, 0.0), (_NAN, _NAN, 0.0)),
)
def hard_sigmoid(x: Any) -> Node:
    """relu6(x + 3) / 6: the sigmoid in three straight pieces."""
    return relu6(floating(x, "hard_sigmoid") + 3) / 6


@function(
    samples=reals(-2.5, 2.5),
    edges=points(
        (-_INF, 0.0, 0.0),
        (_INF, _INF, 1.0),
        (0.0, 0.0, 0.5),
        (-3.0, 0.0, 0.0, "least norm of [-0.5, 0]"),
        (3.0, 3.0, 1.0, "least norm of [1, 1.5]"),
        (_NAN, _NAN, _NAN),
    ),
)
def hard_silu(x: Any) -> Node:
    """x hard_sigmoid(x), also called hard swish (Howard et al., 2019)."""
    node = floating(x, "hard_silu")
    return gate(node, hard_sigmoid(node))


# --- x log y -----------------------------------------------------------------------------------------


def _x_times(logarithm: np.ufunc) -> dict[str, Any]:
    """x log(y), and 0 where x is 0 and y is no NaN."""
    return recipe(
        do(logarithm, "{1}, {out}"),
        do(np.multiply, "{0}, {out}, {out}"),
        do(np.equal, "{0}, 0, {s0}"),
        do(np.isnan, "{1}, {s1}"),
        do(np.greater, "{s0}, {s1}, {s0}"),
        do(np.copyto, "{out}, 0, where={s0}"),
        scratch=("bool", "bool"),
    )._asdict()


xlogy_op = elementwise(
    "xlogy",
    **_x_times(np.log),
    rules=(
        lambda g, out, x, y: select(logical_or(not_equal(x, 0), greater(y, 0)), g * log(y)),
        lambda g, out, x, y: select(logical_or(not_equal(x, 0), not_equal(y, 0)), g * (x / y)),
    ),
    kinks=lambda x, y: logical_and(equal(x, 0), equal(y, 0)),
    symbolic="a * log(b)",
    public=False,
)
xlog1py_op = elementwise(
    "xlog1py",
    **_x_times(np.log1p),
    rules=(
        lambda g, out, x, y: select(logical_or(not_equal(x, 0), greater(y, -1)), g * log1p(y)),
        lambda g, out, x, y: select(logical_or(not_equal(x, 0), not_equal(y, -1)), g * (x / (1 + y))),
    ),
    kinks=lambda x, y: logical_and(equal(x, 0), equal(y, -1)),
    symbolic="a * log(1 + b)",
    public=False,
)


def _both_floating(x: Any, y: Any, where_: str) -> tuple[Node, Node]:
    a, b = lift((x, y), where_)
    return floating(a, where_), floating(b, where_)


@function(
    samples=ranges((-3, 3), (0.3, 3)),
    edges=(
        at(0.0, 0.0, value=0.0, adjoints=(0.0, 0.0), why="least norm, as for power(0, 0)"),
        at(0.0, 2.0, value=0.0, adjoints=(math.log(2.0), 0.0)),
        at(1.0, 0.0, value=-_INF, adjoints=(-_INF, _INF), why="the domain's end"),
        at(0.0, _NAN, value=_NAN, adjoints=(0.0, _NAN)),
        at(0.0, -1.0, value=0.0, adjoints=(0.0, 0.0), why="outside the domain"),
        at(_NAN, 1.0, value=_NAN, adjoints=(0.0, _NAN)),
        at(0.0, _NAN, value=_NAN, adjoints=(0.0, _NAN)),
    ),
)
def xlogy(x: Any, y: Any) -> Node:
    """x log(y), and 0 where x is 0."""
    return apply(xlogy_op, _both_floating(x, y, "xlogy"))


@function(
    samples=ranges((-3, 3), (-0.7, 3)),
    edges=(
        at(0.0, -1.0, value=0.0, adjoints=(0.0, 0.0), why="least norm, as for power(0, 0)"),
        at(1.0, -1.0, value=-_INF, adjoints=(-_INF, _INF), why="the domain's end"),
        at(1.0, 1e-20, value=1e-20, adjoints=(1e-20, 1.0)),
    ),
)
def xlog1py(x: Any, y: Any) -> Node:
    """x log(1 + y), and 0 where x is 0."""
    return apply(xlog1py_op, _both_floating(x, y, "xlog1py"))
