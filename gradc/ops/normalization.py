"""Normalisation: of layers, batches and vectors, without overflow, and right to every order at constant rows and the origin."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradc.errors import ArgumentError, ShapeError, show
from gradc.ir import Call, Kernel, Node, Op, apply, lift
from gradc.ops.declare import call, function, op
from gradc.ops.nn import positive
from gradc.ops.norms import scale_of, unit, vector_norm
from gradc.ops.reduction import floating_wide, is_empty, narrowed, reduced_shape, sum_
from gradc.ops.samples import Sample, at, cases, normal, sample
from gradc.types import Shape, Size, TensorType, normalize_axes, normalize_axis, show_shape, size_of

__all__ = [
    "batch_norm",
    "cosine_similarity",
    "l2_normalize",
    "layer_norm",
    "rms_norm",
]

Array = np.ndarray[Any, Any]
_INF, _NAN = math.inf, math.nan

_sum_over: Any = np.add.reduce


def deviations_into(x: Array, out: Array, mean: Array, axes: tuple[int, ...], count: int) -> None:
    """Into `out`: x less its mean over `axes`; `mean` is scratch. The mean of what is left is taken out again.

    The first mean is rounded to the precision of the entries, which shows where these are nearly equal: those of a
    constant row are then exactly 0.
    """
    _sum_over(x, axes, None, mean, True)
    np.divide(mean, count, mean)
    np.subtract(x, mean, out)
    _sum_over(out, axes, None, mean, True)
    np.divide(mean, count, mean)
    np.subtract(out, mean, out)


def _count(shape: Shape, axes: tuple[int, ...]) -> Size:
    return size_of(tuple(shape[a] for a in axes))


def _divisor(shape: Shape, axes: tuple[int, ...]) -> int:
    """How many entries a mean takes, as a number to divide by."""
    return max(1, int(_count(shape, axes)))


def _deviations(x: Any, *, axes: tuple[int, ...]) -> Any:
    out = np.empty(x.shape, x.dtype)
    deviations_into(x, out, np.empty(reduced_shape(x.shape, axes, True), x.dtype), axes, _divisor(x.shape, axes))
    return out


def _deviations_kernel(inputs: Sequence[TensorType], out: TensorType, attrs: dict[str, Any]) -> Kernel:
    axes = attrs["axes"]
    arguments = f"{{0}}, {{out}}, {{s0}}, {axes}, {_divisor(out.shape, axes)}"
    return Kernel(
        (Call(deviations_into, "deviations", arguments),),
        inplace=(0,),
        scratch=(TensorType(reduced_shape(out.shape, axes, True), out.dtype),),
    )


def _mean_count(x: Node, axes: tuple[int, ...]) -> Node:
    return call("dimension", _count(x.shape, axes), x.dtype)


def _less_mean(g: Node, axes: tuple[int, ...]) -> Node:
    return g - sum_(g, axes, keepdims=True) / _mean_count(g, axes)


deviations_op: Op = op(
    "deviations",
    infer=lambda x, *, axes: x,
    evaluate=_deviations,
    vjp=(lambda g, out, x, *, axes: _less_mean(g, axes),),
    jvp=(lambda t, out, x, *, axes: _less_mean(t, axes),),
    kernel=_deviations_kernel,
    linear=True,
)


def root_mean_square_into(x: Array, out: Array, squares: Array, axes: tuple[int, ...], count: int, eps: float) -> None:
    """Into `out`: sqrt(mean(x**2) + eps) over `axes`; where squares overflow, by the largest entry; `squares` is scratch."""
    np.multiply(x, x, squares)
    _sum_over(squares, axes, None, out, True)
    scale: Any = None
    if out.size and not np.maximum.reduce(out, None) < _INF:
        scale = np.maximum(scale_of(x, axes), 1)
        np.divide(x, scale, squares)
        np.multiply(squares, squares, squares)
        _sum_over(squares, axes, None, out, True)
    np.divide(out, count, out)
    np.add(out, eps if scale is None else eps / scale / scale, out)
    np.sqrt(out, out)
    if scale is not None:
        np.multiply(out, scale, out)


def _root_mean_square(x: Any, *, axes: tuple[int, ...], eps: float) -> Any:
    out = np.empty(reduced_shape(x.shape, axes, True), x.dtype)
    root_mean_square_into(x, out, np.empty(x.shape, x.dtype), axes, _divisor(x.shape, axes), eps)
    return out


def _root_kernel(inputs: Sequence[TensorType], out: TensorType, attrs: dict[str, Any]) -> Kernel:
    axes = attrs["axes"]
    arguments = f"{{0}}, {{out}}, {{s0}}, {axes}, {_divisor(inputs[0].shape, axes)}, {attrs['eps']}"
    return Kernel((Call(root_mean_square_into, "root_mean_square", arguments),), scratch=(inputs[0],))


root_mean_square: Op = op(
    "root_mean_square",
    infer=lambda x, *, axes, eps: TensorType(reduced_shape(x.shape, axes, True), x.dtype),
    evaluate=_root_mean_square,
    vjp=(lambda g, out, x, *, axes, eps: (g / _mean_count(x, axes)) * (x / out),),
    jvp=(lambda t, out, x, *, axes, eps: sum_(t * (x / out), axes, keepdims=True) / _mean_count(x, axes),),
    kernel=_root_kernel,
    reduces=True,
)


def _normalized(given: Node, axes: tuple[int, ...], eps: Any, centred: bool, where_: str) -> Node:
    """`given`, less its mean if `centred`, over the root of the mean of its squares and eps."""
    wide = floating_wide(given, where_)
    limits = np.finfo(wide.dtype)
    least = positive(eps, "eps", where_)
    if least < limits.tiny / limits.eps:
        raise ArgumentError(
            f"{where_}: eps={show(eps)} vanishes beside squares in {wide.dtype}; take {limits.tiny / limits.eps:.0e} or more"
        )
    if is_empty(wide, axes):
        return narrowed(wide, given)
    x = apply(deviations_op, (wide,), (("axes", axes),)) if centred else wide
    return narrowed(x / apply(root_mean_square, (x,), (("axes", axes), ("eps", least))), given)


def _along(parameter: Any, x: Node, axes: tuple[int, ...], name: str, where_: str) -> Node:
    """A parameter with an entry for each entry of `axes`, ready to broadcast against `x`."""
    (node,) = lift((parameter,), where_)
    sizes = tuple(x.shape[a] for a in axes)
    if node.shape != sizes:
        raise ShapeError(f"{where_}: {name} has the shape {show_shape(sizes)} of the axes {axes}, got {show_shape(node.shape)}")
    return call("reshape", node, tuple(s if k in axes else 1 for k, s in enumerate(x.shape))[axes[0] if axes else 0 :])


def _scaled(y: Node, scale: Any, shift: Any, axes: tuple[int, ...], where_: str) -> Node:
    if scale is not None:
        y = y * _along(scale, y, axes, "scale", where_)
    return y if shift is None else y + _along(shift, y, axes, "shift", where_)


def _norm_samples(*shapes: tuple[tuple[int, ...], dict[str, Any], tuple[int, ...]], shift: bool = True) -> list[Sample]:
    """x by itself, and with a scale and a shift of the last shape."""
    found = []
    for k, (shape, options, inner) in enumerate(shapes):
        parameters = [normal(*inner, seed=k + 1), *([normal(*inner, seed=k + 9)] if shift else [])]
        found += [sample(normal(*shape, seed=k), **options), sample(normal(*shape, seed=k), *parameters, **options)]
    return found


_BIG = 2.0**600


@function(
    samples=lambda: _norm_samples(
        ((4,), {}, (4,)),
        ((2, 3), {}, (3,)),
        ((3, 2), {"axis": 0, "eps": 0.1}, (3,)),
        ((2, 2, 3), {"axis": (1, 2)}, (2, 3)),
        ((2, 3, 2), {"axis": (0, -1)}, (2, 2)),
        ((0, 3), {}, (3,)),
    ),
    edges=(
        at([3.0, 3.0, 3.0], value=[0.0, 0.0, 0.0], adjoints=([0.0, 0.0, 0.0],), why="a constant row is 0, not noise"),
        at([0.1, 0.1, 0.1], value=[0.0, 0.0, 0.0], adjoints=([0.0, 0.0, 0.0],), why="though its mean is rounded"),
        at([_BIG, -_BIG], value=[1.0, -1.0], adjoints=([0.0, 0.0],), why="no square overflows"),
        at([_INF, 1.0], value=[_NAN, _NAN], adjoints=([_NAN, _NAN],)),
    ),
)
def layer_norm(x: Any, scale: Any = None, shift: Any = None, axis: Any = -1, eps: float = 1e-5) -> Node:
    """(x - mean) / sqrt(variance + eps) over `axis`, times `scale`, plus `shift` (Ba, Kiros and Hinton, 2016).

    Args:
        x: any shape; integers give float64, and float16 is computed in float32.
        scale, shift: the shape of x over `axis`, or None.
        axis: an integer, or a tuple, or None for all.
        eps: positive.

    Raises:
        ShapeError: scale or shift has another shape.
        ArgumentError: eps is not positive, or so small that it vanishes.
    """
    (node,) = lift((x,), "layer_norm")
    axes = normalize_axes(axis, node.ndim, "layer_norm")
    return _scaled(_normalized(node, axes, eps, True, "layer_norm"), scale, shift, axes, "layer_norm")


@function(
    samples=lambda: _norm_samples(
        ((4,), {}, (4,)),
        ((2, 3), {}, (3,)),
        ((3, 2), {"axis": 0, "eps": 0.1}, (3,)),
        ((2, 2, 3), {"axis": (1, 2)}, (2, 3)),
        shift=False,
    ),
    edges=(
        at([0.0, 0.0], value=[0.0, 0.0], adjoints=([1 / math.sqrt(1e-5)] * 2,)),
        at([_BIG, _BIG], value=[1.0, 1.0], adjoints=([0.0, 0.0],), why="no square overflows"),
    ),
)
def rms_norm(x: Any, scale: Any = None, axis: Any = -1, eps: float = 1e-5) -> Node:
    """x / sqrt(mean(x**2) + eps) over `axis`, times `scale` (Zhang and Sennrich, 2019); options as in `layer_norm`.

    Raises:
        ShapeError: scale has another shape than x over `axis`.
        ArgumentError: eps is not positive, or so small that it vanishes.
    """
    (node,) = lift((x,), "rms_norm")
    axes = normalize_axes(axis, node.ndim, "rms_norm")
    return _scaled(_normalized(node, axes, eps, False, "rms_norm"), scale, None, axes, "rms_norm")


@function(
    samples=lambda: _norm_samples(
        ((4, 2), {}, (2,)), ((3, 2, 2), {"eps": 0.1}, (2,)), ((2, 2, 2, 3), {}, (2,)), ((3, 4), {"axis": 0}, (3,))
    ),
    edges=(at([[2.0], [2.0]], value=[[0.0], [0.0]], adjoints=([[0.0], [0.0]],), why="a constant channel is 0, not noise"),),
)
def batch_norm(x: Any, scale: Any = None, shift: Any = None, axis: int = 1, eps: float = 1e-5) -> Node:
    """(x - mean) / sqrt(variance + eps) of each channel over the rest of the batch (Ioffe and Szegedy, 2015), as in training.

    A pure function: it keeps no running averages. With statistics of your own it is (x - mean) / np.sqrt(variance + eps).

    Args:
        x: (batch, channels, ...).
        scale, shift: (channels,), or None.
        axis: that of the channels.
        eps: positive.

    Raises:
        ShapeError: scale or shift has another shape.
        ArgumentError: eps is not positive, or so small that it vanishes.
    """
    (node,) = lift((x,), "batch_norm")
    channel = normalize_axis(axis, node.ndim, "batch_norm")
    rest = tuple(k for k in range(node.ndim) if k != channel)
    return _scaled(_normalized(node, rest, eps, True, "batch_norm"), scale, shift, (channel,), "batch_norm")


@function(
    samples=cases(
        lambda: sample(normal(3)),
        lambda: sample(normal(2, 3)),
        lambda: sample(normal(3, 2), axis=0),
        lambda: sample(normal(2, 2, 2), axis=(0, 2)),
        lambda: sample(normal(0, 3)),
    ),
    edges=(
        at([3.0, 4.0], value=[0.6, 0.8], adjoints=None),
        at([0.0, 0.0], value=[0.0, 0.0], adjoints=([0.0, 0.0],), why="least norm, as for norm"),
        at([_BIG, 0.0], value=[1.0, 0.0], adjoints=([0.0, 1 / _BIG],), why="no square overflows"),
    ),
)
def l2_normalize(x: Any, axis: Any = -1) -> Node:
    """x / norm(x) over `axis`, and 0 at the origin, with adjoint 0."""
    (node,) = lift((x,), "l2_normalize")
    wide = floating_wide(node, "l2_normalize")
    axes = normalize_axes(axis, node.ndim, "l2_normalize")
    return narrowed(unit(wide, vector_norm(wide, axis=axes, keepdims=True), axes), node)


@function(
    samples=cases(
        lambda: sample(normal(3), normal(3, seed=1)),
        lambda: sample(normal(2, 3), normal(2, 3, seed=1)),
        lambda: sample(normal(2, 3), normal(3, seed=1)),
        lambda: sample(normal(3, 2), normal(3, 1, seed=1), axis=0),
    ),
    edges=(
        at([1.0, 0.0], [0.0, 2.0], value=0.0, adjoints=([0.0, 1.0], [0.5, 0.0])),
        at([0.0, 0.0], [3.0, 4.0], value=0.0, adjoints=([0.0, 0.0], [0.0, 0.0]), why="the origin has no direction"),
        at([_BIG, 0.0], [_BIG, 0.0], value=1.0, adjoints=([0.0, 0.0], [0.0, 0.0]), why="no square overflows"),
    ),
)
def cosine_similarity(a: Any, b: Any, axis: int = -1) -> Node:
    """The cosine of the angle between `a` and `b` along `axis`; 0 where one of them is 0."""
    return sum_(l2_normalize(a, axis) * l2_normalize(b, axis), axis)
