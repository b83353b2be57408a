"""Ops that move no entry in memory: reshape, transpose, broadcast; sums of terms, dimensions as values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from gradc.errors import ArgumentError, ShapeError, show
from gradc.ir import NUMPY, THROUGH, Call, Kernel, Node, apply, constant, lift
from gradc.ops.declare import call, function, linear, op
from gradc.ops.samples import Sample, cases, normal, sample
from gradc.types import (
    Dim,
    Shape,
    Size,
    TensorType,
    as_dtype,
    as_integer,
    as_shape,
    broadcast_shapes,
    is_static,
    normalize_axes,
    normalize_axis,
    show_shape,
    size_of,
)

__all__ = [
    "atleast_1d",
    "atleast_2d",
    "atleast_3d",
    "broadcast_arrays",
    "broadcast_to",
    "expand_dims",
    "flatten",
    "matrix_transpose",
    "moveaxis",
    "permute_dims",
    "ravel",
    "reshape",
    "rollaxis",
    "squeeze",
    "swapaxes",
    "transpose",
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
        lambda: sample(normal(2, 3, 2), shape=[3, -1], order="F"),
        lambda: sample(2.0, shape=(1, 1)),
        lambda: sample(normal(0, 3), shape=(3, 0, 2)),
    ),
)
def reshape(a: Any, shape: Any, order: str = "C", *, copy: Any = None) -> Node:
    """`np.reshape`; one entry of `shape` may be -1. In Fortran order the first axis varies fastest.

    Raises:
        ShapeError: the shape does not hold as many entries.
    """
    (node,) = lift((a,), "reshape")
    given = shape.tolist() if isinstance(shape, np.ndarray) else shape
    target = _complete(node, tuple(given) if isinstance(given, (tuple, list)) else (given,))
    if is_fortran(order, "reshape"):
        return transpose(reshape(transpose(node), target[::-1]))
    return node if target == node.shape else apply(reshape_op, (node,), (("shape", target),))


def is_fortran(order: object, where: str) -> bool:
    """True for "F". A node has no memory layout, so "A" and "K" are "C".

    Raises:
        ArgumentError: it is none of the four.
    """
    if order not in ("C", "F", "A", "K"):
        raise ArgumentError(f"{where}: order is 'C', 'F', 'A' or 'K', got {show(order)}")
    return order == "F"


def _complete(node: Node, shape: Sequence[Any]) -> Shape:
    open_ = [k for k, s in enumerate(shape) if isinstance(s, (int, np.integer)) and s == -1]
    if not open_:
        return as_shape(shape, "reshape")
    if len(open_) > 1:
        raise ShapeError(f"reshape: only one dimension can be -1, got {tuple(shape)}")
    known = as_shape([s for k, s in enumerate(shape) if k != open_[0]], "reshape")
    missing = quotient(node.size, size_of(known))
    if missing is None:
        raise ShapeError(f"reshape: {show_shape(node.shape)} cannot be reshaped to {tuple(shape)}: the -1 is no whole number")
    return (*known[: open_[0]], missing, *known[open_[0] :])


def quotient(total: Size, part: Size) -> Size | None:
    """`total / part` where that is a whole number, by symbols too; else None."""
    if total == part:
        return 1
    if part == 0 or part == 1:
        return total if part == 1 else None
    if isinstance(total, int) and isinstance(part, int):
        return total // part if total % part == 0 else None
    import sympy

    from gradc.types import dim

    ratio = sympy.cancel(_sympy(total) / _sympy(part))
    return dim(ratio) if ratio.is_polynomial() and ratio.is_integer else None


def _sympy(size: Size) -> Any:
    return size.expr if isinstance(size, Dim) else size


def _flat_samples() -> list[Sample]:
    arrays = (normal(2, 3), normal(3, 2, 2), normal(4), np.asarray(2.0), normal(0, 2), normal(1, 1, 3))
    return [*(sample(a) for a in arrays), sample(normal(2, 3), order="F"), sample(normal(3, 2, 2), order="A")]


@function(numpy=(np.ravel,), samples=_flat_samples)
def ravel(a: Any, order: str = "C") -> Node:
    """`np.ravel`: all entries, 1-d."""
    return reshape(a, -1, order)


@function(samples=_flat_samples)
def flatten(a: Any, order: str = "C") -> Node:
    """`ndarray.flatten`: all entries, 1-d."""
    return reshape(a, -1, order)


@function(
    numpy=(np.expand_dims,),
    samples=cases(
        lambda: sample(normal(3), axis=0),
        lambda: sample(normal(2, 3), axis=(0, -1)),
        lambda: sample(normal(2, 3), axis=[1, 3]),
        lambda: sample(2.0, axis=-1),
        lambda: sample(normal(0, 3), axis=1),
        lambda: sample(normal(3, 2), axis=()),
    ),
)
def expand_dims(a: Any, axis: Any) -> Node:
    """`np.expand_dims`: new axes of length 1 at `axis` of the result."""
    (node,) = lift((a,), "expand_dims")
    count = len(axis) if isinstance(axis, (tuple, list)) else 1
    axes = normalize_axes(axis, node.ndim + count, "expand_dims")
    rest = iter(node.shape)
    return reshape(node, tuple(1 if k in axes else next(rest) for k in range(node.ndim + count)))


@function(
    numpy=(np.squeeze,),
    samples=cases(
        lambda: sample(normal(1, 3, 1)),
        lambda: sample(normal(1, 3, 1), axis=-1),
        lambda: sample(normal(1, 3, 1), axis=(0, 2)),
        lambda: sample(normal(2, 1, 3), axis=1),
        lambda: sample(normal(1, 1)),
        lambda: sample(normal(0, 1, 2)),
        lambda: sample(2.0),
    ),
)
def squeeze(a: Any, axis: Any = None) -> Node:
    """`np.squeeze`: axes of length 1 removed."""
    (node,) = lift((a,), "squeeze")
    axes = normalize_axes(axis, node.ndim, "squeeze")
    if axis is None:
        axes = tuple(k for k in axes if node.shape[k] == 1)
    for k in axes:
        if node.shape[k] != 1:
            raise ShapeError(f"squeeze: axis {k} of {show_shape(node.shape)} has length {node.shape[k]}, not 1")
    return reshape(node, tuple(s for k, s in enumerate(node.shape) if k not in axes))


def _at_least(name: str, arrays: tuple[Any, ...], places: Callable[[int], tuple[int, ...]]) -> Any:
    """Each array with axes of length 1 where those that it lacks belong: a node, or a tuple where there are several."""
    made = tuple(expand_dims(x, places(x.ndim)) for a in arrays for x in lift((a,), name))
    return made[0] if len(made) == 1 else made


def _at_least_samples() -> list[Sample]:
    arrays = (np.asarray(2.0), normal(3), normal(2, 3), normal(2, 1, 3), normal(0), normal(2, 2, 1, 2))
    return [*(sample(a) for a in arrays), sample(1.5, normal(2), normal(2, 2))]


@function(numpy=(np.atleast_1d,), samples=_at_least_samples)
def atleast_1d(*arys: Any) -> Any:
    """`np.atleast_1d`: a scalar becomes a vector of one entry. Several arrays give a tuple."""
    return _at_least("atleast_1d", arys, lambda ndim: (0,) if ndim == 0 else ())


@function(numpy=(np.atleast_2d,), samples=_at_least_samples)
def atleast_2d(*arys: Any) -> Any:
    """`np.atleast_2d`: a vector becomes one row. Several arrays give a tuple."""
    return _at_least("atleast_2d", arys, lambda ndim: tuple(range(2 - ndim)))


@function(numpy=(np.atleast_3d,), samples=_at_least_samples)
def atleast_3d(*arys: Any) -> Any:
    """`np.atleast_3d`: a vector of n entries has the shape (1, n, 1), a matrix gets a last axis. Several arrays give a tuple."""
    return _at_least("atleast_3d", arys, lambda ndim: {0: (0, 1, 2), 1: (0, 2), 2: (2,)}.get(ndim, ()))


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
        lambda: sample(normal(2, 3)),
        lambda: sample(normal(2, 3, 4), axes=(1, 2, 0)),
        lambda: sample(normal(2, 3), axes=(-1, 0)),
        lambda: sample(normal(2, 3, 2)),
        lambda: sample(normal(3)),
        lambda: sample(2.0),
        lambda: sample(normal(2, 0)),
    ),
)
def transpose(a: Any, axes: Any = None) -> Node:
    """`np.transpose`: axes permuted, reversed by default."""
    (node,) = lift((a,), "transpose")
    asked = range(node.ndim)[::-1] if axes is None else axes if isinstance(axes, Iterable) else (axes,)
    given = tuple(normalize_axis(k, node.ndim, "transpose") for k in asked)
    if sorted(given) != list(range(node.ndim)):
        raise ShapeError(f"transpose: {show(axes)} is no permutation of the {node.ndim} axes of {show_shape(node.shape)}")
    return node if given == tuple(range(node.ndim)) else apply(transpose_op, (node,), (("axes", given),))


permute_dims = transpose


@function(
    numpy=(np.swapaxes,),
    samples=cases(
        lambda: sample(normal(2, 3), axis1=-1, axis2=-2),
        lambda: sample(normal(2, 3, 4), axis1=0, axis2=2),
        lambda: sample(normal(2, 3, 2), axis1=1, axis2=-1),
        lambda: sample(normal(3), axis1=0, axis2=0),
        lambda: sample(normal(0, 2), axis1=0, axis2=1),
    ),
)
def swapaxes(a: Any, axis1: Any = -1, axis2: Any = -2) -> Node:
    """`np.swapaxes`; the last two axes by default."""
    (node,) = lift((a,), "swapaxes")
    one, other = normalize_axis(axis1, node.ndim, "swapaxes"), normalize_axis(axis2, node.ndim, "swapaxes")
    order = list(range(node.ndim))
    order[one], order[other] = order[other], order[one]
    return transpose(node, order)


@function(
    numpy=(np.matrix_transpose, np.linalg.matrix_transpose),
    samples=cases(
        lambda: sample(normal(2, 3)),
        lambda: sample(normal(2, 3, 2)),
        lambda: sample(normal(2, 1, 2, 3)),
        lambda: sample(normal(3, 1)),
        lambda: sample(normal(2, 0)),
    ),
)
def matrix_transpose(x: Any) -> Node:
    """The last two axes swapped."""
    return swapaxes(x)


def _in_order(axis: Any, ndim: int, where: str) -> tuple[int, ...]:
    """`axis`, an integer or several, counted from 0 and in the order given, none twice."""
    given = axis if isinstance(axis, (tuple, list)) else (axis,)
    normalize_axes(given, ndim, where)
    return tuple(normalize_axis(k, ndim, where) for k in given)


@function(
    numpy=(np.moveaxis,),
    samples=cases(
        lambda: sample(normal(2, 3), source=0, destination=-1),
        lambda: sample(normal(2, 3, 4), source=-1, destination=0),
        lambda: sample(normal(2, 3, 2), source=(0, 1), destination=(-1, 0)),
        lambda: sample(normal(2, 1, 3), source=[2, 0], destination=[0, 1]),
        lambda: sample(normal(2, 0, 3), source=0, destination=1),
        lambda: sample(normal(3), source=0, destination=0),
    ),
)
def moveaxis(a: Any, source: Any, destination: Any) -> Node:
    """`np.moveaxis`: axes `source` go to the places `destination`, the others keep their order."""
    (node,) = lift((a,), "moveaxis")
    from_, to = _in_order(source, node.ndim, "moveaxis"), _in_order(destination, node.ndim, "moveaxis")
    if len(from_) != len(to):
        raise ArgumentError(
            f"moveaxis: {len(from_)} axes cannot go to {len(to)} places: source {source}, destination {destination}"
        )
    order = [k for k in range(node.ndim) if k not in from_]
    for place, axis in sorted(zip(to, from_, strict=True)):
        order.insert(place, axis)
    return transpose(node, order)


@function(
    numpy=(np.rollaxis,),
    samples=cases(
        lambda: sample(normal(2, 3), axis=1),
        lambda: sample(normal(2, 3, 4), axis=-1, start=1),
        lambda: sample(normal(2, 3, 2), axis=0, start=3),
        lambda: sample(normal(2, 3, 2), axis=1, start=-1),
        lambda: sample(normal(0, 3), axis=1),
    ),
)
def rollaxis(a: Any, axis: Any, start: Any = 0) -> Node:
    """`np.rollaxis`: `axis` goes before the axis that is at `start` now."""
    (node,) = lift((a,), "rollaxis")
    from_, before = normalize_axis(axis, node.ndim, "rollaxis"), as_integer(start, "rollaxis: start")
    if not -node.ndim <= before <= node.ndim:
        raise ShapeError(f"rollaxis: start runs from {-node.ndim} to {node.ndim} for {show_shape(node.shape)}, got {start}")
    before = before + node.ndim if before < 0 else before
    order = [k for k in range(node.ndim) if k != from_]
    order.insert(before - (from_ < before), from_)
    return transpose(node, order)


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


@function(
    numpy=(np.broadcast_to,),
    samples=cases(
        lambda: sample(normal(3), shape=(2, 3)),
        lambda: sample(1.0, shape=(2,)),
        lambda: sample(normal(2, 1), shape=(2, 3)),
        lambda: sample(normal(2, 1, 3), shape=(2, 2, 2, 3)),
        lambda: sample(normal(1, 3), shape=(0, 3)),
        lambda: sample(normal(3), shape=3),
    ),
)
def broadcast_to(array: Any, shape: Any, subok: Any = False) -> Node:
    """`np.broadcast_to`."""
    (node,) = lift((array,), "broadcast_to")
    target = as_shape(shape, "broadcast_to")
    return node if target == node.shape else apply(broadcast_op, (node,), (("shape", target),))


@function(
    numpy=(np.broadcast_arrays,),
    samples=cases(
        lambda: sample(normal(3), normal(2, 1)),
        lambda: sample(normal(2, 1, 2), 1.5, normal(3, 1)),
        lambda: sample(normal(2, 3)),
        lambda: sample(normal(0, 3), normal(3)),
        lambda: sample(normal(2), normal(2, seed=1)),
    ),
)
def broadcast_arrays(*args: Any, subok: Any = False) -> tuple[Node, ...]:
    """`np.broadcast_arrays`: all arrays in the one shape that they broadcast to."""
    nodes = tuple(x for a in args for x in lift((a,), "broadcast_arrays"))
    shape = broadcast_shapes(*(x.shape for x in nodes)) if nodes else ()
    return tuple(broadcast_to(x, shape) for x in nodes)


# --- what a node is, dimensions ----------------------------------------------------------------------


@function(numpy=(np.copy,), samples=lambda: [s for s in _flat_samples() if "order" not in s.attrs])
def copy(a: Any, order: str = "K", subok: Any = False) -> Node:
    """`np.copy`: the node itself, since nodes are immutable."""
    is_fortran(order, "copy")
    return lift((a,), "copy")[0]


def _size(a: Any, axis: Any = None) -> Size:
    (node,) = lift((a,), "size")
    return size_of(tuple(node.shape[k] for k in normalize_axes(axis, node.ndim, "size")))


def _dtype_of(value: Any) -> Any:
    return value.dtype if isinstance(value, Node) else value


def _common_type(*arrays: Any) -> Any:
    """`np.common_type` asks arrays for nothing but their dtypes."""
    return np.common_type(*(np.empty(0, _dtype_of(a)) if isinstance(a, Node) else a for a in arrays))


NUMPY[np.shape] = lambda a: lift((a,), "shape")[0].shape
NUMPY[np.ndim] = lambda a: lift((a,), "ndim")[0].ndim
NUMPY[np.size] = _size
NUMPY[np.result_type] = lambda *given: np.result_type(*map(_dtype_of, given))
NUMPY[np.can_cast] = lambda from_, to, casting="safe": np.can_cast(_dtype_of(from_), _dtype_of(to), casting)
NUMPY[np.min_scalar_type] = _dtype_of
NUMPY[np.common_type] = _common_type
NUMPY[np.iscomplexobj] = lambda x: False
NUMPY[np.isrealobj] = lambda x: True

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


# --- add_n ------------------------------------------------------------------------------------------


def _add_n(*xs: Any) -> Any:
    if adds_wide(xs):
        return _add_n(*(np.asarray(x, np.float32) for x in xs)).astype(xs[0].dtype)
    total = np.add(xs[0], xs[1])
    for x in xs[2:]:
        total = np.add(total, x)
    return total


def adds_wide(terms: Sequence[Any]) -> bool:
    """True for float16 that is rounded more than once: it counts to 2048 only."""
    return terms[0].dtype == np.float16 and len(terms) > 2


def _add_n_kernel(inputs: Sequence[TensorType], out: TensorType, attrs: dict[str, Any]) -> Kernel:
    if adds_wide(inputs):
        begun = Call(np.add, "add", "{0}, {1}, {s0}, dtype='f'")
        more = tuple(Call(np.add, "add", f"{{s0}}, {{{k}}}, {{s0}}") for k in range(2, len(inputs)))
        done = Call(np.copyto, "copyto", "{out}, {s0}, 'same_kind'")
        return Kernel((begun, *more, done), inplace=(0, 1), scratch=(TensorType(out.shape, np.dtype("float32")),))
    first = Call(np.add, "add", "{0}, {1}, {out}")
    rest = tuple(Call(np.add, "add", f"{{out}}, {{{k}}}, {{out}}") for k in range(2, len(inputs)))
    return Kernel((first, *rest), inplace=(0, 1))


add_n = op(
    "add_n",
    infer=lambda *types: types[0],
    evaluate=_add_n,
    vjp=THROUGH,
    jvp=THROUGH,
    kernel=_add_n_kernel,
    elementwise=True,
    symbolic="a + b + c",
    linear=True,
)
