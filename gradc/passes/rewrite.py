"""Rebuilding a graph node by node: what every rewriting pass is made of."""

from __future__ import annotations

from collections.abc import Callable

from gradc.ir import Graph, Node

Rewrite = Callable[[Node, tuple[Node, ...]], Node]


def rebuilt(node: Node, inputs: tuple[Node, ...]) -> Node:
    """`node` on other inputs of the same types; the same node where they are the same."""
    if all(a is b for a, b in zip(inputs, node.inputs, strict=True)):
        return node
    return Node(node.op, inputs, node.attrs, node.type, node.origin)


def rewrite(graph: Graph, step: Rewrite) -> Graph:
    """The graph in which each node is what `step(node, new_inputs)` makes of it, operands first."""
    new: dict[Node, Node] = {}
    for node in graph.nodes:
        inputs = tuple([new[i] for i in node.inputs])
        new[node] = step(node, inputs)
    outputs = {name: new[node] for name, node in graph.outputs.items()}
    return Graph.of(graph.name, graph.placeholders, outputs)
