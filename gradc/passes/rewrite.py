"""Rebuilding a graph node by node: what every rewriting pass is made of.

A rewriting is a function that is made anew for each graph and maps a node, already on its new operands, to the
node that takes its place. Several rewritings share one walk, so that each sees what the others made of the operands;
what a rewriting builds goes through all of them too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from gradc.ir import Graph, Node, rebuilt, set_origin
from gradc.ops.elementwise import stop_gradient

Rewriting = Callable[[Node], Node]


class Numerics(StrEnum):
    """What a pass may do to the numbers that a graph computes."""

    EXACT = "exact"
    """Nothing: every bit stays, but for the sign and the payload of a NaN."""
    STABLE = "stable"
    """It may turn a non-finite or less accurate number into a better one."""
    REASSOCIATES = "reassociates"
    """Likewise, and sums and products may be rounded otherwise."""


@dataclass(frozen=True)
class Pass:
    """A pure function from graph to graph that has a name, and says what it may do to numbers.

    Attributes:
        name: shown in reports and errors.
        numerics: what `compile(..., validate=True)` holds it to.
        run: the function.
    """

    name: str
    numerics: Numerics
    run: Callable[[Graph], Graph]

    def __call__(self, graph: Graph) -> Graph:
        return self.run(graph)


def numerics_of(step: Callable[[Graph], Graph]) -> Numerics:
    """What a pass declares; a plain function is held to the loosest."""
    return getattr(step, "numerics", Numerics.REASSOCIATES)


def name_of(step: Callable[[Graph], Graph]) -> str:
    """A pass's name; a plain function's own."""
    return str(getattr(step, "name", None) or getattr(step, "__name__", None) or repr(step))


def rewriting_pass(name: str, numerics: Numerics, *makers: Callable[[Graph], Rewriting]) -> Pass:
    """The pass that applies the rewritings to every node, operands first."""
    return Pass(name, numerics, lambda graph: rewrite(graph, [make(graph) for make in makers]))


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


def reads_signs(graph: Graph) -> bool:
    """True where the sign of a NaN shows in what `graph` computes: IEEE 754 leaves it open, but to np.signbit and np.copysign."""
    return any(node.op.reads_sign for node in graph.nodes)


def _settled(node: Node, steps: list[Rewriting], final: set[Node]) -> Node:
    """What the steps make of `node`, and of the operands that they built for it, operands first.

    A rule may build a chain as long as a sum has terms: what waits for its operands stands on a stack of its own.
    """
    made: dict[Node, Node] = {}
    stack = [(node, node)]
    while stack:
        asked, current = stack[-1]
        waiting = [(i, i) for i in current.inputs if i not in final and i not in made]
        if waiting:
            stack += reversed(waiting)
            continue
        if made:
            current = rebuilt(current, tuple([made.get(i, i) for i in current.inputs]))
        settled = _stepped(current, steps)
        if settled is current or settled in final:
            final.add(settled)
            made[asked] = settled
            stack.pop()
        else:
            stack[-1] = asked, settled
    return made[node]


def _stepped(node: Node, steps: list[Rewriting]) -> Node:
    for step in steps:
        node = step(node)
    return node
