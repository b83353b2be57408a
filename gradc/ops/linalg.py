"""Products of matrices with NumPy's batch broadcasting and 1-d rules; diagonals of the last two axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from gradc.errors import ShapeError
from gradc.ir import Call, Kernel, Node, Op, apply, lift
from gradc.ops.declare import call, function, if_numpy_has, op, ufunc_dtype
from gradc.ops.masks import PRODUCTS, keep_zeros
from gradc.ops.matrices import row, scalar
from gradc.ops.samples import Sample, cases, normal, sample
from gradc.ops.shaping import transpose_op
from gradc.types import Shape, Size, TensorType, broadcast_shapes, is_static, normalize_axis, show_shape, size_of

__all__ = [
    "matmul",
    "matrix_diagonal",
    "matrix_trace",
    "matvec",
    "vecdot",
    "vecmat",
]

# --- products --------------------------------------------------------------------------------------------


def _infer_matmul(a: TensorType, b: TensorType) -> TensorType:
    if a.shape[-1] != b.shape[-2]:
        raise ShapeError(
            f"matmul: {show_shape(a.shape)} @ {show_shape(b.shape)}: {a.shape[-1]} columns against {b.shape[-2]} rows"
        )
    batch = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return TensorType((*batch, a.shape[-2], b.shape[-1]), ufunc_dtype(np.matmul, (a.dtype, b.dtype)))


def masked_product(x: Any, y: Any, out: Any, zeros: int) -> None:
    """Into `out`: x @ y, where a zero of operand number `zeros` wins over whatever it meets.

    What a mask left out of an adjoint may be NaN or infinite, and 0 * NaN is 0 here. The plain product, and one look at the sum
    of its squares, which BLAS takes in passing: only where that is not finite can a zero have met infinity or NaN.
    """
    np.matmul(x, y, out)
    entries = out.reshape(-1)
    if np.isfinite(np.dot(entries, entries)):
        return
    g, other = (x, y) if zeros == 0 else (y, x)
    finite = np.isfinite(other)
    if finite.all():
        return
    order = slice(None, None, 1 if zeros == 0 else -1)

    def meet(*pairs: tuple[Any, Any]) -> Any:
        """Where an entry of the first of a pair meets one of the second."""
        met = [np.matmul(*[v.astype(out.dtype) for v in pair[order]]) > 0 for pair in pairs]
        return np.logical_or.reduce(met)

    known = np.where(np.isfinite(g), g, out.dtype.type(0)), np.where(finite, other, out.dtype.type(0))
    left, right = known[order]
    np.matmul(left, right, out)
    up, down = np.inf, -np.inf
    np.add(out, up, out, where=meet((g > 0, other == up), (g < 0, other == down), (g == up, other > 0), (g == down, other < 0)))
    np.add(out, down, out, where=meet((g > 0, other == down), (g < 0, other == up), (g == up, other < 0), (g == down, other > 0)))
    lost = meet((g != 0, np.isnan(other)), (np.isinf(g), other == 0), (np.isnan(g), np.ones_like(other)))
    np.copyto(out, np.nan, where=lost)


def _masked_evaluate(x: Any, y: Any, *, zeros: int) -> Any:
    shape = (*np.broadcast_shapes(x.shape[:-2], y.shape[:-2]), x.shape[-2], y.shape[-1])
    out = np.empty(shape, np.result_type(x, y))
    masked_product(x, y, out, zeros)
    return out


def _masked(x: Node, y: Node, zeros: int) -> Node:
    return apply(masked_matmul_op, (x, y), (("zeros", zeros),))


def _masked_left(x: Node, y: Node) -> Node:
    return _masked(x, y, 0)


def _masked_right(x: Node, y: Node) -> Node:
    return _masked(x, y, 1)


def _times(x: Node, y: Node) -> Node:
    return apply(matmul_op, (x, y))


def product_to(x: Node, y: Node, shape: Shape, times: Callable[[Node, Node], Node] = _times) -> Node:
    """`x @ y`, summed to `shape` over the batch axes that it was broadcast along: the adjoint of an operand of a product.

    These axes become part of the sum that the product is, so no matrix is made for each of their entries.
    """
    batch = broadcast_shapes(x.shape[:-2], y.shape[:-2])
    summed = _summed_axes(batch, shape[:-2])
    sizes = [batch[k] for k in summed]
    if not summed or any([_batch_size(v, k, len(batch)) for k in summed] != sizes for v in (x, y)):
        return call("sum_to", times(x, y), shape)
    left, right = (_stack_batches(v, summed, len(batch)) for v in (swap_last(x), y))
    return call("reshape", times(swap_last(left), right), shape)


def _summed_axes(batch: Shape, kept: Shape) -> list[int]:
    """The axes of `batch` that a batch `kept` is broadcast along."""
    padded = (1,) * (len(batch) - len(kept)) + kept
    return [k for k, (size, own) in enumerate(zip(batch, padded, strict=True)) if size != own]


def _batch_size(x: Node, k: int, count: int) -> Size:
    """The size of `x` along batch axis `k` of `count`, 1 where it has none."""
    missing = count - x.ndim + 2
    return 1 if k < missing else x.shape[k - missing]


def _stack_batches(x: Node, summed: Sequence[int], count: int) -> Node:
    """Matrices (..., q, p) under one another along the batch axes `summed`: (..., s * q, p)."""
    missing = count - x.ndim + 2
    axes = [k - missing for k in summed]
    kept = [k for k in range(x.ndim - 2) if k not in axes]
    moved = call("transpose", x, (*kept, *axes, x.ndim - 2, x.ndim - 1))
    rows = size_of(tuple(x.shape[k] for k in (*axes, x.ndim - 2)))
    return call("reshape", moved, (*[x.shape[k] for k in kept], rows, x.shape[-1]))


def swap_last(x: Node) -> Node:
    """`x.mT`; of a node that is one already, its operand."""
    swapped = (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2)
    return x.inputs[0] if x.op is transpose_op and x.attr("axes") == swapped else x.mT


masked_matmul_op: Op = op(
    "masked_matmul",
    infer=lambda x, y, *, zeros: _infer_matmul(x, y),
    evaluate=_masked_evaluate,
    vjp=(
        lambda g, out, x, y, *, zeros: product_to(g, y.mT, x.shape, _times if zeros == 0 else _masked_right),
        lambda g, out, x, y, *, zeros: product_to(x.mT, g, y.shape, _masked_left if zeros == 0 else _times),
    ),
    jvp=(
        lambda t, out, x, y, *, zeros: _times(t, y) if zeros == 0 else _masked(t, y, 1),
        lambda t, out, x, y, *, zeros: _masked(x, t, 0) if zeros == 0 else _times(x, t),
    ),
    kernel=lambda inputs, out, attrs: Kernel(
        (Call(masked_product, "masked_matmul", f"{{0}}, {{1}}, {{out}}, {attrs['zeros']}"),)
    ),
    flops=lambda shapes, shape: 2 * int(np.prod(shape)) * shapes[0][-1],
)


def _kernel(inputs: Sequence[TensorType], out: TensorType, attrs: dict[str, Any]) -> Kernel:
    return Kernel((Call(np.matmul, "matmul", "{0}, {1}, {out}"),))


matmul_op: Op = op(
    "matmul",
    infer=_infer_matmul,
    evaluate=np.matmul,
    analytic=True,
    vjp=(lambda g, out, a, b: product_to(g, b.mT, a.shape), lambda g, out, a, b: product_to(a.mT, g, b.shape)),
    masked_vjp=(
        lambda g, out, a, b: product_to(g, b.mT, a.shape, _masked_left),
        lambda g, out, a, b: product_to(a.mT, g, b.shape, _masked_right),
    ),
    jvp=(lambda t, out, a, b: t @ b, lambda t, out, a, b: a @ t),
    kernel=_kernel,
    flops=lambda shapes, shape: 2 * int(np.prod(shape)) * shapes[0][-1],
)


PRODUCTS.update((matmul_op, masked_matmul_op))


@function(
    numpy=(np.matmul, np.linalg.matmul),
    samples=cases(
        lambda: sample(normal(2, 3), normal(3, 4, seed=1)),
        lambda: sample(normal(3), normal(3, seed=1)),
        lambda: sample(normal(3), normal(3, 2, seed=1)),
        lambda: sample(normal(2, 3), normal(3, seed=1)),
        lambda: sample(normal(4, 2, 3), normal(3, 2, seed=1)),
        lambda: sample(normal(2, 3), normal(4, 3, 2, seed=1)),
        lambda: sample(normal(2, 1, 2, 3), normal(4, 3, 2, seed=1)),
        lambda: sample(normal(0, 3), normal(3, 2, seed=1)),
        lambda: sample(normal(2, 0), normal(0, 2, seed=1)),
    ),
)
def matmul(a: Any, b: Any) -> Node:
    """`np.matmul`: batches broadcast; a 1-d operand is a row on the left, a column on the right."""
    x, y = lift((a, b), "matmul")
    if not x.ndim or not y.ndim:
        raise ShapeError("matmul: a 0-d operand; multiply by a scalar with *")
    left = call("expand_dims", x, 0) if x.ndim == 1 else x
    right = call("expand_dims", y, 1) if y.ndim == 1 else y
    product = apply(matmul_op, (left, right))
    drop = ((-2,) if x.ndim == 1 else ()) + ((-1,) if y.ndim == 1 else ())
    return call("squeeze", product, drop) if drop else product


# --- chains ----------------------------------------------------------------------------------------------


class ChainOrder(NamedTuple):
    """How to multiply a chain of matrices.

    Attributes:
        split: where to split each run of matrices i..j.
        cost: the multiplications of the whole.
    """

    split: dict[tuple[int, int], int]
    cost: int


def chain_order(sizes: Sequence[int]) -> ChainOrder:
    """The cheapest order for matrices sizes[0] x sizes[1], sizes[1] x sizes[2], ...

    Cormen et al., Introduction to Algorithms, section on matrix chains.
    """
    n = len(sizes) - 1
    cost = {(i, i): 0 for i in range(n)}
    split: dict[tuple[int, int], int] = {}
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            best = min((cost[i, k] + cost[k + 1, j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k) for k in range(i, j))
            cost[i, j], split[i, j] = best
    return ChainOrder(split, cost[0, n - 1])


def multiply_in_order(matrices: Sequence[Any], order: ChainOrder, times: Callable[[Any, Any], Any]) -> Any:
    """The product of `matrices` in `order`."""
    products = {(i, i): m for i, m in enumerate(matrices)}
    pending = [(0, len(matrices) - 1)]
    while pending:
        i, j = pending[-1]
        parts = (i, order.split.get((i, j), i)), (order.split.get((i, j), i) + 1, j)
        missing = [p for p in parts if p not in products] if (i, j) not in products else []
        if missing:
            pending += missing
            continue
        pending.pop()
        if (i, j) not in products:
            products[i, j] = times(products[parts[0]], products[parts[1]])
    return products[0, len(matrices) - 1]


def _chain_sizes(shapes: Sequence[Sequence[Any]]) -> list[Any]:
    return [shapes[0][-2], *[shape[-1] for shape in shapes]]


def _chain_evaluate(*xs: Any) -> Any:
    return multiply_in_order(xs, chain_order(_chain_sizes([x.shape for x in xs])), np.matmul)


def _chain_vjp(k: int, g: Node, out: Node, *xs: Node) -> Node:
    before, after = ([x.mT for x in part[::-1]] for part in (xs[:k], xs[k + 1 :]))
    return call("sum_to", chain(*before, g, *after), xs[k].shape)


def chain(*xs: Node) -> Node:
    """The product of matrices in the order that costs least: no intermediate result larger than operands and result need.

    Products two by two where the sizes are known; else one node, which chooses when it runs.
    """
    sizes = _chain_sizes([x.shape for x in xs])
    return multiply_in_order(xs, chain_order(sizes), _times) if is_static(tuple(sizes)) else apply(chain_op, xs)


chain_op = op(
    "matrix_chain",
    infer=lambda *types: reduce(_infer_matmul, types),
    evaluate=_chain_evaluate,
    analytic=True,
    vjp=_chain_vjp,
    jvp=lambda k, t, out, *xs: chain(*xs[:k], t, *xs[k + 1 :]),
    flops=lambda shapes, shape: 2 * int(np.prod(shape[:-2])) * chain_order(_chain_sizes(shapes)).cost,
)


# --- inner products --------------------------------------------------------------------------------------


def _infer_vecdot(a: TensorType, b: TensorType) -> TensorType:
    if not a.ndim or not b.ndim or a.shape[-1] != b.shape[-1]:
        raise ShapeError(
            f"vecdot: vectors of one length along the last axis, got {show_shape(a.shape)} and {show_shape(b.shape)}"
        )
    return TensorType(broadcast_shapes(a.shape[:-1], b.shape[:-1]), ufunc_dtype(np.vecdot, (a.dtype, b.dtype)))


def _spread_last(g: Node, other: Node) -> Node:
    return call("expand_dims", g, -1) * other


def _masked_spread(g: Node, other: Node) -> Node:
    return apply(keep_zeros, (_spread_last(g, other), call("expand_dims", g, -1)))


def _vecdot_rule(spread: Callable[[Node, Node], Node], times: Callable[[Node, Node], Node]) -> Callable[[Node, Node, Node], Node]:
    """The adjoint of an operand: `g` times the other one; a product of matrices where it was broadcast."""

    def rule(g: Node, operand: Node, other: Node) -> Node:
        if not _summed_axes(g.shape, operand.shape[:-1]):
            return call("sum_to", spread(g, other), operand.shape)
        rows = (*operand.shape[:-1], 1, operand.shape[-1])
        found = product_to(scalar(g), row(other), rows, times)
        return call("squeeze", found, -2)

    return rule


_vecdot_adjoint, _masked_vecdot_adjoint = _vecdot_rule(_spread_last, _times), _vecdot_rule(_masked_spread, _masked_left)


vecdot_op: Op = op(
    "vecdot",
    infer=_infer_vecdot,
    evaluate=np.vecdot,
    vjp=(lambda g, out, a, b: _vecdot_adjoint(g, a, b), lambda g, out, a, b: _vecdot_adjoint(g, b, a)),
    masked_vjp=(lambda g, out, a, b: _masked_vecdot_adjoint(g, a, b), lambda g, out, a, b: _masked_vecdot_adjoint(g, b, a)),
    jvp=(lambda t, out, a, b: vecdot_op(t, b), lambda t, out, a, b: vecdot_op(a, t)),
    kernel=lambda inputs, out, attrs: Kernel((Call(np.vecdot, "vecdot", "{0}, {1}, {out}"),)),
    flops=lambda shapes, shape: 2 * int(np.prod(shape)) * shapes[0][-1],
)


def moved_last(x: Node, axis: Any, where: str) -> Node:
    """`x` with `axis` moved to the end."""
    k = normalize_axis(axis, x.ndim, where)
    return call("transpose", x, (*[a for a in range(x.ndim) if a != k], k))


@function(
    numpy=(np.vecdot, np.linalg.vecdot),
    samples=cases(
        lambda: sample(normal(3), normal(3, seed=1)),
        lambda: sample(normal(2, 3), normal(2, 3, seed=1)),
        lambda: sample(normal(4, 1, 3), normal(2, 3, seed=1)),
        lambda: sample(normal(2, 0), normal(0, seed=1)),
        lambda: sample(normal(0, 3), normal(3, seed=1)),
    ),
)
def vecdot(a: Any, b: Any, axis: Any = -1) -> Node:
    """`np.vecdot`: the sums of products along `axis`; the other axes broadcast."""
    x, y = lift((a, b), "vecdot")
    return vecdot_op(*[moved_last(v, axis, "vecdot") for v in (x, y)])


@function(
    numpy=if_numpy_has("matvec"),
    samples=cases(
        lambda: sample(normal(2, 3), normal(3, seed=1)),
        lambda: sample(normal(4, 2, 3), normal(3, seed=1)),
        lambda: sample(normal(4, 2, 3), normal(4, 3, seed=1)),
        lambda: sample(normal(2, 3), normal(4, 3, seed=1)),
        lambda: sample(normal(2, 0), normal(0, seed=1)),
        lambda: sample(normal(0, 2, 3), normal(3, seed=1)),
    ),
    reorders=True,
)
def matvec(a: Any, x: Any) -> Node:
    """`np.matvec`: matrices times vectors, both along the last axes; the other axes broadcast."""
    matrix, vector = lift((a, x), "matvec")
    if matrix.ndim < 2 or not vector.ndim:
        raise ShapeError(f"matvec: a matrix and a vector, got {show_shape(matrix.shape)} and {show_shape(vector.shape)}")
    return call("squeeze", matmul(matrix, call("expand_dims", vector, -1)), -1)


@function(
    numpy=if_numpy_has("vecmat"),
    samples=cases(
        lambda: sample(normal(2), normal(2, 3, seed=1)),
        lambda: sample(normal(2), normal(4, 2, 3, seed=1)),
        lambda: sample(normal(4, 2), normal(4, 2, 3, seed=1)),
        lambda: sample(normal(4, 2), normal(2, 3, seed=1)),
        lambda: sample(normal(0), normal(0, 3, seed=1)),
        lambda: sample(normal(2), normal(0, 2, 3, seed=1)),
    ),
    reorders=True,
)
def vecmat(x: Any, a: Any) -> Node:
    """`np.vecmat`: vectors times matrices, both along the last axes; the other axes broadcast."""
    vector, matrix = lift((x, a), "vecmat")
    if matrix.ndim < 2 or not vector.ndim:
        raise ShapeError(f"vecmat: a vector and a matrix, got {show_shape(vector.shape)} and {show_shape(matrix.shape)}")
    return call("squeeze", matmul(call("expand_dims", vector, -2), matrix), -2)


# --- diagonals -------------------------------------------------------------------------------------------


def _diagonal_samples() -> list[Sample]:
    return [
        sample(normal(3, 3)),
        sample(normal(2, 4), offset=1),
        sample(normal(4, 2), offset=-1),
        sample(normal(2, 3, 3)),
        sample(normal(0, 0)),
        sample(normal(2, 3), offset=5),
    ]


@function(numpy=(np.linalg.diagonal,), samples=_diagonal_samples)
def matrix_diagonal(x: Any, *, offset: int = 0) -> Node:
    """`np.linalg.diagonal`: diagonal `offset` of the matrices in the last two axes."""
    return call("diagonal", x, offset, -2, -1)


@function(numpy=(np.linalg.trace,), samples=_diagonal_samples)
def matrix_trace(x: Any, *, offset: int = 0, dtype: Any = None) -> Node:
    """`np.linalg.trace`: the sums along diagonal `offset` of the matrices in the last two axes."""
    return call("trace", x, offset, -2, -1, dtype=dtype)
