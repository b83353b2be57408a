"""Rebuilding a graph node by node: what every rewriting pass is made of.

A rewriting is a function that is made anew for each graph and maps a node, already on its new operands, to the
node that takes its place. Several rewritings share one walk, so that each sees what the others made of the operands;
what a rewriting builds goes through all of them too.
"""

from __future__ import annotations

from collections.abc import Callable

from gradc.ir import Graph, Node, rebuilt, set_origin
from gradc.ops.elementwise import stop_gradient

Rewriting = Callable[[Node], Node]
Pass = Callable[[Graph], Graph]


def rewriting_pass(*makers: Callable[[], Rewriting]) -> Pass:
    """The pass that applies the rewritings to every node, operands first."""

    def run(graph: Graph) -> Graph:
        return rewrite(graph, [make() for make in makers])

    run.__name__ = "+".join(make.__name__ for make in makers)
    return run


def lowered(graph: Graph) -> Graph:
    """`graph` for a target: no derivative is taken of it any more, so rewriting may drop what only derivatives know of.

    No pass may do that by itself: `differentiate(optimise(g))` would be another derivative than `optimise(differentiate(g))`.
    """
    held = any(node.op is stop_gradient for node in graph.nodes)
    return Graph.of(graph.name, graph.placeholders, graph.outputs, graph.nodes, graph._derivative, lowered=held or graph.lowered)


def _without_stops(node: Node) -> Node:
    return node.inputs[0] if node.op is stop_gradient else node


def rewrite(graph: Graph, steps: list[Rewriting]) -> Graph:
    """The graph in which each node is what the steps make of it. New nodes have the origin of the node they replace."""
    if graph.lowered:
        steps = [_without_stops, *steps]
    new: dict[Node, Node] = {}
    final: set[Node] = set()
    outer = set_origin(None)
    try:
        for node in graph.nodes:
            current = node
            for operand in node.inputs:
                if operand in new:
                    current = rebuilt(node, tuple([new.get(i, i) for i in node.inputs]))
                    break
            set_origin(node.origin)
            current = _settled(current, steps, final)
            if current is not node:
                new[node] = current
    finally:
        set_origin(outer)
    outputs = {name: new.get(node, node) for name, node in graph.outputs.items()}
    return Graph.of(graph.name, graph.placeholders, outputs, lowered=graph.lowered)


def _settled(node: Node, steps: list[Rewriting], final: set[Node]) -> Node:
    """What the steps make of `node`, and of the operands that they built for it: no deeper than one rule builds."""
    while True:
        if not final.issuperset(node.inputs):
            node = rebuilt(node, tuple([i if i in final else _settled(i, steps, final) for i in node.inputs]))
        current = node
        for step in steps:
            current = step(current)
        if current is node or current in final:
            final.add(current)
            return current
        node = current
