"""Dead-node pruning: placeholders that no output needs. Dead ops go by themselves: nodes are what outputs need."""

from __future__ import annotations

from gradc.ir import Graph, walk
from gradc.passes.rewrite import Numerics, Pass


def _pruned(graph: Graph) -> Graph:
    """The graph without the placeholders that no output needs."""
    nodes = walk(graph.outputs.values())
    needed = set(nodes)
    kept = {name: node for name, node in graph.placeholders.items() if node in needed}
    return Graph.of(graph.name, kept, graph.outputs, tuple(nodes), lowered=graph.lowered)


prune = Pass("prune", Numerics.EXACT, _pruned)
