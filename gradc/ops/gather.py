"""Gathers and scatters along axes: the ops that all indexing by arrays is made of.

One node of positions indexes `count` neighbouring axes from `axis` on, flattened; that all lie within these axes is made sure
before, by `within`. So gathers and scatters never fail, and one kernel serves every index that NumPy knows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradc.errors import BoundsError, DTypeError, ShapeError
from gradc.ir import CONSTANT, Call, Kernel, Node, Op, apply, constant
from gradc.ops.declare import call, op, scale
from gradc.types import Shape, Size, TensorType, broadcast_shapes, is_static, show_shape, size_of

__all__: list[str] = []

Array = np.ndarray[Any, Any]
INTP = np.dtype(np.intp)
_LARGEST = np.uint64(np.iinfo(np.intp).max)
_CHUNK = 1 << 15
_WIDE = 512

# --- positions within an axis ----------------------------------------------------------------------------


def within_into(index: Array, out: Array, size: int, mode: str) -> None:
    """Into `out`: `index` counted from 0 in an axis of `size` entries; beyond its ends as `mode` says.

    "raise": an index in [-size, size), negative ones from the end; "label": one in [0, size); "wrap": modulo `size`; "clip": the
    nearest entry.

    Raises:
        BoundsError: one lies outside; or the axis is empty.
    """
    if not index.size:
        return
    if not size:
        raise BoundsError(f"an axis of length 0 has no entry to index; got indices of shape {show_shape(index.shape)}")
    if index.dtype == np.uint64:
        np.copyto(out, index % np.uint64(size) if mode == "wrap" else np.minimum(index, _LARGEST), casting="same_kind")
    else:
        np.copyto(out, index)
    if np.maximum.reduce(out.view(np.uintp), None) < size:  # as unsigned integers negative ones are huge: all is well
        return
    if mode == "wrap":
        np.remainder(out, size, out)
    elif mode == "clip":
        np.clip(out, 0, size - 1, out)
    else:
        _check_bounds(int(index.min()), int(index.max()), -size if mode == "raise" else 0, size)
        np.add(out, size, out, where=out < 0)


def _check_bounds(low: int, high: int, lowest: int, size: int) -> None:
    if low < lowest or high >= size:
        worst = high if high >= size else low
        raise BoundsError(f"index {worst} is out of bounds for an axis of length {size}: it lies outside [{lowest}, {size})")


def _within(index: Any, *, mode: str, size: int) -> Any:
    out = np.empty(index.shape, INTP)
    within_into(index, out, size, mode)
    return out


def _infer_within(index: TensorType, *, mode: str, size: Size) -> TensorType:
    if index.dtype.kind not in "iu":
        raise DTypeError(f"indices are integers, got {index}")
    return TensorType(index.shape, INTP)


within_op = op(
    "within",
    infer=_infer_within,
    evaluate=_within,
    vjp=(None,),
    jvp=(None,),
    kernel=lambda inputs, out, attrs: Kernel(
        (Call(within_into, "within", f"{{0}}, {{out}}, {attrs['size']}, {attrs['mode']!r}"),)
    ),
    raises=True,
)


def within(index: Node, size: Size, mode: str = "raise") -> Node:
    """`index` as positions in an axis of `size` entries, counted from 0; constants are checked now, nodes when they have values.

    Raises:
        BoundsError: a constant index is out of bounds.
        DTypeError: it is no integer.
    """
    if index.op is CONSTANT and isinstance(size, int) and index.dtype.kind in "iu":
        return constant(_within(index.attr("value").array, mode=mode, size=size))
    return apply(within_op, (index,), (("mode", mode), ("size", size)))


positions_op = op(
    "positions",
    infer=lambda *, size: TensorType((size,), INTP),
    evaluate=lambda *, size: np.arange(size, dtype=INTP),
    vjp=(),
    jvp=(),
)


def positions(size: Size) -> Node:
    """0, 1, ... up to `size`, which may be symbolic."""
    return constant(np.arange(size, dtype=INTP)) if isinstance(size, int) else apply(positions_op, (), (("size", size),))


def flattened(indices: Sequence[Node], sizes: Sequence[Size]) -> Node:
    """Positions in neighbouring axes of `sizes`, one node an axis, as positions in these axes flattened."""
    arrays = [i.attr("value").array for i in indices if i.op is CONSTANT]
    if len(indices) > 1 and len(arrays) == len(indices) and is_static(tuple(sizes)):
        broadcast_shapes(*[a.shape for a in arrays])
        total = arrays[0]
        for array, size in zip(arrays[1:], sizes[1:], strict=True):
            total = total * size + array
        return constant(total)
    node = indices[0]
    for index, size in zip(indices[1:], sizes[1:], strict=True):
        node = node * size + index
    return node


# --- the shapes of all of them ---------------------------------------------------------------------------


def _infer_gather(x: TensorType, index: TensorType, *, axis: int, count: int) -> TensorType:
    if index.dtype != INTP:
        raise DTypeError(f"positions are {INTP}, got {index}")
    return TensorType((*x.shape[:axis], *index.shape, *x.shape[axis + count :]), x.dtype)


def _check_values(x: TensorType, values: TensorType, index: TensorType, axis: int, count: int) -> None:
    wanted = _infer_gather(x, index, axis=axis, count=count)
    if values != wanted:
        raise ShapeError(f"the index selects {wanted}, got {values}")


def _flat(x: Array, axis: int, count: int) -> Array:
    """`x` with the axes that are indexed as one; a view where there is one."""
    sizes = x.shape[axis : axis + count]
    return x.reshape((*x.shape[:axis], math.prod(sizes), *x.shape[axis + count :]))


def _rows(out: Array, index: Array, axis: int, count: int) -> tuple[Array, Array]:
    """`out`, contiguous, as rows, and the row that each row of values belongs to."""
    before, size, after = (math.prod(s) for s in (out.shape[:axis], out.shape[axis : axis + count], out.shape[axis + count :]))
    rows = index.reshape(-1)
    if before != 1:
        rows = (np.arange(before, dtype=INTP)[:, None] * size + rows).reshape(-1)
    return out.reshape((before * size, after)), rows


# --- gather ----------------------------------------------------------------------------------------------


def gather_into(x: Array, index: Array, out: Array, axis: int, count: int) -> None:
    """Into `out`: the entries of `x` at positions in its axes from `axis` on, `count` of them flattened."""
    if x.flags.c_contiguous:
        np.take(_flat(x, axis, count), index, axis, out, "clip")  # in bounds already; other modes would buffer
    else:
        out[...] = _picked(x, index, axis, count)


def _picked(x: Array, index: Array, axis: int, count: int) -> Array:
    """The same of an array that is not contiguous, of which no more than the result is copied."""
    places = np.unravel_index(index, x.shape[axis : axis + count]) if count > 1 else (index,)
    found: Array = x[(*[slice(None)] * axis, *places)]
    return found


def _gathered(x: Any, index: Any, *, axis: int, count: int) -> Any:
    shape = (*x.shape[:axis], *index.shape, *x.shape[axis + count :])
    out = np.empty(shape, x.dtype)
    gather_into(x, index, out, axis, count)
    return out


gather_op: Op = op(
    "gather",
    infer=_infer_gather,
    evaluate=_gathered,
    vjp=(lambda g, out, x, index, *, axis, count: scatter_add(g, index, axis, x.shape[axis : axis + count]), None),
    jvp=(lambda t, out, x, index, *, axis, count: gather(t, index, axis, count), None),
    kernel=lambda inputs, out, attrs: Kernel(
        (Call(gather_into, "gather", f"{{0}}, {{1}}, {{out}}, {attrs['axis']}, {attrs['count']}"),)
    ),
    linear=True,
    moves=True,
    masks=True,
)


def gather(x: Node, index: Node, axis: int = 0, count: int = 1) -> Node:
    """The entries of `x` at positions in its axes from `axis` on, `count` of them flattened."""
    return apply(gather_op, (x, index), (("axis", axis), ("count", count)))


# --- scatter-add -----------------------------------------------------------------------------------------


def in_one_piece(write: Callable[..., None]) -> Callable[..., None]:
    """`write(out, ...)`, which needs contiguous memory, for any `out`: arrays that are updated are laid out as users please."""

    def wrapped(out: Array, *arguments: Any) -> None:
        if out.flags.c_contiguous:
            write(out, *arguments)
            return
        whole = out.copy("C")
        write(whole, *arguments)
        np.copyto(out, whole)

    return wrapped


@in_one_piece
def add_into(out: Array, values: Array, index: Array, axis: int, count: int) -> None:
    """Add `values` to the entries of `out` at `index`, repeated ones one after the other: the bits of `np.add.at`.

    NumPy adds fast at positions in a vector, 3 to 4 times as fast as whole rows; so rows are spelled out, a chunk at a time.
    """
    if out.dtype == np.float16:  # it counts to 2048 only
        wide = out.astype(np.float32)
        add_into(wide, values, index, axis, count)
        np.copyto(out, wide, "same_kind")
        return
    if out.ndim == count:
        np.add.at(out.reshape(-1), index.reshape(-1), values.reshape(-1))
        return
    table, rows = _rows(out, index, axis, count)
    width = table.shape[1]
    parts = values.reshape((len(rows), width))
    if width == 1:
        np.add.at(table.reshape(-1), rows, parts.reshape(-1))
    elif width >= _WIDE:
        for row, part in zip(rows.tolist(), parts, strict=True):
            table[row] += part
    elif width:
        step = _CHUNK // width
        columns = np.arange(width, dtype=INTP)
        for first in range(0, len(rows), step):
            places = rows[first : first + step, None] * width + columns
            np.add.at(table.reshape(-1), places.reshape(-1), parts[first : first + step].reshape(-1))


@in_one_piece
def set_into(out: Array, values: Array, index: Array, axis: int, count: int) -> None:
    """Write `values` to the entries of `out` at `index`; of repeated ones the last stays."""
    table, rows = _rows(out, index, axis, count)
    table[rows] = values.reshape((len(rows), table.shape[1]))


def _scattered(values: Any, index: Any, *, axis: int, distinct: bool, shape: tuple[int, ...]) -> Any:
    rest = values.shape[axis + index.ndim :]
    out = np.zeros((*values.shape[:axis], *shape, *rest), values.dtype)
    (set_into if distinct else add_into)(out, values, index, axis, len(shape))
    return out


def _infer_scatter(values: TensorType, index: TensorType, *, axis: int, distinct: bool, shape: Shape) -> TensorType:
    after = axis + index.ndim
    if index.dtype != INTP:
        raise DTypeError(f"positions are {INTP}, got {index}")
    if values.shape[axis:after] != index.shape:
        raise ShapeError(f"values of shape {show_shape(values.shape)} for positions of shape {show_shape(index.shape)}")
    return TensorType((*values.shape[:axis], *shape, *values.shape[after:]), values.dtype)


def _scatter_kernel(inputs: Sequence[TensorType], out: TensorType, attrs: dict[str, Any]) -> Kernel:
    write, name = (set_into, "set_at") if attrs["distinct"] else (add_into, "add_at")
    arguments = f"{{out}}, {{0}}, {{1}}, {attrs['axis']}, {len(attrs['shape'])}"
    return Kernel((Call(np.ndarray.fill, "fill", "{out}, 0"), Call(write, name, arguments)))


scatter_op = op(
    "scatter_add",
    infer=_infer_scatter,
    evaluate=_scattered,
    vjp=(lambda g, out, values, index, *, axis, distinct, shape: gather(g, index, axis, len(shape)), None),
    jvp=(lambda t, out, values, index, *, axis, distinct, shape: scatter_add(t, index, axis, shape), None),
    kernel=_scatter_kernel,
    linear=True,
    places=True,
)


def scatter_add(values: Node, index: Node, axis: int, shape: Shape) -> Node:
    """Zeros, of `shape` in the axes from `axis` on that positions index, with `values` added: the adjoint of `gather`."""
    attrs = (("axis", axis), ("distinct", _repeats(index) is False), ("shape", shape))
    return apply(scatter_op, (values, index), attrs)


def _repeats(index: Node) -> bool | None:
    """True when a constant index holds a position twice; None where that is known only at run time."""
    if index.op is not CONSTANT:
        return None
    array = index.attr("value").array
    return bool(np.unique(array).size < array.size)


# --- functional updates ----------------------------------------------------------------------------------


def _infer_update(x: TensorType, values: TensorType, index: TensorType, *, axis: int, count: int) -> TensorType:
    _check_values(x, values, index, axis, count)
    return x


def _update_kernel(write: Any, name: str) -> Any:
    def kernel(inputs: Sequence[TensorType], out: TensorType, attrs: dict[str, Any]) -> Kernel:
        arguments = f"{{out}}, {{1}}, {{2}}, {attrs['axis']}, {attrs['count']}"
        return Kernel((Call(np.copyto, "copyto", "{out}, {0}"), Call(write, name, arguments)), inplace=(0,))

    return kernel


def _updated(write: Any) -> Any:
    def evaluate(x: Any, values: Any, index: Any, *, axis: int, count: int) -> Any:
        out = np.array(x, order="C")
        write(out, values, index, axis, count)
        return out

    return evaluate


add_at_op: Op = op(
    "add_at",
    infer=_infer_update,
    evaluate=_updated(add_into),
    vjp=(
        lambda g, out, x, values, index, *, axis, count: g,
        lambda g, out, x, values, index, *, axis, count: gather(g, index, axis, count),
        None,
    ),
    jvp=(
        lambda t, out, x, values, index, *, axis, count: t,
        lambda t, out, x, values, index, *, axis, count: scatter_add(t, index, axis, x.shape[axis : axis + count]),
        None,
    ),
    kernel=_update_kernel(add_into, "add_at"),
    linear=True,
)


def add_at(x: Node, values: Node, index: Node, axis: int = 0, count: int = 1) -> Node:
    """`x` with `values` added at positions in its axes from `axis` on; repeated ones add up."""
    return apply(add_at_op, (x, values, index), (("axis", axis), ("count", count)))


set_at_op: Op = op(
    "set_at",
    infer=_infer_update,
    evaluate=_updated(set_into),
    vjp=(
        lambda g, out, x, values, index, *, axis, count: set_at(g, call("zeros_like", values), index, axis, count),
        lambda g, out, x, values, index, *, axis, count: _that_stay(
            gather(g, index, axis, count), index, axis, x.shape[axis : axis + count]
        ),
        None,
    ),
    jvp=(
        lambda t, out, x, values, index, *, axis, count: set_at(t, call("zeros_like", values), index, axis, count),
        lambda t, out, x, values, index, *, axis, count: scatter_add(
            _that_stay(t, index, axis, x.shape[axis : axis + count]), index, axis, x.shape[axis : axis + count]
        ),
        None,
    ),
    kernel=_update_kernel(set_into, "set_at"),
    linear=True,
    masks=True,
)


def set_at(x: Node, values: Node, index: Node, axis: int = 0, count: int = 1) -> Node:
    """`x` with `values` at positions in its axes from `axis` on; of repeated ones the last stays."""
    return apply(set_at_op, (x, values, index), (("axis", axis), ("count", count)))


def stays_into(index: Array, out: Array, size: int) -> None:
    """Into `out`: True where a position of an axis of `size` entries does not come again later in `index`."""
    last = np.empty(size, INTP)
    order = np.arange(index.size, dtype=INTP)
    last[index.reshape(-1)] = order
    np.copyto(out, (last[index.reshape(-1)] == order).reshape(index.shape))


def _stays(index: Any, *, size: int) -> Any:
    out = np.empty(index.shape, bool)
    stays_into(index, out, size)
    return out


stays_op = op(
    "stays",
    infer=lambda index, *, size: TensorType(index.shape, np.dtype(bool)),
    evaluate=_stays,
    vjp=(None,),
    jvp=(None,),
    kernel=lambda inputs, out, attrs: Kernel((Call(stays_into, "stays", f"{{0}}, {{out}}, {attrs['size']}"),)),
)


def _that_stay(values: Node, index: Node, axis: int, shape: Shape) -> Node:
    """`values` where no later one overwrites them, exact zeros elsewhere."""
    if _repeats(index) is False:
        return values
    stay = apply(stays_op, (index,), (("size", size_of(shape)),))
    after = values.ndim - axis - index.ndim
    return scale(values, call("reshape", stay, (*index.shape, *(1,) * after)))
