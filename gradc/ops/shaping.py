"""Ops that move entries and compute none: reshape, transpose, broadcast, concatenate, fill, dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradc.errors import ArgumentError, ShapeError
from gradc.ir import Call, Kernel, Node, apply, constant, lift
from gradc.ops.declare import call, function, linear, op
from gradc.ops.samples import cases, normal, sample
from gradc.types import (
    Dim,
    Shape,
    Size,
    TensorType,
    as_dtype,
    as_shape,
    broadcast_shapes,
    is_static,
    normalize_axes,
    normalize_axis,
    show_shape,
    size_of,
)

__all__ = [
    "broadcast_to",
    "concatenate",
    "expand_dims",
    "matrix_transpose",
    "ones_like",
    "ravel",
    "reshape",
    "squeeze",
    "swapaxes",
    "transpose",
    "zeros_like",
]

# --- reshape -----------------------------------------------------------------------------------------


def _infer_reshape(x: TensorType, *, shape: Shape) -> TensorType:
    if size_of(x.shape) != size_of(shape):
        raise ShapeError(
            f"reshape: {show_shape(x.shape)} has {size_of(x.shape)} entries, {show_shape(shape)} has {size_of(shape)}"
        )
    return TensorType(shape, x.dtype)


reshape_op = linear(
    "reshape",
    infer=_infer_reshape,
    evaluate=lambda x, *, shape: np.reshape(x, shape),
    transpose=lambda g, out, x, *, shape: call("reshape", g, x.shape),
    view=True,
    expression=lambda attrs: f"{{0}}.reshape({attrs['shape']})",
)


@function(
    numpy=(np.reshape,),
    samples=cases(
        lambda: sample(normal(2, 3), shape=(3, 2)),
        lambda: sample(normal(2, 3), shape=-1),
        lambda: sample(normal(2, 3, 2), shape=(-1, 2)),
        lambda: sample(2.0, shape=(1, 1)),
    ),
)
def reshape(x: Any, shape: Any) -> Node:
    """`np.reshape`, in C order; one entry of `shape` may be -1."""
    (node,) = lift((x,), "reshape")
    target = _complete(node, shape if isinstance(shape, (tuple, list)) else (shape,))
    return node if target == node.shape else apply(reshape_op, (node,), (("shape", target),))


def _complete(node: Node, shape: Sequence[Any]) -> Shape:
    open_ = [k for k, s in enumerate(shape) if isinstance(s, int) and s == -1]
    if not open_:
        return as_shape(shape, "reshape")
    if len(open_) > 1:
        raise ShapeError(f"reshape: only one dimension can be -1, got {tuple(shape)}")
    known = as_shape([s for k, s in enumerate(shape) if k != open_[0]], "reshape")
    missing = _quotient(node.size, size_of(known))
    if missing is None:
        raise ShapeError(f"reshape: {show_shape(node.shape)} cannot be reshaped to {tuple(shape)}: the -1 is no whole number")
    return (*known[: open_[0]], missing, *known[open_[0] :])


def _quotient(total: Size, part: Size) -> Size | None:
    if total == part:
        return 1
    if part == 0 or part == 1:
        return total if part == 1 else None
    if isinstance(total, int) and isinstance(part, int):
        return total // part if total % part == 0 else None
    import sympy

    from gradc.types import dim

    quotient = sympy.cancel(_sympy(total) / _sympy(part))
    return dim(quotient) if quotient.is_polynomial() and quotient.is_integer else None


def _sympy(size: Size) -> Any:
    return size.expr if isinstance(size, Dim) else size


@function(numpy=(np.ravel,), samples=cases(lambda: sample(normal(2, 3))))
def ravel(x: Any) -> Node:
    """`np.ravel`: all entries in C order, 1-d."""
    return reshape(x, -1)


@function(numpy=(np.expand_dims,), samples=cases(lambda: sample(normal(3), axis=0), lambda: sample(normal(2, 3), axis=(0, -1))))
def expand_dims(x: Any, axis: Any) -> Node:
    """`np.expand_dims`: new axes of length 1 at `axis` of the result."""
    (node,) = lift((x,), "expand_dims")
    count = len(axis) if isinstance(axis, (tuple, list)) else 1
    axes = normalize_axes(axis, node.ndim + count, "expand_dims")
    rest = iter(node.shape)
    return reshape(node, tuple(1 if k in axes else next(rest) for k in range(node.ndim + count)))


@function(numpy=(np.squeeze,), samples=cases(lambda: sample(normal(1, 3, 1)), lambda: sample(normal(1, 3, 1), axis=-1)))
def squeeze(x: Any, axis: Any = None) -> Node:
    """`np.squeeze`: axes of length 1 removed."""
    (node,) = lift((x,), "squeeze")
    axes = normalize_axes(axis, node.ndim, "squeeze")
    if axis is None:
        axes = tuple(a for a in axes if node.shape[a] == 1)
    for a in axes:
        if node.shape[a] != 1:
            raise ShapeError(f"squeeze: axis {a} of {show_shape(node.shape)} has length {node.shape[a]}, not 1")
    return reshape(node, tuple(s for k, s in enumerate(node.shape) if k not in axes))


# --- transpose ---------------------------------------------------------------------------------------

transpose_op = linear(
    "transpose",
    infer=lambda x, *, axes: TensorType(tuple(x.shape[a] for a in axes), x.dtype),
    evaluate=lambda x, *, axes: np.transpose(x, axes),
    transpose=lambda g, out, x, *, axes: call("transpose", g, tuple(int(k) for k in np.argsort(axes))),
    view=True,
    expression=lambda attrs: "{0}.T" if attrs["axes"] == (1, 0) else f"{{0}}.transpose({attrs['axes']})",
)


@function(
    numpy=(np.transpose,),
    samples=cases(
        lambda: sample(normal(2, 3)), lambda: sample(normal(2, 3, 4), axes=(1, 2, 0)), lambda: sample(normal(2, 3), axes=(-1, 0))
    ),
)
def transpose(x: Any, axes: Any = None) -> Node:
    """`np.transpose`: axes permuted, reversed by default."""
    (node,) = lift((x,), "transpose")
    asked = axes if isinstance(axes, (tuple, list)) else range(node.ndim)[::-1] if axes is None else (axes,)
    given = tuple(normalize_axis(a, node.ndim, "transpose") for a in asked)
    if sorted(given) != list(range(node.ndim)):
        raise ShapeError(f"transpose: {axes!r} is no permutation of the {node.ndim} axes of {show_shape(node.shape)}")
    return node if given == tuple(range(node.ndim)) else apply(transpose_op, (node,), (("axes", given),))


@function(
    numpy=(np.swapaxes,),
    samples=cases(lambda: sample(normal(2, 3), axis1=-1, axis2=-2), lambda: sample(normal(2, 3, 4), axis1=0, axis2=2)),
)
def swapaxes(x: Any, axis1: Any = -1, axis2: Any = -2) -> Node:
    """`np.swapaxes`; the last two axes by default."""
    (node,) = lift((x,), "swapaxes")
    a, b = normalize_axis(axis1, node.ndim, "swapaxes"), normalize_axis(axis2, node.ndim, "swapaxes")
    order = list(range(node.ndim))
    order[a], order[b] = order[b], order[a]
    return transpose(node, order)


@function(numpy=(np.matrix_transpose,), samples=cases(lambda: sample(normal(2, 3))))
def matrix_transpose(x: Any) -> Node:
    """The last two axes swapped."""
    return swapaxes(x)


# --- broadcast ---------------------------------------------------------------------------------------


def _infer_broadcast(x: TensorType, *, shape: Shape) -> TensorType:
    if broadcast_shapes(x.shape, shape) != shape:
        raise ShapeError(f"broadcast_to: {show_shape(x.shape)} does not broadcast to {show_shape(shape)}")
    return TensorType(shape, x.dtype)


@function()
def sum_to(g: Node, shape: Shape) -> Node:
    """`g` summed back to `shape`, of which its own shape is a broadcast."""
    if g.shape == shape:
        return g
    extra = g.ndim - len(shape)
    axes = tuple(k for k, s in enumerate(g.shape) if k < extra or (shape[k - extra] == 1 and s != 1))
    return reshape(call("sum", g, axes), shape)


broadcast_op = linear(
    "broadcast_to",
    infer=_infer_broadcast,
    evaluate=lambda x, *, shape: np.broadcast_to(x, shape),
    transpose=lambda g, out, x, *, shape: sum_to(g, x.shape),
    view=True,
)


@function(numpy=(np.broadcast_to,), samples=cases(lambda: sample(normal(3), shape=(2, 3)), lambda: sample(1.0, shape=(2,))))
def broadcast_to(x: Any, shape: Any) -> Node:
    """`np.broadcast_to`."""
    (node,) = lift((x,), "broadcast_to")
    target = as_shape(shape, "broadcast_to")
    return node if target == node.shape else apply(broadcast_op, (node,), (("shape", target),))


# --- fill, dimensions --------------------------------------------------------------------------------


@function(numpy=(np.zeros_like,), samples=cases(lambda: sample(normal(3), gradient=False)), differentiable=False)
def zeros_like(x: Any) -> Node:
    """Zeros of the shape and dtype of `x`."""
    return full_like(x, 0)


@function(numpy=(np.ones_like,), samples=cases(lambda: sample(normal(3), gradient=False)), differentiable=False)
def ones_like(x: Any) -> Node:
    """Ones of the shape and dtype of `x`."""
    return full_like(x, 1)


def full_like(x: Any, value: float) -> Node:
    """One value in the shape and dtype of `x`: a scalar constant, broadcast."""
    (node,) = lift((x,), "full_like")
    return broadcast_to(constant(value, node.dtype), node.shape)


dimension_op = op(
    "dimension",
    infer=lambda *, size, dtype: TensorType((), dtype),
    evaluate=lambda *, size, dtype: np.array(size, dtype),
    vjp=(),
    jvp=(),
)


@function(differentiable=False)
def dimension(size: Any, dtype: Any = "int64") -> Node:
    """A dimension as a scalar node: a constant where it is a number already."""
    target = as_dtype(dtype, "dimension")
    if is_static((size,)):
        return constant(size, target)
    return apply(dimension_op, (), (("dtype", target), ("size", size)))


# --- concatenate, add_n ------------------------------------------------------------------------------


def _infer_concatenate(*types: TensorType, axis: int) -> TensorType:
    first = types[0]
    for t in types[1:]:
        if t.ndim != first.ndim or any(a != b for k, (a, b) in enumerate(zip(t.shape, first.shape, strict=True)) if k != axis):
            raise ShapeError(f"concatenate: {show_shape(first.shape)} and {show_shape(t.shape)} differ beyond axis {axis}")
    total: Size = 0
    for t in types:
        total = total + t.shape[axis]
    shape = (*first.shape[:axis], total, *first.shape[axis + 1 :])
    return TensorType(shape, np.result_type(*(t.dtype for t in types)))


def _offset(xs: Sequence[Node], k: int, axis: int) -> Size:
    offset: Size = 0
    for x in xs[:k]:
        offset = offset + x.shape[axis]
    return offset


def _concatenate_vjp(k: int, g: Node, out: Node, *xs: Node, axis: int) -> Node:
    start = _offset(xs, k, axis)
    return call("slice_axis", g, axis, start, start + xs[k].shape[axis])


def _concatenate_jvp(k: int, t: Node, out: Node, *xs: Node, axis: int) -> Node:
    start = _offset(xs, k, axis)
    return call("place_axis", t, axis, start, out.shape)


def _concatenate_kernel(inputs: Sequence[TensorType], out: TensorType, attrs: dict[str, Any]) -> Kernel:
    operands = ", ".join(f"{{{k}}}" for k in range(len(inputs)))
    return Kernel((Call(np.concatenate, "concatenate", f"({operands},), {attrs['axis']}, {{out}}"),))


concatenate_op = op(
    "concatenate",
    infer=_infer_concatenate,
    evaluate=lambda *xs, axis: np.concatenate(xs, axis),
    vjp=_concatenate_vjp,
    jvp=_concatenate_jvp,
    kernel=_concatenate_kernel,
    linear=True,
)


@function(numpy=(np.concatenate,))
def concatenate(arrays: Sequence[Any], axis: Any = 0) -> Node:
    """`np.concatenate` of a sequence of arrays along `axis`."""
    if isinstance(arrays, Node) or not len(arrays):
        raise ArgumentError("concatenate: expected a non-empty sequence of arrays")
    nodes = lift(tuple(arrays), "concatenate")
    if nodes[0].ndim == 0:
        raise ShapeError("concatenate: 0-d arrays have no axis to join; use np.stack")
    return apply(concatenate_op, nodes, (("axis", normalize_axis(axis, nodes[0].ndim, "concatenate")),))


def _add_n(*xs: Any) -> Any:
    total = np.add(xs[0], xs[1])
    for x in xs[2:]:
        total = np.add(total, x)
    return total


def _add_n_kernel(inputs: Sequence[TensorType], out: TensorType, attrs: dict[str, Any]) -> Kernel:
    first = Call(np.add, "add", "{0}, {1}, {out}")
    rest = tuple(Call(np.add, "add", f"{{out}}, {{{k}}}, {{out}}") for k in range(2, len(inputs)))
    return Kernel((first, *rest), inplace=(0, 1))


add_n = op(
    "add_n",
    infer=lambda *types: types[0],
    evaluate=_add_n,
    vjp=lambda k, g, out, *xs: g,
    jvp=lambda k, t, out, *xs: t,
    kernel=_add_n_kernel,
    elementwise=True,
    symbolic="a + b + c",
    linear=True,
)
