"""Indexing: what `x[index]` means, basic or by arrays, and the functions that take, count and update entries by index.

An index that holds arrays is a basic index, then a permutation that brings the indexed axes together, then one gather. Where
the indexed axes land, NumPy itself is asked. Repeated indices: their adjoints add up; of values written, the last counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from gradc.errors import ArgumentError, DTypeError, GradcError, ShapeError, TraceError, show
from gradc.ir import CONSTANT, Call, Kernel, Node, Op, apply, as_array, constant, has_masked_entries, lift
from gradc.ops.declare import call, function, op
from gradc.ops.gather import add_at, flattened, gather, in_one_piece, positions, scatter_add, set_at, within
from gradc.ops.samples import Sample, at, cases, normal, sample
from gradc.ops.slices import Entry, getitem_op, is_whole, normalize, part, place, placed_sum, replace_part
from gradc.types import Dim, Shape, Size, TensorType, as_integer, broadcast_shapes, normalize_axis, show_shape

__all__ = [
    "at_add",
    "at_set",
    "bincount",
    "compress",
    "extract",
    "getitem",
    "one_hot",
    "segment_sum",
    "take",
    "take_along_axis",
]

# --- what an index means ---------------------------------------------------------------------------------


class ByArrays(NamedTuple):
    """An entry of an index that is an array of integers, or a mask: the integers it stands for, and the axes it takes."""

    arrays: tuple[Node, ...]
    axes: int
    mask: tuple[int, ...] | None = None


class Way(NamedTuple):
    """How to get at what an index selects.

    Attributes:
        basic: normalised entries of a basic index, which comes first.
        order: its axes, those indexed by arrays brought together.
        first: where in that order these begin.
        number: how many there are; 0 without arrays.
        places: positions in them, flattened.
    """

    basic: tuple[Entry, ...]
    order: tuple[int, ...] = ()
    first: int = 0
    number: int = 0
    places: Node | None = None

    def turned(self, x: Node) -> Node:
        """The basic part of `x`, indexed axes together."""
        return call("transpose", part(x, self.basic), self.order)

    def back(self, x: Node) -> Node:
        """`x` with its axes as they were before `turned`."""
        return call("transpose", x, tuple(int(k) for k in np.argsort(self.order)))


def understood(index: Any, shape: Shape, where: str) -> Way:
    """What `index` selects of an array of `shape`.

    Raises:
        GradcError: it is no index, or does not fit the shape.
    """
    given = [_entry(e, where) for e in (index if isinstance(index, tuple) else (index,))]
    missing = len(shape) - sum(map(_width, given))
    if missing < 0 or sum(e is Ellipsis for e in given) > 1:
        what = "more than one ellipsis" if missing >= 0 else f"{len(shape) - missing} indices"
        raise ShapeError(f"{where}: {what} for the {len(shape)} axes of {show_shape(shape)}")
    if not any(isinstance(e, ByArrays) for e in given):
        return Way(normalize(given, shape))
    start = next((k for k, e in enumerate(given) if e is Ellipsis), len(given))
    full = [*given[:start], *[slice(None)] * missing, *given[start + 1 :]]
    basic, indexed, arrays, sizes = _apart(full, shape, where)
    others = [k for k in range(_axes_left(basic)) if k not in indexed]
    first = _landing(given, missing)
    nodes = [within(a, s) for a, s in zip(arrays, sizes, strict=True)]
    try:
        broadcast_shapes(*[n.shape for n in nodes])
    except ShapeError as error:
        raise ShapeError(f"{where}: index arrays of {error.message}") from None
    order = (*others[:first], *indexed, *others[first:])
    return Way(normalize(basic, shape), order, first, len(indexed), flattened(nodes, sizes))


def _entry(entry: Any, where: str) -> Any:
    """An entry of an index: None, an ellipsis, a slice, an integer, or arrays."""
    if entry is None or entry is Ellipsis or isinstance(entry, slice):
        return entry
    if isinstance(entry, Node):
        if entry.op is not CONSTANT:
            return _by_node(entry, where)
        entry = entry.attr("value").array
    elif hasattr(entry, "__index__") and not isinstance(entry, (bool, np.bool_, np.ndarray)):
        return int(entry.__index__())
    array = _index_array(entry, where)
    if array.dtype.kind == "b":
        return _by_mask(array)
    return ByArrays((constant(array),), 1) if array.ndim else int(array)


def _by_node(node: Node, where: str) -> ByArrays:
    if node.dtype.kind == "b":
        raise TraceError(
            f"{where}: a mask that is computed selects as many entries as it has True ones, and a graph has no shapes that "
            "depend on values; write np.where(mask, x, 0), or multiply by the mask; np.sum takes where=mask"
        )
    if node.dtype.kind not in "iu":
        raise DTypeError(f"{where}: index arrays are integers or bool, got {node.type}; cast it with .astype('int64')")
    return ByArrays((node,), 1)


def _index_array(entry: Any, where: str) -> np.ndarray[Any, Any]:
    """A copy of an index that is an array or list; of an empty list, no integers."""
    if has_masked_entries(entry):
        raise ArgumentError(f"{where}: masked entries would count as indices; leave them out: index.compressed()")
    try:
        array = np.array(entry)
    except GradcError:
        raise
    except (ValueError, TypeError) as error:
        raise ArgumentError(f"{where}: {show(entry)} is no index: {error}") from None
    if not array.size and not isinstance(entry, np.ndarray):
        array = array.astype(np.intp)
    if array.dtype.kind not in "biu":
        raise ArgumentError(
            f"{where}: an index is integers, slices, None, ... and arrays of integers or bool, got {show(entry)} ({array.dtype})"
        )
    return array


def _by_mask(mask: np.ndarray[Any, Any]) -> ByArrays:
    """A mask as the places where it holds. Of no axes, it adds an axis, of length 1 or 0."""
    if not mask.ndim:
        return ByArrays((constant(np.zeros(int(mask), np.intp)),), 0)
    return ByArrays(tuple(map(constant, mask.nonzero())), mask.ndim, mask.shape)


def _width(entry: Any) -> int:
    """How many axes an entry uses up."""
    if isinstance(entry, ByArrays):
        return entry.axes
    return int(entry is not None and entry is not Ellipsis)


def _apart(full: Sequence[Any], shape: Shape, where: str) -> tuple[list[Any], list[int], list[Node], list[Size]]:
    """A basic index without the arrays; the axes of its result that these index, the arrays, and the axes' sizes."""
    basic: list[Any] = []
    indexed: list[int] = []
    arrays: list[Node] = []
    sizes: list[Size] = []
    axis = 0
    for entry in full:
        if isinstance(entry, ByArrays):
            _check_mask(entry.mask, shape[axis : axis + entry.axes], where)
            left = _axes_left(basic)
            indexed += range(left, left + len(entry.arrays))
            arrays += entry.arrays
            sizes += shape[axis : axis + entry.axes] or (1,)
            basic += [slice(None)] * entry.axes or [None]
        else:
            basic.append(entry)
        axis += _width(entry)
    return basic, indexed, arrays, sizes


def _axes_left(basic: Sequence[Any]) -> int:
    return sum(not isinstance(e, int) for e in basic)


def _check_mask(mask: tuple[int, ...] | None, sizes: Shape, where: str) -> None:
    if mask is not None and mask != sizes:
        raise ShapeError(
            f"{where}: a mask of shape {show_shape(mask)} for axes of shape {show_shape(sizes)}"
            + (
                ""
                if all(isinstance(s, int) for s in sizes)
                else "; the size of a constant mask is a number, so give the axis one"
            )
        )


def _landing(given: Sequence[Any], missing: int) -> int:
    """The axis of the result where the indexed axes begin: where NumPy puts the only axis of length 2."""
    probe: list[Any] = []
    ndim = missing
    for entry in given:
        if entry is None or entry is Ellipsis:
            probe.append(entry)
            continue
        count = len(entry.arrays) if isinstance(entry, ByArrays) else 1
        probe += [np.zeros(2, int) if isinstance(entry, ByArrays) else 0 if isinstance(entry, int) else slice(None)] * count
        ndim += count
    return list(np.zeros((1,) * ndim)[tuple(probe)].shape).index(2)


# --- getitem ---------------------------------------------------------------------------------------------


@function(
    samples=cases(
        lambda: sample(normal(4, 3), index=1),
        lambda: sample(normal(4, 3), index=(slice(None, None, -2), None, 0)),
        lambda: sample(normal(4), index=-1),
        lambda: sample(normal(4, 3), index=(2, 0)),
        lambda: sample(normal(4, 3), index=(..., slice(0, 0))),
        lambda: sample(normal(4, 3), [3, 1, 1, -4], fixed=(1,)),
        lambda: sample(normal(4, 3), [[3, 1], [1, 0]]),
        lambda: sample(normal(4), 2),
        lambda: sample(normal(4, 3), normal(4, 3) > 0, fixed=(1,)),
        lambda: sample(normal(4, 3), [True, False, True, True], fixed=(1,)),
        lambda: sample(normal(2, 3, 4), index=([[0], [1]], slice(None, None, -1), [3, 3])),
        lambda: sample(normal(2, 3, 4), index=(..., None, 0, [3, 3])),
        lambda: sample(normal(2, 3, 4), index=(True, slice(1), [2, 2, 0])),
        lambda: sample(normal(4, 3), index=[]),
    ),
    edges=(
        at([1.0, 2.0, 3.0], value=[2.0, 3.0, 2.0], adjoints=([0.0, 2.0, 1.0],), index=[1, 2, 1], why="repeated indices add up"),
        at([1.0, 2.0], value=[], adjoints=([0.0, 0.0],), index=[]),
    ),
)
def getitem(x: Any, index: Any) -> Node:
    """`x[index]`, as NumPy indexes: integers, slices, None, an ellipsis, arrays of integers and masks, in any mixture.

    Arrays of integers may be nodes; masks are constants. The adjoints of entries that were taken more than once add up.

    Raises:
        BoundsError: a constant index lies beyond the ends of its axis; of a node this is found when it has values.
        TraceError: a mask is a node: the shape of the result would depend on values.
        ShapeError: the index does not fit the shape.
    """
    (node,) = lift((x,), "indexing")
    way = understood(index, node.shape, "indexing")
    if way.places is None:
        return part(node, way.basic)
    return gather(way.turned(node), way.places, way.first, way.number)


def _positions(indices: Any, where: str) -> Node:
    """Indices as NumPy's functions take them: integers or bool, which counts as 0 and 1."""
    node = indices if isinstance(indices, Node) else constant(_index_array(indices, where))
    if node.dtype.kind not in "biu":
        raise DTypeError(f"{where}: indices are integers, got {node.type}")
    if node.dtype.kind != "b":
        return node
    return constant(node.attr("value").array, np.intp) if node.op is CONSTANT else call("astype", node, np.intp)


def _no_out(out: Any, where: str) -> None:
    if out is not None:
        raise ArgumentError(f"{where}: out= is no part of a graph: nodes have no memory; use the result")


def _mode(mode: Any, where: str) -> str:
    if mode not in ("raise", "wrap", "clip"):
        raise ArgumentError(f"{where}: mode is 'raise', 'wrap' or 'clip', got {show(mode)}")
    return str(mode)


@function(
    numpy=(np.take,),
    samples=cases(
        lambda: sample(normal(4, 3), [3, 1, 1, -4], fixed=(1,)),
        lambda: sample(normal(4, 3), [[3, 1], [1, 0]], axis=0),
        lambda: sample(normal(4, 3), [2, 2, -1], axis=1),
        lambda: sample(normal(4, 3), [7, -5, 2], axis=-1, mode="wrap"),
        lambda: sample(normal(2, 3, 2), [7, -5, 2], axis=1, mode="clip", fixed=(1,)),
        lambda: sample(normal(4, 3), 1, axis=0),
        lambda: sample(normal(4, 3), np.zeros((0, 2), int), axis=1, fixed=(1,)),
        lambda: sample(2.0, [0, 0, -1]),
    ),
    edges=(at([1.0, 2.0], value=[1.0, 1.0, 2.0], adjoints=([2.0, 1.0],), indices=[0, 0, 9], mode="clip"),),
)
def take(a: Any, indices: Any, axis: Any = None, out: Any = None, mode: Any = "raise") -> Node:
    """`np.take`: the entries of `a` (flattened where `axis` is None) at `indices`, constant or a node, along `axis`.

    Args:
        a: an array or node of any shape; rows of a table are taken with axis=0.
        indices: integers of any shape.
        mode: beyond the ends "raise", "wrap" around, or "clip" to the nearest entry (where negative ones are 0).

    Raises:
        BoundsError: mode "raise", and an index lies beyond the ends: constants are checked now, nodes when they have values.
    """
    _no_out(out, "take")
    (node,) = lift((a,), "take")
    if axis is None:
        node, axis = call("ravel", node), 0
    axis = normalize_axis(axis, node.ndim, "take")
    return gather(node, within(_positions(indices, "take"), node.shape[axis], _mode(mode, "take")), axis)


@function(
    numpy=(np.take_along_axis,),
    samples=cases(
        lambda: sample(normal(3, 4), [[3, 0], [1, 1], [-1, 2]], axis=1),
        lambda: sample(normal(3, 4), [[2, 0, 1, 1]], axis=0, fixed=(1,)),
        lambda: sample(normal(3, 4), [[2], [-1]], axis=0),
        lambda: sample(normal(1, 4), [[2], [-1]], axis=1),
        lambda: sample(normal(2, 3, 2), np.array([[[0, 2]], [[1, -1]]]), axis=1),
        lambda: sample(normal(3), [1, 1, 2, 0], axis=-1),
        lambda: sample(normal(2, 2), [3, 0, 0], axis=None),
        lambda: sample(normal(0, 3), np.zeros((0, 2), int), axis=1),
    ),
)
def take_along_axis(arr: Any, indices: Any, axis: Any = -1) -> Node:
    """`np.take_along_axis`: along `axis`, each vector of `arr` indexed by its own of `indices`; the other axes broadcast.

    Raises:
        ShapeError: the numbers of axes differ, or the other axes do not broadcast.
        BoundsError: as for `take`.
    """
    (node,) = lift((arr,), "take_along_axis")
    index = _positions(indices, "take_along_axis")
    if axis is None:
        node, axis = call("ravel", node), 0
    if node.ndim != index.ndim:
        raise ShapeError(f"take_along_axis: indices {show_shape(index.shape)} and array {show_shape(node.shape)} differ in axes")
    along = normalize_axis(axis, node.ndim, "take_along_axis")
    places = []
    for k, size in enumerate(node.shape):
        beside = (1,) * (node.ndim - 1 - k)
        places.append(within(index, size) if k == along else _column(size, beside))
    return gather(node, flattened(places, node.shape), 0, node.ndim)


def _column(size: Size, beside: tuple[int, ...]) -> Node:
    """0, 1, ... along an axis that has as many axes after it as `beside`."""
    counted = positions(size)
    if counted.op is CONSTANT:
        return constant(counted.attr("value").array.reshape(-1, *beside))
    return call("reshape", counted, (size, *beside))


def _places(condition: Any, where: str) -> Node:
    """Where a constant condition holds, flattened."""
    if isinstance(condition, Node):
        if condition.op is not CONSTANT:
            raise TraceError(
                f"{where}: a condition that is computed leaves as many entries as it has True ones, and a graph has no shapes "
                "that depend on values; write np.where(condition, x, 0), or take the condition from data that is constant"
            )
        condition = condition.attr("value").array
    return constant(np.flatnonzero(condition))


@function(
    numpy=(np.compress,),
    samples=cases(
        lambda: Sample((np.array([True, False, True]), normal(4, 3)), {"axis": 0}, fixed=(0,)),
        lambda: Sample((np.array([0, 1, 2]), normal(4, 3)), {"axis": -1}, fixed=(0,)),
        lambda: Sample((np.array([True, False, True]), normal(4, 3)), {}, fixed=(0,)),
        lambda: Sample((np.array([False]), normal(4)), {}, fixed=(0,)),
    ),
)
def compress(condition: Any, a: Any, axis: Any = None, out: Any = None) -> Node:
    """`np.compress`: the slices of `a` along `axis` (entries of it, flattened, where that is None) where a constant vector holds.

    Raises:
        TraceError: the condition is a node: the shape of the result would depend on values.
        BoundsError: it holds beyond the end of the axis.
    """
    _no_out(out, "compress")
    if not isinstance(condition, Node):
        condition = as_array(condition, "compress")
        if condition.ndim != 1:
            raise ShapeError(f"compress: the condition is a vector, got {condition.ndim} axes")
    return take(a, _places(condition, "compress"), axis)


@function(
    numpy=(np.extract,),
    samples=cases(
        lambda: sample(normal(2, 3) > 0, normal(2, 3), fixed=(0,)),
        lambda: sample([1, 0, 2], normal(3), fixed=(0,)),
        lambda: sample([False, False], normal(2), fixed=(0,)),
        lambda: sample([True, False, False, True], normal(2, 2, seed=1), fixed=(0,)),
    ),
)
def extract(condition: Any, arr: Any) -> Node:
    """`np.extract`: the entries of `arr` where a constant condition holds, both flattened."""
    return take(arr, _places(condition, "extract"))


# --- functional updates ----------------------------------------------------------------------------------

_UPDATES = cases(
    lambda: sample(normal(4, 3), [3, 1, 1, -4], normal(4, 3, seed=1), fixed=(1,)),
    lambda: sample(normal(4, 3), [[3, 1], [1, 0]], normal(3, seed=1)),
    lambda: sample(normal(4, 3), [2, 0], normal(2, 3), fixed=(1,)),
    lambda: sample(normal(4), 2, 3.0),
    lambda: sample(normal(4, 3), normal(4, 3) > 0, 1.5, fixed=(1,)),
    lambda: sample(normal(4, 3), normal(4, 3) > 0, 1.5),
    lambda: sample(normal(4, 3), np.array([], int), normal(1, 3), fixed=(1,)),
)


@function(samples=_UPDATES)
def at_set(x: Any, index: Any, value: Any) -> Node:
    """A copy of `x` in which `x[index] = value`: any index of `getitem`, `value` broadcast to what it selects.

    Of repeated indices the last value stays, in C order of the index, and it alone receives an adjoint: values and entries that
    were overwritten have exactly 0. A mask that is a node goes with a value that has no axis for the entries it selects.

    Raises:
        DTypeError: the dtype of `value` does not fit that of `x`.
        ShapeError, BoundsError: as for `getitem`; or `value` does not broadcast to what the index selects.
    """
    return _update(x, index, value, "at_set", set_at, lambda old, new: new)


@function(samples=_UPDATES)
def at_add(x: Any, index: Any, value: Any) -> Node:
    """A copy of `x` with `value` added at `index`, as `np.add.at`: repeated indices add up, one after the other.

    Raises:
        GradcError: as for `at_set`.
    """
    return _update(x, index, value, "at_add", add_at, lambda old, new: old + new)


def _update(
    x: Any,
    index: Any,
    value: Any,
    where: str,
    scatter: Callable[[Node, Node, Node, int, int], Node],
    combine: Callable[[Node, Node], Node],
) -> Node:
    node, new = _same_kind(x, value, where)
    if isinstance(index, Node) and index.dtype.kind == "b" and index.op is not CONSTANT:
        return _update_masked(node, index, new, where, combine)
    way = understood(index, node.shape, where)
    if way.places is not None:
        turned = way.turned(node)
        shape = (*turned.shape[: way.first], *way.places.shape, *turned.shape[way.first + way.number :])
        changed = way.back(scatter(turned, _fitting(new, shape, where), way.places, way.first, way.number))
        return changed if is_whole(way.basic, node.shape) else replace_part(node, changed, way.basic)
    new = _fitting(new, apply(getitem_op, (node,), (("index", way.basic),)).shape, where)
    if scatter is add_at:
        return placed_sum([node, place(new, way.basic, node.shape)])
    return replace_part(node, new, way.basic)


def _same_kind(x: Any, value: Any, where: str) -> tuple[Node, Node]:
    node, new = lift((x, value), where)
    if not np.can_cast(new.dtype, node.dtype, "same_kind"):
        raise DTypeError(f"{where}: a value of {new.type} does not fit {node.type}; cast one of them with .astype")
    return node, call("astype", new, node.dtype) if new.dtype != node.dtype else new


def _fitting(value: Node, shape: Shape, where: str) -> Node:
    """`value` broadcast to `shape`; axes of length 1 that it has too many are dropped, as NumPy assigns."""
    extra = value.ndim - len(shape)
    if extra > 0 and all(s == 1 for s in value.shape[:extra]):
        value = call("reshape", value, value.shape[extra:])
    try:
        return call("broadcast_to", value, shape)
    except ShapeError:
        raise ShapeError(
            f"{where}: the index selects {show_shape(shape)}; a value of {show_shape(value.shape)} does not broadcast to it"
        ) from None


def _update_masked(x: Node, mask: Node, value: Node, where: str, combine: Callable[[Node, Node], Node]) -> Node:
    """By a mask that is computed: where it holds, one value for all."""
    if mask.shape != x.shape[: mask.ndim]:
        raise ShapeError(f"{where}: a mask of shape {show_shape(mask.shape)} for an array of shape {show_shape(x.shape)}")
    rest = x.shape[mask.ndim :]
    try:
        new = call("broadcast_to", _fitting(value, rest, where), x.shape)
    except ShapeError:
        raise TraceError(
            f"{where}: how many values a mask that is computed takes is known at run time only; give one that broadcasts to "
            f"{show_shape(rest)}, or write np.where(mask, values, x) with values for all entries"
        ) from None
    return call("where", call("reshape", mask, (*mask.shape, *(1,) * len(rest))), combine(x, new), x)


# --- sums by label ---------------------------------------------------------------------------------------


@function(
    samples=cases(
        lambda: sample(normal(5), [0, 2, 2, 0, 2], num_segments=4),
        lambda: sample(normal(4, 3), [1, 0, 1, 1], num_segments=2, fixed=(1,)),
        lambda: sample(normal(2, 2, 3), [[1, 0], [1, 2]], num_segments=3),
        lambda: sample(normal(3, 2), [2, 0, 1], num_segments=3, fixed=(1,)),
        lambda: sample(normal(0, 2), np.zeros(0, int), num_segments=2),
    ),
    edges=(at([1.0, 2.0, 4.0], value=[5.0, 0.0, 2.0], adjoints=([1.0, 1.0, 1.0],), segment_ids=[0, 2, 0], num_segments=3),),
)
def segment_sum(data: Any, segment_ids: Any, num_segments: Any) -> Node:
    """Sums of the rows of `data` by label: row k of the result adds up the rows whose label is k; 0 where there are none.

    Args:
        data: shape (*labels, ...).
        segment_ids: integers in [0, num_segments), of any order, whose shape starts that of `data`.
        num_segments: how many rows the result has; it may be symbolic.

    Raises:
        BoundsError: a label lies outside: constants are checked now, nodes when they have values.
    """
    (node,) = lift((data,), "segment_sum")
    labels = _positions(segment_ids, "segment_sum")
    if node.shape[: labels.ndim] != labels.shape:
        raise ShapeError(f"segment_sum: labels {show_shape(labels.shape)} do not start the shape of {node.type}")
    return scatter_add(node, within(labels, num_segments, "label"), 0, (num_segments,))


@function(
    numpy=(np.bincount,),
    samples=cases(
        lambda: sample([0, 2, 2, 5], normal(4), fixed=(0,)),
        lambda: sample([0, 2, 2, 1], normal(4), minlength=5),
        lambda: sample([0, 2, 2, 5], normal(4), minlength=2, fixed=(0,)),
        lambda: sample([3, 3, 3], normal(3), minlength=4, fixed=(0,)),
        lambda: sample([0, 2, 2, 1], minlength=3, gradient=False),
        lambda: sample(np.zeros(0, int), np.zeros(0), minlength=2),
    ),
)
def bincount(x: Any, weights: Any = None, minlength: Any = 0) -> Node:
    """`np.bincount`: how often each of 0, 1, ... comes in the vector `x`, or the sums of its `weights`, which may be a node.

    The length of the result is `minlength`, or more where a constant `x` needs more. If `x` is a node, `minlength` has to say it.

    Raises:
        TraceError: `x` is a node, and `minlength` is not given: the length would depend on values.
        BoundsError: an entry is negative; or, at run time, `minlength` or more.
    """
    labels = _positions(x, "bincount")
    if labels.ndim != 1:
        raise ShapeError(f"bincount: the labels are a vector, got shape {show_shape(labels.shape)}")
    length = minlength if isinstance(minlength, Dim) else as_integer(minlength, "bincount: minlength")
    if isinstance(length, int) and length < 0:
        raise ArgumentError(f"bincount: minlength must not be negative, got {length}")
    if labels.op is CONSTANT:
        found = labels.attr("value").array
        needed = 1 + int(found.max()) if found.size else 0
        if isinstance(length, int):
            length = max(length, needed)
        elif needed:
            raise ShapeError(f"bincount: the symbolic minlength {length} may be less than the {needed} bins of constant labels")
    elif length == 0:
        raise TraceError(
            "bincount: the length of the result depends on the largest entry, and a graph has no shapes that depend on values; "
            "give minlength=, the number of bins"
        )
    (values,) = lift((1 if weights is None else weights,), "bincount")
    if weights is None:
        values = call("broadcast_to", call("astype", values, np.intp), labels.shape)
    elif values.dtype != np.float64:
        values = call("astype", values, np.float64)
    if values.shape != labels.shape:
        raise ShapeError(f"bincount: weights {show_shape(values.shape)} and labels {show_shape(labels.shape)} differ")
    return scatter_add(values, within(labels, length, "label"), 0, (length,))


# --- labels ------------------------------------------------------------------------------------------


@function(samples=cases(lambda: sample(np.array([0, 2, 1]), depth=3, gradient=False)), differentiable=False)
def one_hot(labels: Any, depth: int, dtype: Any = "float64") -> Node:
    """Rows of the identity matrix: shape `labels.shape + (depth,)`; a label outside [0, depth) gives zeros."""
    (node,) = lift((labels,), "one_hot")
    if node.dtype.kind not in "iu":
        raise DTypeError(f"one_hot: labels are integers, got {node.dtype}")
    if not isinstance(depth, (int, np.integer)) or depth < 0:
        raise ArgumentError(f"one_hot: depth is the number of classes, an integer from 0, got {show(depth)}")
    classes = constant(np.arange(depth, dtype=node.dtype))
    return call("equal", call("expand_dims", node, -1), classes).astype(dtype)


def _infer_pick(x: TensorType, labels: TensorType) -> TensorType:
    if labels.dtype.kind not in "iu":
        raise DTypeError(f"labels are integers, got {labels.dtype}")
    if x.shape[:-1] != labels.shape:
        raise ShapeError(f"rows {show_shape(x.shape[:-1])} and labels {show_shape(labels.shape)} differ")
    return TensorType(labels.shape, x.dtype)


def _label_places(labels: Any, depth: int) -> Any:
    """Where in rows of `depth` entries, flattened, the labels point."""
    if labels.size and (labels.min() < 0 or labels.max() >= depth):
        raise ArgumentError(f"a label lies outside [0, {depth}): the labels run from {labels.min()} to {labels.max()}")
    places = np.arange(labels.size, dtype=np.intp).reshape(labels.shape)
    places *= depth
    np.add(places, labels, places, casting="unsafe")  # unsigned labels too: they are in bounds
    return places


def pick_into(x: Any, labels: Any, out: Any) -> None:
    """Into `out`: of each row along the last axis of `x` the entry at its label."""
    np.take(x.reshape(-1), _label_places(labels, x.shape[-1]), 0, out, "clip")


@in_one_piece
def put_into(out: Any, g: Any, labels: Any) -> None:
    """Into `out`: rows of zeros, with an entry of `g` at each label."""
    places = _label_places(labels, out.shape[-1])
    out.fill(0)
    out.reshape(-1)[places] = g


def _pick(x: Any, labels: Any) -> Any:
    out = np.empty(labels.shape, x.dtype)
    pick_into(x, labels, out)
    return out


def _put(g: Any, labels: Any, *, depth: int) -> Any:
    out = np.empty((*labels.shape, depth), g.dtype)
    put_into(out, g, labels)
    return out


pick_op: Op = op(
    "pick",
    infer=_infer_pick,
    evaluate=_pick,
    vjp=(lambda g, out, x, labels: apply(put_op, (g, labels), (("depth", x.shape[-1]),)), None),
    jvp=(lambda t, out, x, labels: apply(pick_op, (t, labels)), None),
    kernel=lambda inputs, out, attrs: Kernel((Call(pick_into, "pick", "{0}, {1}, {out}"),)),
    raises=True,
    linear=True,
    moves=True,
    masks=True,
)
put_op: Op = op(
    "put",
    infer=lambda g, labels, *, depth: TensorType((*g.shape, depth), g.dtype),
    evaluate=_put,
    vjp=(lambda g, out, x, labels, *, depth: apply(pick_op, (g, labels)), None),
    jvp=(lambda t, out, x, labels, *, depth: apply(put_op, (t, labels), (("depth", depth),)), None),
    kernel=lambda inputs, out, attrs: Kernel((Call(put_into, "put", "{out}, {0}, {1}"),)),
    raises=True,
    linear=True,
)
