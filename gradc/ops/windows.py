"""Sliding windows, and what is made of them: convolution and pooling, in one and two dimensions.

Layouts are those of PyTorch: images (batch, channels, height, width), kernels (out, in / groups, height, width). A
convolution is a product of two matrices: the kernels as rows, and the windows, a strided view that is copied once, as columns.
The adjoint of windows adds them up where they overlap. A window over an axis of `size` entries is

    kernel, stride, before, after, dilation

and number o takes the entries o stride - before + i dilation, i < kernel; as many fit as
(size + before + after - dilation (kernel - 1) - 1) // stride + 1.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided, sliding_window_view

from gradc.errors import ArgumentError, ShapeError, show
from gradc.ir import Call, Kernel, Node, Op, apply, constant, lift
from gradc.ops.declare import call, function, linear, op
from gradc.ops.recipes import as_bits
from gradc.ops.reduction import floating_wide, narrowed
from gradc.ops.samples import Sample, at, normal, sample
from gradc.ops.slices import place
from gradc.types import Dim, Shape, Size, TensorType, normalize_axes, normalize_axis, show_shape, size_of

__all__ = [
    "avg_pool1d",
    "avg_pool2d",
    "conv1d",
    "conv2d",
    "conv_transpose1d",
    "conv_transpose2d",
    "max_pool1d",
    "max_pool2d",
    "sliding_windows",
]

Array = np.ndarray[Any, Any]
Window = tuple[int, int, int, int, int]
Frame = tuple[Window, ...]
_INF, _NAN = math.inf, math.nan

# --- windows along the last axes -------------------------------------------------------------------------


def _span(window: Window) -> int:
    kernel, _, _, _, dilation = window
    return dilation * (kernel - 1) + 1


def _counts(sizes: Shape, frame: Frame) -> Shape:
    """How many windows fit along each axis.

    Raises:
        ShapeError: not even one fits.
    """
    counts = []
    for size, window in zip(sizes, frame, strict=True):
        _, stride, before, after, _ = window
        room = size + (before + after - _span(window))
        if isinstance(room, int) and room < 0:
            raise ShapeError(
                f"a window that spans {_span(window)} entries does not fit an axis of {size}, padded to {room + _span(window)}"
            )
        counts.append((room if stride == 1 else room // stride) + 1)
    return tuple(counts)


Index = tuple[Any, ...]


@lru_cache(maxsize=1024)
def _taps(frame: Frame, sizes: tuple[int, ...]) -> tuple[tuple[Index, Index, Index], ...]:
    """For each entry of the kernel: its index, the windows in which it falls on an entry, and those entries."""
    along = []
    for size, count, (kernel, stride, before, _, dilation) in zip(sizes, _counts(sizes, frame), frame, strict=True):
        found = []
        for i in range(kernel):
            offset = i * dilation - before
            first = max(0, -(offset // stride))
            many = max(0, min(int(count), (size - 1 - offset) // stride + 1) - first)
            start = first * stride + offset
            entries = slice(start, start + (many - 1) * stride + 1, stride) if many else slice(0, 0)
            found.append((i, slice(first, first + many), entries))
        along.append(found)
    return tuple(
        (tuple(t[0] for t in taps), (..., *(t[1] for t in taps)), (..., *(t[2] for t in taps)))
        for taps in itertools.product(*along)
    )


def _split(shape: Shape, frame: Frame) -> tuple[Shape, Shape]:
    return shape[: len(shape) - len(frame)], shape[len(shape) - len(frame) :]


def _windows(x: Any, *, frame: Frame) -> Any:
    lead, sizes = _split(x.shape, frame)
    strides = x.strides[len(lead) :]
    steps = tuple(n * stride for n, (_, stride, _, _, _) in zip(strides, frame, strict=True))
    within = tuple(n * dilation for n, (_, _, _, _, dilation) in zip(strides, frame, strict=True))
    shape: Any = (*lead, *_counts(sizes, frame), *(window[0] for window in frame))
    return as_strided(x, shape, (*x.strides[: len(lead)], *steps, *within))


def _infer_windows(x: TensorType, *, frame: Frame) -> TensorType:
    lead, sizes = _split(x.shape, frame)
    return TensorType((*lead, *_counts(sizes, frame), *(window[0] for window in frame)), x.dtype)


windows_op: Op = linear(
    "windows",
    infer=_infer_windows,
    evaluate=_windows,
    transpose=lambda g, out, x, *, frame: _overlapped(g, frame, x.shape[x.ndim - len(frame) :]),
    view=True,
)


def _unpadded(frame: Frame) -> Frame:
    return tuple((kernel, stride, 0, 0, dilation) for kernel, stride, _, _, dilation in frame)


def _padded(x: Node, frame: Frame) -> Node:
    """`x` with zeros around its last axes, as many as the frame says."""
    if all(before == after == 0 for _, _, before, after, _ in frame):
        return x
    lead, sizes = _split(x.shape, frame)
    around = [(size, before, size + (before + after)) for size, (_, _, before, after, _) in zip(sizes, frame, strict=True)]
    index = tuple((start, start + size, 1) for size, start, _ in [*((s, 0, s) for s in lead), *around])
    return place(x, index, (*lead, *(whole for _, _, whole in around)))


def windows(x: Node, frame: Frame) -> Node:
    """The windows over the last axes of `x`, padded with zeros: shape (..., counts of windows, kernel)."""
    return apply(windows_op, (_padded(x, frame),), (("frame", _unpadded(frame)),))


def overlap_add(g: Array, out: Array, frame: Frame) -> None:
    """Into `out`: windows added up where they came from, one entry of the kernel after the other."""
    if out.dtype == np.float16:  # it counts to 2048 only
        wide = np.empty(out.shape, np.float32)
        overlap_add(g, wide, frame)
        np.copyto(out, wide, "same_kind")
        return
    out.fill(0)
    n = len(frame)
    for at_, inside, entries in _taps(frame, out.shape[out.ndim - n :]):
        part = out[entries]
        np.add(part, g[(..., *inside[1:], *at_)], out=part)


def _overlap(g: Any, *, frame: Frame, sizes: tuple[int, ...]) -> Any:
    out = np.empty((*g.shape[: g.ndim - 2 * len(frame)], *sizes), g.dtype)
    overlap_add(g, out, frame)
    return out


def _infer_overlap(g: TensorType, *, frame: Frame, sizes: Shape) -> TensorType:
    lead = g.shape[: g.ndim - 2 * len(frame)]
    shape = (*lead, *_counts(sizes, frame), *(window[0] for window in frame))
    if shape != g.shape:
        raise ShapeError(f"overlap_add: expected windows {show_shape(shape)}, got {show_shape(g.shape)}")
    return TensorType((*lead, *sizes), g.dtype)


overlap_op: Op = linear(
    "overlap_add",
    infer=_infer_overlap,
    evaluate=_overlap,
    transpose=lambda g, out, x, *, frame, sizes: windows(g, frame),
    kernel=lambda inputs, out, attrs: Kernel((Call(overlap_add, "overlap_add", f"{{0}}, {{out}}, {attrs['frame']}"),)),
)


def _overlapped(g: Node, frame: Frame, sizes: Shape) -> Node:
    return apply(overlap_op, (g,), (("frame", frame), ("sizes", sizes)))


@function(
    numpy=(sliding_window_view,),
    samples=lambda: [
        sample(normal(5), window_shape=2),
        sample(normal(3, 4), window_shape=(2, 3)),
        sample(normal(3, 4), window_shape=2, axis=0),
        sample(normal(2, 3, 4), window_shape=(3, 2), axis=(-1, 0)),
        sample(normal(2, 0), window_shape=2, axis=0),
    ],
    edges=(at([_INF, 1.0, 2.0], value=[[_INF, 1.0], [1.0, 2.0]], adjoints=([1.0, 2.0, 1.0],), window_shape=2),),
)
def sliding_windows(x: Any, window_shape: Any, axis: Any = None) -> Node:
    """`np.lib.stride_tricks.sliding_window_view`: a view of all windows over `axis`, the windows' own axes last.

    Args:
        window_shape: an integer, or one an axis.
        axis: None for all axes, an integer, or different ones.

    Raises:
        ShapeError: sizes and axes differ in number, or a window does not fit.
    """
    (node,) = lift((x,), "sliding_windows")
    sizes = tuple(window_shape) if isinstance(window_shape, (tuple, list)) else (window_shape,)
    given = axis if isinstance(axis, (tuple, list)) else range(node.ndim) if axis is None else (axis,)
    axes = tuple(normalize_axis(a, node.ndim, "sliding_windows") for a in given)
    normalize_axes(axes, node.ndim, "sliding_windows")
    if len(sizes) != len(axes):
        raise ShapeError(f"sliding_windows: {len(sizes)} sizes of windows for {len(axes)} axes")
    frame = tuple((_whole(size, 1, "window_shape", "sliding_windows"), 1, 0, 0, 1) for size in sizes)
    rest = tuple(k for k in range(node.ndim) if k not in axes)
    order = (*rest, *axes)
    found = windows(call("transpose", node, order), frame)
    back = (*(int(k) for k in np.argsort(order)), *range(node.ndim, found.ndim))
    return call("transpose", found, back)


# --- what users say of windows -----------------------------------------------------------------------------


def _whole(value: Any, least: int, name: str, where: str) -> int:
    if isinstance(value, (bool, Node, Dim)) or not hasattr(value, "__index__") or int(value.__index__()) < least:
        raise ArgumentError(f"{where}: {name} is an integer from {least} on, got {show(value)}")
    return int(value.__index__())


def _each(value: Any, n: int, least: int, name: str, where: str) -> tuple[int, ...]:
    """One integer an axis."""
    given = tuple(value) if isinstance(value, (tuple, list)) else (value,) * n
    if len(given) != n:
        raise ArgumentError(f"{where}: {name} is an integer, or {n} of them, got {show(value)}")
    return tuple(_whole(v, least, name, where) for v in given)


def _around(padding: Any, spans: Sequence[int], strides: Sequence[int], where: str) -> list[tuple[int, int]]:
    """How much is added before and after each axis."""
    n = len(spans)
    if padding == "valid":
        return [(0, 0)] * n
    if padding == "same":
        if any(s != 1 for s in strides):
            raise ArgumentError(f"{where}: padding 'same' keeps the size where the stride is 1, got stride {tuple(strides)}")
        return [((span - 1) // 2, span // 2) for span in spans]
    given = tuple(padding) if isinstance(padding, (tuple, list)) else (padding,) * n
    if len(given) != n or isinstance(padding, str):
        raise ArgumentError(
            f"{where}: padding is 'same', 'valid', an integer, or {n} integers or pairs of them, got {show(padding)}"
        )
    pairs = [tuple(p) if isinstance(p, (tuple, list)) else (p, p) for p in given]
    if any(len(p) != 2 for p in pairs):
        raise ArgumentError(f"{where}: padding of an axis is an integer, or a pair (before, after), got {show(padding)}")
    return [(_whole(a, 0, "padding", where), _whole(b, 0, "padding", where)) for a, b in pairs]


def _frame(kernel: Sequence[int], stride: Any, padding: Any, dilation: Any, where: str) -> Frame:
    n = len(kernel)
    strides, dilations = _each(stride, n, 1, "stride", where), _each(dilation, n, 1, "dilation", where)
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True)]
    around = _around(padding, spans, strides, where)
    return tuple((k, s, *p, d) for k, s, p, d in zip(kernel, strides, around, dilations, strict=True))


# --- convolution -----------------------------------------------------------------------------------------


def _column_axes(n: int) -> tuple[int, ...]:
    """From windows (batch, channels, places, kernel) to columns (channels, kernel, batch, places)."""
    return (1, *range(n + 2, 2 * n + 2), 0, *range(2, n + 2))


def _window_axes(n: int) -> tuple[int, ...]:
    return (n + 1, 0, *range(n + 2, 2 * n + 2), *range(1, n + 1))


def columns_into(x: Array, out: Array, frame: Frame, around: Array | None = None) -> None:
    """Into `out`: the windows of `x` as columns of a matrix, rows (channels, kernel), columns (batch, places).

    `around` is scratch for `x` with its padding, or None where there is none.
    """
    if around is not None:
        around.fill(0)
        inside: Any = [slice(w[2], w[2] + size) for size, w in zip(x.shape[2:], frame, strict=True)]
        around[(..., *inside)] = x
    seen = _windows(x if around is None else around, frame=_unpadded(frame))
    np.copyto(out, seen.transpose(_column_axes(len(frame))))


def _around_type(x: TensorType, frame: Frame) -> tuple[TensorType, ...]:
    """The type of the scratch that `columns_into` needs."""
    if all(before == after == 0 for _, _, before, after, _ in frame):
        return ()
    sizes = (size + (before + after) for size, (_, _, before, after, _) in zip(x.shape[2:], frame, strict=True))
    return (TensorType((*x.shape[:2], *sizes), x.dtype),)


def _infer_columns(x: TensorType, *, frame: Frame) -> TensorType:
    kernel = tuple(window[0] for window in frame)
    return TensorType((x.shape[1], *kernel, x.shape[0], *_counts(x.shape[2:], frame)), x.dtype)


def _columns(x: Any, *, frame: Frame) -> Any:
    given = TensorType(x.shape, x.dtype)
    out, *around = (np.empty(t.shape, t.dtype) for t in (_infer_columns(given, frame=frame), *_around_type(given, frame)))
    columns_into(x, out, frame, *around)
    return out


def _columns_kernel(inputs: Sequence[TensorType], out: TensorType, attrs: dict[str, Any]) -> Kernel:
    scratch = _around_type(inputs[0], attrs["frame"])
    arguments = f"{{0}}, {{out}}, {attrs['frame']}" + (", {s0}" if scratch else "")
    return Kernel((Call(columns_into, "columns", arguments),), scratch=scratch)


def _columns_transpose(g: Node, out: Node, x: Node, *, frame: Frame) -> Node:
    return _overlapped(call("transpose", g, _window_axes(len(frame))), frame, x.shape[2:])


columns_op: Op = linear("columns", infer=_infer_columns, evaluate=_columns, transpose=_columns_transpose, kernel=_columns_kernel)


def _kernel_sizes(weight: Node, where: str) -> tuple[int, ...]:
    return tuple(_whole(size, 1, "the size of a kernel", where) for size in weight.shape[2:])


def _operands(x: Any, weight: Any, n: int, where: str) -> tuple[Node, Node]:
    a, w = lift((x, weight), where)
    if a.ndim != n + 2 or w.ndim != n + 2:
        axes = "length" if n == 1 else "height, width"
        raise ShapeError(
            f"{where}: expected x (batch, channels, {axes}) and kernels of as many axes, "
            f"got {show_shape(a.shape)} and {show_shape(w.shape)}"
        )
    return a, w


def _share(size: Size, groups: int, what: str, where: str) -> Size:
    """`size` in equal parts."""
    if groups == 1:
        return size
    if not isinstance(size, int) or size % groups:
        raise ShapeError(f"{where}: {size} {what} are not {groups} equal groups")
    return size // groups


def _bias(bias: Any, channels: Size, where: str) -> Node:
    (node,) = lift((bias,), where)
    if node.shape != (channels,):
        raise ShapeError(f"{where}: bias has one entry for each of the {channels} channels, got {show_shape(node.shape)}")
    return node


def _swapped(x: Node) -> Node:
    """Batch and channels swapped."""
    return call("swapaxes", x, 0, 1)


def _conv(x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: Any, n: int) -> Node:
    where = f"conv{n}d"
    a, w = _operands(x, weight, n, where)
    groups = _whole(groups, 1, "groups", where)
    outs, ins = _share(w.shape[0], groups, "kernels", where), _share(a.shape[1], groups, "channels", where)
    if w.shape[1] != ins:
        raise ShapeError(
            f"{where}: kernels {show_shape(w.shape)} take {w.shape[1]} channels each, "
            f"x {show_shape(a.shape)} has {a.shape[1]} in {groups} groups"
        )
    frame = _frame(_kernel_sizes(w, where), stride, padding, dilation, where)
    columns = apply(columns_op, (a,), (("frame", frame),))
    entries, count = size_of((ins, *w.shape[2:])), size_of(columns.shape[n + 1 :])
    split = () if groups == 1 else (groups,)
    product = w.reshape(*split, outs, entries) @ columns.reshape(*split, entries, count)
    rows = product.reshape(w.shape[0], count)
    if bias is not None:
        rows = rows + _bias(bias, w.shape[0], where).reshape(w.shape[0], 1)
    return _swapped(rows.reshape(w.shape[0], *columns.shape[n + 1 :]))


def _conv_transpose(
    x: Any, weight: Any, bias: Any, stride: Any, padding: Any, extra: Any, dilation: Any, groups: Any, n: int
) -> Node:
    where = f"conv_transpose{n}d"
    a, w = _operands(x, weight, n, where)
    groups = _whole(groups, 1, "groups", where)
    ins = _share(a.shape[1], groups, "channels", where)
    if w.shape[0] != a.shape[1]:
        raise ShapeError(f"{where}: {w.shape[0]} kernels for the {a.shape[1]} channels of x {show_shape(a.shape)}")
    frame = _frame(_kernel_sizes(w, where), stride, padding, dilation, where)
    extras = _each(extra, n, 0, "output_padding", where)
    if any(e >= s for e, (_, s, _, _, _) in zip(extras, frame, strict=True)):
        raise ArgumentError(f"{where}: output_padding is less than the stride, got {show(extra)} with stride {show(stride)}")
    sizes = tuple((size - 1) * f[1] + (_span(f) + e - f[2] - f[3]) for size, f, e in zip(a.shape[2:], frame, extras, strict=True))
    if any(isinstance(size, int) and size < 0 for size in sizes):
        raise ShapeError(f"{where}: padding {show(padding)} leaves nothing of {show_shape(a.shape)}")
    entries, count = size_of(w.shape[1:]), size_of((a.shape[0], *a.shape[2:]))
    split = () if groups == 1 else (groups,)
    product = w.reshape(*split, ins, entries).mT @ _swapped(a).reshape(*split, ins, count)
    channels = w.shape[1] * groups
    spread = product.reshape(channels, *w.shape[2:], a.shape[0], *a.shape[2:])
    found = _overlapped(call("transpose", spread, _window_axes(n)), frame, sizes)
    return found if bias is None else found + _bias(bias, channels, where).reshape(channels, *[1] * n)


def _conv_samples(n: int, transposed: bool = False) -> list[Sample]:
    """Every option by itself, and together."""
    sizes, other = ((6,), (4,)) if n == 1 else ((4, 5), (2, 3))
    kernel, short = ((3,), (2,)) if n == 1 else ((3, 2), (1, 2))

    def made(inputs: int, outputs: int, kernel_: tuple[int, ...], bias: bool = False, groups: int = 1, **options: Any) -> Sample:
        first, second = (inputs, outputs // groups) if transposed else (outputs, inputs // groups)
        arrays = [normal(2, inputs, *sizes), normal(first, second, *kernel_, seed=1)]
        arrays += [normal(outputs, seed=2)] if bias else []
        if groups > 1:
            options["groups"] = groups
        return sample(*arrays, **options)

    pair = ((1, 0),) * n
    found = [
        made(2, 3, kernel),
        made(2, 1, short, bias=True),
        made(1, 2, kernel, stride=2),
        made(1, 2, kernel, padding=1, stride=(2,) if n == 1 else (2, 1)),
        made(1, 1, kernel, padding=pair, bias=True),
        made(1, 1, short, dilation=2),
        made(4, 2, short, groups=2, bias=True),
        made(2, 2, short, groups=2, padding=1, dilation=2, stride=2),
        sample(normal(0, 1, *other), normal(1, 1, *short, seed=1)),
    ]
    if transposed:
        return [*found, made(1, 2, kernel, stride=2, output_padding=1, bias=True)]
    return [*found, made(1, 2, kernel, padding="same"), made(2, 1, short, padding="valid", bias=True)]


@function(
    samples=lambda: _conv_samples(1),
    edges=(
        at(
            [[[1.0, 2.0, 4.0]]],
            [[[1.0, -1.0]]],
            value=[[[-1.0, -2.0]]],
            adjoints=([[[1.0, 0.0, -1.0]]], [[[3.0, 6.0]]]),
            why="a correlation: the kernel is not flipped",
        ),
        at([[[_INF, 0.0]]], [[[2.0]]], value=[[[_INF, 0.0]]], adjoints=([[[2.0, 2.0]]], [[[_INF]]])),
    ),
)
def conv1d(x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1) -> Node:
    """Correlation along the last axis, channel by channel; see `conv2d`.

    Args:
        x: (batch, channels, length).
        weight: (out, channels / groups, kernel).
        bias: (out,), or None.
    """
    return _conv(x, weight, bias, stride, padding, dilation, groups, 1)


@function(
    samples=lambda: _conv_samples(2),
    edges=(
        at(
            [[[[2.0]]]],
            [[[[1.0, 3.0, 5.0]]]],
            value=[[[[6.0]]]],
            adjoints=([[[[3.0]]]], [[[[0.0, 2.0, 0.0]]]]),
            padding="same",
            why="what falls on the padding gets 0",
        ),
    ),
)
def conv2d(x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1) -> Node:
    """Correlation over the last two axes, summed over the channels, as networks call convolution.

    Args:
        x: (batch, channels, height, width); batch, height and width may be symbolic.
        weight: (out, channels / groups, kernel height, kernel width).
        bias: (out,), or None.
        stride: an integer, or one an axis.
        padding: zeros around height and width: an integer, one an axis, a pair (before, after) an axis, "valid" for none, or
            "same" for as many as keep the size, the odd one after (stride 1 only).
        dilation: steps between the entries that a kernel sees: an integer, or one an axis.
        groups: in how many groups channels and kernels fall; each kernel sees the channels of its own.

    Returns:
        (batch, out, height', width'), size' = (size + before + after - dilation (kernel - 1) - 1) // stride + 1.

    Raises:
        ShapeError: shapes do not fit, or a kernel is larger than the padded axis.
        ArgumentError: an option is malformed.
    """
    return _conv(x, weight, bias, stride, padding, dilation, groups, 2)


@function(
    samples=lambda: _conv_samples(1, transposed=True),
    edges=(
        at(
            [[[1.0, 2.0]]],
            [[[1.0, 10.0]]],
            value=[[[1.0, 12.0, 20.0]]],
            adjoints=([[[11.0, 11.0]]], [[[3.0, 3.0]]]),
            why="windows add up where they overlap",
        ),
    ),
)
def conv_transpose1d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Node:
    """The transpose of `conv1d`: x (batch, channels, length), weight (channels, out / groups, kernel); see `conv_transpose2d`."""
    return _conv_transpose(x, weight, bias, stride, padding, output_padding, dilation, groups, 1)


@function(samples=lambda: _conv_samples(2, transposed=True))
def conv_transpose2d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Node:
    """The transpose of `conv2d` as a map of images: what its adjoint does, so that sizes go back to what they were.

    Args:
        x: (batch, channels, height, width).
        weight: (channels, out / groups, kernel height, kernel width), the layout of the `conv2d` that it transposes.
        bias: (out,), or None.
        stride, padding, dilation, groups: those of that `conv2d`.
        output_padding: rows and columns more at the end, where several sizes give that of `x`; less than the stride.

    Returns:
        (batch, out, height', width'), size' = (size - 1) stride - before - after + dilation (kernel - 1) + output_padding + 1.

    Raises:
        ShapeError: shapes do not fit.
        ArgumentError: an option is malformed.
    """
    return _conv_transpose(x, weight, bias, stride, padding, output_padding, dilation, groups, 2)


# --- pooling: maxima -------------------------------------------------------------------------------------


def _lowest(dtype: Any) -> Any:
    """What every other value is at least."""
    return -_INF if dtype.kind == "f" else False if dtype.kind == "b" else np.iinfo(dtype).min


def max_of_windows(x: Array, out: Array, frame: Frame) -> None:
    """Into `out`: the maximum of each window over the last axes; what falls on the padding does not count."""
    out.fill(_lowest(out.dtype))
    for _, inside, entries in _taps(frame, x.shape[x.ndim - len(frame) :]):
        part = out[inside]
        np.maximum(part, x[entries], out=part)


def _winners(top: Array, x: Array, wins: Array, count: Array, frame: Frame) -> tuple[tuple[Index, Index, Index], ...]:
    """Into `wins`: for each entry of the kernel, where it is the maximum; into `count`: how many are, at least 1."""
    taps = _taps(frame, x.shape[x.ndim - len(frame) :])
    count.fill(0)
    for k, (_, inside, entries) in enumerate(taps):
        won = wins[k][inside]
        np.equal(x[entries], top[inside], out=won)
        part = count[inside]
        np.add(part, won, out=part)
    np.maximum(count, 1, out=count)
    return taps


def spread_to_maxima(g: Array, top: Array, x: Array, out: Array, share: Array, term: Array, wins: Array, frame: Frame) -> None:
    """Into `out`: the adjoint of the maxima at the entries that are equal to them, which share it; the rest is scratch."""
    taps = _winners(top, x, wins, share, frame)
    np.divide(g, share, out=share)
    bits, term_bits = as_bits(share), as_bits(term)
    out.fill(0)
    for k, (_, inside, entries) in enumerate(taps):
        np.multiply(bits[inside], wins[k][inside], out=term_bits[inside])
        part = out[entries]
        np.add(part, term[inside], out=part)


def gather_at_maxima(t: Array, top: Array, x: Array, out: Array, count: Array, term: Array, wins: Array, frame: Frame) -> None:
    """Into `out`: the mean of `t` over the entries that are equal to the maximum of their window; the rest is scratch."""
    taps = _winners(top, x, wins, count, frame)
    bits, term_bits = as_bits(t), as_bits(term)
    out.fill(0)
    for k, (_, inside, entries) in enumerate(taps):
        np.multiply(bits[entries], wins[k][inside], out=term_bits[inside])
        part = out[inside]
        np.add(part, term[inside], out=part)
    np.divide(out, count, out=out)


def _tie_op(name: str, run: Callable[..., None], infer: Callable[..., TensorType], other: Callable[[], Op]) -> Op:
    """One of the two maps that share ties, each the transpose of the other: linear in operand 0, constant in the rest."""

    def scratch(top: TensorType, out: TensorType, frame: Frame) -> tuple[TensorType, ...]:
        each = TensorType(top.shape, out.dtype)
        return each, each, TensorType((math.prod(w[0] for w in frame), *top.shape), np.dtype("bool"))

    def evaluate(g: Any, top: Any, x: Any, *, frame: Frame) -> Any:
        result = infer(*(TensorType(a.shape, a.dtype) for a in (g, top, x)), frame=frame)
        helpers = scratch(TensorType(top.shape, top.dtype), result, frame)
        out, *more = (np.empty(t.shape, t.dtype) for t in (result, *helpers))
        run(g, top, x, out, *more, frame)
        return out

    def kernel(inputs: Sequence[TensorType], out: TensorType, attrs: dict[str, Any]) -> Kernel:
        arguments = f"{{0}}, {{1}}, {{2}}, {{out}}, {{s0}}, {{s1}}, {{s2}}, {attrs['frame']}"
        return Kernel((Call(run, name, arguments),), scratch=scratch(inputs[1], out, attrs["frame"]))

    def same(t: Node, out: Node, g: Node, top: Node, x: Node, *, frame: Frame) -> Node:
        return apply(out.op, (t, top, x), (("frame", frame),))

    def transposed(g: Node, out: Node, t: Node, top: Node, x: Node, *, frame: Frame) -> Node:
        return apply(other(), (g, top, x), (("frame", frame),))

    return op(
        name, infer=infer, evaluate=evaluate, kernel=kernel, vjp=(transposed, None, None), jvp=(same, None, None), masks=True
    )


spread_op: Op = _tie_op(
    "spread_to_maxima", spread_to_maxima, lambda g, top, x, *, frame: TensorType(x.shape, g.dtype), lambda: gather_op
)
gather_op: Op = _tie_op(
    "gather_at_maxima", gather_at_maxima, lambda t, top, x, *, frame: TensorType(top.shape, t.dtype), lambda: spread_op
)


def _infer_pool(x: TensorType, *, frame: Frame) -> TensorType:
    lead, sizes = _split(x.shape, frame)
    return TensorType((*lead, *_counts(sizes, frame)), x.dtype)


def _pool(fill: Callable[..., None]) -> tuple[Callable[..., Any], Any]:
    """`evaluate` and `kernel` of what `fill(x, out, frame)` computes from the windows of `x`."""

    def evaluate(x: Any, *, frame: Frame) -> Any:
        lead, sizes = _split(x.shape, frame)
        out = np.empty((*lead, *_counts(sizes, frame)), x.dtype)
        fill(x, out, frame)
        return out

    def kernel(inputs: Sequence[TensorType], out: TensorType, attrs: dict[str, Any]) -> Kernel:
        return Kernel((Call(fill, fill.__name__, f"{{0}}, {{out}}, {attrs['frame']}"),))

    return evaluate, kernel


_evaluate, _kernel = _pool(max_of_windows)
max_pool_op: Op = op(
    "max_pool",
    infer=_infer_pool,
    evaluate=_evaluate,
    kernel=_kernel,
    vjp=(lambda g, out, x, *, frame: apply(spread_op, (g, out, x), (("frame", frame),)),),
    jvp=(lambda t, out, x, *, frame: apply(gather_op, (t, out, x), (("frame", frame),)),),
    masks=True,
)

# --- pooling: sums ---------------------------------------------------------------------------------------


def sum_of_windows(x: Array, out: Array, frame: Frame) -> None:
    """Into `out`: the sum of each window over the last axes."""
    out.fill(0)
    for _, inside, entries in _taps(frame, x.shape[x.ndim - len(frame) :]):
        part = out[inside]
        np.add(part, x[entries], out=part)


def add_to_windows(g: Array, out: Array, frame: Frame) -> None:
    """Into `out`: each number added to all entries of its window."""
    out.fill(0)
    for _, inside, entries in _taps(frame, out.shape[out.ndim - len(frame) :]):
        part = out[entries]
        np.add(part, g[inside], out=part)


def _added(g: Any, *, frame: Frame, sizes: tuple[int, ...]) -> Any:
    out = np.empty((*g.shape[: g.ndim - len(frame)], *sizes), g.dtype)
    add_to_windows(g, out, frame)
    return out


_evaluate, _kernel = _pool(sum_of_windows)
sum_pool_op: Op = linear(
    "sum_pool",
    infer=_infer_pool,
    evaluate=_evaluate,
    kernel=_kernel,
    transpose=lambda g, out, x, *, frame: apply(add_pool_op, (g,), (("frame", frame), ("sizes", x.shape[x.ndim - len(frame) :]))),
)
add_pool_op: Op = linear(
    "add_to_windows",
    infer=lambda g, *, frame, sizes: TensorType((*g.shape[: g.ndim - len(frame)], *sizes), g.dtype),
    evaluate=_added,
    kernel=lambda inputs, out, attrs: Kernel((Call(add_to_windows, "add_to_windows", f"{{0}}, {{out}}, {attrs['frame']}"),)),
    transpose=lambda g, out, x, *, frame, sizes: apply(sum_pool_op, (g,), (("frame", frame),)),
)

# --- pooling: what users call ------------------------------------------------------------------------------


def _pooled(x: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, n: int, where: str) -> tuple[Node, Frame]:
    """The operand, and the windows that fit into it: each meets an entry that is no padding."""
    (node,) = lift((x,), where)
    if node.ndim < n:
        raise ShapeError(f"{where}: expected {n} axes or more, got {show_shape(node.shape)}")
    sizes = _each(kernel, n, 1, "kernel", where)
    frame = _frame(sizes, sizes if stride is None else stride, padding, dilation, where)
    if any(2 * max(window[2], window[3]) > _span(window) for window in frame):
        raise ArgumentError(
            f"{where}: padding is at most half of the kernel {sizes}, got {show(padding)}: no window is all padding"
        )
    return node, frame


def _max_pool(x: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, n: int) -> Node:
    node, frame = _pooled(x, kernel, stride, padding, dilation, n, f"max_pool{n}d")
    return apply(max_pool_op, (node,), (("frame", frame),))


def _avg_pool(x: Any, kernel: Any, stride: Any, padding: Any, count_padding: bool, n: int) -> Node:
    node, frame = _pooled(x, kernel, stride, padding, 1, n, f"avg_pool{n}d")
    wide = floating_wide(node, "avg_pool")
    total = apply(sum_pool_op, (wide,), (("frame", frame),))
    if count_padding or all(before == after == 0 for _, _, before, after, _ in frame):
        return narrowed(total / math.prod(w[0] for w in frame), node)
    ones = call("broadcast_to", constant(1, wide.dtype), node.shape[node.ndim - n :])
    return narrowed(total / apply(sum_pool_op, (ones,), (("frame", frame),)), node)


def _pool_samples(n: int, dilated: bool) -> list[Sample]:
    last = (6,) if n == 1 else (4, 5)
    kernel: Any = 2 if n == 1 else (2, 3)
    shapes = [(2, 3, *last), last, (1, 2, *last)]
    found = [
        sample(normal(*shapes[0]), kernel=2),
        sample(normal(*shapes[1]), kernel=kernel, stride=1),
        sample(normal(*shapes[2]), kernel=3, stride=2, padding=1),
        sample(normal(*shapes[1]), kernel=3, stride=1, padding="same"),
        sample(normal(*shapes[1]), kernel=2, stride=3, padding=((1, 0),) * n),
        sample(normal(0, *last), kernel=1),
    ]
    more = [sample(normal(*shapes[2]), kernel=2, stride=1, dilation=2, padding=1)] if dilated else []
    return found + more


_MAX_EDGES = (
    at([1.0, 1.0, 0.0, 2.0], value=[1.0, 2.0], adjoints=([0.5, 0.5, 0.0, 1.0],), kernel=2, why="ties share equally"),
    at([1.0, 3.0, 3.0], value=[3.0, 3.0], adjoints=([0.0, 1.5, 0.5],), kernel=2, stride=1, why="ties share equally"),
    at([-1.0, -2.0], value=[-1.0, -2.0], adjoints=([1.0, 1.0],), kernel=2, padding=1, why="padding does not count"),
    at([_NAN, 1.0], value=[_NAN], adjoints=([0.0, 0.0],), kernel=2, why="a window whose maximum is NaN passes none on"),
    at([-_INF, -_INF], value=[-_INF], adjoints=([0.5, 0.5],), kernel=2, why="ties share equally"),
)


@function(samples=lambda: _pool_samples(1, True), edges=_MAX_EDGES)
def max_pool1d(x: Any, kernel: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1) -> Node:
    """The maximum of each window along the last axis; see `max_pool2d`."""
    return _max_pool(x, kernel, stride, padding, dilation, 1)


@function(
    samples=lambda: _pool_samples(2, True),
    edges=(
        at(
            [[1.0, 1.0], [0.0, 1.0]],
            value=[[1.0]],
            adjoints=([[1 / 3, 1 / 3], [0.0, 1 / 3]],),
            kernel=2,
            why="ties share equally",
        ),
    ),
)
def max_pool2d(x: Any, kernel: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1) -> Node:
    """The maximum of each window over the last two axes; entries that tie for it share the adjoint equally.

    Args:
        x: (..., height, width); any of them may be symbolic.
        kernel, dilation: an integer, or one an axis.
        stride: likewise; that of `kernel` when left out.
        padding: as in `conv2d`, at most half of the window; it never is the maximum.

    Returns:
        (..., height', width'), size' = (size + before + after - dilation (kernel - 1) - 1) // stride + 1.

    Raises:
        ShapeError: a window is larger than the padded axis.
        ArgumentError: an option is malformed.
    """
    return _max_pool(x, kernel, stride, padding, dilation, 2)


@function(
    samples=lambda: [*_pool_samples(1, False), sample(normal(5), kernel=2, stride=1, padding=1, count_padding=False)],
    edges=(
        at([2.0, 4.0], value=[1.0, 2.0], adjoints=([0.5, 0.5],), kernel=2, padding=1, why="the padding counts as 0"),
        at([2.0, 4.0], value=[2.0, 4.0], adjoints=([1.0, 1.0],), kernel=2, padding=1, count_padding=False),
        at([_INF, 1.0], value=[_INF], adjoints=([0.5, 0.5],), kernel=2, why="linear, whatever the value"),
    ),
)
def avg_pool1d(x: Any, kernel: Any, stride: Any = None, padding: Any = 0, count_padding: bool = True) -> Node:
    """The mean of each window along the last axis; see `avg_pool2d`."""
    return _avg_pool(x, kernel, stride, padding, count_padding, 1)


@function(samples=lambda: [*_pool_samples(2, False), sample(normal(3, 3), kernel=2, stride=1, padding=1, count_padding=False)])
def avg_pool2d(x: Any, kernel: Any, stride: Any = None, padding: Any = 0, count_padding: bool = True) -> Node:
    """The mean of each window over the last two axes; integers give float64, and float16 is summed in float32.

    Args:
        x: (..., height, width); any of them may be symbolic.
        kernel: an integer, or one an axis.
        stride: likewise; that of `kernel` when left out.
        padding: as in `conv2d`, at most half of the window.
        count_padding: True counts padding as zeros; False takes the mean of the entries that are there.

    Raises:
        ShapeError: a window is larger than the padded axis.
        ArgumentError: an option is malformed.
    """
    return _avg_pool(x, kernel, stride, padding, count_padding, 2)
