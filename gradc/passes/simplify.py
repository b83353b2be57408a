"""Exact simplifications: what goes in comes out, bit for bit."""

from __future__ import annotations

from collections.abc import Callable

from gradc import ops
from gradc.ir import CONSTANT, Graph, Node, Op, apply, origin_of_new_nodes
from gradc.ops.elementwise import astype_op, identity, stop_gradient
from gradc.ops.shaping import broadcast_op, reshape_op, transpose_op
from gradc.passes.rewrite import rebuilt, rewrite

Simplification = Callable[[Node], "Node | None"]


def _is_one(node: Node) -> bool:
    return node.op is CONSTANT and bool((node.attr("value").array == 1).all()) and not node.shape


def _same_type(node: Node) -> Node | None:
    """An op that leaves shape and dtype as they are, and moves nothing."""
    return node.inputs[0] if node.inputs[0].type == node.type else None


def _reshape(node: Node) -> Node | None:
    inner = node.inputs[0]
    if inner.op is reshape_op:
        return apply(reshape_op, inner.inputs, node.attrs)
    return _same_type(node)


def _transpose(node: Node) -> Node | None:
    axes, inner = node.attr("axes"), node.inputs[0]
    if inner.op is transpose_op:
        inner_axes = inner.attr("axes")
        axes, inner = tuple(inner_axes[a] for a in axes), inner.inputs[0]
        return ops.transpose(inner, axes)
    return inner if axes == tuple(range(len(axes))) else None


def _negative(node: Node) -> Node | None:
    inner = node.inputs[0]
    return inner.inputs[0] if inner.op is ops.negative else None


def _multiply(node: Node) -> Node | None:
    a, b = node.inputs
    if _is_one(b) and a.type == node.type:
        return a
    return b if _is_one(a) and b.type == node.type else None


def _divide(node: Node) -> Node | None:
    a, b = node.inputs
    return a if _is_one(b) and a.type == node.type else None


def _broadcast_operands(node: Node) -> Node | None:
    """Broadcasts that the elementwise op does by itself are dropped."""
    bare = tuple(i.inputs[0] if i.op is broadcast_op else i for i in node.inputs)
    if all(a is b for a, b in zip(bare, node.inputs, strict=True)):
        return None
    kept = apply(node.op, bare, node.attrs)
    return kept if kept.type == node.type else None


RULES: dict[Op, Simplification] = {
    identity: lambda node: node.inputs[0],
    stop_gradient: lambda node: node.inputs[0],
    reshape_op: _reshape,
    transpose_op: _transpose,
    broadcast_op: _same_type,
    astype_op: _same_type,
    ops.negative: _negative,
    ops.multiply: _multiply,
    ops.divide: _divide,
}


def simplify(graph: Graph) -> Graph:
    """Identity reshapes, transposes, broadcasts and casts; double negation; multiplication by one."""

    def step(node: Node, inputs: tuple[Node, ...]) -> Node:
        current = rebuilt(node, inputs)
        rule = RULES.get(current.op)
        with origin_of_new_nodes(node.origin):
            simpler = rule(current) if rule is not None else None
            if simpler is None and current.op.ufunc is not None:
                simpler = _broadcast_operands(current)
        return current if simpler is None else simpler

    return rewrite(graph, step)
