"""A graph as text: one line a node."""

from __future__ import annotations

import os

from gradc.ir import Graph, Node, Role, call_text


def to_text(graph: Graph) -> str:
    """One line a node: name, op, operands, type, role, what it is the derivative of, source line."""
    numbers = {node: k for k, node in enumerate(graph.nodes, 1)}
    lines = [f"graph {graph.name!r}"]
    lines += [_line(node, numbers) for node in graph.nodes]
    lines += [f"  output {name!r} = v{numbers[node]}" for name, node in graph.outputs.items()]
    return "\n".join(lines)


def _line(node: Node, numbers: dict[Node, int]) -> str:
    parts = [f"  v{numbers[node]:<4} = {call_text(node, numbers):<32} {node.type!s:<22} {node.origin.role}"]
    primal = node.origin.primal
    if primal is not None and primal in numbers and node.origin.role != Role.CONSTANT:
        parts.append(f"of v{numbers[primal]}")
        edge = node.origin.edge
        if edge is not None and edge.user in numbers and node.origin.role != Role.TANGENT:
            parts.append(f"through v{numbers[edge.user]}[{edge.operand}]")
    if node.origin.file:
        parts.append(f" {os.path.basename(node.origin.file)}:{node.origin.line}")
    return " ".join(parts).rstrip()
