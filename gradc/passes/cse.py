"""Common subexpressions: equal nodes, and equal constants, become one."""

from __future__ import annotations

from typing import Any

from gradc.ir import PLACEHOLDER, Graph, Node
from gradc.passes.rewrite import rebuilt, rewrite


def cse(graph: Graph) -> Graph:
    """The graph in which no two nodes are the same op on the same operands."""
    first: dict[Any, Node] = {}

    def step(node: Node, inputs: tuple[Node, ...]) -> Node:
        if node.op is PLACEHOLDER:
            return node
        operands = tuple([i.serial for i in inputs])
        if node.op.commutative:
            operands = tuple(sorted(operands))
        key = (node.op, operands, node.attrs, node.type)
        found = first.get(key)
        if found is None:
            found = first[key] = rebuilt(node, inputs)
        return found

    return rewrite(graph, step)
