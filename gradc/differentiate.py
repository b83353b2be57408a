"""Reverse and forward mode AD by extending the computational graph.

Reverse: over the nodes on a path from `wrt` to `of`, in reverse topological order, the adjoint of a node is the
sum of its partial adjoints, one per use; each is nodes appended to the graph. Forward: tangents likewise, in
topological order. Griewank and Walther, Evaluating Derivatives, 2nd ed., chapters 3 and 6.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain, count
from typing import Any, NamedTuple

from gradc.errors import ArgumentError, DTypeError, GraphError, NamingError, NoGradientError
from gradc.forms import NOTHING, Settled, settle
from gradc.ir import (
    CONSTANT,
    PLACEHOLDER,
    Derivative,
    Edge,
    Graph,
    Node,
    Origin,
    Role,
    Rule,
    apply,
    constant,
    describe,
    paused_collector,
    set_origin,
    walk,
)
from gradc.ops.declare import ZERO, call
from gradc.ops.elementwise import identity
from gradc.ops.masks import keep_zeros
from gradc.ops.shaping import add_n, sum_to


def differentiate(
    graph: Graph,
    wrt: Any,
    of: Any = None,
    seed: bool | None = None,
    mode: str = "reverse",
    on_disconnected: str = "raise",
    *,
    forms: bool = True,
    kinks: str = "convention",
) -> Graph:
    """`graph` extended with the derivative of output `of` with respect to `wrt`.

    Args:
        graph: left as it is.
        wrt: a placeholder or any node of the graph, by handle or name, or a sequence of them; floating point.
        of: an output's name or node; may be left out when there is only one.
        seed: reverse mode: True adds a placeholder `bar_<of>` of the output's type as its adjoint. Without it the
            derivative is that of the sum of the output's entries.
        mode: "reverse" adds outputs `d_<of>/d_<wrt>`; "forward" adds placeholders `dot_<wrt>` and an output
            `dot_<of>`. Where a placeholder of that name is there already (forward over forward), the new one is
            `dot_<wrt>_2`, and so on.
        on_disconnected: "raise", or "zeros" for a `wrt` that `of` does not depend on.
        forms: True differentiates functions that are written out as what they are (see "Forms" in docs/compiling.md); False
            the plain construction, op by op.
        kinks: "convention" takes the conventions where there is no derivative; "nan" gives NaN wherever one would be taken, with
            an adjoint or a tangent that is not 0.

    Returns:
        a graph that starts with every node of `graph`; `.grad`, `.adjoint` and `.partial_adjoints` (or `.tangent`)
        tell which node is the derivative of which.

    Raises:
        GradcError: `wrt`, `of` or an option is malformed, or an op on the path has no rule; nothing was built then.
    """
    if not isinstance(graph, Graph):
        raise ArgumentError(f"differentiate: expected a graph, got {type(graph).__name__}")
    if graph.lowered:
        raise GraphError(
            f"differentiate: graph {graph.name!r} is what compile made of a graph with stop_gradient, which is gone from it; "
            "differentiate the graph, then compile"
        )
    if not (seed is None or isinstance(seed, bool)) or (seed and mode == "forward"):
        raise ArgumentError(f"differentiate: seed is True or False, and for reverse mode only, got {seed!r} in mode {mode!r}")
    if mode not in ("reverse", "forward"):
        raise ArgumentError(f"differentiate: mode is 'reverse' or 'forward', got {mode!r}")
    if on_disconnected not in ("raise", "zeros"):
        raise ArgumentError(f"differentiate: on_disconnected is 'raise' or 'zeros', got {on_disconnected!r}")
    if kinks not in ("convention", "nan"):
        raise ArgumentError(f"differentiate: kinks is 'convention' or 'nan', got {kinks!r}")
    of_name, of_node = _find_of(graph, of)
    variables = _find_wrt(graph, wrt)
    with paused_collector():
        needed = walk([of_node])
        _check_connected(variables, needed, on_disconnected, of_name)
        settled = settle(needed, variables.values()) if forms else NOTHING
        path = _settled_path(needed, variables, of_node, settled)
        _check_rules(path, mode)
        sweep = Sweep(settled, kinks == "nan")
        outer = set_origin(None)
        try:
            if mode == "forward":
                return _forward(graph, of_name, of_node, variables, path, sweep)
            return _reverse(graph, of_name, of_node, variables, path, bool(seed), sweep)
        finally:
            set_origin(outer)


# --- what was asked ----------------------------------------------------------------------------------


def _find_of(graph: Graph, of: Any) -> tuple[str, Node]:
    outputs = graph.outputs
    if of is None:
        if len(outputs) != 1:
            raise NamingError(f"differentiate: graph {graph.name!r} has {len(outputs)} outputs; say which with of=")
        of = next(iter(outputs))
    if isinstance(of, Node):
        of = next((name for name, node in outputs.items() if node is of), of)
    if not isinstance(of, str) or of not in outputs:
        shown = describe(of) if isinstance(of, Node) else repr(of)
        raise NamingError(f"differentiate: of={shown} is no output; the outputs are {', '.join(outputs) or 'none'}")
    node = outputs[of]
    if not node.type.is_float:
        raise DTypeError(f"differentiate: output {of!r} is {node.type}; only floating point has derivatives")
    return of, node


def _find_wrt(graph: Graph, wrt: Any) -> dict[str, Node]:
    asked: Sequence[Any] = wrt if isinstance(wrt, (list, tuple)) else [wrt]
    if not asked:
        raise ArgumentError("differentiate: wrt is empty; name at least one variable")
    found: dict[str, Node] = {}
    for item in asked:
        name, node = _variable(graph, item)
        if name in found:
            raise NamingError(f"differentiate: wrt names {name!r} twice")
        if not node.type.is_float:
            raise DTypeError(
                f"differentiate: wrt {name!r} is {node.type}; only floating point has derivatives: cast it, or leave it out"
            )
        found[name] = node
    return found


def _variable(graph: Graph, item: Any) -> tuple[str, Node]:
    placeholders, outputs = graph.placeholders, graph.outputs
    if isinstance(item, str):
        node = placeholders.get(item, outputs.get(item))
        if node is None:
            raise NamingError(f"differentiate: wrt {item!r} is no placeholder or output of graph {graph.name!r}")
        return item, node
    if not isinstance(item, Node):
        raise ArgumentError(f"differentiate: wrt takes nodes and names, got {item!r}")
    if item.op is PLACEHOLDER and placeholders.get(item.name or "") is item:
        return item.name or "", item
    for name, node in outputs.items():
        if node is item:
            return name, item
    if item not in set(graph.nodes):
        raise GraphError(f"differentiate: wrt {describe(item)} is no node of graph {graph.name!r}")
    return f"v{graph.number(item)}", item


# --- which nodes are touched -------------------------------------------------------------------------


Path = dict[Node, list[tuple[int, Node]]]
"""The nodes that derivatives flow through, in topological order, and the operands they flow over."""


def _active_path(needed: Sequence[Node], variables: dict[str, Node], of: Node) -> Path:
    """The nodes on a differentiable path from a variable to `of`."""
    reached = set(variables.values())
    flows: Path = {}
    for node in needed:
        if not node.inputs or node.type.dtype.kind != "f":
            continue
        rules = node.op.vjp
        found = [(k, i) for k, i in enumerate(node.inputs) if i in reached and _has_rule(rules, k)]
        if found:
            reached.add(node)
            flows[node] = found
    on_path = {of} & reached
    for node in reversed(needed):
        if node in on_path:
            on_path.update([i for _, i in flows.get(node, ())])
    return {node: flows.get(node, []) for node in needed if node in on_path}


class Sweep(NamedTuple):
    """What a sweep takes for what: the forms, and whether conventions are shown as NaN."""

    settled: Settled
    shows_kinks: bool

    def origin(self, role: Role, operand: Node, node: Node, k: int, mode: str) -> Origin:
        """Of what the rule of `node` builds for its operand `k`: that of the graph's nodes that these stand for."""
        rule = _rule_name(node.op.name, mode, k)
        if not self.settled.forms:
            return _origin(role, operand, Edge(node, k), rule)
        form = self.settled.form(node)
        return _origin(role, self.settled.primal(operand), self.settled.edge(node, k), f"{form}: {rule}" if form else rule)

    def inner(self, plain: Path, found: Mapping[Node, Node]) -> frozenset[Node]:
        """The nodes on the path op by op that only forms read."""
        return frozenset(node for node in plain if node not in found) if self.settled.forms else frozenset()


def _settled_path(needed: Sequence[Node], variables: dict[str, Node], of: Node, settled: Settled) -> Path:
    """The path through what takes the place of the nodes."""
    if not settled.forms:
        return _active_path(needed, variables, of)
    root = settled.twin(of)
    return _active_path(walk([root]), {name: settled.twin(node) for name, node in variables.items()}, root)


def _has_rule(rules: tuple[Rule | None, ...] | Rule | None, k: int) -> bool:
    """False for an operand that never carries a gradient, or whose derivative is zero."""
    return not isinstance(rules, tuple) or (rules[k] is not None and rules[k] is not ZERO)


def _check_connected(variables: dict[str, Node], needed: Sequence[Node], on_disconnected: str, of: str) -> None:
    present = set(needed)
    missing = [name for name, node in variables.items() if node not in present]
    if missing and on_disconnected == "raise":
        raise GraphError(
            f"differentiate: {of!r} does not depend on {', '.join(map(repr, missing))}; "
            "leave it out of wrt, or pass on_disconnected='zeros'"
        )


def _check_rules(path: Path, mode: str) -> None:
    for node, flows in path.items():
        rules = node.op.vjp if mode == "reverse" else node.op.jvp
        if rules is None and flows:
            operands = ", ".join(str(i.type) for i in node.inputs)
            raise NoGradientError(
                f"differentiate: op {node.op.name!r} on ({operands}) has no {mode} rule\n  at {node.origin.location}\n"
                "  wrap its operands in gradc.stop_gradient, or declare the op with a derivative"
            )


# --- reverse -----------------------------------------------------------------------------------------


def _reverse(graph: Graph, of_name: str, of: Node, variables: dict[str, Node], path: Path, seeded: bool, sweep: Sweep) -> Graph:
    extended = graph.copy()
    settled = sweep.settled
    set_origin(_origin(Role.ADJOINT, of, None, "seed"))
    seed = extended.placeholder(_new_name(extended, f"bar_{_identifier(of_name)}"), of.shape, of.dtype) if seeded else _ones(of)
    adjoints, partials = _adjoints(settled.twin(of), seed, path, sweep)
    if settled.forms:
        nodes = walk([of])
        adjoints, partials = settled.by_node(adjoints, nodes), settled.by_node(partials, nodes)
    inner = sweep.inner(_plain_path(of, variables, settled), adjoints)
    grad = {}
    for name, node in variables.items():
        if node not in adjoints:
            set_origin(_origin(Role.ADJOINT, node, None, "disconnected"))
            adjoints[node] = call("zeros_like", node)
        grad[name] = extended.output(f"d_{_in_parentheses(of_name)}/d_{_in_parentheses(name)}", adjoints[node])
    extended._derivative = Derivative(
        "reverse",
        of_name,
        of,
        variables,
        grad,
        adjoints,
        partials,
        seed=seed,
        before=graph._derivative,
        forms=settled.forms,
        inner=inner,
    )
    return extended


def _plain_path(of: Node, variables: dict[str, Node], settled: Settled) -> Path:
    return _active_path(walk([of]), variables, of) if settled.forms else {}


def _adjoints(of: Node, seed: Node, path: Path, sweep: Sweep) -> tuple[dict[Node, Node], dict[Node, list[tuple[Edge, Node]]]]:
    """The adjoint of every node on the path, and the partial adjoints that it sums."""
    adjoints = {of: seed} if of in path else {}
    partials: dict[Node, list[tuple[Edge, Node]]] = {}
    uses = Counter([i for flows in path.values() for _, i in flows])
    masked: dict[Node, bool] = {}
    for node, flows in reversed(path.items()):
        if node in partials:
            adjoints[node] = _accumulate(sweep.settled.primal(node), [p for _, p in partials[node]], masked)
        if flows:
            _propagate(node, flows, adjoints[node], uses, partials, masked, sweep)
    return adjoints, partials


def _origin(role: Role, primal: Node, edge: Edge | None, rule: str) -> Origin:
    return Origin(role, primal, edge, rule, primal.origin.file, primal.origin.line)


def _ones(of: Node) -> Node:
    """The adjoint that everything starts from: an adjoint by role too, not just a constant."""
    ones = call("ones_like", of)
    return Node(ones.op, ones.inputs, ones.attrs, ones.type, ones.origin._replace(role=Role.ADJOINT))


def _accumulate(node: Node, parts: list[Node], masked: dict[Node, bool]) -> Node:
    if len(parts) == 1:
        return parts[0]
    set_origin(_origin(Role.ADJOINT, node, None, "sum of partial adjoints"))
    total = apply(add_n, tuple(parts))
    if any(p in masked for p in parts):
        masked[total] = any(masked.get(p, False) for p in parts)
    return total


def _propagate(
    node: Node,
    flows: Sequence[tuple[int, Node]],
    adjoint: Node,
    uses: Mapping[Node, int],
    partials: dict[Node, list[tuple[Edge, Node]]],
    masked: dict[Node, bool],
    sweep: Sweep,
) -> None:
    """Append the partial adjoints that `node` sends to its operands.

    `masked` holds the adjoints with zeros by a mask, True where it came with a condition of its own: what that leaves out
    may be anything, NaN too. A selection by its own values (relu, max) passes NaN on.
    """
    op = node.op
    attrs = dict(node.attrs)
    is_masked = adjoint in masked
    hides = masked.get(adjoint, False)
    rules = op.masked_vjp if hides and op.masked_vjp is not None else op.vjp
    for k, operand in flows:
        origin = sweep.origin(Role.ADJOINT if uses[operand] == 1 else Role.PARTIAL, operand, node, k, "vjp")
        edge = origin.edge or Edge(node, k)
        set_origin(origin)
        shown = _show_kink(adjoint, node, attrs, adjoint) if sweep.shows_kinks and not op.elementwise else adjoint
        partial = _apply_rule(rules, k, shown, node, attrs)
        if op.elementwise:
            if sweep.shows_kinks:
                partial = _show_kink(partial, node, attrs, adjoint)
            if is_masked:
                partial = _keep_zeros(partial, adjoint, node)
            if partial.type.shape != operand.type.shape:
                partial = sum_to(call("broadcast_to", partial, node.shape), operand.shape)
        elif is_masked:
            partial = _keep_zero_slices(partial, adjoint, node, operand, attrs)
        partial = _own(_typed(partial, operand), adjoint, node)
        if is_masked or op.masks:
            masked[partial] = hides or _hides(node)
        partials.setdefault(operand, []).append((edge, partial))


def _show_kink(part: Node, node: Node, attrs: dict[str, Any], g: Node) -> Node:
    """`part`, an adjoint or a tangent, as NaN where the rules of `node` give it by a convention and `g` is not 0."""
    kink = node.op.kinks(g, node, *node.inputs, **attrs) if node.op.kinks is not None else None
    if kink is None:
        return part
    shown = call("logical_and", kink, call("not_equal", g, 0))
    return call("multiply", part, call("where", shown, constant(math.nan, part.dtype), constant(1, part.dtype)))


def _hides(node: Node) -> bool:
    """True for a selection by a condition of its own, and for what such a one has left behind in an adjoint."""
    return node.op is keep_zeros or (node.op.masks and any(i.dtype.kind == "b" for i in node.inputs))


@lru_cache(maxsize=1024)
def _rule_name(op: str, mode: str, k: int) -> str:
    return f"{op}.{mode}[{k}]"


def _apply_rule(rules: Any, k: int, g: Node, node: Node, attrs: dict[str, Any]) -> Node:
    if isinstance(rules, tuple):
        return rules[k](g, node, *node.inputs, **attrs)  # type: ignore[no-any-return]
    return rules(k, g, node, *node.inputs, **attrs)  # type: ignore[no-any-return]


def _keep_zeros(partial: Node, adjoint: Node, node: Node) -> Node:
    """An adjoint that `where` masked stays exactly zero through a singular rule: 0 * inf is 0 here, not NaN.

    A partial adjoint is linear in the adjoint, so where that is zero it is zero, or NaN. Masks and constants lose nothing.
    """
    if (
        node.op.linear
        or partial is adjoint
        or all(i is adjoint or i.op is CONSTANT or i.dtype.kind == "b" for i in partial.inputs)
    ):
        return partial
    return apply(keep_zeros, (partial, adjoint))


def _keep_zero_slices(partial: Node, adjoint: Node, node: Node, operand: Node, attrs: dict[str, Any]) -> Node:
    """As `_keep_zeros`, where an entry of the adjoint, or a slice of it, stands for a slice of the operand."""
    if node.op.reduces and not node.op.linear:
        shape = tuple(1 if k in attrs["axes"] else s for k, s in enumerate(operand.shape))
        return apply(keep_zeros, (partial, call("reshape", adjoint, shape)))
    if node.op.scans:
        along = attrs.get("axes", attrs.get("axis", -1))
        return apply(keep_zeros, (partial, call("sum", call("abs", adjoint), along, keepdims=True)))
    return partial


def _typed(derivative: Node, like: Node) -> Node:
    """A derivative in the dtype of its variable."""
    return derivative if derivative.dtype == like.dtype else call("astype", derivative, like.dtype)


def _own(partial: Node, adjoint: Node, node: Node) -> Node:
    """A node of its own for each edge: rules that pass the adjoint on unchanged would share one."""
    if partial is adjoint or partial is node or partial in node.inputs or partial.op is PLACEHOLDER:
        return apply(identity, (partial,))
    return partial


def _in_parentheses(name: str) -> str:
    return f"({name})" if "/" in name else name


def _identifier(name: str) -> str:
    """An output's name as part of a placeholder's: what cannot stand in an identifier becomes an underscore."""
    return "".join(c if f"a{c}".isidentifier() else "_" for c in name)


def _new_name(graph: Graph, wanted: str) -> str:
    """`wanted`, or with the first number from 2 on that makes it no placeholder of `graph` yet."""
    taken = graph.placeholders
    names = chain([wanted], (f"{wanted}_{k}" for k in count(2)))
    return next(name for name in names if name not in taken)


# --- forward -----------------------------------------------------------------------------------------


def _forward(graph: Graph, of_name: str, of: Node, variables: dict[str, Node], path: Path, sweep: Sweep) -> Graph:
    extended = graph.copy()
    settled = sweep.settled
    tangents: dict[Node, Node] = {}
    for name, node in variables.items():
        set_origin(_origin(Role.TANGENT, node, None, "seed"))
        dot = extended.placeholder(_new_name(extended, f"dot_{_identifier(name)}"), node.shape, node.dtype)
        tangents[settled.twin(node)] = dot
    _add_tangents(tangents, path, sweep)
    tangents = settled.by_node(tangents, walk([of, *variables.values()])) if settled.forms else tangents
    inner = sweep.inner(_plain_path(of, variables, settled), tangents)
    set_origin(_origin(Role.TANGENT, of, None, "output"))
    extended.output(f"dot_{of_name}", tangents[of] if of in tangents else call("zeros_like", of))
    extended._derivative = Derivative(
        "forward", of_name, of, variables, tangents=tangents, before=graph._derivative, forms=settled.forms, inner=inner
    )
    return extended


def _add_tangents(tangents: dict[Node, Node], path: Path, sweep: Sweep) -> None:
    """The tangent of every node on the path, beside those of the variables."""
    for node, flows in path.items():
        if node not in tangents:
            parts = [_tangent_part(node, k, tangents[i], sweep) for k, i in flows]
            set_origin(_origin(Role.TANGENT, sweep.settled.primal(node), None, "sum of tangents"))
            tangents[node] = parts[0] if len(parts) == 1 else apply(add_n, tuple(parts))


def _tangent_part(node: Node, k: int, tangent: Node, sweep: Sweep) -> Node:
    """What the tangent of operand `k` contributes to the tangent of `node`."""
    attrs = dict(node.attrs)
    set_origin(sweep.origin(Role.TANGENT, node, node, k, "jvp"))
    part = _apply_rule(node.op.jvp, k, tangent, node, attrs)
    if sweep.shows_kinks:
        part = _show_kink(part, node, attrs, tangent if node.op.elementwise else _any_in_slice(tangent, attrs))
    if part.type.shape != node.type.shape:
        part = call("broadcast_to", part, node.shape)
    return _own(_typed(part, node), tangent, node)


def _any_in_slice(tangent: Node, attrs: dict[str, Any]) -> Node:
    """Not 0 where a slice of the tangent, over the axes of a reduction, is not."""
    return call("sum", call("abs", tangent), attrs["axes"], keepdims=attrs["keepdims"])
