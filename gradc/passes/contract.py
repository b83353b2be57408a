"""Sums as products with ones, and sums of products as inner products: what BLAS adds several times as fast as a reduction.

The terms are added in another order. Over the first axis, where NumPy adds one by one, and in an inner product, BLAS is the more
accurate; along the last axis, where NumPy adds pairwise, a product with ones is as accurate for blocks of terms.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np

from gradc import ops
from gradc.ir import Graph, Node, apply, constant, rebuilt, set_origin
from gradc.ops.linalg import matmul_op, vecdot_op
from gradc.ops.reduction import sum_op
from gradc.ops.shaping import reshape_op
from gradc.types import Shape, Size, is_static, size_of

MOST = 4096
"""The most terms of an inner product, and of a sum over the first axis."""

BLOCK = 256
"""The most terms along the last axis that are added as one product; of more, blocks of this length or less."""

LEAST = 64
LEAST_BLOCKED = 8192
"""The fewest entries for which it pays, without blocks and with them."""


def contract(graph: Graph) -> Graph:
    """Sums over the first or the last axes as products that BLAS computes."""
    found = {node for node in graph.nodes if node.op is sum_op and _fits(node)}
    if not found:
        return graph
    uses = Counter([i for node in graph.nodes for i in node.inputs] + list(graph.outputs.values()))
    new: dict[Node, Node] = {}
    ones: dict[Any, Node] = {}
    outer = set_origin(None)
    try:
        for node in graph.nodes:
            current = rebuilt(node, tuple([new[i] for i in node.inputs]))
            if node in found:
                set_origin(node.origin)
                current = _product(current, uses[node.inputs[0]] == 1, ones)
            new[node] = current
    finally:
        set_origin(outer)
    return Graph.of(
        graph.name, graph.placeholders, {name: new[node] for name, node in graph.outputs.items()}, lowered=graph.lowered
    )


def _fits(node: Node) -> bool:
    x, axes = node.inputs[0], node.attr("axes")
    reduced = tuple(x.shape[a] for a in axes)
    return (
        x.dtype in (np.float32, np.float64)
        and is_static(reduced)
        and math.prod(reduced) > 1
        and (not is_static(x.shape) or size_of(x.shape) >= LEAST)
        and _is_laid_out(x)
    )


def _is_laid_out(x: Node) -> bool:
    """True unless `x` is a view that leaves the order of its entries in memory."""
    while x.op is reshape_op:
        x = x.inputs[0]
    return not x.op.view


def _product(node: Node, alone: bool, ones: dict[Any, Node]) -> Node:
    """What takes the place of a sum; of a sum of products only where nothing else needs the products. `ones` are shared."""
    x, axes = node.inputs[0], node.attr("axes")
    terms = math.prod(x.shape[a] for a in axes)
    sums = size_of(tuple(s for k, s in enumerate(x.shape) if k not in axes))
    if axes == tuple(range(x.ndim - len(axes), x.ndim)):
        factors = _factors(x) if alone and terms <= MOST else None
        if factors is not None:
            rows = {f: _shaped(f, (terms,) if sums == 1 else (sums, terms)) for f in factors}
            return _shaped(apply(vecdot_op, tuple(rows[f] for f in factors)), node.shape)
        block = _block(terms, sums)
        if block:
            blocks = apply(matmul_op, (_shaped(x, (sums * (terms // block), block)), _ones((block, 1), x, ones)))
            return _shaped(blocks if block == terms else _rows(blocks, sums, terms // block), node.shape)
    elif axes == tuple(range(len(axes))) and terms <= MOST:
        return _shaped(apply(matmul_op, (_ones((1, terms), x, ones), _shaped(x, (terms, sums)))), node.shape)
    return node


def _block(terms: int, sums: Size) -> int:
    """How many terms of a sum along the last axis are added at once; 0 where NumPy's own sum is as fast."""
    if terms <= BLOCK:
        return terms if sums != 1 else 0
    if isinstance(sums, int) and sums * terms < LEAST_BLOCKED:
        return 0
    return next((n for n in range(BLOCK, BLOCK // 8, -1) if terms % n == 0), 0)


def _rows(blocks: Node, sums: Size, count: int) -> Node:
    """The sums of `count` blocks each."""
    shape = (count,) if sums == 1 else (sums, count)
    return apply(sum_op, (_shaped(blocks, shape),), (("axes", (len(shape) - 1,)), ("keepdims", False)))


def _shaped(x: Node, shape: Shape) -> Node:
    return x if x.shape == shape else ops.reshape(x, shape)


def _factors(x: Node) -> tuple[Node, Node] | None:
    if x.op is ops.square:
        return (x.inputs[0], x.inputs[0]) if _is_laid_out(x.inputs[0]) else None
    if x.op is ops.multiply and all(i.type == x.type and _is_laid_out(i) for i in x.inputs):
        return x.inputs[0], x.inputs[1]
    return None


def _ones(shape: tuple[int, int], like: Node, known: dict[Any, Node]) -> Node:
    key = shape, like.dtype
    if key not in known:
        known[key] = constant(np.ones(shape, like.dtype))
    return known[key]
