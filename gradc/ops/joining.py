"""Joining arrays along an axis, and taking them apart: concatenate, stack, block, split, insert, delete.

Parts are slices: views where they are read; and their adjoints are added in place where they are summed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any
from weakref import finalize

import numpy as np

from gradc.errors import ArgumentError, DTypeError, GradcError, ShapeError, TraceError, UnsupportedError, show
from gradc.ir import Call, Kernel, Node, apply, as_array, lift, user_origin
from gradc.ops.declare import call, function, op
from gradc.ops.samples import Sample, Samples, cases, normal, sample
from gradc.ops.shaping import atleast_1d, atleast_2d, atleast_3d, broadcast_to, expand_dims, moveaxis, quotient, ravel, reshape
from gradc.types import Dim, Shape, Size, TensorType, as_dtype, as_integer, as_shape, normalize_axis, show_shape, size_of

__all__ = [
    "append",
    "array_split",
    "block",
    "column_stack",
    "concat",
    "concatenate",
    "delete",
    "dsplit",
    "dstack",
    "hsplit",
    "hstack",
    "insert",
    "resize",
    "split",
    "stack",
    "unstack",
    "vsplit",
    "vstack",
]

_MANY = 256
"""Operands of one concatenate: more are joined in groups first. A rule looks at all operands, and there is a rule for each."""
_DEEPEST = 64
"""Axes that an array may have."""

# --- concatenate -------------------------------------------------------------------------------------


def _infer_concatenate(*types: TensorType, axis: int) -> TensorType:
    first = types[0]
    total: Size = 0
    for t in types:
        if t.ndim != first.ndim or t.shape[:axis] != first.shape[:axis] or t.shape[axis + 1 :] != first.shape[axis + 1 :]:
            raise ShapeError(f"concatenate: {show_shape(first.shape)} and {show_shape(t.shape)} differ beyond axis {axis}")
        total = total + t.shape[axis]
    shape = (*first.shape[:axis], total, *first.shape[axis + 1 :])
    return TensorType(shape, np.result_type(*dict.fromkeys(t.dtype for t in types)))


_offsets: dict[int, list[Size]] = {}
"""By the serial number of what was joined, for as long as that lives: a weak dictionary would compare nodes by `==`."""


def _offset(out: Node, xs: Sequence[Node], k: int, axis: int) -> Size:
    """Where operand `k` starts in `out`; counted once for all operands."""
    found = _offsets.get(out.serial)
    if found is None:
        found = [0]
        for x in xs:
            found.append(found[-1] + x.shape[axis])
        _offsets[out.serial] = found
        finalize(out, _offsets.pop, out.serial, None).atexit = False
    return found[k]


def _concatenate_vjp(k: int, g: Node, out: Node, *xs: Node, axis: int) -> Node:
    start = _offset(out, xs, k, axis)
    return call("slice_axis", g, axis, start, start + xs[k].shape[axis])


def _concatenate_jvp(k: int, t: Node, out: Node, *xs: Node, axis: int) -> Node:
    return call("place_axis", t, axis, _offset(out, xs, k, axis), out.shape)


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


def listed(values: Any, where: str) -> list[Any]:
    """A sequence of arrays as a list; of a node, its entries along the first axis.

    Raises:
        ArgumentError: it is none.
    """
    try:
        return list(values)
    except TypeError as error:
        if isinstance(error, GradcError):
            raise
        raise ArgumentError(f"{where}: expected a sequence of arrays, got {show(values)}") from None


def _strong(values: Any, where: str) -> tuple[Node, ...]:
    """What is to be joined, as nodes. NumPy makes arrays of Python numbers first, so they are of full width."""
    given = listed(values, where)
    if not given:
        raise ArgumentError(f"{where}: expected at least one array, got an empty sequence")
    return lift([v if isinstance(v, (Node, Dim)) else as_array(v, where) for v in given], where)


def _cast(nodes: tuple[Node, ...], dtype: Any, casting: str, where: str) -> tuple[Node, ...]:
    if dtype is None:
        return nodes
    target = as_dtype(dtype, where)
    for n in nodes:
        if not np.can_cast(n.dtype, target, casting):  # type: ignore[arg-type]
            raise DTypeError(f"{where}: {n.dtype} cannot be cast to {target} by casting={show(casting)}")
    return tuple(n.astype(target) for n in nodes)


def _refuse_out(out: Any, where: str) -> None:
    if out is not None:
        raise UnsupportedError(f"{where}: out= on a node: nodes are immutable; use the result\n  at {user_origin().location}")


def _joined(nodes: Sequence[Node], axis: Any, where: str = "concatenate") -> Node:
    """`nodes` along `axis`. A great many are joined in groups, and the groups in groups."""
    if nodes[0].ndim == 0:
        raise ShapeError(f"{where}: 0-d arrays have no axis to join; use np.stack")
    along = normalize_axis(axis, nodes[0].ndim, where)
    if len(nodes) > _MANY and len({n.dtype for n in nodes}) > 1:
        dtype = np.result_type(*{n.dtype for n in nodes})
        nodes = [n.astype(dtype) for n in nodes]
    while len(nodes) > _MANY:
        nodes = [_apply(nodes[k : k + _MANY], along) for k in range(0, len(nodes), _MANY)]
    return _apply(nodes, along)


def _apply(nodes: Sequence[Node], axis: int) -> Node:
    return apply(concatenate_op, tuple(nodes), (("axis", axis),))


def _packed(*rows: tuple[Any, ...], **attrs: Any) -> list[Sample]:
    return [sample(*row, packed=True, **attrs) for row in rows]


@function(
    numpy=(np.concatenate,),
    samples=lambda: [
        *_packed((normal(2, 3), normal(1, 3)), (normal(2),), (normal(3), normal(0), normal(2)), (normal(2, 0), normal(1, 0))),
        *_packed((normal(2, 3), normal(2, 1)), (normal(2, 1, 2), normal(2, 2, 2)), axis=1),
        *_packed((normal(2, 3), np.asarray(1.5)), axis=None),
        *_packed((normal(2), np.array([1, 2])), dtype="float64"),
        sample(np.array([1]), np.array([True]), packed=True, gradient=False),
    ],
)
def concatenate(arrays: Any, axis: Any = 0, out: Any = None, *, dtype: Any = None, casting: str = "same_kind") -> Node:
    """`np.concatenate` of a sequence of arrays along `axis`; flattened where that is None.

    Raises:
        ShapeError: the arrays differ beyond `axis`, or have none.
    """
    _refuse_out(out, "concatenate")
    nodes = _cast(_strong(arrays, "concatenate"), dtype, casting, "concatenate")
    return _joined([ravel(n) for n in nodes], 0) if axis is None else _joined(nodes, axis)


concat = concatenate


@function(
    numpy=(np.stack,),
    samples=lambda: [
        *_packed((normal(2, 3), normal(2, 3, seed=1)), (1.5, 2.0, -1.0), (normal(0), normal(0)), (normal(3),)),
        *_packed((normal(2, 3), normal(2, 3, seed=1)), (normal(3), normal(3, seed=1), normal(3, seed=2)), axis=-1),
        *_packed((normal(2, 3), normal(2, 3, seed=1)), axis=1),
        *_packed((normal(2), np.array([1, 2])), dtype="float64"),
    ],
)
def stack(arrays: Any, axis: Any = 0, out: Any = None, *, dtype: Any = None, casting: str = "same_kind") -> Node:
    """`np.stack`: arrays of one shape joined along a new axis.

    Raises:
        ShapeError: the shapes differ.
    """
    _refuse_out(out, "stack")
    nodes = _cast(_strong(arrays, "stack"), dtype, casting, "stack")
    for n in nodes:
        if n.shape != nodes[0].shape:
            raise ShapeError(f"stack: arrays of one shape are needed, got {show_shape(nodes[0].shape)} and {show_shape(n.shape)}")
    along = normalize_axis(axis, nodes[0].ndim + 1, "stack")
    return _joined([expand_dims(n, along) for n in nodes], along)


def _rows(*axes_differ: int) -> Samples:
    """Vectors, scalars, matrices and cubes; `axes_differ`: per rank from 1, the axis along which lengths may differ."""

    def make() -> list[Sample]:
        made = _packed((normal(2), normal(2, seed=1)), (1.0, 2.0), (normal(1, 2), normal(1, 2, seed=1)), (normal(0),))
        for ndim, axis in enumerate(axes_differ, 1):
            longer = tuple(3 if k == axis else 2 for k in range(ndim))
            made += _packed((normal(*[2] * ndim), normal(*longer)))
        return made

    return make


@function(numpy=(np.hstack,), samples=_rows(0, 1, 1))
def hstack(tup: Any, *, dtype: Any = None, casting: str = "same_kind") -> Node:
    """`np.hstack`: vectors joined end to end, anything else along the second axis."""
    nodes = [atleast_1d(n) for n in _cast(_strong(tup, "hstack"), dtype, casting, "hstack")]
    return _joined(nodes, 0 if nodes[0].ndim == 1 else 1)


@function(numpy=(np.vstack,), samples=_rows(-1, 0, 0))
def vstack(tup: Any, *, dtype: Any = None, casting: str = "same_kind") -> Node:
    """`np.vstack`: vectors as rows, anything else joined along the first axis."""
    return _joined([atleast_2d(n) for n in _cast(_strong(tup, "vstack"), dtype, casting, "vstack")], 0)


@function(numpy=(np.dstack,), samples=_rows(-1, -1, 2))
def dstack(tup: Any) -> Node:
    """`np.dstack`: arrays joined along the third axis."""
    return _joined([atleast_3d(n) for n in _strong(tup, "dstack")], 2)


@function(numpy=(np.column_stack,), samples=_rows(-1, 1))
def column_stack(tup: Any) -> Node:
    """`np.column_stack`: vectors as columns, matrices side by side."""
    columns = [n if n.ndim > 1 else reshape(n, (-1, 1)) for n in _strong(tup, "column_stack")]
    return _joined(columns, 1)


# --- block -------------------------------------------------------------------------------------------


def _depth(arrays: Any) -> int:
    """How deep the lists are nested, along their first entries."""
    depth = 0
    while isinstance(arrays, list):
        if not arrays:
            raise ArgumentError("block: a list is empty")
        depth, arrays = depth + 1, arrays[0]
        if depth > _DEEPEST:
            raise ArgumentError(f"block: lists are nested more than {_DEEPEST} deep")
    return depth


def _leaves(arrays: Any, depth: int) -> list[Any]:
    """The arrays, all of which lie `depth` lists deep."""
    level = [arrays]
    for _ in range(depth):
        for entry in level:
            if not isinstance(entry, list) or not entry:
                raise ArgumentError(f"block: lists are nested to one depth, and none is empty; {show(entry)} stands among lists")
        level = [entry for part in level for entry in part]
    for entry in level:
        if isinstance(entry, (list, tuple)):
            raise ArgumentError(f"block: lists are nested to one depth, and tuples are no lists; got {show(entry)}")
    return level


@function(
    numpy=(np.block,),
    samples=lambda: [
        *_packed((normal(2), normal(3)), (normal(2, 2), normal(2, 1)), (1.0, normal(2)), (normal(0), 2.0)),
        *_packed((normal(1, 2, 2), normal(1, 2, 1)), (normal(2, 2), normal(2, 3), normal(2, 1))),
    ],
)
def block(arrays: Any) -> Node:
    """`np.block`: arrays joined as nested lists arrange them, the innermost lists along the last axis."""
    depth = _depth(arrays)
    leaves = _strong(_leaves(arrays, depth), "block")
    ndim = max(depth, *(n.ndim for n in leaves))
    whole = iter([reshape(n, (1,) * (ndim - n.ndim) + n.shape) for n in leaves])

    def build(part: Any, level: int) -> Node:
        if level == depth:
            return next(whole)
        return _joined([build(entry, level + 1) for entry in part], level - depth, "block")

    return build(arrays, 0)


# --- split -------------------------------------------------------------------------------------------


def _part(x: Node, axis: int, start: Size | None, stop: Size | None) -> Node:
    return x[(slice(None),) * axis + (slice(start, stop),)]


def _sections(size: Size, sections: int, uneven: bool, where: str) -> list[Size]:
    """The ends of `sections` parts of an axis: equal, or the first ones longer by one entry where that is allowed."""
    if sections <= 0:
        raise ArgumentError(f"{where}: the number of parts is positive, got {sections}")
    if isinstance(size, int) and uneven:
        each, longer = divmod(size, sections)
        return [each * k + min(k, longer) for k in range(sections + 1)]
    each_ = quotient(size, sections)
    if each_ is None:
        hint = "" if isinstance(size, int) else "; give the indices at which to split"
        raise ShapeError(f"{where}: an axis of {size} entries has no {sections} equal parts{hint}")
    return [each_ * k for k in range(sections + 1)]


def _split(ary: Any, indices_or_sections: Any, axis: Any, uneven: bool, where: str) -> list[Node]:
    (node,) = lift((ary,), where)
    along = normalize_axis(axis, node.ndim, where)
    given = indices_or_sections.tolist() if isinstance(indices_or_sections, np.ndarray) else indices_or_sections
    if isinstance(given, (tuple, list, range)):
        ends: list[Any] = [0, *(i if isinstance(i, Dim) else as_integer(i, f"{where}: an index") for i in given), None]
    else:
        ends = _sections(node.shape[along], as_integer(given, f"{where}: the number of parts"), uneven, where)
    return [_part(node, along, start, stop) for start, stop in pairwise(ends)]


def _split_samples(*shapes: tuple[int, ...], uneven: bool = False, **attrs: Any) -> Samples:
    """Arrays with an axis of 4 entries that is split in all ways."""
    ways: tuple[Any, ...] = (2, 1, [1, 3], [2, 2], (1, 9), [-1], []) + ((3,) if uneven else ())
    return lambda: [sample(normal(*s), indices_or_sections=w, **attrs) for s in shapes for w in ways]


@function(numpy=(np.split,), samples=_split_samples((4,), (2, 4), axis=-1))
def split(ary: Any, indices_or_sections: Any, axis: Any = 0) -> list[Node]:
    """`np.split`: views of equal parts, or of the parts between indices.

    Raises:
        ShapeError: there are no equal parts.
    """
    return _split(ary, indices_or_sections, axis, False, "split")


@function(numpy=(np.array_split,), samples=_split_samples((4,), (4, 2), uneven=True))
def array_split(ary: Any, indices_or_sections: Any, axis: Any = 0) -> list[Node]:
    """`np.array_split`: as `split`; parts may differ by one entry."""
    return _split(ary, indices_or_sections, axis, True, "array_split")


def _at_least(ndim: int, ary: Any, where: str) -> Node:
    (node,) = lift((ary,), where)
    if node.ndim < ndim:
        raise ShapeError(f"{where}: an array of {ndim} or more dimensions is needed, got {show_shape(node.shape)}")
    return node


@function(numpy=(np.hsplit,), samples=_split_samples((4,), (2, 4), (1, 4, 2)))
def hsplit(ary: Any, indices_or_sections: Any) -> list[Node]:
    """`np.hsplit`: along the second axis; a vector along its only one."""
    node = _at_least(1, ary, "hsplit")
    return _split(node, indices_or_sections, min(1, node.ndim - 1), False, "hsplit")


@function(numpy=(np.vsplit,), samples=_split_samples((4, 2), (4, 1, 2)))
def vsplit(ary: Any, indices_or_sections: Any) -> list[Node]:
    """`np.vsplit`: along the first axis."""
    return _split(_at_least(2, ary, "vsplit"), indices_or_sections, 0, False, "vsplit")


@function(numpy=(np.dsplit,), samples=_split_samples((1, 2, 4)))
def dsplit(ary: Any, indices_or_sections: Any) -> list[Node]:
    """`np.dsplit`: along the third axis."""
    return _split(_at_least(3, ary, "dsplit"), indices_or_sections, 2, False, "dsplit")


@function(
    numpy=(np.unstack,),
    samples=cases(
        lambda: sample(normal(2, 3)),
        lambda: sample(normal(2, 3), axis=1),
        lambda: sample(normal(2, 2, 3), axis=-1),
        lambda: sample(normal(3)),
        lambda: sample(normal(2, 0)),
    ),
)
def unstack(x: Any, *, axis: Any = 0) -> tuple[Node, ...]:
    """`np.unstack`: views of the entries along `axis`."""
    return tuple(moveaxis(_at_least(1, x, "unstack"), axis, 0))


# --- append, insert, delete, resize ------------------------------------------------------------------


@function(
    numpy=(np.append,),
    samples=cases(
        lambda: sample(normal(3), normal(2)),
        lambda: sample(normal(2, 3), normal(2)),
        lambda: sample(normal(2, 3), normal(1, 3), axis=0),
        lambda: sample(normal(2, 3), normal(2, 2), axis=-1),
        lambda: sample(normal(0), 1.5),
    ),
)
def append(arr: Any, values: Any, axis: Any = None) -> Node:
    """`np.append`: `values` joined to the end of `arr`, both flattened where no axis is given."""
    return concatenate((arr, values), axis)


def _flat_unless(axis: Any, arr: Any, where: str) -> tuple[Node, int]:
    (node,) = lift((arr,), where)
    return (ravel(node), 0) if axis is None else (node, normalize_axis(axis, node.ndim, where))


def _by_numpy(compute: Callable[..., Any], where: str, *args: Any) -> Any:
    """What NumPy makes of constant indices; its error as one of gradc's."""
    if any(isinstance(a, Node) for a in args):
        raise TraceError(f"{where}: which entries is part of the graph, integers or a slice; got a node. Use np.where or gc.take")
    try:
        return compute(*args)
    except (IndexError, ValueError, TypeError) as error:
        raise ArgumentError(f"{where}: {error}") from None


def _runs(sources: Sequence[int], border: int) -> list[tuple[int, int]]:
    """`sources` as ranges (start, stop) of ascending integers, none of them across `border`."""
    runs: list[tuple[int, int]] = []
    for i in sources:
        if runs and runs[-1][1] == i != border:
            runs[-1] = (runs[-1][0], i + 1)
        else:
            runs.append((i, i + 1))
    return runs


@function(
    numpy=(np.insert,),
    samples=cases(
        lambda: sample(normal(4), np.array(1), 1.5, fixed=(1,)),
        lambda: sample(normal(2, 3), np.array([0, 2]), normal(2, 2), fixed=(1,), axis=1),
        lambda: sample(normal(2, 3), np.array(-1), normal(3), fixed=(1,), axis=0),
        lambda: sample(normal(2, 3), np.array([1]), normal(2, 3), fixed=(1,), axis=0),
        lambda: sample(normal(2, 2), np.array([3, 0, 3]), normal(3), fixed=(1,)),
        lambda: sample(normal(2, 3), np.array(1), normal(2), fixed=(1,), axis=1),
    ),
)
def insert(arr: Any, obj: Any, values: Any, axis: Any = None) -> Node:
    """`np.insert`: `values`, in the dtype of `arr`, before the constant indices `obj`.

    Raises:
        ArgumentError: an index is out of bounds.
    """
    node, along = _flat_unless(axis, arr, "insert")
    new = lift((values,), "insert")[0].astype(node.dtype)
    size = node.shape[along]
    indices = np.arange(*obj.indices(size)) if isinstance(obj, slice) and isinstance(size, int) else as_array(obj, "insert")
    if indices.dtype != bool and indices.size == 1:
        return _insert_at(node, along, indices, new)
    if not isinstance(size, int):
        raise ShapeError(
            f"insert: axis {along} of {show_shape(node.shape)} is symbolic: insert at one index, or give it a number"
        )
    count = int(indices.sum()) if indices.dtype == bool else indices.size
    sources = _by_numpy(np.insert, "insert", np.arange(size), indices, size + np.arange(count))
    new = broadcast_to(new, (*node.shape[:along], count, *node.shape[along + 1 :]))
    return _gathered(node, new, sources.tolist(), along)


def _gathered(old: Node, new: Node, sources: list[int], axis: int) -> Node:
    """Entries along `axis` by number, those of `new` after those of `old`."""
    size = old.shape[axis]
    assert isinstance(size, int)
    runs = _runs(sources, size)
    parts = [_part(old, axis, a, b) if a < size else _part(new, axis, a - size, b - size) for a, b in runs]
    return _joined(parts, axis) if parts else _part(old, axis, 0, 0)


def _insert_at(node: Node, axis: int, indices: Any, values: Node) -> Node:
    """All `values` before one index."""
    index, size = as_integer(indices.item(), "insert: an index"), node.shape[axis]
    if isinstance(size, int) and not -size <= index <= size:
        raise ArgumentError(f"insert: index {index} is out of bounds for axis {axis} with size {size}")
    values = reshape(values, (1,) * (node.ndim - values.ndim) + values.shape)
    if indices.ndim == 0:
        values = moveaxis(values, 0, axis)
    values = broadcast_to(values, (*node.shape[:axis], values.shape[axis], *node.shape[axis + 1 :]))
    return _joined([_part(node, axis, None, index), values, _part(node, axis, index, None)], axis)


@function(
    numpy=(np.delete,),
    samples=cases(
        lambda: sample(normal(4), obj=1),
        lambda: sample(normal(2, 3), obj=-1, axis=1),
        lambda: sample(normal(4, 2), obj=[0, 2], axis=0),
        lambda: sample(normal(5), obj=slice(None, None, 2)),
        lambda: sample(normal(2, 3), obj=[True, False, True], axis=1),
        lambda: sample(normal(2, 2), obj=[]),
        lambda: sample(normal(3), obj=[0, 1, 2]),
    ),
)
def delete(arr: Any, obj: Any, axis: Any = None) -> Node:
    """`np.delete`: without the entries at the constant indices `obj`.

    Raises:
        ArgumentError: an index is out of bounds.
    """
    node, along = _flat_unless(axis, arr, "delete")
    size = node.shape[along]
    if isinstance(size, int):
        kept = _by_numpy(np.delete, "delete", np.arange(size), obj)
        return _gathered(node, node, kept.tolist(), along)
    if not hasattr(obj, "__index__"):
        raise ShapeError(f"delete: axis {along} of {show_shape(node.shape)} is symbolic: delete one index, or give it a number")
    index = as_integer(obj, "delete: an index")
    before, after = _part(node, along, None, index), _part(node, along, index + 1, None)
    return before if index == -1 else _joined([before, after], along)


@function(
    numpy=(np.resize,),
    samples=cases(
        lambda: sample(normal(2, 3), new_shape=(4, 2)),
        lambda: sample(normal(3), new_shape=(2, 4)),
        lambda: sample(normal(2, 3), new_shape=2),
        lambda: sample(1.5, new_shape=(2, 2)),
        lambda: sample(normal(0), new_shape=3),
        lambda: sample(normal(2, 3), new_shape=(0, 2)),
    ),
)
def resize(a: Any, new_shape: Any) -> Node:
    """`np.resize`: the entries in C order, again and again until the new shape is full."""
    (node,) = lift((a,), "resize")
    shape: Shape = as_shape(new_shape, "resize")
    old, size = node.size, size_of(shape)
    if not isinstance(old, int) or not isinstance(size, int):
        raise ShapeError(f"resize: from {show_shape(node.shape)} to {show_shape(shape)}: sizes must be numbers; use np.reshape")
    if old == 0:
        return call("zeros", shape, node.dtype)
    flat = ravel(node)
    whole = flat if size <= old else call("tile", flat, -(-size // old))
    return reshape(_part(whole, 0, 0, size), shape)
