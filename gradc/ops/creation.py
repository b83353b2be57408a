"""Arrays from nothing but numbers: fills, ranges, grids. Shapes may be symbolic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradc.errors import ArgumentError, GradcError, ShapeError, show
from gradc.ir import NUMPY, Node, apply, as_array, constant, lift
from gradc.ops.declare import call, function, op
from gradc.ops.samples import Sample, cases, normal, sample, uniform
from gradc.ops.shaping import broadcast_arrays, broadcast_to, expand_dims, moveaxis, reshape
from gradc.types import Dim, DType, Shape, Size, TensorType, as_dtype, as_integer, as_shape, as_size

__all__ = [
    "arange",
    "empty_like",
    "eye",
    "full",
    "full_like",
    "geomspace",
    "linspace",
    "logspace",
    "meshgrid",
    "ones",
    "ones_like",
    "tri",
    "zeros",
    "zeros_like",
]

# --- fills -------------------------------------------------------------------------------------------


def _fill(value: Any, shape: Shape, dtype: Any) -> Node:
    """One value, or an array of values, broadcast to `shape`; cast to `dtype` where one is given."""
    if isinstance(value, Node):
        return broadcast_to(value if dtype is None else value.astype(dtype), shape)
    return broadcast_to(constant(value if np.isscalar(value) else as_array(value, "full").astype(dtype or None), dtype), shape)


def _shapes_samples(**attrs: Any) -> Callable[[], list[Sample]]:
    shapes: tuple[Any, ...] = ((2, 3), 4, (), (0, 2))
    made = [sample(shape=s, gradient=False, **attrs) for s in shapes]
    return lambda: [*made, sample(shape=(2,), dtype="float32", gradient=False, **attrs)]


@function(numpy=(np.zeros,), samples=_shapes_samples(), differentiable=False)
def zeros(shape: Any, dtype: Any = "float64", order: str = "C", *, device: Any = None) -> Node:
    """Zeros. A shape is of integers and symbolic dimensions."""
    return _fill(0, as_shape(shape, "zeros"), as_dtype(dtype, "zeros"))


@function(numpy=(np.ones,), samples=_shapes_samples(), differentiable=False)
def ones(shape: Any, dtype: Any = "float64", order: str = "C", *, device: Any = None) -> Node:
    """Ones. A shape is of integers and symbolic dimensions."""
    return _fill(1, as_shape(shape, "ones"), as_dtype(dtype, "ones"))


@function(samples=cases(lambda: sample(shape=(2, 3), fill_value=1.5, gradient=False)), differentiable=False)
def full(shape: Any, fill_value: Any, dtype: Any = None, order: str = "C", *, device: Any = None) -> Node:
    """`np.full`: one value, which may be a node, in a shape of integers and symbolic dimensions."""
    return _fill(fill_value, as_shape(shape, "full"), None if dtype is None else as_dtype(dtype, "full"))


def _like(a: Any, value: Any, dtype: Any, shape: Any, where: str) -> Node:
    (node,) = lift((a,), where)
    target = node.dtype if dtype is None else as_dtype(dtype, where)
    return _fill(value, node.shape if shape is None else as_shape(shape, where), target)


def _like_samples(**attrs: Any) -> Callable[[], list[Sample]]:
    return lambda: [
        *(sample(normal(*s), gradient=False, **attrs) for s in ((3,), (2, 0), ())),
        sample(normal(2, 3), dtype="int32", gradient=False, **attrs),
        sample(normal(3), shape=(2, 2), dtype="float32", gradient=False, **attrs),
        sample(np.array([1, 2]), gradient=False, **attrs),
    ]


@function(numpy=(np.zeros_like,), samples=_like_samples(), differentiable=False)
def zeros_like(a: Any, dtype: Any = None, order: str = "K", subok: Any = True, shape: Any = None, *, device: Any = None) -> Node:
    """`np.zeros_like`: zeros of the shape and dtype of `a`, or of those that are given."""
    return _like(a, 0, dtype, shape, "zeros_like")


@function(numpy=(np.ones_like,), samples=_like_samples(), differentiable=False)
def ones_like(a: Any, dtype: Any = None, order: str = "K", subok: Any = True, shape: Any = None, *, device: Any = None) -> Node:
    """`np.ones_like`: ones of the shape and dtype of `a`, or of those that are given."""
    return _like(a, 1, dtype, shape, "ones_like")


@function("empty_like", samples=_like_samples(), differentiable=False)
def empty_like(
    prototype: Any, dtype: Any = None, order: str = "K", subok: Any = True, shape: Any = None, *, device: Any = None
) -> Node:
    """`np.empty_like`, with zeros: a node cannot be filled later, and its value is the same at every run."""
    return _like(prototype, 0, dtype, shape, "empty_like")


NUMPY[np.empty_like] = empty_like  # NumPy's own entries are whatever was in memory, so samples are not compared with it


@function(
    numpy=(np.full_like,),
    samples=lambda: [
        *_like_samples(fill_value=1.5)(),
        sample(normal(2, 3), 2.5),
        sample(normal(2, 3), normal(3)),
        sample(normal(2, 3), normal(2, 1), shape=(4, 2, 3)),
        sample(normal(0, 3), normal(3)),
    ],
)
def full_like(
    a: Any,
    fill_value: Any,
    dtype: Any = None,
    order: str = "K",
    subok: Any = True,
    shape: Any = None,
    *,
    device: Any = None,
) -> Node:
    """`np.full_like`: `fill_value`, which may be a node, in the shape and dtype of `a`, or in those that are given."""
    return _like(a, fill_value, dtype, shape, "full_like")


# --- ranges, triangles -------------------------------------------------------------------------------


def _infer_range(*, size: Size, dtype: DType) -> TensorType:
    return TensorType((size,), dtype)


range_op = op(
    "range",
    infer=_infer_range,
    evaluate=lambda *, size, dtype: np.arange(size, dtype=dtype),
    vjp=(),
    jvp=(),
)


@function(
    samples=lambda: [
        sample(start=4, gradient=False),
        sample(start=1, stop=7, step=2, gradient=False),
        sample(start=0.0, stop=1.0, step=0.25, dtype="float32", gradient=False),
        sample(start=0, gradient=False),
    ],
    differentiable=False,
)
def arange(start: Any, stop: Any = None, step: Any = None, dtype: Any = None) -> Node:
    """`np.arange` of constants; the one bound, or the stop after 0, may be a symbolic dimension."""
    if stop is None:
        start, stop = 0, start
    if not isinstance(stop, Dim):
        bounds: tuple[Any, ...] = (start, stop, 1 if step is None else step)
        try:
            return constant(np.arange(*bounds, dtype=dtype))
        except (ValueError, TypeError, ZeroDivisionError) as error:
            if isinstance(error, GradcError):
                raise
            raise ArgumentError(f"arange: {show(bounds)}: {error}") from None
    if isinstance(start, Dim) or start != 0 or step not in (None, 1):
        raise ShapeError(f"arange: up to the symbolic {stop} it runs from 0 by 1; write start + step * gc.arange(size)")
    return apply(range_op, (), (("dtype", as_dtype(dtype or "int64", "arange")), ("size", stop)))


def triangle(shape: Shape, k: int) -> Node:
    """True at and below the `k`-th diagonal of a matrix of `shape`."""
    rows, columns = shape
    if isinstance(rows, int) and isinstance(columns, int):
        return constant(np.tri(rows, columns, max(-rows, min(k, columns)), bool))
    return call("greater_equal", expand_dims(arange(rows), 1) + k, arange(columns))


def _as_dim(size: Any, where: str) -> Size:
    return as_size(size, where)


@function(
    samples=cases(lambda: sample(N=3, gradient=False), lambda: sample(N=2, M=4, k=1, dtype="float32", gradient=False)),
    differentiable=False,
)
def tri(N: Any, M: Any = None, k: Any = 0, dtype: Any = "float64") -> Node:  # noqa: N803
    """`np.tri`: ones at and below the `k`-th diagonal. Sizes may be symbolic."""
    rows = _as_dim(N, "tri")
    return triangle((rows, rows if M is None else _as_dim(M, "tri")), as_integer(k, "tri: k")).astype(dtype)


@function(
    samples=cases(lambda: sample(N=3, gradient=False), lambda: sample(N=2, M=4, k=1, dtype="float32", gradient=False)),
    differentiable=False,
)
def eye(N: Any, M: Any = None, k: Any = 0, dtype: Any = "float64") -> Node:  # noqa: N803
    """`np.eye`: ones on the `k`-th diagonal. Sizes may be symbolic."""
    rows = _as_dim(N, "eye")
    columns, offset = rows if M is None else _as_dim(M, "eye"), as_integer(k, "eye: k")
    if isinstance(rows, int) and isinstance(columns, int):
        return constant(np.eye(rows, columns, offset, as_dtype(dtype, "eye")))
    return call("equal", expand_dims(arange(rows), 1) + offset, arange(columns)).astype(dtype)


# --- grids -------------------------------------------------------------------------------------------


def _ends(start: Any, stop: Any, where: str) -> tuple[Node, Node]:
    """Both ends in the floating point dtype that NumPy computes in."""
    nodes = lift((start, stop), where)
    dtype = np.result_type(*(n.dtype for n in nodes))
    dtype = dtype if dtype.kind == "f" else np.result_type(dtype, np.float64)
    return nodes[0].astype(dtype), nodes[1].astype(dtype)


def _whole(num: Any, where: str) -> int:
    count = as_integer(num, f"{where}: the number of points")
    if count < 0:
        raise ArgumentError(f"{where}: the number of points is not negative, got {count}")
    return count


def _with_ends(points: Node, first: Node | None, last: Node | None) -> Node:
    """`points` along the first axis, with the ends in place of what was computed there."""
    parts = [points[1 if first is not None else 0 : -1 if last is not None else None]]
    shape = points.shape[1:]
    ends = [None if e is None else reshape(broadcast_to(e, shape), (1, *shape)) for e in (first, last)]
    joined = [p for p in (ends[0], *parts, ends[1]) if p is not None]
    return call("concatenate", joined) if len(joined) > 1 else points


def _grid_samples(low: float = -2, high: float = 2) -> Callable[[], list[Sample]]:
    def ends(*shapes: tuple[int, ...], **attrs: Any) -> Sample:
        return sample(*(uniform(low, high, *s, seed=k) for k, s in enumerate(shapes)), **attrs)

    return lambda: [
        ends((), (), num=5),
        ends((), (), num=4, endpoint=False),
        ends((), (), num=1),
        ends((), (), num=0),
        ends((3,), (3,), num=3),
        ends((2, 1), (3,), num=4, axis=1),
        ends((3,), (), num=3, axis=-1, endpoint=False),
        ends((), (), num=2, dtype="float32", endpoint=False)._replace(gradient=False),
    ]


def _steps(first: Node, last: Node, count: int, endpoint: bool) -> tuple[Node, Node]:
    """The points of `linspace` along the first axis, and the step between them."""
    intervals = count - 1 if endpoint else count
    delta = last - first
    index = constant(np.arange(0, count, dtype=delta.dtype).reshape(-1, *[1] * delta.ndim))
    if intervals > 0:
        step = delta / intervals
        underflow = call("any", call("equal", step, 0))  # NumPy then divides first, for all points
        points = call("where", underflow, index / intervals * delta, index * step) + first
    else:
        step = full_like(delta, np.nan)
        points = index * delta + first
    return (_with_ends(points, None, last) if endpoint and count > 1 else points), step


@function(numpy=(np.linspace,), samples=_grid_samples())
def linspace(
    start: Any,
    stop: Any,
    num: Any = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: Any = 0,
    *,
    device: Any = None,
) -> Any:
    """`np.linspace`: `num` points from `start` to `stop`, evenly spaced; both may be nodes, and arrays."""
    count = _whole(num, "linspace")
    first, last = _ends(start, stop, "linspace")
    points, step = _steps(first, last, count, endpoint)
    points = moveaxis(points, 0, axis)
    if dtype is not None:
        target = as_dtype(dtype, "linspace")
        points = (call("floor", points) if target.kind in "iu" else points).astype(target)
    return (points, step) if retstep else points


@function(numpy=(np.logspace,), samples=_grid_samples())
def logspace(
    start: Any, stop: Any, num: Any = 50, endpoint: bool = True, base: Any = 10.0, dtype: Any = None, axis: Any = 0
) -> Node:
    """`np.logspace`: powers of `base`, a number or a node, whose exponents are evenly spaced."""
    if isinstance(base, (Node, np.ndarray)) and base.ndim:
        start, stop, base = broadcast_arrays(start, stop, base)
        base = expand_dims(base, axis)
    points: Node = call("power", base, linspace(start, stop, num, endpoint, axis=axis))
    return points if dtype is None else points.astype(dtype)


@function(numpy=(np.geomspace,), samples=_grid_samples(0.5, 3))
def geomspace(start: Any, stop: Any, num: Any = 50, endpoint: bool = True, dtype: Any = None, axis: Any = 0) -> Node:
    """`np.geomspace`: `num` points from `start` to `stop`, each the one before times the same factor."""
    count = _whole(num, "geomspace")
    first, last = _ends(start, stop, "geomspace")
    width = np.result_type(first.dtype, last.dtype, as_dtype(dtype or "float64", "geomspace"))  # NumPy's: float64 at least
    first, last = first.astype(width), last.astype(width)
    sign = call("sign", first)
    first, last = first / sign, last / sign
    exponents, _ = _steps(call("log10", first), call("log10", last), count, endpoint)
    points: Node = call("power", 10.0, exponents)
    if count > 0:
        points = _with_ends(points, first, last if count > 1 and endpoint else None)
    points = moveaxis(points * sign, 0, axis)
    return points if dtype is None else points.astype(dtype)


@function(
    numpy=(np.meshgrid,),
    samples=cases(
        lambda: sample(normal(2), normal(3)),
        lambda: sample(normal(2), normal(3), indexing="ij"),
        lambda: sample(normal(2), normal(3), sparse=True),
        lambda: sample(normal(2), normal(3), normal(2, seed=1)),
        lambda: sample(normal(2), normal(1), normal(3), indexing="ij", sparse=True),
        lambda: sample(normal(3)),
        lambda: sample(normal(2), normal(0)),
        lambda: sample(1.5, normal(2)),
    ),
)
def meshgrid(*xi: Any, copy: Any = True, sparse: Any = False, indexing: str = "xy") -> tuple[Node, ...]:
    """`np.meshgrid`: each vector along an axis of its own, broadcast against the others unless `sparse`."""
    if indexing not in ("xy", "ij"):
        raise ArgumentError(f"meshgrid: indexing is 'xy' or 'ij', got {show(indexing)}")
    nodes = [x for v in xi for x in lift((v,), "meshgrid")]
    axes = [1 - k if indexing == "xy" and len(nodes) > 1 and k < 2 else k for k in range(len(nodes))]
    grids = tuple(
        reshape(x, tuple(x.size if k == axis else 1 for k in range(len(nodes)))) for x, axis in zip(nodes, axes, strict=True)
    )
    return grids if sparse else broadcast_arrays(*grids)
