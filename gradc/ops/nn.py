"""Networks: softmax, losses and attention, composed so that the adjoint reuses what the forward pass has."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradc.errors import ArgumentError, DTypeError, ShapeError, show
from gradc.ir import Call, Node, Op, apply, constant, lift
from gradc.ops.activations import sigmoid, sigmoid_slope
from gradc.ops.declare import call, elementwise, function
from gradc.ops.elementwise import exp, floating, greater, isinf, log, logical_and, logical_not, select, where
from gradc.ops.indexing import pick_op
from gradc.ops.recipes import do, recipe
from gradc.ops.reduction import any_, below, is_empty, maximum_of, narrowed, one_for_nothing, reduced_shape, sum_, widened
from gradc.ops.samples import Sample, at, cases, normal, points, ranges, reals, sample, uniform
from gradc.types import Size, as_number, normalize_axes, show_shape

__all__ = [
    "attention",
    "binary_cross_entropy_with_logits",
    "embedding",
    "huber",
    "log_softmax",
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
    shifted = below(node, maximum_of(node, axes))
    return shifted, sum_(exp(shifted), axes, keepdims=True)


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
    if is_empty(node, axes):
        return node
    shifted, total = _shifted(widened(node), axes)
    return narrowed(exp(shifted) / total, node)


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
    if is_empty(node, axes):
        return node
    shifted, total = _shifted(widened(node), axes)
    return narrowed(shifted - log(total), node)


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
        rows = weighted(widened(y), log_softmax(widened(x)))
        return (-sum_(rows, -1)).astype(np.promote_types(x.dtype, y.dtype))
    shifted, total = _shifted(widened(x), (x.ndim - 1,))
    log_total = call("reshape", log(total), reduced_shape(total.shape, (x.ndim - 1,), False))
    return narrowed(log_total - apply(pick_op, (shifted, y)), x)


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
    return apply(huber_op, (floating(x, "huber"),), (("delta", positive(delta, "delta", "huber")),))


def positive(value: Any, name: str, where_: str) -> float:
    """`value` as a positive, finite number."""
    number = as_number(value, f"{where_}: {name}")
    if not 0 < number < _INF:
        raise ArgumentError(f"{where_}: {name} is a positive, finite number, got {show(value)}")
    return number


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
    given = [floating(x, "attention") for x in lift((q, k, v), "attention")]
    query, key, value = map(widened, given)
    scaling = () if scale is None else (scale if isinstance(scale, (bool, int, float)) else lift((scale,), "attention")[0].dtype,)
    dtype = np.result_type(*(x.dtype for x in given), *scaling)
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
        return (scores @ value).astype(dtype)
    if seen is not None:
        scores = where(seen, scores, -_INF)
    weights, total = _weights(scores, seen is not None)
    found: Node = (weights @ value) / total
    return found.astype(dtype)


def _weights(scores: Node, hidden: bool) -> tuple[Node, Node]:
    """The exponentials of a row and their sum, by which the product with the values is divided; 0 and 1 where all is hidden."""
    last = (scores.ndim - 1,)
    top = maximum_of(scores, last)
    if not hidden:
        weights = exp(below(scores, top))
        return weights, one_for_nothing(sum_(weights, -1, keepdims=True), scores, last)
    weights = exp(below(scores, where(call("equal", top, -_INF), 0, top)))
    total = sum_(weights, -1, keepdims=True)
    return weights, total + call("equal", total, 0).astype(total.dtype)


# --- embedding ---------------------------------------------------------------------------------------


def _embedding_samples() -> list[Sample]:
    indices = [np.array(3), np.array([0, 2, 2]), np.array([[1, 1], [4, 0]]), np.zeros((0,), int), np.array([[-1, 0]], "int32")]
    return [sample(normal(5, *rest), i, fixed=(1,)) for rest in ((2,), (3,), ()) for i in indices]


@function(samples=_embedding_samples)
def embedding(table: Any, indices: Any) -> Node:
    """Rows of `table`, shape (rows, ...), at integer `indices`, shape (...): `table[indices]`, adjoints of a repeated row summed.

    Raises:
        DTypeError: the indices are no integers.
        ShapeError: the table has no axes.
        BoundsError: a constant index lies beyond the table; of a node this is found when it has values.
    """
    rows, at_ = lift((table, indices), "embedding")
    if at_.dtype.kind not in "iu":
        raise DTypeError(f"embedding: indices are integers, got {at_.type}")
    if not rows.ndim:
        raise ShapeError("embedding: the table has no rows: it is 0-d")
    return call("take", rows, at_, 0)
