"""Padding: every mode of np.pad.

Zeros around an array are the adjoint of a slice. The modes that repeat entries (edge, reflect, symmetric, wrap) are one op:
along an axis each run of entries in the padding is a copy, forwards or backwards, of a run in the array; its transpose adds
the runs back, however often the padding goes around. The other modes are joined from what NumPy computes for each end.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from gradc.errors import ArgumentError, ShapeError, UnsupportedError, show
from gradc.ir import Call, Kernel, Node, Op, apply, as_array, lift
from gradc.ops.creation import linspace
from gradc.ops.declare import call, function, linear
from gradc.ops.joining import concatenate
from gradc.ops.samples import Sample, normal, sample
from gradc.ops.shaping import broadcast_to
from gradc.ops.slices import place
from gradc.types import Shape, Size, TensorType, as_integer, normalize_axis, show_shape

__all__ = ["pad"]

Array = np.ndarray[Any, Any]
Widths = tuple[tuple[int, int], ...]

_REPEATING = ("edge", "reflect", "symmetric", "wrap")
_OPTIONS = {
    **dict.fromkeys(("empty", "edge", "wrap")),
    "constant": "constant_values",
    "linear_ramp": "end_values",
    **dict.fromkeys(("maximum", "mean", "median", "minimum"), "stat_length"),
    **dict.fromkeys(("reflect", "symmetric"), "reflect_type"),
}
"""The keyword that each mode takes."""

# --- modes that repeat entries -----------------------------------------------------------------------


class Run(NamedTuple):
    """`length` entries of the padded axis from `start` on: copies of those from `source` on, `step` apart."""

    start: int
    source: int
    step: int
    length: int

    @property
    def to(self) -> slice:
        """Where the copies are."""
        return slice(self.start, self.start + self.length)

    @property
    def origin(self) -> slice:
        """What is copied: one entry where the step is 0."""
        end = self.source + self.step * self.length
        if self.step == 0:
            return slice(self.source, self.source + 1)
        return slice(self.source, end if end >= 0 else None, self.step)


@lru_cache(maxsize=1024)
def _runs(size: int, before: int, after: int, mode: str) -> tuple[Run, ...]:
    """The runs in the padding of an axis, in places of the padded axis."""
    if not before and not after:
        return ()
    sources = np.pad(np.arange(size), (before, after), mode) + before  # type: ignore[call-overload]
    return (*_ascending(sources[:before], 0), *_ascending(sources[before + size :], before + size))


def _ascending(sources: Array, start: int) -> list[Run]:
    """Consecutive places `start`, `start + 1`, ... that copy `sources`, as runs of one step."""
    runs: list[Run] = []
    for k, source in enumerate(sources.tolist(), start):
        last = runs[-1] if runs else None
        step = source - last.source - last.step * (last.length - 1) if last else 0
        if last and abs(step) <= 1 and (last.length == 1 or step == last.step):
            runs[-1] = last._replace(step=step, length=last.length + 1)
        else:
            runs.append(Run(k, source, 1, 1))
    return runs


def _along(axis: int, part: slice) -> tuple[slice, ...]:
    return (*(slice(None),) * axis, part)


def _text(index: Sequence[slice]) -> str:
    return ", ".join(":".join("" if v is None else str(v) for v in (i.start, i.stop, i.step)) for i in index)


def _centre(shape: Sequence[Any], widths: Widths) -> tuple[slice, ...]:
    return tuple(slice(before, before + size) for size, (before, _) in zip(shape, widths, strict=True))


def _padded_shape(shape: Shape, widths: Widths) -> Shape:
    return tuple(size + (before + after) for size, (before, after) in zip(shape, widths, strict=True))


def _infer_pad(x: TensorType, *, widths: Widths, mode: str) -> TensorType:
    for axis, (size, width) in enumerate(zip(x.shape, widths, strict=True)):
        if size == 0 and any(width):
            raise ShapeError(
                f"pad: axis {axis} of {show_shape(x.shape)} is empty: there is nothing to repeat by mode {show(mode)}"
            )
    return TensorType(_padded_shape(x.shape, widths), x.dtype)


_MANY = 64


def _has_many_runs(shape: Sequence[Any], widths: Widths, mode: str) -> bool:
    """True where the padding goes around so often that a call for each run would make a long program."""
    return sum(len(_runs(size, *width, mode)) for size, width in zip(shape, widths, strict=True)) > _MANY


def _pad_kernel(inputs: Sequence[TensorType], out: TensorType, attrs: dict[str, Any]) -> Kernel | None:
    """The array into the middle; then axis by axis, each run from the part that is filled already."""
    shape: Any = inputs[0].shape
    widths, mode = attrs["widths"], attrs["mode"]
    if _has_many_runs(shape, widths, mode):
        return None
    calls = [Call(np.copyto, "copyto", f"{{out}}[{_text(_centre(shape, widths))}], {{0}}")]
    for axis, (before, after) in enumerate(widths):
        rest = _centre(shape, widths)[axis + 1 :]
        for run in _runs(shape[axis], before, after, mode):
            to, origin = (_text((*_along(axis, part), *rest)) for part in (run.to, run.origin))
            calls.append(Call(np.copyto, "copyto", f"{{out}}[{to}], {{out}}[{origin}]"))
    return Kernel(tuple(calls))


def _fold(g: Array, *, shape: tuple[int, ...], widths: Widths, mode: str) -> Array:
    padded = np.array(g)
    for axis in reversed(range(len(shape))):
        rest = _centre(shape, widths)[axis + 1 :]
        for run in _runs(shape[axis], *widths[axis], mode):
            part = padded[(*_along(axis, run.to), *rest)]
            padded[(*_along(axis, run.origin), *rest)] += part if run.step else part.sum(axis, keepdims=True)
    return padded[_centre(shape, widths)]


def _fold_kernel(inputs: Sequence[TensorType], out: TensorType, attrs: dict[str, Any]) -> Kernel | None:
    """Backwards: the runs of an axis are added to the middle, the last axis first."""
    shape, widths, mode = attrs["shape"], attrs["widths"], attrs["mode"]
    if _has_many_runs(shape, widths, mode):
        return None
    calls = [Call(np.copyto, "copyto", "{s0}, {0}")]
    scratch = [inputs[0]]
    for axis in reversed(range(len(shape))):
        rest = _centre(shape, widths)[axis + 1 :]
        for run in _runs(shape[axis], *widths[axis], mode):
            to, origin = (f"{{s0}}[{_text((*_along(axis, part), *rest))}]" for part in (run.to, run.origin))
            if not run.step:
                total = f"{{s{len(scratch)}}}"
                calls.append(Call(np.add.reduce, "add_reduce", f"{to}, {axis}, None, {total}, True"))
                scratch.append(TensorType((*inputs[0].shape[:axis], 1, *shape[axis + 1 :]), out.dtype))
                to = total
            calls.append(Call(operator.iadd, "iadd", f"{origin}, {to}"))
    calls.append(Call(np.copyto, "copyto", f"{{out}}, {{s0}}[{_text(_centre(shape, widths))}]"))
    return Kernel(tuple(calls), scratch=tuple(scratch))


def _infer_fold(g: TensorType, *, shape: Shape, widths: Widths, mode: str) -> TensorType:
    if _padded_shape(shape, widths) != g.shape:
        raise ShapeError(f"fold: {show_shape(shape)} padded by {widths} is not {show_shape(g.shape)}")
    return TensorType(shape, g.dtype)


pad_op: Op = linear(
    "pad",
    infer=_infer_pad,
    evaluate=lambda x, *, widths, mode: np.pad(x, widths, mode),
    transpose=lambda g, out, x, *, widths, mode: apply(fold_op, (g,), (("mode", mode), ("shape", x.shape), ("widths", widths))),
    kernel=_pad_kernel,
)
fold_op: Op = linear(
    "fold",
    infer=_infer_fold,
    evaluate=_fold,
    transpose=lambda g, out, x, *, shape, widths, mode: apply(pad_op, (g,), (("mode", mode), ("widths", widths))),
    kernel=_fold_kernel,
)

# --- modes that compute the ends ---------------------------------------------------------------------

Ends = Callable[[Node, int, tuple[int, int]], Sequence[Node]]
"""What goes before and after a node along an axis, to be broadcast to the widths there."""


def _part(x: Node, axis: int, start: Size | None, stop: Size | None, step: int | None = None) -> Node:
    return x[_along(axis, slice(start, stop, step))]


def _surrounded(node: Node, widths: Widths, ends: Ends) -> Node:
    """Axis by axis, `node` joined with its ends; those of later axes are made of what earlier ones have padded."""
    for axis, width in enumerate(widths):
        if not any(width):
            continue
        before, after = (
            broadcast_to(end, (*node.shape[:axis], w, *node.shape[axis + 1 :])).astype(node.dtype)
            for end, w in zip(ends(node, axis, width), width, strict=True)
        )
        parts = [p for p, w in ((before, width[0]), (node, 1), (after, width[1])) if w]
        node = concatenate(parts, axis)
    return node


def _constant(node: Node, widths: Widths, values: Any) -> Node:
    if isinstance(values, (int, float)) and values == 0:
        index = tuple((before, before + size, 1) for size, (before, _) in zip(node.shape, widths, strict=True))
        return place(node, index, _padded_shape(node.shape, widths))
    pairs = _pairs_of_nodes(values, node.ndim, "constant_values")
    return _surrounded(node, widths, lambda x, axis, width: pairs[axis])


def _pairs_of_nodes(values: Any, ndim: int, what: str) -> list[tuple[Node, Node]]:
    """Values for both ends of each axis: one for all, a pair for all, or as many pairs as axes."""
    if isinstance(values, Node):
        flat: Any = broadcast_to(values, (ndim, 2))
        return [(flat[k, 0], flat[k, 1]) for k in range(ndim)]
    if any(isinstance(v, Node) for v in _flattened(values)):
        return [(lift((a,), "pad")[0], lift((b,), "pad")[0]) for a, b in _pairs(values, ndim, what)]
    array = _broadcast(np.asarray(values), ndim, what)
    return [(lift((a,), "pad")[0], lift((b,), "pad")[0]) for a, b in array]


def _flattened(values: Any) -> list[Any]:
    """The entries of at most two levels of lists."""
    level = [values]
    for _ in range(2):
        level = [v for entry in level for v in (entry if isinstance(entry, (list, tuple)) else [entry])]
    return level


def _pairs(values: Any, ndim: int, what: str) -> list[tuple[Any, Any]]:
    """Values some of which are nodes: (a, b), or a pair for each axis."""
    pairs = [values] * ndim if len(values) == 2 and not isinstance(values[0], (list, tuple)) else list(values)
    pairs = pairs * ndim if len(pairs) == 1 else pairs
    if len(pairs) != ndim or any(not isinstance(p, (list, tuple)) or len(p) != 2 for p in pairs):
        raise ArgumentError(f"pad: {what} is one value, a pair, or a pair for each of {ndim} axes, got {show(values)}")
    return [(a, b) for a, b in pairs]


def _broadcast(array: Array, ndim: int, what: str) -> Array:
    try:
        return np.broadcast_to(array, (ndim, 2))
    except ValueError:
        raise ArgumentError(
            f"pad: {what} is one number, a pair, or a pair for each of {ndim} axes, got {show(array.tolist())}"
        ) from None


def _ramp(node: Node, widths: Widths, values: Any) -> Node:
    """Evenly spaced from the end values to the edges."""
    pairs = _pairs_of_nodes(values, node.ndim, "end_values")

    def ends(x: Node, axis: int, width: tuple[int, int]) -> Sequence[Node]:
        edges = (x[(*(slice(None),) * axis, k)] for k in (0, -1))
        before, after = (
            linspace(value, edge, w, False, dtype=x.dtype, axis=axis)
            for value, edge, w in zip(pairs[axis], edges, width, strict=True)
        )
        return before, _part(after, axis, None, None, -1)

    return _surrounded(node, widths, ends)


_STATISTICS = {"maximum": "max", "mean": "mean", "median": "median", "minimum": "min"}


def _statistic(node: Node, widths: Widths, mode: str, lengths: Any) -> Node:
    """The statistic of the first or last entries along the axis: as many as `lengths` says, or all."""
    array = _broadcast(np.asarray(lengths, object), node.ndim, "stat_length")

    def ends(x: Node, axis: int, width: tuple[int, int]) -> Sequence[Node]:
        size = x.shape[axis]
        counts = [
            None
            if n is None or (isinstance(size, int) and isinstance(n, int) and size <= n)
            else as_integer(n, "pad: stat_length")
            for n in array[axis]
        ]
        if any(n is not None and n <= 0 for n in counts):
            raise ArgumentError(f"pad: stat_length counts entries and is positive, got {show(lengths)}")
        chunks = (_part(x, axis, 0, counts[0]), x if counts[1] is None else _part(x, axis, -counts[1], None))
        found = [call(_STATISTICS[mode], chunk, axis, keepdims=True) for chunk in chunks]
        return [call("round", f) if x.dtype.kind in "iu" else f for f in found]

    return _surrounded(node, widths, ends)


def _odd(node: Node, widths: Widths, mode: str) -> Node:
    """Reflected in the edge entries, as a point reflection: as far as the array reaches, again and again."""
    for axis, width in enumerate(widths):
        if node.shape[axis] == 1:
            node = apply(pad_op, (node,), (("mode", "edge"), ("widths", _only(node.ndim, axis, width))))
            continue
        size, (before, after) = node.shape[axis], width
        if not isinstance(size, int):
            raise ShapeError(f"pad: reflect_type='odd' along the symbolic axis {axis} of {show_shape(node.shape)}")
        skip = 0 if mode == "symmetric" else 1
        while before or after:
            length = _period(node.shape[axis], size, skip)
            a, b = min(before, length), min(after, length)
            left = 2 * _part(node, axis, 0, 1) - _part(node, axis, skip, skip + a)[_along(axis, slice(None, None, -1))]
            whole = concatenate([left.astype(node.dtype), node], axis) if a else node
            if b:  # NumPy has filled the left side already when it turns to the right
                end = whole.shape[axis]
                assert isinstance(end, int)
                chunk = _part(whole, axis, end - skip - b, end - skip, None)[_along(axis, slice(None, None, -1))]
                right = 2 * _part(whole, axis, end - 1, end) - chunk
                whole = concatenate([whole, right.astype(node.dtype)], axis)
            node, before, after = whole, before - a, after - b
    return node


def _period(length: Size, size: int, skip: int) -> int:
    """How many entries one reflection takes: whole periods of the array's own."""
    assert isinstance(length, int)
    return length // size * size if not skip else (length - 1) // (size - 1) * (size - 1)


def _only(ndim: int, axis: int, width: tuple[int, int]) -> Widths:
    return tuple(width if k == axis else (0, 0) for k in range(ndim))


# --- pad ---------------------------------------------------------------------------------------------


def _widths(pad_width: Any, ndim: int) -> Widths:
    if isinstance(pad_width, dict):
        rows: list[Any] = [(0, 0)] * ndim
        for axis, width in pad_width.items():
            rows[normalize_axis(axis, ndim, "pad")] = width if isinstance(width, tuple) else (width, width)
        pad_width = rows if rows else 0
    array = as_array(pad_width, "pad: pad_width")
    if array.dtype.kind not in "iu" and array.size:
        raise ArgumentError(f"pad: pad_width is of integers, got {show(pad_width)}")
    pairs = _broadcast(array, ndim, "pad_width").tolist()
    if any(w < 0 for pair in pairs for w in pair):
        raise ArgumentError(f"pad: a width cannot be negative, got {show(pad_width)}")
    return tuple((int(before), int(after)) for before, after in pairs)


def _samples() -> list[Sample]:
    widths: tuple[Any, ...] = (1, (2, 1), ((0, 2), (1, 0)), ((3, 4), (5, 9)))
    repeating = [sample(normal(2, 3), pad_width=w, mode=m) for m in _REPEATING for w in widths]
    zeros = [sample(normal(2, 3), pad_width=w) for w in widths]
    odd = [sample(normal(2, 3), pad_width=w, mode=m, reflect_type="odd") for m in ("reflect", "symmetric") for w in (1, (2, 5))]
    statistics = [sample(normal(2, 3), pad_width=((1, 2), (0, 1)), mode=m) for m in _STATISTICS]
    return [
        *zeros,
        *repeating,
        *odd,
        *statistics,
        sample(normal(5), pad_width=2, mode="mean", stat_length=(2, 3)),
        sample(normal(2, 3), pad_width=(1, 2), constant_values=((1.0, 2.0), (3.0, 4.0))),
        sample(normal(3), pad_width=(2, 1), constant_values=5),
        sample(normal(2, 3), pad_width=2, mode="linear_ramp", end_values=(1.0, -1.0)),
        sample(normal(1, 2), pad_width=2, mode="reflect"),
        sample(normal(2), pad_width=70, mode="reflect"),
        sample(normal(0, 3), pad_width=((0, 0), (2, 1)), mode="wrap"),
        sample(normal(0), pad_width=2),
        sample(2.0, pad_width=1),
        sample(normal(2, 2), pad_width=0, mode="edge"),
    ]


@function(numpy=(np.pad,), samples=_samples)
def pad(array: Any, pad_width: Any, mode: Any = "constant", **kwargs: Any) -> Node:
    """`np.pad`: entries before and after each axis, by any of NumPy's modes; `constant_values` and `end_values` may be nodes.

    The entries of mode "empty" are zeros.

    Raises:
        ArgumentError: a width is negative or no integer, the mode is unknown, or has no such keyword.
        ShapeError: an empty axis is to be padded with its own entries.
    """
    (node,) = lift((array,), "pad")
    if callable(mode):
        raise UnsupportedError("pad: a function as mode writes into an array, which a node cannot be; join what it computes")
    if not isinstance(mode, str) or mode not in _OPTIONS:
        raise ArgumentError(f"pad: the modes are {', '.join(sorted(_OPTIONS))}; got {show(mode)}")
    option = _OPTIONS[mode]
    unknown = [k for k in kwargs if k != option]
    if unknown:
        takes = f"takes {option}=" if option else "takes no keyword"
        raise ArgumentError(f"pad: mode {show(mode)} {takes}, not {', '.join(unknown)}=")
    widths = _widths(pad_width, node.ndim)
    if not any(w for pair in widths for w in pair):
        return node
    return _padded(node, widths, mode, kwargs.get(option) if option else None)


def _padded(node: Node, widths: Widths, mode: str, given: Any) -> Node:
    if mode in ("constant", "empty"):
        return _constant(node, widths, 0 if given is None else given)
    for axis, width in enumerate(widths):
        if node.shape[axis] == 0 and any(width):
            raise ShapeError(f"pad: axis {axis} of {show_shape(node.shape)} is empty: mode {show(mode)} has no entries to go by")
    if mode == "linear_ramp":
        return _ramp(node, widths, 0 if given is None else given)
    if mode in _STATISTICS:
        return _statistic(node, widths, mode, given)
    if given not in (None, "even", "odd"):
        raise ArgumentError(f"pad: reflect_type is 'even' or 'odd', got {show(given)}")
    if given == "odd":
        return _odd(node, widths, mode)
    return apply(pad_op, (node,), (("mode", mode), ("widths", widths)))
