"""Basic indexing: integers, slices, None and an ellipsis; a view. Its adjoint, and the write of a part."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradc.errors import ArgumentError, BoundsError, ShapeError, show
from gradc.ir import Call, Kernel, Node, Op, apply
from gradc.ops.declare import call, function, op
from gradc.ops.shaping import add_n, adds_wide
from gradc.types import Dim, Shape, Size, TensorType, show_shape, slice_size

__all__: list[str] = []

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
        if isinstance(entry, int):
            return str(entry)
        shown = entry[:2] if entry[2] == 1 else entry
        return ":".join("" if e is None else str(e) for e in shown)

    return ", ".join(map(text, entries)) + (", ..." if _is_single(entries) else "") or "..."


def normalize(index: Sequence[Any], shape: Shape) -> tuple[Entry, ...]:
    """Integers, slices, Nones and at most one ellipsis as entries that say all: one for each axis and each None."""
    used = sum(e is not None and e is not Ellipsis for e in index)
    fill = (slice(None),) * (len(shape) - used)
    at = next((k for k, e in enumerate(index) if e is Ellipsis), len(index))
    full = (*index[:at], *fill, *index[at + 1 :])
    sizes = iter(shape)
    return tuple("new" if e is None else _normal_entry(e, next(sizes)) for e in full)


def _normal_entry(entry: Any, size: Size) -> Entry:
    if not isinstance(entry, slice):
        return _normal_integer(int(entry.__index__()), size)
    start, stop, step = _bound(entry.start), _bound(entry.stop), _bound(entry.step)
    step = 1 if step is None else step
    if not isinstance(step, int) or step == 0:
        raise ArgumentError(f"indexing: the step of a slice is an integer and not 0, got {show(entry.step)}")
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
        raise ArgumentError(f"indexing: the bounds of a slice are integers, dimensions and None, got {show(value)}")
    return int(value.__index__())


def _symbolic_slice(entry: slice, start: Size, stop: Size, step: int, size: Size) -> Entry:
    """`start:stop` where a bound is a dimension: it must lie within the axis for every value of the dimensions."""
    if step == 1 and slice_size(size, start, stop, 1) == stop - start:
        return (start, stop, 1)
    asked = index_text(((entry.start, entry.stop, step),))
    raise ShapeError(
        f"indexing: {asked} cannot be shown to lie within an axis of length {size}; "
        "count from an end with an integer (x[1:], x[:-1], x[::2])"
    )


def _normal_integer(i: int, size: Size) -> int:
    if isinstance(size, int) and not -size <= i < size:
        raise BoundsError(f"indexing: index {i} is out of bounds for an axis of length {size}")
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


def part(x: Node, index: tuple[Entry, ...]) -> Node:
    """The part of `x` that normalised entries select; `x` itself where that is all of it."""
    return x if is_whole(index, x.shape) else apply(getitem_op, (x,), (("index", index),))


def is_whole(index: tuple[Entry, ...], shape: Shape) -> bool:
    """True when normalised entries select everything, as it is."""
    return index == tuple((0, s, 1) for s in shape)


# --- zeros with a part: the adjoint ----------------------------------------------------------------------


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
    places=True,
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


# --- a part replaced -------------------------------------------------------------------------------------


def _replaced(x: Any, value: Any, *, index: tuple[Entry, ...]) -> Any:
    out = np.array(x)
    out[as_index(index)] = value
    return out


def _infer_replace(x: TensorType, value: TensorType, *, index: tuple[Entry, ...]) -> TensorType:
    selected = _infer_getitem(x, index=index)
    if selected != value:
        raise ShapeError(f"replace: the index selects {selected}, got {value}")
    return x


def _replace_kernel(inputs: Sequence[TensorType], out: TensorType, attrs: dict[str, Any]) -> Kernel:
    calls = (
        Call(np.copyto, "copyto", "{out}, {0}"),
        Call(np.copyto, "copyto", f"{{out}}[{index_text(attrs['index'])}], {{1}}"),
    )
    return Kernel(calls, inplace=(0,))


replace_op: Op = op(
    "replace",
    infer=_infer_replace,
    evaluate=_replaced,
    kernel=_replace_kernel,
    vjp=(
        lambda g, out, x, value, *, index: replace_part(g, call("zeros_like", value), index),
        lambda g, out, x, value, *, index: apply(getitem_op, (g,), (("index", index),)),
    ),
    jvp=(
        lambda t, out, x, value, *, index: replace_part(t, call("zeros_like", value), index),
        lambda t, out, x, value, *, index: place(t, index, x.shape),
    ),
    linear=True,
    masks=True,
)


def replace_part(x: Node, value: Node, index: tuple[Entry, ...]) -> Node:
    """`x` with `value` at `index`."""
    return apply(replace_op, (x, value), (("index", index),))


# --- sums of parts ---------------------------------------------------------------------------------------


def _placed_sum(*xs: Any, indices: tuple[tuple[Entry, ...], ...], shape: tuple[int, ...]) -> Any:
    if adds_wide(xs):
        wide = [np.asarray(x, np.float32) for x in xs]
        return _placed_sum(*wide, indices=indices, shape=shape).astype(xs[0].dtype)
    whole = len(xs) - len(indices)
    out = sum(xs[1:whole], np.array(xs[0])) if whole else np.zeros(shape, xs[0].dtype)
    for k, (x, index) in enumerate(zip(xs[whole:], indices, strict=True), whole):
        if k:
            out[as_index(index)] += x
        else:
            out[as_index(index)] = x
    return out


def _infer_placed_sum(*types: TensorType, indices: tuple[tuple[Entry, ...], ...], shape: Shape) -> TensorType:
    whole = len(types) - len(indices)
    for given, index in zip(types[whole:], indices, strict=True):
        _infer_place(given, index=index, shape=shape)
    return TensorType(shape, types[0].dtype)


def _placed_sum_kernel(inputs: Sequence[TensorType], out: TensorType, attrs: dict[str, Any]) -> Kernel:
    """The first term that is whole may be the result's memory: the copy of it onto itself is then left out.

    Where none is whole, the first is copied into the zeros, which costs less than to add it.
    """
    whole = len(inputs) - len(attrs["indices"])
    start = Call(np.copyto, "copyto", "{out}, {0}") if whole else Call(np.ndarray.fill, "fill", "{out}, 0")
    calls = [start, *(Call(np.add, "add", f"{{out}}, {{{k}}}, {{out}}") for k in range(1, whole))]
    for k, index in enumerate(attrs["indices"], whole):
        add = Call(operator.iadd, "iadd", f"{{out}}[{index_text(index)}], {{{k}}}")
        calls.append(add if k else Call(np.copyto, "copyto", f"{{out}}[{index_text(index)}], {{0}}"))
    if not adds_wide(inputs):
        return Kernel(tuple(calls), inplace=(0,) if whole else ())
    wide = [c._replace(arguments=c.arguments.replace("{out}", "{s0}")) for c in calls]
    done = Call(np.copyto, "copyto", "{out}, {s0}, 'same_kind'")
    return Kernel((*wide, done), scratch=(TensorType(out.shape, np.dtype("float32")),))


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
    placed: dict[tuple[Entry, ...], list[Node]] = {}
    for term in terms:
        if term.op is place_op:
            placed.setdefault(term.attr("index"), []).append(term.inputs[0])
    parts = {index: p[0] if len(p) == 1 else apply(add_n, tuple(p)) for index, p in placed.items()}
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
