"""Common subexpressions: equal nodes, and equal constants, become one."""

from __future__ import annotations

from typing import Any

from gradc.ir import PLACEHOLDER, Graph, Node
from gradc.passes.rewrite import Numerics, Rewriting, reads_signs, rewriting_pass
from gradc.types import key_of


def sharing(graph: Graph) -> Rewriting:
    """No two nodes are the same op on the same operands.

    Attributes are the same by type and bits. Of two NaNs the first comes through a sum: where signs are read, order counts.
    """
    first: dict[Any, Node] = {}
    ordered = reads_signs(graph)

    def step(node: Node) -> Node:
        if node.op is PLACEHOLDER:
            return node
        operands: Any = node.inputs
        if node.op.commutative and not ordered and operands[0].serial > operands[1].serial:
            operands = operands[::-1]
        return first.setdefault((node.op, tuple([i.serial for i in operands]), key_of(node.attrs), node.type), node)

    return step


cse = rewriting_pass("cse", Numerics.EXACT, sharing)
