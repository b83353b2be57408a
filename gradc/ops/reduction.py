"""Reductions over axes: sum, mean, max, min, logsumexp."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradc.errors import ShapeError
from gradc.ir import Call, Kernel, Node, Op, apply, lift
from gradc.ops.declare import call, function, linear, op
from gradc.ops.elementwise import exp, log, stop_gradient, where
from gradc.ops.samples import at, cases, normal, sample
from gradc.types import Shape, TensorType, as_dtype, normalize_axes, size_of


def reduced_shape(shape: Shape, axes: tuple[int, ...], keepdims: bool) -> Shape:
    """`shape` after a reduction over `axes`."""
    if keepdims:
        return tuple(1 if k in axes else s for k, s in enumerate(shape))
    return tuple(s for k, s in enumerate(shape) if k not in axes)


def _kernel(ufunc: np.ufunc) -> Any:
    def kernel(inputs: Sequence[TensorType], out: TensorType, attrs: dict[str, Any]) -> Kernel:
        arguments = f"{{0}}, {attrs['axes']}, None, {{out}}, {attrs['keepdims']}"
        return Kernel((Call(ufunc.reduce, f"{ufunc.__name__}_reduce", arguments),))

    return kernel


def _infer_sum(x: TensorType, *, axes: tuple[int, ...], keepdims: bool) -> TensorType:
    dtype = np.add.reduce(np.zeros(1, x.dtype)).dtype
    return TensorType(reduced_shape(x.shape, axes, keepdims), as_dtype(dtype))


def spread(reduced: Node, like: Node, axes: tuple[int, ...], keepdims: bool) -> Node:
    """A reduction's result, or its adjoint, broadcast back to the shape of its operand."""
    kept = reduced if keepdims else call("reshape", reduced, reduced_shape(like.shape, axes, True))
    return call("broadcast_to", kept, like.shape)


sum_op = linear(
    "sum",
    infer=_infer_sum,
    evaluate=lambda x, *, axes, keepdims: np.add.reduce(x, axis=axes, keepdims=keepdims),
    transpose=lambda g, out, x, *, axes, keepdims: spread(g, x, axes, keepdims),
    kernel=_kernel(np.add),
)

_SAMPLES = (
    lambda: sample(normal(4)),
    lambda: sample(normal(2, 3)),
    lambda: sample(normal(2, 3), axis=0),
    lambda: sample(normal(2, 3), axis=-1, keepdims=True),
    lambda: sample(normal(2, 3, 2), axis=(0, -1)),
    lambda: sample(normal(2, 3), axis=()),
    lambda: sample(1.5),
    lambda: sample(normal(2, 0), axis=0),
)


def _reduce(op_: Op, x: Any, axis: Any, keepdims: bool, where_: str) -> Node:
    (node,) = lift((x,), where_)
    axes = normalize_axes(axis, node.ndim, where_)
    return apply(op_, (node,), (("axes", axes), ("keepdims", bool(keepdims))))


@function("sum", numpy=(np.sum,), samples=cases(*_SAMPLES))
def sum_(x: Any, axis: Any = None, keepdims: bool = False) -> Node:
    """`np.sum` over `axis`: None for all, an integer, or a tuple."""
    return _reduce(sum_op, x, axis, keepdims, "sum")


@function(numpy=(np.mean,), samples=cases(*_SAMPLES))
def mean(x: Any, axis: Any = None, keepdims: bool = False) -> Node:
    """`np.mean` over `axis`; integers and booleans give float64."""
    (node,) = lift((x,), "mean")
    axes = normalize_axes(axis, node.ndim, "mean")
    floating = node if node.dtype.kind == "f" else node.astype("float64")
    return sum_(floating, axes, keepdims) / call("dimension", size_of(tuple(node.shape[a] for a in axes)), floating.dtype)


def _infer_extremum(x: TensorType, *, axes: tuple[int, ...], keepdims: bool) -> TensorType:
    if any(x.shape[a] == 0 for a in axes):
        raise ShapeError(f"an empty axis has no extremum: {x}")
    return TensorType(reduced_shape(x.shape, axes, keepdims), x.dtype)


def _extremum(name: str, ufunc: np.ufunc) -> Op:
    def weights(out: Node, x: Node, axes: tuple[int, ...], keepdims: bool) -> tuple[Node, Node]:
        wins = call("equal", x, spread(out, x, axes, keepdims))
        return wins, sum_(wins, axes, keepdims).astype(x.dtype)

    def vjp(g: Node, out: Node, x: Node, *, axes: tuple[int, ...], keepdims: bool) -> Node:
        wins, ties = weights(out, x, axes, keepdims)
        return where(wins, spread(g / ties, x, axes, keepdims), 0)

    def jvp(t: Node, out: Node, x: Node, *, axes: tuple[int, ...], keepdims: bool) -> Node:
        wins, ties = weights(out, x, axes, keepdims)
        return sum_(where(wins, t, 0), axes, keepdims) / ties

    return op(
        name,
        infer=_infer_extremum,
        evaluate=lambda x, *, axes, keepdims: ufunc.reduce(x, axis=axes, keepdims=keepdims),
        vjp=(vjp,),
        jvp=(jvp,),
        kernel=_kernel(ufunc),
    )


max_op = _extremum("max", np.maximum)
min_op = _extremum("min", np.minimum)
_DISTINCT = cases(
    lambda: sample([3.0, -1.0, 2.0]),
    lambda: sample(normal(2, 3)),
    lambda: sample(normal(2, 3), axis=1),
    lambda: sample(normal(2, 3, 2), axis=(0, 2), keepdims=True),
    lambda: sample(normal(2, 3), axis=-2),
    lambda: sample(1.5),
)
_TIES = (at([1.0, 1.0, 0.0], value=1.0, adjoints=([0.5, 0.5, 0.0],), why="ties share equally"),)


@function("max", numpy=(np.max, np.amax), samples=_DISTINCT, edges=_TIES)
def max_(x: Any, axis: Any = None, keepdims: bool = False) -> Node:
    """`np.max` over `axis`; ties share the adjoint equally."""
    return _reduce(max_op, x, axis, keepdims, "max")


@function("min", numpy=(np.min, np.amin), samples=_DISTINCT)
def min_(x: Any, axis: Any = None, keepdims: bool = False) -> Node:
    """`np.min` over `axis`; ties share the adjoint equally."""
    return _reduce(min_op, x, axis, keepdims, "min")


@function(samples=_DISTINCT, edges=(at([1000.0, 1000.0], value=1000.0 + float(np.log(2)), adjoints=([0.5, 0.5],)),))
def logsumexp(x: Any, axis: Any = None, keepdims: bool = False) -> Node:
    """log(sum(exp(x))) over `axis`, without overflow: the maximum is taken out first."""
    (node,) = lift((x,), "logsumexp")
    axes = normalize_axes(axis, node.ndim, "logsumexp")
    top = stop_gradient(max_(node, axes, keepdims=True))
    top = where(call("isfinite", top), top, 0)
    total = log(sum_(exp(node - top), axes, keepdims=True)) + top
    if keepdims:
        return total
    return call("reshape", total, reduced_shape(node.shape, axes, False))
