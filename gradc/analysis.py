"""The networkx view of a graph, and the questions it answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gradc.ir import CONSTANT, Graph, Node

if TYPE_CHECKING:
    import networkx


def to_networkx(graph: Graph) -> networkx.MultiDiGraph[Any]:
    """A `MultiDiGraph` whose nodes are the graph's, with an edge per use: `x * x` has two. Keyed by operand.

    Made when first asked for and kept while the graph stands; treat it as read-only.
    """
    if graph._view is None:
        import networkx as nx

        view: networkx.MultiDiGraph[Any] = nx.MultiDiGraph(name=graph.name)
        view.add_nodes_from(graph.nodes)
        view.add_edges_from((i, node, k) for node in graph.nodes for k, i in enumerate(node.inputs))
        graph._view = view
    return graph._view


def topological_order(graph: Graph) -> list[Node]:
    """The nodes, operands before users, ties in the order they were made."""
    import networkx as nx

    return list(nx.lexicographical_topological_sort(to_networkx(graph), key=lambda n: n.serial))


def needed_by_outputs(graph: Graph) -> set[Node]:
    """The outputs and all their ancestors."""
    import networkx as nx

    layers = nx.bfs_layers(to_networkx(graph).reverse(copy=False), list(graph.outputs.values()))
    return {node for layer in layers for node in layer}


def constant_nodes(graph: Graph) -> set[Node]:
    """The nodes that hang on constants only."""
    import networkx as nx

    sources = [node for node in graph.nodes if not node.inputs and node.op is not CONSTANT]
    variable = {node for layer in nx.bfs_layers(to_networkx(graph), sources) for node in layer}
    return set(graph.nodes) - variable


def critical_path(graph: Graph) -> list[Node]:
    """The longest chain of nodes: no schedule is shorter."""
    import networkx as nx

    return list(nx.dag_longest_path(nx.DiGraph(to_networkx(graph)), weight=None, default_weight=1))
