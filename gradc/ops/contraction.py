"""Contractions: dot, vdot, inner, outer, tensordot, einsum, kron, cross, multi_dot, matrix_power.

Each is built of transposes, diagonals, sums and products of matrices, so BLAS does the work and the derivatives, to any
order, are those of the parts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from gradc.errors import ArgumentError, DTypeError, ShapeError, UnsupportedError, show
from gradc.ir import Node, as_array, lift
from gradc.ops.declare import call, function
from gradc.ops.linalg import chain_order, matmul, moved_last, multiply_in_order, vecdot
from gradc.ops.matrices import diagonals
from gradc.ops.samples import Sample, cases, normal, sample
from gradc.types import Dim, Shape, Size, as_dtype, normalize_axis, show_shape, size_of

__all__ = [
    "cross",
    "dot",
    "einsum",
    "inner",
    "kron",
    "matrix_power",
    "multi_dot",
    "outer",
    "tensordot",
    "vdot",
]


def _operands(where: str, *values: Any, out: Any = None) -> tuple[Node, ...]:
    """`values` as nodes, of the dtypes that NumPy's functions of arrays give them: a Python float is a float64."""
    if out is not None:
        raise UnsupportedError(f"{where}: out= on a node: nodes are immutable; use the result")
    return lift(tuple(v if isinstance(v, (Node, Dim)) else as_array(v, where) for v in values), where)


# --- pairs -----------------------------------------------------------------------------------------------


def _contracted(x: Node, y: Node, x_axes: Sequence[int], y_axes: Sequence[int], where: str) -> Node:
    """The sums of products over pairs of axes, as one product of matrices; the axes of `x` that are left come first."""
    sizes = [x.shape[a] for a in x_axes]
    for a, b in zip(x_axes, y_axes, strict=True):
        if x.shape[a] != y.shape[b]:
            raise ShapeError(
                f"{where}: axis {a} of {show_shape(x.shape)} against axis {b} of {show_shape(y.shape)}: "
                f"{x.shape[a]} is not {y.shape[b]}"
            )
    rows = [k for k in range(x.ndim) if k not in x_axes]
    columns = [k for k in range(y.ndim) if k not in y_axes]
    row_sizes, column_sizes = [x.shape[k] for k in rows], [y.shape[k] for k in columns]
    total = size_of(tuple(sizes))
    left = call("reshape", call("transpose", x, (*rows, *x_axes)), (size_of(tuple(row_sizes)), total))
    right = call("reshape", call("transpose", y, (*y_axes, *columns)), (total, size_of(tuple(column_sizes))))
    return call("reshape", matmul(left, right), (*row_sizes, *column_sizes))


def _pairs(**options: Any) -> Any:
    shapes = [((3,), (3,)), ((2, 3), (3,)), ((2, 3), (3, 2)), ((), (2, 3)), ((2,), ()), ((2, 3), (4, 3, 2)), ((0, 3), (3, 2))]
    return lambda: [sample(normal(*s), normal(*t, seed=1), **options) for s, t in shapes]


@function(numpy=(np.dot,), samples=_pairs(), reorders=True)
def dot(a: Any, b: Any, out: Any = None) -> Node:
    """`np.dot`: over the last axis of `a` and the last but one of `b` (its only one where it is 1-d); the other axes follow
    one another. A 0-d operand multiplies."""
    x, y = _operands("dot", a, b, out=out)
    if not x.ndim or not y.ndim:
        return x * y
    if x.ndim <= 2 and y.ndim <= 2:
        return matmul(x, y)
    return _contracted(x, y, (x.ndim - 1,), (max(y.ndim - 2, 0),), "dot")


@function(
    numpy=(np.vdot,),
    samples=cases(
        lambda: sample(normal(3), normal(3, seed=1)),
        lambda: sample(normal(2, 3), normal(2, 3, seed=1)),
        lambda: sample(normal(2, 3), normal(3, 2, seed=1)),
        lambda: sample(normal(2, 3), normal(6, seed=1)),
        lambda: sample(2.0, 3.0),
        lambda: sample(normal(0), normal(0, seed=1)),
    ),
    reorders=True,
)
def vdot(a: Any, b: Any) -> Node:
    """`np.vdot`: the sum of the products of all entries, in C order."""
    x, y = (call("ravel", v) for v in _operands("vdot", a, b))
    return matmul(x, y)


@function(
    numpy=(np.inner,),
    samples=cases(
        lambda: sample(normal(3), normal(3, seed=1)),
        lambda: sample(normal(2, 3), normal(3, seed=1)),
        lambda: sample(normal(2, 3), normal(4, 3, seed=1)),
        lambda: sample(normal(2, 1, 3), normal(2, 3, seed=1)),
        lambda: sample(2.0, normal(3, seed=1)),
        lambda: sample(normal(2, 0), normal(3, 0, seed=1)),
    ),
    reorders=True,
)
def inner(a: Any, b: Any) -> Node:
    """`np.inner`: over the last axes of both; a 0-d operand multiplies."""
    x, y = _operands("inner", a, b)
    if not x.ndim or not y.ndim:
        return x * y
    return _contracted(x, y, (x.ndim - 1,), (y.ndim - 1,), "inner")


@function(
    numpy=(np.outer, np.linalg.outer),
    samples=cases(
        lambda: sample(normal(3), normal(2, seed=1)),
        lambda: sample(normal(3), normal(3, seed=1)),
        lambda: sample(normal(2, 2), normal(3, seed=1)),
        lambda: sample(2.0, normal(3, seed=1)),
        lambda: sample(normal(0), normal(3, seed=1)),
        lambda: sample(normal(1), normal(1, 2, seed=1)),
    ),
)
def outer(a: Any, b: Any, out: Any = None) -> Node:
    """`np.outer`: the products of every entry of `a` with every entry of `b`, 2-d."""
    x, y = (call("ravel", v) for v in _operands("outer", a, b, out=out))
    return call("expand_dims", x, 1) * call("expand_dims", y, 0)


def _tensordot_axes(axes: Any, x: Node, y: Node) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if hasattr(axes, "__index__"):
        n = int(axes)
        if not 0 <= n <= min(x.ndim, y.ndim):
            raise ArgumentError(f"tensordot: {n} axes of {show_shape(x.shape)} and {show_shape(y.shape)}")
        return tuple(range(x.ndim - n, x.ndim)), tuple(range(n))
    if not isinstance(axes, Sequence) or not all(hasattr(a, "__index__") or isinstance(a, Sequence) for a in axes):
        raise ArgumentError(f"tensordot: axes is a number, or two sequences of one length, got {show(axes)}")
    given = tuple((a,) if hasattr(a, "__index__") else tuple(a) for a in axes)
    if len(given) != 2 or len(given[0]) != len(given[1]):
        raise ArgumentError(f"tensordot: axes is a number, or two sequences of one length, got {show(axes)}")
    first, second = (tuple(normalize_axis(a, v.ndim, "tensordot") for a in part) for part, v in zip(given, (x, y), strict=True))
    if len(set(first)) < len(first) or len(set(second)) < len(second):
        raise ArgumentError(f"tensordot: axes {show(axes)} names an axis twice")
    return first, second


@function(
    numpy=(np.tensordot, np.linalg.tensordot),
    samples=cases(
        lambda: sample(normal(2, 3, 4), normal(3, 4, 2, seed=1)),
        lambda: sample(normal(2, 3), normal(3, 4, seed=1), axes=1),
        lambda: sample(normal(2, 3), normal(4, seed=1), axes=0),
        lambda: sample(normal(2, 3, 4), normal(4, 2, seed=1), axes=((0, 2), (1, 0))),
        lambda: sample(normal(2, 3, 4), normal(5, 4, seed=1), axes=(-1, 1)),
        lambda: sample(normal(2, 0), normal(0, 3, seed=1), axes=1),
    ),
    reorders=True,
)
def tensordot(a: Any, b: Any, axes: Any = 2) -> Node:
    """`np.tensordot`: over the last `axes` axes of `a` and the first of `b`, or over pairs of axes."""
    x, y = _operands("tensordot", a, b)
    return _contracted(x, y, *_tensordot_axes(axes, x, y), "tensordot")


@function(
    numpy=(np.kron,),
    samples=cases(
        lambda: sample(normal(2), normal(3, seed=1)),
        lambda: sample(normal(2, 2), normal(2, 3, seed=1)),
        lambda: sample(normal(2), normal(2, 3, seed=1)),
        lambda: sample(normal(2, 1, 2), normal(1, 2, seed=1)),
        lambda: sample(2.0, normal(2, 3, seed=1)),
        lambda: sample(normal(0, 2), normal(2, 3, seed=1)),
    ),
)
def kron(a: Any, b: Any) -> Node:
    """`np.kron`: `b` times each entry of `a`, put together as blocks; missing axes have length 1."""
    x, y = _operands("kron", a, b)
    n = max(x.ndim, y.ndim)
    rows, blocks = ((1,) * (n - v.ndim) + v.shape for v in (x, y))
    left = call("reshape", x, tuple(s for size in rows for s in (size, 1)))
    right = call("reshape", y, tuple(s for size in blocks for s in (1, size)))
    return call("reshape", left * right, tuple(s * t for s, t in zip(rows, blocks, strict=True)))


# --- cross -----------------------------------------------------------------------------------------------


def _cross_samples() -> list[Sample]:
    return [
        sample(normal(3), normal(3, seed=1)),
        sample(normal(2, 3), normal(3, seed=1)),
        sample(normal(4, 1, 3), normal(2, 3, seed=1)),
        sample(normal(3, 2), normal(3, 2, seed=1), axis=0),
        sample(normal(0, 3), normal(3, seed=1)),
    ]


@function(
    numpy=(np.cross,),
    samples=lambda: [
        *_cross_samples(),
        sample(normal(3, 2), normal(4, 2, 3, seed=1), axisa=0, axisc=1),
    ],
)
def cross(a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None) -> Node:
    """`np.cross` of vectors of length 3, or 2, whose third entry is 0: of two of length 2 it is the third entry alone."""
    x, y = _operands("cross", a, b)
    if axis is not None:
        axisa = axisb = axisc = axis
    x, y = moved_last(x, axisa, "cross"), moved_last(y, axisb, "cross")
    if x.shape[-1] not in (2, 3) or y.shape[-1] not in (2, 3):
        raise ShapeError(f"cross: vectors of length 2 or 3, got {show_shape(x.shape)} and {show_shape(y.shape)}")
    x = x.astype(np.promote_types(x.dtype, y.dtype))
    y = y.astype(x.dtype)
    xs, ys = ([v[..., k] for k in range(v.shape[-1])] for v in (x, y))
    third = xs[0] * ys[1] - xs[1] * ys[0]
    if len(xs) == len(ys) == 2:
        return third
    if len(xs) == 2:
        entries = (xs[1] * ys[2], -(xs[0] * ys[2]), third)
    elif len(ys) == 2:
        entries = (-(xs[2] * ys[1]), xs[2] * ys[0], third)
    else:
        entries = (xs[1] * ys[2] - xs[2] * ys[1], xs[2] * ys[0] - xs[0] * ys[2], third)
    joined = call("concatenate", tuple(call("expand_dims", e, -1) for e in entries), -1)
    k = normalize_axis(axisc, joined.ndim, "cross")
    order = list(range(joined.ndim - 1))
    return call("transpose", joined, (*order[:k], joined.ndim - 1, *order[k:]))


@function(
    numpy=(np.linalg.cross,),
    samples=_cross_samples,
)
def linalg_cross(a: Any, b: Any, *, axis: int = -1) -> Node:
    """`np.linalg.cross` of vectors of length 3 along `axis`."""
    x, y = _operands("cross", a, b)
    if x.shape[normalize_axis(axis, x.ndim, "cross")] != 3 or y.shape[normalize_axis(axis, y.ndim, "cross")] != 3:
        raise ShapeError(f"cross: vectors of length 3, got {show_shape(x.shape)} and {show_shape(y.shape)} along axis {axis}")
    return cross(x, y, axis=axis)


# --- chains ----------------------------------------------------------------------------------------------


_NOMINAL = 128
"""What a symbolic size counts as where an order of products is chosen: more than most numbers."""


def _nominal(shape: Shape) -> tuple[int, ...]:
    return tuple(s if isinstance(s, int) else _NOMINAL for s in shape)


@function(
    numpy=(np.linalg.multi_dot,),
    samples=cases(
        lambda: sample(normal(2, 3), normal(3, 2, seed=1), packed=True),
        lambda: sample(normal(2, 3), normal(3, 4, seed=1), normal(4, 1, seed=2), packed=True),
        lambda: sample(normal(3), normal(3, 4, seed=1), normal(4, seed=2), packed=True),
        lambda: sample(normal(5, 1), normal(1, 4, seed=1), normal(4, 2, seed=2), normal(2, seed=3), packed=True),
        lambda: sample(normal(2, 0), normal(0, 3, seed=1), normal(3, 2, seed=2), packed=True),
    ),
    reorders=True,
)
def multi_dot(arrays: Sequence[Any], *, out: Any = None) -> Node:
    """`np.linalg.multi_dot`: the product of a chain of matrices in the order that costs least; first and last may be vectors.

    A symbolic size counts as a large one.
    """
    if not isinstance(arrays, Iterable):
        raise ArgumentError(f"multi_dot: expected a sequence of arrays, got {show(arrays)}")
    nodes = _operands("multi_dot", *arrays, out=out)
    if len(nodes) < 2:
        raise ArgumentError(f"multi_dot: at least two arrays, got {len(nodes)}")
    if len(nodes) == 2:
        return dot(*nodes)
    chain = list(nodes)
    if nodes[0].ndim == 1:
        chain[0] = call("expand_dims", chain[0], 0)
    if nodes[-1].ndim == 1:
        chain[-1] = call("expand_dims", chain[-1], 1)
    for node in chain:
        if node.ndim != 2:
            raise ShapeError(f"multi_dot: matrices, the first and the last may be vectors, got {show_shape(node.shape)}")
    for m, n in pairwise(chain):
        if m.shape[1] != n.shape[0]:
            raise ShapeError(f"multi_dot: {show_shape(m.shape)} @ {show_shape(n.shape)}: the inner sizes differ")
    order = chain_order(_nominal((chain[0].shape[0], *[m.shape[1] for m in chain])))
    product = multiply_in_order(chain, order, matmul)
    drop = ((0,) if nodes[0].ndim == 1 else ()) + ((1,) if nodes[-1].ndim == 1 else ())
    return call("squeeze", product, drop) if drop else product


@function(
    numpy=(np.linalg.matrix_power,),
    samples=lambda: [
        *[sample(normal(3, 3), n=n) for n in (0, 1, 2, 3, 5, 6)],
        sample(normal(2, 2, 2), n=4),
        sample(normal(2, 2) + 3 * np.eye(2), n=-1),
        sample(normal(2, 2, 2) + 3 * np.eye(2), n=-3),
        sample(normal(0, 0), n=2),
        sample(np.array([[1, 2], [3, 4]]), n=3, gradient=False),
    ],
)
def matrix_power(a: Any, n: int) -> Node:
    """`np.linalg.matrix_power`: products by repeated squaring; of the inverse where `n` is negative."""
    (x,) = _operands("matrix_power", a)
    if isinstance(n, bool) or not hasattr(n, "__index__"):
        raise ArgumentError(f"matrix_power: the exponent is an integer, got {show(n)}")
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise ShapeError(f"matrix_power: square matrices in the last two axes, got {show_shape(x.shape)}")
    exponent = int(n)
    if exponent == 0:
        return call("broadcast_to", call("eye", x.shape[-1], dtype=x.dtype), x.shape)
    base = call("inv", x) if exponent < 0 else x
    exponent = abs(exponent)
    if exponent == 3:
        return matmul(matmul(base, base), base)
    result: Node | None = None
    while exponent:
        exponent, bit = divmod(exponent, 2)
        if bit:
            result = base if result is None else matmul(result, base)
        if exponent:
            base = matmul(base, base)
    return result if result is not None else x


# --- einsum ----------------------------------------------------------------------------------------------

Label = Any
"""A letter, or a negative number: an axis of the ellipsis, counted from its end."""


class Term(NamedTuple):
    """An operand, with a label for each of its axes."""

    node: Node
    labels: tuple[Label, ...]


_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def _einsum_samples() -> list[Sample]:
    def of(subscripts: str, *shapes: tuple[int, ...], **options: Any) -> Sample:
        return sample(*[normal(*s, seed=k) for k, s in enumerate(shapes)], via=lambda *xs: (subscripts, *xs), **options)

    return [
        of("ii->", (3, 3)),
        of("ii->i", (3, 3)),
        of("ij->ji", (2, 3)),
        of("ij->j", (2, 3)),
        of("iij->j", (2, 2, 3)),
        of("iijj->ij", (2, 2, 3, 3)),
        of("ij,jk", (2, 3), (3, 2)),
        of("ij,jk->ki", (2, 3), (3, 2)),
        of("i,j->ij", (2,), (3,)),
        of("i,i", (3,), (3,)),
        of("bij,bjk->bik", (2, 2, 3), (2, 3, 2)),
        of("bhqd,bkhd->bhqk", (2, 1, 2, 3), (2, 2, 1, 3)),
        of("...ij,...j->...i", (2, 2, 3), (1, 3)),
        of("i...->...", (2, 3)),
        of("ij,ij->i", (1, 3), (2, 1)),
        of("ij,k->i", (2, 3), (2,)),
        of("ij,jk,kl->il", (2, 3), (3, 2), (2, 2)),
        of("i,i,i->", (3,), (3,), (3,)),
        of("ii,ij,jk", (2, 2), (2, 3), (3, 2), optimize="optimal"),
        of(",i->i", (), (3,)),
        of("ij,jk->ik", (2, 0), (0, 3)),
        of("ij->", (0, 3)),
        sample(np.array([[1, 2], [3, 4]], "int8"), np.array([100, 1], "int8"), gradient=False, via=lambda *xs: ("ij,j->i", *xs)),
        sample([[True, False], [True, True]], gradient=False, via=lambda x: (x, [0, 1], [0])),
    ]


def _split(subscripts: str, count: int) -> tuple[list[str], str | None]:
    text = subscripts.replace(" ", "")
    head, arrow, tail = text.partition("->")
    inputs = head.split(",")
    for part in (*inputs, tail):
        letters = part.replace("...", "", 1)
        if any(c not in _LETTERS for c in letters):
            raise ArgumentError(f"einsum: subscripts are letters, commas, ... and ->, got {show(subscripts)}")
    if len(inputs) != count:
        raise ArgumentError(f"einsum: {show(subscripts)} is for {len(inputs)} operands, got {count}")
    return inputs, tail if arrow else None


def _from_sublists(operands: Sequence[Any]) -> tuple[str, list[Any]]:
    """The string form of `einsum(x, [0, 1], y, [1, 2], [0, 2])`."""

    def text(labels: Any) -> str:
        try:
            return "".join("..." if s is Ellipsis else _LETTERS[s.__index__()] for s in labels)
        except (TypeError, AttributeError, IndexError):
            raise ArgumentError(f"einsum: a sublist holds integers from 0 to 51 and Ellipsis, got {show(labels)}") from None

    pairs = len(operands) // 2
    subscripts = ",".join(text(labels) for labels in operands[1 : 2 * pairs : 2])
    if len(operands) % 2:
        subscripts += "->" + text(operands[-1])
    return subscripts, list(operands[: 2 * pairs : 2])


def _labels(part: str, node: Node, subscripts: str) -> tuple[Label, ...]:
    """The labels of an operand; those of the ellipsis are ..., -2, -1."""
    head, dots, tail = part.partition("...")
    more = node.ndim - len(head) - len(tail)
    if more < 0 or (more and not dots):
        raise ShapeError(
            f"einsum: {part!r} of {show(subscripts)} has {len(head) + len(tail)} labels for {show_shape(node.shape)}"
        )
    return (*head, *range(-more, 0), *tail)


def _result_labels(part: str | None, terms: Sequence[Term], subscripts: str) -> tuple[Label, ...]:
    every = [label for term in terms for label in term.labels]
    dots = tuple(sorted({label for label in every if isinstance(label, int)}))
    if part is None:
        uses = Counter(label for label in every if isinstance(label, str))
        return (*dots, *sorted(label for label, n in uses.items() if n == 1))
    head, ellipsis, tail = part.partition("...")
    if dots and not ellipsis:
        raise ShapeError(f"einsum: the result of {show(subscripts)} has no ... for the axes that ... stands for in the operands")
    for label in head + tail:
        if label not in every:
            raise ArgumentError(f"einsum: the result of {show(subscripts)} has {label!r}, which no operand has")
        if (head + tail).count(label) > 1:
            raise ArgumentError(f"einsum: the result of {show(subscripts)} has {label!r} twice")
    return (*head, *dots, *tail)


def _sizes(terms: Sequence[Term], subscripts: str) -> dict[Label, Size]:
    sizes: dict[Label, Size] = {}
    for node, labels in terms:
        for label, size in zip(labels, node.shape, strict=True):
            known = sizes.get(label, 1)
            if known == 1:
                sizes[label] = size
            elif size not in (1, known):
                name = label if isinstance(label, str) else "..."
                raise ShapeError(f"einsum: {name!r} of {show(subscripts)} is {known} in one operand and {size} in another")
    return sizes


def _summed(term: Term, dropped: Iterable[Label]) -> Term:
    """The term without some labels, summed over; a bool one is whether any entry holds, as in NumPy."""
    gone = set(dropped)
    axes = tuple(k for k, label in enumerate(term.labels) if label in gone)
    if not axes:
        return term
    boolean = term.node.dtype.kind == "b"
    node = call("any", term.node, axes) if boolean else call("sum", term.node, axes, dtype=term.node.dtype)
    return Term(node, tuple(label for label in term.labels if label not in gone))


def _without_repeats(term: Term) -> Term:
    """Diagonals taken: every label once."""
    node, labels = term
    while len(set(labels)) < len(labels):
        label = next(name for name, n in Counter(labels).items() if n > 1)
        first = labels.index(label)
        second = labels.index(label, first + 1)
        if node.shape[first] != node.shape[second]:
            raise ShapeError(f"einsum: {label!r} is {node.shape[first]} and {node.shape[second]} in one operand")
        rest = [k for k in range(len(labels)) if k not in (first, second)]
        node = diagonals(call("transpose", node, (*rest, first, second)))
        labels = (*[labels[k] for k in rest], label)
    return Term(node, labels)


def _without_ones(term: Term, sizes: dict[Label, Size]) -> Term:
    """Without the axes of length 1 that broadcast: the other operands have these labels."""
    ones = tuple(k for k, label in enumerate(term.labels) if term.node.shape[k] == 1 and sizes[label] != 1)
    if not ones:
        return term
    return Term(call("squeeze", term.node, ones), tuple(label for k, label in enumerate(term.labels) if k not in ones))


def _in_order(term: Term, *groups: Sequence[Label], sizes: dict[Label, Size], merge: bool) -> Node:
    """The axes in the order of `groups`; the groups after the first, if they `merge`, an axis each."""
    labels = [label for group in groups for label in group]
    node = call("transpose", term.node, [term.labels.index(label) for label in labels])
    if not merge:
        return node
    merged = [size_of(tuple(sizes[label] for label in group)) for group in groups[1:]]
    return call("reshape", node, (*[sizes[label] for label in groups[0]], *merged))


def _multiplied(a: Term, b: Term) -> Term:
    """The products of entries, over no sum: the axes of `a`, then those of `b` alone."""
    right = [label for label in b.labels if label not in a.labels]
    shared = [label for label in a.labels if label in b.labels]
    order = [*shared, *right]
    moved = call("transpose", b.node, [b.labels.index(label) for label in order])
    at = dict(zip(order, moved.shape, strict=True))
    whole = (*a.labels, *right)
    x = call("reshape", a.node, (*a.node.shape, *[1] * len(right)))
    y = call("reshape", moved, tuple(at.get(label, 1) for label in whole))
    return Term(x * y, whole)


def _pair(a: Term, b: Term, kept: set[Label], sizes: dict[Label, Size]) -> Term:
    """Two operands made one: summed over what neither the result nor another operand needs."""
    a = _summed(a, [label for label in a.labels if label not in b.labels and label not in kept])
    b = _summed(b, [label for label in b.labels if label not in a.labels and label not in kept])
    batch = [label for label in a.labels if label in b.labels and label in kept]
    inside = [label for label in a.labels if label in b.labels and label not in kept]
    left = [label for label in a.labels if label not in b.labels]
    right = [label for label in b.labels if label not in a.labels]
    if not inside:
        return _multiplied(a, b)
    if not left and not right:
        return Term(vecdot(*[_in_order(t, batch, inside, sizes=sizes, merge=True) for t in (a, b)]), tuple(batch))
    x = _in_order(a, batch, left, inside, sizes=sizes, merge=True)
    y = _in_order(b, batch, inside, right, sizes=sizes, merge=True)
    labels = (*batch, *left, *right)
    return Term(call("reshape", matmul(x, y), tuple(sizes[label] for label in labels)), labels)


def _path(terms: Sequence[Term], result: Sequence[Label], optimize: Any) -> list[tuple[int, ...]]:
    """Which operands to make one, step by step: NumPy's plan, where a symbolic size counts as a large one."""
    everything = [tuple(range(len(terms)))]
    labels = {label for term in terms for label in term.labels}
    if len(terms) <= 2 or len(labels) > len(_LETTERS):
        return everything
    letter = dict(zip(sorted(labels, key=str), _LETTERS, strict=False))
    texts = ["".join(letter[label] for label in part) for part in (*[t.labels for t in terms], result)]
    dummies = [np.broadcast_to(np.empty(()), _nominal(term.node.shape)) for term in terms]
    chosen = "greedy" if optimize is True or optimize is False else optimize
    try:
        plan = np.einsum_path(f"{','.join(texts[:-1])}->{texts[-1]}", *dummies, optimize=chosen)[0]
    except (TypeError, KeyError, ValueError, IndexError, RuntimeError):
        raise ArgumentError(f"einsum: optimize={show(optimize)} is no path for {len(terms)} operands") from None
    return [tuple(step) for step in plan[1:]]


def _contract(terms: list[Term], result: tuple[Label, ...], sizes: dict[Label, Size], optimize: Any) -> Term:
    for step in _path(terms, result, optimize):
        taken = [terms.pop(k) for k in sorted(step, reverse=True)][::-1]
        while len(taken) > 1:
            first, second = taken.pop(0), taken.pop(0)
            others = {label for term in (*taken, *terms) for label in term.labels}
            taken.insert(0, _pair(first, second, others.union(result), sizes))
        terms.append(taken[0])
    return terms[0]


_CASTINGS = ("no", "equiv", "safe", "same_kind", "unsafe")


@function(numpy=(np.einsum,), samples=_einsum_samples, reorders=True)
def einsum(
    *operands: Any, out: Any = None, optimize: Any = False, dtype: Any = None, order: str = "K", casting: str = "safe"
) -> Node:
    """`np.einsum`, in both forms: `einsum("ij,jk->ik", x, y)` and `einsum(x, [0, 1], y, [1, 2], [0, 2])`.

    A label twice in an operand takes a diagonal, axes of length 1 broadcast, `...` stands for any axes, and a result that
    is not given has the labels that occur once, sorted. More than two operands are made one in pairs, by the plan of
    `np.einsum_path` (`optimize` says which, "greedy" when left out), where a symbolic size counts as a large one. Every
    pair is a product of matrices, or of entries where nothing is summed.

    Raises:
        ArgumentError: the subscripts are malformed, or for another number of operands.
        ShapeError: an operand has other axes than its subscripts, or a label has two sizes.
    """
    if not operands:
        raise ArgumentError("einsum: subscripts and operands, got nothing")
    subscripts, given = (operands[0], operands[1:]) if isinstance(operands[0], str) else _from_sublists(operands)
    if not given:
        raise ArgumentError("einsum: subscripts alone, without operands")
    nodes = _operands("einsum", *given, out=out)
    inputs, tail = _split(subscripts, len(nodes))
    common = np.result_type(*[node.dtype for node in nodes]) if dtype is None else as_dtype(dtype, "einsum")
    if casting not in _CASTINGS:
        raise ArgumentError(f"einsum: casting is one of {', '.join(_CASTINGS)}, got {show(casting)}")
    for node in nodes:
        if not np.can_cast(node.dtype, common, casting):  # type: ignore[arg-type]
            raise DTypeError(f"einsum: {node.dtype} to {common} is no {show(casting)} cast; pass casting='unsafe' to allow it")
    terms = [Term(node.astype(common), _labels(part, node, subscripts)) for part, node in zip(inputs, nodes, strict=True)]
    result = _result_labels(tail, terms, subscripts)
    sizes = _sizes(terms, subscripts)
    terms = [_without_ones(_without_repeats(term), sizes) for term in terms]
    uses = Counter(label for term in terms for label in term.labels)
    terms = [_summed(t, [label for label in t.labels if uses[label] == 1 and label not in result]) for t in terms]
    last = _contract(terms, result, sizes, optimize)
    last = _summed(last, [label for label in last.labels if label not in result])
    return call("transpose", last.node, [last.labels.index(label) for label in result])
