"""The reference interpreter: one node at a time, no passes, every value kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

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
)
from gradc.foreign import is_own, result_of
from gradc.ir import CONSTANT, PLACEHOLDER, Array, Graph, Node, call_text, concrete_type, describe, has_masked_entries, walk
from gradc.types import TensorType, bind_shape, check_shape, resolve, show_shape


def check_feeds(placeholders: Mapping[str, Node], feeds: Mapping[str, Any]) -> tuple[dict[str, Array], dict[str, int]]:
    """Feeds as C-contiguous arrays of the placeholders' dtypes, and the values of the symbolic dimensions.

    Raises:
        FeedError: one is missing, unknown, or has the wrong dtype or shape.
    """
    missing = [name for name in placeholders if name not in feeds]
    if missing:
        raise FeedError(f"missing feeds: {', '.join(f'{n} ({placeholders[n].type})' for n in missing)}")
    extra = [name for name in feeds if name not in placeholders]
    if extra:
        raise FeedError(f"unknown feeds: {', '.join(map(repr, extra))}; the placeholders are {', '.join(placeholders) or 'none'}")
    arrays: dict[str, Array] = {}
    dims: dict[str, int] = {}
    for name, node in placeholders.items():
        arrays[name] = as_feed(name, node, feeds[name])
        if arrays[name].shape != node.shape:
            bind_shape(node.shape, arrays[name].shape, dims, f"feed {name!r} ({node.type})")
    if dims:
        for name, node in placeholders.items():
            check_shape(node.shape, arrays[name].shape, dims, f"feed {name!r} ({node.type})")
    return arrays, dims


def as_feed(name: str, node: Node, value: Any) -> Array:
    """One feed as a C-contiguous array of the placeholder's dtype; Python numbers and lists are weak.

    Raises:
        FeedError: it has another dtype.
    """
    dtype = node.dtype
    if isinstance(value, Node):
        raise FeedError(f"feed {name!r} ({node.type}): got a node, expected a value")
    if has_masked_entries(value):
        raise FeedError(f"feed {name!r}: masked entries would count as data; give what stands for them: value.filled(0)")
    if isinstance(value, (np.ndarray, np.generic)):
        if value.dtype != dtype and value.dtype.newbyteorder("=") != dtype:
            raise FeedError(
                f"feed {name!r}: expected {node.type}, got {value.dtype}{list(value.shape)}; "
                f"convert it with .astype({str(dtype)!r}) if that is what you mean"
            )
        return np.asarray(value, dtype, order="C")
    try:
        array = np.asarray(value)
        if not np.can_cast(array.dtype, dtype, "same_kind") and array.size:
            raise TypeError(f"{array.dtype} does not fit {dtype}")
        return np.asarray(value, dtype, order="C")
    except (TypeError, ValueError, OverflowError) as error:
        raise FeedError(f"feed {name!r}: expected {node.type}, got {value!r}: {error}") from None


class Trace(Mapping[Node, "Array"]):
    """The value of every node. Prints as the evaluation trace v1, v2, ..."""

    def __init__(self, graph: Graph, values: dict[Node, Array], dims: dict[str, int]) -> None:
        self.graph = graph
        self._values = values
        self._dims = dims

    def __getitem__(self, node: Node) -> Array:
        if not isinstance(node, Node):
            raise GraphError(f"a trace is indexed by nodes, got {node!r}")
        if node not in self._values:
            _evaluate_into(self._values, walk([node]), self._dims)
        return self._values[node]

    def __iter__(self) -> Iterator[Node]:
        return iter(self.graph.nodes)

    def __len__(self) -> int:
        return len(self.graph.nodes)

    def __str__(self) -> str:
        lines = []
        numbers = {node: k for k, node in enumerate(self.graph.nodes, 1)}
        for node, k in numbers.items():
            what = node.name or ("constant" if node.op is CONSTANT else call_text(node, numbers))
            value = np.array2string(self._values[node], precision=3, threshold=6, separator=", ").replace("\n", "")
            lines.append(f"v{k:<4} = {what:<28} = {value}")
        return "\n".join(lines)


def evaluate(graph: Graph, feeds: Mapping[str, Any] | None = None, **named: Any) -> Trace:
    """The value of every node of `graph`, computed in order, one at a time.

    Args:
        graph: any graph.
        feeds: a value per placeholder name; also as keywords.

    Raises:
        FeedError: a feed is missing, unknown, or has the wrong dtype or shape.
        EvaluationError, BoundsError: an op has no value for its operands' values; the message names the node and the user's line.
    """
    if not isinstance(graph, Graph):
        raise ArgumentError(f"evaluate: expected a graph, got {type(graph).__name__}")
    if not isinstance(feeds, Mapping | None):
        raise ArgumentError(f"evaluate: feeds is a mapping from names to values, got {type(feeds).__name__}")
    arrays, dims = check_feeds(graph.placeholders, {**(feeds or {}), **named})
    values = {node: arrays[name] for name, node in graph.placeholders.items()}
    _evaluate_into(values, list(graph.nodes), dims)
    return Trace(graph, values, dims)


def _evaluate_into(values: dict[Node, Array], nodes: list[Node], dims: dict[str, int]) -> None:
    with np.errstate(all="ignore"):
        for node in nodes:
            if node in values:
                continue
            if node.op is PLACEHOLDER:
                raise GraphError(f"{describe(node)} was not fed")
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
    operands = "".join(f"\n  operand {k}: {describe(i)}" for k, i in enumerate(node.inputs))
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
