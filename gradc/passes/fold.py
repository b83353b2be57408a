"""Constant folding: what hangs on constants only is computed once, now."""

from __future__ import annotations

import math

import numpy as np

from gradc.errors import VALUE_ERRORS
from gradc.interpret import evaluate_node
from gradc.ir import CONSTANT, Array, Const, Graph, Node, Role
from gradc.passes.rewrite import Numerics, Rewriting, rewriting_pass
from gradc.types import has_dim, is_static, resolve_shape

LIMIT_BYTES = 1 << 20


def folding(graph: Graph) -> Rewriting:
    """Fold, as long as the graph's constants grow by no more than 1 MiB.

    Views of constants stay views: they cost nothing, and an array laid out otherwise could sum in another order.
    """
    room = LIMIT_BYTES
    known: dict[Node, Array] = {}

    def step(node: Node) -> Node:
        nonlocal room
        if not node.inputs:
            return node
        operands = []
        for i in node.inputs:
            value = i.attrs[0][1].array if i.op is CONSTANT else known.get(i)
            if value is None:
                return node
            operands.append(value)
        if not is_static(node.shape) or has_dim(tuple(v for _, v in node.attrs)):
            return node
        if node.op.view:
            known[node] = evaluate_node(node, operands, {})
            return node
        size = node.dtype.itemsize * math.prod(resolve_shape(node.shape, {}))
        if size > room:
            return node
        try:
            folded = _folded(node, operands)
        except VALUE_ERRORS:
            return node  # the inverse of a singular constant, an index beyond the end: an error of the call, as without this pass
        room -= size
        return folded

    return step


def _folded(node: Node, operands: list[Array]) -> Node:
    with np.errstate(all="ignore"):
        value = np.array(evaluate_node(node, operands, {}), order="C")
    value.flags.writeable = False
    origin = node.origin._replace(role=Role.CONSTANT)
    return Node(CONSTANT, (), (("value", Const(value)),), node.type, origin)


fold = rewriting_pass("fold", Numerics.EXACT, folding)
