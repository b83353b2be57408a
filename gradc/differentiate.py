"""Reverse and forward mode AD by extending the computational graph.

Reverse: over the nodes on a path from `wrt` to `of`, in reverse topological order, the adjoint of a node is the
sum of its partial adjoints, one per use; each is nodes appended to the graph. Forward: tangents likewise, in
topological order. Griewank and Walther, Evaluating Derivatives, 2nd ed., chapters 3 and 6.
"""

from __future__ import annotations

import math
import reprlib
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain, count
from typing import Any, NamedTuple

from gradc.errors import ArgumentError, DTypeError, GraphError, NamingError, NoGradientError, candidates, show
from gradc.forms import NOTHING, Settled, settle
from gradc.ir import (
    CONSTANT,
    PLACEHOLDER,
    SUM_SEED,
    THROUGH,
    Derivative,
    Edge,
    Graph,
    Node,
    Origin,
    Role,
    apply,
    constant,
    describe,
    paused_collector,
    set_origin,
    walk,
)
from gradc.ops.declare import call
from gradc.ops.elementwise import identity
from gradc.ops.masks import Zeros, keep_zeros
from gradc.ops.shaping import add_n, sum_to

Names = str | Sequence[str] | Mapping[Any, str] | None


def differentiate(
    graph: Graph,
    wrt: Any,
    *,
    of: Any = None,
    seed: bool | Node | None = None,
    mode: str = "reverse",
    on_disconnected: str = "raise",
    names: Names = None,
    forms: bool = True,
    kinks: str = "convention",
) -> Graph:
    """`graph` extended with the derivative of output `of` with respect to `wrt`.

    An output that is no scalar has, without a seed, the derivative of the sum of its entries: the first adjoint is ones.

    A variable that depends on another, say v = sin(x) in `wrt=[x, v]`, stands for v + δ: the derivative with respect to x is the
    total one, through v too, and the one with respect to v is that with respect to δ. In forward mode the tangent of v is
    `dot_v` plus what flows in from x. So both modes are transposes of each other whatever the variables are.

    Args:
        graph: left as it is.
        wrt: a placeholder or any node of the graph, by handle or name, or a sequence of them; floating point.
        of: an output's name or node; may be left out when there is only one.
        seed: reverse mode: the adjoint of `of`. True adds a placeholder `bar_<of>` of the output's type; a node of that type
            that needs no other placeholders than those of `graph` is taken as it is.
        mode: "reverse" adds outputs `d_<of>/d_<wrt>`; "forward" adds placeholders `dot_<wrt>` and an output
            `dot_<of>`. Where a placeholder of that name is there already (forward over forward), the new one is
            `dot_<wrt>_2`, and so on.
        on_disconnected: "raise", or "zeros" for a `wrt` that `of` does not depend on.
        names: other names for the outputs that are added: one for each `wrt` in its order, or a mapping from (some of the)
            variables to names; in forward mode one name.
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
    if mode not in ("reverse", "forward"):
        raise ArgumentError(f"differentiate: mode is 'reverse' or 'forward', got {mode!r}")
    if on_disconnected not in ("raise", "zeros"):
        raise ArgumentError(f"differentiate: on_disconnected is 'raise' or 'zeros', got {on_disconnected!r}")
    if kinks not in ("convention", "nan"):
        raise ArgumentError(f"differentiate: kinks is 'convention' or 'nan', got {kinks!r}")
    if not isinstance(forms, bool):
        raise ArgumentError(f"differentiate: forms is True or False, got {show(forms)}")
    of_name, of_node = _find_of(graph, of)
    _check_seed(graph, of_name, of_node, seed, mode)
    variables = _find_wrt(graph, wrt)
    outputs = _output_names(graph, of_name, variables, names, mode)
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
                return _forward(graph, of_name, of_node, variables, path, sweep, outputs[0])
            return _reverse(graph, of_name, of_node, variables, path, sweep, seed, outputs)
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
    names = {node: name for name, node in reversed([*graph.outputs.items()])}
    for item in asked:
        name, node = _variable(graph, item, names)
        if name in found:
            raise NamingError(f"differentiate: wrt names {name!r} twice")
        if not node.type.is_float:
            raise DTypeError(
                f"differentiate: wrt {name!r} is {node.type}; only floating point has derivatives: cast it, or leave it out"
            )
        found[name] = node
    return found


def _variable(graph: Graph, item: Any, names: Mapping[Node, str]) -> tuple[str, Node]:
    """`names`: those of outputs, the first one of each node."""
    placeholders, outputs = graph.placeholders, graph.outputs
    if isinstance(item, str):
        node = placeholders.get(item, outputs.get(item))
        if node is None:
            raise NamingError(
                f"differentiate: wrt {show(item)} is no placeholder or output of graph {graph.name!r}; "
                f"{candidates(item, [*placeholders, *outputs])}"
            )
        return item, node
    if not isinstance(item, Node):
        raise ArgumentError(f"differentiate: wrt is one flat list of nodes and names, got {show(item)}{_flattened(item)}")
    if item.op is PLACEHOLDER and placeholders.get(item.name or "") is item:
        return item.name or "", item
    if item in names:
        return names[item], item
    try:
        return f"v{graph.number(item)}", item
    except GraphError:
        raise GraphError(f"differentiate: wrt {describe(item)} is no node of graph {graph.name!r}") from None


def _flattened(item: object) -> str:
    if isinstance(item, Mapping):
        return ": write list(mapping.values())"
    return ": flatten it" if isinstance(item, (list, tuple)) else ""


def _check_seed(graph: Graph, of_name: str, of: Node, seed: object, mode: str) -> None:
    if seed is not None and seed is not False and mode == "forward":
        raise ArgumentError(
            f"differentiate: seed is for reverse mode; in forward mode feed the placeholders 'dot_...', got {seed!r}"
        )
    if isinstance(seed, Node):
        if seed.type != of.type:
            raise ArgumentError(f"differentiate: the seed of {of_name!r} is {of.type} as the output is, got {describe(seed)}")
        own = set(graph.placeholders.values())
        foreign = [describe(n) for n in walk([seed]) if n.op is PLACEHOLDER and n not in own]
        if foreign:
            raise GraphError(f"differentiate: the seed needs {foreign[0]}, which is no placeholder of graph {graph.name!r}")
    elif not (seed is None or isinstance(seed, bool)):
        raise ArgumentError(f"differentiate: seed is True, False or a node (gradc.constant makes one), got {reprlib.repr(seed)}")


def _output_names(graph: Graph, of_name: str, variables: Mapping[str, Node], names: Names, mode: str) -> list[str]:
    """The names of the outputs to add: one a variable, or in forward mode one.

    Raises:
        NamingError: one is taken, or is there twice.
    """
    of = _in_parentheses(of_name)
    given = [f"dot_{of_name}"] if mode == "forward" else [f"d_{of}/d_{_in_parentheses(name)}" for name in variables]
    chosen = given if names is None else _chosen_names(given, variables, names, mode)
    twice = [name for name, times in Counter(map(str, chosen)).items() if times > 1]
    if twice:
        raise NamingError(f"differentiate: names gives {show(twice[0])} twice: each output that is added has a name of its own")
    taken = set(graph.outputs)
    for name in chosen:
        if name in taken:
            raise NamingError(f"differentiate: {name!r} is an output of graph {graph.name!r} already; choose another with names=")
        taken.add(name)
    return chosen


def _chosen_names(given: list[str], variables: Mapping[str, Node], names: Names, mode: str) -> list[str]:
    if isinstance(names, Mapping):
        if mode == "forward":
            raise ArgumentError(f"differentiate: names is one name in forward mode, got {reprlib.repr(names)}")
        return _mapped_names(given, variables, names)
    chosen = [names] if isinstance(names, str) else list(names) if isinstance(names, Sequence) else []
    if len(chosen) != len(given) or not all(isinstance(name, str) for name in chosen):
        raise ArgumentError(
            f"differentiate: names gives {len(given)} name{'s' if len(given) > 1 else ''}, one for each output that is added "
            f"({', '.join(given[:5])}{', ...' if len(given) > 5 else ''}), got {reprlib.repr(names)}"
        )
    return chosen


def _mapped_names(given: list[str], variables: Mapping[str, Node], names: Mapping[Any, str]) -> list[str]:
    places = {name: k for k, name in enumerate(variables)}
    nodes = {node: k for k, node in enumerate(variables.values())}
    chosen = list(given)
    for key, name in names.items():
        place = nodes.get(key) if isinstance(key, Node) else places.get(key)
        if place is None or not isinstance(name, str):
            shown = describe(key) if isinstance(key, Node) else repr(key)
            raise ArgumentError(f"differentiate: names maps variables of wrt to names, got {shown}: {reprlib.repr(name)}")
        chosen[place] = name
    return chosen


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
        found = [(k, i) for k, i in enumerate(node.inputs) if i in reached and node.op.propagates(k)]
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


def _reverse(
    graph: Graph,
    of_name: str,
    of: Node,
    variables: dict[str, Node],
    path: Path,
    sweep: Sweep,
    asked: bool | Node | None,
    outputs: Sequence[str],
) -> Graph:
    extended = graph.copy()
    settled = sweep.settled
    seed = _seed(extended, of_name, of, asked)
    adjoints, partials = _adjoints(settled.twin(of), seed, path, sweep)
    if settled.forms:
        nodes = walk([of])
        adjoints, partials = settled.by_node(adjoints, nodes), settled.by_node(partials, nodes)
    inner = sweep.inner(_plain_path(of, variables, settled), adjoints)
    named = {}
    for name, node in zip(outputs, variables.values(), strict=True):
        if node not in adjoints:
            set_origin(_origin(Role.ADJOINT, node, None, "disconnected"))
            adjoints[node] = call("zeros_like", node)
        named[name] = extended.output(name, adjoints[node])
    grad = dict(zip(variables, named.values(), strict=True))
    extended._derivative = Derivative(
        "reverse",
        of_name,
        of,
        variables,
        grad,
        named,
        adjoints,
        partials,
        seed=seed,
        before=graph._derivative,
        forms=settled.forms,
        inner=inner,
    )
    return extended


def _seed(extended: Graph, of_name: str, of: Node, asked: bool | Node | None) -> Node:
    """The adjoint of `of`, from which all others come."""
    if isinstance(asked, Node):
        return _after(extended.nodes, asked)
    set_origin(_origin(Role.ADJOINT, of, None, "seed" if asked or not of.shape else SUM_SEED))
    return extended.placeholder(_new_name(extended, f"bar_{_identifier(of_name)}"), of.shape, of.dtype) if asked else _ones(of)


def _after(nodes: Sequence[Node], root: Node) -> Node:
    """`root`, with what it needs that is not among `nodes` made anew, so that it comes after them whatever was written first."""
    new = {node: node for node in nodes}
    for node in walk([root]):
        if node not in new:
            new[node] = Node(node.op, tuple([new[i] for i in node.inputs]), node.attrs, node.type, node.origin)
    return new[root]


def _plain_path(of: Node, variables: dict[str, Node], settled: Settled) -> Path:
    return _active_path(walk([of]), variables, of) if settled.forms else {}


def _adjoints(of: Node, seed: Node, path: Path, sweep: Sweep) -> tuple[dict[Node, Node], dict[Node, list[tuple[Edge, Node]]]]:
    """The adjoint of every node on the path, and the partial adjoints that it sums."""
    adjoints = {of: seed} if of in path else {}
    partials: dict[Node, list[tuple[Edge, Node]]] = {}
    uses = Counter([i for flows in path.values() for _, i in flows])
    masked = Zeros()
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


def _accumulate(node: Node, parts: list[Node], masked: Zeros) -> Node:
    if len(parts) == 1:
        return parts[0]
    set_origin(_origin(Role.ADJOINT, node, None, "sum of partial adjoints"))
    total = apply(add_n, tuple(parts))
    if any(p in masked for p in parts):
        masked.add(total, any(masked.hides(p) for p in parts))
    return total


def _propagate(
    node: Node,
    flows: Sequence[tuple[int, Node]],
    adjoint: Node,
    uses: Mapping[Node, int],
    partials: dict[Node, list[tuple[Edge, Node]]],
    masked: Zeros,
    sweep: Sweep,
) -> None:
    """Append the partial adjoints that `node` sends to its operands.

    `masked` holds the adjoints with zeros by a mask.
    """
    op = node.op
    attrs = dict(node.attrs)
    is_masked = adjoint in masked
    hides = masked.hides(adjoint)
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
                partial = _keep_zeros(partial, adjoint, node, masked)
            if partial.type.shape != operand.type.shape:
                partial = sum_to(call("broadcast_to", partial, node.shape), operand.shape)
        elif is_masked:
            partial = _keep_zero_slices(partial, adjoint, node, operand, attrs, masked)
        partial = _own(_typed(partial, operand), adjoint, node)
        if is_masked or op.masks:
            masked.add(partial, hides or _hides(node), adjoint if is_masked and op.elementwise and not op.masks else None)
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
    if rules is THROUGH:
        return g  # a rule is handed all operands, and a sum has many
    if isinstance(rules, tuple):
        return rules[k](g, node, *node.inputs, **attrs)  # type: ignore[no-any-return]
    return rules(k, g, node, *node.inputs, **attrs)  # type: ignore[no-any-return]


def _keep_zeros(partial: Node, adjoint: Node, node: Node, masked: Zeros) -> Node:
    """An adjoint that `where` masked stays exactly zero through a singular rule: 0 * inf is 0 here, not NaN.

    A partial adjoint is linear in the adjoint, so where that is zero it is zero, or NaN. Masks and constants lose nothing.
    """
    if (
        node.op.linear
        or partial is adjoint
        or all(i is adjoint or i.op is CONSTANT or i.dtype.kind == "b" for i in partial.inputs)
    ):
        return partial
    return apply(keep_zeros, (partial, masked.of(adjoint)))


def _keep_zero_slices(partial: Node, adjoint: Node, node: Node, operand: Node, attrs: dict[str, Any], masked: Zeros) -> Node:
    """As `_keep_zeros`, where an entry of the adjoint, or a slice of it, stands for a slice of the operand."""
    if node.op.reduces and not node.op.linear:
        shape = tuple(1 if k in attrs["axes"] else s for k, s in enumerate(operand.shape))
        return apply(keep_zeros, (partial, call("reshape", _broadcast(masked.of(adjoint), adjoint), shape)))
    if node.op.scans:
        along = attrs.get("axes", attrs.get("axis", -1))
        return apply(keep_zeros, (partial, _any_along(_broadcast(masked.of(adjoint), adjoint), along)))
    return partial


def _broadcast(x: Node, like: Node) -> Node:
    return x if x.shape == like.shape else call("broadcast_to", x, like.shape)


def _any_along(x: Node, axes: Any) -> Node:
    return call("any", x, axes, keepdims=True) if x.dtype.kind == "b" else call("sum", call("abs", x), axes, keepdims=True)


def _typed(derivative: Node, like: Node) -> Node:
    """A derivative in the dtype of its variable."""
    return derivative if derivative.dtype == like.dtype else call("astype", derivative, like.dtype)


def _own(partial: Node, adjoint: Node, node: Node) -> Node:
    """A node of its own for each edge: rules that pass the adjoint on unchanged would share one."""
    if partial is adjoint or partial is node or any(partial is i for i in node.inputs) or partial.op is PLACEHOLDER:
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


def _forward(graph: Graph, of_name: str, of: Node, variables: dict[str, Node], path: Path, sweep: Sweep, output: str) -> Graph:
    extended = graph.copy()
    settled = sweep.settled
    tangents: dict[Node, Node] = {}
    for name, node in variables.items():
        set_origin(_origin(Role.TANGENT, node, None, "seed"))
        dot = extended.placeholder(_new_name(extended, f"dot_{_identifier(name)}"), node.shape, node.dtype)
        twin = settled.twin(node)
        tangents[twin] = dot if twin not in tangents else apply(add_n, (tangents[twin], dot))  # one node may have two names
    _add_tangents(tangents, path, sweep)
    tangents = settled.by_node(tangents, walk([of, *variables.values()])) if settled.forms else tangents
    inner = sweep.inner(_plain_path(of, variables, settled), tangents)
    set_origin(_origin(Role.TANGENT, of, None, "output"))
    extended.output(output, tangents[of] if of in tangents else call("zeros_like", of))
    extended._derivative = Derivative(
        "forward", of_name, of, variables, tangents=tangents, before=graph._derivative, forms=settled.forms, inner=inner
    )
    return extended


def _add_tangents(tangents: dict[Node, Node], path: Path, sweep: Sweep) -> None:
    """The tangent of every node on the path: what flows in, and for a variable its own beside that."""
    for node, flows in path.items():
        parts = [_tangent_part(node, k, tangents[i], sweep) for k, i in flows]
        if node in tangents:
            parts.insert(0, tangents[node])
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
