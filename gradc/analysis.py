"""The networkx view of a graph, and the questions it answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from gradc.ir import CONSTANT, Graph, Node

if TYPE_CHECKING:
    import networkx


def to_networkx(graph: Graph) -> networkx.MultiDiGraph[Any]:
    """A `MultiDiGraph` keyed by serial numbers, each with its node as data: `view.nodes[serial]["node"]`.

    networkx compares its keys, and nodes compare elementwise. There is an edge per use, keyed by operand: `x * x` has two.
    Made when first asked for and kept while the graph stands; treat it as read-only.
    """
    if graph._view is None:
        import networkx as nx

        view: networkx.MultiDiGraph[Any] = nx.MultiDiGraph(name=graph.name)
        view.add_nodes_from((node.serial, {"node": node}) for node in graph.nodes)
        view.add_edges_from((i.serial, node.serial, k) for node in graph.nodes for k, i in enumerate(node.inputs))
        graph._view = view
    return graph._view


def _nodes(view: networkx.MultiDiGraph[Any], serials: Iterable[int]) -> Iterator[Node]:
    return (view.nodes[serial]["node"] for serial in serials)


def topological_order(graph: Graph) -> list[Node]:
    """The nodes, operands before users, ties in the order they were made."""
    import networkx as nx

    view = to_networkx(graph)
    return list(_nodes(view, nx.lexicographical_topological_sort(view)))


def needed_by_outputs(graph: Graph) -> set[Node]:
    """The outputs and all their ancestors."""
    import networkx as nx

    view = to_networkx(graph)
    layers = nx.bfs_layers(view.reverse(copy=False), [node.serial for node in graph.outputs.values()])
    return set(_nodes(view, {serial for layer in layers for serial in layer}))


def constant_nodes(graph: Graph) -> set[Node]:
    """The nodes that hang on constants only."""
    import networkx as nx

    view = to_networkx(graph)
    sources = [node.serial for node in graph.nodes if not node.inputs and node.op is not CONSTANT]
    variable = {serial for layer in nx.bfs_layers(view, sources) for serial in layer}
    return set(_nodes(view, set(view.nodes) - variable))


def critical_path(graph: Graph) -> list[Node]:
    """The longest chain of nodes: no schedule is shorter."""
    import networkx as nx

    view = to_networkx(graph)
    return list(_nodes(view, nx.dag_longest_path(nx.DiGraph(view), weight=None, default_weight=1)))
