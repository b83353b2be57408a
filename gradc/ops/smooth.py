"""Smooth functions that people write with kinked ops, as ops of their own: closed under differentiation, right at the kink.

A function of a distance r = sqrt(s) that is smooth is one of s, which is smooth itself: a sum of squares. The derivatives of
these ops are by s, and never divide by r more often than a factor of the slope of s, which is 0 where s is, makes up for.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradc.ir import Node, Op, constant
from gradc.ops.activations import sigmoid, sigmoid_slope
from gradc.ops.declare import elementwise
from gradc.ops.elementwise import abs_, equal, exp, less, logical_and, tanh, where
from gradc.ops.recipes import do, recipe

# --- powers of a root --------------------------------------------------------------------------------


def _root_power_into(s: Any, p: Any, out: Any) -> None:
    """Into `out`: s**(p / 2); where s is 0 and p negative, 0 as long as two slopes of s make up for it, else NaN."""
    np.multiply(p, 0.5, out)
    np.power(s, out, out)
    lost = np.isinf(out) & (s == 0)
    if lost.any():
        np.copyto(out, np.where(np.asarray(p) > -2, 0, math.nan), "unsafe", where=lost)


root_power: Op = elementwise(
    "root_power",
    **recipe(do(_root_power_into, "{0}, {1}, {out}"))._asdict(),  # r**p, where r is sqrt(s) and p a constant
    rules=(lambda g, out, s, p: (g * (p * 0.5)) * root_power(s, p - 2), None),
    symbolic="a**(b / 2)",
    assuming="a > 0",
    kinks=lambda s, p: logical_and(equal(s, 0), less(p, 0)),
    nonnegative=True,
    public=False,
)

# --- Matérn kernels ----------------------------------------------------------------------------------
# Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), section 4.2; t = c sqrt(s)


def _matern(name: str, symbolic: str, factor: Any, slope_s: Any, slope_c: Any) -> Op:
    def fill(s: Any, c: Any, out: Any) -> None:
        t = np.sqrt(s) * c
        far = t > 800  # exp(-t) is 0 there, and the polynomial may be infinite
        np.multiply(factor(np.where(far, 0, t)), np.exp(-t), out)

    fill.__name__ = name
    return elementwise(
        name,
        **recipe(do(fill, "{0}, {1}, {out}"))._asdict(),
        rules=(lambda g, out, s, c: g * slope_s(s, c), lambda g, out, s, c: g * slope_c(s, c)),
        symbolic=symbolic,
        assuming="(a > 0) & (b > 0)",
        public=False,
    )


matern_1: Op = _matern(
    "matern_1",
    "exp(-b * sqrt(a))",
    np.ones_like,
    lambda s, c: (c * -0.5) * (root_power(s, -1.0) * matern_1(s, c)),
    lambda s, c: -(root_power(s, 1.0) * matern_1(s, c)),
)
matern_3: Op = _matern(
    "matern_3",
    "(1 + b * sqrt(a)) * exp(-b * sqrt(a))",
    lambda t: 1 + t,
    lambda s, c: (c * c * -0.5) * matern_1(s, c),
    lambda s, c: -(c * s) * matern_1(s, c),
)
matern_5: Op = _matern(
    "matern_5",
    "(1 + b * sqrt(a) + b**2 * a / 3) * exp(-b * sqrt(a))",
    lambda t: 1 + t + np.square(t) / 3,
    lambda s, c: (c * c * (-1 / 6)) * matern_3(s, c),
    lambda s, c: (c * s * (-1 / 3)) * matern_3(s, c),
)

# --- logarithms of exponentials of a distance --------------------------------------------------------


def _minus_sign_times_sigmoid(x: Any, out: Any) -> None:
    """-sign(x) sigmoid(-|x|) into `out`."""
    np.abs(x, out)
    np.exp(out, out)
    np.add(out, 1, out)
    np.divide(-np.sign(x), out, out)


tail_slope: Op = elementwise(
    "tail_slope",
    **recipe(do(_minus_sign_times_sigmoid, "{0}, {out}"))._asdict(),
    rules=(lambda g, out, x: g * sigmoid_slope(x, sigmoid(x)),),  # on both sides of 0, and so at 0
    symbolic="-sign(a) / (1 + exp(Abs(a)))",
    public=False,
)
softplus_tail: Op = elementwise(
    "softplus_tail",
    **recipe(
        do(np.absolute, "{0}, {out}"),
        do(np.negative, "{out}, {out}"),
        do(np.exp, "{out}, {out}"),
        do(np.log1p, "{out}, {out}"),
        inplace=(0,),
    )._asdict(),  # log(1 + exp(-|x|)): what softplus has beyond the positive part of x; 0 is the middle of its slopes at 0
    partials=(lambda x, out: tail_slope(x),),
    symbolic="log(1 + exp(-Abs(a)))",
    kinks=lambda x: equal(x, 0),
    even=True,
    nonnegative=True,
    public=False,
)


def _log_cosh_into(x: Any, out: Any) -> None:
    """|x| - log 2 + log(1 + exp(-2 |x|)) into `out`; beside 0, where that cancels, log(1 + 2 sinh(x / 2)**2)."""
    size = np.abs(x)
    far = size + np.log1p(np.exp(-2 * size)) - math.log(2)
    near = np.log1p(2 * np.square(np.sinh(np.minimum(size, 1) / 2)))
    np.copyto(out, np.where(size < 1, near, far))


log_cosh: Op = elementwise(
    "log_cosh",
    **recipe(do(_log_cosh_into, "{0}, {out}"))._asdict(),
    partials=(lambda x, out: tanh(x),),
    symbolic="log(cosh(a))",
    even=True,
    nonnegative=True,
    public=False,
)


# --- the sign of x on a function of |x| ----------------------------------------------------------------

signed_log1p: Op = elementwise(
    "signed_log1p",
    **recipe(do(np.absolute, "{0}, {out}"), do(np.log1p, "{out}, {out}"), do(np.copysign, "{out}, {0}, {out}"))._asdict(),
    rules=(lambda g, out, x: g / (1 + abs_(x)),),
    symbolic="sign(a) * log(1 + Abs(a))",
    public=False,
)
signed_expm1: Op = elementwise(
    "signed_expm1",
    **recipe(do(np.absolute, "{0}, {out}"), do(np.expm1, "{out}, {out}"), do(np.copysign, "{out}, {0}, {out}"))._asdict(),
    rules=(lambda g, out, x: g * exp(abs_(x)),),
    symbolic="sign(a) * (exp(Abs(a)) - 1)",
    public=False,
)

# --- domains -----------------------------------------------------------------------------------------


def defined(u: Node) -> Node:
    """`u` where it has a square root; else NaN, with derivatives that are NaN: a selection would say 0."""
    return u * where(u >= 0, constant(1, u.dtype), constant(math.nan, u.dtype))
