"""Entries in other places, more than once, or left out: flip, roll, tile, repeat, triangles and diagonals."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from gradc.errors import ArgumentError, ShapeError, show
from gradc.ir import Call, Const, Kernel, Node, Op, apply, constant, lift
from gradc.ops.creation import triangle
from gradc.ops.declare import call, function, linear
from gradc.ops.samples import Sample, Samples, cases, normal, sample
from gradc.ops.shaping import broadcast_to, quotient, ravel, reshape, transpose
from gradc.types import (
    Dim,
    Shape,
    Size,
    TensorType,
    as_integer,
    as_integers,
    dim,
    normalize_axes,
    normalize_axis,
    show_shape,
    size_of,
    slice_size,
)

__all__ = [
    "diag",
    "diagflat",
    "diagonal",
    "flip",
    "fliplr",
    "flipud",
    "repeat",
    "roll",
    "rot90",
    "tile",
    "tril",
    "triu",
]

Array = np.ndarray[Any, Any]

# --- flip, rot90 -------------------------------------------------------------------------------------


@function(
    numpy=(np.flip,),
    samples=cases(
        lambda: sample(normal(3)),
        lambda: sample(normal(2, 3)),
        lambda: sample(normal(2, 3), axis=-1),
        lambda: sample(normal(2, 3, 2), axis=(0, 2)),
        lambda: sample(normal(2, 3), axis=()),
        lambda: sample(2.0),
        lambda: sample(normal(0, 3)),
    ),
)
def flip(m: Any, axis: Any = None) -> Node:
    """`np.flip`: a view with the entries along `axis`, or along all axes, in reverse order."""
    (node,) = lift((m,), "flip")
    axes = normalize_axes(axis, node.ndim, "flip")
    return node[tuple(slice(None, None, -1) if k in axes else slice(None) for k in range(node.ndim))] if axes else node


def _at_least(ndim: int, m: Any, where: str) -> Node:
    (node,) = lift((m,), where)
    if node.ndim < ndim:
        raise ShapeError(f"{where}: an array of {ndim} or more dimensions is needed, got {show_shape(node.shape)}")
    return node


def _arrays(*shapes: tuple[int, ...], **attrs: Any) -> list[Sample]:
    return [sample(normal(*s), **attrs) for s in shapes]


@function(numpy=(np.fliplr,), samples=lambda: _arrays((2, 3), (2, 3, 2), (1, 2), (3, 1), (0, 2)))
def fliplr(m: Any) -> Node:
    """`np.fliplr`: the second axis reversed."""
    return flip(_at_least(2, m, "fliplr"), 1)


@function(numpy=(np.flipud,), samples=lambda: _arrays((3,), (2, 3), (2, 3, 2), (1, 2), (0, 2)))
def flipud(m: Any) -> Node:
    """`np.flipud`: the first axis reversed."""
    return flip(_at_least(1, m, "flipud"), 0)


@function(
    numpy=(np.rot90,),
    samples=lambda: [
        *(s for k in (-1, 0, 1, 2, 3, 6) for s in _arrays((2, 3), k=k)),
        *_arrays((2, 3, 2), axes=(2, 0)),
        *_arrays((2, 0), (1, 3, 2)),
    ],
)
def rot90(m: Any, k: Any = 1, axes: Any = (0, 1)) -> Node:
    """`np.rot90`: a view, turned by `k` right angles from the first of the two `axes` towards the second."""
    node = _at_least(2, m, "rot90")
    given = tuple(normalize_axis(a, node.ndim, "rot90") for a in (axes if isinstance(axes, Sequence) else (axes,)))
    if len(given) != 2 or given[0] == given[1]:
        raise ArgumentError(f"rot90: axes are two different axes, got {show(axes)}")
    one, other = given
    turns = as_integer(k, "rot90: k") % 4
    swapped = list(range(node.ndim))
    swapped[one], swapped[other] = other, one
    if turns == 1:
        return transpose(flip(node, other), swapped)
    if turns == 3:
        return flip(transpose(node, swapped), other)
    return flip(node, given) if turns == 2 else node


# --- roll --------------------------------------------------------------------------------------------

Shifts = tuple[tuple[int, int], ...]


def _split_of(size: int, shift: int) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """The two runs of an axis that a roll moves, as (from, to) ranges."""
    s = shift % size if size else 0
    pairs = [((0, size - s), (s, size)), ((size - s, size), (0, s))]
    return [pair for pair in pairs if pair[0][0] != pair[0][1]]


def _roll_kernel(inputs: Sequence[TensorType], out: TensorType, attrs: dict[str, Any]) -> Kernel:
    """A copy for each block that moves as one."""
    shifts = dict(attrs["shifts"])
    axes = range(max(shifts, default=-1) + 1)
    blocks = product(*[_split_of(out.shape[k], shifts.get(k, 0)) for k in axes])  # type: ignore[arg-type]
    calls = []
    for block in blocks:
        source, target = (", ".join(f"{pair[k][0]}:{pair[k][1]}" for pair in block) or "..." for k in (0, 1))
        calls.append(Call(np.copyto, "copyto", f"{{out}}[{target}], {{0}}[{source}]"))
    return Kernel(tuple(calls))


roll_op: Op = linear(
    "roll",
    infer=lambda x, *, shifts: x,
    evaluate=lambda x, *, shifts: np.roll(x, [s for _, s in shifts], [a for a, _ in shifts]),
    transpose=lambda g, out, x, *, shifts: apply(roll_op, (g,), (("shifts", tuple((a, -s) for a, s in shifts)),)),
    kernel=_roll_kernel,
)


@function(
    numpy=(np.roll,),
    samples=cases(
        lambda: sample(normal(5), shift=2),
        lambda: sample(normal(5), shift=-7),
        lambda: sample(normal(2, 3), shift=1),
        lambda: sample(normal(2, 3), shift=1, axis=1),
        lambda: sample(normal(3, 2, 2), shift=(1, -1), axis=(0, -1)),
        lambda: sample(normal(3, 2), shift=1, axis=(0, 1)),
        lambda: sample(normal(3, 2), shift=(1, 1), axis=0),
        lambda: sample(normal(0, 2), shift=1, axis=0),
        lambda: sample(2.0, shift=3),
    ),
)
def roll(a: Any, shift: Any, axis: Any = None) -> Node:
    """`np.roll`: entries moved by `shift` along `axis`, those that leave at one end enter at the other."""
    (node,) = lift((a,), "roll")
    if axis is None:
        return reshape(roll(ravel(node), shift, 0), node.shape)
    axes = axis if isinstance(axis, (tuple, list)) else (axis,)
    along = np.asarray([normalize_axis(k, node.ndim, "roll") for k in axes], int)
    by = np.asarray(as_integers(shift, "roll: a shift"), int)
    if along.size != by.size and 1 not in (along.size, by.size):
        raise ArgumentError(f"roll: {by.size} shifts for {along.size} axes: shift {show(shift)}, axis {show(axis)}")
    total: dict[int, int] = {}
    for k, s in zip(*(v.tolist() for v in np.broadcast_arrays(along, by)), strict=True):
        total[k] = total.get(k, 0) + s
    shifts = tuple((k, s) for k, s in sorted(total.items()) if s)
    return apply(roll_op, (node,), (("shifts", shifts),)) if shifts else node


# --- tile, repeat ------------------------------------------------------------------------------------


def _repeated(node: Node, counts: Sequence[int], axes: Sequence[int]) -> Node:
    """`node` with, before each of its `axes`, a new axis along which everything is the same: reshape, then broadcast."""
    before = dict(zip(axes, counts, strict=True))
    thin = tuple(s for k, size in enumerate(node.shape) for s in ((1, size) if k in before else (size,)))
    wide = tuple(s for k, size in enumerate(node.shape) for s in ((before[k], size) if k in before else (size,)))
    return broadcast_to(reshape(node, thin), wide)


@function(
    numpy=(np.tile,),
    samples=cases(
        lambda: sample(normal(3), reps=2),
        lambda: sample(normal(2, 3), reps=2),
        lambda: sample(normal(2, 3), reps=(2, 3)),
        lambda: sample(normal(3), reps=(2, 1, 2)),
        lambda: sample(normal(2, 3), reps=(1, 1)),
        lambda: sample(normal(2, 3), reps=(0, 2)),
        lambda: sample(2.0, reps=3),
        lambda: sample(normal(2, 1, 2), reps=[3, 1]),
    ),
)
def tile(A: Any, reps: Any) -> Node:  # noqa: N803
    """`np.tile`: the array `reps` times along each axis. The adjoint is a sum over views of its own."""
    (node,) = lift((A,), "tile")
    counts = _counts(reps, "tile")
    node = reshape(node, (1,) * (len(counts) - node.ndim) + node.shape)
    counts = [1] * (node.ndim - len(counts)) + counts
    axes = [k for k, n in enumerate(counts) if n != 1]
    shape = tuple(n * s for n, s in zip(counts, node.shape, strict=True))
    return reshape(_repeated(node, [counts[k] for k in axes], axes), shape) if axes else node


def _counts(values: Any, where: str) -> list[int]:
    counts = as_integers(values, f"{where}: a number of repeats")
    if any(n < 0 for n in counts):
        raise ArgumentError(f"{where}: a number of repeats is not negative, got {show(values)}")
    return counts


def _repeat_total(x: TensorType, counts: Const, axis: int) -> Shape:
    if x.shape[axis] != len(counts.array):
        raise ShapeError(f"repeat: {len(counts.array)} counts for axis {axis} of {show_shape(x.shape)}")
    return (*x.shape[:axis], int(counts.array.sum()), *x.shape[axis + 1 :])


def sum_runs(g: Array, out: Array, counts: Array, axis: int) -> None:
    """Into `out`: the sums of consecutive runs of `g` along `axis`, of the lengths `counts`."""
    present = np.flatnonzero(counts)
    index: tuple[Any, ...] = (slice(None),) * axis
    if len(present) < len(counts):
        out.fill(0)
    if len(present):
        dtype = np.dtype("float32") if g.dtype == np.float16 else g.dtype  # float16 counts to 2048 only
        out[(*index, present)] = np.add.reduceat(g, (np.cumsum(counts) - counts)[present], axis, dtype=dtype)


def _sum_runs(g: Array, *, counts: Const, axis: int) -> Array:
    out = np.empty((*g.shape[:axis], len(counts.array), *g.shape[axis + 1 :]), g.dtype)
    sum_runs(g, out, counts.array, axis)
    return out


def _infer_sum_runs(g: TensorType, *, counts: Const, axis: int) -> TensorType:
    return TensorType((*g.shape[:axis], len(counts.array), *g.shape[axis + 1 :]), g.dtype)


def _repeat_kernel(inputs: Sequence[TensorType], out: TensorType, attrs: dict[str, Any]) -> Kernel:
    counts = attrs["counts"].array
    taken = partial(np.take, indices=np.repeat(np.arange(len(counts)), counts), axis=attrs["axis"], mode="clip")
    return Kernel((Call(taken, "repeat", "{0}, out={out}"),))


def _sum_runs_kernel(inputs: Sequence[TensorType], out: TensorType, attrs: dict[str, Any]) -> Kernel:
    summed = partial(sum_runs, counts=attrs["counts"].array, axis=attrs["axis"])
    return Kernel((Call(summed, "sum_runs", "{0}, {out}"),))


repeat_op: Op = linear(
    "repeat",
    infer=lambda x, *, counts, axis: TensorType(_repeat_total(x, counts, axis), x.dtype),
    evaluate=lambda x, *, counts, axis: np.repeat(x, counts.array, axis),
    transpose=lambda g, out, x, *, counts, axis: apply(sum_runs_op, (g,), (("axis", axis), ("counts", counts))),
    kernel=_repeat_kernel,
)
sum_runs_op: Op = linear(
    "sum_runs",
    infer=_infer_sum_runs,
    evaluate=_sum_runs,
    transpose=lambda g, out, x, *, counts, axis: apply(repeat_op, (g,), (("axis", axis), ("counts", counts))),
    kernel=_sum_runs_kernel,
)

_FEW, _SHORT = 16, 8
"""Where entries are repeated one by one, a broadcast is a loop over each few: as many copies with a stride are faster."""


def _every(axis: int, k: int, times: int) -> str:
    """Each `times`-th entry along `axis` from `k` on, as source."""
    return f"[{':, ' * axis}{k}::{times}]"


def _repeat_each_kernel(inputs: Sequence[TensorType], out: TensorType, attrs: dict[str, Any]) -> Kernel:
    parts = [_every(attrs["axis"], k, attrs["times"]) for k in range(attrs["times"])]
    return Kernel(tuple(Call(np.copyto, "copyto", f"{{out}}{part}, {{0}}") for part in parts))


def _sum_each(g: Array, *, axis: int, times: int) -> Array:
    first, second, *rest = (g[(*(slice(None),) * axis, slice(k, None, times))] for k in range(times))
    total: Array = np.add(first, second)
    for part in rest:
        total = np.add(total, part)
    return total


def _sum_each_kernel(inputs: Sequence[TensorType], out: TensorType, attrs: dict[str, Any]) -> Kernel:
    first, second, *rest = (_every(attrs["axis"], k, attrs["times"]) for k in range(attrs["times"]))
    calls = [Call(np.add, "add", f"{{0}}{first}, {{0}}{second}, {{out}}")]
    return Kernel((*calls, *(Call(np.add, "add", f"{{out}}, {{0}}{part}, {{out}}") for part in rest)))


def _infer_repeat_each(x: TensorType, *, axis: int, times: int) -> TensorType:
    return TensorType((*x.shape[:axis], times * x.shape[axis], *x.shape[axis + 1 :]), x.dtype)


def _infer_sum_each(g: TensorType, *, axis: int, times: int) -> TensorType:
    size = quotient(g.shape[axis], times)
    if size is None:
        raise ShapeError(f"sum_each: an axis of {g.shape[axis]} entries holds no whole number of {times}")
    return TensorType((*g.shape[:axis], size, *g.shape[axis + 1 :]), g.dtype)


repeat_each_op: Op = linear(
    "repeat_each",
    infer=_infer_repeat_each,
    evaluate=lambda x, *, axis, times: np.repeat(x, times, axis),
    transpose=lambda g, out, x, *, axis, times: apply(sum_each_op, (g,), (("axis", axis), ("times", times))),
    kernel=_repeat_each_kernel,
)
sum_each_op: Op = linear(
    "sum_each",
    infer=_infer_sum_each,
    evaluate=_sum_each,
    transpose=lambda g, out, x, *, axis, times: apply(repeat_each_op, (g,), (("axis", axis), ("times", times))),
    kernel=_sum_each_kernel,
)


def _repeat_each(node: Node, times: int, axis: int) -> Node:
    """Each entry `times` times: as a broadcast, unless that would move few entries at once."""
    inner = size_of(node.shape[axis + 1 :])
    if isinstance(inner, int) and inner < _SHORT and 1 < times <= _FEW:
        return apply(repeat_each_op, (node,), (("axis", axis), ("times", times)))
    before, after = node.shape[: axis + 1], node.shape[axis + 1 :]
    wide = broadcast_to(reshape(node, (*before, 1, *after)), (*before, times, *after))
    return reshape(wide, (*node.shape[:axis], times * node.shape[axis], *after))


@function(
    numpy=(np.repeat,),
    samples=cases(
        lambda: sample(normal(3), repeats=2),
        lambda: sample(normal(2, 3), repeats=2),
        lambda: sample(normal(2, 3), repeats=3, axis=-1),
        lambda: sample(normal(2, 3, 9), repeats=2, axis=1),
        lambda: sample(normal(2), repeats=17),
        lambda: sample(normal(2, 3), repeats=0, axis=0),
        lambda: sample(normal(3), repeats=[2, 0, 1]),
        lambda: sample(normal(2, 3), repeats=np.array([1, 3]), axis=0),
        lambda: sample(normal(2, 2, 3), repeats=[0, 1, 4], axis=2),
        lambda: sample(normal(2, 3), repeats=[2], axis=1),
        lambda: sample(normal(0, 2), repeats=2, axis=0),
        lambda: sample(2.0, repeats=3),
    ),
)
def repeat(a: Any, repeats: Any, axis: Any = None) -> Node:
    """`np.repeat`: each entry along `axis` as often as `repeats`, a number or a constant array of numbers, says.

    Raises:
        ShapeError: there are more or fewer counts than entries.
    """
    (node,) = lift((a,), "repeat")
    node, along = (ravel(node), 0) if axis is None else (node, normalize_axis(axis, node.ndim, "repeat"))
    counts = _counts(repeats, "repeat")
    if len(counts) == 1:
        return _repeat_each(node, counts[0], along)
    array = np.asarray(counts, np.intp)
    array.flags.writeable = False
    return apply(repeat_op, (node,), (("axis", along), ("counts", Const(array))))


# --- triangles ---------------------------------------------------------------------------------------


def _triangle_samples() -> list[Sample]:
    shifted = [sample(normal(*s), k=k) for k in (-1, 1) for s in ((3, 3), (2, 4), (3, 2, 2))]
    return [*_arrays((3, 3), (2, 3), (2, 2, 2), (0, 2), (3,)), *shifted, sample(normal(2, 2), k=5)]


def _triangle(node: Node, k: Any, where: str) -> Node:
    """True at and below a diagonal; of a vector, for the square matrix with it in all rows."""
    return triangle(node.shape[-2:] if node.ndim > 1 else node.shape * 2, as_integer(k, f"{where}: k"))


@function(numpy=(np.tril,), samples=_triangle_samples)
def tril(m: Any, k: Any = 0) -> Node:
    """`np.tril`: zero above the `k`-th diagonal of the last two axes."""
    node = _at_least(1, m, "tril")
    return call("where", _triangle(node, k, "tril"), node, constant(0, node.dtype))


@function(numpy=(np.triu,), samples=_triangle_samples)
def triu(m: Any, k: Any = 0) -> Node:
    """`np.triu`: zero below the `k`-th diagonal of the last two axes."""
    node = _at_least(1, m, "triu")
    below = _triangle(node, as_integer(k, "triu: k") - 1, "triu")
    return call("where", below, constant(0, node.dtype), node)


# --- diagonals ---------------------------------------------------------------------------------------


def _length(rows: Size, columns: Size, offset: int) -> Size:
    """How many entries a diagonal of a matrix has."""
    if rows == columns:
        return slice_size(rows, abs(offset), None, 1)
    down = slice_size(rows, max(-offset, 0), None, 1)
    right = slice_size(columns, max(offset, 0), None, 1)
    if isinstance(down, int) and isinstance(right, int):
        return min(down, right)
    from sympy import Min

    return dim(Min(*[s.expr if isinstance(s, Dim) else s for s in (down, right)]))


def _infer_diagonal(x: TensorType, *, offset: int, axis1: int, axis2: int) -> TensorType:
    rest = tuple(s for k, s in enumerate(x.shape) if k not in (axis1, axis2))
    return TensorType((*rest, _length(x.shape[axis1], x.shape[axis2], offset)), x.dtype)


def _infer_placed(g: TensorType, *, shape: Shape, **where: Any) -> TensorType:
    part = _infer_diagonal(TensorType(shape, g.dtype), **where)
    if part.shape != g.shape:
        raise ShapeError(f"place_diagonal: the diagonal has the shape {show_shape(part.shape)}, got {show_shape(g.shape)}")
    return TensorType(shape, g.dtype)


def put_diagonal(g: Array, out: Array, offset: int, axis1: int, axis2: int) -> None:
    """Into `out`: zeros, and `g` on the diagonal."""
    out.fill(0)
    diagonal = out.diagonal(offset, axis1, axis2)
    diagonal.flags.writeable = True  # NumPy hands it out read-only; it is a view of `out`
    diagonal[...] = g


def _place_diagonal(g: Array, *, shape: tuple[int, ...], **where: Any) -> Array:
    out = np.empty(shape, g.dtype)
    put_diagonal(g, out, **where)
    return out


def _place_diagonal_kernel(inputs: Sequence[TensorType], out: TensorType, attrs: dict[str, Any]) -> Kernel:
    where = f"{attrs['offset']}, {attrs['axis1']}, {attrs['axis2']}"
    return Kernel((Call(put_diagonal, "put_diagonal", f"{{0}}, {{out}}, {where}"),))


diagonal_op: Op = linear(
    "diagonal",
    infer=_infer_diagonal,
    evaluate=lambda x, *, offset, axis1, axis2: np.diagonal(x, offset, axis1, axis2),
    transpose=lambda g, out, x, **where: apply(place_diagonal_op, (g,), (*sorted(where.items()), ("shape", x.shape))),
    view=True,
    expression=lambda attrs: f"{{0}}.diagonal({attrs['offset']}, {attrs['axis1']}, {attrs['axis2']})",
    masks=True,
)
place_diagonal_op: Op = linear(
    "place_diagonal",
    infer=_infer_placed,
    evaluate=_place_diagonal,
    transpose=lambda g, out, x, *, shape, **where: apply(diagonal_op, (g,), tuple(sorted(where.items()))),
    kernel=_place_diagonal_kernel,
)


def _diagonal_samples(**attrs: Any) -> Samples:
    def make() -> list[Sample]:
        plain = _arrays((3, 3), (2, 4), (4, 2), (2, 3, 2), (0, 2), **attrs)
        shifted = [sample(normal(*s), offset=k, **attrs) for k in (-1, 1) for s in ((3, 3), (2, 4))]
        turned = [
            sample(normal(2, 3, 2), axis1=2, axis2=0, offset=1, **attrs),
            sample(normal(2, 2, 3), axis1=-2, axis2=-1, **attrs),
        ]
        return [*plain, *shifted, *turned, sample(normal(2, 2), offset=7, **attrs)]

    return make


@function(numpy=(np.diagonal,), samples=_diagonal_samples())
def diagonal(a: Any, offset: Any = 0, axis1: Any = 0, axis2: Any = 1) -> Node:
    """`np.diagonal`: a view of the diagonal of two axes, as the last axis of the result."""
    node = _at_least(2, a, "diagonal")
    one, other = normalize_axis(axis1, node.ndim, "diagonal"), normalize_axis(axis2, node.ndim, "diagonal")
    if one == other:
        raise ArgumentError(f"diagonal: axis1 and axis2 are two different axes, got {axis1} and {axis2}")
    return apply(diagonal_op, (node,), (("axis1", one), ("axis2", other), ("offset", as_integer(offset, "diagonal: offset"))))


@function(numpy=(np.trace,), samples=_diagonal_samples())
def trace(a: Any, offset: Any = 0, axis1: Any = 0, axis2: Any = 1, dtype: Any = None, out: Any = None) -> Node:
    """`np.trace`: the sum along a diagonal."""
    return call("sum", diagonal(a, offset, axis1, axis2), -1, dtype=dtype, out=out)


@function(
    numpy=(np.diag,),
    samples=lambda: [
        *_arrays((3,), (3, 3), (2, 4), (0,)),
        *[sample(normal(*s), k=k) for k in (-1, 2) for s in ((2,), (3, 3), (2, 4))],
    ],
)
def diag(v: Any, k: Any = 0) -> Node:
    """`np.diag`: a matrix with the vector on its `k`-th diagonal; of a matrix, that diagonal."""
    node = _at_least(1, v, "diag")
    offset = as_integer(k, "diag: k")
    if node.ndim > 2:
        raise ShapeError(f"diag: a vector or a matrix is needed, got {show_shape(node.shape)}; see np.diagonal")
    if node.ndim == 2:
        return diagonal(node, offset)
    size = node.shape[0] + abs(offset)
    attrs = (("axis1", 0), ("axis2", 1), ("offset", offset), ("shape", (size, size)))
    return apply(place_diagonal_op, (node,), attrs)


@function(
    numpy=(np.diagflat,),
    samples=lambda: [
        *_arrays((3,), (2, 2), (0,)),
        sample(2.0),
        *[sample(normal(2), k=k) for k in (-2, 1)],
        sample(normal(1, 3), k=1),
    ],
)
def diagflat(v: Any, k: Any = 0) -> Node:
    """`np.diagflat`: a matrix with all entries, flattened, on its `k`-th diagonal."""
    return diag(ravel(v), k)
