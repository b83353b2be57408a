"""Indexing: NumPy's basic indexing, its adjoint, one_hot, and picking along the last axis."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradc.errors import ArgumentError, DTypeError, ShapeError, TraceError
from gradc.ir import Call, Kernel, Node, Op, apply, constant, lift
from gradc.ops.declare import call, function, op
from gradc.ops.samples import cases, normal, sample
from gradc.types import Dim, Shape, Size, TensorType, show_shape, slice_size

__all__ = [
    "getitem",
    "one_hot",
]

Entry = Any


def as_index(entries: tuple[Entry, ...]) -> tuple[Any, ...]:
    """The NumPy index that normalised entries stand for; of a single entry too it gives an array, a view."""
    index = tuple(e if isinstance(e, int) else (None if e == "new" else slice(*e)) for e in entries)
    return (*index, ...) if _is_single(entries) else index


def _is_single(entries: tuple[Entry, ...]) -> bool:
    return bool(entries) and all(isinstance(e, int) for e in entries)


def index_text(entries: tuple[Entry, ...]) -> str:
    """The source of the NumPy index that normalised entries stand for."""

    def text(entry: Entry) -> str:
        if entry == "new":
            return "None"
        return str(entry) if isinstance(entry, int) else ":".join("" if e is None else str(e) for e in entry)

    return ", ".join(map(text, entries)) + (", ..." if _is_single(entries) else "") or "..."


def _normalize(index: Any, shape: Shape) -> tuple[Entry, ...]:
    given = index if isinstance(index, tuple) else (index,)
    for entry in given:
        if isinstance(entry, Node):
            raise TraceError("indexing by a node: use gc.take_along_axis or gc.one_hot; basic indexing takes integers and slices")
        if not (entry is None or entry is Ellipsis or isinstance(entry, slice) or hasattr(entry, "__index__")) or isinstance(
            entry, bool
        ):
            raise ArgumentError(f"indexing: expected integers, slices, None and ..., got {entry!r}")
    used = sum(e is not None and e is not Ellipsis for e in given)
    if used > len(shape) or sum(e is Ellipsis for e in given) > 1:
        raise ShapeError(f"indexing: {len(given)} indices for shape {show_shape(shape)}")
    fill = (slice(None),) * (len(shape) - used)
    at = next((k for k, e in enumerate(given) if e is Ellipsis), len(given))
    full = (*given[:at], *fill, *given[at + 1 :])
    sizes = iter(shape)
    return tuple("new" if e is None else _normal_entry(e, next(sizes)) for e in full)


def _normal_entry(entry: Any, size: Size) -> Entry:
    if not isinstance(entry, slice):
        return _normal_integer(int(entry.__index__()), size)
    start, stop, step = _bound(entry.start), _bound(entry.stop), _bound(entry.step)
    step = 1 if step is None else step
    if not isinstance(step, int) or step == 0:
        raise ArgumentError(f"indexing: the step of a slice is an integer and not 0, got {entry.step!r}")
    if isinstance(start, Dim) or isinstance(stop, Dim):
        return _symbolic_slice(entry, 0 if start is None else start, size if stop is None else stop, step, size)
    if isinstance(size, int):
        start, stop, step = slice(start, stop, step).indices(size)
        return (start, stop if stop >= 0 else None, step)
    return (0, size, 1) if (start or 0, stop, step) == (0, None, 1) else (start, stop, step)


def _bound(value: Any) -> Size | None:
    if value is None or isinstance(value, Dim):
        return value
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise ArgumentError(f"indexing: the bounds of a slice are integers, dimensions and None, got {value!r}")
    return int(value.__index__())


def _symbolic_slice(entry: slice, start: Size, stop: Size, step: int, size: Size) -> Entry:
    """`start:stop` where a bound is a dimension: it must lie within the axis for every value of the dimensions."""
    if step == 1 and slice_size(size, start, stop, 1) == stop - start:
        return (start, stop, 1)
    asked = index_text(((entry.start, entry.stop, *([] if step == 1 else [step])),))
    raise ShapeError(
        f"indexing: {asked} cannot be shown to lie within an axis of length {size}; "
        "count from an end with an integer (x[1:], x[:-1], x[::2])"
    )


def _normal_integer(i: int, size: Size) -> int:
    if isinstance(size, int) and not -size <= i < size:
        raise ShapeError(f"indexing: index {i} is out of bounds for an axis of length {size}")
    return i % size if isinstance(size, int) else i


def _infer_getitem(x: TensorType, *, index: tuple[Entry, ...]) -> TensorType:
    sizes = iter(x.shape)
    shape: list[Size] = []
    for entry in index:
        if entry == "new":
            shape.append(1)
            continue
        size = next(sizes)
        if isinstance(entry, int):
            _normal_integer(entry, size)
            continue
        start, stop, step = entry
        within = isinstance(start, Dim) or isinstance(stop, Dim)
        shape.append(stop - start if within else slice_size(size, start, stop, step))
    return TensorType(tuple(shape), x.dtype)


getitem_op: Op = op(
    "getitem",
    infer=_infer_getitem,
    evaluate=lambda x, *, index: x[as_index(index)],
    vjp=(lambda g, out, x, *, index: place(g, index, x.shape),),
    jvp=(lambda t, out, x, *, index: apply(getitem_op, (t,), (("index", index),)),),
    view=True,
    expression=lambda attrs: f"{{0}}[{index_text(attrs['index'])}]",
    linear=True,
    masks=True,
)


@function(
    samples=cases(
        lambda: sample(normal(4, 3), index=1),
        lambda: sample(normal(4, 3), index=(slice(None, None, -2), None, 0)),
        lambda: sample(normal(4), index=-1),
        lambda: sample(normal(4, 3), index=(2, 0)),
        lambda: sample(normal(4, 3), index=(..., slice(0, 0))),
    )
)
def getitem(x: Any, index: Any) -> Node:
    """`x[index]` with integers, slices, None and an ellipsis."""
    (node,) = lift((x,), "indexing")
    entries = _normalize(index, node.shape)
    if entries == tuple((0, s, 1) for s in node.shape):
        return node
    return apply(getitem_op, (node,), (("index", entries),))


def _place(g: Any, *, index: tuple[Entry, ...], shape: tuple[int, ...]) -> Any:
    out = np.zeros(shape, g.dtype)
    out[as_index(index)] = g
    return out


def _infer_place(g: TensorType, *, index: tuple[Entry, ...], shape: Shape) -> TensorType:
    part = _infer_getitem(TensorType(shape, g.dtype), index=index)
    if part.shape != g.shape:
        raise ShapeError(f"place: the index selects {show_shape(part.shape)}, got {show_shape(g.shape)}")
    return TensorType(shape, g.dtype)


def _place_kernel(inputs: Sequence[TensorType], out: TensorType, attrs: dict[str, Any]) -> Kernel:
    fill = Call(np.ndarray.fill, "fill", "{out}, 0")
    return Kernel((fill, Call(np.copyto, "copyto", f"{{out}}[{index_text(attrs['index'])}], {{0}}")))


place_op = op(
    "place",
    infer=_infer_place,
    evaluate=_place,
    kernel=_place_kernel,
    vjp=(lambda g, out, x, *, index, shape: apply(getitem_op, (g,), (("index", index),)),),
    jvp=(lambda t, out, x, *, index, shape: place(t, index, shape),),
    linear=True,
)


def _takes_all(entry: tuple[Any, ...], size: Size) -> bool:
    """True for a slice of all entries of an axis, forwards or backwards."""
    start, stop, step = entry
    if step == -1:
        return stop is None and (start is None or (isinstance(size, int) and start == size - 1))
    return entry == (0, size, 1)


def place(g: Node, index: tuple[Entry, ...], shape: Shape) -> Node:
    """Zeros of `shape` with `g` at `index`: the adjoint of basic indexing. A view of `g` where the index takes every entry."""
    slices = tuple((0, 1, 1) if isinstance(e, int) else e for e in index if e != "new")
    if all(_takes_all(e, size) for e, size in zip(slices, shape, strict=True)):
        whole = call("reshape", g, shape)
        return apply(getitem_op, (whole,), (("index", slices),)) if any(e[2] == -1 for e in slices) else whole
    return apply(place_op, (g,), (("index", index), ("shape", shape)))


def _placed_sum(*xs: Any, indices: tuple[tuple[Entry, ...], ...], shape: tuple[int, ...]) -> Any:
    whole = len(xs) - len(indices)
    out = sum(xs[1:whole], np.array(xs[0])) if whole else np.zeros(shape, xs[0].dtype)
    for x, index in zip(xs[whole:], indices, strict=True):
        out[as_index(index)] += x
    return out


def _infer_placed_sum(*types: TensorType, indices: tuple[tuple[Entry, ...], ...], shape: Shape) -> TensorType:
    whole = len(types) - len(indices)
    for given, index in zip(types[whole:], indices, strict=True):
        _infer_place(given, index=index, shape=shape)
    return TensorType(shape, types[0].dtype)


def _placed_sum_kernel(inputs: Sequence[TensorType], out: TensorType, attrs: dict[str, Any]) -> Kernel:
    """The first term that is whole may be the result's memory: the copy of it onto itself is then left out."""
    whole = len(inputs) - len(attrs["indices"])
    start = Call(np.copyto, "copyto", "{out}, {0}") if whole else Call(np.ndarray.fill, "fill", "{out}, 0")
    calls = [start, *(Call(np.add, "add", f"{{out}}, {{{k}}}, {{out}}") for k in range(1, whole))]
    for k, index in enumerate(attrs["indices"], whole):
        calls.append(Call(operator.iadd, "iadd", f"{{out}}[{index_text(index)}], {{{k}}}"))
    return Kernel(tuple(calls), inplace=(0,) if whole else ())


placed_sum_op = op(
    "placed_sum",
    infer=_infer_placed_sum,
    evaluate=_placed_sum,
    vjp=lambda k, g, out, *xs, indices, shape: _part(g, k - len(xs) + len(indices), indices),
    jvp=lambda k, t, out, *xs, indices, shape: _at(t, k - len(xs) + len(indices), indices, shape),
    kernel=_placed_sum_kernel,
    linear=True,
)


def _part(g: Node, k: int, indices: tuple[tuple[Entry, ...], ...]) -> Node:
    return g if k < 0 else apply(getitem_op, (g,), (("index", indices[k]),))


def _at(t: Node, k: int, indices: tuple[tuple[Entry, ...], ...], shape: Shape) -> Node:
    return t if k < 0 else place(t, indices[k], shape)


def placed_sum(terms: Sequence[Node]) -> Node:
    """The sum of `terms`, of one type, without the zeros of those that are a `place`: these are added where they are."""
    whole = [t for t in terms if t.op is not place_op]
    parts: dict[tuple[Entry, ...], Node] = {}
    for term in terms:
        if term.op is place_op:
            index, part = term.attr("index"), term.inputs[0]
            parts[index] = parts[index] + part if index in parts else part
    if not whole and len(parts) == 1:
        [(index, part)] = parts.items()
        return place(part, index, terms[0].shape)
    return apply(placed_sum_op, (*whole, *parts.values()), (("indices", tuple(parts)), ("shape", terms[0].shape)))


def _axis_index(shape: Shape, axis: int, start: Size, stop: Size) -> tuple[Entry, ...]:
    return tuple((start, stop, 1) if k == axis else (0, s, 1) for k, s in enumerate(shape))


@function()
def slice_axis(x: Node, axis: int, start: Size, stop: Size) -> Node:
    """Entries `start` to `stop` along one axis; bounds may be symbolic."""
    return apply(getitem_op, (x,), (("index", _axis_index(x.shape, axis, start, stop)),))


@function()
def place_axis(x: Node, axis: int, start: Size, shape: Shape) -> Node:
    """Zeros of `shape` with `x` from `start` along one axis."""
    return place(x, _axis_index(shape, axis, start, start + x.shape[axis]), shape)


# --- labels ------------------------------------------------------------------------------------------


@function(samples=cases(lambda: sample(np.array([0, 2, 1]), depth=3, gradient=False)), differentiable=False)
def one_hot(labels: Any, depth: int, dtype: Any = "float64") -> Node:
    """Rows of the identity matrix: shape `labels.shape + (depth,)`; a label outside [0, depth) gives zeros."""
    (node,) = lift((labels,), "one_hot")
    if node.dtype.kind not in "iu":
        raise DTypeError(f"one_hot: labels are integers, got {node.dtype}")
    if not isinstance(depth, (int, np.integer)) or depth < 0:
        raise ArgumentError(f"one_hot: depth is the number of classes, an integer from 0, got {depth!r}")
    classes = constant(np.arange(depth, dtype=node.dtype))
    return call("equal", call("expand_dims", node, -1), classes).astype(dtype)


def _infer_pick(x: TensorType, labels: TensorType) -> TensorType:
    if labels.dtype.kind not in "iu":
        raise DTypeError(f"labels are integers, got {labels.dtype}")
    if x.shape[:-1] != labels.shape:
        raise ShapeError(f"rows {show_shape(x.shape[:-1])} and labels {show_shape(labels.shape)} differ")
    return TensorType(labels.shape, x.dtype)


def _check_labels(labels: Any, depth: int) -> Any:
    if labels.size and (labels.min() < 0 or labels.max() >= depth):
        raise ArgumentError(f"a label lies outside [0, {depth}): the labels run from {labels.min()} to {labels.max()}")
    return labels.astype(np.intp)[..., None]


def _pick(x: Any, labels: Any) -> Any:
    return np.take_along_axis(x, _check_labels(labels, x.shape[-1]), -1)[..., 0]


def _put(g: Any, labels: Any, *, depth: int) -> Any:
    out = np.zeros((*labels.shape, depth), g.dtype)
    np.put_along_axis(out, _check_labels(labels, depth), g[..., None], -1)
    return out


pick_op: Op = op(
    "pick",
    infer=_infer_pick,
    evaluate=_pick,
    vjp=(lambda g, out, x, labels: apply(put_op, (g, labels), (("depth", x.shape[-1]),)), None),
    jvp=(lambda t, out, x, labels: apply(pick_op, (t, labels)), None),
    linear=True,
    moves=True,
)
put_op: Op = op(
    "put",
    infer=lambda g, labels, *, depth: TensorType((*g.shape, depth), g.dtype),
    evaluate=_put,
    vjp=(lambda g, out, x, labels, *, depth: apply(pick_op, (g, labels)), None),
    jvp=(lambda t, out, x, labels, *, depth: apply(put_op, (t, labels), (("depth", depth),)), None),
    linear=True,
)
