"""The reference interpreter: one node at a time, no passes, every value kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gradc.errors import (
    VALUE_ERRORS,
    ArgumentError,
    BoundsError,
    DeclarationError,
    EvaluationError,
    FeedError,
    GradcError,
    GraphError,
    candidates,
    listed,
    show,
)
from gradc.feeds import as_feed
from gradc.foreign import is_own, result_of
from gradc.ir import CONSTANT, PLACEHOLDER, Array, Graph, Node, call_text, concrete_type, describe, operand_lines, walk
from gradc.types import Dim, TensorType, bind_shape, check_shape, has_dim, names_in, resolve, show_shape


class Needs(NamedTuple):
    """What has to be known to compute some nodes.

    Attributes:
        feeds: the names of the placeholders that they are computed from.
        sizes: the names of the symbolic dimensions in their types and attributes.
        told: those of `sizes` that no needed placeholder tells, and the other placeholders that do.
    """

    feeds: tuple[str, ...]
    sizes: frozenset[str]
    told: Mapping[str, tuple[str, ...]]


def needs_of(placeholders: Mapping[str, Node], roots: Iterable[Node]) -> Needs:
    """What the values of `roots` hang on, by the graph as it stands: what a pass may find out later changes nothing."""
    nodes = walk(roots)
    reached = set(nodes)
    feeds = {name: node for name, node in placeholders.items() if node in reached}
    sizes = frozenset().union(*map(names_in, _values_with_sizes(nodes)))
    unknown = sizes - {name for node in feeds.values() for name in _told_by(node)}
    told = {size: tuple(name for name, node in placeholders.items() if size in _told_by(node)) for size in sorted(unknown)}
    return Needs(tuple(feeds), sizes, told)


def _values_with_sizes(nodes: Sequence[Node]) -> list[Any]:
    """The shapes and attributes of `nodes` that have symbolic dimensions; each shape once, there are few."""
    shapes: set[Any] = {node.type.shape for node in nodes}
    attributes = [value for node in nodes if node.attrs for _, value in node.attrs if has_dim(value)]
    return [*filter(has_dim, shapes), *attributes]


def _told_by(node: Node) -> list[str]:
    """The symbolic dimensions that the shape of a feed for `node` gives their numbers."""
    return [size.text for size in node.type.shape if isinstance(size, Dim) and size.is_name]


def check_feeds(
    placeholders: Mapping[str, Node], feeds: Mapping[str, Any], needs: Needs | None = None, exact: Iterable[str] = ()
) -> tuple[dict[str, Array], dict[str, int]]:
    """Feeds as C-contiguous arrays of the placeholders' dtypes, and the values of the symbolic dimensions.

    Args:
        needs: what may not be left out; every feed when left out. All that is given is checked.
        exact: names of feeds that are written to, whose arrays have exactly the placeholder's dtype.

    Raises:
        FeedError: one is missing, unknown, or has the wrong dtype or shape.
    """
    missing = [name for name in (placeholders if needs is None else needs.feeds) if name not in feeds]
    if missing:
        raise FeedError(f"missing feeds: {_meant(missing, placeholders, feeds)}")
    arrays: dict[str, Array] = {}
    dims: dict[str, int] = {}
    for name, value in feeds.items():
        node = placeholders.get(name)
        if node is None:
            raise _unknown(placeholders, feeds)
        array = arrays[name] = as_feed(name, node, value, name in exact)
        if array.shape != node.type.shape:
            try:
                bind_shape(node.type.shape, array.shape, dims)
            except FeedError as error:
                raise _of_feed(node, error) from None
    if dims:
        _check_expressions(placeholders, arrays, dims)
    if needs is not None and needs.told:
        _check_told(needs.told, dims)
    return arrays, dims


def _of_feed(node: Node, error: FeedError) -> FeedError:
    return FeedError(f"feed {node.name!r} ({node.type}): {error.message}")


def _check_expressions(placeholders: Mapping[str, Node], arrays: Mapping[str, Array], dims: Mapping[str, int]) -> None:
    for name, array in arrays.items():
        node = placeholders[name]
        try:
            check_shape(node.type.shape, array.shape, dims)
        except FeedError as error:
            raise _of_feed(node, error) from None


def _check_told(told: Mapping[str, tuple[str, ...]], dims: Mapping[str, int]) -> None:
    """Every size that the results hang on has its number."""
    for size, tellers in told.items():
        if size not in dims:
            what = f"feed {' or '.join(tellers)}, whose shape tells it" if tellers else "no placeholder's shape is that size"
            raise FeedError(f"missing feeds: the symbolic dimension {size} has no value: {what}")


def _meant(missing: list[str], placeholders: Mapping[str, Node], feeds: Mapping[str, Any]) -> str:
    """The missing feeds with their types and, where unknown ones were given, what these may be meant to be."""
    texts = listed(f"{name} ({placeholders[name].type})" for name in missing)
    unknown = [name for name in feeds if name not in placeholders]
    return f"{texts}; {_unknown(placeholders, feeds).message}" if unknown else texts


def _unknown(placeholders: Mapping[str, Node], feeds: Mapping[str, Any]) -> FeedError:
    unknown = [name for name in feeds if name not in placeholders]
    given: list[object] = [*unknown]
    of_nodes = [key.name for key in given if isinstance(key, Node) and key.name]
    instead = f"feeds are by name: write {show(of_nodes[0])}" if of_nodes else candidates(unknown[0], placeholders)
    return FeedError(f"unknown feeds: {listed(map(show, unknown))}; {instead}")


class Trace(Mapping[Node, "Array"]):
    """The value of every node. Prints as the evaluation trace v1, v2, ..."""

    def __init__(self, graph: Graph, values: dict[Node, Array], dims: dict[str, int]) -> None:
        self.graph = graph
        self._values = values
        self._dims = dims

    def __getitem__(self, node: Node) -> Array:
        if not isinstance(node, Node):
            known = isinstance(node, str) and node in self.graph.outputs
            write = f": write trace[graph.outputs[{show(node)}]]" if known else ""
            raise GraphError(f"a trace is indexed by nodes, got {show(node)}{write}")
        if node not in self._values:
            _evaluate_into(self._values, walk([node]), self._dims)
        return self._values[node]

    def __contains__(self, node: object) -> bool:
        return node in self._values

    def __iter__(self) -> Iterator[Node]:
        return (node for node in self.graph.nodes if node in self._values)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __str__(self) -> str:
        lines = []
        numbers = {node: k for k, node in enumerate(self.graph.nodes, 1)}
        for node, k in numbers.items():
            what = node.name or ("constant" if node.op is CONSTANT else call_text(node, numbers))
            value = "not fed"
            if node in self._values:
                value = np.array2string(self._values[node], precision=3, threshold=6, separator=", ").replace("\n", "")
            lines.append(f"v{k:<4} = {what:<28} = {value}")
        return "\n".join(lines)


def evaluate(graph: Graph, feeds: Mapping[str, Any] | None = None, /, **named: Any) -> Trace:
    """The value of every node of `graph`, computed in order, one at a time.

    Args:
        graph: any graph.
        feeds: a value per placeholder name; also as keywords. Placeholders that no output needs may be left out: the trace has
            no value for these, nor for what hangs on them.

    Raises:
        FeedError: a feed is missing, unknown, or has the wrong dtype or shape.
        EvaluationError, BoundsError: an op has no value for its operands' values; the message names the node and the user's line.
    """
    if not isinstance(graph, Graph):
        raise ArgumentError(f"evaluate: expected a graph, got {type(graph).__name__}")
    if not isinstance(feeds, Mapping | None):
        raise ArgumentError(f"evaluate: feeds is a mapping from names to values, got {type(feeds).__name__}")
    placeholders = graph.placeholders
    arrays, dims = check_feeds(placeholders, {**(feeds or {}), **named}, needs_of(placeholders, graph.outputs.values()))
    values = {placeholders[name]: array for name, array in arrays.items()}
    _evaluate_into(values, [node for node in graph.nodes if node.op is not PLACEHOLDER], dims)
    return Trace(graph, values, dims)


def _evaluate_into(values: dict[Node, Array], nodes: list[Node], dims: dict[str, int]) -> None:
    with np.errstate(all="ignore"):
        for node in nodes:
            if node in values:
                continue
            if node.op is PLACEHOLDER:
                raise FeedError(
                    f"{describe(node)} was not fed, so that it has no value, nor has what hangs on it: feed {node.name}"
                )
            values[node] = evaluate_node(node, [values[i] for i in node.inputs], dims)


def located(node: Node, error: Exception) -> Exception:
    """What computing `node` raised, as an error that names it; the cause is for the caller to chain."""
    if isinstance(error, DeclarationError):
        return error  # it names the node already
    if isinstance(error, MemoryError):
        error.add_note(f"while computing {describe(node)}")
        return error
    return (BoundsError if isinstance(error, BoundsError) else EvaluationError)(_no_value(node, error))


def cause_of(error: Exception) -> Exception | None:
    """What to chain a located error to: what NumPy says of a singular matrix is in the message already."""
    return None if type(error) in VALUE_ERRORS else error


def _no_value(node: Node, error: Exception) -> str:
    """Which node failed, in the user's words: an adjoint is told by the node it is the adjoint of."""
    primal = node.origin.primal
    of = f"\n  in the {node.origin.role} of {describe(primal)}" if primal is not None else ""
    operands = operand_lines(node.inputs)
    why = error.message if isinstance(error, GradcError) else str(error) or type(error).__name__
    return f"{describe(node)} has no value here: {why}{of}{operands}"


def evaluate_node(node: Node, operands: list[Array], dims: dict[str, int]) -> Array:
    """The value of one node, in C order unless it is a view."""
    attrs, expected = dict(node.attrs), node.type
    if dims:
        attrs = {k: resolve(v, dims) for k, v in node.attrs}
        expected = concrete_type(node, tuple([TensorType(a.shape, a.dtype) for a in operands]), tuple(attrs.items()), dims)
    try:
        if not is_own(node.op):
            return result_of(node, expected, operands, attrs)
        value = np.asarray(node.op.evaluate(*operands, **attrs))
    except Exception as error:
        raised = located(node, error)
        if raised is error:
            raise
        raise raised from cause_of(error)
    if value.dtype != node.dtype:
        raise DeclarationError(f"{describe(node)} evaluated to {value.dtype}{show_shape(value.shape)}: its declaration is wrong")
    return value if node.op.view or value.flags.c_contiguous else np.ascontiguousarray(value)
