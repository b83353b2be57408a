"""Gradients of functions that were written in an unstable form: derived once more, from the stable form.

The textbook construction differentiates what the user wrote. Where that is log(sum(exp(x))), the adjoints too
overflow on the way, in as many ways as there are orders and masks. No rewriting of them can be as good as the adjoints of
`logsumexp`; so these take their place. A derivative of a derivative starts from what took its place.
"""

from __future__ import annotations

from collections.abc import Mapping

from gradc.differentiate import differentiate_again
from gradc.ir import Derivative, Graph, Node, walk
from gradc.passes.cse import sharing
from gradc.passes.rewrite import Numerics, Pass, rebuilt, rewrite
from gradc.passes.simplify import shortening
from gradc.passes.stable import FORMS, SIGNS, recognising


def _rederived(graph: Graph) -> Graph:
    """Differentiate again, in the order in which it was done, whatever has a better form now."""
    swaps: dict[Node, Node] = {}
    for derivative in graph.derivatives:
        swaps.update(_again(derivative, swaps))
    if not swaps:
        return graph
    return graph.with_outputs(_swapped(graph.outputs, swaps))


def _again(derivative: Derivative, swaps: dict[Node, Node]) -> dict[Node, Node]:
    root = _swapped({"of": derivative.root}, swaps)["of"] if swaps else derivative.root
    root = _stable_form(root)
    return {} if root is derivative.root else differentiate_again(derivative, root)


def _stable_form(root: Node) -> Node:
    """`root`, with the functions in it that are written in an unstable form replaced; itself where there are none."""
    present = {node.op for node in walk([root])}
    if present.isdisjoint(FORMS) or present.isdisjoint(SIGNS):
        return root
    found: list[Node] = []
    graph = Graph.of("of", {}, {"of": root})
    stable = rewrite(graph, [shortening(graph), recognising(found), sharing(graph)]).outputs["of"]
    return stable if found else root


def _swapped(outputs: Mapping[str, Node], swaps: dict[Node, Node]) -> dict[str, Node]:
    """The outputs on what takes the place of their operands."""
    new: dict[Node, Node] = {}
    for node in walk(outputs.values()):
        new[node] = swaps[node] if node in swaps else rebuilt(node, tuple([new[i] for i in node.inputs]))
    return {name: new[node] for name, node in outputs.items()}


rederive = Pass("rederive", Numerics.REASSOCIATES, _rederived)
