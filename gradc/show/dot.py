"""A graph in DOT, for Graphviz: forward and adjoint nodes told apart by colour and rank."""

from __future__ import annotations

from gradc.ir import CONSTANT, PLACEHOLDER, Graph, Node, Role

_FILL = {
    Role.FORWARD: "#dbe9f6",
    Role.CONSTANT: "#eeeeee",
    Role.ADJOINT: "#fde0c8",
    Role.PARTIAL: "#fff1e0",
    Role.TANGENT: "#dcf0d8",
}


def to_dot(graph: Graph) -> str:
    """The graph as a DOT program; edges carry the operand's number where an op has several operands."""
    numbers = {node: k for k, node in enumerate(graph.nodes, 1)}
    lines = [
        f"digraph {quote(graph.name)} {{",
        '  rankdir="BT";',
        '  node [shape="box", style="filled,rounded", fontname="Helvetica"];',
    ]
    for node, k in numbers.items():
        lines.append(f"  v{k} [label={quote(_label(node, k, numbers))}, fillcolor={quote(_FILL[node.origin.role])}];")
    for node, k in numbers.items():
        lines += _edges(node, k, numbers)
    lines += _ranks(numbers)
    for k, (name, node) in enumerate(graph.outputs.items(), 1):
        lines.append(f'  out{k} [label={quote(name)}, shape="oval", fillcolor="white"];')
        lines.append(f"  v{numbers[node]} -> out{k};")
    return "\n".join([*lines, "}", ""])


def quote(text: str) -> str:
    """`text` as a DOT string that shows exactly it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _label(node: Node, k: int, numbers: dict[Node, int]) -> str:
    what = node.op.name
    if node.op is PLACEHOLDER:
        what = node.name or ""
    elif node.op is CONSTANT:
        what = repr(node.attr("value"))
    label = f"v{k}: {what}\n{node.type}"
    primal = node.origin.primal
    if primal in numbers and node.origin.role in (Role.ADJOINT, Role.PARTIAL, Role.TANGENT):
        label += f"\n{node.origin.role} of v{numbers[primal]}"
    return label


def _edges(node: Node, k: int, numbers: dict[Node, int]) -> list[str]:
    numbered = len(node.inputs) > 1
    return [
        f"  v{numbers[i]} -> v{k}" + (f' [label="{position}"];' if numbered else ";") for position, i in enumerate(node.inputs)
    ]


def _ranks(numbers: dict[Node, int]) -> list[str]:
    """Each adjoint beside its primal."""
    return [
        f'  {{ rank="same"; v{numbers[node.origin.primal]}; v{k}; }}'
        for node, k in numbers.items()
        if node.origin.primal in numbers and node.origin.role in (Role.ADJOINT, Role.TANGENT)
    ]
