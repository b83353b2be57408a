"""Constant folding: what hangs on constants only is computed once, now."""

from __future__ import annotations

import math

import numpy as np

from gradc.interpret import evaluate_node
from gradc.ir import CONSTANT, Const, Node, Role
from gradc.passes.rewrite import Rewriting, rewriting_pass
from gradc.types import has_dim, is_static

LIMIT_BYTES = 1 << 20


def folding() -> Rewriting:
    """Fold, as long as the graph's constants grow by no more than 1 MiB."""
    room = LIMIT_BYTES

    def step(node: Node) -> Node:
        nonlocal room
        inputs = node.inputs
        if not inputs:
            return node
        for i in inputs:
            if i.op is not CONSTANT:
                return node
        if not is_static(node.shape) or has_dim(tuple(v for _, v in node.attrs)):
            return node
        size = node.dtype.itemsize * math.prod(node.shape)  # type: ignore[arg-type]
        if size > room:
            return node
        room -= size
        return _folded(node)

    return step


def _folded(node: Node) -> Node:
    with np.errstate(all="ignore"):
        value = np.array(evaluate_node(node, [i.attr("value").array for i in node.inputs], {}), order="C")
    value.flags.writeable = False
    origin = node.origin._replace(role=Role.CONSTANT)
    return Node(CONSTANT, (), (("value", Const(value)),), node.type, origin)


fold = rewriting_pass(folding)
fold.__name__ = "fold"
