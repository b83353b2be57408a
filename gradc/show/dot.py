"""A graph in DOT, for Graphviz: forward and adjoint nodes told apart by colour and rank.

Values flow up on the forward side, and adjoints back down, each on the rank of its primal. Edges that carry forward values to
adjoint nodes are dashed and leave the layout alone, so that the two sides stand beside each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gradc.errors import printable
from gradc.ir import CONSTANT, PLACEHOLDER, Graph, Node, Role
from gradc.show.text import DERIVED, purpose, results_of_rules, source_line

_COLOURS = {
    Role.FORWARD: ("#dbe9f6", "#3f78a8"),
    Role.CONSTANT: ("#eeeeee", "#999999"),
    Role.ADJOINT: ("#fbd3ae", "#b8641b"),
    Role.PARTIAL: ("#fdf0df", "#d9a066"),
    Role.TANGENT: ("#d5eecf", "#4f8f45"),
}
_LONGEST = 60

_HEAD = """  rankdir="BT";
  nodesep="0.3";
  ranksep="0.45";
  node [shape="box", style="filled,rounded", fontname="Helvetica", fontsize="12", margin="0.12,0.06"];
  edge [fontname="Helvetica", fontsize="10", color="#555555", fontcolor="#555555", arrowsize="0.7"];"""


def to_dot(graph: Graph) -> str:
    """The graph as a DOT program, valid for any names; those longer than 60 characters are cut.

    Edges carry the operand's number where the op has several operands that cannot be swapped. A node's tooltip tells the rule
    that made it and the user's source line.
    """
    numbers = {node: k for k, node in enumerate(graph.nodes, 1)}
    down = _downwards(numbers)
    lines = [f"digraph {quote(_shortened(graph.name))} {{", _HEAD]
    lines += _nodes(numbers)
    for node in numbers:
        lines += _edges(node, numbers, down)
    lines += _ranks(numbers)
    for k, (name, node) in enumerate(graph.outputs.items(), 1):
        lines.append(f'  out{k} [label={quote(_shortened(name))}, shape="plaintext", style="", fontname="Helvetica-Bold"];')
        lines.append(_arrow(f"v{numbers[node]}", f"out{k}", node in down, []))
    return "\n".join([*lines, "}", ""])


def quote(text: str) -> str:
    """`text` as a DOT string that shows exactly it: DOT reads backslashes, and entities like `&lt;`."""
    escaped = text.replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _shortened(text: str) -> str:
    """`text` as far as a picture has room for it: a box as wide as a novel helps nobody, and stops some versions of dot."""
    text = printable(text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _nodes(numbers: Mapping[Node, int]) -> Iterator[str]:
    results = results_of_rules(numbers)
    for node, k in numbers.items():
        lines = [f"v{k}: {_shortened(_what(node))}", str(node.type)]
        if node.origin.role in DERIVED:
            lines += purpose(node, numbers, results).replace(" through", "\nthrough").split("\n")
        tooltip = "\n".join(filter(None, [node.origin.rule, source_line(node)])) or f"v{k}"
        fill, line = _COLOURS[node.origin.role]
        shape = ', shape="ellipse", penwidth="2"' if node.op is PLACEHOLDER else ""
        label = quote("\n".join(lines))
        yield f'  v{k} [label={label}, tooltip={quote(tooltip)}, fillcolor="{fill}", color="{line}"{shape}];'


def _what(node: Node) -> str:
    if node.op is PLACEHOLDER:
        return node.name or ""
    if node.op is CONSTANT:
        return repr(node.attr("value"))
    attrs = ", ".join(f"{name}={value}" for name, value in node.attrs)
    return f"{node.op.name}({attrs})" if attrs else node.op.name


def _downwards(numbers: Mapping[Node, int]) -> set[Node]:
    """The nodes that are drawn below what they are computed from: adjoints, and what is derived forward from adjoints."""
    down: set[Node] = set()
    for node in numbers:
        role, primal = node.origin.role, node.origin.primal
        if (role in (Role.ADJOINT, Role.PARTIAL)) != (role in DERIVED and primal in down):
            down.add(node)
    return down


def _edges(node: Node, numbers: Mapping[Node, int], down: set[Node]) -> Iterator[str]:
    numbered = len(node.inputs) > 1 and not node.op.commutative
    for k, i in enumerate(node.inputs):
        options = [f'label="{k}"'] if numbered else []
        crosses = node.origin.role in DERIVED and i.op is not CONSTANT and (i in down) != (node in down)
        if crosses:
            options += ['style="dashed"', 'constraint="false"']
        yield _arrow(f"v{numbers[i]}", f"v{numbers[node]}", node in down and not crosses, options)


def _arrow(tail: str, head: str, down: bool, options: list[str]) -> str:
    """An arrow from `tail` to `head`. The layout puts the first that DOT reads below the second."""
    if down:
        tail, head, options = head, tail, [*options, 'dir="back"']
    return f"  {tail} -> {head}" + (f" [{', '.join(options)}];" if options else ";")


def _ranks(numbers: Mapping[Node, int]) -> Iterator[str]:
    """Each adjoint beside its primal."""
    results = results_of_rules(numbers)
    for node, k in numbers.items():
        primal = node.origin.primal
        if primal is not None and primal in numbers and node.origin.role in (Role.ADJOINT, Role.TANGENT) and node in results:
            yield f'  {{ rank="same"; v{numbers[primal]}; v{k}; }}'
