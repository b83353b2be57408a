"""Constant folding: what hangs on constants only is computed once, now."""

from __future__ import annotations

import numpy as np

from gradc.interpret import evaluate_node
from gradc.ir import CONSTANT, Const, Graph, Node, Origin, Role
from gradc.passes.rewrite import rebuilt, rewrite
from gradc.types import has_dim, is_static

LIMIT_BYTES = 1 << 20


def fold(graph: Graph) -> Graph:
    """Constants folded, as long as the graph's constants grow by no more than 1 MiB."""
    room = LIMIT_BYTES

    def step(node: Node, inputs: tuple[Node, ...]) -> Node:
        nonlocal room
        if not inputs or any(i.op is not CONSTANT for i in inputs):
            return rebuilt(node, inputs)
        if not is_static(node.shape) or has_dim(tuple(v for _, v in node.attrs)):
            return rebuilt(node, inputs)
        size = node.dtype.itemsize * int(np.prod(node.shape, dtype=object))
        if size > room:
            return rebuilt(node, inputs)
        room -= size
        return _folded(node, inputs)

    return rewrite(graph, step)


def _folded(node: Node, inputs: tuple[Node, ...]) -> Node:
    with np.errstate(all="ignore"):
        value = np.array(evaluate_node(node, [i.attr("value").array for i in inputs], {}), order="C")
    value.flags.writeable = False
    origin: Origin = node.origin._replace(role=Role.CONSTANT)
    return Node(CONSTANT, (), (("value", Const(value)),), node.type, origin)
