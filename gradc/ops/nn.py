"""Networks: softmax, losses, normalisation, attention, composed so that the adjoint reuses what the forward pass has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradc.errors import ArgumentError, DTypeError, ShapeError
from gradc.ir import Call, Kernel, Node, Op, apply, constant, lift
from gradc.ops.activations import sigmoid, sigmoid_slope
from gradc.ops.declare import call, elementwise, function, op
from gradc.ops.elementwise import exp, floating, greater, isinf, log, logical_and, logical_not, select, stop_gradient, where
from gradc.ops.indexing import pick_op
from gradc.ops.norms import scale_of, unit, vector_norm
from gradc.ops.recipes import do, recipe
from gradc.ops.reduction import any_, below, floating_wide, max_, narrowed, reduced_shape, sum_
from gradc.ops.samples import Sample, at, cases, normal, points, ranges, reals, sample, uniform
from gradc.types import Shape, Size, TensorType, normalize_axes, normalize_axis, show_shape, size_of

__all__ = [
    "attention",
    "batch_norm",
    "binary_cross_entropy_with_logits",
    "cosine_similarity",
    "huber",
    "l2_normalize",
    "layer_norm",
    "log_softmax",
    "rms_norm",
    "softmax",
    "softmax_cross_entropy",
]

Array = np.ndarray[Any, Any]
_INF, _NAN = math.inf, math.nan

# --- softmax -----------------------------------------------------------------------------------------


def _softmax_samples() -> list[Sample]:
    return [
        sample(normal(3)),
        sample(normal(2, 3)),
        sample(normal(2, 3), axis=0),
        sample(normal(2, 2, 3), axis=(0, -1)),
        sample(1e4 * normal(2, 2)),
        sample(normal(0, 3)),
        sample(normal(2, 0)),
        sample(normal(3, 1)),
    ]


def _shifted(node: Node, axes: tuple[int, ...]) -> tuple[Node, Node]:
    """`node` less its maximum, and the sum of its exponentials: the maximum cancels, so it carries no gradient."""
    shifted = below(node, stop_gradient(max_(node, axes, keepdims=True)))
    return shifted, sum_(exp(shifted), axes, keepdims=True)


def _is_empty(node: Node, axes: tuple[int, ...]) -> bool:
    return any(node.shape[a] == 0 for a in axes)


@function(
    samples=_softmax_samples,
    edges=(
        at([1000.0, 1000.0], value=[0.5, 0.5], adjoints=([0.0, 0.0],)),
        at([-_INF, 0.0], value=[0.0, 1.0], adjoints=([0.0, 0.0],), why="what is masked by -inf weighs 0"),
        at([_INF, 0.0], value=[1.0, 0.0], adjoints=([0.0, 0.0],), why="the limit"),
        at([-_INF, -_INF], value=[0.5, 0.5], adjoints=([0.0, 0.0],), why="a tie shares equally, as in logsumexp"),
        at([1e308, -1e308], value=[1.0, 0.0], adjoints=([0.0, 0.0],)),
        at([_NAN, 0.0], value=[_NAN, _NAN], adjoints=([_NAN, _NAN],)),
    ),
)
def softmax(x: Any, axis: Any = -1) -> Node:
    """exp(x) / sum(exp(x)) over `axis` (an integer, a tuple, None for all), without overflow.

    Entries of -inf weigh exactly 0 and get a gradient of exactly 0; entries that tie for an infinite maximum share equally,
    so a row of -inf only is uniform.
    """
    node = floating(x, "softmax")
    axes = normalize_axes(axis, node.ndim, "softmax")
    if _is_empty(node, axes):
        return node
    shifted, total = _shifted(node, axes)
    return exp(shifted) / total


@function(
    samples=_softmax_samples,
    edges=(
        at([0.0, 1000.0], value=[-1000.0, 0.0], adjoints=([1.0, -1.0],)),
        at([-_INF, 0.0], value=[-_INF, 0.0], adjoints=([1.0, -1.0],)),
        at([_INF, 0.0], value=[0.0, -_INF], adjoints=([-1.0, 1.0],), why="the limit"),
        at([-_INF, -_INF], value=[-math.log(2)] * 2, adjoints=([0.0, 0.0],), why="a tie shares equally, as in logsumexp"),
    ),
)
def log_softmax(x: Any, axis: Any = -1) -> Node:
    """log(softmax(x)) over `axis` (an integer, a tuple, None for all), accurate in the tails; infinities as in `softmax`."""
    node = floating(x, "log_softmax")
    axes = normalize_axes(axis, node.ndim, "log_softmax")
    if _is_empty(node, axes):
        return node
    shifted, total = _shifted(node, axes)
    return shifted - log(total)


# --- losses ------------------------------------------------------------------------------------------

# weight * x where x may be -inf, and 0 where the weight is 0
weighted = elementwise(
    "weighted",
    **recipe(
        do(np.multiply, "{0}, {1}, {out}"),
        do(np.equal, "{0}, 0, {s0}"),
        do(np.copyto, "{out}, 0, where={s0}"),
        scratch=("bool",),
    )._asdict(),
    rules=(lambda g, out, w, x: g * select(logical_not(isinf(x)), x), lambda g, out, w, x: g * w),
    symbolic="a * b",
    public=False,
)


@function(
    samples=cases(
        lambda: sample(normal(4, 3), np.array([0, 2, 1, 1]), fixed=(1,)),
        lambda: sample(normal(3), np.array(2), fixed=(1,)),
        lambda: sample(normal(2, 2, 3), np.array([[0, 2], [1, 1]]), fixed=(1,)),
        lambda: sample(normal(4, 3), np.eye(3)[[0, 2, 1, 1]], fixed=(1,)),
        lambda: sample(normal(2, 3), uniform(0.1, 1, 2, 3)),
        lambda: sample(np.array([[1e4, 0.0], [0.0, 1e4]]), np.array([0, 1]), fixed=(1,)),
    ),
    edges=(
        at([1e308, 0.0], [0.0, 1.0], value=1e308, adjoints=([1.0, -1.0], [0.0, 1e308])),
        at([-_INF, 0.0], [0.0, 1.0], value=0.0, adjoints=([0.0, 0.0], [0.0, 0.0]), why="0 times -inf is 0 here"),
        at([-_INF, 0.0], [1.0, 0.0], value=_INF, adjoints=([-1.0, 1.0], [0.0, 0.0])),
        at([-_INF, -_INF], [1.0, 0.0], value=math.log(2), adjoints=([-0.5, 0.5], [math.log(2)] * 2), why="as log_softmax"),
    ),
)
def softmax_cross_entropy(logits: Any, labels: Any) -> Node:
    """-log_softmax(logits) at the labels, along the last axis: one loss a row, shape `logits.shape[:-1]`.

    Args:
        logits: floats, shape (..., classes); -inf for a class that is out of the question.
        labels: integers, shape (...), or rows of probabilities (one-hot rows), shape (..., classes).

    Raises:
        ShapeError: the labels have neither shape.
    """
    given, y = lift((logits, labels), "softmax_cross_entropy")
    x = floating(given, "softmax_cross_entropy")
    if not x.ndim or y.shape not in (x.shape, x.shape[:-1]):
        raise ShapeError(
            f"softmax_cross_entropy: labels {show_shape(y.shape)} fit logits {show_shape(x.shape)} neither as integers "
            f"{show_shape(x.shape[:-1])} nor as rows {show_shape(x.shape)}"
        )
    if y.shape == x.shape and y.dtype.kind == "f":
        return -sum_(weighted(y, log_softmax(x)), -1)
    shifted, total = _shifted(x, (x.ndim - 1,))
    log_total = call("reshape", log(total), reduced_shape(total.shape, (x.ndim - 1,), False))
    return log_total - apply(pick_op, (shifted, y))


# both are written about h - y, h = 1 where x > 0 and 0 elsewhere: for labels 0 and 1 nothing cancels
_TAIL = (do(np.absolute, "{0}, {s0}"), do(np.negative, "{s0}, {s0}"), do(np.exp, "{s0}, {s0}"))
logits_slope: Op = elementwise(
    "logits_slope",
    **recipe(
        do(np.greater, "{0}, 0, {s1}"),
        do(np.subtract, "{s1}, {1}, {out}"),
        *_TAIL,
        do(np.add, "{s0}, 1, {s2}"),
        do(np.divide, "{s0}, {s2}, {s0}"),
        do(np.negative, "{s0}, {s0}, where={s1}"),
        do(np.add, "{out}, {s0}, {out}"),
        scratch=("out", "bool", "out"),
    )._asdict(),
    rules=(lambda g, out, x, y: g * sigmoid_slope(x, sigmoid(x)), lambda g, out, x, y: -g),
    symbolic="1 / (1 + exp(-a)) - b",
    public=False,
)
logits_loss: Op = elementwise(
    "logits_loss",
    **recipe(
        do(np.greater, "{0}, 0, {s1}"),
        do(np.subtract, "{s1}, {1}, {out}"),
        do(np.equal, "{out}, 0, {s1}"),
        do(np.multiply, "{out}, {0}, {out}"),
        do(np.copyto, "{out}, 0, where={s1}"),
        *_TAIL,
        do(np.log1p, "{s0}, {s0}"),
        do(np.add, "{out}, {s0}, {out}"),
        scratch=("out", "bool"),
    )._asdict(),
    rules=(lambda g, out, x, y: g * logits_slope(x, y), lambda g, out, x, y: -(g * x)),
    symbolic="log(1 + exp(a)) - a * b",
    public=False,
)


@function(
    samples=lambda: [*ranges((-4, 4), (0.1, 0.9))(), sample(40 * normal(6), np.array([0, 1, 1, 0, 1, 0]), fixed=(1,))],
    edges=(
        at(0.0, 1.0, value=math.log(2), adjoints=(-0.5, 0.0)),
        at(800.0, 1.0, value=0.0, adjoints=(0.0, -800.0)),
        at(800.0, 0.0, value=800.0, adjoints=(1.0, -800.0)),
        at(-1e308, 1.0, value=1e308, adjoints=(-1.0, 1e308)),
        at(40.0, 1.0, value=math.exp(-40.0), adjoints=(-math.exp(-40.0), -40.0), why="not softplus(x) - x, which is 0"),
        at(-40.0, 0.0, value=math.exp(-40.0), adjoints=(math.exp(-40.0), 40.0)),
        at(_INF, 1.0, value=0.0, adjoints=(0.0, -_INF)),
        at(-_INF, 1.0, value=_INF, adjoints=(-1.0, _INF)),
        at(_NAN, 1.0, value=_NAN, adjoints=(_NAN, _NAN)),
    ),
)
def binary_cross_entropy_with_logits(logits: Any, labels: Any) -> Node:
    """-y log(sigmoid(x)) - (1 - y) log(1 - sigmoid(x)), entry by entry, with every digit for labels 0 and 1 in both tails.

    Args:
        logits: x, floats of any shape.
        labels: y, between 0 and 1, integers or booleans too; broadcast against the logits. Multiply the result to weigh entries.
    """
    x, y = lift((logits, labels), "binary_cross_entropy_with_logits")
    x = floating(x, "binary_cross_entropy_with_logits")
    return apply(logits_loss, (x, y if y.dtype.kind == "f" else y.astype(x.dtype)))


def _huber_calls(*, delta: float) -> tuple[Call, ...]:
    return (
        do(np.absolute, "{0}, {s0}"),
        do(np.minimum, f"{{s0}}, {delta!r}, out={{out}}"),
        do(np.multiply, "{out}, 0.5, {s1}"),
        do(np.subtract, "{s0}, {s1}, {s0}"),
        do(np.multiply, "{out}, {s0}, {out}"),  # m (|x| - m / 2), m = min(|x|, delta)
    )


huber_op: Op = elementwise(
    "huber",
    **recipe(varying=_huber_calls, scratch=("out", "out"))._asdict(),
    rules=(lambda g, out, x, *, delta: g * call("clip", x, -delta, delta),),
    symbolic="Piecewise((a**2 / 2, Abs(a) <= {delta!r}), ({delta!r} * (Abs(a) - {delta!r} / 2), True))",
    public=False,
)


@function(
    samples=lambda: [*reals(-3, 3)(), *reals(-3, 3, delta=0.5)()],
    edges=points(
        (0.0, 0.0, 0.0), (1.0, 0.5, 1.0), (-3.0, 2.5, -1.0), (_INF, _INF, 1.0), (-1e200, 1e200, -1.0), (_NAN, _NAN, _NAN)
    ),
)
def huber(x: Any, delta: float = 1.0) -> Node:
    """x**2 / 2 where |x| <= delta, delta (|x| - delta / 2) beyond: the loss of a residual x (Huber, 1964).

    Raises:
        ArgumentError: delta is not a positive, finite number.
    """
    return apply(huber_op, (floating(x, "huber"),), (("delta", _positive(delta, "delta", "huber")),))


def _positive(value: Any, name: str, where_: str) -> float:
    if isinstance(value, Node) or not 0 < float(value) < _INF:
        raise ArgumentError(f"{where_}: {name} is a positive, finite number, got {value!r}")
    return float(value)


# --- normalisation -----------------------------------------------------------------------------------------


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
    least = _positive(eps, "eps", where_)
    if least < limits.tiny / limits.eps:
        raise ArgumentError(
            f"{where_}: eps={eps!r} vanishes beside squares in {wide.dtype}; take {limits.tiny / limits.eps:.0e} or more"
        )
    if _is_empty(wide, axes):
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


# --- attention -----------------------------------------------------------------------------------------


def _attention_samples() -> list[Sample]:
    def operands(*batch: int, rows: int = 2, keys: int = 3, width: int = 2, values: int = 2) -> list[Array]:
        return [normal(*batch, rows, width), normal(*batch, keys, width, seed=1), normal(*batch, keys, values, seed=2)]

    ragged = np.array([[True, False, True], [True, True, False]])
    return [
        sample(*operands()),
        sample(*operands(2, values=3)),
        sample(*operands(2), causal=True),
        sample(*operands(keys=2), causal=True, scale=0.3),
        sample(*operands(), ragged, fixed=(3,)),
        sample(*operands(2), np.array([[[True, False, True]], [[False, False, False]]]), fixed=(3,)),
        sample(*operands(2, 1), ragged, fixed=(3,), causal=True),
        sample(normal(2, 1, 2, 2), *operands(3)[1:], np.array([[[[True, True, False]]], [[[False, True, True]]]]), fixed=(3,)),
    ]


def _visible(mask: Any, causal: bool, rows: Size, keys: Size) -> Node | None:
    """Which query sees which key: booleans that broadcast to (..., rows, keys); None: each sees all."""
    seen = None
    if mask is not None:
        (seen,) = lift((mask,), "attention")
        if seen.dtype.kind != "b":
            raise DTypeError(f"attention: a mask holds booleans, True where a query sees a key, got {seen.dtype}")
        if seen.ndim < 2:
            raise ShapeError(f"attention: a mask has the axes (..., queries, keys), got {show_shape(seen.shape)}")
        if any(size not in (1, full) for size, full in zip(seen.shape[-2:], (rows, keys), strict=True)):
            raise ShapeError(f"attention: a mask {show_shape(seen.shape)} for {rows} queries and {keys} keys")
    if not causal:
        return seen
    past = greater(_numbers(rows).reshape(rows, 1), _numbers(keys) - 1)
    return past if seen is None else logical_and(seen, past)


def _numbers(size: Size) -> Node:
    """1, 2, ... as integers."""
    if isinstance(size, int):
        return constant(np.arange(1, size + 1))
    return call("cumsum", call("broadcast_to", constant(1), (size,)), 0)


def _used(x: Node, used: Node) -> Node:
    """`x` with exact zeros in the rows that nothing uses: their infinities and NaN are not multiplied by 0 then."""
    extra = used.ndim - x.ndim
    axes = tuple(k for k, s in enumerate(used.shape) if k < extra or (x.shape[k - extra] == 1 and s != 1))
    if axes:
        used = any_(used, axes, keepdims=True)
    return select(used.reshape(used.shape[max(extra, 0) :]), x)


@function(
    samples=_attention_samples,
    edges=(
        at([[1.0]], [[0.0], [0.0]], [[1.0], [3.0]], value=[[2.0]], adjoints=([[0.0]], [[-0.5], [0.5]], [[0.5], [0.5]])),
        at(
            [[1.0]],
            [[1.0], [_NAN]],
            [[2.0], [_INF]],
            value=[[2.0]],
            adjoints=([[0.0]], [[0.0], [0.0]], [[1.0], [0.0]]),
            mask=np.array([[True, False]]),
            why="a key that no query sees has no part, whatever it holds",
        ),
        at(
            [[_NAN]],
            [[1.0]],
            [[2.0]],
            value=[[0.0]],
            adjoints=([[0.0]], [[0.0]], [[0.0]]),
            mask=np.array([[False]]),
            why="a query that sees no key gives 0",
        ),
        at([[1e200]], [[1e100], [-1e100]], [[2.0], [5.0]], value=[[2.0]], adjoints=([[0.0]], [[0.0], [0.0]], [[1.0], [0.0]])),
    ),
)
def attention(q: Any, k: Any, v: Any, mask: Any = None, scale: Any = None, causal: bool = False) -> Node:
    """softmax(q k^T scale) v, the softmax over the keys: scaled dot-product attention (Vaswani et al., 2017).

    A pair that the mask hides has weight 0 and gradient 0, exactly. A query that sees no key gives 0; it, and a key that no
    query sees, may hold infinities and NaN without effect.

    Args:
        q: (..., queries, width).
        k: (..., keys, width).
        v: (..., keys, values); batches and heads, the axes in front, broadcast.
        mask: booleans that broadcast to (..., queries, keys): True where the query sees the key.
        scale: a number or a node; 1 / sqrt(width) when left out.
        causal: query i sees keys 0 to i only, as far as the mask lets it.

    Returns:
        (..., queries, values).

    Raises:
        ShapeError: the operands do not fit.
        DTypeError: the mask holds no booleans.
    """
    query, key, value = (floating(x, "attention") for x in lift((q, k, v), "attention"))
    shapes = ", ".join(show_shape(x.shape) for x in (query, key, value))
    if min(query.ndim, key.ndim, value.ndim) < 2 or query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        raise ShapeError(f"attention: expected (..., queries, width), (..., keys, width), (..., keys, values), got {shapes}")
    rows, keys, width = query.shape[-2], key.shape[-2], query.shape[-1]
    seen = _visible(mask, causal, rows, keys)
    if seen is not None and not (mask is None and rows == keys):
        of_key = any_(seen, -2, keepdims=True).mT
        query, key, value = _used(query, any_(seen, -1, keepdims=True)), _used(key, of_key), _used(value, of_key)
    if scale is None:
        scale = 1 / np.sqrt(call("dimension", width, query.dtype)) if not isinstance(width, int) else 1 / math.sqrt(width or 1)
    scores: Node = (query * scale) @ key.mT
    if keys == 0:
        return scores @ value
    if seen is not None:
        scores = where(seen, scores, -_INF)
    weights, total = _weights(scores, seen is not None)
    found: Node = (weights @ value) / total
    return found


def _weights(scores: Node, hidden: bool) -> tuple[Node, Node]:
    """The exponentials of a row and their sum, by which the product with the values is divided; 0 and 1 where all is hidden."""
    top = stop_gradient(max_(scores, -1, keepdims=True))
    if not hidden:
        weights = exp(below(scores, top))
        return weights, sum_(weights, -1, keepdims=True)
    weights = exp(below(scores, where(call("equal", top, -_INF), 0, top)))
    total = sum_(weights, -1, keepdims=True)
    return weights, total + call("equal", total, 0).astype(total.dtype)
