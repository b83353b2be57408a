"""A graph as text: one line a node."""

from __future__ import annotations

import os
from collections.abc import Mapping

from gradc.ir import SUM_SEED, Graph, Node, Role, call_text, paused_collector

DERIVED = (Role.ADJOINT, Role.PARTIAL, Role.TANGENT)
_WIDEST = (8, 40, 24, 44)


def to_text(graph: Graph) -> str:
    """One line a node: name, op, operands, type, role, what it is the derivative of, source line."""
    numbers = {node: k for k, node in enumerate(graph.nodes, 1)}
    lines = [f"graph {graph.name!r}"]
    with paused_collector():
        lines += _table(numbers)
    lines += [f"  output {name!r} = v{numbers[node]}" for name, node in graph.outputs.items()]
    return "\n".join(lines)


def _table(numbers: Mapping[Node, int]) -> list[str]:
    results = results_of_rules(numbers)
    rows = [_row(node, numbers, results) for node in numbers]
    widths = [min(widest, max(map(len, column))) for widest, column in zip(_WIDEST, zip(*rows, strict=True), strict=False)]
    return [_line(row, widths) for row in rows]


def _row(node: Node, numbers: Mapping[Node, int], results: set[Node]) -> tuple[str, ...]:
    call = printable(call_text(node, numbers))
    return f"v{numbers[node]}", f"= {call}", str(node.type), purpose(node, numbers, results), source_line(node)


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    *cells, where = row
    aligned = "  ".join([cell.ljust(width) for cell, width in zip(cells, widths, strict=True)])
    return f"  {aligned}  {where}".rstrip()


def results_of_rules(numbers: Mapping[Node, int]) -> set[Node]:
    """The nodes that a rule came to. What else it built shares their origin, the very object, and comes before them."""
    return set({id(node.origin): node for node in numbers}.values())


def purpose(node: Node, numbers: Mapping[Node, int], results: set[Node]) -> str:
    """`partial adjoint of v2 through v6[0]`: that edge's share; `for the ...`: a step on the way to it."""
    role, primal, edge = node.origin.role, node.origin.primal, node.origin.edge
    if role not in DERIVED:
        return role
    text = str(role) if node in results else f"for the {role}"
    if primal is not None and primal in numbers:
        text += f" of v{numbers[primal]}"
        if edge is not None and edge.user in numbers:
            text += f" through v{numbers[edge.user]}[{edge.operand}]"
    return f"{text}: of the sum of its entries" if node.origin.rule == SUM_SEED else text


def source_line(node: Node) -> str:
    """`model.py:12`, on one line whatever the file is called; empty where no line is known."""
    if not node.origin.file:
        return ""
    return f"{printable(os.path.basename(node.origin.file))}:{node.origin.line}"


def printable(text: str) -> str:
    """`text` with what cannot be printed escaped."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
