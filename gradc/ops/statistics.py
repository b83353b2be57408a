"""Variance and standard deviation, with and without NaN, and weighted averages.

The deviations from the mean are a node of their own, which the adjoint uses again. Their sum is zero, so the derivative
needs no term for the mean; differentiated once more they bring it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gradc.errors import ArgumentError, DTypeError, ShapeError, show
from gradc.ir import CONSTANT, Call, Kernel, Node, apply, as_array, constant, lift
from gradc.ops.declare import call, function, op
from gradc.ops.elementwise import select, where
from gradc.ops.norms import root_of_squares, slope_of_norm
from gradc.ops.reduction import (
    count_of,
    floating_wide,
    kept,
    masked,
    may_be_empty,
    mean,
    narrowed,
    operand,
    per_count,
    present,
    reduced_shape,
    reduction_samples,
    sum_,
    widened,
    with_nan,
)
from gradc.ops.samples import Sample, Samples, at, normal, sample
from gradc.types import Dim, TensorType, normalize_axes, normalize_axis, show_shape

__all__ = [
    "average",
    "corrcoef",
    "cov",
    "nanstd",
    "nanvar",
    "std",
    "var",
]

_INF, _NAN = math.inf, math.nan
_BIG = 2.0**600


def _infer(x: TensorType, d: TensorType, *counts: TensorType, axes: tuple[int, ...], keepdims: bool) -> TensorType:
    return TensorType(reduced_shape(x.shape, axes, keepdims), x.dtype)


def _squares_kernel(inputs: Sequence[TensorType], out: TensorType, attrs: dict[str, Any]) -> Kernel:
    total = Call(np.add.reduce, "add_reduce", f"{{s0}}, {attrs['axes']}, None, {{out}}, {attrs['keepdims']}")
    return Kernel((Call(np.square, "square", "{1}, {s0}"), total), scratch=(inputs[1],))


# the deviations `d` of `x` are an operand without a rule: the slope that `x` gets is right in all of them together
squares_about_mean = op(
    "squares_about_mean",
    infer=_infer,
    evaluate=lambda x, d, *, axes, keepdims: np.add.reduce(np.square(d), axis=axes, keepdims=keepdims),
    analytic=True,
    vjp=(lambda g, out, x, d, *, axes, keepdims: (kept(g, x, axes, keepdims) * 2) * d, None),
    jvp=(lambda t, out, x, d, *, axes, keepdims: sum_((t * 2) * d, axes, keepdims=keepdims), None),
    kernel=_squares_kernel,
    reduces=True,
    nonnegative=True,
)


def _deviation_slope(out: Node, x: Node, d: Node, divisor: Node, axes: tuple[int, ...], keepdims: bool) -> Node:
    """d / (divisor std): 0 where all entries are equal."""
    share = kept(divisor, x, axes, keepdims) if divisor.ndim else divisor
    return slope_of_norm(d, kept(out, x, axes, keepdims), axes) / share


def _deviation_jvp(
    t: Node, out: Node, x: Node, d: Node, divisor: Node, count: Node, *, axes: tuple[int, ...], keepdims: bool
) -> Node:
    return _of_several(count, sum_(t * _deviation_slope(out, x, d, divisor, axes, keepdims), axes, keepdims=keepdims))


def _of_several(count: Node, change: Node) -> Node:
    """`change` where there are several entries: the deviation of one is 0 wherever it is, which is no kink."""
    several = count.op is CONSTANT and bool((count.attr("value").array > 1).all())
    return change if several else select(call("greater", count, 1), change)


def _deviation(x: Any, d: Any, divisor: Any, count: Any, *, axes: tuple[int, ...], keepdims: bool) -> Any:
    out = np.empty(reduced_shape(d.shape, axes, keepdims), d.dtype)
    root_of_squares(d, out, np.empty(d.shape, d.dtype), axes, keepdims, False, divisor)
    return out


def _deviation_kernel(inputs: Sequence[TensorType], out: TensorType, attrs: dict[str, Any]) -> Kernel:
    arguments = f"{{1}}, {{out}}, {{s0}}, {attrs['axes']}, {attrs['keepdims']}, False, {{2}}"
    return Kernel((Call(root_of_squares, "root_of_squares", arguments),), scratch=(inputs[1],))


standard_deviation = op(
    "standard_deviation",
    infer=_infer,
    evaluate=_deviation,
    vjp=(
        lambda g, out, x, d, divisor, count, *, axes, keepdims: _of_several(
            kept(count, x, axes, keepdims) if count.ndim else count,
            kept(g, x, axes, keepdims) * _deviation_slope(out, x, d, divisor, axes, keepdims),
        ),
        None,
        None,
        None,
    ),
    jvp=(_deviation_jvp, None, None, None),
    kernel=_deviation_kernel,
    kinks=lambda g, out, *operands, **attrs: call("equal", out, 0),
    reduces=True,
    nonnegative=True,
)


def _freedom(count: Node, ddof: Any, spent: float) -> Node:
    """The count of entries less `ddof`, and `spent` where none is left."""
    left = count - ddof
    return where(left > 0, left, constant(spent, count.dtype))


def _mean(chosen: Node, axes: tuple[int, ...], mask: Any) -> Node:
    """The mean of the entries where `mask` holds; the others are 0 in `chosen`."""
    return sum_(chosen, axes, keepdims=True) / count_of(chosen, axes, True, mask, chosen.dtype)


class _Deviations(NamedTuple):
    """What variance and standard deviation are made of."""

    given: Node
    chosen: Node
    deviations: Node
    divisor: Node
    entries: Node
    axes: tuple[int, ...]
    keepdims: bool
    about_mean: bool

    @property
    def attrs(self) -> tuple[tuple[str, Any], ...]:
        return (("axes", self.axes), ("keepdims", self.keepdims))

    def variance(self) -> Node:
        if self.about_mean:
            total = apply(squares_about_mean, (self.chosen, self.deviations), self.attrs)
        else:
            total = sum_(call("square", self.deviations), self.axes, keepdims=self.keepdims)
        return narrowed(per_count(total, self.divisor, self.entries), self.given)

    def standard(self) -> Node:
        if not self.about_mean:
            return call("sqrt", self.variance())
        operands = (self.chosen, self.deviations, self.divisor, self.entries)
        return narrowed(apply(standard_deviation, operands, self.attrs), self.given)


def _deviations(given: Node, axis: Any, keepdims: Any, mask: Any, center: Any, freedom: tuple[Any, float]) -> _Deviations:
    """The deviations of the entries where `mask` holds from `center`, or from their mean; `freedom` is that of `_freedom`."""
    node = floating_wide(given, "var")
    axes, keepdims = normalize_axes(axis, node.ndim, "var"), bool(keepdims)
    chosen = masked(node, mask, 0)  # so that what was not chosen gets an adjoint of exactly zero
    about = _mean(chosen, axes, mask) if center is None else center
    count = count_of(node, axes, keepdims, mask, node.dtype)
    divisor = _freedom(count, *freedom)
    return _Deviations(given, chosen, masked(chosen - about, mask, 0), divisor, count, axes, keepdims, center is None)


def _floats(name: str, x: Any, dtype: Any, out: Any) -> Node:
    node = operand(x, name, dtype, out)
    if dtype is not None and node.dtype.kind != "f":
        raise DTypeError(f"{name}: dtype={node.dtype} has no fractions; cast the result with .astype instead")
    return node


def _ddof(name: str, ddof: Any, correction: Any) -> Any:
    """`ddof`, which NumPy also calls `correction`."""
    if correction is not None and ddof:
        raise ArgumentError(f"{name}: ddof={show(ddof)} and correction={show(correction)} mean the same; give one")
    return ddof if correction is None else correction


def _samples(nan: bool) -> Samples:
    def make() -> list[Sample]:
        made = [s for s in reduction_samples()() if s.arrays[0].size > 1 and s.attrs.get("axis") not in ((), 1)]
        single = [sample(1.5, gradient=False), sample(normal(2, 1), axis=1, gradient=False)]
        return [
            *(with_nan(lambda: made)() if nan else made),
            *single,
            sample(normal(2, 3), axis=1),
            sample(normal(5), ddof=1),
            sample(normal(2, 4), axis=1, ddof=1),
            sample(normal(2, 4), axis=0, ddof=0.5, keepdims=True),
            sample(1e8 + normal(6), gradient=False),
            sample(np.array([1, 2, 4]), gradient=False),
        ]

    return make


_VAR_EDGES = (
    at([2.0, 2.0, 2.0], value=0.0, adjoints=([0.0, 0.0, 0.0],), why="its minimum"),
    at([1e16, 1e16 + 2, 1e16 + 4], value=8 / 3, adjoints=([-4 / 3, 0.0, 4 / 3],), why="no cancellation at a large mean"),
    at([_BIG, -_BIG], value=_INF, adjoints=([_BIG, -_BIG],)),
)
_STD_EDGES = (
    at([2.0, 2.0, 2.0], value=0.0, adjoints=([0.0, 0.0, 0.0],), why="a kink: least norm"),
    at([_BIG, -_BIG], value=_BIG, adjoints=([0.5, -0.5],), why="no square overflows"),
    at([1 / _BIG, -1 / _BIG], value=1 / _BIG, adjoints=([0.5, -0.5],), why="no square underflows"),
    at([5.0], value=0.0, adjoints=([0.0],)),
)


@function(numpy=(np.var,), samples=_samples(False), edges=_VAR_EDGES)
def var(
    x: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    ddof: float = 0,
    keepdims: Any = False,
    *,
    where: Any = None,
    mean: Any = None,
    correction: float | None = None,
) -> Node:
    """`np.var`: the mean square deviation from the mean, its divisor less `ddof`, over `axis`; in two passes.

    Args:
        mean: a mean to take instead, of a shape that broadcasts against `x`; derivatives flow through it as it is.
        correction: another name for `ddof`.

    Raises:
        ArgumentError: `ddof` and `correction` are both given.
    """
    node = _floats("var", x, dtype, out)
    freedom = (_ddof("var", ddof, correction), 0.0)
    return _deviations(node, axis, keepdims, where, mean, freedom).variance()


@function(numpy=(np.std,), samples=_samples(False), edges=_STD_EDGES)
def std(
    x: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    ddof: float = 0,
    keepdims: Any = False,
    *,
    where: Any = None,
    mean: Any = None,
    correction: float | None = None,
) -> Node:
    """`np.std`: the root of `var`; its derivative is 0 where all entries are equal. No square overflows on the way."""
    node = _floats("std", x, dtype, out)
    freedom = (_ddof("std", ddof, correction), 0.0)
    return _deviations(node, axis, keepdims, where, mean, freedom).standard()


@function(
    numpy=(np.nanvar,), samples=_samples(True), edges=(at([_NAN, 1.0, 3.0], value=1.0, adjoints=([0.0, -1.0, 1.0],)), *_VAR_EDGES)
)
def nanvar(
    x: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    ddof: float = 0,
    keepdims: Any = False,
    *,
    where: Any = None,
    mean: Any = None,
    correction: float | None = None,
) -> Node:
    """`np.nanvar`: as `var`, of the entries that are not NaN; NaN where none is left."""
    node = _floats("nanvar", x, dtype, out)
    freedom = (_ddof("nanvar", ddof, correction), _NAN)
    return _deviations(node, axis, keepdims, present(node, where), mean, freedom).variance()


@function(
    numpy=(np.nanstd,),
    samples=_samples(True),
    edges=(at([_NAN, 1.0, 3.0], value=1.0, adjoints=([0.0, -0.5, 0.5],)), at([_NAN], value=_NAN, adjoints=([0.0],)), *_STD_EDGES),
)
def nanstd(
    x: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    ddof: float = 0,
    keepdims: Any = False,
    *,
    where: Any = None,
    mean: Any = None,
    correction: float | None = None,
) -> Node:
    """`np.nanstd`: as `std`, of the entries that are not NaN; NaN where none is left."""
    node = _floats("nanstd", x, dtype, out)
    freedom = (_ddof("nanstd", ddof, correction), _NAN)
    return _deviations(node, axis, keepdims, present(node, where), mean, freedom).standard()


# --- averages ------------------------------------------------------------------------------------------


def _aligned(weights: Node, node: Node, axis: Any) -> Node:
    """Weights in the shape of `node`, or of its reduced axes only, in an order that broadcasts against `node`."""
    if weights.shape == node.shape:
        return weights
    asked = axis if isinstance(axis, (tuple, list)) else () if axis is None else (axis,)
    axes = [normalize_axis(a, node.ndim, "average") for a in asked]
    if weights.shape != tuple(node.shape[a] for a in axes):
        raise ShapeError(
            f"average: weights {show_shape(weights.shape)} have neither the shape {show_shape(node.shape)} nor that over {axis=}"
        )
    ordered = call("transpose", weights, [int(k) for k in np.argsort(axes)])
    return call("reshape", ordered, tuple(s if k in axes else 1 for k, s in enumerate(node.shape)))


@function(
    numpy=(np.average,),
    samples=lambda: [
        *reduction_samples(empty=False)(),
        sample(normal(4), weights=np.array([1.0, 2.0, 3.0, 0.5])),
        sample(normal(2, 3), weights=np.array([1.0, 2.0, 3.0]), axis=1),
        sample(normal(2, 3), weights=np.array([1.0, 2.0]), axis=-2, keepdims=True),
        sample(normal(2, 3), weights=np.arange(1.0, 7.0).reshape(2, 3)),
        sample(normal(2, 3), weights=np.arange(1.0, 7.0).reshape(2, 3), axis=0),
        sample(normal(2, 3, 4), weights=np.arange(1.0, 9.0).reshape(4, 2), axis=(2, 0)),
    ],
    edges=(at([1.0, 3.0], value=2.5, adjoints=([0.25, 0.75],), weights=(1.0, 3.0)),),
)
def average(x: Any, axis: Any = None, weights: Any = None, returned: bool = False, *, keepdims: Any = False) -> Any:
    """`np.average`: the mean over `axis`, weighted; a node of weights gets derivatives too. Weights that sum to 0 give NaN or
    infinities, where NumPy raises. With `returned`, also the sum of the weights, in the shape of the result.
    """
    (node,) = lift((x,), "average")
    if weights is None:
        result = mean(node, axis, keepdims=keepdims)
        axes = normalize_axes(axis, node.ndim, "average")
        total = count_of(node, axes, False, None, result.dtype)
    else:
        (given,) = lift((as_array(weights, "average") if isinstance(weights, (tuple, list)) else weights,), "average")
        dtypes = (node.dtype, given.dtype) if node.dtype.kind == "f" else (node.dtype, given.dtype, np.dtype("float64"))
        dtype = np.result_type(*dtypes)
        factors = widened(_aligned(given.astype(dtype), node, axis))
        total = sum_(factors, axis, keepdims=keepdims)
        result = (sum_(node.astype(factors.dtype) * factors, axis, keepdims=keepdims) / total).astype(dtype)
        total = total.astype(dtype)
    return (result, call("broadcast_to", total, result.shape)) if returned else result


# --- covariance ------------------------------------------------------------------------------------------


def _covariance_samples() -> list[Sample]:
    return [
        sample(normal(3, 5)),
        sample(normal(6)),
        sample(normal(5, 3), rowvar=False),
        sample(normal(2, 4), bias=True),
        sample(normal(2, 4), ddof=0),
        sample(normal(1, 4), ddof=2),
        *(sample(normal(2, 4, seed=k), normal(1, 4, seed=k + 10)) for k in range(3)),
        sample(normal(4), normal(4, seed=1)),
        *(sample(normal(n, 7, seed=n)) for n in (2, 4)),
        sample(np.asfortranarray(normal(3, 4))),
        sample(normal(4, 3).T),
        sample(normal(3, 8)[::-1, ::2]),
    ]


def _variables(m: Any, y: Any, rowvar: bool, dtype: Any) -> Node:
    """The observations as a matrix, a variable a row, in `dtype` or in float64 as NumPy has them."""
    nodes = [operand(given, "cov") for given in ((m,) if y is None else (m, y))]
    target = np.result_type("float64", *(node.dtype for node in nodes)) if dtype is None else dtype
    rows = []
    for node in nodes:
        if node.ndim > 2:
            raise ArgumentError(f"cov: observations are a vector or a matrix, got {show_shape(node.shape)}")
        row = call("reshape", node, (1, *node.shape)) if node.ndim < 2 else node if rowvar else call("transpose", node)
        rows.append(row.astype(target))
    return rows[0] if len(rows) == 1 else call("concatenate", tuple(rows))


@function(numpy=(np.cov,), samples=_covariance_samples, edges=(at([2.0, 2.0], value=0.0, adjoints=([0.0, 0.0],)),))
def cov(m: Any, y: Any = None, rowvar: bool = True, bias: bool = False, ddof: float | None = None, *, dtype: Any = None) -> Node:
    """`np.cov`: the covariances of the rows of `m`, and of `y`; shape (variables, variables), 0-d for one variable; NaN for
    variables that were never observed.

    Raises:
        ArgumentError: the observations have more than two axes.
    """
    x = _variables(m, y, rowvar, dtype)
    wide = widened(x)
    deviations = wide - mean(wide, axis=1, keepdims=True)
    left = call("dimension", x.shape[1], wide.dtype) - (ddof if ddof is not None else 0 if bias else 1)
    products = call("matmul", deviations, call("transpose", deviations))
    found = products * (1 / call("maximum", left, 0))
    return call("squeeze", _nan_of_nothing(found, x).astype(x.dtype))


def _nan_of_nothing(found: Node, x: Node) -> Node:
    """`found`, and NaN, which does not change, where the rows of `x` have no entries."""
    if not x.ndim or not may_be_empty(x, (x.ndim - 1,)):
        return found
    return where(call("equal", call("dimension", x.shape[-1]), 0), _NAN, found)


@function(
    numpy=(np.corrcoef,),
    samples=lambda: [s for s in _covariance_samples() if s.arrays[0].shape != (6,) and not s.attrs.keys() & {"bias", "ddof"}],
)
def corrcoef(x: Any, y: Any = None, rowvar: bool = True, *, dtype: Any = None) -> Node:
    """`np.corrcoef`: the correlations of the rows of `x`, and of `y`; rounding may not take them beyond [-1, 1]."""
    observed = _variables(x, y, rowvar, dtype)
    c = cov(observed, dtype=dtype)
    if c.ndim == 0:
        return _nan_of_nothing(c / c, observed)
    if isinstance(c.shape[0], Dim):
        raise ShapeError(f"corrcoef: the number of variables is a number, got {c.shape[0]}; give that dimension one")
    size = call("sqrt", call("ravel", c)[:: c.shape[0] + 1])
    return _nan_of_nothing(call("clip", c / call("expand_dims", size, 1) / size, -1, 1), observed)
