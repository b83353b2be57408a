"""Lowering a graph to straight-line NumPy source: a line a node, values dropped after their last use.

Names never become code: values are v1, v2, ..., functions and constants are bound under names of our own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from gradc.ir import CONSTANT, PLACEHOLDER, Graph, Node
from gradc.types import resolve

CHUNK = 1000


class Emitted(NamedTuple):
    """The source of a schedule and the function it defines: `run(feeds) -> values`."""

    source: str
    run: Callable[..., Any]


def emit(graph: Graph, results: tuple[Node, ...], dims: Mapping[str, int]) -> Emitted:
    """The schedule that computes `results` from the placeholders' arrays, for concrete dimensions."""
    names = {node: f"v{k}" for k, node in enumerate(graph.nodes, 1)}
    scope: dict[str, Any] = {}
    inputs = [names[n] for n in graph.placeholders.values()]
    steps = []
    for node in graph.nodes:
        if node.op is CONSTANT:
            scope[names[node]] = node.attr("value").array
        elif node.op is not PLACEHOLDER:
            steps.append(node)
    lines = _lines(steps, results, names, scope, dims)
    source = _source(graph, inputs, lines, [names[r] for r in results])
    exec(compile(source, f"<gradc {id(scope):x}>", "exec"), scope)
    return Emitted(source, scope["run"])


def _lines(
    steps: list[Node], results: tuple[Node, ...], names: Mapping[Node, str], scope: dict[str, Any], dims: Mapping[str, int]
) -> list[str]:
    last = {i: k for k, node in enumerate(steps) for i in node.inputs}
    lines = []
    for k, node in enumerate(steps):
        function = _bound(node, scope, dims)
        operands = ", ".join(names[i] for i in node.inputs)
        lines.append(f"{names[node]} = {function}({operands})  # {node.type}")
        dead = [
            i for i in dict.fromkeys(node.inputs) if last[i] == k and i not in results and i.op not in (CONSTANT, PLACEHOLDER)
        ]
        if dead:
            lines.append(f"del {', '.join(names[i] for i in dead)}")
    return lines


def _bound(node: Node, scope: dict[str, Any], dims: Mapping[str, int]) -> str:
    """The name under which the node's evaluation, its attributes bound, is in scope."""
    base = node.op.name if node.op.name.isidentifier() else "op"
    if node.op.ufunc is not None:
        ordered = node.ndim > 1
        name = f"np_{base}_c" if ordered else f"np_{base}"
        scope[name] = _c_order(node.op.ufunc) if ordered else node.op.ufunc
        return name
    attrs = {k: resolve(v, dims) for k, v in node.attrs}
    evaluate = node.op.evaluate
    view = node.op.view
    name = f"{base}_{len(scope)}"

    def call(*operands: Any) -> Any:
        value = np.asarray(evaluate(*operands, **attrs))
        return value if view else np.ascontiguousarray(value).reshape(value.shape)

    scope[name] = call
    return name


def _c_order(ufunc: np.ufunc) -> Callable[..., Any]:
    return lambda *operands: ufunc(*operands, order="C")


def _source(graph: Graph, inputs: list[str], lines: list[str], results: list[str]) -> str:
    head = [f"# {graph.name!r}: {len(lines)} steps", f"def run({', '.join(inputs)}):"]
    body = [f"    {line}" for line in lines]
    return "\n".join([*head, *body, f"    return ({', '.join(results)}{',' if results else ''})", ""])
