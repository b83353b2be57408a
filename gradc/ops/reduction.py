"""Reductions over axes: sum, mean, max, min, ptp, any, all, counts, positions, logsumexp, and those that ignore NaN.

Axes are None for all, an integer, or a tuple; `axis=()` reduces nothing. Ties of extrema share the adjoint equally, and
a slice whose extremum is NaN passes none on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from gradc.errors import ArgumentError, DTypeError, ShapeError, UnsupportedError
from gradc.ir import CONSTANT, Call, Kernel, Node, Op, apply, constant, lift, user_origin
from gradc.ops.declare import call, elementwise, function, linear, op
from gradc.ops.elementwise import exp, floating, isnan, log, logical_not, not_equal, select, stop_gradient, where
from gradc.ops.recipes import do, recipe
from gradc.ops.samples import Sample, Samples, at, normal, sample, uniform
from gradc.ops.shaping import dimension_op
from gradc.types import Dim, DType, Shape, TensorType, as_dtype, broadcast_shapes, normalize_axes, normalize_axis, size_of

__all__ = [
    "argmax",
    "argmin",
    "count_nonzero",
    "logsumexp",
    "mean",
    "nanmax",
    "nanmean",
    "nanmin",
    "nansum",
    "ptp",
]

_INF, _NAN = math.inf, math.nan

# --- what all reductions share -------------------------------------------------------------------------


def reduced_shape(shape: Shape, axes: tuple[int, ...], keepdims: bool) -> Shape:
    """`shape` after a reduction over `axes`."""
    if keepdims:
        return tuple(1 if k in axes else s for k, s in enumerate(shape))
    return tuple(s for k, s in enumerate(shape) if k not in axes)


def kept(reduced: Node, like: Node, axes: tuple[int, ...], keepdims: bool) -> Node:
    """A reduction's result, or its adjoint, with axes of length 1 where `like` was reduced: it broadcasts against `like`."""
    return reduced if keepdims else call("reshape", reduced, reduced_shape(like.shape, axes, True))


def spread(reduced: Node, like: Node, axes: tuple[int, ...], keepdims: bool) -> Node:
    """A reduction's result, or its adjoint, broadcast back to the shape of its operand."""
    return call("broadcast_to", kept(reduced, like, axes, keepdims), like.shape)


WIDE = np.dtype("float32")
"""In what float16 is accumulated: by itself it counts to 2048 only, and overflows at 65520."""


def is_half(dtype: DType) -> bool:
    """True for float16."""
    return dtype.kind == "f" and dtype.itemsize == 2


def reduce_kernel(ufunc: np.ufunc) -> Callable[..., Kernel]:
    """The kernel of `ufunc.reduce` into a buffer."""

    def kernel(inputs: Sequence[TensorType], out: TensorType, attrs: dict[str, Any]) -> Kernel:
        arguments = f"{{0}}, {attrs['axes']}, None, {{out}}, {attrs['keepdims']}"
        return Kernel((Call(ufunc.reduce, f"{ufunc.__name__}_reduce", arguments),))

    return kernel


def infer_as(ufunc: np.ufunc) -> Callable[..., TensorType]:
    """The type rule of `ufunc.reduce`, which widens small integers for some ufuncs."""

    def infer(x: TensorType, *, axes: tuple[int, ...], keepdims: bool) -> TensorType:
        dtype = ufunc.reduce(np.zeros(1, x.dtype)).dtype
        return TensorType(reduced_shape(x.shape, axes, keepdims), as_dtype(dtype))

    return infer


def operand(x: Any, where_: str, dtype: Any = None, out: Any = None) -> Node:
    """`x` as a node, cast to `dtype` where one is asked for.

    Raises:
        UnsupportedError: `out` is given: a node is never written into.
    """
    if out is not None:
        raise UnsupportedError(
            f"{where_}: out= on a node: nodes are immutable; use the result\n  at {user_origin().location}\n"
            "  to run into arrays of your own, call an executable with out={name: array}"
        )
    (node,) = lift((x,), where_)
    return node if dtype is None else node.astype(dtype)


def reduce_node(op_: Op, node: Node, axis: Any, keepdims: Any) -> Node:
    """The node of a reduction over `axis` as NumPy reads it."""
    axes = normalize_axes(axis, node.ndim, op_.name)
    return apply(op_, (node,), (("axes", axes), ("keepdims", bool(keepdims))))


def masked(node: Node, mask: Any, fill: Any) -> Node:
    """`node` with `fill`, which the reduction does not notice, where `mask` does not hold."""
    return node if mask is None or mask is True else where(np.asarray(mask) if isinstance(mask, bool) else mask, node, fill)


def floating_wide(node: Node, where_: str) -> Node:
    """`node` in the dtype in which NumPy takes means: integers in float64, float16 in float32."""
    if node.dtype.kind != "f":
        return node.astype("float64")
    return widened(node)


def initial_of(initial: Any, result: Node) -> Node:
    """What a reduction starts from, in the dtype of its result, as NumPy casts it.

    Raises:
        DTypeError, ArgumentError: that dtype has no such number.
    """
    if isinstance(initial, (Node, Dim)):
        return lift((initial,), "initial=")[0].astype(result.dtype)
    return constant(initial, result.dtype)


def widened(node: Node) -> Node:
    """`node`, where it is float16 in `WIDE`: for what is made of sums that may overflow though the result does not."""
    return node.astype(WIDE) if is_half(node.dtype) else node


def narrowed(result: Node, node: Node) -> Node:
    """What was computed from `node` in a wider dtype, in the one that NumPy gives it: that of `node`, where it is floating."""
    return result.astype(node.dtype) if node.dtype.kind == "f" else result


def count_of(node: Node, axes: tuple[int, ...], keepdims: bool, mask: Any, dtype: DType) -> Node:
    """How many entries a mean over `axes` takes, of those where `mask` holds."""
    if mask is None or mask is True:
        return call("dimension", size_of(tuple(node.shape[a] for a in axes)), dtype)
    (chosen,) = lift((np.asarray(mask) if isinstance(mask, bool) else mask,), "where=")
    return sum_(call("broadcast_to", chosen, node.shape), axes, keepdims=keepdims).astype(dtype)


# total / divisor. Of no entries, `count` = 0, it is NaN, and does not change with them: forward mode says 0, as reverse mode does
over_count = op(
    "over_count",
    infer=lambda total, divisor, count: TensorType(broadcast_shapes(total.shape, divisor.shape, count.shape), total.dtype),
    evaluate=lambda total, divisor, count: np.divide(total, divisor),
    vjp=(lambda g, out, total, divisor, count: g / divisor, None, None),
    jvp=(lambda t, out, total, divisor, count: select(not_equal(count, 0), t / divisor), None, None),
    kernel=lambda inputs, out, attrs: Kernel((do(np.divide, "{0}, {1}, {out}"),), inplace=(0, 1)),
    elementwise=True,
    symbolic="a / b",
)


def is_positive(count: Node) -> bool:
    """True for a number of entries that is known, and not 0."""
    return count.op is CONSTANT and bool(count.attr("value").array.all())


def per_count(total: Node, divisor: Node, count: Node) -> Node:
    """`total / divisor`, where `count` says of how many entries: a plain quotient unless it may be 0 by a mask, or is."""
    if is_positive(count) or count.op is dimension_op:
        return total / divisor
    return apply(over_count, (total, divisor, count))


def joined_last(x: Node, axes: tuple[int, ...]) -> Node:
    """`x` with `axes` joined, in C order, into one last axis."""
    rest = tuple(k for k in range(x.ndim) if k not in axes)
    last = call("transpose", x, (*rest, *axes))
    return call("reshape", last, (*last.shape[: len(rest)], size_of(last.shape[len(rest) :])))


def split_last(flat: Node, like: Node, axes: tuple[int, ...]) -> Node:
    """The inverse of `joined_last`: back to the shape of `like`."""
    order = (*(k for k in range(like.ndim) if k not in axes), *axes)
    last = call("reshape", flat, tuple(like.shape[k] for k in order))
    return call("transpose", last, tuple(int(k) for k in np.argsort(order)))


# --- samples -----------------------------------------------------------------------------------------

_AXES: tuple[tuple[tuple[int, ...], dict[str, Any]], ...] = (
    ((4,), {}),
    ((4,), {"axis": -1}),
    ((4,), {"axis": 0, "keepdims": True}),
    ((2, 3), {}),
    ((2, 3), {"axis": 0}),
    ((2, 3), {"axis": 1}),
    ((2, 3), {"axis": -2}),
    ((2, 3), {"axis": -1, "keepdims": True}),
    ((3, 2), {"axis": (0, 1)}),
    ((3, 2), {"axis": None, "keepdims": True}),
    ((2, 3, 2), {"axis": (0, -1)}),
    ((2, 3, 2), {"axis": (-1, 1), "keepdims": True}),
    ((2, 1, 3), {"axis": 1}),
    ((1, 1), {}),
)


def reduction_samples(low: float = -2, high: float = 2, *, tuples: bool = True, empty: bool = True, **attrs: Any) -> Samples:
    """Vectors, matrices and cubes over every kind of axis, keepdims, layouts, 0-d, and empty where that has a value."""

    def values(*shape: int, seed: int = 0) -> Any:
        return uniform(low, high, *shape, seed=seed)

    def make() -> list[Sample]:
        made = [
            sample(values(*shape, seed=k), **options, **attrs)
            for k, (shape, options) in enumerate(_AXES)
            if tuples or not isinstance(options.get("axis"), tuple)
        ]
        made += [
            sample(values(), **attrs),
            sample(np.asfortranarray(values(2, 3, seed=1)), axis=0, **attrs),
            sample(values(3, 2, seed=2).T, axis=1, **attrs),
            sample(values(5, seed=3)[::-1], **attrs),
            sample(values(4, 6, seed=4)[::2, ::-2], axis=-1, **attrs),
        ]
        if tuples:
            made += [sample(values(2, 2, seed=5), axis=(), **attrs), sample(values(2, 3, 1, seed=6), axis=(0, 1, 2), **attrs)]
        if empty:
            made.append(sample(values(0, 3), axis=1, **attrs))
        return made

    return make


def with_nan(samples: Samples) -> Samples:
    """Each sample, and some of them again with NaN here and there: their adjoint there is 0, and differences are no use."""

    def make() -> list[Sample]:
        made = samples()
        for s in made[3:8]:
            array = s.arrays[0].copy()
            array.reshape(-1)[1::4] = _NAN
            made.append(Sample((array,), s.attrs, gradient=False))
        return made

    return make


# --- sum, mean -----------------------------------------------------------------------------------------


_add_over: Any = np.add.reduce


def _sum(x: Any, *, axes: tuple[int, ...], keepdims: bool) -> Any:
    if not is_half(x.dtype):
        return _add_over(x, axis=axes, keepdims=keepdims)
    return np.asarray(_add_over(x, axis=axes, dtype=WIDE, keepdims=keepdims)).astype(x.dtype)


_sum_kernel = reduce_kernel(np.add)


def _kernel_of_sum(inputs: Sequence[TensorType], out: TensorType, attrs: dict[str, Any]) -> Kernel:
    if not is_half(out.dtype):
        return _sum_kernel(inputs, out, attrs)
    arguments = f"{{0}}, {attrs['axes']}, {WIDE.char!r}, {{s0}}, {attrs['keepdims']}"
    calls = Call(np.add.reduce, "add_reduce", arguments), do(np.copyto, "{out}, {s0}, 'same_kind'")
    return Kernel(calls, scratch=(TensorType(out.shape, WIDE),))


sum_op = linear(
    "sum",
    infer=infer_as(np.add),
    evaluate=_sum,
    transpose=lambda g, out, x, *, axes, keepdims: spread(g, x, axes, keepdims),
    kernel=_kernel_of_sum,
    reduces=True,
)


@function(
    "sum",
    numpy=(np.sum,),
    samples=lambda: [
        *reduction_samples()(),
        sample(normal(2, 0), axis=1),
        sample(normal(0, 3)),
        sample(np.array([True, True]), gradient=False),
        sample(np.array([100, 100], "int8"), dtype="int8", gradient=False),
    ],
    edges=(
        at([[1.0, 2.0]], value=[[1.0, 2.0]], adjoints=([[1.0, 1.0]],), axis=(), why="no axis: nothing is summed"),
        at([_INF, -_INF], value=_NAN, adjoints=([1.0, 1.0],), why="linear, whatever the value"),
    ),
)
def sum_(
    x: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = False, initial: Any = None, where: Any = None
) -> Node:
    """`np.sum` over `axis`: None for all, an integer, or a tuple; entries where `where` is False do not count."""
    node = operand(x, "sum", dtype, out)
    total = reduce_node(sum_op, masked(node, where, 0), axis, keepdims)
    total = total if dtype is None else total.astype(node.dtype)  # small integers are added as int64, and wrap the same
    return total if initial is None else total + initial_of(initial, total)


@function(
    numpy=(np.mean,),
    samples=lambda: [*reduction_samples()(), sample(np.array([1, 2]), gradient=False)],
    edges=(at([_INF, 1.0], value=_INF, adjoints=([0.5, 0.5],), why="linear, whatever the value"),),
)
def mean(x: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = False, where: Any = None) -> Node:
    """`np.mean` over `axis`; integers and booleans give float64, and float16 is summed in float32.

    Raises:
        DTypeError: `dtype` is not floating point.
    """
    node = operand(x, "mean", dtype, out)
    if dtype is not None and node.dtype.kind != "f":
        raise DTypeError(f"mean: dtype={node.dtype} has no fractions; cast the mean with .astype instead")
    axes = normalize_axes(axis, node.ndim, "mean")
    wide = floating_wide(node, "mean")
    total = sum_(wide, axes, keepdims=keepdims, where=where)
    count = count_of(node, axes, bool(keepdims), where, wide.dtype)
    return narrowed(per_count(total, count, count), node)


# --- extrema -----------------------------------------------------------------------------------------


def is_empty(node: Node | TensorType, axes: tuple[int, ...]) -> bool:
    """True where a slice over `axes` has no entries."""
    return any(node.shape[a] == 0 for a in axes)


def may_be_empty(node: Node, axes: tuple[int, ...]) -> bool:
    """True where a slice over `axes` has no entries, or a number of them that only feeds tell."""
    return any(not isinstance(node.shape[a], int) or node.shape[a] == 0 for a in axes)


def _infer_extremum(x: TensorType, *, axes: tuple[int, ...], keepdims: bool, nothing: float | None = None) -> TensorType:
    if nothing is None and is_empty(x, axes):
        raise ShapeError(f"an empty axis has no extremum: {x}; give initial= for the value of nothing")
    return TensorType(reduced_shape(x.shape, axes, keepdims), x.dtype)


def share_ties(g: Node, out: Node, x: Node, axes: tuple[int, ...], keepdims: bool) -> Node:
    """The adjoint of `x` where `out` is one of its entries: those that are equal to it share `g`."""
    wins = call("equal", x, spread(out, x, axes, keepdims))
    ties = sum_(wins, axes, keepdims=keepdims).astype(widened(g).dtype)
    return where(wins, spread((widened(g) / ties).astype(g.dtype), x, axes, keepdims), 0)


def mean_of_ties(t: Node, out: Node, x: Node, axes: tuple[int, ...], keepdims: bool) -> Node:
    """The tangent of `out`, one of the entries of `x`: the transpose of `share_ties`."""
    wins = call("equal", x, spread(out, x, axes, keepdims))
    ties = call("maximum", sum_(wins, axes, keepdims=keepdims), 1).astype(widened(t).dtype)
    return (sum_(widened(where(wins, t, 0)), axes, keepdims=keepdims) / ties).astype(t.dtype)


_FEW = 32
_MANY_ROWS = 16


def _is_narrow(shape: Sequence[Any], axes: tuple[int, ...]) -> bool:
    """True for few entries in each of many rows: NumPy is several times as fast column by column, after a copy."""
    return axes == (len(shape) - 1,) and 1 < shape[-1] <= _FEW and math.prod(shape[:-1]) >= _MANY_ROWS


def _extremum(name: str, ufunc: np.ufunc) -> Op:
    reduce = ufunc.reduce
    whole = reduce_kernel(ufunc)

    def by_columns(x: Any, columns: Any, out: Any) -> None:
        np.copyto(columns, x.T)
        reduce(columns, 0, None, (out if out.ndim < x.ndim else out[..., 0]).T)

    def evaluate(x: Any, *, axes: tuple[int, ...], keepdims: bool, nothing: float | None = None) -> Any:
        if is_empty(x, axes):
            return np.full(reduced_shape(x.shape, axes, keepdims), nothing, x.dtype)
        if not _is_narrow(np.shape(x), axes):
            return reduce(x, axis=axes, keepdims=keepdims)
        out = np.empty(reduced_shape(x.shape, axes, keepdims), x.dtype)
        by_columns(x, np.empty(x.shape[::-1], x.dtype), out)
        return out

    def kernel(inputs: Sequence[TensorType], out: TensorType, attrs: dict[str, Any]) -> Kernel:
        (x,) = inputs
        if is_empty(x, attrs["axes"]):
            return Kernel((Call(partial(_fill, value=attrs["nothing"]), "fill", "{out}"),))
        if not _is_narrow(x.shape, attrs["axes"]):
            return whole(inputs, out, attrs)
        return Kernel((Call(by_columns, f"{name}_by_columns", "{0}, {s0}, {out}"),), (), (TensorType(x.shape[::-1], x.dtype),))

    return op(
        name,
        infer=_infer_extremum,
        evaluate=evaluate,
        vjp=(lambda g, out, x, *, axes, keepdims, nothing=None: share_ties(g, out, x, axes, keepdims),),
        jvp=(lambda t, out, x, *, axes, keepdims, nothing=None: mean_of_ties(t, out, x, axes, keepdims),),
        kernel=kernel,
        masks=True,
        reduces=True,
    )


def _fill(out: Any, value: Any) -> None:
    out.fill(value)


max_op, min_op = _extremum("max", np.maximum), _extremum("min", np.minimum)
nanmax_op, nanmin_op = _extremum("nanmax", np.fmax), _extremum("nanmin", np.fmin)


def _extreme(
    op_: Op,
    pairwise: str,
    x: Any,
    axis: Any = None,
    out: Any = None,
    keepdims: Any = False,
    initial: Any = None,
    mask: Any = None,
) -> Node:
    """An extremum of the entries where `mask` holds, and of `initial`."""
    node = operand(x, op_.name, None, out)
    if initial is None:
        if mask is not None and mask is not True:
            raise ArgumentError(f"{op_.name}: where= needs initial=, the extremum where nothing is chosen, as NumPy does")
        return reduce_node(op_, node, axis, keepdims)
    axes, start = normalize_axes(axis, node.ndim, op_.name), initial_of(initial, node)
    return call(pairwise, extreme_or(op_, masked(node, mask, start), axes, bool(keepdims)), start)


_BEYOND = {"max": -_INF, "nanmax": -_INF, "min": _INF, "nanmin": _INF}


def extreme_or(op_: Op, node: Node, axes: tuple[int, ...], keepdims: bool) -> Node:
    """The extremum of each slice over `axes`; of a slice of nothing what no number is beyond."""
    if not may_be_empty(node, axes):
        return apply(op_, (node,), (("axes", axes), ("keepdims", keepdims)))
    beyond = _BEYOND[op_.name]
    if node.dtype.kind != "f":
        bounds = (False, True) if node.dtype.kind == "b" else (np.iinfo(node.dtype).min, np.iinfo(node.dtype).max)
        beyond = int(bounds[beyond > 0])
    return apply(op_, (node,), (("axes", axes), ("keepdims", keepdims), ("nothing", beyond)))


def maximum_of(node: Node, axes: tuple[int, ...]) -> Node:
    """What an exponential of `node` over `axes` is scaled by: the maximum, without a gradient; -inf of nothing."""
    return stop_gradient(extreme_or(max_op, node, axes, True))


_DISTINCT = reduction_samples(empty=False)


def _extremum_edges(sign: float) -> tuple[Any, ...]:
    """The conventions of a maximum, and with sign -1 of a minimum."""
    return (
        at([sign, sign, 0.0], value=sign, adjoints=([0.5, 0.5, 0.0],), why="ties share equally"),
        at(
            [[sign, 0.0], [sign, sign]],
            value=sign,
            adjoints=([[1 / 3, 0.0], [1 / 3, 1 / 3]],),
            why="ties share equally, over axes",
        ),
        at([[sign, 0.0], [sign, sign]], value=[sign, sign], adjoints=([[0.5, 0.0], [0.5, 1.0]],), axis=0),
        at([sign * _INF, sign * _INF, 0.0], value=sign * _INF, adjoints=([0.5, 0.5, 0.0],), why="ties share equally"),
    )


def _nan_edges(value: float, adjoint: float) -> tuple[Any, ...]:
    return (at([_NAN, 1.0], value=value, adjoints=([0.0, adjoint],)),)


@function("max", numpy=(np.max, np.amax), samples=_DISTINCT, edges=_extremum_edges(1.0) + _nan_edges(_NAN, 0.0))
def max_(x: Any, axis: Any = None, out: Any = None, keepdims: Any = False, initial: Any = None, where: Any = None) -> Node:
    """`np.max` over `axis`; ties share the adjoint equally. An empty axis needs `initial`."""
    return _extreme(max_op, "maximum", x, axis, out, keepdims, initial, where)


@function("min", numpy=(np.min, np.amin), samples=_DISTINCT, edges=_extremum_edges(-1.0) + _nan_edges(_NAN, 0.0))
def min_(x: Any, axis: Any = None, out: Any = None, keepdims: Any = False, initial: Any = None, where: Any = None) -> Node:
    """`np.min` over `axis`; ties share the adjoint equally. An empty axis needs `initial`."""
    return _extreme(min_op, "minimum", x, axis, out, keepdims, initial, where)


@function(
    numpy=(np.ptp,),
    samples=_DISTINCT,
    edges=(
        at([2.0, 2.0], value=0.0, adjoints=([0.0, 0.0],), why="all tie for both ends"),
        at([0.0, 2.0, 2.0], value=2.0, adjoints=([-1.0, 0.5, 0.5],), why="ties share equally"),
    ),
)
def ptp(x: Any, axis: Any = None, out: Any = None, keepdims: Any = False) -> Node:
    """`np.ptp`: the maximum less the minimum over `axis`; ties share the adjoint equally."""
    node = operand(x, "ptp", None, out)
    return max_(node, axis, keepdims=keepdims) - min_(node, axis, keepdims=keepdims)


# --- any, all, counts, positions: no gradient ----------------------------------------------------------


def _logical(name: str, ufunc: np.ufunc) -> Op:
    return op(
        name,
        infer=lambda x, *, axes, keepdims: TensorType(reduced_shape(x.shape, axes, keepdims), np.dtype("bool")),
        evaluate=lambda x, *, axes, keepdims: ufunc.reduce(x, axis=axes, dtype=bool, keepdims=keepdims),
        vjp=(None,),
        jvp=(None,),
        kernel=reduce_kernel(ufunc),
    )


any_op, all_op = _logical("any", np.logical_or), _logical("all", np.logical_and)


def _truths() -> list[Sample]:
    return [
        *(sample(s.arrays[0] > 0, gradient=False, **s.attrs) for s in reduction_samples()()),
        sample([0.0, _NAN], gradient=False),
        sample([[0.0, 0.0], [1.0, 2.0]], gradient=False, axis=1),
        sample(np.array([3, 0]), gradient=False),
    ]


@function("any", numpy=(np.any,), samples=_truths, differentiable=False)
def any_(x: Any, axis: Any = None, out: Any = None, keepdims: Any = False, where: Any = None) -> Node:
    """`np.any` over `axis`: True where an entry is not 0; False of nothing."""
    node = operand(x, "any", None, out)
    return reduce_node(any_op, node if where is None else masked(node.astype("bool"), where, False), axis, keepdims)


@function("all", numpy=(np.all,), samples=_truths, differentiable=False)
def all_(x: Any, axis: Any = None, out: Any = None, keepdims: Any = False, where: Any = None) -> Node:
    """`np.all` over `axis`: True where no entry is 0; True of nothing."""
    node = operand(x, "all", None, out)
    return reduce_node(all_op, node if where is None else masked(node.astype("bool"), where, True), axis, keepdims)


@function(numpy=(np.count_nonzero,), samples=_truths, differentiable=False)
def count_nonzero(x: Any, axis: Any = None, keepdims: Any = False) -> Node:
    """`np.count_nonzero` over `axis`: how many entries are not 0; int64."""
    node = operand(x, "count_nonzero")
    return sum_(node if node.dtype.kind == "b" else call("not_equal", node, 0), axis, keepdims=keepdims)


def _infer_position(x: TensorType, *, axis: int | None, keepdims: bool) -> TensorType:
    axes = tuple(range(x.ndim)) if axis is None else (axis,)
    return TensorType(_infer_extremum(x, axes=axes, keepdims=keepdims).shape, np.dtype(np.intp))


def _position(name: str, find: Callable[..., Any]) -> Op:
    def kernel(inputs: Sequence[TensorType], out: TensorType, attrs: dict[str, Any]) -> Kernel:
        return Kernel((Call(find, name, f"{{0}}, {attrs['axis']}, {{out}}, keepdims={attrs['keepdims']}"),))

    return op(
        name,
        infer=_infer_position,
        evaluate=lambda x, *, axis, keepdims: find(x, axis, keepdims=keepdims),
        vjp=(None,),
        jvp=(None,),
        kernel=kernel,
    )


argmax_op, argmin_op = _position("argmax", np.argmax), _position("argmin", np.argmin)


def _positions() -> list[Sample]:
    made = [s._replace(gradient=False) for s in reduction_samples(tuples=False, empty=False)()]
    return [*made, sample([1.0, _NAN, 2.0], gradient=False), sample([2.0, 2.0], gradient=False)]


def _find(op_: Op, x: Any, axis: Any, out: Any, keepdims: Any) -> Node:
    node = operand(x, op_.name, None, out)
    along = None if axis is None else normalize_axis(axis, node.ndim, op_.name)
    return apply(op_, (node,), (("axis", along), ("keepdims", bool(keepdims))))


@function(numpy=(np.argmax,), samples=_positions, differentiable=False)
def argmax(x: Any, axis: Any = None, out: Any = None, *, keepdims: Any = False) -> Node:
    """`np.argmax`: where the first maximum is along `axis`, or in the flattened array; int64."""
    return _find(argmax_op, x, axis, out, keepdims)


@function(numpy=(np.argmin,), samples=_positions, differentiable=False)
def argmin(x: Any, axis: Any = None, out: Any = None, *, keepdims: Any = False) -> Node:
    """`np.argmin`: where the first minimum is along `axis`, or in the flattened array; int64."""
    return _find(argmin_op, x, axis, out, keepdims)


# --- without NaN ---------------------------------------------------------------------------------------


def without_nan(node: Node, fill: float) -> Node:
    """`node` with `fill` for NaN, whose adjoint is exactly 0."""
    return where(isnan(node), fill, node) if node.dtype.kind == "f" else node


def present(node: Node, mask: Any) -> Any:
    """Where `node` is a number, and `mask` holds."""
    if node.dtype.kind != "f":
        return mask
    found = logical_not(isnan(node))
    return found if mask is None or mask is True else call("logical_and", found, mask)


@function(numpy=(np.nansum,), samples=with_nan(reduction_samples()), edges=(at([_NAN, 1.0], value=1.0, adjoints=([0.0, 1.0],)),))
def nansum(
    x: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = False, initial: Any = None, where: Any = None
) -> Node:
    """`np.nansum`: the sum over `axis` with NaN as 0."""
    return sum_(without_nan(operand(x, "nansum", None, out), 0), axis, dtype, None, keepdims, initial, where)


@function(
    numpy=(np.nanmean,),
    samples=with_nan(reduction_samples()),
    edges=(
        at([_NAN, 1.0, 3.0], value=2.0, adjoints=([0.0, 0.5, 0.5],)),
        at([_NAN], value=_NAN, adjoints=([0.0],), why="a slice of NaN only has no mean"),
    ),
)
def nanmean(x: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = False, where: Any = None) -> Node:
    """`np.nanmean`: the mean over `axis` of the entries that are not NaN; NaN where all are, with derivatives 0."""
    node = operand(x, "nanmean", dtype, out)
    return mean(node, axis, keepdims=keepdims, where=present(node, where))


@function(numpy=(np.nanmax,), samples=with_nan(_DISTINCT), edges=_extremum_edges(1.0) + _nan_edges(1.0, 1.0))
def nanmax(x: Any, axis: Any = None, out: Any = None, keepdims: Any = False, initial: Any = None, where: Any = None) -> Node:
    """`np.nanmax`: the maximum over `axis` of the entries that are not NaN; NaN where all are."""
    return _extreme(nanmax_op, "fmax", x, axis, out, keepdims, initial, where)


@function(numpy=(np.nanmin,), samples=with_nan(_DISTINCT), edges=_extremum_edges(-1.0) + _nan_edges(1.0, 1.0))
def nanmin(x: Any, axis: Any = None, out: Any = None, keepdims: Any = False, initial: Any = None, where: Any = None) -> Node:
    """`np.nanmin`: the minimum over `axis` of the entries that are not NaN; NaN where all are."""
    return _extreme(nanmin_op, "fmin", x, axis, out, keepdims, initial, where)


# --- logsumexp -----------------------------------------------------------------------------------------


def _at_infinity(x: Any, top: Any, out: Any) -> None:
    """Where the largest entry is infinite, inf - inf is 0: entries that tie for it. One product tells whether any is."""
    if not np.vdot(top, top) < _INF:
        np.copyto(out, 0, where=np.isinf(x) & (x == top))


below = elementwise(
    "below",
    **recipe(do(np.subtract, "{0}, {1}, {out}"), do(_at_infinity, "{0}, {1}, {out}"))._asdict(),  # x - top, top >= x
    rules=(lambda g, out, x, top: g, lambda g, out, x, top: -g),
    symbolic="a - b",
    public=False,
)


@function(
    samples=_DISTINCT,
    edges=(
        at([1000.0, 1000.0], value=1000.0 + math.log(2), adjoints=([0.5, 0.5],)),
        at([1e17, 1e17], value=1e17, adjoints=([0.5, 0.5],), why="not exp(x - out), which is 1"),
        at([-_INF, 0.0], value=0.0, adjoints=([0.0, 1.0],)),
        at([-_INF, -_INF], value=-_INF, adjoints=([0.5, 0.5],), why="a tie shares equally"),
        at([_INF, 0.0], value=_INF, adjoints=([1.0, 0.0],)),
    ),
)
def logsumexp(x: Any, axis: Any = None, keepdims: Any = False) -> Node:
    """log(sum(exp(x))) over `axis`, without overflow: the maximum is taken out first. Infinities have their limits, and
    nothing has the sum 0: -inf. float16 is summed in float32; integers and booleans give what `np.exp` gives for them.
    """
    given = floating(operand(x, "logsumexp"), "logsumexp")
    node = widened(given)
    axes = normalize_axes(axis, node.ndim, "logsumexp")
    if is_empty(node, axes):
        return sum_(given, axes, keepdims=keepdims) + -_INF
    top = maximum_of(node, axes)
    total = narrowed(log(one_for_nothing(sum_(exp(below(node, top)), axes, keepdims=True), node, axes)) + top, given)
    return total if keepdims else call("reshape", total, reduced_shape(node.shape, axes, False))


def one_for_nothing(total: Node, node: Node, axes: tuple[int, ...]) -> Node:
    """A sum over `axes` of `node`, with 1 for the sum of nothing where only feeds tell: what divides by it has a derivative."""
    if not may_be_empty(node, axes):
        return total
    count = call("dimension", size_of(tuple(node.shape[a] for a in axes)))
    return total + call("equal", count, 0).astype(total.dtype)
