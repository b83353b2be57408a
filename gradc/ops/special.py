"""Special functions through scipy, the optional extra: erf, erfc, ndtr, log_ndtr, lgamma, digamma, polygamma.

scipy is imported when a node of such an op is built, never with gradc.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from gradc.errors import ArgumentError, UnsupportedError, show
from gradc.ir import Call, Kernel, Node, Op, apply
from gradc.matching import negated, spell
from gradc.ops.declare import elementwise, function
from gradc.ops.elementwise import clip, floating, log
from gradc.ops.recipes import do, recipe
from gradc.ops.samples import cases, normal, points, reals, sample
from gradc.types import TensorType, as_number

__all__ = [
    "digamma",
    "erf",
    "erfc",
    "lgamma",
    "log_ndtr",
    "ndtr",
    "polygamma",
]

_INF, _NAN = math.inf, math.nan
_FLAT = 100  # exp(-x * x) is 0 beyond, in every dtype


def _scipy(op: str, name: str) -> Any:
    """`scipy.special.<name>`, for `op`.

    Raises:
        UnsupportedError: scipy is not installed.
    """
    try:
        special = importlib.import_module("scipy.special")
    except ImportError:
        raise UnsupportedError(f"{op} needs scipy, which is not installed: pip install scipy") from None
    return getattr(special, name)


def _special(name: str, scipy_name: str, symbolic: str, rule: Callable[..., Node], odd: bool = False) -> Op:
    """An op that is a ufunc of scipy.special, in the dtype of its operand."""

    def infer(x: TensorType) -> TensorType:
        _scipy(name, scipy_name)
        return x

    def evaluate(x: Any) -> Any:
        return np.asarray(_scipy(name, scipy_name)(x)).astype(x.dtype, copy=False)

    def kernel(inputs: Sequence[TensorType], out: TensorType, attrs: dict[str, Any]) -> Kernel:
        return Kernel((Call(_scipy(name, scipy_name), name, "{0}, {out}"),), inplace=(0,))

    return elementwise(
        name,
        infer=infer,
        evaluate=evaluate,
        kernel=kernel,
        rules=(rule,),
        symbolic=symbolic,
        odd=odd,
        keeps_sign=odd,
        public=False,
    )


# --- the error function and the normal distribution ----------------------------------------------------

bell: Op = elementwise(
    "bell",
    **recipe(do(np.square, "{0}, {out}"), do(np.negative, "{out}, {out}"), do(np.exp, "{out}, {out}"), inplace=(0,))._asdict(),
    rules=(lambda g, out, x: (g * out) * (clip(x, -_FLAT, _FLAT) * -2),),
    even=True,
    nonnegative=True,
    symbolic="exp(-a**2)",
    assuming=f"(a > -{_FLAT}) & (a < {_FLAT})",
    public=False,
)
normal_density: Op = elementwise(
    "normal_density",
    **recipe(
        do(np.square, "{0}, {out}"),
        do(np.multiply, "{out}, -0.5, {out}"),
        do(np.exp, "{out}, {out}"),
        do(np.multiply, f"{{out}}, {1 / math.sqrt(2 * math.pi)!r}, {{out}}"),
        inplace=(0,),
    )._asdict(),
    rules=(lambda g, out, x: -(g * out) * clip(x, -_FLAT, _FLAT),),
    even=True,
    nonnegative=True,
    symbolic="exp(-a**2 / 2) / sqrt(2 * pi)",
    assuming=f"(a > -{_FLAT}) & (a < {_FLAT})",
    public=False,
)
_TWO_OVER_ROOT_PI = 2 / math.sqrt(math.pi)
erf_op = _special("erf", "erf", "erf(a)", lambda g, out, x: (g * _TWO_OVER_ROOT_PI) * bell(x), odd=True)
erfc_op = _special("erfc", "erfc", "erfc(a)", lambda g, out, x: (g * -_TWO_OVER_ROOT_PI) * bell(x))
ndtr_op = _special("ndtr", "ndtr", "erfc(-a / sqrt(2)) / 2", lambda g, out, x: g * normal_density(x))


@function(
    samples=reals(-3, 3),
    edges=points((0.0, 0.0, _TWO_OVER_ROOT_PI), (_INF, 1.0, 0.0), (-_INF, -1.0, 0.0), (1e200, 1.0, 0.0), (_NAN, _NAN, _NAN)),
    requires="scipy",
)
def erf(x: Any) -> Node:
    """The error function. Needs the extra `scipy`."""
    return apply(erf_op, (floating(x, "erf"),))


@function(
    samples=reals(-3, 3),
    edges=points((0.0, 1.0, -_TWO_OVER_ROOT_PI), (_INF, 0.0, 0.0), (-_INF, 2.0, 0.0), (_NAN, _NAN, _NAN)),
    requires="scipy",
)
def erfc(x: Any) -> Node:
    """1 - erf(x), with every digit in the upper tail. Needs the extra `scipy`."""
    return apply(erfc_op, (floating(x, "erfc"),))


@function(
    samples=reals(-3, 3),
    edges=points((0.0, 0.5, 1 / math.sqrt(2 * math.pi)), (_INF, 1.0, 0.0), (-_INF, 0.0, 0.0), (_NAN, _NAN, _NAN)),
    requires="scipy",
)
def ndtr(x: Any) -> Node:
    """The distribution function of the standard normal distribution. Needs the extra `scipy`."""
    return apply(ndtr_op, (floating(x, "ndtr"),))


# --- the logarithm of the normal distribution function -------------------------------------------------

_FAR = -3.0
_QUADRATURE = 80


@lru_cache(maxsize=1)
def _laguerre() -> Any:
    return np.polynomial.laguerre.laggauss(_QUADRATURE)


def _log_ndtr_far(x: Any, order: int) -> Any:
    """The derivative of that order for x <= -3: that of log ndtr(-z) = -z**2 / 2 + log(integral of exp(-z t - t**2 / 2)) + const.

    Derivatives of the logarithm of such an integral are the cumulants of t, whose moments Gauss and Laguerre's quadrature gives
    to all digits in t = s / z; nothing cancels, however far out.
    """
    s, weights = _laguerre()
    z = -x[..., None]
    density = weights * np.exp(-0.5 * np.square(s / z))
    density /= density.sum(-1, keepdims=True)
    moments = [(density * s**n).sum(-1) for n in range(order + 1)]
    cumulants = [np.zeros_like(x)]
    for n in range(1, order + 1):
        cumulants.append(moments[n] - sum(math.comb(n - 1, m - 1) * cumulants[m] * moments[n - m] for m in range(1, n)))
    found = cumulants[order] / z[..., 0] ** order
    return found + (-x if order == 1 else -1.0 if order == 2 else 0.0)


def _log_ndtr_near(x: Any, order: int) -> Any:
    """The derivative of that order for x > -3: h = exp(-x**2 / 2) / (sqrt(2 pi) ndtr(x)), h' = -h (x + h), by Leibniz' rule."""
    with np.errstate(over="ignore"):
        slopes = [math.sqrt(2 / math.pi) / _scipy("log_ndtr", "erfcx")(x * -math.sqrt(0.5))]
    for n in range(order - 1):
        squares = sum(math.comb(n, k) * slopes[k] * slopes[n - k] for k in range(n + 1))
        slopes.append(-(x * slopes[n] + (n * slopes[n - 1] if n else 0.0) + squares))
    return slopes[order - 1]


def _log_ndtr(x: Any, *, order: int) -> Any:
    given = np.asarray(x)
    x = given.astype(np.float64)
    if order == 0:
        return np.asarray(_scipy("log_ndtr", "log_ndtr")(x)).astype(given.dtype)
    far = x <= _FAR
    near = _log_ndtr_near(np.clip(x, _FAR, 1e3), order)
    found = np.where(far, _log_ndtr_far(np.where(far, x, _FAR), order), near) if far.any() else near
    return np.where(np.isnan(x), x, found).astype(given.dtype)


def _infer_log_ndtr(x: TensorType, *, order: int) -> TensorType:
    _scipy("log_ndtr", "log_ndtr")
    return x


log_ndtr_op: Op = elementwise(
    "log_ndtr",
    infer=_infer_log_ndtr,
    evaluate=_log_ndtr,
    rules=(lambda g, out, x, *, order: g * apply(log_ndtr_op, (x,), (("order", order + 1),)),),
    symbolic="log(erfc(-a / sqrt(2)) / 2).diff(a, {order})",
    public=False,
)


@function(
    samples=reals(-8, 4),
    edges=points(
        (0.0, -math.log(2), 2 / math.sqrt(2 * math.pi)),
        (_INF, 0.0, 0.0),
        (-_INF, -_INF, _INF),
        (_NAN, _NAN, _NAN),
    ),
    requires="scipy",
)
def log_ndtr(x: Any) -> Node:
    """log(ndtr(x)), with every digit in both tails, and so are its derivatives of all orders. Needs the extra `scipy`."""
    return apply(log_ndtr_op, (floating(x, "log_ndtr"),), (("order", 0),))


_ROOT_2, _LOG_2 = math.sqrt(2), math.log(2)

spell("log_ndtr", log_ndtr, lambda x: log(ndtr(x)), beside=ndtr_op)
spell("log_ndtr", lambda x: log_ndtr(negated(x)), lambda x: log(1 - ndtr(x)), beside=ndtr_op)
spell("log_ndtr", lambda x: log_ndtr(x * -_ROOT_2) + _LOG_2, lambda x: log(erfc(x)), beside=erfc_op)
spell("log_ndtr", lambda x: log_ndtr(x * _ROOT_2) + _LOG_2, lambda x: log(1 + erf(x)), beside=erf_op)
spell("log_ndtr", lambda x: log_ndtr(x * -_ROOT_2) + _LOG_2, lambda x: log(1 - erf(x)), beside=erf_op)


# --- the gamma function --------------------------------------------------------------------------------


def _infer_polygamma(x: TensorType, *, order: int) -> TensorType:
    _scipy("polygamma", "polygamma")
    return x


def _polygamma(x: Any, *, order: int) -> Any:
    x = np.asarray(x)
    if order == 0:
        return np.asarray(_scipy("digamma", "psi")(x)).astype(x.dtype, copy=False)
    value = np.asarray(_scipy("polygamma", "polygamma")(order, np.where(x < -16, 1 - x, x) if order == 1 else x))
    if order == 1 and (x < -16).any():  # far left scipy's sum is long: reflect, with pi x reduced first
        reflected = np.square(np.pi / np.sin(np.pi * (x - np.rint(x)))) - value
        value = np.where(x < -16, reflected, value)
    return value.astype(x.dtype, copy=False)


polygamma_op: Op = elementwise(
    "polygamma",
    infer=_infer_polygamma,
    evaluate=_polygamma,
    rules=(lambda g, out, x, *, order: g * apply(polygamma_op, (x,), (("order", order + 1),)),),
    symbolic="polygamma({order}, a)",
    public=False,
)
lgamma_op = _special("lgamma", "gammaln", "loggamma(a)", lambda g, out, x: g * apply(polygamma_op, (x,), (("order", 0),)))


@function(
    samples=cases(
        lambda: sample(np.abs(normal(7)) + 0.3),
        lambda: sample(np.abs(normal(2, 3)) + 0.3),
        lambda: sample(np.array([-0.5, -1.3, -2.7])),
        lambda: sample(2.5),
        lambda: sample(normal(0, 3)),
    ),
    edges=points((0.0, _INF, None, "a pole"), (_INF, _INF, _INF), (_NAN, _NAN, _NAN), (-1.0, _INF, None, "a pole")),
    requires="scipy",
)
def lgamma(x: Any) -> Node:
    """log |gamma(x)|. Needs the extra `scipy`."""
    return apply(lgamma_op, (floating(x, "lgamma"),))


@function(
    samples=cases(
        lambda: sample(np.abs(normal(7)) + 0.3),
        lambda: sample(np.abs(normal(2, 3)) + 0.3),
        lambda: sample(np.array([-0.5, -1.3, -2.7])),
        lambda: sample(2.5),
        lambda: sample(normal(0, 3)),
    ),
    edges=points(
        (0.0, -_INF, _INF, "a pole"), (_INF, _INF, 0.0), (_NAN, _NAN, _NAN), (-1.0, _NAN, _INF, "a pole without a sign")
    ),
    requires="scipy",
)
def digamma(x: Any) -> Node:
    """The derivative of `lgamma`. Needs the extra `scipy`."""
    return polygamma(0, x)


@function(
    samples=cases(
        lambda: sample(1, np.abs(normal(7)) + 0.3, fixed=(0,)),
        lambda: sample(2, np.abs(normal(2, 3)) + 0.3, fixed=(0,)),
        lambda: sample(0, 1.5, fixed=(0,)),
    ),
    requires="scipy",
)
def polygamma(n: Any, x: Any) -> Node:
    """The n-th derivative of `digamma`, n = 0, 1, ... a Python integer. Needs the extra `scipy`.

    Raises:
        ArgumentError: n is no non-negative integer.
    """
    number = as_number(n, "polygamma: the order")
    order = int(number) if number.is_integer() else -1
    if order < 0:
        raise ArgumentError(f"polygamma: the order is a non-negative integer, got {show(n)}")
    return apply(polygamma_op, (floating(x, "polygamma"),), (("order", order),))
