"""Common subexpressions: equal nodes, and equal constants, become one."""

from __future__ import annotations

from typing import Any

from gradc.ir import PLACEHOLDER, Node
from gradc.passes.rewrite import Numerics, Rewriting, rewriting_pass


def sharing() -> Rewriting:
    """No two nodes are the same op on the same operands."""
    first: dict[Any, Node] = {}

    def step(node: Node) -> Node:
        if node.op is PLACEHOLDER:
            return node
        operands: Any = node.inputs
        if node.op.commutative and operands[0].serial > operands[1].serial:
            operands = operands[::-1]
        return first.setdefault((node.op, operands, node.attrs, node.type), node)

    return step


cse = rewriting_pass("cse", Numerics.EXACT, sharing)
